//! `weir bench storage DIR`: what the log makes of a disk, beside what the disk itself can do and
//! beside the usual design, all in one run.
//!
//! Each part alternates between its subjects in rounds, so that all of them see the same disk, and
//! says how far the rounds were apart. Reads as: a part measures rows, `report.rs` prints them.
//! Nothing here uses the network but `served.rs`.

mod floor;
mod footprint;
mod groups;
mod latency;
mod reading;
mod recovery;
mod report;
mod samples;
mod served;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use clap::{Args, ValueEnum};
use client::{BatchBuilder, Message};
use storage::disk::{Disk, remove_directories};
use storage::{CompioDisk, LogOptions, NearEnd, Opening, PartitionLog, WriteMode, limits};

use report::Report;

const ROUNDS_MAX: usize = 100;
const READ_MEGABYTES_MAX: u64 = 1_000_000;

/// Measure the log on the disk under a directory, beside the disk itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Directory on the disk in question; what is written there is removed.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only these parts.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds of each part.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    rounds: usize,
    /// Size of the log that is read, in MB (1,000,000 bytes).
    #[arg(long, value_name = "MB", default_value_t = 4_000)]
    read_megabytes: u64,
    /// Everything that was measured, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The parts of a run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One producer without network: acknowledged latency beside the disk's own.
    Latency,
    /// One producer and 64: what sharing a sync gains.
    Groups,
    /// One producer and 64 through a server.
    Served,
    /// Reading the tail, and a log that is larger than it, beside a plain read of its files.
    Reading,
    /// Opening a log that nobody closed.
    Recovery,
    /// Bytes on disk of a producer that sends one small message at a time.
    Footprint,
}

/// Runs the parts and prints their tables.
///
/// # Errors
/// One line that says what could not be written or read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(
        (1..=ROUNDS_MAX).contains(&arguments.rounds),
        "--rounds must be from 1 to {ROUNDS_MAX}, not {}",
        arguments.rounds
    );
    ensure!(
        (1..=READ_MEGABYTES_MAX).contains(&arguments.read_megabytes),
        "--read-megabytes must be from 1 to {READ_MEGABYTES_MAX}, not {}",
        arguments.read_megabytes
    );
    let begun = Instant::now();
    let scratch = Scratch::new(&arguments.directory)?;
    let mut report = Report::new(&arguments.directory, arguments.rounds);
    let is_wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    for part in Part::value_variants() {
        if !is_wanted(*part) {
            continue;
        }
        tell(&format!("measuring {part:?}"));
        // A runtime for each part: none pays for what another has left.
        let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default())?;
        let stage = Stage {
            directory: scratch.path.clone(),
            rounds: arguments.rounds,
            disk: CompioDisk::new(),
        };
        let measured = runtime.block_on(async {
            let measured = match part {
                Part::Latency => latency::measure(&stage).await,
                Part::Groups => groups::measure(&stage).await,
                Part::Served => Ok(Vec::new()),
                Part::Reading => reading::measure(&stage, arguments.read_megabytes).await,
                Part::Recovery => recovery::measure(&stage).await,
                Part::Footprint => footprint::measure(&stage).await,
            };
            stage.disk.drain().await;
            measured
        })?;
        drop(runtime);
        report.add(measured);
        if *part == Part::Served {
            report.add(served::measure(&scratch.path, arguments.rounds)?);
        }
    }
    report.took = begun.elapsed();
    tell("");
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print!("{}", report.to_text());
    Ok(())
}

/// One line for whoever watches a terminal, nothing for a pipe.
fn tell(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{text}\r");
    }
}

/// A directory of our own below the one that was named; removed at the end, also after a failure.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(directory: &Path) -> anyhow::Result<Scratch> {
        let path = directory.join(format!("weir-bench-storage-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over is named after this process; the measurement is not hurt.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Where a part measures, and how often.
struct Stage {
    directory: PathBuf,
    rounds: usize,
    disk: CompioDisk,
}

impl Stage {
    /// An empty log in a directory of its own.
    async fn log(&self, name: &str, options: LogOptions) -> anyhow::Result<PartitionLog> {
        let directory = self.directory.join(name);
        self.disk.create_directory(&directory).await?;
        self.reopen(name, options).await
    }

    /// [`Self::log`] that tells when it will soon begin a segment.
    async fn log_with(
        &self,
        name: &str,
        options: LogOptions,
        near_end: NearEnd,
    ) -> anyhow::Result<PartitionLog> {
        let directory = self.directory.join(name);
        self.disk.create_directory(&directory).await?;
        let opening = Opening {
            near_end,
            ..Opening::default()
        };
        let disk = self.disk.clone();
        let opened = PartitionLog::open_with(disk, &directory, 0, options, opening).await;
        Ok(opened?.0)
    }

    /// A log that was there before.
    async fn reopen(&self, name: &str, options: LogOptions) -> anyhow::Result<PartitionLog> {
        let directory = self.directory.join(name);
        let opened = PartitionLog::open(self.disk.clone(), &directory, 0, options).await;
        Ok(opened?.0)
    }

    async fn remove(&self, name: &str) -> anyhow::Result<()> {
        Ok(remove_directories(&self.disk, &self.directory.join(name)).await?)
    }

    /// Numbers of the rounds' subjects: forwards, then backwards, and so on, so that none always
    /// comes first.
    fn order(&self, round: usize, subjects: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..subjects).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        order
    }
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Design {
    /// Past the page cache over zeros: what Weir does where it works.
    Direct,
    /// Appended through the page cache, then synced: what logs usually do.
    Usual,
}

impl Design {
    const ALL: [Design; 2] = [Design::Direct, Design::Usual];

    fn options(self) -> LogOptions {
        let (write_mode, zero_ahead_bytes_max) = match self {
            Design::Direct => (WriteMode::Direct, limits::ZERO_AHEAD_BYTES_DEFAULT),
            Design::Usual => (WriteMode::Buffered, 0),
        };
        LogOptions {
            write_mode,
            zero_ahead_bytes_max,
            ..LogOptions::default()
        }
    }

    fn name(self) -> &'static str {
        match self {
            Design::Direct => "direct, over zeros",
            Design::Usual => "buffered append, fdatasync",
        }
    }
}

/// A batch of messages of one size.
fn batch(messages: usize, payload_bytes: usize) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let payload = vec![b'x'; payload_bytes];
    for _ in 0..messages {
        let message = Message {
            payload: &payload,
            ..Message::default()
        };
        builder.push(message).expect("the sizes are within limits");
    }
    builder.finish().expect("there is a message");
    buffer
}
