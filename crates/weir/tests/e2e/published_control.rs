//! The control plane through the published Rust client: users, permissions, tokens, updates,
//! purges and options.

use std::collections::BTreeMap;

use iggy::prelude::*;

use crate::client::*;
use crate::harness::{PASSWORD, Server, Setup, Transport, USERNAME, matrix, until};

matrix!(
    users_do_what_they_may,
    users_change_and_end,
    passwords_change,
    tokens_log_in,
    updates_and_purges,
    options_are_described_and_kept,
    groups_are_managed,
    groups_follow_a_shrinking_topic,
);

async fn connect_as(
    server: &Server,
    transport: Transport,
    username: &str,
    password: &str,
) -> Result<IggyClient, IggyError> {
    log_in(server, transport, &format!("{username}:{password}")).await
}

/// Connects with a name and password, or with a token, and does not try again when refused.
async fn log_in(
    server: &Server,
    transport: Transport,
    credentials: &str,
) -> Result<IggyClient, IggyError> {
    let address = server.address(transport);
    let scheme = match transport {
        Transport::Tcp => "tcp",
        Transport::WebSocket => "ws",
    };
    let options = "reconnection_retries=0&reconnection_interval=50ms&reestablish_after=50ms";
    let text = format!("iggy+{scheme}://{credentials}@{address}?{options}");
    let client = IggyClient::from_connection_string(&text)?;
    client.connect().await?;
    Ok(client)
}

fn named(name: &str) -> Identifier {
    Identifier::named(name).expect("a name")
}

fn refusal<T>(result: Result<T, IggyError>) -> u32 {
    result.err().expect("refused").as_code()
}

/// May poll from topic 0 of stream 0, and nothing else.
fn poll_only() -> Permissions {
    let topic = TopicPermissions {
        poll_messages: true,
        ..TopicPermissions::default()
    };
    let stream = StreamPermissions {
        topics: Some(BTreeMap::from([(0, topic)])),
        ..StreamPermissions::default()
    };
    Permissions {
        global: GlobalPermissions::default(),
        streams: Some(BTreeMap::from([(0, stream)])),
    }
}

async fn users_do_what_they_may(setup: Setup) {
    let server = setup.start();
    let root = connect(&server, setup.transport).await;
    create_topic(&root, 1).await;
    send(&root, 0, ["one".to_owned()]).await.expect("sent");
    let created = root
        .create_user("reader", "secret", UserStatus::Active, Some(poll_only()))
        .await
        .expect("created");
    assert_eq!(created.username, "reader");
    assert_eq!(created.permissions, Some(poll_only()));
    let again = root
        .create_user("reader", "secret", UserStatus::Active, None)
        .await;
    assert_eq!(refusal(again), IggyError::UserAlreadyExists.as_code());
    let users = root.get_users().await.expect("listed");
    let names: Vec<_> = users.iter().map(|user| user.username.as_str()).collect();
    assert_eq!(names, [USERNAME, "reader"]);

    let reader = connect_as(&server, setup.transport, "reader", "secret")
        .await
        .expect("logged in");
    let polled = poll(&reader, 0, PollingStrategy::first(), 10, false).await;
    assert_eq!(texts(&polled), ["one"]);
    let unauthorized = IggyError::Unauthorized.as_code();
    assert_eq!(
        refusal(send(&reader, 0, ["two".to_owned()]).await),
        unauthorized
    );
    assert_eq!(refusal(reader.create_stream("mine").await), unauthorized);
    assert_eq!(refusal(reader.get_streams().await), unauthorized);
    assert_eq!(refusal(reader.get_users().await), unauthorized);
    assert_eq!(refusal(reader.get_stats().await), unauthorized);
    let own = reader.get_user(&named("reader")).await.expect("one's own");
    assert_eq!(own.map(|user| user.id), Some(created.id));
}

async fn users_change_and_end(setup: Setup) {
    let server = setup.start();
    let root = connect(&server, setup.transport).await;
    create_topic(&root, 1).await;
    root.create_user("reader", "secret", UserStatus::Active, Some(poll_only()))
        .await
        .expect("created");
    let reader = connect_as(&server, setup.transport, "reader", "secret")
        .await
        .expect("logged in");
    let global = GlobalPermissions {
        send_messages: true,
        ..GlobalPermissions::default()
    };
    let permissions = Permissions {
        global,
        streams: None,
    };
    root.update_permissions(&named("reader"), Some(permissions))
        .await
        .expect("changed");
    send(&reader, 0, ["two".to_owned()])
        .await
        .expect("may send from now on");

    // All of it is durable.
    let server = server.restart();
    let reader = connect_as(&server, setup.transport, "reader", "secret")
        .await
        .expect("logged in");
    send(&reader, 0, ["three".to_owned()])
        .await
        .expect("still may send");
    let root = connect(&server, setup.transport).await;
    let options = UserUpdateOptions::default();
    root.update_user(
        &named("reader"),
        Some("writer"),
        Some(UserStatus::Inactive),
        &options,
    )
    .await
    .expect("renamed and made inactive");
    // The session ends with its next request.
    assert!(send(&reader, 0, ["four".to_owned()]).await.is_err());
    until("the end of the session", async || {
        let clients = root.get_clients().await.expect("listed");
        clients.iter().all(|client| client.user_id == Some(0))
    })
    .await;
    let inactive = connect_as(&server, setup.transport, "writer", "secret").await;
    assert!(inactive.is_err());
    root.delete_user(&named("writer")).await.expect("deleted");
    assert!(
        root.get_user(&named("writer"))
            .await
            .expect("asked")
            .is_none()
    );
    let refused = root.delete_user(&named(USERNAME)).await;
    assert_eq!(refusal(refused), IggyError::CannotDeleteUser(0).as_code());
}

async fn passwords_change(setup: Setup) {
    let server = setup.start();
    let root = connect(&server, setup.transport).await;
    let wrong = root
        .change_password(&named(USERNAME), "not it", "another one")
        .await;
    assert_eq!(refusal(wrong), IggyError::InvalidCredentials.as_code());
    root.change_password(&named(USERNAME), PASSWORD, "another one")
        .await
        .expect("changed");
    let server = server.restart();
    let old = connect_as(&server, setup.transport, USERNAME, "wrong").await;
    assert!(old.is_err());
    connect_as(&server, setup.transport, USERNAME, "another one")
        .await
        .expect("the new one counts, whatever the configuration says");
}

async fn tokens_log_in(setup: Setup) {
    let server = setup.start();
    let root = connect(&server, setup.transport).await;
    let never = PersonalAccessTokenExpiry::NeverExpire;
    let token = root
        .create_personal_access_token("laptop", never)
        .await
        .expect("created");
    let again = root.create_personal_access_token("laptop", never).await;
    let exists = IggyError::PersonalAccessTokenAlreadyExists(String::new(), 0);
    assert_eq!(refusal(again), exists.as_code());

    let server = server.restart();
    let client = log_in(&server, setup.transport, &token.token)
        .await
        .expect("logged in");
    let tokens = client.get_personal_access_tokens().await.expect("listed");
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        (tokens[0].name.as_str(), tokens[0].expiry_at),
        ("laptop", None)
    );
    client
        .delete_personal_access_token("laptop")
        .await
        .expect("deleted");
    let refused = log_in(&server, setup.transport, &token.token).await;
    assert!(refused.is_err());
}

async fn updates_and_purges(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 2).await;
    for partition_id in [0, 1] {
        send(&client, partition_id, ["gone".to_owned()])
            .await
            .expect("sent");
    }
    client
        .purge_topic(&stream(), &topic())
        .await
        .expect("purged");
    for partition_id in [0, 1] {
        let polled = poll(&client, partition_id, PollingStrategy::first(), 10, false).await;
        assert!(polled.messages.is_empty());
    }
    send(&client, 0, ["gone too".to_owned()])
        .await
        .expect("sent");
    client.purge_stream(&stream()).await.expect("purged");
    let details = client.get_stream(&stream()).await.expect("asked");
    assert_eq!(details.expect("there").messages_count, 0);

    let options = TopicUpdateOptions {
        message_expiry: Some(IggyExpiry::ExpireDuration(IggyDuration::from(
            3_600_000_000,
        ))),
        ..TopicUpdateOptions::default()
    };
    client
        .update_topic(&stream(), &topic(), "accepted", &options)
        .await
        .expect("updated");
    let none = StreamUpdateOptions::default();
    client
        .update_stream(&stream(), "sales", &none)
        .await
        .expect("renamed");
    let server = server.restart();
    let client = connect(&server, setup.transport).await;
    let details = client
        .get_topic(&named("sales"), &named("accepted"))
        .await
        .expect("asked")
        .expect("there under its new name");
    assert_eq!(
        details.message_expiry,
        IggyExpiry::ExpireDuration(IggyDuration::from(3_600_000_000))
    );
    assert_eq!(details.partitions_count, 2);
    let old = client.get_stream(&stream()).await.expect("asked");
    assert!(old.is_none());
}

async fn options_are_described_and_kept(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    let described = client
        .describe_options(OptionsScope::Topic)
        .await
        .expect("described");
    assert_eq!(described.len(), 10);
    client.create_stream(STREAM).await.expect("created");
    let mut options = TopicCreateOptions {
        partitions_count: Some(1),
        segment_size: Some(IggyByteSize::from(2 * 1024 * 1024)),
        ..TopicCreateOptions::default()
    };
    options.raw.insert("no_such_option".into(), "1".into());
    let refused = client.create_topic(&stream(), TOPIC, &options).await;
    assert_eq!(
        refusal(refused),
        IggyError::UnsupportedOptionKey(String::new()).as_code()
    );
    options.raw.clear();
    options.raw.insert("message_expiry".into(), "7 days".into());
    // One of Weir's own, which the published client has no type for.
    options
        .raw
        .insert("sync_policy".into(), "every_millis 50".into());
    let created = client
        .create_topic(&stream(), TOPIC, &options)
        .await
        .expect("created");
    let listed = client
        .get_topic(&stream(), &topic())
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(created.options, listed.options);
    assert_eq!(
        listed.message_expiry,
        IggyExpiry::ExpireDuration(IggyDuration::from(7 * 86_400_000_000))
    );
    let chosen = listed.options.values().filter(|option| option.explicit);
    assert_eq!(
        chosen.count(),
        5,
        "two sizes, two durabilities, the sync policy"
    );
    let policy = listed
        .options
        .iter()
        .find(|(key, _)| key.as_str().is_ok_and(|key| key == "sync_policy"));
    let policy = policy.expect("shown").1.value.as_str().expect("text");
    assert_eq!(policy, "every_millis 50");
}

async fn groups_are_managed(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 3).await;
    let group = client
        .create_consumer_group(&stream(), &topic(), "workers")
        .await
        .expect("created");
    assert_eq!((group.partitions_count, group.members_count), (3, 0));
    let workers = named("workers");
    client
        .join_consumer_group(&stream(), &topic(), &workers)
        .await
        .expect("joined");
    let details = client
        .get_consumer_group(&stream(), &topic(), &workers)
        .await
        .expect("asked")
        .expect("there");
    assert_eq!(details.members[0].partitions, [0, 1, 2]);
    let me = client.get_me().await.expect("who I am");
    assert_eq!(me.consumer_groups_count, 1);
    assert_eq!(details.members[0].id, me.client_id);
    client
        .delete_consumer_group(&stream(), &topic(), &workers)
        .await
        .expect("deleted");
    let left = client
        .leave_consumer_group(&stream(), &topic(), &workers)
        .await;
    let gone = IggyError::ConsumerGroupIdNotFound(workers, topic());
    assert_eq!(refusal(left), gone.as_code());
    assert_eq!(
        client.get_me().await.expect("asked").consumer_groups_count,
        0
    );
}

async fn groups_follow_a_shrinking_topic(setup: Setup) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 3).await;
    client
        .create_consumer_group(&stream(), &topic(), "workers")
        .await
        .expect("created");
    client
        .join_consumer_group(&stream(), &topic(), &named("workers"))
        .await
        .expect("joined");
    let workers = Consumer::group(named("workers"));
    let next = PollingStrategy::next();
    let poll_group = async || {
        client
            .poll_messages(&stream(), &topic(), None, &workers, &next, 10, true)
            .await
            .expect("polled")
            .partition_id
    };
    assert_eq!(
        [poll_group().await, poll_group().await, poll_group().await],
        [0, 1, 2]
    );
    client
        .delete_partitions(&stream(), &topic(), 2)
        .await
        .expect("deleted");
    for _ in 0..4 {
        assert_eq!(poll_group().await, 0);
    }
}
