//! Masking (RFC 6455 §5.3): every byte of the payload XOR the key, byte by byte in turn.

mod scalar;

use bytes::{BufMut, BytesMut};

/// Bytes that are copied before they are masked: both happen in the first-level cache.
const COPY_BLOCK_BYTES: usize = 4096;

/// Masks or unmasks `payload` in place; the operation is its own inverse.
#[inline]
pub fn apply(payload: &mut [u8], key: [u8; 4]) {
    scalar::apply(payload, key);
}

/// The key as it stands `bytes` further into the payload.
#[must_use]
#[inline]
pub const fn rotate(key: [u8; 4], bytes: usize) -> [u8; 4] {
    u32::from_be_bytes(key)
        .rotate_left((bytes % 4) as u32 * 8)
        .to_be_bytes()
}

/// Appends a masked copy of `source` to `target`: one pass over memory.
pub fn copy_masked(source: &[u8], target: &mut BytesMut, key: [u8; 4]) {
    target.reserve(source.len());
    // The block length is a multiple of the key's, so each block starts with the whole key.
    for block in source.chunks(COPY_BLOCK_BYTES) {
        let start = target.len();
        target.put_slice(block);
        if let Some(copied) = target.get_mut(start..) {
            apply(copied, key);
        }
    }
}
