//! [`ChunkReceiver`]: receiving without owning a buffer while waiting.
//!
//! On io_uring the kernel picks a chunk from the runtime's provided-buffer ring when bytes are
//! there. Where that is not possible (epoll, kernels before 5.19, an empty ring) the receiver
//! waits for readiness and then receives into a heap chunk of the thread, so that a waiting
//! connection holds no buffer in any case.
//!
//! The operation in flight lives in the receiver, not in the future that waits for it: a dropped
//! future loses no byte.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use compio_buf::BufResult;
use compio_driver::SharedFd;
use compio_driver::op::{Interest, PollOnce};
use compio_net::UnixStream;
use compio_runtime::time::timeout;
use compio_runtime::{Runtime, Submit};
use futures_util::StreamExt;
use rustix::io::Errno;
use socket2::Socket;

use crate::chunk::{self, Chunk};
use crate::limits;
use crate::stream::{DirectReceive, PooledReceive, Stream};
use crate::tls::Filter;

/// Receives from one stream, in chunks or into a caller's buffer.
pub struct ChunkReceiver {
    stream: Stream,
    armed: Armed,
    // Kept between receives: its allocation is reused by each of them.
    pooled: Option<PooledReceive>,
    ended: bool,
}

/// The operation in flight. At most one, so bytes can never overtake each other.
enum Armed {
    Nothing,
    Pooled(PooledReceive),
    Readiness(Submit<PollOnce<SharedFd<Socket>>>),
    Direct {
        receive: DirectReceive,
        before_bytes: usize,
    },
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
            ended: false,
        }
    }

    /// The stream that it receives from.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether a receive is on its way; then [`Self::arm_into`] must wait for its result.
    pub fn is_armed(&self) -> bool {
        match self.stream.filter() {
            None => !matches!(self.armed, Armed::Nothing),
            Some(filter) => filter.is_lent(),
        }
    }

    /// Lets the kernel write the next bytes, at most `bytes_max`, behind the end of `buffer` into
    /// its spare capacity. The result comes from [`Self::recv`] as [`Received::Buffer`].
    ///
    /// # Panics
    /// If a receive is already on its way, or if there is no room for a byte.
    pub fn arm_into(&mut self, buffer: BytesMut, bytes_max: usize) {
        assert!(!self.is_armed(), "a receive is on its way");
        let before_bytes = buffer.len();
        assert!(
            bytes_max > 0 && buffer.capacity() > before_bytes,
            "no room to receive into"
        );
        if let Some(filter) = self.stream.filter() {
            return filter.lend(buffer, bytes_max);
        }
        let receive = self.stream.receive_into(buffer, bytes_max);
        self.armed = Armed::Direct {
            receive,
            before_bytes,
        };
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
        loop {
            match &mut self.armed {
                Armed::Nothing if self.ended => return Poll::Ready(Ok(Received::End)),
                Armed::Nothing => self.armed = self.arm(),
                Armed::Pooled(receive) => {
                    let result = ready!(receive.poll_next_unpin(context));
                    self.disarm_pooled();
                    match result {
                        Some(Ok(Some(buffer))) if !buffer.is_empty() => {
                            count(|counters| counters.pooled_count += 1);
                            return Poll::Ready(Ok(Received::Chunk(Chunk::pooled(buffer))));
                        }
                        Some(Ok(_)) | None => self.ended = true,
                        Some(Err(error)) => match PoolFailure::of(&error) {
                            None => return Poll::Ready(Err(error)),
                            Some(failure) => {
                                failure.note(&error);
                                self.armed = self.arm_readiness();
                            }
                        },
                    }
                }
                Armed::Readiness(readiness) => {
                    let BufResult(result, _) = ready!(std::pin::Pin::new(readiness).poll(context));
                    self.armed = Armed::Nothing;
                    result?;
                    match self.receive_now() {
                        Err(Errno::AGAIN | Errno::INTR) => self.armed = self.arm_readiness(),
                        Err(error) => return Poll::Ready(Err(error.into())),
                        Ok(chunk) if chunk.is_empty() => self.ended = true,
                        Ok(chunk) => {
                            count(|counters| counters.heap_count += 1);
                            return Poll::Ready(Ok(Received::Chunk(chunk)));
                        }
                    }
                }
                Armed::Direct {
                    receive,
                    before_bytes,
                } => {
                    let BufResult(result, buffer) = ready!(receive.as_mut().poll(context));
                    let before_bytes = *before_bytes;
                    self.armed = Armed::Nothing;
                    match result? {
                        0 => self.ended = true,
                        received_bytes => {
                            debug_assert_eq!(buffer.len(), before_bytes + received_bytes);
                            return Poll::Ready(Ok(Received::Buffer {
                                buffer,
                                received_bytes,
                            }));
                        }
                    }
                }
            }
        }
    }

    fn arm(&mut self) -> Armed {
        let pool = Runtime::with_current(|runtime| {
            !runtime.driver_type().is_polling() && !POOL_UNUSABLE.get()
        });
        if pool {
            Armed::Pooled(
                self.pooled
                    .take()
                    .unwrap_or_else(|| self.stream.receive_pooled()),
            )
        } else {
            self.arm_readiness()
        }
    }

    fn disarm_pooled(&mut self) {
        if let Armed::Pooled(receive) = std::mem::replace(&mut self.armed, Armed::Nothing) {
            self.pooled = Some(receive);
        }
    }

    fn arm_readiness(&self) -> Armed {
        let readiness = PollOnce::new(self.stream.shared_fd(), Interest::Readable);
        Armed::Readiness(compio_runtime::submit(readiness))
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

/// Why the pool gave no chunk.
#[derive(Clone, Copy)]
enum PoolFailure {
    /// All chunks are held; the next receive tries again.
    Dry,
    /// The kernel does not know provided-buffer rings.
    Unusable,
}

impl PoolFailure {
    fn of(error: &io::Error) -> Option<Self> {
        // The runtime reports ENOBUFS of the kernel as this kind.
        if error.kind() == io::ErrorKind::ResourceBusy {
            return Some(PoolFailure::Dry);
        }
        match Errno::from_io_error(error)? {
            Errno::NOBUFS => Some(PoolFailure::Dry),
            Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => Some(PoolFailure::Unusable),
            _ => None,
        }
    }

    fn note(self, error: &io::Error) {
        match self {
            PoolFailure::Dry => count(|counters| counters.pool_dry_count += 1),
            PoolFailure::Unusable if !POOL_UNUSABLE.replace(true) => {
                tracing::info!(%error, "no receive pool here, using heap chunks");
            }
            PoolFailure::Unusable => {}
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
    static POOL_UNUSABLE: Cell<bool> = const { Cell::new(false) };
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
    POOL_UNUSABLE.set(false);
    let result = runtime.block_on(async {
        match timeout(limits::POOL_SELF_TEST_TIME_MAX, receive_one_byte()).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    });
    COUNTERS.set(counters);
    if let Err(error) = result {
        PoolFailure::Unusable.note(&error);
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
        Received::Chunk(chunk) if chunk.is_pooled() || POOL_UNUSABLE.get() => Ok(()),
        received => Err(io::Error::other(format!("the pool gave {received:?}"))),
    }
}
