//! Where values come from: flags, environment variables, a TOML file, in this order of strength.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Config;
use super::settings::{SETTINGS, Setting};

/// The environment variable that names the configuration file when no flag does.
const FILE_VARIABLE: &str = "WEIR_CONFIG";

/// Only variables that start like this are Weir's; all others are left alone.
const VARIABLE_PREFIX: &str = "WEIR_";

/// Where a value or an unknown name was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag,
    /// A variable of the environment.
    Environment,
    /// A key of this configuration file.
    File(PathBuf),
}

/// Why no configuration came out. The text is one line and never holds a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No setting has this name.
    #[error("unknown {source_name} {name} in {place}; did you mean {nearest}?")]
    Unknown {
        /// "key" or "variable".
        source_name: &'static str,
        /// As it was written.
        name: String,
        /// The file, or "the environment".
        place: String,
        /// The valid name that looks most like it.
        nearest: String,
    },
    /// The setting exists, its value cannot be.
    #[error("invalid value for {name}{shown}: {expected}")]
    Invalid {
        /// The flag, variable or key (with its file).
        name: String,
        /// ` "value"`, or nothing when it is a secret.
        shown: String,
        /// What would have been valid.
        expected: String,
    },
    /// The file cannot be read.
    #[error("cannot read configuration file {path}: {reason}")]
    Unreadable {
        /// As it was given.
        path: String,
        /// The operating system's words.
        reason: String,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML at line {line}: {reason}")]
    Syntax {
        /// As it was given.
        path: String,
        /// Counted from 1.
        line: usize,
        /// The parser's words.
        reason: String,
    },
}

/// Puts a configuration together.
///
/// `flags` are pairs of a setting's name (as in [`SETTINGS`]) and the value given on the command
/// line. `file` is the path given on the command line; without it the environment's `WEIR_CONFIG`
/// counts; without either no file is read (a file that happens to lie in the working directory
/// changes nothing). `variables` is the whole environment.
///
/// # Errors
/// The first unknown name, invalid value or unreadable file: weakest source first.
pub fn load(
    flags: &[(&str, String)],
    file: Option<PathBuf>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let variables = own_variables(variables)?;
    let mut config = Config::default();

    let named = variables.iter().find(|(name, _)| name == FILE_VARIABLE);
    if let Some(path) = file.or_else(|| named.map(|(_, value)| PathBuf::from(value))) {
        let text = std::fs::read_to_string(&path).map_err(|error| ConfigError::Unreadable {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        apply_file(&mut config, &path, &text)?;
    }
    for (name, value) in variables.iter().filter(|(name, _)| name != FILE_VARIABLE) {
        let setting = find(name, &Source::Environment)?;
        apply(&mut config, setting, value, &Source::Environment)?;
    }
    for (name, value) in flags {
        let setting = find(name, &Source::Flag)?;
        apply(&mut config, setting, value, &Source::Flag)?;
    }
    Ok(config)
}

/// Applies the text of a file; `path` is only for messages.
pub(super) fn apply_file(config: &mut Config, path: &Path, text: &str) -> Result<(), ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start).min(text.len());
        ConfigError::Syntax {
            path: path.display().to_string(),
            line: 1 + text.as_bytes()[..start]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count(),
            reason: error.message().replace('\n', " "),
        }
    })?;
    let source = Source::File(path.to_owned());
    for (key, value) in &table {
        let setting = find(key, &source)?;
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            other => {
                return Err(invalid(
                    setting,
                    &source,
                    &other.to_string(),
                    "expected a string, a whole number, true or false".to_owned(),
                ));
            }
        };
        apply(config, setting, &text, &source)?;
    }
    Ok(())
}

/// The variables that are ours, sorted so that the same environment gives the same error.
fn own_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut own = Vec::new();
    for (name, value) in variables {
        let Some(name) = name
            .to_str()
            .filter(|name| name.starts_with(VARIABLE_PREFIX))
        else {
            continue;
        };
        let value = value.into_string().map_err(|_| ConfigError::Invalid {
            name: format!("variable {name}"),
            shown: String::new(),
            expected: "expected UTF-8 text".to_owned(),
        })?;
        own.push((name.to_owned(), value));
    }
    own.sort();
    Ok(own)
}

fn find(name: &str, source: &Source) -> Result<&'static Setting, ConfigError> {
    let spelled = |setting: &Setting| match source {
        Source::Environment => setting.variable(),
        Source::Flag | Source::File(_) => setting.name.to_owned(),
    };
    if let Some(setting) = SETTINGS.iter().find(|setting| spelled(setting) == name) {
        return Ok(setting);
    }
    let mut candidates: Vec<String> = SETTINGS.iter().map(spelled).collect();
    let (source_name, place) = match source {
        Source::Flag => ("flag", "the command line".to_owned()),
        Source::Environment => {
            candidates.push(FILE_VARIABLE.to_owned());
            ("variable", "the environment".to_owned())
        }
        Source::File(path) => ("key", path.display().to_string()),
    };
    Err(ConfigError::Unknown {
        source_name,
        name: name.to_owned(),
        place,
        nearest: nearest(name, candidates),
    })
}

/// The candidate that takes the fewest edits; upper and lower case and dashes do not count.
fn nearest(name: &str, candidates: Vec<String>) -> String {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .min_by_key(|candidate| strsim::damerau_levenshtein(&plain(name), &plain(candidate)))
        .unwrap_or_default()
}

fn apply(
    config: &mut Config,
    setting: &Setting,
    value: &str,
    source: &Source,
) -> Result<(), ConfigError> {
    setting
        .apply(config, value)
        .map_err(|expected| invalid(setting, source, value, expected))
}

fn invalid(setting: &Setting, source: &Source, value: &str, expected: String) -> ConfigError {
    ConfigError::Invalid {
        name: match source {
            Source::Flag => format!("--{}", setting.flag()),
            Source::Environment => setting.variable(),
            Source::File(path) => format!("{} in {}", setting.name, path.display()),
        },
        shown: if setting.has_flag {
            format!(" {value:?}")
        } else {
            String::new()
        },
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    fn message(result: Result<Config, ConfigError>) -> String {
        let message = result.expect_err("must be refused").to_string();
        assert!(!message.contains('\n'), "one line: {message}");
        message
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        assert_eq!(
            load(&[], None, variables(&[("HOME", "/root")])),
            Ok(Config::default())
        );
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("weir.toml");
        let text = "tcp = '127.0.0.1:1'\nwebsocket = '127.0.0.1:2'\nshards = 3\n";
        std::fs::write(&path, text).expect("written");

        let environment = variables(&[
            ("WEIR_TCP", "127.0.0.1:11"),
            ("WEIR_WEBSOCKET", "127.0.0.1:12"),
        ]);
        let flags = [("tcp", "127.0.0.1:21".to_owned())];
        let config = load(&flags, Some(path), environment).expect("valid");

        assert_eq!(config.tcp.port(), 21);
        assert_eq!(config.websocket.port(), 12);
        assert_eq!(config.shards.map(std::num::NonZero::get), Some(3));
        assert_eq!(config.driver, super::super::Driver::Auto);
    }

    #[test]
    fn file_named_by_the_environment_is_read_unless_a_flag_names_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = directory.path().join("first.toml");
        let second = directory.path().join("second.toml");
        std::fs::write(&first, "shards = 1").expect("written");
        std::fs::write(&second, "shards = 2").expect("written");
        let environment = variables(&[("WEIR_CONFIG", first.to_str().expect("UTF-8"))]);

        let config = load(&[], None, environment.clone()).expect("valid");
        assert_eq!(config.shards.map(std::num::NonZero::get), Some(1));
        let config = load(&[], Some(second), environment).expect("valid");
        assert_eq!(config.shards.map(std::num::NonZero::get), Some(2));
    }

    #[test]
    fn every_setting_can_come_from_every_source() {
        for setting in SETTINGS {
            let value = match setting.name {
                "tcp" | "websocket" => "127.0.0.1:7000",
                "shards" => "7",
                "driver" => "poll",
                "tls_listeners" => "tcp",
                "write_mode" => "buffered",
                "message_expiry" => "3 days",
                "max_topic_size" => "5 GiB",
                "delete_oldest_segments" => "false",
                "websocket_deflate" => "true",
                "retention_interval" => "9 s",
                _ => "another",
            };
            let by_flag = load(&[(setting.name, value.to_owned())], None, []).expect("flag");
            let environment = variables(&[(&setting.variable(), value)]);
            let by_variable = load(&[], None, environment).expect("variable");
            let mut by_file = Config::default();
            let text = format!("{} = {value:?}", setting.name);
            apply_file(&mut by_file, "weir.toml".as_ref(), &text).expect("key");

            assert_ne!(
                by_flag,
                Config::default(),
                "{} changes nothing",
                setting.name
            );
            assert_eq!(by_flag, by_variable);
            assert_eq!(by_flag, by_file);
        }
    }

    #[test]
    fn unknown_variable_is_refused_with_the_nearest_name() {
        let message = message(load(&[], None, variables(&[("WEIR_DATADIR", "x")])));
        assert_eq!(
            message,
            "unknown variable WEIR_DATADIR in the environment; did you mean WEIR_DATA_DIR?"
        );
    }

    #[test]
    fn unknown_key_is_refused_with_the_nearest_name() {
        let mut config = Config::default();
        let error = apply_file(&mut config, "a.toml".as_ref(), "web-socket = 'x'").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown key web-socket in a.toml; did you mean websocket?"
        );
    }

    #[test]
    fn a_section_is_not_a_value() {
        let mut config = Config::default();
        let error = apply_file(&mut config, "a.toml".as_ref(), "[tcp]\nport = 1").unwrap_err();
        assert!(error.to_string().contains("tcp in a.toml"), "{error}");
    }

    #[test]
    fn broken_file_is_reported_with_its_line() {
        let mut config = Config::default();
        let error = apply_file(&mut config, "a.toml".as_ref(), "shards = 1\ntcp = \n");
        let message = message(error.map(|()| config));
        assert!(message.starts_with("configuration file a.toml is not valid TOML at line 2"));
    }

    #[test]
    fn missing_file_is_reported_with_its_path() {
        let message = message(load(&[], Some("/nowhere/weir.toml".into()), []));
        assert!(message.starts_with("cannot read configuration file /nowhere/weir.toml"));
    }

    #[test]
    fn invalid_value_names_its_source_but_never_shows_a_password() {
        let shown = message(load(&[("tcp", "here".to_owned())], None, []));
        assert!(
            shown.starts_with("invalid value for --tcp \"here\": expected an IP"),
            "{shown}"
        );
        let hidden = message(load(&[], None, variables(&[("WEIR_ROOT_PASSWORD", "pw")])));
        assert_eq!(
            hidden,
            "invalid value for WEIR_ROOT_PASSWORD: expected 3 to 100 bytes"
        );
    }
}
