/// What a frame carries (RFC 6455 §5.2). Reserved numbers have no value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpCode {
    /// A further fragment of the open message.
    Continuation = 0x0,
    /// UTF-8 text, or its first fragment.
    Text = 0x1,
    /// Arbitrary bytes, or their first fragment.
    Binary = 0x2,
    /// Closing handshake (RFC 6455 §5.5.1).
    Close = 0x8,
    /// Ping (RFC 6455 §5.5.2).
    Ping = 0x9,
    /// Pong (RFC 6455 §5.5.3).
    Pong = 0xA,
}

impl OpCode {
    /// The opcode with this number; `None` for the reserved ones.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// Whether frames of this opcode are control frames (RFC 6455 §5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}
