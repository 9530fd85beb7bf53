//! The state of the control plane: streams, topics, partitions, consumer groups and users.
//!
//! Persistent in the functional sense: a clone costs a few reference counts, and a change copies
//! only the path from the root to what changed. Shard 0 applies changes to its own copy and
//! hands out snapshots; every shard reads its snapshot without locks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::Status;

use super::Identifier;
use super::key::{GroupKey, PartitionKey};
use super::options::TopicOptions;
use super::permissions::Permissions;

/// The id of the root user, as in the published server.
pub const ROOT_USER_ID: u32 = 0;

/// All metadata of the server at one moment. See the module for how it is shared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    pub(super) streams: Arc<BTreeMap<u32, Arc<Stream>>>,
    pub(super) stream_ids: Arc<BTreeMap<Arc<str>, u32>>,
    pub(super) users: Arc<BTreeMap<u32, Arc<User>>>,
    pub(super) user_ids: Arc<BTreeMap<Arc<str>, u32>>,
    /// Whose token has this hash.
    pub(super) tokens: Arc<BTreeMap<Arc<str>, TokenOwner>>,
    pub(super) next_stream_id: u32,
    pub(super) next_user_id: u32,
    pub(super) partitions_count: usize,
}

/// A namespace of topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Never reused.
    pub id: u32,
    /// Unique among streams.
    pub name: Arc<str>,
    /// Microseconds since the Unix epoch.
    pub created_at_us: u64,
    pub(super) topics: BTreeMap<u32, Arc<Topic>>,
    pub(super) topic_ids: BTreeMap<Arc<str>, u32>,
    pub(super) next_topic_id: u32,
}

/// A named sequence of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Never reused within the stream.
    pub id: u32,
    /// Unique within the stream.
    pub name: Arc<str>,
    /// Microseconds since the Unix epoch.
    pub created_at_us: u64,
    /// Options in force.
    pub options: TopicOptions,
    /// Creation time of each partition in microseconds; the index is the partition id.
    pub(super) partitions: Arc<Vec<u64>>,
    pub(super) groups: Arc<BTreeMap<u32, Arc<ConsumerGroup>>>,
    pub(super) group_ids: Arc<BTreeMap<Arc<str>, u32>>,
    pub(super) next_group_id: u32,
}

/// A consumer group as it is stored; who is a member is volatile and known to the
/// [`GroupCoordinator`](super::GroupCoordinator).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// Never reused within the topic.
    pub id: u32,
    /// Unique within the topic.
    pub name: Arc<str>,
    /// Microseconds since the Unix epoch.
    pub created_at_us: u64,
}

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserStatus {
    /// May log in.
    Active,
    /// Exists and may not log in.
    Inactive,
}

/// A user of the server.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Never reused; [`ROOT_USER_ID`] is the root user.
    pub id: u32,
    /// Unique among users.
    pub username: Arc<str>,
    /// Argon2id in PHC string form.
    pub password_hash: Arc<str>,
    /// Whether the user may log in.
    pub status: UserStatus,
    /// What the user may do; `None` is nothing beyond their own account. Ignored for the root
    /// user, who may do everything.
    pub permissions: Option<Permissions>,
    /// Microseconds since the Unix epoch.
    pub created_at_us: u64,
    pub(super) tokens: BTreeMap<Arc<str>, Token>,
}

/// Hashes stay out of logs and panic messages.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("username", &self.username)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A personal access token. The token itself is shown once and never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Unique among the user's tokens.
    pub name: Arc<str>,
    /// What [`password::hash_token`](crate::password::hash_token) made of the token.
    pub token_hash: Arc<str>,
    /// Microseconds since the Unix epoch; `None` never expires.
    pub expiry_at_us: Option<u64>,
}

/// Where the token of a hash is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TokenOwner {
    pub(super) user_id: u32,
    pub(super) name: Arc<str>,
}

impl Catalog {
    /// Every stream in ascending order of its id.
    pub fn streams(&self) -> impl ExactSizeIterator<Item = &Arc<Stream>> {
        self.streams.values()
    }

    /// The stream of this id or name.
    #[must_use]
    pub fn stream(&self, identifier: Identifier<'_>) -> Option<&Arc<Stream>> {
        let id = match identifier {
            Identifier::Number(id) => id,
            Identifier::Name(name) => *self.stream_ids.get(name)?,
        };
        self.streams.get(&id)
    }

    /// The topic of this id or name, with its stream.
    #[must_use]
    pub fn topic(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
    ) -> Option<(&Arc<Stream>, &Arc<Topic>)> {
        let stream = self.stream(stream)?;
        Some((stream, stream.topic(topic)?))
    }

    /// The consumer group of this id or name.
    #[must_use]
    pub fn group(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        group: Identifier<'_>,
    ) -> Option<(GroupKey, &Arc<ConsumerGroup>)> {
        let (stream, topic) = self.topic(stream, topic)?;
        let group = topic.group(group)?;
        Some((GroupKey::new(stream.id, topic.id, group.id), group))
    }

    /// The key of an existing partition: what a send or poll is routed by.
    ///
    /// # Errors
    /// Which of the three does not exist: `STREAM_ID_NOT_FOUND`, `TOPIC_ID_NOT_FOUND`,
    /// `PARTITION_NOT_FOUND`.
    pub fn partition_key(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        partition_id: u32,
    ) -> Result<PartitionKey, Status> {
        let (stream, topic) = self.require_topic(stream, topic)?;
        if partition_id >= topic.partitions_count() {
            return Err(Status::PARTITION_NOT_FOUND);
        }
        Ok(PartitionKey::new(stream.id, topic.id, partition_id))
    }

    /// Whether this partition exists.
    #[must_use]
    pub fn contains_partition(&self, key: &PartitionKey) -> bool {
        self.topic(key.stream_id.into(), key.topic_id.into())
            .is_some_and(|(_, topic)| key.partition_id < topic.partitions_count())
    }

    /// Every partition of every topic in ascending order.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionKey> {
        self.streams.values().flat_map(|stream| {
            let stream_id = stream.id;
            stream
                .topics
                .values()
                .flat_map(move |topic| topic.partition_keys(stream_id))
        })
    }

    /// How many partitions exist in total.
    #[must_use]
    pub fn partitions_count(&self) -> usize {
        self.partitions_count
    }

    /// The stream, or the status that says it does not exist.
    ///
    /// # Errors
    /// `STREAM_ID_NOT_FOUND`, also when a name was asked for (as the published server does).
    pub fn require_stream(&self, stream: Identifier<'_>) -> Result<&Arc<Stream>, Status> {
        self.stream(stream).ok_or(Status::STREAM_ID_NOT_FOUND)
    }

    /// The topic with its stream, or the status that says which does not exist.
    ///
    /// # Errors
    /// As [`Self::require_stream`], and `TOPIC_ID_NOT_FOUND`.
    pub fn require_topic(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
    ) -> Result<(&Arc<Stream>, &Arc<Topic>), Status> {
        let stream = self.require_stream(stream)?;
        let found = stream.topic(topic).ok_or(Status::TOPIC_ID_NOT_FOUND)?;
        Ok((stream, found))
    }

    /// The consumer group with its key and topic, or the status that says what does not exist.
    ///
    /// # Errors
    /// As [`Self::require_topic`], and `CONSUMER_GROUP_ID_NOT_FOUND`.
    pub fn require_group(
        &self,
        stream: Identifier<'_>,
        topic: Identifier<'_>,
        group: Identifier<'_>,
    ) -> Result<(GroupKey, &Arc<Topic>), Status> {
        let (stream, topic) = self.require_topic(stream, topic)?;
        let found = topic
            .group(group)
            .ok_or(Status::CONSUMER_GROUP_ID_NOT_FOUND)?;
        Ok((GroupKey::new(stream.id, topic.id, found.id), topic))
    }

    /// Every user in ascending order of their id.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// The user of this id or name.
    #[must_use]
    pub fn user(&self, identifier: Identifier<'_>) -> Option<&Arc<User>> {
        let id = match identifier {
            Identifier::Number(id) => id,
            Identifier::Name(name) => *self.user_ids.get(name)?,
        };
        self.users.get(&id)
    }

    /// Whether this user exists and may be logged in.
    #[must_use]
    pub fn is_active(&self, user_id: u32) -> bool {
        self.users
            .get(&user_id)
            .is_some_and(|user| user.status == UserStatus::Active)
    }

    /// The user who logs in with the token of this hash at `now_us`.
    ///
    /// # Errors
    /// `INVALID_PERSONAL_ACCESS_TOKEN`, `PERSONAL_ACCESS_TOKEN_EXPIRED` (valid until the
    /// microsecond before its expiry), `USER_INACTIVE`.
    pub fn token_user(&self, token_hash: &str, now_us: u64) -> Result<&Arc<User>, Status> {
        let owner = self
            .tokens
            .get(token_hash)
            .ok_or(Status::INVALID_PERSONAL_ACCESS_TOKEN)?;
        let user = self
            .users
            .get(&owner.user_id)
            .ok_or(Status::INVALID_PERSONAL_ACCESS_TOKEN)?;
        let token = user
            .tokens
            .get(&owner.name)
            .ok_or(Status::INVALID_PERSONAL_ACCESS_TOKEN)?;
        if token
            .expiry_at_us
            .is_some_and(|expiry_at_us| expiry_at_us <= now_us)
        {
            return Err(Status::PERSONAL_ACCESS_TOKEN_EXPIRED);
        }
        if user.status == UserStatus::Inactive {
            return Err(Status::USER_INACTIVE);
        }
        Ok(user)
    }
}

impl Stream {
    /// Every topic in ascending order of its id.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topic of this id or name.
    #[must_use]
    pub fn topic(&self, identifier: Identifier<'_>) -> Option<&Arc<Topic>> {
        let id = match identifier {
            Identifier::Number(id) => id,
            Identifier::Name(name) => *self.topic_ids.get(name)?,
        };
        self.topics.get(&id)
    }
}

impl Topic {
    /// How many partitions the topic has; their ids are `0..partitions_count`.
    #[must_use]
    pub fn partitions_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("limited by partitions_per_topic_max")
    }

    /// The creation time of each partition in microseconds; the index is the partition id.
    #[must_use]
    pub fn partitions_created_at_us(&self) -> &[u64] {
        &self.partitions
    }

    /// The keys of its partitions; `stream_id` is the stream that has the topic.
    pub fn partition_keys(&self, stream_id: u32) -> impl Iterator<Item = PartitionKey> {
        let topic_id = self.id;
        (0..self.partitions_count()).map(move |id| PartitionKey::new(stream_id, topic_id, id))
    }

    /// Every consumer group in ascending order of its id.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &Arc<ConsumerGroup>> {
        self.groups.values()
    }

    /// The consumer group of this id or name.
    #[must_use]
    pub fn group(&self, identifier: Identifier<'_>) -> Option<&Arc<ConsumerGroup>> {
        let id = match identifier {
            Identifier::Number(id) => id,
            Identifier::Name(name) => *self.group_ids.get(name)?,
        };
        self.groups.get(&id)
    }
}

impl User {
    /// Whether this is the root user, who may do everything and cannot be deleted.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.id == ROOT_USER_ID
    }

    /// The user's personal access tokens in the order of their names.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = &Token> {
        self.tokens.values()
    }
}
