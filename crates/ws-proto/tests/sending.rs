//! How messages become parts of a write: what is copied, what is shared, what is joined.

use bytes::{Bytes, BytesMut};
use ws_proto::testing::{Seen, client_frame, drain, feed, test_masking_key};
use ws_proto::{Config, Connection, Event, Limits, MessageKind, Payload, Transmit, mask};

fn server() -> Connection {
    Connection::server(Config::default())
}

fn client() -> Connection {
    Connection::client(Config::default(), test_masking_key)
}

fn parts(connection: &mut Connection) -> Vec<Bytes> {
    match connection.poll_transmit() {
        Some(Transmit::Vectored(parts)) => parts,
        other => panic!("not vectored: {other:?}"),
    }
}

/// All answers to one received chunk leave in one buffer.
#[test]
fn small_messages_share_one_write() {
    let mut connection = server();
    let mut chunk = client_frame(0x82, &[5; 20]).repeat(64);
    let mut position = 0;
    let mut ranges = 0;
    while let Some(event) = connection.handle_chunk(&mut chunk, &mut position) {
        let Event::Message {
            kind,
            payload: Payload::Chunk(range),
        } = event
        else {
            panic!("a message that lies in the chunk was copied");
        };
        connection.send_copied(kind, &chunk[range]).unwrap();
        ranges += 1;
    }
    assert_eq!(ranges, 64);
    let Some(Transmit::Contiguous(buffer)) = connection.poll_transmit() else {
        panic!("more than one part");
    };
    assert_eq!(buffer.len(), 64 * 22);
    assert!(connection.poll_transmit().is_none());

    // The buffer can be lent for the next round.
    let address = buffer.as_ptr();
    connection.recycle(buffer);
    connection.send_copied(MessageKind::Text, b"again").unwrap();
    let Some(Transmit::Contiguous(buffer)) = connection.poll_transmit() else {
        panic!("more than one part");
    };
    assert_eq!(buffer, &b"\x81\x05again"[..]);
    assert_eq!(buffer.as_ptr(), address);
}

#[test]
fn a_server_shares_large_payloads() {
    let mut connection = server();
    let payload = Bytes::from(vec![7; 4_097]);
    connection.send_ping(b"").unwrap();
    connection
        .send(MessageKind::Binary, payload.clone())
        .unwrap();
    connection
        .send(MessageKind::Binary, payload.clone())
        .unwrap();
    connection.send_copied(MessageKind::Text, b"tail").unwrap();
    let parts = parts(&mut connection);
    assert_eq!(parts.len(), 5);
    assert_eq!(parts[0], &b"\x89\x00\x82\x7E\x10\x01"[..]);
    assert_eq!(parts[1].as_ptr(), payload.as_ptr());
    assert_eq!(parts[2], &b"\x82\x7E\x10\x01"[..]);
    assert_eq!(parts[3].as_ptr(), payload.as_ptr());
    assert_eq!(parts[4], &b"\x81\x04tail"[..]);
}

#[test]
fn the_coalescing_limit_has_an_edge() {
    let mut connection = server();
    connection
        .send(MessageKind::Binary, Bytes::from(vec![7; 4_096]))
        .unwrap();
    assert!(matches!(
        connection.poll_transmit(),
        Some(Transmit::Contiguous(_))
    ));
    connection
        .send(MessageKind::Binary, Bytes::from(vec![7; 4_097]))
        .unwrap();
    assert!(matches!(
        connection.poll_transmit(),
        Some(Transmit::Vectored(_))
    ));
}

#[test]
fn a_client_masks_an_owned_payload_in_place() {
    let mut connection = client();
    let payload = Bytes::from(vec![7; 10_000]);
    let address = payload.as_ptr();
    connection.send(MessageKind::Binary, payload).unwrap();
    let parts = parts(&mut connection);
    assert_eq!(parts[1].as_ptr(), address);
    let seen = feed(&mut server(), &parts.concat());
    assert_eq!(seen, [Seen::Binary(vec![7; 10_000])]);
}

#[test]
fn a_client_copies_a_shared_payload_once() {
    let mut connection = client();
    let payload = Bytes::from(vec![7; 10_000]);
    connection
        .send(MessageKind::Binary, payload.clone())
        .unwrap();
    let Some(Transmit::Contiguous(wire)) = connection.poll_transmit() else {
        panic!("header and masked copy are one part");
    };
    assert_eq!(
        payload,
        vec![7; 10_000],
        "the shared payload was not touched"
    );
    assert_eq!(feed(&mut server(), &wire), [Seen::Binary(vec![7; 10_000])]);
}

/// Several parts, one message; the masking key runs on over the parts.
#[test]
fn parts_become_one_message() {
    let pieces = [1_usize, 5_000, 0, 3, 4_097, 2, 70_000];
    let payload: Vec<u8> = (0..pieces.iter().sum::<usize>())
        .map(|index| index as u8)
        .collect();
    for frame_max in [usize::MAX, 100_000, 5_001, 7] {
        for shared in [false, true] {
            let mut limits = Limits::DEFAULT;
            limits.send_frame_bytes_max = frame_max;
            let config = Config::new(limits);
            let mut rest = Bytes::from(payload.clone());
            let parts: Vec<Bytes> = pieces
                .iter()
                .map(|&bytes| match shared {
                    true => rest.split_to(bytes),
                    false => Bytes::copy_from_slice(&rest.split_to(bytes)),
                })
                .collect();
            let expected = [Seen::Binary(payload.clone())];
            let mut sender = Connection::client(config.clone(), test_masking_key);
            sender
                .send_parts(MessageKind::Binary, parts.clone())
                .unwrap();
            assert_eq!(feed(&mut server(), &drain(&mut sender)), expected);
            let mut sender = Connection::server(config);
            sender.send_parts(MessageKind::Binary, parts).unwrap();
            assert_eq!(feed(&mut client(), &drain(&mut sender)), expected);
        }
    }
}

#[test]
fn a_message_of_no_parts_is_empty() {
    let mut connection = server();
    connection
        .send_parts(MessageKind::Text, Vec::new())
        .unwrap();
    assert_eq!(drain(&mut connection), b"\x81\x00");
}

#[test]
fn frames_are_cut_at_the_limit() {
    let mut limits = Limits::DEFAULT;
    limits.send_frame_bytes_max = 4;
    for (text, wire) in [
        ("four", &b"\x81\x04four"[..]),
        ("fives", b"\x01\x04five\x80\x01s"),
        ("eightish", b"\x01\x04eigh\x80\x04tish"),
    ] {
        let mut connection = Connection::server(Config::new(limits));
        connection
            .send_copied(MessageKind::Text, text.as_bytes())
            .unwrap();
        assert_eq!(drain(&mut connection), wire);
    }
}

#[test]
fn pongs_can_be_left_to_the_caller() {
    let mut config = Config::default();
    config.automatic_pong = false;
    let mut connection = Connection::server(config);
    let seen = feed(&mut connection, &client_frame(0x89, b"?"));
    assert_eq!(seen, [Seen::Ping(b"?".to_vec())]);
    assert!(!connection.has_transmit());
    connection.send_pong(b"!").unwrap();
    assert_eq!(drain(&mut connection), b"\x8A\x01!");
}

/// The rest of a large message is received into the message itself.
#[test]
fn a_large_message_is_received_in_place() {
    let mut payload: Vec<u8> = (0..1_000_000).map(|index| (index / 3) as u8).collect();
    let wire = client_frame(0x82, &payload);
    mask::apply(&mut payload, [0; 4]);
    let mut connection = server();
    assert!(
        connection.take_receive_buffer().is_none(),
        "nothing is being received"
    );
    assert!(feed(&mut connection, &wire[..20_000]).is_empty());
    let mut position = 20_000;
    let mut takes = 0;
    loop {
        let Some(mut lent) = connection.take_receive_buffer() else {
            panic!("{position} of {}", wire.len());
        };
        takes += 1;
        let end = (position + lent.limit).min(wire.len() - 1_000);
        lent.bytes.extend_from_slice(&wire[position..end]);
        assert_eq!(connection.handle_receive_buffer(lent.bytes), None);
        position = end;
        if position == wire.len() - 1_000 {
            break;
        }
    }
    assert!(takes < 12, "the buffer doubles: {takes}");
    // A short rest comes by chunk again, and behind it the next message.
    assert!(connection.take_receive_buffer().is_none());
    let rest = [&wire[position..], &client_frame(0x82, b"next")].concat();
    let seen = feed(&mut connection, &rest);
    assert_eq!(
        seen,
        [Seen::Binary(payload), Seen::Binary(b"next".to_vec())]
    );
}

#[test]
fn a_lent_buffer_may_come_back_late_or_empty() {
    let wire = client_frame(0x82, &[1; 100_000]);
    let mut connection = server();
    feed(&mut connection, &wire[..50_000]);
    let lent = connection
        .take_receive_buffer()
        .expect("in the middle of a large payload");
    assert_eq!(connection.handle_receive_buffer(lent.bytes), None);
    let lent = connection
        .take_receive_buffer()
        .expect("still in the middle");
    connection.fail(ws_proto::ProtocolError::IdleTimeout);
    assert_eq!(connection.handle_receive_buffer(lent.bytes), None);
    assert!(connection.take_receive_buffer().is_none());
}

/// Ten thousand idle connections must be cheap: the struct itself, and no heap.
#[test]
fn an_idle_connection_is_small() {
    assert!(
        size_of::<Connection>() <= 640,
        "{}",
        size_of::<Connection>()
    );
    let mut connection = server();
    let wire = client_frame(0x82, &[1; 9_000]);
    feed(&mut connection, &wire[..8_000]);
    feed(&mut connection, &wire[8_000..]);
    connection
        .send_copied(MessageKind::Binary, &[1; 3_000])
        .unwrap();
    connection
        .send(MessageKind::Binary, Bytes::from(vec![1; 30_000]))
        .unwrap();
    drain(&mut connection);
    // Debug shows every buffer: all are empty again.
    let shown = format!("{connection:?}");
    assert!(!shown.contains("\\x01"), "{shown}");
    connection.recycle(BytesMut::new());
}
