//! Failing disks and impatient callers: nothing acknowledged is lost, nothing else is promised.

mod common;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

use common::*;
use storage::{Error, LogOptions, WriteMode, limits};

const EIO: i32 = 5;

#[test]
fn a_failed_write_or_sync_fences_and_readers_go_on() {
    for (on_sync, (options, payload_bytes, _)) in [false, true]
        .into_iter()
        .flat_map(|on_sync| write_ways().map(|way| (on_sync, way)))
    {
        on_each_driver(async |disk, directory| {
            let disk = TestDisk::new(disk);
            let (log, _) = open_with(&disk, &directory, options).await;
            log.append(batch(0, 2, payload_bytes), 0).await.unwrap();
            let stored = read_all(&log).await;
            disk.script.hold_syncs.set(true);
            let first = log.append(batch(1, 2, payload_bytes), 0);
            until(|| disk.script.held_count() == 1).await;
            let failing = log.append(batch(2, 2, payload_bytes), 0);
            let waiting = log.append(batch(3, 2, payload_bytes), 0);
            let planned = if on_sync {
                &disk.script.sync_error
            } else {
                &disk.script.write_error
            };
            planned.set(Some((EIO, 0)));
            disk.script.release();
            assert_eq!(
                first.await.unwrap().base_offset,
                2,
                "its sync had begun before"
            );
            for waiter in [failing, waiting] {
                match waiter.await {
                    Err(Error::Io { path, source, .. }) => {
                        assert_eq!(path, segment(&directory, 0));
                        assert!(source.to_string().contains("os error 5"));
                    }
                    other => panic!("{other:?}"),
                }
            }
            // The disk works again, but nothing is tried again.
            planned.set(None);
            let writes = disk.script.writes.get();
            assert!(matches!(
                log.append(batch(4, 1, 1), 0).await,
                Err(Error::Fenced { .. })
            ));
            assert!(matches!(log.purge().await, Err(Error::Fenced { .. })));
            assert!(matches!(log.refusal(), Some(Error::Fenced { .. })));
            assert_eq!(disk.script.writes.get(), writes);
            assert_eq!(log.next_offset(), 4);
            assert_eq!(read_all(&log).await[..stored.len()], stored);
            assert!(matches!(log.close().await, Err(Error::Io { .. })));
            let (log, report) = open(&disk, &directory).await;
            assert!(report.next_offset >= 4);
            assert_eq!(read_all(&log).await[..stored.len()], stored);
            log.close().await.unwrap();
        });
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_without_restart() {
    for (options, payload_bytes, short_bytes) in write_ways() {
        on_each_driver(async |disk, directory| {
            let disk = TestDisk::new(disk);
            let (log, _) = open_with(&disk, &directory, options).await;
            let fresh = |seed| batch(seed, 2, payload_bytes);
            log.append(fresh(0), 0).await.unwrap();
            for round in 0..3 {
                // Some bytes go out before the disk is full.
                disk.script.write_bytes_max.set(Some(short_bytes));
                disk.script.write_error.set(Some((ENOSPC, round)));
                let refused = log.append(fresh(1), 0);
                let shared = log.append(fresh(1), 0);
                assert!(is_full(&refused.await.unwrap_err()));
                assert!(is_full(&shared.await.unwrap_err()));
                assert!(is_full(&log.refusal().unwrap()));
                disk.script.write_error.set(Some((ENOSPC, 0)));
                assert!(
                    is_full(&log.append(fresh(1), 0).await.unwrap_err()),
                    "still full"
                );
                assert_eq!(log.read(0, 10, 1 << 20).await.unwrap().message_count(), 2);
            }
            disk.script.write_bytes_max.set(None);
            disk.script.write_error.set(None);
            assert_eq!(log.append(fresh(2), 0).await.unwrap().base_offset, 2);
            assert!(log.refusal().is_none());
            let stored = read_all(&log).await;
            log.close().await.unwrap();
            let (log, report) = open_with(&disk, &directory, options).await;
            assert_eq!((report.torn_tail, report.next_offset), (None, 4));
            assert_eq!(read_all(&log).await, stored);
            log.close().await.unwrap();
        });
    }
}

/// The log goes on without space that is made ready, and has it again once the disk has space.
#[test]
fn a_full_disk_keeps_no_append_from_space_that_is_there() {
    on_each_driver(async |disk, directory| {
        for write_mode in [WriteMode::Buffered, WriteMode::Direct] {
            let directory = directory.join(write_mode.to_string());
            std::fs::create_dir(&directory).unwrap();
            let real = disk.clone();
            let disk = TestDisk::new(disk.clone());
            let entry_bytes = match write_mode {
                WriteMode::Buffered => 4_040,
                WriteMode::Direct => 4_096,
            };
            let options = LogOptions {
                write_mode,
                zero_ahead_bytes_max: limits::ZERO_AHEAD_BYTES_MIN,
                ..LogOptions::default()
            };
            let (log, _) = open_with(&disk, &directory, options).await;
            disk.script.refuses_zeros.set(true);
            let length = || std::fs::metadata(segment(&directory, 0)).unwrap().len();
            for seed in 0..10 {
                log.append(batch(seed, 1, 3_700), 0).await.unwrap();
            }
            real.drain().await;
            assert_eq!(length(), 4_096 + 10 * entry_bytes, "{write_mode}");
            disk.script.refuses_zeros.set(false);
            let mut seed = 10;
            while length() < 4_096 + seed * entry_bytes + 8_192 {
                log.append(batch(seed, 1, 3_700), 0).await.unwrap();
                real.drain().await;
                seed += 1;
                assert!(seed < 100, "no space is made ready");
            }
            assert!(log.refusal().is_none());
            log.close().await.unwrap();
            let (log, report) = open_with(&disk, &directory, options).await;
            assert_eq!((report.torn_tail, report.next_offset), (None, seed));
            log.close().await.unwrap();
        }
    });
}

#[test]
fn a_full_disk_while_rolling_recovers_too() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        let mut seed = 0;
        while log.segments_count() == 1 {
            disk.script.write_error.set(Some((ENOSPC, 1)));
            match log.append(batch(seed, 1, 6_000), 0).await {
                Ok(appended) => assert_eq!(appended.base_offset, seed),
                // The first write of this append was that of the next segment's header.
                Err(error) => {
                    assert!(is_full(&error));
                    disk.script.write_error.set(Some((ENOSPC, 0)));
                    assert!(is_full(
                        &log.append(batch(seed, 1, 6_000), 0).await.unwrap_err()
                    ));
                    disk.script.write_error.set(None);
                    let appended = log.append(batch(seed, 1, 6_000), 0).await.unwrap();
                    assert_eq!(appended.base_offset, seed);
                }
            }
            seed += 1;
        }
        disk.script.write_error.set(None);
        log.append(batch(seed, 1, 6_000), 0).await.unwrap();
        log.close().await.unwrap();
        let (log, report) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!((report.corruption, report.next_offset), (None, seed + 1));
        log.close().await.unwrap();
    });
}

#[test]
fn a_sync_that_finds_the_disk_full_fences() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open(&disk, &directory).await;
        log.append(batch(0, 1, 1), 0).await.unwrap();
        disk.script.sync_error.set(Some((ENOSPC, 0)));
        assert!(matches!(
            log.append(batch(0, 1, 1), 0).await,
            Err(Error::Io { .. })
        ));
        disk.script.sync_error.set(None);
        assert!(matches!(
            log.append(batch(0, 1, 1), 0).await,
            Err(Error::Fenced { .. })
        ));
        assert!(log.close().await.is_err());
    });
}

#[test]
fn short_writes_are_continued() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open(&disk, &directory).await;
        let sent = batch(0, 3, 5_000);
        for bytes_max in [1_000, 4_097, 333] {
            disk.script.write_bytes_max.set(Some(bytes_max));
            log.append(sent.clone(), 0).await.unwrap();
        }
        // A disk that takes nothing any more has failed.
        disk.script.write_bytes_max.set(Some(0));
        assert!(matches!(
            log.append(sent.clone(), 0).await,
            Err(Error::Io { .. })
        ));
        disk.script.write_bytes_max.set(None);
        assert!(log.close().await.is_err());
        let (log, _) = open(&disk, &directory).await;
        let stored = read_all(&log).await;
        assert_eq!(stored.len(), sent.len() * 3);
        stored
            .chunks(sent.len())
            .for_each(|record| assert_verbatim(&sent, record));
        log.close().await.unwrap();
    });
}

#[test]
fn a_failed_read_is_an_error_and_nothing_more() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        log.append(batch(0, 2, 10), 0).await.unwrap();
        disk.script.read_error.set(Some((EIO, 0)));
        assert!(matches!(log.read(0, 1, 100).await, Err(Error::Io { .. })));
        disk.script.read_error.set(None);
        assert_eq!(log.read(0, 10, 1_000).await.unwrap().message_count(), 2);
        assert_eq!(log.append(batch(0, 2, 10), 0).await.unwrap().base_offset, 2);
        log.close().await.unwrap();
    });
}

/// Polls a future `polls` times, letting the runtime work in between, then drops it.
async fn poll_and_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        compio_runtime::time::sleep(std::time::Duration::from_micros(50)).await;
    }
    None
}

#[test]
fn an_append_that_nobody_awaits_is_appended_all_the_same() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        let mut sent = Vec::new();
        for polls in 0..60 {
            let batch = batch(polls as u64, 1, 3_000);
            sent.push(batch.clone());
            poll_and_drop(log.append(batch, 0), polls).await;
            poll_and_drop(log.read(0, 100, 10_000), polls % 7).await;
        }
        log.close().await.unwrap();
        let (log, report) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!((report.torn_tail, report.next_offset), (None, 60));
        let stored = read_all(&log).await;
        for (sent, record) in sent.iter().zip(stored.chunks(sent[0].len())) {
            assert_verbatim(sent, record);
        }
        log.close().await.unwrap();
    });
}

#[test]
fn a_log_that_is_dropped_finishes_what_it_took() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open(&disk, &directory).await;
        for seed in 0..5 {
            drop(log.append(batch(seed, 1, 1), 0));
        }
        drop(log);
        disk.drain().await;
        let (log, report) = open(&disk, &directory).await;
        assert_eq!((report.torn_tail, report.next_offset), (None, 5));
        log.close().await.unwrap();
    });
}
