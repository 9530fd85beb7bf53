//! The opening handshake (RFC 6455 §4): HTTP/1.1 heads to verdicts, both roles.
//!
//! The driver appends what it receives to one buffer and shows the whole buffer each time;
//! each byte is looked at once. Bytes behind the head belong to the WebSocket (or to whoever
//! serves the request that was no upgrade) and stay in that buffer.

#[cfg_attr(not(feature = "deflate"), allow(dead_code))]
pub(crate) mod extension;
mod head;
mod key;
mod refusal;
mod request;
mod response;

use alloc::string::String;

pub use crate::limits::HandshakeLimits;
pub use head::Headers;
pub use key::accept_value;
pub use refusal::Refusal;
pub use request::{
    Accepted, OriginPolicy, Request, ServerHandshake, ServerOptions, ServerVerdict, UpgradeRequest,
};
pub use response::{ClientAccepted, ClientHandshake, ClientOptions, ClientVerdict, Response};

/// Why a client's opening handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// An option of the request (host, target, subprotocol, header) cannot be sent as it is.
    InvalidOption,
    /// The response is not an HTTP/1.1 head (RFC 9112).
    MalformedResponse,
    /// The response head is larger than the limits allow.
    ResponseTooLarge,
    /// `Upgrade` or `Connection` of the response do not say `websocket` and `upgrade`
    /// (RFC 6455 §4.1).
    NotUpgraded,
    /// `Sec-WebSocket-Accept` is not the answer to our key (RFC 6455 §4.1).
    WrongAccept,
    /// The server chose an extension, or a parameter of it, that was not offered
    /// (RFC 6455 §4.1).
    UnexpectedExtension,
    /// The server chose a subprotocol that was not offered (RFC 6455 §4.1).
    UnexpectedSubprotocol,
}

impl core::fmt::Display for HandshakeError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::InvalidOption => "an option of the opening request cannot be sent",
            Self::MalformedResponse => "the server's response is not an HTTP/1.1 head",
            Self::ResponseTooLarge => "the server's response head is too large",
            Self::NotUpgraded => "the server's response does not upgrade to websocket",
            Self::WrongAccept => "the server's response does not answer our key",
            Self::UnexpectedExtension => "the server chose an extension that was not offered",
            Self::UnexpectedSubprotocol => "the server chose a subprotocol that was not offered",
        })
    }
}

impl core::error::Error for HandshakeError {}

/// A header name or value that would break the head it is written into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHeader;

impl core::fmt::Display for InvalidHeader {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("the header cannot be sent: invalid or reserved name, or bad value")
    }
}

impl core::error::Error for InvalidHeader {}

/// Extra headers to send, checked so that they cannot end a line or replace a header of the
/// handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtraHeaders {
    lines: String,
}

impl ExtraHeaders {
    /// Adds one line.
    ///
    /// # Errors
    /// If the name is not a token or belongs to the handshake or to message framing, or the
    /// value has control bytes.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let reserved = [
            "host",
            "upgrade",
            "connection",
            "content-length",
            "transfer-encoding",
        ];
        let lower = name.to_ascii_lowercase();
        let taken = reserved.contains(&lower.as_str()) || lower.starts_with("sec-websocket-");
        if taken || !head::is_token(name.as_bytes()) || !head::is_field_value(value.as_bytes()) {
            return Err(InvalidHeader);
        }
        self.lines.push_str(name);
        self.lines.push_str(": ");
        self.lines.push_str(value);
        self.lines.push_str("\r\n");
        Ok(())
    }

    fn as_str(&self) -> &str {
        &self.lines
    }
}
