//! A server as a process of its own: started, looked at through `/proc`, ended.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustix::thread::CpuSet;

use crate::limits;

const READY: &str = "listening on ";

pub(crate) struct ServerProcess {
    child: Child,
    address: SocketAddr,
}

impl ServerProcess {
    /// Starts this program again as the server `name` on processor `core`.
    pub(crate) fn start(name: &str, broadcast: bool, core: usize) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", name, "--core", &core.to_string()]);
        if broadcast {
            command.arg("--broadcast");
        }
        Self::spawn(command)
    }

    /// Starts it under callgrind, which writes to `file` when the server is [`end`](Self::end)ed.
    pub(crate) fn start_counted(name: &str, file: &Path, core: usize) -> io::Result<Self> {
        let mut command = Command::new("valgrind");
        command
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(std::env::current_exe()?)
            .args(["serve", name, "--core", &core.to_string()]);
        Self::spawn(command)
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn end(mut self) -> io::Result<()> {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            rustix::process::kill_process(pid, Signal::TERM)?;
        }
        self.child.wait()?;
        Ok(())
    }

    fn spawn(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().expect("it was asked for");
        let (sender, receiver) = mpsc::channel();
        // The thread ends with the first line or with the process.
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
        });
        // From here on the process is ended when something fails.
        let mut server = ServerProcess {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let line = receiver
            .recv_timeout(limits::START_TIME_MAX)
            .map_err(|_| io::ErrorKind::TimedOut)??;
        server.address = line
            .trim()
            .strip_prefix(READY)
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| io::Error::other("the server did not start"))?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor time of all threads so far, with kernel time. The scheduler's own count where
    /// the kernel has one, because the other one goes in steps of 10 ms.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(self.path("task"))? {
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
                return self.cpu_time_in_ticks();
            };
            let first = text.split_whitespace().next();
            nanoseconds += first.and_then(|text| text.parse().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn cpu_time_in_ticks(&self) -> io::Result<Duration> {
        let text = fs::read_to_string(self.path("stat"))?;
        // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
        let fields = text.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
    }

    /// Resident bytes now.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        self.status("VmRSS:")
    }

    /// The most resident bytes there ever were.
    pub(crate) fn peak_resident_bytes(&self) -> io::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(self.path("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.ok_or(io::ErrorKind::NotFound)? * 1024)
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do but to collect it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the calling thread, and those it starts, on one processor.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// A server does not outlive the one who measures it.
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

/// As many descriptors as the system lets us have.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    Ok(rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        limit,
    )?)
}
