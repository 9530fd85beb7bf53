//! A ring of the kernel with provided receive buffers: the load generator's engine, and the
//! limit that every server is compared with.
//!
//! All `unsafe` of this program is here. What makes it sound: memory that the kernel may touch
//! is owned by the [`Ring`] from the submission to the completion, and a ring that is dropped
//! with operations in flight leaks that memory.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

use crate::limits;

const GROUP: u16 = 0;
const TOKEN_BITS: u32 = 32;
/// `MSG_WAITALL | MSG_NOSIGNAL`: a send that fits in pieces only is gone on with by the kernel.
const SEND_FLAGS: u32 = 0x100 | 0x4000;
/// `IORING_ENTER_GETEVENTS`: runs what the kernel has deferred.
const ENTER_GETEVENTS: u32 = 1;
const PAGE_BYTES: usize = 4096;

/// Something that the kernel has finished. `token` is the caller's name of the connection.
pub(crate) enum Completion {
    Accepted {
        socket: io::Result<OwnedFd>,
        armed: bool,
    },
    /// `None` is the end of the stream.
    Received {
        token: u32,
        buffer: io::Result<Option<Buffer>>,
        armed: bool,
    },
    Sent {
        token: u32,
        sent_bytes: io::Result<usize>,
    },
}

/// A filled receive buffer; goes back by [`Ring::give_back`] or by sending it.
pub(crate) struct Buffer {
    index: u16,
    length: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Accept,
    Receive,
    Send,
}

enum Flight {
    Shared { _bytes: Bytes },
    Buffer(Buffer),
    Parts(Box<Parts>),
}

/// A vectored send: the kernel reads the header and the vector, so both stay where they are.
struct Parts {
    header: libc::msghdr,
    vector: Vec<libc::iovec>,
    buffers: Vec<Buffer>,
}

pub(crate) struct Ring {
    uring: IoUring,
    buffers: Buffers,
    /// What each token sends: at most one send per token at a time.
    flights: Vec<Option<Flight>>,
    in_flight_count: usize,
    completed: VecDeque<Completion>,
}

impl Ring {
    pub(crate) fn new() -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(limits::RING_COMPLETIONS)
            .build(limits::RING_ENTRIES)?;
        let buffers = Buffers::new();
        // SAFETY: the entries are page-aligned, `count` of them, and live until the ring is
        // closed: `Drop` leaks them otherwise.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                buffers.entries.as_ptr() as u64,
                limits::RING_BUFFERS_COUNT,
                GROUP,
                0,
            )?;
        }
        Ok(Ring {
            uring,
            buffers,
            flights: Vec::new(),
            in_flight_count: 0,
            completed: VecDeque::new(),
        })
    }

    /// Accepts connections until a completion says that it is not armed any more.
    pub(crate) fn accept(&mut self, listener: &impl AsRawFd) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build();
        self.push(Kind::Accept, 0, entry)
    }

    /// Receives until a completion says that it is not armed any more.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd, token: u32) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(Kind::Receive, token, entry)
    }

    /// Whether a failed receive has only to be armed again: no buffer was free, or something
    /// interrupted it.
    pub(crate) fn is_passing(error: &io::Error) -> bool {
        matches!(
            Errno::from_io_error(error),
            Some(Errno::NOBUFS | Errno::INTR)
        )
    }

    /// Sends shared bytes. One send per token may be in flight.
    pub(crate) fn send(
        &mut self,
        socket: &impl AsRawFd,
        token: u32,
        bytes: Bytes,
    ) -> io::Result<()> {
        let (start, length) = (bytes.as_ptr(), bytes.len());
        self.keep(token, Flight::Shared { _bytes: bytes });
        let length = u32::try_from(length).expect("a send of less than 4 GiB");
        let entry = opcode::Send::new(Fd(socket.as_raw_fd()), start, length);
        let entry = entry.flags(SEND_FLAGS as i32).build();
        self.push(Kind::Send, token, entry)
    }

    /// Sends received buffers uncopied, as many as one vectored send takes.
    pub(crate) fn send_buffers(
        &mut self,
        socket: &impl AsRawFd,
        token: u32,
        queue: &mut VecDeque<Buffer>,
    ) -> io::Result<()> {
        let fd = Fd(socket.as_raw_fd());
        if queue.len() == 1
            && let Some(buffer) = queue.pop_front()
        {
            let start = self.buffers.start(buffer.index);
            let length = u32::try_from(buffer.length).expect("a buffer of less than 4 GiB");
            self.keep(token, Flight::Buffer(buffer));
            let entry = opcode::Send::new(fd, start, length).flags(SEND_FLAGS as i32);
            return self.push(Kind::Send, token, entry.build());
        }
        let count = queue.len().min(limits::RING_SEND_PARTS_MAX);
        let buffers: Vec<Buffer> = queue.drain(..count).collect();
        let parts = Parts::new(&self.buffers, buffers);
        let header: *const libc::msghdr = &parts.header;
        self.keep(token, Flight::Parts(parts));
        let entry = opcode::SendMsg::new(fd, header).flags(SEND_FLAGS);
        self.push(Kind::Send, token, entry.build())
    }

    /// The bytes of a received buffer.
    pub(crate) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let start = self.buffers.start(buffer.index);
        // SAFETY: a `Buffer` exists only between the kernel's completion and `give_back`, so
        // nobody writes to it; `length` is what the kernel wrote there.
        unsafe { std::slice::from_raw_parts(start, buffer.length) }
    }

    pub(crate) fn give_back(&mut self, buffer: Buffer) {
        self.buffers.publish(buffer.index);
    }

    /// Gives to the kernel what was asked for and waits for a completion, at most `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let time = Timespec::from(timeout);
        let arguments = SubmitArgs::new().timespec(&time);
        match self.uring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::TIME | Errno::INTR | Errno::BUSY) => {}
                _ => return Err(error),
            },
        }
        self.collect();
        Ok(())
    }

    /// As [`Ring::wait`], without waiting: who asks all the time need never be woken up.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        let submissions_count = self.uring.submission().len() as u32;
        // SAFETY: no argument is given to the kernel.
        let entered = unsafe {
            let submitter = self.uring.submitter();
            submitter.enter::<libc::sigset_t>(submissions_count, 0, ENTER_GETEVENTS, None)
        };
        match entered {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INTR) => return Err(error),
            _ => {}
        }
        self.collect();
        Ok(())
    }

    /// The next of the completions that were collected.
    pub(crate) fn next_completion(&mut self) -> Option<Completion> {
        self.completed.pop_front()
    }

    /// Operations that the kernel has not finished.
    pub(crate) fn in_flight_count(&self) -> usize {
        self.in_flight_count
    }

    fn keep(&mut self, token: u32, flight: Flight) {
        let index = token as usize;
        if self.flights.len() <= index {
            self.flights.resize_with(index + 1, || None);
        }
        let before = self.flights[index].replace(flight);
        assert!(before.is_none(), "token {token} is sending already");
    }

    fn push(&mut self, kind: Kind, token: u32, entry: squeue::Entry) -> io::Result<()> {
        let entry = entry.user_data((kind as u64) << TOKEN_BITS | u64::from(token));
        // SAFETY: what the entry points to is kept in `flights` or `buffers` until its
        // completion was seen.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit()?;
        }
        self.in_flight_count += 1;
        Ok(())
    }

    fn collect(&mut self) {
        let mut completions = self.uring.completion();
        completions.sync();
        for entry in completions {
            let flags = entry.flags();
            let armed = cqueue::more(flags);
            if !armed {
                self.in_flight_count -= 1;
            }
            let token = entry.user_data() as u32;
            let result = to_result(entry.result());
            self.completed
                .push_back(match entry.user_data() >> TOKEN_BITS {
                    kind if kind == Kind::Accept as u64 => Completion::Accepted {
                        // SAFETY: the kernel has just opened this descriptor for us.
                        socket: result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) }),
                        armed,
                    },
                    kind if kind == Kind::Receive as u64 => Completion::Received {
                        token,
                        buffer: result.map(|length| {
                            let index = cqueue::buffer_select(flags)?;
                            if length == 0 {
                                self.buffers.publish(index);
                                return None;
                            }
                            Some(Buffer { index, length })
                        }),
                        armed,
                    },
                    _ => {
                        match self.flights[token as usize].take() {
                            Some(Flight::Buffer(buffer)) => self.buffers.publish(buffer.index),
                            Some(Flight::Parts(parts)) => parts
                                .buffers
                                .iter()
                                .for_each(|buffer| self.buffers.publish(buffer.index)),
                            _ => {}
                        }
                        Completion::Sent {
                            token,
                            sent_bytes: result,
                        }
                    }
                });
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.in_flight_count > 0 {
            std::mem::forget(std::mem::take(&mut self.flights));
            self.buffers.leak = true;
        }
    }
}

impl Parts {
    fn new(memory: &Buffers, buffers: Vec<Buffer>) -> Box<Self> {
        let vector = buffers
            .iter()
            .map(|buffer| libc::iovec {
                iov_base: memory.start(buffer.index).cast(),
                iov_len: buffer.length,
            })
            .collect();
        // SAFETY: a message header of zeroes is the empty one.
        let header = unsafe { std::mem::zeroed() };
        let mut parts = Box::new(Parts {
            header,
            vector,
            buffers,
        });
        parts.header.msg_iov = parts.vector.as_mut_ptr();
        parts.header.msg_iovlen = parts.vector.len();
        parts
    }
}

fn to_result(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// The receive buffers and the ring of free ones that the kernel takes from.
struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
    leak: bool,
}

impl Buffers {
    const STRIDE_BYTES: usize = limits::RING_BUFFER_BYTES + limits::RING_BUFFER_GAP_BYTES;

    fn new() -> Self {
        let mut buffers = Buffers {
            entries: allocate(Self::entries_layout()).cast(),
            memory: allocate(Self::memory_layout()),
            tail: 0,
            leak: false,
        };
        (0..limits::RING_BUFFERS_COUNT).for_each(|index| buffers.publish(index));
        buffers
    }

    fn entries_layout() -> Layout {
        let bytes = usize::from(limits::RING_BUFFERS_COUNT) * size_of::<BufRingEntry>();
        Layout::from_size_align(bytes, PAGE_BYTES).expect("a few pages")
    }

    fn memory_layout() -> Layout {
        let bytes = usize::from(limits::RING_BUFFERS_COUNT) * Self::STRIDE_BYTES;
        Layout::from_size_align(bytes, PAGE_BYTES).expect("some mebibytes")
    }

    fn start(&self, index: u16) -> *mut u8 {
        assert!(index < limits::RING_BUFFERS_COUNT);
        // SAFETY: the index was checked, so the result is inside of the allocation.
        unsafe {
            self.memory
                .as_ptr()
                .add(usize::from(index) * Self::STRIDE_BYTES)
        }
    }

    /// Gives a buffer to the kernel.
    fn publish(&mut self, index: u16) {
        let start = self.start(index);
        let slot = usize::from(self.tail & (limits::RING_BUFFERS_COUNT - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the slot is inside of the entries, which only we write; the kernel reads what
        // lies before the tail, which is stored last and with release order.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(slot);
            entry.set_addr(start as u64);
            entry.set_len(limits::RING_BUFFER_BYTES as u32);
            entry.set_bid(index);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.leak {
            return;
        }
        // SAFETY: allocated with these layouts in `new`, and no operation is in flight.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), Self::entries_layout());
            dealloc(self.memory.as_ptr(), Self::memory_layout());
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layouts of this module are not empty.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
