//! Memberships: balance, stability, generations, verdicts.

use std::collections::BTreeMap;

use wire::Status;

use super::super::{
    CatalogLimits, Effects, GroupCoordinator, GroupKey, PollVerdict, RequestedTopicOptions,
};
use super::World;

const GROUP: GroupKey = GroupKey::new(0, 0, 0);

fn join(coordinator: &mut GroupCoordinator, partitions_count: u32, client_id: u32) {
    let limits = CatalogLimits::default();
    let joined = coordinator.join(&limits, GROUP, partitions_count, client_id);
    assert_eq!(joined, Ok(true));
}

fn shares(coordinator: &GroupCoordinator) -> Vec<(u32, Vec<u32>)> {
    let members = coordinator.members(GROUP).iter();
    members
        .map(|member| (member.client_id, member.partitions.clone()))
        .collect()
}

fn generation(coordinator: &GroupCoordinator, client_id: u32) -> u64 {
    coordinator
        .assignment(GROUP, client_id)
        .expect("a member")
        .generation
}

#[test]
fn the_first_member_gets_everything_and_the_second_half() {
    let mut coordinator = GroupCoordinator::new(100);
    join(&mut coordinator, 4, 7);
    assert_eq!(shares(&coordinator), [(7, vec![0, 1, 2, 3])]);
    assert_eq!(generation(&coordinator, 7), 101);
    join(&mut coordinator, 4, 3);
    assert_eq!(shares(&coordinator), [(7, vec![0, 1]), (3, vec![2, 3])]);
    assert_eq!(generation(&coordinator, 7), 102);
    join(&mut coordinator, 4, 9);
    assert_eq!(
        shares(&coordinator),
        [(7, vec![0, 1]), (3, vec![2]), (9, vec![3])]
    );
}

#[test]
fn who_leaves_gives_back_what_they_had() {
    let mut coordinator = GroupCoordinator::new(0);
    for client_id in [1, 2, 3] {
        join(&mut coordinator, 6, client_id);
    }
    assert_eq!(
        shares(&coordinator),
        [(1, vec![0, 1]), (2, vec![3, 4]), (3, vec![2, 5])]
    );
    assert_eq!(coordinator.leave(GROUP, 2), Ok(()));
    assert_eq!(
        shares(&coordinator),
        [(1, vec![0, 1, 3]), (3, vec![2, 4, 5])]
    );
    assert!(coordinator.disconnect(1));
    assert_eq!(shares(&coordinator), [(3, vec![0, 1, 2, 3, 4, 5])]);
    assert!(coordinator.disconnect(3));
    assert_eq!(shares(&coordinator), []);
    assert_eq!(coordinator.active_groups_count(), 0);
    assert!(!coordinator.disconnect(3));
}

#[test]
fn more_members_than_partitions_leave_some_with_nothing() {
    let mut coordinator = GroupCoordinator::new(0);
    for client_id in [1, 2, 3] {
        join(&mut coordinator, 2, client_id);
    }
    assert_eq!(
        shares(&coordinator),
        [(1, vec![0]), (2, vec![1]), (3, vec![])]
    );
    // A member without partitions is a member: it gets an assignment, not the "join again" of
    // an empty reply.
    let assignment = coordinator.assignment(GROUP, 3).expect("a member");
    assert_eq!(assignment.partitions, [0; 0]);
    assert_eq!(coordinator.assignment(GROUP, 4), None);
}

#[test]
fn joining_again_changes_nothing() {
    let mut coordinator = GroupCoordinator::new(0);
    join(&mut coordinator, 2, 1);
    let before = coordinator.clone();
    let again = coordinator.join(&CatalogLimits::default(), GROUP, 2, 1);
    assert_eq!(again, Ok(false));
    assert_eq!(coordinator, before);
}

#[test]
fn leaving_without_membership_is_said() {
    let mut coordinator = GroupCoordinator::new(0);
    let expected = Err(Status::CONSUMER_GROUP_MEMBER_NOT_FOUND);
    assert_eq!(coordinator.leave(GROUP, 1), expected);
    join(&mut coordinator, 2, 1);
    assert_eq!(coordinator.leave(GROUP, 2), expected);
    assert_eq!(coordinator.leave(GROUP, 1), Ok(()));
    assert_eq!(coordinator.leave(GROUP, 1), expected);
}

#[test]
fn generations_grow_even_over_an_empty_group() {
    let mut coordinator = GroupCoordinator::new(0);
    join(&mut coordinator, 2, 1);
    let first = generation(&coordinator, 1);
    coordinator.leave(GROUP, 1).expect("leave");
    join(&mut coordinator, 2, 1);
    assert!(generation(&coordinator, 1) > first);
}

#[test]
fn polls_and_offsets_are_for_the_owner() {
    let mut coordinator = GroupCoordinator::new(0);
    join(&mut coordinator, 2, 1);
    join(&mut coordinator, 2, 2);
    assert_eq!(coordinator.check_poll(GROUP, 1, 0), PollVerdict::Owned);
    assert_eq!(coordinator.check_poll(GROUP, 2, 0), PollVerdict::Resync);
    assert_eq!(coordinator.check_poll(GROUP, 2, 1), PollVerdict::Owned);
    assert_eq!(coordinator.check_poll(GROUP, 1, 2), PollVerdict::Resync);
    assert_eq!(coordinator.check_poll(GROUP, 3, 0), PollVerdict::NotMember);
    let other = GroupKey::new(0, 0, 1);
    assert_eq!(coordinator.check_poll(other, 1, 0), PollVerdict::NotMember);
    assert_eq!(coordinator.check_offset(GROUP, 1, 0), Ok(()));
    let lost = Err(Status::CONSUMER_GROUP_PARTITION_NOT_OWNED);
    assert_eq!(coordinator.check_offset(GROUP, 2, 0), lost);
    assert_eq!(coordinator.check_offset(GROUP, 3, 0), Ok(()));
}

#[test]
fn members_and_memberships_are_limited() {
    let limits = CatalogLimits {
        members_per_group_max: 2,
        groups_per_client_max: 2,
        ..CatalogLimits::default()
    };
    let mut coordinator = GroupCoordinator::new(0);
    let group = |group_id| GroupKey::new(0, 0, group_id);
    assert_eq!(coordinator.join(&limits, group(0), 1, 1), Ok(true));
    assert_eq!(coordinator.join(&limits, group(0), 1, 2), Ok(true));
    let full = Err(Status::INVALID_CONFIGURATION);
    assert_eq!(coordinator.join(&limits, group(0), 1, 3), full);
    assert_eq!(coordinator.join(&limits, group(1), 1, 1), Ok(true));
    assert_eq!(coordinator.join(&limits, group(2), 1, 1), full);
    assert_eq!(
        coordinator.groups_of(1).collect::<Vec<_>>(),
        [group(0), group(1)]
    );
    assert_eq!(coordinator.groups_of(9).len(), 0);
}

#[test]
fn groups_follow_their_topic() {
    let mut world = World::new();
    let mut coordinator = GroupCoordinator::new(0);
    world.create_stream("s");
    world.create_topic("s", "t", 2);
    world.create_topic("s", "u", 2);
    world.create_group("s", "t", "g");
    world.create_group("s", "t", "h");
    world.create_group("s", "u", "g");
    let [g, h, other] = [
        GroupKey::new(0, 0, 0),
        GroupKey::new(0, 0, 1),
        GroupKey::new(0, 1, 0),
    ];
    for (key, client_id) in [(g, 1), (g, 2), (h, 1), (other, 1)] {
        assert_eq!(coordinator.join(&world.limits, key, 2, client_id), Ok(true));
    }
    let untouched = coordinator.assignment(other, 1).expect("member").generation;
    let (s, t) = ("s".into(), "t".into());
    let more = world
        .run(|decider| decider.create_partitions(s, t, 2))
        .expect("more");
    assert!(coordinator.follow(&more, &world.catalog));
    let partitions = |coordinator: &GroupCoordinator, key, client_id| -> Vec<u32> {
        coordinator
            .assignment(key, client_id)
            .expect("member")
            .partitions
            .to_vec()
    };
    assert_eq!(partitions(&coordinator, g, 1), [0, 2]);
    assert_eq!(partitions(&coordinator, g, 2), [1, 3]);
    assert_eq!(partitions(&coordinator, h, 1), [0, 1, 2, 3]);
    let fewer = world
        .run(|decider| decider.delete_partitions(s, t, 3))
        .expect("fewer");
    assert!(coordinator.follow(&fewer, &world.catalog));
    assert_eq!(partitions(&coordinator, g, 1), [0]);
    assert_eq!(partitions(&coordinator, g, 2), [0; 0]);
    assert_eq!(
        coordinator.assignment(other, 1).expect("member").generation,
        untouched
    );
    let deleted = world
        .run(|decider| decider.delete_group(s, t, "g".into()))
        .expect("delete");
    assert!(coordinator.follow(&deleted, &world.catalog));
    assert_eq!(coordinator.assignment(g, 1), None);
    assert_eq!(coordinator.groups_of(1).collect::<Vec<_>>(), [h, other]);
    assert_eq!(coordinator.groups_of(2).len(), 0);
    let deleted = world
        .run(|decider| decider.delete_stream(s))
        .expect("delete");
    assert!(coordinator.follow(&deleted, &world.catalog));
    assert_eq!(coordinator.active_groups_count(), 0);
    assert!(!coordinator.follow(&Effects::default(), &world.catalog));
    let options = RequestedTopicOptions::default();
    world.create_stream("s");
    let created = world.run(|decider| decider.create_topic("s".into(), "t", 1, &options));
    assert!(!coordinator.follow(&created.expect("create"), &world.catalog));
}

/// Every partition has exactly one member, shares differ by at most one, and the owner index
/// says the same as the shares.
fn check_balance(coordinator: &GroupCoordinator, partitions_count: u32, seed: u64) {
    let members = coordinator.members(GROUP);
    if members.is_empty() {
        assert_eq!(coordinator.check_poll(GROUP, 0, 0), PollVerdict::NotMember);
        return;
    }
    let mut all: Vec<u32> = members
        .iter()
        .flat_map(|m| m.partitions.iter().copied())
        .collect();
    all.sort_unstable();
    assert_eq!(
        all,
        (0..partitions_count).collect::<Vec<_>>(),
        "seed {seed}"
    );
    let sizes = members.iter().map(|member| member.partitions.len());
    let (smallest, largest) = (sizes.clone().min(), sizes.max());
    assert!(
        largest.unwrap_or(0) - smallest.unwrap_or(0) <= 1,
        "seed {seed}: {members:?}"
    );
    for member in members {
        assert!(member.partitions.is_sorted(), "seed {seed}");
        for partition_id in 0..partitions_count {
            let owns = member.partitions.contains(&partition_id);
            let verdict = coordinator.check_poll(GROUP, member.client_id, partition_id);
            let expected = if owns {
                PollVerdict::Owned
            } else {
                PollVerdict::Resync
            };
            assert_eq!(verdict, expected, "seed {seed}");
        }
    }
}

fn owners(coordinator: &GroupCoordinator) -> BTreeMap<u32, u32> {
    let members = coordinator.members(GROUP).iter();
    members
        .flat_map(|m| m.partitions.iter().map(|p| (*p, m.client_id)))
        .collect()
}

/// A partition whose owner stayed moves only when that owner had more than the new larger share,
/// or another had to get up to its share: at most as many move as the newcomers need.
fn check_stability(before: &BTreeMap<u32, u32>, after: &GroupCoordinator, seed: u64) {
    let now = owners(after);
    let is_member = |client_id: &u32| after.is_member(GROUP, *client_id);
    let moved = now
        .iter()
        .filter(|(partition, owner)| {
            before
                .get(partition)
                .is_some_and(|old| old != *owner && is_member(old))
        })
        .count();
    let count = |owners: &BTreeMap<u32, u32>, client_id: u32| {
        owners
            .iter()
            .filter(|(p, owner)| now.contains_key(p) && **owner == client_id)
            .count()
    };
    // What members have less of than before (restricted to partitions that still exist) is what
    // was taken from them; nothing is taken and given back within one rebalance.
    let taken: usize = after
        .members(GROUP)
        .iter()
        .map(|m| count(before, m.client_id).saturating_sub(m.partitions.len()))
        .sum();
    assert_eq!(moved, taken, "seed {seed}");
}

#[test]
fn random_joins_leaves_and_resizes_stay_balanced_and_stable() {
    let limits = CatalogLimits {
        members_per_group_max: 12,
        ..CatalogLimits::default()
    };
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut coordinator = GroupCoordinator::new(seed);
        let mut partitions_count = random.u32(0..20);
        let mut last_generation = 0;
        for _ in 0..60 {
            let before = owners(&coordinator);
            let client_id = random.u32(1..16);
            match random.u32(0..10) {
                0..5 => {
                    let _ = coordinator.join(&limits, GROUP, partitions_count, client_id);
                }
                5..7 => {
                    let was_member = coordinator.is_member(GROUP, client_id);
                    assert_eq!(coordinator.leave(GROUP, client_id).is_ok(), was_member);
                }
                7..9 => {
                    coordinator.disconnect(client_id);
                }
                _ => {
                    partitions_count = random.u32(0..20);
                    resize(&mut coordinator, partitions_count);
                }
            }
            check_balance(&coordinator, partitions_count, seed);
            check_stability(&before, &coordinator, seed);
            if let Some(member) = coordinator.members(GROUP).first() {
                let generation = generation(&coordinator, member.client_id);
                assert!(generation >= last_generation, "seed {seed}");
                assert!(generation > last_generation || before == owners(&coordinator));
                last_generation = generation;
            }
        }
    }
}

/// Follows a catalog whose topic 0/0 has this many partitions.
fn resize(coordinator: &mut GroupCoordinator, partitions_count: u32) {
    let mut world = World::new();
    world.create_stream("s");
    world.create_topic("s", "t", partitions_count);
    let effects = Effects {
        topic_resized: Some((0, 0)),
        ..Effects::default()
    };
    coordinator.follow(&effects, &world.catalog);
}
