//! Files of removed segments that become the next segments, on the real file system.

mod common;

use std::{
    cell::Cell,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    rc::Rc,
};

use common::{ENOSPC, PARTITION, TestDisk, batch, is_full, on_each_driver, read_all};
use storage::{Budget, CompioDisk, LogOptions, NearEnd, Opening, PartitionLog, WriteMode, limits};

const SPARE: &str = "next-segment.new";

fn options(write_mode: WriteMode) -> LogOptions {
    LogOptions {
        write_mode,
        zero_ahead_bytes_max: limits::ZERO_AHEAD_BYTES_MIN,
        ..common::small_segments()
    }
}

struct Subject {
    disk: CompioDisk,
    log: PartitionLog<TestDisk>,
    is_near_end: Rc<Cell<bool>>,
    sent: u64,
}

impl Subject {
    async fn open(disk: &CompioDisk, directory: &Path, options: LogOptions) -> Self {
        let failing = TestDisk::new(disk.clone());
        Self::open_on(disk, &failing, Budget::default(), directory, options).await
    }

    /// With the files of `failing`, which is made of `disk`, and a budget that others share.
    async fn open_on(
        disk: &CompioDisk,
        failing: &TestDisk,
        budget: Budget<TestDisk>,
        directory: &Path,
        options: LogOptions,
    ) -> Self {
        let is_near_end = Rc::new(Cell::new(false));
        let told = Rc::clone(&is_near_end);
        let opening = Opening {
            budget,
            near_end: NearEnd::new(move || told.set(true)),
            ..Opening::default()
        };
        let failing = failing.clone();
        let opened = PartitionLog::open_with(failing, directory, PARTITION, options, opening);
        let (log, report) = opened.await.unwrap();
        assert_eq!((report.torn_tail, report.corruption), (None, None));
        Self {
            disk: disk.clone(),
            log,
            is_near_end,
            sent: report.next_offset,
        }
    }

    async fn append(&mut self) {
        let batch = batch(self.sent, 1, 3_600);
        self.log.append(batch, self.sent).await.unwrap();
        self.sent += 1;
    }

    /// Appends until there are so many segments and the last one is half full.
    async fn fill(&mut self, segments_count: usize) {
        while self.log.segments_count() < segments_count {
            self.append().await;
            self.is_near_end.set(false);
        }
        while !self.is_near_end.get() {
            self.append().await;
        }
        // What a sealed segment still needs is done a little later.
        self.disk.drain().await;
    }

    async fn remove_oldest(&self) {
        let offset = self.log.offset_after_segments(1);
        let removed = self.log.remove_segments_before(offset).await.unwrap();
        assert_eq!(removed.segments_count, 1);
        // The file is made ready beside the log.
        self.disk.drain().await;
    }
}

fn file_numbers(directory: &Path, ending: &str) -> Vec<u64> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let named = entries.filter(|entry| entry.file_name().to_str().unwrap().ends_with(ending));
    named.map(|entry| entry.metadata().unwrap().ino()).collect()
}

/// Paths of the segments, the oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    paths.sort();
    paths
}

fn newest(directory: &Path) -> (u64, Vec<u8>) {
    let paths = segments(directory);
    let path = paths.last().unwrap();
    (fs::metadata(path).unwrap().ino(), fs::read(path).unwrap())
}

#[test]
fn a_removed_segment_is_the_next_one_and_survives_every_end() {
    on_each_driver(async |disk, directory| {
        for write_mode in [WriteMode::Buffered, WriteMode::Direct] {
            let directory = directory.join(write_mode.to_string());
            fs::create_dir(&directory).unwrap();
            let mut subject = Subject::open(&disk, &directory, options(write_mode)).await;
            subject.fill(3).await;
            let first = fs::metadata(directory.join("00000000000000000000.log")).unwrap();
            subject.remove_oldest().await;
            assert_eq!(file_numbers(&directory, SPARE), [first.ino()]);
            let segments_count = subject.log.segments_count();
            while subject.log.segments_count() == segments_count {
                subject.append().await;
            }
            subject.append().await;
            let (number, bytes) = newest(&directory);
            assert_eq!((number, bytes[8]), (first.ino(), 2), "recycled");
            // As a killed process leaves it: leftovers lie behind.
            let stored = read_all(&subject.log).await;
            let copy = directory.with_extension("killed");
            fs::create_dir(&copy).unwrap();
            for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
            assert!(bytes[20_000..].iter().any(|byte| *byte != 0), "leftovers");
            let mut killed = Subject::open(&disk, &copy, options(write_mode)).await;
            assert_eq!(read_all(&killed.log).await, stored);
            // The first append cuts them.
            killed.append().await;
            let (_, bytes) = newest(&copy);
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            assert!(end < 20_000, "leftovers up to {end}");
            let longer = read_all(&killed.log).await;
            killed.log.close().await.unwrap();
            let again = Subject::open(&disk, &copy, options(write_mode)).await;
            assert_eq!(read_all(&again.log).await, longer);
            again.log.close().await.unwrap();
            // A log that is closed leaves none.
            subject.log.close().await.unwrap();
            let (_, bytes) = newest(&directory);
            assert!(bytes.len() < 20_000, "{}", bytes.len());
            let again = Subject::open(&disk, &directory, options(write_mode)).await;
            assert_eq!(read_all(&again.log).await, stored);
            again.log.close().await.unwrap();
        }
    });
}

/// Cut and made longer again, each use of a file would change the file system's metadata twice.
#[test]
fn a_recycled_file_keeps_its_length_when_it_is_sealed_and_used_again() {
    on_each_driver(async |disk, directory| {
        for write_mode in [WriteMode::Buffered, WriteMode::Direct] {
            let directory = directory.join(write_mode.to_string());
            fs::create_dir(&directory).unwrap();
            let mut subject = Subject::open(&disk, &directory, options(write_mode)).await;
            let mut lengths = Vec::new();
            for _ in 0..6 {
                subject.fill(3).await;
                let oldest = fs::metadata(&segments(&directory)[0]).unwrap();
                subject.remove_oldest().await;
                let length = fs::metadata(directory.join(SPARE)).unwrap().len();
                lengths.push((oldest.len(), length));
            }
            let full = limits::SEGMENT_BYTES_MIN + 4_096;
            let (first, recycled) = (lengths[0], lengths[lengths.len() - 1]);
            assert!(first.0 < full, "a new file is cut: {lengths:?}");
            assert_eq!(first.1, full, "and made longer");
            assert_eq!(recycled, (full, full), "{lengths:?}");
            let stored = read_all(&subject.log).await;
            subject.log.close().await.unwrap();
            let again = Subject::open(&disk, &directory, options(write_mode)).await;
            assert_eq!(read_all(&again.log).await, stored);
            again.log.close().await.unwrap();
        }
    });
}

#[test]
fn a_purge_gives_the_space_back() {
    on_each_driver(async |disk, directory| {
        let mut subject = Subject::open(&disk, &directory, options(WriteMode::Buffered)).await;
        subject.fill(3).await;
        subject.remove_oldest().await;
        subject.log.purge().await.unwrap();
        disk.drain().await;
        assert_eq!(file_numbers(&directory, SPARE), []);
        let (_, bytes) = newest(&directory);
        assert_eq!((bytes.len(), bytes[8]), (4_096, 1), "a new file");
        subject.log.close().await.unwrap();
    });
}

/// One partition holds a removed segment's file while another one finds no space.
#[test]
fn a_full_disk_gets_the_files_of_all_partitions_back() {
    on_each_driver(async |disk, directory| {
        for write_mode in [WriteMode::Buffered, WriteMode::Direct] {
            let failing = TestDisk::new(disk.clone());
            let budget = Budget::default();
            let open = async |name: &str| {
                let directory = directory.join(format!("{name} {write_mode}"));
                fs::create_dir(&directory).unwrap();
                let (budget, options) = (budget.clone(), options(write_mode));
                let opened = Subject::open_on(&disk, &failing, budget, &directory, options);
                (opened.await, directory)
            };
            let (mut holder, held) = open("holder").await;
            let (mut other, _) = open("other").await;
            holder.fill(3).await;
            holder.remove_oldest().await;
            other.append().await;
            disk.drain().await;
            assert_eq!(file_numbers(&held, SPARE).len(), 1);
            failing.script.write_error.set(Some((ENOSPC, 0)));
            let refused = other.log.append(batch(other.sent, 1, 3_600), other.sent);
            assert!(is_full(&refused.await.unwrap_err()));
            disk.drain().await;
            assert_eq!(file_numbers(&held, SPARE), [], "given up");
            failing.script.write_error.set(None);
            other.append().await;
            // It goes on without, and recycles again.
            let segments_count = holder.log.segments_count();
            holder.fill(segments_count + 1).await;
            holder.remove_oldest().await;
            assert_eq!(file_numbers(&held, SPARE).len(), 1);
            for subject in [holder, other] {
                assert_eq!(subject.log.next_offset(), subject.sent);
                subject.log.close().await.unwrap();
            }
        }
    });
}

#[test]
fn without_space_made_ready_nothing_is_recycled() {
    on_each_driver(async |disk, directory| {
        let options = LogOptions {
            zero_ahead_bytes_max: 0,
            ..options(WriteMode::Buffered)
        };
        let mut subject = Subject::open(&disk, &directory, options).await;
        while subject.log.segments_count() < 3 {
            subject.append().await;
        }
        subject.remove_oldest().await;
        assert_eq!(file_numbers(&directory, SPARE), []);
        subject.log.close().await.unwrap();
    });
}
