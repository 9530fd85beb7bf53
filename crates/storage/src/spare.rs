//! The file of the next segment, made ready while the active one still has room, so that the append
//! that finds no room waits for two small syncs and not for a file to be filled.
//!
//! It has the name of an unfinished file until it is a segment: a process that dies leaves nothing
//! that recovery would have to understand.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use crate::{
    SyncPolicy, aligned, appender,
    disk::{Disk, DiskFile, OpenMode, write_all_at},
    entry::BLOCK_BYTES,
    limits::{self, WriteMode},
    log::{Shared, State},
};

const NAME: &str = "next-segment.new";

/// A file without a header whose first bytes are ready.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) path: PathBuf,
    pub(crate) file: F,
    /// Up to where it is.
    pub(crate) ready_position: u64,
}

/// Whether there is a file for the next segment.
#[derive(Debug)]
pub(crate) enum SpareState<F> {
    /// None was made ready since the last roll.
    None,
    /// Under way: a roll now goes without, and the one after it finds it.
    Running,
    /// There will be none for this segment.
    Failed,
    Ready(Spare<F>),
}

/// Makes the next segment's file ready when the active segment is nearly full.
pub(crate) fn start_when_near<D: Disk>(shared: &Rc<Shared<D>>, state: &mut State<D::File>) {
    let options = &shared.options;
    let bytes =
        options.zero_ahead_bytes_max.min(options.segment_bytes_max) / BLOCK_BYTES * BLOCK_BYTES;
    let end = state.active().summary().end_position;
    let near = end + bytes >= options.segment_bytes_max;
    let wanted = near && bytes > 0 && shared.sync_policy.get() == SyncPolicy::EveryBatch;
    if !wanted || !matches!(state.spare, SpareState::None) {
        return;
    }
    state.spare = SpareState::Running;
    let reserve = state.group_bytes_average >= limits::RESERVE_GROUP_BYTES_MIN;
    let log = Rc::clone(shared);
    appender::spawn(shared, state, async move {
        let path = log.directory.join(NAME);
        match prepare(&log, &path, bytes, reserve).await {
            Ok(file) => {
                let ready_position = bytes;
                log.state.borrow_mut().spare = SpareState::Ready(Spare {
                    path,
                    file,
                    ready_position,
                });
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "no next segment made ready");
                // What was written of it is of no use and may fill the disk.
                let _ = log.disk.remove_file(&path).await;
                log.state.borrow_mut().spare = SpareState::Failed;
            }
        }
    });
}

async fn prepare<D: Disk>(
    shared: &Shared<D>,
    path: &Path,
    bytes: u64,
    reserve: bool,
) -> io::Result<D::File> {
    let file = shared.disk.open(path, OpenMode::CreateTruncate).await?;
    if reserve {
        file.reserve(0, bytes).await?;
        // Where the header goes, so that its sync at the roll has nothing to note about space.
        let block = aligned::zeros(BLOCK_BYTES as usize);
        write_all_at(&file, 0, vec![block]).await?;
    } else {
        let writer = match shared.options.write_mode {
            WriteMode::Direct => shared.disk.open(path, OpenMode::Direct).await?,
            WriteMode::Buffered => file.clone(),
        };
        let piece = bytes.min(limits::ZERO_AHEAD_PIECE_BYTES);
        let zeros = aligned::zeros(usize::try_from(piece).expect("a piece fits memory"));
        let mut position = 0;
        while position < bytes {
            let piece = piece.min(bytes - position);
            write_all_at(&writer, position, vec![zeros.slice(..piece as usize)]).await?;
            position += piece;
            // In small steps: commits of other logs wait for what lies in the page cache.
            writer.sync().await?;
        }
    }
    file.sync().await?;
    Ok(file)
}

/// Takes the file for a roll, if it is ready; a new one is made ready later.
pub(crate) fn take<D: Disk>(shared: &Shared<D>) -> Option<Spare<D::File>> {
    let mut state = shared.state.borrow_mut();
    if !matches!(state.spare, SpareState::Ready(_)) {
        return None;
    }
    match std::mem::replace(&mut state.spare, SpareState::None) {
        SpareState::Ready(spare) => Some(spare),
        SpareState::None | SpareState::Running | SpareState::Failed => None,
    }
}

/// Removes the file when the log is closed: the next start would do it otherwise.
pub(crate) async fn remove<D: Disk>(shared: &Shared<D>) {
    if let Some(spare) = take(shared) {
        let _ = shared.disk.remove_file(&spare.path).await;
    }
}
