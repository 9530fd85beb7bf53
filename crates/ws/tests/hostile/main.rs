//! Attacks over real sockets. Each is bounded in memory and in what the attacker gets done for
//! its bytes; nothing here judges how long something took. What would hang fails by a generous
//! time limit of the sockets instead.
//!
//! | attack | where | bound |
//! |---|---|---|
//! | 52 MB of pings, pongs never read | `floods` | kept buffers and 256 KiB, newest answered |
//! | fragments without end | `floods` | the message limit, 1009 |
//! | tiny and empty fragments | `floods` | the fragments limit, 1008, 256 KiB |
//! | a deflate bomb of a gigabyte | `floods` | the message limit, 1009 |
//! | 16 MiB claimed, one byte sent | `floods` | no memory for what was not sent |
//! | a peer that never reads | `floods` | queue: high-water mark and one message; not read |
//! | the same seen by a sender | `../cancellation.rs`, `back_pressure_bounds_the_queue` | |
//! | connections that keep all chunks | `../cancellation.rs`, `a_tiny_pool_…` | |
//! | each frame violation | `violations` | its Close code, before FIN, nothing else |
//! | a violation with 300 KB behind it | `../closing.rs`, `a_violation_is_answered_…` | |
//! | limits on the edge and one past | `../closing.rs`, `a_message_beyond_a_limit_…` | |
//! | drips that never finish a request | `openings` | 408 by the handshake's own deadline |
//! | thousands of open handshakes | `openings` | 4 KiB each; good clients are served |
//! | requests that two readers cut differently | `openings` | one 400, the rest unread |
//! | bad requests: 400, 403, 405, 408, 426, 431 | `../handshakes.rs` | |
//! | 500 KB behind a bad request | `../handshakes.rs`, `a_refusal_is_not_destroyed_…` | |
//! | a Close that is never answered | `../closing.rs`, `a_peer_that_does_not_finish_…` | |
//! | a Close to a peer that takes nothing | `../closing.rs`, `a_peer_that_does_not_read_…` | |
//! | a silent peer | `../closing.rs`, `a_silent_peer_is_pinged_and_then_given_up` | |
//! | half of the socket closed at any point | `endings` | what was sent whole is answered |
//! | a reset at any point | `endings` | all memory comes back |
//! | no TLS, broken, slow, endless TLS | `../tls/breakages.rs` | an alert, the handshake's time |
//! | TLS cut or flipped anywhere | `src/tls/session.rs` | an error, never a panic |
//! | two-byte headers, close codes, window bits | the tests of `ws-proto`, without sockets | |

#[path = "../support/mod.rs"]
mod support;

mod endings;
mod floods;
mod harness;
mod openings;
mod violations;
