//! Answers to what only reads.

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::Status;
use wire::iggy::command::Command;
use wire::iggy::published::WireIdentifier;
use wire::iggy::published::requests::consumer_groups::{
    GetConsumerGroupRequest, GetConsumerGroupsRequest, SyncConsumerGroupRequest,
};
use wire::iggy::published::requests::streams::GetStreamRequest;
use wire::iggy::published::requests::topics::{GetTopicRequest, GetTopicsRequest};
use wire::iggy::published::requests::users::GetUserRequest;
use wire::iggy::published::responses::clients::{ClientDetailsResponse, GetClientsResponse};
use wire::iggy::published::responses::consumer_groups::ConsumerGroupDetailsResponse;
use wire::iggy::published::responses::consumer_groups::GetConsumerGroupsResponse;
use wire::iggy::published::responses::consumer_groups::SyncConsumerGroupResponse;
use wire::iggy::published::responses::personal_access_tokens::GetPersonalAccessTokensResponse;
use wire::iggy::published::responses::streams::get_stream::GetStreamResponse;
use wire::iggy::published::responses::streams::get_streams::GetStreamsResponse;
use wire::iggy::published::responses::system::get_cluster_metadata::ClusterMetadataResponse;
use wire::iggy::published::responses::system::get_stats::StatsResponse;
use wire::iggy::published::responses::topics::get_topic::GetTopicResponse;
use wire::iggy::published::responses::topics::get_topics::GetTopicsResponse;
use wire::iggy::published::responses::users::{GetUsersResponse, UserDetailsResponse};

use super::super::read::{View, needs_stats, read};
use super::super::system::{ProcessStats, client, clients, cluster_metadata, me, stats};
use super::{World, create_group, create_stream, create_topic, decoded, named};
use crate::catalog::{
    GroupKey, NewUser, PartitionKey, PartitionStats, Permissions, ROOT_USER_ID, UserStatus,
};
use crate::session::ClientInfo;

type Stats = BTreeMap<PartitionKey, PartitionStats>;

const CLIENT: u32 = 77;

fn partition_stats() -> Stats {
    let full = PartitionStats {
        messages_count: 10,
        size_bytes: 1_000,
        segments_count: 2,
        current_offset: 9,
    };
    [
        (PartitionKey::new(0, 0, 0), full),
        (PartitionKey::new(0, 0, 1), full),
    ]
    .into()
}

fn answer(world: &World, user_id: u32, command: &Command<'_>) -> Result<Bytes, Status> {
    let stats = partition_stats();
    read(command, view(world, &stats, user_id)).expect("a read of the catalog")
}

fn view<'a>(world: &'a World, stats: &'a Stats, user_id: u32) -> View<'a> {
    let World {
        catalog, groups, ..
    } = world;
    View {
        catalog,
        groups,
        stats,
        topic_defaults: crate::catalog::TopicDefaults::default(),
        user_id,
        client_id: CLIENT,
    }
}

fn get_stream(id: WireIdentifier) -> Command<'static> {
    Command::GetStream(GetStreamRequest { stream_id: id })
}

fn get_topic(stream_id: WireIdentifier, topic_id: WireIdentifier) -> Command<'static> {
    Command::GetTopic(GetTopicRequest {
        stream_id,
        topic_id,
    })
}

fn get_topics(stream_id: WireIdentifier) -> Command<'static> {
    Command::GetTopics(GetTopicsRequest { stream_id })
}

fn get_group(group_id: WireIdentifier) -> Command<'static> {
    let (stream_id, topic_id) = (named("s"), named("t"));
    Command::GetConsumerGroup(GetConsumerGroupRequest {
        stream_id,
        topic_id,
        group_id,
    })
}

fn get_groups() -> Command<'static> {
    let (stream_id, topic_id) = (named("s"), named("t"));
    Command::GetConsumerGroups(GetConsumerGroupsRequest {
        stream_id,
        topic_id,
    })
}

fn sync(group_id: WireIdentifier) -> Command<'static> {
    let (stream_id, topic_id) = (named("s"), named("t"));
    Command::SyncConsumerGroup(SyncConsumerGroupRequest {
        stream_id,
        topic_id,
        group_id,
    })
}

fn get_user(user_id: WireIdentifier) -> Command<'static> {
    Command::GetUser(GetUserRequest { user_id })
}

/// A stream with a topic of two partitions and a group with one member, and an empty stream.
fn busy_world() -> World {
    let mut world = World::with_topic(2);
    world.run(create_stream("empty")).expect("create");
    world
        .run(create_topic("s", "no partitions", 0))
        .expect("create");
    world.run(create_group("s", "t", "g")).expect("create");
    world.run(create_group("s", "t", "idle")).expect("create");
    let joined = world
        .groups
        .join(&world.limits, GroupKey::new(0, 0, 0), 2, CLIENT);
    assert_eq!(joined, Ok(true));
    let user = NewUser {
        username: "plain",
        password_hash: "hash".into(),
        status: UserStatus::Active,
        permissions: Some(Permissions::default()),
    };
    let change = world
        .decider(ROOT_USER_ID)
        .create_user(user)
        .expect("create");
    world.apply(&change);
    world
}

const PLAIN_USER_ID: u32 = 1;

#[test]
fn streams_and_topics_show_what_their_partitions_hold() {
    let world = busy_world();
    let root = ROOT_USER_ID;
    let one: GetStreamResponse =
        decoded(&answer(&world, root, &get_stream(named("s"))).expect("read"));
    assert_eq!((one.stream.topics_count, one.topics.len()), (2, 2));
    assert_eq!(
        (one.stream.messages_count, one.stream.size_bytes),
        (20, 2_000)
    );
    assert_eq!(
        (one.topics[0].messages_count, one.topics[1].messages_count),
        (20, 0)
    );
    let all: GetStreamsResponse =
        decoded(&answer(&world, root, &Command::GetStreams).expect("read"));
    let names: Vec<_> = all.streams.iter().map(|stream| &*stream.name).collect();
    assert_eq!(names, ["s", "empty"]);
    let topic = get_topic(WireIdentifier::numeric(0), named("t"));
    let topic: GetTopicResponse = decoded(&answer(&world, root, &topic).expect("read"));
    let partition = &topic.partitions[1];
    assert_eq!((partition.id, partition.created_at), (1, 102));
    assert_eq!((partition.current_offset, partition.segments_count), (9, 2));
    let topics: GetTopicsResponse =
        decoded(&answer(&world, root, &get_topics(named("s"))).expect("read"));
    assert_eq!(topics.topics.len(), 2);
    let none: GetTopicsResponse =
        decoded(&answer(&world, root, &get_topics(named("empty"))).expect("read"));
    assert_eq!(none.topics, []);
}

#[test]
fn what_does_not_exist_is_an_empty_body() {
    let world = busy_world();
    let missing = named("missing");
    let commands = [
        get_stream(missing.clone()),
        get_topic(missing.clone(), missing.clone()),
        get_topic(named("s"), missing.clone()),
        get_topics(missing.clone()),
        get_group(missing.clone()),
        sync(missing.clone()),
        get_user(missing),
    ];
    for command in &commands {
        assert_eq!(
            answer(&world, ROOT_USER_ID, command),
            Ok(Bytes::new()),
            "{command:?}"
        );
    }
}

#[test]
fn what_may_not_be_seen_is_unauthorized() {
    let world = busy_world();
    let commands = [
        get_stream(named("s")),
        Command::GetStreams,
        get_topic(named("s"), named("t")),
        get_topics(named("s")),
        get_group(named("g")),
        get_groups(),
        get_user(named("root")),
        get_user(named("missing")),
        Command::GetUsers,
    ];
    for command in &commands {
        let refused = answer(&world, PLAIN_USER_ID, command);
        assert_eq!(refused, Err(Status::UNAUTHORIZED), "{command:?}");
    }
    let stats_of = partition_stats();
    let view = view(&world, &stats_of, PLAIN_USER_ID);
    assert_eq!(clients(view, &[]), Err(Status::UNAUTHORIZED));
    assert_eq!(client(view, None), Err(Status::UNAUTHORIZED));
    assert_eq!(
        stats(view, &ProcessStats::default()),
        Err(Status::UNAUTHORIZED)
    );
}

#[test]
fn groups_show_their_members() {
    let world = busy_world();
    let group: ConsumerGroupDetailsResponse =
        decoded(&answer(&world, ROOT_USER_ID, &get_group(named("g"))).expect("read"));
    assert_eq!(
        (group.group.members_count, group.group.partitions_count),
        (1, 2)
    );
    assert_eq!(
        (group.members[0].id, &*group.members[0].partitions),
        (CLIENT, &[0, 1][..])
    );
    let groups: GetConsumerGroupsResponse =
        decoded(&answer(&world, ROOT_USER_ID, &get_groups()).expect("read"));
    let counts: Vec<_> = groups
        .groups
        .iter()
        .map(|group| (&*group.name, group.members_count))
        .collect();
    assert_eq!(counts, [("g", 1), ("idle", 0)]);
}

#[test]
fn a_sync_is_for_members_only() {
    let world = busy_world();
    let assignment: SyncConsumerGroupResponse =
        decoded(&answer(&world, ROOT_USER_ID, &sync(named("g"))).expect("read"));
    assert_eq!(
        (assignment.generation, assignment.partitions),
        (1, vec![0, 1])
    );
    assert_eq!(
        answer(&world, ROOT_USER_ID, &sync(named("idle"))),
        Ok(Bytes::new())
    );
}

#[test]
fn users_show_no_hashes() {
    let world = busy_world();
    let users: GetUsersResponse =
        decoded(&answer(&world, ROOT_USER_ID, &Command::GetUsers).expect("read"));
    let names: Vec<_> = users.users.iter().map(|user| &*user.username).collect();
    assert_eq!(names, ["root", "plain"]);
    let own = answer(&world, PLAIN_USER_ID, &get_user(named("plain"))).expect("one's own");
    let own: UserDetailsResponse = decoded(&own);
    assert_eq!((own.user.id, own.user.status), (PLAIN_USER_ID, 1));
    let root = answer(&world, ROOT_USER_ID, &get_user(WireIdentifier::numeric(0))).expect("read");
    let root: UserDetailsResponse = decoded(&root);
    assert_eq!(root.permissions, None);
}

#[test]
fn tokens_are_listed_by_name_and_expiry() {
    let mut world = busy_world();
    for (token, expiry_us) in [("short", Some(5)), ("forever", None)] {
        let decider = world.decider(ROOT_USER_ID);
        let change = decider
            .create_token(token, token.into(), expiry_us)
            .expect("create");
        world.apply(&change);
    }
    let body = answer(&world, ROOT_USER_ID, &Command::GetPersonalAccessTokens).expect("read");
    let tokens: GetPersonalAccessTokensResponse = decoded(&body);
    let shown: Vec<_> = tokens
        .tokens
        .iter()
        .map(|t| (&*t.name, t.expiry_at))
        .collect();
    assert_eq!(shown, [("forever", 0), ("short", world.now_us + 5)]);
    let gone = answer(&world, 99, &Command::GetPersonalAccessTokens);
    assert_eq!(gone, Err(Status::UNAUTHENTICATED));
}

#[test]
fn clients_show_their_groups() {
    let world = busy_world();
    let stats_of = partition_stats();
    let view = view(&world, &stats_of, ROOT_USER_ID);
    let info = ClientInfo {
        number: CLIENT,
        user_id: ROOT_USER_ID,
        transport: 4,
        address: "127.0.0.1:5000".to_owned(),
    };
    let mine: ClientDetailsResponse = decoded(&me(view, &info));
    assert_eq!((mine.client.client_id, mine.client.transport), (CLIENT, 4));
    assert_eq!(mine.consumer_groups.len(), 1);
    assert_eq!(client(view, Some(&info)), Ok(me(view, &info)));
    assert_eq!(client(view, None), Ok(Bytes::new()));
    let all: GetClientsResponse = decoded(&clients(view, &[info]).expect("read"));
    assert_eq!(
        (all.clients.len(), all.clients[0].consumer_groups_count),
        (1, 1)
    );
}

#[test]
fn the_cluster_is_one_healthy_leader_where_the_client_found_it() {
    let tcp = "192.0.2.1:8090".parse().expect("an address");
    let websocket = "192.0.2.1:8092".parse().expect("an address");
    let cluster: ClusterMetadataResponse = decoded(&cluster_metadata(tcp, websocket));
    assert_eq!(cluster.nodes.len(), 1);
    let node = &cluster.nodes[0];
    assert_eq!(
        (node.ip.as_str(), node.tcp_port, node.websocket_port),
        ("192.0.2.1", 8090, 8092)
    );
    assert_eq!((node.role, node.status), (0, 0));
}

#[test]
fn statistics_sum_everything_up() {
    let world = busy_world();
    let stats_of = partition_stats();
    let process = ProcessStats {
        process_id: 5,
        clients_count: 3,
        hostname: "machine".to_owned(),
        ..ProcessStats::default()
    };
    let body = stats(view(&world, &stats_of, ROOT_USER_ID), &process).expect("read");
    let shown: StatsResponse = decoded(&body);
    assert_eq!((shown.streams_count, shown.topics_count), (2, 2));
    assert_eq!((shown.partitions_count, shown.segments_count), (2, 4));
    assert_eq!(
        (shown.messages_count, shown.messages_size_bytes),
        (20, 2_000)
    );
    assert_eq!((shown.consumer_groups_count, shown.clients_count), (2, 3));
    assert_eq!((shown.process_id, shown.hostname.as_str()), (5, "machine"));
}

#[test]
fn only_listings_of_sizes_ask_the_shards() {
    assert!(needs_stats(&Command::GetStreams));
    assert!(needs_stats(&Command::GetStats));
    assert!(!needs_stats(&Command::GetUsers));
    assert!(!needs_stats(&sync(named("g"))));
}
