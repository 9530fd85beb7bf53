//! The sparse index of one segment: where to start reading for an offset or a time.
//!
//! Derived from the segment, never the other way round: a missing or damaged index file is
//! rebuilt by reading the segment, and no commit ever waits for it. For a sealed segment the file
//! also says where the segment ends, so that opening a log need not read it.
//!
//! ```text
//! @0   magic            b"WEIRIDX1"
//! @8   salt             u64  of the segment that it belongs to
//! @16  base_offset      u64
//! @24  next_offset      u64
//! @32  end_position     u64
//! @40  record_bytes     u64  bytes of the records, without entry headers and padding
//! @48  first_timestamp  u64  microseconds
//! @56  last_timestamp   u64  microseconds
//! @64  entries_count    u64
//! @72  entries          24 bytes each: base_offset u64, timestamp u64, position u64
//! end  checksum         u64  XxHash3-64 over everything before
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use twox_hash::XxHash3_64;

use crate::{entry::read_u64, limits};

const MAGIC: [u8; 8] = *b"WEIRIDX1";
const HEADER_BYTES: usize = 72;
const ENTRY_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 8;

/// A batch whose place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) base_offset: u64,
    pub(crate) timestamp_us: u64,
    pub(crate) position: u64,
}

/// Places of some batches of a segment, ascending in offset, time and position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    entries: Vec<IndexEntry>,
}

impl Index {
    /// Remembers a batch when the last remembered one is at least `interval_bytes` before.
    pub(crate) fn note(&mut self, entry: IndexEntry, interval_bytes: u32) {
        let far = self.entries.last().is_none_or(|last| {
            entry.position.saturating_sub(last.position) >= u64::from(interval_bytes)
        });
        if far && self.entries.len() < limits::INDEX_ENTRIES_MAX as usize {
            self.entries.push(entry);
        }
    }

    /// All remembered batches.
    pub(crate) fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// The last remembered batch that begins at or before `offset`.
    pub(crate) fn before_offset(&self, offset: u64) -> Option<IndexEntry> {
        let count = self
            .entries
            .partition_point(|entry| entry.base_offset <= offset);
        count.checked_sub(1).map(|last| self.entries[last])
    }

    /// The last remembered batch that is older than `timestamp_us`, or else the first one.
    pub(crate) fn before_timestamp(&self, timestamp_us: u64) -> Option<IndexEntry> {
        let count = self
            .entries
            .partition_point(|entry| entry.timestamp_us < timestamp_us);
        self.entries.get(count.saturating_sub(1)).copied()
    }
}

/// What is known of a segment's contents without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentSummary {
    pub(crate) base_offset: u64,
    /// Offset after the last message; the base offset while there is none.
    pub(crate) next_offset: u64,
    /// Position after the last entry.
    pub(crate) end_position: u64,
    /// Bytes of the records alone.
    pub(crate) record_bytes: u64,
    /// Of the first batch; 0 while there is none.
    pub(crate) first_timestamp_us: u64,
    /// Of the last batch; 0 while there is none.
    pub(crate) last_timestamp_us: u64,
}

impl SegmentSummary {
    pub(crate) fn is_empty(&self) -> bool {
        self.next_offset == self.base_offset
    }

    /// Counts a batch that lies from the end to `end_position`.
    pub(crate) fn add(&mut self, header: &wire::batch::BatchHeader, end_position: u64) {
        assert_eq!(header.base_offset, self.next_offset, "offsets are dense");
        if self.is_empty() {
            self.first_timestamp_us = header.base_timestamp;
        }
        self.last_timestamp_us = header.base_timestamp;
        self.next_offset = header.next_offset();
        self.record_bytes += header.batch_length;
        self.end_position = end_position;
    }
}

/// The index file of a segment.
pub(crate) fn encode(index: &Index, summary: &SegmentSummary, salt: u64) -> Bytes {
    let bytes = HEADER_BYTES + index.entries.len() * ENTRY_BYTES + CHECKSUM_BYTES;
    let mut buffer = BytesMut::with_capacity(bytes);
    buffer.put_slice(&MAGIC);
    for word in [
        salt,
        summary.base_offset,
        summary.next_offset,
        summary.end_position,
        summary.record_bytes,
        summary.first_timestamp_us,
        summary.last_timestamp_us,
        index.entries.len() as u64,
    ] {
        buffer.put_u64_le(word);
    }
    for entry in &index.entries {
        buffer.put_u64_le(entry.base_offset);
        buffer.put_u64_le(entry.timestamp_us);
        buffer.put_u64_le(entry.position);
    }
    let checksum = XxHash3_64::oneshot(&buffer);
    buffer.put_u64_le(checksum);
    buffer.freeze()
}

/// Reads an index file; `None` when any byte of it is not as it was written.
pub(crate) fn parse(bytes: &[u8]) -> Option<(Index, SegmentSummary, u64)> {
    let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if covered.len() < HEADER_BYTES
        || covered[..8] != MAGIC
        || XxHash3_64::oneshot(covered) != u64::from_le_bytes(*checksum)
    {
        return None;
    }
    let word = |number: usize| read_u64(covered, 8 + 8 * number);
    let summary = SegmentSummary {
        base_offset: word(1),
        next_offset: word(2),
        end_position: word(3),
        record_bytes: word(4),
        first_timestamp_us: word(5),
        last_timestamp_us: word(6),
    };
    let entries = covered[HEADER_BYTES..].chunks_exact(ENTRY_BYTES);
    let whole = entries.remainder().is_empty() && entries.len() as u64 == word(7);
    let index = Index {
        entries: entries
            .map(|entry| IndexEntry {
                base_offset: read_u64(entry, 0),
                timestamp_us: read_u64(entry, 8),
                position: read_u64(entry, 16),
            })
            .collect(),
    };
    whole.then_some((index, summary, word(0)))
}

/// Bytes of the largest index file that is read.
pub(crate) const FILE_BYTES_MAX: u64 =
    (HEADER_BYTES + CHECKSUM_BYTES) as u64 + limits::INDEX_ENTRIES_MAX as u64 * ENTRY_BYTES as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> IndexEntry {
        IndexEntry {
            base_offset: number * 10,
            timestamp_us: number * 100,
            position: 4_096 + number * 1_000,
        }
    }

    fn sample() -> (Index, SegmentSummary) {
        let mut index = Index::default();
        (0..10).for_each(|number| index.note(entry(number), 2_000));
        let summary = SegmentSummary {
            base_offset: 0,
            next_offset: 100,
            end_position: 14_096,
            record_bytes: 9_000,
            first_timestamp_us: 0,
            last_timestamp_us: 900,
        };
        (index, summary)
    }

    #[test]
    fn only_distant_batches_are_remembered() {
        let (index, _) = sample();
        assert_eq!(index.entries, [0, 2, 4, 6, 8].map(entry));
    }

    #[test]
    fn lookups_find_the_last_batch_before() {
        let (index, _) = sample();
        assert_eq!(index.before_offset(0), Some(entry(0)));
        assert_eq!(index.before_offset(19), Some(entry(0)));
        assert_eq!(index.before_offset(20), Some(entry(2)));
        assert_eq!(index.before_offset(u64::MAX), Some(entry(8)));
        assert_eq!(index.before_timestamp(0), Some(entry(0)));
        assert_eq!(index.before_timestamp(200), Some(entry(0)));
        assert_eq!(index.before_timestamp(201), Some(entry(2)));
        assert_eq!(Index::default().before_offset(0), None);
        assert_eq!(Index::default().before_timestamp(0), None);
    }

    #[test]
    fn the_file_round_trips_and_any_damage_is_seen() {
        let (index, summary) = sample();
        let bytes = encode(&index, &summary, 77);
        assert_eq!(parse(&bytes), Some((index, summary, 77)));
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), None);
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(parse(&damaged), None, "byte {at}");
        }
    }
}
