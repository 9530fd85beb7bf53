//! The command line of `weir bench`, as it is given.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What the actors do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Each producer sends to a stream of its own.
    PinnedProducer,
    /// Each consumer polls a stream of its own, which is filled before.
    PinnedConsumer,
    /// Producers and consumers in pairs, each pair with a stream of its own.
    PinnedProducerAndConsumer,
    /// All producers send to the partitions of one topic in turn.
    BalancedProducer,
    /// All consumers are one group on a topic that is filled before.
    BalancedConsumerGroup,
    /// From just before sending to just after receiving, through the server.
    EndToEndLatency,
    /// Connections that log in and then wait: what each costs the server in memory.
    IdleConnections,
}

/// How the load reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Tcp,
    Websocket,
    /// WebSocket through tungstenite, at the load's side.
    WebsocketBridge,
    /// TCP and WebSocket in alternating rounds of one run.
    Compare,
}

/// Put load on a server and measure it, or look again at what was measured.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) saved: Option<Saved>,
    #[command(flatten)]
    pub(crate) measured: Option<Arguments>,
    // Not in Arguments: clap takes a struct with a flattened one inside for absent.
    #[command(flatten)]
    pub(crate) pictures: super::visual::Pictures,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Saved {
    /// Draw a saved run, or compare two.
    Report(super::visual::Arguments),
    /// The server of --self-test: takes what comes, answers at once, keeps nothing.
    #[command(hide = true)]
    NullServer(super::null_server::Arguments),
    /// Measure the log itself, beside the disk that it is on; no network in most of it.
    Storage(super::storage::Arguments),
}

/// Put load on a server and measure it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// What the actors do.
    pub(crate) kind: Kind,
    /// How they reach the server.
    pub(crate) transport: Transport,
    /// With compare: rounds over the WebSocket bridge as well.
    #[arg(long)]
    pub(crate) bridge: bool,

    /// A running server's TCP address; without it a server is started for the run.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// The running server's WebSocket address.
    #[arg(long, value_name = "HOST:PORT", requires = "server")]
    pub(crate) server_websocket: Option<String>,
    /// User and password at a running server.
    #[arg(long, value_name = "USER:PASSWORD", default_value = "iggy:iggy")]
    pub(crate) credentials: String,
    /// Start a server for the run (what happens without --server).
    #[arg(long, conflicts_with = "server")]
    pub(crate) spawn: bool,
    /// Measure the load itself: against a server that answers at once and keeps nothing.
    #[arg(long, conflicts_with_all = ["server", "spawn", "data_dir"])]
    pub(crate) self_test: bool,
    /// Process of a running server on this machine, whose CPU time and memory are read. Default:
    /// what the server says, where it is at a loopback address.
    #[arg(long, value_name = "PID", requires = "server")]
    pub(crate) server_process: Option<u32>,
    /// Where the started server keeps its data; removed at the end. Default: a directory of its
    /// own in the system's temporary directory.
    #[arg(long, value_name = "PATH", conflicts_with = "server")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Kernel interface of both sides.
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    pub(crate) driver: String,
    /// Cores of the started server, such as 0 or 0,1. Default: the first half.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with = "server"
    )]
    pub(crate) server_cores: Vec<usize>,
    /// Cores of the load. Default: the other half.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) client_cores: Vec<usize>,

    /// Producers. Default: 1.
    #[arg(long, value_name = "COUNT")]
    pub(crate) producers: Option<u32>,
    /// Consumers. Default: 1.
    #[arg(long, value_name = "COUNT")]
    pub(crate) consumers: Option<u32>,
    /// Streams that the actors of the pinned kinds share. Default: one for each actor or pair.
    #[arg(long, value_name = "COUNT")]
    pub(crate) streams: Option<u32>,
    /// Partitions of the topic of the balanced kinds. Default: one per actor.
    #[arg(long, value_name = "COUNT")]
    pub(crate) partitions: Option<u32>,
    /// Connections of idle-connections.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub(crate) connections: u32,
    /// Messages of one batch.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    pub(crate) messages_per_batch: u32,
    /// Bytes of one payload, fixed (1000) or in a range (200..1000).
    #[arg(long, value_name = "BYTES", default_value = "1000")]
    pub(crate) message_size: String,
    /// Batches that each actor sends or polls in a round, after warming up. Default: 1,000.
    #[arg(long, value_name = "COUNT")]
    pub(crate) batches: Option<u64>,
    /// Seconds of a round instead of a number of batches.
    #[arg(long, value_name = "SECONDS", conflicts_with = "batches")]
    pub(crate) seconds: Option<u64>,
    /// Seconds at the start of a round that are not measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub(crate) warm_up: u64,
    /// Payload bytes a second of each actor, in MB (1,000,000 bytes). Default: 20.
    #[arg(long, value_name = "MB")]
    pub(crate) rate_limit: Option<f64>,
    /// Each actor as fast as it can: latencies are then those of a full load.
    #[arg(long, conflicts_with = "rate_limit")]
    pub(crate) unlimited: bool,
    /// Rounds for each transport.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Durability of the topics, a name that the server knows.
    #[arg(long, value_name = "POLICY", default_value = "persisted")]
    pub(crate) durability: String,
    /// TLS over TCP and WebSocket; a started server gets a certificate that is made for the run.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Authorities that a running server's certificate is checked against, as PEM. Default: those
    /// that the machine trusts.
    #[arg(long, value_name = "FILE", requires_all = ["tls", "server"])]
    pub(crate) tls_ca_file: Option<PathBuf>,
    /// Name that a running server's certificate must prove. Default: the host of its address.
    #[arg(long, value_name = "NAME", requires_all = ["tls", "server"])]
    pub(crate) tls_domain: Option<String>,
    /// Offer compression (permessage-deflate) over WebSocket; a started server agrees.
    #[arg(long)]
    pub(crate) deflate: bool,
    /// The workload of the first published comparison: 4 actors with a stream each, batches of
    /// 1,000 messages of 1,000 bytes, 10,000 for each actor (40 GB), 100 MB/s for each actor.
    /// --unlimited, --batches and --seconds change that much of it.
    #[arg(long, conflicts_with_all = [
        "producers", "consumers", "streams", "messages_per_batch", "message_size", "rate_limit",
    ])]
    pub(crate) seed_workload: bool,
    /// Seed of payloads and sizes.
    #[arg(long, value_name = "NUMBER", default_value_t = 2_026)]
    pub(crate) seed: u64,

    /// Everything that was measured, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
