//! Names and numbers by which requests refer to things, read where they lie.
//!
//! ```text
//! identifier   = kind u8 (1 number, 2 name) · length u8 · 4 bytes or 1 to 255 bytes of UTF-8
//! consumer     = kind u8 (1 consumer, 2 group) · identifier
//! partitioning = kind u8 (1 balanced, 2 partition, 3 key) · length u8 · nothing, u32 or 1 to 255
//!                bytes
//! ```

use super::published::{WireConsumer, WireIdentifier};
use crate::{Status, limits, read};
use bytes::BufMut;
use core::fmt;

const NUMBER: u8 = 1;
const NAME: u8 = 2;
const CONSUMER: u8 = 1;
const GROUP: u8 = 2;
const BALANCED: u8 = 1;
const PARTITION: u8 = 2;
const KEY: u8 = 3;

/// Splits `bytes` at the end of what `parse` reads from it.
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Status> {
    let (taken, rest) = bytes
        .split_at_checked(count)
        .ok_or(Status::INVALID_FORMAT)?;
    *bytes = rest;
    Ok(taken)
}

pub(super) fn take_u8(bytes: &mut &[u8]) -> Result<u8, Status> {
    read::u8(take(bytes, 1)?, 0).ok_or(Status::INVALID_FORMAT)
}

pub(super) fn take_u32(bytes: &mut &[u8]) -> Result<u32, Status> {
    read::u32(take(bytes, 4)?, 0).ok_or(Status::INVALID_FORMAT)
}

pub(super) fn take_u64(bytes: &mut &[u8]) -> Result<u64, Status> {
    read::u64(take(bytes, 8)?, 0).ok_or(Status::INVALID_FORMAT)
}

/// Takes a text whose length stands before it in one byte.
pub(super) fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, Status> {
    let length = usize::from(take_u8(bytes)?);
    core::str::from_utf8(take(bytes, length)?).map_err(|_| Status::INVALID_UTF8)
}

/// A stream, topic, consumer or group as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identifier<'a> {
    /// By number.
    Number(u32),
    /// By name, 1 to 255 bytes.
    Name(&'a str),
}

impl<'a> Identifier<'a> {
    /// Takes an identifier from the front of `bytes`.
    ///
    /// # Errors
    /// [`Status::INVALID_IDENTIFIER`] for an unknown kind or a wrong length,
    /// [`Status::INVALID_UTF8`] for a name that is none, [`Status::INVALID_FORMAT`] when `bytes`
    /// ends early.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Self, Status> {
        let kind = take_u8(bytes)?;
        let length = usize::from(take_u8(bytes)?);
        let value = take(bytes, length)?;
        match kind {
            NUMBER if length == 4 => read::u32(value, 0).map(Self::Number),
            NAME if length > 0 => {
                let name = core::str::from_utf8(value).map_err(|_| Status::INVALID_UTF8)?;
                Some(Self::Name(name))
            }
            _ => None,
        }
        .ok_or(Status::INVALID_IDENTIFIER)
    }

    /// Writes the identifier. A name longer than 255 bytes cannot be written and is cut there; a
    /// client checks names before.
    pub fn put(&self, buffer: &mut impl BufMut) {
        match self {
            Self::Number(number) => {
                buffer.put_slice(&[NUMBER, 4]);
                buffer.put_u32_le(*number);
            }
            Self::Name(name) => put_prefixed(buffer, NAME, name.as_bytes()),
        }
    }
}

fn put_prefixed(buffer: &mut impl BufMut, kind: u8, bytes: &[u8]) {
    let bytes = bytes.get(..limits::NAME_BYTES_MAX).unwrap_or(bytes);
    buffer.put_u8(kind);
    buffer.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    buffer.put_slice(bytes);
}

impl<'a> From<&'a str> for Identifier<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<u32> for Identifier<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a WireIdentifier> for Identifier<'a> {
    fn from(identifier: &'a WireIdentifier) -> Self {
        match identifier {
            WireIdentifier::Numeric(number) => Self::Number(*number),
            WireIdentifier::String(name) => Self::Name(name.as_str()),
        }
    }
}

impl fmt::Display for Identifier<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

/// Whether offsets belong to one consumer or to a group of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsumerKind {
    /// A single consumer, named by the client as it likes.
    Consumer,
    /// A consumer group of the topic.
    Group,
}

/// Who polls, or whose offset is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Consumer<'a> {
    /// One consumer or a group.
    pub kind: ConsumerKind,
    /// Its number or name.
    pub id: Identifier<'a>,
}

impl<'a> Consumer<'a> {
    /// Takes a consumer from the front of `bytes`.
    ///
    /// # Errors
    /// As [`Identifier::take`]; [`Status::INVALID_FORMAT`] for an unknown kind.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Self, Status> {
        let kind = match take_u8(bytes)? {
            CONSUMER => ConsumerKind::Consumer,
            GROUP => ConsumerKind::Group,
            _ => return Err(Status::INVALID_FORMAT),
        };
        Ok(Self {
            kind,
            id: Identifier::take(bytes)?,
        })
    }

    /// Writes the consumer.
    pub fn put(&self, buffer: &mut impl BufMut) {
        buffer.put_u8(match self.kind {
            ConsumerKind::Consumer => CONSUMER,
            ConsumerKind::Group => GROUP,
        });
        self.id.put(buffer);
    }
}

impl<'a> From<&'a WireConsumer> for Consumer<'a> {
    fn from(consumer: &'a WireConsumer) -> Self {
        // The published decoder lets no third kind through.
        let kind = if consumer.kind == GROUP {
            ConsumerKind::Group
        } else {
            ConsumerKind::Consumer
        };
        Self {
            kind,
            id: Identifier::from(&consumer.id),
        }
    }
}

/// How a producer chose a partition. Published clients always send [`Self::Partition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioning<'a> {
    /// Any partition.
    Balanced,
    /// This one.
    Partition(u32),
    /// The one that the key's hash selects: XxHash32 with seed 0, modulo the partition count.
    Key(&'a [u8]),
}

impl<'a> Partitioning<'a> {
    /// Takes a partitioning from the front of `bytes`.
    ///
    /// # Errors
    /// [`Status::INVALID_KEY_VALUE_LENGTH`] for a wrong length, [`Status::INVALID_FORMAT`] for an
    /// unknown kind or when `bytes` ends early.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Self, Status> {
        let kind = take_u8(bytes)?;
        let length = usize::from(take_u8(bytes)?);
        let value = take(bytes, length)?;
        match (kind, length) {
            (BALANCED, 0) => Ok(Self::Balanced),
            (PARTITION, 4) => read::u32(value, 0)
                .map(Self::Partition)
                .ok_or(Status::INVALID_FORMAT),
            (KEY, 1..) => Ok(Self::Key(value)),
            (BALANCED | PARTITION | KEY, _) => Err(Status::INVALID_KEY_VALUE_LENGTH),
            _ => Err(Status::INVALID_FORMAT),
        }
    }

    /// Writes the partitioning. A key longer than 255 bytes is cut there.
    pub fn put(&self, buffer: &mut impl BufMut) {
        match self {
            Self::Balanced => buffer.put_slice(&[BALANCED, 0]),
            Self::Partition(partition) => {
                buffer.put_slice(&[PARTITION, 4]);
                buffer.put_u32_le(*partition);
            }
            Self::Key(key) => put_prefixed(buffer, KEY, key),
        }
    }
}
