//! What is measured: the table of scenarios.

use crate::limits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each connection keeps `window_count` messages under way.
    Echo { window_count: u32 },
    /// Each connection echoes one message; then memory is looked at.
    Idle,
    /// One message goes to every connection.
    Broadcast,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    pub(crate) payload_bytes: usize,
    pub(crate) connections_count: usize,
}

const fn echo(
    name: &'static str,
    title: &'static str,
    payload_bytes: usize,
    connections_count: usize,
    window_count: u32,
) -> Scenario {
    assert!(payload_bytes <= limits::PAYLOAD_BYTES_MAX);
    assert!(connections_count <= limits::CONNECTIONS_MAX);
    Scenario {
        name,
        title,
        kind: Kind::Echo { window_count },
        payload_bytes,
        connections_count,
    }
}

const fn idle(name: &'static str, title: &'static str, connections_count: usize) -> Scenario {
    Scenario {
        kind: Kind::Idle,
        ..echo(name, title, 20, connections_count, 1)
    }
}

pub(crate) const ALL: &[Scenario] = &[
    echo("20B-1", "20 B, 1 connection", 20, 1, 1),
    echo("20B-32", "20 B, 32 connections", 20, 32, 1),
    echo("20B-200", "20 B, 200 connections", 20, 200, 1),
    echo("20B-1000", "20 B, 1,000 connections", 20, 1000, 1),
    echo(
        "pipelined",
        "20 B, 64 under way, 32 connections",
        20,
        32,
        64,
    ),
    echo("1KiB-32", "1 KiB, 32 connections", 1 << 10, 32, 1),
    echo("16KiB-200", "16 KiB, 200 connections", 16 << 10, 200, 1),
    echo("1MiB-4", "1 MiB, 4 connections", 1 << 20, 4, 1),
    echo("16MiB-1", "16 MiB, 1 connection", 16 << 20, 1, 1),
    idle("idle-1000", "idle, 1,000 connections", 1000),
    idle("idle-10000", "idle, 10,000 connections", 10_000),
    Scenario {
        kind: Kind::Broadcast,
        ..echo("broadcast", "1 KiB to 1,000 connections", 1 << 10, 1000, 1)
    },
];
