//! No buffer is freed while the kernel works on it, whatever becomes of who asked: futures are
//! dropped, time out and panic, connections and logs are dropped, a whole server is stopped, all
//! with operations in flight. Address sanitizers do not see what the kernel writes; the allocator
//! of this test does, see `quarantine`.

mod planted;
mod quarantine;
mod server_stop;
mod storage_log;
mod websocket;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use ws::{DriverChoice, RuntimeOptions};

#[global_allocator]
static ALLOCATOR: quarantine::Quarantine = quarantine::Quarantine;

/// The tests watch the memory of the whole process: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock();
    guard.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `test` on each driver in a runtime of its own, which is dropped; then looks whether freed
/// memory was written to.
fn on_each_driver<F: Future>(test: impl Fn() -> F) {
    let _alone = alone();
    for driver in [DriverChoice::IoUring, DriverChoice::Poll] {
        let options = RuntimeOptions {
            driver,
            ..RuntimeOptions::default()
        };
        let (runtime, _) = ws::build_runtime(&options).expect("the driver starts");
        let watch = quarantine::watch();
        runtime.block_on(test());
        drop(runtime);
        watch.assert_untouched();
    }
}

/// Polls `future` at most `polls_max` times and drops it then: `None` if it was not ready.
async fn poll_at_most<F: Future>(polls_max: usize, future: F) -> Option<F::Output> {
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
    let future = Box::pin(future);
    AtMost {
        polls_left: polls_max,
        future,
    }
    .await
}
