//! What the server says of itself: health for the status page, statistics of the process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::process::Process;
use procfs::{Current, CurrentSI};

use super::control::ProcessStats;
use crate::http::Health;
use crate::metrics::MetricsSnapshot;
use crate::shard::Shard;

/// Gathers the health of every shard.
pub(super) async fn health(shard: &Shard) -> Health {
    let mut metrics = MetricsSnapshot::default();
    let mut partitions_fenced = Vec::new();
    for report in shard.reports().await {
        metrics += report.metrics;
        for (key, partition) in report.partitions {
            if let Some(refusal) = partition.refusal {
                partitions_fenced.push(format!("{key}: {refusal}"));
            }
        }
    }
    partitions_fenced.sort();
    let choice = shard.storage.write_choice();
    Health {
        status: if partitions_fenced.is_empty() {
            "ok"
        } else {
            "degraded"
        },
        version: env!("CARGO_PKG_VERSION"),
        driver: shard.machine.driver.to_string(),
        write_mode: choice.map_or_else(String::new, |choice| choice.mode.to_string()),
        write_mode_reason: choice.map_or_else(String::new, |choice| choice.reason.clone()),
        shards: shard.machine.shards_count,
        uptime_seconds: shard.machine.started.elapsed().as_secs(),
        partitions_fenced,
        metrics,
    }
}

/// Statistics of the process and its machine; what the system does not tell is 0 or empty.
pub(super) fn process(shard: &Shard, clients_count: usize) -> ProcessStats {
    let uptime = shard.machine.started.elapsed();
    let mut stats = ProcessStats {
        process_id: std::process::id(),
        run_time_us: micros(uptime),
        start_time_us: micros(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                - uptime,
        ),
        clients_count: u32::try_from(clients_count).unwrap_or(u32::MAX),
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..ProcessStats::default()
    };
    own_process(&mut stats, uptime);
    machine(&mut stats);
    if let Ok(disk) = rustix::fs::statvfs(shard.storage.root()) {
        stats.free_disk_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        stats.total_disk_bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
    }
    stats
}

fn own_process(stats: &mut ProcessStats, uptime: Duration) {
    let Ok(process) = Process::myself() else {
        return;
    };
    if let Ok(stat) = process.stat() {
        let ticks = (stat.utime + stat.stime) as f32;
        let seconds = ticks / procfs::ticks_per_second() as f32;
        // The average since the start: a rate needs two looks and nobody keeps the first.
        stats.cpu_usage = 100.0 * seconds / uptime.as_secs_f32().max(f32::EPSILON);
        stats.memory_usage_bytes = stat.rss.saturating_mul(procfs::page_size());
        stats.threads_count = u32::try_from(stat.num_threads).unwrap_or(0);
    }
    if let Ok(io) = process.io() {
        stats.read_bytes = io.read_bytes;
        stats.written_bytes = io.write_bytes;
    }
}

fn machine(stats: &mut ProcessStats) {
    if let Ok(memory) = procfs::Meminfo::current() {
        stats.total_memory_bytes = memory.mem_total;
        stats.available_memory_bytes = memory.mem_available.unwrap_or(memory.mem_free);
    }
    if let Ok(kernel) = procfs::KernelStats::current() {
        let total = &kernel.total;
        let idle = total.idle + total.iowait.unwrap_or(0);
        let busy = total.user + total.nice + total.system;
        stats.total_cpu_usage = 100.0 * busy as f32 / (busy + idle).max(1) as f32;
    }
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    stats.hostname = text(system.nodename());
    stats.os_name = text(system.sysname());
    stats.os_version = text(system.version());
    stats.kernel_version = text(system.release());
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
