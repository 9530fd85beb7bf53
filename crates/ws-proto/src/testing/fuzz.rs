//! Functions that take any bytes and panic if a promise is broken. Fuzz targets and ordinary
//! tests call the same ones.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Seen, drain, feed, test_masking_key};
use crate::frame::{self, Expectation};
use crate::handshake::{
    ClientHandshake, ClientOptions, ClientVerdict, HandshakeLimits, ServerHandshake, ServerOptions,
    ServerVerdict,
};
use crate::{
    CloseCode, CloseFrame, Config, Connection, Limits, MessageKind, PreparedMessage, Role,
};

/// A header means the same however it is cut, and encodes to the bytes that it came from.
pub fn fuzz_frame(data: &[u8]) {
    for number in 0..8_u8 {
        let expect = Expectation {
            receiver: if number & 1 == 0 {
                Role::Client
            } else {
                Role::Server
            },
            rsv1_negotiated: number & 2 != 0,
            message_open: number & 4 != 0,
            frame_bytes_max: 1 << 40,
        };
        let whole = frame::parse(data, &expect);
        if let Ok(Some((header, header_bytes))) = whole {
            assert_eq!(header.encode().as_slice(), &data[..header_bytes]);
        }
        for cut in 0..data.len().min(frame::HEADER_BYTES_MAX) {
            match frame::parse(&data[..cut], &expect) {
                Ok(None) => {}
                judged => assert_eq!(judged, whole, "cut at {cut}"),
            }
        }
    }
}

/// A head is judged the same in one piece and byte by byte, and never upgraded by half.
pub fn fuzz_handshake(data: &[u8]) {
    let limits = HandshakeLimits::DEFAULT;
    let whole = server_verdict(ServerHandshake::new(limits).handle_bytes(data));
    let mut stepwise = ServerHandshake::new(limits);
    let judged = (0..=data.len())
        .map(|cut| server_verdict(stepwise.handle_bytes(&data[..cut])))
        .find(|verdict| verdict != "incomplete");
    assert_eq!(judged.as_deref().unwrap_or("incomplete"), whole);

    let client = || ClientHandshake::new(ClientOptions::new("a", "/"), [7; 16]).unwrap();
    let whole = client_verdict(&mut client(), data);
    let mut stepwise = client();
    let judged = (0..=data.len())
        .map(|cut| client_verdict(&mut stepwise, &data[..cut]))
        .find(|verdict| verdict != "incomplete");
    assert_eq!(judged.as_deref().unwrap_or("incomplete"), whole);
}

fn server_verdict(verdict: ServerVerdict) -> String {
    match verdict {
        ServerVerdict::Incomplete => "incomplete".into(),
        ServerVerdict::Upgrade(upgrade) => {
            assert_eq!(upgrade.request().method(), "GET");
            assert!(upgrade.request().headers().first("host").is_some());
            let accepted = upgrade.accept(&ServerOptions::default()).unwrap();
            assert!(accepted.response.ends_with(b"\r\n\r\n"));
            alloc::format!("{:?}", upgrade.request())
        }
        ServerVerdict::NotUpgrade(request) => alloc::format!("{request:?}"),
        ServerVerdict::Refuse(refusal) => {
            assert!(refusal.encode().starts_with(b"HTTP/1.1 4"));
            alloc::format!("{refusal:?}")
        }
    }
}

fn client_verdict(handshake: &mut ClientHandshake, received: &[u8]) -> String {
    match handshake.handle_bytes(received) {
        Ok(ClientVerdict::Incomplete) => "incomplete".into(),
        other => alloc::format!("{other:?}"),
    }
}

/// Small limits, so that short inputs reach them.
fn small_limits() -> Limits {
    Limits {
        frame_bytes_max: 60_000,
        message_bytes_max: 100_000,
        fragments_max: 8,
        pongs_pending_max: 4,
        send_queue_bytes_max: 4096,
        send_frame_bytes_max: 100,
        coalesce_bytes_max: 16,
        ..Limits::DEFAULT
    }
}

/// Received bytes lead to the same events and the same answer however they are cut, and
/// memory stays within the limits.
pub fn fuzz_receive(data: &[u8]) {
    for role in [Role::Client, Role::Server] {
        let whole = receive_in_pieces(role, data, data.len().max(1));
        for piece_bytes in [1, 2, 3, 7, 64] {
            let pieces = receive_in_pieces(role, data, piece_bytes);
            assert_eq!(pieces.0, whole.0, "{role:?}, pieces of {piece_bytes}");
            assert_eq!(pieces.1, whole.1, "{role:?}, pieces of {piece_bytes}");
        }
    }
}

/// Events and, with the pongs that may coalesce left out, what is answered.
fn receive_in_pieces(role: Role, data: &[u8], piece_bytes: usize) -> (Vec<Seen>, Vec<u8>) {
    let mut config = Config::new(small_limits());
    config.automatic_pong = false;
    let mut connection = match role {
        Role::Server => Connection::server(config),
        Role::Client => Connection::client(config, test_masking_key),
    };
    let mut seen = Vec::new();
    for piece in data.chunks(piece_bytes) {
        seen.extend(feed(&mut connection, piece));
    }
    seen.extend(connection.handle_eof().map(|event| Seen::copy(&event, &[])));
    (seen, drain(&mut connection))
}

/// Compressed bytes lead to the same events however they are cut, stay within the message
/// limit, and what this crate compresses inflates to what it was. The first byte chooses the
/// parameters.
#[cfg(feature = "deflate")]
pub fn fuzz_deflate(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let parameters = crate::deflate::Parameters {
        server_no_context_takeover: first & 1 == 0,
        client_no_context_takeover: first & 2 == 0,
        server_max_window_bits: 8 + (first >> 2 & 7),
        client_max_window_bits: 8 + (first >> 5),
    };
    let mut options = crate::deflate::Options::DEFAULT;
    options.compress_bytes_min = 1;
    let mut config = Config::new(small_limits());
    config.deflate = Some(crate::deflate::Session::new(parameters, &options));
    let inflate = |frames: &[Vec<u8>], piece_bytes: usize| {
        let mut server = Connection::server(config.clone());
        let wire = frames.concat();
        let mut seen = Vec::new();
        for piece in wire.chunks(piece_bytes) {
            seen.extend(feed(&mut server, piece));
        }
        seen
    };
    let hostile = [
        super::client_frame(0xC1, data),
        super::client_frame(0xC2, data),
    ];
    let whole = inflate(&hostile, usize::MAX);
    for piece_bytes in [1, 3, 50] {
        assert_eq!(
            inflate(&hostile, piece_bytes),
            whole,
            "pieces of {piece_bytes}"
        );
    }
    config.limits = Limits::DEFAULT;
    let mut sender = Connection::server(config.clone());
    let mut receiver = Connection::client(config, test_masking_key);
    for part in [data, &data[data.len() / 3..], data] {
        sender.send_copied(MessageKind::Binary, part).unwrap();
        let seen = feed(&mut receiver, &drain(&mut sender));
        assert_eq!(seen, [Seen::Binary(part.to_vec())]);
    }
}

/// Any sequence of calls keeps the promises: no panic, nothing sent behind a Close frame, the
/// queue within its limit, and what one end sends the other end understands.
pub fn fuzz_connection(data: &[u8]) {
    let Some((&first, mut data)) = data.split_first() else {
        return;
    };
    let mut config = Config::new(small_limits());
    config.automatic_pong = first & 2 == 0;
    let mut sender = if first & 1 == 0 {
        Connection::server(config.clone())
    } else {
        Connection::client(config.clone(), test_masking_key)
    };
    config.limits = Limits::DEFAULT;
    let mut peer = match sender.role() {
        Role::Client => Connection::server(config),
        Role::Server => Connection::client(config, test_masking_key),
    };
    let mut now_ms = 0;
    let mut peer_seen = Vec::new();
    while let Some((&operation, rest)) = data.split_first() {
        let length = usize::from(operation >> 4) * 21;
        let (argument, rest) = rest.split_at(length.min(rest.len()));
        data = rest;
        operate(&mut sender, operation & 15, argument, &mut now_ms);
        if operation & 1 == 0 {
            let written = drain(&mut sender);
            peer_seen.extend(feed(&mut peer, &written));
        }
        let queued_max = small_limits().send_queue_bytes_max;
        assert!(
            sender.queued_bytes() <= queued_max + 8192,
            "the queue outgrew its limit"
        );
    }
    peer_seen.extend(feed(&mut peer, &drain(&mut sender)));
    let failed = peer_seen
        .iter()
        .find(|seen| matches!(seen, Seen::Failed(_)));
    assert_eq!(failed, None, "the peer did not understand");
    let close = peer_seen
        .iter()
        .position(|seen| matches!(seen, Seen::Close(_)));
    assert!(close.is_none_or(|index| index + 1 == peer_seen.len()));
}

fn operate(sender: &mut Connection, operation: u8, argument: &[u8], now_ms: &mut u64) {
    let text = String::from_utf8_lossy(argument).into_owned();
    // A refused operation is as good as an accepted one: the result shows at the peer.
    let _ = match operation {
        0 => sender.send(MessageKind::Binary, Bytes::copy_from_slice(argument)),
        1 => sender.send(MessageKind::Text, Bytes::from(text)),
        2 => sender.send_copied(MessageKind::Binary, argument),
        3 => {
            let parts = argument.chunks(33).map(Bytes::copy_from_slice).collect();
            sender.send_parts(MessageKind::Binary, parts)
        }
        4 => sender.send_ping(argument),
        5 => sender.send_pong(argument),
        6 => sender.close(None),
        7 => sender.close(Some(&CloseFrame {
            code: CloseCode::from_u16(1000 + argument.len() as u16),
            reason: text,
        })),
        8 => {
            *now_ms += argument.len() as u64 * 1000;
            sender.handle_timeout(*now_ms);
            sender.poll_timeout(*now_ms);
            Ok(())
        }
        9 => {
            sender.handle_eof();
            Ok(())
        }
        10 => sender.send_piece(
            MessageKind::Text,
            Bytes::from(text),
            argument.len().is_multiple_of(2),
        ),
        11 => sender.send_prepared(&PreparedMessage::new(MessageKind::Text, text)),
        _ => {
            feed(sender, argument);
            Ok(())
        }
    };
}
