//! Options on the wire.

use bytes::{BufMut, BytesMut};
use wire::Status;
use wire::iggy::published::responses::system::DescribeOptionsResponse;
use wire::iggy::published::{WireEncode, WireOptions};

use super::super::options::{describe, encode, parse, refuse_all};
use super::decoded;
use crate::catalog::{
    Compression, Durability, RequestedTopicOptions, Setting, SyncPolicy, TopicDefaults,
    TopicOptions, UNLIMITED,
};

const TEXT: u8 = 2;
const BOOL: u8 = 3;
const U8: u8 = 9;
const U32: u8 = 11;
const U64: u8 = 12;

fn block(entries: &[(&str, u8, &[u8])]) -> WireOptions {
    let mut block = BytesMut::new();
    for (key, kind, value) in entries {
        for (kind, bytes) in [(TEXT, key.as_bytes()), (*kind, *value)] {
            block.put_u8(kind);
            block.put_u32_le(u32::try_from(bytes.len()).expect("short"));
            block.put_slice(bytes);
        }
    }
    WireOptions::from_bytes(block.freeze()).expect("a valid block")
}

fn one(key: &str, kind: u8, value: &[u8]) -> Result<RequestedTopicOptions, Status> {
    parse(&block(&[(key, kind, value)]))
}

fn check_number(key: &str, text: &str, expected: Option<u64>) {
    let parsed = one(key, TEXT, text.as_bytes()).map(|options| match key {
        "message_expiry" => options.message_expiry_us.unwrap_or(0),
        "max_topic_size" => options.topic_bytes_max.unwrap_or(0),
        "segment_size" => options.segment_bytes.unwrap_or(0),
        _ => options.save_bytes.unwrap_or(0),
    });
    assert_eq!(
        parsed,
        expected.ok_or(Status::INVALID_OPTION_VALUE),
        "{key} = {text:?}"
    );
}

#[test]
fn what_a_published_client_sends_is_understood() {
    // The typed fields of the published client's topic options, in the kinds it gives them.
    let sent = block(&[
        ("compression_algorithm", TEXT, b"gzip"),
        ("consumer_offset_durability", TEXT, b"replicated"),
        ("durability", TEXT, b"persisted"),
        ("max_topic_size", U64, &10_000_000_u64.to_le_bytes()),
        ("message_expiry", U64, &5_000_000_u64.to_le_bytes()),
        ("messages_required_to_save", U32, &7_u32.to_le_bytes()),
        ("preallocate_segments", BOOL, &[1]),
        ("segment_size", U64, &1_048_576_u64.to_le_bytes()),
        (
            "size_of_messages_required_to_save",
            U64,
            &512_u64.to_le_bytes(),
        ),
    ]);
    let expected = RequestedTopicOptions {
        compression_algorithm: Some(Compression::Gzip),
        message_expiry_us: Some(5_000_000),
        topic_bytes_max: Some(10_000_000),
        segment_bytes: Some(1_048_576),
        durability: Some(Durability::Persisted),
        consumer_offset_durability: Some(Durability::Replicated),
        save_messages: Some(7),
        save_bytes: Some(512),
        preallocate_segments: Some(true),
        sync_policy: None,
    };
    assert_eq!(parse(&sent), Ok(expected));
    assert_eq!(
        parse(&WireOptions::empty()),
        Ok(RequestedTopicOptions::default())
    );
}

/// An options block as the published client's `TopicCreateOptions` encoded it: every typed field
/// set but `consumer_offset_durability` and `size_of_messages_required_to_save`.
const PUBLISHED: &str = "\
    0215000000636f6d7072657373696f6e5f616c676f726974686d0204000000677a6970\
    021a000000636f6e73756d65725f6f66667365745f6475726162696c697479\
    020a0000007265706c696361746564\
    020a0000006475726162696c697479020a0000007265706c696361746564\
    020e0000006d61785f746f7069635f73697a650c080000000000008002000000\
    020e0000006d6573736167655f6578706972790c0800000000a0e3d08c000000\
    02190000006d657373616765735f72657175697265645f746f5f736176650b0400000005000000\
    0214000000707265616c6c6f636174655f7365676d656e7473030100000001\
    020c0000007365676d656e745f73697a650c080000000000000800000000";

#[test]
fn a_block_of_the_published_client_is_understood() {
    let digits: Vec<char> = PUBLISHED.chars().collect();
    let byte = |pair: &[char]| {
        u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal")
    };
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    let block = WireOptions::from_slice(&bytes).expect("a valid block");
    let expected = RequestedTopicOptions {
        compression_algorithm: Some(Compression::Gzip),
        message_expiry_us: Some(7 * 86_400_000_000),
        topic_bytes_max: Some(10 << 30),
        segment_bytes: Some(128 << 20),
        durability: Some(Durability::Replicated),
        consumer_offset_durability: Some(Durability::Replicated),
        save_messages: Some(5),
        save_bytes: None,
        preallocate_segments: Some(true),
        sync_policy: None,
    };
    assert_eq!(parse(&block), Ok(expected));
    let options = TopicOptions::create(&expected, 3, TopicDefaults::default()).expect("valid");
    // What was chosen is shown byte for byte as it was sent.
    assert_eq!(encode(&options).0.as_bytes(), bytes);
}

#[test]
fn zero_asks_for_the_default() {
    let zero = 0_u64.to_le_bytes();
    let nothing = Ok(RequestedTopicOptions::default());
    for key in [
        "message_expiry",
        "max_topic_size",
        "segment_size",
        "size_of_messages_required_to_save",
    ] {
        assert_eq!(one(key, U64, &zero), nothing, "{key}");
    }
}

#[test]
fn unknown_keys_and_wrong_kinds_are_refused() {
    assert_eq!(
        one("replication_factor", U8, &[1]),
        Err(Status::UNSUPPORTED_OPTION_KEY)
    );
    let invalid = Err(Status::INVALID_OPTION_VALUE);
    assert_eq!(one("segment_size", U32, &[0, 0, 16, 0]), invalid);
    assert_eq!(one("segment_size", U64, &[0, 0, 16, 0]), invalid);
    assert_eq!(one("durability", U8, &[1]), invalid);
    assert_eq!(one("durability", TEXT, b"eventual"), invalid);
    assert_eq!(one("durability", TEXT, b"\xff"), invalid);
    assert_eq!(one("preallocate_segments", BOOL, &[2]), invalid);
    assert_eq!(one("preallocate_segments", BOOL, &[0, 0]), invalid);
    assert_eq!(one("preallocate_segments", TEXT, b"yes"), invalid);
    assert_eq!(one("compression_algorithm", U8, &[3]), invalid);
    assert_eq!(one("compression_algorithm", TEXT, b"zstd"), invalid);
    assert_eq!(one("messages_required_to_save", U32, &[0; 4]), invalid);
    assert_eq!(one("messages_required_to_save", TEXT, b"-1"), invalid);
    let past = (1024_u64 * 1024 * 1024 + 1).to_le_bytes();
    assert_eq!(
        one("size_of_messages_required_to_save", U64, &past),
        invalid
    );
    assert!(one("compression_algorithm", U8, &[1]).is_ok());
    assert!(one("compression_algorithm", TEXT, b"GZIP").is_ok());
    assert!(one("preallocate_segments", TEXT, b"true").is_ok());
    assert!(one("messages_required_to_save", TEXT, b"16777216").is_ok());
    assert!(one("messages_required_to_save", TEXT, b"16777217").is_err());
}

#[test]
fn sync_policies_are_read_up_to_their_limits_and_shown_as_they_can_be_sent() {
    let read = |text: &str| one("sync_policy", TEXT, text.as_bytes()).map(|one| one.sync_policy);
    for (text, policy) in [
        ("every_batch", SyncPolicy::EveryBatch),
        ("never", SyncPolicy::Never),
        ("every_bytes 1", SyncPolicy::EveryBytes(1)),
        ("every_bytes 1 MiB", SyncPolicy::EveryBytes(1 << 20)),
        ("every_bytes 1 GiB", SyncPolicy::EveryBytes(1 << 30)),
        ("every_millis 1", SyncPolicy::EveryMillis(1)),
        ("every_millis 60000", SyncPolicy::EveryMillis(60_000)),
    ] {
        assert_eq!(read(text), Ok(Some(policy)), "{text}");
        let options = TopicOptions {
            sync_policy: Setting::explicit(policy),
            ..TopicOptions::default()
        };
        let shown = parse(&encode(&options).0).expect("what is shown can be sent");
        assert_eq!(shown.sync_policy, Some(policy), "{text}");
    }
    for text in [
        " ",
        "always",
        "every_batch 1",
        "never 5",
        "every_bytes",
        "every_bytes 0",
        "every_bytes 1073741825",
        "every_millis",
        "every_millis 0",
        "every_millis 60001",
        "every_millis 1 s",
    ] {
        assert_eq!(read(text), Err(Status::INVALID_OPTION_VALUE), "{text:?}");
    }
    let number = one("sync_policy", U64, &5_u64.to_le_bytes());
    assert_eq!(number, Err(Status::INVALID_OPTION_VALUE));
}

#[test]
fn durations_are_read_as_people_write_them() {
    let second = 1_000_000;
    let expiry = |text, expected| check_number("message_expiry", text, expected);
    expiry("7 days", Some(7 * 86_400 * second));
    expiry("1h 30m", Some(5_400 * second));
    expiry("1h30m", Some(5_400 * second));
    expiry("500ms", Some(500_000));
    expiry("15 us", Some(15));
    expiry("1500ns", Some(1));
    expiry("2weeks", Some(14 * 86_400 * second));
    expiry("1month", Some(2_630_016 * second));
    expiry("1 year", Some(31_557_600 * second));
    expiry("1.5h", Some(5_400 * second));
    for text in ["unlimited", "none", "None", "never_expire"] {
        expiry(text, Some(UNLIMITED));
    }
    for text in ["default", "server_default"] {
        expiry(text, Some(0));
    }
    // The protocol lets text give at most u32::MAX seconds.
    expiry("4294967295s", Some(4_294_967_295 * second));
    expiry("4294967296s", None);
    for text in [
        "7",
        "days",
        "1.5.2h",
        "-1s",
        "1 fortnight",
        "99999999999999999999s",
        "1h x",
    ] {
        expiry(text, None);
    }
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let size = |text, expected| check_number("segment_size", text, expected);
    size("1048576", Some(1 << 20));
    size("1 GiB", Some(1 << 30));
    size("128MiB", Some(128 << 20));
    size("128 mB", Some(128_000_000));
    size("10k", Some(10_000));
    size("1 G", Some(1_000_000_000));
    size("1GIB", Some(1 << 30));
    size("1 KiB ", Some(1_024));
    // A small b is a bit to published servers too.
    size("128 mb", Some(16_000_000));
    size("1.5 GB", Some(1_500_000_000));
    size("0.5KiB", Some(512));
    size("1PiB", Some(1 << 50));
    size("0", Some(0));
    size("16383 PiB", Some(16_383 << 50));
    for text in [
        "",
        "GiB",
        "1 GiG",
        "1..5 GB",
        "1. GB",
        "-1",
        "16384 PiB",
        "1 GiB x",
    ] {
        if !text.is_empty() {
            size(text, None);
        }
    }
    size("0.0000000000000000001 GB", None);
    let topic = |text, expected| check_number("max_topic_size", text, expected);
    topic("unlimited", Some(UNLIMITED));
    topic("server_default", Some(0));
    topic("0", Some(0));
    topic("10 GiB", Some(10 << 30));
}

#[test]
fn any_text_is_refused_or_read_and_never_panics() {
    let pieces = [
        "1",
        "9",
        "18446744073709551615",
        ".",
        " ",
        "h",
        "GiB",
        "b",
        "µs",
        "ß",
        "-",
        "P",
    ];
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let text: String = (0..random.usize(1..8))
            .map(|_| pieces[random.usize(0..pieces.len())])
            .collect();
        for key in ["message_expiry", "max_topic_size", "segment_size"] {
            let parsed = one(key, TEXT, text.as_bytes());
            assert!(
                matches!(parsed, Ok(_) | Err(Status::INVALID_OPTION_VALUE)),
                "{text:?}"
            );
        }
    }
}

#[test]
fn any_kind_and_bytes_are_refused_or_read_and_never_panic() {
    let mut random = fastrand::Rng::with_seed(13);
    let described = describe(1, TopicDefaults::default()).expect("topic");
    for _ in 0..20_000 {
        let key = &described.entries[random.usize(0..described.entries.len())].key;
        let value: Vec<u8> = (0..random.usize(1..10)).map(|_| random.u8(..)).collect();
        let parsed = one(key, random.u8(1..20), &value);
        assert!(
            matches!(parsed, Ok(_) | Err(Status::INVALID_OPTION_VALUE)),
            "{value:?}"
        );
    }
}

#[test]
fn streams_and_users_take_no_options() {
    assert_eq!(refuse_all(&WireOptions::empty()), Ok(()));
    let refused = refuse_all(&block(&[("segment_size", TEXT, b"1 GiB")]));
    assert_eq!(refused, Err(Status::UNSUPPORTED_OPTION_KEY));
}

#[test]
fn a_topics_options_are_shown_by_provenance_in_the_order_of_their_keys() {
    let options = TopicOptions {
        segment_bytes: Setting::explicit(1 << 20),
        durability: Setting::explicit(Durability::Persisted),
        ..TopicOptions::default()
    };
    let (chosen, derived) = encode(&options);
    let keys = |block: &WireOptions| -> Vec<String> {
        block
            .iter()
            .map(|entry| String::from_utf8_lossy(entry.key).into_owned())
            .collect()
    };
    assert_eq!(keys(&chosen), ["durability", "segment_size"]);
    assert_eq!(keys(&derived).len(), 8);
    assert!(keys(&derived).is_sorted());
    // What is shown can be sent again.
    let chosen = parse(&chosen).expect("chosen");
    assert_eq!(chosen.segment_bytes, Some(1 << 20));
    assert_eq!(chosen.durability, Some(Durability::Persisted));
    let derived = parse(&derived).expect("derived");
    assert_eq!(derived.save_messages, Some(1_024));
    assert_eq!(derived.compression_algorithm, Some(Compression::None));
    assert_eq!(derived.preallocate_segments, Some(false));
}

#[test]
fn every_option_is_described_with_its_default() {
    let topic: DescribeOptionsResponse = decoded(
        &describe(1, TopicDefaults::default())
            .expect("topic")
            .to_bytes(),
    );
    assert_eq!(topic.entries.len(), 10);
    for entry in &topic.entries {
        assert!(!entry.description.is_empty(), "{}", entry.key);
        let parsed = one(&entry.key, entry.kind, &entry.default_value);
        assert!(parsed.is_ok(), "{}: {parsed:?}", entry.key);
    }
    for scope in [2, 3] {
        let none: DescribeOptionsResponse = decoded(
            &describe(scope, TopicDefaults::default())
                .expect("scope")
                .to_bytes(),
        );
        assert!(none.entries.is_empty());
    }
    assert_eq!(
        describe(4, TopicDefaults::default()).err(),
        Some(Status::INVALID_COMMAND)
    );
}
