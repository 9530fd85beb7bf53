//! `weir bench`: every kind runs against a server of its own and reports what it did.

use serde_json::Value;

use crate::harness::{run_to_end, weir};

/// A short run over both transports; the JSON file that it wrote.
fn bench(kind: &str, more: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("report.json");
    let mut command = weir();
    command
        .args([
            "bench",
            kind,
            "compare",
            "--rounds",
            "1",
            "--warm-up",
            "0",
            "--unlimited",
        ])
        .args([
            "--messages-per-batch",
            "10",
            "--message-size",
            "50..100",
            "--batches",
            "20",
        ])
        .args(more)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .arg("--json")
        .arg(&json);
    let output = run_to_end(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(
        table.starts_with(kind) && table.contains("ws / tcp"),
        "{table}"
    );
    assert!(
        !directory.path().join("data").exists(),
        "the run's data is left behind"
    );
    let text = std::fs::read_to_string(&json).expect("the JSON file");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    crate::pictures::check_schema(&report);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["kind"], kind);
    assert_eq!(report["rounds"].as_array().expect("rounds").len(), 2);
    report
}

/// What each of both rounds counted for one role.
fn check_counts(report: &Value, role: &str, batches: u64, messages: u64) {
    for round in report["rounds"].as_array().expect("rounds") {
        let total = &round[role]["total"];
        assert_eq!(total["batches"], batches, "{role} {round}");
        assert_eq!(total["messages"], messages, "{role} {round}");
        let latency = &total["latency_us"];
        let number = |name: &str| latency[name].as_f64().expect("a number");
        assert!(number("min") > 0.0 && number("min") <= number("p50"));
        assert!(number("p50") <= number("p99") && number("p99") <= number("max"));
        let counted: u64 = total["histogram_us"]
            .as_array()
            .expect("a histogram")
            .iter()
            .map(|entry| entry[1].as_u64().expect("a count"))
            .sum();
        assert_eq!(counted, batches);
        assert!(round["server"]["cpu_seconds"].as_f64().expect("a number") > 0.0);
    }
    for side in ["tcp", "websocket", "websocket_over_tcp"] {
        for figure in [
            "avg",
            "p50",
            "p99",
            "p9999",
            "throughput",
            "server_cpu_per_batch",
        ] {
            let value = report["summary"][side][figure].as_f64();
            assert!(
                value.is_some_and(|value| value > 0.0),
                "{side} {figure} {report}"
            );
        }
    }
}

#[test]
fn pinned_producer() {
    let report = bench("pinned-producer", &["--producers", "2"]);
    check_counts(&report, "producers", 40, 400);
}

#[test]
fn pinned_consumer() {
    let report = bench("pinned-consumer", &["--consumers", "2"]);
    check_counts(&report, "consumers", 40, 400);
}

#[test]
fn balanced_producer() {
    let report = bench(
        "balanced-producer",
        &["--producers", "2", "--partitions", "3"],
    );
    check_counts(&report, "producers", 40, 400);
}

#[test]
fn balanced_consumer_group() {
    let report = bench(
        "balanced-consumer-group",
        &["--consumers", "2", "--partitions", "4"],
    );
    check_counts(&report, "consumers", 40, 400);
}

#[test]
fn pinned_producer_and_consumer() {
    let report = bench("pinned-producer-and-consumer", &[]);
    for round in report["rounds"].as_array().expect("rounds") {
        assert_eq!(round["producers"]["total"]["batches"], 20);
        assert_eq!(round["consumers"]["total"]["messages"], 200);
    }
}

#[test]
fn end_to_end_latency() {
    let report = bench("end-to-end-latency", &[]);
    check_counts(&report, "consumers", 20, 200);
}

#[test]
fn idle_connections() {
    let report = bench("idle-connections", &["--connections", "40"]);
    for round in report["rounds"].as_array().expect("rounds") {
        assert_eq!(round["connections"], 40);
    }
    assert!(report["summary"]["websocket"]["connections_per_second"].is_f64());
}

#[test]
fn wrong_arguments_get_one_line() {
    for (arguments, expected) in [
        (
            &["--message-size", "0"][..],
            "--message-size is 1 to 64000000 bytes",
        ),
        (&["--producers", "0"], "--producers must be from 1 to 1000"),
        (&["--rate-limit", "0"], "--rate-limit must be more than 0"),
        (&["--batches", "0"], "--batches must be at least 1"),
        (
            &["--durability", "maybe"],
            "--durability is persisted or replicated",
        ),
        (
            &["--message-size", "64000000", "--messages-per-batch", "2"],
            "larger than a frame",
        ),
        (&["--server", "127.0.0.1:1"], "--server-websocket is needed"),
        (
            &["--driver", "kqueue"],
            "--driver is auto, io-uring or poll",
        ),
    ] {
        let mut command = weir();
        command
            .args(["bench", "pinned-producer", "compare"])
            .args(arguments);
        let output = run_to_end(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(
            said.starts_with("weir: ") && said.contains(expected),
            "{arguments:?}: {said}"
        );
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}
