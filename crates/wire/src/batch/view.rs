//! Reading a batch in place: prove the layout, then walk the frames.

use super::{BATCH_HEADER_BYTES, BatchError, BatchHeader, FRAME_HEADER_BYTES};
use crate::{limits, read};
use core::hash::Hasher;
use twox_hash::XxHash3_64;

/// A batch whose lengths, counts and offset deltas are proven, borrowed where it lies.
///
/// Knows nothing of checksums unless it came from [`BatchView::parse`].
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
    first_offset_delta: u32,
}

impl<'a> BatchView<'a> {
    /// Parses the batch at the start of `bytes` and verifies every checksum. One pass over all
    /// bytes. Bytes after the batch are ignored: compare [`Self::bytes`] where none may follow.
    ///
    /// # Errors
    /// Any [`BatchError`] but those that only concern produced batches.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::parse_layout(bytes)?;
        view.verify_checksums()?;
        Ok(view)
    }

    /// Parses a batch as a producer sends it: [`Self::parse`], nothing after it, offset deltas
    /// from 0, payloads and user headers within the limits.
    ///
    /// The fields that the server stamps may hold anything: they are overwritten.
    ///
    /// # Errors
    /// Any [`BatchError`]; never [`BatchError::Incomplete`] for a request that arrived whole and
    /// is honest about its length.
    pub fn parse_produced(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let view = Self::parse_layout(bytes)?;
        if view.bytes.len() != bytes.len() {
            return Err(BatchError::TrailingBytes);
        }
        if view.first_offset_delta != 0 {
            return Err(BatchError::OffsetDelta);
        }
        for frame in view.frames() {
            if frame.payload_length() > limits::PAYLOAD_BYTES_MAX {
                return Err(BatchError::PayloadTooBig);
            }
            if frame.user_headers_length() > limits::USER_HEADERS_BYTES_MAX {
                return Err(BatchError::UserHeadersTooBig);
            }
        }
        view.verify_checksums()?;
        Ok(view)
    }

    /// Parses the batch at the start of `bytes` without its checksums: reads the frame headers
    /// and not the bodies. For bytes that were verified before, or that are passed on as served.
    ///
    /// # Errors
    /// [`BatchError::Incomplete`] when `bytes` ends before the batch, otherwise the first thing
    /// that is wrong with its layout.
    pub fn parse_layout(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let incomplete = BatchError::Incomplete {
            needed_bytes: header.batch_length,
        };
        let batch_bytes = usize::try_from(header.batch_length).map_err(|_| incomplete)?;
        let bytes = bytes.get(..batch_bytes).ok_or(incomplete)?;
        let mut view = Self {
            header,
            bytes,
            first_offset_delta: 0,
        };
        view.prove_frames()?;
        Ok(view)
    }

    fn prove_frames(&mut self) -> Result<(), BatchError> {
        let mut frames = self.frames();
        let first = frames.clone().next().ok_or(self.no_frame())?;
        self.first_offset_delta = first.offset_delta();
        let mut counted: u32 = 0;
        for frame in frames.by_ref() {
            let expected = self.first_offset_delta.checked_add(counted);
            if Some(frame.offset_delta()) != expected {
                return Err(BatchError::OffsetDelta);
            }
            if frame.reserved() != 0 {
                return Err(BatchError::ReservedNotZero);
            }
            counted = counted.checked_add(1).ok_or(BatchError::MessageCount)?;
        }
        if !frames.remaining().is_empty() {
            return Err(BatchError::BatchLength);
        }
        if counted != self.header.message_count {
            return Err(BatchError::MessageCount);
        }
        let delta_after = u64::from(self.first_offset_delta) + u64::from(counted);
        if self.header.base_offset.checked_add(delta_after).is_none() {
            return Err(BatchError::Offset);
        }
        Ok(())
    }

    /// What is wrong with a batch in which no whole frame lies.
    fn no_frame(&self) -> BatchError {
        if self.bytes.len() == BATCH_HEADER_BYTES {
            BatchError::MessageCount
        } else {
            BatchError::BatchLength
        }
    }

    /// Verifies the checksum of each message and of the batch.
    ///
    /// # Errors
    /// [`BatchError::MessageChecksum`] or [`BatchError::BatchChecksum`].
    pub fn verify_checksums(&self) -> Result<(), BatchError> {
        let mut hasher = self.header.checksum_hasher();
        for (frame, message_index) in self.frames().zip(0..) {
            if frame.checksum() != frame.computed_checksum() {
                return Err(BatchError::MessageChecksum { message_index });
            }
            hasher.write(&frame.checksum().to_le_bytes());
        }
        if hasher.finish() != self.header.batch_checksum {
            return Err(BatchError::BatchChecksum);
        }
        Ok(())
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> BatchHeader {
        self.header
    }

    /// Exactly the batch: header and frames.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Messages in the batch, at least 1.
    #[must_use]
    pub const fn message_count(&self) -> u32 {
        self.header.message_count
    }

    /// Offset of the first message.
    #[must_use]
    pub const fn first_offset(&self) -> u64 {
        self.header.base_offset + self.first_offset_delta as u64
    }

    /// Offset after the last message.
    #[must_use]
    pub const fn next_offset(&self) -> u64 {
        self.first_offset() + self.header.message_count as u64
    }

    /// Whether the batch is as produced and stored, not a slice that lacks its beginning.
    #[must_use]
    pub const fn starts_at_base_offset(&self) -> bool {
        self.first_offset_delta == 0
    }

    /// The frames in order.
    #[must_use]
    pub fn frames(&self) -> Frames<'a> {
        Frames {
            batch: self.bytes,
            position: BATCH_HEADER_BYTES,
            base_offset: self.header.base_offset,
            origin_timestamp: self.header.origin_timestamp,
        }
    }
}

/// The frames of a batch. Ends early at a frame that is not whole, which a [`BatchView`] has not.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    batch: &'a [u8],
    position: usize,
    base_offset: u64,
    origin_timestamp: u64,
}

impl<'a> Frames<'a> {
    /// Byte position of the next frame, from the start of the batch.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    fn remaining(&self) -> &'a [u8] {
        self.batch.get(self.position..).unwrap_or_default()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let rest = self.remaining();
        let head = rest.first_chunk::<FRAME_HEADER_BYTES>()?;
        let user_headers_bytes = read::u32(head, 32)? as usize;
        let payload_bytes = read::u32(head, 36)? as usize;
        let frame_bytes = FRAME_HEADER_BYTES
            .checked_add(payload_bytes)?
            .checked_add(user_headers_bytes)?;
        let bytes = rest.get(..frame_bytes)?;
        self.position += frame_bytes;
        Some(Frame {
            head,
            bytes,
            payload_end: FRAME_HEADER_BYTES + payload_bytes,
            base_offset: self.base_offset,
            origin_timestamp: self.origin_timestamp,
        })
    }
}

/// One message where it lies in its batch.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    head: &'a [u8; FRAME_HEADER_BYTES],
    bytes: &'a [u8],
    payload_end: usize,
    base_offset: u64,
    origin_timestamp: u64,
}

impl<'a> Frame<'a> {
    fn field<const N: usize>(&self, position: usize) -> [u8; N] {
        // Positions are constants within the 48 bytes; the zeros are never seen.
        read::array(self.head, position).unwrap_or([0; N])
    }

    /// The checksum as the producer computed it.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        u64::from_le_bytes(self.field(0))
    }

    /// XxHash3-64 over the frame after its checksum field.
    #[must_use]
    pub fn computed_checksum(&self) -> u64 {
        XxHash3_64::oneshot(self.bytes.get(8..).unwrap_or_default())
    }

    /// Message id, chosen by the producer; 0 when it chose none.
    #[must_use]
    pub fn id(&self) -> u128 {
        u128::from_le_bytes(self.field(8))
    }

    /// Offset relative to the batch's base offset.
    #[must_use]
    pub fn offset_delta(&self) -> u32 {
        u32::from_le_bytes(self.field(24))
    }

    /// Microseconds after the batch's origin timestamp.
    #[must_use]
    pub fn timestamp_delta(&self) -> u32 {
        u32::from_le_bytes(self.field(28))
    }

    /// Bytes of the user headers.
    #[must_use]
    pub fn user_headers_length(&self) -> u32 {
        u32::from_le_bytes(self.field(32))
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_length(&self) -> u32 {
        u32::from_le_bytes(self.field(36))
    }

    fn reserved(&self) -> u64 {
        u64::from_le_bytes(self.field(40))
    }

    /// Offset in the partition.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.base_offset
            .saturating_add(u64::from(self.offset_delta()))
    }

    /// The producer's time of the message in microseconds.
    #[must_use]
    pub fn origin_timestamp(&self) -> u64 {
        self.origin_timestamp
            .saturating_add(u64::from(self.timestamp_delta()))
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes
            .get(FRAME_HEADER_BYTES..self.payload_end)
            .unwrap_or_default()
    }

    /// The user headers as encoded, empty when there are none.
    #[must_use]
    pub fn user_headers(&self) -> &'a [u8] {
        self.bytes.get(self.payload_end..).unwrap_or_default()
    }

    /// The whole frame with its header.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The batches that lie one after the other in `bytes`, layout proven, checksums not.
///
/// Ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// Walks `bytes` from its start.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let view = BatchView::parse_layout(self.rest);
        self.rest = match &view {
            Ok(view) => self.rest.get(view.bytes().len()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(view)
    }
}
