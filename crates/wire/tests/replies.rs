//! Replies and evictions, read with the published codec as its clients do.

use wire::Status;
use wire::batch::{BatchView, Batches, Stamp, stamp};
use wire::iggy::eviction::{self, EvictionReason};
use wire::iggy::frame::{FrameError, HEADER_BYTES, ReplyHeader, RequestHeader};
use wire::iggy::published::responses::{
    clients::GetClientsResponse,
    messages::{PollMessagesResponse, SendMessagesResponse},
    users::LoginRegisterResponse,
};
use wire::iggy::published::{self, ConsensusHeader, WireDecode, result_code, result_section_len};
use wire::iggy::reply::{self, PollHead};
use wire::iggy::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, operation};
use wire::testing::{Random, produced_batch};

fn request(operation: u8) -> RequestHeader {
    RequestHeader {
        frame_bytes: 256,
        client: 0xCAFE,
        request_checksum: 0xBEEF,
        request: 12,
        operation,
        session: 3,
        code: if operation == operation::NON_REPLICATED {
            100
        } else {
            0
        },
    }
}

fn published_header(frame: &[u8]) -> published::ReplyHeader {
    let header =
        bytemuck::checked::pod_read_unaligned::<published::ReplyHeader>(&frame[..HEADER_BYTES]);
    header.validate().expect("a reply");
    header
}

fn own_header(frame: &[u8]) -> ReplyHeader {
    ReplyHeader::parse(frame.first_chunk().expect("a header")).expect("a reply")
}

#[test]
fn reply_header_is_the_published_one() {
    for operation in [1, 2, 3, 128, 138, 149, 160, 161, 162] {
        let request = request(operation);
        let frame = reply::payload(&request, b"payload");
        let published = published_header(&frame);
        assert_eq!(published.size as usize, frame.len());
        assert_eq!(published.client, request.client);
        assert_eq!(published.request_checksum, request.request_checksum);
        assert_eq!(published.request, request.request);
        assert_eq!(published.operation as u8, operation);
        assert_eq!(published.status, 0);
        let own = own_header(&frame);
        assert_eq!(own.encode()[..], frame[..HEADER_BYTES]);
        assert_eq!(own.body_bytes(), frame.len() - HEADER_BYTES);
        let body = &frame[HEADER_BYTES..];
        assert_eq!(
            reply::split_result_section(operation, body),
            Ok(&b"payload"[..])
        );
    }
}

#[test]
fn commit_number_travels_in_both_fields_that_clients_look_at() {
    let header = ReplyHeader {
        commit: 9,
        ..ReplyHeader::success(&request(128), 0)
    };
    let published = published_header(&header.encode());
    assert_eq!((published.op, published.commit), (9, 9));
    assert_eq!(ReplyHeader::parse(&header.encode()), Ok(header));
}

#[test]
fn failure_is_a_header_with_a_status() {
    for operation in [1, 2, 128, 160, 161] {
        let frame = reply::failure(&request(operation), Status::TOPIC_ID_NOT_FOUND);
        assert_eq!(frame.len(), HEADER_BYTES);
        assert_eq!(published_header(&frame).status, 2010);
        assert_eq!(published_header(&frame).size, 256);
        assert_eq!(own_header(&frame).status, Status::TOPIC_ID_NOT_FOUND);
    }
}

#[test]
fn framed_replies_carry_an_empty_result_section() {
    let framed = reply::empty(&request(operation::CREATE_STREAM));
    let body = &framed[HEADER_BYTES..];
    assert_eq!(result_code(body), Some(0));
    assert_eq!(result_section_len(body), Some(body.len()));
    let plain = reply::empty(&request(operation::NON_REPLICATED));
    assert_eq!(plain.len(), HEADER_BYTES);
}

#[test]
fn results_of_other_servers_are_read_as_failures() {
    let mut body = [1u32, 0, 1009].map(u32::to_le_bytes).concat();
    let split =
        |body: &[u8]| reply::split_result_section(operation::CREATE_STREAM, body).map(<[u8]>::len);
    assert_eq!(split(&body), Err(Status::STREAM_ID_NOT_FOUND));
    body.truncate(11);
    assert_eq!(split(&body), Err(Status::INVALID_FORMAT));
    assert_eq!(split(&[]), Err(Status::INVALID_FORMAT));
    assert_eq!(split(&[0; 4]), Ok(0));
}

#[test]
fn response_of_the_published_codec_is_framed() {
    let response = GetClientsResponse {
        clients: Vec::new(),
    };
    let frame = reply::response(&request(operation::NON_REPLICATED), &response);
    assert_eq!(published_header(&frame).size as usize, frame.len());
    let read = GetClientsResponse::decode_from(&frame[HEADER_BYTES..]).unwrap();
    assert!(read.clients.is_empty());
}

#[test]
fn login_reply_is_read_by_the_published_codec() {
    for version in ["0.1.0", "", &"v".repeat(300)] {
        let frame = reply::login(&request(operation::REGISTER), 5, 77, version);
        let body = &frame[HEADER_BYTES..];
        assert_eq!(result_code(body), Some(0));
        let read = LoginRegisterResponse::decode_from(&body[4..]).unwrap();
        assert_eq!((read.user_id, read.session), (5, 77));
        assert_eq!(read.server_protocol_version, PROTOCOL_VERSION);
        assert!((1..=255).contains(&read.server_version.len()));
    }
}

#[test]
fn send_reply_is_read_by_the_published_codec() {
    let frame = reply::send_messages(&request(operation::SEND_MESSAGES), 1, 2, 3, 1 << 40);
    assert_eq!(published_header(&frame).size as usize, frame.len());
    let read = SendMessagesResponse::decode_from(&frame[HEADER_BYTES..]).unwrap();
    let [confirmation] = &read.confirmations[..] else {
        panic!("one confirmation")
    };
    assert_eq!((confirmation.stream_id, confirmation.topic_id), (1, 2));
    assert_eq!(
        (confirmation.partition_id, confirmation.base_offset),
        (3, 1 << 40)
    );
    assert_eq!(
        reply::parse_send_reply(&frame[HEADER_BYTES..]),
        Ok(Some(1 << 40))
    );
    assert_eq!(reply::parse_send_reply(&[]), Ok(None));
    assert_eq!(reply::parse_send_reply(&[0; 4]), Ok(None));
    assert_eq!(
        reply::parse_send_reply(&frame[HEADER_BYTES..279]),
        Err(Status::INVALID_FORMAT)
    );
}

/// A poll reply of a sliced record and a whole one, as the published client walks it.
#[test]
fn poll_reply_is_read_by_the_published_codec() {
    let mut random = Random::new(7);
    let mut first = produced_batch(&mut random, 10, 50);
    let mut second = produced_batch(&mut random, 4, 50);
    let place = |base_offset, base_timestamp| Stamp {
        partition_id: 3,
        base_offset,
        base_timestamp,
    };
    stamp(&mut first, place(100, 1_000)).unwrap();
    stamp(&mut second, place(110, 2_000)).unwrap();
    let stored = BatchView::parse(&first).unwrap();
    let slice = stored.slice(106, u32::MAX, u64::MAX).unwrap();
    let mut records = slice.header.encode().to_vec();
    records.extend_from_slice(&first[slice.frames]);
    records.extend_from_slice(&second);

    let request = request(operation::NON_REPLICATED);
    let mut frame = reply::poll_messages_head(&request, 3, 113, 8, records.len()).to_vec();
    frame.extend_from_slice(&records);
    assert_eq!(published_header(&frame).size as usize, frame.len());
    let read = PollMessagesResponse::decode(&frame[HEADER_BYTES..]).unwrap();
    assert_eq!(
        (read.header.partition_id, read.header.current_offset),
        (3, 113)
    );
    assert_eq!(read.header.messages_count, 8);
    let messages: Vec<_> = read.messages.map(Result::unwrap).collect();
    let offsets: Vec<_> = messages.iter().map(|message| message.offset).collect();
    assert_eq!(offsets, (106..114).collect::<Vec<_>>());
    assert_eq!(messages[0].timestamp, 1_000);
    assert_eq!(messages[4].timestamp, 2_000);

    let (head, rest) = PollHead::parse(&frame[HEADER_BYTES..]).unwrap();
    assert_eq!(
        (head.partition, head.current_offset, head.message_count),
        (3, 113, 8)
    );
    let own: Vec<_> = Batches::new(rest)
        .flat_map(|batch| batch.unwrap().frames())
        .map(|message| (message.offset(), message.payload().to_vec()))
        .collect();
    let theirs: Vec<_> = messages
        .iter()
        .map(|message| (message.offset, message.payload.to_vec()))
        .collect();
    assert_eq!(own, theirs);
}

#[test]
fn evictions_are_the_published_ones() {
    use EvictionReason::{
        IncompatibleProtocol, InvalidCredentials, InvalidToken, MalformedLogin, NoSession,
        SessionError, StaleClient, UserInactive,
    };
    for reason in [
        NoSession,
        InvalidCredentials,
        InvalidToken,
        UserInactive,
        SessionError,
        StaleClient,
        IncompatibleProtocol,
        MalformedLogin,
    ] {
        let bytes = eviction::encode(0xCAFE, reason);
        let published = bytemuck::checked::pod_read_unaligned::<published::EvictionHeader>(&bytes);
        published.validate().expect("a valid eviction");
        assert_eq!(published.reason as u8, reason as u8);
        assert_eq!(published.client, 0xCAFE);
        let own = eviction::parse(&bytes).expect("an eviction");
        assert_eq!((own.client, own.reason), (0xCAFE, Some(reason)));
        if reason == IncompatibleProtocol {
            assert_eq!(own.versions, (PROTOCOL_VERSION, PROTOCOL_VERSION_MIN));
        } else {
            assert_eq!(own.versions, (0, 0));
        }
        let error = iggy_common::eviction_reason_to_error(
            published.reason,
            published.server_protocol_version,
            published.server_protocol_version_min,
        );
        // Clients do not tell an inactive user apart; logs do.
        if reason != UserInactive {
            assert_eq!(error.as_code(), reason.status().0, "{reason:?}");
        }
        assert_eq!(ReplyHeader::parse(&bytes), Err(FrameError::Command));
    }
    let reply = ReplyHeader::success(&request(2), 0).encode();
    assert_eq!(eviction::parse(&reply), None);
}
