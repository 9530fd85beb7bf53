//! A second opinion: random frames, mostly legal, read by this crate and by tungstenite.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::{Role as TheirRole, WebSocket};
use tungstenite::{Error, Message};
use ws_proto::testing::{Dice, Seen, client_frame, feed};
use ws_proto::{Config, Connection, ProtocolError};

/// A stream of given bytes; what is written to it is dropped.
struct Wire(Cursor<Vec<u8>>);

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite delivers before the stream ends, closes or fails, and whether it failed for
/// what the peer sent.
fn theirs(wire: &[u8]) -> (Vec<Seen>, bool) {
    let stream = Wire(Cursor::new(wire.to_vec()));
    let mut socket = WebSocket::from_raw_socket(stream, TheirRole::Server, None);
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(_) | Message::Frame(_)) => return (seen, false),
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => return (seen, false),
            Err(Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_)) => return (seen, true),
            Err(_) => return (seen, false),
        }
    }
}

fn ours(wire: &[u8]) -> (Vec<Seen>, Option<ProtocolError>) {
    let mut connection = Connection::server(Config::default());
    let mut seen = feed(&mut connection, wire);
    match seen.last() {
        Some(Seen::Close(_)) => drop(seen.pop()),
        Some(&Seen::Failed(error)) => {
            seen.pop();
            return (seen, Some(error));
        }
        _ => {}
    }
    (seen, None)
}

fn random_wire(dice: &mut Dice) -> Vec<u8> {
    let first_bytes = [
        0x81, 0x82, 0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0x83, 0x09,
    ];
    let mut wire = Vec::new();
    for _ in 0..1 + dice.below(10) {
        let first = first_bytes[dice.below(first_bytes.len())];
        let length = [0, 1, 2, 5, 120, 125, 126, 400, 70_000][dice.below(9)];
        let payload = match dice.below(6) {
            0 => dice.bytes(length),
            1..3 => "é𝄞x".repeat(length / 7 + 1).into_bytes(),
            _ => vec![b'a'; length],
        };
        wire.extend(client_frame(first, &payload));
    }
    if dice.below(3) == 0 {
        let position = dice.below(wire.len().min(200));
        wire[position] ^= 1 << dice.below(8);
    }
    wire
}

/// Both deliver the same messages. Where only one finds fault, it is this crate: by a rule that
/// the other does not check, or earlier.
#[test]
fn random_frames_mean_the_same_to_both() {
    let mut failures = 0;
    for seed in 0..2_000_u64 {
        let wire = random_wire(&mut Dice::new(seed.wrapping_mul(0x9E6D_62D0_6F6A_9A9B)));
        let (our_seen, our_failure) = ours(&wire);
        let (their_seen, their_failure) = theirs(&wire);
        failures += u32::from(our_failure.is_some());
        let stricter = matches!(
            our_failure,
            Some(
                ProtocolError::LengthNotMinimal
                    | ProtocolError::InvalidCloseCode
                    | ProtocolError::ClosePayloadTooShort
                    | ProtocolError::InvalidCloseReason
                    | ProtocolError::InvalidUtf8
                    | ProtocolError::ControlTooLong
            )
        );
        if stricter {
            assert!(
                their_seen.starts_with(&our_seen),
                "seed {seed}, {our_failure:?}"
            );
            continue;
        }
        assert_eq!(our_seen, their_seen, "seed {seed}, {our_failure:?}");
        // The other way round it may still be waiting for the payload of a bad header.
        assert!(
            our_failure.is_some() || !their_failure,
            "seed {seed}: only they find fault"
        );
    }
    assert!(
        failures > 500 && failures < 1_900,
        "{failures} of 2,000 are faulty"
    );
}
