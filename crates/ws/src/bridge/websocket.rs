//! tungstenite on a [`SyncStream`], as client and server.

use std::io;
use std::time::{Duration, Instant};

use compio_runtime::time::timeout_at;
use tungstenite::handshake::{HandshakeError, HandshakeRole};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::sync_stream::{Capacity, SyncStream};
use crate::limits;
use crate::receiver::ChunkReceiver;

/// A WebSocket that speaks through tungstenite.
pub struct BridgeWebSocket {
    inner: WebSocket<SyncStream>,
    /// Read, and kept while what tungstenite answered is flushed.
    ready: Option<Message>,
    /// A send was begun and not followed by a whole flush: tungstenite has bytes of it.
    unflushed: bool,
}

impl BridgeWebSocket {
    /// Opens a WebSocket as the server of a stream, or of a receiver that is encrypted already.
    ///
    /// # Errors
    /// tungstenite's, and `TimedOut` after [`limits::BRIDGE_HANDSHAKE_TIME_MAX`].
    pub async fn accept(
        receiver: impl Into<ChunkReceiver>,
        capacity: Capacity,
    ) -> Result<Self, Error> {
        let stream = SyncStream::new(receiver, capacity);
        stream.stream().set_no_delay()?;
        let start = tungstenite::accept_with_config(stream, Some(WebSocketConfig::default()));
        let inner = complete(start).await?;
        BridgeWebSocket {
            inner,
            ready: None,
            unflushed: false,
        }
        .flushed()
        .await
    }

    /// Opens a WebSocket as the client of a connected stream, or of a receiver that is encrypted
    /// already; `url` says what is asked for.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub async fn client(
        url: &str,
        receiver: impl Into<ChunkReceiver>,
        capacity: Capacity,
    ) -> Result<Self, Error> {
        let stream = SyncStream::new(receiver, capacity);
        stream.stream().set_no_delay()?;
        let config = Some(WebSocketConfig::default());
        let (inner, _) =
            complete(tungstenite::client::client_with_config(url, stream, config)).await?;
        Ok(BridgeWebSocket {
            inner,
            ready: None,
            unflushed: false,
        })
    }

    /// Waits for the next message. Cancel-safe.
    ///
    /// # Errors
    /// tungstenite's: `ConnectionClosed` after a closing handshake.
    pub async fn recv(&mut self) -> Result<Message, Error> {
        if self.unflushed {
            self.flush().await?;
        }
        loop {
            if self.ready.is_none() {
                match self.inner.read() {
                    Ok(message) => self.ready = Some(message),
                    Err(error) if is_would_block(&error) => {
                        progress(self.inner.get_mut()).await?;
                        continue;
                    }
                    Err(error) => {
                        // The answer to a Close, or the Close of a failure.
                        self.flush_out().await?;
                        return Err(error);
                    }
                }
            }
            self.flush_out().await?;
            if let Some(message) = self.ready.take() {
                return Ok(message);
            }
        }
    }

    /// Sends a message and waits until it is with the kernel. Once polled, a dropped future has
    /// queued it; the next call of any kind writes it.
    ///
    /// # Errors
    /// tungstenite's.
    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.unflushed = true;
        match self.inner.write(message) {
            // tungstenite keeps the frame and goes on with it in flush.
            Err(error) if !is_would_block(&error) => return Err(error),
            _ => {}
        }
        self.flush().await
    }

    /// Waits until everything sent is with the kernel.
    ///
    /// # Errors
    /// tungstenite's.
    pub async fn flush(&mut self) -> Result<(), Error> {
        loop {
            match self.inner.flush() {
                Err(error) if is_would_block(&error) => self.flush_out().await?,
                result => {
                    self.flush_out().await?;
                    self.unflushed = false;
                    return result;
                }
            }
        }
    }

    /// Closes, and reads until the peer has answered or [`limits::BRIDGE_CLOSE_TIME_MAX`] is over.
    ///
    /// # Errors
    /// tungstenite's, or `TimedOut`.
    pub async fn close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        self.unflushed = true;
        match self.inner.close(frame) {
            Err(error) if !is_would_block(&error) => return ended(error),
            _ => {}
        }
        let answer = async {
            if let Err(error) = self.flush().await {
                return ended(error);
            }
            loop {
                if let Err(error) = self.recv().await {
                    return ended(error);
                }
            }
        };
        within(limits::BRIDGE_CLOSE_TIME_MAX, answer).await
    }

    /// The buffers underneath.
    pub fn stream(&self) -> &SyncStream {
        self.inner.get_ref()
    }

    async fn flush_out(&mut self) -> Result<(), Error> {
        Ok(self.inner.get_mut().flush_out().await?)
    }

    async fn flushed(mut self) -> Result<Self, Error> {
        self.flush_out().await?;
        Ok(self)
    }
}

/// After a Close was sent, an orderly end is what was wanted.
fn ended(error: Error) -> Result<(), Error> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Ok(()),
        error => Err(error),
    }
}

fn is_would_block(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Waits for what a `WouldBlock` was about: room for writing first, then bytes to read.
async fn progress(stream: &mut SyncStream) -> io::Result<()> {
    if stream.has_pending_write() {
        stream.flush_out().await
    } else {
        stream.fill().await.map(drop)
    }
}

async fn complete<R>(
    mut result: Result<R::FinalResult, HandshakeError<R>>,
) -> Result<R::FinalResult, Error>
where
    R: HandshakeRole<InternalStream = SyncStream>,
{
    let complete = async {
        loop {
            match result {
                Ok(done) => return Ok(done),
                Err(HandshakeError::Failure(error)) => return Err(error),
                Err(HandshakeError::Interrupted(mut pending)) => {
                    progress(pending.get_mut().get_mut()).await?;
                    result = pending.handshake();
                }
            }
        }
    };
    within(limits::BRIDGE_HANDSHAKE_TIME_MAX, complete).await
}

async fn within<T>(
    time: Duration,
    future: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout_at(Instant::now() + time, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}
