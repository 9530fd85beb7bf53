//! Runs the scripts in `tests/python` with the published Python client.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::{PASSWORD, Server, Transport, USERNAME, clean, run_to_end};

/// Runs a script to its end; it must succeed.
pub(crate) fn run(script: &str, server: &Server, transport: Transport, arguments: &[&str]) {
    run_at(script, server, &address(server, transport), arguments);
}

/// [`run`] with a connection string of the caller's.
pub(crate) fn run_at(script: &str, server: &Server, address: &str, arguments: &[&str]) {
    let mut command = command(script, address);
    command.args(arguments);
    let output = run_to_end(command);
    assert!(
        output.status.success(),
        "{script} {arguments:?}: {}\n{}\nserver:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        server.log(),
    );
}

/// A script that tells what it has done line by line and waits to be told to go on.
pub(crate) struct Script {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Script {
    pub(crate) fn start(script: &str, server: &Server, transport: Transport) -> Script {
        let mut child = command(script, &address(server, transport))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Script {
            child,
            input,
            output,
        }
    }

    pub(crate) fn expect_line(&mut self, expected: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("readable");
        if line.trim_end() != expected {
            panic!("it said {line:?}, not {expected:?}\n{}", self.errors());
        }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }

    pub(crate) fn finish(mut self, server: &Server) {
        let errors = self.errors();
        let status = self.child.wait().expect("the process is ours");
        assert!(
            status.success(),
            "{status}\n{errors}\nserver:\n{}",
            server.log()
        );
    }

    /// Everything on its standard error; returns when it has ended.
    fn errors(&mut self) -> String {
        let mut errors = String::new();
        let stderr = self.child.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut errors).expect("text");
        errors
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Most often it has ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(server: &Server, transport: Transport) -> String {
    let scheme = match transport {
        Transport::Tcp => "tcp",
        Transport::WebSocket => "ws",
    };
    let address = server.address(transport);
    format!("iggy+{scheme}://{USERNAME}:{PASSWORD}@{address}")
}

fn command(script: &str, address: &str) -> Command {
    let mut command = clean(Command::new(interpreter()));
    command.arg(script_path(script)).arg(address);
    command
}

pub(crate) fn script_path(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join("python")
        .join(script)
}

/// From the environment, or where `cargo xtask test` puts it: beside the build profiles.
pub(crate) fn interpreter() -> PathBuf {
    if let Some(path) = std::env::var_os("WEIR_TEST_PYTHON") {
        return PathBuf::from(path);
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_weir"));
    let target = binary.ancestors().nth(2).expect("target/profile/weir");
    let path = target.join("python").join("bin").join("python");
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask test` once",
        path.display()
    );
    path
}
