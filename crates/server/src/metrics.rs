//! Counters that a shard owns. They are plain cells: only the shard's thread touches them, and a
//! scrape sums the snapshots that the shards send.

use std::cell::Cell;

use serde::Serialize;

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
    }
}
