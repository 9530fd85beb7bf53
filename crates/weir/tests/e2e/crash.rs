//! What was acknowledged survives the sudden end of the process, and damage is found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use iggy::prelude::*;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::client::*;
use crate::harness::{Driver, Server, Setup, Transport, files_below, matrix, random, run};

matrix!(
    killed_at_twenty_random_points,
    last_record_cut_off_is_reported,
    last_record_with_a_flipped_bit_is_reported,
);

/// Acknowledged payloads with the partition and offset that the acknowledgement named.
type Acknowledged = Arc<Mutex<HashMap<String, (u32, u64)>>>;

const ROUNDS: usize = 20;
const PRODUCERS: usize = 3;
const PARTITIONS: u32 = 2;

async fn killed_at_twenty_random_points(setup: Setup) {
    let mut random = random();
    let acknowledged = Acknowledged::default();
    let server = setup.start();
    create_topic(&connect(&server, setup.transport).await, PARTITIONS).await;
    drop(server.stop());

    for round in 0..ROUNDS {
        let server = setup.start();
        let count = random.usize(1..60);
        produce_until(
            &server,
            setup.transport,
            &acknowledged,
            round,
            count,
            &mut random,
        )
        .await;
        server.kill();

        let server = setup.start();
        let client = connect(&server, setup.transport).await;
        check(&client, &acknowledged).await;
        drop(server.kill());
    }
}

/// Returns as soon as `count` more batches are acknowledged, with more of them on their way.
async fn produce_until(
    server: &Server,
    transport: Transport,
    acknowledged: &Acknowledged,
    round: usize,
    count: usize,
    random: &mut fastrand::Rng,
) {
    let remaining = Arc::new(AtomicUsize::new(count));
    let reached = Arc::new(Notify::new());
    let mut producers: Vec<JoinHandle<()>> = Vec::new();
    for producer in 0..PRODUCERS {
        let client = connect(server, transport).await;
        let batch_length = random.usize(1..20);
        let (acknowledged, remaining) = (acknowledged.clone(), remaining.clone());
        let reached = reached.clone();
        producers.push(tokio::spawn(async move {
            for number in 0.. {
                let partition = (producer + number) as u32 % PARTITIONS;
                let payloads: Vec<String> = (0..batch_length)
                    .map(|index| format!("{round}-{producer}-{number}-{index}"))
                    .collect();
                let sent = send(&client, partition, payloads.iter().cloned()).await;
                let Ok(base_offset) = sent else { return };
                let mut acknowledged = acknowledged.lock().expect("no holder panics");
                for (payload, offset) in payloads.into_iter().zip(base_offset..) {
                    acknowledged.insert(payload, (partition, offset));
                }
                if remaining.fetch_sub(1, Ordering::Relaxed) == 1 {
                    reached.notify_one();
                }
            }
        }));
    }
    reached.notified().await;
    // Nobody is told to stop before the process is killed, so requests are in flight then; but
    // the clients must not reconnect and go on afterwards.
    for producer in producers {
        producer.abort();
    }
}

/// `read_all` checks that offsets are dense and that nothing is there twice.
async fn check(client: &IggyClient, acknowledged: &Acknowledged) {
    let mut found = HashMap::new();
    for partition in 0..PARTITIONS {
        for (text, offset) in read_all(client, partition).await.into_iter().zip(0_u64..) {
            let before = found.insert(text, (partition, offset));
            assert!(before.is_none(), "nothing is in two partitions");
        }
    }
    let acknowledged = acknowledged.lock().expect("no holder panics");
    for (payload, place) in acknowledged.iter() {
        assert_eq!(
            found.get(payload),
            Some(place),
            "{payload} was acknowledged"
        );
    }
}

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
