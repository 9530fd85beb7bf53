//! Reading: from the tail in memory where it reaches, from the segments behind it.
//!
//! Only durable batches are visible. Whole records are given as they are stored; the first and the
//! last may be sliced to the messages that were asked for. What comes from disk is verified each
//! time, so damage is reported with its place and never served.

use std::{io, rc::Rc};

use bytes::Bytes;
use wire::batch::BatchView;

use crate::{
    disk::{Disk, DiskFile},
    error::Error,
    index::{Index, SegmentSummary},
    limits,
    log::{PartitionLog, Shared},
    recovery,
    scan::{Scanned, ScannedEntry, Scanner},
    segment::{self, FIRST_ENTRY_POSITION, Segment, SegmentHeader},
};

/// Consecutive messages as they go to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// Batch records, one after the other; a record may span two parts.
    pub parts: Vec<Bytes>,
    /// Bytes of all parts.
    pub bytes: usize,
    /// Offset of the first message.
    pub first_offset: u64,
    /// Offset after the last message: where to read on.
    pub next_offset: u64,
}

impl Records {
    fn new(offset: u64) -> Self {
        Self {
            parts: Vec::new(),
            bytes: 0,
            first_offset: offset,
            next_offset: offset,
        }
    }

    /// Messages in all records.
    #[must_use]
    pub fn message_count(&self) -> u32 {
        // At most `message_count_max` of the read, which is a u32.
        (self.next_offset - self.first_offset) as u32
    }

    /// Whether there is nothing at or after the offset.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// Messages that are being collected, and what may still be added.
struct Collector {
    records: Records,
    messages_left: u32,
    bytes_left: usize,
    full: bool,
}

impl Collector {
    /// Takes what is wanted of a record, whose layout is known to hold.
    fn take(&mut self, record: &Bytes) {
        let view = BatchView::parse_layout(record).expect("stored records were proven before");
        let offset = self.records.next_offset;
        let slice = view
            .slice(offset, self.messages_left, self.bytes_left as u64)
            .or_else(|| {
                // At least one message is given, or else a reader with a small limit is stuck.
                let first = self.records.is_empty() && self.messages_left > 0;
                first.then(|| view.slice(offset, 1, u64::MAX)).flatten()
            });
        let Some(slice) = slice else {
            self.full = true;
            return;
        };
        let bytes = slice.header.batch_length as usize;
        if slice.is_whole(&view) {
            self.records.parts.push(record.clone());
        } else {
            self.records
                .parts
                .push(Bytes::copy_from_slice(&slice.header.encode()));
            self.records.parts.push(record.slice(slice.frames.clone()));
        }
        self.records.bytes += bytes;
        self.records.next_offset = slice.next_offset();
        self.messages_left -= slice.header.message_count;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        let cut_short = slice.next_offset() < view.next_offset();
        self.full = cut_short || self.messages_left == 0 || self.bytes_left == 0;
    }
}

/// Where a reader stopped in a segment behind the tail, with what was read already. A consumer that
/// goes on there neither looks anything up nor reads or proves anything twice.
#[derive(Debug)]
pub(crate) struct Cursor<F> {
    segment: Rc<Segment<F>>,
    scanner: Scanner<F>,
    /// The record before the scanner's position: a reader may have stopped within it.
    last: Option<ScannedEntry>,
    /// Offset of the first message at the scanner's position, or a later one to begin at.
    next_offset: u64,
}

impl<F: DiskFile> Cursor<F> {
    pub(crate) fn segment(&self) -> &Rc<Segment<F>> {
        &self.segment
    }

    /// Whether this is where a reader of `offset` goes on.
    pub(crate) fn goes_on_at(&self, segment: &Rc<Segment<F>>, offset: u64) -> bool {
        let from = match &self.last {
            Some(last) => last.header.base_offset,
            None => self.next_offset,
        };
        (from..=self.next_offset).contains(&offset) && Rc::ptr_eq(&self.segment, segment)
    }

    /// Gives the collector what it wants, up to the end of the piece that is in memory.
    async fn give(&mut self, collector: &mut Collector) -> Result<(), Error> {
        let end_offset = self.segment.summary().next_offset;
        let mut given = false;
        if let Some(last) = &self.last
            && last.header.next_offset() > collector.records.next_offset
        {
            collector.take(&last.record);
            given = true;
        }
        while !collector.full && collector.records.next_offset < end_offset {
            // The tail is looked at again after each piece.
            if given && self.scanner.needs_read() {
                break;
            }
            let entry = next_durable(&mut self.scanner, &self.segment).await?;
            self.next_offset = entry.header.next_offset();
            if entry.header.base_offset > collector.records.next_offset {
                let reason = "a record is missing";
                return Err(Error::corrupted(&self.segment.path, entry.position, reason));
            }
            if self.next_offset > collector.records.next_offset {
                collector.take(&entry.record);
                given = true;
            }
            self.last = Some(entry);
        }
        if collector.records.next_offset >= self.next_offset {
            // Nobody comes back for it: what it keeps in memory may go.
            self.last = None;
        }
        Ok(())
    }
}

impl<D: Disk> PartitionLog<D> {
    /// Reads messages from `start_offset` on: at most `message_count_max`, and at most `bytes_max`
    /// bytes of records, but always at least one message when there is one. A `start_offset`
    /// before the first message starts at that one. Empty when nothing durable is there yet.
    ///
    /// # Errors
    /// [`Error::Corrupted`] where the bytes on disk are not what was written, [`Error::Io`]. What
    /// was found before is given instead, should there be any; the next read then fails.
    pub async fn read(
        &self,
        start_offset: u64,
        message_count_max: u32,
        bytes_max: usize,
    ) -> Result<Records, Error> {
        let start_offset = start_offset.max(self.first_offset());
        let mut cursor = None;
        let mut collector = Collector {
            records: Records::new(start_offset),
            messages_left: message_count_max,
            bytes_left: bytes_max,
            full: message_count_max == 0,
        };
        while !collector.full {
            let offset = collector.records.next_offset;
            if self.take_from_tail(&mut collector) {
                continue;
            }
            let Some(segment) = self.segment_with(offset) else {
                break;
            };
            match take_from_disk(&self.shared, &segment, &mut cursor, &mut collector).await {
                Ok(()) => {}
                // Who read something may come back for the rest.
                Err(_) if !collector.records.is_empty() => break,
                // Removed while it was read: what comes after it is what is left.
                Err(_) if self.first_offset() > offset => {
                    collector.records = Records::new(self.first_offset());
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(cursor) = cursor {
            self.keep(cursor);
        }
        Ok(collector.records)
    }

    /// Offset of the first message whose batch was appended at `timestamp_us` or later; `None`
    /// when all are older.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn offset_at_timestamp(&self, timestamp_us: u64) -> Result<Option<u64>, Error> {
        let segment = {
            let state = self.shared.state.borrow();
            let found = state.segments.iter().find(|segment| {
                let summary = segment.summary();
                !summary.is_empty() && summary.last_timestamp_us >= timestamp_us
            });
            match found {
                Some(segment) => Rc::clone(segment),
                None => return Ok(None),
            }
        };
        let summary = segment.summary();
        if summary.first_timestamp_us >= timestamp_us {
            return Ok(Some(summary.base_offset));
        }
        let index = index_of(&self.shared, &segment).await?;
        let from = index.before_timestamp(timestamp_us);
        drop(index);
        let position = from.map_or(FIRST_ENTRY_POSITION, |entry| entry.position);
        let bytes = limits::READ_BYTES_MIN;
        let mut scanner = scanner_at(&self.shared, &segment, summary, position, bytes).await?;
        loop {
            let entry = next_durable(&mut scanner, &segment).await?;
            if entry.header.base_timestamp >= timestamp_us {
                return Ok(Some(entry.header.base_offset));
            }
        }
    }

    /// Whether the tail had anything at the collector's offset.
    fn take_from_tail(&self, collector: &mut Collector) -> bool {
        self.shared.tail_used.set(true);
        let state = self.shared.state.borrow();
        let mut found = false;
        for batch in state.tail.batches_from(collector.records.next_offset) {
            found = true;
            collector.take(&batch.record);
            if collector.full {
                break;
            }
        }
        found
    }

    /// Remembers where a reader stopped, if there is anything to come back for.
    fn keep(&self, cursor: Cursor<D::File>) {
        let state = self.shared.state.borrow();
        let segment = cursor.segment();
        let base_offset = segment.summary().base_offset;
        let is_here = state
            .segments
            .binary_search_by_key(&base_offset, |known| known.summary().base_offset)
            .is_ok_and(|place| Rc::ptr_eq(&state.segments[place], segment));
        let is_active = state
            .segments
            .back()
            .is_some_and(|active| Rc::ptr_eq(active, segment));
        // A sealed segment that was read to its end is done with.
        let is_done = !is_active && cursor.next_offset >= segment.summary().next_offset;
        if is_here && !is_done {
            self.shared.budget.keep_cursor(cursor);
        }
    }

    /// The segment that holds `offset`, if it is durable.
    fn segment_with(&self, offset: u64) -> Option<Rc<Segment<D::File>>> {
        let state = self.shared.state.borrow();
        let after = state
            .segments
            .partition_point(|segment| segment.summary().base_offset <= offset);
        let segment = state.segments.get(after.checked_sub(1)?)?;
        (offset < segment.summary().next_offset).then(|| Rc::clone(segment))
    }
}

/// Takes one piece of a segment, from the collector's offset on. The cursor is left where that
/// ended, unless it failed.
async fn take_from_disk<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
    cursor: &mut Option<Cursor<D::File>>,
    collector: &mut Collector,
) -> Result<(), Error> {
    let offset = collector.records.next_offset;
    let kept = cursor
        .take()
        .filter(|cursor| cursor.goes_on_at(segment, offset))
        .or_else(|| shared.budget.take_cursor(segment, offset));
    let mut reading = match kept {
        Some(mut kept) => {
            kept.scanner.extend_to(segment.summary().end_position);
            kept.scanner.read_ahead(limits::READ_ON_BYTES);
            kept
        }
        None => begin(shared, segment, collector).await?,
    };
    let mut given = reading.give(collector).await;
    // What idle readers hold makes room for those that read.
    while matches!(given, Err(Error::Busy)) && shared.budget.forget_oldest_cursor() {
        given = reading.give(collector).await;
    }
    given?;
    *cursor = Some(reading);
    Ok(())
}

/// Finds where to read for the collector's offset.
async fn begin<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
    collector: &Collector,
) -> Result<Cursor<D::File>, Error> {
    let summary = segment.summary();
    let offset = collector.records.next_offset;
    let index = index_of(shared, segment).await?;
    let from = index.before_offset(offset);
    // Held no longer than needed: the active segment's index is copied on write.
    drop(index);
    let position = from.map_or(FIRST_ENTRY_POSITION, |entry| entry.position);
    // About what so many messages take, and what lies between the place in the index and them.
    let messages_count = (summary.next_offset - summary.base_offset).max(1);
    let message_bytes = (summary.end_position / messages_count).max(1);
    let wanted = message_bytes.saturating_mul(u64::from(collector.messages_left));
    let wanted = usize::try_from(wanted)
        .unwrap_or(usize::MAX)
        .min(collector.bytes_left);
    let bytes = wanted
        .saturating_add(shared.options.index_interval_bytes as usize)
        .clamp(limits::READ_BYTES_MIN, limits::READ_BYTES_MAX);
    Ok(Cursor {
        segment: Rc::clone(segment),
        scanner: scanner_at(shared, segment, summary, position, bytes).await?,
        last: None,
        next_offset: from.map_or(summary.base_offset, |entry| entry.base_offset),
    })
}

async fn scanner_at<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
    summary: SegmentSummary,
    position: u64,
    bytes: usize,
) -> Result<Scanner<D::File>, Error> {
    let file = segment.file(&shared.disk).await?;
    shared.budget.use_segment(segment);
    let scanner = Scanner::new(file, segment.salt, position, summary.end_position, bytes);
    Ok(scanner.bounded(shared.budget.reads()))
}

/// The next entry before a position that is known to be durable: there must be one.
async fn next_durable<F: DiskFile>(
    scanner: &mut Scanner<F>,
    segment: &Segment<F>,
) -> Result<ScannedEntry, Error> {
    let scanned = scanner.next().await.map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => Error::Busy,
        _ => Error::io("read", &segment.path, error),
    })?;
    let reason = match scanned {
        Scanned::Entry(entry) => return Ok(entry),
        Scanned::End => "a durable record is gone",
        Scanned::Broken(reason) => reason,
    };
    Err(Error::corrupted(&segment.path, scanner.position(), reason))
}

/// The index of a segment: from memory, from its file, or made again from the segment.
async fn index_of<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
) -> Result<Rc<Index>, Error> {
    if let Some(index) = segment.resident_index() {
        return Ok(index);
    }
    let summary = segment.summary();
    let read = segment::read_index(
        &shared.disk,
        &shared.directory,
        summary.base_offset,
        segment.salt,
    );
    let index = match read.await {
        Some((index, found)) if found == summary => index,
        _ => rebuild(shared, segment, summary).await?,
    };
    let index = Rc::new(index);
    segment.set_index(Some(Rc::clone(&index)));
    shared.budget.use_segment(segment);
    Ok(index)
}

async fn rebuild<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
    summary: SegmentSummary,
) -> Result<Index, Error> {
    let file = segment.file(&shared.disk).await?;
    let header = SegmentHeader {
        base_offset: summary.base_offset,
        salt: segment.salt,
        // Nothing behind the end is looked at.
        is_recycled: false,
    };
    let end = summary.end_position;
    let contents =
        recovery::read_contents(&file, &segment.path, header, end, &shared.options).await?;
    if contents.summary != summary {
        let position = contents.summary.end_position;
        let reason = contents.broken.unwrap_or("a durable record is gone");
        return Err(Error::corrupted(&segment.path, position, reason));
    }
    Ok(contents.index)
}
