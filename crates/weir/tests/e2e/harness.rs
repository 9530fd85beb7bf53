//! Starts the real binary, waits for its ready line, talks to the process, stops it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing healthy takes this long; whoever waits longer fails with what the process said.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) const USERNAME: &str = "iggy";
pub(crate) const PASSWORD: &str = "correct horse";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    WebSocket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    IoUring,
    Poll,
}

impl Driver {
    /// As on the command line and in the ready line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::IoUring => "io-uring",
            Driver::Poll => "poll",
        }
    }
}

/// One cell of the matrix: what a scenario is run with.
pub(crate) struct Setup {
    pub(crate) transport: Transport,
    pub(crate) options: Options,
    /// Holds the data directory; removed at the end.
    _directory: TempDir,
}

impl Setup {
    pub(crate) fn new(transport: Transport, driver: Driver) -> Setup {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = Options::new(driver, directory.path().join("data"));
        Setup {
            transport,
            options,
            _directory: directory,
        }
    }

    pub(crate) fn start(&self) -> Server {
        Server::start(&self.options)
    }
}

/// How a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) driver: Driver,
    pub(crate) data: PathBuf,
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: SocketAddr,
    /// More environment variables.
    pub(crate) variables: Vec<(&'static str, String)>,
}

impl Options {
    pub(crate) fn new(driver: Driver, data: PathBuf) -> Options {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let variables = vec![
            ("WEIR_ROOT_USERNAME", USERNAME.to_owned()),
            ("WEIR_ROOT_PASSWORD", PASSWORD.to_owned()),
        ];
        Options {
            driver,
            data,
            tcp: any_port,
            websocket: any_port,
            variables,
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = weir();
        command
            .arg("serve")
            .args(["--driver", self.driver.name(), "--shards", "2"])
            .args(["--tcp", &self.tcp.to_string()])
            .args(["--websocket", &self.websocket.to_string()])
            .arg("--data-dir")
            .arg(&self.data);
        for (name, value) in &self.variables {
            command.env(name, value);
        }
        command
    }
}

/// The binary, with an environment that has nothing of Weir's in it.
pub(crate) fn weir() -> Command {
    clean(Command::new(env!("CARGO_BIN_EXE_weir")))
}

/// Takes away what the test run itself was given.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(name);
        }
    }
    command
}

/// A server that said it is ready.
pub(crate) struct Server {
    pub(crate) tcp: SocketAddr,
    pub(crate) websocket: SocketAddr,
    pub(crate) ready_line: String,
    options: Options,
    child: Child,
    output: Lines,
    log: Log,
}

/// How a server ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Everything on standard error.
    pub(crate) log: String,
    /// Standard output after the ready line.
    pub(crate) output: String,
}

impl Server {
    pub(crate) fn start(options: &Options) -> Server {
        Server::start_with(options, options.command())
    }

    /// Starts `command`, which must end up running the server that `options` describe.
    pub(crate) fn start_with(options: &Options, command: Command) -> Server {
        Server::try_start_with(options, command).unwrap_or_else(|ended| {
            let (status, log) = (ended.status, ended.log);
            panic!("no ready line, ended with {status}; it said:\n{log}")
        })
    }

    /// Starts a server that may refuse to.
    pub(crate) fn try_start(options: &Options) -> Result<Server, Ended> {
        Server::try_start_with(options, options.command())
    }

    fn try_start_with(options: &Options, mut command: Command) -> Result<Server, Ended> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let log = Log::follow(child.stderr.take().expect("piped"));
        let output = Lines::follow(child.stdout.take().expect("piped"));
        let Ok(ready_line) = output.receiver.recv_timeout(PATIENCE) else {
            // It may have ended by itself, and then this changes nothing.
            let _ = child.kill();
            let status = child.wait().expect("the process is ours");
            log.wait_for_end();
            return Err(Ended {
                status,
                log: log.text(),
                output: String::new(),
            });
        };
        Ok(Server {
            tcp: field(&ready_line, "tcp").parse().expect("an address"),
            websocket: field(&ready_line, "websocket").parse().expect("an address"),
            ready_line,
            options: options.clone(),
            child,
            output,
            log,
        })
    }

    pub(crate) fn address(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::WebSocket => self.websocket,
        }
    }

    /// Cuts the process off in the middle of whatever it does.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().expect("the process is ours");
        self.wait()
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end, as a process manager does.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("process numbers are small");
        kill_process(Pid::from_raw(id).expect("not zero"), signal).expect("the process is ours");
    }

    /// SIGTERM, then the end.
    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Stops this server cleanly and starts one on the same data and the same ports.
    pub(crate) fn restart(self) -> Server {
        let mut options = self.options.clone();
        (options.tcp, options.websocket) = (self.tcp, self.websocket);
        let ended = self.stop();
        assert!(ended.status.success(), "{}: {}", ended.status, ended.log);
        Server::start(&options)
    }

    pub(crate) fn wait(mut self) -> Ended {
        // A process closes its standard error by ending.
        assert!(
            self.log.wait_for_end(),
            "does not end; it said:\n{}",
            self.log.text()
        );
        let status = self.child.wait().expect("the process is ours");
        Ended {
            status,
            log: self.log.text(),
            output: self.output.to_end(),
        }
    }

    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("the process is ours");
        assert!(
            ended.is_none(),
            "ended with {ended:?}; it said:\n{}",
            self.log.text()
        );
    }

    /// Everything on standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Returns as soon as standard error holds `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        self.log.wait_for(text);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Most often it has ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log.text());
        }
    }
}

/// The value of `name=value` in the ready line; `data=` is last and may hold blanks.
pub(crate) fn field<'a>(ready_line: &'a str, name: &str) -> &'a str {
    let start = ready_line
        .find(&format!(" {name}="))
        .unwrap_or_else(|| panic!("no {name} in the ready line {ready_line:?}"));
    let value = &ready_line[start + name.len() + 2..];
    if name == "data" {
        value
    } else {
        value.split(' ').next().expect("split gives one")
    }
}

/// Runs a command that is expected to end by itself.
pub(crate) fn run_to_end(mut command: Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let stdout = Log::follow(child.stdout.take().expect("piped"));
    let stderr = Log::follow(child.stderr.take().expect("piped"));
    if !(stdout.wait_for_end() && stderr.wait_for_end()) {
        let _ = child.kill();
        panic!(
            "{command:?} does not end; it said:\n{}{}",
            stdout.text(),
            stderr.text()
        );
    }
    let status = child.wait().expect("the process is ours");
    Output {
        status,
        stdout: stdout.text().into(),
        stderr: stderr.text().into(),
    }
}

/// Standard output, line by line.
struct Lines {
    receiver: Receiver<String>,
}

impl Lines {
    fn follow(source: impl Read + Send + 'static) -> Lines {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Lines { receiver }
    }

    /// What comes until the process closes it.
    fn to_end(&self) -> String {
        self.receiver.iter().collect::<Vec<_>>().join("\n")
    }
}

/// Standard error, growing while the process runs.
#[derive(Clone)]
struct Log {
    shared: Arc<(Mutex<LogState>, Condvar)>,
}

#[derive(Default)]
struct LogState {
    text: String,
    is_closed: bool,
}

impl Log {
    fn follow(source: impl Read + Send + 'static) -> Log {
        let log = Log {
            shared: Arc::default(),
        };
        let writer = log.clone();
        std::thread::spawn(move || {
            let (state, changed) = &*writer.shared;
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                let mut state = state.lock().expect("no holder panics");
                state.text.push_str(&line);
                state.text.push('\n');
                changed.notify_all();
            }
            state.lock().expect("no holder panics").is_closed = true;
            changed.notify_all();
        });
        log
    }

    fn text(&self) -> String {
        self.shared.0.lock().expect("no holder panics").text.clone()
    }

    fn wait_for(&self, text: &str) {
        let found = self.wait_until(|state| state.text.contains(text));
        assert!(found, "{text:?} was never logged, but:\n{}", self.text());
    }

    fn wait_for_end(&self) -> bool {
        self.wait_until(|state| state.is_closed)
    }

    fn wait_until(&self, is_reached: impl Fn(&LogState) -> bool) -> bool {
        let (state, changed) = &*self.shared;
        let state = state.lock().expect("no holder panics");
        let (state, _) = changed
            .wait_timeout_while(state, PATIENCE, |state| {
                !is_reached(state) && !state.is_closed
            })
            .expect("no holder panics");
        is_reached(&state)
    }
}

/// The seed of this run, printed so that a failure can be repeated.
pub(crate) fn random() -> fastrand::Rng {
    let given = std::env::var("WEIR_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("WEIR_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Every file below a directory with this ending, sorted.
pub(crate) fn files_below(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Asks again until the answer is right; what is waited for happens in the background.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs one scenario in a runtime of its own.
pub(crate) fn run(transport: Transport, driver: Driver, scenario: impl AsyncFnOnce(Setup)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime for the clients");
    runtime.block_on(scenario(Setup::new(transport, driver)));
}

/// Makes four tests of each scenario: two transports, two drivers; `with` names another runner
/// than this module's.
macro_rules! matrix {
    ($($scenario:ident),+ $(,)?) => {
        crate::harness::matrix!(with crate::harness::run: $($scenario),+);
    };
    (with $run:path: $($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            use crate::harness::{Driver, Transport};

            #[test]
            fn tcp_io_uring() {
                $run(Transport::Tcp, Driver::IoUring, super::$scenario);
            }

            #[test]
            fn tcp_poll() {
                $run(Transport::Tcp, Driver::Poll, super::$scenario);
            }

            #[test]
            fn websocket_io_uring() {
                $run(Transport::WebSocket, Driver::IoUring, super::$scenario);
            }

            #[test]
            fn websocket_poll() {
                $run(Transport::WebSocket, Driver::Poll, super::$scenario);
            }
        }
    )+ };
}

pub(crate) use matrix;
