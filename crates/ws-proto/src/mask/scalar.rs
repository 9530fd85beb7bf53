//! The portable kernel: eight bytes at a time. The others are tested against it.

#[inline]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let narrow = u32::from_le_bytes(key);
    let wide = u64::from_le_bytes([a, b, c, d, a, b, c, d]);
    let (blocks, rest) = payload.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_le_bytes(*block) ^ wide).to_le_bytes();
    }
    let (blocks, rest) = rest.as_chunks_mut::<4>();
    for block in blocks {
        *block = (u32::from_le_bytes(*block) ^ narrow).to_le_bytes();
    }
    for (byte, key_byte) in rest.iter_mut().zip(key) {
        *byte ^= key_byte;
    }
}
