//! What the limits add up to, against what the machine has: said once, at the start.

use procfs::Current;

use crate::limits::{
    CONNECTION_BYTES, CONNECTIONS_MIN, FILES_OF_PROCESS, FILES_OF_SHARD, LOGIN_CHECK_BYTES, Limits,
    STORAGE_FILES_MIN,
};

const MIB: u64 = 1 << 20;

/// Open files, for the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Files {
    /// What the limits ask for.
    pub(crate) wanted: u64,
    /// What the system allows.
    pub(crate) allowed: u64,
}

/// Not even a small server fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the process may have {allowed} files open and needs {needed} for {shards} shards: raise the \
     limit (ulimit -n, LimitNOFILE) or use fewer --shards"
)]
pub struct TooFewFiles {
    allowed: u64,
    needed: u64,
    shards: usize,
}

/// Files of one shard that belong to its partitions.
fn storage_files(limits: &Limits) -> usize {
    // While written past the page cache a segment is open twice.
    2 * limits.storage.segments_open_max
        + limits.storage.read_cursors_max
        + limits.offset_journals_open_max
}

/// Makes the limits fit into the files that the system allows: connections get what the
/// partitions leave, and both get at least a little.
///
/// # Errors
/// [`TooFewFiles`].
pub(crate) fn fit_files(
    limits: &mut Limits,
    shards: usize,
    allowed: u64,
) -> Result<Files, TooFewFiles> {
    let shards_count = shards.max(1) as u64;
    let of_shard = |files: usize| files as u64 + FILES_OF_SHARD;
    let total = |files| FILES_OF_PROCESS + shards_count * of_shard(files);
    let needed = total(STORAGE_FILES_MIN + CONNECTIONS_MIN);
    if allowed < needed {
        return Err(TooFewFiles {
            allowed,
            needed,
            shards,
        });
    }
    let wanted = total(storage_files(limits) + limits.connections_max);
    if allowed < wanted {
        let share = (allowed - FILES_OF_PROCESS) / shards_count - FILES_OF_SHARD;
        let share = usize::try_from(share).unwrap_or(usize::MAX);
        let storage = storage_files(limits).min(share / 2).max(STORAGE_FILES_MIN);
        if storage < storage_files(limits) {
            // Three quarters for segments, the rest for journals and readers.
            limits.storage.segments_open_max = storage * 3 / 8;
            limits.storage.read_cursors_max = storage / 8;
            limits.offset_journals_open_max = storage / 8;
        }
        limits.connections_max = limits.connections_max.min(share - storage_files(limits));
    }
    Ok(Files { wanted, allowed })
}

/// Bytes of memory that one shard may take, by what takes them.
pub(crate) fn memory_of_shard(limits: &Limits) -> [(&'static str, u64); 6] {
    [
        (
            "connections",
            limits.connections_max as u64 * CONNECTION_BYTES,
        ),
        ("recent messages", limits.storage.tail_bytes_max as u64),
        ("waiting messages", limits.storage.pending_bytes_max as u64),
        ("old messages", limits.storage.read_bytes_max as u64),
        (
            "write buffers",
            (storage::limits::ALIGNED_KEPT_MAX * storage::limits::ALIGNED_KEPT_BYTES_MAX) as u64,
        ),
        (
            "login checks",
            limits.password_checks_max as u64 * LOGIN_CHECK_BYTES,
        ),
    ]
}

/// Says what the limits add up to, and warns where the machine has less.
pub(crate) fn tell(limits: &Limits, shards: usize, files: Files) {
    let parts = memory_of_shard(limits);
    let shard_bytes: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    let terms: Vec<String> = parts
        .iter()
        .map(|(name, bytes)| format!("{name} {}", bytes / MIB))
        .collect();
    let all_mib = shard_bytes / MIB * shards as u64;
    tracing::info!(
        "memory at most, in MiB: {} = {} per shard, {all_mib} for {shards} shards, besides about 2 \
         KiB per partition",
        terms.join(" + "),
        shard_bytes / MIB,
    );
    if let Some(memory_bytes) = machine_memory_bytes()
        && all_mib > memory_bytes / MIB / 4 * 3
    {
        tracing::warn!(
            "memory: the limits allow {all_mib} MiB and there are {} MiB: use fewer --shards",
            memory_bytes / MIB
        );
    }
    if files.wanted > files.allowed {
        tracing::warn!(
            "open files: {} are wanted and {} allowed: at most {} connections and {} open \
             segments per shard; raise the limit with ulimit -n or LimitNOFILE",
            files.wanted,
            files.allowed,
            limits.connections_max,
            limits.storage.segments_open_max,
        );
    }
}

/// What the machine has, or the container where that is less.
fn machine_memory_bytes() -> Option<u64> {
    let machine = procfs::Meminfo::current().ok()?.mem_total;
    let container = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    // "max" where there is no bound.
    let container = container.ok().and_then(|text| text.trim().parse().ok());
    Some(container.map_or(machine, |bytes: u64| bytes.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(shards: usize, allowed: u64) -> Result<Limits, TooFewFiles> {
        let mut limits = Limits::default();
        fit_files(&mut limits, shards, allowed).map(|_| limits)
    }

    fn files(limits: &Limits, shards: u64) -> u64 {
        let of_shard = (storage_files(limits) + limits.connections_max) as u64 + FILES_OF_SHARD;
        FILES_OF_PROCESS + shards * of_shard
    }

    #[test]
    fn limits_stay_as_they_are_when_all_files_are_allowed() {
        let wanted = files(&Limits::default(), 2);
        assert_eq!(fit(2, wanted), Ok(Limits::default()));
        let fitted = fit(2, wanted - 1).expect("a little less is enough");
        assert_eq!(
            fitted.connections_max,
            Limits::default().connections_max - 1
        );
        assert_eq!(fitted.storage, Limits::default().storage);
    }

    #[test]
    fn memory_counts_what_a_thread_keeps_for_its_next_writes() {
        let parts = memory_of_shard(&Limits::default());
        let kept = parts.iter().find(|(name, _)| *name == "write buffers");
        assert_eq!(kept, Some(&("write buffers", 4 * 8 * MIB)));
    }

    #[test]
    fn whatever_is_allowed_suffices_from_the_least_on() {
        let least =
            FILES_OF_PROCESS + 2 * ((STORAGE_FILES_MIN + CONNECTIONS_MIN) as u64 + FILES_OF_SHARD);
        for allowed in [least, least + 1, 1_024, 4_096, 20_000, 65_536] {
            let fitted = fit(2, allowed).expect("enough");
            assert!(files(&fitted, 2) <= allowed, "{allowed}");
            assert!(fitted.connections_max >= CONNECTIONS_MIN, "{allowed}");
            assert!(fitted.storage.segments_open_max >= 8, "{allowed}");
        }
        let refused = fit(2, least - 1).expect_err("too few").to_string();
        assert!(refused.contains(&least.to_string()) && refused.contains("ulimit -n"));
    }
}
