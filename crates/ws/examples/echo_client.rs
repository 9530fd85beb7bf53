//! The client for a conformance server: asks for the number of cases and sends every message of
//! every case back.
//!
//! `echo_client URL [--agent NAME] [--stack native|bridge|bridge-fixed]
//! [--driver auto|io-uring|poll] [--no-deflate] [--trust FILE]`. A `wss://` URL is TLS; the server
//! is trusted by the certificates in FILE, or by the machine's. The bridge, compression and TLS
//! are there when it is built with the features of these names.

use std::process::ExitCode;

use ws::{CloseCode, Config, DriverChoice, Error, Message, RuntimeOptions};

const USAGE: &str = "usage: echo_client URL [--agent NAME] \
    [--stack native|bridge|bridge-fixed] [--driver auto|io-uring|poll] [--no-deflate] \
    [--trust FILE]";

#[derive(Clone, Copy)]
enum Stack {
    Native,
    #[cfg(feature = "bridge")]
    Bridge(ws::bridge::Capacity),
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut url = None;
    let mut agent = String::from("weir-ws");
    let mut driver = DriverChoice::Auto;
    let mut stack = Stack::Native;
    let mut config = Config::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--agent" => agent = arguments.next().ok_or(USAGE)?,
            "--stack" => stack = parse_stack(&arguments.next().ok_or(USAGE)?)?,
            "--driver" => {
                let name = arguments.next().ok_or(USAGE)?;
                driver = name.parse().map_err(|error| format!("{error}"))?;
            }
            "--no-deflate" => config = config.uncompressed(),
            #[cfg(feature = "tls")]
            "--trust" => {
                let file = arguments.next().ok_or(USAGE)?;
                let tls = ws::tls::client_config_trusting(file.as_ref());
                config = config.tls_client(tls.map_err(|error| error.to_string())?);
            }
            text if text.starts_with('-') || url.is_some() => {
                return Err(format!("{text} is not expected here; {USAGE}"));
            }
            _ => url = Some(argument),
        }
    }
    let url = url.ok_or(USAGE)?;
    let options = RuntimeOptions {
        driver,
        ..RuntimeOptions::default()
    };
    let (runtime, _) = ws::build_runtime(&options).map_err(|error| error.to_string())?;
    let result = runtime.block_on(run_cases(url.trim_end_matches('/'), &agent, stack, &config));
    result.map_err(|error| format!("{url}: {error}"))
}

fn parse_stack(name: &str) -> Result<Stack, String> {
    match name {
        "native" => Ok(Stack::Native),
        #[cfg(feature = "bridge")]
        "bridge" => Ok(Stack::Bridge(ws::bridge::Capacity::GROWABLE)),
        #[cfg(feature = "bridge")]
        "bridge-fixed" => Ok(Stack::Bridge(ws::bridge::Capacity::FIXED)),
        _ => Err(format!("there is no stack {name} in this build; {USAGE}")),
    }
}

async fn run_cases(url: &str, agent: &str, stack: Stack, config: &Config) -> Result<(), Error> {
    let count = case_count(url, config).await?;
    for case in 1..=count {
        // What the server does wrong on purpose ends the case, not the run.
        let case_url = format!("{url}/runCase?case={case}&agent={agent}");
        let result = match stack {
            Stack::Native => echo(&case_url, config)
                .await
                .map_err(|error| error.to_string()),
            #[cfg(feature = "bridge")]
            Stack::Bridge(capacity) => bridge::echo(&case_url, capacity)
                .await
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = result {
            println!("case {case}: {error}");
        }
    }
    println!("{count} cases");
    let url = format!("{url}/updateReports?agent={agent}");
    let mut socket = ws::connect_with(&url, config).await?;
    while socket.recv().await.is_ok() {}
    socket.close(CloseCode::NORMAL, "").await
}

async fn case_count(url: &str, config: &Config) -> Result<usize, Error> {
    let mut socket = ws::connect_with(&format!("{url}/getCaseCount"), config).await?;
    let mut count = 0;
    while let Ok(message) = socket.recv().await {
        if let Message::Text(text) = message {
            count = text.as_str().parse().unwrap_or(0);
        }
    }
    socket.close(CloseCode::NORMAL, "").await?;
    Ok(count)
}

async fn echo(url: &str, config: &Config) -> Result<(), Error> {
    let mut socket = ws::connect_with(url, config).await?;
    loop {
        match socket.recv().await {
            Ok(message) if message.is_data() => socket.send(message).await?,
            Ok(_) => {}
            Err(Error::Closed(_)) => return socket.close(CloseCode::NORMAL, "").await,
            Err(error) => {
                // The peer reads why before the next case begins.
                let _ = socket.close(CloseCode::NORMAL, "").await;
                return Err(error);
            }
        }
    }
}

#[cfg(feature = "bridge")]
mod bridge {
    use compio_net::TcpStream;
    use ws::bridge::tungstenite::{Error, error::UrlError};
    use ws::bridge::{BridgeWebSocket, Capacity};

    pub(crate) async fn echo(url: &str, capacity: Capacity) -> Result<(), Error> {
        let rest = url
            .strip_prefix("ws://")
            .ok_or(UrlError::UnsupportedUrlScheme)?;
        let address = rest.split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(address).await?;
        let mut socket = BridgeWebSocket::client(url, stream, capacity).await?;
        loop {
            match socket.recv().await {
                Ok(message) if message.is_text() || message.is_binary() => {
                    socket.send(message).await?;
                }
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => {
                    // The peer reads why before the next case begins.
                    let _ = socket.close(None).await;
                    return Err(error);
                }
            }
        }
    }
}
