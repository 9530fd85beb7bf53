//! The copy-free floor of a WebSocket echo: one receive, one unmask in place and one send of each
//! message, by a server that asks nothing else of a frame.

use std::io::IoSlice;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ws_proto::mask;

use super::{Outcome, handshake, on_tokio};
use crate::limits;

const MASKING_KEY_BYTES: usize = 4;

pub(super) fn echo() -> Outcome {
    on_tokio::serve(|mut stream| async move {
        handshake::answer(&mut stream).await?;
        let mut received = Vec::with_capacity(limits::RAW_BUFFER_BYTES);
        loop {
            let mut position = 0;
            while let Some(frame) = Frame::parse(&received[position..])
                && received.len() - position >= frame.bytes()
            {
                let end = position + frame.bytes();
                send(&mut stream, &frame, &mut received[position..end]).await?;
                position = end;
            }
            received.drain(..position);
            if let Some(frame) = Frame::parse(&received) {
                received.reserve(frame.bytes() - received.len());
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
    })
}

/// What the header of a masked frame says (RFC 6455 §5.2).
struct Frame {
    /// Without the masking key.
    header_bytes: usize,
    payload_bytes: usize,
}

impl Frame {
    fn parse(received: &[u8]) -> Option<Self> {
        let header_bytes = match received.get(1)? & 0x7F {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        let header = received.get(..header_bytes)?;
        let payload_bytes = match header[2..] {
            [] => usize::from(header[1] & 0x7F),
            ref length => length
                .iter()
                .fold(0, |bytes, byte| bytes << 8 | usize::from(*byte)),
        };
        Some(Frame {
            header_bytes,
            payload_bytes,
        })
    }

    fn bytes(&self) -> usize {
        self.header_bytes + MASKING_KEY_BYTES + self.payload_bytes
    }
}

async fn send(stream: &mut TcpStream, frame: &Frame, received: &mut [u8]) -> std::io::Result<()> {
    let (header, rest) = received.split_at_mut(frame.header_bytes);
    let (key, payload) = rest.split_at_mut(MASKING_KEY_BYTES);
    mask::apply(payload, [key[0], key[1], key[2], key[3]]);
    header[1] &= 0x7F;
    let mut parts = [IoSlice::new(header), IoSlice::new(payload)];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        let written_bytes = stream.write_vectored(parts).await?;
        IoSlice::advance_slices(&mut parts, written_bytes);
    }
    Ok(())
}
