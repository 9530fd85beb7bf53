//! One step of the catalog, as decided, journalled and applied.
//!
//! The JSON form is the durable format (one journal record each): fields may be added with a
//! default, never renamed or given another meaning. `testdata/catalog/` holds an example of each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::UserStatus;
use super::options::TopicOptions;
use super::permissions::Permissions;

/// A decided change: ids and times are inside, so that applying it is deterministic.
///
/// All times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// The next ids to give out, when larger than what the records imply: ids are never reused,
    /// not even after a compaction that forgot the deleted owners.
    ReserveIds {
        /// The next stream gets this id or a larger one.
        next_stream_id: u32,
        /// The next user gets this id or a larger one.
        next_user_id: u32,
    },
    /// A stream came to be.
    CreateStream {
        /// Given by the catalog.
        stream_id: u32,
        /// Unique among streams.
        name: Arc<str>,
        /// When.
        created_at_us: u64,
        /// The stream's next topic gets this id or a larger one.
        #[serde(default, skip_serializing_if = "is_zero")]
        next_topic_id: u32,
    },
    /// A stream has another name.
    RenameStream {
        /// Which.
        stream_id: u32,
        /// The new name.
        name: Arc<str>,
    },
    /// A stream is gone, with its topics.
    DeleteStream {
        /// Which.
        stream_id: u32,
    },
    /// A topic came to be.
    CreateTopic {
        /// The stream that has it.
        stream_id: u32,
        /// Given by the catalog.
        topic_id: u32,
        /// Unique within the stream.
        name: Arc<str>,
        /// When.
        created_at_us: u64,
        /// Partitions `0..partitions_count`, created at the same time.
        partitions_count: u32,
        /// Options in force.
        options: TopicOptions,
        /// The topic's next consumer group gets this id or a larger one.
        #[serde(default, skip_serializing_if = "is_zero")]
        next_group_id: u32,
    },
    /// A topic has another name or other options.
    UpdateTopic {
        /// The stream that has it.
        stream_id: u32,
        /// Which.
        topic_id: u32,
        /// The name from now on.
        name: Arc<str>,
        /// The options from now on.
        options: TopicOptions,
    },
    /// A topic is gone, with its partitions and groups.
    DeleteTopic {
        /// The stream that had it.
        stream_id: u32,
        /// Which.
        topic_id: u32,
    },
    /// A topic has more partitions.
    CreatePartitions {
        /// The stream that has the topic.
        stream_id: u32,
        /// Which topic.
        topic_id: u32,
        /// How many, with the ids that follow the existing ones.
        partitions_count: u32,
        /// When.
        created_at_us: u64,
    },
    /// A topic has fewer partitions.
    DeletePartitions {
        /// The stream that has the topic.
        stream_id: u32,
        /// Which topic.
        topic_id: u32,
        /// How many, those with the highest ids.
        partitions_count: u32,
    },
    /// A consumer group came to be.
    CreateGroup {
        /// The stream that has the topic.
        stream_id: u32,
        /// The topic that has it.
        topic_id: u32,
        /// Given by the catalog.
        group_id: u32,
        /// Unique within the topic.
        name: Arc<str>,
        /// When.
        created_at_us: u64,
    },
    /// A consumer group is gone.
    DeleteGroup {
        /// The stream that has the topic.
        stream_id: u32,
        /// The topic that had it.
        topic_id: u32,
        /// Which.
        group_id: u32,
    },
    /// A user came to be.
    CreateUser {
        /// Given by the catalog; 0 is the root user.
        user_id: u32,
        /// Unique among users.
        username: Arc<str>,
        /// Argon2id in PHC string form.
        password_hash: Arc<str>,
        /// Whether they may log in.
        status: UserStatus,
        /// What they may do.
        permissions: Option<Permissions>,
        /// When.
        created_at_us: u64,
    },
    /// A user has another name or status.
    UpdateUser {
        /// Which.
        user_id: u32,
        /// The name from now on.
        username: Arc<str>,
        /// The status from now on.
        status: UserStatus,
    },
    /// A user may do something else.
    UpdatePermissions {
        /// Which.
        user_id: u32,
        /// What they may do from now on.
        permissions: Option<Permissions>,
    },
    /// A user has another password.
    ChangePassword {
        /// Which.
        user_id: u32,
        /// Argon2id in PHC string form.
        password_hash: Arc<str>,
    },
    /// A user is gone, with their tokens.
    DeleteUser {
        /// Which.
        user_id: u32,
    },
    /// A personal access token came to be.
    CreateToken {
        /// Whose.
        user_id: u32,
        /// Unique among the user's tokens.
        name: Arc<str>,
        /// The token's hash; the token itself is stored nowhere.
        token_hash: Arc<str>,
        /// When it stops being valid; `None` is never.
        expiry_at_us: Option<u64>,
    },
    /// A personal access token is gone.
    DeleteToken {
        /// Whose.
        user_id: u32,
        /// Which.
        name: Arc<str>,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Change {
    /// The journal record of this change: one line of JSON without a line end.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps with integer keys are JSON")
    }

    /// The change in a journal record.
    ///
    /// # Errors
    /// The record is not one: it was written by a newer server or is damaged.
    pub fn from_record(record: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(record)
    }
}
