//! Many logs share one budget: open files, recent batches and read buffers stay bounded, and what
//! was given up is opened and read again.

mod common;

use std::path::{Path, PathBuf};

use common::{
    PARTITION, assert_verbatim, batch, joined, on_each_driver, open_with, small_segments,
};
use storage::{
    Budget, BudgetLimits, CompioDisk, Error, LogOptions, Opening, PartitionLog, SyncPolicy,
};

const LOGS_COUNT: usize = 12;

async fn open_many(
    disk: &CompioDisk,
    directory: &Path,
    options: LogOptions,
    budget: &Budget,
) -> Vec<PartitionLog> {
    let mut logs = Vec::new();
    for number in 0..LOGS_COUNT {
        let directory = directory.join(number.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let opening = Opening {
            budget: budget.clone(),
            ..Opening::default()
        };
        let opened =
            PartitionLog::open_with(disk.clone(), &directory, PARTITION, options, opening).await;
        logs.push(opened.unwrap().0);
    }
    logs
}

/// Files below the directory that this process has open.
fn open_files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter(|path| path.starts_with(directory))
        .collect()
}

#[test]
fn more_logs_are_used_than_files_are_open() {
    on_each_driver(async |disk, directory| {
        let budget = Budget::new(BudgetLimits {
            segments_open_max: 3,
            ..BudgetLimits::default()
        });
        let logs = open_many(&disk, &directory, small_segments(), &budget).await;
        assert_eq!(
            open_files(&directory),
            Vec::<PathBuf>::new(),
            "nothing is used yet"
        );
        for round in 0..12 {
            for (number, log) in logs.iter().enumerate() {
                let seed = (100 * number + round) as u64;
                log.append(batch(seed, 4, 3_000), seed).await.unwrap();
                assert!(budget.in_use().segments_open <= 3);
            }
        }
        for (number, log) in logs.iter().enumerate() {
            assert!(log.segments_count() > 2, "segments were sealed on the way");
            let mut offset = 0;
            for round in 0..12 {
                let records = log.read(offset, 4, usize::MAX).await.unwrap();
                let sent = batch((100 * number + round) as u64, 4, 3_000);
                assert_verbatim(&sent, &joined(&records));
                offset = records.next_offset;
                assert!(budget.in_use().segments_open <= 3);
            }
        }
        for log in &logs {
            log.close().await.unwrap();
        }
        disk.drain().await;
        assert_eq!(open_files(&directory), Vec::<PathBuf>::new());
    });
}

/// What is acknowledged and not synced keeps its file open, whoever else wants to write.
#[test]
fn logs_that_never_sync_do_not_keep_more_files_open_than_allowed() {
    on_each_driver(async |disk, directory| {
        let budget = Budget::new(BudgetLimits {
            segments_open_max: 3,
            ..BudgetLimits::default()
        });
        let options = LogOptions {
            sync_policy: SyncPolicy::Never,
            ..small_segments()
        };
        let logs = open_many(&disk, &directory, options, &budget).await;
        for round in 0..12 {
            let sent = logs.iter().enumerate().map(|(number, log)| {
                let (seed, budget) = ((100 * number + round) as u64, &budget);
                async move {
                    log.append(batch(seed, 4, 3_000), seed).await.unwrap();
                    let open = budget.in_use().segments_open;
                    assert!(open <= 3, "{open}");
                }
            });
            futures_util::future::join_all(sent).await;
        }
        for (number, log) in logs.iter().enumerate() {
            log.close().await.unwrap();
            let sent = batch((100 * number + 11) as u64, 4, 3_000);
            let records = log.read(44, 4, usize::MAX).await.unwrap();
            assert_verbatim(&sent, &joined(&records));
        }
    });
}

#[test]
fn idle_logs_give_their_tails_back() {
    on_each_driver(async |disk, directory| {
        let budget = Budget::new(BudgetLimits {
            tail_bytes_max: 100_000,
            ..BudgetLimits::default()
        });
        let logs = open_many(&disk, &directory, LogOptions::default(), &budget).await;
        for (number, log) in logs.iter().enumerate() {
            for _ in 0..4 {
                let sent = log.append(batch(number as u64, 10, 1_000), 1).await;
                sent.unwrap();
                assert!(budget.in_use().tail_bytes <= 100_000);
            }
        }
        let held: usize = logs.iter().map(PartitionLog::tail_bytes).sum();
        assert_eq!(held, budget.in_use().tail_bytes);
        assert_eq!(
            logs[0].tail_bytes(),
            0,
            "the first one was idle for longest"
        );
        assert!(logs[LOGS_COUNT - 1].tail_bytes() > 40_000);
        for (number, log) in logs.iter().enumerate() {
            let records = log.read(30, 10, usize::MAX).await.unwrap();
            assert_verbatim(&batch(number as u64, 10, 1_000), &joined(&records));
        }
        for log in &logs {
            log.close().await.unwrap();
        }
        assert_eq!(budget.in_use().tail_bytes, 0);
    });
}

#[test]
fn readers_of_old_batches_share_what_may_be_in_memory() {
    on_each_driver(async |disk, directory| {
        let read_bytes_max = 1 << 20;
        let budget = Budget::new(BudgetLimits {
            read_bytes_max,
            ..BudgetLimits::default()
        });
        let options = LogOptions {
            tail_bytes_max: 0,
            ..LogOptions::default()
        };
        let logs = open_many(&disk, &directory, options, &budget).await;
        for log in &logs {
            for seed in 0..40 {
                log.append(batch(seed, 10, 4_000), 1).await.unwrap();
            }
        }
        // Replies on their way hold what they read.
        let mut held = Vec::new();
        let refused = 'all: loop {
            for log in &logs {
                match log.read(0, 20, usize::MAX).await {
                    Ok(records) => held.push(records),
                    Err(error) => break 'all error,
                }
            }
        };
        assert!(matches!(refused, Error::Busy), "{refused}");
        assert!(held.len() >= 4, "pieces became smaller: {}", held.len());
        let used = budget.in_use().read_bytes;
        assert!(
            (read_bytes_max..read_bytes_max + (256 << 10)).contains(&used),
            "{used}"
        );
        drop(held);
        // What idle readers left in memory makes room, and everything is read.
        for log in &logs {
            let mut offset = 0;
            for seed in 0..40 {
                let records = log.read(offset, 10, usize::MAX).await.unwrap();
                assert_verbatim(&batch(seed, 10, 4_000), &joined(&records));
                offset = records.next_offset;
                assert!(budget.in_use().read_bytes <= read_bytes_max + (256 << 10));
            }
        }
        for log in &logs {
            log.close().await.unwrap();
        }
        disk.drain().await;
        assert_eq!(budget.in_use().read_bytes, 0);
    });
}

/// A checkpoint saves recovery the reading, and promises no more than it must.
#[test]
fn what_lies_before_a_checkpoint_is_proved_when_it_is_read() {
    on_each_driver(async |disk, directory| {
        let options = LogOptions {
            tail_bytes_max: 0,
            ..LogOptions::default()
        };
        let (log, _) = open_with(&disk, &directory, options).await;
        for seed in 0..30 {
            log.append(batch(seed, 10, 10_000), 1).await.unwrap();
        }
        log.close().await.unwrap();
        let path = common::segment(&directory, 0);
        let whole = std::fs::read(&path).unwrap();

        let mut damaged = whole.clone();
        damaged[1_000_000] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let (log, report) = open_with(&disk, &directory, options).await;
        assert_eq!((report.corruption, report.torn_tail), (None, None));
        assert_eq!(report.next_offset, 300, "not read at the start");
        let found = log.read(90, 10, usize::MAX).await;
        assert!(matches!(found, Err(Error::Corrupted(_))), "{found:?}");
        assert_eq!(
            log.read(200, 10, usize::MAX).await.unwrap().message_count(),
            10
        );
        log.append(batch(30, 1, 10), 1).await.unwrap();
        log.close().await.unwrap();

        // Shorter than it was known to be durable: damage, and nothing is cut.
        std::fs::write(&path, &whole[..2_000_000]).unwrap();
        let (log, report) = open_with(&disk, &directory, options).await;
        assert!(report.corruption.is_some(), "{report:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2_000_000);
        assert!(log.append(batch(0, 1, 1), 1).await.is_err());
        let records = log.read(0, 10, usize::MAX).await.unwrap();
        assert_verbatim(&batch(0, 10, 10_000), &joined(&records));
    });
}
