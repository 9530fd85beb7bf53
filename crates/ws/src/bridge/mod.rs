//! The bridge: protocol code that was written for blocking I/O, on compio.
//!
//! [`SyncStream`] is `Read + Write` over owned-buffer operations: it answers `WouldBlock` when its
//! buffer is empty or full, and is filled and flushed asynchronously. [`BridgeWebSocket`] is
//! tungstenite on top of it. Both exist for code that cannot be had otherwise and as the baseline
//! that the native path is measured against; new code is better off with
//! [`WebSocket`](crate::WebSocket), which copies nothing twice.
//!
//! Two modes: [`Capacity::FIXED`] has one small buffer for each direction, so that a large message
//! passes it in thousands of pieces; [`Capacity::GROWABLE`] doubles the buffer while it is too
//! small, up to a bound, and shrinks it when it is drained.

mod sync_stream;
mod websocket;

pub use sync_stream::{Capacity, SyncStream};
pub use websocket::BridgeWebSocket;

/// The protocol library under [`BridgeWebSocket`].
pub use tungstenite;
