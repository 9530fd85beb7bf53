//! Which chunks of the pool are in turn: few of them, the last used first.
//!
//! The kernel takes chunks in the order in which they were given back. If it had all of a large
//! pool, each would have left the cache when its turn came again. So it has only what one turn of
//! the runtime takes, and the others wait here until more are held.

use std::cell::RefCell;

use compio_driver::BufferRef;

use crate::limits;

/// The reserve of a thread. Without a known count nothing is reserved.
#[derive(Default)]
struct Reserve {
    /// Chunks that the kernel may take, as far as they pass through here.
    offered_count: Option<usize>,
    chunks: Vec<BufferRef>,
}

impl Reserve {
    /// Offers chunks of the reserve until the kernel has enough.
    fn refill(&mut self, enough_count: usize) {
        let Some(offered_count) = &mut self.offered_count else {
            return self.chunks.clear();
        };
        while *offered_count < enough_count
            && let Some(chunk) = self.chunks.pop()
        {
            drop(chunk);
            *offered_count += 1;
        }
    }
}

thread_local! {
    static RESERVE: RefCell<Reserve> = const {
        RefCell::new(Reserve { offered_count: None, chunks: Vec::new() })
    };
}

/// The kernel has all of a pool of `chunks_count`; `None`: nobody knows what it has.
pub(crate) fn reset(chunks_count: Option<usize>) {
    // The thread may be on its way out, and the reserve gone with its chunks.
    let _ = RESERVE.try_with(|reserve| {
        let reserve = &mut *reserve.borrow_mut();
        reserve.chunks.clear();
        reserve.offered_count = chunks_count;
    });
}

/// The kernel has filled a chunk.
pub(crate) fn taken() {
    let _ = RESERVE.try_with(|reserve| {
        let reserve = &mut *reserve.borrow_mut();
        if let Some(offered_count) = &mut reserve.offered_count {
            *offered_count = offered_count.saturating_sub(1);
            reserve.refill(limits::CHUNKS_IN_TURN);
        }
    });
}

/// The kernel had no chunk when it needed one: it gets all there are.
pub(crate) fn dry() {
    let _ = RESERVE.try_with(|reserve| {
        let reserve = &mut *reserve.borrow_mut();
        if reserve.offered_count.is_some() {
            reserve.offered_count = Some(0);
            reserve.refill(usize::MAX);
        }
    });
}

/// A chunk is not needed any more.
pub(crate) fn give_back(chunk: BufferRef) {
    // What does not come to lie in the reserve goes back to the kernel by being dropped.
    let _ = RESERVE.try_with(|reserve| {
        let reserve = &mut *reserve.borrow_mut();
        match &mut reserve.offered_count {
            Some(offered_count) if *offered_count >= limits::CHUNKS_IN_TURN => {
                reserve.chunks.push(chunk);
            }
            Some(offered_count) => {
                *offered_count += 1;
                drop(chunk);
            }
            None => drop(chunk),
        }
    });
}
