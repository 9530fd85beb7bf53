//! Sockets that end, by half or by a reset, at every point of a connection's life.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use ws::{Config, Error, Handshake, Message, ProtocolError};

use crate::harness::{
    Memory, SLACK_BYTES, Server, alone_on_each_driver, attacker, echoes, websocket,
};
use crate::support::{joined, raw};

/// What an attacker has sent when it ends its direction, and what it then still reads.
struct Half {
    sent: fn() -> Vec<u8>,
    answer: fn() -> Vec<u8>,
    ending: ProtocolError,
}

/// Messages that came whole are answered; the rest of a message is not waited for.
const HALVES: [Half; 5] = [
    Half {
        sent: Vec::new,
        answer: Vec::new,
        ending: ProtocolError::UnexpectedEnd,
    },
    Half {
        sent: || raw::frame(0x81, b"whole").repeat(3),
        answer: || b"\x81\x05whole".repeat(3),
        ending: ProtocolError::UnexpectedEnd,
    },
    Half {
        sent: || [raw::frame(0x81, b"whole"), vec![0x82]].concat(),
        answer: || b"\x81\x05whole".to_vec(),
        ending: ProtocolError::UnexpectedEnd,
    },
    Half {
        sent: || raw::frame(0x82, &[7; 300_000])[..200_000].to_vec(),
        answer: Vec::new,
        ending: ProtocolError::UnexpectedEnd,
    },
    Half {
        sent: || [raw::frame(0x89, b"?"), vec![0x01, 0x00]].concat(),
        answer: || [&b"\x8A\x01?"[..], &raw::close_frame(1002)].concat(),
        ending: ProtocolError::UnmaskedFrame,
    },
];

#[test]
fn half_closed_sockets() {
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new().uncompressed()).await;
        for (index, half) in HALVES.iter().enumerate() {
            let sent = half.sent;
            let attacker = websocket(&server.url, move |mut stream| {
                stream.write_all(&sent()).expect("write");
                stream.shutdown(Shutdown::Write).expect("shutdown");
                raw::read_to_end(&mut stream)
            });
            assert_eq!(joined(attacker).await, (half.answer)(), "{index}");
            server.ended(index + 1).await;
            server.count(|connections| {
                let ending = &connections.endings[index];
                assert!(
                    matches!(ending, Error::Protocol(error) if *error == half.ending),
                    "{index}: {ending:?}"
                );
            });
        }
    });
}

#[test]
fn half_closed_in_and_behind_the_handshakes() {
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new().uncompressed()).await;
        let opening = attacker(&server.url, |mut stream| {
            stream.write_all(b"GET / HTTP/1.1\r\n").expect("write");
            stream.shutdown(Shutdown::Write).expect("shutdown");
            raw::read_to_end(&mut stream)
        });
        assert_eq!(joined(opening).await, b"");
        server.ended(1).await;
        let closing = websocket(&server.url, |mut stream| {
            let close = raw::frame(0x88, &1000_u16.to_be_bytes());
            stream.write_all(&close).expect("write");
            stream.shutdown(Shutdown::Write).expect("shutdown");
            raw::read_to_end(&mut stream)
        });
        assert_eq!(joined(closing).await, raw::close_frame(1000));
        server.ended(2).await;
        server.count(|connections| {
            let (opening, closing) = (&connections.endings[0], &connections.endings[1]);
            assert!(
                matches!(opening, Error::Handshake(Handshake::Ended)),
                "{opening:?}"
            );
            assert!(matches!(closing, Error::Closed(Some(_))), "{closing:?}");
        });
    });
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    let zero = Some(Duration::ZERO);
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(zero).expect("linger");
}

/// What was sent before a reset: in the handshake (false) or behind it.
type Reset = (bool, fn() -> Vec<u8>);

const RESETS: [Reset; 10] = [
    (false, Vec::new),
    (false, || b"GET / HTTP/1.1\r\nHo".to_vec()),
    (false, || raw::REQUEST.as_bytes().to_vec()),
    (true, Vec::new),
    (true, || vec![0x82]),
    (true, || raw::frame(0x81, b"torn")[..8].to_vec()),
    (true, || {
        raw::frame(0x82, &[7; 9_000_000])[..5_000_000].to_vec()
    }),
    (true, || raw::frame(0x02, &[7; 100_000])),
    // Its echo is on its way when the reset comes.
    (true, || raw::frame(0x82, &[7; 9_000_000])),
    (true, || raw::frame(0x88, &1000_u16.to_be_bytes())),
];

/// However many connections are torn off wherever, all that they held comes back.
#[test]
fn resets_in_the_middle_of_everything() {
    const ROUNDS_COUNT: usize = 3;
    alone_on_each_driver(|| async {
        let server = Server::start(Config::new().uncompressed()).await;
        let mut good = server.good_client().await;
        echoes(&mut good, Message::text("before")).await;
        let memory = Memory::start();
        for round in 1..=ROUNDS_COUNT {
            let attackers = RESETS.map(|(opened, sent)| {
                let script = move |mut stream: TcpStream| {
                    stream.write_all(&sent()).expect("write");
                    reset(stream);
                };
                match opened {
                    true => websocket(&server.url, script),
                    false => attacker(&server.url, script),
                }
            });
            for attacker in attackers {
                joined(attacker).await;
                echoes(&mut good, Message::text("in between")).await;
            }
            server.ended(round * RESETS.len()).await;
        }
        // Beside the payloads' memory that the thread keeps for the next ones, as documented.
        let kept_bytes = ws::limits::LARGE_BUFFERS_BYTES_KEPT_MAX as isize;
        memory.settles_at(kept_bytes + SLACK_BYTES).await;
        echoes(&mut good, Message::text("after")).await;
    });
}
