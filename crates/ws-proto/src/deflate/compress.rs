use alloc::fmt;

use bytes::{Bytes, BytesMut};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Strategy};

/// The end of an empty stored block, which every compressed message ends with and no one
/// sends (RFC 7692 §7.2.1).
pub(super) const TRAILER: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Most bytes of output that are made room for at once.
const STEP_BYTES_MAX: usize = 64 << 10;

/// Room beyond which the compressor does not repeat its flush marker.
const STEP_BYTES_MIN: usize = 64;

/// The state of one compressor. Large (about 370 KiB at 15 window bits): share it by a
/// [`Pool`](super::Pool).
pub struct Compressor {
    stream: Deflate,
    level: u8,
    window_bits: u8,
}

impl Compressor {
    /// A compressor of this level, 0–9, that refers back at most 2^`window_bits` bytes, 8–15.
    /// Other values are taken to the nearest of these.
    #[must_use]
    pub fn new(level: u8, window_bits: u8) -> Self {
        let level = level.min(9);
        let window_bits = window_bits.clamp(8, 15);
        let config = DeflateConfig {
            level: i32::from(level),
            // Negative: a raw stream, without header and checksum. The encoder has no window
            // below 9 bits: for 8 it is told not to refer back at all, which fits any window.
            window_bits: -i32::from(window_bits.max(9)),
            strategy: match window_bits {
                8 => Strategy::HuffmanOnly,
                _ => Strategy::Default,
            },
            ..DeflateConfig::default()
        };
        Self {
            stream: Deflate::new_with_config(config),
            level,
            window_bits,
        }
    }

    /// The effort, 0–9.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The window, 8–15.
    #[must_use]
    pub const fn window_bits(&self) -> u8 {
        self.window_bits
    }

    /// Forgets what was compressed before.
    pub(super) fn reset(&mut self) {
        self.stream.reset();
    }

    /// One message, without the trailer (RFC 7692 §7.2.1).
    pub(super) fn compress(&mut self, parts: &[Bytes], payload_bytes: usize) -> BytesMut {
        let mut target = BytesMut::with_capacity(payload_bytes.min(STEP_BYTES_MAX) / 2);
        for part in parts {
            self.push(part, DeflateFlush::NoFlush, &mut target);
        }
        self.push(&[], DeflateFlush::SyncFlush, &mut target);
        if target.ends_with(&TRAILER) {
            target.truncate(target.len() - TRAILER.len());
        }
        target
    }

    fn push(&mut self, mut input: &[u8], flush: DeflateFlush, target: &mut BytesMut) {
        loop {
            let start = target.len();
            let wanted = (input.len() / 2).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX);
            let step = wanted.max((target.capacity() - start).min(STEP_BYTES_MAX));
            target.resize(start + step, 0);
            let (total_in, total_out) = (self.stream.total_in(), self.stream.total_out());
            let output = target.get_mut(start..).unwrap_or_default();
            self.stream
                .compress(input, output, flush)
                .expect("a deflate stream of valid parameters takes any input");
            let consumed = (self.stream.total_in() - total_in) as usize;
            let produced = (self.stream.total_out() - total_out) as usize;
            target.truncate(start + produced);
            input = input.get(consumed..).unwrap_or_default();
            // Room left over: everything that this flush asks for is out.
            if produced < step && input.is_empty() {
                return;
            }
        }
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Compressor")
            .field("level", &self.level)
            .field("window_bits", &self.window_bits)
            .finish_non_exhaustive()
    }
}
