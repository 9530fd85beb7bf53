//! [`Inbox`]: what one receive brought and nobody has taken yet.
//!
//! A chunk is parsed to its end when it arrives, because parsing unmasks in place and needs the
//! chunk alone; afterwards its messages share it. The inbox is filled only when it is empty, so
//! it holds at most the messages of one chunk.

use std::collections::VecDeque;
use std::rc::Rc;

use ws_proto::{Connection, Event, MessageKind, ProtocolError};

use crate::chunk::Chunk;
use crate::message::{Message, Payload, Text};

#[derive(Default)]
pub(crate) struct Inbox {
    // Mostly a receive brings one message: that one needs no queue.
    first: Option<Event>,
    rest: VecDeque<Event>,
    /// The chunk in which the payloads of these events lie.
    chunk: Option<Rc<Chunk>>,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Parses `chunk` and keeps its events.
    pub(crate) fn feed(&mut self, core: &mut Connection, mut chunk: Chunk) {
        debug_assert!(
            self.is_empty(),
            "the events of one chunk are taken before the next"
        );
        let mut position = 0;
        let mut in_chunk = false;
        while let Some(event) = core.handle_chunk(&mut chunk, &mut position) {
            in_chunk |= matches!(
                &event,
                Event::Message {
                    payload: ws_proto::Payload::Chunk(_),
                    ..
                } | Event::Ping(ws_proto::Payload::Chunk(_))
                    | Event::Pong(ws_proto::Payload::Chunk(_))
            );
            self.push(event);
        }
        self.chunk = in_chunk.then(|| Rc::new(chunk));
    }

    /// Keeps an event whose payload lies in no chunk.
    pub(crate) fn push(&mut self, event: Event) {
        match self.first {
            None => self.first = Some(event),
            Some(_) => self.rest.push_back(event),
        }
    }

    /// The next message, or the failure that ends the connection.
    pub(crate) fn pop(&mut self) -> Option<Result<Message, ProtocolError>> {
        let event = self.first.take()?;
        self.first = self.rest.pop_front();
        let chunk = if self.first.is_some() {
            self.chunk.clone()
        } else {
            // A connection that waits keeps no memory of the last burst.
            self.rest = VecDeque::new();
            self.chunk.take()
        };
        let payload = |payload| match (payload, chunk) {
            (ws_proto::Payload::Owned(bytes), _) => Payload::from(bytes),
            (ws_proto::Payload::Chunk(range), Some(chunk)) => Payload::of_chunk(chunk, range),
            (ws_proto::Payload::Chunk(_), None) => unreachable!("the chunk stays with its events"),
        };
        Some(Ok(match event {
            Event::Message {
                kind: MessageKind::Text,
                payload: bytes,
            } => Message::Text(Text::validated(payload(bytes))),
            Event::Message {
                kind: MessageKind::Binary,
                payload: bytes,
            } => Message::Binary(payload(bytes)),
            Event::Ping(bytes) => Message::Ping(payload(bytes)),
            Event::Pong(bytes) => Message::Pong(payload(bytes)),
            Event::Close(frame) => Message::Close(frame),
            Event::Failed(error) => return Some(Err(error)),
            other => unreachable!("an event that this driver does not know: {other:?}"),
        }))
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Inbox::default();
    }
}
