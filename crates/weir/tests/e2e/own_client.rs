//! Weir's own client against the real server, with both on the same kernel driver.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use client::{
    BatchBuilder, Client, Consumer, ConsumerKind, Error, Identifier, Message, PollRequest,
    PollingStrategy, Status, Target,
};

use crate::harness::{Driver, PASSWORD, Server, Setup, Transport, USERNAME, matrix};

const STREAM: &str = "orders";
const TOPIC: &str = "placed";

matrix!(
    with crate::own_client::run:
    logs_in_and_out,
    polls_what_it_sent_by_every_strategy,
    large_batches_come_back_whole,
    consumer_offsets_are_kept,
    groups_deal_partitions,
    refusals_carry_the_status,
    dropped_request_ends_the_connection,
    lost_server_is_reported_and_found_again,
);

pub(crate) fn run<F: Future<Output = ()>>(
    transport: Transport,
    driver: Driver,
    scenario: impl FnOnce(Setup) -> F,
) {
    let choice = match driver {
        Driver::IoUring => ws::DriverChoice::IoUring,
        Driver::Poll => ws::DriverChoice::Poll,
    };
    let options = ws::RuntimeOptions {
        driver: choice,
        ..ws::RuntimeOptions::default()
    };
    let (runtime, _) = ws::build_runtime(&options).expect("a runtime");
    runtime.block_on(scenario(Setup::new(transport, driver)));
}

/// The server's address with these credentials, or without any.
fn address(server: &Server, transport: Transport, credentials: Option<&str>) -> String {
    let scheme = match transport {
        Transport::Tcp => "iggy+tcp",
        Transport::WebSocket => "iggy+ws",
    };
    let place = server.address(transport);
    match credentials {
        Some(credentials) => format!("{scheme}://{credentials}@{place}"),
        None => format!("{scheme}://{place}"),
    }
}

async fn connect(server: &Server, transport: Transport) -> Client {
    let credentials = format!("{USERNAME}:{}", PASSWORD.replace(' ', "%20"));
    Client::connect(&address(server, transport, Some(&credentials)))
        .await
        .expect("logged in")
}

async fn connect_with_topic(server: &Server, transport: Transport, partitions: u32) -> Client {
    let mut client = connect(server, transport).await;
    create_topic(&mut client, partitions).await;
    client
}

async fn create_topic(client: &mut Client, partitions: u32) {
    client.create_stream(STREAM).await.expect("created");
    client
        .create_topic(STREAM, TOPIC, partitions, &[])
        .await
        .expect("created");
}

async fn logs_in_and_out(setup: Setup) {
    let server = setup.start();
    let address = address(&server, setup.transport, None);
    let mut client = Client::connect(&address).await.expect("connected");
    client.ping().await.expect("a ping needs no login");
    let refused = client.stats().await.expect_err("not logged in");
    assert_eq!(refused.status(), Some(Status::UNAUTHENTICATED));
    client.login(USERNAME, PASSWORD).await.expect("logged in");
    assert_eq!(client.stats().await.expect("stats").streams_count, 0);
    client.logout().await.expect("logged out");
    let refused = client.stats().await.expect_err("logged out");
    assert_eq!(refused.status(), Some(Status::UNAUTHENTICATED));
    client.close().await.expect("closed");

    let mut client = Client::connect(&address).await.expect("connected");
    let evicted = client.login(USERNAME, "wrong").await.expect_err("refused");
    assert_eq!(
        evicted.status(),
        Some(Status::INVALID_CREDENTIALS),
        "{evicted}"
    );
}

async fn polls_what_it_sent_by_every_strategy(setup: Setup) {
    let server = setup.start();
    let mut client = connect(&server, setup.transport).await;
    produce_and_poll(&mut client).await;
}

/// Makes a topic on a new server, fills it and polls it in every way.
pub(crate) async fn produce_and_poll(client: &mut Client) {
    create_topic(client, 1).await;
    for round in 0..3u8 {
        let payloads: Vec<[u8; 2]> = (0..10).map(|index| [round, index]).collect();
        let messages: Vec<Message<'_>> = payloads
            .iter()
            .map(|payload| Message {
                id: 7,
                payload,
                user_headers: b"",
                origin_timestamp: 5,
            })
            .collect();
        let base_offset = client
            .send(STREAM, TOPIC, 0, &messages)
            .await
            .expect("sent");
        assert_eq!(base_offset, Some(u64::from(round) * 10));
    }
    let mut check = async |strategy, count, auto_commit, expected: std::ops::Range<u64>| {
        let request = PollRequest {
            strategy,
            count,
            auto_commit,
            ..PollRequest::new(STREAM, TOPIC, 0)
        };
        let polled = client.poll(&request).await.expect("polled");
        assert_eq!(polled.current_offset(), 29);
        let offsets: Vec<u64> = polled.messages().map(|message| message.offset()).collect();
        assert_eq!(offsets, expected.collect::<Vec<_>>(), "{strategy:?}");
        for message in polled.messages() {
            let offset = message.offset() as u8;
            assert_eq!(message.payload(), [offset / 10, offset % 10]);
            assert_eq!(message.computed_checksum(), message.checksum());
        }
        for batch in polled.batches() {
            batch.verify_checksums().expect("correct checksums");
        }
        polled
            .batches()
            .next()
            .map(|batch| batch.header().base_timestamp)
    };
    check(PollingStrategy::First, 5, false, 0..5).await;
    check(PollingStrategy::Offset(7), 8, false, 7..15).await;
    check(PollingStrategy::Last, 4, false, 26..30).await;
    let time = check(PollingStrategy::Offset(10), 1, false, 10..11)
        .await
        .expect("a message");
    check(PollingStrategy::Timestamp(time), 3, false, 10..13).await;
    check(PollingStrategy::Next, 12, true, 0..12).await;
    check(PollingStrategy::Next, 100, true, 12..30).await;
    check(PollingStrategy::Next, 100, true, 30..30).await;
}

async fn large_batches_come_back_whole(setup: Setup) {
    let server = setup.start();
    let mut client = connect_with_topic(&server, setup.transport, 1).await;
    let payload: Vec<u8> = (0..1_000).map(|index| index as u8).collect();
    let mut batch = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut batch);
    for _ in 0..1_000 {
        builder
            .push(Message {
                payload: &payload,
                ..Message::default()
            })
            .expect("fits");
    }
    let header = builder.finish().expect("not empty");
    let batch = batch.freeze();
    let target = Target::new(STREAM, TOPIC, 0);
    for round in 0..6 {
        let sent = client
            .send_batch(&target, header.message_count, batch.clone())
            .await;
        assert_eq!(sent.expect("sent"), Some(round * 1_000));
    }
    // Replies of one and of several megabytes, with and without a good guess of the size.
    for count in [1_000, 5_000, 10, 5_000] {
        let strategy = PollingStrategy::Offset(500);
        let request = PollRequest {
            strategy,
            count,
            ..PollRequest::new(STREAM, TOPIC, 0)
        };
        let polled = client.poll(&request).await.expect("polled");
        assert_eq!(polled.message_count(), count);
        assert!(polled.messages().zip(500..).all(|(message, offset)| {
            message.offset() == offset && message.payload() == payload
        }));
    }
}

async fn consumer_offsets_are_kept(setup: Setup) {
    let server = setup.start();
    let mut client = connect_with_topic(&server, setup.transport, 1).await;
    let messages = [Message {
        payload: b"x",
        ..Message::default()
    }; 5];
    client
        .send(STREAM, TOPIC, 0, &messages)
        .await
        .expect("sent");
    let consumer = Consumer {
        kind: ConsumerKind::Consumer,
        id: Identifier::Number(9),
    };
    let stored = client
        .consumer_offset(consumer, STREAM, TOPIC, 0)
        .await
        .expect("asked");
    assert!(stored.is_none());
    client
        .store_consumer_offset(consumer, STREAM, TOPIC, 0, 3)
        .await
        .expect("stored");
    drop(client);

    let mut client = connect(&server, setup.transport).await;
    let stored = client
        .consumer_offset(consumer, STREAM, TOPIC, 0)
        .await
        .expect("asked");
    assert_eq!(stored.expect("kept").stored_offset, 3);
    client
        .delete_consumer_offset(consumer, STREAM, TOPIC, 0)
        .await
        .expect("deleted");
    let refused = client
        .delete_consumer_offset(consumer, STREAM, TOPIC, 0)
        .await;
    assert_eq!(
        refused.expect_err("gone").status(),
        Some(Status::CONSUMER_OFFSET_NOT_FOUND)
    );
}

async fn groups_deal_partitions(setup: Setup) {
    let server = setup.start();
    let mut first = connect_with_topic(&server, setup.transport, 4).await;
    let mut second = connect(&server, setup.transport).await;
    let group = first
        .create_group(STREAM, TOPIC, "billing")
        .await
        .expect("created");
    assert_eq!(group.group.partitions_count, 4);
    assert!(
        first
            .sync_group(STREAM, TOPIC, "billing")
            .await
            .expect("asked")
            .is_none()
    );
    first
        .join_group(STREAM, TOPIC, "billing")
        .await
        .expect("joined");
    let alone = first
        .sync_group(STREAM, TOPIC, "billing")
        .await
        .expect("asked");
    assert_eq!(alone.expect("a member").partitions.len(), 4);
    second
        .join_group(STREAM, TOPIC, "billing")
        .await
        .expect("joined");
    let mut all = Vec::new();
    for member in [&mut first, &mut second] {
        let assigned = member
            .sync_group(STREAM, TOPIC, "billing")
            .await
            .expect("asked");
        all.extend(assigned.expect("a member").partitions);
    }
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    second
        .leave_group(STREAM, TOPIC, "billing")
        .await
        .expect("left");
    let refused = second
        .leave_group(STREAM, TOPIC, "billing")
        .await
        .expect_err("no member");
    assert_eq!(
        refused.status(),
        Some(Status::CONSUMER_GROUP_MEMBER_NOT_FOUND)
    );
}

async fn refusals_carry_the_status(setup: Setup) {
    let server = setup.start();
    let mut client = connect_with_topic(&server, setup.transport, 1).await;
    let message = [Message {
        payload: b"x",
        ..Message::default()
    }];
    let refused = |error: Error| {
        assert!(error.is_recoverable());
        error.status().expect("refused with a status")
    };
    let error = client.create_stream(STREAM).await.expect_err("taken");
    assert_eq!(refused(error), Status::STREAM_NAME_ALREADY_EXISTS);
    let error = client
        .send("nowhere", TOPIC, 0, &message)
        .await
        .expect_err("no stream");
    assert_eq!(refused(error), Status::STREAM_ID_NOT_FOUND);
    let error = client
        .send(STREAM, "nowhere", 0, &message)
        .await
        .expect_err("no topic");
    assert_eq!(refused(error), Status::TOPIC_ID_NOT_FOUND);
    let error = client
        .send(STREAM, TOPIC, 9, &message)
        .await
        .expect_err("no partition");
    assert_eq!(refused(error), Status::PARTITION_NOT_FOUND);
    let error = client
        .create_topic(STREAM, "t", 1, &[("colour", "blue")])
        .await;
    assert_eq!(
        refused(error.expect_err("no option")),
        Status::UNSUPPORTED_OPTION_KEY
    );
    let error = client
        .request(99, 0, bytes::Bytes::new())
        .await
        .expect_err("no command");
    assert_eq!(refused(error), Status::INVALID_COMMAND);
    assert!(matches!(
        client.send(STREAM, TOPIC, 0, &[]).await,
        Err(Error::Batch(_))
    ));
    assert!(matches!(client.create_stream("").await, Err(Error::Name)));
    assert!(client.stream("nowhere").await.expect("asked").is_none());
    assert!(
        client
            .topic(STREAM, "nowhere")
            .await
            .expect("asked")
            .is_none()
    );

    // The connection is as good as before.
    client.send(STREAM, TOPIC, 0, &message).await.expect("sent");
    client.delete_topic(STREAM, TOPIC).await.expect("deleted");
    client.delete_stream(STREAM).await.expect("deleted");
    assert!(client.stream(STREAM).await.expect("asked").is_none());
}

async fn dropped_request_ends_the_connection(setup: Setup) {
    let server = setup.start();
    let mut client = connect(&server, setup.transport).await;
    {
        let mut ping = pin!(client.ping());
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(ping.as_mut().poll(&mut context), Poll::Pending));
    }
    let error = client
        .ping()
        .await
        .expect_err("the reply of the first would be taken");
    assert!(matches!(error, Error::Desynchronised), "{error}");
    connect(&server, setup.transport)
        .await
        .ping()
        .await
        .expect("another connection works");
}

async fn lost_server_is_reported_and_found_again(setup: Setup) {
    let server = setup.start();
    let mut client = connect_with_topic(&server, setup.transport, 1).await;
    let message = [Message {
        payload: b"kept",
        ..Message::default()
    }];
    client.send(STREAM, TOPIC, 0, &message).await.expect("sent");
    let server = server.restart();
    let error = client.ping().await.expect_err("gone");
    assert!(
        !error.is_recoverable() && error.status().is_none(),
        "{error}"
    );
    let mut client = connect(&server, setup.transport).await;
    let polled = client
        .poll(&PollRequest::new(STREAM, TOPIC, 0))
        .await
        .expect("polled");
    assert_eq!(polled.messages().next().expect("kept").payload(), b"kept");
}
