//! The commands, as functions.

use bytes::{Bytes, BytesMut};
use wire::batch::{BatchBuilder, BatchHeader, Message};
use wire::iggy::identifier::{Consumer, Identifier, Partitioning};
use wire::iggy::login::{Credentials, Login};
use wire::iggy::messages::put_send_routing;
use wire::iggy::published::requests::{
    consumer_groups as groups, consumer_offsets as offsets, personal_access_tokens as tokens,
    streams, topics,
};
use wire::iggy::published::responses::{
    consumer_groups::{ConsumerGroupDetailsResponse, SyncConsumerGroupResponse},
    consumer_offsets::ConsumerOffsetResponse,
    personal_access_tokens::RawPersonalAccessTokenResponse,
    streams::GetStreamResponse,
    system::StatsResponse,
    topics::GetTopicResponse,
    users::LoginRegisterResponse,
};
use wire::iggy::published::{
    AckLevel, Operation, WireConsumer, WireDecode, WireEncode, WireIdentifier, WireName,
    WireOptions, codes, encode_user_headers,
};
use wire::iggy::{operation, reply};

use crate::address::Address;
use crate::error::Error;
use crate::poll::{PollRequest, Polled};
use crate::session::{Kind, Options, Session};
use crate::transport::Transport;

/// A connection to a server. One request is under way at a time.
///
/// A request whose future is dropped before it is ready leaves the connection unusable
/// ([`Error::Desynchronised`]): its reply would be taken for that of the next one.
pub struct Client {
    session: Session,
    /// Batches of [`Client::send`] are cut from its front.
    batches: BytesMut,
}

/// Where batches go: the routing part of a request, written once and used for every send.
#[derive(Clone, Debug)]
pub struct Target {
    /// Everything before the message count.
    routing: Bytes,
}

impl Target {
    /// A partition of a topic.
    pub fn new<'a>(
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        partition: u32,
    ) -> Self {
        let mut routing = BytesMut::new();
        let partitioning = Partitioning::Partition(partition);
        put_send_routing(&mut routing, stream.into(), topic.into(), partitioning, 0);
        routing.truncate(routing.len() - size_of::<u32>());
        Self {
            routing: routing.freeze(),
        }
    }

    fn put(&self, buffer: &mut BytesMut, message_count: u32) {
        buffer.extend_from_slice(&self.routing);
        buffer.extend_from_slice(&message_count.to_le_bytes());
    }
}

impl Client {
    /// Connects to an address such as `iggy+tcp://user:password@127.0.0.1:8090`, and logs in if
    /// the address has a user.
    ///
    /// # Errors
    /// [`Error::Address`], what connecting says, and what [`Client::login`] says.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::connect_with(&Address::parse(address)?, Options::default()).await
    }

    /// [`Client::connect`] with options.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(address: &Address, options: Options) -> Result<Self, Error> {
        let transport = Transport::connect(address, &options).await?;
        let session = Session::new(transport, options)?;
        let mut client = Self {
            session,
            batches: BytesMut::new(),
        };
        if let Some((username, password)) = &address.credentials {
            client.login(username, password).await?;
        }
        Ok(client)
    }

    /// Says goodbye and closes the connection. Dropping the client closes it without a word.
    ///
    /// # Errors
    /// When the peer does not take part in closing a WebSocket.
    pub async fn close(self) -> Result<(), Error> {
        self.session.close().await
    }

    /// Sends any request: `operation`, `code` (for operation 2) and `body` as `docs/wire.md` has
    /// them. Returns the payload of the reply.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's status, or what ended the connection.
    pub async fn request(&mut self, operation: u8, code: u32, body: Bytes) -> Result<Bytes, Error> {
        self.session
            .request(Kind { operation, code }, |_| {}, Some(body))
            .await
    }

    // Session.

    /// Logs in by password.
    ///
    /// # Errors
    /// [`Error::Evicted`] for wrong credentials; the connection is over then.
    pub async fn login(&mut self, username: &str, password: &str) -> Result<u32, Error> {
        self.login_as(Credentials::Password { username, password })
            .await
    }

    /// Logs in by personal access token.
    ///
    /// # Errors
    /// [`Error::Evicted`] for a token that is unknown or expired; the connection is over then.
    pub async fn login_with_token(&mut self, token: &str) -> Result<u32, Error> {
        self.login_as(Credentials::Token(token)).await
    }

    async fn login_as(&mut self, credentials: Credentials<'_>) -> Result<u32, Error> {
        let login = Login::new("weir-rust", env!("CARGO_PKG_VERSION"), credentials);
        let kind = Kind::change(operation::REGISTER);
        self.session.unbind();
        let payload = self
            .session
            .request(kind, |body| login.put(body), None)
            .await?;
        let response: LoginRegisterResponse = decode(&payload)?;
        if response.session == 0 {
            return Err(Error::Protocol("a login reply without session"));
        }
        self.session.bind(response.session);
        Ok(response.user_id)
    }

    /// Logs out; the connection stays open.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn logout(&mut self) -> Result<(), Error> {
        self.session
            .request(Kind::change(operation::LOGOUT), |_| {}, None)
            .await?;
        self.session.unbind();
        Ok(())
    }

    /// Asks for a sign of life; works before login. A server may evict a client that sends nothing
    /// for long.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.session
            .request(Kind::read(codes::PING_CODE), |_| {}, None)
            .await
            .map(drop)
    }

    /// What the server counts of itself.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn stats(&mut self) -> Result<StatsResponse, Error> {
        let payload = self
            .session
            .request(Kind::read(codes::GET_STATS_CODE), |_| {}, None)
            .await?;
        decode(&payload)
    }

    /// Creates a personal access token for the user that is logged in and returns it; the server
    /// does not tell it again. `expiry_us` is how long it is valid, in microseconds; `None` is for
    /// ever. Logging in by token costs a server far less than by password.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name is taken.
    pub async fn create_token(
        &mut self,
        name: &str,
        expiry_us: Option<u64>,
    ) -> Result<String, Error> {
        let request = tokens::CreatePersonalAccessTokenRequest {
            name: wire_name(name)?,
            // What the protocol calls never.
            expiry: expiry_us.unwrap_or(0),
        };
        let response: RawPersonalAccessTokenResponse = self
            .change(Operation::CreatePersonalAccessToken, &request)
            .await?;
        Ok(response.token.as_str().to_owned())
    }

    /// Deletes a token of the user that is logged in.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none of this name.
    pub async fn delete_token(&mut self, name: &str) -> Result<(), Error> {
        let request = tokens::DeletePersonalAccessTokenRequest {
            name: wire_name(name)?,
        };
        self.command(Operation::DeletePersonalAccessToken, &request)
            .await
    }

    // Streams and topics.

    /// Creates a stream and returns its description.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name is taken or not allowed.
    pub async fn create_stream(&mut self, name: &str) -> Result<GetStreamResponse, Error> {
        let request = streams::CreateStreamRequest {
            name: wire_name(name)?,
            options: WireOptions::empty(),
        };
        self.change(Operation::CreateStream, &request).await
    }

    /// The stream, `None` when there is none.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn stream<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
    ) -> Result<Option<GetStreamResponse>, Error> {
        let request = streams::GetStreamRequest {
            stream_id: wire_id(stream.into())?,
        };
        self.read(codes::GET_STREAM_CODE, &request).await
    }

    /// Deletes a stream with all its topics and messages.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub async fn delete_stream<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
    ) -> Result<(), Error> {
        let request = streams::DeleteStreamRequest {
            stream_id: wire_id(stream.into())?,
        };
        self.command(Operation::DeleteStream, &request).await
    }

    /// Creates a topic and returns its description. Options are keys and values as text, such as
    /// `("durability", "persisted")`.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name is taken or an option is not known.
    pub async fn create_topic<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        name: &str,
        partitions_count: u32,
        options: &[(&str, &str)],
    ) -> Result<GetTopicResponse, Error> {
        let request = topics::CreateTopicRequest {
            stream_id: wire_id(stream.into())?,
            partitions_count,
            name: wire_name(name)?,
            options: wire_options(options)?,
        };
        self.change(Operation::CreateTopic, &request).await
    }

    /// The topic with its partitions, `None` when there is none.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn topic<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
    ) -> Result<Option<GetTopicResponse>, Error> {
        let request = topics::GetTopicRequest {
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
        };
        self.read(codes::GET_TOPIC_CODE, &request).await
    }

    /// Deletes a topic with all its messages.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub async fn delete_topic<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
    ) -> Result<(), Error> {
        let request = topics::DeleteTopicRequest {
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
        };
        self.command(Operation::DeleteTopic, &request).await
    }

    // Messages.

    /// Sends messages as one batch and returns the offset of the first. Payloads are copied once,
    /// into the batch.
    ///
    /// # Errors
    /// [`Error::Batch`] for messages that make no batch, [`Error::TooBig`] for too many bytes,
    /// [`Error::Refused`] with the server's status. After an error of the connection the batch may
    /// have been appended or not.
    pub async fn send<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        partition: u32,
        messages: &[Message<'_>],
    ) -> Result<Option<u64>, Error> {
        self.batches.clear();
        let mut builder = BatchBuilder::new(&mut self.batches);
        for message in messages {
            builder.push(*message)?;
        }
        let header = builder.finish()?;
        let batch = self.batches.split().freeze();
        self.send_batch(
            &Target::new(stream, topic, partition),
            header.message_count,
            batch,
        )
        .await
    }

    /// Sends a batch that the caller has built (with [`BatchBuilder`]); its bytes are not copied
    /// but for the mask of a WebSocket. The same batch may be sent any number of times.
    ///
    /// Returns the offset of its first message, `None` when the server tells none.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_batch(
        &mut self,
        target: &Target,
        message_count: u32,
        batch: Bytes,
    ) -> Result<Option<u64>, Error> {
        debug_assert_eq!(
            BatchHeader::parse(&batch).map(|header| header.message_count),
            Ok(message_count)
        );
        let payload = self
            .session
            .request(
                Kind::change(operation::SEND_MESSAGES),
                |body| target.put(body, message_count),
                Some(batch),
            )
            .await?;
        reply::parse_send_reply(&payload).map_err(|_| Error::Protocol("a send reply that is none"))
    }

    /// Polls messages.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's status.
    pub async fn poll(&mut self, request: &PollRequest<'_>) -> Result<Polled, Error> {
        let body = request.body();
        let kind = Kind::read(codes::POLL_MESSAGES_CODE);
        let payload = self
            .session
            .request(kind, |buffer| body.put(buffer), None)
            .await?;
        if payload.is_empty() {
            return Err(Error::Refused {
                command: "message.poll",
                status: wire::Status::TOPIC_ID_NOT_FOUND,
            });
        }
        Polled::parse(payload)
    }

    // Consumer offsets.

    /// The offset stored for a consumer in a partition, `None` when there is none.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn consumer_offset<'a>(
        &mut self,
        consumer: Consumer<'a>,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        partition: u32,
    ) -> Result<Option<ConsumerOffsetResponse>, Error> {
        let request = offsets::GetConsumerOffsetRequest {
            consumer: wire_consumer(consumer)?,
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            partition_id: Some(partition),
        };
        self.read(codes::GET_CONSUMER_OFFSET_CODE, &request).await
    }

    /// Stores the offset of the last message that a consumer is done with.
    ///
    /// # Errors
    /// [`Error::Refused`] for an offset beyond the partition's end.
    pub async fn store_consumer_offset<'a>(
        &mut self,
        consumer: Consumer<'a>,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        partition: u32,
        offset: u64,
    ) -> Result<(), Error> {
        let request = offsets::StoreConsumerOffsetRequest {
            consumer: wire_consumer(consumer)?,
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            partition_id: Some(partition),
            offset,
            ack: AckLevel::Quorum,
        };
        self.command(Operation::StoreConsumerOffset, &request).await
    }

    /// Forgets the offset stored for a consumer in a partition.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is none.
    pub async fn delete_consumer_offset<'a>(
        &mut self,
        consumer: Consumer<'a>,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        partition: u32,
    ) -> Result<(), Error> {
        let request = offsets::DeleteConsumerOffsetRequest {
            consumer: wire_consumer(consumer)?,
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            partition_id: Some(partition),
            ack: AckLevel::Quorum,
        };
        self.command(Operation::DeleteConsumerOffset, &request)
            .await
    }

    // Consumer groups.

    /// Creates a consumer group.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name is taken.
    pub async fn create_group<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        name: &str,
    ) -> Result<ConsumerGroupDetailsResponse, Error> {
        let request = groups::CreateConsumerGroupRequest {
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            name: wire_name(name)?,
        };
        self.change(Operation::CreateConsumerGroup, &request).await
    }

    /// Becomes a member of a group, for as long as the connection lasts.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such group.
    pub async fn join_group<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        group: impl Into<Identifier<'a>>,
    ) -> Result<(), Error> {
        let request = groups::JoinConsumerGroupRequest {
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            group_id: wire_id(group.into())?,
        };
        self.command(Operation::JoinConsumerGroup, &request).await
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// [`Error::Refused`] when the client is no member.
    pub async fn leave_group<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        group: impl Into<Identifier<'a>>,
    ) -> Result<(), Error> {
        let request = groups::LeaveConsumerGroupRequest {
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            group_id: wire_id(group.into())?,
        };
        self.command(Operation::LeaveConsumerGroup, &request).await
    }

    /// The partitions that this member polls now, `None` when it is no member.
    ///
    /// # Errors
    /// See [`Client::request`].
    pub async fn sync_group<'a>(
        &mut self,
        stream: impl Into<Identifier<'a>>,
        topic: impl Into<Identifier<'a>>,
        group: impl Into<Identifier<'a>>,
    ) -> Result<Option<SyncConsumerGroupResponse>, Error> {
        let request = groups::SyncConsumerGroupRequest {
            stream_id: wire_id(stream.into())?,
            topic_id: wire_id(topic.into())?,
            group_id: wire_id(group.into())?,
        };
        self.read(codes::SYNC_CONSUMER_GROUP_CODE, &request).await
    }

    // The shapes that commands have.

    async fn read<T: WireDecode>(
        &mut self,
        code: u32,
        request: &impl WireEncode,
    ) -> Result<Option<T>, Error> {
        let kind = Kind::read(code);
        let payload = self
            .session
            .request(kind, |body| request.encode(body), None)
            .await?;
        // Something that is not there is answered with nothing.
        if payload.is_empty() {
            Ok(None)
        } else {
            decode(&payload).map(Some)
        }
    }

    async fn change<T: WireDecode>(
        &mut self,
        operation: Operation,
        request: &impl WireEncode,
    ) -> Result<T, Error> {
        let kind = Kind::change(operation as u8);
        let payload = self
            .session
            .request(kind, |body| request.encode(body), None)
            .await?;
        decode(&payload)
    }

    async fn command(
        &mut self,
        operation: Operation,
        request: &impl WireEncode,
    ) -> Result<(), Error> {
        let kind = Kind::change(operation as u8);
        self.session
            .request(kind, |body| request.encode(body), None)
            .await
            .map(drop)
    }
}

fn decode<T: WireDecode>(payload: &[u8]) -> Result<T, Error> {
    T::decode_from(payload).map_err(|_| Error::Protocol("a response that does not parse"))
}

fn wire_name(name: &str) -> Result<WireName, Error> {
    WireName::new(name).map_err(|_| Error::Name)
}

fn wire_id(id: Identifier<'_>) -> Result<WireIdentifier, Error> {
    match id {
        Identifier::Number(number) => Ok(WireIdentifier::numeric(number)),
        Identifier::Name(name) => wire_name(name).map(WireIdentifier::String),
    }
}

fn wire_consumer(consumer: Consumer<'_>) -> Result<WireConsumer, Error> {
    let id = wire_id(consumer.id)?;
    Ok(match consumer.kind {
        wire::iggy::identifier::ConsumerKind::Consumer => WireConsumer::consumer(id),
        wire::iggy::identifier::ConsumerKind::Group => WireConsumer::consumer_group(id),
    })
}

fn wire_options(options: &[(&str, &str)]) -> Result<WireOptions, Error> {
    /// Kind of a key or value that is text.
    const TEXT: u8 = 2;
    let entries: Vec<_> = options
        .iter()
        .map(|(key, value)| (TEXT, key.as_bytes(), TEXT, value.as_bytes()))
        .collect();
    let mut bytes = BytesMut::new();
    encode_user_headers(&entries, &mut bytes);
    WireOptions::from_bytes(bytes.freeze()).map_err(|_| Error::Name)
}
