//! Single-bit flips anywhere in a data directory: each one is harmless or told, and no wrong byte
//! is ever served.
//!
//! `WEIR_TEST_FLIPS=<count>` flips so many bits, `SEED=<n>` chooses them. The sample takes files
//! in turn, so that small ones get as much as large ones, and positions evenly in each file.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::Bytes;

use super::sample::{Dice, PARTITION, ReadAll, Stored, WAYS, files, options, read_all};
use crate::{
    DataDirectory, Error, Journal, LogOptions, NearEnd, Opening, PartitionLog,
    disk::{
        Disk,
        sim::{Content, SimDisk},
    },
    entry::BLOCK_BYTES,
    inspect::{IndexState, Inspection, inspect},
    limits,
    planted::{Bug, plant},
};

const DIRECTORY: &str = "/d";
const CATALOG: &str = "catalog.journal";
const OFFSETS: &str = "offsets.journal";
/// Bits that are flipped unless `WEIR_TEST_FLIPS` says otherwise.
const FLIPS_DEFAULT: usize = 2_000;

/// A partition as it was written.
struct Known {
    directory: PathBuf,
    options: LogOptions,
    records: Vec<Stored>,
}

impl Known {
    fn offsets(&self) -> Vec<u64> {
        self.records
            .iter()
            .map(|record| record.base_offset)
            .collect()
    }
}

/// A data directory as it was written.
struct Sample {
    content: Content,
    partitions: Vec<Known>,
    journals: BTreeMap<PathBuf, Vec<Bytes>>,
}

/// What became of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Everything is there as it was.
    Harmless,
    /// Something is missing, and was told.
    Told,
}

fn journal_records(dice: &mut Dice, count: u64) -> Vec<Bytes> {
    let record = |dice: &mut Dice| {
        let bytes = 1 + dice.below(300);
        (0..bytes).map(|_| dice.below(256) as u8).collect()
    };
    (0..count).map(|_| record(dice)).collect()
}

async fn write_journal(disk: &SimDisk, path: &Path, records: &[Bytes]) {
    let (journal, _) = Journal::open(disk.clone(), path).await.expect("opens");
    for record in records {
        journal.append(record.clone()).await.expect("appends");
    }
    journal.close().await.expect("closes");
}

/// Appends until there are some segments. Where space is made ready, the oldest ones give their
/// files to the last ones.
async fn fill(
    disk: &SimDisk,
    directory: &Path,
    options: LogOptions,
    dice: &mut Dice,
) -> PartitionLog<SimDisk> {
    let is_near_end = Rc::new(Cell::new(false));
    let told = Rc::clone(&is_near_end);
    let opening = Opening {
        near_end: NearEnd::new(move || told.set(true)),
        ..Opening::default()
    };
    let opened = PartitionLog::open_with(disk.clone(), directory, PARTITION, options, opening);
    let (log, _) = opened.await.expect("opens");
    let recycles = options.zero_ahead_bytes_max > 0;
    let (mut now_us, mut appended_bytes, mut active_bytes) = (1_000, 0, 0);
    let mut active_offset = 0;
    // Ends early in an active segment, before a file for the next one is there.
    while log.segments_count() < 3
        || appended_bytes < if recycles { 500_000 } else { 160_000 }
        || !(8_000..20_000).contains(&active_bytes)
    {
        now_us += dice.below(50);
        let batch = dice.batch();
        appended_bytes += batch.len();
        active_bytes += batch.len();
        log.append(batch, now_us).await.expect("appends");
        if log.offset_after_segments(usize::MAX) > active_offset {
            active_offset = log.offset_after_segments(usize::MAX);
            active_bytes = 0;
        }
        if is_near_end.take() && log.segments_count() > 3 {
            let offset = log.offset_after_segments(1);
            let removed = log.remove_segments_before(offset).await;
            removed.expect("removes");
        }
    }
    // What a sealed segment still needs is done a little later.
    disk.sleep(limits::SEAL_PAUSE).await;
    log
}

/// A partition for each way to write, each with sealed segments, an active one and a journal.
fn build(seed: u64) -> Sample {
    let mut dice = Dice(seed);
    let disk = SimDisk::with_directory(Path::new(DIRECTORY), seed);
    let mut sample = Sample {
        content: Content::default(),
        partitions: Vec::new(),
        journals: BTreeMap::new(),
    };
    disk.run(async {
        let data = DataDirectory::open(disk.clone(), Path::new(DIRECTORY)).await;
        let data = data.expect("an empty directory is taken");
        let mut journals = vec![data.file_path(CATALOG)];
        for (number, way) in WAYS.into_iter().enumerate() {
            let directory = data.create_partition(1, 1, number as u32).await;
            let directory = directory.expect("creates");
            journals.push(directory.join(OFFSETS));
            let options = options(way);
            let log = fill(&disk, &directory, options, &mut dice).await;
            let records = read_all(&log, &[]).await.expect("reads").records;
            if options.zero_ahead_bytes_max == 0 {
                log.close().await.expect("closes");
            }
            // The others end as if killed: leftovers lie behind the active segment's end.
            sample.partitions.push(Known {
                directory,
                options,
                records,
            });
        }
        for path in journals {
            let records = journal_records(&mut dice, 40);
            write_journal(&disk, &path, &records).await;
            sample.journals.insert(path, records);
        }
    });
    disk.drain();
    sample.content = disk.content();
    assert_recycled(&sample.content);
    sample
}

/// There are leftovers behind the end of two active segments, and sealed ones in recycled files.
fn assert_recycled(content: &Content) {
    let disk = SimDisk::new(content.clone(), 1);
    let found = disk.run(inspect(&disk, Path::new(DIRECTORY), None, &mut |_| Ok(())));
    let found = found.expect("it is sound");
    assert_eq!(found.corruptions().count(), 0, "{found:?}");
    assert_eq!(found.torn_tails().count(), 0, "{found:?}");
    let recycled = || found.segments().filter(|segment| segment.is_recycled);
    let with_leftovers = recycled().filter(|segment| {
        segment.is_active && segment.end_position + 2 * BLOCK_BYTES < segment.file_bytes
    });
    assert_eq!(with_leftovers.count(), 2, "{found:?}");
    assert!(recycled().any(|segment| !segment.is_active), "{found:?}");
}

/// A start on the damaged directory, as far as the damaged file goes.
async fn start(disk: &SimDisk, sample: &Sample, damaged: &Path) -> Result<Verdict, String> {
    match DataDirectory::open(disk.clone(), Path::new(DIRECTORY)).await {
        Ok(_) => {}
        // The server says this in one line and does not start.
        Err(Error::Corrupted(_) | Error::NewerFormat { .. }) => return Ok(Verdict::Told),
        Err(error) => return Err(format!("the directory: {error}")),
    }
    if let Some(records) = sample.journals.get(damaged) {
        return open_journal(disk, damaged, records).await;
    }
    let directory = damaged.parent().expect("a file lies in a directory");
    let known = sample
        .partitions
        .iter()
        .find(|one| one.directory == directory);
    match known {
        Some(known) => open_log(disk, known).await,
        None => Ok(Verdict::Harmless),
    }
}

async fn open_journal(disk: &SimDisk, path: &Path, known: &[Bytes]) -> Result<Verdict, String> {
    let (journal, found) = match Journal::open(disk.clone(), path).await {
        Ok(opened) => opened,
        Err(Error::Corrupted(_)) => return Ok(Verdict::Told),
        Err(error) => return Err(error.to_string()),
    };
    journal.close().await.map_err(|error| error.to_string())?;
    if !known.starts_with(&found.records) {
        return Err("the journal gives records that were not written".into());
    }
    if found.records.len() == known.len() {
        return Ok(Verdict::Harmless);
    }
    // Nothing behind the last record can tell that it had been durable.
    if found.torn_tail.is_none() || found.records.len() + 1 < known.len() {
        return Err(format!(
            "{} of {} records",
            found.records.len(),
            known.len()
        ));
    }
    Ok(Verdict::Told)
}

async fn open_log(disk: &SimDisk, known: &Known) -> Result<Verdict, String> {
    let opened = PartitionLog::open(disk.clone(), &known.directory, PARTITION, known.options);
    let (log, report) = opened.await.map_err(|error| error.to_string())?;
    let found = read_all(&log, &known.offsets()).await?;
    check_served(&found, known)?;
    let is_whole = found.records.len() == known.records.len();
    let is_told = report.torn_tail.is_some() || report.corruption.is_some() || found.is_damage_told;
    if !is_whole && !is_told {
        let (found, known) = (found.records.len(), known.records.len());
        return Err(format!("{found} of {known} records, and not a word"));
    }
    if let Some(torn) = &report.torn_tail
        && found.records.len() + 1 < known.records.len()
    {
        return Err(format!("more than the last record was cut: {torn}"));
    }
    if is_whole {
        check_times(&log, known).await?;
    }
    // What is appended now must not lead anybody astray later.
    if report.corruption.is_none() {
        let appended = log
            .append(Dice(report.next_offset).batch(), u64::MAX / 2)
            .await;
        let appended = appended.map_err(|error| format!("does not go on: {error}"))?;
        if appended.base_offset != report.next_offset {
            return Err("an offset was skipped or used again".into());
        }
    }
    // A fenced log says why once more.
    let _ = log.close().await;
    Ok(match is_whole {
        true => Verdict::Harmless,
        false => Verdict::Told,
    })
}

/// Whatever is served must be what was written at that offset, byte for byte.
fn check_served(found: &ReadAll, known: &Known) -> Result<(), String> {
    for record in &found.records {
        let at = known
            .records
            .partition_point(|one| one.base_offset < record.base_offset);
        if known.records.get(at) != Some(record) {
            return Err(format!("wrong bytes served at {}", record.base_offset));
        }
    }
    Ok(())
}

async fn check_times(log: &PartitionLog<SimDisk>, known: &Known) -> Result<(), String> {
    for step in [0, 3, 7] {
        let time = known.records[known.records.len() * step / 8].timestamp_us;
        let expected = known.records.iter().find(|one| one.timestamp_us >= time);
        let expected = expected.map(|one| one.base_offset);
        match log.offset_at_timestamp(time).await {
            Ok(found) if found == expected => {}
            Err(Error::Corrupted(_)) => {}
            other => return Err(format!("time {time} is at {expected:?}, not at {other:?}")),
        }
    }
    Ok(())
}

/// Whether an inspection says that something is not as it should be.
fn tells(inspection: &Inspection) -> bool {
    inspection.corruptions().next().is_some()
        || inspection.torn_tails().next().is_some()
        || inspection.segments().any(|one| {
            match one.index {
                IndexState::Sound => false,
                // The checkpoint of an active segment may be behind, or not be there yet.
                IndexState::Missing | IndexState::Outdated => !one.is_active,
                IndexState::Damaged | IndexState::Wrong => true,
            }
        })
}

fn check_flip(sample: &Sample, path: &Path, content: &Content) -> Result<Verdict, String> {
    let disk = SimDisk::new(content.clone(), 1);
    let inspection = disk.run(inspect(&disk, Path::new(DIRECTORY), None, &mut |_| Ok(())));
    let inspection_tells = match inspection {
        Ok(inspection) => tells(&inspection),
        Err(Error::NewerFormat { .. }) => true,
        Err(error) => return Err(format!("inspect: {error}")),
    };
    let disk = SimDisk::new(content.clone(), 1);
    let verdict = disk.run(start(&disk, sample, path))?;
    disk.drain();
    if verdict == Verdict::Told && !inspection_tells {
        return Err("a start tells of damage that inspect does not see".into());
    }
    Ok(verdict)
}

/// What became of some flips, by the ending of the file: harmless ones and told ones.
type Counts = BTreeMap<String, [usize; 2]>;

/// Flips bits of each file in turn; the first broken promise ends it.
fn flip(seed: u64, flips_count: usize) -> Result<Counts, String> {
    let sample = build(seed);
    let files: Vec<(PathBuf, usize)> = files(&sample.content)
        .into_iter()
        .filter(|(_, file)| !sample.content.files[*file].is_empty())
        .collect();
    let mut dice = Dice(seed);
    let mut counts = Counts::new();
    for number in 0..flips_count {
        let (path, file) = &files[number % files.len()];
        let position = dice.below(sample.content.files[*file].len() as u64);
        let bit = dice.below(8);
        let mut content = sample.content.clone();
        Rc::make_mut(&mut content.files[*file])[position as usize] ^= 1 << bit;
        let checked = catch_unwind(AssertUnwindSafe(|| check_flip(&sample, path, &content)));
        let verdict = checked
            .unwrap_or_else(|_| Err("panicked".into()))
            .map_err(|reason| format!("bit {bit} of {} at {position}: {reason}", path.display()))?;
        let ending = path
            .extension()
            .map_or_else(String::new, |ending| ending.to_string_lossy().into_owned());
        counts.entry(ending).or_default()[usize::from(verdict == Verdict::Told)] += 1;
    }
    Ok(counts)
}

#[test]
fn every_flipped_bit_is_harmless_or_told() {
    let number = |name: &str, default: usize| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    };
    let seed = number("SEED", 2_026);
    let flips_count = number("WEIR_TEST_FLIPS", FLIPS_DEFAULT);
    println!("SEED={seed}");
    let counts = flip(seed as u64, flips_count).unwrap();
    println!("{flips_count} flips; harmless and told, by ending of the file: {counts:?}");
    let endings: Vec<&str> = counts.keys().map(String::as_str).collect();
    assert_eq!(endings, ["format", "index", "journal", "lock", "log"]);
}

/// Proves that the check above can see: without checksums wrong bytes are served.
#[test]
fn flips_are_seen_when_records_are_not_verified() {
    plant(Some(Bug::NoChecksum));
    let found = flip(1, FLIPS_DEFAULT);
    plant(None);
    println!("{}", found.expect_err("wrong bytes were served"));
}
