//! Keys that name a partition and a consumer group anywhere in the server.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One partition, named by the numeric ids of its stream and topic.
///
/// Stream and topic ids are never reused. A partition id is its position in the topic (published
/// clients rely on `0..partitions_count`), so it is used again after a delete; the directory of a
/// deleted partition must be gone before the delete is acknowledged, and orphans are removed at
/// start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    /// Numeric id of the stream.
    pub stream_id: u32,
    /// Numeric id of the topic within the stream.
    pub topic_id: u32,
    /// Position of the partition within the topic.
    pub partition_id: u32,
}

impl PartitionKey {
    /// The key of partition `partition_id` of a topic.
    #[must_use]
    pub const fn new(stream_id: u32, topic_id: u32, partition_id: u32) -> Self {
        Self {
            stream_id,
            topic_id,
            partition_id,
        }
    }

    /// The shard that owns this partition when `shards_count` shards run.
    ///
    /// Neighbouring partitions of a topic go to neighbouring shards, and each topic starts at
    /// another shard, so that many topics with one partition spread too. A pure function of the
    /// key: every shard computes the same owner without asking. The mapping may change between
    /// starts with another shard count, as nothing on disk depends on it.
    ///
    /// # Panics
    /// When `shards_count` is 0.
    #[must_use]
    pub fn owner_shard(&self, shards_count: usize) -> usize {
        assert!(shards_count > 0, "a server has at least one shard");
        let start = u64::from(self.stream_id).wrapping_mul(7) + u64::from(self.topic_id);
        let position = start + u64::from(self.partition_id);
        usize::try_from(position % shards_count as u64).expect("smaller than shards_count")
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}",
            self.stream_id, self.topic_id, self.partition_id
        )
    }
}

/// One consumer group, named by the numeric ids of its stream and topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    /// Numeric id of the stream.
    pub stream_id: u32,
    /// Numeric id of the topic within the stream.
    pub topic_id: u32,
    /// Numeric id of the group within the topic, never reused.
    pub group_id: u32,
}

impl GroupKey {
    /// The key of group `group_id` of a topic.
    #[must_use]
    pub const fn new(stream_id: u32, topic_id: u32, group_id: u32) -> Self {
        Self {
            stream_id,
            topic_id,
            group_id,
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stream_id, self.topic_id, self.group_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_a_topic_go_round_the_shards() {
        for shards_count in 1..=7 {
            for topic_id in 0..5 {
                let owners: Vec<usize> = (0..14)
                    .map(|id| PartitionKey::new(3, topic_id, id).owner_shard(shards_count))
                    .collect();
                for pair in owners.windows(2) {
                    assert_eq!(pair[1], (pair[0] + 1) % shards_count);
                }
            }
        }
    }

    #[test]
    fn topics_with_one_partition_spread_over_the_shards() {
        let mut counts = [0_u32; 4];
        for topic_id in 0..100 {
            counts[PartitionKey::new(9, topic_id, 0).owner_shard(4)] += 1;
        }
        assert_eq!(counts, [25; 4]);
    }

    #[test]
    fn the_largest_key_has_an_owner() {
        let key = PartitionKey::new(u32::MAX, u32::MAX, u32::MAX);
        assert!(key.owner_shard(3) < 3);
        assert_eq!(key.to_string(), "4294967295/4294967295/4294967295");
    }
}
