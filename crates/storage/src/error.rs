//! What can go wrong, by what a caller can do about it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where stored bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file.
    pub path: PathBuf,
    /// Byte position of the first record that does not hold.
    pub position: u64,
    /// What was found there.
    pub reason: &'static str,
}

impl fmt::Display for Corruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} at {}: {}",
            self.path.display(),
            self.position,
            self.reason
        )
    }
}

/// Every failure of the storage engine. Cheap to clone, because a failed group commit answers
/// everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation on a file failed. When it was the write or the sync of an append, the
    /// partition is fenced from then on and it is unknown whether the batch will be there after
    /// a restart; it was not acknowledged and is not served.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk is full. Nothing of this append is stored, and the log accepts appends again as
    /// soon as there is space.
    #[error("no space left for {}", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// An earlier write or sync failed, or corruption was found when the log was opened: nothing
    /// is appended any more until an operator restarts or repairs; durable data is still served.
    #[error("fenced: {reason}")]
    Fenced {
        /// The failure that fenced it.
        reason: Arc<str>,
    },
    /// Stored bytes are damaged where they had been durable.
    #[error("corrupted: {0}")]
    Corrupted(Corruption),
    /// The batch is not one: a length, a count or a checksum is wrong.
    #[error("invalid batch: {reason}")]
    InvalidBatch {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More bytes than a limit allows; see [`crate::limits`].
    #[error("{bytes} bytes, {bytes_max} allowed")]
    TooLarge {
        /// What came.
        bytes: u64,
        /// What is allowed.
        bytes_max: u64,
    },
    /// Too much waits for the disk already. Nothing was taken; try again later.
    #[error("too many appends wait for the disk")]
    Busy,
    /// The log or journal was closed.
    #[error("closed")]
    Closed,
    /// An option outside its limits.
    #[error("option {name} is outside its limits")]
    Option {
        /// Name of the option.
        name: &'static str,
    },
    /// Another process uses the data directory.
    #[error("{} is in use by {}", path.display(), Holder(*.process_id))]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The other process, when it left its id.
        process_id: Option<u32>,
    },
    /// The directory holds files that are not ours.
    #[error("{} is not empty and is not a Weir data directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has no format marker: it was never a data directory.
    #[error("{} is not a Weir data directory", path.display())]
    Unmarked {
        /// The directory.
        path: PathBuf,
    },
    /// A newer Weir wrote this data directory.
    #[error("{} has format {found}, this Weir knows up to {supported}", path.display())]
    NewerFormat {
        /// The data directory.
        path: PathBuf,
        /// Version in the marker.
        found: u32,
        /// Newest version that this build knows.
        supported: u32,
    },
    /// The directory cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    ReadOnly {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(process_id) => write!(formatter, "process {process_id}"),
            None => formatter.write_str("another process"),
        }
    }
}

impl Error {
    /// Wraps what the system said; running out of space has its own variant.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path: path.into() }
            }
            _ => Self::Io {
                operation,
                path: path.into(),
                source: Arc::new(source),
            },
        }
    }

    /// A failed sync. A full disk that is noticed only here is no lesser failure: which pages or
    /// names are durable is unknown.
    pub(crate) fn sync_at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// [`Self::io`] as a function of what the system said.
    pub(crate) fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::io(operation, path, source)
    }

    pub(crate) fn corrupted(path: &Path, position: u64, reason: &'static str) -> Self {
        Self::Corrupted(Corruption {
            path: path.into(),
            position,
            reason,
        })
    }

    pub(crate) fn fenced(reason: &impl fmt::Display) -> Self {
        Self::Fenced {
            reason: reason.to_string().into(),
        }
    }
}
