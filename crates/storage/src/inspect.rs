//! Reads a data directory that nobody uses, proves every checksum in it, and changes nothing.
//!
//! Judges as recovery would: what a start would cut is a torn tail, what would fence a partition
//! or stop the server is corruption. It reads sealed segments in full too, which recovery leaves
//! for later. Goes on behind damage, from the next file, so that one look finds all of it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use wire::batch::BatchHeader;

use crate::{
    data_directory::{check_marker, lock_shared},
    disk::{Disk, DiskFile, OpenMode},
    error::{Corruption, Error},
    index::IndexEntry,
    journal,
    layout::{self, LOCK_FILE, MARKER_FILE, PartitionFile, UNFINISHED_SUFFIX},
    limits::LogOptions,
    recovery::{Contents, examine_behind, open_segment, walk_contents},
    scan::{Remainder, ScannedEntry},
    segment,
};

/// A partition by its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionPlace {
    /// Its stream.
    pub stream_id: u32,
    /// Its topic in the stream.
    pub topic_id: u32,
    /// Its id in the topic.
    pub partition_id: u32,
}

impl PartitionPlace {
    fn directory(self) -> PathBuf {
        layout::partition_directory(self.stream_id, self.topic_id, self.partition_id)
    }
}

/// As on a command line: `stream/topic/partition`.
impl fmt::Display for PartitionPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream_id,
            topic_id,
            partition_id,
        } = self;
        write!(formatter, "{stream_id}/{topic_id}/{partition_id}")
    }
}

/// A stored batch, every checksum of it proven.
#[derive(Debug, Clone, Copy)]
pub struct BatchPlace<'a> {
    /// The partition that it is in.
    pub partition: PartitionPlace,
    /// The segment that it is in.
    pub path: &'a Path,
    /// Byte position of its entry in the segment.
    pub position: u64,
    /// What its header says.
    pub header: &'a BatchHeader,
}

/// Everything that was found in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Format that the marker names, or what is wrong with the marker.
    pub format: Result<u32, Corruption>,
    /// Journals directly in the data directory, by name.
    pub journals: Vec<JournalState>,
    /// Partitions, ascending.
    pub partitions: Vec<PartitionState>,
    /// Unfinished files, and indexes without a segment: the next start removes them.
    pub unfinished: Vec<PathBuf>,
    /// Names that are not ours; never touched.
    pub unknown: Vec<PathBuf>,
}

/// What a partition's directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// Which partition.
    pub place: PartitionPlace,
    /// Its segments, ascending; the last one is active.
    pub segments: Vec<SegmentState>,
    /// Journals beside the segments, by name.
    pub journals: Vec<JournalState>,
}

/// What a segment holds: everything before the first record that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentState {
    /// Its file.
    pub path: PathBuf,
    /// Offset of its first message, by its name.
    pub base_offset: u64,
    /// Offset after its last message that holds.
    pub next_offset: u64,
    /// Batch records that hold.
    pub batches_count: u64,
    /// Bytes of these records, without entry headers and padding.
    pub record_bytes: u64,
    /// Position after the last record that holds.
    pub end_position: u64,
    /// Length of the file; zeros and leftovers behind the records count too.
    pub file_bytes: u64,
    /// Time of the first batch in microseconds; 0 without one.
    pub first_timestamp_us: u64,
    /// Time of the last batch in microseconds; 0 without one.
    pub last_timestamp_us: u64,
    /// Whether it is the last one.
    pub is_active: bool,
    /// Whether its file is an older segment's, so that leftovers may lie behind the records.
    pub is_recycled: bool,
    /// Its index file.
    pub index: IndexState,
    /// Bytes that the next start cuts off.
    pub torn_tail: Option<Torn>,
    /// Damage to bytes that had been durable.
    pub corruption: Option<Corruption>,
}

/// What an index file is worth. Only [`IndexState::Wrong`] can be damage: otherwise it is made
/// again from the segment when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// Every entry leads to the batch that it names.
    Sound,
    /// There is none, as is usual for an active segment.
    Missing,
    /// Its checksum does not hold, or it belongs to other bytes.
    Damaged,
    /// It ends before the segment does.
    Outdated,
    /// Its checksum holds, but it does not agree with what holds of the segment. Damage of its own
    /// only when the segment is whole.
    Wrong,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalState {
    /// Its file.
    pub path: PathBuf,
    /// Records that hold.
    pub records_count: u64,
    /// Position after the last of them.
    pub end_position: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes that the next start cuts off.
    pub torn_tail: Option<Torn>,
    /// Damage to bytes that had been durable.
    pub corruption: Option<Corruption>,
}

/// Bytes behind the last whole record: written, never acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Where they begin.
    pub position: u64,
    /// Bytes from there to the last one that is not zero, leftovers in a recycled segment too.
    pub bytes: u64,
}

impl Inspection {
    /// All journals, those beside segments too.
    pub fn all_journals(&self) -> impl Iterator<Item = &JournalState> {
        let partitions = self.partitions.iter();
        self.journals
            .iter()
            .chain(partitions.flat_map(|partition| &partition.journals))
    }

    /// All segments.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentState> {
        let partitions = self.partitions.iter();
        partitions.flat_map(|partition| &partition.segments)
    }

    /// All damage. None means that the directory is sound.
    pub fn corruptions(&self) -> impl Iterator<Item = &Corruption> {
        let marker = self.format.as_ref().err().into_iter();
        let journals = self
            .all_journals()
            .filter_map(|one| one.corruption.as_ref());
        let segments = self.segments().filter_map(|one| one.corruption.as_ref());
        marker.chain(journals).chain(segments)
    }

    /// All torn tails with the files that they are in.
    pub fn torn_tails(&self) -> impl Iterator<Item = (&Path, Torn)> {
        let journals = self.all_journals();
        let journals = journals.filter_map(|one| Some((&*one.path, one.torn_tail?)));
        let segments = self.segments();
        let segments = segments.filter_map(|one| Some((&*one.path, one.torn_tail?)));
        journals.chain(segments)
    }
}

/// Inspects the data directory at `directory`, or only its partition `only`. Takes the lock for
/// as long as it reads. Memory: a few pieces of [`crate::limits::RECOVERY_READ_BYTES`], or the
/// largest record, and a few hundred bytes for each segment. `on_batch` is shown every batch that
/// holds, partition by partition, in the order of offsets.
///
/// # Errors
/// [`Error::Locked`] while a server uses the directory, [`Error::Unmarked`],
/// [`Error::NewerFormat`], [`Error::Io`] for what cannot be read, and the errors of `on_batch`.
/// Damage is no error, it is what the result reports.
pub async fn inspect<D: Disk>(
    disk: &D,
    directory: &Path,
    only: Option<PartitionPlace>,
    on_batch: &mut dyn FnMut(BatchPlace<'_>) -> Result<(), Error>,
) -> Result<Inspection, Error> {
    let names = disk.list(directory).await;
    let names = names.map_err(Error::at("list", directory))?;
    if !names.iter().any(|entry| entry.name == MARKER_FILE) {
        return Err(Error::Unmarked {
            path: directory.into(),
        });
    }
    let _lock = lock_shared(disk, directory)?;
    let format = match check_marker(disk, &directory.join(MARKER_FILE)).await {
        Ok(format) => Ok(format),
        Err(Error::Corrupted(corruption)) => Err(corruption),
        Err(error) => return Err(error),
    };
    let mut inspection = Inspection {
        format,
        journals: Vec::new(),
        partitions: Vec::new(),
        unfinished: Vec::new(),
        unknown: Vec::new(),
    };
    for entry in names {
        let path = directory.join(&entry.name);
        match &*entry.name {
            MARKER_FILE | LOCK_FILE | "lost+found" => {}
            layout::STREAMS if entry.is_directory => {}
            name if name.ends_with(UNFINISHED_SUFFIX) => inspection.unfinished.push(path),
            name if name.ends_with(layout::JOURNAL_SUFFIX) && !entry.is_directory => {
                inspection.journals.push(inspect_journal(disk, path).await?);
            }
            _ => inspection.unknown.push(path),
        }
    }
    let places = match only {
        Some(place) => vec![place],
        None => partitions(disk, directory, &mut inspection.unknown).await?,
    };
    for place in places {
        let path = directory.join(place.directory());
        let state = inspect_partition(disk, place, &path, &mut inspection, on_batch).await?;
        inspection.partitions.push(state);
    }
    Ok(inspection)
}

/// Every partition's directory, ascending; whatever lies beside them is noted as unknown.
async fn partitions<D: Disk>(
    disk: &D,
    directory: &Path,
    unknown: &mut Vec<PathBuf>,
) -> Result<Vec<PartitionPlace>, Error> {
    let mut places = Vec::new();
    for stream_id in ids_below(disk, directory, layout::STREAMS, unknown).await? {
        let path = directory.join(layout::stream_directory(stream_id));
        for topic_id in ids_below(disk, &path, layout::TOPICS, unknown).await? {
            let path = directory.join(layout::topic_directory(stream_id, topic_id));
            for partition_id in ids_below(disk, &path, layout::PARTITIONS, unknown).await? {
                places.push(PartitionPlace {
                    stream_id,
                    topic_id,
                    partition_id,
                });
            }
        }
    }
    Ok(places)
}

/// Names below `parent/kind` that are ids, ascending; none when there is no such directory.
async fn ids_below<D: Disk>(
    disk: &D,
    parent: &Path,
    kind: &str,
    unknown: &mut Vec<PathBuf>,
) -> Result<Vec<u32>, Error> {
    let directory = parent.join(kind);
    let entries = match disk.list(&directory).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::at("list", &directory))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        match entry.name.parse::<u32>() {
            // Only the one way in which we write a number.
            Ok(id) if entry.is_directory && id.to_string() == entry.name => ids.push(id),
            _ => unknown.push(directory.join(&entry.name)),
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

async fn inspect_journal<D: Disk>(disk: &D, path: PathBuf) -> Result<JournalState, Error> {
    let verified = journal::verify(disk, &path).await?;
    let torn_tail = match &verified.corruption {
        None => torn_tail(verified.remainder, verified.end_position),
        Some(_) => None,
    };
    Ok(JournalState {
        path,
        records_count: verified.records_count,
        end_position: verified.end_position,
        file_bytes: verified.length,
        torn_tail,
        corruption: verified.corruption,
    })
}

fn torn_tail(remainder: Option<Remainder>, position: u64) -> Option<Torn> {
    let bytes = remainder?.content_end? - position;
    Some(Torn { position, bytes })
}

async fn inspect_partition<D: Disk>(
    disk: &D,
    place: PartitionPlace,
    path: &Path,
    inspection: &mut Inspection,
    on_batch: &mut dyn FnMut(BatchPlace<'_>) -> Result<(), Error>,
) -> Result<PartitionState, Error> {
    let mut journals = Vec::new();
    // Base offset, and whether there is an index of it.
    let mut base_offsets = BTreeMap::new();
    let mut indexes = Vec::new();
    for entry in disk.list(path).await.map_err(Error::at("list", path))? {
        let file = path.join(&entry.name);
        match PartitionFile::parse(&entry.name) {
            _ if entry.is_directory => inspection.unknown.push(file),
            PartitionFile::Segment(base_offset) => drop(base_offsets.insert(base_offset, false)),
            PartitionFile::Index(base_offset) => indexes.push((base_offset, file)),
            PartitionFile::Journal => journals.push(inspect_journal(disk, file).await?),
            PartitionFile::Unfinished => inspection.unfinished.push(file),
            PartitionFile::Unknown => inspection.unknown.push(file),
        }
    }
    for (base_offset, file) in indexes {
        match base_offsets.get_mut(&base_offset) {
            Some(has_index) => *has_index = true,
            None => inspection.unfinished.push(file),
        }
    }
    let next_base_offsets = base_offsets.keys().skip(1).copied().map(Some);
    let next_base_offsets = next_base_offsets.chain([None]);
    let mut segments = Vec::new();
    for ((base_offset, has_index), next) in base_offsets.iter().zip(next_base_offsets) {
        let segment = Expected {
            directory: path,
            base_offset: *base_offset,
            next_base_offset: next,
            has_index: *has_index,
        };
        let mut on_entry = |path: &Path, entry: &ScannedEntry| {
            on_batch(BatchPlace {
                partition: place,
                path,
                position: entry.position,
                header: &entry.header,
            })
        };
        segments.push(segment.inspect(disk, &mut on_entry).await?);
    }
    Ok(PartitionState {
        place,
        segments,
        journals,
    })
}

/// A segment, by what the names in its directory say.
struct Expected<'a> {
    directory: &'a Path,
    base_offset: u64,
    /// `None` for the active one.
    next_base_offset: Option<u64>,
    has_index: bool,
}

impl Expected<'_> {
    async fn inspect<D: Disk>(
        &self,
        disk: &D,
        on_entry: &mut dyn FnMut(&Path, &ScannedEntry) -> Result<(), Error>,
    ) -> Result<SegmentState, Error> {
        let path = layout::segment_path(self.directory, self.base_offset);
        let opened = open_segment(disk, &path, self.base_offset, OpenMode::Read).await;
        let (file, header) = match opened {
            Ok(opened) => opened,
            Err(Error::Corrupted(corruption)) => return Ok(self.unreadable(path, corruption)),
            Err(error) => return Err(error),
        };
        let named = |operation| Error::at(operation, &path);
        let length = file.length().await.map_err(named("measure"))?;
        let stored = segment::read_index(disk, self.directory, self.base_offset, header.salt).await;
        let listed = stored
            .as_ref()
            .map_or(&[][..], |(index, _)| index.entries());
        let mut met_count = 0;
        let mut batches_count = 0;
        let mut visit = |entry: &ScannedEntry| {
            batches_count += 1;
            met_count += usize::from(listed.get(met_count) == Some(&index_entry(entry)));
            on_entry(&path, entry)
        };
        // The index that is built on the way is not used: its distances do not matter.
        let options = LogOptions::default();
        let contents = walk_contents(&file, &path, header, length, &options, &mut visit).await?;
        let end = contents.summary.end_position;
        let is_broken = contents.broken.is_some();
        let remainder = examine_behind(&file, header, end, is_broken, length).await;
        let remainder = remainder.map_err(named("read"))?;
        let index = match &stored {
            _ if !self.has_index => IndexState::Missing,
            None => IndexState::Damaged,
            Some((_, summary)) if *summary == contents.summary && met_count == listed.len() => {
                IndexState::Sound
            }
            Some((_, summary)) if summary.next_offset < contents.summary.next_offset => {
                IndexState::Outdated
            }
            Some(_) => IndexState::Wrong,
        };
        let corruption = self.corruption(&path, &contents, remainder, index);
        let summary = contents.summary;
        let torn = torn_tail(Some(remainder), end).filter(|_| corruption.is_none());
        Ok(SegmentState {
            base_offset: self.base_offset,
            next_offset: summary.next_offset,
            batches_count,
            record_bytes: summary.record_bytes,
            end_position: end,
            file_bytes: length,
            first_timestamp_us: summary.first_timestamp_us,
            last_timestamp_us: summary.last_timestamp_us,
            is_active: self.next_base_offset.is_none(),
            is_recycled: header.is_recycled,
            index,
            torn_tail: torn,
            corruption,
            path,
        })
    }

    /// What of the segment had been durable and is not there; the index alone comes last.
    fn corruption(
        &self,
        path: &Path,
        contents: &Contents,
        remainder: Remainder,
        index: IndexState,
    ) -> Option<Corruption> {
        let next_offset = contents.summary.next_offset;
        let reason = match self.next_base_offset {
            Some(next) if next_offset < next => Some("records are missing before the next segment"),
            Some(next) if next_offset > next => {
                Some("the records go on beyond the beginning of the next segment")
            }
            _ if remainder.proof_position.is_some() => Some("a durable record is gone"),
            // Its index says that more was durable.
            None if index == IndexState::Wrong => Some("a durable record is gone"),
            _ => None,
        };
        if let Some(reason) = reason {
            return Some(Corruption {
                path: path.into(),
                position: contents.summary.end_position,
                reason: contents.broken.unwrap_or(reason),
            });
        }
        (index == IndexState::Wrong && self.next_base_offset.is_some()).then(|| Corruption {
            path: layout::index_path(self.directory, self.base_offset),
            position: 0,
            reason: "the index does not agree with its segment",
        })
    }

    /// A segment whose header does not hold.
    fn unreadable(&self, path: PathBuf, corruption: Corruption) -> SegmentState {
        SegmentState {
            path,
            base_offset: self.base_offset,
            next_offset: self.base_offset,
            batches_count: 0,
            record_bytes: 0,
            end_position: 0,
            file_bytes: 0,
            first_timestamp_us: 0,
            last_timestamp_us: 0,
            is_active: self.next_base_offset.is_none(),
            is_recycled: false,
            index: match self.has_index {
                true => IndexState::Damaged,
                false => IndexState::Missing,
            },
            torn_tail: None,
            corruption: Some(corruption),
        }
    }
}

fn index_entry(entry: &ScannedEntry) -> IndexEntry {
    IndexEntry {
        base_offset: entry.header.base_offset,
        timestamp_us: entry.header.base_timestamp,
        position: entry.position,
    }
}
