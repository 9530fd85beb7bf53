//! The facts of the machine and its disk that a figure is worth nothing without.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};
use storage::CompioDisk;
use storage::doctor::{Way, diagnose};

/// Durable writes of each way and size that the disk is tried with: a tenth of a second.
const DISK_SAMPLES: usize = 15;

/// What this machine is; with a data directory also what disk it is on and how fast that syncs.
pub(crate) fn facts(data: Option<&Path>) -> Value {
    let mut facts = Map::new();
    let mut add = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    add("cpu", json!(cpu_model()));
    add("cores", json!(cores()));
    add("memory_bytes", json!(memory_bytes()));
    add("kernel", json!(first_line("/proc/sys/kernel/osrelease")));
    let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    add("scaling_governor", json!(first_line(governor)));
    let congestion_control = "/proc/sys/net/ipv4/tcp_congestion_control";
    add(
        "tcp_congestion_control",
        json!(first_line(congestion_control)),
    );
    if let Some(data) = data {
        facts.extend(disk_facts(data));
    }
    Value::Object(facts)
}

fn first_line(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
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

fn disk_facts(data: &Path) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut add = |name: &str, value: Value| facts.insert(format!("disk_{name}"), value);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let absolute = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    if let Some(mount) = Mount::of(&absolute, &mounts) {
        add("file_system", json!(mount.file_system));
        add("device", json!(mount.device));
        add("mount_options", json!(mount.options));
        let device = mount.block_device();
        let about = |name: &str| first_line(device.as_ref()?.join(name));
        add("model", json!(about("device/model")));
        add("write_cache", json!(about("queue/write_cache")));
        let read_ahead = about("queue/read_ahead_kb").and_then(|text| text.parse::<u64>().ok());
        add("read_ahead_kib", json!(read_ahead));
        let rotational = about("queue/rotational").map(|flag| flag == "1");
        add("rotational", json!(rotational));
    }
    if let Ok(space) = rustix::fs::statvfs(data) {
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        add("free_bytes", json!(free_bytes));
    }
    for (name, microseconds) in durable_writes(data).unwrap_or_default() {
        add(&name, json!(microseconds));
    }
    facts
}

/// The median time of a durable write, by way and size: the floor under each acknowledgement.
fn durable_writes(data: &Path) -> Option<Vec<(String, f64)>> {
    let (runtime, _) = ws::build_runtime(&ws::RuntimeOptions::default()).ok()?;
    let start = Instant::now();
    let diagnosis = runtime.block_on(async {
        let disk = CompioDisk::new();
        let result = diagnose(&disk, data, DISK_SAMPLES, || start.elapsed()).await;
        disk.drain().await;
        result
    });
    let latencies = diagnosis.ok()?.latencies.into_iter();
    let named = latencies.filter_map(|latency| {
        let way = match latency.way {
            Way::BufferedAppend => "buffered",
            Way::DirectOverZeros => "direct",
            Way::BufferedOverZeros | Way::DirectIntoReserved => {
                return None;
            }
        };
        let kilobytes = latency.bytes / 1024;
        let name = format!("{way}_write_{kilobytes}_kib_p50_us");
        Some((name, latency.p50.as_nanos() as f64 / 1e3))
    });
    Some(named.collect())
}

/// Where a directory's file system comes from.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// Major and minor number, as in `/sys/dev/block`.
    number: String,
    file_system: String,
    device: String,
    options: String,
}

impl Mount {
    /// The innermost mount around `path` in the text of `mountinfo`.
    fn of(path: &Path, mounts: &str) -> Option<Mount> {
        let mut best: Option<(usize, Mount)> = None;
        for line in mounts.lines() {
            // 36 35 98:0 /root /mount options … - type device super-options
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let ([_, _, number, _, place, options, ..], [file_system, device, ..]) =
                (&left[..], &right[..])
            else {
                continue;
            };
            let depth = Path::new(place).components().count();
            // A later line covers an earlier one of the same place.
            if path.starts_with(place) && best.as_ref().is_none_or(|(most, _)| depth >= *most) {
                let mount = Mount {
                    number: (*number).to_owned(),
                    file_system: (*file_system).to_owned(),
                    device: (*device).to_owned(),
                    options: (*options).to_owned(),
                };
                best = Some((depth, mount));
            }
        }
        best.map(|(_, mount)| mount)
    }

    /// The directory about the disk; for a partition that of the whole disk.
    fn block_device(&self) -> Option<PathBuf> {
        let link = PathBuf::from("/sys/dev/block").join(&self.number);
        let place = std::fs::canonicalize(link).ok()?;
        if place.join("queue").is_dir() {
            return Some(place);
        }
        place.parent().map(Path::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw
31 22 254:17 / /data rw,noatime shared:6 - xfs /dev/vdb1 rw
not a line";

    fn device(path: &str) -> Option<String> {
        Mount::of(Path::new(path), MOUNTS).map(|mount| mount.device)
    }

    #[test]
    fn the_innermost_mount_counts() {
        assert_eq!(device("/var/lib").as_deref(), Some("/dev/vda"));
        assert_eq!(device("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(device("/data").as_deref(), Some("/dev/vdb1"));
        assert_eq!(device("/database").as_deref(), Some("/dev/vda"));
        let mount = Mount::of(Path::new("/data/a"), MOUNTS).expect("a mount");
        assert_eq!(
            (mount.number.as_str(), mount.options.as_str()),
            ("254:17", "rw,noatime")
        );
        assert_eq!(Mount::of(Path::new("/"), ""), None);
    }
}
