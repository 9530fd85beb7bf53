//! Power cuts on a real file system, while the server writes: what was acknowledged before the cut
//! is there after it, byte for byte.
//!
//! `WEIR_TEST_POWER_CUTS=<count>` cuts so often over each transport; `cargo xtask power-cut --cuts
//! <count>` runs that. Where nothing can be mounted it says why in one line and is done.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use crate::client::connect;
use crate::harness::{Driver, Options, Server, Transport, random, run_to_end, weir};
use crate::ledger::{Ledger, SharedLedger, check};
use crate::load::{Load, Step, create_relaxed_topic, create_topic};
use crate::mounts::{Cut, Power, what_is_missing};

/// Cuts of each test, when nobody asks for more.
const CUTS_DEFAULT: usize = 3;

/// A file that nobody syncs, to prove that a cut takes what was not.
const UNSYNCED: &[u8] = b"written, never synced";

#[test]
fn power_cut_over_tcp() {
    run(Transport::Tcp);
}

#[test]
fn power_cut_over_websocket() {
    run(Transport::WebSocket);
}

/// Proof that the two above can fail: with syncs put off for ever, what was acknowledged is lost,
/// and the same check says so.
#[test]
fn power_cut_takes_what_was_acknowledged_before_its_sync() {
    on_a_file_system(async |power| {
        let mut random = random();
        let options = Options::new(Driver::IoUring, power.inner.path.join("data"));
        let server = Server::start(&options);
        create_relaxed_topic(&connect(&server, Transport::Tcp).await, "never").await;
        let ledger = SharedLedger::default();
        let load = Load::start(&server, Transport::Tcp, &ledger, "load", &mut random);
        let mut load = load.await;
        let mut is_seen = false;
        for number in 0..CUTS_DEFAULT {
            load.wait_for(Step::Sent, 20).await;
            let must = ledger.copy();
            let cut = power.cut(number).expect("a snapshot, mounted");
            let may = ledger.copy();
            let check = check_cut(&cut, Transport::Tcp, &must, &may);
            is_seen |= AssertUnwindSafe(check).catch_unwind().await.is_err();
        }
        load.stop().await;
        assert!(is_seen, "a check that sees no loss here sees none anywhere");
        server.kill();
    });
}

fn run(transport: Transport) {
    on_a_file_system(async |power| cut_while_writing(power, transport).await);
}

/// Runs a scenario where file systems can be made, and says why not elsewhere.
fn on_a_file_system(scenario: impl AsyncFnOnce(&Power)) {
    if let Some(reason) = what_is_missing() {
        println!("skipped: power cuts need a file system of their own, and {reason}");
        return;
    }
    let power = match Power::new() {
        Ok(power) => power,
        Err(reason) => {
            println!("skipped: power cuts need a file system of their own, but {reason}");
            return;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime for the clients");
    runtime.block_on(scenario(&power));
}

async fn cut_while_writing(power: &Power, transport: Transport) {
    let mut random = random();
    let cuts = match std::env::var("WEIR_TEST_POWER_CUTS") {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => CUTS_DEFAULT,
    };
    let options = Options::new(Driver::IoUring, power.inner.path.join("data"));
    let server = Server::start(&options);
    create_topic(&connect(&server, transport).await).await;
    let ledger = SharedLedger::default();
    let mut found = 0;
    for number in 0..cuts {
        // A load for each cut: while one is looked at, nothing needs to be written.
        let name = format!("load{number}");
        let load = Load::start(&server, transport, &ledger, &name, &mut random);
        let mut load = load.await;
        let (step, count) = match random.u32(..4) {
            0 => (Step::Changing, random.u64(1..10)),
            _ => (Step::Sent, random.u64(1..80)),
        };
        load.wait_for(step, count).await;
        tokio::time::sleep(Duration::from_micros(random.u64(..5_000))).await;
        let unsynced = format!("unsynced-{number}");
        std::fs::write(power.inner.path.join(&unsynced), UNSYNCED).expect("written");
        // Acknowledged before the cut begins: must be there. Asked before it ended: may be there.
        let must = ledger.copy();
        let cut = power.cut(number).expect("a snapshot, mounted");
        let may = ledger.copy();
        load.stop().await;
        let left = std::fs::read(cut.mount.path.join(&unsynced)).unwrap_or_default();
        assert_ne!(
            left, UNSYNCED,
            "this cut takes nothing away and proves nothing"
        );
        found = check_cut(&cut, transport, &must, &may).await;
        println!(
            "cut {number}: {} messages acknowledged so far, {found} on the disk",
            must.acknowledged.len()
        );
    }
    let ended = server.stop();
    assert!(ended.status.success(), "{}", ended.log);
    assert!(found > 0, "there was something to lose");
}

/// Inspects what is left, then starts a server on it and reads everything.
async fn check_cut(cut: &Cut, transport: Transport, must: &Ledger, may: &Ledger) -> usize {
    let data = cut.mount.path.join("data");
    let mut inspect = weir();
    inspect.arg("inspect").arg(&data);
    let output = run_to_end(inspect);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let server = Server::start(&Options::new(Driver::IoUring, data));
    let found = check(&connect(&server, transport).await, must, may).await;
    server.kill();
    found
}
