//! Topic options: defaults, bounds, provenance, updates.

use wire::Status;

use super::super::limits::{SAVE_BYTES_MAX, SAVE_MESSAGES_MAX};
use super::super::{
    Compression, Durability, RequestedTopicOptions, Setting, TopicDefaults, TopicOptions, UNLIMITED,
};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

fn requested() -> RequestedTopicOptions {
    RequestedTopicOptions::default()
}

fn refusal(requested: RequestedTopicOptions) -> Option<Status> {
    TopicOptions::create(&requested, 1, TopicDefaults::default()).err()
}

#[test]
fn defaults_are_the_published_ones_and_derived() {
    let options =
        TopicOptions::create(&requested(), 1, TopicDefaults::default()).expect("defaults");
    assert_eq!(options, TopicOptions::default());
    assert_eq!(options.segment_bytes, Setting::derived(GIB));
    assert_eq!(options.message_expiry_us, Setting::derived(UNLIMITED));
    assert_eq!(options.topic_bytes_max, Setting::derived(UNLIMITED));
    assert_eq!(options.save_messages, Setting::derived(1_024));
    assert_eq!(options.save_bytes, Setting::derived(MIB));
    assert_eq!(options.durability, Setting::derived(Durability::Replicated));
    assert_eq!(options.effective_segment_bytes(), GIB);
}

#[test]
fn what_was_asked_for_is_explicit() {
    let options = TopicOptions::create(
        &RequestedTopicOptions {
            compression_algorithm: Some(Compression::Gzip),
            segment_bytes: Some(2 * MIB),
            topic_bytes_max: Some(4 * MIB),
            ..requested()
        },
        1,
        TopicDefaults::default(),
    )
    .expect("valid");
    assert_eq!(
        options.compression_algorithm,
        Setting::explicit(Compression::Gzip)
    );
    assert_eq!(options.segment_bytes, Setting::explicit(2 * MIB));
    assert_eq!(options.topic_bytes_max, Setting::explicit(4 * MIB));
    assert_eq!(options.preallocate_segments, Setting::derived(false));
}

#[test]
fn bounds_hold_on_the_edge_and_refuse_one_past() {
    let invalid = Some(Status::INVALID_OPTION_VALUE);
    let segment = |bytes| {
        refusal(RequestedTopicOptions {
            segment_bytes: Some(bytes),
            ..requested()
        })
    };
    assert_eq!(segment(MIB), None);
    assert_eq!(segment(GIB), None);
    assert_eq!(segment(MIB - 512), invalid);
    assert_eq!(segment(GIB + 512), invalid);
    assert_eq!(segment(MIB + 1), invalid);
    let messages = |count| {
        refusal(RequestedTopicOptions {
            save_messages: Some(count),
            ..requested()
        })
    };
    assert_eq!(messages(1), None);
    assert_eq!(messages(SAVE_MESSAGES_MAX), None);
    assert_eq!(messages(0), invalid);
    assert_eq!(messages(SAVE_MESSAGES_MAX + 1), invalid);
    let bytes = |count| {
        refusal(RequestedTopicOptions {
            save_bytes: Some(count),
            ..requested()
        })
    };
    assert_eq!(bytes(1), None);
    assert_eq!(bytes(SAVE_BYTES_MAX), None);
    assert_eq!(bytes(0), invalid);
    assert_eq!(bytes(SAVE_BYTES_MAX + 1), invalid);
}

#[test]
fn preallocation_is_bounded_over_all_partitions() {
    let preallocated = RequestedTopicOptions {
        preallocate_segments: Some(true),
        ..requested()
    };
    let invalid = Some(Status::INVALID_OPTION_VALUE);
    assert_eq!(
        TopicOptions::create(&preallocated, 64, TopicDefaults::default()).err(),
        None
    );
    assert_eq!(
        TopicOptions::create(&preallocated, 65, TopicDefaults::default()).err(),
        invalid
    );
    assert_eq!(
        TopicOptions::create(&requested(), 1_000, TopicDefaults::default()).err(),
        None
    );
    let options = TopicOptions::create(&preallocated, 1, TopicDefaults::default()).expect("valid");
    assert_eq!(options.check_preallocation(65).err(), invalid);
}

#[test]
fn a_topic_holds_at_least_the_segment_that_was_asked_for() {
    let sizes = |topic_bytes_max, segment_bytes| {
        refusal(RequestedTopicOptions {
            topic_bytes_max: Some(topic_bytes_max),
            segment_bytes,
            ..requested()
        })
    };
    assert_eq!(sizes(2 * MIB, Some(2 * MIB)), None);
    assert_eq!(
        sizes(2 * MIB - 1, Some(2 * MIB)),
        Some(Status::INVALID_TOPIC_SIZE)
    );
    assert_eq!(sizes(UNLIMITED, Some(GIB)), None);
    // The default segment size gives way to a small topic.
    assert_eq!(sizes(100 * MIB, None), None);
    let small = RequestedTopicOptions {
        topic_bytes_max: Some(100 * MIB),
        ..requested()
    };
    let options = TopicOptions::create(&small, 1, TopicDefaults::default()).expect("valid");
    assert_eq!(options.effective_segment_bytes(), 100 * MIB);
    let tiny = RequestedTopicOptions {
        topic_bytes_max: Some(1),
        ..requested()
    };
    let options = TopicOptions::create(&tiny, 1, TopicDefaults::default()).expect("valid");
    assert_eq!(options.effective_segment_bytes(), MIB);
}

#[test]
fn an_update_patches_three_options_and_refuses_the_others() {
    let options = TopicOptions::default();
    let updated = options
        .update(&RequestedTopicOptions {
            message_expiry_us: Some(7),
            ..requested()
        })
        .expect("updatable");
    assert_eq!(updated.message_expiry_us, Setting::explicit(7));
    assert_eq!(updated.topic_bytes_max, options.topic_bytes_max);
    let unsupported = Some(Status::UNSUPPORTED_OPTION_KEY);
    let fixed = [
        RequestedTopicOptions {
            segment_bytes: Some(MIB),
            ..requested()
        },
        RequestedTopicOptions {
            durability: Some(Durability::Replicated),
            ..requested()
        },
        RequestedTopicOptions {
            consumer_offset_durability: Some(Durability::Replicated),
            ..requested()
        },
        RequestedTopicOptions {
            save_messages: Some(1),
            ..requested()
        },
        RequestedTopicOptions {
            save_bytes: Some(1),
            ..requested()
        },
        RequestedTopicOptions {
            preallocate_segments: Some(false),
            ..requested()
        },
    ];
    for requested in fixed {
        assert_eq!(
            options.update(&requested).err(),
            unsupported,
            "{requested:?}"
        );
    }
    let mut explicit = options;
    explicit.segment_bytes = Setting::explicit(4 * MIB);
    let shrink = RequestedTopicOptions {
        topic_bytes_max: Some(MIB),
        ..requested()
    };
    assert_eq!(
        explicit.update(&shrink).err(),
        Some(Status::INVALID_TOPIC_SIZE)
    );
}

#[test]
fn the_operators_defaults_count_where_nothing_was_asked_for() {
    let defaults = TopicDefaults {
        message_expiry_us: 7,
        topic_bytes_max: 64 * MIB,
    };
    let options = TopicOptions::create(&requested(), 1, defaults).expect("valid");
    assert_eq!(options.message_expiry_us, Setting::derived(7));
    assert_eq!(options.topic_bytes_max, Setting::derived(64 * MIB));
    let chosen = RequestedTopicOptions {
        message_expiry_us: Some(UNLIMITED),
        ..requested()
    };
    let options = TopicOptions::create(&chosen, 1, defaults).expect("valid");
    assert_eq!(options.message_expiry_us, Setting::explicit(UNLIMITED));
}
