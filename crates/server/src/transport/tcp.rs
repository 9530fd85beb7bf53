//! TCP, with TLS or without: the only transport that is a byte stream, so the only one that looks
//! for frame boundaries.
//!
//! A connection that waits holds no buffer: the kernel takes a pooled chunk when bytes arrive. The
//! rest of a frame that is larger than a chunk is received straight into the frame's own
//! allocation, which grows with the bytes received and not with the announced size.

use bytes::{Bytes, BytesMut};
use wire::iggy::frame::FrameStart;
use ws::{ChunkReceiver, ChunkSender, Received};

use super::TransportError;

/// First reservation for the rest of a large frame; doubles from there.
const RECEIVE_BYTES_MIN: usize = 64 * 1024;

pub(crate) struct TcpTransport {
    receiver: ChunkReceiver,
    sender: ChunkSender,
    /// Received bytes that no frame took yet.
    pending: BytesMut,
}

impl TcpTransport {
    pub(crate) fn new(receiver: ChunkReceiver) -> Self {
        Self {
            sender: ChunkSender::new(receiver.stream()),
            receiver,
            pending: BytesMut::new(),
        }
    }

    pub(crate) async fn recv(
        &mut self,
        frame_bytes_max: usize,
    ) -> Result<BytesMut, TransportError> {
        loop {
            let missing_bytes = match self.next_frame(frame_bytes_max)? {
                Progress::Frame(frame) => return Ok(frame),
                Progress::Missing(bytes) => bytes,
            };
            if missing_bytes >= RECEIVE_BYTES_MIN && !self.receiver.is_armed() {
                self.arm_direct(missing_bytes);
            }
            match self.receiver.recv().await? {
                Received::Chunk(chunk) if self.pending.is_empty() => {
                    self.pending = chunk.into_bytes_mut();
                }
                Received::Chunk(chunk) => self.pending.extend_from_slice(&chunk),
                Received::Buffer { buffer, .. } => self.pending = buffer,
                Received::End => return Err(TransportError::Closed),
            }
        }
    }

    /// Takes a whole frame from the pending bytes, or says how many are missing for one.
    fn next_frame(&mut self, frame_bytes_max: usize) -> Result<Progress, TransportError> {
        let frame_bytes = match FrameStart::detect(&self.pending, frame_bytes_max) {
            FrameStart::Incomplete { needed_bytes } => needed_bytes,
            FrameStart::Frame { frame_bytes } => frame_bytes,
            FrameStart::Legacy => return Err(TransportError::Legacy),
            FrameStart::Invalid(error) => return Err(TransportError::Malformed(error)),
        };
        if self.pending.len() < frame_bytes {
            return Ok(Progress::Missing(frame_bytes - self.pending.len()));
        }
        let frame = if self.pending.len() == frame_bytes {
            std::mem::take(&mut self.pending)
        } else {
            self.pending.split_to(frame_bytes)
        };
        Ok(Progress::Frame(frame))
    }

    fn arm_direct(&mut self, missing_bytes: usize) {
        let mut buffer = std::mem::take(&mut self.pending);
        if buffer.capacity() == buffer.len() {
            buffer.reserve(missing_bytes.min(buffer.len().max(RECEIVE_BYTES_MIN)));
        }
        self.receiver.arm_into(buffer, missing_bytes);
    }

    pub(crate) async fn send(&mut self, parts: Vec<Bytes>) -> Result<(), TransportError> {
        Ok(self.sender.send(parts).await?)
    }

    /// Ends the sending direction and discards what still arrives for a moment, so that the last
    /// reply is not destroyed by a reset.
    pub(crate) fn close(self) {
        ws::close_slowly(self.receiver);
    }
}

enum Progress {
    Frame(BytesMut),
    Missing(usize),
}
