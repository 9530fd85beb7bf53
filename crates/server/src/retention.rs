//! Retention: what is too old, or too much for its topic, goes; whole segments, oldest first.
//!
//! Each shard looks at its own partitions for their age. For the size of a topic over all of its
//! partitions, the shard of partition 0 asks the others, because only the sum tells. One look does
//! a bounded amount of work, and the next one goes on.
//!
//! Besides, a partition is looked at when it will soon begin a segment: what is removed then gives
//! its file to that segment, and a topic under load does not grow far beyond its size.

use std::rc::Rc;

use compio::time::sleep;
use futures_util::FutureExt;

use crate::catalog::{PartitionKey, Topic, UNLIMITED};
use crate::control::now_us;
use crate::partition::{Partition, PartitionSize};
use crate::shard::event::TopicKey;
use crate::shard::{Shard, task};

/// Looks now and then at regular intervals, until the shard drains.
pub(crate) fn start(shard: &Rc<Shard>) {
    let shard = Rc::clone(shard);
    task::spawn("retention", async move {
        loop {
            expire(&shard).await;
            shrink(&shard).await;
            let mut pause = Box::pin(sleep(shard.limits.retention_interval)).fuse();
            loop {
                futures_util::select_biased! {
                    () = Box::pin(shard.drain_begun()).fuse() => return,
                    () = pause => break,
                    key = Box::pin(shard.storage.near_end()).fuse() => near_end(&shard, key).await,
                }
            }
        }
    });
}

/// Looks at a partition that will soon begin a segment, and at its topic.
async fn near_end(shard: &Shard, key: PartitionKey) {
    let snapshot = shard.snapshot();
    let (stream_id, topic_id) = (key.stream_id, key.topic_id);
    let topic = snapshot.catalog.topic(stream_id.into(), topic_id.into());
    let (Ok(partition), Some((_, topic))) = (shard.partition(key), topic) else {
        return;
    };
    expire_partition(shard, &partition, topic).await;
    let bytes_max = topic.options.topic_bytes_max.value;
    if bytes_max != UNLIMITED && shard.limits.delete_oldest_segments {
        shrink_topic(shard, (stream_id, topic_id), bytes_max).await;
    }
}

/// Removes what is older than its topic wants it.
async fn expire(shard: &Shard) {
    let snapshot = shard.snapshot();
    for (key, partition) in shard.open_partitions() {
        let topic = snapshot
            .catalog
            .topic(key.stream_id.into(), key.topic_id.into());
        if let Some((_, topic)) = topic {
            expire_partition(shard, &partition, topic).await;
        }
    }
}

async fn expire_partition(shard: &Shard, partition: &Partition, topic: &Topic) {
    let expiry_us = topic.options.message_expiry_us.value;
    if expiry_us != UNLIMITED {
        let before_us = now_us().saturating_sub(expiry_us);
        let removed = partition.remove_expired(before_us).await;
        tell(shard, partition.key(), "age", removed);
    }
}

/// Brings topics whose partition 0 is here back to their size.
async fn shrink(shard: &Shard) {
    let snapshot = shard.snapshot();
    let shards = shard.machine.shards_count;
    for stream in snapshot.catalog.streams() {
        for topic in stream.topics() {
            let key = PartitionKey::new(stream.id, topic.id, 0);
            let bytes_max = topic.options.topic_bytes_max.value;
            if bytes_max == UNLIMITED || key.owner_shard(shards) != shard.index {
                continue;
            }
            shrink_topic(shard, (stream.id, topic.id), bytes_max).await;
        }
    }
    lift_rooms(shard);
}

/// Brings a topic back to its size, or bounds its growth.
async fn shrink_topic(shard: &Shard, topic: TopicKey, bytes_max: u64) {
    let Some(sizes) = shard.topic_sizes(topic).await else {
        tracing::debug!(stream = topic.0, topic = topic.1, "too busy to be measured");
        return;
    };
    if !shard.limits.delete_oldest_segments {
        let size_bytes: u64 = sizes.iter().map(|size| size.size_bytes).sum();
        shard.set_topic_room(topic, bytes_max.saturating_sub(size_bytes));
        return;
    }
    let segments_max = shard.limits.retention_segments_max;
    for (key, offset) in surplus(&sizes, bytes_max, segments_max) {
        if let Err(status) = shard.remove_before(key, offset).await {
            tracing::debug!(partition = %key, %status, "old segments stay");
        }
    }
}

/// A topic that has no size any more is bounded no more.
fn lift_rooms(shard: &Shard) {
    let snapshot = shard.snapshot();
    for (key, partition) in shard.open_partitions() {
        let topic = snapshot
            .catalog
            .topic(key.stream_id.into(), key.topic_id.into());
        if topic.is_some_and(|(_, topic)| topic.options.topic_bytes_max.value == UNLIMITED) {
            partition.set_room(UNLIMITED);
        }
    }
}

/// Sizes of the partitions of a topic that are on this shard.
pub(crate) fn sizes(shard: &Shard, topic: TopicKey) -> Vec<PartitionSize> {
    of_topic(shard, topic)
        .iter()
        .map(|partition| partition.size())
        .collect()
}

/// Bounds the growth of the partitions of a topic that are on this shard.
pub(crate) fn set_room(shard: &Shard, topic: TopicKey, room_bytes: u64) {
    for partition in of_topic(shard, topic) {
        partition.set_room(room_bytes);
    }
}

/// Removes the sealed segments of a partition before an offset, and says so.
pub(crate) async fn remove_before(shard: &Shard, partition: &Partition, offset: u64) {
    let removed = partition.remove_before(offset).await;
    tell(shard, partition.key(), "size", removed);
}

fn of_topic(shard: &Shard, (stream_id, topic_id): TopicKey) -> Vec<Rc<Partition>> {
    let snapshot = shard.snapshot();
    let Some((_, topic)) = snapshot.catalog.topic(stream_id.into(), topic_id.into()) else {
        return Vec::new();
    };
    topic
        .partition_keys(stream_id)
        .filter(|key| key.owner_shard(shard.machine.shards_count) == shard.index)
        .filter_map(|key| shard.partition(key).ok())
        .collect()
}

fn tell(
    shard: &Shard,
    partition: PartitionKey,
    reason: &'static str,
    removed: Result<storage::Removed, storage::Error>,
) {
    match removed {
        Ok(removed) if removed.segments_count > 0 => {
            shard.metrics.retention_removed(removed);
            let (segments, bytes) = (removed.segments_count, removed.record_bytes);
            tracing::info!(%partition, segments, bytes, reason, "old messages removed");
        }
        Ok(_) | Err(storage::Error::Closed) => {}
        // A fenced partition keeps what it has: it is evidence.
        Err(error) => tracing::debug!(%partition, %error, "old segments stay"),
    }
}

/// Which partitions of a topic must lose what lies before which offset, so that the topic comes
/// down to `bytes_max`: the oldest sealed segments of all, at most `segments_max`.
fn surplus(
    sizes: &[PartitionSize],
    bytes_max: u64,
    segments_max: usize,
) -> Vec<(PartitionKey, u64)> {
    let mut size_bytes: u64 = sizes.iter().map(|size| size.size_bytes).sum();
    let mut next: Vec<usize> = vec![0; sizes.len()];
    for _ in 0..segments_max {
        if size_bytes <= bytes_max {
            break;
        }
        let oldest = sizes
            .iter()
            .zip(&next)
            .enumerate()
            .filter_map(|(number, (size, next))| Some((size.sealed.get(*next)?, number)))
            .min_by_key(|(segment, number)| (segment.last_timestamp_us, *number));
        let Some((segment, number)) = oldest else {
            break;
        };
        size_bytes -= segment.record_bytes.min(size_bytes);
        next[number] += 1;
    }
    let removed = sizes.iter().zip(next).filter_map(|(size, count)| {
        let last = size.sealed.get(count.checked_sub(1)?)?;
        Some((size.key, last.next_offset))
    });
    removed.collect()
}

#[cfg(test)]
mod tests {
    use storage::SealedSegment;

    use super::*;

    /// A partition with sealed segments of 10 bytes, each of one message, and 5 bytes more.
    fn partition(partition_id: u32, last_timestamps_us: &[u64]) -> PartitionSize {
        let sealed = last_timestamps_us.iter().zip(1..);
        PartitionSize {
            key: PartitionKey::new(1, 2, partition_id),
            size_bytes: 10 * last_timestamps_us.len() as u64 + 5,
            sealed: sealed
                .map(|(last_timestamp_us, next_offset)| SealedSegment {
                    next_offset,
                    record_bytes: 10,
                    last_timestamp_us: *last_timestamp_us,
                })
                .collect(),
        }
    }

    fn check(bytes_max: u64, segments_max: usize, expected: &[(u32, u64)]) {
        let sizes = [partition(0, &[10, 20, 60]), partition(1, &[30, 40, 50])];
        let found = surplus(&sizes, bytes_max, segments_max);
        let found: Vec<_> = found
            .iter()
            .map(|(key, offset)| (key.partition_id, *offset))
            .collect();
        assert_eq!(found, expected, "{bytes_max} {segments_max}");
    }

    #[test]
    fn the_oldest_segments_of_all_partitions_go_first() {
        // 70 bytes in all.
        check(70, 9, &[]);
        check(69, 9, &[(0, 1)]);
        check(60, 9, &[(0, 1)]);
        check(59, 9, &[(0, 2)]);
        check(49, 9, &[(0, 2), (1, 1)]);
        check(21, 9, &[(0, 2), (1, 3)]);
    }

    #[test]
    fn active_segments_stay_and_a_look_is_bounded() {
        check(0, 9, &[(0, 3), (1, 3)]);
        check(0, 0, &[]);
        check(0, 3, &[(0, 2), (1, 1)]);
        assert_eq!(surplus(&[], 0, 9), []);
    }
}
