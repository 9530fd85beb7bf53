//! Every frame that we speak, as hex under `testdata/iggy`, so that a changed byte shows in review
//! and other implementations can test against the same files. `UPDATE_GOLDEN=1` writes them.

use std::path::PathBuf;
use wire::Status;
use wire::batch::{BatchView, Stamp, stamp};
use wire::iggy::eviction::{self, EvictionReason};
use wire::iggy::frame::{HEADER_BYTES, LEGACY_REFUSAL, RequestHeader};
use wire::iggy::{operation, reply};
use wire::testing::{Random, produced_batch, samples};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/iggy")
}

/// 32 bytes a line, runs of zero lines shortened to one line of `* count`.
fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut zero_lines = 0;
    for line in bytes.chunks(32) {
        if line == [0; 32] {
            zero_lines += 1;
            continue;
        }
        flush_zero_lines(&mut text, &mut zero_lines);
        text.extend(line.iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    flush_zero_lines(&mut text, &mut zero_lines);
    text
}

fn flush_zero_lines(text: &mut String, zero_lines: &mut usize) {
    if *zero_lines > 0 {
        *text += &format!("* {zero_lines}\n");
        *zero_lines = 0;
    }
}

fn check(name: &str, bytes: &[u8]) {
    let path = directory().join(format!("{name}.hex"));
    let found = to_hex(bytes);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(directory()).expect("the directory can be made");
        std::fs::write(&path, found).expect("the file can be written");
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert_eq!(
        found, expected,
        "{name} changed; UPDATE_GOLDEN=1 rewrites it if it should have"
    );
}

fn header(operation: u8, code: u32, body_bytes: usize) -> RequestHeader {
    let is_login = operation == operation::REGISTER;
    RequestHeader {
        frame_bytes: (HEADER_BYTES + body_bytes) as u32,
        client: 0x1111_2222_3333_4444_5555_6666_7777_8888,
        request_checksum: 0,
        request: if is_login { 0 } else { 2 },
        operation,
        session: if is_login { 0 } else { 1 },
        code,
    }
}

#[test]
fn requests() {
    for sample in samples() {
        let head = header(sample.operation, sample.code, sample.body.len()).encode();
        check(
            &format!("request_{}", sample.name),
            &[&head[..], &sample.body].concat(),
        );
    }
}

#[test]
fn replies() {
    let register = header(operation::REGISTER, 0, 0);
    let read = header(operation::NON_REPLICATED, 1, 0);
    let create = header(operation::CREATE_STREAM, 0, 0);
    let send = header(operation::SEND_MESSAGES, 0, 0);
    check("reply_login", &reply::login(&register, 1, 1, "0.1.0"));
    check("reply_empty", &reply::empty(&read));
    check("reply_empty_with_result_section", &reply::empty(&create));
    check(
        "reply_failure",
        &reply::failure(&create, Status::STREAM_NAME_ALREADY_EXISTS),
    );
    check(
        "reply_busy",
        &reply::failure(&send, Status::TRANSIENT_NOT_ACCEPTED),
    );
    check("reply_send", &reply::send_messages(&send, 1, 2, 3, 4));
    check("refusal_of_older_clients", &LEGACY_REFUSAL);
}

#[test]
fn poll_reply_with_a_slice() {
    let mut batch = produced_batch(&mut Random::new(101), 3, 40);
    let place = Stamp {
        partition_id: 3,
        base_offset: 7,
        base_timestamp: 1_700_000_001_000_000,
    };
    stamp(&mut batch, place).unwrap();
    check("batch_stored", &batch);
    let slice = BatchView::parse(&batch)
        .unwrap()
        .slice(8, 10, u64::MAX)
        .unwrap();
    let frames = &batch[slice.frames.clone()];
    let poll = header(operation::NON_REPLICATED, 100, 0);
    let records_bytes = HEADER_BYTES + frames.len();
    let head = reply::poll_messages_head(&poll, 3, 9, 2, records_bytes);
    check(
        "reply_poll_slice",
        &[&head[..], &slice.header.encode(), frames].concat(),
    );
    let empty = reply::poll_messages_head(&poll, reply::PARTITION_SYNC_REQUIRED, 0, 0, 0);
    check("reply_poll_sync_required", &empty);
}

#[test]
fn evictions() {
    check(
        "eviction_version",
        &eviction::encode(7, EvictionReason::IncompatibleProtocol),
    );
    check(
        "eviction_credentials",
        &eviction::encode(7, EvictionReason::InvalidCredentials),
    );
}

#[test]
fn no_file_is_left_over() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return; // The other tests are writing the directory now.
    }
    let count = std::fs::read_dir(directory())
        .expect("golden files")
        .count();
    assert_eq!(
        count,
        samples().len() + 7 + 3 + 2,
        "a golden file has no test, or a test no file"
    );
}
