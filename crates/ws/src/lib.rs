//! **This room** drives [`ws_proto`] on compio: WebSocket clients and servers on real sockets.
//! **Owns** the runtime's set-up, receive chunks, writes in flight, timers, opening and closing.
//! **Never** decides what a frame means (that is `ws_proto`) nor knows what messages are about.
//! **Start reading at** `link.rs`, a connection, and `attendant.rs`, who looks after all of them.
//! **Tests run with** `cargo nextest run -p ws`.
//!
//! # A server and a client
//!
//! ```
//! # async fn run() -> Result<(), ws::Error> {
//! let listener = compio_net::TcpListener::bind("127.0.0.1:0").await?;
//! let url = format!("ws://{}/", listener.local_addr()?);
//!
//! let server = compio_runtime::spawn(async move {
//!     let (stream, _) = listener.accept().await?;
//!     let mut socket = ws::accept(stream).await?;
//!     let message = socket.recv().await?;
//!     socket.send(message).await?;
//!     // Answers the client's Close.
//!     while socket.recv().await.is_ok() {}
//!     Ok::<_, ws::Error>(())
//! });
//!
//! let mut socket = ws::connect(&url).await?;
//! socket.send("hello").await?;
//! assert_eq!(socket.recv().await?, ws::Message::text("hello"));
//! socket.close(ws::CloseCode::NORMAL, "").await?;
//! # let _ = server.await;
//! # Ok(())
//! # }
//! # let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default()).unwrap();
//! # runtime.block_on(run()).unwrap();
//! ```
//!
//! # How bytes flow
//!
//! ```text
//!  recv() ─▶ ChunkReceiver ─ chunk ─▶ ws_proto ─▶ inbox ─▶ Message (a slice of the chunk)
//!              kernel                    │ answers
//!  send() ─────────────── queue ◀────────┘
//!  recv(), flush(), the end of the turn ─ one write of all that is queued ─▶ kernel
//! ```
//!
//! A message that is larger than memory comes piece by piece from `recv_part()` and leaves piece
//! by piece through [`MessageWriter`].
//!
//! What answers the last message that was received is written at once. Else nothing is written
//! while a task runs: when it waits, everything that it queued leaves in one write, and what is
//! queued meanwhile leaves in the next one.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `deflate` | permessage-deflate, on by default in [`Config`] where it is built in |
//! | `tls` | `wss://`, `Config::tls_server` and the module `tls` |
//! | `bridge` | tungstenite over a stream that looks like a blocking one: the module `bridge` |
//!
//! # What is found where
//!
//! | wanted | here |
//! |---|---|
//! | two halves, more senders | [`WebSocket::split`], [`WebSocket::sender`], [`Sender`] clones |
//! | one message to many | [`PreparedMessage`], [`Sender::try_send_prepared`] |
//! | messages larger than memory | [`WebSocket::recv_part`], [`WebSocket::send_in_pieces`] |
//! | parts in one message, uncopied | [`WebSocket::send_parts`] |
//! | back-pressure | [`Limits::send_high_water_bytes`], [`WebSocket::recv`] |
//! | keep-alive, idle time | [`Config::keep_alive`] |
//! | a message that is not compressed | [`WebSocket::send_uncompressed`] |
//! | closing with a time limit | [`WebSocket::close`], [`Config::close_timeout`] |
//! | pings and Close by hand | [`Config::automatic_pong`], [`Config::automatic_close`] |
//! | origins and paths | [`Config::origins`], [`Config::admission`] |
//! | subprotocols | [`Config::subprotocol`] |
//! | HTTP on the same port | [`Incoming::Http`] |
//! | any other protocol | [`ChunkReceiver`], [`ChunkSender`] |

#![warn(missing_docs)]

mod accept;
mod attendant;
#[cfg(feature = "bridge")]
pub mod bridge;
mod chunk;
mod clock;
mod config;
mod connect;
#[cfg(feature = "deflate")]
mod deflate;
mod direct;
mod driver;
mod error;
mod inbox;
mod large;
pub mod limits;
mod link;
mod masking;
mod message;
mod pieces;
mod pooled;
mod receiver;
mod reserve;
mod runtime;
mod sender;
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
mod tls;
mod websocket;
mod writer;

pub use accept::{Incoming, accept, accept_with, close_slowly};
pub use chunk::Chunk;
pub use config::{Admission, Config};
#[cfg(feature = "tls")]
pub use connect::client_tls_with;
pub use connect::{client_with, connect, connect_with};
pub use error::{Error, Handshake};
pub use message::{Message, Payload, Text};
pub use pieces::{MessageWriter, Part, Piece};
pub use receiver::{ChunkReceiver, ReceiveCounters, Received, receive_counters};
pub use runtime::{
    DriverChoice, DriverKind, RuntimeError, RuntimeOptions, UnknownDriver, build_runtime,
};
pub use sender::ChunkSender;
pub use stream::Stream;
#[cfg(feature = "tls")]
pub use tls::TlsError;
pub use websocket::{Receiver, Sender, WebSocket};
#[cfg(feature = "deflate")]
pub use ws_proto::deflate::Options as DeflateOptions;
pub use ws_proto::handshake::{OriginPolicy, Refusal, Request, Response};
pub use ws_proto::{
    CloseCode, CloseFrame, Limits, MessageKind, PreparedMessage, ProtocolError, SendError,
};
