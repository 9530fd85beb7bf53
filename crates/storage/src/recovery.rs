//! Opening what a process left behind, however it ended.
//!
//! The active segment is read in full and each record proven. Behind the last one that holds
//! there may be a torn tail: bytes that were written and never acknowledged. It is cut and
//! reported. If anything behind it proves that the damaged place had been durable, nothing is cut:
//! the log is fenced and says where. Sealed segments are taken from their index files.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    error::{Corruption, Error},
    index::{Index, IndexEntry, SegmentSummary},
    layout::{self, PartitionFile},
    limits::{self, LogOptions},
    planted::{Bug, is_planted},
    scan::{Scanned, ScannedEntry, Scanner, examine_remainder},
    segment::{self, FIRST_ENTRY_POSITION, Segment, SegmentHeader},
};

/// Bytes behind the last whole record that were cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file that was cut.
    pub path: PathBuf,
    /// Its new end.
    pub position: u64,
    /// Bytes from there to the last byte that was not zero.
    pub bytes_cut: u64,
    /// Why the first cut record did not hold.
    pub reason: &'static str,
}

impl fmt::Display for TornTail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            position,
            bytes_cut,
            reason,
        } = self;
        write!(
            formatter,
            "{} at {position}: {bytes_cut} bytes cut, {reason}",
            path.display()
        )
    }
}

/// What was found when a log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments of the log.
    pub segments_count: usize,
    /// Offset of the first message.
    pub first_offset: u64,
    /// Offset that the next message will have.
    pub next_offset: u64,
    /// Set when unacknowledged bytes were cut.
    pub torn_tail: Option<TornTail>,
    /// Set when durable bytes are damaged: the log is fenced and serves what lies before.
    pub corruption: Option<Corruption>,
    /// Index files that were missing or damaged and were made again.
    pub indexes_rebuilt_count: usize,
    /// Unfinished files that were removed.
    pub unfinished_count: usize,
}

/// A log's segments, the last one active and ready for appends unless corruption is reported.
pub(crate) struct Recovered<F> {
    pub(crate) segments: VecDeque<Rc<Segment<F>>>,
    pub(crate) report: RecoveryReport,
    pub(crate) last_timestamp_us: u64,
}

pub(crate) async fn recover<D: Disk>(
    disk: &D,
    directory: &Path,
    options: &LogOptions,
) -> Result<Recovered<D::File>, Error> {
    let mut report = RecoveryReport::default();
    let base_offsets = tidy(disk, directory, &mut report).await?;
    let mut segments = VecDeque::new();
    let pairs = base_offsets.iter().zip(base_offsets.iter().skip(1));
    for (base_offset, next_base_offset) in pairs {
        let opened = open_sealed(
            disk,
            directory,
            *base_offset,
            *next_base_offset,
            options,
            &mut report,
        );
        match opened.await {
            Ok(segment) => segments.push_back(Rc::new(segment)),
            Err(Error::Corrupted(corruption)) => {
                report.corruption = Some(corruption);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if report.corruption.is_none() {
        let active = match base_offsets.last() {
            Some(base_offset) => open_active(disk, directory, *base_offset, options, &mut report),
            None => {
                let segment = segment::create(disk, directory, 0).await?;
                return Ok(finish(VecDeque::from([Rc::new(segment)]), report));
            }
        };
        match active.await {
            Ok(segment) => segments.push_back(Rc::new(segment)),
            Err(Error::Corrupted(corruption)) => report.corruption = Some(corruption),
            Err(error) => return Err(error),
        }
    }
    Ok(finish(segments, report))
}

fn finish<F: DiskFile>(
    segments: VecDeque<Rc<Segment<F>>>,
    mut report: RecoveryReport,
) -> Recovered<F> {
    report.segments_count = segments.len();
    report.first_offset = segments
        .front()
        .map_or(0, |first| first.summary().base_offset);
    report.next_offset = segments.back().map_or(0, |last| last.summary().next_offset);
    let last_timestamp_us = segments
        .iter()
        .map(|segment| segment.summary().last_timestamp_us)
        .max()
        .unwrap_or(0);
    Recovered {
        segments,
        report,
        last_timestamp_us,
    }
}

/// Removes what unfinished work left, and gives the base offsets in order.
async fn tidy<D: Disk>(
    disk: &D,
    directory: &Path,
    report: &mut RecoveryReport,
) -> Result<Vec<u64>, Error> {
    let named = |operation| Error::at(operation, directory);
    let mut segments = BTreeMap::new();
    let mut indexes = Vec::new();
    for entry in disk.list(directory).await.map_err(named("list"))? {
        let path = directory.join(&entry.name);
        match PartitionFile::parse(&entry.name) {
            PartitionFile::Segment(base_offset) => drop(segments.insert(base_offset, path)),
            PartitionFile::Index(base_offset) => indexes.push((base_offset, path)),
            PartitionFile::Unfinished => {
                disk.remove_file(&path)
                    .await
                    .map_err(named("remove from"))?;
                report.unfinished_count += 1;
            }
            PartitionFile::Journal | PartitionFile::Unknown => {}
        }
    }
    for (base_offset, path) in indexes {
        if !segments.contains_key(&base_offset) {
            disk.remove_file(&path)
                .await
                .map_err(named("remove from"))?;
            report.unfinished_count += 1;
        }
    }
    // A process that died right after a rename or a removal may not have made it durable.
    disk.sync_directory(directory)
        .await
        .map_err(named("sync directory"))?;
    Ok(segments.into_keys().collect())
}

/// Opens the header of a segment.
pub(crate) async fn open_segment<D: Disk>(
    disk: &D,
    path: &Path,
    base_offset: u64,
    mode: OpenMode,
) -> Result<(D::File, SegmentHeader), Error> {
    let named = |operation| Error::at(operation, path);
    let file = disk.open(path, mode).await.map_err(named("open"))?;
    let bytes = file
        .read_at(0, FIRST_ENTRY_POSITION as usize)
        .await
        .map_err(named("read"))?;
    let header = SegmentHeader::parse(&bytes, base_offset)
        .map_err(|reason| Error::corrupted(path, 0, reason))?;
    Ok((file, header))
}

async fn open_sealed<D: Disk>(
    disk: &D,
    directory: &Path,
    base_offset: u64,
    next_base_offset: u64,
    options: &LogOptions,
    report: &mut RecoveryReport,
) -> Result<Segment<D::File>, Error> {
    let path = layout::segment_path(directory, base_offset);
    let (file, header) = open_segment(disk, &path, base_offset, OpenMode::Read).await?;
    let named = |operation| Error::at(operation, &path);
    let length = file.length().await.map_err(named("measure"))?;
    if let Some((_, summary)) = segment::read_index(disk, directory, base_offset, header.salt).await
        && summary.next_offset == next_base_offset
    {
        if summary.end_position > length {
            return Err(Error::corrupted(
                &path,
                length,
                "the sealed segment is cut short",
            ));
        }
        return Ok(Segment::new(path, header.salt, summary, None, None));
    }
    let contents = read_contents(&file, &path, header, length, options).await?;
    if contents.summary.next_offset != next_base_offset {
        let position = contents.summary.end_position;
        let reason = contents
            .broken
            .unwrap_or("records are missing before the next segment");
        return Err(Error::corrupted(&path, position, reason));
    }
    let Contents { summary, index, .. } = contents;
    segment::write_index(disk, directory, &index, &summary, header.salt).await?;
    report.indexes_rebuilt_count += 1;
    Ok(Segment::new(path, header.salt, summary, None, None))
}

async fn open_active<D: Disk>(
    disk: &D,
    directory: &Path,
    base_offset: u64,
    options: &LogOptions,
    report: &mut RecoveryReport,
) -> Result<Segment<D::File>, Error> {
    let path = layout::segment_path(directory, base_offset);
    let (file, header) = open_segment(disk, &path, base_offset, OpenMode::ReadWrite).await?;
    let named = |operation| Error::at(operation, &path);
    if is_planted(Bug::IndexBeforeData)
        && let Some((index, summary)) =
            segment::read_index(disk, directory, base_offset, header.salt).await
    {
        return Ok(Segment::new(
            path,
            header.salt,
            summary,
            Some(file),
            Some(index),
        ));
    }
    let length = file.length().await.map_err(named("measure"))?;
    let Contents {
        summary,
        index,
        broken,
    } = read_contents(&file, &path, header, length, options).await?;
    let end = summary.end_position;
    let remainder = examine_remainder(&file, header.salt, end, length)
        .await
        .map_err(named("read"))?;
    if remainder.proof_position.is_some() {
        let reason = broken.unwrap_or("a durable record is gone");
        report.corruption = Some(Corruption {
            path: path.clone(),
            position: end,
            reason,
        });
    } else if let Some(content_end) = remainder.content_end {
        file.set_length(end).await.map_err(named("cut"))?;
        report.torn_tail = Some(TornTail {
            path: path.clone(),
            position: end,
            bytes_cut: content_end - end,
            reason: broken.unwrap_or("the record's beginning is missing"),
        });
    }
    if report.corruption.is_none() {
        // What was read may still lie in the page cache alone, left there by a process that was
        // killed: it must be durable before it is served. The cut must be too, or else what was
        // cut could come back behind records that are written from now on.
        if !is_planted(Bug::TruncateNotSynced) {
            file.sync().await.map_err(named("sync"))?;
        }
    }
    Ok(Segment::new(
        path,
        header.salt,
        summary,
        Some(file),
        Some(index),
    ))
}

/// Everything that holds in a segment.
pub(crate) struct Contents {
    pub(crate) summary: SegmentSummary,
    pub(crate) index: Index,
    /// Why the walk ended, when it did not end at the end.
    pub(crate) broken: Option<&'static str>,
}

/// Walks a segment from its first entry until one does not hold.
pub(crate) async fn read_contents<F: DiskFile>(
    file: &F,
    path: &Path,
    header: SegmentHeader,
    length: u64,
    options: &LogOptions,
) -> Result<Contents, Error> {
    walk_contents(file, path, header, length, options, &mut |_| Ok(())).await
}

/// [`read_contents`] that shows every entry that holds to `on_entry`.
pub(crate) async fn walk_contents<F: DiskFile>(
    file: &F,
    path: &Path,
    header: SegmentHeader,
    length: u64,
    options: &LogOptions,
    on_entry: &mut dyn FnMut(&ScannedEntry) -> Result<(), Error>,
) -> Result<Contents, Error> {
    let mut summary = SegmentSummary {
        base_offset: header.base_offset,
        next_offset: header.base_offset,
        end_position: FIRST_ENTRY_POSITION,
        record_bytes: 0,
        first_timestamp_us: 0,
        last_timestamp_us: 0,
    };
    let mut index = Index::default();
    let mut scanner = Scanner::new(
        file.clone(),
        header.salt,
        FIRST_ENTRY_POSITION,
        length,
        limits::RECOVERY_READ_BYTES,
    );
    let broken = loop {
        let scanned = scanner
            .next()
            .await
            .map_err(|error| Error::io("read", path, error))?;
        let entry = match scanned {
            Scanned::Entry(entry) => entry,
            Scanned::End => break None,
            Scanned::Broken(reason) => break Some(reason),
        };
        if entry.header.base_offset != summary.next_offset {
            break Some("the offset does not follow the one before");
        }
        if entry.header.base_timestamp < summary.last_timestamp_us {
            break Some("the time is before the one before");
        }
        let place = IndexEntry {
            base_offset: entry.header.base_offset,
            timestamp_us: entry.header.base_timestamp,
            position: entry.position,
        };
        on_entry(&entry)?;
        index.note(place, options.index_interval_bytes);
        summary.add(&entry.header, entry.end_position);
    };
    Ok(Contents {
        summary,
        index,
        broken,
    })
}
