//! One connection of the client: opened with blocking calls, then driven by the ring.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::frames::Frames;
use super::verify::Verifier;
use crate::limits;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What RFC 6455 §1.3 gives for this key.
const ACCEPT: &str = "s3pplmbitxaq9kygzzhzrbk+xoo=";

pub(super) struct Connection {
    socket: TcpStream,
    pub(super) verifier: Verifier,
    /// Messages that are to be sent when the send in flight is done.
    pub(super) owed_count: u32,
    pub(super) sending_bytes: usize,
    /// When the messages under way were sent.
    departures: VecDeque<(u32, Instant)>,
}

/// A connection whose opening handshake is done.
pub(crate) fn open_socket(address: SocketAddr, frames: &Frames) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&address, limits::HANDSHAKE_TIME_MAX)?;
    socket.set_nodelay(true)?;
    if !frames.is_raw() {
        socket.set_read_timeout(Some(limits::HANDSHAKE_TIME_MAX))?;
        handshake(&mut socket)?;
        socket.set_read_timeout(None)?;
    }
    Ok(socket)
}

impl Connection {
    pub(super) fn open(address: SocketAddr, frames: &Frames) -> io::Result<Self> {
        Ok(Connection {
            socket: open_socket(address, frames)?,
            verifier: Verifier::default(),
            owed_count: 0,
            sending_bytes: 0,
            departures: VecDeque::new(),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn departed(&mut self, count: u32, now: Instant) {
        self.departures.push_back((count, now));
    }

    /// Notes how long the oldest messages under way were gone. `None`: more came than were sent.
    pub(super) fn arrived(
        &mut self,
        mut count: u32,
        now: Instant,
        latency: &mut Histogram<u64>,
    ) -> Option<()> {
        while count > 0 {
            let (departed_count, departed) = self.departures.front_mut()?;
            let some = count.min(*departed_count);
            let nanoseconds = now.duration_since(*departed).as_nanos() as u64;
            latency.saturating_record_n(nanoseconds, some.into());
            count -= some;
            *departed_count -= some;
            if *departed_count == 0 {
                self.departures.pop_front();
            }
        }
        Some(())
    }
}

fn handshake(socket: &mut TcpStream) -> io::Result<()> {
    socket.write_all(REQUEST)?;
    let mut response = Vec::new();
    let mut chunk = [0; 1024];
    while !response.ends_with(b"\r\n\r\n") {
        let read_bytes = match socket.read(&mut chunk) {
            // The ring's work for other connections interrupts this thread.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if read_bytes == 0 || response.len() > limits::HANDSHAKE_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        response.extend_from_slice(&chunk[..read_bytes]);
    }
    let response = String::from_utf8_lossy(&response).to_ascii_lowercase();
    if response.starts_with("http/1.1 101 ") && response.contains(ACCEPT) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, response))
    }
}
