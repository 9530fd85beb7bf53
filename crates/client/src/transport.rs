//! The ways to a server behind one pair of functions: send a request, receive a frame.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use compio_net::TcpStream;
use compio_runtime::time::timeout;
use ws::tls::rustls::ClientConfig;
use ws::{ChunkReceiver, Message, MessageKind, WebSocket};

use crate::address::{Address, Tls, TransportKind};
use crate::error::Error;
use crate::limits;
use crate::session::Options;
use crate::tcp::Tcp;

#[cfg(feature = "bridge")]
mod bridge;

pub(crate) enum Transport {
    Tcp(Box<Tcp>),
    WebSocket(Box<WebSocket>),
    #[cfg(feature = "bridge")]
    Bridge(Box<bridge::Bridge>),
}

impl Transport {
    pub(crate) async fn connect(address: &Address, options: &Options) -> Result<Self, Error> {
        let deadline = Instant::now() + options.connect_time;
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = timeout(options.connect_time, connecting)
            .await
            .map_err(|_| Error::TimedOut(options.connect_time))??;
        // A request leaves in one write; waiting for more would only delay it.
        stream.set_nodelay(true)?;
        let tls = address.tls.as_ref().map(Tls::config).transpose()?;
        let left = deadline.saturating_duration_since(Instant::now());
        match address.transport {
            TransportKind::Tcp => {
                let receiver = receiver(stream, tls, address, left).await?;
                Ok(Self::Tcp(Box::new(Tcp::new(receiver))))
            }
            TransportKind::WebSocket => {
                let host = host(address);
                let config = config(options).handshake_timeout(left);
                let mut socket = match tls {
                    None => ws::client_with(stream, &host, "/", &config).await?,
                    Some(tls) => {
                        let config = config.tls_client(tls);
                        ws::client_tls_with(stream, &host, "/", &config).await?
                    }
                };
                socket.reserve_announced(limits::RESERVE_BYTES_MAX);
                Ok(Self::WebSocket(Box::new(socket)))
            }
            #[cfg(feature = "bridge")]
            TransportKind::WebSocketBridge => {
                let receiver = receiver(stream, tls, address, left).await?;
                let bridge = bridge::Bridge::open(receiver, &host(address)).await?;
                Ok(Self::Bridge(Box::new(bridge)))
            }
        }
    }

    /// Sends the head of a request and what follows it, in one write.
    pub(crate) async fn send(&mut self, head: Bytes, body: Option<Bytes>) -> Result<(), Error> {
        match self {
            Self::Tcp(tcp) => tcp.send(head, body).await,
            Self::WebSocket(socket) => {
                let parts = std::iter::once(head).chain(body).collect();
                Ok(socket.send_parts(MessageKind::Binary, parts).await?)
            }
            #[cfg(feature = "bridge")]
            Self::Bridge(bridge) => bridge.send(head, body).await,
        }
    }

    /// Waits for the next frame; see [`Tcp::recv`] for the guess.
    pub(crate) async fn recv(&mut self, expected_bytes: usize) -> Result<Bytes, Error> {
        let socket = match self {
            Self::Tcp(tcp) => return tcp.recv(expected_bytes).await,
            Self::WebSocket(socket) => socket,
            #[cfg(feature = "bridge")]
            Self::Bridge(bridge) => return bridge.recv().await,
        };
        loop {
            match socket.recv().await? {
                Message::Binary(payload) => return Ok(payload.into_bytes()),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Text(_) => return Err(Error::Protocol("a text message")),
                Message::Close(_) => return Err(Error::Closed),
            }
        }
    }

    /// Says goodbye where the transport has a word for it.
    pub(crate) async fn close(self) -> Result<(), Error> {
        match self {
            // The socket closes when its last handle is dropped.
            Self::Tcp(_) => Ok(()),
            Self::WebSocket(mut socket) => Ok(socket.close(ws::CloseCode::NORMAL, "").await?),
            #[cfg(feature = "bridge")]
            Self::Bridge(bridge) => bridge.close().await,
        }
    }
}

/// What comes on `stream`, behind the handshake if it is encrypted.
async fn receiver(
    stream: TcpStream,
    tls: Option<Arc<ClientConfig>>,
    address: &Address,
    time: Duration,
) -> Result<ChunkReceiver, ws::Error> {
    let receiver = ChunkReceiver::new(stream);
    match tls {
        None => Ok(receiver),
        Some(tls) => ws::tls::connect(receiver, &tls, address.name(), time).await,
    }
}

/// What a WebSocket's request names as its host.
fn host(address: &Address) -> String {
    let name = address.name();
    if name.contains(':') {
        format!("[{name}]:{}", address.port)
    } else {
        format!("{name}:{}", address.port)
    }
}

fn config(options: &Options) -> ws::Config {
    let config = ws::Config::new()
        .message_bytes_max(limits::REPLY_BYTES_MAX as u64)
        .handshake_timeout(options.connect_time);
    #[cfg(feature = "deflate")]
    if options.compress {
        return config;
    }
    config.uncompressed()
}
