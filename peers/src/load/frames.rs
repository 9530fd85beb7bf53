//! The bytes that are sent and expected: made once, before anything is measured.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits;

const FIN_BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;
const MASKING_KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) struct Frames {
    /// As many frames as may be under way, one behind the other.
    window: Bytes,
    window_count: u32,
    frame_bytes: usize,
    echo: Echo,
}

/// What is to come back for one frame.
pub(super) enum Echo {
    /// The frame itself, from a server that knows nothing of frames.
    Raw(Bytes),
    WebSocket {
        /// As one frame that is not masked; another division into frames is as good.
        frame: Bytes,
        payload: Bytes,
    },
}

impl Frames {
    pub(crate) fn new(payload_bytes: usize, window_count: u32, raw: bool) -> Self {
        let payload = payload(payload_bytes);
        let mut frame = header(payload_bytes, MASKED);
        frame.put_slice(&MASKING_KEY);
        let key = MASKING_KEY.iter().cycle();
        frame.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
        let frame_bytes = frame.len();
        let fitting_count = (limits::WINDOW_BYTES_MAX / frame_bytes).max(1) as u32;
        let window_count = window_count.min(fitting_count);
        let window = if window_count == 1 {
            frame.freeze()
        } else {
            frame.repeat(window_count as usize).into()
        };
        let echo = if raw {
            Echo::Raw(window.slice(..frame_bytes))
        } else {
            let mut frame = header(payload_bytes, 0);
            frame.put_slice(&payload);
            Echo::WebSocket {
                payload: frame.clone().freeze().slice(frame.len() - payload_bytes..),
                frame: frame.freeze(),
            }
        };
        Frames {
            window,
            window_count,
            frame_bytes,
            echo,
        }
    }

    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.echo, Echo::Raw(_))
    }

    /// Bytes that are counted for one message that came back whole.
    pub(crate) fn echo_bytes(&self) -> usize {
        match &self.echo {
            Echo::Raw(frame) => frame.len(),
            Echo::WebSocket { payload, .. } => payload.len(),
        }
    }

    /// Bytes that come back for as many, each in a frame of its own.
    pub(crate) fn echo_window_bytes(&self, count: u32) -> usize {
        let (Echo::Raw(frame) | Echo::WebSocket { frame, .. }) = &self.echo;
        frame.len() * count as usize
    }

    pub(super) fn window_count(&self) -> u32 {
        self.window_count
    }

    /// This many frames, ready to be sent.
    pub(crate) fn window(&self, count: u32) -> Bytes {
        self.window.slice(..count as usize * self.frame_bytes)
    }

    pub(super) fn echo(&self) -> &Echo {
        &self.echo
    }
}

/// Bytes in which no part is like another for long: misplaced pieces are noticed.
fn payload(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut payload = BytesMut::with_capacity(length + 8);
    while payload.len() < length {
        // xorshift64: fast, and good enough for this.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        payload.put_u64(state);
    }
    payload.truncate(length);
    payload.freeze()
}

/// RFC 6455 §5.2, with the shortest form of the length.
fn header(payload_bytes: usize, masked: u8) -> BytesMut {
    let mut header = BytesMut::with_capacity(payload_bytes + 14);
    header.put_u8(FIN_BINARY);
    match payload_bytes {
        0..=125 => header.put_u8(masked | payload_bytes as u8),
        126..=0xffff => {
            header.put_u8(masked | 126);
            header.put_u16(payload_bytes as u16);
        }
        _ => {
            header.put_u8(masked | 127);
            header.put_u64(payload_bytes as u64);
        }
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_the_shortest_length_and_are_masked() {
        for (payload_bytes, header_bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)]
        {
            let frames = Frames::new(payload_bytes, 3, false);
            assert_eq!(frames.frame_bytes, header_bytes + 4 + payload_bytes);
            assert_eq!(frames.window(3).len(), 3 * frames.frame_bytes);
            assert_eq!(frames.echo_bytes(), payload_bytes);
            let frame = frames.window(1);
            let key = &frame[header_bytes..header_bytes + 4];
            let unmasked: Vec<u8> = frame[header_bytes + 4..]
                .iter()
                .zip(key.iter().cycle())
                .map(|(byte, key)| byte ^ key)
                .collect();
            assert_eq!(unmasked, payload(payload_bytes));
        }
    }

    #[test]
    fn a_window_is_bounded() {
        let frames = Frames::new(limits::PAYLOAD_BYTES_MAX, 64, true);
        assert!(frames.window(frames.window_count()).len() <= limits::WINDOW_BYTES_MAX);
    }
}
