//! [`Inbox`]: the chunk that is being parsed.
//!
//! A chunk is parsed message by message as they are taken, so that the answer to each is queued
//! before the next frame is looked at: a later frame may close or fail the connection. Parsing
//! unmasks in place and needs the chunk alone, while messages handed out are slices of it. They
//! mostly are gone by then; where one is kept, the rest of the chunk is copied once and the
//! messages in it are copied out.

use std::ops::Range;
use std::rc::Rc;

use bytes::BytesMut;
use ws_proto::{Connection, Event, MessageKind, ProtocolError};

use crate::chunk::Chunk;
use crate::message::{Message, Payload, Text};
use crate::pieces::Piece;

#[derive(Default)]
pub(crate) struct Inbox {
    current: Current,
    position: usize,
    /// An event whose payload lies in no chunk; behind the chunk's.
    event: Option<Box<Event>>,
}

/// What the connection gives next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Message(Message),
    /// Part of a message that does not lie whole in a chunk.
    Piece(Piece),
}

#[derive(Default)]
enum Current {
    #[default]
    Nothing,
    /// Messages that are slices of it may have been handed out.
    Chunk(Rc<Chunk>),
    /// A copy, because a message of the original is kept.
    Copied(BytesMut),
}

impl Inbox {
    /// Whether there is certainly nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.current, Current::Nothing) && self.event.is_none()
    }

    /// Keeps `chunk` to be parsed.
    ///
    /// # Panics
    /// If the last one is not used up.
    pub(crate) fn feed(&mut self, chunk: Chunk) {
        assert!(
            matches!(self.current, Current::Nothing),
            "one chunk is used up before the next"
        );
        self.current = Current::Chunk(Rc::new(chunk));
        self.position = 0;
    }

    /// Keeps an event whose payload lies in no chunk. The connection gives no second one while
    /// the first is not taken; a failure replaces it.
    pub(crate) fn push(&mut self, event: Event) {
        self.event = Some(Box::new(event));
    }

    /// The next message, if it lies whole in the chunk and nobody has kept one of it: the common
    /// case by the shortest way. `None` says nothing about what there is.
    #[inline]
    pub(crate) fn pop_whole(&mut self, core: &mut Connection) -> Option<Message> {
        let Current::Chunk(shared) = &mut self.current else {
            return None;
        };
        let chunk = Rc::get_mut(shared)?;
        let bytes: &mut [u8] = chunk;
        let length = bytes.len();
        let (kind, range) = core.take_whole_message(bytes, &mut self.position)?;
        let payload = if self.position < length {
            Payload::slice(shared.clone(), range)
        } else {
            self.slice(range)
        };
        Some(match kind {
            MessageKind::Text => Message::Text(Text::validated(payload)),
            MessageKind::Binary => Message::Binary(payload),
        })
    }

    /// The next message or piece, or the failure that ends the connection.
    pub(crate) fn pop(&mut self, core: &mut Connection) -> Option<Result<Taken, ProtocolError>> {
        let Some(event) = self.parse(core) else {
            self.current = Current::Nothing;
            return self.event.take().map(|event| self.taken(*event));
        };
        Some(self.taken(event))
    }

    #[inline]
    fn parse(&mut self, core: &mut Connection) -> Option<Event> {
        match &mut self.current {
            Current::Nothing => None,
            Current::Chunk(chunk) => match Rc::get_mut(chunk) {
                Some(chunk) => core.handle_chunk(chunk, &mut self.position),
                None => self.parse_copy(core),
            },
            Current::Copied(bytes) => core.handle_chunk(bytes, &mut self.position),
        }
    }

    /// Goes on with a copy of the rest: a message of the chunk is kept, and parsing changes it.
    #[cold]
    fn parse_copy(&mut self, core: &mut Connection) -> Option<Event> {
        if let Current::Chunk(chunk) = &self.current {
            self.current = Current::Copied(BytesMut::from(&chunk[self.position..]));
            self.position = 0;
        }
        self.parse(core)
    }

    fn taken(&mut self, event: Event) -> Result<Taken, ProtocolError> {
        Ok(Taken::Message(match event {
            Event::Message {
                kind: MessageKind::Text,
                payload,
            } => Message::Text(Text::validated(self.payload(payload))),
            Event::Message {
                kind: MessageKind::Binary,
                payload,
            } => Message::Binary(self.payload(payload)),
            Event::Ping(payload) => Message::Ping(self.payload(payload)),
            Event::Pong(payload) => Message::Pong(self.payload(payload)),
            Event::Close(frame) => Message::Close(frame),
            Event::Piece {
                kind,
                payload,
                last,
            } => {
                let payload = self.payload(payload);
                return Ok(Taken::Piece(Piece {
                    kind,
                    payload,
                    last,
                }));
            }
            Event::Failed(error) => return Err(error),
            other => unreachable!("an event that this driver does not know: {other:?}"),
        }))
    }

    fn payload(&mut self, payload: ws_proto::Payload) -> Payload {
        match payload {
            ws_proto::Payload::Owned(bytes) => bytes.into(),
            ws_proto::Payload::Chunk(range) => self.slice(range),
        }
    }

    /// Hands out part of the chunk: the last holder with the last one.
    #[inline]
    fn slice(&mut self, range: Range<usize>) -> Payload {
        match &self.current {
            Current::Nothing => unreachable!("the event came out of the chunk"),
            Current::Chunk(chunk) if self.position < chunk.len() => {
                Payload::slice(chunk.clone(), range)
            }
            Current::Chunk(_) => match std::mem::take(&mut self.current) {
                Current::Chunk(chunk) => Payload::slice(chunk, range),
                _ => unreachable!("matched above"),
            },
            Current::Copied(bytes) => BytesMut::from(&bytes[range]).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unmasked frames, as a server sends them to the client under test.
    fn frames(count: u8) -> Chunk {
        let frames = (0..count).flat_map(|index| [0x82, 2, index, index]);
        Chunk::from(frames.collect::<BytesMut>())
    }

    fn client() -> Connection {
        Connection::client(ws_proto::Config::default(), || [1, 2, 3, 4])
    }

    fn take(inbox: &mut Inbox, core: &mut Connection) -> Option<Payload> {
        inbox
            .pop(core)
            .map(|taken| match taken.expect("no failure") {
                Taken::Message(message) => message.into_payload().expect("a payload"),
                Taken::Piece(piece) => piece.payload,
            })
    }

    #[test]
    fn messages_are_slices_of_the_chunk_while_none_is_kept() {
        let (mut inbox, mut core) = (Inbox::default(), client());
        let chunk = frames(3);
        let address = chunk.as_ptr() as usize;
        inbox.feed(chunk);
        for index in 0..3 {
            let payload = take(&mut inbox, &mut core).expect("a message");
            assert_eq!(payload[..], [index, index]);
            assert_eq!(
                payload.as_ptr() as usize,
                address + 4 * usize::from(index) + 2
            );
        }
        assert!(inbox.is_empty());
        assert!(take(&mut inbox, &mut core).is_none());
    }

    #[test]
    fn kept_messages_stay_as_they_were() {
        let (mut inbox, mut core) = (Inbox::default(), client());
        inbox.feed(frames(200));
        let mut kept = Vec::new();
        while let Some(payload) = take(&mut inbox, &mut core) {
            kept.push(payload);
        }
        assert_eq!(kept.len(), 200);
        for (index, payload) in kept.iter().enumerate() {
            assert_eq!(payload[..], [index as u8, index as u8]);
        }
    }

    #[test]
    fn a_pushed_event_comes_behind_the_chunk() {
        let (mut inbox, mut core) = (Inbox::default(), client());
        inbox.feed(frames(1));
        inbox.push(Event::Failed(ProtocolError::IdleTimeout));
        assert!(take(&mut inbox, &mut core).is_some());
        assert_eq!(inbox.pop(&mut core), Some(Err(ProtocolError::IdleTimeout)));
        assert!(inbox.is_empty());
    }
}
