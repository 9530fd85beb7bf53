//! What can be wrong with a batch, and the status that tells a producer.

use crate::Status;
use core::fmt;

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// More bytes may make it one: the batch (or its header) has `needed_bytes` in all.
    Incomplete {
        /// Bytes from the start of the batch.
        needed_bytes: u64,
    },
    /// Bytes follow the batch where it should have ended.
    TrailingBytes,
    /// The announced length does not cover the header, or ends inside a frame.
    BatchLength,
    /// A reserved field is not zero.
    ReservedNotZero,
    /// No messages, or another number of frames than the header says.
    MessageCount,
    /// Offset deltas are not consecutive, or do not start at 0 in a produced batch.
    OffsetDelta,
    /// The last offset does not fit 64 bits.
    Offset,
    /// A payload beyond [`crate::limits::PAYLOAD_BYTES_MAX`].
    PayloadTooBig,
    /// User headers beyond [`crate::limits::USER_HEADERS_BYTES_MAX`].
    UserHeadersTooBig,
    /// A message time more than 2^32 - 1 microseconds after the batch's.
    TimestampDelta,
    /// The checksum of the message at `message_index` does not match its bytes.
    MessageChecksum {
        /// Place in the batch, from 0.
        message_index: u32,
    },
    /// The batch checksum does not match.
    BatchChecksum,
}

impl BatchError {
    /// The status that a producer gets.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Incomplete { .. } | Self::TrailingBytes | Self::BatchLength => {
                Status::INVALID_MESSAGES_SIZE
            }
            Self::ReservedNotZero => Status::INVALID_RESERVED_FIELD,
            Self::MessageCount => Status::INVALID_MESSAGES_COUNT,
            Self::OffsetDelta | Self::Offset => Status::INVALID_OFFSET,
            Self::PayloadTooBig => Status::TOO_BIG_MESSAGE_PAYLOAD,
            Self::UserHeadersTooBig => Status::TOO_BIG_USER_HEADERS,
            Self::TimestampDelta => Status::INVALID_MESSAGE_TIMESTAMP_DELTA,
            Self::MessageChecksum { .. } => Status::INVALID_MESSAGE_CHECKSUM,
            Self::BatchChecksum => Status::INVALID_BATCH_CHECKSUM,
        }
    }
}

impl From<BatchError> for Status {
    fn from(error: BatchError) -> Self {
        error.status()
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { needed_bytes } => {
                write!(
                    formatter,
                    "the batch ends early, it has {needed_bytes} bytes"
                )
            }
            Self::TrailingBytes => formatter.write_str("bytes follow the batch"),
            Self::BatchLength => formatter.write_str("the batch length ends inside a part"),
            Self::ReservedNotZero => formatter.write_str("a reserved field is not zero"),
            Self::MessageCount => formatter.write_str("the message count is not that of frames"),
            Self::OffsetDelta => formatter.write_str("the offset deltas are not consecutive"),
            Self::Offset => formatter.write_str("the last offset does not fit 64 bits"),
            Self::PayloadTooBig => formatter.write_str("a payload is too big"),
            Self::UserHeadersTooBig => formatter.write_str("the user headers are too big"),
            Self::TimestampDelta => formatter.write_str("a message time is too far from the first"),
            Self::MessageChecksum { message_index } => {
                write!(
                    formatter,
                    "the checksum of message {message_index} does not match"
                )
            }
            Self::BatchChecksum => formatter.write_str("the batch checksum does not match"),
        }
    }
}

impl core::error::Error for BatchError {}
