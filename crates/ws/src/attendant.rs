//! [`Attendant`]: one task per runtime that looks after all of its connections.
//!
//! A connection that waits has no task of its own beside its user's. Whatever happens without
//! its user goes through a list that the attendant works off once per turn: messages that were
//! queued and have not left yet, receives to stop, connections that are to be driven or closed.
//! It also keeps the clock of all of them. What panics on the way fails its own connection.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use compio_runtime::Runtime;

use crate::clock::{Clock, now_ms};
use crate::driver;
use crate::link::{Link, contained};
use crate::pooled::Pooled;
use crate::reserve;

type SharedLink = Rc<RefCell<Link>>;

pub(crate) struct Attendant {
    /// Which runtime it belongs to: a descriptor is unique while the runtime lives.
    runtime_fd: RawFd,
    /// Its task lives.
    alive: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    woken: Cell<bool>,
    links: RefCell<Vec<SharedLink>>,
    receives: RefCell<Vec<Rc<Pooled>>>,
    alarms: RefCell<BinaryHeap<Alarm>>,
}

/// When to look at a connection again. The earliest is the greatest.
struct Alarm {
    at_ms: u64,
    link: Weak<RefCell<Link>>,
}

impl Attendant {
    /// The attendant of the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn current() -> Rc<Self> {
        let runtime_fd = Runtime::with_current(AsRawFd::as_raw_fd);
        let known = ATTENDANT.with_borrow(Clone::clone);
        if let Some(attendant) = known
            && attendant.alive.get()
            && attendant.runtime_fd == runtime_fd
        {
            return attendant;
        }
        let attendant = Rc::new(Attendant {
            runtime_fd,
            alive: Cell::new(true),
            waker: RefCell::default(),
            woken: Cell::new(true),
            links: RefCell::default(),
            receives: RefCell::default(),
            alarms: RefCell::default(),
        });
        ATTENDANT.set(Some(attendant.clone()));
        compio_runtime::spawn(Attending {
            attendant: attendant.clone(),
            clock: Clock::new(),
            links: Vec::new(),
        })
        .detach();
        attendant
    }

    /// Looks at `link` before the turn ends. It lists itself only once.
    pub(crate) fn attend(&self, link: SharedLink) {
        if self.alive.get() {
            self.links.borrow_mut().push(link);
            self.wake();
        }
    }

    /// Stops a receive before the turn ends.
    pub(crate) fn stop_soon(&self, receive: Rc<Pooled>) {
        if self.alive.get() {
            self.receives.borrow_mut().push(receive);
            self.wake();
        }
    }

    /// Looks at the clock of `link` at `at_ms`.
    pub(crate) fn set_alarm(&self, at_ms: u64, link: Weak<RefCell<Link>>) {
        if !self.alive.get() {
            return;
        }
        let alarms = &mut *self.alarms.borrow_mut();
        if alarms.peek().is_none_or(|first| at_ms < first.at_ms) {
            self.wake();
        }
        alarms.push(Alarm { at_ms, link });
    }

    fn wake(&self) {
        if !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    fn due(&self, now_ms: u64) -> Option<Weak<RefCell<Link>>> {
        let alarms = &mut *self.alarms.borrow_mut();
        if alarms.peek()?.at_ms > now_ms {
            return None;
        }
        alarms.pop().map(|alarm| alarm.link)
    }

    fn next_ms(&self) -> Option<u64> {
        self.alarms.borrow().peek().map(|alarm| alarm.at_ms)
    }
}

/// The task.
struct Attending {
    attendant: Rc<Attendant>,
    clock: Clock,
    /// Kept for its memory.
    links: Vec<SharedLink>,
}

impl Future for Attending {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let attendant = this.attendant.clone();
        match &mut *attendant.waker.borrow_mut() {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        // What is listed from here on wakes it again.
        attendant.woken.set(false);
        for receive in attendant.receives.take() {
            // A receive that cannot be stopped goes on; it must not stop the others' attendant.
            let _ = catch_unwind(AssertUnwindSafe(|| receive.stop()));
        }
        this.attend_links();
        this.poll_alarms(context);
        Poll::Pending
    }
}

impl Attending {
    fn attend_links(&mut self) {
        std::mem::swap(&mut self.links, &mut *self.attendant.links.borrow_mut());
        for link in self.links.drain(..) {
            if contained(&link, Link::attend) == Some(true) {
                driver::start(link);
            }
        }
    }

    fn poll_alarms(&mut self, context: &mut Context<'_>) {
        while let Some(next_ms) = self.attendant.next_ms()
            && self.clock.poll(next_ms, context).is_ready()
        {
            self.ring();
        }
    }

    fn ring(&self) {
        let now_ms = now_ms();
        while let Some(link) = self.attendant.due(now_ms) {
            let Some(shared) = link.upgrade() else {
                continue;
            };
            let next_ms = contained(&shared, |link| link.tick(now_ms));
            if let Some(next_ms) = next_ms.flatten() {
                self.attendant.set_alarm(next_ms.max(now_ms + 1), link);
            }
        }
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.attendant.alive.set(false);
        reserve::reset(None);
        self.attendant.waker.take();
        self.attendant.links.take();
        self.attendant.receives.take();
        self.attendant.alarms.take();
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at_ms == other.at_ms
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at_ms.cmp(&self.at_ms)
    }
}

thread_local! {
    static ATTENDANT: RefCell<Option<Rc<Attendant>>> = const { RefCell::new(None) };
}
