//! What is recorded, and how: open loop, so that a stall counts for all whom it delayed.
//!
//! With a rate limit every batch has an intended start. An actor that is still busy with the batch
//! before when that moment comes has fallen behind, and the waiting belongs to the latency of the
//! late batch (no coordinated omission). An actor that is free and only wakes up late has not been
//! delayed by the server, so its clock starts when it does. Without a rate limit the clock starts
//! with each request.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Longest latency that is told apart; longer ones count as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Digits to which a latency is kept.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The times of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When actors start.
    pub(crate) start: Instant,
    /// When measuring starts.
    pub(crate) measured_from: Instant,
}

/// What one actor, or all of them, did in the measured time.
#[derive(Clone)]
pub(crate) struct Recorder {
    measured_from: Instant,
    /// Nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) batches: u64,
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
    last_done: Instant,
    /// One entry for each second of the measured time.
    pub(crate) seconds: Vec<Second>,
}

/// One second of the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Second {
    pub(crate) batches: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) latency_sum: Duration,
    pub(crate) latency_max: Duration,
}

/// A batch that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
}

impl Recorder {
    pub(crate) fn new(clock: Clock) -> Recorder {
        let highest = u64::try_from(LATENCY_MAX.as_nanos()).expect("600 s in nanoseconds fit u64");
        Recorder {
            measured_from: clock.measured_from,
            latencies: Histogram::new_with_bounds(1, highest, SIGNIFICANT_DIGITS)
                .expect("constant bounds and digits that the crate allows"),
            batches: 0,
            messages: 0,
            payload_bytes: 0,
            last_done: clock.measured_from,
            seconds: Vec::new(),
        }
    }

    /// Records a batch whose clock started at `from`, unless that was while warming up; whether it
    /// did.
    pub(crate) fn record(&mut self, from: Instant, until: Instant, done: Done) -> bool {
        if from < self.measured_from {
            return false;
        }
        let latency = until.saturating_duration_since(from);
        self.latencies
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.batches += 1;
        self.messages += done.messages;
        self.payload_bytes += done.payload_bytes;
        self.last_done = self.last_done.max(until);
        let index = until.duration_since(self.measured_from).as_secs() as usize;
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        let second = &mut self.seconds[index];
        second.batches += 1;
        second.payload_bytes += done.payload_bytes;
        second.latency_sum += latency;
        second.latency_max = second.latency_max.max(latency);
        true
    }

    /// From the start of measuring to the last batch.
    pub(crate) fn elapsed(&self) -> Duration {
        self.last_done.duration_since(self.measured_from)
    }

    pub(crate) fn add(&mut self, other: &Recorder) {
        self.latencies += &other.latencies;
        self.batches += other.batches;
        self.messages += other.messages;
        self.payload_bytes += other.payload_bytes;
        self.last_done = self.last_done.max(other.last_done);
        if self.seconds.len() < other.seconds.len() {
            self.seconds.resize(other.seconds.len(), Second::default());
        }
        for (second, more) in self.seconds.iter_mut().zip(&other.seconds) {
            second.batches += more.batches;
            second.payload_bytes += more.payload_bytes;
            second.latency_sum += more.latency_sum;
            second.latency_max = second.latency_max.max(more.latency_max);
        }
    }
}

/// When each batch of an actor should start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    interval: Option<Duration>,
    intended: Instant,
    free_since: Instant,
}

impl Pace {
    pub(crate) fn new(clock: Clock, interval: Option<Duration>) -> Pace {
        Pace {
            interval,
            intended: clock.start,
            free_since: clock.start,
        }
    }

    /// When to wake up for the next batch; a moment that is past means at once.
    pub(crate) fn wake_up(&self) -> Instant {
        if self.interval.is_some() {
            self.intended
        } else {
            self.free_since
        }
    }

    /// The moment from which the batch that starts `now` is measured.
    pub(crate) fn starts(&self, now: Instant) -> Instant {
        let has_fallen_behind = self.interval.is_some() && self.free_since > self.intended;
        if has_fallen_behind {
            self.intended
        } else {
            now
        }
    }

    pub(crate) fn is_done(&mut self, now: Instant) {
        self.free_since = now;
        if let Some(interval) = self.interval {
            self.intended += interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn clock() -> Clock {
        let start = Instant::now();
        Clock {
            start,
            measured_from: start + 100 * MS,
        }
    }

    #[test]
    fn stall_counts_for_every_batch_that_it_delayed() {
        let clock = clock();
        let mut pace = Pace::new(clock, Some(10 * MS));
        // The first batch takes 35 ms; three more should have started meanwhile.
        assert_eq!(pace.starts(clock.start), clock.start);
        pace.is_done(clock.start + 35 * MS);
        for (intended_ms, done_ms) in [(10, 36), (20, 37), (30, 38)] {
            let now = pace.free_since;
            assert_eq!(pace.starts(now), clock.start + intended_ms * MS);
            pace.is_done(clock.start + done_ms * MS);
        }
        // Caught up: the next one starts on time, or when the actor wakes up.
        assert_eq!(pace.wake_up(), clock.start + 40 * MS);
        let late = clock.start + 41 * MS;
        assert_eq!(pace.starts(late), late);
    }

    #[test]
    fn without_limit_each_batch_starts_when_the_actor_is_free() {
        let clock = clock();
        let mut pace = Pace::new(clock, None);
        pace.is_done(clock.start + 7 * MS);
        assert_eq!(pace.wake_up(), clock.start + 7 * MS);
        let now = clock.start + 8 * MS;
        assert_eq!(pace.starts(now), now);
    }

    #[test]
    fn warm_up_is_left_out_and_seconds_are_counted() {
        let clock = clock();
        let mut recorder = Recorder::new(clock);
        let done = Done {
            messages: 10,
            payload_bytes: 1_000,
        };
        let mut record = |from_ms: u32, until_ms: u32| {
            recorder.record(
                clock.start + from_ms * MS,
                clock.start + until_ms * MS,
                done,
            );
        };
        record(99, 101);
        record(100, 102);
        record(1_099, 1_101);
        assert_eq!(
            (recorder.batches, recorder.messages, recorder.payload_bytes),
            (2, 20, 2_000)
        );
        assert_eq!(recorder.elapsed(), 1_001 * MS);
        let batches: Vec<u64> = recorder
            .seconds
            .iter()
            .map(|second| second.batches)
            .collect();
        assert_eq!(batches, [1, 1]);
        assert_eq!(
            recorder.latencies.max(),
            recorder.latencies.value_at_quantile(1.0)
        );

        let mut total = Recorder::new(clock);
        total.add(&recorder);
        total.add(&recorder);
        assert_eq!((total.batches, total.seconds.len()), (4, 2));
        assert_eq!(total.seconds[1].latency_max, 2 * MS);
    }

    #[test]
    fn longest_latency_is_kept_at_its_limit() {
        let clock = clock();
        let mut recorder = Recorder::new(clock);
        let done = Done {
            messages: 1,
            payload_bytes: 1,
        };
        let from = clock.measured_from;
        recorder.record(from, from + LATENCY_MAX, done);
        let at_limit = recorder.latencies.max();
        recorder.record(from, from + 2 * LATENCY_MAX, done);
        assert_eq!(recorder.latencies.max(), at_limit);
        assert_eq!(recorder.batches, 2);
    }
}
