//! What a request is answered with, and how that becomes one vectored write.

use bytes::{Bytes, BytesMut};
use wire::Status;
use wire::iggy::eviction::{self, EvictionReason};
use wire::iggy::frame::RequestHeader;
use wire::iggy::reply;

/// Parts below this size are copied together: one more entry in a vectored write costs about as
/// much as copying this many bytes.
const JOIN_BYTES_MAX: usize = 4 * 1024;

/// The answer of a handler that succeeded.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Nothing to say beyond success; for a read: there is no such thing.
    Empty,
    /// The payload of a control-plane answer.
    Payload(Bytes),
    /// A whole frame, header included, in parts that are sent as they are.
    Frame(Vec<Bytes>),
}

/// The frame that answers `request`, in parts for one vectored write.
pub(crate) fn encode(request: &RequestHeader, reply: Result<Reply, Status>) -> Vec<Bytes> {
    match reply {
        Err(status) => vec![reply::failure(request, status)],
        Ok(Reply::Empty) => vec![reply::empty(request)],
        Ok(Reply::Payload(payload)) => vec![reply::payload(request, &payload)],
        Ok(Reply::Frame(parts)) => join_small(parts),
    }
}

/// Copies neighbouring small parts together; large ones stay where they are.
fn join_small(parts: Vec<Bytes>) -> Vec<Bytes> {
    let mut joined = Vec::with_capacity(parts.len().min(64));
    let mut open = BytesMut::new();
    for part in parts {
        if part.len() < JOIN_BYTES_MAX {
            open.extend_from_slice(&part);
            continue;
        }
        if !open.is_empty() {
            joined.push(open.split().freeze());
        }
        joined.push(part);
    }
    if !open.is_empty() {
        joined.push(open.freeze());
    }
    joined
}

/// The frame that ends a session.
pub(crate) fn evict(client: u128, reason: EvictionReason) -> Bytes {
    Bytes::copy_from_slice(&eviction::encode(client, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_parts_are_joined_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![9_u8; JOIN_BYTES_MAX]);
        let small = Bytes::from_static(b"abc");
        let parts = vec![
            small.clone(),
            small.clone(),
            large.clone(),
            small.clone(),
            small,
        ];
        let joined = join_small(parts);
        assert_eq!(joined.len(), 3);
        assert_eq!(joined[1].as_ptr(), large.as_ptr());
        assert_eq!(&joined[0][..], b"abcabc");
        assert_eq!(&joined[2][..], b"abcabc");
    }
}
