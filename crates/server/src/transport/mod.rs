//! One connection, whichever bytes carry it: frames in, replies out.
//!
//! The session layer above sees only this type; nothing above knows whether a request came over
//! plain TCP or in a WebSocket message.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

mod tcp;
mod websocket;

pub(crate) use tcp::TcpTransport;
pub(crate) use websocket::WebSocketTransport;

/// The transports of a session.
pub(crate) enum Transport {
    Tcp(Box<TcpTransport>),
    WebSocket(Box<WebSocketTransport>),
}

/// Why a connection yields no further frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The peer ended the connection.
    #[error("closed by the peer")]
    Closed,
    /// The bytes are not frames of the protocol; the text says what was wrong.
    #[error("{0}")]
    Malformed(wire::iggy::frame::FrameError),
    /// A client that is too old for this protocol version.
    #[error("a client of a protocol before 0.11")]
    Legacy,
    /// A text message; frames are binary.
    #[error("a text message: frames of the protocol travel in binary messages")]
    NotBinary,
    /// A message ends in the middle of a frame.
    #[error("a message ends in the middle of a frame")]
    Straddles,
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The WebSocket layer failed the connection.
    #[error(transparent)]
    WebSocket(#[from] ws::Error),
}

/// Why the server ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The session is over: logout, eviction.
    Normal,
    /// The server stops.
    GoingAway,
    /// The peer did not follow the protocol.
    ProtocolError,
    /// The peer sent text, which carries no frames.
    NotBinary,
}

impl Transport {
    /// The next request frame: its 256 header bytes and its body in one allocation.
    ///
    /// Cancel-safe: a dropped call loses nothing, the next one goes on.
    pub(crate) async fn recv(
        &mut self,
        frame_bytes_max: usize,
    ) -> Result<BytesMut, TransportError> {
        match self {
            Self::Tcp(transport) => transport.recv(frame_bytes_max).await,
            Self::WebSocket(transport) => transport.recv(frame_bytes_max).await,
        }
    }

    /// Sends one reply frame, given in parts that are never joined.
    pub(crate) async fn send(&mut self, parts: Vec<Bytes>) -> Result<(), TransportError> {
        match self {
            Self::Tcp(transport) => transport.send(parts).await,
            Self::WebSocket(transport) => transport.send(parts).await,
        }
    }

    /// Says goodbye in the way of the transport, within `timeout`.
    pub(crate) async fn close(self, ending: Ending, timeout: Duration) {
        let closing = async {
            match self {
                Self::Tcp(transport) => transport.close(),
                Self::WebSocket(transport) => transport.close(ending).await,
            }
        };
        if compio::time::timeout(timeout, closing).await.is_err() {
            tracing::debug!("a peer did not answer the close in time");
        }
    }

    /// The number that the protocol uses for this transport in client lists.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Tcp(_) => 1,
            // The protocol's number for WebSocket clients.
            Self::WebSocket(_) => 4,
        }
    }
}
