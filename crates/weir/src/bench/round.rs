//! One round: streams are prepared, actors connect, run together and are measured.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::{Client, Options, TransportKind};
use compio_runtime::time::sleep_until;
use compio_runtime::{JoinHandle, spawn};

use super::actor::{Course, Member, Producer, Reader, Stamps};
use super::arguments::Kind;
use super::measure::{Clock, Recorder};
use super::plan::Plan;
use super::process::{self, Server, Usage};
use super::progress::Progress;

mod prepare;

/// From the last actor connected to the first batch: enough that none starts late.
const START_DELAY: Duration = Duration::from_millis(50);

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
    /// Syncs of the server's logs while measuring, where it tells them.
    pub(crate) syncs: Option<u64>,
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
    progress: &Rc<Progress>,
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
            progress,
        };
        let (result, costs) = match plan.kind {
            Kind::IdleConnections => stage.idle().await?,
            _ => stage.load().await?,
        };
        Ok(Round {
            number,
            transport,
            driver,
            result,
            server: costs.server,
            client: costs.client,
            syncs: costs.syncs,
        })
    })
}

struct Stage<'a> {
    plan: &'a Plan,
    server: &'a Server,
    transport: TransportKind,
    number: u32,
    progress: &'a Rc<Progress>,
}

/// What both sides did from one sample to another.
struct Costs {
    server: Option<Cost>,
    client: Option<Cost>,
    syncs: Option<u64>,
}

type Measured = (Outcome, Costs);
type Actors = Vec<JoinHandle<anyhow::Result<Recorder>>>;

impl Stage<'_> {
    async fn connect(&self) -> anyhow::Result<Client> {
        let address = self.server.address(self.transport)?;
        let client = Client::connect_with(&address, self.options()).await;
        client.with_context(|| format!("cannot connect to {address}"))
    }

    async fn connect_with_token(&self, token: &str) -> anyhow::Result<Client> {
        let mut address = self.server.address(self.transport)?;
        address.credentials = None;
        let mut client = Client::connect_with(&address, self.options()).await?;
        client.login_with_token(token).await?;
        Ok(client)
    }

    fn options(&self) -> Options {
        Options {
            compress: self.plan.deflate,
            ..Options::default()
        }
    }

    async fn load(&self) -> anyhow::Result<Measured> {
        let streams = self.create_streams(&mut self.connect().await?).await?;
        self.fill(&streams).await?;
        let mut connected = self.connect_actors(&streams).await?;
        let shares = self.shares(&mut connected.consumers, &streams).await?;
        let start = Instant::now() + START_DELAY;
        let clock = Clock {
            start,
            measured_from: start + self.plan.warm_up,
        };
        let before = spawn(Sample::first(clock.measured_from, self.server.observed()));
        let watching = spawn(self.progress.clone().watch(clock));
        let course = Course {
            clock,
            plan: Rc::new(self.plan.clone()),
            progress: self.progress.clone(),
        };
        let (producers, consumers) = self.start(connected, shares, &streams, &course);
        let producers = join_all(producers).await?;
        let consumers = join_all(consumers).await?;
        let after = Sample::last(&self.server.observed()).await;
        drop(watching);
        let before = before
            .await
            .map_err(|_| anyhow::anyhow!("the sampler ended early"))?;
        // Silent for a whole round, the other one may be closed by now.
        let mut admin = self.connect().await?;
        self.delete_streams(&mut admin, &streams).await?;
        let result = Outcome::Load {
            producers,
            consumers,
        };
        Ok((result, before.until(&after)))
    }

    fn start(
        &self,
        connected: Connected,
        mut shares: Vec<Vec<u32>>,
        streams: &[String],
        course: &Course,
    ) -> (Actors, Actors) {
        let kind = self.plan.kind;
        let mut followed = Vec::new();
        let mut producers = Vec::new();
        for producer in connected.producers {
            let is_producing = Rc::new(Cell::new(true));
            let stamps = (kind == Kind::EndToEndLatency).then(Stamps::default);
            followed.push((is_producing.clone(), stamps.clone()));
            let course = course.clone();
            producers.push(spawn(async move {
                let result = producer.run(course, stamps).await;
                // Also after an error: the consumer must not wait for more.
                is_producing.set(false);
                result
            }));
        }
        let mut consumers = Vec::new();
        for (index, client) in connected.consumers.into_iter().enumerate() {
            let course = course.clone();
            if kind == Kind::BalancedConsumerGroup {
                let partitions = std::mem::take(&mut shares[index]);
                let member = Member {
                    client,
                    stream: streams[0].clone(),
                    partitions,
                };
                consumers.push(spawn(member.run(course)));
                continue;
            }
            let reader = Reader {
                client,
                stream: streams[index % streams.len()].clone(),
            };
            consumers.push(match followed.get(index).cloned() {
                Some((flag, stamps)) => spawn(reader.follow(course, flag, stamps)),
                None => spawn(reader.run(course)),
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
        let before = Sample::first(Instant::now(), self.server.observed()).await;
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
        let after = Sample::last(&self.server.observed()).await;
        for client in &mut clients {
            client.ping().await.context("an idle connection was lost")?;
        }
        first
            .delete_token(&token_name)
            .await
            .context("cannot delete the token")?;
        let result = Outcome::Idle {
            connections: self.plan.connections,
            connecting,
        };
        Ok((result, before.until(&after)))
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

/// What the server and this process have cost until a moment, and how often the server synced.
struct Sample {
    server: Option<Usage>,
    client: Option<Usage>,
    syncs: Option<u64>,
}

impl Sample {
    /// Asks first and looks then: what asking costs belongs to neither side.
    async fn first(moment: Instant, observed: process::Observed) -> Sample {
        if moment > Instant::now() {
            sleep_until(moment).await;
        }
        let syncs = observed.syncs().await;
        Sample {
            syncs,
            ..Sample::without_asking(&observed)
        }
    }

    /// Looks first and asks then.
    async fn last(observed: &process::Observed) -> Sample {
        let looked = Sample::without_asking(observed);
        Sample {
            syncs: observed.syncs().await,
            ..looked
        }
    }

    fn without_asking(observed: &process::Observed) -> Sample {
        Sample {
            server: observed.process.and_then(process::usage),
            client: process::usage(std::process::id()),
            syncs: None,
        }
    }

    fn until(&self, after: &Sample) -> Costs {
        Costs {
            server: Cost::between(self.server, after.server),
            client: Cost::between(self.client, after.client),
            syncs: self
                .syncs
                .zip(after.syncs)
                .map(|(before, after)| after.saturating_sub(before)),
        }
    }
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
