use crate::CloseCode;

/// What the peer did wrong, or why this endpoint gave the connection up.
///
/// Each one fails the connection (RFC 6455 §7.1.7): a Close frame with the code of
/// `CloseCode::from(error)` is queued, and nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtocolError {
    /// RSV1, RSV2 or RSV3 is set and no negotiated extension gives it a meaning (RFC 6455 §5.2).
    ReservedBits,
    /// The opcode is one of 3–7 or 11–15 (RFC 6455 §5.2).
    ReservedOpCode,
    /// A client sent a frame without a masking key (RFC 6455 §5.1).
    UnmaskedFrame,
    /// A server sent a frame with a masking key (RFC 6455 §5.1).
    MaskedFrame,
    /// A length was not written in its shortest form (RFC 6455 §5.2).
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set (RFC 6455 §5.2).
    LengthTopBit,
    /// A control frame has no FIN (RFC 6455 §5.5).
    ControlFragmented,
    /// A control frame announces more than 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A continuation frame came while no message was open (RFC 6455 §5.4).
    UnexpectedContinuation,
    /// A new message began before the open one ended (RFC 6455 §5.4).
    ExpectedContinuation,
    /// Text is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A Close frame has a body of one byte (RFC 6455 §5.5.1).
    ClosePayloadTooShort,
    /// A Close frame carries a code that may not be sent (RFC 6455 §7.4).
    InvalidCloseCode,
    /// The reason of a Close frame is not UTF-8 (RFC 6455 §5.5.1).
    InvalidCloseReason,
    /// A frame announces more than `Limits::frame_bytes_max` (RFC 6455 §10.4).
    FrameTooBig,
    /// A message is larger than `Limits::message_bytes_max` (RFC 6455 §10.4).
    MessageTooBig,
    /// A message has more frames than `Limits::fragments_max`, empty ones counted.
    TooManyFragments,
    /// More pings than `Limits::pongs_pending_max` wait for an answer that the peer does not read.
    TooManyPings,
    /// A compressed message is not a deflate stream, or was cut short (RFC 7692 §7.2.2).
    InvalidDeflate,
    /// The byte stream ended before the closing handshake did (RFC 6455 §7.1.5).
    UnexpectedEnd,
    /// The peer was silent for `Limits::idle_timeout_ms`.
    IdleTimeout,
    /// The peer did not finish the closing handshake in `Limits::close_timeout_ms`.
    CloseTimeout,
}

impl From<ProtocolError> for CloseCode {
    fn from(error: ProtocolError) -> Self {
        use ProtocolError as E;
        match error {
            E::ReservedBits
            | E::ReservedOpCode
            | E::UnmaskedFrame
            | E::MaskedFrame
            | E::LengthNotMinimal
            | E::LengthTopBit
            | E::ControlFragmented
            | E::ControlTooLong
            | E::UnexpectedContinuation
            | E::ExpectedContinuation
            | E::ClosePayloadTooShort
            | E::InvalidCloseCode => Self::PROTOCOL_ERROR,
            E::InvalidUtf8 | E::InvalidCloseReason | E::InvalidDeflate => Self::INVALID_PAYLOAD,
            E::FrameTooBig | E::MessageTooBig => Self::MESSAGE_TOO_BIG,
            E::TooManyFragments | E::TooManyPings => Self::POLICY_VIOLATION,
            E::IdleTimeout => Self::GOING_AWAY,
            E::UnexpectedEnd | E::CloseTimeout => Self::ABNORMAL,
        }
    }
}

impl ProtocolError {
    /// One sentence for a log or an error message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReservedBits => "a reserved bit is set without a negotiated extension",
            Self::ReservedOpCode => "the opcode is reserved",
            Self::UnmaskedFrame => "a client frame is not masked",
            Self::MaskedFrame => "a server frame is masked",
            Self::LengthNotMinimal => "a payload length is not in its shortest form",
            Self::LengthTopBit => "the top bit of a 64-bit payload length is set",
            Self::ControlFragmented => "a control frame is fragmented",
            Self::ControlTooLong => "a control frame is longer than 125 bytes",
            Self::UnexpectedContinuation => "a continuation frame continues no message",
            Self::ExpectedContinuation => "a message began inside another message",
            Self::InvalidUtf8 => "text is not valid UTF-8",
            Self::ClosePayloadTooShort => "a close frame has a body of one byte",
            Self::InvalidCloseCode => "a close frame carries an invalid code",
            Self::InvalidCloseReason => "the reason of a close frame is not valid UTF-8",
            Self::FrameTooBig => "a frame is larger than the limit",
            Self::MessageTooBig => "a message is larger than the limit",
            Self::TooManyFragments => "a message has more fragments than the limit",
            Self::TooManyPings => "more pings are unanswered than the limit",
            Self::InvalidDeflate => "a compressed message does not inflate",
            Self::UnexpectedEnd => "the peer disconnected without a closing handshake",
            Self::IdleTimeout => "the peer was silent for too long",
            Self::CloseTimeout => "the peer did not finish the closing handshake in time",
        }
    }
}

impl core::fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl core::error::Error for ProtocolError {}
