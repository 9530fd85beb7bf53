//! The driver task: one per connection, from the opening handshake until the socket is closed.
//!
//! It decides when something happens, never what: that is the protocol core's business.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use compio_runtime::time::Sleep;

use crate::link::Link;

/// The parts of the shorter of the two silence limits in which silence is measured.
const TICKS_PER_SILENCE: u64 = 4;

pub(crate) struct Driver {
    link: Rc<RefCell<Link>>,
    alarm: Alarm,
}

impl Driver {
    pub(crate) fn new(link: Rc<RefCell<Link>>) -> Self {
        Driver {
            link,
            alarm: Alarm::default(),
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let link = &mut *this.link.borrow_mut();
        link.set_driver(context);
        loop {
            link.poll_writes(context);
            if link.poll_ending(context).is_ready() {
                return Poll::Ready(());
            }
            let now_ms = now_ms();
            if link.core.is_open() && this.alarm.rings_after(now_ms) {
                // What is written in between moves no deadline to before the next tick.
                return Poll::Pending;
            }
            let Some(deadline_ms) = link.core.poll_timeout(now_ms) else {
                return Poll::Pending;
            };
            let mut wake_ms = deadline_ms;
            let was_open = link.core.is_open();
            if was_open {
                // What the reader receives in between is noticed at the next tick.
                wake_ms = wake_ms.min(now_ms + tick_ms(link));
            }
            if deadline_ms <= now_ms {
                if link.handle_deadline(now_ms) {
                    if !was_open {
                        link.finish();
                        return Poll::Ready(());
                    }
                    continue;
                }
                wake_ms = now_ms + tick_ms(link);
            }
            ready!(this.alarm.poll(context, wake_ms, now_ms));
        }
    }
}

fn tick_ms(link: &Link) -> u64 {
    let limits = &link.core.config().limits;
    let silence_ms = limits
        .keep_alive_ms
        .into_iter()
        .chain(limits.idle_timeout_ms)
        .min();
    (silence_ms.unwrap_or(u64::from(u32::MAX)) / TICKS_PER_SILENCE).max(1)
}

/// A timer that is only set anew when it must ring earlier.
#[derive(Default)]
struct Alarm {
    sleep: Option<Sleep>,
    at_ms: u64,
}

impl Alarm {
    /// Whether it is set and has not rung: then it wakes the driver by itself.
    fn rings_after(&self, now_ms: u64) -> bool {
        self.sleep.is_some() && now_ms < self.at_ms
    }

    /// Ready at `at_ms` or before; then it is not set any more.
    fn poll(&mut self, context: &mut Context<'_>, at_ms: u64, now_ms: u64) -> Poll<()> {
        if self.sleep.is_none() || at_ms < self.at_ms {
            self.at_ms = at_ms;
            let wait = Duration::from_millis(at_ms.saturating_sub(now_ms));
            self.sleep = Some(compio_runtime::time::sleep(wait));
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(Pin::new(sleep).poll(context));
            self.sleep = None;
        }
        Poll::Ready(())
    }
}

thread_local! {
    static ORIGIN: Instant = Instant::now();
}

/// Milliseconds on this thread's clock.
fn now_ms() -> u64 {
    ORIGIN.with(|origin| origin.elapsed().as_millis() as u64)
}
