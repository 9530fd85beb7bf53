//! Measures consumers that read old data: a log's records against a plain sequential read of the
//! same files, from the disk and from the page cache, and what proving the checksums costs.
//!
//! `cargo run --release -p storage --example read_behind -- DIRECTORY GIGABYTES CONSUMERS`
//!
//! DIRECTORY is created and removed. Each line has megabytes a second and the processor time of
//! this process for each gigabyte; compare the ratios.

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

async fn measure(
    what: &str,
    work: impl AsyncFnOnce() -> Result<u64, Failure>,
) -> Result<(), Failure> {
    let (started, processor) = (Instant::now(), processor_time());
    let bytes = work().await? as f64;
    let seconds = started.elapsed().as_secs_f64();
    let processor = (processor_time() - processor).as_secs_f64();
    println!(
        "{what:<44} {:>7.0} MB/s  {:>6.3} CPU s/GB",
        bytes / seconds / 1e6,
        processor / (bytes / 1e9)
    );
    Ok(())
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

async fn run(directory: &Path, gigabytes: u64, consumers: usize) -> Result<(), Failure> {
    let disk = CompioDisk::new();
    let options = LogOptions {
        tail_bytes_max: 0,
        ..LogOptions::default()
    };
    let budget = Budget::default();
    let opening = Opening {
        budget: budget.clone(),
        is_durable: false,
    };
    let opened = PartitionLog::open_with(disk.clone(), directory, 1, options, opening).await?;
    let log = opened.0;
    let record = batch()?;
    for _ in 0..(gigabytes * 1_000_000_000).div_ceil(record.len() as u64) {
        log.append(record.clone(), 1).await?;
    }
    for (name, cold) in [("disk", true), ("page cache", false)] {
        let prepare = || if cold { forget(directory) } else { Ok(()) };
        prepare()?;
        let what = format!("plain read, from the {name}");
        measure(&what, async || read_plain(directory)).await?;
        for messages in [100, 1_000, 10_000] {
            prepare()?;
            let what = format!("{messages} messages a poll, from the {name}");
            measure(&what, async || consume(&log, messages).await).await?;
        }
    }
    let what = format!("{consumers} consumers, from the page cache");
    measure(&what, async || {
        let all = (0..consumers).map(|_| consume(&log, 1_000));
        let mut bytes = 0;
        for read in futures_util::future::join_all(all).await {
            bytes += read?;
        }
        Ok(bytes)
    })
    .await?;
    println!(
        "held for readers in the end: {} bytes",
        budget.in_use().read_bytes
    );
    let stored: Bytes = log
        .read(0, MESSAGES, usize::MAX)
        .await?
        .parts
        .concat()
        .into();
    measure("checksums alone, from memory", async || {
        for _ in 0..1_000 {
            std::hint::black_box(BatchView::parse(std::hint::black_box(&stored))?);
        }
        Ok(1_000 * stored.len() as u64)
    })
    .await?;
    log.close().await?;
    forgetful(&disk, directory, options).await?;
    disk.drain().await;
    Ok(())
}

/// The same consumer when nobody remembers where it stopped: every poll looks up and reads anew.
async fn forgetful(
    disk: &CompioDisk,
    directory: &Path,
    options: LogOptions,
) -> Result<(), Failure> {
    let budget = Budget::new(BudgetLimits {
        read_cursors_max: 0,
        ..BudgetLimits::default()
    });
    let opening = Opening {
        budget,
        is_durable: false,
    };
    let opened = PartitionLog::open_with(disk.clone(), directory, 1, options, opening).await?;
    for (name, cold) in [("disk", true), ("page cache", false)] {
        if cold {
            forget(directory)?;
        }
        let what = format!("1000 a poll, not going on, from the {name}");
        measure(&what, async || consume(&opened.0, 1_000).await).await?;
    }
    opened.0.close().await?;
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
