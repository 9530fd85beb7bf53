//! Each limit, stood on and stepped past. (Payloads, user headers and times: `batch.rs`; frame
//! sizes: `requests.rs`.)

use bytes::{BufMut, BytesMut};
use wire::batch::{BATCH_HEADER_BYTES, BatchBuilder, Message};
use wire::iggy::frame::{FrameError, FrameStart, HEADER_BYTES, RequestHeader};
use wire::iggy::identifier::{Identifier, Partitioning};
use wire::iggy::login::{Credentials, Login};
use wire::iggy::messages::{SendMessages, put_send_routing};
use wire::iggy::published::{
    MAX_MESSAGES_KEY_LENGTH, MAX_PARTITIONS_PER_REQUEST, MAX_WIRE_NAME_LENGTH,
};
use wire::iggy::{operation, reply};
use wire::{Status, limits};

#[test]
fn protocol_limits_are_the_published_ones() {
    assert_eq!(limits::NAME_BYTES_MAX, MAX_WIRE_NAME_LENGTH);
    assert_eq!(limits::PARTITIONING_KEY_BYTES_MAX, MAX_MESSAGES_KEY_LENGTH);
    assert_eq!(
        limits::PARTITIONS_PER_REQUEST_MAX,
        MAX_PARTITIONS_PER_REQUEST
    );
    assert_eq!(limits::PAYLOAD_BYTES_MAX, iggy_common::MAX_PAYLOAD_SIZE);
    assert_eq!(
        limits::USER_HEADERS_BYTES_MAX,
        iggy_common::MAX_USER_HEADERS_SIZE
    );
}

#[test]
fn frame_bytes() {
    for max in [limits::LOGIN_FRAME_BYTES_MAX, limits::FRAME_BYTES_MAX] {
        let detect = |frame_bytes: usize| {
            let header = RequestHeader {
                frame_bytes: frame_bytes as u32,
                client: 1,
                request_checksum: 0,
                request: 0,
                operation: operation::NON_REPLICATED,
                session: 0,
                code: 1,
            };
            FrameStart::detect(&header.encode(), max)
        };
        assert_eq!(detect(max), FrameStart::Frame { frame_bytes: max });
        assert_eq!(detect(max + 1), FrameStart::Invalid(FrameError::TooBig));
        assert_eq!(
            detect(HEADER_BYTES),
            FrameStart::Frame {
                frame_bytes: HEADER_BYTES
            }
        );
        assert_eq!(
            detect(HEADER_BYTES - 1),
            FrameStart::Invalid(FrameError::TooSmall)
        );
    }
}

#[test]
fn largest_routing_is_what_the_limit_says() {
    let name = "n".repeat(limits::NAME_BYTES_MAX);
    let key = vec![1; limits::PARTITIONING_KEY_BYTES_MAX];
    let mut buffer = BytesMut::new();
    let id = Identifier::Name(&name);
    put_send_routing(&mut buffer, id, id, Partitioning::Key(&key), 1);
    assert_eq!(buffer.len(), limits::SEND_ROUTING_BYTES_MAX);
}

#[test]
fn messages_of_a_batch() {
    let body = |message_count| {
        let mut body = BytesMut::new();
        let id = Identifier::Number(1);
        put_send_routing(&mut body, id, id, Partitioning::Partition(0), message_count);
        body.put_bytes(0, BATCH_HEADER_BYTES);
        SendMessages::parse(&body).map(|_| ())
    };
    assert_eq!(body(limits::BATCH_MESSAGE_COUNT_MAX), Ok(()));
    assert_eq!(
        body(limits::BATCH_MESSAGE_COUNT_MAX + 1),
        Err(Status::TOO_MANY_MESSAGES)
    );
    assert_eq!(body(1), Ok(()));
    assert_eq!(body(0), Err(Status::INVALID_MESSAGES_COUNT));
}

#[test]
fn batch_header_of_a_send_body() {
    let mut body = BytesMut::new();
    let id = Identifier::Number(1);
    put_send_routing(&mut body, id, id, Partitioning::Partition(0), 1);
    body.put_bytes(0, BATCH_HEADER_BYTES - 1);
    assert_eq!(
        SendMessages::parse(&body).map(|_| ()),
        Err(Status::INVALID_MESSAGES_SIZE)
    );
    body.put_u8(0);
    assert_eq!(
        SendMessages::parse(&body).map(|send| send.batch.len()),
        Ok(BATCH_HEADER_BYTES)
    );
}

#[test]
fn login_context() {
    let context = "c".repeat(limits::LOGIN_CONTEXT_BYTES_MAX);
    let mut body = BytesMut::new();
    let mut login = Login::new("sdk", "1", Credentials::Token("t"));
    login.context = &context;
    login.put(&mut body);
    assert_eq!(Login::parse(&body), Ok(login));
    assert!(body.len() + HEADER_BYTES <= limits::LOGIN_FRAME_BYTES_MAX);
}

/// An accepted batch fits the reply to a poll, because less stands before it there.
#[test]
fn largest_accepted_batch_fits_a_poll_reply() {
    let mut routing = BytesMut::new();
    let id = Identifier::Number(1);
    put_send_routing(&mut routing, id, id, Partitioning::Partition(0), 1);
    let largest_batch = limits::FRAME_BYTES_MAX - HEADER_BYTES - routing.len();
    assert!(largest_batch <= limits::POLL_RECORDS_BYTES_MAX);
    assert_eq!(
        reply::POLL_REPLY_HEAD_BYTES + limits::POLL_RECORDS_BYTES_MAX,
        limits::FRAME_BYTES_MAX
    );
}

#[test]
fn largest_message_fits_a_frame() {
    let payload = vec![0; limits::PAYLOAD_BYTES_MAX as usize];
    let user_headers = vec![0; limits::USER_HEADERS_BYTES_MAX as usize];
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let message = Message {
        payload: &payload,
        user_headers: &user_headers,
        ..Message::default()
    };
    builder.push(message).unwrap();
    builder.finish().unwrap();
    let frame_bytes = HEADER_BYTES + limits::SEND_ROUTING_BYTES_MAX + buffer.len();
    assert!(frame_bytes <= limits::FRAME_BYTES_MAX);
}
