//! Little-endian reads that answer `None` instead of panicking.
//!
//! Lengths on the wire are at most 32 bits wide where they index memory, so `usize` arithmetic on
//! 64-bit machines cannot overflow; `checked_add` keeps that true elsewhere.

/// The `N` bytes at `position`, or `None` when the slice ends before them.
pub(crate) fn array<const N: usize>(bytes: &[u8], position: usize) -> Option<[u8; N]> {
    let end = position.checked_add(N)?;
    bytes.get(position..end)?.try_into().ok()
}

/// The byte at `position`.
pub(crate) fn u8(bytes: &[u8], position: usize) -> Option<u8> {
    bytes.get(position).copied()
}

/// The little-endian u32 at `position`.
pub(crate) fn u32(bytes: &[u8], position: usize) -> Option<u32> {
    array(bytes, position).map(u32::from_le_bytes)
}

/// The little-endian u64 at `position`.
pub(crate) fn u64(bytes: &[u8], position: usize) -> Option<u64> {
    array(bytes, position).map(u64::from_le_bytes)
}

/// The little-endian u128 at `position`.
pub(crate) fn u128(bytes: &[u8], position: usize) -> Option<u128> {
    array(bytes, position).map(u128::from_le_bytes)
}
