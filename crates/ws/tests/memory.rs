//! Heap of a connection that waits. A binary of its own, because it counts every allocation.

mod support;

#[path = "tls/authority.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod authority;

use std::alloc::System;
use std::sync::{Mutex, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use support::{on_each_driver, turn};
use ws::{Config, WebSocket};

/// The documented bound: heap bytes of the library for one idle connection.
const IDLE_CONNECTION_BYTES_MAX: isize = 2048;

/// The same over TLS: the rest is the state of the session. What the cryptography allocates for
/// its keys by itself is not counted here.
const IDLE_TLS_CONNECTION_BYTES_MAX: isize = 6144;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn live_bytes() -> isize {
    let stats = ALLOCATOR.stats();
    // What a reallocation adds or takes is counted in both sums already.
    stats.bytes_allocated as isize - stats.bytes_deallocated as isize
}

async fn pairs(count: usize, (scheme, config): &(&str, Config)) -> Vec<(WebSocket, WebSocket)> {
    let (listener, url) = support::listen().await;
    let url = url.replace("ws://", scheme);
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let accept = support::accept(&listener, config);
        let (server, client) = futures_util::join!(accept, ws::connect_with(&url, config));
        pairs.push((server, client.expect("connect")));
    }
    pairs
}

/// Exchanges a message each way and leaves every connection waiting in `recv`.
async fn exchange_and_wait(pairs: &mut [(WebSocket, WebSocket)]) {
    for (server, client) in &mut *pairs {
        client.send("x".repeat(300)).await.expect("send");
        let message = server.recv().await.expect("message");
        server.send(message).await.expect("send");
        client.recv().await.expect("echo");
    }
    for (server, client) in &mut *pairs {
        assert!(support::poll_at_most(1, server.recv()).await.is_none());
        assert!(support::poll_at_most(1, client.recv()).await.is_none());
    }
    for _ in 0..10 {
        turn().await;
    }
}

#[test]
fn an_idle_connection_is_small() {
    check(("ws://", Config::new()), IDLE_CONNECTION_BYTES_MAX);
}

#[test]
fn an_idle_connection_over_tls_is_small() {
    let authority = authority::Authority::new();
    let config = authority
        .client_config()
        .tls_server(authority.identity().server());
    check(("wss://", config), IDLE_TLS_CONNECTION_BYTES_MAX);
}

fn check(way: (&str, Config), bytes_max: isize) {
    const COUNT: usize = 100;
    // One test at a time counts allocations.
    static ALONE: Mutex<()> = Mutex::new(());
    let _guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    on_each_driver(|kind| {
        let way = &way;
        async move {
            // The first connections fill what a thread keeps for all: pool, buffers, keys.
            let mut first = pairs(40, way).await;
            exchange_and_wait(&mut first).await;
            let before = live_bytes();
            let mut measured = pairs(COUNT, way).await;
            exchange_and_wait(&mut measured).await;
            let handles = COUNT * std::mem::size_of::<(WebSocket, WebSocket)>();
            let bytes = live_bytes() - before - handles as isize;
            let each = bytes / (2 * COUNT as isize);
            println!("{} {kind}: {each} bytes of heap per idle connection", way.0);
            assert!(
                each <= bytes_max,
                "{kind}: {each} bytes per idle connection"
            );
        }
    });
}
