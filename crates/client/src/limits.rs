//! Every limit of the client, with its reason.

use std::time::Duration;

/// Longest address that is parsed; two names of 255 bytes and a host fit well.
pub const ADDRESS_BYTES_MAX: usize = 2_048;

/// Time to connect, including the opening handshake of a WebSocket. A server of the same continent
/// answers within a second; this leaves room for lost packets.
pub const CONNECT_TIME_DEFAULT: Duration = Duration::from_secs(5);

/// Time for a reply, and for repeating a request that a busy server refuses. As long as published
/// clients wait.
pub const REPLY_TIME_DEFAULT: Duration = Duration::from_secs(30);

/// Pause before a refused request is sent again. As published clients do.
pub const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of one reply: the largest frame of the protocol.
pub const REPLY_BYTES_MAX: usize = wire::limits::FRAME_BYTES_MAX;

/// Most that is allocated at once for a reply that has announced its size; a larger one grows by
/// doubling as its bytes arrive. Polls of a thousand messages of a kilobyte fit.
pub const RESERVE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Least that a large reply lacks before it is received straight into its own allocation; less is
/// cheaper to copy from a chunk.
pub const DIRECT_BYTES_MIN: usize = 16 * 1024;

/// Bytes of the buffer from which request heads are cut, one after the other.
pub const HEAD_BUFFER_BYTES: usize = 16 * 1024;
