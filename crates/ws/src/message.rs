//! What is sent and received: [`Message`] and its [`Payload`].

use std::fmt;
use std::ops::{Deref, Range};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use compio_send_wrapper::SendWrapper;
use ws_proto::CloseFrame;

use crate::chunk::Chunk;

/// A WebSocket message or control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text.
    Text(Text),
    /// Arbitrary bytes.
    Binary(Payload),
    /// A ping; unless the configuration says otherwise, its pong is already queued.
    Ping(Payload),
    /// A pong, asked for or not.
    Pong(Payload),
    /// The peer closes; the reply is already queued. Nothing is received after it.
    Close(Option<CloseFrame>),
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<String>) -> Self {
        Message::Text(Text::from(text.into()))
    }

    /// A binary message.
    pub fn binary(payload: impl Into<Payload>) -> Self {
        Message::Binary(payload.into())
    }

    /// Whether it is text or binary, not a control frame.
    pub fn is_data(&self) -> bool {
        matches!(self, Message::Text(_) | Message::Binary(_))
    }

    /// The payload of everything but a Close.
    pub fn into_payload(self) -> Option<Payload> {
        match self {
            Message::Text(text) => Some(text.payload),
            Message::Binary(payload) | Message::Ping(payload) | Message::Pong(payload) => {
                Some(payload)
            }
            Message::Close(_) => None,
        }
    }
}

/// A payload that is valid UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    payload: Payload,
}

impl Text {
    /// Text that the protocol core has validated.
    pub(crate) fn validated(payload: Payload) -> Self {
        Text { payload }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("validated when it was received or made")
    }

    /// The bytes of the text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.payload
    }

    /// The payload.
    pub fn into_payload(self) -> Payload {
        self.payload
    }

    #[inline]
    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text {
            payload: text.into_bytes().into(),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text {
            payload: text.as_bytes().to_vec().into(),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Text({} bytes)", self.payload.len())
    }
}

/// The bytes of a message.
///
/// A received payload is either a part of the chunk that brought it, uncopied, or an allocation
/// of its own. A part of a chunk keeps the whole chunk occupied: what lives long should be
/// [`into_bytes`](Self::into_bytes).
pub struct Payload {
    storage: Storage,
}

enum Storage {
    Bytes(Bytes),
    BytesMut(BytesMut),
    Chunk(Slice),
}

/// Part of a chunk. Short, because messages are moved about.
#[derive(Clone)]
struct Slice {
    chunk: Rc<Chunk>,
    start: u32,
    end: u32,
}

impl Deref for Slice {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.chunk[self.start as usize..self.end as usize]
    }
}

/// A slice as a part of a write. It never leaves the thread: the connection is bound to it.
struct Part(SendWrapper<Slice>);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        // `Bytes` asks once, while it is made.
        self.0.get().expect("the thread that it was made on")
    }
}

impl Payload {
    /// Part of a chunk.
    #[inline]
    pub(crate) fn slice(chunk: Rc<Chunk>, range: Range<usize>) -> Self {
        debug_assert!(range.end <= chunk.len() && u32::try_from(range.end).is_ok());
        Payload {
            storage: Storage::Chunk(Slice {
                chunk,
                start: range.start as u32,
                end: range.end as u32,
            }),
        }
    }

    /// How many bytes it has.
    #[inline]
    #[expect(
        clippy::len_without_is_empty,
        reason = "of the slice that it dereferences to"
    )]
    pub fn len(&self) -> usize {
        match &self.storage {
            Storage::Bytes(bytes) => bytes.len(),
            Storage::BytesMut(bytes) => bytes.len(),
            Storage::Chunk(slice) => (slice.end - slice.start) as usize,
        }
    }

    /// The bytes in an allocation of their own: moved where they own one, copied otherwise.
    pub fn into_bytes(self) -> Bytes {
        match self.storage {
            Storage::Bytes(bytes) => bytes,
            Storage::BytesMut(bytes) => bytes.freeze(),
            Storage::Chunk(slice) => Bytes::copy_from_slice(&slice),
        }
    }

    /// Like [`into_bytes`](Self::into_bytes), to change them.
    pub fn into_bytes_mut(self) -> BytesMut {
        match self.storage {
            Storage::Bytes(bytes) => bytes.into(),
            Storage::BytesMut(bytes) => bytes,
            Storage::Chunk(slice) => BytesMut::from(&slice[..]),
        }
    }

    /// The bytes if they own their allocation.
    #[inline]
    pub(crate) fn try_into_bytes(self) -> Result<Bytes, Payload> {
        match self.storage {
            Storage::Bytes(bytes) => Ok(bytes),
            Storage::BytesMut(bytes) => Ok(bytes.freeze()),
            Storage::Chunk(_) => Err(self),
        }
    }

    /// Whether the bytes lie in a chunk.
    #[inline]
    pub(crate) fn is_slice(&self) -> bool {
        matches!(self.storage, Storage::Chunk(_))
    }

    /// Whether the bytes lie in a chunk that nobody else needs.
    pub(crate) fn has_own_chunk(&self) -> bool {
        matches!(&self.storage, Storage::Chunk(slice) if Rc::strong_count(&slice.chunk) == 1)
    }

    /// The bytes for a write of this thread, uncopied. They keep their chunk occupied.
    pub(crate) fn into_part(self) -> Bytes {
        match self.storage {
            Storage::Bytes(bytes) => bytes,
            Storage::BytesMut(bytes) => bytes.freeze(),
            Storage::Chunk(slice) => Bytes::from_owner(Part(SendWrapper::new(slice))),
        }
    }
}

/// Shares the bytes, unless they are still to be changed.
impl Clone for Payload {
    fn clone(&self) -> Self {
        let storage = match &self.storage {
            Storage::Bytes(bytes) => Storage::Bytes(bytes.clone()),
            Storage::BytesMut(bytes) => Storage::BytesMut(bytes.clone()),
            Storage::Chunk(slice) => Storage::Chunk(slice.clone()),
        };
        Payload { storage }
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.storage {
            Storage::Bytes(bytes) => bytes,
            Storage::BytesMut(bytes) => bytes,
            Storage::Chunk(slice) => slice,
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Payload {
            storage: Storage::Bytes(bytes),
        }
    }
}

impl From<BytesMut> for Payload {
    fn from(bytes: BytesMut) -> Self {
        Payload {
            storage: Storage::BytesMut(bytes),
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl<const N: usize> From<&'static [u8; N]> for Payload {
    fn from(bytes: &'static [u8; N]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Payload({} bytes)", self.len())
    }
}
