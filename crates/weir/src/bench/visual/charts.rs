//! The static charts of saved runs. The page draws the same ones in `page/series.js`.

use super::figures::{self, BYTES, MEGABYTES, MICROSECONDS, PER_SECOND, PERCENT};
use super::saved::{Round, Saved, Second, Total, label};
use super::svg::{Axis, Chart, Layer, Series, Shape};

const HISTOGRAM_BINS: usize = 60;
/// What lies beyond is for the percentile curve; here it would press the rest together.
const HISTOGRAM_PART: f64 = 0.999;
/// Highest over median latency beyond which a linear axis would hide the lower ones.
const LINEAR_REACH_MAX: f64 = 12.0;

/// A series with what it is drawn from.
struct Column<'a> {
    series: Series,
    rounds: Vec<&'a Round>,
    distribution: Distribution,
}

/// Latencies of all rounds: microseconds, batches, and batches until here; ascending.
#[derive(Default)]
struct Distribution(Vec<(f64, u64, u64)>);

/// The charts that the runs have data for, each with a name for its file.
pub(crate) fn all(runs: &[Saved]) -> Vec<(&'static str, String)> {
    let columns = columns(runs);
    let mut kinds: Vec<&str> = runs.iter().map(|saved| saved.run.kind.as_str()).collect();
    kinds.dedup();
    let title = |what: &str| format!("{what}, {}", kinds.join(" and "));
    let charts = if runs.iter().any(|saved| saved.run.has_latencies()) {
        let columns: Vec<Column<'_>> = columns
            .into_iter()
            .filter(|column| !column.distribution.0.is_empty())
            .collect();
        vec![
            ("latency", latency(title("Latency over time"), &columns)),
            (
                "percentiles",
                percentiles(title("Latency by percentile"), &columns),
            ),
            (
                "throughput",
                throughput(title("Throughput over time"), &columns),
            ),
            (
                "histogram",
                histogram(title("Distribution of latency"), &columns),
            ),
        ]
    } else {
        vec![
            ("memory", memory(title("Server memory"), &columns)),
            ("opening", opening(title("Connections opened"), &columns)),
        ]
    };
    let render = |(name, chart): (&'static str, Chart)| (name, chart.render());
    charts.into_iter().map(render).collect()
}

fn columns(runs: &[Saved]) -> Vec<Column<'_>> {
    let mut columns = Vec::new();
    for (index, saved) in runs.iter().enumerate() {
        for transport in saved.run.transports() {
            let rounds = saved.run.rounds_of(transport);
            let letter = if index == 0 { "A" } else { "B" };
            let series = Series {
                label: match runs.len() {
                    1 => label(transport),
                    _ => format!("{} {letter}", label(transport)),
                },
                transport: transport.to_owned(),
                is_second: index > 0,
            };
            columns.push(Column {
                series,
                distribution: Distribution::of(&rounds),
                rounds,
            });
        }
    }
    columns
}

impl Distribution {
    fn of(rounds: &[&Round]) -> Distribution {
        let totals = rounds.iter().filter_map(|round| round.total());
        let mut values: Vec<(f64, u64)> = totals
            .flat_map(|total| total.histogram_us.iter().copied())
            .collect();
        values.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut until = 0;
        let add = |(value, count)| {
            until += count;
            (value, count, until)
        };
        Distribution(values.into_iter().map(add).collect())
    }

    fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, _, until)| *until as f64)
    }

    fn lowest(&self) -> f64 {
        self.0.first().map_or(0.0, |(value, ..)| *value)
    }

    fn highest(&self) -> f64 {
        self.0.last().map_or(0.0, |(value, ..)| *value)
    }

    fn quantile(&self, part: f64) -> f64 {
        let wanted = (part * self.count()).ceil().max(1.0);
        let found = self.0.iter().find(|(.., until)| *until as f64 >= wanted);
        found.map_or(0.0, |(value, ..)| *value)
    }
}

fn chart(title: String, x: Axis, y: Axis, columns: &[Column<'_>]) -> Chart {
    Chart {
        title,
        x,
        y,
        layers: Vec::new(),
        series: columns.iter().map(|column| column.series.clone()).collect(),
        separators: Vec::new(),
    }
}

fn layer(column: &Column<'_>, shape: Shape, points: Vec<Option<(f64, f64)>>) -> Layer {
    Layer {
        series: column.series.clone(),
        shape,
        points,
    }
}

fn latency_axis(columns: &[Column<'_>], low: f64, high: f64) -> Axis {
    let is_wide = columns.iter().any(|column| {
        let distribution = &column.distribution;
        distribution.highest() > LINEAR_REACH_MAX * distribution.quantile(0.5)
    });
    if is_wide && low > 0.0 {
        Axis::log("Latency", low * 0.9, high * 1.15, MICROSECONDS)
    } else {
        Axis::linear("Latency", 0.0, (high * 1.06).max(1e-3), MICROSECONDS)
    }
}

/// Where each round begins when the rounds are shown one after another, and where the last ends.
fn round_starts(columns: &[Column<'_>]) -> Vec<f64> {
    let rounds = columns.iter().map(|column| column.rounds.len()).max();
    let length = |round: usize| {
        let rounds = columns.iter().filter_map(|column| column.rounds.get(round));
        let totals = rounds.filter_map(|round| round.total());
        let seconds = totals.map(|total| total.each_second.len()).max();
        seconds.unwrap_or(0).max(1) as f64
    };
    let mut starts = vec![0.0];
    for round in 0..rounds.unwrap_or(0) {
        starts.push(starts[round] + length(round));
    }
    starts
}

fn time_axis(starts: &[f64]) -> Axis {
    let title = if starts.len() > 2 {
        "Measured time, rounds in turn"
    } else {
        "Measured time"
    };
    let end = starts.last().copied().unwrap_or(1.0).max(1.0);
    Axis::linear(title, 0.0, end, &[("s", 1.0)])
}

fn separators(starts: &[f64]) -> Vec<(f64, String)> {
    let rounds = starts.len() - 1;
    let named = |(round, at): (usize, &f64)| (*at, format!("round {}", round + 1));
    match rounds {
        0 | 1 => Vec::new(),
        _ => starts[..rounds].iter().enumerate().map(named).collect(),
    }
}

/// A value of each second, with gaps between rounds.
fn over_time(
    column: &Column<'_>,
    starts: &[f64],
    value: impl Fn(&Total, usize, &Second) -> Option<f64>,
) -> Vec<Option<(f64, f64)>> {
    let mut points = Vec::new();
    for (round, start) in column.rounds.iter().zip(starts) {
        points.push(None);
        let Some(total) = round.total() else { continue };
        for (index, second) in total.each_second.iter().enumerate() {
            let at = start + index as f64 + 0.5;
            points.push(value(total, index, second).map(|value| (at, value)));
        }
    }
    points
}

fn latency(title: String, columns: &[Column<'_>]) -> Chart {
    let starts = round_starts(columns);
    let mut layers = Vec::new();
    for column in columns {
        let highest = over_time(column, &starts, |_, _, second| {
            (second.batches > 0).then_some(second.latency_max_us)
        });
        let average = over_time(column, &starts, |_, _, second| {
            (second.batches > 0).then_some(second.latency_avg_us)
        });
        layers.push(layer(column, Shape::Fine, highest));
        layers.push(layer(column, Shape::Marked, average));
    }
    let points = layers
        .iter()
        .flat_map(|layer| layer.points.iter().flatten());
    let (low, high) = points.fold((f64::INFINITY, 0.0_f64), |(low, high), (_, value)| {
        (low.min(*value), high.max(*value))
    });
    let mut axis = latency_axis(columns, low, high);
    axis.title = format!("{}, highest dotted", axis.title);
    Chart {
        layers,
        separators: separators(&starts),
        ..chart(title, time_axis(&starts), axis, columns)
    }
}

fn throughput(title: String, columns: &[Column<'_>]) -> Chart {
    let starts = round_starts(columns);
    // A second that is cut short by more than half says little about a rate.
    let rate = |total: &Total, index: usize, second: &Second| {
        let length = (total.seconds - index as f64).min(1.0);
        let is_kept = length >= 0.5 || index == 0;
        is_kept.then(|| second.payload_bytes as f64 / 1e6 / length.max(1e-3))
    };
    let layers: Vec<Layer> = columns
        .iter()
        .map(|column| layer(column, Shape::Marked, over_time(column, &starts, rate)))
        .collect();
    let points = layers
        .iter()
        .flat_map(|layer| layer.points.iter().flatten());
    let high = points.map(|(_, value)| *value).fold(1e-9, f64::max);
    let y = Axis::linear("Throughput", 0.0, high * 1.06, MEGABYTES);
    Chart {
        layers,
        separators: separators(&starts),
        ..chart(title, time_axis(&starts), y, columns)
    }
}

/// 0.99 is 2, 0.999 is 3.
fn nines(part: f64) -> f64 {
    -(1.0 - part).log10()
}

fn percentiles(title: String, columns: &[Column<'_>]) -> Chart {
    let counts = columns.iter().map(|column| column.distribution.count());
    let end = counts.map(f64::log10).fold(1.0, f64::max);
    let layers = columns.iter().map(|column| {
        let count = column.distribution.count();
        let mut from = 0.0;
        let mut points = Vec::new();
        for (value, _, until) in &column.distribution.0 {
            let to = nines(*until as f64 / count).min(count.log10());
            points.extend([Some((from, *value)), Some((to, *value))]);
            from = to;
        }
        layer(column, Shape::Curve, points)
    });
    let names = [
        (0.5, "50%"),
        (0.9, "90%"),
        (0.99, "99%"),
        (0.999, "99.9%"),
        (0.9999, "99.99%"),
        (0.99999, "99.999%"),
        (0.999999, "99.9999%"),
    ];
    let ticks = names
        .iter()
        .map(|(part, name)| (nines(*part), (*name).to_owned()))
        .filter(|(place, _)| *place <= end + 1e-9);
    let x = Axis {
        title: "Percentile (1 − 10⁻ˣ scale)".to_owned(),
        is_log: false,
        from: 0.0,
        to: end,
        ticks: ticks.collect(),
    };
    let distributions = || columns.iter().map(|column| &column.distribution);
    let low = distributions().map(Distribution::lowest);
    let high = distributions().map(Distribution::highest);
    let y = latency_axis(
        columns,
        low.fold(f64::INFINITY, f64::min),
        high.fold(0.0, f64::max),
    );
    Chart {
        layers: layers.collect(),
        ..chart(title, x, y, columns)
    }
}

fn histogram(title: String, columns: &[Column<'_>]) -> Chart {
    let distributions = || columns.iter().map(|column| &column.distribution);
    let ends = distributions().map(|distribution| distribution.quantile(HISTOGRAM_PART));
    let high = ends.fold(1e-3, f64::max) * 1.02;
    let lows = distributions().map(Distribution::lowest);
    let low = lows.fold(high / 1.1, f64::min).max(1e-3) * 0.98;
    let is_log = high / low > 8.0;
    let edge = |index: usize| {
        let part = index as f64 / HISTOGRAM_BINS as f64;
        if is_log {
            low * (high / low).powf(part)
        } else {
            low + (high - low) * part
        }
    };
    let edges: Vec<f64> = (0..=HISTOGRAM_BINS).map(edge).collect();
    let shares: Vec<Vec<f64>> = distributions()
        .map(|distribution| shares(distribution, &edges))
        .collect();
    let top = shares.iter().flatten().copied().fold(1e-9, f64::max);
    let layers = columns.iter().zip(&shares).map(|(column, shares)| {
        let points = shares
            .iter()
            .enumerate()
            .flat_map(|(index, share)| [(edges[index], *share), (edges[index + 1], *share)]);
        layer(column, Shape::Area, points.map(Some).collect())
    });
    let x = if is_log {
        Axis::log("Latency", low, high, MICROSECONDS)
    } else {
        Axis::linear("Latency", low, high, MICROSECONDS)
    };
    let y = Axis::linear("Share of batches", 0.0, top * 1.06, PERCENT);
    Chart {
        layers: layers.collect(),
        ..chart(title, x, y, columns)
    }
}

/// Percent of the batches between each edge and the next.
fn shares(distribution: &Distribution, edges: &[f64]) -> Vec<f64> {
    let mut shares = vec![0.0; edges.len() - 1];
    for (value, count, _) in &distribution.0 {
        // The first edge lies below all values; what is beyond the last is left out.
        let index = edges[1..].partition_point(|edge| edge < value);
        if let Some(share) = shares.get_mut(index) {
            *share += *count as f64 * 100.0 / distribution.count();
        }
    }
    shares
}

fn memory(title: String, columns: &[Column<'_>]) -> Chart {
    bars(title, "Memory per connection", BYTES, columns, |round| {
        let cost = round.server.as_ref()?;
        let grown = cost.resident_after_bytes as f64 - cost.resident_before_bytes as f64;
        Some(grown / f64::from(round.connections?))
    })
}

fn opening(title: String, columns: &[Column<'_>]) -> Chart {
    bars(title, "Connections", PER_SECOND, columns, |round| {
        Some(f64::from(round.connections?) / round.connecting_seconds.filter(|time| *time > 0.0)?)
    })
}

/// One bar for each round of each series.
fn bars(
    title: String,
    name: &str,
    units: figures::Units,
    columns: &[Column<'_>],
    value: impl Fn(&Round) -> Option<f64>,
) -> Chart {
    let width = 0.8 / columns.len().max(1) as f64;
    let mut layers = Vec::new();
    let (mut low, mut high) = (0.0_f64, 0.0_f64);
    for (index, column) in columns.iter().enumerate() {
        for (number, round) in column.rounds.iter().enumerate() {
            let Some(value) = value(round) else { continue };
            let at = number as f64 + 0.6 + index as f64 * width;
            let points = [(at, value), (at + width * 0.92, value)];
            layers.push(layer(column, Shape::Area, points.map(Some).to_vec()));
            low = low.min(value);
            high = high.max(value);
        }
    }
    let rounds = columns.iter().map(|column| column.rounds.len()).max();
    let rounds = rounds.unwrap_or(0).max(1);
    let x = Axis {
        title: "Round".to_owned(),
        is_log: false,
        from: 0.5,
        to: rounds as f64 + 0.5,
        ticks: (1..=rounds)
            .map(|round| (round as f64, round.to_string()))
            .collect(),
    };
    let top = if high > 0.0 { high * 1.06 } else { 1.0 };
    let y = Axis::linear(name, low * 1.06, top, units);
    Chart {
        layers,
        ..chart(title, x, y, columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::visual::saved::tests::sample;

    #[test]
    fn quantiles_are_those_of_all_rounds() {
        let saved = sample("a");
        let columns = columns(std::slice::from_ref(&saved));
        let distribution = &columns[1].distribution;
        let found = [0.0, 0.5, 0.9, 0.91, 1.0].map(|part| distribution.quantile(part));
        assert_eq!(found, [200.0, 200.0, 200.0, 600.0, 600.0]);
    }

    #[test]
    fn shares_leave_nothing_out_below_the_last_edge() {
        let distribution = Distribution(vec![(1.0, 1, 1), (2.0, 2, 3), (9.0, 1, 4)]);
        assert_eq!(
            shares(&distribution, &[0.5, 1.0, 2.0, 3.0]),
            [25.0, 50.0, 0.0]
        );
    }

    #[test]
    fn every_chart_names_its_axes_and_series() {
        let charts = all(&[sample("a"), sample("b")]);
        let names: Vec<&str> = charts.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["latency", "percentiles", "throughput", "histogram"]);
        for (name, chart) in charts {
            for text in ["TCP A", "WebSocket B", "prefers-color-scheme:dark"] {
                assert!(chart.contains(text), "{name} lacks {text}");
            }
            assert!(!chart.contains("NaN") && !chart.contains("inf"), "{name}");
        }
    }
}
