//! What the WebSocket port answers to plain HTTP: a status page for people, `/health` for machines,
//! `/metrics` for Prometheus.
//!
//! One request a connection: the reply carries `Connection: close`. There is no routing library
//! because there are three routes and all are answered from memory.

mod metrics;

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// What the pages show; gathered by the shard that answers.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Health {
    /// `ok`, or `degraded` when a partition is fenced or could not be opened.
    pub(crate) status: &'static str,
    /// Version of the server.
    pub(crate) version: &'static str,
    /// `io-uring` or `poll`.
    pub(crate) driver: String,
    /// `direct` or `buffered`: how logs are written.
    pub(crate) write_mode: String,
    /// Why they are written so.
    pub(crate) write_mode_reason: String,
    /// Number of shards.
    pub(crate) shards: usize,
    /// Seconds since the server was ready.
    pub(crate) uptime_seconds: u64,
    /// Partitions that accept no writes.
    pub(crate) partitions_fenced: Vec<String>,
    /// Counters, summed over all shards.
    pub(crate) metrics: crate::metrics::MetricsSnapshot,
}

/// The bytes of the answer to one request head.
pub(crate) fn respond(method: &str, target: &str, health: &Health) -> Vec<u8> {
    let path = target.split('?').next().unwrap_or(target);
    let head_only = method == "HEAD";
    if method != "GET" && !head_only {
        return reply(405, "text/plain", "use GET\n", &["Allow: GET, HEAD"], false);
    }
    match path {
        "/" => reply(
            200,
            "text/html; charset=utf-8",
            &status_page(health),
            &[],
            head_only,
        ),
        "/health" => match serde_json::to_string(health) {
            Ok(json) => reply(
                200,
                "application/json",
                &json,
                &["Cache-Control: no-store"],
                head_only,
            ),
            Err(error) => {
                tracing::error!(%error, "the health reply could not be encoded");
                reply(500, "text/plain", "internal error\n", &[], head_only)
            }
        },
        "/metrics" => match metrics::text(&health.metrics) {
            Ok(text) => reply(200, metrics::CONTENT_TYPE, &text, &[], head_only),
            Err(error) => {
                tracing::error!(%error, "the metrics could not be encoded");
                reply(500, "text/plain", "internal error\n", &[], head_only)
            }
        },
        _ => reply(
            404,
            "text/plain",
            "not found; there are /, /health and /metrics\n",
            &[],
            head_only,
        ),
    }
}

/// The refusal of a connection beyond the shard's maximum.
pub(crate) fn busy() -> Vec<u8> {
    reply(
        503,
        "text/plain",
        "too many connections, try again\n",
        &["Retry-After: 1"],
        false,
    )
}

fn reply(code: u16, kind: &str, body: &str, headers: &[&str], head_only: bool) -> Vec<u8> {
    let reason = match code {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let mut head = format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n",
        body.len()
    );
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    if !head_only {
        head.push_str(body);
    }
    head.into_bytes()
}

fn status_page(health: &Health) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = write!(rows, "<tr><th>{name}</th><td>{value}</td></tr>");
    };
    row("status", health.status.to_owned());
    row("version", health.version.to_owned());
    row("driver", health.driver.clone());
    row(
        "write mode",
        format!("{}: {}", health.write_mode, health.write_mode_reason),
    );
    row("shards", health.shards.to_string());
    row(
        "uptime",
        readable(Duration::from_secs(health.uptime_seconds)),
    );
    row(
        "connections open",
        health.metrics.connections_open.to_string(),
    );
    row(
        "requests answered",
        health.metrics.requests_total.to_string(),
    );
    row(
        "requests failed",
        health.metrics.requests_failed_total.to_string(),
    );
    row("syncs of logs", health.metrics.log_syncs_total.to_string());
    for partition in &health.partitions_fenced {
        row("fenced partition", partition.clone());
    }
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Weir</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>\
         :root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;\
         margin:2rem auto;padding:0 1rem}}th{{text-align:left;padding-right:2rem;font-weight:500}}\
         </style></head><body><h1>Weir</h1><table>{rows}</table>\
         <p>This port speaks WebSocket; <a href=\"/health\">/health</a> has the same as \
         JSON, <a href=\"/metrics\">/metrics</a> for Prometheus.</p>\
         </body></html>\n"
    )
}

fn readable(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    format!(
        "{} h {} min {} s",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health {
            status: "ok",
            version: "1.2.3",
            driver: "poll".to_owned(),
            write_mode: "direct".to_owned(),
            write_mode_reason: "it works".to_owned(),
            shards: 2,
            uptime_seconds: 3_725,
            partitions_fenced: vec!["1/2/3".to_owned()],
            metrics: crate::metrics::MetricsSnapshot::default(),
        }
    }

    fn text(method: &str, target: &str) -> String {
        String::from_utf8(respond(method, target, &health())).expect("replies are text")
    }

    #[test]
    fn health_is_json_with_a_length_that_is_right() {
        let reply = text("GET", "/health?verbose");
        let (head, body) = reply
            .split_once("\r\n\r\n")
            .expect("a head ends with an empty line");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        let json: serde_json::Value = serde_json::from_str(body).expect("the body is JSON");
        assert_eq!(json["driver"], "poll");
        assert_eq!(json["shards"], 2);
        assert_eq!(json["write_mode"], "direct");
        assert_eq!(json["write_mode_reason"], "it works");
        assert_eq!(json["uptime_seconds"], 3_725);
        assert_eq!(json["partitions_fenced"][0], "1/2/3");
    }

    #[test]
    fn the_status_page_shows_uptime_and_fenced_partitions() {
        let page = text("GET", "/");
        assert!(page.contains("1 h 2 min 5 s"), "{page}");
        assert!(page.contains("fenced partition"), "{page}");
        assert!(page.contains("direct: it works"), "{page}");
    }

    #[test]
    fn head_has_no_body_and_other_methods_are_refused() {
        assert!(text("HEAD", "/health").ends_with("\r\n\r\n"));
        assert!(text("POST", "/health").starts_with("HTTP/1.1 405 "));
        assert!(text("GET", "/nothing").starts_with("HTTP/1.1 404 "));
        assert!(String::from_utf8_lossy(&busy()).contains("Retry-After: 1"));
    }
}
