//! The commit task of a log: takes what waits, writes it as one group, syncs once, answers.
//!
//! The task belongs to the log, not to whoever appends: it is started when something waits and
//! ends when nothing does. One group is under way at a time, so whatever comes meanwhile shares
//! the next write and sync. After a failed write or sync nothing is tried again.

use std::{cell::RefMut, io, rc::Rc};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    aligned, checkpoint,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    entry::{ENTRY_HEADER_BYTES, EntryHeader, entry_end},
    error::Error,
    fill,
    index::{Index, IndexEntry, SegmentSummary},
    layout,
    limits::{self, LogOptions, WriteMode},
    log::{Appended, Pending, PendingBatch, Removed, Shared, Standing, State},
    planted::{Bug, is_planted},
    segment::{self, Segment},
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
    Group(Vec<PendingBatch>),
    /// The next batch does not fit into the active segment, or there is none.
    Roll,
    Remove(Pending),
}

/// Takes the next step, or marks the task as ended when nothing waits.
fn next_work<D: Disk>(shared: &Shared<D>) -> Option<Work> {
    let mut state = shared.state.borrow_mut();
    if let Some(Pending::Remove { .. }) = state.pending.front() {
        return state.pending.pop_front().map(Work::Remove);
    }
    if state.pending.is_empty() {
        state.commit_running = false;
        return None;
    }
    let Some(active) = state.segments.back() else {
        return Some(Work::Roll);
    };
    let summary = active.summary();
    let mut group = Vec::new();
    let mut group_bytes = 0;
    let mut position = group_start(&shared.options, &summary);
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
    Some(if group.is_empty() {
        Work::Roll
    } else {
        Work::Group(group)
    })
}

/// Where the next group begins.
fn group_start(options: &LogOptions, summary: &SegmentSummary) -> u64 {
    match options.write_mode {
        WriteMode::Buffered => summary.end_position,
        WriteMode::Direct => aligned::up(summary.end_position),
    }
}

async fn perform<D: Disk>(shared: &Rc<Shared<D>>, work: Work) {
    match work {
        Work::Group(group) => match write_pinned(shared, &group).await {
            Ok(()) => {
                publish_group(shared, group);
                if is_planted(Bug::AcknowledgeBeforeSync) {
                    let active = Rc::clone(shared.state.borrow().active());
                    let file = active.open_file().expect("the active segment is open");
                    drop(file.sync().await);
                }
            }
            Err(error) => fail(shared, group, &error),
        },
        Work::Roll => {
            if let Err(error) = roll(shared).await {
                fail(shared, Vec::new(), &error);
            }
        }
        Work::Remove(Pending::Remove {
            before_offset,
            seal,
            reply,
        }) => {
            let result = remove(shared, before_offset, seal).await;
            if let Err(error) = &result {
                fail(shared, Vec::new(), error);
            }
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
        Work::Remove(Pending::Append(_)) => unreachable!("only removals are taken as such"),
    }
}

/// [`write_group`], with the file kept open from the write to the sync.
async fn write_pinned<D: Disk>(
    shared: &Rc<Shared<D>>,
    group: &[PendingBatch],
) -> Result<(), Error> {
    let active = Rc::clone(shared.state.borrow().active());
    active.set_written(true);
    shared.budget.use_segment(&active);
    let written = write_group(shared, group).await;
    active.set_written(false);
    written
}

/// Writes and syncs a group behind what is durable.
async fn write_group<D: Disk>(shared: &Shared<D>, group: &[PendingBatch]) -> Result<(), Error> {
    let active = Rc::clone(shared.state.borrow().active());
    let named = |operation| Error::at(operation, &active.path);
    let mode = shared.options.write_mode;
    let file = active.writer(&shared.disk, mode).await?;
    // Not where the group begins: what lies between may be padding that was never written.
    let synced = active.summary().end_position;
    let position = group_start(&shared.options, &active.summary());
    let mut parts = match mode {
        WriteMode::Buffered => encode_group(group, active.salt, synced, position),
        WriteMode::Direct => vec![encode_blocks(group, active.salt, synced, position)],
    };
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    active.fill.reserve(position + bytes as u64).await;
    if is_planted(Bug::IndexBeforeData) {
        write_index_before(shared, &active, group).await?;
    }
    if is_planted(Bug::HeaderBeforeBody) {
        let header = parts[0].split_to(ENTRY_HEADER_BYTES);
        write_all_at(&file, position, vec![header])
            .await
            .map_err(named("write"))?;
        file.sync().await.map_err(named("sync"))?;
        let body_position = position + ENTRY_HEADER_BYTES as u64;
        return write_all_at(&file, body_position, parts)
            .await
            .map_err(named("write"));
    }
    if let Err(error) = write_all_at(&file, position, parts).await {
        let error = named("write")(error);
        if matches!(error, Error::Full { .. }) {
            cut_leftovers(&shared.disk, &active).await?;
        }
        return Err(error);
    }
    if !is_planted(Bug::NoSync) && !is_planted(Bug::AcknowledgeBeforeSync) {
        file.sync()
            .await
            .map_err(Error::sync_at("sync", &active.path))?;
    }
    shared.syncs_count.set(shared.syncs_count.get() + 1);
    Ok(())
}

/// Cuts what the write that found the disk full may have left: whole records even, which nobody
/// was promised and which must neither be written over nor sealed in.
async fn cut_leftovers<D: Disk>(disk: &D, active: &Segment<D::File>) -> Result<(), Error> {
    active.fill.stop().await;
    let file = active.file(disk).await?;
    file.set_length(active.summary().end_position)
        .await
        .map_err(Error::sync_at("cut", &active.path))?;
    file.sync()
        .await
        .map_err(Error::sync_at("sync", &active.path))?;
    active.fill.resume();
    Ok(())
}

/// The planted bug [`Bug::IndexBeforeData`].
async fn write_index_before<D: Disk>(
    shared: &Shared<D>,
    active: &Segment<D::File>,
    group: &[PendingBatch],
) -> Result<(), Error> {
    let mut summary = active.summary();
    let mut position = group_start(&shared.options, &summary);
    for batch in group {
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

/// The header of a batch's entry, when everything up to `synced_position` is durable.
fn entry_header(batch: &PendingBatch, synced_position: u64) -> EntryHeader {
    EntryHeader {
        record_bytes: u32::try_from(batch.record.len()).expect("checked when it was taken"),
        synced_position,
        record_checksum: batch.header.batch_checksum,
    }
}

/// Zeros between the end of a record and the end of its entry.
fn padding_bytes(header: &EntryHeader, position: u64) -> usize {
    let record_end = position + ENTRY_HEADER_BYTES as u64 + u64::from(header.record_bytes);
    (header.end_position(position) - record_end) as usize
}

/// The bytes of a group: an entry per batch. Small records are copied next to each other, large
/// ones are parts of their own.
fn encode_group(group: &[PendingBatch], salt: u64, synced: u64, group_position: u64) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut joined = BytesMut::new();
    let mut position = group_position;
    for batch in group {
        let header = entry_header(batch, synced);
        joined.put_slice(&header.encode(salt, position));
        if batch.record.len() <= limits::WRITE_COPY_BYTES_MAX {
            joined.put_slice(&batch.record);
        } else {
            parts.push(joined.split().freeze());
            parts.push(batch.record.clone());
        }
        joined.put_bytes(0, padding_bytes(&header, position));
        position = header.end_position(position);
    }
    parts.push(joined.freeze());
    parts
}

/// The same in whole blocks of aligned memory, which is what writes past the page cache take.
fn encode_blocks(group: &[PendingBatch], salt: u64, synced: u64, group_position: u64) -> Bytes {
    let end = group.iter().fold(group_position, |position, batch| {
        entry_end(position, batch.record.len())
    });
    let bytes = usize::try_from(aligned::up(end) - group_position).expect("a group fits memory");
    let mut blocks = aligned::buffer(bytes);
    let mut position = group_position;
    for batch in group {
        let header = entry_header(batch, synced);
        blocks.put_slice(&header.encode(salt, position));
        blocks.put_slice(&batch.record);
        blocks.put_bytes(0, padding_bytes(&header, position));
        position = header.end_position(position);
    }
    blocks.put_bytes(0, bytes - blocks.len());
    blocks.freeze()
}

/// Makes a durable group visible to readers and answers who waited for it.
fn publish_group<D: Disk>(shared: &Rc<Shared<D>>, group: Vec<PendingBatch>) {
    let mut state = shared.state.borrow_mut();
    state.reopen();
    let active = Rc::clone(state.active());
    let mut summary = active.summary();
    let mut position = group_start(&shared.options, &summary);
    for batch in group {
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
    fill::start_when_low(shared, &mut state);
    checkpoint::start_when_far(shared, &mut state);
    drop(state);
    shared.budget.use_tail(shared);
}

impl<F> State<F> {
    /// There is space again.
    fn reopen(&mut self) {
        if matches!(self.standing, Standing::Full) {
            self.standing = Standing::Open;
        }
    }
}

/// Answers everybody who waits with `error`, and takes back the offsets that were given out.
fn fail<D: Disk>(shared: &Shared<D>, group: Vec<PendingBatch>, error: &Error) {
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
        }
    }
    shared.budget.give_pending(state.pending_bytes);
    state.pending_bytes = 0;
    state.next_offset = state.durable_next_offset();
}

/// Seals the active segment and begins the next one.
async fn roll<D: Disk>(shared: &Rc<Shared<D>>) -> Result<(), Error> {
    let next_offset = shared.state.borrow().durable_next_offset();
    let next = segment::create(&shared.disk, &shared.directory, next_offset).await?;
    let mut state = shared.state.borrow_mut();
    let sealed = state.segments.back().cloned();
    state.segments.push_back(Rc::new(next));
    let Some(sealed) = sealed else {
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

/// Writes the index of a segment that was sealed, outside the way of commits.
async fn finish_sealed<D: Disk>(shared: &Shared<D>, sealed: &Rc<Segment<D::File>>, index: &Index) {
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

/// Removes segments, oldest first.
///
/// Each removal is durable before the next begins, so that what is left after a power cut has no
/// holes. The segments are no longer served from the moment that they are taken. Sealed ones go
/// before the active one is sealed: on a full disk that makes the room for its successor.
async fn remove<D: Disk>(
    shared: &Rc<Shared<D>>,
    before_offset: u64,
    seal: bool,
) -> Result<Removed, Error> {
    let mut removed = remove_sealed(shared, before_offset).await?;
    let active = shared.state.borrow().segments.back().cloned();
    let Some(summary) = active.map(|active| active.summary()) else {
        return Ok(removed);
    };
    if seal && !summary.is_empty() && summary.next_offset <= before_offset {
        roll(shared).await?;
        let last = remove_sealed(shared, before_offset).await?;
        removed.segments_count += last.segments_count;
        removed.record_bytes += last.record_bytes;
    }
    Ok(removed)
}

async fn remove_sealed<D: Disk>(
    shared: &Rc<Shared<D>>,
    before_offset: u64,
) -> Result<Removed, Error> {
    let mut removed = Removed::default();
    while let Some(oldest) = take_oldest(shared, before_offset) {
        if let Err(error) = shared.disk.remove_file(&oldest.path).await {
            // It is still there: later removals must not go past it.
            shared
                .state
                .borrow_mut()
                .segments
                .push_front(Rc::clone(&oldest));
            return Err(Error::io("remove", &oldest.path, error));
        }
        let directory = &shared.directory;
        let index = layout::index_path(directory, oldest.summary().base_offset);
        match shared.disk.remove_file(&index).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // Left without its segment, it is removed when the log is opened.
                tracing::warn!(path = %index.display(), %error, "index not removed");
            }
            _ => {}
        }
        shared
            .disk
            .sync_directory(directory)
            .await
            .map_err(Error::sync_at("sync directory", directory))?;
        removed.segments_count += 1;
        removed.record_bytes += oldest.summary().record_bytes;
        // There is space again; should it not suffice, the next append says so.
        shared.state.borrow_mut().reopen();
    }
    Ok(removed)
}

/// Takes the oldest segment out of the log when it is sealed and lies wholly before the offset.
fn take_oldest<D: Disk>(shared: &Shared<D>, before_offset: u64) -> Option<Rc<Segment<D::File>>> {
    let mut state = shared.state.borrow_mut();
    let wholly_before =
        state.segments.len() > 1 && state.segments[0].summary().next_offset <= before_offset;
    if !wholly_before {
        return None;
    }
    let oldest = state.segments.pop_front()?;
    // The space is given back when nobody has the file open.
    oldest.let_go();
    shared
        .budget
        .forget_cursors(|segment| Rc::ptr_eq(segment, &oldest));
    let first_offset = state.segments[0].summary().base_offset;
    state.tail.forget_before(first_offset);
    Some(oldest)
}
