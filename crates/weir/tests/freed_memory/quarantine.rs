//! An allocator that sees the kernel write into freed memory.
//!
//! A block of a page or more is not given back when it is freed: it is filled with a pattern and
//! kept. Whoever writes to it afterwards, the kernel included, spoils the pattern. Whoever reads it
//! afterwards, the kernel included, gets the pattern, which tests look for in files and on sockets.
//!
//! Unmapping freed blocks instead would see less: past the page cache the kernel holds on to the
//! pages themselves, and writes to them without a fault after they were unmapped.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Smaller blocks are never given to the kernel by what is tested here.
const WATCHED_BYTES_MIN: usize = 4096;
/// Blocks that are watched at most; later ones are freed as usual.
const BLOCKS_MAX: usize = 1 << 17;

/// What freed memory is filled with.
pub(crate) const PATTERN: u8 = 0xD5;

struct Block {
    /// Written last: 0 is a block that is not there yet.
    place: AtomicUsize,
    bytes: AtomicUsize,
}

static IS_WATCHING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static BLOCKS: [Block; BLOCKS_MAX] = [const {
    Block {
        place: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
    }
}; BLOCKS_MAX];

/// The allocator: the system's, with freed blocks kept while somebody watches.
pub(crate) struct Quarantine;

// SAFETY: allocating is the system's. Freed blocks either go to the system, once, or are kept for
// ever, so no block is given out twice.
unsafe impl GlobalAlloc for Quarantine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same promises that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let is_watched = layout.size() >= WATCHED_BYTES_MIN && IS_WATCHING.load(Ordering::Relaxed);
        let number = match is_watched {
            true => COUNT.fetch_add(1, Ordering::Relaxed),
            false => BLOCKS_MAX,
        };
        if number >= BLOCKS_MAX {
            // SAFETY: the block came from the system's allocator with this layout.
            unsafe { System.dealloc(block, layout) };
            return;
        }
        // SAFETY: the caller gives the block up, it is ours and has this many bytes.
        unsafe { block.write_bytes(PATTERN, layout.size()) };
        let entry = &BLOCKS[number];
        entry.bytes.store(layout.size(), Ordering::Relaxed);
        entry
            .place
            .store(block.expose_provenance(), Ordering::Release);
    }
}

/// Keeps freed blocks while it lives.
pub(crate) struct Watch {
    first: usize,
}

/// Begins to keep what is freed.
pub(crate) fn watch() -> Watch {
    IS_WATCHING.store(true, Ordering::Relaxed);
    Watch {
        first: COUNT.load(Ordering::Relaxed).min(BLOCKS_MAX),
    }
}

impl Watch {
    /// Blocks that were freed since, and those of them that were written to afterwards.
    pub(crate) fn count(&self) -> (usize, usize) {
        let end = COUNT.load(Ordering::Relaxed).min(BLOCKS_MAX);
        let spoilt = BLOCKS[self.first..end].iter().filter(|one| is_spoilt(one));
        (end - self.first, spoilt.count())
    }

    /// Panics when the kernel, or anybody, wrote to freed memory.
    pub(crate) fn assert_untouched(self) {
        let (freed, spoilt) = self.count();
        assert!(freed < BLOCKS_MAX - self.first, "too many blocks to watch");
        assert_eq!(spoilt, 0, "of {freed} freed blocks were written to");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        IS_WATCHING.store(false, Ordering::Relaxed);
    }
}

fn is_spoilt(block: &Block) -> bool {
    let place = block.place.load(Ordering::Acquire);
    if place == 0 {
        return false;
    }
    let start: *const u8 = std::ptr::with_exposed_provenance(place);
    // SAFETY: the block is kept for ever and has this many bytes, all of them written when it was
    // freed. Nobody but the kernel can still write to it.
    let content = unsafe { std::slice::from_raw_parts(start, block.bytes.load(Ordering::Relaxed)) };
    // The kernel may have changed it since it was looked at last.
    let mut pages = std::hint::black_box(content).chunks(PAGE.len());
    pages.any(|page| *page != PAGE[..page.len()])
}

/// A piece of the pattern: compared by pieces, gigabytes take no time.
const PAGE: [u8; 4096] = [PATTERN; 4096];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// The kernel writes into this process's memory by file, wherever it is told to.
    #[test]
    fn what_the_kernel_writes_into_freed_memory_is_seen() {
        let _alone = crate::alone();
        let watch = watch();
        let buffer = vec![1_u8; 3 * WATCHED_BYTES_MIN];
        let inside = buffer.as_ptr().addr() + WATCHED_BYTES_MIN;
        drop(buffer);
        assert_eq!(watch.count(), (1, 0));
        let memory = std::fs::OpenOptions::new()
            .write(true)
            .open("/proc/self/mem");
        let memory = memory.expect("our own memory");
        memory
            .write_all_at(&[7], inside as u64)
            .expect("the block is still mapped");
        assert_eq!(watch.count(), (1, 1));
    }
}
