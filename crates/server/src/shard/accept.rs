//! Accepting connections: one task a listener, never cancelled before the drain, because a
//! cancelled accept can lose a connection that the kernel had already handed over.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use compio::net::{TcpListener, TcpStream};
use futures_util::FutureExt;

use super::{Shard, task};
use crate::limits::{ACCEPT_PAUSE, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_RETRIES};
use crate::session;
use crate::tls::Tls;

#[derive(Clone, Copy)]
enum Port {
    Tcp,
    WebSocket,
}

/// Starts to accept on this shard's two listeners.
pub(crate) fn listen(
    shard: &Rc<Shard>,
    tcp: std::net::TcpListener,
    websocket: std::net::TcpListener,
) {
    for (listener, port) in [(tcp, Port::Tcp), (websocket, Port::WebSocket)] {
        let shard = Rc::clone(shard);
        task::spawn("accept", async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => accept_until_drain(&shard, listener, port).await,
                Err(error) => {
                    tracing::error!(shard = shard.index, %error, "a listener cannot be used");
                    std::process::abort();
                }
            }
        });
    }
}

async fn accept_until_drain(shard: &Rc<Shard>, listener: TcpListener, port: Port) {
    loop {
        let mut accepting = std::pin::pin!(listener.accept().fuse());
        let accepted = futures_util::select_biased! {
            () = shard.drain_begun().fuse() => {
                // The kernel holds the socket as long as the accept: the port would stay taken
                // for a moment after the process has ended.
                stop_listening(&listener);
                let _ = accepting.await;
                return;
            }
            accepted = accepting.as_mut() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve(shard, stream, peer, port),
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::error!(shard = shard.index, %error, "accepting pauses");
                compio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Frees the port and ends an accept that waits; what was in the backlog is refused.
fn stop_listening(listener: &TcpListener) {
    // Fails only where it is not listening, which is what is wanted.
    let _ = socket2::SockRef::from(listener).shutdown(std::net::Shutdown::Both);
}

/// Errors of a connection that was reset before it was accepted say nothing about the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn serve(shard: &Rc<Shard>, stream: TcpStream, peer: SocketAddr, port: Port) {
    let Some(guard) = shard.admit(&stream) else {
        // Inside TLS there is nothing to say before a handshake, which costs too much now.
        let speaks_tls = shard
            .machine
            .tls
            .as_ref()
            .is_some_and(Tls::is_for_websocket);
        if matches!(port, Port::WebSocket) && !speaks_tls {
            compio::runtime::spawn(session::refuse_busy(stream)).detach();
        }
        return;
    };
    let shard = Rc::clone(shard);
    compio::runtime::spawn(async move {
        let connection = async {
            if let Err(error) = tune(&stream) {
                tracing::debug!(%peer, %error, "socket options were refused");
            }
            match port {
                Port::Tcp => session::serve_tcp(&shard, stream, peer).await,
                Port::WebSocket => session::serve_websocket(&shard, stream, peer).await,
            }
        };
        if task::run_contained(connection).await {
            shard.metrics.connection_panicked();
        }
        drop(guard);
    })
    .detach();
}

/// Replies leave at once, and a peer that vanished is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
