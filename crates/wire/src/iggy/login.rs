//! The body of a login, read where it lies.
//!
//! ```text
//! version u32 · sdk name u8+N · sdk version u8+N · credentials · context u32+N
//! credentials = user name u8+N · password u8+N      or      token u8+N
//! ```
//!
//! Which credentials follow is not on the wire: the shape that uses up the body decides.

use super::eviction::EvictionReason;
use super::identifier::{take, take_text, take_u32};
use super::{PROTOCOL_VERSION, published};
use crate::limits;
use bytes::BufMut;
use core::fmt;

/// A login whose version is accepted. Nothing is known yet of its credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// Protocol version of the client, packed.
    pub version: u32,
    /// What the client library calls itself, 1 to 255 bytes.
    pub sdk_name: &'a str,
    /// The client library's own version, 1 to 255 bytes.
    pub sdk_version: &'a str,
    /// Who logs in.
    pub credentials: Credentials<'a>,
    /// Free text of the client, mostly empty.
    pub context: &'a str,
}

/// Who logs in. Never shown in debug output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// By name and password.
    Password {
        /// 1 to 255 bytes.
        username: &'a str,
        /// 0 to 255 bytes.
        password: &'a str,
    },
    /// By personal access token.
    Token(&'a str),
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => formatter
                .debug_struct("Password")
                .field("username", username)
                .finish_non_exhaustive(),
            Self::Token(_) => formatter.debug_tuple("Token").finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Login")
            .field("version", &self.version)
            .field("sdk_name", &self.sdk_name)
            .field("sdk_version", &self.sdk_version)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

impl<'a> Login<'a> {
    /// Parses the body of a login.
    ///
    /// # Errors
    /// The reason with which the session ends before it began: the version is looked at first, so
    /// that a client of another version learns the window whatever else it sends.
    pub fn parse(body: &'a [u8]) -> Result<Self, EvictionReason> {
        let malformed = EvictionReason::MalformedLogin;
        let mut rest = body;
        let version = take_u32(&mut rest).map_err(|_| malformed)?;
        let sdk_name = take_name(&mut rest).ok_or(malformed)?;
        let sdk_version = take_name(&mut rest).ok_or(malformed)?;
        if !published::is_protocol_compatible(version) {
            return Err(EvictionReason::IncompatibleProtocol);
        }
        let (credentials, context) = password_form(rest)
            .or_else(|| token_form(rest))
            .ok_or(malformed)?;
        Ok(Self {
            version,
            sdk_name,
            sdk_version,
            credentials,
            context,
        })
    }

    /// Writes the body. Texts longer than their length field can say are cut; a client checks its
    /// credentials before.
    pub fn put(&self, buffer: &mut impl BufMut) {
        buffer.put_u32_le(self.version);
        put_text(buffer, self.sdk_name);
        put_text(buffer, self.sdk_version);
        match self.credentials {
            Credentials::Password { username, password } => {
                put_text(buffer, username);
                put_text(buffer, password);
            }
            Credentials::Token(token) => put_text(buffer, token),
        }
        let context = self.context.as_bytes();
        let context = context
            .get(..limits::LOGIN_CONTEXT_BYTES_MAX)
            .unwrap_or(context);
        buffer.put_u32_le(u32::try_from(context.len()).unwrap_or(0));
        buffer.put_slice(context);
    }

    /// A login of this crate's protocol version.
    #[must_use]
    pub const fn new(
        sdk_name: &'a str,
        sdk_version: &'a str,
        credentials: Credentials<'a>,
    ) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            sdk_name,
            sdk_version,
            credentials,
            context: "",
        }
    }
}

fn put_text(buffer: &mut impl BufMut, text: &str) {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..limits::NAME_BYTES_MAX).unwrap_or(bytes);
    buffer.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    buffer.put_slice(bytes);
}

fn take_name<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    take_text(rest).ok().filter(|name| !name.is_empty())
}

fn password_form(mut rest: &[u8]) -> Option<(Credentials<'_>, &str)> {
    let username = take_name(&mut rest)?;
    let password = take_text(&mut rest).ok()?;
    Some((Credentials::Password { username, password }, context(rest)?))
}

fn token_form(mut rest: &[u8]) -> Option<(Credentials<'_>, &str)> {
    let token = take_name(&mut rest)?;
    Some((Credentials::Token(token), context(rest)?))
}

/// The context, when it is all that is left.
fn context(mut rest: &[u8]) -> Option<&str> {
    let length = take_u32(&mut rest).ok()? as usize;
    let text = take(&mut rest, length).ok()?;
    if !rest.is_empty() || length > limits::LOGIN_CONTEXT_BYTES_MAX {
        return None;
    }
    core::str::from_utf8(text).ok()
}
