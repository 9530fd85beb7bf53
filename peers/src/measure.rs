//! One measurement: a fresh server, its connections, a warm-up, the time that counts, the rest.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::limits;
use crate::load::{Frames, Load, LoadError, Pattern};
use crate::process::ServerProcess;
use crate::scenario::{Kind, Scenario};
use crate::servers::{Family, Server};

/// How long a server is left alone before its idle memory is looked at.
const SETTLE_TIME: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) server_core: usize,
}

/// What one measurement gave.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Absent where only memory is measured.
    pub(crate) speed: Option<Speed>,
    pub(crate) started_resident_bytes: u64,
    pub(crate) idle_resident_bytes: u64,
    pub(crate) peak_resident_bytes: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Speed {
    pub(crate) messages: f64,
    pub(crate) seconds: f64,
    /// Of the server, all threads, with the kernel's part.
    pub(crate) cpu_seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MeasureError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the server: {0}")]
    Server(#[from] io::Error),
}

pub(crate) fn measure(
    scenario: &Scenario,
    server: &Server,
    timing: &Timing,
) -> Result<Sample, MeasureError> {
    let (pattern, window_count) = match scenario.kind {
        Kind::Echo { window_count } => (Pattern::Echo { window_count }, window_count),
        Kind::Idle => (Pattern::Echo { window_count: 1 }, 1),
        Kind::Broadcast => (Pattern::Broadcast, 1),
    };
    let raw = server.family == Family::Raw;
    let frames = Frames::new(scenario.payload_bytes, window_count, raw);
    let echo_bytes = frames.echo_bytes() as f64;
    let broadcast = scenario.kind == Kind::Broadcast;
    let process = ServerProcess::start(server.name, broadcast, timing.server_core)?;
    let started_resident_bytes = process.resident_bytes()?;
    let connections_count = scenario.connections_count;
    let mut load = Load::connect(process.address(), connections_count, frames, pattern)?;
    load.start()?;
    let speed = match scenario.kind {
        Kind::Idle => None,
        Kind::Echo { .. } | Kind::Broadcast => Some(run(&mut load, &process, timing, echo_bytes)?),
    };
    load.drain()?;
    load.rest(SETTLE_TIME)?;
    let sample = Sample {
        speed,
        started_resident_bytes,
        idle_resident_bytes: process.resident_bytes()?,
        peak_resident_bytes: process.peak_resident_bytes()?,
    };
    drop(process);
    load.finish();
    Ok(sample)
}

fn run(
    load: &mut Load,
    process: &ServerProcess,
    timing: &Timing,
    echo_bytes: f64,
) -> Result<Speed, MeasureError> {
    let start = Instant::now();
    let warm = start + timing.warm_up;
    load.run_until(start + limits::MEASURE_TIME_MAX, |counters, now| {
        now >= warm && counters.messages_count > 0
    })?;
    load.take_counters();
    let cpu_before = process.cpu_time()?;
    let start = Instant::now();
    let end = start + timing.measured;
    load.run_until(start + limits::MEASURE_TIME_MAX, |counters, now| {
        now >= end && counters.messages_count > 0
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_after = process.cpu_time()?;
    let counters = load.take_counters();
    if counters.messages_count == 0 {
        return Err(LoadError::Late(limits::MEASURE_TIME_MAX).into());
    }
    let microseconds = |quantile| counters.latency.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Speed {
        // Parts of large messages count too: their borders do not fall on those of the time.
        messages: counters.echoed_bytes as f64 / echo_bytes,
        seconds,
        cpu_seconds: (cpu_after - cpu_before).as_secs_f64(),
        p50_us: microseconds(0.5),
        p99_us: microseconds(0.99),
    })
}
