//! Whole worlds: one seed is one run of files over index over log over a store, on machines that
//! die, under weather, with up to three servers that take the volume over from each other. Virtual
//! time, one thread, every choice from the seed.
//!
//! After each opening, and at the end, what is found must be a state at or after the last that
//! anybody acknowledged (I2, I3, I7: [`past`]); at the end usage adds up (I6), nothing is left that
//! nobody refers to (I5), and a server that was stopped meanwhile and goes on acknowledges nothing.
//!
//!     ESKER_SEEDS=20000 cargo test -p esker-tests --test world      more of them
//!     ESKER_SEED=17 ESKER_SEEDS=1 ...                               this one, with its story
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod past;
mod play;
mod server;
mod story;
mod weather;

use std::panic::{AssertUnwindSafe, catch_unwind};

use play::{Deeds, Kind, world};

/// Worlds of each kind in an ordinary run.
const SEEDS: u64 = 260;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Plays a world; if something is wrong, plays it again for its story.
fn judged(kind: Kind, seed: u64) -> Result<Deeds, String> {
    let once = |told| {
        catch_unwind(AssertUnwindSafe(|| world(kind, seed, told)))
            .unwrap_or_else(|_| (Err("a panic, shown above".into()), String::new()))
    };
    let (result, _) = once(false);
    result.map_err(|what| {
        let (again, story) = once(true);
        let same = again.err() == Some(what.clone());
        let note = if same { "" } else { "\n(and it was another one when played again)" };
        format!("{story}\n\nseed {seed} of kind {kind:?}: {what}{note}")
    })
}

fn worlds(kind: Kind) {
    let (first, seeds) =
        (number("ESKER_SEED").unwrap_or(0), number("ESKER_SEEDS").unwrap_or(SEEDS));
    let mut all = Deeds::default();
    let mut wrong = Vec::new();
    for seed in first..first + seeds {
        match judged(kind, seed) {
            Ok(deeds) => {
                all.openings += deeds.openings;
                all.refused += deeds.refused;
                all.acknowledged += deeds.acknowledged;
                all.lost += deeds.lost;
                all.taken_over += deeds.taken_over;
            }
            Err(what) => {
                if wrong.is_empty() {
                    println!("{what}");
                }
                let last = what.lines().last().unwrap_or("").to_owned();
                println!("{last}");
                wrong.push(last);
            }
        }
    }
    println!("{seeds} worlds of kind {kind:?}, {} wrong: {all:?}", wrong.len());
    assert!(wrong.is_empty(), "{} of {seeds} worlds: {wrong:#?}", wrong.len());
    let busy = all.openings >= 2 * seeds && all.acknowledged >= 5 * seeds;
    assert!(seeds < 50 || busy, "worlds in which little happens: {all:?}");
    assert!(seeds < 50 || all.lost > seeds / 10, "crashes that lose nothing show nothing: {all:?}");
}

#[test]
fn a_directory_with_its_journal() {
    worlds(Kind::Inside);
}

#[test]
fn a_directory_and_a_journal_beside() {
    worlds(Kind::Beside);
}

#[test]
fn a_directory_alone() {
    worlds(Kind::Bare);
}

#[test]
fn a_store_alone() {
    worlds(Kind::Far);
}

#[test]
fn a_store_that_fences_nobody() {
    worlds(Kind::Plain);
}

#[test]
fn a_store_and_a_journal() {
    worlds(Kind::Journal);
}

#[test]
fn a_store_that_fences_nobody_and_a_journal() {
    worlds(Kind::PlainJournal);
}

#[test]
fn a_journal_that_is_given_up() {
    worlds(Kind::Abandoned);
}

#[test]
fn a_seed_is_a_story() {
    for kind in Kind::ALL {
        for seed in 0..4 {
            let (first, second) = (world(kind, seed, true), world(kind, seed, true));
            assert!(first.1.lines().count() > 10, "{}", first.1);
            let differ = first.1.lines().zip(second.1.lines()).find(|(a, b)| a != b);
            assert!(differ.is_none() && first.1 == second.1, "{kind:?} {seed}: {differ:?}");
        }
    }
}
