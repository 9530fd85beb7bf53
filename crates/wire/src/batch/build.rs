//! Writing a batch as a producer does.

use super::{BATCH_HEADER_BYTES, BatchError, BatchHeader, FRAME_HEADER_BYTES};
use crate::limits;
use bytes::{BufMut, BytesMut};
use core::hash::Hasher;
use twox_hash::XxHash3_64;

/// A message to be added to a batch, borrowed from its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message<'a> {
    /// Any id; servers do not look at it.
    pub id: u128,
    /// The producer's time in microseconds since 1970-01-01 UTC.
    pub origin_timestamp: u64,
    /// At most 64,000,000 bytes.
    pub payload: &'a [u8],
    /// Encoded user headers, at most 100,000 bytes.
    pub user_headers: &'a [u8],
}

/// Appends one batch to a buffer, message by message; payloads are copied once.
///
/// The first message gives the batch's origin timestamp; later ones may not be older. An unfinished
/// batch is left in the buffer as it is, so the caller should then truncate the buffer.
#[derive(Debug)]
pub struct BatchBuilder<'a> {
    buffer: &'a mut BytesMut,
    start: usize,
    origin_timestamp: u64,
    message_count: u32,
    checksums: alloc::vec::Vec<u64>,
}

impl<'a> BatchBuilder<'a> {
    /// Starts a batch at the end of `buffer`.
    #[must_use]
    pub fn new(buffer: &'a mut BytesMut) -> Self {
        let start = buffer.len();
        buffer.put_bytes(0, BATCH_HEADER_BYTES);
        Self {
            buffer,
            start,
            origin_timestamp: 0,
            message_count: 0,
            checksums: alloc::vec::Vec::new(),
        }
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`BatchError::PayloadTooBig`], [`BatchError::UserHeadersTooBig`], and
    /// [`BatchError::TimestampDelta`] for a message older than the first one or more than
    /// 2^32 - 1 microseconds younger. The batch is unchanged then.
    pub fn push(&mut self, message: Message<'_>) -> Result<(), BatchError> {
        let payload_length =
            length(message.payload, limits::PAYLOAD_BYTES_MAX).ok_or(BatchError::PayloadTooBig)?;
        let user_headers_length = length(message.user_headers, limits::USER_HEADERS_BYTES_MAX)
            .ok_or(BatchError::UserHeadersTooBig)?;
        if self.message_count == 0 {
            self.origin_timestamp = message.origin_timestamp;
        }
        let timestamp_delta = message
            .origin_timestamp
            .checked_sub(self.origin_timestamp)
            .and_then(|delta| u32::try_from(delta).ok())
            .ok_or(BatchError::TimestampDelta)?;

        let mut head = [0; FRAME_HEADER_BYTES];
        let mut fields = head.as_mut_slice();
        fields.put_u64_le(0);
        fields.put_u128_le(message.id);
        fields.put_u32_le(self.message_count);
        fields.put_u32_le(timestamp_delta);
        fields.put_u32_le(user_headers_length);
        fields.put_u32_le(payload_length);

        let frame_start = self.buffer.len();
        self.buffer
            .reserve(FRAME_HEADER_BYTES + message.payload.len() + message.user_headers.len());
        self.buffer.put_slice(&head);
        self.buffer.put_slice(message.payload);
        self.buffer.put_slice(message.user_headers);
        if let Some((checksum, covered)) = self
            .buffer
            .get_mut(frame_start..)
            .and_then(|frame| frame.split_first_chunk_mut::<8>())
        {
            let value = XxHash3_64::oneshot(covered);
            *checksum = value.to_le_bytes();
            self.checksums.push(value);
        }
        self.message_count += 1;
        Ok(())
    }

    /// Messages so far.
    #[must_use]
    pub const fn message_count(&self) -> u32 {
        self.message_count
    }

    /// Bytes so far, header included.
    #[must_use]
    pub fn batch_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Writes the header with the batch checksum.
    ///
    /// # Errors
    /// [`BatchError::MessageCount`] for a batch without messages.
    pub fn finish(self) -> Result<BatchHeader, BatchError> {
        if self.message_count == 0 {
            return Err(BatchError::MessageCount);
        }
        let mut header = BatchHeader {
            partition_id: 0,
            base_offset: 0,
            base_timestamp: 0,
            origin_timestamp: self.origin_timestamp,
            batch_length: self.batch_bytes() as u64,
            batch_checksum: 0,
            message_count: self.message_count,
        };
        let mut hasher = header.checksum_hasher();
        for checksum in &self.checksums {
            hasher.write(&checksum.to_le_bytes());
        }
        header.batch_checksum = hasher.finish();
        let batch = self.buffer.get_mut(self.start..).unwrap_or_default();
        if let Some(head) = batch.first_chunk_mut::<BATCH_HEADER_BYTES>() {
            *head = header.encode();
        }
        Ok(header)
    }
}

fn length(bytes: &[u8], bytes_max: u32) -> Option<u32> {
    u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length <= bytes_max)
}
