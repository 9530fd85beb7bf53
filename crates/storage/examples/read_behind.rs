//! Measures consumers that read old data: a log's records against a plain sequential read of the
//! same files, from the disk and from the page cache, and what proving the checksums costs.
//!
//! `cargo run --release -p storage --example read_behind -- DIRECTORY GIGABYTES CONSUMERS`
//!
//! DIRECTORY is created and removed. Each line has the medians over some rounds, with the slowest
//! and the fastest: megabytes a second, and the processor time of this process for each gigabyte.
//! The ways take turns in being first, because a disk is faster at what it read a moment ago.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use storage::{Budget, BudgetLimits, CompioDisk, LogOptions, Opening, PartitionLog};
use wire::batch::{BatchBuilder, BatchView, Message};

const MESSAGES: u32 = 1_000;
const MESSAGE_BYTES: usize = 1_000;
/// As many as there are ways to read, so that each of them is at each place once.
const ROUNDS: usize = 7;

type Failure = Box<dyn Error>;

fn batch() -> Result<BytesMut, Failure> {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let payload = [7; MESSAGE_BYTES];
    for number in 0..MESSAGES {
        builder.push(Message {
            id: u128::from(number) + 1,
            payload: &payload,
            ..Message::default()
        })?;
    }
    builder.finish()?;
    Ok(buffer)
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Takes the files out of the page cache.
fn forget(directory: &Path) -> Result<(), Failure> {
    for path in segments(directory)? {
        let file = File::open(path)?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// What one way to read took: seconds and processor seconds for each gigabyte.
type Figures = Vec<(f64, f64)>;

async fn measure(
    figures: &mut Figures,
    work: impl AsyncFnOnce() -> Result<u64, Failure>,
) -> Result<(), Failure> {
    let (started, processor) = (Instant::now(), processor_time());
    let gigabytes = work().await? as f64 / 1e9;
    let seconds = started.elapsed().as_secs_f64();
    let processor = (processor_time() - processor).as_secs_f64();
    figures.push((seconds / gigabytes, processor / gigabytes));
    Ok(())
}

/// The medians, and the fastest and the slowest round.
fn print(what: &str, figures: &Figures) {
    let mut seconds: Vec<f64> = figures.iter().map(|(seconds, _)| *seconds).collect();
    let mut processor: Vec<f64> = figures.iter().map(|(_, processor)| *processor).collect();
    seconds.sort_by(f64::total_cmp);
    processor.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    println!(
        "{what:<44} {:>6.0} MB/s ({:.0} to {:.0})  {:.3} CPU s/GB ({:.3} to {:.3})",
        1e3 / seconds[middle],
        1e3 / seconds[seconds.len() - 1],
        1e3 / seconds[0],
        processor[middle],
        processor[0],
        processor[processor.len() - 1],
    );
}

fn read_plain(directory: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    for path in segments(directory)? {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

/// One consumer from the first message to the last.
async fn consume(log: &PartitionLog, messages: u32) -> Result<u64, Failure> {
    let (mut offset, mut bytes) = (0, 0);
    while offset < log.next_offset() {
        let records = match log.read(offset, messages, 16 << 20).await {
            Err(storage::Error::Busy) => {
                compio_runtime::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            records => records?,
        };
        offset = records.next_offset;
        bytes += records.bytes as u64;
    }
    Ok(bytes)
}

/// A log on the directory; with `cursors`, its readers go on where they stopped.
async fn open(
    disk: &CompioDisk,
    directory: &Path,
    has_cursors: bool,
) -> Result<PartitionLog, Failure> {
    let options = LogOptions {
        tail_bytes_max: 0,
        ..LogOptions::default()
    };
    let mut limits = BudgetLimits::default();
    if !has_cursors {
        limits.read_cursors_max = 0;
    }
    let opening = Opening {
        budget: Budget::new(limits),
        ..Opening::default()
    };
    let opened = PartitionLog::open_with(disk.clone(), directory, 1, options, opening);
    Ok(opened.await?.0)
}

/// The ways to read, in the order in which they are printed.
const WAYS: [(&str, u32, bool); 7] = [
    ("plain read", 0, true),
    ("100 messages a poll", 100, true),
    ("1000 messages a poll", 1_000, true),
    ("10000 messages a poll", 10_000, true),
    ("100 a poll, not going on", 100, false),
    ("1000 a poll, not going on", 1_000, false),
    ("10000 a poll, not going on", 10_000, false),
];

async fn run(directory: &Path, gigabytes: u64, consumers: usize) -> Result<(), Failure> {
    let disk = CompioDisk::new();
    let log = open(&disk, directory, true).await?;
    let record = batch()?;
    for _ in 0..(gigabytes * 1_000_000_000).div_ceil(record.len() as u64) {
        log.append(record.clone(), 1).await?;
    }
    log.close().await?;
    let going_on = open(&disk, directory, true).await?;
    let forgetful = open(&disk, directory, false).await?;
    for (name, is_cold) in [("disk", true), ("page cache", false)] {
        let mut figures = vec![Figures::new(); WAYS.len()];
        // Each round begins with another way: what runs first or last must not win by that.
        for round in 0..ROUNDS {
            for place in 0..WAYS.len() {
                let number = (round + place) % WAYS.len();
                let (_, messages, has_cursors) = WAYS[number];
                if is_cold {
                    forget(directory)?;
                }
                let log = if has_cursors { &going_on } else { &forgetful };
                measure(&mut figures[number], async || match messages {
                    0 => read_plain(directory),
                    messages => consume(log, messages).await,
                })
                .await?;
            }
        }
        for ((what, ..), figures) in WAYS.iter().zip(&figures) {
            print(&format!("{what}, from the {name}"), figures);
        }
    }
    let mut figures = Figures::new();
    for _ in 0..ROUNDS {
        measure(&mut figures, async || {
            let all = (0..consumers).map(|_| consume(&going_on, 1_000));
            let mut bytes = 0;
            for read in futures_util::future::join_all(all).await {
                bytes += read?;
            }
            Ok(bytes)
        })
        .await?;
    }
    print(
        &format!("{consumers} consumers, from the page cache"),
        &figures,
    );
    let stored = going_on.read(0, MESSAGES, usize::MAX).await?.parts.concat();
    let stored: Bytes = stored.into();
    let mut figures = Figures::new();
    for _ in 0..ROUNDS {
        measure(&mut figures, async || {
            for _ in 0..200 {
                std::hint::black_box(BatchView::parse(std::hint::black_box(&stored))?);
            }
            Ok(200 * stored.len() as u64)
        })
        .await?;
    }
    print("checksums alone, from memory", &figures);
    going_on.close().await?;
    forgetful.close().await?;
    disk.drain().await;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("which directory?")?);
    let gigabytes = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let consumers = arguments.next().map_or(Ok(8), |text| text.parse())?;
    std::fs::create_dir(&directory)?;
    let measured = compio_runtime::Runtime::new()?.block_on(run(&directory, gigabytes, consumers));
    std::fs::remove_dir_all(&directory)?;
    measured
}
