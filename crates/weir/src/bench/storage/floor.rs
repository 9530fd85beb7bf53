//! What the disk itself needs for one durable write: plain system calls, nothing of the log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Design;

const BLOCK_BYTES: usize = 4_096;

/// Writes blocks of one size, as a log of one design would, and nothing else.
pub(super) struct Floor {
    path: PathBuf,
    file: File,
    content: Vec<u8>,
    /// Where the content begins: memory for writes past the page cache begins at a block.
    skipped: usize,
    bytes: usize,
    position: u64,
}

impl Floor {
    /// Room for `writes` writes of `bytes` bytes, rounded up to blocks.
    pub(super) fn new(
        path: &Path,
        design: Design,
        bytes: usize,
        writes: usize,
    ) -> io::Result<Floor> {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = options.open(path)?;
        if design == Design::Direct {
            let zeros = vec![0; bytes];
            for number in 0..writes {
                file.write_all_at(&zeros, (number * bytes) as u64)?;
            }
            file.sync_all()?;
            let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
            file = OpenOptions::new()
                .write(true)
                .custom_flags(direct)
                .open(path)?;
        }
        let content = vec![0xA5; bytes + BLOCK_BYTES];
        let skipped = content.as_ptr().align_offset(BLOCK_BYTES);
        Ok(Floor {
            path: path.to_owned(),
            file,
            content,
            skipped,
            bytes,
            position: 0,
        })
    }

    /// One durable write.
    pub(super) fn write(&mut self) -> io::Result<Duration> {
        let content = &self.content[self.skipped..self.skipped + self.bytes];
        let begun = Instant::now();
        self.file.write_all_at(content, self.position)?;
        self.file.sync_data()?;
        let took = begun.elapsed();
        self.position += self.bytes as u64;
        Ok(took)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // The directory is removed with whatever is left in it.
        let _ = std::fs::remove_file(&self.path);
    }
}
