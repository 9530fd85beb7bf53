//! From operation, command code and body to one exhaustive enum.

use super::eviction::EvictionReason;
use super::login::Login;
use super::messages::{PollMessages, SendMessages};
use super::operation as op;
use super::published::requests::{
    consumer_groups::{
        CreateConsumerGroupRequest, DeleteConsumerGroupRequest, GetConsumerGroupRequest,
        GetConsumerGroupsRequest, JoinConsumerGroupRequest, LeaveConsumerGroupRequest,
        SyncConsumerGroupRequest,
    },
    consumer_offsets::{
        DeleteConsumerOffsetRequest, GetConsumerOffsetRequest, StoreConsumerOffsetRequest,
    },
    messages::FlushUnsavedBufferRequest,
    partitions::{CreatePartitionsRequest, DeletePartitionsRequest},
    personal_access_tokens::{CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest},
    segments::DeleteSegmentsRequest,
    streams::{
        CreateStreamRequest, DeleteStreamRequest, GetStreamRequest, PurgeStreamRequest,
        UpdateStreamRequest,
    },
    system::{DescribeOptionsRequest, GetClientRequest, GetSnapshotRequest},
    topics::{
        CreateTopicRequest, DeleteTopicRequest, GetTopicRequest, GetTopicsRequest,
        PurgeTopicRequest, UpdateTopicRequest,
    },
    users::{
        ChangePasswordRequest, CreateUserRequest, DeleteUserRequest, GetUserRequest,
        UpdatePermissionsRequest, UpdateUserRequest,
    },
};
use super::published::{Operation, WireDecode, WireError, codes, lookup_command};
use crate::Status;

/// A request, decoded. Every command of the protocol has a place here.
#[derive(Debug)]
#[expect(missing_docs, reason = "each variant is the command of its name")]
pub enum Command<'a> {
    // Session and system.
    Ping,
    Login(Login<'a>),
    Logout,
    GetStats,
    GetSnapshot(GetSnapshotRequest),
    GetClusterMetadata,
    DescribeOptions(DescribeOptionsRequest),
    GetMe,
    GetClient(GetClientRequest),
    GetClients,
    // Users and tokens.
    GetUser(GetUserRequest),
    GetUsers,
    CreateUser(CreateUserRequest),
    DeleteUser(DeleteUserRequest),
    UpdateUser(UpdateUserRequest),
    UpdatePermissions(UpdatePermissionsRequest),
    ChangePassword(ChangePasswordRequest),
    GetPersonalAccessTokens,
    CreatePersonalAccessToken(CreatePersonalAccessTokenRequest),
    DeletePersonalAccessToken(DeletePersonalAccessTokenRequest),
    // Messages and offsets.
    PollMessages(PollMessages<'a>),
    SendMessages(SendMessages<'a>),
    FlushUnsavedBuffer(FlushUnsavedBufferRequest),
    GetConsumerOffset(GetConsumerOffsetRequest),
    StoreConsumerOffset(StoreConsumerOffsetRequest),
    DeleteConsumerOffset(DeleteConsumerOffsetRequest),
    // Streams, topics, partitions, segments.
    GetStream(GetStreamRequest),
    GetStreams,
    CreateStream(CreateStreamRequest),
    DeleteStream(DeleteStreamRequest),
    UpdateStream(UpdateStreamRequest),
    PurgeStream(PurgeStreamRequest),
    GetTopic(GetTopicRequest),
    GetTopics(GetTopicsRequest),
    CreateTopic(CreateTopicRequest),
    DeleteTopic(DeleteTopicRequest),
    UpdateTopic(UpdateTopicRequest),
    PurgeTopic(PurgeTopicRequest),
    CreatePartitions(CreatePartitionsRequest),
    DeletePartitions(DeletePartitionsRequest),
    DeleteSegments(DeleteSegmentsRequest),
    // Consumer groups.
    GetConsumerGroup(GetConsumerGroupRequest),
    GetConsumerGroups(GetConsumerGroupsRequest),
    CreateConsumerGroup(CreateConsumerGroupRequest),
    DeleteConsumerGroup(DeleteConsumerGroupRequest),
    JoinConsumerGroup(JoinConsumerGroupRequest),
    LeaveConsumerGroup(LeaveConsumerGroupRequest),
    SyncConsumerGroup(SyncConsumerGroupRequest),
    /// A command of the protocol that a single server of this version never serves: routing
    /// between the nodes of a cluster (14, 103, 104, 123) and the logins of older clients
    /// (38, 44). Its body was not looked at. Answer [`Status::FEATURE_UNAVAILABLE`].
    Unsupported {
        code: u32,
    },
}

impl Command<'_> {
    /// Whether the command is served before login: only ping and login are.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Ping | Self::Login(_))
    }
}

/// Why a request has no [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Answer with this status; the session goes on.
    Status(Status),
    /// A login that cannot be one: end the session with this reason.
    Eviction(EvictionReason),
}

impl From<Status> for Rejection {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Decodes a request from its header's operation and code and its body.
///
/// Bytes after a body of the control plane are ignored, as published servers do; a batch must fill
/// its body.
///
/// # Errors
/// [`Status::INVALID_COMMAND`] for an operation or code that the protocol does not have, and for a
/// change that travels as [`op::NON_REPLICATED`]: its reply would have the wrong framing.
/// Otherwise what is wrong with the body, [`Status::INVALID_FORMAT`] where nothing says it better.
pub fn decode(operation: u8, code: u32, body: &[u8]) -> Result<Command<'_>, Rejection> {
    match operation {
        op::REGISTER => Login::parse(body)
            .map(Command::Login)
            .map_err(Rejection::Eviction),
        op::LOGOUT => Ok(Command::Logout),
        op::NON_REPLICATED => Ok(decode_read(code, body)?),
        op::SEND_MESSAGES => Ok(Command::SendMessages(SendMessages::parse(body)?)),
        _ => Ok(decode_change(operation, body)?),
    }
}

/// The commands that travel with their code: what reads, and what changes only the connection.
fn decode_read(code: u32, body: &[u8]) -> Result<Command<'_>, Status> {
    Ok(match code {
        codes::PING_CODE => Command::Ping,
        codes::POLL_MESSAGES_CODE => Command::PollMessages(PollMessages::parse(body)?),
        codes::GET_STATS_CODE => Command::GetStats,
        codes::GET_SNAPSHOT_FILE_CODE => Command::GetSnapshot(published(body)?),
        codes::GET_CLUSTER_METADATA_CODE => Command::GetClusterMetadata,
        codes::DESCRIBE_OPTIONS_CODE => Command::DescribeOptions(published(body)?),
        codes::GET_ME_CODE => Command::GetMe,
        codes::GET_CLIENT_CODE => Command::GetClient(published(body)?),
        codes::GET_CLIENTS_CODE => Command::GetClients,
        codes::GET_USER_CODE => Command::GetUser(published(body)?),
        codes::GET_USERS_CODE => Command::GetUsers,
        codes::GET_PERSONAL_ACCESS_TOKENS_CODE => Command::GetPersonalAccessTokens,
        codes::FLUSH_UNSAVED_BUFFER_CODE => Command::FlushUnsavedBuffer(published(body)?),
        codes::GET_CONSUMER_OFFSET_CODE => Command::GetConsumerOffset(published(body)?),
        codes::GET_STREAM_CODE => Command::GetStream(published(body)?),
        codes::GET_STREAMS_CODE => Command::GetStreams,
        codes::GET_TOPIC_CODE => Command::GetTopic(published(body)?),
        codes::GET_TOPICS_CODE => Command::GetTopics(published(body)?),
        codes::GET_CONSUMER_GROUP_CODE => Command::GetConsumerGroup(published(body)?),
        codes::GET_CONSUMER_GROUPS_CODE => Command::GetConsumerGroups(published(body)?),
        codes::SYNC_CONSUMER_GROUP_CODE => Command::SyncConsumerGroup(published(body)?),
        codes::ATTACH_CONSUMER_SESSION_CODE
        | codes::LOGIN_USER_CODE
        | codes::LOGIN_WITH_PERSONAL_ACCESS_TOKEN_CODE
        | codes::GET_POLL_ROUTING_CODE
        | codes::POLL_MESSAGES_ON_PRIMARY_CODE
        | codes::GET_CONSUMER_OFFSET_ROUTING_CODE => Command::Unsupported { code },
        _ => return Err(Status::INVALID_COMMAND),
    })
}

/// The commands that have an operation of their own.
fn decode_change(operation: u8, body: &[u8]) -> Result<Command<'_>, Status> {
    use Operation as Published;
    const fn number(operation: Published) -> u8 {
        operation as u8
    }
    macro_rules! change {
        ($($name:ident),* $(,)?) => {
            match operation {
                $(n if n == number(Published::$name) => Command::$name(published(body)?),)*
                _ => return Err(Status::INVALID_COMMAND),
            }
        };
    }
    Ok(change!(
        StoreConsumerOffset,
        DeleteConsumerOffset,
        JoinConsumerGroup,
        LeaveConsumerGroup,
        CreateStream,
        UpdateStream,
        DeleteStream,
        PurgeStream,
        CreateTopic,
        UpdateTopic,
        DeleteTopic,
        PurgeTopic,
        CreatePartitions,
        DeletePartitions,
        DeleteSegments,
        CreateConsumerGroup,
        DeleteConsumerGroup,
        CreateUser,
        UpdateUser,
        DeleteUser,
        ChangePassword,
        UpdatePermissions,
        CreatePersonalAccessToken,
        DeletePersonalAccessToken,
    ))
}

fn published<T: WireDecode>(body: &[u8]) -> Result<T, Status> {
    T::decode_from(body).map_err(|error| status_of(&error))
}

/// The status for what the published codec finds wrong.
fn status_of(error: &WireError) -> Status {
    match error {
        WireError::InvalidUtf8 { .. } => Status::INVALID_UTF8,
        WireError::UnknownCommand(_) => Status::INVALID_COMMAND,
        WireError::UnknownDiscriminant {
            type_name: "WireIdentifier",
            ..
        } => Status::INVALID_IDENTIFIER,
        WireError::PayloadTooLarge { .. } => Status::INVALID_SIZE_BYTES,
        WireError::InvalidBatchChecksum { .. } => Status::INVALID_BATCH_CHECKSUM,
        WireError::InvalidMessageChecksum { .. } => Status::INVALID_MESSAGE_CHECKSUM,
        WireError::InvalidMessageTimestampDelta(_) => Status::INVALID_MESSAGE_TIMESTAMP_DELTA,
        WireError::UnexpectedEof { .. }
        | WireError::UnknownDiscriminant { .. }
        | WireError::Validation(_) => Status::INVALID_FORMAT,
    }
}

/// The name of a command for logs and metrics, `"unknown"` for one that the protocol has not.
#[must_use]
pub fn name(operation: u8, code: u32) -> &'static str {
    match operation {
        op::REGISTER => "user.login_register",
        op::LOGOUT => "user.logout",
        op::NON_REPLICATED => lookup_command(code).map_or("unknown", |meta| meta.name),
        _ => published_name(operation),
    }
}

fn published_name(operation: u8) -> &'static str {
    super::published::COMMAND_TABLE
        .iter()
        .find(|meta| meta.operation.is_some_and(|known| known as u8 == operation))
        .map_or("unknown", |meta| meta.name)
}
