//! What every driver test needs: both drivers, and futures that are dropped after some polls.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ws::{DriverChoice, DriverKind, RuntimeOptions, build_runtime};

/// Runs `test` once on each driver, each on a runtime of its own.
pub fn on_each_driver<F: Future>(test: impl Fn(DriverKind) -> F) {
    for driver in [DriverChoice::IoUring, DriverChoice::Poll] {
        on_driver(
            &RuntimeOptions {
                driver,
                ..RuntimeOptions::default()
            },
            &test,
        );
    }
}

/// Runs `test` on a runtime built from `options`.
pub fn on_driver<F: Future>(
    options: &RuntimeOptions,
    test: impl FnOnce(DriverKind) -> F,
) -> F::Output {
    let (runtime, kind) = build_runtime(options).expect("the driver starts");
    runtime.block_on(test(kind))
}

/// Polls `future` at most `polls_max` times and drops it then: `None` if it was not ready.
pub async fn poll_at_most<F: Future>(polls_max: usize, future: F) -> Option<F::Output> {
    AtMost {
        polls_left: polls_max,
        future: Box::pin(future),
    }
    .await
}

struct AtMost<F> {
    polls_left: usize,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for AtMost<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls_left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
