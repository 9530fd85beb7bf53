//! The findings for programs; `docs/tools.md` describes every field.

use std::path::Path;

use serde_json::{Value, json};
use storage::Corruption;
use storage::inspect::{BatchPlace, Inspection, JournalState, SegmentState, Torn};

use super::text::index_name;

/// Version of the report's fields: higher when one changes its meaning or goes away.
const VERSION: u32 = 1;

/// One batch, as a line of a dump.
pub(crate) fn batch(batch: &BatchPlace<'_>) -> Value {
    json!({ "batch": {
        "stream_id": batch.partition.stream_id,
        "topic_id": batch.partition.topic_id,
        "partition_id": batch.partition.partition_id,
        "path": batch.path.display().to_string(),
        "position": batch.position,
        "base_offset": batch.header.base_offset,
        "messages": batch.header.message_count,
        "bytes": batch.header.batch_length,
        "timestamp_us": batch.header.base_timestamp,
        "origin_timestamp_us": batch.header.origin_timestamp,
    }})
}

/// Everything that was found.
pub(crate) fn report(directory: &Path, inspection: &Inspection) -> Value {
    let partitions = inspection.partitions.iter().map(|partition| {
        json!({
            "stream_id": partition.place.stream_id,
            "topic_id": partition.place.topic_id,
            "partition_id": partition.place.partition_id,
            "segments": partition.segments.iter().map(segment).collect::<Vec<_>>(),
            "journals": partition.journals.iter().map(journal).collect::<Vec<_>>(),
        })
    });
    let torn_tails = inspection.torn_tails().map(|(path, torn)| {
        json!({
            "path": path.display().to_string(),
            "position": torn.position,
            "bytes": torn.bytes,
        })
    });
    json!({
        "version": VERSION,
        "directory": directory.display().to_string(),
        "sound": inspection.corruptions().next().is_none(),
        "format": inspection.format.as_ref().ok(),
        "journals": inspection.journals.iter().map(journal).collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
        "corruptions": inspection.corruptions().map(corruption).collect::<Vec<_>>(),
        "torn_tails": torn_tails.collect::<Vec<_>>(),
        "unfinished": paths(&inspection.unfinished),
        "unknown": paths(&inspection.unknown),
    })
}

fn segment(segment: &SegmentState) -> Value {
    json!({
        "path": segment.path.display().to_string(),
        "active": segment.is_active,
        "base_offset": segment.base_offset,
        "next_offset": segment.next_offset,
        "messages": segment.next_offset - segment.base_offset,
        "batches": segment.batches_count,
        "record_bytes": segment.record_bytes,
        "end_position": segment.end_position,
        "file_bytes": segment.file_bytes,
        "recycled": segment.is_recycled,
        "first_timestamp_us": segment.first_timestamp_us,
        "last_timestamp_us": segment.last_timestamp_us,
        "index": index_name(segment.index),
        "torn_tail": segment.torn_tail.as_ref().map(torn),
        "corruption": segment.corruption.as_ref().map(corruption),
    })
}

fn journal(journal: &JournalState) -> Value {
    json!({
        "path": journal.path.display().to_string(),
        "records": journal.records_count,
        "end_position": journal.end_position,
        "file_bytes": journal.file_bytes,
        "torn_tail": journal.torn_tail.as_ref().map(torn),
        "corruption": journal.corruption.as_ref().map(corruption),
    })
}

fn torn(torn: &Torn) -> Value {
    json!({ "position": torn.position, "bytes": torn.bytes })
}

fn corruption(corruption: &Corruption) -> Value {
    json!({
        "path": corruption.path.display().to_string(),
        "position": corruption.position,
        "reason": corruption.reason,
    })
}

fn paths(paths: &[std::path::PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}
