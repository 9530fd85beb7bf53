//! `weir bench report`: draws a saved run, or two beside each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::figures;
use super::saved::{Run, Saved, label};
use super::{Pictures, draw_saved};

/// Draw a saved run, or compare two.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// What --json wrote.
    run: PathBuf,
    /// Another run, which is compared with the first.
    other: Option<PathBuf>,
    #[command(flatten)]
    pictures: Pictures,
}

/// Prints the tables of the saved runs and draws what is asked for.
///
/// # Errors
/// One line that says which file is not a run or cannot be written.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut runs = vec![Saved::open(&arguments.run)?];
    if let Some(other) = &arguments.other {
        runs.push(Saved::open(other)?);
    }
    draw_saved(&arguments.pictures, &runs)?;
    let text = match &runs[..] {
        [one, other] => both(one, other),
        _ => runs.iter().map(single).collect(),
    };
    let mut output = std::io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .context("cannot write the table")
}

/// The transports of one run beside each other.
fn single(saved: &Saved) -> String {
    let run = &saved.run;
    let mut text = format!("{} · server {}\n\n", run.kind, run.server);
    let mut head = vec![if run.has_latencies() {
        "Percentile".to_owned()
    } else {
        "Figure".to_owned()
    }];
    let transports = run.transports();
    for (index, transport) in transports.iter().enumerate() {
        head.push(label(transport));
        if index > 0 {
            head.push(match transports.len() {
                2 => "Difference".to_owned(),
                _ => format!("{} to {}", label(transport), label(transports[0])),
            });
        }
    }
    let rows = names(&[run]).into_iter().map(|name| {
        let values: Vec<Option<f64>> = transports
            .iter()
            .map(|transport| run.figure(transport, name))
            .collect();
        let shown = figures::row(&values, figures::units(name));
        let mut row = vec![figures::label(name)];
        for (index, text) in shown.into_iter().enumerate() {
            row.push(text);
            if index > 0 {
                row.push(match (values[0], values[index]) {
                    (Some(from), Some(to)) => figures::difference(from, to, figures::units(name)),
                    _ => "-".to_owned(),
                });
            }
        }
        row
    });
    text.push_str(&table(&head, rows.collect()));
    if let Some(doubt) = &run.doubt {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "\nCareful: {doubt}.");
    }
    text
}

/// Each transport that both runs have, the second run over the first.
fn both(one: &Saved, other: &Saved) -> String {
    let mut text = format!("A {} · {}\n", one.name, one.run.kind);
    // Writing into a String cannot fail.
    let _ = writeln!(text, "B {} · {}", other.name, other.run.kind);
    let transports = one.run.transports();
    let shared = transports
        .into_iter()
        .filter(|transport| other.run.summary.contains_key(*transport));
    for transport in shared {
        let title = label(transport);
        let head = [title.clone(), "A".into(), "B".into(), "B / A".into()];
        let rows = names(&[&one.run, &other.run]).into_iter().map(|name| {
            let values = [&one.run, &other.run].map(|run| run.figure(transport, name));
            let mut row = vec![figures::label(name)];
            row.extend(figures::row(&values, figures::units(name)));
            row.push(match values {
                [Some(from), Some(to)] if from > 0.0 => figures::ratio(to / from),
                _ => "-".to_owned(),
            });
            row
        });
        let _ = write!(text, "\n{}", table(&head, rows.collect()));
    }
    for (index, reason) in careful(one, other).iter().enumerate() {
        let space = if index == 0 { "\n" } else { "" };
        let _ = writeln!(text, "{space}Careful: {reason}.");
    }
    text
}

/// Why two runs should not be compared, or not in all.
fn careful(one: &Saved, other: &Saved) -> Vec<String> {
    let mut reasons = Vec::new();
    for (letter, saved) in [("A", one), ("B", other)] {
        if let Some(doubt) = &saved.run.doubt {
            reasons.push(format!("in {letter} {doubt}"));
        }
    }
    if one.run.kind != other.run.kind {
        reasons.push("the runs are of different kinds".to_owned());
    }
    let (ours, theirs) = (&one.run.parameters, &other.run.parameters);
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differing: Vec<String> = names
        .into_iter()
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .map(|name| name.replace('_', " "))
        .collect();
    if !differing.is_empty() {
        reasons.push(format!("the runs differ in {}", differing.join(", ")));
    }
    if one.run.machine != other.run.machine {
        reasons.push("the runs are of different machines or kernels".to_owned());
    }
    reasons
}

/// The figures of the runs, in the order of a table.
fn names<'a>(runs: &[&'a Run]) -> Vec<&'a str> {
    let all = runs.iter().flat_map(|run| {
        let transports = run.transports();
        transports
            .into_iter()
            .flat_map(|transport| run.summary[transport].keys())
    });
    let names: BTreeSet<&str> = all.map(String::as_str).collect();
    let mut names: Vec<&str> = names.into_iter().filter(|name| *name != "spread").collect();
    names.sort_by_key(|name| (figures::rank(name), *name));
    names
}

/// A table that is readable as it is and that documents take as it is.
fn table(head: &[String], rows: Vec<Vec<String>>) -> String {
    let lines: Vec<&[String]> = std::iter::once(head)
        .chain(rows.iter().map(Vec::as_slice))
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Writing into a String cannot fail.
            let _ = match column {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = match column {
                    0 => write!(text, "| {:-<width$} |", ""),
                    _ => write!(text, " {:->1$}: |", "", width - 1),
                };
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::visual::saved::tests::sample;

    #[test]
    fn one_run_is_a_table_of_its_transports() {
        let expected = "\
pinned-producer · server here

| Percentile   |       TCP | WebSocket |               Difference |
| ------------ | --------: | --------: | -----------------------: |
| Average      |    120 µs |    240 µs | +120 µs (100.0% higher) |
| Median (P50) |    100 µs |    200 µs | +100 µs (100.0% higher) |
| Throughput   | 5.00 MB/s | 5.00 MB/s |                    equal |
";
        let squeeze = |text: &str| text.replace("--", "-").replace("  ", " ");
        let (mut shown, mut expected) = (single(&sample("a")), expected.to_owned());
        for _ in 0..8 {
            shown = squeeze(&shown);
            expected = squeeze(&expected);
        }
        assert_eq!(shown, expected);
    }

    #[test]
    fn two_runs_are_ratios_of_each_transport() {
        let mut json = sample("b").json;
        json["summary"]["tcp"]["avg"] = json!(60.0);
        json["parameters"]["producers"] = json!(4);
        let text = both(
            &sample("a.json"),
            &Saved::new("b.json".to_owned(), json).expect("a run"),
        );
        assert!(
            text.contains("| Average      |    120 µs |   60.0 µs |  0.50 |"),
            "{text}"
        );
        assert!(text.contains("| WebSocket    |"), "{text}");
        assert!(
            text.ends_with("\nCareful: the runs differ in producers.\n"),
            "{text}"
        );
    }
}
