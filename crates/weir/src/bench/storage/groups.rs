//! Many producers of single messages share syncs; one of them cannot.

use std::time::Instant;

use anyhow::Context;
use bytes::BytesMut;
use storage::PartitionLog;

use super::report::Section;
use super::samples::{median, spread};
use super::{Design, Stage, batch};

const PRODUCERS: [usize; 2] = [1, 64];
const PAYLOAD_BYTES: usize = 1_000;
/// Messages of a round, of all producers together.
const MESSAGES: [usize; 2] = [400, 12_800];

/// What a round showed.
#[derive(Clone, Copy)]
struct Round {
    messages_per_second: f64,
    syncs_per_second: f64,
    messages_per_sync: f64,
}

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Section>> {
    let batch = batch(1, PAYLOAD_BYTES);
    let mut logs = Vec::new();
    for design in Design::ALL {
        let name = format!("groups-{design:?}");
        logs.push((stage.log(&name, design.options()).await?, name));
    }
    // By design, then by number of producers.
    let mut rounds: [Vec<Round>; 4] = Default::default();
    for round in 0..stage.rounds {
        for subject in stage.order(round, rounds.len()) {
            let (log, _) = &logs[subject / 2];
            let kind = subject % 2;
            let measured = produce(log, &batch, PRODUCERS[kind], MESSAGES[kind]).await?;
            rounds[subject].push(measured);
        }
    }
    for (log, name) in logs {
        log.close().await?;
        stage.remove(&name).await?;
    }
    Ok(vec![section(&rounds)])
}

async fn produce(
    log: &PartitionLog,
    batch: &BytesMut,
    producers: usize,
    messages: usize,
) -> anyhow::Result<Round> {
    let (begun, syncs) = (Instant::now(), log.syncs_count());
    let mut running = Vec::new();
    for _ in 0..producers {
        let (log, batch) = (log.clone(), batch.clone());
        running.push(compio_runtime::spawn(async move {
            for _ in 0..messages / producers {
                log.append(batch.clone(), 0).await?;
            }
            Ok::<(), storage::Error>(())
        }));
    }
    for producer in running {
        let ended = producer.await;
        ended.ok().context("a producer ended early")??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let syncs = (log.syncs_count() - syncs) as f64;
    Ok(Round {
        messages_per_second: messages as f64 / seconds,
        syncs_per_second: syncs / seconds,
        messages_per_sync: messages as f64 / syncs,
    })
}

fn section(rounds: &[Vec<Round>; 4]) -> Section {
    let mut section = Section {
        title: "single messages of 1,000 B",
        names: &["messages/s", "syncs/s", "messages/sync", "spread"],
        rows: Vec::new(),
        notes: Vec::new(),
    };
    let figure = |subject: usize, of: fn(&Round) -> f64| {
        let figures: Vec<f64> = rounds[subject].iter().map(of).collect();
        median(&figures)
    };
    for subject in 0..rounds.len() {
        let design = Design::ALL[subject / 2].name();
        let producers = PRODUCERS[subject % 2];
        let all = rounds[subject].iter();
        section.row(
            format!("{producers} producers: {design}"),
            &[
                Some(figure(subject, |round| round.messages_per_second)),
                Some(figure(subject, |round| round.syncs_per_second)),
                Some(figure(subject, |round| round.messages_per_sync)),
                Some(spread(all.map(|round| round.messages_per_second))),
            ],
        );
    }
    let rate = |subject| figure(subject, |round| round.messages_per_second);
    section.notes.push(format!(
        "64 producers over one: {:.1} direct, {:.1} usual; direct over usual: {:.2} with one, \
         {:.2} with 64",
        rate(1) / rate(0),
        rate(3) / rate(2),
        rate(0) / rate(2),
        rate(1) / rate(3)
    ));
    section
}
