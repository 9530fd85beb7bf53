//! The protocol core on another runtime: an echo server on tokio, without this crate's driver.
//!
//! `proto_on_tokio [ADDR]`. Everything a driver has to do is here: read, give the core each
//! chunk, write what it has to say, keep its one timer.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use ws_proto::handshake::{HandshakeLimits, ServerHandshake, ServerOptions, ServerVerdict};
use ws_proto::{Config, Connection, Event, Transmit};

/// Bytes received at once.
const CHUNK_BYTES: usize = 16 << 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = match &arguments[..] {
        [] => "127.0.0.1:9001",
        [address] if !address.starts_with('-') => address,
        _ => {
            eprintln!("usage: proto_on_tokio [ADDR]");
            return ExitCode::FAILURE;
        }
    };
    match run(address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream).await {
                eprintln!("{error}");
            }
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let limits = HandshakeLimits::DEFAULT;
    let time = Duration::from_millis(limits.timeout_ms);
    let opened = tokio::time::timeout(time, open(&mut stream, limits)).await;
    let Some(leftover) = opened.map_err(|_| io::ErrorKind::TimedOut)?? else {
        return Ok(());
    };
    let mut core = Connection::server(Config::default());
    let origin = Instant::now();
    echo(&mut core, leftover);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        while let Some(transmit) = core.poll_transmit() {
            match transmit {
                Transmit::Contiguous(bytes) => stream.write_all(&bytes).await?,
                Transmit::Vectored(parts) => {
                    for part in parts {
                        stream.write_all(&part).await?;
                    }
                }
            }
        }
        if core.is_finished() {
            return stream.shutdown().await;
        }
        let now_ms = origin.elapsed().as_millis() as u64;
        let deadline_ms = core.poll_timeout(now_ms).unwrap_or(u64::MAX);
        let wait = Duration::from_millis(deadline_ms.saturating_sub(now_ms));
        match tokio::time::timeout(wait, stream.read(&mut chunk)).await {
            Ok(Ok(0)) => {
                core.handle_eof();
                return Ok(());
            }
            Ok(Ok(bytes)) => echo(&mut core, chunk[..bytes].to_vec()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                core.handle_timeout(origin.elapsed().as_millis() as u64);
            }
        }
    }
}

/// Reads the request and answers it; what came behind it, unless it was refused.
async fn open(stream: &mut TcpStream, limits: HandshakeLimits) -> io::Result<Option<Vec<u8>>> {
    let mut handshake = ServerHandshake::new(limits);
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(None);
        }
        let refusal = match handshake.handle_bytes(&received) {
            ServerVerdict::Incomplete => continue,
            ServerVerdict::Upgrade(upgrade) => match upgrade.accept(&ServerOptions::default()) {
                Ok(accepted) => {
                    stream.write_all(&accepted.response).await?;
                    return Ok(Some(received.split_off(upgrade.request().head_bytes())));
                }
                Err(refusal) => refusal,
            },
            ServerVerdict::NotUpgrade(_) => ws_proto::handshake::Refusal::UpgradeRequired,
            ServerVerdict::Refuse(refusal) => refusal,
        };
        stream.write_all(&refusal.encode()).await?;
        return Ok(None);
    }
}

/// Gives the core all of a chunk and sends each message back.
fn echo(core: &mut Connection, mut chunk: Vec<u8>) {
    let mut position = 0;
    while let Some(event) = core.handle_chunk(&mut chunk, &mut position) {
        if let Event::Message { kind, payload } = event {
            // The only error is a connection that is closed already.
            let _ = core.send_copied(kind, payload.as_slice(&chunk));
        }
    }
}
