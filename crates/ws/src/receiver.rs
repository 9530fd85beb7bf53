//! [`ChunkReceiver`]: receiving without owning a buffer while waiting.
//!
//! On io_uring one operation receives for as long as the connection lives, see [`Pooled`]: the
//! kernel picks a chunk from the runtime's provided-buffer ring when bytes are there. Where that
//! is not possible (epoll, kernels before 5.19, an empty ring) the receiver waits for readiness
//! and then receives into a heap chunk of the thread, so that a waiting connection holds no
//! buffer in any case.
//!
//! The operation in flight lives in the receiver, not in the future that waits for it: a dropped
//! future loses no byte.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use compio_buf::BufResult;
use compio_driver::SharedFd;
use compio_driver::op::{Interest, PollOnce};
use compio_net::UnixStream;
use compio_runtime::time::timeout;
use compio_runtime::{Runtime, Submit};
use rustix::io::Errno;
use socket2::Socket;

use crate::attendant::Attendant;
use crate::chunk::{self, Chunk};
use crate::direct;
use crate::limits;
use crate::pooled::{End, Next, Pooled};
use crate::reserve;
use crate::stream::Stream;
use crate::tls::Filter;

/// Receives from one stream, in chunks or into a caller's buffer.
pub struct ChunkReceiver {
    stream: Stream,
    armed: Armed,
    // Kept between receives, with the memory of the waker.
    pooled: Option<Rc<Pooled>>,
    /// Where the next bytes belong; what receives into the pool is being stopped.
    wanted: Option<Box<Target>>,
    /// Bytes of a chunk that a target had no room for.
    rest: Option<Box<BytesMut>>,
    /// The last receive was into a buffer: the next one is probably, too, as soon as its length
    /// is known.
    once: bool,
    /// Bytes that were received into buffers since it last waited for readiness.
    turn_bytes: usize,
    ended: bool,
}

/// A buffer and the most bytes to append to it.
struct Target {
    buffer: BytesMut,
    bytes_max: usize,
}

/// The operation in flight. At most one, so bytes can never overtake each other.
enum Armed {
    Nothing,
    Pooled(Rc<Pooled>),
    Readiness(Box<Submit<PollOnce<SharedFd<Socket>>>>),
}

/// What one receive brought.
#[derive(Debug)]
pub enum Received {
    /// Bytes in a chunk, at least one.
    Chunk(Chunk),
    /// The buffer given to [`ChunkReceiver::arm_into`] comes back, `received_bytes` longer.
    Buffer {
        /// The buffer.
        buffer: BytesMut,
        /// How many bytes were appended, at least one.
        received_bytes: usize,
    },
    /// The peer sends no more. A buffer given to [`ChunkReceiver::arm_into`] is dropped.
    End,
}

impl ChunkReceiver {
    /// A receiver for `stream`. Two receivers on one stream would tear its bytes apart.
    pub fn new(stream: impl Into<Stream>) -> Self {
        ChunkReceiver {
            stream: stream.into(),
            armed: Armed::Nothing,
            pooled: None,
            wanted: None,
            rest: None,
            once: false,
            turn_bytes: 0,
            ended: false,
        }
    }

    /// The stream that it receives from.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether a receive is on its way that [`Self::arm_into`] must wait for.
    pub fn is_armed(&self) -> bool {
        if let Some(filter) = self.stream.filter() {
            return filter.is_lent();
        }
        self.wanted.is_some()
    }

    /// Lets the next bytes, at most `bytes_max`, be written behind the end of `buffer` into its
    /// spare capacity, by the kernel if it has not received them yet. The result comes from
    /// [`Self::recv`] as [`Received::Buffer`].
    ///
    /// # Panics
    /// If a receive is already on its way, or if there is no room for a byte.
    pub fn arm_into(&mut self, buffer: BytesMut, bytes_max: usize) {
        assert!(!self.is_armed(), "a receive is on its way");
        assert!(
            bytes_max > 0 && buffer.capacity() > buffer.len(),
            "no room to receive into"
        );
        if let Some(filter) = self.stream.filter() {
            return filter.lend(buffer, bytes_max);
        }
        self.once = true;
        self.wanted = Some(Box::new(Target { buffer, bytes_max }));
        self.pause();
    }

    /// Receives nothing more until the next poll; what is on its way may still come.
    pub(crate) fn pause(&mut self) {
        if let Armed::Pooled(pooled) = &self.armed {
            pooled.stop();
        }
    }

    /// Nobody waits for what comes any more, so little of it is let come.
    pub(crate) fn unwait(&mut self) {
        if let Armed::Pooled(pooled) = &self.armed {
            pooled.unwait();
        }
    }

    /// Whether bytes are here that nobody has taken.
    pub(crate) fn has_waiting(&self) -> bool {
        self.rest.is_some() || matches!(&self.armed, Armed::Pooled(pooled) if pooled.has_waiting())
    }

    /// The next chunk, if it is here and nothing is to be done with it first: the common case
    /// of [`poll_recv`](Self::poll_recv) by the shortest way.
    #[inline]
    pub(crate) fn take_waiting(&mut self) -> Option<Chunk> {
        let Armed::Pooled(pooled) = &self.armed else {
            return None;
        };
        if self.wanted.is_some() || self.rest.is_some() || self.stream.filter().is_some() {
            return None;
        }
        let chunk = pooled.take_waiting()?;
        count(|counters| counters.pooled_count += 1);
        Some(chunk)
    }

    /// Waits for the next bytes.
    ///
    /// Cancel-safe: the receive stays armed in the object when the future is dropped.
    ///
    /// # Errors
    /// What the kernel says about the connection, such as a reset.
    pub async fn recv(&mut self) -> io::Result<Received> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// [`Self::recv`] for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Received>> {
        match self.stream.filter().cloned() {
            None => self.poll_recv_plain(context),
            Some(filter) => self.poll_recv_opened(context, &filter),
        }
    }

    fn poll_recv_opened(
        &mut self,
        context: &mut Context<'_>,
        filter: &Filter,
    ) -> Poll<io::Result<Received>> {
        loop {
            if let Some(received) = filter.take() {
                return Poll::Ready(received);
            }
            match ready!(self.poll_recv_plain(context))? {
                Received::Chunk(mut chunk) => filter.open(&mut chunk),
                Received::Buffer { .. } => unreachable!("the session has the buffer"),
                Received::End => filter.end(),
            }
        }
    }

    /// From now on what is received is opened by `filter`.
    #[cfg(feature = "tls")]
    pub(crate) fn encrypt(&mut self, filter: Filter) {
        self.stream.set_filter(filter);
    }

    /// [`Self::recv`] of what the socket carries, opened or not.
    #[cfg(feature = "tls")]
    pub(crate) async fn recv_plain(&mut self) -> io::Result<Received> {
        poll_fn(|context| self.poll_recv_plain(context)).await
    }

    fn poll_recv_plain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Received>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Ok(self.received(Chunk::from(*rest))));
        }
        loop {
            match &mut self.armed {
                Armed::Nothing if self.ended => return Poll::Ready(Ok(Received::End)),
                Armed::Nothing => match self.wanted.take() {
                    None => self.arm()?,
                    Some(target) => match self.receive_wanted(target) {
                        Err(Errno::AGAIN | Errno::INTR) => self.arm_readiness(),
                        Err(error) => return Poll::Ready(Err(error.into())),
                        Ok(None) => self.ended = true,
                        Ok(Some(received)) => return Poll::Ready(Ok(received)),
                    },
                },
                Armed::Pooled(pooled) => match ready!(pooled.poll_next(context)) {
                    Next::Chunk(chunk) => {
                        count(|counters| counters.pooled_count += 1);
                        return Poll::Ready(Ok(self.received(chunk)));
                    }
                    Next::Over(end) => self.pooled_is_over(end)?,
                },
                Armed::Readiness(readiness) => {
                    let BufResult(result, _) = ready!(std::pin::Pin::new(readiness).poll(context));
                    self.armed = Armed::Nothing;
                    self.turn_bytes = 0;
                    result?;
                    if self.wanted.is_some() {
                        continue;
                    }
                    match self.receive_now() {
                        Err(Errno::AGAIN | Errno::INTR) => self.arm_readiness(),
                        Err(error) => return Poll::Ready(Err(error.into())),
                        Ok(chunk) if chunk.is_empty() => self.ended = true,
                        Ok(chunk) => {
                            count(|counters| counters.heap_count += 1);
                            return Poll::Ready(Ok(self.received(chunk)));
                        }
                    }
                }
            }
        }
    }

    /// Receives into the wanted buffer what the socket has; none at its end.
    fn receive_wanted(&mut self, mut target: Box<Target>) -> Result<Option<Received>, Errno> {
        let turn_bytes = limits::RECEIVED_IN_TURN_BYTES_MAX - self.turn_bytes;
        let bytes_max = target.bytes_max.min(turn_bytes);
        let received = match bytes_max {
            // Others have their turn before it goes on.
            0 => Err(Errno::AGAIN),
            _ => direct::receive(self.stream.shared_fd(), &mut target.buffer, bytes_max),
        };
        match received {
            Ok(0) => Ok(None),
            Ok(received_bytes) => {
                self.turn_bytes += received_bytes;
                Ok(Some(Received::Buffer {
                    buffer: target.buffer,
                    received_bytes,
                }))
            }
            Err(error) => {
                self.wanted = Some(target);
                Err(error)
            }
        }
    }

    /// A chunk, or the buffer that was waiting for its bytes.
    fn received(&mut self, chunk: Chunk) -> Received {
        let Some(target) = self.wanted.take() else {
            return Received::Chunk(chunk);
        };
        let Target {
            mut buffer,
            bytes_max,
        } = *target;
        let room_bytes = buffer.capacity() - buffer.len();
        let received_bytes = chunk.len().min(bytes_max).min(room_bytes);
        let (fitting, rest) = chunk.split_at(received_bytes);
        buffer.extend_from_slice(fitting);
        if !rest.is_empty() {
            self.rest = Some(Box::new(rest.into()));
        }
        Received::Buffer {
            buffer,
            received_bytes,
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        let means = MEANS.get();
        if means == Means::Readiness || Runtime::with_current(is_polling) {
            self.arm_readiness();
            return Ok(());
        }
        let once = std::mem::take(&mut self.once) || means == Means::Once;
        let pooled = self.pooled.get_or_insert_with(Pooled::new).clone();
        pooled.start(self.stream.shared_fd(), &Attendant::current(), once)?;
        self.armed = Armed::Pooled(pooled);
        Ok(())
    }

    fn pooled_is_over(&mut self, end: End) -> io::Result<()> {
        self.armed = Armed::Nothing;
        match end {
            End::Stream => self.ended = true,
            End::Stopped => {}
            End::Failed(error) => {
                let failure = PoolFailure::of(&error).ok_or(error)?;
                failure.note();
                if matches!(failure, PoolFailure::Dry) && self.wanted.is_none() {
                    self.arm_readiness();
                }
            }
        }
        Ok(())
    }

    fn arm_readiness(&mut self) {
        let readiness = PollOnce::new(self.stream.shared_fd(), Interest::Readable);
        self.armed = Armed::Readiness(Box::new(compio_runtime::submit(readiness)));
    }

    fn receive_now(&self) -> Result<Chunk, Errno> {
        let fd = self.stream.shared_fd();
        Chunk::fill_heap(|buffer| {
            let (_, received_bytes) =
                rustix::net::recv(&fd, buffer, rustix::net::RecvFlags::DONTWAIT)?;
            Ok(received_bytes)
        })
    }
}

/// An operation that receives goes on until it is stopped.
impl Drop for ChunkReceiver {
    fn drop(&mut self) {
        self.pause();
    }
}

fn is_polling(runtime: &Runtime) -> bool {
    runtime.driver_type().is_polling()
}

impl<S: Into<Stream>> From<S> for ChunkReceiver {
    fn from(stream: S) -> Self {
        ChunkReceiver::new(stream)
    }
}

impl fmt::Debug for ChunkReceiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChunkReceiver")
            .field("stream", &self.stream)
            .field("armed", &self.is_armed())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// How chunks are received on io_uring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    /// One operation for the life of a connection (Linux 6.0).
    Multishot,
    /// One for each chunk (Linux 5.19).
    Once,
    /// Without provided buffers.
    Readiness,
}

/// Why the pool gave no chunk.
#[derive(Clone, Copy)]
enum PoolFailure {
    /// All chunks are held; the next receive tries again.
    Dry,
    /// The kernel does not know the operation.
    Unknown,
}

impl PoolFailure {
    fn of(error: &io::Error) -> Option<Self> {
        // The runtime reports ENOBUFS of the kernel as this kind.
        if error.kind() == io::ErrorKind::ResourceBusy {
            return Some(PoolFailure::Dry);
        }
        match Errno::from_io_error(error)? {
            Errno::NOBUFS => Some(PoolFailure::Dry),
            Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => Some(PoolFailure::Unknown),
            _ => None,
        }
    }

    fn note(self) {
        match (self, MEANS.get()) {
            (PoolFailure::Dry, _) => {
                reserve::dry();
                count(|counters| counters.pool_dry_count += 1);
            }
            (PoolFailure::Unknown, Means::Multishot) => {
                tracing::info!("no multishot receive here, receiving chunk by chunk");
                MEANS.set(Means::Once);
            }
            (PoolFailure::Unknown, Means::Once) => {
                tracing::info!("no receive pool here, using heap chunks");
                MEANS.set(Means::Readiness);
            }
            (PoolFailure::Unknown, Means::Readiness) => {}
        }
    }
}

/// How the receivers of one thread got their chunks, since the thread began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiveCounters {
    /// Chunks from the runtime's pool.
    pub pooled_count: u64,
    /// Chunks from the heap: on epoll all of them, on io_uring those that followed a dry pool.
    pub heap_count: u64,
    /// Receives that found the pool dry.
    pub pool_dry_count: u64,
}

thread_local! {
    static COUNTERS: Cell<ReceiveCounters> = const { Cell::new(ReceiveCounters {
        pooled_count: 0,
        heap_count: 0,
        pool_dry_count: 0,
    }) };
    static MEANS: Cell<Means> = const { Cell::new(Means::Multishot) };
}

/// The counters of the calling thread.
pub fn receive_counters() -> ReceiveCounters {
    COUNTERS.get()
}

fn count(change: impl FnOnce(&mut ReceiveCounters)) {
    let mut counters = COUNTERS.get();
    change(&mut counters);
    COUNTERS.set(counters);
}

/// Sets the size of the chunks that this thread's receivers take from the heap.
pub(crate) fn set_chunk_bytes(chunk_bytes: usize) {
    chunk::set_chunk_bytes(chunk_bytes);
}

/// Receives one byte through the pool of `runtime` and notes for this thread whether it works.
pub(crate) fn prove_pool(runtime: &Runtime) {
    let counters = COUNTERS.get();
    MEANS.set(Means::Multishot);
    let result = runtime.block_on(async {
        match timeout(limits::POOL_SELF_TEST_TIME_MAX, receive_one_byte()).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    });
    COUNTERS.set(counters);
    if let Err(error) = result {
        tracing::info!(%error, "the receive pool does not work here, using heap chunks");
        MEANS.set(Means::Readiness);
    }
}

async fn receive_one_byte() -> io::Result<()> {
    use std::io::Write;
    let (source, mut target) = std::os::unix::net::UnixStream::pair()?;
    let mut receiver = ChunkReceiver::new(UnixStream::from_std(source)?);
    // Armed before the byte is there, as a waiting connection is.
    let pending = futures_util::poll!(std::pin::pin!(receiver.recv()));
    if let Poll::Ready(result) = pending {
        result?;
    }
    target.write_all(&[1])?;
    match receiver.recv().await? {
        Received::Chunk(chunk) if chunk.is_pooled() || MEANS.get() == Means::Readiness => Ok(()),
        received => Err(io::Error::other(format!("the pool gave {received:?}"))),
    }
}
