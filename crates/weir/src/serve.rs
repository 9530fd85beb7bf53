//! `weir serve`: configuration in, ready line out, then wait for a signal.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Arg, ArgMatches, Command, value_parser};
use server::boot::{self, Running};
use server::config::{self, Config, settings::SETTINGS};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Time from the signal to the end of the process; a drain that takes longer is cut. Process
/// managers commonly wait 10 s before they kill.
const DRAIN_MAX: Duration = Duration::from_millis(9_500);

/// What was given on the command line, not yet checked.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    file: Option<PathBuf>,
    /// Name of the setting and its value.
    flags: Vec<(&'static str, String)>,
}

/// Serves until a signal asks to stop.
///
/// # Errors
/// One line that says why the server did not start or did not stop cleanly.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.flags, arguments.file, std::env::vars_os())?;
    logging_for(&config)?;
    // Before boot, so that a signal that comes during it is not lost.
    let signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;

    let data_dir = config.data_dir.clone();
    let username = config.root_username_or_default().to_owned();
    let running = boot::start(config)?;
    announce(&running, &data_dir, &username);
    stop_on_signal(signals, &running);
    running.wait()?;
    Ok(())
}

fn logging_for(config: &Config) -> anyhow::Result<()> {
    crate::logging::start(&config.log)
}

/// The generated password first: whoever waits for the ready line may log in at once.
fn announce(running: &Running, data_dir: &std::path::Path, username: &str) {
    if let Some(password) = &running.generated_root_password {
        eprintln!("weir: password of user {username} (shown only this once): {password}");
    }
    println!(
        "weir ready tcp={} websocket={} driver={} shards={} data={}",
        running.tcp_address,
        running.websocket_address,
        running.driver,
        running.shards,
        data_dir.display(),
    );
}

/// The first signal starts the drain, a second one ends the process at once.
fn stop_on_signal(mut signals: Signals, running: &Running) {
    let stopper = running.stopper();
    std::thread::spawn(move || {
        let mut draining = false;
        for signal in signals.forever() {
            if draining {
                tracing::warn!(signal, "second signal: stopping without draining");
                std::process::exit(1);
            }
            draining = true;
            tracing::info!(signal, "draining");
            stopper.stop();
            std::thread::spawn(|| {
                std::thread::sleep(DRAIN_MAX);
                eprintln!("weir: requests in flight did not finish within {DRAIN_MAX:?}");
                std::process::exit(1);
            });
        }
    });
}

impl clap::FromArgMatches for Arguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = SETTINGS
            .iter()
            .filter(|setting| setting.has_flag)
            .filter_map(|setting| {
                let value = matches.get_one::<String>(setting.name)?;
                Some((setting.name, value.clone()))
            })
            .collect();
        Ok(Arguments {
            file: matches.get_one::<PathBuf>("config").cloned(),
            flags,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Arguments {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("TOML file with settings, see weir.toml; also WEIR_CONFIG");
        SETTINGS
            .iter()
            .filter(|setting| setting.has_flag)
            .fold(command, |command, setting| {
                command.arg(
                    Arg::new(setting.name)
                        .long(setting.flag())
                        .value_name(setting.value_name)
                        .help(format!("{}; also {}", setting.help, setting.variable())),
                )
            })
            .arg(file)
            .after_help(
                "WEIR_ROOT_PASSWORD sets the root user's password on first start; it has no \
                 flag because a command line is visible to every user of the machine.",
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
