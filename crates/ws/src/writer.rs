//! [`Writer`]: the one write in flight of a connection.
//!
//! It lives in the connection, not in a `send` future: what was handed to the kernel is finished
//! whoever waits for it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use compio_buf::{BufResult, IntoInner};
use compio_driver::SharedFd;
use compio_driver::op::{Send, SendFlags, SendVectored};
use compio_runtime::Submit;
use socket2::Socket;
use ws_proto::Transmit;

use crate::stream::Stream;
use crate::tls::Filter;
use crate::{large, limits};

/// `MSG_WAITALL`: io_uring goes on after a short write by itself, which saves a completion and
/// a wake-up for each piece that the socket takes. Other drivers ignore it.
const WAIT_ALL: SendFlags = SendFlags::from_bits_retain(0x100);

type Fd = SharedFd<Socket>;

pub(crate) struct Writer {
    fd: Fd,
    /// What seals the bytes on their way.
    filter: Option<Filter>,
    flight: Flight,
}

enum Flight {
    Nothing,
    One(Submit<Send<BytesMut, Fd>>),
    Parts {
        submit: Submit<SendVectored<Vec<Bytes>, Fd>>,
        rest: VecDeque<Bytes>,
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
            filter: None,
            flight: Flight::Nothing,
        }
    }

    /// Whether a write is in flight.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.flight, Flight::Nothing)
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
                    let rest = std::mem::take(rest);
                    self.flight = Flight::Nothing;
                    let mut parts = operation.into_inner();
                    remove_written(&mut parts, written(result)?);
                    self.flight = match (parts.is_empty(), rest.is_empty()) {
                        (true, true) => return Poll::Ready(Ok(None)),
                        (true, false) => self.next_parts(rest),
                        (false, _) => self.parts(parts, rest),
                    };
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
        Flight::One(compio_runtime::submit(operation))
    }

    fn next_parts(&self, mut rest: VecDeque<Bytes>) -> Flight {
        let count = rest.len().min(limits::WRITE_PARTS_MAX);
        let parts = rest.drain(..count).collect();
        self.parts(parts, rest)
    }

    fn parts(&self, parts: Vec<Bytes>, rest: VecDeque<Bytes>) -> Flight {
        let operation = SendVectored::new(self.fd.clone(), parts, SendFlags::NOSIGNAL | WAIT_ALL);
        Flight::Parts {
            submit: compio_runtime::submit(operation),
            rest,
        }
    }
}

fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        result => result,
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
