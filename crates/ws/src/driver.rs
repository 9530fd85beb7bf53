//! The driver: a task that a connection has while something is on its way without its user: a
//! write that the socket did not take at once, and the end of the connection.
//!
//! It decides when something happens, never what: that is the protocol core's business.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use compio_runtime::time::Sleep;

use crate::clock::now_ms;
use crate::link::{Link, contained};

struct Driver {
    link: Rc<RefCell<Link>>,
    alarm: Alarm,
}

/// Starts to drive `link`, which has no driver.
pub(crate) fn start(link: Rc<RefCell<Link>>) {
    let driver = Driver {
        link,
        alarm: Alarm::default(),
    };
    compio_runtime::spawn(driver).detach();
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Driver { link, alarm } = self.get_mut();
        // After a panic there is nothing left to drive.
        contained(link, |link| poll_drive(link, alarm, context)).unwrap_or(Poll::Ready(()))
    }
}

fn poll_drive(link: &mut Link, alarm: &mut Alarm, context: &mut Context<'_>) -> Poll<()> {
    link.set_driver(context);
    loop {
        link.poll_writes(context);
        if link.poll_ending(context).is_ready() || !link.needs_driver() {
            link.drop_driver();
            return Poll::Ready(());
        }
        if link.core.is_open() {
            // The attendant looks at the clock.
            return Poll::Pending;
        }
        let now_ms = now_ms();
        let Some(deadline_ms) = link.core.poll_timeout(now_ms) else {
            return Poll::Pending;
        };
        if deadline_ms <= now_ms {
            link.handle_deadline(now_ms);
            link.finish();
            link.drop_driver();
            return Poll::Ready(());
        }
        ready!(alarm.poll(context, deadline_ms, now_ms));
    }
}

/// A timer that is only set anew when it must ring earlier.
#[derive(Default)]
struct Alarm {
    sleep: Option<Sleep>,
    at_ms: u64,
}

impl Alarm {
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
