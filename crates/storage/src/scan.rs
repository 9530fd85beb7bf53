//! Walks the entries of a segment from front to back, proving each one.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use wire::batch::BatchHeader;

use crate::{
    disk::DiskFile,
    entry::{BLOCK_BYTES, ENTRY_ALIGNMENT_BYTES, ENTRY_HEADER_BYTES, ENTRY_MAGIC, EntryHeader},
    limits,
};

/// What lies at the scanner's position.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// An entry with every checksum proven.
    Entry(ScannedEntry),
    /// Nothing more: the end of the region, or zeros where the next entry would be.
    End,
    /// Something that is neither an entry nor nothing.
    Broken(&'static str),
}

/// An entry that holds.
#[derive(Debug)]
pub(crate) struct ScannedEntry {
    /// Where its entry header begins.
    pub(crate) position: u64,
    /// Where the next entry may begin.
    pub(crate) end_position: u64,
    /// The record's own header.
    pub(crate) header: BatchHeader,
    /// The record, verbatim.
    pub(crate) record: Bytes,
}

/// Reads a region of a segment in large pieces and gives its entries in order.
#[derive(Debug)]
pub(crate) struct Scanner<F> {
    file: F,
    salt: u64,
    /// Where the next entry is looked for.
    position: u64,
    /// End of the region.
    end: u64,
    /// Bytes from `position` on that were read already.
    buffer: BytesMut,
    /// Bytes asked for at once.
    read_bytes: usize,
}

impl<F: DiskFile> Scanner<F> {
    /// `position` must be where an entry begins, `end` where one ends or beyond all of them.
    pub(crate) fn new(file: F, salt: u64, position: u64, end: u64, read_bytes: usize) -> Self {
        Self {
            file,
            salt,
            position,
            end,
            buffer: BytesMut::new(),
            read_bytes,
        }
    }

    /// Where the next entry is looked for; after [`Scanned::Broken`], where it did not hold.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the next entry is surely not in memory yet.
    pub(crate) fn needs_read(&self) -> bool {
        let Some(header) = EntryHeader::parse(&self.buffer, self.salt, self.position) else {
            return self.buffer.len() < ENTRY_HEADER_BYTES;
        };
        self.buffer.len() < ENTRY_HEADER_BYTES + header.record_bytes as usize
    }

    /// The next entry. After anything but an entry, the scanner stays where it is.
    pub(crate) async fn next(&mut self) -> io::Result<Scanned> {
        let last_end = self.position;
        if self.position >= self.end {
            return Ok(Scanned::End);
        }
        self.fill(ENTRY_HEADER_BYTES).await?;
        if self.starts_with_zeros() && !self.position.is_multiple_of(BLOCK_BYTES) {
            // Padding: zeros up to the next block, where the next group may begin.
            let boundary = self.position.next_multiple_of(BLOCK_BYTES);
            let padding = usize::try_from(boundary - self.position).expect("less than a block");
            self.fill(padding).await?;
            let padding = padding.min(self.buffer.len());
            if self.buffer[..padding].iter().any(|byte| *byte != 0) {
                return Ok(Scanned::Broken("the padding is not zero"));
            }
            self.buffer.advance(padding);
            self.position += padding as u64;
            self.fill(ENTRY_HEADER_BYTES).await?;
        }
        if self.position >= self.end || self.starts_with_zeros() {
            let skipped = self.position - last_end;
            self.position = last_end;
            if skipped > 0 {
                // Read again from there, should anybody go on.
                self.buffer.clear();
            }
            return Ok(Scanned::End);
        }
        self.next_entry().await
    }

    async fn next_entry(&mut self) -> io::Result<Scanned> {
        let Some(header) = EntryHeader::parse(&self.buffer, self.salt, self.position) else {
            return Ok(Scanned::Broken("the entry header does not hold"));
        };
        if header.record_bytes > limits::BATCH_BYTES_MAX {
            return Ok(Scanned::Broken(
                "the record is larger than any that is written",
            ));
        }
        let entry_bytes = ENTRY_HEADER_BYTES + header.record_bytes as usize;
        self.fill(entry_bytes).await?;
        if self.buffer.len() < entry_bytes {
            return Ok(Scanned::Broken("the record is cut short"));
        }
        let batch_header = match header.verify(&self.buffer[ENTRY_HEADER_BYTES..entry_bytes]) {
            Ok(view) => view.header(),
            Err(reason) => return Ok(Scanned::Broken(reason)),
        };
        let position = self.position;
        let mut entry = self.buffer.split_to(entry_bytes);
        entry.advance(ENTRY_HEADER_BYTES);
        let padding = header.end_position(position) - position - entry_bytes as u64;
        self.position = header.end_position(position);
        self.buffer.advance(self.buffer.len().min(padding as usize));
        Ok(Scanned::Entry(ScannedEntry {
            position,
            end_position: self.position,
            header: batch_header,
            record: entry.freeze(),
        }))
    }

    /// Whether nothing, or only zeros, lies where an entry header would.
    fn starts_with_zeros(&self) -> bool {
        let bytes = self.buffer.len().min(ENTRY_HEADER_BYTES);
        // A header never begins with a zero byte, so its first bytes decide. All of them are
        // looked at where fewer lie before the next block: those may be padding.
        let to_block = BLOCK_BYTES - self.position % BLOCK_BYTES;
        let bytes = bytes.min(usize::try_from(to_block).expect("at most a block"));
        self.buffer[..bytes].iter().all(|byte| *byte == 0)
    }

    /// Reads until `bytes` bytes from the position on are in memory, or the region ends.
    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() >= bytes {
            return Ok(());
        }
        let read_position = self.position + self.buffer.len() as u64;
        let left = usize::try_from(self.end.saturating_sub(read_position)).unwrap_or(usize::MAX);
        let wanted = (bytes - self.buffer.len()).max(self.read_bytes).min(left);
        if wanted == 0 {
            return Ok(());
        }
        let read = self.file.read_at(read_position, wanted).await?;
        if self.buffer.is_empty() {
            self.buffer = read;
        } else {
            let mut joined = BytesMut::with_capacity(self.buffer.len() + read.len());
            joined.extend_from_slice(&self.buffer);
            joined.extend_from_slice(&read);
            self.buffer = joined;
        }
        Ok(())
    }
}

/// What lies behind the last entry that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remainder {
    /// Position after the last byte that is not zero, if there is any.
    pub(crate) content_end: Option<u64>,
    /// Position of an entry header which proves that `position` had been durable.
    pub(crate) proof_position: Option<u64>,
}

/// Looks through everything from `position` to `end` for leftovers and for proof of damage.
pub(crate) async fn examine_remainder<F: DiskFile>(
    file: &F,
    salt: u64,
    position: u64,
    end: u64,
) -> io::Result<Remainder> {
    let mut remainder = Remainder {
        content_end: None,
        proof_position: None,
    };
    // Entries begin at multiples of 8 bytes, and pieces overlap by one entry header.
    let mut piece_position = position.next_multiple_of(ENTRY_ALIGNMENT_BYTES);
    if position < piece_position {
        let head = file
            .read_at(position, (piece_position - position) as usize)
            .await?;
        note_content(&mut remainder, &head, position);
    }
    while piece_position < end {
        let wanted = usize::try_from(end - piece_position).unwrap_or(usize::MAX);
        let overlap = ENTRY_HEADER_BYTES - ENTRY_ALIGNMENT_BYTES as usize;
        let wanted = wanted.min(limits::RECOVERY_READ_BYTES + overlap);
        let piece = file.read_at(piece_position, wanted).await?;
        note_content(&mut remainder, &piece, piece_position);
        if let Some(found) = find_proof(&piece, salt, piece_position, position) {
            remainder.proof_position = Some(found);
            return Ok(remainder);
        }
        if piece.len() < wanted || wanted <= limits::RECOVERY_READ_BYTES {
            break;
        }
        piece_position += limits::RECOVERY_READ_BYTES as u64;
    }
    Ok(remainder)
}

fn note_content(remainder: &mut Remainder, bytes: &[u8], position: u64) {
    if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
        let end = position + last as u64 + 1;
        remainder.content_end = Some(remainder.content_end.map_or(end, |known| known.max(end)));
    }
}

fn find_proof(piece: &[u8], salt: u64, piece_position: u64, position: u64) -> Option<u64> {
    let step = ENTRY_ALIGNMENT_BYTES as usize;
    piece.chunks(step).enumerate().find_map(|(number, chunk)| {
        if !chunk.starts_with(&ENTRY_MAGIC) {
            return None;
        }
        let at = number * step;
        let header = EntryHeader::parse(&piece[at..], salt, piece_position + at as u64)?;
        (header.synced_position > position).then_some(piece_position + at as u64)
    })
}
