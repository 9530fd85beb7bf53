//! Passes messages of any size on, in constant memory.
//!
//! `relay ADDR URL` accepts WebSockets on ADDR and connects each to URL. When one side closes, the
//! other is closed, too, and nothing of it is passed on any more. `relay --demo BYTES`
//! starts it as a process of its own between a client that sends one message of so many bytes and
//! a server that counts them, and prints what the relay took: processor time and the most memory
//! that it ever had (Linux).

use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use bytes::Bytes;
use compio_net::TcpListener;
use ws::{CloseCode, Config, Error, Incoming, MessageKind, Part, RuntimeOptions, WebSocket};

const USAGE: &str = "usage: relay ADDR ws://HOST:PORT/PATH | relay --demo BYTES";

/// Bytes of each piece that the demonstration sends.
const PIECE_BYTES: u64 = 64 << 10;

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    let (runtime, _) = ws::build_runtime(&RuntimeOptions::default())?;
    match &arguments[..] {
        [flag, bytes] if flag == "--demo" => {
            let bytes = bytes.parse().map_err(|_| USAGE)?;
            runtime.block_on(demonstrate(bytes))
        }
        [address, url] if url.starts_with("ws://") => {
            let listener = runtime.block_on(TcpListener::bind(address.as_str()));
            let listener = listener.map_err(|error| format!("{address}: {error}"))?;
            println!("listening on {}", listener.local_addr()?);
            Ok(runtime.block_on(serve(listener, url.clone()))?)
        }
        _ => Err(USAGE.into()),
    }
}

fn config() -> Config {
    Config::new().streamed_bytes_max(u64::MAX)
}

async fn serve(listener: TcpListener, url: String) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let url = url.clone();
        compio_runtime::spawn(async move {
            let socket = match ws::accept_with(stream, &config()).await {
                Ok(Incoming::WebSocket { socket, .. }) => socket,
                Ok(Incoming::Http { .. }) => return eprintln!("no WebSocket was asked for"),
                Err(error) => return eprintln!("{error}"),
            };
            let relayed = match ws::connect_with(&url, &config()).await {
                Ok(target) => relay(socket, target).await,
                Err(error) => Err(error),
            };
            if let Err(error) = relayed {
                eprintln!("{url}: {error}");
            }
        })
        .detach();
    }
}

/// Both directions, until one side closes.
async fn relay(left: WebSocket, right: WebSocket) -> Result<(), Error> {
    let (left_sender, left_receiver) = left.split();
    let (right_sender, right_receiver) = right.split();
    let there = std::pin::pin!(pass_on(left_receiver, &right_sender));
    let back = std::pin::pin!(pass_on(right_receiver, &left_sender));
    let ended = futures_util::future::select(there, back).await;
    // Both are told; closing one that closed already does nothing.
    let (left, right) = futures_util::join!(
        left_sender.close(CloseCode::NORMAL, ""),
        right_sender.close(CloseCode::NORMAL, "")
    );
    ended.factor_first().0.and(left).and(right)
}

/// What cannot be written is not read: the queue of `target` is all that is ever held.
async fn pass_on(mut source: ws::Receiver, target: &ws::Sender) -> Result<(), Error> {
    let mut writer = None;
    loop {
        let piece = match source.recv_part().await {
            Ok(Part::Piece(piece)) => piece,
            // Each side keeps itself alive.
            Ok(Part::Control(_)) => continue,
            Err(Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let message = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(target.send_in_pieces(piece.kind).await?),
        };
        message.write(piece.payload).await?;
        if piece.last {
            message.finish().await?;
            writer = None;
        }
    }
}

async fn demonstrate(bytes: u64) -> Result<(), Box<dyn std::error::Error>> {
    let counter = TcpListener::bind("127.0.0.1:0").await?;
    let target = format!("ws://{}/", counter.local_addr()?);
    let relay = Relay::start(&target)?;
    let url = relay.url.clone();
    let begun = Instant::now();
    let sending = compio_runtime::spawn(async move {
        let mut client = ws::connect_with(&url, &config()).await?;
        let mut writer = client.send_in_pieces(MessageKind::Binary).await?;
        let piece = Bytes::from(vec![7; PIECE_BYTES as usize]);
        let mut left_bytes = bytes;
        while left_bytes > 0 {
            let next_bytes = left_bytes.min(PIECE_BYTES);
            writer.write(piece.slice(..next_bytes as usize)).await?;
            left_bytes -= next_bytes;
        }
        writer.finish().await?;
        client.flush().await?;
        // The relay passes on the end when everything before it has arrived.
        while client.recv().await.is_ok() {}
        client.close(CloseCode::NORMAL, "").await
    });
    let (stream, _) = counter.accept().await?;
    let Incoming::WebSocket { mut socket, .. } = ws::accept_with(stream, &config()).await? else {
        return Err("not a WebSocket".into());
    };
    let mut counted_bytes = 0;
    loop {
        if let Part::Piece(piece) = socket.recv_part().await? {
            counted_bytes += piece.payload.len() as u64;
            if piece.last {
                break;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{counted_bytes} bytes in {seconds:.1} s");
    println!("the relay: {}", relay.cost()?);
    socket.close(CloseCode::NORMAL, "").await?;
    Ok(sending.await.map_err(|_| "the client panicked")??)
}

/// This program as the process in the middle.
struct Relay {
    process: Child,
    url: String,
}

impl Relay {
    fn start(target: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["127.0.0.1:0", target])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = process.stdout.take().ok_or("its output is piped")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ");
        let url = format!("ws://{}/", address.ok_or("the relay did not start")?);
        Ok(Relay { process, url })
    }

    fn cost(&self) -> Result<String, Box<dyn std::error::Error>> {
        let read = |name| std::fs::read_to_string(format!("/proc/{}/{name}", self.process.id()));
        let (stat, status) = (read("stat")?, read("status")?);
        // Behind the name in parentheses; user and system time are fields 14 and 15, in ticks of
        // 10 ms.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        let memory = status.lines().find(|line| line.starts_with("VmHWM"));
        let memory = memory.ok_or("the kernel does not tell its memory")?;
        Ok(format!(
            "{:.1} s of a processor, {memory}",
            ticks as f64 / 100.0
        ))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
