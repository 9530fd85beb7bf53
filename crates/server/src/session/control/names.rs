//! Identifiers and names of the published types.

use wire::iggy::published::{WireIdentifier, WireName};

use crate::catalog::Identifier;

/// What the request means by this identifier.
pub(super) fn identifier(identifier: &WireIdentifier) -> Identifier<'_> {
    Identifier::from(identifier)
}

/// A name of the catalog for a reply.
pub(super) fn wire_name(name: &str) -> WireName {
    WireName::new(name).expect("names in the catalog have 1 to 255 bytes")
}
