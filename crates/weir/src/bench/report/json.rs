//! The JSON file: everything that was measured, as docs/benchmarks.schema.json describes it.

use client::TransportKind;
use serde_json::{Map, Value, json};

use super::{PERCENTILES, Report, SCHEMA, microseconds, sum};
use crate::bench::measure::Recorder;
use crate::bench::plan::{Length, Plan};
use crate::bench::round::{Cost, Outcome, Round};

impl Report<'_> {
    pub(crate) fn to_json(&self) -> Value {
        let mut summary = Map::new();
        for transport in self.transports() {
            let figures = self.summary(transport);
            let mut entry: Map<String, Value> = figures
                .figures
                .iter()
                .map(|figure| (figure.name.to_owned(), json!(figure.value)))
                .collect();
            entry.insert("spread".to_owned(), json!(figures.spread));
            summary.insert(member(transport), Value::Object(entry));
        }
        for (over, under) in self.pairs() {
            let ratios = self.ratios(over, under).into_iter();
            let ratios: Map<String, Value> = ratios
                .map(|(name, ratio)| (name.to_owned(), json!(ratio)))
                .collect();
            let key = format!("{}_over_{}", member(over), member(under));
            summary.insert(key, Value::Object(ratios));
        }
        json!({
            "schema": SCHEMA,
            "weir": env!("CARGO_PKG_VERSION"),
            "kind": self.plan.kind.name(),
            "server": self.server,
            "machine": self.machine,
            "parameters": parameters(self.plan),
            "rounds": self.rounds.iter().map(Round::to_json).collect::<Vec<_>>(),
            "summary": summary,
            "doubt": self.doubt(),
        })
    }
}

/// What a transport is called on the command line, in tables and in rounds.
pub(crate) fn name(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::Tcp => "tcp",
        TransportKind::WebSocket => "websocket",
        TransportKind::WebSocketBridge => "websocket-bridge",
    }
}

/// Its member in the summary.
fn member(transport: TransportKind) -> String {
    name(transport).replace('-', "_")
}

fn parameters(plan: &Plan) -> Value {
    let (batches, seconds) = match plan.length {
        Length::Batches(count) => (Some(count), None),
        Length::Time(time) => (None, Some(time.as_secs())),
    };
    json!({
        "producers": plan.producers,
        "consumers": plan.consumers,
        "streams": plan.streams,
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
        "deflate": plan.deflate,
        "tls": plan.tls,
        "seed_workload": plan.seed_workload,
        "self_test": plan.self_test,
        "seed": plan.seed,
        "client_cores": plan.client_cores,
    })
}

impl Round {
    pub(super) fn to_json(&self) -> Value {
        let mut round = json!({
            "round": self.number,
            "transport": name(self.transport),
            "client_driver": self.driver.to_string(),
            "server": self.server.map(cost_to_json),
            "client": self.client.map(cost_to_json),
            "server_syncs": self.syncs,
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
