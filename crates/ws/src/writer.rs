//! [`Writer`]: the one write in flight of a connection.
//!
//! What the socket takes at once is written without the ring: that saves its submission, its
//! completion and a run of a task. The rest goes to the ring. It lives in the connection, not in
//! a `send` future: what was handed to the kernel is finished whoever waits for it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use compio_buf::{BufResult, IntoInner};
use compio_driver::SharedFd;
use compio_driver::op::{Send, SendFlags, SendVectored, SendVectoredZc};
use compio_runtime::{Runtime, Submit, SubmitMulti};
use futures_util::Stream as _;
use rustix::io::Errno;
use rustix::net::SendFlags as NowFlags;
use socket2::Socket;
use ws_proto::Transmit;

use crate::stream::Stream;
use crate::tls::Filter;
use crate::{chunk, large, limits};

/// `MSG_WAITALL`: io_uring goes on after a short write by itself, which saves a completion and
/// a wake-up for each piece that the socket takes. Other drivers ignore it.
const WAIT_ALL: SendFlags = SendFlags::from_bits_retain(0x100);

/// The flags of a write that must not wait.
const NOW: NowFlags = NowFlags::DONTWAIT.union(NowFlags::NOSIGNAL);

/// Parts for which a write without waiting needs no memory.
const PARTS_ON_STACK: usize = 8;

type Fd = SharedFd<Socket>;
type ZeroCopy = SendVectoredZc<Vec<Bytes>, Fd>;

pub(crate) struct Writer {
    fd: Fd,
    /// Writes of as many bytes are not copied into the kernel, on io_uring.
    zero_copy_bytes_min: usize,
    /// What seals the bytes on their way.
    filter: Option<Filter>,
    flight: Flight,
}

/// Boxed, because mostly there is none.
enum Flight {
    Nothing,
    One(Box<Submit<Send<BytesMut, Fd>>>),
    Parts {
        submit: Box<Submit<SendVectored<Vec<Bytes>, Fd>>>,
        #[expect(clippy::box_collection, reason = "mostly there is none")]
        rest: Box<VecDeque<Bytes>>,
    },
    /// Not copied into the kernel, which holds `parts` until the peer has confirmed them.
    ZeroCopy {
        submit: Box<SubmitMulti<ZeroCopy>>,
        parts: Vec<Bytes>,
    },
    /// Nothing could be sealed.
    Failed(io::Error),
}

impl Writer {
    pub(crate) fn new(stream: &Stream) -> Self {
        Writer {
            filter: stream.filter().cloned(),
            ..Writer::plain(stream)
        }
    }

    /// A writer of what the socket carries, sealed or not.
    pub(crate) fn plain(stream: &Stream) -> Self {
        Writer {
            fd: stream.shared_fd(),
            zero_copy_bytes_min: usize::MAX,
            filter: None,
            flight: Flight::Nothing,
        }
    }

    /// Lets writes of at least this many bytes not be copied into the kernel where that is
    /// possible: on io_uring, without encryption.
    pub(crate) fn set_zero_copy(&mut self, bytes_min: usize) {
        let polling = Runtime::with_current(|runtime| runtime.driver_type().is_polling());
        if !polling && self.filter.is_none() {
            self.zero_copy_bytes_min = bytes_min;
        }
    }

    /// Whether a write is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.flight, Flight::Nothing)
    }

    /// Writes as much of `transmit` as the socket takes without waiting, and starts to write the
    /// rest: then the writer is busy. The buffer comes back if it was one and is written.
    ///
    /// With `lends_chunks` the rest is copied where it may lie in chunks: a peer that does not
    /// read would keep them from all others.
    ///
    /// # Errors
    /// What the kernel says. Nothing is in flight then.
    ///
    /// # Panics
    /// If a write is in flight.
    pub(crate) fn write_now(
        &mut self,
        transmit: Transmit,
        lends_chunks: bool,
    ) -> io::Result<Option<BytesMut>> {
        assert!(!self.is_busy(), "a write is in flight");
        if let Some(filter) = &self.filter {
            filter.queue(transmit);
            self.write_pending_now()?;
            return Ok(None);
        }
        match transmit {
            Transmit::Contiguous(mut bytes) => {
                let written_bytes = taken(rustix::net::send(&self.fd, &bytes, NOW))?;
                if written_bytes == bytes.len() {
                    return Ok(Some(bytes));
                }
                bytes.advance(written_bytes);
                self.flight = self.one(bytes);
            }
            Transmit::Vectored(parts)
                if parts.len() <= limits::WRITE_PARTS_MAX
                    && !lends_chunks
                    && parts.iter().map(Bytes::len).sum::<usize>() >= self.zero_copy_bytes_min =>
            {
                self.flight = self.zero_copy(parts);
            }
            Transmit::Vectored(mut parts) => {
                let first_count = parts.len().min(limits::WRITE_PARTS_MAX);
                let written_bytes = taken(self.send_parts(&parts[..first_count]))?;
                remove_written(&mut parts, written_bytes);
                if lends_chunks {
                    let chunk_bytes = chunk::chunk_bytes();
                    let lent = parts.iter_mut().filter(|part| part.len() <= chunk_bytes);
                    lent.for_each(|part| *part = Bytes::copy_from_slice(part));
                }
                if !parts.is_empty() {
                    self.start(Transmit::Vectored(parts));
                }
            }
        }
        Ok(None)
    }

    /// Like [`write_now`](Self::write_now) for what is pending.
    ///
    /// # Errors
    /// What the kernel says, or what encrypts.
    pub(crate) fn write_pending_now(&mut self) -> io::Result<()> {
        let Some(filter) = &self.filter else {
            return Ok(());
        };
        while let Some(mut sealed) = filter.seal()? {
            let written_bytes = taken(rustix::net::send(&self.fd, &sealed, NOW))?;
            if written_bytes < sealed.len() {
                sealed.advance(written_bytes);
                self.flight = self.one(sealed);
                break;
            }
        }
        Ok(())
    }

    fn send_parts(&self, parts: &[Bytes]) -> Result<usize, Errno> {
        if let [part] = parts {
            return rustix::net::send(&self.fd, part, NOW);
        }
        let mut ancillary = rustix::net::SendAncillaryBuffer::default();
        if parts.len() <= PARTS_ON_STACK {
            let mut slices = [IoSlice::new(&[]); PARTS_ON_STACK];
            for (slice, part) in slices.iter_mut().zip(parts) {
                *slice = IoSlice::new(part);
            }
            return rustix::net::sendmsg(&self.fd, &slices[..parts.len()], &mut ancillary, NOW);
        }
        let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        rustix::net::sendmsg(&self.fd, &slices, &mut ancillary, NOW)
    }

    /// Starts to write `transmit`. The kernel gets it with the next [`Self::poll`].
    ///
    /// # Panics
    /// If a write is in flight.
    pub(crate) fn start(&mut self, transmit: Transmit) {
        assert!(!self.is_busy(), "a write is in flight");
        if let Some(filter) = &self.filter {
            filter.queue(transmit);
            self.flight = self.sealed(filter);
            return;
        }
        self.flight = match transmit {
            Transmit::Contiguous(bytes) => self.one(bytes),
            Transmit::Vectored(parts) if parts.len() <= limits::WRITE_PARTS_MAX => {
                self.parts(parts, VecDeque::new())
            }
            Transmit::Vectored(parts) => self.next_parts(parts.into()),
        };
    }

    /// Whether there is something to write that nobody started: what encrypts speaks by itself.
    pub(crate) fn has_pending(&self) -> bool {
        self.filter.as_ref().is_some_and(Filter::has_pending)
    }

    /// Starts to write what is pending; false if nothing is.
    ///
    /// # Panics
    /// If a write is in flight.
    pub(crate) fn start_pending(&mut self) -> bool {
        assert!(!self.is_busy(), "a write is in flight");
        if let Some(filter) = &self.filter {
            self.flight = self.sealed(filter);
        }
        self.is_busy()
    }

    /// Ready when everything of the last [`Self::start`] is written; then the buffer comes back
    /// if it was one buffer.
    ///
    /// # Errors
    /// What the kernel says. Nothing is in flight afterwards.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<BytesMut>>> {
        loop {
            match &mut self.flight {
                Flight::Nothing => return Poll::Ready(Ok(None)),
                Flight::One(submit) => {
                    let BufResult(result, operation) = ready!(Pin::new(submit).poll(context));
                    self.flight = Flight::Nothing;
                    let mut bytes = operation.into_inner();
                    let written_bytes = written(result)?;
                    if written_bytes == bytes.len() {
                        if self.start_pending() {
                            continue;
                        }
                        return Poll::Ready(Ok(Some(bytes)));
                    }
                    bytes.advance(written_bytes);
                    self.flight = self.one(bytes);
                }
                Flight::Parts { submit, rest } => {
                    let BufResult(result, operation) = ready!(Pin::new(submit).poll(context));
                    let rest = std::mem::take(&mut **rest);
                    self.flight = Flight::Nothing;
                    let mut parts = operation.into_inner();
                    remove_written(&mut parts, written(result)?);
                    self.flight = match (parts.is_empty(), rest.is_empty()) {
                        (true, true) => return Poll::Ready(Ok(None)),
                        (true, false) => self.next_parts(rest),
                        (false, _) => self.parts(parts, rest),
                    };
                }
                Flight::ZeroCopy { submit, parts } => {
                    let result = ready!(Pin::new(&mut **submit).poll_next(context));
                    let mut parts = std::mem::take(parts);
                    // The operation keeps its own parts until the kernel gives them back; what it
                    // reports then is nobody's business any more.
                    self.flight = Flight::Nothing;
                    let result = result.map_or(Ok(0), |BufResult(result, _)| result);
                    remove_written(&mut parts, written(result)?);
                    if parts.is_empty() {
                        return Poll::Ready(Ok(None));
                    }
                    self.flight = self.zero_copy(parts);
                }
                Flight::Failed(_) => {
                    let flight = std::mem::replace(&mut self.flight, Flight::Nothing);
                    let Flight::Failed(error) = flight else {
                        unreachable!("matched above");
                    };
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn sealed(&self, filter: &Filter) -> Flight {
        match filter.seal() {
            Ok(Some(sealed)) => self.one(sealed),
            Ok(None) => Flight::Nothing,
            Err(error) => Flight::Failed(error),
        }
    }

    fn one(&self, bytes: BytesMut) -> Flight {
        let operation = Send::new(self.fd.clone(), bytes, SendFlags::NOSIGNAL | WAIT_ALL);
        Flight::One(Box::new(compio_runtime::submit(operation)))
    }

    fn zero_copy(&self, parts: Vec<Bytes>) -> Flight {
        let flags = SendFlags::NOSIGNAL | WAIT_ALL;
        let operation = SendVectoredZc::new(self.fd.clone(), parts.clone(), flags);
        Flight::ZeroCopy {
            submit: Box::new(compio_runtime::submit_multi(operation)),
            parts,
        }
    }

    fn next_parts(&self, mut rest: VecDeque<Bytes>) -> Flight {
        let count = rest.len().min(limits::WRITE_PARTS_MAX);
        let parts = rest.drain(..count).collect();
        self.parts(parts, rest)
    }

    fn parts(&self, parts: Vec<Bytes>, rest: VecDeque<Bytes>) -> Flight {
        let operation = SendVectored::new(self.fd.clone(), parts, SendFlags::NOSIGNAL | WAIT_ALL);
        Flight::Parts {
            submit: Box::new(compio_runtime::submit(operation)),
            rest: Box::new(rest),
        }
    }
}

fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        result => result,
    }
}

/// Bytes that the socket took; a full one took none.
fn taken(result: Result<usize, Errno>) -> io::Result<usize> {
    match result {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => Ok(result?),
    }
}

fn remove_written(parts: &mut Vec<Bytes>, mut written_bytes: usize) {
    let mut whole_count = 0;
    for part in parts.iter_mut() {
        if written_bytes < part.len() {
            part.advance(written_bytes);
            break;
        }
        written_bytes -= part.len();
        whole_count += 1;
    }
    parts.drain(..whole_count).for_each(large::keep);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_are_removed_at_every_point() {
        let parts = [&b"ab"[..], b"", b"cde", b"f"].map(Bytes::from_static);
        for written_bytes in 0..=6 {
            let mut rest = parts.to_vec();
            remove_written(&mut rest, written_bytes);
            assert_eq!(rest.concat(), b"abcdef"[written_bytes..]);
            assert!(written_bytes < 6 || rest.is_empty());
        }
    }
}
