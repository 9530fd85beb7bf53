//! The data directory as a whole: whose it is, in which format, and who uses it now.

use std::{
    io,
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    disk::{CompioDisk, Disk, DiskFile, LockOutcome, OpenMode, create_directories},
    error::Error,
    layout::{self, LOCK_FILE, MARKER_FILE, UNFINISHED_SUFFIX},
    limits, segment,
};

/// Newest format of data directories that this build reads and writes.
pub const FORMAT: u32 = 1;

const MARKER_FIRST_LINE: &str = "weir data directory";

/// An exclusively used data directory. The lock ends with this value or with the process.
#[derive(Debug)]
pub struct DataDirectory<D: Disk = CompioDisk> {
    disk: D,
    path: PathBuf,
    /// Held, never used.
    _lock: D::Lock,
}

impl<D: Disk> DataDirectory<D> {
    /// Takes the directory at `path` into use: creates it when missing, marks it when empty.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Foreign`] for a directory with other files in it,
    /// [`Error::NewerFormat`], [`Error::ReadOnly`], [`Error::Corrupted`] for a marker that cannot
    /// be understood, [`Error::Io`].
    pub async fn open(disk: D, path: &Path) -> Result<Self, Error> {
        create_missing(&disk, path).await?;
        let names = disk
            .list(path)
            .await
            .map_err(|error| cannot_write("list", path, error))?;
        let marked = names.iter().any(|entry| entry.name == MARKER_FILE);
        // The root of a fresh ext file system holds a directory of its own.
        let ours = |name: &str| {
            name == LOCK_FILE || name == "lost+found" || name.ends_with(UNFINISHED_SUFFIX)
        };
        if !marked && names.iter().any(|entry| !ours(&entry.name)) {
            return Err(Error::Foreign { path: path.into() });
        }
        let lock = match disk.lock(&path.join(LOCK_FILE), &process::id().to_string()) {
            Ok(LockOutcome::Taken(lock)) => lock,
            Ok(LockOutcome::Held(holder)) => return Err(locked(path, &holder)),
            Err(error) => return Err(cannot_write("lock", path, error)),
        };
        if marked {
            check_marker(&disk, &path.join(MARKER_FILE)).await?;
        } else {
            write_marker(&disk, path).await?;
        }
        Ok(Self {
            disk,
            path: path.into(),
            _lock: lock,
        })
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file directly in the directory, such as a journal.
    #[must_use]
    pub fn file_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Path of a partition's directory.
    #[must_use]
    pub fn partition_path(&self, stream_id: u32, topic_id: u32, partition_id: u32) -> PathBuf {
        self.path.join(layout::partition_directory(
            stream_id,
            topic_id,
            partition_id,
        ))
    }

    /// Creates a partition's directory, durably; an existing one is taken as it is.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Full`].
    pub async fn create_partition(
        &self,
        stream_id: u32,
        topic_id: u32,
        partition_id: u32,
    ) -> Result<PathBuf, Error> {
        let path = self.partition_path(stream_id, topic_id, partition_id);
        create_directories(&self.disk, &self.path, &path)
            .await
            .map_err(|error| Error::io("create directory", &path, error))?;
        Ok(path)
    }
}

/// Creates the directory, and its parents, when missing.
async fn create_missing<D: Disk>(disk: &D, path: &Path) -> Result<(), Error> {
    let mut missing = Vec::new();
    let mut existing = path;
    while disk
        .list(existing)
        .await
        .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    {
        missing.push(existing);
        existing = match existing.parent() {
            // A relative path of one part lies in the current directory.
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => break,
        };
    }
    for directory in missing.into_iter().rev() {
        match disk.create_directory(directory).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(cannot_write("create directory", directory, error));
            }
            _ => {}
        }
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        disk.sync_directory(parent)
            .await
            .map_err(|error| Error::io("sync directory", parent, error))?;
    }
    Ok(())
}

/// Errors that mean "not writable" get their own variant.
fn cannot_write(operation: &'static str, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::ReadOnly {
            path: path.into(),
            source: Arc::new(error),
        },
        _ => Error::io(operation, path, error),
    }
}

fn locked(path: &Path, holder: &str) -> Error {
    Error::Locked {
        path: path.into(),
        process_id: holder.trim().parse().ok(),
    }
}

/// Keeps others from using the directory at `path`, without writing to it; `None` when it has no
/// lock file, as a copy may not have.
pub(crate) fn lock_shared<D: Disk>(disk: &D, path: &Path) -> Result<Option<D::Lock>, Error> {
    let lock_path = path.join(LOCK_FILE);
    match disk.lock_shared(&lock_path) {
        Ok(LockOutcome::Taken(lock)) => Ok(Some(lock)),
        Ok(LockOutcome::Held(holder)) => Err(locked(path, &holder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("lock", &lock_path, error)),
    }
}

/// The format that the marker at `path` names.
pub(crate) async fn check_marker<D: Disk>(disk: &D, path: &Path) -> Result<u32, Error> {
    let named = |operation| Error::at(operation, path);
    let file = disk
        .open(path, OpenMode::Read)
        .await
        .map_err(named("open"))?;
    let bytes = file
        .read_at(0, limits::MARKER_BYTES_MAX)
        .await
        .map_err(named("read"))?;
    let broken = || Error::corrupted(path, 0, "the format marker cannot be understood");
    let text = std::str::from_utf8(&bytes).map_err(|_| broken())?;
    let mut lines = text.lines();
    if lines.next() != Some(MARKER_FIRST_LINE) {
        return Err(broken());
    }
    let found = lines
        .next()
        .and_then(|line| line.strip_prefix("format "))
        .and_then(|number| number.parse::<u32>().ok())
        .ok_or_else(broken)?;
    if found > FORMAT {
        let path = path.parent().unwrap_or(path).into();
        return Err(Error::NewerFormat {
            path,
            found,
            supported: FORMAT,
        });
    }
    Ok(found)
}

async fn write_marker<D: Disk>(disk: &D, directory: &Path) -> Result<(), Error> {
    let path = directory.join(MARKER_FILE);
    let unfinished = layout::unfinished_path(&path);
    let text = format!("{MARKER_FIRST_LINE}\nformat {FORMAT}\n");
    segment::write_durable(disk, &unfinished, Bytes::from(text)).await?;
    segment::publish(disk, directory, &unfinished, &path).await
}
