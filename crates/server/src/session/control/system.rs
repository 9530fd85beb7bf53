//! Answers about the server itself: clients, cluster, statistics.

use std::net::SocketAddr;

use bytes::Bytes;
use wire::Status;
use wire::iggy::published::WireEncode;
use wire::iggy::published::responses::clients::{
    ClientDetailsResponse, ClientResponse, ConsumerGroupInfoResponse, GetClientsResponse,
};
use wire::iggy::published::responses::system::get_cluster_metadata::{
    ClusterMetadataResponse, ClusterNodeResponse,
};
use wire::iggy::published::responses::system::get_stats::StatsResponse;

use super::read::View;
use super::reply::count;
use crate::catalog::{Counters, GroupCoordinator, allow};
use crate::session::ClientInfo;

/// Role and status codes of the only node.
const LEADER: u8 = 0;
const HEALTHY: u8 = 0;

/// The answer to `GetMe`; everyone may ask for themselves.
pub(crate) fn me(view: View<'_>, client: &ClientInfo) -> Bytes {
    details(client, view.groups).to_bytes()
}

/// The answer to `GetClient`: `found` is the client of the id that was asked for.
///
/// # Errors
/// `UNAUTHORIZED`.
pub(crate) fn client(view: View<'_>, found: Option<&ClientInfo>) -> Result<Bytes, Status> {
    allow(view.access().may_read_servers())?;
    Ok(found.map_or_else(Bytes::new, |client| details(client, view.groups).to_bytes()))
}

/// The answer to `GetClients`.
///
/// # Errors
/// `UNAUTHORIZED`.
pub(crate) fn clients(view: View<'_>, clients: &[ClientInfo]) -> Result<Bytes, Status> {
    allow(view.access().may_read_servers())?;
    let clients = clients
        .iter()
        .map(|client| header(client, view.groups))
        .collect();
    Ok(GetClientsResponse { clients }.to_bytes())
}

fn header(client: &ClientInfo, groups: &GroupCoordinator) -> ClientResponse {
    ClientResponse {
        client_id: client.number,
        user_id: client.user_id,
        transport: client.transport,
        address: client.address.clone(),
        consumer_groups_count: count(groups.groups_of(client.number).len()),
    }
}

fn details(client: &ClientInfo, groups: &GroupCoordinator) -> ClientDetailsResponse {
    let consumer_groups = groups
        .groups_of(client.number)
        .map(|key| ConsumerGroupInfoResponse {
            stream_id: key.stream_id,
            topic_id: key.topic_id,
            group_id: key.group_id,
        });
    ClientDetailsResponse {
        client: header(client, groups),
        consumer_groups: consumer_groups.collect(),
    }
}

/// The answer to `GetClusterMetadata`: one healthy leader at the addresses that this client can
/// reach it at. With a single node published clients never go elsewhere.
pub(crate) fn cluster_metadata(tcp: SocketAddr, websocket: SocketAddr) -> Bytes {
    let node = ClusterNodeResponse {
        name: "weir".to_owned(),
        ip: tcp.ip().to_string(),
        tcp_port: tcp.port(),
        quic_port: 0,
        http_port: 0,
        websocket_port: websocket.port(),
        role: LEADER,
        status: HEALTHY,
    };
    ClusterMetadataResponse {
        name: "weir".to_owned(),
        nodes: vec![node],
    }
    .to_bytes()
}

/// What the catalog does not know about the process and its machine. Unknown numbers are 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProcessStats {
    /// The operating system's number of the process.
    pub(crate) process_id: u32,
    /// Share of one core that the process uses, in percent.
    pub(crate) cpu_usage: f32,
    /// Share of the machine that everything uses, in percent.
    pub(crate) total_cpu_usage: f32,
    /// Resident bytes of the process.
    pub(crate) memory_usage_bytes: u64,
    /// Bytes of memory in the machine.
    pub(crate) total_memory_bytes: u64,
    /// Bytes of memory that are available.
    pub(crate) available_memory_bytes: u64,
    /// Microseconds since the start.
    pub(crate) run_time_us: u64,
    /// Microseconds since the Unix epoch at the start.
    pub(crate) start_time_us: u64,
    /// Bytes that the process read.
    pub(crate) read_bytes: u64,
    /// Bytes that the process wrote.
    pub(crate) written_bytes: u64,
    /// Connected clients.
    pub(crate) clients_count: u32,
    /// Threads of the process.
    pub(crate) threads_count: u32,
    /// Name of the machine.
    pub(crate) hostname: String,
    /// For example `Linux`.
    pub(crate) os_name: String,
    /// Version of the distribution.
    pub(crate) os_version: String,
    /// Version of the kernel.
    pub(crate) kernel_version: String,
    /// Version of this server.
    pub(crate) server_version: String,
    /// Free bytes where the data is.
    pub(crate) free_disk_bytes: u64,
    /// All bytes where the data is.
    pub(crate) total_disk_bytes: u64,
}

/// The answer to `GetStats`.
///
/// # Errors
/// `UNAUTHORIZED`.
pub(crate) fn stats(view: View<'_>, process: &ProcessStats) -> Result<Bytes, Status> {
    allow(view.access().may_read_servers())?;
    let mut totals = Counters::default();
    let (mut topics_count, mut groups_count) = (0, 0);
    for stream in view.catalog.streams() {
        totals += stream.counters(view.stats);
        topics_count += stream.topics().len();
        groups_count += stream
            .topics()
            .map(|topic| topic.groups().len())
            .sum::<usize>();
    }
    let response = StatsResponse {
        process_id: process.process_id,
        cpu_usage: process.cpu_usage,
        total_cpu_usage: process.total_cpu_usage,
        memory_usage: process.memory_usage_bytes,
        total_memory: process.total_memory_bytes,
        available_memory: process.available_memory_bytes,
        run_time: process.run_time_us,
        start_time: process.start_time_us,
        read_bytes: process.read_bytes,
        written_bytes: process.written_bytes,
        messages_size_bytes: totals.size_bytes,
        streams_count: count(view.catalog.streams().len()),
        topics_count: count(topics_count),
        partitions_count: totals.partitions_count,
        segments_count: totals.segments_count,
        messages_count: totals.messages_count,
        clients_count: process.clients_count,
        consumer_groups_count: count(groups_count),
        hostname: process.hostname.clone(),
        os_name: process.os_name.clone(),
        os_version: process.os_version.clone(),
        kernel_version: process.kernel_version.clone(),
        iggy_server_version: process.server_version.clone(),
        iggy_server_semver: None,
        cache_metrics: Vec::new(),
        threads_count: process.threads_count,
        free_disk_space: process.free_disk_bytes,
        total_disk_space: process.total_disk_bytes,
    };
    Ok(response.to_bytes())
}
