//! A checksummed log of small records, for state that is kept in memory: the catalog, consumer
//! offsets.
//!
//! The same discipline as a partition's log: order fixed at the call, group commit, nothing
//! acknowledged before its sync, torn tail cut, damage reported. [`Journal::rewrite`] replaces all
//! records by a snapshot in one step.
//!
//! ```text
//! journal = header (32 bytes) · entries
//!
//! @0   magic     b"WEIRJRN1"
//! @8   format    u32  1
//! @12  zeros
//! @16  salt      u64  random; seeds the checksums of the entry headers
//! @24  checksum  u64  XxHash3-64 over the 24 bytes before
//! ```
//! An entry is framed as in a segment; its record checksum is XxHash3-64 over the record.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    io,
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_channel::oneshot;
use twox_hash::XxHash3_64;

use crate::{
    disk::{CompioDisk, Disk, DiskFile, OpenMode, write_all_at},
    entry::{ENTRY_HEADER_BYTES, EntryHeader, entry_end, read_u32, read_u64},
    error::{Corruption, Error},
    layout, limits,
    recovery::TornTail,
    scan::{Remainder, examine_remainder},
    segment,
};

const MAGIC: [u8; 8] = *b"WEIRJRN1";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 32;
/// Bytes in which any entry lies.
const LARGEST_ENTRY_BYTES: usize =
    ENTRY_HEADER_BYTES + (limits::JOURNAL_RECORD_BYTES_MAX as usize).next_multiple_of(8);

/// What was found when a journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalRecovery {
    /// Every durable record, in order.
    pub records: Vec<Bytes>,
    /// Set when unacknowledged bytes were cut.
    pub torn_tail: Option<TornTail>,
}

/// A journal. Cheap to clone; all clones are the same journal. Belongs to one thread.
#[derive(Debug)]
pub struct Journal<D: Disk = CompioDisk> {
    shared: Rc<Shared<D>>,
}

impl<D: Disk> Clone for Journal<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
        }
    }
}

#[derive(Debug)]
struct Shared<D: Disk> {
    disk: D,
    path: PathBuf,
    state: RefCell<State<D::File>>,
}

#[derive(Debug)]
enum Change {
    Append(Bytes),
    Rewrite(Vec<Bytes>),
}

#[derive(Debug)]
struct Pending {
    change: Change,
    reply: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug)]
enum Standing {
    Open,
    Full,
    Fenced(Error),
    Closed,
}

#[derive(Debug)]
struct State<F> {
    file: F,
    salt: u64,
    /// Position after the last durable record.
    end_position: u64,
    records_count: u64,
    standing: Standing,
    pending: VecDeque<Pending>,
    running: bool,
    idle_waiters: Vec<oneshot::Sender<()>>,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal at `path`, whose directory must exist; a missing one is created empty.
    ///
    /// # Errors
    /// [`Error::Corrupted`] when durable records are damaged: there is no partial catalog.
    /// [`Error::Io`], [`Error::Full`], [`Error::TooLarge`].
    pub async fn open(disk: D, path: &Path) -> Result<(Self, JournalRecovery), Error> {
        let named = |operation| Error::at(operation, path);
        let unfinished = layout::unfinished_path(path);
        match disk.remove_file(&unfinished).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(named("remove")(error));
            }
            _ => {}
        }
        let found = match disk.open(path, OpenMode::ReadWrite).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other.map_err(named("open"))?),
        };
        let (file, parsed) = match found {
            None => {
                let salt = disk.random();
                let (file, end_position) = replace(&disk, path, salt, &[]).await?;
                (
                    file,
                    Parsed {
                        salt,
                        end_position,
                        ..Parsed::default()
                    },
                )
            }
            Some(file) => {
                let parsed = recover(&file, path).await?;
                // The name may not be durable yet if its writer died right after the rename.
                disk.sync_directory(directory_of(path))
                    .await
                    .map_err(named("sync directory"))?;
                (file, parsed)
            }
        };
        let Parsed {
            salt,
            end_position,
            records,
            torn_tail,
        } = parsed;
        let state = State {
            file,
            salt,
            end_position,
            records_count: records.len() as u64,
            standing: Standing::Open,
            pending: VecDeque::new(),
            running: false,
            idle_waiters: Vec::new(),
        };
        let shared = Shared {
            disk,
            path: path.into(),
            state: RefCell::new(state),
        };
        Ok((
            Self {
                shared: Rc::new(shared),
            },
            JournalRecovery { records, torn_tail },
        ))
    }

    /// Appends a record. Its place is fixed by this call; the future resolves when it is durable,
    /// and dropping it changes nothing.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::InvalidBatch`] for an empty record, [`Error::Busy`],
    /// [`Error::Fenced`], [`Error::Closed`]: nothing was taken. [`Error::Full`]: nothing is
    /// stored. [`Error::Io`]: the write or sync failed, and the journal is fenced from now on.
    pub fn append(
        &self,
        record: Bytes,
    ) -> impl Future<Output = Result<(), Error>> + use<D> + 'static {
        let checked = check_record(&record);
        self.enqueue(checked.map(|()| Change::Append(record)))
    }

    /// Replaces all records, those appended before this call included, by `records`. After a
    /// power cut either the old or the new ones are there.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn rewrite(
        &self,
        records: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), Error>> + use<D> + 'static {
        let checked = records.iter().try_for_each(check_record);
        self.enqueue(checked.map(|()| Change::Rewrite(records)))
    }

    fn enqueue(
        &self,
        change: Result<Change, Error>,
    ) -> impl Future<Output = Result<(), Error>> + use<D> + 'static {
        let receiver = change.and_then(|change| {
            let mut state = self.shared.state.borrow_mut();
            match &state.standing {
                Standing::Open | Standing::Full => {}
                Standing::Fenced(error) => return Err(Error::fenced(error)),
                Standing::Closed => return Err(Error::Closed),
            }
            if state.pending.len() >= limits::JOURNAL_PENDING_MAX {
                return Err(Error::Busy);
            }
            let (reply, receiver) = oneshot::channel();
            state.pending.push_back(Pending { change, reply });
            if !state.running {
                state.running = true;
                self.shared.disk.spawn(commit_all(Rc::clone(&self.shared)));
            }
            Ok(receiver)
        });
        async move {
            match receiver?.await {
                Ok(result) => result,
                Err(oneshot::Canceled) => Err(Error::Closed),
            }
        }
    }

    /// Bytes of the file up to its last durable record: tells when a rewrite pays.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.shared.state.borrow().end_position
    }

    /// Durable records.
    #[must_use]
    pub fn records_count(&self) -> u64 {
        self.shared.state.borrow().records_count
    }

    /// Takes no more records, and returns when those taken before are durable or have failed.
    ///
    /// # Errors
    /// The failure that fenced the journal, if it is.
    pub async fn close(&self) -> Result<(), Error> {
        loop {
            let receiver = {
                let mut state = self.shared.state.borrow_mut();
                let result = match &state.standing {
                    Standing::Fenced(error) => Err(error.clone()),
                    _ => Ok(()),
                };
                if result.is_ok() {
                    state.standing = Standing::Closed;
                }
                if !state.running {
                    return result;
                }
                let (sender, receiver) = oneshot::channel();
                state.idle_waiters.push(sender);
                receiver
            };
            // Used or dropped when the work ends; both mean "look again".
            let _ = receiver.await;
        }
    }
}

fn check_record(record: &Bytes) -> Result<(), Error> {
    let (bytes, bytes_max) = (
        record.len() as u64,
        u64::from(limits::JOURNAL_RECORD_BYTES_MAX),
    );
    if bytes > bytes_max {
        return Err(Error::TooLarge { bytes, bytes_max });
    }
    if bytes == 0 {
        return Err(Error::InvalidBatch {
            reason: "an empty journal record",
        });
    }
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    path.parent().expect("a journal lies in a directory")
}

/// Works until nothing waits.
async fn commit_all<D: Disk>(shared: Rc<Shared<D>>) {
    while let Some(group) = next_group(&shared) {
        let (changes, replies): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|pending| (pending.change, pending.reply))
            .unzip();
        let result = commit(&shared, changes).await;
        // Whoever asked may have gone; that changes nothing.
        replies
            .into_iter()
            .for_each(|reply| drop(reply.send(result.clone())));
        if let Err(error) = result {
            fail(&shared, &error);
        }
    }
}

/// Everything that waits, up to the next rewrite or the bytes of a group.
fn next_group<D: Disk>(shared: &Shared<D>) -> Option<Vec<Pending>> {
    let mut state = shared.state.borrow_mut();
    let mut bytes = 0;
    let mut count = 0;
    for pending in &state.pending {
        bytes += match &pending.change {
            Change::Append(record) => record.len(),
            Change::Rewrite(_) if count == 0 => {
                count = 1;
                break;
            }
            Change::Rewrite(_) => break,
        };
        if bytes > limits::GROUP_BYTES_MAX && count > 0 {
            break;
        }
        count += 1;
    }
    if count > 0 {
        return Some(state.pending.drain(..count).collect());
    }
    state.running = false;
    for waiter in state.idle_waiters.drain(..) {
        // A waiter that went away needs no answer.
        let _ = waiter.send(());
    }
    None
}

async fn commit<D: Disk>(shared: &Shared<D>, mut changes: Vec<Change>) -> Result<(), Error> {
    if let Some(Change::Rewrite(_)) = changes.first() {
        let Some(Change::Rewrite(records)) = changes.pop() else {
            return Ok(());
        };
        let salt = shared.disk.random();
        let (file, end_position) = replace(&shared.disk, &shared.path, salt, &records).await?;
        let mut state = shared.state.borrow_mut();
        (state.file, state.salt, state.end_position) = (file, salt, end_position);
        state.records_count = records.len() as u64;
        state.reopen();
        return Ok(());
    }
    let (file, salt, position) = {
        let state = shared.state.borrow();
        (state.file.clone(), state.salt, state.end_position)
    };
    let records: Vec<&Bytes> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Append(record) => Some(record),
            Change::Rewrite(_) => None,
        })
        .collect();
    let bytes = encode(&records, salt, position);
    let end_position = position + bytes.len() as u64;
    if let Err(error) = write_all_at(&file, position, vec![bytes]).await {
        let error = Error::io("write", &shared.path, error);
        if matches!(error, Error::Full { .. }) {
            // What the write left may be whole records, which nobody was promised.
            let cut = file.set_length(position).await;
            cut.map_err(Error::sync_at("cut", &shared.path))?;
            file.sync()
                .await
                .map_err(Error::sync_at("sync", &shared.path))?;
        }
        return Err(error);
    }
    file.sync()
        .await
        .map_err(Error::sync_at("sync", &shared.path))?;
    let mut state = shared.state.borrow_mut();
    state.end_position = end_position;
    state.records_count += records.len() as u64;
    state.reopen();
    Ok(())
}

impl<F> State<F> {
    /// There is space again.
    fn reopen(&mut self) {
        if matches!(self.standing, Standing::Full) {
            self.standing = Standing::Open;
        }
    }
}

fn fail<D: Disk>(shared: &Shared<D>, error: &Error) {
    let mut state = shared.state.borrow_mut();
    match error {
        Error::Full { .. } => {
            if matches!(state.standing, Standing::Open) {
                state.standing = Standing::Full;
            }
        }
        error => {
            tracing::error!(path = %shared.path.display(), %error, "journal fenced");
            state.standing = Standing::Fenced(error.clone());
        }
    }
    for pending in state.pending.split_off(0) {
        // Whoever asked may have gone.
        let _ = pending.reply.send(Err(error.clone()));
    }
}

/// Writes a new file with these records and gives it the journal's name, durably.
async fn replace<D: Disk>(
    disk: &D,
    path: &Path,
    salt: u64,
    records: &[Bytes],
) -> Result<(D::File, u64), Error> {
    let mut header = [0; HEADER_BYTES];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&salt.to_le_bytes());
    let checksum = XxHash3_64::oneshot(&header[..24]);
    header[24..32].copy_from_slice(&checksum.to_le_bytes());
    let mut bytes = BytesMut::from(&header[..]);
    let records: Vec<&Bytes> = records.iter().collect();
    bytes.put_slice(&encode(&records, salt, HEADER_BYTES as u64));
    let end_position = bytes.len() as u64;
    if end_position > limits::JOURNAL_BYTES_MAX {
        let bytes_max = limits::JOURNAL_BYTES_MAX;
        return Err(Error::TooLarge {
            bytes: end_position,
            bytes_max,
        });
    }
    let unfinished = layout::unfinished_path(path);
    let file = segment::write_durable(disk, &unfinished, bytes.freeze()).await?;
    segment::publish(disk, directory_of(path), &unfinished, path).await?;
    Ok((file, end_position))
}

fn encode(records: &[&Bytes], salt: u64, group_position: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    for record in records {
        let position = group_position + bytes.len() as u64;
        let header = EntryHeader {
            record_bytes: u32::try_from(record.len()).expect("checked when it was taken"),
            synced_position: group_position,
            record_checksum: XxHash3_64::oneshot(record),
        };
        bytes.put_slice(&header.encode(salt, position));
        bytes.put_slice(record);
        let end = entry_end(position, record.len()) - group_position;
        bytes.put_bytes(0, end as usize - bytes.len());
    }
    bytes.freeze()
}

#[derive(Default)]
struct Parsed {
    salt: u64,
    end_position: u64,
    records: Vec<Bytes>,
    torn_tail: Option<TornTail>,
}

/// Reads every record, cuts a torn tail, and refuses damage.
async fn recover<F: DiskFile>(file: &F, path: &Path) -> Result<Parsed, Error> {
    let named = |operation| Error::at(operation, path);
    let length = file.length().await.map_err(named("measure"))?;
    if length > limits::JOURNAL_BYTES_MAX {
        let bytes_max = limits::JOURNAL_BYTES_MAX;
        return Err(Error::TooLarge {
            bytes: length,
            bytes_max,
        });
    }
    let length_in_memory = usize::try_from(length).expect("bounded above");
    let bytes = file
        .read_at(0, length_in_memory)
        .await
        .map_err(named("read"))?
        .freeze();
    let salt = parse_header(&bytes).map_err(|reason| Error::corrupted(path, 0, reason))?;
    let mut parsed = Parsed {
        salt,
        end_position: HEADER_BYTES as u64,
        ..Parsed::default()
    };
    while let Some(record) = record_at(&bytes, 0, salt, parsed.end_position) {
        parsed.end_position = entry_end(parsed.end_position, record.len());
        parsed.records.push(record);
    }
    let end = parsed.end_position;
    if end < length {
        let remainder = examine_remainder(file, salt, end, length)
            .await
            .map_err(named("read"))?;
        if remainder.proof_position.is_some() {
            return Err(Error::corrupted(
                path,
                end,
                "a durable record does not hold",
            ));
        }
        file.set_length(end).await.map_err(named("cut"))?;
        if let Some(content_end) = remainder.content_end {
            let reason = "the record does not hold";
            let bytes_cut = content_end - end;
            parsed.torn_tail = Some(TornTail {
                path: path.into(),
                position: end,
                bytes_cut,
                reason,
            });
        }
    }
    // What was read may lie in the page cache alone, and the cut must be durable before anything
    // is written behind it.
    file.sync().await.map_err(named("sync"))?;
    Ok(parsed)
}

fn parse_header(bytes: &[u8]) -> Result<u64, &'static str> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err("the journal header is cut short");
    };
    if header[0..8] != MAGIC || read_u64(header, 24) != XxHash3_64::oneshot(&header[..24]) {
        return Err("the journal header does not hold");
    }
    if read_u32(header, 8) != FORMAT {
        return Err("the journal has a format that this build does not know");
    }
    Ok(read_u64(header, 16))
}

/// What a journal holds, found without keeping or changing it.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    pub(crate) records_count: u64,
    /// Position after the last record that holds.
    pub(crate) end_position: u64,
    /// Length of the file.
    pub(crate) length: u64,
    /// What lies behind the last record that holds; absent when its header does not hold.
    pub(crate) remainder: Option<Remainder>,
    pub(crate) corruption: Option<Corruption>,
}

/// Proves every record of the journal at `path`, in memory that does not grow with the file.
pub(crate) async fn verify<D: Disk>(disk: &D, path: &Path) -> Result<Verified, Error> {
    let named = |operation| Error::at(operation, path);
    let file = disk.open(path, OpenMode::Read).await;
    let file = file.map_err(named("open"))?;
    let mut verified = Verified {
        length: file.length().await.map_err(named("measure"))?,
        ..Verified::default()
    };
    let header = file.read_at(0, HEADER_BYTES).await;
    let salt = match parse_header(&header.map_err(named("read"))?) {
        Ok(salt) => salt,
        Err(reason) => {
            verified.corruption = Some(Corruption {
                path: path.into(),
                position: 0,
                reason,
            });
            return Ok(verified);
        }
    };
    let mut end = HEADER_BYTES as u64;
    let mut piece_bytes = limits::RECOVERY_READ_BYTES;
    loop {
        let start = end;
        let piece = file.read_at(start, piece_bytes).await;
        let piece = piece.map_err(named("read"))?.freeze();
        while let Some(record) = record_at(&piece, start, salt, end) {
            end = entry_end(end, record.len());
            verified.records_count += 1;
        }
        if end > start {
            piece_bytes = limits::RECOVERY_READ_BYTES;
        } else if piece_bytes < LARGEST_ENTRY_BYTES && piece.len() == piece_bytes {
            piece_bytes = LARGEST_ENTRY_BYTES;
        } else {
            break;
        }
    }
    verified.end_position = end;
    let remainder = examine_remainder(&file, salt, end, verified.length).await;
    verified.remainder = Some(remainder.map_err(named("read"))?);
    if verified
        .remainder
        .is_some_and(|one| one.proof_position.is_some())
    {
        verified.corruption = Some(Corruption {
            path: path.into(),
            position: end,
            reason: "a durable record does not hold",
        });
    }
    Ok(verified)
}

/// The record at `position`, if it holds; `bytes` begin at `start`.
fn record_at(bytes: &Bytes, start: u64, salt: u64, position: u64) -> Option<Bytes> {
    let at = usize::try_from(position.checked_sub(start)?).ok()?;
    let header = EntryHeader::parse(bytes.get(at..)?, salt, position)?;
    let start = at + ENTRY_HEADER_BYTES;
    let end = start.checked_add(header.record_bytes as usize)?;
    let record = bytes.get(start..end)?;
    // A record that ends before its padding was cut there; its bytes hold all the same.
    (XxHash3_64::oneshot(record) == header.record_checksum).then(|| bytes.slice(start..end))
}
