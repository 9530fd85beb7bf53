//! [`Chunk`]: bytes that the kernel filled, of any alignment to frames.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};

use bytes::BytesMut;
use compio_driver::BufferRef;

use crate::{limits, reserve};

/// A buffer that the kernel filled.
///
/// It belongs to whoever holds it and goes back where it came from when dropped: to the pool of
/// the thread's runtime, or to the thread's heap chunks. A chunk that is kept keeps a place of
/// the pool occupied, so long-lived bytes should be copied out.
pub struct Chunk {
    storage: Storage,
}

enum Storage {
    /// A place of the runtime's provided-buffer ring.
    Pooled(BufferRef),
    /// A reusable buffer of this thread; only the first bytes are filled.
    Heap {
        buffer: Vec<u8>,
        filled_bytes: usize,
    },
    /// An ordinary allocation.
    Owned(BytesMut),
}

impl Chunk {
    /// The chunk of a pool buffer that the kernel filled.
    pub(crate) fn pooled(buffer: BufferRef) -> Self {
        Chunk {
            storage: Storage::Pooled(buffer),
        }
    }

    /// Takes a heap chunk of this thread and lets `fill` write into it; `fill` returns how many
    /// bytes it wrote.
    pub(crate) fn fill_heap<E>(
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Self, E> {
        let mut buffer = take_heap_buffer();
        match fill(&mut buffer) {
            Ok(filled_bytes) => Ok(Chunk {
                storage: Storage::Heap {
                    buffer,
                    filled_bytes,
                },
            }),
            Err(error) => {
                keep_heap_buffer(buffer);
                Err(error)
            }
        }
    }

    /// Whether the bytes lie in the runtime's pool.
    pub fn is_pooled(&self) -> bool {
        matches!(self.storage, Storage::Pooled(_))
    }

    /// The bytes in an allocation of their own: moved if they own one, copied otherwise.
    pub fn into_bytes_mut(mut self) -> BytesMut {
        match &mut self.storage {
            Storage::Owned(bytes) => std::mem::take(bytes),
            Storage::Pooled(buffer) => BytesMut::from(&buffer[..]),
            Storage::Heap {
                buffer,
                filled_bytes,
            } => BytesMut::from(&buffer[..*filled_bytes]),
        }
    }
}

impl From<BytesMut> for Chunk {
    fn from(bytes: BytesMut) -> Self {
        Chunk {
            storage: Storage::Owned(bytes),
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.storage {
            Storage::Pooled(buffer) => buffer,
            Storage::Heap {
                buffer,
                filled_bytes,
            } => &buffer[..*filled_bytes],
            Storage::Owned(bytes) => bytes,
        }
    }
}

impl DerefMut for Chunk {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Storage::Pooled(buffer) => buffer,
            Storage::Heap {
                buffer,
                filled_bytes,
            } => &mut buffer[..*filled_bytes],
            Storage::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Chunk {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.storage, Storage::Owned(BytesMut::new())) {
            Storage::Pooled(buffer) => reserve::give_back(buffer),
            Storage::Heap { buffer, .. } => keep_heap_buffer(buffer),
            Storage::Owned(_) => {}
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Chunk")
            .field("bytes", &self.len())
            .field("pooled", &self.is_pooled())
            .finish()
    }
}

thread_local! {
    static CHUNK_BYTES: Cell<usize> = const { Cell::new(limits::CHUNK_BYTES_DEFAULT) };
    // Buffers are zeroed once and reused, so a receive never pays for zeroing.
    static HEAP_BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Sets the size of this thread's heap chunks.
pub(crate) fn set_chunk_bytes(chunk_bytes: usize) {
    CHUNK_BYTES.set(chunk_bytes);
    HEAP_BUFFERS.with_borrow_mut(Vec::clear);
}

/// The size of this thread's chunks.
pub(crate) fn chunk_bytes() -> usize {
    CHUNK_BYTES.get()
}

fn take_heap_buffer() -> Vec<u8> {
    HEAP_BUFFERS
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; chunk_bytes()])
}

fn keep_heap_buffer(buffer: Vec<u8>) {
    // The thread may be on its way out and its buffers gone: then this one goes too.
    let _ = HEAP_BUFFERS.try_with(|buffers| {
        let mut buffers = buffers.borrow_mut();
        if buffers.len() < limits::HEAP_CHUNKS_KEPT_MAX && buffer.len() == chunk_bytes() {
            buffers.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heap(text: &[u8]) -> Chunk {
        Chunk::fill_heap(|buffer| {
            buffer[..text.len()].copy_from_slice(text);
            Ok::<_, ()>(text.len())
        })
        .expect("filled")
    }

    #[test]
    fn a_heap_chunk_shows_what_was_filled_and_is_reused() {
        let mut chunk = heap(b"abc");
        assert_eq!(&chunk[..], b"abc");
        chunk.as_mut()[0] = b'x';
        assert_eq!(chunk.as_ref(), b"xbc");
        assert!(!chunk.is_pooled());
        let address = chunk.as_ptr();
        drop(chunk);
        assert_eq!(heap(b"z").as_ptr(), address);
        assert_eq!(&heap(b"q").into_bytes_mut()[..], b"q");
    }

    #[test]
    fn heap_chunks_are_kept_up_to_the_limit() {
        let chunks: Vec<Chunk> = (0..limits::HEAP_CHUNKS_KEPT_MAX + 1)
            .map(|_| heap(b"abc"))
            .collect();
        drop(chunks);
        HEAP_BUFFERS.with_borrow(|kept| assert_eq!(kept.len(), limits::HEAP_CHUNKS_KEPT_MAX));
    }

    #[test]
    fn a_failed_fill_gives_the_buffer_back() {
        assert_eq!(Chunk::fill_heap(|_| Err(5)).expect_err("failed"), 5);
        HEAP_BUFFERS.with_borrow(|kept| assert_eq!(kept.len(), 1));
    }

    #[test]
    fn an_owned_chunk_moves_its_allocation() {
        let bytes = BytesMut::from(&b"owned"[..]);
        let address = bytes.as_ptr();
        assert_eq!(Chunk::from(bytes).into_bytes_mut().as_ptr(), address);
    }
}
