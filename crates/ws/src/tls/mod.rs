//! TLS by [`rustls`] under a WebSocket or any other byte stream of this crate.
//!
//! [`connect`](crate::connect) understands `wss://`, and [`accept_with`](crate::accept_with)
//! speaks TLS with [`Config::tls_server`](crate::Config::tls_server); both count the TLS
//! handshake into the time of the opening handshake. Everything above a stream is the same with
//! and without TLS. What other protocols need is here: [`accept`] and [`connect`] make a
//! [`ChunkReceiver`] encrypted, and a [`ChunkSender`](crate::ChunkSender) of its stream seals
//! what it sends.
//!
//! A connection that waits owns no buffer for records, only the session's keys and state. Records
//! are opened where they were received; a message is sealed in parts of at most
//! [`limits::TLS_SEALED_BYTES_MAX`](crate::limits::TLS_SEALED_BYTES_MAX).

mod files;
mod handshake;
mod session;

use std::io;

pub use rustls;

pub(crate) use files::ALPN_HTTP;
pub use files::{
    client_config_trusting, client_config_with_platform_roots, server_config_from_files,
    server_config_of,
};
pub use handshake::{accept, connect};
pub(crate) use handshake::{accept_until, connect_until};
pub(crate) use session::Filter;

use crate::receiver::ChunkReceiver;

/// Why a connection could not be encrypted, or not any longer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The handshake or a record failed: a certificate that is not trusted, an alert of the
    /// peer, bytes that are not TLS. The peer was told by an alert where TLS has one for it.
    #[error("{0}")]
    Protocol(rustls::Error),
    /// The byte stream ended without the peer's close_notify (RFC 8446 §6.1): something may have
    /// been cut off.
    #[error("the connection ended without close_notify, so something may have been cut off")]
    Truncated,
    /// The client began with an HTTP request; it was answered with status 400.
    #[error("the client spoke plain HTTP to a port that speaks TLS")]
    PlainHttp,
    /// Both ends have closed the session.
    #[error("the session is closed")]
    Closed,
    /// Certificates, keys or names that cannot be used; the text says which and why.
    #[error("{0}")]
    Setup(String),
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match &error {
            TlsError::Truncated => io::ErrorKind::UnexpectedEof,
            TlsError::Closed => io::ErrorKind::BrokenPipe,
            TlsError::Setup(_) => io::ErrorKind::InvalidInput,
            TlsError::Protocol(_) | TlsError::PlainHttp => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

impl TlsError {
    /// The error inside an error of a stream, if TLS is where it comes from.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Whether what this receiver receives was encrypted.
pub fn is_encrypted(receiver: &ChunkReceiver) -> bool {
    receiver.stream().filter().is_some()
}
