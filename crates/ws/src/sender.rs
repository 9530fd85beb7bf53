//! [`ChunkSender`]: sending on a stream that carries no WebSocket.

use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use ws_proto::Transmit;

use crate::stream::Stream;
use crate::writer::Writer;

/// Sends on one stream, the counterpart of [`ChunkReceiver`](crate::ChunkReceiver).
///
/// What was given to it is written in order and whole, whoever waits for it: the write in flight
/// lives in the sender and not in a future.
pub struct ChunkSender {
    writer: Writer,
}

impl ChunkSender {
    /// A sender for the stream of a receiver. A stream that is to be encrypted must be so
    /// already. Two senders on one stream would tear its bytes apart.
    pub fn new(stream: &Stream) -> Self {
        ChunkSender {
            writer: Writer::new(stream),
        }
    }

    /// Sends `parts`, one behind the other, in vectored writes that copy nothing.
    ///
    /// When the future is dropped, the next call first finishes what this one began.
    ///
    /// # Errors
    /// What the kernel says about the connection, or what encrypting says.
    pub async fn send(&mut self, parts: Vec<Bytes>) -> io::Result<()> {
        self.flush().await?;
        self.writer.start(Transmit::Vectored(parts));
        self.flush().await
    }

    /// Waits until everything is given to the kernel.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| self.writer.poll(context)).await?;
        Ok(())
    }
}
