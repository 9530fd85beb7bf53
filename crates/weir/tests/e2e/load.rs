//! A load that keeps every part of the storage busy: producers whose batches fill segments,
//! removal of segments, topics that come and go, consumer offsets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iggy::prelude::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{STREAM, TOPIC, connect, consumer, message, stream, topic};
use crate::harness::{Server, Transport};
use crate::ledger::{PARTITIONS, SEGMENT_BYTES, SharedLedger, payload};

const PRODUCERS: u64 = 3;
/// Messages of the largest batch; with the longest payloads it stays below the ledger's bound.
const BATCH_MESSAGES_MAX: usize = 24;

/// What the load does, as a moment to do something to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A batch was acknowledged.
    Sent,
    /// A segment is about to be removed.
    Removing,
    /// A topic is about to be created or deleted.
    Changing,
}

/// A running load. It ends with the server's connections, or when it is stopped.
pub(crate) struct Load {
    tasks: Vec<JoinHandle<()>>,
    steps: watch::Receiver<[u64; 3]>,
}

/// What each task of the load has.
#[derive(Clone)]
struct Context {
    ledger: SharedLedger,
    steps: Arc<watch::Sender<[u64; 3]>>,
    /// Keys and names are made of it: unique in a test.
    numbers: Arc<AtomicU64>,
    name: String,
}

impl Context {
    fn step(&self, step: Step) {
        self.steps.send_modify(|steps| steps[step as usize] += 1);
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// Creates the topic that the load works on.
pub(crate) async fn create_topic(client: &IggyClient) {
    let options = TopicCreateOptions {
        durability: Durability::Persisted,
        ..TopicCreateOptions::default()
    };
    create_topic_with(client, options).await;
}

/// The same, acknowledged before it is synced.
pub(crate) async fn create_relaxed_topic(client: &IggyClient, sync_policy: &str) {
    let mut options = TopicCreateOptions::default();
    options.raw.insert("sync_policy".into(), sync_policy.into());
    create_topic_with(client, options).await;
}

async fn create_topic_with(client: &IggyClient, options: TopicCreateOptions) {
    client.create_stream(STREAM).await.expect("stream created");
    let options = TopicCreateOptions {
        partitions_count: Some(PARTITIONS),
        segment_size: Some(IggyByteSize::from(SEGMENT_BYTES)),
        ..options
    };
    client
        .create_topic(&stream(), TOPIC, &options)
        .await
        .expect("topic created");
}

impl Load {
    /// Starts it; `name` tells this load's keys from those of others.
    pub(crate) async fn start(
        server: &Server,
        transport: Transport,
        ledger: &SharedLedger,
        name: &str,
        random: &mut fastrand::Rng,
    ) -> Load {
        let (sender, steps) = watch::channel([0; 3]);
        let context = Context {
            ledger: ledger.clone(),
            steps: Arc::new(sender),
            numbers: Arc::default(),
            name: name.to_owned(),
        };
        let mut tasks = Vec::new();
        for producer in 0..PRODUCERS {
            let client = connect(server, transport).await;
            tasks.push(tokio::spawn(produce(
                client,
                context.clone(),
                producer,
                random.fork(),
            )));
        }
        let client = connect(server, transport).await;
        tasks.push(tokio::spawn(change_topics(client, context.clone())));
        let client = connect(server, transport).await;
        tasks.push(tokio::spawn(remove_and_store(
            client,
            context,
            random.fork(),
        )));
        Load { tasks, steps }
    }

    /// Returns as soon as `count` more steps of this kind were made.
    pub(crate) async fn wait_for(&mut self, step: Step, count: u64) {
        let goal = self.steps.borrow()[step as usize] + count;
        let reached = self.steps.wait_for(|steps| steps[step as usize] >= goal);
        reached.await.expect("the load goes on");
    }

    /// Ends it with requests in flight; the clients must not reconnect and go on.
    pub(crate) async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // Aborted, or ended by an error of its connection.
            let _ = task.await;
        }
    }
}

async fn produce(client: IggyClient, context: Context, producer: u64, mut random: fastrand::Rng) {
    loop {
        let partition = random.u32(..PARTITIONS);
        let keys: Vec<String> = (0..random.usize(1..=BATCH_MESSAGES_MAX))
            .map(|_| format!("{}-{producer}-{}", context.name, context.number()))
            .collect();
        context.ledger.lock().sent.extend(keys.iter().cloned());
        let mut messages: Vec<IggyMessage> = keys.iter().map(|key| message(payload(key))).collect();
        let partitioning = Partitioning::partition_id(partition);
        let sent = client
            .send_messages(&stream(), &topic(), &partitioning, &mut messages)
            .await;
        let Ok(response) = sent else { return };
        let base_offset = response.confirmations[0].base_offset;
        let mut ledger = context.ledger.lock();
        for (key, offset) in keys.into_iter().zip(base_offset..) {
            ledger.acknowledged.insert((partition, offset), key);
        }
        drop(ledger);
        context.step(Step::Sent);
    }
}

async fn change_topics(client: IggyClient, context: Context) {
    loop {
        let name = format!("{}-{}", context.name, context.number());
        context.ledger.lock().topics_asked.insert(name.clone());
        context.step(Step::Changing);
        let options = TopicCreateOptions::default();
        let created = client.create_topic(&stream(), &name, &options).await;
        if created.is_err() {
            return;
        }
        context.ledger.lock().topics_created.insert(name.clone());
        // Two topics stay for each one that goes, so that there is something to find.
        if !context.number().is_multiple_of(3) {
            context.ledger.lock().topics_leaving.insert(name.clone());
            context.step(Step::Changing);
            let id = Identifier::named(&name).expect("a name");
            if client.delete_topic(&stream(), &id).await.is_err() {
                return;
            }
            context.ledger.lock().topics_deleted.insert(name);
        }
    }
}

/// Removes the oldest segments when there are some, and stores an offset after each look.
async fn remove_and_store(client: IggyClient, context: Context, mut random: fastrand::Rng) {
    let (reader, stream, topic) = (consumer("reader"), stream(), topic());
    loop {
        let partition = random.u32(..PARTITIONS);
        let Ok(Some(details)) = client.get_topic(&stream, &topic).await else {
            return;
        };
        let segments = details.partitions[partition as usize].segments_count;
        if segments > 3 {
            context.ledger.lock().removals_asked[partition as usize] += 1;
            context.step(Step::Removing);
            let removed = client.delete_segments(&stream, &topic, partition, 1);
            if removed.await.is_err() {
                return;
            }
        }
        let acknowledged = {
            let ledger = context.ledger.lock();
            let offsets = ledger.acknowledged.keys();
            let own = offsets.filter(|(partition, _)| *partition == 0);
            own.map(|(_, offset)| *offset).max()
        };
        let Some(offset) = acknowledged else {
            tokio::task::yield_now().await;
            continue;
        };
        let asked = {
            let mut ledger = context.ledger.lock();
            ledger.offset_asked = ledger.offset_asked.max(Some(offset));
            offset
        };
        let stored = client.store_consumer_offset(&reader, &stream, &topic, Some(0), asked);
        if stored.await.is_err() {
            return;
        }
        context.ledger.lock().offset_stored = Some(asked);
    }
}
