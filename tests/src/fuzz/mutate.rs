//! Random changes, the same for the same seed and number.

use super::INPUT_BYTES;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for dice, and nothing to depend on.
pub struct Dice(u64);

impl Dice {
    /// The dice of one input.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 where `n` is 0.
    #[allow(clippy::cast_possible_truncation)] // it is below `n`
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Lengths and counts at which decoders go wrong.
const HOSTILE: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX,
];

/// One of `corpus`, or a few random bytes, changed one to eight times.
pub fn mutated(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = if corpus.is_empty() || dice.below(50) == 0 {
        (0..dice.below(200)).map(|_| dice.byte()).collect()
    } else {
        corpus[dice.below(corpus.len())].clone()
    };
    for _ in 0..=dice.below(8) {
        change(&mut bytes, corpus, dice);
    }
    bytes.truncate(INPUT_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len());
    let len = 1 + dice.below(16.min(bytes.len().saturating_sub(at)).max(1));
    let end = (at + len).min(bytes.len());
    match dice.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
        1 if !bytes.is_empty() => bytes[at] = dice.byte(),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let piece: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
            bytes.splice(at..at, piece);
        }
        // A number, of any width, either way round.
        6 => {
            let value = HOSTILE[dice.below(HOSTILE.len())];
            let width = [1, 2, 4, 8][dice.below(4)];
            let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
            let number = if dice.below(2) == 0 { &little[..width] } else { &big[8 - width..] };
            let end = (at + width).min(bytes.len());
            bytes.splice(at..end, number.iter().copied());
        }
        // A little more or less.
        7 if !bytes.is_empty() => {
            bytes[at] = bytes[at].wrapping_add(if dice.below(2) == 0 { 1 } else { 255 });
        }
        // The rest of another.
        _ => {
            if let Some(other) = corpus.get(dice.below(corpus.len())) {
                let from = dice.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
