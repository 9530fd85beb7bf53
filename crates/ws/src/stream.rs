//! [`Stream`]: the connected socket under a WebSocket, and the seam for other transports.
//!
//! TCP and Unix sockets differ only in how they are opened. Where a stream is encrypted, it holds
//! the session that its receiver and its writers share.

use std::io;
use std::net::{Shutdown, SocketAddr};

use compio_driver::{SharedFd, ToSharedFd};
use compio_net::{TcpStream, UnixStream};

use crate::tls::Filter;

/// A connected byte stream. Clones share the same socket.
#[derive(Debug, Clone)]
pub struct Stream {
    kind: Kind,
    filter: Option<Filter>,
}

#[derive(Debug, Clone)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// What encrypts it.
    pub(crate) fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_filter(&mut self, filter: Filter) {
        self.filter = Some(filter);
    }

    /// Lets what encrypts say goodbye; false if there is nothing to say.
    pub(crate) fn close_session(&self) -> bool {
        self.filter.as_ref().is_some_and(Filter::close)
    }

    /// The descriptor; it stays open until its last holder is gone.
    pub(crate) fn shared_fd(&self) -> SharedFd<socket2::Socket> {
        match &self.kind {
            Kind::Tcp(stream) => stream.to_shared_fd(),
            Kind::Unix(stream) => stream.to_shared_fd(),
        }
    }

    /// Ends the sending direction, the receiving one, or both. Operations in flight complete.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self.shared_fd().shutdown(how) {
            // The peer was faster; there is nothing left to end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// The address of the peer, where the socket has one.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.kind {
            Kind::Tcp(stream) => stream.peer_addr(),
            Kind::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Turns off Nagle's algorithm: the driver gathers small messages itself, so waiting in the
    /// kernel for more would only add delay.
    pub fn set_no_delay(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(stream) => stream.set_nodelay(true),
            Kind::Unix(_) => Ok(()),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream {
            kind: Kind::Tcp(stream),
            filter: None,
        }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream {
            kind: Kind::Unix(stream),
            filter: None,
        }
    }
}
