//! Permissions: what includes what.

use super::super::{
    Access, GlobalPermissions, NewUser, Permissions, StreamPermissions, TopicPermissions,
    UserStatus, UserUpdate,
};
use super::World;

const STREAM: u32 = 1;
const TOPIC: u32 = 2;

/// Every question about stream 1 and topic 2, as a list of what is allowed.
fn allowed(access: Access<'_>) -> Vec<&'static str> {
    let answers = [
        ("read servers", access.may_read_servers()),
        ("read users", access.may_read_users()),
        ("manage users", access.may_manage_users()),
        ("read streams", access.may_read_streams()),
        ("create stream", access.may_create_stream()),
        ("read stream", access.may_read_stream(STREAM)),
        ("manage stream", access.may_manage_stream(STREAM)),
        ("read topics", access.may_read_topics(STREAM)),
        ("create topic", access.may_create_topic(STREAM)),
        ("manage topic", access.may_manage_topic(STREAM, TOPIC)),
        ("read topic", access.may_read_topic(STREAM, TOPIC)),
        ("poll", access.may_poll(STREAM, TOPIC)),
        ("send", access.may_send(STREAM, TOPIC)),
    ];
    answers
        .into_iter()
        .filter(|(_, allowed)| *allowed)
        .map(|(name, _)| name)
        .collect()
}

fn check(permissions: Option<Permissions>, expected: &[&str]) {
    let mut world = World::new();
    let user = NewUser {
        username: "user",
        password_hash: "hash".into(),
        status: UserStatus::Active,
        permissions,
    };
    world
        .run(|decider| decider.create_user(user))
        .expect("create");
    assert_eq!(allowed(world.catalog.access(1)), expected);
    let user = world.catalog.user(1.into()).expect("user");
    assert_eq!(allowed(user.access()), expected);
    let inactive = UserUpdate {
        status: Some(UserStatus::Inactive),
        ..UserUpdate::default()
    };
    world
        .run(|decider| decider.update_user(1.into(), inactive))
        .expect("update");
    assert_eq!(allowed(world.catalog.access(1)), [""; 0]);
}

fn globally(global: GlobalPermissions) -> Option<Permissions> {
    Some(Permissions {
        global,
        ..Permissions::default()
    })
}

fn in_stream(stream: StreamPermissions) -> Option<Permissions> {
    let streams = [(STREAM, stream)].into();
    Some(Permissions {
        streams,
        ..Permissions::default()
    })
}

fn in_topic(topic: TopicPermissions) -> Option<Permissions> {
    let topics = [(TOPIC, topic)].into();
    in_stream(StreamPermissions {
        topics,
        ..StreamPermissions::default()
    })
}

#[test]
fn root_may_everything_and_nobody_nothing() {
    let world = World::new();
    assert_eq!(allowed(world.catalog.access(0)).len(), 13);
    assert_eq!(allowed(world.catalog.access(99)), [""; 0]);
    check(None, &[]);
    check(Some(Permissions::default()), &[]);
}

#[test]
fn global_flags_about_servers_and_users_say_nothing_about_streams() {
    let none = GlobalPermissions::default();
    check(
        globally(GlobalPermissions {
            manage_servers: true,
            ..none
        }),
        &["read servers"],
    );
    check(
        globally(GlobalPermissions {
            read_servers: true,
            ..none
        }),
        &["read servers"],
    );
    let expected = ["read users", "manage users"];
    check(
        globally(GlobalPermissions {
            manage_users: true,
            ..none
        }),
        &expected,
    );
    check(
        globally(GlobalPermissions {
            read_users: true,
            ..none
        }),
        &["read users"],
    );
}

#[test]
fn global_flags_about_streams_include_the_levels_below() {
    let none = GlobalPermissions::default();
    let everything = [
        "read streams",
        "create stream",
        "read stream",
        "manage stream",
        "read topics",
        "create topic",
        "manage topic",
        "read topic",
        "poll",
        "send",
    ];
    check(
        globally(GlobalPermissions {
            manage_streams: true,
            ..none
        }),
        &everything,
    );
    let expected = [
        "read streams",
        "read stream",
        "read topics",
        "read topic",
        "poll",
    ];
    check(
        globally(GlobalPermissions {
            read_streams: true,
            ..none
        }),
        &expected,
    );
}

#[test]
fn global_flags_about_topics_include_the_levels_below() {
    let none = GlobalPermissions::default();
    let expected = [
        "read topics",
        "create topic",
        "manage topic",
        "read topic",
        "poll",
        "send",
    ];
    check(
        globally(GlobalPermissions {
            manage_topics: true,
            ..none
        }),
        &expected,
    );
    let expected = ["read topics", "read topic", "poll"];
    check(
        globally(GlobalPermissions {
            read_topics: true,
            ..none
        }),
        &expected,
    );
    check(
        globally(GlobalPermissions {
            poll_messages: true,
            ..none
        }),
        &["poll"],
    );
    check(
        globally(GlobalPermissions {
            send_messages: true,
            ..none
        }),
        &["send"],
    );
}

#[test]
fn stream_flags_include_their_topics() {
    let none = StreamPermissions::default;
    check(
        in_stream(StreamPermissions {
            manage_stream: true,
            ..none()
        }),
        &[
            "read stream",
            "manage stream",
            "read topics",
            "create topic",
            "manage topic",
            "read topic",
            "poll",
            "send",
        ],
    );
    check(
        in_stream(StreamPermissions {
            read_stream: true,
            ..none()
        }),
        &["read stream", "read topics", "read topic", "poll"],
    );
    check(
        in_stream(StreamPermissions {
            manage_topics: true,
            ..none()
        }),
        &[
            "read topics",
            "create topic",
            "manage topic",
            "read topic",
            "poll",
            "send",
        ],
    );
    check(
        in_stream(StreamPermissions {
            read_topics: true,
            ..none()
        }),
        &["read topics", "read topic", "poll"],
    );
    check(
        in_stream(StreamPermissions {
            poll_messages: true,
            ..none()
        }),
        &["poll"],
    );
    check(
        in_stream(StreamPermissions {
            send_messages: true,
            ..none()
        }),
        &["send"],
    );
}

#[test]
fn topic_flags_are_for_that_topic_only() {
    let none = TopicPermissions::default();
    check(
        in_topic(TopicPermissions {
            manage_topic: true,
            ..none
        }),
        &["manage topic", "read topic", "poll", "send"],
    );
    check(
        in_topic(TopicPermissions {
            read_topic: true,
            ..none
        }),
        &["read topic", "poll"],
    );
    check(
        in_topic(TopicPermissions {
            poll_messages: true,
            ..none
        }),
        &["poll"],
    );
    check(
        in_topic(TopicPermissions {
            send_messages: true,
            ..none
        }),
        &["send"],
    );
}

#[test]
fn permissions_of_one_stream_say_nothing_about_another() {
    let mut world = World::new();
    let stream = StreamPermissions {
        manage_stream: true,
        ..StreamPermissions::default()
    };
    let user = NewUser {
        username: "user",
        password_hash: "hash".into(),
        status: UserStatus::Active,
        permissions: in_stream(stream),
    };
    world
        .run(|decider| decider.create_user(user))
        .expect("create");
    let access = world.catalog.access(1);
    assert!(!access.may_read_stream(STREAM + 1));
    assert!(!access.may_manage_topic(STREAM + 1, TOPIC));
    assert!(!access.may_poll(STREAM + 1, TOPIC));
    assert!(!access.may_send(STREAM + 1, TOPIC));
}
