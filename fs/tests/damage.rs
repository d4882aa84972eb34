//! The checker finds each kind of damage, and operations that meet it fail without harm.
#![allow(clippy::unwrap_used)] // tests

mod at;

use at::{At, now, root, size, tuned};
use bytes::Bytes;
use fs::*;
use headhunter::Abort;

const VOLUME: u64 = u64::MAX;

fn key(ino: u64, kind: u8, sub: &[u8]) -> Vec<u8> {
    [&ino.to_be_bytes()[..], &[kind], sub].concat()
}

fn at_u64(ino: u64, kind: u8, sub: u64) -> Vec<u8> {
    key(ino, kind, &sub.to_be_bytes())
}

struct World {
    at: At,
    file: u64,
    dir: u64,
    cut: u64,
    /// Cookie of `/dir`.
    cookie: u64,
}

/// `/file` of two extents, `/dir`, `/dir/sub`, `/cut` with a truncate mark.
fn world() -> World {
    let at = tuned(Tuning { slice_keys: 4, ..Tuning::default() });
    let top = at.v.root();
    let file = at.create(&root(), top, "file", 0o644);
    at.write(file, 0, &[1; 100]);
    at.write(file, 200, &[1; 100]);
    let dir = at.mkdir(&root(), top, "dir", 0o755);
    at.mkdir(&root(), dir, "sub", 0o755);
    let cut = at.create(&root(), top, "cut", 0o644);
    for n in 0..9 {
        at.write(cut, n * 2, b"x");
    }
    at.set(&root(), cut, size(1)).unwrap();
    let page = now(at.v.readdir(&root().caller, top, 0, 9, false)).unwrap();
    let cookie = page.entries.iter().find(|e| e.name == "dir").unwrap().cookie;
    at.sound();
    World { at, file: file.ino, dir: dir.ino, cut: cut.ino, cookie }
}

impl World {
    fn put(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let done = self.at.index.transact::<_, ()>(|txn| {
            match value {
                Some(value) => txn.put(key, value),
                None => txn.delete(key),
            }
            Ok::<_, Abort<()>>(())
        });
        done.unwrap();
    }
    fn get(&self, key: &[u8]) -> Vec<u8> {
        self.at.index.view().get(key).unwrap().unwrap().to_vec()
    }
    /// Replaces `bytes` at `offset` of a value.
    fn bend(&self, key: Vec<u8>, offset: usize, bytes: &[u8]) {
        let mut value = self.get(&key);
        value[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.put(key, Some(value));
    }
    fn attr(&self, ino: u64) -> Vec<u8> {
        key(ino, 1, &[])
    }
    fn finds(&self, what: &str) {
        let findings = now(self.at.v.check()).unwrap().findings;
        assert!(findings.iter().any(|f| f.contains(what)), "no {what:?} in {findings:#?}");
    }
}

type Damage = fn(&World);

#[test]
fn the_checker_finds_each() {
    let cases: &[(&str, Damage)] = &[
        ("attributes do not decode", |w| w.bend(w.attr(w.file), 0, &[9])),
        ("keys without attributes", |w| w.put(w.attr(w.file), None)),
        ("names inode", |w| w.put(w.attr(w.dir), None)),
        ("nlink says 3, 1 names", |w| w.bend(w.attr(w.file), 4, &[3])),
        ("nlink says 9, is 3", |w| w.bend(w.attr(w.dir), 4, &[9])),
        (".. says 77", |w| w.bend(w.attr(w.dir), 80, &[77, 0, 0, 0, 0, 0, 0, 0])),
        ("another type or generation", |w| w.bend(w.attr(w.file), 24, &[0xee])),
        ("size says 200, is", |w| w.bend(w.attr(w.dir), 64, &[200, 0])),
        ("used says 201, extents hold 200", |w| w.bend(w.attr(w.file), 72, &[201])),
        ("beyond the size", |w| w.bend(w.attr(w.file), 64, &[50, 0])),
        ("extents overlap at 50", |w| {
            let extent = w.get(&at_u64(w.file, 4, 0));
            w.put(at_u64(w.file, 4, 50), Some(extent));
        }),
        ("an extent does not decode", |w| w.put(at_u64(w.file, 4, 0), Some(vec![1; 31]))),
        ("an entry does not decode", |w| w.put(at_u64(1, 3, w.cookie), Some(vec![0; 20]))),
        ("is not at its hash", |w| {
            let entry = w.get(&at_u64(1, 3, w.cookie));
            w.put(at_u64(1, 3, w.cookie), None);
            w.put(at_u64(1, 3, w.cookie ^ (1 << 20)), Some(entry));
        }),
        ("more than one name", |w| {
            let entry = w.get(&at_u64(1, 3, w.cookie));
            w.put(at_u64(1, 3, w.cookie + 1), Some(entry));
        }),
        ("bad name", |w| w.bend(at_u64(1, 3, w.cookie), 13, b"d/")),
        ("unknown kind 9", |w| w.put(key(w.file, 9, &[]), Some(vec![1]))),
        ("the volume counts 3 inodes", |w| w.bend(key(VOLUME, 0x41, &[]), 0, &[3])),
        ("never reserved", |w| w.bend(key(VOLUME, 0x40, &[]), 0, &[2, 0, 0, 0, 0, 0, 0, 0])),
        ("which is absent", |w| w.put(at_u64(VOLUME, 0x42, 99_999), Some(vec![2]))),
        ("does not decode", |w| w.put(at_u64(VOLUME, 0x42, w.file), Some(vec![7]))),
        ("pending work is Some(Open)", |w| w.put(at_u64(VOLUME, 0x42, w.file), Some(vec![3]))),
        ("1 marks, but pending work is None", |w| {
            let view = w.at.index.view();
            let noted = view.range(&key(VOLUME, 0x42, &[]), &key(VOLUME, 0x43, &[]), 9).unwrap();
            assert_eq!(noted.len(), 1);
            w.put(noted[0].0.to_vec(), None);
        }),
        ("crosses a mark", |w| {
            let mark = w.get(&w.attr(w.cut))[112..120].try_into().map(u64::from_le_bytes).unwrap();
            let mut extent = w.get(&at_u64(w.cut, 4, 0));
            extent[20] = 9; // bytes
            w.put(at_u64(w.cut, 4, mark - 1), Some(extent));
        }),
        ("marks do not rise", |w| {
            let attr = w.get(&w.attr(w.cut));
            w.put(w.attr(w.cut), Some([&attr[..], &attr[112..]].concat()));
            w.bend(w.attr(w.cut), 105, &[2]);
        }),
        ("root directory is absent", |w| w.put(w.attr(1), None)),
    ];
    for (what, damage) in cases {
        let w = world();
        damage(&w);
        w.finds(what);
    }
}

/// Operations on damaged records give an I/O error; the rest of the volume goes on.
#[test]
fn operations_survive_damage() {
    let w = world();
    let (v, top) = (&w.at.v, w.at.v.root());
    let file = now(v.lookup(&root().caller, top, b"file")).unwrap().0.id;
    w.put(at_u64(w.file, 4, 0), Some(vec![1; 31]));
    let read = now(v.read(&root().caller, file, 0, 10)).unwrap_err();
    assert_eq!(read.error, FsError::Io);
    assert_eq!(w.at.read(file, 200, 3), [1, 1, 1]);
    let write = now(v.write(&root(), file, 0, Bytes::from_static(b"x"))).unwrap_err();
    assert_eq!(write.error, FsError::Io);
    w.bend(w.attr(w.file), 1, &[99]);
    assert_eq!(now(v.getattr(file)), Err(FsError::Io));
    assert_eq!(now(v.remove(&root(), top, b"file")).unwrap_err().error, FsError::Io);
    w.at.create(&root(), top, "other", 0o644);
    assert_eq!(w.at.names(top), ["cut", "dir", "file", "other"]);
    // A volume whose counters are lost is not formatted over.
    w.put(key(VOLUME, 0x40, &[]), None);
    let opened = now(Volume::open(w.at.index.clone(), (0, 0)));
    assert_eq!(opened.err(), Some(FsError::Io));
}
