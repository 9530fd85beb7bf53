//! Every first and second byte of a frame, with every form of length, in every state and role,
//! against a table of verdicts that knows nothing of the parser.

use std::ops::Range;

use ws_proto::deflate::{Options, Session};
use ws_proto::frame::{Expectation, parse};
use ws_proto::testing::{Seen, deflate_sessions, drain, feed, test_masking_key};
use ws_proto::{Config, Connection, ProtocolError, Role};

const FRAME_BYTES_MAX: u64 = 1 << 24;

/// The rules in the order of the wire, each as (is broken, what it is called).
fn verdict(wire: &[u8], expect: &Expectation) -> Result<u64, ProtocolError> {
    let bit = |byte: u8, number: u8| byte >> number & 1 == 1;
    let (first, second) = (wire[0], wire[1]);
    let opcode = first % 16;
    let control = opcode >= 8;
    let start = opcode == 1 || opcode == 2;
    let code = second % 128;
    let length = match code {
        126 => wire[2..4]
            .iter()
            .fold(0, |sum, &byte| sum * 256 + u64::from(byte)),
        127 => wire[2..10]
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        short => u64::from(short),
    };
    let rsv1_bad = bit(first, 6) && !(expect.rsv1_negotiated);
    let rules = [
        (
            bit(first, 5) || bit(first, 4) || rsv1_bad,
            ProtocolError::ReservedBits,
        ),
        (
            matches!(opcode, 3..=7 | 11..=15),
            ProtocolError::ReservedOpCode,
        ),
        (bit(first, 6) && !start, ProtocolError::ReservedBits),
        (control && !bit(first, 7), ProtocolError::ControlFragmented),
        (
            opcode == 0 && !expect.message_open,
            ProtocolError::UnexpectedContinuation,
        ),
        (
            start && expect.message_open,
            ProtocolError::ExpectedContinuation,
        ),
        (
            expect.receiver == Role::Server && !bit(second, 7),
            ProtocolError::UnmaskedFrame,
        ),
        (
            expect.receiver == Role::Client && bit(second, 7),
            ProtocolError::MaskedFrame,
        ),
        (control && code > 125, ProtocolError::ControlTooLong),
        (
            code == 127 && length >= 1 << 63,
            ProtocolError::LengthTopBit,
        ),
        (code == 126 && length < 126, ProtocolError::LengthNotMinimal),
        (
            code == 127 && length < 65_536,
            ProtocolError::LengthNotMinimal,
        ),
        (length > FRAME_BYTES_MAX, ProtocolError::FrameTooBig),
    ];
    match rules.into_iter().find(|(broken, _)| *broken) {
        Some((_, error)) => Err(error),
        None => Ok(length),
    }
}

/// A header with these two bytes for each interesting length, followed by a masking key.
fn headers(first: u8, second: u8) -> Vec<Vec<u8>> {
    let lengths: &[u64] = match second & 0x7F {
        126 => &[0, 125, 126, 65_535],
        127 => &[
            0,
            65_535,
            65_536,
            FRAME_BYTES_MAX,
            FRAME_BYTES_MAX + 1,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX,
        ],
        _ => &[0],
    };
    let with_length = |&length: &u64| {
        let mut wire = vec![first, second];
        match second & 0x7F {
            126 => wire.extend((length as u16).to_be_bytes()),
            127 => wire.extend(length.to_be_bytes()),
            _ => {}
        }
        if second & 0x80 != 0 {
            wire.extend(test_masking_key());
        }
        wire
    };
    lengths.iter().map(with_length).collect()
}

fn for_each_header(mut check: impl FnMut(&[u8])) {
    for first in 0..=255 {
        for second in 0..=255 {
            headers(first, second).iter().for_each(|wire| check(wire));
        }
    }
}

#[test]
fn the_parser_agrees_with_the_table() {
    for number in 0..8 {
        let expect = Expectation {
            receiver: if number & 1 == 0 {
                Role::Server
            } else {
                Role::Client
            },
            rsv1_negotiated: number & 2 != 0,
            message_open: number & 4 != 0,
            frame_bytes_max: FRAME_BYTES_MAX,
        };
        for_each_header(|wire| {
            let expected = verdict(wire, &expect);
            let parsed = parse(wire, &expect).map(|parsed| {
                let (header, header_bytes) = parsed.expect("the header is complete");
                assert_eq!(header_bytes, wire.len());
                assert_eq!(header.fin, wire[0] >= 0x80);
                assert_eq!(header.rsv1, wire[0] & 0x40 != 0);
                assert_eq!(header.opcode as u8, wire[0] & 0x0F);
                assert_eq!(header.encode().as_slice(), wire);
                header.payload_bytes
            });
            assert_eq!(parsed, expected, "{wire:02X?}, {expect:?}");
            // A part of it is either not judged yet or judged the same.
            for cut in 0..wire.len() {
                match parse(&wire[..cut], &expect) {
                    Ok(None) => {}
                    judged => assert_eq!(judged.map(|_| 0), expected, "{wire:02X?} at {cut}"),
                }
            }
        });
    }
}

/// What is open when the frame comes, as far as it decides about the frame.
#[derive(Debug, Clone, Copy)]
struct State {
    receiver: Role,
    deflate: bool,
    /// The first byte of a message's first frame that came before.
    opened_by: Option<u8>,
    close_sent: bool,
}

/// Every combination that there can be: only with compression agreed on can a compressed message
/// be open.
fn states() -> Vec<State> {
    let mut states = Vec::new();
    for receiver in [Role::Server, Role::Client] {
        for close_sent in [false, true] {
            for (deflate, opened_by) in [
                (false, None),
                (false, Some(0x02)),
                (true, None),
                (true, Some(0x02)),
                (true, Some(0x42)),
            ] {
                states.push(State {
                    receiver,
                    deflate,
                    opened_by,
                    close_sent,
                });
            }
        }
    }
    states
}

/// A short frame as its sender writes it.
fn short_frame(sender: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let key = test_masking_key();
    let mut frame = vec![first, payload.len() as u8];
    if sender == Role::Client {
        frame[1] |= 0x80;
        frame.extend(key);
        frame.extend(payload.iter().zip(key).map(|(byte, key)| byte ^ key));
    } else {
        frame.extend(payload);
    }
    frame
}

/// What is written because of a header: an empty frame is complete with it. Behind our own Close
/// there is nothing (RFC 6455 §5.5.1), whatever comes.
fn answer(wire: &[u8], verdict: Result<u64, ProtocolError>, state: &State) -> Vec<u8> {
    if state.close_sent {
        return Vec::new();
    }
    match (verdict, wire[0]) {
        (Err(ProtocolError::FrameTooBig), _) => {
            short_frame(state.receiver, 0x88, &1009_u16.to_be_bytes())
        }
        (Err(_), _) => short_frame(state.receiver, 0x88, &1002_u16.to_be_bytes()),
        (Ok(0), 0x88) => short_frame(state.receiver, 0x88, &[]),
        (Ok(0), 0x89) => short_frame(state.receiver, 0x8A, &[]),
        (Ok(_), _) => Vec::new(),
    }
}

/// The same through a connection, cut at every byte: the state that a cut leaves behind changes
/// no verdict. (The payload is left out: where nothing is wrong, nothing happens yet.)
#[test]
fn a_connection_agrees_with_the_table() {
    let (_, session) = deflate_sessions(Options::DEFAULT, Options::DEFAULT);
    for state in states() {
        let expect = Expectation {
            receiver: state.receiver,
            rsv1_negotiated: state.deflate,
            message_open: state.opened_by.is_some(),
            frame_bytes_max: FRAME_BYTES_MAX,
        };
        for_each_header(|wire| {
            let verdict = verdict(wire, &expect);
            let answer = answer(wire, verdict, &state);
            for cut in cuts(wire) {
                let mut connection = connection(&state, session);
                let mut seen = feed(&mut connection, &wire[..cut]);
                seen.extend(feed(&mut connection, &wire[cut..]));
                let failed = seen.iter().find_map(|seen| match seen {
                    Seen::Failed(error) => Some(*error),
                    _ => None,
                });
                // An empty Close frame is complete, every other one waits or is harmless.
                assert_eq!(failed, verdict.err(), "{wire:02X?} at {cut}, {state:?}");
                assert_eq!(connection.failure(), failed);
                let written = drain(&mut connection);
                assert_eq!(written, answer, "{wire:02X?} at {cut}, {state:?}");
            }
        });
    }
}

/// Every one; but of the many short lengths that only differ in how much would follow, each gets
/// another one with each first byte.
fn cuts(wire: &[u8]) -> Range<usize> {
    match wire[1] & 0x7F {
        3..=124 => {
            let cut = usize::from(wire[0].wrapping_add(wire[1])) % wire.len();
            cut..cut + 1
        }
        _ => 0..wire.len(),
    }
}

fn connection(state: &State, session: Session) -> Connection {
    let mut config = Config::default();
    config.deflate = state.deflate.then_some(session);
    let (mut connection, sender) = match state.receiver {
        Role::Server => (Connection::server(config), Role::Client),
        Role::Client => (Connection::client(config, test_masking_key), Role::Server),
    };
    if let Some(first) = state.opened_by {
        let open = short_frame(sender, first, &[]);
        assert!(feed(&mut connection, &open).is_empty());
    }
    if state.close_sent {
        connection.close(None).expect("it is open");
        let close = short_frame(state.receiver, 0x88, &[]);
        assert_eq!(drain(&mut connection), close);
    }
    connection
}
