//! The log against a vector: random operations, restarts and failing disks, on the simulated disk.
//!
//! The model is what producers were told. Whatever the disk did, everything acknowledged must be
//! there, in order and byte for byte, and nothing that was never appended. `SEED=<n>` runs one.

use std::{cell::Cell, path::Path, rc::Rc};

use bytes::{Bytes, BytesMut};
use wire::batch::{BATCH_HEADER_BYTES, BatchBuilder, BatchView, Batches, Message};

use crate::{
    Error, LogOptions, NearEnd, Opening, PartitionLog, SyncPolicy, WriteMode,
    disk::sim::{Content, Fault, Node, Operation, SimDisk},
    limits,
};

const DIRECTORY: &str = "/p";
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A batch that was appended; what became of it.
#[derive(Debug)]
struct Appended {
    base_offset: u64,
    count: u64,
    timestamp_us: u64,
    batch: Bytes,
}

#[derive(Debug, Default)]
struct Model {
    /// Acknowledged, or found after a restart.
    batches: Vec<Appended>,
    /// Failed without a word on whether they are stored: they may come back after a restart.
    doubtful: Vec<Appended>,
    first_offset_min: u64,
    now_us: u64,
    /// Where the last read stopped: consumers go on there.
    read_offset: u64,
}

impl Model {
    fn next_offset(&self) -> u64 {
        self.batches
            .last()
            .map_or(0, |last| last.base_offset + last.count)
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }

    fn batch(&mut self) -> BytesMut {
        let mut buffer = BytesMut::new();
        let mut builder = BatchBuilder::new(&mut buffer);
        for _ in 0..=self.below(4) {
            let bytes = if self.below(3) == 0 {
                self.below(20_000)
            } else {
                self.below(300)
            };
            let payload: Vec<u8> = (0..bytes).map(|at| (self.0 as u8) ^ at as u8).collect();
            let message = Message {
                id: u128::from(self.0),
                payload: &payload,
                ..Message::default()
            };
            builder.push(message).expect("within limits");
        }
        builder.finish().expect("not empty");
        buffer
    }
}

fn options(dice: &mut Dice) -> LogOptions {
    LogOptions {
        segment_bytes_max: limits::SEGMENT_BYTES_MIN,
        index_interval_bytes: limits::INDEX_INTERVAL_BYTES_MIN,
        tail_bytes_max: [0, 30_000, limits::TAIL_BYTES_DEFAULT][dice.below(3) as usize],
        write_mode: [WriteMode::Buffered, WriteMode::Direct][dice.below(2) as usize],
        zero_ahead_bytes_max: [0, limits::ZERO_AHEAD_BYTES_MIN][dice.below(2) as usize],
        checkpoint_bytes: [10_000, limits::CHECKPOINT_BYTES_DEFAULT][dice.below(2) as usize],
        sync_policy: [
            SyncPolicy::EveryBatch,
            SyncPolicy::EveryBatch,
            SyncPolicy::EveryBytes(10_000),
            SyncPolicy::EveryMillis(5),
            SyncPolicy::Never,
        ][dice.below(5) as usize],
    }
}

/// Plans a failure now and then; whether it may fence the log.
fn plan(disk: &SimDisk, dice: &mut Dice) {
    disk.heal();
    disk.set_write_bytes_max((dice.below(8) == 0).then(|| 1 + dice.below(5_000) as usize));
    let operation = match dice.below(12) {
        0 => Operation::Write,
        1 => Operation::Sync,
        2 => Operation::Name,
        3 => Operation::Read,
        4 => Operation::SetLength,
        _ => return,
    };
    let error = if dice.below(2) == 0 { EIO } else { ENOSPC };
    let (after, count) = (dice.below(6) as usize, 1 + dice.below(3) as usize);
    disk.plan(Fault {
        operation,
        after,
        count,
        error,
    });
}

async fn open(
    disk: &SimDisk,
    model: &mut Model,
    dice: &mut Dice,
    near_end: NearEnd,
) -> PartitionLog<SimDisk> {
    let opening = Opening {
        near_end,
        ..Opening::default()
    };
    let directory = Path::new(DIRECTORY);
    let opened = PartitionLog::open_with(disk.clone(), directory, 1, options(dice), opening);
    let (log, report) = opened.await.expect("a disk that works opens");
    assert_eq!(report.corruption, None, "nothing was damaged");
    let known = model.next_offset();
    assert!(
        report.next_offset >= known,
        "lost: {} of {known}",
        report.next_offset
    );
    // Appends that failed may be there all the same, a prefix of them.
    for doubtful in model.doubtful.drain(..) {
        let next = model
            .batches
            .last()
            .map_or(0, |last| last.base_offset + last.count);
        if doubtful.base_offset == next && next < report.next_offset {
            model.batches.push(doubtful);
        }
    }
    assert_eq!(
        report.next_offset,
        model.next_offset(),
        "found what was never appended"
    );
    assert!(report.first_offset >= model.first_offset_min);
    log
}

/// Appends a few batches at once; gives whether the log still takes some.
async fn append(log: &PartitionLog<SimDisk>, model: &mut Model, dice: &mut Dice) -> bool {
    let mut waiting = Vec::new();
    let mut next_offset = model.next_offset();
    for _ in 0..=dice.below(5) {
        let batch = dice.batch();
        model.now_us += dice.below(5);
        let count = u64::from(BatchView::parse(&batch).expect("a batch").message_count());
        let appended = Appended {
            base_offset: next_offset,
            count,
            timestamp_us: model.now_us,
            batch: batch.clone().freeze(),
        };
        next_offset += count;
        waiting.push((appended, log.append(batch, model.now_us)));
    }
    let mut open = true;
    for (appended, result) in waiting {
        match result.await {
            Ok(found) => {
                assert!(open, "an append succeeded behind one that failed");
                assert_eq!(found.base_offset, appended.base_offset);
                model.batches.push(appended);
            }
            Err(Error::Full { .. }) => open = false,
            Err(Error::Io { .. } | Error::Fenced { .. }) => {
                open = false;
                model.doubtful.push(appended);
            }
            Err(error) => panic!("{error}"),
        }
    }
    open
}

async fn read(log: &PartitionLog<SimDisk>, model: &mut Model, dice: &mut Dice) {
    let next = log.next_offset();
    assert_eq!(
        next,
        model.next_offset(),
        "visible is what was acknowledged"
    );
    let start = match dice.below(3) {
        0 => dice.below(next + 2),
        _ => model.read_offset,
    };
    let count = 1 + dice.below(30) as u32;
    let bytes = dice.below(50_000) as usize;
    let records = match log.read(start, count, bytes).await {
        Ok(records) => records,
        Err(Error::Io { .. } | Error::Full { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let first = start.max(log.first_offset());
    assert_eq!(records.first_offset, first);
    assert!(records.message_count() <= count);
    assert_eq!(records.is_empty(), first >= next);
    assert!(records.bytes <= bytes.max(1) || records.message_count() == 1);
    let mut offset = first;
    for view in Batches::new(&records.parts.concat()) {
        let view = view.expect("whole records");
        view.verify_checksums().expect("checksums hold");
        let at = model
            .batches
            .partition_point(|batch| batch.base_offset + batch.count <= offset);
        let sent = BatchView::parse(&model.batches[at].batch).expect("a batch");
        let skipped = (offset - model.batches[at].base_offset) as usize;
        for (found, sent) in view.frames().zip(sent.frames().skip(skipped)) {
            assert_eq!((found.offset(), found.bytes()), (offset, sent.bytes()));
            offset += 1;
        }
        assert_eq!(view.header().base_timestamp, model.batches[at].timestamp_us);
    }
    assert_eq!(offset, records.next_offset);
    model.read_offset = offset;
}

async fn look_up(log: &PartitionLog<SimDisk>, model: &Model, dice: &mut Dice) {
    let time = dice.below(model.now_us + 3);
    let live = model
        .batches
        .iter()
        .filter(|batch| batch.base_offset >= log.first_offset());
    let expected = live.clone().find(|batch| batch.timestamp_us >= time);
    match log.offset_at_timestamp(time).await {
        Ok(found) => assert_eq!(found, expected.map(|batch| batch.base_offset)),
        Err(Error::Io { .. } | Error::Full { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn remove(log: &PartitionLog<SimDisk>, model: &mut Model, dice: &mut Dice) -> bool {
    let before_offset = dice.below(model.next_offset() + 2);
    let purge = dice.below(3) == 0;
    remove_before(log, model, before_offset, purge).await
}

/// What retention does when the active segment is nearly full; the file becomes the next one's.
async fn remove_oldest(log: &PartitionLog<SimDisk>, model: &mut Model) -> bool {
    let before_offset = log.offset_after_segments(1).min(model.next_offset());
    remove_before(log, model, before_offset, false).await
}

async fn remove_before(
    log: &PartitionLog<SimDisk>,
    model: &mut Model,
    before_offset: u64,
    purge: bool,
) -> bool {
    let before = log.first_offset();
    let result = match purge {
        true => log.purge().await,
        false => log.remove_segments_before(before_offset).await.map(drop),
    };
    let first_offset = log.first_offset();
    let wanted = if purge {
        model.next_offset()
    } else {
        before_offset
    };
    assert!(first_offset <= wanted.max(before));
    assert!(first_offset >= before, "removed messages came back");
    if purge && result.is_ok() {
        assert_eq!(log.first_offset(), model.next_offset());
    }
    if result.is_ok() {
        model.first_offset_min = first_offset;
    }
    match result {
        Ok(()) | Err(Error::Full { .. }) => true,
        Err(Error::Io { .. } | Error::Fenced { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Removal by age: whole segments, none with a message that is young enough.
async fn expire(log: &PartitionLog<SimDisk>, model: &mut Model, dice: &mut Dice) -> bool {
    let time = dice.below(model.now_us + 3);
    let segments_max = dice.below(4) as usize;
    let (before, segments_before) = (log.first_offset(), log.segments_count());
    let result = log.remove_expired(time, segments_max).await;
    let first_offset = log.first_offset();
    let young = model
        .batches
        .iter()
        .find(|batch| batch.timestamp_us >= time);
    let first_young = young.map_or(model.next_offset(), |batch| batch.base_offset);
    assert!(first_offset >= before, "removed messages came back");
    assert!(
        first_offset <= first_young.max(before),
        "removed what is young"
    );
    match result {
        Ok(removed) => {
            assert!(removed.segments_count <= segments_max as u64);
            assert_eq!(removed.segments_count > 0, first_offset > before);
            if first_young == model.next_offset() && segments_max >= segments_before {
                assert_eq!(first_offset, first_young, "a quiet log expires whole");
            }
            model.first_offset_min = first_offset;
            true
        }
        Err(Error::Full { .. }) => true,
        Err(Error::Io { .. } | Error::Fenced { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Returns how often a file that was recycled was found when a log was closed.
fn run(seed: u64) -> usize {
    let mut recycled_count = 0;
    let mut dice = Dice(seed);
    let mut model = Model::default();
    let mut content: Content = SimDisk::with_directory(Path::new(DIRECTORY), seed).content();
    for _ in 0..4 {
        let disk = SimDisk::new(content, dice.below(u64::MAX >> 33));
        disk.run(async {
            let is_near_end = Rc::new(Cell::new(false));
            let told = Rc::clone(&is_near_end);
            let near_end = NearEnd::new(move || told.set(true));
            let log = open(&disk, &mut model, &mut dice, near_end).await;
            for _ in 0..40 {
                plan(&disk, &mut dice);
                let goes_on = match dice.below(10) {
                    0..8 if is_near_end.take() => remove_oldest(&log, &mut model).await,
                    0..4 => append(&log, &mut model, &mut dice).await,
                    4..7 => {
                        read(&log, &mut model, &mut dice).await;
                        true
                    }
                    7 => {
                        look_up(&log, &model, &mut dice).await;
                        true
                    }
                    8 => expire(&log, &mut model, &mut dice).await,
                    _ => remove(&log, &mut model, &mut dice).await,
                };
                if !goes_on && matches!(log.refusal(), Some(Error::Fenced { .. })) {
                    break;
                }
            }
            disk.heal();
            disk.set_write_bytes_max(None);
            let fenced = matches!(log.refusal(), Some(Error::Fenced { .. }));
            read(&log, &mut model, &mut dice).await;
            // What could not be removed may still be there; a full disk is forgiven.
            assert_eq!(log.close().await.is_err(), fenced);
        });
        disk.drain();
        content = disk.content();
        recycled_count += recycled(&content);
    }
    assert!(
        model
            .batches
            .iter()
            .all(|sent| sent.batch.len() > BATCH_HEADER_BYTES)
    );
    recycled_count
}

/// Segments in files of older ones: their header says format 2.
fn recycled(content: &Content) -> usize {
    let names = content.directories[Path::new(DIRECTORY)].iter();
    let segments = names.filter_map(|(name, node)| match node {
        Node::File(number) if name.ends_with(".log") => Some(&content.files[*number]),
        _ => None,
    });
    segments.filter(|bytes| bytes.get(8) == Some(&2)).count()
}

#[test]
fn the_log_behaves_like_a_vector() {
    match std::env::var("SEED") {
        Ok(seed) => {
            run(seed.parse().expect("SEED is a number"));
        }
        Err(_) => {
            let recycled_counts = (0..400).map(|seed| {
                println!("SEED={seed}");
                run(seed)
            });
            assert!(
                recycled_counts.sum::<usize>() > 50,
                "hardly any was recycled"
            );
        }
    }
}
