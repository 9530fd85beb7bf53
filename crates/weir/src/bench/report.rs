//! From rounds to figures: per transport, and WebSocket over TCP.

use client::TransportKind;
use serde_json::Value;

use super::arguments::Kind;
use super::measure::Recorder;
use super::plan::Plan;
use super::process::Server;
use super::round::{Cost, Outcome, Round};

mod doubt;
mod json;

pub(crate) use json::name;

/// Version of the JSON file's layout; docs/benchmarks.md describes it.
pub(crate) const SCHEMA: u32 = 1;

/// The percentiles that are shown, with the names that they have in the file.
pub(crate) const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.50),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p999", 0.999),
    ("p9999", 0.9999),
];

pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    server: String,
    /// Facts of the machine.
    machine: Value,
    rounds: Vec<Round>,
}

/// All rounds of one transport together.
pub(crate) struct Summary {
    /// Names and values in the order in which they are shown.
    pub(crate) figures: Vec<Figure>,
    /// Highest over lowest average latency of the rounds; `None` for a single round.
    pub(crate) spread: Option<f64>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        server: &Server,
        machine: Value,
        rounds: Vec<Round>,
    ) -> Report<'a> {
        Report {
            plan,
            server: server.description.clone(),
            machine,
            rounds,
        }
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    fn of(&self, transport: TransportKind) -> Vec<&Round> {
        self.rounds
            .iter()
            .filter(|round| round.transport == transport)
            .collect()
    }

    pub(crate) fn transports(&self) -> Vec<TransportKind> {
        self.plan.transports.clone()
    }

    /// What is compared: each transport with the first one, and the native WebSocket with the
    /// bridge.
    fn pairs(&self) -> Vec<(TransportKind, TransportKind)> {
        use TransportKind::{WebSocket, WebSocketBridge};
        let transports = self.transports();
        let Some((first, others)) = transports.split_first() else {
            return Vec::new();
        };
        let mut pairs: Vec<_> = others.iter().map(|other| (*other, *first)).collect();
        if others.contains(&WebSocket) && others.contains(&WebSocketBridge) {
            pairs.push((WebSocket, WebSocketBridge));
        }
        pairs
    }

    pub(crate) fn summary(&self, transport: TransportKind) -> Summary {
        let rounds = self.of(transport);
        let averages: Vec<f64> = rounds
            .iter()
            .filter_map(|round| round.measured().map(|all| all.latencies.mean()))
            .collect();
        let highest = averages.iter().copied().fold(0.0, f64::max);
        let lowest = averages.iter().copied().fold(f64::INFINITY, f64::min);
        let spread = (averages.len() > 1 && lowest > 0.0).then(|| highest / lowest);
        let figures = if self.plan.kind == Kind::IdleConnections {
            idle_figures(&rounds)
        } else {
            load_figures(&rounds)
        };
        Summary { figures, spread }
    }

    /// One transport over another for each figure that both have.
    fn ratios(&self, over: TransportKind, under: TransportKind) -> Vec<(&'static str, f64)> {
        let under = self.summary(under).figures;
        let over = self.summary(over).figures;
        over.iter()
            .filter_map(|over| {
                let under = under.iter().find(|figure| figure.name == over.name)?;
                (under.value > 0.0).then(|| (over.name, over.value / under.value))
            })
            .collect()
    }
}

impl Round {
    /// All actors whose latencies the kind is about, together.
    pub(crate) fn measured(&self) -> Option<Recorder> {
        let Outcome::Load {
            producers,
            consumers,
        } = &self.result
        else {
            return None;
        };
        let actors = if consumers.is_empty() {
            producers
        } else {
            consumers
        };
        sum(actors)
    }
}

fn sum(actors: &[Recorder]) -> Option<Recorder> {
    let (first, rest) = actors.split_first()?;
    let mut all = first.clone();
    for actor in rest {
        all.add(actor);
    }
    Some(all)
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

fn load_figures(rounds: &[&Round]) -> Vec<Figure> {
    let recorders: Vec<Recorder> = rounds.iter().filter_map(|round| round.measured()).collect();
    let Some(all) = sum(&recorders) else {
        return Vec::new();
    };
    let seconds: f64 = recorders
        .iter()
        .map(|recorder| recorder.elapsed().as_secs_f64())
        .sum();
    let mut figures = Vec::new();
    let mut add = |name, unit, value| figures.push(Figure { name, unit, value });
    add("avg", "µs", all.latencies.mean() / 1e3);
    for (name, quantile) in PERCENTILES {
        add(
            name,
            "µs",
            microseconds(all.latencies.value_at_quantile(quantile)),
        );
    }
    add("min", "µs", microseconds(all.latencies.min()));
    add("max", "µs", microseconds(all.latencies.max()));
    add("std_dev", "µs", all.latencies.stdev() / 1e3);
    if seconds > 0.0 {
        add(
            "throughput",
            "MB/s",
            all.payload_bytes as f64 / 1e6 / seconds,
        );
        add("messages_per_second", "/s", all.messages as f64 / seconds);
        add("batches_per_second", "/s", all.batches as f64 / seconds);
    }
    for (side, cost) in [
        (
            ["server_cpu_per_batch", "server_cpu_per_message"],
            server_cost as fn(&Round) -> Option<Cost>,
        ),
        (
            ["client_cpu_per_batch", "client_cpu_per_message"],
            client_cost,
        ),
    ] {
        let costs: Option<Vec<Cost>> = rounds.iter().map(|round| cost(round)).collect();
        let Some(costs) = costs.filter(|_| all.batches > 0) else {
            continue;
        };
        let cpu: f64 = costs.iter().map(|cost| cost.cpu.as_secs_f64() * 1e6).sum();
        let [of_batch, of_message] = side;
        add(of_batch, "µs", cpu / all.batches as f64);
        add(of_message, "µs", cpu / all.messages.max(1) as f64);
    }
    let syncs: Option<u64> = rounds.iter().map(|round| round.syncs).sum();
    if let Some(syncs) = syncs.filter(|syncs| *syncs > 0 && seconds > 0.0) {
        add("syncs_per_second", "/s", syncs as f64 / seconds);
        add("batches_per_sync", "", all.batches as f64 / syncs as f64);
    }
    if let Some(peak) = server_peak(rounds) {
        add("server_peak_memory", "MiB", peak as f64 / 1_048_576.0);
    }
    figures
}

fn server_cost(round: &Round) -> Option<Cost> {
    round.server
}

fn client_cost(round: &Round) -> Option<Cost> {
    round.client
}

fn server_peak(rounds: &[&Round]) -> Option<u64> {
    rounds
        .iter()
        .filter_map(|round| Some(round.server?.resident_peak_bytes))
        .max()
}

fn idle_figures(rounds: &[&Round]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut connections = 0.0;
    let mut seconds = 0.0;
    for round in rounds {
        if let Outcome::Idle {
            connections: count,
            connecting,
        } = &round.result
        {
            connections += f64::from(*count);
            seconds += connecting.as_secs_f64();
        }
    }
    // Each round has a server of its own; in one that was running, later rounds reuse what its
    // allocator has kept.
    let costs: Option<Vec<Cost>> = rounds.iter().map(|round| round.server).collect();
    if let Some(costs) = costs.filter(|_| connections > 0.0) {
        let grown = costs
            .iter()
            .map(|cost| cost.resident_after_bytes as f64 - cost.resident_before_bytes as f64);
        let value = grown.sum::<f64>() / connections;
        figures.push(Figure {
            name: "server_bytes_per_connection",
            unit: "B",
            value,
        });
    }
    if seconds > 0.0 {
        let value = connections / seconds;
        figures.push(Figure {
            name: "connections_per_second",
            unit: "/s",
            value,
        });
    }
    figures
}
