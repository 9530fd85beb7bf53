//! [`Config`]: everything about a connection that can be chosen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ws_proto::Limits;
use ws_proto::handshake::{
    ExtraHeaders, HandshakeLimits, InvalidHeader, OriginPolicy, Refusal, Request, ServerOptions,
};

/// Decides whether a request for a WebSocket is let in, by path, headers or load.
pub type Admission = Arc<dyn Fn(&Request) -> Result<(), Refusal> + Send + Sync>;

/// The options of a connection. The defaults suit a public server; each limit's reason stands in
/// [`Limits`] and [`HandshakeLimits`].
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// Limits, pongs: what the protocol core needs to know.
    pub protocol: ws_proto::Config,
    /// Bounds of the opening handshake.
    pub handshake: HandshakeLimits,
    /// Which origins a server lets in.
    pub origins: OriginPolicy,
    /// Subprotocols: those that a server speaks, or that a client offers in this order.
    pub subprotocols: Vec<String>,
    /// Further headers of a server's response or a client's request.
    pub headers: ExtraHeaders,
    /// Writes with payloads of at least this many bytes are not copied into the kernel, on
    /// io_uring. Default: never. It costs a second completion, and on loopback the kernel copies
    /// anyway: measure on the network it is for, and begin with 64 KiB or more.
    pub zero_copy_bytes_min: Option<usize>,
    /// A server's own say about each request; without it every path is served.
    pub admission: Option<Admission>,
    /// Compression to offer or to agree to; `None` is never. Default: without context takeover,
    /// so that a connection that waits owns no compressor.
    #[cfg(feature = "deflate")]
    pub deflate: Option<ws_proto::deflate::Options>,
    /// How a server speaks TLS; `None`: it does not.
    #[cfg(feature = "tls")]
    pub tls_server: Option<Arc<rustls::ServerConfig>>,
    /// How a client speaks TLS to `wss://`; `None`: it trusts what the machine trusts.
    #[cfg(feature = "tls")]
    pub tls_client: Option<Arc<rustls::ClientConfig>>,
}

#[cfg_attr(
    not(feature = "deflate"),
    expect(clippy::derivable_impls, reason = "with compression it is not")
)]
impl Default for Config {
    fn default() -> Self {
        Config {
            protocol: ws_proto::Config::default(),
            handshake: HandshakeLimits::default(),
            origins: OriginPolicy::default(),
            subprotocols: Vec::new(),
            headers: ExtraHeaders::default(),
            zero_copy_bytes_min: None,
            admission: None,
            #[cfg(feature = "deflate")]
            deflate: Some(crate::deflate::options()),
            #[cfg(feature = "tls")]
            tls_server: None,
            #[cfg(feature = "tls")]
            tls_client: None,
        }
    }
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Config::default()
    }

    /// Sends and agrees to nothing compressed, also where the feature `deflate` is enabled.
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Config {
            #[cfg(feature = "deflate")]
            deflate: None,
            ..self
        }
    }

    /// Changes the limits of the protocol.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.protocol.limits);
        self
    }

    /// Largest received message in bytes; its frames may be as large.
    pub fn message_bytes_max(self, bytes: u64) -> Self {
        self.limits(|limits| {
            limits.message_bytes_max = bytes;
            limits.frame_bytes_max = limits.frame_bytes_max.min(bytes);
        })
    }

    /// Largest received message in bytes where messages are taken piece by piece with
    /// [`recv_part`](crate::WebSocket::recv_part), in one frame or any number of them. What is
    /// taken whole with `recv` may be as large, and then is memory.
    pub fn streamed_bytes_max(self, bytes: u64) -> Self {
        self.limits(|limits| {
            limits.message_bytes_max = bytes;
            limits.frame_bytes_max = bytes;
            limits.fragments_max = u32::MAX;
        })
    }

    /// A ping after this much silence, and giving up after that much; `None` is never.
    pub fn keep_alive(self, ping: Option<Duration>, give_up: Option<Duration>) -> Self {
        self.limits(|limits| {
            limits.keep_alive_ms = ping.map(milliseconds);
            limits.idle_timeout_ms = give_up.map(milliseconds);
        })
    }

    /// How long the closing handshake may take.
    pub fn close_timeout(self, timeout: Duration) -> Self {
        self.limits(|limits| limits.close_timeout_ms = milliseconds(timeout))
    }

    /// How long the opening handshake may take.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake.timeout_ms = milliseconds(timeout);
        self
    }

    /// Whether pings are answered without the caller. Default: yes.
    pub fn automatic_pong(mut self, automatic: bool) -> Self {
        self.protocol.automatic_pong = automatic;
        self
    }

    /// Whether the peer's Close is answered without the caller. Default: yes. Without it the
    /// caller answers by `close`, or with a [`Message::Close`](crate::Message::Close), within the
    /// close timeout.
    pub fn automatic_close(mut self, automatic: bool) -> Self {
        self.protocol.automatic_close = automatic;
        self
    }

    /// Adds a subprotocol.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Adds a header to the response of a server or the request of a client.
    ///
    /// # Errors
    /// If it would break the head or belongs to the handshake itself.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, InvalidHeader> {
        self.headers.add(name, value)?;
        Ok(self)
    }

    /// Which origins a server lets in.
    pub fn origins(mut self, policy: OriginPolicy) -> Self {
        self.origins = policy;
        self
    }

    /// Lets writes with payloads of at least this many bytes not be copied into the kernel, see
    /// [`zero_copy_bytes_min`](Self::zero_copy_bytes_min).
    pub fn zero_copy(mut self, bytes_min: usize) -> Self {
        self.zero_copy_bytes_min = Some(bytes_min);
        self
    }

    /// Lets a server decide about each request for a WebSocket.
    pub fn admission(
        mut self,
        admit: impl Fn(&Request) -> Result<(), Refusal> + Send + Sync + 'static,
    ) -> Self {
        self.admission = Some(Arc::new(admit));
        self
    }

    /// Changes the compression that is offered or agreed to, such as its context takeover.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, change: impl FnOnce(&mut ws_proto::deflate::Options)) -> Self {
        change(self.deflate.get_or_insert_with(crate::deflate::options));
        self
    }

    /// Lets a server speak TLS, and nothing else; see [`tls`](crate::tls) for configurations from
    /// files.
    #[cfg(feature = "tls")]
    pub fn tls_server(mut self, tls: Arc<rustls::ServerConfig>) -> Self {
        self.tls_server = Some(tls);
        self
    }

    /// Chooses which servers a client trusts at `wss://`, and what it shows them of itself.
    #[cfg(feature = "tls")]
    pub fn tls_client(mut self, tls: Arc<rustls::ClientConfig>) -> Self {
        self.tls_client = Some(tls);
        self
    }

    pub(crate) fn server_options(&self) -> ServerOptions {
        let mut options = ServerOptions::default();
        options.origins = self.origins.clone();
        options.subprotocols = self.subprotocols.clone();
        options.headers = self.headers.clone();
        #[cfg(feature = "deflate")]
        {
            options.deflate = self.deflate;
        }
        options
    }

    /// The protocol's options with what the opening handshake agreed on.
    pub(crate) fn agreed(
        &self,
        #[cfg(feature = "deflate")] deflate: Option<ws_proto::deflate::Session>,
    ) -> ws_proto::Config {
        let mut protocol = self.protocol.clone();
        // Chosen anew by each call that receives.
        protocol.pieces = false;
        #[cfg(feature = "deflate")]
        {
            protocol.deflate = deflate;
        }
        protocol
    }

    pub(crate) fn handshake_time(&self) -> Duration {
        Duration::from_millis(self.handshake.timeout_ms)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("protocol", &self.protocol)
            .field("handshake", &self.handshake)
            .field("origins", &self.origins)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
