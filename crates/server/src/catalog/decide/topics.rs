//! Decisions about topics, partitions and consumer groups.

use wire::Status;

use super::super::Identifier;
use super::super::change::Change;
use super::super::key::{GroupKey, PartitionKey};
use super::super::limits::PARTITIONS_PER_REQUEST_MAX;
use super::super::model::{Stream, Topic};
use super::super::options::{RequestedTopicOptions, TopicOptions};
use super::{Decider, check_name, check_room};

impl Decider<'_> {
    /// A new topic; 0 partitions are allowed, as in the published server.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `UNAUTHORIZED`, `INVALID_TOPIC_NAME`, `TOPIC_NAME_ALREADY_EXISTS`,
    /// `TOO_MANY_TOPICS`, `TOO_MANY_PARTITIONS`, `INVALID_OPTION_VALUE`, `INVALID_TOPIC_SIZE`.
    pub fn create_topic(
        &self,
        stream: Identifier<'_>,
        name: &str,
        partitions_count: u32,
        options: &RequestedTopicOptions,
    ) -> Result<Change, Status> {
        let stream = self.catalog.require_stream(stream)?;
        self.may_create_topic(stream.id)?;
        let name = check_name(name, Status::INVALID_TOPIC_NAME)?;
        if stream.topic_ids.contains_key(&name) {
            return Err(Status::TOPIC_NAME_ALREADY_EXISTS);
        }
        let topics_max = self.limits.topics_per_stream_max;
        check_room(stream.topics.len(), topics_max, Status::TOO_MANY_TOPICS)?;
        check_room(
            stream.next_topic_id as usize,
            u32::MAX as usize,
            Status::TOO_MANY_TOPICS,
        )?;
        self.check_partitions(0, partitions_count)?;
        Ok(Change::CreateTopic {
            stream_id: stream.id,
            topic_id: stream.next_topic_id,
            name,
            created_at_us: self.now_us,
            partitions_count,
            options: TopicOptions::create(options, partitions_count, self.limits.topic_defaults)?,
            next_group_id: 0,
        })
    }

    /// Another name or other options for a topic; absent options stay as they are.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`, `INVALID_TOPIC_NAME`,
    /// `TOPIC_NAME_ALREADY_EXISTS`, `UNSUPPORTED_OPTION_KEY`, `INVALID_TOPIC_SIZE`.
    pub fn update_topic(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        name: &str,
        options: &RequestedTopicOptions,
    ) -> Result<Change, Status> {
        let (stream, topic) = self.managed_topic(stream, topic)?;
        let name = check_name(name, Status::INVALID_TOPIC_NAME)?;
        if stream
            .topic_ids
            .get(&name)
            .is_some_and(|owner| *owner != topic.id)
        {
            return Err(Status::TOPIC_NAME_ALREADY_EXISTS);
        }
        let options = topic.options.update(options)?;
        Ok(Change::UpdateTopic {
            stream_id: stream.id,
            topic_id: topic.id,
            name,
            options,
        })
    }

    /// The end of a topic, of its messages and of its groups.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`.
    pub fn delete_topic(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
    ) -> Result<Change, Status> {
        let (stream, topic) = self.managed_topic(stream, topic)?;
        Ok(Change::DeleteTopic {
            stream_id: stream.id,
            topic_id: topic.id,
        })
    }

    /// The partitions to empty when a topic is purged; the catalog itself does not change.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`.
    pub fn purge_topic(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
    ) -> Result<Vec<PartitionKey>, Status> {
        let (stream, topic) = self.managed_topic(stream, topic)?;
        Ok(topic.partition_keys(stream.id).collect())
    }

    /// The partition from which the oldest sealed segments are to be removed.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`, `PARTITION_NOT_FOUND`.
    pub fn delete_segments(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        partition_id: u32,
    ) -> Result<PartitionKey, Status> {
        let (stream, topic) = self.managed_topic(stream, topic)?;
        if partition_id >= topic.partitions_count() {
            return Err(Status::PARTITION_NOT_FOUND);
        }
        Ok(PartitionKey::new(stream.id, topic.id, partition_id))
    }

    /// More partitions for a topic, with the ids that follow the existing ones.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`, `INVALID_PARTITIONS_COUNT`
    /// for 0, `TOO_MANY_PARTITIONS`, `INVALID_OPTION_VALUE` when preallocation would exceed 64
    /// GiB.
    pub fn create_partitions(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        partitions_count: u32,
    ) -> Result<Change, Status> {
        let (stream, topic) = self.managed_topic(stream, topic)?;
        if partitions_count == 0 {
            return Err(Status::INVALID_PARTITIONS_COUNT);
        }
        self.check_partitions(topic.partitions.len(), partitions_count)?;
        topic
            .options
            .check_preallocation(topic.partitions_count() + partitions_count)?;
        Ok(Change::CreatePartitions {
            stream_id: stream.id,
            topic_id: topic.id,
            partitions_count,
            created_at_us: self.now_us,
        })
    }

    /// Fewer partitions for a topic: those with the highest ids go, with their messages.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`, `INVALID_PARTITIONS_COUNT`
    /// for 0 or more than exist, `TOO_MANY_PARTITIONS` for more than 1,000 at once.
    pub fn delete_partitions(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        partitions_count: u32,
    ) -> Result<Change, Status> {
        let (stream, topic) = self.managed_topic(stream, topic)?;
        if partitions_count > PARTITIONS_PER_REQUEST_MAX {
            return Err(Status::TOO_MANY_PARTITIONS);
        }
        if partitions_count == 0 || partitions_count > topic.partitions_count() {
            return Err(Status::INVALID_PARTITIONS_COUNT);
        }
        Ok(Change::DeletePartitions {
            stream_id: stream.id,
            topic_id: topic.id,
            partitions_count,
        })
    }

    /// A new consumer group.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `UNAUTHORIZED`,
    /// `INVALID_CONSUMER_GROUP_NAME`, `CONSUMER_GROUP_NAME_ALREADY_EXISTS`, and
    /// `INVALID_CONFIGURATION` when the topic has as many groups as allowed.
    pub fn create_group(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        name: &str,
    ) -> Result<Change, Status> {
        let (stream, topic) = self.catalog.require_topic(stream, topic)?;
        self.may_use_groups(stream.id, topic.id)?;
        let name = check_name(name, Status::INVALID_CONSUMER_GROUP_NAME)?;
        if topic.group_ids.contains_key(&name) {
            return Err(Status::CONSUMER_GROUP_NAME_ALREADY_EXISTS);
        }
        let groups_max = self.limits.groups_per_topic_max;
        check_room(
            topic.groups.len(),
            groups_max,
            Status::INVALID_CONFIGURATION,
        )?;
        let ids_max = u32::MAX as usize;
        check_room(
            topic.next_group_id as usize,
            ids_max,
            Status::INVALID_CONFIGURATION,
        )?;
        Ok(Change::CreateGroup {
            stream_id: stream.id,
            topic_id: topic.id,
            group_id: topic.next_group_id,
            name,
            created_at_us: self.now_us,
        })
    }

    /// The end of a consumer group, of its members and of its stored offsets.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`, `CONSUMER_GROUP_ID_NOT_FOUND`,
    /// `UNAUTHORIZED`.
    pub fn delete_group(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        group: Identifier<'_>,
    ) -> Result<Change, Status> {
        let (key, _) = self.usable_group(stream, topic, group)?;
        let GroupKey {
            stream_id,
            topic_id,
            group_id,
        } = key;
        Ok(Change::DeleteGroup {
            stream_id,
            topic_id,
            group_id,
        })
    }

    /// The group to join, leave or sync, with the number of partitions to share out. What to do
    /// with it is the [`GroupCoordinator`](super::super::GroupCoordinator)'s business.
    ///
    /// # Errors
    /// As [`Self::delete_group`].
    pub fn usable_group(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        group: Identifier<'_>,
    ) -> Result<(GroupKey, u32), Status> {
        let (key, topic) = self.catalog.require_group(stream, topic, group)?;
        self.may_use_groups(key.stream_id, key.topic_id)?;
        Ok((key, topic.partitions_count()))
    }

    fn managed_topic(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
    ) -> Result<(&Stream, &Topic), Status> {
        let (stream, topic) = self.catalog.require_topic(stream, topic)?;
        self.may_manage_topic(stream.id, topic.id)?;
        Ok((stream, topic))
    }

    fn check_partitions(&self, existing: usize, added: u32) -> Result<(), Status> {
        let in_topic = existing + added as usize;
        let in_total = self.catalog.partitions_count + added as usize;
        if added > PARTITIONS_PER_REQUEST_MAX
            || in_topic > self.limits.partitions_per_topic_max
            || in_total > self.limits.partitions_max
        {
            return Err(Status::TOO_MANY_PARTITIONS);
        }
        Ok(())
    }
}
