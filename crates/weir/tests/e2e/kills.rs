//! `kill -9` at random points of a load that seals and removes segments, changes the catalog and
//! stores offsets all the time: what was acknowledged is there afterwards, and nothing else.
//!
//! `WEIR_TEST_KILLS=<points>` kills so often over each transport, half of it on each driver;
//! `cargo xtask crash --points <points>` runs that. Each point's moment is drawn from the seed.

use std::time::Duration;

use crate::client::connect;
use crate::harness::{Setup, matrix, random, run_to_end, weir};
use crate::ledger::{SharedLedger, check};
use crate::load::{Load, Step, create_relaxed_topic, create_topic};

matrix!(killed_at_random_points, killed_while_syncs_are_put_off);

/// Points of each test, when nobody asks for more.
const POINTS_DEFAULT: usize = 10;

fn points() -> usize {
    match std::env::var("WEIR_TEST_KILLS") {
        Ok(text) => text.parse::<usize>().expect("a number").div_ceil(2),
        Err(_) => POINTS_DEFAULT,
    }
}

async fn killed_at_random_points(setup: Setup) {
    killed(setup, points(), None).await;
}

/// What is acknowledged before it is synced survives the end of the process all the same.
async fn killed_while_syncs_are_put_off(setup: Setup) {
    killed(setup, points().div_ceil(5), Some("every_millis 20")).await;
}

async fn killed(setup: Setup, points: usize, sync_policy: Option<&str>) {
    let mut random = random();
    let ledger = SharedLedger::default();
    let mut server = setup.start();
    let client = connect(&server, setup.transport).await;
    match sync_policy {
        None => create_topic(&client).await,
        Some(policy) => create_relaxed_topic(&client, policy).await,
    }
    drop(client);
    for point in 0..points {
        let name = format!("load{point}");
        let load = Load::start(&server, setup.transport, &ledger, &name, &mut random);
        let mut load = load.await;
        let (step, count) = match random.u32(..6) {
            0 | 1 => (Step::Changing, random.u64(1..20)),
            2 if point > 2 => (Step::Removing, 1),
            _ => (Step::Sent, random.u64(1..60)),
        };
        load.wait_for(step, count).await;
        // The point itself: somewhere in what follows that step.
        let delay_us = random.u64(..3_000);
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        // Nobody is told to stop before, so requests are in flight.
        server.kill();
        load.stop().await;
        server = setup.start();
        let known = ledger.copy();
        let found = check(&connect(&server, setup.transport).await, &known, &known).await;
        println!("{point}: {step:?} {count}, then {delay_us} us; {found} messages");
    }
    server.kill();
    let ledger = ledger.copy();
    let mut inspect = weir();
    inspect.arg("inspect").arg(&setup.options.data);
    let output = run_to_end(inspect);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    println!(
        "{points} kills: {} messages acknowledged, {:?} segments removed, {} in recycled files, {} \
         topics created",
        ledger.acknowledged.len(),
        ledger.removals_asked,
        text.matches("recycled").count(),
        ledger.topics_created.len()
    );
}
