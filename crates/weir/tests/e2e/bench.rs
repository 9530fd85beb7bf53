//! `weir bench`: every kind runs against a server of its own and reports what it did.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Driver, PASSWORD, PATIENCE, Server, Setup, Transport, USERNAME, run_to_end, weir,
};
use crate::http::get;
use crate::pictures::Drawn;
use crate::tls::Certificates;

/// A short run over all transports; the JSON file that it wrote, which its page shows.
fn bench(kind: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["--bridge", "--rounds", "1"];
    arguments.extend(["--messages-per-batch", "10", "--message-size", "50..100"]);
    if !more.contains(&"--rate-limit") {
        arguments.push("--unlimited");
    }
    if !more.contains(&"--seconds") {
        arguments.extend(["--batches", "20"]);
    }
    arguments.extend(more);
    let drawn = Drawn::of(&[kind, "compare"], &arguments);
    let table = &drawn.table;
    assert!(
        table.starts_with(kind) && table.contains("ws / tcp") && table.contains("bridge / tcp"),
        "{table}"
    );
    assert_eq!(drawn.run["schema"], 1);
    assert_eq!(drawn.run["kind"], kind);
    let rounds = drawn.run["rounds"].as_array().expect("rounds");
    assert_eq!(rounds.len(), 3);
    if drawn.run["parameters"]["self_test"] == false {
        drawn.check_page(1000);
    }
    drawn.run
}

/// What each round counted for one role.
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
    for side in [
        "tcp",
        "websocket",
        "websocket_bridge",
        "websocket_over_tcp",
        "websocket_bridge_over_tcp",
        "websocket_over_websocket_bridge",
    ] {
        for figure in [
            "avg",
            "p50",
            "p95",
            "p99",
            "p999",
            "p9999",
            "throughput",
            "server_cpu_per_batch",
            "client_cpu_per_message",
        ] {
            let value = report["summary"][side][figure].as_f64();
            assert!(
                value.is_some_and(|value| value > 0.0),
                "{side} {figure} {report}"
            );
        }
    }
}

const KINDS: [&str; 7] = [
    "pinned-producer",
    "pinned-consumer",
    "pinned-producer-and-consumer",
    "balanced-producer",
    "balanced-consumer-group",
    "end-to-end-latency",
    "idle-connections",
];

/// As a user runs them: by time and at a rate, here one that leaves the processors to the others.
#[test]
fn five_seconds_of_each_kind() {
    let run = |kind| {
        // 27 batches a second.
        let given = [
            "--seconds",
            "5",
            "--rate-limit",
            "0.02",
            "--connections",
            "40",
        ];
        let report = bench(kind, &given);
        for round in report["rounds"].as_array().expect("rounds") {
            if kind == "idle-connections" {
                assert_eq!(round["connections"], 40);
                continue;
            }
            let roles = ["producers", "consumers"].map(|role| &round[role]["total"]);
            let measured: Vec<_> = roles.iter().filter(|total| total.is_object()).collect();
            assert!(!measured.is_empty(), "{round}");
            for total in measured {
                let batches = total["batches"].as_u64().expect("a count");
                assert!(batches > 0, "{kind} {round}");
                assert_eq!(total["messages"], 10 * batches, "{kind} {round}");
                // From the first batch to the last one.
                assert!(total["seconds"].as_f64() > Some(4.0), "{kind} {round}");
            }
        }
    };
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || run(kind));
        }
    });
}

#[test]
fn pinned_producer() {
    let report = bench("pinned-producer", &["--producers", "2"]);
    check_counts(&report, "producers", 40, 400);
    for round in report["rounds"].as_array().expect("rounds") {
        let syncs = round["server_syncs"].as_u64().expect("a count");
        // Two partitions, each of which syncs for one batch or for some that waited.
        assert!((2..=40).contains(&syncs), "{syncs}");
    }
    let machine = &report["machine"];
    for fact in ["disk_file_system", "disk_device", "disk_mount_options"] {
        assert!(machine[fact].is_string(), "{fact} {machine}");
    }
    for fact in ["disk_free_bytes", "disk_buffered_write_4_kib_p50_us"] {
        assert!(machine[fact].as_f64().is_some_and(|value| value > 0.0));
    }
}

#[test]
fn producers_share_streams_and_end_by_time() {
    let report = bench(
        "pinned-producer",
        &["--producers", "3", "--streams", "2", "--seconds", "1"],
    );
    assert_eq!(report["parameters"]["streams"], 2);
    for round in report["rounds"].as_array().expect("rounds") {
        let each = round["producers"]["each"].as_array().expect("actors");
        let batches = |actor: &Value| actor["batches"].as_u64().expect("a count");
        assert!(each.iter().all(|actor| batches(actor) > 0), "{round}");
        let sum: u64 = each.iter().map(batches).sum();
        assert_eq!(round["producers"]["total"]["batches"], sum);
    }
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
fn compressed_batches_are_produced_and_polled() {
    for kind in ["pinned-producer", "pinned-consumer"] {
        let drawn = Drawn::of(
            &[kind, "websocket"],
            &[
                "--deflate",
                "--rounds",
                "1",
                "--unlimited",
                "--batches",
                "20",
            ],
        );
        assert_eq!(drawn.run["parameters"]["deflate"], true);
        assert!(drawn.table.contains("compressed"), "{}", drawn.table);
    }
}

#[test]
fn encrypted_batches_are_produced_and_polled() {
    for kind in ["pinned-producer", "pinned-consumer"] {
        let report = bench(kind, &["--tls"]);
        assert_eq!(report["parameters"]["tls"], true);
        for round in report["rounds"].as_array().expect("rounds") {
            // Its page of counters is encrypted, too.
            assert!(round["server_syncs"].is_u64(), "{round}");
        }
    }
}

/// What the load itself can do, without a server that does anything.
#[test]
fn self_tests_measure_the_load() {
    for (kind, more) in [
        ("pinned-producer", &["--self-test"][..]),
        ("balanced-consumer-group", &["--self-test"]),
        ("end-to-end-latency", &["--self-test"]),
        ("pinned-producer-and-consumer", &["--self-test", "--tls"]),
    ] {
        let report = bench(kind, more);
        assert_eq!(report["parameters"]["self_test"], true);
        assert_eq!(report["parameters"]["tls"], more.contains(&"--tls"));
        let server = report["server"].as_str().expect("text");
        assert!(server.starts_with("none: "), "{server}");
        for round in report["rounds"].as_array().expect("rounds") {
            assert!(round["server_syncs"].is_null());
        }
    }
}

/// The arguments that name a running server.
fn at(server: &Server) -> Vec<String> {
    let credentials = format!("{USERNAME}:{PASSWORD}");
    let place = |transport| server.address(transport).to_string();
    [
        "--server",
        &place(Transport::Tcp),
        "--credentials",
        &credentials,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn a_running_server_is_measured_with_what_it_tells() {
    let setup = Setup::new(Transport::Tcp, Driver::IoUring);
    let server = setup.start();
    let small = ["--rounds", "1", "--unlimited", "--batches", "20"];
    let run = |what: &[&str], more: &[String]| {
        let mut arguments: Vec<&str> = small.to_vec();
        arguments.extend(["--messages-per-batch", "10", "--message-size", "100"]);
        arguments.extend(more.iter().map(String::as_str));
        Drawn::of(what, &arguments)
    };
    // Without its WebSocket port there is no page that counts syncs: left out, not zero.
    let drawn = run(&["pinned-producer", "tcp"], &at(&server));
    assert!(drawn.run["rounds"][0]["server_syncs"].is_null());
    assert!(!drawn.table.contains("syncs"), "{}", drawn.table);
    assert!(
        drawn.table.contains("server_cpu_per_batch"),
        "{}",
        drawn.table
    );
    assert!(drawn.run["machine"].get("disk_device").is_none());

    let mut both = at(&server);
    both.push("--server-websocket".to_owned());
    both.push(server.websocket.to_string());
    let drawn = run(&["pinned-producer", "compare"], &both);
    assert!(drawn.run["rounds"][0]["server_syncs"].as_u64() > Some(0));
    assert!(drawn.table.contains("syncs_per_second"), "{}", drawn.table);
}

/// Its certificate is checked against a file, and against a name where its host is not in it.
#[test]
fn a_running_server_is_measured_over_tls() {
    let certificates = Certificates::new();
    let mut setup = Setup::new(Transport::Tcp, Driver::IoUring);
    let server = certificates.serve(&mut setup, "all");
    let mut arguments = at(&server);
    let authority = certificates.file("authority.pem").display().to_string();
    arguments.extend([
        "--server-websocket".to_owned(),
        server.websocket.to_string(),
    ]);
    arguments.extend(["--tls", "--tls-ca-file", &authority].map(str::to_owned));
    for domain in [None, Some("localhost")] {
        let domain = domain.map(|name| ["--tls-domain", name]);
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(domain.iter().flatten());
        // Longer than asking over TLS takes, which is part of the start.
        arguments.extend(["--seconds", "1", "--rate-limit", "0.02"]);
        let report = bench("pinned-producer", &arguments);
        assert_eq!(report["parameters"]["tls"], true);
        let rounds = report["rounds"].as_array().expect("rounds");
        for round in rounds {
            assert!(round["server"]["cpu_seconds"].as_f64() > Some(0.0));
        }
        // A machine may be so busy that the server tells nothing in time; not in most rounds.
        let counted = |round: &&Value| round["server_syncs"].as_u64() > Some(0);
        let counted = rounds.iter().filter(counted).count();
        assert!(counted * 2 > rounds.len(), "{rounds:?}");
    }

    let strangers = Certificates::new();
    let stranger = strangers.file("authority.pem").display().to_string();
    for (name, value, expected) in [
        ("--tls-domain", "elsewhere", "not valid for name"),
        (
            "--tls-ca-file",
            stranger.as_str(),
            "invalid peer certificate",
        ),
    ] {
        let mut command = weir();
        command.args(["bench", "pinned-producer", "compare"]);
        let options = arguments.iter().map(String::as_str);
        if name == "--tls-ca-file" {
            command.args(options.map(|text| if text == authority { value } else { text }));
        } else {
            command.args(options).args([name, value]);
        }
        let output = run_to_end(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("weir: ") && said.contains(expected),
            "{said}"
        );
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    }
}

/// Returns as soon as the server has answered so many.
fn wait_for_requests(server: &Server, count: u64) {
    let begin = Instant::now();
    loop {
        let (_, health) = get(server, "/health");
        let health: Value = serde_json::from_str(&health).expect("JSON");
        if health["metrics"]["requests_total"].as_u64() >= Some(count) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{health}");
    }
}

/// A server that stands still delays every batch that should have been sent meanwhile, not only
/// the one that it has: all of them must count (no coordinated omission).
#[test]
fn a_stall_counts_for_all_whom_it_delayed() {
    /// As in the run: 100 batches a second.
    const INTERVAL: Duration = Duration::from_millis(10);
    const BATCHES: u64 = 300;
    const STALL: Duration = Duration::from_millis(500);
    let setup = Setup::new(Transport::Tcp, Driver::IoUring);
    let server = setup.start();
    let mut arguments = at(&server);
    arguments.extend(["--rounds", "1", "--batches", &BATCHES.to_string()].map(str::to_owned));
    // 10 messages of 100 bytes each 10 ms.
    arguments.extend(["--messages-per-batch", "10", "--message-size", "100"].map(str::to_owned));
    arguments.extend(["--rate-limit", "0.1"].map(str::to_owned));
    let running = std::thread::spawn(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Drawn::of(&["pinned-producer", "tcp"], &arguments)
    });
    // Setting up takes a handful of requests; then batches come.
    wait_for_requests(&server, 50);
    server.signal(Signal::STOP);
    let stopped = Instant::now();
    std::thread::sleep(STALL);
    server.signal(Signal::CONT);
    let stalled = stopped.elapsed();
    let drawn = running.join().expect("the run succeeds");
    let histogram = &drawn.run["rounds"][0]["producers"]["total"]["histogram_us"];
    let slower_than = |limit: Duration| -> u64 {
        let entries = histogram.as_array().expect("a histogram").iter();
        let slow = entries
            .filter(|entry| entry[0].as_f64().expect("a latency") >= limit.as_micros() as f64);
        slow.map(|entry| entry[1].as_u64().expect("a count")).sum()
    };
    assert_eq!(
        drawn.run["rounds"][0]["producers"]["total"]["batches"],
        BATCHES
    );
    // Batches were due throughout the stall; the one due at its middle waited for half of it.
    // Those of the edges are not counted on.
    for part in [4, 2] {
        let limit = stalled / part;
        let due = (stalled - limit).as_millis() / INTERVAL.as_millis();
        let counted = u128::from(slower_than(limit));
        assert!(
            counted + 2 >= due,
            "{counted} of {due} waited {limit:?} {histogram}"
        );
    }
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
        (&["--durability", "maybe"], "with durability maybe"),
        (&["--tls-domain", "a"], "the following required arguments"),
        (&["--streams", "2"], "--streams must be from 1 to 1"),
        (&["--self-test", "--spawn"], "cannot be used with"),
        (
            &["--seed-workload", "--producers", "2"],
            "cannot be used with",
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
