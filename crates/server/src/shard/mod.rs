//! One shard: one thread, one runtime, one ring, and everything that it owns.
//!
//! A partition belongs to one shard for the life of the process, so nothing here is locked: the
//! state is in cells that only this thread touches. Other shards are reached through
//! [`mailbox`]es only; [`router`] hides whether a partition is here or there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use async_channel::{Receiver, Sender};
use compio::net::TcpStream;
use futures_channel::oneshot;
use futures_util::StreamExt;
use wire::Status;

use crate::catalog::{Catalog, PartitionKey};
use crate::control::{ControlPlane, ControlSnapshot};
use crate::limits::{CUT_TIMEOUT, Limits};
use crate::metrics::{Metrics, StorageSnapshot};
use crate::partition::{Partition, Storage};
use crate::session::ClientInfo;
use crate::tls::Tls;
use crate::verified::VerifiedPasswords;

pub(crate) mod accept;
pub(crate) mod event;
pub(crate) mod inbox;
pub(crate) mod mailbox;
pub(crate) mod router;
pub(crate) mod task;

use event::ShardReport;
use mailbox::Mailbox;

/// What all shards know of the process; the same for each.
#[derive(Clone)]
pub(crate) struct Machine {
    pub(crate) shards_count: usize,
    pub(crate) driver: ws::DriverKind,
    pub(crate) started: Instant,
    pub(crate) tcp_address: std::net::SocketAddr,
    pub(crate) websocket_address: std::net::SocketAddr,
    pub(crate) websocket_deflate: bool,
    pub(crate) tls: Option<Tls>,
}

/// A partition of this shard, or why it cannot be used.
#[derive(Clone)]
pub(crate) enum Slot {
    Open(Rc<Partition>),
    /// It could not be opened; the log has said why. Requests get this status.
    Unavailable(Status),
}

/// The state of one shard.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) limits: Limits,
    pub(crate) machine: Machine,
    pub(crate) metrics: Metrics,
    pub(crate) storage: Storage,
    pub(crate) password_checks: PasswordGate,
    pub(crate) verified_passwords: VerifiedPasswords,
    mailboxes: Vec<Mailbox>,
    snapshot: RefCell<Arc<ControlSnapshot>>,
    partitions: RefCell<HashMap<PartitionKey, Slot>>,
    control: RefCell<Option<Rc<ControlPlane>>>,
    clients: RefCell<HashMap<u32, ClientInfo>>,
    connection_numbers: Cell<u32>,
    sockets: Sockets,
    draining: DrainSignal,
}

/// The sockets of the connections that are served, to end those that do not end by themselves.
#[derive(Default)]
struct Sockets {
    open: RefCell<HashMap<u64, TcpStream>>,
    count: Cell<u64>,
}

/// Tells connections to end, and knows when the last one has.
struct DrainSignal {
    /// Dropped when the drain begins.
    begin: RefCell<Option<Sender<Infallible>>>,
    begun: Receiver<Infallible>,
    /// One clone lives in each connection.
    alive: RefCell<Option<Sender<Infallible>>>,
    all_ended: Receiver<Infallible>,
}

/// Runs password checks on a few threads of their own.
///
/// The threads live as long as the gate. On threads that come and go each check would leave its
/// 19 MiB in another of the allocator's arenas, and a few dozen logins would cost a gigabyte.
pub(crate) struct PasswordGate {
    jobs: Sender<Box<dyn FnOnce() + Send>>,
}

impl PasswordGate {
    fn new(checks_max: usize) -> Self {
        let (jobs, waiting) = async_channel::bounded::<Box<dyn FnOnce() + Send>>(1);
        for _ in 0..checks_max.max(1) {
            let waiting = waiting.clone();
            let thread = std::thread::Builder::new().name("weir-password".to_owned());
            let spawned = thread.spawn(move || {
                while let Ok(job) = waiting.recv_blocking() {
                    job();
                }
            });
            if let Err(error) = spawned {
                // With none at all, `run` says that nothing could be checked.
                tracing::error!(%error, "a thread for password checks cannot be started");
            }
        }
        Self { jobs }
    }

    /// Runs `check` when a thread is free; `None` when it panicked or no thread is there.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
            if let Ok(checked) = checked {
                // Whoever asked may be gone.
                let _ = done.send(checked);
            }
        };
        self.jobs.send(Box::new(job)).await.ok()?;
        result.await.ok()
    }
}

/// Marks a connection as alive until it is dropped.
pub(crate) struct ConnectionGuard {
    shard: Rc<Shard>,
    number: u64,
    _alive: Sender<Infallible>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.shard.sockets.open.borrow_mut().remove(&self.number);
        self.shard.metrics.connection_closed();
    }
}

impl Shard {
    pub(crate) fn new(
        index: usize,
        limits: Limits,
        machine: Machine,
        storage: Storage,
        mailboxes: Vec<Mailbox>,
        snapshot: Arc<ControlSnapshot>,
    ) -> Rc<Self> {
        let (begin, begun) = async_channel::bounded(1);
        let (alive, all_ended) = async_channel::bounded(1);
        Rc::new(Self {
            index,
            password_checks: PasswordGate::new(limits.password_checks_max),
            verified_passwords: VerifiedPasswords::new(),
            limits,
            machine,
            metrics: Metrics::default(),
            storage,
            mailboxes,
            snapshot: RefCell::new(snapshot),
            partitions: RefCell::default(),
            control: RefCell::new(None),
            clients: RefCell::default(),
            connection_numbers: Cell::new(0),
            sockets: Sockets::default(),
            draining: DrainSignal {
                begin: RefCell::new(Some(begin)),
                begun,
                alive: RefCell::new(Some(alive)),
                all_ended,
            },
        })
    }

    /// The catalog and group assignments as this shard knows them.
    pub(crate) fn snapshot(&self) -> Arc<ControlSnapshot> {
        self.snapshot.borrow().clone()
    }

    pub(crate) fn mailboxes(&self) -> &[Mailbox] {
        &self.mailboxes
    }

    /// The control plane; only shard 0 has it.
    pub(crate) fn control(&self) -> Option<Rc<ControlPlane>> {
        self.control.borrow().clone()
    }

    pub(crate) fn set_control(&self, control: Rc<ControlPlane>) {
        *self.control.borrow_mut() = Some(control);
    }

    /// A partition that this shard owns.
    pub(crate) fn partition(&self, key: PartitionKey) -> Result<Rc<Partition>, Status> {
        match self.partitions.borrow().get(&key) {
            Some(Slot::Open(partition)) => Ok(Rc::clone(partition)),
            Some(Slot::Unavailable(status)) => Err(*status),
            None => Err(Status::PARTITION_NOT_FOUND),
        }
    }

    /// The partitions of this shard that are open.
    pub(crate) fn open_partitions(&self) -> Vec<(PartitionKey, Rc<Partition>)> {
        let partitions = self.partitions.borrow();
        let open = partitions.iter().filter_map(|(key, slot)| match slot {
            Slot::Open(partition) => Some((*key, Rc::clone(partition))),
            Slot::Unavailable(_) => None,
        });
        open.collect()
    }

    /// A number for a new connection: unique over all shards, never 0.
    pub(crate) fn next_connection_number(&self) -> u32 {
        let count = self.connection_numbers.get().wrapping_add(1);
        self.connection_numbers.set(count);
        let shards = u32::try_from(self.machine.shards_count).unwrap_or(1).max(1);
        let index = u32::try_from(self.index).unwrap_or(0);
        count.wrapping_mul(shards).wrapping_add(index).max(1)
    }

    pub(crate) fn register_client(&self, client: ClientInfo) {
        self.clients.borrow_mut().insert(client.number, client);
    }

    pub(crate) fn forget_client(&self, number: u32) {
        self.clients.borrow_mut().remove(&number);
    }

    /// Counts a connection in, unless the shard is full or draining.
    pub(crate) fn admit(self: &Rc<Self>, stream: &TcpStream) -> Option<ConnectionGuard> {
        let alive = self.draining.alive.borrow().clone()?;
        if self.metrics.connections_open() >= self.limits.connections_max {
            self.metrics.connection_rejected();
            return None;
        }
        self.metrics.connection_opened();
        let number = self.sockets.count.get();
        self.sockets.count.set(number + 1);
        let mut sockets = self.sockets.open.borrow_mut();
        sockets.insert(number, stream.clone());
        Some(ConnectionGuard {
            shard: Rc::clone(self),
            number,
            _alive: alive,
        })
    }

    /// Resolves when connections must end.
    pub(crate) async fn drain_begun(&self) {
        // Nothing is ever sent: the channel closes.
        let _ = self.draining.begun.recv().await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.begun.is_closed()
    }

    /// Ends all connections and waits for them. Those that have not ended after the limit lose
    /// their sockets: what the kernel still does for them completes, and they end.
    pub(crate) async fn drain(&self) {
        drop(self.draining.begin.borrow_mut().take());
        drop(self.draining.alive.borrow_mut().take());
        if self.all_ended(self.limits.drain_timeout).await {
            return;
        }
        let connections = self.metrics.connections_open();
        tracing::warn!(
            shard = self.index,
            connections,
            "connections did not end in time and are cut"
        );
        for stream in self.sockets.open.borrow().values() {
            // Fails where the peer was faster.
            let _ = socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Both);
        }
        self.all_ended(CUT_TIMEOUT).await;
    }

    /// Whether all connections end within `patience`.
    async fn all_ended(&self, patience: std::time::Duration) -> bool {
        let ended = self.draining.all_ended.recv();
        compio::time::timeout(patience, ended).await.is_ok()
    }

    /// Follows a new snapshot: partitions that are gone stop, new ones are opened.
    pub(crate) async fn follow(self: &Rc<Self>, snapshot: Arc<ControlSnapshot>) {
        let shards = self.machine.shards_count;
        let mut wanted: HashSet<PartitionKey> = snapshot
            .catalog
            .partitions()
            .filter(|key| key.owner_shard(shards) == self.index)
            .collect();
        let gone: Vec<PartitionKey> = self
            .partitions
            .borrow()
            .keys()
            .filter(|key| !wanted.contains(key))
            .copied()
            .collect();
        // Readers of the snapshot must not find a partition that is about to close.
        *self.snapshot.borrow_mut() = Arc::clone(&snapshot);
        self.storage.set_durable(snapshot.was_synced);
        self.remove_partitions(&gone).await;
        wanted.retain(|key| !self.partitions.borrow().contains_key(key));
        self.create_directories(&wanted).await;
        wanted.retain(|key| !self.partitions.borrow().contains_key(key));
        let catalog = &snapshot.catalog;
        for slot in self.partitions.borrow().values() {
            if let Slot::Open(partition) = slot {
                partition.follow(catalog);
            }
        }
        futures_util::stream::iter(wanted)
            .for_each_concurrent(self.limits.partitions_opening_max, |key| async move {
                let slot = self.open_partition(key, catalog).await;
                self.partitions.borrow_mut().insert(key, slot);
            })
            .await;
    }

    async fn remove_partitions(&self, gone: &[PartitionKey]) {
        futures_util::stream::iter(gone)
            .for_each_concurrent(self.limits.partitions_opening_max, |key| async move {
                let slot = self.partitions.borrow_mut().remove(key);
                if let Some(Slot::Open(partition)) = slot {
                    partition.close().await;
                    self.metrics.log_ended(partition.syncs_count());
                }
                self.storage.remove_partition(*key).await;
            })
            .await;
        self.storage.sync_removed(gone).await;
    }

    /// Makes the directories of new partitions; those for which that fails are not served.
    async fn create_directories(&self, wanted: &HashSet<PartitionKey>) {
        let mut topics: BTreeMap<(u32, u32), Vec<PartitionKey>> = BTreeMap::new();
        for key in wanted {
            let topic = topics.entry((key.stream_id, key.topic_id)).or_default();
            topic.push(*key);
        }
        for ((stream_id, topic_id), keys) in topics {
            let created = self.storage.create_directories(stream_id, topic_id, &keys);
            if let Err(error) = created.await {
                tracing::error!(shard = self.index, stream_id, topic_id, %error,
                    "partitions could not be created and are not served");
                let status = crate::partition::status_of(&error);
                let mut partitions = self.partitions.borrow_mut();
                partitions.extend(keys.iter().map(|key| (*key, Slot::Unavailable(status))));
            }
        }
    }

    async fn open_partition(&self, key: PartitionKey, catalog: &Catalog) -> Slot {
        match Partition::open(&self.storage, key, catalog).await {
            Ok(partition) => Slot::Open(partition),
            Err(error) => {
                tracing::error!(shard = self.index, partition = %key, %error,
                    "a partition could not be opened and is not served");
                Slot::Unavailable(crate::partition::status_of(&error))
            }
        }
    }

    /// Closes every log: nothing is written after this.
    pub(crate) async fn close(&self) {
        let slots: Vec<Slot> = self
            .partitions
            .borrow_mut()
            .drain()
            .map(|(_, slot)| slot)
            .collect();
        for slot in slots {
            if let Slot::Open(partition) = slot {
                partition.close().await;
            }
        }
        let control = self.control.borrow_mut().take();
        if let Some(control) = control {
            control.close().await;
        }
        // The runtime must not end while the kernel still works on a buffer of it.
        self.storage.disk().drain().await;
    }

    pub(crate) fn report(&self) -> ShardReport {
        let mut metrics = self.metrics.snapshot();
        let partitions: Vec<_> = self
            .partitions
            .borrow()
            .iter()
            .map(|(key, slot)| {
                let report = match slot {
                    Slot::Open(partition) => {
                        metrics.log_syncs_total += partition.syncs_count();
                        partition.report()
                    }
                    Slot::Unavailable(_) => crate::partition::PartitionReport::unavailable(),
                };
                (*key, report)
            })
            .collect();
        metrics.storage = StorageSnapshot::of(&partitions, self.storage.in_use());
        ShardReport {
            metrics,
            partitions,
            clients: self.clients.borrow().values().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc as Shared;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_password_checks_run_than_allowed_and_all_run() {
        let runtime = compio::runtime::Runtime::new().expect("a runtime starts");
        runtime.block_on(async {
            let gate = PasswordGate::new(2);
            let (running, peak) = (
                Shared::new(AtomicUsize::new(0)),
                Shared::new(AtomicUsize::new(0)),
            );
            let checks = (0..16).map(|_| {
                let (running, peak) = (Shared::clone(&running), Shared::clone(&peak));
                gate.run(move || {
                    peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            });
            let results = futures_util::future::join_all(checks).await;
            assert!(results.iter().all(Option::is_some));
            assert!((1..=2).contains(&peak.load(Ordering::SeqCst)));
        });
    }
}
