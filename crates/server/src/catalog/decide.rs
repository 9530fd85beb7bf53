//! Decisions: what a request means for the catalog in its current state.
//!
//! A decision reads and never writes. Its change is journalled, applied and only then
//! acknowledged; nothing else may be decided in between, so decisions live on shard 0.
//! What does not exist is said before what is not allowed, as in the published server.

mod streams;
mod topics;
mod users;

use std::sync::Arc;

use wire::Status;

use super::access::Access;
use super::limits::{CatalogLimits, NAME_BYTES_MAX};
use super::model::Catalog;

pub use users::{NewUser, UserUpdate, check_password, check_username};

/// Who asks, in which state, under which limits, and when.
#[derive(Debug, Clone, Copy)]
pub struct Decider<'a> {
    catalog: &'a Catalog,
    limits: &'a CatalogLimits,
    user_id: u32,
    now_us: u64,
}

impl Catalog {
    /// Decides requests of user `user_id` at `now_us` (microseconds since the Unix epoch).
    #[must_use]
    pub fn decide<'a>(
        &'a self,
        limits: &'a CatalogLimits,
        user_id: u32,
        now_us: u64,
    ) -> Decider<'a> {
        Decider {
            catalog: self,
            limits,
            user_id,
            now_us,
        }
    }
}

impl<'a> Decider<'a> {
    pub(super) fn access(&self) -> Access<'a> {
        self.catalog.access(self.user_id)
    }
}

/// A name of 1 to 255 bytes, or `invalid`.
fn check_name(name: &str, invalid: Status) -> Result<Arc<str>, Status> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(invalid);
    }
    Ok(name.into())
}

/// `Ok` while `count` is below `max`, otherwise `full`.
fn check_room(count: usize, max: usize, full: Status) -> Result<(), Status> {
    if count < max { Ok(()) } else { Err(full) }
}
