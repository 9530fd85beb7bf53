//! Permissions and user statuses between the published types and the catalog's.

use wire::Status;
use wire::iggy::published::{
    WireGlobalPermissions, WirePermissions, WireStreamPermissions, WireTopicPermissions,
};

use crate::catalog::{
    GlobalPermissions, Permissions, StreamPermissions, TopicPermissions, UserStatus,
};

const ACTIVE: u8 = 1;
const INACTIVE: u8 = 2;

pub(super) fn user_status(code: u8) -> Result<UserStatus, Status> {
    match code {
        ACTIVE => Ok(UserStatus::Active),
        INACTIVE => Ok(UserStatus::Inactive),
        _ => Err(Status::INVALID_USER_STATUS),
    }
}

pub(super) fn user_status_code(status: UserStatus) -> u8 {
    match status {
        UserStatus::Active => ACTIVE,
        UserStatus::Inactive => INACTIVE,
    }
}

/// The catalog's permissions; of a stream or topic that is named twice the last entry counts.
pub(super) fn permissions(wire: &WirePermissions) -> Permissions {
    let WireGlobalPermissions {
        manage_servers,
        read_servers,
        manage_users,
        read_users,
        manage_streams,
        read_streams,
        manage_topics,
        read_topics,
        poll_messages,
        send_messages,
    } = wire.global;
    Permissions {
        global: GlobalPermissions {
            manage_servers,
            read_servers,
            manage_users,
            read_users,
            manage_streams,
            read_streams,
            manage_topics,
            read_topics,
            poll_messages,
            send_messages,
        },
        streams: wire
            .streams
            .iter()
            .map(|stream| (stream.stream_id, stream_permissions(stream)))
            .collect(),
    }
}

fn stream_permissions(wire: &WireStreamPermissions) -> StreamPermissions {
    StreamPermissions {
        manage_stream: wire.manage_stream,
        read_stream: wire.read_stream,
        manage_topics: wire.manage_topics,
        read_topics: wire.read_topics,
        poll_messages: wire.poll_messages,
        send_messages: wire.send_messages,
        topics: wire
            .topics
            .iter()
            .map(|topic| {
                let permissions = TopicPermissions {
                    manage_topic: topic.manage_topic,
                    read_topic: topic.read_topic,
                    poll_messages: topic.poll_messages,
                    send_messages: topic.send_messages,
                };
                (topic.topic_id, permissions)
            })
            .collect(),
    }
}

/// The published form of a user's permissions, streams and topics in ascending order.
pub(super) fn wire_permissions(permissions: &Permissions) -> WirePermissions {
    let GlobalPermissions {
        manage_servers,
        read_servers,
        manage_users,
        read_users,
        manage_streams,
        read_streams,
        manage_topics,
        read_topics,
        poll_messages,
        send_messages,
    } = permissions.global;
    WirePermissions {
        global: WireGlobalPermissions {
            manage_servers,
            read_servers,
            manage_users,
            read_users,
            manage_streams,
            read_streams,
            manage_topics,
            read_topics,
            poll_messages,
            send_messages,
        },
        streams: permissions
            .streams
            .iter()
            .map(|(stream_id, stream)| wire_stream_permissions(*stream_id, stream))
            .collect(),
    }
}

fn wire_stream_permissions(stream_id: u32, stream: &StreamPermissions) -> WireStreamPermissions {
    WireStreamPermissions {
        stream_id,
        manage_stream: stream.manage_stream,
        read_stream: stream.read_stream,
        manage_topics: stream.manage_topics,
        read_topics: stream.read_topics,
        poll_messages: stream.poll_messages,
        send_messages: stream.send_messages,
        topics: stream
            .topics
            .iter()
            .map(|(topic_id, topic)| WireTopicPermissions {
                topic_id: *topic_id,
                manage_topic: topic.manage_topic,
                read_topic: topic.read_topic,
                poll_messages: topic.poll_messages,
                send_messages: topic.send_messages,
            })
            .collect(),
    }
}
