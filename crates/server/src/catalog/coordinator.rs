//! Who is a member of which consumer group, and which partitions each member polls.
//!
//! Volatile: a membership lives as long as its client's connection, and clients join again after
//! a restart. Shard 0 owns the coordinator; like the catalog it is cheap to clone, and the other
//! shards check polls against their snapshot.
//!
//! Partitions are shared out at once when members or partitions change: every partition belongs
//! to exactly one member, the shares differ by at most one, and no more partitions move than
//! that needs. A member learns of it at its next poll of a partition that it lost (it is told to
//! sync), or from its heartbeat (the published client syncs every 5 s). What the former owner
//! polled and did not commit, the new owner polls again: at least once, as in the published
//! server when a member leaves.

mod clients;

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Status;

use super::apply::Effects;
use super::key::GroupKey;
use super::limits::CatalogLimits;
use super::model::Catalog;
use clients::ClientIndex;

pub use clients::ClientGroups;

/// Memberships and assignments of all consumer groups at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupCoordinator {
    groups: Arc<BTreeMap<GroupKey, Arc<Group>>>,
    clients: ClientIndex,
    generation: u64,
}

/// A group that has at least one member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    generation: u64,
    /// In the order of joining.
    members: Vec<Membership>,
    /// The member (client id) that owns the partition of this index.
    owners: Vec<u32>,
}

/// One member of a group with its share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The client that joined.
    pub client_id: u32,
    /// Partitions that this member polls, ascending; may be empty.
    pub partitions: Vec<u32>,
}

/// The answer to a sync: what a member polls, as of which rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// Grows with each rebalance; larger than in any earlier run of the server.
    pub generation: u64,
    /// Partitions of the member, ascending; may be empty.
    pub partitions: &'a [u32],
}

/// Whether a member may poll a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollVerdict {
    /// It owns the partition.
    Owned,
    /// It is a member and another member owns the partition (or nobody: the partition is gone).
    /// Answered with partition id `u32::MAX` and no messages, which makes the client sync.
    Resync,
    /// It is no member. Answered with `CONSUMER_GROUP_MEMBER_NOT_FOUND`, which makes the client
    /// join.
    NotMember,
}

impl GroupCoordinator {
    /// No members. Generations start above `generation`; giving the time of the start in
    /// microseconds keeps them growing over restarts.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// Makes `client_id` a member of a group over `partitions_count` partitions and rebalances.
    /// Returns whether anything changed: joining again changes nothing.
    ///
    /// The caller has checked that the group exists and that the client may use it.
    ///
    /// # Errors
    /// `INVALID_CONFIGURATION` when the group has, or the client is in, as many as allowed.
    pub fn join(
        &mut self,
        limits: &CatalogLimits,
        key: GroupKey,
        partitions_count: u32,
        client_id: u32,
    ) -> Result<bool, Status> {
        if self.is_member(key, client_id) {
            return Ok(false);
        }
        let members_count = self.members(key).len();
        let groups_count = self.groups_of(client_id).len();
        if members_count >= limits.members_per_group_max
            || groups_count >= limits.groups_per_client_max
        {
            return Err(Status::INVALID_CONFIGURATION);
        }
        self.change_group(key, partitions_count, |members| {
            members.push(Membership {
                client_id,
                partitions: Vec::new(),
            });
        });
        self.clients.insert(client_id, key);
        Ok(true)
    }

    /// Ends the membership of `client_id` in a group and rebalances.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_MEMBER_NOT_FOUND`.
    pub fn leave(&mut self, key: GroupKey, client_id: u32) -> Result<(), Status> {
        if !self.is_member(key, client_id) {
            return Err(Status::CONSUMER_GROUP_MEMBER_NOT_FOUND);
        }
        self.remove_member(key, client_id);
        self.clients.remove(client_id, key);
        Ok(())
    }

    /// Ends all memberships of a client whose connection or session ended, and rebalances its
    /// groups. Returns whether anything changed.
    pub fn disconnect(&mut self, client_id: u32) -> bool {
        let groups = self.clients.remove_client(client_id);
        for key in &groups {
            self.remove_member(*key, client_id);
        }
        !groups.is_empty()
    }

    /// Follows a change of the catalog: deleted groups lose their members, groups of a resized
    /// topic rebalance. `catalog` is the state after the change. Returns whether anything
    /// changed.
    pub fn follow(&mut self, effects: &Effects, catalog: &Catalog) -> bool {
        let mut changed = false;
        for key in &effects.groups_deleted {
            changed |= self.remove_group(*key);
        }
        let Some((stream_id, topic_id)) = effects.topic_resized else {
            return changed;
        };
        let resized = catalog.topic(stream_id.into(), topic_id.into());
        let partitions_count = resized.map_or(0, |(_, topic)| topic.partitions_count());
        let first = GroupKey::new(stream_id, topic_id, 0);
        let last = GroupKey::new(stream_id, topic_id, u32::MAX);
        let keys: Vec<GroupKey> = self
            .groups
            .range(first..=last)
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.change_group(key, partitions_count, |_| ());
            changed = true;
        }
        changed
    }

    /// What a member polls; `None` when the client is no member (answered with an empty body).
    #[must_use]
    pub fn assignment(&self, key: GroupKey, client_id: u32) -> Option<Assignment<'_>> {
        let group = self.groups.get(&key)?;
        let member = group
            .members
            .iter()
            .find(|member| member.client_id == client_id)?;
        Some(Assignment {
            generation: group.generation,
            partitions: &member.partitions,
        })
    }

    /// Whether a client may poll a partition as a member of a group.
    #[must_use]
    pub fn check_poll(&self, key: GroupKey, client_id: u32, partition_id: u32) -> PollVerdict {
        let owner = self
            .groups
            .get(&key)
            .and_then(|group| group.owners.get(partition_id as usize));
        if owner == Some(&client_id) {
            PollVerdict::Owned
        } else if self.is_member(key, client_id) {
            PollVerdict::Resync
        } else {
            PollVerdict::NotMember
        }
    }

    /// Whether a client may store or delete a group's offset of a partition. A member that lost
    /// the partition may not, lest it rewinds the new owner; a client that is no member may, as
    /// tools set offsets without joining.
    ///
    /// # Errors
    /// `CONSUMER_GROUP_PARTITION_NOT_OWNED`.
    pub fn check_offset(
        &self,
        key: GroupKey,
        client_id: u32,
        partition_id: u32,
    ) -> Result<(), Status> {
        match self.check_poll(key, client_id, partition_id) {
            PollVerdict::Owned | PollVerdict::NotMember => Ok(()),
            PollVerdict::Resync => Err(Status::CONSUMER_GROUP_PARTITION_NOT_OWNED),
        }
    }

    /// Whether a client is a member of a group.
    #[must_use]
    pub fn is_member(&self, key: GroupKey, client_id: u32) -> bool {
        self.clients.contains(client_id, key)
    }

    /// The members of a group in the order of joining, with their shares.
    #[must_use]
    pub fn members(&self, key: GroupKey) -> &[Membership] {
        self.groups.get(&key).map_or(&[], |group| &group.members)
    }

    /// The groups that a client is a member of.
    pub fn groups_of(&self, client_id: u32) -> ClientGroups<'_> {
        self.clients.groups(client_id)
    }

    /// How many groups have members.
    #[must_use]
    pub fn active_groups_count(&self) -> usize {
        self.groups.len()
    }

    fn remove_member(&mut self, key: GroupKey, client_id: u32) {
        let Some(group) = self.groups.get(&key) else {
            return;
        };
        if group.members.len() == 1 {
            Arc::make_mut(&mut self.groups).remove(&key);
            return;
        }
        let partitions_count = u32::try_from(group.owners.len()).expect("counted in u32");
        self.change_group(key, partitions_count, |members| {
            members.retain(|member| member.client_id != client_id);
        });
    }

    fn remove_group(&mut self, key: GroupKey) -> bool {
        if !self.groups.contains_key(&key) {
            return false;
        }
        let removed = Arc::make_mut(&mut self.groups).remove(&key);
        for member in removed.iter().flat_map(|group| &group.members) {
            self.clients.remove(member.client_id, key);
        }
        true
    }

    /// Changes the members of a group, shares the partitions out again, and counts a generation.
    fn change_group(
        &mut self,
        key: GroupKey,
        partitions_count: u32,
        change: impl FnOnce(&mut Vec<Membership>),
    ) {
        self.generation += 1;
        let existing = self.groups.get(&key);
        let mut members = existing.map_or_else(Vec::new, |group| group.members.clone());
        change(&mut members);
        let owners = rebalance(&mut members, partitions_count);
        let group = Group {
            generation: self.generation,
            members,
            owners,
        };
        Arc::make_mut(&mut self.groups).insert(key, Arc::new(group));
    }
}

/// Shares `0..partitions_count` out to the members and returns the owner of each partition.
///
/// Each member keeps what it has, up to its share; members that have more get the larger shares,
/// so that as little as possible moves. What is free goes to members with room, in the order of
/// joining.
fn rebalance(members: &mut [Membership], partitions_count: u32) -> Vec<u32> {
    if members.is_empty() {
        return Vec::new();
    }
    let members_count = u32::try_from(members.len()).expect("limited by members_per_group_max");
    let share = (partitions_count / members_count) as usize;
    let larger_shares_count = (partitions_count % members_count) as usize;

    for member in members.iter_mut() {
        member
            .partitions
            .retain(|partition| *partition < partitions_count);
    }
    let mut by_size: Vec<usize> = (0..members.len()).collect();
    // A stable sort: among equals, who joined first comes first.
    by_size.sort_by_key(|index| std::cmp::Reverse(members[*index].partitions.len()));

    let mut is_kept = vec![false; partitions_count as usize];
    let mut shares = vec![share; members.len()];
    for (rank, index) in by_size.into_iter().enumerate() {
        shares[index] += usize::from(rank < larger_shares_count);
        let kept = &mut members[index].partitions;
        kept.truncate(shares[index]);
        for partition in kept.iter() {
            is_kept[*partition as usize] = true;
        }
    }
    let mut free = (0..partitions_count).filter(|partition| !is_kept[*partition as usize]);
    let mut owners = vec![0; partitions_count as usize];
    for (member, share) in members.iter_mut().zip(shares) {
        let missing = share - member.partitions.len();
        member.partitions.extend(free.by_ref().take(missing));
        member.partitions.sort_unstable();
        for partition in &member.partitions {
            owners[*partition as usize] = member.client_id;
        }
    }
    owners
}
