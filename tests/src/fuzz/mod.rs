//! Bytes thrown at every decoder that reads what came over a network or from a disk.
//!
//! ```text
//!   corpus (tests/fuzz/TARGET/, golden files) ─► mutate(seed, n) ─► target(&[u8]) ─► panic? too much memory?
//! ```
//!
//! A *target* is a plain function. It may refuse anything and must not panic, hang, or allocate by a
//! length that it was told; what it accepts it must encode back as the format demands. A failure is a
//! (target, seed, number) and the bytes.

mod corpus;
mod mutate;
mod targets;

use std::panic::{self, AssertUnwindSafe};

pub use corpus::corpus;
pub use mutate::{Dice, mutated};
pub use targets::{TARGETS, Target};

/// Longest input, bytes.
pub const INPUT_BYTES: usize = 64 << 10;

/// An input that a target did not bear.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its target.
    pub target: &'static str,
    /// Its number under the seed; `None`: it stands in the corpus.
    pub number: Option<u64>,
    /// The bytes.
    pub input: Vec<u8>,
    /// What the panic said.
    pub said: String,
}

/// Runs `target` on `input`; what its panic said, if it panicked.
///
/// # Errors
/// The words of the panic.
pub fn bear(target: &Target, input: &[u8]) -> Result<(), String> {
    let run = AssertUnwindSafe(|| (target.run)(input));
    panic::catch_unwind(run).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or("a panic".into())
    })
}

/// Input `number` of `target` under `seed`: the same in every run.
pub fn input(corpus: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    mutated(corpus, &mut Dice::new(seed, number))
}

/// Throws the corpus of `target` at it, then mutations until `enough` says so.
///
/// # Errors
/// The first input that was not borne.
pub fn throw(
    target: &Target,
    seed: u64,
    mut enough: impl FnMut(u64) -> bool,
) -> Result<u64, Box<Failure>> {
    let corpus = corpus(target.name);
    let failed = |number, input: Vec<u8>, said| {
        Box::new(Failure { target: target.name, number, input, said })
    };
    for input in &corpus {
        bear(target, input).map_err(|said| failed(None, input.clone(), said))?;
    }
    let mut number = 0;
    while !enough(number) {
        let input = input(&corpus, seed, number);
        if let Err(said) = bear(target, &input) {
            return Err(failed(Some(number), input, said));
        }
        number += 1;
    }
    Ok(number)
}
