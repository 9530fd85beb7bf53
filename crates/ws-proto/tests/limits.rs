//! Every limit, on its edge and one past it.

use bytes::Bytes;
use ws_proto::testing::{Seen, client_frame, drain, feed, test_masking_key};
use ws_proto::{
    CloseCode, Config, Connection, Limits, MessageKind, PongOverflow, ProtocolError, SendError,
};

fn server(change: impl FnOnce(&mut Limits)) -> Connection {
    let mut limits = Limits::DEFAULT;
    change(&mut limits);
    Connection::server(Config::new(limits))
}

fn close_code_in(wire: &[u8]) -> u16 {
    let [.., 0x88, 2, high, low] = wire else {
        panic!("no close frame at the end of {wire:02X?}");
    };
    u16::from_be_bytes([*high, *low])
}

/// Feeds the wire whole and byte by byte; both must end in this failure and Close frame.
fn check_failure(make: impl Fn() -> Connection, wire: &[u8], error: ProtocolError) {
    for chunk_bytes in [wire.len(), 1] {
        let mut connection = make();
        let mut last = None;
        for chunk in wire.chunks(chunk_bytes) {
            last = feed(&mut connection, chunk).pop().or(last);
        }
        assert_eq!(last, Some(Seen::Failed(error)), "chunks of {chunk_bytes}");
        let answer = drain(&mut connection);
        assert_eq!(close_code_in(&answer), CloseCode::from(error).to_u16());
        assert!(connection.is_finished());
    }
}

#[test]
fn frame_bytes() {
    let make = || server(|limits| limits.frame_bytes_max = 1_000);
    let edge = client_frame(0x82, &[1; 1_000]);
    assert_eq!(feed(&mut make(), &edge), [Seen::Binary(vec![1; 1_000])]);
    let past = client_frame(0x82, &[1; 1_001]);
    check_failure(make, &past, ProtocolError::FrameTooBig);
    // The header alone is enough: nothing of the payload is waited for.
    check_failure(make, &past[..4], ProtocolError::FrameTooBig);
}

#[test]
fn default_frame_bytes_are_16_mib() {
    let make = || server(|_| {});
    let header = |length: u64| [&[0x82, 0xFF][..], &length.to_be_bytes(), &[0; 4]].concat();
    assert!(feed(&mut make(), &header(16 << 20)).is_empty());
    check_failure(make, &header((16 << 20) + 1), ProtocolError::FrameTooBig);
}

#[test]
fn message_bytes_over_all_fragments() {
    let make = || server(|limits| limits.message_bytes_max = 1_000);
    let start = client_frame(0x02, &[1; 600]);
    let edge = [start.clone(), client_frame(0x80, &[1; 400])].concat();
    assert_eq!(feed(&mut make(), &edge), [Seen::Binary(vec![1; 1_000])]);
    let past = [start, client_frame(0x80, &[1; 401])].concat();
    check_failure(make, &past, ProtocolError::MessageTooBig);
    check_failure(
        make,
        &client_frame(0x82, &[1; 1_001]),
        ProtocolError::MessageTooBig,
    );
    // The count starts again with each message.
    let mut connection = make();
    for _ in 0..3 {
        assert_eq!(feed(&mut connection, &edge).len(), 1);
    }
}

#[test]
fn fragments_even_empty_ones() {
    let make = || server(|limits| limits.fragments_max = 5);
    let fragments = |count: usize| {
        let mut wire = client_frame(0x01, b"");
        (2..count).for_each(|_| wire.extend(client_frame(0x00, b"")));
        wire.extend(client_frame(0x80, b""));
        wire
    };
    assert_eq!(
        feed(&mut make(), &fragments(5)),
        [Seen::Text(String::new())]
    );
    check_failure(make, &fragments(6), ProtocolError::TooManyFragments);
}

/// 65,537 fragments are legal by default, 131,073 are not.
#[test]
fn default_fragments() {
    let endless = client_frame(0x00, b"x").repeat(131_071);
    let mut connection = server(|_| {});
    assert!(feed(&mut connection, &client_frame(0x02, b"x")).is_empty());
    assert!(feed(&mut connection, &endless).is_empty());
    let seen = feed(&mut connection, &client_frame(0x80, b"x"));
    assert_eq!(seen, [Seen::Failed(ProtocolError::TooManyFragments)]);

    let mut connection = server(|_| {});
    assert!(feed(&mut connection, &client_frame(0x02, b"x")).is_empty());
    assert!(feed(&mut connection, &endless[..endless.len() - 7]).is_empty());
    let seen = feed(&mut connection, &client_frame(0x80, b"x"));
    assert_eq!(seen, [Seen::Binary(vec![b'x'; 131_072])]);
}

#[test]
fn pongs_pending_coalesce() {
    let pings = |count: usize| -> Vec<u8> {
        (0..count)
            .flat_map(|index| client_frame(0x89, &[index as u8]))
            .collect()
    };
    let pong = |index: usize| [0x8A, 1, index as u8];
    let mut connection = server(|_| {});
    feed(&mut connection, &pings(64));
    let all: Vec<u8> = (0..64).flat_map(pong).collect();
    assert_eq!(drain(&mut connection), all);
    // Beyond the limit only the newest is answered.
    feed(&mut connection, &pings(200));
    let newest: Vec<u8> = (0..64).chain([199]).flat_map(pong).collect();
    assert_eq!(drain(&mut connection), newest);
    // What was written no longer counts.
    feed(&mut connection, &pings(64));
    assert_eq!(drain(&mut connection), all);
}

#[test]
fn pongs_pending_may_fail_instead() {
    let make = || {
        let mut config = Config::default();
        config.limits.pongs_pending_max = 3;
        config.pong_overflow = PongOverflow::Fail;
        Connection::server(config)
    };
    let ping = client_frame(0x89, b"");
    let mut connection = make();
    assert_eq!(feed(&mut connection, &ping.repeat(3)).len(), 3);
    assert_eq!(drain(&mut connection), b"\x8A\x00".repeat(3));
    check_failure(make, &ping.repeat(4), ProtocolError::TooManyPings);
}

/// 52 MB of pings whose pongs nobody reads leave a few kilobytes behind.
#[test]
fn a_ping_flood_is_bounded() {
    let mut connection = server(|_| {});
    let flood = client_frame(0x89, &[7; 125]).repeat(400);
    for _ in 0..1_000 {
        feed(&mut connection, &flood);
        assert!(connection.queued_bytes() <= 64 * 127);
    }
}

#[test]
fn bytes_queued() {
    let mut connection = server(|limits| {
        limits.send_queue_bytes_max = 10_000;
        limits.send_high_water_bytes = 5_000;
    });
    connection
        .send(MessageKind::Binary, Bytes::from(vec![1; 4_996]))
        .unwrap();
    assert_eq!(connection.queued_bytes(), 5_000);
    assert!(connection.is_above_high_water());
    assert!(connection.has_room_for(5_000));
    assert!(!connection.has_room_for(5_001));
    let past = Bytes::from(vec![1; 5_001]);
    assert_eq!(
        connection.send(MessageKind::Binary, past.clone()),
        Err(SendError::QueueFull)
    );
    assert_eq!(
        connection.send_copied(MessageKind::Binary, &past),
        Err(SendError::QueueFull)
    );
    assert_eq!(
        connection.send_parts(MessageKind::Binary, vec![past.clone()]),
        Err(SendError::QueueFull)
    );
    assert_eq!(
        connection.queued_bytes(),
        5_000,
        "a refused message leaves nothing behind"
    );
    connection
        .send(MessageKind::Binary, past.slice(1..))
        .unwrap();

    // What is being written counts until the next poll.
    assert_eq!(
        connection.poll_transmit().map(|transmit| transmit.len()),
        Some(10_004)
    );
    assert_eq!(connection.send_ping(b"1"), Err(SendError::QueueFull));
    assert!(connection.poll_transmit().is_none());
    assert_eq!(connection.queued_bytes(), 0);
    assert!(!connection.is_above_high_water());
    // An empty queue takes a message of any size.
    connection
        .send(MessageKind::Binary, Bytes::from(vec![1; 20_000]))
        .unwrap();
}

#[test]
fn high_water() {
    let mut connection = server(|limits| limits.send_high_water_bytes = 100);
    connection
        .send_copied(MessageKind::Binary, &[0; 97])
        .unwrap();
    assert!(!connection.is_above_high_water());
    connection.recycle(bytes::BytesMut::new());
    connection.poll_transmit();
    connection.poll_transmit();
    connection
        .send_copied(MessageKind::Binary, &[0; 98])
        .unwrap();
    assert!(connection.is_above_high_water());
}

#[test]
fn control_bytes() {
    let mut connection = Connection::client(Config::default(), test_masking_key);
    assert_eq!(connection.send_ping(&[0; 125]), Ok(()));
    assert_eq!(connection.send_pong(&[0; 125]), Ok(()));
    assert_eq!(
        connection.send_ping(&[0; 126]),
        Err(SendError::ControlTooLong)
    );
    assert_eq!(
        connection.send_pong(&[0; 126]),
        Err(SendError::ControlTooLong)
    );
}

/// A frame that announces 16 MiB and sends little holds memory for what it sent.
#[test]
fn memory_grows_with_bytes_not_with_claims() {
    let announced = 16_u64 << 20;
    let mut connection = server(|_| {});
    let header = [&[0x82, 0xFF][..], &announced.to_be_bytes(), &[0; 4]].concat();
    feed(&mut connection, &header);
    let mut received = 0;
    while received < announced as usize {
        if let Some(mut lent) = connection.take_receive_buffer() {
            // Doubled when less than 16 KiB of the capacity is left.
            assert!(
                lent.bytes.capacity() <= 2 * (received + 16_384),
                "{received}"
            );
            lent.bytes
                .extend_from_slice(&vec![0; lent.limit.min(50_000)]);
            received = lent.bytes.len();
            connection.handle_receive_buffer(lent.bytes);
        } else {
            feed(&mut connection, &[0; 1_024]);
            received += 1_024;
        }
    }
    assert_eq!(received, announced as usize);
}

/// The buffer of a message doubles, but not beyond the largest message, wherever it began.
#[test]
fn memory_ends_at_the_message_limit() {
    for first_bytes in [1, 5_000, 9_000] {
        let mut connection = server(|limits| limits.message_bytes_max = 100_000);
        feed(&mut connection, &client_frame(0x02, &vec![7; first_bytes]));
        let rest_bytes = 100_000 - first_bytes;
        let rest = client_frame(0x80, &vec![7; rest_bytes]);
        let mut chunks = rest.chunks(1_000);
        while let Some(chunk) = chunks.next() {
            let seen = feed(&mut connection, chunk);
            if let [Seen::Binary(payload)] = &seen[..] {
                assert_eq!((payload.len(), chunks.len()), (100_000, 0));
                break;
            }
            if let Some(lent) = connection.take_receive_buffer() {
                assert!(lent.bytes.capacity() <= 100_000, "{first_bytes}");
                connection.handle_receive_buffer(lent.bytes);
            }
        }
    }
}
