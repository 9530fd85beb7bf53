//! 32 bytes at a time.

use core::arch::x86_64::{
    __m256i, _mm256_loadu_si256, _mm256_set1_epi32, _mm256_storeu_si256, _mm256_xor_si256,
};

/// Needs AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let wide = _mm256_set1_epi32(i32::from_le_bytes(key));
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        let pointer = block.as_mut_ptr().cast::<__m256i>();
        // SAFETY: `block` is 32 bytes that we may read and write; the accesses are unaligned.
        unsafe {
            let masked = _mm256_xor_si256(_mm256_loadu_si256(pointer), wide);
            _mm256_storeu_si256(pointer, masked);
        }
    }
    // 32 is a multiple of the key's length: the rest starts with the whole key.
    super::scalar::apply(rest, key);
}
