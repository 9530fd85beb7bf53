//! Buffers that begin at a multiple of the block size, as writes past the page cache demand.
//!
//! They are pages of their own, not of the heap. A large one is made of huge pages where the kernel
//! has them: a disk takes a megabyte from a few long pieces of memory in little more than half the
//! time that it needs for hundreds of short ones. A few buffers are kept for the next writes of the
//! thread, because the first touch of fresh pages costs about as much as filling them.

use std::{
    alloc::{self, Layout},
    cell::RefCell,
};

use bytes::Bytes;
use memmap2::{Advice, MmapMut};

use crate::{entry::BLOCK_BYTES, limits};

const BLOCK: usize = BLOCK_BYTES as usize;

/// Bytes that are copied at once, see [`Buffer::put_slice`].
const COPY_BYTES: usize = 1_024;

/// Size and place of a huge page on x86-64, and on AArch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

thread_local! {
    static KEPT: RefCell<Vec<Pages>> = const { RefCell::new(Vec::new()) };
}

/// Memory for one buffer.
#[derive(Debug)]
struct Pages {
    map: MmapMut,
    /// What lies before it in the map.
    skipped: usize,
    capacity: usize,
}

impl Pages {
    fn new(bytes: usize) -> Self {
        // Sizes are few, so that kept buffers fit more often.
        let ordinary = bytes.next_power_of_two().max(64 << 10);
        let is_huge = ordinary >= limits::ALIGNED_HUGE_BYTES_MIN;
        let (capacity, slack) = match is_huge {
            true => (bytes.next_multiple_of(HUGE_PAGE_BYTES), HUGE_PAGE_BYTES),
            false => (ordinary, 0),
        };
        let Ok(map) = MmapMut::map_anon(capacity + slack) else {
            // No memory: the end of the process, as it is for the heap.
            alloc::handle_alloc_error(Layout::new::<[u8; BLOCK]>());
        };
        if is_huge {
            // Without huge pages it is as good as any other memory.
            let _ = map.advise(Advice::HugePage);
        }
        let skipped = match is_huge {
            true => map.as_ptr().align_offset(HUGE_PAGE_BYTES),
            false => 0,
        };
        assert!(skipped <= slack, "the slack is a huge page");
        Self {
            map,
            skipped,
            capacity,
        }
    }

    fn keep(self) {
        if self.capacity > limits::ALIGNED_KEPT_BYTES_MAX {
            return;
        }
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < limits::ALIGNED_KEPT_MAX {
                kept.push(self);
            }
        });
    }
}

/// A buffer that is being filled. What is put in must fit.
#[derive(Debug)]
pub(crate) struct Buffer {
    pages: Pages,
    length: usize,
}

impl Buffer {
    /// An empty one that takes `bytes` bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let kept = KEPT.with_borrow_mut(|kept| {
            let fits = kept.iter().enumerate();
            let fits = fits.filter(|(_, pages)| pages.capacity >= bytes);
            let (smallest, _) = fits.min_by_key(|(_, pages)| pages.capacity)?;
            Some(kept.swap_remove(smallest))
        });
        Self {
            pages: kept.unwrap_or_else(|| Pages::new(bytes)),
            length: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Copies in pieces. glibc copies more than some kilobytes with `rep movsb`, which takes
    /// fourteen times as long on some processors when the target begins 1 to 15 bytes behind the
    /// source in its page (its bug 30994, measured on Zen 4). Where a batch lies is chance.
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        let target = self.grow(bytes.len());
        let pieces = bytes.chunks(COPY_BYTES);
        for (target, piece) in target.chunks_mut(COPY_BYTES).zip(pieces) {
            target.copy_from_slice(piece);
        }
    }

    pub(crate) fn put_bytes(&mut self, byte: u8, count: usize) {
        self.grow(count).fill(byte);
    }

    fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.pages.skipped + self.length;
        self.length += bytes;
        assert!(self.length <= self.pages.capacity, "the buffer is full");
        &mut self.pages.map[start..start + bytes]
    }

    /// What was put in. Its memory is kept for a next buffer when the last holder is gone.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(Frozen(Some(self)))
    }
}

/// The memory of bytes that are shared.
struct Frozen(Option<Buffer>);

impl AsRef<[u8]> for Frozen {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |buffer| {
            let Pages { map, skipped, .. } = &buffer.pages;
            &map[*skipped..*skipped + buffer.length]
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(buffer) = self.0.take() {
            buffer.pages.keep();
        }
    }
}

/// `bytes` zeros that begin at a block.
pub(crate) fn zeros(bytes: usize) -> Bytes {
    let mut zeros = Buffer::new(bytes);
    zeros.put_bytes(0, bytes);
    zeros.freeze()
}

/// Whether these bytes may be written past the page cache.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(BLOCK) == 0 && bytes.len().is_multiple_of(BLOCK)
}

/// The first multiple of the block size at or behind `position`.
pub(crate) fn up(position: u64) -> u64 {
    position.next_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: usize) -> Bytes {
        let mut buffer = Buffer::new(bytes);
        buffer.put_bytes(7, bytes);
        buffer.freeze()
    }

    fn kept_count() -> usize {
        KEPT.with_borrow(Vec::len)
    }

    #[test]
    fn what_is_copied_in_pieces_is_whole() {
        for bytes in [0, 1, COPY_BYTES - 1, COPY_BYTES, COPY_BYTES + 1, 5_000] {
            let source: Vec<u8> = (0..bytes).map(|place| (place % 251) as u8).collect();
            let mut buffer = Buffer::new(bytes + 3);
            buffer.put_slice(&[1, 2, 3]);
            buffer.put_slice(&source);
            assert_eq!(buffer.freeze()[3..], source);
        }
    }

    #[test]
    fn buffers_begin_at_a_block_and_large_ones_at_a_huge_page() {
        let edge = limits::ALIGNED_HUGE_BYTES_MIN;
        for bytes in [
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            edge / 2,
            edge / 2 + 1,
            edge,
            9 << 20,
        ] {
            let mut buffer = Buffer::new(bytes);
            buffer.put_bytes(7, bytes - 1);
            buffer.put_slice(&[8]);
            assert_eq!(buffer.len(), bytes);
            let frozen = buffer.freeze();
            assert_eq!(is_aligned(&frozen), bytes % BLOCK == 0);
            let place = if bytes >= edge {
                HUGE_PAGE_BYTES
            } else {
                BLOCK
            };
            assert_eq!(frozen.as_ptr().align_offset(place), 0);
            assert!(frozen[..bytes - 1].iter().all(|byte| *byte == 7));
            assert_eq!(frozen[bytes - 1], 8);
        }
        assert_eq!(zeros(BLOCK), vec![0; BLOCK], "also in memory that was used");
    }

    #[test]
    #[should_panic(expected = "the buffer is full")]
    fn nothing_is_put_behind_the_end() {
        let mut buffer = Buffer::new(64 << 10);
        buffer.put_bytes(7, (64 << 10) + 1);
    }

    #[test]
    fn buffers_are_kept_up_to_the_limits_and_never_while_somebody_holds_them() {
        let edge = limits::ALIGNED_KEPT_BYTES_MAX;
        let held = filled(edge);
        let holder = held.slice(1..2);
        let place = held.as_ptr();
        drop(held);
        assert_eq!((kept_count(), &holder[..]), (0, &[7][..]));
        drop(holder);
        assert_eq!((kept_count(), filled(edge).as_ptr()), (1, place));
        drop(filled(edge + 1));
        assert_eq!(kept_count(), 1, "one past the size");
        let small = filled(1);
        assert_eq!((kept_count(), small.as_ptr()), (0, place), "any that fits");
        let buffers: Vec<Bytes> = (0..limits::ALIGNED_KEPT_MAX).map(|_| filled(1)).collect();
        drop((small, buffers));
        assert_eq!(kept_count(), limits::ALIGNED_KEPT_MAX, "one past the count");
        drop(filled(1));
        assert_ne!(filled(1).as_ptr(), place, "the smallest that fits");
    }
}
