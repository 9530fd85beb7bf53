//! Messages that are encoded once and sent on many connections.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::send::{Start, put_header};
use super::*;
use crate::MessageKind;
use crate::frame::HEADER_BYTES_MAX;
use crate::limits::PREPARED_SHARE_BYTES_MIN;

/// A message as the frames that every server connection sends alike: the header is written
/// once, the payload is shared, and with compression it is compressed once.
///
/// Clones share everything.
#[derive(Debug, Clone)]
pub struct PreparedMessage {
    kind: MessageKind,
    payload: Bytes,
    plain: Bytes,
    #[cfg(feature = "deflate")]
    compressed: Option<(u8, Bytes)>,
}

impl PreparedMessage {
    /// Encodes a message. Text must be valid UTF-8: it is not checked.
    ///
    /// Header and payload are laid behind each other, which copies the payload once.
    #[must_use]
    pub fn new(kind: MessageKind, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        let plain = encode(Start::whole(kind.into()), &payload);
        Self {
            kind,
            // The payload lies behind the header: one allocation serves both.
            payload: plain.slice(plain.len() - payload.len()..),
            plain,
            #[cfg(feature = "deflate")]
            compressed: None,
        }
    }

    /// Adds a compressed form, for connections that negotiated a server without context
    /// takeover and a window of at least `server_max_window_bits` of `options`; the others get
    /// the plain one. Does nothing if the message is short or does not shrink.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn with_deflate(mut self, options: &crate::deflate::Options) -> Self {
        let window_bits = options.server_max_window_bits.clamp(8, 15);
        self.compressed =
            crate::deflate::compress_once(options, window_bits, &self.payload).map(|payload| {
                let mut start = Start::whole(self.kind.into());
                start.rsv1 = true;
                (window_bits, encode(start, &payload))
            });
        self
    }

    /// Text or binary.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The message itself.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The frame for a connection with these options.
    fn wire(&self, config: &Config) -> &Bytes {
        #[cfg(feature = "deflate")]
        if let Some((window_bits, wire)) = &self.compressed
            && config
                .deflate
                .as_ref()
                .is_some_and(|session| session.takes_foreign(*window_bits))
        {
            return wire;
        }
        let _ = config;
        &self.plain
    }
}

impl Connection {
    /// Queues a prepared message. A server shares its bytes, unless they are few; a client has
    /// to mask them and sends the payload as [`send`](Self::send) does.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_prepared(&mut self, message: &PreparedMessage) -> Result<(), SendError> {
        let several_frames = message.payload.len() > self.config.limits.send_frame_bytes_max;
        if self.role == Role::Client || several_frames {
            return self.send(message.kind, message.payload.clone());
        }
        self.admit_message(message.payload.len())?;
        let wire = message.wire(&self.config);
        if wire.len() < PREPARED_SHARE_BYTES_MIN {
            self.sender.open_with_room(wire.len()).put_slice(wire);
        } else {
            self.sender.seal(wire.clone());
        }
        Ok(())
    }
}

fn encode(start: Start, payload: &[u8]) -> Bytes {
    let mut wire = BytesMut::with_capacity(HEADER_BYTES_MAX + payload.len());
    put_header(&mut wire, start, payload.len(), None);
    wire.put_slice(payload);
    wire.freeze()
}

/// A message that is sent piece by piece, see [`Connection::send_piece`].
impl Connection {
    /// Queues the next piece of a message whose length need not be known: each piece becomes a
    /// frame (or several), and the message ends with the piece that is `last`. Between its
    /// pieces only control frames can be sent. Pieces are not compressed.
    ///
    /// An empty piece that is not the last is left out.
    ///
    /// # Errors
    /// As [`send`](Self::send), and [`SendError::MessageOpen`] if the open message is of the
    /// other kind.
    pub fn send_piece(
        &mut self,
        kind: MessageKind,
        piece: Bytes,
        last: bool,
    ) -> Result<(), SendError> {
        if self.sender.message.is_some_and(|open| open != kind) {
            return Err(SendError::MessageOpen);
        }
        self.admit(piece.len())?;
        if piece.is_empty() && !last {
            return Ok(());
        }
        let opcode = match self.sender.message {
            Some(_) => crate::OpCode::Continuation,
            None => kind.into(),
        };
        self.queue_frames(Start::whole(opcode), last, Vec::from([piece]));
        self.sender.message = (!last).then_some(kind);
        Ok(())
    }
}
