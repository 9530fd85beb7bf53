//! The published Python client, unmodified. The scripts are in `tests/python`; each fails with an
//! exception when something is not as it should be.

use crate::harness::{Setup, matrix};
use crate::python::{self, Script};

matrix!(
    produces_and_polls,
    stores_offsets,
    consumes_as_a_group_of_two,
    goes_on_after_a_restart,
    ten_thousand_messages_survive_a_restart,
);

async fn produces_and_polls(setup: Setup) {
    let server = setup.start();
    python::run("produce_and_poll.py", &server, setup.transport, &[]);
}

async fn stores_offsets(setup: Setup) {
    let server = setup.start();
    python::run("consumer_offsets.py", &server, setup.transport, &["store"]);
    let server = server.restart();
    python::run("consumer_offsets.py", &server, setup.transport, &["check"]);
}

async fn consumes_as_a_group_of_two(setup: Setup) {
    let server = setup.start();
    python::run("consumer_group.py", &server, setup.transport, &[]);
}

/// One client that lives through a restart of the server.
async fn goes_on_after_a_restart(setup: Setup) {
    let server = setup.start();
    let mut script = Script::start("reconnect.py", &server, setup.transport);
    script.expect_line("sent");
    let server = server.restart();
    script.say("restarted");
    script.finish(&server);
}

async fn ten_thousand_messages_survive_a_restart(setup: Setup) {
    let server = setup.start();
    python::run("ten_thousand.py", &server, setup.transport, &["produce"]);
    let server = server.restart();
    python::run("ten_thousand.py", &server, setup.transport, &["verify"]);
}
