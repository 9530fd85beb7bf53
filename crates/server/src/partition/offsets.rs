//! Stored consumer offsets of one partition: a map in memory, a checksummed journal on disk.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use futures_util::lock::Mutex;
use serde::{Deserialize, Serialize};
use storage::disk::{Disk as _, OpenMode};

use super::{Disk, Journal};

/// Who an offset is stored for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConsumerKey {
    /// A single consumer that named itself by a number.
    Number(u32),
    /// A single consumer that named itself by a name.
    Name(String),
    /// A consumer group, by the number that the catalog gave it.
    Group(u32),
}

/// One record of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Stored { consumer: ConsumerKey, offset: u64 },
    Deleted { consumer: ConsumerKey },
}

/// Why an offset was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OffsetError {
    #[error("as many consumers as allowed have stored an offset")]
    TooMany,
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("a consumer offset could not be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}

/// Journals of consumer offsets that are open on a shard: one descriptor each. The one that was
/// opened first makes room; what it holds stays in memory.
#[derive(Debug)]
pub(crate) struct OpenJournals {
    open: RefCell<VecDeque<Weak<ConsumerOffsets>>>,
    open_max: usize,
}

impl OpenJournals {
    pub(crate) fn new(open_max: usize) -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            open_max,
        })
    }

    fn opened(&self, offsets: &Rc<ConsumerOffsets>) {
        let mut open = self.open.borrow_mut();
        open.push_back(Rc::downgrade(offsets));
        while open.len() > self.open_max.max(1) {
            if let Some(offsets) = open.pop_front().and_then(|oldest| oldest.upgrade()) {
                crate::shard::task::spawn("close offsets", async move {
                    offsets.let_go().await;
                });
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct ConsumerOffsets {
    disk: Disk,
    path: PathBuf,
    /// Made with the first offset: most partitions never store one. Open while used lately.
    journal: Mutex<Option<Journal>>,
    exists: Cell<bool>,
    /// Nothing is opened any more: the partition may be gone.
    is_closed: Cell<bool>,
    is_replayed: Cell<bool>,
    open_journals: Rc<OpenJournals>,
    offsets: RefCell<HashMap<ConsumerKey, u64>>,
    rewriting: Cell<bool>,
    consumers_max: usize,
    records_before_rewrite: usize,
}

impl ConsumerOffsets {
    /// Reads the journal when there is one.
    pub(crate) async fn open(
        disk: Disk,
        path: PathBuf,
        limits: &crate::limits::Limits,
        open_journals: &Rc<OpenJournals>,
    ) -> Result<Rc<Self>, storage::Error> {
        let exists = match disk.open(&path, OpenMode::Read).await {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(super::system("open", &path, error)),
        };
        let offsets = Rc::new(Self {
            disk,
            path,
            journal: Mutex::new(None),
            exists: Cell::new(exists),
            is_closed: Cell::new(false),
            is_replayed: Cell::new(!exists),
            open_journals: Rc::clone(open_journals),
            offsets: RefCell::default(),
            rewriting: Cell::new(false),
            consumers_max: limits.consumer_offsets_max,
            records_before_rewrite: limits.offset_records_before_rewrite,
        });
        if exists {
            offsets.journal().await?;
        }
        Ok(offsets)
    }

    /// The journal, opened when it is needed first.
    async fn journal(self: &Rc<Self>) -> Result<Journal, storage::Error> {
        let mut journal = self.journal.lock().await;
        if let Some(journal) = &*journal {
            return Ok(journal.clone());
        }
        if self.is_closed.get() {
            return Err(storage::Error::Closed);
        }
        let (opened, recovered) = Journal::open(self.disk.clone(), &self.path).await?;
        if let Some(torn) = &recovered.torn_tail {
            tracing::warn!(%torn, "a torn tail of consumer offsets was cut");
        }
        if !self.is_replayed.replace(true) {
            self.replay(&recovered.records)?;
        }
        self.exists.set(true);
        *journal = Some(opened.clone());
        self.open_journals.opened(self);
        Ok(opened)
    }

    /// Closes the journal until it is needed again. One that is fenced stays, to stay fenced.
    async fn let_go(&self) {
        // Whoever needs it meanwhile waits here, and opens it again.
        let mut journal = self.journal.lock().await;
        if let Some(open) = journal.take()
            && open.close().await.is_err()
        {
            *journal = Some(open);
        }
    }

    fn replay(&self, records: &[Bytes]) -> Result<(), storage::Error> {
        let mut offsets = self.offsets.borrow_mut();
        for record in records {
            match serde_json::from_slice(record) {
                Ok(Record::Stored { consumer, offset }) => offsets.insert(consumer, offset),
                Ok(Record::Deleted { consumer }) => offsets.remove(&consumer),
                Err(error) => return Err(super::system("parse", &self.path, error.into())),
            };
        }
        Ok(())
    }

    pub(crate) fn get(&self, consumer: &ConsumerKey) -> Option<u64> {
        self.offsets.borrow().get(consumer).copied()
    }

    /// Stores an offset: what readers see changes with this call, the future resolves when it is
    /// durable.
    pub(crate) fn store(
        self: &Rc<Self>,
        consumer: ConsumerKey,
        offset: u64,
    ) -> Result<impl Future<Output = Result<(), OffsetError>> + 'static, OffsetError> {
        let mut offsets = self.offsets.borrow_mut();
        if !offsets.contains_key(&consumer) && offsets.len() >= self.consumers_max {
            return Err(OffsetError::TooMany);
        }
        offsets.insert(consumer.clone(), offset);
        drop(offsets);
        let this = Rc::clone(self);
        Ok(async move { this.write(Record::Stored { consumer, offset }).await })
    }

    /// Forgets an offset; false when none was stored.
    pub(crate) async fn delete(
        self: &Rc<Self>,
        consumer: &ConsumerKey,
    ) -> Result<bool, OffsetError> {
        if self.offsets.borrow_mut().remove(consumer).is_none() {
            return Ok(false);
        }
        self.write(Record::Deleted {
            consumer: consumer.clone(),
        })
        .await?;
        Ok(true)
    }

    /// Moves back what lies behind the end of the log. A log that acknowledges before it syncs may
    /// have lost its last messages in a power cut, and consumers are to see what takes their
    /// place.
    pub(crate) async fn move_back(self: &Rc<Self>, next_offset: u64) -> Result<(), OffsetError> {
        let beyond: Vec<ConsumerKey> = {
            let offsets = self.offsets.borrow();
            let beyond = offsets.iter().filter(|(_, offset)| **offset >= next_offset);
            beyond.map(|(consumer, _)| consumer.clone()).collect()
        };
        for consumer in beyond {
            match next_offset.checked_sub(1) {
                Some(last) => self.store(consumer, last)?.await?,
                None => drop(self.delete(&consumer).await?),
            }
        }
        Ok(())
    }

    /// Forgets everything, for a purge.
    pub(crate) async fn clear(self: &Rc<Self>) -> Result<(), OffsetError> {
        self.offsets.borrow_mut().clear();
        if self.exists.get() {
            self.journal().await?.rewrite(Vec::new()).await?;
        }
        Ok(())
    }

    async fn write(self: &Rc<Self>, record: Record) -> Result<(), OffsetError> {
        let record = serde_json::to_vec(&record)?;
        let journal = self.journal().await?;
        journal.append(record.into()).await?;
        self.rewrite_when_long(&journal).await
    }

    /// Keeps the journal in proportion to what it holds. The rewrite takes its place among the
    /// appends, so the map is read in the same step as the call is made.
    async fn rewrite_when_long(&self, journal: &Journal) -> Result<(), OffsetError> {
        let records_max = self.offsets.borrow().len() + self.records_before_rewrite;
        if journal.records_count() <= records_max as u64 || self.rewriting.replace(true) {
            return Ok(());
        }
        let rewriting = self.live_records().map(|records| journal.rewrite(records));
        let result = match rewriting {
            Ok(rewriting) => rewriting.await.map_err(OffsetError::from),
            Err(error) => Err(error.into()),
        };
        self.rewriting.set(false);
        match result {
            // Closed meanwhile; whoever opens it next rewrites it.
            Err(OffsetError::Storage(storage::Error::Closed)) => Ok(()),
            result => result,
        }
    }

    fn live_records(&self) -> Result<Vec<Bytes>, serde_json::Error> {
        let offsets = self.offsets.borrow();
        offsets
            .iter()
            .map(|(consumer, offset)| {
                let record = Record::Stored {
                    consumer: consumer.clone(),
                    offset: *offset,
                };
                serde_json::to_vec(&record).map(Bytes::from)
            })
            .collect()
    }

    /// Waits for what was taken and takes no more.
    pub(crate) async fn close(&self) {
        self.is_closed.set(true);
        let mut journal = self.journal.lock().await;
        if let Some(journal) = journal.take()
            && let Err(error) = journal.close().await
        {
            tracing::warn!(%error, "consumer offsets were closed while fenced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn run(test: impl Future<Output = ()>) {
        compio::runtime::Runtime::new()
            .expect("a runtime starts")
            .block_on(test);
    }

    async fn open(directory: &tempfile::TempDir, limits: &Limits) -> Rc<ConsumerOffsets> {
        open_among(directory, limits, &OpenJournals::new(8)).await
    }

    async fn open_among(
        directory: &tempfile::TempDir,
        limits: &Limits,
        open_journals: &Rc<OpenJournals>,
    ) -> Rc<ConsumerOffsets> {
        let path = directory.path().join("offsets.journal");
        ConsumerOffsets::open(Disk::new(), path, limits, open_journals)
            .await
            .expect("the journal opens")
    }

    async fn store(offsets: &Rc<ConsumerOffsets>, consumer: ConsumerKey, offset: u64) {
        offsets
            .store(consumer, offset)
            .expect("there is room")
            .await
            .expect("it is durable");
    }

    #[test]
    fn stored_offsets_survive_and_deleted_ones_do_not() {
        run(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let limits = Limits::default();
            let name = || ConsumerKey::Name("dashboard".to_owned());
            let offsets = open(&directory, &limits).await;
            assert!(
                !directory.path().join("offsets.journal").exists(),
                "made when needed first"
            );
            store(&offsets, ConsumerKey::Number(1), 10).await;
            store(&offsets, ConsumerKey::Number(1), 11).await;
            store(&offsets, ConsumerKey::Group(1), 12).await;
            store(&offsets, name(), 13).await;
            assert!(offsets.delete(&name()).await.expect("it is durable"));
            assert!(!offsets.delete(&name()).await.expect("nothing to do"));
            offsets.close().await;

            let offsets = open(&directory, &limits).await;
            assert_eq!(offsets.get(&ConsumerKey::Number(1)), Some(11));
            assert_eq!(offsets.get(&ConsumerKey::Group(1)), Some(12));
            assert_eq!(offsets.get(&name()), None);
            offsets.clear().await.expect("it is durable");
            offsets.close().await;
            assert_eq!(
                open(&directory, &limits).await.get(&ConsumerKey::Group(1)),
                None
            );
        });
    }

    #[test]
    fn offsets_behind_the_end_of_the_log_are_moved_back() {
        run(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let limits = Limits::default();
            let offsets = open(&directory, &limits).await;
            let [kept, moved] = [ConsumerKey::Number(1), ConsumerKey::Number(2)];
            store(&offsets, kept.clone(), 6).await;
            store(&offsets, moved.clone(), 7).await;
            offsets.move_back(7).await.expect("it is durable");
            offsets.close().await;
            let offsets = open(&directory, &limits).await;
            assert_eq!(
                (offsets.get(&kept), offsets.get(&moved)),
                (Some(6), Some(6))
            );
            offsets.move_back(0).await.expect("it is durable");
            assert_eq!((offsets.get(&kept), offsets.get(&moved)), (None, None));
            offsets.close().await;
        });
    }

    #[test]
    fn consumers_are_limited_on_the_edge() {
        run(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let limits = Limits {
                consumer_offsets_max: 2,
                ..Limits::default()
            };
            let offsets = open(&directory, &limits).await;
            store(&offsets, ConsumerKey::Number(1), 0).await;
            store(&offsets, ConsumerKey::Number(2), 0).await;
            let third = offsets.store(ConsumerKey::Number(3), 0).err();
            assert!(matches!(third, Some(OffsetError::TooMany)));
            store(&offsets, ConsumerKey::Number(2), 1).await;
        });
    }

    #[test]
    fn no_more_journals_are_open_than_allowed_and_all_are_kept() {
        run(async {
            let limits = Limits::default();
            let open_journals = OpenJournals::new(2);
            let directories: Vec<_> = (0..5)
                .map(|_| tempfile::tempdir().expect("a temporary directory"))
                .collect();
            let mut all = Vec::new();
            for directory in &directories {
                all.push(open_among(directory, &limits, &open_journals).await);
            }
            for offset in 0..4 {
                for offsets in &all {
                    store(offsets, ConsumerKey::Number(1), offset).await;
                    let open = all
                        .iter()
                        .filter(|offsets| match offsets.journal.try_lock() {
                            Some(journal) => journal.is_some(),
                            // It is being closed.
                            None => false,
                        });
                    // One more than allowed until its task had a turn.
                    assert!(open.count() <= 3);
                }
            }
            all[0].clear().await.expect("it is durable");
            for offsets in all {
                offsets.close().await;
            }
            for (number, directory) in directories.iter().enumerate() {
                let found = open(directory, &limits).await.get(&ConsumerKey::Number(1));
                assert_eq!(found, (number > 0).then_some(3));
            }
        });
    }

    #[test]
    fn a_long_journal_is_rewritten_to_what_it_holds() {
        run(async {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let limits = Limits {
                offset_records_before_rewrite: 8,
                ..Limits::default()
            };
            let offsets = open(&directory, &limits).await;
            for offset in 0..100 {
                store(&offsets, ConsumerKey::Number(1), offset).await;
                let records = offsets.journal().await.expect("it is open").records_count();
                assert!(records <= 10, "{records} records for one offset");
            }
            offsets.close().await;
            let again = open(&directory, &limits).await;
            assert_eq!(again.get(&ConsumerKey::Number(1)), Some(99));
        });
    }
}
