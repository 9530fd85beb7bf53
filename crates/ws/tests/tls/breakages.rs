//! Peers that break TLS: by other bytes, by silence, by ends without a goodbye.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ws::tls::rustls::{self, ClientConnection, StreamOwned};
use ws::{CloseCode, Config, Error, Handshake, Incoming, Message, TlsError};

use crate::authority::Authority;
use crate::support::{accept, joined, listen, on_each_driver, raw};

/// What the server says of a client that does `script` on the naked socket; the script's result.
async fn served<T: Send + 'static>(
    config: &Config,
    script: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Result<Message, Error>, T) {
    let (listener, url) = listen().await;
    let client = raw::client(&url, script);
    let (stream, _) = listener.accept().await.expect("accept");
    let result = match ws::accept_with(stream, config).await {
        Ok(Incoming::WebSocket { mut socket, .. }) => loop {
            match socket.recv().await {
                Ok(Message::Binary(_) | Message::Ping(_)) => {}
                result => break result,
            }
        },
        Ok(Incoming::Http { .. }) => panic!("no request was to come"),
        Err(error) => Err(error),
    };
    (result, joined(client).await)
}

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// A blocking client, to be taken apart at any point.
fn tls_client(stream: TcpStream, config: &Arc<rustls::ClientConfig>) -> TlsClient {
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(config.clone(), name).expect("a client");
    StreamOwned::new(connection, stream)
}

fn open_websocket(client: &mut TlsClient) {
    client.write_all(raw::REQUEST.as_bytes()).expect("write");
    let mut head = vec![0; raw::RESPONSE.len()];
    client.read_exact(&mut head).expect("read");
    assert_eq!(String::from_utf8_lossy(&head), raw::RESPONSE);
}

/// The record with a message, which is not sent.
fn sealed(client: &mut TlsClient, payload: &[u8]) -> Vec<u8> {
    let frame = raw::frame(0x82, payload);
    client.conn.writer().write_all(&frame).expect("queued");
    let mut record = Vec::new();
    client.conn.write_tls(&mut record).expect("sealed");
    assert!(record.len() > frame.len());
    record
}

#[test]
fn plain_http_is_told_that_this_is_tls() {
    on_each_driver(|_| async {
        let config = Authority::new().identity().server_config();
        let (result, answer) = served(&config, |mut stream| {
            stream.write_all(raw::REQUEST.as_bytes()).expect("write");
            String::from_utf8(raw::read_to_end(&mut stream)).expect("text")
        })
        .await;
        assert!(
            matches!(result, Err(Error::Tls(TlsError::PlainHttp))),
            "{result:?}"
        );
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(answer.contains("use https or wss"), "{answer}");
    });
}

/// RFC 8446 §6: what is no TLS is answered by a fatal alert, level 2.
#[test]
fn garbage_is_answered_with_an_alert() {
    on_each_driver(|_| async {
        let config = Authority::new().identity().server_config();
        for garbage in [
            &[0x80, 0x2e, 1, 0, 2][..],
            &[22, 3, 1, 0xff, 0xff],
            &[23, 3, 3, 0, 1, 0],
        ] {
            let (result, answer) = served(&config, move |mut stream| {
                stream.write_all(garbage).expect("write");
                raw::read_to_end(&mut stream)
            })
            .await;
            assert!(
                matches!(result, Err(Error::Tls(TlsError::Protocol(_)))),
                "{result:?}"
            );
            assert_eq!(answer[0], 21, "{answer:?} is no alert");
            assert_eq!(answer[5], 2, "{answer:?} is not fatal");
        }
    });
}

/// A handshake message may announce 16 MiB; what is kept of it is bounded long before.
#[test]
fn an_endless_handshake_message_is_refused() {
    on_each_driver(|_| async {
        let config = Authority::new().identity().server_config();
        let (result, written_bytes) = served(&config, |mut stream| {
            let mut record = vec![22, 3, 1, 0x40, 0];
            record.extend_from_slice(&[1, 0xff, 0xff, 0xff]);
            record.resize(5 + 0x4000, 0);
            let mut written_bytes = 0;
            // Until it is cut off.
            while stream.write_all(&record).is_ok() && written_bytes < 64 << 20 {
                written_bytes += record.len();
                record[5..9].fill(0);
            }
            written_bytes
        })
        .await;
        assert!(
            matches!(result, Err(Error::Tls(TlsError::Protocol(_)))),
            "{result:?}"
        );
        assert!(written_bytes < 64 << 20, "it was never cut off");
    });
}

#[test]
fn a_slow_handshake_is_cut_by_the_time_of_the_opening_handshake() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let tls = authority.client();
        let config = authority
            .identity()
            .server_config()
            .handshake_timeout(Duration::from_millis(50));
        // Nothing at all, part of a record, and a finished handshake without a request.
        for sent_bytes in [0, 1, 7] {
            let (result, _) = served(&config, move |mut stream| {
                stream
                    .write_all(&[22, 3, 1, 2, 0, 1, 0][..sent_bytes])
                    .expect("write");
                raw::read_to_end(&mut stream)
            })
            .await;
            assert!(
                matches!(result, Err(Error::Handshake(Handshake::TimedOut))),
                "{result:?}"
            );
        }
        let (result, answer) = served(&config, move |stream| {
            let mut client = tls_client(stream, &tls);
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        })
        .await;
        let refused = matches!(
            result,
            Err(Error::Handshake(
                Handshake::Refused(_) | Handshake::TimedOut
            ))
        );
        assert!(refused, "{result:?}");
        if let Ok(answer) = answer {
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
                "{answer}"
            );
        }
    });
}

#[test]
fn a_client_gives_up_a_server_that_says_nothing() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let config = Authority::new()
            .client_config()
            .handshake_timeout(Duration::from_millis(50));
        let url = url.replace("ws://", "wss://");
        let connect = ws::connect_with(&url, &config);
        let (accepted, result) = futures_util::join!(listener.accept(), connect);
        assert!(accepted.is_ok());
        assert!(
            matches!(result, Err(Error::Handshake(Handshake::TimedOut))),
            "{result:?}"
        );
    });
}

/// RFC 8446 §6.1: the end of the byte stream is no end of the session.
#[test]
fn a_truncation_is_told_from_an_end() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let config = authority.identity().server_config();
        for says_goodbye in [false, true] {
            let tls = authority.client();
            let (result, ()) = served(&config, move |stream| {
                let mut client = tls_client(stream, &tls);
                open_websocket(&mut client);
                client
                    .write_all(&raw::frame(0x82, b"whole"))
                    .expect("write");
                if says_goodbye {
                    client.conn.send_close_notify();
                    client.flush().expect("flush");
                }
                client.sock.shutdown(Shutdown::Write).expect("shutdown");
                let _ = client.sock.read_to_end(&mut Vec::new());
            })
            .await;
            match result {
                Err(Error::Tls(TlsError::Truncated)) => assert!(!says_goodbye),
                Err(Error::Protocol(error)) => assert!(says_goodbye, "{error}"),
                other => panic!("{other:?}"),
            }
        }
    });
}

/// Behind both Close frames nothing can be missing: a peer that then ends without a goodbye, as
/// many do, closed in order.
#[test]
fn after_the_closing_handshake_an_end_without_goodbye_is_no_failure() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let (listener, url) = listen().await;
        let tls = authority.client();
        let client = raw::client(&url, move |stream| {
            let mut client = tls_client(stream, &tls);
            open_websocket(&mut client);
            let mut close = [0; 4];
            client.read_exact(&mut close).expect("a Close");
            client
                .write_all(&raw::frame(0x88, &close[2..]))
                .expect("write");
            client.sock.shutdown(Shutdown::Write).expect("shutdown");
            // The server says goodbye, or this would be an error.
            client.read_to_end(&mut Vec::new()).expect("close_notify");
        });
        let config = authority.identity().server_config();
        let mut socket = accept(&listener, &config).await;
        socket.close(CloseCode::NORMAL, "").await.expect("in order");
        joined(client).await;
    });
}

/// Every good message before a broken record is delivered, and the peer hears why it ended.
#[test]
fn a_broken_record_fails_the_connection_behind_what_was_whole() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let tls = authority.client();
        let config = authority.identity().server_config();
        let (listener, url) = listen().await;
        let client = raw::client(&url, move |stream| {
            let mut client = tls_client(stream, &tls);
            open_websocket(&mut client);
            // One write: a good record, then one whose tag is wrong.
            let mut bytes = sealed(&mut client, b"good");
            bytes.extend(sealed(&mut client, b"bad"));
            *bytes.last_mut().expect("a tag") ^= 1;
            client.sock.write_all(&bytes).expect("write");
            let mut rest = Vec::new();
            let end = client.read_to_end(&mut rest);
            end.expect_err("an alert").to_string()
        });
        let mut socket = accept(&listener, &config).await;
        assert_eq!(
            socket.recv().await.expect("whole"),
            Message::binary(&b"good"[..])
        );
        for _ in 0..2 {
            let error = socket.recv().await.expect_err("broken");
            assert!(
                matches!(error, Error::Tls(TlsError::Protocol(_))),
                "{error:?}"
            );
        }
        let heard = joined(client).await;
        assert!(heard.contains("alert"), "{heard}");
    });
}

#[test]
fn half_a_record_and_then_silence_is_given_up_as_any_silence() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let tls = authority.client();
        let config = authority
            .identity()
            .server_config()
            .keep_alive(None, Some(Duration::from_millis(60)));
        let (result, ()) = served(&config, move |stream| {
            let mut client = tls_client(stream, &tls);
            open_websocket(&mut client);
            let bytes = sealed(&mut client, &[7; 5000]);
            client.sock.write_all(&bytes[..2000]).expect("write");
            let _ = client.sock.read_to_end(&mut Vec::new());
        })
        .await;
        let gave_up = matches!(result, Err(Error::Protocol(ws::ProtocolError::IdleTimeout)));
        assert!(gave_up, "{result:?}");
    });
}

/// TLS 1.3: a peer may change its keys and ask for ours to be changed (RFC 8446 §4.6.3), but not
/// for ever.
#[test]
fn new_keys_are_followed_and_floods_of_them_refused() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let tls = authority.client();
        let config = authority.identity().server_config();
        let (result, ()) = served(&config, move |stream| {
            let mut client = tls_client(stream, &tls);
            open_websocket(&mut client);
            for _ in 0..5 {
                client.conn.refresh_traffic_keys().expect("new keys");
                client.write_all(&raw::frame(0x89, b"ping")).expect("write");
                let mut pong = [0; 6];
                client.read_exact(&mut pong).expect("a pong");
                assert_eq!(&pong, b"\x8a\x04ping");
            }
            for _ in 0..10_000 {
                if client.conn.refresh_traffic_keys().is_err() || client.flush().is_err() {
                    break;
                }
            }
            let _ = client.sock.read_to_end(&mut Vec::new());
        })
        .await;
        assert!(matches!(result, Err(Error::Tls(_))), "{result:?}");
    });
}

/// A page for whoever is no WebSocket, over TLS as without.
#[test]
fn a_request_that_is_no_upgrade_is_handed_over_with_its_encrypted_stream() {
    on_each_driver(|_| async {
        let authority = Authority::new();
        let tls = authority.client();
        let config = authority.identity().server_config();
        let (listener, url) = listen().await;
        let client = raw::client(&url, move |stream| {
            let mut client = tls_client(stream, &tls);
            let request = b"POST /page HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody";
            client.write_all(request).expect("write");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("a clean end");
            answer
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let Ok(Incoming::Http {
            request,
            receiver,
            leftover,
        }) = ws::accept_with(stream, &config).await
        else {
            panic!("no page was asked for");
        };
        assert_eq!((request.target(), &leftover[..]), ("/page", &b"body"[..]));
        let mut sender = ws::ChunkSender::new(receiver.stream());
        let parts = vec!["HTTP/1.1 200 OK\r\n\r\n".into(), "hello".into()];
        sender.send(parts).await.expect("send");
        ws::close_slowly(receiver);
        assert_eq!(joined(client).await, "HTTP/1.1 200 OK\r\n\r\nhello");
    });
}
