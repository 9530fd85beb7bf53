//! The published Rust client, unmodified.

use std::collections::BTreeMap;
use std::str::FromStr;

use bytes::Bytes;
use iggy::prelude::*;

use crate::client::*;
use crate::harness::{PASSWORD, Setup, USERNAME, matrix};

matrix!(
    log_in_and_out,
    streams_and_topics,
    polls_by_every_strategy,
    consumer_offsets,
    group_of_two_rebalances,
    vanished_member_is_replaced,
    reconnects_after_a_restart,
    ten_thousand_messages_survive_a_restart,
    large_message,
    ids_and_headers_come_back,
    spreads_over_partitions,
);

async fn log_in_and_out(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;

    let me = client.get_me().await.expect("who I am");
    assert!(me.user_id.is_some());
    let stats = client.get_stats().await.expect("stats");
    assert_eq!(stats.streams_count, 0);
    assert!(stats.clients_count >= 1);
    let cluster = client.get_cluster_metadata().await.expect("cluster");
    assert_eq!(cluster.nodes.len(), 1);
    client.ping().await.expect("pong");

    client.logout_user().await.expect("logged out");
    client.ping().await.expect("a ping needs no login");
    let refused = client.get_streams().await.expect_err("not logged in");
    assert_eq!(refused.as_code(), IggyError::Unauthenticated.as_code());
    let refused = client
        .login_user(USERNAME, "wrong password")
        .await
        .expect_err("refused");
    assert_eq!(refused.as_code(), IggyError::InvalidCredentials.as_code());
    let client = connect(&server, setup.transport).await;
    client
        .login_user(USERNAME, PASSWORD)
        .await
        .expect("logged in again");
}

async fn streams_and_topics(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    assert!(client.get_stream(&stream()).await.expect("asked").is_none());

    create_topic(&client, 3).await;
    let again = client
        .create_stream(STREAM)
        .await
        .expect_err("the name is taken");
    assert_eq!(
        again.as_code(),
        IggyError::StreamNameAlreadyExists(String::new()).as_code()
    );

    let details = client
        .get_topic(&stream(), &topic())
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(
        (details.name.as_str(), details.partitions_count),
        (TOPIC, 3)
    );
    assert_eq!(details.partitions.len(), 3);
    client
        .create_partitions(&stream(), &topic(), 2)
        .await
        .expect("more partitions");
    client
        .delete_partitions(&stream(), &topic(), 1)
        .await
        .expect("one less");
    let details = client
        .get_topic(&stream(), &topic())
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(details.partitions_count, 4);

    // What was acknowledged is durable, so it is there after the next start.
    let server = server.restart();
    let client = connect(&server, setup.transport).await;
    let streams = client.get_streams().await.expect("listed");
    assert_eq!(streams.len(), 1);
    assert_eq!(
        (streams[0].name.as_str(), streams[0].topics_count),
        (STREAM, 1)
    );
    let topics = client.get_topics(&stream()).await.expect("listed");
    assert_eq!((topics.len(), topics[0].partitions_count), (1, 4));

    client
        .delete_topic(&stream(), &topic())
        .await
        .expect("deleted");
    client.delete_stream(&stream()).await.expect("deleted");
    assert!(client.get_streams().await.expect("listed").is_empty());
    let gone = client
        .delete_stream(&stream())
        .await
        .expect_err("gone already");
    assert_ne!(gone.as_code(), IggyError::Disconnected.as_code());
}

async fn polls_by_every_strategy(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    let all: Vec<String> = (0..30).map(|number| format!("message {number}")).collect();
    for (index, batch) in all.chunks(10).enumerate() {
        let base_offset = send(&client, 0, batch.iter().cloned()).await.expect("sent");
        assert_eq!(base_offset, index as u64 * 10);
    }

    let first = poll(&client, 0, PollingStrategy::first(), 7, false).await;
    assert_eq!(texts(&first), all[..7]);
    let offset = poll(&client, 0, PollingStrategy::offset(8), 15, false).await;
    assert_eq!(texts(&offset), all[8..23]);
    assert_eq!(offset.messages[0].header.offset, 8);
    let last = poll(&client, 0, PollingStrategy::last(), 4, false).await;
    assert_eq!(texts(&last), all[26..]);
    let beyond = poll(&client, 0, PollingStrategy::offset(30), 5, false).await;
    assert!(beyond.messages.is_empty());

    let timestamp = offset.messages[7].header.timestamp;
    let expected = offset
        .messages
        .iter()
        .position(|m| m.header.timestamp >= timestamp);
    let expected = 8 + expected.expect("one of them has it");
    let strategy = PollingStrategy::timestamp(IggyTimestamp::from(timestamp));
    let by_timestamp = poll(&client, 0, strategy, 100, false).await;
    assert_eq!(texts(&by_timestamp), all[expected..]);

    for expected in [&all[..12], &all[12..24], &all[24..], &[]] {
        let next = poll(&client, 0, PollingStrategy::next(), 12, true).await;
        assert_eq!(texts(&next), expected);
    }
}

async fn consumer_offsets(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    send(&client, 0, (0..10).map(|number| number.to_string()))
        .await
        .expect("sent");
    let (stream, topic, reader) = (stream(), topic(), consumer("reader"));
    let stored = async |client: &IggyClient| {
        let offset = client
            .get_consumer_offset(&reader, &stream, &topic, Some(0))
            .await;
        offset.expect("asked").map(|info| info.stored_offset)
    };
    assert_eq!(stored(&client).await, None);

    poll(&client, 0, PollingStrategy::next(), 4, true).await;
    assert_eq!(
        stored(&client).await,
        Some(3),
        "auto-commit stored the last one returned"
    );
    client
        .store_consumer_offset(&reader, &stream, &topic, Some(0), 6)
        .await
        .expect("stored by hand");

    let server = server.restart();
    let client = connect(&server, setup.transport).await;
    assert_eq!(
        stored(&client).await,
        Some(6),
        "an acknowledged offset is durable"
    );
    let next = poll(&client, 0, PollingStrategy::next(), 100, false).await;
    assert_eq!(texts(&next), ["7", "8", "9"]);

    let beyond = client
        .store_consumer_offset(&reader, &stream, &topic, Some(0), 10)
        .await
        .expect_err("there is no such message");
    assert_eq!(beyond.as_code(), IggyError::InvalidOffset(10).as_code());
    client
        .delete_consumer_offset(&reader, &stream, &topic, Some(0))
        .await
        .expect("deleted");
    assert_eq!(stored(&client).await, None);
    let next = poll(&client, 0, PollingStrategy::next(), 2, false).await;
    assert_eq!(texts(&next), ["0", "1"]);
}

const GROUP: &str = "warehouse";
const PARTITIONS: u32 = 4;

async fn group_of_two_rebalances(setup: Setup) {
    let server = setup.start();
    let producer = connect(&server, setup.transport).await;
    create_topic(&producer, PARTITIONS).await;
    let group = Identifier::named(GROUP).expect("a name");
    producer
        .create_consumer_group(&stream(), &topic(), GROUP)
        .await
        .expect("created");
    let first = connect(&server, setup.transport).await;
    let second = connect(&server, setup.transport).await;
    for member in [&first, &second] {
        member
            .join_consumer_group(&stream(), &topic(), &group)
            .await
            .expect("joined");
    }

    let details = producer
        .get_consumer_group(&stream(), &topic(), &group)
        .await;
    let details = details.expect("asked").expect("there");
    assert_eq!(
        (details.members_count, details.partitions_count),
        (2, PARTITIONS)
    );
    assert!(
        details
            .members
            .iter()
            .all(|member| member.partitions_count == 2)
    );

    produce_to_all(&producer, "early").await;
    let from_first = consume(&first, &group, 2).await;
    let from_second = consume(&second, &group, 2).await;
    let mut all = [from_first, from_second].concat();
    all.sort();
    assert_eq!(
        all,
        expected("early"),
        "each partition went to exactly one member"
    );

    second
        .leave_consumer_group(&stream(), &topic(), &group)
        .await
        .expect("left");
    produce_to_all(&producer, "late").await;
    let mut rest = consume(&first, &group, 4).await;
    rest.sort();
    assert_eq!(
        rest,
        expected("late"),
        "the one that stayed took over every partition"
    );
}

/// A member whose connection ends without a word leaves the group too.
async fn vanished_member_is_replaced(setup: Setup) {
    let server = setup.start();
    let producer = connect(&server, setup.transport).await;
    create_topic(&producer, PARTITIONS).await;
    let group = Identifier::named(GROUP).expect("a name");
    producer
        .create_consumer_group(&stream(), &topic(), GROUP)
        .await
        .expect("created");
    let first = connect(&server, setup.transport).await;
    let second = connect(&server, setup.transport).await;
    for member in [&first, &second] {
        member
            .join_consumer_group(&stream(), &topic(), &group)
            .await
            .expect("joined");
    }
    first.shutdown().await.expect("gone");
    produce_to_all(&producer, "last").await;
    let mut rest = consume(&second, &group, 4).await;
    rest.sort();
    assert_eq!(rest, expected("last"));
}

async fn produce_to_all(client: &IggyClient, word: &str) {
    for partition in 0..PARTITIONS {
        send(client, partition, [format!("{word} {partition}")])
            .await
            .expect("sent");
    }
}

fn expected(word: &str) -> Vec<String> {
    (0..PARTITIONS)
        .map(|partition| format!("{word} {partition}"))
        .collect()
}

/// Polls as a member of the group, with auto-commit, until `count` messages came.
async fn consume(client: &IggyClient, group: &Identifier, count: usize) -> Vec<String> {
    let member = Consumer::group(group.clone());
    let mut found = Vec::new();
    let collect = async {
        while found.len() < count {
            let polled = client
                .poll_messages(
                    &stream(),
                    &topic(),
                    None,
                    &member,
                    &PollingStrategy::next(),
                    10,
                    true,
                )
                .await
                .expect("polled");
            found.extend(texts(&polled));
        }
    };
    let in_time = tokio::time::timeout(crate::harness::PATIENCE, collect).await;
    assert!(in_time.is_ok(), "only {found:?} came");
    found
}

async fn reconnects_after_a_restart(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    send(&client, 0, ["before".to_owned()]).await.expect("sent");

    let server = server.restart();
    // A read is repeated by the client itself once it has connected and logged in again.
    assert_eq!(client.get_streams().await.expect("reconnected").len(), 1);
    send(&client, 0, ["after".to_owned()]).await.expect("sent");
    assert_eq!(read_all(&client, 0).await, ["before", "after"]);
    drop(server);
}

async fn ten_thousand_messages_survive_a_restart(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    let payload = |number: usize| format!("{number:0>1000}");
    for batch in 0..10 {
        let numbers = batch * 1_000..(batch + 1) * 1_000;
        send(&client, 0, numbers.map(payload)).await.expect("sent");
    }
    let server = server.restart();
    let client = connect(&server, setup.transport).await;
    let found = read_all(&client, 0).await;
    assert_eq!(found.len(), 10_000);
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(number, text)| *text == payload(number))
    );
}

/// Larger than any buffer on the way, larger than one WebSocket frame that the client accepts.
async fn large_message(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    let payload: String = (0..20_000_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    send(&client, 0, [payload.clone(), "small".to_owned()])
        .await
        .expect("sent");
    let polled = poll(&client, 0, PollingStrategy::first(), 10, false).await;
    assert!(
        texts(&polled)[0] == payload,
        "the large one comes back as it was"
    );
    let rest = PollingStrategy::offset(polled.messages.len() as u64);
    let mut found = texts(&polled);
    found.extend(texts(&poll(&client, 0, rest, 10, false).await));
    assert_eq!(found[1], "small");
}

async fn ids_and_headers_come_back(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    let key = HeaderKey::from_str("colour").expect("a key");
    let value = HeaderValue::from_str("green").expect("a value");
    let message = IggyMessage::builder()
        .id(7_000_000_000_000_000_000_000)
        .payload(Bytes::from_static(&[0, 255, 1, 254]))
        .user_headers(BTreeMap::from([(key.clone(), value.clone())]))
        .build()
        .expect("a message");
    let partitioning = Partitioning::partition_id(0);
    client
        .send_messages(&stream(), &topic(), &partitioning, &mut [message])
        .await
        .expect("sent");

    let polled = poll(&client, 0, PollingStrategy::first(), 1, false).await;
    let found = &polled.messages[0];
    assert_eq!(found.header.id, 7_000_000_000_000_000_000_000);
    assert_eq!(found.payload.as_ref(), [0, 255, 1, 254]);
    assert_eq!(found.get_user_header(&key).expect("headers"), Some(value));
}

async fn spreads_over_partitions(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 3).await;
    for number in 0..6 {
        let mut batch = [message(format!("balanced {number}"))];
        client
            .send_messages(&stream(), &topic(), &Partitioning::balanced(), &mut batch)
            .await
            .expect("sent");
    }
    let by_key = Partitioning::messages_key_str("customer 7").expect("a key");
    let mut used = Vec::new();
    for number in 0..3 {
        let mut batch = [message(format!("by key {number}"))];
        let response = client
            .send_messages(&stream(), &topic(), &by_key, &mut batch)
            .await;
        used.push(response.expect("sent").confirmations[0].partition_id);
    }
    assert!(
        used.iter().all(|partition| *partition == used[0]),
        "one key, one partition"
    );

    let mut counts = Vec::new();
    for partition in 0..3 {
        counts.push(read_all(&client, partition).await.len());
    }
    counts[used[0] as usize] -= 3;
    assert_eq!(counts, [2, 2, 2], "balanced means in turn");
}
