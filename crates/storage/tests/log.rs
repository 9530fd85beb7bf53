//! The log on real files: what goes in comes out, exactly, and once.

mod common;

use common::*;
use storage::{Error, LogOptions, WriteMode, limits};
use wire::batch::BatchView;

#[test]
fn batches_come_back_byte_for_byte() {
    on_each_driver(async |disk, directory| {
        for tail_bytes_max in [0, limits::TAIL_BYTES_DEFAULT] {
            let directory = directory.join(tail_bytes_max.to_string());
            std::fs::create_dir(&directory).unwrap();
            let options = LogOptions {
                tail_bytes_max,
                ..LogOptions::default()
            };
            let (log, report) = open_with(&disk, &directory, options).await;
            assert_eq!((report.segments_count, report.next_offset), (0, 0));
            let mut sent = Vec::new();
            // Sizes around every alignment, and one that is written as a part of its own.
            for (seed, payload_bytes) in (0..20).chain([100, 1_000, 70_000]).enumerate() {
                let batch = batch(seed as u64, 3, payload_bytes);
                sent.push(batch.clone());
                let appended = log.append(batch, 5).await.unwrap();
                assert_eq!(appended.base_offset, seed as u64 * 3);
            }
            for round in 0..2 {
                let log = if round == 0 {
                    log.clone()
                } else {
                    open(&disk, &directory).await.0
                };
                let stored = read_all(&log).await;
                let mut rest = &stored[..];
                for sent in &sent {
                    let (record, after) = rest.split_at(sent.len());
                    assert_verbatim(sent, record);
                    let header = BatchView::parse(record).unwrap().header();
                    assert_eq!((header.partition_id, header.base_timestamp), (PARTITION, 5));
                    rest = after;
                }
                assert!(rest.is_empty());
                assert_eq!(log.message_count(), sent.len() as u64 * 3);
                assert_eq!(log.size_bytes(), stored.len() as u64);
                log.close().await.unwrap();
            }
        }
    });
}

#[test]
fn reads_are_sliced_to_what_was_asked_for() {
    on_each_driver(async |disk, directory| {
        for options in [LogOptions::default(), small_segments()] {
            let directory = directory.join(options.tail_bytes_max.to_string());
            std::fs::create_dir(&directory).unwrap();
            let (log, _) = open_with(&disk, &directory, options).await;
            for seed in 0..30 {
                log.append(batch(seed, 10, 700), seed).await.unwrap();
            }
            assert!(options.tail_bytes_max > 0 || log.segments_count() > 2);
            for (start, count) in [(0, 1), (3, 4), (7, 10), (95, 110), (299, 5), (300, 5)] {
                let records = log.read(start, count, usize::MAX).await.unwrap();
                joined(&records);
                assert_eq!(records.first_offset, start);
                assert_eq!(records.message_count(), count.min(300 - start as u32));
            }
            // Bounded by bytes, but never nothing.
            let records = log.read(5, 100, 3_000).await.unwrap();
            joined(&records);
            assert!(records.bytes <= 3_000 && records.message_count() == 3);
            assert_eq!(log.read(5, 100, 1).await.unwrap().message_count(), 1);
            assert!(log.read(5, 0, 1_000).await.unwrap().is_empty());
            log.close().await.unwrap();
        }
    });
}

#[test]
fn times_are_found_without_reading_everything() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!(log.offset_at_timestamp(0).await.unwrap(), None);
        // Two batches share each time, and the clock runs backwards once.
        for seed in 0..200_u64 {
            let now = if seed == 101 {
                3
            } else {
                1_000 + seed / 2 * 10
            };
            let appended = log.append(batch(seed, 2, 400), now).await.unwrap();
            assert_eq!(appended.base_timestamp_us, 1_000 + seed / 2 * 10);
        }
        assert!(log.segments_count() > 2);
        for reopened in [false, true] {
            let log = match reopened {
                false => log.clone(),
                true => open_with(&disk, &directory, small_segments()).await.0,
            };
            for pair in 0..100 {
                let time = 1_000 + pair * 10;
                for (time, expected) in [(time - 9, pair * 4), (time, pair * 4)] {
                    assert_eq!(log.offset_at_timestamp(time).await.unwrap(), Some(expected));
                }
            }
            assert_eq!(log.offset_at_timestamp(0).await.unwrap(), Some(0));
            assert_eq!(log.offset_at_timestamp(1_991).await.unwrap(), None);
            log.close().await.unwrap();
        }
    });
}

#[test]
fn what_comes_during_a_sync_shares_the_next() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open(&disk, &directory).await;
        // The first append makes the segment.
        log.append(batch(9, 1, 10), 0).await.unwrap();
        let before = (disk.script.syncs.get(), log.syncs_count());
        disk.script.hold_syncs.set(true);
        let first = log.append(batch(0, 1, 10), 0);
        until(|| disk.script.held_count() == 1).await;
        // Order is fixed by the calls, whatever happens to the futures.
        let second = log.append(batch(1, 1, 10), 0);
        drop(log.append(batch(2, 1, 10), 0));
        let fourth = log.append(batch(3, 1, 10), 0);
        assert_eq!(log.next_offset(), 1, "nothing is visible before its sync");
        assert!(log.read(1, 10, 1_000).await.unwrap().is_empty());
        disk.script.release();
        assert_eq!(fourth.await.unwrap().base_offset, 4);
        assert_eq!(second.await.unwrap().base_offset, 2);
        assert_eq!(first.await.unwrap().base_offset, 1);
        assert_eq!(
            disk.script.syncs.get() - before.0,
            2,
            "one for the first, one for the rest"
        );
        assert_eq!(log.syncs_count() - before.1, 2);
        assert_eq!(
            log.read(0, 10, usize::MAX).await.unwrap().message_count(),
            5
        );
        log.close().await.unwrap();
    });
}

#[test]
fn a_log_rolls_and_reads_across_its_segments() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        let mut sent = Vec::new();
        for seed in 0..100 {
            // One of them is larger than a segment: it gets one of its own.
            let payload_bytes = if seed == 50 { 100_000 } else { 3_000 };
            let batch = batch(seed, 2, payload_bytes);
            sent.extend_from_slice(&batch);
            log.append(batch, seed).await.unwrap();
        }
        let segments_count = log.segments_count();
        assert!(segments_count > 10, "{segments_count}");
        let stored = read_all(&log).await;
        assert_eq!(stored.len(), sent.len());
        log.close().await.unwrap();

        let (log, report) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!(
            (report.segments_count, report.next_offset),
            (segments_count, 200)
        );
        assert_eq!(
            (report.indexes_rebuilt_count, &report.torn_tail),
            (0, &None)
        );
        assert_eq!(read_all(&log).await, stored);
        for file in std::fs::read_dir(&directory).unwrap() {
            let length = file.unwrap().metadata().unwrap().len();
            assert!(length <= limits::SEGMENT_BYTES_MIN || length > 200_000);
        }
        log.close().await.unwrap();
    });
}

#[test]
fn limits_hold_at_the_edge_and_refuse_one_past() {
    on_each_driver(async |disk, directory| {
        let disk = TestDisk::new(disk);
        let (log, _) = open(&disk, &directory).await;
        let edge = limits::BATCH_BYTES_MAX as usize;
        let overhead = batch(0, 2, 0).len();
        let payload_bytes = (edge - overhead) / 2;
        disk.script.hold_syncs.set(true);
        let first = log.append(batch(0, 2, payload_bytes), 0);
        let second = log.append(batch(1, 2, payload_bytes), 0);
        // Both together fill what may wait.
        let third = log.append(batch(2, 1, 0), 0);
        assert!(matches!(third.await, Err(Error::Busy)));
        let mut large = batch(3, 2, payload_bytes);
        large.resize(edge + 1, 0);
        assert!(matches!(
            log.append(large, 0).await,
            Err(Error::TooLarge { .. })
        ));
        disk.script.release();
        assert_eq!(first.await.unwrap().base_offset, 0);
        assert_eq!(second.await.unwrap().base_offset, 2);
        assert_eq!(log.append(batch(4, 1, 0), 0).await.unwrap().base_offset, 4);

        // Nothing else may be held below: what large batches leave to do in the background, a
        // checkpoint and the index of a sealed segment, is done when the log is closed.
        log.close().await.unwrap();
        let (log, _) = open(&disk, &directory).await;
        disk.script.hold_syncs.set(true);
        drop(log.append(batch(5, 1, 0), 0));
        until(|| disk.script.held_count() == 1).await;
        for _ in 0..limits::PENDING_BATCHES_MAX {
            drop(log.append(batch(6, 1, 0), 0));
        }
        assert!(matches!(
            log.append(batch(7, 1, 0), 0).await,
            Err(Error::Busy)
        ));
        disk.script.release();
        log.close().await.unwrap();
        assert_eq!(log.next_offset(), 6 + limits::PENDING_BATCHES_MAX as u64);
    });
}

#[test]
fn what_is_not_a_batch_is_refused_and_takes_no_offset() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open(&disk, &directory).await;
        let whole = batch(0, 2, 10);
        for length in [0, 10, 255, 256, whole.len() - 1] {
            let mut cut = whole.clone();
            cut.truncate(length);
            assert!(matches!(
                log.append(cut, 0).await,
                Err(Error::InvalidBatch { .. })
            ));
        }
        let mut longer = whole.clone();
        longer.extend_from_slice(b"x");
        assert!(matches!(
            log.append(longer, 0).await,
            Err(Error::InvalidBatch { .. })
        ));
        assert_eq!(log.append(whole, 0).await.unwrap().base_offset, 0);
        log.close().await.unwrap();
        assert!(matches!(
            log.append(batch(1, 1, 1), 0).await,
            Err(Error::Closed)
        ));
    });
}

#[test]
fn a_purged_log_goes_on_where_it_was() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        for seed in 0..40 {
            log.append(batch(seed, 2, 3_000), seed).await.unwrap();
        }
        // What is appended before the call goes, what comes after stays.
        drop(log.append(batch(40, 2, 10), 40));
        let purged = log.purge();
        drop(log.append(batch(41, 2, 10), 41));
        purged.await.unwrap();
        log.close().await.unwrap();
        assert_eq!(
            (log.first_offset(), log.next_offset(), log.segments_count()),
            (82, 84, 1)
        );

        let (log, report) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!((report.first_offset, report.next_offset), (82, 84));
        let records = log.read(0, 10, usize::MAX).await.unwrap();
        assert_eq!((records.first_offset, records.message_count()), (82, 2));
        log.purge().await.unwrap();
        log.purge().await.unwrap();
        assert_eq!(
            (log.first_offset(), log.message_count(), log.size_bytes()),
            (84, 0, 0)
        );
        assert_eq!(log.append(batch(0, 1, 1), 0).await.unwrap().base_offset, 84);
        log.close().await.unwrap();
    });
}

#[test]
fn old_segments_are_removed_whole() {
    on_each_driver(async |disk, directory| {
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        for seed in 0..60 {
            log.append(batch(seed, 1, 6_000), seed).await.unwrap();
        }
        let count = log.segments_count();
        log.remove_segments_before(0).await.unwrap();
        assert_eq!(log.segments_count(), count);
        log.remove_segments_before(25).await.unwrap();
        let first_offset = log.first_offset();
        assert!(first_offset <= 25 && first_offset > 10, "{first_offset}");
        joined(&log.read(0, 100, usize::MAX).await.unwrap());
        log.remove_segments_before(u64::MAX).await.unwrap();
        assert_eq!((log.segments_count(), log.next_offset()), (1, 60));
        assert!(log.message_count() > 0, "the active segment stays");
        log.close().await.unwrap();
    });
}

#[test]
fn every_way_to_write_gives_the_same_log() {
    on_each_driver(async |disk, directory| {
        let mut sent = Vec::new();
        // Each opening writes in another way than the one before, into the same segments.
        for opening in 0..8_u64 {
            let write_mode = match opening % 2 {
                0 => WriteMode::Direct,
                _ => WriteMode::Buffered,
            };
            let zero_ahead_bytes_max = match opening / 2 % 2 {
                0 => limits::ZERO_AHEAD_BYTES_DEFAULT,
                _ => 0,
            };
            let options = LogOptions {
                write_mode,
                zero_ahead_bytes_max,
                ..small_segments()
            };
            let (log, report) = open_with(&disk, &directory, options).await;
            assert_eq!((&report.torn_tail, &report.corruption), (&None, &None));
            assert_eq!(report.next_offset, sent.len() as u64 * 2);
            for number in 0..12 {
                let batch = batch(opening, 2, [10, 3_000, 30_000][number % 3]);
                sent.push(batch.clone());
                let appended = log.append(batch, 0).await.unwrap();
                assert_eq!(appended.base_offset, (sent.len() as u64 - 1) * 2);
            }
            let stored = read_all(&log).await;
            let mut rest = &stored[..];
            for sent in &sent {
                let (record, after) = rest.split_at(sent.len());
                assert_verbatim(sent, record);
                rest = after;
            }
            assert!(rest.is_empty());
            log.close().await.unwrap();
        }
    });
}

#[test]
fn a_partition_with_little_in_it_stays_small() {
    on_each_driver(async |disk, directory| {
        let options = LogOptions {
            write_mode: WriteMode::Direct,
            zero_ahead_bytes_max: limits::ZERO_AHEAD_BYTES_DEFAULT,
            ..LogOptions::default()
        };
        let (log, _) = open_with(&disk, &directory, options).await;
        for seed in 0..1_000 {
            log.append(batch(seed, 1, 100), 0).await.unwrap();
        }
        log.close().await.unwrap();
        let length = std::fs::metadata(segment(&directory, 0)).unwrap().len();
        // The header's block, an entry each, and zeros ahead: as many again.
        assert!(length <= 4_096 + 2 * 1_000 * 440, "{length}");
    });
}

/// A segment that is full hands over to a file that was made ready, and nothing is left of it.
#[test]
fn the_next_segment_is_made_ready_before_it_is_needed() {
    on_each_driver(async |disk, directory| {
        let options = LogOptions {
            write_mode: WriteMode::Direct,
            zero_ahead_bytes_max: limits::ZERO_AHEAD_BYTES_MIN,
            ..small_segments()
        };
        let spare = directory.join("next-segment.new");
        let (log, _) = open_with(&disk, &directory, options).await;
        let mut sent = Vec::new();
        for seed in 0..100 {
            let segments_count = log.segments_count();
            let ready = spare.exists();
            let batch = batch(seed, 1, 8_000);
            sent.push(batch.clone());
            log.append(batch, 0).await.unwrap();
            if segments_count > 0 && log.segments_count() > segments_count {
                assert!(ready, "there is none");
                let active = log.next_offset() - 1;
                let length = std::fs::metadata(segment(&directory, active))
                    .unwrap()
                    .len();
                let share = options.segment_bytes_max / limits::SPARE_SHARE;
                assert!(length >= share, "its zeros are there: {length}");
            }
            disk.drain().await;
        }
        assert!(log.segments_count() > 10);
        let stored = read_all(&log).await;
        for (sent, record) in sent.iter().zip(stored.chunks(sent[0].len())) {
            assert_verbatim(sent, record);
        }
        log.close().await.unwrap();
        assert!(!spare.exists());
        let (log, report) = open_with(&disk, &directory, options).await;
        assert_eq!((report.unfinished_count, report.next_offset), (0, 100));
        assert_eq!(read_all(&log).await, stored);
        log.close().await.unwrap();
    });
}
