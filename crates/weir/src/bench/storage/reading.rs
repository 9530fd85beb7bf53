//! Reading a log from its beginning, beside a plain read of the same files, with the page cache
//! dropped before each, and with everything in it; and reading the tail.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use storage::PartitionLog;

use super::report::Section;
use super::samples::{median, spread};
use super::{Design, Stage, batch};
use crate::bench::process;

const MEGABYTE: f64 = 1e6;
const MESSAGES: usize = 1_000;
const PAYLOAD_BYTES: usize = 1_000;
/// Appends under way while the log is filled: the disk is to be busy, nothing more.
const FILLING: usize = 4;
/// Bytes of a plain read, and of a read of the log: what a consumer with large polls asks for.
const READ_BYTES: usize = 4 << 20;
/// Bytes that are read of the tail in a round, again and again the same.
const TAIL_BYTES: u64 = 2_000_000_000;

/// Subjects in their order; the first four read everything.
const SUBJECTS: [&str; 5] = [
    "files: plain read, cache dropped",
    "log:   behind the tail, cache dropped",
    "files: plain read, in the page cache",
    "log:   behind the tail, in the page cache",
    "log:   the tail, in its own memory",
];

/// MB/s, and CPU seconds for a GB.
type Round = (f64, f64);

pub(super) async fn measure(stage: &Stage, megabytes: u64) -> anyhow::Result<Vec<Section>> {
    let log = stage.log("reading", Design::Direct.options()).await?;
    let begun = Instant::now();
    fill(&log, megabytes * 1_000_000).await?;
    let filled = log.size_bytes() as f64 / MEGABYTE / begun.elapsed().as_secs_f64();
    let directory = stage.directory.join("reading");
    let mut rounds: [Vec<Round>; 5] = Default::default();
    for round in 0..stage.rounds.min(3) {
        for subject in stage.order(round, SUBJECTS.len()) {
            rounds[subject].push(read(&log, &directory, subject).await?);
        }
    }
    log.close().await?;
    stage.remove("reading").await?;
    Ok(vec![section(&rounds, megabytes, filled)])
}

async fn fill(log: &PartitionLog, bytes: u64) -> anyhow::Result<()> {
    let batch = batch(MESSAGES, PAYLOAD_BYTES);
    let mut running = VecDeque::new();
    while log.size_bytes() < bytes {
        if running.len() == FILLING
            && let Some(oldest) = running.pop_front()
        {
            let oldest: std::pin::Pin<Box<dyn Future<Output = _>>> = oldest;
            oldest.await?;
        }
        running.push_back(Box::pin(log.append(batch.clone(), 0)));
    }
    for append in running {
        append.await?;
    }
    Ok(())
}

async fn read(log: &PartitionLog, directory: &Path, subject: usize) -> anyhow::Result<Round> {
    let files = segments(directory)?;
    match subject {
        0 | 1 => drop_cache(&files)?,
        // Brought there first, whatever was dropped before.
        2 | 3 => drop(read_files(&files)?),
        _ => {}
    }
    let usage = || process::usage(std::process::id()).map_or(0.0, |usage| usage.cpu.as_secs_f64());
    let (begun, cpu) = (Instant::now(), usage());
    let bytes = match subject {
        0 | 2 => read_files(&files)?,
        1 | 3 => read_log(log).await?,
        _ => read_tail(log).await?,
    };
    let (seconds, megabytes) = (begun.elapsed().as_secs_f64(), bytes as f64 / MEGABYTE);
    Ok((megabytes / seconds, (usage() - cpu) / megabytes * 1_000.0))
}

pub(super) fn segments(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The whole file from the page cache, through whichever descriptor.
pub(super) fn drop_cache(files: &[PathBuf]) -> anyhow::Result<()> {
    for path in files {
        let file = File::open(path)?;
        // Dirty pages stay where they are.
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn read_files(files: &[PathBuf]) -> anyhow::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    for path in files {
        let mut file = File::open(path)?;
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
        }
    }
    Ok(bytes)
}

/// As a consumer far behind does: from the first offset on, each read where the last one ended.
async fn read_log(log: &PartitionLog) -> anyhow::Result<u64> {
    let (mut offset, mut bytes) = (log.first_offset(), 0);
    while offset < log.next_offset() {
        let records = log.read(offset, u32::MAX, READ_BYTES).await?;
        ensure!(!records.is_empty(), "nothing at {offset}");
        bytes += records.bytes as u64;
        offset = records.next_offset;
    }
    Ok(bytes)
}

/// As many consumers at the end do: the last batches, over and over.
async fn read_tail(log: &PartitionLog) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while bytes < TAIL_BYTES {
        let offset = log.next_offset() - 2 * MESSAGES as u64;
        bytes += log.read(offset, u32::MAX, READ_BYTES).await?.bytes as u64;
    }
    Ok(bytes)
}

fn section(rounds: &[Vec<Round>; 5], megabytes: u64, filled: f64) -> Section {
    let mut section = Section {
        title: "one consumer",
        names: &["MB/s", "CPU ms/GB", "of the plain read", "spread"],
        rows: Vec::new(),
        notes: Vec::new(),
    };
    let figure = |subject: usize, of: fn(&Round) -> f64| {
        let figures: Vec<f64> = rounds[subject].iter().map(of).collect();
        median(&figures)
    };
    for (subject, name) in SUBJECTS.iter().enumerate() {
        let rate = figure(subject, |round| round.0);
        let plain = matches!(subject, 1 | 3).then(|| figure(subject - 1, |round| round.0));
        section.row(
            *name,
            &[
                Some(rate),
                Some(figure(subject, |round| round.1 * 1_000.0)),
                plain.map(|plain| rate / plain),
                Some(spread(rounds[subject].iter().map(|round| round.0))),
            ],
        );
    }
    section.notes.push(format!(
        "{megabytes} MB in batches of 1 MB, written at {filled:.0} MB/s with each batch synced; \
         the log proves every checksum of what it reads from disk, the plain read looks at nothing"
    ));
    section
}
