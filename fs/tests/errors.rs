//! What is refused, with which word, and that nothing was done.
#![allow(clippy::cast_possible_truncation, clippy::drop_non_drop)]
#![allow(clippy::type_complexity)]
#![allow(clippy::unwrap_used)] // tests

mod at;

use at::{At, mode, now, root, size, tuned, volume, who};
use bytes::Bytes;
use fs::{FsError::*, *};

struct World {
    at: At,
    top: FileId,
    file: FileId,
    dir: FileId,
    link: FileId,
    fifo: FileId,
    gone: FileId,
    gone_dir: FileId,
}

/// `/file`, `/dir/sub`, `/link`, `/fifo`, `/shut` (0700 of root), and two that were removed.
fn world() -> World {
    let at = volume();
    let top = at.v.root();
    at.set(&root(), top, mode(0o777)).unwrap();
    let file = at.create(&root(), top, "file", 0o666);
    let dir = at.mkdir(&root(), top, "dir", 0o777);
    at.mkdir(&root(), dir, "sub", 0o777);
    at.mkdir(&root(), top, "shut", 0o700);
    let link = now(at.v.symlink(&root(), top, b"link", b"file", mode(0))).unwrap().object.id;
    let fifo =
        now(at.v.mknod(&root(), top, b"fifo", NodeKind::Fifo, mode(0o666))).unwrap().object.id;
    let gone = at.create(&root(), top, "gone", 0o644);
    now(at.v.remove(&root(), top, b"gone")).unwrap();
    let gone_dir = at.mkdir(&root(), top, "gone", 0o755);
    now(at.v.rmdir(&root(), top, b"gone")).unwrap();
    World { at, top, file, dir, link, fifo, gone, gone_dir }
}

impl World {
    fn id(&self, name: &str) -> FileId {
        now(self.at.v.lookup(&root().caller, self.top, name.as_bytes())).unwrap().0.id
    }
}

fn code<T>(result: Result<T, Failure>) -> Result<(), FsError> {
    result.map(drop).map_err(|f| f.error)
}

const LONG: [u8; 256] = [b'x'; 256];

/// Bad names, by every operation that makes or takes one.
#[test]
fn names() {
    let w = world();
    let (v, cx, top) = (&w.at.v, root(), w.top);
    let guarded = || CreateHow::Guarded(mode(0o644));
    let cases: [(&[u8], [FsError; 4]); 6] = [
        // name, made, removed, rmdir, renamed from or to
        (b".", [Exist, IsDir, Inval, Inval]),
        (b"..", [Exist, IsDir, NotEmpty, Inval]),
        (b"", [Inval; 4]),
        (b"a/b", [Inval; 4]),
        (b"a\0b", [Inval; 4]),
        (&LONG, [NameTooLong; 4]),
    ];
    for (name, [made, removed, rmdir, renamed]) in cases {
        assert_eq!(code(now(v.create(&cx, top, name, guarded()))), Err(made), "{name:?}");
        assert_eq!(code(now(v.mkdir(&cx, top, name, mode(0)))), Err(made), "{name:?}");
        assert_eq!(code(now(v.symlink(&cx, top, name, b"t", mode(0)))), Err(made), "{name:?}");
        let fifo = v.mknod(&cx, top, name, NodeKind::Fifo, mode(0));
        assert_eq!(code(now(fifo)), Err(made), "{name:?}");
        assert_eq!(code(now(v.link(&cx, w.file, top, name))), Err(made), "{name:?}");
        assert_eq!(code(now(v.remove(&cx, top, name))), Err(removed), "{name:?}");
        assert_eq!(code(now(v.rmdir(&cx, top, name))), Err(rmdir), "{name:?}");
        assert_eq!(code(now(v.rename(&cx, top, name, top, b"n"))), Err(renamed), "{name:?}");
        assert_eq!(code(now(v.rename(&cx, top, b"file", top, name))), Err(renamed), "{name:?}");
    }
    let most = [0xffu8; 255];
    now(v.create(&cx, top, &most, guarded())).unwrap();
    assert_eq!(now(v.lookup(&cx.caller, top, &most)).unwrap().0.size, 0);
    assert_eq!(code(now(v.lookup(&cx.caller, top, &LONG))), Err(NameTooLong));
    assert_eq!(code(now(v.lookup(&cx.caller, top, b"absent"))), Err(NoEnt));
    assert_eq!(now(v.lookup(&cx.caller, w.dir, b".")).unwrap().0.id, w.dir);
    assert_eq!(now(v.lookup(&cx.caller, w.dir, b"..")).unwrap().0.id, top);
    assert_eq!(now(v.lookup(&cx.caller, top, b"..")).unwrap().0.id, top);
    w.at.sound();
}

/// What is no directory, what is gone, and what must not be entered.
#[test]
fn places() {
    let w = world();
    let v = &w.at.v;
    let stranger = who(7, 7, &[]);
    let shut = w.id("shut");
    let cases = [
        (w.file, root(), NotDir),
        (w.link, root(), NotDir),
        (w.gone, root(), Stale),
        (w.gone_dir, root(), Stale),
        (FileId { generation: 999, ..w.dir }, root(), Stale),
        (FileId { ino: 0, generation: 1 }, root(), Stale),
        (FileId { ino: u64::MAX, generation: 1 }, root(), Stale),
        (shut, stranger, Access),
    ];
    for (dir, cx, error) in cases {
        let how = CreateHow::Unchecked(mode(0));
        assert_eq!(code(now(v.lookup(&cx.caller, dir, b"x"))), Err(error));
        assert_eq!(code(now(v.create(&cx, dir, b"x", how))), Err(error));
        assert_eq!(code(now(v.mkdir(&cx, dir, b"x", mode(0)))), Err(error));
        assert_eq!(code(now(v.remove(&cx, dir, b"x"))), Err(error));
        assert_eq!(code(now(v.rmdir(&cx, dir, b"x"))), Err(error));
        assert_eq!(code(now(v.rename(&cx, dir, b"x", w.top, b"y"))), Err(error));
        assert_eq!(code(now(v.rename(&cx, w.top, b"file", dir, b"y"))), Err(error));
        assert_eq!(code(now(v.link(&cx, w.file, dir, b"y"))), Err(error));
        assert_eq!(code(now(v.readdir(&cx.caller, dir, 0, 9, true))), Err(error));
    }
    w.at.sound();
}

/// Entering and listing need different rights; a name that exists is known before the right to
/// write is asked for.
#[test]
fn search_and_read_of_directories() {
    let w = world();
    let v = &w.at.v;
    let cx = who(7, 7, &[]);
    for (m, lookup, list, make) in [
        (0o701, Err(NoEnt), Err(Access), Err(Access)),
        (0o704, Err(Access), Ok(()), Err(Access)),
        (0o702, Err(Access), Err(Access), Err(Access)),
        (0o703, Err(NoEnt), Err(Access), Ok(())),
    ] {
        w.at.set(&root(), w.dir, mode(m)).unwrap();
        assert_eq!(code(now(v.lookup(&cx.caller, w.dir, b"x"))), lookup, "{m:o}");
        assert_eq!(code(now(v.readdir(&cx.caller, w.dir, 0, 9, false))), list, "{m:o}");
        assert_eq!(code(now(v.mkdir(&cx, w.dir, b"new", mode(0)))), make, "{m:o}");
        now(v.rmdir(&root(), w.dir, b"new")).ok();
    }
    w.at.set(&root(), w.dir, mode(0o705)).unwrap();
    assert_eq!(code(now(v.mkdir(&cx, w.dir, b"sub", mode(0)))), Err(Exist));
    assert_eq!(code(now(v.rmdir(&cx, w.dir, b"absent"))), Err(NoEnt));
    assert_eq!(code(now(v.rmdir(&cx, w.dir, b"sub"))), Err(Access));
}

#[test]
fn kinds() {
    let w = world();
    let (v, cx) = (&w.at.v, root());
    let data = || Bytes::from_static(b"x");
    for (id, error) in [(w.dir, IsDir), (w.link, Inval), (w.fifo, Inval), (w.gone, Stale)] {
        assert_eq!(code(now(v.read(&cx.caller, id, 0, 1))), Err(error));
        assert_eq!(code(now(v.write(&cx, id, 0, data()))), Err(error));
        assert_eq!(w.at.set(&cx, id, size(0)), Err(error));
    }
    for (id, error) in [(w.dir, Inval), (w.file, Inval), (w.fifo, Inval), (w.gone, Stale)] {
        assert_eq!(code(now(v.readlink(&cx.caller, id))), Err(error));
    }
    assert_eq!(code(now(v.remove(&cx, w.top, b"dir"))), Err(IsDir));
    for name in [&b"file"[..], b"link", b"fifo"] {
        assert_eq!(code(now(v.rmdir(&cx, w.top, name))), Err(NotDir));
    }
    assert_eq!(code(now(v.rmdir(&cx, w.top, b"dir"))), Err(NotEmpty));
    assert_eq!(code(now(v.link(&cx, w.dir, w.top, b"hard"))), Err(Perm));
    now(v.link(&cx, w.link, w.top, b"hard")).unwrap();
    let stranger = who(7, 7, &[]);
    for kind in [NodeKind::Char(1, 3), NodeKind::Block(8, 0)] {
        assert_eq!(code(now(v.mknod(&stranger, w.top, b"dev", kind, mode(0)))), Err(Perm));
        assert_eq!(code(now(v.mknod(&stranger, w.top, b"fifo", kind, mode(0)))), Err(Exist));
    }
    let device = NodeKind::Char(u32::MAX, u32::MAX - 1);
    let made = now(v.mknod(&cx, w.top, b"dev", device, mode(0o600))).unwrap().object;
    assert_eq!((made.kind, made.rdev), (Kind::Char, (u32::MAX, u32::MAX - 1)));
    w.at.sound();
}

#[test]
fn symlinks() {
    let w = world();
    let (v, cx) = (&w.at.v, root());
    for (target, error) in
        [(&b""[..], Inval), (b"a\0b", Inval), (&[b'x'; TARGET_BYTES + 1], NameTooLong)]
    {
        assert_eq!(code(now(v.symlink(&cx, w.top, b"s", target, mode(0)))), Err(error));
    }
    for len in [1, 2_047, 2_048, 2_049, TARGET_BYTES] {
        let target: Vec<u8> = (0..len).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
        let made = now(v.symlink(&cx, w.top, b"s", &target, mode(0))).unwrap();
        assert_eq!(made.object.size, len as u64);
        assert_eq!(now(v.readlink(&cx.caller, made.object.id)).unwrap().0, target);
        w.at.sound();
        now(v.remove(&cx, w.top, b"s")).unwrap();
    }
}

#[test]
fn rename() {
    let w = world();
    let (v, cx, top) = (&w.at.v, root(), w.top);
    let sub = now(v.lookup(&cx.caller, w.dir, b"sub")).unwrap().0.id;
    let empty = w.at.mkdir(&cx, top, "empty", 0o777);
    let cases: [(FileId, &[u8], FileId, &[u8], FsError); 9] = [
        (top, b"absent", top, b"y", NoEnt),
        (top, b"dir", w.dir, b"y", Inval),
        (top, b"dir", sub, b"y", Inval),
        (top, b"dir", w.dir, b"sub", Inval),
        (w.dir, b"sub", top, b"dir", NotEmpty),
        (top, b"empty", top, b"dir", NotEmpty),
        (top, b"dir", top, b"file", NotDir),
        (top, b"file", top, b"dir", IsDir),
        (top, b"fifo", top, b"empty", IsDir),
    ];
    for (from, old, to, new, error) in cases {
        let failed = now(v.rename(&cx, from, old, to, new)).unwrap_err();
        assert_eq!(failed.error, error, "{} → {}", old.escape_ascii(), new.escape_ascii());
        assert_eq!(failed.wcc.after.map(|a| a.id), Some(from));
        assert_eq!(failed.other.after.map(|a| a.id), Some(to));
    }
    assert_eq!(code(now(v.rename(&cx, top, b"absent", w.file, b"y"))), Err(NotDir));
    // A directory goes below another: `..` and both counts follow.
    now(v.rename(&cx, w.dir, b"sub", empty, b"moved")).unwrap();
    assert_eq!((w.at.attr(w.dir).nlink, w.at.attr(empty).nlink), (2, 3));
    assert_eq!(now(v.lookup(&cx.caller, sub, b"..")).unwrap().0.id, empty);
    // Over an empty directory: that one is gone.
    now(v.rename(&cx, empty, b"moved", top, b"dir")).unwrap();
    assert_eq!(now(v.getattr(w.dir)), Err(Stale));
    assert_eq!(now(v.lookup(&cx.caller, top, b"dir")).unwrap().0.id, sub);
    // Two names of one inode: nothing happens, and both stay.
    now(v.link(&cx, w.file, top, b"other")).unwrap();
    now(v.rename(&cx, top, b"file", top, b"other")).unwrap();
    assert_eq!(w.at.attr(w.file).nlink, 2);
    // Over the other kind of file: its inode goes.
    now(v.rename(&cx, top, b"fifo", top, b"other")).unwrap();
    assert_eq!((w.at.attr(w.file).nlink, now(v.getattr(w.fifo)).unwrap().nlink), (1, 1));
    now(v.rename(&cx, top, b"other", top, b"file")).unwrap();
    assert_eq!(now(v.getattr(w.file)), Err(Stale));
    w.at.sound();
}

/// Who moves a directory to another parent writes its `..`.
#[test]
fn moving_a_directory_needs_the_right_to_write_it() {
    let w = world();
    let (v, cx) = (&w.at.v, who(7, 7, &[]));
    let other = w.at.mkdir(&root(), w.top, "other", 0o777);
    let sub = now(v.lookup(&root().caller, w.dir, b"sub")).unwrap().0.id;
    w.at.set(&root(), sub, mode(0o755)).unwrap();
    now(v.rename(&cx, w.dir, b"sub", w.dir, b"renamed")).unwrap();
    assert_eq!(code(now(v.rename(&cx, w.dir, b"renamed", other, b"sub"))), Err(Access));
    w.at.set(&root(), sub, mode(0o757)).unwrap();
    now(v.rename(&cx, w.dir, b"renamed", other, b"sub")).unwrap();
    w.at.sound();
}

#[test]
fn links_have_an_end() {
    let at = tuned(Tuning { links: 4, ..Tuning::default() });
    let (v, cx, top) = (&at.v, root(), at.v.root());
    let file = at.create(&cx, top, "f", 0o644);
    for name in ["l2", "l3", "l4"] {
        now(v.link(&cx, file, top, name.as_bytes())).unwrap();
    }
    assert_eq!(code(now(v.link(&cx, file, top, b"l5"))), Err(MLink));
    at.mkdir(&cx, top, "d1", 0o755);
    let d2 = at.mkdir(&cx, top, "d2", 0o755);
    assert_eq!(code(now(v.mkdir(&cx, top, b"d3", mode(0)))), Err(MLink));
    at.mkdir(&cx, d2, "sub", 0o755);
    assert_eq!(code(now(v.rename(&cx, d2, b"sub", top, b"d3"))), Err(MLink));
    // In place of another directory there is room.
    now(v.rename(&cx, d2, b"sub", top, b"d1")).unwrap();
    at.sound();
}

#[test]
fn sizes() {
    let w = world();
    let (v, cx) = (&w.at.v, root());
    let write = |offset| code(now(v.write(&cx, w.file, offset, Bytes::from_static(b"ab"))));
    for offset in [MAX_FILE_BYTES - 1, MAX_FILE_BYTES, MAX_FILE_BYTES + 1, u64::MAX - 1, u64::MAX] {
        assert_eq!(write(offset), Err(FBig), "{offset}");
    }
    assert_eq!(w.at.attr(w.file).size, 0);
    assert_eq!(w.at.set(&cx, w.file, size(MAX_FILE_BYTES + 1)), Err(FBig));
    let how = CreateHow::Guarded(size(u64::MAX));
    assert_eq!(code(now(v.create(&cx, w.top, b"big", how))), Err(FBig));
    write(MAX_FILE_BYTES - 2).unwrap();
    assert_eq!((w.at.attr(w.file).size, w.at.attr(w.file).used), (MAX_FILE_BYTES, 2));
    assert_eq!(w.at.read(w.file, MAX_FILE_BYTES - 3, 100), b"\0ab");
    assert_eq!(w.at.read(w.file, u64::MAX, 100), b"");
    w.at.set(&cx, w.file, size(1)).unwrap();
    assert_eq!(w.at.attr(w.file).used, 0);
    w.at.sound();
}

#[test]
fn guards() {
    let w = world();
    let v = &w.at.v;
    let seen = w.at.attr(w.file).ctime;
    now(v.setattr(&root(), w.file, mode(0o600), Some(seen))).unwrap();
    let late = now(v.setattr(&root(), w.file, mode(0o644), Some(seen))).unwrap_err();
    assert_eq!(late.error, NotSync);
    assert_eq!(late.wcc.after.map(|a| a.mode), Some(0o600));
}
