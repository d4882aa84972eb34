//! Random operations on a volume in memory and on the model.
#![allow(clippy::unwrap_used)] // tests

mod pair;

use fs::Volume;
use pair::{Pair, now};

fn run(seed: u64, steps: usize) {
    let (mut pair, tuning) = Pair::in_memory(seed);
    for step in 0..steps {
        pair.step();
        if step % 250 == 249 {
            pair.compare();
        }
        if step % 700 == 699 {
            pair.v = now(Volume::open_tuned(pair.index.clone(), (9, 9), tuning)).unwrap();
            pair.m.restart();
            while now(pair.v.tend()).unwrap() {}
        }
    }
    while now(pair.v.tend()).unwrap() {}
    pair.compare();
}

#[test]
fn random_operations_agree_with_the_model() {
    let seeds = std::env::var("ESKER_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(40);
    for seed in 0..seeds {
        println!("seed {seed}");
        run(seed, 2_000);
    }
}
