//! Futures that are dropped at any await: nothing is lost, nothing is doubled.

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use support::tungstenite::{self, Message as Theirs};
use support::{accept, joined, listen, on_driver, on_each_driver, pattern, poll_at_most, turn};
use ws::{Config, DriverChoice, Message, RuntimeOptions, WebSocket};

const COUNT: usize = 400;

/// Small messages that share a chunk, larger ones that are received directly, empty ones.
fn payload(index: usize) -> Vec<u8> {
    let bytes = [0, 5, 300, 9_000, 70_000, 20, 1, 200_000][index % 8];
    pattern(index, bytes)
}

async fn server(config: Config) -> (WebSocket, std::thread::JoinHandle<()>) {
    let (listener, url) = listen().await;
    let client = tungstenite::client(url, |client| async move {
        let (mut sink, mut stream) = client.split();
        let send = async {
            for index in 0..COUNT {
                sink.send(Theirs::binary(payload(index)))
                    .await
                    .expect("send");
            }
        };
        let receive = async {
            for index in 0..COUNT {
                let echo = stream.next().await.expect("some").expect("echo");
                assert!(
                    echo == Theirs::binary(payload(index)),
                    "message {index} differs"
                );
            }
        };
        tokio::join!(send, receive);
        sink.close().await.expect("close");
        assert!(
            stream
                .next()
                .await
                .is_none_or(|message| message.expect("close").is_close())
        );
    });
    (accept(&listener, &config).await, client)
}

/// `recv` and `send` are polled 0, 1, 2 … times and dropped, over and over, on a queue that is
/// full most of the time.
#[test]
fn dropped_recv_and_send_futures_lose_and_double_nothing() {
    on_each_driver(|_| async {
        let config = Config::new().limits(|limits| limits.send_high_water_bytes = 10_000);
        let (mut socket, client) = server(config).await;
        let mut round = 0;
        'messages: for index in 0..COUNT {
            let message = loop {
                round += 1;
                match poll_at_most(round % 4, socket.recv()).await {
                    None => turn().await,
                    Some(message) => break message.expect("message"),
                }
            };
            assert!(
                message == Message::binary(payload(index)),
                "message {index} differs"
            );
            loop {
                round += 1;
                match poll_at_most(round % 3, socket.send(message.clone())).await {
                    None => turn().await,
                    Some(result) => {
                        result.expect("send");
                        continue 'messages;
                    }
                }
            }
        }
        // A dropped flush stops nothing either.
        poll_at_most(1, socket.flush()).await;
        while socket.recv().await.is_ok() {}
        joined(client).await;
    });
}

/// The usual way to drop a future: something else was ready first.
#[test]
fn a_recv_that_loses_against_a_timer_loses_nothing() {
    on_each_driver(|_| async {
        let (mut socket, client) = server(Config::new()).await;
        for index in 0..COUNT {
            let message = loop {
                let wait = Duration::from_micros((index % 5 * 100) as u64);
                match compio_runtime::time::timeout(wait, socket.recv()).await {
                    Ok(message) => break message.expect("message"),
                    Err(_) => turn().await,
                }
            };
            assert!(
                message == Message::binary(payload(index)),
                "message {index} differs"
            );
            socket.send(message).await.expect("send");
        }
        while socket.recv().await.is_ok() {}
        joined(client).await;
    });
}

#[test]
fn a_dropped_close_goes_on() {
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(|mut server| async move {
            let close = server.next().await.expect("some").expect("close");
            assert!(server.next().await.is_none());
            close
        });
        let mut socket = ws::connect(&url).await.expect("connect");
        assert!(
            poll_at_most(1, socket.close(ws::CloseCode::NORMAL, "bye"))
                .await
                .is_none()
        );
        assert!(joined(server).await.is_close());
        socket
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("the same end");
    });
}

/// A peer that does not read is not read: the queue stays at its mark, whatever arrives.
#[test]
fn back_pressure_bounds_the_queue() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let client = tungstenite::client(url, move |mut client| async move {
            wait.recv().expect("the server has filled its queue");
            let mut received = 0;
            while let Some(Ok(message)) = client.next().await {
                if let Theirs::Binary(payload) = message {
                    assert_eq!(payload.len(), 10_000);
                    received += 1;
                }
            }
            received
        });
        let (stream, _) = listener.accept().await.expect("accept");
        let mut socket = ws::accept(stream).await.expect("handshake");
        let mut sent = 0;
        // The kernel's buffers take some; then the queue fills and a send waits.
        while let Ok(result) =
            compio_runtime::time::timeout(Duration::from_millis(200), socket.send(vec![0; 10_000]))
                .await
        {
            result.expect("send");
            sent += 1;
            assert!(socket.queued_bytes() < (1 << 20) + 10_010);
            turn().await;
        }
        assert!(socket.queued_bytes() >= 1 << 20);
        go.send(()).expect("the client waits");
        socket.flush().await.expect("flush");
        socket
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("close");
        assert_eq!(joined(client).await, sent);
    });
}

/// Two chunks for fifty connections that all keep a message: heap chunks take over.
#[test]
fn a_tiny_pool_serves_many_connections() {
    for driver in [DriverChoice::IoUring, DriverChoice::Poll] {
        let options = RuntimeOptions {
            driver,
            pool_chunks_count: 2,
            ..RuntimeOptions::default()
        };
        on_driver(&options, |_| async {
            let (listener, url) = listen().await;
            let server = compio_runtime::spawn(async move {
                let mut tasks = Vec::new();
                for _ in 0..50 {
                    let (stream, _) = listener.accept().await.expect("accept");
                    tasks.push(compio_runtime::spawn(async move {
                        let mut socket = ws::accept(stream).await.expect("handshake");
                        let mut kept = None;
                        while let Ok(message) = socket.recv().await {
                            if message.is_data() {
                                socket.send(message.clone()).await.expect("send");
                                kept = Some(message);
                            }
                        }
                        kept
                    }));
                }
                for task in tasks {
                    assert!(task.await.expect("task").is_some());
                }
            });
            let mut clients = Vec::new();
            for _ in 0..50 {
                clients.push(ws::connect(&url).await.expect("connect"));
            }
            for round in 0..5 {
                for (index, client) in clients.iter().enumerate() {
                    client
                        .send(pattern(index, 100 + round))
                        .await
                        .expect("send");
                }
                for (index, client) in clients.iter_mut().enumerate() {
                    let echo = client.recv().await.expect("echo");
                    assert_eq!(echo, Message::binary(pattern(index, 100 + round)));
                }
            }
            for client in &mut clients {
                client
                    .close(ws::CloseCode::NORMAL, "")
                    .await
                    .expect("close");
            }
            server.await.expect("server");
        });
    }
}
