//! [`Link`]: one connection as its handles and its driver share it.
//!
//! Handles take messages out of the inbox and put messages into the core's queue; whoever waits
//! in `recv` receives. The driver task writes, watches the clock and ends the connection, so all
//! of that goes on whether or not a handle is polled.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use ws_proto::{Connection, Role, SendError};

use crate::chunk::Chunk;
use crate::error::{End, Error};
use crate::inbox::{Inbox, Taken};
use crate::large;
use crate::limits;
use crate::message::Message;
use crate::receiver::{ChunkReceiver, Received};
use crate::stream::Stream;
use crate::writer::Writer;

pub(crate) struct Link {
    pub(crate) core: Connection,
    receiver: ChunkReceiver,
    inbox: Inbox,
    writer: Writer,
    /// Why nothing more is received; set when a handle has seen everything before it.
    end: Option<End>,
    /// Why nothing more can be written.
    write_end: Option<End>,
    /// Nobody wants messages any more: the driver receives and throws them away.
    discarding: bool,
    discarded_bytes: u64,
    /// The socket gave its end or an error: there is nothing more to receive from it.
    received_all: bool,
    /// Our direction of the socket is shut down.
    shut_down: bool,
    finished: bool,
    pub(crate) handles_count: usize,
    /// A message is being sent piece by piece; other messages wait for its end.
    message_open: bool,
    /// Who waits in `recv`.
    reader: Option<Waker>,
    /// Who waits for room in the queue, for an empty queue or for the end.
    waiters: Vec<Waker>,
    driver: Option<Waker>,
    /// The driver has been woken and has not run since: waking it again would do nothing, and
    /// each of many small messages would pay for it.
    driver_woken: Cell<bool>,
}

impl Link {
    pub(crate) fn new(core: Connection, receiver: ChunkReceiver, writer: Writer) -> Self {
        Link {
            core,
            receiver,
            inbox: Inbox::default(),
            writer,
            end: None,
            write_end: None,
            discarding: false,
            discarded_bytes: 0,
            received_all: false,
            shut_down: false,
            finished: false,
            handles_count: 0,
            message_open: false,
            reader: None,
            waiters: Vec::new(),
            driver: None,
            driver_woken: Cell::new(false),
        }
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.receiver.stream()
    }

    /// Takes bytes that were received before the connection was a WebSocket.
    pub(crate) fn feed(&mut self, received: BytesMut) {
        if !received.is_empty() {
            self.inbox.feed(Chunk::from(received));
        }
    }

    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = &self.driver
            && !self.driver_woken.replace(true)
        {
            driver.wake_by_ref();
        }
    }
}

/// What the handles do.
impl Link {
    pub(crate) fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Message, Error>> {
        self.core.set_pieces(false);
        loop {
            // Pieces are the rest of a message that is not wanted any more.
            if let Taken::Message(message) = ready!(self.poll_taken(context))? {
                return Poll::Ready(Ok(message));
            }
        }
    }

    pub(crate) fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<Taken, Error>> {
        self.core.set_pieces(true);
        self.poll_taken(context)
    }

    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<Taken, Error>> {
        loop {
            let popped = self.inbox.pop(&mut self.core);
            if self.core.has_transmit() {
                // Pongs, the answer to a Close, the Close of a failure.
                self.wake_driver();
            }
            match popped {
                Some(Ok(Taken::Message(Message::Close(frame)))) => {
                    self.end = Some(End::Closed(frame.clone()));
                    self.wake_driver();
                    return Poll::Ready(Ok(Taken::Message(Message::Close(frame))));
                }
                Some(Ok(taken)) => return Poll::Ready(Ok(taken)),
                Some(Err(error)) => self.end = Some(End::Protocol(error)),
                None => {}
            }
            if let Some(end) = &self.end {
                self.wake_driver();
                return Poll::Ready(Err(end.into()));
            }
            if self.core.is_receive_over() || self.discarding {
                return Poll::Ready(Err(Error::Closed(None)));
            }
            // Back-pressure reaches the peer: what it does not read, it may not add to. A client
            // goes on, else the two could wait for each other for ever.
            if self.core.role() == Role::Server && self.core.is_above_high_water() {
                self.wait(context);
                return Poll::Pending;
            }
            match self.poll_receive(context) {
                Poll::Pending => {
                    set_waker(&mut self.reader, context);
                    return Poll::Pending;
                }
                Poll::Ready(()) => self.reader = None,
            }
        }
    }

    /// Ready when a message of this size may be queued.
    pub(crate) fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        payload_bytes: usize,
    ) -> Poll<Result<(), Error>> {
        if self.message_open && self.write_end.is_none() && self.core.is_open() {
            self.wait(context);
            return Poll::Pending;
        }
        self.poll_room(context, payload_bytes)
    }

    /// Begins a message whose pieces come one by one; others wait until it is ended.
    pub(crate) fn begin_message(&mut self) {
        assert!(!self.message_open, "one message at a time");
        self.message_open = true;
    }

    pub(crate) fn end_message(&mut self) {
        self.message_open = false;
        self.wake_waiters();
    }

    /// Ready when a control frame or piece of this size may be queued.
    pub(crate) fn poll_room(
        &mut self,
        context: &mut Context<'_>,
        payload_bytes: usize,
    ) -> Poll<Result<(), Error>> {
        if let Some(end) = &self.write_end {
            return Poll::Ready(Err(end.into()));
        }
        if !self.core.is_open() {
            return Poll::Ready(Err(self.closed()));
        }
        if self.core.is_above_high_water() || !self.core.has_room_for(payload_bytes) {
            self.wait(context);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues what `queue` gives to the core; the driver writes it.
    pub(crate) fn queue(
        &mut self,
        queue: impl FnOnce(&mut Connection) -> Result<(), SendError>,
    ) -> Result<(), Error> {
        if !self.core.has_transmit()
            && let Some(buffer) = take_write_buffer()
        {
            self.core.recycle(buffer);
        }
        match queue(&mut self.core) {
            Ok(()) => {
                self.wake_driver();
                Ok(())
            }
            Err(SendError::Closed) => Err(self.closed()),
            Err(error) => Err(Error::Unsendable(error)),
        }
    }

    /// Ready when everything queued is written.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(end) = &self.write_end {
            return Poll::Ready(Err(end.into()));
        }
        if self.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        self.wait(context);
        Poll::Pending
    }

    /// Nobody will take messages any more.
    pub(crate) fn discard(&mut self) {
        self.discarding = true;
        self.empty_inbox();
        self.wake_driver();
    }

    /// Ready when the closing handshake and the socket are done.
    pub(crate) fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.finished {
            self.wait(context);
            return Poll::Pending;
        }
        Poll::Ready(match (&self.end, self.core.failure()) {
            (Some(end @ End::Io { .. }), _) => Err(end.into()),
            (_, Some(error)) => Err(Error::Protocol(error)),
            _ => Ok(()),
        })
    }

    fn closed(&self) -> Error {
        match (&self.end, self.core.failure()) {
            (Some(end), _) => end.into(),
            (None, Some(error)) => Error::Protocol(error),
            (None, None) => Error::Closed(None),
        }
    }

    fn wait(&mut self, context: &mut Context<'_>) {
        let waker = context.waker();
        if !self.waiters.iter().any(|waiter| waiter.will_wake(waker)) {
            self.waiters.push(waker.clone());
        }
    }
}

/// Receiving.
impl Link {
    /// Ready when something was received and given to the core, or nothing more will come.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.receiver.is_armed()
            && !self.received_all
            && let Some(lent) = self.core.take_receive_buffer_with(large::take)
        {
            self.receiver.arm_into(lent.bytes, lent.limit);
        }
        let received = self.receiver.poll_recv(context);
        if self.writer.has_pending() {
            // What encrypts may have an answer of its own.
            self.wake_driver();
        }
        match ready!(received) {
            Ok(Received::Chunk(chunk)) if self.core.is_receive_over() => {
                self.discarded_bytes += chunk.len() as u64;
            }
            Ok(Received::Chunk(chunk)) => self.inbox.feed(chunk),
            Ok(Received::Buffer { buffer, .. }) => {
                if let Some(event) = self.core.handle_receive_buffer(buffer) {
                    self.inbox.push(event);
                }
            }
            Ok(Received::End) => {
                self.received_all = true;
                if let Some(event) = self.core.handle_eof() {
                    self.inbox.push(event);
                }
            }
            Err(error) => {
                self.received_all = true;
                if self.core.handle_eof().is_some() {
                    self.end = Some(End::from(&error));
                }
            }
        }
        Poll::Ready(())
    }
}

/// What the driver does.
impl Link {
    pub(crate) fn set_driver(&mut self, context: &mut Context<'_>) {
        self.driver_woken.set(false);
        set_waker(&mut self.driver, context);
    }

    /// Writes until the kernel takes no more or nothing is queued.
    pub(crate) fn poll_writes(&mut self, context: &mut Context<'_>) {
        loop {
            if self.writer.is_busy() {
                match self.writer.poll(context) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(buffer)) => {
                        buffer.into_iter().for_each(keep_write_buffer);
                        self.wake_waiters();
                    }
                    Poll::Ready(Err(error)) => {
                        self.write_end.get_or_insert_with(|| End::from(&error));
                        self.wake_waiters();
                    }
                }
            }
            match self.core.poll_transmit() {
                None if self.write_end.is_none() && self.writer.start_pending() => {}
                None => return,
                Some(_) if self.write_end.is_some() => {}
                Some(transmit) => self.writer.start(transmit),
            }
        }
    }

    /// Once nobody takes messages: receives and discards to the end of the stream, so that the
    /// last bytes written are not destroyed by a reset. Ready when the socket is done with.
    pub(crate) fn poll_ending(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while (self.discarding || self.core.is_receive_over()) && !self.received_all {
            if self.discarded_bytes > limits::DISCARDED_BYTES_MAX {
                self.received_all = true;
            } else if self.poll_receive(context).is_pending() {
                break;
            }
            if self.discarding {
                self.empty_inbox();
            }
        }
        // What was received may have queued an answer.
        self.poll_writes(context);
        if !self.is_flushed() {
            return Poll::Pending;
        }
        if self.core.is_finished() && !self.shut_down {
            if self.stream().close_session() {
                self.poll_writes(context);
                if !self.is_flushed() {
                    return Poll::Pending;
                }
            }
            self.shut_down = true;
            // An error says that the connection is gone already.
            let _ = self.stream().shutdown(Shutdown::Write);
        }
        if self.received_all && (self.shut_down || self.write_end.is_some()) {
            self.finish();
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Acts on a deadline that is due. False: it counts later, because the peer may have spoken
    /// and nobody has looked.
    pub(crate) fn handle_deadline(&mut self, now_ms: u64) -> bool {
        if self.core.is_open() {
            if !self.inbox.is_empty() {
                return false;
            }
            let reader = self.reader.clone().unwrap_or_else(|| Waker::noop().clone());
            if self
                .poll_receive(&mut Context::from_waker(&reader))
                .is_ready()
            {
                self.wake_reader();
                return true;
            }
        }
        if let Some(event) = self.core.handle_timeout(now_ms) {
            self.inbox.push(event);
            self.wake_reader();
        }
        true
    }

    /// Gives up: the deadline of the closing handshake has passed.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        let _ = self.stream().shutdown(Shutdown::Both);
        self.wake_reader();
        self.wake_waiters();
    }

    /// Parses and forgets; the peer's Close must still be seen.
    fn empty_inbox(&mut self) {
        while self.inbox.pop(&mut self.core).is_some() {}
    }

    fn is_flushed(&self) -> bool {
        let is_idle = !(self.writer.is_busy() || self.writer.has_pending());
        self.write_end.is_some() || is_idle && !self.core.has_transmit()
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_waiters(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            waiter.wake();
        }
    }
}

fn set_waker(slot: &mut Option<Waker>, context: &mut Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(context.waker()),
        None => *slot = Some(context.waker().clone()),
    }
}

thread_local! {
    // Buffers for small outgoing frames; a connection owns one only while it is written.
    static WRITE_BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

fn take_write_buffer() -> Option<BytesMut> {
    WRITE_BUFFERS.with_borrow_mut(Vec::pop)
}

fn keep_write_buffer(buffer: BytesMut) {
    WRITE_BUFFERS.with_borrow_mut(|buffers| {
        let fits = buffer.capacity() <= limits::WRITE_BUFFER_BYTES_KEPT_MAX;
        if fits && buffers.len() < limits::WRITE_BUFFERS_KEPT_MAX {
            buffers.push(buffer);
        }
    });
}
