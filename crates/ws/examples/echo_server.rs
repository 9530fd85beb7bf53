//! Sends every message back, with the defaults of the library, on one thread.
//!
//! `echo_server ADDR [--stack native|bridge|bridge-fixed] [--no-deflate]
//! [--driver auto|io-uring|poll] [--tls [--certificate FILE --key FILE]]` prints
//! `listening on ADDR`. With `--tls` alone it makes a certificate for localhost and says where
//! clients find it. The bridge, compression and TLS are there when it is built with the features
//! of these names.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use compio_net::{TcpListener, TcpStream};
use ws::{
    ChunkReceiver, ChunkSender, Config, DriverChoice, Error, Incoming, Refusal, RuntimeOptions,
};

const USAGE: &str = "usage: echo_server ADDR [--stack native|bridge|bridge-fixed] \
    [--no-deflate] [--driver auto|io-uring|poll] [--tls [--certificate FILE --key FILE]]";

struct Options {
    address: SocketAddr,
    driver: DriverChoice,
    stack: Stack,
    #[cfg(feature = "deflate")]
    deflate: bool,
    #[cfg(feature = "tls")]
    tls: Tls,
}

#[cfg(feature = "tls")]
#[derive(Default)]
struct Tls {
    enabled: bool,
    certificate: Option<std::path::PathBuf>,
    key: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy)]
enum Stack {
    Native,
    #[cfg(feature = "bridge")]
    Bridge(ws::bridge::Capacity),
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
    let mut stack = Stack::Native;
    #[cfg(feature = "deflate")]
    let mut deflate = true;
    #[cfg(feature = "tls")]
    let mut tls = Tls::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--driver" => {
                let name = arguments.next().ok_or(USAGE)?;
                driver = name.parse().map_err(|error| format!("{error}"))?;
            }
            #[cfg(feature = "deflate")]
            "--no-deflate" => deflate = false,
            #[cfg(feature = "tls")]
            "--tls" => tls.enabled = true,
            #[cfg(feature = "tls")]
            "--certificate" => tls.certificate = Some(arguments.next().ok_or(USAGE)?.into()),
            #[cfg(feature = "tls")]
            "--key" => tls.key = Some(arguments.next().ok_or(USAGE)?.into()),
            "--stack" => stack = parse_stack(&arguments.next().ok_or(USAGE)?)?,
            text => match text.parse() {
                Ok(parsed) => address = Some(parsed),
                Err(_) if text.starts_with('-') => {
                    return Err(format!("{text} is not known to this build; {USAGE}"));
                }
                Err(_) => return Err(format!("{text} is no IP address with a port; {USAGE}")),
            },
        }
    }
    #[cfg(all(feature = "tls", feature = "bridge"))]
    if tls.enabled && matches!(stack, Stack::Bridge(_)) {
        return Err(format!("--tls is for the native stack; {USAGE}"));
    }
    #[cfg(feature = "tls")]
    if !tls.enabled && (tls.certificate.is_some() || tls.key.is_some()) {
        return Err(format!("a certificate without --tls is of no use; {USAGE}"));
    }
    Ok(Options {
        address: address.ok_or(USAGE)?,
        driver,
        stack,
        #[cfg(feature = "deflate")]
        deflate,
        #[cfg(feature = "tls")]
        tls,
    })
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

fn serve(options: Options) -> Result<(), String> {
    let runtime = RuntimeOptions {
        driver: options.driver,
        ..RuntimeOptions::default()
    };
    let (runtime, _) = ws::build_runtime(&runtime).map_err(|error| error.to_string())?;
    #[cfg_attr(
        not(any(feature = "deflate", feature = "tls")),
        expect(unused_mut, reason = "nothing changes it")
    )]
    let mut config = Config::new();
    #[cfg(feature = "deflate")]
    if !options.deflate {
        config = config.uncompressed();
    }
    #[cfg(feature = "tls")]
    if options.tls.enabled {
        config = config.tls_server(tls::server(&options.tls)?);
    }
    runtime
        .block_on(accept(&options, config))
        .map_err(|error| format!("{}: {error}", options.address))
}

async fn accept(options: &Options, config: Config) -> std::io::Result<()> {
    let listener = TcpListener::bind(options.address).await?;
    let stack = options.stack;
    let config = Rc::new(config);
    println!("listening on {}", listener.local_addr()?);
    loop {
        // Accepting is never cancelled: a dropped accept could swallow a connection.
        match listener.accept().await {
            Ok((stream, _)) => {
                compio_runtime::spawn(serve_one(stream, stack, config.clone())).detach()
            }
            // Too many open files and the like: the next one may do.
            Err(error) => eprintln!("accept: {error}"),
        }
    }
}

async fn serve_one(stream: TcpStream, stack: Stack, config: Rc<Config>) {
    let result = match stack {
        Stack::Native => echo(stream, &config)
            .await
            .map_err(|error| error.to_string()),
        #[cfg(feature = "bridge")]
        Stack::Bridge(capacity) => bridge::echo(stream, capacity)
            .await
            .map_err(|error| error.to_string()),
    };
    if let Err(error) = result {
        eprintln!("{error}");
    }
}

async fn echo(stream: TcpStream, config: &Config) -> Result<(), Error> {
    let mut socket = match ws::accept_with(stream, config).await? {
        Incoming::WebSocket { socket, .. } => socket,
        // Any other request: there is nothing else here.
        Incoming::Http { receiver, .. } => return refuse(receiver).await,
    };
    loop {
        match socket.recv().await {
            Ok(message) if message.is_data() => socket.send(message).await?,
            Ok(_) => {}
            Err(Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn refuse(receiver: ChunkReceiver) -> Result<(), Error> {
    let answer = Refusal::UpgradeRequired.encode();
    let mut sender = ChunkSender::new(receiver.stream());
    sender.send(vec![answer]).await?;
    ws::close_slowly(receiver);
    Ok(())
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use ws::tls::rustls::ServerConfig;
    use ws::tls::rustls::pki_types::PrivatePkcs8KeyDer;

    pub(crate) fn server(options: &super::Tls) -> Result<Arc<ServerConfig>, String> {
        match (&options.certificate, &options.key) {
            (Some(certificate), Some(key)) => ws::tls::server_config_from_files(certificate, key)
                .map_err(|error| error.to_string()),
            (None, None) => self_signed(),
            _ => Err(super::USAGE.to_string()),
        }
    }

    /// A certificate for this run; clients trust it by the file that is named.
    fn self_signed() -> Result<Arc<ServerConfig>, String> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        let file = format!("echo-server-{}.pem", std::process::id());
        let file = std::env::temp_dir().join(file);
        std::fs::write(&file, made.cert.pem()).map_err(|error| error.to_string())?;
        println!("certificate in {}", file.display());
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        ws::tls::server_config_of(vec![made.cert.der().clone()], key.into())
            .map_err(|error| error.to_string())
    }
}

#[cfg(feature = "bridge")]
mod bridge {
    use compio_net::TcpStream;
    use ws::bridge::tungstenite::Error;
    use ws::bridge::{BridgeWebSocket, Capacity};

    pub(crate) async fn echo(stream: TcpStream, capacity: Capacity) -> Result<(), Error> {
        let mut socket = BridgeWebSocket::accept(stream, capacity).await?;
        loop {
            match socket.recv().await {
                Ok(message) if message.is_text() || message.is_binary() => {
                    socket.send(message).await?;
                }
                Ok(_) => {}
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
