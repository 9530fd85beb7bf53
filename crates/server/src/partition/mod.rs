//! One partition: its log, its consumers' offsets, and what a request does to them.
//!
//! Belongs to one shard for the life of the process: no locks, no atomics.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use storage::disk::{self, Disk as _};
use storage::{LogOptions, PartitionLog, RecoveryReport, Removed, layout};
use wire::Status;

use crate::catalog::{Catalog, PartitionKey, PartitionStats, UNLIMITED};
use crate::control::now_us;
use crate::limits::Limits;

mod offsets;
mod poll;

pub(crate) use offsets::{ConsumerKey, OffsetError};
pub(crate) use poll::PollRequest;

use offsets::ConsumerOffsets;
use poll::{Extent, Start};

pub(crate) type Disk = storage::CompioDisk;
pub(crate) type Journal = storage::Journal<Disk>;

const CATALOG_FILE: &str = "catalog.journal";
const OFFSETS_FILE: &str = "offsets.journal";

/// The data directory as one shard sees it.
pub(crate) struct Storage {
    disk: Disk,
    root: PathBuf,
    limits: Limits,
}

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

pub(crate) struct Partition {
    key: PartitionKey,
    log: PartitionLog<Disk>,
    offsets: Rc<ConsumerOffsets>,
    limits: Limits,
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

impl Storage {
    pub(crate) fn new(root: PathBuf, limits: Limits) -> Self {
        Self {
            disk: Disk::new(),
            root,
            limits,
        }
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

    /// Removes the files of a partition that the catalog no longer knows. What cannot be removed
    /// now is tried again at the next start.
    pub(crate) async fn remove_partition(&self, key: PartitionKey) {
        let directory = self.partition_directory(key);
        if let Err(error) = disk::remove_directories(&self.disk, &directory).await {
            tracing::warn!(partition = %key, %error, "files of a deleted partition are left");
        }
    }

    /// Removes partitions that a crash left behind after their deletion was journalled. Directories
    /// of streams and topics that are gone go with them.
    pub(crate) async fn remove_orphans(&self, catalog: &Catalog) -> Result<(), storage::Error> {
        let streams = self.root.join("streams");
        for (stream_id, stream) in self.numbered(&streams).await? {
            let topics = stream.join("topics");
            for (topic_id, topic) in self.numbered(&topics).await? {
                let partitions = topic.join("partitions");
                for (partition_id, partition) in self.numbered(&partitions).await? {
                    let key = PartitionKey::new(stream_id, topic_id, partition_id);
                    if !catalog.contains_partition(&key) {
                        self.remove_orphan(&partition).await?;
                    }
                }
                if catalog.topic(stream_id.into(), topic_id.into()).is_none() {
                    self.remove_orphan(&topic).await?;
                }
            }
            if catalog.stream(stream_id.into()).is_none() {
                self.remove_orphan(&stream).await?;
            }
        }
        Ok(())
    }

    async fn remove_orphan(&self, directory: &Path) -> Result<(), storage::Error> {
        tracing::info!(directory = %directory.display(), "removing what a deletion left");
        disk::remove_directories(&self.disk, directory)
            .await
            .map_err(|error| system("remove", directory, error))
    }

    async fn numbered(&self, directory: &Path) -> Result<Vec<(u32, PathBuf)>, storage::Error> {
        match self.disk.list(directory).await {
            Ok(entries) => Ok(entries
                .into_iter()
                .filter(|entry| entry.is_directory)
                .filter_map(|entry| Some((entry.name.parse().ok()?, directory.join(entry.name))))
                .collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(system("list", directory, error)),
        }
    }
}

impl Partition {
    /// Opens and recovers a partition, creating it when it is new.
    pub(crate) async fn open(
        storage: &Storage,
        key: PartitionKey,
        catalog: &Catalog,
    ) -> Result<Rc<Self>, storage::Error> {
        let directory = storage.partition_directory(key);
        disk::create_directories(&storage.disk, &storage.root, &directory)
            .await
            .map_err(|error| system("create", &directory, error))?;
        let options = log_options(catalog, key);
        let partition_id = u64::from(key.partition_id);
        let (log, report) =
            PartitionLog::open(storage.disk.clone(), &directory, partition_id, options).await?;
        tell(key, &report);
        let offsets = ConsumerOffsets::open(
            storage.disk.clone(),
            directory.join(OFFSETS_FILE),
            &storage.limits,
        )
        .await?;
        Ok(Rc::new(Self {
            key,
            log,
            offsets,
            limits: storage.limits.clone(),
            full_at_bytes: Cell::new(UNLIMITED),
        }))
    }

    /// Removes what was appended before this time, a bounded number of segments.
    pub(crate) async fn remove_expired(
        &self,
        before_timestamp_us: u64,
    ) -> Result<Removed, storage::Error> {
        let segments_max = self.limits.retention_segments_max;
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
            sealed: self.log.sealed_segments(self.limits.retention_segments_max),
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
                    Err(status_of(&error))
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
                self.limits.poll_bytes_max,
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
        tracing::error!(partition = %self.key, %error, "a read failed");
        status_of(error)
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
        self.log.purge().await.map_err(|error| status_of(&error))?;
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
            .map_err(|error| status_of(&error))
    }

    /// Ends the log: what was taken becomes durable first.
    pub(crate) async fn close(&self) {
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
                segments_count: u32::try_from(self.log.segments_count()).unwrap_or(u32::MAX),
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
        OffsetError::Storage(error) => status_of(error),
        OffsetError::Encode(_) => Status::ERROR,
    }
}

/// The topic's segment size where the topic chose one; the engine's limits hold in any case.
fn log_options(catalog: &Catalog, key: PartitionKey) -> LogOptions {
    let mut options = LogOptions::default();
    let topic = catalog.topic(key.stream_id.into(), key.topic_id.into());
    if let Some((_, topic)) = topic {
        options.segment_bytes_max = topic.options.effective_segment_bytes().clamp(
            storage::limits::SEGMENT_BYTES_MIN,
            storage::limits::SEGMENT_BYTES_MAX,
        );
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
