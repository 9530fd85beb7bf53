//! Every limit of the wire formats, with its reason. Tests stand on each and step one past it.

use crate::batch::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES};
use crate::iggy::frame::HEADER_BYTES;

/// Bytes of one message's payload. The Iggy protocol's own limit.
pub const PAYLOAD_BYTES_MAX: u32 = 64_000_000;

/// Bytes of one message's encoded user headers. The Iggy protocol's own limit.
pub const USER_HEADERS_BYTES_MAX: u32 = 100_000;

/// Bytes of a name (stream, topic, group). A u8 counts them on the wire.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a partitioning key. A u8 counts them on the wire.
pub const PARTITIONING_KEY_BYTES_MAX: usize = 255;

/// Bytes of a user name, least and most. The Iggy protocol's own limits.
pub const USERNAME_BYTES: core::ops::RangeInclusive<usize> = 3..=50;

/// Bytes of a password, least and most. The Iggy protocol's own limits.
pub const PASSWORD_BYTES: core::ops::RangeInclusive<usize> = 3..=100;

/// Partitions that one request may create or delete. The Iggy protocol's own limit.
pub const PARTITIONS_PER_REQUEST_MAX: u32 = 1_000;

/// Bytes of one frame, header and body: 64 MiB. Published clients take no larger WebSocket message,
/// and one message of the largest payload fits.
pub const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one frame before login: 64 KiB. A login is far smaller, and a stranger should not make
/// the server hold more.
pub const LOGIN_FRAME_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the context that a client may add to its login. Nothing reads it but logs.
pub const LOGIN_CONTEXT_BYTES_MAX: usize = 4 * 1024;

/// Messages of one batch. A frame could hold 1.4 million empty ones; a million bounds the walk
/// over their headers and is a thousand times what clients batch by default.
pub const BATCH_MESSAGE_COUNT_MAX: u32 = 1_000_000;

/// Bytes of records in one poll reply: what is left of the largest frame after the two heads. A
/// batch that was accepted always fits, because its request needed more around it.
pub const POLL_RECORDS_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES - 16;

/// Bytes of the routing part of a SendMessages body: two names and a key, each with two bytes
/// before it, the message count, and the length of all that.
pub const SEND_ROUTING_BYTES_MAX: usize =
    4 + 2 * (2 + NAME_BYTES_MAX) + (2 + PARTITIONING_KEY_BYTES_MAX) + 4;

// The biggest message of the protocol fits the biggest frame.
const _: () = assert!(
    HEADER_BYTES
        + SEND_ROUTING_BYTES_MAX
        + BATCH_HEADER_BYTES
        + FRAME_HEADER_BYTES
        + PAYLOAD_BYTES_MAX as usize
        + USER_HEADERS_BYTES_MAX as usize
        <= FRAME_BYTES_MAX
);
