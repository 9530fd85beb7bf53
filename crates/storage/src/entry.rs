//! The frame around a record in a segment: what makes a batch recognisable on disk.
//!
//! ```text
//! entry = header (32 bytes) · batch record, verbatim · zeros up to a multiple of 8 bytes
//!
//! @0   magic            b"WREC"
//! @4   record_bytes     u32
//! @8   synced_position  u64  everything in the file before it was durable when this was written
//! @16  record_checksum  u64  copy of the record's own batch checksum
//! @24  header_checksum  u64  XxHash3-64 over the 24 bytes before
//! ```
//!
//! The header checksum is seeded with the segment's salt and the entry's position, so that
//! neither stale bytes nor an entry hidden in a payload are ever taken for one. The record's own
//! checksums cover every byte of it; the copy binds it to this header.
//!
//! `synced_position` tells a torn tail from damage: bytes that do not hold at P were never
//! acknowledged as long as no later entry says that everything up to beyond P was durable.

use twox_hash::XxHash3_64;
use wire::batch::BatchView;

use crate::planted::{Bug, is_planted};

/// Bytes of an entry header.
pub(crate) const ENTRY_HEADER_BYTES: usize = 32;
/// Entries begin at multiples of this many bytes.
pub(crate) const ENTRY_ALIGNMENT_BYTES: u64 = 8;
/// Unit of aligned writes: a group that is padded ends with zeros up to a multiple of it, and the
/// next one begins there.
pub(crate) const BLOCK_BYTES: u64 = 4_096;
/// First bytes of each entry.
pub(crate) const ENTRY_MAGIC: [u8; 4] = *b"WREC";

/// An entry header that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) record_bytes: u32,
    pub(crate) synced_position: u64,
    pub(crate) record_checksum: u64,
}

impl EntryHeader {
    pub(crate) fn encode(&self, salt: u64, position: u64) -> [u8; ENTRY_HEADER_BYTES] {
        let mut bytes = [0; ENTRY_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&ENTRY_MAGIC);
        bytes[4..8].copy_from_slice(&self.record_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.synced_position.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.record_checksum.to_le_bytes());
        let checksum = header_checksum(&bytes[..24], salt, position);
        bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at `position`, if `bytes` begin with one.
    pub(crate) fn parse(bytes: &[u8], salt: u64, position: u64) -> Option<Self> {
        let bytes = bytes.first_chunk::<ENTRY_HEADER_BYTES>()?;
        if bytes[0..4] != ENTRY_MAGIC {
            return None;
        }
        if read_u64(bytes, 24) != header_checksum(&bytes[..24], salt, position) {
            return None;
        }
        let header = Self {
            record_bytes: read_u32(bytes, 4),
            synced_position: read_u64(bytes, 8),
            record_checksum: read_u64(bytes, 16),
        };
        (header.synced_position <= position).then_some(header)
    }

    /// Position after an entry that starts at `position`, where the next may begin.
    pub(crate) fn end_position(&self, position: u64) -> u64 {
        entry_end(position, self.record_bytes as usize)
    }

    /// Proves that `record` is what this header announces, every checksum included.
    pub(crate) fn verify<'a>(&self, record: &'a [u8]) -> Result<BatchView<'a>, &'static str> {
        if is_planted(Bug::NoChecksum) {
            return BatchView::parse_layout(record).map_err(|_| "the batch does not hold");
        }
        let view = BatchView::parse(record).map_err(|_| "the batch does not hold")?;
        if view.bytes().len() != record.len() {
            return Err("the batch is shorter than its entry");
        }
        if view.header().batch_checksum != self.record_checksum {
            return Err("the batch is not the one that its entry was written for");
        }
        if !view.starts_at_base_offset() {
            return Err("the batch lacks its beginning");
        }
        Ok(view)
    }
}

/// Position after an entry at `position` with a record of `record_bytes`.
pub(crate) fn entry_end(position: u64, record_bytes: usize) -> u64 {
    (position + ENTRY_HEADER_BYTES as u64 + record_bytes as u64)
        .next_multiple_of(ENTRY_ALIGNMENT_BYTES)
}

fn header_checksum(bytes: &[u8], salt: u64, position: u64) -> u64 {
    // An odd factor spreads neighbouring positions over the seed.
    let seed = salt ^ position.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// Reads a little endian u64 at `at`, which the caller knows to lie within `bytes`.
pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Reads a little endian u32 at `at`, which the caller knows to lie within `bytes`.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: EntryHeader = EntryHeader {
        record_bytes: 304,
        synced_position: 4_096,
        record_checksum: 7,
    };

    #[test]
    fn a_header_is_recognised_only_where_it_was_written() {
        let bytes = HEADER.encode(1, 8_192);
        assert_eq!(EntryHeader::parse(&bytes, 1, 8_192), Some(HEADER));
        assert_eq!(EntryHeader::parse(&bytes, 2, 8_192), None);
        assert_eq!(EntryHeader::parse(&bytes, 1, 8_200), None);
        assert_eq!(EntryHeader::parse(&bytes[..31], 1, 8_192), None);
    }

    #[test]
    fn every_bit_of_a_header_counts() {
        let bytes = HEADER.encode(1, 8_192);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(EntryHeader::parse(&flipped, 1, 8_192), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_cannot_promise_more_than_lies_before_it() {
        let bytes = HEADER.encode(1, 4_088);
        assert_eq!(EntryHeader::parse(&bytes, 1, 4_088), None);
    }

    #[test]
    fn entries_end_on_their_alignment() {
        assert_eq!(entry_end(4_096, 304), 4_096 + 336);
        assert_eq!(entry_end(4_096, 305), 4_096 + 344);
    }
}
