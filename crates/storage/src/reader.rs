//! Reading: from the tail in memory where it reaches, from the segments behind it.
//!
//! Only durable batches are visible. Whole records are given as they are stored; the first and the
//! last may be sliced to the messages that were asked for. What comes from disk is verified each
//! time, so damage is reported with its place and never served.

use std::rc::Rc;

use bytes::Bytes;
use wire::batch::BatchView;

use crate::{
    disk::Disk,
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
            match take_from_disk(&self.shared, &segment, &mut collector).await {
                Ok(()) => {}
                Err(_) if !collector.records.is_empty() => break,
                // Removed while it was read: what comes after it is what is left.
                Err(_) if self.first_offset() > offset => {
                    collector.records = Records::new(self.first_offset());
                }
                Err(error) => return Err(error),
            }
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

/// Takes one piece of a segment, from the collector's offset on.
async fn take_from_disk<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
    collector: &mut Collector,
) -> Result<(), Error> {
    let summary = segment.summary();
    let offset = collector.records.next_offset;
    let index = index_of(shared, segment).await?;
    let from = index.before_offset(offset);
    // Held no longer than needed: the active segment's index is copied on write.
    drop(index);
    let position = from.map_or(FIRST_ENTRY_POSITION, |entry| entry.position);
    let bytes = collector
        .bytes_left
        .clamp(limits::READ_BYTES_MIN, limits::READ_BYTES_MAX);
    let mut scanner = scanner_at(shared, segment, summary, position, bytes).await?;
    let mut taken = false;
    while !collector.full && collector.records.next_offset < summary.next_offset {
        // The tail is looked at again after each piece.
        if taken && scanner.needs_read() {
            break;
        }
        let entry = next_durable(&mut scanner, segment).await?;
        let expected = entry.header.next_offset() > collector.records.next_offset;
        if entry.header.base_offset > collector.records.next_offset {
            let reason = "a record is missing";
            return Err(Error::corrupted(&segment.path, entry.position, reason));
        }
        if expected {
            collector.take(&entry.record);
            taken = true;
        }
    }
    Ok(())
}

async fn scanner_at<D: Disk>(
    shared: &Rc<Shared<D>>,
    segment: &Rc<Segment<D::File>>,
    summary: SegmentSummary,
    position: u64,
    bytes: usize,
) -> Result<Scanner<D::File>, Error> {
    let file = segment.file(&shared.disk).await?;
    make_resident(shared, segment);
    Ok(Scanner::new(
        file,
        segment.salt,
        position,
        summary.end_position,
        bytes,
    ))
}

/// The next entry before a position that is known to be durable: there must be one.
async fn next_durable<F: crate::disk::DiskFile>(
    scanner: &mut Scanner<F>,
    segment: &Segment<F>,
) -> Result<ScannedEntry, Error> {
    let scanned = scanner
        .next()
        .await
        .map_err(|error| Error::io("read", &segment.path, error))?;
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
    make_resident(shared, segment);
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

/// Remembers that a sealed segment was used, and lets go of the one that was not for longest.
pub(crate) fn make_resident<D: Disk>(shared: &Shared<D>, segment: &Rc<Segment<D::File>>) {
    let mut state = shared.state.borrow_mut();
    let is_active = state
        .segments
        .back()
        .is_some_and(|active| Rc::ptr_eq(active, segment));
    let base_offset = segment.summary().base_offset;
    let place = state
        .segments
        .partition_point(|known| known.summary().base_offset < base_offset);
    let is_known = state
        .segments
        .get(place)
        .is_some_and(|known| Rc::ptr_eq(known, segment));
    if is_active || !is_known {
        return;
    }
    state.resident.retain(|known| !Rc::ptr_eq(known, segment));
    state.resident.push_back(Rc::clone(segment));
    while state.resident.len() > limits::SEALED_RESIDENT_MAX {
        if let Some(oldest) = state.resident.pop_front() {
            oldest.close_file();
            oldest.set_index(None);
        }
    }
}
