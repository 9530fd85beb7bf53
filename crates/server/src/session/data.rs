//! The data plane of a session: send, poll, consumer offsets. Names become partition keys here;
//! the bytes of a batch are moved, never copied.

use bytes::{Bytes, BytesMut};
use iggy_binary_protocol::requests::consumer_offsets::{
    DeleteConsumerOffsetRequest, GetConsumerOffsetRequest, StoreConsumerOffsetRequest,
};
use iggy_binary_protocol::requests::messages::FlushUnsavedBufferRequest;
use iggy_binary_protocol::responses::consumer_offsets::ConsumerOffsetResponse;
use iggy_binary_protocol::{AckLevel, WireEncode};
use wire::Status;
use wire::iggy::frame::{HEADER_BYTES, RequestHeader};
use wire::iggy::identifier::{Consumer, ConsumerKind, Identifier, Partitioning};
use wire::iggy::messages::{PollMessages, SendMessages};
use wire::iggy::reply::{self, PARTITION_SYNC_REQUIRED};

use super::{Login, Reply, Session};
use crate::catalog::{GroupKey, PartitionKey, PollVerdict, allow};
use crate::partition::{ConsumerKey, PollRequest};

/// Where a batch goes and where it lies in its frame.
pub(super) struct SendRoute {
    key: PartitionKey,
    batch_at: usize,
    message_count: u32,
}

/// Whose offset a request means, and in which partition.
struct OffsetTarget {
    key: PartitionKey,
    consumer: ConsumerKey,
    group: Option<GroupKey>,
}

/// Whether a read may answer this with nothing.
fn is_absence(status: Status) -> bool {
    matches!(
        status,
        Status::STREAM_ID_NOT_FOUND
            | Status::STREAM_NAME_NOT_FOUND
            | Status::TOPIC_ID_NOT_FOUND
            | Status::TOPIC_NAME_NOT_FOUND
            | Status::PARTITION_NOT_FOUND
            | Status::CONSUMER_GROUP_ID_NOT_FOUND
            | Status::CONSUMER_GROUP_NAME_NOT_FOUND
    )
}

impl Session {
    /// Finds the partition of a batch and whether the user may write to it.
    pub(super) fn route_send(
        &self,
        login: Login,
        send: &SendMessages<'_>,
    ) -> Result<SendRoute, Status> {
        let snapshot = self.shard.snapshot();
        let catalog = &snapshot.catalog;
        let (stream, topic) = catalog.require_topic(send.stream, send.topic)?;
        allow(catalog.access(login.user_id).may_send(stream.id, topic.id))?;
        let partition_id = match send.partitioning {
            Partitioning::Partition(partition_id) => partition_id,
            // Published clients choose by themselves. For others one choice a connection keeps
            // their order.
            Partitioning::Balanced => self.number % topic.partitions_count().max(1),
            Partitioning::Key(key) => {
                twox_hash::XxHash32::oneshot(0, key) % topic.partitions_count().max(1)
            }
        };
        if partition_id >= topic.partitions_count() {
            return Err(Status::PARTITION_NOT_FOUND);
        }
        Ok(SendRoute {
            key: PartitionKey::new(stream.id, topic.id, partition_id),
            batch_at: HEADER_BYTES + send.batch.start,
            message_count: send.message_count,
        })
    }

    /// Appends the batch and answers with its base offset once it is durable.
    pub(super) async fn send_messages(
        &self,
        request: &RequestHeader,
        route: SendRoute,
        mut frame: BytesMut,
    ) -> Result<Reply, Status> {
        let batch = frame.split_off(route.batch_at);
        SendMessages::verify_batch(&batch, route.message_count).map_err(|error| error.status())?;
        let PartitionKey {
            stream_id,
            topic_id,
            partition_id,
        } = route.key;
        let appended = self.shard.append(route.key, batch).await?;
        let frame = reply::send_messages(
            request,
            stream_id,
            topic_id,
            partition_id,
            appended.base_offset,
        );
        Ok(Reply::Frame(vec![Bytes::copy_from_slice(&frame)]))
    }

    pub(super) async fn poll_messages(
        &self,
        request: &RequestHeader,
        login: Login,
        poll: PollMessages<'_>,
    ) -> Result<Reply, Status> {
        let target = match self.offset_target(
            login,
            poll.consumer,
            poll.stream,
            poll.topic,
            poll.partition,
        ) {
            // The topic shrank: a group's member learns its new share by syncing, as if another
            // member had the partition.
            Err(Status::PARTITION_NOT_FOUND)
                if matches!(poll.consumer.kind, ConsumerKind::Group) =>
            {
                return Ok(sync_required(request));
            }
            target => target?,
        };
        let key = target.key;
        if let Some(group) = target.group {
            let snapshot = self.shard.snapshot();
            match snapshot
                .groups
                .check_poll(group, self.number, key.partition_id)
            {
                PollVerdict::Owned => {}
                PollVerdict::Resync => return Ok(sync_required(request)),
                PollVerdict::NotMember => return Err(Status::CONSUMER_GROUP_MEMBER_NOT_FOUND),
            }
        }
        let poll = PollRequest {
            consumer: target.consumer,
            strategy: poll.strategy,
            message_count_max: poll.count.min(self.shard.limits.poll_messages_max),
            auto_commit: poll.auto_commit,
        };
        let polled = self.shard.poll(key, poll).await?;
        let records_bytes = polled.records.iter().map(Bytes::len).sum();
        let head = reply::poll_messages_head(
            request,
            key.partition_id,
            polled.current_offset,
            polled.message_count,
            records_bytes,
        );
        let mut parts = Vec::with_capacity(1 + polled.records.len());
        parts.push(Bytes::copy_from_slice(&head));
        parts.extend(polled.records);
        Ok(Reply::Frame(parts))
    }

    pub(super) async fn get_offset(
        &self,
        login: Login,
        get: &GetConsumerOffsetRequest,
    ) -> Result<Reply, Status> {
        let target = self.offset_target(
            login,
            Consumer::from(&get.consumer),
            Identifier::from(&get.stream_id),
            Identifier::from(&get.topic_id),
            get.partition_id,
        );
        let target = match target {
            Ok(target) => target,
            // A read of what does not exist is answered with nothing.
            Err(status) if is_absence(status) => return Ok(Reply::Empty),
            Err(status) => return Err(status),
        };
        let partition_id = target.key.partition_id;
        let found = self.shard.load_offset(target.key, target.consumer).await?;
        let Some(stored_offset) = found.stored else {
            return Ok(Reply::Empty);
        };
        let response = ConsumerOffsetResponse {
            partition_id,
            current_offset: found.current_offset,
            stored_offset,
        };
        Ok(Reply::Payload(response.to_bytes()))
    }

    pub(super) async fn store_offset(
        &self,
        login: Login,
        store: &StoreConsumerOffsetRequest,
    ) -> Result<Reply, Status> {
        let target = self.offset_target(
            login,
            Consumer::from(&store.consumer),
            Identifier::from(&store.stream_id),
            Identifier::from(&store.topic_id),
            store.partition_id,
        )?;
        self.check_group_offset(&target)?;
        let durable = store.ack != AckLevel::NoAck;
        self.shard
            .store_offset(target.key, target.consumer, store.offset, durable)
            .await?;
        Ok(Reply::Empty)
    }

    pub(super) async fn delete_offset(
        &self,
        login: Login,
        delete: &DeleteConsumerOffsetRequest,
    ) -> Result<Reply, Status> {
        let target = self.offset_target(
            login,
            Consumer::from(&delete.consumer),
            Identifier::from(&delete.stream_id),
            Identifier::from(&delete.topic_id),
            delete.partition_id,
        )?;
        self.check_group_offset(&target)?;
        self.shard
            .delete_offset(target.key, target.consumer)
            .await?;
        Ok(Reply::Empty)
    }

    /// There is no unsaved buffer: what was acknowledged is durable. So only the names are checked.
    pub(super) fn flush(
        &self,
        login: Login,
        flush: &FlushUnsavedBufferRequest,
    ) -> Result<Reply, Status> {
        let snapshot = self.shard.snapshot();
        let stream = Identifier::from(&flush.stream_id);
        let topic = Identifier::from(&flush.topic_id);
        let key = snapshot
            .catalog
            .partition_key(stream, topic, flush.partition_id)?;
        let access = snapshot.catalog.access(login.user_id);
        allow(access.may_send(key.stream_id, key.topic_id))?;
        Ok(Reply::Empty)
    }

    fn check_group_offset(&self, target: &OffsetTarget) -> Result<(), Status> {
        let Some(group) = target.group else {
            return Ok(());
        };
        let partition_id = target.key.partition_id;
        self.shard
            .snapshot()
            .groups
            .check_offset(group, self.number, partition_id)
    }

    /// Resolves names, checks the permission. A missing partition id means partition 0 for a
    /// single consumer, as published servers understand it.
    fn offset_target(
        &self,
        login: Login,
        consumer: Consumer<'_>,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        partition_id: Option<u32>,
    ) -> Result<OffsetTarget, Status> {
        let snapshot = self.shard.snapshot();
        let catalog = &snapshot.catalog;
        let key = catalog.partition_key(stream, topic, partition_id.unwrap_or(0))?;
        allow(
            catalog
                .access(login.user_id)
                .may_poll(key.stream_id, key.topic_id),
        )?;
        let (consumer, group) = match (consumer.kind, consumer.id) {
            (ConsumerKind::Consumer, Identifier::Number(number)) => {
                (ConsumerKey::Number(number), None)
            }
            (ConsumerKind::Consumer, Identifier::Name(name)) => {
                (ConsumerKey::Name(name.to_owned()), None)
            }
            (ConsumerKind::Group, id) => {
                let (group, _) = catalog.require_group(stream, topic, id)?;
                (ConsumerKey::Group(group.group_id), Some(group))
            }
        };
        Ok(OffsetTarget {
            key,
            consumer,
            group,
        })
    }
}

/// The empty poll reply that tells a group's member to sync its assignment.
fn sync_required(request: &RequestHeader) -> Reply {
    let head = reply::poll_messages_head(request, PARTITION_SYNC_REQUIRED, 0, 0, 0);
    Reply::Frame(vec![Bytes::copy_from_slice(&head)])
}
