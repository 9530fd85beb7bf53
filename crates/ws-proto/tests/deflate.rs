//! permessage-deflate (RFC 7692): examples, negotiation, round trips, bombs, broken streams.
#![cfg(feature = "deflate")]

use std::cell::Cell;

use bytes::Bytes;
use ws_proto::deflate::{Compressor, Inflater, Options, Parameters, Pool};
use ws_proto::handshake::{
    ClientHandshake, ClientOptions, ClientVerdict, HandshakeError, HandshakeLimits, Refusal,
    ServerHandshake, ServerOptions, ServerVerdict,
};
use ws_proto::testing::fuzz::fuzz_deflate;
use ws_proto::testing::pair::{Cut, Pair};
use ws_proto::testing::{
    Dice, Seen, client_frame, deflate_sessions, drain, feed, test_masking_key,
};
use ws_proto::{Config, Connection, Limits, MessageKind, ProtocolError};

fn config(options: Options) -> Config {
    let (client, server) = deflate_sessions(options, options);
    assert_eq!(client.parameters(), server.parameters());
    let mut config = Config::default();
    config.deflate = Some(server);
    config
}

fn server(options: Options) -> Connection {
    Connection::server(config(options))
}

fn eager(options: Options) -> Options {
    let mut options = options;
    options.compress_bytes_min = 1;
    options
}

/// RFC 7692 §7.2.3.1–7.2.3.6: compressed payloads and what they inflate to.
#[test]
fn examples_of_the_rfc() {
    let cases: [(&[u8], &str); 7] = [
        (b"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"),
        (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"),
        (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"),
        (
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
            "Hello",
        ),
        (b"\x00", ""),
        (b"\x02\x00", ""),
        (b"", ""),
    ];
    for options in [Options::DEFAULT, Options::TAKEOVER] {
        for (payload, text) in cases {
            let wire = client_frame(0xC1, payload).repeat(2);
            for cut in 0..wire.len() {
                let mut server = server(options);
                let mut seen = feed(&mut server, &wire[..cut]);
                seen.extend(feed(&mut server, &wire[cut..]));
                let expected = Seen::Text(text.into());
                assert_eq!(
                    seen,
                    [expected.clone(), expected],
                    "{payload:02X?} at {cut}"
                );
            }
        }
    }
}

/// §7.2.3.1, as two fragments: only the first carries RSV1.
#[test]
fn the_example_in_fragments() {
    let wire = [
        client_frame(0x41, b"\xf2\x48\xcd"),
        client_frame(0x89, b"between"),
        client_frame(0x80, b"\xc9\xc9\x07\x00"),
    ];
    let seen = feed(&mut server(Options::DEFAULT), &wire.concat());
    assert_eq!(
        seen,
        [Seen::Ping(b"between".to_vec()), Seen::Text("Hello".into())]
    );
    let bad = [
        client_frame(0x41, b"\xf2\x48\xcd"),
        client_frame(0xC0, b"\xc9\xc9\x07\x00"),
    ];
    let seen = feed(&mut server(Options::DEFAULT), &bad.concat());
    assert_eq!(seen, [Seen::Failed(ProtocolError::ReservedBits)]);
    let ping = client_frame(0xC9, b"");
    let seen = feed(&mut server(Options::DEFAULT), &ping);
    assert_eq!(seen, [Seen::Failed(ProtocolError::ReservedBits)]);
}

/// §7.2.3.2: the second message refers to the first, if contexts are taken over.
#[test]
fn the_example_of_a_shared_window() {
    let wire = [
        client_frame(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        client_frame(0xC1, b"\xf2\x00\x11\x00\x00"),
    ]
    .concat();
    let hello = Seen::Text("Hello".into());
    let seen = feed(&mut server(Options::TAKEOVER), &wire);
    assert_eq!(seen, [hello.clone(), hello.clone()]);
    let seen = feed(&mut server(Options::DEFAULT), &wire);
    assert_eq!(seen, [hello, Seen::Failed(ProtocolError::InvalidDeflate)]);
}

fn judge(extensions: &str) -> Result<Option<(Parameters, String)>, u16> {
    judge_with(extensions, Options::TAKEOVER)
}

/// What a server with these options answers to an offer: parameters and response header.
fn judge_with(extensions: &str, options: Options) -> Result<Option<(Parameters, String)>, u16> {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: {extensions}\r\n\r\n"
    );
    match ServerHandshake::new(HandshakeLimits::DEFAULT).handle_bytes(request.as_bytes()) {
        ServerVerdict::Upgrade(upgrade) => {
            let mut server_options = ServerOptions::default();
            server_options.deflate = Some(options);
            let accepted = upgrade.accept(&server_options).unwrap();
            let response = String::from_utf8(accepted.response.to_vec()).unwrap();
            let line = response.split("Sec-WebSocket-Extensions: ").nth(1);
            assert_eq!(line.is_some(), accepted.deflate.is_some());
            Ok(accepted.deflate.map(|session| {
                let line = line.unwrap().split("\r\n").next().unwrap();
                (*session.parameters(), line.to_owned())
            }))
        }
        ServerVerdict::Refuse(refusal) => Err(refusal.status()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn offers_and_answers() {
    let name = "permessage-deflate";
    for (offer, answer) in [
        ("", ""),
        ("; client_max_window_bits", ""),
        ("; client_max_window_bits=15", ""),
        ("; client_max_window_bits=10", "; client_max_window_bits=10"),
        ("; server_max_window_bits=10", "; server_max_window_bits=10"),
        ("; server_max_window_bits=15", "; server_max_window_bits=15"),
        (
            "; server_max_window_bits=\"9\"",
            "; server_max_window_bits=9",
        ),
        (
            "; server_no_context_takeover",
            "; server_no_context_takeover",
        ),
        (
            ";client_no_context_takeover",
            "; client_no_context_takeover",
        ),
    ] {
        let judged = judge(&format!("{name}{offer}")).unwrap();
        assert_eq!(
            judged.map(|(_, line)| line),
            Some(format!("{name}{answer}")),
            "{offer}"
        );
    }
    // The first offer that is valid wins.
    let judged = judge(
        "x-other, permessage-deflate; bad, permessage-deflate; \
        server_max_window_bits=9, permessage-deflate",
    );
    assert_eq!(
        judged.unwrap().unwrap().1,
        "permessage-deflate; server_max_window_bits=9"
    );
}

#[test]
fn a_server_limits_what_it_may() {
    let mut options = Options::DEFAULT;
    options.server_max_window_bits = 12;
    options.client_max_window_bits = 11;
    let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
        server_max_window_bits=12";
    // §7.1.2.2: a client that does not name its window cannot be limited.
    let (parameters, line) = judge_with("permessage-deflate", options).unwrap().unwrap();
    assert_eq!(line, both);
    assert_eq!(parameters.client_max_window_bits, 15);
    let offer = "permessage-deflate; client_max_window_bits";
    let (parameters, line) = judge_with(offer, options).unwrap().unwrap();
    assert_eq!(line, format!("{both}; client_max_window_bits=11"));
    assert_eq!(parameters.client_max_window_bits, 11);
}

#[test]
fn offers_that_are_declined_or_refused() {
    for parameters in [
        "; unknown",
        "; server_no_context_takeover=1",
        "; client_no_context_takeover=true",
        "; server_max_window_bits",
        "; server_max_window_bits=010",
        "; server_max_window_bits=10; server_max_window_bits=10",
        "; client_max_window_bits; client_max_window_bits=10",
        "; server_no_context_takeover; server_no_context_takeover",
    ] {
        let judged = judge(&format!("permessage-deflate{parameters}"));
        assert_eq!(judged, Ok(None), "{parameters}");
    }
    assert_eq!(judge("x-webkit-deflate-frame"), Ok(None));
    for malformed in [
        "permessage-deflate;",
        "permessage-deflate; =",
        "a b",
        ";",
        "a;b=\"c",
    ] {
        assert_eq!(judge(malformed), Err(400), "{malformed}");
    }
    assert_eq!(Refusal::BadRequest("").status(), 400);
}

#[test]
fn every_window_bits_value() {
    for value in 0..=300 {
        let valid = (8..=15).contains(&value);
        for name in ["server_max_window_bits", "client_max_window_bits"] {
            for text in [format!("{value}"), format!("\"{value}\"")] {
                let judged = judge(&format!("permessage-deflate; {name}={text}")).unwrap();
                assert_eq!(judged.is_some(), valid, "{name}={text}");
                let Some((parameters, _)) = judged else {
                    continue;
                };
                let agreed = match name {
                    "server_max_window_bits" => parameters.server_max_window_bits,
                    _ => parameters.client_max_window_bits,
                };
                assert_eq!(u32::from(agreed), value);
            }
            let response = respond(Options::TAKEOVER, &format!("; {name}={value}"));
            assert_eq!(response.is_ok(), valid, "{name}={value}");
        }
    }
}

/// What a client with these options makes of a response with these parameters.
fn respond(options: Options, parameters: &str) -> Result<Parameters, HandshakeError> {
    let mut client_options = ClientOptions::new("a", "/");
    client_options.deflate = Some(options);
    let mut client = ClientHandshake::new(client_options, *b"the sample nonce").unwrap();
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n\r\n"
    );
    match client.handle_bytes(response.as_bytes())? {
        ClientVerdict::Accepted(accepted) => Ok(*accepted.deflate.unwrap().parameters()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn responses_that_do_not_answer_the_offer() {
    for parameters in [
        "; unknown",
        "; server_max_window_bits",
        "; client_max_window_bits",
        "; server_no_context_takeover; server_no_context_takeover",
        "; server_no_context_takeover=1",
        ", permessage-deflate",
        ", other",
        ";",
    ] {
        let error = respond(Options::TAKEOVER, parameters).unwrap_err();
        assert_eq!(error, HandshakeError::UnexpectedExtension, "{parameters}");
    }
    let mut narrow = Options::TAKEOVER;
    narrow.server_max_window_bits = 10;
    narrow.client_max_window_bits = 11;
    for (parameters, accepted) in [
        ("", false),
        ("; server_max_window_bits=11", false),
        ("; server_max_window_bits=10", true),
        (
            "; server_max_window_bits=9; client_max_window_bits=11",
            true,
        ),
        (
            "; server_max_window_bits=9; client_max_window_bits=12",
            false,
        ),
    ] {
        assert_eq!(
            respond(narrow, parameters).is_ok(),
            accepted,
            "{parameters}"
        );
    }
    // §7.1.1.1: the wish that the server forgets must be repeated, the hint that we do not.
    assert!(respond(Options::DEFAULT, "; client_no_context_takeover").is_err());
    let parameters = respond(Options::DEFAULT, "; server_no_context_takeover").unwrap();
    assert!(parameters.client_no_context_takeover);
}

/// Text with repetitions at all distances, so that a window that is too large would show.
fn repetitive(dice: &mut Dice, bytes: usize) -> Vec<u8> {
    let mut text = dice.bytes(16.min(bytes));
    while text.len() < bytes {
        let length = 3 + dice.below(60);
        if dice.below(3) == 0 {
            text.extend(dice.bytes(length));
        } else {
            let distance = 1 + dice.below(text.len());
            let start = text.len() - distance;
            (start..start + length).for_each(|index| text.push(text[index % text.len()]));
        }
    }
    text.truncate(bytes);
    text
}

fn options_of(bits: u8, forget: bool, level: u8) -> Options {
    let mut options = eager(if forget {
        Options::DEFAULT
    } else {
        Options::TAKEOVER
    });
    options.server_max_window_bits = bits;
    options.client_max_window_bits = bits;
    options.level = level;
    options
}

#[test]
fn round_trips_over_all_parameters() {
    for bits in 8..=15 {
        for forget in [false, true] {
            for level in [0, 1, 3, 6, 9] {
                let mut dice = Dice::new(u64::from(bits) << 8 | u64::from(level));
                let config = config(options_of(bits, forget, level));
                let mut pair = Pair::with_config(config, Cut::Dice(dice.clone()));
                let mut sent = Vec::new();
                for bytes in [1, 40, 500, 5_000, 70_000, 0, 300] {
                    let payload = repetitive(&mut dice, bytes);
                    sent.push(Seen::Binary(payload.clone()));
                    let payload = Bytes::from(payload);
                    pair.client
                        .connection
                        .send(MessageKind::Binary, payload.clone())
                        .unwrap();
                    pair.server
                        .connection
                        .send(MessageKind::Binary, payload)
                        .unwrap();
                }
                pair.run();
                assert_eq!(pair.server.seen, sent, "{bits} bits, level {level}");
                assert_eq!(pair.client.seen, sent, "{bits} bits, level {level}");
            }
        }
    }
}

/// A receiver that keeps exactly the agreed window can read what is sent.
#[test]
fn no_reference_leaves_the_window() {
    for bits in 8..=15 {
        for forget in [false, true] {
            let mut options = options_of(bits, forget, 9);
            options.server_no_context_takeover = forget;
            let mut server = server(options);
            let mut inflate = zlib_rs::Inflate::new(false, bits);
            let mut dice = Dice::new(7);
            for bytes in [3_000, 100_000, 400] {
                let text = repetitive(&mut dice, bytes);
                server
                    .send(MessageKind::Binary, Bytes::from(text.clone()))
                    .unwrap();
                let wire = drain(&mut server);
                if forget {
                    inflate = zlib_rs::Inflate::new(false, bits);
                }
                let header = match wire[1] {
                    126 => 4,
                    127 => 10,
                    _ => 2,
                };
                if wire[0] == 0x82 {
                    assert_eq!(&wire[header..], &text);
                    continue;
                }
                let compressed = [&wire[header..], b"\0\0\xFF\xFF"].concat();
                let mut inflated = vec![0; bytes + 1];
                let before = inflate.total_out();
                inflate
                    .decompress(&compressed, &mut inflated, zlib_rs::InflateFlush::SyncFlush)
                    .unwrap_or_else(|error| panic!("{bits} bits: {error:?}"));
                let produced = (inflate.total_out() - before) as usize;
                assert_eq!(&inflated[..produced], &text, "{bits} bits");
            }
        }
    }
}

#[test]
fn context_makes_later_messages_smaller() {
    let text = Bytes::from_static(b"{\"offset\":1234567890}");
    let sizes = |options| {
        let mut server = server(eager(options));
        [(); 2].map(|()| {
            server.send(MessageKind::Text, text.clone()).unwrap();
            drain(&mut server).len()
        })
    };
    let [first, second] = sizes(Options::TAKEOVER);
    assert!(second < first / 2, "{first}, {second}");
    let [first, second] = sizes(Options::DEFAULT);
    assert_eq!(first, second);
}

#[test]
fn short_messages_and_opted_out_ones_go_as_they_are() {
    let mut server = server(Options::TAKEOVER);
    let short = Bytes::from(vec![b'a'; 127]);
    server.send(MessageKind::Text, short.clone()).unwrap();
    assert_eq!(drain(&mut server)[0], 0x81);
    server.send_copied(MessageKind::Text, &short).unwrap();
    assert_eq!(drain(&mut server)[0], 0x81);
    let long = Bytes::from(vec![b'a'; 128]);
    server.send_copied(MessageKind::Text, &long).unwrap();
    assert_eq!(drain(&mut server)[0], 0xC1);
    server
        .send_parts(MessageKind::Text, vec![long.clone(), long.clone()])
        .unwrap();
    assert_eq!(drain(&mut server)[0], 0xC1);
    server.send_uncompressed(MessageKind::Text, long).unwrap();
    assert_eq!(drain(&mut server)[0], 0x81);
}

/// Without context a message that would grow is sent as it is; with context it must not be,
/// because the peer's window would lack it.
#[test]
fn noise_is_not_inflated() {
    let noise = Bytes::from(Dice::new(1).bytes(5_000));
    let mut forgetful = server(Options::DEFAULT);
    forgetful.send(MessageKind::Binary, noise.clone()).unwrap();
    assert_eq!(drain(&mut forgetful)[0], 0x82);
    let mut remembering = server(Options::TAKEOVER);
    remembering.send(MessageKind::Binary, noise).unwrap();
    assert_eq!(drain(&mut remembering)[0], 0xC2);
}

#[test]
fn compressed_messages_are_fragmented_too() {
    let mut config = config(Options::TAKEOVER);
    config.limits.send_frame_bytes_max = 50;
    let mut sender = Connection::client(config.clone(), test_masking_key);
    let payload = repetitive(&mut Dice::new(3), 4_000);
    sender
        .send(MessageKind::Binary, Bytes::from(payload.clone()))
        .unwrap();
    let wire = drain(&mut sender);
    assert_eq!(wire[0], 0x42);
    assert_eq!(wire[56], 0x00);
    let mut receiver = Connection::server(config);
    assert_eq!(feed(&mut receiver, &wire), [Seen::Binary(payload)]);
}

/// One gibibyte in a megabyte: cut off at the message limit, never beyond.
#[test]
fn a_bomb_is_cut_off() {
    let mebibyte = vec![0; 1 << 20];
    let mut sender = server(Options::TAKEOVER);
    let parts = vec![Bytes::from(mebibyte); 63];
    sender.send_parts(MessageKind::Binary, parts).unwrap();
    let wire = drain(&mut sender);
    assert_eq!(wire[1], 126, "63 MiB shrink to less than 64 KiB");
    // Sixteen times the same blocks in one message.
    let payload = [&wire[4..], b"\0\0\xFF\xFF"].concat().repeat(16);
    for cut in [usize::MAX, 10_000] {
        let mut receiver = server(Options::DEFAULT);
        let mut seen = Vec::new();
        for chunk in client_frame(0xC2, &payload).chunks(cut) {
            seen.extend(feed(&mut receiver, chunk));
        }
        assert_eq!(seen, [Seen::Failed(ProtocolError::MessageTooBig)]);
    }
}

#[test]
fn the_message_limit_counts_inflated_bytes() {
    for (bytes, fits) in [(10_000, true), (10_001, false)] {
        let mut sender = server(Options::DEFAULT);
        sender
            .send(MessageKind::Binary, Bytes::from(vec![5; bytes]))
            .unwrap();
        let wire = drain(&mut sender);
        assert!(wire.len() < 100);
        for cut in [1, wire.len()] {
            let mut config = config(Options::DEFAULT);
            config.limits.message_bytes_max = 10_000;
            let mut receiver = Connection::client(config, test_masking_key);
            let seen: Vec<Seen> = wire
                .chunks(cut)
                .flat_map(|chunk| feed(&mut receiver, chunk))
                .collect();
            match fits {
                true => assert_eq!(seen, [Seen::Binary(vec![5; bytes])]),
                false => {
                    assert_eq!(seen, [Seen::Failed(ProtocolError::MessageTooBig)]);
                    assert!(drain(&mut receiver).ends_with(&raw_close(1009)));
                }
            }
        }
    }
}

/// The masked body of a Close frame.
fn raw_close(code: u16) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    ws_proto::mask::apply(&mut body, test_masking_key());
    body
}

#[test]
fn a_message_cut_short_is_1007() {
    let mut sender = server(options_of(15, true, 6));
    let text = repetitive(&mut Dice::new(9), 3_000);
    sender.send(MessageKind::Binary, Bytes::from(text)).unwrap();
    let payload = drain(&mut sender).split_off(4);
    for length in 1..payload.len() {
        let mut receiver = server(Options::DEFAULT);
        let seen = feed(&mut receiver, &client_frame(0xC2, &payload[..length]));
        assert_eq!(
            seen,
            [Seen::Failed(ProtocolError::InvalidDeflate)],
            "{length}"
        );
        assert_eq!(drain(&mut receiver), b"\x88\x02\x03\xEF");
    }
}

#[test]
fn corrupt_streams_are_1007() {
    for payload in [
        &b"\x07"[..],
        b"\xFF\xFF\xFF",
        b"\x00\x05\x00\xFF\xFFHello\x00",
        b"\x02\x00\x00\x00\xFF\xFF\x06",
    ] {
        let seen = feed(&mut server(Options::DEFAULT), &client_frame(0xC2, payload));
        assert_eq!(
            seen,
            [Seen::Failed(ProtocolError::InvalidDeflate)],
            "{payload:02X?}"
        );
    }
}

#[test]
fn inflated_text_is_checked() {
    for (text, valid) in [
        ("Grüße".repeat(50).into_bytes(), true),
        (vec![0xC3; 300], false),
    ] {
        let mut sender = server(Options::DEFAULT);
        sender.send(MessageKind::Binary, Bytes::from(text)).unwrap();
        let mut wire = drain(&mut sender);
        wire[0] = 0xC1;
        let seen = feed(&mut client(), &wire);
        match valid {
            true => assert!(matches!(seen[..], [Seen::Text(_)])),
            false => assert_eq!(seen, [Seen::Failed(ProtocolError::InvalidUtf8)]),
        }
    }
}

fn client() -> Connection {
    Connection::client(config(Options::DEFAULT), test_masking_key)
}

/// A message of many ended streams: legal up to the limit (RFC 7692 §7.2.3.4), then 1007.
#[test]
fn streams_within_a_message_have_a_limit() {
    let ended = b"\x03\x00";
    for (count, fits) in [(64, true), (65, false)] {
        let payload = [ended.repeat(count), vec![0x00]].concat();
        let seen = feed(&mut server(Options::DEFAULT), &client_frame(0xC2, &payload));
        match fits {
            true => assert_eq!(seen, [Seen::Binary(Vec::new())]),
            false => assert_eq!(seen, [Seen::Failed(ProtocolError::InvalidDeflate)]),
        }
    }
    // The count starts again with each message.
    let payload = [ended.repeat(60), vec![0x00]].concat();
    let wire = client_frame(0xC2, &payload).repeat(3);
    assert_eq!(feed(&mut server(Options::TAKEOVER), &wire).len(), 3);
}

thread_local! {
    static LENT: Cell<[i32; 2]> = const { Cell::new([0; 2]) };
    static TAKEN: Cell<u32> = const { Cell::new(0) };
}

fn count(compressors: i32, inflaters: i32) {
    let [a, b] = LENT.get();
    LENT.set([a + compressors, b + inflaters]);
    TAKEN.set(TAKEN.get() + 1);
}

const COUNTING: Pool = Pool {
    take_compressor: |level, window_bits| {
        count(1, 0);
        Box::new(Compressor::new(level, window_bits))
    },
    give_compressor: |_| count(-1, 0),
    take_inflater: || {
        count(0, 1);
        Box::new(Inflater::new())
    },
    give_inflater: |_| count(0, -1),
};

/// Without context takeover an idle connection holds neither; with it, one of each. A peer
/// that sends a single byte of a message does not make us take one.
#[test]
fn what_an_idle_connection_holds() {
    for (base, held) in [(Options::DEFAULT, 0), (Options::TAKEOVER, 1)] {
        LENT.set([0; 2]);
        let mut options = base;
        options.pool = COUNTING;
        let mut pair = Pair::with_config(config(options), Cut::Never);
        assert_eq!(LENT.get(), [0, 0]);
        let payload = Bytes::from(vec![7; 100_000]);
        for _ in 0..3 {
            pair.client
                .connection
                .send(MessageKind::Binary, payload.clone())
                .unwrap();
            pair.run();
            assert_eq!(LENT.get(), [held, held]);
        }
        assert_eq!(pair.server.seen.len(), 3);
    }
    LENT.set([0; 2]);
    let mut options = Options::DEFAULT;
    options.pool = COUNTING;
    let mut receiver = server(options);
    let noise = Dice::new(1).bytes(16_384);
    let header = client_frame(0xC2, &vec![0; 20_000])[..8].to_vec();
    feed(&mut receiver, &header);
    // A stored block: its content does not matter.
    feed(&mut receiver, &[0x37, 0xFA ^ 0xFF]);
    feed(&mut receiver, &noise[..16_382]);
    assert_eq!(LENT.get(), [0, 0], "on the edge of what is kept");
    feed(&mut receiver, &noise[..1]);
    assert_eq!(LENT.get()[1], 1, "one past it");
}

/// What a compressor or inflater of the pool saw before does not leak into a connection.
#[test]
fn pooled_state_is_reset() {
    thread_local! {
        static COMPRESSORS: Cell<Option<Box<Compressor>>> = const { Cell::new(None) };
        static INFLATERS: Cell<Option<Box<Inflater>>> = const { Cell::new(None) };
    }
    let mut options = eager(Options::DEFAULT);
    options.pool = Pool {
        take_compressor: |level, window_bits| {
            let kept = COMPRESSORS.take();
            kept.unwrap_or_else(|| Box::new(Compressor::new(level, window_bits)))
        },
        give_compressor: |compressor| COMPRESSORS.set(Some(compressor)),
        take_inflater: || INFLATERS.take().unwrap_or_default(),
        give_inflater: |inflater| INFLATERS.set(Some(inflater)),
    };
    let mut first = None;
    for _ in 0..3 {
        let mut pair = Pair::with_config(config(options), Cut::Never);
        let text = "the same text again and again and again";
        pair.client
            .connection
            .send(MessageKind::Text, Bytes::from(text))
            .unwrap();
        let wire = drain(&mut pair.client.connection);
        assert_eq!(first.get_or_insert(wire.clone()), &wire);
        assert_eq!(
            feed(&mut pair.server.connection, &wire),
            [Seen::Text(text.into())]
        );
    }
    // An inflater that broke off in the middle of a message is as good as new.
    let mut broken = server(options);
    feed(&mut broken, &client_frame(0xC2, &[0xFF; 100]));
    let seen = feed(
        &mut server(options),
        &client_frame(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
    );
    assert_eq!(seen, [Seen::Text("Hello".into())]);
}

#[test]
fn rsv1_without_negotiation_is_1002() {
    let mut plain = Connection::server(Config::new(Limits::DEFAULT));
    let seen = feed(
        &mut plain,
        &client_frame(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
    );
    assert_eq!(seen, [Seen::Failed(ProtocolError::ReservedBits)]);
}

#[test]
fn seeds() {
    for seed in 0..300_u64 {
        let mut dice = Dice::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let length = dice.below(3_000);
        let mut data = match seed % 3 {
            0 => dice.bytes(length),
            1 => repetitive(&mut dice, length),
            _ => {
                let mut sender = server(options_of(15, true, 6));
                let text = repetitive(&mut dice, length + 200);
                sender.send(MessageKind::Binary, Bytes::from(text)).unwrap();
                let mut wire = drain(&mut sender).split_off(3);
                let position = dice.below(wire.len());
                wire[position] ^= 1 << dice.below(8);
                wire
            }
        };
        data.insert(0, dice.roll() as u8);
        fuzz_deflate(&data);
    }
}
