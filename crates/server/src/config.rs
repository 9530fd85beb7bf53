//! What an operator can set, and where a value may come from.
//!
//! Every setting has one entry in [`settings::SETTINGS`]; its name there is the TOML key, with
//! `WEIR_` in front and in capitals the environment variable, and with dashes the flag. A value
//! from the command line wins over the environment, the environment over the file, the file over
//! the default. A name that no entry has is an error that says which one was probably meant.
//!
//! The defaults, each with its reason, are documented in `weir.toml` at the root of the
//! repository; a test keeps that file and [`Config::default`] equal.

pub mod settings;
mod sources;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::catalog::UNLIMITED;

pub use sources::{ConfigError, Source, load};
use storage::WriteMode;

/// The name of the root user when none is set: what published clients' examples log in with.
pub const ROOT_USERNAME_DEFAULT: &str = "iggy";

/// A complete configuration: every setting with its value, whoever set it.
///
/// The relations between settings and the machine (memory, cores) are proved later, at boot.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory that holds everything durable. Created when missing.
    pub data_dir: PathBuf,
    /// Where the Iggy protocol is served on plain TCP. Port 0: the kernel chooses.
    pub tcp: SocketAddr,
    /// Where WebSocket, the status page and `/health` are served. Port 0: the kernel chooses.
    pub websocket: SocketAddr,
    /// Whether a WebSocket client that offers permessage-deflate gets it.
    pub websocket_deflate: bool,
    /// PEM file with the server's certificate and those between it and its root; `None`: no TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the key of that certificate.
    pub tls_key_file: Option<PathBuf>,
    /// Which ports speak TLS when there is a certificate.
    pub tls_listeners: TlsListeners,
    /// Threads that own connections and partitions; `None`: one per core.
    pub shards: Option<NonZeroUsize>,
    /// How the runtime talks to the kernel.
    pub driver: Driver,
    /// How logs are written; `None`: measured at start.
    pub write_mode: Option<WriteMode>,
    /// Name of the root user made on first start; `None`: [`ROOT_USERNAME_DEFAULT`].
    pub root_username: Option<String>,
    /// Password of the root user made on first start; `None`: generated and printed once.
    pub root_password: Option<String>,
    /// Age in microseconds after which messages of a topic that chose none are removed.
    pub message_expiry_us: u64,
    /// Size in bytes of a topic that chose none.
    pub topic_bytes_max: u64,
    /// Whether a topic at its size loses its oldest segments; otherwise it takes no more messages.
    pub delete_oldest_segments: bool,
    /// How often topics are looked through for what is too old or too much.
    pub retention_interval: Duration,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
}

/// Which ports speak TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsListeners {
    /// Both.
    #[default]
    All,
    /// The one for TCP.
    Tcp,
    /// The one for WebSocket, the status page and `/health`.
    WebSocket,
}

/// Which kernel interface the runtime drives its input and output through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// io_uring when the kernel allows it, otherwise readiness polling with one log line.
    #[default]
    Auto,
    /// io_uring or an error at start.
    IoUring,
    /// Readiness polling (epoll), also where io_uring would work.
    Poll,
}

impl Config {
    /// The root user's name: the one that was set, or the default.
    pub fn root_username_or_default(&self) -> &str {
        self.root_username
            .as_deref()
            .unwrap_or(ROOT_USERNAME_DEFAULT)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data_dir: PathBuf::from("./weir-data"),
            tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, 8090)),
            websocket: SocketAddr::from((Ipv4Addr::LOCALHOST, 8092)),
            websocket_deflate: false,
            tls_cert_file: None,
            tls_key_file: None,
            tls_listeners: TlsListeners::All,
            shards: None,
            driver: Driver::Auto,
            write_mode: None,
            root_username: None,
            root_password: None,
            message_expiry_us: UNLIMITED,
            topic_bytes_max: UNLIMITED,
            delete_oldest_segments: true,
            retention_interval: Duration::from_secs(60),
            log: "info".to_owned(),
        }
    }
}

impl fmt::Debug for Config {
    /// Everything except the password, which must not reach a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("data_dir", &self.data_dir)
            .field("tcp", &self.tcp)
            .field("websocket", &self.websocket)
            .field("websocket_deflate", &self.websocket_deflate)
            .field("tls_cert_file", &self.tls_cert_file)
            .field("tls_key_file", &self.tls_key_file)
            .field("tls_listeners", &self.tls_listeners)
            .field("shards", &self.shards)
            .field("driver", &self.driver)
            .field("write_mode", &self.write_mode)
            .field("root_username", &self.root_username)
            .field(
                "root_password",
                &self.root_password.as_ref().map(|_| "(set)"),
            )
            .field("message_expiry_us", &self.message_expiry_us)
            .field("topic_bytes_max", &self.topic_bytes_max)
            .field("delete_oldest_segments", &self.delete_oldest_segments)
            .field("retention_interval", &self.retention_interval)
            .field("log", &self.log)
            .finish()
    }
}

impl fmt::Display for TlsListeners {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TlsListeners::All => "all",
            TlsListeners::Tcp => "tcp",
            TlsListeners::WebSocket => "websocket",
        })
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Driver::Auto => "auto",
            Driver::IoUring => "io-uring",
            Driver::Poll => "poll",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../weir.toml");

    fn from_file(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        sources::apply_file(&mut config, "weir.toml".as_ref(), text)?;
        Ok(config)
    }

    #[test]
    fn sample_file_sets_exactly_the_defaults() {
        assert_eq!(
            from_file(SAMPLE).expect("the sample parses"),
            Config::default()
        );
    }

    /// Settings without a fixed default stand in the sample behind a `#`; with the `#` taken
    /// away they must still be valid, so that a reader can do just that.
    #[test]
    fn sample_file_with_every_optional_line_switched_on_parses() {
        let switched_on: String = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => rest,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = from_file(&switched_on).expect("the optional lines parse");
        assert!(config.shards.is_some());
        assert!(config.root_username.is_some() && config.root_password.is_some());
    }

    /// Every setting is in the sample, directly below a comment that gives its reason.
    #[test]
    fn sample_file_explains_every_setting() {
        let lines: Vec<&str> = SAMPLE.lines().collect();
        for setting in settings::SETTINGS {
            let assignment = format!("{} = ", setting.name);
            let index = lines
                .iter()
                .position(|line| line.trim_start_matches('#').starts_with(&assignment))
                .unwrap_or_else(|| panic!("weir.toml does not mention {}", setting.name));
            assert!(
                index > 0 && lines[index - 1].starts_with("# "),
                "weir.toml gives no reason above {}",
                setting.name
            );
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let config = Config {
            root_password: Some("open sesame".to_owned()),
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("sesame"));
    }
}
