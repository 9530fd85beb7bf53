//! A chat for browsers: the page and its WebSocket on one port, each line sent to everybody.
//!
//! `chat [ADDR]`, then open `http://ADDR/` in some windows. A line is encoded once, whatever the
//! number of listeners; who reads too slowly is let go instead of making the others wait.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::rc::Rc;

use compio_io::AsyncWriteExt;
use compio_net::{TcpListener, TcpStream};
use ws::{
    CloseCode, Config, Error, Incoming, Message, MessageKind, PreparedMessage, RuntimeOptions,
    Sender, WebSocket,
};

/// Bytes of the longest line.
const LINE_BYTES_MAX: u64 = 4096;

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>chat</title>
<form><input autofocus size="60" placeholder="say something"></form><pre></pre>
<script>
const socket = new WebSocket(`ws://${location.host}/chat`);
const show = line => document.querySelector("pre").textContent += line + "\n";
socket.onmessage = event => show(event.data);
socket.onclose = event => show(`closed: ${event.code} ${event.reason}`);
document.querySelector("form").onsubmit = event => {
  event.preventDefault();
  const input = document.querySelector("input");
  socket.send(input.value);
  input.value = "";
};
</script>"#;

#[derive(Default)]
struct Room {
    senders: HashMap<u64, Sender>,
    next_guest: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address = match &arguments[..] {
        [] => "127.0.0.1:8080",
        [address] if !address.starts_with('-') => address,
        _ => {
            eprintln!("usage: chat [ADDR]");
            return ExitCode::FAILURE;
        }
    };
    match run(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let (runtime, _) = ws::build_runtime(&RuntimeOptions::default())?;
    Ok(runtime.block_on(serve(address))?)
}

async fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let room = Rc::new(RefCell::new(Room::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        let room = room.clone();
        compio_runtime::spawn(async move {
            if let Err(error) = serve_one(stream, &room).await {
                eprintln!("{error}");
            }
        })
        .detach();
    }
}

async fn serve_one(mut stream: TcpStream, room: &RefCell<Room>) -> Result<(), Error> {
    let config = Config::new().message_bytes_max(LINE_BYTES_MAX);
    match ws::accept_with(stream.clone(), &config).await? {
        Incoming::WebSocket { socket, .. } => visit(socket, room).await,
        // Whatever is not a WebSocket is for an HTTP server; this one knows a single page.
        Incoming::Http { receiver, .. } => {
            let response = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                Connection: close\r\n\r\n{PAGE}",
                PAGE.len()
            );
            stream.write_all(response).await.0?;
            ws::close_slowly(receiver);
            Ok(())
        }
    }
}

/// One guest, from the first line to the last.
async fn visit(mut socket: WebSocket, room: &RefCell<Room>) -> Result<(), Error> {
    let guest = {
        let mut room = room.borrow_mut();
        room.next_guest += 1;
        let guest = room.next_guest;
        room.senders.insert(guest, socket.sender());
        guest
    };
    tell(room, &format!("guest {guest} came"));
    let result = loop {
        match socket.recv().await {
            Ok(Message::Text(line)) => tell(room, &format!("guest {guest}: {}", line.as_str())),
            Ok(_) => {}
            Err(Error::Closed(_)) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    room.borrow_mut().senders.remove(&guest);
    tell(room, &format!("guest {guest} left"));
    result
}

/// Sends a line to everybody who can take it at once.
fn tell(room: &RefCell<Room>, line: &str) {
    let line = PreparedMessage::new(MessageKind::Text, line.to_string());
    room.borrow_mut().senders.retain(|_, sender| {
        let sent = sender.try_send_prepared(&line);
        if sent.is_err() {
            let sender = sender.clone();
            let close = async move { sender.close(CloseCode::POLICY_VIOLATION, "too slow").await };
            compio_runtime::spawn(close).detach();
        }
        sent.is_ok()
    });
}
