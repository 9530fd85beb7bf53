//! `weir doctor`: how the machine suits a server. The measuring is `storage::doctor`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use storage::CompioDisk;
use storage::doctor::{Diagnosis, Latency, Way, diagnose};
use storage::limits::DOCTOR_SAMPLES_MAX;
use ws::{RuntimeOptions, build_runtime};

use crate::table::Table;

/// Version of the JSON's fields: higher when one changes its meaning or goes away.
const VERSION: u32 = 1;

/// How this machine suits a server.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Measure durable writes in a directory, and say which way to write suits its disk.
    Disk(Disk),
}

#[derive(Debug, clap::Args)]
struct Disk {
    /// Directory on the disk in question, such as the data directory; a scratch file is written
    /// there and removed.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Writes of each way and size.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = parse_samples)]
    samples: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_samples(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(samples) if (1..=DOCTOR_SAMPLES_MAX).contains(&samples) => Ok(samples),
        _ => Err(format!("1 to {DOCTOR_SAMPLES_MAX} are possible")),
    }
}

/// Measures and prints.
///
/// # Errors
/// One line that says what could not be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Part::Disk(arguments) = &arguments.part;
    let (runtime, _) = build_runtime(&RuntimeOptions::default())?;
    let start = Instant::now();
    let diagnosis = runtime.block_on(async {
        let disk = CompioDisk::new();
        let now = || start.elapsed();
        let result = diagnose(&disk, &arguments.directory, arguments.samples, now).await;
        disk.drain().await;
        result
    })?;
    let text = match arguments.json {
        true => render_json(&arguments.directory, arguments.samples, &diagnosis).to_string(),
        false => render_text(&diagnosis),
    };
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")
        .and_then(|()| output.flush())
        .context("cannot write the report")
}

fn render_text(diagnosis: &Diagnosis) -> String {
    let mut table = Table::new(&["durable write", "bytes", "p50 ms", "p99 ms", "max ms"]);
    for latency in &diagnosis.latencies {
        let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1e3);
        table.row(&[
            way_text(latency.way).to_owned(),
            latency.bytes.to_string(),
            milliseconds(latency.p50),
            milliseconds(latency.p99),
            milliseconds(latency.max),
        ]);
    }
    let mut text = table.render();
    text.push_str(&format!(
        "\nmode     {}: {}",
        diagnosis.choice.mode, diagnosis.choice.reason
    ));
    if let Some(warning) = diagnosis.warning {
        text.push_str(&format!("\nwarning  {warning}"));
    }
    text
}

fn render_json(directory: &Path, samples: usize, diagnosis: &Diagnosis) -> Value {
    let microseconds = |time: Duration| time.as_nanos() as f64 / 1e3;
    let latency = |latency: &Latency| {
        json!({
            "way": way_name(latency.way),
            "bytes": latency.bytes,
            "p50_us": microseconds(latency.p50),
            "p99_us": microseconds(latency.p99),
            "max_us": microseconds(latency.max),
        })
    };
    json!({
        "version": VERSION,
        "directory": directory.display().to_string(),
        "samples": samples,
        "mode": diagnosis.choice.mode.to_string(),
        "reason": diagnosis.choice.reason,
        "warning": diagnosis.warning,
        "latencies": diagnosis.latencies.iter().map(latency).collect::<Vec<_>>(),
    })
}

fn way_text(way: Way) -> &'static str {
    match way {
        Way::BufferedAppend => "buffered, appended",
        Way::BufferedOverZeros => "buffered, over zeros",
        Way::DirectOverZeros => "direct, over zeros",
        Way::DirectIntoReserved => "direct, into reserved space",
    }
}

fn way_name(way: Way) -> &'static str {
    match way {
        Way::BufferedAppend => "buffered_append",
        Way::BufferedOverZeros => "buffered_over_zeros",
        Way::DirectOverZeros => "direct_over_zeros",
        Way::DirectIntoReserved => "direct_into_reserved",
    }
}
