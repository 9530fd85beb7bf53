//! `/metrics`: the counters of all shards as text for Prometheus.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::MetricsSnapshot;

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text. A counter's name gets its ending `_total` from the encoder.
pub(super) fn text(snapshot: &MetricsSnapshot) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("weir");
    count(&mut registry, snapshot);
    measure(&mut registry, snapshot);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn count(registry: &mut Registry, snapshot: &MetricsSnapshot) {
    for (name, help, value) in [
        (
            "connections_accepted",
            "Connections accepted",
            snapshot.connections_accepted_total,
        ),
        (
            "connections_rejected",
            "Connections closed at once because there were too many",
            snapshot.connections_rejected_total,
        ),
        (
            "connection_panics",
            "Connections that ended in a panic of their task",
            snapshot.connection_panics_total,
        ),
        ("requests", "Requests answered", snapshot.requests_total),
        (
            "requests_failed",
            "Requests answered with another status than success",
            snapshot.requests_failed_total,
        ),
        (
            "mailbox_full",
            "Requests refused because another shard was too busy",
            snapshot.mailbox_full_total,
        ),
        (
            "retention_segments",
            "Segments removed because of their age or the size of their topic",
            snapshot.retention_segments_total,
        ),
        (
            "retention_bytes",
            "Bytes of messages removed with them",
            snapshot.retention_bytes_total,
        ),
        (
            "storage_syncs",
            "Syncs that made messages durable",
            snapshot.log_syncs_total,
        ),
    ] {
        let counter: Counter<u64, AtomicU64> = Counter::default();
        counter.inc_by(value);
        registry.register(name, help, counter);
    }
}

fn measure(registry: &mut Registry, snapshot: &MetricsSnapshot) {
    let storage = &snapshot.storage;
    for (name, help, value) in [
        (
            "connections_open",
            "Connections open",
            snapshot.connections_open,
        ),
        ("storage_partitions", "Partitions", storage.partitions),
        (
            "storage_partitions_fenced",
            "Partitions that take no messages",
            storage.partitions_fenced,
        ),
        ("storage_segments", "Segments", storage.segments),
        ("storage_messages", "Messages", storage.messages),
        ("storage_bytes", "Bytes of messages", storage.size_bytes),
        (
            "storage_segments_open",
            "Segments whose file is open",
            storage.segments_open,
        ),
        (
            "storage_tail_bytes",
            "Bytes of recent messages in memory",
            storage.tail_bytes,
        ),
        (
            "storage_pending_bytes",
            "Bytes of messages that wait for the disk",
            storage.pending_bytes,
        ),
        (
            "storage_read_bytes",
            "Bytes of old messages in memory",
            storage.read_bytes,
        ),
    ] {
        let gauge: Gauge<u64, AtomicU64> = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_line_with_its_value() {
        let mut snapshot = MetricsSnapshot {
            requests_total: 11,
            ..MetricsSnapshot::default()
        };
        snapshot.storage.partitions_fenced = 2;
        let text = text(&snapshot).expect("text");
        for line in [
            "weir_requests_total 11",
            "weir_storage_partitions_fenced 2",
            "weir_retention_segments_total 0",
            "# TYPE weir_storage_bytes gauge",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
