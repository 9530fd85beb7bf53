//! What the tests on real files share: both drivers, batches as producers send them, and a disk
//! that counts and fails.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "shared by test binaries")]

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use compio_driver::{DriverType, ProactorBuilder};
use compio_runtime::RuntimeBuilder;
use futures_channel::oneshot;
use storage::{
    CompioDisk, Error, LogOptions, PartitionLog, Records, RecoveryReport, WriteMode,
    disk::{CompioFile, DirectoryEntry, Disk, DiskFile, LockOutcome, OpenMode},
};
use wire::batch::{BatchBuilder, BatchView, Batches, Message};

pub const PARTITION: u64 = 7;
/// No space left on the disk.
pub const ENOSPC: i32 = 28;

/// Runs `test` once on io_uring and once on the poll driver, each in a directory of its own.
pub fn on_each_driver<T: Future<Output = ()>>(test: impl Fn(CompioDisk, PathBuf) -> T) {
    for driver in [DriverType::IoUring, DriverType::Poll] {
        let directory = tempfile::tempdir().unwrap();
        let mut proactor = ProactorBuilder::new();
        proactor.driver_type(driver);
        let runtime = RuntimeBuilder::new()
            .with_proactor(proactor)
            .build()
            .unwrap();
        runtime.block_on(async {
            let disk = CompioDisk::new();
            test(disk.clone(), directory.path().into()).await;
            disk.drain().await;
        });
    }
}

/// A batch of `count` messages whose payloads tell `seed` and their place.
pub fn batch(seed: u64, count: u32, payload_bytes: usize) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    for number in 0..count {
        let mut payload = vec![(seed as u8).wrapping_add(number as u8); payload_bytes];
        let text = format!("{seed}/{number}");
        let length = text.len().min(payload_bytes);
        payload[..length].copy_from_slice(&text.as_bytes()[..length]);
        let message = Message {
            id: u128::from(seed) << 32 | u128::from(number),
            origin_timestamp: 1_000 + u64::from(number),
            payload: &payload,
            user_headers: b"",
        };
        builder.push(message).unwrap();
    }
    builder.finish().unwrap();
    buffer
}

pub async fn open<D: Disk>(disk: &D, directory: &Path) -> (PartitionLog<D>, RecoveryReport) {
    open_with(disk, directory, LogOptions::default()).await
}

pub async fn open_with<D: Disk>(
    disk: &D,
    directory: &Path,
    options: LogOptions,
) -> (PartitionLog<D>, RecoveryReport) {
    PartitionLog::open(disk.clone(), directory, PARTITION, options)
        .await
        .unwrap()
}

/// Small segments and no tail: what is read comes from disk.
pub fn small_segments() -> LogOptions {
    LogOptions {
        segment_bytes_max: storage::limits::SEGMENT_BYTES_MIN,
        index_interval_bytes: storage::limits::INDEX_INTERVAL_BYTES_MIN,
        tail_bytes_max: 0,
        ..LogOptions::default()
    }
}

/// The ways to write, each with the payload of a batch that goes that way, and with the bytes of a
/// short write that the way allows.
pub fn write_ways() -> [(LogOptions, usize, usize); 2] {
    let options = |write_mode| LogOptions {
        write_mode,
        ..LogOptions::default()
    };
    [
        (options(WriteMode::Buffered), 30, 100),
        // Two messages of it fill three blocks nearly.
        (options(WriteMode::Direct), 5_900, 4_096),
    ]
}

/// Everything in the log, from its first offset on, as one run of bytes.
pub async fn read_all<D: Disk>(log: &PartitionLog<D>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut offset = log.first_offset();
    loop {
        let records = log.read(offset, u32::MAX, usize::MAX).await.unwrap();
        if records.is_empty() {
            return bytes;
        }
        assert_eq!(records.first_offset, offset, "no holes");
        offset = records.next_offset;
        bytes.extend(joined(&records));
    }
}

/// The bytes of records, as a consumer receives them. Proves counts and sizes on the way.
pub fn joined(records: &Records) -> Vec<u8> {
    let bytes = records.parts.concat();
    assert_eq!(bytes.len(), records.bytes);
    let mut offset = records.first_offset;
    for view in Batches::new(&bytes) {
        let view = view.unwrap();
        view.verify_checksums().unwrap();
        assert_eq!(view.first_offset(), offset, "no holes between records");
        offset = view.next_offset();
    }
    assert_eq!(offset, records.next_offset);
    bytes
}

/// `sent` with the four stamped fields taken from `stored`; everything else must be equal.
pub fn assert_verbatim(sent: &[u8], stored: &[u8]) {
    let mut expected = sent.to_vec();
    expected[..24].copy_from_slice(&stored[..24]);
    expected[40..48].copy_from_slice(&stored[40..48]);
    // Not assert_eq: nobody wants to read megabytes.
    assert!(expected == stored, "bytes differ");
    BatchView::parse(stored).unwrap();
}

/// Path of the segment with this base offset.
pub fn segment(directory: &Path, base_offset: u64) -> PathBuf {
    directory.join(format!("{base_offset:020}.log"))
}

/// Path of the index of the segment with this base offset.
pub fn index(directory: &Path, base_offset: u64) -> PathBuf {
    directory.join(format!("{base_offset:020}.index"))
}

/// What a [`TestDisk`] did, and what it is to do.
#[derive(Debug, Default)]
pub struct Script {
    pub syncs: Cell<usize>,
    pub directory_syncs: Cell<usize>,
    pub writes: Cell<usize>,
    /// Raw error of the writes, and how many more succeed before.
    pub write_error: Cell<Option<(i32, usize)>>,
    pub sync_error: Cell<Option<(i32, usize)>>,
    pub read_error: Cell<Option<(i32, usize)>>,
    pub lock_error: Cell<Option<i32>>,
    /// Bytes that one write takes at most.
    pub write_bytes_max: Cell<Option<usize>>,
    /// While set, there is no space for zeros or to reserve.
    pub refuses_zeros: Cell<bool>,
    /// While set, syncs wait for [`Script::release`].
    pub hold_syncs: Cell<bool>,
    held: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Script {
    /// Lets all held syncs go on.
    pub fn release(&self) {
        self.hold_syncs.set(false);
        self.held
            .take()
            .into_iter()
            .for_each(|held| held.send(()).unwrap());
    }

    pub fn held_count(&self) -> usize {
        self.held.borrow().len()
    }

    /// Counts a sync that begins; what is to happen to it.
    fn sync(self: &Rc<Self>) -> impl Future<Output = io::Result<()>> + 'static {
        let planned = fails(&self.sync_error);
        self.syncs.set(self.syncs.get() + 1);
        let held = self.hold_syncs.get().then(|| {
            let (sender, receiver) = oneshot::channel();
            self.held.borrow_mut().push(sender);
            receiver
        });
        async move {
            if let Some(held) = held {
                held.await.unwrap();
            }
            planned
        }
    }
}

fn fails(planned: &Cell<Option<(i32, usize)>>) -> io::Result<()> {
    match planned.get() {
        None => Ok(()),
        Some((error, 0)) => Err(io::Error::from_raw_os_error(error)),
        Some((error, before)) => {
            planned.set(Some((error, before - 1)));
            Ok(())
        }
    }
}

/// The real disk, counted, delayed and made to fail as its script says.
#[derive(Debug, Clone)]
pub struct TestDisk {
    inner: CompioDisk,
    pub script: Rc<Script>,
}

impl TestDisk {
    pub fn new(inner: CompioDisk) -> Self {
        Self {
            inner,
            script: Rc::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct TestFile {
    inner: CompioFile,
    /// Writes are syncs too.
    durable: bool,
    script: Rc<Script>,
}

impl Disk for TestDisk {
    type File = TestFile;
    type Lock = <CompioDisk as Disk>::Lock;

    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> impl Future<Output = io::Result<Self::File>> + 'static {
        let opened = self.inner.open(path, mode);
        let script = Rc::clone(&self.script);
        async move {
            Ok(TestFile {
                inner: opened.await?,
                durable: mode == OpenMode::DirectDurable,
                script,
            })
        }
    }

    fn list(
        &self,
        directory: &Path,
    ) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static {
        self.inner.list(directory)
    }

    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        self.inner.create_directory(path)
    }

    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        self.inner.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        self.inner.remove_directory(path)
    }

    fn rename(
        &self,
        source: &Path,
        target: &Path,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        self.inner.rename(source, target)
    }

    fn sync_directory(&self, directory: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        self.script
            .directory_syncs
            .set(self.script.directory_syncs.get() + 1);
        self.inner.sync_directory(directory)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<LockOutcome<Self::Lock>> {
        match self.script.lock_error.get() {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => self.inner.lock(path, holder),
        }
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome<Self::Lock>> {
        self.inner.lock_shared(path)
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn sleep(&self, time: std::time::Duration) -> impl Future<Output = ()> + 'static {
        self.inner.sleep(time)
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.inner.spawn(work);
    }
}

impl DiskFile for TestFile {
    fn read_at(
        &self,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<BytesMut>> + 'static {
        let planned = fails(&self.script.read_error);
        let read = self.inner.read_at(position, bytes);
        async move {
            planned?;
            read.await
        }
    }

    fn write_at(
        &self,
        position: u64,
        mut parts: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let zeros = parts.iter().flatten().all(|byte| *byte == 0);
        let planned = match zeros && self.script.refuses_zeros.get() {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => fails(&self.script.write_error),
        };
        self.script.writes.set(self.script.writes.get() + 1);
        if let Some(bytes_max) = self.script.write_bytes_max.get() {
            parts.truncate(1);
            parts[0].truncate(bytes_max);
        }
        let file = self.inner.clone();
        let sync = (self.durable && planned.is_ok()).then(|| self.script.sync());
        async move {
            planned?;
            let written = file.write_at(position, parts).await?;
            if let Some(sync) = sync {
                sync.await?;
            }
            Ok(written)
        }
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let sync = self.script.sync();
        let file = self.inner.clone();
        async move {
            sync.await?;
            file.sync().await
        }
    }

    fn length(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        self.inner.length()
    }

    fn reserve(&self, position: u64, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let planned = match self.script.refuses_zeros.get() {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(()),
        };
        let file = self.inner.clone();
        async move {
            planned?;
            file.reserve(position, bytes).await
        }
    }

    fn set_length(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        self.inner.set_length(bytes)
    }
}

/// Lets everything that can run do so, until `done` holds.
pub async fn until(done: impl Fn() -> bool) {
    while !done() {
        compio_runtime::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

pub fn is_full(error: &Error) -> bool {
    matches!(error, Error::Full { .. })
}
