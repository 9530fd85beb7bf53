//! The file of the next segment, made ready while the active one still has room, so that the append
//! that finds no room waits for two small syncs and not for a file to be filled.
//!
//! It has the name of an unfinished file until it is a segment: a process that dies leaves nothing
//! that recovery would have to understand.
//!
//! When a segment is removed while the active one is being filled, its file becomes that next one:
//! writes over blocks that were written before have nothing to note in the file system. It stays in
//! its partition, so that nobody's bytes come to lie in a file of somebody else's, and there is one
//! at most.

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
    log::{Shared, Standing, State},
    segment::Segment,
};

const NAME: &str = "next-segment.new";

/// The next segment's file before it has a header.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    pub(crate) path: PathBuf,
    pub(crate) file: F,
    /// Up to where it is ready.
    pub(crate) ready_position: u64,
    /// Whether an older segment's bytes lie in it.
    pub(crate) is_recycled: bool,
}

/// Whether there is a file for the next segment.
#[derive(Debug)]
pub(crate) enum SpareState<F> {
    /// None was made ready since the last roll.
    None,
    /// Under way: a roll now goes without, and the one after it finds it.
    Running,
    /// There will be none for this segment, unless one is recycled.
    Failed,
    Ready(Spare<F>),
}

/// Bytes of the next segment's file that are made ready; 0 makes none ready.
fn ready_bytes<D: Disk>(shared: &Shared<D>) -> u64 {
    let options = &shared.options;
    if shared.sync_policy.get() != SyncPolicy::EveryBatch {
        // Who does not wait for syncs gains nothing from making them cheap.
        return 0;
    }
    let share = options.segment_bytes_max / limits::SPARE_SHARE;
    options.zero_ahead_bytes_max.min(share) / BLOCK_BYTES * BLOCK_BYTES
}

/// Whether the active segment has no more than so much room.
fn is_near<D: Disk>(shared: &Shared<D>, state: &State<D::File>, bytes: u64) -> bool {
    let end = state.active().summary().end_position;
    end + bytes >= shared.options.segment_bytes_max
}

/// Makes the next segment's file ready when the active segment is nearly full.
pub(crate) fn start_when_near<D: Disk>(shared: &Rc<Shared<D>>, state: &mut State<D::File>) {
    let bytes = ready_bytes(shared);
    if bytes == 0 {
        return;
    }
    // Earlier, so that what is removed now is ready in place of a file that was never written.
    if is_near(shared, state, 2 * bytes) && !state.active().near_end_told.replace(true) {
        shared.near_end.tell();
    }
    if !is_near(shared, state, bytes) || !matches!(state.spare, SpareState::None) {
        return;
    }
    state.spare = SpareState::Running;
    let reserve = state.group_bytes_average >= limits::RESERVE_GROUP_BYTES_MIN;
    let log = Rc::clone(shared);
    appender::spawn(shared, state, async move {
        let path = path(&log);
        let made = prepare(&log, &path, bytes, reserve).await;
        finish(&log, made, bytes, false).await;
    });
}

/// Keeps what was made ready, or removes what is left of it.
async fn finish<D: Disk>(
    shared: &Rc<Shared<D>>,
    made: io::Result<D::File>,
    ready_position: u64,
    is_recycled: bool,
) {
    let path = path(shared);
    match made {
        Ok(file) => {
            shared.state.borrow_mut().spare = SpareState::Ready(Spare {
                path,
                file,
                ready_position,
                is_recycled,
            });
            shared.budget.note_spare(shared);
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no next segment made ready");
            // What was written of it is of no use and may fill the disk.
            let _ = shared.disk.remove_file(&path).await;
            shared.state.borrow_mut().spare = SpareState::Failed;
        }
    }
}

fn path<D: Disk>(shared: &Shared<D>) -> PathBuf {
    shared.directory.join(NAME)
}

/// The name that a segment gets instead of being removed, when it is wanted as the next one's file.
/// It is when the active segment will need one soon and nobody else uses this one's file. Followed
/// by [`recycle`] or [`fail`].
pub(crate) fn claim<D: Disk>(
    shared: &Shared<D>,
    removed: &Rc<Segment<D::File>>,
) -> Option<PathBuf> {
    let mut state = shared.state.borrow_mut();
    let bytes = ready_bytes(shared);
    let quarters = 4 * removed.summary().end_position / shared.options.segment_bytes_max;
    let is_fit = quarters >= limits::RECYCLED_QUARTERS_MIN && Rc::strong_count(removed) == 1;
    let is_open = matches!(state.standing, Standing::Open);
    let is_wanted = bytes > 0 && is_open && is_near(shared, &state, 2 * bytes);
    let has_place = match &state.spare {
        SpareState::None | SpareState::Failed => true,
        // The name passes on to the better file.
        SpareState::Ready(spare) => !spare.is_recycled,
        SpareState::Running => false,
    };
    if !is_fit || !is_wanted || !has_place {
        return None;
    }
    state.spare = SpareState::Running;
    Some(path(shared))
}

/// Whether a sealed segment's file stays as long as it is: it was recycled and will be again, and
/// what lies behind its end is little. To cut it and to lengthen it again would be two changes of
/// the file system's metadata, beside commits that wait for them.
pub(crate) fn is_worth_keeping<D: Disk>(shared: &Shared<D>, sealed: &Segment<D::File>) -> bool {
    let sixteenths = 16 * sealed.summary().end_position / shared.options.segment_bytes_max;
    sealed.has_leftovers() && sixteenths >= limits::UNCUT_SIXTEENTHS_MIN
}

/// There will be nothing of what was claimed or taken.
pub(crate) fn fail<D: Disk>(shared: &Shared<D>) {
    shared.state.borrow_mut().spare = SpareState::Failed;
}

/// Makes a removed segment's file ready, once its old name is gone for good.
pub(crate) fn recycle<D: Disk>(shared: &Rc<Shared<D>>) {
    let log = Rc::clone(shared);
    appender::spawn(shared, &mut shared.state.borrow_mut(), async move {
        // The last group may end in the last block, with one of zeros behind it.
        let bytes = aligned::up(log.options.segment_bytes_max) + BLOCK_BYTES;
        let made = prepare_recycled(&log, bytes).await;
        finish(&log, made, bytes, true).await;
    });
}

/// Makes the file as long as a segment may be, so that all of it was written before.
async fn prepare_recycled<D: Disk>(shared: &Shared<D>, bytes: u64) -> io::Result<D::File> {
    let path = path(shared);
    let file = shared.disk.open(&path, OpenMode::ReadWrite).await?;
    let length = file.length().await?;
    if length == bytes {
        return Ok(file);
    }
    if length > bytes {
        file.set_length(bytes).await?;
    }
    write_zeros(shared, &path, &file, aligned::up(length), bytes).await?;
    file.sync().await?;
    Ok(file)
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
        write_zeros(shared, path, &file, 0, bytes).await?;
    }
    file.sync().await?;
    Ok(file)
}

async fn write_zeros<D: Disk>(
    shared: &Shared<D>,
    path: &Path,
    file: &D::File,
    from: u64,
    to: u64,
) -> io::Result<()> {
    let writer = match shared.options.write_mode {
        WriteMode::Direct => shared.disk.open(path, OpenMode::Direct).await?,
        WriteMode::Buffered => file.clone(),
    };
    let piece = to.saturating_sub(from).min(limits::ZERO_AHEAD_PIECE_BYTES);
    let zeros = aligned::zeros(usize::try_from(piece).expect("a piece fits memory"));
    let mut position = from;
    while position < to {
        let piece = piece.min(to - position);
        write_all_at(&writer, position, vec![zeros.slice(..piece as usize)]).await?;
        position += piece;
        // In small steps: commits of other logs wait for what lies in the page cache.
        writer.sync().await?;
    }
    Ok(())
}

/// Takes the file, if it is ready. Nothing else gets its name before [`free`] or [`fail`].
pub(crate) fn take<D: Disk>(shared: &Shared<D>) -> Option<Spare<D::File>> {
    let mut state = shared.state.borrow_mut();
    if !matches!(state.spare, SpareState::Ready(_)) {
        return None;
    }
    match std::mem::replace(&mut state.spare, SpareState::Running) {
        SpareState::Ready(spare) => Some(spare),
        SpareState::None | SpareState::Running | SpareState::Failed => None,
    }
}

/// What was taken has another name now: a new one may be made ready.
pub(crate) fn free<D: Disk>(shared: &Shared<D>) {
    shared.state.borrow_mut().spare = SpareState::None;
}

/// Removes the file, for room or because the log is closed: the next start would do it otherwise.
pub(crate) async fn remove<D: Disk>(shared: &Shared<D>) {
    if let Some(spare) = take(shared) {
        let _ = shared.disk.remove_file(&spare.path).await;
        fail(shared);
    }
}
