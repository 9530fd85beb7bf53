//! Random histories against a naive model: plain lists, searched from front to back.

use wire::Status;

use super::super::{Catalog, Change, Identifier, RequestedTopicOptions};
use super::World;

#[derive(Default)]
struct Model {
    streams: Vec<ModelStream>,
    next_stream_id: u32,
}

struct ModelStream {
    id: u32,
    name: String,
    topics: Vec<ModelTopic>,
    next_topic_id: u32,
}

struct ModelTopic {
    id: u32,
    name: String,
    partitions_count: u32,
    groups: Vec<(u32, String)>,
    next_group_id: u32,
}

type Outcome = Result<(), Status>;

impl Model {
    fn stream(&mut self, name: &str) -> Result<&mut ModelStream, Status> {
        let found = self.streams.iter_mut().find(|stream| stream.name == name);
        found.ok_or(Status::STREAM_ID_NOT_FOUND)
    }

    fn topic(&mut self, stream: &str, name: &str) -> Result<&mut ModelTopic, Status> {
        let stream = self.stream(stream)?;
        let found = stream.topics.iter_mut().find(|topic| topic.name == name);
        found.ok_or(Status::TOPIC_ID_NOT_FOUND)
    }

    fn create_stream(&mut self, name: &str) -> Outcome {
        if self.stream(name).is_ok() {
            return Err(Status::STREAM_NAME_ALREADY_EXISTS);
        }
        let id = self.next_stream_id;
        self.next_stream_id += 1;
        let name = name.to_owned();
        self.streams.push(ModelStream {
            id,
            name,
            topics: Vec::new(),
            next_topic_id: 0,
        });
        Ok(())
    }

    fn rename_stream(&mut self, name: &str, new: &str) -> Outcome {
        self.stream(name)?;
        if name != new && self.stream(new).is_ok() {
            return Err(Status::STREAM_NAME_ALREADY_EXISTS);
        }
        self.stream(name)?.name = new.to_owned();
        Ok(())
    }

    fn delete_stream(&mut self, name: &str) -> Outcome {
        self.stream(name)?;
        self.streams.retain(|stream| stream.name != name);
        Ok(())
    }

    fn create_topic(&mut self, stream: &str, name: &str, partitions_count: u32) -> Outcome {
        let exists = self.topic(stream, name).is_ok();
        let stream = self.stream(stream)?;
        if exists {
            return Err(Status::TOPIC_NAME_ALREADY_EXISTS);
        }
        let id = stream.next_topic_id;
        stream.next_topic_id += 1;
        let name = name.to_owned();
        let groups = Vec::new();
        stream.topics.push(ModelTopic {
            id,
            name,
            partitions_count,
            groups,
            next_group_id: 0,
        });
        Ok(())
    }

    fn delete_topic(&mut self, stream: &str, name: &str) -> Outcome {
        self.topic(stream, name)?;
        self.stream(stream)?
            .topics
            .retain(|topic| topic.name != name);
        Ok(())
    }

    fn resize_topic(&mut self, stream: &str, name: &str, by: i64) -> Outcome {
        let topic = self.topic(stream, name)?;
        let count = i64::from(topic.partitions_count) + by;
        topic.partitions_count =
            u32::try_from(count).map_err(|_| Status::INVALID_PARTITIONS_COUNT)?;
        Ok(())
    }

    fn create_group(&mut self, stream: &str, topic: &str, name: &str) -> Outcome {
        let topic = self.topic(stream, topic)?;
        if topic.groups.iter().any(|(_, existing)| existing == name) {
            return Err(Status::CONSUMER_GROUP_NAME_ALREADY_EXISTS);
        }
        topic.groups.push((topic.next_group_id, name.to_owned()));
        topic.next_group_id += 1;
        Ok(())
    }

    fn delete_group(&mut self, stream: &str, topic: &str, name: &str) -> Outcome {
        let topic = self.topic(stream, topic)?;
        let before = topic.groups.len();
        topic.groups.retain(|(_, existing)| existing != name);
        if topic.groups.len() == before {
            Err(Status::CONSUMER_GROUP_ID_NOT_FOUND)
        } else {
            Ok(())
        }
    }

    fn check(&self, catalog: &Catalog, seed: u64) {
        assert_eq!(catalog.streams().len(), self.streams.len(), "seed {seed}");
        let mut partitions_count = 0;
        for stream in &self.streams {
            let found = catalog
                .stream(Identifier::Name(&stream.name))
                .expect("by name");
            assert_eq!(found.id, stream.id, "seed {seed}");
            assert_eq!(catalog.stream(Identifier::Number(stream.id)), Some(found));
            assert_eq!(found.topics().len(), stream.topics.len(), "seed {seed}");
            for topic in &stream.topics {
                let found = found.topic(Identifier::Name(&topic.name)).expect("by name");
                assert_eq!(found.id, topic.id, "seed {seed}");
                assert_eq!(
                    found.partitions_count(),
                    topic.partitions_count,
                    "seed {seed}"
                );
                partitions_count += topic.partitions_count as usize;
                let groups: Vec<_> = found
                    .groups()
                    .map(|group| (group.id, group.name.to_string()))
                    .collect();
                assert_eq!(groups, topic.groups, "seed {seed}");
            }
        }
        assert_eq!(catalog.partitions_count(), partitions_count, "seed {seed}");
        assert_eq!(
            catalog.partitions().count(),
            partitions_count,
            "seed {seed}"
        );
    }
}

fn step(world: &mut World, model: &mut Model, random: &mut fastrand::Rng) {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let stream = NAMES[random.usize(0..4)];
    let topic = NAMES[random.usize(0..4)];
    let name = NAMES[random.usize(0..4)];
    let (s, t) = (Identifier::Name(stream), Identifier::Name(topic));
    let count = random.u32(1..5);
    let options = RequestedTopicOptions::default();
    let (expected, actual) = match random.u32(0..10) {
        0 | 1 => (
            model.create_stream(stream),
            world.run(|d| d.create_stream(stream)),
        ),
        2 => (
            model.rename_stream(stream, name),
            world.run(|d| d.update_stream(s, name)),
        ),
        3 => (
            model.delete_stream(stream),
            world.run(|d| d.delete_stream(s)),
        ),
        4 | 5 => (
            model.create_topic(stream, topic, count),
            world.run(|d| d.create_topic(s, topic, count, &options)),
        ),
        6 => (
            model.delete_topic(stream, topic),
            world.run(|d| d.delete_topic(s, t)),
        ),
        7 if random.bool() => (
            model.resize_topic(stream, topic, i64::from(count)),
            world.run(|d| d.create_partitions(s, t, count)),
        ),
        7 => (
            model.resize_topic(stream, topic, -i64::from(count)),
            world.run(|d| d.delete_partitions(s, t, count)),
        ),
        8 => (
            model.create_group(stream, topic, name),
            world.run(|d| d.create_group(s, t, name)),
        ),
        _ => (
            model.delete_group(stream, topic, name),
            world.run(|d| d.delete_group(s, t, Identifier::Name(name))),
        ),
    };
    assert_eq!(actual.map(|_| ()), expected);
}

#[test]
fn random_histories_agree_with_the_model_and_survive_compaction() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut world, mut model) = (World::new(), Model::default());
        for _ in 0..120 {
            step(&mut world, &mut model, &mut random);
            model.check(&world.catalog, seed);
        }
        let rebuild = |changes: &[Change]| {
            let mut catalog = Catalog::default();
            for change in changes {
                catalog.apply(change).expect("fits");
            }
            catalog
        };
        assert_eq!(rebuild(&world.changes), world.catalog, "seed {seed}");
        assert_eq!(
            rebuild(&world.catalog.to_changes()),
            world.catalog,
            "seed {seed}"
        );
    }
}
