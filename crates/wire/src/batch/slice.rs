//! Serving a part of a stored batch: a new header before an unchanged range of its frames.

use super::{BATCH_HEADER_BYTES, BatchHeader, BatchView};
use core::ops::Range;

/// A run of consecutive messages of a batch.
///
/// The record to serve is [`BatchHeader::encode`] of `header`, followed by the bytes `frames` of
/// the batch. The base offset stays that of the stored batch; the deltas tell the offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSlice {
    /// Header with the slice's own length, count and checksum.
    pub header: BatchHeader,
    /// Byte range of the frames, from the start of the stored batch.
    pub frames: Range<usize>,
    /// Offset of the first message of the slice.
    pub first_offset: u64,
}

impl BatchSlice {
    /// Whether the slice is the whole batch, so that its stored bytes can be served as they are.
    #[must_use]
    pub fn is_whole(&self, batch: &BatchView<'_>) -> bool {
        self.header.message_count == batch.message_count()
    }

    /// Offset after the last message of the slice.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.first_offset
            .saturating_add(self.header.message_count as u64)
    }
}

impl BatchView<'_> {
    /// The messages from `start_offset` on, at most `message_count_max` of them, in a record of at
    /// most `record_bytes_max` bytes (its 256-byte header included).
    ///
    /// `None` when no message of the batch qualifies: all are before `start_offset`, or the first
    /// one that is not does not fit. A `start_offset` before the batch takes it from its start.
    /// Walks the frame headers up to the end of the slice.
    #[must_use]
    pub fn slice(
        &self,
        start_offset: u64,
        message_count_max: u32,
        record_bytes_max: u64,
    ) -> Option<BatchSlice> {
        let mut frames = self.frames();
        let skipped = start_offset.saturating_sub(self.first_offset());
        if skipped >= u64::from(self.message_count()) {
            return None;
        }
        for _ in 0..skipped {
            frames.next();
        }
        let start = frames.position();
        let chosen = frames.clone();
        let mut end = start;
        let mut message_count = 0;
        while message_count < message_count_max && frames.next().is_some() {
            let record_bytes = BATCH_HEADER_BYTES as u64 + (frames.position() - start) as u64;
            if record_bytes > record_bytes_max {
                break;
            }
            end = frames.position();
            message_count += 1;
        }
        if message_count == 0 {
            return None;
        }
        let mut header = self.header();
        if message_count != self.message_count() {
            header.message_count = message_count;
            header.batch_length = (BATCH_HEADER_BYTES + (end - start)) as u64;
            header.batch_checksum = header.checksum_with(chosen.take(message_count as usize));
        }
        Some(BatchSlice {
            header,
            frames: start..end,
            first_offset: self.first_offset() + skipped,
        })
    }
}
