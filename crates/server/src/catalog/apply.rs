//! Applies decided changes to the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::Change;
use super::key::{GroupKey, PartitionKey};
use super::model::{Catalog, ConsumerGroup, Stream, Token, TokenOwner, Topic, User, UserStatus};
use super::options::TopicOptions;
use super::permissions::Permissions;

/// What a change means for the parts of the server that hold data or membership.
///
/// After a change was applied: open the created partitions before the change is acknowledged,
/// close and remove the deleted ones, and tell the group coordinator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Partitions that exist from now on.
    pub partitions_created: Vec<PartitionKey>,
    /// Partitions that are gone; their data is to be removed.
    pub partitions_deleted: Vec<PartitionKey>,
    /// Consumer groups that are gone, with their members and stored offsets.
    pub groups_deleted: Vec<GroupKey>,
    /// Topic (stream id, topic id) whose number of partitions changed: its groups rebalance.
    pub topic_resized: Option<(u32, u32)>,
}

/// A change that does not fit the catalog: the journal is not this catalog's, or is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The change names an owner that does not exist.
    #[error("the change names a stream, topic, group or user that does not exist")]
    Missing,
    /// The change creates what exists already.
    #[error("the change creates an id or a name that exists already")]
    Exists,
    /// The change removes more partitions than there are.
    #[error("the change removes more partitions than the topic has")]
    Partitions,
}

type Applied = Result<Effects, ApplyError>;

impl Catalog {
    /// Applies one change and says what follows from it.
    ///
    /// A change that [`Catalog`] decided in this very state always fits. At start the journal's
    /// records are applied in order to an empty catalog, and their effects are ignored.
    ///
    /// # Errors
    /// The change does not fit; the catalog is unchanged.
    pub fn apply(&mut self, change: &Change) -> Applied {
        match change {
            Change::ReserveIds {
                next_stream_id,
                next_user_id,
            } => {
                self.next_stream_id = self.next_stream_id.max(*next_stream_id);
                self.next_user_id = self.next_user_id.max(*next_user_id);
                Ok(Effects::default())
            }
            Change::CreateStream { .. }
            | Change::RenameStream { .. }
            | Change::DeleteStream { .. } => self.apply_to_streams(change),
            Change::CreateTopic { .. }
            | Change::UpdateTopic { .. }
            | Change::DeleteTopic { .. }
            | Change::CreatePartitions { .. }
            | Change::DeletePartitions { .. } => self.apply_to_topics(change),
            Change::CreateGroup {
                stream_id,
                topic_id,
                group_id,
                name,
                created_at_us,
            } => {
                let group = ConsumerGroup {
                    id: *group_id,
                    name: name.clone(),
                    created_at_us: *created_at_us,
                };
                self.apply_create_group(*stream_id, *topic_id, group)
            }
            Change::DeleteGroup {
                stream_id,
                topic_id,
                group_id,
            } => self.apply_delete_group(GroupKey::new(*stream_id, *topic_id, *group_id)),
            Change::CreateUser { .. }
            | Change::UpdateUser { .. }
            | Change::UpdatePermissions { .. }
            | Change::ChangePassword { .. }
            | Change::DeleteUser { .. }
            | Change::CreateToken { .. }
            | Change::DeleteToken { .. } => self.apply_to_users(change),
        }
    }

    fn apply_to_streams(&mut self, change: &Change) -> Applied {
        match change {
            Change::CreateStream {
                stream_id,
                name,
                created_at_us,
                next_topic_id,
            } => self.apply_create_stream(Stream {
                id: *stream_id,
                name: name.clone(),
                created_at_us: *created_at_us,
                topics: BTreeMap::new(),
                topic_ids: BTreeMap::new(),
                next_topic_id: *next_topic_id,
            }),
            Change::RenameStream { stream_id, name } => self.apply_rename_stream(*stream_id, name),
            Change::DeleteStream { stream_id } => self.apply_delete_stream(*stream_id),
            other => unreachable!("not a change of a stream: {other:?}"),
        }
    }

    fn apply_create_stream(&mut self, stream: Stream) -> Applied {
        if self.streams.contains_key(&stream.id) || self.stream_ids.contains_key(&stream.name) {
            return Err(ApplyError::Exists);
        }
        self.next_stream_id = self.next_stream_id.max(stream.id.saturating_add(1));
        Arc::make_mut(&mut self.stream_ids).insert(stream.name.clone(), stream.id);
        Arc::make_mut(&mut self.streams).insert(stream.id, Arc::new(stream));
        Ok(Effects::default())
    }

    fn apply_rename_stream(&mut self, stream_id: u32, name: &Arc<str>) -> Applied {
        let taken = self
            .stream_ids
            .get(name)
            .is_some_and(|owner| *owner != stream_id);
        if taken {
            return Err(ApplyError::Exists);
        }
        let stream = self.stream_mut(stream_id)?;
        let old = std::mem::replace(&mut stream.name, name.clone());
        let ids = Arc::make_mut(&mut self.stream_ids);
        ids.remove(&old);
        ids.insert(name.clone(), stream_id);
        Ok(Effects::default())
    }

    fn apply_delete_stream(&mut self, stream_id: u32) -> Applied {
        if !self.streams.contains_key(&stream_id) {
            return Err(ApplyError::Missing);
        }
        let removed = Arc::make_mut(&mut self.streams).remove(&stream_id);
        let stream = removed.ok_or(ApplyError::Missing)?;
        Arc::make_mut(&mut self.stream_ids).remove(&stream.name);
        let mut effects = Effects::default();
        for topic in stream.topics.values() {
            effects.delete_topic(stream_id, topic);
        }
        self.partitions_count -= effects.partitions_deleted.len();
        Ok(effects)
    }

    fn apply_to_topics(&mut self, change: &Change) -> Applied {
        match change {
            Change::CreateTopic {
                stream_id,
                topic_id,
                name,
                created_at_us,
                partitions_count,
                options,
                next_group_id,
            } => {
                let partitions = vec![*created_at_us; *partitions_count as usize];
                let topic = Topic {
                    id: *topic_id,
                    name: name.clone(),
                    created_at_us: *created_at_us,
                    options: *options,
                    partitions: Arc::new(partitions),
                    groups: Arc::default(),
                    group_ids: Arc::default(),
                    next_group_id: *next_group_id,
                };
                self.apply_create_topic(*stream_id, topic)
            }
            Change::UpdateTopic {
                stream_id,
                topic_id,
                name,
                options,
            } => self.apply_update_topic(*stream_id, *topic_id, name, *options),
            Change::DeleteTopic {
                stream_id,
                topic_id,
            } => self.apply_delete_topic(*stream_id, *topic_id),
            Change::CreatePartitions {
                stream_id,
                topic_id,
                partitions_count,
                created_at_us,
            } => {
                let count = *partitions_count;
                self.apply_create_partitions(*stream_id, *topic_id, count, *created_at_us)
            }
            Change::DeletePartitions {
                stream_id,
                topic_id,
                partitions_count,
            } => self.apply_delete_partitions(*stream_id, *topic_id, *partitions_count),
            other => unreachable!("not a change of a topic: {other:?}"),
        }
    }

    fn apply_create_topic(&mut self, stream_id: u32, topic: Topic) -> Applied {
        let stream = self.streams.get(&stream_id).ok_or(ApplyError::Missing)?;
        if stream.topics.contains_key(&topic.id) || stream.topic_ids.contains_key(&topic.name) {
            return Err(ApplyError::Exists);
        }
        let partitions_created: Vec<_> = topic.partition_keys(stream_id).collect();
        let stream = self.stream_mut(stream_id)?;
        stream.next_topic_id = stream.next_topic_id.max(topic.id.saturating_add(1));
        stream.topic_ids.insert(topic.name.clone(), topic.id);
        stream.topics.insert(topic.id, Arc::new(topic));
        self.partitions_count += partitions_created.len();
        Ok(Effects {
            partitions_created,
            ..Effects::default()
        })
    }

    fn apply_update_topic(
        &mut self,
        stream_id: u32,
        topic_id: u32,
        name: &Arc<str>,
        options: TopicOptions,
    ) -> Applied {
        let stream = self.streams.get(&stream_id).ok_or(ApplyError::Missing)?;
        if !stream.topics.contains_key(&topic_id) {
            return Err(ApplyError::Missing);
        }
        if stream
            .topic_ids
            .get(name)
            .is_some_and(|owner| *owner != topic_id)
        {
            return Err(ApplyError::Exists);
        }
        let stream = self.stream_mut(stream_id)?;
        let topic = stream.topic_mut(topic_id)?;
        topic.options = options;
        let old = std::mem::replace(&mut topic.name, name.clone());
        stream.topic_ids.remove(&old);
        stream.topic_ids.insert(name.clone(), topic_id);
        Ok(Effects::default())
    }

    fn apply_delete_topic(&mut self, stream_id: u32, topic_id: u32) -> Applied {
        let stream = self.streams.get(&stream_id).ok_or(ApplyError::Missing)?;
        if !stream.topics.contains_key(&topic_id) {
            return Err(ApplyError::Missing);
        }
        let stream = self.stream_mut(stream_id)?;
        let topic = stream.topics.remove(&topic_id).ok_or(ApplyError::Missing)?;
        stream.topic_ids.remove(&topic.name);
        let mut effects = Effects::default();
        effects.delete_topic(stream_id, &topic);
        self.partitions_count -= effects.partitions_deleted.len();
        Ok(effects)
    }

    fn apply_create_partitions(
        &mut self,
        stream_id: u32,
        topic_id: u32,
        partitions_count: u32,
        created_at_us: u64,
    ) -> Applied {
        let topic = self.stream_mut(stream_id)?.topic_mut(topic_id)?;
        let first = topic.partitions_count();
        let total = topic.partitions.len() + partitions_count as usize;
        Arc::make_mut(&mut topic.partitions).resize(total, created_at_us);
        self.partitions_count += partitions_count as usize;
        let partitions_created = (first..first + partitions_count)
            .map(|id| PartitionKey::new(stream_id, topic_id, id))
            .collect();
        let topic_resized = Some((stream_id, topic_id));
        Ok(Effects {
            partitions_created,
            topic_resized,
            ..Effects::default()
        })
    }

    fn apply_delete_partitions(
        &mut self,
        stream_id: u32,
        topic_id: u32,
        partitions_count: u32,
    ) -> Applied {
        let topic = self.stream_mut(stream_id)?.topic_mut(topic_id)?;
        let total = topic.partitions_count();
        let left = total
            .checked_sub(partitions_count)
            .ok_or(ApplyError::Partitions)?;
        Arc::make_mut(&mut topic.partitions).truncate(left as usize);
        self.partitions_count -= partitions_count as usize;
        let partitions_deleted = (left..total)
            .map(|id| PartitionKey::new(stream_id, topic_id, id))
            .collect();
        let topic_resized = Some((stream_id, topic_id));
        Ok(Effects {
            partitions_deleted,
            topic_resized,
            ..Effects::default()
        })
    }

    fn apply_create_group(
        &mut self,
        stream_id: u32,
        topic_id: u32,
        group: ConsumerGroup,
    ) -> Applied {
        let topic = self.stream_mut(stream_id)?.topic_mut(topic_id)?;
        if topic.groups.contains_key(&group.id) || topic.group_ids.contains_key(&group.name) {
            return Err(ApplyError::Exists);
        }
        topic.next_group_id = topic.next_group_id.max(group.id.saturating_add(1));
        Arc::make_mut(&mut topic.group_ids).insert(group.name.clone(), group.id);
        Arc::make_mut(&mut topic.groups).insert(group.id, Arc::new(group));
        Ok(Effects::default())
    }

    fn apply_delete_group(&mut self, key: GroupKey) -> Applied {
        let topic = self.stream_mut(key.stream_id)?.topic_mut(key.topic_id)?;
        if !topic.groups.contains_key(&key.group_id) {
            return Err(ApplyError::Missing);
        }
        let removed = Arc::make_mut(&mut topic.groups).remove(&key.group_id);
        let group = removed.ok_or(ApplyError::Missing)?;
        Arc::make_mut(&mut topic.group_ids).remove(&group.name);
        Ok(Effects {
            groups_deleted: vec![key],
            ..Effects::default()
        })
    }

    fn apply_to_users(&mut self, change: &Change) -> Applied {
        match change {
            Change::CreateUser {
                user_id,
                username,
                password_hash,
                status,
                permissions,
                created_at_us,
            } => self.apply_create_user(User {
                id: *user_id,
                username: username.clone(),
                password_hash: password_hash.clone(),
                status: *status,
                permissions: permissions.clone(),
                created_at_us: *created_at_us,
                tokens: BTreeMap::new(),
            }),
            Change::UpdateUser {
                user_id,
                username,
                status,
            } => self.apply_update_user(*user_id, username, *status),
            Change::UpdatePermissions {
                user_id,
                permissions,
            } => self.apply_permissions(*user_id, permissions.as_ref()),
            Change::ChangePassword {
                user_id,
                password_hash,
            } => {
                self.user_mut(*user_id)?.password_hash = password_hash.clone();
                Ok(Effects::default())
            }
            Change::DeleteUser { user_id } => self.apply_delete_user(*user_id),
            Change::CreateToken {
                user_id,
                name,
                token_hash,
                expiry_at_us,
            } => {
                let token = Token {
                    name: name.clone(),
                    token_hash: token_hash.clone(),
                    expiry_at_us: *expiry_at_us,
                };
                self.apply_create_token(*user_id, token)
            }
            Change::DeleteToken { user_id, name } => self.apply_delete_token(*user_id, name),
            other => unreachable!("not a change of a user: {other:?}"),
        }
    }

    fn apply_create_user(&mut self, user: User) -> Applied {
        if self.users.contains_key(&user.id) || self.user_ids.contains_key(&user.username) {
            return Err(ApplyError::Exists);
        }
        self.next_user_id = self.next_user_id.max(user.id.saturating_add(1));
        Arc::make_mut(&mut self.user_ids).insert(user.username.clone(), user.id);
        Arc::make_mut(&mut self.users).insert(user.id, Arc::new(user));
        Ok(Effects::default())
    }

    fn apply_update_user(
        &mut self,
        user_id: u32,
        username: &Arc<str>,
        status: UserStatus,
    ) -> Applied {
        if self
            .user_ids
            .get(username)
            .is_some_and(|owner| *owner != user_id)
        {
            return Err(ApplyError::Exists);
        }
        let user = self.user_mut(user_id)?;
        user.status = status;
        let old = std::mem::replace(&mut user.username, username.clone());
        let ids = Arc::make_mut(&mut self.user_ids);
        ids.remove(&old);
        ids.insert(username.clone(), user_id);
        Ok(Effects::default())
    }

    fn apply_permissions(&mut self, user_id: u32, permissions: Option<&Permissions>) -> Applied {
        self.user_mut(user_id)?.permissions = permissions.cloned();
        Ok(Effects::default())
    }

    fn apply_delete_user(&mut self, user_id: u32) -> Applied {
        if !self.users.contains_key(&user_id) {
            return Err(ApplyError::Missing);
        }
        let removed = Arc::make_mut(&mut self.users).remove(&user_id);
        let user = removed.ok_or(ApplyError::Missing)?;
        Arc::make_mut(&mut self.user_ids).remove(&user.username);
        if !user.tokens.is_empty() {
            let tokens = Arc::make_mut(&mut self.tokens);
            for token in user.tokens.values() {
                tokens.remove(&token.token_hash);
            }
        }
        Ok(Effects::default())
    }

    fn apply_create_token(&mut self, user_id: u32, token: Token) -> Applied {
        if self.tokens.contains_key(&token.token_hash) {
            return Err(ApplyError::Exists);
        }
        let user = self.users.get(&user_id).ok_or(ApplyError::Missing)?;
        if user.tokens.contains_key(&token.name) {
            return Err(ApplyError::Exists);
        }
        let owner = TokenOwner {
            user_id,
            name: token.name.clone(),
        };
        Arc::make_mut(&mut self.tokens).insert(token.token_hash.clone(), owner);
        self.user_mut(user_id)?
            .tokens
            .insert(token.name.clone(), token);
        Ok(Effects::default())
    }

    fn apply_delete_token(&mut self, user_id: u32, name: &str) -> Applied {
        let user = self.users.get(&user_id).ok_or(ApplyError::Missing)?;
        if !user.tokens.contains_key(name) {
            return Err(ApplyError::Missing);
        }
        let removed = self.user_mut(user_id)?.tokens.remove(name);
        let token = removed.ok_or(ApplyError::Missing)?;
        Arc::make_mut(&mut self.tokens).remove(&token.token_hash);
        Ok(Effects::default())
    }

    fn stream_mut(&mut self, stream_id: u32) -> Result<&mut Stream, ApplyError> {
        if !self.streams.contains_key(&stream_id) {
            return Err(ApplyError::Missing);
        }
        let stream = Arc::make_mut(&mut self.streams).get_mut(&stream_id);
        stream.map(Arc::make_mut).ok_or(ApplyError::Missing)
    }

    fn user_mut(&mut self, user_id: u32) -> Result<&mut User, ApplyError> {
        if !self.users.contains_key(&user_id) {
            return Err(ApplyError::Missing);
        }
        let user = Arc::make_mut(&mut self.users).get_mut(&user_id);
        user.map(Arc::make_mut).ok_or(ApplyError::Missing)
    }
}

impl Stream {
    fn topic_mut(&mut self, topic_id: u32) -> Result<&mut Topic, ApplyError> {
        self.topics
            .get_mut(&topic_id)
            .map(Arc::make_mut)
            .ok_or(ApplyError::Missing)
    }
}

impl Effects {
    fn delete_topic(&mut self, stream_id: u32, topic: &Topic) {
        self.partitions_deleted
            .extend(topic.partition_keys(stream_id));
        let groups = topic
            .groups
            .keys()
            .map(|id| GroupKey::new(stream_id, topic.id, *id));
        self.groups_deleted.extend(groups);
    }
}
