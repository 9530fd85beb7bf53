//! From rounds to figures: per transport, and WebSocket over TCP.

use client::TransportKind;
use serde_json::{Value, json};

use super::arguments::Kind;
use super::machine;
use super::measure::Recorder;
use super::plan::{Length, Plan};
use super::process::Server;
use super::round::{Cost, Outcome, Round};

/// Version of the JSON file's layout; docs/benchmarks.md describes it.
pub(crate) const SCHEMA: u32 = 1;

/// Spread of the rounds' averages beyond which a comparison says nothing: highest over lowest.
const SPREAD_MAX: f64 = 1.25;

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
    pub(crate) fn new(plan: &'a Plan, server: &Server, rounds: Vec<Round>) -> Report<'a> {
        Report {
            plan,
            server: server.description.clone(),
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
        [TransportKind::Tcp, TransportKind::WebSocket]
            .into_iter()
            .filter(|transport| !self.of(*transport).is_empty())
            .collect()
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

    /// Why the two transports of this run should not be compared, if they should not.
    pub(crate) fn doubt(&self) -> Option<String> {
        let spreads: Vec<Option<f64>> = self
            .transports()
            .into_iter()
            .map(|transport| self.summary(transport).spread)
            .collect();
        let is_load = self.plan.kind != Kind::IdleConnections;
        if is_load && self.plan.is_comparison() && spreads.contains(&None) {
            return Some("a single round says nothing about noise; take three".to_owned());
        }
        let worst = spreads.into_iter().flatten().fold(1.0, f64::max);
        (worst > SPREAD_MAX).then(|| {
            format!(
                "the rounds of one transport differ by a factor of {worst:.2} (more than \
                 {SPREAD_MAX}): this run is too noisy to compare"
            )
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut summary = serde_json::Map::new();
        for transport in self.transports() {
            let figures = self.summary(transport);
            let mut entry: serde_json::Map<String, Value> = figures
                .figures
                .iter()
                .map(|figure| (figure.name.to_owned(), json!(figure.value)))
                .collect();
            entry.insert("spread".to_owned(), json!(figures.spread));
            summary.insert(name(transport).to_owned(), Value::Object(entry));
        }
        if self.plan.is_comparison() {
            let ratios = self
                .ratios()
                .into_iter()
                .map(|(name, ratio)| (name, json!(ratio)));
            summary.insert(
                "websocket_over_tcp".to_owned(),
                Value::Object(ratios.collect()),
            );
        }
        json!({
            "schema": SCHEMA,
            "weir": env!("CARGO_PKG_VERSION"),
            "kind": self.plan.kind.name(),
            "server": self.server,
            "machine": machine::facts(),
            "parameters": parameters(self.plan),
            "rounds": self.rounds.iter().map(Round::to_json).collect::<Vec<_>>(),
            "summary": summary,
            "doubt": self.doubt(),
        })
    }

    /// WebSocket over TCP for each figure that both have.
    pub(crate) fn ratios(&self) -> Vec<(String, f64)> {
        let tcp = self.summary(TransportKind::Tcp).figures;
        let websocket = self.summary(TransportKind::WebSocket).figures;
        websocket
            .iter()
            .filter_map(|over| {
                let under = tcp.iter().find(|figure| figure.name == over.name)?;
                (under.value > 0.0).then(|| (over.name.to_owned(), over.value / under.value))
            })
            .collect()
    }
}

pub(crate) fn name(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::Tcp => "tcp",
        TransportKind::WebSocket => "websocket",
    }
}

fn parameters(plan: &Plan) -> Value {
    let (batches, seconds) = match plan.length {
        Length::Batches(count) => (Some(count), None),
        Length::Time(time) => (None, Some(time.as_secs())),
    };
    json!({
        "producers": plan.producers,
        "consumers": plan.consumers,
        "partitions": plan.partitions,
        "connections": plan.connections,
        "messages_per_batch": plan.messages_per_batch,
        "message_bytes_min": plan.message_bytes.start(),
        "message_bytes_max": plan.message_bytes.end(),
        "batches": batches,
        "seconds": seconds,
        "warm_up_seconds": plan.warm_up.as_secs(),
        "rate_bytes_per_second": plan.rate_bytes,
        "rounds": plan.rounds,
        "durability": plan.durability,
        "seed": plan.seed,
        "client_cores": plan.client_cores,
    })
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

    fn to_json(&self) -> Value {
        let mut round = json!({
            "round": self.number,
            "transport": name(self.transport),
            "client_driver": self.driver.to_string(),
            "server": self.server.map(cost_to_json),
            "client": self.client.map(cost_to_json),
        });
        match &self.result {
            Outcome::Idle {
                connections,
                connecting,
            } => {
                round["connections"] = json!(connections);
                round["connecting_seconds"] = json!(connecting.as_secs_f64());
            }
            Outcome::Load {
                producers,
                consumers,
            } => {
                for (role, actors) in [("producers", producers), ("consumers", consumers)] {
                    let each: Vec<Value> = actors.iter().map(recorder_to_json).collect();
                    round[role] = json!({
                        "total": sum(actors).as_ref().map(total_to_json),
                        "each": each,
                    });
                }
            }
        }
        round
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

fn cost_to_json(cost: Cost) -> Value {
    json!({
        "cpu_seconds": cost.cpu.as_secs_f64(),
        "resident_before_bytes": cost.resident_before_bytes,
        "resident_after_bytes": cost.resident_after_bytes,
        "resident_peak_bytes": cost.resident_peak_bytes,
    })
}

fn recorder_to_json(recorder: &Recorder) -> Value {
    let latencies = &recorder.latencies;
    let mut latency = json!({
        "min": microseconds(latencies.min()),
        "avg": latencies.mean() / 1e3,
        "std_dev": latencies.stdev() / 1e3,
        "max": microseconds(latencies.max()),
    });
    for (name, quantile) in PERCENTILES {
        latency[name] = json!(microseconds(latencies.value_at_quantile(quantile)));
    }
    json!({
        "batches": recorder.batches,
        "messages": recorder.messages,
        "payload_bytes": recorder.payload_bytes,
        "seconds": recorder.elapsed().as_secs_f64(),
        "latency_us": latency,
    })
}

/// With what charts are drawn from: the histogram and the course of time.
fn total_to_json(recorder: &Recorder) -> Value {
    let mut total = recorder_to_json(recorder);
    total["histogram_us"] = recorder
        .latencies
        .iter_recorded()
        .map(|value| {
            json!([
                microseconds(value.value_iterated_to()),
                value.count_at_value()
            ])
        })
        .collect();
    total["each_second"] = recorder
        .seconds
        .iter()
        .map(|second| {
            let count = second.batches.max(1) as f64;
            json!({
                "batches": second.batches,
                "payload_bytes": second.payload_bytes,
                "latency_avg_us": second.latency_sum.as_secs_f64() * 1e6 / count,
                "latency_max_us": second.latency_max.as_secs_f64() * 1e6,
            })
        })
        .collect();
    total
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
    if all.batches > 0 {
        for (name, of) in [
            (
                "server_cpu_per_batch",
                server_cost as fn(&Round) -> Option<Cost>,
            ),
            ("client_cpu_per_batch", client_cost),
        ] {
            let costs: Option<Vec<Cost>> = rounds.iter().map(|round| of(round)).collect();
            if let Some(costs) = costs {
                let cpu: f64 = costs.iter().map(|cost| cost.cpu.as_secs_f64()).sum();
                add(name, "µs", cpu * 1e6 / all.batches as f64);
            }
        }
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
    // The first round alone: later ones reuse what the server's allocator has kept.
    let first = rounds
        .first()
        .and_then(|round| match (&round.result, round.server) {
            (Outcome::Idle { connections, .. }, Some(cost)) => {
                let grown = cost.resident_after_bytes as f64 - cost.resident_before_bytes as f64;
                Some(grown / f64::from(*connections))
            }
            _ => None,
        });
    if let Some(value) = first {
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
