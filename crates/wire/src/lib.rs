//! **This room** holds the bytes of the streaming protocols: the one batch layout, the Iggy 0.11.0
//! frames, commands and replies, and the status numbers that a client sees.
//! **Owns** every offset, length and limit of these layouts, and the checks that peer data passes.
//! **Never** does I/O, reads a clock, reads randomness, or panics on bytes from a peer.
//! **Start reading at** [`batch`], then [`iggy::frame`] and [`iggy::command`]; `docs/wire.md`.
//! **Tests run with** `cargo nextest run -p wire`.
#![no_std]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod batch;
pub mod iggy;
pub mod limits;
pub mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod read;

pub use status::Status;
