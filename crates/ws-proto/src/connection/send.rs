//! The way out: messages become parts of the next write.

use alloc::vec::Vec;

use bytes::{BufMut, Bytes};

use super::*;
use crate::frame::{self, HEADER_BYTES_MAX};
use crate::limits::{COALESCE_CAPACITY_MIN, CONTROL_BYTES_MAX};
use crate::{CloseCode, MessageKind, OpCode, mask};

/// Why something was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendError {
    /// A Close frame was sent or received, or the connection failed.
    Closed,
    /// The queue has no room for it (`Limits::send_queue_bytes_max`).
    QueueFull,
    /// A control frame carries at most 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// The close code may not be sent, or the reason is longer than 123 bytes.
    InvalidClose,
    /// A message is being sent piece by piece; no other may come between (RFC 6455 §5.4).
    MessageOpen,
}

impl core::fmt::Display for SendError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(match self {
            Self::Closed => "the connection is closed for sending",
            Self::QueueFull => "the send queue is full",
            Self::ControlTooLong => "a control frame carries at most 125 bytes",
            Self::MessageOpen => "a message is being sent piece by piece",
            Self::InvalidClose => "the close code or reason may not be sent",
        })
    }
}

impl core::error::Error for SendError {}

/// Bytes to write now, in order, before the next [`Connection::poll_transmit`].
#[derive(Debug)]
pub enum Transmit {
    /// One buffer. Give it back by [`Connection::recycle`] or drop it.
    Contiguous(BytesMut),
    /// Parts of one vectored write, none of them empty. More than 1,024 need several writes.
    Vectored(Vec<Bytes>),
}

impl Transmit {
    /// Bytes over all parts.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Contiguous(bytes) => bytes.len(),
            Self::Vectored(parts) => parts.iter().map(Bytes::len).sum(),
        }
    }

    /// Never true for what `poll_transmit` gives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Sealed parts, in order.
    parts: Vec<Bytes>,
    /// Frames and headers behind the sealed parts, put together in one buffer.
    open: BytesMut,
    /// Bytes in `parts`.
    sealed_bytes: usize,
    /// Bytes of the last transmit, which the driver is writing.
    in_flight_bytes: usize,
    /// Automatic pongs queued since the last transmit.
    pongs: u32,
    /// Payload of the newest ping beyond the limit; its pong leaves with the next transmit.
    latest_ping: Option<Bytes>,
    /// The message that is being sent piece by piece.
    pub(super) message: Option<MessageKind>,
}

impl Connection {
    /// Queues a message. A payload larger than `Limits::coalesce_bytes_max` is not copied by a
    /// server; a client masks it in place when `payload` is the only owner and copies and masks
    /// it in one pass otherwise. Text must be valid UTF-8: it is not checked again.
    ///
    /// # Errors
    /// [`SendError::Closed`], or [`SendError::QueueFull`] when
    /// [`has_room_for`](Self::has_room_for) is false. Nothing is queued then.
    pub fn send(&mut self, kind: MessageKind, payload: Bytes) -> Result<(), SendError> {
        self.admit_message(payload.len())?;
        #[cfg(feature = "deflate")]
        if let Some(compressed) = self.compress(core::slice::from_ref(&payload)) {
            self.queue_message(kind, true, compressed);
            return Ok(());
        }
        self.queue_message(kind, false, payload);
        Ok(())
    }

    /// Queues a message that is not compressed even if that was negotiated: for payloads that
    /// do not shrink, and for secrets that stand beside text of a stranger's choice.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_uncompressed(
        &mut self,
        kind: MessageKind,
        payload: Bytes,
    ) -> Result<(), SendError> {
        self.admit_message(payload.len())?;
        self.queue_message(kind, false, payload);
        Ok(())
    }

    /// Queues a message that is copied at once, for small payloads that lie in a chunk.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    #[inline]
    pub fn send_copied(&mut self, kind: MessageKind, payload: &[u8]) -> Result<(), SendError> {
        let several_frames = payload.len() > self.config.limits.send_frame_bytes_max.max(1);
        if several_frames || self.is_worth_compressing(payload.len()) {
            return self.send(kind, Bytes::copy_from_slice(payload));
        }
        self.admit_message(payload.len())?;
        self.queue_copied(Start::whole(kind.into()), payload);
        Ok(())
    }

    /// The common case by the shortest way: queues a copy of a message with the shortest header
    /// behind others, where nothing has to be masked, compressed, waited for or allocated.
    /// False, and nothing changed: anything else, which is for
    /// [`send_copied`](Self::send_copied) and its relatives.
    #[inline]
    #[must_use]
    pub fn try_send_short(&mut self, kind: MessageKind, payload: &[u8]) -> bool {
        let limits = &self.config.limits;
        let queued_bytes = self.queued_bytes();
        let wire_bytes = 2 + payload.len();
        let open = &mut self.sender.open;
        let fits = wire_bytes <= open.capacity() - open.len()
            && queued_bytes < limits.send_high_water_bytes
            && queued_bytes + payload.len() <= limits.send_queue_bytes_max;
        let plain = payload.len() <= CONTROL_BYTES_MAX.min(limits.send_frame_bytes_max)
            && self.masking_key.is_none()
            && self.sender.message.is_none()
            && !self.is_worth_compressing(payload.len());
        if !fits || !plain || !self.is_open() {
            return false;
        }
        let open = &mut self.sender.open;
        let first_byte = Start::whole(kind.into()).first_byte();
        open.extend_from_slice(&[first_byte, payload.len() as u8]);
        open.extend_from_slice(payload);
        true
    }

    /// Queues one message whose payload is `parts` in order.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_parts(&mut self, kind: MessageKind, parts: Vec<Bytes>) -> Result<(), SendError> {
        let payload_bytes = parts.iter().map(Bytes::len).sum();
        self.admit_message(payload_bytes)?;
        #[cfg(feature = "deflate")]
        if let Some(compressed) = self.compress(&parts) {
            self.queue_message(kind, true, compressed);
            return Ok(());
        }
        self.queue_frames(Start::whole(kind.into()), true, parts);
        Ok(())
    }

    /// Queues a ping (RFC 6455 §5.5.2).
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`] beyond 125 bytes, else as [`send`](Self::send).
    pub fn send_ping(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_control(OpCode::Ping, payload)
    }

    /// Queues a pong, asked for or not (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// As [`send_ping`](Self::send_ping).
    pub fn send_pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_control(OpCode::Pong, payload)
    }

    /// Everything queued, for one write. The transmit before it counts as written.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.flush_latest_ping();
        let sender = &mut self.sender;
        sender.in_flight_bytes = sender.sealed_bytes + sender.open.len();
        if sender.in_flight_bytes == 0 {
            // A lent buffer that was not needed is not kept: an idle connection owns nothing.
            sender.open = BytesMut::new();
            return None;
        }
        sender.pongs = 0;
        sender.sealed_bytes = 0;
        let open = core::mem::take(&mut sender.open);
        if sender.parts.is_empty() {
            return Some(Transmit::Contiguous(open));
        }
        let mut parts = core::mem::take(&mut sender.parts);
        if !open.is_empty() {
            parts.push(open.freeze());
        }
        Some(Transmit::Vectored(parts))
    }

    /// Lends a buffer for small outgoing frames, such as the one of a finished
    /// [`Transmit::Contiguous`]; its content is discarded. Kept only until the next
    /// [`poll_transmit`](Self::poll_transmit). A driver that never calls it costs one allocation
    /// per write.
    pub fn recycle(&mut self, mut buffer: BytesMut) {
        if self.sender.open.capacity() == 0 {
            buffer.clear();
            self.sender.open = buffer;
        }
    }

    /// Whether `poll_transmit` would return something.
    #[must_use]
    pub fn has_transmit(&self) -> bool {
        let sender = &self.sender;
        !sender.open.is_empty() || !sender.parts.is_empty() || sender.latest_ping.is_some()
    }

    /// Bytes queued and not known to be written: those of the last transmit count until
    /// `poll_transmit` is called again.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let sender = &self.sender;
        sender.sealed_bytes + sender.open.len() + sender.in_flight_bytes
    }

    /// Whether a message of this many bytes fits into the queue. An empty queue takes any.
    #[must_use]
    pub fn has_room_for(&self, payload_bytes: usize) -> bool {
        let queued = self.queued_bytes();
        queued == 0
            || queued.saturating_add(payload_bytes) <= self.config.limits.send_queue_bytes_max
    }

    /// Whether the driver should stop reading and senders should wait until less is queued.
    #[must_use]
    pub fn is_above_high_water(&self) -> bool {
        self.queued_bytes() >= self.config.limits.send_high_water_bytes
    }
}

impl Connection {
    /// The message compressed, unless it goes out as it is.
    #[cfg(feature = "deflate")]
    fn compress(&mut self, parts: &[Bytes]) -> Option<Bytes> {
        let session = self.config.deflate?;
        let compressed = self.codec.compress(&session, self.role, parts)?;
        Some(compressed.freeze())
    }

    const fn is_worth_compressing(&self, payload_bytes: usize) -> bool {
        #[cfg(feature = "deflate")]
        if let Some(session) = &self.config.deflate {
            return session.is_worth(payload_bytes);
        }
        let _ = payload_bytes;
        false
    }

    #[inline]
    pub(super) fn admit_message(&self, payload_bytes: usize) -> Result<(), SendError> {
        self.admit(payload_bytes)?;
        match self.sender.message {
            Some(_) => Err(SendError::MessageOpen),
            None => Ok(()),
        }
    }

    #[inline]
    pub(super) fn admit(&self, payload_bytes: usize) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        if !self.has_room_for(payload_bytes) {
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    fn send_control(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > CONTROL_BYTES_MAX {
            return Err(SendError::ControlTooLong);
        }
        self.admit(payload.len())?;
        self.queue_control(opcode, payload);
        Ok(())
    }

    /// Queues the pong of a ping that just arrived.
    ///
    /// # Errors
    /// [`ProtocolError::TooManyPings`] beyond the limit, if that is the policy.
    pub(super) fn answer_ping(&mut self, payload: &[u8]) -> Result<(), ProtocolError> {
        if !self.config.automatic_pong || self.closing.sent {
            return Ok(());
        }
        if self.sender.pongs < self.config.limits.pongs_pending_max {
            self.sender.pongs += 1;
            self.queue_control(OpCode::Pong, payload);
            return Ok(());
        }
        match self.config.pong_overflow {
            PongOverflow::Fail => Err(ProtocolError::TooManyPings),
            PongOverflow::Coalesce => {
                self.sender.latest_ping = Some(Bytes::copy_from_slice(payload));
                Ok(())
            }
        }
    }

    fn flush_latest_ping(&mut self) {
        if let Some(payload) = self.sender.latest_ping.take() {
            self.queue_control(OpCode::Pong, &payload);
        }
    }

    /// Queues a Close frame; nothing is queued after it (RFC 6455 §5.5.1).
    pub(super) fn queue_close(&mut self, frame: Option<(CloseCode, &str)>) {
        self.flush_latest_ping();
        let mut body = [0; CONTROL_BYTES_MAX];
        let mut body_bytes = 0;
        if let Some((code, reason)) = frame {
            let (code_part, reason_part) = body.split_at_mut(2);
            code_part.copy_from_slice(&code.to_u16().to_be_bytes());
            for (target, source) in reason_part.iter_mut().zip(reason.bytes()) {
                *target = source;
            }
            body_bytes = 2 + reason.len().min(reason_part.len());
        }
        self.queue_control(OpCode::Close, body.get(..body_bytes).unwrap_or_default());
        self.closing.sent = true;
    }

    pub(super) fn queue_control(&mut self, opcode: OpCode, payload: &[u8]) {
        self.queue_copied(Start::whole(opcode), payload);
    }

    /// Queues a message in as many frames as it needs.
    fn queue_message(&mut self, kind: MessageKind, rsv1: bool, payload: Bytes) {
        let start = Start {
            rsv1,
            ..Start::whole(kind.into())
        };
        if payload.len() <= self.config.limits.send_frame_bytes_max.max(1) {
            self.queue_payload(start, payload);
        } else {
            self.queue_frames(start, true, alloc::vec![payload]);
        }
    }

    /// Writes header and masked payload behind each other into the open buffer.
    #[inline]
    fn queue_copied(&mut self, start: Start, payload: &[u8]) {
        if self.masking_key.is_none() && payload.len() <= CONTROL_BYTES_MAX {
            // The shortest header, and the most frequent one.
            let open = self.sender.open_with_room(2 + payload.len());
            open.extend_from_slice(&[start.first_byte(), payload.len() as u8]);
            open.extend_from_slice(payload);
            return;
        }
        self.queue_copied_or_masked(start, payload);
    }

    fn queue_copied_or_masked(&mut self, start: Start, payload: &[u8]) {
        let key = self.masking_key.map(|source| source());
        let open = self.sender.open_with_room(HEADER_BYTES_MAX + payload.len());
        put_header(open, start, payload.len(), key);
        match key {
            None => open.put_slice(payload),
            Some(key) => mask::copy_masked(payload, open, key),
        }
    }

    /// Queues one frame, without copying a large payload where the role allows it.
    fn queue_payload(&mut self, start: Start, payload: Bytes) {
        if payload.len() <= self.config.limits.coalesce_bytes_max {
            return self.queue_copied(start, &payload);
        }
        let Some(source) = self.masking_key else {
            let open = self.sender.open_with_room(HEADER_BYTES_MAX);
            put_header(open, start, payload.len(), None);
            return self.sender.seal(payload);
        };
        match payload.try_into_mut() {
            Ok(mut owned) => {
                let key = source();
                mask::apply(&mut owned, key);
                let open = self.sender.open_with_room(HEADER_BYTES_MAX);
                put_header(open, start, owned.len(), Some(key));
                self.sender.seal(owned.freeze());
            }
            Err(shared) => self.queue_copied(start, &shared),
        }
    }

    /// Queues a payload of several parts as frames of at most `send_frame_bytes_max`, the first
    /// of which begins like `start`. `last`: the message ends with them.
    pub(super) fn queue_frames(&mut self, mut start: Start, last: bool, parts: Vec<Bytes>) {
        let frame_max = self.config.limits.send_frame_bytes_max.max(1);
        let mut left: usize = parts.iter().map(Bytes::len).sum();
        let mut parts = parts.into_iter().filter(|part| !part.is_empty());
        let mut part = Bytes::new();
        loop {
            let frame_bytes = left.min(frame_max);
            left -= frame_bytes;
            let key = self.masking_key.map(|source| source());
            let open = self.sender.open_with_room(HEADER_BYTES_MAX);
            start.fin = last && left == 0;
            put_header(open, start, frame_bytes, key);
            let mut sent = 0;
            while sent < frame_bytes {
                if part.is_empty() {
                    let Some(next) = parts.next() else { break };
                    part = next;
                }
                let piece = part.split_to(part.len().min(frame_bytes - sent));
                let piece_bytes = piece.len();
                self.queue_piece(piece, key.map(|key| mask::rotate(key, sent)));
                sent += piece_bytes;
            }
            if left == 0 {
                return;
            }
            // RFC 7692 §6.1: only the first frame of a message carries RSV1.
            start = Start::whole(OpCode::Continuation);
        }
    }

    /// Queues part of a frame's payload; `key` is turned to the part's place in the frame.
    fn queue_piece(&mut self, piece: Bytes, key: Option<[u8; 4]>) {
        let copied = piece.len() <= self.config.limits.coalesce_bytes_max;
        match (key, copied) {
            (None, true) => self.sender.open_with_room(piece.len()).put_slice(&piece),
            (None, false) => self.sender.seal(piece),
            (Some(key), true) => {
                mask::copy_masked(&piece, self.sender.open_with_room(piece.len()), key);
            }
            (Some(key), false) => match piece.try_into_mut() {
                Ok(mut owned) => {
                    mask::apply(&mut owned, key);
                    self.sender.seal(owned.freeze());
                }
                Err(shared) => {
                    mask::copy_masked(&shared, self.sender.open_with_room(shared.len()), key);
                }
            },
        }
    }
}

impl Sender {
    #[inline]
    pub(super) fn open_with_room(&mut self, bytes: usize) -> &mut BytesMut {
        if self.open.capacity() == 0 {
            self.open.reserve(bytes.max(COALESCE_CAPACITY_MIN));
        } else {
            self.open.reserve(bytes);
        }
        &mut self.open
    }

    /// Appends a part of its own behind everything in the open buffer.
    pub(super) fn seal(&mut self, part: Bytes) {
        if !self.open.is_empty() {
            let sealed = self.open.split().freeze();
            self.sealed_bytes += sealed.len();
            self.parts.push(sealed);
        }
        self.sealed_bytes += part.len();
        self.parts.push(part);
    }
}

/// The first byte of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) opcode: OpCode,
    pub(super) fin: bool,
    pub(super) rsv1: bool,
}

impl Start {
    /// Of a frame that is a whole message.
    pub(super) const fn whole(opcode: OpCode) -> Self {
        Self {
            opcode,
            fin: true,
            rsv1: false,
        }
    }

    #[inline]
    const fn first_byte(self) -> u8 {
        (self.fin as u8) << 7 | (self.rsv1 as u8) << 6 | self.opcode as u8
    }
}

/// Writes a header; the short forms, which small messages have, without a detour.
#[inline]
pub(super) fn put_header(
    target: &mut BytesMut,
    start: Start,
    payload_bytes: usize,
    masking_key: Option<[u8; 4]>,
) {
    let header = frame::Header {
        fin: start.fin,
        rsv1: start.rsv1,
        opcode: start.opcode,
        payload_bytes: payload_bytes as u64,
        masking_key,
    };
    let mask_bit = u8::from(masking_key.is_some()) << 7;
    match payload_bytes {
        0..=125 => target.put_slice(&[header.first_byte(), mask_bit | payload_bytes as u8]),
        126..=0xFFFF => {
            let [high, low] = (payload_bytes as u16).to_be_bytes();
            target.put_slice(&[header.first_byte(), mask_bit | 126, high, low]);
        }
        _ => return target.put_slice(header.encode().as_slice()),
    }
    if let Some(key) = masking_key {
        target.put_slice(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It queues what `send_copied` queues, or nothing.
    #[test]
    fn the_short_way_ends_where_something_else_is_to_be_done() {
        let limits = Limits {
            send_high_water_bytes: 300,
            send_queue_bytes_max: 200,
            ..Limits::DEFAULT
        };
        let server = |change: fn(&mut Config)| {
            let mut config = Config::new(limits);
            change(&mut config);
            let mut server = Connection::server(config);
            server.recycle(BytesMut::with_capacity(1024));
            server
        };
        let mut short = server(|_| ());
        let mut long = server(|_| ());
        assert!(short.try_send_short(MessageKind::Text, &[b'a'; CONTROL_BYTES_MAX]));
        assert!(short.try_send_short(MessageKind::Binary, &[]));
        assert!(!short.try_send_short(MessageKind::Binary, &[0; CONTROL_BYTES_MAX + 1]));
        long.send_copied(MessageKind::Text, &[b'a'; CONTROL_BYTES_MAX])
            .unwrap();
        long.send_copied(MessageKind::Binary, &[]).unwrap();
        let written = |connection: &mut Connection| match connection.poll_transmit() {
            Some(Transmit::Contiguous(bytes)) => bytes,
            other => panic!("one buffer, not {other:?}"),
        };
        assert_eq!(written(&mut short), written(&mut long));

        // 129 bytes are in flight; 71 more are allowed.
        short.recycle(BytesMut::with_capacity(1024));
        assert!(!short.try_send_short(MessageKind::Binary, &[0; 72]));
        assert!(short.try_send_short(MessageKind::Binary, &[0; 71]));
        assert!(!short.try_send_short(MessageKind::Binary, &[]), "full");

        let mut refusing = [
            Connection::client(Config::new(limits), || [1, 2, 3, 4]),
            // No buffer, one that is too small, frames that are too small, above high water.
            Connection::server(Config::new(limits)),
            server(|config| config.limits.send_frame_bytes_max = 2),
            server(|config| config.limits.send_high_water_bytes = 0),
            server(|_| ()),
        ];
        refusing[0].recycle(BytesMut::with_capacity(1024));
        refusing[4].close(None).unwrap();
        for connection in &mut refusing {
            assert!(!connection.try_send_short(MessageKind::Binary, b"abc"));
        }
        let mut narrow = Connection::server(Config::new(limits));
        narrow.recycle(BytesMut::with_capacity(4));
        assert!(!narrow.try_send_short(MessageKind::Binary, b"abc"));
        assert!(narrow.try_send_short(MessageKind::Binary, b"ab"));
    }

    #[test]
    fn a_lent_buffer_is_not_kept() {
        let mut connection = Connection::server(Config::default());
        connection.recycle(BytesMut::with_capacity(4_096));
        assert_eq!(connection.sender.open.capacity(), 4_096);
        assert!(connection.poll_transmit().is_none());
        assert_eq!(connection.sender.open.capacity(), 0);
        connection.recycle(BytesMut::with_capacity(4_096));
        connection.send_ping(b"").unwrap();
        assert!(connection.poll_transmit().is_some());
        assert_eq!(connection.sender.open.capacity(), 0);
        assert_eq!(connection.sender.parts.capacity(), 0);
    }
}
