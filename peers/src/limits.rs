//! Every bound of the benchmark, with its reason.

use std::time::Duration;

/// Time in which a server must say where it listens.
pub(crate) const START_TIME_MAX: Duration = Duration::from_secs(10);

/// Time for one connection: connecting, and each read of its opening handshake.
pub(crate) const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of a server's answer to the opening handshake; answers are a few hundred.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 4096;

/// Time that one measurement may take at most, when not a single message comes back sooner.
pub(crate) const MEASURE_TIME_MAX: Duration = Duration::from_secs(20);

/// Time for what is on its way to come back when sending has stopped.
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

/// Latencies are counted up to here; longer ones count as this.
pub(crate) const LATENCY_NANOSECONDS_MAX: u64 = 20_000_000_000;

/// Rounds of one run.
pub(crate) const ROUNDS_MAX: u32 = 100;

/// Seconds of one measurement that can be asked for.
pub(crate) const SECONDS_MAX: f64 = 60.0;

/// Connections of one scenario. Both sides need a descriptor each and the client a port.
pub(crate) const CONNECTIONS_MAX: usize = 16_000;

/// Payload bytes of one message: the frame limit of most libraries.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Bytes of frames that the client keeps ready to send in one piece. Larger windows are sent
/// frame by frame out of one frame.
pub(crate) const WINDOW_BYTES_MAX: usize = 64 << 20;

/// Submission queue entries of a bare ring; a full queue costs one system call.
pub(crate) const RING_ENTRIES: u32 = 1024;

/// Completion queue entries of a bare ring: each connection may complete twice in one turn.
pub(crate) const RING_COMPLETIONS: u32 = 32_768;

/// Receive buffers of a bare ring, a power of two.
pub(crate) const RING_BUFFERS_COUNT: u16 = 512;

/// Bytes of one receive buffer of a bare ring.
pub(crate) const RING_BUFFER_BYTES: usize = 32 << 10;

/// Distance of two receive buffers beyond their size: consecutive buffers shall not fall into
/// the same sets of the processor's caches.
pub(crate) const RING_BUFFER_GAP_BYTES: usize = 320;

/// Buffers that leave in one vectored send of the bare ring.
pub(crate) const RING_SEND_PARTS_MAX: usize = 64;

/// Bytes of the one buffer of a raw echo on a runtime.
pub(crate) const RAW_BUFFER_BYTES: usize = 64 << 10;

/// Messages that a batching echo takes before it flushes.
pub(crate) const BATCH_MESSAGES_MAX: usize = 64;

/// Messages that wait for one subscriber of a broadcast.
pub(crate) const SUBSCRIBER_QUEUE_MAX: usize = 64;
