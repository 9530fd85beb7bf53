//! `weir bench`: what a server does under load, over TCP, over WebSocket, or both compared.
//!
//! Reads as: arguments → plan → for each round a server prepared, actors run, a [`round::Round`]
//! measured → a table and a JSON file. Start at [`run`]; what is measured how is in `measure.rs`.

mod actor;
mod arguments;
mod batches;
mod certificate;
mod health;
mod machine;
mod measure;
mod null_server;
mod plan;
mod process;
mod progress;
mod report;
mod round;
mod storage;
mod table;
mod visual;

use std::io::Write;

use anyhow::Context;

pub(crate) use arguments::Command;
use arguments::{Arguments, Kind, Saved};
use plan::Plan;
use process::Server;
use progress::Progress;

/// # Errors
/// One line that says which argument, which file, which server or which actor failed.
pub(crate) fn dispatch(command: Command) -> anyhow::Result<()> {
    match (command.saved, command.measured) {
        (Some(Saved::Report(arguments)), _) => visual::run(&arguments),
        (Some(Saved::NullServer(arguments)), _) => null_server::run(&arguments),
        (Some(Saved::Storage(arguments)), _) => storage::run(&arguments),
        (None, Some(arguments)) => run(arguments, &command.pictures),
        (None, None) => anyhow::bail!("weir bench needs a kind and a transport, see --help"),
    }
}

/// The server that is running, or one that is started now.
fn open(plan: &Plan, arguments: &Arguments) -> anyhow::Result<Server> {
    let server = match &arguments.server {
        Some(address) => Server::running(address, arguments)?,
        None => Server::spawn(arguments)?,
    };
    // The server has its cores by now; what follows is the load and gets the others.
    process::pin_to(&plan.client_cores)?;
    Ok(server)
}

/// Runs the benchmark and prints its table; writes the JSON file and draws if that is asked for.
fn run(arguments: Arguments, pictures: &visual::Pictures) -> anyhow::Result<()> {
    let plan = Plan::new(&arguments)?;
    let mut server = open(&plan, &arguments)?;
    let machine = machine::facts(server.data.as_deref());
    let progress = Progress::new(&plan);
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        for transport in plan.transports_of_round(number) {
            let name = format!("round {number} of {} over {transport}", plan.rounds);
            progress.begin(name.clone(), plan.batches_of_round());
            // Connections would move into the memory that those of the round before have left.
            if plan.kind == Kind::IdleConnections && !rounds.is_empty() && server.is_ours() {
                server.stop()?;
                server = open(&plan, &arguments)?;
            }
            let round = round::run(&plan, &server, transport, number, &progress).context(name)?;
            rounds.push(round);
        }
    }
    progress.end();
    let report = report::Report::new(&plan, &server, machine, rounds);
    server.stop()?;
    let saved = report.to_json();
    if let Some(path) = &arguments.json {
        // Not pretty: a number on each line would make it four times as large.
        let json = serde_json::to_string(&saved)?;
        std::fs::write(path, json + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    visual::draw(pictures, "this run", saved)?;
    let mut output = std::io::stdout().lock();
    output
        .write_all(table::render(&report).as_bytes())
        .context("cannot write the table")
}
