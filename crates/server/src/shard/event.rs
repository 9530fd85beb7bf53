//! What one shard may ask of another: the one enum of messages that cross threads.
//!
//! Everything in it is owned and `Send`: a batch moves with its buffer, a reply comes back through
//! a one-shot channel. Pooled receive chunks never appear here, they belong to their shard.

use std::sync::Arc;

use bytes::BytesMut;
use futures_channel::oneshot;
use wire::Status;

use crate::catalog::PartitionKey;
use crate::control::{ControlReply, ControlRequest, ControlSnapshot};
use crate::metrics::MetricsSnapshot;
use crate::partition::{
    Appended, ConsumerKey, PartitionReport, PartitionSize, PollRequest, Polled, StoredOffset,
};

/// Where the answer to a request goes.
pub(crate) type ReplyTo<T> = oneshot::Sender<Result<T, Status>>;

/// A request to a partition of the receiving shard.
pub(crate) enum PartitionRequest {
    /// Append a batch; answered when it is durable.
    Append {
        batch: BytesMut,
        reply: ReplyTo<Appended>,
    },
    /// Read messages.
    Poll {
        request: PollRequest,
        reply: ReplyTo<Polled>,
    },
    /// Read a consumer's stored offset.
    LoadOffset {
        consumer: ConsumerKey,
        reply: ReplyTo<StoredOffset>,
    },
    /// Store a consumer's offset; answered when it is durable, unless `durable` is false.
    StoreOffset {
        consumer: ConsumerKey,
        offset: u64,
        durable: bool,
        reply: ReplyTo<()>,
    },
    /// Forget a consumer's offset; answered when that is durable.
    DeleteOffset {
        consumer: ConsumerKey,
        reply: ReplyTo<()>,
    },
    /// Remove every message.
    Purge { reply: ReplyTo<()> },
    /// Remove the sealed segments before an offset, for retention.
    RemoveBefore { offset: u64, reply: ReplyTo<()> },
    /// Remove the oldest sealed segments.
    DeleteSegments {
        segments_count: u32,
        reply: ReplyTo<()>,
    },
}

/// A topic by the ids of its stream and of itself.
pub(crate) type TopicKey = (u32, u32);

/// A message from one shard (or the boot thread) to another.
pub(crate) enum Event {
    /// A request to a partition that the receiving shard owns.
    Partition {
        key: PartitionKey,
        request: PartitionRequest,
    },
    /// A command for the control plane. Only shard 0 receives these.
    Control {
        request: ControlRequest,
        reply: ReplyTo<ControlReply>,
    },
    /// The catalog or the group assignments changed; answered when this shard's partitions follow.
    Snapshot {
        snapshot: Arc<ControlSnapshot>,
        done: oneshot::Sender<()>,
    },
    /// Report counters and partition sizes.
    Report { reply: oneshot::Sender<ShardReport> },
    /// Say how large the partitions of a topic are.
    Sizes {
        topic: TopicKey,
        reply: oneshot::Sender<Vec<PartitionSize>>,
    },
    /// The topic may grow by so many bytes more.
    Room { topic: TopicKey, room_bytes: u64 },
    /// Begin to accept connections on these listeners.
    Listen {
        tcp: std::net::TcpListener,
        websocket: std::net::TcpListener,
    },
    /// Stop accepting, finish requests in flight, close connections, then say so.
    Drain { done: std::sync::mpsc::Sender<()> },
    /// Close the logs and leave the loop.
    Close,
}

/// One shard's answer to [`Event::Report`].
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardReport {
    /// The shard's counters.
    pub(crate) metrics: MetricsSnapshot,
    /// Sizes of every partition that the shard owns.
    pub(crate) partitions: Vec<(PartitionKey, PartitionReport)>,
    /// Who is connected.
    pub(crate) clients: Vec<crate::session::ClientInfo>,
}
