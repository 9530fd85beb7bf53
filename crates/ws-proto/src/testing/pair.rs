//! A client and a server joined by two wires that cut anywhere.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Dice, Seen, drain, test_masking_key};
use crate::{Config, Connection};

/// How a wire cuts the bytes that it carries into chunks.
#[derive(Debug, Clone)]
pub enum Cut {
    /// All at once.
    Never,
    /// Chunks of this many bytes.
    Every(usize),
    /// Once, after this many bytes of the wire's life.
    At(usize),
    /// Chunks of random length, mostly short.
    Dice(Dice),
}

/// One end with its half of the wire.
#[derive(Debug)]
pub struct Endpoint {
    /// The connection under test.
    pub connection: Connection,
    /// Everything that it reported.
    pub seen: Vec<Seen>,
    /// Bytes on the way to it.
    wire: VecDeque<u8>,
    /// Bytes that it has received.
    received_bytes: usize,
    cut: Cut,
    /// Whether large payloads go through the lent receive buffer.
    direct: bool,
}

impl Endpoint {
    fn new(connection: Connection, cut: Cut) -> Self {
        Self {
            connection,
            seen: Vec::new(),
            wire: VecDeque::new(),
            received_bytes: 0,
            cut,
            direct: true,
        }
    }

    /// Receives chunks until the wire is empty.
    fn receive_all(&mut self) {
        while !self.wire.is_empty() {
            let length = self.next_chunk_bytes();
            let lent = self.direct.then(|| self.connection.take_receive_buffer());
            if let Some(Some(mut buffer)) = lent {
                let length = length.min(buffer.limit);
                let capacity = buffer.bytes.capacity();
                buffer.bytes.extend(self.wire.drain(..length));
                assert_eq!(buffer.bytes.capacity(), capacity, "the limit was not spare");
                let event = self.connection.handle_receive_buffer(buffer.bytes);
                self.seen.extend(event.map(|event| Seen::copy(&event, &[])));
                self.received_bytes += length;
                continue;
            }
            let chunk: Vec<u8> = self.wire.drain(..length).collect();
            self.received_bytes += length;
            self.seen.extend(super::feed(&mut self.connection, &chunk));
        }
    }

    fn next_chunk_bytes(&mut self) -> usize {
        let available = self.wire.len();
        let wanted = match &mut self.cut {
            Cut::Never => available,
            Cut::Every(bytes) => *bytes,
            Cut::At(position) if *position > self.received_bytes => *position - self.received_bytes,
            Cut::At(_) => available,
            Cut::Dice(dice) => match dice.below(4) {
                0 => 1,
                1 => 1 + dice.below(8),
                2 => 1 + dice.below(200),
                _ => 1 + dice.below(40_000),
            },
        };
        wanted.clamp(1, available)
    }
}

/// Two connected ends.
#[derive(Debug)]
pub struct Pair {
    /// The end that masks.
    pub client: Endpoint,
    /// The other end.
    pub server: Endpoint,
}

impl Pair {
    /// A pair with default options whose wires cut in this way.
    #[must_use]
    pub fn new(cut: Cut) -> Self {
        Self::with_config(Config::default(), cut)
    }

    /// A pair in which both ends have these options.
    #[must_use]
    pub fn with_config(config: Config, cut: Cut) -> Self {
        let client = Connection::client(config.clone(), test_masking_key);
        Self {
            client: Endpoint::new(client, cut.clone()),
            server: Endpoint::new(Connection::server(config), cut),
        }
    }

    /// Receives everything through chunks, as a driver that does not lend buffers.
    #[must_use]
    pub fn without_direct_receive(mut self) -> Self {
        self.client.direct = false;
        self.server.direct = false;
        self
    }

    /// Carries bytes both ways until neither end has anything to say.
    pub fn run(&mut self) {
        loop {
            let to_server = drain(&mut self.client.connection);
            let to_client = drain(&mut self.server.connection);
            if to_server.is_empty() && to_client.is_empty() {
                return;
            }
            self.server.wire.extend(to_server);
            self.client.wire.extend(to_client);
            self.server.receive_all();
            self.client.receive_all();
        }
    }
}
