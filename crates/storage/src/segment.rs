//! One segment: a file of entries and what is known about it in memory.
//!
//! ```text
//! segment = header (one block of 4,096 bytes) · entries · zeros, then in a recycled one leftovers
//!
//! @0   magic        b"WEIRSEG1"
//! @8   format       u32  1, or 2 in a recycled file
//! @12  block_bytes  u32  4,096
//! @16  base_offset  u64  also the file's name
//! @24  salt         u64  random; seeds the checksums of the entry headers
//! @32  checksum     u64  XxHash3-64 over the 32 bytes before
//! @40  zeros
//! ```
//!
//! A segment gets its name only after its header is durable, so a named segment whose header does
//! not hold is damage, never an accident of timing.
//!
//! A recycled file is one that an older segment of the same partition left. What that wrote lies
//! behind the end of what is written now: a block of zeros, durable with each group, ends the log.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use twox_hash::XxHash3_64;

use crate::{
    aligned,
    budget::Pin,
    checkpoint::Turn,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    entry::{BLOCK_BYTES, read_u32, read_u64},
    error::Error,
    fill::Fill,
    index::{self, Index, SegmentSummary},
    layout,
    planted::{Bug, is_planted},
    spare::Spare,
};

const MAGIC: [u8; 8] = *b"WEIRSEG1";
/// Nothing but zeros lies behind the end.
const FORMAT: u32 = 1;
/// Leftovers may lie behind the end. A build that does not know of them refuses the number.
const FORMAT_RECYCLED: u32 = 2;
/// Where the first entry of each segment begins.
pub(crate) const FIRST_ENTRY_POSITION: u64 = BLOCK_BYTES;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) base_offset: u64,
    pub(crate) salt: u64,
    /// Whether a block of zeros ends the log, and leftovers may lie behind it.
    pub(crate) is_recycled: bool,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::zeroed(BLOCK_BYTES as usize);
        bytes[0..8].copy_from_slice(&MAGIC);
        let format = match self.is_recycled {
            true => FORMAT_RECYCLED,
            false => FORMAT,
        };
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        bytes[12..16].copy_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base_offset.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = XxHash3_64::oneshot(&bytes[..32]);
        bytes[32..40].copy_from_slice(&checksum.to_le_bytes());
        bytes.freeze()
    }

    pub(crate) fn parse(bytes: &[u8], base_offset: u64) -> Result<Self, &'static str> {
        if bytes.len() < FIRST_ENTRY_POSITION as usize {
            return Err("the segment header is cut short");
        }
        if bytes[0..8] != MAGIC || read_u64(bytes, 32) != XxHash3_64::oneshot(&bytes[..32]) {
            return Err("the segment header does not hold");
        }
        let format = read_u32(bytes, 8);
        let is_known = [FORMAT, FORMAT_RECYCLED].contains(&format);
        if !is_known || read_u32(bytes, 12) != BLOCK_BYTES as u32 {
            return Err("the segment has a format that this build does not know");
        }
        if read_u64(bytes, 16) != base_offset {
            return Err("the segment was written for another base offset than its name says");
        }
        Ok(Self {
            base_offset,
            salt: read_u64(bytes, 24),
            is_recycled: format == FORMAT_RECYCLED,
        })
    }
}

/// A segment of an open log.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) path: PathBuf,
    pub(crate) salt: u64,
    /// Only what may be read: what is durable at the level that the log was asked for.
    summary: Cell<SegmentSummary>,
    /// Everything before it is synced.
    synced_position: Cell<u64>,
    /// Open while the segment was used lately.
    file: RefCell<Option<F>>,
    /// Open past the page cache while the segment is active and written so.
    direct_file: RefCell<Option<F>>,
    /// Zeros ahead of what is written.
    pub(crate) fill: Fill,
    /// Everything from the end of what is written to here is zeros: without bound, unless the file
    /// is a recycled one.
    zero_position: Cell<u64>,
    /// Whether what lies behind the end must be cut off before the next write: what a killed
    /// process tore may lie there, with our salt.
    must_cut: Cell<bool>,
    /// Whether its name may be lost in a power cut: until it is not, nothing in it is durable.
    pub(crate) must_sync_name: Cell<bool>,
    /// Whether it was told that the segment is nearly full.
    pub(crate) near_end_told: Cell<bool>,
    /// In memory while the segment is active or was read lately.
    index: RefCell<Option<Rc<Index>>>,
    /// Whether appends may still come.
    is_active: Cell<bool>,
    /// Who writes the index file, and up to where that says that everything is durable.
    pub(crate) index_turn: Turn,
    pub(crate) checkpoint_position: Cell<u64>,
    /// From a write to its sync, which must go through the same descriptor.
    pin: RefCell<Option<Pin>>,
    /// Whether the budget knows that the file may be open, and whether it was used since the
    /// budget looked last.
    pub(crate) listed: Cell<bool>,
    pub(crate) used: Cell<bool>,
}

impl<F: DiskFile> Segment<F> {
    pub(crate) fn new(
        path: PathBuf,
        salt: u64,
        summary: SegmentSummary,
        file: Option<F>,
        index: Option<Index>,
    ) -> Self {
        Self {
            path,
            salt,
            summary: Cell::new(summary),
            synced_position: Cell::new(summary.end_position),
            file: RefCell::new(file),
            direct_file: RefCell::new(None),
            fill: Fill::default(),
            zero_position: Cell::new(u64::MAX),
            must_cut: Cell::new(false),
            must_sync_name: Cell::new(false),
            near_end_told: Cell::new(false),
            index: RefCell::new(index.map(Rc::new)),
            is_active: Cell::new(false),
            index_turn: Turn::default(),
            checkpoint_position: Cell::new(FIRST_ENTRY_POSITION),
            pin: RefCell::new(None),
            listed: Cell::new(false),
            used: Cell::new(false),
        }
    }

    /// The same as a segment that appends go to.
    pub(crate) fn active(self) -> Self {
        self.is_active.set(true);
        self
    }

    pub(crate) fn is_active(&self) -> bool {
        self.is_active.get()
    }

    /// No more appends come.
    pub(crate) fn seal(&self) {
        self.is_active.set(false);
    }

    /// Keeps the file open until [`Self::unpin`].
    pub(crate) fn pin(&self, pin: Pin) {
        *self.pin.borrow_mut() = Some(pin);
    }

    pub(crate) fn unpin(&self) {
        *self.pin.borrow_mut() = None;
    }

    /// Whether something is written that is not synced, so that the file stays open.
    pub(crate) fn is_written(&self) -> bool {
        self.pin.borrow().is_some()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.borrow().is_some() || self.direct_file.borrow().is_some()
    }

    /// Closes the file, and forgets the index unless appends need it.
    pub(crate) fn let_go(&self) {
        self.close_file();
        if !self.is_active.get() {
            self.set_index(None);
        }
    }

    pub(crate) fn summary(&self) -> SegmentSummary {
        self.summary.get()
    }

    /// Makes known that everything up to `summary.end_position` may be read.
    pub(crate) fn set_summary(&self, summary: SegmentSummary) {
        self.summary.set(summary);
    }

    /// Everything before it is synced.
    pub(crate) fn synced_position(&self) -> u64 {
        self.synced_position.get()
    }

    /// Makes known that everything up to `position` is synced.
    pub(crate) fn set_synced(&self, position: u64) {
        self.synced_position
            .set(self.synced_position.get().max(position));
    }

    /// Whether something may be read that is not synced yet.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.synced_position.get() < self.summary.get().end_position
    }

    /// Zeros that a group must write from the first block behind its end on, so that the log ends
    /// in a block of them.
    pub(crate) fn zeros_wanted(&self, end: u64) -> u64 {
        let wanted = self.zero_position.get() < aligned::up(end) + BLOCK_BYTES;
        if wanted && !is_planted(Bug::NoZeroBlock) {
            BLOCK_BYTES
        } else {
            0
        }
    }

    /// Makes known that a group was written up to `end`, with so many zeros behind it.
    pub(crate) fn note_zeros(&self, end: u64, zeros_bytes: u64) {
        let known = self.zero_position.get();
        self.zero_position
            .set(known.max(aligned::up(end) + zeros_bytes));
    }

    /// Whether something may lie behind the zeros that end the log.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.zero_position.get() < u64::MAX
    }

    /// Makes known that the file was opened with leftovers behind its end.
    pub(crate) fn expect_cut(&self) {
        self.zero_position.set(self.summary.get().end_position);
        self.must_cut.set(true);
    }

    pub(crate) fn must_cut(&self) -> bool {
        self.must_cut.get()
    }

    /// Makes known that nothing lies behind the end.
    pub(crate) fn set_cut(&self) {
        self.zero_position.set(u64::MAX);
        self.must_cut.set(false);
    }

    /// Adds a batch to the index of the active segment.
    pub(crate) fn note(&self, entry: index::IndexEntry, interval_bytes: u32) {
        let mut index = self.index.borrow_mut();
        let index = index
            .as_mut()
            .expect("the active segment's index is in memory");
        // A reader that still holds the older index keeps it.
        Rc::make_mut(index).note(entry, interval_bytes);
    }

    /// The open file, opened when it is not: for writing too while appends may come.
    pub(crate) async fn file<D: Disk<File = F>>(&self, disk: &D) -> Result<F, Error> {
        if let Some(file) = self.open_file() {
            return Ok(file);
        }
        let mode = match self.is_active.get() {
            true => OpenMode::ReadWrite,
            false => OpenMode::Read,
        };
        let opened = disk
            .open(&self.path, mode)
            .await
            .map_err(|error| Error::io("open", &self.path, error))?;
        // Another may have opened it meanwhile: all must use the same descriptor.
        let mut file = self.file.borrow_mut();
        Ok(file.get_or_insert(opened).clone())
    }

    /// The handle for writes past the page cache that are durable when they return.
    pub(crate) async fn direct_writer<D: Disk<File = F>>(&self, disk: &D) -> Result<F, Error> {
        if let Some(file) = self.direct_file.borrow().clone() {
            return Ok(file);
        }
        let mode = match is_planted(Bug::NoSync) || is_planted(Bug::AcknowledgeBeforeSync) {
            true => OpenMode::Direct,
            false => OpenMode::DirectDurable,
        };
        let file = disk
            .open(&self.path, mode)
            .await
            .map_err(Error::at("open", &self.path))?;
        *self.direct_file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    pub(crate) fn open_file(&self) -> Option<F> {
        self.file.borrow().clone()
    }

    pub(crate) fn close_file(&self) {
        *self.file.borrow_mut() = None;
        self.close_writer();
    }

    /// Closes what only appends need.
    pub(crate) fn close_writer(&self) {
        *self.direct_file.borrow_mut() = None;
    }

    pub(crate) fn resident_index(&self) -> Option<Rc<Index>> {
        self.index.borrow().clone()
    }

    pub(crate) fn set_index(&self, index: Option<Rc<Index>>) {
        *self.index.borrow_mut() = index;
    }
}

/// Creates an empty segment whose header is durable; its name is not yet.
pub(crate) async fn create<D: Disk>(
    disk: &D,
    directory: &Path,
    base_offset: u64,
) -> Result<Segment<D::File>, Error> {
    let path = layout::segment_path(directory, base_offset);
    let unfinished = layout::unfinished_path(&path);
    let header = SegmentHeader {
        base_offset,
        salt: disk.random(),
        is_recycled: false,
    };
    let file = write_durable(disk, &unfinished, header.encode()).await?;
    rename(disk, &unfinished, &path).await?;
    Ok(empty(path, header, file))
}

/// As [`create`], in a file that was made ready before.
pub(crate) async fn create_from<D: Disk>(
    disk: &D,
    directory: &Path,
    base_offset: u64,
    spare: Spare<D::File>,
) -> Result<Segment<D::File>, Error> {
    let path = layout::segment_path(directory, base_offset);
    let mut header = SegmentHeader {
        base_offset,
        // Never the one that the file had: what it left must not be taken for entries.
        salt: disk.random(),
        is_recycled: spare.is_recycled,
    };
    if is_planted(Bug::SaltKept) && spare.is_recycled {
        let old = spare.file.read_at(24, 8).await.expect("it reads");
        header.salt = read_u64(&old, 0);
    }
    let mut parts = vec![header.encode()];
    if spare.is_recycled {
        // Where the first entry goes: the log ends there.
        parts.push(BytesMut::zeroed(BLOCK_BYTES as usize).freeze());
    }
    write_all_at(&spare.file, 0, parts)
        .await
        .map_err(Error::at("write", &spare.path))?;
    if !is_planted(Bug::RenameWithoutSync) {
        let synced = spare.file.sync().await;
        synced.map_err(Error::at("sync", &spare.path))?;
    }
    rename(disk, &spare.path, &path).await?;
    let mut segment = empty(path, header, spare.file);
    if spare.is_recycled {
        segment
            .zero_position
            .set(FIRST_ENTRY_POSITION + BLOCK_BYTES);
    }
    segment.fill = Fill::ready_to(spare.ready_position);
    Ok(segment)
}

fn empty<F: DiskFile>(path: PathBuf, header: SegmentHeader, file: F) -> Segment<F> {
    let summary = SegmentSummary {
        base_offset: header.base_offset,
        next_offset: header.base_offset,
        end_position: FIRST_ENTRY_POSITION,
        record_bytes: 0,
        first_timestamp_us: 0,
        last_timestamp_us: 0,
    };
    let index = Some(Index::default());
    let segment = Segment::new(path, header.salt, summary, Some(file), index).active();
    segment.must_sync_name.set(true);
    segment
}

/// Writes a whole file and makes its bytes durable; its name is not durable yet.
pub(crate) async fn write_durable<D: Disk>(
    disk: &D,
    path: &Path,
    bytes: Bytes,
) -> Result<D::File, Error> {
    let named = |operation| Error::at(operation, path);
    let file = disk
        .open(path, OpenMode::CreateTruncate)
        .await
        .map_err(named("create"))?;
    write_all_at(&file, 0, vec![bytes])
        .await
        .map_err(named("write"))?;
    if !is_planted(Bug::RenameWithoutSync) {
        file.sync().await.map_err(named("sync"))?;
    }
    Ok(file)
}

/// Gives a written file its name, durably.
pub(crate) async fn publish<D: Disk>(
    disk: &D,
    directory: &Path,
    unfinished: &Path,
    path: &Path,
) -> Result<(), Error> {
    rename(disk, unfinished, path).await?;
    sync_names(disk, directory).await
}

async fn rename<D: Disk>(disk: &D, unfinished: &Path, path: &Path) -> Result<(), Error> {
    disk.rename(unfinished, path)
        .await
        .map_err(|error| Error::io("rename", path, error))
}

/// Makes the names in a directory durable.
pub(crate) async fn sync_names<D: Disk>(disk: &D, directory: &Path) -> Result<(), Error> {
    if is_planted(Bug::NoDirectorySync) {
        return Ok(());
    }
    // After a failed sync the file has its name or has not: nothing may be built on either.
    disk.sync_directory(directory)
        .await
        .map_err(Error::sync_at("sync directory", directory))
}

/// Writes the index file of a segment; the log does not depend on it.
pub(crate) async fn write_index<D: Disk>(
    disk: &D,
    directory: &Path,
    index: &Index,
    summary: &SegmentSummary,
    salt: u64,
) -> Result<(), Error> {
    let path = layout::index_path(directory, summary.base_offset);
    let unfinished = layout::unfinished_path(&path);
    write_durable(disk, &unfinished, index::encode(index, summary, salt)).await?;
    publish(disk, directory, &unfinished, &path).await
}

/// Reads the index file of a segment; `None` when there is none that holds.
pub(crate) async fn read_index<D: Disk>(
    disk: &D,
    directory: &Path,
    base_offset: u64,
    salt: u64,
) -> Option<(Index, SegmentSummary)> {
    let path = layout::index_path(directory, base_offset);
    let file = disk.open(&path, OpenMode::Read).await.ok()?;
    let bytes = file.length().await.ok()?;
    if bytes > index::FILE_BYTES_MAX {
        return None;
    }
    let content = file.read_at(0, usize::try_from(bytes).ok()?).await.ok()?;
    let (index, summary, index_salt) = index::parse(&content)?;
    (index_salt == salt && summary.base_offset == base_offset).then_some((index, summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_round_trips_and_any_damage_to_its_fields_is_seen() {
        for is_recycled in [false, true] {
            let header = SegmentHeader {
                base_offset: 42,
                salt: 7,
                is_recycled,
            };
            let bytes = header.encode();
            assert_eq!(SegmentHeader::parse(&bytes, 42), Ok(header));
            assert!(SegmentHeader::parse(&bytes, 43).is_err());
            assert!(SegmentHeader::parse(&bytes[..4_095], 42).is_err());
            for at in 0..40 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1;
                assert!(SegmentHeader::parse(&damaged, 42).is_err(), "byte {at}");
            }
        }
    }

    /// What a build does that is older than a format: it refuses instead of misreading.
    #[test]
    fn a_format_of_a_later_build_is_refused() {
        let header = SegmentHeader {
            base_offset: 0,
            salt: 7,
            is_recycled: true,
        };
        let mut bytes = header.encode().to_vec();
        assert_eq!(bytes[8..12], FORMAT_RECYCLED.to_le_bytes());
        bytes[8..12].copy_from_slice(&(FORMAT_RECYCLED + 1).to_le_bytes());
        let checksum = XxHash3_64::oneshot(&bytes[..32]);
        bytes[32..40].copy_from_slice(&checksum.to_le_bytes());
        let reason = "the segment has a format that this build does not know";
        assert_eq!(SegmentHeader::parse(&bytes, 0), Err(reason));
    }
}
