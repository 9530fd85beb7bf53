//! The bounded queue into a shard: the only way in which shards talk.

use async_channel::{Receiver, Sender, TrySendError};

use super::event::Event;

/// The sending side, one clone in every shard and in the boot thread.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Event>,
}

/// Why an event was not taken. The event is dropped with its reply channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue holds its maximum. The caller answers "busy".
    Full,
    /// The shard has left its loop.
    Closed,
}

/// Creates a mailbox that holds at most `messages_max` events.
pub(crate) fn mailbox(messages_max: usize) -> (Mailbox, Receiver<Event>) {
    let (sender, receiver) = async_channel::bounded(messages_max);
    (Mailbox { sender }, receiver)
}

impl Mailbox {
    /// Queues an event without waiting: for requests of clients, which can be told to try again.
    pub(crate) fn try_send(&self, event: Event) -> Result<(), Refused> {
        self.sender
            .try_send(event)
            .map_err(|refused| match refused {
                TrySendError::Full(_) => Refused::Full,
                TrySendError::Closed(_) => Refused::Closed,
            })
    }

    /// Queues an event and waits for room: for events that must not be refused. The receiving loop
    /// never waits on another mailbox, so this wait always ends.
    pub(crate) async fn send(&self, event: Event) -> Result<(), Refused> {
        self.sender.send(event).await.map_err(|_| Refused::Closed)
    }

    /// As [`Mailbox::send`], from a thread without a runtime.
    pub(crate) fn send_blocking(&self, event: Event) -> Result<(), Refused> {
        self.sender
            .send_blocking(event)
            .map_err(|_| Refused::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_refuses_and_a_closed_one_says_so() {
        let (mailbox, receiver) = mailbox(2);
        assert_eq!(mailbox.try_send(Event::Close), Ok(()));
        assert_eq!(mailbox.try_send(Event::Close), Ok(()));
        assert_eq!(mailbox.try_send(Event::Close), Err(Refused::Full));
        assert!(receiver.try_recv().is_ok());
        assert_eq!(mailbox.try_send(Event::Close), Ok(()));
        drop(receiver);
        assert_eq!(mailbox.try_send(Event::Close), Err(Refused::Closed));
    }
}
