//! The crash explorer: runs a log on the simulated disk, cuts the power at every event, opens what
//! may be left in many ways, and checks the promises. From some of those states it goes on, so
//! that recovery itself, and what is appended after it, are cut too.
//!
//! `SEED=<n>` runs one seed. The planted bugs prove that the explorer can see.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use wire::batch::{BATCH_HEADER_BYTES, BatchBuilder, BatchView, Batches, Message};

use super::{crash::CrashSpace, sample::files};
use crate::{
    LogOptions, PartitionLog, SyncPolicy, WriteMode,
    disk::{
        Disk,
        sim::{Content, Event, SimDisk},
    },
    limits,
    planted::{Bug, plant},
};

const DIRECTORY: &str = "/p";
/// Time of every append.
const NOW_US: u64 = 1_000;
/// Turns that an operation takes at most while events are recorded.
const TURNS_MAX: u64 = 2;

/// What was asked of the log and answered, each with the number of events before.
#[derive(Debug, Default)]
struct History {
    /// Durable or not, by base offset: batches known from before this power cycle.
    before: BTreeMap<u64, Bytes>,
    /// What was acknowledged before this power cycle.
    acknowledged_before: u64,
    /// Offset that recovery found, once it was done.
    opened: Option<(usize, u64)>,
    /// Batches of this power cycle, by base offset.
    sent: BTreeMap<u64, Bytes>,
    /// Next offsets that were acknowledged, or known to be durable.
    acknowledged: Vec<(usize, u64)>,
    /// Next offsets that were acknowledged before they had to be durable.
    promised: Vec<(usize, u64)>,
    /// Offsets before which removal was asked for.
    removal_asked: Vec<(usize, u64)>,
    /// Offsets before which a purge was acknowledged.
    purged: Vec<(usize, u64)>,
}

impl History {
    fn at<'a>(list: &'a [(usize, u64)], events: usize) -> impl Iterator<Item = u64> + 'a {
        list.iter()
            .filter(move |(number, _)| *number <= events)
            .map(|(_, offset)| *offset)
    }

    fn is_open_at(&self, events: usize) -> Option<u64> {
        self.opened
            .filter(|(number, _)| *number <= events)
            .map(|(_, offset)| offset)
    }

    /// What must be there after a power cut.
    fn acknowledged_at(&self, events: usize) -> u64 {
        let recovered = self.is_open_at(events).unwrap_or(0);
        let acknowledged = Self::at(&self.acknowledged, events).max().unwrap_or(0);
        self.acknowledged_before.max(recovered).max(acknowledged)
    }

    /// The batch that may be at this offset.
    fn expected(&self, base_offset: u64, events: usize) -> Option<&Bytes> {
        match self.is_open_at(events) {
            Some(recovered) if base_offset >= recovered => self.sent.get(&base_offset),
            _ => self.before.get(&base_offset),
        }
    }
}

fn random(state: &mut u64, bound: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % bound
}

/// With `aligned`, entries end where sectors do, so that a power cut can separate them cleanly.
fn batch(state: &mut u64, aligned: bool) -> BytesMut {
    if aligned {
        let entry_bytes = 512 * (1 + random(state, 4));
        return batch_of(state, &[entry_bytes - 32 - 256 - 48]);
    }
    let sizes: Vec<u64> = (0..=random(state, 3))
        .map(|_| match random(state, 4) {
            0 => random(state, 100),
            1 | 2 => random(state, 3_000),
            _ => random(state, 14_000),
        })
        .collect();
    batch_of(state, &sizes)
}

/// A batch that is small beside a segment, so that segments are nearly full when they are sealed.
fn small_batch(state: &mut u64, aligned: bool) -> BytesMut {
    let bytes = match aligned {
        true => 512 * (1 + random(state, 20)) - 32 - 256 - 48,
        false => random(state, 10_000),
    };
    batch_of(state, &[bytes])
}

/// A batch of messages with payloads of these sizes and some content.
fn batch_of(state: &mut u64, sizes: &[u64]) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    for payload_bytes in sizes.iter().copied() {
        let fill = random(state, 256) as u8;
        let payload: Vec<u8> = (0..payload_bytes)
            .map(|at| fill.wrapping_add(at as u8))
            .collect();
        let message = Message {
            id: u128::from(*state),
            payload: &payload,
            ..Message::default()
        };
        builder.push(message).expect("within limits");
    }
    builder.finish().expect("not empty");
    buffer
}

/// Seeds take turns with the ways to write.
fn options(seed: u64) -> LogOptions {
    let (write_mode, zero_ahead_bytes_max) = match seed % 4 {
        1 if recycles(seed) => (WriteMode::Direct, limits::ZERO_AHEAD_BYTES_MIN),
        2 if recycles(seed) => (WriteMode::Buffered, limits::ZERO_AHEAD_BYTES_MIN),
        1 | 2 => (WriteMode::Buffered, 0),
        3 => (WriteMode::Direct, limits::ZERO_AHEAD_BYTES_MIN),
        _ => (WriteMode::Buffered, limits::ZERO_AHEAD_BYTES_MIN),
    };
    LogOptions {
        write_mode,
        zero_ahead_bytes_max,
        checkpoint_bytes: limits::INDEX_INTERVAL_BYTES_MIN.into(),
        segment_bytes_max: limits::SEGMENT_BYTES_MIN,
        index_interval_bytes: limits::INDEX_INTERVAL_BYTES_MIN,
        tail_bytes_max: 0,
        sync_policy: match seed % 16 {
            _ if recycles(seed) => SyncPolicy::EveryBatch,
            8..=11 => SyncPolicy::EveryBytes(UNSYNCED_BYTES),
            12 | 13 => SyncPolicy::EveryMillis(1),
            14 | 15 => SyncPolicy::Never,
            _ => SyncPolicy::EveryBatch,
        },
    }
}

/// Seeds from here on keep segments coming and going, so that files are recycled: even ones through
/// the page cache, odd ones past it.
const RECYCLING_SEED: u64 = 1_000;

fn recycles(seed: u64) -> bool {
    seed >= RECYCLING_SEED
}

/// Of the logs that acknowledge so much before they sync.
const UNSYNCED_BYTES: u64 = 30_000;

/// Works on a log for a while, and writes down what was promised.
fn work(disk: &SimDisk, history: History, steps: usize, state: &mut u64, seed: u64) -> History {
    let aligned = (seed + seed / 4).is_multiple_of(2);
    let history = Rc::new(RefCell::new(history));
    disk.run(async {
        let opened = PartitionLog::open(disk.clone(), Path::new(DIRECTORY), 1, options(seed)).await;
        let (log, report) = opened.expect("opens");
        history.borrow_mut().opened = Some((disk.events_count(), report.next_offset));
        let mut next_offset = report.next_offset;
        // Producers send again what was not acknowledged: the same sizes at the same places.
        let lost: Vec<Bytes> = {
            let history = history.borrow();
            history
                .before
                .range(next_offset..)
                .map(|(_, batch)| batch.clone())
                .take(4)
                .collect()
        };
        for lost in lost {
            let view = BatchView::parse_layout(&lost).expect("a batch");
            let sizes: Vec<u64> = view
                .frames()
                .map(|frame| u64::from(frame.payload_length()))
                .collect();
            let again = batch_of(state, &sizes);
            append(disk, &log, &history, &mut next_offset, again);
        }
        for _ in 0..steps {
            // The segment that was sealed last still has work to do.
            if recycles(seed) && log.segments_count() > 2 && random(state, 3) == 0 {
                let before_offset = log.offset_after_segments(log.segments_count() - 2);
                remove(disk, &log, &history, before_offset, Removal::Sealed);
            }
            match random(state, if recycles(seed) { 96 } else { 24 }) {
                0 => remove(disk, &log, &history, next_offset, Removal::Purge),
                1 => remove(disk, &log, &history, next_offset / 2, Removal::Sealed),
                2 => remove(disk, &log, &history, next_offset, Removal::Expired),
                _ => {
                    for _ in 0..=random(state, 3) {
                        let batch = match recycles(seed) {
                            true => small_batch(state, aligned),
                            false => batch(state, aligned),
                        };
                        append(disk, &log, &history, &mut next_offset, batch);
                    }
                }
            }
            if random(state, 3) > 0 {
                wait(disk, &log, next_offset).await;
            }
        }
        log.close().await.expect("no failures were planned");
        // Whatever the policy.
        let closed = (disk.events_count(), next_offset);
        history.borrow_mut().acknowledged.push(closed);
    });
    disk.drain();
    Rc::try_unwrap(history)
        .expect("all work is done")
        .into_inner()
}

/// Turns until everything that was appended is durable.
async fn wait(disk: &SimDisk, log: &PartitionLog<SimDisk>, next_offset: u64) {
    while log.next_offset() < next_offset {
        // Any operation takes its turns.
        disk.list(Path::new(DIRECTORY)).await.expect("lists");
        std::future::ready(()).await;
        yield_once().await;
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut yielded, true) {
        true => std::task::Poll::Ready(()),
        false => std::task::Poll::Pending,
    })
    .await;
}

fn append(
    disk: &SimDisk,
    log: &PartitionLog<SimDisk>,
    history: &Rc<RefCell<History>>,
    next_offset: &mut u64,
    batch: BytesMut,
) {
    let appended = log.append(batch.clone(), NOW_US);
    history
        .borrow_mut()
        .sent
        .insert(*next_offset, batch.freeze());
    let count = history.borrow().sent[next_offset][48];
    *next_offset += u64::from(count);
    let policy = log.sync_policy();
    let (disk, history, expected) = (disk.clone(), Rc::clone(history), *next_offset);
    disk.clone().spawn(async move {
        let appended = appended.await.expect("no failures were planned");
        assert_eq!(
            appended.base_offset + u64::from(appended.message_count),
            expected
        );
        let acknowledged = (disk.events_count(), expected);
        let mut history = history.borrow_mut();
        match policy {
            SyncPolicy::EveryBatch => history.acknowledged.push(acknowledged),
            _ => history.promised.push(acknowledged),
        }
    });
}

/// The ways to remove messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    Purge,
    Sealed,
    /// By age: everything is older than the time that is given.
    Expired,
}

fn remove(
    disk: &SimDisk,
    log: &PartitionLog<SimDisk>,
    history: &Rc<RefCell<History>>,
    before_offset: u64,
    removal: Removal,
) {
    history
        .borrow_mut()
        .removal_asked
        .push((disk.events_count(), before_offset));
    let purged = (removal == Removal::Purge).then(|| log.purge());
    let removed = (removal == Removal::Sealed).then(|| log.remove_segments_before(before_offset));
    let expired = (removal == Removal::Expired).then(|| log.remove_expired(NOW_US + 1, 2));
    let (events, history) = (disk.clone(), Rc::clone(history));
    disk.spawn(async move {
        if let Some(removed) = removed {
            removed.await.expect("no failures were planned");
        }
        if let Some(expired) = expired {
            expired.await.expect("no failures were planned");
        }
        if let Some(purged) = purged {
            purged.await.expect("no failures were planned");
            history
                .borrow_mut()
                .purged
                .push((events.events_count(), before_offset));
        }
    });
}

/// Opens what is left and checks every promise; gives what recovery found. With `is_at_rest`,
/// everything that was ever written is durable.
fn check(
    content: Content,
    history: &History,
    events: usize,
    is_at_rest: bool,
    seed: u64,
) -> Result<u64, String> {
    let has_recycled = recycled_count(&content) > 0;
    let is_at_rest = is_at_rest && has_recycled;
    RECYCLED.set(RECYCLED.get() + usize::from(has_recycled));
    let disk = SimDisk::new(content, 1);
    disk.run(async {
        let opened = PartitionLog::open(disk.clone(), Path::new(DIRECTORY), 1, options(seed)).await;
        let (log, report) = opened.map_err(|error| error.to_string())?;
        if let Some(corruption) = report.corruption {
            return Err(format!("taken for damage: {corruption}"));
        }
        if let Some(torn) = report.torn_tail.filter(|_| is_at_rest) {
            return Err(format!("leftovers taken for torn: {torn}"));
        }
        let acknowledged = history.acknowledged_at(events);
        if report.next_offset < acknowledged {
            let next_offset = report.next_offset;
            return Err(format!(
                "acknowledged up to {acknowledged}, found {next_offset}"
            ));
        }
        check_promise(&log, history, events, report.next_offset)?;
        let removable = History::at(&history.removal_asked, events)
            .max()
            .unwrap_or(0);
        if report.first_offset > removable {
            return Err(format!("lost what is before {}", report.first_offset));
        }
        let purged = History::at(&history.purged, events).max().unwrap_or(0);
        if report.first_offset < purged {
            return Err(format!(
                "purged up to {purged}, found {}",
                report.first_offset
            ));
        }
        let mut offset = report.first_offset;
        while offset < report.next_offset {
            let records = log.read(offset, u32::MAX, 1 << 20).await;
            let records = records.map_err(|error| error.to_string())?;
            if records.first_offset != offset || records.is_empty() {
                return Err(format!("a hole at {offset}"));
            }
            check_records(&records.parts, history, events)?;
            offset = records.next_offset;
        }
        Ok(report.next_offset)
    })
}

/// Checks that no more was lost than a log that acknowledges before it syncs may lose.
fn check_promise(
    log: &PartitionLog<SimDisk>,
    history: &History,
    events: usize,
    next_offset: u64,
) -> Result<(), String> {
    let SyncPolicy::EveryBytes(bytes_max) = log.sync_policy() else {
        return Ok(());
    };
    let promised = History::at(&history.promised, events).max().unwrap_or(0);
    let lost = history.sent.range(next_offset..promised.max(next_offset));
    let bytes: u64 = lost.map(|(_, batch)| batch.len() as u64 + 32).sum();
    if bytes >= bytes_max {
        return Err(format!(
            "{bytes} bytes lost, fewer than {bytes_max} allowed"
        ));
    }
    Ok(())
}

fn check_records(parts: &[Bytes], history: &History, events: usize) -> Result<(), String> {
    for record in parts {
        for view in Batches::new(record) {
            let view = view.map_err(|error| format!("not a batch: {error}"))?;
            let offset = view.first_offset();
            let expected = history
                .expected(offset, events)
                .ok_or_else(|| format!("nothing was ever appended at {offset}"))?;
            if view.bytes()[BATCH_HEADER_BYTES..] != expected[BATCH_HEADER_BYTES..] {
                return Err(format!("wrong bytes at {offset}"));
            }
            view.verify_checksums()
                .map_err(|error| format!("at {offset}: {error}"))?;
        }
    }
    Ok(())
}

/// How much to explore.
#[derive(Debug, Clone, Copy)]
struct Extent {
    first_seed: u64,
    seeds_count: u64,
    steps: usize,
    states_per_event: usize,
    /// One of so many states is gone on from; 0 is none.
    second_cycle_every: usize,
    /// Begins with the first segment in a recycled file.
    only_recycled: bool,
}

/// Recycled segments that a disk holds.
fn recycled_count(content: &Content) -> usize {
    files(content)
        .iter()
        .filter(|(path, file)| is_recycled(content, path, *file))
        .count()
}

fn is_recycled(content: &Content, path: &Path, file: usize) -> bool {
    let is_segment = path.extension().is_some_and(|ending| ending == "log");
    is_segment && content.files[file].get(8) == Some(&2)
}

/// Whether a recycled file gets the header of a segment.
fn begins_recycled(event: &Event) -> bool {
    matches!(event, Event::Write { position: 0, bytes, .. }
        if bytes.starts_with(b"WEIRSEG1") && bytes[8] == 2)
}

/// Explores; the number of states that were checked, or the first broken promise.
fn explore(extent: Extent) -> Result<usize, String> {
    let mut states_count = 0;
    for seed in extent.first_seed..extent.first_seed + extent.seeds_count {
        let disk = SimDisk::with_directory(Path::new(DIRECTORY), seed);
        let start = disk.content();
        disk.record(TURNS_MAX);
        let mut state = seed;
        let history = work(&disk, History::default(), extent.steps, &mut state, seed);
        let events = disk.take_events();
        explore_cycle(
            &start,
            &events,
            &history,
            extent,
            true,
            seed,
            &mut states_count,
        )
        .map_err(|reason| format!("SEED={seed}: {reason}"))?;
    }
    Ok(states_count)
}

fn explore_cycle(
    start: &Content,
    events: &[Event],
    history: &History,
    extent: Extent,
    first: bool,
    seed: u64,
    states_count: &mut usize,
) -> Result<(), String> {
    let mut space = CrashSpace::new(start);
    let mut begun = !first || !extent.only_recycled;
    for number in 0..=events.len() {
        if let Some(event) = number.checked_sub(1).map(|last| &events[last]) {
            space.advance(event);
            begun |= begins_recycled(event);
        }
        if !begun {
            continue;
        }
        // Before a log is open, what the power cut before left may be torn.
        let is_at_rest = space.choices_count() == 0 && history.is_open_at(number).is_some();
        let choosers = space.choosers(extent.states_per_event, seed ^ number as u64);
        for chooser in choosers {
            *states_count += 1;
            let content = space.state(chooser.clone());
            let checked = catch_unwind(AssertUnwindSafe(|| {
                check(content.clone(), history, number, is_at_rest, seed)
            }));
            let place = || format!("after event {number} ({chooser:?}, first cycle: {first})");
            let recovered = checked
                .unwrap_or_else(|_| Err("panicked".into()))
                .map_err(|reason| format!("{}: {reason}", place()))?;
            let chosen = extent.second_cycle_every > 0
                && states_count.is_multiple_of(extent.second_cycle_every);
            if first && chosen {
                second_cycle(
                    content,
                    history,
                    number,
                    recovered,
                    extent,
                    seed,
                    states_count,
                )
                .map_err(|reason| format!("{}, then {reason}", place()))?;
            }
        }
    }
    Ok(())
}

/// Goes on from a state after a power cut.
fn second_cycle(
    content: Content,
    history: &History,
    events: usize,
    recovered: u64,
    extent: Extent,
    seed: u64,
    states_count: &mut usize,
) -> Result<(), String> {
    let mut before = history.before.clone();
    before.extend(history.sent.clone());
    let inherited = |list: &[(usize, u64)]| {
        History::at(list, events)
            .map(|offset| (0, offset))
            .collect::<Vec<_>>()
    };
    let next = History {
        before,
        acknowledged_before: history.acknowledged_at(events),
        removal_asked: inherited(&history.removal_asked),
        purged: inherited(&history.purged),
        ..History::default()
    };
    let mut state = seed ^ recovered ^ events as u64;
    let disk = SimDisk::new(content.clone(), state);
    disk.record(TURNS_MAX);
    let next = work(&disk, next, 3, &mut state, seed);
    let recorded = disk.take_events();
    let extent = Extent {
        states_per_event: extent.states_per_event / 4 + 2,
        ..extent
    };
    explore_cycle(
        &content,
        &recorded,
        &next,
        extent,
        false,
        seed,
        states_count,
    )
}

fn explore_with(bug: Option<Bug>, extent: Extent) -> Result<usize, String> {
    plant(bug);
    let explored = catch_unwind(AssertUnwindSafe(|| explore(extent)));
    plant(None);
    explored.unwrap_or_else(|_| Err("panicked".into()))
}

const EXTENT: Extent = Extent {
    first_seed: 1,
    seeds_count: 1,
    steps: 24,
    states_per_event: 64,
    second_cycle_every: 40,
    only_recycled: false,
};

/// Longer runs, of which only the part with recycled files is explored.
const RECYCLING: Extent = Extent {
    steps: 48,
    states_per_event: 12,
    only_recycled: true,
    ..EXTENT
};

const RECYCLING_SEEDS: [u64; 2] = [1_010, 1_003];

/// States that each of four tests checks at least; they run beside each other.
const STATES_MIN: usize = 25_000;

thread_local! {
    /// States with recycled segments.
    static RECYCLED: Cell<usize> = const { Cell::new(0) };
}

/// Explores every fourth seed from `first_seed` on until enough states were seen.
fn assert_sound(first_seed: u64) {
    let fixed = std::env::var("SEED")
        .ok()
        .map(|seed| seed.parse().expect("SEED is a number"));
    let mut states_count = 0;
    let mut seed = fixed.unwrap_or(first_seed);
    while states_count < STATES_MIN {
        let extent = Extent {
            first_seed: seed,
            seeds_count: 1,
            ..EXTENT
        };
        states_count += explore_with(None, extent).unwrap();
        if fixed.is_some() {
            break;
        }
        seed += 4;
    }
    println!("{states_count} states");
}

#[test]
fn no_power_cut_breaks_a_promise_first_quarter() {
    assert_sound(1);
}

#[test]
fn no_power_cut_breaks_a_promise_second_quarter() {
    assert_sound(2);
}

#[test]
fn no_power_cut_breaks_a_promise_third_quarter() {
    assert_sound(3);
}

#[test]
fn no_power_cut_breaks_a_promise_fourth_quarter() {
    assert_sound(4);
}

/// Through the page cache, then past it.
#[test]
fn no_power_cut_breaks_a_promise_while_files_are_recycled() {
    for first_seed in RECYCLING_SEEDS {
        let extent = Extent {
            first_seed,
            ..RECYCLING
        };
        RECYCLED.set(0);
        let states_count = explore_with(None, extent).unwrap();
        let recycled_count = RECYCLED.get();
        println!(
            "seed {first_seed}: {states_count} states, {recycled_count} with recycled segments"
        );
        assert!(recycled_count > 0, "nothing was recycled by {first_seed}");
    }
}

#[test]
fn no_power_cut_takes_more_than_a_log_that_syncs_later_may_lose() {
    let extent = Extent {
        first_seed: 8,
        seeds_count: 8,
        states_per_event: 16,
        ..EXTENT
    };
    let states_count = explore_with(None, extent).unwrap();
    println!("{states_count} states");
}

#[test]
fn every_planted_bug_is_found() {
    // Through the page cache, then past it.
    let ways: [&[u64]; 2] = [&[1, 2], &[7, 3]];
    let everywhere = [
        Bug::NoSync,
        Bug::NoDirectorySync,
        Bug::AcknowledgeBeforeSync,
        Bug::NoChecksum,
        Bug::IndexBeforeData,
        Bug::RenameWithoutSync,
        Bug::TruncateNotSynced,
        Bug::HeaderBeforeBody,
    ];
    let everywhere = everywhere
        .into_iter()
        .flat_map(|bug| ways.map(|seeds| (bug, seeds)));
    // Where the next segment's file is made ready, and where syncs are put off.
    let special: [(Bug, &[u64]); 4] = [
        (Bug::RenameWithoutSync, &[4]),
        (Bug::NoSync, &[9, 8]),
        (Bug::RollWithoutSync, &[9, 8]),
        (Bug::CheckpointUnsynced, &[9, 8]),
    ];
    for (bug, seeds) in everywhere.chain(special) {
        let found = seeds.iter().find_map(|first_seed| {
            let extent = Extent {
                first_seed: *first_seed,
                ..EXTENT
            };
            explore_with(Some(bug), extent).err()
        });
        let reason = found.unwrap_or_else(|| panic!("{bug:?} was not found by {seeds:?}"));
        println!("{bug:?}: {reason}");
    }
}

#[test]
fn every_bug_of_recycling_is_found() {
    for bug in [Bug::NoZeroBlock, Bug::SaltKept, Bug::RecycledTooEarly] {
        for first_seed in RECYCLING_SEEDS {
            let extent = Extent {
                first_seed,
                ..RECYCLING
            };
            let found = explore_with(Some(bug), extent).err();
            let reason = found.unwrap_or_else(|| panic!("{bug:?} was not found by {first_seed}"));
            println!("{bug:?}: {reason}");
        }
    }
}
