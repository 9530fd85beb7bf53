//! What a round needs at the server before its actors start, and what is left of it afterwards.

use anyhow::{Context, ensure};
use client::{Client, Target};
use futures_util::future::try_join_all;

use super::{Connected, Stage};
use crate::bench::actor::{self, GROUP, Producer, TOPIC, offset_request};
use crate::bench::arguments::Kind;
use crate::bench::batches;

impl Stage<'_> {
    pub(super) fn producers_count(&self) -> u32 {
        match self.plan.kind {
            Kind::PinnedConsumer | Kind::BalancedConsumerGroup => 0,
            _ => self.plan.producers,
        }
    }

    pub(super) fn consumers_count(&self) -> u32 {
        match self.plan.kind {
            Kind::PinnedProducer | Kind::BalancedProducer => 0,
            _ => self.plan.consumers,
        }
    }

    /// Creates the streams of the round, each with one topic, and returns their names.
    pub(super) async fn create_streams(&self, admin: &mut Client) -> anyhow::Result<Vec<String>> {
        let process = std::process::id();
        let names: Vec<String> = (0..self.plan.streams)
            .map(|index| {
                let (number, transport) = (self.number, self.transport);
                format!("bench-{process}-{number}-{transport:?}-{index}")
            })
            .collect();
        if self.plan.self_test {
            return Ok(names);
        }
        for name in &names {
            admin
                .create_stream(name)
                .await
                .context("cannot create a stream")?;
            let options = [("durability", self.plan.durability.as_str())];
            let partitions = self.plan.partitions_of_stream();
            let name = name.as_str();
            let topic = admin.create_topic(name, TOPIC, partitions, &options).await;
            topic.with_context(|| {
                let durability = &self.plan.durability;
                format!("cannot create a topic with durability {durability}")
            })?;
            if self.plan.kind == Kind::BalancedConsumerGroup {
                admin.create_group(name, TOPIC, GROUP).await?;
            }
        }
        Ok(names)
    }

    pub(super) async fn delete_streams(
        &self,
        admin: &mut Client,
        streams: &[String],
    ) -> anyhow::Result<()> {
        if self.plan.self_test {
            return Ok(());
        }
        for stream in streams {
            admin
                .delete_stream(stream.as_str())
                .await
                .context("cannot delete a stream")?;
        }
        Ok(())
    }

    /// Puts batches before consumers, into all streams at once. What they read again and again is
    /// read once here: their first pass would measure the disk, the others the page cache.
    pub(super) async fn fill(&self, streams: &[String]) -> anyhow::Result<()> {
        if self.producers_count() > 0 {
            return Ok(());
        }
        self.progress.say("filling");
        let batches = batches::of_producer(self.plan, 0);
        try_join_all(streams.iter().map(async |stream| {
            let mut client = self.connect().await?;
            for partition in 0..self.plan.partitions_of_stream() {
                let target = Target::new(stream.as_str(), TOPIC, partition);
                let count = self.plan.fill_batches() as usize;
                for batch in batches.iter().cycle().take(count) {
                    let bytes = batch.bytes.clone();
                    client
                        .send_batch(&target, batch.message_count, bytes)
                        .await
                        .context("cannot fill a partition for consumers")?;
                }
                if self.plan.reads_again() {
                    self.read_through(&mut client, stream, partition).await?;
                }
            }
            anyhow::Ok(())
        }))
        .await?;
        Ok(())
    }

    async fn read_through(
        &self,
        client: &mut Client,
        stream: &str,
        partition: u32,
    ) -> anyhow::Result<()> {
        for number in 0..self.plan.fill_batches() {
            let offset = number * u64::from(self.plan.messages_per_batch);
            let request = offset_request(self.plan, stream, partition, offset);
            client
                .poll(&request)
                .await
                .context("cannot read what was filled")?;
        }
        Ok(())
    }

    pub(super) async fn connect_actors(&self, streams: &[String]) -> anyhow::Result<Connected> {
        let mut connected = Connected::default();
        for index in 0..self.producers_count() {
            connected
                .producers
                .push(self.producer(index, streams).await?);
        }
        for _ in 0..self.consumers_count() {
            connected.consumers.push(self.connect().await?);
        }
        Ok(connected)
    }

    async fn producer(&self, index: u32, streams: &[String]) -> anyhow::Result<Producer> {
        let targets = if self.plan.kind.is_balanced() {
            // Each starts at another partition, so that they do not move in step.
            let partitions = self.plan.partitions;
            (0..partitions)
                .map(|turn| Target::new(streams[0].as_str(), TOPIC, (index + turn) % partitions))
                .collect()
        } else {
            let stream = &streams[index as usize % streams.len()];
            vec![Target::new(stream.as_str(), TOPIC, 0)]
        };
        let batches = batches::of_producer(self.plan, index);
        Ok(Producer {
            client: self.connect().await?,
            targets,
            batches,
        })
    }

    /// The partitions of each member of the group, once all have joined.
    pub(super) async fn shares(
        &self,
        consumers: &mut [Client],
        streams: &[String],
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        if self.plan.kind != Kind::BalancedConsumerGroup {
            return Ok(Vec::new());
        }
        if self.plan.self_test {
            let members = consumers.len() as u32;
            let share = |member| (member..self.plan.partitions).step_by(members as usize);
            return Ok((0..members).map(|member| share(member).collect()).collect());
        }
        let stream = streams[0].as_str();
        for client in consumers.iter_mut() {
            actor::join(client, stream).await?;
        }
        let mut shares = Vec::new();
        for client in consumers.iter_mut() {
            let assignment = client.sync_group(stream, TOPIC, GROUP).await?;
            shares.push(assignment.context("a member is none")?.partitions);
        }
        ensure!(
            shares.iter().map(Vec::len).sum::<usize>() == self.plan.partitions as usize,
            "the group's partitions are not all dealt"
        );
        Ok(shares)
    }
}
