//! One partition's log: its state, and what may be asked of it.
//!
//! Everything here runs on one thread. State changes happen synchronously between awaits; the
//! disk work of appends lives in `appender`, that of reads in `reader`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use futures_channel::oneshot;
use wire::batch::{BatchHeader, Stamp, stamp};

use crate::{
    appender,
    budget::Budget,
    checkpoint::{self, Turn},
    disk::{CompioDisk, Disk, DiskFile},
    error::Error,
    limits::{self, LogOptions, SyncPolicy},
    recovery::{self, RecoveryReport},
    segment::Segment,
    spare::{self, SpareState},
    tail::Tail,
};

/// How a log is opened among others.
#[derive(Debug)]
pub struct Opening<D: Disk = CompioDisk> {
    /// What it shares with the others.
    pub budget: Budget<D>,
    /// Whether everything in its directory is known to be durable, because the whole file system
    /// was synced after the last process that wrote there had ended. Nothing is synced then that
    /// recovery does not change.
    pub is_durable: bool,
    /// Told when the active segment has no more room than what is made ready ahead, twice. What is
    /// removed now need not be filled again: its file becomes the next segment's.
    pub near_end: NearEnd,
}

/// Somebody who wants to know that a log will soon begin a segment.
#[derive(Clone, Default)]
pub struct NearEnd(Option<Rc<dyn Fn()>>);

impl NearEnd {
    /// Calls `note`, which must not call the log but only take note of it.
    pub fn new(note: impl Fn() + 'static) -> Self {
        Self(Some(Rc::new(note)))
    }

    pub(crate) fn tell(&self) {
        if let Some(note) = &self.0 {
            note();
        }
    }
}

impl fmt::Debug for NearEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("NearEnd").finish_non_exhaustive()
    }
}

impl<D: Disk> Default for Opening<D> {
    fn default() -> Self {
        Self {
            budget: Budget::default(),
            is_durable: false,
            near_end: NearEnd::default(),
        }
    }
}

/// Where an append went. Given only once it is durable as the log's [`SyncPolicy`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first message.
    pub base_offset: u64,
    /// Messages of the batch.
    pub message_count: u32,
    /// Time that the batch was given, in microseconds.
    pub base_timestamp_us: u64,
}

/// What a removal took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Segments that are gone.
    pub segments_count: u64,
    /// Bytes of the records in them.
    pub record_bytes: u64,
}

/// A segment that is sealed: nothing is written to it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSegment {
    /// Offset after its last message: everything before it goes when the segment is removed.
    pub next_offset: u64,
    /// Bytes of its records.
    pub record_bytes: u64,
    /// Time of its last batch, in microseconds.
    pub last_timestamp_us: u64,
}

/// The log of one partition: batches in, batches out, nothing acknowledged before it is durable.
///
/// Cheap to clone; all clones are the same log. Belongs to one thread.
#[derive(Debug)]
pub struct PartitionLog<D: Disk = CompioDisk> {
    pub(crate) shared: Rc<Shared<D>>,
}

impl<D: Disk> Clone for PartitionLog<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Shared<D: Disk> {
    pub(crate) disk: D,
    pub(crate) directory: PathBuf,
    pub(crate) partition_id: u64,
    pub(crate) options: LogOptions,
    pub(crate) state: RefCell<State<D::File>>,
    pub(crate) budget: Budget<D>,
    /// Whether the budget knows that the tail may hold something, and whether that was used since
    /// the budget looked last.
    pub(crate) tail_listed: Cell<bool>,
    pub(crate) tail_used: Cell<bool>,
    /// Whether the budget knows that there may be a file for the next segment.
    pub(crate) spare_listed: Cell<bool>,
    /// Who removes segments.
    pub(crate) removal_turn: Turn,
    pub(crate) near_end: NearEnd,
    /// Whether the budget knows that something is acknowledged and not synced.
    pub(crate) unsynced_listed: Cell<bool>,
    pub(crate) sync_policy: Cell<SyncPolicy>,
    pub(crate) syncs_count: Cell<u64>,
}

/// A batch that is stamped and waits for the disk.
#[derive(Debug)]
pub(crate) struct PendingBatch {
    pub(crate) header: BatchHeader,
    pub(crate) record: Bytes,
    pub(crate) reply: oneshot::Sender<Result<Appended, Error>>,
}

/// What waits for the disk, in order.
#[derive(Debug)]
pub(crate) enum Pending {
    Append(PendingBatch),
    /// Sync what was acknowledged before.
    Sync,
    /// Remove every segment that lies wholly before the offset; with `seal`, the active one too.
    Remove {
        before_offset: u64,
        seal: bool,
        reply: oneshot::Sender<Result<Removed, Error>>,
    },
    /// A removal beside the commits failed.
    NotRemoved {
        error: Error,
        reply: oneshot::Sender<Result<Removed, Error>>,
    },
}

/// Whether appends are taken.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    Open,
    /// The disk was full; the next append tries again.
    Full,
    Fenced(Error),
    Closed,
}

#[derive(Debug)]
pub(crate) struct State<F> {
    /// Ascending; the last one is active. Empty before the first append, and when damage was found
    /// in the first.
    pub(crate) segments: VecDeque<Rc<Segment<F>>>,
    pub(crate) standing: Standing,
    /// Offset that the next batch is stamped with.
    pub(crate) next_offset: u64,
    /// Time that the next batch is not stamped before.
    pub(crate) last_timestamp_us: u64,
    pub(crate) pending: VecDeque<Pending>,
    /// Bytes of the batches that wait and of those being written.
    pub(crate) pending_bytes: usize,
    pub(crate) tail: Tail,
    /// Tasks that work for this log.
    pub(crate) tasks_count: usize,
    pub(crate) commit_running: bool,
    /// Of the last groups: decides how space is made ready.
    pub(crate) group_bytes_average: usize,
    pub(crate) spare: SpareState<F>,
    /// While a sync is due later: dropped, it is due now.
    pub(crate) sync_timer: Option<oneshot::Sender<()>>,
    pub(crate) idle_waiters: Vec<oneshot::Sender<()>>,
}

impl<F> State<F> {
    pub(crate) fn active(&self) -> &Rc<Segment<F>> {
        self.segments
            .back()
            .expect("what was appended lies in an active segment")
    }
}

impl<F: DiskFile> State<F> {
    /// Offset after the last durable message.
    pub(crate) fn durable_next_offset(&self) -> u64 {
        self.segments
            .back()
            .map_or(0, |active| active.summary().next_offset)
    }
}

impl<D: Disk> PartitionLog<D> {
    /// Opens the log in `directory`, which must exist, and recovers it; an empty directory is an
    /// empty log. Reads the active segment in full, or from where its index says that everything
    /// before was durable.
    ///
    /// Damage to durable bytes is not an error here: the log is then fenced, the report says
    /// where, and what lies before it can be read.
    ///
    /// # Errors
    /// [`Error::Option`], [`Error::Io`], [`Error::Full`].
    pub async fn open(
        disk: D,
        directory: &Path,
        partition_id: u64,
        options: LogOptions,
    ) -> Result<(Self, RecoveryReport), Error> {
        let opening = Opening::default();
        Self::open_with(disk, directory, partition_id, options, opening).await
    }

    /// As [`Self::open`], sharing a budget with other logs.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_with(
        disk: D,
        directory: &Path,
        partition_id: u64,
        options: LogOptions,
        opening: Opening<D>,
    ) -> Result<(Self, RecoveryReport), Error> {
        options.check()?;
        let recovered = recovery::recover(&disk, directory, &options, opening.is_durable).await?;
        let standing = match &recovered.report.corruption {
            None => Standing::Open,
            Some(corruption) => Standing::Fenced(Error::Corrupted(corruption.clone())),
        };
        let state = State {
            segments: recovered.segments,
            standing,
            next_offset: recovered.report.next_offset,
            last_timestamp_us: recovered.last_timestamp_us,
            pending: VecDeque::new(),
            pending_bytes: 0,
            tail: Tail::new(options.tail_bytes_max, opening.budget.tail_bytes()),
            tasks_count: 0,
            commit_running: false,
            group_bytes_average: 0,
            spare: SpareState::None,
            sync_timer: None,
            idle_waiters: Vec::new(),
        };
        let shared = Rc::new(Shared {
            disk,
            directory: directory.into(),
            partition_id,
            options,
            sync_policy: Cell::new(options.sync_policy),
            state: RefCell::new(state),
            budget: opening.budget,
            tail_listed: Cell::new(false),
            tail_used: Cell::new(false),
            spare_listed: Cell::new(false),
            removal_turn: Turn::default(),
            near_end: opening.near_end,
            unsynced_listed: Cell::new(false),
            syncs_count: Cell::new(0),
        });
        Ok((Self { shared }, recovered.report))
    }

    /// Appends a batch.
    ///
    /// Its place in the order is fixed by this call, not by awaiting it: partition, offset, time
    /// and checksum are stamped into the batch at once. The future resolves when the batch is
    /// durable. Dropping it changes nothing about the batch. Batches that come while the disk is
    /// busy are written and synced together.
    ///
    /// The batch must be one that [`wire::batch::BatchView::parse_produced`] accepted: its layout
    /// is looked at again, its message checksums are not. `now_us` is the time in microseconds;
    /// should it run backwards, the time of the batch before is taken.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], [`Error::TooLarge`], [`Error::Busy`], [`Error::Fenced`],
    /// [`Error::Corrupted`] and [`Error::Closed`]: nothing was taken. [`Error::Full`]: nothing is
    /// stored. [`Error::Io`]: the write or the sync failed, and the log is fenced from now on.
    pub fn append(
        &self,
        batch: BytesMut,
        now_us: u64,
    ) -> impl Future<Output = Result<Appended, Error>> + 'static {
        let receiver = self.enqueue(batch, now_us);
        async move {
            match receiver?.await {
                Ok(result) => result,
                Err(oneshot::Canceled) => Err(Error::Closed),
            }
        }
    }

    fn enqueue(
        &self,
        mut batch: BytesMut,
        now_us: u64,
    ) -> Result<oneshot::Receiver<Result<Appended, Error>>, Error> {
        let mut state = self.shared.state.borrow_mut();
        state.check_standing()?;
        let (bytes, bytes_max) = (batch.len() as u64, u64::from(limits::BATCH_BYTES_MAX));
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        if state.pending_bytes + batch.len() > limits::PENDING_BYTES_MAX
            || state.pending.len() >= limits::PENDING_BATCHES_MAX
        {
            return Err(Error::Busy);
        }
        self.shared.budget.take_pending(batch.len())?;
        let base_timestamp = now_us.max(state.last_timestamp_us);
        let place = Stamp {
            partition_id: self.shared.partition_id,
            base_offset: state.next_offset,
            base_timestamp,
        };
        let header = stamp(&mut batch, place).map_err(|_| {
            self.shared.budget.give_pending(batch.len());
            Error::InvalidBatch {
                reason: "its layout is wrong",
            }
        })?;
        let (reply, receiver) = oneshot::channel();
        state.next_offset = header.next_offset();
        state.last_timestamp_us = base_timestamp;
        state.pending_bytes += batch.len();
        let record = batch.freeze();
        state.pending.push_back(Pending::Append(PendingBatch {
            header,
            record,
            reply,
        }));
        appender::start(&self.shared, &mut state);
        Ok(receiver)
    }

    /// Removes all messages that were appended before this call. Offsets go on where they are.
    ///
    /// # Errors
    /// As [`Self::append`]. When it fails half way, the oldest messages are gone.
    pub fn purge(&self) -> impl Future<Output = Result<(), Error>> + 'static {
        let before_offset = self.shared.state.borrow().next_offset;
        let removing = self.remove(before_offset, true);
        async move { removing.await.map(drop) }
    }

    /// Removes the oldest segments whose last message was appended before `before_timestamp_us`,
    /// at most `segments_max` of them. The active segment goes too when it holds nothing younger:
    /// it is sealed for that, so that the messages of a quiet log expire as well.
    ///
    /// # Errors
    /// As [`Self::append`]. When it fails half way, the oldest messages are gone.
    pub fn remove_expired(
        &self,
        before_timestamp_us: u64,
        segments_max: usize,
    ) -> impl Future<Output = Result<Removed, Error>> + 'static {
        let (before_offset, seal) = {
            let state = self.shared.state.borrow();
            let expired = state
                .segments
                .iter()
                .map(|segment| segment.summary())
                .take_while(|segment| {
                    !segment.is_empty() && segment.last_timestamp_us < before_timestamp_us
                })
                .take(segments_max);
            let (count, before_offset) =
                expired.fold((0, 0), |(count, _), last| (count + 1, last.next_offset));
            // What waits for the disk is younger than what the active segment holds.
            let active_too = count == state.segments.len() && before_offset == state.next_offset;
            (before_offset, active_too && count > 0)
        };
        let removing = (before_offset > 0).then(|| self.remove(before_offset, seal));
        async move {
            match removing {
                Some(removing) => removing.await,
                None => Ok(Removed::default()),
            }
        }
    }

    /// The oldest sealed segments, at most `segments_max`.
    #[must_use]
    pub fn sealed_segments(&self, segments_max: usize) -> Vec<SealedSegment> {
        let state = self.shared.state.borrow();
        let sealed_count = state.segments.len().saturating_sub(1);
        let sealed = state.segments.iter().take(sealed_count.min(segments_max));
        sealed
            .map(|segment| {
                let summary = segment.summary();
                SealedSegment {
                    next_offset: summary.next_offset,
                    record_bytes: summary.record_bytes,
                    last_timestamp_us: summary.last_timestamp_us,
                }
            })
            .collect()
    }

    /// Removes the sealed segments all of whose messages lie before `before_offset`.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn remove_segments_before(
        &self,
        before_offset: u64,
    ) -> impl Future<Output = Result<Removed, Error>> + 'static {
        self.remove(before_offset, false)
    }

    fn remove(
        &self,
        before_offset: u64,
        seal: bool,
    ) -> impl Future<Output = Result<Removed, Error>> + 'static {
        let mut state = self.shared.state.borrow_mut();
        let receiver = state.check_standing().map(|()| {
            let (reply, receiver) = oneshot::channel();
            state.pending.push_back(Pending::Remove {
                before_offset,
                seal,
                reply,
            });
            appender::start(&self.shared, &mut state);
            receiver
        });
        drop(state);
        async move {
            match receiver?.await {
                Ok(result) => result,
                Err(oneshot::Canceled) => Err(Error::Closed),
            }
        }
    }

    /// Offset after the oldest `segments_count` sealed segments, for
    /// [`Self::remove_segments_before`]. The active segment is never among them.
    #[must_use]
    pub fn offset_after_segments(&self, segments_count: usize) -> u64 {
        let state = self.shared.state.borrow();
        let active_index = state.segments.len().saturating_sub(1);
        let segment = state.segments.get(segments_count.min(active_index));
        segment.map_or(state.next_offset, |segment| segment.summary().base_offset)
    }

    /// Changes when batches are acknowledged, from the next group on.
    ///
    /// # Errors
    /// [`Error::Option`] for a policy outside its limits.
    pub fn set_sync_policy(&self, policy: SyncPolicy) -> Result<(), Error> {
        if !policy.is_valid() {
            return Err(Error::Option {
                name: "sync_policy",
            });
        }
        self.shared.sync_policy.set(policy);
        let mut state = self.shared.state.borrow_mut();
        // What was acknowledged under the old policy is not left to the next append.
        state.sync_timer = None;
        if state
            .segments
            .back()
            .is_some_and(|active| active.is_unsynced())
        {
            appender::request_sync(&self.shared, &mut state);
        }
        Ok(())
    }

    /// When batches are acknowledged.
    #[must_use]
    pub fn sync_policy(&self) -> SyncPolicy {
        self.shared.sync_policy.get()
    }

    /// Takes no more appends, and returns when those taken before are durable or have failed.
    /// Everything is synced then, whatever the policy.
    ///
    /// Reads may go on; whoever ends the runtime must drain the disk besides.
    ///
    /// # Errors
    /// The failure that fenced the log, if it is.
    pub async fn close(&self) -> Result<(), Error> {
        let result = loop {
            let receiver = {
                let mut state = self.shared.state.borrow_mut();
                let result = match &state.standing {
                    Standing::Fenced(error) => Err(error.clone()),
                    _ => Ok(()),
                };
                if result.is_ok() {
                    state.standing = Standing::Closed;
                    state.sync_timer = None;
                    if state
                        .segments
                        .back()
                        .is_some_and(|active| active.is_unsynced())
                    {
                        appender::request_sync(&self.shared, &mut state);
                    }
                }
                if state.tasks_count == 0 {
                    break result;
                }
                let (sender, receiver) = oneshot::channel();
                state.idle_waiters.push(sender);
                receiver
            };
            // Used or dropped when the last task ends; both mean "look again".
            let _ = receiver.await;
        };
        if result.is_ok() {
            checkpoint::write_last(&self.shared).await;
            appender::cut_at_close(&self.shared).await;
        }
        spare::remove(&self.shared).await;
        let mut state = self.shared.state.borrow_mut();
        state.tail.clear();
        state
            .segments
            .iter()
            .for_each(|segment| segment.close_file());
        self.shared.budget.forget_cursors(|segment| {
            let mut own = state.segments.iter();
            own.any(|known| Rc::ptr_eq(known, segment))
        });
        result
    }

    /// Offset of the oldest message, or the next offset when there is none.
    #[must_use]
    pub fn first_offset(&self) -> u64 {
        let state = self.shared.state.borrow();
        state
            .segments
            .front()
            .map_or(0, |first| first.summary().base_offset)
    }

    /// Offset after the last durable message: what the next reader will not find yet.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.shared.state.borrow().durable_next_offset()
    }

    /// Durable messages.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.next_offset() - self.first_offset()
    }

    /// Bytes of the durable records, without what the files add.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let state = self.shared.state.borrow();
        state
            .segments
            .iter()
            .map(|segment| segment.summary().record_bytes)
            .sum()
    }

    /// Segments, the active one included.
    #[must_use]
    pub fn segments_count(&self) -> usize {
        self.shared.state.borrow().segments.len()
    }

    /// Bytes of recent batches held in memory.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.shared.state.borrow().tail.bytes()
    }

    /// Syncs that made appends durable since the log was opened.
    #[must_use]
    pub fn syncs_count(&self) -> u64 {
        self.shared.syncs_count.get()
    }

    /// Time of the last batch in microseconds; 0 when there never was one.
    #[must_use]
    pub fn last_timestamp_us(&self) -> u64 {
        self.shared.state.borrow().last_timestamp_us
    }

    /// Why appends are refused, if they are: fenced, full or closed.
    #[must_use]
    pub fn refusal(&self) -> Option<Error> {
        let state = self.shared.state.borrow();
        match &state.standing {
            Standing::Full => Some(Error::Full {
                path: self.shared.directory.clone(),
            }),
            _ => state.check_standing().err(),
        }
    }
}

impl<F> State<F> {
    fn check_standing(&self) -> Result<(), Error> {
        match &self.standing {
            Standing::Open | Standing::Full => Ok(()),
            Standing::Fenced(Error::Corrupted(corruption)) => {
                Err(Error::Corrupted(corruption.clone()))
            }
            Standing::Fenced(error) => Err(Error::fenced(error)),
            Standing::Closed => Err(Error::Closed),
        }
    }
}
