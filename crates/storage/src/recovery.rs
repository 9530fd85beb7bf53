//! Opening what a process left behind, however it ended.
//!
//! The active segment is read in full and each record proven. Behind the last one that holds
//! there may be a torn tail: bytes that were written and never acknowledged. It is cut and
//! reported. If anything behind it proves that the damaged place had been durable, nothing is cut:
//! the log is fenced and says where. Sealed segments are taken from their index files.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
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
    scan::{Remainder, Scanned, ScannedEntry, Scanner, examine_remainder},
    segment::{self, FIRST_ENTRY_POSITION, Segment, SegmentHeader},
};

/// Bytes behind the last whole record that were cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file that was cut.
    pub path: PathBuf,
    /// Its new end.
    pub position: u64,
    /// Bytes from there to the last byte that was not zero. In a recycled segment that counts what
    /// the file held before.
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
    is_durable: bool,
) -> Result<Recovered<D::File>, Error> {
    let mut report = RecoveryReport::default();
    let names = tidy(disk, directory, is_durable, &mut report).await?;
    let base_offsets = names.base_offsets;
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
            Some(base_offset) => {
                let opening = Active {
                    base_offset: *base_offset,
                    has_checkpoint: names.last_has_index,
                    is_durable,
                };
                open_active(disk, directory, opening, options, &mut report)
            }
            // The first append makes the first segment.
            None => return Ok(finish(segments, report)),
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

/// The segments of a log by their names.
struct Names {
    /// In order.
    base_offsets: Vec<u64>,
    /// Whether there is an index of the last one.
    last_has_index: bool,
}

/// Removes what unfinished work left, and gives what is there.
async fn tidy<D: Disk>(
    disk: &D,
    directory: &Path,
    is_durable: bool,
    report: &mut RecoveryReport,
) -> Result<Names, Error> {
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
    let last = segments
        .last_key_value()
        .map(|(base_offset, _)| *base_offset);
    let last_has_index = indexes
        .iter()
        .any(|(base_offset, _)| Some(*base_offset) == last);
    for (base_offset, path) in indexes {
        if !segments.contains_key(&base_offset) {
            disk.remove_file(&path)
                .await
                .map_err(named("remove from"))?;
            report.unfinished_count += 1;
        }
    }
    // A process that died right after a rename or a removal may not have made it durable.
    if !is_durable || report.unfinished_count > 0 {
        disk.sync_directory(directory)
            .await
            .map_err(named("sync directory"))?;
    }
    Ok(Names {
        base_offsets: segments.into_keys().collect(),
        last_has_index,
    })
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

/// The active segment before it is opened.
struct Active {
    base_offset: u64,
    has_checkpoint: bool,
    is_durable: bool,
}

/// What an index says of an active segment.
struct Checkpoint {
    /// What was durable when it was written.
    known: Option<(Index, SegmentSummary)>,
    /// Whether that was more than the file has now.
    is_shorter: bool,
}

async fn read_checkpoint<D: Disk>(
    disk: &D,
    directory: &Path,
    opening: &Active,
    salt: u64,
    length: u64,
) -> Checkpoint {
    let read = match opening.has_checkpoint {
        true => segment::read_index(disk, directory, opening.base_offset, salt).await,
        false => None,
    };
    let is_shorter = read
        .as_ref()
        .is_some_and(|(_, summary)| summary.end_position > length);
    Checkpoint {
        known: read.filter(|(_, summary)| !is_shorter && !summary.is_empty()),
        is_shorter,
    }
}

async fn open_active<D: Disk>(
    disk: &D,
    directory: &Path,
    opening: Active,
    options: &LogOptions,
    report: &mut RecoveryReport,
) -> Result<Segment<D::File>, Error> {
    let base_offset = opening.base_offset;
    let path = layout::segment_path(directory, base_offset);
    let (file, header) = open_segment(disk, &path, base_offset, OpenMode::ReadWrite).await?;
    let named = |operation| Error::at(operation, &path);
    if is_planted(Bug::IndexBeforeData)
        && let Some((index, summary)) =
            segment::read_index(disk, directory, base_offset, header.salt).await
    {
        return Ok(Segment::new(path, header.salt, summary, None, Some(index)).active());
    }
    let length = file.length().await.map_err(named("measure"))?;
    let Checkpoint { known, is_shorter } =
        read_checkpoint(disk, directory, &opening, header.salt, length).await;
    let checkpoint_position = known.as_ref().map(|(_, summary)| summary.end_position);
    let on_entry = &mut |_: &ScannedEntry| Ok(());
    let contents = walk_from(known, &file, &path, header, length, options, on_entry).await?;
    let (summary, index, broken) = (contents.summary, contents.index, contents.broken);
    let end = summary.end_position;
    let remainder = examine_behind(&file, header, end, broken.is_some(), length).await;
    let remainder = remainder.map_err(named("read"))?;
    if remainder.proof_position.is_some() || is_shorter {
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
    let is_changed = report.torn_tail.is_some();
    if report.corruption.is_none() && (is_changed || !opening.is_durable) {
        // What was read may still lie in the page cache alone, left there by a process that was
        // killed: it must be durable before it is served. The cut must be too, or else what was
        // cut could come back behind records that are written from now on.
        if !is_planted(Bug::TruncateNotSynced) {
            file.sync().await.map_err(named("sync"))?;
        }
    }
    // Opened again when it is used: most logs are idle.
    let segment = Segment::new(path, header.salt, summary, None, Some(index)).active();
    if let Some(position) = checkpoint_position {
        segment.checkpoint_position.set(position);
    }
    if header.is_recycled && length > end && report.torn_tail.is_none() {
        segment.expect_cut();
    }
    Ok(segment)
}

/// Looks at what lies behind the last record that holds. Behind the block of zeros that ends a
/// recycled segment it looks only for proof of damage, and not farther than records reach that
/// could tell: the rest are leftovers.
pub(crate) async fn examine_behind<F: DiskFile>(
    file: &F,
    header: SegmentHeader,
    end: u64,
    is_broken: bool,
    length: u64,
) -> io::Result<Remainder> {
    if end >= length {
        return Ok(Remainder::default());
    }
    if is_broken || !header.is_recycled {
        return examine_remainder(file, header.salt, end, length).await;
    }
    let length = length.min(end + limits::RECYCLED_PROOF_BYTES);
    let remainder = examine_remainder(file, header.salt, end, length).await?;
    Ok(Remainder {
        content_end: None,
        ..remainder
    })
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
    walk_from(None, file, path, header, length, options, on_entry).await
}

/// [`walk_contents`] that takes what is `known` for proven and begins behind it.
async fn walk_from<F: DiskFile>(
    known: Option<(Index, SegmentSummary)>,
    file: &F,
    path: &Path,
    header: SegmentHeader,
    length: u64,
    options: &LogOptions,
    on_entry: &mut dyn FnMut(&ScannedEntry) -> Result<(), Error>,
) -> Result<Contents, Error> {
    let (mut index, mut summary) = known.unwrap_or_else(|| {
        let summary = SegmentSummary {
            base_offset: header.base_offset,
            next_offset: header.base_offset,
            end_position: FIRST_ENTRY_POSITION,
            record_bytes: 0,
            first_timestamp_us: 0,
            last_timestamp_us: 0,
        };
        (Index::default(), summary)
    });
    let mut scanner = Scanner::new(
        file.clone(),
        header.salt,
        summary.end_position,
        length,
        limits::RECOVERY_READ_BYTES,
    );
    scanner.read_ahead(limits::RECOVERY_READ_BYTES);
    if header.is_recycled {
        scanner.ends_in_block();
    }
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
