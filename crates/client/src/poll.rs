//! Asking for messages, and what came.

use bytes::Bytes;
use wire::batch::{BatchView, Batches, Frame};
use wire::iggy::identifier::{Consumer, ConsumerKind, Identifier};
use wire::iggy::messages::{PollMessages, PollingStrategy};
use wire::iggy::reply::{PARTITION_SYNC_REQUIRED, PollHead};

use crate::error::Error;

/// What to poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollRequest<'a> {
    /// The stream.
    pub stream: Identifier<'a>,
    /// The topic.
    pub topic: Identifier<'a>,
    /// The partition; without it the server chooses.
    pub partition: Option<u32>,
    /// Whose stored offset counts.
    pub consumer: Consumer<'a>,
    /// Where to start.
    pub strategy: PollingStrategy,
    /// Most messages.
    pub count: u32,
    /// Whether the server stores the offset of the last message that it sends.
    pub auto_commit: bool,
}

impl<'a> PollRequest<'a> {
    /// The next 1,000 messages of one partition for consumer 0, without storing an offset.
    pub fn new(
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        partition: u32,
    ) -> Self {
        Self {
            stream: stream.into(),
            topic: topic.into(),
            partition: Some(partition),
            consumer: Consumer {
                kind: ConsumerKind::Consumer,
                id: Identifier::Number(0),
            },
            strategy: PollingStrategy::Next,
            count: 1_000,
            auto_commit: false,
        }
    }

    pub(crate) const fn body(&self) -> PollMessages<'a> {
        PollMessages {
            consumer: self.consumer,
            stream: self.stream,
            topic: self.topic,
            partition: self.partition,
            strategy: self.strategy,
            count: self.count,
            auto_commit: self.auto_commit,
        }
    }
}

/// The reply to a poll. Holds the reply's bytes; messages are read where they lie.
#[derive(Clone, Debug)]
pub struct Polled {
    head: PollHead,
    records: Bytes,
}

impl Polled {
    /// Proves the layout of every batch; the checksums of messages are not looked at, see
    /// [`BatchView::verify_checksums`].
    pub(crate) fn parse(payload: Bytes) -> Result<Self, Error> {
        let (head, records) =
            PollHead::parse(&payload).map_err(|_| Error::Protocol("a poll reply that is none"))?;
        let records = payload.slice(payload.len() - records.len()..);
        let mut message_count = 0;
        for batch in Batches::new(&records) {
            let batch = batch.map_err(|_| Error::Protocol("a polled batch that is none"))?;
            message_count += u64::from(batch.message_count());
        }
        if message_count != u64::from(head.message_count) {
            return Err(Error::Protocol(
                "a poll reply of another count than it says",
            ));
        }
        Ok(Self { head, records })
    }

    /// The partition that was polled.
    #[must_use]
    pub const fn partition(&self) -> u32 {
        self.head.partition
    }

    /// Offset of the partition's last message when the server answered.
    #[must_use]
    pub const fn current_offset(&self) -> u64 {
        self.head.current_offset
    }

    /// How many messages came.
    #[must_use]
    pub const fn message_count(&self) -> u32 {
        self.head.message_count
    }

    /// Bytes of the batches that came.
    #[must_use]
    pub const fn records_bytes(&self) -> usize {
        self.records.len()
    }

    /// Whether the group's partitions were dealt anew: sync the assignment, then poll again.
    #[must_use]
    pub const fn is_sync_required(&self) -> bool {
        self.head.message_count == 0 && self.head.partition == PARTITION_SYNC_REQUIRED
    }

    /// The batches in order.
    pub fn batches(&self) -> impl Iterator<Item = BatchView<'_>> {
        // Proven when the reply came, so nothing is left out here.
        Batches::new(&self.records).filter_map(Result::ok)
    }

    /// The messages in order.
    pub fn messages(&self) -> impl Iterator<Item = Frame<'_>> {
        self.batches().flat_map(|batch| batch.frames())
    }
}
