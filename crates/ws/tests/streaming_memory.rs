//! Messages larger than memory take constant memory. A binary of its own, because it counts every
//! allocation.

mod support;

use std::alloc::System;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{joined, listen, on_each_driver, raw};
use ws::{Config, Error, MessageKind, Part, WebSocket};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes of each message; `cargo run --example relay` does the same with 10 GB.
const MESSAGE_BYTES: u64 = 1 << 30;

/// The queues of both ends (1 MiB each), the memory of large payloads that the thread keeps for
/// reuse (16 MiB), pieces on their way.
const MEMORY_BYTES_MAX: isize = 20 << 20;

/// One test at a time: they count each other's allocations.
static COUNTING: Mutex<()> = Mutex::new(());

fn live_bytes() -> isize {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds or takes is counted in both sums already.
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

async fn accept(listener: &compio_net::TcpListener) -> WebSocket {
    let config = Config::new().streamed_bytes_max(u64::MAX);
    support::accept(listener, &config).await
}

/// Receives one message; returns its length and how much the heap grew meanwhile at most.
async fn receive(socket: &mut WebSocket) -> (u64, isize) {
    let (mut bytes, mut grown) = (0, 0);
    let before = live_bytes();
    loop {
        let Part::Piece(piece) = socket.recv_part().await.expect("a part") else {
            continue;
        };
        bytes += piece.payload.len() as u64;
        grown = grown.max(live_bytes() - before);
        if piece.last {
            return (bytes, grown);
        }
    }
}

/// Sends every message back while it arrives.
async fn relay(mut socket: WebSocket) -> Result<(), Error> {
    let mut writer = None;
    loop {
        let piece = match socket.recv_part().await {
            Ok(Part::Piece(piece)) => piece,
            Ok(Part::Control(_)) => continue,
            Err(Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let writer_of_message = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(socket.send_in_pieces(piece.kind).await?),
        };
        writer_of_message.write(piece.payload).await?;
        if piece.last {
            writer_of_message.finish().await?;
            writer = None;
        }
    }
}

/// A gigabyte in one frame, from a client that writes as fast as it can.
#[test]
fn a_frame_of_a_gigabyte_is_received_in_constant_memory() {
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    on_each_driver(|kind| async move {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| {
            let mut header = vec![0x82, 0xFF];
            header.extend_from_slice(&MESSAGE_BYTES.to_be_bytes());
            header.extend_from_slice(&[0; 4]);
            stream.write_all(&header).expect("write");
            let block = vec![7; 1 << 16];
            for _ in 0..MESSAGE_BYTES / block.len() as u64 {
                stream.write_all(&block).expect("write");
            }
            stream
        });
        let mut server = accept(&listener).await;
        let (bytes, grown) = receive(&mut server).await;
        println!("{kind}: {grown} bytes of heap at most");
        assert_eq!(bytes, MESSAGE_BYTES);
        assert!(grown <= MEMORY_BYTES_MAX, "{kind}: {grown} bytes");
        drop(joined(client).await);
    });
}

/// There and back through a queue at each end, neither of which grows.
#[test]
fn a_message_is_relayed_in_constant_memory() {
    let _alone = COUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    const PIECE_BYTES: usize = 100_000;
    const PIECES_COUNT: u64 = 1_000;
    on_each_driver(|kind| async move {
        let (listener, url) = listen().await;
        let config = Config::new().streamed_bytes_max(u64::MAX);
        let connect = ws::connect_with(&url, &config);
        let (server, client) = futures_util::join!(accept(&listener), connect);
        let relay = compio_runtime::spawn(relay(server));
        let client = client.expect("connect");
        let mut writer = client
            .send_in_pieces(MessageKind::Binary)
            .await
            .expect("a writer");
        let write = async {
            for _ in 0..PIECES_COUNT {
                let piece = Bytes::from(vec![7; PIECE_BYTES]);
                writer.write(piece).await.expect("write");
            }
            writer.finish().await.expect("finish");
        };
        let mut reader = client;
        let ((), (bytes, grown)) = futures_util::join!(write, receive(&mut reader));
        println!("{kind}: {grown} bytes of heap at most");
        assert_eq!(bytes, PIECES_COUNT * PIECE_BYTES as u64);
        assert!(grown <= MEMORY_BYTES_MAX, "{kind}: {grown} bytes");
        let closed = reader.close(ws::CloseCode::NORMAL, "").await;
        closed.expect("a clean end");
        relay.await.expect("no panic").expect("a clean end");
    });
}
