//! Checks every byte that comes back, however it is cut into chunks and frames.

use super::frames::{Echo, Frames};

const HEADER_BYTES_MAX: usize = 10;
const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;

/// Where a connection is in what it is to receive.
#[derive(Default)]
pub(super) struct Verifier {
    /// Of the message.
    position: usize,
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// Payload bytes of this frame that have not come yet; only when its header is complete.
    frame_left: Option<usize>,
    fin: bool,
}

#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Echoed {
    pub(super) bytes: usize,
    pub(super) messages_count: u32,
}

impl Verifier {
    /// What of `chunk` was right; `None` when anything is wrong.
    pub(super) fn take(&mut self, frames: &Frames, chunk: &[u8]) -> Option<Echoed> {
        match frames.echo() {
            Echo::Raw(frame) => self.take_raw(frame, chunk),
            Echo::WebSocket { frame, payload } => self.take_frames(frame, payload, chunk),
        }
    }

    fn take_raw(&mut self, frame: &[u8], mut chunk: &[u8]) -> Option<Echoed> {
        let mut echoed = Echoed::default();
        while !chunk.is_empty() {
            let expected = &frame[self.position..];
            let length = expected.len().min(chunk.len());
            if chunk[..length] != expected[..length] {
                return None;
            }
            chunk = &chunk[length..];
            echoed.bytes += length;
            self.position += length;
            if self.position == frame.len() {
                self.position = 0;
                echoed.messages_count += 1;
            }
        }
        Some(echoed)
    }

    fn take_frames(&mut self, frame: &[u8], payload: &[u8], mut chunk: &[u8]) -> Option<Echoed> {
        let mut echoed = Echoed::default();
        while !chunk.is_empty() {
            // What nearly every server sends: each message as one whole frame.
            if self.position == 0 && self.header_bytes == 0 && chunk.starts_with(frame) {
                chunk = &chunk[frame.len()..];
                echoed.bytes += payload.len();
                echoed.messages_count += 1;
                continue;
            }
            let Some(left) = self.frame_left else {
                chunk = self.take_header(chunk)?;
                continue;
            };
            let length = left.min(chunk.len());
            let expected = payload.get(self.position..self.position + length)?;
            if &chunk[..length] != expected {
                return None;
            }
            chunk = &chunk[length..];
            self.position += length;
            echoed.bytes += length;
            self.frame_left = Some(left - length);
            if left > length {
                continue;
            }
            self.frame_left = None;
            self.header_bytes = 0;
            if self.fin {
                if self.position != payload.len() {
                    return None;
                }
                self.position = 0;
                echoed.messages_count += 1;
            }
        }
        Some(echoed)
    }

    /// Takes one byte of a header.
    fn take_header<'a>(&mut self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        let (&byte, rest) = chunk.split_first()?;
        *self.header.get_mut(self.header_bytes)? = byte;
        self.header_bytes += 1;
        let opcode = if self.position == 0 {
            BINARY
        } else {
            CONTINUATION
        };
        if self.header[0] & OPCODE != opcode {
            return None;
        }
        self.fin = self.header[0] & FIN != 0;
        self.frame_left = match (self.header_bytes, self.header[1]) {
            (2, length @ 0..=125) => Some(length.into()),
            (4, 126) => Some(u16::from_be_bytes([self.header[2], self.header[3]]).into()),
            (10, 127) => {
                let length = self.header[2..10].try_into().ok()?;
                Some(u64::from_be_bytes(length).try_into().ok()?)
            }
            // Masked frames of a server are wrong.
            (2.., 128..) => return None,
            _ => None,
        };
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(payload_bytes: usize) -> (Frames, Vec<u8>) {
        let frames = Frames::new(payload_bytes, 1, false);
        let Echo::WebSocket { frame, .. } = frames.echo() else {
            unreachable!("asked for frames");
        };
        let bytes = frame.repeat(3);
        (frames, bytes)
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        for payload_bytes in [1, 20, 125, 126, 1000, 70_000] {
            let (frames, bytes) = whole(payload_bytes);
            for cut in [1, 2, 7, 1024, bytes.len()] {
                let mut verifier = Verifier::default();
                let mut sum = Echoed::default();
                for chunk in bytes.chunks(cut) {
                    let echoed = verifier.take(&frames, chunk).expect("it is right");
                    sum.bytes += echoed.bytes;
                    sum.messages_count += echoed.messages_count;
                }
                assert_eq!((sum.bytes, sum.messages_count), (3 * payload_bytes, 3));
            }
        }
    }

    #[test]
    fn fragments_are_as_good_as_one_frame() {
        let (frames, bytes) = whole(20);
        let fragmented = [&[0x02, 5][..], &bytes[2..7], &[0x80, 15], &bytes[7..22]].concat();
        let echoed = Verifier::default().take(&frames, &fragmented);
        assert_eq!(echoed.map(|echoed| echoed.messages_count), Some(1));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (frames, bytes) = whole(20);
        for index in 0..22 {
            let mut bytes = bytes[..22].to_vec();
            bytes[index] ^= 1;
            // A changed length makes the next header wrong.
            bytes.extend_from_slice(&[0xff; 40]);
            assert_eq!(
                Verifier::default().take(&frames, &bytes),
                None,
                "byte {index}"
            );
        }
    }

    #[test]
    fn raw_bytes_are_compared_in_any_pieces() {
        let frames = Frames::new(20, 2, true);
        let bytes = frames.window(2);
        let mut verifier = Verifier::default();
        let count: u32 = bytes
            .chunks(5)
            .map(|chunk| verifier.take(&frames, chunk).expect("right").messages_count)
            .sum();
        assert_eq!(count, 2);
        assert_eq!(verifier.take(&frames, &[0]), None);
    }
}
