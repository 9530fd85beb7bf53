//! Every limit of the driver, with its reason. The limits of the protocol itself (bytes per
//! frame, per message, fragments, …) live in `ws_proto::Limits`.

use std::time::Duration;

/// Submission queue entries of one runtime.
///
/// A full queue costs one extra system call, nothing else; 1,024 entries cover the operations
/// that one turn of a busy shard submits.
pub const QUEUE_ENTRIES_DEFAULT: u32 = 1024;

/// Largest submission queue that is accepted; the kernel's own bound (`IORING_MAX_ENTRIES`).
pub const QUEUE_ENTRIES_MAX: u32 = 32_768;

/// Completion queue entries of one runtime.
///
/// Every waiting connection may complete in the same turn, so the completion queue is larger
/// than the submission queue; what does not fit is kept by the kernel at a higher cost.
pub const COMPLETION_ENTRIES_DEFAULT: u32 = 8192;

/// Chunks in the receive pool of one runtime.
///
/// A chunk is held from its completion until its messages are handled, so the pool is sized by
/// the connections that are active in one turn, not by those that are open: what finds no chunk
/// costs two system calls more. 1,024 × 20 KiB are 20 MiB per shard, of which small messages
/// ever touch a fifth. Only [`CHUNKS_IN_TURN`] of them go round until more are held.
pub const POOL_CHUNKS_COUNT_DEFAULT: u16 = 1024;

/// Largest receive pool: the kernel addresses chunks with 15 bits.
pub const POOL_CHUNKS_COUNT_MAX: u16 = 32_768;

/// Chunks of the pool that the kernel has at a time, unless more are held: what one turn takes,
/// with room for a few connections that receive many at once. The kernel takes chunks in turn, so
/// with all of the pool none would be in the cache when its turn comes again.
pub const CHUNKS_IN_TURN: usize = 128;

/// Bytes of one chunk.
///
/// A message of 16 KiB with its header fits whole and is never assembled, which would double its
/// cost; larger payloads are received into their own allocation and do not profit from larger
/// chunks.
pub const CHUNK_BYTES_DEFAULT: usize = 20 << 10;

/// Smallest chunk: one page, so that a control frame (≤ 131 bytes) always fits whole.
pub const CHUNK_BYTES_MIN: usize = 4096;

/// Largest chunk.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Heap chunks that a thread keeps for reuse when the pool cannot be used.
///
/// A chunk is normally given back before the next one is taken, so a few are enough; a burst
/// beyond is allocated and freed.
pub const HEAP_CHUNKS_KEPT_MAX: usize = 32;

/// Chunks that may wait for a connection whose user does not receive, beside the next one.
///
/// One receive goes on for all of them, so a peer that sends to a user who is busy elsewhere
/// takes chunks from the others. Few are enough to go on without a pause; with one more the
/// receive is stopped until they are taken. The kernel may bring up to 32 before that happens.
pub const CHUNKS_WAITING_MAX: usize = 4;

/// Bytes of large payloads that one connection receives before others have their turn.
///
/// What has arrived is received by a call of its own, at once; a peer that sends faster than that
/// would keep the thread to itself. A megabyte takes some 0.2 ms.
pub const RECEIVED_IN_TURN_BYTES_MAX: usize = 1 << 20;

/// Time that the pool's self-test may take before the pool counts as unusable.
pub const POOL_SELF_TEST_TIME_MAX: Duration = Duration::from_millis(100);

/// Parts of one vectored write (`IOV_MAX`); more leave in further writes.
pub const WRITE_PARTS_MAX: usize = 1024;

/// Bytes that are read and thrown away after the connection has failed or the closing handshake
/// is done.
///
/// A socket that is closed with unread bytes resets the connection and may destroy the Close
/// frame on its way, so they are read; a peer that never stops is cut off.
pub const DISCARDED_BYTES_MAX: u64 = 4 << 20;

/// Buffers for small outgoing frames that a thread keeps for reuse: as many as writes complete
/// in one turn, roughly.
pub const WRITE_BUFFERS_KEPT_MAX: usize = 64;

/// Largest buffer for small outgoing frames that is kept; larger ones are rare and freed.
pub const WRITE_BUFFER_BYTES_KEPT_MAX: usize = 64 << 10;

/// Time for writing an HTTP refusal, and again for the client to read it and close.
pub const REFUSAL_TIME_MAX: Duration = Duration::from_secs(2);

/// Sealed bytes of one write, roughly: four records. What a connection sends is sealed when it is
/// written, so a large message is never in memory twice; more at once would save few calls.
#[cfg(feature = "tls")]
pub const TLS_SEALED_BYTES_MAX: usize = 64 << 10;

/// Bytes of each buffer of a bridge with fixed buffers: the usual size of a buffered stream.
#[cfg(feature = "bridge")]
pub const BRIDGE_FIXED_BYTES: usize = 8 << 10;

/// Bytes with which each buffer of a growable bridge begins: as much as tungstenite reads at once.
#[cfg(feature = "bridge")]
pub const BRIDGE_BASE_BYTES: usize = 128 << 10;

/// Bytes that a growable buffer never exceeds: the largest message of the defaults.
#[cfg(feature = "bridge")]
pub const BRIDGE_BYTES_MAX: usize = 64 << 20;

/// A drained buffer that is more than this many times its base shrinks to the base: a single
/// large message is given back, a stream of moderate ones does not allocate each time.
#[cfg(feature = "bridge")]
pub const BRIDGE_SHRINK_FACTOR: usize = 4;

/// Bridge buffers that a thread keeps for reuse.
#[cfg(feature = "bridge")]
pub const BRIDGE_BUFFERS_KEPT_MAX: usize = 16;

/// Time for a bridge's opening handshake, as for a native one.
#[cfg(feature = "bridge")]
pub const BRIDGE_HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// Time for a bridge's closing handshake, as for a native one.
#[cfg(feature = "bridge")]
pub const BRIDGE_CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Compressors, and inflaters, that a thread keeps for reuse: messages are worked on one after
/// the other, except those whose bytes are still arriving. A compressor is about 370 KiB.
#[cfg(feature = "deflate")]
pub const CODECS_KEPT_MAX: usize = 4;

/// Smallest payload whose memory is kept for the next one: smaller ones come mostly in chunks.
pub const LARGE_BUFFER_BYTES_MIN: usize = 64 << 10;

/// Memory of large payloads that a thread keeps: the largest frame of the default limits, or a few
/// messages of a megabyte in flight.
pub const LARGE_BUFFERS_BYTES_KEPT_MAX: usize = 16 << 20;

/// A kept buffer serves a payload if it is less than this many times as large.
pub const LARGE_BUFFER_WASTE_MAX: usize = 4;
