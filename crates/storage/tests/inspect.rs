//! What an inspection says of directories that are whole, torn, damaged or not ours.

mod common;

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use common::*;
use storage::{
    CompioDisk, Corruption, DataDirectory, Error, Journal,
    inspect::{BatchPlace, IndexState, Inspection, PartitionPlace, inspect},
};
use twox_hash::XxHash3_64;

const FIRST: PartitionPlace = place(1, 2, 0);
const SECOND: PartitionPlace = place(1, 10, 3);
/// Position of the first entry of a segment.
const FIRST_ENTRY: u64 = 4_096;
/// Batches of the first partition, in three segments.
const BATCHES: u64 = 30;
const PAYLOAD_BYTES: usize = 3_000;

const fn place(stream_id: u32, topic_id: u32, partition_id: u32) -> PartitionPlace {
    PartitionPlace {
        stream_id,
        topic_id,
        partition_id,
    }
}

fn directory_of(root: &Path, place: PartitionPlace) -> PathBuf {
    let PartitionPlace {
        stream_id,
        topic_id,
        partition_id,
    } = place;
    root.join(format!(
        "streams/{stream_id}/topics/{topic_id}/partitions/{partition_id}"
    ))
}

/// Two partitions, the first with sealed segments and a journal, and a journal of the whole.
async fn fill(disk: &CompioDisk, root: &Path) {
    let data = DataDirectory::open(disk.clone(), root).await.unwrap();
    write_journal(disk, &data.file_path("catalog.journal")).await;
    for (place, batches) in [(FIRST, BATCHES), (SECOND, 2)] {
        let path = data
            .create_partition(place.stream_id, place.topic_id, place.partition_id)
            .await
            .unwrap();
        let (log, _) = open_with(disk, &path, small_segments()).await;
        for seed in 0..batches {
            let batch = batch(seed, 2, PAYLOAD_BYTES);
            log.append(batch, 1_000 + seed).await.unwrap();
        }
        log.close().await.unwrap();
    }
    write_journal(disk, &directory_of(root, FIRST).join("offsets.journal")).await;
    disk.drain().await;
}

async fn write_journal(disk: &CompioDisk, path: &Path) {
    let (journal, _) = Journal::open(disk.clone(), path).await.unwrap();
    for number in 0..5 {
        let record = Bytes::from(format!("record {number}"));
        journal.append(record).await.unwrap();
    }
    journal.close().await.unwrap();
}

async fn look(disk: &CompioDisk, root: &Path) -> Inspection {
    inspect(disk, root, None, &mut |_| Ok(())).await.unwrap()
}

fn found(inspection: &Inspection) -> Vec<Corruption> {
    inspection.corruptions().cloned().collect()
}

fn flip(path: &Path, position: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

/// Every file below `root` with its bytes.
fn content(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(content(&path));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Names of the segments of the first partition, sealed ones first.
fn segments(root: &Path) -> Vec<PathBuf> {
    let files = content(&directory_of(root, FIRST));
    let paths = files.into_iter().map(|(path, _)| path);
    let segments: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|one| one == "log"))
        .collect();
    assert!(segments.len() >= 3, "the tests need sealed segments");
    segments
}

/// Where the entries of a segment begin.
async fn entries(disk: &CompioDisk, root: &Path, segment: &Path) -> Vec<u64> {
    let mut positions = Vec::new();
    let mut note = |batch: BatchPlace<'_>| {
        if batch.path == segment {
            positions.push(batch.position);
        }
        Ok(())
    };
    inspect(disk, root, Some(FIRST), &mut note).await.unwrap();
    positions
}

#[test]
fn a_sound_directory_is_counted_and_not_touched() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let before = content(&root);
        let mut shown = Vec::new();
        let mut note = |batch: BatchPlace<'_>| {
            shown.push((batch.partition, batch.header.base_offset));
            assert_eq!(batch.header.message_count, 2);
            Ok(())
        };
        let inspection = inspect(&disk, &root, None, &mut note).await.unwrap();
        assert_eq!(found(&inspection), []);
        assert_eq!(inspection.torn_tails().count(), 0);
        assert_eq!(inspection.format, Ok(1));
        let expected = (0..BATCHES).map(|number| (FIRST, 2 * number));
        let expected = expected.chain([(SECOND, 0), (SECOND, 2)]);
        assert_eq!(shown, expected.collect::<Vec<_>>());

        let [first, second] = &inspection.partitions[..] else {
            panic!("two partitions: {inspection:?}");
        };
        assert_eq!((first.place, second.place), (FIRST, SECOND));
        let mut next_offset = 0;
        for segment in &first.segments {
            assert_eq!(segment.base_offset, next_offset);
            next_offset = segment.next_offset;
            let batches = (segment.next_offset - segment.base_offset) / 2;
            assert_eq!(segment.batches_count, batches);
            let record_bytes = batches * batch(0, 2, PAYLOAD_BYTES).len() as u64;
            assert_eq!(segment.record_bytes, record_bytes);
            let expected = match segment.is_active {
                true => IndexState::Missing,
                false => IndexState::Sound,
            };
            assert_eq!(segment.index, expected);
        }
        assert_eq!(next_offset, 2 * BATCHES);
        let active = first.segments.iter().filter(|one| one.is_active);
        assert_eq!(active.count(), 1);
        assert_eq!(first.segments[0].first_timestamp_us, 1_000);
        let journals: Vec<_> = inspection
            .all_journals()
            .map(|journal| (&*journal.path, journal.records_count))
            .collect();
        let offsets = directory_of(&root, FIRST).join("offsets.journal");
        assert_eq!(
            journals,
            [(&*root.join("catalog.journal"), 5), (&*offsets, 5)]
        );
        assert!(content(&root) == before, "an inspection changes nothing");
    });
}

#[test]
fn only_the_partition_that_is_asked_for_is_read() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        flip(&segments(&root)[0], FIRST_ENTRY + 40);
        let one = inspect(&disk, &root, Some(SECOND), &mut |_| Ok(())).await;
        let one = one.unwrap();
        assert_eq!((one.partitions.len(), found(&one)), (1, vec![]));
        let missing = inspect(&disk, &root, Some(place(9, 9, 9)), &mut |_| Ok(())).await;
        assert!(matches!(missing, Err(Error::Io { .. })), "{missing:?}");
    });
}

#[test]
fn a_directory_in_use_is_refused() {
    on_each_driver(async |disk, root| {
        let data = DataDirectory::open(disk.clone(), &root).await.unwrap();
        let result = inspect(&disk, &root, None, &mut |_| Ok(())).await;
        let Err(Error::Locked { process_id, .. }) = result else {
            panic!("not refused: {result:?}");
        };
        assert_eq!(process_id, Some(std::process::id()));
        drop(data);
        look(&disk, &root).await;
        // A copy may come without the lock file.
        fs::remove_file(root.join("weir.lock")).unwrap();
        look(&disk, &root).await;
        assert!(!root.join("weir.lock").exists());
    });
}

#[test]
fn nobody_else_begins_to_use_a_directory_that_is_inspected() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let mut refused = 0;
        let mut lock = |_: BatchPlace<'_>| {
            let locked = storage::disk::Disk::lock(&disk, &root.join("weir.lock"), "other");
            refused += u64::from(matches!(locked, Ok(storage::disk::LockOutcome::Held(_))));
            Ok(())
        };
        inspect(&disk, &root, None, &mut lock).await.unwrap();
        assert_eq!(refused, BATCHES + 2);
    });
}

#[test]
fn directories_that_are_not_ours_are_refused() {
    on_each_driver(async |disk, root| {
        let look = async || inspect(&disk, &root, None, &mut |_| Ok(())).await;
        let result = look().await;
        assert!(matches!(result, Err(Error::Unmarked { .. })), "{result:?}");
        fs::write(root.join("photo.jpeg"), "not ours").unwrap();
        let result = look().await;
        assert!(matches!(result, Err(Error::Unmarked { .. })), "{result:?}");
        assert_eq!(content(&root).len(), 1, "and nothing is left in them");
        let marker = root.join("weir.format");
        fs::write(&marker, "weir data directory\nformat 2\n").unwrap();
        let result = look().await;
        assert!(
            matches!(result, Err(Error::NewerFormat { .. })),
            "{result:?}"
        );
        fs::write(&marker, "weir").unwrap();
        let inspection = look().await.unwrap();
        let [corruption] = &found(&inspection)[..] else {
            panic!("not found: {inspection:?}");
        };
        assert_eq!((&corruption.path, corruption.position), (&marker, 0));
        assert_eq!(inspection.unknown, [root.join("photo.jpeg")]);
        let result = inspect(&disk, &root.join("none"), None, &mut |_| Ok(())).await;
        assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
    });
}

#[test]
fn torn_tails_are_reported_and_sound() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let active = segments(&root).pop().unwrap();
        let journal = root.join("catalog.journal");
        let last = *entries(&disk, &root, &active).await.last().unwrap();
        for path in [&active, &journal] {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 9).unwrap();
        }
        let before = content(&root);
        let inspection = look(&disk, &root).await;
        assert_eq!(found(&inspection), []);
        let torn: Vec<_> = inspection.torn_tails().collect();
        let [(journal_path, _), (active_path, torn)] = &torn[..] else {
            panic!("two tails: {torn:?}");
        };
        assert_eq!((*journal_path, *active_path), (&*journal, &*active));
        let length = fs::metadata(&active).unwrap().len();
        assert_eq!(torn.position, last);
        assert!(torn.bytes > 0 && torn.bytes <= length - last, "{torn:?}");
        assert!(content(&root) == before, "nothing is cut");
    });
}

#[test]
fn a_flipped_bit_in_the_middle_is_found_where_it_is() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let segments = segments(&root);
        for path in [&segments[0], segments.last().unwrap()] {
            let positions = entries(&disk, &root, path).await;
            let (second, third) = (positions[1], positions[2]);
            // In the entry's header, the batch's header and the payload.
            for position in [second, second + 31, second + 40, second + 1_000, third - 20] {
                flip(path, position);
                let inspection = look(&disk, &root).await;
                let [corruption] = &found(&inspection)[..] else {
                    panic!("{position} of {}: {inspection:?}", path.display());
                };
                assert_eq!((&corruption.path, corruption.position), (path, second));
                flip(path, position);
            }
        }
        assert_eq!(found(&look(&disk, &root).await), []);
        // Damage in several files is found in one look.
        flip(&segments[0], FIRST_ENTRY);
        flip(&segments[1], 3);
        let positions: Vec<_> = found(&look(&disk, &root).await)
            .into_iter()
            .map(|corruption| (corruption.path, corruption.position))
            .collect();
        let expected = [(segments[0].clone(), FIRST_ENTRY), (segments[1].clone(), 0)];
        assert_eq!(positions, expected);
    });
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let whole = look(&disk, &root).await;
        let batches = |inspection: &Inspection| -> u64 {
            inspection.segments().map(|one| one.batches_count).sum()
        };
        for (path, bytes) in content(&root) {
            // A step that meets every residue of the 8 bytes that entries are aligned to.
            for position in (0..bytes.len() as u64).step_by(4_001) {
                flip(&path, position);
                let seen = inspect(&disk, &root, None, &mut |_| Ok(())).await;
                let is_found = seen.as_ref().map_or(true, |inspection| {
                    let indexes = |one: &Inspection| -> Vec<IndexState> {
                        one.segments().map(|segment| segment.index).collect()
                    };
                    inspection.corruptions().count() > 0
                        || inspection.torn_tails().count() > 0
                        || indexes(inspection) != indexes(&whole)
                });
                if !is_found {
                    let seen = seen.unwrap();
                    assert_eq!(batches(&seen), batches(&whole), "{position} of {path:?}");
                    assert_eq!(
                        seen.all_journals().map(|one| one.records_count).max(),
                        Some(5)
                    );
                }
                flip(&path, position);
            }
        }
    });
}

#[test]
fn a_damaged_journal_is_found() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let journals = [
            root.join("catalog.journal"),
            directory_of(&root, FIRST).join("offsets.journal"),
        ];
        for path in &journals {
            for (flipped, position) in [(9, 0), (32, 32), (32 + 32 + 3, 32)] {
                flip(path, flipped);
                let expected = found(&look(&disk, &root).await);
                let [corruption] = &expected[..] else {
                    panic!("{flipped} of {}: {expected:?}", path.display());
                };
                assert_eq!((&corruption.path, corruption.position), (path, position));
                flip(path, flipped);
            }
        }
    });
}

#[test]
fn journals_larger_than_a_piece_are_proven_piece_by_piece() {
    on_each_driver(async |disk, root| {
        drop(DataDirectory::open(disk.clone(), &root).await.unwrap());
        let path = root.join("large.journal");
        let (journal, _) = Journal::open(disk.clone(), &path).await.unwrap();
        let largest = storage::limits::JOURNAL_RECORD_BYTES_MAX as usize;
        for bytes in [1, 3 << 20, 3 << 20, largest, 9] {
            journal.append(Bytes::from(vec![7; bytes])).await.unwrap();
        }
        journal.close().await.unwrap();
        let inspection = look(&disk, &root).await;
        let [journal] = &inspection.journals[..] else {
            panic!("one journal: {inspection:?}");
        };
        assert_eq!(journal.records_count, 5);
        assert_eq!(journal.end_position, journal.file_bytes);
        assert_eq!((journal.torn_tail, found(&inspection)), (None, vec![]));
    });
}

#[test]
fn a_lost_segment_is_damage_and_a_lost_index_is_not() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let segments = segments(&root);
        let indexes: Vec<_> = segments
            .iter()
            .map(|path| path.with_extension("index"))
            .collect();
        let state = async || look(&disk, &root).await.partitions[0].segments[0].index;
        let whole = fs::read(&indexes[0]).unwrap();
        fs::remove_file(&indexes[0]).unwrap();
        assert_eq!(state().await, IndexState::Missing);
        fs::write(&indexes[0], &whole[..whole.len() - 1]).unwrap();
        assert_eq!(state().await, IndexState::Damaged);
        assert_eq!(found(&look(&disk, &root).await), []);
        // A checksum that holds over a place where no batch is.
        let mut wrong = whole.clone();
        wrong[72 + 24 + 16] ^= 8;
        rechecksum(&mut wrong);
        fs::write(&indexes[0], &wrong).unwrap();
        assert_eq!(state().await, IndexState::Wrong);
        let [corruption] = &found(&look(&disk, &root).await)[..] else {
            panic!("a wrong index leads readers astray");
        };
        assert_eq!(corruption.path, indexes[0]);
        fs::write(&indexes[0], &whole).unwrap();

        fs::remove_file(&segments[1]).unwrap();
        let inspection = look(&disk, &root).await;
        let [corruption] = &found(&inspection)[..] else {
            panic!("not found: {inspection:?}");
        };
        assert_eq!(corruption.path, segments[0]);
        assert_eq!(inspection.unfinished, [indexes[1].clone()]);
    });
}

fn rechecksum(index: &mut [u8]) {
    let end = index.len() - 8;
    let checksum = XxHash3_64::oneshot(&index[..end]);
    index[end..].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn other_names_are_told_and_left() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let partition = directory_of(&root, FIRST);
        let unknown = [
            root.join("notes.txt"),
            root.join("streams/1/topics/02"),
            partition.join("backup"),
        ];
        fs::write(&unknown[0], "").unwrap();
        fs::create_dir(&unknown[1]).unwrap();
        fs::create_dir(&unknown[2]).unwrap();
        let unfinished = partition.join("00000000000000000099.log.new");
        fs::write(&unfinished, "").unwrap();
        let inspection = look(&disk, &root).await;
        assert_eq!(inspection.unknown, unknown);
        assert_eq!(inspection.unfinished, [unfinished]);
        assert_eq!(found(&inspection), []);
    });
}

#[test]
fn whoever_is_shown_the_batches_may_end_it() {
    on_each_driver(async |disk, root| {
        fill(&disk, &root).await;
        let mut shown = 0;
        let mut refuse = |_: BatchPlace<'_>| {
            shown += 1;
            Err(Error::Io {
                operation: "print",
                path: root.clone(),
                source: Arc::new(io::ErrorKind::BrokenPipe.into()),
            })
        };
        let result = inspect(&disk, &root, None, &mut refuse).await;
        assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
        assert_eq!(shown, 1);
    });
}
