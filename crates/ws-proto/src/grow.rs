//! Growth of a buffer that assembles a message.

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

/// Makes room for `additional` bytes as `BytesMut::reserve` does, by doubling, but never allocates
/// more than `capacity_max` when that is enough: a message at its limit takes the limit, not up
/// to twice as much.
pub(crate) fn reserve(buffer: &mut BytesMut, additional: usize, capacity_max: usize) {
    let needed = buffer.len().saturating_add(additional);
    if needed <= buffer.capacity() {
        return;
    }
    let doubled = buffer.capacity().saturating_mul(2).max(needed);
    if doubled <= capacity_max || needed > capacity_max {
        buffer.reserve(additional);
        return;
    }
    // Only a `Vec` reserves exactly; none of these conversions copies what has one owner.
    let mut vector = Vec::from(core::mem::take(buffer));
    vector.reserve_exact(capacity_max - vector.len());
    let shared = Bytes::from(vector);
    *buffer = shared.try_into_mut().unwrap_or_else(BytesMut::from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_doubles_up_to_the_limit() {
        let mut buffer = BytesMut::with_capacity(20);
        for byte in 0..150 {
            reserve(&mut buffer, 1, 150);
            assert!(buffer.capacity() > usize::from(byte));
            assert!(buffer.capacity() <= 150, "{}", buffer.capacity());
            buffer.extend_from_slice(&[byte]);
        }
        assert_eq!(buffer.capacity(), 150);
        assert!(buffer.iter().copied().eq(0..150));
        reserve(&mut buffer, 1, 150);
        assert!(
            buffer.capacity() > 150,
            "what is needed is there in any case"
        );
    }

    #[test]
    fn the_last_growth_moves_no_other_owner() {
        let mut buffer = BytesMut::from(&[1; 100][..]);
        let front = buffer.split_to(10);
        reserve(&mut buffer, 20, 120);
        assert_eq!(buffer, [1; 90][..]);
        assert_eq!(front, [1; 10][..]);
    }
}
