//! Which groups each client is a member of.
//!
//! Cut into chunks that clones share, so that one join among ten thousand clients copies the
//! chunk it touches and not all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Copied;
use std::sync::Arc;

use super::super::key::GroupKey;

/// Clients per chunk: about the square root of the ten thousand connections of a shard.
const CHUNK_CLIENTS: u32 = 64;

type Chunk = BTreeMap<u32, BTreeSet<GroupKey>>;

/// The groups of one client, ascending.
pub type ClientGroups<'a> = Copied<std::collections::btree_set::Iter<'a, GroupKey>>;

/// The index. Only clients with a membership are in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ClientIndex {
    chunks: Arc<BTreeMap<u32, Arc<Chunk>>>,
}

impl ClientIndex {
    pub(super) fn contains(&self, client_id: u32, key: GroupKey) -> bool {
        self.find(client_id)
            .is_some_and(|groups| groups.contains(&key))
    }

    pub(super) fn groups(&self, client_id: u32) -> ClientGroups<'_> {
        static NONE: BTreeSet<GroupKey> = BTreeSet::new();
        self.find(client_id).unwrap_or(&NONE).iter().copied()
    }

    fn find(&self, client_id: u32) -> Option<&BTreeSet<GroupKey>> {
        self.chunks
            .get(&(client_id / CHUNK_CLIENTS))?
            .get(&client_id)
    }

    pub(super) fn insert(&mut self, client_id: u32, key: GroupKey) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = chunks.entry(client_id / CHUNK_CLIENTS).or_default();
        Arc::make_mut(chunk)
            .entry(client_id)
            .or_default()
            .insert(key);
    }

    pub(super) fn remove(&mut self, client_id: u32, key: GroupKey) {
        self.change(client_id, |groups| {
            groups.remove(&key);
        });
    }

    /// Removes a client and returns the groups it was in.
    pub(super) fn remove_client(&mut self, client_id: u32) -> BTreeSet<GroupKey> {
        self.change(client_id, std::mem::take).unwrap_or_default()
    }

    /// Changes the groups of a client that is in the index; what became empty is dropped.
    fn change<T>(
        &mut self,
        client_id: u32,
        change: impl FnOnce(&mut BTreeSet<GroupKey>) -> T,
    ) -> Option<T> {
        self.find(client_id)?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.get_mut(&(client_id / CHUNK_CLIENTS))?);
        let groups = chunk.get_mut(&client_id)?;
        let result = change(groups);
        if groups.is_empty() {
            chunk.remove(&client_id);
        }
        if chunk.is_empty() {
            chunks.remove(&(client_id / CHUNK_CLIENTS));
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_keeps_and_forgets_like_a_plain_map() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut index = ClientIndex::default();
        let mut model: BTreeMap<u32, BTreeSet<GroupKey>> = BTreeMap::new();
        for _ in 0..5_000 {
            let client_id = random.u32(0..300);
            let key = GroupKey::new(0, random.u32(0..4), 0);
            match random.u32(0..10) {
                0..6 => {
                    index.insert(client_id, key);
                    model.entry(client_id).or_default().insert(key);
                }
                6..9 => {
                    index.remove(client_id, key);
                    if let Some(groups) = model.get_mut(&client_id) {
                        groups.remove(&key);
                    }
                }
                _ => {
                    let removed = index.remove_client(client_id);
                    assert_eq!(removed, model.remove(&client_id).unwrap_or_default());
                }
            }
            let expected: Vec<GroupKey> = model
                .get(&client_id)
                .into_iter()
                .flatten()
                .copied()
                .collect();
            assert_eq!(index.groups(client_id).collect::<Vec<_>>(), expected);
            assert_eq!(index.contains(client_id, key), expected.contains(&key));
        }
        for client_id in 0..300 {
            index.remove_client(client_id);
        }
        assert_eq!(index, ClientIndex::default());
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut index = ClientIndex::default();
        index.insert(1, GroupKey::new(0, 0, 0));
        let snapshot = index.clone();
        index.insert(2, GroupKey::new(0, 0, 0));
        index.remove_client(1);
        assert_eq!(snapshot.groups(1).len(), 1);
        assert_eq!(snapshot.groups(2).len(), 0);
    }
}
