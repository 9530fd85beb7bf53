//! Messages larger than memory: received as [`Part`]s, sent through a [`MessageWriter`].

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use ws_proto::{CloseCode, CloseFrame, MessageKind};

use crate::error::Error;
use crate::inbox::Taken;
use crate::message::{Message, Payload};
use crate::websocket::{Handle, Receiver, Sender, WebSocket};

/// What [`WebSocket::recv_part`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The next bytes of a message.
    Piece(Piece),
    /// A ping, a pong or the Close, which may come between the pieces (RFC 6455 §5.4).
    Control(Message),
}

/// The next bytes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Text or binary. Text is checked, but a piece may end inside a character.
    pub kind: MessageKind,
    /// The bytes. As long as a chunk of the runtime; what a chunk inflates to where compression
    /// was agreed on. Empty only if the message ends with an empty frame.
    pub payload: Payload,
    /// The message ends with this piece.
    pub last: bool,
}

impl From<Taken> for Part {
    fn from(taken: Taken) -> Self {
        let (kind, payload) = match taken {
            Taken::Piece(piece) => return Part::Piece(piece),
            Taken::Message(Message::Text(text)) => (MessageKind::Text, text.into_payload()),
            Taken::Message(Message::Binary(payload)) => (MessageKind::Binary, payload),
            Taken::Message(control) => return Part::Control(control),
        };
        Part::Piece(Piece {
            kind,
            payload,
            last: true,
        })
    }
}

impl WebSocket {
    /// Waits for the next bytes of a message, for messages larger than memory: nothing is
    /// assembled. Raise the limits with
    /// [`Config::streamed_bytes_max`](crate::Config::streamed_bytes_max).
    ///
    /// Cancel-safe, and under back-pressure, as [`recv`](Self::recv). The two may be mixed: a
    /// message that `recv` has begun to assemble comes as one piece, and `recv` discards the rest
    /// of a message of which a piece was taken.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). A message whose last piece never came is not whole.
    pub async fn recv_part(&mut self) -> Result<Part, Error> {
        poll_fn(|context| self.poll_recv_part(context)).await
    }

    /// [`recv_part`](Self::recv_part) for hand-written futures.
    pub fn poll_recv_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Part, Error>> {
        self.handle.poll_part(context)
    }

    /// Begins a message whose length need not be known.
    ///
    /// Waits until no other message is being sent piece by piece; meanwhile other messages wait
    /// for this one, so a task that holds the writer must not send another message.
    ///
    /// # Errors
    /// When the connection is closed for sending.
    pub async fn send_in_pieces(&self, kind: MessageKind) -> Result<MessageWriter, Error> {
        MessageWriter::begin(&self.handle, kind).await
    }
}

impl Receiver {
    /// See [`WebSocket::recv_part`].
    ///
    /// # Errors
    /// See [`WebSocket::recv_part`].
    pub async fn recv_part(&mut self) -> Result<Part, Error> {
        poll_fn(|context| self.handle.poll_part(context)).await
    }
}

impl Sender {
    /// See [`WebSocket::send_in_pieces`].
    ///
    /// # Errors
    /// See [`WebSocket::send_in_pieces`].
    pub async fn send_in_pieces(&self, kind: MessageKind) -> Result<MessageWriter, Error> {
        MessageWriter::begin(&self.handle, kind).await
    }
}

impl Handle {
    fn poll_part(&self, context: &mut Context<'_>) -> Poll<Result<Part, Error>> {
        let taken = ready!(self.link.borrow_mut().poll_part(context))?;
        Poll::Ready(Ok(taken.into()))
    }
}

/// A message that is sent piece by piece.
///
/// Pings, pongs and the Close are sent between its pieces; other messages wait for its end. When
/// it is dropped between the first byte and [`finish`](Self::finish), the connection is closed
/// with 1011: there is no other way to say that the message is not whole.
#[derive(Debug)]
pub struct MessageWriter {
    handle: Handle,
    kind: MessageKind,
    /// A piece of it was queued: now it has to end.
    is_begun: bool,
    is_finished: bool,
}

impl MessageWriter {
    async fn begin(handle: &Handle, kind: MessageKind) -> Result<Self, Error> {
        poll_fn(|context| {
            let mut link = handle.link.borrow_mut();
            ready!(link.poll_turn(context, 0))?;
            link.begin_message();
            Poll::Ready(Ok::<(), Error>(()))
        })
        .await?;
        Ok(MessageWriter {
            handle: handle.clone(),
            kind,
            is_begun: false,
            is_finished: false,
        })
    }

    /// Queues the next bytes, in a frame of their own; waits only while the queue is above its
    /// high-water mark, so memory stays bounded by the mark and one piece. Text may be cut
    /// anywhere, but must be UTF-8 as a whole: this is not checked. Pieces are not compressed.
    ///
    /// Cancel-safe: a dropped future has queued all of the piece or nothing of it.
    ///
    /// # Errors
    /// When the connection is closed for sending.
    ///
    /// # Panics
    /// If the message is finished.
    pub async fn write(&mut self, piece: impl Into<Payload>) -> Result<(), Error> {
        assert!(!self.is_finished, "the message is finished");
        let piece = piece.into();
        self.handle.room(piece.len()).await?;
        let is_empty = piece.is_empty();
        self.queue(piece.into_bytes(), false)?;
        self.is_begun |= !is_empty;
        Ok(())
    }

    /// Ends the message. Calling it again does nothing.
    ///
    /// Cancel-safe: when the future is dropped, the message is ended or still open.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(&mut self) -> Result<(), Error> {
        if self.is_finished {
            return Ok(());
        }
        self.handle.room(0).await?;
        self.queue(Bytes::new(), true)?;
        self.end();
        Ok(())
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    fn queue(&self, piece: Bytes, last: bool) -> Result<(), Error> {
        let mut link = self.handle.link.borrow_mut();
        link.queue(|core| core.send_piece(self.kind, piece, last))
    }

    fn end(&mut self) {
        self.is_finished = true;
        self.handle.link.borrow_mut().end_message();
    }
}

impl Drop for MessageWriter {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        self.end();
        if !self.is_begun {
            return;
        }
        let mut link = self.handle.link.borrow_mut();
        // Closed already: then the peer knows that it is not whole.
        let _ = link.queue(|core| {
            core.close(Some(&CloseFrame {
                code: CloseCode::INTERNAL_ERROR,
                reason: String::new(),
            }))
        });
    }
}
