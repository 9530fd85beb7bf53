//! Writing at once and on the ring: order, partial writes, and what leaves without anybody waiting.

mod support;

use std::io::{Read, Write};
use std::time::Duration;

use support::{accept, joined, listen, on_each_driver, raw, tungstenite, turn};
use ws::{Message, PreparedMessage};

/// A payload that says which message it is.
fn payload(index: usize) -> Vec<u8> {
    let bytes = [20, 300, 5_000, 70_000][index % 4];
    let mut payload = vec![index as u8; bytes];
    payload[..8].copy_from_slice(&index.to_be_bytes());
    payload
}

/// The socket is full again and again, so writes at once, short ones and those of the ring take
/// turns: no byte overtakes another.
#[test]
fn messages_keep_their_order_while_the_socket_is_full() {
    in_order(&ws::Config::new());
}

/// The same where the kernel copies nothing of what is large.
#[test]
fn messages_keep_their_order_without_a_copy() {
    in_order(&ws::Config::new().zero_copy(1));
}

fn in_order(config: &ws::Config) {
    const COUNT: usize = 1_500;
    on_each_driver(|_| async move {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, async |mut client| {
            use futures_util::StreamExt;
            let mut index = 0;
            while let Some(Ok(message)) = client.next().await {
                if let tungstenite::Message::Binary(bytes) = message {
                    assert!(bytes == payload(index), "message {index}");
                    index += 1;
                    if index % 100 == 0 {
                        std::thread::yield_now();
                    }
                }
            }
            index
        });
        let mut server = accept(&listener, config).await;
        for index in 0..COUNT {
            let payload = payload(index);
            match index % 3 {
                0 => {
                    let line = PreparedMessage::new(ws::MessageKind::Binary, payload);
                    server.send_prepared(&line).await.expect("send");
                }
                1 => server.send(payload).await.expect("send"),
                _ => {
                    let (head, tail) = payload.split_at(8);
                    let parts = vec![head.to_vec().into(), tail.to_vec().into()];
                    let kind = ws::MessageKind::Binary;
                    server.send_parts(kind, parts).await.expect("send");
                }
            }
            if index % 7 == 0 {
                server.flush().await.expect("flush");
            }
        }
        server
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("close");
        assert_eq!(joined(client).await, COUNT);
    });
}

/// Echoes of every size, kept and not kept: what is sent back as part of the chunk that brought
/// it arrives as it was.
#[test]
fn echoes_of_chunks_arrive_unchanged_while_the_client_does_not_read() {
    const COUNT: usize = 400;
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, async |client| {
            use futures_util::{SinkExt, StreamExt};
            let (mut sink, mut stream) = client.split();
            // As much as fits on the way; then it reads.
            let sending = async {
                for index in 0..COUNT {
                    let message = tungstenite::Message::Binary(payload(index).into());
                    sink.send(message).await.expect("send");
                }
                sink.close().await.expect("close");
            };
            let receiving = async {
                let mut index = 0;
                while let Some(Ok(message)) = stream.next().await {
                    if let tungstenite::Message::Binary(bytes) = message {
                        assert!(bytes == payload(index), "message {index}");
                        index += 1;
                    }
                    if index % 50 == 0 {
                        for _ in 0..20 {
                            tokio::task::yield_now().await;
                        }
                    }
                }
                index
            };
            futures_util::future::join(sending, receiving).await.1
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let mut server = ws::accept(stream).await.expect("handshake");
        while let Ok(message) = server.recv().await {
            if message.is_data() {
                server.send(message).await.expect("send");
            }
        }
        assert_eq!(joined(client).await, COUNT);
    });
}

/// A message leaves although its sender waits for something else for ever.
#[test]
fn what_is_queued_leaves_at_the_end_of_the_turn() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let server = compio_runtime::spawn(async move {
            let (stream, _) = listener.accept().await.expect("accept");
            let server = ws::accept(stream).await.expect("handshake");
            server.send("unasked").await.expect("send");
            std::future::pending::<()>().await;
        });
        let mut client = ws::connect(&url).await.expect("connect");
        assert_eq!(
            client.recv().await.expect("receive"),
            Message::text("unasked")
        );
        turn().await;
        drop(server);
    });
}

/// An answer is with the kernel when `send` returns: the thread may then be busy for long.
#[test]
fn the_answer_to_the_last_message_leaves_at_once() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let (answered, wait_for_answer) = std::sync::mpsc::channel();
        let client = raw::websocket(&url, move |mut stream| {
            stream
                .write_all(&raw::frame(0x81, b"question"))
                .expect("sent");
            let give_up = Some(Duration::from_secs(20));
            stream.set_read_timeout(give_up).expect("a limit");
            let mut answer = [0; 8];
            let read = stream.read_exact(&mut answer);
            answered.send(read.is_ok()).expect("the server waits");
            answer
        });
        let mut server = accept(&listener, &ws::Config::new()).await;
        assert_eq!(
            server.recv().await.expect("receive"),
            Message::text("question")
        );
        server.send("answer").await.expect("send");
        // Blocks the runtime: no turn of it can end before the client has the answer.
        assert!(
            wait_for_answer.recv().expect("the client says"),
            "nothing arrived"
        );
        assert_eq!(&joined(client).await, b"\x81\x06answer");
    });
}
