//! The one table of settings: name, help text and how a value is read.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use storage::WriteMode;

use super::{Config, Driver, TlsListeners};
use crate::catalog::limits::SEGMENT_BYTES_MIN;
use crate::limits;
use crate::session::control::options::{
    duration_us_of_text, expiry_us_of_text, topic_bytes_of_text,
};

/// One thing that an operator can set.
#[derive(Debug)]
pub struct Setting {
    /// TOML key: lower case, words joined by underscores. The environment variable and the flag
    /// are derived from it.
    pub name: &'static str,
    /// What stands for the value in the help text.
    pub value_name: &'static str,
    /// One sentence for the help text, with the default.
    pub help: &'static str,
    /// False for secrets: a command line is visible to every user of the machine.
    pub has_flag: bool,
    read: fn(&mut Config, &str) -> Result<(), String>,
}

impl Setting {
    /// `WEIR_DATA_DIR` for `data_dir`.
    pub fn variable(&self) -> String {
        format!("WEIR_{}", self.name.to_ascii_uppercase())
    }

    /// `data-dir` for `data_dir`, without the leading dashes.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Reads `value` into its field of `config`; the error says what would have been valid.
    pub(super) fn apply(&self, config: &mut Config, value: &str) -> Result<(), String> {
        (self.read)(config, value)
    }
}

/// Every setting there is. The order is the order of the help text.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "data_dir",
        value_name: "PATH",
        help: "Directory for everything durable, created when missing [default: ./weir-data]",
        has_flag: true,
        read: |config, value| {
            config.data_dir = read_path(value)?;
            Ok(())
        },
    },
    Setting {
        name: "tcp",
        value_name: "ADDRESS",
        help: "Address of the Iggy protocol on TCP, port 0 for any [default: 127.0.0.1:8090]",
        has_flag: true,
        read: |config, value| {
            config.tcp = read_address(value)?;
            Ok(())
        },
    },
    Setting {
        name: "websocket",
        value_name: "ADDRESS",
        help: "Address of WebSocket and the status page [default: 127.0.0.1:8092]",
        has_flag: true,
        read: |config, value| {
            config.websocket = read_address(value)?;
            Ok(())
        },
    },
    Setting {
        name: "websocket_deflate",
        value_name: "BOOLEAN",
        help: "Compress for WebSocket clients that offer it [default: false]",
        has_flag: true,
        read: |config, value| {
            config.websocket_deflate = value
                .parse()
                .map_err(|_| "expected true or false".to_owned())?;
            Ok(())
        },
    },
    Setting {
        name: "tls_cert_file",
        value_name: "PATH",
        help: "PEM file with the server's certificate chain [default: no TLS]",
        has_flag: true,
        read: |config, value| {
            config.tls_cert_file = Some(read_path(value)?);
            Ok(())
        },
    },
    Setting {
        name: "tls_key_file",
        value_name: "PATH",
        help: "PEM file with the key of that certificate",
        has_flag: true,
        read: |config, value| {
            config.tls_key_file = Some(read_path(value)?);
            Ok(())
        },
    },
    Setting {
        name: "tls_listeners",
        value_name: "WHICH",
        help: "Ports that speak TLS with the certificate: all, tcp or websocket [default: all]",
        has_flag: true,
        read: |config, value| {
            config.tls_listeners = read_tls_listeners(value)?;
            Ok(())
        },
    },
    Setting {
        name: "shards",
        value_name: "COUNT",
        help: "Threads that own connections and partitions [default: one per core]",
        has_flag: true,
        read: |config, value| {
            config.shards = Some(read_shards(value)?);
            Ok(())
        },
    },
    Setting {
        name: "driver",
        value_name: "DRIVER",
        help: "Kernel interface: auto, io-uring or poll [default: auto]",
        has_flag: true,
        read: |config, value| {
            config.driver = read_driver(value)?;
            Ok(())
        },
    },
    Setting {
        name: "write_mode",
        value_name: "MODE",
        help: "How logs are written: auto, direct or buffered [default: auto]",
        has_flag: true,
        read: |config, value| {
            config.write_mode = read_write_mode(value)?;
            Ok(())
        },
    },
    Setting {
        name: "root_username",
        value_name: "NAME",
        help: "Name of the root user made on first start [default: iggy]",
        has_flag: true,
        read: |config, value| {
            config.root_username = Some(read_text(value, limits::USERNAME_BYTES)?);
            Ok(())
        },
    },
    Setting {
        name: "root_password",
        value_name: "PASSWORD",
        help: "Password of the root user made on first start [default: generated, printed once]",
        has_flag: false,
        read: |config, value| {
            config.root_password = Some(read_text(value, limits::PASSWORD_BYTES)?);
            Ok(())
        },
    },
    Setting {
        name: "message_expiry",
        value_name: "AGE",
        help: "Age at which messages go, e.g. 7 days, if a topic chose none [default: unlimited]",
        has_flag: true,
        read: |config, value| {
            config.message_expiry_us = match expiry_us_of_text(value) {
                Some(age_us) if age_us > 0 => age_us,
                _ => return Err("expected an age as in 7 days, or unlimited".to_owned()),
            };
            Ok(())
        },
    },
    Setting {
        name: "max_topic_size",
        value_name: "SIZE",
        help: "Size of a topic that chose none, e.g. \"10 GiB\" [default: unlimited]",
        has_flag: true,
        read: |config, value| {
            config.topic_bytes_max = match topic_bytes_of_text(value) {
                Some(bytes) if bytes >= SEGMENT_BYTES_MIN => bytes,
                _ => return Err("expected 1 MiB or more, as in 10 GiB, or unlimited".to_owned()),
            };
            Ok(())
        },
    },
    Setting {
        name: "delete_oldest_segments",
        value_name: "BOOLEAN",
        help: "A topic at its size loses its oldest messages, or else takes none [default: true]",
        has_flag: true,
        read: |config, value| {
            config.delete_oldest_segments = value
                .parse()
                .map_err(|_| "expected true or false".to_owned())?;
            Ok(())
        },
    },
    Setting {
        name: "retention_interval",
        value_name: "DURATION",
        help: "How often topics are looked through for what is too old or too much [default: 1m]",
        has_flag: true,
        read: |config, value| {
            config.retention_interval = read_interval(value)?;
            Ok(())
        },
    },
    Setting {
        name: "log",
        value_name: "FILTER",
        help: "What is logged to standard error, e.g. warn or info,server=debug [default: info]",
        has_flag: true,
        read: |config, value| {
            config.log = value.to_owned();
            Ok(())
        },
    },
];

fn read_path(value: &str) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("expected a path".to_owned());
    }
    Ok(PathBuf::from(value))
}

fn read_tls_listeners(value: &str) -> Result<TlsListeners, String> {
    [
        TlsListeners::All,
        TlsListeners::Tcp,
        TlsListeners::WebSocket,
    ]
    .into_iter()
    .find(|listeners| listeners.to_string() == value)
    .ok_or_else(|| "expected all, tcp or websocket".to_owned())
}

fn read_address(value: &str) -> Result<SocketAddr, String> {
    value.parse().map_err(|_| {
        "expected an IP address and a port, as in 127.0.0.1:8090 or [::1]:8090".to_owned()
    })
}

fn read_interval(value: &str) -> Result<Duration, String> {
    let interval = duration_us_of_text(value).map(Duration::from_micros);
    match interval {
        Some(interval) if limits::RETENTION_INTERVAL.contains(&interval) => Ok(interval),
        _ => Err("expected a time from 100ms to 1 day, as in 1m".to_owned()),
    }
}

fn read_shards(value: &str) -> Result<NonZeroUsize, String> {
    match value.parse::<NonZeroUsize>() {
        Ok(count) if count.get() <= limits::SHARDS_COUNT_MAX => Ok(count),
        _ => Err(format!(
            "expected a number from 1 to {}",
            limits::SHARDS_COUNT_MAX
        )),
    }
}

fn read_driver(value: &str) -> Result<Driver, String> {
    [Driver::Auto, Driver::IoUring, Driver::Poll]
        .into_iter()
        .find(|driver| driver.to_string() == value)
        .ok_or_else(|| "expected auto, io-uring or poll".to_owned())
}

fn read_write_mode(value: &str) -> Result<Option<WriteMode>, String> {
    match value {
        "auto" => Ok(None),
        "direct" => Ok(Some(WriteMode::Direct)),
        "buffered" => Ok(Some(WriteMode::Buffered)),
        _ => Err("expected auto, direct or buffered".to_owned()),
    }
}

fn read_text(value: &str, bytes: std::ops::RangeInclusive<usize>) -> Result<String, String> {
    if bytes.contains(&value.len()) {
        Ok(value.to_owned())
    } else {
        Err(format!(
            "expected {} to {} bytes",
            bytes.start(),
            bytes.end()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<Config, String> {
        let setting = SETTINGS
            .iter()
            .find(|setting| setting.name == name)
            .expect("a setting");
        let mut config = Config::default();
        setting.apply(&mut config, value)?;
        Ok(config)
    }

    #[test]
    fn names_are_written_one_way() {
        for setting in SETTINGS {
            assert!(
                setting
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn shards_from_one_to_the_limit() {
        let max = limits::SHARDS_COUNT_MAX;
        assert_eq!(check("shards", "1").unwrap().shards, NonZeroUsize::new(1));
        assert_eq!(
            check("shards", &max.to_string()).unwrap().shards,
            NonZeroUsize::new(max)
        );
        for bad in ["0", &(max + 1).to_string(), "-1", "two", ""] {
            assert!(check("shards", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn username_and_password_lengths_stand_on_their_edges() {
        for (name, bytes) in [
            ("root_username", limits::USERNAME_BYTES),
            ("root_password", limits::PASSWORD_BYTES),
        ] {
            assert!(check(name, &"x".repeat(*bytes.start())).is_ok());
            assert!(check(name, &"x".repeat(*bytes.end())).is_ok());
            assert!(check(name, &"x".repeat(*bytes.start() - 1)).is_err());
            assert!(check(name, &"x".repeat(*bytes.end() + 1)).is_err());
        }
    }

    #[test]
    fn addresses_need_a_number_and_a_port() {
        assert!(check("tcp", "0.0.0.0:0").is_ok());
        assert!(check("websocket", "[::1]:8092").is_ok());
        for bad in ["localhost", "127.0.0.1", ":8090", "127.0.0.1:65536", ""] {
            assert!(check("tcp", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn drivers_have_three_names() {
        assert_eq!(check("driver", "auto").unwrap().driver, Driver::Auto);
        assert_eq!(check("driver", "io-uring").unwrap().driver, Driver::IoUring);
        assert_eq!(check("driver", "poll").unwrap().driver, Driver::Poll);
        assert!(check("driver", "io_uring").is_err());
    }

    #[test]
    fn tls_listeners_have_three_names() {
        let listeners = |value| check("tls_listeners", value).map(|config| config.tls_listeners);
        assert_eq!(listeners("all"), Ok(TlsListeners::All));
        assert_eq!(listeners("tcp"), Ok(TlsListeners::Tcp));
        assert_eq!(listeners("websocket"), Ok(TlsListeners::WebSocket));
        assert!(listeners("both").is_err());
        assert!(check("tls_cert_file", "").is_err());
    }

    #[test]
    fn retention_is_read_as_clients_write_it() {
        let config = check("message_expiry", "1.5 days").unwrap();
        assert_eq!(config.message_expiry_us, 36 * 3_600 * 1_000_000);
        let config = check("message_expiry", "unlimited").unwrap();
        assert_eq!(config, Config::default());
        assert!(check("message_expiry", "0 s").is_err());
        assert!(check("message_expiry", "old").is_err());
        let config = check("max_topic_size", "1 MiB").unwrap();
        assert_eq!(config.topic_bytes_max, 1 << 20);
        assert!(check("max_topic_size", "1023 KiB").is_err());
        assert!(
            !check("delete_oldest_segments", "false")
                .unwrap()
                .delete_oldest_segments
        );
        assert!(check("delete_oldest_segments", "no").is_err());
        for (good, seconds) in [("100ms", 0.1), ("1 day", 86_400.0)] {
            let config = check("retention_interval", good).unwrap();
            assert_eq!(config.retention_interval.as_secs_f64(), seconds);
        }
        for bad in ["99ms", "86401s", "", "soon"] {
            assert!(check("retention_interval", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn compression_is_true_or_false() {
        assert!(!Config::default().websocket_deflate);
        let config = check("websocket_deflate", "true").unwrap();
        assert!(config.websocket_deflate);
        for bad in ["on", "1", "TRUE", ""] {
            assert!(check("websocket_deflate", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn write_modes_have_three_names() {
        let mode = |value| check("write_mode", value).map(|config| config.write_mode);
        assert_eq!(mode("auto"), Ok(None));
        assert_eq!(mode("direct"), Ok(Some(WriteMode::Direct)));
        assert_eq!(mode("buffered"), Ok(Some(WriteMode::Buffered)));
        assert!(mode("Direct").is_err() && mode("").is_err());
    }

    #[test]
    fn an_empty_data_directory_is_refused() {
        assert!(check("data_dir", "").is_err());
    }
}
