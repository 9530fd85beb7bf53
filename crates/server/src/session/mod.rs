//! One client's session: login, requests in order, goodbye. The same for every transport.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use compio::net::TcpStream;
use futures_util::FutureExt;
use wire::Status;
use wire::iggy::eviction::EvictionReason;
use wire::iggy::frame::{HEADER_BYTES, LEGACY_REFUSAL, RequestHeader};
use ws::{ChunkReceiver, ChunkSender};

use crate::http;
use crate::shard::Shard;
use crate::tls::Tls;
use crate::transport::{Ending, TcpTransport, Transport, TransportError, WebSocketTransport};

pub(crate) mod control;

mod auth;
mod commands;
mod data;
mod dispatch;
mod observe;
mod reply;

pub(crate) use reply::Reply;

/// What other clients may learn of a connected one.
#[derive(Debug, Clone)]
pub(crate) struct ClientInfo {
    /// The server's number for the connection, unique while the server runs.
    pub(crate) number: u32,
    /// Who logged in.
    pub(crate) user_id: u32,
    /// The protocol's number of the transport.
    pub(crate) transport: u8,
    /// Where it connected from.
    pub(crate) address: String,
}

/// The state of one connection between its requests.
pub(crate) struct Session {
    shard: Rc<Shard>,
    number: u32,
    transport: u8,
    address: SocketAddr,
    local_ip: IpAddr,
    opened_at: Instant,
    login: Option<Login>,
    logins: u64,
    /// True once the control plane may know this client as a group member.
    in_groups: bool,
}

/// Who is logged in.
#[derive(Debug, Clone, Copy)]
struct Login {
    user_id: u32,
    session_id: u64,
}

/// What becomes of the connection after a request.
enum Outcome {
    /// Send the reply and go on.
    Reply(Result<Reply, Status>),
    /// Send the eviction and close.
    Evict(EvictionReason),
}

/// Serves one TCP connection to its end.
pub(crate) async fn serve_tcp(shard: &Rc<Shard>, stream: TcpStream, address: SocketAddr) {
    let local_ip = local_ip(shard, &stream);
    let mut receiver = ChunkReceiver::new(stream);
    if let Some(tls) = shard.machine.tls.as_ref().and_then(Tls::for_tcp) {
        // Boxed: a connection that waits must not hold the room of its own beginning.
        let time = shard.limits.handshake_timeout;
        let accepting = Box::pin(ws::tls::accept(receiver, &tls, time));
        let accepted = futures_util::select_biased! {
            () = Box::pin(shard.drain_begun()).fuse() => return,
            accepted = accepting.fuse() => accepted,
        };
        match accepted {
            Ok(encrypted) => receiver = encrypted,
            Err(error) => {
                tracing::debug!(%address, %error, "a TLS handshake failed");
                return;
            }
        }
    }
    let transport = Transport::Tcp(Box::new(TcpTransport::new(receiver)));
    serve(shard, transport, address, local_ip).await;
}

/// Serves one connection of the WebSocket port to its end: a session after an upgrade, one page
/// after any other HTTP request.
pub(crate) async fn serve_websocket(shard: &Rc<Shard>, stream: TcpStream, address: SocketAddr) {
    let local_ip = local_ip(shard, &stream);
    // Boxed: a connection that waits must not hold the room of its own beginning.
    if let Some(transport) = Box::pin(open_websocket(shard, stream, address)).await {
        serve(shard, transport, address, local_ip).await;
    }
}

/// Accepts a WebSocket; a plain HTTP request is answered here, and nothing is left to serve.
async fn open_websocket(
    shard: &Rc<Shard>,
    stream: TcpStream,
    address: SocketAddr,
) -> Option<Transport> {
    let mut config = ws::Config::new()
        .handshake_timeout(shard.limits.handshake_timeout)
        .limits(|limits| limits.frame_bytes_max = shard.limits.frame_bytes_max as u64)
        .message_bytes_max(shard.limits.frame_bytes_max as u64);
    if !shard.machine.websocket_deflate {
        config = config.uncompressed();
    }
    config.tls_server = shard.machine.tls.as_ref().and_then(Tls::for_websocket);
    let accepting = Box::pin(ws::accept_with(stream, &config));
    let incoming = futures_util::select_biased! {
        () = Box::pin(shard.drain_begun()).fuse() => return None,
        incoming = accepting.fuse() => incoming,
    };
    match incoming {
        Ok(ws::Incoming::WebSocket { socket, .. }) => {
            return Some(Transport::WebSocket(Box::new(WebSocketTransport::new(
                socket,
            ))));
        }
        Ok(ws::Incoming::Http {
            request, receiver, ..
        }) => {
            let health = observe::health(shard).await;
            let page = http::respond(request.method(), request.target(), &health);
            write_and_close(receiver, page).await;
        }
        Err(error) => tracing::debug!(%address, %error, "an opening handshake failed"),
    }
    None
}

/// Answers a connection that the shard has no place for.
pub(crate) async fn refuse_busy(stream: TcpStream) {
    write_and_close(ChunkReceiver::new(stream), http::busy()).await;
}

async fn write_and_close(receiver: ChunkReceiver, bytes: Vec<u8>) {
    let mut sender = ChunkSender::new(receiver.stream());
    // The peer may be gone; there is nobody to tell.
    let _ = sender.send(vec![bytes.into()]).await;
    ws::close_slowly(receiver);
}

/// The address at which this client reached the server: the one to tell it, where the listener's
/// may be a wildcard.
fn local_ip(shard: &Shard, stream: &TcpStream) -> IpAddr {
    stream
        .local_addr()
        .map_or(shard.machine.tcp_address.ip(), |address| address.ip())
}

async fn serve(shard: &Rc<Shard>, mut transport: Transport, address: SocketAddr, local_ip: IpAddr) {
    let mut session = Session {
        shard: Rc::clone(shard),
        number: shard.next_connection_number(),
        transport: transport.code(),
        address,
        local_ip,
        opened_at: Instant::now(),
        login: None,
        logins: 0,
        in_groups: false,
    };
    tracing::debug!(shard = shard.index, connection = session.number, %address, "connected");
    let ending = session.run(&mut transport).await;
    // Boxed: a connection that waits must not hold the room of its own end.
    Box::pin(session.end()).await;
    if let Some(ending) = ending {
        Box::pin(transport.close(ending, shard.limits.close_timeout)).await;
    }
    tracing::debug!(connection = session.number, ?ending, "ended");
}

impl Session {
    /// Answers requests in order until the connection ends; `None` when the peer is gone.
    async fn run(&mut self, transport: &mut Transport) -> Option<Ending> {
        loop {
            let frame = match self.next_frame(transport).await {
                Next::Frame(frame) => frame,
                Next::End(ending) => return ending,
            };
            let (parts, ending) = self.answer(frame).await;
            if !parts.is_empty() && transport.send(parts).await.is_err() {
                return None;
            }
            if ending.is_some() {
                return ending;
            }
        }
    }

    async fn next_frame(&self, transport: &mut Transport) -> Next {
        if self.shard.is_draining() {
            return Next::End(Some(Ending::GoingAway));
        }
        let login_late = async {
            if self.login.is_some() {
                std::future::pending::<()>().await;
            }
            // Counted from the beginning: pings do not buy a stranger more time.
            let left = self
                .shard
                .limits
                .login_timeout
                .saturating_sub(self.opened_at.elapsed());
            compio::time::sleep(left).await;
        };
        let frame_bytes_max = match self.login {
            Some(_) => self.shard.limits.frame_bytes_max,
            None => self.shard.limits.login_frame_bytes_max,
        };
        let received = futures_util::select_biased! {
            received = Box::pin(transport.recv(frame_bytes_max)).fuse() => received,
            () = Box::pin(self.shard.drain_begun()).fuse() => {
                return Next::End(Some(Ending::GoingAway));
            }
            () = Box::pin(login_late).fuse() => {
                tracing::debug!(connection = self.number, "no login in time");
                return Next::End(Some(Ending::ProtocolError));
            }
        };
        match received {
            Ok(frame) => Next::Frame(frame),
            Err(TransportError::Closed) => Next::End(Some(Ending::Normal)),
            Err(TransportError::Io(error)) => {
                tracing::debug!(connection = self.number, %error, "the connection broke");
                Next::End(None)
            }
            Err(TransportError::WebSocket(error)) => {
                tracing::debug!(connection = self.number, %error, "the connection ended");
                Next::End(None)
            }
            Err(TransportError::Legacy) => {
                tracing::debug!(connection = self.number, "a client of an older protocol");
                // What such a client understands as a refusal; it may be gone already.
                let refusal = vec![Bytes::from_static(&LEGACY_REFUSAL)];
                let _ = transport.send(refusal).await;
                Next::End(Some(Ending::ProtocolError))
            }
            Err(error) => {
                tracing::debug!(connection = self.number, %error, "not the protocol");
                Next::End(Some(match error {
                    TransportError::NotBinary => Ending::NotBinary,
                    _ => Ending::ProtocolError,
                }))
            }
        }
    }

    /// Runs one request and encodes its answer; the ending is set when the connection must close.
    async fn answer(&mut self, frame: BytesMut) -> (Vec<Bytes>, Option<Ending>) {
        let header = frame
            .first_chunk::<HEADER_BYTES>()
            .expect("frames have a whole header");
        let request = match RequestHeader::parse(header) {
            Ok(request) => request,
            Err((request, error)) => {
                tracing::debug!(connection = self.number, %error, "not a request");
                self.shard.metrics.request_answered(true);
                let ending = error.is_fatal().then_some(Ending::ProtocolError);
                return (reply::encode(&request, Err(error.status())), ending);
            }
        };
        match self.dispatch(&request, frame).await {
            Outcome::Reply(reply) => {
                self.shard.metrics.request_answered(reply.is_err());
                (reply::encode(&request, reply), None)
            }
            Outcome::Evict(reason) => {
                self.shard.metrics.request_answered(true);
                (
                    vec![reply::evict(request.client, reason)],
                    Some(Ending::Normal),
                )
            }
        }
    }

    /// Tells the rest of the server that this client is gone.
    async fn end(&mut self) {
        self.shard.forget_client(self.number);
        self.leave_groups().await;
    }
}

enum Next {
    Frame(BytesMut),
    End(Option<Ending>),
}
