//! The server's side: a request head to a verdict (RFC 6455 §4.2).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::head::{self, HeadScanner, HeadStatus, Headers, bytes_at, range_in, split_list, str_at};
use super::{ExtraHeaders, HandshakeLimits, Refusal, extension, key};

/// Which origins may open a WebSocket. Browsers send one, other clients mostly none; without
/// an `Origin` header every policy lets the request pass (RFC 6455 §10.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPolicy {
    /// All.
    #[default]
    Any,
    /// Only pages of the host that the request names.
    SameHost,
    /// Only these, each as `scheme://host[:port]`, whatever their case.
    List(Vec<String>),
}

/// What a server answers to an upgrade.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Which origins are let in; the others get 403.
    pub origins: OriginPolicy,
    /// Subprotocols that the server speaks. The first of the client's list that is among them
    /// is chosen; none is chosen if there is no such one.
    pub subprotocols: Vec<String>,
    /// Further headers of the response.
    pub headers: ExtraHeaders,
    /// Whether and how messages may be compressed. Default: not at all.
    #[cfg(feature = "deflate")]
    pub deflate: Option<crate::deflate::Options>,
}

/// Reads one request head.
#[derive(Debug, Default)]
pub struct ServerHandshake {
    limits: HandshakeLimits,
    scanner: HeadScanner,
}

/// What a request head turned out to be.
#[derive(Debug)]
pub enum ServerVerdict {
    /// The head has not ended; read more.
    Incomplete,
    /// A valid request for a WebSocket.
    Upgrade(Box<UpgradeRequest>),
    /// A valid request for something else.
    NotUpgrade(Box<Request>),
    /// Write [`Refusal::encode`], then close.
    Refuse(Refusal),
}

impl ServerHandshake {
    /// Starts to read a head within these limits.
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            scanner: HeadScanner::default(),
        }
    }

    /// Takes everything received so far, from the first byte of the connection on.
    ///
    /// A head that cannot become valid is refused at its first wrong byte.
    pub fn handle_bytes(&mut self, received: &[u8]) -> ServerVerdict {
        let head_bytes = match self.scanner.scan(received, self.limits.head_bytes_max) {
            HeadStatus::Incomplete => return ServerVerdict::Incomplete,
            HeadStatus::TooLarge => return ServerVerdict::Refuse(Refusal::HeadTooLarge),
            HeadStatus::Malformed => {
                return ServerVerdict::Refuse(Refusal::BadRequest("the request head is malformed"));
            }
            HeadStatus::Complete(head_bytes) => head_bytes,
        };
        let head = received.get(..head_bytes).unwrap_or_default();
        match judge(head, self.limits.headers_max) {
            Ok(verdict) => verdict,
            Err(refusal) => ServerVerdict::Refuse(refusal),
        }
    }
}

/// A complete request head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    method: Range<usize>,
    target: Range<usize>,
    minor_version: u8,
    headers: Headers,
}

impl Request {
    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        str_at(self.headers.head(), &self.method)
    }

    /// The request target as sent: path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        str_at(self.headers.head(), &self.target)
    }

    /// The target up to its query.
    #[must_use]
    pub fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    #[must_use]
    pub const fn minor_version(&self) -> u8 {
        self.minor_version
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

/// A request for a WebSocket that has everything RFC 6455 §4.2.1 demands.
#[derive(Debug, Clone)]
pub struct UpgradeRequest {
    request: Request,
    accept: String,
}

/// The server's consent: write `response`, then the stream is a WebSocket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Accepted {
    /// The response head.
    pub response: Bytes,
    /// The subprotocol that was chosen.
    pub subprotocol: Option<String>,
    /// For [`Config::deflate`](crate::Config::deflate): messages may be compressed.
    #[cfg(feature = "deflate")]
    pub deflate: Option<crate::deflate::Session>,
}

impl UpgradeRequest {
    /// The request, for path and headers.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The request on its own.
    #[must_use]
    pub fn into_request(self) -> Request {
        self.request
    }

    /// Subprotocols that the client offers, in its order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let lists = self.request.headers.all("sec-websocket-protocol");
        lists
            .flat_map(split_list)
            .filter_map(|token| core::str::from_utf8(token).ok())
    }

    /// Agrees to the upgrade.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] if the origin is not allowed.
    pub fn accept(&self, options: &ServerOptions) -> Result<Accepted, Refusal> {
        if !self.is_origin_allowed(&options.origins) {
            return Err(Refusal::Forbidden);
        }
        let subprotocol = self
            .subprotocols()
            .find(|offered| options.subprotocols.iter().any(|ours| ours == offered))
            .map(String::from);
        let subprotocol_line = subprotocol
            .as_ref()
            .map(|chosen| format!("Sec-WebSocket-Protocol: {chosen}\r\n"))
            .unwrap_or_default();
        #[cfg(feature = "deflate")]
        let deflate = self.choose_deflate(options);
        #[cfg(feature = "deflate")]
        let extension_line = deflate
            .as_ref()
            .map(|(_, response)| format!("Sec-WebSocket-Extensions: {response}\r\n"))
            .unwrap_or_default();
        #[cfg(not(feature = "deflate"))]
        let extension_line = "";
        let response = Bytes::from(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{subprotocol_line}{extension_line}{}\r\n",
            self.accept,
            options.headers.as_str(),
        ));
        Ok(Accepted {
            response,
            subprotocol,
            #[cfg(feature = "deflate")]
            deflate: deflate.map(|(session, _)| session),
        })
    }

    #[cfg(feature = "deflate")]
    fn choose_deflate(&self, options: &ServerOptions) -> Option<(crate::deflate::Session, String)> {
        let options = options.deflate.as_ref()?;
        let values = self.request.headers.all("sec-websocket-extensions");
        // The grammar was checked when the request was judged.
        let offers = extension::parse(values).ok()?;
        let chosen = crate::deflate::choose(&offers, options)?;
        let session = crate::deflate::Session::new(chosen.parameters, options);
        Some((session, chosen.response))
    }

    fn is_origin_allowed(&self, policy: &OriginPolicy) -> bool {
        if *policy == OriginPolicy::Any {
            return true;
        }
        let headers = &self.request.headers;
        let origin = match headers.single("origin") {
            Err(_) => return false,
            Ok(None) => return true,
            Ok(Some(origin)) => origin,
        };
        match policy {
            OriginPolicy::Any => true,
            OriginPolicy::SameHost => {
                let host = headers.first("host").unwrap_or_default();
                let rest = [b"http://".as_slice(), b"https://"]
                    .iter()
                    .find_map(|scheme| origin.strip_prefix(*scheme));
                rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
            }
            OriginPolicy::List(list) => list
                .iter()
                .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin)),
        }
    }
}

fn judge(head: &[u8], headers_max: usize) -> Result<ServerVerdict, Refusal> {
    let request = parse(head, headers_max)?;
    let has_body = check_framing(&request)?;
    let headers = &request.headers;
    if !headers.has_token("upgrade", "websocket") {
        let half = ["sec-websocket-key", "sec-websocket-version"];
        if half.iter().any(|name| headers.first(name).is_some()) {
            return Err(Refusal::BadRequest("the upgrade header is missing"));
        }
        return Ok(ServerVerdict::NotUpgrade(Box::new(request)));
    }
    let key = check_upgrade(&request, has_body)?;
    let accept = key::accept_value(key);
    Ok(ServerVerdict::Upgrade(Box::new(UpgradeRequest {
        request,
        accept,
    })))
}

fn parse(head: &[u8], headers_max: usize) -> Result<Request, Refusal> {
    let mut lines = vec![httparse::EMPTY_HEADER; headers_max];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Err(Refusal::BadRequest("the request head is malformed"));
        }
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) => {
            return Err(Refusal::BadRequest("only HTTP/1.1 is spoken here"));
        }
        Err(_) => return Err(Refusal::BadRequest("the request head is malformed")),
    }
    let method = parsed.method.unwrap_or_default();
    let target = parsed.path.unwrap_or_default();
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::BadRequest("the request target is malformed"));
    }
    Ok(Request {
        method: range_in(head, method.as_bytes()),
        target: range_in(head, target.as_bytes()),
        minor_version: parsed.version.unwrap_or_default(),
        headers: Headers::new(Bytes::copy_from_slice(head), parsed.headers, head),
    })
}

/// Refuses heads that two readers could cut differently (RFC 9112 §3.2, §6.1, §6.3, §11.2).
/// Says whether a body follows.
fn check_framing(request: &Request) -> Result<bool, Refusal> {
    let headers = &request.headers;
    let host = headers
        .single("host")
        .map_err(|_| Refusal::BadRequest("the host header is repeated"))?;
    match host {
        None if request.minor_version == 1 => {
            return Err(Refusal::BadRequest("the host header is missing"));
        }
        Some(host) if !is_host(host) => {
            return Err(Refusal::BadRequest("the host header is malformed"));
        }
        _ => {}
    }
    let length = headers
        .single("content-length")
        .map_err(|_| Refusal::BadRequest("the content-length header is repeated"))?;
    if length.is_some_and(|value| !is_length(value)) {
        return Err(Refusal::BadRequest(
            "the content-length header is malformed",
        ));
    }
    let coding = headers
        .single("transfer-encoding")
        .map_err(|_| Refusal::BadRequest("the transfer-encoding header is repeated"))?;
    if let Some(coding) = coding {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        if !chunked || length.is_some() || request.minor_version == 0 {
            return Err(Refusal::BadRequest("the body's framing is ambiguous"));
        }
    }
    let empty = length.is_none_or(|value| value.iter().all(|&digit| digit == b'0'));
    Ok(coding.is_some() || !empty)
}

/// What RFC 6455 §4.2.1 demands of a request for a WebSocket. Returns its key.
fn check_upgrade(request: &Request, has_body: bool) -> Result<&[u8], Refusal> {
    let headers = &request.headers;
    if request.method() != "GET" {
        return Err(Refusal::MethodNotAllowed);
    }
    if request.minor_version != 1 {
        return Err(Refusal::BadRequest("a websocket needs HTTP/1.1"));
    }
    if has_body {
        return Err(Refusal::BadRequest("a websocket request has no body"));
    }
    if headers.first("host").is_some_and(<[u8]>::is_empty) {
        return Err(Refusal::BadRequest("the host header is empty"));
    }
    if !headers.has_token("connection", "upgrade") {
        return Err(Refusal::BadRequest(
            "the connection header does not say upgrade",
        ));
    }
    if !matches!(headers.single("sec-websocket-version"), Ok(Some(b"13"))) {
        return Err(Refusal::UpgradeRequired);
    }
    let target = request.target();
    let relative = target.starts_with('/');
    let absolute = ["http://", "https://", "ws://", "wss://"]
        .iter()
        .any(|scheme| target.starts_with(scheme));
    if !(relative || absolute) || target.contains('#') {
        return Err(Refusal::BadRequest("the request target is malformed"));
    }
    check_subprotocols(headers)?;
    if extension::parse(headers.all("sec-websocket-extensions")).is_err() {
        return Err(Refusal::BadRequest(
            "the sec-websocket-extensions is malformed",
        ));
    }
    match headers.single("sec-websocket-key") {
        Ok(Some(key)) if key::is_valid(key) => Ok(key),
        Ok(None) => Err(Refusal::BadRequest("the sec-websocket-key is missing")),
        _ => Err(Refusal::BadRequest("the sec-websocket-key is malformed")),
    }
}

/// Offered subprotocols are tokens, each once (RFC 6455 §4.1).
fn check_subprotocols(headers: &Headers) -> Result<(), Refusal> {
    let mut seen: Vec<&[u8]> = Vec::new();
    for token in headers.all("sec-websocket-protocol").flat_map(split_list) {
        if !head::is_token(token) || seen.contains(&token) || seen.len() == SUBPROTOCOLS_MAX {
            return Err(Refusal::BadRequest(
                "the sec-websocket-protocol is malformed",
            ));
        }
        seen.push(token);
    }
    Ok(())
}

/// More offers than any client has; keeps the search for repeats short.
const SUBPROTOCOLS_MAX: usize = 64;

/// Bytes of `uri-host [ ":" port ]` (RFC 9110 §7.2). Empty is legal in plain HTTP.
fn is_host(host: &[u8]) -> bool {
    host.iter().all(|&byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b':'
                    | b'['
                    | b']'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
    })
}

/// One decimal number without sign, list or blanks that fits 64 bits.
fn is_length(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit)
}

impl UpgradeRequest {
    /// The key's answer, for a caller that writes its own response.
    #[must_use]
    pub fn accept_value(&self) -> &str {
        &self.accept
    }
}

impl From<UpgradeRequest> for Request {
    fn from(upgrade: UpgradeRequest) -> Self {
        upgrade.request
    }
}

impl AsRef<[u8]> for Request {
    fn as_ref(&self) -> &[u8] {
        bytes_at(self.headers.head(), &(0..self.head_bytes()))
    }
}
