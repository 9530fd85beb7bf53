//! Compressors and inflaters that the connections of a thread share.
//!
//! Between messages a connection owns neither (unless contexts are taken over); a message borrows
//! one for as long as it is being worked on.

#![allow(clippy::vec_box, reason = "the core borrows and gives back boxes")]

use std::cell::RefCell;

use ws_proto::deflate::{Compressor, Inflater, Options, Pool};

use crate::limits;

/// The options of ws-proto with this thread's pool.
pub(crate) fn options() -> Options {
    let mut options = Options::DEFAULT;
    options.pool = THREAD_POOL;
    options
}

/// Lends from, and takes back into, what the calling thread keeps.
const THREAD_POOL: Pool = Pool {
    take_compressor: |level, window_bits| {
        let kept = COMPRESSORS.with_borrow_mut(|kept| {
            let wanted = (level, window_bits);
            let index = kept
                .iter()
                .position(|kept| (kept.level(), kept.window_bits()) == wanted)?;
            Some(kept.swap_remove(index))
        });
        kept.unwrap_or_else(|| Box::new(Compressor::new(level, window_bits)))
    },
    give_compressor: |compressor| keep(&COMPRESSORS, compressor),
    take_inflater: || INFLATERS.with_borrow_mut(Vec::pop).unwrap_or_default(),
    give_inflater: |inflater| keep(&INFLATERS, inflater),
};

thread_local! {
    static COMPRESSORS: RefCell<Vec<Box<Compressor>>> = const { RefCell::new(Vec::new()) };
    static INFLATERS: RefCell<Vec<Box<Inflater>>> = const { RefCell::new(Vec::new()) };
}

type Kept<T> = std::thread::LocalKey<RefCell<Vec<Box<T>>>>;

fn keep<T>(kept: &'static Kept<T>, codec: Box<T>) {
    // The thread may be on its way out and what it kept gone: then this one goes, too.
    let _ = kept.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        if kept.len() < limits::CODECS_KEPT_MAX {
            kept.push(codec);
        }
    });
}
