//! The opening handshake (RFC 6455 §4): what is accepted, and each refusal.

use ws_proto::handshake::{
    Accepted, ClientHandshake, ClientOptions, ClientVerdict, ExtraHeaders, HandshakeError,
    HandshakeLimits, OriginPolicy, Refusal, ServerHandshake, ServerOptions, ServerVerdict,
    UpgradeRequest,
};

const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION_LINE: &str = "Sec-WebSocket-Version: 13";

/// The request of RFC 6455 §1.2 as lines, to be changed one at a time.
fn request_lines() -> Vec<String> {
    [
        "GET /chat HTTP/1.1",
        "Host: server.example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        KEY_LINE,
        "Origin: http://example.com",
        "Sec-WebSocket-Protocol: chat, superchat",
        VERSION_LINE,
    ]
    .map(String::from)
    .to_vec()
}

fn head(lines: &[String]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

fn judge(head: &[u8]) -> ServerVerdict {
    ServerHandshake::new(HandshakeLimits::DEFAULT).handle_bytes(head)
}

fn upgrade(head: &[u8]) -> UpgradeRequest {
    match judge(head) {
        ServerVerdict::Upgrade(upgrade) => *upgrade,
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(head)),
    }
}

/// The status for a request with this line put in place of the one that starts alike (or
/// added). An empty replacement removes the line.
fn status_with(start: &str, replacement: &str) -> u16 {
    let mut lines = request_lines();
    match lines.iter().position(|line| line.starts_with(start)) {
        Some(index) if replacement.is_empty() => drop(lines.remove(index)),
        Some(index) => lines[index] = replacement.into(),
        None => lines.push(replacement.into()),
    }
    status(&head(&lines))
}

fn status_with_added(line: &str) -> u16 {
    let mut lines = request_lines();
    lines.push(line.into());
    status(&head(&lines))
}

/// 101, 200 for what is handed back, or the refusal's.
fn status(head: &[u8]) -> u16 {
    match judge(head) {
        ServerVerdict::Incomplete => 0,
        ServerVerdict::Upgrade(_) => 101,
        ServerVerdict::NotUpgrade(_) => 200,
        ServerVerdict::Refuse(refusal) => {
            let response = String::from_utf8(refusal.encode().to_vec()).unwrap();
            let start = format!("HTTP/1.1 {} ", refusal.status());
            assert!(response.starts_with(&start), "{response}");
            assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
            refusal.status()
        }
    }
}

/// The request and the response of RFC 6455 §1.2.
#[test]
fn the_example_of_the_rfc() {
    let upgrade = upgrade(&head(&request_lines()));
    let request = upgrade.request();
    assert_eq!((request.method(), request.target()), ("GET", "/chat"));
    assert_eq!(request.header("ORIGIN"), Some("http://example.com"));
    assert_eq!(
        upgrade.subprotocols().collect::<Vec<_>>(),
        ["chat", "superchat"]
    );
    let mut options = ServerOptions::default();
    options.subprotocols = vec!["superchat".into(), "chat".into()];
    let Accepted {
        response,
        subprotocol,
        ..
    } = upgrade.accept(&options).unwrap();
    assert_eq!(subprotocol.as_deref(), Some("chat"));
    assert_eq!(
        response,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Protocol: chat\r\n\r\n"
    );
}

#[test]
fn variants_that_are_legal() {
    for (start, line) in [
        ("Upgrade", "upgrade: WebSocket"),
        ("Upgrade", "Upgrade: h2c, websocket"),
        ("Connection", "connection: keep-alive, upgrade"),
        ("Connection", "Connection:Upgrade"),
        ("Origin", ""),
        ("Sec-WebSocket-Protocol", ""),
        ("GET", "GET http://server.example.com/chat HTTP/1.1"),
        ("GET", "GET /?query=1&x=%20 HTTP/1.1"),
        ("Host", "Host: [::1]:8092"),
        ("Content-Length", "Content-Length: 0"),
        ("Cookie", "Cookie: a=\u{e9}; b"),
    ] {
        assert_eq!(status_with(start, line), 101, "{line}");
    }
    assert_eq!(status_with_added("Connection: something-else"), 101);
}

#[test]
fn bytes_behind_the_head_are_left() {
    let mut bytes = head(&request_lines());
    let head_bytes = bytes.len();
    bytes.extend(b"\x81\x80frames");
    assert_eq!(upgrade(&bytes).request().head_bytes(), head_bytes);
}

#[test]
fn requests_that_are_no_upgrade_are_handed_back() {
    for (text, path) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "/"),
        ("GET /health?full HTTP/1.0\r\n\r\n", "/health"),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
            "/x",
        ),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/x",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            "/",
        ),
    ] {
        let ServerVerdict::NotUpgrade(request) = judge(text.as_bytes()) else {
            panic!("{text}");
        };
        assert_eq!(request.path(), path);
        assert_eq!(
            &text[request.head_bytes()..],
            text.split_once("\r\n\r\n").unwrap().1
        );
    }
}

#[test]
fn upgrades_that_lack_something_are_400() {
    for (start, line) in [
        ("GET", "GET /chat HTTP/1.0"),
        ("GET", "GET /chat HTTP/2.0"),
        ("GET", "GET chat HTTP/1.1"),
        ("GET", "GET /chat#part HTTP/1.1"),
        ("GET", "GET  /chat HTTP/1.1"),
        ("Host", ""),
        ("Host", "Host:"),
        ("Host", "Host: a, b"),
        ("Host", "Host: a/b"),
        ("Upgrade", ""),
        ("Connection", ""),
        ("Connection", "Connection: close"),
        ("Sec-WebSocket-Key", ""),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="),
        (
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ",
        ),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: a b"),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: a, a"),
        ("Content-Length", "Content-Length: 5"),
        ("Transfer-Encoding", "Transfer-Encoding: chunked"),
    ] {
        assert_eq!(status_with(start, line), 400, "{start} -> {line}");
    }
    assert_eq!(status_with_added(KEY_LINE), 400);
    assert_eq!(status_with_added("Host: server.example.com"), 400);
}

/// What two readers could cut differently never gets through (RFC 9112 §11.2).
#[test]
fn smuggling_shapes_are_400() {
    let plain = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
    for lines in [
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 4",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 0x4",
        "Content-Length: 4 4",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Content-Length : 4",
        " Content-Length: 4",
        "X: a\r\n folded: b",
        "X: a\r\n\tfolded",
        "X: a\nContent-Length: 4",
        "X: a\rContent-Length: 4",
        "X: a\0b",
        "X\u{e9}: a",
        ": no name",
        "no colon",
        "Host: b",
    ] {
        let text = plain(lines);
        assert_eq!(status(text.as_bytes()), 400, "{lines:?}");
        let upgrade = text.replace("POST /", "GET /").replace(
            "Host: a\r\n",
            &format!(
                "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{KEY_LINE}\r\n\
                {VERSION_LINE}\r\n"
            ),
        );
        assert_eq!(status(upgrade.as_bytes()), 400, "upgrade with {lines:?}");
    }
    for text in [
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\n\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_eq!(status(text.as_bytes()), 400, "{text:?}");
    }
}

/// Not HTTP at all: refused at the first byte that shows it, without waiting for more.
#[test]
fn other_protocols_are_refused_at_once() {
    assert_eq!(status(b"\x16\x03\x01\x02"), 400);
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a\n"), 400);
    assert_eq!(status(b"\0"), 400);
    assert_eq!(status(b"\n"), 400);
    assert_eq!(status(b""), 0);
}

#[test]
fn other_methods_are_405() {
    for method in ["POST", "HEAD", "PUT", "get", "CONNECT", "OPTIONS"] {
        assert_eq!(
            status_with("GET", &format!("{method} /chat HTTP/1.1")),
            405,
            "{method}"
        );
    }
    let response = Refusal::MethodNotAllowed.encode();
    assert!(String::from_utf8_lossy(&response).contains("\r\nAllow: GET\r\n"));
}

#[test]
fn other_versions_are_426() {
    for line in [
        "",
        "Sec-WebSocket-Version: 8",
        "Sec-WebSocket-Version: 013",
        "Sec-WebSocket-Version: 13, 8",
        "Sec-WebSocket-Version: 130",
    ] {
        assert_eq!(status_with("Sec-WebSocket-Version", line), 426, "{line}");
    }
    assert_eq!(status_with_added(VERSION_LINE), 426);
    let response = String::from_utf8_lossy(&Refusal::UpgradeRequired.encode()).into_owned();
    assert!(response.contains("\r\nSec-WebSocket-Version: 13\r\n"));
    assert!(response.contains("\r\nUpgrade: websocket\r\n"));
}

#[test]
fn refusals_of_the_driver() {
    let text = |refusal: Refusal| String::from_utf8_lossy(&refusal.encode()).into_owned();
    let overloaded = Refusal::Overloaded {
        retry_after_seconds: 7,
    };
    assert!(text(overloaded).starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(text(overloaded).contains("\r\nRetry-After: 7\r\n"));
    assert!(text(Refusal::RequestTimeout).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(text(Refusal::NotFound).starts_with("HTTP/1.1 404 Not Found\r\n"));
}

#[test]
fn head_bytes_have_a_limit() {
    let mut limits = HandshakeLimits::DEFAULT;
    let padded = |bytes: usize| {
        let bare = head(&request_lines()).len() + "X: \r\n".len();
        let mut lines = request_lines();
        lines.push(format!("X: {}", "x".repeat(bytes - bare)));
        head(&lines)
    };
    assert_eq!(limits.head_bytes_max, 16_384);
    let edge = padded(16_384);
    assert_eq!(edge.len(), 16_384);
    assert_eq!(status(&edge), 101);
    assert_eq!(status(&padded(16_385)), 431);
    // An endless head is refused when the limit is reached, not when it ends.
    assert_eq!(status(&edge[..16_383]), 0);
    assert_eq!(status(&[b'a'; 16_384]), 431);
    limits.head_bytes_max = 10;
    let verdict = ServerHandshake::new(limits).handle_bytes(b"GET /chat HTTP/1.1\r\n");
    assert!(matches!(
        verdict,
        ServerVerdict::Refuse(Refusal::HeadTooLarge)
    ));
}

#[test]
fn header_lines_have_a_limit() {
    let with_lines = |count: usize| {
        let mut lines = request_lines();
        (lines.len() - 1..count).for_each(|index| lines.push(format!("X-{index}: y")));
        head(&lines)
    };
    assert_eq!(status(&with_lines(100)), 101);
    assert_eq!(status(&with_lines(101)), 431);
}

#[test]
fn origins() {
    let listed = OriginPolicy::List(vec!["https://app.example".into()]);
    let with_origin = |line: &str| {
        let mut lines = request_lines();
        lines.retain(|line| !line.starts_with("Origin"));
        lines.extend((!line.is_empty()).then(|| line.to_string()));
        upgrade(&head(&lines))
    };
    let verdict = |line: &str, policy: &OriginPolicy| {
        let mut options = ServerOptions::default();
        options.origins = policy.clone();
        with_origin(line).accept(&options).map(|_| ())
    };
    let evil = "Origin: https://evil.example";
    assert_eq!(verdict(evil, &OriginPolicy::Any), Ok(()));
    assert_eq!(verdict(evil, &listed), Err(Refusal::Forbidden));
    assert_eq!(
        verdict(evil, &OriginPolicy::SameHost),
        Err(Refusal::Forbidden)
    );
    assert_eq!(verdict("Origin: https://APP.example", &listed), Ok(()));
    assert_eq!(
        verdict("Origin: https://app.example:444", &listed),
        Err(Refusal::Forbidden)
    );
    assert_eq!(verdict("Origin: null", &listed), Err(Refusal::Forbidden));
    assert_eq!(verdict("", &listed), Ok(()));
    assert_eq!(
        verdict("Origin: http://server.example.com", &OriginPolicy::SameHost),
        Ok(())
    );
    let twice = "Origin: https://app.example\r\nOrigin: https://app.example";
    assert_eq!(verdict(twice, &listed), Err(Refusal::Forbidden));
    assert_eq!(Refusal::Forbidden.status(), 403);
}

#[test]
fn subprotocols_that_do_not_meet() {
    let mut options = ServerOptions::default();
    options.subprotocols = vec!["other".into()];
    let accepted = upgrade(&head(&request_lines())).accept(&options).unwrap();
    assert_eq!(accepted.subprotocol, None);
    assert!(!String::from_utf8_lossy(&accepted.response).contains("Protocol:"));
}

#[test]
fn extra_headers_cannot_break_out() {
    let mut headers = ExtraHeaders::default();
    for (name, value) in [
        ("X", "a\r\nSet-Cookie: b"),
        ("X", "a\nb"),
        ("X", "a\0b"),
        ("X Y", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Host", "a"),
        ("upgrade", "a"),
        ("Sec-WebSocket-Accept", "a"),
        ("Content-Length", "1"),
    ] {
        assert!(headers.add(name, value).is_err(), "{name}: {value:?}");
    }
    headers.add("X-Shard", "3").unwrap();
    let mut options = ServerOptions::default();
    options.headers = headers;
    let response = upgrade(&head(&request_lines()))
        .accept(&options)
        .unwrap()
        .response;
    assert!(String::from_utf8_lossy(&response).ends_with("\r\nX-Shard: 3\r\n\r\n"));
}

fn client() -> ClientHandshake {
    let mut options = ClientOptions::new("server.example.com", "/chat");
    options.subprotocols = vec!["chat".into(), "superchat".into()];
    ClientHandshake::new(options, *b"the sample nonce").unwrap()
}

const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

#[test]
fn the_client_asks_as_in_the_rfc() {
    let mut client = client();
    let request = client.request();
    assert_eq!(
        request,
        "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n"
    );
    let mut options = ServerOptions::default();
    options.subprotocols = vec!["chat".into()];
    let accepted = upgrade(&request).accept(&options).unwrap();
    // Byte by byte, with the first frame behind it.
    let wire = [&accepted.response[..], b"\x81\x00"].concat();
    let head_bytes = accepted.response.len();
    for end in 0..head_bytes {
        let verdict = client.handle_bytes(&wire[..end]).unwrap();
        assert!(matches!(verdict, ClientVerdict::Incomplete), "{end}");
    }
    let Ok(ClientVerdict::Accepted(accepted)) = client.handle_bytes(&wire) else {
        panic!("not accepted");
    };
    assert_eq!(accepted.subprotocol.as_deref(), Some("chat"));
    assert_eq!(accepted.response.head_bytes(), head_bytes);
}

#[test]
fn responses_that_break_a_rule() {
    use HandshakeError as E;
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for (from, to, error) in [
        ("Upgrade: websocket\r\n", "", E::NotUpgraded),
        ("Upgrade: websocket", "Upgrade: h2c", E::NotUpgraded),
        ("Connection: Upgrade\r\n", "", E::NotUpgraded),
        ("Connection: Upgrade", "Connection: close", E::NotUpgraded),
        (accept, "", E::WrongAccept),
        ("s3pPL", "S3pPL", E::WrongAccept),
        (accept, &accept.repeat(2), E::WrongAccept),
        (
            "Protocol: chat",
            "Protocol: other",
            E::UnexpectedSubprotocol,
        ),
        (
            "Protocol: chat",
            "Protocol: chat, superchat",
            E::UnexpectedSubprotocol,
        ),
        (
            "Protocol: chat",
            "Extensions: permessage-deflate",
            E::UnexpectedExtension,
        ),
        ("HTTP/1.1", "HTTP/1.0", E::MalformedResponse),
        ("HTTP/1.1", "ICY", E::MalformedResponse),
        (
            "Connection: Upgrade\r\n",
            "Connection: Upgrade\n",
            E::MalformedResponse,
        ),
        (
            "Upgrade: websocket\r\n",
            "Upgrade: websocket\r\n folded\r\n",
            E::MalformedResponse,
        ),
    ] {
        let text = RESPONSE.replacen(from, to, 1);
        assert_ne!(text, RESPONSE);
        assert_eq!(
            client().handle_bytes(text.as_bytes()).unwrap_err(),
            error,
            "{from} -> {to}"
        );
    }
    let endless = [b'a'; 16_384];
    assert_eq!(
        client().handle_bytes(&endless).unwrap_err(),
        E::ResponseTooLarge
    );
    let lines = "X: y\r\n".repeat(101);
    let text = RESPONSE.replacen("\r\n", &format!("\r\n{lines}"), 1);
    assert_eq!(
        client().handle_bytes(text.as_bytes()).unwrap_err(),
        E::ResponseTooLarge
    );
}

#[test]
fn other_statuses_are_handed_to_the_caller() {
    let text = b"HTTP/1.1 302 Found\r\nLocation: ws://other/\r\nContent-Length: 0\r\n\r\n";
    let Ok(ClientVerdict::Refused(response)) = client().handle_bytes(text) else {
        panic!("not refused");
    };
    assert_eq!(response.status(), 302);
    assert_eq!(response.header("location"), Some("ws://other/"));
}

#[test]
fn options_that_cannot_be_sent() {
    let nonce = [0; 16];
    for (host, target) in [
        ("", "/"),
        ("a b", "/"),
        ("a\r\nX: y", "/"),
        ("a", ""),
        ("a", "chat"),
        ("a", "/a b"),
        ("a", "/#x"),
        ("a", "/\r\nX: y"),
    ] {
        let options = ClientOptions::new(host, target);
        let error = ClientHandshake::new(options, nonce).unwrap_err();
        assert_eq!(error, HandshakeError::InvalidOption, "{host:?} {target:?}");
    }
    for subprotocols in [vec!["a b"], vec![""], vec!["a", "a"], vec!["a,b"]] {
        let mut options = ClientOptions::new("a", "/");
        options.subprotocols = subprotocols.into_iter().map(String::from).collect();
        assert!(ClientHandshake::new(options, nonce).is_err());
    }
}
