//! Every request, both ways: what the published codec writes is read here, and written again it is
//! the same bytes; what is written here the published codec reads.

use bytes::{Bytes, BytesMut};
use wire::Status;
use wire::iggy::command::{Command, Rejection, decode, name};
use wire::iggy::eviction::EvictionReason;
use wire::iggy::frame::{FrameError, FrameStart, HEADER_BYTES, LEGACY_REFUSAL, RequestHeader};
use wire::iggy::identifier::{Consumer, ConsumerKind, Identifier, Partitioning};
use wire::iggy::login::{Credentials, Login};
use wire::iggy::messages::{PollMessages, PollingStrategy, put_send_routing};
use wire::iggy::published::{
    self, COMMAND_TABLE, ConsensusHeader, WireDecode, WireEncode, codes,
    requests::{messages, users},
};
use wire::iggy::{PROTOCOL_VERSION, operation};
use wire::testing::samples;

/// Writes a decoded command again. A new command does not compile until it is added here.
fn encode(command: &Command<'_>, body: &[u8]) -> Option<Bytes> {
    let mut buffer = BytesMut::new();
    match command {
        Command::Ping
        | Command::Logout
        | Command::GetStats
        | Command::GetClusterMetadata
        | Command::GetMe
        | Command::GetClients
        | Command::GetUsers
        | Command::GetPersonalAccessTokens
        | Command::GetStreams => {}
        Command::Login(login) => login.put(&mut buffer),
        Command::PollMessages(poll) => poll.put(&mut buffer),
        Command::SendMessages(send) => {
            let count = send.message_count;
            put_send_routing(
                &mut buffer,
                send.stream,
                send.topic,
                send.partitioning,
                count,
            );
            buffer.extend_from_slice(&body[send.batch.clone()]);
        }
        Command::GetSnapshot(request) => request.encode(&mut buffer),
        Command::DescribeOptions(request) => request.encode(&mut buffer),
        Command::GetClient(request) => request.encode(&mut buffer),
        Command::GetUser(request) => request.encode(&mut buffer),
        Command::CreateUser(request) => request.encode(&mut buffer),
        Command::DeleteUser(request) => request.encode(&mut buffer),
        Command::UpdateUser(request) => request.encode(&mut buffer),
        Command::UpdatePermissions(request) => request.encode(&mut buffer),
        Command::ChangePassword(request) => request.encode(&mut buffer),
        Command::CreatePersonalAccessToken(request) => request.encode(&mut buffer),
        Command::DeletePersonalAccessToken(request) => request.encode(&mut buffer),
        Command::FlushUnsavedBuffer(request) => request.encode(&mut buffer),
        Command::GetConsumerOffset(request) => request.encode(&mut buffer),
        Command::StoreConsumerOffset(request) => request.encode(&mut buffer),
        Command::DeleteConsumerOffset(request) => request.encode(&mut buffer),
        Command::GetStream(request) => request.encode(&mut buffer),
        Command::CreateStream(request) => request.encode(&mut buffer),
        Command::DeleteStream(request) => request.encode(&mut buffer),
        Command::UpdateStream(request) => request.encode(&mut buffer),
        Command::PurgeStream(request) => request.encode(&mut buffer),
        Command::GetTopic(request) => request.encode(&mut buffer),
        Command::GetTopics(request) => request.encode(&mut buffer),
        Command::CreateTopic(request) => request.encode(&mut buffer),
        Command::DeleteTopic(request) => request.encode(&mut buffer),
        Command::UpdateTopic(request) => request.encode(&mut buffer),
        Command::PurgeTopic(request) => request.encode(&mut buffer),
        Command::CreatePartitions(request) => request.encode(&mut buffer),
        Command::DeletePartitions(request) => request.encode(&mut buffer),
        Command::DeleteSegments(request) => request.encode(&mut buffer),
        Command::GetConsumerGroup(request) => request.encode(&mut buffer),
        Command::GetConsumerGroups(request) => request.encode(&mut buffer),
        Command::CreateConsumerGroup(request) => request.encode(&mut buffer),
        Command::DeleteConsumerGroup(request) => request.encode(&mut buffer),
        Command::JoinConsumerGroup(request) => request.encode(&mut buffer),
        Command::LeaveConsumerGroup(request) => request.encode(&mut buffer),
        Command::SyncConsumerGroup(request) => request.encode(&mut buffer),
        Command::Unsupported { .. } => return None,
    }
    Some(buffer.freeze())
}

#[test]
fn every_sample_decodes_and_encodes_to_the_same_bytes() {
    for sample in samples() {
        let command = decode(sample.operation, sample.code, &sample.body).expect(sample.name);
        match encode(&command, &sample.body) {
            Some(body) => assert_eq!(body, sample.body, "{}", sample.name),
            None => {
                assert!(matches!(command, Command::Unsupported { code } if code == sample.code));
            }
        }
    }
}

#[test]
fn every_published_command_has_a_sample_of_its_own_kind() {
    let samples = samples();
    for meta in COMMAND_TABLE {
        let is_sampled = samples
            .iter()
            .any(|sample| match (meta.code, meta.operation) {
                (codes::LOGIN_REGISTER_CODE | codes::LOGIN_REGISTER_WITH_PAT_CODE, _) => {
                    sample.operation == operation::REGISTER
                }
                (codes::LOGOUT_USER_CODE, _) => sample.operation == operation::LOGOUT,
                (_, Some(op)) => sample.operation == op as u8,
                (code, None) => {
                    sample.operation == operation::NON_REPLICATED && sample.code == code
                }
            });
        assert!(is_sampled, "{} ({}) has no sample", meta.name, meta.code);
    }
}

#[test]
fn commands_have_the_published_names() {
    for meta in COMMAND_TABLE {
        let (operation, code) = match (meta.code, meta.operation) {
            (codes::LOGIN_REGISTER_CODE, _) => (operation::REGISTER, 0),
            (codes::LOGOUT_USER_CODE, _) => (operation::LOGOUT, 0),
            (_, Some(operation)) => (operation as u8, 0),
            (code, None) => (operation::NON_REPLICATED, code),
        };
        assert_eq!(name(operation, code), meta.name);
    }
    assert_eq!(name(99, 0), "unknown");
    assert_eq!(name(operation::NON_REPLICATED, 60_000), "unknown");
}

#[test]
fn result_sections_are_where_the_published_clients_strip_them() {
    for number in 0..=u8::MAX {
        if !published::Operation::is_known_code(number) {
            continue;
        }
        // Operations that only servers send to each other never reach a client.
        if (64..128).contains(&number) {
            continue;
        }
        let operation = bytemuck::checked::pod_read_unaligned::<published::Operation>(&[number]);
        let expected = operation.is_result_framed() || operation == published::Operation::Register;
        assert_eq!(
            operation::has_result_section(number),
            expected,
            "{operation:?}"
        );
    }
}

#[test]
fn what_the_protocol_does_not_have_is_an_invalid_command() {
    let invalid = Err(Rejection::Status(Status::INVALID_COMMAND));
    let check = |operation, code| decode(operation, code, &[]).map(|_| ());
    for operation in [0, 4, 63, 64, 66, 127, 150, 159, 163, 255] {
        assert_eq!(check(operation, 0), invalid, "operation {operation}");
    }
    for code in [0, 2, 39, 40, 45, 60_000, u32::MAX] {
        assert_eq!(
            check(operation::NON_REPLICATED, code),
            invalid,
            "code {code}"
        );
    }
    // A change that travels as a read would be answered in the wrong framing.
    for meta in COMMAND_TABLE.iter().filter(|meta| meta.is_replicated()) {
        assert_eq!(
            check(operation::NON_REPLICATED, meta.code),
            invalid,
            "{}",
            meta.name
        );
    }
}

#[test]
fn request_header_is_the_published_one() {
    for sample in samples() {
        let is_login = sample.operation == operation::REGISTER;
        let header = RequestHeader {
            frame_bytes: (HEADER_BYTES + sample.body.len()) as u32,
            client: 0x0102_0304_0506_0708_090A_0B0C_0D0E_0F10,
            request_checksum: 77,
            request: if is_login { 0 } else { 5 },
            operation: sample.operation,
            session: if is_login { 0 } else { 9 },
            code: sample.code,
        };
        let bytes = header.encode();
        let published = bytemuck::checked::pod_read_unaligned::<published::RequestHeader>(&bytes);
        published.validate().expect(sample.name);
        assert_eq!(published.size, header.frame_bytes);
        assert_eq!(published.client, header.client);
        assert_eq!(published.request_checksum, header.request_checksum);
        assert_eq!(published.request, header.request);
        assert_eq!(published.session, header.session);
        assert_eq!(published.operation as u8, header.operation);
        assert_eq!(published.reserved[..4], header.code.to_le_bytes());
        assert_eq!(bytemuck::bytes_of(&published), bytes);
        assert_eq!(RequestHeader::parse(&bytes), Ok(header));
        assert_eq!(
            FrameStart::detect(&bytes, 1 << 20),
            FrameStart::Frame {
                frame_bytes: HEADER_BYTES + sample.body.len()
            }
        );
    }
}

fn header(operation: u8) -> RequestHeader {
    RequestHeader {
        frame_bytes: HEADER_BYTES as u32,
        client: 1,
        request_checksum: 0,
        request: 1,
        operation,
        session: 1,
        code: 0,
    }
}

#[test]
fn header_rules_are_the_published_ones() {
    use FrameError::{Client, Operation, Register, Request, Session};
    let ok = header(operation::SEND_MESSAGES);
    let read = header(operation::NON_REPLICATED);
    let login = RequestHeader {
        session: 0,
        request: 0,
        ..header(operation::REGISTER)
    };
    let cases = [
        (ok, None),
        (RequestHeader { client: 0, ..ok }, Some(Client)),
        (RequestHeader { operation: 0, ..ok }, Some(Operation)),
        (RequestHeader { session: 0, ..ok }, Some(Session)),
        (RequestHeader { request: 0, ..ok }, Some(Request)),
        (
            RequestHeader {
                session: 0,
                request: 0,
                ..read
            },
            None,
        ),
        (login, None),
        (
            RequestHeader {
                session: 1,
                ..login
            },
            Some(Register),
        ),
        (
            RequestHeader {
                request: 1,
                ..login
            },
            Some(Register),
        ),
    ];
    for (header, expected) in cases {
        let bytes = header.encode();
        let published =
            bytemuck::checked::try_pod_read_unaligned::<published::RequestHeader>(&bytes);
        let is_published_valid = published.is_ok_and(|published| published.validate().is_ok());
        assert_eq!(is_published_valid, expected.is_none(), "{header:?}");
        assert_eq!(
            RequestHeader::parse(&bytes)
                .map_err(|(_, error)| error)
                .err(),
            expected
        );
        assert!(!expected.is_some_and(FrameError::is_fatal));
    }
    let mut other_kind = ok.encode();
    other_kind[60] = 8;
    let (_, error) = RequestHeader::parse(&other_kind).expect_err("a reply is no request");
    assert_eq!(error, FrameError::Command);
    assert!(error.is_fatal());
}

#[test]
fn request_checksum_is_compared_when_there_is_one() {
    let body = b"body";
    let stamp = u128::from(iggy_common::calculate_checksum(body));
    let unstamped = header(operation::CREATE_STREAM);
    assert_eq!(unstamped.verify_body(body), Ok(()));
    let stamped = RequestHeader {
        request_checksum: stamp,
        ..unstamped
    };
    assert_eq!(stamped.verify_body(body), Ok(()));
    assert_eq!(
        stamped.verify_body(b"b0dy"),
        Err(FrameError::RequestChecksum)
    );
}

#[test]
fn frame_start_waits_refuses_and_measures() {
    let bytes = header(operation::NON_REPLICATED).encode();
    let detect = |bytes: &[u8]| FrameStart::detect(bytes, 300);
    for count in 0..52 {
        assert!(
            matches!(detect(&bytes[..count]), FrameStart::Incomplete { .. }),
            "{count}"
        );
    }
    assert_eq!(detect(&bytes[..52]), FrameStart::Frame { frame_bytes: 256 });
    let sized = |size: u32| {
        let mut bytes = bytes;
        bytes[48..52].copy_from_slice(&size.to_le_bytes());
        FrameStart::detect(&bytes, 300)
    };
    assert_eq!(sized(255), FrameStart::Invalid(FrameError::TooSmall));
    assert_eq!(sized(300), FrameStart::Frame { frame_bytes: 300 });
    assert_eq!(sized(301), FrameStart::Invalid(FrameError::TooBig));
    assert_eq!(sized(u32::MAX), FrameStart::Invalid(FrameError::TooBig));
}

#[test]
fn older_clients_are_told_apart_from_other_protocols() {
    // The first frame of a client of version 0.10: length, command code 38, user name …
    let mut login = vec![30, 0, 0, 0, 38, 0, 0, 0, 4];
    login.extend_from_slice(b"iggy");
    assert_eq!(FrameStart::detect(&login, 1 << 20), FrameStart::Legacy);
    assert_eq!(FrameStart::detect(&login[..4], 1 << 20), FrameStart::Legacy);
    assert_eq!(
        FrameStart::detect(&login[..3], 1 << 20),
        FrameStart::Incomplete { needed_bytes: 4 }
    );
    let refused = FrameStart::Invalid(FrameError::Checksum);
    assert_eq!(FrameStart::detect(b"GET / HTTP/1.1\r\n", 1 << 20), refused);
    assert_eq!(FrameStart::detect(&[0x16, 3, 1, 2, 0, 1], 1 << 20), refused);
    assert_eq!(
        FrameStart::detect(&[3, 0, 0, 0, 1, 0, 0, 0], 1 << 20),
        refused
    );
    assert!(FrameError::Checksum.is_fatal());
    // Their reply head is status and length.
    assert_eq!(LEGACY_REFUSAL[..4], Status::INVALID_VERSION.0.to_le_bytes());
}

#[test]
fn identifiers_and_partitionings_are_the_published_ones() {
    let name = "n".repeat(255);
    let mut buffer = BytesMut::new();
    for (ours, theirs) in [
        (Identifier::Number(7), published::WireIdentifier::numeric(7)),
        (
            Identifier::Name("é"),
            published::WireIdentifier::named("é").unwrap(),
        ),
        (
            Identifier::Name(&name),
            published::WireIdentifier::named(name.as_str()).unwrap(),
        ),
    ] {
        buffer.clear();
        ours.put(&mut buffer);
        assert_eq!(buffer, theirs.to_bytes());
        assert_eq!(Identifier::take(&mut &theirs.to_bytes()[..]), Ok(ours));
        assert_eq!(Identifier::from(&theirs), ours);
        let group = published::WireConsumer::consumer_group(theirs);
        let consumer = Consumer {
            kind: ConsumerKind::Group,
            id: ours,
        };
        buffer.clear();
        consumer.put(&mut buffer);
        assert_eq!(buffer, group.to_bytes());
        assert_eq!(Consumer::from(&group), consumer);
    }
    let key = [7; 255];
    for (ours, theirs) in [
        (
            Partitioning::Balanced,
            published::WirePartitioning::Balanced,
        ),
        (
            Partitioning::Partition(3),
            published::WirePartitioning::PartitionId(3),
        ),
        (
            Partitioning::Key(&key),
            published::WirePartitioning::MessagesKey(key.to_vec()),
        ),
    ] {
        buffer.clear();
        ours.put(&mut buffer);
        assert_eq!(buffer, theirs.to_bytes());
        assert_eq!(Partitioning::take(&mut &buffer[..]), Ok(ours));
    }
}

#[test]
fn identifiers_that_are_none_say_why() {
    let take = |mut bytes: &[u8]| Identifier::take(&mut bytes).map(|_| ());
    assert_eq!(take(&[1, 3, 0, 0, 0]), Err(Status::INVALID_IDENTIFIER));
    assert_eq!(take(&[1, 4, 0, 0, 0]), Err(Status::INVALID_FORMAT));
    assert_eq!(take(&[2, 0]), Err(Status::INVALID_IDENTIFIER));
    assert_eq!(take(&[3, 1, 65]), Err(Status::INVALID_IDENTIFIER));
    assert_eq!(take(&[2, 1, 0xFF]), Err(Status::INVALID_UTF8));
    let take = |mut bytes: &[u8]| Partitioning::take(&mut bytes).map(|_| ());
    assert_eq!(take(&[1, 1, 0]), Err(Status::INVALID_KEY_VALUE_LENGTH));
    assert_eq!(
        take(&[2, 3, 0, 0, 0]),
        Err(Status::INVALID_KEY_VALUE_LENGTH)
    );
    assert_eq!(take(&[3, 0]), Err(Status::INVALID_KEY_VALUE_LENGTH));
    assert_eq!(take(&[4, 0]), Err(Status::INVALID_FORMAT));
    // The published codec says the same in its own type, and the status follows from it.
    let rejection = decode(
        operation::NON_REPLICATED,
        codes::GET_STREAM_CODE,
        &[3, 1, 65],
    );
    assert_eq!(
        rejection.map(|_| ()),
        Err(Rejection::Status(Status::INVALID_IDENTIFIER))
    );
}

#[test]
fn polls_are_the_published_ones() {
    use published::WirePollingStrategy as Strategy;
    for (ours, theirs) in [
        (PollingStrategy::Offset(5), Strategy::offset(5)),
        (PollingStrategy::Timestamp(6), Strategy::timestamp(6)),
        (PollingStrategy::First, Strategy::first()),
        (PollingStrategy::Last, Strategy::last()),
        (PollingStrategy::Next, Strategy::next()),
    ] {
        for partition in [None, Some(0), Some(u32::MAX - 1)] {
            let poll = PollMessages {
                consumer: Consumer {
                    kind: ConsumerKind::Consumer,
                    id: Identifier::Number(1),
                },
                stream: Identifier::Name("s"),
                topic: Identifier::Number(2),
                partition,
                strategy: ours,
                count: 10,
                auto_commit: partition.is_some(),
            };
            let mut body = BytesMut::new();
            poll.put(&mut body);
            let (read, consumed) = messages::PollMessagesRequest::decode(&body).unwrap();
            assert_eq!(consumed, body.len());
            assert_eq!(read.strategy, theirs);
            assert_eq!(read.partition_id, partition);
            assert_eq!((read.count, read.auto_commit), (10, partition.is_some()));
            assert_eq!(PollMessages::parse(&body), Ok(poll));
        }
    }
}

#[test]
fn logins_are_the_published_ones_in_both_forms() {
    let mut body = BytesMut::new();
    let password = Credentials::Password {
        username: "iggy",
        password: "sécret",
    };
    let mut login = Login::new("rust-sdk", "0.11.0", password);
    login.context = "context of more than 255 bytes: ";
    let long = login.context.repeat(20);
    for context in ["", "x", "abcde", &long] {
        login.context = context;
        body.clear();
        login.put(&mut body);
        let (read, consumed) = users::LoginRegisterRequest::decode(&body).unwrap();
        assert_eq!(consumed, body.len());
        assert_eq!(read.username.as_str(), "iggy");
        assert_eq!(read.client_context.as_deref().unwrap_or(""), context);
        assert_eq!(read.version_info.protocol_version, PROTOCOL_VERSION);
        assert_eq!(Login::parse(&body), Ok(login));

        let token = Login {
            credentials: Credentials::Token("token"),
            ..login
        };
        body.clear();
        token.put(&mut body);
        let (read, consumed) = users::LoginRegisterWithPatRequest::decode(&body).unwrap();
        assert_eq!(consumed, body.len());
        assert_eq!(read.to_bytes(), body);
        assert_eq!(Login::parse(&body), Ok(token));
    }
}

#[test]
fn logins_of_other_versions_learn_the_window_whatever_follows() {
    let check = |version: u32, rest: &[u8]| {
        let mut body = version.to_le_bytes().to_vec();
        body.extend_from_slice(b"\x02go\x010");
        body.extend_from_slice(rest);
        Login::parse(&body).map(|_| ()).expect_err("no login")
    };
    let version = published::version::pack_protocol_version;
    let incompatible = EvictionReason::IncompatibleProtocol;
    assert_eq!(check(version(0, 10, 9), b"anything"), incompatible);
    assert_eq!(check(version(0, 12, 0), b""), incompatible);
    assert_eq!(check(version(1, 0, 0), b""), incompatible);
    assert_eq!(check(0, b""), incompatible);
    let malformed = EvictionReason::MalformedLogin;
    assert_eq!(check(version(0, 11, 0), b""), malformed);
    assert_eq!(
        check(version(0, 11, 5), b"\x04iggy\x06secret\0\0\0\0!"),
        malformed
    );
    assert_eq!(Login::parse(b"\0\0"), Err(malformed));
    let context_too_long = [&b"\x01a\x01b"[..], &4097u32.to_le_bytes(), &[b'c'; 4097]].concat();
    assert_eq!(check(version(0, 11, 0), &context_too_long), malformed);
}

#[test]
fn credentials_do_not_show_in_debug_output() {
    let credentials = Credentials::Password {
        username: "iggy",
        password: "hunter2",
    };
    let login = Login::new("sdk", "1", credentials);
    let shown = format!("{login:?} {:?}", Credentials::Token("topsecret"));
    assert!(shown.contains("iggy"), "{shown}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("topsecret"),
        "{shown}"
    );
}
