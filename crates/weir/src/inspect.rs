//! `weir inspect`: whether a data directory that nobody uses is whole, and what it holds.
//!
//! The work is `storage::inspect`; here is how it is asked for and how it is told.

mod json;
mod text;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use storage::CompioDisk;
use storage::inspect::{BatchPlace, Inspection, PartitionPlace, inspect};
use ws::{RuntimeOptions, build_runtime};

/// Exit code for damage; 1 is for whatever kept the directory from being read.
const DAMAGED: u8 = 2;

/// Verifies a data directory that no server uses and lists what it holds, changing nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0: sound; a torn tail is, the next start cuts it. 2: corruption \
                        was found. 1: the directory could not be read."
)]
pub(crate) struct Arguments {
    /// Data directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON, one value in a line: the report, after the batches if these are asked for.
    #[arg(long)]
    json: bool,
    /// Print a line for each batch first.
    #[arg(long)]
    dump: bool,
    /// Read only this partition.
    #[arg(long, value_name = "STREAM/TOPIC/PARTITION", value_parser = parse_partition)]
    partition: Option<PartitionPlace>,
}

fn parse_partition(text: &str) -> Result<PartitionPlace, String> {
    let ids: Option<Vec<u32>> = text.split('/').map(|id| id.parse().ok()).collect();
    match ids.as_deref() {
        Some(&[stream_id, topic_id, partition_id]) => Ok(PartitionPlace {
            stream_id,
            topic_id,
            partition_id,
        }),
        _ => Err("three numbers like 1/2/0 are expected".to_owned()),
    }
}

/// Inspects and prints; the exit code says whether there is damage.
///
/// # Errors
/// One line that says what could not be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (runtime, _) = build_runtime(&RuntimeOptions::default())?;
    let mut output = BufWriter::new(io::stdout().lock());
    let inspection = runtime.block_on(async {
        let disk = CompioDisk::new();
        let mut print = |batch: BatchPlace<'_>| {
            if !arguments.dump {
                return Ok(());
            }
            let printed = match arguments.json {
                true => writeln!(output, "{}", json::batch(&batch)),
                false => writeln!(output, "{}", text::batch(&batch)),
            };
            printed.map_err(|error| storage::Error::Io {
                operation: "print",
                path: "standard output".into(),
                source: Arc::new(error),
            })
        };
        let result = inspect(&disk, &arguments.directory, arguments.partition, &mut print).await;
        disk.drain().await;
        result
    })?;
    let report = report(arguments, &inspection);
    writeln!(output, "{report}")
        .and_then(|()| output.flush())
        .context("cannot write the report")?;
    Ok(match inspection.corruptions().next() {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::from(DAMAGED),
    })
}

fn report(arguments: &Arguments, inspection: &Inspection) -> String {
    match arguments.json {
        true => json::report(&arguments.directory, inspection).to_string(),
        false => text::report(inspection),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_three_numbers() {
        let parsed = parse_partition("1/2/0").map(|place| place.to_string());
        assert_eq!(parsed.as_deref(), Ok("1/2/0"));
        for text in [
            "",
            "1",
            "1/2",
            "1/2/3/4",
            "a/2/3",
            "1/2/-3",
            "1/2/4294967296",
        ] {
            assert!(parse_partition(text).is_err(), "{text}");
        }
    }
}
