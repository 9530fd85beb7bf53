//! The commit task of a log: takes what waits, writes it as one group, syncs once, answers.
//!
//! The task belongs to the log, not to whoever appends: it is started when something waits and
//! ends when nothing does. One group is under way at a time, so whatever comes meanwhile shares
//! the next write and sync. After a failed write or sync nothing is tried again.

use std::{
    cell::RefMut,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures_channel::oneshot;
use futures_util::future::join;

use crate::{
    SyncPolicy, aligned, checkpoint,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    entry::{ENTRY_HEADER_BYTES, entry_end},
    error::Error,
    fill,
    group::Group,
    index::{Index, IndexEntry},
    limits,
    log::{Appended, Pending, PendingBatch, Shared, Standing, State},
    planted::{Bug, is_planted},
    removal,
    segment::{self, Segment},
    spare::{self, SpareState},
    tail::TailBatch,
};

/// Starts the commit task unless it runs already.
pub(crate) fn start<D: Disk>(shared: &Rc<Shared<D>>, state: &mut RefMut<'_, State<D::File>>) {
    if state.commit_running {
        return;
    }
    state.commit_running = true;
    let shared = Rc::clone(shared);
    spawn(&Rc::clone(&shared), state, async move {
        while let Some(work) = next_work(&shared) {
            perform(&shared, work).await;
        }
    });
}

/// Spawns work that [`crate::PartitionLog::close`] waits for.
pub(crate) fn spawn<D: Disk>(
    shared: &Rc<Shared<D>>,
    state: &mut State<D::File>,
    work: impl Future<Output = ()> + 'static,
) {
    state.tasks_count += 1;
    let log = Rc::clone(shared);
    shared.disk.spawn(async move {
        work.await;
        let mut state = log.state.borrow_mut();
        state.tasks_count -= 1;
        if state.tasks_count == 0 {
            for waiter in state.idle_waiters.drain(..) {
                // A waiter that went away needs no answer.
                let _ = waiter.send(());
            }
        }
    });
}

/// One step of the commit task.
enum Work {
    Group(Group),
    /// The next batch does not fit into the active segment, or there is none.
    Roll,
    Sync,
    Remove(Pending),
}

/// Takes the next step, or marks the task as ended when nothing waits.
fn next_work<D: Disk>(shared: &Shared<D>) -> Option<Work> {
    let mut state = shared.state.borrow_mut();
    match state.pending.front() {
        None => {
            state.commit_running = false;
            return None;
        }
        Some(Pending::Append(_)) => {}
        Some(Pending::Sync) => {
            state.pending.pop_front();
            return Some(Work::Sync);
        }
        Some(Pending::Remove { .. } | Pending::NotRemoved { .. }) => {
            return state.pending.pop_front().map(Work::Remove);
        }
    }
    let Some(active) = state.segments.back().cloned() else {
        return Some(Work::Roll);
    };
    let summary = active.summary();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    // Where it begins at the latest.
    let mut position = aligned::up(summary.end_position);
    while let Some(Pending::Append(batch)) = state.pending.front() {
        let end = entry_end(position, batch.record.len());
        let alone = group.is_empty() && summary.is_empty();
        if end > shared.options.segment_bytes_max && !alone {
            break;
        }
        if group_bytes + batch.record.len() > limits::GROUP_BYTES_MAX && !group.is_empty() {
            break;
        }
        position = end;
        group_bytes += batch.record.len();
        if let Some(Pending::Append(batch)) = state.pending.pop_front() {
            group.push(batch);
        }
    }
    if group.is_empty() {
        return Some(Work::Roll);
    }
    state.group_bytes_average = (state.group_bytes_average * 3 + group_bytes) / 4;
    Some(Work::Group(Group::new(
        group,
        summary.end_position,
        shared.options.write_mode,
        shared.sync_policy.get(),
        active.is_unsynced(),
    )))
}

async fn perform<D: Disk>(shared: &Rc<Shared<D>>, work: Work) {
    match work {
        Work::Group(group) => match write_pinned(shared, &group).await {
            Ok(synced) => {
                publish_group(shared, group, synced);
                if is_planted(Bug::AcknowledgeBeforeSync) {
                    let active = Rc::clone(shared.state.borrow().active());
                    let file = active.file(&shared.disk).await.expect("it opens");
                    drop(file.sync().await);
                }
            }
            Err(error) => {
                make_room(shared, &error).await;
                fail(shared, group.batches, &error);
            }
        },
        Work::Sync => match sync_active(shared).await {
            Ok(()) => checkpoint::start_when_far(shared, &mut shared.state.borrow_mut()),
            Err(error) => fail(shared, Vec::new(), &error),
        },
        Work::Roll => {
            if let Err(error) = roll(shared).await {
                make_room(shared, &error).await;
                fail(shared, Vec::new(), &error);
            }
        }
        Work::Remove(removal) => removal::perform(shared, removal).await,
    }
}

/// Gives the space of files that no segment needs yet back to a full disk: the next append may find
/// it.
async fn make_room<D: Disk>(shared: &Rc<Shared<D>>, error: &Error) {
    if matches!(error, Error::Full { .. }) {
        spare::remove(shared).await;
        shared.budget.give_up_spares();
    }
}

/// [`write_group`], with the file kept open from the write to the sync.
async fn write_pinned<D: Disk>(shared: &Rc<Shared<D>>, group: &Group) -> Result<bool, Error> {
    let active = Rc::clone(shared.state.borrow().active());
    shared.budget.pin(&active).await;
    let written = write_group(shared, group).await;
    match written {
        Ok(false) => shared.budget.leave_unsynced(shared),
        _ => active.unpin(),
    }
    written
}

/// Writes a group behind what is there, and syncs it unless the policy puts that off. Gives whether
/// everything is synced.
async fn write_group<D: Disk>(shared: &Rc<Shared<D>>, group: &Group) -> Result<bool, Error> {
    let active = Rc::clone(shared.state.borrow().active());
    let named = |operation| Error::at(operation, &active.path);
    if active.must_cut() {
        cut_leftovers(&shared.disk, &active).await?;
    }
    let file = match group.direct {
        true => active.direct_writer(&shared.disk).await?,
        false => active.file(&shared.disk).await?,
    };
    let zeros_bytes = active.zeros_wanted(group.end());
    let mut parts = group.encode(active.salt, active.synced_position(), zeros_bytes);
    // What is padded to a block is its own too.
    let written_end = aligned::up(group.end()) + zeros_bytes;
    active.fill.reserve(written_end).await;
    if is_planted(Bug::IndexBeforeData) {
        write_index_before(shared, &active, group).await?;
    }
    if is_planted(Bug::HeaderBeforeBody) && !group.direct {
        sync_name(shared, &active).await?;
        let header = parts[0].split_to(ENTRY_HEADER_BYTES);
        write_all_at(&file, group.position, vec![header])
            .await
            .map_err(named("write"))?;
        file.sync().await.map_err(named("sync"))?;
        let body_position = group.position + ENTRY_HEADER_BYTES as u64;
        let written = write_all_at(&file, body_position, parts).await;
        return written.map(|()| true).map_err(named("write"));
    }
    let writing = write_all_at(&file, group.position, parts);
    let (written, name_synced) = join(writing, sync_name(shared, &active)).await;
    name_synced?;
    if let Err(error) = written {
        let error = named("write")(error);
        if matches!(error, Error::Full { .. }) {
            cut_leftovers(&shared.disk, &active).await?;
        }
        return Err(error);
    }
    active.note_zeros(group.end(), zeros_bytes);
    let wanted = group.direct || is_sync_due(shared.sync_policy.get(), &active, group.end());
    if wanted {
        if !group.direct && !is_planted(Bug::NoSync) && !is_planted(Bug::AcknowledgeBeforeSync) {
            let synced = file.sync().await;
            synced.map_err(Error::sync_at("sync", &active.path))?;
        }
        shared.syncs_count.set(shared.syncs_count.get() + 1);
    }
    Ok(wanted)
}

/// Whether what was written up to `end` must be synced before it is acknowledged.
fn is_sync_due<F: DiskFile>(policy: SyncPolicy, active: &Segment<F>, end: u64) -> bool {
    match policy {
        SyncPolicy::EveryBatch => true,
        SyncPolicy::EveryBytes(bytes) => end - active.synced_position() >= bytes,
        SyncPolicy::EveryMillis(_) | SyncPolicy::Never => false,
    }
}

/// Syncs what was acknowledged before. All syncs of a segment's appends are made by the commit
/// task through one handle: a failed write-back is told only once.
async fn sync_active<D: Disk>(shared: &Shared<D>) -> Result<(), Error> {
    let active = shared.state.borrow().segments.back().cloned();
    let Some(active) = active.filter(|active| active.is_unsynced()) else {
        return Ok(());
    };
    let end = active.summary().end_position;
    // Kept open since it was written.
    let file = active.file(&shared.disk).await?;
    let synced = file.sync().await;
    active.unpin();
    synced.map_err(Error::sync_at("sync", &active.path))?;
    active.set_synced(end);
    shared.syncs_count.set(shared.syncs_count.get() + 1);
    Ok(())
}

/// Sees to it that what is acknowledged and not synced will be, at the time that the policy says.
pub(crate) fn start_sync_timer<D: Disk>(
    shared: &Rc<Shared<D>>,
    state: &mut RefMut<'_, State<D::File>>,
) {
    let milliseconds = match shared.sync_policy.get() {
        SyncPolicy::EveryMillis(milliseconds) => milliseconds,
        SyncPolicy::EveryBatch | SyncPolicy::EveryBytes(_) | SyncPolicy::Never => return,
    };
    let closed = matches!(state.standing, Standing::Closed);
    if closed || state.sync_timer.is_some() || !state.active().is_unsynced() {
        return;
    }
    let (stop, mut stopped) = oneshot::channel::<()>();
    state.sync_timer = Some(stop);
    let log = Rc::clone(shared);
    spawn(shared, state, async move {
        let mut sleep = pin!(log.disk.sleep(Duration::from_millis(milliseconds.into())));
        std::future::poll_fn(|context| {
            // Dropped by who wants it to end now.
            match Pin::new(&mut stopped).poll(context) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => sleep.as_mut().poll(context),
            }
        })
        .await;
        let mut state = log.state.borrow_mut();
        state.sync_timer = None;
        request_sync(&log, &mut state);
    });
}

/// Asks the commit task for a sync, behind what waits already.
pub(crate) fn request_sync<D: Disk>(
    shared: &Rc<Shared<D>>,
    state: &mut RefMut<'_, State<D::File>>,
) {
    if !matches!(state.standing, Standing::Fenced(_)) {
        state.pending.push_back(Pending::Sync);
        start(shared, state);
    }
}

/// Cuts what lies behind the end. The write that found the disk full may have left whole records,
/// which nobody was promised and which must neither be written over nor sealed in; so may the
/// process before, behind the zeros that end the log of a recycled file.
async fn cut_leftovers<D: Disk>(disk: &D, active: &Segment<D::File>) -> Result<(), Error> {
    active.fill.stop().await;
    let file = active.file(disk).await?;
    file.set_length(active.summary().end_position)
        .await
        .map_err(Error::sync_at("cut", &active.path))?;
    file.sync()
        .await
        .map_err(Error::sync_at("sync", &active.path))?;
    active.set_synced(active.summary().end_position);
    active.set_cut();
    active.fill.resume();
    Ok(())
}

/// Cuts leftovers off when a log is closed, so that the next start does not read them. Not synced:
/// without the cut, the block of zeros is where it was, and a start syncs what it finds.
pub(crate) async fn cut_at_close<D: Disk>(shared: &Shared<D>) {
    let active = shared.state.borrow().segments.back().cloned();
    let Some(active) = active.filter(|active| active.has_leftovers()) else {
        return;
    };
    if let Err(error) = cut_zeros(&shared.disk, &active).await {
        tracing::warn!(path = %active.path.display(), %error, "leftovers at the end not cut");
    }
}

/// The planted bug [`Bug::IndexBeforeData`].
async fn write_index_before<D: Disk>(
    shared: &Shared<D>,
    active: &Segment<D::File>,
    group: &Group,
) -> Result<(), Error> {
    let mut summary = active.summary();
    let mut position = group.position;
    for batch in &group.batches {
        position = entry_end(position, batch.record.len());
        summary.add(&batch.header, position);
    }
    let index = active
        .resident_index()
        .expect("the active segment's index is in memory");
    segment::write_index(
        &shared.disk,
        &shared.directory,
        &index,
        &summary,
        active.salt,
    )
    .await
}

/// Makes a group visible to readers and answers who waited for it.
fn publish_group<D: Disk>(shared: &Rc<Shared<D>>, group: Group, synced: bool) {
    let mut state = shared.state.borrow_mut();
    state.reopen();
    let active = Rc::clone(state.active());
    let mut summary = active.summary();
    let mut position = group.position;
    for batch in group.batches {
        let PendingBatch {
            header,
            record,
            reply,
        } = batch;
        let place = IndexEntry {
            base_offset: header.base_offset,
            timestamp_us: header.base_timestamp,
            position,
        };
        active.note(place, shared.options.index_interval_bytes);
        position = entry_end(position, record.len());
        summary.add(&header, position);
        active.set_summary(summary);
        state.pending_bytes -= record.len();
        shared.budget.give_pending(record.len());
        state.tail.push(TailBatch {
            base_offset: header.base_offset,
            next_offset: header.next_offset(),
            record,
        });
        // Whoever appended may have gone; the batch is durable all the same.
        let _ = reply.send(Ok(Appended {
            base_offset: header.base_offset,
            message_count: header.message_count,
            base_timestamp_us: header.base_timestamp,
        }));
    }
    if synced {
        active.set_synced(summary.end_position);
    }
    fill::start_when_low(shared, &mut state);
    checkpoint::start_when_far(shared, &mut state);
    spare::start_when_near(shared, &mut state);
    start_sync_timer(shared, &mut state);
    drop(state);
    shared.budget.use_tail(shared);
}

impl<F> State<F> {
    /// There is space again.
    pub(crate) fn reopen(&mut self) {
        if matches!(self.standing, Standing::Full) {
            self.standing = Standing::Open;
        }
    }
}

/// Answers everybody who waits with `error`, and takes back the offsets that were given out.
pub(crate) fn fail<D: Disk>(shared: &Shared<D>, group: Vec<PendingBatch>, error: &Error) {
    let mut state = shared.state.borrow_mut();
    let closed = matches!(state.standing, Standing::Closed);
    match error {
        Error::Full { .. } if !closed => state.standing = Standing::Full,
        Error::Full { .. } => {}
        error => {
            tracing::error!(
                directory = %shared.directory.display(),
                offset = state.durable_next_offset(),
                %error,
                "partition fenced: nothing is appended until a restart"
            );
            state.standing = Standing::Fenced(error.clone());
            // There will be no other sync.
            if let Some(active) = state.segments.back() {
                active.unpin();
            }
        }
    }
    let waiting = group
        .into_iter()
        .map(Pending::Append)
        .chain(state.pending.split_off(0));
    for pending in waiting {
        // Whoever asked may have gone.
        match pending {
            Pending::Append(batch) => drop(batch.reply.send(Err(error.clone()))),
            Pending::Remove { reply, .. } => drop(reply.send(Err(error.clone()))),
            Pending::NotRemoved { error, reply } => drop(reply.send(Err(error))),
            Pending::Sync => {}
        }
    }
    shared.budget.give_pending(state.pending_bytes);
    state.pending_bytes = 0;
    state.next_offset = state.durable_next_offset();
}

/// Seals the active segment and begins the next one, whose name becomes durable beside its first
/// group, or by [`sync_name`].
///
/// What is sealed is whole after any power cut: recovery takes missing records for damage.
pub(crate) async fn roll<D: Disk>(shared: &Rc<Shared<D>>) -> Result<(), Error> {
    if !is_planted(Bug::RollWithoutSync) {
        sync_active(shared).await?;
    }
    let next_offset = shared.state.borrow().durable_next_offset();
    let (disk, directory) = (&shared.disk, &shared.directory);
    let next = match spare::take(shared) {
        Some(spare) => {
            let next = segment::create_from(disk, directory, next_offset, spare).await;
            spare::free(shared);
            next?
        }
        None => segment::create(disk, directory, next_offset).await?,
    };
    let mut state = shared.state.borrow_mut();
    // A failed attempt is over with its segment.
    if matches!(state.spare, SpareState::Failed) {
        state.spare = SpareState::None;
    }
    state.segments.push_back(Rc::new(next));
    Ok(())
}

/// Makes the name of a segment that was begun durable; the one before it is sealed for good then.
pub(crate) async fn sync_name<D: Disk>(
    shared: &Rc<Shared<D>>,
    active: &Segment<D::File>,
) -> Result<(), Error> {
    if !active.must_sync_name.get() {
        return Ok(());
    }
    segment::sync_names(&shared.disk, &shared.directory).await?;
    if !active.must_sync_name.replace(false) {
        // Somebody else did it too.
        return Ok(());
    }
    let mut state = shared.state.borrow_mut();
    let before = state.segments.len().checked_sub(2);
    // It may be removed already.
    let Some(sealed) = before.map(|place| Rc::clone(&state.segments[place])) else {
        return Ok(());
    };
    let log = Rc::clone(shared);
    let index = sealed
        .resident_index()
        .expect("the active segment's index is in memory");
    spawn(shared, &mut state, async move {
        finish_sealed(&log, &sealed, &index).await;
    });
    Ok(())
}

/// Writes the index of a segment that was sealed, outside the way of commits: some of them later,
/// because the first one behind a roll had to wait already.
async fn finish_sealed<D: Disk>(shared: &Shared<D>, sealed: &Rc<Segment<D::File>>, index: &Index) {
    shared.disk.sleep(limits::SEAL_PAUSE).await;
    let is_there = |segment: &Rc<Segment<D::File>>| Rc::ptr_eq(segment, sealed);
    if !shared.state.borrow().segments.iter().any(is_there) {
        // Removed meanwhile.
        return;
    }
    let summary = sealed.summary();
    let turn = sealed.index_turn.take().await;
    let written = segment::write_index(
        &shared.disk,
        &shared.directory,
        index,
        &summary,
        sealed.salt,
    );
    if let Err(error) = written.await {
        // It is made again from the segment when it is needed.
        tracing::warn!(path = %sealed.path.display(), %error, "index not written");
    }
    sealed.seal();
    drop(turn);
    sealed.fill.stop().await;
    sealed.close_writer();
    if shared.options.zero_ahead_bytes_max > 0
        && !spare::is_worth_keeping(shared, sealed)
        && let Err(error) = cut_zeros(&shared.disk, sealed).await
    {
        tracing::warn!(path = %sealed.path.display(), %error, "zeros at the end not cut");
    }
    shared.budget.use_segment(sealed);
}

/// Cuts the zeros that were written ahead and are not needed.
async fn cut_zeros<D: Disk>(disk: &D, sealed: &Segment<D::File>) -> io::Result<()> {
    // The file that is kept may be open for reading only.
    let file = disk.open(&sealed.path, OpenMode::ReadWrite).await?;
    file.set_length(sealed.summary().end_position).await
}
