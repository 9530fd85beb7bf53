//! Names: which file lies where in a data directory. See `docs/storage.md` for the whole tree.

use std::path::{Path, PathBuf};

/// Says that a directory is ours and in which format.
pub(crate) const MARKER_FILE: &str = "weir.format";
/// Held locked by the process that uses the directory.
pub(crate) const LOCK_FILE: &str = "weir.lock";
/// Ending of a journal's name.
pub const JOURNAL_SUFFIX: &str = ".journal";
/// Ending of a file that is still being written; removed when found.
pub(crate) const UNFINISHED_SUFFIX: &str = ".new";

const LOG_SUFFIX: &str = ".log";
const INDEX_SUFFIX: &str = ".index";
const OFFSET_DIGITS: usize = 20;

/// What a file in a partition's directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartitionFile {
    /// A segment with this base offset.
    Segment(u64),
    /// The index of the segment with this base offset.
    Index(u64),
    /// Left behind by a process that died while writing it.
    Unfinished,
    /// A journal that lies beside the segments.
    Journal,
    /// Not ours.
    Unknown,
}

impl PartitionFile {
    pub(crate) fn parse(name: &str) -> Self {
        if name.ends_with(UNFINISHED_SUFFIX) {
            return Self::Unfinished;
        }
        if name.ends_with(JOURNAL_SUFFIX) {
            return Self::Journal;
        }
        if let Some(offset) = name.strip_suffix(LOG_SUFFIX).and_then(parse_offset) {
            return Self::Segment(offset);
        }
        match name.strip_suffix(INDEX_SUFFIX).and_then(parse_offset) {
            Some(offset) => Self::Index(offset),
            None => Self::Unknown,
        }
    }
}

fn parse_offset(digits: &str) -> Option<u64> {
    let shaped = digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if shaped { digits.parse().ok() } else { None }
}

/// Path of the segment with this base offset.
pub(crate) fn segment_path(directory: &Path, base_offset: u64) -> PathBuf {
    directory.join(format!("{base_offset:020}{LOG_SUFFIX}"))
}

/// Path of the index of the segment with this base offset.
pub(crate) fn index_path(directory: &Path, base_offset: u64) -> PathBuf {
    directory.join(format!("{base_offset:020}{INDEX_SUFFIX}"))
}

/// Path under which `path` is written before it gets its name.
pub(crate) fn unfinished_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED_SUFFIX);
    name.into()
}

/// Directories whose names are the ids of what lies in them.
pub(crate) const STREAMS: &str = "streams";
pub(crate) const TOPICS: &str = "topics";
/// Directory in a topic's that holds its partitions' directories.
pub const PARTITIONS: &str = "partitions";

/// Directory of a stream below the data directory: `streams/<id>`.
#[must_use]
pub fn stream_directory(stream_id: u32) -> PathBuf {
    Path::new(STREAMS).join(stream_id.to_string())
}

/// Directory of a topic below the data directory: `streams/<id>/topics/<id>`.
#[must_use]
pub fn topic_directory(stream_id: u32, topic_id: u32) -> PathBuf {
    stream_directory(stream_id)
        .join(TOPICS)
        .join(topic_id.to_string())
}

/// Directory of a partition below the data directory:
/// `streams/<id>/topics/<id>/partitions/<id>`.
#[must_use]
pub fn partition_directory(stream_id: u32, topic_id: u32, partition_id: u32) -> PathBuf {
    topic_directory(stream_id, topic_id)
        .join(PARTITIONS)
        .join(partition_id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let directory = Path::new("p");
        for offset in [0, 1, u64::MAX] {
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            let segment = name(segment_path(directory, offset));
            assert_eq!(
                PartitionFile::parse(&segment),
                PartitionFile::Segment(offset)
            );
            let index = name(index_path(directory, offset));
            assert_eq!(PartitionFile::parse(&index), PartitionFile::Index(offset));
            let unfinished = name(unfinished_path(&segment_path(directory, offset)));
            assert_eq!(PartitionFile::parse(&unfinished), PartitionFile::Unfinished);
        }
    }

    #[test]
    fn journals_are_known_by_their_ending() {
        for (name, kind) in [
            ("offsets.journal", PartitionFile::Journal),
            ("offsets.journal.new", PartitionFile::Unfinished),
            ("offsets", PartitionFile::Unknown),
        ] {
            assert_eq!(PartitionFile::parse(name), kind);
        }
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            "1.log",
            "0000000000000000000x.log",
            "00000000000000000000.txt",
        ] {
            assert_eq!(PartitionFile::parse(name), PartitionFile::Unknown);
        }
        // Twenty digits that do not fit 64 bits.
        let name = "99999999999999999999.log";
        assert_eq!(PartitionFile::parse(name), PartitionFile::Unknown);
    }

    #[test]
    fn partitions_lie_below_their_topic() {
        let expected = Path::new("streams/1/topics/2/partitions/3");
        assert_eq!(partition_directory(1, 2, 3), expected);
    }
}
