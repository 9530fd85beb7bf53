//! The fuzz functions on seeded inputs: random bytes, and valid bytes with a few changes.

use ws_proto::testing::fuzz::{fuzz_connection, fuzz_frame, fuzz_handshake, fuzz_receive};
use ws_proto::testing::{Dice, client_frame, raw_frame};

fn dice_of(seed: u64) -> Dice {
    Dice::new(seed.wrapping_mul(0x5851_F42D_4C95_7F2D))
}

/// Changes, removes or inserts a few bytes.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..dice.below(4) {
        if bytes.is_empty() {
            return;
        }
        let position = dice.below(bytes.len());
        match dice.below(4) {
            0 => bytes[position] = dice.roll() as u8,
            1 => bytes[position] ^= 1 << dice.below(8),
            2 => drop(bytes.remove(position)),
            _ => bytes.insert(position, dice.roll() as u8),
        }
    }
}

/// Frames that are mostly legal, for either role.
fn random_frames(dice: &mut Dice) -> Vec<u8> {
    let masked = dice.below(2) == 0;
    let first_bytes = [
        0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x80, 0x89, 0x8A, 0x88, 0xC1, 0x83,
    ];
    let mut wire = Vec::new();
    for _ in 0..1 + dice.below(12) {
        let first = first_bytes[dice.below(first_bytes.len())];
        let lengths = [0, 1, 2, 7, 100, 125, 126, 300, 5_000];
        let length = lengths[dice.below(lengths.len())];
        let payload = match dice.below(3) {
            0 => dice.bytes(length),
            1 => "é𝄞".repeat(length / 6 + 1).into_bytes(),
            _ => vec![b'a'; length],
        };
        let frame = match masked {
            true => client_frame(first, &payload),
            false => raw_frame(first, None, &payload),
        };
        wire.extend(frame);
    }
    wire
}

#[test]
fn frames() {
    for seed in 0..20_000 {
        let mut dice = dice_of(seed);
        let length = dice.below(20);
        fuzz_frame(&dice.bytes(length));
    }
}

#[test]
fn received_bytes() {
    for seed in 0..200 {
        let mut dice = dice_of(seed);
        let mut wire = random_frames(&mut dice);
        mutate(&mut dice, &mut wire);
        fuzz_receive(&wire);
    }
}

#[test]
fn operations() {
    for seed in 0..3_000 {
        let mut dice = dice_of(seed);
        let length = dice.below(1_500);
        fuzz_connection(&dice.bytes(length));
    }
}

#[test]
fn handshakes() {
    let request = b"GET /chat?x=1 HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Version: 13\r\n\r\ntail";
    let response = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for seed in 0..4_000 {
        let mut dice = dice_of(seed);
        let mut head = match seed % 3 {
            0 => request.to_vec(),
            1 => response.to_vec(),
            _ => b"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc".to_vec(),
        };
        mutate(&mut dice, &mut head);
        fuzz_handshake(&head);
    }
}
