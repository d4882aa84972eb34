//! Figures of the index alone, in memory: cost of a look-up and of a transaction like a create.
//!
//! `cargo run --release -p headhunter --example figures [KEYS]` (default 1,000,000). Medians of
//! five rounds, nanoseconds each; nothing here is a test.

use std::time::Duration;

use headhunter::{Abort, Index, RequestTag, Txn};
use swiftclient::seam::Env;

type Never = std::convert::Infallible;

const ROUNDS: usize = 5;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }
}

/// An attribute key: inode, kind.
fn attributes(inode: u64) -> Vec<u8> {
    [&inode.to_be_bytes()[..], &[1]].concat()
}

/// A directory entry: directory, kind, hash of the name.
fn entry(directory: u64, hash: u64) -> Vec<u8> {
    [&directory.to_be_bytes()[..], &[2], &hash.to_be_bytes()].concat()
}

fn commit(index: &Index, body: impl FnOnce(&mut Txn<'_>) -> Result<(), Abort<Never>>) {
    if let Err(error) = index.transact(body) {
        eprintln!("{error:?}");
        std::process::exit(1);
    }
}

/// Creates a file: directory's attributes, entry, the file's attributes, its parent.
fn create(txn: &mut Txn<'_>, directory: u64, inode: u64) -> Result<(), Abort<Never>> {
    let hash = inode.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let _ = txn.get(&attributes(directory))?;
    let _ = txn.get(&entry(directory, hash))?;
    txn.put(attributes(directory), vec![1; 120]);
    txn.put(entry(directory, hash), vec![2; 24]);
    txn.put(attributes(inode), vec![3; 120]);
    txn.put([&inode.to_be_bytes()[..], &[9]].concat(), vec![4; 8]);
    let tag = RequestTag { client: [1; 16], id: inode, digest: hash };
    txn.remember(tag, vec![5; 24]);
    Ok(())
}

fn measure(env: &Env, name: &str, n: u64, mut round: impl FnMut(u64)) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|r| {
            let from = env.clock.monotonic();
            for i in 0..n {
                round(r as u64 * n + i);
            }
            env.clock.monotonic() - from
        })
        .collect();
    times.sort();
    let each = times[ROUNDS / 2].as_nanos() / u128::from(n);
    println!("{name:44} {each:6} ns");
}

fn main() {
    let keys: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let env = Env::real();
    let index = Index::in_memory(env.clone());
    for i in 0..keys / 100 {
        commit(&index, |txn| {
            for j in 0..100 {
                txn.put(attributes(1000 + i * 100 + j), vec![7; 120]);
            }
            Ok(())
        });
    }
    let status = index.status();
    println!("{keys} keys, {} pages, {} MiB", status.resident_pages, status.resident_bytes >> 20);
    let mut dice = Dice(1);
    let view = index.view();
    let mut found = 0;
    measure(&env, "get, random, one view", 1_000_000, |_| {
        let key = attributes(1000 + dice.below(keys));
        found += u64::from(matches!(view.get(&key), Ok(Some(_))));
    });
    measure(&env, "get, one key, one view", 1_000_000, |_| {
        found += u64::from(matches!(view.get(&attributes(1000)), Ok(Some(_))));
    });
    drop(view);
    measure(&env, "get, random, a view each", 1_000_000, |_| {
        let key = attributes(1000 + dice.below(keys));
        found += u64::from(matches!(index.view().get(&key), Ok(Some(_))));
    });
    assert_eq!(found, 3 * ROUNDS as u64 * 1_000_000);
    measure(&env, "range of 50, random", 50_000, |_| {
        let from = attributes(1000 + dice.below(keys));
        found += index.view().range(&from, &[0xff; 9], 50).map_or(0, |items| items.len() as u64);
    });
    let mut inode = 10_000_000;
    measure(&env, "create: 2 gets, 4 puts, 1 reply", 100_000, |_| {
        inode += 1;
        commit(&index, |txn| create(txn, 1000 + inode % 64, inode));
    });
    measure(&env, "the same while a view is held for 10 each", 20_000, |_| {
        let _view = index.view();
        for _ in 0..10 {
            inode += 1;
            commit(&index, |txn| create(txn, 1000 + inode % 64, inode));
        }
    });
    measure(&env, "overwrite: 1 put, random", 200_000, |_| {
        let key = attributes(1000 + dice.below(keys));
        commit(&index, |txn| {
            txn.put(key, vec![8; 120]);
            Ok(())
        });
    });
    println!("({found} items seen)");
}
