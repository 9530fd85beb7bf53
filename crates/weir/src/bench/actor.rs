//! What a producer and a consumer do, one request after the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use client::{Client, Consumer, ConsumerKind, Identifier, PollRequest, PollingStrategy, Target};
use compio_runtime::time::{sleep, sleep_until};

use super::batches::Batch;
use super::measure::{Clock, Done, Pace, Recorder};
use super::plan::{Length, Plan};
use super::progress::Progress;

pub(crate) const TOPIC: &str = "bench";
pub(crate) const GROUP: &str = "bench";

/// Pause of a consumer that found nothing new. Published clients wait longer; a shorter pause
/// would put load on the server that no real consumer does.
const EMPTY_POLL_PAUSE: Duration = Duration::from_micros(500);

/// What the actors of a round have in common.
#[derive(Clone)]
pub(crate) struct Course {
    pub(crate) clock: Clock,
    pub(crate) plan: Rc<Plan>,
    pub(crate) progress: Rc<Progress>,
}

/// From when each batch of a producer is measured, in the order of sending: its consumer sees them
/// in the same order. Kept here and not in the batches, so that those are built once.
pub(crate) type Stamps = Rc<RefCell<Vec<Instant>>>;

/// A loop that goes on until its round is over.
struct Loop {
    clock: Clock,
    length: Length,
    pace: Pace,
    recorder: Recorder,
    progress: Rc<Progress>,
}

impl Loop {
    fn new(course: &Course) -> Loop {
        let clock = course.clock;
        Loop {
            clock,
            length: course.plan.length,
            pace: Pace::new(clock, course.plan.interval()),
            recorder: Recorder::new(clock),
            progress: course.progress.clone(),
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
        if self.recorder.record(from, now, done) {
            self.progress.done(done.payload_bytes);
        }
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
    /// Writes down the start of each batch in `stamps`, for a consumer to compare.
    pub(crate) async fn run(
        mut self,
        course: Course,
        stamps: Option<Stamps>,
    ) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&course);
        let mut turns = 0;
        while let Some(from) = work.turn().await {
            let batch = &self.batches[turns % self.batches.len()];
            let target = &self.targets[turns % self.targets.len()];
            if let Some(stamps) = &stamps {
                stamps.borrow_mut().push(from);
            }
            self.client
                .send_batch(target, batch.message_count, batch.bytes.clone())
                .await?;
            work.done(from, batch.done());
            turns += 1;
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
    pub(crate) async fn run(mut self, course: Course) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&course);
        let plan = &course.plan;
        let filled_batches = plan.fill_batches();
        let mut turns = 0;
        while let Some(from) = work.turn().await {
            let offset = (turns % filled_batches) * u64::from(plan.messages_per_batch);
            let request = offset_request(plan, &self.stream, 0, offset);
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

    /// Follows a producer until it has stopped and nothing is left. Latencies are those of polls
    /// that brought something, or with `stamps` those since the batch's stamp.
    pub(crate) async fn follow(
        mut self,
        course: Course,
        is_producing: Rc<Cell<bool>>,
        stamps: Option<Stamps>,
    ) -> anyhow::Result<Recorder> {
        let plan = &course.plan;
        let mut recorder = Recorder::new(course.clock);
        let mut offset = 0;
        loop {
            // Looked at before polling: what was sent before it turned false is then found.
            let may_come_more = is_producing.get();
            let mut from = Instant::now();
            let request = offset_request(plan, &self.stream, 0, offset);
            let polled = self.client.poll(&request).await?;
            let now = Instant::now();
            if polled.message_count() == 0 {
                if !may_come_more {
                    return Ok(recorder);
                }
                if stamps.is_none() {
                    sleep(EMPTY_POLL_PAUSE).await;
                }
                continue;
            }
            if let Some(stamps) = &stamps {
                // A poll asks for as many messages as a batch has, from where the last one ended.
                ensure!(
                    polled.message_count() == plan.messages_per_batch,
                    "polled {} messages at offset {offset}, not a batch of {}",
                    polled.message_count(),
                    plan.messages_per_batch
                );
                let number = offset / u64::from(plan.messages_per_batch);
                let stamp = stamps.borrow().get(number as usize).copied();
                from = stamp.context("a batch came that nobody sent")?;
            }
            offset += u64::from(polled.message_count());
            recorder.record(from, now, done_of(&polled));
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
    pub(crate) async fn run(mut self, course: Course) -> anyhow::Result<Recorder> {
        let mut work = Loop::new(&course);
        let plan = &course.plan;
        let filled_batches = plan.fill_batches();
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
                auto_commit: true,
                ..offset_request(plan, &self.stream, partition, offset)
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

/// A poll of one batch from an offset on.
pub(crate) fn offset_request<'a>(
    plan: &Plan,
    stream: &'a str,
    partition: u32,
    offset: u64,
) -> PollRequest<'a> {
    PollRequest {
        strategy: PollingStrategy::Offset(offset),
        count: plan.messages_per_batch,
        ..PollRequest::new(stream, TOPIC, partition)
    }
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
