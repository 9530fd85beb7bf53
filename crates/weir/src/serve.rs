//! `weir serve`: configuration in, ready line out, then wait for a signal.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use anyhow::Context;
use clap::{Arg, ArgMatches, Command, value_parser};
use server::boot::{self, Running};
use server::config::{self, settings::SETTINGS};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

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
/// One line that says why the server did not start or did not stop in order.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = config::load(&arguments.flags, arguments.file, std::env::vars_os())?;
    crate::logging::start(&config.log)?;
    let username = config.root_username_or_default().to_owned();
    // Before boot, so that a signal that comes during it is not lost.
    let stop = Stop::listen()?;
    let running = boot::start(config)?;
    // Before the ready line: whoever waits for that may send a signal at once.
    stop.drain_from_now_on();
    announce(&running, &username)?;
    stop.wait();
    anyhow::ensure!(
        running.shutdown(),
        "not everything ended in order, see the log"
    );
    Ok(())
}

/// The generated password first: whoever waits for the ready line may log in at once.
fn announce(running: &Running, username: &str) -> anyhow::Result<()> {
    if let Some(password) = &running.generated_root_password {
        eprintln!("weir: password of user {username} (shown only this once): {password}");
    }
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "weir ready tcp={} websocket={} driver={} shards={} data={}",
        running.tcp_address,
        running.websocket_address,
        running.driver,
        running.shards,
        running.data_dir.display(),
    )
    .and_then(|()| output.flush())
    .context("cannot write the ready line to standard output")
}

/// SIGINT and SIGTERM, as one thread hears them.
struct Stop {
    is_ready: Arc<AtomicBool>,
    asked: mpsc::Receiver<i32>,
}

impl Stop {
    fn listen() -> anyhow::Result<Stop> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot listen for signals")?;
        let is_ready = Arc::new(AtomicBool::new(false));
        let (ask, asked) = mpsc::channel();
        let stop = Stop {
            is_ready: is_ready.clone(),
            asked,
        };
        let thread = std::thread::Builder::new().name("weir-signals".to_owned());
        thread
            .spawn(move || {
                for signal in signals.forever() {
                    // Before the ready line nothing was acknowledged, so nothing is lost; later
                    // the first signal asks for a drain and a second one is impatient.
                    let is_first = is_ready.swap(false, Ordering::SeqCst);
                    if !is_first || ask.send(signal).is_err() {
                        tracing::warn!(signal, "stopping at once");
                        std::process::exit(1);
                    }
                }
            })
            .context("cannot start a thread")?;
        Ok(stop)
    }

    /// From now on the first signal asks for a drain instead of ending the process.
    fn drain_from_now_on(&self) {
        self.is_ready.store(true, Ordering::SeqCst);
    }

    /// Returns when a signal asks for a drain.
    fn wait(&self) {
        if let Ok(signal) = self.asked.recv() {
            tracing::info!(signal, "draining");
        }
    }
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
