//! The figures for people.

use std::fmt::Write;

use super::report::{Figure, Report, name};

/// A table with a column for each transport, and the ratio when there are two.
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
    let _ = writeln!(
        text,
        "{} messages of {} in a batch · {} · {}\n",
        plan.messages_per_batch,
        sizes(plan.message_bytes.clone()),
        match plan.rate_bytes {
            Some(rate) => format!("{} MB/s for each actor", rate / 1e6),
            None => "as fast as it goes".to_owned(),
        },
        plan.durability,
    );
    let mut head = format!("{:<28}", "");
    for (name, _) in &columns {
        let _ = write!(head, "{name:>14}");
    }
    if columns.len() == 2 {
        let _ = write!(head, "{:>14}", "ws / tcp");
    }
    let _ = writeln!(text, "{head}");
    let Some((_, first)) = columns.first() else {
        return text;
    };
    for figure in &first.figures {
        let _ = write!(text, "{:<28}", format!("{} [{}]", figure.name, figure.unit));
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
        if let [Some(tcp), Some(websocket)] = values[..]
            && tcp > 0.0
        {
            let _ = write!(text, "{:>14.2}", websocket / tcp);
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
