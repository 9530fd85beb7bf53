//! [`Link`]: one connection as its handles, the attendant and its driver share it.
//!
//! Handles take messages out of the inbox and put messages into the core's queue. Whoever waits
//! in `recv` receives, and writes what is queued before. All that has to go on whether or not a
//! handle is polled is the business of the thread's [`Attendant`]: it writes at the end of the
//! turn what has not left by then, watches the clock, and starts a driver for what takes longer.

use std::cell::RefCell;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::BytesMut;
use ws_proto::{Connection, MessageKind, Role, SendError};

use crate::attendant::Attendant;
use crate::chunk::Chunk;
use crate::clock::now_ms;
use crate::error::{End, Error};
use crate::inbox::{Inbox, Taken};
use crate::large;
use crate::limits;
use crate::message::{Message, Payload};
use crate::receiver::{ChunkReceiver, Received};
use crate::stream::Stream;
use crate::writer::Writer;

pub(crate) struct Link {
    pub(crate) core: Connection,
    receiver: ChunkReceiver,
    inbox: Inbox,
    writer: Writer,
    /// Why nothing more is received; set when a handle has seen everything before it.
    end: Option<Box<End>>,
    /// Why nothing more can be written.
    write_end: Option<Box<End>>,
    /// Nobody wants messages any more: the driver receives and throws them away.
    discarding: bool,
    discarded_bytes: u64,
    /// Most memory for a payload that is there before its bytes are.
    reserved_bytes_max: usize,
    /// The socket gave its end or an error: there is nothing more to receive from it.
    received_all: bool,
    /// Our direction of the socket is shut down.
    shut_down: bool,
    finished: bool,
    pub(crate) handles_count: usize,
    /// A message is being sent piece by piece; other messages wait for its end.
    message_open: bool,
    /// Who waits in `recv`, or waited last.
    reader: Option<Waker>,
    reader_waits: bool,
    /// Who waits for room in the queue, for an empty queue or for the end.
    waiters: Vec<Waker>,
    /// Chunks are queued to be written; they go back to the pool before the turn ends.
    lends_chunks: bool,
    attendant: Rc<Attendant>,
    /// The connection as the attendant gets it.
    shared: Weak<RefCell<Link>>,
    /// The attendant will look at it.
    listed: bool,
    /// A message was handed out, and nothing was sent since then.
    answer_is_due: bool,
    /// A driver has been started and has not ended.
    has_driver: bool,
    driver: Option<Waker>,
}

/// The parts of the shorter of the two silence limits in which silence is measured.
const TICKS_PER_SILENCE: u64 = 4;

impl Link {
    /// A connection whose opening handshake is done; `received` came behind it.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn start(
        core: Connection,
        receiver: ChunkReceiver,
        writer: Writer,
        received: BytesMut,
    ) -> Rc<RefCell<Self>> {
        let shared = Rc::new_cyclic(|shared: &Weak<RefCell<Link>>| {
            RefCell::new(Link {
                core,
                receiver,
                inbox: Inbox::default(),
                writer,
                end: None,
                write_end: None,
                discarding: false,
                discarded_bytes: 0,
                reserved_bytes_max: 0,
                received_all: false,
                shut_down: false,
                finished: false,
                handles_count: 0,
                message_open: false,
                reader: None,
                reader_waits: false,
                waiters: Vec::new(),
                lends_chunks: false,
                attendant: Attendant::current(),
                shared: shared.clone(),
                listed: false,
                answer_is_due: false,
                has_driver: false,
                driver: None,
            })
        });
        let link = &mut *shared.borrow_mut();
        if !received.is_empty() {
            link.inbox.feed(Chunk::from(received));
        }
        let now_ms = now_ms();
        if let Some(deadline_ms) = link.core.poll_timeout(now_ms) {
            let at_ms = deadline_ms.min(now_ms + link.tick_ms());
            link.attendant.set_alarm(at_ms, link.shared.clone());
        }
        shared.clone()
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.receiver.stream()
    }

    /// Lets the attendant look at the connection before the turn ends.
    #[inline]
    fn summon(&mut self) {
        if !std::mem::replace(&mut self.listed, true)
            && let Some(shared) = self.shared.upgrade()
        {
            self.attendant.attend(shared);
        }
    }
}

/// What the handles do.
impl Link {
    #[inline]
    pub(crate) fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Message, Error>> {
        if let Some(message) = self.inbox.pop_whole(&mut self.core) {
            self.answer_is_due = true;
            return Poll::Ready(Ok(message));
        }
        if self.feed_waiting()
            && let Some(message) = self.inbox.pop_whole(&mut self.core)
        {
            self.answer_is_due = true;
            return Poll::Ready(Ok(message));
        }
        self.poll_any_message(context)
    }

    /// Takes a chunk that is there, if it certainly is the next to be looked at.
    #[inline]
    fn feed_waiting(&mut self) -> bool {
        let is_next = self.inbox.is_empty()
            && self.core.is_between_messages()
            && self.end.is_none()
            && !self.discarding
            && !self.core.is_above_high_water();
        if !is_next {
            return false;
        }
        let Some(chunk) = self.receiver.take_waiting() else {
            return false;
        };
        self.reader_waits = false;
        self.inbox.feed(chunk);
        true
    }

    fn poll_any_message(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Error>> {
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
            if popped.is_some() {
                self.answer_is_due = true;
                if self.core.has_transmit() {
                    // Pongs, the answer to a Close, the Close of a failure.
                    self.summon();
                }
            }
            match popped {
                Some(Ok(Taken::Message(Message::Close(frame)))) => {
                    self.end = Some(Box::new(End::Closed(frame.clone())));
                    self.summon();
                    return Poll::Ready(Ok(Taken::Message(Message::Close(frame))));
                }
                Some(Ok(taken)) => return Poll::Ready(Ok(taken)),
                Some(Err(error)) => self.end = Some(Box::new(End::Protocol(error))),
                None => {}
            }
            if self.end.is_some() {
                self.summon();
            }
            if let Some(end) = &self.end {
                return Poll::Ready(Err((&**end).into()));
            }
            if self.core.is_receive_over() || self.discarding {
                return Poll::Ready(Err(Error::Closed(None)));
            }
            // Back-pressure reaches the peer: what it does not read, it may not add to. A client
            // goes on, else the two could wait for each other for ever.
            if self.core.role() == Role::Server && self.core.is_above_high_water() {
                self.write_now();
                if self.core.is_above_high_water() {
                    self.receiver.pause();
                    self.wait(context);
                    return Poll::Pending;
                }
            }
            if self.poll_receive(context).is_pending() {
                // Everything that was answered to what had been received leaves in one write.
                self.write_now();
                set_waker(&mut self.reader, context);
                self.reader_waits = true;
                return Poll::Pending;
            }
            self.reader_waits = false;
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
            return Poll::Ready(Err((&**end).into()));
        }
        if !self.core.is_open() {
            return Poll::Ready(Err(self.closed()));
        }
        if self.has_room_for(payload_bytes) {
            return Poll::Ready(Ok(()));
        }
        self.write_now();
        if self.has_room_for(payload_bytes) {
            return Poll::Ready(Ok(()));
        }
        self.wait(context);
        Poll::Pending
    }

    fn has_room_for(&self, payload_bytes: usize) -> bool {
        !self.core.is_above_high_water() && self.core.has_room_for(payload_bytes)
    }

    /// What was queued leaves at once if it answers the last message that is here, else when the
    /// task waits for something: then with everything that is queued by then.
    fn send_off(&mut self) {
        let is_answer = std::mem::take(&mut self.answer_is_due);
        if is_answer && !self.listed && self.inbox.is_empty() && !self.receiver.has_waiting() {
            self.write_now();
            if !self.core.has_transmit() && !self.needs_driver() {
                return;
            }
        }
        self.summon();
    }

    /// Queues what `queue` gives to the core.
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
                self.send_off();
                Ok(())
            }
            Err(SendError::Closed) => Err(self.closed()),
            Err(error) => Err(Error::Unsendable(error)),
        }
    }

    /// Whether [`poll_turn`](Self::poll_turn) would be ready at once.
    #[inline]
    pub(crate) fn may_queue(&self, payload_bytes: usize) -> bool {
        self.write_end.is_none()
            && self.core.is_open()
            && !self.message_open
            && self.has_room_for(payload_bytes)
    }

    /// Queues a copy of a short message behind others of this turn: the common case by the
    /// shortest way. False, and nothing changed: it is for [`queue_data`](Self::queue_data).
    #[inline]
    pub(crate) fn queue_short(&mut self, kind: MessageKind, payload: &Payload) -> bool {
        // What is listed leaves before the turn ends.
        self.listed
            && self.write_end.is_none()
            && !self.message_open
            && self.core.try_send_short(kind, payload)
    }

    /// Queues a message. One that is the rest of its chunk and not small is written out of it.
    #[inline]
    pub(crate) fn queue_data(&mut self, kind: MessageKind, payload: Payload) -> Result<(), Error> {
        let small = payload.len() <= self.core.config().limits.coalesce_bytes_max;
        if small && payload.is_slice() {
            return self.queue(|core| core.send_copied(kind, &payload));
        }
        self.queue_large(kind, payload)
    }

    fn queue_large(&mut self, kind: MessageKind, payload: Payload) -> Result<(), Error> {
        let payload = match payload.try_into_bytes() {
            Ok(bytes) => return self.queue(|core| core.send(kind, bytes)),
            Err(payload) => payload,
        };
        let plain = self.core.role() == Role::Server && self.stream().filter().is_none();
        if !plain || self.writer.is_busy() || !payload.has_own_chunk() {
            return self.queue(|core| core.send_copied(kind, &payload));
        }
        self.lends_chunks = true;
        self.queue(|core| core.send(kind, payload.into_part()))
    }

    /// Ready when everything queued is written.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.write_now();
        if let Some(end) = &self.write_end {
            return Poll::Ready(Err((&**end).into()));
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
        self.summon();
    }

    /// Ready when the closing handshake and the socket are done.
    pub(crate) fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.finished {
            self.wait(context);
            return Poll::Pending;
        }
        Poll::Ready(match (self.end.as_deref(), self.core.failure()) {
            (Some(end @ End::Io { .. }), _) => Err(end.into()),
            (_, Some(error)) => Err(Error::Protocol(error)),
            _ => Ok(()),
        })
    }

    pub(crate) fn reserve_announced(&mut self, payload_bytes_max: usize) {
        self.reserved_bytes_max = payload_bytes_max;
    }

    fn closed(&self) -> Error {
        match (self.end.as_deref(), self.core.failure()) {
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
        let reserved_bytes_max = self.reserved_bytes_max;
        let spare = |payload_bytes| {
            let is_reserved = payload_bytes <= reserved_bytes_max;
            let reserve = || is_reserved.then(|| BytesMut::with_capacity(payload_bytes));
            large::take(payload_bytes).or_else(reserve)
        };
        if !self.receiver.is_armed()
            && !self.received_all
            && let Some(lent) = self.core.take_receive_buffer_with(spare)
        {
            self.receiver.arm_into(lent.bytes, lent.limit);
        }
        let received = self.receiver.poll_recv(context);
        if self.writer.has_pending() {
            // What encrypts may have an answer of its own.
            self.summon();
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
                    self.end = Some(Box::new(End::from(&error)));
                }
            }
        }
        Poll::Ready(())
    }
}

/// Writing.
impl Link {
    /// Writes what the socket takes at once. The rest is for the driver, and so is everything
    /// while a write is in flight.
    fn write_now(&mut self) {
        if self.writer.is_busy() || !(self.core.has_transmit() || self.writer.has_pending()) {
            return;
        }
        loop {
            let written = match self.core.poll_transmit() {
                Some(_) if self.write_end.is_some() => continue,
                Some(transmit) => {
                    let lends_chunks = std::mem::take(&mut self.lends_chunks);
                    self.writer.write_now(transmit, lends_chunks)
                }
                None if self.write_end.is_none() && self.writer.has_pending() => {
                    self.writer.write_pending_now().map(|()| None)
                }
                None => break,
            };
            match written {
                Ok(buffer) => buffer.into_iter().for_each(keep_write_buffer),
                Err(error) => self.write_end = Some(Box::new(End::from(&error))),
            }
            if self.writer.is_busy() {
                self.summon();
                return;
            }
        }
        self.wake_waiters();
    }

    /// Goes on with what is in flight, then writes until the kernel takes no more or nothing is
    /// queued.
    pub(crate) fn poll_writes(&mut self, context: &mut Context<'_>) {
        loop {
            self.write_now();
            if !self.writer.is_busy() {
                return;
            }
            let Poll::Ready(written) = self.writer.poll(context) else {
                return;
            };
            match written {
                Ok(buffer) => buffer.into_iter().for_each(keep_write_buffer),
                Err(error) => {
                    self.write_end
                        .get_or_insert_with(|| Box::new(End::from(&error)));
                }
            }
            // What was in flight counts as written only now.
            if !self.core.has_transmit() {
                self.core.poll_transmit();
            }
            self.wake_waiters();
        }
    }
}

/// What the attendant does.
impl Link {
    /// Does what is left to do at the end of the turn. True: a driver is to be started.
    pub(crate) fn attend(&mut self) -> bool {
        self.listed = false;
        self.write_now();
        // It looks itself after what it has just summoned.
        if !self.needs_driver() {
            return false;
        }
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
        !std::mem::replace(&mut self.has_driver, true)
    }

    /// Looks at the clock of an open connection. When to look again.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Option<u64> {
        if self.finished || !self.core.is_open() {
            // The driver looks at the clock of its end.
            return None;
        }
        let tick_ms = now_ms + self.tick_ms();
        let is_due = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if is_due(self.core.poll_timeout(now_ms)) && !self.handle_deadline(now_ms) {
            return Some(tick_ms);
        }
        self.summon();
        // After a ping nothing may be due until the peer has spoken, which the next tick sees.
        Some(match self.core.poll_timeout(now_ms) {
            Some(next_ms) if next_ms > now_ms => next_ms.min(tick_ms),
            _ => tick_ms,
        })
    }

    fn tick_ms(&self) -> u64 {
        let limits = &self.core.config().limits;
        let silence_ms = limits
            .keep_alive_ms
            .into_iter()
            .chain(limits.idle_timeout_ms)
            .min();
        (silence_ms.unwrap_or(u64::from(u32::MAX)) / TICKS_PER_SILENCE).max(1)
    }
}

/// What the driver does.
impl Link {
    /// Whether something goes on without a handle.
    pub(crate) fn needs_driver(&self) -> bool {
        !self.finished && (self.writer.is_busy() || self.discarding || !self.core.is_open())
    }

    pub(crate) fn set_driver(&mut self, context: &mut Context<'_>) {
        set_waker(&mut self.driver, context);
    }

    pub(crate) fn drop_driver(&mut self) {
        self.driver = None;
        self.has_driver = false;
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
            if !self.inbox.is_empty() || self.receiver.has_waiting() {
                return false;
            }
            let reader = match &self.reader {
                Some(reader) if self.reader_waits => reader.clone(),
                _ => Waker::noop().clone(),
            };
            let received = self.poll_receive(&mut Context::from_waker(&reader));
            if !self.reader_waits {
                self.receiver.unwait();
            }
            if received.is_ready() {
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

    /// Gives up after a panic. Its state is not to be trusted any more: what was received is not
    /// delivered and what is queued is not written.
    fn abandon(&mut self) {
        self.inbox = Inbox::default();
        self.received_all = true;
        self.end.get_or_insert_with(|| Box::new(End::Panic));
        self.write_end.get_or_insert_with(|| Box::new(End::Panic));
        self.finish();
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
        if std::mem::take(&mut self.reader_waits)
            && let Some(reader) = &self.reader
        {
            reader.wake_by_ref();
        }
    }

    fn wake_waiters(&mut self) {
        if !self.waiters.is_empty() {
            self.waiters.drain(..).for_each(Waker::wake);
        }
    }
}

/// Does what a connection needs while none of its handles calls. A panic in it fails this
/// connection; the other ones that the caller serves never hear of it.
pub(crate) fn contained<T>(link: &RefCell<Link>, work: impl FnOnce(&mut Link) -> T) -> Option<T> {
    // What the panic leaves behind is only abandoned.
    let done = catch_unwind(AssertUnwindSafe(|| work(&mut link.borrow_mut())));
    if done.is_err() {
        link.borrow_mut().abandon();
    }
    done.ok()
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
