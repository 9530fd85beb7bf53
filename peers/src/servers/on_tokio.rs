//! What the servers on tokio share: one thread, one task per connection.

use std::future::Future;

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Failure, Outcome};
use crate::limits;

/// Runs `connection` for each one that is accepted.
pub(super) fn serve<F>(connection: impl Fn(TcpStream) -> F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(super::listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = connection(stream);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("{error}");
                }
            });
        }
    })
}

/// Answers each message with one send, as the examples of these libraries do.
pub(super) async fn echo<M, E, S>(mut socket: S, is_data: fn(&M) -> bool) -> Outcome
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    E: Into<Failure>,
{
    while let Some(message) = socket.next().await {
        let message = message.map_err(Into::into)?;
        if is_data(&message) {
            socket.send(message).await.map_err(Into::into)?;
        }
    }
    Ok(())
}

/// Answers every message that is ready and flushes once: what a careful user of these libraries
/// writes when clients pipeline.
pub(super) async fn echo_batch<M, E, S>(mut socket: S, is_data: fn(&M) -> bool) -> Outcome
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    E: Into<Failure>,
{
    while let Some(message) = socket.next().await {
        feed(&mut socket, message, is_data).await?;
        for _ in 1..limits::BATCH_MESSAGES_MAX {
            match socket.next().now_or_never() {
                Some(Some(message)) => feed(&mut socket, message, is_data).await?,
                _ => break,
            }
        }
        socket.flush().await.map_err(Into::into)?;
    }
    Ok(())
}

async fn feed<M, E, S>(socket: &mut S, message: Result<M, E>, is_data: fn(&M) -> bool) -> Outcome
where
    S: Sink<M, Error = E> + Unpin,
    E: Into<Failure>,
{
    let message = message.map_err(Into::into)?;
    if is_data(&message) {
        socket.feed(message).await.map_err(Into::into)?;
    }
    Ok(())
}
