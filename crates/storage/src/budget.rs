//! What the logs of one thread share: open segments, recent batches, waiting appends and bytes
//! read from disk. Each is bounded in total, however many logs there are.
//!
//! What was not used for longest makes room: a queue in which whatever was used since it was
//! looked at last goes to the end once more (the clock algorithm), so that a use costs no search.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use futures_channel::oneshot;

use crate::{
    appender,
    disk::{CompioDisk, Disk},
    error::Error,
    limits::BudgetLimits,
    log::Shared,
    reader::Cursor,
    segment::Segment,
    spare,
};

/// The shared bounds of the logs of one thread. Clones are the same budget.
#[derive(Debug)]
pub struct Budget<D: Disk = CompioDisk> {
    inner: Rc<Inner<D>>,
}

impl<D: Disk> Clone for Budget<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Rc::clone(&self.inner),
        }
    }
}

#[derive(Debug)]
struct Inner<D: Disk> {
    limits: BudgetLimits,
    /// Segments whose file may be open.
    segments: RefCell<VecDeque<Weak<Segment<D::File>>>>,
    /// Those of them that must stay open.
    pins: Rc<Pins>,
    /// Logs at rest with something that is acknowledged and not synced, the oldest first.
    unsynced: RefCell<VecDeque<Weak<Shared<D>>>>,
    /// Logs that may hold a file for their next segment.
    spares: RefCell<Vec<Weak<Shared<D>>>>,
    /// Logs whose tail may hold something.
    tails: RefCell<VecDeque<Weak<Shared<D>>>>,
    tail_bytes: Rc<Cell<usize>>,
    pending_bytes: Cell<usize>,
    reads: Arc<Reads>,
    /// Where readers stopped, the one used last at the back.
    cursors: RefCell<VecDeque<Cursor<D::File>>>,
}

/// What of a [`Budget`] is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BudgetUse {
    /// Segments whose file is open.
    pub segments_open: usize,
    /// Bytes of recent batches.
    pub tail_bytes: usize,
    /// Bytes of batches that wait for a disk.
    pub pending_bytes: usize,
    /// Bytes read from disk that nobody has let go of yet.
    pub read_bytes: usize,
}

impl<D: Disk> Budget<D> {
    /// A budget of which nothing is in use.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        let reads = Reads {
            used_bytes: AtomicUsize::new(0),
            bytes_max: limits.read_bytes_max,
        };
        Self {
            inner: Rc::new(Inner {
                limits,
                segments: RefCell::default(),
                pins: Rc::default(),
                unsynced: RefCell::default(),
                spares: RefCell::default(),
                tails: RefCell::default(),
                tail_bytes: Rc::default(),
                pending_bytes: Cell::new(0),
                reads: Arc::new(reads),
                cursors: RefCell::default(),
            }),
        }
    }

    /// What is in use now.
    #[must_use]
    pub fn in_use(&self) -> BudgetUse {
        let segments = self.inner.segments.borrow();
        let open = segments
            .iter()
            .filter(|segment| segment.upgrade().is_some_and(|segment| segment.is_open()));
        BudgetUse {
            segments_open: open.count(),
            tail_bytes: self.inner.tail_bytes.get(),
            pending_bytes: self.inner.pending_bytes.get(),
            read_bytes: self.inner.reads.used_bytes.load(Ordering::Relaxed),
        }
    }

    /// The counter of all tails together.
    pub(crate) fn tail_bytes(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.inner.tail_bytes)
    }

    /// Notes that a segment's file is in use; others are closed when too many are open.
    pub(crate) fn use_segment(&self, segment: &Rc<Segment<D::File>>) {
        segment.used.set(true);
        if segment.listed.replace(true) {
            return;
        }
        let mut segments = self.inner.segments.borrow_mut();
        segments.push_back(Rc::downgrade(segment));
        let mut looks_left = 2 * segments.len();
        while segments.len() > self.inner.limits.segments_open_max && looks_left > 0 {
            looks_left -= 1;
            let Some(oldest) = segments.pop_front() else {
                break;
            };
            let Some(segment) = oldest.upgrade() else {
                continue;
            };
            if segment.used.replace(false) || segment.is_written() {
                segments.push_back(oldest);
                continue;
            }
            segment.listed.set(false);
            segment.let_go();
        }
    }

    /// Returns when one more file may stay open from a write to its sync. Until then what lies
    /// unsynced for longest is synced, because its file cannot be closed before.
    pub(crate) async fn pin(&self, segment: &Rc<Segment<D::File>>) {
        let pins_max = self.inner.limits.segments_open_max.max(1);
        while !segment.is_written() {
            if self.inner.pins.count.get() < pins_max {
                segment.pin(Pin::new(&self.inner.pins));
                break;
            }
            self.sync_oldest();
            let (sender, receiver) = oneshot::channel();
            self.inner.pins.waiters.borrow_mut().push_back(sender);
            // Used when a file may be closed again; dropped never.
            let _ = receiver.await;
        }
        self.use_segment(segment);
    }

    /// Notes that what a log wrote stays unsynced for now.
    pub(crate) fn leave_unsynced(&self, log: &Rc<Shared<D>>) {
        if !log.unsynced_listed.replace(true) {
            self.inner
                .unsynced
                .borrow_mut()
                .push_back(Rc::downgrade(log));
        }
        // Whoever began to wait before found nothing to sync.
        if !self.inner.pins.waiters.borrow().is_empty() {
            self.sync_oldest();
        }
    }

    /// Notes that a log holds a file for its next segment.
    pub(crate) fn note_spare(&self, log: &Rc<Shared<D>>) {
        if !log.spare_listed.replace(true) {
            self.inner.spares.borrow_mut().push(Rc::downgrade(log));
        }
    }

    /// Removes the files that logs hold for their next segments.
    pub(crate) fn give_up_spares(&self) {
        for log in self.inner.spares.take() {
            let Some(log) = log.upgrade() else {
                continue;
            };
            log.spare_listed.set(false);
            let own = Rc::clone(&log);
            let mut state = log.state.borrow_mut();
            appender::spawn(&log, &mut state, async move { spare::remove(&own).await });
        }
    }

    fn sync_oldest(&self) {
        loop {
            let Some(oldest) = self.inner.unsynced.borrow_mut().pop_front() else {
                return;
            };
            let Some(log) = oldest.upgrade() else {
                continue;
            };
            log.unsynced_listed.set(false);
            let mut state = log.state.borrow_mut();
            let active = state.segments.back();
            if active.is_some_and(|active| active.is_written()) {
                appender::request_sync(&log, &mut state);
                return;
            }
        }
    }

    /// Notes that a log's tail is in use; others are emptied when all are too large together.
    pub(crate) fn use_tail(&self, log: &Rc<Shared<D>>) {
        log.tail_used.set(true);
        let mut tails = self.inner.tails.borrow_mut();
        if !log.tail_listed.replace(true) {
            tails.push_back(Rc::downgrade(log));
        }
        let mut looks_left = 2 * tails.len();
        while self.inner.tail_bytes.get() > self.inner.limits.tail_bytes_max && looks_left > 0 {
            looks_left -= 1;
            let Some(oldest) = tails.pop_front() else {
                break;
            };
            let Some(log) = oldest.upgrade() else {
                continue;
            };
            if log.tail_used.replace(false) {
                tails.push_back(oldest);
                continue;
            }
            log.tail_listed.set(false);
            log.state.borrow_mut().tail.clear();
        }
    }

    /// Takes room for a batch that is to wait for its disk.
    pub(crate) fn take_pending(&self, bytes: usize) -> Result<(), Error> {
        let pending = self.inner.pending_bytes.get() + bytes;
        if pending > self.inner.limits.pending_bytes_max {
            return Err(Error::Busy);
        }
        self.inner.pending_bytes.set(pending);
        Ok(())
    }

    /// Gives that room back.
    pub(crate) fn give_pending(&self, bytes: usize) {
        let pending = self.inner.pending_bytes.get();
        self.inner.pending_bytes.set(pending - bytes);
    }

    /// The bound of what is read from disk.
    pub(crate) fn reads(&self) -> Arc<Reads> {
        Arc::clone(&self.inner.reads)
    }

    /// Takes out where a reader stopped in a segment, if it wants to go on at this offset.
    pub(crate) fn take_cursor(
        &self,
        segment: &Rc<Segment<D::File>>,
        offset: u64,
    ) -> Option<Cursor<D::File>> {
        let mut cursors = self.inner.cursors.borrow_mut();
        let place = cursors
            .iter()
            .rposition(|cursor| cursor.goes_on_at(segment, offset))?;
        cursors.remove(place)
    }

    /// Remembers where a reader stopped.
    pub(crate) fn keep_cursor(&self, cursor: Cursor<D::File>) {
        let mut cursors = self.inner.cursors.borrow_mut();
        if cursors.len() >= self.inner.limits.read_cursors_max {
            cursors.pop_front();
        }
        if self.inner.limits.read_cursors_max > 0 {
            cursors.push_back(cursor);
        }
    }

    /// Forgets the reader that stopped longest ago, for what it holds; false when there is none.
    pub(crate) fn forget_oldest_cursor(&self) -> bool {
        self.inner.cursors.borrow_mut().pop_front().is_some()
    }

    /// Forgets who reads these segments: they are to be closed, or gone.
    pub(crate) fn forget_cursors(&self, is_meant: impl Fn(&Rc<Segment<D::File>>) -> bool) {
        let mut cursors = self.inner.cursors.borrow_mut();
        cursors.retain(|cursor| !is_meant(cursor.segment()));
    }
}

impl<D: Disk> Default for Budget<D> {
    fn default() -> Self {
        Self::new(BudgetLimits::default())
    }
}

/// How many files must stay open, and who waits to be one of them.
#[derive(Debug, Default)]
struct Pins {
    count: Cell<usize>,
    waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// Keeps a segment's file open.
#[derive(Debug)]
pub(crate) struct Pin(Rc<Pins>);

impl Pin {
    fn new(pins: &Rc<Pins>) -> Self {
        pins.count.set(pins.count.get() + 1);
        Self(Rc::clone(pins))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        // Whoever waited may have gone.
        while let Some(waiter) = self.0.waiters.borrow_mut().pop_front() {
            if waiter.send(()).is_ok() {
                break;
            }
        }
    }
}

/// Bytes that were read from disk and are still held by somebody: a scanner, a reply on its way,
/// a connection on another thread. Therefore the count is atomic.
#[derive(Debug)]
pub(crate) struct Reads {
    used_bytes: AtomicUsize,
    bytes_max: usize,
}

impl Reads {
    /// Takes room for a piece of `wanted` bytes, or for less when there is little left, but for
    /// no less than `least`; one that is larger than all there is passes while there is any room.
    ///
    /// # Errors
    /// [`Error::Busy`] when there is none.
    pub(crate) fn take(self: &Arc<Self>, wanted: usize, least: usize) -> Result<Share, Error> {
        let used = self.used_bytes.load(Ordering::Relaxed);
        let free = self.bytes_max.saturating_sub(used);
        if free == 0 {
            return Err(Error::Busy);
        }
        // A quarter of what is free leaves something for the others.
        let bytes = wanted.min((free / 4).max(least));
        // Only the owning thread takes, the others give back: it cannot have become more.
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Share {
            reads: Arc::clone(self),
            bytes,
        })
    }
}

/// Room for bytes read from disk, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    reads: Arc<Reads>,
    bytes: usize,
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `buffer` as bytes that keep their room as long as any part of them lives.
    pub(crate) fn hold(self, buffer: BytesMut) -> Bytes {
        Bytes::from_owner(Held {
            buffer,
            _share: self,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.reads
            .used_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    buffer: BytesMut,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(bytes_max: usize) -> Arc<Reads> {
        Arc::new(Reads {
            used_bytes: AtomicUsize::new(0),
            bytes_max,
        })
    }

    #[test]
    fn pieces_shrink_when_there_is_little_left_and_stop_at_the_edge() {
        let reads = reads(1_000);
        let first = reads.take(1_000, 10).expect("there is room");
        assert_eq!(first.bytes(), 250);
        let second = reads.take(50, 10).expect("there is room");
        assert_eq!(second.bytes(), 50);
        let third = reads.take(5_000, 699).expect("there is room");
        assert_eq!(third.bytes(), 699);
        let edge = reads.take(9, 9).expect("one byte is left");
        assert!(matches!(reads.take(1, 1), Err(Error::Busy)));
        drop(edge);
        assert_eq!(reads.take(1, 1).expect("one byte is left").bytes(), 1);
    }

    #[test]
    fn room_is_held_until_the_last_part_is_gone() {
        let reads = reads(100);
        let share = reads.take(100, 100).expect("there is room");
        let bytes = share.hold(BytesMut::from(&b"hello"[..]));
        let part = bytes.slice(1..3);
        drop(bytes);
        assert!(reads.take(1, 1).is_err());
        assert_eq!(&part[..], b"el");
        drop(part);
        assert!(reads.take(1, 1).is_ok());
    }

    #[test]
    fn waiting_appends_are_bounded_in_total() {
        let limits = BudgetLimits {
            pending_bytes_max: 10,
            ..BudgetLimits::default()
        };
        let budget: Budget = Budget::new(limits);
        assert!(budget.take_pending(10).is_ok());
        assert!(matches!(budget.take_pending(1), Err(Error::Busy)));
        budget.give_pending(1);
        assert!(budget.take_pending(1).is_ok());
    }
}
