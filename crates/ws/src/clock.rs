//! [`Clock`]: waits for a moment without making every wait of the runtime a timed one.
//!
//! A timer of the runtime is a timeout of each wait for completions, which costs the kernel a
//! timer to set and to cancel every time. A deadline that is seconds away does not need that: a
//! timer of the kernel's own is set once and its descriptor is polled.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use compio_driver::SharedFd;
use compio_driver::op::{Interest, PollOnce};
use compio_runtime::Submit;
use compio_runtime::time::Sleep;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

pub(crate) struct Clock {
    /// For which moment it is set.
    set_at_ms: Option<u64>,
    wait: Wait,
}

enum Wait {
    /// A timer and the operation that waits for it.
    Timer {
        timer: SharedFd<OwnedFd>,
        ready: Option<Submit<PollOnce<SharedFd<OwnedFd>>>>,
    },
    /// The process has no descriptor left: a timer of the runtime does it.
    Sleep(Sleep),
}

impl Clock {
    /// Of the current runtime.
    pub(crate) fn new() -> Self {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let wait = match timerfd_create(TimerfdClockId::Monotonic, flags) {
            Ok(timer) => Wait::Timer {
                timer: SharedFd::new(timer),
                ready: None,
            },
            Err(_) => Wait::Sleep(compio_runtime::time::sleep(Duration::ZERO)),
        };
        Clock {
            set_at_ms: None,
            wait,
        }
    }

    /// Waits until [`now_ms`] is `at_ms`. The moment may be another one each time.
    pub(crate) fn poll(&mut self, at_ms: u64, context: &mut Context<'_>) -> Poll<()> {
        loop {
            // What is set for earlier rings in vain once: rarer than deadlines that move on.
            if self.set_at_ms.is_none_or(|set_at_ms| at_ms < set_at_ms) {
                let wait_ms = at_ms.saturating_sub(now_ms());
                if wait_ms == 0 {
                    return Poll::Ready(());
                }
                self.set_at_ms = Some(at_ms);
                self.wait.set(Duration::from_millis(wait_ms));
            }
            match ready!(self.wait.poll(context)) {
                Ok(()) => self.set_at_ms = None,
                Err(_) => {
                    let wait_ms = at_ms.saturating_sub(now_ms());
                    self.set_at_ms = Some(at_ms);
                    self.wait.sleep(Duration::from_millis(wait_ms));
                }
            }
        }
    }
}

impl Wait {
    fn set(&mut self, wait: Duration) {
        match self {
            // Setting it also clears that it has rung.
            Wait::Timer { timer, .. } if set_timer(timer, wait).is_ok() => {}
            _ => self.sleep(wait),
        }
    }

    fn sleep(&mut self, wait: Duration) {
        *self = Wait::Sleep(compio_runtime::time::sleep(wait));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wait::Timer { timer, ready } => {
                let submit = ready.get_or_insert_with(|| {
                    compio_runtime::submit(PollOnce::new(timer.clone(), Interest::Readable))
                });
                let result = ready!(Pin::new(submit).poll(context)).0;
                *ready = None;
                Poll::Ready(result.map(drop))
            }
            Wait::Sleep(sleep) => Pin::new(sleep).poll(context).map(Ok),
        }
    }
}

fn set_timer(timer: &OwnedFd, wait: Duration) -> io::Result<()> {
    let value = Timespec::try_from(wait).map_err(io::Error::other)?;
    let interval = Timespec::default();
    let time = Itimerspec {
        it_interval: interval,
        it_value: value,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &time)?;
    Ok(())
}

thread_local! {
    static ORIGIN: Instant = Instant::now();
}

/// Milliseconds on this thread's clock.
pub(crate) fn now_ms() -> u64 {
    ORIGIN.with(|origin| origin.elapsed().as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::{DriverChoice, RuntimeOptions, build_runtime};

    fn on_each_driver<F: Future>(test: impl Fn() -> F) {
        for driver in [DriverChoice::IoUring, DriverChoice::Poll] {
            let options = RuntimeOptions {
                driver,
                ..RuntimeOptions::default()
            };
            let (runtime, _) = build_runtime(&options).expect("the driver starts");
            runtime.block_on(test());
        }
    }

    async fn wait(clock: &mut Clock, at_ms: u64) {
        poll_fn(|context| clock.poll(at_ms, context)).await;
        assert!(now_ms() >= at_ms, "too early");
    }

    fn is_ready(clock: &mut Clock, at_ms: u64) -> bool {
        let context = &mut Context::from_waker(std::task::Waker::noop());
        clock.poll(at_ms, context).is_ready()
    }

    #[test]
    fn each_moment_is_waited_for_though_another_was_set() {
        on_each_driver(|| async {
            let clock = &mut Clock::new();
            let now_ms = now_ms();
            assert!(is_ready(clock, now_ms), "it is there already");
            assert!(!is_ready(clock, now_ms + 3_600_000));
            wait(clock, now_ms + 20).await;
            assert!(!is_ready(clock, now_ms + 3_600_000));
            wait(clock, now_ms + 30).await;
            // Rings in vain, because it is set for a moment that is not waited for any more.
            let _ = is_ready(clock, now_ms + 40);
            wait(clock, now_ms + 60).await;
            assert!(matches!(clock.wait, Wait::Timer { .. }));
        });
    }

    #[test]
    fn without_a_descriptor_the_runtime_keeps_the_time() {
        on_each_driver(|| async {
            let clock = &mut Clock::new();
            let now_ms = now_ms();
            clock.wait.sleep(Duration::ZERO);
            assert!(!is_ready(clock, now_ms + 3_600_000));
            wait(clock, now_ms + 20).await;
            wait(clock, now_ms + 40).await;
            assert!(matches!(clock.wait, Wait::Sleep(_)));
        });
    }
}
