//! One producer that waits for each acknowledgement, beside the bare disk with writes of the same
//! size, both in both designs.

use std::time::Instant;

use bytes::BytesMut;
use storage::PartitionLog;

use super::floor::Floor;
use super::report::Section;
use super::samples::Samples;
use super::{Design, Stage, batch};

/// Not measured, at the start of each round.
const WARM_UP: usize = 8;

/// A size of batches, and how many of them a round has.
struct Size {
    title: &'static str,
    name: &'static str,
    messages: usize,
    payload_bytes: usize,
    samples: usize,
    /// Over the floor, at the median and at the 99th of 100.
    goal: f64,
}

const SIZES: [Size; 2] = [
    Size {
        title: "1 message of 3,700 B",
        name: "small",
        messages: 1,
        payload_bytes: 3_700,
        samples: 400,
        goal: 2.0,
    },
    Size {
        title: "1,000 messages of 1,000 B",
        name: "large",
        messages: 1_000,
        payload_bytes: 1_000,
        samples: 60,
        goal: 1.5,
    },
];

pub(super) async fn measure(stage: &Stage) -> anyhow::Result<Vec<Section>> {
    let mut sections = Vec::new();
    for size in &SIZES {
        sections.push(measure_size(stage, size).await?);
    }
    Ok(sections)
}

async fn measure_size(stage: &Stage, size: &Size) -> anyhow::Result<Section> {
    let batch = batch(size.messages, size.payload_bytes);
    let mut logs = Vec::new();
    for design in Design::ALL {
        let name = format!("{}-{design:?}", size.name);
        logs.push((stage.log(&name, design.options()).await?, name));
    }
    let mut floors = [Samples::default(), Samples::default()];
    let mut appends = [Samples::default(), Samples::default()];
    for round in 0..stage.rounds {
        for subject in stage.order(round, 2 * Design::ALL.len()) {
            let number = subject / 2;
            if subject.is_multiple_of(2) {
                write(
                    stage,
                    Design::ALL[number],
                    &batch,
                    size,
                    &mut floors[number],
                )?;
            } else {
                append(&logs[number].0, &batch, size.samples, &mut appends[number]).await?;
            }
        }
    }
    for (log, name) in logs {
        log.close().await?;
        stage.remove(&name).await?;
    }
    Ok(section(size, &floors, &appends))
}

fn write(
    stage: &Stage,
    design: Design,
    batch: &BytesMut,
    size: &Size,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let path = stage.directory.join("floor");
    let mut floor = Floor::new(&path, design, batch.len(), size.samples + WARM_UP)?;
    samples.begin_round();
    for number in 0..size.samples + WARM_UP {
        let took = floor.write()?;
        if number >= WARM_UP {
            samples.add(took);
        }
    }
    Ok(())
}

async fn append(
    log: &PartitionLog,
    batch: &BytesMut,
    count: usize,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    samples.begin_round();
    for number in 0..count + WARM_UP {
        // The copy is not part of it: a producer's batch comes from the network.
        let batch = batch.clone();
        let begun = Instant::now();
        log.append(batch, 0).await?;
        let took = begun.elapsed();
        if number >= WARM_UP {
            samples.add(took);
        }
    }
    Ok(())
}

fn section(size: &Size, floors: &[Samples; 2], appends: &[Samples; 2]) -> Section {
    let mut section = Section {
        title: size.title,
        names: &[
            "p50 us",
            "p99 us",
            "p50 over floor",
            "p99 over floor",
            "spread",
        ],
        rows: Vec::new(),
        notes: Vec::new(),
    };
    for (number, design) in Design::ALL.into_iter().enumerate() {
        let (floor, log) = (&floors[number], &appends[number]);
        let [p50, p99] = [0.5, 0.99];
        section.row(
            format!("disk: {}", design.name()),
            &[
                Some(floor.quantile_us(p50)),
                Some(floor.quantile_us(p99)),
                None,
                None,
                Some(floor.spread()),
            ],
        );
        section.row(
            format!("log:  {}", design.name()),
            &[
                Some(log.quantile_us(p50)),
                Some(log.quantile_us(p99)),
                Some(log.quantile_us(p50) / floor.quantile_us(p50)),
                Some(log.quantile_us(p99) / floor.quantile_us(p99)),
                Some(log.spread()),
            ],
        );
    }
    let gain = |quantile| appends[1].quantile_us(quantile) / appends[0].quantile_us(quantile);
    section.notes.push(format!(
        "the usual design over direct: {:.2} at p50, {:.2} at p99; goal over the floor: {}",
        gain(0.5),
        gain(0.99),
        size.goal
    ));
    section
}
