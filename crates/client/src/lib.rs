//! **This room** is the Rust client: it speaks the Iggy protocol 0.11.0 over TCP and WebSocket,
//! each with or without TLS.
//! **Owns** connecting, login, one request after the other, repeating what a busy server refused.
//! **Never** looks into a server or its files; never retries what may have been done already.
//! **Start reading at** `client.rs`, then `session.rs`, where a request becomes a reply.
//! **Tests run with** `cargo nextest run -p client`; against a real server `-p weir own_client`.
//!
//! # Produce and poll
//!
//! ```no_run
//! # async fn run() -> Result<(), client::Error> {
//! use client::{Client, Message, PollRequest, PollingStrategy};
//!
//! let mut client = Client::connect("iggy+tcp://iggy:secret@127.0.0.1:8090").await?;
//! client.create_stream("orders").await?;
//! client.create_topic("orders", "placed", 1, &[]).await?;
//!
//! let messages = [Message { payload: b"hello", ..Message::default() }];
//! let base_offset = client.send("orders", "placed", 0, &messages).await?;
//!
//! let request = PollRequest {
//!     strategy: PollingStrategy::First,
//!     ..PollRequest::new("orders", "placed", 0)
//! };
//! let polled = client.poll(&request).await?;
//! for message in polled.messages() {
//!     println!("{} {:?}", message.offset(), message.payload());
//! }
//! # let _ = base_offset;
//! # Ok(())
//! # }
//! ```
//!
//! # What a request costs
//!
//! A request is one vectored write: header and routing from a buffer that the client reuses, the
//! batch as the caller's own [`bytes::Bytes`], which is not copied (over WebSocket the mask is
//! written over a copy, because the protocol has clients mask). A large reply is received straight
//! into its own allocation. [`Target`] and [`Client::send_batch`] are the open way for callers that
//! build their batches themselves.
//!
//! # A client that rests
//!
//! Over WebSocket a server asks for a sign of life after 25 s of silence and gives a connection up
//! after 60 s, and a client answers only while one of its requests is under way. Who has nothing
//! to ask for that long calls [`Client::ping`] in between, or connects again.

#![warn(missing_docs)]

mod address;
mod client;
mod error;
pub mod limits;
mod poll;
mod session;
mod tcp;
mod transport;

pub use address::{Address, Tls, TransportKind};
pub use client::{Client, Target};
pub use error::Error;
pub use poll::{PollRequest, Polled};
pub use session::Options;
pub use wire::Status;
pub use wire::batch::{BatchBuilder, BatchView, Frame, Message};
pub use wire::iggy::identifier::{Consumer, ConsumerKind, Identifier};
pub use wire::iggy::messages::PollingStrategy;
pub use wire::iggy::published::responses;
