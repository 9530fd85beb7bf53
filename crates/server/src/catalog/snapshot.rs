//! The shortest list of changes that rebuilds a catalog: what the journal is rewritten to.

use super::change::Change;
use super::model::{Catalog, Stream, Topic, User};

impl Catalog {
    /// Changes that rebuild this catalog exactly when applied in order to an empty one.
    ///
    /// One per stream, topic, run of partitions created together, group, user and token.
    #[must_use]
    pub fn to_changes(&self) -> Vec<Change> {
        let mut changes = vec![Change::ReserveIds {
            next_stream_id: self.next_stream_id,
            next_user_id: self.next_user_id,
        }];
        for user in self.users.values() {
            push_user(user, &mut changes);
        }
        for stream in self.streams.values() {
            push_stream(stream, &mut changes);
        }
        changes
    }
}

fn push_user(user: &User, changes: &mut Vec<Change>) {
    changes.push(Change::CreateUser {
        user_id: user.id,
        username: user.username.clone(),
        password_hash: user.password_hash.clone(),
        status: user.status,
        permissions: user.permissions.clone(),
        created_at_us: user.created_at_us,
    });
    changes.extend(user.tokens.values().map(|token| Change::CreateToken {
        user_id: user.id,
        name: token.name.clone(),
        token_hash: token.token_hash.clone(),
        expiry_at_us: token.expiry_at_us,
    }));
}

fn push_stream(stream: &Stream, changes: &mut Vec<Change>) {
    changes.push(Change::CreateStream {
        stream_id: stream.id,
        name: stream.name.clone(),
        created_at_us: stream.created_at_us,
        next_topic_id: stream.next_topic_id,
    });
    for topic in stream.topics.values() {
        push_topic(stream.id, topic, changes);
    }
}

fn push_topic(stream_id: u32, topic: &Topic, changes: &mut Vec<Change>) {
    let mut runs = topic
        .partitions
        .chunk_by(|one, next| one == next)
        .peekable();
    let together = runs.next_if(|run| run[0] == topic.created_at_us);
    changes.push(Change::CreateTopic {
        stream_id,
        topic_id: topic.id,
        name: topic.name.clone(),
        created_at_us: topic.created_at_us,
        partitions_count: together.map_or(0, run_count),
        options: topic.options,
        next_group_id: topic.next_group_id,
    });
    changes.extend(runs.map(|run| Change::CreatePartitions {
        stream_id,
        topic_id: topic.id,
        partitions_count: run_count(run),
        created_at_us: run[0],
    }));
    changes.extend(topic.groups.values().map(|group| Change::CreateGroup {
        stream_id,
        topic_id: topic.id,
        group_id: group.id,
        name: group.name.clone(),
        created_at_us: group.created_at_us,
    }));
}

fn run_count(run: &[u64]) -> u32 {
    u32::try_from(run.len()).expect("limited by partitions_per_topic_max")
}
