//! Every state that a disk may be in after a power cut, derived from what was done to it.
//!
//! The rules are the ones that `docs/durability.md` assumes and no kinder: of what was not synced,
//! any subset of 512-byte sectors may have been written, in any order; a file that grew may have
//! any length that a subset of its writes gives it; each change of a name may have happened or
//! not, unless its directory was synced. A rename happens as a whole or not at all.

use std::{collections::BTreeMap, path::PathBuf, rc::Rc};

use bytes::Bytes;

use crate::disk::sim::{Content, Event, Names, Node, apply_write};

const SECTOR_BYTES: u64 = 512;

/// Decides which of the unsynced changes survived.
#[derive(Debug, Clone)]
pub enum Chooser {
    /// All or none of them.
    Always(bool),
    /// All but one, or none but one.
    Except(bool, usize),
    /// Only those from one to another, in the order in which they were made.
    Range(usize, usize),
    /// The bits of a number.
    Bits(u64),
    /// By chance: so many of 256, from this state.
    Random(u8, u64),
}

impl Chooser {
    fn choose(&mut self) -> bool {
        match self {
            Self::Always(choice) => *choice,
            Self::Except(choice, 0) => {
                let other = !*choice;
                *self = Self::Always(*choice);
                other
            }
            Self::Except(choice, left) => {
                *left -= 1;
                *choice
            }
            Self::Range(from, to) => {
                let choice = *from == 0 && *to > 0;
                *from = from.saturating_sub(1);
                *to = to.saturating_sub(1);
                choice
            }
            Self::Bits(bits) => {
                let choice = *bits & 1 == 1;
                *bits >>= 1;
                choice
            }
            Self::Random(of_256, state) => {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                ((*state >> 40) as u8) < *of_256
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { position: u64, bytes: Bytes },
    SetLength(u64),
}

#[derive(Debug)]
struct Pending {
    /// Number of the event.
    event: usize,
    /// A write that was durable when it returned, unlike what was done before it.
    durable: bool,
    change: Change,
}

#[derive(Debug, Default)]
struct FileTrack {
    durable: Rc<Vec<u8>>,
    /// Unsynced.
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct NameChange {
    name: String,
    node: Option<Node>,
    given_up: Option<String>,
}

#[derive(Debug, Default)]
struct DirectoryTrack {
    durable: Names,
    pending: Vec<NameChange>,
}

/// What is durable and what is not, as events go by.
#[derive(Debug, Default)]
pub struct CrashSpace {
    files: Vec<FileTrack>,
    directories: BTreeMap<PathBuf, DirectoryTrack>,
    syncs: BTreeMap<usize, (usize, usize)>,
    events_count: usize,
}

impl CrashSpace {
    /// Begins with a disk all of which is durable.
    #[must_use]
    pub fn new(content: &Content) -> Self {
        let file = |durable: &Rc<Vec<u8>>| FileTrack {
            durable: Rc::clone(durable),
            pending: Vec::new(),
        };
        let directory = |(path, names): (&PathBuf, &Names)| {
            (
                path.clone(),
                DirectoryTrack {
                    durable: names.clone(),
                    pending: Vec::new(),
                },
            )
        };
        Self {
            files: content.files.iter().map(file).collect(),
            directories: content.directories.iter().map(directory).collect(),
            syncs: BTreeMap::new(),
            events_count: 0,
        }
    }

    /// Takes note of what happened next.
    pub fn advance(&mut self, event: &Event) {
        self.events_count += 1;
        match event {
            Event::Write {
                file,
                position,
                bytes,
            } => {
                let change = Change::Write {
                    position: *position,
                    bytes: bytes.clone(),
                };
                self.pend(*file, change);
            }
            Event::WriteDurable { file, event } => {
                let pending = &mut self.file(*file).pending;
                // One that a sync covered meanwhile is no longer there.
                if let Some(write) = pending.iter_mut().find(|one| one.event == *event) {
                    write.durable = true;
                }
            }
            Event::SetLength { file, bytes } => self.pend(*file, Change::SetLength(*bytes)),
            Event::SyncBegun { file, sync } => {
                self.syncs.insert(*sync, (*file, self.events_count));
            }
            Event::SyncDone { sync } => {
                let (file, covered) = self.syncs.remove(sync).expect("it began before");
                self.file(file).settle(covered);
            }
            Event::Name {
                directory,
                name,
                node,
                given_up,
            } => {
                if let Some(Node::File(file)) = node {
                    self.file(*file);
                }
                let change = NameChange {
                    name: name.clone(),
                    node: *node,
                    given_up: given_up.clone(),
                };
                self.directories
                    .entry(directory.clone())
                    .or_default()
                    .pending
                    .push(change);
                if *node == Some(Node::Directory) {
                    self.directories.entry(directory.join(name)).or_default();
                }
            }
            Event::DirectorySynced { directory } => {
                let track = self.directories.entry(directory.clone()).or_default();
                for change in track.pending.split_off(0) {
                    change.apply(&mut track.durable);
                }
            }
        }
    }

    fn file(&mut self, file: usize) -> &mut FileTrack {
        if self.files.len() <= file {
            self.files.resize_with(file + 1, FileTrack::default);
        }
        &mut self.files[file]
    }

    fn pend(&mut self, file: usize, change: Change) {
        let event = self.events_count;
        self.file(file).pending.push(Pending {
            event,
            durable: false,
            change,
        });
    }

    /// Changes that may have survived or not, each one alone.
    #[must_use]
    pub fn choices_count(&self) -> usize {
        let of_files: usize = self
            .files
            .iter()
            .flat_map(|file| &file.pending)
            .filter(|one| !one.durable)
            .map(|one| match &one.change {
                Change::Write { position, bytes } => sectors(*position, bytes).count(),
                Change::SetLength(_) => 1,
            })
            .sum();
        of_files
            + self
                .directories
                .values()
                .map(|track| track.pending.len())
                .sum::<usize>()
    }

    /// A state after a power cut at this moment.
    #[must_use]
    pub fn state(&self, mut chooser: Chooser) -> Content {
        let files = self
            .files
            .iter()
            .map(|file| file.state(&mut chooser))
            .collect();
        let directory = |(path, track): (&PathBuf, &DirectoryTrack)| {
            let mut names = track.durable.clone();
            for change in &track.pending {
                if chooser.choose() {
                    change.apply(&mut names);
                }
            }
            (path.clone(), names)
        };
        let directories = self.directories.iter().map(directory).collect();
        Content { files, directories }
    }

    /// The choosers to try at this moment: every combination when there are few, otherwise the
    /// extremes, single survivors and losses, ranges, and random ones, `count` in all.
    pub fn choosers(&self, count: usize, seed: u64) -> Vec<Chooser> {
        let choices = self.choices_count();
        if choices < 20 && 1_usize << choices <= count {
            return (0..1_u64 << choices).map(Chooser::Bits).collect();
        }
        let mut choosers = vec![Chooser::Always(false), Chooser::Always(true)];
        for number in 0..count.saturating_sub(2) {
            let mixed = seed
                .wrapping_add(number as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let at = (mixed >> 16) as usize % choices;
            choosers.push(match number % 6 {
                0 => Chooser::Except(true, at),
                1 => Chooser::Except(false, at),
                2 => Chooser::Range(0, at),
                3 => Chooser::Range((mixed >> 8) as usize % 4, at + 1),
                kind => Chooser::Random([128, 224][kind - 4], mixed),
            });
        }
        choosers
    }
}

impl FileTrack {
    /// Makes durable what was done before the event number `covered`.
    fn settle(&mut self, covered: usize) {
        let later = self.pending.partition_point(|one| one.event < covered);
        for Pending { change, .. } in self.pending.drain(..later) {
            change.apply(Rc::make_mut(&mut self.durable));
        }
    }

    fn state(&self, chooser: &mut Chooser) -> Rc<Vec<u8>> {
        if self.pending.is_empty() {
            return Rc::clone(&self.durable);
        }
        let mut content = self.durable.as_ref().clone();
        for Pending {
            durable, change, ..
        } in &self.pending
        {
            match change {
                durable_change if *durable => durable_change.apply(&mut content),
                Change::SetLength(bytes) if chooser.choose() => content.resize(*bytes as usize, 0),
                Change::SetLength(_) => {}
                Change::Write { position, bytes } => {
                    for (at, piece) in sectors(*position, bytes) {
                        if chooser.choose() {
                            apply_write(&mut content, at, piece);
                        }
                    }
                }
            }
        }
        Rc::new(content)
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { position, bytes } => apply_write(content, *position, bytes),
            Self::SetLength(bytes) => content.resize(*bytes as usize, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        if let Some(given_up) = &self.given_up {
            names.remove(given_up);
        }
        match self.node {
            Some(node) => names.insert(self.name.clone(), node),
            None => names.remove(&self.name),
        };
    }
}

/// The pieces of a write that lie in one sector each.
fn sectors(position: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = position;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let to_boundary = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
        let (piece, after) = rest.split_at(to_boundary.min(rest.len()));
        let piece_at = at;
        at += piece.len() as u64;
        rest = after;
        Some((piece_at, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(position: u64, bytes: usize, fill: u8) -> Event {
        Event::Write {
            file: 0,
            position,
            bytes: Bytes::from(vec![fill; bytes]),
        }
    }

    fn space(events: &[Event]) -> CrashSpace {
        let mut space = CrashSpace::new(&Content::default());
        events.iter().for_each(|event| space.advance(event));
        space
    }

    #[test]
    fn unsynced_sectors_survive_in_any_combination() {
        let space = space(&[write(500, 600, 1)]);
        // 500..512, 512..1024 and 1024..1100.
        assert_eq!(space.choices_count(), 3);
        let file = |bits| space.state(Chooser::Bits(bits)).files[0].clone();
        assert_eq!(file(0).len(), 0);
        assert_eq!((file(1).len(), file(1)[500]), (512, 1));
        assert_eq!((file(4).len(), file(4)[511], file(4)[1_023]), (1_100, 0, 0));
        assert_eq!(file(7)[500..1_100], [1; 600]);
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let begun = Event::SyncBegun { file: 0, sync: 9 };
        let done = Event::SyncDone { sync: 9 };
        let space = space(&[write(0, 10, 1), begun, write(10, 10, 2), done]);
        assert_eq!(space.choices_count(), 1);
        assert_eq!(*space.state(Chooser::Always(false)).files[0], [1; 10]);
    }

    #[test]
    fn names_survive_only_with_their_directory() {
        let name = |name: &str, node, given_up: Option<&str>| Event::Name {
            directory: "d".into(),
            name: name.into(),
            node,
            given_up: given_up.map(Into::into),
        };
        let synced = Event::DirectorySynced {
            directory: "d".into(),
        };
        let file = Some(Node::File(0));
        let space = space(&[name("a", file, None), synced, name("b", file, Some("a"))]);
        let names = |choice| {
            let content = space.state(Chooser::Always(choice));
            content.directories[&PathBuf::from("d")]
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (names(false), names(true)),
            (vec!["a".into()], vec!["b".into()])
        );
    }
}
