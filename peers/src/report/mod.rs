//! From samples to figures: medians over the rounds, and ratios.

pub(crate) mod json;
pub(crate) mod svg;
pub(crate) mod table;

use serde::Serialize;

use crate::measure::{Sample, Speed};
use crate::rounds::{Outcome, Plan};
use crate::scenario::{Kind, Scenario};
use crate::servers::{Family, Runtime, Server};

/// Everything that is reported.
pub(crate) struct Comparison<'a> {
    plan: &'a Plan,
    chapters: Vec<Chapter<'a>>,
}

/// One scenario, the servers in the order of the table.
struct Chapter<'a> {
    scenario: &'a Scenario,
    lines: Vec<Line<'a>>,
}

/// One server in one scenario.
struct Line<'a> {
    server: &'a Server,
    outcome: &'a Outcome,
    figures: Option<Figures>,
    ratios: Ratios,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Figures {
    /// Absent where only memory is measured.
    speed: Option<SpeedFigures>,
    idle_bytes_per_connection: f64,
    peak_resident_bytes: f64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct SpeedFigures {
    cpu_us_per_message: f64,
    /// The lowest and the highest of the rounds.
    cpu_us_per_message_min: f64,
    cpu_us_per_message_max: f64,
    messages_per_second: f64,
    /// Part of the time in which the server ran.
    server_load: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Medians over the rounds of the ratio within a round: what disturbs a round disturbs both.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Ratios {
    to_raw_on_runtime: Option<f64>,
    to_raw_ring: Option<f64>,
    to_best_peer: Option<f64>,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(plan: &'a Plan, outcomes: &'a [Outcome]) -> Self {
        let chapters = plan
            .scenarios
            .iter()
            .map(|scenario| {
                let name = scenario.name;
                let of_scenario: Vec<&Outcome> = outcomes
                    .iter()
                    .filter(|outcome| outcome.scenario.name == name)
                    .collect();
                Chapter::new(scenario, &of_scenario)
            })
            .collect();
        Comparison { plan, chapters }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chapters
            .iter()
            .all(|chapter| chapter.lines.iter().all(|line| line.figures.is_none()))
    }
}

impl<'a> Chapter<'a> {
    fn new(scenario: &'a Scenario, outcomes: &[&'a Outcome]) -> Self {
        let raw = |runtime| {
            outcomes.iter().copied().find(|outcome| {
                outcome.server.family == Family::Raw && outcome.server.runtime == runtime
            })
        };
        let best_peer = outcomes
            .iter()
            .copied()
            .filter(|outcome| outcome.server.family == Family::Peer)
            .filter_map(|outcome| Some((outcome, cost_median(scenario, outcome)?)))
            .min_by(|(_, left), (_, right)| left.total_cmp(right))
            .map(|(outcome, _)| outcome);
        let mut lines: Vec<Line<'a>> = outcomes
            .iter()
            .map(|outcome| Line {
                server: outcome.server,
                outcome,
                figures: figures(scenario, outcome),
                ratios: Ratios {
                    to_raw_on_runtime: ratio(scenario, outcome, raw(outcome.server.runtime)),
                    to_raw_ring: ratio(scenario, outcome, raw(Runtime::Ring)),
                    to_best_peer: ratio(scenario, outcome, best_peer),
                },
            })
            .collect();
        // Limits first, then by cost; what failed comes last.
        lines.sort_by(|left, right| {
            let key = |line: &Line<'_>| line.cost(scenario).unwrap_or(f64::INFINITY);
            let is_peer = |line: &Line<'_>| line.server.family != Family::Raw;
            (is_peer(left).cmp(&is_peer(right))).then(key(left).total_cmp(&key(right)))
        });
        Chapter { scenario, lines }
    }
}

impl Line<'_> {
    /// The main figure: CPU per message, or idle memory per connection.
    fn cost(&self, scenario: &Scenario) -> Option<f64> {
        let figures = self.figures?;
        match scenario.kind {
            Kind::Idle => Some(figures.idle_bytes_per_connection),
            Kind::Echo { .. } | Kind::Broadcast => Some(figures.speed?.cpu_us_per_message),
        }
    }
}

fn cost(scenario: &Scenario, sample: &Sample) -> Option<f64> {
    match scenario.kind {
        Kind::Idle => Some(idle_bytes_per_connection(scenario, sample)),
        Kind::Echo { .. } | Kind::Broadcast => sample.speed.as_ref().map(cpu_us_per_message),
    }
}

fn cost_median(scenario: &Scenario, outcome: &Outcome) -> Option<f64> {
    let samples = outcome.samples.iter();
    median(
        samples
            .filter_map(|sample| cost(scenario, sample))
            .collect(),
    )
}

fn ratio(scenario: &Scenario, outcome: &Outcome, base: Option<&Outcome>) -> Option<f64> {
    let rounds = outcome.samples.iter().zip(&base?.samples);
    median(
        rounds
            .filter_map(|(sample, base)| Some(cost(scenario, sample)? / cost(scenario, base)?))
            .collect(),
    )
}

fn figures(scenario: &Scenario, outcome: &Outcome) -> Option<Figures> {
    let samples = &outcome.samples;
    let over = |figure: &dyn Fn(&Sample) -> f64| median(samples.iter().map(figure).collect());
    let speeds: Vec<&Speed> = samples
        .iter()
        .filter_map(|sample| sample.speed.as_ref())
        .collect();
    Some(Figures {
        speed: speed_figures(&speeds),
        idle_bytes_per_connection: over(&|sample| idle_bytes_per_connection(scenario, sample))?,
        peak_resident_bytes: over(&|sample| sample.peak_resident_bytes as f64)?,
    })
}

fn speed_figures(speeds: &[&Speed]) -> Option<SpeedFigures> {
    let over =
        |figure: &dyn Fn(&Speed) -> f64| median(speeds.iter().map(|speed| figure(speed)).collect());
    let costs = || speeds.iter().map(|speed| cpu_us_per_message(speed));
    Some(SpeedFigures {
        cpu_us_per_message: over(&cpu_us_per_message)?,
        cpu_us_per_message_min: costs().fold(f64::INFINITY, f64::min),
        cpu_us_per_message_max: costs().fold(0.0, f64::max),
        messages_per_second: over(&|speed| speed.messages / speed.seconds)?,
        server_load: over(&|speed| speed.cpu_seconds / speed.seconds)?,
        p50_us: over(&|speed| speed.p50_us)?,
        p99_us: over(&|speed| speed.p99_us)?,
    })
}

fn cpu_us_per_message(speed: &Speed) -> f64 {
    speed.cpu_seconds * 1e6 / speed.messages
}

fn idle_bytes_per_connection(scenario: &Scenario, sample: &Sample) -> f64 {
    let grown_bytes = sample
        .idle_resident_bytes
        .saturating_sub(sample.started_resident_bytes);
    grown_bytes as f64 / scenario.connections_count as f64
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[middle - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
