//! Masking (RFC 6455 §5.3): every byte of the payload XOR the key, byte by byte in turn.
//!
//! One kernel per instruction set, chosen once at run time; the scalar one is the oracle of
//! the tests and runs everywhere. This is the only place of the crate with `unsafe`.

#![allow(unsafe_code)]

mod scalar;
mod short;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx2;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod avx512;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod detect;
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod neon;

use bytes::{BufMut, BytesMut};

/// Bytes that are copied before they are masked: both happen in the first-level cache.
const COPY_BLOCK_BYTES: usize = 4096;

/// Below this a wide kernel has hardly started when a short one is done.
const WIDE_BYTES_MIN: usize = 64;

/// Masks or unmasks `payload` in place; the operation is its own inverse.
#[inline]
pub fn apply(payload: &mut [u8], key: [u8; 4]) {
    if payload.len() < WIDE_BYTES_MIN {
        short::apply(payload, key);
    } else {
        apply_wide(payload, key);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn apply_wide(payload: &mut [u8], key: [u8; 4]) {
    match detect::level() {
        // SAFETY: `level` found AVX-512F and AVX-512BW, enabled by the operating system.
        detect::Level::Avx512 => unsafe { avx512::apply(payload, key) },
        // SAFETY: `level` found AVX2, enabled by the operating system.
        detect::Level::Avx2 => unsafe { avx2::apply(payload, key) },
        detect::Level::Baseline => scalar::apply(payload, key),
    }
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
fn apply_wide(payload: &mut [u8], key: [u8; 4]) {
    // SAFETY: NEON is part of every aarch64 target that has the standard float ABI.
    unsafe { neon::apply(payload, key) }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn apply_wide(payload: &mut [u8], key: [u8; 4]) {
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

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const KEYS: [[u8; 4]; 4] = [
        [0x37, 0xFA, 0x21, 0x3D],
        [0, 0, 0, 0],
        [0xFF, 0, 0x80, 1],
        [0xDE, 0xAD, 0xBE, 0xEF],
    ];

    type Kernel = fn(&mut [u8], [u8; 4]);

    /// RFC 6455 §5.3 word by word.
    fn oracle(payload: &mut [u8], key: [u8; 4]) {
        for (index, byte) in payload.iter_mut().enumerate() {
            *byte ^= key[index % 4];
        }
    }

    fn kernels() -> Vec<(&'static str, Kernel)> {
        #[cfg_attr(miri, allow(unused_mut))]
        let mut kernels: Vec<(&'static str, Kernel)> =
            alloc::vec![("scalar", scalar::apply as Kernel), ("chosen", apply)];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if detect::level() >= detect::Level::Avx2 {
                // SAFETY: the processor has AVX2, found just above.
                kernels.push(("avx2", |payload, key| unsafe { avx2::apply(payload, key) }));
            }
            if detect::level() >= detect::Level::Avx512 {
                // SAFETY: the processor has AVX-512F and BW, found just above.
                kernels.push(("avx512", |payload, key| unsafe {
                    avx512::apply(payload, key);
                }));
            }
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: NEON is part of the target.
        kernels.push(("neon", |payload, key| unsafe { neon::apply(payload, key) }));
        kernels
    }

    /// Every kernel at every length around its block sizes and at every alignment does what
    /// the definition says, and touches no byte outside.
    #[test]
    fn kernels_agree_with_the_definition() {
        let lengths = (0..=300).chain([511, 512, 513, 1023, 4095, 4096, 4097]);
        let lengths: Vec<usize> = if cfg!(miri) {
            (0..=140).step_by(7).collect()
        } else {
            lengths.collect()
        };
        for (name, kernel) in kernels() {
            for &length in &lengths {
                for offset in [0, 1, 2, 3, 5, 7, 13, 31, 33, 63] {
                    let key = KEYS[(length + offset) % KEYS.len()];
                    let source: Vec<u8> = (0..offset + length + 70)
                        .map(|index| (index * 31 + index / 7) as u8)
                        .collect();
                    let mut expected = source.clone();
                    oracle(&mut expected[offset..offset + length], key);
                    let mut masked = source;
                    kernel(&mut masked[offset..offset + length], key);
                    assert_eq!(masked, expected, "{name}, {length} bytes at {offset}");
                }
            }
        }
    }

    #[test]
    fn a_payload_may_be_masked_in_pieces() {
        let source: Vec<u8> = (0..=255).collect();
        for key in KEYS {
            let mut whole = source.clone();
            apply(&mut whole, key);
            for cut in 0..source.len() {
                let mut pieces = source.clone();
                let (first, second) = pieces.split_at_mut(cut);
                apply(first, key);
                apply(second, rotate(key, cut));
                assert_eq!(pieces, whole, "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_masked_copy_is_the_masked_source() {
        for length in [0, 1, 5, 63, 64, 4095, 4096, 4097, 10_001] {
            let source: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let mut expected = source.clone();
            oracle(&mut expected, KEYS[0]);
            let mut target = BytesMut::from(&b"head"[..]);
            copy_masked(&source, &mut target, KEYS[0]);
            assert_eq!(&target[..4], b"head");
            assert_eq!(&target[4..], &expected);
        }
    }
}
