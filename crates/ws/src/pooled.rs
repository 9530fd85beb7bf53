//! [`Pooled`]: receiving into the runtime's provided-buffer ring, by one operation of io_uring
//! that goes on for as long as the connection lives.
//!
//! The operation is our own, so that its completions come straight to the connection: no
//! allocation, submission or future for a message. It ends when it is stopped, when the pool is
//! dry and at the end of the stream.
//!
//! The chunks that arrive while nobody asks for them are bounded: beyond
//! [`limits::CHUNKS_WAITING_MAX`] the thread's attendant stops the operation.

#![expect(unsafe_code, reason = "operations of the ring are unsafe to implement")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use compio_buf::{BufResult, SetLen};
use compio_driver::{BufferPool, Decision, Extra, IourOpCode, OpEntry, PollOpCode, SharedFd};
use compio_runtime::{Runtime, SubmitMulti};
use futures_util::Stream;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use rustix::io::Errno;
use socket2::Socket;

use crate::attendant::Attendant;
use crate::chunk::Chunk;
use crate::{limits, reserve};

/// The group of the runtime's buffer ring; the pool's self-test proves it.
const BUFFER_GROUP: u16 = 1;

/// What the operation of one connection brought, shared with the operation.
pub(crate) struct Pooled {
    state: RefCell<State>,
    /// In flight. The operation holds this object, so it must be taken out to end the circle.
    submit: RefCell<Option<SubmitMulti<Operation>>>,
}

#[derive(Default)]
struct State {
    /// Most of the time at most one chunk waits, which then needs no memory of its own.
    first: Option<Chunk>,
    #[expect(clippy::box_collection, reason = "mostly there is none")]
    further: Option<Box<VecDeque<Chunk>>>,
    end: Option<End>,
    waker: Option<Waker>,
    /// Somebody waits for the next chunk.
    awaited: bool,
    /// Until the last completion.
    in_flight: bool,
    /// Stops it when too much waits.
    attendant: Option<Rc<Attendant>>,
}

/// Why the operation is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer sends no more.
    Stream,
    /// It was stopped or the kernel ended it: there may be more to receive.
    Stopped,
    /// The pool is dry, the kernel cannot do it, or the connection broke.
    Failed(io::Error),
}

/// What [`Pooled::poll_next`] gives.
#[derive(Debug)]
pub(crate) enum Next {
    Chunk(Chunk),
    Over(End),
}

impl Pooled {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Pooled {
            state: RefCell::default(),
            submit: RefCell::default(),
        })
    }

    /// Starts to receive: one chunk, or chunk after chunk.
    ///
    /// # Panics
    /// If it receives already.
    pub(crate) fn start(
        self: &Rc<Self>,
        fd: SharedFd<Socket>,
        attendant: &Rc<Attendant>,
        once: bool,
    ) -> io::Result<()> {
        let operation = Operation {
            fd,
            pool: Runtime::with_current(Runtime::buffer_pool)?,
            pooled: self.clone(),
            once,
        };
        {
            let state = &mut *self.state.borrow_mut();
            assert!(!state.in_flight, "one receive at a time");
            state.in_flight = true;
            if !once {
                state.attendant = Some(attendant.clone());
            }
        }
        let mut submit = compio_runtime::submit_multi(operation);
        // Only hands the operation over. What comes of it, an error included, comes to `finish`.
        let _ = Pin::new(&mut submit).poll_next(&mut Context::from_waker(Waker::noop()));
        *self.submit.borrow_mut() = Some(submit);
        Ok(())
    }

    /// Whether the last completion of an operation is still to come.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.state.borrow().in_flight
    }

    /// Whether a chunk or the end can be taken without waiting.
    pub(crate) fn has_waiting(&self) -> bool {
        let state = self.state.borrow();
        state.first.is_some() || state.end.is_some()
    }

    /// Ends the operation soon. What it received until then comes out of
    /// [`poll_next`](Self::poll_next), and then [`End::Stopped`].
    pub(crate) fn stop(&self) {
        let Some(submit) = self.submit.take() else {
            return;
        };
        if self.is_in_flight() {
            make_room_in_the_queue();
        }
        drop(submit);
    }

    /// Nobody waits any more for what comes.
    pub(crate) fn unwait(&self) {
        self.state.borrow_mut().awaited = false;
    }

    /// The next chunk, if it is here.
    #[inline]
    pub(crate) fn take_waiting(&self) -> Option<Chunk> {
        self.state.borrow_mut().take_waiting()
    }

    /// The next chunk, or how the operation ended.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<Next> {
        let state = &mut *self.state.borrow_mut();
        if let Some(chunk) = state.take_waiting() {
            return Poll::Ready(Next::Chunk(chunk));
        }
        if let Some(end) = state.end.take() {
            // The last completion is here: there is nothing left to cancel.
            self.submit.take();
            return Poll::Ready(Next::Over(end));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => state.waker = Some(context.waker().clone()),
        }
        state.awaited = true;
        Poll::Pending
    }

    fn push(self: &Rc<Self>, chunk: Chunk) {
        let state = &mut *self.state.borrow_mut();
        let mut further_count = 0;
        if state.first.is_none() {
            state.first = Some(chunk);
        } else {
            let further = state.further.get_or_insert_default();
            further.push_back(chunk);
            further_count = further.len();
        }
        if state.awaited {
            state.wake();
        } else if further_count >= limits::CHUNKS_WAITING_MAX
            && let Some(attendant) = state.attendant.take()
        {
            attendant.stop_soon(self.clone());
        }
    }

    fn finish(&self, end: End) {
        let state = &mut *self.state.borrow_mut();
        state.end = Some(end);
        state.in_flight = false;
        state.attendant = None;
        state.wake();
    }
}

impl State {
    #[inline]
    fn take_waiting(&mut self) -> Option<Chunk> {
        let chunk = self.first.take()?;
        if let Some(further) = &mut self.further {
            self.first = further.pop_front();
            if self.first.is_none() {
                self.further = None;
            }
        }
        Some(chunk)
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.awaited)
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }
}

/// A full submission queue would swallow the cancellation, and the operation would go on.
fn make_room_in_the_queue() {
    let _ = Runtime::try_with_current(|runtime| {
        if runtime.flush() {
            // It took a notification that the runtime has to see itself.
            runtime.waker().wake();
        }
    });
}

/// What the kernel holds.
pub(crate) struct Operation {
    fd: SharedFd<Socket>,
    pool: BufferPool,
    pooled: Rc<Pooled>,
    once: bool,
}

impl Operation {
    /// The chunk of a completion, which may have one without bytes: dropping it gives it back.
    fn chunk(&self, extra: &Extra, received_bytes: usize) -> Option<Chunk> {
        let mut buffer = self.pool.take(extra.buffer_id().ok()?).ok()??;
        // SAFETY: the kernel has written this many bytes to the start of the buffer that the
        // completion names, and `set_len` bounds them by its capacity.
        unsafe { buffer.set_len(received_bytes) };
        reserve::taken();
        Some(Chunk::pooled(buffer))
    }
}

// SAFETY: the entry refers to nothing but the descriptor, which the operation keeps open; the
// buffers belong to the runtime's registered ring.
unsafe impl IourOpCode for Operation {
    type Control = ();

    fn create_entry(&mut self, _: &mut ()) -> OpEntry {
        let fd = Fd(self.fd.as_fd().as_raw_fd());
        let entry = if self.once {
            opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        } else {
            opcode::RecvMulti::new(fd, BUFFER_GROUP).build()
        };
        entry.into()
    }

    unsafe fn set_result(&mut self, _: &mut (), result: &io::Result<usize>, extra: &Extra) {
        let chunk = self.chunk(extra, *result.as_ref().unwrap_or(&0));
        self.pooled.finish(match result {
            Ok(0) => End::Stream,
            Ok(_) => {
                chunk.into_iter().for_each(|chunk| self.pooled.push(chunk));
                End::Stopped
            }
            Err(error) => match Errno::from_io_error(error) {
                Some(Errno::CANCELED | Errno::INTR) => End::Stopped,
                Some(errno) => End::Failed(errno.into()),
                None => End::Failed(error.kind().into()),
            },
        });
    }

    unsafe fn push_multishot(&mut self, _: &mut (), result: io::Result<usize>, extra: Extra) {
        if let Some(chunk) = self.chunk(&extra, result.unwrap_or(0))
            && !chunk.is_empty()
        {
            self.pooled.push(chunk);
        }
    }

    fn pop_multishot(&mut self, _: &mut ()) -> Option<BufResult<usize, Extra>> {
        None
    }
}

// SAFETY: it never asks to wait for a descriptor.
unsafe impl PollOpCode for Operation {
    type Control = ();

    fn pre_submit(&mut self, _: &mut ()) -> io::Result<Decision> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn operate(&mut self, _: &mut ()) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
