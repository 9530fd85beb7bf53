//! The findings for people.

use std::fmt::Write;
use std::path::Path;

use storage::inspect::{BatchPlace, IndexState, Inspection, JournalState, SegmentState};

use crate::table::Table;

/// One batch, as a line of a dump.
pub(crate) fn batch(batch: &BatchPlace<'_>) -> String {
    let header = batch.header;
    format!(
        "partition={} offset={} messages={} bytes={} time_us={} segment={} position={}",
        batch.partition,
        header.base_offset,
        header.message_count,
        header.batch_length,
        header.base_timestamp,
        name(batch.path),
        batch.position,
    )
}

/// Tables, what is wrong, and the verdict.
pub(crate) fn report(inspection: &Inspection) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write!(text, "{}\n{}", journals(inspection), segments(inspection));
    for path in &inspection.unfinished {
        let _ = writeln!(text, "unfinished  {}", path.display());
    }
    for path in &inspection.unknown {
        let _ = writeln!(text, "not ours    {}", path.display());
    }
    for (path, torn) in inspection.torn_tails() {
        let (path, position, bytes) = (path.display(), torn.position, torn.bytes);
        let _ = writeln!(text, "torn tail   {path} at {position}: {bytes} bytes");
    }
    for corruption in inspection.corruptions() {
        let _ = writeln!(text, "corruption  {corruption}");
    }
    text.push_str(&verdict(inspection));
    text
}

fn journals(inspection: &Inspection) -> String {
    let mut table = Table::new(&["journal", "records", "bytes", "state"]);
    let state =
        |journal: &JournalState| state(journal.corruption.is_some(), journal.torn_tail.is_some());
    let rows = inspection
        .journals
        .iter()
        .map(|journal| (name(&journal.path), journal));
    let rows = rows.chain(inspection.partitions.iter().flat_map(|partition| {
        partition.journals.iter().map(|journal| {
            let name = format!("{} {}", partition.place, name(&journal.path));
            (name, journal)
        })
    }));
    for (name, journal) in rows {
        table.row(&[
            name,
            journal.records_count.to_string(),
            journal.file_bytes.to_string(),
            state(journal).to_owned(),
        ]);
    }
    table.render()
}

fn segments(inspection: &Inspection) -> String {
    let mut table = Table::new(&[
        "partition",
        "segment",
        "messages",
        "next",
        "bytes",
        "file",
        "index",
        "state",
    ]);
    for partition in &inspection.partitions {
        for segment in &partition.segments {
            table.row(&[
                partition.place.to_string(),
                segment.base_offset.to_string(),
                messages(segment).to_string(),
                segment.next_offset.to_string(),
                segment.file_bytes.to_string(),
                file(segment).to_owned(),
                index_name(segment.index).to_owned(),
                state(segment.corruption.is_some(), segment.torn_tail.is_some()).to_owned(),
            ]);
        }
    }
    table.render()
}

fn verdict(inspection: &Inspection) -> String {
    let damaged = inspection.corruptions().count();
    let verdict = match damaged {
        0 => "sound".to_owned(),
        1 => "damaged in 1 place".to_owned(),
        _ => format!("damaged in {damaged} places"),
    };
    format!(
        "{verdict}: {} partitions, {} segments, {} messages, {} bytes",
        inspection.partitions.len(),
        inspection.segments().count(),
        inspection.segments().map(messages).sum::<u64>(),
        inspection.segments().map(|one| one.file_bytes).sum::<u64>(),
    )
}

fn messages(segment: &SegmentState) -> u64 {
    segment.next_offset - segment.base_offset
}

fn file(segment: &SegmentState) -> &'static str {
    match segment.is_recycled {
        true => "recycled",
        false => "new",
    }
}

fn state(is_damaged: bool, is_torn: bool) -> &'static str {
    match (is_damaged, is_torn) {
        (true, _) => "corrupted",
        (false, true) => "torn tail",
        (false, false) => "sound",
    }
}

/// As in the tables and in JSON.
pub(crate) fn index_name(index: IndexState) -> &'static str {
    match index {
        IndexState::Sound => "sound",
        IndexState::Missing => "missing",
        IndexState::Damaged => "damaged",
        IndexState::Outdated => "outdated",
        IndexState::Wrong => "wrong",
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
