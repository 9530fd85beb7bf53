//! One round: streams are prepared, actors connect, run together and are measured.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::{Client, Options, Target, TransportKind};
use compio_runtime::time::sleep_until;
use compio_runtime::{JoinHandle, spawn};

use super::actor::{self, GROUP, Member, Producer, Reader, TOPIC};
use super::arguments::Kind;
use super::batches;
use super::measure::{Clock, Recorder};
use super::plan::{Length, Plan};
use super::process::{self, Server, Usage};

/// From the last actor connected to the first batch: enough that none starts late.
const START_DELAY: Duration = Duration::from_millis(50);

/// Payload bytes that are put before consumers in all; they read them again and again.
const FILL_BYTES_MAX: f64 = 256_000_000.0;
/// Batches for each consumer at least, whatever they weigh.
const FILL_BATCHES_MIN: u64 = 16;

/// Batches under way at once while connections are opened.
const CONNECTING_MAX: usize = 16;

/// What a round measured.
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) transport: TransportKind,
    pub(crate) driver: ws::DriverKind,
    pub(crate) result: Outcome,
    /// Of the server, while measuring.
    pub(crate) server: Option<Cost>,
    /// Of this process, while measuring.
    pub(crate) client: Option<Cost>,
}

/// What came out of it.
pub(crate) enum Outcome {
    /// Of each actor. For pairs, producers and consumers apart.
    Load {
        producers: Vec<Recorder>,
        consumers: Vec<Recorder>,
    },
    /// Of idle connections.
    Idle {
        connections: u32,
        connecting: Duration,
    },
}

/// What a process cost from one moment to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) resident_before_bytes: u64,
    pub(crate) resident_after_bytes: u64,
    pub(crate) resident_peak_bytes: u64,
}

impl Cost {
    fn between(before: Option<Usage>, after: Option<Usage>) -> Option<Cost> {
        let (before, after) = (before?, after?);
        Some(Cost {
            cpu: after.cpu.saturating_sub(before.cpu),
            resident_before_bytes: before.resident_bytes,
            resident_after_bytes: after.resident_bytes,
            resident_peak_bytes: after.resident_peak_bytes,
        })
    }
}

/// Runs one round in a runtime of its own.
pub(crate) fn run(
    plan: &Plan,
    server: &Server,
    transport: TransportKind,
    number: u32,
) -> anyhow::Result<Round> {
    let options = ws::RuntimeOptions {
        driver: plan.driver,
        ..ws::RuntimeOptions::default()
    };
    let (runtime, driver) = ws::build_runtime(&options)?;
    runtime.block_on(async {
        let stage = Stage {
            plan,
            server,
            transport,
            number,
        };
        let (result, server, client) = match plan.kind {
            Kind::IdleConnections => stage.idle().await?,
            _ => stage.load().await?,
        };
        Ok(Round {
            number,
            transport,
            driver,
            result,
            server,
            client,
        })
    })
}

struct Stage<'a> {
    plan: &'a Plan,
    server: &'a Server,
    transport: TransportKind,
    number: u32,
}

type Measured = (Outcome, Option<Cost>, Option<Cost>);
type Actors = Vec<JoinHandle<anyhow::Result<Recorder>>>;

impl Stage<'_> {
    async fn connect(&self) -> anyhow::Result<Client> {
        let address = self.server.address(self.transport)?;
        let client = Client::connect_with(&address, Options::default()).await;
        client.with_context(|| format!("cannot connect to {address}"))
    }

    async fn connect_with_token(&self, token: &str) -> anyhow::Result<Client> {
        let mut address = self.server.address(self.transport)?;
        address.credentials = None;
        let mut client = Client::connect_with(&address, Options::default()).await?;
        client.login_with_token(token).await?;
        Ok(client)
    }

    async fn load(&self) -> anyhow::Result<Measured> {
        let mut admin = self.connect().await?;
        let streams = self.create_streams(&mut admin).await?;
        let filled_batches = self.fill(&mut admin, &streams).await?;
        let mut connected = Connected::default();
        for index in 0..self.producers_count() {
            connected
                .producers
                .push(self.producer(index, &streams).await?);
        }
        for _ in 0..self.consumers_count() {
            connected.consumers.push(self.connect().await?);
        }
        let shares = self.shares(&mut connected.consumers, &streams).await?;
        let start = Instant::now() + START_DELAY;
        let clock = Clock {
            start,
            measured_from: start + self.plan.warm_up,
        };
        let before = spawn(sample(clock.measured_from, self.server.process));
        let (producers, consumers) = self.start(connected, shares, &streams, clock, filled_batches);
        let producers = join_all(producers).await?;
        let consumers = join_all(consumers).await?;
        let (server_after, client_after) = sample(Instant::now(), self.server.process).await;
        let (server_before, client_before) = before
            .await
            .map_err(|_| anyhow::anyhow!("the sampler ended early"))?;
        self.delete_streams(&mut admin, &streams).await?;
        Ok((
            Outcome::Load {
                producers,
                consumers,
            },
            Cost::between(server_before, server_after),
            Cost::between(client_before, client_after),
        ))
    }

    fn producers_count(&self) -> u32 {
        match self.plan.kind {
            Kind::PinnedConsumer | Kind::BalancedConsumerGroup => 0,
            _ => self.plan.producers,
        }
    }

    fn consumers_count(&self) -> u32 {
        match self.plan.kind {
            Kind::PinnedProducer | Kind::BalancedProducer => 0,
            _ => self.plan.consumers,
        }
    }

    fn is_balanced(&self) -> bool {
        matches!(
            self.plan.kind,
            Kind::BalancedProducer | Kind::BalancedConsumerGroup
        )
    }

    /// A stream for each pinned actor or pair, one for all balanced ones.
    async fn create_streams(&self, admin: &mut Client) -> anyhow::Result<Vec<String>> {
        let count = if self.is_balanced() {
            1
        } else {
            self.producers_count().max(self.consumers_count())
        };
        let mut streams = Vec::new();
        for index in 0..count {
            let process = std::process::id();
            let name = format!(
                "bench-{process}-{}-{:?}-{index}",
                self.number, self.transport
            );
            admin
                .create_stream(&name)
                .await
                .context("cannot create a stream")?;
            let options = [("durability", self.plan.durability.as_str())];
            let partitions = if self.is_balanced() {
                self.plan.partitions
            } else {
                1
            };
            admin
                .create_topic(name.as_str(), TOPIC, partitions, &options)
                .await
                .context("cannot create a topic")?;
            if self.plan.kind == Kind::BalancedConsumerGroup {
                admin.create_group(name.as_str(), TOPIC, GROUP).await?;
            }
            streams.push(name);
        }
        Ok(streams)
    }

    async fn delete_streams(&self, admin: &mut Client, streams: &[String]) -> anyhow::Result<()> {
        for stream in streams {
            admin
                .delete_stream(stream.as_str())
                .await
                .context("cannot delete a stream")?;
        }
        Ok(())
    }

    /// Puts batches before consumers; how many for each partition.
    async fn fill(&self, admin: &mut Client, streams: &[String]) -> anyhow::Result<u64> {
        if self.producers_count() > 0 {
            return Ok(0);
        }
        let partitions = if self.is_balanced() {
            self.plan.partitions
        } else {
            1
        };
        let places = streams.len() as u64 * u64::from(partitions);
        let fitting = FILL_BYTES_MAX / self.plan.batch_payload_bytes() / places as f64;
        let wanted = match self.plan.length {
            Length::Batches(count) => count,
            Length::Time(_) => u64::MAX,
        };
        let count = wanted.min(fitting as u64).max(FILL_BATCHES_MIN);
        let batches = batches::of_producer(self.plan, 0);
        for stream in streams {
            for partition in 0..partitions {
                let target = Target::new(stream.as_str(), TOPIC, partition);
                for batch in batches.iter().cycle().take(count as usize) {
                    let bytes = batch.bytes.clone();
                    admin
                        .send_batch(&target, batch.message_count, bytes)
                        .await?;
                }
            }
        }
        Ok(count)
    }

    async fn producer(&self, index: u32, streams: &[String]) -> anyhow::Result<Producer> {
        let targets = if self.is_balanced() {
            // Each starts at another partition, so that they do not move in step.
            let partitions = self.plan.partitions;
            (0..partitions)
                .map(|turn| Target::new(streams[0].as_str(), TOPIC, (index + turn) % partitions))
                .collect()
        } else {
            vec![Target::new(streams[index as usize].as_str(), TOPIC, 0)]
        };
        let batches = batches::of_producer(self.plan, index);
        Ok(Producer {
            client: self.connect().await?,
            targets,
            batches,
        })
    }

    /// The partitions of each member of the group, once all have joined.
    async fn shares(
        &self,
        consumers: &mut [Client],
        streams: &[String],
    ) -> anyhow::Result<Vec<Vec<u32>>> {
        if self.plan.kind != Kind::BalancedConsumerGroup {
            return Ok(Vec::new());
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

    fn start(
        &self,
        connected: Connected,
        mut shares: Vec<Vec<u32>>,
        streams: &[String],
        clock: Clock,
        filled_batches: u64,
    ) -> (Actors, Actors) {
        let kind = self.plan.kind;
        let is_stamped = kind == Kind::EndToEndLatency;
        let mut flags = Vec::new();
        let mut producers = Vec::new();
        for producer in connected.producers {
            let is_producing = Rc::new(Cell::new(true));
            flags.push(is_producing.clone());
            let plan = self.plan.clone();
            producers.push(spawn(async move {
                let result = if is_stamped {
                    producer.run_stamped(plan, clock).await
                } else {
                    producer.run(plan, clock).await
                };
                // Also after an error: the consumer must not wait for more.
                is_producing.set(false);
                result
            }));
        }
        let mut consumers = Vec::new();
        for (index, client) in connected.consumers.into_iter().enumerate() {
            let plan = self.plan.clone();
            if kind == Kind::BalancedConsumerGroup {
                let partitions = std::mem::take(&mut shares[index]);
                let member = Member {
                    client,
                    stream: streams[0].clone(),
                    partitions,
                };
                consumers.push(spawn(member.run(plan, clock, filled_batches)));
                continue;
            }
            let reader = Reader {
                client,
                stream: streams[index].clone(),
            };
            consumers.push(match flags.get(index) {
                Some(flag) => spawn(reader.follow(plan, clock, flag.clone(), is_stamped)),
                None => spawn(reader.run(plan, clock, filled_batches)),
            });
        }
        (producers, consumers)
    }

    /// Opens connections that log in and then wait.
    async fn idle(&self) -> anyhow::Result<Measured> {
        raise_open_files(self.plan.connections)?;
        // What the first connection costs once is not what each costs.
        let mut first = self.connect().await?;
        // A password is made to be slow to check; a token is not.
        let token_name = format!("bench-{}", std::process::id());
        let token = first
            .create_token(&token_name, None)
            .await
            .context("cannot create a token")?;
        let (server_before, client_before) = sample(Instant::now(), self.server.process).await;
        let begin = Instant::now();
        let mut clients = Vec::new();
        while clients.len() < self.plan.connections as usize {
            let wanted = (self.plan.connections as usize - clients.len()).min(CONNECTING_MAX);
            let connecting: Vec<_> = (0..wanted)
                .map(|_| self.connect_with_token(&token))
                .collect();
            for client in futures_util::future::join_all(connecting).await {
                clients.push(client?);
            }
        }
        let connecting = begin.elapsed();
        let (server_after, client_after) = sample(Instant::now(), self.server.process).await;
        for client in &mut clients {
            client.ping().await.context("an idle connection was lost")?;
        }
        first
            .delete_token(&token_name)
            .await
            .context("cannot delete the token")?;
        Ok((
            Outcome::Idle {
                connections: self.plan.connections,
                connecting,
            },
            Cost::between(server_before, server_after),
            Cost::between(client_before, client_after),
        ))
    }
}

/// Actors that are ready to start.
#[derive(Default)]
struct Connected {
    producers: Vec<Producer>,
    consumers: Vec<Client>,
}

async fn join_all(actors: Actors) -> anyhow::Result<Vec<Recorder>> {
    let mut recorders = Vec::new();
    for actor in actors {
        let result = actor
            .await
            .map_err(|_| anyhow::anyhow!("an actor ended early"))?;
        recorders.push(result?);
    }
    Ok(recorders)
}

/// What the server and this process have cost until `moment`.
async fn sample(moment: Instant, server: Option<u32>) -> (Option<Usage>, Option<Usage>) {
    if moment > Instant::now() {
        sleep_until(moment).await;
    }
    (
        server.and_then(process::usage),
        process::usage(std::process::id()),
    )
}

/// Makes room for so many sockets.
fn raise_open_files(connections: u32) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Files of the runtime, the terminal and the like.
    const OTHER_FILES: u64 = 64;
    let needed = u64::from(connections) + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "{connections} connections need {needed} open files; raise the limit (ulimit -n)"
    );
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}
