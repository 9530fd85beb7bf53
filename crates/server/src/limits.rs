//! Every limit of the server, with its default and the reason for it.
//!
//! The catalog's (streams, topics, groups) are listed in [`crate::catalog::limits`]; limits of one
//! WebSocket connection are in the `ws` crates; limits of one partition's log are in `storage`.

use std::time::Duration;

use crate::catalog::{CatalogLimits, TopicDefaults};
use crate::config::Config;

/// Limits of one shard. Each shard has its own copy; nothing here is shared between shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Of the control plane.
    pub catalog: CatalogLimits,
    /// Messages waiting in one shard's mailbox. A full mailbox answers "busy, try again", which
    /// clients of the protocol do by themselves; 4,096 is about 40 ms of appends at 100,000 per
    /// second, longer than any healthy stall.
    pub mailbox_messages_max: usize,
    /// Connections open on one shard. At 6 KiB each this is 96 MiB.
    pub connections_max: usize,
    /// One request frame, header included. The protocol allows payloads of 64,000,000 bytes; a
    /// frame of 64 MiB holds the largest one with its headers.
    pub frame_bytes_max: usize,
    /// One request frame before login: a login or a ping fits many times, and strangers cannot make
    /// the server hold more.
    pub login_frame_bytes_max: usize,
    /// Bytes of records in one poll reply. More is left for the next poll. Below the client's
    /// 64 MiB message limit with room for the reply header; a single larger record is still sent.
    pub poll_bytes_max: usize,
    /// Messages in one poll reply.
    pub poll_messages_max: u32,
    /// How long a connection may stay without a login. Real clients log in at once.
    pub login_timeout: Duration,
    /// How long a WebSocket opening handshake may take, and a TLS handshake; both together where
    /// one is inside the other.
    pub handshake_timeout: Duration,
    /// How often the files of the certificate are looked at. Whoever renews them does so weeks
    /// before the old one ends, and waits a minute to see it served.
    pub certificate_interval: Duration,
    /// How long a drain waits for requests in flight before it gives up on their connections.
    /// Process managers kill after 10 s, so 6 s leaves time to close the logs.
    pub drain_timeout: Duration,
    /// How long closing the logs may take after the connections are gone.
    pub close_timeout: Duration,
    /// Pending connections that the kernel queues for one listener.
    pub listen_backlog: i32,
    /// Partitions of one shard that are opened at one time: enough to keep the disk busy, few
    /// enough that recovery buffers stay small.
    pub partitions_opening_max: usize,
    /// Distinct consumers whose offsets one partition stores. 65,536 entries are a few MiB.
    pub consumer_offsets_max: usize,
    /// Offset records in a partition's journal before it is rewritten to its live entries.
    pub offset_records_before_rewrite: usize,
    /// What all logs of one shard share: open segments, memory for recent and old messages.
    pub storage: storage::BudgetLimits,
    /// Journals of consumer offsets that are open on one shard: one descriptor each.
    pub offset_journals_open_max: usize,
    /// How often a shard looks for what is too old or too much.
    pub retention_interval: Duration,
    /// Whether a topic at its size loses its oldest segments instead of refusing messages.
    pub delete_oldest_segments: bool,
    /// Segments that one look removes from one partition, and from one topic for its size: each
    /// costs a sync, and appends of the partition wait for it. The next look goes on.
    pub retention_segments_max: usize,
    /// Password checks running at one time on a shard. Argon2id takes 19 MiB each, so a flood of
    /// logins costs at most 2 × 19 MiB per shard; the others wait.
    pub password_checks_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            catalog: CatalogLimits::default(),
            mailbox_messages_max: 4_096,
            connections_max: 16_384,
            frame_bytes_max: 64 * 1024 * 1024 + 4_096,
            login_frame_bytes_max: 64 * 1024,
            poll_bytes_max: 16 * 1024 * 1024,
            poll_messages_max: 1_000_000,
            login_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            certificate_interval: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(6),
            close_timeout: Duration::from_secs(2),
            listen_backlog: 1_024,
            partitions_opening_max: 16,
            consumer_offsets_max: 65_536,
            offset_records_before_rewrite: 16_384,
            storage: storage::BudgetLimits::default(),
            offset_journals_open_max: 256,
            retention_interval: Duration::from_secs(60),
            delete_oldest_segments: true,
            retention_segments_max: 64,
            password_checks_max: 2,
        }
    }
}

impl Limits {
    /// These limits with what the operator chose.
    pub(crate) fn with(mut self, config: &Config) -> Self {
        self.catalog.topic_defaults = TopicDefaults {
            message_expiry_us: config.message_expiry_us,
            topic_bytes_max: config.topic_bytes_max,
        };
        self.retention_interval = config.retention_interval;
        self.delete_oldest_segments = config.delete_oldest_segments;
        self
    }
}

/// Memory of one idle connection, measured: `docs/benchmarks.md`.
pub(crate) const CONNECTION_BYTES: u64 = 6 << 10;
/// Memory of one password check (Argon2id as it is configured).
pub(crate) const LOGIN_CHECK_BYTES: u64 = 19 << 20;
/// Files that a process has open without any connection or partition: standard streams, the
/// catalog, the lock, signals.
pub(crate) const FILES_OF_PROCESS: u64 = 64;
/// The same of a shard: ring or epoll, listeners, wakers, directories that are being synced.
pub(crate) const FILES_OF_SHARD: u64 = 64;
/// Connections that a shard must have room for, or the server does not start.
pub(crate) const CONNECTIONS_MIN: usize = 32;
/// Files of partitions that a shard must have room for.
pub(crate) const STORAGE_FILES_MIN: usize = 32;

/// Shortest and longest `retention_interval`: a look is cheap but not free, and nobody should
/// wait for longer than a day for a disk to be given back.
pub const RETENTION_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(86_400);

/// Shards that may be configured: above any machine this was tried on, below what the mailboxes
/// between all pairs of shards can bear.
pub const SHARDS_COUNT_MAX: usize = 256;

/// Partitions of a shard that wait for retention because they will soon begin a segment. One that
/// finds no place is looked at at the next interval.
pub(crate) const NEAR_END_MAX: usize = 1_024;

/// Length of a user's name: the protocol's own limits.
pub const USERNAME_BYTES: std::ops::RangeInclusive<usize> = 3..=50;

/// Length of a password: the protocol's own limits.
pub const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 3..=100;

/// How long a port that is in use is asked for again. The kernel takes an io_uring apart some
/// milliseconds after its process was killed, and until then the ring holds the listening sockets.
pub(crate) const RELEASE_PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two tries.
pub(crate) const RELEASE_PAUSE: Duration = Duration::from_millis(10);
/// How long a drain waits for connections whose sockets it has shut down: they have nothing left to
/// wait for but the disk.
pub(crate) const CUT_TIMEOUT: Duration = Duration::from_millis(300);
/// How long accepting pauses after the kernel refused a socket (out of descriptors, out of
/// memory): long enough not to spin, short enough that nobody notices.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The kernel asks a silent peer after this time whether it is still there, ...
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// ... again at this interval, ...
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and closes the connection after this many questions without an answer.
pub(crate) const KEEPALIVE_RETRIES: u32 = 3;
