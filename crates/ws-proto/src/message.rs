use core::ops::Range;

use bytes::BytesMut;

use crate::{CloseFrame, OpCode, ProtocolError};

/// The type of a message (RFC 6455 §5.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text; received text is validated.
    Text,
    /// Arbitrary bytes.
    Binary,
}

impl From<MessageKind> for OpCode {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }
}

/// Where the unmasked payload of an event lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// In the chunk given to `handle_chunk`, at this range. Nothing was copied.
    Chunk(Range<usize>),
    /// In its own allocation: it came in several chunks or fragments.
    Owned(BytesMut),
}

impl Payload {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Chunk(range) => range.len(),
            Self::Owned(bytes) => bytes.len(),
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes. `chunk` is the chunk that produced the event.
    #[must_use]
    pub fn as_slice<'a>(&'a self, chunk: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Chunk(range) => chunk.get(range.clone()).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// What happened on the connection, in the order of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A whole message arrived; text is valid UTF-8.
    Message {
        /// Text or binary.
        kind: MessageKind,
        /// The unmasked bytes.
        payload: Payload,
    },
    /// The next bytes of a message that is reported piece by piece (`Config::pieces`). The
    /// first piece behind a last one, or behind a whole message, begins a message.
    Piece {
        /// Text or binary. A piece of text may end inside a character.
        kind: MessageKind,
        /// The unmasked bytes; empty only if the message ends with an empty frame.
        payload: Payload,
        /// The message ends with this piece.
        last: bool,
    },
    /// A ping arrived; unless pongs are manual, its pong is queued.
    Ping(Payload),
    /// A pong arrived, asked for or not.
    Pong(Payload),
    /// The peer's Close frame arrived; the reply is queued unless ours was sent before.
    /// `None`: the frame had no body. Nothing more is read after it.
    Close(Option<CloseFrame>),
    /// The connection failed. If the stream is still open, a Close frame is queued: write it,
    /// then close the stream. Nothing more is read after it.
    Failed(ProtocolError),
}
