//! The 256-byte header of requests and replies, and where a frame ends in a byte stream.
//!
//! ```text
//! both                                   request                 reply
//! @0   checksum, checksum_body, cluster  @128 client     u128    @128 request_checksum u128
//! @48  size           u32  header+body   @144 request_checksum   @144 context          u128
//! @52  view, release  u32                @160 timestamp  u64     @160 client           u128
//! @60  command        u8                 @168 request    u64     @176 op, commit       u64
//! @61  replica        u8                 @176 operation  u8      @192 timestamp        u64
//! @62  reserved                          @184 session    u64     @200 request          u64
//!                                        @192 user       u32     @208 operation        u8
//!                                        @196 code       u32     @216 status           u32
//! ```

use crate::{Status, limits, read};
use core::fmt;
use twox_hash::XxHash3_64;

/// Bytes of every header.
pub const HEADER_BYTES: usize = 256;
/// Position of the frame size, header and body together, in every header.
pub const SIZE_AT: usize = 48;
/// Position of the kind of frame in every header.
pub const COMMAND_AT: usize = 60;

const CLIENT_AT: usize = 128;
const REQUEST_CHECKSUM_AT: usize = 144;
const REQUEST_AT: usize = 168;
const OPERATION_AT: usize = 176;
const SESSION_AT: usize = 184;
const CODE_AT: usize = 196;

const REPLY_REQUEST_CHECKSUM_AT: usize = 128;
const REPLY_CLIENT_AT: usize = 160;
const REPLY_OP_AT: usize = 176;
const REPLY_COMMIT_AT: usize = 184;
const REPLY_REQUEST_AT: usize = 200;
const REPLY_OPERATION_AT: usize = 208;
const REPLY_STATUS_AT: usize = 216;

/// Kind of frame: a client's request.
pub const COMMAND_REQUEST: u8 = 5;
/// Kind of frame: the answer to a request.
pub const COMMAND_REPLY: u8 = 8;
/// Kind of frame: the server ends the session.
pub const COMMAND_EVICTION: u8 = 13;

/// The size that the frame at the start of `bytes` announces, header and body; not checked.
///
/// `None` while the size has not arrived. For clients, which know that the server speaks the
/// protocol; a server starts with [`FrameStart::detect`].
#[must_use]
pub fn announced_bytes(bytes: &[u8]) -> Option<usize> {
    read::u32(bytes, SIZE_AT).map(|size| size as usize)
}

/// What the first bytes of a connection, or of a message, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameStart {
    /// At least `needed_bytes` in all are required to tell.
    Incomplete {
        /// Bytes from the start of the frame.
        needed_bytes: usize,
    },
    /// A frame of this protocol, of `frame_bytes` in all (header and body).
    Frame {
        /// Between 256 and the limit that was given.
        frame_bytes: usize,
    },
    /// A frame of a client of version 0.10 or older: answer [`LEGACY_REFUSAL`] and close.
    Legacy,
    /// Neither: close. The position in the stream is lost.
    Invalid(FrameError),
}

/// The answer that a client of version 0.10 or older understands: status 7 (invalid version),
/// length 0. Send it, then close.
pub const LEGACY_REFUSAL: [u8; 8] = [7, 0, 0, 0, 0, 0, 0, 0];

/// Longest first frame that is taken for one of an old client. Their first frame is a login or a
/// ping, far below this; the bytes of other protocols ("GET ", a TLS record) read as more.
const LEGACY_FIRST_FRAME_BYTES_MAX: u32 = 64 * 1024;

impl FrameStart {
    /// Looks at the first bytes of a frame. Four bytes are enough to refuse an old client.
    ///
    /// `frame_bytes_max` is the most that this connection may send in one frame now: the server
    /// allows less before login ([`limits::LOGIN_FRAME_BYTES_MAX`]) than after it
    /// ([`limits::FRAME_BYTES_MAX`]).
    #[must_use]
    pub fn detect(bytes: &[u8], frame_bytes_max: usize) -> Self {
        // A frame starts with its checksum, 16 bytes that clients leave zero; an old client's
        // frame starts with its length, which is at least 4.
        let checksum = bytes.get(..16).unwrap_or(bytes);
        if checksum.iter().any(|byte| *byte != 0) {
            return match read::u32(bytes, 0) {
                None => Self::Incomplete { needed_bytes: 4 },
                Some(length) if (4..=LEGACY_FIRST_FRAME_BYTES_MAX).contains(&length) => {
                    Self::Legacy
                }
                Some(_) => Self::Invalid(FrameError::Checksum),
            };
        }
        let Some(frame_bytes) = announced_bytes(bytes) else {
            return Self::Incomplete {
                needed_bytes: HEADER_BYTES,
            };
        };
        if frame_bytes < HEADER_BYTES {
            return Self::Invalid(FrameError::TooSmall);
        }
        if frame_bytes > frame_bytes_max {
            return Self::Invalid(FrameError::TooBig);
        }
        Self::Frame { frame_bytes }
    }
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The size is less than the header's own 256 bytes, or than the bytes that are there.
    TooSmall,
    /// The size is beyond what the connection may send.
    TooBig,
    /// The checksum field is not zero; what follows is probably no frame of this protocol.
    Checksum,
    /// Not a request (or, for a client, not a reply).
    Command,
    /// The client id is zero.
    Client,
    /// The operation is 0.
    Operation,
    /// A login with a session or a request id.
    Register,
    /// A change without a session: the client has not logged in.
    Session,
    /// A change without a request id.
    Request,
    /// The request checksum does not match the body.
    RequestChecksum,
}

impl FrameError {
    /// Whether the position in the byte stream is lost, so that only closing is left. Otherwise
    /// the frame can be answered with [`Self::status`] and the connection goes on.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::TooSmall | Self::TooBig | Self::Checksum | Self::Command
        )
    }

    /// The status to answer with.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::TooSmall | Self::TooBig => Status::INVALID_SIZE_BYTES,
            Self::Checksum | Self::RequestChecksum => Status::INVALID_FORMAT,
            Self::Command | Self::Operation | Self::Register | Self::Request => {
                Status::INVALID_COMMAND
            }
            Self::Client => Status::INVALID_CLIENT_ID,
            Self::Session => Status::UNAUTHENTICATED,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooSmall => "the frame size is smaller than its header or its bytes",
            Self::TooBig => "the frame is larger than this connection may send",
            Self::Checksum => "the frame does not start with 16 zero bytes",
            Self::Command => "the frame is of another kind than expected",
            Self::Client => "the client id is zero",
            Self::Operation => "the operation is zero",
            Self::Register => "a login carries a session or a request id",
            Self::Session => "the request needs a session and carries none",
            Self::Request => "the request carries no request id",
            Self::RequestChecksum => "the request checksum does not match the body",
        })
    }
}

impl core::error::Error for FrameError {}

/// The header of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Bytes of the frame, header and body.
    pub frame_bytes: u32,
    /// The id that the client gave itself.
    pub client: u128,
    /// XxHash3-64 of the body, or 0 for none. Repeated in the reply.
    pub request_checksum: u128,
    /// Number of the request within its session. Repeated in the reply.
    pub request: u64,
    /// What is asked, see [`super::operation`]. Repeated in the reply.
    pub operation: u8,
    /// The session that login gave, 0 before it.
    pub session: u64,
    /// The command code, for operation 2 only; 0 otherwise.
    pub code: u32,
}

impl RequestHeader {
    /// Reads a header whose size [`FrameStart::detect`] accepted, and checks its fields.
    ///
    /// # Errors
    /// The header as far as it was understood, so that the error can be answered, and what is
    /// wrong with it. [`FrameError::is_fatal`] says when not to answer.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, (Self, FrameError)> {
        let header = Self::read(bytes);
        if bytes.get(COMMAND_AT) != Some(&COMMAND_REQUEST) {
            return Err((header, FrameError::Command));
        }
        header.check().map_err(|error| (header, error))?;
        Ok(header)
    }

    fn read(bytes: &[u8; HEADER_BYTES]) -> Self {
        let operation = read::u8(bytes, OPERATION_AT).unwrap_or_default();
        let code = if operation == super::operation::NON_REPLICATED {
            read::u32(bytes, CODE_AT).unwrap_or_default()
        } else {
            0
        };
        Self {
            frame_bytes: read::u32(bytes, SIZE_AT).unwrap_or_default(),
            client: read::u128(bytes, CLIENT_AT).unwrap_or_default(),
            request_checksum: read::u128(bytes, REQUEST_CHECKSUM_AT).unwrap_or_default(),
            request: read::u64(bytes, REQUEST_AT).unwrap_or_default(),
            operation,
            session: read::u64(bytes, SESSION_AT).unwrap_or_default(),
            code,
        }
    }

    fn check(&self) -> Result<(), FrameError> {
        if (self.frame_bytes as usize) < HEADER_BYTES {
            return Err(FrameError::TooSmall);
        }
        if self.client == 0 {
            return Err(FrameError::Client);
        }
        match self.operation {
            0 => Err(FrameError::Operation),
            super::operation::REGISTER if self.session != 0 || self.request != 0 => {
                Err(FrameError::Register)
            }
            // Reads work before login where the server lets them: ping does.
            super::operation::REGISTER | super::operation::NON_REPLICATED => Ok(()),
            _ if self.session == 0 => Err(FrameError::Session),
            _ if self.request == 0 => Err(FrameError::Request),
            _ => Ok(()),
        }
    }

    /// Bytes of the body that follows the header.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        (self.frame_bytes as usize).saturating_sub(HEADER_BYTES)
    }

    /// Compares the request checksum, where there is one, with the body.
    ///
    /// Clients stamp what changes the catalog; batches carry their own checksums and are not
    /// stamped.
    ///
    /// # Errors
    /// [`FrameError::RequestChecksum`].
    pub fn verify_body(&self, body: &[u8]) -> Result<(), FrameError> {
        if self.request_checksum == 0
            || self.request_checksum == u128::from(XxHash3_64::oneshot(body))
        {
            Ok(())
        } else {
            Err(FrameError::RequestChecksum)
        }
    }

    /// The header as a client sends it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, SIZE_AT, self.frame_bytes.to_le_bytes());
        put(&mut bytes, COMMAND_AT, [COMMAND_REQUEST]);
        put(&mut bytes, CLIENT_AT, self.client.to_le_bytes());
        put(
            &mut bytes,
            REQUEST_CHECKSUM_AT,
            self.request_checksum.to_le_bytes(),
        );
        put(&mut bytes, REQUEST_AT, self.request.to_le_bytes());
        put(&mut bytes, OPERATION_AT, [self.operation]);
        put(&mut bytes, SESSION_AT, self.session.to_le_bytes());
        if self.operation == super::operation::NON_REPLICATED {
            put(&mut bytes, CODE_AT, self.code.to_le_bytes());
        }
        bytes
    }
}

/// The header of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Bytes of the frame, header and body.
    pub frame_bytes: u32,
    /// As in the request.
    pub request_checksum: u128,
    /// As in the request.
    pub client: u128,
    /// Number of the change in the server's order of changes; 0 for none.
    pub commit: u64,
    /// As in the request.
    pub request: u64,
    /// As in the request: the client reads the body by it.
    pub operation: u8,
    /// 0, or the error; the body is empty then.
    pub status: Status,
}

impl ReplyHeader {
    /// The header of a successful reply to `request` with a body of `body_bytes`.
    ///
    /// `body_bytes` beyond u32 is a fault of the caller, which bounds its replies
    /// ([`limits::FRAME_BYTES_MAX`]); it saturates.
    #[must_use]
    pub fn success(request: &RequestHeader, body_bytes: usize) -> Self {
        debug_assert!(
            body_bytes <= limits::FRAME_BYTES_MAX,
            "reply body of {body_bytes} bytes"
        );
        let frame_bytes = HEADER_BYTES.saturating_add(body_bytes);
        Self {
            frame_bytes: u32::try_from(frame_bytes).unwrap_or(u32::MAX),
            request_checksum: request.request_checksum,
            client: request.client,
            commit: 0,
            request: request.request,
            operation: request.operation,
            status: Status::OK,
        }
    }

    /// The header of a failed reply to `request`; it is the whole reply.
    #[must_use]
    pub fn failure(request: &RequestHeader, status: Status) -> Self {
        Self {
            status,
            ..Self::success(request, 0)
        }
    }

    /// Reads a header as a client receives it.
    ///
    /// # Errors
    /// [`FrameError::Command`] for another kind of frame (look for an eviction first, see
    /// [`super::eviction`]), [`FrameError::TooSmall`] for a size below 256.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameError> {
        if bytes.get(COMMAND_AT) != Some(&COMMAND_REPLY) {
            return Err(FrameError::Command);
        }
        let header = Self {
            frame_bytes: read::u32(bytes, SIZE_AT).unwrap_or_default(),
            request_checksum: read::u128(bytes, REPLY_REQUEST_CHECKSUM_AT).unwrap_or_default(),
            client: read::u128(bytes, REPLY_CLIENT_AT).unwrap_or_default(),
            commit: read::u64(bytes, REPLY_COMMIT_AT).unwrap_or_default(),
            request: read::u64(bytes, REPLY_REQUEST_AT).unwrap_or_default(),
            operation: read::u8(bytes, REPLY_OPERATION_AT).unwrap_or_default(),
            status: Status(read::u32(bytes, REPLY_STATUS_AT).unwrap_or_default()),
        };
        if (header.frame_bytes as usize) < HEADER_BYTES {
            return Err(FrameError::TooSmall);
        }
        Ok(header)
    }

    /// Bytes of the body that follows the header.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        (self.frame_bytes as usize).saturating_sub(HEADER_BYTES)
    }

    /// The header as the server sends it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, SIZE_AT, self.frame_bytes.to_le_bytes());
        put(&mut bytes, COMMAND_AT, [COMMAND_REPLY]);
        put(
            &mut bytes,
            REPLY_REQUEST_CHECKSUM_AT,
            self.request_checksum.to_le_bytes(),
        );
        put(&mut bytes, REPLY_CLIENT_AT, self.client.to_le_bytes());
        put(&mut bytes, REPLY_OP_AT, self.commit.to_le_bytes());
        put(&mut bytes, REPLY_COMMIT_AT, self.commit.to_le_bytes());
        put(&mut bytes, REPLY_REQUEST_AT, self.request.to_le_bytes());
        put(&mut bytes, REPLY_OPERATION_AT, [self.operation]);
        put(&mut bytes, REPLY_STATUS_AT, self.status.0.to_le_bytes());
        bytes
    }
}

/// Writes a field at a constant position of a header.
pub(super) fn put<const N: usize>(header: &mut [u8; HEADER_BYTES], at: usize, field: [u8; N]) {
    if let Some(place) = header.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}
