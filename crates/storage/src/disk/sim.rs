//! A disk in memory that can be asked what might be left of it after a power cut.
//!
//! It is also its own executor: work advances only inside [`SimDisk::run`], in an order that
//! depends on nothing but the seed. Operations take effect when they are first polled and complete
//! after a few turns, so that other work runs in between. What happens is recorded as [`Event`]s,
//! from which `testing::crash` derives every state that the disk may be in after a power cut.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Bytes, BytesMut};

use crate::{aligned, entry::BLOCK_BYTES};

use super::{DirectoryEntry, Disk, DiskFile, LockOutcome, OpenMode};

/// Rounds without an end after which work is taken to be stuck.
const ROUNDS_MAX: usize = 10_000_000;

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The file with this number.
    File(usize),
    /// A directory; its names lie under its own path.
    Directory,
}

/// Names of one directory.
pub type Names = BTreeMap<String, Node>;

/// All that a disk holds.
#[derive(Debug, Clone, Default)]
pub struct Content {
    /// Bytes of each file, by number; shared between states until written.
    pub files: Vec<Rc<Vec<u8>>>,
    /// Directories by path.
    pub directories: BTreeMap<PathBuf, Names>,
}

/// Something that changed the disk, or made a change durable.
#[derive(Debug, Clone)]
pub enum Event {
    /// Bytes were written into a file.
    Write {
        /// Number of the file.
        file: usize,
        /// Where.
        position: u64,
        /// What.
        bytes: Bytes,
    },
    /// A write returned whose bytes are durable from then on; those before it need not be.
    WriteDurable {
        /// Number of the file.
        file: usize,
        /// Number of the write's event, from 1.
        event: usize,
    },
    /// A file was cut or extended with zeros.
    SetLength {
        /// Number of the file.
        file: usize,
        /// Its new length.
        bytes: u64,
    },
    /// A sync of a file began: it covers all events before.
    SyncBegun {
        /// Number of the file.
        file: usize,
        /// Number of the sync.
        sync: usize,
    },
    /// That sync returned.
    SyncDone {
        /// Number of the sync.
        sync: usize,
    },
    /// A name was given, changed or removed.
    Name {
        /// Where the name is.
        directory: PathBuf,
        /// The name.
        name: String,
        /// What it stands for from now on; `None` when it is removed.
        node: Option<Node>,
        /// The name in the same directory that is given up in the same step, by a rename.
        given_up: Option<String>,
    },
    /// The names in a directory were made durable.
    DirectorySynced {
        /// The directory.
        directory: PathBuf,
    },
}

/// Kinds of operations that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::sync`].
    Sync,
    /// [`DiskFile::set_length`].
    SetLength,
    /// Everything that changes or syncs names.
    Name,
}

/// A failure that is to come.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which operations count.
    pub operation: Operation,
    /// How many of them still succeed before.
    pub after: usize,
    /// How many fail then.
    pub count: usize,
    /// Raw error number; a failed write may have written a part.
    pub error: i32,
}

#[derive(Debug, Default)]
struct World {
    content: Content,
    recording: bool,
    events: Vec<Event>,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    /// Bytes that all files together may have.
    bytes_max: Option<u64>,
    /// Bytes that one write takes at most.
    write_bytes_max: Option<usize>,
    /// Files cannot be opened past the page cache.
    refuses_direct: bool,
    syncs_count: usize,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Inner {
    world: RefCell<World>,
    tasks: RefCell<Vec<Task>>,
    spawned: RefCell<Vec<Task>>,
    random: Cell<u64>,
    /// Turns that an operation may take; 0 completes at once.
    turns_max: Cell<u64>,
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    inner: Rc<Inner>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl SimDisk {
    /// A disk that holds `content`, all of it durable. `seed` decides the order of work.
    #[must_use]
    pub fn new(content: Content, seed: u64) -> Self {
        let world = World {
            content,
            ..World::default()
        };
        let inner = Inner {
            world: RefCell::new(world),
            tasks: RefCell::default(),
            spawned: RefCell::default(),
            random: Cell::new(seed),
            turns_max: Cell::new(0),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// A disk with one empty directory.
    #[must_use]
    pub fn with_directory(directory: &Path, seed: u64) -> Self {
        let directories = BTreeMap::from([(directory.to_path_buf(), Names::new())]);
        Self::new(
            Content {
                files: Vec::new(),
                directories,
            },
            seed,
        )
    }

    /// From now on, operations take up to `turns_max` turns, and events are recorded.
    pub fn record(&self, turns_max: u64) {
        self.inner.turns_max.set(turns_max);
        self.inner.world.borrow_mut().recording = true;
    }

    /// Events so far.
    #[must_use]
    pub fn events_count(&self) -> usize {
        self.inner.world.borrow().events.len()
    }

    /// Takes the events.
    #[must_use]
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.inner.world.borrow_mut().events)
    }

    /// What the disk holds, durable or not: what a killed process leaves.
    #[must_use]
    pub fn content(&self) -> Content {
        self.inner.world.borrow().content.clone()
    }

    /// Plans a failure; several count independently.
    pub fn plan(&self, fault: Fault) {
        self.inner.world.borrow_mut().faults.push(fault);
    }

    /// Failures that are planned and have not come yet.
    #[must_use]
    pub fn planned_count(&self) -> usize {
        let world = self.inner.world.borrow();
        world.faults.iter().map(|fault| fault.count).sum()
    }

    /// Forgets all planned failures.
    pub fn heal(&self) {
        self.inner.world.borrow_mut().faults.clear();
    }

    /// Bounds the bytes of all files together; writes beyond fail with ENOSPC after what fits.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        self.inner.world.borrow_mut().bytes_max = bytes_max;
    }

    /// Makes every write short that has more bytes.
    pub fn set_write_bytes_max(&self, bytes_max: Option<usize>) {
        self.inner.world.borrow_mut().write_bytes_max = bytes_max;
    }

    /// Refuses to open files past the page cache, as some file systems do.
    pub fn set_refuses_direct(&self, refuses: bool) {
        self.inner.world.borrow_mut().refuses_direct = refuses;
    }

    /// Flips bits of one stored byte, behind everybody's back.
    pub fn flip(&self, path: &Path, position: u64, bits: u8) {
        let mut world = self.inner.world.borrow_mut();
        let file = world.file_at(path).expect("a file to damage");
        Rc::make_mut(&mut world.content.files[file])[position as usize] ^= bits;
    }

    /// Runs `main`, and whatever is spawned meanwhile, until `main` is done.
    ///
    /// # Panics
    /// When everything waits for something that cannot happen.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = pin!(main);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..ROUNDS_MAX {
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                return output;
            }
            self.run_tasks_once(&mut context);
        }
        panic!("work is stuck");
    }

    /// Runs until no spawned work is left.
    pub fn drain(&self) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..ROUNDS_MAX {
            let idle =
                self.inner.tasks.borrow().is_empty() && self.inner.spawned.borrow().is_empty();
            if idle {
                return;
            }
            self.run_tasks_once(&mut context);
        }
        panic!("work is stuck");
    }

    fn run_tasks_once(&self, context: &mut Context<'_>) {
        let mut tasks = self.inner.tasks.take();
        tasks.append(&mut self.inner.spawned.borrow_mut());
        if tasks.len() > 1 {
            let first = self.below(tasks.len() as u64) as usize;
            tasks.rotate_left(first);
        }
        tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
        *self.inner.tasks.borrow_mut() = tasks;
    }

    /// A number below `bound`, from the seed (splitmix64).
    fn below(&self, bound: u64) -> u64 {
        let state = self.inner.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.inner.random.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }

    /// An operation: `act` when first polled, `complete` some turns later.
    fn operation<T: 'static, U: 'static>(
        &self,
        act: impl FnOnce(&mut World) -> io::Result<T> + 'static,
        complete: impl FnOnce(&mut World, T) -> U + 'static,
    ) -> impl Future<Output = io::Result<U>> + 'static {
        let disk = self.clone();
        async move {
            let begun = act(&mut disk.inner.world.borrow_mut());
            let turns = match disk.inner.turns_max.get() {
                0 => 0,
                turns_max => disk.below(turns_max + 1),
            };
            Turns(turns).await;
            begun.map(|value| complete(&mut disk.inner.world.borrow_mut(), value))
        }
    }
}

/// Pending for a number of polls.
struct Turns(u64);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.0.checked_sub(1) {
            None => Poll::Ready(()),
            Some(left) => {
                self.0 = left;
                Poll::Pending
            }
        }
    }
}

impl World {
    fn fault(&mut self, operation: Operation) -> io::Result<()> {
        for fault in &mut self.faults {
            if fault.operation != operation || fault.count == 0 {
                continue;
            }
            match fault.after.checked_sub(1) {
                Some(after) => fault.after = after,
                None => {
                    fault.count -= 1;
                    return Err(io::Error::from_raw_os_error(fault.error));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, event: impl FnOnce() -> Event) {
        if self.recording {
            self.events.push(event());
        }
    }

    fn names(&mut self, directory: &Path) -> io::Result<&mut Names> {
        self.content
            .directories
            .get_mut(directory)
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn file_at(&mut self, path: &Path) -> io::Result<usize> {
        let (directory, name) = split(path)?;
        match self.names(&directory)?.get(&name) {
            Some(Node::File(file)) => Ok(*file),
            Some(Node::Directory) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn set_name(
        &mut self,
        path: &Path,
        node: Option<Node>,
        given_up: Option<String>,
    ) -> io::Result<()> {
        let (directory, name) = split(path)?;
        let names = self.names(&directory)?;
        if let Some(given_up) = &given_up {
            names.remove(given_up);
        }
        match node {
            Some(node) => names.insert(name.clone(), node),
            None => names.remove(&name),
        };
        self.note(|| Event::Name {
            directory,
            name,
            node,
            given_up,
        });
        Ok(())
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<usize> {
        if self.refuses_direct && matches!(mode, OpenMode::Direct | OpenMode::DirectDurable) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let found = match self.file_at(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        match (found, mode) {
            (Some(file), OpenMode::CreateTruncate) => {
                self.fault(Operation::Name)?;
                self.set_length(file, 0);
                Ok(file)
            }
            (None, OpenMode::CreateTruncate) => {
                self.fault(Operation::Name)?;
                let file = self.content.files.len();
                self.content.files.push(Rc::default());
                self.set_name(path, Some(Node::File(file)), None)?;
                Ok(file)
            }
            (Some(file), _) => Ok(file),
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn set_length(&mut self, file: usize, bytes: u64) {
        Rc::make_mut(&mut self.content.files[file]).resize(bytes as usize, 0);
        self.note(|| Event::SetLength { file, bytes });
    }

    /// Extends a file with zeros, if it is shorter.
    fn reserve(&mut self, file: usize, bytes: u64) -> io::Result<()> {
        let length = self.content.files[file].len() as u64;
        if bytes <= length {
            return Ok(());
        }
        let room = self.bytes_max.map(|max| max.saturating_sub(self.used()));
        if room.is_some_and(|room| bytes - length > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.set_length(file, bytes);
        Ok(())
    }

    /// Bytes of all files.
    fn used(&self) -> u64 {
        let files = self.content.files.iter();
        files.map(|file| file.len() as u64).sum()
    }

    fn write(&mut self, file: usize, position: u64, parts: Vec<Bytes>) -> io::Result<usize> {
        let mut bytes = match <[Bytes; 1]>::try_from(parts) {
            Ok([part]) => part,
            Err(parts) => parts.concat().into(),
        };
        if let Some(bytes_max) = self.write_bytes_max {
            bytes.truncate(bytes_max);
        }
        let failed = self.fault(Operation::Write);
        if failed.is_err() {
            // Half of it went out before.
            bytes.truncate(bytes.len() / 2);
        }
        if let Some(bytes_max) = self.bytes_max {
            let room =
                bytes_max.saturating_sub(self.used()) + self.content.files[file].len() as u64;
            let fits = room.saturating_sub(position).min(bytes.len() as u64) as usize;
            if fits == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.truncate(fits);
        }
        let written = bytes.len();
        apply_write(
            Rc::make_mut(&mut self.content.files[file]),
            position,
            &bytes,
        );
        self.note(|| Event::Write {
            file,
            position,
            bytes,
        });
        failed.map(|()| written)
    }
}

/// Puts bytes into a file, extending it with zeros where needed.
pub(crate) fn apply_write(content: &mut Vec<u8>, position: u64, bytes: &[u8]) {
    let start = position as usize;
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().and_then(|name| name.to_str());
    Ok((
        directory.into(),
        name.ok_or(io::ErrorKind::InvalidInput)?.into(),
    ))
}

/// Keeps a path locked while it lives.
#[derive(Debug)]
pub struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.inner.world.borrow_mut().locks.remove(&self.path);
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn open(
        &self,
        path: &Path,
        mode: OpenMode,
    ) -> impl Future<Output = io::Result<Self::File>> + 'static {
        let path = path.to_path_buf();
        let disk = self.clone();
        let opened = self.operation(move |world| world.open(&path, mode), |_, file| file);
        let direct = matches!(mode, OpenMode::Direct | OpenMode::DirectDurable);
        let durable = mode == OpenMode::DirectDurable;
        async move {
            let file = opened.await?;
            Ok(SimFile {
                disk,
                file,
                direct,
                durable,
            })
        }
    }

    fn list(
        &self,
        directory: &Path,
    ) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static {
        let directory = directory.to_path_buf();
        let act = move |world: &mut World| {
            let entry = |(name, node): (&String, &Node)| DirectoryEntry {
                name: name.clone(),
                is_directory: *node == Node::Directory,
            };
            Ok(world.names(&directory)?.iter().map(entry).collect())
        };
        self.operation(act, |_, entries| entries)
    }

    fn create_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let path = path.to_path_buf();
        let act = move |world: &mut World| {
            world.fault(Operation::Name)?;
            if world.content.directories.contains_key(&path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            world.set_name(&path, Some(Node::Directory), None)?;
            world.content.directories.insert(path, Names::new());
            Ok(())
        };
        self.operation(act, |_, ()| ())
    }

    fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let path = path.to_path_buf();
        let act = move |world: &mut World| {
            world.fault(Operation::Name)?;
            world.file_at(&path)?;
            world.set_name(&path, None, None)
        };
        self.operation(act, |_, ()| ())
    }

    fn remove_directory(&self, path: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let path = path.to_path_buf();
        let act = move |world: &mut World| {
            world.fault(Operation::Name)?;
            if !world.names(&path)?.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            world.content.directories.remove(&path);
            world.set_name(&path, None, None)
        };
        self.operation(act, |_, ()| ())
    }

    fn rename(
        &self,
        source: &Path,
        target: &Path,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (source, target) = (source.to_path_buf(), target.to_path_buf());
        let act = move |world: &mut World| {
            world.fault(Operation::Name)?;
            let file = world.file_at(&source)?;
            let (directory, given_up) = split(&source)?;
            assert_eq!(
                target.parent(),
                Some(&*directory),
                "renames stay in their directory"
            );
            world.set_name(&target, Some(Node::File(file)), Some(given_up))
        };
        self.operation(act, |_, ()| ())
    }

    fn sync_directory(&self, directory: &Path) -> impl Future<Output = io::Result<()>> + 'static {
        let directory = directory.to_path_buf();
        let act = move |world: &mut World| {
            world.fault(Operation::Name)?;
            world.names(&directory)?;
            Ok(directory)
        };
        self.operation(act, |world, directory| {
            world.note(|| Event::DirectorySynced { directory });
        })
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<LockOutcome<Self::Lock>> {
        let mut world = self.inner.world.borrow_mut();
        if !world.locks.insert(path.into()) {
            return Ok(LockOutcome::Held(String::new()));
        }
        let file = world.open(path, OpenMode::CreateTruncate)?;
        world.write(file, 0, vec![Bytes::copy_from_slice(holder.as_bytes())])?;
        Ok(LockOutcome::Taken(SimLock {
            disk: self.clone(),
            path: path.into(),
        }))
    }

    /// Holds it alone: nothing that is simulated needs more than one.
    fn lock_shared(&self, path: &Path) -> io::Result<LockOutcome<Self::Lock>> {
        let mut world = self.inner.world.borrow_mut();
        world.file_at(path)?;
        if !world.locks.insert(path.into()) {
            return Ok(LockOutcome::Held(String::new()));
        }
        Ok(LockOutcome::Taken(SimLock {
            disk: self.clone(),
            path: path.into(),
        }))
    }

    fn random(&self) -> u64 {
        self.below(u64::MAX)
    }

    /// Some turns instead: there is no time here.
    fn sleep(&self, _: Duration) -> impl Future<Output = ()> + 'static {
        Turns(1 + self.below(8))
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.inner.spawned.borrow_mut().push(Box::pin(work));
    }
}

/// An open file of [`SimDisk`].
#[derive(Debug, Clone)]
pub struct SimFile {
    disk: SimDisk,
    file: usize,
    /// Takes only whole blocks, as O_DIRECT does.
    direct: bool,
    /// Writes are durable when they return.
    durable: bool,
}

impl DiskFile for SimFile {
    fn read_at(
        &self,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = io::Result<BytesMut>> + 'static {
        let file = self.file;
        let act = move |world: &mut World| {
            world.fault(Operation::Read)?;
            let content = &world.content.files[file];
            let start = (position as usize).min(content.len());
            let end = start.saturating_add(bytes).min(content.len());
            Ok(BytesMut::from(&content[start..end]))
        };
        self.disk.operation(act, |_, bytes| bytes)
    }

    fn write_at(
        &self,
        position: u64,
        parts: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let file = self.file;
        let aligned = position.is_multiple_of(BLOCK_BYTES)
            && parts.iter().all(|part| aligned::is_aligned(part));
        let (refused, durable) = (self.direct && !aligned, self.durable);
        let act = move |world: &mut World| {
            if refused {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let written = world.write(file, position, parts)?;
            if durable {
                world.fault(Operation::Sync)?;
            }
            Ok((written, world.events.len()))
        };
        self.disk.operation(act, move |world, (written, event)| {
            if durable {
                world.note(|| Event::WriteDurable { file, event });
            }
            written
        })
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.file;
        let act = move |world: &mut World| {
            world.fault(Operation::Sync)?;
            let sync = world.syncs_count;
            world.syncs_count += 1;
            world.note(|| Event::SyncBegun { file, sync });
            Ok(sync)
        };
        self.disk
            .operation(act, |world, sync| world.note(|| Event::SyncDone { sync }))
    }

    fn length(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        let file = self.file;
        let act = move |world: &mut World| Ok(world.content.files[file].len() as u64);
        self.disk.operation(act, |_, bytes| bytes)
    }

    fn reserve(&self, position: u64, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.file;
        let act = move |world: &mut World| {
            world.fault(Operation::Write)?;
            world.reserve(file, position + bytes)
        };
        self.disk.operation(act, |_, ()| ())
    }

    fn set_length(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.file;
        let act = move |world: &mut World| {
            world.fault(Operation::SetLength)?;
            world.set_length(file, bytes);
            Ok(())
        };
        self.disk.operation(act, |_, ()| ())
    }
}
