//! The Iggy binary protocol, version 0.11.0, as a server and a client of it speak it.
//!
//! A frame is a 256-byte header and a body ([`frame`]); a request's body is a [`command`], a
//! reply's body is described in [`reply`]. The control plane uses the published types of
//! `iggy_binary_protocol`; login, send and poll are decoded here, where they lie.
//!
//! Knows nothing of sockets, of users, or of what is stored.

pub mod command;
pub mod eviction;
pub mod frame;
pub mod identifier;
pub mod login;
pub mod messages;
pub mod reply;

/// The published codec, for its request and response types.
pub use iggy_binary_protocol as published;

/// Version of the protocol that is served, packed as `major << 20 | minor << 10 | patch`.
pub const PROTOCOL_VERSION: u32 = published::IGGY_PROTOCOL_VERSION;
/// Oldest client version that is served.
pub const PROTOCOL_VERSION_MIN: u32 = published::IGGY_PROTOCOL_VERSION_MIN;

/// The operation byte of a request, and so of its reply.
///
/// A command of the control plane has an operation of its own where it changes something; what
/// only reads travels as [`operation::NON_REPLICATED`] with its command code beside it.
pub mod operation {
    /// Login by password or token. Session and request id are 0.
    pub const REGISTER: u8 = 1;
    /// Every command without an operation of its own; the command code says which.
    pub const NON_REPLICATED: u8 = 2;
    /// Logout.
    pub const LOGOUT: u8 = 3;
    /// First operation of the control plane.
    pub const CREATE_STREAM: u8 = 128;
    /// Deletes segments: the one operation between 128 and 149 without result section.
    pub const DELETE_SEGMENTS: u8 = 138;
    /// Last operation of the control plane.
    pub const LEAVE_CONSUMER_GROUP: u8 = 149;
    /// Appends a batch.
    pub const SEND_MESSAGES: u8 = 160;
    /// Stores a consumer offset.
    pub const STORE_CONSUMER_OFFSET: u8 = 161;
    /// Deletes a consumer offset.
    pub const DELETE_CONSUMER_OFFSET: u8 = 162;

    /// Whether a successful reply starts with a result section (`count` u32, 0).
    ///
    /// A client strips those bytes by the operation that the reply's header repeats. Without them
    /// it fails with "invalid format"; with them where none belong it misreads the payload.
    #[must_use]
    pub const fn has_result_section(operation: u8) -> bool {
        matches!(
            operation,
            REGISTER | CREATE_STREAM
                ..=LEAVE_CONSUMER_GROUP | STORE_CONSUMER_OFFSET | DELETE_CONSUMER_OFFSET
        ) && operation != DELETE_SEGMENTS
    }
}
