//! How connections end: closing handshakes, failures, deadlines (RFC 6455 §5.5.1, §7).

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use support::tungstenite::{self, Message as Theirs};
use support::{accept, echo_to_end, joined, listen, on_each_driver, raw};
use ws::{CloseCode, CloseFrame, Config, Error, Message, ProtocolError};

fn frame(code: CloseCode, reason: &str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

#[test]
fn a_server_closes_with_code_and_reason_behind_what_is_queued() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, |mut client| async move {
            assert_eq!(
                client.next().await.expect("some").expect("text"),
                Theirs::text("last")
            );
            let close = client.next().await.expect("some").expect("close");
            while client.next().await.is_some() {}
            close
        });
        let mut socket = accept(&listener, &Config::new()).await;
        socket.send("last").await.expect("send");
        socket
            .close(CloseCode::NORMAL, "enough")
            .await
            .expect("close");
        assert!(matches!(socket.send("late").await, Err(Error::Closed(_))));
        assert!(matches!(socket.recv().await, Err(Error::Closed(_))));
        socket
            .close(CloseCode::NORMAL, "")
            .await
            .expect("closing twice is harmless");
        let Theirs::Close(Some(close)) = joined(client).await else {
            panic!("no close")
        };
        assert_eq!(
            (u16::from(close.code), close.reason.as_str()),
            (1000, "enough")
        );
    });
}

#[test]
fn a_peer_that_closes_is_answered_and_reported_again_and_again() {
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(|mut server| async move {
            let close = tungstenite::CloseFrame {
                code: tungstenite::CloseCode::Library(4321),
                reason: "theirs".into(),
            };
            server.send(Theirs::text("before")).await.expect("send");
            server.close(Some(close)).await.expect("close");
            // The answer, then the end.
            let answer = server.next().await.expect("some").expect("close");
            assert!(server.next().await.is_none());
            answer
        });
        let mut socket = ws::connect(&url).await.expect("connect");
        let expected = frame(CloseCode::from_u16(4321), "theirs");
        assert_eq!(socket.recv().await.expect("text"), Message::text("before"));
        assert_eq!(
            socket.recv().await.expect("close"),
            Message::Close(Some(expected.clone()))
        );
        for _ in 0..3 {
            let Err(Error::Closed(Some(frame))) = socket.recv().await else {
                panic!("not closed")
            };
            assert_eq!(frame, expected);
            assert!(matches!(
                socket.send("late").await,
                Err(Error::Closed(Some(_)))
            ));
        }
        let Theirs::Close(Some(answer)) = joined(server).await else {
            panic!("no answer")
        };
        assert_eq!(u16::from(answer.code), 4321);
        socket.close(CloseCode::NORMAL, "").await.expect("over");
    });
}

#[test]
fn a_message_close_starts_closing_and_messages_still_arrive() {
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(|mut server| async move {
            server.feed(Theirs::text("on its way")).await.expect("feed");
            server.flush().await.expect("flush");
            while server.next().await.is_some_and(|message| message.is_ok()) {}
        });
        let mut socket = ws::connect(&url).await.expect("connect");
        let close = frame(CloseCode::NORMAL, "");
        socket
            .send(Message::Close(Some(close.clone())))
            .await
            .expect("send");
        assert_eq!(
            socket.recv().await.expect("text"),
            Message::text("on its way")
        );
        assert_eq!(
            socket.recv().await.expect("close"),
            Message::Close(Some(close))
        );
        joined(server).await;
    });
}

#[test]
fn an_abrupt_end_is_reported() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| {
            stream
                .write_all(&raw::frame(0x82, b"whole"))
                .expect("write");
            stream
                .write_all(&raw::frame(0x82, b"torn")[..7])
                .expect("write");
        });
        let mut socket = accept(&listener, &Config::new()).await;
        assert_eq!(
            socket.recv().await.expect("whole"),
            Message::binary(b"whole")
        );
        for _ in 0..2 {
            let error = socket.recv().await.expect_err("torn");
            assert!(
                matches!(error, Error::Protocol(ProtocolError::UnexpectedEnd)),
                "{error:?}"
            );
        }
        joined(client).await;
    });
}

#[test]
fn a_reset_is_an_io_error() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |stream| {
            let zero = Some(Duration::ZERO);
            socket2::SockRef::from(&stream)
                .set_linger(zero)
                .expect("linger");
        });
        let mut socket = accept(&listener, &Config::new()).await;
        for _ in 0..2 {
            let Err(Error::Io(error)) = socket.recv().await else {
                panic!("no reset")
            };
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        joined(client).await;
    });
}

/// RFC 6455 §7.1.7: a violation is answered by a Close frame, also when unread bytes follow it,
/// which would turn a plain close into a reset that destroys the frame.
#[test]
fn a_violation_is_answered_behind_the_answers_to_the_good_frames_before_it() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| {
            let mut bytes = raw::frame(0x81, b"good");
            bytes.extend_from_slice(&[0x81, 0x01, b'u']);
            bytes.resize(bytes.len() + 300_000, 0);
            stream.write_all(&bytes).expect("write");
            raw::read_to_end(&mut stream)
        });
        let mut socket = accept(&listener, &Config::new()).await;
        let error = echo_to_end(&mut socket).await;
        assert!(
            matches!(error, Error::Protocol(ProtocolError::UnmaskedFrame)),
            "{error:?}"
        );
        let mut expected = vec![0x81, 4, b'g', b'o', b'o', b'd'];
        expected.extend_from_slice(&raw::close_frame(1002));
        assert_eq!(joined(client).await, expected);
    });
}

fn impatient() -> Config {
    Config::new().close_timeout(Duration::from_millis(50))
}

#[test]
fn a_peer_that_does_not_finish_closing_is_cut_off() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| raw::read_to_end(&mut stream));
        let mut socket = accept(&listener, &impatient()).await;
        let error = socket
            .close(CloseCode::NORMAL, "")
            .await
            .expect_err("no answer");
        assert!(
            matches!(error, Error::Protocol(ProtocolError::CloseTimeout)),
            "{error:?}"
        );
        assert_eq!(joined(client).await, raw::close_frame(1000));
    });
}

/// A peer that takes nothing: the write in flight is given up, too.
#[test]
fn a_peer_that_does_not_read_is_cut_off() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let client = raw::websocket(&url, move |_stream| wait.recv());
        let mut socket = accept(&listener, &impatient()).await;
        socket.send(vec![0; 32 << 20]).await.expect("queued");
        let error = socket
            .close(CloseCode::NORMAL, "")
            .await
            .expect_err("no answer");
        assert!(
            matches!(error, Error::Protocol(ProtocolError::CloseTimeout)),
            "{error:?}"
        );
        drop(done);
        joined(client).await.expect_err("the channel ended");
    });
}

#[test]
fn dropping_the_last_handle_sends_what_is_queued_and_going_away() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| {
            let mut bytes = [0; 9];
            stream.read_exact(&mut bytes).expect("text and close");
            stream
                .write_all(&raw::frame(0x88, &1001_u16.to_be_bytes()))
                .expect("write");
            assert!(raw::read_to_end(&mut stream).is_empty());
            bytes
        });
        let socket = accept(&listener, &Config::new()).await;
        let sender = socket.sender();
        sender.send("end").await.expect("send");
        drop(socket);
        drop(sender);
        let expected = [&[0x81, 3][..], b"end", &raw::close_frame(1001)].concat();
        assert_eq!(joined(client).await[..], expected);
    });
}

#[test]
fn a_silent_peer_is_pinged_once() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| {
            let mut ping = [0; 2];
            stream.read_exact(&mut ping).expect("a ping");
            stream
                .write_all(&raw::frame(0x88, &1000_u16.to_be_bytes()))
                .expect("write");
            (ping, raw::read_to_end(&mut stream))
        });
        let config = Config::new().keep_alive(Some(Duration::from_millis(20)), None);
        let mut socket = accept(&listener, &config).await;
        assert!(matches!(socket.recv().await, Ok(Message::Close(_))));
        assert_eq!(joined(client).await, ([0x89, 0], raw::close_frame(1000)));
    });
}

#[test]
fn a_silent_peer_is_given_up() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| raw::read_to_end(&mut stream));
        let config = impatient().keep_alive(None, Some(Duration::from_millis(50)));
        let mut socket = accept(&listener, &config).await;
        let error = socket.recv().await.expect_err("silence");
        assert!(
            matches!(error, Error::Protocol(ProtocolError::IdleTimeout)),
            "{error:?}"
        );
        assert_eq!(joined(client).await, raw::close_frame(1001));
    });
}

/// A peer that answers pings stays, and so does one whose messages nobody takes. The pings go on
/// also where silence is never given up: there nothing was due after the first one, and no clock
/// was set again.
#[test]
fn a_living_peer_is_kept() {
    for give_up in [None, Some(Duration::from_secs(20))] {
        on_each_driver(|_| async {
            let (listener, url) = listen().await;
            let client = tungstenite::client(url, |mut client| async move {
                for _ in 0..8 {
                    let ping = client.next().await.expect("some").expect("ping");
                    assert!(ping.is_ping(), "{ping:?}");
                }
                client.send(Theirs::text("still here")).await.expect("send");
                while client.next().await.is_some_and(|message| message.is_ok()) {}
            });
            let config = Config::new().keep_alive(Some(Duration::from_millis(20)), give_up);
            let mut socket = accept(&listener, &config).await;
            loop {
                match socket.recv().await.expect("alive") {
                    Message::Pong(_) => {}
                    message => break assert_eq!(message, Message::text("still here")),
                }
            }
            socket.close(CloseCode::NORMAL, "").await.expect("close");
            joined(client).await;
        });
    }
}

/// Each limit of a message on its edge and one past (RFC 6455 §7.4.1 names the codes).
#[test]
fn a_message_beyond_a_limit_gets_its_close_code() {
    type Script = fn() -> Vec<Vec<u8>>;
    let cases: [(Script, Script, ProtocolError, u16); 3] = [
        (
            || vec![raw::frame(0x82, &[7; 50_000])],
            || vec![raw::frame(0x82, &[7; 50_001])],
            ProtocolError::FrameTooBig,
            1009,
        ),
        (
            || {
                vec![
                    raw::frame(0x02, &[7; 50_000]),
                    raw::frame(0x80, &[7; 10_000]),
                ]
            },
            || {
                vec![
                    raw::frame(0x02, &[7; 50_000]),
                    raw::frame(0x80, &[7; 10_001]),
                ]
            },
            ProtocolError::MessageTooBig,
            1009,
        ),
        (
            || {
                vec![
                    raw::frame(0x02, b""),
                    raw::frame(0, b""),
                    raw::frame(0x80, b""),
                ]
            },
            || {
                vec![
                    raw::frame(0x02, b""),
                    raw::frame(0, b""),
                    raw::frame(0, b""),
                ]
                .into_iter()
                .chain([raw::frame(0x80, b"")])
                .collect()
            },
            ProtocolError::TooManyFragments,
            1008,
        ),
    ];
    let config = Config::new().limits(|limits| {
        limits.frame_bytes_max = 50_000;
        limits.message_bytes_max = 60_000;
        limits.fragments_max = 3;
    });
    for (edge, past, expected, code) in cases {
        on_each_driver(|_| async {
            let (listener, url) = listen().await;
            let client = raw::websocket(&url, move |mut stream| {
                for frame in edge().into_iter().chain(past()) {
                    stream.write_all(&frame).expect("write");
                }
                raw::read_to_end(&mut stream)
            });
            let mut socket = accept(&listener, &config).await;
            assert!(socket.recv().await.expect("on the edge").is_data());
            let error = socket.recv().await.expect_err("one past");
            assert!(
                matches!(error, Error::Protocol(error) if error == expected),
                "{error:?}"
            );
            assert_eq!(joined(client).await, raw::close_frame(code));
        });
    }
}
