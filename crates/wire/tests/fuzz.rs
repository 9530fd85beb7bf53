//! Peer bytes never panic: every prefix and many mutations of every request and reply.

use bytes::BytesMut;
use wire::batch::{Stamp, stamp};
use wire::iggy::eviction::{self, EvictionReason};
use wire::iggy::frame::{HEADER_BYTES, RequestHeader};
use wire::iggy::{operation, reply};
use wire::testing::{Random, Sample, fuzz, mutate, produced_batch, samples};

/// Mutations of each request; a change of the count is a change of the promise in the docs.
const MUTATIONS_PER_REQUEST: usize = 10_000;

/// `SEED=n cargo nextest run` replays a failure that named its seed.
fn seed() -> u64 {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(2_026);
    println!("SEED={seed}");
    seed
}

fn frame(sample: &Sample) -> Vec<u8> {
    let header = RequestHeader {
        frame_bytes: (HEADER_BYTES + sample.body.len()) as u32,
        client: 7,
        request_checksum: 0,
        request: u64::from(sample.operation != operation::REGISTER),
        operation: sample.operation,
        session: u64::from(sample.operation != operation::REGISTER),
        code: sample.code,
    };
    [&header.encode()[..], &sample.body].concat()
}

#[test]
fn every_prefix_of_every_request() {
    for sample in samples() {
        for count in 0..=sample.body.len() {
            fuzz::command(sample.operation, sample.code, &sample.body[..count]);
        }
        let frame = frame(&sample);
        for count in 0..=frame.len() {
            fuzz::request(&frame[..count]);
        }
    }
}

#[test]
fn mutations_of_the_body_of_every_request() {
    let mut random = Random::new(seed());
    let mut body = Vec::new();
    for sample in samples() {
        for _ in 0..MUTATIONS_PER_REQUEST {
            body.clear();
            body.extend_from_slice(&sample.body);
            mutate(&mut body, &mut random);
            fuzz::command(sample.operation, sample.code, &body);
        }
    }
}

#[test]
fn mutations_of_whole_frames() {
    let mut random = Random::new(seed() + 1);
    for sample in samples() {
        let original = frame(&sample);
        for _ in 0..2_000 {
            let mut bytes = original.clone();
            mutate(&mut bytes, &mut random);
            // A size that fits again gets mutations past the frame's own check.
            let length = (bytes.len() as u32).to_le_bytes();
            if let Some(size) = bytes.get_mut(48..52) {
                size.copy_from_slice(&length);
            }
            fuzz::request(&bytes);
        }
    }
}

#[test]
fn bodies_of_one_command_sent_as_another() {
    let samples = samples();
    for sample in &samples {
        for other in &samples {
            fuzz::command(other.operation, other.code, &sample.body);
        }
    }
}

#[test]
fn random_bytes_as_everything() {
    let mut random = Random::new(seed() + 2);
    let samples = samples();
    for _ in 0..5_000 {
        let count = random.below(600) as usize;
        let bytes = random.bytes(count);
        fuzz::request(&bytes);
        fuzz::reply(&bytes);
        fuzz::any(&bytes);
        fuzz::batch(&bytes);
        let sample = &samples[random.below(samples.len() as u64) as usize];
        fuzz::command(sample.operation, sample.code, &bytes);
    }
}

#[test]
fn mutations_of_batches() {
    let mut random = Random::new(seed() + 3);
    for _ in 0..200 {
        let message_count = 1 + random.below(6) as u32;
        let mut original = produced_batch(&mut random, message_count, 40);
        if random.below(2) == 0 {
            let base_offset = random.next() >> 1;
            let place = Stamp {
                partition_id: 1,
                base_offset,
                base_timestamp: 2,
            };
            stamp(&mut original, place).unwrap();
        }
        for _ in 0..MUTATIONS_PER_REQUEST / 200 {
            let mut bytes = original.to_vec();
            mutate(&mut bytes, &mut random);
            fuzz::batch(&bytes);
        }
    }
}

#[test]
fn mutations_and_prefixes_of_replies() {
    let mut random = Random::new(seed() + 4);
    let request = |operation| RequestHeader {
        frame_bytes: 256,
        client: 7,
        request_checksum: 0,
        request: 1,
        operation,
        session: 1,
        code: 0,
    };
    let mut records = BytesMut::new();
    records.extend_from_slice(&produced_batch(&mut random, 3, 40));
    let mut poll = reply::poll_messages_head(&request(2), 0, 2, 3, records.len()).to_vec();
    poll.extend_from_slice(&records);
    let replies = [
        reply::login(&request(1), 1, 1, "0.1.0").to_vec(),
        reply::empty(&request(128)).to_vec(),
        reply::send_messages(&request(160), 1, 2, 3, 4).to_vec(),
        poll,
        eviction::encode(7, EvictionReason::IncompatibleProtocol).to_vec(),
    ];
    for reply in &replies {
        for count in 0..=reply.len() {
            fuzz::reply(&reply[..count]);
        }
        for _ in 0..2_000 {
            let mut bytes = reply.clone();
            mutate(&mut bytes, &mut random);
            fuzz::reply(&bytes);
        }
    }
}
