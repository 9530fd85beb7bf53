//! The server process: started for the run or found running, and what it and the load cost.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use client::{Address, Tls, TransportKind};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::arguments::{Arguments, Kind, Transport};
use super::certificate::Certificate;
use super::health;

/// A server to put load on.
pub(crate) struct Server {
    /// Of TCP and of WebSocket.
    addresses: [Option<(String, u16)>; 2],
    credentials: (String, String),
    tls: Option<Tls>,
    /// The process, where it can be looked into.
    pub(crate) process: Option<u32>,
    /// What it said about itself when it was ready.
    pub(crate) description: String,
    child: Option<Child>,
    pub(crate) data: Option<PathBuf>,
    /// In use as long as the server.
    certificate: Option<Certificate>,
    /// Whether it may tell what it counts.
    has_health: bool,
}

/// What a round looks at to see what the server does.
pub(crate) struct Observed {
    pub(crate) process: Option<u32>,
    /// Where it may tell what it counts.
    pub(crate) health: Option<Address>,
}

impl Observed {
    pub(crate) async fn syncs(&self) -> Option<u64> {
        health::log_syncs(self.health.as_ref()?).await
    }
}

impl Server {
    /// A server that runs already, perhaps elsewhere.
    pub(crate) fn running(address: &str, arguments: &Arguments) -> anyhow::Result<Server> {
        let is_needed = arguments.transport != Transport::Tcp;
        ensure!(
            !is_needed || arguments.server_websocket.is_some(),
            "--server-websocket is needed to reach a running server over WebSocket"
        );
        let websocket = arguments
            .server_websocket
            .as_deref()
            .map(parse_place)
            .transpose()?;
        let credentials = arguments
            .credentials
            .split_once(':')
            .context("--credentials are USER:PASSWORD")?;
        let mut server = Server {
            addresses: [Some(parse_place(address)?), websocket],
            credentials: (credentials.0.to_owned(), credentials.1.to_owned()),
            process: None,
            description: format!("running at {address}"),
            child: None,
            data: None,
            tls: arguments.tls.then(|| Tls {
                domain: arguments.tls_domain.clone(),
                authorities_file: arguments.tls_ca_file.clone(),
            }),
            certificate: None,
            has_health: true,
        };
        server.process = match arguments.server_process {
            None => server.find_process()?,
            Some(process) => {
                ensure!(
                    usage(process).is_some(),
                    "--server-process {process} cannot be looked into"
                );
                Some(process)
            }
        };
        Ok(server)
    }

    /// Asks the server for its process number; of use only on the same machine.
    fn find_process(&self) -> anyhow::Result<Option<u32>> {
        let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default())?;
        let address = self.address(TransportKind::Tcp)?;
        let process = runtime.block_on(async {
            let options = client::Options::default();
            let mut client = client::Client::connect_with(&address, options).await?;
            // A server that tells no statistics is measured without its costs.
            Ok::<_, client::Error>(client.stats().await.ok().map(|stats| stats.process_id))
        });
        let process = process.with_context(|| format!("cannot use the server at {address}"))?;
        let Some(process) = process else {
            return Ok(None);
        };
        let is_local = address.host == "localhost"
            || address
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback());
        Ok((is_local && usage(process).is_some()).then_some(process))
    }

    /// Starts this binary as a server on its own cores and waits until it is ready.
    pub(crate) fn spawn(arguments: &Arguments) -> anyhow::Result<Server> {
        // Children inherit the cores of the thread that starts them.
        pin_to(&server_cores(arguments)?)?;
        let credentials = ("bench".to_owned(), format!("bench-{}", std::process::id()));
        let certificate = arguments.tls.then(Certificate::new).transpose()?;
        let mut command = Command::new(std::env::current_exe()?);
        let data = if arguments.self_test {
            command.args(["bench", "null-server", "--driver", &arguments.driver]);
            None
        } else {
            let data = data_directory(arguments)?;
            serve(&mut command, arguments, &data);
            Some(data)
        };
        if let Some(certificate) = &certificate {
            command.arg("--tls-cert-file").arg(certificate.file());
            command.arg("--tls-key-file").arg(certificate.key_file());
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIR_") {
                command.env_remove(name);
            }
        }
        if arguments.kind == Kind::IdleConnections {
            // Freed memory goes back to the system at once. Otherwise connections move into what
            // the start-up has left behind, and seem to cost nothing.
            command.env("MIMALLOC_PURGE_DELAY", "0");
        }
        command
            .env("WEIR_ROOT_USERNAME", &credentials.0)
            .env("WEIR_ROOT_PASSWORD", &credentials.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let mut server = Server {
            addresses: [None, None],
            credentials,
            process: Some(child.id()),
            description: String::new(),
            data,
            child: None,
            tls: certificate.as_ref().map(Certificate::trusted),
            certificate,
            has_health: !arguments.self_test,
        };
        end_with_signals(child.id(), server.directories())?;
        let output = child
            .stdout
            .take()
            .context("the server's output is piped")?;
        server.child = Some(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line.starts_with("weir ready"),
            "the server did not start, see its message"
        );
        for (place, name) in server.addresses.iter_mut().zip(["tcp", "websocket"]) {
            let address: SocketAddr = field(&line, name)?.parse()?;
            *place = Some((address.ip().to_string(), address.port()));
        }
        let (driver, shards) = (field(&line, "driver")?, field(&line, "shards")?);
        server.description = if arguments.self_test {
            format!("none: the load against what answers at once and keeps nothing, {driver}")
        } else {
            format!("started for the run, {driver}, {shards} shards")
        };
        Ok(server)
    }

    /// What goes with it.
    fn directories(&self) -> Vec<PathBuf> {
        let certificate = self.certificate.as_ref();
        let certificate = certificate.map(|certificate| certificate.directory.clone());
        self.data.clone().into_iter().chain(certificate).collect()
    }

    /// Whether it was started for the run.
    pub(crate) fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn observed(&self) -> Observed {
        // A server without a WebSocket port has no page.
        let websocket = self.address(TransportKind::WebSocket).ok();
        Observed {
            process: self.process,
            health: websocket.filter(|_| self.has_health),
        }
    }

    pub(crate) fn address(&self, transport: TransportKind) -> anyhow::Result<Address> {
        let index = usize::from(transport != TransportKind::Tcp);
        let (host, port) = self.addresses[index]
            .clone()
            .context("the server's address")?;
        Ok(Address {
            transport,
            host,
            port,
            credentials: Some(self.credentials.clone()),
            tls: self.tls.clone(),
        })
    }

    /// Ends a server that was started for the run and removes its data.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let process = i32::try_from(child.id())?;
        kill_process(
            Pid::from_raw(process).context("a process number")?,
            Signal::TERM,
        )?;
        let status = child.wait()?;
        ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself, and then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(data) = &self.data {
            // What is left over is in a temporary directory; the measurement is not hurt.
            let _ = std::fs::remove_dir_all(data);
        }
    }
}

fn data_directory(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let data = match &arguments.data_dir {
        Some(path) => path.clone(),
        None => std::env::temp_dir().join(format!("weir-bench-{}", std::process::id())),
    };
    ensure!(
        !data.exists(),
        "{} exists; the run would remove it",
        data.display()
    );
    Ok(data)
}

fn serve(command: &mut Command, arguments: &Arguments, data: &Path) {
    command
        .args(["serve", "--tcp", "127.0.0.1:0"])
        .args(["--websocket", "127.0.0.1:0"])
        .args(["--driver", &arguments.driver, "--log", "warn"])
        .args([
            "--websocket-deflate",
            if arguments.deflate { "true" } else { "false" },
        ])
        .arg("--data-dir")
        .arg(data);
}

/// The server that is running for the run, and the directories that go with it.
static STARTED: Mutex<Option<(u32, Vec<PathBuf>)>> = Mutex::new(None);

/// Takes the server along when a signal ends the run.
fn end_with_signals(process: u32, directories: Vec<PathBuf>) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let before = started().replace((process, directories));
    if before.is_some() {
        // The thread is there since the first server.
        return Ok(());
    }
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let thread = std::thread::Builder::new().name("weir-bench-signals".to_owned());
    thread.spawn(move || {
        if signals.forever().next().is_none() {
            return;
        }
        if let Some((process, directories)) = started().take() {
            let process = i32::try_from(process).ok().and_then(Pid::from_raw);
            // It may have ended by itself; there is nothing more to do about it either way.
            let _ = process.map(|process| kill_process(process, Signal::KILL));
            for directory in directories {
                let _ = std::fs::remove_dir_all(directory);
            }
        }
        std::process::exit(1);
    })?;
    Ok(())
}

fn started() -> MutexGuard<'static, Option<(u32, Vec<PathBuf>)>> {
    // What it holds is whole at any moment.
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse_place(text: &str) -> anyhow::Result<(String, u16)> {
    let address = Address::parse(&format!("iggy://{text}"))?;
    Ok((address.host, address.port))
}

fn field<'a>(ready_line: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let key = format!("{name}=");
    let found = ready_line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(&key));
    found.with_context(|| format!("no {name} in the ready line"))
}

/// The cores that this process may use.
fn all_cores() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

fn server_cores(arguments: &Arguments) -> anyhow::Result<Vec<usize>> {
    if !arguments.server_cores.is_empty() {
        return Ok(arguments.server_cores.clone());
    }
    let all = all_cores()?;
    Ok(all[..all.len().div_ceil(2)].to_vec())
}

/// The cores for the load: those asked for, or the half that a started server does not get.
pub(crate) fn client_cores(arguments: &Arguments) -> anyhow::Result<Vec<usize>> {
    if !arguments.client_cores.is_empty() {
        return Ok(arguments.client_cores.clone());
    }
    let all = all_cores()?;
    if arguments.server.is_some() {
        return Ok(all);
    }
    let taken = server_cores(arguments)?;
    let free: Vec<usize> = all
        .iter()
        .copied()
        .filter(|core| !taken.contains(core))
        .collect();
    // A machine with a single core has nothing to divide.
    Ok(if free.is_empty() { all } else { free })
}

/// Binds this thread, and what it starts, to these cores.
pub(crate) fn pin_to(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        if *core >= CpuSet::MAX_CPU {
            bail!("there is no core {core}");
        }
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot use the cores {cores:?}"))
}

/// What a process has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Time on a processor, of all its threads, also those that have ended.
    pub(crate) cpu: Duration,
    /// Memory that it holds now, and most that it ever held.
    pub(crate) resident_bytes: u64,
    pub(crate) resident_peak_bytes: u64,
}

/// What a process of this machine has cost so far, `None` when it cannot be looked into.
///
/// The time is that of the process's own clock: to the nanosecond, and with the threads that have
/// ended, as the kernel's workers of a ring do now and then (clock_getcpuclockid(3)).
pub(crate) fn usage(process: u32) -> Option<Usage> {
    let pid = i32::try_from(process).ok()?;
    let status = procfs::process::Process::new(pid).ok()?.status().ok()?;
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).ok()?;
    let cpu = nix::time::clock_gettime(clock).ok()?;
    Some(Usage {
        cpu: cpu.into(),
        resident_bytes: status.vmrss? * 1024,
        resident_peak_bytes: status.vmhwm? * 1024,
    })
}
