//! Damage to what a process left behind is found, told and never served.

use std::path::{Path, PathBuf};

use iggy::prelude::*;

use crate::client::*;
use crate::harness::{Driver, Setup, Transport, files_below, matrix, run};

matrix!(
    last_record_cut_off_is_reported,
    last_record_with_a_flipped_bit_is_reported,
);

async fn last_record_cut_off_is_reported(setup: Setup) {
    damaged_tail(setup, |bytes, end| bytes.truncate(end - 7)).await;
}

async fn last_record_with_a_flipped_bit_is_reported(setup: Setup) {
    damaged_tail(setup, |bytes, end| bytes[end - 3] ^= 0b0001_0000).await;
}

/// Writes two batches, damages the second one on disk and starts again.
async fn damaged_tail(setup: Setup, damage: fn(&mut Vec<u8>, usize)) {
    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    create_topic(&client, 1).await;
    send(&client, 0, (0..5).map(|number| format!("kept {number}")))
        .await
        .expect("sent");
    send(&client, 0, (0..5).map(|number| format!("torn {number}")))
        .await
        .expect("sent");
    server.kill();

    let (path, mut bytes, end) = last_record(&setup.options.data, b"torn 4");
    damage(&mut bytes, end);
    std::fs::write(&path, bytes).expect("damaged");

    let server = setup.start();
    let name = path.file_name().expect("a file").to_string_lossy();
    server.wait_for_log(&name);
    let log = server.log();
    let warned = log
        .lines()
        .any(|line| line.contains("WARN") && line.contains(&*name));
    assert!(warned, "a torn tail is a warning:\n{log}");
    let client = connect(&server, setup.transport).await;
    let kept: Vec<String> = (0..5).map(|number| format!("kept {number}")).collect();
    assert_eq!(read_all(&client, 0).await, kept);

    // The offsets go on where the intact records end, now and after another start.
    assert_eq!(send(&client, 0, ["new".to_owned()]).await.expect("sent"), 5);
    let server = server.restart();
    let client = connect(&server, setup.transport).await;
    assert_eq!(
        read_all(&client, 0).await.last().map(String::as_str),
        Some("new")
    );
}

/// The file that holds `payload`, its bytes, and where the payload ends in them.
fn last_record(data: &Path, payload: &[u8]) -> (PathBuf, Vec<u8>, usize) {
    for path in files_below(data, "") {
        let bytes = std::fs::read(&path).expect("readable");
        let found = bytes
            .windows(payload.len())
            .rposition(|window| window == payload);
        if let Some(start) = found {
            return (path, bytes, start + payload.len());
        }
    }
    panic!("no file below {} holds the record", data.display());
}

/// A record that does not hold although a later one proves that it was durable is damage, not a
/// torn tail: nothing is cut off, nothing behind it is served, nothing more is taken.
#[test]
fn damage_before_intact_records_fences_the_partition() {
    run(Transport::Tcp, Driver::IoUring, async |setup: Setup| {
        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        create_topic(&client, 2).await;
        for text in ["whole", "damaged", "behind"] {
            send(&client, 0, [text.to_owned()]).await.expect("sent");
        }
        server.kill();

        let (path, mut bytes, end) = last_record(&setup.options.data, b"damaged");
        bytes[end - 1] ^= 1;
        std::fs::write(&path, &bytes).expect("damaged");

        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        server.wait_for_log(&name);
        let log = server.log();
        let told = log
            .lines()
            .any(|line| line.contains("ERROR") && line.contains(&name));
        assert!(told, "an operator must act:\n{log}");
        let (_, health) = crate::http::get(&server, "/health");
        assert!(
            health.contains("degraded") && health.contains(&name),
            "{health}"
        );
        let (_, metrics) = crate::http::get(&server, "/metrics");
        assert!(
            metrics.contains("\nweir_storage_partitions_fenced 1\n"),
            "{metrics}"
        );

        assert_eq!(
            texts(&poll(&client, 0, PollingStrategy::first(), 1, false).await),
            ["whole"]
        );
        send(&client, 0, ["more".to_owned()])
            .await
            .expect_err("the partition is fenced");
        assert_eq!(
            send(&client, 1, ["more".to_owned()])
                .await
                .expect("the other one goes on"),
            0
        );
        server.stop();
        assert_eq!(
            std::fs::read(&path).expect("readable"),
            bytes,
            "the evidence stays"
        );
    });
}
