//! Topic options on the wire: parsing what a client sent, encoding what a topic has, describing
//! what may be sent.
//!
//! An option is two fields (key, value), each `kind u8 · length u32 · bytes`. Clients send a
//! value in its own kind or as text (`"7 days"`, `"1 GiB"`), as published clients do for options
//! that they have no type for.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use wire::Status;
use wire::iggy::published::responses::system::{DescribeOptionsResponse, OptionDescriptor};
use wire::iggy::published::{WireOptions, WireUserHeaderEntry};

use super::names::wire_name;
use crate::catalog::limits::{SAVE_BYTES_MAX, SAVE_MESSAGES_MAX};
use crate::catalog::{
    Compression, Durability, RequestedTopicOptions, Setting, SyncPolicy, TopicDefaults,
    TopicOptions, UNLIMITED,
};

const COMPRESSION_ALGORITHM: &str = "compression_algorithm";
const MESSAGE_EXPIRY: &str = "message_expiry";
const MAX_TOPIC_SIZE: &str = "max_topic_size";
const SEGMENT_SIZE: &str = "segment_size";
const DURABILITY: &str = "durability";
const CONSUMER_OFFSET_DURABILITY: &str = "consumer_offset_durability";
const MESSAGES_REQUIRED_TO_SAVE: &str = "messages_required_to_save";
const SIZE_OF_MESSAGES_REQUIRED_TO_SAVE: &str = "size_of_messages_required_to_save";
const PREALLOCATE_SEGMENTS: &str = "preallocate_segments";
const SYNC_POLICY: &str = "sync_policy";

/// Kinds of a field, as message headers number them.
const KIND_STRING: u8 = 2;
const KIND_BOOL: u8 = 3;
const KIND_U8: u8 = 9;
const KIND_U32: u8 = 11;
const KIND_U64: u8 = 12;

/// The largest expiry that text can give, in seconds (protocol); a number may be larger.
const EXPIRY_TEXT_SECONDS_MAX: u64 = u32::MAX as u64;

/// What the client asked for. Zero means "the default" for sizes and for the expiry.
///
/// # Errors
/// `UNSUPPORTED_OPTION_KEY` for a key that is not a topic option, `INVALID_OPTION_VALUE` for a
/// value of the wrong kind, form or range.
pub(super) fn parse(options: &WireOptions) -> Result<RequestedTopicOptions, Status> {
    let mut parsed = RequestedTopicOptions::default();
    for entry in options {
        let key = std::str::from_utf8(entry.key).map_err(|_| Status::UNSUPPORTED_OPTION_KEY)?;
        parse_entry(&mut parsed, key, &entry)?;
    }
    Ok(parsed)
}

/// For streams and users, which have no options yet.
///
/// # Errors
/// `UNSUPPORTED_OPTION_KEY` for any key.
pub(super) fn refuse_all(options: &WireOptions) -> Result<(), Status> {
    if options.is_empty() {
        Ok(())
    } else {
        Err(Status::UNSUPPORTED_OPTION_KEY)
    }
}

fn parse_entry(
    parsed: &mut RequestedTopicOptions,
    key: &str,
    entry: &WireUserHeaderEntry<'_>,
) -> Result<(), Status> {
    match key {
        COMPRESSION_ALGORITHM => parsed.compression_algorithm = Some(compression(entry)?),
        MESSAGE_EXPIRY => {
            let expiry_us = number_u64(entry, expiry_us_of_text)?;
            parsed.message_expiry_us = (expiry_us != 0).then_some(expiry_us);
        }
        MAX_TOPIC_SIZE => {
            let size_bytes = number_u64(entry, topic_bytes_of_text)?;
            parsed.topic_bytes_max = (size_bytes != 0).then_some(size_bytes);
        }
        SEGMENT_SIZE => {
            let size_bytes = number_u64(entry, bytes_of_text)?;
            parsed.segment_bytes = (size_bytes != 0).then_some(size_bytes);
        }
        DURABILITY => parsed.durability = Some(durability(entry)?),
        CONSUMER_OFFSET_DURABILITY => {
            parsed.consumer_offset_durability = Some(durability(entry)?);
        }
        MESSAGES_REQUIRED_TO_SAVE => {
            let messages = number_u32(entry)?;
            if messages == 0 || messages > SAVE_MESSAGES_MAX {
                return Err(Status::INVALID_OPTION_VALUE);
            }
            parsed.save_messages = Some(messages);
        }
        SIZE_OF_MESSAGES_REQUIRED_TO_SAVE => {
            let size_bytes = number_u64(entry, bytes_of_text)?;
            if size_bytes > SAVE_BYTES_MAX {
                return Err(Status::INVALID_OPTION_VALUE);
            }
            parsed.save_bytes = (size_bytes != 0).then_some(size_bytes);
        }
        PREALLOCATE_SEGMENTS => parsed.preallocate_segments = Some(boolean(entry)?),
        SYNC_POLICY => parsed.sync_policy = Some(sync_policy(entry)?),
        _ => return Err(Status::UNSUPPORTED_OPTION_KEY),
    }
    Ok(())
}

fn text<'a>(entry: &WireUserHeaderEntry<'a>) -> Result<&'a str, Status> {
    if entry.value_kind.0 != KIND_STRING {
        return Err(Status::INVALID_OPTION_VALUE);
    }
    std::str::from_utf8(entry.value).map_err(|_| Status::INVALID_OPTION_VALUE)
}

fn number_u64(
    entry: &WireUserHeaderEntry<'_>,
    of_text: impl FnOnce(&str) -> Option<u64>,
) -> Result<u64, Status> {
    if entry.value_kind.0 == KIND_U64 {
        let bytes = entry
            .value
            .try_into()
            .map_err(|_| Status::INVALID_OPTION_VALUE)?;
        return Ok(u64::from_le_bytes(bytes));
    }
    of_text(text(entry)?).ok_or(Status::INVALID_OPTION_VALUE)
}

fn number_u32(entry: &WireUserHeaderEntry<'_>) -> Result<u32, Status> {
    if entry.value_kind.0 == KIND_U32 {
        let bytes = entry
            .value
            .try_into()
            .map_err(|_| Status::INVALID_OPTION_VALUE)?;
        return Ok(u32::from_le_bytes(bytes));
    }
    text(entry)?
        .parse()
        .map_err(|_| Status::INVALID_OPTION_VALUE)
}

fn boolean(entry: &WireUserHeaderEntry<'_>) -> Result<bool, Status> {
    if entry.value_kind.0 == KIND_BOOL {
        return match entry.value {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Status::INVALID_OPTION_VALUE),
        };
    }
    text(entry)?
        .parse()
        .map_err(|_| Status::INVALID_OPTION_VALUE)
}

fn compression(entry: &WireUserHeaderEntry<'_>) -> Result<Compression, Status> {
    if entry.value_kind.0 == KIND_U8 {
        return match entry.value {
            [1] => Ok(Compression::None),
            [2] => Ok(Compression::Gzip),
            _ => Err(Status::INVALID_OPTION_VALUE),
        };
    }
    let text = text(entry)?;
    let by_name = [("none", Compression::None), ("gzip", Compression::Gzip)];
    let found = by_name
        .into_iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value)
        .ok_or(Status::INVALID_OPTION_VALUE)
}

fn durability(entry: &WireUserHeaderEntry<'_>) -> Result<Durability, Status> {
    let text = text(entry)?;
    let by_name = [
        ("replicated", Durability::Replicated),
        ("persisted", Durability::Persisted),
    ];
    let found = by_name
        .into_iter()
        .find(|(name, _)| text.eq_ignore_ascii_case(name));
    found
        .map(|(_, value)| value)
        .ok_or(Status::INVALID_OPTION_VALUE)
}

/// `every_batch`, `every_bytes 1 MiB`, `every_millis 100` or `never`. Published clients have no
/// type for it and send text.
fn sync_policy(entry: &WireUserHeaderEntry<'_>) -> Result<SyncPolicy, Status> {
    let text = text(entry)?.trim();
    let (name, number) = text.split_once(' ').unwrap_or((text, ""));
    let policy = match (name, number.trim()) {
        ("every_batch", "") => Some(SyncPolicy::EveryBatch),
        ("never", "") => Some(SyncPolicy::Never),
        ("every_bytes", number) => bytes_of_text(number).map(SyncPolicy::EveryBytes),
        ("every_millis", number) => number.parse().ok().map(SyncPolicy::EveryMillis),
        _ => None,
    };
    policy
        .filter(|policy| storage::SyncPolicy::from(*policy).is_valid())
        .ok_or(Status::INVALID_OPTION_VALUE)
}

fn sync_policy_text(policy: SyncPolicy) -> String {
    match policy {
        SyncPolicy::EveryBatch => "every_batch".to_owned(),
        SyncPolicy::EveryBytes(bytes) => format!("every_bytes {bytes}"),
        SyncPolicy::EveryMillis(milliseconds) => format!("every_millis {milliseconds}"),
        SyncPolicy::Never => "never".to_owned(),
    }
}

/// An age such as `7 days` in microseconds; 0 is the default.
pub(crate) fn expiry_us_of_text(text: &str) -> Option<u64> {
    match text {
        "unlimited" | "Unlimited" | "none" | "None" | "never_expire" => Some(UNLIMITED),
        "default" | "Default" | "server_default" | "Server_default" => Some(0),
        _ => {
            let duration_us = duration_us_of_text(text)?;
            (duration_us / 1_000_000 <= EXPIRY_TEXT_SECONDS_MAX).then_some(duration_us)
        }
    }
}

/// A size such as `10 GiB` in bytes; 0 is the default.
pub(crate) fn topic_bytes_of_text(text: &str) -> Option<u64> {
    match text {
        "unlimited" => Some(UNLIMITED),
        "0" | "server_default" => Some(0),
        _ => bytes_of_text(text),
    }
}

/// A duration such as `1h 30m`, `1.5 days` or `500ms`, in microseconds; less than one is lost.
pub(crate) fn duration_us_of_text(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total_ns: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total_ns = total_ns.checked_add(multiply(number, nanoseconds_in(unit)?)?)?;
        rest = after.trim_start();
    }
    u64::try_from(total_ns / 1_000).ok()
}

fn nanoseconds_in(unit: &str) -> Option<u128> {
    const SECOND: u128 = 1_000_000_000;
    const DAY: u128 = 86_400 * SECOND;
    Some(match unit {
        "nanos" | "nsec" | "ns" => 1,
        "usec" | "us" | "µs" | "micros" => 1_000,
        "millis" | "msec" | "ms" => 1_000_000,
        "seconds" | "second" | "secs" | "sec" | "s" => SECOND,
        "minutes" | "minute" | "mins" | "min" | "m" => 60 * SECOND,
        "hours" | "hour" | "hrs" | "hr" | "h" => 3_600 * SECOND,
        "days" | "day" | "d" => DAY,
        "weeks" | "week" | "wks" | "wk" | "w" => 7 * DAY,
        // The average month and year, as the published parser has them.
        "months" | "month" | "M" => 2_630_016 * SECOND,
        "years" | "year" | "yrs" | "yr" | "y" => 31_557_600 * SECOND,
        _ => return None,
    })
}

/// A size such as `1 GiB`, `128MB`, `1.5 G` or `4096`, in bytes; less than one is lost.
///
/// As published servers read it: the case of the prefix is free, and a final lower-case `b`
/// means bits.
fn bytes_of_text(text: &str) -> Option<u64> {
    if matches!(text, "0" | "unlimited" | "Unlimited" | "none" | "None") {
        return Some(0);
    }
    let (number, unit) = split_number(text.trim())?;
    let (prefix, divisor) = match unit.strip_suffix('b') {
        Some(prefix) => (prefix, 8),
        None => (unit.strip_suffix('B').unwrap_or(unit), 1),
    };
    u64::try_from(multiply(number, bytes_in(prefix)?)? / divisor).ok()
}

fn bytes_in(prefix: &str) -> Option<u128> {
    let prefixes: [(&str, u128); 11] = [
        ("", 1),
        ("k", 1_000),
        ("ki", 1 << 10),
        ("m", 1_000_000),
        ("mi", 1 << 20),
        ("g", 1_000_000_000),
        ("gi", 1 << 30),
        ("t", 1_000_000_000_000),
        ("ti", 1 << 40),
        ("p", 1_000_000_000_000_000),
        ("pi", 1 << 50),
    ];
    let found = prefixes
        .into_iter()
        .find(|(name, _)| prefix.eq_ignore_ascii_case(name));
    found.map(|(_, factor)| factor)
}

/// `number` (digits, perhaps a point and up to 18 more digits) times `factor`, rounded down.
fn multiply(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 18 {
        return None;
    }
    let denominator = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction = u128::from(fraction.parse::<u64>().ok()?);
    let whole = u128::from(whole.parse::<u64>().ok()?).checked_mul(factor)?;
    whole.checked_add(fraction.checked_mul(factor)? / denominator)
}

/// Splits a leading decimal number (digits and at most one point) from what follows it.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let well_formed =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1;
    well_formed.then_some((number, rest.trim_start()))
}

/// The value of one option in its own kind.
enum Value {
    Text(Cow<'static, str>),
    Bool(bool),
    U32(u32),
    U64(u64),
}

impl Value {
    fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => KIND_STRING,
            Self::Bool(_) => KIND_BOOL,
            Self::U32(_) => KIND_U32,
            Self::U64(_) => KIND_U64,
        }
    }

    fn bytes(&self) -> Bytes {
        match self {
            Self::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Bool(value) => Bytes::copy_from_slice(&[u8::from(*value)]),
            Self::U32(value) => Bytes::copy_from_slice(&value.to_le_bytes()),
            Self::U64(value) => Bytes::copy_from_slice(&value.to_le_bytes()),
        }
    }
}

/// Every option with its provenance, in the order of the published catalog.
fn values(options: &TopicOptions) -> [(&'static str, bool, Value); 10] {
    fn entry<T: Copy>(
        key: &'static str,
        setting: Setting<T>,
        value: impl FnOnce(T) -> Value,
    ) -> (&'static str, bool, Value) {
        (key, setting.explicit, value(setting.value))
    }
    let compression = |value| match value {
        Compression::None => Value::Text("none".into()),
        Compression::Gzip => Value::Text("gzip".into()),
    };
    let durability = |value| match value {
        Durability::Replicated => Value::Text("replicated".into()),
        Durability::Persisted => Value::Text("persisted".into()),
    };
    let sync_policy = |value| Value::Text(sync_policy_text(value).into());
    let offsets = options.consumer_offset_durability;
    [
        entry(
            COMPRESSION_ALGORITHM,
            options.compression_algorithm,
            compression,
        ),
        entry(MESSAGE_EXPIRY, options.message_expiry_us, Value::U64),
        entry(MAX_TOPIC_SIZE, options.topic_bytes_max, Value::U64),
        entry(SEGMENT_SIZE, options.segment_bytes, Value::U64),
        entry(DURABILITY, options.durability, durability),
        entry(CONSUMER_OFFSET_DURABILITY, offsets, durability),
        entry(MESSAGES_REQUIRED_TO_SAVE, options.save_messages, Value::U32),
        entry(
            SIZE_OF_MESSAGES_REQUIRED_TO_SAVE,
            options.save_bytes,
            Value::U64,
        ),
        entry(
            PREALLOCATE_SEGMENTS,
            options.preallocate_segments,
            Value::Bool,
        ),
        entry(SYNC_POLICY, options.sync_policy, sync_policy),
    ]
}

/// The options of a topic as a reply shows them: those the client chose, and the others. Each
/// block is in ascending order of its keys, as published servers send it.
pub(super) fn encode(options: &TopicOptions) -> (WireOptions, WireOptions) {
    let mut values = values(options);
    values.sort_by_key(|(key, ..)| *key);
    let (mut chosen, mut derived) = (BytesMut::new(), BytesMut::new());
    for (key, explicit, value) in &values {
        let block = if *explicit { &mut chosen } else { &mut derived };
        put_field(block, KIND_STRING, key.as_bytes());
        put_field(block, value.kind(), &value.bytes());
    }
    let valid = |block: BytesMut| {
        WireOptions::from_bytes(block.freeze()).expect("short fields with different keys")
    };
    (valid(chosen), valid(derived))
}

fn put_field(block: &mut BytesMut, kind: u8, bytes: &[u8]) {
    block.put_u8(kind);
    block.put_u32_le(u32::try_from(bytes.len()).expect("keys and values are short"));
    block.put_slice(bytes);
}

const SCOPE_TOPIC: u8 = 1;
const SCOPE_STREAM: u8 = 2;
const SCOPE_USER: u8 = 3;

/// Which options may be sent for a topic (1), a stream (2) or a user (3); only topics have any.
///
/// # Errors
/// `INVALID_COMMAND` for another scope.
pub(super) fn describe(
    scope: u8,
    defaults: TopicDefaults,
) -> Result<DescribeOptionsResponse, Status> {
    let entries = match scope {
        SCOPE_TOPIC => values(&defaults.into())
            .into_iter()
            .map(|(key, _, value)| OptionDescriptor {
                key: wire_name(key),
                kind: value.kind(),
                default_value: value.bytes(),
                description: description(key).to_owned(),
            })
            .collect(),
        SCOPE_STREAM | SCOPE_USER => Vec::new(),
        _ => return Err(Status::INVALID_COMMAND),
    };
    Ok(DescribeOptionsResponse { entries })
}

fn description(key: &str) -> &'static str {
    match key {
        COMPRESSION_ALGORITHM => "Compression of payloads by clients: none or gzip.",
        MESSAGE_EXPIRY => {
            "Age after which messages may be removed: microseconds, text such as 7 days, or none."
        }
        MAX_TOPIC_SIZE => {
            "Size above which the oldest messages may be removed: bytes, text such as 10 GiB, or \
             unlimited."
        }
        SEGMENT_SIZE => "Size of a segment: 1 MiB to 1 GiB, a multiple of 512 bytes.",
        DURABILITY => {
            "When a message is acknowledged: replicated or persisted. A single server syncs \
             before it acknowledges either, unless sync_policy says otherwise."
        }
        CONSUMER_OFFSET_DURABILITY => {
            "When a stored offset is acknowledged: replicated or persisted."
        }
        MESSAGES_REQUIRED_TO_SAVE => "Messages that may wait before they are written.",
        SIZE_OF_MESSAGES_REQUIRED_TO_SAVE => "Bytes that may wait before they are written.",
        SYNC_POLICY => {
            "When a message is synced: every_batch (before it is acknowledged), or after it: \
             every_bytes SIZE, every_millis NUMBER, never. Not with durability persisted."
        }
        PREALLOCATE_SEGMENTS => "Whether a segment's bytes are reserved when it is opened.",
        _ => "",
    }
}
