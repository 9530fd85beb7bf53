//! Closing handshake, failing, timers (RFC 6455 §5.5.1, §7).

use bytes::Bytes;
use ws_proto::testing::{Seen, client_frame, drain, feed, raw_frame, test_masking_key};
use ws_proto::{
    CloseCode, CloseFrame, Config, Connection, Event, Limits, MessageKind, ProtocolError, SendError,
};

fn server() -> Connection {
    Connection::server(Config::default())
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code: CloseCode::from_u16(code),
        reason: reason.into(),
    }
}

/// RFC 6455 §7.4: written out, not as the code has it.
fn may_be_sent(code: u16) -> bool {
    let assigned = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
    ];
    assigned.contains(&code) || (3000..=4999).contains(&code)
}

#[test]
fn every_close_code() {
    for code in 0..=u16::MAX {
        let mut connection = server();
        let seen = feed(&mut connection, &client_frame(0x88, &code.to_be_bytes()));
        let answer = drain(&mut connection);
        if may_be_sent(code) {
            assert_eq!(seen, [Seen::Close(Some(frame(code, "")))]);
            // RFC 6455 §5.5.1: the reply echoes the code.
            assert_eq!(answer, raw_frame(0x88, None, &code.to_be_bytes()));
            assert_eq!(server().close(Some(&frame(code, ""))), Ok(()));
        } else {
            assert_eq!(
                seen,
                [Seen::Failed(ProtocolError::InvalidCloseCode)],
                "{code}"
            );
            assert_eq!(answer, b"\x88\x02\x03\xEA");
            assert_eq!(
                server().close(Some(&frame(code, ""))),
                Err(SendError::InvalidClose)
            );
        }
    }
}

#[test]
fn close_bodies() {
    let cases: [(&[u8], Seen, &[u8]); 6] = [
        (b"", Seen::Close(None), b"\x88\x00"),
        (
            b"\x03",
            Seen::Failed(ProtocolError::ClosePayloadTooShort),
            b"\x88\x02\x03\xEA",
        ),
        (
            b"\x03\xE8",
            Seen::Close(Some(frame(1000, ""))),
            b"\x88\x02\x03\xE8",
        ),
        (
            "\x03\u{0}bye ü".as_bytes(),
            Seen::Failed(ProtocolError::InvalidCloseCode),
            b"\x88\x02\x03\xEA",
        ),
        (
            b"\x03\xE8bye \xC3\xBC",
            Seen::Close(Some(frame(1000, "bye ü"))),
            b"\x88\x02\x03\xE8",
        ),
        (
            b"\x03\xE8\xC3",
            Seen::Failed(ProtocolError::InvalidCloseReason),
            b"\x88\x02\x03\xEF",
        ),
    ];
    for (body, expected, answer) in cases {
        let wire = client_frame(0x88, body);
        for cut in 0..=wire.len() {
            let mut connection = server();
            let mut seen = feed(&mut connection, &wire[..cut]);
            seen.extend(feed(&mut connection, &wire[cut..]));
            assert_eq!(
                seen,
                std::slice::from_ref(&expected),
                "{body:02X?} cut at {cut}"
            );
            assert_eq!(drain(&mut connection), answer);
            assert!(connection.is_finished());
        }
    }
    let longest = [&b"\x03\xE8"[..], &[b'x'; 123]].concat();
    let seen = feed(&mut server(), &client_frame(0x88, &longest));
    assert_eq!(seen, [Seen::Close(Some(frame(1000, &"x".repeat(123))))]);
}

#[test]
fn nothing_is_read_behind_a_close_frame() {
    let mut connection = server();
    let wire = [
        client_frame(0x88, b""),
        client_frame(0x89, b""),
        client_frame(0xFF, b""),
    ];
    assert_eq!(feed(&mut connection, &wire.concat()), [Seen::Close(None)]);
    assert!(feed(&mut connection, &client_frame(0x82, b"late")).is_empty());
    assert_eq!(drain(&mut connection), b"\x88\x00");
    assert!(connection.is_receive_over());
}

#[test]
fn nothing_is_sent_behind_a_close_frame() {
    let mut connection = server();
    connection.send_copied(MessageKind::Text, b"first").unwrap();
    connection.close(Some(&frame(1001, "bye"))).unwrap();
    assert!(!connection.is_open());
    let late = Bytes::from_static(b"late");
    assert_eq!(
        connection.send(MessageKind::Text, late.clone()),
        Err(SendError::Closed)
    );
    assert_eq!(
        connection.send_copied(MessageKind::Text, b"late"),
        Err(SendError::Closed)
    );
    assert_eq!(
        connection.send_parts(MessageKind::Text, vec![late]),
        Err(SendError::Closed)
    );
    assert_eq!(connection.send_ping(b""), Err(SendError::Closed));
    assert_eq!(connection.close(None), Err(SendError::Closed));
    // Messages still arrive, pings are no longer answered.
    let wire = [client_frame(0x82, b"still"), client_frame(0x89, b"?")].concat();
    let seen = feed(&mut connection, &wire);
    assert_eq!(
        seen,
        [Seen::Binary(b"still".to_vec()), Seen::Ping(b"?".to_vec())]
    );
    assert!(!connection.is_finished());
    let seen = feed(&mut connection, &client_frame(0x88, b"\x03\xE9"));
    assert_eq!(seen, [Seen::Close(Some(frame(1001, "")))]);
    assert!(connection.is_finished());
    assert_eq!(drain(&mut connection), b"\x81\x05first\x88\x05\x03\xE9bye");
}

#[test]
fn the_reason_has_at_most_123_bytes() {
    assert_eq!(server().close(Some(&frame(1000, &"x".repeat(123)))), Ok(()));
    let past = server().close(Some(&frame(1000, &"x".repeat(124))));
    assert_eq!(past, Err(SendError::InvalidClose));
}

#[test]
fn end_of_stream() {
    // Without a Close frame: 1006 (RFC 6455 §7.1.5).
    let mut connection = server();
    feed(&mut connection, &client_frame(0x02, b"half"));
    let event = connection.handle_eof();
    assert_eq!(event, Some(Event::Failed(ProtocolError::UnexpectedEnd)));
    assert_eq!(
        CloseCode::from(ProtocolError::UnexpectedEnd),
        CloseCode::ABNORMAL
    );
    assert!(drain(&mut connection).is_empty(), "1006 is never sent");
    assert!(connection.is_finished());
    assert_eq!(connection.handle_eof(), None);
    // After the closing handshake it is what is expected.
    let mut client = Connection::client(Config::default(), test_masking_key);
    client.close(None).unwrap();
    assert_eq!(feed(&mut client, b"\x88\x00"), [Seen::Close(None)]);
    assert!(!client.is_finished());
    assert_eq!(client.handle_eof(), None);
    assert!(client.is_finished());
}

#[test]
fn keep_alive_and_idle_timeout() {
    let mut connection = server();
    assert_eq!(connection.poll_timeout(1_000), Some(26_000));
    assert_eq!(connection.handle_timeout(25_999), None);
    assert!(!connection.has_transmit());
    assert_eq!(connection.handle_timeout(26_000), None);
    assert_eq!(drain(&mut connection), b"\x89\x00");
    // One ping only; the next deadline is the idle timeout, counted from the last byte.
    assert_eq!(connection.poll_timeout(26_000), Some(61_000));
    assert_eq!(connection.handle_timeout(40_000), None);
    assert!(!connection.has_transmit());
    // Any byte starts both again.
    feed(&mut connection, &client_frame(0x8A, b""));
    assert_eq!(connection.poll_timeout(50_000), Some(75_000));
    assert_eq!(connection.handle_timeout(75_000), None);
    assert_eq!(drain(&mut connection), b"\x89\x00");
    assert_eq!(connection.handle_timeout(109_999), None);
    let event = connection.handle_timeout(110_000);
    assert_eq!(event, Some(Event::Failed(ProtocolError::IdleTimeout)));
    assert_eq!(drain(&mut connection), b"\x88\x02\x03\xE9");
    assert!(connection.is_finished());
}

#[test]
fn timers_can_be_off() {
    let mut limits = Limits::DEFAULT;
    limits.keep_alive_ms = None;
    limits.idle_timeout_ms = None;
    let mut connection = Connection::server(Config::new(limits));
    assert_eq!(connection.poll_timeout(0), None);
    assert_eq!(connection.handle_timeout(u64::MAX), None);
    assert!(!connection.has_transmit());
}

#[test]
fn close_timeout() {
    let mut connection = server();
    connection.poll_timeout(0);
    connection.close(None).unwrap();
    assert_eq!(connection.poll_timeout(10_000), Some(12_000));
    assert_eq!(connection.handle_timeout(11_999), None);
    assert!(!connection.is_finished());
    let event = connection.handle_timeout(12_000);
    assert_eq!(event, Some(Event::Failed(ProtocolError::CloseTimeout)));
    assert!(connection.is_finished());
    // A client whose server does not close TCP gives up without a failure.
    let mut client = Connection::client(Config::default(), test_masking_key);
    feed(&mut client, b"\x88\x00");
    assert_eq!(client.poll_timeout(0), Some(2_000));
    assert_eq!(client.handle_timeout(2_000), None);
    assert!(client.is_finished());
    assert_eq!(client.failure(), None);
}

/// Text is refused at its first wrong byte, wherever the wire is cut (RFC 6455 §8.1).
#[test]
fn invalid_text_fails_at_its_first_bad_byte() {
    // The index of the first byte that no valid text has there.
    let cases: [(&[u8], usize); 7] = [
        (b"ab\xFFcd", 2),
        (
            b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE\xB5\xED\xA0\x80edited",
            12,
        ),
        (b"\xC0\xAF", 0),
        (b"\xE0\x80\x80", 1),
        (b"\xF4\x90\x80\x80", 1),
        (b"\x80", 0),
        (b"\xF0\x9D\x84x", 3),
    ];
    for (text, bad) in cases {
        // One byte per chunk: the failure comes with the bad byte, not later.
        let wire = client_frame(0x01, text);
        let mut connection = server();
        let failed_at = wire
            .iter()
            .position(|byte| !feed(&mut connection, &[*byte]).is_empty());
        assert_eq!(failed_at, Some(6 + bad), "{text:02X?}");
        assert_eq!(drain(&mut connection), b"\x88\x02\x03\xEF");
        // One byte per fragment.
        let mut connection = server();
        let failed_at = text.iter().enumerate().position(|(index, byte)| {
            let first = if index == 0 { 0x01 } else { 0x00 };
            !feed(&mut connection, &client_frame(first, &[*byte])).is_empty()
        });
        assert_eq!(failed_at, Some(bad), "{text:02X?}");
        // Whole.
        let seen = feed(&mut server(), &client_frame(0x81, text));
        assert_eq!(seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);
    }
}

#[test]
fn text_may_not_end_inside_a_sequence() {
    let seen = feed(&mut server(), &client_frame(0x81, b"\xE6\xB0"));
    assert_eq!(seen, [Seen::Failed(ProtocolError::InvalidUtf8)]);
    let wire = [client_frame(0x01, b"\xE6\xB0"), client_frame(0x80, b"")].concat();
    assert_eq!(
        feed(&mut server(), &wire),
        [Seen::Failed(ProtocolError::InvalidUtf8)]
    );
    // The state does not leak into the next message.
    let wire = [client_frame(0x01, b"\xE6\xB0"), client_frame(0x80, b"\xB4")].concat();
    let twice = [wire.clone(), wire].concat();
    let text = Seen::Text("水".into());
    assert_eq!(feed(&mut server(), &twice), [text.clone(), text]);
}

#[test]
fn the_answer_to_a_close_can_be_left_to_the_caller() {
    let mut config = Config::default();
    config.automatic_close = false;
    let mut server = Connection::server(config);
    let seen = feed(&mut server, &client_frame(0x88, b"\x03\xE8"));
    assert_eq!(seen, [Seen::Close(Some(frame(1000, "")))]);
    assert!(!server.has_transmit() && !server.is_finished() && !server.is_open());
    // It may take as long as a closing handshake may.
    let deadline_ms = server.poll_timeout(0).expect("a deadline");
    assert_eq!(deadline_ms, server.config().limits.close_timeout_ms);
    assert!(server.handle_timeout(deadline_ms - 1).is_none());
    server
        .close(Some(&frame(1001, "bye")))
        .expect("not answered");
    assert_eq!(drain(&mut server), b"\x88\x05\x03\xE9bye");
    assert!(server.is_finished());
    assert_eq!(server.close(None), Err(SendError::Closed));
}
