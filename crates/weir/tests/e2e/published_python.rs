//! The published Python client, unmodified. The scripts are in `tests/python`; each fails with an
//! exception when something is not as it should be.

use std::process::Command;

use crate::harness::{Driver, PASSWORD, Setup, Transport, clean, matrix, run_to_end};
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

/// The README's example, taken from the README: run twice, it goes on where it stopped.
#[test]
fn example_of_the_readme() {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("```python\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let setup = Setup::new(Transport::WebSocket, Driver::Poll);
    let server = setup.start();
    let example = example.replace("127.0.0.1:8092", &server.websocket.to_string());
    let script = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(script.path(), example).expect("written");
    for first in [0, 3] {
        let mut command = clean(Command::new(python::interpreter()));
        command.arg(script.path()).arg(PASSWORD);
        let output = run_to_end(command);
        let lines: Vec<String> = (0..3)
            .map(|number| format!("{} hello {number}", first + number))
            .collect();
        // The status says nothing: see `tests/python/running.py` on how the interpreter may end.
        let printed = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(printed.lines().collect::<Vec<_>>(), lines, "{errors}");
    }
}
