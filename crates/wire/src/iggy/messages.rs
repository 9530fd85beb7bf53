//! The bodies of SendMessages and PollMessages, read where they lie.
//!
//! ```text
//! SendMessages = routing length u32 · routing · batch
//! routing      = stream · topic · partitioning · message count u32
//! PollMessages = consumer · stream · topic · partition flag u8 · partition u32
//!              · strategy (kind u8 · value u64) · count u32 · auto commit u8
//! ```

use super::identifier::{Consumer, Identifier, Partitioning, take, take_u8, take_u32, take_u64};
use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchView};
use crate::{Status, limits};
use bytes::{BufMut, BytesMut};
use core::ops::Range;

/// Where a batch goes, and where in the body it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMessages<'a> {
    /// The stream.
    pub stream: Identifier<'a>,
    /// The topic.
    pub topic: Identifier<'a>,
    /// The partition, or how to choose it.
    pub partitioning: Partitioning<'a>,
    /// Messages of the batch as the routing counts them: at least 1.
    pub message_count: u32,
    /// Byte range of the batch in the body: all that follows the routing. Not looked at yet.
    pub batch: Range<usize>,
}

impl<'a> SendMessages<'a> {
    /// Parses the routing. The batch is only located, so that it can be moved to the shard that
    /// owns the partition and proven there, or here, by [`Self::verify_batch`].
    ///
    /// # Errors
    /// What [`Identifier::take`] and [`Partitioning::take`] say; [`Status::INVALID_FORMAT`] when
    /// the routing does not fill its announced length; [`Status::INVALID_MESSAGES_COUNT`] for no
    /// messages, [`Status::TOO_MANY_MESSAGES`] beyond [`limits::BATCH_MESSAGE_COUNT_MAX`];
    /// [`Status::INVALID_MESSAGES_SIZE`] when no batch header follows.
    pub fn parse(body: &'a [u8]) -> Result<Self, Status> {
        let mut rest = body;
        let routing_bytes = take_u32(&mut rest)? as usize;
        let mut routing = take(&mut rest, routing_bytes)?;
        let stream = Identifier::take(&mut routing)?;
        let topic = Identifier::take(&mut routing)?;
        let partitioning = Partitioning::take(&mut routing)?;
        let message_count = take_u32(&mut routing)?;
        if !routing.is_empty() {
            return Err(Status::INVALID_FORMAT);
        }
        if message_count == 0 {
            return Err(Status::INVALID_MESSAGES_COUNT);
        }
        if message_count > limits::BATCH_MESSAGE_COUNT_MAX {
            return Err(Status::TOO_MANY_MESSAGES);
        }
        if rest.len() < BATCH_HEADER_BYTES {
            return Err(Status::INVALID_MESSAGES_SIZE);
        }
        let batch = body.len() - rest.len()..body.len();
        Ok(Self {
            stream,
            topic,
            partitioning,
            message_count,
            batch,
        })
    }

    /// Proves a batch that was sent with `message_count` in its routing: lengths, counts, limits
    /// and every checksum.
    ///
    /// # Errors
    /// As [`BatchView::parse_produced`]; [`BatchError::MessageCount`] when the routing counts
    /// otherwise than the batch.
    pub fn verify_batch(batch: &[u8], message_count: u32) -> Result<BatchView<'_>, BatchError> {
        let view = BatchView::parse_produced(batch)?;
        if view.message_count() != message_count {
            return Err(BatchError::MessageCount);
        }
        Ok(view)
    }
}

/// Writes the routing of a SendMessages body; the batch follows it, in the same buffer or as
/// another part of the same write.
pub fn put_send_routing(
    buffer: &mut BytesMut,
    stream: Identifier<'_>,
    topic: Identifier<'_>,
    partitioning: Partitioning<'_>,
    message_count: u32,
) {
    let start = buffer.len();
    buffer.put_u32_le(0);
    stream.put(buffer);
    topic.put(buffer);
    partitioning.put(buffer);
    buffer.put_u32_le(message_count);
    let routing_bytes = u32::try_from(buffer.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(length) = buffer.get_mut(start..start + 4) {
        length.copy_from_slice(&routing_bytes.to_le_bytes());
    }
}

/// Where a poll starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollingStrategy {
    /// At this offset.
    Offset(u64),
    /// At the first message appended at or after this time (microseconds).
    Timestamp(u64),
    /// At the first message there is.
    First,
    /// So that the last message is the last of the reply.
    Last,
    /// After the consumer's stored offset; at the first message when it has none.
    Next,
}

impl PollingStrategy {
    fn take(bytes: &mut &[u8]) -> Result<Self, Status> {
        let kind = take_u8(bytes)?;
        let value = take_u64(bytes)?;
        match kind {
            1 => Ok(Self::Offset(value)),
            2 => Ok(Self::Timestamp(value)),
            3 => Ok(Self::First),
            4 => Ok(Self::Last),
            5 => Ok(Self::Next),
            _ => Err(Status::INVALID_FORMAT),
        }
    }

    fn put(self, buffer: &mut impl BufMut) {
        let (kind, value) = match self {
            Self::Offset(offset) => (1, offset),
            Self::Timestamp(timestamp) => (2, timestamp),
            Self::First => (3, 0),
            Self::Last => (4, 0),
            Self::Next => (5, 0),
        };
        buffer.put_u8(kind);
        buffer.put_u64_le(value);
    }
}

/// Asks for messages of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollMessages<'a> {
    /// Who asks: its stored offset is what [`PollingStrategy::Next`] and `auto_commit` mean.
    pub consumer: Consumer<'a>,
    /// The stream.
    pub stream: Identifier<'a>,
    /// The topic.
    pub topic: Identifier<'a>,
    /// The partition. Without it: partition 0 for a consumer, the member's next one for a group.
    pub partition: Option<u32>,
    /// Where to start.
    pub strategy: PollingStrategy,
    /// Most messages of the reply. 0 asks for none.
    pub count: u32,
    /// Whether to store the offset of the last message of the reply.
    pub auto_commit: bool,
}

impl<'a> PollMessages<'a> {
    /// Parses the body. Bytes after it are ignored, as published servers do.
    ///
    /// # Errors
    /// What [`Consumer::take`] and [`Identifier::take`] say, [`Status::INVALID_FORMAT`] for an
    /// unknown strategy or a body that ends early.
    pub fn parse(body: &'a [u8]) -> Result<Self, Status> {
        let mut rest = body;
        let consumer = Consumer::take(&mut rest)?;
        let stream = Identifier::take(&mut rest)?;
        let topic = Identifier::take(&mut rest)?;
        let has_partition = take_u8(&mut rest)? == 1;
        let partition = take_u32(&mut rest)?;
        let strategy = PollingStrategy::take(&mut rest)?;
        let count = take_u32(&mut rest)?;
        let auto_commit = take_u8(&mut rest)? != 0;
        let partition = has_partition.then_some(partition);
        Ok(Self {
            consumer,
            stream,
            topic,
            partition,
            strategy,
            count,
            auto_commit,
        })
    }

    /// Writes the body.
    pub fn put(&self, buffer: &mut impl BufMut) {
        self.consumer.put(buffer);
        self.stream.put(buffer);
        self.topic.put(buffer);
        buffer.put_u8(u8::from(self.partition.is_some()));
        buffer.put_u32_le(self.partition.unwrap_or_default());
        self.strategy.put(buffer);
        buffer.put_u32_le(self.count);
        buffer.put_u8(u8::from(self.auto_commit));
    }
}
