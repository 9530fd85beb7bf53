//! Checkpoints of an active segment: its index, written now and then beside the commits. It says
//! up to where everything was durable, so that recovery reads and proves only what comes behind;
//! what lies before is proved when it is read, as in a sealed segment.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use futures_channel::oneshot;

use crate::{
    appender,
    disk::Disk,
    limits::{self, LogOptions},
    log::{Shared, State},
    planted::{Bug, is_planted},
    segment::{self, Segment},
};

/// A turn at something that is done one at a time, in order, such as writing an index file.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    is_taken: Cell<bool>,
    waiters: RefCell<VecDeque<oneshot::Sender<()>>>,
}

impl Turn {
    /// Returns when nobody else has the turn; it ends when the guard is dropped.
    pub(crate) async fn take(&self) -> TurnGuard<'_> {
        while self.is_taken.replace(true) {
            let (sender, receiver) = oneshot::channel();
            self.waiters.borrow_mut().push_back(sender);
            // Used or dropped when the turn ends; both mean "look again".
            let _ = receiver.await;
        }
        TurnGuard(self)
    }
}

pub(crate) struct TurnGuard<'a>(&'a Turn);

impl Drop for TurnGuard<'_> {
    fn drop(&mut self) {
        self.0.is_taken.set(false);
        if let Some(waiter) = self.0.waiters.borrow_mut().pop_front() {
            // A waiter that went away needs no answer.
            let _ = waiter.send(());
        }
    }
}

/// Bytes from one checkpoint to the next; fewer when the log is closed in order.
fn distance_bytes(options: &LogOptions, is_closing: bool) -> u64 {
    match is_closing {
        true => options.checkpoint_bytes.min(limits::CHECKPOINT_CLOSE_BYTES),
        false => options.checkpoint_bytes,
    }
}

/// Writes a checkpoint in the background when the last one is far.
pub(crate) fn start_when_far<D: Disk>(shared: &Rc<Shared<D>>, state: &mut State<D::File>) {
    let Some(active) = state.segments.back().map(Rc::clone) else {
        return;
    };
    let end = active.summary().end_position;
    let distance = end.saturating_sub(active.checkpoint_position.get());
    // Before the sync it would tell of what a power cut may take back.
    let is_too_early = active.is_unsynced() && !is_planted(Bug::CheckpointUnsynced);
    if distance < distance_bytes(&shared.options, false) || is_too_early {
        return;
    }
    active.checkpoint_position.set(end);
    let log = Rc::clone(shared);
    appender::spawn(shared, state, async move { write(&log, &active).await });
}

/// Writes a checkpoint before a log is closed, when reading costs more than that.
pub(crate) async fn write_last<D: Disk>(shared: &Shared<D>) {
    let active = shared.state.borrow().segments.back().cloned();
    if let Some(active) = active {
        let end = active.summary().end_position;
        let distance = end.saturating_sub(active.checkpoint_position.get());
        if distance >= distance_bytes(&shared.options, true) {
            write(shared, &active).await;
        }
    }
}

async fn write<D: Disk>(shared: &Shared<D>, segment: &Segment<D::File>) {
    let _turn = segment.index_turn.take().await;
    if !segment.is_active() || (segment.is_unsynced() && !is_planted(Bug::CheckpointUnsynced)) {
        return;
    }
    let (Some(index), summary) = (segment.resident_index(), segment.summary()) else {
        return;
    };
    let written = segment::write_index(
        &shared.disk,
        &shared.directory,
        &index,
        &summary,
        segment.salt,
    );
    if let Err(error) = written.await {
        // Recovery reads more then.
        tracing::warn!(path = %segment.path.display(), %error, "no checkpoint");
    }
}
