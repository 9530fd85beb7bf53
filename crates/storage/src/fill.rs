//! Space made ready ahead of the log, so that an append changes no file length and allocates
//! nothing: its sync then flushes data alone.
//!
//! Small groups find zeros that were written ahead. Large groups find space that is only reserved:
//! zeros before them would double what the disk has to write, which costs them more than the file
//! system's note that the space is in use now.
//!
//! How far ahead follows how much was written: a partition with little in it stays small. Appends
//! never wait for this work, except for zeros that are being written just where they want to go.
//!
//! It syncs through a handle of its own: a failed write-back is told once to each handle, and what
//! concerns an append must be told to the append.

use std::{cell::RefCell, io, rc::Rc};

use futures_channel::oneshot;

use crate::{
    SyncPolicy, aligned, appender,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    entry::BLOCK_BYTES,
    limits::{self, WriteMode},
    log::{Shared, State},
    segment::{FIRST_ENTRY_POSITION, Segment},
};

/// How far a segment is filled.
#[derive(Debug, Default)]
pub(crate) struct Fill {
    state: RefCell<FillState>,
}

#[derive(Debug, Default)]
struct FillState {
    /// Nothing behind this position belongs to an append or is ready.
    position: u64,
    running: bool,
    /// Nothing is made ready before the log has come so far: it failed, or must not be.
    resume_position: u64,
    waiters: Vec<oneshot::Sender<()>>,
}

impl Fill {
    /// Of a segment whose file is ready up to `position`.
    pub(crate) fn ready_to(position: u64) -> Self {
        let fill = Self::default();
        fill.state.borrow_mut().position = position;
        fill
    }

    /// Returns when an append may write up to `end`, and makes later zeros begin behind it.
    pub(crate) async fn reserve(&self, end: u64) {
        loop {
            let receiver = {
                let mut state = self.state.borrow_mut();
                if !state.running || end <= state.position {
                    state.position = state.position.max(aligned::up(end));
                    return;
                }
                let (sender, receiver) = oneshot::channel();
                state.waiters.push(sender);
                receiver
            };
            // Used or dropped when the zeros are written; both mean "look again".
            let _ = receiver.await;
        }
    }

    /// Returns when nothing is being made ready, and forgets how far it reached.
    pub(crate) async fn stop(&self) {
        self.reserve(u64::MAX - BLOCK_BYTES).await;
        let mut state = self.state.borrow_mut();
        (state.position, state.resume_position) = (0, u64::MAX);
    }

    /// Goes on after [`Self::stop`].
    pub(crate) fn resume(&self) {
        self.state.borrow_mut().resume_position = 0;
    }

    fn finish(&self, result: Result<u64, u64>) {
        let mut state = self.state.borrow_mut();
        state.running = false;
        match result {
            Ok(position) => state.position = position,
            Err(resume_position) => state.resume_position = resume_position,
        }
        for waiter in state.waiters.drain(..) {
            // A waiter that went away needs no answer.
            let _ = waiter.send(());
        }
    }

    /// What to make ready next, if it is time: from where to where.
    fn next(&self, end: u64, window: u64, segment_bytes_max: u64) -> Option<(u64, u64)> {
        let mut state = self.state.borrow_mut();
        let from = state.position.max(aligned::up(end));
        let to = (aligned::up(end) + window).min(segment_bytes_max) / BLOCK_BYTES * BLOCK_BYTES;
        let plenty = from.saturating_sub(end) >= window / 2;
        if state.running || end < state.resume_position || plenty || to <= from {
            return None;
        }
        state.running = true;
        state.position = from;
        Some((from, to))
    }
}

/// Makes space ready ahead of the active segment when there is little left.
pub(crate) fn start_when_low<D: Disk>(shared: &Rc<Shared<D>>, state: &mut State<D::File>) {
    let ahead_max = shared.options.zero_ahead_bytes_max;
    // Who does not wait for syncs gains nothing from making them cheap.
    if ahead_max == 0 || shared.sync_policy.get() != SyncPolicy::EveryBatch {
        return;
    }
    let active = Rc::clone(state.active());
    let end = active.summary().end_position;
    // A log that filled a segment before will fill this one.
    let used = match state.segments.len() {
        1 => end - FIRST_ENTRY_POSITION,
        _ => shared.options.segment_bytes_max,
    };
    let window = used.max(limits::ZERO_AHEAD_BYTES_MIN).min(ahead_max);
    let Some((from, to)) = active
        .fill
        .next(end, window, shared.options.segment_bytes_max)
    else {
        return;
    };
    let large = state.group_bytes_average >= limits::RESERVE_GROUP_BYTES_MIN;
    let log = Rc::clone(shared);
    appender::spawn(shared, state, async move {
        let made = match large {
            true => reserve(&log, &active, from, to).await,
            false => write_zeros(&log, &active, from, to).await,
        };
        if let Err(error) = &made {
            tracing::warn!(path = %active.path.display(), %error, "no space made ready");
        }
        // After a failure the log goes on without for a while: a full disk may have space again.
        let result = made.map(|()| to).map_err(|_| from + window);
        active.fill.finish(result);
    });
}

async fn reserve<D: Disk>(
    shared: &Shared<D>,
    active: &Segment<D::File>,
    from: u64,
    to: u64,
) -> io::Result<()> {
    let file = shared.disk.open(&active.path, OpenMode::ReadWrite).await?;
    file.reserve(from, to - from).await?;
    file.sync().await
}

async fn write_zeros<D: Disk>(
    shared: &Shared<D>,
    active: &Segment<D::File>,
    from: u64,
    to: u64,
) -> io::Result<()> {
    let mode = match shared.options.write_mode {
        WriteMode::Direct => OpenMode::Direct,
        WriteMode::Buffered => OpenMode::ReadWrite,
    };
    let file = shared.disk.open(&active.path, mode).await?;
    let bytes = (to - from).min(limits::ZERO_AHEAD_PIECE_BYTES);
    let zeros = aligned::zeros(usize::try_from(bytes).expect("a piece fits memory"));
    let mut position = from;
    while position < to {
        let bytes = (to - position).min(bytes);
        write_all_at(&file, position, vec![zeros.slice(..bytes as usize)]).await?;
        position += bytes;
    }
    file.sync().await
}
