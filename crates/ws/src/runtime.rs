//! Building the compio runtime of one thread: driver choice, queue sizes, receive pool.
//!
//! The kernel decides at run time what is possible: containers often deny io_uring, old kernels
//! lack setup flags or provided-buffer rings. Everything here is therefore tried, not derived
//! from a version, and each step back is reported once.

use std::fmt;
use std::io;
use std::num::NonZero;

use compio_driver::{DriverType, ProactorBuilder};
use compio_runtime::{Runtime, RuntimeBuilder};

use crate::limits;
use crate::receiver;
use crate::reserve;

/// Which kernel interface the runtime shall use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring where the kernel allows it, otherwise epoll with one warning in the log.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Poll,
}

impl std::str::FromStr for DriverChoice {
    type Err = UnknownDriver;

    fn from_str(text: &str) -> Result<Self, UnknownDriver> {
        match text {
            "auto" => Ok(DriverChoice::Auto),
            "io-uring" | "io_uring" => Ok(DriverChoice::IoUring),
            "poll" | "epoll" => Ok(DriverChoice::Poll),
            _ => Err(UnknownDriver),
        }
    }
}

/// The text names no driver: `auto`, `io-uring` and `poll` are the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown driver: expected auto, io-uring or poll")]
pub struct UnknownDriver;

/// The kernel interface that a runtime uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring.
    IoUring,
    /// epoll.
    Poll,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DriverKind::IoUring => "io-uring",
            DriverKind::Poll => "poll",
        })
    }
}

/// What the runtime of one thread is built from.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// Kernel interface.
    pub driver: DriverChoice,
    /// Submission queue entries, at most [`limits::QUEUE_ENTRIES_MAX`].
    pub queue_entries: u32,
    /// Completion queue entries, at least `queue_entries`.
    pub completion_entries: u32,
    /// Chunks in the receive pool, rounded up to a power of two.
    pub pool_chunks_count: u16,
    /// Bytes of one chunk.
    pub chunk_bytes: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        RuntimeOptions {
            driver: DriverChoice::Auto,
            queue_entries: limits::QUEUE_ENTRIES_DEFAULT,
            completion_entries: limits::COMPLETION_ENTRIES_DEFAULT,
            pool_chunks_count: limits::POOL_CHUNKS_COUNT_DEFAULT,
            chunk_bytes: limits::CHUNK_BYTES_DEFAULT,
        }
    }
}

/// Why no runtime could be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// An option is outside of its limits.
    #[error("{name} must be between {minimum} and {maximum}, not {value}")]
    Option {
        /// The option.
        name: &'static str,
        /// The value that was given.
        value: u64,
        /// The smallest that is accepted.
        minimum: u64,
        /// The largest that is accepted.
        maximum: u64,
    },
    /// io_uring was asked for and the kernel or a sandbox refuses it.
    #[error(
        "io_uring cannot be used here ({0}); the kernel, a container's seccomp profile or \
         kernel.io_uring_disabled refuses it: choose driver auto or poll"
    )]
    IoUringDenied(#[source] io::Error),
    /// epoll could not be started.
    #[error("the epoll driver cannot be started: {0}")]
    Poll(#[source] io::Error),
}

/// Builds the runtime of the calling thread and says which driver it uses.
///
/// With io_uring the single-issuer and deferred-task-run modes are used where the kernel has them
/// (6.1), and the receive pool is proved with a real receive; a pool that does not work is
/// replaced by heap chunks for this thread.
///
/// # Errors
/// [`RuntimeError::Option`] for an option outside of its limits, [`RuntimeError::IoUringDenied`]
/// when io_uring is forced but refused, [`RuntimeError::Poll`] when epoll cannot start.
pub fn build_runtime(options: &RuntimeOptions) -> Result<(Runtime, DriverKind), RuntimeError> {
    check_options(options)?;
    let runtime = match options.driver {
        DriverChoice::Poll => build_poll(options)?,
        DriverChoice::IoUring => build_io_uring(options).map_err(RuntimeError::IoUringDenied)?,
        DriverChoice::Auto => match build_io_uring(options) {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, "io_uring cannot be used here, falling back to epoll");
                build_poll(options)?
            }
        },
    };
    let kind = match runtime.driver_type() {
        DriverType::IoUring => DriverKind::IoUring,
        _ => DriverKind::Poll,
    };
    receiver::set_chunk_bytes(options.chunk_bytes);
    reserve::reset(None);
    if kind == DriverKind::IoUring {
        receiver::prove_pool(&runtime);
        let chunks_count = options.pool_chunks_count.next_power_of_two();
        reserve::reset(Some(chunks_count.into()));
    }
    Ok((runtime, kind))
}

fn check_options(options: &RuntimeOptions) -> Result<(), RuntimeError> {
    let check = |name, value: u64, minimum: u64, maximum: u64| {
        if (minimum..=maximum).contains(&value) {
            Ok(())
        } else {
            Err(RuntimeError::Option {
                name,
                value,
                minimum,
                maximum,
            })
        }
    };
    let queue = u64::from(options.queue_entries);
    let queue_max = u64::from(limits::QUEUE_ENTRIES_MAX);
    check("queue_entries", queue, 1, queue_max)?;
    // The kernel bounds the completion queue at twice the largest submission queue.
    check(
        "completion_entries",
        options.completion_entries.into(),
        queue,
        2 * queue_max,
    )?;
    let chunks = u64::from(options.pool_chunks_count);
    check(
        "pool_chunks_count",
        chunks,
        1,
        limits::POOL_CHUNKS_COUNT_MAX.into(),
    )?;
    let (chunk_min, chunk_max) = (limits::CHUNK_BYTES_MIN, limits::CHUNK_BYTES_MAX);
    check(
        "chunk_bytes",
        options.chunk_bytes as u64,
        chunk_min as u64,
        chunk_max as u64,
    )
}

fn proactor(options: &RuntimeOptions, driver: DriverType) -> ProactorBuilder {
    let pool_chunks_count =
        NonZero::new(options.pool_chunks_count).expect("checked: at least one chunk");
    let mut proactor = ProactorBuilder::new();
    proactor
        .driver_type(driver)
        .capacity(options.queue_entries)
        .buffer_pool_size(pool_chunks_count)
        .buffer_pool_buffer_len(options.chunk_bytes);
    proactor
}

fn build_poll(options: &RuntimeOptions) -> Result<Runtime, RuntimeError> {
    RuntimeBuilder::new()
        .with_proactor(proactor(options, DriverType::Poll))
        .build()
        .map_err(RuntimeError::Poll)
}

/// Tries the cheapest mode first and steps back when the kernel does not know the flags.
fn build_io_uring(options: &RuntimeOptions) -> io::Result<Runtime> {
    let mut plain = proactor(options, DriverType::IoUring);
    plain.cqsize(options.completion_entries);
    let mut deferred = plain.clone();
    // Without the flag a runtime that always has a task to run never asks the kernel for the
    // completions that it defers, and no operation would ever complete.
    deferred
        .single_issuer(true)
        .defer_taskrun(true)
        .taskrun_flag(true);
    match RuntimeBuilder::new().with_proactor(deferred).build() {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            tracing::debug!("the kernel has no deferred task run, using plain io_uring");
            RuntimeBuilder::new().with_proactor(plain).build()
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(change: impl FnOnce(&mut RuntimeOptions)) -> RuntimeOptions {
        let mut options = RuntimeOptions::default();
        change(&mut options);
        options
    }

    #[test]
    fn each_driver_starts_when_forced() {
        for (driver, kind) in [
            (DriverChoice::IoUring, DriverKind::IoUring),
            (DriverChoice::Poll, DriverKind::Poll),
        ] {
            let (runtime, built) =
                build_runtime(&options(|options| options.driver = driver)).expect("starts");
            assert_eq!(built, kind);
            assert_eq!(runtime.block_on(async { 7 }), 7);
        }
    }

    /// A completion queue beyond the kernel's bound makes the setup itself fail, as a sandbox
    /// that denies io_uring does.
    #[test]
    fn a_refused_setup_is_an_error_when_forced_and_a_fallback_when_not() {
        let refused = options(|options| {
            options.queue_entries = limits::QUEUE_ENTRIES_MAX;
            options.completion_entries = 1 << 30;
        });
        build_io_uring(&refused).expect_err("beyond the kernel's bound");
        build_poll(&refused).expect("epoll does not care");
    }

    #[test]
    fn options_are_accepted_on_their_edge_and_refused_one_past() {
        check_options(&options(|options| {
            options.queue_entries = limits::QUEUE_ENTRIES_MAX;
            options.completion_entries = limits::QUEUE_ENTRIES_MAX;
            options.pool_chunks_count = limits::POOL_CHUNKS_COUNT_MAX;
            options.chunk_bytes = limits::CHUNK_BYTES_MIN;
        }))
        .expect("on the edge");
        let past: [fn(&mut RuntimeOptions); 6] = [
            |options| options.queue_entries = limits::QUEUE_ENTRIES_MAX + 1,
            |options| options.completion_entries = options.queue_entries - 1,
            |options| options.pool_chunks_count = 0,
            |options| options.pool_chunks_count = limits::POOL_CHUNKS_COUNT_MAX + 1,
            |options| options.chunk_bytes = limits::CHUNK_BYTES_MIN - 1,
            |options| options.chunk_bytes = limits::CHUNK_BYTES_MAX + 1,
        ];
        for change in past {
            check_options(&options(change)).expect_err("one past the edge");
        }
    }

    #[test]
    fn driver_names_are_read() {
        assert_eq!("auto".parse(), Ok(DriverChoice::Auto));
        assert_eq!("io-uring".parse(), Ok(DriverChoice::IoUring));
        assert_eq!("poll".parse(), Ok(DriverChoice::Poll));
        assert_eq!("iocp".parse::<DriverChoice>(), Err(UnknownDriver));
    }
}
