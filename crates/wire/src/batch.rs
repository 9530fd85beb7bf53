//! The batch record: one layout on the wire, in memory, on disk and in a poll reply.
//!
//! ```text
//! batch = header (256 bytes) · frame × message_count
//!
//! header                                frame
//! @0   partition_id      u64  stamped   @0   checksum            u64
//! @8   base_offset       u64  stamped   @8   id                  u128
//! @16  base_timestamp    u64  stamped   @24  offset_delta        u32
//! @24  origin_timestamp  u64            @28  timestamp_delta     u32
//! @32  batch_length      u64            @32  user_headers_length u32
//! @40  batch_checksum    u64  stamped   @36  payload_length      u32
//! @48  message_count     u32            @40  reserved            u64, zero
//! @52  reserved          zero           @48  payload · user_headers
//! ```
//!
//! Little endian throughout. A frame's checksum is XxHash3-64 over everything of the frame after
//! the checksum. The batch checksum is XxHash3-64 over the six other header fields, in the order
//! partition_id, base_offset, base_timestamp, origin_timestamp, batch_length, message_count,
//! followed by the checksum field of each frame: the bodies are covered through the frames.
//!
//! A message's offset is `base_offset + offset_delta`, its append time `base_timestamp` (one per
//! batch), its producer time `origin_timestamp + timestamp_delta`. Times are microseconds since
//! 1970-01-01 UTC. Offset deltas of a batch are consecutive; they start at 0 in a batch as
//! produced and stored, and later in a slice of one ([`BatchView::slice`]).
//!
//! The server writes the fields marked "stamped" ([`stamp`]) and no others.

mod build;
mod error;
mod slice;
mod view;

pub use build::{BatchBuilder, Message};
pub use error::BatchError;
pub use slice::BatchSlice;
pub use view::{BatchView, Batches, Frame, Frames};

use crate::read;
use core::hash::Hasher;
use twox_hash::XxHash3_64;

/// Bytes of the batch header, before the first frame.
pub const BATCH_HEADER_BYTES: usize = 256;
/// Bytes of a frame header, before the payload.
pub const FRAME_HEADER_BYTES: usize = 48;

/// Position of `partition_id` in the batch header.
pub const PARTITION_ID_AT: usize = 0;
/// Position of `base_offset` in the batch header.
pub const BASE_OFFSET_AT: usize = 8;
/// Position of `base_timestamp` in the batch header.
pub const BASE_TIMESTAMP_AT: usize = 16;
/// Position of `origin_timestamp` in the batch header.
pub const ORIGIN_TIMESTAMP_AT: usize = 24;
/// Position of `batch_length` in the batch header.
pub const BATCH_LENGTH_AT: usize = 32;
/// Position of `batch_checksum` in the batch header.
pub const BATCH_CHECKSUM_AT: usize = 40;
/// Position of `message_count` in the batch header.
pub const MESSAGE_COUNT_AT: usize = 48;
/// Position of the reserved rest of the batch header, all zero.
pub const BATCH_RESERVED_AT: usize = 52;

/// The batch header, parsed. Its length covers the header itself; nothing else is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Partition of the batch. Zero from a producer, stamped by the server.
    pub partition_id: u64,
    /// Offset that `offset_delta` 0 would have. Zero from a producer, stamped by the server.
    pub base_offset: u64,
    /// Append time in microseconds. Zero from a producer, stamped by the server.
    pub base_timestamp: u64,
    /// Earliest producer time of the batch in microseconds.
    pub origin_timestamp: u64,
    /// Bytes of the whole batch, this header included.
    pub batch_length: u64,
    /// XxHash3-64 as described for the module.
    pub batch_checksum: u64,
    /// Frames that follow.
    pub message_count: u32,
}

impl BatchHeader {
    /// Parses the first 256 bytes.
    ///
    /// # Errors
    /// [`BatchError::Incomplete`] when fewer bytes are there, [`BatchError::BatchLength`] when the
    /// announced length does not cover the header, [`BatchError::ReservedNotZero`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let incomplete = BatchError::Incomplete {
            needed_bytes: BATCH_HEADER_BYTES as u64,
        };
        let head = bytes.get(..BATCH_HEADER_BYTES).ok_or(incomplete)?;
        let header = Self::read(head).ok_or(incomplete)?;
        if header.batch_length < BATCH_HEADER_BYTES as u64 {
            return Err(BatchError::BatchLength);
        }
        // Nothing unchecksummed may ride along to the disk and to consumers.
        if head.iter().skip(BATCH_RESERVED_AT).any(|byte| *byte != 0) {
            return Err(BatchError::ReservedNotZero);
        }
        Ok(header)
    }

    fn read(head: &[u8]) -> Option<Self> {
        Some(Self {
            partition_id: read::u64(head, PARTITION_ID_AT)?,
            base_offset: read::u64(head, BASE_OFFSET_AT)?,
            base_timestamp: read::u64(head, BASE_TIMESTAMP_AT)?,
            origin_timestamp: read::u64(head, ORIGIN_TIMESTAMP_AT)?,
            batch_length: read::u64(head, BATCH_LENGTH_AT)?,
            batch_checksum: read::u64(head, BATCH_CHECKSUM_AT)?,
            message_count: read::u32(head, MESSAGE_COUNT_AT)?,
        })
    }

    /// The header as bytes, its reserved part zero.
    #[must_use]
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        let (fields, _) = bytes.split_at_mut(BATCH_RESERVED_AT);
        let (words, count) = fields.split_at_mut(MESSAGE_COUNT_AT);
        let values = [
            self.partition_id,
            self.base_offset,
            self.base_timestamp,
            self.origin_timestamp,
            self.batch_length,
            self.batch_checksum,
        ];
        for (word, value) in words.chunks_exact_mut(8).zip(values) {
            word.copy_from_slice(&value.to_le_bytes());
        }
        count.copy_from_slice(&self.message_count.to_le_bytes());
        bytes
    }

    /// The offset after the batch's last message, for a batch that is not a slice.
    ///
    /// Saturates, which no batch that parsed into a [`BatchView`] does.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.base_offset.saturating_add(self.message_count as u64)
    }

    /// A hasher that has seen this header's part of the batch checksum.
    fn checksum_hasher(&self) -> XxHash3_64 {
        let mut hasher = XxHash3_64::new();
        hasher.write(&self.partition_id.to_le_bytes());
        hasher.write(&self.base_offset.to_le_bytes());
        hasher.write(&self.base_timestamp.to_le_bytes());
        hasher.write(&self.origin_timestamp.to_le_bytes());
        hasher.write(&self.batch_length.to_le_bytes());
        hasher.write(&self.message_count.to_le_bytes());
        hasher
    }

    /// The batch checksum of this header with these frames.
    fn checksum_with<'a>(&self, frames: impl Iterator<Item = Frame<'a>>) -> u64 {
        let mut hasher = self.checksum_hasher();
        for frame in frames {
            hasher.write(&frame.checksum().to_le_bytes());
        }
        hasher.finish()
    }
}

/// What the server adds to a produced batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Partition that the batch is appended to.
    pub partition_id: u64,
    /// Offset of the batch's first message.
    pub base_offset: u64,
    /// Append time in microseconds since 1970-01-01 UTC.
    pub base_timestamp: u64,
}

/// Writes partition, base offset, base timestamp and the new batch checksum into a batch.
///
/// Walks the frame headers (not the bodies) for the checksum. The batch must have been proven
/// before, by [`BatchView::parse_produced`]; only its layout is looked at again here.
///
/// # Errors
/// Every layout error of [`BatchView::parse_layout`], [`BatchError::TrailingBytes`] when `batch`
/// is longer than its header says, [`BatchError::Offset`] when the last offset would not fit u64.
/// Nothing is written then.
pub fn stamp(batch: &mut [u8], stamp: Stamp) -> Result<BatchHeader, BatchError> {
    let view = BatchView::parse_layout(batch)?;
    if view.bytes().len() != batch.len() {
        return Err(BatchError::TrailingBytes);
    }
    let mut header = view.header();
    header.partition_id = stamp.partition_id;
    header.base_offset = stamp.base_offset;
    header.base_timestamp = stamp.base_timestamp;
    if header
        .base_offset
        .checked_add(u64::from(header.message_count))
        .is_none()
    {
        return Err(BatchError::Offset);
    }
    header.batch_checksum = header.checksum_with(view.frames());
    if let Some(head) = batch.first_chunk_mut::<BATCH_HEADER_BYTES>() {
        *head = header.encode();
    }
    Ok(header)
}
