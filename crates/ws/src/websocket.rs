//! The handles of a connection: [`WebSocket`], [`Receiver`] and [`Sender`].

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use ws_proto::{CloseCode, CloseFrame, Connection, MessageKind, PreparedMessage, SendError};

use crate::error::Error;
use crate::link::Link;
use crate::message::{Message, Payload, Text};
use crate::receiver::ChunkReceiver;
use crate::writer::Writer;

/// A WebSocket whose opening handshake is done.
///
/// What is queued is written, kept alive and closed in the background, whether or not a handle is
/// polled. When the last handle of a connection is dropped, what is
/// queued is still written and the peer is told that this side goes away, within the close
/// timeout.
#[derive(Debug)]
pub struct WebSocket {
    pub(crate) handle: Handle,
    subprotocol: Option<Box<str>>,
}

/// The receiving half of a [`WebSocket`].
#[derive(Debug)]
pub struct Receiver {
    pub(crate) handle: Handle,
}

/// The sending half of a [`WebSocket`]; clones send on the same connection.
#[derive(Debug, Clone)]
pub struct Sender {
    pub(crate) handle: Handle,
}

impl WebSocket {
    /// Makes the handle of a connection whose opening handshake is done. `received` is what
    /// came behind the handshake.
    pub(crate) fn start(
        core: Connection,
        receiver: ChunkReceiver,
        writer: Writer,
        received: BytesMut,
        subprotocol: Option<String>,
    ) -> Self {
        let link = Link::start(core, receiver, writer, received);
        WebSocket {
            handle: Handle::new(link),
            subprotocol: subprotocol.map(Into::into),
        }
    }

    /// Waits for the next message.
    ///
    /// Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// While more than the high-water mark is queued to send, a server receives nothing: a peer
    /// that does not read is not read. A client always receives; two ends that wait for each
    /// other to read would wait for ever.
    ///
    /// # Errors
    /// After the peer's [`Message::Close`], after [`close`](Self::close) and after a failure each
    /// further call says again why the connection ended.
    pub async fn recv(&mut self) -> Result<Message, Error> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// [`recv`](Self::recv) for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        self.handle.link.borrow_mut().poll_message(context)
    }

    /// From now on a frame that announces at most so many payload bytes gets its memory at once.
    ///
    /// Without this the memory of a large payload grows with what arrives of it, because a peer
    /// may announce anything. Whoever has asked for the payload, as a client has, and would have
    /// the memory in any case spares itself the growing.
    pub fn reserve_announced(&mut self, payload_bytes_max: usize) {
        let mut link = self.handle.link.borrow_mut();
        link.reserve_announced(payload_bytes_max);
    }

    /// Queues a message; waits only while the queue is above its high-water mark.
    ///
    /// The first message behind one that was received is written at once, if no other has been
    /// received yet: mostly it is the whole answer. Everything else leaves as soon as the task
    /// waits for something: what is queued until then leaves in one write.
    /// [`flush`](Self::flush) waits until it has left. A [`Message::Close`] starts the closing
    /// handshake without waiting for its end.
    ///
    /// Cancel-safe: a dropped future has queued the whole message or nothing of it.
    ///
    /// # Errors
    /// When the connection is closed for sending, or the message can never be sent.
    pub fn send<M: Into<Message>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, M> {
        self.handle.send(message.into())
    }

    /// Queues one message whose payload is `parts` in order, without copying large ones.
    ///
    /// # Errors
    /// As [`send`](Self::send). The parts of a text message must be UTF-8 together: this is not
    /// checked.
    pub async fn send_parts(&self, kind: MessageKind, parts: Vec<Bytes>) -> Result<(), Error> {
        self.handle.send_parts(kind, parts).await
    }

    /// Queues one message that is not compressed although that was agreed on: for payloads that do
    /// not shrink, and for secrets beside text of a stranger's choice. Text must be UTF-8: this is
    /// not checked.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_uncompressed(
        &self,
        kind: MessageKind,
        payload: impl Into<Bytes>,
    ) -> Result<(), Error> {
        self.handle.send_uncompressed(kind, payload.into()).await
    }

    /// Queues a message that was encoded once for many connections; a server shares its bytes.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_prepared(&self, message: &PreparedMessage) -> Result<(), Error> {
        self.handle.send_prepared(message).await
    }

    /// Waits until everything queued is given to the kernel.
    ///
    /// # Errors
    /// When writing fails.
    pub async fn flush(&self) -> Result<(), Error> {
        self.handle.flush().await
    }

    /// Closes: writes what is queued and a Close frame, discards what still arrives and waits
    /// for the end of the closing handshake and of the byte stream, at most the close timeout.
    ///
    /// Once polled it goes on in the background when the future is dropped.
    ///
    /// # Errors
    /// If the code or reason may not be sent, or the peer did not finish the handshake.
    pub async fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.handle.close(code, reason).await
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Bytes queued and not known to be written.
    pub fn queued_bytes(&self) -> usize {
        self.handle.link.borrow().core.queued_bytes()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// If the socket has none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.handle.link.borrow().stream().peer_addr()
    }

    /// A handle that sends on this connection.
    pub fn sender(&self) -> Sender {
        Sender {
            handle: self.handle.clone(),
        }
    }

    /// Two halves for two tasks of this thread. The connection is closed when the receiver and
    /// all senders are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (
            Sender {
                handle: self.handle.clone(),
            },
            Receiver {
                handle: self.handle,
            },
        )
    }
}

impl Receiver {
    /// See [`WebSocket::recv`].
    ///
    /// # Errors
    /// See [`WebSocket::recv`].
    pub async fn recv(&mut self) -> Result<Message, Error> {
        poll_fn(|context| self.handle.link.borrow_mut().poll_message(context)).await
    }
}

impl Sender {
    /// See [`WebSocket::send`].
    ///
    /// # Errors
    /// See [`WebSocket::send`].
    pub fn send<M: Into<Message>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, M> {
        self.handle.send(message.into())
    }

    /// See [`WebSocket::send_parts`].
    ///
    /// # Errors
    /// See [`WebSocket::send_parts`].
    pub async fn send_parts(&self, kind: MessageKind, parts: Vec<Bytes>) -> Result<(), Error> {
        self.handle.send_parts(kind, parts).await
    }

    /// See [`WebSocket::send_uncompressed`].
    ///
    /// # Errors
    /// See [`WebSocket::send_uncompressed`].
    pub async fn send_uncompressed(
        &self,
        kind: MessageKind,
        payload: impl Into<Bytes>,
    ) -> Result<(), Error> {
        self.handle.send_uncompressed(kind, payload.into()).await
    }

    /// See [`WebSocket::send_prepared`].
    ///
    /// # Errors
    /// See [`WebSocket::send_prepared`].
    pub async fn send_prepared(&self, message: &PreparedMessage) -> Result<(), Error> {
        self.handle.send_prepared(message).await
    }

    /// Queues like [`send_prepared`](Self::send_prepared), or not at all: for a broadcast that
    /// does not wait for slow listeners.
    ///
    /// # Errors
    /// [`SendError::QueueFull`] or [`SendError::MessageOpen`] as [`Error::Unsendable`] where
    /// `send_prepared` would wait, else its errors.
    pub fn try_send_prepared(&self, message: &PreparedMessage) -> Result<(), Error> {
        self.handle.try_send_prepared(message)
    }

    /// See [`WebSocket::flush`].
    ///
    /// # Errors
    /// See [`WebSocket::flush`].
    pub async fn flush(&self) -> Result<(), Error> {
        self.handle.flush().await
    }

    /// See [`WebSocket::close`]. The receiver gets no more messages.
    ///
    /// # Errors
    /// See [`WebSocket::close`].
    pub async fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        self.handle.close(code, reason).await
    }
}

/// One of the handles; the last one that is dropped lets the connection go.
pub(crate) struct Handle {
    pub(crate) link: Rc<RefCell<Link>>,
}

impl Handle {
    fn new(link: Rc<RefCell<Link>>) -> Self {
        link.borrow_mut().handles_count += 1;
        Handle { link }
    }

    fn send(&self, message: Message) -> Sending<'_> {
        Sending {
            handle: self,
            message: Some(message),
        }
    }

    async fn send_parts(&self, kind: MessageKind, parts: Vec<Bytes>) -> Result<(), Error> {
        self.turn(parts.iter().map(Bytes::len).sum()).await?;
        self.link
            .borrow_mut()
            .queue(|core| core.send_parts(kind, parts))
    }

    async fn send_uncompressed(&self, kind: MessageKind, payload: Bytes) -> Result<(), Error> {
        self.turn(payload.len()).await?;
        self.link
            .borrow_mut()
            .queue(|core| core.send_uncompressed(kind, payload))
    }

    async fn send_prepared(&self, message: &PreparedMessage) -> Result<(), Error> {
        self.turn(message.payload().len()).await?;
        self.link
            .borrow_mut()
            .queue(|core| core.send_prepared(message))
    }

    fn try_send_prepared(&self, message: &PreparedMessage) -> Result<(), Error> {
        let mut link = self.link.borrow_mut();
        let mut context = Context::from_waker(Waker::noop());
        match link.poll_turn(&mut context, message.payload().len()) {
            Poll::Ready(turn) => turn?,
            Poll::Pending if link.core.is_above_high_water() => {
                return Err(Error::Unsendable(SendError::QueueFull));
            }
            Poll::Pending => {}
        }
        link.queue(|core| core.send_prepared(message))
    }

    /// Waits for the turn of a message: for room, and for the end of one in pieces.
    pub(crate) async fn turn(&self, payload_bytes: usize) -> Result<(), Error> {
        poll_fn(|context| self.link.borrow_mut().poll_turn(context, payload_bytes)).await
    }

    pub(crate) async fn room(&self, payload_bytes: usize) -> Result<(), Error> {
        poll_fn(|context| self.link.borrow_mut().poll_room(context, payload_bytes)).await
    }

    async fn flush(&self) -> Result<(), Error> {
        poll_fn(|context| self.link.borrow_mut().poll_flush(context)).await
    }

    fn start_close(&self, frame: Option<&CloseFrame>) -> Result<(), Error> {
        self.link.borrow_mut().queue(|core| core.close(frame))
    }

    async fn close(&self, code: CloseCode, reason: &str) -> Result<(), Error> {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        match self.start_close(Some(&frame)) {
            Err(error @ Error::Unsendable(_)) => return Err(error),
            // Begun or over already: then only the end is left to wait for.
            _ => self.link.borrow_mut().discard(),
        }
        poll_fn(|context| self.link.borrow_mut().poll_finished(context)).await
    }
}

/// A message that waits for its turn. By hand, because it is part of every connection's task: as
/// an `async fn` it would keep three copies of the message.
struct Sending<'a> {
    handle: &'a Handle,
    message: Option<Message>,
}

impl Future for Sending<'_> {
    type Output = Result<(), Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self.handle;
        let link = &mut *handle.link.borrow_mut();
        // In place: moving a message costs as much as queueing it.
        let queued = match &self.message {
            Some(Message::Binary(payload)) => link.queue_short(MessageKind::Binary, payload),
            Some(Message::Text(text)) => link.queue_short(MessageKind::Text, text.payload()),
            _ => false,
        };
        if queued {
            self.message = None;
            return Poll::Ready(Ok(()));
        }
        let message = self.message.take().expect("polled after it was ready");
        let is_ping = matches!(message, Message::Ping(_));
        let (kind, payload) = match message {
            Message::Binary(payload) => (MessageKind::Binary, payload),
            Message::Text(text) => (MessageKind::Text, text.into_payload()),
            Message::Close(frame) => {
                return Poll::Ready(link.queue(|core| core.close(frame.as_ref())));
            }
            Message::Ping(payload) | Message::Pong(payload) => {
                if link.poll_room(context, payload.len())?.is_pending() {
                    self.message = Some(match is_ping {
                        true => Message::Ping(payload),
                        false => Message::Pong(payload),
                    });
                    return Poll::Pending;
                }
                return Poll::Ready(link.queue(|core| match is_ping {
                    true => core.send_ping(&payload),
                    false => core.send_pong(&payload),
                }));
            }
        };
        if !link.may_queue(payload.len()) && link.poll_turn(context, payload.len())?.is_pending() {
            self.message = Some(match kind {
                MessageKind::Binary => Message::Binary(payload),
                MessageKind::Text => Message::Text(Text::validated(payload)),
            });
            return Poll::Pending;
        }
        Poll::Ready(link.queue_data(kind, payload))
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        Handle::new(self.link.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut link = self.link.borrow_mut();
        link.handles_count -= 1;
        if link.handles_count > 0 {
            return;
        }
        let code = if std::thread::panicking() {
            CloseCode::INTERNAL_ERROR
        } else {
            CloseCode::GOING_AWAY
        };
        // Closed already: then only the end is left to happen.
        let _ = link.core.close(Some(&CloseFrame {
            code,
            reason: String::new(),
        }));
        link.discard();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Handle")
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Message::Text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::text(text)
    }
}

impl From<Payload> for Message {
    fn from(payload: Payload) -> Self {
        Message::Binary(payload)
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Message::binary(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Message::binary(payload)
    }
}
