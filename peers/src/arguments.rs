//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures echo servers on WebSocket libraries side by side: server CPU per message, messages
/// per second, latency and memory, with TCP echoes as the limit. Everything stays on 127.0.0.1.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// A short profile: few rounds, short measurements.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these servers, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Only these scenarios, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) scenario: Vec<String>,
    /// Rounds over all servers; figures are medians over the rounds.
    #[arg(long, value_name = "COUNT")]
    pub(crate) rounds: Option<u32>,
    /// Seconds of one measurement.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) seconds: Option<f64>,
    /// Writes every figure as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws a chart per scenario as SVG.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) svg: Option<PathBuf>,
    /// Counts user-space instructions for each message with valgrind instead of measuring time.
    #[arg(long)]
    pub(crate) instructions: bool,
    /// Prints the names of servers and scenarios.
    #[arg(long)]
    pub(crate) list: bool,
    /// The processor of the servers.
    #[arg(long, default_value_t = 0)]
    pub(crate) server_core: usize,
    /// The processor of the load generator.
    #[arg(long, default_value_t = 1)]
    pub(crate) client_core: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one echo server until it is ended.
    Serve {
        /// Its name, as `--list` prints it.
        name: String,
        /// Sends each message to every connection.
        #[arg(long)]
        broadcast: bool,
        /// Keeps it on one processor, and ends it with its parent.
        #[arg(long)]
        core: Option<usize>,
    },
}
