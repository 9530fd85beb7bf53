//! Everything that a frame can do wrong, one connection each (RFC 6455 §7.1.7).

use std::io::{Read, Write};

use ws::{Config, Error, ProtocolError};

use crate::harness::{Server, alone_on_each_driver, websocket};
use crate::support::{joined, raw};

struct Violation {
    name: &'static str,
    /// Where RFC 6455 forbids it.
    section: &'static str,
    wire: fn() -> Vec<u8>,
    error: ProtocolError,
    code: u16,
}

const fn violation(
    name: &'static str,
    section: &'static str,
    wire: fn() -> Vec<u8>,
    error: ProtocolError,
    code: u16,
) -> Violation {
    Violation {
        name,
        section,
        wire,
        error,
        code,
    }
}

/// Those of one frame or of the frames of one message, seen by a server.
const VIOLATIONS: [Violation; 23] = {
    use ProtocolError as E;
    use raw::frame;
    [
        violation(
            "RSV1 without an extension",
            "5.2",
            || frame(0xC1, b"x"),
            E::ReservedBits,
            1002,
        ),
        violation("RSV2", "5.2", || frame(0xA1, b"x"), E::ReservedBits, 1002),
        violation("RSV3", "5.2", || frame(0x91, b"x"), E::ReservedBits, 1002),
        violation(
            "data opcode 3",
            "5.2",
            || frame(0x83, b"x"),
            E::ReservedOpCode,
            1002,
        ),
        violation(
            "control opcode 11",
            "5.2",
            || frame(0x8B, b"x"),
            E::ReservedOpCode,
            1002,
        ),
        violation(
            "no mask",
            "5.1",
            || vec![0x81, 1, b'x'],
            E::UnmaskedFrame,
            1002,
        ),
        violation(
            "125 in 16 bits",
            "5.2",
            || [&[0x82, 0xFE, 0, 125][..], &[0; 129]].concat(),
            E::LengthNotMinimal,
            1002,
        ),
        violation(
            "65,535 in 64 bits",
            "5.2",
            || [&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF][..], &[0; 4]].concat(),
            E::LengthNotMinimal,
            1002,
        ),
        violation(
            "a length of 64 bits",
            "5.2",
            || [&[0x82, 0xFF, 0x80][..], &[0; 11]].concat(),
            E::LengthTopBit,
            1002,
        ),
        violation(
            "fragmented ping",
            "5.5",
            || frame(0x09, b"x"),
            E::ControlFragmented,
            1002,
        ),
        violation(
            "fragmented pong",
            "5.5",
            || frame(0x0A, b"x"),
            E::ControlFragmented,
            1002,
        ),
        violation(
            "fragmented close",
            "5.5",
            || frame(0x08, &[3, 232]),
            E::ControlFragmented,
            1002,
        ),
        violation(
            "ping of 126",
            "5.5",
            || frame(0x89, &[0; 126]),
            E::ControlTooLong,
            1002,
        ),
        violation(
            "close of 126",
            "5.5",
            || frame(0x88, &[&[3, 232][..], &[b'x'; 124]].concat()),
            E::ControlTooLong,
            1002,
        ),
        violation(
            "a stray end",
            "5.4",
            || frame(0x80, b"x"),
            E::UnexpectedContinuation,
            1002,
        ),
        violation(
            "a message in a message",
            "5.4",
            || [frame(0x01, b"x"), frame(0x81, b"y")].concat(),
            E::ExpectedContinuation,
            1002,
        ),
        violation(
            "bad text",
            "8.1",
            || frame(0x81, b"\xC0\x80"),
            E::InvalidUtf8,
            1007,
        ),
        violation(
            "text bad at a seam",
            "8.1",
            || [frame(0x01, b"\xED"), frame(0x80, b"\xA0\x80")].concat(),
            E::InvalidUtf8,
            1007,
        ),
        violation(
            "half a character",
            "8.1",
            || frame(0x81, b"\xE2\x82"),
            E::InvalidUtf8,
            1007,
        ),
        violation(
            "half a code",
            "5.5.1",
            || frame(0x88, &[3]),
            E::ClosePayloadTooShort,
            1002,
        ),
        violation(
            "code 1005",
            "7.4.1",
            || frame(0x88, &[3, 237]),
            E::InvalidCloseCode,
            1002,
        ),
        violation(
            "bad reason",
            "5.5.1",
            || frame(0x88, &[3, 232, 0xFF]),
            E::InvalidCloseReason,
            1007,
        ),
        violation(
            "a frame above the limit",
            "10.4",
            || [&[0x82, 0xFF, 0, 0, 0, 0, 1, 0, 0, 1][..], &[0; 4]].concat(),
            E::FrameTooBig,
            1009,
        ),
    ]
};

/// The good message before a violation is echoed, then comes the Close frame with its code, then
/// the end of the stream; what the attacker sent behind the violation is not answered.
#[test]
fn each_violation_gets_its_close_code_before_the_end() {
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new().uncompressed()).await;
        for (index, violation) in VIOLATIONS.iter().enumerate() {
            let wire = violation.wire;
            let attacker = websocket(&server.url, move |mut stream| {
                let mut bytes = raw::frame(0x81, b"good");
                bytes.extend(wire());
                bytes.extend(raw::frame(0x89, b"unheard"));
                stream.write_all(&bytes).expect("write");
                raw::read_to_end(&mut stream)
            });
            let name = format!("{} (RFC 6455 §{})", violation.name, violation.section);
            let expected = [&[0x81, 4][..], b"good", &raw::close_frame(violation.code)].concat();
            assert_eq!(joined(attacker).await, expected, "{name}");
            server.ended(index + 1).await;
            server.count(|connections| {
                let ending = &connections.endings[index];
                assert!(
                    matches!(ending, Error::Protocol(error) if *error == violation.error),
                    "{name}: {ending:?}"
                );
            });
        }
    });
}

/// What only a server can do wrong (RFC 6455 §5.1).
#[test]
fn a_client_refuses_masked_frames() {
    alone_on_each_driver(|| async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("ws://{}/", listener.local_addr().expect("address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let request = raw::read_head(&mut stream);
            let key = request
                .lines()
                .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
                .expect("a key");
            let accept = ws_proto::handshake::accept_value(key.as_bytes());
            let response = raw::RESPONSE.replace("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &accept);
            stream.write_all(response.as_bytes()).expect("write");
            stream.write_all(&raw::frame(0x81, b"x")).expect("write");
            let mut close = Vec::new();
            stream.read_to_end(&mut close).expect("a clean end");
            close
        });
        let mut socket = ws::connect(&url).await.expect("connect");
        let error = socket.recv().await.expect_err("a masked frame");
        assert!(
            matches!(error, Error::Protocol(ProtocolError::MaskedFrame)),
            "{error:?}"
        );
        let close = joined(server).await;
        let unmasked: Vec<u8> = (0..2).map(|at| close[6 + at] ^ close[2 + at]).collect();
        assert_eq!(
            (&close[..2], &unmasked[..]),
            (&[0x88, 0x82][..], &[3, 234][..])
        );
        assert_eq!(close.len(), 8);
    });
}
