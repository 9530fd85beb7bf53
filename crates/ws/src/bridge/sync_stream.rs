//! [`SyncStream`]: `Read + Write` over operations that own their buffers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use ws_proto::Transmit;

use crate::limits;
use crate::receiver::{ChunkReceiver, Received};
use crate::stream::Stream;
use crate::writer::Writer;

/// How large the two buffers of a [`SyncStream`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes of a buffer that has nothing to do.
    base_bytes: usize,
    /// Bytes that a buffer never exceeds.
    bytes_max: usize,
}

impl Capacity {
    /// 8 KiB, always.
    pub const FIXED: Capacity = Capacity::fixed(limits::BRIDGE_FIXED_BYTES);

    /// From 128 KiB, doubling up to 64 MiB.
    pub const GROWABLE: Capacity =
        Capacity::growable(limits::BRIDGE_BASE_BYTES, limits::BRIDGE_BYTES_MAX);

    /// Buffers of this size that never change it; at least one byte.
    pub const fn fixed(bytes: usize) -> Self {
        Capacity::growable(bytes, bytes)
    }

    /// Buffers that begin with `base_bytes` and double up to `bytes_max`.
    pub const fn growable(base_bytes: usize, bytes_max: usize) -> Self {
        let base_bytes = if base_bytes == 0 { 1 } else { base_bytes };
        let bytes_max = if bytes_max < base_bytes {
            base_bytes
        } else {
            bytes_max
        };
        Capacity {
            base_bytes,
            bytes_max,
        }
    }

    /// The next larger size that holds `bytes`, or the largest.
    fn grown(self, current_bytes: usize, bytes: usize) -> usize {
        let mut grown = current_bytes.max(self.base_bytes);
        while grown < bytes && grown < self.bytes_max {
            grown = grown.saturating_mul(2);
        }
        grown.min(self.bytes_max)
    }

    /// Whether a drained buffer of this size goes back to the base.
    fn is_oversized(self, bytes: usize) -> bool {
        bytes > self.base_bytes.saturating_mul(limits::BRIDGE_SHRINK_FACTOR)
    }
}

/// A blocking-style stream: [`Read`] and [`Write`] never wait but answer `WouldBlock`; then
/// [`fill`](Self::fill) or [`flush_out`](Self::flush_out) waits.
///
/// Operations in flight live in the object: dropping one of the futures loses nothing, and the
/// next call goes on where it was.
pub struct SyncStream {
    capacity: Capacity,
    receiver: ChunkReceiver,
    /// Received and not read. With the kernel while a receive is on its way.
    received: BytesMut,
    receive_bytes: usize,
    ended: bool,
    writer: Writer,
    /// Written and not given to the kernel.
    written: BytesMut,
    write_bytes: usize,
    /// What the kernel is writing.
    in_flight_bytes: usize,
}

impl SyncStream {
    /// A stream over what `receiver` receives, with buffers of this capacity.
    pub fn new(receiver: impl Into<ChunkReceiver>, capacity: Capacity) -> Self {
        let receiver = receiver.into();
        let writer = Writer::new(receiver.stream());
        SyncStream {
            capacity,
            receiver,
            received: BytesMut::new(),
            receive_bytes: capacity.base_bytes,
            ended: false,
            writer,
            written: BytesMut::new(),
            write_bytes: capacity.base_bytes,
            in_flight_bytes: 0,
        }
    }

    /// The stream underneath.
    pub fn stream(&self) -> &Stream {
        self.receiver.stream()
    }

    /// Whether something was written and is not with the peer's kernel yet.
    pub fn has_pending_write(&self) -> bool {
        !self.written.is_empty() || self.writer.is_busy()
    }

    /// Bytes of the receive buffer and of the write buffer.
    pub fn capacity_bytes(&self) -> (usize, usize) {
        (self.receive_bytes, self.write_bytes)
    }

    /// Waits for bytes; returns how many came, 0 at the end of the stream.
    ///
    /// # Errors
    /// What the kernel says, or `OutOfMemory` when the buffer is full of unread bytes and may not
    /// grow.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if !self.receiver.is_armed() {
            self.arm()?;
        }
        match ready!(self.receiver.poll_recv(context))? {
            Received::Buffer {
                buffer,
                received_bytes,
            } => {
                // It was filled to the brim: more is waiting, so the next one is larger.
                if buffer.len() >= self.receive_bytes {
                    let wanted = self.receive_bytes.saturating_mul(2);
                    self.receive_bytes = self.capacity.grown(self.receive_bytes, wanted);
                }
                self.received = buffer;
                Poll::Ready(Ok(received_bytes))
            }
            Received::Chunk(chunk) => {
                self.received.extend_from_slice(&chunk);
                Poll::Ready(Ok(chunk.len()))
            }
            Received::End => {
                self.ended = true;
                Poll::Ready(Ok(0))
            }
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        let unread_bytes = self.received.len();
        self.receive_bytes = self.capacity.grown(self.receive_bytes, unread_bytes + 1);
        let free_bytes = self.receive_bytes.saturating_sub(unread_bytes);
        if free_bytes == 0 {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut buffer = std::mem::take(&mut self.received);
        if buffer.capacity() == 0 {
            buffer = take_buffer(self.receive_bytes);
        }
        // Moves unread bytes to the front where that makes room, and allocates otherwise.
        buffer.reserve(free_bytes);
        self.receiver.arm_into(buffer, free_bytes);
        Ok(())
    }

    /// Waits until everything written is with the kernel.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn flush_out(&mut self) -> io::Result<()> {
        poll_fn(|context| self.poll_flush_out(context)).await
    }

    fn poll_flush_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.writer.is_busy() {
                let buffer = ready!(self.writer.poll(context))?;
                self.in_flight_bytes = 0;
                buffer
                    .into_iter()
                    .for_each(|buffer| self.keep_buffer(buffer));
            }
            if self.written.is_empty() {
                if self.capacity.is_oversized(self.write_bytes) {
                    self.write_bytes = self.capacity.base_bytes;
                }
                return Poll::Ready(Ok(()));
            }
            let buffer = std::mem::take(&mut self.written);
            self.in_flight_bytes = buffer.len();
            self.writer.start(Transmit::Contiguous(buffer));
        }
    }

    fn keep_buffer(&self, buffer: BytesMut) {
        if !self.capacity.is_oversized(buffer.capacity()) {
            keep_buffer(buffer);
        }
    }
}

impl Read for SyncStream {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            // The end is only known when nothing is left before it.
            return if self.ended {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        }
        let length = target.len().min(self.received.len());
        target[..length].copy_from_slice(&self.received[..length]);
        self.received.advance(length);
        if self.received.is_empty() {
            let buffer = std::mem::take(&mut self.received);
            self.keep_buffer(buffer);
            if self.capacity.is_oversized(self.receive_bytes) {
                self.receive_bytes = self.capacity.base_bytes;
            }
        }
        Ok(length)
    }
}

impl Write for SyncStream {
    fn write(&mut self, source: &[u8]) -> io::Result<usize> {
        let used_bytes = self.written.len() + self.in_flight_bytes;
        let wanted_bytes = used_bytes.saturating_add(source.len());
        self.write_bytes = self.capacity.grown(self.write_bytes, wanted_bytes);
        let length = source
            .len()
            .min(self.write_bytes.saturating_sub(used_bytes));
        if length == 0 && !source.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.written.capacity() == 0 {
            self.written = take_buffer(length.max(self.capacity.base_bytes.min(4096)));
        }
        self.written.extend_from_slice(&source[..length]);
        Ok(length)
    }

    /// Does nothing: protocol code calls it after each message, and what is written leaves with
    /// [`SyncStream::flush_out`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

thread_local! {
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of this thread's pool, or a new one.
fn take_buffer(bytes: usize) -> BytesMut {
    let kept = BUFFERS.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| BytesMut::with_capacity(bytes))
}

fn keep_buffer(mut buffer: BytesMut) {
    buffer.clear();
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < limits::BRIDGE_BUFFERS_KEPT_MAX {
            buffers.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growable_capacity_doubles_to_its_bound_and_a_fixed_one_stays() {
        let growable = Capacity::growable(10, 100);
        let sizes: Vec<_> = [0, 10, 11, 21, 80, 81, 100, 101]
            .map(|bytes| growable.grown(10, bytes))
            .into();
        assert_eq!(sizes, [10, 10, 20, 40, 80, 100, 100, 100]);
        assert_eq!(growable.grown(40, 1), 40);
        assert!(!growable.is_oversized(40));
        assert!(growable.is_oversized(41));
        assert_eq!(Capacity::fixed(10).grown(10, 1000), 10);
        assert_eq!(Capacity::growable(0, 0), Capacity::fixed(1));
    }
}
