//! What the disk itself needs for one durable write: plain system calls, nothing of the log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapMut};

const BLOCK_BYTES: usize = 4_096;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// How a bare file is written durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Past the page cache over zeros: the least that a durable write takes, once every byte was
    /// written before.
    OverZeros,
    /// Past the page cache into space that was only reserved.
    IntoReserved,
    /// At the end of the file through the page cache.
    Append,
}

/// Writes blocks of one size, in one way, and nothing else.
pub(super) struct Floor {
    path: PathBuf,
    file: File,
    /// Huge pages where the kernel has them: the disk takes large writes faster from them.
    content: MmapMut,
    bytes: usize,
    position: u64,
}

impl Floor {
    /// Room for `writes` writes of `bytes` bytes, rounded up to blocks.
    pub(super) fn new(path: &Path, way: Way, bytes: usize, writes: usize) -> io::Result<Floor> {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = options.open(path)?;
        if way != Way::Append {
            let zeros = vec![0; bytes];
            for number in 0..writes {
                let position = (number * bytes) as u64;
                match way {
                    Way::IntoReserved => {
                        let flags = rustix::fs::FallocateFlags::empty();
                        rustix::fs::fallocate(&file, flags, position, bytes as u64)?;
                    }
                    _ => file.write_all_at(&zeros, position)?,
                }
            }
            file.sync_all()?;
            let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
            file = OpenOptions::new()
                .write(true)
                .custom_flags(direct)
                .open(path)?;
        }
        // Such a mapping begins at a huge page, and the rest of its last one is not written.
        let mut content = MmapMut::map_anon(bytes.next_multiple_of(HUGE_PAGE_BYTES))?;
        // Ordinary pages do as well, only slower.
        let _ = content.advise(Advice::HugePage);
        content[..bytes].fill(0xA5);
        Ok(Floor {
            path: path.to_owned(),
            file,
            content,
            bytes,
            position: 0,
        })
    }

    /// One durable write.
    pub(super) fn write(&mut self) -> io::Result<Duration> {
        let content = &self.content[..self.bytes];
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
