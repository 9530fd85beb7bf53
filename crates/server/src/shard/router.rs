//! Requests to partitions, wherever they live: a call on this shard, a message to another.

use std::rc::Rc;

use bytes::BytesMut;
use futures_channel::oneshot;
use wire::Status;

use super::Shard;
use super::event::{Event, PartitionRequest, ReplyTo, ShardReport, TopicKey};
use super::mailbox::{Mailbox, Refused};
use crate::catalog::PartitionKey;
use crate::control::{ControlReply, ControlRequest};
use crate::partition::{
    Appended, ConsumerKey, Partition, PartitionSize, PollRequest, Polled, StoredOffset,
};
use crate::retention;

impl Shard {
    /// Appends a batch; resolves when it is as durable as its topic asks for.
    pub(crate) async fn append(
        &self,
        key: PartitionKey,
        batch: BytesMut,
    ) -> Result<Appended, Status> {
        match self.owner(key)? {
            Owner::Here(partition) => partition.append(batch).await,
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::Append { batch, reply };
                self.ask_partition(index, key, request).await
            }
        }
    }

    /// Reads messages by a polling strategy.
    pub(crate) async fn poll(
        &self,
        key: PartitionKey,
        request: PollRequest,
    ) -> Result<Polled, Status> {
        match self.owner(key)? {
            Owner::Here(partition) => partition.poll(request).await,
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::Poll { request, reply };
                self.ask_partition(index, key, request).await
            }
        }
    }

    pub(crate) async fn load_offset(
        &self,
        key: PartitionKey,
        consumer: ConsumerKey,
    ) -> Result<StoredOffset, Status> {
        match self.owner(key)? {
            Owner::Here(partition) => Ok(partition.load_offset(&consumer)),
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::LoadOffset { consumer, reply };
                self.ask_partition(index, key, request).await
            }
        }
    }

    pub(crate) async fn store_offset(
        &self,
        key: PartitionKey,
        consumer: ConsumerKey,
        offset: u64,
        durable: bool,
    ) -> Result<(), Status> {
        match self.owner(key)? {
            Owner::Here(partition) => partition.store_offset(consumer, offset, durable).await,
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::StoreOffset {
                    consumer,
                    offset,
                    durable,
                    reply,
                };
                self.ask_partition(index, key, request).await
            }
        }
    }

    pub(crate) async fn delete_offset(
        &self,
        key: PartitionKey,
        consumer: ConsumerKey,
    ) -> Result<(), Status> {
        match self.owner(key)? {
            Owner::Here(partition) => partition.delete_offset(&consumer).await,
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::DeleteOffset { consumer, reply };
                self.ask_partition(index, key, request).await
            }
        }
    }

    pub(crate) async fn purge(&self, key: PartitionKey) -> Result<(), Status> {
        match self.owner(key)? {
            Owner::Here(partition) => partition.purge().await,
            Owner::Shard(index) => {
                self.ask_partition(index, key, |reply| PartitionRequest::Purge { reply })
                    .await
            }
        }
    }

    pub(crate) async fn delete_segments(
        &self,
        key: PartitionKey,
        segments_count: u32,
    ) -> Result<(), Status> {
        match self.owner(key)? {
            Owner::Here(partition) => partition.delete_segments(segments_count).await,
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::DeleteSegments {
                    segments_count,
                    reply,
                };
                self.ask_partition(index, key, request).await
            }
        }
    }

    /// Removes sealed segments for their topic's size.
    pub(crate) async fn remove_before(&self, key: PartitionKey, offset: u64) -> Result<(), Status> {
        match self.owner(key)? {
            Owner::Here(partition) => {
                retention::remove_before(self, &partition, offset).await;
                Ok(())
            }
            Owner::Shard(index) => {
                let request = |reply| PartitionRequest::RemoveBefore { offset, reply };
                self.ask_partition(index, key, request).await
            }
        }
    }

    /// Sizes of a topic's partitions on every shard; `None` when a shard is too busy to answer.
    pub(crate) async fn topic_sizes(&self, topic: TopicKey) -> Option<Vec<PartitionSize>> {
        let mut waiting = Vec::new();
        for mailbox in self.other_mailboxes() {
            let (reply, answer) = oneshot::channel();
            mailbox.try_send(Event::Sizes { topic, reply }).ok()?;
            waiting.push(answer);
        }
        let mut sizes = retention::sizes(self, topic);
        for answer in waiting {
            sizes.extend(answer.await.ok()?);
        }
        Some(sizes)
    }

    /// Tells every shard how much a topic may grow. One that is too busy learns it next time.
    pub(crate) fn set_topic_room(&self, topic: TopicKey, room_bytes: u64) {
        for mailbox in self.other_mailboxes() {
            let _ = mailbox.try_send(Event::Room { topic, room_bytes });
        }
        retention::set_room(self, topic, room_bytes);
    }

    fn other_mailboxes(&self) -> impl Iterator<Item = &Mailbox> {
        let own = self.index;
        let numbered = self.mailboxes().iter().enumerate();
        numbered.filter_map(move |(index, mailbox)| (index != own).then_some(mailbox))
    }

    /// Runs a command on the control plane, which lives on shard 0.
    pub(crate) async fn control_request(
        &self,
        request: ControlRequest,
    ) -> Result<ControlReply, Status> {
        match self.control() {
            Some(control) => control.submit(request).await,
            None => self.ask(0, |reply| Event::Control { request, reply }).await,
        }
    }

    /// As [`Self::control_request`], but waits for room in the mailbox: for what must not be lost.
    pub(crate) async fn control_request_patiently(
        &self,
        request: ControlRequest,
    ) -> Result<ControlReply, Status> {
        if let Some(control) = self.control() {
            return control.submit(request).await;
        }
        let (reply, answer) = oneshot::channel();
        if self.mailboxes()[0]
            .send(Event::Control { request, reply })
            .await
            .is_err()
        {
            return Err(Status::CONNECTION_CLOSED);
        }
        answer.await.unwrap_or(Err(Status::CONNECTION_CLOSED))
    }

    /// Counters and sizes of every shard. A shard that is too busy to answer is left out.
    pub(crate) async fn reports(&self) -> Vec<ShardReport> {
        let mut waiting = Vec::new();
        for (index, mailbox) in self.mailboxes().iter().enumerate() {
            if index == self.index {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            if mailbox.try_send(Event::Report { reply }).is_ok() {
                waiting.push(answer);
            }
        }
        let mut reports = vec![self.report()];
        for answer in waiting {
            reports.extend(answer.await.ok());
        }
        reports
    }

    fn owner(&self, key: PartitionKey) -> Result<Owner, Status> {
        let index = key.owner_shard(self.machine.shards_count);
        if index == self.index {
            return Ok(Owner::Here(self.partition(key)?));
        }
        Ok(Owner::Shard(index))
    }

    async fn ask_partition<T>(
        &self,
        index: usize,
        key: PartitionKey,
        request: impl FnOnce(ReplyTo<T>) -> PartitionRequest,
    ) -> Result<T, Status> {
        self.ask(index, |reply| Event::Partition {
            key,
            request: request(reply),
        })
        .await
    }

    async fn ask<T>(
        &self,
        index: usize,
        event: impl FnOnce(ReplyTo<T>) -> Event,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        match self.mailboxes()[index].try_send(event(reply)) {
            Ok(()) => {}
            Err(Refused::Full) => {
                self.metrics.mailbox_was_full();
                return Err(Status::TRANSIENT_NOT_ACCEPTED);
            }
            Err(Refused::Closed) => return Err(Status::CONNECTION_CLOSED),
        }
        // The sender is dropped without an answer only while the process stops.
        answer.await.unwrap_or(Err(Status::CONNECTION_CLOSED))
    }
}

enum Owner {
    Here(Rc<Partition>),
    Shard(usize),
}
