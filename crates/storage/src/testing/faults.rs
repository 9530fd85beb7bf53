//! The faults of a disk, each of them at each operation: an error at the n-th write, sync, read,
//! cut or name, a disk that is full from the n-th write on, short writes of awkward lengths, files
//! cut at every byte of their last block. All in every way to write.

use std::{path::Path, rc::Rc};

use super::sample::{Dice, PARTITION, Stored, WAYS, file_at, options, read_all};
use crate::{
    Error, LogOptions, PartitionLog, RecoveryReport,
    disk::sim::{Content, Event, Fault, Operation, SimDisk},
    layout,
};

const DIRECTORY: &str = "/p";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Batches of a run: enough to fill two segments.
const BATCHES_COUNT: u64 = 40;

/// What was acknowledged, by base offset, and the bytes of everything that was ever sent.
#[derive(Debug, Default)]
struct Told {
    acknowledged: Vec<(u64, Vec<u8>)>,
    /// Sent when the disk had failed: may be there after a restart.
    doubtful: Vec<(u64, Vec<u8>)>,
    first_offset_max: u64,
}

async fn open(
    disk: &SimDisk,
    options: LogOptions,
) -> Result<(PartitionLog<SimDisk>, RecoveryReport), Error> {
    PartitionLog::open(disk.clone(), Path::new(DIRECTORY), PARTITION, options).await
}

/// Sends batches two at a time, reads and removes in between, until the log is fenced or all are
/// sent.
async fn work(disk: &SimDisk, options: LogOptions, told: &mut Told) {
    let Ok((log, _)) = open(disk, options).await else {
        return;
    };
    let mut dice = Dice(7);
    for number in 0..BATCHES_COUNT / 2 {
        let mut waiting = Vec::new();
        let mut next_offset = log.next_offset();
        for _ in 0..2 {
            let batch = dice.batch();
            let sent = batch.to_vec();
            let count = u32::from_le_bytes(sent[48..52].try_into().expect("four bytes"));
            waiting.push((next_offset, sent, log.append(batch, 1_000)));
            next_offset += u64::from(count);
        }
        for (base_offset, sent, result) in waiting {
            match result.await {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, base_offset, "offsets are dense");
                    told.acknowledged.push((base_offset, sent));
                }
                Err(Error::Full { .. }) => {}
                Err(Error::Io { .. } | Error::Fenced { .. }) => {
                    told.doubtful.push((base_offset, sent));
                }
                Err(error) => panic!("{error}"),
            }
        }
        let found = log.read(log.first_offset(), u32::MAX, 20_000).await;
        if let Ok(records) = found {
            check_bytes(&records.parts.concat(), told);
        }
        if number == BATCHES_COUNT / 2 - 3 {
            told.first_offset_max = log.offset_after_segments(1);
            // It may fail; what was removed stays bounded by what was asked for.
            let _ = log.remove_segments_before(told.first_offset_max).await;
        }
    }
    // The error that fenced it was looked at above.
    let _ = log.close().await;
}

/// Records as they are stored, compared with what was acknowledged at their offsets.
fn check_bytes(records: &[u8], told: &Told) {
    for view in wire::batch::Batches::new(records) {
        let view = view.expect("whole records");
        let known = told.acknowledged.iter().chain(&told.doubtful);
        let mut known = known.filter(|(base_offset, _)| *base_offset == view.first_offset());
        let body = |bytes: &[u8]| bytes[wire::batch::BATCH_HEADER_BYTES..].to_vec();
        // The last record that fits a read may be cut after a message.
        let is_known = known.any(|(_, sent)| body(sent).starts_with(&body(view.bytes())));
        assert!(is_known, "wrong bytes at {}", view.first_offset());
        view.verify_checksums().expect("checksums hold");
    }
}

/// Opens what the run left on a disk that works again.
fn check(content: Content, options: LogOptions, told: &Told) {
    let disk = SimDisk::new(content, 1);
    disk.run(async {
        let (log, report) = open(&disk, options).await.expect("a disk that works opens");
        assert_eq!(report.corruption, None, "nothing was damaged");
        assert!(report.first_offset <= told.first_offset_max);
        let found = read_all(&log, &[]).await.expect("reads");
        let records: Vec<u8> = found
            .records
            .iter()
            .flat_map(|one| one.bytes.clone())
            .collect();
        check_bytes(&records, told);
        for (base_offset, _) in &told.acknowledged {
            let is_there = found
                .records
                .iter()
                .any(|one| one.base_offset == *base_offset);
            assert!(
                is_there || *base_offset < report.first_offset,
                "{base_offset} was acknowledged"
            );
        }
        let appended = log.append(Dice(1).batch(), 2_000).await.expect("goes on");
        assert_eq!(appended.base_offset, report.next_offset);
        log.close().await.expect("closes");
    });
    disk.drain();
}

/// Runs with this failure at the n-th operation for every n that there is; how many there were.
fn fail_everywhere(options: LogOptions, operation: Operation, error: i32, count: usize) -> usize {
    for after in 0.. {
        let disk = SimDisk::with_directory(Path::new(DIRECTORY), after as u64);
        let fault = Fault {
            operation,
            after,
            count,
            error,
        };
        disk.plan(fault);
        let mut told = Told::default();
        disk.run(work(&disk, options, &mut told));
        disk.drain();
        let fired = count - disk.planned_count();
        disk.heal();
        check(disk.content(), options, &told);
        if fired == 0 {
            assert_eq!(told.acknowledged.len() as u64, BATCHES_COUNT);
            return after;
        }
    }
    unreachable!("a run has an end")
}

#[test]
fn an_error_at_any_operation_loses_nothing_that_was_acknowledged() {
    for way in WAYS {
        for operation in [
            Operation::Write,
            Operation::Sync,
            Operation::Read,
            Operation::SetLength,
            Operation::Name,
        ] {
            for error in [EIO, ENOSPC] {
                let places = fail_everywhere(options(way), operation, error, 1);
                println!("{way:?}, {operation:?}, error {error}: {places} places");
                assert!(places > 0 || operation == Operation::SetLength);
            }
        }
    }
}

#[test]
fn a_disk_that_stays_full_loses_nothing_and_takes_appends_when_there_is_space() {
    for way in WAYS {
        fail_everywhere(options(way), Operation::Write, ENOSPC, 1_000_000);
    }
}

/// A disk gives what it can and then nothing: every size from empty to roomy, in steps that are no
/// multiple of a block.
#[test]
fn a_disk_of_any_size_runs_full_without_loss() {
    for way in WAYS {
        for bytes_max in (0..260_000).step_by(4_099) {
            let disk = SimDisk::with_directory(Path::new(DIRECTORY), bytes_max);
            disk.set_bytes_max(Some(bytes_max));
            let mut told = Told::default();
            disk.run(work(&disk, options(way), &mut told));
            disk.drain();
            check(disk.content(), options(way), &told);
        }
    }
}

#[test]
fn short_writes_of_any_length_lose_nothing() {
    for way in WAYS {
        for bytes_max in [1_000, 4_095, 4_096, 4_097, 8_192, 12_288, 20_000] {
            let disk = SimDisk::with_directory(Path::new(DIRECTORY), 1);
            let mut told = Told::default();
            disk.set_write_bytes_max(Some(bytes_max));
            disk.run(work(&disk, options(way), &mut told));
            disk.drain();
            disk.set_write_bytes_max(None);
            check(disk.content(), options(way), &told);
            // Past the page cache a rest that begins inside a block cannot be written: it fences.
            let is_continued = way.0 == crate::WriteMode::Buffered || bytes_max % 4_096 == 0;
            let all = told.acknowledged.len() as u64 == BATCHES_COUNT;
            assert!(all || !is_continued, "{way:?}, {bytes_max} bytes at once");
        }
    }
}

/// A log with sealed segments and one that is active, which holds some blocks; and its records.
fn written(options: LogOptions) -> (Content, Vec<Stored>) {
    let disk = SimDisk::with_directory(Path::new(DIRECTORY), 1);
    let records = disk.run(async {
        let (log, _) = open(&disk, options).await.expect("opens");
        let mut dice = Dice(5);
        while log.segments_count() < 2 || log.size_bytes() < 75_000 {
            log.append(dice.batch(), 1_000).await.expect("appends");
        }
        let records = read_all(&log, &[]).await.expect("reads").records;
        log.close().await.expect("closes");
        records
    });
    disk.drain();
    (disk.content(), records)
}

/// Bytes of a file up to the last one that is not zero.
fn used(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

#[test]
fn a_log_cut_at_any_byte_of_its_last_block_gives_what_lies_before() {
    // Zeros ahead lie behind the cut and change nothing.
    for way in [WAYS[0], WAYS[2]] {
        // Without a checkpoint nothing tells that the last record had been durable.
        let options = LogOptions {
            checkpoint_bytes: crate::limits::CHECKPOINT_BYTES_DEFAULT,
            ..options(way)
        };
        let (content, known) = written(options);
        let active = last_segment(&content);
        let used = used(&content.files[active]);
        for cut in used.saturating_sub(4_096)..=used {
            let mut content = content.clone();
            Rc::make_mut(&mut content.files[active]).truncate(cut);
            let disk = SimDisk::new(content, 1);
            disk.run(async {
                let (log, report) = open(&disk, options).await.expect("opens");
                assert_eq!(report.corruption, None, "cut at {cut}");
                let found = read_all(&log, &[]).await.expect("reads").records;
                assert!(known.starts_with(&found), "cut at {cut}");
                let is_whole = cut == used;
                assert_eq!(
                    found.len() == known.len(),
                    is_whole,
                    "cut at {cut} of {used}"
                );
                if let Some(torn) = &report.torn_tail {
                    assert!(torn.position < cut as u64 && torn.bytes_cut > 0);
                }
                let appended = log.append(Dice(1).batch(), 2_000).await.expect("goes on");
                assert_eq!(appended.base_offset, report.next_offset);
                log.close().await.expect("closes");
                // Every byte is worth a start, and some of them a second one.
                if cut % 16 > 0 {
                    return;
                }
                let (log, again) = open(&disk, options).await.expect("opens");
                assert_eq!((again.torn_tail, again.corruption), (None, None));
                let found_again = read_all(&log, &[]).await.expect("reads").records;
                assert_eq!(found_again.len(), found.len() + 1, "cut at {cut}");
                assert!(found_again.starts_with(&found), "cut at {cut}");
                log.close().await.expect("closes");
            });
        }
    }
}

/// What lies in a sealed segment had been durable: that it is gone is damage, not a torn tail.
#[test]
fn a_sealed_segment_cut_at_any_byte_of_its_last_block_is_told() {
    for way in WAYS {
        let (content, known) = written(options(way));
        let sealed = file_at(&content, &layout::segment_path(Path::new(DIRECTORY), 0));
        let offsets: Vec<u64> = known.iter().map(|record| record.base_offset).collect();
        let used = used(&content.files[sealed]);
        for cut in used - 4_096..used {
            let mut content = content.clone();
            Rc::make_mut(&mut content.files[sealed]).truncate(cut);
            let disk = SimDisk::new(content, 1);
            disk.run(async {
                let (log, report) = open(&disk, options(way)).await.expect("opens");
                assert_eq!(report.torn_tail, None, "cut at {cut}");
                let found = read_all(&log, &offsets).await.expect("reads");
                assert!(
                    report.corruption.is_some() || found.is_damage_told,
                    "cut at {cut} of {used}"
                );
                assert!(found.records.len() < known.len());
                assert!(found.records.iter().all(|record| known.contains(record)));
                // It may be fenced, which was told above.
                let _ = log.close().await;
            });
        }
    }
}

fn last_segment(content: &Content) -> usize {
    let files = super::sample::files(content);
    let mut segments = files
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|ending| ending == "log"));
    segments.next_back().expect("a segment").1
}

/// A power cut could take a log whose last durable name is removed, and its offsets would begin
/// again.
#[test]
fn the_last_durable_name_stays_until_the_next_one_is_durable() {
    let disk = SimDisk::with_directory(Path::new(DIRECTORY), 1);
    let events = disk.run(async {
        let (log, _) = open(&disk, options(WAYS[0])).await.expect("opens");
        let mut dice = Dice(7);
        while log.segments_count() < 2 {
            log.append(dice.batch(), 1_000).await.expect("appends");
        }
        let active = Rc::clone(log.shared.state.borrow().active());
        assert!(!active.must_sync_name.get(), "what it holds is durable");
        // As between a roll and the end of its first group.
        active.must_sync_name.set(true);
        disk.record(1);
        let removed = log.remove_segments_before(u64::MAX).await.expect("removes");
        assert_eq!((removed.segments_count, log.segments_count()), (1, 1));
        assert!(!active.must_sync_name.get());
        disk.take_events()
    });
    let place = |is: fn(&Event) -> bool| events.iter().position(is).expect("it happened");
    let synced = place(|event| matches!(event, Event::DirectorySynced { .. }));
    let removed = place(|event| matches!(event, Event::Name { node: None, .. }));
    assert!(synced < removed, "{events:?}");
}
