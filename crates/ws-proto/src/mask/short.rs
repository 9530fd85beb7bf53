//! The kernel of payloads below 64 bytes: blocks at the start and at the end, which may overlap.
//! There is no loop, because most messages are short and a loop would cost more than its work.

use super::rotate;

#[inline]
pub(super) fn apply(payload: &mut [u8], key: [u8; 4]) {
    match payload.len() {
        0..4 => {
            for (byte, key_byte) in payload.iter_mut().zip(key) {
                *byte ^= key_byte;
            }
        }
        4..8 => ends(payload, key, |block: [u8; 4], key| {
            (u32::from_le_bytes(block) ^ key).to_le_bytes()
        }),
        8..16 => ends(payload, key, |block: [u8; 8], key| {
            (u64::from_le_bytes(block) ^ twice(key)).to_le_bytes()
        }),
        16..=32 => ends(payload, key, masked),
        length => {
            debug_assert!(length <= 64, "the halves would be longer than two blocks");
            let (first, last) = payload.split_at_mut(length / 2);
            ends(first, key, masked);
            ends(last, rotate(key, length / 2), masked);
        }
    }
}

#[inline]
fn masked(block: [u8; 16], key: u32) -> [u8; 16] {
    let half = u128::from(twice(key));
    (u128::from_le_bytes(block) ^ (half << 64 | half)).to_le_bytes()
}

#[inline]
fn twice(key: u32) -> u64 {
    u64::from(key) << 32 | u64::from(key)
}

/// Masks a payload of at least `N` and at most twice as many bytes.
#[inline]
fn ends<const N: usize>(
    payload: &mut [u8],
    key: [u8; 4],
    masked: impl Fn([u8; N], u32) -> [u8; N],
) {
    let (Some(first), Some(last)) = (payload.first_chunk::<N>(), payload.last_chunk::<N>()) else {
        return;
    };
    // Both are read before one is written: where they overlap they write the same.
    let last_key = rotate(key, payload.len() - N);
    let first = masked(*first, u32::from_le_bytes(key));
    let last = masked(*last, u32::from_le_bytes(last_key));
    if let Some(target) = payload.first_chunk_mut() {
        *target = first;
    }
    if let Some(target) = payload.last_chunk_mut() {
        *target = last;
    }
}
