//! Users and tokens: each decision, each refusal.

use std::sync::Arc;

use wire::Status;

use super::super::{
    Decider, GlobalPermissions, Identifier, NewUser, Permissions, ROOT_USER_ID, StreamPermissions,
    UserStatus, UserUpdate,
};
use super::World;

fn new_user<'a>(username: &'a str, permissions: Option<Permissions>) -> NewUser<'a> {
    NewUser {
        username,
        password_hash: "hash".into(),
        status: UserStatus::Active,
        permissions,
    }
}

fn create(world: &mut World, username: &str, permissions: Option<Permissions>) -> u32 {
    world
        .run(|decider| decider.create_user(new_user(username, permissions)))
        .expect("create user");
    world.catalog.user(username.into()).expect("created").id
}

fn manager() -> Option<Permissions> {
    let global = GlobalPermissions {
        manage_users: true,
        ..GlobalPermissions::default()
    };
    Some(Permissions {
        global,
        ..Permissions::default()
    })
}

#[test]
fn the_root_user_is_made_once_and_cannot_be_removed() {
    let mut world = World::new();
    let again = world.catalog.decide_root_user("other", "hash".into(), 1);
    assert_eq!(again, Err(Status::USER_ALREADY_EXISTS));
    let root = Identifier::Number(ROOT_USER_ID);
    let decider = world.decider();
    assert_eq!(decider.delete_user(root), Err(Status::CANNOT_DELETE_USER));
    assert_eq!(
        decider.update_permissions(root, None),
        Err(Status::CANNOT_CHANGE_PERMISSIONS)
    );
    let inactive = UserUpdate {
        status: Some(UserStatus::Inactive),
        ..UserUpdate::default()
    };
    assert_eq!(
        decider.update_user(root, inactive),
        Err(Status::INVALID_USER_STATUS)
    );
    let rename = UserUpdate {
        username: Some("admin"),
        ..UserUpdate::default()
    };
    world
        .run(|decider| decider.update_user(root, rename))
        .expect("rename");
    assert_eq!(
        world.catalog.user("admin".into()).map(|user| user.id),
        Some(ROOT_USER_ID)
    );
    let short = world.catalog.decide_root_user("ab", "hash".into(), 1);
    assert_eq!(short, Err(Status::USER_ALREADY_EXISTS));
    let short = super::super::Catalog::default().decide_root_user("ab", "hash".into(), 1);
    assert_eq!(short, Err(Status::INVALID_USERNAME));
}

#[test]
fn user_names_and_passwords_are_checked_on_the_edges() {
    let world = World::new();
    let check = |username_bytes: usize, password_bytes: usize| {
        let (username, password) = ("u".repeat(username_bytes), "p".repeat(password_bytes));
        world
            .decider()
            .check_create_user(&username, &password)
            .err()
    };
    assert_eq!(check(3, 3), None);
    assert_eq!(check(50, 100), None);
    assert_eq!(check(2, 3), Some(Status::INVALID_USERNAME));
    assert_eq!(check(51, 3), Some(Status::INVALID_USERNAME));
    assert_eq!(check(3, 2), Some(Status::INVALID_PASSWORD));
    assert_eq!(check(3, 101), Some(Status::INVALID_PASSWORD));
    let root = world.decider().check_create_user("root", "secret");
    assert_eq!(root, Err(Status::USER_ALREADY_EXISTS));
    let short = world.decider().create_user(new_user("ab", None));
    assert_eq!(short, Err(Status::INVALID_USERNAME));
}

#[test]
fn users_are_limited_and_their_ids_never_used_again() {
    let mut world = World::new();
    world.limits.users_max = 2;
    assert_eq!(create(&mut world, "one", None), 1);
    let full = world.decider().create_user(new_user("two", None));
    assert_eq!(full, Err(Status::USERS_LIMIT_REACHED));
    let full = world.decider().check_create_user("two", "secret");
    assert_eq!(full, Err(Status::USERS_LIMIT_REACHED));
    world
        .run(|decider| decider.delete_user("one".into()))
        .expect("delete");
    assert_eq!(create(&mut world, "one", None), 2);
}

#[test]
fn permissions_are_limited() {
    let mut world = World::new();
    world.limits.permission_entries_max = 2;
    let entries = |count: u32| {
        let streams = (0..count)
            .map(|id| (id, StreamPermissions::default()))
            .collect();
        Some(Permissions {
            streams,
            ..Permissions::default()
        })
    };
    let too_many = Err(Status::INVALID_CONFIGURATION);
    assert_eq!(
        world.decider().create_user(new_user("user", entries(3))),
        too_many
    );
    create(&mut world, "user", entries(2));
    assert_eq!(
        world
            .decider()
            .update_permissions("user".into(), entries(3)),
        too_many
    );
    world
        .run(|decider| decider.update_permissions("user".into(), entries(1)))
        .expect("fewer");
    let user = world.catalog.user("user".into()).expect("user");
    assert_eq!(user.permissions, entries(1));
}

#[test]
fn only_who_manages_users_manages_users() {
    let mut world = World::new();
    let plain = create(&mut world, "plain", Some(Permissions::default()));
    let other = create(&mut world, "other", None);
    let who = Identifier::Number(other);
    let decider = world.catalog.decide(&world.limits, plain, 1);
    let refused = Err(Status::UNAUTHORIZED);
    assert_eq!(decider.create_user(new_user("new", None)), refused);
    assert_eq!(
        decider.check_create_user("new", "secret"),
        Err(Status::UNAUTHORIZED)
    );
    assert_eq!(decider.update_user(who, UserUpdate::default()), refused);
    assert_eq!(decider.update_permissions(who, None), refused);
    assert_eq!(decider.delete_user(who), refused);
    assert!(decider.check_change_password(who, "secret").is_err());
    let own = decider
        .check_change_password(Identifier::Number(plain), "secret")
        .expect("own");
    assert!(decider.change_password(&own, "new".into()).is_ok());
}

#[test]
fn a_user_manager_does_not_touch_the_root_user() {
    let mut world = World::new();
    let manager = create(&mut world, "manager", manager());
    let decider = world.catalog.decide(&world.limits, manager, 1);
    let root = Identifier::Number(ROOT_USER_ID);
    let rename = UserUpdate {
        username: Some("mine"),
        ..UserUpdate::default()
    };
    assert_eq!(decider.update_user(root, rename), Err(Status::UNAUTHORIZED));
    let refused = decider.check_change_password(root, "secret").err();
    assert_eq!(refused, Some(Status::UNAUTHORIZED));
    assert_eq!(decider.delete_user(root), Err(Status::CANNOT_DELETE_USER));
    assert!(decider.create_user(new_user("new", None)).is_ok());
}

#[test]
fn unknown_users_are_not_found() {
    let world = World::new();
    let decider = world.decider();
    let missing = Identifier::Name("missing");
    let expected = Err(Status::RESOURCE_NOT_FOUND);
    assert_eq!(
        decider.update_user(missing, UserUpdate::default()),
        expected
    );
    assert_eq!(decider.update_permissions(missing, None), expected);
    assert_eq!(decider.delete_user(missing), expected);
    let refused = decider.check_change_password(missing, "secret").err();
    assert_eq!(refused, Some(Status::RESOURCE_NOT_FOUND));
}

#[test]
fn a_user_is_renamed_and_made_inactive() {
    let mut world = World::new();
    create(&mut world, "first", None);
    create(&mut world, "second", None);
    let rename = |name| UserUpdate {
        username: Some(name),
        ..UserUpdate::default()
    };
    let taken = world
        .decider()
        .update_user("first".into(), rename("second"));
    assert_eq!(taken, Err(Status::USER_ALREADY_EXISTS));
    let short = world.decider().update_user("first".into(), rename("ab"));
    assert_eq!(short, Err(Status::INVALID_USERNAME));
    world
        .run(|decider| decider.update_user("first".into(), rename("third")))
        .expect("rename");
    assert!(world.catalog.user("first".into()).is_none());
    let status = |status| UserUpdate {
        status: Some(status),
        ..UserUpdate::default()
    };
    let inactive = status(UserStatus::Inactive);
    world
        .run(|decider| decider.update_user("third".into(), inactive))
        .expect("update");
    let user = world.catalog.user("third".into()).expect("user");
    assert_eq!(user.status, UserStatus::Inactive);
    assert!(!world.catalog.is_active(1));
    assert!(world.catalog.is_active(2));
    assert!(!world.catalog.is_active(3));
}

#[test]
fn a_password_changed_meanwhile_is_not_overwritten() {
    let mut world = World::new();
    create(&mut world, "user", None);
    let seen = world
        .decider()
        .check_change_password("user".into(), "second")
        .expect("seen");
    let change = |decider: &Decider<'_>| decider.change_password(&seen, "hash of second".into());
    world.run(change).expect("change");
    let late = world
        .decider()
        .change_password(&seen, "hash of third".into());
    assert_eq!(late, Err(Status::INVALID_CREDENTIALS));
    let hash = &world
        .catalog
        .user("user".into())
        .expect("user")
        .password_hash;
    assert_eq!(&**hash, "hash of second");
    let short = world
        .decider()
        .check_change_password("user".into(), "ab")
        .err();
    assert_eq!(short, Some(Status::INVALID_PASSWORD));
}

fn token(world: &mut World, user_id: u32, name: &str, expiry_us: Option<u64>) -> Arc<str> {
    let hash: Arc<str> = format!("hash of {name}").into();
    world
        .run_as(user_id, |decider| {
            decider.create_token(name, hash.clone(), expiry_us)
        })
        .expect("create token");
    hash
}

#[test]
fn a_token_logs_in_until_it_expires() {
    let mut world = World::new();
    let user_id = create(&mut world, "user", None);
    let forever = token(&mut world, user_id, "forever", None);
    let short = token(&mut world, user_id, "short", Some(10));
    let created_at_us = world.now_us;
    let login = |hash: &str, now_us| world.catalog.token_user(hash, now_us).map(|user| user.id);
    assert_eq!(login(&forever, u64::MAX), Ok(user_id));
    assert_eq!(login(&short, created_at_us + 9), Ok(user_id));
    let expired = Err(Status::PERSONAL_ACCESS_TOKEN_EXPIRED);
    assert_eq!(login(&short, created_at_us + 10), expired);
    assert_eq!(
        login("hash of nothing", 0),
        Err(Status::INVALID_PERSONAL_ACCESS_TOKEN)
    );
}

#[test]
fn tokens_end_with_their_deletion_and_with_their_user() {
    let mut world = World::new();
    let user_id = create(&mut world, "user", None);
    let one = token(&mut world, user_id, "one", None);
    let two = token(&mut world, user_id, "two", None);
    world
        .run_as(user_id, |decider| decider.delete_token("one"))
        .expect("delete");
    let invalid = Some(Status::INVALID_PERSONAL_ACCESS_TOKEN);
    assert_eq!(world.catalog.token_user(&one, 0).err(), invalid);
    let again = world.run_as(user_id, |decider| decider.delete_token("one"));
    assert_eq!(again, Err(Status::RESOURCE_NOT_FOUND));
    let inactive = UserUpdate {
        status: Some(UserStatus::Inactive),
        ..UserUpdate::default()
    };
    world
        .run(|decider| decider.update_user("user".into(), inactive))
        .expect("update");
    assert_eq!(
        world.catalog.token_user(&two, 0).err(),
        Some(Status::USER_INACTIVE)
    );
    world
        .run(|decider| decider.delete_user("user".into()))
        .expect("delete");
    assert_eq!(world.catalog.token_user(&two, 0).err(), invalid);
    let gone = world.run_as(user_id, |decider| {
        decider.create_token("new", "h".into(), None)
    });
    assert_eq!(gone, Err(Status::UNAUTHENTICATED));
}

#[test]
fn tokens_are_checked_and_limited() {
    let mut world = World::new();
    world.limits.tokens_per_user_max = 2;
    let create = |name: &str| {
        world
            .decider()
            .create_token(name, "hash".into(), None)
            .err()
    };
    let invalid = Some(Status::INVALID_PERSONAL_ACCESS_TOKEN_NAME);
    assert_eq!(create("ab"), invalid);
    assert_eq!(create("abc"), None);
    assert_eq!(create(&"n".repeat(30)), None);
    assert_eq!(create(&"n".repeat(31)), invalid);
    let late = world
        .decider()
        .create_token("late", "hash".into(), Some(u64::MAX - 1));
    assert_eq!(late, Err(Status::INVALID_PERSONAL_ACCESS_TOKEN_EXPIRY));
    token(&mut world, ROOT_USER_ID, "one", None);
    let exists = Some(Status::PERSONAL_ACCESS_TOKEN_ALREADY_EXISTS);
    assert_eq!(
        world
            .decider()
            .create_token("one", "other".into(), None)
            .err(),
        exists
    );
    token(&mut world, ROOT_USER_ID, "two", None);
    let full = world
        .decider()
        .create_token("three", "third".into(), None)
        .err();
    assert_eq!(full, Some(Status::PERSONAL_ACCESS_TOKENS_LIMIT_REACHED));
}
