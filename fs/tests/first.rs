//! One of each operation.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

mod at;

use at::{mode, now, root, size, volume, who};
use fs::*;

#[test]
fn one_of_each() {
    let at = volume();
    let top = at.v.root();
    let dir = at.mkdir(&root(), top, "dir", 0o755);
    let file = at.create(&root(), dir, "file", 0o644);
    at.write(file, 0, b"hello");
    at.write(file, 300_000, b"world");
    assert_eq!(at.read(file, 0, 5), b"hello");
    assert_eq!(at.read(file, 4, 4), b"o\0\0\0");
    assert_eq!(at.read(file, 300_002, 100), b"rld");
    assert_eq!(at.attr(file).size, 300_005);
    assert_eq!(at.attr(file).used, 10);
    let (found, parent) = now(at.v.lookup(&root().caller, dir, b"file")).unwrap();
    assert_eq!((found.id, parent.id), (file, dir));
    assert_eq!(at.names(dir), ["file"]);
    at.set(&root(), file, size(3)).unwrap();
    at.set(&root(), file, size(6)).unwrap();
    assert_eq!(at.read(file, 0, 100), b"hel\0\0\0");
    now(at.v.link(&root(), file, top, b"hard")).unwrap();
    assert_eq!(at.attr(file).nlink, 2);
    now(at.v.rename(&root(), dir, b"file", top, b"moved")).unwrap();
    now(at.v.symlink(&root(), top, b"soft", b"target", mode(0))).unwrap();
    now(at.v.mknod(&root(), top, b"fifo", NodeKind::Fifo, mode(0o600))).unwrap();
    at.sound();
    now(at.v.rmdir(&root(), top, b"dir")).unwrap();
    for name in [&b"hard"[..], b"moved", b"soft", b"fifo"] {
        now(at.v.remove(&root(), top, name)).unwrap();
    }
    assert_eq!(now(at.v.getattr(file)), Err(FsError::Stale));
    let report = at.sound();
    assert_eq!((report.inodes, report.extents), (1, 0));
    let refused = now(at.v.mkdir(&who(7, 7, &[]), top, b"x", mode(0o755))).unwrap_err();
    assert_eq!(refused.error, FsError::Access);
    assert_eq!(refused.wcc.after.map(|a| a.id), Some(top));
}
