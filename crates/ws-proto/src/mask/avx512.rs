//! 64 bytes at a time, the rest in one masked step.

use core::arch::x86_64::{
    _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_set1_epi32,
    _mm512_storeu_si512, _mm512_xor_si512,
};

/// Needs AVX-512F and AVX-512BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let wide = _mm512_set1_epi32(i32::from_le_bytes(key));
    let (blocks, rest) = payload.as_chunks_mut::<64>();
    for block in blocks {
        let pointer = block.as_mut_ptr().cast();
        // SAFETY: `block` is 64 bytes that we may read and write; the accesses are unaligned.
        unsafe {
            let masked = _mm512_xor_si512(_mm512_loadu_si512(pointer), wide);
            _mm512_storeu_si512(pointer, masked);
        }
    }
    if rest.is_empty() {
        return;
    }
    // One bit per byte of the rest, which is 1–63 bytes.
    let lanes = u64::MAX >> (64 - rest.len());
    let pointer = rest.as_mut_ptr().cast::<i8>();
    // SAFETY: only the bytes whose bit is set are read and written, and those are `rest`.
    unsafe {
        let masked = _mm512_xor_si512(_mm512_maskz_loadu_epi8(lanes, pointer), wide);
        _mm512_mask_storeu_epi8(pointer, lanes, masked);
    }
}
