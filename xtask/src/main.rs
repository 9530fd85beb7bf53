//! **This room**: what a developer runs beside cargo itself: `cargo xtask COMMAND`.
//! **Owns**: the test command of the README and the checks that no compiler makes.
//! **Never**: is needed to build, ship or run Weir; knows nothing of its crates' code.
//! **Start reading at**: `test.rs`, then `tidy.rs`.
//! **Tests run with**: `cargo nextest run -p xtask` (which is also how the tidy checks run).

mod autobahn;
mod instructions;
mod proof;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test          install what the tests need, check style, run every test
  tidy          only the checks of layers, lengths, words and documents
  autobahn      the WebSocket conformance suite, both roles
  instructions  count what the WebSocket core costs and compare with the record
  crash         kill -9 at random points, both transports: --points 200
  power-cut     cut the power of a real file system, both transports: --cuts 30
  bit-flips     flip single bits of a data directory: --positions 10000";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let result = match command {
        "test" => test::run(rest),
        "tidy" => tidy::run(),
        "instructions" => instructions::run(),
        "autobahn" => autobahn::run(rest),
        "crash" => proof::crash(rest),
        "power-cut" => proof::power_cut(rest),
        "bit-flips" => proof::bit_flips(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("unknown command {command}\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent()
        .expect("xtask lies in the root of the repository")
        .to_owned()
}
