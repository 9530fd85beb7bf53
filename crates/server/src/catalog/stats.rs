//! Counters that the data plane keeps and the control plane's replies show.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::key::PartitionKey;
use super::model::{Stream, Topic};

/// What one partition holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionStats {
    /// Messages that can be polled.
    pub messages_count: u64,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Segments on disk, the active one included.
    pub segments_count: u32,
    /// Offset of the newest durable message; 0 also when there is none.
    pub current_offset: u64,
}

/// Where a reply gets the counters from. A partition that is unknown counts as empty.
pub trait StatsSource {
    /// What this partition holds at the moment.
    fn partition(&self, key: &PartitionKey) -> PartitionStats;
}

impl StatsSource for BTreeMap<PartitionKey, PartitionStats> {
    fn partition(&self, key: &PartitionKey) -> PartitionStats {
        self.get(key).copied().unwrap_or_default()
    }
}

impl<S: std::hash::BuildHasher> StatsSource
    for std::collections::HashMap<PartitionKey, PartitionStats, S>
{
    fn partition(&self, key: &PartitionKey) -> PartitionStats {
        self.get(key).copied().unwrap_or_default()
    }
}

/// Sums over many partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Partitions summed.
    pub partitions_count: u32,
    /// Messages that can be polled.
    pub messages_count: u64,
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Segments on disk.
    pub segments_count: u32,
}

impl AddAssign<PartitionStats> for Counters {
    fn add_assign(&mut self, stats: PartitionStats) {
        self.partitions_count += 1;
        self.messages_count += stats.messages_count;
        self.size_bytes += stats.size_bytes;
        self.segments_count = self.segments_count.saturating_add(stats.segments_count);
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.partitions_count += other.partitions_count;
        self.messages_count += other.messages_count;
        self.size_bytes += other.size_bytes;
        self.segments_count = self.segments_count.saturating_add(other.segments_count);
    }
}

impl Topic {
    /// The sums over this topic's partitions; `stream_id` is the stream that has the topic.
    #[must_use]
    pub fn counters(&self, stream_id: u32, stats: &dyn StatsSource) -> Counters {
        let mut counters = Counters::default();
        for key in self.partition_keys(stream_id) {
            counters += stats.partition(&key);
        }
        counters
    }
}

impl Stream {
    /// The sums over this stream's topics.
    #[must_use]
    pub fn counters(&self, stats: &dyn StatsSource) -> Counters {
        let mut counters = Counters::default();
        for topic in self.topics() {
            counters += topic.counters(self.id, stats);
        }
        counters
    }
}
