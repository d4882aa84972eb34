//! Rows 1 to 4: the change attribute and weak cache consistency.

use esker_tests::nfsclient::proc::{
    Create, FILE_SYNC, How, Link, Mkdir, Remove, Rename, Rmdir, Setattr, Symlink, UNSTABLE, Write,
};
use esker_tests::nfsclient::{Client, Fh, Sattr, Status, Wcc};

use crate::{Lab, fine, refused};

/// 10,000 changes of one file and of one directory: every ctime greater than the one before, and
/// the mtime of the directory too.
#[test]
fn ctime_rises_with_every_change() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let fh = c.create(&dir, "f", 0o644).unwrap();
    let mut last = c.attr(&fh).unwrap().ctime;
    for batch in 0..50u32 {
        let calls: Vec<u32> = (0..100)
            .map(|i| {
                let set = Sattr::mode(0o600 + (batch + i) % 8);
                c.send(&Setattr { fh: &fh, set, guard: None }).unwrap()
            })
            .collect();
        let mut seen: Vec<Wcc> =
            calls.into_iter().map(|x| fine!(c.recv::<Setattr>(x)).wcc).collect();
        seen.sort_by_key(|w| w.after.as_ref().unwrap().ctime);
        for w in seen {
            assert_eq!(w.before.expect("pre-operation attributes").ctime, last);
            let now = w.after.unwrap().ctime;
            assert!(now > last, "{now:?} after {last:?}");
            last = now;
        }
    }
    let before = c.attr(&dir).unwrap();
    let (mut mtime, mut ctime) = (before.mtime, before.ctime);
    for i in 0..2500 {
        let name = format!("n{}", i / 2);
        let wcc = if i % 2 == 0 {
            fine!(c.call(&Create {
                dir: &dir,
                name: name.as_bytes(),
                how: How::Guarded(Sattr::mode(0o644))
            }))
            .dir
        } else {
            fine!(c.call(&Remove { dir: &dir, name: name.as_bytes() })).wcc
        };
        let a = wcc.after.unwrap();
        assert!(a.ctime > ctime && a.mtime > mtime, "change {i}: {a:?}");
        (mtime, ctime) = (a.mtime, a.ctime);
    }
}

/// Every kind of change of a directory, by two clients at once: put in order of ctime, each begins
/// with the attributes that the one before ended with. Failures take part.
#[test]
fn chains_of_two_clients_have_no_gap() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let file = c.create(&lab.root, "f", 0o644).unwrap();
    let start = (c.attr(&dir).unwrap(), c.attr(&file).unwrap());
    let mut seen: Vec<(Vec<Wcc>, Vec<Wcc>)> = std::thread::scope(|s| {
        let both: Vec<_> = ["a", "b"]
            .map(|who| {
                let (dir, file, mut c) = (&dir, &file, lab.client());
                s.spawn(move || one_client(&mut c, who, dir, file))
            })
            .into_iter()
            .collect();
        both.into_iter().map(|h| h.join().unwrap()).collect()
    });
    let (mut dirs, mut files) = seen.pop().unwrap();
    let (d, f) = seen.pop().unwrap();
    dirs.extend(d);
    files.extend(f);
    for (mut all, mut last, end) in [
        (dirs, start.0.wcc(), c.attr(&dir).unwrap()),
        (files, start.1.wcc(), c.attr(&file).unwrap()),
    ] {
        assert!(all.len() > 500, "only {} changes carried attributes", all.len());
        // A failed call has equal sides: it stands behind the change that it saw.
        all.sort_by_key(|w| {
            let (b, a) = (w.before.unwrap(), w.after.as_ref().unwrap().wcc());
            (a.ctime, b == a)
        });
        for w in all {
            assert_eq!(w.before.unwrap(), last, "the chain has a gap");
            last = w.after.unwrap().wcc();
        }
        assert_eq!(last, end.wcc(), "and ends with what is there");
    }
}

fn one_client(c: &mut Client, who: &str, dir: &Fh, file: &Fh) -> (Vec<Wcc>, Vec<Wcc>) {
    let (mut dirs, mut files) = (Vec::new(), Vec::new());
    for i in 0..60u64 {
        let a = format!("{who}{i}").into_bytes();
        let b = format!("{who}{i}-b").into_bytes();
        let how = How::Guarded(Sattr::mode(0o644));
        let made = fine!(c.call(&Create { dir, name: &a, how }));
        dirs.push(made.dir);
        dirs.push(refused!(c.call(&Create { dir, name: &a, how }), EXIST).dir);
        let r = fine!(c.call(&Rename { from: (dir, &a), to: (dir, &b) }));
        assert_eq!(r.from, r.to, "one directory, one pair of attributes");
        dirs.push(r.from);
        let l = fine!(c.call(&Link { fh: &made.fh.unwrap(), dir, name: &a }));
        assert_eq!(l.attr.unwrap().nlink, 2);
        dirs.push(l.dir);
        dirs.push(fine!(c.call(&Remove { dir, name: &a })).wcc);
        dirs.push(refused!(c.call(&Remove { dir, name: &a }), NOENT).wcc);
        let set = Sattr::mode(0o755);
        dirs.push(fine!(c.call(&Mkdir { dir, name: &a, set })).dir);
        dirs.push(fine!(c.call(&Rmdir { dir, name: &a })).wcc);
        dirs.push(fine!(c.call(&Symlink { dir, name: &a, set, target: b"t" })).dir);
        dirs.push(fine!(c.call(&Remove { dir, name: &b })).wcc);
        for k in 0..5 {
            let stable = if (i + k) % 16 == 0 { FILE_SYNC } else { UNSTABLE };
            let w = Write { fh: file, offset: (i * 5 + k) * 100, stable, data: &[7; 150] };
            files.push(fine!(c.call(&w)).wcc);
        }
    }
    let both = |w: &Wcc| w.before.is_some() && w.after.is_some();
    dirs.retain(both);
    files.retain(both);
    (dirs, files)
}

/// A rename between two directories tells both of both.
#[test]
fn rename_carries_both_directories() {
    let lab = Lab::new();
    let mut c = lab.client();
    let (a, b) = (c.mkdir(&lab.root, "a", 0o755).unwrap(), c.mkdir(&lab.root, "b", 0o755).unwrap());
    c.create(&a, "x", 0o644).unwrap();
    let was = (c.attr(&a).unwrap(), c.attr(&b).unwrap());
    let r = fine!(c.call(&Rename { from: (&a, b"x"), to: (&b, b"y") }));
    assert_eq!((r.from.before, r.to.before), (Some(was.0.wcc()), Some(was.1.wcc())));
    assert_eq!(r.from.after, Some(c.attr(&a).unwrap()));
    assert_eq!(r.to.after, Some(c.attr(&b).unwrap()));
    let r = refused!(c.call(&Rename { from: (&a, b"x"), to: (&b, b"z") }), NOENT);
    assert_eq!(r.from.after, Some(c.attr(&a).unwrap()), "on errors too");
    // A directory that moves takes its `..` and its parent's link count along.
    c.mkdir(&a, "sub", 0o755).unwrap();
    let r = fine!(c.call(&Rename { from: (&a, b"sub"), to: (&b, b"sub") }));
    assert_eq!((r.from.after.unwrap().nlink, r.to.after.unwrap().nlink), (2, 3));
}

/// What the attributes say right after a WRITE is what the WRITE said.
#[test]
fn attributes_after_a_write_are_the_writes() {
    let lab = Lab::new();
    let mut c = lab.client();
    let mut other = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    let mut last = c.attr(&fh).unwrap();
    for (offset, stable) in [(0, UNSTABLE), (10, FILE_SYNC), (5000, UNSTABLE), (3, UNSTABLE)] {
        let w = fine!(c.write(&fh, offset, stable, &[1; 100]));
        let after = w.wcc.after.unwrap();
        assert_eq!(w.wcc.before, Some(last.wcc()));
        assert_eq!(after.size, last.size.max(offset + 100));
        assert!(after.mtime > last.mtime && after.ctime > last.ctime);
        assert_eq!(other.attr(&fh).unwrap(), after, "another client sees the same");
        last = after;
    }
}

/// SETATTR with a guard: only if ctime is that one, and nothing of it happens otherwise.
#[test]
fn a_guard_holds_or_nothing_happens() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    let old = c.attr(&fh).unwrap();
    let guard = Some(old.ctime);
    fine!(c.call(&Setattr { fh: &fh, set: Sattr::mode(0o600), guard }));
    let now = c.attr(&fh).unwrap();
    let r = refused!(c.call(&Setattr { fh: &fh, set: Sattr::mode(0o777), guard }), NOT_SYNC);
    assert_eq!(c.attr(&fh).unwrap(), now);
    assert_eq!(r.wcc.after, Some(now));
    assert_eq!(Status::NOT_SYNC.0, 10002);
}
