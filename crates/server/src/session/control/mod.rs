//! The pure parts of the control-plane handlers: between the protocol's types and the catalog.
//!
//! [`plan`] turns a request that changes something into a decision for shard 0;
//! [`changed`] makes the reply's body once it is done; [`read`] answers what only reads.
//! Knows nothing of sockets, shards or files; the published request and response types end here.

mod names;
pub(crate) mod options;
mod permissions;
mod plan;
mod read;
mod reply;
mod system;
#[cfg(test)]
mod tests;

pub(crate) use plan::{Decide, Plan, plan};
pub(crate) use read::{View, needs_stats, read};
pub(crate) use reply::{changed, token_created};
pub(crate) use system::{ProcessStats, client, clients, cluster_metadata, me, stats};
