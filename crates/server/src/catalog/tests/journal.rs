//! The durable form: each change as the journal has it, replay, compaction.

use std::path::PathBuf;

use super::super::{
    Catalog, Change, Compression, Durability, GlobalPermissions, Permissions, Setting,
    StreamPermissions, SyncPolicy, TopicOptions, TopicPermissions, UserStatus,
};
use super::World;

/// One example of each change, with every field set to something that is not a default.
fn examples() -> Vec<Change> {
    let mut examples = vec![
        Change::ReserveIds {
            next_stream_id: 12,
            next_user_id: 34,
        },
        Change::CreateUser {
            user_id: 0,
            username: "root".into(),
            password_hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into(),
            status: UserStatus::Active,
            permissions: None,
            created_at_us: 1_700_000_000_000_000,
        },
    ];
    examples.extend(user_examples());
    examples.extend(stream_examples());
    examples
}

fn user_examples() -> [Change; 7] {
    let topic = TopicPermissions {
        poll_messages: true,
        ..TopicPermissions::default()
    };
    let stream = StreamPermissions {
        read_topics: true,
        topics: [(3, topic)].into(),
        ..StreamPermissions::default()
    };
    let permissions = Permissions {
        global: GlobalPermissions {
            read_servers: true,
            ..GlobalPermissions::default()
        },
        streams: [(7, stream)].into(),
    };
    [
        Change::CreateUser {
            user_id: 34,
            username: "someone".into(),
            password_hash: "hash".into(),
            status: UserStatus::Inactive,
            permissions: Some(permissions.clone()),
            created_at_us: 1_700_000_000_000_001,
        },
        Change::UpdateUser {
            user_id: 34,
            username: "someone else".into(),
            status: UserStatus::Active,
        },
        Change::UpdatePermissions {
            user_id: 34,
            permissions: Some(permissions),
        },
        Change::ChangePassword {
            user_id: 34,
            password_hash: "another hash".into(),
        },
        Change::CreateToken {
            user_id: 34,
            name: "laptop".into(),
            token_hash: "00ff".into(),
            expiry_at_us: Some(1_800_000_000_000_000),
        },
        Change::DeleteToken {
            user_id: 34,
            name: "laptop".into(),
        },
        Change::DeleteUser { user_id: 34 },
    ]
}

fn stream_examples() -> [Change; 10] {
    let options = TopicOptions {
        compression_algorithm: Setting::explicit(Compression::Gzip),
        message_expiry_us: Setting::explicit(604_800_000_000),
        topic_bytes_max: Setting::explicit(10_737_418_240),
        segment_bytes: Setting::explicit(134_217_728),
        durability: Setting::explicit(Durability::Persisted),
        consumer_offset_durability: Setting::derived(Durability::Replicated),
        save_messages: Setting::derived(1_024),
        save_bytes: Setting::derived(1_048_576),
        preallocate_segments: Setting::explicit(true),
        sync_policy: Setting::derived(SyncPolicy::EveryBatch),
    };
    let (stream_id, topic_id, created_at_us) = (12, 5, 1_700_000_000_000_002);
    [
        Change::CreateStream {
            stream_id,
            name: "orders \"quoted\" ü".into(),
            created_at_us,
            next_topic_id: 5,
        },
        Change::RenameStream {
            stream_id,
            name: "orders".into(),
        },
        Change::CreateTopic {
            stream_id,
            topic_id,
            name: "created".into(),
            created_at_us,
            partitions_count: 3,
            options,
            next_group_id: 8,
        },
        Change::UpdateTopic {
            stream_id,
            topic_id,
            name: "accepted".into(),
            options: TopicOptions::default(),
        },
        Change::CreatePartitions {
            stream_id,
            topic_id,
            partitions_count: 2,
            created_at_us,
        },
        Change::DeletePartitions {
            stream_id,
            topic_id,
            partitions_count: 1,
        },
        Change::CreateGroup {
            stream_id,
            topic_id,
            group_id: 8,
            name: "workers".into(),
            created_at_us,
        },
        Change::DeleteGroup {
            stream_id,
            topic_id,
            group_id: 8,
        },
        Change::DeleteTopic {
            stream_id,
            topic_id,
        },
        Change::DeleteStream { stream_id },
    ]
}

/// The journal of a running server must open for ever: each line of this file is a record as it
/// was written once. Lines are added (with `UPDATE_GOLDEN=1` for a new kind of change), an old
/// line is never edited.
#[test]
fn records_are_written_as_they_always_were() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/catalog/changes.jsonl");
    let written: String = examples()
        .iter()
        .map(|change| String::from_utf8(change.to_record()).expect("JSON is UTF-8") + "\n")
        .collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("create the folder");
        std::fs::write(&path, &written).expect("write the golden file");
    }
    let golden = std::fs::read_to_string(&path).expect("testdata/catalog/changes.jsonl");
    assert_eq!(written, golden);
    for (line, example) in golden.lines().zip(examples()) {
        assert_eq!(
            Change::from_record(line.as_bytes()).expect("a record"),
            example
        );
    }
}

#[test]
fn the_examples_are_one_history_and_cover_every_change() {
    let mut catalog = Catalog::default();
    for change in examples() {
        catalog
            .apply(&change)
            .expect("the examples follow each other");
    }
    let kinds: std::collections::BTreeSet<_> = examples()
        .iter()
        .map(|change| {
            let value = serde_json::to_value(change).expect("JSON");
            value
                .as_object()
                .and_then(|object| object.keys().next().cloned())
                .expect("a kind")
        })
        .collect();
    assert_eq!(kinds.len(), 18);
    assert_eq!(catalog.streams().len(), 0);
    assert_eq!(catalog.users().len(), 1);
}

#[test]
fn a_record_of_a_newer_server_is_refused() {
    let refused = [
        r#"{"create_galaxy":{"id":1}}"#,
        r#"{"delete_stream":{"stream_id":1,"softly":true}}"#,
        r#"{"delete_stream":{}}"#,
        r#"{"delete_stream":{"stream_id":-1}}"#,
        "",
        "{",
    ];
    for record in refused {
        assert!(Change::from_record(record.as_bytes()).is_err(), "{record}");
    }
}

fn replay(changes: &[Change]) -> Catalog {
    let mut catalog = Catalog::default();
    for change in changes {
        let record = change.to_record();
        let read = Change::from_record(&record).expect("written by this test");
        catalog
            .apply(&read)
            .expect("a history fits an empty catalog");
    }
    catalog
}

#[test]
fn replay_and_compaction_give_the_same_catalog() {
    let mut world = World::new();
    world.create_stream("a");
    world.create_stream("gone");
    world.create_topic("a", "t", 3);
    world.create_topic("a", "gone", 1);
    world.create_group("a", "t", "g");
    world.create_group("a", "t", "gone");
    let (a, t) = ("a".into(), "t".into());
    world
        .run(|decider| decider.create_partitions(a, t, 2))
        .expect("more");
    world
        .run(|decider| decider.delete_partitions(a, t, 4))
        .expect("fewer");
    world
        .run(|decider| decider.create_partitions(a, t, 3))
        .expect("more");
    world
        .run(|decider| decider.delete_group(a, t, "gone".into()))
        .expect("delete");
    world
        .run(|decider| decider.delete_topic(a, "gone".into()))
        .expect("delete");
    world
        .run(|decider| decider.delete_stream("gone".into()))
        .expect("delete");
    world
        .run(|decider| decider.create_token("token", "hash".into(), Some(5)))
        .expect("token");
    assert_eq!(replay(&world.changes), world.catalog);
    let compacted = world.catalog.to_changes();
    assert_eq!(compacted.len(), 7);
    assert_eq!(replay(&compacted), world.catalog);
}

#[test]
fn a_topic_whose_first_partitions_are_gone_is_compacted_right() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 2);
    let (s, t) = ("s".into(), "t".into());
    world
        .run(|decider| decider.delete_partitions(s, t, 2))
        .expect("none left");
    assert_eq!(replay(&world.catalog.to_changes()), world.catalog);
    world
        .run(|decider| decider.create_partitions(s, t, 2))
        .expect("new ones");
    assert_eq!(replay(&world.catalog.to_changes()), world.catalog);
}

#[test]
fn ten_thousand_partitions_are_few_records() {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", 1_000);
    for _ in 1..10 {
        world.now_us -= 1;
        world
            .run(|decider| decider.create_partitions("s".into(), "t".into(), 1_000))
            .expect("up to the limit");
    }
    assert_eq!(world.catalog.partitions_count(), 10_000);
    assert_eq!(world.catalog.to_changes().len(), 4);
    assert_eq!(replay(&world.catalog.to_changes()), world.catalog);
}
