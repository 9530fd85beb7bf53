//! Every limit of the control plane, with its default and the reason for it.

use super::options::TopicDefaults;

/// Limits of the catalog and of consumer group membership.
///
/// The protocol's own limits (name lengths, password lengths, partitions per request) are
/// constants below; these can be set by the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogLimits {
    /// Streams that may exist. A stream costs about 300 bytes of memory on each shard's snapshot;
    /// 4,096 keeps a listing of all of them below 2 MiB.
    pub streams_max: usize,
    /// Topics that may exist in one stream.
    pub topics_per_stream_max: usize,
    /// Partitions that may exist in one topic.
    pub partitions_per_topic_max: usize,
    /// Partitions that may exist in total. An idle one costs about 2 KiB of memory and no open
    /// file, and a start looks at each.
    pub partitions_max: usize,
    /// Consumer groups that may exist in one topic.
    pub groups_per_topic_max: usize,
    /// Clients that may be a member of one consumer group at a time. A rebalance costs
    /// `members + partitions` steps on shard 0.
    pub members_per_group_max: usize,
    /// Consumer groups that one client may be a member of at a time.
    pub groups_per_client_max: usize,
    /// Users that may exist, the root user included.
    pub users_max: usize,
    /// Personal access tokens that one user may have.
    pub tokens_per_user_max: usize,
    /// Streams plus topics that the permissions of one user may name.
    pub permission_entries_max: usize,
    /// Age and size of topics whose creators chose none: the operator's settings.
    pub topic_defaults: TopicDefaults,
}

impl Default for CatalogLimits {
    fn default() -> Self {
        Self {
            streams_max: 4_096,
            topics_per_stream_max: 4_096,
            partitions_per_topic_max: 10_000,
            partitions_max: 20_000,
            groups_per_topic_max: 1_024,
            members_per_group_max: 1_024,
            groups_per_client_max: 1_024,
            users_max: 1_024,
            tokens_per_user_max: 100,
            permission_entries_max: 4_096,
            topic_defaults: TopicDefaults::default(),
        }
    }
}

/// Bytes of UTF-8 in the name of a stream, topic or consumer group (protocol: a `u8` length).
pub const NAME_BYTES_MAX: usize = 255;
/// Partitions that one request may create or delete (protocol).
pub const PARTITIONS_PER_REQUEST_MAX: u32 = 1_000;
/// Bytes in a user name (protocol).
pub const USERNAME_BYTES_MIN: usize = 3;
/// Bytes in a user name (protocol).
pub const USERNAME_BYTES_MAX: usize = 50;
/// Bytes in a password (protocol).
pub const PASSWORD_BYTES_MIN: usize = 3;
/// Bytes in a password (protocol).
pub const PASSWORD_BYTES_MAX: usize = 100;
/// Bytes in the name of a personal access token (protocol).
pub const TOKEN_NAME_BYTES_MIN: usize = 3;
/// Bytes in the name of a personal access token (protocol).
pub const TOKEN_NAME_BYTES_MAX: usize = 30;
/// The smallest `segment_size` of a topic. Smaller segments multiply open files.
pub const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// The largest `segment_size` of a topic (protocol).
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The largest `size_of_messages_required_to_save` of a topic (protocol).
pub const SAVE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The largest `messages_required_to_save` of a topic (protocol).
pub const SAVE_MESSAGES_MAX: u32 = 16 * 1024 * 1024;
/// What one topic with `preallocate_segments` may reserve: `segment_size` × partitions (protocol).
pub const PREALLOCATED_TOPIC_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
