//! One request after the other: numbering, framing, repeating what a busy server refused.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use compio_runtime::time::{sleep, timeout_at};
use wire::Status;
use wire::iggy::frame::{HEADER_BYTES, ReplyHeader, RequestHeader};
use wire::iggy::{command, eviction, operation, reply};

use crate::error::Error;
use crate::limits;
use crate::transport::Transport;

/// What can be chosen about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Time to connect. Default: [`limits::CONNECT_TIME_DEFAULT`].
    pub connect_time: Duration,
    /// Time for a reply, and for repeating what a busy server refuses. Default:
    /// [`limits::REPLY_TIME_DEFAULT`].
    pub reply_time: Duration,
    /// Whether a WebSocket offers to compress; the server need not agree. Default: no.
    #[cfg(feature = "deflate")]
    pub compress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_time: limits::CONNECT_TIME_DEFAULT,
            reply_time: limits::REPLY_TIME_DEFAULT,
            #[cfg(feature = "deflate")]
            compress: false,
        }
    }
}

/// Which command a request is.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) operation: u8,
    pub(crate) code: u32,
}

impl Kind {
    /// A command that has an operation of its own.
    pub(crate) const fn change(operation: u8) -> Self {
        Self { operation, code: 0 }
    }

    /// A command that travels with its code.
    pub(crate) const fn read(code: u32) -> Self {
        Self {
            operation: operation::NON_REPLICATED,
            code,
        }
    }

    fn name(self) -> &'static str {
        command::name(self.operation, self.code)
    }
}

pub(crate) struct Session {
    transport: Transport,
    options: Options,
    client: u128,
    /// 0 before login.
    session: u64,
    last_request: u64,
    /// Heads of requests are cut from its front; the space is reclaimed when they are written.
    heads: BytesMut,
    /// A request was sent whose reply has not been taken.
    is_waiting: bool,
    /// Size of the last reply to a poll: a good guess for the next one.
    expected_bytes: usize,
}

impl Session {
    pub(crate) fn new(transport: Transport, options: Options) -> Result<Self, Error> {
        let mut client = [0; 16];
        getrandom::fill(&mut client)
            .map_err(|error| Error::Io(std::io::Error::other(error.to_string())))?;
        Ok(Self {
            transport,
            options,
            // Zero is no client id; one in 2^128 is not worth another word.
            client: u128::from_le_bytes(client) | 1,
            session: 0,
            last_request: 0,
            heads: BytesMut::with_capacity(limits::HEAD_BUFFER_BYTES),
            is_waiting: false,
            expected_bytes: 0,
        })
    }

    pub(crate) fn bind(&mut self, session: u64) {
        self.session = session;
        self.last_request = 0;
    }

    pub(crate) fn unbind(&mut self) {
        self.bind(0);
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        self.transport.close().await
    }

    /// Sends a request and waits for the payload of its reply (without the result section).
    ///
    /// `write` writes the beginning of the body behind the header; `rest` follows it uncopied.
    pub(crate) async fn request(
        &mut self,
        kind: Kind,
        write: impl FnOnce(&mut BytesMut),
        rest: Option<Bytes>,
    ) -> Result<Bytes, Error> {
        if self.is_waiting {
            return Err(Error::Desynchronised);
        }
        let (header, head) = self.head(kind, write, rest.as_ref().map_or(0, Bytes::len))?;
        let deadline = Instant::now() + self.options.reply_time;
        loop {
            self.is_waiting = true;
            let frame = timeout_at(deadline, self.exchange(head.clone(), rest.clone()))
                .await
                .map_err(|_| Error::TimedOut(self.options.reply_time))??;
            if kind.code == wire::iggy::published::codes::POLL_MESSAGES_CODE {
                self.expected_bytes = frame.len();
            }
            let status = match payload(&header, frame) {
                Ok(payload) => {
                    self.is_waiting = false;
                    return Ok(payload);
                }
                Err(Failure::Status(status)) => status,
                Err(Failure::Fatal(error)) => return Err(error),
            };
            self.is_waiting = false;
            let pause_ends = Instant::now() + limits::RETRY_PAUSE;
            // Only "not accepted" certainly had no effect; the other transient status may have.
            if status != Status::TRANSIENT_NOT_ACCEPTED || pause_ends >= deadline {
                return Err(Error::Refused {
                    command: kind.name(),
                    status,
                });
            }
            sleep(limits::RETRY_PAUSE).await;
        }
    }

    async fn exchange(&mut self, head: Bytes, rest: Option<Bytes>) -> Result<Bytes, Error> {
        self.transport.send(head, rest).await?;
        self.transport.recv(self.expected_bytes).await
    }

    /// The header and the beginning of the body, as one piece.
    fn head(
        &mut self,
        kind: Kind,
        write: impl FnOnce(&mut BytesMut),
        rest_bytes: usize,
    ) -> Result<(RequestHeader, Bytes), Error> {
        let is_login = kind.operation == operation::REGISTER;
        let is_read = kind.operation == operation::NON_REPLICATED;
        self.heads.clear();
        self.heads
            .reserve(limits::HEAD_BUFFER_BYTES.min(HEADER_BYTES * 4));
        self.heads.put_bytes(0, HEADER_BYTES);
        write(&mut self.heads);
        let frame_bytes = self.heads.len() + rest_bytes;
        if frame_bytes > wire::limits::FRAME_BYTES_MAX {
            self.heads.clear();
            return Err(Error::TooBig(frame_bytes));
        }
        if !is_login && !is_read {
            self.last_request += 1;
        }
        let header = RequestHeader {
            frame_bytes: u32::try_from(frame_bytes).expect("checked above: at most 64 MiB"),
            client: self.client,
            request_checksum: 0,
            request: if is_login { 0 } else { self.last_request },
            operation: kind.operation,
            session: if is_login { 0 } else { self.session },
            code: kind.code,
        };
        self.heads[..HEADER_BYTES].copy_from_slice(&header.encode());
        Ok((header, self.heads.split().freeze()))
    }
}

enum Failure {
    Status(Status),
    Fatal(Error),
}

/// The payload of the reply to `request` that `frame` is.
fn payload(request: &RequestHeader, frame: Bytes) -> Result<Bytes, Failure> {
    let fatal = |what| Failure::Fatal(Error::Protocol(what));
    let (head, body) = frame
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(fatal("a frame without header"))?;
    if let Some(eviction) = eviction::parse(head) {
        return Err(Failure::Fatal(Error::Evicted {
            reason: eviction.reason,
        }));
    }
    let header = ReplyHeader::parse(head).map_err(|_| fatal("a frame that is no reply"))?;
    if header.body_bytes() != body.len() {
        return Err(fatal("a reply of another size than it says"));
    }
    if header.operation != request.operation || header.request != request.request {
        return Err(fatal("the reply to another request"));
    }
    if !header.status.is_ok() {
        return Err(Failure::Status(header.status));
    }
    match reply::split_result_section(header.operation, body) {
        Ok(payload) => {
            let payload_bytes = payload.len();
            Ok(frame.slice(frame.len() - payload_bytes..))
        }
        Err(status) => Err(Failure::Status(status)),
    }
}
