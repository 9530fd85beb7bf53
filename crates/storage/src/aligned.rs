//! Buffers that begin at a multiple of the block size, as writes past the page cache demand.
//!
//! No `unsafe`: a buffer is allocated one block larger than asked for, and what lies before the
//! first multiple is skipped. A few buffers are kept for the next writes of the thread, because
//! the first touch of fresh pages costs about as much as filling them.

use std::cell::RefCell;

use bytes::{Buf, Bytes, BytesMut};

use crate::{entry::BLOCK_BYTES, limits};

const BLOCK: usize = BLOCK_BYTES as usize;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer that takes `bytes` bytes without moving, and begins at a block.
pub(crate) fn buffer(bytes: usize) -> BytesMut {
    let kept = KEPT.with_borrow_mut(|kept| {
        let fits = kept.iter().position(|buffer| buffer.capacity() >= bytes)?;
        Some(kept.swap_remove(fits))
    });
    if let Some(kept) = kept {
        return kept;
    }
    // Buffers that may be kept have a few sizes only, so that they fit more often.
    let capacity = match bytes {
        0..=limits::ALIGNED_KEPT_BYTES_MAX => bytes.next_power_of_two().max(64 << 10),
        _ => bytes,
    };
    let mut buffer = BytesMut::with_capacity(capacity + BLOCK);
    let skipped = buffer.as_ptr().align_offset(BLOCK);
    buffer.resize(skipped, 0);
    buffer.advance(skipped);
    assert!(
        buffer.capacity() >= bytes && is_aligned(&buffer),
        "the slack is a block"
    );
    buffer
}

/// Takes a buffer back that nobody else holds any more; it is dropped otherwise.
pub(crate) fn recycle(bytes: Bytes) {
    let Ok(mut buffer) = bytes.try_into_mut() else {
        return;
    };
    buffer.clear();
    let keepable =
        is_aligned(&buffer) && buffer.capacity() <= limits::ALIGNED_KEPT_BYTES_MAX + BLOCK;
    KEPT.with_borrow_mut(|kept| {
        if keepable && kept.len() < limits::ALIGNED_KEPT_MAX {
            kept.push(buffer);
        }
    });
}

/// `bytes` zeros that begin at a block.
pub(crate) fn zeros(bytes: usize) -> Bytes {
    let mut zeros = buffer(bytes);
    zeros.resize(bytes, 0);
    zeros.freeze()
}

/// Whether these bytes may be written past the page cache.
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

    #[test]
    fn buffers_stay_where_they_are() {
        for bytes in [1, BLOCK - 1, BLOCK, BLOCK + 1, 1 << 20] {
            let mut buffer = buffer(bytes);
            let place = buffer.as_ptr();
            buffer.resize(bytes, 7);
            let frozen = buffer.freeze();
            assert_eq!(frozen.as_ptr(), place);
            assert_eq!(frozen.as_ptr().align_offset(BLOCK), 0);
            assert_eq!(is_aligned(&frozen), bytes % BLOCK == 0);
        }
        assert_eq!(zeros(BLOCK), vec![0; BLOCK]);
    }

    #[test]
    fn buffers_are_kept_up_to_the_limits_and_never_while_somebody_holds_them() {
        let edge = limits::ALIGNED_KEPT_BYTES_MAX;
        let make = |bytes: usize| {
            let mut buffer = buffer(bytes);
            buffer.resize(bytes, 7);
            buffer.freeze()
        };
        let kept_count = || KEPT.with_borrow(Vec::len);
        let held = make(edge);
        let holder = held.clone();
        recycle(held);
        assert_eq!(kept_count(), 0);
        let place = holder.as_ptr();
        recycle(holder);
        assert_eq!((kept_count(), make(edge).as_ptr()), (1, place));
        recycle(make(edge + BLOCK + 1));
        assert_eq!(kept_count(), 0, "one past the size");
        let buffers: Vec<Bytes> = (0..=limits::ALIGNED_KEPT_MAX).map(|_| make(1)).collect();
        buffers.into_iter().for_each(recycle);
        assert_eq!(kept_count(), limits::ALIGNED_KEPT_MAX, "one past the count");
    }
}
