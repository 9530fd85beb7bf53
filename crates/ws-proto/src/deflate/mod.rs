//! permessage-deflate (RFC 7692): negotiation, inflating within limits, compressing.
//!
//! An idle connection without context takeover owns neither a compressor nor an inflater: both
//! come from a [`Pool`] for the time of one message. With context takeover they stay (about
//! 370 KiB and 47 KiB), which is why it is off by default.

mod compress;
mod inflate;
mod negotiate;

use alloc::boxed::Box;

use crate::Role;

pub use compress::Compressor;
pub use inflate::Inflater;
pub(crate) use negotiate::{check_response, choose, offer};

/// What this endpoint wants and allows. Both ends of a connection have their own.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Options {
    /// Effort of the compressor, 0 (none) to 9. Default 2: on lines of JSON it is a quarter
    /// smaller than level 1, and level 6 takes twice the instructions for another 11 %.
    pub level: u8,
    /// Messages shorter than this are sent as they are. Default 128 bytes: below that the
    /// gain does not pay for the work.
    pub compress_bytes_min: usize,
    /// Largest window of the server's compressor, 8–15 (base-2 logarithm). Default 15.
    pub server_max_window_bits: u8,
    /// Largest window of the client's compressor, 8–15. Default 15.
    pub client_max_window_bits: u8,
    /// The server forgets after each message. Default true: see the module's documentation.
    pub server_no_context_takeover: bool,
    /// The client forgets after each message. Default true, for the same reason.
    pub client_no_context_takeover: bool,
    /// Where compressors and inflaters come from.
    pub pool: Pool,
}

impl Options {
    /// The defaults that the fields document.
    pub const DEFAULT: Self = Self {
        level: 2,
        compress_bytes_min: 128,
        server_max_window_bits: 15,
        client_max_window_bits: 15,
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        pool: Pool::NONE,
    };

    /// The defaults with context takeover in both directions: smaller messages, more memory.
    pub const TAKEOVER: Self = Self {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        ..Self::DEFAULT
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What both ends agreed on (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameters {
    /// The server's compressor forgets after each message (§7.1.1.1).
    pub server_no_context_takeover: bool,
    /// The client's compressor forgets after each message (§7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Window of the server's compressor, 8–15 (§7.1.2.1).
    pub server_max_window_bits: u8,
    /// Window of the client's compressor, 8–15 (§7.1.2.2).
    pub client_max_window_bits: u8,
}

/// The extension as it is in force on one connection. Goes into
/// [`Config::deflate`](crate::Config::deflate).
#[derive(Debug, Clone, Copy)]
pub struct Session {
    parameters: Parameters,
    level: u8,
    compress_bytes_min: usize,
    pool: Pool,
}

impl Session {
    /// The agreed parameters with this endpoint's own choices.
    #[must_use]
    pub const fn new(parameters: Parameters, options: &Options) -> Self {
        Self {
            parameters,
            level: options.level,
            compress_bytes_min: options.compress_bytes_min,
            pool: options.pool,
        }
    }

    /// What both ends agreed on.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether a server may send a message here that was compressed elsewhere with this window.
    pub(crate) const fn takes_foreign(&self, window_bits: u8) -> bool {
        self.parameters.server_no_context_takeover
            && window_bits <= self.parameters.server_max_window_bits
    }

    /// Whether a message of this length is worth compressing.
    pub(crate) const fn is_worth(&self, payload_bytes: usize) -> bool {
        payload_bytes > 0 && payload_bytes >= self.compress_bytes_min
    }

    const fn window_bits_of(&self, sender: Role) -> u8 {
        match sender {
            Role::Client => self.parameters.client_max_window_bits,
            Role::Server => self.parameters.server_max_window_bits,
        }
    }

    const fn forgets(&self, sender: Role) -> bool {
        match sender {
            Role::Client => self.parameters.client_no_context_takeover,
            Role::Server => self.parameters.server_no_context_takeover,
        }
    }
}

/// Functions that lend and take back compressors and inflaters, so that the connections of a
/// thread share a few. What is lent may hold old state: the core resets it.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// Lends a compressor of this level and window.
    pub take_compressor: fn(level: u8, window_bits: u8) -> Box<Compressor>,
    /// Takes it back.
    pub give_compressor: fn(Box<Compressor>),
    /// Lends an inflater.
    pub take_inflater: fn() -> Box<Inflater>,
    /// Takes it back.
    pub give_inflater: fn(Box<Inflater>),
}

impl Pool {
    /// Makes each one anew.
    pub const NONE: Self = Self {
        take_compressor: |level, window_bits| Box::new(Compressor::new(level, window_bits)),
        give_compressor: drop,
        take_inflater: || Box::new(Inflater::new()),
        give_inflater: drop,
    };
}

/// Compresses a message that no connection's context knows. `None`: it did not shrink.
pub(crate) fn compress_once(
    options: &Options,
    window_bits: u8,
    payload: &bytes::Bytes,
) -> Option<bytes::Bytes> {
    if payload.is_empty() || payload.len() < options.compress_bytes_min {
        return None;
    }
    let mut compressor = (options.pool.take_compressor)(options.level, window_bits);
    compressor.reset();
    let compressed = compressor.compress(core::slice::from_ref(payload), payload.len());
    (options.pool.give_compressor)(compressor);
    (compressed.len() < payload.len()).then(|| compressed.freeze())
}

/// What a connection holds of the extension: nothing while it is idle, unless contexts are
/// taken over.
#[derive(Debug, Default)]
pub(crate) struct Codec {
    compressor: Option<Box<Compressor>>,
    inflater: Option<Box<Inflater>>,
}

impl Codec {
    /// Gives all memory back.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }

    /// Whether a message is being inflated, or the context of the last one is kept.
    pub(crate) const fn has_inflater(&self) -> bool {
        self.inflater.is_some()
    }

    /// The inflater for the message that `sender` is sending.
    pub(crate) fn inflater(&mut self, session: &Session) -> &mut Inflater {
        self.inflater.get_or_insert_with(|| {
            let mut inflater = (session.pool.take_inflater)();
            inflater.reset();
            inflater
        })
    }

    /// The message from `sender` is complete.
    pub(crate) fn end_inflating(&mut self, session: &Session, sender: Role) {
        if session.forgets(sender)
            && let Some(inflater) = self.inflater.take()
        {
            (session.pool.give_inflater)(inflater);
        }
    }

    /// Compresses one whole message of `sender`, which is `parts` in order. `None`: send it as
    /// it is.
    pub(crate) fn compress(
        &mut self,
        session: &Session,
        sender: Role,
        parts: &[bytes::Bytes],
    ) -> Option<bytes::BytesMut> {
        let payload_bytes: usize = parts.iter().map(bytes::Bytes::len).sum();
        if !session.is_worth(payload_bytes) {
            return None;
        }
        let mut compressor = self.compressor.take().unwrap_or_else(|| {
            let window_bits = session.window_bits_of(sender);
            let mut compressor = (session.pool.take_compressor)(session.level, window_bits);
            compressor.reset();
            compressor
        });
        let compressed = compressor.compress(parts, payload_bytes);
        if !session.forgets(sender) {
            self.compressor = Some(compressor);
            // The peer must see it even if it did not shrink: it is part of the context.
            return Some(compressed);
        }
        (session.pool.give_compressor)(compressor);
        (compressed.len() < payload_bytes).then_some(compressed)
    }
}
