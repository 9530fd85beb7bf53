//! When batches are acknowledged, visible and synced, by the policy of the log.

mod common;

use common::*;
use storage::{Error, LogOptions, SyncPolicy, WriteMode, limits};

const EIO: i32 = 5;

fn options(sync_policy: SyncPolicy) -> LogOptions {
    LogOptions {
        sync_policy,
        // Which changes nothing: what is not synced at once goes through the page cache.
        write_mode: WriteMode::Direct,
        zero_ahead_bytes_max: limits::ZERO_AHEAD_BYTES_MIN,
        ..LogOptions::default()
    }
}

#[test]
fn without_syncs_everything_is_served_and_close_syncs_once() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open_with(&disk, &directory, options(SyncPolicy::Never)).await;
        // The first one makes the segment.
        log.append(batch(0, 2, 3_000), 0).await.unwrap();
        let before = disk.script.syncs.get();
        for seed in 1..20 {
            log.append(batch(seed, 2, 3_000), 0).await.unwrap();
            let records = log.read(seed * 2, 10, 1 << 20).await.unwrap();
            assert_eq!(records.message_count(), 2, "visible once acknowledged");
        }
        assert_eq!((disk.script.syncs.get(), log.syncs_count()), (before, 0));
        let stored = read_all(&log).await;
        log.close().await.unwrap();
        assert_eq!(log.syncs_count(), 1);
        let (log, report) = open_with(&disk, &directory, options(SyncPolicy::Never)).await;
        assert_eq!((report.torn_tail, report.next_offset), (None, 40));
        assert_eq!(read_all(&log).await, stored);
        log.close().await.unwrap();
    });
}

#[test]
fn a_segment_is_synced_before_the_next_one_begins() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let small = LogOptions {
            sync_policy: SyncPolicy::Never,
            ..small_segments()
        };
        let (log, _) = open_with(&disk, &directory, small).await;
        let mut seed = 0;
        while log.segments_count() < 4 {
            log.append(batch(seed, 1, 6_000), 0).await.unwrap();
            seed += 1;
        }
        assert_eq!(log.syncs_count(), 3);
        log.close().await.unwrap();
    });
}

#[test]
fn bytes_that_are_not_synced_stay_below_the_bound() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        // An entry has 4,040 bytes; two are below the bound and three stand on it.
        for (bytes, syncs) in [(8_081, 4), (12_120, 4), (12_121, 3), (4_040, 12), (1, 12)] {
            let directory = directory.join(bytes.to_string());
            std::fs::create_dir(&directory).unwrap();
            let policy = SyncPolicy::EveryBytes(bytes);
            let (log, _) = open_with(&disk, &directory, options(policy)).await;
            for seed in 0..12 {
                log.append(batch(seed, 1, 3_700), 0).await.unwrap();
            }
            assert_eq!(log.syncs_count(), syncs, "{bytes}");
            log.close().await.unwrap();
        }
    });
}

#[test]
fn a_sync_follows_some_milliseconds_after() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open_with(&disk, &directory, options(SyncPolicy::EveryMillis(5))).await;
        for round in 1..4 {
            log.append(batch(round, 1, 10), 0).await.unwrap();
            until(|| log.syncs_count() == round).await;
        }
        log.close().await.unwrap();
        // Closing does not wait for a timer.
        let policy = SyncPolicy::EveryMillis(*limits::SYNC_MILLIS.end());
        let (log, _) = open_with(&disk, &directory, options(policy)).await;
        log.append(batch(9, 1, 10), 0).await.unwrap();
        log.close().await.unwrap();
        assert_eq!(log.syncs_count(), 1);
    });
}

#[test]
fn a_stricter_policy_syncs_what_the_older_one_left() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open_with(&disk, &directory, options(SyncPolicy::Never)).await;
        log.append(batch(0, 1, 10), 0).await.unwrap();
        log.set_sync_policy(SyncPolicy::EveryBatch).unwrap();
        until(|| log.syncs_count() == 1).await;
        log.append(batch(1, 1, 10), 0).await.unwrap();
        assert_eq!(log.syncs_count(), 2);
        assert_eq!(log.sync_policy(), SyncPolicy::EveryBatch);
        assert!(matches!(
            log.set_sync_policy(SyncPolicy::EveryBytes(0)),
            Err(Error::Option { .. })
        ));
        log.close().await.unwrap();
    });
}

#[test]
fn a_sync_that_fails_afterwards_fences() {
    for policy in [SyncPolicy::EveryMillis(1), SyncPolicy::EveryBytes(5_000)] {
        on_each_driver(async |disk, directory| {
            let disk = TestDisk::new(disk);
            let (log, _) = open_with(&disk, &directory, options(policy)).await;
            log.append(batch(0, 1, 3_700), 0).await.unwrap();
            disk.script.sync_error.set(Some((EIO, 0)));
            // Either a timer finds it or the append that must wait for it.
            let second = log.append(batch(1, 1, 3_700), 0).await;
            until(|| matches!(log.refusal(), Some(Error::Fenced { .. }))).await;
            disk.script.sync_error.set(None);
            assert!(matches!(
                log.append(batch(2, 1, 10), 0).await,
                Err(Error::Fenced { .. })
            ));
            let acknowledged = 1 + u32::from(second.is_ok());
            let records = log.read(0, 10, 1 << 20).await.unwrap();
            assert_eq!(records.message_count(), acknowledged, "still served");
            assert!(log.close().await.is_err());
        });
    }
}
