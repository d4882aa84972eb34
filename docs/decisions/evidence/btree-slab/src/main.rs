//! Compares btree-slab 0.6.1 with `std::collections::BTreeMap`: the same random insertions and
//! removals, then every `range` of a few hundred, forward and backward. Prints how many answers
//! were wrong and the smallest map that shows one. Deterministic: the seed is a constant.

use std::{
    collections::BTreeMap,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
};

use btree_slab::BTreeMap as Slab;

const HISTORIES: u64 = 500;
const KEYS: u64 = 200;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// What `range` gave: its keys, cut off where it goes on beyond what the map can hold.
#[derive(Debug, PartialEq)]
enum Answer {
    Keys(Vec<u64>),
    Endless(Vec<u64>),
    Panic,
}

type Bounds = (Bound<u64>, Bound<u64>);

fn answer(map: &Slab<u64, u64>, bounds: Bounds, backward: bool) -> Answer {
    let most = map.len() + 1;
    let walk = || -> Vec<u64> {
        let range = map.range(bounds);
        if backward {
            range.rev().map(|(k, _)| *k).take(most).collect()
        } else {
            range.map(|(k, _)| *k).take(most).collect()
        }
    };
    match catch_unwind(AssertUnwindSafe(walk)) {
        Err(_) => Answer::Panic,
        Ok(keys) if keys.len() == most => Answer::Endless(keys),
        Ok(keys) => Answer::Keys(keys),
    }
}

#[derive(Default)]
struct Tally {
    asked: u64,
    wrong: u64,
    silent: u64,
    panics: u64,
    endless: u64,
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut dice = Dice(1);
    let mut tallies = [Tally::default(), Tally::default()];
    // By whether the answer was wrong without a sign of it.
    let mut smallest: [Option<(usize, String)>; 2] = [None, None];
    let mut lookups_wrong = 0;
    for _ in 0..HISTORIES {
        let (mut slab, mut std) = (Slab::new(), BTreeMap::new());
        for _ in 0..dice.below(300) + 1 {
            let key = dice.below(KEYS);
            if dice.below(3) == 0 {
                slab.remove(&key);
                std.remove(&key);
            } else {
                slab.insert(key, key);
                std.insert(key, key);
            }
        }
        lookups_wrong += (0..KEYS).filter(|k| slab.get(k) != std.get(k)).count();
        for _ in 0..40 {
            let from = dice.below(KEYS);
            let to = from + dice.below(KEYS - from + 1);
            let bounds = match dice.below(4) {
                0 => (Bound::Included(from), Bound::Excluded(to)),
                1 => (Bound::Included(from), Bound::Included(to)),
                2 => (Bound::Included(from), Bound::Unbounded),
                _ => (Bound::Unbounded, Bound::Excluded(to)),
            };
            for (backward, tally) in [false, true].into_iter().zip(&mut tallies) {
                let mut want: Vec<u64> = std.range(bounds).map(|(k, _)| *k).collect();
                if backward {
                    want.reverse();
                }
                let got = answer(&slab, bounds, backward);
                tally.asked += 1;
                if got == Answer::Keys(want.clone()) {
                    continue;
                }
                tally.wrong += 1;
                tally.silent += u64::from(matches!(got, Answer::Keys(_)));
                tally.panics += u64::from(got == Answer::Panic);
                tally.endless += u64::from(matches!(got, Answer::Endless(_)));
                let smallest = &mut smallest[usize::from(matches!(got, Answer::Keys(_)))];
                if smallest.as_ref().is_none_or(|(len, _)| std.len() < *len) {
                    let keys: Vec<u64> = std.keys().copied().collect();
                    let way = if backward { ".rev()" } else { "" };
                    let text = format!(
                        "keys {keys:?}\n  range({bounds:?}){way}\n  want {want:?}\n  got  {got:?}"
                    );
                    *smallest = Some((std.len(), text));
                }
            }
        }
    }
    println!("{HISTORIES} random histories; wrong answers of get(): {lookups_wrong}");
    for (way, t) in ["forward", "backward"].into_iter().zip(&tallies) {
        let (asked, wrong) = (t.asked, t.wrong);
        let (silent, panics, endless) = (t.silent, t.panics, t.endless);
        println!(
            "range(), {way}: {wrong} of {asked} wrong: \
             {silent} wrong items, {panics} panics, {endless} without end"
        );
    }
    let [loud, silent] = smallest;
    for (what, found) in [("fails", &loud), ("gives wrong items", &silent)] {
        if let Some((_, text)) = found {
            println!("the smallest map that {what}:\n  {text}");
        }
    }
    if loud.is_none() && silent.is_none() {
        println!("no difference found: decision 0001 should be looked at again");
        std::process::exit(1);
    }
}
