//! Every figure and every sample as JSON, for those who want to look closer.

use serde_json::{Value, json};

use super::{Chapter, Comparison};

pub(crate) fn render(comparison: &Comparison<'_>) -> Result<String, serde_json::Error> {
    let plan = comparison.plan;
    let value = json!({
        "rounds": plan.rounds_count,
        "seconds": plan.timing.measured.as_secs_f64(),
        "scenarios": comparison.chapters.iter().map(chapter).collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&value)
}

fn chapter(chapter: &Chapter<'_>) -> Value {
    let lines = chapter.lines.iter().map(|line| {
        json!({
            "name": line.server.name,
            "what": line.server.what,
            "family": line.server.family,
            "runtime": line.server.runtime,
            "figures": line.figures,
            "ratios": line.ratios,
            "samples": line.outcome.samples,
            "failures": line.outcome.failures,
        })
    });
    json!({
        "name": chapter.scenario.name,
        "title": chapter.scenario.title,
        "payload_bytes": chapter.scenario.payload_bytes,
        "connections": chapter.scenario.connections_count,
        "servers": lines.collect::<Vec<_>>(),
    })
}
