//! Sends every message back, with the defaults of the library, on one thread.
//!
//! `echo_server ADDR [--driver auto|io-uring|poll]` prints `listening on ADDR`.

use std::net::SocketAddr;
use std::process::ExitCode;

use compio_net::{TcpListener, TcpStream};
use ws::{DriverChoice, Error, RuntimeOptions};

const USAGE: &str = "usage: echo_server ADDR [--driver auto|io-uring|poll]";

struct Options {
    address: SocketAddr,
    driver: DriverChoice,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut address = None;
    let mut driver = DriverChoice::Auto;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--driver" => {
                let name = arguments.next().ok_or(USAGE)?;
                driver = name.parse().map_err(|error| format!("{error}"))?;
            }
            text => address = Some(text.parse().map_err(|_| USAGE)?),
        }
    }
    Ok(Options {
        address: address.ok_or(USAGE)?,
        driver,
    })
}

fn serve(options: Options) -> Result<(), String> {
    let runtime = RuntimeOptions {
        driver: options.driver,
        ..RuntimeOptions::default()
    };
    let (runtime, _) = ws::build_runtime(&runtime).map_err(|error| error.to_string())?;
    runtime
        .block_on(accept(options.address))
        .map_err(|error| error.to_string())
}

async fn accept(address: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        // Accepting is never cancelled: a dropped accept could swallow a connection.
        match listener.accept().await {
            Ok((stream, _)) => compio_runtime::spawn(async move {
                if let Err(error) = echo(stream).await {
                    eprintln!("{error}");
                }
            })
            .detach(),
            // Too many open files and the like: the next one may do.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    let mut socket = ws::accept(stream).await?;
    loop {
        match socket.recv().await {
            Ok(message) if message.is_data() => socket.send(message).await?,
            Ok(_) => {}
            Err(Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
