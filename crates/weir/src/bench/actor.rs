//! What a producer and a consumer do, one request after the other.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::{Client, Consumer, ConsumerKind, Identifier, PollRequest, PollingStrategy, Target};
use compio_runtime::time::{sleep, sleep_until};

use super::batches::{self, Batch};
use super::measure::{Clock, Done, Pace, Recorder};
use super::plan::{Length, Plan};

pub(crate) const TOPIC: &str = "bench";
pub(crate) const GROUP: &str = "bench";

/// Pause of a consumer that found nothing new. Published clients wait longer; a shorter pause
/// would put load on the server that no real consumer does.
const EMPTY_POLL_PAUSE: Duration = Duration::from_micros(500);

/// A loop that goes on until its round is over.
struct Loop {
    clock: Clock,
    length: Length,
    pace: Pace,
    recorder: Recorder,
}

impl Loop {
    fn new(plan: &Plan, clock: Clock) -> Loop {
        Loop {
            clock,
            length: plan.length,
            pace: Pace::new(clock, plan.interval()),
            recorder: Recorder::new(clock),
        }
    }

    /// Waits for the next batch's turn and says from when it is measured; `None` is the end.
    async fn turn(&self) -> Option<Instant> {
        let wake_up = self.pace.wake_up();
        if wake_up > Instant::now() {
            sleep_until(wake_up).await;
        }
        let from = self.pace.starts(Instant::now());
        let is_over = match self.length {
            Length::Batches(count) => self.recorder.batches >= count,
            Length::Time(time) => from >= self.clock.measured_from + time,
        };
        (!is_over).then_some(from)
    }

    fn done(&mut self, from: Instant, done: Done) {
        let now = Instant::now();
        self.recorder.record(from, now, done);
        self.pace.is_done(now);
    }
}

/// Sends its batches to its targets in turn.
pub(crate) struct Producer {
    pub(crate) client: Client,
    pub(crate) targets: Vec<Target>,
    pub(crate) batches: Vec<Batch>,
}

impl Producer {
    pub(crate) async fn run(mut self, plan: Plan, clock: Clock) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&plan, clock);
        let mut turns = 0;
        while let Some(from) = work.turn().await {
            let batch = &self.batches[turns % self.batches.len()];
            let target = &self.targets[turns % self.targets.len()];
            self.client
                .send_batch(target, batch.message_count, batch.bytes.clone())
                .await?;
            let messages = u64::from(batch.message_count);
            work.done(
                from,
                Done {
                    messages,
                    payload_bytes: batch.payload_bytes,
                },
            );
            turns += 1;
        }
        Ok(work.recorder)
    }

    /// [`Producer::run`] with the moment of sending in each batch, for a consumer to compare.
    pub(crate) async fn run_stamped(
        mut self,
        plan: Plan,
        clock: Clock,
    ) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&plan, clock);
        let payload = vec![7; *plan.message_bytes.end() as usize];
        let sizes = vec![payload.len(); plan.messages_per_batch as usize];
        while let Some(from) = work.turn().await {
            // What the intended start was, for an actor that has fallen behind.
            let stamp = microseconds_since(clock.start, from);
            let batch = batches::build(&payload, &sizes, stamp);
            self.client
                .send_batch(&self.targets[0], batch.message_count, batch.bytes)
                .await?;
            let messages = u64::from(batch.message_count);
            work.done(
                from,
                Done {
                    messages,
                    payload_bytes: batch.payload_bytes,
                },
            );
        }
        Ok(work.recorder)
    }
}

/// Polls one stream.
pub(crate) struct Reader {
    pub(crate) client: Client,
    pub(crate) stream: String,
}

impl Reader {
    /// Polls what is there, from the beginning again after its end.
    pub(crate) async fn run(
        mut self,
        plan: Plan,
        clock: Clock,
        filled_batches: u64,
    ) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&plan, clock);
        let mut turns = 0;
        while let Some(from) = work.turn().await {
            let offset = (turns % filled_batches) * u64::from(plan.messages_per_batch);
            let stream = self.stream.clone();
            let request = Reader::offset_request(&plan, &stream, offset);
            let polled = self.client.poll(&request).await?;
            ensure!(
                polled.message_count() == plan.messages_per_batch,
                "polled {} messages at offset {offset}, not {}",
                polled.message_count(),
                plan.messages_per_batch
            );
            work.done(from, done_of(&polled));
            turns += 1;
        }
        Ok(work.recorder)
    }

    fn offset_request<'a>(plan: &Plan, stream: &'a str, offset: u64) -> PollRequest<'a> {
        PollRequest {
            strategy: PollingStrategy::Offset(offset),
            count: plan.messages_per_batch,
            ..PollRequest::new(stream, TOPIC, 0)
        }
    }

    /// Follows a producer until it has stopped and nothing is left. Latencies are those of polls
    /// that brought something, or with `stamps` those since the batch's stamp.
    pub(crate) async fn follow(
        mut self,
        plan: Plan,
        clock: Clock,
        is_producing: Rc<Cell<bool>>,
        stamps: bool,
    ) -> anyhow::Result<Recorder> {
        let mut recorder = Recorder::new(clock);
        let mut offset = 0;
        let stream = self.stream.clone();
        loop {
            // Looked at before polling: what was sent before it turned false is then found.
            let may_come_more = is_producing.get();
            let from = Instant::now();
            let polled = self
                .client
                .poll(&Reader::offset_request(&plan, &stream, offset))
                .await?;
            let now = Instant::now();
            if polled.message_count() == 0 {
                if !may_come_more {
                    return Ok(recorder);
                }
                if !stamps {
                    sleep(EMPTY_POLL_PAUSE).await;
                }
                continue;
            }
            offset += u64::from(polled.message_count());
            if !stamps {
                recorder.record(from, now, done_of(&polled));
                continue;
            }
            for batch in polled.batches() {
                let sent = Duration::from_micros(batch.header().origin_timestamp);
                let payload_bytes = batch
                    .frames()
                    .map(|frame| frame.payload().len() as u64)
                    .sum();
                let messages = u64::from(batch.message_count());
                recorder.record(
                    clock.start + sent,
                    now,
                    Done {
                        messages,
                        payload_bytes,
                    },
                );
            }
        }
    }
}

/// Polls its share of a group's partitions in turn, storing the offset with each poll.
pub(crate) struct Member {
    pub(crate) client: Client,
    pub(crate) stream: String,
    pub(crate) partitions: Vec<u32>,
}

impl Member {
    pub(crate) async fn run(
        mut self,
        plan: Plan,
        clock: Clock,
        filled_batches: u64,
    ) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&plan, clock);
        let mut turns = 0;
        ensure!(
            !self.partitions.is_empty(),
            "more consumers than partitions: one has none"
        );
        while let Some(from) = work.turn().await {
            let count = self.partitions.len() as u64;
            let offset = (turns / count % filled_batches) * u64::from(plan.messages_per_batch);
            let partition = self.partitions[(turns % count) as usize];
            let request = PollRequest {
                consumer: Consumer {
                    kind: ConsumerKind::Group,
                    id: Identifier::Name(GROUP),
                },
                strategy: PollingStrategy::Offset(offset),
                count: plan.messages_per_batch,
                auto_commit: true,
                ..PollRequest::new(self.stream.as_str(), TOPIC, partition)
            };
            let polled = self.client.poll(&request).await?;
            ensure!(
                polled.message_count() > 0,
                "nothing at offset {offset} of {partition}"
            );
            work.done(from, done_of(&polled));
            turns += 1;
        }
        Ok(work.recorder)
    }
}

/// Joins the group of a stream's topic.
pub(crate) async fn join(client: &mut Client, stream: &str) -> anyhow::Result<()> {
    client
        .join_group(stream, TOPIC, GROUP)
        .await
        .context("cannot join the group")
}

fn done_of(polled: &client::Polled) -> Done {
    let messages = u64::from(polled.message_count());
    let heads = wire::batch::FRAME_HEADER_BYTES as u64 * messages;
    let batch_heads = polled.batches().count() * wire::batch::BATCH_HEADER_BYTES;
    // Without user headers a record is heads and payloads.
    Done {
        messages,
        payload_bytes: (polled.records_bytes() - batch_heads) as u64 - heads,
    }
}

fn microseconds_since(start: Instant, moment: Instant) -> u64 {
    u64::try_from(moment.saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX)
}
