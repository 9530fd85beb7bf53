//! Every limit of the protocol, each with its default and the reason for it.

/// Bounds of one connection after the opening handshake.
///
/// A bound is the largest value that is still accepted. Bytes are payload bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest payload of one received frame; breach 1009. Default 16 MiB: the largest frame
    /// that common libraries send and accept.
    pub frame_bytes_max: u64,
    /// Largest received message over all fragments; breach 1009. Default 64 MiB.
    pub message_bytes_max: u64,
    /// Most frames of one received message, empty ones counted; breach 1008. Default 131,072:
    /// conformance suites send 65,537, and a fragment costs no memory of its own.
    pub fragments_max: u32,
    /// Most automatic pongs that wait to be written; then newer pings share one pong, or the
    /// connection fails with 1008, see [`PongOverflow`](crate::PongOverflow). Default 64.
    pub pongs_pending_max: u32,
    /// Queued bytes from which the driver should stop reading and senders should wait.
    /// Default 1 MiB: enough to fill a long fast path, small enough for 1,000 slow readers.
    pub send_high_water_bytes: usize,
    /// Most bytes queued to send. A message that does not fit is refused with
    /// [`SendError::QueueFull`](crate::SendError), except into an empty queue. Default 64 MiB.
    pub send_queue_bytes_max: usize,
    /// Largest payload of one sent frame; a longer message leaves in several. Default 16 MiB:
    /// peers refuse larger frames.
    pub send_frame_bytes_max: usize,
    /// Largest payload that is copied next to other small frames instead of being written as
    /// its own part. Default 4 KiB: below that a copy costs less than another part.
    pub coalesce_bytes_max: usize,
    /// A ping is sent after this much silence of the peer, in milliseconds; `None` is never.
    /// Default 25 s: proxies cut idle connections at 60 s.
    pub keep_alive_ms: Option<u64>,
    /// The connection is closed with 1001 after this much silence, in milliseconds; `None` is
    /// never. Default 60 s: two pings went unanswered.
    pub idle_timeout_ms: Option<u64>,
    /// How long the closing handshake may take, in milliseconds. Default 2 s.
    pub close_timeout_ms: u64,
}

impl Limits {
    /// The defaults that the fields document.
    pub const DEFAULT: Self = Self {
        frame_bytes_max: 16 << 20,
        message_bytes_max: 64 << 20,
        fragments_max: 131_072,
        pongs_pending_max: 64,
        send_high_water_bytes: 1 << 20,
        send_queue_bytes_max: 64 << 20,
        send_frame_bytes_max: 16 << 20,
        coalesce_bytes_max: 4096,
        keep_alive_ms: Some(25_000),
        idle_timeout_ms: Some(60_000),
        close_timeout_ms: 2_000,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bounds of the opening handshake. The time limit belongs to the driver, which has a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeLimits {
    /// Largest head (request line or status line, and headers); breach 431. Default 16 KiB:
    /// large cookies fit, endless ones do not.
    pub head_bytes_max: usize,
    /// Most header lines; breach 431. Default 100.
    pub headers_max: usize,
    /// How long the head may take to arrive, in milliseconds; breach 408. Default 10 s.
    pub timeout_ms: u64,
}

impl HandshakeLimits {
    /// The defaults that the fields document.
    pub const DEFAULT: Self = Self {
        head_bytes_max: 16 << 10,
        headers_max: 100,
        timeout_ms: 10_000,
    };
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Largest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Largest reason of a Close frame: a control payload without the code (RFC 6455 §5.5.1).
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// First capacity of a buffer that assembles a message; it doubles with the bytes received.
pub(crate) const ASSEMBLY_BYTES_MIN: usize = 4096;

/// Bytes of a frame that must have arrived, and must be missing, before the rest is received
/// straight into the message: below that a pooled chunk and a copy are cheaper.
pub(crate) const DIRECT_RECEIVE_BYTES_MIN: usize = 16 << 10;

/// Bytes of a compressed message that are kept until an inflater is taken for them: a peer
/// that sends a single byte does not cost the memory of an inflater.
#[cfg(feature = "deflate")]
pub(crate) const COMPRESSED_STAGE_BYTES_MAX: usize = 16 << 10;

/// Least and most output of one step of inflating; the message limit is checked after each.
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_STEP_BYTES_MIN: usize = 512;
#[cfg(feature = "deflate")]
pub(crate) const INFLATE_STEP_BYTES_MAX: usize = 64 << 10;

/// Most deflate streams that one message may begin after its first: each costs a reset.
#[cfg(feature = "deflate")]
pub(crate) const DEFLATE_STREAMS_MAX: u32 = 64;

/// Length of a prepared frame from which it is shared instead of copied: below that a copy is
/// cheaper than a part of its own.
pub(crate) const PREPARED_SHARE_BYTES_MIN: usize = 512;

/// First capacity of the buffer in which small outgoing frames are put together.
pub(crate) const COALESCE_CAPACITY_MIN: usize = 256;
