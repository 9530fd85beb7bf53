//! Identifiers and names of the published types.

use wire::iggy::published::{WireIdentifier, WireName};

use crate::catalog::Identifier;

/// What the request means by this identifier.
pub(crate) fn identifier(identifier: &WireIdentifier) -> Identifier<'_> {
    match identifier {
        WireIdentifier::Numeric(id) => Identifier::Id(*id),
        WireIdentifier::String(name) => Identifier::Name(name.as_str()),
    }
}

/// A name of the catalog for a reply.
pub(super) fn wire_name(name: &str) -> WireName {
    WireName::new(name).expect("names in the catalog have 1 to 255 bytes")
}
