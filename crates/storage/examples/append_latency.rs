//! How long an append takes to be durable, beside what the disk itself needs for such a write.
//!
//! `cargo run --release -p storage --example append_latency -- <directory> [appends]`

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_channel::oneshot;
use storage::{
    CompioDisk, LogOptions, PartitionLog, WriteMode,
    disk::{Disk, remove_directories},
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

fn print(name: &str, mut took: Vec<Duration>, total: Duration) {
    took.sort_unstable();
    let at = |hundredth: usize| took[(took.len() * hundredth / 100).min(took.len() - 1)];
    let per_second = took.len() as f64 / total.as_secs_f64();
    println!(
        "{name:<44} p50 {:>9.1?}  p99 {:>9.1?}  {per_second:>9.0}/s",
        at(50),
        at(99)
    );
}

async fn fresh(disk: &CompioDisk, directory: &Path, options: LogOptions) -> PartitionLog {
    remove_directories(disk, directory).await.expect("removes");
    disk.create_directory(directory).await.expect("creates");
    PartitionLog::open(disk.clone(), directory, 0, options)
        .await
        .expect("opens")
        .0
}

async fn one_producer(log: &PartitionLog, name: &str, batch: &BytesMut, appends: usize) {
    let mut took = Vec::with_capacity(appends);
    let begun = Instant::now();
    for _ in 0..appends {
        let batch = batch.clone();
        let start = Instant::now();
        log.append(batch, 0).await.expect("appends");
        took.push(start.elapsed());
    }
    print(name, took, begun.elapsed());
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
                found.mode, found.reason, found.warning
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
                let log = fresh(&disk, &directory, options).await;
                let name = format!("log: {way}, 1 x 3,700 B");
                one_producer(&log, &name, &batch(1, 3_700), appends).await;
                log.close().await.expect("closes");
                let log = fresh(&disk, &directory, options).await;
                let name = format!("log: {way}, 1,000 x 1,000 B");
                one_producer(&log, &name, &batch(1_000, 1_000), appends).await;
                log.close().await.expect("closes");
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
