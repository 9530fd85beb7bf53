//! Logs: to standard error, as events with fields, filtered by one setting.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts logging and makes a panic one log line instead of the standard library's report.
///
/// # Errors
/// When `filter` is not a valid filter.
pub(crate) fn start(filter: &str) -> anyhow::Result<()> {
    let filter: EnvFilter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("invalid value for log {filter:?}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    std::panic::set_hook(Box::new(|panic| {
        let message = panic
            .payload_as_str()
            .unwrap_or("no message")
            .replace('\n', " ");
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "panicked: {message}");
    }));
    Ok(())
}
