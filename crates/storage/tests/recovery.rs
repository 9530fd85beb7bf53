//! What a log makes of files that a crash, a bit flip or a careless hand left behind.

mod common;

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use common::*;
use storage::{Error, LogOptions, PartitionLog, disk::Disk};

/// Position of the first entry of a segment.
const FIRST_ENTRY: u64 = 4_096;

/// A log of three batches of two messages; returns what is stored and where the last entry begins.
async fn three_batches<D: Disk>(disk: &D, directory: &Path) -> (Vec<u8>, u64) {
    let (log, _) = open(disk, directory).await;
    for seed in 0..3 {
        log.append(batch(seed, 2, 30), seed).await.unwrap();
    }
    let stored = read_all(&log).await;
    log.close().await.unwrap();
    let length = fs::metadata(segment(directory, 0)).unwrap().len();
    let entry_bytes = (32 + batch(2, 2, 30).len() as u64).next_multiple_of(8);
    (stored, length - entry_bytes)
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for file in fs::read_dir(source).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), target.join(file.file_name())).unwrap();
    }
}

fn flip(path: &Path, position: u64, bits: u8) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ bits], position).unwrap();
}

/// Opens a log whose last batch was damaged, and proves that it was cut and that appends go on.
async fn assert_cut<D: Disk>(disk: &D, directory: &Path, stored: &[u8], cut: u64, what: &str) {
    let (log, report) = open(disk, directory).await;
    assert_eq!(report.corruption, None, "{what}");
    let torn = report
        .torn_tail
        .unwrap_or_else(|| panic!("{what}: not reported"));
    assert_eq!(
        (torn.path, torn.position),
        (segment(directory, 0), cut),
        "{what}"
    );
    assert!(torn.bytes_cut > 0);
    assert_eq!(report.next_offset, 4, "{what}");
    let kept = &stored[..stored.len() / 3 * 2];
    assert_eq!(read_all(&log).await, kept, "{what}");
    assert_eq!(log.append(batch(9, 2, 30), 9).await.unwrap().base_offset, 4);
    log.close().await.unwrap();
    let (log, report) = open(disk, directory).await;
    assert_eq!((report.torn_tail, report.next_offset), (None, 6), "{what}");
    assert_eq!(&read_all(&log).await[..kept.len()], kept);
    log.close().await.unwrap();
}

#[test]
fn a_tail_torn_anywhere_is_cut_and_reported() {
    on_each_driver(async |disk, directory| {
        let whole = directory.join("whole");
        fs::create_dir(&whole).unwrap();
        let (stored, last) = three_batches(&disk, &whole).await;
        let length = fs::metadata(segment(&whole, 0)).unwrap().len();
        let padding = length - last - 32 - batch(2, 2, 30).len() as u64;
        for cut in last + 1..length - padding {
            let damaged = directory.join("damaged");
            copy(&whole, &damaged);
            let file = OpenOptions::new()
                .write(true)
                .open(segment(&damaged, 0))
                .unwrap();
            file.set_len(cut).unwrap();
            assert_cut(&disk, &damaged, &stored, last, &format!("cut at {cut}")).await;
            fs::remove_dir_all(&damaged).unwrap();
        }
        // Cut before the record there is nothing to report, behind it nothing is lost.
        for (cut, next_offset) in [(last, 4), (length - padding, 6)] {
            let damaged = directory.join("damaged");
            copy(&whole, &damaged);
            let file = OpenOptions::new()
                .write(true)
                .open(segment(&damaged, 0))
                .unwrap();
            file.set_len(cut).unwrap();
            let (log, report) = open(&disk, &damaged).await;
            assert_eq!((report.torn_tail, report.next_offset), (None, next_offset));
            log.append(batch(9, 2, 30), 9).await.unwrap();
            log.close().await.unwrap();
            let (log, report) = open(&disk, &damaged).await;
            assert_eq!(
                (report.torn_tail, report.next_offset),
                (None, next_offset + 2)
            );
            log.close().await.unwrap();
            fs::remove_dir_all(&damaged).unwrap();
        }
    });
}

#[test]
fn every_flipped_byte_of_the_last_record_is_seen() {
    on_each_driver(async |disk, directory| {
        let whole = directory.join("whole");
        fs::create_dir(&whole).unwrap();
        let (stored, last) = three_batches(&disk, &whole).await;
        let record_end = last + 32 + batch(2, 2, 30).len() as u64;
        for position in last..record_end {
            let damaged = directory.join("damaged");
            copy(&whole, &damaged);
            flip(&segment(&damaged, 0), position, 1 << (position % 8));
            assert_cut(
                &disk,
                &damaged,
                &stored,
                last,
                &format!("flip at {position}"),
            )
            .await;
            fs::remove_dir_all(&damaged).unwrap();
        }
    });
}

#[test]
fn zeros_and_rubbish_behind_the_last_record_are_not_taken_for_records() {
    on_each_driver(async |disk, directory| {
        let whole = directory.join("whole");
        fs::create_dir(&whole).unwrap();
        let (stored, _) = three_batches(&disk, &whole).await;
        let length = fs::metadata(segment(&whole, 0)).unwrap().len();
        // A stale copy of an entry, of the whole segment, and bytes that mean nothing.
        let content = fs::read(segment(&whole, 0)).unwrap();
        let entries = &content[FIRST_ENTRY as usize..];
        for (rubbish, torn) in [
            (vec![0; 1], false),
            (vec![0; 100_000], false),
            (b"WREC".to_vec(), true),
            (entries.to_vec(), true),
            (vec![0xA5; 5_000], true),
            ([vec![0; 10_000], entries.to_vec()].concat(), true),
        ] {
            let damaged = directory.join("damaged");
            copy(&whole, &damaged);
            let file = OpenOptions::new()
                .write(true)
                .open(segment(&damaged, 0))
                .unwrap();
            file.write_all_at(&rubbish, length).unwrap();
            let (log, report) = open(&disk, &damaged).await;
            assert_eq!(report.corruption, None);
            assert_eq!(report.torn_tail.is_some(), torn);
            assert_eq!(report.next_offset, 6);
            assert_eq!(read_all(&log).await, stored);
            assert_eq!(log.append(batch(9, 2, 30), 9).await.unwrap().base_offset, 6);
            log.close().await.unwrap();
            let (log, report) = open(&disk, &damaged).await;
            assert_eq!((report.torn_tail, report.next_offset), (None, 8));
            log.close().await.unwrap();
            fs::remove_dir_all(&damaged).unwrap();
        }
    });
}

#[test]
fn damage_before_the_last_record_fences_with_its_place() {
    on_each_driver(async |disk, directory| {
        let whole = directory.join("whole");
        fs::create_dir(&whole).unwrap();
        let (stored, last) = three_batches(&disk, &whole).await;
        let second = FIRST_ENTRY + (last - FIRST_ENTRY) / 2;
        let record_end = second + 32 + batch(2, 2, 30).len() as u64;
        let before = fs::read(segment(&whole, 0)).unwrap();
        for position in second..record_end {
            let damaged = directory.join("damaged");
            copy(&whole, &damaged);
            let path = segment(&damaged, 0);
            flip(&path, position, 0x40);
            let (log, report) = open(&disk, &damaged).await;
            let corruption = report.corruption.expect("reported");
            assert_eq!((&corruption.path, corruption.position), (&path, second));
            assert_eq!(report.torn_tail, None);
            let refused = log.append(batch(9, 1, 1), 9).await;
            assert!(matches!(refused, Err(Error::Corrupted(found)) if found == corruption));
            // What lies before is served, what does not hold is not, and nothing was changed.
            assert_eq!(read_all(&log).await, stored[..stored.len() / 3]);
            assert!(log.close().await.is_err());
            let mut after = fs::read(&path).unwrap();
            after[position as usize] ^= 0x40;
            assert_eq!(after, before);
            fs::remove_dir_all(&damaged).unwrap();
        }
    });
}

#[test]
fn a_zeroed_record_in_the_middle_is_damage_too() {
    on_each_driver(async |disk, directory| {
        let (_, last) = three_batches(&disk, &directory).await;
        let file = OpenOptions::new()
            .write(true)
            .open(segment(&directory, 0))
            .unwrap();
        file.write_all_at(&vec![0; (last - FIRST_ENTRY) as usize], FIRST_ENTRY)
            .unwrap();
        let (log, report) = open(&disk, &directory).await;
        assert_eq!(report.corruption.unwrap().position, FIRST_ENTRY);
        assert_eq!(log.next_offset(), 0);
        assert!(log.close().await.is_err());
    });
}

/// A log of several segments; returns what is stored.
async fn many_segments<D: Disk>(disk: &D, directory: &Path) -> (Vec<u8>, Vec<u64>) {
    let (log, _) = open_with(disk, directory, small_segments()).await;
    for seed in 0..60 {
        log.append(batch(seed, 2, 3_000), seed).await.unwrap();
    }
    let stored = read_all(&log).await;
    log.close().await.unwrap();
    let mut offsets: Vec<u64> = fs::read_dir(directory)
        .unwrap()
        .filter_map(|file| {
            file.unwrap()
                .file_name()
                .to_str()?
                .strip_suffix(".log")?
                .parse()
                .ok()
        })
        .collect();
    offsets.sort_unstable();
    assert!(offsets.len() > 3);
    (stored, offsets)
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_again() {
    on_each_driver(async |disk, directory| {
        let (stored, offsets) = many_segments(&disk, &directory).await;
        let damage: [fn(&Path); 4] = [
            |path| fs::remove_file(path).unwrap(),
            |path| fs::write(path, b"").unwrap(),
            |path| fs::write(path, [0xFF; 1_000]).unwrap(),
            |path| flip(path, 30, 1),
        ];
        let sealed = &offsets[..offsets.len() - 1];
        for damage in damage {
            let before = fs::read(index(&directory, sealed[1])).unwrap();
            sealed
                .iter()
                .for_each(|offset| damage(&index(&directory, *offset)));
            let (log, report) = open_with(&disk, &directory, small_segments()).await;
            assert_eq!(report.indexes_rebuilt_count, sealed.len());
            assert_eq!(read_all(&log).await, stored);
            log.close().await.unwrap();
            assert_eq!(fs::read(index(&directory, sealed[1])).unwrap(), before);
        }
        // Lost while the log is open: reading makes it again in memory.
        let (log, report) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!(report.indexes_rebuilt_count, 0);
        sealed
            .iter()
            .for_each(|offset| fs::remove_file(index(&directory, *offset)).unwrap());
        assert_eq!(read_all(&log).await, stored);
        log.close().await.unwrap();
    });
}

#[test]
fn a_sealed_segment_that_lacks_something_is_damage() {
    on_each_driver(async |disk, directory| {
        let whole = directory.join("whole");
        fs::create_dir(&whole).unwrap();
        let (_, offsets) = many_segments(&disk, &whole).await;
        let sealed = offsets[1];
        let damaged = directory.join("damaged");
        let check = async |damage: &dyn Fn()| {
            copy(&whole, &damaged);
            damage();
            let (log, report) = open_with(&disk, &damaged, small_segments()).await;
            let corruption = report.corruption.expect("reported");
            assert!(log.append(batch(0, 1, 1), 0).await.is_err());
            assert_eq!(log.next_offset(), sealed, "what lies before is served");
            assert!(log.close().await.is_err());
            fs::remove_dir_all(&damaged).unwrap();
            corruption
        };
        let path = segment(&damaged, sealed);
        let cut = |bytes| {
            OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(bytes)
        };
        let corruption = check(&|| cut(FIRST_ENTRY + 100).unwrap()).await;
        assert_eq!(
            (&corruption.path, corruption.position),
            (&path, FIRST_ENTRY + 100)
        );
        let corruption = check(&|| flip(&path, 20, 1)).await;
        assert_eq!((&corruption.path, corruption.position), (&path, 0));
        // Without its index the segment is read, and found damaged at the record.
        let corruption = check(&|| {
            fs::remove_file(index(&damaged, sealed)).unwrap();
            flip(&path, FIRST_ENTRY + 400, 1);
        })
        .await;
        assert_eq!(
            (&corruption.path, corruption.position),
            (&path, FIRST_ENTRY)
        );
    });
}

#[test]
fn a_missing_segment_is_damage() {
    on_each_driver(async |disk, directory| {
        let (_, offsets) = many_segments(&disk, &directory).await;
        fs::remove_file(segment(&directory, offsets[1])).unwrap();
        let (log, report) = open_with(&disk, &directory, small_segments()).await;
        assert_eq!(
            report.corruption.unwrap().path,
            segment(&directory, offsets[0])
        );
        assert!(log.append(batch(0, 1, 1), 0).await.is_err());
        assert!(log.close().await.is_err());
    });
}

#[test]
fn flipped_bits_of_sealed_segments_are_reported_by_the_read_and_never_served() {
    on_each_driver(async |disk, directory| {
        let (stored, offsets) = many_segments(&disk, &directory).await;
        let path = segment(&directory, offsets[1]);
        let length = fs::metadata(&path).unwrap().len();
        let (log, _) = open_with(&disk, &directory, small_segments()).await;
        for position in (FIRST_ENTRY..length).step_by(997) {
            flip(&path, position, 4);
            let mut offset = 0;
            let mut served = Vec::new();
            let error = loop {
                match log.read(offset, 7, 20_000).await {
                    Ok(records) if records.is_empty() => break None,
                    Ok(records) => {
                        offset = records.next_offset;
                        // Slices have headers of their own: compare the payloads.
                        served.extend(payloads(&joined(&records)));
                    }
                    Err(error) => break Some(error),
                }
            };
            let expected = payloads(&stored);
            assert_eq!(served, expected[..served.len()], "flip at {position}");
            match error {
                Some(Error::Corrupted(corruption)) => {
                    assert_eq!(corruption.path, path);
                    assert!(corruption.position <= position);
                }
                Some(error) => panic!("{error}"),
                // Only bytes that pad an entry to its alignment mean nothing.
                None => assert_eq!(served.len(), expected.len()),
            }
            flip(&path, position, 4);
        }
        assert_eq!(read_all(&log).await, stored);
        log.close().await.unwrap();
    });
}

fn payloads(records: &[u8]) -> Vec<Vec<u8>> {
    wire::batch::Batches::new(records)
        .flat_map(|view| view.unwrap().frames().map(|frame| frame.payload().to_vec()))
        .collect()
}

#[test]
fn unfinished_files_are_removed_and_foreign_ones_left() {
    on_each_driver(async |disk, directory| {
        let (stored, _) = three_batches(&disk, &directory).await;
        for name in [
            "00000000000000000006.log.new",
            "00000000000000000099.index",
            "notes.txt",
        ] {
            fs::write(directory.join(name), b"x").unwrap();
        }
        let (log, report) = open(&disk, &directory).await;
        assert_eq!((report.unfinished_count, report.segments_count), (2, 1));
        assert_eq!(read_all(&log).await, stored);
        assert!(directory.join("notes.txt").exists());
        assert!(!directory.join("00000000000000000006.log.new").exists());
        log.close().await.unwrap();
    });
}

#[test]
fn a_segment_of_an_unknown_format_is_not_touched() {
    on_each_driver(async |disk, directory| {
        three_batches(&disk, &directory).await;
        let path = segment(&directory, 0);
        let mut content = fs::read(&path).unwrap();
        content[8] = 3;
        let checksum = twox_hash::XxHash3_64::oneshot(&content[..32]);
        content[32..40].copy_from_slice(&checksum.to_le_bytes());
        fs::write(&path, &content).unwrap();
        let (log, report) = open(&disk, &directory).await;
        assert!(report.corruption.unwrap().reason.contains("format"));
        assert!(log.close().await.is_err());
        assert_eq!(fs::read(&path).unwrap(), content);
    });
}

#[test]
fn options_outside_their_limits_are_refused() {
    on_each_driver(async |disk, directory| {
        let options = LogOptions {
            segment_bytes_max: 1,
            ..LogOptions::default()
        };
        let opened = PartitionLog::open(disk, &directory, 0, options).await;
        assert!(matches!(
            opened,
            Err(Error::Option {
                name: "segment_bytes_max"
            })
        ));
    });
}
