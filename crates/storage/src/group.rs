//! What one commit writes: some batches, where they go and which way.
//!
//! A group that fills its blocks goes past the page cache. One that would leave much of them empty
//! goes through the page cache, right behind what is there. Both ways share one format, so groups
//! of both kinds follow each other in any order.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    SyncPolicy, aligned,
    entry::{BLOCK_BYTES, ENTRY_HEADER_BYTES, EntryHeader, entry_end},
    limits::{self, WriteMode},
    log::PendingBatch,
};

/// Batches that are written and made durable together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) batches: Vec<PendingBatch>,
    /// Where the first entry begins.
    pub(crate) position: u64,
    /// Whether it is written past the page cache.
    pub(crate) direct: bool,
}

impl Group {
    /// Decides how `batches` are written behind `end`. `unsynced` says that something before it
    /// waits for a sync.
    pub(crate) fn new(
        batches: Vec<PendingBatch>,
        end: u64,
        mode: WriteMode,
        policy: SyncPolicy,
        unsynced: bool,
    ) -> Self {
        let start = aligned::up(end);
        let used = batches.iter().fold(start, |position, batch| {
            entry_end(position, batch.record.len())
        }) - start;
        let durable_alone = policy == SyncPolicy::EveryBatch && !unsynced;
        let direct = mode == WriteMode::Direct && durable_alone && is_dense(start - end, used);
        Self {
            batches,
            position: if direct { start } else { end },
            direct,
        }
    }

    /// Position after the last entry.
    pub(crate) fn end(&self) -> u64 {
        self.batches.iter().fold(self.position, |position, batch| {
            entry_end(position, batch.record.len())
        })
    }

    /// The bytes to write: an entry per batch. `synced` is what is durable before; with
    /// `zeros_bytes`, so many zeros go behind the last block.
    pub(crate) fn encode(&self, salt: u64, synced: u64, zeros_bytes: u64) -> Vec<Bytes> {
        match self.direct {
            true => vec![self.encode_blocks(salt, synced, zeros_bytes)],
            false => self.encode_parts(salt, synced, zeros_bytes),
        }
    }

    /// Small records are copied next to each other, large ones are parts of their own.
    fn encode_parts(&self, salt: u64, synced: u64, zeros_bytes: u64) -> Vec<Bytes> {
        let mut parts = Vec::new();
        let mut joined = BytesMut::new();
        let mut position = self.position;
        for batch in &self.batches {
            let header = entry_header(batch, synced);
            joined.put_slice(&header.encode(salt, position));
            if batch.record.len() <= limits::WRITE_COPY_BYTES_MAX {
                joined.put_slice(&batch.record);
            } else {
                parts.push(joined.split().freeze());
                parts.push(batch.record.clone());
            }
            joined.put_bytes(0, padding_bytes(&header, position));
            position = header.end_position(position);
        }
        if zeros_bytes > 0 {
            // The rest of the last block too.
            let zeros_bytes = aligned::up(position) - position + zeros_bytes;
            joined.put_bytes(0, zeros_bytes as usize);
        }
        parts.push(joined.freeze());
        parts
    }

    /// Whole blocks of aligned memory, which is what writes past the page cache take.
    fn encode_blocks(&self, salt: u64, synced: u64, zeros_bytes: u64) -> Bytes {
        let bytes = aligned::up(self.end()) - self.position + zeros_bytes;
        let bytes = usize::try_from(bytes).expect("a group fits memory");
        let mut blocks = aligned::Buffer::new(bytes);
        let mut position = self.position;
        for batch in &self.batches {
            let header = entry_header(batch, synced);
            blocks.put_slice(&header.encode(salt, position));
            blocks.put_slice(&batch.record);
            blocks.put_bytes(0, padding_bytes(&header, position));
            position = header.end_position(position);
        }
        blocks.put_bytes(0, bytes - blocks.len());
        blocks.freeze()
    }
}

/// Whether `used` bytes are worth blocks of their own, `gap` bytes behind what was written before:
/// neither what is skipped nor what stays empty is more than a share of them.
fn is_dense(gap: u64, used: u64) -> bool {
    let blocks = used.next_multiple_of(BLOCK_BYTES);
    let wasted = gap.max(blocks - used);
    wasted * limits::PADDING_SHARE <= blocks
}

/// The header of a batch's entry, when everything up to `synced_position` is durable.
fn entry_header(batch: &PendingBatch, synced_position: u64) -> EntryHeader {
    EntryHeader {
        record_bytes: u32::try_from(batch.record.len()).expect("checked when it was taken"),
        synced_position,
        record_checksum: batch.header.batch_checksum,
    }
}

/// Zeros between the end of a record and the end of its entry.
fn padding_bytes(header: &EntryHeader, position: u64) -> usize {
    let record_end = position + ENTRY_HEADER_BYTES as u64 + u64::from(header.record_bytes);
    (header.end_position(position) - record_end) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fills_its_blocks_has_blocks_of_its_own() {
        for (gap, used, dense) in [
            (0, 4_096, true),
            (0, 3_072, true),
            (0, 3_071, false),
            (0, 4_097, false),
            (1_024, 4_096, true),
            (1_025, 4_096, false),
            (4_095, 16_383, true),
            (4_095, 16_384, true),
            (0, 1 << 20, true),
        ] {
            assert_eq!(is_dense(gap, used), dense, "{gap} {used}");
        }
    }
}
