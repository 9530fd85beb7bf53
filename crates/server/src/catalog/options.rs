//! Options of a topic: values, defaults, provenance and bounds.
//!
//! Knows nothing of their encoding on the wire; `session::control::options` parses and encodes.

use serde::{Deserialize, Serialize};
use wire::Status;

use super::limits::{
    PREALLOCATED_TOPIC_BYTES_MAX, SAVE_BYTES_MAX, SAVE_MESSAGES_MAX, SEGMENT_BYTES_MAX,
    SEGMENT_BYTES_MIN,
};

/// The value that means "messages never expire" and "no limit on the topic's size".
pub const UNLIMITED: u64 = u64::MAX;

/// A value together with who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Whether the client asked for it; otherwise it is the default at the topic's creation,
    /// kept so that a later server with other defaults does not change an old topic.
    pub explicit: bool,
}

impl<T> Setting<T> {
    /// A value the client asked for.
    pub const fn explicit(value: T) -> Self {
        Self {
            value,
            explicit: true,
        }
    }

    /// A value the server filled in.
    pub const fn derived(value: T) -> Self {
        Self {
            value,
            explicit: false,
        }
    }
}

/// How clients compress payloads. The server stores the choice and never looks at payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
}

/// What must have happened before a write is acknowledged, in the protocol's words.
///
/// A single server has nobody to replicate to, so the storage treats both alike: acknowledged
/// means synced, unless the topic has another [`SyncPolicy`]. The choice is kept and reported as
/// the client made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// A quorum has it.
    Replicated,
    /// Stable storage has it.
    Persisted,
}

/// When a message is acknowledged and when it is synced: an option of Weir's own, beside the
/// protocol's. What each level promises is in `docs/durability.md`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncPolicy {
    /// Synced, then acknowledged.
    #[default]
    EveryBatch,
    /// Acknowledged when written; fewer than so many bytes are not synced.
    EveryBytes(u64),
    /// Acknowledged when written; synced so many milliseconds later.
    EveryMillis(u32),
    /// Acknowledged when written; synced when the system does.
    Never,
}

impl From<SyncPolicy> for storage::SyncPolicy {
    fn from(policy: SyncPolicy) -> Self {
        match policy {
            SyncPolicy::EveryBatch => Self::EveryBatch,
            SyncPolicy::EveryBytes(bytes) => Self::EveryBytes(bytes),
            SyncPolicy::EveryMillis(milliseconds) => Self::EveryMillis(milliseconds),
            SyncPolicy::Never => Self::Never,
        }
    }
}

/// The default need not be written down: every version has had it, and none may change it.
fn is_default_policy(policy: &Setting<SyncPolicy>) -> bool {
    *policy == default_policy()
}

fn default_policy() -> Setting<SyncPolicy> {
    Setting::derived(SyncPolicy::EveryBatch)
}

/// The options of a topic, each with its provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicOptions {
    /// Compression of payloads by clients.
    pub compression_algorithm: Setting<Compression>,
    /// Age in microseconds after which messages may be removed; [`UNLIMITED`] is never.
    pub message_expiry_us: Setting<u64>,
    /// Size in bytes above which the oldest segments may be removed; [`UNLIMITED`] is never.
    pub topic_bytes_max: Setting<u64>,
    /// Size in bytes at which a segment is sealed.
    pub segment_bytes: Setting<u64>,
    /// Durability of messages.
    pub durability: Setting<Durability>,
    /// Durability of consumer offsets.
    pub consumer_offset_durability: Setting<Durability>,
    /// Messages that may wait in memory before they are written.
    pub save_messages: Setting<u32>,
    /// Bytes that may wait in memory before they are written.
    pub save_bytes: Setting<u64>,
    /// Whether a segment's bytes are reserved when it is opened.
    pub preallocate_segments: Setting<bool>,
    /// When messages are acknowledged and synced.
    #[serde(default = "default_policy", skip_serializing_if = "is_default_policy")]
    pub sync_policy: Setting<SyncPolicy>,
}

impl Default for TopicOptions {
    /// The protocol's published defaults, all derived.
    fn default() -> Self {
        Self {
            compression_algorithm: Setting::derived(Compression::None),
            message_expiry_us: Setting::derived(UNLIMITED),
            topic_bytes_max: Setting::derived(UNLIMITED),
            segment_bytes: Setting::derived(SEGMENT_BYTES_MAX),
            durability: Setting::derived(Durability::Replicated),
            consumer_offset_durability: Setting::derived(Durability::Replicated),
            save_messages: Setting::derived(1_024),
            save_bytes: Setting::derived(1024 * 1024),
            preallocate_segments: Setting::derived(false),
            sync_policy: default_policy(),
        }
    }
}

/// The options a client sent: `None` where it sent nothing (or asked for the default).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedTopicOptions {
    /// See [`TopicOptions::compression_algorithm`].
    pub compression_algorithm: Option<Compression>,
    /// See [`TopicOptions::message_expiry_us`].
    pub message_expiry_us: Option<u64>,
    /// See [`TopicOptions::topic_bytes_max`].
    pub topic_bytes_max: Option<u64>,
    /// See [`TopicOptions::segment_bytes`].
    pub segment_bytes: Option<u64>,
    /// See [`TopicOptions::durability`].
    pub durability: Option<Durability>,
    /// See [`TopicOptions::consumer_offset_durability`].
    pub consumer_offset_durability: Option<Durability>,
    /// See [`TopicOptions::save_messages`].
    pub save_messages: Option<u32>,
    /// See [`TopicOptions::save_bytes`].
    pub save_bytes: Option<u64>,
    /// See [`TopicOptions::preallocate_segments`].
    pub preallocate_segments: Option<bool>,
    /// See [`TopicOptions::sync_policy`].
    pub sync_policy: Option<SyncPolicy>,
}

fn patch<T>(setting: &mut Setting<T>, requested: Option<T>) {
    if let Some(value) = requested {
        *setting = Setting::explicit(value);
    }
}

/// What a topic gets for an option that its creator did not choose, where the operator may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicDefaults {
    /// See [`TopicOptions::message_expiry_us`].
    pub message_expiry_us: u64,
    /// See [`TopicOptions::topic_bytes_max`].
    pub topic_bytes_max: u64,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self {
            message_expiry_us: UNLIMITED,
            topic_bytes_max: UNLIMITED,
        }
    }
}

impl From<TopicDefaults> for TopicOptions {
    fn from(defaults: TopicDefaults) -> Self {
        Self {
            message_expiry_us: Setting::derived(defaults.message_expiry_us),
            topic_bytes_max: Setting::derived(defaults.topic_bytes_max),
            ..Self::default()
        }
    }
}

impl TopicOptions {
    /// The options of a new topic: the requested values over `defaults`.
    ///
    /// # Errors
    /// `INVALID_OPTION_VALUE` for a value outside its bounds, or when `preallocate_segments`
    /// would reserve more than 64 GiB for `partitions_count` partitions; `INVALID_TOPIC_SIZE`
    /// when the topic could not hold one segment.
    pub fn create(
        requested: &RequestedTopicOptions,
        partitions_count: u32,
        defaults: TopicDefaults,
    ) -> Result<Self, Status> {
        let mut options = Self::from(defaults);
        patch(
            &mut options.compression_algorithm,
            requested.compression_algorithm,
        );
        patch(&mut options.message_expiry_us, requested.message_expiry_us);
        patch(&mut options.topic_bytes_max, requested.topic_bytes_max);
        patch(&mut options.segment_bytes, requested.segment_bytes);
        patch(&mut options.durability, requested.durability);
        patch(
            &mut options.consumer_offset_durability,
            requested.consumer_offset_durability,
        );
        patch(&mut options.save_messages, requested.save_messages);
        patch(&mut options.save_bytes, requested.save_bytes);
        patch(
            &mut options.preallocate_segments,
            requested.preallocate_segments,
        );
        patch(&mut options.sync_policy, requested.sync_policy);
        options.check(partitions_count)?;
        Ok(options)
    }

    /// These options after an update: only compression, expiry, maximum size and the sync policy
    /// may change, as the others describe how the partitions' files were laid down.
    ///
    /// # Errors
    /// `UNSUPPORTED_OPTION_KEY` when anything else was sent; otherwise as [`Self::create`].
    pub fn update(&self, requested: &RequestedTopicOptions) -> Result<Self, Status> {
        let updatable = RequestedTopicOptions {
            compression_algorithm: requested.compression_algorithm,
            message_expiry_us: requested.message_expiry_us,
            topic_bytes_max: requested.topic_bytes_max,
            sync_policy: requested.sync_policy,
            ..RequestedTopicOptions::default()
        };
        if updatable != *requested {
            return Err(Status::UNSUPPORTED_OPTION_KEY);
        }
        let mut options = *self;
        patch(
            &mut options.compression_algorithm,
            requested.compression_algorithm,
        );
        patch(&mut options.message_expiry_us, requested.message_expiry_us);
        patch(&mut options.topic_bytes_max, requested.topic_bytes_max);
        patch(&mut options.sync_policy, requested.sync_policy);
        options.check_sync_policy()?;
        options.check_topic_size()?;
        Ok(options)
    }

    /// The size in bytes at which a segment is sealed: never above the topic's maximum size, so
    /// that a small topic with the default segment size can still be trimmed.
    #[must_use]
    pub fn effective_segment_bytes(&self) -> u64 {
        self.segment_bytes
            .value
            .min(self.topic_bytes_max.value.max(SEGMENT_BYTES_MIN))
    }

    fn check(&self, partitions_count: u32) -> Result<(), Status> {
        let segment_bytes = self.segment_bytes.value;
        let segment_fits = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
            && segment_bytes.is_multiple_of(512);
        let save_messages_fit = (1..=SAVE_MESSAGES_MAX).contains(&self.save_messages.value);
        let save_bytes_fit = (1..=SAVE_BYTES_MAX).contains(&self.save_bytes.value);
        if !segment_fits || !save_messages_fit || !save_bytes_fit {
            return Err(Status::INVALID_OPTION_VALUE);
        }
        self.check_preallocation(partitions_count)?;
        self.check_sync_policy()?;
        self.check_topic_size()
    }

    /// A client that asks for persisted messages is not told so before they are.
    fn check_sync_policy(&self) -> Result<(), Status> {
        let policy = self.sync_policy.value;
        let persisted = self.durability == Setting::explicit(Durability::Persisted);
        let contradicts = persisted && policy != SyncPolicy::EveryBatch;
        if contradicts || !storage::SyncPolicy::from(policy).is_valid() {
            return Err(Status::INVALID_OPTION_VALUE);
        }
        Ok(())
    }

    /// Checks what `preallocate_segments` would reserve for `partitions_count` partitions.
    ///
    /// # Errors
    /// `INVALID_OPTION_VALUE` above 64 GiB.
    pub fn check_preallocation(&self, partitions_count: u32) -> Result<(), Status> {
        let reserved_bytes = self
            .segment_bytes
            .value
            .saturating_mul(u64::from(partitions_count));
        if self.preallocate_segments.value && reserved_bytes > PREALLOCATED_TOPIC_BYTES_MAX {
            return Err(Status::INVALID_OPTION_VALUE);
        }
        Ok(())
    }

    fn check_topic_size(&self) -> Result<(), Status> {
        // Only a size the client chose is judged: a small explicit segment size with the default
        // unlimited topic is always right, and the default segment size must not make every
        // explicit topic size below 1 GiB an error.
        let limited = self.topic_bytes_max.value != UNLIMITED;
        let too_small = self.topic_bytes_max.value < self.segment_bytes.value;
        if limited && too_small && self.segment_bytes.explicit {
            return Err(Status::INVALID_TOPIC_SIZE);
        }
        Ok(())
    }
}
