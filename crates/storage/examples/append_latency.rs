//! How long an append takes to be durable, beside what the disk itself needs for such a write:
//! log / bare write = ratio, both in turns.
//!
//! `cargo run --release -p storage --example append_latency -- <directory> [appends]`

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_channel::oneshot;
use storage::{
    CompioDisk, LogOptions, PartitionLog, WriteMode,
    disk::{CompioFile, Disk, DiskFile, OpenMode, remove_directories, write_all_at},
    doctor, limits,
};
use wire::batch::{BatchBuilder, Message};

fn batch(messages: u32, payload_bytes: usize) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let payload = vec![b'x'; payload_bytes];
    for _ in 0..messages {
        let message = Message {
            payload: &payload,
            ..Message::default()
        };
        builder.push(message).expect("within limits");
    }
    builder.finish().expect("not empty");
    buffer
}

/// A hundredth of sorted times.
fn at(took: &[Duration], hundredth: usize) -> Duration {
    took[(took.len() * hundredth / 100).min(took.len() - 1)]
}

fn print(name: &str, mut took: Vec<Duration>, total: Duration) {
    took.sort_unstable();
    let per_second = took.len() as f64 / total.as_secs_f64();
    println!(
        "{name:<44} p50 {:>9.1?}  p99 {:>9.1?}  {per_second:>9.0}/s",
        at(&took, 50),
        at(&took, 99)
    );
}

/// Bare durable writes of one size past the page cache, over a file that was filled with zeros.
struct Floor {
    file: CompioFile,
    content: Bytes,
    places: u64,
    count: u64,
    took: Vec<Duration>,
}

impl Floor {
    async fn new(disk: &CompioDisk, root: &Path, bytes: usize) -> Self {
        const BLOCK: usize = 4_096;
        let bytes = bytes.next_multiple_of(BLOCK);
        let buffer = Bytes::from(vec![0xA5_u8; bytes + BLOCK]);
        let skipped = buffer.as_ptr().align_offset(BLOCK);
        let content = buffer.slice(skipped..skipped + bytes);
        let path = root.join("append-latency.floor");
        let file = disk
            .open(&path, OpenMode::CreateTruncate)
            .await
            .expect("creates");
        let places = ((64 << 20) / bytes as u64).max(1);
        for place in 0..places {
            let position = place * bytes as u64;
            write_all_at(&file, position, vec![content.clone()])
                .await
                .expect("writes");
        }
        file.sync().await.expect("syncs");
        let file = disk
            .open(&path, OpenMode::DirectDurable)
            .await
            .expect("opens directly");
        disk.remove_file(&path).await.expect("removes");
        Self {
            file,
            content,
            places,
            count: 0,
            took: Vec::new(),
        }
    }

    async fn write(&mut self, writes: usize) {
        for _ in 0..writes {
            let position = self.count % self.places * self.content.len() as u64;
            self.count += 1;
            let start = Instant::now();
            write_all_at(&self.file, position, vec![self.content.clone()])
                .await
                .expect("writes");
            self.took.push(start.elapsed());
        }
    }
}

async fn fresh(disk: &CompioDisk, directory: &Path, options: LogOptions) -> PartitionLog {
    remove_directories(disk, directory).await.expect("removes");
    disk.create_directory(directory).await.expect("creates");
    PartitionLog::open(disk.clone(), directory, 0, options)
        .await
        .expect("opens")
        .0
}

/// One producer that waits for each batch, in turns with bare writes of as many bytes.
async fn one_producer(
    log: &PartitionLog,
    (disk, root): (&CompioDisk, &Path),
    name: &str,
    batch: &BytesMut,
    appends: usize,
) {
    const TURN: usize = 25;
    let mut floor = Floor::new(disk, root, batch.len() + 32).await;
    let mut took = Vec::with_capacity(appends);
    while took.len() < appends {
        floor.write(TURN).await;
        for _ in 0..TURN {
            let batch = batch.clone();
            let start = Instant::now();
            log.append(batch, 0).await.expect("appends");
            took.push(start.elapsed());
        }
    }
    took.sort_unstable();
    floor.took.sort_unstable();
    let [median, high] = [50, 99].map(|hundredth| {
        let (log, floor) = (at(&took, hundredth), at(&floor.took, hundredth));
        let ratio = log.as_secs_f64() / floor.as_secs_f64();
        format!(
            "{:>7.0} / {:>7.0} us = {ratio:.2}",
            micros(log),
            micros(floor)
        )
    });
    println!("{name:<44} p50 {median}   p99 {high}");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

async fn many_producers(log: &PartitionLog, name: &str, producers: usize, appends: usize) {
    let batch = batch(1, 1_000);
    let (begun, syncs) = (Instant::now(), log.syncs_count());
    let mut done = Vec::new();
    for _ in 0..producers {
        let (log, batch) = (log.clone(), batch.clone());
        let (sender, receiver) = oneshot::channel();
        compio_runtime::spawn(async move {
            let mut took = Vec::with_capacity(appends);
            for _ in 0..appends {
                let batch = batch.clone();
                let start = Instant::now();
                log.append(batch, 0).await.expect("appends");
                took.push(start.elapsed());
            }
            sender.send(took).expect("somebody waits");
        })
        .detach();
        done.push(receiver);
    }
    let mut took = Vec::new();
    for receiver in done {
        took.extend(receiver.await.expect("it finishes"));
    }
    let syncs = log.syncs_count() - syncs;
    print(
        &format!("{name}, {} per sync", took.len() as u64 / syncs),
        took,
        begun.elapsed(),
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().expect("a directory"));
    let appends = arguments
        .next()
        .map_or(500, |count| count.parse().expect("a number"));
    let directory = root.join("append-latency");
    compio_runtime::Runtime::new()
        .expect("a runtime")
        .block_on(async {
            let disk = CompioDisk::new();
            let begun = Instant::now();
            let found = doctor::diagnose(&disk, &root, appends, || begun.elapsed()).await;
            let found = found.expect("measures");
            for latency in &found.latencies {
                let name = format!("disk: {:?} {} B", latency.way, latency.bytes);
                println!(
                    "{name:<44} p50 {:>9.1?}  p99 {:>9.1?}",
                    latency.p50, latency.p99
                );
            }
            println!(
                "chosen: {}, {}; {:?}",
                found.choice.mode, found.choice.reason, found.warning
            );
            for (mode, zeros) in [
                (WriteMode::Buffered, 0),
                (WriteMode::Buffered, limits::ZERO_AHEAD_BYTES_DEFAULT),
                (WriteMode::Direct, limits::ZERO_AHEAD_BYTES_DEFAULT),
            ] {
                let options = LogOptions {
                    write_mode: mode,
                    zero_ahead_bytes_max: zeros,
                    ..LogOptions::default()
                };
                let way = if zeros > 0 {
                    format!("{mode} over zeros")
                } else {
                    mode.to_string()
                };
                for (messages, payload_bytes) in [(1, 100), (1, 3_700), (64, 1_000), (1_000, 1_000)]
                {
                    let log = fresh(&disk, &directory, options).await;
                    let name = format!("log: {way}, {messages} x {payload_bytes} B");
                    let batch = batch(messages, payload_bytes);
                    one_producer(&log, (&disk, &root), &name, &batch, appends).await;
                    log.close().await.expect("closes");
                }
                let log = fresh(&disk, &directory, options).await;
                many_producers(&log, &format!("log: {way}, 64 x 1,000 B"), 64, appends).await;
                log.close().await.expect("closes");
            }
            remove_directories(&disk, &directory)
                .await
                .expect("removes");
            disk.drain().await;
        });
}
