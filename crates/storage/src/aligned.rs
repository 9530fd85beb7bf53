//! Buffers that begin at a multiple of the block size, as writes past the page cache demand.
//!
//! No `unsafe`: a buffer is allocated one block larger than asked for, and what lies before the
//! first multiple is skipped.

use bytes::{Buf, Bytes, BytesMut};

use crate::entry::BLOCK_BYTES;

const BLOCK: usize = BLOCK_BYTES as usize;

/// An empty buffer that takes `bytes` bytes without moving, and begins at a block.
pub(crate) fn buffer(bytes: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(bytes + BLOCK);
    let skipped = buffer.as_ptr().align_offset(BLOCK);
    buffer.resize(skipped, 0);
    buffer.advance(skipped);
    assert!(
        buffer.capacity() >= bytes && is_aligned(&buffer),
        "the slack is a block"
    );
    buffer
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
}
