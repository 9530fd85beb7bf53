//! What TLS costs a server, beside tokio-tungstenite on tokio-rustls with the same certificate.
//!
//! `tls_cost [--rounds COUNT] [--idle COUNT]` starts echo servers as processes of their own, one
//! after the other, on processor 0, and loads them with this library's client: run it with
//! `taskset -c 1`. It prints the processor time of the server for each message, the median of the
//! rounds, and then its resident memory for each of so many idle connections (Linux).

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{SinkExt, StreamExt};
use tokio_rustls::TlsAcceptor;
use ws::{Config, Message, RuntimeOptions, WebSocket};

type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: tls_cost [--rounds COUNT] [--idle COUNT]";
const SERVERS: [&str; 4] = ["ws", "ws-tls", "tungstenite", "tungstenite-tls"];
/// Bytes of a message and connections.
const SCENARIOS: [(usize, usize); 2] = [(20, 32), (16 << 10, 32)];
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_secs(1);
/// How long a server is left alone before its idle memory is looked at.
const SETTLED: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match &arguments[..] {
        ["--serve", name, certificate, key] => serve(name, certificate.as_ref(), key.as_ref()),
        _ => compare(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &[&str]) -> Outcome<()> {
    let (mut rounds_count, mut idle_count) = (3, 1000);
    for pair in arguments.chunks(2) {
        match pair {
            ["--rounds", count] => rounds_count = count.parse().map_err(|_| USAGE)?,
            ["--idle", count] => idle_count = count.parse().map_err(|_| USAGE)?,
            _ => return Err(USAGE.into()),
        }
    }
    let directory = tempfile::tempdir()?;
    let (certificate, key) = (
        directory.path().join("certificate"),
        directory.path().join("key"),
    );
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let client = Config::new()
        .uncompressed()
        .tls_client(ws::tls::client_config_trusting(&certificate)?);
    let (runtime, _) = ws::build_runtime(&RuntimeOptions::default())?;
    for (payload_bytes, connections_count) in SCENARIOS {
        println!("{payload_bytes} B, {connections_count} connections: server CPU µs/message");
        let mut costs_us = SERVERS.map(|_| Vec::new());
        for _ in 0..rounds_count {
            for (name, costs_us) in SERVERS.iter().zip(&mut costs_us) {
                let server = Server::start(name, &certificate, &key)?;
                let load = load(&server, &client, payload_bytes, connections_count);
                costs_us.push(runtime.block_on(load)?);
            }
        }
        for (name, costs_us) in SERVERS.iter().zip(&mut costs_us) {
            costs_us.sort_by(f64::total_cmp);
            let [first, .., last] = costs_us[..] else {
                return Err("at least two rounds".into());
            };
            let median = costs_us[costs_us.len() / 2];
            println!("  {name:<16} {median:8.2} ({first:.2}–{last:.2})");
        }
    }
    println!("{idle_count} idle connections: resident bytes for each");
    for name in SERVERS {
        let server = Server::start(name, &certificate, &key)?;
        let bytes = runtime.block_on(idle(&server, &client, idle_count))?;
        println!("  {name:<16} {bytes:8}");
    }
    Ok(())
}

/// Microseconds of the server's processor for each message that it echoed.
async fn load(
    server: &Server,
    client: &Config,
    payload_bytes: usize,
    connections_count: usize,
) -> Outcome<f64> {
    let sockets = connect(server, client, connections_count).await?;
    let payload = Bytes::from(vec![7; payload_bytes]);
    let (sockets, _) = echoes(sockets, &payload, WARM_UP).await?;
    let before = server.cpu_time()?;
    let (_, messages_count) = echoes(sockets, &payload, MEASURED).await?;
    let cpu_time = server.cpu_time()? - before;
    Ok(cpu_time.as_secs_f64() * 1e6 / messages_count as f64)
}

async fn idle(server: &Server, client: &Config, connections_count: usize) -> Outcome<u64> {
    // One connection before, so that what a server has once is not counted.
    let first = connect(server, client, 1).await?;
    let (_first, _) = echoes(first, &Bytes::from_static(b"once"), Duration::ZERO).await?;
    let before = server.resident_bytes()?;
    let sockets = connect(server, client, connections_count).await?;
    let (_sockets, _) = echoes(sockets, &Bytes::from_static(b"once"), Duration::ZERO).await?;
    compio_runtime::time::sleep(SETTLED).await;
    Ok((server.resident_bytes()?.saturating_sub(before)) / connections_count as u64)
}

async fn connect(server: &Server, client: &Config, count: usize) -> Outcome<Vec<WebSocket>> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        sockets.push(ws::connect_with(&server.url, client).await?);
    }
    Ok(sockets)
}

/// One message under way on each socket until `time` is over, and at least one; the sockets and
/// how many came back.
async fn echoes(
    sockets: Vec<WebSocket>,
    payload: &Bytes,
    time: Duration,
) -> Outcome<(Vec<WebSocket>, u64)> {
    let end = Instant::now() + time;
    let tasks = sockets.into_iter().map(|mut socket| {
        let payload = payload.clone();
        let echo = async move {
            let mut messages_count = 0;
            loop {
                socket.send(Message::binary(payload.clone())).await?;
                while !socket.recv().await?.is_data() {}
                messages_count += 1;
                if Instant::now() >= end {
                    return Ok::<_, ws::Error>((socket, messages_count));
                }
            }
        };
        async {
            compio_runtime::spawn(echo)
                .await
                .map_err(|_| "a client panicked")?
                .map_err(Box::<dyn Error>::from)
        }
    });
    let done = try_join_all(tasks).await?;
    let messages_count = done.iter().map(|(_, count)| count).sum();
    Ok((
        done.into_iter().map(|(socket, _)| socket).collect(),
        messages_count,
    ))
}

/// A server of this program as a process.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(name: &str, certificate: &Path, key: &Path) -> Outcome<Self> {
        let mut process = Command::new("taskset")
            .args(["-c", "0"])
            .arg(std::env::current_exe()?)
            .args(["--serve", name])
            .args([certificate, key])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = process.stdout.take().ok_or("no output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let scheme = if name.ends_with("-tls") { "wss" } else { "ws" };
        let url = format!("{scheme}://localhost:{}/", line.trim());
        Ok(Server { process, url })
    }

    /// As the scheduler counts it; these servers have one thread.
    fn cpu_time(&self) -> Outcome<Duration> {
        let text = std::fs::read_to_string(self.path("schedstat"))?;
        let nanoseconds = text.split_whitespace().next().ok_or("no figure")?;
        Ok(Duration::from_nanos(nanoseconds.parse()?))
    }

    fn resident_bytes(&self) -> Outcome<u64> {
        let text = std::fs::read_to_string(self.path("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().next());
        Ok(figure.ok_or("no figure")?.parse::<u64>()? * 1024)
    }

    fn path(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.process.id()).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Echoes and prints its port first.
fn serve(name: &str, certificate: &Path, key: &Path) -> Outcome<()> {
    let tls = ws::tls::server_config_from_files(certificate, key)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?.port());
    match name {
        "ws" => serve_ours(listener, Config::new().uncompressed()),
        "ws-tls" => serve_ours(listener, Config::new().uncompressed().tls_server(tls)),
        "tungstenite" => serve_theirs(listener, None),
        "tungstenite-tls" => serve_theirs(listener, Some(tls.into())),
        _ => Err(USAGE.into()),
    }
}

fn serve_ours(listener: std::net::TcpListener, config: Config) -> Outcome<()> {
    let config = Rc::new(config);
    let (runtime, _) = ws::build_runtime(&RuntimeOptions::default())?;
    runtime.block_on(async {
        let listener = compio_net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let config = config.clone();
            let echo = async move {
                let incoming = ws::accept_with(stream, &config).await?;
                let ws::Incoming::WebSocket { mut socket, .. } = incoming else {
                    return Ok(());
                };
                loop {
                    let message = socket.recv().await?;
                    if message.is_data() {
                        socket.send(message).await?;
                    }
                }
            };
            compio_runtime::spawn(async move {
                // Which ends as the load ends it.
                let _: Result<(), ws::Error> = echo.await;
            })
            .detach();
        }
    })
}

fn serve_theirs(listener: std::net::TcpListener, tls: Option<TlsAcceptor>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            match tls.clone() {
                Some(tls) => tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        echo_theirs(stream).await;
                    }
                }),
                None => tokio::spawn(echo_theirs(stream)),
            };
        }
    })
}

async fn echo_theirs<S>(stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_binary() || message.is_text()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
