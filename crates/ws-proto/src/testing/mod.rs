//! Tools for tests of this crate and of crates that drive it: an in-memory pair of
//! connections, reproducible dice, and fuzz functions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

pub mod fuzz;
pub mod pair;

use alloc::string::String;
use alloc::vec::Vec;

#[cfg(feature = "deflate")]
use crate::deflate::{Options, Session};
#[cfg(feature = "deflate")]
use crate::handshake::{
    ClientHandshake, ClientOptions, ClientVerdict, HandshakeLimits, ServerHandshake, ServerOptions,
    ServerVerdict,
};
use crate::{CloseFrame, Connection, Event, MessageKind, Payload, ProtocolError, Transmit};

/// Pseudo-random numbers that a seed repeats (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// That many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll() as u8).collect()
    }
}

/// A masking key for tests; real ones are unpredictable.
#[must_use]
pub fn test_masking_key() -> [u8; 4] {
    [0x37, 0xFA, 0x21, 0x3D]
}

/// What both ends have in force when a client with these options meets a server with those.
///
/// # Panics
/// If they do not agree on compression.
#[cfg(feature = "deflate")]
#[must_use]
pub fn deflate_sessions(client: Options, server: Options) -> (Session, Session) {
    let mut client_options = ClientOptions::new("a", "/");
    client_options.deflate = Some(client);
    let mut client = ClientHandshake::new(client_options, [1; 16]).unwrap();
    let ServerVerdict::Upgrade(upgrade) =
        ServerHandshake::new(HandshakeLimits::DEFAULT).handle_bytes(&client.request())
    else {
        panic!("the request is no upgrade");
    };
    let server_options = ServerOptions {
        deflate: Some(server),
        ..ServerOptions::default()
    };
    let accepted = upgrade.accept(&server_options).unwrap();
    let Ok(ClientVerdict::Accepted(verdict)) = client.handle_bytes(&accepted.response) else {
        panic!("the response was not accepted: {:?}", accepted.response);
    };
    (verdict.deflate.unwrap(), accepted.deflate.unwrap())
}

/// An event whose payload was copied out of its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A piece of a message, and whether it is the last one.
    Piece(Vec<u8>, bool),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The peer's Close frame.
    Close(Option<CloseFrame>),
    /// The connection failed.
    Failed(ProtocolError),
}

impl Seen {
    /// Copies an event that came from `chunk`.
    ///
    /// # Panics
    /// If a text message is not UTF-8: the core promises that.
    #[must_use]
    pub fn copy(event: &Event, chunk: &[u8]) -> Self {
        let bytes = |payload: &Payload| payload.as_slice(chunk).to_vec();
        match event {
            Event::Message { kind, payload } => match kind {
                MessageKind::Text => Self::Text(String::from_utf8(bytes(payload)).unwrap()),
                MessageKind::Binary => Self::Binary(bytes(payload)),
            },
            Event::Piece { payload, last, .. } => Self::Piece(bytes(payload), *last),
            Event::Ping(payload) => Self::Ping(bytes(payload)),
            Event::Pong(payload) => Self::Pong(bytes(payload)),
            Event::Close(frame) => Self::Close(frame.clone()),
            Event::Failed(error) => Self::Failed(*error),
        }
    }
}

/// Gives one chunk to a connection and returns all events of it.
///
/// # Panics
/// If the core says that it is done with the chunk and is not.
pub fn feed(connection: &mut Connection, chunk: &[u8]) -> Vec<Seen> {
    let mut chunk = chunk.to_vec();
    let mut position = 0;
    let mut seen = Vec::new();
    while let Some(event) = connection.handle_chunk(&mut chunk, &mut position) {
        assert!(position <= chunk.len());
        seen.push(Seen::copy(&event, &chunk));
    }
    assert_eq!(position, chunk.len(), "the chunk was not used up");
    seen
}

/// Everything that a connection has to write, as one piece.
pub fn drain(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(transmit) = connection.poll_transmit() {
        match transmit {
            Transmit::Contiguous(part) => bytes.extend_from_slice(&part),
            Transmit::Vectored(parts) => {
                for part in parts {
                    assert!(!part.is_empty(), "an empty part");
                    bytes.extend_from_slice(&part);
                }
            }
        }
    }
    bytes
}

/// One frame as bytes, for peers that do not behave. The header may be wrong on purpose.
#[must_use]
pub fn raw_frame(first_byte: u8, masking_key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mask_bit = u8::from(masking_key.is_some()) << 7;
    let mut frame = alloc::vec![first_byte];
    match payload.len() {
        short @ 0..126 => frame.push(mask_bit | short as u8),
        medium @ 126..65_536 => {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(mask_bit | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let key = masking_key.unwrap_or_default();
    if masking_key.is_some() {
        frame.extend_from_slice(&key);
    }
    let masked = payload.iter().enumerate();
    frame.extend(masked.map(|(index, byte)| byte ^ key[index % 4]));
    frame
}

/// A frame as a client sends it.
#[must_use]
pub fn client_frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    raw_frame(first_byte, Some(test_masking_key()), payload)
}
