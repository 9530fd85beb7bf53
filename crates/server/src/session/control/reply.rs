//! Bodies of replies: what the catalog holds, in the published response types.

use bytes::Bytes;
use wire::iggy::published::responses::consumer_groups::consumer_group_response::ConsumerGroupResponse;
use wire::iggy::published::responses::consumer_groups::get_consumer_group::{
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
    Catalog, Change, Compression, ConsumerGroup, GroupCoordinator, GroupKey, Identifier,
    PartitionKey, PartitionStats, StatsSource, Stream, Token, Topic, User,
};

/// Nothing stored yet: what a reply to a creation shows.
struct Fresh;

impl StatsSource for Fresh {
    fn partition(&self, _: &PartitionKey) -> PartitionStats {
        PartitionStats {
            segments_count: 1,
            ..PartitionStats::default()
        }
    }
}

/// The body of the reply to a change that was just applied; `catalog` is the state after it.
/// Creations show what they created, everything else has an empty body.
pub(crate) fn changed(change: &Change, catalog: &Catalog) -> Bytes {
    match change {
        Change::CreateStream { stream_id, .. } => {
            let stream = catalog.stream(Identifier::Id(*stream_id));
            stream.map(|stream| stream_response(stream, &Fresh).to_bytes())
        }
        Change::CreateTopic {
            stream_id,
            topic_id,
            ..
        } => {
            let found = catalog.topic((*stream_id).into(), (*topic_id).into());
            found.map(|(stream, topic)| topic_response(stream.id, topic, &Fresh).to_bytes())
        }
        Change::CreateGroup {
            stream_id,
            topic_id,
            group_id,
            ..
        } => {
            let found = catalog.topic((*stream_id).into(), (*topic_id).into());
            found.and_then(|(stream, topic)| {
                let group = topic.group(Identifier::Id(*group_id))?;
                let nobody = GroupCoordinator::default();
                Some(group_details(stream.id, topic, group, &nobody).to_bytes())
            })
        }
        Change::CreateUser { user_id, .. } => catalog
            .user(Identifier::Id(*user_id))
            .map(|user| user_details(user).to_bytes()),
        _ => None,
    }
    .unwrap_or_default()
}

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

pub(super) fn topic_header(stream_id: u32, topic: &Topic, stats: &dyn StatsSource) -> TopicHeader {
    let counters = topic.counters(stream_id, stats);
    let (chosen, derived) = options::encode(&topic.options);
    TopicHeader {
        id: topic.id,
        created_at: topic.created_at_us,
        partitions_count: topic.partitions_count(),
        message_expiry: topic.options.message_expiry_us.value,
        compression_algorithm: match topic.options.compression_algorithm.value {
            Compression::None => 1,
            Compression::Gzip => 2,
        },
        max_topic_size: topic.options.topic_bytes_max.value,
        size_bytes: counters.size_bytes,
        messages_count: counters.messages_count,
        name: wire_name(&topic.name),
        options: chosen,
        derived_options: derived,
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
                let stats = stats.partition(&key);
                PartitionResponse {
                    id: key.partition_id,
                    created_at: *created_at_us,
                    segments_count: stats.segments_count,
                    current_offset: stats.current_offset,
                    size_bytes: stats.size_bytes,
                    messages_count: stats.messages_count,
                }
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
