//! `weir bench`: what a server does under load, over TCP, over WebSocket, or both compared.
//!
//! Reads as: arguments → plan → for each round a server prepared, actors run, a [`round::Round`]
//! measured → a table and a JSON file. Start at [`run`]; what is measured how is in `measure.rs`.

mod actor;
mod arguments;
mod batches;
mod machine;
mod measure;
mod plan;
mod process;
mod report;
mod round;
mod table;
mod visual;

use std::io::Write;

use anyhow::Context;

pub(crate) use arguments::Command;
use arguments::{Arguments, Saved};
use plan::Plan;
use process::Server;

/// # Errors
/// One line that says which argument, which file, which server or which actor failed.
pub(crate) fn dispatch(command: Command) -> anyhow::Result<()> {
    match (command.saved, command.measured) {
        (Some(Saved::Report(arguments)), _) => visual::run(&arguments),
        (None, Some(arguments)) => run(arguments, &command.pictures),
        (None, None) => anyhow::bail!("weir bench needs a kind and a transport, see --help"),
    }
}

/// Runs the benchmark and prints its table; writes the JSON file and draws if that is asked for.
fn run(arguments: Arguments, pictures: &visual::Pictures) -> anyhow::Result<()> {
    let plan = Plan::new(&arguments)?;
    let server = match &arguments.server {
        Some(address) => Server::running(address, &arguments)?,
        None => Server::spawn(&arguments)?,
    };
    // The server has its cores by now; what follows is the load and gets the others.
    process::pin_to(&plan.client_cores)?;
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        for transport in plan.transports_of_round(number) {
            progress(&format!(
                "round {number} of {} over {transport}",
                plan.rounds
            ));
            let round = round::run(&plan, &server, transport, number)
                .with_context(|| format!("round {number} over {transport}"))?;
            rounds.push(round);
        }
    }
    let report = report::Report::new(&plan, &server, rounds);
    server.stop()?;
    let saved = report.to_json();
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&saved)?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    visual::draw(pictures, "this run", saved)?;
    let mut output = std::io::stdout().lock();
    output
        .write_all(table::render(&report).as_bytes())
        .context("cannot write the table")
}

/// One line for whoever watches a terminal, nothing for a pipe.
fn progress(text: &str) {
    use std::io::IsTerminal;
    let mut error = std::io::stderr();
    if error.is_terminal() {
        // Nobody is left to tell when the terminal is gone.
        let _ = write!(error, "\r\x1b[2K{text}\r");
    }
}
