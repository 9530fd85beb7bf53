//! Appends and reads of a log that are dropped, time out or panic while the disk works on them.

use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use storage::{CompioDisk, LogOptions, PartitionLog, WriteMode, limits};
use wire::batch::{BatchBuilder, Batches, Message};

use crate::{on_each_driver, poll_at_most, quarantine};

const APPENDS_COUNT: u64 = 48;
const PAYLOAD_BYTES: usize = 100_000;

fn batch(number: u64) -> BytesMut {
    let mut payload = BytesMut::new();
    payload.put_u64_le(number);
    payload.put_bytes(number as u8 & 0x7F, PAYLOAD_BYTES);
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let message = Message {
        payload: &payload,
        ..Message::default()
    };
    builder.push(message).expect("within limits");
    builder.finish().expect("not empty");
    buffer
}

async fn open(disk: &CompioDisk, directory: &Path, write_mode: WriteMode) -> PartitionLog {
    let options = LogOptions {
        write_mode,
        zero_ahead_bytes_max: limits::ZERO_AHEAD_BYTES_DEFAULT,
        segment_bytes_max: 1 << 20,
        tail_bytes_max: 0,
        ..LogOptions::default()
    };
    let opened = PartitionLog::open(disk.clone(), directory, 1, options).await;
    opened.expect("opens").0
}

/// Everything that was sent is there, and nothing of it was read by the kernel after it was freed.
async fn check(disk: &CompioDisk, directory: &Path, write_mode: WriteMode) {
    let log = open(disk, directory, write_mode).await;
    assert_eq!(log.next_offset(), APPENDS_COUNT);
    let mut offset = 0;
    while offset < APPENDS_COUNT {
        let records = log.read(offset, u32::MAX, 1 << 20).await.expect("reads");
        for view in Batches::new(&records.parts.concat()) {
            let view = view.expect("whole records");
            let frame = view.frames().next().expect("a message");
            let payload = frame.payload();
            assert_eq!(payload[..8], offset.to_le_bytes());
            assert!(!payload[8..].contains(&quarantine::PATTERN));
            offset += 1;
        }
    }
    log.close().await.expect("closes");
}

/// Sends everything, each append in another way that ends before its answer; then drops the log
/// and drains, as a shard does.
async fn abandon(disk: &CompioDisk, directory: &Path, write_mode: WriteMode) {
    let log = open(disk, directory, write_mode).await;
    for number in 0..APPENDS_COUNT {
        let append = log.append(batch(number), 0);
        let read = log.read(number / 2, 100, 500_000);
        match number % 4 {
            0 => {
                poll_at_most(number as usize % 7, append).await;
                poll_at_most(number as usize % 5, read).await;
            }
            1 => {
                let wait = Duration::from_micros(number * 20);
                // Which of them were in time does not matter.
                let _ = compio_runtime::time::timeout(wait, append).await;
                let _ = compio_runtime::time::timeout(wait, read).await;
            }
            2 => drop((append, read)),
            _ => {
                let panicking = async {
                    poll_at_most(2, append).await;
                    poll_at_most(1 + number as usize % 3, read).await;
                    std::panic::resume_unwind(Box::new("as planned"));
                };
                let panicked = std::panic::AssertUnwindSafe(panicking).catch_unwind().await;
                let _: Result<(), _> = panicked;
            }
        }
    }
    drop(log);
    disk.drain().await;
}

#[test]
fn abandoned_appends_and_reads_leave_no_buffer_to_the_kernel() {
    for write_mode in [WriteMode::Buffered, WriteMode::Direct] {
        on_each_driver(|| async {
            let directory = tempfile::tempdir().expect("a directory");
            let disk = CompioDisk::new();
            abandon(&disk, directory.path(), write_mode).await;
            check(&disk, directory.path(), write_mode).await;
            disk.drain().await;
        });
    }
}
