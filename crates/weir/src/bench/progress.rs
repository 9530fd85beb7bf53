//! What a run shows while it runs: one line on a terminal, nothing where nobody watches.

use std::cell::Cell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::{Duration, Instant};

use compio_runtime::time::{sleep, sleep_until};
use indicatif::{ProgressBar, ProgressStyle};

use super::measure::Clock;
use super::plan::{Length, Plan};

/// Often enough for the eye; drawing takes the load's core for a moment each time.
const REDRAW_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) struct Progress {
    /// None where nobody watches.
    bar: Option<ProgressBar>,
    length: Length,
    batches: Cell<u64>,
    payload_bytes: Cell<u64>,
}

impl Progress {
    pub(crate) fn new(plan: &Plan) -> Rc<Progress> {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix} {bar:24} {percent:>3}% {msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Rc::new(Progress {
            bar,
            length: plan.length,
            batches: Cell::new(0),
            payload_bytes: Cell::new(0),
        })
    }

    /// A new round begins, in which this many batches will be measured, or as many as there are.
    pub(crate) fn begin(&self, round: String, batches: Option<u64>) {
        self.batches.set(0);
        self.payload_bytes.set(0);
        let Some(bar) = &self.bar else { return };
        bar.set_prefix(round);
        bar.set_length(match self.length {
            Length::Batches(_) => batches.unwrap_or(0),
            Length::Time(time) => milliseconds(time),
        });
        bar.set_position(0);
        self.say("preparing");
    }

    pub(crate) fn say(&self, text: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        }
    }

    /// Counts a batch that was measured.
    pub(crate) fn done(&self, payload_bytes: u64) {
        self.batches.set(self.batches.get() + 1);
        self.payload_bytes
            .set(self.payload_bytes.get() + payload_bytes);
    }

    /// Redraws until it is dropped.
    pub(crate) async fn watch(self: Rc<Self>, clock: Clock) {
        let Some(bar) = &self.bar else { return };
        self.say("warming up");
        sleep_until(clock.measured_from).await;
        loop {
            let elapsed = Instant::now().saturating_duration_since(clock.measured_from);
            let bytes = self.payload_bytes.get() as f64;
            let rate = bytes / 1e6 / elapsed.as_secs_f64().max(1e-3);
            bar.set_message(format!("{rate:.1} MB/s"));
            bar.set_position(match self.length {
                Length::Batches(_) => self.batches.get(),
                Length::Time(_) => milliseconds(elapsed),
            });
            sleep(REDRAW_INTERVAL).await;
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
