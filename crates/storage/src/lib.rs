//! **This room** keeps partitions' logs, and the journals of small state, on disk.
//! **Owns** every byte of a data directory (`docs/storage.md`) and what "durable" means
//! (`docs/durability.md`).
//! **Never** acknowledges before a sync, serves what is not durable, knows sockets, or reads a
//! clock; only `disk` does I/O.
//! **Start reading at** `log`, then `appender` and `recovery`.
//! **Tests run with** `cargo nextest run -p storage`.

mod aligned;
mod appender;
mod budget;
mod checkpoint;
pub mod data_directory;
pub mod disk;
pub mod doctor;
mod entry;
pub mod error;
mod fill;
mod group;
mod index;
pub mod inspect;
pub mod journal;
pub mod layout;
pub mod limits;
mod log;
mod planted;
mod reader;
mod recovery;
mod removal;
mod scan;
mod segment;
mod spare;
mod tail;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use budget::{Budget, BudgetUse};
pub use data_directory::DataDirectory;
pub use disk::CompioDisk;
pub use error::{Corruption, Error};
pub use journal::Journal;
pub use limits::{BudgetLimits, LogOptions, SyncPolicy, WriteMode};
pub use log::{Appended, NearEnd, Opening, PartitionLog, Removed, SealedSegment};
pub use reader::Records;
pub use recovery::{RecoveryReport, TornTail};
