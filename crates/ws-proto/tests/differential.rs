//! A second opinion: random frames, mostly legal, read by this crate and by tungstenite.

mod second_opinion;

use ws_proto::testing::{Dice, client_frame};

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

#[test]
fn random_frames_mean_the_same_to_both() {
    let mut failures = 0;
    for seed in 0..2_000_u64 {
        let wire = random_wire(&mut Dice::new(seed.wrapping_mul(0x9E6D_62D0_6F6A_9A9B)));
        println!("seed {seed}");
        failures += u32::from(second_opinion::fuzz_differential(&wire));
    }
    assert!(
        failures > 500 && failures < 1_900,
        "{failures} of 2,000 are faulty"
    );
}
