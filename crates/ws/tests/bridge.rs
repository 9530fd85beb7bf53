//! The bridge: blocking-style protocol code on compio, in both modes and both roles.

mod support;

use std::io::{ErrorKind, Read, Write};

use futures_util::{SinkExt, StreamExt};
use support::tungstenite::{self, Message as Theirs};
use support::{joined, listen, on_each_driver, pattern, poll_at_most, turn};
use ws::bridge::tungstenite::{Error, Message};
use ws::bridge::{BridgeWebSocket, Capacity, SyncStream};

const SIZES: [usize; 7] = [0, 1, 126, 8192, 65_536, 300_000, 1 << 20];

async fn connect(url: &str) -> compio_net::TcpStream {
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    compio_net::TcpStream::connect(address)
        .await
        .expect("connect")
}

fn would_block<T: std::fmt::Debug>(result: std::io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_bridge_server_echoes_what_a_client_sends() {
    for (capacity, large_bytes) in [(Capacity::FIXED, 0), (Capacity::GROWABLE, 16 << 20)] {
        on_each_driver(|_| async {
            let (listener, url) = listen().await;
            let client = tungstenite::client(url, move |mut client| async move {
                for size in SIZES.into_iter().chain([large_bytes]) {
                    let message = Theirs::binary(pattern(size, size));
                    client.send(message.clone()).await.expect("send");
                    let echo = client.next().await.expect("some").expect("echo");
                    assert!(echo == message, "{size} bytes differ");
                }
                client
                    .send(Theirs::Ping(b"p".to_vec().into()))
                    .await
                    .expect("ping");
                assert!(client.next().await.expect("some").expect("pong").is_pong());
                client.close(None).await.expect("close");
                while client.next().await.is_some() {}
            });
            let (stream, _) = listener.accept().await.expect("accept");
            let mut socket = BridgeWebSocket::accept(stream, capacity)
                .await
                .expect("handshake");
            let error = loop {
                match socket.recv().await {
                    Ok(message) if message.is_binary() => socket.send(message).await.expect("send"),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::ConnectionClosed), "{error}");
            drop(socket);
            joined(client).await;
        });
    }
}

#[test]
fn a_bridge_client_gets_what_it_sent() {
    for capacity in [Capacity::FIXED, Capacity::GROWABLE] {
        on_each_driver(|_| async {
            let (url, server) = tungstenite::server(tungstenite::echo);
            let stream = connect(&url).await;
            let mut socket = BridgeWebSocket::client(&url, stream, capacity)
                .await
                .expect("handshake");
            for size in SIZES {
                let message = Message::binary(pattern(size, size));
                socket.send(message.clone()).await.expect("send");
                assert!(
                    socket.recv().await.expect("echo") == message,
                    "{size} bytes differ"
                );
            }
            socket.close(None).await.expect("close");
            joined(server).await;
        });
    }
}

#[test]
fn the_bridge_and_the_native_client_understand_each_other() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let server = compio_runtime::spawn(async move {
            let (stream, _) = listener.accept().await.expect("accept");
            let accepted = BridgeWebSocket::accept(stream, Capacity::GROWABLE).await;
            let mut socket = accepted.expect("handshake");
            while let Ok(message) = socket.recv().await {
                if message.is_text() {
                    socket.send(message).await.expect("send");
                }
            }
        });
        let mut socket = ws::connect(&url).await.expect("connect");
        socket.send("hello").await.expect("send");
        assert_eq!(
            socket.recv().await.expect("echo"),
            ws::Message::text("hello")
        );
        socket
            .close(ws::CloseCode::NORMAL, "")
            .await
            .expect("close");
        server.await.expect("server");
    });
}

#[test]
fn dropped_bridge_futures_lose_and_double_nothing() {
    const COUNT: usize = 300;
    on_each_driver(|_| async {
        let (url, server) = tungstenite::server(tungstenite::echo);
        let stream = connect(&url).await;
        let mut socket = BridgeWebSocket::client(&url, stream, Capacity::FIXED)
            .await
            .expect("handshake");
        let mut round = 0;
        for index in 0..COUNT {
            let message = Message::binary(pattern(index, index * 37 % 20_000));
            // Polled at least once, the message is queued whatever happens then.
            round += 1;
            let sent = poll_at_most(1 + round % 3, socket.send(message.clone())).await;
            sent.unwrap_or(Ok(())).expect("send");
            let echo = loop {
                round += 1;
                let flushed = poll_at_most(round % 2, socket.flush()).await;
                flushed.unwrap_or(Ok(())).expect("flush");
                match poll_at_most(round % 4, socket.recv()).await {
                    None => turn().await,
                    Some(echo) => break echo.expect("echo"),
                }
            };
            assert!(echo == message, "message {index} differs");
        }
        socket.close(None).await.expect("close");
        joined(server).await;
    });
}

fn sync_pair(capacity: Capacity) -> (SyncStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let peer = std::net::TcpStream::connect(address).expect("connect");
    let (stream, _) = listener.accept().expect("accept");
    let stream = compio_net::TcpStream::from_std(stream).expect("attach");
    (SyncStream::new(stream, capacity), peer)
}

#[test]
fn a_fixed_stream_would_block_when_it_is_empty_or_full() {
    on_each_driver(|_| async {
        let (mut stream, mut peer) = sync_pair(Capacity::fixed(10));
        let mut target = [0; 100];
        assert!(would_block(stream.read(&mut target)));
        assert_eq!(stream.write(&[7; 25]).expect("room"), 10);
        assert!(would_block(stream.write(&[7; 15])));
        assert!(stream.has_pending_write());
        stream.flush_out().await.expect("flush");
        assert!(!stream.has_pending_write());
        assert_eq!(stream.write(&[7; 15]).expect("room again"), 10);
        peer.write_all(&pattern(0, 25)).expect("write");
        let mut read = Vec::new();
        while read.len() < 25 {
            let filled = stream.fill().await.expect("fill");
            assert!((1..=10).contains(&filled));
            let length = stream.read(&mut target).expect("bytes");
            assert_eq!(length, filled);
            read.extend_from_slice(&target[..length]);
        }
        assert_eq!(read, pattern(0, 25));
        assert_eq!(stream.capacity_bytes(), (10, 10));
    });
}

#[test]
fn unread_bytes_stop_a_buffer_that_may_not_grow() {
    on_each_driver(|_| async {
        let (mut stream, mut peer) = sync_pair(Capacity::growable(8, 16));
        peer.write_all(&pattern(0, 40)).expect("write");
        let mut unread = 0;
        while unread < 16 {
            unread += stream.fill().await.expect("room");
        }
        let error = stream.fill().await.expect_err("full");
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        let mut target = [0; 40];
        assert_eq!(stream.read(&mut target).expect("bytes"), 16);
        assert_eq!(target[..16], pattern(0, 16));
    });
}

#[test]
fn a_growable_stream_grows_to_its_bound_and_shrinks_when_drained() {
    on_each_driver(|_| async {
        let (mut stream, mut peer) = sync_pair(Capacity::growable(1000, 64_000));
        let written = stream.write(&pattern(0, 100_000)).expect("room");
        assert_eq!((written, stream.capacity_bytes().1), (64_000, 64_000));
        assert!(would_block(stream.write(b"x")));
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; 64_000];
            peer.read_exact(&mut bytes).expect("read");
            peer.write_all(&bytes).expect("write");
            bytes
        });
        stream.flush_out().await.expect("flush");
        assert_eq!(stream.capacity_bytes().1, 1000);
        assert_eq!(joined(reader).await, pattern(0, 64_000));
        // Received without reading: the buffer has to take it all.
        let mut filled = 0;
        while filled < 64_000 {
            filled += stream.fill().await.expect("fill");
        }
        assert_eq!(stream.capacity_bytes().0, 64_000);
        let mut read = vec![0; 64_000];
        stream.read_exact(&mut read).expect("all of it");
        assert_eq!(read, pattern(0, 64_000));
        assert_eq!(stream.capacity_bytes().0, 1000);
        // The end comes after everything, and stays.
        for _ in 0..2 {
            assert_eq!(stream.fill().await.expect("end"), 0);
            assert_eq!(stream.read(&mut read).expect("end"), 0);
        }
    });
}

/// Dropping a fill or a flush on its way makes nothing panic and loses nothing.
#[test]
fn dropped_fills_and_flushes_go_on() {
    on_each_driver(|_| async {
        let (mut stream, mut peer) = sync_pair(Capacity::growable(64, 1 << 20));
        for _ in 0..4 {
            assert!(poll_at_most(1, stream.fill()).await.is_none());
            turn().await;
        }
        peer.write_all(b"after all").expect("write");
        assert_eq!(stream.fill().await.expect("fill"), 9);
        let mut target = [0; 9];
        stream.read_exact(&mut target).expect("bytes");
        assert_eq!(&target, b"after all");
        stream.write_all(b"one ").expect("room");
        poll_at_most(1, stream.flush_out())
            .await
            .unwrap_or(Ok(()))
            .expect("flush");
        stream.write_all(b"two").expect("room");
        stream.flush_out().await.expect("flush");
        let mut bytes = [0; 7];
        peer.read_exact(&mut bytes).expect("read");
        assert_eq!(&bytes, b"one two");
    });
}
