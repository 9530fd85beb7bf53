//! What can go wrong, by what a caller can do about it.

use std::io;

use ws_proto::handshake::{HandshakeError, Refusal, Response};
use ws_proto::{CloseFrame, ProtocolError, SendError};

#[cfg(feature = "tls")]
use crate::tls::TlsError;

/// Why an operation on a WebSocket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// Encryption failed, or the encrypted stream was cut off.
    #[cfg(feature = "tls")]
    #[error("TLS failed: {0}")]
    Tls(#[from] TlsError),
    /// The peer broke the protocol, or one of its limits or deadlines. It was told so by the
    /// close code of `CloseCode::from(error)`, where it still could hear it.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// The opening handshake failed.
    #[error("the opening handshake failed: {0}")]
    Handshake(#[from] Handshake),
    /// The closing handshake has begun or is done; the peer's Close frame, if one came.
    #[error("the connection is closed")]
    Closed(Option<CloseFrame>),
    /// This message cannot be sent; nothing was queued and the connection goes on.
    #[error("the message cannot be sent: {0}")]
    Unsendable(SendError),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = TlsError::of(&error) {
            return Error::Tls(error.clone());
        }
        Error::Io(error)
    }
}

/// Why an opening handshake failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Handshake {
    /// The server refused the client's request with this answer.
    #[error("the request was refused with {0}")]
    Refused(Refusal),
    /// The client got an answer that is valid HTTP but no upgrade.
    #[error("the server answered with status {}", .0.status())]
    NotUpgraded(Box<Response>),
    /// The client's request or the server's response is not valid.
    #[error("{0}")]
    Invalid(#[from] HandshakeError),
    /// It took longer than the limit.
    #[error("it took too long")]
    TimedOut,
    /// The peer closed the connection before it was done.
    #[error("the peer closed the connection")]
    Ended,
    /// The address is not a `ws://` or `wss://` URL with a host.
    #[error("not a WebSocket URL: {0}")]
    InvalidUrl(&'static str),
}

/// Why nothing more is received; kept, because every further call reports it again.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Io {
        kind: io::ErrorKind,
        code: Option<i32>,
    },
    #[cfg(feature = "tls")]
    Tls(TlsError),
    Protocol(ProtocolError),
    Closed(Option<CloseFrame>),
    /// Something panicked while nobody's call was there to carry it.
    Panic,
}

impl From<&io::Error> for End {
    fn from(error: &io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = TlsError::of(error) {
            return End::Tls(error.clone());
        }
        End::Io {
            kind: error.kind(),
            code: error.raw_os_error(),
        }
    }
}

impl From<&End> for Error {
    fn from(end: &End) -> Self {
        match end {
            End::Io {
                code: Some(code), ..
            } => Error::Io(io::Error::from_raw_os_error(*code)),
            End::Io { kind, code: None } => Error::Io((*kind).into()),
            #[cfg(feature = "tls")]
            End::Tls(error) => Error::Tls(error.clone()),
            End::Protocol(error) => Error::Protocol(*error),
            End::Closed(frame) => Error::Closed(frame.clone()),
            End::Panic => Error::Io(io::Error::other("its background work panicked")),
        }
    }
}
