//! One partition: its log, its consumers' offsets, and what a request does to them.
//!
//! Belongs to one shard for the life of the process: no locks, no atomics.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use async_channel::{Receiver, Sender};
use bytes::{Bytes, BytesMut};
use storage::disk::{self, DirectoryEntry, Disk as _};
use storage::{
    BudgetUse, LogOptions, NearEnd, Opening, PartitionLog, RecoveryReport, Removed, WriteMode,
    doctor, layout,
};
use wire::Status;

use crate::catalog::{Catalog, PartitionKey, PartitionStats, UNLIMITED};
use crate::control::now_us;
use crate::limits::{Limits, NEAR_END_MAX};

mod offsets;
mod poll;
mod removal;

pub(crate) use offsets::{ConsumerKey, OffsetError};
pub(crate) use poll::PollRequest;

use offsets::{ConsumerOffsets, OpenJournals};
use poll::{Extent, Start};

pub(crate) type Disk = storage::CompioDisk;
pub(crate) type Budget = storage::Budget<Disk>;
pub(crate) type Journal = storage::Journal<Disk>;

const CATALOG_FILE: &str = "catalog.journal";
const OFFSETS_FILE: &str = "offsets.journal";
/// Partitions from which on one sync of the whole file system is quicker than one for each.
const SYNCED_TOGETHER_MIN: usize = 64;

/// The data directory as one shard sees it.
pub(crate) struct Storage {
    disk: Disk,
    root: PathBuf,
    limits: Limits,
    budget: Budget,
    open_journals: Rc<OpenJournals>,
    /// Deleted partitions whose files could neither be removed nor set aside.
    left: RefCell<HashSet<PartitionKey>>,
    /// Whether what earlier processes left was synced as a whole.
    is_durable: Cell<bool>,
    write_choice: WriteChoice,
    /// Partitions that will soon begin a segment.
    near_end: (Sender<PartitionKey>, Receiver<PartitionKey>),
}

/// How logs are written: found out once at start, before any log is opened, for all shards.
pub(crate) type WriteChoice = Arc<OnceLock<doctor::Choice>>;

/// Where an appended batch begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) base_offset: u64,
}

/// Records for a consumer, as they are stored.
#[derive(Debug)]
pub(crate) struct Polled {
    /// Offset of the newest durable message; 0 when there is none.
    pub(crate) current_offset: u64,
    pub(crate) message_count: u32,
    pub(crate) records: Vec<Bytes>,
}

/// The offset that a consumer stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredOffset {
    /// Offset of the newest durable message; 0 when there is none.
    pub(crate) current_offset: u64,
    /// None when the consumer has stored none.
    pub(crate) stored: Option<u64>,
}

/// What a partition holds, and whether it takes writes.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionReport {
    pub(crate) stats: PartitionStats,
    /// Why nothing can be appended, if so.
    pub(crate) refusal: Option<String>,
}

/// What retention needs to know of one partition of a topic that has a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionSize {
    pub(crate) key: PartitionKey,
    pub(crate) size_bytes: u64,
    /// The oldest sealed segments, as many as one look may remove.
    pub(crate) sealed: Vec<storage::SealedSegment>,
}

/// The limits that a partition looks at: there are many partitions.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    poll_bytes_max: usize,
    retention_segments_max: usize,
}

pub(crate) struct Partition {
    key: PartitionKey,
    log: PartitionLog<Disk>,
    offsets: Rc<ConsumerOffsets>,
    bounds: Bounds,
    is_closed: Cell<bool>,
    /// Bytes at which this partition refuses messages because its topic is full.
    full_at_bytes: Cell<u64>,
}

/// A failed system call outside the engine, in the engine's words.
fn system(operation: &'static str, path: &Path, source: io::Error) -> storage::Error {
    storage::Error::Io {
        operation,
        path: path.into(),
        source: Arc::new(source),
    }
}

/// The status that tells a client what became of its request.
pub(crate) fn status_of(error: &storage::Error) -> Status {
    use storage::Error;
    match error {
        // Nothing was taken: the client sends the same again.
        Error::Busy => Status::TRANSIENT_NOT_ACCEPTED,
        Error::Full { .. } => Status::TOPIC_FULL,
        Error::Fenced { .. } | Error::Io { .. } => Status::CANNOT_APPEND_MESSAGE,
        Error::Corrupted(_) => Status::CANNOT_READ_MESSAGE,
        Error::InvalidBatch { .. } => Status::INVALID_FORMAT,
        Error::TooLarge { .. } => Status::TOO_BIG_MESSAGE_PAYLOAD,
        Error::Closed => Status::CONNECTION_CLOSED,
        _ => Status::ERROR,
    }
}

/// As [`status_of`]; a partition's files are closed when it was deleted.
fn partition_status(error: &storage::Error) -> Status {
    match error {
        storage::Error::Closed => Status::PARTITION_NOT_FOUND,
        error => status_of(error),
    }
}

impl Storage {
    pub(crate) fn new(root: PathBuf, limits: Limits, write_choice: WriteChoice) -> Self {
        Self {
            disk: Disk::new(),
            root,
            budget: Budget::new(limits.storage),
            open_journals: OpenJournals::new(limits.offset_journals_open_max),
            left: RefCell::default(),
            is_durable: Cell::new(false),
            limits,
            write_choice,
            near_end: async_channel::bounded(NEAR_END_MAX),
        }
    }

    /// The next partition that will soon begin a segment.
    pub(crate) async fn near_end(&self) -> PartitionKey {
        let received = self.near_end.1.recv().await;
        received.expect("its sender lies beside it")
    }

    pub(crate) fn set_write_choice(&self, choice: doctor::Choice) {
        // Only one shard finds it out, once.
        let _ = self.write_choice.set(choice);
    }

    /// How logs are written and why; none before that is decided.
    pub(crate) fn write_choice(&self) -> Option<&doctor::Choice> {
        self.write_choice.get()
    }

    /// What the logs of this shard use together.
    pub(crate) fn in_use(&self) -> BudgetUse {
        self.budget.in_use()
    }

    /// Makes everything that earlier processes left in the data directory durable at once, when
    /// there are so many partitions that syncing each would take longer.
    pub(crate) async fn sync_what_is_left(&self, partitions_count: usize) -> bool {
        if partitions_count < SYNCED_TOGETHER_MIN {
            return false;
        }
        match self.disk.sync_file_system(&self.root).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "not synced as a whole; each partition is");
                false
            }
        }
    }

    /// Says whether [`Self::sync_what_is_left`] was done.
    pub(crate) fn set_durable(&self, is_durable: bool) {
        self.is_durable.set(is_durable);
    }

    /// Makes the directories of these partitions of one topic, with one sync for all of them.
    pub(crate) async fn create_directories(
        &self,
        stream_id: u32,
        topic_id: u32,
        keys: &[PartitionKey],
    ) -> Result<(), storage::Error> {
        let topic = self.root.join(layout::topic_directory(stream_id, topic_id));
        let directory = topic.join(layout::PARTITIONS);
        self.clear_for(keys).await?;
        let failed = |error| system("create", &directory, error);
        let known: HashSet<u32> = self
            .numbered(&directory)
            .await?
            .into_iter()
            .map(|(partition_id, _)| partition_id)
            .collect();
        let mut is_durable = self.is_durable.get() && !known.is_empty();
        if !is_durable {
            disk::create_directories(&self.disk, &self.root, &directory)
                .await
                .map_err(failed)?;
        }
        for key in keys.iter().filter(|key| !known.contains(&key.partition_id)) {
            is_durable = false;
            let path = directory.join(key.partition_id.to_string());
            match self.disk.create_directory(&path).await {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(error));
                }
                _ => {}
            }
        }
        if !is_durable {
            self.disk.sync_directory(&directory).await.map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) async fn open_catalog_journal(
        &self,
    ) -> Result<(Journal, Vec<Bytes>), storage::Error> {
        let path = self.root.join(CATALOG_FILE);
        let (journal, opened) = Journal::open(self.disk.clone(), &path).await?;
        if let Some(torn) = &opened.torn_tail {
            tracing::warn!(%torn, "a torn tail of the catalog was cut");
        }
        Ok((journal, opened.records))
    }

    fn partition_directory(&self, key: PartitionKey) -> PathBuf {
        let PartitionKey {
            stream_id,
            topic_id,
            partition_id,
        } = key;
        self.root.join(layout::partition_directory(
            stream_id,
            topic_id,
            partition_id,
        ))
    }

    async fn numbered(&self, directory: &Path) -> Result<Vec<(u32, PathBuf)>, storage::Error> {
        let entries = self.listed(directory).await?;
        Ok(entries
            .into_iter()
            .filter(|entry| entry.is_directory)
            .filter_map(|entry| Some((entry.name.parse().ok()?, directory.join(entry.name))))
            .collect())
    }

    /// Names in a directory that may be missing.
    async fn listed(&self, directory: &Path) -> Result<Vec<DirectoryEntry>, storage::Error> {
        match self.disk.list(directory).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(|error| system("list", directory, error)),
        }
    }
}

impl Partition {
    /// Opens and recovers a partition, whose directory exists.
    pub(crate) async fn open(
        storage: &Storage,
        key: PartitionKey,
        catalog: &Catalog,
    ) -> Result<Rc<Self>, storage::Error> {
        let directory = storage.partition_directory(key);
        let mode = storage.write_choice().map(|choice| choice.mode);
        let options = log_options(catalog, key, mode.unwrap_or_default());
        // Until the first look at all of the topic's partitions.
        let topic = catalog.topic(key.stream_id.into(), key.topic_id.into());
        let full_at_bytes = match topic {
            Some((_, topic)) if !storage.limits.delete_oldest_segments => {
                topic.options.topic_bytes_max.value
            }
            _ => UNLIMITED,
        };
        let partition_id = u64::from(key.partition_id);
        let opening = Opening {
            budget: storage.budget.clone(),
            is_durable: storage.is_durable.get(),
            near_end: {
                let sender = storage.near_end.0.clone();
                // Without a place the next regular look finds it.
                NearEnd::new(move || {
                    let _ = sender.try_send(key);
                })
            },
        };
        let (log, report) = PartitionLog::open_with(
            storage.disk.clone(),
            &directory,
            partition_id,
            options,
            opening,
        )
        .await?;
        tell(key, &report);
        let offsets = ConsumerOffsets::open(
            storage.disk.clone(),
            directory.join(OFFSETS_FILE),
            &storage.limits,
            &storage.open_journals,
        )
        .await?;
        // Behind damage there may be more, once it is repaired.
        if report.corruption.is_none()
            && let Err(error) = offsets.move_back(report.next_offset).await
        {
            tracing::warn!(partition = %key, %error, "offsets behind the last message are left");
        }
        Ok(Rc::new(Self {
            key,
            log,
            offsets,
            bounds: Bounds {
                poll_bytes_max: storage.limits.poll_bytes_max,
                retention_segments_max: storage.limits.retention_segments_max,
            },
            is_closed: Cell::new(false),
            full_at_bytes: Cell::new(full_at_bytes),
        }))
    }

    /// Removes what was appended before this time, a bounded number of segments.
    pub(crate) async fn remove_expired(
        &self,
        before_timestamp_us: u64,
    ) -> Result<Removed, storage::Error> {
        let segments_max = self.bounds.retention_segments_max;
        self.log
            .remove_expired(before_timestamp_us, segments_max)
            .await
    }

    /// Removes the sealed segments before this offset.
    pub(crate) async fn remove_before(&self, offset: u64) -> Result<Removed, storage::Error> {
        self.log.remove_segments_before(offset).await
    }

    pub(crate) fn size(&self) -> PartitionSize {
        PartitionSize {
            key: self.key,
            size_bytes: self.log.size_bytes(),
            sealed: self.log.sealed_segments(self.bounds.retention_segments_max),
        }
    }

    /// Lets the partition grow by so many bytes more; [`UNLIMITED`] lifts the bound.
    pub(crate) fn set_room(&self, room_bytes: u64) {
        let full_at_bytes = match room_bytes {
            UNLIMITED => UNLIMITED,
            _ => self.log.size_bytes().saturating_add(room_bytes),
        };
        self.full_at_bytes.set(full_at_bytes);
    }

    pub(crate) fn key(&self) -> PartitionKey {
        self.key
    }

    fn is_topic_full(&self) -> bool {
        let full_at_bytes = self.full_at_bytes.get();
        full_at_bytes != UNLIMITED && self.log.size_bytes() >= full_at_bytes
    }

    /// Takes over what the topic's options say now.
    pub(crate) fn follow(&self, catalog: &Catalog) {
        let topic = catalog.topic(self.key.stream_id.into(), self.key.topic_id.into());
        let Some((_, topic)) = topic else { return };
        let policy = topic.options.sync_policy.value.into();
        if self.log.sync_policy() != policy
            && let Err(error) = self.log.set_sync_policy(policy)
        {
            tracing::error!(partition = %self.key, %error, "the sync policy was not changed");
        }
    }

    /// Appends a batch whose checksums were verified. Its place in the order is fixed by this
    /// call; the future resolves when it is durable.
    pub(crate) fn begin_append(
        &self,
        batch: BytesMut,
    ) -> impl Future<Output = Result<Appended, Status>> + 'static {
        let appending = (!self.is_topic_full()).then(|| self.log.append(batch, now_us()));
        let key = self.key;
        async move {
            let Some(appending) = appending else {
                return Err(Status::TOPIC_FULL);
            };
            match appending.await {
                Ok(appended) => Ok(Appended {
                    base_offset: appended.base_offset,
                }),
                Err(error) => {
                    if !matches!(error, storage::Error::Busy) {
                        tracing::debug!(partition = %key, %error, "an append failed");
                    }
                    Err(partition_status(&error))
                }
            }
        }
    }

    pub(crate) async fn append(&self, batch: BytesMut) -> Result<Appended, Status> {
        self.begin_append(batch).await
    }

    /// Reads durable messages; with auto-commit the consumer's offset moves to the last of them.
    pub(crate) async fn poll(&self, request: PollRequest) -> Result<Polled, Status> {
        let extent = Extent {
            first: self.log.first_offset(),
            next: self.log.next_offset(),
        };
        let stored = self.offsets.get(&request.consumer);
        let offset = match poll::start(&request, stored, extent) {
            Start::At(offset) => offset,
            Start::Timestamp(timestamp_us) => self
                .log
                .offset_at_timestamp(timestamp_us)
                .await
                .map_err(|error| self.read_failed(&error))?
                .unwrap_or(extent.next),
        };
        let records = self
            .log
            .read(
                offset,
                request.message_count_max,
                self.bounds.poll_bytes_max,
            )
            .await
            .map_err(|error| self.read_failed(&error))?;
        if request.auto_commit && !records.is_empty() {
            self.auto_commit(request.consumer, records.next_offset - 1)?;
        }
        Ok(Polled {
            current_offset: self.current_offset(),
            message_count: records.message_count(),
            records: records.parts,
        })
    }

    /// The offset counts for the next poll at once and becomes durable in the background: after a
    /// crash the consumer may get the last messages again, it never misses one.
    fn auto_commit(&self, consumer: ConsumerKey, offset: u64) -> Result<(), Status> {
        let key = self.key;
        let storing = self
            .offsets
            .store(consumer, offset)
            .map_err(|error| offset_status(&error))?;
        crate::shard::task::spawn("auto-commit", async move {
            if let Err(error) = storing.await {
                tracing::warn!(partition = %key, %error, "an auto-committed offset is not durable");
            }
        });
        Ok(())
    }

    fn read_failed(&self, error: &storage::Error) -> Status {
        if self.is_closed.get() {
            // Deleted while it was read: its files are gone.
            return Status::PARTITION_NOT_FOUND;
        }
        match error {
            // Others read so much at the moment that there is no room: the client asks again.
            storage::Error::Busy => {}
            _ => tracing::error!(partition = %self.key, %error, "a read failed"),
        }
        match error {
            storage::Error::Io { .. } => Status::CANNOT_READ_MESSAGE,
            error => status_of(error),
        }
    }

    fn current_offset(&self) -> u64 {
        self.log.next_offset().saturating_sub(1)
    }

    pub(crate) fn load_offset(&self, consumer: &ConsumerKey) -> StoredOffset {
        StoredOffset {
            current_offset: self.current_offset(),
            stored: self.offsets.get(consumer),
        }
    }

    pub(crate) async fn store_offset(
        &self,
        consumer: ConsumerKey,
        offset: u64,
        durable: bool,
    ) -> Result<(), Status> {
        // Nobody can have consumed what is not there, and `Next` would skip what comes.
        if offset >= self.log.next_offset() {
            return Err(Status::INVALID_OFFSET);
        }
        if !durable {
            return self.auto_commit(consumer, offset);
        }
        let storing = self
            .offsets
            .store(consumer, offset)
            .map_err(|error| offset_status(&error))?;
        storing.await.map_err(|error| offset_status(&error))
    }

    pub(crate) async fn delete_offset(&self, consumer: &ConsumerKey) -> Result<(), Status> {
        match self.offsets.delete(consumer).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::CONSUMER_OFFSET_NOT_FOUND),
            Err(error) => Err(offset_status(&error)),
        }
    }

    /// Removes all messages and all stored offsets.
    pub(crate) async fn purge(&self) -> Result<(), Status> {
        self.log
            .purge()
            .await
            .map_err(|error| partition_status(&error))?;
        self.offsets
            .clear()
            .await
            .map_err(|error| offset_status(&error))
    }

    /// Removes the oldest sealed segments, at most this many.
    pub(crate) async fn delete_segments(&self, segments_count: u32) -> Result<(), Status> {
        let segments_count = usize::try_from(segments_count).unwrap_or(usize::MAX);
        let before_offset = self.log.offset_after_segments(segments_count);
        self.log
            .remove_segments_before(before_offset)
            .await
            .map(drop)
            .map_err(|error| partition_status(&error))
    }

    /// Ends the log: what was taken becomes durable first.
    pub(crate) async fn close(&self) {
        self.is_closed.set(true);
        if let Err(error) = self.log.close().await {
            tracing::warn!(partition = %self.key, %error, "a partition was closed while fenced");
        }
        self.offsets.close().await;
    }

    /// Syncs that made appends durable since the partition was opened.
    pub(crate) fn syncs_count(&self) -> u64 {
        self.log.syncs_count()
    }

    pub(crate) fn report(&self) -> PartitionReport {
        PartitionReport {
            stats: PartitionStats {
                messages_count: self.log.message_count(),
                size_bytes: self.log.size_bytes(),
                // The first one is made with the first message.
                segments_count: u32::try_from(self.log.segments_count())
                    .unwrap_or(u32::MAX)
                    .max(1),
                current_offset: self.current_offset(),
            },
            refusal: self.log.refusal().map(|error| error.to_string()),
        }
    }
}

impl PartitionReport {
    /// Of a partition that could not be opened.
    pub(crate) fn unavailable() -> Self {
        Self {
            stats: PartitionStats::default(),
            refusal: Some("could not be opened, see the log".to_owned()),
        }
    }
}

fn offset_status(error: &OffsetError) -> Status {
    match error {
        OffsetError::TooMany => Status::TOO_MANY_CONSUMER_OFFSETS,
        OffsetError::Storage(error) => partition_status(error),
        OffsetError::Encode(_) => Status::ERROR,
    }
}

/// The topic's segment size where the topic chose one; the engine's limits hold in any case.
fn log_options(catalog: &Catalog, key: PartitionKey, write_mode: WriteMode) -> LogOptions {
    let mut options = LogOptions {
        write_mode,
        zero_ahead_bytes_max: storage::limits::ZERO_AHEAD_BYTES_DEFAULT,
        ..LogOptions::default()
    };
    let topic = catalog.topic(key.stream_id.into(), key.topic_id.into());
    if let Some((_, topic)) = topic {
        options.segment_bytes_max = topic.options.effective_segment_bytes().clamp(
            storage::limits::SEGMENT_BYTES_MIN,
            storage::limits::SEGMENT_BYTES_MAX,
        );
        options.sync_policy = topic.options.sync_policy.value.into();
    }
    options
}

/// What recovery found, for the operator.
fn tell(key: PartitionKey, report: &RecoveryReport) {
    if let Some(torn) = &report.torn_tail {
        tracing::warn!(partition = %key, %torn, "bytes behind the last whole record were cut");
    }
    if let Some(corruption) = &report.corruption {
        tracing::error!(partition = %key, %corruption,
            "stored data is damaged: the partition is fenced and serves what lies before");
    }
}
