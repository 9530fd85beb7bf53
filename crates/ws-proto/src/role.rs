/// Which side of the connection this endpoint is.
///
/// A client masks every frame that it sends, a server none (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The endpoint that sent the opening request.
    Client,
    /// The endpoint that answered it.
    Server,
}

impl Role {
    /// The role of the peer.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// Whether frames sent by this role carry a masking key (RFC 6455 §5.1).
    #[must_use]
    pub const fn masks(self) -> bool {
        matches!(self, Self::Client)
    }
}
