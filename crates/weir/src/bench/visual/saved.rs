//! A saved run: what `--json` wrote, read back.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::bench::report::SCHEMA;

/// A JSON file of a run is a few hundred kilobytes; more than this is something else.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A run with its name and its JSON, which the page shows as it is.
pub(crate) struct Saved {
    /// The file's name, or what stands for it.
    pub(crate) name: String,
    pub(crate) json: Value,
    pub(crate) run: Run,
}

/// The part of a run that tables and static charts need; docs/benchmarks.schema.json has it all.
#[derive(Deserialize)]
pub(crate) struct Run {
    schema: u32,
    pub(crate) kind: String,
    pub(crate) server: String,
    pub(crate) machine: BTreeMap<String, Value>,
    pub(crate) parameters: BTreeMap<String, Value>,
    pub(crate) rounds: Vec<Round>,
    /// Figures of each transport; those that the run could not tell are `None`.
    pub(crate) summary: BTreeMap<String, BTreeMap<String, Option<f64>>>,
    pub(crate) doubt: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Round {
    transport: String,
    consumers: Option<Actors>,
    producers: Option<Actors>,
    pub(crate) connections: Option<u32>,
    pub(crate) connecting_seconds: Option<f64>,
    pub(crate) server: Option<Cost>,
}

#[derive(Deserialize)]
struct Actors {
    total: Option<Total>,
}

/// All actors of one role in one round.
#[derive(Deserialize)]
pub(crate) struct Total {
    pub(crate) seconds: f64,
    /// Latencies in microseconds with the batches that had them, ascending.
    pub(crate) histogram_us: Vec<(f64, u64)>,
    pub(crate) each_second: Vec<Second>,
}

#[derive(Clone, Copy, Deserialize)]
pub(crate) struct Second {
    pub(crate) batches: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) latency_avg_us: f64,
    pub(crate) latency_max_us: f64,
}

#[derive(Deserialize)]
pub(crate) struct Cost {
    pub(crate) resident_before_bytes: u64,
    pub(crate) resident_after_bytes: u64,
}

impl Saved {
    /// # Errors
    /// When `json` is not a run, or one of another layout.
    pub(crate) fn new(name: String, json: Value) -> anyhow::Result<Saved> {
        let run = Run::deserialize(&json)
            .with_context(|| format!("{name} is not a run of weir bench"))?;
        ensure!(
            run.schema == SCHEMA,
            "{name} has layout {}, this version reads {SCHEMA}",
            run.schema
        );
        ensure!(!run.transports().is_empty(), "{name} has no transport");
        Ok(Saved { name, json, run })
    }

    /// # Errors
    /// When the file cannot be read or is not a run.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Saved> {
        let shown = path.display();
        let cannot_read = || format!("cannot read {shown}");
        let length = std::fs::metadata(path).with_context(cannot_read)?.len();
        ensure!(
            length <= FILE_BYTES_MAX,
            "{shown} has {length} bytes, more than a run can have"
        );
        let text = std::fs::read_to_string(path).with_context(cannot_read)?;
        let json =
            serde_json::from_str(&text).with_context(|| format!("{shown} is not a JSON file"))?;
        let name = path.file_name().unwrap_or(path.as_os_str());
        Saved::new(name.to_string_lossy().into_owned(), json)
    }
}

impl Run {
    /// Names of the transports, TCP first because the others are compared with it.
    pub(crate) fn transports(&self) -> Vec<&str> {
        let names = self.summary.keys().map(String::as_str);
        let mut names: Vec<&str> = names.filter(|name| !name.contains("_over_")).collect();
        names.sort_by_key(|name| (*name != "tcp", *name));
        names
    }

    pub(crate) fn figure(&self, transport: &str, name: &str) -> Option<f64> {
        *self.summary.get(transport)?.get(name)?
    }

    pub(crate) fn rounds_of(&self, transport: &str) -> Vec<&Round> {
        let rounds = self.rounds.iter();
        rounds
            .filter(|round| same_transport(&round.transport, transport))
            .collect()
    }

    /// Whether there is anything but connections that wait.
    pub(crate) fn has_latencies(&self) -> bool {
        self.rounds.iter().any(|round| round.total().is_some())
    }
}

/// The command line writes a dash where a member's name has an underscore.
fn same_transport(one: &str, other: &str) -> bool {
    one.replace('-', "_") == other.replace('-', "_")
}

impl Round {
    /// Those whose latencies the kind is about.
    pub(crate) fn total(&self) -> Option<&Total> {
        let total = |actors: &'_ Option<Actors>| actors.as_ref().is_some_and(|a| a.total.is_some());
        let actors = if total(&self.consumers) {
            &self.consumers
        } else {
            &self.producers
        };
        actors.as_ref()?.total.as_ref()
    }
}

/// What a transport is called in tables and legends.
pub(crate) fn label(transport: &str) -> String {
    match transport.replace('-', "_").as_str() {
        "tcp" => "TCP".to_owned(),
        "websocket" => "WebSocket".to_owned(),
        "websocket_bridge" => "WebSocket bridge".to_owned(),
        other => other.replace('_', " "),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A run with one round of two seconds for each transport; WebSocket is twice as slow.
    pub(crate) fn sample(name: &str) -> Saved {
        let rounds: Vec<Value> = [("tcp", 1.0), ("websocket", 2.0)]
            .into_iter()
            .map(|(transport, factor)| {
                json!({"round": 1, "transport": transport,
                    "server": {"cpu_seconds": 1.0, "resident_before_bytes": 0,
                        "resident_after_bytes": 4096, "resident_peak_bytes": 4096},
                    "producers": {"total": {"seconds": 2.0,
                        "histogram_us": [[100.0 * factor, 90], [300.0 * factor, 10]],
                        "each_second": [
                            {"batches": 50, "payload_bytes": 5_000_000,
                                "latency_avg_us": 110.0 * factor, "latency_max_us": 300.0},
                            {"batches": 50, "payload_bytes": 5_000_000,
                                "latency_avg_us": 130.0 * factor, "latency_max_us": 300.0}]}}})
            })
            .collect();
        let figures = |factor: f64| {
            json!({"avg": 120.0 * factor, "p50": 100.0 * factor, "throughput": 5.0,
                "spread": 1.0})
        };
        let run = json!({"schema": SCHEMA, "weir": "0.1.0", "kind": "pinned-producer",
            "server": "here", "machine": {"cores": 2}, "parameters": {"producers": 1},
            "rounds": rounds, "doubt": null,
            "summary": {"tcp": figures(1.0), "websocket": figures(2.0),
                "websocket_over_tcp": {"avg": 2.0}}});
        Saved::new(name.to_owned(), run).expect("a run")
    }

    #[test]
    fn runs_of_another_layout_are_refused() {
        let mut json = sample("a").json;
        json["schema"] = json!(SCHEMA + 1);
        let error = Saved::new("b.json".to_owned(), json)
            .err()
            .expect("refused");
        assert!(error.to_string().starts_with("b.json has layout"));
        assert!(Saved::new("c.json".to_owned(), json!({"a": 1})).is_err());
    }

    #[test]
    fn transports_come_with_their_rounds() {
        let run = sample("a").run;
        assert_eq!(run.transports(), ["tcp", "websocket"]);
        assert_eq!(run.rounds_of("websocket").len(), 1);
        assert!(run.has_latencies());
    }
}
