//! Walks the entries of a segment from front to back, proving each one.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use wire::batch::BatchHeader;

use crate::{
    budget::Reads,
    disk::DiskFile,
    entry::{BLOCK_BYTES, ENTRY_ALIGNMENT_BYTES, ENTRY_HEADER_BYTES, ENTRY_MAGIC, EntryHeader},
    limits,
};

/// What lies at the scanner's position.
#[derive(Debug)]
pub(crate) enum Scanned {
    /// An entry with every checksum proven.
    Entry(ScannedEntry),
    /// Nothing more: the end of the region, or zeros where the next entry would be; a whole block
    /// of them in a recycled segment.
    End,
    /// Something that is neither an entry nor nothing.
    Broken(&'static str),
}

/// An entry that holds.
#[derive(Debug, Clone)]
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
///
/// With read-ahead, the next piece is read while the entries of the one before are used. An entry
/// that lies in two pieces is copied together; nothing else is copied.
pub(crate) struct Scanner<F> {
    file: F,
    salt: u64,
    /// Where the next entry is looked for.
    position: u64,
    /// End of the region.
    end: u64,
    /// Whether leftovers may lie behind the block of zeros that ends the entries.
    has_leftovers: bool,
    /// Bytes from `position` on that were read already, and those that come behind them.
    buffer: Bytes,
    spare: Bytes,
    /// Bytes asked for at once.
    read_bytes: usize,
    /// What bounds the bytes in memory, for readers.
    reads: Option<Arc<Reads>>,
    reads_ahead: bool,
    ahead: Option<Ahead>,
}

/// A piece that is being read.
struct Ahead {
    position: u64,
    bytes: usize,
    reading: Pin<Box<dyn Future<Output = io::Result<Bytes>>>>,
}

impl<F: fmt::Debug> fmt::Debug for Scanner<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scanner")
            .field("file", &self.file)
            .field("position", &self.position)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl<F: DiskFile> Scanner<F> {
    /// `position` must be where an entry begins, `end` where one ends or beyond all of them.
    pub(crate) fn new(file: F, salt: u64, position: u64, end: u64, read_bytes: usize) -> Self {
        Self {
            file,
            salt,
            position,
            end,
            has_leftovers: false,
            buffer: Bytes::new(),
            spare: Bytes::new(),
            read_bytes,
            reads: None,
            reads_ahead: false,
            ahead: None,
        }
    }

    /// Takes room from `reads` for every piece. A piece for which there is none fails with
    /// [`io::ErrorKind::ResourceBusy`].
    pub(crate) fn bounded(mut self, reads: Arc<Reads>) -> Self {
        self.reads = Some(reads);
        self
    }

    /// Takes only a whole block of zeros for the end of the entries.
    pub(crate) fn ends_in_block(&mut self) {
        self.has_leftovers = true;
    }

    /// Reads the next piece, of so many bytes, before it is asked for.
    pub(crate) fn read_ahead(&mut self, read_bytes: usize) {
        (self.reads_ahead, self.read_bytes) = (true, read_bytes);
    }

    /// Moves the end of the region further back, when more is known to be there.
    pub(crate) fn extend_to(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Where the next entry is looked for; after [`Scanned::Broken`], where it did not hold.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the next entry is surely not in memory yet.
    pub(crate) fn needs_read(&self) -> bool {
        let bytes = self.buffer.len() + self.spare.len();
        match EntryHeader::parse(&self.buffer, self.salt, self.position) {
            Some(header) => bytes < ENTRY_HEADER_BYTES + header.record_bytes as usize,
            None => bytes < ENTRY_HEADER_BYTES,
        }
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
            self.skip(padding);
            self.fill(ENTRY_HEADER_BYTES).await?;
        }
        if self.position >= self.end || self.starts_with_zeros() {
            let block = BLOCK_BYTES as usize;
            if self.has_leftovers {
                self.fill(block).await?;
            }
            let seen = block.min(self.buffer.len());
            if self.has_leftovers && self.buffer[..seen].iter().any(|byte| *byte != 0) {
                return Ok(Scanned::Broken("the record's beginning is missing"));
            }
            let skipped = self.position - last_end;
            self.position = last_end;
            if skipped > 0 {
                // Read again from there, should anybody go on.
                self.forget();
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
        self.position += entry_bytes as u64;
        self.skip(padding as usize);
        Ok(Scanned::Entry(ScannedEntry {
            position,
            end_position: self.position,
            header: batch_header,
            record: entry,
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

    /// Moves on over bytes that are of no interest.
    fn skip(&mut self, bytes: usize) {
        let first = bytes.min(self.buffer.len());
        self.buffer.advance(first);
        let second = (bytes - first).min(self.spare.len());
        self.spare.advance(second);
        self.position += bytes as u64;
    }

    /// Forgets what was read.
    fn forget(&mut self) {
        (self.buffer, self.spare, self.ahead) = (Bytes::new(), Bytes::new(), None);
    }

    /// Reads until `bytes` bytes from the position on lie next to each other in memory, or the
    /// region ends.
    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() >= bytes {
            return Ok(());
        }
        let held = self.buffer.len() + self.spare.len();
        if held < bytes {
            let piece = self
                .next_piece(self.position + held as u64, bytes - held)
                .await?;
            self.buffer = join(&[self.buffer.clone(), std::mem::take(&mut self.spare)]);
            self.spare = piece;
        }
        if self.buffer.is_empty() {
            self.buffer = std::mem::take(&mut self.spare);
        } else {
            let missing = (bytes - self.buffer.len()).min(self.spare.len());
            let head = self.spare.split_to(missing);
            self.buffer = join(&[self.buffer.clone(), head]);
        }
        Ok(())
    }

    /// The piece at `position`, with at least `bytes_min` bytes unless the region ends before.
    async fn next_piece(&mut self, position: u64, bytes_min: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let bytes_min = bytes_min.min(left);
        let mut piece = Bytes::new();
        if let Some(ahead) = self.ahead.take()
            && (ahead.position..ahead.position + ahead.bytes as u64).contains(&position)
        {
            piece = ahead.reading.await?;
            piece.advance(piece.len().min((position - ahead.position) as usize));
        }
        if piece.len() < bytes_min {
            let (from, missing) = (position + piece.len() as u64, bytes_min - piece.len());
            let rest = self
                .begin_read(from, missing, left - piece.len())?
                .reading
                .await?;
            piece = join(&[piece, rest]);
        }
        let next = position + piece.len() as u64;
        if self.reads_ahead && next < self.end {
            let left = usize::try_from(self.end - next).unwrap_or(usize::MAX);
            // Without room for it, it is read when it is needed.
            self.ahead = self.begin_read(next, 1, left).ok();
        }
        Ok(piece)
    }

    /// Begins to read a piece of at least `bytes_min` and at most `left` bytes.
    fn begin_read(&self, position: u64, bytes_min: usize, left: usize) -> io::Result<Ahead> {
        let wanted = self.read_bytes.max(bytes_min).min(left);
        let share = match &self.reads {
            None => None,
            Some(reads) => {
                let least = wanted.min(bytes_min.max(limits::READ_BYTES_MIN));
                let share = reads.take(wanted, least);
                Some(share.map_err(|_| io::ErrorKind::ResourceBusy)?)
            }
        };
        let bytes = share.as_ref().map_or(wanted, crate::budget::Share::bytes);
        let reading = self.file.read_at(position, bytes);
        let reading = Box::pin(async move {
            let read = reading.await?;
            Ok(match share {
                Some(share) => share.hold(read),
                None => read.freeze(),
            })
        });
        Ok(Ahead {
            position,
            bytes,
            reading,
        })
    }
}

/// The parts next to each other; copied only when there is more than one.
fn join(parts: &[Bytes]) -> Bytes {
    let mut filled = parts.iter().filter(|part| !part.is_empty());
    match (filled.next(), filled.next()) {
        (None, _) => Bytes::new(),
        (Some(only), None) => only.clone(),
        _ => {
            let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| joined.extend_from_slice(part));
            joined.freeze()
        }
    }
}

/// What lies behind the last entry that holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Remainder {
    /// Position after the last byte that is not zero, if there is any.
    pub(crate) content_end: Option<u64>,
    /// Position of an entry header which proves that `position` had been durable.
    pub(crate) proof_position: Option<u64>,
}

/// Looks through everything from `position` to `end` for content and for proof of damage.
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
