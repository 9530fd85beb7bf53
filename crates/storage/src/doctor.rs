//! How a disk takes durable writes: which way to write works on it, and how fast each one is.
//!
//! Writes scratch files in the directory and removes them again. The clock is an argument.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    aligned,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    error::Error,
    limits::{self, WriteMode},
};

/// How names of scratch files begin. They end like those of all unfinished files, so that one left
/// behind is recognised as ours.
const SCRATCH_NAME: &str = "weir.doctor.";

/// A way to make one append durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through the page cache at the end of the file, as most logs do.
    BufferedAppend,
    /// Through the page cache over zeros.
    BufferedOverZeros,
    /// Past the page cache over zeros, as large groups are appended.
    DirectOverZeros,
    /// Past the page cache into space that was reserved and not written.
    DirectIntoReserved,
}

impl Way {
    /// All ways, in the order in which they are measured.
    pub const ALL: [Self; 4] = [
        Self::BufferedAppend,
        Self::BufferedOverZeros,
        Self::DirectOverZeros,
        Self::DirectIntoReserved,
    ];

    /// Those that [`probe`] compares.
    const PROBED: [Self; 2] = [Self::BufferedOverZeros, Self::DirectOverZeros];

    /// Whether a write is durable when it returns; else it needs a sync behind it.
    fn is_direct(self) -> bool {
        matches!(self, Self::DirectOverZeros | Self::DirectIntoReserved)
    }
}

/// Latencies of one way with one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// How it was written.
    pub way: Way,
    /// Bytes of each write.
    pub bytes: usize,
    /// Writes that were measured.
    pub samples: usize,
    /// The fastest one.
    pub min: Duration,
    /// Half of the writes took at most this.
    pub p50: Duration,
    /// 99 of 100 took at most this.
    pub p99: Duration,
    /// The slowest one.
    pub max: Duration,
}

/// How to write on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The mode to use.
    pub mode: WriteMode,
    /// Whether [`WriteMode::Direct`] is possible.
    pub direct_works: bool,
    /// Why this one.
    pub reason: String,
}

impl Choice {
    /// That of an operator.
    #[must_use]
    pub fn wanted(mode: WriteMode) -> Self {
        Self {
            mode,
            direct_works: mode == WriteMode::Direct,
            reason: "set by the operator".to_owned(),
        }
    }
}

/// What was found out about a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Ways that work, with their latencies.
    pub latencies: Vec<Latency>,
    /// The mode to use, and why.
    pub choice: Choice,
    /// Set when something looks wrong.
    pub warning: Option<&'static str>,
}

/// Finds out which way to write suits the disk under `directory`: whether writes past the page
/// cache work there, and whether they are as fast. Takes some 60 flushes, or
/// [`limits::PROBE_TIME_MAX`] and the flush under way then. `now` is any clock that does not run
/// backwards.
///
/// A full disk takes no measurements: the page cache is chosen then, because it works on every file
/// system, and what is stored can be read meanwhile.
///
/// # Errors
/// [`Error::Io`] when not even ordinary writes work.
pub async fn probe<D: Disk>(
    disk: &D,
    directory: &Path,
    now: impl Fn() -> Duration,
) -> Result<Choice, Error> {
    let series = Series {
        disk,
        directory,
        samples: limits::PROBE_SAMPLES,
        time_max: limits::PROBE_TIME_MAX,
        now: &now,
    };
    match series.measure(&limits::PROBE_BYTES, &Way::PROBED).await {
        Ok((latencies, refusal)) => Ok(choose(&latencies, refusal)),
        Err(Error::Full { .. }) => Ok(Choice {
            mode: WriteMode::Buffered,
            // Nothing speaks against it, and an operator who asks for it gets it.
            direct_works: true,
            reason: "the disk is full, so that nothing could be measured".to_owned(),
        }),
        Err(error) => Err(error),
    }
}

/// Measures durable writes in `directory`: `samples` of each way and size, at least 1 and at most
/// [`limits::DOCTOR_SAMPLES_MAX`]. The ways take turns, so that other work on the disk touches all
/// of them alike. `now` is any clock that does not run backwards.
///
/// # Errors
/// [`Error::Io`] and [`Error::Full`] when not even ordinary writes work.
pub async fn diagnose<D: Disk>(
    disk: &D,
    directory: &Path,
    samples: usize,
    now: impl Fn() -> Duration,
) -> Result<Diagnosis, Error> {
    let series = Series {
        disk,
        directory,
        samples: samples.clamp(1, limits::DOCTOR_SAMPLES_MAX),
        time_max: Duration::MAX,
        now: &now,
    };
    let (latencies, refusal) = series.measure(&limits::DOCTOR_BYTES, &Way::ALL).await?;
    let choice = choose(&latencies, refusal);
    let warning = suspicion(&latencies);
    Ok(Diagnosis {
        latencies,
        choice,
        warning,
    })
}

/// Past the page cache, unless that is refused or clearly slower.
fn choose(latencies: &[Latency], refusal: Option<io::Error>) -> Choice {
    if let Some(error) = refusal {
        return Choice {
            mode: WriteMode::Buffered,
            direct_works: false,
            reason: format!("the file system refuses writes past the page cache ({error})"),
        };
    }
    let of = |way: Way| latencies.iter().filter(move |latency| latency.way == way);
    let [buffered, direct] = Way::PROBED;
    let pairs: Vec<_> = of(buffered).zip(of(direct)).collect();
    let texts: Vec<String> = pairs
        .iter()
        .map(|(buffered, direct)| {
            format!(
                "{} KiB direct {:.2} ms, buffered {:.2} ms",
                direct.bytes >> 10,
                direct.p50.as_secs_f64() * 1e3,
                buffered.p50.as_secs_f64() * 1e3
            )
        })
        .collect();
    let (mode, verdict) = if is_direct_slower(&pairs) {
        (WriteMode::Buffered, "writes past the page cache are slower")
    } else {
        (WriteMode::Direct, "writes past the page cache work")
    };
    Choice {
        mode,
        direct_works: true,
        reason: format!("{verdict}; median of a few: {}", texts.join(", ")),
    }
}

/// Whether writes past the page cache are clearly slower: by their medians, and by the fastest
/// ones too. What else a busy machine does adds to both, but seldom to the same side in both, and
/// sizes of which there are few samples say nothing. A ratio counts the same for each size.
fn is_direct_slower(pairs: &[(&Latency, &Latency)]) -> bool {
    let telling: Vec<_> = pairs
        .iter()
        .filter(|(buffered, direct)| {
            buffered.samples.min(direct.samples) >= limits::PROBE_SAMPLES_TELLING
        })
        .collect();
    let is_slower_by = |of: fn(&Latency) -> Duration| {
        let ratios = telling.iter().map(|(buffered, direct)| {
            of(direct).as_secs_f64().max(1e-9) / of(buffered).as_secs_f64().max(1e-9)
        });
        let count = i32::try_from(telling.len()).expect("a few sizes");
        ratios.product::<f64>() > SLOWER_FACTOR.powi(count)
    };
    is_slower_by(|latency| latency.p50) && is_slower_by(|latency| latency.min)
}

/// A difference below this is within what a few samples can tell.
const SLOWER_FACTOR: f64 = 1.25;

/// One run of measurements.
struct Series<'a, D, N> {
    disk: &'a D,
    directory: &'a Path,
    samples: usize,
    time_max: Duration,
    now: &'a N,
}

/// A file that is written in one way.
struct Track<F> {
    way: Way,
    file: F,
    took: Vec<Duration>,
}

impl<D: Disk, N: Fn() -> Duration> Series<'_, D, N> {
    /// Latencies of those ways that work, and why others do not.
    async fn measure(
        &self,
        sizes: &[usize],
        ways: &[Way],
    ) -> Result<(Vec<Latency>, Option<io::Error>), Error> {
        let begun = (self.now)();
        let mut latencies = Vec::new();
        let mut refusal = None;
        for bytes in sizes.iter().copied() {
            let measured = self.measure_size(bytes, ways, begun, &mut refusal).await;
            // Also after a failure: a disk that ran full must not stay so.
            let removed = self.remove(ways).await;
            latencies.extend(measured.map_err(Error::at("measure", self.directory))?);
            removed.map_err(Error::at("remove from", self.directory))?;
        }
        Ok((latencies, refusal))
    }

    async fn measure_size(
        &self,
        bytes: usize,
        ways: &[Way],
        begun: Duration,
        refusal: &mut Option<io::Error>,
    ) -> io::Result<Vec<Latency>> {
        let mut content = aligned::Buffer::new(bytes);
        content.put_bytes(0xA5, bytes);
        let content = content.freeze();
        // More would only make the scratch files larger: what was written once is like zeros.
        let places = self
            .samples
            .min((limits::DOCTOR_REGION_BYTES / bytes).max(1));
        let mut tracks = Vec::new();
        for way in ways.iter().copied() {
            let file = self.prepare(way, bytes, places).await?;
            let file = match way.is_direct() {
                false => file,
                true => match self.try_direct(way, &content).await {
                    Ok(file) => file,
                    Err(error) => {
                        *refusal = Some(error);
                        continue;
                    }
                },
            };
            let took = Vec::with_capacity(self.samples);
            tracks.push(Track { way, file, took });
        }
        for number in 0..self.samples {
            if number > 0 && (self.now)().saturating_sub(begun) > self.time_max {
                break;
            }
            // Forwards, then backwards, so that none always comes behind the same other.
            tracks.reverse();
            for track in &mut tracks {
                let place = match track.way {
                    Way::BufferedAppend => number,
                    _ => number % places,
                };
                let position = (place * bytes) as u64;
                let start = (self.now)();
                write_all_at(&track.file, position, vec![content.clone()]).await?;
                if !track.way.is_direct() {
                    track.file.sync().await?;
                }
                track.took.push((self.now)().saturating_sub(start));
            }
        }
        tracks.sort_by_key(|track| ways.iter().position(|way| *way == track.way));
        Ok(tracks
            .into_iter()
            .map(|track| track.latency(bytes))
            .collect())
    }

    fn path(&self, way: Way) -> PathBuf {
        self.directory.join(format!("{SCRATCH_NAME}{way:?}.new"))
    }

    /// A scratch file as the way needs it, durable.
    async fn prepare(&self, way: Way, bytes: usize, places: usize) -> io::Result<D::File> {
        let open = self.disk.open(&self.path(way), OpenMode::CreateTruncate);
        let file = open.await?;
        let total = (places * bytes) as u64;
        match way {
            Way::BufferedAppend => {}
            Way::DirectIntoReserved => file.reserve(0, total).await?,
            _ => {
                let piece = total.min(limits::ZERO_AHEAD_PIECE_BYTES);
                let zeros = aligned::zeros(usize::try_from(piece).expect("a piece fits memory"));
                let mut position = 0;
                while position < total {
                    let bytes = piece.min(total - position) as usize;
                    write_all_at(&file, position, vec![zeros.slice(..bytes)]).await?;
                    position += bytes as u64;
                }
            }
        }
        file.sync().await?;
        Ok(file)
    }

    /// Opens a scratch file past the page cache, and proves that it can be written.
    async fn try_direct(&self, way: Way, content: &Bytes) -> io::Result<D::File> {
        let opening = self.disk.open(&self.path(way), OpenMode::DirectDurable);
        let file = opening.await?;
        if way != Way::DirectIntoReserved {
            write_all_at(&file, 0, vec![content.clone()]).await?;
            file.sync().await?;
        }
        Ok(file)
    }

    async fn remove(&self, ways: &[Way]) -> io::Result<()> {
        for way in ways {
            match self.disk.remove_file(&self.path(*way)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl<F> Track<F> {
    fn latency(mut self, bytes: usize) -> Latency {
        self.took.sort_unstable();
        let count = self.took.len();
        let at = |hundredth: usize| self.took[(count * hundredth / 100).min(count - 1)];
        Latency {
            way: self.way,
            bytes,
            samples: count,
            min: self.took[0],
            p50: at(50),
            p99: at(99),
            max: self.took[count - 1],
        }
    }
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
    use crate::disk::sim::SimDisk;
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
            (diagnosis.choice.mode, diagnosis.warning),
            (WriteMode::Direct, None)
        );
        assert!(disk.content().directories[Path::new("/p")].is_empty());
    }

    #[test]
    fn a_disk_that_refuses_direct_writes_is_written_through_the_cache() {
        let disk = SimDisk::with_directory(Path::new("/p"), 1);
        disk.set_refuses_direct(true);
        let diagnosis = diagnose_with(&disk, Duration::from_micros(100));
        assert_eq!(diagnosis.choice.mode, WriteMode::Buffered);
        assert!(diagnosis.choice.reason.contains("refuses"));
        assert!(diagnosis.latencies.iter().all(|one| !one.way.is_direct()));
        assert!(disk.content().directories[Path::new("/p")].is_empty());
    }

    #[test]
    fn a_disk_that_runs_full_is_left_as_it_was() {
        for bytes_max in [100, 64 << 10] {
            let disk = SimDisk::with_directory(Path::new("/p"), 1);
            disk.set_bytes_max(Some(bytes_max));
            let result = disk.run(diagnose(&disk, Path::new("/p"), 10, || Duration::ZERO));
            assert!(matches!(result, Err(Error::Full { .. })), "{result:?}");
            assert!(disk.content().directories[Path::new("/p")].is_empty());
            let chosen = disk.run(probe(&disk, Path::new("/p"), || Duration::ZERO));
            let chosen = chosen.expect("a server starts on a full disk");
            assert_eq!(chosen.mode, WriteMode::Buffered);
            assert!(chosen.reason.contains("full"), "{}", chosen.reason);
            assert!(disk.content().directories[Path::new("/p")].is_empty());
        }
    }

    fn latency(way: Way, bytes: usize, p50: Duration) -> Latency {
        Latency {
            way,
            bytes,
            samples: limits::PROBE_SAMPLES,
            min: p50,
            p50,
            p99: p50,
            max: p50,
        }
    }

    #[test]
    fn a_disk_on_which_direct_writes_are_slower_is_written_through_the_cache() {
        let chosen = |direct_us: u64| {
            let [buffered, direct] = Way::PROBED;
            let latencies = limits::PROBE_BYTES.map(|bytes| {
                [
                    latency(buffered, bytes, Duration::from_micros(100)),
                    latency(direct, bytes, Duration::from_micros(direct_us)),
                ]
            });
            choose(&latencies.concat(), None)
        };
        assert_eq!(chosen(50).mode, WriteMode::Direct);
        assert_eq!(chosen(124).mode, WriteMode::Direct);
        assert_eq!(chosen(126).mode, WriteMode::Buffered);
        assert!(
            chosen(126)
                .reason
                .contains("4 KiB direct 0.13 ms, buffered 0.10 ms")
        );
    }

    /// Whether `direct` of these times in microseconds is taken for slower than `buffered`.
    fn is_slower(buffered_us: [u64; 2], direct_us: [u64; 2], samples: usize) -> bool {
        let [buffered, direct] = Way::PROBED;
        let of = |way, [min, p50]: [u64; 2]| Latency {
            min: Duration::from_micros(min),
            samples,
            ..latency(way, 4_096, Duration::from_micros(p50))
        };
        is_direct_slower(&[(&of(buffered, buffered_us), &of(direct, direct_us))])
    }

    #[test]
    fn one_lucky_or_unlucky_write_decides_nothing() {
        let enough = limits::PROBE_SAMPLES_TELLING;
        assert!(is_slower([100, 120], [150, 200], enough));
        assert!(!is_slower([100, 120], [150, 200], enough - 1), "too few");
        assert!(!is_slower([50, 120], [90, 100], enough), "a lucky one");
        assert!(!is_slower([100, 100], [101, 400], enough), "a busy half");
        assert!(!is_direct_slower(&[]));
    }

    #[test]
    fn the_probe_ends_when_its_time_is_up() {
        let disk = SimDisk::with_directory(Path::new("/p"), 1);
        let (time, asked) = (Cell::new(Duration::ZERO), Cell::new(0));
        let now = || {
            asked.set(asked.get() + 1);
            time.set(time.get() + limits::PROBE_TIME_MAX);
            time.get()
        };
        let choice = disk.run(probe(&disk, Path::new("/p"), now)).unwrap();
        assert_eq!(choice.mode, WriteMode::Direct);
        // One round of each size, and a look at the clock around each write and before the second.
        assert_eq!(
            asked.get(),
            1 + limits::PROBE_BYTES.len() * (2 * Way::PROBED.len() + 1)
        );
        assert!(disk.content().directories[Path::new("/p")].is_empty());
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
