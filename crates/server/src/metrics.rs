//! Counters that a shard owns. They are plain cells: only the shard's thread touches them, and a
//! scrape sums the snapshots that the shards send.

use std::cell::Cell;

use serde::Serialize;

use crate::catalog::PartitionKey;
use crate::partition::PartitionReport;

/// One shard's counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    connections_open: Cell<u64>,
    connections_accepted: Cell<u64>,
    connections_rejected: Cell<u64>,
    connection_panics: Cell<u64>,
    requests: Cell<u64>,
    requests_failed: Cell<u64>,
    mailbox_full: Cell<u64>,
    retention_segments: Cell<u64>,
    retention_bytes: Cell<u64>,
    /// Of logs that are closed; those that are open count for themselves.
    log_syncs: Cell<u64>,
}

/// What [`Metrics`] held at one moment; sums over shards.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct MetricsSnapshot {
    /// Connections open now.
    pub(crate) connections_open: u64,
    /// Connections accepted since start.
    pub(crate) connections_accepted_total: u64,
    /// Connections closed at once because the shard had its maximum.
    pub(crate) connections_rejected_total: u64,
    /// Connections that ended in a panic of their task.
    pub(crate) connection_panics_total: u64,
    /// Requests answered.
    pub(crate) requests_total: u64,
    /// Requests answered with a status other than success.
    pub(crate) requests_failed_total: u64,
    /// Requests refused because another shard's mailbox was full.
    pub(crate) mailbox_full_total: u64,
    /// Segments removed because of their age or their topic's size.
    pub(crate) retention_segments_total: u64,
    /// Bytes of records in them.
    pub(crate) retention_bytes_total: u64,
    /// Syncs that made appends durable, of all partitions that there were since start.
    pub(crate) log_syncs_total: u64,
    /// What is stored.
    pub(crate) storage: StorageSnapshot,
}

/// What the partitions of a shard held at one moment; sums over shards.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct StorageSnapshot {
    /// Partitions.
    pub(crate) partitions: u64,
    /// Partitions that take no messages.
    pub(crate) partitions_fenced: u64,
    /// Segments.
    pub(crate) segments: u64,
    /// Messages.
    pub(crate) messages: u64,
    /// Bytes of records.
    pub(crate) size_bytes: u64,
    /// Segments whose file is open.
    pub(crate) segments_open: u64,
    /// Bytes of recent messages in memory.
    pub(crate) tail_bytes: u64,
    /// Bytes of messages that wait for the disk.
    pub(crate) pending_bytes: u64,
    /// Bytes of old messages in memory, on their way to consumers.
    pub(crate) read_bytes: u64,
}

impl StorageSnapshot {
    pub(crate) fn of(
        partitions: &[(PartitionKey, PartitionReport)],
        in_use: storage::BudgetUse,
    ) -> Self {
        let mut snapshot = Self {
            partitions: partitions.len() as u64,
            segments_open: in_use.segments_open as u64,
            tail_bytes: in_use.tail_bytes as u64,
            pending_bytes: in_use.pending_bytes as u64,
            read_bytes: in_use.read_bytes as u64,
            ..Self::default()
        };
        for (_, partition) in partitions {
            snapshot.partitions_fenced += u64::from(partition.refusal.is_some());
            snapshot.segments += u64::from(partition.stats.segments_count);
            snapshot.messages += partition.stats.messages_count;
            snapshot.size_bytes += partition.stats.size_bytes;
        }
        snapshot
    }
}

impl std::ops::AddAssign for StorageSnapshot {
    fn add_assign(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.partitions_fenced += other.partitions_fenced;
        self.segments += other.segments;
        self.messages += other.messages;
        self.size_bytes += other.size_bytes;
        self.segments_open += other.segments_open;
        self.tail_bytes += other.tail_bytes;
        self.pending_bytes += other.pending_bytes;
        self.read_bytes += other.read_bytes;
    }
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Metrics {
    pub(crate) fn connection_opened(&self) {
        add(&self.connections_accepted);
        add(&self.connections_open);
    }

    pub(crate) fn connection_closed(&self) {
        self.connections_open
            .set(self.connections_open.get().saturating_sub(1));
    }

    pub(crate) fn connection_rejected(&self) {
        add(&self.connections_rejected);
    }

    pub(crate) fn connection_panicked(&self) {
        add(&self.connection_panics);
    }

    pub(crate) fn request_answered(&self, failed: bool) {
        add(&self.requests);
        if failed {
            add(&self.requests_failed);
        }
    }

    pub(crate) fn mailbox_was_full(&self) {
        add(&self.mailbox_full);
    }

    pub(crate) fn retention_removed(&self, removed: storage::Removed) {
        let add = |cell: &Cell<u64>, count| cell.set(cell.get() + count);
        add(&self.retention_segments, removed.segments_count);
        add(&self.retention_bytes, removed.record_bytes);
    }

    /// Keeps what a log counted that is there no more, so that the total never falls.
    pub(crate) fn log_ended(&self, syncs_count: u64) {
        self.log_syncs.set(self.log_syncs.get() + syncs_count);
    }

    pub(crate) fn connections_open(&self) -> usize {
        usize::try_from(self.connections_open.get()).unwrap_or(usize::MAX)
    }

    pub(crate) fn snapshot(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            connections_open: self.connections_open.get(),
            connections_accepted_total: self.connections_accepted.get(),
            connections_rejected_total: self.connections_rejected.get(),
            connection_panics_total: self.connection_panics.get(),
            requests_total: self.requests.get(),
            requests_failed_total: self.requests_failed.get(),
            mailbox_full_total: self.mailbox_full.get(),
            retention_segments_total: self.retention_segments.get(),
            retention_bytes_total: self.retention_bytes.get(),
            log_syncs_total: self.log_syncs.get(),
            storage: StorageSnapshot::default(),
        }
    }
}

impl std::ops::AddAssign for MetricsSnapshot {
    fn add_assign(&mut self, other: Self) {
        self.connections_open += other.connections_open;
        self.connections_accepted_total += other.connections_accepted_total;
        self.connections_rejected_total += other.connections_rejected_total;
        self.connection_panics_total += other.connection_panics_total;
        self.requests_total += other.requests_total;
        self.requests_failed_total += other.requests_failed_total;
        self.mailbox_full_total += other.mailbox_full_total;
        self.retention_segments_total += other.retention_segments_total;
        self.retention_bytes_total += other.retention_bytes_total;
        self.log_syncs_total += other.log_syncs_total;
        self.storage += other.storage;
    }
}
