//! The control plane: the one place that changes the catalog and the group memberships.
//!
//! It lives on shard 0 and runs one command at a time: decide on the current state, journal the
//! change, apply it, hand the new state to every shard, and only then answer. Whoever reads the
//! answer therefore finds the change on every shard.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_channel::oneshot;
use futures_util::lock::Mutex;
use storage::{DataDirectory, WriteMode, doctor};
use wire::Status;

use crate::catalog::{
    ApplyError, Catalog, CatalogLimits, Change, Effects, GroupCoordinator, GroupKey, ROOT_USER_ID,
    check_password,
};
use crate::partition::{Journal, status_of};
use crate::password;
use crate::session::control::Decide;
use crate::shard::Shard;
use crate::shard::event::Event;

/// Journal records beyond the live ones before the journal is rewritten at start.
const RECORDS_BEFORE_REWRITE: usize = 10_000;

/// What every shard knows of the control plane: immutable, replaced as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlSnapshot {
    pub(crate) catalog: Catalog,
    pub(crate) groups: GroupCoordinator,
    /// Whether everything that earlier processes left was made durable at once at the start.
    pub(crate) was_synced: bool,
}

/// A command for the control plane.
pub(crate) enum ControlRequest {
    /// Change the catalog as decided.
    Change {
        user_id: u32,
        decide: Decide<Change>,
    },
    /// Make a client a member of a group; the decision names the group and its partitions.
    Join {
        user_id: u32,
        client: u32,
        decide: Decide<(GroupKey, u32)>,
    },
    /// End a membership.
    Leave {
        user_id: u32,
        client: u32,
        decide: Decide<(GroupKey, u32)>,
    },
    /// End all memberships of a client that is gone.
    Disconnect { client: u32 },
}

/// What a command did.
#[derive(Debug)]
pub(crate) enum ControlReply {
    /// The catalog has changed like this.
    Changed(Change),
    /// A membership began or ended, or nothing had to be done.
    Done,
}

/// Who the root user is on first start.
pub(crate) struct RootUser {
    pub(crate) username: String,
    /// None: a password is generated.
    pub(crate) password: Option<String>,
}

/// Why the catalog could not be recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error("cannot use the data directory: {0}; choose another one with --data-dir")]
    DataDirectory(#[source] storage::Error),
    /// The catalog's journal cannot be used.
    #[error("cannot open the catalog: {0}")]
    Storage(#[from] storage::Error),
    /// The write mode that was asked for is not possible.
    #[error("write_mode is direct, but {reason}; use auto or buffered, or another disk")]
    WriteMode {
        /// What the system said.
        reason: String,
    },
    /// A record is none of this version's.
    #[error("catalog record {record} is not understood: {reason}; was it written by a newer Weir?")]
    Record {
        /// Position in the journal, from 0.
        record: usize,
        /// What was wrong.
        reason: String,
    },
    /// The configured root user is not acceptable.
    #[error("the root user cannot be created: {0}")]
    Root(String),
}

/// The control plane's state. Only shard 0 has one.
pub(crate) struct ControlPlane {
    shard: Weak<Shard>,
    /// Keeps other processes out of the data directory.
    _directory: DataDirectory,
    journal: Journal,
    state: RefCell<ControlSnapshot>,
    limits: CatalogLimits,
    turn: Mutex<()>,
    failed: Cell<bool>,
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl ControlPlane {
    /// Recovers the catalog, makes the root user on first start, opens every partition on its
    /// shard, and installs the control plane on `shard`. Returns a generated root password.
    pub(crate) async fn open(
        shard: &Rc<Shard>,
        root: RootUser,
        write_mode: Option<WriteMode>,
    ) -> Result<Option<String>, OpenError> {
        let directory = DataDirectory::open(shard.storage.disk().clone(), shard.storage.root())
            .await
            .map_err(OpenError::DataDirectory)?;
        choose_write_mode(shard, write_mode).await?;
        let (journal, catalog) = recover(shard).await?;
        let partitions_count = catalog.partitions_count();
        let snapshot = ControlSnapshot {
            catalog,
            groups: GroupCoordinator::new(now_us()),
            was_synced: shard.storage.sync_what_is_left(partitions_count).await,
        };
        let control = Rc::new(Self {
            shard: Rc::downgrade(shard),
            _directory: directory,
            journal,
            state: RefCell::new(snapshot),
            limits: shard.limits.catalog.clone(),
            turn: Mutex::new(()),
            failed: Cell::new(false),
        });
        let generated = control.create_root(shard, root).await?;
        let catalog = control.state.borrow().catalog.clone();
        shard.storage.remove_orphans(&catalog).await?;
        control.publish().await;
        shard.set_control(control);
        Ok(generated)
    }

    async fn create_root(
        &self,
        shard: &Rc<Shard>,
        root: RootUser,
    ) -> Result<Option<String>, OpenError> {
        if self
            .state
            .borrow()
            .catalog
            .user(ROOT_USER_ID.into())
            .is_some()
        {
            if root.password.is_some() {
                tracing::info!("the root user exists already; the configured password is ignored");
            }
            return Ok(None);
        }
        let (password, generated) = match root.password {
            Some(password) => (password, None),
            None => {
                let password = password::generate().map_err(refused)?;
                (password.clone(), Some(password))
            }
        };
        // Published clients refuse to send any other, so nobody could log in.
        check_password(&password)
            .map_err(|status| OpenError::Root(format!("{status}; it has 3 to 100 bytes")))?;
        let hashing = move || password::hash(&password);
        let hash = match shard.password_checks.run(hashing).await {
            Some(hash) => hash.map_err(refused)?,
            None => return Err(OpenError::Root("no thread to hash its password".to_owned())),
        };
        let change = {
            let state = self.state.borrow();
            state
                .catalog
                .decide_root_user(&root.username, hash.into(), now_us())
                .map_err(|status| OpenError::Root(format!("{status}; see --root-username")))?
        };
        self.journal.append(change.to_record().into()).await?;
        self.apply(&change).map_err(refused)?;
        Ok(generated)
    }

    /// Runs one command when its turn comes.
    pub(crate) async fn submit(&self, request: ControlRequest) -> Result<ControlReply, Status> {
        let _turn = self.turn.lock().await;
        match request {
            ControlRequest::Change { user_id, decide } => {
                let change = self.decided(user_id, decide)?;
                self.change(change).await
            }
            ControlRequest::Join {
                user_id,
                client,
                decide,
            } => {
                let (group, partitions_count) = self.decided(user_id, decide)?;
                let joined = {
                    let mut state = self.state.borrow_mut();
                    state
                        .groups
                        .join(&self.limits, group, partitions_count, client)?
                };
                self.publish_if(joined).await
            }
            ControlRequest::Leave {
                user_id,
                client,
                decide,
            } => {
                let (group, _) = self.decided(user_id, decide)?;
                self.state.borrow_mut().groups.leave(group, client)?;
                self.publish_if(true).await
            }
            ControlRequest::Disconnect { client } => {
                let left = self.state.borrow_mut().groups.disconnect(client);
                self.publish_if(left).await
            }
        }
    }

    fn decided<T>(&self, user_id: u32, decide: Decide<T>) -> Result<T, Status> {
        let state = self.state.borrow();
        decide(&state.catalog.decide(&self.limits, user_id, now_us()))
    }

    async fn change(&self, change: Change) -> Result<ControlReply, Status> {
        if self.failed.get() {
            return Err(Status::CANNOT_APPEND_MESSAGE);
        }
        if let Err(error) = self.journal.append(change.to_record().into()).await {
            // Whether the record will be found at the next start is unknown, so nothing may be
            // decided on top of either state.
            if !matches!(error, storage::Error::Full { .. } | storage::Error::Busy) {
                self.failed.set(true);
            }
            tracing::error!(%error, "the catalog could not be written");
            return Err(status_of(&error));
        }
        match self.apply(&change) {
            Ok(_) => {}
            Err(error) => panic!("a decided change does not apply: {error} ({change:?})"),
        }
        self.publish().await;
        self.remove_remains(&change).await;
        Ok(ControlReply::Changed(change))
    }

    /// Every shard has removed its partitions; what held them goes too.
    async fn remove_remains(&self, change: &Change) {
        let Some(shard) = self.shard.upgrade() else {
            return;
        };
        let (stream_id, topic_id) = match change {
            Change::DeleteStream { stream_id } => (*stream_id, None),
            Change::DeleteTopic {
                stream_id,
                topic_id,
            } => (*stream_id, Some(*topic_id)),
            _ => return,
        };
        shard.storage.remove_remains(stream_id, topic_id).await;
    }

    fn apply(&self, change: &Change) -> Result<Effects, ApplyError> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let effects = state.catalog.apply(change)?;
        state.groups.follow(&effects, &state.catalog);
        Ok(effects)
    }

    async fn publish_if(&self, changed: bool) -> Result<ControlReply, Status> {
        if changed {
            self.publish().await;
        }
        Ok(ControlReply::Done)
    }

    /// Hands the current state to every shard and waits until each has followed.
    async fn publish(&self) {
        let Some(shard) = self.shard.upgrade() else {
            return;
        };
        let snapshot = Arc::new(self.state.borrow().clone());
        let mut waiting = Vec::new();
        for (index, mailbox) in shard.mailboxes().iter().enumerate() {
            if index == shard.index {
                continue;
            }
            let (done, followed) = oneshot::channel();
            let event = Event::Snapshot {
                snapshot: Arc::clone(&snapshot),
                done,
            };
            if mailbox.send(event).await.is_ok() {
                waiting.push(followed);
            }
        }
        shard.follow(snapshot).await;
        for followed in waiting {
            // A shard that is gone takes no requests either.
            let _ = followed.await;
        }
    }

    /// Waits for the command that runs and closes the journal.
    pub(crate) async fn close(&self) {
        let _turn = self.turn.lock().await;
        if let Err(error) = self.journal.close().await {
            tracing::warn!(%error, "the catalog was closed while fenced");
        }
    }
}

fn refused(error: impl std::fmt::Display) -> OpenError {
    OpenError::Root(error.to_string())
}

/// Decides how all shards write logs, before any of them opens one.
async fn choose_write_mode(shard: &Shard, wanted: Option<WriteMode>) -> Result<(), OpenError> {
    let started = shard.machine.started;
    let choice = if wanted == Some(WriteMode::Buffered) {
        doctor::Choice::wanted(WriteMode::Buffered)
    } else {
        let (disk, root) = (shard.storage.disk(), shard.storage.root());
        let found = doctor::probe(disk, root, move || started.elapsed()).await;
        settle_write_mode(wanted, found.map_err(OpenError::DataDirectory)?)?
    };
    tracing::info!(mode = %choice.mode, reason = choice.reason, "write mode of the logs");
    shard.storage.set_write_choice(choice);
    Ok(())
}

/// What an operator wants counts, as long as it is possible.
fn settle_write_mode(
    wanted: Option<WriteMode>,
    found: doctor::Choice,
) -> Result<doctor::Choice, OpenError> {
    match wanted {
        None => Ok(found),
        Some(WriteMode::Direct) if !found.direct_works => Err(OpenError::WriteMode {
            reason: found.reason,
        }),
        Some(mode) => Ok(doctor::Choice::wanted(mode)),
    }
}

/// Reads the journal into a catalog; rewrites it when most of its records are history.
async fn recover(shard: &Rc<Shard>) -> Result<(Journal, Catalog), OpenError> {
    let (journal, records) = shard.storage.open_catalog_journal().await?;
    let mut catalog = Catalog::default();
    for (record, bytes) in records.iter().enumerate() {
        let change = Change::from_record(bytes).map_err(|error| OpenError::Record {
            record,
            reason: error.to_string(),
        })?;
        catalog.apply(&change).map_err(|error| OpenError::Record {
            record,
            reason: error.to_string(),
        })?;
    }
    let changes = catalog.to_changes();
    if records.len() > changes.len() + RECORDS_BEFORE_REWRITE {
        let records = changes
            .iter()
            .map(|change| change.to_record().into())
            .collect();
        match journal.rewrite(records).await {
            // The history stays until a start that finds room.
            Err(error @ storage::Error::Full { .. }) => {
                tracing::warn!(%error, "the catalog's history is kept");
            }
            rewritten => rewritten?,
        }
    }
    tracing::info!(
        records = records.len(),
        streams = catalog.streams().len(),
        partitions = catalog.partitions_count(),
        "catalog recovered"
    );
    Ok((journal, catalog))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_write_mode_is_one_clear_line() {
        let refused = doctor::Choice {
            mode: WriteMode::Buffered,
            direct_works: false,
            reason: "the file system refuses writes past the page cache (EINVAL)".to_owned(),
        };
        let settle = |wanted, found: &doctor::Choice| settle_write_mode(wanted, found.clone());
        let error = settle(Some(WriteMode::Direct), &refused).expect_err("impossible");
        assert_eq!(
            error.to_string(),
            "write_mode is direct, but the file system refuses writes past the page cache \
             (EINVAL); use auto or buffered, or another disk"
        );
        assert_eq!(settle(None, &refused).expect("found"), refused);
        // Slower is no obstacle to who wants it.
        let slower = doctor::Choice {
            direct_works: true,
            ..refused
        };
        assert_eq!(settle(None, &slower).expect("found"), slower);
        let kept = settle(Some(WriteMode::Direct), &slower).expect("possible");
        assert_eq!(kept.mode, WriteMode::Direct);
    }
}
