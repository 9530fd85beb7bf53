//! Frame headers (RFC 6455 §5.2): bytes to type and back.

use crate::limits::CONTROL_BYTES_MAX;
use crate::{OpCode, ProtocolError, Role};

/// Longest header: two bytes, a 64-bit length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// Everything of a frame except its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The frame is the last of its message.
    pub fin: bool,
    /// The first reserved bit: the message is compressed (RFC 7692 §6).
    pub rsv1: bool,
    /// What the payload is.
    pub opcode: OpCode,
    /// Length of the payload in bytes, at most 2^63 - 1.
    pub payload_bytes: u64,
    /// Present in frames from a client, absent in frames from a server.
    pub masking_key: Option<[u8; 4]>,
}

/// What a frame may be at this point of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// The role of the endpoint that receives the frame.
    pub receiver: Role,
    /// An extension that uses RSV1 was negotiated.
    pub rsv1_negotiated: bool,
    /// A fragmented message is open.
    pub message_open: bool,
    /// Largest payload that is accepted.
    pub frame_bytes_max: u64,
}

/// Reads a header from the start of `bytes`.
///
/// Returns the header and its length in bytes, or `None` while it is incomplete. Each byte is
/// judged as soon as it is there, in the order of the wire, so that the verdict does not depend
/// on how the bytes were cut.
///
/// # Errors
/// The first violation of RFC 6455 §5.1–5.5, or `FrameTooBig`.
#[inline]
pub fn parse(bytes: &[u8], expect: &Expectation) -> Result<Option<(Header, usize)>, ProtocolError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let (fin, rsv1, opcode) = parse_first(first, expect)?;
    let Some((&second, rest)) = rest.split_first() else {
        return Ok(None);
    };
    let masked = parse_mask_bit(second, expect.receiver)?;
    let length_code = second & 0x7F;
    if opcode.is_control() && usize::from(length_code) > CONTROL_BYTES_MAX {
        return Err(ProtocolError::ControlTooLong);
    }
    let Some((payload_bytes, rest)) = parse_length(length_code, rest)? else {
        return Ok(None);
    };
    if !opcode.is_control() && payload_bytes > expect.frame_bytes_max {
        return Err(ProtocolError::FrameTooBig);
    }
    let (masking_key, rest) = if masked {
        match rest.split_first_chunk::<4>() {
            None => return Ok(None),
            Some((key, rest)) => (Some(*key), rest),
        }
    } else {
        (None, rest)
    };
    let header = Header {
        fin,
        rsv1,
        opcode,
        payload_bytes,
        masking_key,
    };
    Ok(Some((header, bytes.len() - rest.len())))
}

/// FIN, RSV1–3 and opcode (RFC 6455 §5.2), and whether fragmentation allows them (§5.4, §5.5).
#[inline]
fn parse_first(byte: u8, expect: &Expectation) -> Result<(bool, bool, OpCode), ProtocolError> {
    let fin = byte & 0x80 != 0;
    let rsv1 = byte & 0x40 != 0;
    if byte & 0x30 != 0 || (rsv1 && !expect.rsv1_negotiated) {
        return Err(ProtocolError::ReservedBits);
    }
    let opcode = OpCode::from_u8(byte & 0x0F).ok_or(ProtocolError::ReservedOpCode)?;
    match opcode {
        OpCode::Close | OpCode::Ping | OpCode::Pong => {
            // RFC 7692 §6.1: control frames are never compressed.
            if rsv1 {
                return Err(ProtocolError::ReservedBits);
            }
            if !fin {
                return Err(ProtocolError::ControlFragmented);
            }
        }
        OpCode::Continuation => {
            // RFC 7692 §6.1: only the first frame of a message carries RSV1.
            if rsv1 {
                return Err(ProtocolError::ReservedBits);
            }
            if !expect.message_open {
                return Err(ProtocolError::UnexpectedContinuation);
            }
        }
        OpCode::Text | OpCode::Binary => {
            if expect.message_open {
                return Err(ProtocolError::ExpectedContinuation);
            }
        }
    }
    Ok((fin, rsv1, opcode))
}

#[inline]
fn parse_mask_bit(byte: u8, receiver: Role) -> Result<bool, ProtocolError> {
    let masked = byte & 0x80 != 0;
    match (receiver, masked) {
        (Role::Server, false) => Err(ProtocolError::UnmaskedFrame),
        (Role::Client, true) => Err(ProtocolError::MaskedFrame),
        _ => Ok(masked),
    }
}

#[inline]
fn parse_length(code: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    match code {
        126 => {
            let Some((bytes, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            let length = u16::from_be_bytes(*bytes);
            if length < 126 {
                return Err(ProtocolError::LengthNotMinimal);
            }
            Ok(Some((u64::from(length), rest)))
        }
        127 => {
            // The top bit is in the first byte: no need to wait for the other seven.
            if rest.first().is_some_and(|byte| byte & 0x80 != 0) {
                return Err(ProtocolError::LengthTopBit);
            }
            let Some((bytes, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            let length = u64::from_be_bytes(*bytes);
            if length <= u64::from(u16::MAX) {
                return Err(ProtocolError::LengthNotMinimal);
            }
            Ok(Some((length, rest)))
        }
        short => Ok(Some((u64::from(short), rest))),
    }
}

/// A header as bytes.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; HEADER_BYTES_MAX],
    length: u8,
}

impl EncodedHeader {
    /// The bytes as they go on the wire.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    #[inline]
    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.length);
        if let Some(target) = self.bytes.get_mut(start..start + part.len()) {
            target.copy_from_slice(part);
            self.length += part.len() as u8;
        }
    }
}

impl Header {
    /// FIN, RSV1 and opcode (RFC 6455 §5.2).
    #[inline]
    pub(crate) const fn first_byte(&self) -> u8 {
        (self.fin as u8) << 7 | (self.rsv1 as u8) << 6 | self.opcode as u8
    }

    /// The header as bytes, the length in its shortest form (RFC 6455 §5.2).
    #[must_use]
    #[inline]
    pub fn encode(&self) -> EncodedHeader {
        let mut encoded = EncodedHeader {
            bytes: [0; HEADER_BYTES_MAX],
            length: 0,
        };
        let first = self.first_byte();
        let mask_bit = u8::from(self.masking_key.is_some()) << 7;
        match self.payload_bytes {
            short @ 0..=125 => encoded.push(&[first, mask_bit | short as u8]),
            medium @ 126..=0xFFFF => {
                encoded.push(&[first, mask_bit | 126]);
                encoded.push(&(medium as u16).to_be_bytes());
            }
            long => {
                encoded.push(&[first, mask_bit | 127]);
                encoded.push(&long.to_be_bytes());
            }
        }
        if let Some(key) = self.masking_key {
            encoded.push(&key);
        }
        encoded
    }
}
