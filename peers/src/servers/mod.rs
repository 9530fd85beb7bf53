//! The echo servers: each listens on a free port of 127.0.0.1, says so on its standard output
//! and answers on one thread until it is ended from outside.

mod broadcast;
mod compio_ws;
mod fastwebsockets;
mod floor;
mod handshake;
mod on_compio;
mod on_tokio;
mod raw_compio;
mod raw_ring;
mod raw_tokio;
mod sockudo_ws;
mod tokio_tungstenite;
mod tokio_websockets;
mod weir_bridge;
mod weir_ws;
mod wtx;
mod yawc;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use serde::Serialize;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Outcome = Result<(), Failure>;

/// What a server is to the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Family {
    /// Echoes bytes and knows nothing of frames.
    Raw,
    Ours,
    /// Ours too, for those who need tungstenite or writes without a copy, and the floor: neither
    /// our best nor a peer.
    Variant,
    Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Runtime {
    Ring,
    Compio,
    Tokio,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) family: Family,
    pub(crate) runtime: Runtime,
    pub(crate) echo: fn() -> Outcome,
    /// Sends each message to every connection.
    pub(crate) broadcast: Option<fn() -> Outcome>,
}

const fn server(
    name: &'static str,
    what: &'static str,
    family: Family,
    runtime: Runtime,
    echo: fn() -> Outcome,
) -> Server {
    Server {
        name,
        what,
        family,
        runtime,
        echo,
        broadcast: None,
    }
}

/// Every server, the limits first.
pub(crate) const ALL: &[Server] = &[
    server(
        "raw-ring",
        "TCP echo on a bare io_uring: multishot receive, provided buffers",
        Family::Raw,
        Runtime::Ring,
        raw_ring::echo,
    ),
    server(
        "raw-compio",
        "TCP echo on compio 0.20, one buffer per connection",
        Family::Raw,
        Runtime::Compio,
        raw_compio::echo,
    ),
    server(
        "raw-tokio",
        "TCP echo on tokio, one buffer per connection",
        Family::Raw,
        Runtime::Tokio,
        raw_tokio::echo,
    ),
    server(
        "floor",
        "one receive, one unmask, one send of each message, on tokio, without a library",
        Family::Variant,
        Runtime::Tokio,
        floor::echo,
    ),
    Server {
        broadcast: Some(weir_ws::broadcast),
        ..server(
            "ws",
            "ours, native on compio 0.20",
            Family::Ours,
            Runtime::Compio,
            weir_ws::echo,
        )
    },
    server(
        "ws-zero-copy",
        "ours, writes from 4 KiB on not copied into the kernel",
        Family::Variant,
        Runtime::Compio,
        weir_ws::echo_zero_copy,
    ),
    server(
        "ws-bridge",
        "our bridge: tungstenite on growing buffers over compio 0.20",
        Family::Variant,
        Runtime::Compio,
        weir_bridge::echo_growable,
    ),
    server(
        "ws-bridge-fixed",
        "our bridge: tungstenite on buffers of 8 KiB over compio 0.20",
        Family::Variant,
        Runtime::Compio,
        weir_bridge::echo_fixed,
    ),
    Server {
        broadcast: Some(tokio_tungstenite::broadcast),
        ..server(
            "tungstenite",
            "tokio-tungstenite, defaults (128 KiB read buffer)",
            Family::Peer,
            Runtime::Tokio,
            tokio_tungstenite::echo,
        )
    },
    server(
        "tungstenite-4k",
        "tokio-tungstenite, 4 KiB read buffer",
        Family::Peer,
        Runtime::Tokio,
        tokio_tungstenite::echo_small_buffer,
    ),
    server(
        "tungstenite-batch",
        "tokio-tungstenite, answers what is ready with feed and one flush",
        Family::Peer,
        Runtime::Tokio,
        tokio_tungstenite::echo_batch,
    ),
    server(
        "fastwebsockets",
        "fastwebsockets with FragmentCollector",
        Family::Peer,
        Runtime::Tokio,
        fastwebsockets::echo,
    ),
    Server {
        broadcast: Some(tokio_websockets::broadcast),
        ..server(
            "tokio-websockets",
            "tokio-websockets, defaults",
            Family::Peer,
            Runtime::Tokio,
            tokio_websockets::echo,
        )
    },
    server(
        "yawc",
        "yawc, defaults, messages up to 64 MiB",
        Family::Peer,
        Runtime::Tokio,
        yawc::echo,
    ),
    server(
        "yawc-batch",
        "yawc, answers what is ready with feed and one flush",
        Family::Peer,
        Runtime::Tokio,
        yawc::echo_batch,
    ),
    server(
        "wtx",
        "wtx 0.46, the last one for this compiler",
        Family::Peer,
        Runtime::Tokio,
        wtx::echo,
    ),
    server(
        "compio-ws",
        "compio-ws on compio 0.19, defaults",
        Family::Peer,
        Runtime::Compio,
        compio_ws::echo,
    ),
    server(
        "sockudo-ws",
        "sockudo-ws on compio 0.19, defaults",
        Family::Peer,
        Runtime::Compio,
        sockudo_ws::echo,
    ),
];

pub(crate) fn find(name: &str) -> Option<&'static Server> {
    ALL.iter().find(|server| server.name == name)
}

const ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
const BACKLOG: i32 = 4096;

/// The socket that a server listens on; its address is printed for the one who started us.
fn listen() -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&ADDRESS.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = std::net::TcpListener::from(socket);
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}
