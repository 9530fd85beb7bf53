//! Messages that are received and sent piece by piece, over real sockets.

mod support;

use std::io::{Read, Write};

use futures_util::{SinkExt, StreamExt};
use support::tungstenite::{self, Message as Theirs};
use support::{accept, joined, listen, on_each_driver, pattern, poll_at_most, raw, turn};
use ws::{Config, Error, Message, MessageKind, Part, Piece, ProtocolError, WebSocket};

async fn pair(config: &Config) -> (WebSocket, WebSocket) {
    let (listener, url) = listen().await;
    let connect = ws::connect_with(&url, config);
    let (server, client) = futures_util::join!(accept(&listener, config), connect);
    (server, client.expect("connect"))
}

async fn piece(socket: &mut WebSocket) -> Piece {
    loop {
        if let Part::Piece(piece) = socket.recv_part().await.expect("a part") {
            return piece;
        }
    }
}

/// All of the next message, and in how many pieces it came.
async fn join(socket: &mut WebSocket) -> (MessageKind, Vec<u8>, usize) {
    let mut joined = Vec::new();
    for count in 1.. {
        let piece = piece(socket).await;
        joined.extend_from_slice(&piece.payload);
        if piece.last {
            return (piece.kind, joined, count);
        }
    }
    unreachable!()
}

/// Text whose characters are cut by frames and by receives, with a ping in between.
#[test]
fn fragments_become_pieces() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let text = "Grüße, 水 und 𝄞. ".repeat(3_000);
        let bytes = text.clone().into_bytes();
        let client = raw::websocket(&url, move |mut stream| {
            let (first, rest) = bytes.split_at(3);
            let (second, third) = rest.split_at(50_002);
            for frame in [
                raw::frame(0x01, first),
                raw::frame(0x89, b"ping"),
                raw::frame(0x00, b""),
                raw::frame(0x00, second),
                raw::frame(0x80, third),
                raw::frame(0x82, b"whole"),
                raw::frame(0x88, b""),
            ] {
                stream.write_all(&frame).expect("write");
            }
            raw::read_to_end(&mut stream)
        });
        let mut server = accept(&listener, &Config::new()).await;
        let first = server.recv_part().await.expect("the first fragment");
        let expected = Piece {
            kind: MessageKind::Text,
            payload: text.as_bytes()[..3].to_vec().into(),
            last: false,
        };
        assert_eq!(first, Part::Piece(expected));
        let ping = server.recv_part().await.expect("the ping");
        assert_eq!(ping, Part::Control(Message::Ping(b"ping".into())));
        let (kind, rest, count) = join(&mut server).await;
        assert!(rest == text.as_bytes()[3..] && kind == MessageKind::Text && count > 2);
        let whole = (MessageKind::Binary, b"whole".to_vec(), 1);
        assert_eq!(join(&mut server).await, whole);
        let close = server.recv_part().await.expect("the Close");
        assert_eq!(close, Part::Control(Message::Close(None)));
        assert!(matches!(server.recv_part().await, Err(Error::Closed(None))));
        assert_eq!(joined(client).await, b"\x8a\x04ping\x88\x00");
    });
}

#[test]
fn text_is_checked_across_pieces() {
    on_each_driver(|_| async {
        for (fragments, pieces_count) in [
            (vec![raw::frame(0x01, b"ok \xC3"), raw::frame(0x80, b"")], 1),
            (
                vec![raw::frame(0x01, b"\xE6\xB0"), raw::frame(0x80, b"x")],
                1,
            ),
            (vec![raw::frame(0x01, b"\xFF")], 0),
        ] {
            let (listener, url) = listen().await;
            let client = raw::websocket(&url, move |mut stream| {
                stream.write_all(&fragments.concat()).expect("write");
                raw::read_to_end(&mut stream)
            });
            let mut server = accept(&listener, &Config::new()).await;
            for _ in 0..pieces_count {
                assert!(!piece(&mut server).await.last);
            }
            assert!(matches!(
                server.recv_part().await,
                Err(Error::Protocol(ProtocolError::InvalidUtf8))
            ));
            assert_eq!(joined(client).await, raw::close_frame(1007));
        }
    });
}

/// Both directions at once on a queue that is mostly full, all futures dropped over and over.
#[test]
fn dropped_futures_lose_and_double_nothing() {
    const PIECES_COUNT: usize = 60;
    fn sizes(index: usize) -> usize {
        [1, 300, 9_000, 70_000, 20, 200_000][index % 6]
    }
    on_each_driver(|_| async {
        let config = Config::new().limits(|limits| limits.send_high_water_bytes = 10_000);
        let (mut server, mut client) = pair(&config).await;
        let expected: Vec<u8> = (0..PIECES_COUNT)
            .flat_map(|index| pattern(index, sizes(index)))
            .collect();
        let write = async {
            let mut writer = client
                .send_in_pieces(MessageKind::Binary)
                .await
                .expect("a writer");
            for index in 0..PIECES_COUNT {
                let piece = bytes::Bytes::from(pattern(index, sizes(index)));
                let mut polls = index;
                while poll_at_most(polls % 3, writer.write(piece.clone()))
                    .await
                    .is_none()
                {
                    polls += 1;
                    turn().await;
                }
            }
            while poll_at_most(1, writer.finish()).await.is_none() {
                turn().await;
            }
        };
        let read = async {
            let mut received = Vec::new();
            for polls in 0.. {
                match poll_at_most(polls % 4, server.recv_part()).await {
                    None => turn().await,
                    Some(Ok(Part::Piece(piece))) => {
                        received.extend_from_slice(&piece.payload);
                        if piece.last {
                            break;
                        }
                    }
                    Some(other) => panic!("{other:?}"),
                }
            }
            assert!(received == expected, "the message differs");
        };
        futures_util::join!(write, read);
        let closed = client.close(ws::CloseCode::NORMAL, "");
        let (closed, end) = futures_util::join!(closed, server.recv());
        closed.expect("a clean end");
        assert!(matches!(end, Ok(Message::Close(Some(_)))));
    });
}

/// Whoever calls decides for the messages that have not begun.
#[test]
fn whole_messages_and_pieces_mix() {
    on_each_driver(|_| async {
        let (mut server, client) = pair(&Config::new()).await;
        let large = pattern(0, 300_000);
        for _ in 0..3 {
            client.send(large.clone()).await.expect("send");
        }
        client.send("end").await.expect("send");
        // The first in pieces, of which only one is wanted.
        let first = piece(&mut server).await;
        assert!(!first.last && large.starts_with(&first.payload));
        let second = server.recv().await.expect("the second");
        assert!(second == Message::binary(large.clone()));
        let third = join(&mut server).await;
        assert!(third.0 == MessageKind::Binary && third.1 == large);
        assert_eq!(server.recv().await.expect("text"), Message::text("end"));
    });
}

/// A message goes to whoever is there when its first bytes come, and as one message.
#[test]
fn a_message_that_has_begun_goes_on_as_it_began() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = raw::websocket(&url, |mut stream| {
            // With how many bytes of its payload the header comes.
            for payload_bytes in [0, 0, 100] {
                let frame = raw::frame(0x82, &[7; 40_000]);
                let (begin, rest) = frame.split_at(8 + payload_bytes);
                let begin = [&raw::frame(0x89, b"")[..], begin].concat();
                stream.write_all(&begin).expect("write");
                let mut pong_and_sign = [0; 6];
                stream.read_exact(&mut pong_and_sign).expect("a sign");
                stream.write_all(rest).expect("write");
            }
            raw::read_to_end(&mut stream)
        });
        let mut server = accept(&listener, &Config::new()).await;
        let whole = Message::binary(vec![7; 40_000]);
        // Asked for a part, then taken whole.
        assert!(matches!(server.recv_part().await, Ok(Part::Control(_))));
        assert!(poll_at_most(1, server.recv_part()).await.is_none());
        server.send("go").await.expect("send");
        assert!(server.recv().await.expect("the message") == whole);
        // Asked for a whole message, then taken in pieces.
        assert!(matches!(server.recv().await, Ok(Message::Ping(_))));
        assert!(poll_at_most(1, server.recv()).await.is_none());
        server.send("go").await.expect("send");
        let (_, bytes, count) = join(&mut server).await;
        assert!(bytes == [7; 40_000] && count > 1, "{count} pieces");
        // Assembled already.
        assert!(matches!(server.recv().await, Ok(Message::Ping(_))));
        assert!(poll_at_most(1, server.recv()).await.is_none());
        server.send("go").await.expect("send");
        let (_, bytes, count) = join(&mut server).await;
        assert!(bytes == [7; 40_000] && count == 1, "{count} pieces");
        drop(server);
        joined(client).await;
    });
}

#[test]
fn other_messages_wait_for_the_end_and_pings_do_not() {
    on_each_driver(|_| async {
        let (listener, url) = listen().await;
        let client = tungstenite::client(url, |mut client| async move {
            let mut seen = Vec::new();
            while let Some(Ok(message)) = client.next().await {
                let is_last = message == Theirs::text("third");
                seen.push(message);
                if is_last {
                    client.close(None).await.expect("close");
                }
            }
            seen
        });
        let mut server = accept(&listener, &Config::new()).await;
        let sender = server.sender();
        let mut writer = sender
            .send_in_pieces(MessageKind::Text)
            .await
            .expect("a writer");
        writer.write(b"first \xF0\x9D").await.expect("write");
        let other = sender.send("second");
        let mut other = std::pin::pin!(other);
        let another = sender.send_in_pieces(MessageKind::Text);
        let mut another = std::pin::pin!(another);
        assert!(poll_at_most(1, &mut other).await.is_none());
        assert!(poll_at_most(1, &mut another).await.is_none());
        server
            .send(Message::Ping(b"between".into()))
            .await
            .expect("a ping");
        writer.write(b"\x84\x9E").await.expect("write");
        writer.finish().await.expect("finish");
        writer.finish().await.expect("again");
        other.await.expect("its turn");
        // A writer that wrote nothing leaves no trace.
        drop(another.await.expect("its turn"));
        server.send("third").await.expect("send");
        assert!(matches!(server.recv().await, Ok(Message::Pong(_))));
        assert!(matches!(server.recv().await, Ok(Message::Close(_))));
        let seen = joined(client).await;
        let expected = [
            Theirs::Ping(b"between"[..].into()),
            Theirs::text("first 𝄞"),
            Theirs::text("second"),
            Theirs::text("third"),
        ];
        assert_eq!(seen[..4], expected);
    });
}

#[test]
fn a_message_that_is_given_up_closes_the_connection() {
    on_each_driver(|_| async {
        let (mut server, client) = pair(&Config::new()).await;
        let mut writer = client
            .send_in_pieces(MessageKind::Binary)
            .await
            .expect("a writer");
        writer.write(vec![7; 100]).await.expect("write");
        let waiting = client.send("never");
        let mut waiting = std::pin::pin!(waiting);
        assert!(poll_at_most(1, &mut waiting).await.is_none());
        drop(writer);
        assert!(matches!(waiting.await, Err(Error::Closed(_))));
        let Ok(Message::Close(Some(frame))) = server.recv().await else {
            panic!("no Close, or half a message");
        };
        assert_eq!(frame.code, ws::CloseCode::INTERNAL_ERROR);
    });
}

#[test]
fn the_limit_of_streamed_messages() {
    on_each_driver(|_| async {
        for (bytes, fits) in [(100_000, true), (100_001, false)] {
            let config = Config::new().streamed_bytes_max(100_000);
            let (listener, url) = listen().await;
            let client = tungstenite::client(url, move |mut client| async move {
                let sent = client.send(Theirs::binary(vec![7; bytes])).await;
                assert!(sent.is_ok() || !fits);
                while let Some(Ok(message)) = client.next().await {
                    if let Theirs::Close(Some(frame)) = message {
                        return Some(u16::from(frame.code));
                    }
                }
                None
            });
            let mut server = accept(&listener, &config).await;
            if fits {
                assert_eq!(join(&mut server).await.1.len(), bytes);
                drop(server);
            } else {
                let Err(Error::Protocol(error)) = server.recv_part().await else {
                    panic!("it was let in");
                };
                assert_eq!(ws::CloseCode::from(error), ws::CloseCode::MESSAGE_TOO_BIG);
                assert_eq!(joined(client).await, Some(1009));
            }
        }
    });
}

/// A broadcast neither waits nor comes between pieces.
#[test]
fn a_broadcast_is_queued_at_once_or_not_at_all() {
    on_each_driver(|_| async {
        let config = Config::new().limits(|limits| limits.send_high_water_bytes = 1_000);
        let (server, mut client) = pair(&config).await;
        let sender = server.sender();
        let line = ws::PreparedMessage::new(MessageKind::Binary, vec![7; 1_000]);
        // A peer that does not read: what the socket does not take stays in the queue.
        let refused = (0..100_000).find_map(|_| sender.try_send_prepared(&line).err());
        assert!(matches!(
            refused,
            Some(Error::Unsendable(ws::SendError::QueueFull))
        ));
        compio_runtime::spawn(async move { while client.recv().await.is_ok() {} }).detach();
        server.flush().await.expect("flush");
        let mut writer = sender
            .send_in_pieces(MessageKind::Binary)
            .await
            .expect("a writer");
        writer.write(vec![7]).await.expect("write");
        assert!(matches!(
            sender.try_send_prepared(&line),
            Err(Error::Unsendable(ws::SendError::MessageOpen))
        ));
        writer.finish().await.expect("finish");
        sender.try_send_prepared(&line).expect("its turn");
    });
}

/// With memory at once up to the limit, and growing one byte past it: the same payloads come.
#[test]
fn payloads_come_whole_with_and_without_memory_at_once() {
    const RESERVED_BYTES_MAX: usize = 1 << 20;
    on_each_driver(|_| async {
        let (server, mut client) = pair(&Config::new().uncompressed()).await;
        client.reserve_announced(RESERVED_BYTES_MAX);
        for payload_bytes in [1, RESERVED_BYTES_MAX, RESERVED_BYTES_MAX + 1] {
            let payload = pattern(7, payload_bytes);
            let sending = server.send(Message::binary(payload.clone()));
            let (sent, received) = futures_util::join!(sending, client.recv());
            sent.expect("sent");
            let Ok(Message::Binary(received)) = received else {
                panic!("{payload_bytes}: {received:?}");
            };
            assert!(received.as_ref() == payload.as_slice(), "{payload_bytes}");
            // Memory at once is exactly as large as the payload; grown memory may be larger.
            let buffer = received.into_bytes_mut();
            if payload_bytes == RESERVED_BYTES_MAX {
                assert_eq!(buffer.capacity(), payload_bytes);
            }
        }
    });
}
