//! Passes messages of any size on, in constant memory.
//!
//! `relay ADDR URL` accepts WebSockets on ADDR and connects each to URL. `relay --demo BYTES`
//! sends a message of so many bytes through a relay to a server that counts them, all in this
//! process, and prints the most memory that the process ever had (Linux).

use std::io;
use std::time::Instant;

use bytes::Bytes;
use compio_net::TcpListener;
use ws::{CloseCode, Config, Error, Incoming, MessageKind, Part, RuntimeOptions, WebSocket};

const USAGE: &str = "usage: relay ADDR URL | relay --demo BYTES";

/// Bytes of each piece that the demonstration sends.
const PIECE_BYTES: u64 = 64 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (runtime, _) = ws::build_runtime(&RuntimeOptions::default())?;
    match &arguments[..] {
        [flag, bytes] if flag == "--demo" => runtime.block_on(demonstrate(bytes.parse()?))?,
        [address, url] => {
            let listener = runtime.block_on(TcpListener::bind(address.as_str()))?;
            println!("listening on {}", listener.local_addr()?);
            runtime.block_on(serve(listener, url.clone()))?;
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn config() -> Config {
    Config::new().streamed_bytes_max(u64::MAX)
}

async fn serve(listener: TcpListener, url: String) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let url = url.clone();
        compio_runtime::spawn(async move {
            let relayed = async {
                if let Incoming::WebSocket { socket, .. } =
                    ws::accept_with(stream, &config()).await?
                {
                    let target = ws::connect_with(&url, &config()).await?;
                    relay(socket, target).await?;
                }
                Ok::<(), Error>(())
            };
            if let Err(error) = relayed.await {
                eprintln!("{error}");
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
    let relay = TcpListener::bind("127.0.0.1:0").await?;
    let target = format!("ws://{}/", counter.local_addr()?);
    let url = format!("ws://{}/", relay.local_addr()?);
    compio_runtime::spawn(serve(relay, target)).detach();
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
    socket.close(CloseCode::NORMAL, "").await?;
    sending.await.map_err(|_| "the client panicked")??;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", peak.unwrap_or("the most memory is not known here"));
    Ok(())
}
