//! Opening handshakes on real sockets (RFC 6455 §4).

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use support::{joined, listen, on_each_driver, raw};
use ws::{Config, Error, Handshake, Incoming, Message, OriginPolicy, Received, Refusal};

/// Gives `request` to a server with `config`; returns its error and what the client read.
async fn refused(request: impl Into<Vec<u8>>, config: &Config) -> (Refusal, String) {
    let request = request.into();
    let (listener, url) = listen().await;
    let client = raw::client(&url, move |mut stream| {
        stream.write_all(&request).expect("write");
        String::from_utf8(raw::read_to_end(&mut stream)).expect("text")
    });
    let (stream, _) = listener.accept().await.expect("accept");
    match ws::accept_with(stream, config).await {
        Err(Error::Handshake(Handshake::Refused(refusal))) => (refusal, joined(client).await),
        other => panic!("not refused: {other:?}"),
    }
}

async fn check_refusal(request: impl Into<Vec<u8>>, config: &Config, status: u16) -> String {
    let (refusal, answer) = refused(request, config).await;
    assert_eq!(refusal.status(), status);
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("connection: close\r\n"),
        "{answer}"
    );
    answer
}

#[test]
fn bad_requests_get_their_status() {
    on_each_driver(|_| async {
        let config = Config::new();
        let check = async |from: &str, to: &str, status| {
            assert!(raw::REQUEST.contains(from));
            check_refusal(raw::REQUEST.replace(from, to), &config, status).await
        };
        check("GET ", "POST ", 405).await;
        check("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400).await;
        check(
            "Host: example.com",
            "Content-Length: 5\r\nHost: example.com",
            400,
        )
        .await;
        let answer = check("Version: 13", "Version: 8", 426).await;
        assert!(answer.contains("Sec-WebSocket-Version: 13\r\n"), "{answer}");
        check_refusal("\u{1}\u{2}\r\n\r\n", &config, 400).await;
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
        check_refusal(long, &config, 431).await;
        let many = "GET / HTTP/1.1\r\n".to_string() + &"A: b\r\n".repeat(101) + "\r\n";
        check_refusal(many, &config, 431).await;
    });
}

/// The answer survives although the client goes on sending.
#[test]
fn a_refusal_is_not_destroyed_by_unread_bytes() {
    on_each_driver(|_| async {
        let mut request = b"\x00garbage\r\n\r\n".to_vec();
        request.resize(500_000, b'x');
        check_refusal(request, &Config::new(), 400).await;
    });
}

#[test]
fn a_slow_request_is_told_so() {
    on_each_driver(|_| async {
        let config = Config::new().handshake_timeout(Duration::from_millis(30));
        check_refusal("GET / HTTP/1.1\r\nHost: exa", &config, 408).await;
    });
}

#[test]
fn origins_and_paths_are_the_servers_choice() {
    on_each_driver(|_| async {
        let config = Config::new().origins(OriginPolicy::List(vec!["https://good".into()]));
        let request = raw::REQUEST.replace("Host:", "Origin: https://evil\r\nHost:");
        check_refusal(request, &config, 403).await;
        let config = Config::new().admission(|request| match request.path() {
            "/path" => Err(Refusal::NotFound),
            _ => Ok(()),
        });
        check_refusal(raw::REQUEST, &config, 404).await;
    });
}

#[test]
fn another_request_is_handed_back_with_what_follows_it() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::client(&url, |mut stream| {
            stream
                .write_all(b"PUT /x?y HTTP/1.1\r\nHost: h\r\n\r\nearly ")
                .expect("write");
            stream.write_all(b"and late").expect("write");
            stream.shutdown(Shutdown::Write).expect("shutdown");
            String::from_utf8(raw::read_to_end(&mut stream)).expect("text")
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let incoming = ws::accept_with(stream, &Config::new()).await.expect("http");
        let Incoming::Http {
            request,
            mut receiver,
            leftover,
        } = incoming
        else {
            panic!("no upgrade was asked for")
        };
        assert_eq!((request.method(), request.target()), ("PUT", "/x?y"));
        let mut body = leftover.to_vec();
        while let Received::Chunk(chunk) = receiver.recv().await.expect("receive") {
            body.extend_from_slice(&chunk);
        }
        assert_eq!(body, b"early and late");
        ws::close_slowly(receiver);
        assert_eq!(joined(client).await, "");
    });
}

#[test]
fn frames_behind_the_request_are_not_lost_and_pieces_are_put_together() {
    on_each_driver(|_| async {
        for piece_bytes in [1, 7, 10_000] {
            let (listener, url) = listen().await;
            let client = raw::client(&url, move |mut stream| {
                stream.set_nodelay(true).expect("no delay");
                let mut bytes = raw::REQUEST.as_bytes().to_vec();
                bytes.extend_from_slice(&raw::frame(0x81, b"first"));
                bytes.extend_from_slice(&raw::frame(0x81, b"second"));
                for piece in bytes.chunks(piece_bytes) {
                    stream.write_all(piece).expect("write");
                }
                assert_eq!(raw::read_head(&mut stream), raw::RESPONSE);
                let mut echo = [0; 7];
                stream.read_exact(&mut echo).expect("echo");
                echo
            });
            let (stream, _) = listener.accept().await.expect("accept");
            let incoming = ws::accept_with(stream, &Config::new())
                .await
                .expect("handshake");
            let Incoming::WebSocket {
                mut socket,
                request,
            } = incoming
            else {
                panic!("http")
            };
            assert_eq!((request.path(), request.target()), ("/path", "/path?q=1"));
            assert_eq!(request.header("host"), Some("example.com"));
            let first = socket.recv().await.expect("first");
            socket.send(first).await.expect("send");
            assert_eq!(
                socket.recv().await.expect("second"),
                Message::text("second")
            );
            assert_eq!(joined(client).await, *b"\x81\x05first");
        }
    });
}

#[test]
fn a_subprotocol_and_headers_are_agreed_on() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let server = compio_runtime::spawn(async move {
            let (stream, _) = listener.accept().await.expect("accept");
            let config = Config::new().subprotocol("b").subprotocol("a");
            let incoming = ws::accept_with(stream, &config).await.expect("handshake");
            let Incoming::WebSocket { socket, request } = incoming else {
                panic!("http")
            };
            assert_eq!(request.header("x-token"), Some("secret"));
            assert_eq!(socket.subprotocol(), Some("a"));
            socket
        });
        let config = Config::new()
            .subprotocol("x")
            .subprotocol("a")
            .subprotocol("b");
        let config = config.header("X-Token", "secret").expect("a good header");
        let socket = ws::connect_with(&url, &config).await.expect("connect");
        assert_eq!(socket.subprotocol(), Some("a"));
        drop(server.await.expect("server"));
        assert!(Config::new().header("Upgrade", "x").is_err());
    });
}

/// What a client does with answers that are no consent.
#[test]
fn a_client_does_not_believe_a_wrong_answer() {
    on_each_driver(|_| async {
        let connect = async |answer: &'static str, timeout_ms| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
            let url = format!("ws://{}/", listener.local_addr().expect("address"));
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("accept");
                raw::read_head(&mut stream);
                stream.write_all(answer.as_bytes()).expect("write");
                if answer.is_empty() {
                    return;
                }
                raw::read_to_end(&mut stream);
            });
            let config = Config::new().handshake_timeout(Duration::from_millis(timeout_ms));
            let error = ws::connect_with(&url, &config)
                .await
                .expect_err("no consent");
            (error, server)
        };
        let (error, server) = connect("HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n", 20_000).await;
        let Error::Handshake(Handshake::NotUpgraded(response)) = error else {
            panic!("{error}")
        };
        assert_eq!((response.status(), response.header("x")), (404, Some("y")));
        drop(response);
        joined(server).await;
        let (error, server) = connect(raw::RESPONSE, 20_000).await;
        assert!(
            matches!(error, Error::Handshake(Handshake::Invalid(_))),
            "{error}"
        );
        joined(server).await;
        let (error, server) = connect("HTTP/1.1 101 Sw", 50).await;
        assert!(
            matches!(error, Error::Handshake(Handshake::TimedOut)),
            "{error}"
        );
        joined(server).await;
        let (error, server) = connect("", 20_000).await;
        assert!(
            matches!(error, Error::Handshake(Handshake::Ended)),
            "{error}"
        );
        joined(server).await;
        assert!(matches!(
            ws::connect("ws://127.0.0.1:1/").await,
            Err(Error::Io(_))
        ));
        assert!(matches!(
            ws::connect("http://127.0.0.1/").await,
            Err(Error::Handshake(Handshake::InvalidUrl(_)))
        ));
    });
}
