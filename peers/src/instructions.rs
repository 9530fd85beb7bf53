//! `--instructions`: user-space instructions of a server for each message, counted by callgrind.
//!
//! A virtual machine often has no counters, and time on a shared one says little. The server runs
//! under valgrind for a fixed number of messages and again for three times as many; the
//! difference is that of the messages alone. The kernel's part is not counted.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::load::{Frames, open_socket};
use crate::process::ServerProcess;
use crate::rounds::Plan;
use crate::scenario::Kind;
use crate::servers::{Family, Outcome};

/// Rounds of one window in the shorter of the two runs.
const ROUNDS_COUNT: u64 = 100;

/// Larger payloads take minutes under valgrind.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// A server that is silent for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Prints a line for each WebSocket server and scenario of the plan that can be counted.
pub(crate) fn count(plan: &Plan) -> Outcome {
    let core = plan.timing.server_core;
    println!("| scenario | server | instructions/message |\n|---|---|---:|");
    for scenario in &plan.scenarios {
        let Kind::Echo { window_count } = scenario.kind else {
            continue;
        };
        if scenario.payload_bytes > PAYLOAD_BYTES_MAX {
            continue;
        }
        let frames = Frames::new(scenario.payload_bytes, window_count, false);
        let servers = plan.servers.iter();
        for server in servers.filter(|server| server.family != Family::Raw) {
            let few = run(server.name, &frames, window_count, ROUNDS_COUNT, core);
            let many = run(server.name, &frames, window_count, 3 * ROUNDS_COUNT, core);
            let messages_count = 2 * ROUNDS_COUNT * u64::from(window_count);
            match few.and_then(|few| Ok(many?.saturating_sub(few) / messages_count)) {
                Ok(each) => println!("| {} | {} | {each} |", scenario.name, server.name),
                Err(error) => eprintln!("{} {}: {error}", scenario.name, server.name),
            }
        }
    }
    Ok(())
}

fn run(
    name: &str,
    frames: &Frames,
    window_count: u32,
    rounds_count: u64,
    core: usize,
) -> io::Result<u64> {
    let file = PathBuf::from(format!("callgrind.{name}.{}.out", std::process::id()));
    let server = ServerProcess::start_counted(name, &file, core)?;
    let mut socket = open_socket(server.address(), frames)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    let window = frames.window(window_count);
    let mut echo = vec![0; frames.echo_window_bytes(window_count)];
    for _ in 0..rounds_count {
        socket.write_all(&window)?;
        socket.read_exact(&mut echo)?;
    }
    server.end()?;
    let text = std::fs::read_to_string(&file)?;
    std::fs::remove_file(&file)?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))
        .and_then(|total| total.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("valgrind counted nothing"))
}
