//! The load generator: one thread, one bare ring, frames that were masked before the run.
//!
//! It costs little so that the server is what is measured, and it checks every byte that comes
//! back.

mod connection;
mod frames;
mod verify;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::limits;
use crate::ring::{Buffer, Completion, Ring};
use connection::Connection;
pub(crate) use connection::open_socket;
pub(crate) use frames::Frames;

/// What the connections send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Each connection keeps this many messages under way.
    Echo { window_count: u32 },
    /// The first connection sends a message when all connections have received the last one.
    Broadcast,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("connection {token}: {source}")]
    Connection { token: u32, source: io::Error },
    #[error("connection {0}: closed by the server")]
    Closed(u32),
    #[error("connection {0}: what came back is not what was sent")]
    Wrong(u32),
    #[error("nothing came back within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Ring(#[from] io::Error),
}

/// What came back since the counters were taken last.
pub(crate) struct Counters {
    pub(crate) echoed_bytes: u64,
    pub(crate) messages_count: u64,
    /// Nanoseconds from giving a message to the kernel to having all of it back.
    pub(crate) latency: Histogram<u64>,
}

impl Counters {
    fn new() -> Self {
        Counters {
            echoed_bytes: 0,
            messages_count: 0,
            latency: Histogram::new_with_max(limits::LATENCY_NANOSECONDS_MAX, 3)
                .expect("a maximum above two and three digits are possible"),
        }
    }
}

pub(crate) struct Load {
    ring: Ring,
    frames: Frames,
    pattern: Pattern,
    connections: Vec<Connection>,
    counters: Counters,
    /// Messages that were asked for and have not come back.
    outstanding_count: u64,
    sending: bool,
    /// Connections that found no receive buffer.
    starved: Vec<u32>,
    /// Errors are what is expected once the server is ended.
    over: bool,
}

impl Load {
    /// Connects, one after the other; with `frames` for a raw echo without a handshake.
    pub(crate) fn connect(
        address: SocketAddr,
        connections_count: usize,
        frames: Frames,
        pattern: Pattern,
    ) -> Result<Self, LoadError> {
        let mut load = Load {
            ring: Ring::new()?,
            frames,
            pattern,
            connections: Vec::with_capacity(connections_count),
            counters: Counters::new(),
            outstanding_count: 0,
            sending: false,
            starved: Vec::new(),
            over: false,
        };
        for token in 0..connections_count as u32 {
            let connection = Connection::open(address, &load.frames)
                .map_err(|source| LoadError::Connection { token, source })?;
            load.ring.receive(connection.socket(), token)?;
            load.connections.push(connection);
        }
        Ok(load)
    }

    /// Starts to send.
    pub(crate) fn start(&mut self) -> Result<(), LoadError> {
        self.sending = true;
        match self.pattern {
            Pattern::Echo { window_count } => {
                for token in 0..self.connections.len() as u32 {
                    self.ask(token, window_count)?;
                }
            }
            Pattern::Broadcast => self.publish()?,
        }
        Ok(())
    }

    /// Goes on until `enough` says so, at most until the deadline.
    pub(crate) fn run_until(
        &mut self,
        deadline: Instant,
        mut enough: impl FnMut(&Counters, Instant) -> bool,
    ) -> Result<(), LoadError> {
        loop {
            let now = Instant::now();
            if now >= deadline || enough(&self.counters, now) {
                return Ok(());
            }
            // Never asleep: servers shall not pay for waking the client up, which those that
            // keep it busy would be spared.
            self.ring.look()?;
            self.handle_completions()?;
        }
    }

    /// Leaves the server alone for a while.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<(), LoadError> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left)?;
        }
    }

    /// Sends nothing new and waits for what is under way.
    pub(crate) fn drain(&mut self) -> Result<(), LoadError> {
        self.sending = false;
        let deadline = Instant::now() + limits::DRAIN_TIME_MAX;
        while self.outstanding_count > 0 {
            let now = Instant::now();
            if now >= deadline {
                return Err(LoadError::Late(limits::DRAIN_TIME_MAX));
            }
            self.turn(deadline - now)?;
        }
        Ok(())
    }

    /// Waits for the end of all connections, which the server's end brings.
    pub(crate) fn finish(mut self) {
        self.over = true;
        let deadline = Instant::now() + limits::DRAIN_TIME_MAX;
        while self.ring.in_flight_count() > 0 && Instant::now() < deadline {
            if self.turn(Duration::from_millis(100)).is_err() {
                return;
            }
        }
    }

    /// The counters since the last call.
    pub(crate) fn take_counters(&mut self) -> Counters {
        std::mem::replace(&mut self.counters, Counters::new())
    }

    fn turn(&mut self, wait: Duration) -> Result<(), LoadError> {
        self.ring.wait(wait)?;
        self.handle_completions()
    }

    fn handle_completions(&mut self) -> Result<(), LoadError> {
        while let Some(completion) = self.ring.next_completion() {
            match completion {
                Completion::Received {
                    token,
                    buffer,
                    armed,
                } => self.received(token, buffer, armed)?,
                Completion::Sent { token, sent_bytes } => self.sent(token, sent_bytes)?,
                Completion::Accepted { .. } => {}
            }
        }
        for token in std::mem::take(&mut self.starved) {
            let connection = &self.connections[token as usize];
            self.ring.receive(connection.socket(), token)?;
        }
        Ok(())
    }

    fn received(
        &mut self,
        token: u32,
        buffer: io::Result<Option<Buffer>>,
        armed: bool,
    ) -> Result<(), LoadError> {
        let buffer = match buffer {
            Ok(Some(buffer)) => buffer,
            Err(error) if Ring::is_passing(&error) => {
                self.starved.push(token);
                return Ok(());
            }
            _ if self.over => return Ok(()),
            Ok(None) => return Err(LoadError::Closed(token)),
            Err(source) => return Err(LoadError::Connection { token, source }),
        };
        if !armed {
            self.starved.push(token);
        }
        let connection = &mut self.connections[token as usize];
        let echoed = connection
            .verifier
            .take(&self.frames, self.ring.bytes(&buffer));
        self.ring.give_back(buffer);
        let Some(echoed) = echoed else {
            return Err(LoadError::Wrong(token));
        };
        self.counters.echoed_bytes += echoed.bytes as u64;
        if echoed.messages_count == 0 {
            return Ok(());
        }
        let count = echoed.messages_count;
        let now = Instant::now();
        self.counters.messages_count += u64::from(count);
        self.outstanding_count = self
            .outstanding_count
            .checked_sub(u64::from(count))
            .ok_or(LoadError::Wrong(token))?;
        connection
            .arrived(count, now, &mut self.counters.latency)
            .ok_or(LoadError::Wrong(token))?;
        match self.pattern {
            _ if !self.sending => Ok(()),
            Pattern::Echo { .. } => self.ask(token, count),
            Pattern::Broadcast if self.outstanding_count == 0 => self.publish(),
            Pattern::Broadcast => Ok(()),
        }
    }

    fn sent(&mut self, token: u32, sent_bytes: io::Result<usize>) -> Result<(), LoadError> {
        let connection = &mut self.connections[token as usize];
        let expected_bytes = std::mem::take(&mut connection.sending_bytes);
        match sent_bytes {
            _ if self.over => Ok(()),
            Ok(sent_bytes) if sent_bytes == expected_bytes => self.send_owed(token),
            Ok(_) => Err(LoadError::Closed(token)),
            Err(source) => Err(LoadError::Connection { token, source }),
        }
    }

    /// One message from the first connection, which all are to receive.
    fn publish(&mut self) -> Result<(), LoadError> {
        let now = Instant::now();
        for connection in &mut self.connections {
            connection.departed(1, now);
        }
        self.outstanding_count += self.connections.len() as u64;
        self.connections[0].owed_count += 1;
        self.send_owed(0)
    }

    fn ask(&mut self, token: u32, count: u32) -> Result<(), LoadError> {
        self.connections[token as usize].owed_count += count;
        self.outstanding_count += u64::from(count);
        self.send_owed(token)
    }

    /// Sends everything that is owed in one piece, unless a send is in flight.
    fn send_owed(&mut self, token: u32) -> Result<(), LoadError> {
        let connection = &mut self.connections[token as usize];
        if connection.sending_bytes > 0 || connection.owed_count == 0 {
            return Ok(());
        }
        let count = connection.owed_count.min(self.frames.window_count());
        connection.owed_count -= count;
        let bytes = self.frames.window(count);
        connection.sending_bytes = bytes.len();
        if self.pattern != Pattern::Broadcast {
            connection.departed(count, Instant::now());
        }
        self.ring.send(connection.socket(), token, bytes)?;
        Ok(())
    }
}
