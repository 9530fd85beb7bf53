//! What can go wrong, by what a caller can do about it.

use std::io;
use std::time::Duration;

use wire::Status;
use wire::batch::BatchError;
use wire::iggy::eviction::EvictionReason;

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused the request; the connection goes on.
    #[error("{command} was refused with status {status}: {}", advice(*status))]
    Refused {
        /// Name of the command.
        command: &'static str,
        /// What the server said.
        status: Status,
    },
    /// The server ended the session. Connect again.
    #[error("the server ended the session: {}", eviction_advice(*.reason))]
    Evicted {
        /// Why; `None` for a reason that this client does not know.
        reason: Option<EvictionReason>,
    },
    /// The address is not one.
    #[error("{0}; an address looks like iggy+tcp://user:password@127.0.0.1:8090")]
    Address(&'static str),
    /// The connection failed. Connect again; what was sent last may have been done.
    #[error("the connection failed: {0}; connect again")]
    Io(#[from] io::Error),
    /// The WebSocket failed. Connect again; what was sent last may have been done.
    #[error("the WebSocket failed: {0}; connect again")]
    WebSocket(ws::Error),
    /// The connection could not be encrypted, or not any longer: a certificate that is not
    /// trusted, a file that is none, a server without TLS.
    #[error("TLS failed: {0}")]
    Tls(ws::TlsError),
    /// The server closed the connection. Connect again; what was sent last may have been done.
    #[error("the server closed the connection; connect again")]
    Closed,
    /// No answer came in time. Connect again; what was sent last may have been done.
    #[error("no answer within {0:?}; the server may be overloaded: connect again")]
    TimedOut(Duration),
    /// What the server sent is no answer to the request. Is it a server of this protocol version?
    #[error("not understood: {0}; is it a server of the Iggy protocol 0.11.0?")]
    Protocol(&'static str),
    /// An earlier request was dropped before its reply came. Connect again.
    #[error("an earlier request was dropped before its reply came; connect again")]
    Desynchronised,
    /// A name or an option is empty or longer than 255 bytes.
    #[error("names, option keys and values have 1 to 255 bytes")]
    Name,
    /// The messages do not make a batch.
    #[error("the messages do not make a batch: {0}")]
    Batch(#[from] BatchError),
    /// The request is larger than a frame may be. Send it in parts.
    #[error(
        "the request has {0} bytes, a frame holds {max}; send less at once",
        max = wire::limits::FRAME_BYTES_MAX
    )]
    TooBig(usize),
}

impl From<ws::Error> for Error {
    fn from(error: ws::Error) -> Self {
        match error {
            ws::Error::Tls(error) => Self::Tls(error),
            error => Self::WebSocket(error),
        }
    }
}

impl Error {
    /// The server's status, where it gave one.
    #[must_use]
    pub const fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Evicted {
                reason: Some(reason),
            } => Some(reason.status()),
            _ => None,
        }
    }

    /// Whether the connection can go on after this.
    #[must_use]
    pub const fn is_recoverable(&self) -> bool {
        matches!(
            self,
            Self::Refused { .. } | Self::Batch(_) | Self::TooBig(_) | Self::Address(_) | Self::Name
        )
    }
}

fn advice(status: Status) -> &'static str {
    match status {
        Status::UNAUTHENTICATED => "log in first",
        Status::UNAUTHORIZED => "the user may not do this",
        Status::INVALID_CREDENTIALS => "check user name and password",
        Status::FEATURE_UNAVAILABLE => "this server does not serve it",
        Status::STREAM_ID_NOT_FOUND => "create the stream first",
        Status::TOPIC_ID_NOT_FOUND => "create the topic first",
        Status::PARTITION_NOT_FOUND => "the topic has fewer partitions",
        Status::STREAM_NAME_ALREADY_EXISTS
        | Status::TOPIC_NAME_ALREADY_EXISTS
        | Status::CONSUMER_GROUP_NAME_ALREADY_EXISTS => "the name is taken",
        Status::CONSUMER_GROUP_MEMBER_NOT_FOUND => "join the group first",
        Status::CONSUMER_GROUP_PARTITION_NOT_OWNED => "sync the group's assignment",
        Status::TRANSIENT_NOT_ACCEPTED | Status::TRANSIENT_NOT_COMMITTED => {
            "the server was busy all the time, try later"
        }
        Status::CANNOT_APPEND_MESSAGE => {
            "the partition takes no messages after a failed write; see the server's log"
        }
        _ => "see docs/wire.md for the situation",
    }
}

fn eviction_advice(reason: Option<EvictionReason>) -> &'static str {
    match reason {
        Some(EvictionReason::InvalidCredentials) => "check user name and password",
        Some(EvictionReason::InvalidToken) => "the token is unknown or expired",
        Some(EvictionReason::UserInactive) => "the user may not log in",
        Some(EvictionReason::IncompatibleProtocol) => "it speaks another protocol version",
        Some(EvictionReason::StaleClient) => "no heartbeat came in time; ping more often",
        Some(_) => "log in again",
        None => "for a reason that this client does not know",
    }
}
