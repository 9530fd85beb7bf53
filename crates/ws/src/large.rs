//! Memory of large payloads that a thread keeps for the next ones.
//!
//! An allocator gives large blocks back to the system, which then has to clear and map each page
//! again: for a payload of a megabyte that costs as much as receiving and sending it. So a few
//! megabytes stay with the thread, whatever connection they came from.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::limits;

#[derive(Default)]
struct Kept {
    /// The oldest first.
    buffers: VecDeque<BytesMut>,
    bytes: usize,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept::default());
}

/// A buffer for a payload of this many bytes that does not waste much more than these: the last
/// one that was kept, of which most is still in the cache.
pub(crate) fn take(payload_bytes: usize) -> Option<BytesMut> {
    KEPT.with_borrow_mut(|kept| {
        let fits = payload_bytes..payload_bytes.saturating_mul(limits::LARGE_BUFFER_WASTE_MAX);
        let index = kept
            .buffers
            .iter()
            .rposition(|buffer| fits.contains(&buffer.capacity()))?;
        let buffer = kept.buffers.remove(index)?;
        kept.bytes -= buffer.capacity();
        Some(buffer)
    })
}

/// Keeps the memory of `payload` if it is large and nobody else needs it. The oldest make room:
/// sizes that nobody asks for any more do not stay.
pub(crate) fn keep(payload: Bytes) {
    if payload.len() < limits::LARGE_BUFFER_BYTES_MIN {
        return;
    }
    let Ok(mut buffer) = payload.try_into_mut() else {
        return;
    };
    buffer.clear();
    // What is left of a payload of which a part was written before: with the room of that part.
    let _ = buffer.try_reclaim(buffer.capacity() + 1);
    if buffer.capacity() > limits::LARGE_BUFFERS_BYTES_KEPT_MAX {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        kept.bytes += buffer.capacity();
        kept.buffers.push_back(buffer);
        while kept.bytes > limits::LARGE_BUFFERS_BYTES_KEPT_MAX
            && let Some(oldest) = kept.buffers.pop_front()
        {
            kept.bytes -= oldest.capacity();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Bytes {
        let mut payload = BytesMut::with_capacity(bytes);
        payload.resize(bytes, 7);
        payload.freeze()
    }

    #[test]
    fn a_payload_is_reused_by_one_of_about_its_size() {
        let bytes = limits::LARGE_BUFFER_BYTES_MIN;
        let first = payload(bytes);
        let address = first.as_ptr();
        keep(first);
        assert!(take(bytes + 1).is_none(), "too small");
        assert!(
            take(bytes / limits::LARGE_BUFFER_WASTE_MAX).is_none(),
            "too large"
        );
        let buffer = take(bytes).expect("kept");
        assert_eq!(
            (buffer.as_ptr(), buffer.len(), buffer.capacity()),
            (address, 0, bytes)
        );
        assert!(take(bytes).is_none(), "taken");
        let (older, newer) = (payload(bytes), payload(bytes));
        let address = newer.as_ptr();
        keep(older);
        keep(newer);
        assert_eq!(take(bytes).expect("kept").as_ptr(), address);
    }

    #[test]
    fn what_is_left_of_a_payload_has_the_room_of_all_of_it() {
        let bytes = 2 * limits::LARGE_BUFFER_BYTES_MIN;
        let mut half_written = payload(bytes);
        let address = half_written.as_ptr();
        let _ = half_written.split_to(bytes / 2);
        keep(half_written);
        let buffer = take(bytes).expect("kept");
        assert_eq!((buffer.as_ptr(), buffer.capacity()), (address, bytes));
    }

    #[test]
    fn small_and_shared_payloads_are_not_kept_and_the_limit_holds() {
        let bytes = limits::LARGE_BUFFER_BYTES_MIN;
        keep(payload(bytes - 1));
        assert!(take(bytes - 1).is_none());
        let shared = payload(bytes);
        keep(shared.clone());
        assert!(take(bytes).is_none());
        drop(shared);
        let fitting = limits::LARGE_BUFFERS_BYTES_KEPT_MAX / bytes;
        for _ in 0..fitting + 1 {
            keep(payload(bytes));
        }
        KEPT.with_borrow(|kept| assert_eq!(kept.buffers.len(), fitting));
        keep(payload(limits::LARGE_BUFFERS_BYTES_KEPT_MAX));
        KEPT.with_borrow(|kept| assert_eq!(kept.buffers.len(), 1));
        keep(payload(limits::LARGE_BUFFERS_BYTES_KEPT_MAX + 1));
        KEPT.with_borrow(|kept| assert_eq!(kept.buffers.len(), 1));
    }
}
