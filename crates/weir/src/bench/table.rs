//! The figures for people.

use std::fmt::Write;

use super::arguments::Kind;
use super::plan::{Plan, SEED_BATCHES_ALL};
use super::report::{Figure, Report, name};

/// A table with a column for each transport, and the ratios of the others to the first.
pub(crate) fn render(report: &Report<'_>) -> String {
    let mut text = String::new();
    let plan = report.plan;
    let columns: Vec<_> = report
        .transports()
        .into_iter()
        .map(|transport| (name(transport), report.summary(transport)))
        .collect();
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{} · server {}", plan.kind.name(), report.server());
    let _ = writeln!(text, "{}\n", workload(plan));
    if let Some(shortened) = seed_shortened(plan) {
        let _ = writeln!(text, "{shortened}\n");
    }
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let _ = writeln!(text, "{}", head(&names));
    let Some((_, first)) = columns.first() else {
        return text;
    };
    for figure in &first.figures {
        let label = match figure.unit {
            "" => figure.name.to_owned(),
            unit => format!("{} [{unit}]", figure.name),
        };
        let _ = write!(text, "{label:<28}");
        let values: Vec<Option<f64>> = columns
            .iter()
            .map(|(_, summary)| find(&summary.figures, figure.name))
            .collect();
        for value in &values {
            match value {
                Some(value) => drop(write!(text, "{:>14}", number(*value))),
                None => drop(write!(text, "{:>14}", "-")),
            }
        }
        for value in values.iter().skip(1) {
            match (values[0], value) {
                (Some(first), Some(value)) if first > 0.0 => {
                    let _ = write!(text, "{:>14.2}", value / first);
                }
                _ => drop(write!(text, "{:>14}", "-")),
            }
        }
        text.push('\n');
    }
    let _ = write!(text, "{:<28}", "spread of rounds");
    for (_, summary) in &columns {
        match summary.spread {
            Some(spread) => drop(write!(text, "{spread:>14.2}")),
            None => drop(write!(text, "{:>14}", "-")),
        }
    }
    text.push('\n');
    if let Some(doubt) = report.doubt() {
        let _ = writeln!(text, "\nCareful: {doubt}.");
    }
    text
}

/// Says it where the first published comparison's workload is asked for and is not run in full.
fn seed_shortened(plan: &Plan) -> Option<String> {
    if !plan.seed_workload {
        return None;
    }
    match plan.batches_of_round() {
        Some(SEED_BATCHES_ALL) => None,
        Some(batches) => Some(format!(
            "The seed's workload shortened: {batches} batches instead of {SEED_BATCHES_ALL}."
        )),
        None => Some("The seed's workload by time instead of by its batches.".to_owned()),
    }
}

fn workload(plan: &Plan) -> String {
    if plan.kind == Kind::IdleConnections {
        return format!(
            "{} connections that have logged in and wait",
            plan.connections
        );
    }
    let rate = match plan.rate_bytes {
        Some(rate) => format!("{} MB/s for each actor", rate / 1e6),
        None => "as fast as it goes".to_owned(),
    };
    format!(
        "{} messages of {} in a batch · {rate} · {}{}{}",
        plan.messages_per_batch,
        sizes(plan.message_bytes.clone()),
        plan.durability,
        if plan.tls { " · TLS" } else { "" },
        if plan.deflate { " · compressed" } else { "" },
    )
}

fn head(names: &[&str]) -> String {
    let mut head = format!("{:<28}", "");
    for name in names {
        let _ = write!(head, "{:>14}", short(name));
    }
    for name in names.iter().skip(1) {
        let ratio = format!("{} / {}", short(name), short(names[0]));
        let _ = write!(head, "{ratio:>14}");
    }
    head
}

/// A column is narrow.
fn short(transport: &str) -> &str {
    match transport {
        "websocket" => "ws",
        "websocket-bridge" => "bridge",
        other => other,
    }
}

fn find(figures: &[Figure], name: &str) -> Option<f64> {
    figures
        .iter()
        .find(|figure| figure.name == name)
        .map(|figure| figure.value)
}

fn sizes(bytes: std::ops::RangeInclusive<u32>) -> String {
    if bytes.start() == bytes.end() {
        format!("{} bytes", bytes.end())
    } else {
        format!("{} to {} bytes", bytes.start(), bytes.end())
    }
}

/// Three digits that matter, without an exponent.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_three_digits() {
        let shown: Vec<String> = [1_234.5, 100.0, 99.96, 1.234, 0.0].map(number).to_vec();
        assert_eq!(shown, ["1234", "100", "100.0", "1.23", "0.00"]);
    }
}
