//! A device that sends a small message now and then: what it costs on disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use storage::{LogOptions, PartitionLog};

use super::report::Section;
use super::{Design, Stage, batch};

const PAYLOAD_BYTES: usize = 100;
/// Small, so that it is sealed soon.
const SEGMENT_BYTES: u64 = 2 << 20;

/// Bytes on disk for a message: while the segment is written, and after it was sealed.
struct Footprint {
    record_bytes: f64,
    active: f64,
    sealed: f64,
}

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Section>> {
    let mut section = Section {
        title: "one message of 100 B at a time",
        names: &["record B", "active B/message", "sealed B/message"],
        rows: Vec::new(),
        notes: Vec::new(),
    };
    for design in Design::ALL {
        let name = format!("footprint-{design:?}");
        let options = LogOptions {
            segment_bytes_max: SEGMENT_BYTES,
            ..design.options()
        };
        let log = stage.log(&name, options).await?;
        let found = fill_a_segment(&log, &stage.directory.join(&name)).await?;
        stage.remove(&name).await?;
        section.row(
            design.name(),
            &[
                Some(found.record_bytes),
                Some(found.active),
                Some(found.sealed),
            ],
        );
    }
    section.notes.push(
        "active: just before the segment is full, zeros ahead included; sealed: what stays of it"
            .to_owned(),
    );
    Ok(vec![section])
}

async fn fill_a_segment(log: &PartitionLog, directory: &Path) -> anyhow::Result<Footprint> {
    let batch = batch(1, PAYLOAD_BYTES);
    let first = directory.join(format!("{:020}.log", 0));
    let mut active = 0.0;
    loop {
        log.append(batch.clone(), 0).await?;
        // A log that never had a message may have no segment at all.
        if log.segments_count() > 1 {
            break;
        }
        active = allocated_bytes(&first)? as f64 / log.next_offset() as f64;
    }
    let messages = log.next_offset() - 1;
    // Waits for what is done to a sealed segment in the background.
    log.close().await?;
    let sealed = allocated_bytes(&first_segment(directory)?)? as f64 / messages as f64;
    Ok(Footprint {
        record_bytes: batch.len() as f64,
        active,
        sealed,
    })
}

/// The file that holds the first messages now.
fn first_segment(directory: &Path) -> anyhow::Result<PathBuf> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "log") {
            names.push(path);
        }
    }
    names.sort();
    Ok(names.swap_remove(0))
}

/// What the file takes on disk, whatever its length says.
fn allocated_bytes(path: &Path) -> anyhow::Result<u64> {
    Ok(std::fs::metadata(path)?.blocks() * 512)
}
