//! Starting and stopping the server: threads, listeners, recovery, drain.
//!
//! Order of a start: bind the ports, start one thread a shard, lock the data directory and recover
//! the catalog on shard 0, open every partition on its shard, and only then accept connections.
//! Order of a stop: stop accepting, finish what is in flight and answer it, close connections,
//! close the logs, leave the threads.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use ws::{DriverChoice, DriverKind, RuntimeError, RuntimeOptions};

use crate::budgets::{self, TooFewFiles};
use crate::config::{Config, Driver};
use crate::control::{ControlPlane, ControlSnapshot, OpenError, RootUser};
use crate::limits::Limits;
use crate::listen;
use crate::partition::{Storage, WriteChoice};
use crate::shard::event::Event;
use crate::shard::mailbox::{Mailbox, mailbox};
use crate::shard::{Machine, Shard, inbox, task};
use crate::tls::{self, Tls};

/// Added to the drain and close limits before a shard is given up: the shard measures them itself.
const STOP_SLACK: Duration = Duration::from_millis(500);

/// Why the server did not start. Each displays as one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// A port cannot be listened on.
    #[error("cannot listen on {address} ({option}): {reason}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The option that sets it.
        option: &'static str,
        /// What the system said, and what to do.
        reason: String,
    },
    /// No runtime could be built.
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    /// The certificate or its key cannot be used.
    #[error("{0}")]
    Tls(#[from] ws::TlsError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The system allows too few open files.
    #[error("{0}")]
    Files(#[from] TooFewFiles),
    /// The data directory cannot be used, or its catalog not be recovered.
    #[error("{0}")]
    Catalog(OpenError),
    /// A shard ended before the server was ready; the log has said why.
    #[error("a shard ended before the server was ready")]
    ShardEnded,
}

/// A server that accepts connections.
pub struct Running {
    /// Where plain TCP is served; the port is the real one when 0 was asked for.
    pub tcp_address: SocketAddr,
    /// Where WebSocket and HTTP are served.
    pub websocket_address: SocketAddr,
    /// The kernel interface in use.
    pub driver: DriverKind,
    /// Number of shards.
    pub shards: usize,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The root user's password when this start made one up. It is stored only as a hash: show it
    /// once or lose it.
    pub generated_root_password: Option<String>,
    limits: Limits,
    mailboxes: Vec<Mailbox>,
    threads: Vec<JoinHandle<()>>,
    reports: mpsc::Receiver<Report>,
}

enum Report {
    Started(DriverKind),
    Failed(BootError),
    Ready {
        generated_root_password: Option<String>,
    },
    Ended,
}

/// Starts the server and returns when it accepts connections.
///
/// # Errors
/// [`BootError`]; everything that was started is stopped again.
pub fn start(config: Config) -> Result<Running, BootError> {
    start_with(config, Limits::default())
}

/// As [`start`], with other limits than the defaults.
///
/// # Errors
/// As [`start`].
pub fn start_with(config: Config, limits: Limits) -> Result<Running, BootError> {
    let mut limits = limits.with(&config);
    let tls = Tls::open(&config)?;
    let cores = allowed_cores();
    let shards = config.shards.map_or(cores.len().max(1), usize::from);
    let files = budgets::fit_files(&mut limits, shards, raise_descriptor_limit())?;
    let (tcp_address, tcp) = bind(config.tcp, "--tcp", shards, &limits)?;
    let (websocket_address, websocket) = bind(config.websocket, "--websocket", shards, &limits)?;

    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| mailbox(limits.mailbox_messages_max))
        .unzip();
    let (report, reports) = mpsc::channel();
    let (started, write_choice) = (Instant::now(), WriteChoice::default());
    let mut running = Running {
        tcp_address,
        websocket_address,
        driver: DriverKind::Poll,
        shards,
        data_dir: config.data_dir.clone(),
        generated_root_password: None,
        limits: limits.clone(),
        mailboxes: mailboxes.clone(),
        threads: Vec::with_capacity(shards),
        reports,
    };
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let seed = ShardSeed {
            index,
            core: cores.get(index).copied().filter(|_| shards <= cores.len()),
            limits: limits.clone(),
            config: config.clone(),
            mailboxes: mailboxes.clone(),
            inbox,
            report: report.clone(),
            tcp_address,
            websocket_address,
            tls: tls.clone(),
            started,
            write_choice: Arc::clone(&write_choice),
        };
        let thread = std::thread::Builder::new()
            .name(format!("weir-shard-{index}"))
            .spawn(move || seed.run());
        match thread {
            Ok(thread) => running.threads.push(thread),
            Err(error) => {
                running.abandon();
                return Err(BootError::Thread(error));
            }
        }
    }
    drop(report);
    if let Err(error) = running.wait_until_ready() {
        running.abandon();
        return Err(error);
    }
    for ((mailbox, tcp), websocket) in mailboxes.iter().zip(tcp).zip(websocket) {
        if mailbox
            .send_blocking(Event::Listen { tcp, websocket })
            .is_err()
        {
            running.abandon();
            return Err(BootError::ShardEnded);
        }
    }
    // Not before: a start that fails says why, in one line.
    budgets::tell(&limits, shards, files);
    Ok(running)
}

impl Running {
    fn wait_until_ready(&mut self) -> Result<(), BootError> {
        loop {
            match self.reports.recv() {
                Ok(Report::Started(driver)) => self.driver = driver,
                Ok(Report::Failed(error)) => return Err(error),
                Ok(Report::Ready {
                    generated_root_password,
                }) => {
                    self.generated_root_password = generated_root_password;
                    return Ok(());
                }
                Ok(Report::Ended) | Err(_) => return Err(BootError::ShardEnded),
            }
        }
    }

    /// Stops the server: answers what is in flight, closes connections (WebSockets with 1001),
    /// closes the logs. Returns within 10 s; true when everything ended in order.
    #[must_use]
    pub fn shutdown(mut self) -> bool {
        let (done, drained) = mpsc::channel();
        for mailbox in &self.mailboxes {
            // A shard that is gone has nothing to drain.
            let _ = mailbox.send_blocking(Event::Drain { done: done.clone() });
        }
        drop(done);
        let deadline = Instant::now() + self.limits.drain_timeout + STOP_SLACK;
        let mut in_order = true;
        for _ in 0..self.shards {
            let left = deadline.saturating_duration_since(Instant::now());
            in_order &= drained.recv_timeout(left).is_ok();
        }
        for mailbox in &self.mailboxes {
            let _ = mailbox.send_blocking(Event::Close);
        }
        let deadline = Instant::now() + self.limits.close_timeout + STOP_SLACK;
        let mut ended = 0;
        while ended < self.shards {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.reports.recv_timeout(left) {
                Ok(Report::Ended) => ended += 1,
                Ok(_) => {}
                Err(_) => {
                    tracing::error!(ended, shards = self.shards, "shards did not end in time");
                    return false;
                }
            }
        }
        for thread in self.threads.drain(..) {
            in_order &= thread.join().is_ok();
        }
        in_order
    }

    /// Stops what was started before a failed start.
    fn abandon(&mut self) {
        for mailbox in &self.mailboxes {
            let _ = mailbox.send_blocking(Event::Close);
        }
        for thread in self.threads.drain(..) {
            // The error that ended the start is the one to report.
            let _ = thread.join();
        }
    }
}

/// What a shard's thread needs to begin.
struct ShardSeed {
    index: usize,
    core: Option<usize>,
    limits: Limits,
    config: Config,
    mailboxes: Vec<Mailbox>,
    inbox: Receiver<Event>,
    report: mpsc::Sender<Report>,
    tcp_address: SocketAddr,
    websocket_address: SocketAddr,
    tls: Option<Tls>,
    started: Instant,
    write_choice: WriteChoice,
}

impl ShardSeed {
    fn run(self) {
        pin(self.core);
        let report = self.report.clone();
        let options = RuntimeOptions {
            driver: choice(self.config.driver),
            ..Default::default()
        };
        match ws::build_runtime(&options) {
            Ok((runtime, driver)) => {
                let _ = report.send(Report::Started(driver));
                let is_idle = runtime.block_on(self.serve(driver));
                if is_idle {
                    drop(runtime);
                } else {
                    // A connection did not even end without its socket. The kernel may still work
                    // on a buffer of it, which a runtime that ends would free. The process ends.
                    std::mem::forget(runtime);
                }
            }
            Err(error) => {
                let _ = report.send(Report::Failed(error.into()));
            }
        }
        // The boot thread may have given up waiting.
        let _ = report.send(Report::Ended);
    }

    /// Serves until the shard is told to close; whether nothing of it is left in flight.
    async fn serve(self, driver: DriverKind) -> bool {
        let machine = Machine {
            shards_count: self.mailboxes.len(),
            driver,
            started: self.started,
            tcp_address: self.tcp_address,
            websocket_address: self.websocket_address,
            websocket_deflate: self.config.websocket_deflate,
            tls: self.tls,
        };
        if let Some(tls) = machine.tls.clone().filter(|_| self.index == 0) {
            let interval = self.limits.certificate_interval;
            task::spawn("certificate", tls::keep_renewed(tls, interval));
        }
        let data_dir = self.config.data_dir.clone();
        let storage = Storage::new(data_dir, self.limits.clone(), self.write_choice);
        let empty = Arc::new(ControlSnapshot::default());
        let shard = Shard::new(
            self.index,
            self.limits,
            machine,
            storage,
            self.mailboxes,
            empty,
        );
        if self.index == 0 {
            let write_mode = self.config.write_mode;
            let root = RootUser {
                username: self.config.root_username_or_default().to_owned(),
                password: self.config.root_password.clone(),
            };
            let report = self.report;
            let shard = std::rc::Rc::clone(&shard);
            task::spawn("recover", async move {
                let outcome = match ControlPlane::open(&shard, root, write_mode).await {
                    Ok(generated_root_password) => Report::Ready {
                        generated_root_password,
                    },
                    Err(error) => Report::Failed(BootError::Catalog(error)),
                };
                let _ = report.send(outcome);
            });
        }
        inbox::run(std::rc::Rc::clone(&shard), self.inbox).await;
        shard.metrics.connections_open() == 0
    }
}

fn choice(driver: Driver) -> DriverChoice {
    match driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Poll => DriverChoice::Poll,
    }
}

fn bind(
    address: SocketAddr,
    option: &'static str,
    shards: usize,
    limits: &Limits,
) -> Result<(SocketAddr, Vec<TcpListener>), BootError> {
    listen::bind(address, shards, limits.listen_backlog).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another process listens there: stop it or choose \
                                         another port"
            }
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need a privilege: choose \
                                                another port"
            }
            io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
            _ => "",
        };
        BootError::Listen {
            address,
            option,
            reason: format!("{error}{advice}"),
        }
    })
}

/// The cores that this process may run on, in ascending order.
fn allowed_cores() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

/// A shard stays on its core; where that is not allowed it runs unpinned.
fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::debug!(?core, %error, "a shard is not pinned");
    }
}

/// Each connection and each segment is a descriptor: takes what the system allows, and says how
/// many that are.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the descriptor limit stays as it is");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
