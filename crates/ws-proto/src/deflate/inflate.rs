use alloc::fmt;

use bytes::BytesMut;
use zlib_rs::{Inflate, InflateFlush, Status};

use super::compress::TRAILER;
use crate::ProtocolError;
use crate::limits::{DEFLATE_STREAMS_MAX, INFLATE_STEP_BYTES_MAX, INFLATE_STEP_BYTES_MIN};

/// The state of one inflater (about 47 KiB): share it by a [`Pool`](super::Pool).
///
/// Its window is always the largest, which reads every smaller one.
pub struct Inflater {
    stream: Inflate,
    /// A block marked as the last one ended; a new stream begins with the next byte.
    ended: bool,
    /// Streams that ended within this message.
    streams: u32,
}

/// What one step did.
struct Progress {
    consumed: usize,
    produced: usize,
    room: usize,
}

impl Inflater {
    /// An inflater that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stream: Inflate::new(false, 15),
            ended: false,
            streams: 0,
        }
    }

    /// Forgets what was inflated before.
    pub(super) fn reset(&mut self) {
        self.stream.reset(false);
        self.ended = false;
        self.streams = 0;
    }

    /// Appends what `input` inflates to, in steps.
    ///
    /// # Errors
    /// `MessageTooBig` when `target` would become longer than `bytes_max`, `InvalidDeflate` for
    /// anything that is no deflate stream.
    pub(crate) fn push(
        &mut self,
        mut input: &[u8],
        target: &mut BytesMut,
        bytes_max: u64,
    ) -> Result<(), ProtocolError> {
        loop {
            if self.ended {
                if input.is_empty() {
                    return Ok(());
                }
                self.begin_stream()?;
            }
            let progress = self.step(input, InflateFlush::NoFlush, target, bytes_max)?;
            input = input.get(progress.consumed..).unwrap_or_default();
            if progress.produced < progress.room && !self.ended {
                // With room left the decoder stops only for want of input.
                return match input.is_empty() {
                    true => Ok(()),
                    false => Err(ProtocolError::InvalidDeflate),
                };
            }
        }
    }

    /// The message is complete: inflates the trailer that the sender removed and demands that
    /// the stream is between two blocks then (RFC 7692 §7.2.2).
    ///
    /// # Errors
    /// As [`push`](Self::push); `InvalidDeflate` if the message was cut short.
    pub(crate) fn end_message(
        &mut self,
        target: &mut BytesMut,
        bytes_max: u64,
    ) -> Result<(), ProtocolError> {
        self.streams = 0;
        // The byte behind the trailer is never read if the decoder stops at the block's end.
        let [a, b, c, d] = TRAILER;
        let probed = [a, b, c, d, 0];
        let mut rest: &[u8] = &probed;
        while !self.ended {
            let progress = self.step(rest, InflateFlush::Block, target, bytes_max)?;
            rest = rest.get(progress.consumed..).unwrap_or_default();
            if rest.is_empty() {
                return Err(ProtocolError::InvalidDeflate);
            }
            if rest.len() == 1 && progress.produced < progress.room {
                return Ok(());
            }
            if progress.consumed == 0 && progress.produced == 0 {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
        // A last block ended with the payload or exactly with the trailer (§7.2.3.4).
        match rest.len() {
            1 | 5 => Ok(()),
            _ => Err(ProtocolError::InvalidDeflate),
        }
    }

    /// A stream ended and bytes follow: the next stream begins (RFC 7692 §7.2.3.4 shows a
    /// sender that ends one in the middle of a message).
    fn begin_stream(&mut self) -> Result<(), ProtocolError> {
        self.streams += 1;
        if self.streams > DEFLATE_STREAMS_MAX {
            return Err(ProtocolError::InvalidDeflate);
        }
        self.stream.reset(false);
        self.ended = false;
        Ok(())
    }

    fn step(
        &mut self,
        input: &[u8],
        flush: InflateFlush,
        target: &mut BytesMut,
        bytes_max: u64,
    ) -> Result<Progress, ProtocolError> {
        let start = target.len();
        let wanted = input.len().saturating_mul(4);
        let wanted = wanted.clamp(INFLATE_STEP_BYTES_MIN, INFLATE_STEP_BYTES_MAX);
        let allowed = bytes_max.saturating_sub(start as u64);
        let inside = wanted.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        // At the limit the message may end but not grow: one byte beside it shows which.
        let mut beyond = [0];
        let room = inside.max(beyond.len());
        let capacity_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        crate::grow::reserve(target, inside, capacity_max);
        target.resize(start + inside, 0);
        let (total_in, total_out) = (self.stream.total_in(), self.stream.total_out());
        let output = match inside {
            0 => &mut beyond[..],
            _ => target.get_mut(start..).unwrap_or_default(),
        };
        let status = self.stream.decompress(input, output, flush);
        let consumed = (self.stream.total_in() - total_in) as usize;
        let produced = (self.stream.total_out() - total_out) as usize;
        target.truncate(start + produced);
        match status {
            Err(_) => return Err(ProtocolError::InvalidDeflate),
            Ok(Status::StreamEnd) => self.ended = true,
            Ok(Status::Ok | Status::BufError) => {}
        }
        if inside == 0 && produced > 0 {
            return Err(ProtocolError::MessageTooBig);
        }
        Ok(Progress {
            consumed,
            produced,
            room,
        })
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inflater").finish_non_exhaustive()
    }
}
