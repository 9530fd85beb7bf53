//! Conversations between two ends over wires that cut anywhere.

use bytes::Bytes;
use ws_proto::testing::pair::{Cut, Pair};
use ws_proto::testing::{Dice, Seen, client_frame, feed};
use ws_proto::{CloseCode, CloseFrame, Config, Connection, Limits, MessageKind};

/// Text with sequences of one to four bytes, so that every kind of cut is in it.
const TEXT: &str = "plain, Grüße, 水, 𝄞, and an end: é";

fn close_frame(reason: &str) -> CloseFrame {
    CloseFrame {
        code: CloseCode::NORMAL,
        reason: reason.into(),
    }
}

/// One of everything in both directions, then a closing handshake.
fn converse(pair: &mut Pair) {
    let client = &mut pair.client.connection;
    client
        .send(MessageKind::Text, Bytes::from_static(TEXT.as_bytes()))
        .unwrap();
    client.send_copied(MessageKind::Binary, &[]).unwrap();
    client.send_ping(b"are you there").unwrap();
    client
        .send(MessageKind::Binary, Bytes::from(vec![7; 130]))
        .unwrap();
    client
        .send_parts(
            MessageKind::Text,
            vec![
                Bytes::from_static(b"one "),
                Bytes::new(),
                Bytes::from_static("zwölf".as_bytes()),
            ],
        )
        .unwrap();
    let server = &mut pair.server.connection;
    server.send_pong(b"unasked").unwrap();
    server
        .send(MessageKind::Binary, Bytes::from(vec![9; 300]))
        .unwrap();
    pair.run();
    pair.client
        .connection
        .close(Some(&close_frame("done")))
        .unwrap();
    pair.run();
}

fn check_conversation(pair: &Pair, about: &str) {
    let server = [
        Seen::Text(TEXT.into()),
        Seen::Binary(Vec::new()),
        Seen::Ping(b"are you there".to_vec()),
        Seen::Binary(vec![7; 130]),
        Seen::Text("one zwölf".into()),
        Seen::Close(Some(close_frame("done"))),
    ];
    assert_eq!(pair.server.seen, server, "server, {about}");
    let client = [
        Seen::Pong(b"unasked".to_vec()),
        Seen::Binary(vec![9; 300]),
        Seen::Pong(b"are you there".to_vec()),
        Seen::Close(Some(close_frame(""))),
    ];
    assert_eq!(pair.client.seen, client, "client, {about}");
    assert!(pair.server.connection.is_finished(), "{about}");
    assert!(
        !pair.client.connection.is_finished(),
        "the server closes TCP first, {about}"
    );
}

fn fragmenting() -> Config {
    let mut limits = Limits::DEFAULT;
    limits.send_frame_bytes_max = 5;
    limits.coalesce_bytes_max = 3;
    Config::new(limits)
}

/// The conversation is under 1,000 bytes each way: every single cut is tried, plus every
/// regular chunk length.
#[test]
fn a_conversation_survives_every_cut() {
    for config in [Config::default(), fragmenting()] {
        for position in 0..1_400 {
            for cut in [Cut::At(position), Cut::Every(position + 1)] {
                let about = format!("{cut:?}");
                let mut pair = Pair::with_config(config.clone(), cut);
                converse(&mut pair);
                check_conversation(&pair, &about);
            }
        }
    }
}

#[test]
fn a_conversation_survives_random_cuts() {
    for seed in 0..500 {
        let config = if seed % 2 == 0 {
            Config::default()
        } else {
            fragmenting()
        };
        let mut pair = Pair::with_config(config, Cut::Dice(Dice::new(seed)));
        converse(&mut pair);
        check_conversation(&pair, &format!("seed {seed}"));
    }
}

/// Sizes around every threshold, random order, random cuts, both directions, with and without
/// the lent receive buffer.
#[test]
fn messages_of_all_sizes_arrive_unchanged() {
    let sizes = [
        0, 1, 125, 126, 127, 4_095, 4_096, 4_097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537,
        200_000, 1_000_003,
    ];
    for seed in 0..24 {
        let mut dice = Dice::new(seed);
        let mut limits = Limits::DEFAULT;
        limits.send_frame_bytes_max = [16 << 20, 70_000, 1_000][seed as usize % 3];
        let mut pair = Pair::with_config(Config::new(limits), Cut::Dice(dice.clone()));
        if seed % 2 == 0 {
            pair = pair.without_direct_receive();
        }
        let mut sent = Vec::new();
        for _ in 0..12 {
            let size = sizes[dice.below(sizes.len())];
            let payload: Vec<u8> = (0..size).map(|index| (index * 7 + size) as u8).collect();
            sent.push(Seen::Binary(payload.clone()));
            let shared = Bytes::from(payload);
            pair.client
                .connection
                .send(MessageKind::Binary, shared.clone())
                .unwrap();
            pair.server
                .connection
                .send(MessageKind::Binary, shared)
                .unwrap();
        }
        pair.run();
        assert_eq!(pair.server.seen, sent, "seed {seed}");
        assert_eq!(pair.client.seen, sent, "seed {seed}");
    }
}

/// Both ends start the closing handshake at once (RFC 6455 §7.1.5: each got the other's).
#[test]
fn both_may_close_at_once() {
    let mut pair = Pair::new(Cut::Never);
    pair.client
        .connection
        .close(Some(&close_frame("client")))
        .unwrap();
    pair.server
        .connection
        .close(Some(&close_frame("server")))
        .unwrap();
    pair.run();
    assert_eq!(pair.client.seen, [Seen::Close(Some(close_frame("server")))]);
    assert_eq!(pair.server.seen, [Seen::Close(Some(close_frame("client")))]);
    assert!(pair.server.connection.is_finished());
}

/// Control frames between the fragments of a message (RFC 6455 §5.4), at every cut.
#[test]
fn control_frames_interleave_with_fragments() {
    let wire = [
        client_frame(0x01, "Gr".as_bytes()),
        client_frame(0x89, b"1"),
        client_frame(0x00, &"ü".as_bytes()[..1]),
        client_frame(0x8A, b"2"),
        client_frame(0x00, b""),
        client_frame(0x89, &[3; 125]),
        client_frame(0x80, [&"ü".as_bytes()[1..], b"n"].concat().as_slice()),
        client_frame(0x82, b"next"),
    ]
    .concat();
    let expected = [
        Seen::Ping(b"1".to_vec()),
        Seen::Pong(b"2".to_vec()),
        Seen::Ping(vec![3; 125]),
        Seen::Text("Grün".into()),
        Seen::Binary(b"next".to_vec()),
    ];
    for cut in 0..=wire.len() {
        let mut server = Connection::server(Config::default());
        let mut seen = feed(&mut server, &wire[..cut]);
        seen.extend(feed(&mut server, &wire[cut..]));
        assert_eq!(seen, expected, "cut at {cut}");
    }
}

/// The good frames of a chunk are delivered before the bad one fails the connection, and the
/// answers to them leave before the Close frame.
#[test]
fn good_frames_before_a_bad_one_are_delivered() {
    let wire = [
        client_frame(0x82, b"good"),
        client_frame(0x89, b"ping"),
        client_frame(0x83, b"reserved"),
        client_frame(0x82, b"never seen"),
    ]
    .concat();
    let mut server = Connection::server(Config::default());
    let seen = feed(&mut server, &wire);
    assert_eq!(
        seen,
        [
            Seen::Binary(b"good".to_vec()),
            Seen::Ping(b"ping".to_vec()),
            Seen::Failed(ws_proto::ProtocolError::ReservedOpCode),
        ]
    );
    let answer = ws_proto::testing::drain(&mut server);
    assert_eq!(answer, b"\x8A\x04ping\x88\x02\x03\xEA");
    assert!(server.is_finished());
}
