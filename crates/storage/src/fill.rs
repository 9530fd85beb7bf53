//! Zeros written ahead of the log, so that an append changes no file length and allocates nothing:
//! its sync then flushes data alone.
//!
//! How far ahead follows how much was written: a partition with little in it stays small. Appends
//! never wait for zeros, except for those that are being written just where they want to go.

use std::{cell::RefCell, io, rc::Rc};

use futures_channel::oneshot;

use crate::{
    aligned, appender,
    disk::{Disk, DiskFile, write_all_at},
    entry::BLOCK_BYTES,
    limits,
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
    /// Nothing behind this position belongs to an append or to finished zeros.
    position: u64,
    running: bool,
    /// After a failure the segment goes on without.
    given_up: bool,
    waiters: Vec<oneshot::Sender<()>>,
}

impl Fill {
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

    /// Returns when no zeros are being written, and forgets how far they reach.
    pub(crate) async fn stop(&self) {
        self.reserve(u64::MAX - BLOCK_BYTES).await;
        let mut state = self.state.borrow_mut();
        (state.position, state.given_up) = (0, true);
    }

    /// Allows zeros again after [`Self::stop`].
    pub(crate) fn resume(&self) {
        self.state.borrow_mut().given_up = false;
    }

    fn finish(&self, position: Option<u64>) {
        let mut state = self.state.borrow_mut();
        state.running = false;
        match position {
            Some(position) => state.position = position,
            None => state.given_up = true,
        }
        for waiter in state.waiters.drain(..) {
            // A waiter that went away needs no answer.
            let _ = waiter.send(());
        }
    }

    /// The next zeros to write, if it is time: from where to where.
    fn next(&self, end: u64, window: u64, segment_bytes_max: u64) -> Option<(u64, u64)> {
        let mut state = self.state.borrow_mut();
        let from = state.position.max(aligned::up(end));
        let to = (aligned::up(end) + window).min(segment_bytes_max) / BLOCK_BYTES * BLOCK_BYTES;
        let plenty = from.saturating_sub(end) >= window / 2;
        if state.running || state.given_up || plenty || to <= from {
            return None;
        }
        state.running = true;
        state.position = from;
        Some((from, to))
    }
}

/// Writes zeros ahead of the active segment when there are few left.
pub(crate) fn start_when_low<D: Disk>(shared: &Rc<Shared<D>>, state: &mut State<D::File>) {
    let ahead_max = shared.options.zero_ahead_bytes_max;
    if ahead_max == 0 {
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
    let log = Rc::clone(shared);
    appender::spawn(shared, state, async move {
        let written = write_zeros(&log, &active, from, to).await;
        if let Err(error) = &written {
            tracing::warn!(path = %active.path.display(), %error, "no zeros ahead");
        }
        active.fill.finish(written.ok().map(|()| to));
    });
}

async fn write_zeros<D: Disk>(
    shared: &Shared<D>,
    active: &Segment<D::File>,
    from: u64,
    to: u64,
) -> io::Result<()> {
    let file = active
        .writer(&shared.disk, shared.options.write_mode)
        .await
        .map_err(io::Error::other)?;
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
