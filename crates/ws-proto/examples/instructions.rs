//! Does one piece of the hot path again and again: `instructions NAME REPETITIONS`. Run under a
//! simulator by `cargo xtask instructions`, which counts what a repetition costs. Without
//! arguments it prints the names.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use ws_proto::handshake::{HandshakeLimits, ServerHandshake, ServerOptions, ServerVerdict};
use ws_proto::{Config, Connection, MessageKind, Transmit, mask};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://example.com\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Messages in a chunk of the small cases.
const SMALL_COUNT: usize = 100;

type Case = (&'static str, fn(u32));

const CASES: [Case; 8] = [
    ("decode_100_messages_of_20_bytes", |repetitions| {
        decode(repetitions, MessageKind::Binary, 20, SMALL_COUNT);
    }),
    ("decode_text_of_1_kib", |repetitions| {
        decode(repetitions, MessageKind::Text, 1 << 10, 1);
    }),
    ("decode_binary_of_16_kib", |repetitions| {
        decode(repetitions, MessageKind::Binary, 16 << 10, 1);
    }),
    ("unmask_100_times_20_bytes", |repetitions| {
        unmask(repetitions * SMALL_COUNT as u32, 20);
    }),
    ("unmask_64_kib", |repetitions| unmask(repetitions, 64 << 10)),
    ("encode_100_messages_of_20_bytes", encode_small),
    ("encode_shared_message_of_64_kib", encode_shared),
    ("accept_a_handshake", accept),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, repetitions] = &arguments[..] else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let (_, case) = CASES
        .iter()
        .find(|(case, _)| case == name)
        .expect("one of the names that are printed without arguments");
    case(repetitions.parse().expect("a number of repetitions"));
}

/// A client's messages, as a server receives them in one chunk.
fn received(kind: MessageKind, payload_bytes: usize, count: usize) -> Vec<u8> {
    let mut client = Connection::client(Config::default(), || KEY);
    let payload = vec![b'x'; payload_bytes];
    let mut wire = Vec::new();
    for _ in 0..count {
        client.send_copied(kind, &payload).expect("room");
    }
    while let Some(transmit) = client.poll_transmit() {
        match transmit {
            Transmit::Contiguous(bytes) => wire.extend_from_slice(&bytes),
            Transmit::Vectored(parts) => wire.extend(parts.concat()),
        }
    }
    wire
}

fn decode(repetitions: u32, kind: MessageKind, payload_bytes: usize, count: usize) {
    let wire = received(kind, payload_bytes, count);
    let mut chunk = wire.clone();
    let mut server = Connection::server(Config::default());
    for _ in 0..repetitions {
        if kind == MessageKind::Text {
            // Unmasked once more it would not be text; other payloads may be anything.
            chunk.copy_from_slice(&wire);
        }
        let (mut position, mut events_count) = (0, 0);
        while let Some(event) = server.handle_chunk(black_box(&mut chunk), &mut position) {
            black_box(event);
            events_count += 1;
        }
        assert_eq!(events_count, count);
    }
}

fn unmask(repetitions: u32, payload_bytes: usize) {
    let mut payload = vec![b'x'; payload_bytes];
    for _ in 0..repetitions {
        mask::apply(black_box(&mut payload), black_box(KEY));
    }
}

fn encode_small(repetitions: u32) {
    let mut server = Connection::server(Config::default());
    let mut buffer = BytesMut::new();
    for _ in 0..repetitions {
        server.recycle(buffer);
        for _ in 0..SMALL_COUNT {
            let sent = server.send_copied(MessageKind::Binary, black_box(&[7; 20]));
            sent.expect("room");
        }
        let Some(Transmit::Contiguous(bytes)) = server.poll_transmit() else {
            panic!("small messages leave in one buffer")
        };
        assert!(server.poll_transmit().is_none());
        buffer = bytes;
    }
}

fn encode_shared(repetitions: u32) {
    let mut server = Connection::server(Config::default());
    let payload = Bytes::from(vec![7; 64 << 10]);
    for _ in 0..repetitions {
        let sent = server.send(MessageKind::Binary, black_box(&payload).clone());
        sent.expect("room");
        black_box(server.poll_transmit().expect("a message"));
        assert!(server.poll_transmit().is_none());
    }
}

fn accept(repetitions: u32) {
    for _ in 0..repetitions {
        let mut handshake = ServerHandshake::new(HandshakeLimits::DEFAULT);
        let ServerVerdict::Upgrade(upgrade) = handshake.handle_bytes(black_box(REQUEST)) else {
            panic!("the request is good")
        };
        black_box(
            upgrade
                .accept(&ServerOptions::default())
                .expect("no origin policy"),
        );
    }
}
