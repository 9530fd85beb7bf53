//! One request of every command, written with the published codec.

use super::{Random, produced_batch};
use crate::iggy::login::{Credentials, Login};
use crate::iggy::operation as op;
use crate::iggy::published::primitives::options::WireOptions;
use crate::iggy::published::requests::{
    consumer_groups as groups, consumer_offsets as offsets, messages, partitions,
    personal_access_tokens as tokens, segments, streams, system, topics, users,
};
use crate::iggy::published::{
    AckLevel, Operation, WireConsumer, WireEncode, WireGlobalPermissions, WireIdentifier, WireName,
    WirePartitioning, WirePermissions, WirePollingStrategy, WireStreamPermissions,
    WireTopicPermissions, codes, encode_user_headers,
};
use alloc::borrow::ToOwned;
use alloc::vec;
use alloc::vec::Vec;
use bytes::{Bytes, BytesMut};

/// A request without its header.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Unique, and the name of the golden file.
    pub name: &'static str,
    /// Operation of the header.
    pub operation: u8,
    /// Command code of the header, 0 where the operation says it all.
    pub code: u32,
    /// Body.
    pub body: Bytes,
}

fn read(name: &'static str, code: u32, body: Bytes) -> Sample {
    Sample {
        name,
        operation: op::NON_REPLICATED,
        code,
        body,
    }
}

fn change(name: &'static str, operation: Operation, body: Bytes) -> Sample {
    Sample {
        name,
        operation: operation as u8,
        code: 0,
        body,
    }
}

fn text(value: &str) -> WireName {
    WireName::new(value).expect("samples use short names")
}

fn named(value: &str) -> WireIdentifier {
    WireIdentifier::String(text(value))
}

fn numbered(value: u32) -> WireIdentifier {
    WireIdentifier::numeric(value)
}

fn options(entries: &[(&str, &[u8])]) -> WireOptions {
    const TEXT: u8 = 2;
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| (TEXT, key.as_bytes(), TEXT, *value))
        .collect();
    let mut bytes = BytesMut::new();
    encode_user_headers(&entries, &mut bytes);
    WireOptions::from_slice(&bytes).expect("samples use valid options")
}

/// One sample of every command, and of each form that a command has.
#[must_use]
pub fn samples() -> Vec<Sample> {
    let mut all = Vec::new();
    session(&mut all);
    system_reads(&mut all);
    user_changes(&mut all);
    polls(&mut all);
    sends(&mut all);
    consumer_offsets(&mut all);
    stream_commands(&mut all);
    topic_commands(&mut all);
    partition_commands(&mut all);
    group_commands(&mut all);
    never_served(&mut all);
    all
}

fn session(all: &mut Vec<Sample>) {
    let login = |name, credentials| {
        let mut body = BytesMut::new();
        Login::new("rust-sdk", "0.11.0", credentials).put(&mut body);
        Sample {
            name,
            operation: op::REGISTER,
            code: 0,
            body: body.freeze(),
        }
    };
    all.push(read("ping", codes::PING_CODE, Bytes::new()));
    all.push(login(
        "login_password",
        Credentials::Password {
            username: "iggy",
            password: "secret",
        },
    ));
    all.push(login("login_token", Credentials::Token("0123456789abcdef")));
    all.push(Sample {
        name: "logout",
        operation: op::LOGOUT,
        code: 0,
        body: Bytes::new(),
    });
}

fn system_reads(all: &mut Vec<Sample>) {
    let snapshot = system::GetSnapshotRequest {
        compression: 1,
        snapshot_types: vec![1, 5],
    };
    let describe = system::DescribeOptionsRequest { scope: 1 };
    let client = system::GetClientRequest { client_id: 7 };
    let user = users::GetUserRequest {
        user_id: named("iggy"),
    };
    all.extend([
        read("get_stats", codes::GET_STATS_CODE, Bytes::new()),
        read(
            "get_snapshot",
            codes::GET_SNAPSHOT_FILE_CODE,
            snapshot.to_bytes(),
        ),
        read(
            "get_cluster_metadata",
            codes::GET_CLUSTER_METADATA_CODE,
            Bytes::new(),
        ),
        read(
            "describe_options",
            codes::DESCRIBE_OPTIONS_CODE,
            describe.to_bytes(),
        ),
        read("get_me", codes::GET_ME_CODE, Bytes::new()),
        read("get_client", codes::GET_CLIENT_CODE, client.to_bytes()),
        read("get_clients", codes::GET_CLIENTS_CODE, Bytes::new()),
        read("get_user", codes::GET_USER_CODE, user.to_bytes()),
        read("get_users", codes::GET_USERS_CODE, Bytes::new()),
        read(
            "get_tokens",
            codes::GET_PERSONAL_ACCESS_TOKENS_CODE,
            Bytes::new(),
        ),
    ]);
}

fn permissions() -> WirePermissions {
    WirePermissions {
        global: WireGlobalPermissions {
            manage_servers: false,
            read_servers: true,
            manage_users: false,
            read_users: true,
            manage_streams: false,
            read_streams: true,
            manage_topics: false,
            read_topics: true,
            poll_messages: true,
            send_messages: false,
        },
        streams: vec![WireStreamPermissions {
            stream_id: 1,
            manage_stream: true,
            read_stream: true,
            manage_topics: true,
            read_topics: true,
            poll_messages: true,
            send_messages: true,
            topics: vec![WireTopicPermissions {
                topic_id: 2,
                manage_topic: true,
                read_topic: true,
                poll_messages: true,
                send_messages: true,
            }],
        }],
    }
}

fn user_changes(all: &mut Vec<Sample>) {
    let create = users::CreateUserRequest {
        username: text("alice"),
        password: "wonderland".to_owned(),
        status: 1,
        permissions: Some(permissions()),
        options: WireOptions::empty(),
    };
    let update = users::UpdateUserRequest {
        user_id: numbered(3),
        username: Some(text("alicia")),
        status: Some(2),
        options: WireOptions::empty(),
    };
    let permit = users::UpdatePermissionsRequest {
        user_id: numbered(3),
        permissions: Some(permissions()),
    };
    let password = users::ChangePasswordRequest {
        user_id: numbered(3),
        current_password: "wonderland".to_owned(),
        new_password: "looking-glass".to_owned(),
    };
    let delete = users::DeleteUserRequest {
        user_id: named("alicia"),
    };
    let token = tokens::CreatePersonalAccessTokenRequest {
        name: text("ci"),
        expiry: 3_600,
    };
    let revoke = tokens::DeletePersonalAccessTokenRequest { name: text("ci") };
    all.extend([
        change("create_user", Operation::CreateUser, create.to_bytes()),
        change("update_user", Operation::UpdateUser, update.to_bytes()),
        change(
            "update_permissions",
            Operation::UpdatePermissions,
            permit.to_bytes(),
        ),
        change(
            "change_password",
            Operation::ChangePassword,
            password.to_bytes(),
        ),
        change("delete_user", Operation::DeleteUser, delete.to_bytes()),
        change(
            "create_token",
            Operation::CreatePersonalAccessToken,
            token.to_bytes(),
        ),
        change(
            "delete_token",
            Operation::DeletePersonalAccessToken,
            revoke.to_bytes(),
        ),
    ]);
}

fn polls(all: &mut Vec<Sample>) {
    let poll = |name, consumer, partition_id, strategy, auto_commit| {
        let request = messages::PollMessagesRequest {
            consumer,
            stream_id: named("orders"),
            topic_id: numbered(1),
            partition_id,
            strategy,
            count: 1_000,
            auto_commit,
        };
        read(name, codes::POLL_MESSAGES_CODE, request.to_bytes())
    };
    let single = || WireConsumer::consumer(numbered(9));
    let group = || WireConsumer::consumer_group(named("billing"));
    all.extend([
        poll(
            "poll_offset",
            single(),
            Some(0),
            WirePollingStrategy::offset(42),
            false,
        ),
        poll(
            "poll_timestamp",
            single(),
            Some(1),
            WirePollingStrategy::timestamp(1_700),
            false,
        ),
        poll(
            "poll_first",
            single(),
            None,
            WirePollingStrategy::first(),
            false,
        ),
        poll(
            "poll_last",
            single(),
            Some(0),
            WirePollingStrategy::last(),
            true,
        ),
        poll(
            "poll_next",
            group(),
            Some(2),
            WirePollingStrategy::next(),
            true,
        ),
    ]);
    let flush = messages::FlushUnsavedBufferRequest {
        stream_id: named("orders"),
        topic_id: numbered(1),
        partition_id: 0,
        fsync: true,
    };
    all.push(read(
        "flush_unsaved_buffer",
        codes::FLUSH_UNSAVED_BUFFER_CODE,
        flush.to_bytes(),
    ));
}

fn sends(all: &mut Vec<Sample>) {
    let send = |name, stream_id, partitioning, message_count| {
        let head = messages::SendMessagesHeader {
            stream_id,
            topic_id: named("placed"),
            partitioning,
            messages_count: message_count,
        };
        let routing = head.to_bytes();
        let mut body = BytesMut::new();
        body.extend_from_slice(&(routing.len() as u32).to_le_bytes());
        body.extend_from_slice(&routing);
        body.extend_from_slice(&produced_batch(&mut Random::new(101), message_count, 40));
        change(name, Operation::SendMessages, body.freeze())
    };
    let key = WirePartitioning::MessagesKey(b"customer-7".to_vec());
    all.extend([
        send(
            "send_to_partition",
            named("orders"),
            WirePartitioning::PartitionId(3),
            3,
        ),
        send("send_by_key", numbered(1), key, 1),
        send("send_balanced", numbered(1), WirePartitioning::Balanced, 2),
    ]);
}

fn consumer_offsets(all: &mut Vec<Sample>) {
    let consumer = || WireConsumer::consumer_group(named("billing"));
    let get = offsets::GetConsumerOffsetRequest {
        consumer: consumer(),
        stream_id: named("orders"),
        topic_id: numbered(1),
        partition_id: Some(2),
    };
    let store = offsets::StoreConsumerOffsetRequest {
        consumer: consumer(),
        stream_id: named("orders"),
        topic_id: numbered(1),
        partition_id: Some(2),
        offset: 41,
        ack: AckLevel::Quorum,
    };
    let delete = offsets::DeleteConsumerOffsetRequest {
        consumer: consumer(),
        stream_id: named("orders"),
        topic_id: numbered(1),
        partition_id: None,
        ack: AckLevel::NoAck,
    };
    all.extend([
        read(
            "get_consumer_offset",
            codes::GET_CONSUMER_OFFSET_CODE,
            get.to_bytes(),
        ),
        change(
            "store_consumer_offset",
            Operation::StoreConsumerOffset,
            store.to_bytes(),
        ),
        change(
            "delete_consumer_offset",
            Operation::DeleteConsumerOffset,
            delete.to_bytes(),
        ),
    ]);
}

fn stream_commands(all: &mut Vec<Sample>) {
    let get = streams::GetStreamRequest {
        stream_id: named("orders"),
    };
    let create = streams::CreateStreamRequest {
        name: text("orders"),
        options: WireOptions::empty(),
    };
    let update = streams::UpdateStreamRequest {
        stream_id: named("orders"),
        name: text("orders-2"),
        options: WireOptions::empty(),
    };
    let purge = streams::PurgeStreamRequest {
        stream_id: numbered(0),
    };
    let delete = streams::DeleteStreamRequest {
        stream_id: numbered(0),
    };
    all.extend([
        read("get_stream", codes::GET_STREAM_CODE, get.to_bytes()),
        read("get_streams", codes::GET_STREAMS_CODE, Bytes::new()),
        change("create_stream", Operation::CreateStream, create.to_bytes()),
        change("update_stream", Operation::UpdateStream, update.to_bytes()),
        change("purge_stream", Operation::PurgeStream, purge.to_bytes()),
        change("delete_stream", Operation::DeleteStream, delete.to_bytes()),
    ]);
}

fn topic_commands(all: &mut Vec<Sample>) {
    let get = topics::GetTopicRequest {
        stream_id: numbered(0),
        topic_id: named("placed"),
    };
    let list = topics::GetTopicsRequest {
        stream_id: numbered(0),
    };
    let create = topics::CreateTopicRequest {
        stream_id: named("orders"),
        partitions_count: 4,
        name: text("placed"),
        options: options(&[
            ("durability", b"persisted"),
            ("segment_size", b"1073741824"),
        ]),
    };
    let update = topics::UpdateTopicRequest {
        stream_id: named("orders"),
        topic_id: named("placed"),
        name: text("placed-2"),
        options: options(&[("message_expiry", b"0")]),
    };
    let purge = topics::PurgeTopicRequest {
        stream_id: numbered(0),
        topic_id: numbered(0),
    };
    let delete = topics::DeleteTopicRequest {
        stream_id: numbered(0),
        topic_id: numbered(0),
    };
    all.extend([
        read("get_topic", codes::GET_TOPIC_CODE, get.to_bytes()),
        read("get_topics", codes::GET_TOPICS_CODE, list.to_bytes()),
        change("create_topic", Operation::CreateTopic, create.to_bytes()),
        change("update_topic", Operation::UpdateTopic, update.to_bytes()),
        change("purge_topic", Operation::PurgeTopic, purge.to_bytes()),
        change("delete_topic", Operation::DeleteTopic, delete.to_bytes()),
    ]);
}

fn partition_commands(all: &mut Vec<Sample>) {
    let create = partitions::CreatePartitionsRequest {
        stream_id: named("orders"),
        topic_id: named("placed"),
        partitions_count: 2,
    };
    let delete = partitions::DeletePartitionsRequest {
        stream_id: named("orders"),
        topic_id: named("placed"),
        partitions_count: 1,
    };
    let segments = segments::DeleteSegmentsRequest {
        stream_id: named("orders"),
        topic_id: named("placed"),
        partition_id: 0,
        segments_count: 5,
    };
    all.extend([
        change(
            "create_partitions",
            Operation::CreatePartitions,
            create.to_bytes(),
        ),
        change(
            "delete_partitions",
            Operation::DeletePartitions,
            delete.to_bytes(),
        ),
        change(
            "delete_segments",
            Operation::DeleteSegments,
            segments.to_bytes(),
        ),
    ]);
}

fn group_commands(all: &mut Vec<Sample>) {
    macro_rules! of_group {
        ($request:ident) => {
            groups::$request {
                stream_id: named("orders"),
                topic_id: numbered(1),
                group_id: named("billing"),
            }
            .to_bytes()
        };
    }
    let list = groups::GetConsumerGroupsRequest {
        stream_id: named("orders"),
        topic_id: numbered(1),
    };
    let create = groups::CreateConsumerGroupRequest {
        stream_id: named("orders"),
        topic_id: numbered(1),
        name: text("billing"),
    };
    let delete = of_group!(DeleteConsumerGroupRequest);
    let join = of_group!(JoinConsumerGroupRequest);
    let leave = of_group!(LeaveConsumerGroupRequest);
    let get = of_group!(GetConsumerGroupRequest);
    let sync = of_group!(SyncConsumerGroupRequest);
    all.extend([
        read("get_consumer_group", codes::GET_CONSUMER_GROUP_CODE, get),
        read(
            "get_consumer_groups",
            codes::GET_CONSUMER_GROUPS_CODE,
            list.to_bytes(),
        ),
        read("sync_consumer_group", codes::SYNC_CONSUMER_GROUP_CODE, sync),
        change(
            "create_consumer_group",
            Operation::CreateConsumerGroup,
            create.to_bytes(),
        ),
        change(
            "delete_consumer_group",
            Operation::DeleteConsumerGroup,
            delete,
        ),
        change("join_consumer_group", Operation::JoinConsumerGroup, join),
        change("leave_consumer_group", Operation::LeaveConsumerGroup, leave),
    ]);
}

/// The commands that a single server refuses without looking at their bodies.
fn never_served(all: &mut Vec<Sample>) {
    let attach = system::AttachConsumerSessionRequest {
        client_id: 7,
        session: 1,
        metadata_watermark: 0,
    };
    all.extend([
        read(
            "attach_session",
            codes::ATTACH_CONSUMER_SESSION_CODE,
            attach.to_bytes(),
        ),
        read("login_legacy", codes::LOGIN_USER_CODE, Bytes::new()),
        read(
            "login_token_legacy",
            codes::LOGIN_WITH_PERSONAL_ACCESS_TOKEN_CODE,
            Bytes::new(),
        ),
        read(
            "get_poll_routing",
            codes::GET_POLL_ROUTING_CODE,
            Bytes::new(),
        ),
        read(
            "poll_on_primary",
            codes::POLL_MESSAGES_ON_PRIMARY_CODE,
            Bytes::new(),
        ),
        read(
            "get_offset_routing",
            codes::GET_CONSUMER_OFFSET_ROUTING_CODE,
            Bytes::new(),
        ),
    ]);
}
