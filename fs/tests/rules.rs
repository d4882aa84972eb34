//! Rights, modes, owners and times, case by case as Linux decides them.
#![allow(clippy::cast_possible_truncation, clippy::drop_non_drop)]
#![allow(clippy::type_complexity)]
#![allow(clippy::unwrap_used)] // tests

mod at;

use std::sync::atomic::Ordering;

use at::{At, mode, now, root, size, volume, who};
use bytes::Bytes;
use fs::{FsError::*, *};

fn owner(uid: u32) -> SetAttributes {
    SetAttributes { uid: Some(uid), ..SetAttributes::default() }
}

fn group(gid: u32) -> SetAttributes {
    SetAttributes { gid: Some(gid), ..SetAttributes::default() }
}

fn times(atime: SetTime, mtime: SetTime) -> SetAttributes {
    SetAttributes { atime, mtime, ..SetAttributes::default() }
}

const THEN: SetTime = SetTime::To(Timestamp { sec: 1_900_000_000, nsec: 5 });

/// A file of uid 1, gid 10.
fn file(at: &At, m: u32) -> FileId {
    let id = at.create(&root(), at.v.root(), "file", 0o644);
    at.set(&root(), id, SetAttributes { uid: Some(1), gid: Some(10), ..mode(0) }).unwrap();
    at.set(&root(), id, mode(m)).unwrap();
    id
}

/// Read, write and execute of every mode triplet by every kind of caller, with and without the
/// owner override; what is expected is computed from the words of POSIX and RFC 1813 §4.4.
#[test]
fn the_matrix_of_modes() {
    let callers = [
        (who(0, 0, &[]), None),
        (who(1, 99, &[]), Some(6)),
        (who(1, 10, &[10]), Some(6)),
        (who(2, 10, &[]), Some(3)),
        (who(2, 20, &[5, 10]), Some(3)),
        (who(2, 20, &[5]), Some(0)),
    ];
    let at = volume();
    let id = file(&at, 0);
    for bits in 0..0o1000u32 {
        at.set(&root(), id, mode(bits)).unwrap();
        for (cx, class) in &callers {
            let triplet = class.map(|shift: u32| (bits >> shift) & 7);
            let plain = |bit| triplet.is_none_or(|t| t & bit != 0);
            let x = if triplet.is_none() { bits & 0o111 != 0 } else { plain(1) };
            let is_owner = *class == Some(6);
            let mut cx = cx.clone();
            for over in [false, true] {
                cx.caller.owner_override = over;
                let may_read = plain(4) || over && (is_owner || x);
                let may_write = plain(2) || over && is_owner;
                let read = now(at.v.read(&cx.caller, id, 0, 1)).map(drop).map_err(|f| f.error);
                assert_eq!(read, if may_read { Ok(()) } else { Err(Access) }, "{bits:o} {cx:?}");
                let write = now(at.v.write(&cx, id, 0, Bytes::new()));
                let write = write.map(drop).map_err(|f| f.error);
                assert_eq!(write, if may_write { Ok(()) } else { Err(Access) }, "{bits:o} {cx:?}");
                let cut = at.set(&cx, id, size(0));
                assert_eq!(cut, if may_write { Ok(()) } else { Err(Access) }, "{bits:o} {cx:?}");
                // What ACCESS says knows no override: the client decides at its open.
                let want = fs::Access { bits: 63 };
                let (granted, _) = now(at.v.access(&cx.caller, id, want)).unwrap();
                let expected =
                    u32::from(plain(4)) | if plain(2) { 12 } else { 0 } | u32::from(x) << 5;
                assert_eq!(granted.bits, expected, "{bits:o} {cx:?}");
            }
        }
    }
}

#[test]
fn chmod() {
    let at = volume();
    let id = file(&at, 0o644);
    assert_eq!(at.set(&who(2, 10, &[]), id, mode(0o777)), Err(Perm), "not the owner");
    at.set(&who(1, 10, &[]), id, mode(0o7755)).unwrap();
    assert_eq!(at.attr(id).mode, 0o7755);
    // Outside the group the set-group-id bit does not stick.
    at.set(&who(1, 11, &[12]), id, mode(0o6755)).unwrap();
    assert_eq!(at.attr(id).mode, 0o4755);
    at.set(&who(1, 11, &[10]), id, mode(0o6755)).unwrap();
    assert_eq!(at.attr(id).mode, 0o6755);
    // Type bits are masked off.
    at.set(&root(), id, mode(0o100_640)).unwrap();
    assert_eq!(at.attr(id).mode, 0o640);
}

#[test]
fn chown() {
    let at = volume();
    let id = file(&at, 0o6755);
    let me = who(1, 10, &[30]);
    assert_eq!(at.set(&me, id, owner(2)), Err(Perm), "nobody gives files away");
    assert_eq!(at.set(&me, id, group(20)), Err(Perm), "not a group of his");
    assert_eq!(at.set(&who(2, 10, &[]), id, group(10)), Err(Perm), "not the owner");
    assert_eq!(at.set(&who(2, 2, &[]), id, owner(1)), Err(Perm), "not the owner, no change");
    assert_eq!(at.attr(id).mode, 0o6755);
    at.set(&me, id, group(30)).unwrap();
    let a = at.attr(id);
    assert_eq!((a.gid, a.mode), (30, 0o755), "setuid and setgid go");
    // By root too; set-group-id without group execution means locking and stays.
    at.set(&root(), id, mode(0o6705)).unwrap();
    at.set(&root(), id, SetAttributes { uid: Some(5), ..group(6) }).unwrap();
    let a = at.attr(id);
    assert_eq!((a.uid, a.gid, a.mode), (5, 6, 0o2705));
    // Directories keep theirs.
    let dir = at.mkdir(&root(), at.v.root(), "d", 0o2755);
    at.set(&root(), dir, owner(7)).unwrap();
    assert_eq!(at.attr(dir).mode, 0o2755);
    // -1 leaves.
    at.set(&root(), dir, SetAttributes { uid: Some(u32::MAX), ..group(u32::MAX) }).unwrap();
    assert_eq!((at.attr(dir).uid, at.attr(dir).gid), (7, 0));
}

#[test]
fn writing_clears_privilege() {
    for (cx, before, after) in [
        (root(), 0o6777, 0o6777),
        (who(1, 10, &[]), 0o6777, 0o0777),
        (who(2, 10, &[]), 0o6767, 0o2767),
        (who(2, 20, &[]), 0o6767, 0o0767),
    ] {
        let at = volume();
        let id = file(&at, before);
        now(at.v.write(&cx, id, 0, Bytes::from_static(b"x"))).unwrap();
        assert_eq!(at.attr(id).mode, after, "write by {:?}", cx.caller);
        at.set(&root(), id, mode(before)).unwrap();
        at.set(&cx, id, size(0)).unwrap();
        assert_eq!(at.attr(id).mode, after, "truncate by {:?}", cx.caller);
    }
}

#[test]
fn utimes() {
    let at = volume();
    let id = file(&at, 0o644);
    let (me, other) = (who(1, 10, &[]), who(2, 2, &[]));
    for set in [times(THEN, THEN), times(THEN, SetTime::Keep), times(SetTime::Keep, THEN)] {
        assert_eq!(at.set(&other, id, set.clone()), Err(Perm), "{set:?}");
    }
    assert_eq!(at.set(&other, id, times(SetTime::Now, SetTime::Now)), Err(Access));
    at.set(&root(), id, mode(0o666)).unwrap();
    assert_eq!(
        at.set(&other, id, times(THEN, THEN)),
        Err(Perm),
        "the right to write is not enough"
    );
    at.set(&other, id, times(SetTime::Now, SetTime::Now)).unwrap();
    at.set(&root(), id, mode(0o444)).unwrap();
    at.set(&me, id, times(SetTime::Now, SetTime::Now)).unwrap();
    at.set(&me, id, times(THEN, SetTime::Keep)).unwrap();
    let a = at.attr(id);
    assert_eq!((a.atime, a.mtime < a.atime), (Timestamp { sec: 1_900_000_000, nsec: 5 }, true));
    assert!(a.ctime < a.atime, "ctime is not to be set");
    // Before 1970 and after 2106.
    for sec in [-5, 1 << 33] {
        let moment = SetTime::To(Timestamp { sec, nsec: 999_999_999 });
        at.set(&me, id, times(SetTime::Keep, moment)).unwrap();
        assert_eq!(at.attr(id).mtime, Timestamp { sec, nsec: 999_999_999 });
    }
}

#[test]
fn sticky_directories() {
    let at = volume();
    let dir = at.mkdir(&root(), at.v.root(), "tmp", 0o1777);
    at.set(&root(), dir, owner(5)).unwrap();
    let other = at.mkdir(&root(), at.v.root(), "other", 0o777);
    for (uid, expected) in [(1, Ok(())), (5, Ok(())), (0, Ok(())), (2, Err(Perm))] {
        let cx = who(uid, 99, &[]);
        let (mine, full) = (who(1, 10, &[]), 0o777);
        let error = |r: Result<Changed, Failure>| r.map(drop).map_err(|f| f.error);
        at.create(&mine, dir, "f", full);
        assert_eq!(error(now(at.v.remove(&cx, dir, b"f"))), expected, "remove by {uid}");
        at.mkdir(&mine, dir, "d", full);
        assert_eq!(error(now(at.v.rmdir(&cx, dir, b"d"))), expected, "rmdir by {uid}");
        at.create(&mine, dir, "out", full);
        let moved = now(at.v.rename(&cx, dir, b"out", other, b"out"));
        assert_eq!(moved.map(drop).map_err(|f| f.error), expected, "rename out by {uid}");
        at.create(&mine, dir, "target", full);
        at.create(&cx, other, "source", full);
        let moved = now(at.v.rename(&cx, other, b"source", dir, b"target"));
        assert_eq!(moved.map(drop).map_err(|f| f.error), expected, "rename over by {uid}");
        for (place, name) in [(dir, "f"), (dir, "out"), (dir, "target"), (other, "out")] {
            now(at.v.remove(&root(), place, name.as_bytes())).ok();
        }
        now(at.v.remove(&root(), other, b"source")).ok();
        now(at.v.rmdir(&root(), dir, b"d")).ok();
    }
    at.sound();
}

#[test]
fn new_inodes_inherit() {
    let at = volume();
    let dir = at.mkdir(&root(), at.v.root(), "set", 0o777);
    at.set(&root(), dir, group(50)).unwrap();
    at.set(&root(), dir, mode(0o2777)).unwrap();
    let me = who(1, 10, &[]);
    let sub = at.attr(at.mkdir(&me, dir, "sub", 0o755));
    assert_eq!((sub.uid, sub.gid, sub.mode, sub.nlink), (1, 50, 0o2755, 2));
    let f = at.attr(at.create(&me, dir, "f", 0o6755));
    assert_eq!((f.gid, f.mode), (50, 0o4755), "not of the group: no set-group-id");
    let f = at.attr(at.create(&who(1, 10, &[50]), dir, "g", 0o2755));
    assert_eq!((f.gid, f.mode), (50, 0o2755));
    let plain = at.mkdir(&root(), at.v.root(), "plain", 0o777);
    assert_eq!(at.attr(at.create(&me, plain, "f", 0o644)).gid, 10);
    // Who may not give away keeps the file.
    let set = SetAttributes { uid: Some(7), gid: Some(7), ..mode(0o600) };
    let made = now(at.v.create(&me, plain, b"mine", CreateHow::Guarded(set.clone()))).unwrap();
    assert_eq!((made.object.uid, made.object.gid), (1, 10));
    let made = now(at.v.create(&root(), plain, b"given", CreateHow::Guarded(set))).unwrap();
    assert_eq!((made.object.uid, made.object.gid), (7, 7));
    let link = now(at.v.symlink(&me, plain, b"l", b"x", mode(0o600))).unwrap().object;
    assert_eq!((link.mode, link.size), (0o777, 1));
}

/// ctime of one inode rises with each of 10,000 changes though the clock stands, steps back by a
/// day, or jumps; before of each change is after of the one before it.
#[test]
fn change_times_rise() {
    let at = volume();
    let dir = at.mkdir(&root(), at.v.root(), "d", 0o755);
    let id = at.create(&root(), dir, "f", 0o644);
    let mut last = (at.attr(id), at.attr(dir));
    for n in 0..10_000u64 {
        match n {
            2_000 => at.clock.nanos.fetch_sub(86_400_000_000_000, Ordering::Relaxed),
            6_000 => at.clock.nanos.fetch_add(172_800_000_000_000, Ordering::Relaxed),
            _ => 0,
        };
        let changed = now(at.v.write(&root(), id, n % 8, Bytes::from_static(b"y"))).unwrap();
        let (before, after) = (changed.wcc.before.unwrap(), changed.wcc.after.unwrap());
        assert_eq!((before.ctime, before.mtime), (last.0.ctime, last.0.mtime));
        assert!(after.ctime > before.ctime && after.mtime > before.mtime);
        let names: [&[u8]; 2] = [b"a", b"b"];
        let link = if n % 2 == 0 {
            now(at.v.link(&root(), id, dir, names[0])).unwrap().to
        } else {
            now(at.v.remove(&root(), dir, names[0])).unwrap().wcc
        };
        let (before, after) = (link.before.unwrap(), link.after.unwrap());
        assert_eq!((before.ctime, before.mtime), (last.1.ctime, last.1.mtime));
        assert!(after.ctime > before.ctime && after.mtime > before.mtime);
        assert!(at.attr(id).ctime > last.0.ctime, "a link changes its inode too");
        last = (at.attr(id), after);
    }
    assert!(last.0.ctime.sec < 1_700_000_000 + 2 * 86_400, "and does not run away");
}

/// Which times an operation moves.
#[test]
fn what_moves_which_time() {
    let at = volume();
    let top = at.v.root();
    let id = at.create(&root(), top, "f", 0o644);
    let sub = at.mkdir(&root(), top, "sub", 0o755);
    type Op = Box<dyn Fn(&At)>;
    // (what, operation, moves file's (mtime, ctime), moves root directory's mtime)
    let cases: Vec<(&str, Op, (bool, bool), bool)> = vec![
        ("write", Box::new(move |a| a.write(id, 0, b"abc")), (true, true), false),
        ("read", Box::new(move |a| drop(a.read(id, 0, 3))), (false, false), false),
        (
            "chmod",
            Box::new(move |a| a.set(&root(), id, mode(0o600)).unwrap()),
            (false, true),
            false,
        ),
        (
            "truncate, same size",
            Box::new(move |a| a.set(&root(), id, size(3)).unwrap()),
            (true, true),
            false,
        ),
        ("truncate", Box::new(move |a| a.set(&root(), id, size(9)).unwrap()), (true, true), false),
        (
            "nothing",
            Box::new(move |a| a.set(&root(), id, SetAttributes::default()).unwrap()),
            (false, false),
            false,
        ),
        (
            "link",
            Box::new(move |a| drop(now(a.v.link(&root(), id, top, b"l")).unwrap())),
            (false, true),
            true,
        ),
        (
            "rename",
            Box::new(move |a| drop(now(a.v.rename(&root(), top, b"l", top, b"m")).unwrap())),
            (false, true),
            true,
        ),
        (
            "rename to itself",
            Box::new(move |a| drop(now(a.v.rename(&root(), top, b"m", top, b"f")).unwrap())),
            (false, false),
            false,
        ),
        (
            "remove one of two",
            Box::new(move |a| drop(now(a.v.remove(&root(), top, b"m")).unwrap())),
            (false, true),
            true,
        ),
        (
            "rename away",
            Box::new(move |a| drop(now(a.v.rename(&root(), top, b"f", sub, b"f")).unwrap())),
            (false, true),
            true,
        ),
        (
            "lookup",
            Box::new(move |a| drop(now(a.v.lookup(&root().caller, sub, b"f")).unwrap())),
            (false, false),
            false,
        ),
        (
            "refused",
            Box::new(move |a| drop(now(a.v.mkdir(&root(), top, b"sub", mode(0))).unwrap_err())),
            (false, false),
            false,
        ),
    ];
    for (what, op, file, dir) in cases {
        at.clock.nanos.fetch_add(1_000_000, Ordering::Relaxed);
        let (f, d) = (at.attr(id), at.attr(top));
        op(&at);
        let (f2, d2) = (at.attr(id), at.attr(top));
        assert_eq!((f.mtime != f2.mtime, f.ctime != f2.ctime), file, "{what}: file");
        assert_eq!((d.mtime != d2.mtime, d.ctime != d2.ctime), (dir, dir), "{what}: directory");
        assert_eq!(f.atime, f2.atime, "{what}: nothing moves the access time");
    }
}
