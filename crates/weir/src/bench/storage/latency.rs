//! One producer that waits for each acknowledgement, beside the bare disk with writes of the same
//! size, both in both designs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use storage::disk::Disk;
use storage::{NearEnd, PartitionLog};

use super::floor::{Floor, Way};
use super::report::Section;
use super::samples::Samples;
use super::{Design, Stage, batch};
use crate::bench::process;

/// Not measured, at the start of each round.
const WARM_UP: usize = 8;

/// Segments of the topic with a size limit, the active one included.
const SEGMENTS_KEPT: usize = 3;

/// Batches that are sent at once to fill it before it is measured.
const WARM_BATCHES: usize = 64;

/// A size of batches, and how many of them a round has.
struct Size {
    title: &'static str,
    name: &'static str,
    messages: usize,
    payload_bytes: usize,
    samples: usize,
    /// Over the floor, at the median and at the 99th of 100.
    goal: f64,
}

const SIZES: [Size; 2] = [
    Size {
        title: "1 message of 3,700 B",
        name: "small",
        messages: 1,
        payload_bytes: 3_700,
        samples: 400,
        goal: 2.0,
    },
    Size {
        title: "1,000 messages of 1,000 B",
        name: "large",
        messages: 1_000,
        payload_bytes: 1_000,
        samples: 60,
        goal: 1.5,
    },
];

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Section>> {
    let mut sections = Vec::new();
    for size in &SIZES {
        sections.push(measure_size(stage, size).await?);
    }
    Ok(sections)
}

/// What is measured of one size.
struct Measured {
    /// By [`Way`].
    floors: [Samples; 3],
    /// By [`Design`], then the first one once more with a size limit.
    appends: [Samples; 3],
    /// Of the appends in the first design, and of those with a size limit, those that began a
    /// segment.
    rolls: [Vec<Duration>; 3],
    /// Of all appends together, in the first design.
    cpu: Duration,
}

const WAYS: [Way; 3] = [Way::OverZeros, Way::IntoReserved, Way::Append];

async fn measure_size(stage: &Stage, size: &Size) -> anyhow::Result<Section> {
    let batch = batch(size.messages, size.payload_bytes);
    let mut logs = Vec::new();
    for design in Design::ALL {
        let name = format!("{}-{design:?}", size.name);
        logs.push((stage.log(&name, design.options()).await?, name));
    }
    let name = format!("{}-recycled", size.name);
    logs.push((warm_log(stage, &name, &batch).await?, name));
    let mut measured = Measured {
        floors: Default::default(),
        appends: Default::default(),
        rolls: Default::default(),
        cpu: Duration::ZERO,
    };
    for round in 0..stage.rounds {
        for subject in stage.order(round, WAYS.len() + logs.len()) {
            match subject.checked_sub(WAYS.len()) {
                None => write(stage, WAYS[subject], &batch, size, &mut measured)?,
                Some(number) => {
                    append(&logs[number].0, &batch, size, number, &mut measured).await?;
                }
            }
        }
    }
    for (log, name) in logs {
        log.close().await?;
        stage.remove(&name).await?;
    }
    Ok(section(size, &measured))
}

/// A log that removes its oldest segment whenever it will soon begin one, as retention by size
/// does, filled until the files of removed segments are those of new ones.
async fn warm_log(stage: &Stage, name: &str, batch: &BytesMut) -> anyhow::Result<PartitionLog> {
    let options = Design::Direct.options();
    let kept: Rc<RefCell<Option<PartitionLog>>> = Rc::default();
    let told = Rc::clone(&kept);
    let disk = stage.disk.clone();
    let near_end = NearEnd::new(move || {
        let Some(log) = told.borrow().clone() else {
            return;
        };
        disk.spawn(async move {
            if log.segments_count() > SEGMENTS_KEPT {
                let offset = log.offset_after_segments(log.segments_count() - SEGMENTS_KEPT);
                // A failure fences the log, and the next append says so.
                let _ = log.remove_segments_before(offset).await;
            }
        });
    });
    let log = stage.log_with(name, options, near_end).await?;
    *kept.borrow_mut() = Some(log.clone());
    let mut written = 0;
    // The files of the segments that are kept were written before, and the next one too.
    while written < (2 * SEGMENTS_KEPT as u64 + 1) * options.segment_bytes_max {
        let mut waiting = Vec::new();
        while waiting.len() < WARM_BATCHES {
            written += batch.len() as u64;
            waiting.push(log.append(batch.clone(), 0));
        }
        for appended in waiting {
            appended.await?;
        }
    }
    Ok(log)
}

fn write(
    stage: &Stage,
    way: Way,
    batch: &BytesMut,
    size: &Size,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let path = stage.directory.join("floor");
    let mut floor = Floor::new(&path, way, batch.len(), size.samples + WARM_UP)?;
    let samples = &mut measured.floors[way as usize];
    samples.begin_round();
    for number in 0..size.samples + WARM_UP {
        let took = floor.write()?;
        if number >= WARM_UP {
            samples.add(took);
        }
    }
    Ok(())
}

async fn append(
    log: &PartitionLog,
    batch: &BytesMut,
    size: &Size,
    number: usize,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    measured.appends[number].begin_round();
    let usage = || process::usage(std::process::id()).map_or(Duration::ZERO, |usage| usage.cpu);
    let cpu = usage();
    for count in 0..size.samples + WARM_UP {
        // The copy is not part of it: a producer's batch comes from the network.
        let batch = batch.clone();
        let segments = log.segments_count();
        let begun = Instant::now();
        log.append(batch, 0).await?;
        let took = begun.elapsed();
        if segments > 0 && log.segments_count() > segments {
            measured.rolls[number].push(took);
        }
        if count >= WARM_UP {
            measured.appends[number].add(took);
        }
    }
    if number == 0 {
        measured.cpu += usage() - cpu;
    }
    Ok(())
}

fn section(size: &Size, measured: &Measured) -> Section {
    let mut section = Section {
        title: size.title,
        names: &[
            "p50 us",
            "p99 us",
            "p50 over floor",
            "p99 over floor",
            "spread",
        ],
        rows: Vec::new(),
        notes: Vec::new(),
    };
    let [p50, p99] = [0.5, 0.99];
    let mut row = |name: String, samples: &Samples, floor: Option<&Samples>| {
        let over = |quantile| Some(samples.quantile_us(quantile) / floor?.quantile_us(quantile));
        section.row(
            name,
            &[
                Some(samples.quantile_us(p50)),
                Some(samples.quantile_us(p99)),
                over(p50),
                over(p99),
                Some(samples.spread()),
            ],
        );
    };
    let [zeros, reserved, append] = &measured.floors;
    let [direct, usual] = Design::ALL.map(Design::name);
    row("disk: direct, over zeros".to_owned(), zeros, None);
    row(
        "disk: direct, into reserved space".to_owned(),
        reserved,
        Some(zeros),
    );
    row(format!("log:  {direct}"), &measured.appends[0], Some(zeros));
    row(
        "log:  direct, over recycled files".to_owned(),
        &measured.appends[2],
        Some(zeros),
    );
    row(format!("disk: {usual}"), append, None);
    row(format!("log:  {usual}"), &measured.appends[1], Some(append));
    let gain = |quantile| {
        measured.appends[1].quantile_us(quantile) / measured.appends[0].quantile_us(quantile)
    };
    section.notes.push(format!(
        "the usual design over direct: {:.2} at p50, {:.2} at p99; goal over the floor: {}",
        gain(p50),
        gain(p99),
        size.goal
    ));
    let batches = measured.appends[0].count() + WARM_UP * measured.appends[0].rounds();
    section.notes.push(format!(
        "the log, direct: {:.0} us of CPU time a batch, the batch's copy included{}",
        measured.cpu.as_secs_f64() * 1e6 / batches as f64,
        rolls(&measured.rolls[0])
    ));
    section.notes.push(format!(
        "a topic with a size limit, {SEGMENTS_KEPT} segments kept{}",
        rolls(&measured.rolls[2])
    ));
    section
}

/// What the appends took that began a segment.
fn rolls(took: &[Duration]) -> String {
    let mut took = took.to_vec();
    took.sort_unstable();
    let (Some(median), Some(slowest)) = (took.get(took.len() / 2), took.last()) else {
        return String::new();
    };
    format!(
        "; {} that began a segment took {} us, at most {} us",
        took.len(),
        median.as_micros(),
        slowest.as_micros()
    )
}
