//! WebSockets and receivers that are dropped while the kernel receives into their buffers or sends
//! from them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;

use bytes::BytesMut;
use compio_net::TcpListener;
use ws::{ChunkReceiver, Config, Incoming, Message, WebSocket};

use crate::{on_each_driver, poll_at_most, quarantine};

const MESSAGE_BYTES: usize = 2 << 20;
const ROUNDS: usize = 4;

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A masked binary frame; the key is zero, so the payload is what it is.
fn frame(payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((payload_bytes as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + payload_bytes, b'a');
    frame
}

/// Sends until nobody receives any more, then reads what was sent to it; gives that.
fn peer(address: std::net::SocketAddr, greeting: &'static str) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(greeting.as_bytes()).expect("sent");
        let mut reader = stream.try_clone().expect("the same socket");
        let received = std::thread::spawn(move || {
            let mut received = Vec::new();
            // A reset is an end like another.
            let _ = reader.read_to_end(&mut received);
            received
        });
        let frame = frame(MESSAGE_BYTES);
        while stream.write_all(&frame).is_ok() {}
        received.join().expect("reads")
    })
}

async fn joined<T: Send + 'static>(thread: JoinHandle<T>) -> T {
    let joined = compio_runtime::spawn_blocking(|| thread.join()).await;
    joined.expect("waits").expect("the peer's script holds")
}

async fn accept(listener: &TcpListener) -> WebSocket {
    let (stream, _) = listener.accept().await.expect("accepted");
    match ws::accept_with(stream, &Config::new())
        .await
        .expect("handshake")
    {
        Incoming::WebSocket { socket, .. } => socket,
        Incoming::Http { .. } => panic!("no upgrade"),
    }
}

/// A receive into a buffer of its own, dropped at each of its polls, with the peer sending.
#[test]
fn receivers_dropped_in_the_middle_keep_their_buffer_until_the_kernel_is_done() {
    on_each_driver(|| async {
        for round in 0..ROUNDS {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let peer = peer(listener.local_addr().expect("an address"), "");
            let (stream, _) = listener.accept().await.expect("accepted");
            let mut receiver = ChunkReceiver::new(stream);
            for number in 0..=round {
                if receiver.is_armed() {
                    receiver.recv().await.expect("received");
                }
                receiver.arm_into(BytesMut::with_capacity(1 << 20), 1 << 20);
                poll_at_most(number % 3, receiver.recv()).await;
            }
            drop(receiver);
            joined(peer).await;
        }
    });
}

/// A WebSocket in the middle of a large message in both directions.
#[test]
fn websockets_dropped_in_the_middle_keep_their_buffers_until_the_kernel_is_done() {
    on_each_driver(|| async {
        for round in 0..ROUNDS {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let peer = peer(listener.local_addr().expect("an address"), HANDSHAKE);
            let mut socket = accept(&listener).await;
            poll_at_most(round, socket.recv()).await;
            let message = Message::binary(vec![b'b'; MESSAGE_BYTES]);
            poll_at_most(1 + round % 3, socket.send(message)).await;
            poll_at_most(round, socket.flush()).await;
            drop(socket);
            let received = joined(peer).await;
            let has_freed_bytes = received.contains(&quarantine::PATTERN);
            assert!(!has_freed_bytes, "freed memory was sent");
        }
    });
}
