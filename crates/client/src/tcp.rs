//! Frames on a byte stream, for a client: replies one after the other.

use bytes::{Bytes, BytesMut};
use wire::iggy::frame::{HEADER_BYTES, announced_bytes};
use ws::{ChunkReceiver, ChunkSender, Received};

use crate::error::Error;
use crate::limits;

pub(crate) struct Tcp {
    receiver: ChunkReceiver,
    sender: ChunkSender,
    /// Received bytes that no frame took yet.
    pending: BytesMut,
}

impl Tcp {
    pub(crate) fn new(receiver: ChunkReceiver) -> Self {
        Self {
            sender: ChunkSender::new(receiver.stream()),
            receiver,
            pending: BytesMut::new(),
        }
    }

    /// Writes head and body of one request in one vectored write.
    pub(crate) async fn send(&mut self, head: Bytes, body: Option<Bytes>) -> Result<(), Error> {
        let parts = std::iter::once(head).chain(body).collect();
        Ok(self.sender.send(parts).await?)
    }

    /// Waits for the next frame. `expected_bytes` is a guess of its size: a large one is received
    /// into its own allocation from the first byte.
    ///
    /// Cancel-safe: what was received stays in the object.
    pub(crate) async fn recv(&mut self, expected_bytes: usize) -> Result<Bytes, Error> {
        if self.pending.is_empty()
            && expected_bytes >= limits::DIRECT_BYTES_MIN
            && !self.receiver.is_armed()
        {
            let reserve_bytes = expected_bytes.min(limits::RESERVE_BYTES_MAX);
            self.receiver
                .arm_into(BytesMut::with_capacity(reserve_bytes), reserve_bytes);
        }
        loop {
            let missing_bytes = match self.next_frame()? {
                Progress::Frame(frame) => return Ok(frame),
                Progress::Missing(missing_bytes) => missing_bytes,
            };
            if missing_bytes >= limits::DIRECT_BYTES_MIN && !self.receiver.is_armed() {
                self.arm_direct(missing_bytes);
            }
            match self.receiver.recv().await? {
                Received::Chunk(chunk) if self.pending.is_empty() => {
                    self.pending = chunk.into_bytes_mut();
                }
                Received::Chunk(chunk) => self.pending.extend_from_slice(&chunk),
                Received::Buffer { buffer, .. } => self.pending = buffer,
                Received::End => return Err(Error::Closed),
            }
        }
    }

    fn next_frame(&mut self) -> Result<Progress, Error> {
        let frame_bytes = match announced_bytes(&self.pending) {
            None => return Ok(Progress::Missing(1)),
            Some(frame_bytes) => frame_bytes,
        };
        if !(HEADER_BYTES..=limits::REPLY_BYTES_MAX).contains(&frame_bytes) {
            return Err(Error::Protocol("a frame of an impossible size"));
        }
        if self.pending.len() < frame_bytes {
            return Ok(Progress::Missing(frame_bytes - self.pending.len()));
        }
        if self.pending.len() == frame_bytes {
            return Ok(Progress::Frame(std::mem::take(&mut self.pending).freeze()));
        }
        Ok(Progress::Frame(self.pending.split_to(frame_bytes).freeze()))
    }

    /// Lets the rest of a frame be received behind what is there of it.
    fn arm_direct(&mut self, missing_bytes: usize) {
        let mut buffer = std::mem::take(&mut self.pending);
        if buffer.capacity() == buffer.len() {
            let at_once = limits::RESERVE_BYTES_MAX.max(buffer.len());
            buffer.reserve(missing_bytes.min(at_once));
        }
        self.receiver.arm_into(buffer, missing_bytes);
    }
}

enum Progress {
    Frame(Bytes),
    /// At least this many bytes are missing.
    Missing(usize),
}
