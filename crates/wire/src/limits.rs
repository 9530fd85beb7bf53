//! Every limit of the wire formats, with its reason. Tests stand on each and step one past it.

/// Bytes of one message's payload. The Iggy protocol's own limit.
pub const PAYLOAD_BYTES_MAX: u32 = 64_000_000;

/// Bytes of one message's encoded user headers. The Iggy protocol's own limit.
pub const USER_HEADERS_BYTES_MAX: u32 = 100_000;
