//! What this crate and tungstenite make of the same bytes; for the seeded test and for fuzzing.

use std::io::{self, Cursor, Read, Write};

use tungstenite::protocol::{Role as TheirRole, WebSocket};
use tungstenite::{Error, Message};
use ws_proto::testing::{Seen, feed};
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

/// Both deliver the same messages. Where only one finds fault, it is this crate: by a rule that
/// the other does not check, or earlier. Returns whether it did.
pub(crate) fn fuzz_differential(wire: &[u8]) -> bool {
    let (our_seen, our_failure) = ours(wire);
    let (their_seen, their_failure) = theirs(wire);
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
        assert!(their_seen.starts_with(&our_seen), "{our_failure:?}");
        return true;
    }
    assert_eq!(our_seen, their_seen, "{our_failure:?}");
    // The other way round it may still be waiting for the payload of a bad header.
    assert!(
        our_failure.is_some() || !their_failure,
        "only they find fault"
    );
    our_failure.is_some()
}
