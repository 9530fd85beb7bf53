//! Replies: whole frames for the control plane, heads for what is followed by records.
//!
//! A reply is a [`ReplyHeader`] and a body. Where [`has_result_section`] the body starts with four
//! zero bytes (no failed results). A failure is a header alone, its status set: published clients
//! look at the status before anything else, so the result section never carries an error here.
//! Something that does not exist is no failure of a read: the body is empty then.

use super::frame::{HEADER_BYTES, ReplyHeader, RequestHeader};
use super::operation::has_result_section;
use super::published::{self, WireEncode, WireName, responses::users::LoginRegisterResponse};
use crate::{Status, read};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of an empty result section.
pub const RESULT_SECTION_BYTES: usize = 4;
/// Bytes of a whole SendMessages reply.
pub const SEND_REPLY_BYTES: usize = HEADER_BYTES + 24;
/// Bytes of what stands before the records of a PollMessages reply, header included.
pub const POLL_REPLY_HEAD_BYTES: usize = HEADER_BYTES + 16;

/// The partition id of an empty poll reply that tells a group's member to sync its assignment.
pub const PARTITION_SYNC_REQUIRED: u32 = u32::MAX;

/// A failed reply: a header and nothing else.
#[must_use]
pub fn failure(request: &RequestHeader, status: Status) -> Bytes {
    Bytes::copy_from_slice(&ReplyHeader::failure(request, status).encode())
}

/// A successful reply without payload.
#[must_use]
pub fn empty(request: &RequestHeader) -> Bytes {
    payload(request, &[])
}

/// A successful reply with these bytes as payload, which are copied.
#[must_use]
pub fn payload(request: &RequestHeader, payload: &[u8]) -> Bytes {
    let mut frame = start(request, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// A successful reply with a response of the published codec.
#[must_use]
pub fn response(request: &RequestHeader, response: &impl WireEncode) -> Bytes {
    let mut frame = start(request, response.encoded_size());
    response.encode(&mut frame);
    debug_assert_eq!(
        read::u32(&frame, super::frame::SIZE_AT).map(|size| size as usize),
        Some(frame.len()),
        "a response's encoded size is its size"
    );
    frame.freeze()
}

/// Header and result section of a reply whose payload of `payload_bytes` follows.
fn start(request: &RequestHeader, payload_bytes: usize) -> BytesMut {
    let section_bytes = if has_result_section(request.operation) {
        RESULT_SECTION_BYTES
    } else {
        0
    };
    let body_bytes = section_bytes + payload_bytes;
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + body_bytes);
    frame.put_slice(&ReplyHeader::success(request, body_bytes).encode());
    frame.put_bytes(0, section_bytes);
    frame
}

/// The reply to a login.
///
/// `session` is repeated in every later request and must not be 0. `server_version` is cut to 255
/// bytes and shown as "0" when empty.
#[must_use]
pub fn login(request: &RequestHeader, user: u32, session: u64, server_version: &str) -> Bytes {
    debug_assert!(session != 0, "clients refuse session 0");
    let mut end = server_version.len().min(crate::limits::NAME_BYTES_MAX);
    while !server_version.is_char_boundary(end) {
        end -= 1;
    }
    let text = server_version
        .get(..end)
        .filter(|text| !text.is_empty())
        .unwrap_or("0");
    let Ok(server_version) = WireName::new(text) else {
        return failure(request, Status::ERROR);
    };
    response(
        request,
        &LoginRegisterResponse {
            user_id: user,
            session,
            server_protocol_version: published::IGGY_PROTOCOL_VERSION,
            server_version,
        },
    )
}

/// The reply to a SendMessages that was appended, whole.
#[must_use]
pub fn send_messages(
    request: &RequestHeader,
    stream: u32,
    topic: u32,
    partition: u32,
    base_offset: u64,
) -> [u8; SEND_REPLY_BYTES] {
    let mut frame = [0; SEND_REPLY_BYTES];
    let (header, mut body) = frame.split_at_mut(HEADER_BYTES);
    header
        .copy_from_slice(&ReplyHeader::success(request, SEND_REPLY_BYTES - HEADER_BYTES).encode());
    body.put_u32_le(1);
    body.put_u32_le(stream);
    body.put_u32_le(topic);
    body.put_u32_le(partition);
    body.put_u64_le(base_offset);
    frame
}

/// What stands before the records of a PollMessages reply.
///
/// `current_offset` is the offset of the partition's last message, 0 while it has none.
/// `records_bytes`, the bytes of all records that follow, is at most
/// [`crate::limits::POLL_RECORDS_BYTES_MAX`].
#[must_use]
pub fn poll_messages_head(
    request: &RequestHeader,
    partition: u32,
    current_offset: u64,
    message_count: u32,
    records_bytes: usize,
) -> [u8; POLL_REPLY_HEAD_BYTES] {
    let mut head = [0; POLL_REPLY_HEAD_BYTES];
    let (header, mut body) = head.split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&ReplyHeader::success(request, 16 + records_bytes).encode());
    body.put_u32_le(partition);
    body.put_u64_le(current_offset);
    body.put_u32_le(message_count);
    head
}

/// Splits a successful reply's body at its payload, as a client does.
///
/// # Errors
/// The first failed result of the section (other servers put errors there), or
/// [`Status::INVALID_FORMAT`] for a section that does not fit the body.
pub fn split_result_section(operation: u8, body: &[u8]) -> Result<&[u8], Status> {
    if !has_result_section(operation) {
        return Ok(body);
    }
    let count = read::u32(body, 0).ok_or(Status::INVALID_FORMAT)?;
    if count != 0 {
        let result = read::u32(body, RESULT_SECTION_BYTES + 4).ok_or(Status::INVALID_FORMAT)?;
        return Err(Status(result));
    }
    body.get(RESULT_SECTION_BYTES..)
        .ok_or(Status::INVALID_FORMAT)
}

/// The head of a PollMessages reply as a client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollHead {
    /// The partition, or [`PARTITION_SYNC_REQUIRED`].
    pub partition: u32,
    /// Offset of the partition's last message.
    pub current_offset: u64,
    /// Messages in the records that follow.
    pub message_count: u32,
}

impl PollHead {
    /// Splits a reply's body into its head and the records, which [`crate::batch::Batches`] walks.
    ///
    /// # Errors
    /// [`Status::INVALID_FORMAT`] for fewer than 16 bytes.
    pub fn parse(body: &[u8]) -> Result<(Self, &[u8]), Status> {
        let parse = || {
            let head = Self {
                partition: read::u32(body, 0)?,
                current_offset: read::u64(body, 4)?,
                message_count: read::u32(body, 12)?,
            };
            Some((head, body.get(16..)?))
        };
        parse().ok_or(Status::INVALID_FORMAT)
    }
}

/// The base offset of a SendMessages reply's body, `None` when the server told none.
///
/// # Errors
/// [`Status::INVALID_FORMAT`] for a body that ends inside its first entry.
pub fn parse_send_reply(body: &[u8]) -> Result<Option<u64>, Status> {
    if body.is_empty() || read::u32(body, 0) == Some(0) {
        return Ok(None);
    }
    read::u64(body, 16).map(Some).ok_or(Status::INVALID_FORMAT)
}
