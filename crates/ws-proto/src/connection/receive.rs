//! The way in: chunks become events.

use core::ops::Range;

use super::*;
use crate::frame::{self, Expectation, HEADER_BYTES_MAX, Header};
use crate::grow;
use crate::limits::{ASSEMBLY_BYTES_MIN, DIRECT_RECEIVE_BYTES_MIN};
use crate::{CloseCode, CloseFrame, MessageKind, OpCode, Payload, mask, utf8};

/// A buffer into which the kernel may receive the rest of a large payload.
#[derive(Debug)]
pub struct ReceiveBuffer {
    /// The message so far; append what arrives.
    pub bytes: BytesMut,
    /// Most bytes to append. The spare capacity is at least this large.
    pub limit: usize,
}

/// What is known of the frames that have begun and not ended.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// A header that a chunk cut.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: u8,
    /// The frame whose payload is incomplete.
    frame: Option<OpenFrame>,
    /// The message whose last frame is incomplete.
    message: Option<OpenMessage>,
    /// The payload of that message.
    assembly: BytesMut,
    /// The payload of a control frame that a chunk cut.
    control: BytesMut,
    utf8: utf8::Validator,
    /// The start of a compressed message, until it is worth an inflater.
    #[cfg(feature = "deflate")]
    staged: BytesMut,
    /// Length and limit of the assembly buffer while the driver has it.
    lent: Option<(usize, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct OpenFrame {
    opcode: OpCode,
    fin: bool,
    /// Payload bytes that have not arrived; never zero between chunks.
    missing_bytes: u64,
    /// The masking key, turned to the next byte.
    masking_key: Option<[u8; 4]>,
}

#[derive(Debug, Clone, Copy)]
struct OpenMessage {
    kind: MessageKind,
    /// Frames so far, empty ones included.
    fragments: u32,
    /// Payload bytes that its frames so far announced.
    announced_bytes: u64,
    /// RSV1 of its first frame: the payload inflates to the message (RFC 7692 §6).
    compressed: bool,
    /// It is reported piece by piece.
    pieces: bool,
    /// Bytes of it that were reported.
    reported_bytes: u64,
}

impl Receiver {
    /// Gives all memory back.
    pub(super) fn release(&mut self) {
        self.frame = None;
        self.message = None;
        self.header_bytes = 0;
        self.assembly = BytesMut::new();
        self.control = BytesMut::new();
        #[cfg(feature = "deflate")]
        {
            self.staged = BytesMut::new();
        }
    }
}

/// What one step of parsing led to.
enum Step {
    /// An event for the caller.
    Event(Event),
    /// Something was consumed; go on.
    Continue,
    /// The chunk is used up.
    Exhausted,
}

impl Connection {
    /// Takes received bytes from `position` on and returns at the first event, with `position`
    /// behind it. Call it again with the same chunk until it returns `None`; then the chunk is
    /// used up.
    ///
    /// Payloads are unmasked in place. A message that lies whole in the chunk is reported as a
    /// range of it. After the peer's Close frame or a failure everything is discarded.
    ///
    /// # Panics
    /// If the buffer of [`take_receive_buffer`](Self::take_receive_buffer) was not given back.
    pub fn handle_chunk(&mut self, chunk: &mut [u8], position: &mut usize) -> Option<Event> {
        assert!(
            self.receiver.lent.is_none(),
            "a chunk came while the receive buffer is lent"
        );
        self.timers.received = true;
        while !self.closing.receive_is_over() {
            if let Some((kind, range)) = self.take_whole_message(chunk, position) {
                let payload = Payload::Chunk(range);
                return Some(Event::Message { kind, payload });
            }
            match self.step(chunk, position) {
                Ok(Step::Event(event)) => return Some(event),
                Ok(Step::Continue) => {}
                Ok(Step::Exhausted) => return None,
                Err(error) => {
                    *position = chunk.len();
                    return Some(self.fail(error));
                }
            }
        }
        *position = chunk.len();
        None
    }

    /// Lends the buffer of a large message in the middle of a frame, so that the kernel can
    /// append to it; `None` when a chunk is the better target. Give it back by
    /// [`handle_receive_buffer`](Self::handle_receive_buffer) before anything else is received.
    ///
    /// The buffer grows with the bytes received, never with the length that was announced.
    pub fn take_receive_buffer(&mut self) -> Option<ReceiveBuffer> {
        self.take_receive_buffer_with(|_| None)
    }

    /// Like [`take_receive_buffer`](Self::take_receive_buffer), for a driver that has memory to
    /// reuse: before the buffer grows, `spare` is asked for one with room for the whole frame,
    /// whose length it is told. Its content is discarded.
    pub fn take_receive_buffer_with(
        &mut self,
        spare: impl FnOnce(usize) -> Option<BytesMut>,
    ) -> Option<ReceiveBuffer> {
        let message_bytes_max = self.message_bytes_max();
        let receiver = &mut self.receiver;
        let frame = receiver.frame.filter(|frame| !frame.opcode.is_control())?;
        let missing = usize::try_from(frame.missing_bytes).unwrap_or(usize::MAX);
        let received = receiver.assembly.len();
        let compressed = receiver.message.is_some_and(|message| message.compressed);
        if compressed || received.min(missing) < DIRECT_RECEIVE_BYTES_MIN {
            return None;
        }
        let mut bytes = core::mem::take(&mut receiver.assembly);
        if bytes.capacity() - received < missing.min(DIRECT_RECEIVE_BYTES_MIN) {
            let whole = received.saturating_add(missing);
            match spare(whole) {
                Some(mut spare) if spare.capacity() > received => {
                    spare.clear();
                    spare.extend_from_slice(&bytes);
                    bytes = spare;
                }
                _ => {
                    // Not beyond the frame: what is exact can serve the next message of this size.
                    let capacity_max = whole.min(message_bytes_max);
                    grow::reserve(&mut bytes, missing.min(received), capacity_max);
                }
            }
        }
        let limit = missing.min(bytes.capacity() - received);
        receiver.lent = Some((received, limit));
        Some(ReceiveBuffer { bytes, limit })
    }

    /// Takes the lent buffer back, with what arrived appended to it (possibly nothing).
    ///
    /// # Panics
    /// If no buffer was lent, or `bytes` is shorter than it was or longer than its limit.
    pub fn handle_receive_buffer(&mut self, mut bytes: BytesMut) -> Option<Event> {
        let lent = self.receiver.lent.take();
        let (start, limit) = lent.expect("the driver gives back only what it took");
        assert!(
            bytes.len() >= start && bytes.len() - start <= limit,
            "the receive buffer came back with {} bytes, lent with {start} and limit {limit}",
            bytes.len()
        );
        if self.closing.receive_is_over() {
            return None;
        }
        let frame = self.receiver.frame?;
        let received = bytes.len() - start;
        self.timers.received |= received > 0;
        let piece = bytes.get_mut(start..).unwrap_or_default();
        self.receiver.frame = unmask_piece(frame, piece);
        let checked = self.check_text(piece);
        self.receiver.assembly = bytes;
        let last = frame.fin && self.receiver.frame.is_none();
        let message = self.receiver.message?;
        match checked.and_then(|()| self.report(message, last, None)) {
            Ok(event) => event,
            Err(error) => Some(self.fail(error)),
        }
    }

    /// Changes [`Config::pieces`] for the messages to come. One whose header is all that was
    /// taken follows, too; one of which bytes were taken goes on as it began, so a driver may
    /// change it at any time without losing any.
    pub fn set_pieces(&mut self, pieces: bool) {
        self.config.pieces = pieces;
        let receiver = &mut self.receiver;
        let is_untouched = receiver.assembly.is_empty() && receiver.lent.is_none();
        if let Some(message) = &mut receiver.message
            && message.reported_bytes == 0
            && is_untouched
        {
            message.pieces = pieces;
        }
    }

    /// The common case by the shortest way: a message of one frame that lies whole in the chunk
    /// at `position` and needs nothing but unmasking. Returns its kind and where its payload lies,
    /// with `position` behind it. `None`, and nothing changed: anything else, which is for
    /// [`handle_chunk`](Self::handle_chunk).
    #[inline]
    pub fn take_whole_message(
        &mut self,
        chunk: &mut [u8],
        position: &mut usize,
    ) -> Option<(MessageKind, Range<usize>)> {
        if !self.is_between_messages() {
            return None;
        }
        let rest = chunk.get_mut(*position..)?;
        let &[first, second, ..] = &*rest else {
            return None;
        };
        // FIN without reserved bits (RFC 6455 §5.2).
        let kind = match first {
            0x81 => MessageKind::Text,
            0x82 => MessageKind::Binary,
            _ => return None,
        };
        let masked = second & 0x80 != 0;
        if masked != matches!(self.role, Role::Server) {
            return None;
        }
        let (payload_bytes, length_bytes) = match second & 0x7F {
            127 => return None,
            126 => {
                let &[_, _, high, low, ..] = &*rest else {
                    return None;
                };
                (usize::from(u16::from_be_bytes([high, low])), 4)
            }
            short => (usize::from(short), 2),
        };
        let limits = &self.config.limits;
        let bytes_max = limits.message_bytes_max.min(limits.frame_bytes_max);
        let minimal = length_bytes == 2 || payload_bytes > 125;
        if !minimal || payload_bytes as u64 > bytes_max || limits.fragments_max == 0 {
            return None;
        }
        let header_bytes = length_bytes + if masked { 4 } else { 0 };
        let (header, behind) = rest.split_at_mut_checked(header_bytes)?;
        let payload = behind.get_mut(..payload_bytes)?;
        if masked {
            let key = *header.last_chunk::<4>()?;
            mask::apply(payload, key);
            if kind == MessageKind::Text && !utf8::is_valid(payload) {
                mask::apply(payload, key);
                return None;
            }
        } else if kind == MessageKind::Text && !utf8::is_valid(payload) {
            return None;
        }
        self.timers.received = true;
        let start = *position + header_bytes;
        *position = start + payload_bytes;
        Some((kind, start..*position))
    }

    /// Whether the next byte begins a message or control frame that will be reported.
    #[must_use]
    #[inline]
    pub fn is_between_messages(&self) -> bool {
        let receiver = &self.receiver;
        let between = receiver.message.is_none() && receiver.frame.is_none();
        between && receiver.header_bytes == 0 && !self.closing.receive_is_over()
    }

    fn step(&mut self, chunk: &mut [u8], position: &mut usize) -> Result<Step, ProtocolError> {
        if let Some(frame) = self.receiver.frame {
            return self.continue_frame(frame, chunk, position);
        }
        let Some(header) = self.read_header(chunk, position)? else {
            return Ok(Step::Exhausted);
        };
        if !header.opcode.is_control() {
            self.admit_data_frame(&header)?;
        }
        let available = chunk.len() - *position;
        if header.payload_bytes > available as u64 {
            let frame = OpenFrame {
                opcode: header.opcode,
                fin: header.fin,
                missing_bytes: header.payload_bytes,
                masking_key: header.masking_key,
            };
            return self.continue_frame(frame, chunk, position);
        }
        let range = *position..*position + header.payload_bytes as usize;
        *position = range.end;
        let payload = chunk.get_mut(range.clone()).unwrap_or_default();
        if let Some(key) = header.masking_key {
            mask::apply(payload, key);
        }
        self.whole_frame(&header, payload, range)
    }

    const fn expectation(&self) -> Expectation {
        Expectation {
            receiver: self.role,
            rsv1_negotiated: self.is_deflate_negotiated(),
            message_open: self.receiver.message.is_some(),
            frame_bytes_max: self.config.limits.frame_bytes_max,
        }
    }

    /// Reads a header at `position`, or keeps its start for the next chunk.
    fn read_header(
        &mut self,
        chunk: &[u8],
        position: &mut usize,
    ) -> Result<Option<Header>, ProtocolError> {
        let expect = self.expectation();
        let rest = chunk.get(*position..).unwrap_or_default();
        let receiver = &mut self.receiver;
        let kept = usize::from(receiver.header_bytes);
        if kept == 0
            && let Some((header, header_bytes)) = frame::parse(rest, &expect)?
        {
            *position += header_bytes;
            return Ok(Some(header));
        }
        let mut joined_bytes = kept;
        for (slot, &byte) in receiver.header.iter_mut().skip(kept).zip(rest) {
            *slot = byte;
            joined_bytes += 1;
        }
        let joined = receiver.header.get(..joined_bytes).unwrap_or_default();
        if let Some((header, header_bytes)) = frame::parse(joined, &expect)? {
            receiver.header_bytes = 0;
            *position += header_bytes - kept;
            return Ok(Some(header));
        }
        receiver.header_bytes = joined_bytes as u8;
        *position = chunk.len();
        Ok(None)
    }

    fn message_bytes_max(&self) -> usize {
        usize::try_from(self.config.limits.message_bytes_max).unwrap_or(usize::MAX)
    }

    /// Counts the frame against the limits of its message, before any of its payload.
    fn admit_data_frame(&mut self, header: &Header) -> Result<(), ProtocolError> {
        let limits = &self.config.limits;
        let (fragments, announced_bytes) = match &self.receiver.message {
            Some(message) => (message.fragments, message.announced_bytes),
            None => (0, 0),
        };
        let fragments = fragments.saturating_add(1);
        let announced_bytes = announced_bytes.saturating_add(header.payload_bytes);
        if fragments > limits.fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        if announced_bytes > limits.message_bytes_max {
            return Err(ProtocolError::MessageTooBig);
        }
        match &mut self.receiver.message {
            Some(message) => {
                message.fragments = fragments;
                message.announced_bytes = announced_bytes;
            }
            None => {
                let kind = match header.opcode {
                    OpCode::Text => MessageKind::Text,
                    _ => MessageKind::Binary,
                };
                self.receiver.message = Some(OpenMessage {
                    kind,
                    fragments,
                    announced_bytes,
                    compressed: header.rsv1,
                    pieces: self.config.pieces,
                    reported_bytes: 0,
                });
            }
        }
        Ok(())
    }

    /// A frame whose payload, already unmasked, lies whole in the chunk.
    fn whole_frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        range: Range<usize>,
    ) -> Result<Step, ProtocolError> {
        if header.opcode.is_control() {
            return self.control_frame(header.opcode, payload, Payload::Chunk(range));
        }
        let plain = header.fin && header.opcode != OpCode::Continuation && !header.rsv1;
        if plain && let Some(message) = self.receiver.message.take() {
            // Its header was cut or its length long, else `take_whole_message` had taken it.
            if message.kind == MessageKind::Text && !utf8::is_valid(payload) {
                return Err(ProtocolError::InvalidUtf8);
            }
            return Ok(Step::Event(Event::Message {
                kind: message.kind,
                payload: Payload::Chunk(range),
            }));
        }
        let event = self.take_piece(payload, range, 0, header.fin)?;
        Ok(event.map_or(Step::Continue, Step::Event))
    }

    /// Takes what the chunk has of a frame that does not end before it.
    fn continue_frame(
        &mut self,
        frame: OpenFrame,
        chunk: &mut [u8],
        position: &mut usize,
    ) -> Result<Step, ProtocolError> {
        let rest = chunk.get_mut(*position..).unwrap_or_default();
        let missing = usize::try_from(frame.missing_bytes).unwrap_or(usize::MAX);
        let length = rest.len().min(missing);
        if length == 0 {
            // Nothing of the payload is here yet: a waiting connection gets no buffer.
            self.receiver.frame = Some(frame);
            return Ok(Step::Exhausted);
        }
        let piece = rest.get_mut(..length).unwrap_or_default();
        let range = *position..*position + length;
        *position = range.end;
        let still_open = unmask_piece(frame, piece);
        self.receiver.frame = still_open;
        let still_missing = still_open.map_or(0, |frame| frame.missing_bytes);
        if frame.opcode.is_control() {
            let control = &mut self.receiver.control;
            control.reserve(length.saturating_add(still_missing as usize));
            control.extend_from_slice(piece);
            if still_open.is_some() {
                return Ok(Step::Exhausted);
            }
            let payload = core::mem::take(&mut self.receiver.control);
            let shared = payload.clone();
            return self.control_frame(frame.opcode, &shared, Payload::Owned(payload));
        }
        let last = frame.fin && still_open.is_none();
        Ok(match self.take_piece(piece, range, still_missing, last)? {
            Some(event) => Step::Event(event),
            None if still_open.is_some() => Step::Exhausted,
            None => Step::Continue,
        })
    }

    /// Takes the next bytes of the open message, which lie at `range` of the chunk. `last`: the
    /// message ends with them.
    fn take_piece(
        &mut self,
        piece: &[u8],
        range: Range<usize>,
        still_missing_bytes: u64,
        last: bool,
    ) -> Result<Option<Event>, ProtocolError> {
        let Some(message) = self.receiver.message else {
            return Ok(None);
        };
        #[cfg(feature = "deflate")]
        if message.compressed {
            self.take_compressed(message, piece, last)?;
            return self.report(message, last, None);
        }
        self.check_text(piece)?;
        if message.pieces {
            return self.report(message, last, Some(range));
        }
        let message_bytes_max = self.message_bytes_max();
        self.receiver
            .append(piece, still_missing_bytes, message_bytes_max);
        self.report(message, last, None)
    }

    /// Reports the message if it is complete, or its next piece: `range` of the chunk, else
    /// what was assembled.
    fn report(
        &mut self,
        message: OpenMessage,
        last: bool,
        range: Option<Range<usize>>,
    ) -> Result<Option<Event>, ProtocolError> {
        if !last && !message.pieces {
            return Ok(None);
        }
        let payload = match range {
            Some(range) => Payload::Chunk(range),
            None => Payload::Owned(core::mem::take(&mut self.receiver.assembly)),
        };
        if last {
            let text_end = self.receiver.utf8.finish();
            text_end.map_err(|_| ProtocolError::InvalidUtf8)?;
            self.receiver.message = None;
        } else if let Some(message) = &mut self.receiver.message {
            message.reported_bytes += payload.len() as u64;
        }
        let kind = message.kind;
        if message.pieces {
            let silent = payload.is_empty() && !last;
            return Ok((!silent).then_some(Event::Piece {
                kind,
                payload,
                last,
            }));
        }
        Ok(Some(Event::Message { kind, payload }))
    }

    /// Inflates the next bytes of a compressed message, or keeps them while they are few.
    #[cfg(feature = "deflate")]
    fn take_compressed(
        &mut self,
        message: OpenMessage,
        piece: &[u8],
        last: bool,
    ) -> Result<(), ProtocolError> {
        let Some(session) = self.config.deflate else {
            return Err(ProtocolError::ReservedBits);
        };
        if last && message.announced_bytes == 0 {
            // Nothing at all is not what RFC 7692 §7.2.3.6 writes for an empty message, but
            // there is no doubt what it means.
            return Ok(());
        }
        let bytes_max = self.config.limits.message_bytes_max;
        let bytes_max = bytes_max.saturating_sub(message.reported_bytes);
        let receiver = &mut self.receiver;
        let staged_bytes = receiver.staged.len() + piece.len();
        let few = staged_bytes <= crate::limits::COMPRESSED_STAGE_BYTES_MAX;
        if few && !last && !self.codec.has_inflater() {
            receiver.staged.extend_from_slice(piece);
            return Ok(());
        }
        let staged = core::mem::take(&mut receiver.staged);
        let start = receiver.assembly.len();
        let target = &mut receiver.assembly;
        let inflater = self.codec.inflater(&session);
        let inflation = inflater
            .push(&staged, target, bytes_max)
            .and_then(|()| inflater.push(piece, target, bytes_max))
            .and_then(|()| match last {
                true => inflater.end_message(target, bytes_max),
                false => Ok(()),
            });
        if last {
            self.codec.end_inflating(&session, self.role.peer());
        }
        // What came before the end or the error is text already: judged first, so that the
        // verdict does not depend on the cuts.
        let inflated = self.receiver.assembly.get(start..).unwrap_or_default();
        if message.kind == MessageKind::Text && self.receiver.utf8.push(inflated).is_err() {
            return Err(ProtocolError::InvalidUtf8);
        }
        inflation
    }

    /// Checks a piece of text; other messages pass.
    fn check_text(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        let message = self.receiver.message.as_ref();
        if message.is_some_and(|message| message.kind == MessageKind::Text) {
            let pushed = self.receiver.utf8.push(piece);
            pushed.map_err(|_| ProtocolError::InvalidUtf8)?;
        }
        Ok(())
    }

    fn control_frame(
        &mut self,
        opcode: OpCode,
        body: &[u8],
        payload: Payload,
    ) -> Result<Step, ProtocolError> {
        Ok(Step::Event(match opcode {
            OpCode::Ping => {
                self.answer_ping(body)?;
                Event::Ping(payload)
            }
            OpCode::Close => {
                let frame = parse_close(body)?;
                self.receive_close(frame)
            }
            _ => Event::Pong(payload),
        }))
    }
}

impl Receiver {
    /// Appends to the message. The buffer doubles with what has arrived; a small frame gets
    /// all its room at once.
    fn append(&mut self, piece: &[u8], still_missing_bytes: u64, message_bytes_max: usize) {
        if self.assembly.capacity() == 0 {
            let expected = (piece.len() as u64).saturating_add(still_missing_bytes);
            let first = expected.min(ASSEMBLY_BYTES_MIN as u64) as usize;
            self.assembly.reserve(first.max(piece.len()));
        }
        grow::reserve(&mut self.assembly, piece.len(), message_bytes_max);
        self.assembly.extend_from_slice(piece);
    }
}

/// Unmasks the next bytes of a frame; returns what is left of it.
fn unmask_piece(mut frame: OpenFrame, piece: &mut [u8]) -> Option<OpenFrame> {
    if let Some(key) = frame.masking_key {
        mask::apply(piece, key);
        frame.masking_key = Some(mask::rotate(key, piece.len()));
    }
    frame.missing_bytes -= piece.len() as u64;
    (frame.missing_bytes > 0).then_some(frame)
}

/// The body of a Close frame (RFC 6455 §5.5.1).
fn parse_close(body: &[u8]) -> Result<Option<CloseFrame>, ProtocolError> {
    if body.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = body.split_first_chunk::<2>() else {
        return Err(ProtocolError::ClosePayloadTooShort);
    };
    let code = CloseCode::from_u16(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(ProtocolError::InvalidCloseCode);
    }
    let reason = core::str::from_utf8(reason).map_err(|_| ProtocolError::InvalidCloseReason)?;
    Ok(Some(CloseFrame {
        code,
        reason: reason.into(),
    }))
}
