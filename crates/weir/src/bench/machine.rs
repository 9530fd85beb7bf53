//! The facts of the machine that a figure is worth nothing without.

use serde_json::{Value, json};

pub(crate) fn facts() -> Value {
    json!({
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "scaling_governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    })
}

fn first_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(str::to_owned)
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':')
        .map(|(_, value)| value.trim().to_owned())
}

fn cpu_model() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

/// All cores of the machine: this process itself is pinned to some of them by now.
fn cores() -> usize {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let listed = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    listed.max(1)
}

fn memory_bytes() -> Option<u64> {
    let value = field("/proc/meminfo", "MemTotal")?;
    value
        .split(' ')
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}
