//! The real file system, through compio's ring (or its thread pool where io_uring is denied).
//!
//! Two traps of the runtime shape this file. A dropped operation is cancelled and its result lost,
//! and a runtime that ends with file operations in flight frees buffers that the kernel still
//! uses. So every operation runs in a task of its own that nobody can cancel, and the disk counts
//! them: [`CompioDisk::drain`] returns when none is left.

use std::{
    cell::{Cell, RefCell},
    fs,
    future::Future,
    io::{self, Read, Seek, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    rc::Rc,
    thread,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use compio_buf::{BufResult, IntoInner, IoBufExt};
use compio_fs::{File, OpenOptions};
use compio_io::{AsyncReadAt, AsyncWriteAt};
use compio_runtime::Runtime;
use futures_channel::oneshot;
use rustix::{
    fs::{FallocateFlags, FlockOperation},
    io::Errno,
};

use super::{DirectoryEntry, Disk, DiskFile, LockOutcome, OpenMode};

/// Operations that the kernel has not finished yet.
#[derive(Debug, Default)]
struct InFlight {
    count: Cell<usize>,
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
}

/// Counts one operation for as long as it lives.
struct InFlightGuard(Rc<InFlight>);

impl InFlightGuard {
    fn new(in_flight: &Rc<InFlight>) -> Self {
        in_flight.count.set(in_flight.count.get() + 1);
        Self(Rc::clone(in_flight))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let count = self.0.count.get() - 1;
        self.0.count.set(count);
        if count == 0 {
            for waiter in self.0.waiters.take() {
                // A waiter that went away needs no answer.
                let _ = waiter.send(());
            }
        }
    }
}

/// Ends the process when dropped by a panic: a broken invariant in storage must not be survived
/// by acknowledging on top of it.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// The real file system. Must be used inside a compio runtime, on one thread.
#[derive(Debug, Clone, Default)]
pub struct CompioDisk {
    in_flight: Rc<InFlight>,
}

impl CompioDisk {
    /// A disk with nothing in flight.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns when no operation of this disk, its files or its spawned work is left.
    ///
    /// To be awaited before the runtime ends. Work started meanwhile is waited for too.
    pub async fn drain(&self) {
        while self.in_flight.count.get() > 0 {
            let (sender, receiver) = oneshot::channel();
            self.in_flight.waiters.borrow_mut().push(sender);
            // The sender is used or dropped with the last operation; both mean "look again".
            let _ = receiver.await;
        }
    }

    /// Makes everything on the file system of `path` durable: names and bytes, of all files.
    ///
    /// # Errors
    /// What the system said; on kernels that report it, also of writes that failed before.
    pub async fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        let path = path.to_path_buf();
        let syncing = self.run(async move {
            let synced = compio_runtime::spawn_blocking(move || {
                let directory = fs::File::open(path)?;
                rustix::fs::syncfs(&directory).map_err(io::Error::from)
            });
            match synced.await {
                Ok(result) => result,
                Err(error) => Err(io::Error::other(error.to_string())),
            }
        });
        syncing.await
    }

    /// Runs one operation in a task of its own.
    fn run<T: 'static>(
        &self,
        operation: impl Future<Output = io::Result<T>> + 'static,
    ) -> impl Future<Output = io::Result<T>> + 'static {
        run(&self.in_flight, operation)
    }
}

fn run<T: 'static>(
    in_flight: &Rc<InFlight>,
    operation: impl Future<Output = io::Result<T>> + 'static,
) -> impl Future<Output = io::Result<T>> + 'static {
    let guard = InFlightGuard::new(in_flight);
    let (sender, receiver) = oneshot::channel();
    compio_runtime::spawn(async move {
        let _abort = AbortOnPanic;
        let result = operation.await;
        drop(guard);
        // Whoever asked may have gone: the operation is done all the same.
        let _ = sender.send(result);
    })
    .detach();
    async move {
        match receiver.await {
            Ok(result) => result,
            Err(oneshot::Canceled) => Err(io::Error::other("the runtime ended")),
        }
    }
}

impl Disk for CompioDisk {
    type File = CompioFile;
    type Lock = fs::File;

    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> impl Future<Output = io::Result<Self::File>> + 'static {
        let path = path.to_path_buf();
        let in_flight = Rc::clone(&self.in_flight);
        self.run(async move {
            let mut options = OpenOptions::new();
            let syncs_writes = mode == OpenMode::DirectDurable && !has_thread_pool();
            match mode {
                OpenMode::Read => options.read(true),
                OpenMode::ReadWrite => options.read(true).write(true),
                OpenMode::Direct => options.write(true).custom_flags(libc::O_DIRECT),
                OpenMode::DirectDurable if syncs_writes => {
                    options.write(true).custom_flags(libc::O_DIRECT)
                }
                // Not rustix's DSYNC, which is O_SYNC: that writes the time of the change too, in a
                // block of its own.
                OpenMode::DirectDurable => options
                    .write(true)
                    .custom_flags(libc::O_DIRECT | libc::O_DSYNC),
                OpenMode::CreateTruncate => options
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o640),
            };
            let file = options.open(&path).await?;
            Ok(CompioFile {
                file,
                in_flight,
                syncs_writes,
            })
        })
    }

    fn list(
        &self,
        directory: &Path,
    ) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static {
        let directory = directory.to_path_buf();
        self.run(async move {
            match compio_runtime::spawn_blocking(move || list_blocking(&directory)).await {
                Ok(result) => result,
                Err(error) => Err(io::Error::other(error.to_string())),
            }
        })
    }

    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let path = path.to_path_buf();
        self.run(async move { compio_fs::create_dir(&path).await })
    }

    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let path = path.to_path_buf();
        self.run(async move { compio_fs::remove_file(&path).await })
    }

    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let path = path.to_path_buf();
        self.run(async move { compio_fs::remove_dir(&path).await })
    }

    fn rename(
        &self,
        source: &Path,
        target: &Path,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (source, target) = (source.to_path_buf(), target.to_path_buf());
        self.run(async move { compio_fs::rename(&source, &target).await })
    }

    fn sync_directory(&self, directory: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let directory = directory.to_path_buf();
        self.run(async move { File::open(&directory).await?.sync_all().await })
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<LockOutcome<Self::Lock>> {
        lock_blocking(path, holder)
    }

    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome<Self::Lock>> {
        let file = fs::File::open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(LockOutcome::Taken(file)),
            Err(Errno::WOULDBLOCK) => Ok(LockOutcome::Held(holder_of(file)?)),
            Err(error) => Err(error.into()),
        }
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the kernel has random bits once it runs a server")
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static {
        compio_runtime::time::sleep(time)
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        let guard = InFlightGuard::new(&self.in_flight);
        compio_runtime::spawn(async move {
            let _abort = AbortOnPanic;
            work.await;
            drop(guard);
        })
        .detach();
    }
}

fn list_blocking(directory: &PathBuf) -> io::Result<Vec<DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        entries.push(DirectoryEntry {
            name: entry.file_name().to_string_lossy().into_owned(),
            is_directory: entry.file_type()?.is_dir(),
        });
    }
    entries.sort();
    Ok(entries)
}

/// Blocks for a moment only: it never waits for the holder, and runs once per process.
fn lock_blocking(path: &Path, holder: &str) -> io::Result<LockOutcome<fs::File>> {
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(LockOutcome::Held(holder_of(file)?)),
        Err(error) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(holder.as_bytes())?;
    Ok(LockOutcome::Taken(file))
}

/// What the holder of a lock left in its file.
fn holder_of(file: fs::File) -> io::Result<String> {
    let mut text = String::new();
    file.take(crate::limits::LOCK_TEXT_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// An open file of [`CompioDisk`].
#[derive(Debug, Clone)]
pub struct CompioFile {
    file: File,
    in_flight: Rc<InFlight>,
    /// A write returns when it is durable.
    syncs_writes: bool,
}

/// Whether files are worked on by a pool of threads, because there is no ring.
///
/// A durable write is one operation there: a write with O_DSYNC. On a ring it is two, a write and a
/// sync, because the kernel finishes an asynchronous write with O_DSYNC by tasks of its own that
/// wait for a processor: where all are busy that takes milliseconds.
fn has_thread_pool() -> bool {
    Runtime::with_current(|runtime| runtime.driver_type().is_polling())
}

impl DiskFile for CompioFile {
    fn read_at(
        &self,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<BytesMut>> + 'static {
        let file = self.file.clone();
        run(&self.in_flight, async move {
            let mut buffer = BytesMut::with_capacity(bytes);
            while buffer.len() < bytes {
                let filled = buffer.len();
                let spare = buffer.slice(filled..bytes);
                let BufResult(result, spare) = file.read_at(spare, position + filled as u64).await;
                buffer = spare.into_inner();
                match result {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(buffer)
        })
    }

    fn write_at(
        &self,
        position: u64,
        parts: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let file = self.file.clone();
        let syncs_writes = self.syncs_writes;
        run(&self.in_flight, async move {
            let mut writer = &file;
            let written_bytes = match <[Bytes; 1]>::try_from(parts) {
                Ok([part]) => writer.write_at(part, position).await.0?,
                Err(parts) => writer.write_vectored_at(parts, position).await.0?,
            };
            if syncs_writes {
                file.sync_data().await?;
            }
            Ok(written_bytes)
        })
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.file.clone();
        run(&self.in_flight, async move { file.sync_data().await })
    }

    fn length(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        let file = self.file.clone();
        run(
            &self.in_flight,
            async move { Ok(file.metadata().await?.len()) },
        )
    }

    fn reserve(&self, position: u64, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.file.clone();
        run(&self.in_flight, async move {
            // A descriptor of its own, because the other thread may outlive this handle.
            let file = file.as_fd().try_clone_to_owned()?;
            let reserve =
                move || rustix::fs::fallocate(&file, FallocateFlags::empty(), position, bytes);
            match compio_runtime::spawn_blocking(reserve).await {
                Ok(result) => Ok(result?),
                Err(error) => Err(io::Error::other(error.to_string())),
            }
        })
    }

    fn set_length(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.file.clone();
        run(&self.in_flight, async move { file.set_len(bytes).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of a change is no part of what an append promises.
    #[test]
    fn durable_writes_sync_the_data_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        fs::write(&path, []).expect("created");
        let runtime = compio_runtime::Runtime::new().expect("starts");
        runtime.block_on(async {
            let opened = CompioDisk::new().open(&path, OpenMode::DirectDurable).await;
            // Some file systems in memory refuse it.
            let Ok(file) = opened else { return };
            let flags = rustix::fs::fcntl_getfl(file.file.as_fd()).expect("answers");
            let flags = flags.bits().cast_signed();
            assert_eq!(flags & libc::O_DIRECT, libc::O_DIRECT);
            let expected = if has_thread_pool() { libc::O_DSYNC } else { 0 };
            assert_eq!(flags & libc::O_SYNC, expected);
            assert_eq!(file.syncs_writes, !has_thread_pool());
        });
    }
}
