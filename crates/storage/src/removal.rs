//! Removing a log's oldest segments: for retention, on request, or all of them.

use std::{io, rc::Rc};

use futures_channel::oneshot;

use crate::{
    appender,
    disk::Disk,
    error::Error,
    layout,
    log::{Pending, Removed, Shared},
    planted::{Bug, is_planted},
    segment::Segment,
    spare,
};

/// What empties the log is done between commits, what removes its oldest segments beside them.
pub(crate) async fn perform<D: Disk>(shared: &Rc<Shared<D>>, removal: Pending) {
    let (result, reply) = match removal {
        Pending::Remove {
            before_offset,
            seal: true,
            reply,
        } => (remove_all(shared, before_offset).await, reply),
        Pending::Remove {
            before_offset,
            seal: false,
            reply,
        } => return remove_beside(shared, before_offset, reply),
        Pending::NotRemoved { error, reply } => (Err(error), reply),
        Pending::Append(_) | Pending::Sync => unreachable!("only removals are taken as such"),
    };
    if let Err(error) = &result {
        appender::fail(shared, Vec::new(), error);
    }
    // Whoever asked may have gone.
    let _ = reply.send(result);
}

fn remove_beside<D: Disk>(
    shared: &Rc<Shared<D>>,
    before_offset: u64,
    reply: oneshot::Sender<Result<Removed, Error>>,
) {
    let log = Rc::clone(shared);
    appender::spawn(shared, &mut shared.state.borrow_mut(), async move {
        let turn = log.removal_turn.take().await;
        let result = remove_sealed(&log, before_offset, true).await;
        drop(turn);
        let error = match result {
            // Whoever asked may have gone.
            Ok(removed) => return drop(reply.send(Ok(removed))),
            Err(error) => error,
        };
        // A group may be under way, so the commit task is who says that the log has failed.
        let mut state = log.state.borrow_mut();
        let failure = Pending::NotRemoved { error, reply };
        state.pending.push_front(failure);
        appender::start(&log, &mut state);
    });
}

/// Removes all segments before the offset, the active one included.
///
/// Each removal is durable before the next begins, so that what is left after a power cut has no
/// holes. The segments are no longer served from the moment that they are taken. Sealed ones go
/// before the active one is sealed: on a full disk that makes the room for its successor.
async fn remove_all<D: Disk>(shared: &Rc<Shared<D>>, before_offset: u64) -> Result<Removed, Error> {
    let _turn = shared.removal_turn.take().await;
    // Who purges wants the space back.
    let mut removed = remove_sealed(shared, before_offset, false).await?;
    let active = shared.state.borrow().segments.back().cloned();
    let Some(summary) = active.map(|active| active.summary()) else {
        return Ok(removed);
    };
    if !summary.is_empty() && summary.next_offset <= before_offset {
        spare::remove(shared).await;
        appender::roll(shared).await?;
        let active = Rc::clone(shared.state.borrow().active());
        appender::sync_name(shared, &active).await?;
        let last = remove_sealed(shared, before_offset, false).await?;
        removed.segments_count += last.segments_count;
        removed.record_bytes += last.record_bytes;
    }
    Ok(removed)
}

async fn remove_sealed<D: Disk>(
    shared: &Rc<Shared<D>>,
    before_offset: u64,
    may_recycle: bool,
) -> Result<Removed, Error> {
    let mut removed = Removed::default();
    while let Some(oldest) = next_oldest(shared, before_offset).await? {
        let recycled = match may_recycle {
            true => spare::claim(shared, &oldest),
            false => None,
        };
        let gone = match &recycled {
            Some(name) => shared.disk.rename(&oldest.path, name).await,
            None => shared.disk.remove_file(&oldest.path).await,
        };
        if let Err(error) = gone {
            if recycled.is_some() {
                spare::fail(shared);
            }
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
        if recycled.is_none() || !is_planted(Bug::RecycledTooEarly) {
            let synced = shared.disk.sync_directory(directory).await;
            synced.map_err(Error::sync_at("sync directory", directory))?;
        }
        if recycled.is_some() {
            spare::recycle(shared);
        }
        removed.segments_count += 1;
        removed.record_bytes += oldest.summary().record_bytes;
        // There is space again; should it not suffice, the next append says so.
        shared.state.borrow_mut().reopen();
    }
    Ok(removed)
}

/// Takes the oldest segment out of the log when it is sealed and lies wholly before the offset.
async fn next_oldest<D: Disk>(
    shared: &Rc<Shared<D>>,
    before_offset: u64,
) -> Result<Option<Rc<Segment<D::File>>>, Error> {
    loop {
        let successor = match take_oldest(shared, before_offset) {
            Oldest::Stays => return Ok(None),
            Oldest::Taken(oldest) => return Ok(Some(oldest)),
            Oldest::Awaits(successor) => successor,
        };
        appender::sync_name(shared, &successor).await?;
    }
}

enum Oldest<F> {
    Stays,
    Taken(Rc<Segment<F>>),
    /// The log would begin with this segment, whose name is not durable yet: a power cut could take
    /// all of the log, and its offsets would begin again.
    Awaits(Rc<Segment<F>>),
}

fn take_oldest<D: Disk>(shared: &Shared<D>, before_offset: u64) -> Oldest<D::File> {
    let mut state = shared.state.borrow_mut();
    let Some(successor) = state.segments.get(1).map(Rc::clone) else {
        return Oldest::Stays;
    };
    if state.segments[0].summary().next_offset > before_offset {
        return Oldest::Stays;
    }
    if successor.must_sync_name.get() {
        return Oldest::Awaits(successor);
    }
    let Some(oldest) = state.segments.pop_front() else {
        return Oldest::Stays;
    };
    // The space is given back when nobody has the file open.
    oldest.let_go();
    shared
        .budget
        .forget_cursors(|segment| Rc::ptr_eq(segment, &oldest));
    state.tail.forget_before(successor.summary().base_offset);
    Oldest::Taken(oldest)
}
