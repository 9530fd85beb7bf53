//! The same producers through a server of this binary, over TCP, beside the bare disk.

use std::path::Path;

use anyhow::Context;
use clap::Parser;
use client::TransportKind;

use super::batch;
use super::floor::{Floor, Way};
use super::report::Section;
use super::samples::{self, Samples, spread};
use crate::bench::arguments::Arguments;
use crate::bench::plan::Plan;
use crate::bench::process::{self, Server};
use crate::bench::progress::Progress;
use crate::bench::round::{self, Outcome};

/// As `weir bench` itself reads a command line.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What producers send, and the write of the disk that one batch of it corresponds to.
struct Work {
    name: &'static str,
    kind: &'static str,
    producers: usize,
    messages: usize,
    payload_bytes: usize,
    /// Of each producer in a round.
    batches: usize,
}

const WORKS: [Work; 4] = [
    Work {
        name: "1 producer, 1 message of 3,700 B",
        kind: "pinned-producer",
        producers: 1,
        messages: 1,
        payload_bytes: 3_700,
        batches: 1_000,
    },
    Work {
        name: "1 producer, 1,000 messages of 1,000 B",
        kind: "pinned-producer",
        producers: 1,
        messages: 1_000,
        payload_bytes: 1_000,
        batches: 200,
    },
    Work {
        name: "1 producer, 1 message of 1,000 B",
        kind: "balanced-producer",
        producers: 1,
        messages: 1,
        payload_bytes: 1_000,
        batches: 1_000,
    },
    Work {
        name: "64 producers, 1 message of 1,000 B",
        kind: "balanced-producer",
        producers: 64,
        messages: 1,
        payload_bytes: 1_000,
        batches: 400,
    },
];

#[derive(Default)]
struct Measured {
    floor: Samples,
    /// Microseconds and messages a second, of each round.
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    messages_per_second: Vec<f64>,
    /// Where the server tells them.
    syncs_per_second: Vec<f64>,
}

pub(super) fn measure(directory: &Path, rounds: usize) -> anyhow::Result<Vec<Section>> {
    let data = directory.join("served");
    let server = Server::spawn(&line(&WORKS[0], &data)?)?;
    let mut measured: Vec<Measured> = WORKS.iter().map(|_| Measured::default()).collect();
    for round in 0..rounds {
        for (work, measured) in WORKS.iter().zip(&mut measured) {
            write(directory, work, &mut measured.floor)?;
            produce(&server, work, &data, round, measured)?;
        }
    }
    let description = server.description.clone();
    server.stop()?;
    Ok(vec![section(&measured, &description)])
}

fn line(work: &Work, data: &Path) -> anyhow::Result<Arguments> {
    let data = data.to_str().context("a path that is text")?;
    let numbers = [
        work.producers,
        work.messages,
        work.payload_bytes,
        work.batches,
    ];
    let [producers, messages, payload_bytes, batches] = numbers.map(|number| number.to_string());
    let words = [
        "bench",
        work.kind,
        "tcp",
        "--unlimited",
        "--warm-up=0",
        "--partitions=1",
        "--data-dir",
        data,
        "--producers",
        &producers,
        "--messages-per-batch",
        &messages,
        "--message-size",
        &payload_bytes,
        "--batches",
        &batches,
    ];
    Ok(Line::try_parse_from(words)?.arguments)
}

/// The disk alone, with writes of the size of one batch.
fn write(directory: &Path, work: &Work, samples: &mut Samples) -> anyhow::Result<()> {
    let bytes = batch(work.messages, work.payload_bytes).len();
    let count = work.batches.min(200);
    let mut floor = Floor::new(&directory.join("floor"), Way::OverZeros, bytes, count)?;
    samples.begin_round();
    for _ in 0..count {
        samples.add(floor.write()?);
    }
    Ok(())
}

fn produce(
    server: &Server,
    work: &Work,
    data: &Path,
    round: usize,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let plan = Plan::new(&line(work, data)?)?;
    process::pin_to(&plan.client_cores)?;
    let number = u32::try_from(round).unwrap_or(u32::MAX);
    let progress = Progress::new(&plan);
    let round = round::run(&plan, server, TransportKind::Tcp, number, &progress)?;
    let Outcome::Load { producers, .. } = round.result else {
        anyhow::bail!("no producer was measured");
    };
    let mut total = producers[0].clone();
    producers[1..].iter().for_each(|one| total.add(one));
    let quantile = |quantile| total.latencies.value_at_quantile(quantile) as f64 / 1e3;
    measured.p50_us.push(quantile(0.5));
    measured.p99_us.push(quantile(0.99));
    let seconds = total.elapsed().as_secs_f64();
    let rate = total.messages as f64 / seconds;
    measured.messages_per_second.push(rate);
    let syncs = round.syncs.map(|syncs| syncs as f64 / seconds);
    measured.syncs_per_second.extend(syncs);
    Ok(())
}

fn section(measured: &[Measured], description: &str) -> Section {
    let mut section = Section {
        title: "through a server, TCP",
        names: &[
            "messages/s",
            "syncs/s",
            "p50 us",
            "p99 us",
            "disk p50 us",
            "disk p99 us",
            "p50 over disk",
            "spread",
        ],
        rows: Vec::new(),
        notes: Vec::new(),
    };
    let median = |figures: &[f64]| (!figures.is_empty()).then(|| samples::median(figures));
    for (work, measured) in WORKS.iter().zip(measured) {
        let p50 = samples::median(&measured.p50_us);
        let floor = measured.floor.quantile_us(0.5);
        section.row(
            work.name,
            &[
                median(&measured.messages_per_second),
                median(&measured.syncs_per_second),
                Some(p50),
                median(&measured.p99_us),
                Some(floor),
                Some(measured.floor.quantile_us(0.99)),
                Some(p50 / floor),
                Some(spread(measured.p50_us.iter().copied())),
            ],
        );
    }
    let rate = |at: usize| samples::median(&measured[at].messages_per_second);
    section.notes.push(format!(
        "{description}; 64 producers over one: {:.1}",
        rate(3) / rate(2)
    ));
    section
}
