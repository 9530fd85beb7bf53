use alloc::string::String;

/// The reason number of a Close frame (RFC 6455 §7.4 and the IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint goes away (shutdown, page left, idle too long).
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the endpoint does not take this kind of data.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the Close frame had no code. Never on the wire.
    pub const NO_STATUS: Self = Self(1005);
    /// 1006: the byte stream ended without a Close frame. Never on the wire.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: the payload does not fit its type (text that is not UTF-8).
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a policy of this endpoint was violated.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: the frame or message is larger than this endpoint takes.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client expected an extension that the server did not negotiate.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met a condition that it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid response.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Takes any number, also one that may not be sent.
    #[must_use]
    pub const fn from_u16(code: u16) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// Whether a Close frame may carry this number (RFC 6455 §7.4.1, §7.4.2).
    ///
    /// 1000–1003 and 1007–1014 are assigned, 3000–3999 registered, 4000–4999 private. 1004,
    /// 1005, 1006 and 1015 are reserved and never on the wire; everything else is undefined.
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl core::fmt::Debug for CloseCode {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "CloseCode({})", self.0)
    }
}

impl core::fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// What a Close frame says: code and reason (RFC 6455 §5.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why the connection closes.
    pub code: CloseCode,
    /// Text for people, at most 123 bytes; often empty.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §7.4, written as a list of numbers instead of ranges.
    #[test]
    fn sendable_codes_are_those_of_the_registry() {
        let assigned = [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
        ];
        let all = (0..=u16::MAX).step_by(if cfg!(miri) { 17 } else { 1 });
        for number in all {
            let expected = assigned.contains(&number) || (3000..5000).contains(&number);
            assert_eq!(
                CloseCode::from_u16(number).is_sendable(),
                expected,
                "{number}"
            );
        }
    }
}
