//! 16 bytes at a time.

use core::arch::aarch64::{vdupq_n_u32, veorq_u8, vld1q_u8, vreinterpretq_u8_u32, vst1q_u8};

/// Needs NEON.
#[target_feature(enable = "neon")]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let wide = vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(key)));
    let (blocks, rest) = payload.as_chunks_mut::<16>();
    for block in blocks {
        let pointer = block.as_mut_ptr();
        // SAFETY: `block` is 16 bytes that we may read and write; NEON accesses are unaligned.
        unsafe { vst1q_u8(pointer, veorq_u8(vld1q_u8(pointer), wide)) };
    }
    // 16 is a multiple of the key's length: the rest starts with the whole key.
    super::scalar::apply(rest, key);
}
