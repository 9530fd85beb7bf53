//! Broadcast on libraries whose socket is a stream and a sink: each connection has a queue that
//! it writes from, and whoever receives a message puts it into all queues.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc;

use super::{Failure, Outcome};
use crate::limits;

pub(super) struct Hub<M> {
    subscribers: Arc<Mutex<Vec<mpsc::Sender<M>>>>,
}

impl<M> Clone for Hub<M> {
    fn clone(&self) -> Self {
        Hub {
            subscribers: self.subscribers.clone(),
        }
    }
}

impl<M: Clone> Hub<M> {
    pub(super) fn new() -> Self {
        Hub {
            subscribers: Arc::default(),
        }
    }

    fn join(&self) -> mpsc::Receiver<M> {
        let (sender, receiver) = mpsc::channel(limits::SUBSCRIBER_QUEUE_MAX);
        self.subscribers().push(sender);
        receiver
    }

    /// A subscriber that is gone, or too slow for its queue, is left out from now on.
    fn publish(&self, message: &M) {
        self.subscribers()
            .retain(|subscriber| subscriber.try_send(message.clone()).is_ok());
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<mpsc::Sender<M>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one subscriber: everything that is queued for it leaves with one flush.
pub(super) async fn subscribe<M, E, S>(
    mut socket: S,
    hub: Hub<M>,
    is_data: fn(&M) -> bool,
) -> Outcome
where
    M: Clone,
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    E: Into<Failure>,
{
    let mut queue = hub.join();
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(message) = message else { return Ok(()) };
                let message = message.map_err(Into::into)?;
                if is_data(&message) {
                    hub.publish(&message);
                }
            }
            message = queue.recv() => {
                let Some(message) = message else { return Ok(()) };
                socket.feed(message).await.map_err(Into::into)?;
                for _ in 1..limits::SUBSCRIBER_QUEUE_MAX {
                    let Ok(message) = queue.try_recv() else { break };
                    socket.feed(message).await.map_err(Into::into)?;
                }
                socket.flush().await.map_err(Into::into)?;
            }
        }
    }
}
