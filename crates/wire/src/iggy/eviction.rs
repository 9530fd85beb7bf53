//! The frame with which a server ends a session: 256 bytes, no body.
//!
//! ```text
//! @48 size u32 = 256 · @60 command u8 = 13 · @128 client u128
//! @144 newest, @148 oldest accepted protocol version u32 (reason 14 only) · @255 reason u8
//! ```

use super::frame::{COMMAND_AT, COMMAND_EVICTION, HEADER_BYTES, SIZE_AT, put};
use super::{PROTOCOL_VERSION, PROTOCOL_VERSION_MIN};
use crate::{Status, read};

const CLIENT_AT: usize = 128;
const VERSION_AT: usize = 144;
const VERSION_MIN_AT: usize = 148;
const REASON_AT: usize = 255;

/// Why a session ends. Published clients turn each into an error of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum EvictionReason {
    /// The session is not known (any more). Clients log in again.
    NoSession = 1,
    /// Unknown user name or wrong password.
    InvalidCredentials = 9,
    /// Unknown or expired token.
    InvalidToken = 10,
    /// The user may not log in.
    UserInactive = 11,
    /// The session is out of order. Clients log in again.
    SessionError = 12,
    /// The client missed its heartbeats.
    StaleClient = 13,
    /// The client's protocol version is outside the window that the frame carries.
    IncompatibleProtocol = 14,
    /// A login body that is none.
    MalformedLogin = 15,
}

impl EvictionReason {
    /// The status that says the same to a client whose session goes on, and in logs.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::InvalidCredentials => Status::INVALID_CREDENTIALS,
            Self::InvalidToken => Status::INVALID_PERSONAL_ACCESS_TOKEN,
            Self::UserInactive => Status::USER_INACTIVE,
            Self::NoSession | Self::SessionError => Status::UNAUTHENTICATED,
            Self::StaleClient => Status::STALE_CLIENT,
            Self::IncompatibleProtocol => Status::INCOMPATIBLE_PROTOCOL_VERSION,
            Self::MalformedLogin => Status::INVALID_FORMAT,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::NoSession,
            9 => Self::InvalidCredentials,
            10 => Self::InvalidToken,
            11 => Self::UserInactive,
            12 => Self::SessionError,
            13 => Self::StaleClient,
            14 => Self::IncompatibleProtocol,
            15 => Self::MalformedLogin,
            _ => return None,
        })
    }
}

/// An eviction as a client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// The client that is meant.
    pub client: u128,
    /// Why; `None` for a reason that this crate does not know.
    pub reason: Option<EvictionReason>,
    /// Newest and oldest protocol version that the server accepts, for
    /// [`EvictionReason::IncompatibleProtocol`]; zero otherwise.
    pub versions: (u32, u32),
}

/// The frame that ends the session of `client`, which should not be 0.
///
/// With [`EvictionReason::IncompatibleProtocol`] it carries the window of accepted versions.
#[must_use]
pub fn encode(client: u128, reason: EvictionReason) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    put(&mut bytes, SIZE_AT, (HEADER_BYTES as u32).to_le_bytes());
    put(&mut bytes, COMMAND_AT, [COMMAND_EVICTION]);
    put(&mut bytes, CLIENT_AT, client.to_le_bytes());
    if reason == EvictionReason::IncompatibleProtocol {
        put(&mut bytes, VERSION_AT, PROTOCOL_VERSION.to_le_bytes());
        put(
            &mut bytes,
            VERSION_MIN_AT,
            PROTOCOL_VERSION_MIN.to_le_bytes(),
        );
    }
    put(&mut bytes, REASON_AT, [reason as u8]);
    bytes
}

/// Reads an eviction, `None` when the header is of another kind.
#[must_use]
pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Eviction> {
    if read::u8(bytes, COMMAND_AT)? != COMMAND_EVICTION {
        return None;
    }
    Some(Eviction {
        client: read::u128(bytes, CLIENT_AT)?,
        reason: EvictionReason::from_byte(read::u8(bytes, REASON_AT)?),
        versions: (
            read::u32(bytes, VERSION_AT)?,
            read::u32(bytes, VERSION_MIN_AT)?,
        ),
    })
}
