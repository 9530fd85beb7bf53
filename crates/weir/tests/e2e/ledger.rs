//! What a server was asked and what it acknowledged, and whether a server that was started on what
//! is left of it keeps its word.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use iggy::prelude::*;

use crate::client::{consumer, poll, stream, text, topic};

pub(crate) const PARTITIONS: u32 = 2;
/// The smallest that a topic takes: segments are sealed and removed all the time.
pub(crate) const SEGMENT_BYTES: u64 = 1 << 20;
/// More than any batch of the load has.
pub(crate) const BATCH_BYTES_MAX: u64 = 256 << 10;

/// Asked and acknowledged, as far as it has gone.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    /// Keys of everything that was ever sent.
    pub(crate) sent: HashSet<String>,
    /// By partition and offset, the key of what was acknowledged there.
    pub(crate) acknowledged: HashMap<(u32, u64), String>,
    /// How often the oldest segment of a partition was asked to be removed.
    pub(crate) removals_asked: [u64; PARTITIONS as usize],
    pub(crate) topics_asked: BTreeSet<String>,
    pub(crate) topics_created: BTreeSet<String>,
    pub(crate) topics_leaving: BTreeSet<String>,
    pub(crate) topics_deleted: BTreeSet<String>,
    /// Stored offset of the consumer "reader" in partition 0: asked for, acknowledged.
    pub(crate) offset_asked: Option<u64>,
    pub(crate) offset_stored: Option<u64>,
}

/// The ledger that a load writes and a test reads.
#[derive(Clone, Default)]
pub(crate) struct SharedLedger(Arc<Mutex<Ledger>>);

impl SharedLedger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().expect("no holder panics")
    }

    pub(crate) fn copy(&self) -> Ledger {
        self.lock().clone()
    }
}

/// A payload that its key alone decides, so that every byte of it can be checked.
pub(crate) fn payload(key: &str) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let letter = char::from(b'a' + (hash % 26) as u8);
    let bytes = (hash >> 8) % 8_000;
    let filler = std::iter::repeat_n(letter, bytes as usize);
    format!("{key}:{}", filler.collect::<String>())
}

/// Checks a server that was started on what was left: everything in `must` is there, nothing that
/// is not in `may` is. Both are the same for a killed process; while a snapshot was taken the load
/// went on. Gives the number of messages found.
pub(crate) async fn check(client: &IggyClient, must: &Ledger, may: &Ledger) -> usize {
    let mut count = 0;
    for partition in 0..PARTITIONS {
        count += check_partition(client, partition, must, may).await;
    }
    check_topics(client, must, may).await;
    let reader = consumer("reader");
    let stored = client
        .get_consumer_offset(&reader, &stream(), &topic(), Some(0))
        .await
        .expect("asked")
        .map(|info| info.stored_offset);
    assert!(
        stored >= must.offset_stored && stored <= may.offset_asked,
        "the stored offset is {stored:?}, acknowledged was {:?}, asked for {:?}",
        must.offset_stored,
        may.offset_asked
    );
    count
}

async fn check_partition(
    client: &IggyClient,
    partition: u32,
    must: &Ledger,
    may: &Ledger,
) -> usize {
    let first = poll(client, partition, PollingStrategy::first(), 1, false).await;
    let expected = must
        .acknowledged
        .keys()
        .filter(|(own, _)| *own == partition);
    let expected: BTreeSet<u64> = expected.map(|(_, offset)| *offset).collect();
    let Some(first) = first.messages.first().map(|message| message.header.offset) else {
        assert!(expected.is_empty(), "partition {partition} lost everything");
        return 0;
    };
    let mut next_offset = first;
    let mut found_keys = HashSet::new();
    loop {
        let strategy = PollingStrategy::offset(next_offset);
        let polled = poll(client, partition, strategy, 500, false).await;
        if polled.messages.is_empty() {
            break;
        }
        for message in &polled.messages {
            let offset = message.header.offset;
            assert_eq!(offset, next_offset, "offsets of {partition} are dense");
            let text = text(message);
            let key = text.split(':').next().expect("split gives one").to_owned();
            assert_eq!(text, payload(&key), "{partition}/{offset}: wrong bytes");
            assert!(may.sent.contains(&key), "{key} was never sent");
            if let Some(acknowledged) = must.acknowledged.get(&(partition, offset)) {
                assert_eq!(
                    *acknowledged, key,
                    "{partition}/{offset} is another message"
                );
            }
            assert!(found_keys.insert(key), "{text} is there twice");
            next_offset += 1;
        }
    }
    let last = expected.last().copied().unwrap_or(0);
    assert!(
        expected.is_empty() || last < next_offset,
        "{partition}/{last} was acknowledged, the log ends before {next_offset}"
    );
    check_removed(partition, &expected, first, must, may);
    found_keys.len()
}

/// Only whole segments may be gone, and no more of them than were asked to be.
fn check_removed(
    partition: u32,
    expected: &BTreeSet<u64>,
    first: u64,
    must: &Ledger,
    may: &Ledger,
) {
    let removed = expected.range(..first);
    let removed_bytes: u64 = removed
        .map(|offset| payload(&must.acknowledged[&(partition, *offset)]).len() as u64)
        .sum();
    let asked = may.removals_asked[partition as usize];
    assert!(
        removed_bytes <= asked * (SEGMENT_BYTES + BATCH_BYTES_MAX),
        "partition {partition} lost {removed_bytes} bytes, {asked} segments were to be removed"
    );
}

async fn check_topics(client: &IggyClient, must: &Ledger, may: &Ledger) {
    let listed = client.get_topics(&stream()).await.expect("listed");
    let names: BTreeSet<String> = listed.into_iter().map(|topic| topic.name).collect();
    let kept = must.topics_created.difference(&may.topics_leaving);
    for name in kept {
        assert!(names.contains(name), "topic {name} was acknowledged");
    }
    for name in &must.topics_deleted {
        assert!(!names.contains(name), "topic {name} was deleted");
    }
    for name in &names {
        let is_known = name == crate::client::TOPIC || may.topics_asked.contains(name);
        assert!(is_known, "topic {name} was never asked for");
    }
}
