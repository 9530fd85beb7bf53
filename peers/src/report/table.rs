//! The tables, as Markdown that is also readable in a terminal.

use std::fmt::Write;

use super::{Chapter, Comparison, Line, Ratios};
use crate::scenario::Kind;
use crate::servers::Family;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

pub(crate) fn render(comparison: &Comparison<'_>) -> String {
    let mut text = String::new();
    for chapter in comparison
        .chapters
        .iter()
        .filter(|one| !one.lines.is_empty())
    {
        let title = chapter.scenario.title;
        let name = chapter.scenario.name;
        let _ = writeln!(text, "### {title} (`{name}`)\n");
        let rows = match chapter.scenario.kind {
            Kind::Idle => memory_rows(chapter),
            Kind::Echo { .. } | Kind::Broadcast => speed_rows(chapter),
        };
        align(&mut text, &rows);
        text.push('\n');
        failures(&mut text, chapter);
    }
    text
}

fn speed_rows(chapter: &Chapter<'_>) -> Vec<Vec<String>> {
    let head = [
        "server",
        "CPU µs/msg",
        "min–max",
        "× raw",
        "× ring",
        "× best peer",
        "msg/s",
        "load",
        "p50 µs",
        "p99 µs",
        "peak MiB",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for line in &chapter.lines {
        let Some(figures) = &line.figures else {
            continue;
        };
        let Some(speed) = &figures.speed else {
            continue;
        };
        let mut row = vec![
            name(line),
            number(speed.cpu_us_per_message),
            format!(
                "{}–{}",
                number(speed.cpu_us_per_message_min),
                number(speed.cpu_us_per_message_max)
            ),
        ];
        row.extend(ratios(&line.ratios));
        row.extend([
            number(speed.messages_per_second),
            format!("{:.0} %", speed.server_load * 100.0),
            number(speed.p50_us),
            number(speed.p99_us),
            number(figures.peak_resident_bytes / MEBIBYTE),
        ]);
        rows.push(row);
    }
    rows
}

fn memory_rows(chapter: &Chapter<'_>) -> Vec<Vec<String>> {
    let head = [
        "server",
        "bytes/connection",
        "× raw",
        "× ring",
        "× best peer",
        "peak MiB",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for line in &chapter.lines {
        let Some(figures) = &line.figures else {
            continue;
        };
        let mut row = vec![name(line), number(figures.idle_bytes_per_connection)];
        row.extend(ratios(&line.ratios));
        row.push(number(figures.peak_resident_bytes / MEBIBYTE));
        rows.push(row);
    }
    rows
}

fn name(line: &Line<'_>) -> String {
    match line.server.family {
        Family::Ours => format!("**{}**", line.server.name),
        Family::Raw | Family::Variant | Family::Peer => line.server.name.into(),
    }
}

fn ratios(ratios: &Ratios) -> [String; 3] {
    [
        ratios.to_raw_on_runtime,
        ratios.to_raw_ring,
        ratios.to_best_peer,
    ]
    .map(|ratio| ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}")))
}

fn failures(text: &mut String, chapter: &Chapter<'_>) {
    for line in &chapter.lines {
        if let Some(failure) = line.outcome.failures.first() {
            let (name, count) = (line.server.name, line.outcome.failures.len());
            let _ = writeln!(text, "{name} failed {count} times: {failure}\n");
        }
    }
}

/// Three significant digits, groups of thousands.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

fn align(text: &mut String, rows: &[Vec<String>]) {
    let columns_count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns_count).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                let _ = match column {
                    0 => write!(text, "|{dashes}-"),
                    _ => write!(text, "|{dashes}:"),
                };
            }
            text.push_str("|\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_digits_and_groups() {
        for (value, text) in [
            (0.0871, "0.087"),
            (6.0, "6.00"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1_234_567.8, "1,234,568"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
