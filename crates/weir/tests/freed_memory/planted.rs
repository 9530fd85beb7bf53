//! Proof that the tests beside this one can fail: a runtime that is dropped with reads past the
//! page cache in flight, which is what a shard must never do.

use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use compio_buf::IoBufExt;
use compio_driver::op::ReadAt;
use compio_driver::{DriverType, ProactorBuilder, SharedFd};
use compio_runtime::RuntimeBuilder;

use crate::{alone, poll_at_most, quarantine};

const READ_BYTES: usize = 1 << 20;
const READS_COUNT: u64 = 32;
/// Reads past the page cache go to memory that begins at one of these.
const BLOCK_BYTES: usize = 4096;
/// The disk has answered all of them long before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the kernel was seen writing into freed memory.
fn drop_runtime_with_reads_in_flight(is_drained: bool) -> bool {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("content");
    std::fs::write(&path, vec![1_u8; READ_BYTES * READS_COUNT as usize]).expect("written");
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(direct)
        .open(&path);
    let Ok(file) = opened else {
        println!("this file system has no reads past the page cache");
        return !is_drained;
    };
    file.sync_all().expect("synced");
    let mut proactor = ProactorBuilder::new();
    proactor.driver_type(DriverType::IoUring);
    let runtime = RuntimeBuilder::new().with_proactor(proactor).build();
    let runtime = runtime.expect("the driver starts");
    let watch = quarantine::watch();
    let mut reads = Vec::new();
    runtime.block_on(async {
        let file = SharedFd::new(file);
        for number in 0..READS_COUNT {
            let mut buffer = Vec::<u8>::with_capacity(READ_BYTES + BLOCK_BYTES);
            let skipped = buffer.as_ptr().align_offset(BLOCK_BYTES);
            buffer.resize(skipped, 0);
            let slice = buffer.slice(skipped..skipped + READ_BYTES);
            let position = number * READ_BYTES as u64;
            let read = ReadAt::new(file.clone(), position, slice);
            let mut read = Box::pin(compio_runtime::submit(read));
            poll_at_most(1, read.as_mut()).await;
            reads.push(read);
        }
        // The first answer proves that the kernel has them all; it works on the others.
        let awaited = if is_drained { reads.len() } else { 1 };
        for read in reads.drain(..awaited) {
            read.await.0.expect("read");
        }
    });
    drop(reads);
    drop(runtime);
    let begun = Instant::now();
    while watch.count().1 == 0 && begun.elapsed() < PATIENCE && !is_drained {
        std::thread::yield_now();
    }
    watch.count().1 > 0
}

#[test]
fn a_runtime_dropped_with_reads_in_flight_is_seen() {
    let _alone = alone();
    assert!(!drop_runtime_with_reads_in_flight(true), "all were drained");
    // A disk that answers before the runtime is gone leaves nothing to see; it rarely does.
    let is_seen = (0..10).any(|_| drop_runtime_with_reads_in_flight(false));
    assert!(is_seen, "the kernel wrote nothing into freed memory");
}
