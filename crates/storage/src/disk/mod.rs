//! The seam between the log and whatever keeps its bytes.
//!
//! Everything above this module speaks only to [`Disk`] and [`DiskFile`]: owned buffers go in,
//! results come out, and nothing else in the crate may open, read or time anything. Tests put a
//! counting or failing disk here; the server uses [`CompioDisk`].

mod compio;
#[cfg(any(test, feature = "testing"))]
pub mod sim;

use std::{
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};

pub use self::compio::{CompioDisk, CompioFile};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, for reading only.
    Read,
    /// Existing file, for reading and writing.
    ReadWrite,
    /// Existing file, for writes past the page cache: whole blocks of 4,096 bytes from memory that
    /// begins at one, at positions that are multiples of it.
    Direct,
    /// As [`OpenMode::Direct`], and what is written is durable when the write returns.
    DirectDurable,
    /// Created when missing, emptied when present; for reading and writing.
    CreateTruncate,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirectoryEntry {
    /// File name without its directory. Names that are not UTF-8 are given lossily: nothing that
    /// this crate writes has such a name, so they are only ever reported.
    pub name: String,
    /// Whether the name is a directory.
    pub is_directory: bool,
}

/// Result of trying to take an exclusive lock.
#[derive(Debug)]
pub enum LockOutcome<L> {
    /// The lock is held until the value is dropped or the process ends, however it ends.
    Taken(L),
    /// Somebody else holds it; the text that the holder left in the file, possibly empty.
    Held(String),
}

/// A file system as the log needs it. Cheap to clone; belongs to one thread.
///
/// Durability rules that every implementation keeps and every caller relies on:
/// - bytes of a file survive a power cut once [`DiskFile::sync`] on a handle of it returned;
/// - so do those of one write through [`OpenMode::DirectDurable`], and only those;
/// - a created, renamed or removed name survives once [`Disk::sync_directory`] on its directory
///   returned;
/// - nothing else survives for certain, and what does may be torn.
pub trait Disk: Clone + fmt::Debug + 'static {
    /// An open file.
    type File: DiskFile + fmt::Debug;
    /// Keeps an exclusive lock while it lives.
    type Lock: fmt::Debug + 'static;

    /// Opens `path`.
    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> impl Future<Output = io::Result<Self::File>> + 'static;

    /// Names in `directory`, sorted.
    fn list(
        &self,
        directory: &Path,
    ) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static;

    /// Creates one directory whose parent exists.
    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static;

    /// Removes a file's name; handles that are open go on working.
    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static;

    /// Removes an empty directory.
    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static;

    /// Gives `source` the name `target`, replacing what had it, in one step.
    fn rename(
        &self,
        source: &Path,
        target: &Path,
    ) -> impl Future<Output = io::Result<()>> + 'static;

    /// Makes the names in `directory` survive a power cut.
    fn sync_directory(&self, directory: &Path) -> impl Future<Output = io::Result<()>> + 'static;

    /// Takes an exclusive lock on `path` without waiting, creating the file when missing, and
    /// writes `holder` into it.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<LockOutcome<Self::Lock>>;

    /// Takes a shared lock on the existing file `path` without waiting and without writing: many
    /// may hold one, and nobody gets the exclusive one meanwhile.
    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome<Self::Lock>>;

    /// Unpredictable bits, for the salt that keeps stale bytes from being taken for records.
    fn random(&self) -> u64;

    /// Returns after `time`.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + 'static;

    /// Runs `work` to its end, whatever becomes of whoever asked for it.
    fn spawn(&self, work: impl Future<Output = ()> + 'static);
}

/// An open file. Clones share the descriptor.
///
/// Every operation owns its buffers until the kernel is done with them, also when the returned
/// future is dropped half way.
pub trait DiskFile: Clone + 'static {
    /// Reads `bytes` bytes at `position`; fewer only when the file ends before.
    fn read_at(
        &self,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<BytesMut>> + 'static;

    /// Writes `parts` one after the other at `position`, as one operation; may be short.
    /// At most [`crate::limits::WRITE_PARTS_MAX`] parts.
    fn write_at(
        &self,
        position: u64,
        parts: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<usize>> + 'static;

    /// Makes everything written through this handle survive a power cut, length included.
    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static;

    /// Length of the file in bytes.
    fn length(&self) -> impl Future<Output = io::Result<u64>> + 'static;

    /// Takes space for `bytes` bytes from `position` on, without writing it: what was not written
    /// before reads as zeros, and the file is at least that long.
    fn reserve(&self, position: u64, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static;

    /// Cuts the file, or extends it with zeros, to `bytes`.
    fn set_length(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static;
}

/// Writes all of `parts` at `position`, going on after a short write.
///
/// A short write is not an error yet: a disk that fills up gives one first, and only the write of
/// the rest says why. That rest lies on bytes never written before, so nothing is retried.
///
/// # Errors
/// The first failed write; [`io::ErrorKind::WriteZero`] when the disk takes nothing any more.
pub async fn write_all_at<F: DiskFile>(
    file: &F,
    mut position: u64,
    mut parts: Vec<Bytes>,
) -> io::Result<()> {
    parts.retain(|part| !part.is_empty());
    while !parts.is_empty() {
        // Clones share the bytes: only the short list of parts is copied.
        let count = parts.len().min(crate::limits::WRITE_PARTS_MAX);
        let mut written = file.write_at(position, parts[..count].to_vec()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        let whole = parts
            .iter()
            .take_while(|part| {
                let fits = part.len() <= written;
                if fits {
                    written -= part.len();
                }
                fits
            })
            .count();
        parts.drain(..whole);
        if written > 0 {
            parts[0].advance(written);
        }
    }
    Ok(())
}

/// Creates `directory` and every missing parent below `root`, syncing each parent, so that the
/// whole path survives a power cut. `root` must exist.
///
/// # Errors
/// The first failed operation; an existing directory is not a failure.
pub async fn create_directories<D: Disk>(
    disk: &D,
    root: &Path,
    directory: &Path,
) -> io::Result<()> {
    let below = directory
        .strip_prefix(root)
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut path = PathBuf::from(root);
    for part in below.components() {
        let parent = path.clone();
        path.push(part);
        match disk.create_directory(&path).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // Also when it existed: the process that created it may have died before its sync.
        disk.sync_directory(&parent).await?;
    }
    Ok(())
}

/// Removes `directory` and the files in it. The removal is durable once the directory that it lay
/// in is synced. A missing directory is not a failure; one that holds another is.
///
/// # Errors
/// The first failed operation.
pub async fn remove_directory_with_files<D: Disk>(disk: &D, directory: &Path) -> io::Result<()> {
    let entries = match disk.list(directory).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.iter().filter(|entry| !entry.is_directory) {
        disk.remove_file(&directory.join(&entry.name)).await?;
    }
    disk.remove_directory(directory).await
}

/// Removes `directory` with everything in it. A missing directory is not a failure.
///
/// # Errors
/// The first failed operation.
pub async fn remove_directories<D: Disk>(disk: &D, directory: &Path) -> io::Result<()> {
    let entries = match disk.list(directory).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let path = directory.join(&entry.name);
        if entry.is_directory {
            Box::pin(remove_directories(disk, &path)).await?;
        } else {
            disk.remove_file(&path).await?;
        }
    }
    disk.remove_directory(directory).await?;
    match directory.parent() {
        Some(parent) => disk.sync_directory(parent).await,
        None => Ok(()),
    }
}
