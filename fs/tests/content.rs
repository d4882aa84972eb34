//! Reading and writing: large, sparse, without copies; extended attributes; room.
#![allow(clippy::cast_possible_truncation, clippy::drop_non_drop)]
#![allow(clippy::type_complexity)]
#![allow(clippy::unwrap_used)] // tests

mod at;

use at::{At, now, root, size, volume, who};
use bytes::Bytes;
use fs::{FsError::*, *};

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect()
}

/// A write of several megabytes at an odd offset, read back in odd pieces.
#[test]
fn large_writes() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    let data = pattern(3_500_001);
    let before = at.attr(file);
    let changed = now(at.v.write(&root(), file, 77_777, Bytes::from(data.clone()))).unwrap();
    assert_eq!(changed.wcc.before.unwrap().ctime, before.ctime);
    assert_eq!(changed.wcc.after.unwrap(), at.attr(file));
    assert_eq!(at.attr(file).size, 77_777 + 3_500_001);
    assert_eq!(at.attr(file).used, 3_500_001);
    let mut expected = vec![0; 77_777];
    expected.extend_from_slice(&data);
    assert!(at.read(file, 0, 4_000_000) == expected);
    for (offset, count) in [(77_770, 20), (131_071, 2), (1_000_000, 1_000_001), (3_577_770, 100)] {
        let end = expected.len().min(offset + count);
        let count = u32::try_from(count).unwrap();
        assert!(at.read(file, offset as u64, count) == expected[offset..end], "at {offset}");
    }
    at.sound();
}

/// Bytes are handed on, not copied: what is read lies where the writer's bytes lay, and holes lie
/// in one shared buffer.
#[test]
fn no_copies() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    let data = Bytes::from(pattern(1 << 20));
    now(at.v.write(&root(), file, 1 << 20, data.clone())).unwrap();
    let read = now(at.v.read(&root().caller, file, 1 << 20, 1 << 20)).unwrap();
    assert_eq!(read.pieces.len(), 8);
    let inside = data.as_ptr_range();
    assert!(read.pieces.iter().all(|p| inside.contains(&p.as_ptr())), "a copy was made");
    let hole = now(at.v.read(&root().caller, file, 0, 1 << 20)).unwrap();
    assert_eq!((hole.pieces.len(), hole.len), (8, 1 << 20));
    assert!(hole.pieces.windows(2).all(|w| w[0].as_ptr() == w[1].as_ptr()));
    assert!(hole.pieces.iter().all(|p| p.iter().all(|b| *b == 0)));
}

/// A thousand tiny extents come back as one piece, not as a thousand.
#[test]
fn crumbs_are_gathered() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    for n in (0..1_000u64).rev() {
        at.write(file, n, &[u8::try_from(n % 251).unwrap()]);
    }
    let read = now(at.v.read(&root().caller, file, 0, 1_000)).unwrap();
    assert_eq!((read.pieces.len(), read.len), (1, 1_000));
    // More extents are in the way than one record removes: it still is one write.
    for n in 1_000..3_000u64 {
        at.write(file, n, b"y");
    }
    at.write(file, 0, &pattern(3_000));
    assert!(at.read(file, 0, 3_000) == pattern(3_000));
    let report = at.sound();
    assert!(report.extents < 10, "{} extents", report.extents);
}

#[test]
fn ends_of_files() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    let read = |offset, count| {
        let data = now(at.v.read(&root().caller, file, offset, count)).unwrap();
        (data.len, data.eof)
    };
    assert_eq!(read(0, 10), (0, true));
    at.write(file, 0, &[1; 100]);
    assert_eq!(read(0, 99), (99, false));
    assert_eq!(read(0, 100), (100, true));
    assert_eq!(read(50, 100), (50, true));
    assert_eq!(read(99, 1), (1, true));
    assert_eq!(read(100, 1), (0, true));
    assert_eq!(read(1_000, 1), (0, true));
    assert_eq!(read(10, 0), (0, false));
    assert_eq!(read(100, 0), (0, true));
    at.set(&root(), file, size(200)).unwrap();
    assert_eq!(read(0, 4_096), (200, true));
}

/// Old bytes never come back: cut and grown again, all beyond the cut is zeros.
#[test]
fn nothing_comes_back() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    at.write(file, 0, &[0xee; 300_000]);
    for cut in [299_999, 200_000, 131_073, 131_072, 131_071, 4_097, 1, 0] {
        at.set(&root(), file, size(cut)).unwrap();
        at.set(&root(), file, size(300_000)).unwrap();
        let bytes = at.read(file, 0, 300_000);
        let live = usize::try_from(cut).unwrap();
        assert!(bytes[..live].iter().all(|b| *b == 0xee) && bytes[live..].iter().all(|b| *b == 0));
        assert_eq!(at.attr(file).used, cut);
    }
    at.sound();
}

#[test]
fn holes() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    at.write(file, 10_000, &[1; 10_000]);
    now(at.v.punch(&root(), file, 12_000, 3_000)).unwrap();
    let seek = |from, data| now(at.v.seek(&root().caller, file, from, data)).map_err(|f| f.error);
    assert_eq!((seek(0, true), seek(0, false)), (Ok(10_000), Ok(0)));
    assert_eq!((seek(12_500, true), seek(10_500, false)), (Ok(15_000), Ok(12_000)));
    assert_eq!((seek(19_000, false), seek(20_000, true)), (Ok(20_000), Err(Nxio)));
    assert_eq!(at.attr(file).used, 7_000);
    assert_eq!(at.attr(file).size, 20_000);
    assert_eq!(at.read(file, 11_999, 3), [1, 0, 0]);
    let stranger = now(at.v.punch(&who(9, 9, &[]), file, 0, 1));
    assert_eq!(stranger.unwrap_err().error, Access);
    at.sound();
}

#[test]
fn a_write_of_nothing_changes_nothing() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o6644);
    let before = at.attr(file);
    now(at.v.write(&who(0, 0, &[]), file, 1 << 40, Bytes::new())).unwrap();
    assert_eq!(at.attr(file), before);
    let (seq, wcc) = now(at.v.last_seq_of(file)).unwrap();
    assert!(at.v.is_durable(seq));
    assert_eq!(wcc.after.unwrap(), before);
}

/// COMMIT waits for the inode's own last change, not for the newest of all.
#[test]
fn last_seq_is_the_inodes_own() {
    let at = volume();
    let (a, b) =
        (at.create(&root(), at.v.root(), "a", 0o644), at.create(&root(), at.v.root(), "b", 0o644));
    let wrote = now(at.v.write(&root(), a, 0, Bytes::from_static(b"x"))).unwrap().seq;
    at.write(b, 0, b"y");
    assert_eq!(now(at.v.last_seq_of(a)).unwrap().0, wrote);
    assert!(now(at.v.last_seq_of(b)).unwrap().0 > wrote);
}

fn set(at: &At, cx: &Context, id: FileId, name: &str, value: &[u8]) -> Result<(), FsError> {
    let set = now(at.v.setxattr(cx, id, name.as_bytes(), Some(value), false, false));
    set.map(drop).map_err(|f| f.error)
}

fn get(at: &At, cx: &Context, id: FileId, name: &str) -> Result<Bytes, FsError> {
    now(at.v.getxattr(&cx.caller, id, name.as_bytes()))
}

#[test]
fn xattrs_of_every_length() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    for len in [0, 1, 2_047, 2_048, 2_049, 4_096, 65_535, 65_536, 3, 0] {
        let value = pattern(len);
        set(&at, &root(), file, "user.a", &value).unwrap();
        // A longer name with the same beginning is another attribute.
        set(&at, &root(), file, "user.ab", b"b").unwrap();
        assert!(get(&at, &root(), file, "user.a").unwrap() == value, "{len}");
        let names = now(at.v.listxattr(&root().caller, file)).unwrap();
        assert_eq!(names, ["user.a", "user.ab"]);
        at.sound();
    }
    assert_eq!(set(&at, &root(), file, "user.a", &pattern(65_537)), Err(Range));
    let ctime = at.attr(file).ctime;
    let remove = |name: &[u8]| now(at.v.setxattr(&root(), file, name, None, false, false));
    remove(b"user.a").unwrap();
    assert!(at.attr(file).ctime > ctime);
    assert_eq!(remove(b"user.a").unwrap_err().error, NoData);
    assert_eq!(get(&at, &root(), file, "user.a"), Err(NoData));
    assert_eq!(get(&at, &root(), file, "user.ab").unwrap(), "b");
    let only = |create, replace, name: &[u8]| {
        let set = now(at.v.setxattr(&root(), file, name, Some(b"v"), create, replace));
        set.map(drop).map_err(|f| f.error)
    };
    assert_eq!(only(true, false, b"user.ab"), Err(Exist));
    assert_eq!(only(false, true, b"user.new"), Err(NoData));
    assert_eq!(only(true, false, b"user.new"), Ok(()));
    assert_eq!(only(false, true, b"user.new"), Ok(()));
}

#[test]
fn xattrs_and_rights() {
    let at = volume();
    let top = at.v.root();
    let file = at.create(&root(), top, "f", 0o604);
    let link = now(at.v.symlink(&root(), top, b"l", b"f", SetAttributes::default())).unwrap();
    let (other, link) = (who(5, 5, &[]), link.object.id);
    assert_eq!(set(&at, &other, file, "user.a", b"1"), Err(Access));
    assert_eq!(set(&at, &other, file, "trusted.a", b"1"), Err(Perm));
    assert_eq!(set(&at, &other, file, "security.a", b"1"), Err(Perm));
    for name in ["user.a", "trusted.a", "security.a"] {
        set(&at, &root(), file, name, b"1").unwrap();
    }
    assert_eq!(get(&at, &other, file, "user.a").unwrap(), "1");
    assert_eq!(get(&at, &other, file, "security.a").unwrap(), "1");
    assert_eq!(get(&at, &other, file, "trusted.a"), Err(NoData));
    let names = now(at.v.listxattr(&other.caller, file)).unwrap();
    assert_eq!(names, ["security.a", "user.a"]);
    at.set(&root(), file, at::mode(0o600)).unwrap();
    assert_eq!(get(&at, &other, file, "user.a"), Err(Access));
    assert_eq!(set(&at, &root(), link, "user.a", b"1"), Err(Perm), "not on symlinks");
    set(&at, &root(), link, "trusted.a", b"1").unwrap();
    for (name, error) in [("user.", Inval), ("system.x", NotSupp), ("plain", NotSupp)] {
        assert_eq!(set(&at, &root(), file, name, b"1"), Err(error), "{name}");
    }
    assert_eq!(set(&at, &root(), file, &format!("user.{}", "x".repeat(251)), b"1"), Err(Range));
    set(&at, &root(), file, &format!("user.{}", "x".repeat(250)), b"1").unwrap();
    let sticky = at.mkdir(&root(), top, "sticky", 0o777);
    at.set(&root(), sticky, at::mode(0o1777)).unwrap();
    assert_eq!(set(&at, &other, sticky, "user.a", b"1"), Err(Perm));
    at.sound();
}

#[test]
fn xattrs_have_an_end() {
    let at = volume();
    let file = at.create(&root(), at.v.root(), "f", 0o644);
    let mut n = 0;
    while set(&at, &root(), file, &format!("user.{n}"), &pattern(60_000)).is_ok() {
        n += 1;
        assert!(n < 10);
    }
    assert_eq!(n, 4);
    assert_eq!(set(&at, &root(), file, "user.more", &pattern(60_000)), Err(NoSpc));
    // What exists may be set again.
    set(&at, &root(), file, "user.3", &pattern(60_000)).unwrap();
    now(at.v.remove(&root(), at.v.root(), b"f")).unwrap();
    while now(at.v.tend()).unwrap() {}
    assert_eq!(at.sound().inodes, 1);
}

#[test]
fn statfs_counts() {
    let at = volume();
    let empty = now(at.v.statfs()).unwrap();
    assert!(empty.free_bytes > 0 && empty.free_bytes <= empty.total_bytes);
    assert_eq!(empty.total_files - empty.free_files, 1);
    for n in 0..10 {
        at.create(&root(), at.v.root(), &format!("{n}"), 0o644);
    }
    let ten = now(at.v.statfs()).unwrap();
    assert_eq!(ten.total_files - ten.free_files, 11);
}
