//! One WebSocket after its opening handshake, as a state machine.

mod close;
mod prepared;
mod receive;
mod send;

use bytes::BytesMut;

use crate::{Event, Limits, ProtocolError, Role};

pub use prepared::PreparedMessage;
pub use receive::ReceiveBuffer;
pub use send::{SendError, Transmit};

/// Gives a fresh, unpredictable masking key at each call (RFC 6455 §5.3, §10.3).
///
/// A plain function, so that it costs a connection one word; draw from a pool of random bytes
/// that belongs to the thread.
pub type MaskingKeySource = fn() -> [u8; 4];

/// What happens to a ping while `Limits::pongs_pending_max` pongs wait to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PongOverflow {
    /// Only the newest of the further pings is answered (RFC 6455 §5.5.3 allows that).
    #[default]
    Coalesce,
    /// The connection fails with 1008.
    Fail,
}

/// Options of one connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Bounds of everything.
    pub limits: Limits,
    /// Whether pings are answered by the core. Default true.
    pub automatic_pong: bool,
    /// Whether the peer's Close is answered by the core. Default true. Without it the caller
    /// answers by [`Connection::close`], within the close timeout: when and with which code it
    /// wants.
    pub automatic_close: bool,
    /// What happens when automatic pongs pile up. Default: coalesce.
    pub pong_overflow: PongOverflow,
    /// Whether messages that do not lie whole in a chunk are reported piece by piece as
    /// [`Event::Piece`](crate::Event::Piece) instead of being assembled, for messages larger
    /// than memory. Raise `message_bytes_max` and `fragments_max` with it. Default false.
    pub pieces: bool,
    /// Compression as the handshake negotiated it. Default: none.
    #[cfg(feature = "deflate")]
    pub deflate: Option<crate::deflate::Session>,
}

impl Config {
    /// The default options with these limits.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            automatic_pong: true,
            automatic_close: true,
            pong_overflow: PongOverflow::Coalesce,
            pieces: false,
            #[cfg(feature = "deflate")]
            deflate: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new(Limits::DEFAULT)
    }
}

/// One endpoint of a WebSocket whose opening handshake is done.
///
/// Bytes go in by [`handle_chunk`](Self::handle_chunk) (or, for large payloads, by
/// [`take_receive_buffer`](Self::take_receive_buffer)), messages by [`send`](Self::send); bytes
/// to write come out of [`poll_transmit`](Self::poll_transmit). It knows nothing of sockets,
/// clocks or tasks. While nothing is in flight it owns no heap memory.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    masking_key: Option<MaskingKeySource>,
    config: Config,
    receiver: receive::Receiver,
    sender: send::Sender,
    closing: close::Closing,
    timers: close::Timers,
    #[cfg(feature = "deflate")]
    codec: crate::deflate::Codec,
}

impl Connection {
    /// The server's end.
    #[must_use]
    pub fn server(config: Config) -> Self {
        Self::new(Role::Server, None, config)
    }

    /// The client's end. Every sent frame is masked with a key from `masking_key`.
    #[must_use]
    pub fn client(config: Config, masking_key: MaskingKeySource) -> Self {
        Self::new(Role::Client, Some(masking_key), config)
    }

    fn new(role: Role, masking_key: Option<MaskingKeySource>, config: Config) -> Self {
        Self {
            role,
            masking_key,
            config,
            receiver: receive::Receiver::default(),
            sender: send::Sender::default(),
            closing: close::Closing::default(),
            timers: close::Timers::default(),
            #[cfg(feature = "deflate")]
            codec: crate::deflate::Codec::default(),
        }
    }

    /// Which end this is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Gives back what receiving holds; nothing more is read.
    fn release_receiver(&mut self) {
        self.receiver.release();
        #[cfg(feature = "deflate")]
        self.codec.release();
    }

    /// Whether RSV1 has a meaning on this connection (RFC 7692 §6).
    const fn is_deflate_negotiated(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.config.deflate.is_some();
        #[cfg(not(feature = "deflate"))]
        false
    }

    /// The options it was made with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}
