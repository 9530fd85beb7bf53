//! Receiving what a socket has into the memory behind a buffer's end.
//!
//! The bytes of a large payload are copied once, into the message, when its connection is about to
//! work on them: they are still in the cache when they are unmasked.

#![expect(
    unsafe_code,
    reason = "the kernel writes into memory that nobody has cleared"
)]

use std::os::fd::AsFd;

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Receives at most `bytes_max` bytes without waiting and appends them to `buffer`, which does not
/// grow. Returns how many: none at the end of the stream, or if there was no room.
///
/// # Errors
/// [`Errno::AGAIN`] if nothing has arrived, else what the kernel says about the connection.
pub(crate) fn receive<S: AsFd>(
    socket: S,
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<usize, Errno> {
    let spare = buffer.spare_capacity_mut();
    let room_bytes = spare.len().min(bytes_max);
    let ((received, _), _) = recv(socket, &mut spare[..room_bytes], RecvFlags::DONTWAIT)?;
    let received_bytes = received.len();
    // SAFETY: the kernel has written this many bytes from the end of the buffer on, into its
    // spare capacity: `received` is a part of it.
    unsafe { buffer.set_len(buffer.len() + received_bytes) };
    Ok(received_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The same through memory that was cleared before.
    fn receive_by_copy<S: AsFd>(
        socket: S,
        buffer: &mut BytesMut,
        bytes_max: usize,
    ) -> Result<usize, Errno> {
        let room_bytes = (buffer.capacity() - buffer.len()).min(bytes_max);
        let mut bytes = vec![0; room_bytes];
        let (_, received_bytes) = recv(socket, &mut bytes[..], RecvFlags::DONTWAIT)?;
        buffer.extend_from_slice(&bytes[..received_bytes]);
        Ok(received_bytes)
    }

    #[test]
    fn bytes_are_appended_as_by_the_safe_twin() {
        let sent: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let (mut source, target) = UnixStream::pair().expect("a pair");
        for before_bytes in [0, 1, 63] {
            for capacity in [before_bytes + 1, 64, 999, 1000, 2000] {
                for bytes_max in [1, 7, 500, usize::MAX] {
                    let mut appended = |by_copy: bool| {
                        let mut buffer = BytesMut::with_capacity(capacity);
                        buffer.resize(before_bytes, 9);
                        source.write_all(&sent).expect("taken");
                        let received_bytes = match by_copy {
                            true => receive_by_copy(&target, &mut buffer, bytes_max),
                            false => receive(&target, &mut buffer, bytes_max),
                        };
                        let received_bytes = received_bytes.expect("received");
                        assert!(received_bytes > 0 && received_bytes <= bytes_max);
                        let rest = recv(&target, &mut vec![0; 1000][..], RecvFlags::DONTWAIT);
                        assert_eq!(rest.map_or(0, |(_, bytes)| bytes), 1000 - received_bytes);
                        (buffer.capacity(), buffer)
                    };
                    assert_eq!(appended(false), appended(true));
                }
            }
        }
    }

    #[test]
    fn an_empty_socket_and_an_ended_one_change_nothing() {
        let (source, target) = UnixStream::pair().expect("a pair");
        let mut buffer = BytesMut::with_capacity(10);
        assert_eq!(receive(&target, &mut buffer, 10), Err(Errno::AGAIN));
        drop(source);
        assert_eq!(receive(&target, &mut buffer, 10), Ok(0));
        assert!(buffer.is_empty());
    }
}
