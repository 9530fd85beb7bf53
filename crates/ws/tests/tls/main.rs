//! TLS in both roles: against tokio-rustls under tokio-tungstenite, against the `openssl`
//! command, and against peers that break it.

#[path = "../support/mod.rs"]
mod support;

mod authority;
mod breakages;
mod bridge;
mod openssl;
mod peers;
mod trust;
