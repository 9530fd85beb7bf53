//! The published Rust client, and the few calls that every scenario needs.

use std::collections::HashSet;
use std::net::SocketAddr;

use bytes::Bytes;
use iggy::prelude::*;

use crate::harness::{PASSWORD, Server, Transport, USERNAME};

pub(crate) const STREAM: &str = "orders";
pub(crate) const TOPIC: &str = "placed";

/// A connected and logged-in client, made from a connection string as its documentation does.
pub(crate) async fn connect(server: &Server, transport: Transport) -> IggyClient {
    connect_to(server.address(transport), transport).await
}

pub(crate) async fn connect_to(address: SocketAddr, transport: Transport) -> IggyClient {
    let scheme = match transport {
        Transport::Tcp => "tcp",
        Transport::WebSocket => "ws",
    };
    // Reconnecting at once instead of after seconds keeps the tests short.
    let options = "reconnection_interval=50ms&reestablish_after=50ms";
    let text = format!("iggy+{scheme}://{USERNAME}:{PASSWORD}@{address}?{options}");
    let client = IggyClient::from_connection_string(&text).expect("a connection string");
    client.connect().await.expect("connected and logged in");
    client
}

pub(crate) fn stream() -> Identifier {
    Identifier::named(STREAM).expect("a name")
}

pub(crate) fn topic() -> Identifier {
    Identifier::named(TOPIC).expect("a name")
}

pub(crate) async fn create_topic(client: &IggyClient, partitions_count: u32) {
    client.create_stream(STREAM).await.expect("stream created");
    let options = TopicCreateOptions {
        partitions_count: Some(partitions_count),
        ..TopicCreateOptions::default()
    };
    client
        .create_topic(&stream(), TOPIC, &options)
        .await
        .expect("topic created");
}

/// Sends one batch; returns the offset of its first message.
pub(crate) async fn send(
    client: &IggyClient,
    partition_id: u32,
    payloads: impl IntoIterator<Item = String>,
) -> Result<u64, IggyError> {
    let mut messages: Vec<IggyMessage> = payloads.into_iter().map(message).collect();
    let partitioning = Partitioning::partition_id(partition_id);
    let response = client
        .send_messages(&stream(), &topic(), &partitioning, &mut messages)
        .await?;
    let confirmation = response
        .confirmations
        .first()
        .expect("one batch, one confirmation");
    assert_eq!(confirmation.partition_id, partition_id);
    Ok(confirmation.base_offset)
}

pub(crate) fn message(payload: String) -> IggyMessage {
    IggyMessage::builder()
        .payload(Bytes::from(payload))
        .build()
        .expect("a message")
}

pub(crate) fn consumer(name: &str) -> Consumer {
    Consumer::new(Identifier::named(name).expect("a name"))
}

/// One poll of one partition by a single consumer that is called "reader".
pub(crate) async fn poll(
    client: &IggyClient,
    partition_id: u32,
    strategy: PollingStrategy,
    count: u32,
    auto_commit: bool,
) -> PolledMessages {
    let (stream, topic, consumer) = (stream(), topic(), consumer("reader"));
    client
        .poll_messages(
            &stream,
            &topic,
            Some(partition_id),
            &consumer,
            &strategy,
            count,
            auto_commit,
        )
        .await
        .expect("polled")
}

pub(crate) fn texts(polled: &PolledMessages) -> Vec<String> {
    polled.messages.iter().map(text).collect()
}

pub(crate) fn text(message: &IggyMessage) -> String {
    message.payload_as_string().expect("UTF-8")
}

/// Everything in a partition, read from the first offset on; offsets are checked to be dense and
/// payloads to be there once.
pub(crate) async fn read_all(client: &IggyClient, partition_id: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    loop {
        let next_offset = found.len() as u64;
        let polled = poll(
            client,
            partition_id,
            PollingStrategy::offset(next_offset),
            1000,
            false,
        )
        .await;
        if polled.messages.is_empty() {
            return found;
        }
        for message in &polled.messages {
            assert_eq!(
                message.header.offset,
                found.len() as u64,
                "offsets are dense"
            );
            let text = text(message);
            assert!(seen.insert(text.clone()), "{text} is there twice");
            found.push(text);
        }
    }
}
