//! For tests of this crate and of its users: one sample of every request, batches of any shape,
//! seeded randomness, mutations, and the functions behind the fuzz targets.

pub mod fuzz;
mod samples;

pub use samples::{Sample, samples};

use crate::batch::{BatchBuilder, Message};
use alloc::vec::Vec;
use bytes::BytesMut;

/// A small seeded generator (splitmix64): the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// `count` random bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// A batch as a producer sends it: `message_count` messages of at most `payload_bytes_max`, some
/// with user headers, some with an empty payload.
///
/// # Panics
/// For a count of 0 or a payload beyond the limit: a test asked for what is no batch.
#[must_use]
pub fn produced_batch(random: &mut Random, message_count: u32, payload_bytes_max: u64) -> BytesMut {
    let mut buffer = BytesMut::new();
    let mut builder = BatchBuilder::new(&mut buffer);
    let mut origin_timestamp = 1_700_000_000_000_000 + random.below(1_000_000);
    for _ in 0..message_count {
        let payload_bytes = random.below(payload_bytes_max + 1) as usize;
        let payload = random.bytes(payload_bytes);
        let user_headers = if random.below(4) == 0 {
            random.bytes(20)
        } else {
            Vec::new()
        };
        let message = Message {
            id: u128::from(random.next()) << 64 | u128::from(random.next()),
            origin_timestamp,
            payload: &payload,
            user_headers: &user_headers,
        };
        builder
            .push(message)
            .expect("the caller asked for messages within the limits");
        origin_timestamp += random.below(1_000);
    }
    builder
        .finish()
        .expect("the caller asked for at least one message");
    buffer
}

/// Changes one to four places of `bytes`: flips, overwrites, cuts, repeats, inserts. Numbers that
/// sit on edges (0, 1, all ones) come up often, because lengths and counts are what breaks.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            bytes.extend(random.bytes(8));
            continue;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(7) {
            0 => flip(bytes, at, random),
            1 => overwrite(bytes, at, &random.next().to_le_bytes()),
            2 => overwrite(bytes, at, &[0xFF; 4]),
            3 => overwrite(bytes, at, &(random.below(3) as u32).to_le_bytes()),
            4 => bytes.truncate(at),
            5 => {
                let inserted = random.bytes(4);
                bytes.splice(at..at, inserted);
            }
            _ => {
                let end = bytes.len().min(at + 16);
                bytes.extend_from_within(at..end);
            }
        }
    }
}

fn flip(bytes: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn overwrite(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(value) {
        *byte = *new;
    }
}
