//! SIGTERM and SIGINT: what is in flight is finished, everybody is told, exit code 0.

use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use tokio::sync::Notify;

use crate::client::*;
use crate::harness::{Driver, Setup, Transport, matrix, run};
use crate::raw::{RawClient, Received};

matrix!(drains_while_producing);

async fn drains_while_producing(setup: Setup) {
    let server = setup.start();
    create_topic(&connect(&server, setup.transport).await, 1).await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let reached = Arc::new(Notify::new());
    let client = connect(&server, setup.transport).await;
    let producer = tokio::spawn({
        let (acknowledged, reached) = (acknowledged.clone(), reached.clone());
        async move {
            for number in 0.. {
                let payload = format!("message {number}");
                let Ok(offset) = send(&client, 0, [payload.clone()]).await else {
                    return;
                };
                let mut acknowledged = acknowledged.lock().expect("no holder panics");
                acknowledged.push((payload, offset));
                if acknowledged.len() == 25 {
                    reached.notify_one();
                }
            }
        }
    });
    reached.notified().await;
    let ended = server.stop();
    producer.abort();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(
        ended.output, "",
        "the ready line is all that standard output gets"
    );

    let server = setup.start();
    let client = connect(&server, setup.transport).await;
    let found = read_all(&client, 0).await;
    for (payload, offset) in acknowledged.lock().expect("no holder panics").iter() {
        assert_eq!(
            found.get(*offset as usize),
            Some(payload),
            "it was acknowledged"
        );
    }
}

fn idle_connections_are_told(driver: Driver, signal: Signal) {
    run(Transport::WebSocket, driver, async |setup: Setup| {
        let server = setup.start();
        let mut websocket = RawClient::connect(&server, Transport::WebSocket);
        let mut logged_in = RawClient::connect(&server, Transport::WebSocket);
        logged_in.log_in();
        let mut tcp = RawClient::connect(&server, Transport::Tcp);
        tcp.log_in();

        server.signal(signal);
        assert_eq!(websocket.receive_close(), Some(1001), "going away");
        assert_eq!(logged_in.receive_close(), Some(1001), "going away");
        assert_eq!(tcp.receive(), Received::Closed(None));
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    });
}

#[test]
fn terminate_closes_idle_connections_io_uring() {
    idle_connections_are_told(Driver::IoUring, Signal::TERM);
}

#[test]
fn terminate_closes_idle_connections_poll() {
    idle_connections_are_told(Driver::Poll, Signal::TERM);
}

#[test]
fn interrupt_closes_idle_connections_io_uring() {
    idle_connections_are_told(Driver::IoUring, Signal::INT);
}

#[test]
fn interrupt_closes_idle_connections_poll() {
    idle_connections_are_told(Driver::Poll, Signal::INT);
}

/// A peer that never answers the Close frame cannot hold up the end.
#[test]
fn a_peer_that_does_not_answer_is_not_waited_for() {
    run(
        Transport::WebSocket,
        Driver::IoUring,
        async |setup: Setup| {
            let server = setup.start();
            let silent = RawClient::connect(&server, Transport::WebSocket);
            let ended = server.stop();
            assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
            drop(silent);
        },
    );
}
