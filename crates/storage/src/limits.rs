//! Every bound of the storage engine, with its reason. Nothing here is unlimited, and each limit
//! has a test that stands on it and one that steps past it.

use std::time::Duration;

use crate::error::Error;

/// Largest batch record that [`crate::PartitionLog::append`] takes, in bytes.
///
/// One message may carry 64,000,000 bytes of payload and 100,000 bytes of user headers; 64 MiB
/// plus 4 MiB leaves room for the record's own headers and for many smaller messages in one batch.
pub const BATCH_BYTES_MAX: u32 = 68 << 20;

/// Bytes of batches that wait for one partition's disk. The next append is answered
/// [`Error::Busy`] instead of growing the queue; two of the largest batches fit.
pub const PENDING_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX as usize;

/// Batches that wait for one partition's disk: bounds the bookkeeping when batches are tiny.
pub const PENDING_BATCHES_MAX: usize = 16_384;

/// Bytes written by one group commit. More only makes the first waiter wait longer: at 4 MiB the
/// write itself, not the sync, is nearly all of the time. One larger batch is a group of its own.
pub const GROUP_BYTES_MAX: usize = 4 << 20;

/// Parts of one vectored write (the kernel's IOV_MAX).
pub const WRITE_PARTS_MAX: usize = 1_024;

/// Records below this many bytes are copied next to each other before a write: a part of a
/// vectored write costs about as much as copying this much.
pub const WRITE_COPY_BYTES_MAX: usize = 16 << 10;

/// Default size at which a segment is sealed. Large enough that fewer than one batch of a megabyte
/// in a hundred waits for a segment to begin or to be removed, small enough that a topic exceeds
/// its size by little and that a log without checkpoints is read in a second or two.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
/// Smallest segment size that may be asked for: below, directories fill with files.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment size that may be asked for: recovery time grows with it.
pub const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// Default distance between two entries of the sparse index, in bytes of the segment: what a
/// lookup may have to read too much. A segment of the default size has 2,048 entries (48 KiB).
pub const INDEX_INTERVAL_BYTES_DEFAULT: u32 = 64 << 10;
/// Smallest index interval: one entry per block.
pub const INDEX_INTERVAL_BYTES_MIN: u32 = 4 << 10;

/// Entries that an index file may hold; more means that the file is not an index.
pub const INDEX_ENTRIES_MAX: u32 = (SEGMENT_BYTES_MAX / INDEX_INTERVAL_BYTES_MIN as u64) as u32;

/// Fewest zeros that are written ahead of a log, in bytes.
pub const ZERO_AHEAD_BYTES_MIN: u64 = 64 << 10;
/// Zeros ahead of a busy log, in bytes: some 20 commits of 1 MiB, half of which are left when the
/// next ones are begun.
pub const ZERO_AHEAD_BYTES_DEFAULT: u64 = 32 << 20;
/// Zeros written at once: more would stand in the way of the commits beside them.
pub const ZERO_AHEAD_PIECE_BYTES: u64 = 1 << 20;

/// Smallest size of aligned buffers that is made of huge pages: a disk takes 64 KiB as fast from
/// ordinary ones, a megabyte not.
pub const ALIGNED_HUGE_BYTES_MIN: usize = 256 << 10;

/// Largest aligned buffer that is kept for the next write: one of any group but those of a single
/// larger batch.
pub const ALIGNED_KEPT_BYTES_MAX: usize = 8 << 20;
/// Aligned buffers that a thread keeps: as many as it has writes under way at most times. Only what
/// was filled once takes memory, a huge page at least in those that have some.
pub const ALIGNED_KEPT_MAX: usize = 4;

/// From a roll to the work that its sealed segment still needs: some commits later.
pub const SEAL_PAUSE: Duration = Duration::from_millis(20);

/// Default bytes of recent batches that one log keeps in memory for readers.
pub const TAIL_BYTES_DEFAULT: usize = 4 << 20;

/// Batches in the tail: bounds the bookkeeping when batches are tiny.
pub const TAIL_BATCHES_MAX: usize = 4_096;

/// What recovery reads behind the block of zeros that ends a recycled segment, for records that
/// prove that durable ones are gone: as far as a log grows from one checkpoint to the next, and as
/// much as is reserved ahead in other segments.
pub const RECYCLED_PROOF_BYTES: u64 = 32 << 20;
/// One of so many parts of a segment is made ready ahead in the next one's file at most: the part
/// before that is filled while retention looks for a file to recycle.
pub const SPARE_SHARE: u64 = 4;
/// How full a removed segment is at least to be recycled, in quarters of a segment: what is missing
/// is filled with zeros, and that should be little.
pub const RECYCLED_QUARTERS_MIN: u64 = 3;

/// Sixteenths of a segment that must be full for a recycled file to keep its length when it is
/// sealed: as much of the disk as a topic's segments may take beside what they hold.
pub const UNCUT_SIXTEENTHS_MIN: u64 = 15;

/// Smallest piece read from disk behind the tail: index interval plus a bit.
pub const READ_BYTES_MIN: usize = 128 << 10;

/// Largest piece read from disk at once behind the tail; a larger record is read whole.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// Piece that is read at once for a consumer that reads on where it stopped, and the one behind it
/// while the first is given, if there is room.
pub const READ_ON_BYTES: usize = 1 << 20;

/// Default bytes of an active segment from one checkpoint to the next: what recovery reads at
/// most, a fraction of a second.
pub const CHECKPOINT_BYTES_DEFAULT: u64 = 32 << 20;
/// The same when a log is closed in order. Below, reading is as quick as writing a checkpoint.
pub const CHECKPOINT_CLOSE_BYTES: u64 = 1 << 20;

/// Bytes read at once when a segment is verified from its beginning.
pub const RECOVERY_READ_BYTES: usize = 4 << 20;

/// Largest journal record in bytes: a catalog change is far below, a snapshot record may be big.
pub const JOURNAL_RECORD_BYTES_MAX: u32 = 16 << 20;

/// Largest journal file that is opened, in bytes: it is read whole into memory.
pub const JOURNAL_BYTES_MAX: u64 = 1 << 30;

/// Journal records that wait for the disk; the next one is answered [`Error::Busy`].
pub const JOURNAL_PENDING_MAX: usize = 16_384;

/// Bytes read from the lock file of another process: it holds a process id.
pub const LOCK_TEXT_BYTES_MAX: u64 = 64;

/// Bytes read from a format marker: it is two short lines.
pub const MARKER_BYTES_MAX: usize = 256;

/// Sizes of the writes that the doctor measures: a small batch, a middling and a large group.
pub const DOCTOR_BYTES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Writes of each kind that the doctor makes at most: appends of 1 MiB are then 2 GiB.
pub const DOCTOR_SAMPLES_MAX: usize = 2_000;
/// Bytes of the scratch file for each way that writes over what exists; then it begins again.
pub const DOCTOR_REGION_BYTES: usize = 256 << 20;

/// Sizes of the writes that a start measures: what most groups are between.
pub const PROBE_BYTES: [usize; 2] = [4 << 10, 64 << 10];
/// Writes of each kind and size at a start: enough for a median on a busy machine.
pub const PROBE_SAMPLES: usize = 15;
/// With fewer of them, because the time was up, a size says nothing about which way is faster.
pub const PROBE_SAMPLES_TELLING: usize = 5;
/// A start does not measure for longer: a slow disk is told after a few writes.
pub const PROBE_TIME_MAX: Duration = Duration::from_millis(250);
/// A median flush below this is not one: the fastest devices need some 10 microseconds.
pub const DOCTOR_HONEST_FLUSH_MIN: Duration = Duration::from_micros(8);
/// A median flush above this is worth a word: a spinning disk needs about as long.
pub const DOCTOR_SLOW_FLUSH_MIN: Duration = Duration::from_millis(20);

/// Largest part of a group's blocks that may be padding when it is written past the page cache:
/// one of so many bytes. Groups that would waste more go through the page cache, where they lie
/// close together; on disks that were measured both take the same time.
pub const PADDING_SHARE: u64 = 4;

/// Groups from this many bytes on find space reserved ahead in place of zeros: zeros would double
/// what is written, while the file system's book-keeping is small beside such a group.
pub const RESERVE_GROUP_BYTES_MIN: usize = 128 << 10;

/// Bytes that may be acknowledged and not synced, by [`SyncPolicy::EveryBytes`].
pub const SYNC_BYTES: std::ops::RangeInclusive<u64> = 1..=1 << 30;
/// Milliseconds between an acknowledgement and its sync, by [`SyncPolicy::EveryMillis`].
pub const SYNC_MILLIS: std::ops::RangeInclusive<u32> = 1..=60_000;

/// How appends reach the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// Through the page cache, then a sync. Works everywhere; records lie close together.
    #[default]
    Buffered,
    /// Past the page cache in whole blocks (O_DIRECT), durable when the write returns, where a
    /// group fills its blocks; otherwise as [`Self::Buffered`].
    Direct,
}

impl std::fmt::Display for WriteMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Buffered => "buffered",
            Self::Direct => "direct",
        })
    }
}

/// Bounds of what all logs of one thread share, see [`crate::Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Segments whose file is open: one descriptor each, two while written past the page cache.
    /// More logs than this may be in use at a time; they open and close files then.
    pub segments_open_max: usize,
    /// Bytes of recent batches of all logs: 16 busy logs keep a whole tail.
    pub tail_bytes_max: usize,
    /// Bytes of batches that wait for the disk, of all logs: one log's maximum and half as much.
    pub pending_bytes_max: usize,
    /// Bytes read from disk that are still held: for consumers behind the tail and on their way to
    /// them. 64 consumers read whole pieces with it, hundreds smaller ones.
    pub read_bytes_max: usize,
    /// Places where consumers stopped, to go on without a lookup.
    pub read_cursors_max: usize,
}

impl Default for BudgetLimits {
    fn default() -> Self {
        Self {
            segments_open_max: 1_024,
            tail_bytes_max: 64 << 20,
            pending_bytes_max: PENDING_BYTES_MAX / 2 * 3,
            read_bytes_max: 64 << 20,
            read_cursors_max: 256,
        }
    }
}

/// When a batch is acknowledged, and when it is synced.
///
/// Whatever is chosen: what is acknowledged is written and survives the end of the process, and a
/// segment is synced when it is sealed and when the log is closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Synced, then acknowledged.
    #[default]
    EveryBatch,
    /// Acknowledged when written, as long as fewer bytes than this are not synced; the batch that
    /// would reach it is synced first, with all before it. Within [`SYNC_BYTES`].
    EveryBytes(u64),
    /// Acknowledged when written; a sync begins at most so many milliseconds later. Within
    /// [`SYNC_MILLIS`].
    EveryMillis(u32),
    /// Acknowledged when written; the operating system decides when it reaches the disk.
    Never,
}

impl SyncPolicy {
    /// Whether its number lies within the limits.
    #[must_use]
    pub fn is_valid(self) -> bool {
        match self {
            Self::EveryBatch | Self::Never => true,
            Self::EveryBytes(bytes) => SYNC_BYTES.contains(&bytes),
            Self::EveryMillis(milliseconds) => SYNC_MILLIS.contains(&milliseconds),
        }
    }
}

/// What may be chosen per partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Segment size in bytes at which the next one is begun,
    /// [`SEGMENT_BYTES_MIN`]`..=`[`SEGMENT_BYTES_MAX`].
    pub segment_bytes_max: u64,
    /// Distance between index entries in bytes, [`INDEX_INTERVAL_BYTES_MIN`]`..=segment_bytes_max`.
    pub index_interval_bytes: u32,
    /// Bytes of recent batches kept in memory; 0 keeps none.
    pub tail_bytes_max: usize,
    /// How appends reach the disk.
    pub write_mode: WriteMode,
    /// Zeros that are written ahead of the log at most, in bytes; 0 writes none.
    pub zero_ahead_bytes_max: u64,
    /// Bytes of the active segment from one checkpoint to the next.
    pub checkpoint_bytes: u64,
    /// When batches are acknowledged.
    pub sync_policy: SyncPolicy,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes_max: SEGMENT_BYTES_DEFAULT,
            index_interval_bytes: INDEX_INTERVAL_BYTES_DEFAULT,
            tail_bytes_max: TAIL_BYTES_DEFAULT,
            write_mode: WriteMode::Buffered,
            zero_ahead_bytes_max: 0,
            checkpoint_bytes: CHECKPOINT_BYTES_DEFAULT,
            sync_policy: SyncPolicy::EveryBatch,
        }
    }
}

impl LogOptions {
    /// Proves that the options lie within their limits.
    ///
    /// # Errors
    /// [`Error::Option`] with the first one that does not.
    pub fn check(&self) -> Result<(), Error> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes_max) {
            return Err(Error::Option {
                name: "segment_bytes_max",
            });
        }
        let interval = u64::from(self.index_interval_bytes);
        if !(u64::from(INDEX_INTERVAL_BYTES_MIN)..=self.segment_bytes_max).contains(&interval) {
            return Err(Error::Option {
                name: "index_interval_bytes",
            });
        }
        if !self.sync_policy.is_valid() {
            return Err(Error::Option {
                name: "sync_policy",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_hold_at_the_edge_and_fail_one_past() {
        let options = LogOptions::default();
        let check = |change: fn(&mut LogOptions)| {
            let mut changed = options;
            change(&mut changed);
            changed.check().is_ok()
        };
        assert!(options.check().is_ok());
        assert!(check(
            |options| options.segment_bytes_max = SEGMENT_BYTES_MIN
        ));
        assert!(!check(
            |options| options.segment_bytes_max = SEGMENT_BYTES_MIN - 1
        ));
        assert!(check(
            |options| options.segment_bytes_max = SEGMENT_BYTES_MAX
        ));
        assert!(!check(
            |options| options.segment_bytes_max = SEGMENT_BYTES_MAX + 1
        ));
        assert!(check(
            |options| options.index_interval_bytes = INDEX_INTERVAL_BYTES_MIN
        ));
        assert!(!check(
            |options| options.index_interval_bytes = INDEX_INTERVAL_BYTES_MIN - 1
        ));
        assert!(check(
            |options| options.index_interval_bytes = SEGMENT_BYTES_DEFAULT as u32
        ));
        assert!(!check(
            |options| options.index_interval_bytes = SEGMENT_BYTES_DEFAULT as u32 + 1
        ));
        for (policy, holds) in [
            (SyncPolicy::EveryBytes(1), true),
            (SyncPolicy::EveryBytes(0), false),
            (SyncPolicy::EveryBytes(*SYNC_BYTES.end()), true),
            (SyncPolicy::EveryBytes(*SYNC_BYTES.end() + 1), false),
            (SyncPolicy::EveryMillis(1), true),
            (SyncPolicy::EveryMillis(0), false),
            (SyncPolicy::EveryMillis(*SYNC_MILLIS.end()), true),
            (SyncPolicy::EveryMillis(*SYNC_MILLIS.end() + 1), false),
            (SyncPolicy::Never, true),
        ] {
            let options = LogOptions {
                sync_policy: policy,
                ..options
            };
            assert_eq!(options.check().is_ok(), holds, "{policy:?}");
        }
    }
}
