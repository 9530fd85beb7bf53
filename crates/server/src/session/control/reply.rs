//! Bodies of replies: what the catalog holds, in the published response types.

use bytes::Bytes;
use wire::iggy::published::responses::consumer_groups::ConsumerGroupResponse;
use wire::iggy::published::responses::consumer_groups::{
    ConsumerGroupDetailsResponse, ConsumerGroupMemberResponse,
};
use wire::iggy::published::responses::personal_access_tokens::{
    PersonalAccessTokenResponse, RawPersonalAccessTokenResponse,
};
use wire::iggy::published::responses::streams::StreamResponse;
use wire::iggy::published::responses::streams::get_stream::TopicHeader;
use wire::iggy::published::responses::topics::get_topic::{GetTopicResponse, PartitionResponse};
use wire::iggy::published::responses::users::{UserDetailsResponse, UserResponse};
use wire::iggy::published::{WireEncode, WireOptions};

use super::names::wire_name;
use super::options;
use super::permissions::{user_status_code, wire_permissions};
use crate::catalog::{
    Catalog, Change, Compression, ConsumerGroup, Counters, GroupCoordinator, GroupKey,
    PartitionStats, StatsSource, Stream, Token, Topic, TopicOptions, User,
};

/// The body of the reply to a change that was applied. Creations show what they created, as it
/// was at that moment: made from the change, as somebody may have deleted it since. Everything
/// else has an empty body. `catalog` is a state after the change.
pub(crate) fn changed(change: &Change, catalog: &Catalog) -> Bytes {
    match change {
        Change::CreateStream {
            stream_id,
            name,
            created_at_us,
            ..
        } => StreamResponse {
            id: *stream_id,
            created_at: *created_at_us,
            topics_count: 0,
            size_bytes: 0,
            messages_count: 0,
            name: wire_name(name),
            options: WireOptions::empty(),
        }
        .to_bytes(),
        Change::CreateTopic {
            topic_id,
            name,
            created_at_us,
            partitions_count,
            options,
            ..
        } => created_topic(&TopicFacts {
            id: *topic_id,
            name,
            created_at_us: *created_at_us,
            partitions_count: *partitions_count,
            options,
        }),
        Change::CreateGroup {
            stream_id,
            topic_id,
            group_id,
            name,
            ..
        } => {
            let topic = catalog.topic((*stream_id).into(), (*topic_id).into());
            let group = ConsumerGroupResponse {
                id: *group_id,
                partitions_count: topic.map_or(0, |(_, topic)| topic.partitions_count()),
                members_count: 0,
                name: wire_name(name),
            };
            ConsumerGroupDetailsResponse {
                group,
                members: Vec::new(),
            }
            .to_bytes()
        }
        Change::CreateUser { .. } => created_user(change),
        _ => Bytes::new(),
    }
}

fn created_topic(topic: &TopicFacts<'_>) -> Bytes {
    let partitions = 0..topic.partitions_count;
    GetTopicResponse {
        topic: topic.header(Counters::default()),
        partitions: partitions
            .map(|id| partition_response(id, topic.created_at_us, FRESH))
            .collect(),
    }
    .to_bytes()
}

fn created_user(change: &Change) -> Bytes {
    let Change::CreateUser {
        user_id,
        username,
        status,
        permissions,
        created_at_us,
        ..
    } = change
    else {
        return Bytes::new();
    };
    let user = UserResponse {
        id: *user_id,
        created_at: *created_at_us,
        status: user_status_code(*status),
        username: wire_name(username),
        options: WireOptions::empty(),
    };
    let permissions = permissions.as_ref().map(wire_permissions);
    UserDetailsResponse { user, permissions }.to_bytes()
}

/// A partition that was just created: empty, with its first segment.
const FRESH: PartitionStats = PartitionStats {
    messages_count: 0,
    size_bytes: 0,
    segments_count: 1,
    current_offset: 0,
};

/// The body of the reply to a created token: the only time that it is shown.
pub(crate) fn token_created(token: &str) -> Bytes {
    RawPersonalAccessTokenResponse {
        token: wire_name(token),
    }
    .to_bytes()
}

pub(super) fn stream_response(stream: &Stream, stats: &dyn StatsSource) -> StreamResponse {
    let counters = stream.counters(stats);
    StreamResponse {
        id: stream.id,
        created_at: stream.created_at_us,
        topics_count: count(stream.topics().len()),
        size_bytes: counters.size_bytes,
        messages_count: counters.messages_count,
        name: wire_name(&stream.name),
        options: WireOptions::empty(),
    }
}

/// What a topic's header shows beside its counters.
struct TopicFacts<'a> {
    id: u32,
    name: &'a str,
    created_at_us: u64,
    partitions_count: u32,
    options: &'a TopicOptions,
}

impl TopicFacts<'_> {
    fn header(&self, counters: Counters) -> TopicHeader {
        let (chosen, derived) = options::encode(self.options);
        TopicHeader {
            id: self.id,
            created_at: self.created_at_us,
            partitions_count: self.partitions_count,
            message_expiry: self.options.message_expiry_us.value,
            compression_algorithm: match self.options.compression_algorithm.value {
                Compression::None => 1,
                Compression::Gzip => 2,
            },
            max_topic_size: self.options.topic_bytes_max.value,
            size_bytes: counters.size_bytes,
            messages_count: counters.messages_count,
            name: wire_name(self.name),
            options: chosen,
            derived_options: derived,
        }
    }
}

pub(super) fn topic_header(stream_id: u32, topic: &Topic, stats: &dyn StatsSource) -> TopicHeader {
    let facts = TopicFacts {
        id: topic.id,
        name: &topic.name,
        created_at_us: topic.created_at_us,
        partitions_count: topic.partitions_count(),
        options: &topic.options,
    };
    facts.header(topic.counters(stream_id, stats))
}

fn partition_response(id: u32, created_at_us: u64, stats: PartitionStats) -> PartitionResponse {
    PartitionResponse {
        id,
        created_at: created_at_us,
        segments_count: stats.segments_count,
        current_offset: stats.current_offset,
        size_bytes: stats.size_bytes,
        messages_count: stats.messages_count,
    }
}

pub(super) fn topic_response(
    stream_id: u32,
    topic: &Topic,
    stats: &dyn StatsSource,
) -> GetTopicResponse {
    let partitions = topic
        .partition_keys(stream_id)
        .zip(topic.partitions_created_at_us());
    GetTopicResponse {
        topic: topic_header(stream_id, topic, stats),
        partitions: partitions
            .map(|(key, created_at_us)| {
                partition_response(key.partition_id, *created_at_us, stats.partition(&key))
            })
            .collect(),
    }
}

pub(super) fn group_response(
    stream_id: u32,
    topic: &Topic,
    group: &ConsumerGroup,
    coordinator: &GroupCoordinator,
) -> ConsumerGroupResponse {
    let members = coordinator.members(GroupKey::new(stream_id, topic.id, group.id));
    ConsumerGroupResponse {
        id: group.id,
        partitions_count: topic.partitions_count(),
        members_count: count(members.len()),
        name: wire_name(&group.name),
    }
}

pub(super) fn group_details(
    stream_id: u32,
    topic: &Topic,
    group: &ConsumerGroup,
    coordinator: &GroupCoordinator,
) -> ConsumerGroupDetailsResponse {
    let members = coordinator.members(GroupKey::new(stream_id, topic.id, group.id));
    ConsumerGroupDetailsResponse {
        group: group_response(stream_id, topic, group, coordinator),
        members: members
            .iter()
            .map(|member| ConsumerGroupMemberResponse {
                id: member.client_id,
                partitions_count: count(member.partitions.len()),
                partitions: member.partitions.clone(),
            })
            .collect(),
    }
}

pub(super) fn user_response(user: &User) -> UserResponse {
    UserResponse {
        id: user.id,
        created_at: user.created_at_us,
        status: user_status_code(user.status),
        username: wire_name(&user.username),
        options: WireOptions::empty(),
    }
}

pub(super) fn user_details(user: &User) -> UserDetailsResponse {
    UserDetailsResponse {
        user: user_response(user),
        permissions: user.permissions.as_ref().map(wire_permissions),
    }
}

pub(super) fn token_response(token: &Token) -> PersonalAccessTokenResponse {
    PersonalAccessTokenResponse {
        name: wire_name(&token.name),
        expiry_at: token.expiry_at_us.unwrap_or(0),
    }
}

pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("every count has a limit below 2^32")
}
