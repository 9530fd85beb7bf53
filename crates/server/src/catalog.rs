//! The control plane: which streams, topics, partitions, consumer groups and users exist, and
//! what each request may change about them.
//!
//! Pure: no sockets, no files, no clock, no randomness; time, ids and hashes are arguments.
//! Shard 0 owns it: [`Catalog::decide`] turns a request into a [`Change`] or a status, the change
//! is journalled, [`Catalog::apply`] makes it true and says what follows ([`Effects`]), the new
//! snapshot goes to every shard, and only then the request is answered.
//! [`Catalog::to_changes`] is what the journal is compacted to.
//!
//! Who is a member of a consumer group is volatile and the business of [`GroupCoordinator`],
//! which is shared with the other shards in the same way.
//!
//! Start reading at [`Change`], then `decide`, then `apply`.

mod access;
mod apply;
mod change;
mod coordinator;
mod decide;
mod key;
pub mod limits;
mod model;
mod options;
mod permissions;
mod snapshot;
mod stats;
#[cfg(test)]
mod tests;

pub use access::{Access, allow};
pub use apply::{ApplyError, Effects};
pub use change::Change;
pub use coordinator::{Assignment, ClientGroups, GroupCoordinator, Membership, PollVerdict};
pub use decide::{Decider, NewUser, UserUpdate, check_password, check_username};
pub use key::{GroupKey, PartitionKey};
pub use limits::CatalogLimits;
pub use model::{Catalog, ConsumerGroup, ROOT_USER_ID, Stream, Token, Topic, User, UserStatus};
pub use options::{
    Compression, Durability, RequestedTopicOptions, Setting, SyncPolicy, TopicDefaults,
    TopicOptions, UNLIMITED,
};
pub use permissions::{GlobalPermissions, Permissions, StreamPermissions, TopicPermissions};
pub use wire::iggy::identifier::Identifier;

pub use stats::{Counters, PartitionStats, StatsSource};
