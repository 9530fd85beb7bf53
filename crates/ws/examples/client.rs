//! A small client: sends each line of the standard input as a text message and prints what comes.
//!
//! `client URL`, such as `client ws://127.0.0.1:9001/`. The end of the input closes the connection
//! in order. Two halves do it: one task sends, the other receives.

use std::process::ExitCode;

use ws::{CloseCode, CloseFrame, Error, Message, Receiver, RuntimeOptions, Sender};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let url = match &arguments[..] {
        [url] if !url.starts_with('-') => url,
        _ => {
            eprintln!("usage: client URL");
            return ExitCode::FAILURE;
        }
    };
    let (runtime, _) = match ws::build_runtime(&RuntimeOptions::default()) {
        Ok(built) => built,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(url)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{url}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(url: &str) -> Result<(), Error> {
    let socket = ws::connect(url).await?;
    let (sender, receiver) = socket.split();
    let sending = compio_runtime::spawn(send_lines(sender));
    let received = print_messages(receiver).await;
    // The server may have ended it first; then there is nothing more to send.
    drop(sending);
    received
}

async fn send_lines(sender: Sender) -> Result<(), Error> {
    while let Some(line) = next_line().await {
        sender.send(line).await?;
    }
    let goodbye = CloseFrame {
        code: CloseCode::NORMAL,
        reason: String::new(),
    };
    sender.send(Message::Close(Some(goodbye))).await
}

/// The next line of the standard input, which blocks and so is read by a thread.
async fn next_line() -> Option<String> {
    let read = compio_runtime::spawn_blocking(|| {
        let mut line = String::new();
        let bytes = std::io::stdin().read_line(&mut line).ok()?;
        (bytes > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    });
    read.await.ok()?
}

async fn print_messages(mut receiver: Receiver) -> Result<(), Error> {
    loop {
        match receiver.recv().await {
            Ok(Message::Text(text)) => println!("{}", text.as_str()),
            Ok(Message::Binary(payload)) => println!("({} bytes)", payload.len()),
            Ok(Message::Close(frame)) => println!("closed: {frame:?}"),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Err(Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
