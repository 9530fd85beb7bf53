//! What a consumer gets is what the producer sent, byte for byte, except what the server stamps:
//! partition, base offset, base timestamp and the checksum over them. Judged with the published
//! codec.

use bytes::BytesMut;
use iggy_binary_protocol::batch::{BATCH_HEADER_SIZE, BatchHeader, decode_batch_slice};
use iggy_binary_protocol::codes::POLL_MESSAGES_CODE;
use iggy_binary_protocol::requests::messages::{
    PollMessagesRequest, RawMessage, SendMessagesEncoder,
};
use iggy_binary_protocol::{
    Operation, WireConsumer, WireIdentifier, WirePartitioning, WirePollingStrategy,
};

use crate::client::{STREAM, TOPIC, connect, create_topic};
use crate::harness::{Setup, matrix, random};
use crate::raw::{RawClient, encode};

matrix!(
    records_come_back_as_they_were_sent,
    part_of_a_record_is_a_valid_record
);

/// Checksum and the three stamped fields: what may differ between sent and polled.
const STAMPED: [std::ops::Range<usize>; 2] = [0..24, 40..48];

async fn records_come_back_as_they_were_sent(setup: Setup) {
    let server = setup.start();
    create_topic(&connect(&server, setup.transport).await, 2).await;
    let mut client = RawClient::connect(&server, setup.transport);
    client.log_in();

    let mut random = random();
    let mut sent = Vec::new();
    for message_count in [1, 2, 100, 1_000] {
        let body = send_body(&mut random, message_count, 1);
        let reply = client.call(Operation::SendMessages, 0, &body);
        assert_eq!(reply.status, 0);
        sent.push(batch_of(&body).to_vec());
    }

    // Twice: from memory where the server keeps its tail, then from disk after a restart.
    let polled = poll(&mut client, WirePollingStrategy::first(), 2_000);
    check(&sent, &polled);
    let server = server.restart();
    let mut client = RawClient::connect(&server, setup.transport);
    client.log_in();
    assert_eq!(
        poll(&mut client, WirePollingStrategy::first(), 2_000),
        polled
    );
}

fn check(sent: &[Vec<u8>], polled: &[u8]) {
    let mut rest = polled;
    let mut next_offset = 0;
    let mut last_timestamp = 0;
    for batch in sent {
        let record = decode_batch_slice(rest).expect("every checksum verifies");
        let header = record.header;
        assert_eq!((header.partition_id, header.base_offset), (1, next_offset));
        assert!(
            header.base_timestamp >= last_timestamp,
            "time does not run backwards"
        );
        last_timestamp = header.base_timestamp;
        next_offset += u64::from(header.message_count);

        let (bytes, after) = rest.split_at(header.total_size());
        assert_eq!(without_stamps(bytes), without_stamps(batch));
        rest = after;
    }
    assert!(rest.is_empty(), "nothing but the records");
}

async fn part_of_a_record_is_a_valid_record(setup: Setup) {
    let server = setup.start();
    create_topic(&connect(&server, setup.transport).await, 2).await;
    let mut client = RawClient::connect(&server, setup.transport);
    client.log_in();
    let body = send_body(&mut random(), 50, 1);
    client.call(Operation::SendMessages, 0, &body);
    let frames = &batch_of(&body)[BATCH_HEADER_SIZE..];

    let polled = poll(&mut client, WirePollingStrategy::offset(17), 5);
    let record = decode_batch_slice(&polled).expect("every checksum verifies");
    assert_eq!(record.message_count(), 5);
    let offsets: Vec<u64> = record
        .iter()
        .map(|message| record.header.base_offset + u64::from(message.header.offset_delta))
        .collect();
    assert_eq!(offsets, [17, 18, 19, 20, 21]);
    let start = frames
        .windows(record.blob().len())
        .position(|window| window == record.blob())
        .expect("the frames are bytes of the record that was sent");
    assert!(start > 0);
}

fn without_stamps(batch: &[u8]) -> Vec<u8> {
    let mut batch = batch.to_vec();
    for range in STAMPED {
        batch[range].fill(0);
    }
    batch
}

/// A SendMessages body with random payloads, numbers and headers.
pub(crate) fn send_body(
    random: &mut fastrand::Rng,
    message_count: usize,
    partition_id: u32,
) -> Vec<u8> {
    let contents: Vec<(u128, u64, Vec<u8>)> = (0..message_count)
        .map(|_| {
            let payload = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
            (
                random.u128(1..),
                1_700_000_000_000_000 + random.u64(..1_000_000),
                payload,
            )
        })
        .collect();
    let messages: Vec<RawMessage<'_>> = contents
        .iter()
        .map(|(id, origin_timestamp, payload)| RawMessage {
            id: *id,
            origin_timestamp: *origin_timestamp,
            headers: None,
            payload,
        })
        .collect();
    let mut body = BytesMut::new();
    let (stream, topic) = identifiers();
    let partitioning = WirePartitioning::PartitionId(partition_id);
    SendMessagesEncoder::encode(&mut body, &stream, &topic, &partitioning, &messages)
        .expect("a body");
    body.to_vec()
}

/// The batch record inside a SendMessages body: it follows the routing section.
fn batch_of(body: &[u8]) -> &[u8] {
    let routing = u32::from_le_bytes(body[..4].try_into().expect("four bytes"));
    let batch = &body[4 + routing as usize..];
    let header = BatchHeader::decode(batch).expect("a header");
    assert_eq!(header.total_size(), batch.len());
    batch
}

/// The records of one poll of partition 1.
fn poll(client: &mut RawClient, strategy: WirePollingStrategy, count: u32) -> Vec<u8> {
    let reply = client.call(
        Operation::NonReplicated,
        POLL_MESSAGES_CODE,
        &poll_body(strategy, count),
    );
    assert_eq!(reply.status, 0);
    assert_eq!(reply.body[..4], 1_u32.to_le_bytes(), "the partition");
    reply.body[16..].to_vec()
}

pub(crate) fn poll_body(strategy: WirePollingStrategy, count: u32) -> Vec<u8> {
    let (stream_id, topic_id) = identifiers();
    encode(&PollMessagesRequest {
        consumer: WireConsumer::consumer(WireIdentifier::numeric(1)),
        stream_id,
        topic_id,
        partition_id: Some(1),
        strategy,
        count,
        auto_commit: false,
    })
}

fn identifiers() -> (WireIdentifier, WireIdentifier) {
    let stream = WireIdentifier::named(STREAM).expect("a name");
    (stream, WireIdentifier::named(TOPIC).expect("a name"))
}
