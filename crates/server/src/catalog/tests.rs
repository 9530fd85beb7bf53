//! Tests of the control plane: decisions, application, journal, memberships, permissions.

mod access;
mod coordinator;
mod decide;
mod journal;
mod model;
mod options;
mod users;

use wire::Status;

use super::{
    Catalog, CatalogLimits, Change, Decider, Effects, PartitionKey, ROOT_USER_ID,
    RequestedTopicOptions,
};

/// A catalog with a root user, the changes that made it, and a clock that ticks per decision.
struct World {
    catalog: Catalog,
    limits: CatalogLimits,
    changes: Vec<Change>,
    now_us: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            limits: CatalogLimits::default(),
            changes: Vec::new(),
            now_us: 1_000,
        };
        let root = world
            .catalog
            .decide_root_user("root", "hash".into(), world.now_us);
        world.apply(root.expect("an empty catalog has no root user"));
        world
    }

    /// Decides as root and applies.
    fn run(
        &mut self,
        decide: impl FnOnce(&Decider<'_>) -> Result<Change, Status>,
    ) -> Result<Effects, Status> {
        self.run_as(ROOT_USER_ID, decide)
    }

    fn run_as(
        &mut self,
        user_id: u32,
        decide: impl FnOnce(&Decider<'_>) -> Result<Change, Status>,
    ) -> Result<Effects, Status> {
        self.now_us += 1;
        let change = decide(&self.catalog.decide(&self.limits, user_id, self.now_us))?;
        Ok(self.apply(change))
    }

    fn apply(&mut self, change: Change) -> Effects {
        let before = self.catalog.clone();
        let effects = self.catalog.apply(&change).expect("a decided change fits");
        // Applying never reaches into a snapshot that was handed out before.
        let mut again = before.clone();
        assert_eq!(again.apply(&change).as_ref(), Ok(&effects));
        assert_eq!(again, self.catalog);
        self.changes.push(change);
        effects
    }

    fn decider(&self) -> Decider<'_> {
        self.catalog.decide(&self.limits, ROOT_USER_ID, self.now_us)
    }

    fn create_stream(&mut self, name: &str) -> u32 {
        self.run(|decider| decider.create_stream(name))
            .expect("create stream");
        self.catalog.stream(name.into()).expect("created").id
    }

    fn create_topic(&mut self, stream: &str, name: &str, partitions_count: u32) -> u32 {
        let options = RequestedTopicOptions::default();
        let decide = |decider: &Decider<'_>| {
            decider.create_topic(stream.into(), name, partitions_count, &options)
        };
        self.run(decide).expect("create topic");
        self.catalog
            .topic(stream.into(), name.into())
            .expect("created")
            .1
            .id
    }

    fn create_group(&mut self, stream: &str, topic: &str, name: &str) -> u32 {
        self.run(|decider| decider.create_group(stream.into(), topic.into(), name))
            .expect("create group");
        self.catalog
            .group(stream.into(), topic.into(), name.into())
            .expect("created")
            .1
            .id
    }
}

fn keys(stream_id: u32, topic_id: u32, ids: std::ops::Range<u32>) -> Vec<PartitionKey> {
    ids.map(|id| PartitionKey::new(stream_id, topic_id, id))
        .collect()
}
