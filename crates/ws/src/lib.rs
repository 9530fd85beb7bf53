//! **This room** drives `ws-proto` on compio: WebSocket connections over real sockets.
//!
//! **Owns** the runtime's set-up, receive chunks, the write queue's I/O, timers, handshakes on the
//! wire. **Never** decides what a frame means (that is `ws-proto`), never knows messages of the
//! streaming protocol. **Start reading at** [`ChunkReceiver`].
//! **Tests run with** `cargo nextest run -p ws`.

#![warn(missing_docs)]

mod chunk;
pub mod limits;
mod receiver;
mod runtime;
mod stream;

pub use chunk::Chunk;
pub use receiver::{ChunkReceiver, ReceiveCounters, Received, receive_counters};
pub use runtime::{
    DriverChoice, DriverKind, RuntimeError, RuntimeOptions, UnknownDriver, build_runtime,
};
pub use stream::Stream;
