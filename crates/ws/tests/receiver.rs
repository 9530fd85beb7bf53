//! `ChunkReceiver` on real sockets, on both drivers.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};

use bytes::BytesMut;
use support::{on_driver, on_each_driver, pattern, poll_at_most, turn};
use ws::limits::RECEIVED_IN_TURN_BYTES_MAX;
use ws::{ChunkReceiver, DriverChoice, DriverKind, Received, RuntimeOptions, receive_counters};

fn pair() -> (ChunkReceiver, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    client.set_nodelay(true).expect("no delay");
    let (server, _) = listener.accept().expect("accept");
    let stream = compio_net::TcpStream::from_std(server).expect("attach");
    (ChunkReceiver::new(stream), client)
}

fn chunk(received: Received) -> ws::Chunk {
    match received {
        Received::Chunk(chunk) => chunk,
        other => panic!("expected a chunk, got {other:?}"),
    }
}

#[test]
fn chunks_arrive_in_order_and_the_end_is_final() {
    on_each_driver(|kind| async move {
        let (mut receiver, mut client) = pair();
        client.write_all(b"one").expect("write");
        let first = chunk(receiver.recv().await.expect("receive"));
        assert_eq!(&first[..], b"one");
        assert_eq!(first.is_pooled(), kind == DriverKind::IoUring);
        client.write_all(b"two").expect("write");
        assert_eq!(&chunk(receiver.recv().await.expect("receive"))[..], b"two");
        client.shutdown(Shutdown::Write).expect("shutdown");
        for _ in 0..3 {
            assert!(matches!(receiver.recv().await, Ok(Received::End)));
        }
    });
}

#[test]
fn a_dropped_future_loses_nothing() {
    on_each_driver(|_| async {
        let (mut receiver, mut client) = pair();
        let sent = pattern(0, 300_000);
        let to_send = sent.clone();
        let writer = std::thread::spawn(move || {
            for part in to_send.chunks(977) {
                client.write_all(part).expect("write");
            }
        });
        let mut received = Vec::new();
        let mut round = 0;
        loop {
            round += 1;
            match poll_at_most(round % 3, receiver.recv()).await {
                None => turn().await,
                Some(Ok(Received::End)) => break,
                Some(result) => received.extend_from_slice(&chunk(result.expect("receive"))),
            }
        }
        writer.join().expect("writer");
        assert!(received == sent, "the bytes differ");
    });
}

/// A runtime that is never idle must still see completions. It did not with deferred task work:
/// the kernel ran it only when asked to wait, and a busy runtime never waits.
#[test]
fn a_busy_runtime_still_receives() {
    on_each_driver(|_| async {
        let (mut receiver, mut client) = pair();
        let writer = std::thread::spawn(move || client.write_all(b"hello").expect("write"));
        let received = loop {
            match poll_at_most(1, receiver.recv()).await {
                None => turn().await,
                Some(received) => break chunk(received.expect("receive")),
            }
        };
        assert_eq!(&received[..], b"hello");
        writer.join().expect("writer");
    });
}

#[test]
fn bytes_are_received_behind_the_end_of_a_buffer_and_not_beyond_the_limit() {
    on_each_driver(|_| async {
        let (mut receiver, mut client) = pair();
        client.write_all(b"0123456789").expect("write");
        let mut buffer = BytesMut::with_capacity(64);
        buffer.extend_from_slice(b"head:");
        let address = buffer.as_ptr();
        receiver.arm_into(buffer, 4);
        assert!(receiver.is_armed());
        assert!(poll_at_most(0, receiver.recv()).await.is_none());
        match receiver.recv().await.expect("receive") {
            Received::Buffer {
                buffer,
                received_bytes,
            } => {
                assert_eq!((&buffer[..], received_bytes), (&b"head:0123"[..], 4));
                assert_eq!(buffer.as_ptr(), address);
            }
            other => panic!("expected the buffer, got {other:?}"),
        }
        assert_eq!(
            &chunk(receiver.recv().await.expect("receive"))[..],
            b"456789"
        );
        drop(client);
        receiver.arm_into(BytesMut::with_capacity(16), 16);
        assert!(matches!(receiver.recv().await, Ok(Received::End)));
    });
}

/// However fast a peer sends: between two waits at most so many of its bytes are received.
#[test]
fn a_fast_peer_gives_others_their_turn() {
    on_each_driver(|_| async {
        let (mut receiver, mut client) = pair();
        let bytes_max = 16 << 20;
        let writer = std::thread::spawn(move || client.write_all(&pattern(0, bytes_max)));
        let mut buffer = BytesMut::with_capacity(bytes_max);
        let mut turn_bytes = 0;
        while buffer.len() < bytes_max {
            if !receiver.is_armed() {
                receiver.arm_into(std::mem::take(&mut buffer), bytes_max);
            }
            let received = match poll_at_most(1, receiver.recv()).await {
                Some(received) => received,
                None => {
                    turn_bytes = 0;
                    receiver.recv().await
                }
            };
            let Ok(Received::Buffer {
                buffer: longer,
                received_bytes,
            }) = received
            else {
                panic!("expected the buffer, got {received:?}");
            };
            buffer = longer;
            turn_bytes += received_bytes;
            assert!(turn_bytes <= RECEIVED_IN_TURN_BYTES_MAX);
        }
        writer.join().expect("writer").expect("write");
        assert!(buffer == pattern(0, bytes_max));
    });
}

#[test]
fn a_reset_is_an_error() {
    on_each_driver(|_| async {
        let (mut receiver, client) = pair();
        socket2::SockRef::from(&client)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("linger");
        drop(client);
        let error = receiver.recv().await.expect_err("reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

/// All chunks of a tiny pool are held while other connections receive: they go on with heap
/// chunks, each receive counted once, and use the pool again when chunks come back.
#[test]
fn a_dry_pool_is_counted_and_never_stalls() {
    let options = RuntimeOptions {
        driver: DriverChoice::IoUring,
        pool_chunks_count: 2,
        ..RuntimeOptions::default()
    };
    on_driver(&options, |_| async {
        let mut connections: Vec<_> = (0..8).map(|_| pair()).collect();
        let mut held = Vec::new();
        for (receiver, client) in &mut connections {
            client.write_all(b"first").expect("write");
            held.push(chunk(receiver.recv().await.expect("receive")));
        }
        assert!(held.iter().all(|chunk| &chunk[..] == b"first"));
        assert_eq!(held.iter().filter(|chunk| chunk.is_pooled()).count(), 2);
        let counters = receive_counters();
        assert_eq!(counters.pooled_count, 2);
        assert_eq!(counters.heap_count, 6);
        assert_eq!(counters.pool_dry_count, 6);
        // A receive that waits on the dry pool waits for bytes; it does not spin.
        let (receiver, client) = &mut connections[0];
        assert!(poll_at_most(1, receiver.recv()).await.is_none());
        client.write_all(b"second").expect("write");
        assert_eq!(
            &chunk(receiver.recv().await.expect("receive"))[..],
            b"second"
        );
        assert_eq!(receive_counters().pool_dry_count, 7);
        held.clear();
        client.write_all(b"third").expect("write");
        assert!(chunk(receiver.recv().await.expect("receive")).is_pooled());
    });
}

#[test]
fn unix_sockets_are_streams_too() {
    on_each_driver(|_| async {
        let (source, mut target) = std::os::unix::net::UnixStream::pair().expect("pair");
        let stream = compio_net::UnixStream::from_std(source).expect("attach");
        let mut receiver = ChunkReceiver::new(stream);
        target.write_all(b"local").expect("write");
        assert_eq!(
            &chunk(receiver.recv().await.expect("receive"))[..],
            b"local"
        );
    });
}

/// What was received before a buffer was given for it, while it is given and after that: wherever
/// the bytes are cut, they come in order, the buffer's into the buffer and no more of them.
#[test]
fn a_buffer_takes_over_from_a_running_receive_at_every_split() {
    on_each_driver(|_| async {
        for split in 0..=40 {
            let (mut receiver, mut client) = pair();
            client.write_all(b"x").expect("write");
            let first = chunk(receiver.recv().await.expect("receive"));
            assert_eq!(&first[..], b"x");
            // The next receive is on its way; some of the bytes come before the buffer.
            assert!(poll_at_most(1, receiver.recv()).await.is_none());
            let sent = pattern(split, 40);
            client.write_all(&sent[..split]).expect("write");
            for _ in 0..split % 3 {
                turn().await;
            }
            let (mut received, mut missing_bytes) = (Vec::new(), 16);
            while missing_bytes > 0 {
                if !receiver.is_armed() {
                    receiver.arm_into(BytesMut::with_capacity(64), missing_bytes);
                }
                if received.is_empty() {
                    client.write_all(&sent[split..]).expect("write");
                }
                match receiver.recv().await.expect("receive") {
                    Received::Buffer {
                        buffer,
                        received_bytes,
                    } => {
                        assert!(received_bytes <= missing_bytes);
                        missing_bytes -= received_bytes;
                        received.extend_from_slice(&buffer);
                    }
                    other => panic!("expected the buffer, got {other:?}"),
                }
            }
            client.shutdown(Shutdown::Write).expect("shutdown");
            while let Received::Chunk(chunk) = receiver.recv().await.expect("receive") {
                received.extend_from_slice(&chunk);
            }
            assert!(received == sent, "cut at {split}");
        }
    });
}

/// A receive that goes on while nobody takes its chunks stops before it has all of the pool, and
/// loses nothing.
#[test]
fn chunks_that_nobody_takes_are_bounded() {
    let options = RuntimeOptions {
        driver: DriverChoice::IoUring,
        pool_chunks_count: 64,
        chunk_bytes: 4_096,
        ..RuntimeOptions::default()
    };
    on_driver(&options, |_| async {
        let (mut busy, mut flood) = pair();
        let (mut other, mut client) = pair();
        let sent = pattern(0, 4 << 20);
        let to_send = sent.clone();
        let writer = std::thread::spawn(move || flood.write_all(&to_send).expect("write"));
        let mut received = chunk(busy.recv().await.expect("receive")).to_vec();
        // Armed, and then nobody comes back for a long time.
        for _ in 0..1_000 {
            turn().await;
            if let Some(more) = poll_at_most(1, busy.recv()).await {
                received.extend_from_slice(&chunk(more.expect("receive")));
                break;
            }
        }
        for _ in 0..200 {
            client.write_all(b"good").expect("write");
            let good = chunk(other.recv().await.expect("receive"));
            assert!(good.is_pooled(), "the flood has taken the pool");
        }
        assert_eq!(receive_counters().pool_dry_count, 0);
        while let Received::Chunk(chunk) = busy.recv().await.expect("receive") {
            received.extend_from_slice(&chunk);
        }
        writer.join().expect("writer");
        assert!(received == sent, "the bytes differ");
    });
}

/// Of a large pool only a part goes round, but more can be held than that.
#[test]
fn few_chunks_are_in_turn_and_all_can_be_held() {
    let options = RuntimeOptions {
        driver: DriverChoice::IoUring,
        pool_chunks_count: 512,
        chunk_bytes: 4_096,
        ..RuntimeOptions::default()
    };
    on_driver(&options, |_| async {
        let (mut receiver, mut client) = pair();
        let mut addresses = std::collections::HashSet::new();
        for round in 0..2_000 {
            client.write_all(b"round").expect("write");
            let chunk = chunk(receiver.recv().await.expect("receive"));
            // At first all of them have their turn.
            if round >= 1_000 {
                addresses.insert(chunk.as_ptr());
            }
        }
        // One is here while the others are with the kernel.
        let in_turn_count = 1 + ws::limits::CHUNKS_IN_TURN;
        assert!(
            addresses.len() <= in_turn_count,
            "{} were in turn",
            addresses.len()
        );
        let mut held = Vec::new();
        for _ in 0..510 {
            client.write_all(b"held").expect("write");
            held.push(chunk(receiver.recv().await.expect("receive")));
        }
        assert!(held.iter().all(|chunk| chunk.is_pooled()));
        assert_eq!(receive_counters().pool_dry_count, 0);
        // None is left for the next but one, and all come back.
        for _ in 0..4 {
            client.write_all(b"dry").expect("write");
            held.push(chunk(receiver.recv().await.expect("receive")));
        }
        assert!(receive_counters().pool_dry_count > 0);
        held.clear();
        for _ in 0..1_000 {
            client.write_all(b"again").expect("write");
            held.push(chunk(receiver.recv().await.expect("receive")));
            if held.len() == 500 {
                assert!(held.iter().all(|chunk| chunk.is_pooled()));
                held.clear();
            }
        }
    });
}
