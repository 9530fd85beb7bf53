//! Tests of the pure handlers: requests and replies through the published codec.

mod options;
mod plans;
mod reads;

use bytes::Bytes;
use wire::Status;
use wire::iggy::command::Command;
use wire::iggy::published::requests::consumer_groups::CreateConsumerGroupRequest;
use wire::iggy::published::requests::streams::CreateStreamRequest;
use wire::iggy::published::requests::topics::CreateTopicRequest;
use wire::iggy::published::{WireDecode, WireIdentifier, WireName, WireOptions};

use super::plan::{Plan, plan};
use super::reply::changed;
use crate::catalog::{Catalog, CatalogLimits, Change, Decider, GroupCoordinator, ROOT_USER_ID};

/// What shard 0 has, driven by commands as they come out of the codec.
struct World {
    catalog: Catalog,
    groups: GroupCoordinator,
    limits: CatalogLimits,
    now_us: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            catalog: Catalog::default(),
            groups: GroupCoordinator::new(0),
            limits: CatalogLimits::default(),
            now_us: 100,
        };
        let root = world
            .catalog
            .decide_root_user("root", "hash".into(), world.now_us);
        world
            .catalog
            .apply(&root.expect("an empty catalog"))
            .expect("fits");
        world
    }

    fn decider(&self, user_id: u32) -> Decider<'_> {
        self.catalog.decide(&self.limits, user_id, self.now_us)
    }

    /// Runs a command as root to the body of its reply.
    fn run(&mut self, command: Command<'_>) -> Result<Bytes, Status> {
        self.now_us += 1;
        let Some(Plan::Change(decide)) = plan(command)? else {
            panic!("not a plain change");
        };
        let change = decide(&self.decider(ROOT_USER_ID))?;
        Ok(self.apply(&change))
    }

    fn apply(&mut self, change: &Change) -> Bytes {
        let effects = self.catalog.apply(change).expect("decided");
        self.groups.follow(&effects, &self.catalog);
        changed(change, &self.catalog)
    }

    fn with_topic(partitions_count: u32) -> Self {
        let mut world = Self::new();
        world.run(create_stream("s")).expect("create");
        world
            .run(create_topic("s", "t", partitions_count))
            .expect("create");
        world
    }
}

fn name(text: &str) -> WireName {
    WireName::new(text).expect("a short name")
}

fn named(text: &str) -> WireIdentifier {
    WireIdentifier::named(text).expect("a short name")
}

fn create_stream(text: &str) -> Command<'static> {
    Command::CreateStream(CreateStreamRequest {
        name: name(text),
        options: WireOptions::empty(),
    })
}

fn create_topic(stream: &str, text: &str, partitions_count: u32) -> Command<'static> {
    Command::CreateTopic(CreateTopicRequest {
        stream_id: named(stream),
        partitions_count,
        name: name(text),
        options: WireOptions::empty(),
    })
}

fn create_group(stream: &str, topic: &str, text: &str) -> Command<'static> {
    Command::CreateConsumerGroup(CreateConsumerGroupRequest {
        stream_id: named(stream),
        topic_id: named(topic),
        name: name(text),
    })
}

/// Decodes a whole body: published clients ignore what is left over, this test does not.
fn decoded<T: WireDecode>(body: &[u8]) -> T {
    let (value, consumed) = T::decode(body).expect("the published codec reads it");
    assert_eq!(consumed, body.len(), "nothing is left over");
    value
}
