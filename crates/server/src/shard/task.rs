//! How tasks are started, so that no panic is lost.
//!
//! A connection's panic closes that connection. A panic anywhere else is a broken invariant of the
//! server itself: going on could acknowledge what is not stored, so the process ends.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Starts a task of the server's own. A panic in it ends the process.
pub(crate) fn spawn(name: &'static str, future: impl Future<Output = ()> + 'static) {
    compio::runtime::spawn(async move {
        if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
            tracing::error!(
                task = name,
                panic = message(&*panic),
                "invariant broken, aborting"
            );
            std::process::abort();
        }
    })
    .detach();
}

/// Runs a connection to its end; true when it panicked.
pub(crate) async fn run_contained(future: impl Future<Output = ()>) -> bool {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(()) => false,
        Err(panic) => {
            tracing::error!(
                panic = message(&*panic),
                "a connection panicked and was closed"
            );
            true
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_contained_and_reported() {
        let runtime = compio::runtime::Runtime::new().expect("a runtime starts");
        assert!(!runtime.block_on(run_contained(async {})));
        assert!(runtime.block_on(run_contained(async { panic!("a broken connection") })));
    }

    #[test]
    fn messages_of_panics_are_found() {
        assert_eq!(message(&"literal"), "literal");
        assert_eq!(message(&String::from("formatted")), "formatted");
        assert_eq!(message(&7_u8), "no message");
    }
}
