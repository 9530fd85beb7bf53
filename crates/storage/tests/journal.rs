//! The journal: records survive, a torn tail goes, damage is reported, a rewrite is all or nothing.

mod common;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Bytes;
use common::*;
use storage::{Error, Journal, disk::Disk, journal::JournalRecovery, limits};

const EIO: i32 = 5;

fn record(number: usize) -> Bytes {
    Bytes::from(format!("record {number} {}", "x".repeat(number)))
}

async fn open<D: Disk>(disk: &D, path: &Path) -> (Journal<D>, JournalRecovery) {
    Journal::open(disk.clone(), path).await.unwrap()
}

#[test]
fn records_come_back_in_order() {
    on_each_driver(async |disk, directory| {
        let path = directory.join("catalog.journal");
        let (journal, recovery) = open(&disk, &path).await;
        assert_eq!(recovery, JournalRecovery::default());
        let expected: Vec<_> = (0..50).map(record).collect();
        for record in &expected {
            // Nobody waits for them: the last one comes after all.
            drop(journal.append(record.clone()));
        }
        journal.close().await.unwrap();
        assert!(matches!(
            journal.append(record(0)).await,
            Err(Error::Closed)
        ));
        let (journal, recovery) = open(&disk, &path).await;
        assert_eq!((recovery.records, recovery.torn_tail), (expected, None));
        assert_eq!(journal.records_count(), 50);
        assert_eq!(journal.size_bytes(), fs::metadata(&path).unwrap().len());
        journal.close().await.unwrap();
    });
}

#[test]
fn what_comes_during_a_sync_shares_the_next() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (journal, _) = open(&disk, &directory.join("j")).await;
        let before = disk.script.syncs.get();
        disk.script.hold_syncs.set(true);
        let first = journal.append(record(0));
        until(|| disk.script.held_count() == 1).await;
        let rest: Vec<_> = (1..10)
            .map(|number| journal.append(record(number)))
            .collect();
        disk.script.release();
        first.await.unwrap();
        for waiter in rest {
            waiter.await.unwrap();
        }
        assert_eq!(disk.script.syncs.get() - before, 2);
        journal.close().await.unwrap();
    });
}

#[test]
fn a_rewrite_replaces_what_came_before_and_keeps_what_comes_after() {
    on_each_driver(async |disk, directory| {
        let path = directory.join("j");
        let (journal, _) = open(&disk, &path).await;
        (0..20).for_each(|number| drop(journal.append(record(number))));
        let rewritten = journal.rewrite(vec![record(100), record(101)]);
        drop(journal.append(record(102)));
        rewritten.await.unwrap();
        journal.close().await.unwrap();
        assert_eq!(journal.records_count(), 3);
        assert!(!directory.join("j.new").exists());
        let (journal, recovery) = open(&disk, &path).await;
        assert_eq!(recovery.records, [record(100), record(101), record(102)]);
        journal.rewrite(Vec::new()).await.unwrap();
        journal.close().await.unwrap();
        let (journal, recovery) = open(&disk, &path).await;
        assert_eq!(recovery.records, Vec::<Bytes>::new());
        journal.close().await.unwrap();
    });
}

#[test]
fn a_rewrite_that_was_not_finished_did_not_happen() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let path = directory.join("j");
        let (journal, _) = open(&disk, &path).await;
        journal.append(record(1)).await.unwrap();
        disk.script.sync_error.set(Some((EIO, 0)));
        assert!(matches!(
            journal.rewrite(vec![record(2)]).await,
            Err(Error::Io { .. })
        ));
        disk.script.sync_error.set(None);
        assert!(matches!(
            journal.append(record(3)).await,
            Err(Error::Fenced { .. })
        ));
        assert!(journal.close().await.is_err());
        assert!(
            directory.join("j.new").exists(),
            "as a crash would leave it"
        );
        let (journal, recovery) = open(&disk, &path).await;
        assert_eq!(recovery.records, [record(1)]);
        assert!(!directory.join("j.new").exists());
        journal.close().await.unwrap();
    });
}

#[test]
fn a_torn_tail_is_cut_at_any_byte_and_any_flip_of_it_is_seen() {
    on_each_driver(async |disk, directory| {
        let path = directory.join("j");
        let (journal, _) = open(&disk, &path).await;
        journal.append(record(1)).await.unwrap();
        journal.append(record(2)).await.unwrap();
        let last = journal.size_bytes();
        journal.append(record(3)).await.unwrap();
        journal.close().await.unwrap();
        let whole = fs::read(&path).unwrap();
        let record_end = last as usize + 32 + record(3).len();
        for at in last as usize..record_end {
            for flip in [false, true] {
                let mut damaged = whole.clone();
                match flip {
                    true => damaged[at] ^= 8,
                    false => damaged.truncate(at),
                }
                fs::write(&path, &damaged).unwrap();
                let (journal, recovery) = open(&disk, &path).await;
                assert_eq!(recovery.records, [record(1), record(2)], "{at} {flip}");
                let reported = recovery.torn_tail.map(|torn| torn.position);
                let nothing_there = !flip && at as u64 == last;
                assert_eq!(reported, (!nothing_there).then_some(last));
                journal.append(record(4)).await.unwrap();
                journal.close().await.unwrap();
                let (journal, recovery) = open(&disk, &path).await;
                assert_eq!(recovery.records, [record(1), record(2), record(4)]);
                assert_eq!(recovery.torn_tail, None);
                journal.close().await.unwrap();
            }
        }
    });
}

#[test]
fn damage_before_the_last_record_is_refused_with_its_place() {
    on_each_driver(async |disk, directory| {
        let path = directory.join("j");
        let (journal, _) = open(&disk, &path).await;
        journal.append(record(1)).await.unwrap();
        let second = journal.size_bytes();
        journal.append(record(2)).await.unwrap();
        journal.append(record(3)).await.unwrap();
        journal.close().await.unwrap();
        let whole = fs::read(&path).unwrap();
        let record_end = second as usize + 32 + record(2).len();
        for at in (0..32).chain(second as usize..record_end) {
            let mut damaged = whole.clone();
            damaged[at] ^= 8;
            fs::write(&path, &damaged).unwrap();
            match Journal::open(disk.clone(), &path).await {
                Err(Error::Corrupted(corruption)) => {
                    let expected = if at < 32 { 0 } else { second };
                    assert_eq!(
                        (corruption.path, corruption.position),
                        (path.clone(), expected)
                    );
                }
                other => panic!("{at}: {other:?}"),
            }
            assert_eq!(fs::read(&path).unwrap(), damaged, "nothing was changed");
        }
    });
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let path = directory.join("j");
        let (journal, _) = open(&disk, &path).await;
        journal.append(record(1)).await.unwrap();
        disk.script.write_bytes_max.set(Some(20));
        disk.script.write_error.set(Some((ENOSPC, 1)));
        assert!(is_full(&journal.append(record(2)).await.unwrap_err()));
        assert!(is_full(
            &journal.rewrite(vec![record(2)]).await.unwrap_err()
        ));
        disk.script.write_error.set(None);
        journal.append(record(3)).await.unwrap();
        journal.close().await.unwrap();
        let (journal, recovery) = open(&disk, &path).await;
        assert_eq!(
            (recovery.records, recovery.torn_tail),
            (vec![record(1), record(3)], None)
        );
        journal.close().await.unwrap();
    });
}

#[test]
fn limits_hold_at_the_edge_and_refuse_one_past() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let path = directory.join("j");
        let (journal, _) = open(&disk, &path).await;
        let edge = limits::JOURNAL_RECORD_BYTES_MAX as usize;
        journal.append(Bytes::from(vec![1; edge])).await.unwrap();
        let past = Bytes::from(vec![1; edge + 1]);
        assert!(matches!(
            journal.append(past.clone()).await,
            Err(Error::TooLarge { .. })
        ));
        assert!(matches!(
            journal.rewrite(vec![past]).await,
            Err(Error::TooLarge { .. })
        ));
        assert!(matches!(
            journal.append(Bytes::new()).await,
            Err(Error::InvalidBatch { .. })
        ));
        disk.script.hold_syncs.set(true);
        drop(journal.append(record(1)));
        until(|| disk.script.held_count() == 1).await;
        (0..limits::JOURNAL_PENDING_MAX).for_each(|_| drop(journal.append(record(1))));
        assert!(matches!(journal.append(record(1)).await, Err(Error::Busy)));
        disk.script.release();
        journal.close().await.unwrap();
        assert_eq!(
            journal.records_count(),
            2 + limits::JOURNAL_PENDING_MAX as u64
        );

        // One that is too large to be read into memory is refused; the edge itself is sparse.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[1], limits::JOURNAL_BYTES_MAX).unwrap();
        let opened = Journal::open(disk.clone(), &path).await;
        assert!(matches!(opened, Err(Error::TooLarge { .. })));
    });
}
