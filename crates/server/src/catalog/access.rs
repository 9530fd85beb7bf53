//! Who may do what: the questions that handlers and decisions ask about a user.
//!
//! The levels include each other as the protocol documents them: managing streams includes
//! managing topics, managing includes reading and sending, reading includes groups and polling.
//! The root user may do everything; a user without permissions nothing but their own account.

use wire::Status;

use super::decide::Decider;
use super::model::{Catalog, User, UserStatus};
use super::permissions::{GlobalPermissions, Permissions, StreamPermissions, TopicPermissions};

/// What one user may do, for a while during which the catalog does not change.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    root: bool,
    permissions: Option<&'a Permissions>,
}

impl Catalog {
    /// What user `user_id` may do: nothing when they do not exist or are inactive.
    #[must_use]
    pub fn access(&self, user_id: u32) -> Access<'_> {
        let user = self
            .users
            .get(&user_id)
            .filter(|user| user.status == UserStatus::Active);
        Access {
            root: user.is_some_and(|user| user.is_root()),
            permissions: user.and_then(|user| user.permissions.as_ref()),
        }
    }
}

impl User {
    /// What this user may do; nothing while they are inactive.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        let active = self.status == UserStatus::Active;
        let permissions = self.permissions.as_ref().filter(|_| active);
        Access {
            root: active && self.is_root(),
            permissions,
        }
    }
}

impl<'a> Access<'a> {
    fn global(&self) -> Option<&'a GlobalPermissions> {
        self.permissions.map(|permissions| &permissions.global)
    }

    fn stream(&self, stream_id: u32) -> Option<&'a StreamPermissions> {
        self.permissions?.streams.get(&stream_id)
    }

    fn topic(&self, stream_id: u32, topic_id: u32) -> Option<&'a TopicPermissions> {
        self.stream(stream_id)?.topics.get(&topic_id)
    }

    fn globally(&self, holds: impl FnOnce(&GlobalPermissions) -> bool) -> bool {
        self.root || self.global().is_some_and(holds)
    }

    /// Statistics, clients.
    #[must_use]
    pub fn may_read_servers(&self) -> bool {
        self.globally(|global| global.manage_servers || global.read_servers)
    }

    /// Any user's data; one's own is always allowed.
    #[must_use]
    pub fn may_read_users(&self) -> bool {
        self.globally(|global| global.manage_users || global.read_users)
    }

    /// Create, change and delete users.
    #[must_use]
    pub fn may_manage_users(&self) -> bool {
        self.globally(|global| global.manage_users)
    }

    /// List all streams.
    #[must_use]
    pub fn may_read_streams(&self) -> bool {
        self.globally(|global| global.manage_streams || global.read_streams)
    }

    /// Create streams.
    #[must_use]
    pub fn may_create_stream(&self) -> bool {
        self.globally(|global| global.manage_streams)
    }

    /// Read one stream.
    #[must_use]
    pub fn may_read_stream(&self, stream_id: u32) -> bool {
        let in_stream = |stream: &StreamPermissions| stream.manage_stream || stream.read_stream;
        self.may_read_streams() || self.stream(stream_id).is_some_and(in_stream)
    }

    /// Rename, purge and delete one stream.
    #[must_use]
    pub fn may_manage_stream(&self, stream_id: u32) -> bool {
        self.may_create_stream()
            || self
                .stream(stream_id)
                .is_some_and(|stream| stream.manage_stream)
    }

    /// List the topics of one stream.
    #[must_use]
    pub fn may_read_topics(&self, stream_id: u32) -> bool {
        self.globally(|global| {
            global.manage_streams
                || global.read_streams
                || global.manage_topics
                || global.read_topics
        }) || self.stream(stream_id).is_some_and(|stream| {
            stream.manage_stream || stream.read_stream || stream.manage_topics || stream.read_topics
        })
    }

    /// Create topics in one stream.
    #[must_use]
    pub fn may_create_topic(&self, stream_id: u32) -> bool {
        let in_stream = |stream: &StreamPermissions| stream.manage_stream || stream.manage_topics;
        self.globally(|global| global.manage_streams || global.manage_topics)
            || self.stream(stream_id).is_some_and(in_stream)
    }

    /// Change, purge and delete one topic, its partitions and its segments.
    #[must_use]
    pub fn may_manage_topic(&self, stream_id: u32, topic_id: u32) -> bool {
        self.may_create_topic(stream_id)
            || self
                .topic(stream_id, topic_id)
                .is_some_and(|topic| topic.manage_topic)
    }

    /// Read one topic; create, delete, join, leave and list its consumer groups.
    #[must_use]
    pub fn may_read_topic(&self, stream_id: u32, topic_id: u32) -> bool {
        let in_topic = |topic: &TopicPermissions| topic.manage_topic || topic.read_topic;
        self.may_read_topics(stream_id) || self.topic(stream_id, topic_id).is_some_and(in_topic)
    }

    /// Poll from one topic; get, store and delete consumer offsets.
    #[must_use]
    pub fn may_poll(&self, stream_id: u32, topic_id: u32) -> bool {
        self.may_read_topic(stream_id, topic_id)
            || self.globally(|global| global.poll_messages)
            || self
                .stream(stream_id)
                .is_some_and(|stream| stream.poll_messages)
            || self
                .topic(stream_id, topic_id)
                .is_some_and(|topic| topic.poll_messages)
    }

    /// Send to one topic.
    #[must_use]
    pub fn may_send(&self, stream_id: u32, topic_id: u32) -> bool {
        self.may_manage_topic(stream_id, topic_id)
            || self.globally(|global| global.send_messages)
            || self
                .stream(stream_id)
                .is_some_and(|stream| stream.send_messages)
            || self
                .topic(stream_id, topic_id)
                .is_some_and(|topic| topic.send_messages)
    }
}

/// `Ok`, or `UNAUTHORIZED`.
///
/// # Errors
/// `UNAUTHORIZED` when `allowed` is false.
pub fn allow(allowed: bool) -> Result<(), Status> {
    if allowed {
        Ok(())
    } else {
        Err(Status::UNAUTHORIZED)
    }
}

impl Decider<'_> {
    pub(super) fn may_create_stream(&self) -> Result<(), Status> {
        allow(self.access().may_create_stream())
    }

    pub(super) fn may_manage_stream(&self, stream_id: u32) -> Result<(), Status> {
        allow(self.access().may_manage_stream(stream_id))
    }

    pub(super) fn may_create_topic(&self, stream_id: u32) -> Result<(), Status> {
        allow(self.access().may_create_topic(stream_id))
    }

    pub(super) fn may_manage_topic(&self, stream_id: u32, topic_id: u32) -> Result<(), Status> {
        allow(self.access().may_manage_topic(stream_id, topic_id))
    }

    pub(super) fn may_use_groups(&self, stream_id: u32, topic_id: u32) -> Result<(), Status> {
        allow(self.access().may_read_topic(stream_id, topic_id))
    }

    pub(super) fn may_manage_users(&self) -> Result<(), Status> {
        allow(self.access().may_manage_users())
    }
}
