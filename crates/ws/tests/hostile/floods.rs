//! Bytes without end, and promises of bytes that never come.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ws::{Config, Error, Limits, Message, ProtocolError};

use crate::harness::{
    Memory, SLACK_BYTES, Server, alone_on_each_driver, attacker, echoes, read_to_end_or_reset,
    websocket,
};
use crate::support::{joined, raw};

/// A ping as large as pings are.
fn ping(number: u32) -> Vec<u8> {
    let mut payload = [b'p'; 125];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    raw::frame(0x89, &payload)
}

/// 52 MB of pings while no pong is read: memory stays, reading goes on, and the newest ping is
/// answered (RFC 6455 §5.5.3 allows leaving out the others).
#[test]
fn a_flood_of_pings_with_unread_pongs() {
    const PINGS_COUNT: u32 = 400_000;
    // As many pongs as may wait, and the room that a buffer gets by doubling.
    const PONGS_BUFFER_BYTES: usize = 2 * 64 * 128;
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new()).await;
        let memory = Memory::start();
        let samples = memory.clone();
        let attacker = websocket(&server.url, move |mut stream| {
            let mut batch = Vec::with_capacity(70_000);
            for first in (0..PINGS_COUNT).step_by(500) {
                batch.clear();
                batch.extend((first..first + 500).flat_map(ping));
                stream.write_all(&batch).expect("pings are read");
                samples.sample();
            }
            drop(batch);
            // The thread keeps buffers of written pongs, whatever connection they came from.
            let kept_bytes = ws::limits::WRITE_BUFFERS_KEPT_MAX * PONGS_BUFFER_BYTES;
            samples.check_peak(kept_bytes as isize + SLACK_BYTES);
            let close = raw::frame(0x88, &1000_u16.to_be_bytes());
            stream.write_all(&close).expect("write");
            raw::read_to_end(&mut stream)
        });
        let answer = joined(attacker).await;
        let (pongs, close) = answer.as_chunks::<127>();
        assert_eq!(close, raw::close_frame(1000));
        let number = |pong: &[u8; 127]| {
            assert_eq!(pong[..2], [0x8A, 125]);
            u32::from_be_bytes([pong[2], pong[3], pong[4], pong[5]])
        };
        assert!(
            pongs.len() < PINGS_COUNT as usize,
            "the kernel took them all"
        );
        assert!(pongs.is_sorted_by(|one, next| number(one) < number(next)));
        assert_eq!(pongs.last().map(number), Some(PINGS_COUNT - 1));
        server.ended(1).await;
    });
}

/// Sends `fragment` up to `count_max` times behind the start of a message, and reads what comes.
fn send_fragments(
    mut stream: TcpStream,
    fragment: &[u8],
    count_max: usize,
    memory: &Memory,
) -> Vec<u8> {
    let per_write = (65_536 / fragment.len()).max(1);
    let batch = fragment.repeat(per_write);
    let mut result = stream.write_all(&raw::frame(0x02, b""));
    for _ in 0..count_max / per_write {
        memory.sample();
        // The server stops reading at last: then the attack is over.
        result = result.and_then(|()| stream.write_all(&batch));
    }
    drop(batch);
    if let Err(error) = result {
        let kind = error.kind();
        let cut = matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        assert!(cut, "{error}");
    }
    memory.sample();
    read_to_end_or_reset(&mut stream)
}

fn check_fragments(
    fragment: fn() -> Vec<u8>,
    count_max: usize,
    error: ProtocolError,
    code: u16,
    bytes_max: isize,
) {
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new().uncompressed()).await;
        let fragment = fragment();
        let memory = Memory::start();
        let samples = memory.clone();
        let attacker = websocket(&server.url, move |stream| {
            send_fragments(stream, &fragment, count_max, &samples)
        });
        assert_eq!(joined(attacker).await, raw::close_frame(code));
        server.ended(1).await;
        server.count(|connections| {
            let ending = &connections.endings[0];
            assert!(
                matches!(ending, Error::Protocol(found) if *found == error),
                "{ending:?}"
            );
        });
        memory.check_peak(bytes_max + SLACK_BYTES);
        memory.settles_at(SLACK_BYTES).await;
    });
}

#[test]
fn fragments_without_end() {
    let message_bytes_max = Limits::DEFAULT.message_bytes_max as isize;
    check_fragments(
        || raw::frame(0, &[7; 65_000]),
        4_000,
        ProtocolError::MessageTooBig,
        1009,
        message_bytes_max,
    );
}

/// A million fragments; each costs the attacker seven bytes.
#[test]
fn fragments_of_one_byte() {
    check_fragments(
        || raw::frame(0, b"x"),
        1_000_000,
        ProtocolError::TooManyFragments,
        1008,
        i64::from(Limits::DEFAULT.fragments_max) as isize,
    );
}

#[test]
fn fragments_of_nothing() {
    check_fragments(
        || raw::frame(0, b""),
        1_000_000,
        ProtocolError::TooManyFragments,
        1008,
        0,
    );
}

/// 16 MiB are claimed, one byte of them comes: a hundred times next to nothing.
#[test]
fn claims_that_are_not_kept() {
    const COUNT: usize = 100;
    const CLAIM_BYTES_MAX: isize = 5 << 10;
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new()).await;
        let (url, mut good) = (server.url.clone(), server.good_client().await);
        let attackers = std::thread::spawn(move || {
            let open = |_| joined_now(websocket(&url, |stream| stream));
            (0..COUNT).map(open).collect::<Vec<_>>()
        });
        let mut attackers = joined(attackers).await;
        let memory = Memory::start();
        for stream in &mut attackers {
            // The pong says that what was sent with the ping has been looked at.
            let mut bytes = raw::frame(0x89, b"");
            bytes.extend([0x82, 0xFF, 0, 0, 0, 0, 1, 0, 0, 0]);
            bytes.extend([1, 2, 3, 4, 5]);
            stream.write_all(&bytes).expect("write");
        }
        let attackers = std::thread::spawn(move || {
            for stream in &mut attackers {
                let mut pong = [0; 2];
                stream.read_exact(&mut pong).expect("a pong");
                assert_eq!(pong, [0x8A, 0]);
            }
            attackers
        });
        let attackers = joined(attackers).await;
        echoes(&mut good, Message::text("still served")).await;
        let bytes = memory.sample();
        println!("{} bytes for each claim", bytes / COUNT as isize);
        assert!(bytes <= CLAIM_BYTES_MAX * COUNT as isize, "{bytes} bytes");
        drop(attackers);
        server.ended(COUNT).await;
        memory.settles_at(0).await;
    });
}

fn joined_now<T>(thread: std::thread::JoinHandle<T>) -> T {
    thread.join().expect("the script holds")
}

/// A deflate stream of 258 × 8 zeros in each 13 bytes, never ended: fixed codes, RFC 1951 §3.2.6.
struct Bomb {
    bits: u64,
    bits_count: u32,
    bytes: Vec<u8>,
}

impl Bomb {
    /// Huffman codes go most significant bit first.
    fn code(&mut self, code: u64, length: u32) {
        let reversed = code.reverse_bits() >> (64 - length);
        self.bits |= reversed << self.bits_count;
        self.bits_count += length;
        while self.bits_count >= 8 {
            self.bytes.push(self.bits as u8);
            self.bits >>= 8;
            self.bits_count -= 8;
        }
    }

    /// The start: not the last block, fixed codes, one zero.
    fn new() -> Self {
        let (bits, bits_count, bytes) = (0b010, 3, Vec::new());
        let mut bomb = Bomb {
            bits,
            bits_count,
            bytes,
        };
        bomb.code(0b0011_0000, 8);
        bomb
    }

    /// Repeats the last byte 258 times: length symbol 285, distance symbol 0.
    fn repeat(&mut self, count: usize) {
        for _ in 0..count {
            self.code(0b1100_0101, 8);
            self.code(0, 5);
        }
    }
}

/// A gigabyte in 6.7 MB: inflated in steps up to the message limit, then refused.
#[test]
fn a_deflate_bomb() {
    const INFLATED_BYTES: usize = 1 << 30;
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new()).await;
        let memory = Memory::start();
        let samples = memory.clone();
        let attacker = attacker(&server.url, move |mut stream| {
            let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
            let request = raw::REQUEST.trim_end().to_string() + "\r\n" + offer;
            stream.write_all(request.as_bytes()).expect("write");
            let head = raw::read_head(&mut stream);
            assert!(head.contains("permessage-deflate"), "{head}");
            let (mut bomb, mut first) = (Bomb::new(), 0x42);
            for _ in 0..INFLATED_BYTES / 258 / 40_000 {
                bomb.repeat(40_000);
                let fragment = raw::frame(first, &std::mem::take(&mut bomb.bytes));
                first = 0;
                if stream.write_all(&fragment).is_err() {
                    break;
                }
                samples.sample();
            }
            read_to_end_or_reset(&mut stream)
        });
        assert_eq!(joined(attacker).await, raw::close_frame(1009));
        server.ended(1).await;
        let message_bytes_max = Limits::DEFAULT.message_bytes_max as isize;
        // Two fragments and a kept inflater are the test's and the thread's.
        memory.check_peak(message_bytes_max + 2 * SLACK_BYTES);
        memory.settles_at(2 * SLACK_BYTES).await;
    });
}

/// A peer that writes and never reads is not read either; when it reads, all goes on.
#[test]
fn a_peer_that_never_reads() {
    const MESSAGE_BYTES: usize = 60_000;
    const MESSAGES_MAX: usize = 4_000;
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new().uncompressed()).await;
        let memory = Memory::start();
        let samples = memory.clone();
        let attacker = websocket(&server.url, move |mut stream| {
            let message = raw::frame(0x82, &[9; MESSAGE_BYTES]);
            let blocked = Some(Duration::from_secs(1));
            stream.set_write_timeout(blocked).expect("a time limit");
            let mut written_bytes = 0;
            // Until the kernel's buffers of both directions are full.
            loop {
                let rest = &message[written_bytes % message.len()..];
                match stream.write(rest) {
                    Ok(bytes) => written_bytes += bytes,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
                samples.sample();
                let endless = written_bytes > MESSAGES_MAX * message.len();
                assert!(!endless, "the server reads without end");
            }
            samples.sample();
            let mut reader = stream.try_clone().expect("clone");
            let rest = message[written_bytes % message.len()..].to_vec();
            let messages_count = written_bytes.div_ceil(message.len());
            let finish = std::thread::spawn(move || {
                stream.set_write_timeout(None).expect("no limit");
                stream.write_all(&rest).expect("write");
                let close = raw::frame(0x88, &1000_u16.to_be_bytes());
                stream.write_all(&close).expect("write");
            });
            let received = std::io::copy(&mut reader, &mut std::io::sink()).expect("a clean end");
            joined_now(finish);
            (messages_count, received as usize)
        });
        let (messages_count, received_bytes) = joined(attacker).await;
        assert_eq!(received_bytes, messages_count * (MESSAGE_BYTES + 4) + 4);
        server.ended(1).await;
        let high_water_bytes = Limits::DEFAULT.send_high_water_bytes;
        server.count(|connections| {
            assert_eq!(connections.echoed_count, messages_count + 3);
            let queued = connections.queued_bytes_max;
            println!("{messages_count} messages, {queued} bytes queued at most");
            assert!(
                queued >= high_water_bytes,
                "{queued}: the queue never filled"
            );
            assert!(queued <= high_water_bytes + MESSAGE_BYTES + 4, "{queued}");
        });
        // Queued messages lie in buffers that grew by doubling.
        memory.check_peak(3 * high_water_bytes as isize + SLACK_BYTES);
    });
}
