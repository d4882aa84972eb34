//! The same random operations on the real log and a disk that dies: what is found after each crash
//! is the model as it was after some operation, at or behind the last one that was synced
//! (invariants 2 and 3), and it goes on from there.
#![allow(clippy::unwrap_used)] // tests

mod pair;

use fs::{FsError, SyncMode, Tuning, Volume};
use pair::{
    Dice, Pair,
    lives::{End, History},
    machine::Machine,
    now,
};

fn live(pair: &mut Pair, history: &mut History, steps: usize) {
    for _ in 0..steps {
        pair.step();
        history.note(pair);
        match pair.dice.below(40) {
            0..=2 => history.sync(pair),
            3 => now(pair.index.checkpoint_now()).unwrap(),
            4 => drop(now(pair.v.tend()).unwrap()),
            _ => {}
        }
    }
}

fn run(seed: u64) {
    let runtime = pair::use_runtime();
    let mut dice = Dice::new(seed);
    let tuning = Tuning { numbers_block: 64, ..pair::tuning(&mut dice) };
    // Small segments and transactions, or the largest that the reserve lets be quick.
    let segment_bytes = *dice.pick(&[64 << 10, 1 << 20, 4 << 20]);
    let mut machine = Machine::new(seed, runtime, segment_bytes);
    let clock = machine.clock.clone();
    let mut pair = Pair::on(machine.open(), clock, dice, tuning);
    let mut history = History::begin(&pair);
    for _life in 0..8 {
        let steps = 20 + pair.dice.below(150);
        live(&mut pair, &mut history, steps);
        let end = match (pair.dice.one_in(4), pair.dice.one_in(3)) {
            (true, _) => End::Closed,
            (false, true) => End::Killed,
            _ => End::Crashed,
        };
        history.die(&mut machine, &mut pair, tuning, end);
    }
}

#[test]
fn every_crash_leaves_a_prefix() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let first = number("ESKER_SEED").unwrap_or(0);
    let seeds = number("ESKER_SEEDS").unwrap_or(4);
    for seed in first..first + seeds {
        println!("seed {seed}");
        run(seed);
    }
}

/// Segments of 64 KiB allow records of 16 KiB: large writes, long names of xattrs and the removal
/// of many extents go in pieces that fit.
#[test]
fn a_very_small_volume() {
    let machine = Machine::new(1, pair::use_runtime(), 64 << 10);
    let v = now(Volume::open(machine.open(), (0, 0))).unwrap();
    let caller = fs::Caller { uid: 0, gid: 0, groups: vec![], owner_override: true };
    let cx = fs::Context { caller, request: None };
    let how = fs::CreateHow::Guarded(fs::SetAttributes::default());
    let file = now(v.create(&cx, v.root(), b"f", how)).unwrap().object.id;
    let data: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    now(v.write(&cx, file, 77, data.clone().into())).unwrap();
    let read = now(v.read(&cx.caller, file, 77, 2 << 20)).unwrap();
    assert!(read.pieces.concat() == data);
    for n in 0..600 {
        now(v.write(&cx, file, (4 << 20) + n * 2, vec![1].into())).unwrap();
        let name = format!("user.{n:0250}");
        now(v.setxattr(&cx, file, name.as_bytes(), Some(b"value"), false, false)).unwrap();
    }
    let large = now(v.setxattr(&cx, file, b"user.large", Some(&[1; 60_000]), false, false));
    assert_eq!(large.unwrap_err().error, FsError::NoSpc);
    let cut = fs::SetAttributes { size: Some(100), ..Default::default() };
    now(v.setattr(&cx, file, cut, None)).unwrap();
    now(v.remove(&cx, v.root(), b"f")).unwrap();
    while now(v.tend()).unwrap() {}
    let report = now(v.check()).unwrap();
    assert_eq!((report.findings, report.inodes, report.extents), (vec![], 1, 0));
}

/// The disk fills up: the write concerned gets NOSPC and nothing else does; reading, cutting and
/// removing go on from the reserve, what they free can be written again, and all of it lives
/// through a crash (R18).
#[test]
fn a_full_disk() {
    let mut machine = Machine::new(2, pair::use_runtime(), 256 << 10);
    machine.disk.set_capacity(Some(32 << 20));
    let mut index = machine.open();
    let mut v = now(Volume::open(index.clone(), (0, 0))).unwrap();
    let caller = fs::Caller { uid: 0, gid: 0, groups: vec![], owner_override: true };
    let cx = fs::Context { caller, request: None };
    let name = |n: u32| format!("file-{n}").into_bytes();
    let create = |v: &Volume, n: u32| {
        let how = fs::CreateHow::Unchecked(fs::SetAttributes::default());
        now(v.create(&cx, v.root(), &name(n), how)).map(|made| made.object.id)
    };
    let fill = |v: &Volume, from: u32| -> (u32, FsError) {
        for n in from.. {
            let wrote = create(v, n).and_then(|id| {
                let data = vec![u8::try_from(n % 251).unwrap() + 1; 200_000];
                let seq = now(v.write(&cx, id, 0, data.into()))?.seq;
                now(v.sync(seq, SyncMode::Inline)).map_err(fs::Failure::from)
            });
            if let Err(failure) = wrote {
                return (n, failure.error);
            }
            assert!(n < 1_000, "the disk never fills");
        }
        unreachable!()
    };
    let whole = |v: &Volume, n: u32| {
        let (found, _) = now(v.lookup(&cx.caller, v.root(), &name(n))).unwrap();
        let read = now(v.read(&cx.caller, found.id, 0, 1 << 20)).unwrap();
        let byte = u8::try_from(n % 251).unwrap() + 1;
        assert!(read.pieces.concat() == vec![byte; 200_000], "file {n}");
        found.id
    };
    let (mut files, error) = fill(&v, 0);
    assert!(files > 50, "only {files} files fit");
    assert_eq!(error, FsError::NoSpc);
    for round in 0..3 {
        (0..files).step_by(7).for_each(|n| _ = whole(&v, n));
        // Half is cut, the other half removed.
        for n in 0..files {
            if n % 2 == 0 {
                let id = whole(&v, n);
                let none = fs::SetAttributes { size: Some(0), ..Default::default() };
                now(v.setattr(&cx, id, none, None)).unwrap();
            } else {
                now(v.remove(&cx, v.root(), &name(n))).unwrap();
            }
        }
        while now(v.tend()).unwrap() {}
        for _ in 0..3 {
            now(index.checkpoint_now()).unwrap();
        }
        let (again, error) = fill(&v, 0);
        assert_eq!(error, FsError::NoSpc, "round {round}");
        assert!(again + 10 > files, "round {round}: {again} of {files} fit again");
        now(v.remove(&cx, v.root(), &name(again))).ok();
        now(v.sync(index.last_seq(), SyncMode::Inline)).unwrap();
        machine.disk.crash(&*machine.dice);
        machine.disk = machine.disk.process();
        index = machine.open();
        v = now(Volume::open(index.clone(), (0, 0))).unwrap();
        assert_eq!(now(v.check()).unwrap().findings, Vec::<String>::new());
        (0..again).for_each(|n| _ = whole(&v, n));
        files = again;
    }
}
