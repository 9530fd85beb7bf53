//! Messages larger than memory, and messages for many connections.

use bytes::Bytes;
use ws_proto::testing::{Seen, client_frame, drain, feed, test_masking_key};
use ws_proto::{
    Config, Connection, Event, MessageKind, Payload, PreparedMessage, ProtocolError, SendError,
    Transmit,
};

fn server() -> Connection {
    Connection::server(Config::default())
}

fn client() -> Connection {
    Connection::client(Config::default(), test_masking_key)
}

fn reader_of_pieces() -> Connection {
    let mut config = Config::default();
    config.pieces = true;
    Connection::server(config)
}

/// What the pieces of the last message join to, and what came besides.
fn join(seen: Vec<Seen>) -> (Vec<u8>, Vec<Seen>) {
    let mut joined = Vec::new();
    let mut others = Vec::new();
    let mut ended = false;
    for one in seen {
        match one {
            Seen::Piece(piece, last) => {
                assert!(!ended, "a piece behind the last one");
                joined.extend(piece);
                ended = last;
            }
            other => others.push(other),
        }
    }
    assert!(ended, "the message has no last piece");
    (joined, others)
}

#[test]
fn pieces_join_to_the_message_however_it_is_cut() {
    let text = "Grüße aus Köln, 水 und 𝄞";
    let bytes = text.as_bytes();
    let wire = [
        client_frame(0x01, &bytes[..4]),
        client_frame(0x89, b"between"),
        client_frame(0x00, b""),
        client_frame(0x00, &bytes[4..20]),
        client_frame(0x80, &bytes[20..]),
    ]
    .concat();
    for cut in 0..=wire.len() {
        let mut reader = reader_of_pieces();
        let mut seen = feed(&mut reader, &wire[..cut]);
        seen.extend(feed(&mut reader, &wire[cut..]));
        let (joined, others) = join(seen);
        assert_eq!(String::from_utf8(joined).unwrap(), text, "cut at {cut}");
        assert_eq!(others, [Seen::Ping(b"between".to_vec())]);
        // What lies whole in a chunk is still reported whole.
        let seen = feed(&mut reader, &client_frame(0x82, b"whole"));
        assert_eq!(seen, [Seen::Binary(b"whole".to_vec())]);
    }
}

/// A message of a gigabyte passes through without a buffer of its own.
#[test]
fn pieces_are_slices_of_the_chunks() {
    let mut config = Config::default();
    config.pieces = true;
    config.limits.frame_bytes_max = u64::MAX;
    config.limits.message_bytes_max = 1 << 30;
    let mut reader = Connection::server(config);
    let header = [&[0x82, 0xFF][..], &(1_u64 << 30).to_be_bytes(), &[0; 4]].concat();
    assert!(feed(&mut reader, &header).is_empty());
    let mut chunk = vec![7; 1 << 16];
    for round in 1..=1 << 14 {
        let mut position = 0;
        let event = reader.handle_chunk(&mut chunk, &mut position);
        let expected = Event::Piece {
            kind: MessageKind::Binary,
            payload: Payload::Chunk(0..1 << 16),
            last: round == 1 << 14,
        };
        assert_eq!(event, Some(expected));
        assert!(reader.take_receive_buffer().is_none());
    }
}

#[test]
fn limits_hold_for_pieces() {
    let mut config = Config::default();
    config.pieces = true;
    config.limits.message_bytes_max = 10;
    config.limits.fragments_max = 2;
    let start = client_frame(0x02, b"12345");
    let mut reader = Connection::server(config.clone());
    let wire = [start.clone(), client_frame(0x80, b"67890")].concat();
    let (joined, _) = join(feed(&mut reader, &wire));
    assert_eq!(joined, b"1234567890");
    let wire = [start.clone(), client_frame(0x80, b"67890+")].concat();
    let seen = feed(&mut Connection::server(config.clone()), &wire);
    assert_eq!(
        seen.last(),
        Some(&Seen::Failed(ProtocolError::MessageTooBig))
    );
    let wire = [start, client_frame(0x00, b"6"), client_frame(0x80, b"7")].concat();
    let seen = feed(&mut Connection::server(config), &wire);
    assert_eq!(
        seen.last(),
        Some(&Seen::Failed(ProtocolError::TooManyFragments))
    );
}

#[test]
fn pieces_of_text_are_checked() {
    let wire = [client_frame(0x01, b"ok \xC3"), client_frame(0x80, b"")].concat();
    let seen = feed(&mut reader_of_pieces(), &wire);
    assert_eq!(seen.last(), Some(&Seen::Failed(ProtocolError::InvalidUtf8)));
    let wire = [client_frame(0x01, b"ok"), client_frame(0x00, b"\xFF")].concat();
    let seen = feed(&mut reader_of_pieces(), &wire);
    assert_eq!(
        seen,
        [
            Seen::Piece(b"ok".to_vec(), false),
            Seen::Failed(ProtocolError::InvalidUtf8)
        ]
    );
}

#[test]
fn a_message_is_sent_piece_by_piece() {
    for mut sender in [server(), client()] {
        let kind = MessageKind::Text;
        for (piece, last) in [
            ("one ", false),
            ("", false),
            ("two ", false),
            ("three", true),
        ] {
            sender.send_piece(kind, Bytes::from(piece), last).unwrap();
            if !last {
                // Control frames may come between, messages may not (RFC 6455 §5.4).
                sender.send_ping(b"").unwrap();
                let other = Bytes::from_static(b"other");
                let open = Err(SendError::MessageOpen);
                assert_eq!(sender.send(kind, other.clone()), open);
                assert_eq!(sender.send_copied(kind, &other), open);
                assert_eq!(sender.send_parts(kind, vec![other.clone()]), open);
                assert_eq!(sender.send_uncompressed(kind, other.clone()), open);
                assert_eq!(
                    sender.send_piece(MessageKind::Binary, other.clone(), true),
                    open
                );
                let prepared = PreparedMessage::new(kind, other);
                assert_eq!(sender.send_prepared(&prepared), open);
            }
        }
        sender.send_piece(kind, Bytes::new(), true).unwrap();
        let mut receiver = match sender.role() {
            ws_proto::Role::Server => client(),
            ws_proto::Role::Client => server(),
        };
        let ping = Seen::Ping(Vec::new());
        assert_eq!(
            feed(&mut receiver, &drain(&mut sender)),
            [
                ping.clone(),
                ping.clone(),
                ping,
                Seen::Text("one two three".into()),
                Seen::Text(String::new())
            ]
        );
    }
}

#[test]
fn a_connection_may_close_in_the_middle_of_a_message() {
    let mut sender = server();
    sender
        .send_piece(MessageKind::Binary, Bytes::from_static(b"half"), false)
        .unwrap();
    sender.close(None).unwrap();
    let late = sender.send_piece(MessageKind::Binary, Bytes::new(), true);
    assert_eq!(late, Err(SendError::Closed));
    assert_eq!(
        feed(&mut client(), &drain(&mut sender)),
        [Seen::Close(None)]
    );
}

#[test]
fn a_prepared_message_is_shared() {
    let prepared = PreparedMessage::new(MessageKind::Binary, vec![7; 1_000]);
    let mut addresses = [(); 3].map(|()| {
        let mut sender = server();
        sender.send_prepared(&prepared).unwrap();
        let Some(Transmit::Vectored(parts)) = sender.poll_transmit() else {
            panic!("it was copied");
        };
        assert_eq!(parts.len(), 1);
        assert_eq!(
            feed(&mut client(), &parts[0]),
            [Seen::Binary(vec![7; 1_000])]
        );
        parts[0].as_ptr() as usize
    });
    addresses.sort_unstable();
    assert_eq!(addresses[0], addresses[2]);
    assert_eq!(prepared.payload(), &vec![7; 1_000]);
    assert_eq!(prepared.kind(), MessageKind::Binary);
}

#[test]
fn prepared_messages_of_all_sizes_and_roles() {
    for size in [0, 1, 125, 126, 507, 508, 509, 65_536, 100_000] {
        let prepared = PreparedMessage::new(MessageKind::Binary, vec![7; size]);
        let expected = [Seen::Ping(Vec::new()), Seen::Binary(vec![7; size])];
        let mut sender = server();
        sender.send_ping(b"").unwrap();
        sender.send_prepared(&prepared).unwrap();
        assert_eq!(feed(&mut client(), &drain(&mut sender)), expected, "{size}");
        let mut sender = client();
        sender.send_ping(b"").unwrap();
        sender.send_prepared(&prepared).unwrap();
        assert_eq!(feed(&mut server(), &drain(&mut sender)), expected, "{size}");
        // A connection that sends smaller frames does so here, too.
        let mut config = Config::default();
        config.limits.send_frame_bytes_max = 100;
        let mut sender = Connection::server(config);
        sender.send_ping(b"").unwrap();
        sender.send_prepared(&prepared).unwrap();
        let wire = drain(&mut sender);
        assert_eq!(wire[2] & 0x80 == 0, size > 100);
        assert_eq!(feed(&mut client(), &wire), expected, "{size}");
    }
}

#[cfg(feature = "deflate")]
mod compressed {
    use ws_proto::deflate::{Options, Session};
    use ws_proto::handshake::{HandshakeLimits, ServerHandshake, ServerOptions, ServerVerdict};

    use super::*;

    fn session(options: Options) -> Session {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        let mut handshake = ServerHandshake::new(HandshakeLimits::DEFAULT);
        let ServerVerdict::Upgrade(upgrade) = handshake.handle_bytes(request.as_bytes()) else {
            panic!("no upgrade");
        };
        let mut server_options = ServerOptions::default();
        server_options.deflate = Some(options);
        upgrade.accept(&server_options).unwrap().deflate.unwrap()
    }

    fn config(options: Options) -> Config {
        let mut config = Config::default();
        config.deflate = Some(session(options));
        config
    }

    /// Compressed once for those that can take it, plain for the others, right for all.
    #[test]
    fn a_prepared_message_is_compressed_once() {
        let payload = b"the same again, ".repeat(100);
        let prepared = PreparedMessage::new(MessageKind::Binary, payload.clone());
        let prepared = prepared.with_deflate(&Options::DEFAULT);
        let mut narrow = Options::DEFAULT;
        narrow.server_max_window_bits = 9;
        for (options, first) in [
            (None, 0x82),
            (Some(Options::DEFAULT), 0xC2),
            (Some(Options::TAKEOVER), 0x82),
            (Some(narrow), 0x82),
        ] {
            let config = options.map_or_else(Config::default, config);
            let mut sender = Connection::server(config.clone());
            let mut receiver = Connection::client(config, test_masking_key);
            for _ in 0..2 {
                sender.send_prepared(&prepared).unwrap();
                let wire = drain(&mut sender);
                assert_eq!(wire[0], first);
                assert_eq!(feed(&mut receiver, &wire), [Seen::Binary(payload.clone())]);
                // The connection's own compressor is not disturbed.
                sender
                    .send(MessageKind::Binary, Bytes::from(payload.clone()))
                    .unwrap();
                let wire = drain(&mut sender);
                assert_eq!(feed(&mut receiver, &wire), [Seen::Binary(payload.clone())]);
            }
        }
    }

    #[test]
    fn compressed_messages_come_in_pieces() {
        let mut config = config(Options::DEFAULT);
        let payload: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n / 5).to_be_bytes())
            .collect();
        let mut sender = Connection::client(config.clone(), test_masking_key);
        sender
            .send(MessageKind::Binary, Bytes::from(payload.clone()))
            .unwrap();
        let wire = drain(&mut sender);
        config.pieces = true;
        for (bytes_max, fits) in [
            (payload.len() as u64, true),
            (payload.len() as u64 - 1, false),
        ] {
            config.limits.message_bytes_max = bytes_max;
            let mut reader = Connection::server(config.clone());
            let mut seen = Vec::new();
            for chunk in wire.chunks(5_000) {
                seen.extend(feed(&mut reader, chunk));
            }
            if fits {
                assert!(seen.len() > 5);
                assert_eq!(join(seen).0, payload);
            } else {
                assert_eq!(
                    seen.last(),
                    Some(&Seen::Failed(ProtocolError::MessageTooBig))
                );
            }
        }
    }
}
