//! What the tests of failing disks and of damaged files share: logs with known content.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use wire::batch::{BatchBuilder, Batches, Message};

use crate::{
    Error, LogOptions, PartitionLog, SyncPolicy, WriteMode,
    disk::sim::{Content, Node, SimDisk},
    limits,
};

pub(super) const PARTITION: u64 = 3;

/// Every way to write: both modes, with and without zeros ahead.
pub(super) const WAYS: [(WriteMode, u64); 4] = [
    (WriteMode::Buffered, 0),
    (WriteMode::Buffered, limits::ZERO_AHEAD_BYTES_MIN),
    (WriteMode::Direct, 0),
    (WriteMode::Direct, limits::ZERO_AHEAD_BYTES_MIN),
];

/// Small segments, no tail: what is read comes from disk.
pub(super) fn options(way: (WriteMode, u64)) -> LogOptions {
    LogOptions {
        segment_bytes_max: limits::SEGMENT_BYTES_MIN,
        index_interval_bytes: limits::INDEX_INTERVAL_BYTES_MIN,
        tail_bytes_max: 0,
        write_mode: way.0,
        zero_ahead_bytes_max: way.1,
        checkpoint_bytes: 16 << 10,
        sync_policy: SyncPolicy::EveryBatch,
    }
}

/// Numbers that depend on nothing but the seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// A batch of one to three messages, of a few hundred bytes or some thousand.
    pub(super) fn batch(&mut self) -> BytesMut {
        let mut buffer = BytesMut::new();
        let mut builder = BatchBuilder::new(&mut buffer);
        for _ in 0..=self.below(3) {
            let bytes = match self.below(3) {
                0 => self.below(6_000),
                _ => self.below(400),
            };
            let payload: Vec<u8> = (0..bytes).map(|at| (self.0 as u8) ^ at as u8).collect();
            let message = Message {
                id: u128::from(self.0),
                payload: &payload,
                ..Message::default()
            };
            builder.push(message).expect("within limits");
        }
        builder.finish().expect("not empty");
        buffer
    }
}

/// A stored record with the offset of its first message and the one after its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) base_offset: u64,
    pub(super) next_offset: u64,
    pub(super) timestamp_us: u64,
    pub(super) bytes: Bytes,
}

/// What could be read of a log, and whether some read said that something is damaged.
#[derive(Debug, Default)]
pub(super) struct ReadAll {
    pub(super) records: Vec<Stored>,
    pub(super) is_damage_told: bool,
}

/// Reads a log from its first offset to its last. Behind damage it goes on at the next of
/// `known_offsets`, because a consumer may ask for any.
pub(super) async fn read_all(
    log: &PartitionLog<SimDisk>,
    known_offsets: &[u64],
) -> Result<ReadAll, String> {
    let mut found = ReadAll::default();
    let mut offset = log.first_offset();
    while offset < log.next_offset() {
        let records = match log.read(offset, u32::MAX, 1 << 20).await {
            Ok(records) => records,
            Err(Error::Corrupted(_)) => {
                found.is_damage_told = true;
                match known_offsets.iter().find(|known| **known > offset) {
                    Some(known) => offset = *known,
                    None => break,
                }
                continue;
            }
            Err(error) => return Err(format!("at {offset}: {error}")),
        };
        if records.is_empty() || records.first_offset != offset {
            return Err(format!("a hole at {offset}"));
        }
        for view in Batches::new(&records.parts.concat()) {
            let view = view.map_err(|error| format!("behind {offset}: {error}"))?;
            if view.first_offset() != offset {
                return Err(format!("a hole at {offset}"));
            }
            offset = view.next_offset();
            found.records.push(Stored {
                base_offset: view.first_offset(),
                next_offset: offset,
                timestamp_us: view.header().base_timestamp,
                bytes: Bytes::copy_from_slice(view.bytes()),
            });
        }
    }
    Ok(found)
}

/// Every file of a disk with its number.
pub(super) fn files(content: &Content) -> Vec<(PathBuf, usize)> {
    let directories = content.directories.iter();
    let named = directories.flat_map(|(directory, names)| {
        names.iter().filter_map(|(name, node)| match node {
            Node::File(file) => Some((directory.join(name), *file)),
            Node::Directory => None,
        })
    });
    named.collect()
}

/// The number of the file at `path`.
pub(super) fn file_at(content: &Content, path: &Path) -> usize {
    let found = files(content).into_iter().find(|(name, _)| name == path);
    found.expect("the file is there").1
}
