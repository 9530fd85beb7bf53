//! What a start costs after a process that was killed: opening a log that nobody closed, with its
//! files dropped from the page cache.

use std::time::Instant;

use anyhow::ensure;
use storage::{LogOptions, limits};

use super::reading::{drop_cache, segments};
use super::report::Section;
use super::samples::{median, spread};
use super::{Design, Stage, batch};

const BATCHES: usize = 100;
const MESSAGES: usize = 1_000;
/// A batch of so many messages of this size takes 1 MB.
const PAYLOAD_BYTES: usize = 936;

/// What a start finds of the active segment's checkpoints, and their distance.
const SUBJECTS: [(&str, u64); 2] = [
    (
        "100 MB active, with checkpoints",
        limits::CHECKPOINT_BYTES_DEFAULT,
    ),
    ("100 MB active, without", u64::MAX),
];

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Section>> {
    let mut rounds: [Vec<f64>; 2] = Default::default();
    for (number, (_, checkpoint_bytes)) in SUBJECTS.into_iter().enumerate() {
        let name = format!("recovery-{number}");
        let options = LogOptions {
            checkpoint_bytes,
            ..Design::Direct.options()
        };
        let log = stage.log(&name, options).await?;
        let batch = batch(MESSAGES, PAYLOAD_BYTES);
        for _ in 0..BATCHES {
            log.append(batch.clone(), 0).await?;
        }
        ensure!(log.segments_count() == 1, "all of it lies in one segment");
        drop(log);
        stage.disk.drain().await;
    }
    for round in 0..stage.rounds {
        for subject in stage.order(round, SUBJECTS.len()) {
            rounds[subject].push(open(stage, subject).await?);
        }
    }
    for number in 0..SUBJECTS.len() {
        stage.remove(&format!("recovery-{number}")).await?;
    }
    let mut section = Section {
        title: "opening after a kill",
        names: &["ms", "spread"],
        rows: Vec::new(),
        notes: vec!["page cache dropped before; goal: 1 s for 100 MB".to_owned()],
    };
    for ((name, _), took) in SUBJECTS.iter().zip(&rounds) {
        let figures = [Some(median(took)), Some(spread(took.iter().copied()))];
        section.row(*name, &figures);
    }
    Ok(vec![section])
}

/// Milliseconds. The log is not closed: what it finds next time is the same.
async fn open(stage: &Stage, subject: usize) -> anyhow::Result<f64> {
    let name = format!("recovery-{subject}");
    drop_cache(&segments(&stage.directory.join(&name))?)?;
    let begun = Instant::now();
    let log = stage.reopen(&name, Design::Direct.options()).await?;
    let took = begun.elapsed();
    ensure!(
        log.next_offset() == (BATCHES * MESSAGES) as u64,
        "all of it is there"
    );
    Ok(took.as_secs_f64() * 1e3)
}
