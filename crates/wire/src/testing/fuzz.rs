//! The functions behind the fuzz targets. Each takes any bytes; returning is passing.

use crate::batch::{BatchView, Batches, Stamp, stamp};
use crate::iggy::command::{Command, decode};
use crate::iggy::frame::{FrameStart, HEADER_BYTES, ReplyHeader, RequestHeader};
use crate::iggy::messages::SendMessages;
use crate::iggy::reply::{PollHead, parse_send_reply, split_result_section};
use crate::iggy::{eviction, operation};
use crate::limits;
use alloc::vec::Vec;

/// Any bytes for one of the functions below; the first byte chooses.
pub fn any(bytes: &[u8]) {
    match bytes.split_first() {
        None => {}
        Some((0..64, rest)) => request(rest),
        Some((64..128, rest)) => batch(rest),
        Some((128..192, rest)) => reply(rest),
        Some((192.., rest)) => {
            if let Some(([operation, code @ ..], body)) = rest.split_first_chunk::<5>() {
                command(*operation, u32::from_le_bytes(*code), body);
            }
        }
    }
}

/// A request as it arrives: header and body.
pub fn request(bytes: &[u8]) {
    let FrameStart::Frame { frame_bytes } = FrameStart::detect(bytes, limits::FRAME_BYTES_MAX)
    else {
        return;
    };
    let Some((header, body)) = bytes
        .get(..frame_bytes)
        .and_then(<[u8]>::split_first_chunk::<HEADER_BYTES>)
    else {
        return;
    };
    if let Ok(header) = RequestHeader::parse(header) {
        assert_eq!(header.body_bytes(), body.len());
        let _ = header.verify_body(body);
        command(header.operation, header.code, body);
    }
}

/// A body of any operation and code.
pub fn command(operation: u8, code: u32, body: &[u8]) {
    if let Ok(Command::SendMessages(send)) = decode(operation, code, body) {
        let bytes = body
            .get(send.batch)
            .expect("the range of the batch lies in the body");
        if let Ok(view) = SendMessages::verify_batch(bytes, send.message_count) {
            assert_eq!(view.message_count(), send.message_count);
        }
    }
}

/// Any bytes as a batch: what parses must iterate, stamp and slice consistently.
pub fn batch(bytes: &[u8]) {
    for view in Batches::new(bytes).flatten() {
        check_batch(&view);
    }
    if let Ok(view) = BatchView::parse_produced(bytes) {
        let mut stamped = Vec::from(view.bytes());
        let place = Stamp {
            partition_id: 1,
            base_offset: 2,
            base_timestamp: 3,
        };
        stamp(&mut stamped, place).expect("what is proven can be stamped");
        BatchView::parse(&stamped).expect("what is stamped has correct checksums");
    }
}

fn check_batch(view: &BatchView<'_>) {
    let count = view.message_count();
    let mut expected_offset = view.first_offset();
    let mut covered = crate::batch::BATCH_HEADER_BYTES;
    for frame in view.frames() {
        assert_eq!(frame.offset(), expected_offset);
        assert_eq!(frame.payload().len(), frame.payload_length() as usize);
        assert_eq!(
            frame.user_headers().len(),
            frame.user_headers_length() as usize
        );
        expected_offset += 1;
        covered += frame.bytes().len();
    }
    assert_eq!(expected_offset, view.next_offset());
    assert_eq!(covered, view.bytes().len());
    let middle = view.first_offset() + u64::from(count / 2);
    let slice = view
        .slice(middle, u32::MAX, u64::MAX)
        .expect("the middle is in the batch");
    assert_eq!(slice.next_offset(), view.next_offset());
}

/// A reply as a client receives it.
pub fn reply(bytes: &[u8]) {
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let _ = eviction::parse(header);
    let Ok(header) = ReplyHeader::parse(header) else {
        return;
    };
    let _ = split_result_section(header.operation, body);
    if header.operation == operation::SEND_MESSAGES {
        let _ = parse_send_reply(body);
    } else if let Ok((_, records)) = PollHead::parse(body) {
        batch(records);
    }
}
