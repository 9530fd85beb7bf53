//! Closing handshake, failing, timers (RFC 6455 §5.5.1, §7).

use super::*;
use crate::limits::CLOSE_REASON_BYTES_MAX;
use crate::{CloseCode, CloseFrame};

/// How far the closing handshake is.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Our Close frame is queued or written.
    pub(super) sent: bool,
    /// The peer's Close frame arrived.
    pub(super) received: bool,
    /// Why the connection failed.
    pub(super) failure: Option<ProtocolError>,
    /// The byte stream has ended in the receive direction.
    pub(super) end_of_stream: bool,
}

impl Closing {
    /// Whether received bytes are discarded (RFC 6455 §1.4, §7.1.7).
    pub(super) const fn receive_is_over(&self) -> bool {
        self.received || self.failure.is_some() || self.end_of_stream
    }
}

/// Deadlines, in the driver's milliseconds.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// Something was received since the clock was last seen.
    pub(super) received: bool,
    /// When something was last received; `None` until the clock is first seen.
    received_ms: Option<u64>,
    /// A keep-alive ping was sent since then.
    pinged: bool,
    /// When the closing handshake must be done.
    close_ms: Option<u64>,
}

impl Connection {
    /// Starts the closing handshake (RFC 6455 §7.1.2): queues a Close frame behind everything
    /// that is queued. Messages are still received until the peer's Close frame arrives.
    ///
    /// `None` sends a frame without a body.
    ///
    /// # Errors
    /// [`SendError::Closed`] if a Close frame was sent or the connection failed before,
    /// [`SendError::InvalidClose`] if the code may not be sent or the reason is longer than
    /// 123 bytes.
    pub fn close(&mut self, frame: Option<&CloseFrame>) -> Result<(), SendError> {
        if self.closing.sent || self.closing.failure.is_some() || self.closing.end_of_stream {
            return Err(SendError::Closed);
        }
        if let Some(frame) = frame
            && (!frame.code.is_sendable() || frame.reason.len() > CLOSE_REASON_BYTES_MAX)
        {
            return Err(SendError::InvalidClose);
        }
        self.queue_close(frame.map(|frame| (frame.code, frame.reason.as_str())));
        Ok(())
    }

    /// The byte stream ended (or broke) in the receive direction.
    ///
    /// Returns [`ProtocolError::UnexpectedEnd`] unless the peer's Close frame came before.
    pub fn handle_eof(&mut self) -> Option<Event> {
        let over = self.closing.receive_is_over();
        self.closing.end_of_stream = true;
        self.release_receiver();
        if over {
            return None;
        }
        self.closing.failure = Some(ProtocolError::UnexpectedEnd);
        Some(Event::Failed(ProtocolError::UnexpectedEnd))
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called, in the same milliseconds
    /// as `now_ms` (any fixed origin). Call it after each round of receiving and sending: what
    /// was received since the last call counts as received now.
    pub fn poll_timeout(&mut self, now_ms: u64) -> Option<u64> {
        self.see_clock(now_ms);
        if self.closing.sent || self.closing.receive_is_over() {
            return self.timers.close_ms;
        }
        let received_ms = self.timers.received_ms.unwrap_or(now_ms);
        let limits = &self.config.limits;
        let keep_alive = limits.keep_alive_ms.filter(|_| !self.timers.pinged);
        [keep_alive, limits.idle_timeout_ms]
            .into_iter()
            .flatten()
            .map(|wait_ms| received_ms.saturating_add(wait_ms))
            .min()
    }

    /// Does what is due at `now_ms`: a keep-alive ping, failing an idle connection with 1001,
    /// giving up a closing handshake. Then [`poll_transmit`](Self::poll_transmit).
    pub fn handle_timeout(&mut self, now_ms: u64) -> Option<Event> {
        self.see_clock(now_ms);
        if let Some(close_ms) = self.timers.close_ms {
            return (now_ms >= close_ms)
                .then(|| self.give_up_closing())
                .flatten();
        }
        let silence_ms = now_ms.saturating_sub(self.timers.received_ms.unwrap_or(now_ms));
        let limits = &self.config.limits;
        if limits
            .idle_timeout_ms
            .is_some_and(|limit| silence_ms >= limit)
        {
            return Some(self.fail(ProtocolError::IdleTimeout));
        }
        if limits
            .keep_alive_ms
            .is_some_and(|limit| silence_ms >= limit)
            && !self.timers.pinged
        {
            self.timers.pinged = true;
            self.queue_control(crate::OpCode::Ping, b"");
        }
        None
    }

    /// Whether the byte stream should be closed once everything is transmitted: the closing
    /// handshake is done or the connection failed.
    ///
    /// A client leaves the first TCP close to the server (RFC 6455 §7.1.1): there it is true
    /// only after the end of the stream, a failure or the close timeout.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let handshake_done = self.closing.sent && self.closing.received;
        self.closing.end_of_stream
            || self.closing.failure.is_some()
            || (handshake_done && self.role == Role::Server)
    }

    /// Whether messages can still be sent: no Close frame was sent and nothing failed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.closing.sent && !self.closing.receive_is_over()
    }

    /// Whether the receive direction is over: the driver may stop reading, except to notice
    /// the end of the stream.
    #[must_use]
    pub fn is_receive_over(&self) -> bool {
        self.closing.receive_is_over()
    }

    /// Why the connection failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<ProtocolError> {
        self.closing.failure
    }

    /// Fails the connection (RFC 6455 §7.1.7): queues a Close frame with the code of `error`
    /// and stops reading. Also for a driver that gives up for its own reasons.
    pub fn fail(&mut self, error: ProtocolError) -> Event {
        if !self.closing.sent {
            let code = CloseCode::from(error);
            self.queue_close(code.is_sendable().then_some((code, "")));
        }
        self.release_receiver();
        self.closing.failure = Some(error);
        Event::Failed(error)
    }

    /// The peer's Close frame arrived: reply unless ours went first (RFC 6455 §5.5.1).
    pub(super) fn receive_close(&mut self, frame: Option<CloseFrame>) -> Event {
        self.closing.received = true;
        self.release_receiver();
        if !self.closing.sent && self.config.automatic_close {
            // The reply echoes the code; the reason is not repeated.
            self.queue_close(frame.as_ref().map(|frame| (frame.code, "")));
        }
        Event::Close(frame)
    }

    fn see_clock(&mut self, now_ms: u64) {
        if self.timers.received || self.timers.received_ms.is_none() {
            self.timers.received = false;
            self.timers.pinged = false;
            self.timers.received_ms = Some(now_ms);
        }
        let closes = self.closing.sent || self.closing.receive_is_over();
        if closes && self.timers.close_ms.is_none() {
            let wait_ms = self.config.limits.close_timeout_ms;
            self.timers.close_ms = Some(now_ms.saturating_add(wait_ms));
        }
    }

    fn give_up_closing(&mut self) -> Option<Event> {
        if self.closing.end_of_stream {
            return None;
        }
        self.closing.end_of_stream = true;
        if self.closing.received || self.closing.failure.is_some() {
            return None;
        }
        self.release_receiver();
        self.closing.failure = Some(ProtocolError::CloseTimeout);
        Some(Event::Failed(ProtocolError::CloseTimeout))
    }
}
