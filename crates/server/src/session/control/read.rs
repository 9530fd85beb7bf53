//! Answers to requests that only read the catalog and the memberships.
//!
//! What does not exist is an empty body, not an error; what exists and may not be seen is
//! `UNAUTHORIZED`.

use bytes::Bytes;
use wire::Status;
use wire::iggy::command::Command;
use wire::iggy::published::WireEncode;
use wire::iggy::published::requests::consumer_groups::{
    GetConsumerGroupRequest, GetConsumerGroupsRequest, SyncConsumerGroupRequest,
};
use wire::iggy::published::requests::streams::GetStreamRequest;
use wire::iggy::published::requests::topics::{GetTopicRequest, GetTopicsRequest};
use wire::iggy::published::requests::users::GetUserRequest;
use wire::iggy::published::responses::consumer_groups::GetConsumerGroupsResponse;
use wire::iggy::published::responses::consumer_groups::SyncConsumerGroupResponse;
use wire::iggy::published::responses::personal_access_tokens::GetPersonalAccessTokensResponse;
use wire::iggy::published::responses::streams::get_stream::GetStreamResponse;
use wire::iggy::published::responses::streams::get_streams::GetStreamsResponse;
use wire::iggy::published::responses::topics::get_topics::GetTopicsResponse;
use wire::iggy::published::responses::users::GetUsersResponse;

use super::names::identifier;
use super::{options, reply};
use crate::catalog::{
    Access, Catalog, GroupCoordinator, Identifier, StatsSource, TopicDefaults, allow,
};

/// What an answer is made from, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// The catalog as this shard knows it.
    pub(crate) catalog: &'a Catalog,
    /// The memberships as this shard knows them.
    pub(crate) groups: &'a GroupCoordinator,
    /// What the partitions hold; see [`needs_stats`].
    pub(crate) stats: &'a dyn StatsSource,
    /// What a topic gets that chooses nothing.
    pub(crate) topic_defaults: TopicDefaults,
    /// Who asks.
    pub(crate) user_id: u32,
    /// Through which connection.
    pub(crate) client_id: u32,
}

/// Whether the answer shows counters of partitions, which must be asked of every shard first.
pub(crate) fn needs_stats(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::GetStream(_)
            | Command::GetStreams
            | Command::GetTopic(_)
            | Command::GetTopics(_)
            | Command::GetStats
    )
}

/// The body of the reply to a command that only reads the catalog; `None` for any other.
pub(crate) fn read(command: &Command<'_>, view: View<'_>) -> Option<Result<Bytes, Status>> {
    Some(match command {
        Command::GetStream(request) => view.stream(request),
        Command::GetStreams => view.streams(),
        Command::GetTopic(request) => view.topic(request),
        Command::GetTopics(request) => view.topics(request),
        Command::GetConsumerGroup(request) => view.group(request),
        Command::GetConsumerGroups(request) => view.groups_of_topic(request),
        Command::SyncConsumerGroup(request) => Ok(view.sync(request)),
        Command::GetUser(request) => view.user(request),
        Command::GetUsers => view.users(),
        Command::GetPersonalAccessTokens => view.tokens(),
        Command::DescribeOptions(request) => options::describe(request.scope, view.topic_defaults)
            .map(|response| response.to_bytes()),
        _ => return None,
    })
}

impl<'a> View<'a> {
    pub(super) fn access(&self) -> Access<'a> {
        self.catalog.access(self.user_id)
    }

    fn stream(&self, request: &GetStreamRequest) -> Result<Bytes, Status> {
        let Some(stream) = self.catalog.stream(identifier(&request.stream_id)) else {
            return Ok(Bytes::new());
        };
        allow(self.access().may_read_stream(stream.id))?;
        let topics = stream.topics();
        let response = GetStreamResponse {
            stream: reply::stream_response(stream, self.stats),
            topics: topics
                .map(|topic| reply::topic_header(stream.id, topic, self.stats))
                .collect(),
        };
        Ok(response.to_bytes())
    }

    fn streams(&self) -> Result<Bytes, Status> {
        allow(self.access().may_read_streams())?;
        let streams = self.catalog.streams();
        let streams = streams
            .map(|stream| reply::stream_response(stream, self.stats))
            .collect();
        Ok(GetStreamsResponse { streams }.to_bytes())
    }

    fn topic(&self, request: &GetTopicRequest) -> Result<Bytes, Status> {
        let stream = identifier(&request.stream_id);
        let Some((stream, topic)) = self.catalog.topic(stream, identifier(&request.topic_id))
        else {
            return Ok(Bytes::new());
        };
        allow(self.access().may_read_topic(stream.id, topic.id))?;
        Ok(reply::topic_response(stream.id, topic, self.stats).to_bytes())
    }

    fn topics(&self, request: &GetTopicsRequest) -> Result<Bytes, Status> {
        let Some(stream) = self.catalog.stream(identifier(&request.stream_id)) else {
            return Ok(Bytes::new());
        };
        allow(self.access().may_read_topics(stream.id))?;
        let topics = stream.topics();
        let topics = topics
            .map(|topic| reply::topic_header(stream.id, topic, self.stats))
            .collect();
        Ok(GetTopicsResponse { topics }.to_bytes())
    }

    fn group(&self, request: &GetConsumerGroupRequest) -> Result<Bytes, Status> {
        let stream = identifier(&request.stream_id);
        let Some((stream, topic)) = self.catalog.topic(stream, identifier(&request.topic_id))
        else {
            return Ok(Bytes::new());
        };
        allow(self.access().may_read_topic(stream.id, topic.id))?;
        let Some(group) = topic.group(identifier(&request.group_id)) else {
            return Ok(Bytes::new());
        };
        Ok(reply::group_details(stream.id, topic, group, self.groups).to_bytes())
    }

    fn groups_of_topic(&self, request: &GetConsumerGroupsRequest) -> Result<Bytes, Status> {
        let stream = identifier(&request.stream_id);
        let Some((stream, topic)) = self.catalog.topic(stream, identifier(&request.topic_id))
        else {
            return Ok(Bytes::new());
        };
        allow(self.access().may_read_topic(stream.id, topic.id))?;
        let groups = topic.groups();
        let groups = groups
            .map(|group| reply::group_response(stream.id, topic, group, self.groups))
            .collect();
        Ok(GetConsumerGroupsResponse { groups }.to_bytes())
    }

    /// Empty for anyone who is no member: published clients take that as "join again".
    fn sync(&self, request: &SyncConsumerGroupRequest) -> Bytes {
        let found = self.catalog.group(
            identifier(&request.stream_id),
            identifier(&request.topic_id),
            identifier(&request.group_id),
        );
        let assignment = found.and_then(|(key, _)| self.groups.assignment(key, self.client_id));
        assignment.map_or_else(Bytes::new, |assignment| {
            SyncConsumerGroupResponse {
                generation: assignment.generation,
                partitions: assignment.partitions.to_vec(),
            }
            .to_bytes()
        })
    }

    /// Says `UNAUTHORIZED` before "there is no such user", so that names cannot be tried out.
    fn user(&self, request: &GetUserRequest) -> Result<Bytes, Status> {
        let user = self.catalog.user(identifier(&request.user_id));
        let is_self = user.is_some_and(|user| user.id == self.user_id);
        allow(is_self || self.access().may_read_users())?;
        Ok(user.map_or_else(Bytes::new, |user| reply::user_details(user).to_bytes()))
    }

    fn users(&self) -> Result<Bytes, Status> {
        allow(self.access().may_read_users())?;
        let users = self
            .catalog
            .users()
            .map(|user| reply::user_response(user))
            .collect();
        Ok(GetUsersResponse { users }.to_bytes())
    }

    fn tokens(&self) -> Result<Bytes, Status> {
        let user = self.catalog.user(Identifier::Number(self.user_id));
        let user = user.ok_or(Status::UNAUTHENTICATED)?;
        let tokens = user.tokens().map(reply::token_response).collect();
        Ok(GetPersonalAccessTokensResponse { tokens }.to_bytes())
    }
}
