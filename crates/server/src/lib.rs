//! **This room** is the server: shards, sessions, transports, the catalog, the status page.
//!
//! **Owns** which shard does what, who may do it, and when a client is answered.
//!
//! **Never** acknowledges what is not as durable as asked, shares a partition between threads, or
//! lets a queue grow without a bound; it knows neither file formats nor WebSocket frames.
//!
//! **Start reading at** [`boot`], then `shard`, then `session`.
//!
//! **Tests run with** `cargo nextest run -p server`; the whole server in
//! `cargo nextest run -p weir`.

pub mod boot;
mod budgets;
pub mod catalog;
pub mod config;
mod control;
mod http;
pub mod limits;
mod listen;
mod metrics;
mod partition;
pub mod password;
mod retention;
mod session;
mod shard;
mod tls;
mod transport;
mod verified;
