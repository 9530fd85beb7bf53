//! Against tokio-tungstenite, in both roles and on both drivers.

mod support;

use futures_util::{SinkExt, StreamExt};
use support::tungstenite::{self, Message as Theirs};
use support::{accept, echo_to_end, joined, listen, on_each_driver, pattern};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use ws::{Error, Message, MessageKind};

/// Every length form of a frame and its neighbours (RFC 6455 §5.2), one chunk and its neighbours,
/// and lengths that are received into their own allocation.
const SIZES: [usize; 14] = [
    0,
    1,
    125,
    126,
    127,
    8184,
    8192,
    8193,
    20_000,
    40_000,
    65_535,
    65_536,
    1 << 20,
    16 << 20,
];

#[test]
fn a_server_echoes_every_size_of_text_and_binary() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, |mut client| async move {
            for size in SIZES {
                let bytes = pattern(size, size);
                client
                    .send(Theirs::binary(bytes.clone()))
                    .await
                    .expect("send");
                let echo = client.next().await.expect("message").expect("message");
                assert!(echo == Theirs::binary(bytes), "{size} bytes differ");
                let text = "é€😀x".chars().cycle().take(size / 3).collect::<String>();
                client.send(Theirs::text(text.clone())).await.expect("send");
                let echo = client.next().await.expect("message").expect("message");
                assert!(echo == Theirs::text(text), "text of {size} differs");
            }
            client.close(None).await.expect("close");
            while client.next().await.is_some() {}
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let mut socket = ws::accept(stream).await.expect("handshake");
        assert!(matches!(
            echo_to_end(&mut socket).await,
            Error::Closed(None)
        ));
        joined(client).await;
    });
}

#[test]
fn a_client_gets_every_size_of_text_and_binary_back() {
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(tungstenite::echo);
        let mut socket = ws::connect(&url).await.expect("connect");
        for size in SIZES {
            let bytes = pattern(size, size);
            socket.send(bytes.clone()).await.expect("send");
            assert!(
                socket.recv().await.expect("echo") == Message::binary(bytes),
                "{size}"
            );
            let text = "é€😀x".chars().cycle().take(size / 3).collect::<String>();
            socket.send(text.as_str()).await.expect("send");
            assert!(
                socket.recv().await.expect("echo") == Message::text(text),
                "{size}"
            );
        }
        socket
            .close(ws::CloseCode::NORMAL, "done")
            .await
            .expect("close");
        joined(server).await;
    });
}

#[test]
fn many_messages_in_one_write_keep_their_order() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, |client| async move {
            let (mut sink, mut stream) = client.split();
            let send = async {
                for index in 0..20_000_usize {
                    let message = Theirs::binary(pattern(index, index % 60));
                    sink.feed(message).await.expect("feed");
                    if index % 64 == 63 {
                        sink.flush().await.expect("flush");
                    }
                }
                sink.flush().await.expect("flush");
            };
            let receive = async {
                for index in 0..20_000_usize {
                    let echo = stream.next().await.expect("message").expect("message");
                    assert_eq!(echo, Theirs::binary(pattern(index, index % 60)));
                }
            };
            tokio::join!(send, receive);
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let mut socket = ws::accept(stream).await.expect("handshake");
        echo_to_end(&mut socket).await;
        joined(client).await;
    });
}

fn fragment(payload: Vec<u8>, opcode: Data, fin: bool) -> Theirs {
    Theirs::Frame(Frame::message(payload, OpCode::Data(opcode), fin))
}

/// Control frames may come between fragments (RFC 6455 §5.4).
#[test]
fn fragments_become_one_message_and_control_frames_pass_between_them() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, |mut client| async move {
            let frames = [
                fragment(pattern(0, 10), Data::Binary, false),
                fragment(vec![], Data::Continue, false),
                Theirs::Ping(b"between".to_vec().into()),
                fragment(pattern(10, 70_000), Data::Continue, false),
                fragment(pattern(70_010, 5), Data::Continue, true),
                fragment(b"te".to_vec(), Data::Text, false),
                fragment("xt€".into(), Data::Continue, true),
            ];
            for frame in frames {
                client.send(frame).await.expect("send");
            }
            let pong = client.next().await.expect("message").expect("message");
            assert_eq!(pong, Theirs::Pong(b"between".to_vec().into()));
            let echo = client.next().await.expect("message").expect("message");
            assert!(echo == Theirs::binary(pattern(0, 70_015)));
            let echo = client.next().await.expect("message").expect("message");
            assert_eq!(echo, Theirs::text("text€"));
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let mut socket = ws::accept(stream).await.expect("handshake");
        assert_eq!(
            socket.recv().await.expect("ping"),
            Message::Ping(b"between".into())
        );
        let message = socket.recv().await.expect("binary");
        assert!(message == Message::binary(pattern(0, 70_015)));
        socket.send(message).await.expect("send");
        let message = socket.recv().await.expect("text");
        assert_eq!(message, Message::text("text€"));
        socket.send(message).await.expect("send");
        echo_to_end(&mut socket).await;
        joined(client).await;
    });
}

#[test]
fn pings_and_pongs_go_both_ways() {
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(|mut server| async move {
            server
                .send(Theirs::Ping(b"theirs".to_vec().into()))
                .await
                .expect("send");
            let mut seen = Vec::new();
            while let Some(Ok(message)) = server.next().await {
                seen.push(message);
            }
            seen
        });
        let mut socket = ws::connect(&url).await.expect("connect");
        assert_eq!(
            socket.recv().await.expect("ping"),
            Message::Ping(b"theirs".into())
        );
        socket
            .send(Message::Ping(b"ours".into()))
            .await
            .expect("ping");
        assert_eq!(
            socket.recv().await.expect("pong"),
            Message::Pong(b"ours".into())
        );
        socket
            .send(Message::Pong(b"unasked".into()))
            .await
            .expect("pong");
        let long = Message::Ping(vec![0; 126].into());
        assert!(matches!(
            socket.send(long).await,
            Err(Error::Unsendable(ws::SendError::ControlTooLong))
        ));
        socket
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("close");
        let seen = joined(server).await;
        assert_eq!(seen[0], Theirs::Pong(b"theirs".to_vec().into()));
        assert_eq!(seen[1], Theirs::Ping(b"ours".to_vec().into()));
        assert_eq!(seen[2], Theirs::Pong(b"unasked".to_vec().into()));
        assert!(seen[3].is_close());
    });
}

/// More parts than one vectored write takes, and more than one frame.
#[test]
fn parts_are_one_message_however_many_writes_and_frames_they_need() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let parts: Vec<_> = (0..3000)
            .map(|index| pattern(index * 5000, 5000).into())
            .collect();
        let expected = pattern(0, 3000 * 5000);
        let client = tungstenite::client(url, move |mut client| async move {
            let message = client.next().await.expect("message").expect("message");
            assert!(message == Theirs::binary(expected), "the message differs");
            let small = client.next().await.expect("message").expect("message");
            assert_eq!(small, Theirs::text("abc"));
        });
        let config = ws::Config::new().limits(|limits| limits.send_frame_bytes_max = 1 << 20);
        let mut socket = accept(&listener, &config).await;
        socket
            .send_parts(MessageKind::Binary, parts)
            .await
            .expect("send");
        let small = ["a", "", "bc"].map(|part| part.as_bytes().into());
        socket
            .send_parts(MessageKind::Text, small.to_vec())
            .await
            .expect("send");
        socket.flush().await.expect("flush");
        assert_eq!(socket.queued_bytes(), 0);
        echo_to_end(&mut socket).await;
        joined(client).await;
    });
}

#[test]
fn halves_work_from_two_tasks_and_senders_are_cloned() {
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(tungstenite::echo);
        let socket = ws::connect(&url).await.expect("connect");
        let (sender, mut receiver) = socket.split();
        let tasks: Vec<_> = (0..4_u8)
            .map(|task| {
                let sender = sender.clone();
                compio_runtime::spawn(async move {
                    for index in 0..250_u8 {
                        sender.send(vec![task, index]).await.expect("send");
                    }
                })
            })
            .collect();
        let mut next = [0_u8; 4];
        for _ in 0..1000 {
            let message = receiver.recv().await.expect("echo");
            let payload = message.into_payload().expect("payload");
            let task = usize::from(payload[0]);
            assert_eq!(payload[1], next[task]);
            next[task] = next[task].wrapping_add(1);
        }
        for task in tasks {
            task.await.expect("task");
        }
        sender
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("close");
        joined(server).await;
    });
}
