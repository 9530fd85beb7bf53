//! The portable kernel: eight bytes at a time. The others are tested against it.

pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    let [a, b, c, d] = key;
    let word = [a, b, c, d, a, b, c, d];
    let wide = u64::from_be_bytes(word);
    let (blocks, rest) = payload.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_be_bytes(*block) ^ wide).to_be_bytes();
    }
    for (byte, key_byte) in rest.iter_mut().zip(word) {
        *byte ^= key_byte;
    }
}
