//! **This room**: the one binary; what runs in production carries its own tools.
//! **Owns**: the command line, the ready line, logging set-up, signals, exit codes.
//! **Never**: decides anything about the protocol or the data; `server` does.
//! **Start reading at**: `serve.rs`.
//! **Tests run with**: `cargo nextest run -p weir` (end to end, against the real process).

mod bench;
mod doctor;
mod inspect;
mod logging;
mod serve;
mod table;

use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{Parser, Subcommand};

/// Large blocks go back to the system when they are freed. With the C library's allocator they
/// stay: a few hundred password checks of 19 MiB each left more than a gigabyte in its arenas.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A persistent message streaming server that speaks the Apache Iggy protocol over TCP and
/// WebSocket.
#[derive(Parser)]
#[command(name = "weir", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM.
    Serve(serve::Arguments),
    /// Put load on a server and measure it.
    Bench(Box<bench::Command>),
    /// Verify a data directory that no server uses, and list what it holds.
    Inspect(inspect::Arguments),
    /// Find out how this machine suits a server.
    Doctor(doctor::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(command) => bench::dispatch(*command).map(|()| ExitCode::SUCCESS),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// Help goes to standard output in full; a mistake becomes one line like every other error.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // Nobody is left to tell when the help text itself cannot be printed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if let Some(suggested) = error.get(ContextKind::SuggestedArg) {
        line.push_str(&format!("; did you mean {suggested}?"));
    }
    fail(&line)
}

/// The last line of a failed run.
fn fail(line: &str) -> ExitCode {
    eprintln!("weir: {}", line.replace('\n', " "));
    ExitCode::FAILURE
}
