//! Numbers for people: three digits that matter, with a unit. The page does the same in
//! `page/figures.js`.

/// Units of one measure, smallest first, each with its size.
pub(crate) type Units = &'static [(&'static str, f64)];

pub(crate) const MICROSECONDS: Units = &[("µs", 1.0), ("ms", 1e3), ("s", 1e6)];
pub(crate) const MEGABYTES: Units = &[("kB/s", 1e-3), ("MB/s", 1.0), ("GB/s", 1e3)];
pub(crate) const BYTES: Units = &[
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];
const MEBIBYTES: Units = &[("MiB", 1.0), ("GiB", 1024.0)];
pub(crate) const PER_SECOND: Units = &[("/s", 1.0)];
pub(crate) const PERCENT: Units = &[("%", 1.0)];
const COUNT: Units = &[("", 1.0)];

/// Values further apart than this are each shown in their own unit.
const APART_MAX: f64 = 500.0;

/// Members of a summary in the order in which they are shown, with labels and units.
const KNOWN: &[(&str, &str, Units)] = &[
    ("avg", "Average", MICROSECONDS),
    ("p50", "Median (P50)", MICROSECONDS),
    ("p95", "P95", MICROSECONDS),
    ("p99", "P99", MICROSECONDS),
    ("p999", "P999", MICROSECONDS),
    ("p9999", "P9999", MICROSECONDS),
    ("max", "Max", MICROSECONDS),
    ("min", "Min", MICROSECONDS),
    ("std_dev", "Standard deviation", MICROSECONDS),
    ("throughput", "Throughput", MEGABYTES),
    ("messages_per_second", "Messages", PER_SECOND),
    ("batches_per_second", "Batches", PER_SECOND),
    ("server_cpu_per_batch", "Server CPU per batch", MICROSECONDS),
    ("client_cpu_per_batch", "Client CPU per batch", MICROSECONDS),
    (
        "server_cpu_per_message",
        "Server CPU per message",
        MICROSECONDS,
    ),
    (
        "client_cpu_per_message",
        "Client CPU per message",
        MICROSECONDS,
    ),
    ("syncs_per_second", "Syncs", PER_SECOND),
    ("batches_per_sync", "Batches per sync", COUNT),
    ("server_peak_memory", "Server peak memory", MEBIBYTES),
    (
        "server_bytes_per_connection",
        "Server memory per connection",
        BYTES,
    ),
    ("connections_per_second", "Connections opened", PER_SECOND),
];

/// Where a figure stands in a table; unknown ones come last.
pub(crate) fn rank(name: &str) -> usize {
    let known = KNOWN.iter().position(|(other, ..)| *other == name);
    known.unwrap_or(KNOWN.len())
}

pub(crate) fn label(name: &str) -> String {
    match KNOWN.get(rank(name)) {
        Some((_, label, _)) => (*label).to_owned(),
        None => sentence(name),
    }
}

pub(crate) fn units(name: &str) -> Units {
    match KNOWN.get(rank(name)) {
        Some((_, _, units)) => units,
        None => COUNT,
    }
}

/// `warm_up_seconds` is "Warm up seconds".
pub(crate) fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => words,
    }
}

/// The largest unit in which the value is at least one.
pub(crate) fn unit_for(units: Units, value: f64) -> (&'static str, f64) {
    let fits = |unit: &&(&str, f64)| value.abs() >= unit.1 * 0.9995;
    let found = units.iter().rev().find(fits);
    *found.unwrap_or(&units[0])
}

/// Three digits that matter.
pub(crate) fn digits(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 99.95 || size == 0.0 {
        0
    } else if size >= 9.995 {
        1
    } else if size >= 0.0995 {
        2
    } else {
        3
    };
    grouped(&format!("{value:.decimals$}"))
}

/// Commas between thousands.
fn grouped(number: &str) -> String {
    let (whole, rest) = match number.find('.') {
        Some(point) => number.split_at(point),
        None => (number, ""),
    };
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(whole) => ("-", whole),
        None => ("", whole),
    };
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

pub(crate) fn in_unit(value: f64, (name, size): (&str, f64)) -> String {
    let space = if name.is_empty() { "" } else { " " };
    format!("{}{space}{name}", digits(value / size))
}

/// The values of one row, in one unit unless that would hide the smaller ones.
pub(crate) fn row(values: &[Option<f64>], units: Units) -> Vec<String> {
    let sizes = values.iter().flatten().map(|value| value.abs());
    let (low, high) = sizes
        .filter(|size| *size > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), size| {
            (low.min(size), high.max(size))
        });
    let shown = |value: f64| {
        let by = if high / low < APART_MAX { high } else { value };
        in_unit(value, unit_for(units, by))
    };
    values
        .iter()
        .map(|value| value.map_or_else(|| "-".to_owned(), shown))
        .collect()
}

/// "+0.82 ms (31.4% higher)".
pub(crate) fn difference(from: f64, to: f64, units: Units) -> String {
    let change = to - from;
    if change.abs() <= from.abs() * 0.0005 {
        return "equal".to_owned();
    }
    let (sign, word) = if change < 0.0 {
        ("-", "lower")
    } else {
        ("+", "higher")
    };
    let unit = unit_for(units, from.abs().max(to.abs()));
    let text = format!("{sign}{}", in_unit(change.abs(), unit));
    if from == 0.0 {
        return text;
    }
    let percent = (change / from).abs() * 100.0;
    format!("{text} ({percent:.1}% {word})")
}

/// Two digits behind the point, or two that matter.
pub(crate) fn ratio(value: f64) -> String {
    if value >= 0.095 || value <= 0.0 {
        return format!("{value:.2}");
    }
    let decimals = 1 - value.log10().floor() as i32;
    format!("{value:.*}", decimals.unsigned_abs() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_three_digits() {
        let shown = [1_234_567.0, -1234.4, 100.0, 99.94, 9.994, 0.0994, 0.0].map(digits);
        let expected = ["1,234,567", "-1,234", "100", "99.9", "9.99", "0.099", "0"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_row_has_one_unit() {
        let shown = |values: [f64; 2], units| row(&values.map(Some), units).join(" | ");
        assert_eq!(shown([990.0, 3_430.0], MICROSECONDS), "0.99 ms | 3.43 ms");
        assert_eq!(shown([2.0, 6_484_890.0], BYTES), "2.00 B | 6.18 MiB");
        assert_eq!(row(&[None, Some(1.0)], PER_SECOND), ["-", "1.00 /s"]);
    }

    #[test]
    fn differences_read_like_the_first_published_table() {
        let shown = difference(2_610.0, 3_430.0, MICROSECONDS);
        assert_eq!(shown, "+0.82 ms (31.4% higher)");
        let shown = difference(49.6, 35.5, MEGABYTES);
        assert_eq!(shown, "-14.1 MB/s (28.4% lower)");
        assert_eq!(difference(5.0, 5.001, MEGABYTES), "equal");
        assert_eq!(difference(0.0, 5.0, MEGABYTES), "+5.00 MB/s");
    }

    #[test]
    fn small_ratios_keep_two_digits() {
        let shown = [1.314, 0.97, 0.000_322, 0.0].map(ratio);
        assert_eq!(shown, ["1.31", "0.97", "0.00032", "0.00"]);
    }
}
