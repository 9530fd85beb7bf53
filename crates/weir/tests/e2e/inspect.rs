//! `weir inspect` and `weir doctor disk` on what a real server left behind.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::client::*;
use crate::harness::{Driver, Options, Server, Setup, files_below, matrix, run_to_end, weir};

matrix!(what_a_server_stored_is_found_whole_and_damage_in_it_with_its_place);

async fn what_a_server_stored_is_found_whole_and_damage_in_it_with_its_place(setup: Setup) {
    let data = &setup.options.data;
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 2).await;
    for text in ["first", "second", "third"] {
        let texts = (0..4).map(|number| format!("{text} {number}"));
        send(&client, 1, texts).await.expect("sent");
    }
    send(&client, 0, ["alone".to_owned()]).await.expect("sent");

    let refused = inspect(data, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let line = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(line.contains("in use by process"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    let ended = server.stop();
    assert!(ended.status.success(), "{}", ended.log);

    let whole = inspect(data, &[]);
    let text = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert_eq!(whole.status.code(), Some(0), "{text}");
    let verdict = text.lines().last().expect("a verdict");
    assert!(
        verdict.starts_with("sound: 2 partitions, 2 segments, 13 messages, "),
        "{text}"
    );
    let report = last_line(&inspect(data, &["--json"]));
    assert_eq!(report["sound"], true);
    assert_eq!(messages(&report), [1, 12]);

    let dump = inspect(
        data,
        &["--json", "--dump", "--partition", &place(&report, 1)],
    );
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    let lines: Vec<Value> = dump.lines().map(parse).collect();
    let batches: Vec<&Value> = lines.iter().map(|line| &line["batch"]).take(3).collect();
    assert_eq!(lines.len(), 4, "three batches and the report: {dump}");
    let offsets: Vec<u64> = batches
        .iter()
        .map(|one| number(&one["base_offset"]))
        .collect();
    assert_eq!(offsets, [0, 4, 8]);

    // One bit of the second batch, which the third one proves to have been durable.
    let path = batches[1]["path"].as_str().expect("a path").to_owned();
    let position = number(&batches[1]["position"]);
    let mut bytes = std::fs::read(&path).expect("readable");
    bytes[usize::try_from(position).expect("small") + 300] ^= 1;
    std::fs::write(&path, &bytes).expect("damaged");
    let damaged = inspect(data, &[]);
    let text = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert_eq!(damaged.status.code(), Some(2), "{text}");
    let place = format!("corruption  {path} at {position}: ");
    assert!(text.lines().any(|line| line.starts_with(&place)), "{text}");
    let report = last_line(&inspect(data, &["--json"]));
    assert_eq!(report["sound"], false);
    assert_eq!(report["corruptions"][0]["path"], path);
    assert_eq!(report["corruptions"][0]["position"], position);
    assert_eq!(messages(&report), [1, 4]);

    // Cut off in the third batch, the second whole again: a tail that was never acknowledged.
    bytes[usize::try_from(position).expect("small") + 300] ^= 1;
    let third = number(&batches[2]["position"]);
    bytes.truncate(usize::try_from(third).expect("small") + 200);
    std::fs::write(&path, &bytes).expect("cut");
    let torn = inspect(data, &["--json"]);
    assert_eq!(torn.status.code(), Some(0));
    let report = last_line(&torn);
    assert_eq!(report["torn_tails"][0]["path"], path);
    assert_eq!(report["torn_tails"][0]["position"], third);
    assert_eq!(messages(&report), [1, 8]);
    assert_eq!(std::fs::read(&path).expect("readable"), bytes, "not cut");
}

fn inspect(data: &Path, arguments: &[&str]) -> Output {
    let mut command = weir();
    command.arg("inspect").arg(data).args(arguments);
    run_to_end(command)
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(text.lines().last().expect("a report"))
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

fn partitions(report: &Value) -> &Vec<Value> {
    report["partitions"].as_array().expect("a list")
}

/// Messages of each partition.
fn messages(report: &Value) -> Vec<u64> {
    let segments = |partition: &Value| partition["segments"].as_array().expect("a list").clone();
    let sum = |segments: Vec<Value>| segments.iter().map(|one| number(&one["messages"])).sum();
    let partitions = partitions(report).iter();
    partitions.map(|one| sum(segments(one))).collect()
}

/// The n-th partition as it is named on the command line.
fn place(report: &Value, number: usize) -> String {
    let partition = &partitions(report)[number];
    let id = |name| &partition[name];
    format!(
        "{}/{}/{}",
        id("stream_id"),
        id("topic_id"),
        id("partition_id")
    )
}

#[test]
fn a_directory_that_is_not_ours_is_one_line_and_exit_code_1() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("photo.jpeg"), "").expect("written");
    for (path, told) in [
        (directory.path().to_owned(), "is not a Weir data directory"),
        (directory.path().join("none"), "No such file"),
    ] {
        let output = inspect(&path, &[]);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(line.starts_with("weir: ") && line.contains(told), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn doctor_measures_a_disk_beside_a_server_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options::new(Driver::IoUring, directory.path().join("data"));
    let server = Server::start(&options);
    let before = files_below(&options.data, "");
    let doctor = |arguments: &[&str]| {
        let mut command = weir();
        command.args(["doctor", "disk"]).arg(&options.data);
        let output = run_to_end({
            command.args(arguments);
            command
        });
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = doctor(&["--samples", "3"]);
    assert!(
        text.lines().any(|line| line.starts_with("mode  ")),
        "{text}"
    );
    let report = parse(doctor(&["--samples", "3", "--json"]).trim_end());
    let latencies = report["latencies"].as_array().expect("a list");
    // Those past the page cache are measured where they work, whichever is chosen.
    let works = latencies
        .iter()
        .any(|one| one["way"] == "direct_over_zeros");
    match report["mode"].as_str() {
        Some("direct") => assert!(works),
        Some("buffered") => {}
        other => panic!("no mode: {other:?}"),
    }
    assert_eq!(latencies.len(), 3 * if works { 4 } else { 2 });
    for latency in latencies {
        let time = |name: &str| latency[name].as_f64().expect("a number");
        assert!(time("p50_us") <= time("p99_us") && time("p99_us") <= time("max_us"));
    }
    assert_eq!(files_below(&options.data, ""), before);
    assert!(server.stop().status.success());
}

#[test]
fn doctor_says_in_one_line_why_it_cannot_measure() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("none");
    for (samples, told) in [
        ("3", "No such file"),
        ("0", "1 to 2000"),
        ("2001", "1 to 2000"),
    ] {
        let mut command = weir();
        command
            .args(["doctor", "disk", "--samples", samples])
            .arg(&missing);
        let output = run_to_end(command);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}");
        assert!(line.starts_with("weir: ") && line.contains(told), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
