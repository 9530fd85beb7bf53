//! From commands to changes and the bodies of their replies.

use wire::Status;
use wire::iggy::command::Command;
use wire::iggy::published::requests::consumer_groups::{
    DeleteConsumerGroupRequest, JoinConsumerGroupRequest, LeaveConsumerGroupRequest,
};
use wire::iggy::published::requests::partitions::{
    CreatePartitionsRequest, DeletePartitionsRequest,
};
use wire::iggy::published::requests::personal_access_tokens::{
    CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest,
};
use wire::iggy::published::requests::segments::DeleteSegmentsRequest;
use wire::iggy::published::requests::streams::{
    DeleteStreamRequest, PurgeStreamRequest, UpdateStreamRequest,
};
use wire::iggy::published::requests::topics::{
    DeleteTopicRequest, PurgeTopicRequest, UpdateTopicRequest,
};
use wire::iggy::published::requests::users::{
    ChangePasswordRequest, CreateUserRequest, DeleteUserRequest, UpdatePermissionsRequest,
    UpdateUserRequest,
};
use wire::iggy::published::responses::consumer_groups::ConsumerGroupDetailsResponse;
use wire::iggy::published::responses::personal_access_tokens::RawPersonalAccessTokenResponse;
use wire::iggy::published::responses::streams::get_stream::GetStreamResponse;
use wire::iggy::published::responses::topics::get_topic::GetTopicResponse;
use wire::iggy::published::responses::users::UserDetailsResponse;
use wire::iggy::published::{
    WireGlobalPermissions, WireIdentifier, WireOptions, WirePermissions, WireStreamPermissions,
    WireTopicPermissions,
};

use super::super::plan::{Plan, plan};
use super::super::reply::token_created;
use super::{World, create_group, create_stream, create_topic, decoded, name, named};
use crate::catalog::{GroupKey, PartitionKey, ROOT_USER_ID, UserStatus};
use crate::password;

#[test]
fn creations_show_what_they_created() {
    let mut world = World::new();
    // The published client reads the reply to a new stream as a stream with its topics.
    let stream: GetStreamResponse = decoded(&world.run(create_stream("s")).expect("create"));
    assert_eq!((stream.stream.id, &*stream.stream.name), (0, "s"));
    assert_eq!((stream.stream.created_at, stream.topics.len()), (101, 0));
    let topic: GetTopicResponse = decoded(&world.run(create_topic("s", "t", 2)).expect("create"));
    assert_eq!((topic.topic.id, &*topic.topic.name), (0, "t"));
    assert_eq!(
        (topic.topic.message_expiry, topic.topic.max_topic_size),
        (u64::MAX, u64::MAX)
    );
    assert_eq!(topic.topic.compression_algorithm, 1);
    let partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|p| (p.id, p.segments_count))
        .collect();
    assert_eq!(partitions, [(0, 1), (1, 1)]);
    let group: ConsumerGroupDetailsResponse =
        decoded(&world.run(create_group("s", "t", "g")).expect("create"));
    assert_eq!((group.group.id, group.group.partitions_count), (0, 2));
    assert_eq!(group.members, []);
}

#[test]
fn everything_else_has_an_empty_body() {
    let mut world = World::with_topic(2);
    world.run(create_group("s", "t", "g")).expect("create");
    let (stream_id, topic_id) = (named("s"), WireIdentifier::numeric(0));
    let options = WireOptions::empty();
    let commands = [
        Command::UpdateStream(UpdateStreamRequest {
            stream_id: stream_id.clone(),
            name: name("s"),
            options: options.clone(),
        }),
        Command::UpdateTopic(UpdateTopicRequest {
            stream_id: stream_id.clone(),
            topic_id: topic_id.clone(),
            name: name("u"),
            options,
        }),
        Command::CreatePartitions(CreatePartitionsRequest {
            stream_id: stream_id.clone(),
            topic_id: topic_id.clone(),
            partitions_count: 3,
        }),
        Command::DeletePartitions(DeletePartitionsRequest {
            stream_id: stream_id.clone(),
            topic_id: topic_id.clone(),
            partitions_count: 1,
        }),
        Command::DeleteConsumerGroup(DeleteConsumerGroupRequest {
            stream_id: stream_id.clone(),
            topic_id: topic_id.clone(),
            group_id: named("g"),
        }),
        Command::DeleteTopic(DeleteTopicRequest {
            stream_id: stream_id.clone(),
            topic_id,
        }),
        Command::DeleteStream(DeleteStreamRequest { stream_id }),
    ];
    for command in commands {
        let shown = format!("{command:?}");
        assert_eq!(world.run(command).expect(&shown).len(), 0, "{shown}");
    }
    assert_eq!(world.catalog.streams().len(), 0);
}

#[test]
fn refusals_come_from_the_catalog() {
    let mut world = World::with_topic(1);
    assert_eq!(
        world.run(create_stream("s")),
        Err(Status::STREAM_NAME_ALREADY_EXISTS)
    );
    assert_eq!(
        world.run(create_topic("x", "t", 1)),
        Err(Status::STREAM_ID_NOT_FOUND)
    );
    assert_eq!(
        world.run(create_topic("s", "u", 1_001)),
        Err(Status::TOO_MANY_PARTITIONS)
    );
}

#[test]
fn purges_and_segment_deletions_name_partitions() {
    let world = World::with_topic(2);
    let decider = world.decider(ROOT_USER_ID);
    let all = vec![PartitionKey::new(0, 0, 0), PartitionKey::new(0, 0, 1)];
    let purges = [
        Command::PurgeStream(PurgeStreamRequest {
            stream_id: named("s"),
        }),
        Command::PurgeTopic(PurgeTopicRequest {
            stream_id: named("s"),
            topic_id: named("t"),
        }),
    ];
    for purge in purges {
        let Ok(Some(Plan::Purge(decide))) = plan(purge) else {
            panic!("a purge")
        };
        assert_eq!(decide(&decider), Ok(all.clone()));
    }
    let delete = DeleteSegmentsRequest {
        stream_id: named("s"),
        topic_id: named("t"),
        partition_id: 1,
        segments_count: 5,
    };
    let Ok(Some(Plan::DeleteSegments {
        decide,
        segments_count,
    })) = plan(Command::DeleteSegments(delete))
    else {
        panic!("a deletion of segments")
    };
    assert_eq!((decide(&decider), segments_count), (Ok(all[1]), 5));
}

#[test]
fn joins_and_leaves_name_the_group_and_its_partitions() {
    let mut world = World::with_topic(3);
    world.run(create_group("s", "t", "g")).expect("create");
    let (stream_id, topic_id, group_id) = (named("s"), named("t"), named("g"));
    let join = JoinConsumerGroupRequest {
        stream_id: stream_id.clone(),
        topic_id: topic_id.clone(),
        group_id: group_id.clone(),
    };
    let leave = LeaveConsumerGroupRequest {
        stream_id,
        topic_id,
        group_id,
    };
    let expected = Ok((GroupKey::new(0, 0, 0), 3));
    let Ok(Some(Plan::Join(decide))) = plan(Command::JoinConsumerGroup(join)) else {
        panic!("a join")
    };
    assert_eq!(decide(&world.decider(ROOT_USER_ID)), expected);
    let Ok(Some(Plan::Leave(decide))) = plan(Command::LeaveConsumerGroup(leave)) else {
        panic!("a leave")
    };
    assert_eq!(decide(&world.decider(ROOT_USER_ID)), expected);
}

#[test]
fn what_changes_nothing_has_no_plan() {
    for command in [
        Command::Ping,
        Command::GetStreams,
        Command::GetMe,
        Command::Logout,
    ] {
        assert!(matches!(plan(command), Ok(None)));
    }
}

fn permissions() -> WirePermissions {
    let topic = WireTopicPermissions {
        topic_id: 4,
        manage_topic: false,
        read_topic: true,
        poll_messages: false,
        send_messages: true,
    };
    let stream = WireStreamPermissions {
        stream_id: 3,
        manage_stream: true,
        read_stream: false,
        manage_topics: true,
        read_topics: false,
        poll_messages: true,
        send_messages: false,
        topics: vec![topic],
    };
    let global = WireGlobalPermissions {
        manage_servers: true,
        read_servers: false,
        manage_users: true,
        read_users: false,
        manage_streams: true,
        read_streams: false,
        manage_topics: true,
        read_topics: false,
        poll_messages: true,
        send_messages: false,
    };
    WirePermissions {
        global,
        streams: vec![stream],
    }
}

fn create_user(username: &str, password: &str, status: u8) -> Command<'static> {
    Command::CreateUser(CreateUserRequest {
        username: name(username),
        password: password.to_owned(),
        status,
        permissions: Some(permissions()),
        options: WireOptions::empty(),
    })
}

fn run_password(world: &mut World, command: Command<'_>) -> Result<bytes::Bytes, Status> {
    let Some(Plan::Password(passwords)) = plan(command)? else {
        panic!("a password plan")
    };
    let hashing = passwords.check(&world.decider(ROOT_USER_ID))?;
    let decide = hashing.run()?;
    let change = decide(&world.decider(ROOT_USER_ID))?;
    Ok(world.apply(&change))
}

#[test]
fn a_user_is_created_with_a_hash_of_the_password() {
    let mut world = World::new();
    let body = run_password(&mut world, create_user("someone", "secret", 2)).expect("create");
    let shown: UserDetailsResponse = decoded(&body);
    assert_eq!(
        (shown.user.id, &*shown.user.username, shown.user.status),
        (1, "someone", 2)
    );
    assert_eq!(shown.permissions, Some(permissions()));
    let user = world.catalog.user("someone".into()).expect("created");
    assert_eq!(user.status, UserStatus::Inactive);
    assert!(password::verify("secret", Some(&user.password_hash)));
    assert!(
        !format!("{user:?}").contains("argon2"),
        "hashes are not shown"
    );
    let refused = |command| plan(command).err();
    let status = Some(Status::INVALID_USER_STATUS);
    assert_eq!(refused(create_user("other", "secret", 3)), status);
    let taken = run_password(&mut world, create_user("someone", "secret", 1));
    assert_eq!(taken, Err(Status::USER_ALREADY_EXISTS));
    let short = run_password(&mut world, create_user("other", "ab", 1));
    assert_eq!(short, Err(Status::INVALID_PASSWORD));
}

#[test]
fn a_password_is_changed_by_who_knows_the_current_one() {
    let mut world = World::new();
    run_password(&mut world, create_user("someone", "first", 1)).expect("create");
    let change = |current: &str, new: &str| {
        Command::ChangePassword(ChangePasswordRequest {
            user_id: named("someone"),
            current_password: current.to_owned(),
            new_password: new.to_owned(),
        })
    };
    let wrong = run_password(&mut world, change("second", "third"));
    assert_eq!(wrong, Err(Status::INVALID_CREDENTIALS));
    let body = run_password(&mut world, change("first", "second")).expect("change");
    assert_eq!(body.len(), 0);
    let user = world.catalog.user("someone".into()).expect("there");
    assert!(password::verify("second", Some(&user.password_hash)));
}

#[test]
fn users_are_updated_and_deleted() {
    let mut world = World::new();
    run_password(&mut world, create_user("someone", "secret", 1)).expect("create");
    let update = UpdateUserRequest {
        user_id: named("someone"),
        username: Some(name("renamed")),
        status: Some(2),
        options: WireOptions::empty(),
    };
    world
        .run(Command::UpdateUser(update.clone()))
        .expect("update");
    let invalid = UpdateUserRequest {
        status: Some(0),
        ..update
    };
    let refused = plan(Command::UpdateUser(invalid)).err();
    assert_eq!(refused, Some(Status::INVALID_USER_STATUS));
    let request = UpdatePermissionsRequest {
        user_id: named("renamed"),
        permissions: None,
    };
    world
        .run(Command::UpdatePermissions(request))
        .expect("update");
    let user = world.catalog.user("renamed".into()).expect("there");
    assert_eq!(
        (user.status, user.permissions.clone()),
        (UserStatus::Inactive, None)
    );
    let delete = DeleteUserRequest {
        user_id: WireIdentifier::numeric(1),
    };
    world.run(Command::DeleteUser(delete)).expect("delete");
    assert_eq!(world.catalog.users().len(), 1);
}

#[test]
fn a_token_is_shown_once_and_logs_in() {
    let mut world = World::new();
    let create = |expiry| {
        let request = CreatePersonalAccessTokenRequest {
            name: name("laptop"),
            expiry,
        };
        let Ok(Some(Plan::CreateToken { decide, token })) =
            plan(Command::CreatePersonalAccessToken(request))
        else {
            panic!("a token plan")
        };
        (decide, token)
    };
    let (decide, token) = create(50);
    let change = decide(&world.decider(ROOT_USER_ID)).expect("decide");
    assert!(!String::from_utf8_lossy(&change.to_record()).contains(&token));
    world.apply(&change);
    let shown: RawPersonalAccessTokenResponse = decoded(&token_created(&token));
    assert_eq!(&*shown.token, token);
    let hash = password::hash_token(&token);
    let login = |now_us| world.catalog.token_user(&hash, now_us).map(|user| user.id);
    assert_eq!(login(149), Ok(ROOT_USER_ID));
    assert_eq!(login(150), Err(Status::PERSONAL_ACCESS_TOKEN_EXPIRED));
    let delete = DeletePersonalAccessTokenRequest {
        name: name("laptop"),
    };
    world
        .run(Command::DeletePersonalAccessToken(delete))
        .expect("delete");
    // Both ways in which a client says "never".
    for expiry in [0, u64::MAX] {
        let (decide, token) = create(expiry);
        let change = decide(&world.decider(ROOT_USER_ID)).expect("decide");
        let mut catalog = world.catalog.clone();
        catalog.apply(&change).expect("fits");
        assert!(
            catalog
                .token_user(&password::hash_token(&token), u64::MAX)
                .is_ok()
        );
    }
}
