//! How long inodes live: open without a name, restarts, grace, generations; requests that must
//! not be repeated.
#![allow(clippy::cast_possible_truncation, clippy::drop_non_drop)]
#![allow(clippy::type_complexity)]
#![allow(clippy::unwrap_used)] // tests

mod at;

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use at::{At, mode, now, root, size, tuned, volume};
use fs::*;

fn restart(at: &mut At, tuning: Tuning) {
    at.v = now(Volume::open_tuned(at.index.clone(), (0, 0), tuning)).unwrap();
}

/// Nobody has it open: it is gone with its last name, and so is every byte.
#[test]
fn gone_with_the_last_name() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    at.write(file, 0, &[1; 500_000]);
    now(at.v.setxattr(&root(), file, b"user.x", Some(&[7; 10_000]), false, false)).unwrap();
    now(at.v.link(&root(), file, at.v.root(), b"g")).unwrap();
    now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
    assert_eq!(at.read(file, 499_999, 10), [1]);
    now(at.v.remove(&root(), at.v.root(), b"g")).unwrap();
    assert_eq!(now(at.v.getattr(file)), Err(FsError::Stale));
    assert_eq!(now(at.v.last_seq_of(file)).unwrap_err().error, FsError::Stale);
    let report = at.sound();
    assert_eq!((report.inodes, report.extents), (1, 0));
    assert!(!now(at.v.tend()).unwrap(), "nothing was left behind");
}

/// Held open it lives on, can be read, written and cut, and goes with the last release.
#[test]
fn open_without_a_name() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    at.write(file, 0, b"before");
    now(at.v.hold(file)).unwrap();
    now(at.v.hold(file)).unwrap();
    now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
    assert_eq!(at.attr(file).nlink, 0);
    at.write(file, 6, b", after");
    at.set(&root(), file, size(8)).unwrap();
    assert_eq!(at.read(file, 0, 100), b"before, ");
    let link = now(at.v.link(&root(), file, at.v.root(), b"again")).unwrap_err();
    assert_eq!(link.error, FsError::NoEnt);
    at.sound();
    assert!(!now(at.v.tend()).unwrap(), "an open file is not tidied away");
    now(at.v.release(file)).unwrap();
    assert_eq!(at.read(file, 0, 3), b"bef");
    now(at.v.release(file)).unwrap();
    assert_eq!(now(at.v.getattr(file)), Err(FsError::Stale));
    assert_eq!(at.sound().inodes, 1);
    now(at.v.release(file)).unwrap();
    assert_eq!(now(at.v.hold(file)), Err(FsError::Stale));
}

/// A removed directory that is held takes no new names.
#[test]
fn a_removed_directory_takes_no_names() {
    let at = volume();
    let top = at.v.root();
    let dir = at.mkdir(&root(), top, "d", 0o755);
    let file = at.create(&root(), top, "f", 0o644);
    now(at.v.hold(dir)).unwrap();
    now(at.v.rmdir(&root(), top, b"d")).unwrap();
    let codes = [
        now(at.v.mkdir(&root(), dir, b"x", mode(0))).map(drop).unwrap_err().error,
        now(at.v.link(&root(), file, dir, b"x")).map(drop).unwrap_err().error,
        now(at.v.rename(&root(), top, b"f", dir, b"x")).map(drop).unwrap_err().error,
    ];
    assert_eq!(codes, [FsError::NoEnt; 3]);
    assert_eq!(at.names(dir), Vec::<String>::new());
    now(at.v.release(dir)).unwrap();
    at.sound();
}

/// The server dies while a file without a name is open: it waits for its owner for the grace time.
#[test]
fn orphans_have_a_grace() {
    let tuning = Tuning { orphan_grace: Duration::from_secs(90), ..Tuning::default() };
    for comes_back in [true, false] {
        let mut at = tuned(tuning);
        let file = at.create(&root(), at.v.root(), "f", 0o644);
        at.write(file, 0, b"kept");
        now(at.v.hold(file)).unwrap();
        now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
        restart(&mut at, tuning);
        assert_eq!(now(at.v.getattr(file)), Err(FsError::Stale), "not open to everybody");
        assert!(!now(at.v.tend()).unwrap(), "not yet");
        at.clock.nanos.fetch_add(60_000_000_000, Ordering::Relaxed);
        if comes_back {
            now(at.v.hold(file)).unwrap();
        }
        at.clock.nanos.fetch_add(60_000_000_000, Ordering::Relaxed);
        while now(at.v.tend()).unwrap() {}
        at.sound();
        if comes_back {
            assert_eq!(at.read(file, 0, 9), b"kept");
            now(at.v.release(file)).unwrap();
        }
        assert_eq!(now(at.v.hold(file)), Err(FsError::Stale));
        assert_eq!(at.sound().inodes, 1);
    }
}

/// Work that a dead server left is found and done by the next.
#[test]
fn pending_work_survives_a_restart() {
    let tuning = Tuning { slice_keys: 4, ..Tuning::default() };
    let mut at = tuned(tuning);
    let (a, b) =
        (at.create(&root(), at.v.root(), "a", 0o644), at.create(&root(), at.v.root(), "b", 0o644));
    for n in 0..20 {
        at.write(a, n * 10, b"x");
        at.write(b, n * 10, b"x");
    }
    now(at.v.remove(&root(), at.v.root(), b"a")).unwrap();
    restart(&mut at, tuning);
    at.set(&root(), b, size(5)).unwrap();
    at.set(&root(), b, size(200)).unwrap();
    restart(&mut at, tuning);
    assert!(at.sound().extents > 1, "work is pending");
    assert_eq!(at.read(b, 0, 200), [&b"x"[..], &[0; 199]].concat());
    while now(at.v.tend()).unwrap() {}
    assert_eq!(at.sound().extents, 1);
    assert_eq!(at.attr(b).used, 1);
}

/// Numbers are never used twice: not after removal, not over restarts, not over a block's end.
#[test]
fn numbers_are_never_reused() {
    let tuning = Tuning { numbers_block: 256, ..Tuning::default() };
    let mut at = tuned(tuning);
    let mut seen = BTreeSet::new();
    for round in 0..4 {
        for n in 0..100 {
            let file = at.create(&root(), at.v.root(), "f", 0o644);
            assert!(seen.insert(file.ino), "round {round}, file {n}");
            // Refused makes give their number back; that must not hand it out twice either.
            now(at.v.mkdir(&root(), at.v.root(), b"f", mode(0))).unwrap_err();
            now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
        }
        restart(&mut at, tuning);
    }
    let first = *seen.iter().max().unwrap();
    for n in 0..2_000u64 {
        let file = at.create(&root(), at.v.root(), "f", 0o644);
        assert!(file.ino > first && seen.insert(file.ino), "file {n}");
        now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
    }
    at.sound();
}

fn tag(id: u64) -> RequestTag {
    RequestTag { client: [9; 16], id, digest: 77 }
}

fn tagged(id: u64, procedure: u8) -> Context {
    Context { request: Some((tag(id), procedure)), ..root() }
}

/// Each operation with a tag can be answered again from what is remembered (R23).
#[test]
fn requests_are_remembered() {
    let at = volume();
    let top = at.v.root();
    let made = now(at.v.mkdir(&tagged(1, 9), top, b"d", mode(0o755))).unwrap();
    let dir = made.object.id;
    let done = at.v.remembered(&tag(1)).unwrap();
    let expected = Done {
        procedure: 9,
        object: Some(dir),
        dir: Some(top),
        other: None,
        amount: None,
        seq: made.seq,
    };
    assert_eq!(done, expected);
    let how = CreateHow::Guarded(mode(0o644));
    let file = now(at.v.create(&tagged(2, 8), top, b"f", how)).unwrap().object.id;
    let moved = now(at.v.rename(&tagged(3, 14), top, b"f", dir, b"g")).unwrap();
    let done = at.v.remembered(&tag(3)).unwrap();
    assert_eq!((done.object, done.dir, done.other), (Some(file), Some(top), Some(dir)));
    assert_eq!((done.procedure, done.seq), (14, moved.seq));
    now(at.v.link(&tagged(4, 15), file, top, b"l")).unwrap();
    assert_eq!(at.v.remembered(&tag(4)).unwrap().object, Some(file));
    now(at.v.setattr(&tagged(5, 2), file, mode(0o600), None)).unwrap();
    assert_eq!(at.v.remembered(&tag(5)).unwrap().object, Some(file));
    now(at.v.remove(&tagged(6, 12), top, b"l")).unwrap();
    assert_eq!(at.v.remembered(&tag(6)).unwrap().dir, Some(top));
    // What was refused is not remembered: it may be asked again.
    now(at.v.remove(&tagged(7, 12), top, b"l")).unwrap_err();
    assert_eq!(at.v.remembered(&tag(7)), None);
    assert_eq!(at.v.remembered(&RequestTag { digest: 78, ..tag(1) }), None);
}

/// EXCLUSIVE create: the same verifier finds the same file, also after SETATTR and a restart.
#[test]
fn exclusive_create() {
    let mut at = volume();
    let top = at.v.root();
    let cx = at::who(5, 6, &[]);
    at.set(&root(), top, mode(0o777)).unwrap();
    let create = |at: &At, v| now(at.v.create(&cx, top, b"f", CreateHow::Exclusive([v; 8])));
    let made = create(&at, 1).unwrap();
    let file = made.object.id;
    assert_eq!((made.object.uid, made.object.gid, made.object.mode), (5, 6, 0));
    at.set(&cx, file, mode(0o600)).unwrap();
    let again = create(&at, 1).unwrap();
    assert_eq!((again.object.id, again.object.mode), (file, 0o600));
    assert_eq!(again.dir.before.unwrap().ctime, again.dir.after.as_ref().unwrap().ctime);
    assert!(again.seq >= made.seq);
    assert_eq!(create(&at, 2).unwrap_err().error, FsError::Exist);
    restart(&mut at, Tuning::default());
    assert_eq!(create(&at, 1).unwrap().object.id, file);
    now(at.v.remove(&root(), top, b"f")).unwrap();
    let new = create(&at, 1).unwrap().object.id;
    assert_ne!(new, file);
    // A file made otherwise has no verifier, not even one of zeros.
    at.create(&root(), top, "g", 0o644);
    let zeros = now(at.v.create(&cx, top, b"g", CreateHow::Exclusive([0; 8])));
    assert_eq!(zeros.unwrap_err().error, FsError::Exist);
}

/// UNCHECKED create of what exists: only the size is applied, by who may write.
#[test]
fn unchecked_create() {
    let at = volume();
    let top = at.v.root();
    let file = at.create(&root(), top, "f", 0o640);
    at.write(file, 0, b"content");
    let cx = at::who(5, 6, &[]);
    let open = |set| now(at.v.create(&cx, top, b"f", CreateHow::Unchecked(set)));
    assert_eq!(open(mode(0o777)).unwrap().object.mode, 0o640);
    assert_eq!(open(size(0)).unwrap_err().error, FsError::Access);
    at.set(&root(), file, mode(0o646)).unwrap();
    let opened = open(SetAttributes { mode: Some(0o777), ..size(3) }).unwrap();
    assert_eq!((opened.object.size, opened.object.mode), (3, 0o646));
    assert_eq!(at.read(file, 0, 9), b"con");
    at.mkdir(&root(), top, "d", 0o755);
    let dir = now(at.v.create(&root(), top, b"d", CreateHow::Unchecked(mode(0))));
    assert_eq!(dir.unwrap_err().error, FsError::IsDir);
    at.sound();
}

/// An open file without a name is cut again and again, beyond all marks: its work goes on, the
/// list keeps it as open, and after a restart it still has its grace.
#[test]
fn cutting_an_open_file_without_a_name() {
    let tuning = Tuning { slice_keys: 3, ..Tuning::default() };
    let mut at = tuned(tuning);
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    now(at.v.hold(file)).unwrap();
    now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
    let mut plain = vec![0u8; 600];
    for round in 1..=7u8 {
        for n in 0..60 {
            at.write(file, n * 10, &[round]);
            plain[usize::try_from(n).unwrap() * 10] = round;
        }
        let keep = u64::from(round) * 80;
        at.set(&root(), file, size(keep)).unwrap();
        at.set(&root(), file, size(600)).unwrap();
        plain[usize::try_from(keep).unwrap()..].fill(0);
        assert!(at.read(file, 0, 600) == plain, "round {round}");
        assert!(!now(at.v.tend()).unwrap(), "an open file is not work for the background");
        at.sound();
    }
    restart(&mut at, tuning);
    assert!(!now(at.v.tend()).unwrap(), "it still has its grace");
    now(at.v.hold(file)).unwrap();
    assert!(at.read(file, 0, 600) == plain);
    now(at.v.release(file)).unwrap();
    while now(at.v.tend()).unwrap() {}
    let report = at.sound();
    assert_eq!((report.inodes, report.extents), (1, 0));
}

/// Once the grace is over and its first slice is gone, an orphan cannot be opened again.
#[test]
fn half_an_orphan_is_none() {
    let tuning = Tuning { slice_keys: 3, ..Tuning::default() };
    let mut at = tuned(tuning);
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    for n in 0..20 {
        at.write(file, n * 10, b"x");
    }
    now(at.v.hold(file)).unwrap();
    now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
    restart(&mut at, tuning);
    at.clock.nanos.fetch_add(100_000_000_000, Ordering::Relaxed);
    assert!(now(at.v.tend()).unwrap());
    assert_eq!(now(at.v.hold(file)), Err(FsError::Stale));
    at.sound();
    while now(at.v.tend()).unwrap() {}
    assert_eq!(at.sound().inodes, 1);
}
