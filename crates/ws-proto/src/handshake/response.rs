//! The client's side: the request, and the response to a verdict (RFC 6455 §4.1).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::head::{self, HeadScanner, HeadStatus, Headers};
use super::{ExtraHeaders, HandshakeError, HandshakeLimits, extension, key};

/// What a client asks for.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// `host` or `host:port` of the URL.
    pub host: String,
    /// Path and query of the URL, beginning with a slash.
    pub target: String,
    /// Subprotocols to offer, in order of preference.
    pub subprotocols: Vec<String>,
    /// Further headers, such as `Origin` or `Authorization`.
    pub headers: ExtraHeaders,
    /// Bounds of the response head.
    pub limits: HandshakeLimits,
    /// Whether and how to offer compression. Default: not at all.
    #[cfg(feature = "deflate")]
    pub deflate: Option<crate::deflate::Options>,
}

impl ClientOptions {
    /// A request for this resource without further wishes.
    #[must_use]
    pub fn new(host: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            target: target.into(),
            ..Self::default()
        }
    }
}

/// Writes one request and reads the response head.
#[derive(Debug)]
pub struct ClientHandshake {
    options: ClientOptions,
    key: String,
    scanner: HeadScanner,
}

/// What a response head turned out to be.
#[derive(Debug)]
pub enum ClientVerdict {
    /// The head has not ended; read more.
    Incomplete,
    /// The stream is a WebSocket from the byte behind the head on.
    Accepted(Box<ClientAccepted>),
    /// A valid answer that is not 101: a redirect, a challenge, an error.
    Refused(Box<Response>),
}

/// The server's consent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientAccepted {
    /// The response, for its headers and the length of its head.
    pub response: Response,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
    /// For [`Config::deflate`](crate::Config::deflate): messages may be compressed.
    #[cfg(feature = "deflate")]
    pub deflate: Option<crate::deflate::Session>,
}

/// A complete response head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Headers,
}

impl Response {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The header lines.
    #[must_use]
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The first value of this header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.first(name)?;
        core::str::from_utf8(value).ok()
    }

    /// Length of the head: what follows it in the received bytes is not part of it.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.headers.head().len()
    }
}

impl ClientHandshake {
    /// Prepares a request. `nonce` must be fresh random bytes (RFC 6455 §4.1).
    ///
    /// # Errors
    /// [`HandshakeError::InvalidOption`] if host, target or a subprotocol cannot stand in a
    /// request head.
    pub fn new(options: ClientOptions, nonce: [u8; 16]) -> Result<Self, HandshakeError> {
        let graphic = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        let target_fits = options.target.starts_with('/') && !options.target.contains('#');
        let mut seen: Vec<&str> = Vec::new();
        for subprotocol in &options.subprotocols {
            if !head::is_token(subprotocol.as_bytes()) || seen.contains(&subprotocol.as_str()) {
                return Err(HandshakeError::InvalidOption);
            }
            seen.push(subprotocol);
        }
        if !graphic(&options.host) || !graphic(&options.target) || !target_fits {
            return Err(HandshakeError::InvalidOption);
        }
        Ok(Self {
            options,
            key: key::encode_nonce(nonce),
            scanner: HeadScanner::default(),
        })
    }

    /// The request head, to be written first.
    #[must_use]
    pub fn request(&self) -> Bytes {
        let options = &self.options;
        let subprotocol_line = if options.subprotocols.is_empty() {
            String::new()
        } else {
            format!(
                "Sec-WebSocket-Protocol: {}\r\n",
                options.subprotocols.join(", ")
            )
        };
        #[cfg(feature = "deflate")]
        let extension_line = options
            .deflate
            .as_ref()
            .map(|options| {
                let offer = crate::deflate::offer(options);
                format!("Sec-WebSocket-Extensions: {offer}\r\n")
            })
            .unwrap_or_default();
        #[cfg(not(feature = "deflate"))]
        let extension_line = "";
        Bytes::from(format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\
             {subprotocol_line}{extension_line}{}\r\n",
            options.target,
            options.host,
            self.key,
            options.headers.as_str(),
        ))
    }

    /// Takes everything received so far, from the first byte of the response on.
    ///
    /// # Errors
    /// The first rule of RFC 6455 §4.1 that the response breaks. Close the stream then.
    pub fn handle_bytes(&mut self, received: &[u8]) -> Result<ClientVerdict, HandshakeError> {
        let limits = &self.options.limits;
        let head_bytes = match self.scanner.scan(received, limits.head_bytes_max) {
            HeadStatus::Incomplete => return Ok(ClientVerdict::Incomplete),
            HeadStatus::TooLarge => return Err(HandshakeError::ResponseTooLarge),
            HeadStatus::Malformed => return Err(HandshakeError::MalformedResponse),
            HeadStatus::Complete(head_bytes) => head_bytes,
        };
        let head = received.get(..head_bytes).unwrap_or_default();
        let response = parse(head, limits.headers_max)?;
        if response.status != 101 {
            return Ok(ClientVerdict::Refused(Box::new(response)));
        }
        self.check_upgrade(&response.headers)?;
        let extensions = extension::parse(response.headers.all("sec-websocket-extensions"))
            .map_err(|_| HandshakeError::UnexpectedExtension)?;
        #[cfg(feature = "deflate")]
        let deflate = self.check_deflate(&extensions)?;
        #[cfg(not(feature = "deflate"))]
        if !extensions.is_empty() {
            return Err(HandshakeError::UnexpectedExtension);
        }
        let subprotocol = self.check_subprotocol(&response.headers)?;
        Ok(ClientVerdict::Accepted(Box::new(ClientAccepted {
            subprotocol,
            #[cfg(feature = "deflate")]
            deflate,
            response,
        })))
    }

    /// The rules of RFC 6455 §4.1 for the upgrade itself.
    fn check_upgrade(&self, headers: &Headers) -> Result<(), HandshakeError> {
        let upgraded = headers
            .single("upgrade")
            .ok()
            .flatten()
            .is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
        if !upgraded || !headers.has_token("connection", "upgrade") {
            return Err(HandshakeError::NotUpgraded);
        }
        let expected = key::accept_value(self.key.as_bytes());
        match headers.single("sec-websocket-accept") {
            Ok(Some(value)) if value == expected.as_bytes() => Ok(()),
            _ => Err(HandshakeError::WrongAccept),
        }
    }

    #[cfg(feature = "deflate")]
    fn check_deflate(
        &self,
        extensions: &[extension::Extension<'_>],
    ) -> Result<Option<crate::deflate::Session>, HandshakeError> {
        let Some(options) = &self.options.deflate else {
            return match extensions {
                [] => Ok(None),
                _ => Err(HandshakeError::UnexpectedExtension),
            };
        };
        let parameters = crate::deflate::check_response(extensions, options)
            .ok_or(HandshakeError::UnexpectedExtension)?;
        Ok(parameters.map(|parameters| crate::deflate::Session::new(parameters, options)))
    }

    /// The chosen subprotocol must be one that was offered (RFC 6455 §4.1).
    fn check_subprotocol(&self, headers: &Headers) -> Result<Option<String>, HandshakeError> {
        let chosen = headers
            .single("sec-websocket-protocol")
            .map_err(|_| HandshakeError::UnexpectedSubprotocol)?;
        let Some(chosen) = chosen else {
            return Ok(None);
        };
        let mut offered = self.options.subprotocols.iter();
        offered
            .find(|ours| ours.as_bytes() == chosen)
            .map(|ours| Some(ours.clone()))
            .ok_or(HandshakeError::UnexpectedSubprotocol)
    }
}

fn parse(head: &[u8], headers_max: usize) -> Result<Response, HandshakeError> {
    let mut lines = vec![httparse::EMPTY_HEADER; headers_max];
    let mut parsed = httparse::Response::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HandshakeError::ResponseTooLarge),
        _ => return Err(HandshakeError::MalformedResponse),
    }
    // RFC 9110 §7.8: only HTTP/1.1 can switch protocols.
    let status = parsed.code.unwrap_or_default();
    if status == 101 && parsed.version != Some(1) {
        return Err(HandshakeError::MalformedResponse);
    }
    Ok(Response {
        status,
        headers: Headers::new(Bytes::copy_from_slice(head), parsed.headers, head),
    })
}
