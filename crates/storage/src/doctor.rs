//! How a disk takes durable writes: which way to write works on it, and how fast each one is.
//!
//! Writes a scratch file in the directory and removes it again. The clock is an argument.

use std::{path::Path, time::Duration};

use bytes::{Bytes, BytesMut};

use crate::{
    aligned,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    entry::BLOCK_BYTES,
    error::Error,
    limits::{self, WriteMode},
    segment,
};

/// Ends like every unfinished file, so that one left behind is recognised as ours.
const SCRATCH_FILE: &str = "weir.doctor.new";

/// A way to make one append durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the page cache at the end of the file, as most logs do.
    BufferedAppend,
    /// Through the page cache over zeros.
    BufferedOverZeros,
    /// Past the page cache over zeros.
    DirectOverZeros,
}

impl Way {
    /// All ways, in the order in which they are measured.
    pub const ALL: [Self; 3] = [
        Self::BufferedAppend,
        Self::BufferedOverZeros,
        Self::DirectOverZeros,
    ];
}

/// Latencies of one way with one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// How it was written.
    pub way: Way,
    /// Bytes of each write.
    pub bytes: usize,
    /// Half of the writes took at most this.
    pub p50: Duration,
    /// 99 of 100 took at most this.
    pub p99: Duration,
    /// The slowest one.
    pub max: Duration,
}

/// What was found out about a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Ways that work, with their latencies.
    pub latencies: Vec<Latency>,
    /// The mode to use.
    pub mode: WriteMode,
    /// Why this one.
    pub reason: &'static str,
    /// Set when something looks wrong.
    pub warning: Option<&'static str>,
}

/// Whether writes past the page cache work in `directory`.
///
/// # Errors
/// [`Error::Io`] and [`Error::Full`] when not even ordinary writes work.
pub async fn probe<D: Disk>(disk: &D, directory: &Path) -> Result<WriteMode, Error> {
    let path = directory.join(SCRATCH_FILE);
    let zeros = aligned::zeros(2 * BLOCK_BYTES as usize);
    let written = segment::write_durable(disk, &path, zeros.clone()).await;
    if written.is_err() {
        // What failed says why; a scratch file that was never made cannot be removed.
        let _ = disk.remove_file(&path).await;
    }
    written?;
    let direct = async {
        let file = disk.open(&path, OpenMode::Direct).await?;
        write_all_at(
            &file,
            BLOCK_BYTES,
            vec![zeros.slice(..BLOCK_BYTES as usize)],
        )
        .await?;
        file.sync().await
    };
    let mode = match direct.await {
        Ok(()) => WriteMode::Direct,
        Err(error) => {
            tracing::info!(directory = %directory.display(), %error, "no direct writes here");
            WriteMode::Buffered
        }
    };
    disk.remove_file(&path)
        .await
        .map_err(Error::at("remove", &path))?;
    Ok(mode)
}

/// Measures durable writes in `directory`: `samples` of each way and size, at least 1 and at most
/// [`limits::DOCTOR_SAMPLES_MAX`]. `now` is any clock that does not run backwards.
///
/// # Errors
/// As [`probe`].
pub async fn diagnose<D: Disk>(
    disk: &D,
    directory: &Path,
    samples: usize,
    now: impl Fn() -> Duration,
) -> Result<Diagnosis, Error> {
    let mode = probe(disk, directory).await?;
    let samples = samples.clamp(1, limits::DOCTOR_SAMPLES_MAX);
    let path = directory.join(SCRATCH_FILE);
    let measured = measure_all(disk, &path, mode, samples, &now).await;
    // Also after a failure: a disk that ran full must not stay so.
    let removed = disk.remove_file(&path).await;
    let latencies = measured.map_err(Error::at("measure", &path))?;
    removed.map_err(Error::at("remove", &path))?;
    let reason = match mode {
        WriteMode::Direct => "writes past the page cache work: their latency is steadier",
        WriteMode::Buffered => "the file system refuses writes past the page cache",
    };
    let warning = suspicion(&latencies);
    Ok(Diagnosis {
        latencies,
        mode,
        reason,
        warning,
    })
}

async fn measure_all<D: Disk>(
    disk: &D,
    path: &Path,
    mode: WriteMode,
    samples: usize,
    now: &impl Fn() -> Duration,
) -> std::io::Result<Vec<Latency>> {
    let mut latencies = Vec::new();
    for bytes in limits::DOCTOR_BYTES {
        for way in Way::ALL {
            if way == Way::DirectOverZeros && mode == WriteMode::Buffered {
                continue;
            }
            latencies.push(measure(disk, path, way, bytes, samples, now).await?);
        }
    }
    Ok(latencies)
}

async fn measure<D: Disk>(
    disk: &D,
    path: &Path,
    way: Way,
    bytes: usize,
    samples: usize,
    now: &impl Fn() -> Duration,
) -> std::io::Result<Latency> {
    let file = disk.open(path, OpenMode::CreateTruncate).await?;
    if way != Way::BufferedAppend {
        let zeros = aligned::zeros(bytes);
        for number in 0..samples {
            write_all_at(&file, (number * bytes) as u64, vec![zeros.clone()]).await?;
        }
    }
    file.sync().await?;
    let file = match way {
        Way::DirectOverZeros => disk.open(path, OpenMode::Direct).await?,
        _ => file,
    };
    let mut content: BytesMut = aligned::buffer(bytes);
    content.resize(bytes, 0xA5);
    let content: Bytes = content.freeze();
    let mut took = Vec::with_capacity(samples);
    for number in 0..samples {
        let start = now();
        write_all_at(&file, (number * bytes) as u64, vec![content.clone()]).await?;
        file.sync().await?;
        took.push(now().saturating_sub(start));
    }
    took.sort_unstable();
    let at = |hundredth: usize| took[(samples * hundredth / 100).min(samples - 1)];
    Ok(Latency {
        way,
        bytes,
        p50: at(50),
        p99: at(99),
        max: took[samples - 1],
    })
}

/// What a reader of the numbers should be told.
fn suspicion(latencies: &[Latency]) -> Option<&'static str> {
    let fastest = latencies.iter().map(|latency| latency.p50).min()?;
    let slowest = latencies.iter().map(|latency| latency.p50).max()?;
    if fastest < limits::DOCTOR_HONEST_FLUSH_MIN {
        return Some("a flush takes less time than any disk needs: it may not reach the disk");
    }
    (slowest > limits::DOCTOR_SLOW_FLUSH_MIN)
        .then_some("flushes are slow: acknowledgements will wait for them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::{Fault, Operation, SimDisk};
    use std::cell::Cell;

    fn diagnose_with(disk: &SimDisk, step: Duration) -> Diagnosis {
        let time = Cell::new(Duration::ZERO);
        let now = || {
            time.set(time.get() + step);
            time.get()
        };
        disk.run(diagnose(disk, Path::new("/p"), 10, now)).unwrap()
    }

    #[test]
    fn every_way_is_measured_and_the_scratch_file_removed() {
        let disk = SimDisk::with_directory(Path::new("/p"), 1);
        let diagnosis = diagnose_with(&disk, Duration::from_micros(100));
        assert_eq!(
            diagnosis.latencies.len(),
            Way::ALL.len() * limits::DOCTOR_BYTES.len()
        );
        assert!(
            diagnosis
                .latencies
                .iter()
                .all(|one| one.p99 == Duration::from_micros(100))
        );
        assert_eq!(
            (diagnosis.mode, diagnosis.warning),
            (WriteMode::Direct, None)
        );
        assert!(disk.content().directories[Path::new("/p")].is_empty());
    }

    #[test]
    fn a_disk_that_refuses_direct_writes_is_written_through_the_cache() {
        let disk = SimDisk::with_directory(Path::new("/p"), 1);
        // The first write makes the scratch file, the second is the direct one.
        disk.plan(Fault {
            operation: Operation::Write,
            after: 1,
            count: 1,
            error: 22,
        });
        let diagnosis = diagnose_with(&disk, Duration::from_micros(100));
        assert_eq!(diagnosis.mode, WriteMode::Buffered);
        assert!(
            diagnosis
                .latencies
                .iter()
                .all(|one| one.way != Way::DirectOverZeros)
        );
    }

    #[test]
    fn a_disk_that_runs_full_is_left_as_it_was() {
        for bytes_max in [100, 64 << 10] {
            let disk = SimDisk::with_directory(Path::new("/p"), 1);
            disk.set_bytes_max(Some(bytes_max));
            let result = disk.run(diagnose(&disk, Path::new("/p"), 10, || Duration::ZERO));
            assert!(matches!(result, Err(Error::Full { .. })), "{result:?}");
            assert!(disk.content().directories[Path::new("/p")].is_empty());
        }
    }

    #[test]
    fn lying_and_slow_disks_are_named() {
        let disk = SimDisk::with_directory(Path::new("/p"), 1);
        let edge = limits::DOCTOR_HONEST_FLUSH_MIN;
        assert_eq!(diagnose_with(&disk, edge).warning, None);
        assert!(
            diagnose_with(&disk, edge - Duration::from_nanos(1))
                .warning
                .is_some()
        );
        let edge = limits::DOCTOR_SLOW_FLUSH_MIN;
        assert_eq!(diagnose_with(&disk, edge).warning, None);
        assert!(
            diagnose_with(&disk, edge + Duration::from_nanos(1))
                .warning
                .is_some()
        );
    }
}
