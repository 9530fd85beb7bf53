use alloc::format;
use alloc::string::String;

use bytes::Bytes;

/// A server's answer to a request that it does not upgrade: a status, and the connection
/// closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: the head is not HTTP/1.1, or the upgrade lacks what RFC 6455 §4.2.1 demands. The
    /// text says what.
    BadRequest(&'static str),
    /// 403: the origin is not allowed (RFC 6455 §4.2.2).
    Forbidden,
    /// 404: there is nothing at this path.
    NotFound,
    /// 405: a WebSocket opens with GET.
    MethodNotAllowed,
    /// 408: the head did not arrive in time.
    RequestTimeout,
    /// 426: the version is not 13 (RFC 6455 §4.4).
    UpgradeRequired,
    /// 431: the head has too many bytes or lines.
    HeadTooLarge,
    /// 503: the server takes no more connections now.
    Overloaded {
        /// When to try again, in seconds.
        retry_after_seconds: u32,
    },
}

impl Refusal {
    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::UpgradeRequired => 426,
            Self::HeadTooLarge => 431,
            Self::Overloaded { .. } => 503,
        }
    }

    /// One sentence for the body and for a log.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(reason) => reason,
            Self::Forbidden => "the origin is not allowed",
            Self::NotFound => "nothing is served at this path",
            Self::MethodNotAllowed => "a websocket opens with GET",
            Self::RequestTimeout => "the request head did not arrive in time",
            Self::UpgradeRequired => "only websocket version 13 is spoken here",
            Self::HeadTooLarge => "the request head is too large",
            Self::Overloaded { .. } => "no more connections are accepted now",
        }
    }

    /// The whole response, to be written before the stream is closed.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let phrase = match self {
            Self::BadRequest(_) => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::UpgradeRequired => "Upgrade Required",
            Self::HeadTooLarge => "Request Header Fields Too Large",
            Self::Overloaded { .. } => "Service Unavailable",
        };
        let extra = match self {
            Self::MethodNotAllowed => String::from("Allow: GET\r\n"),
            // RFC 6455 §4.4 asks for the version, RFC 9110 §15.5.22 for Upgrade and the
            // connection option that goes with it.
            Self::UpgradeRequired => String::from(
                "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: upgrade\r\n",
            ),
            Self::Overloaded {
                retry_after_seconds,
            } => format!("Retry-After: {retry_after_seconds}\r\n"),
            _ => String::new(),
        };
        let (status, reason) = (self.status(), self.reason());
        let body_bytes = reason.len() + 1;
        Bytes::from(format!(
            "HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n{extra}\
             Content-Type: text/plain\r\nContent-Length: {body_bytes}\r\n\r\n{reason}\n"
        ))
    }
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{}: {}", self.status(), self.reason())
    }
}
