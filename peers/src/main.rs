//! **This room** measures our WebSocket library beside those of others.
//! **Owns** the echo servers, the load generator, the rounds and the report.
//! **Never** is built with the product, nor sends anything beyond 127.0.0.1.
//! **Start reading at** `measure.rs`, one measurement, and `servers/mod.rs`, what is measured.
//! **Tests run with** `cargo test` in this directory.

mod arguments;
mod instructions;
mod limits;
mod load;
mod measure;
mod process;
mod report;
mod ring;
mod rounds;
mod scenario;
mod servers;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use servers::{Failure, Outcome};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Serve {
            name,
            broadcast,
            core,
        }) => serve(name, *broadcast, *core),
        None if arguments.list => {
            list();
            Ok(())
        }
        None if arguments.instructions => rounds::Plan::from_arguments(&arguments)
            .map_err(Failure::from)
            .and_then(|plan| instructions::count(&plan)),
        None => compare(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(name: &str, broadcast: bool, core: Option<usize>) -> Outcome {
    let server = servers::find(name).ok_or_else(|| format!("there is no server {name}"))?;
    if let Some(core) = core {
        process::end_with_parent()?;
        process::pin(core)?;
    }
    process::raise_descriptor_limit()?;
    match server.broadcast {
        Some(run) if broadcast => run(),
        None if broadcast => Err(format!("{name} has no broadcast").into()),
        _ => (server.echo)(),
    }
}

fn list() {
    println!("servers");
    for server in servers::ALL {
        println!("  {:<18} {}", server.name, server.what);
    }
    println!("scenarios");
    for scenario in scenario::ALL {
        println!("  {:<18} {}", scenario.name, scenario.title);
    }
}

fn compare(arguments: &Arguments) -> Outcome {
    let plan = rounds::Plan::from_arguments(arguments)?;
    process::raise_descriptor_limit()?;
    process::pin(arguments.client_core)?;
    let results = rounds::run(&plan);
    let comparison = report::Comparison::new(&plan, &results);
    print!("{}", report::table::render(&comparison));
    if let Some(path) = &arguments.json {
        std::fs::write(path, report::json::render(&comparison)?)?;
    }
    if let Some(directory) = &arguments.svg {
        std::fs::create_dir_all(directory)?;
        for (name, chart) in report::svg::render(&comparison) {
            std::fs::write(directory.join(name), chart)?;
        }
    }
    if comparison.is_empty() {
        return Err(Failure::from("nothing could be measured"));
    }
    Ok(())
}
