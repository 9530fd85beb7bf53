//! Streams, topics, partitions and groups: each decision, each refusal, each effect.

use wire::Status;

use super::super::{
    ApplyError, Change, Durability, GroupKey, Identifier, PartitionKey, RequestedTopicOptions,
};
use super::{World, keys};

const MISSING: Identifier<'static> = Identifier::Number(99);

fn requested() -> RequestedTopicOptions {
    RequestedTopicOptions::default()
}

#[test]
fn ids_start_at_zero_and_are_never_used_again() {
    let mut world = World::new();
    assert_eq!(world.create_stream("a"), 0);
    assert_eq!(world.create_stream("b"), 1);
    world
        .run(|decider| decider.delete_stream("b".into()))
        .expect("delete");
    assert_eq!(world.create_stream("b"), 2);
    assert_eq!(world.create_topic("b", "t", 1), 0);
    world
        .run(|decider| decider.delete_topic("b".into(), "t".into()))
        .expect("delete");
    assert_eq!(world.create_topic("b", "t", 1), 1);
    assert_eq!(world.create_group("b", "t", "g"), 0);
    world
        .run(|decider| decider.delete_group("b".into(), "t".into(), "g".into()))
        .expect("delete");
    assert_eq!(world.create_group("b", "t", "g"), 1);
}

#[test]
fn names_have_1_to_255_bytes() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 0);
    let longest = "n".repeat(255);
    let check = |name: &str, allowed: bool| {
        let decider = world.decider();
        let refusal = |status: Status| if allowed { None } else { Some(status) };
        let stream = decider.create_stream(name).err();
        assert_eq!(stream, refusal(Status::INVALID_STREAM_NAME));
        let renamed = decider.update_stream("s".into(), name).err();
        assert_eq!(renamed, refusal(Status::INVALID_STREAM_NAME));
        let topic = decider
            .create_topic("s".into(), name, 1, &requested())
            .err();
        assert_eq!(topic, refusal(Status::INVALID_TOPIC_NAME));
        let updated = decider
            .update_topic("s".into(), "t".into(), name, &requested())
            .err();
        assert_eq!(updated, refusal(Status::INVALID_TOPIC_NAME));
        let group = decider.create_group("s".into(), "t".into(), name).err();
        assert_eq!(group, refusal(Status::INVALID_CONSUMER_GROUP_NAME));
    };
    check("n", true);
    check(&longest, true);
    check("", false);
    check(&(longest.clone() + "n"), false);
    // Bytes count, not characters.
    check(&"ß".repeat(127), true);
    check(&"ß".repeat(128), false);
}

#[test]
fn names_are_unique_within_their_parent_only() {
    let mut world = World::new();
    world.create_stream("a");
    world.create_stream("b");
    world.create_topic("a", "same", 1);
    world.create_topic("b", "same", 1);
    world.create_topic("a", "other", 1);
    world.create_group("a", "same", "g");
    world.create_group("a", "other", "g");
    let decider = world.decider();
    assert_eq!(
        decider.create_stream("a"),
        Err(Status::STREAM_NAME_ALREADY_EXISTS)
    );
    assert_eq!(
        decider.update_stream("a".into(), "b"),
        Err(Status::STREAM_NAME_ALREADY_EXISTS)
    );
    assert!(decider.update_stream("a".into(), "a").is_ok());
    assert_eq!(
        decider.create_topic("a".into(), "same", 1, &requested()),
        Err(Status::TOPIC_NAME_ALREADY_EXISTS)
    );
    assert_eq!(
        decider.update_topic("a".into(), "same".into(), "other", &requested()),
        Err(Status::TOPIC_NAME_ALREADY_EXISTS)
    );
    assert!(
        decider
            .update_topic("a".into(), "same".into(), "same", &requested())
            .is_ok()
    );
    assert_eq!(
        decider.create_group("a".into(), "same".into(), "g"),
        Err(Status::CONSUMER_GROUP_NAME_ALREADY_EXISTS)
    );
}

#[test]
fn what_does_not_exist_is_named_from_the_outside_in() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 1);
    let decider = world.decider();
    let (s, t) = (Identifier::Name("s"), Identifier::Name("t"));
    let no_stream = Err(Status::STREAM_ID_NOT_FOUND);
    let no_topic = Err(Status::TOPIC_ID_NOT_FOUND);
    let no_group = Err(Status::CONSUMER_GROUP_ID_NOT_FOUND);
    for missing in [MISSING, Identifier::Name("missing")] {
        assert_eq!(decider.update_stream(missing, "x"), no_stream);
        assert_eq!(decider.delete_stream(missing), no_stream);
        assert_eq!(
            decider.purge_stream(missing),
            Err(Status::STREAM_ID_NOT_FOUND)
        );
        assert_eq!(
            decider.create_topic(missing, "x", 1, &requested()),
            no_stream
        );
        for (stream, topic, expected) in [
            (missing, t, no_stream.clone()),
            (s, missing, no_topic.clone()),
        ] {
            assert_eq!(
                decider.update_topic(stream, topic, "x", &requested()),
                expected
            );
            assert_eq!(decider.delete_topic(stream, topic), expected);
            assert_eq!(decider.create_partitions(stream, topic, 1), expected);
            assert_eq!(decider.delete_partitions(stream, topic, 1), expected);
            assert_eq!(decider.create_group(stream, topic, "g"), expected);
            assert_eq!(decider.delete_group(stream, topic, missing), expected);
            assert_eq!(
                decider.purge_topic(stream, topic).err(),
                expected.clone().err()
            );
            assert_eq!(
                decider.delete_segments(stream, topic, 0).err(),
                expected.clone().err()
            );
            assert_eq!(
                decider.usable_group(stream, topic, missing).err(),
                expected.err()
            );
        }
        assert_eq!(decider.delete_group(s, t, missing), no_group);
        assert_eq!(
            decider.usable_group(s, t, missing),
            Err(Status::CONSUMER_GROUP_ID_NOT_FOUND)
        );
    }
}

#[test]
fn partitions_that_do_not_exist_are_not_found() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 1);
    let decider = world.decider();
    let (s, t) = (Identifier::Name("s"), Identifier::Name("t"));
    assert_eq!(
        decider.delete_segments(s, t, 1),
        Err(Status::PARTITION_NOT_FOUND)
    );
    assert_eq!(
        decider.delete_segments(s, t, 0),
        Ok(PartitionKey::new(0, 0, 0))
    );
    assert_eq!(
        world.catalog.partition_key(s, t, 1),
        Err(Status::PARTITION_NOT_FOUND)
    );
    assert_eq!(
        world.catalog.partition_key(s, t, 0),
        Ok(PartitionKey::new(0, 0, 0))
    );
    assert_eq!(
        world.catalog.partition_key(MISSING, t, 0),
        Err(Status::STREAM_ID_NOT_FOUND)
    );
}

#[test]
fn partitions_follow_each_other_and_go_from_the_end() {
    let mut world = World::new();
    world.create_stream("s");
    let (s, t) = (Identifier::Name("s"), Identifier::Name("t"));
    let created = world
        .run(|decider| decider.create_topic(s, "t", 3, &requested()))
        .expect("create topic");
    assert_eq!(created.partitions_created, keys(0, 0, 0..3));
    let more = world
        .run(|decider| decider.create_partitions(s, t, 2))
        .expect("more");
    assert_eq!(more.partitions_created, keys(0, 0, 3..5));
    assert_eq!(more.topic_resized, Some((0, 0)));
    let fewer = world
        .run(|decider| decider.delete_partitions(s, t, 4))
        .expect("fewer");
    assert_eq!(fewer.partitions_deleted, keys(0, 0, 1..5));
    assert_eq!(fewer.topic_resized, Some((0, 0)));
    // Published clients send to 0..partitions_count, so the ids are used again.
    let again = world
        .run(|decider| decider.create_partitions(s, t, 1))
        .expect("again");
    assert_eq!(again.partitions_created, keys(0, 0, 1..2));
    let times = world
        .catalog
        .topic(s, t)
        .expect("topic")
        .1
        .partitions_created_at_us()
        .to_vec();
    assert_eq!(times, [1_002, 1_005]);
    assert_eq!(world.catalog.partitions_count(), 2);
    assert_eq!(
        world.catalog.partitions().collect::<Vec<_>>(),
        keys(0, 0, 0..2)
    );
    assert!(
        world
            .catalog
            .contains_partition(&PartitionKey::new(0, 0, 1))
    );
    assert!(
        !world
            .catalog
            .contains_partition(&PartitionKey::new(0, 0, 2))
    );
}

#[test]
fn partition_counts_are_limited_per_request_topic_and_server() {
    let mut world = World::new();
    world.limits.partitions_per_topic_max = 1_500;
    world.limits.partitions_max = 2_000;
    world.create_stream("s");
    let (s, t) = (Identifier::Name("s"), Identifier::Name("t"));
    let too_many = Err(Status::TOO_MANY_PARTITIONS);
    assert_eq!(
        world.decider().create_topic(s, "t", 1_001, &requested()),
        too_many
    );
    world.create_topic("s", "t", 1_000);
    assert_eq!(world.decider().create_partitions(s, t, 501), too_many);
    assert_eq!(world.decider().create_partitions(s, t, 1_001), too_many);
    world
        .run(|decider| decider.create_partitions(s, t, 500))
        .expect("up to the topic's limit");
    assert_eq!(
        world.decider().create_topic(s, "u", 501, &requested()),
        too_many
    );
    world.create_topic("s", "u", 500);
    assert_eq!(
        world.decider().create_topic(s, "v", 1, &requested()),
        too_many
    );
    world.create_topic("s", "v", 0);
    let invalid = Err(Status::INVALID_PARTITIONS_COUNT);
    assert_eq!(world.decider().create_partitions(s, t, 0), invalid);
    assert_eq!(world.decider().delete_partitions(s, t, 0), invalid);
    assert_eq!(world.decider().delete_partitions(s, t, 1_001), too_many);
    assert_eq!(
        world.decider().delete_partitions(s, "u".into(), 501),
        invalid
    );
    assert_eq!(world.decider().delete_partitions(s, "v".into(), 1), invalid);
    world
        .run(|decider| decider.delete_partitions(s, "u".into(), 500))
        .expect("all of them");
    assert_eq!(world.catalog.partitions_count(), 1_500);
}

#[test]
fn streams_topics_and_groups_are_limited() {
    let mut world = World::new();
    world.limits.streams_max = 2;
    world.limits.topics_per_stream_max = 1;
    world.limits.groups_per_topic_max = 1;
    world.create_stream("a");
    world.create_stream("b");
    assert_eq!(
        world.decider().create_stream("c"),
        Err(Status::TOO_MANY_STREAMS)
    );
    world.create_topic("a", "t", 1);
    let second = world
        .decider()
        .create_topic("a".into(), "u", 1, &requested());
    assert_eq!(second, Err(Status::TOO_MANY_TOPICS));
    world.create_group("a", "t", "g");
    let second = world.decider().create_group("a".into(), "t".into(), "h");
    assert_eq!(second, Err(Status::INVALID_CONFIGURATION));
    world
        .run(|decider| decider.delete_stream("b".into()))
        .expect("make room");
    world.create_stream("c");
}

#[test]
fn the_last_id_is_never_given_out() {
    let mut world = World::new();
    world.apply(Change::ReserveIds {
        next_stream_id: u32::MAX - 1,
        next_user_id: 0,
    });
    assert_eq!(world.create_stream("last"), u32::MAX - 1);
    assert_eq!(
        world.decider().create_stream("none"),
        Err(Status::TOO_MANY_STREAMS)
    );
}

#[test]
fn a_deleted_stream_takes_everything_with_it() {
    let mut world = World::new();
    world.create_stream("keep");
    world.create_topic("keep", "t", 2);
    world.create_stream("s");
    world.create_topic("s", "t", 2);
    world.create_topic("s", "u", 1);
    world.create_group("s", "t", "g");
    world.create_group("s", "u", "h");
    let expected: Vec<_> = [keys(1, 0, 0..2), keys(1, 1, 0..1)].concat();
    assert_eq!(
        world.decider().purge_stream("s".into()),
        Ok(expected.clone())
    );
    let effects = world
        .run(|decider| decider.delete_stream("s".into()))
        .expect("delete");
    assert_eq!(effects.partitions_deleted, expected);
    assert_eq!(
        effects.groups_deleted,
        [GroupKey::new(1, 0, 0), GroupKey::new(1, 1, 0)]
    );
    assert_eq!(world.catalog.partitions_count(), 2);
    assert!(world.catalog.stream("s".into()).is_none());
    assert!(world.catalog.stream(1.into()).is_none());
}

#[test]
fn a_deleted_topic_takes_its_partitions_and_groups_with_it() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 3);
    world.create_group("s", "t", "g");
    let purged = world.decider().purge_topic("s".into(), "t".into());
    assert_eq!(purged, Ok(keys(0, 0, 0..3)));
    let effects = world
        .run(|decider| decider.delete_topic("s".into(), "t".into()))
        .expect("delete");
    assert_eq!(effects.partitions_deleted, keys(0, 0, 0..3));
    assert_eq!(effects.groups_deleted, [GroupKey::new(0, 0, 0)]);
    assert_eq!(world.catalog.partitions_count(), 0);
}

#[test]
fn a_renamed_stream_and_topic_are_found_by_their_new_names_only() {
    let mut world = World::new();
    world.create_stream("old");
    world.create_topic("old", "before", 1);
    world
        .run(|decider| decider.update_stream("old".into(), "new"))
        .expect("rename");
    let rename = RequestedTopicOptions {
        message_expiry_us: Some(5),
        ..requested()
    };
    world
        .run(|decider| decider.update_topic("new".into(), "before".into(), "after", &rename))
        .expect("update");
    assert!(world.catalog.stream("old".into()).is_none());
    let (stream, topic) = world
        .catalog
        .topic("new".into(), "after".into())
        .expect("found");
    assert_eq!((stream.id, topic.id), (0, 0));
    assert_eq!(topic.options.message_expiry_us.value, 5);
    assert!(world.catalog.topic("new".into(), "before".into()).is_none());
    world.create_stream("old");
}

#[test]
fn an_update_of_what_partitions_were_laid_down_with_is_refused() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 1);
    let update = RequestedTopicOptions {
        durability: Some(Durability::Persisted),
        ..requested()
    };
    let refused = world
        .decider()
        .update_topic("s".into(), "t".into(), "t", &update);
    assert_eq!(refused, Err(Status::UNSUPPORTED_OPTION_KEY));
}

#[test]
fn a_change_that_does_not_fit_changes_nothing() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 1);
    world.create_group("s", "t", "g");
    let before = world.catalog.clone();
    let misfits = [
        (world.changes[0].clone(), ApplyError::Exists),
        (world.changes[1].clone(), ApplyError::Exists),
        (world.changes[2].clone(), ApplyError::Exists),
        (world.changes[3].clone(), ApplyError::Exists),
        (Change::DeleteStream { stream_id: 7 }, ApplyError::Missing),
        (
            Change::RenameStream {
                stream_id: 7,
                name: "x".into(),
            },
            ApplyError::Missing,
        ),
        (
            Change::DeleteTopic {
                stream_id: 0,
                topic_id: 7,
            },
            ApplyError::Missing,
        ),
        (
            Change::DeleteTopic {
                stream_id: 7,
                topic_id: 0,
            },
            ApplyError::Missing,
        ),
        (
            Change::DeletePartitions {
                stream_id: 0,
                topic_id: 0,
                partitions_count: 2,
            },
            ApplyError::Partitions,
        ),
        (
            Change::DeleteGroup {
                stream_id: 0,
                topic_id: 0,
                group_id: 7,
            },
            ApplyError::Missing,
        ),
        (Change::DeleteUser { user_id: 7 }, ApplyError::Missing),
        (
            Change::DeleteToken {
                user_id: 0,
                name: "none".into(),
            },
            ApplyError::Missing,
        ),
    ];
    for (change, expected) in misfits {
        assert_eq!(world.catalog.apply(&change), Err(expected), "{change:?}");
        assert_eq!(world.catalog, before);
    }
}
