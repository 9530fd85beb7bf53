//! WebSocket as a state machine: chunks of bytes in, events and bytes to write out.
//!
//! **This room** is the WebSocket protocol (RFC 6455) for client and server, without I/O.
//! **Owns** the opening handshake, framing, masking, fragmentation, UTF-8, closing, limits.
//! **Never** touches a socket, a clock or randomness: time and masking keys are arguments.
//! **Start reading at** [`Connection`], then `connection/receive.rs`.
//! **Tests run with** `cargo nextest run -p ws-proto --all-features`.
//!
//! # The run loop of a driver
//!
//! ```text
//!            chunk ──▶ Connection::handle_chunk ──▶ Event (message, ping, close, failure)
//!   kernel                      │  send, close
//!            ◀── transmit ◀── Connection::poll_transmit
//! ```
//!
//! 1. Read the request head into a buffer and give it to [`handshake::ServerHandshake`]
//!    (or write [`handshake::ClientHandshake::request`] and give it the response).
//! 2. Make a [`Connection`]; give it each received chunk until
//!    [`handle_chunk`](Connection::handle_chunk) returns `None`.
//! 3. Write what [`poll_transmit`](Connection::poll_transmit) gives, once per received chunk,
//!    so that all answers to one receive leave in one write.
//! 4. When [`is_finished`](Connection::is_finished), close the byte stream.
//! 5. Keep one timer for [`poll_timeout`](Connection::poll_timeout).
//!
//! # Example
//!
//! An echo server without a socket: bytes in, bytes out.
//!
//! ```
//! use ws_proto::handshake::{HandshakeLimits, ServerHandshake, ServerOptions, ServerVerdict};
//! use ws_proto::{Config, Connection, Event, Transmit};
//!
//! // What arrived so far. The client's first frame came with its request.
//! let mut received = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
//!     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
//!     Sec-WebSocket-Version: 13\r\n\r\n\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
//!     .to_vec();
//!
//! let mut handshake = ServerHandshake::new(HandshakeLimits::DEFAULT);
//! let ServerVerdict::Upgrade(upgrade) = handshake.handle_bytes(&received) else {
//!     panic!("incomplete, something else than a WebSocket, or refused");
//! };
//! let accepted = upgrade.accept(&ServerOptions::default()).expect("any origin is let in");
//! assert!(accepted.response.starts_with(b"HTTP/1.1 101 "));
//!
//! // What follows the head belongs to the WebSocket.
//! let chunk = &mut received[upgrade.request().head_bytes()..];
//! let mut connection = Connection::server(Config::default());
//! let mut position = 0;
//! while let Some(event) = connection.handle_chunk(chunk, &mut position) {
//!     if let Event::Message { kind, payload } = event {
//!         connection.send_copied(kind, payload.as_slice(chunk)).expect("it is open");
//!     }
//! }
//! let Some(Transmit::Contiguous(bytes)) = connection.poll_transmit() else {
//!     panic!("a small answer is one buffer");
//! };
//! assert_eq!(bytes, &b"\x81\x05Hello"[..]);
//! ```

#![no_std]
#![warn(missing_docs)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

extern crate alloc;

mod close_code;
mod connection;
#[cfg(feature = "deflate")]
pub mod deflate;
mod error;
pub mod frame;
mod grow;
pub mod handshake;
pub mod limits;
pub mod mask;
mod message;
mod opcode;
mod role;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod utf8;

pub use close_code::{CloseCode, CloseFrame};
pub use connection::{
    Config, Connection, MaskingKeySource, PongOverflow, PreparedMessage, ReceiveBuffer, SendError,
    Transmit,
};
pub use error::ProtocolError;
pub use limits::Limits;
pub use message::{Event, MessageKind, Payload};
pub use opcode::OpCode;
pub use role::Role;
