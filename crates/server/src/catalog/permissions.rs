//! What a user may do: the protocol's three levels of flags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The permissions of one user. An absent stream or topic inherits from the level above.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// What holds for the whole server.
    pub global: GlobalPermissions,
    /// What holds for single streams, by stream id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<u32, StreamPermissions>,
}

/// Flags for the whole server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GlobalPermissions {
    /// Everything about servers.
    pub manage_servers: bool,
    /// Statistics and clients.
    pub read_servers: bool,
    /// Everything about users.
    pub manage_users: bool,
    /// List users.
    pub read_users: bool,
    /// Everything about streams, their topics included.
    pub manage_streams: bool,
    /// List streams, their topics included.
    pub read_streams: bool,
    /// Everything about topics.
    pub manage_topics: bool,
    /// List topics, partitions and groups.
    pub read_topics: bool,
    /// Poll, and store offsets.
    pub poll_messages: bool,
    /// Send.
    pub send_messages: bool,
}

/// Flags for one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPermissions {
    /// Everything about the stream, its topics included.
    pub manage_stream: bool,
    /// Read the stream, its topics included.
    pub read_stream: bool,
    /// Everything about its topics.
    pub manage_topics: bool,
    /// List its topics, partitions and groups.
    pub read_topics: bool,
    /// Poll from any of its topics.
    pub poll_messages: bool,
    /// Send to any of its topics.
    pub send_messages: bool,
    /// What holds for single topics, by topic id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<u32, TopicPermissions>,
}

/// Flags for one topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPermissions {
    /// Everything about the topic.
    pub manage_topic: bool,
    /// Read the topic.
    pub read_topic: bool,
    /// Poll from it.
    pub poll_messages: bool,
    /// Send to it.
    pub send_messages: bool,
}

impl Permissions {
    /// Streams plus topics that are named.
    #[must_use]
    pub fn entries_count(&self) -> usize {
        self.streams
            .values()
            .map(|stream| 1 + stream.topics.len())
            .sum()
    }
}
