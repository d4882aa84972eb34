//! Every procedure and its errors (RFC 1813 §3.3; nfs-clients rows 1, 2, 4, 10, 18, 20, 22 to 26).
#![allow(clippy::unwrap_used)]

mod at;

use at::At;
use esker_tests::nfsclient::{
    Attr, Client, Fh, Ftype, NFS, RpcStatus, Sattr, SattrTime, Status, Time, Wcc, proc::*,
};

/// One of each kind of object.
struct Zoo {
    at: At,
    c: Client,
    top: Fh,
    dir: Fh,
    file: Fh,
    soft: Fh,
    fifo: Fh,
    gone: Fh,
    forged: Fh,
}

fn zoo() -> Zoo {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let dir = c.mkdir(&top, "dir", 0o755).unwrap();
    c.create(&dir, "inside", 0o644).unwrap();
    let file = c.create(&top, "file", 0o644).unwrap();
    c.write(&file, 0, UNSTABLE, b"0123456789").unwrap();
    let set = Sattr::mode(0o777);
    let soft = Symlink { dir: &top, name: b"soft", set, target: b"file" };
    let soft = c.call(&soft).unwrap().fh.unwrap();
    let fifo = Mknod { dir: &top, name: b"fifo", ftype: Ftype::Fifo, set, rdev: (0, 0) };
    let fifo = c.call(&fifo).unwrap().fh.unwrap();
    let gone = c.create(&top, "gone", 0o644).unwrap();
    c.remove(&top, "gone").unwrap();
    let mut forged = file.clone();
    forged.0[20] ^= 1;
    Zoo { at, c, top, dir, file, soft, fifo, gone, forged }
}

#[test]
fn stale_and_forged_handles_in_all_twenty_one() {
    let Zoo { at: _at, mut c, top, gone, forged, .. } = zoo();
    for (fh, expected) in [(&gone, Status::STALE), (&forged, Status::BADHANDLE)] {
        let set = Sattr::mode(0o600);
        let n = &b"name"[..];
        let mknod = Mknod { dir: fh, name: n, ftype: Ftype::Fifo, set, rdev: (0, 0) };
        let plus = Readdirplus { dir: fh, cookie: 0, verf: [0; 8], dircount: 512, maxcount: 4096 };
        let said = [
            c.call(&Getattr(fh)).unwrap().status,
            c.call(&Setattr { fh, set, guard: None }).unwrap().status,
            c.call(&Lookup { dir: fh, name: n }).unwrap().status,
            c.call(&Access { fh, want: 63 }).unwrap().status,
            c.call(&Readlink(fh)).unwrap().status,
            c.call(&Read { fh, offset: 0, count: 1 }).unwrap().status,
            c.call(&Write { fh, offset: 0, stable: 0, data: b"x" }).unwrap().status,
            c.call(&Create { dir: fh, name: n, how: How::Guarded(set) }).unwrap().status,
            c.call(&Create { dir: fh, name: n, how: How::Exclusive([1; 8]) }).unwrap().status,
            c.call(&Mkdir { dir: fh, name: n, set }).unwrap().status,
            c.call(&Symlink { dir: fh, name: n, set, target: b"t" }).unwrap().status,
            c.call(&mknod).unwrap().status,
            c.call(&Remove { dir: fh, name: n }).unwrap().status,
            c.call(&Rmdir { dir: fh, name: n }).unwrap().status,
            c.call(&Rename { from: (fh, n), to: (&top, n) }).unwrap().status,
            c.call(&Rename { from: (&top, b"file"), to: (fh, n) }).unwrap().status,
            c.call(&Link { fh, dir: &top, name: n }).unwrap().status,
            c.call(&Readdir { dir: fh, cookie: 0, verf: [0; 8], count: 4096 }).unwrap().status,
            c.call(&plus).unwrap().status,
            c.call(&Fsstat(fh)).unwrap().status,
            c.call(&Fsinfo(fh)).unwrap().status,
            c.call(&Pathconf(fh)).unwrap().status,
            c.call(&Commit { fh, offset: 0, count: 0 }).unwrap().status,
        ];
        for (n, status) in said.into_iter().enumerate() {
            assert_eq!(status, expected, "call {n}");
        }
    }
    // LINK: the file is there, the directory is not.
    let file = c.walk(&top, "file").unwrap();
    let link = Link { fh: &file, dir: &gone, name: b"n" };
    assert_eq!(c.call(&link).unwrap().status, Status::STALE);
    let link = Link { fh: &file, dir: &forged, name: b"n" };
    assert_eq!(c.call(&link).unwrap().status, Status::BADHANDLE);
}

#[test]
fn objects_of_the_wrong_kind() {
    let Zoo { at: _at, mut c, top, dir, file, soft, fifo, .. } = zoo();
    let n = &b"n"[..];
    let set = Sattr::default();
    for fh in [&file, &soft, &fifo] {
        assert_eq!(c.call(&Lookup { dir: fh, name: n }).unwrap().status, Status::NOTDIR);
        let create = Create { dir: fh, name: n, how: How::Unchecked(set) };
        assert_eq!(c.call(&create).unwrap().status, Status::NOTDIR);
        assert_eq!(c.call(&Mkdir { dir: fh, name: n, set }).unwrap().status, Status::NOTDIR);
        assert_eq!(c.call(&Remove { dir: fh, name: n }).unwrap().status, Status::NOTDIR);
        assert_eq!(c.call(&Rmdir { dir: fh, name: n }).unwrap().status, Status::NOTDIR);
        let r = Rename { from: (fh, n), to: (&top, n) };
        assert_eq!(c.call(&r).unwrap().status, Status::NOTDIR);
        let r = Rename { from: (&top, b"file"), to: (fh, n) };
        assert_eq!(c.call(&r).unwrap().status, Status::NOTDIR);
        assert_eq!(c.call(&Link { fh: &file, dir: fh, name: n }).unwrap().status, Status::NOTDIR);
        let list = Readdir { dir: fh, cookie: 0, verf: [0; 8], count: 4096 };
        assert_eq!(c.call(&list).unwrap().status, Status::NOTDIR);
    }
    for fh in [&dir, &file, &fifo] {
        assert_eq!(c.call(&Readlink(fh)).unwrap().status, Status::INVAL);
    }
    let big = Setattr { fh: &dir, set: Sattr::size(0), guard: None };
    let said = c.call(&big).unwrap().status;
    assert!(matches!(said, Status::ISDIR | Status::INVAL), "{said:?}");
    let said = c.read(&dir, 0, 1).unwrap().status;
    assert!(matches!(said, Status::ISDIR | Status::INVAL), "{said:?}");
    let said = c.write(&dir, 0, 0, b"x").unwrap().status;
    assert!(matches!(said, Status::ISDIR | Status::INVAL), "{said:?}");
    for fh in [&soft, &fifo] {
        assert_eq!(c.read(fh, 0, 1).unwrap().status, Status::INVAL);
        assert_eq!(c.write(fh, 0, 0, b"x").unwrap().status, Status::INVAL);
    }
    assert_eq!(c.remove(&top, "dir").unwrap().0, Status::ISDIR);
    assert_eq!(c.call(&Rmdir { dir: &top, name: b"file" }).unwrap().status, Status::NOTDIR);
    assert_eq!(c.call(&Rmdir { dir: &top, name: b"dir" }).unwrap().status, Status::NOTEMPTY);
    let said = c.call(&Link { fh: &dir, dir: &top, name: n }).unwrap().status;
    assert!(matches!(said, Status::ISDIR | Status::PERM | Status::INVAL), "{said:?}");
    let r = Rename { from: (&top, b"file"), to: (&top, b"dir") };
    let said = c.call(&r).unwrap().status;
    assert!(matches!(said, Status::ISDIR | Status::EXIST), "{said:?}");
    let r = Rename { from: (&top, b"dir"), to: (&top, b"file") };
    let said = c.call(&r).unwrap().status;
    assert!(matches!(said, Status::NOTDIR | Status::EXIST), "{said:?}");
    let r = Rename { from: (&top, b"dir"), to: (&dir, b"below") };
    assert_eq!(c.call(&r).unwrap().status, Status::INVAL);
    for kind in [Ftype::Reg, Ftype::Dir, Ftype::Lnk] {
        let m = Mknod { dir: &top, name: n, ftype: kind, set, rdev: (0, 0) };
        assert_eq!(c.call(&m).unwrap().status, Status::BADTYPE);
    }
}

#[test]
fn names_that_no_directory_holds() {
    let Zoo { at: _at, mut c, top, file, .. } = zoo();
    let long = vec![b'x'; 256];
    let set = Sattr::default();
    let how = How::Guarded(set);
    for (name, expected) in [
        (&b""[..], Status::ACCES),
        (b"a/b", Status::ACCES),
        (b"a\0b", Status::ACCES),
        (&long, Status::NAMETOOLONG),
    ] {
        let said = [
            c.call(&Lookup { dir: &top, name }).unwrap().status,
            c.call(&Create { dir: &top, name, how }).unwrap().status,
            c.call(&Mkdir { dir: &top, name, set }).unwrap().status,
            c.call(&Symlink { dir: &top, name, set, target: b"t" }).unwrap().status,
            c.call(&Remove { dir: &top, name }).unwrap().status,
            c.call(&Rmdir { dir: &top, name }).unwrap().status,
            c.call(&Rename { from: (&top, name), to: (&top, b"n") }).unwrap().status,
            c.call(&Rename { from: (&top, b"file"), to: (&top, name) }).unwrap().status,
            c.call(&Link { fh: &file, dir: &top, name }).unwrap().status,
        ];
        assert!(said.iter().all(|s| *s == expected), "{name:?}: {said:?}");
    }
    for name in [&b"."[..], b".."] {
        assert!(c.call(&Lookup { dir: &top, name }).unwrap().fh == Some(top.clone()));
        let said = [
            c.call(&Create { dir: &top, name, how }).unwrap().status,
            c.call(&Mkdir { dir: &top, name, set }).unwrap().status,
            c.call(&Symlink { dir: &top, name, set, target: b"t" }).unwrap().status,
            c.call(&Link { fh: &file, dir: &top, name }).unwrap().status,
        ];
        assert!(said.iter().all(|s| *s == Status::EXIST), "{said:?}");
        assert_eq!(c.call(&Remove { dir: &top, name }).unwrap().status, Status::ISDIR);
        let r = Rename { from: (&top, name), to: (&top, b"n") };
        assert_eq!(c.call(&r).unwrap().status, Status::INVAL);
    }
    assert_eq!(c.call(&Rmdir { dir: &top, name: b"." }).unwrap().status, Status::INVAL);
    assert_eq!(c.call(&Rmdir { dir: &top, name: b".." }).unwrap().status, Status::EXIST);
    // Bytes, not text: and 255 of them are fine.
    let odd: Vec<u8> = (1..=255u8).filter(|b| *b != b'/').collect();
    let made = c.call(&Create { dir: &top, name: &odd, how }).unwrap();
    assert!(made.status.ok());
    assert_eq!(c.call(&Lookup { dir: &top, name: &odd }).unwrap().fh, made.fh);
    assert!(c.list(&top, 4096).unwrap().entries.iter().any(|e| e.name == odd));
    let target = vec![b't'; 4095];
    let made = c.call(&Symlink { dir: &top, name: b"far", set, target: &target }).unwrap();
    assert_eq!(c.call(&Readlink(&made.fh.unwrap())).unwrap().target, target);
    for (target, expected) in [
        (vec![b't'; 4096], Status::NAMETOOLONG),
        (vec![], Status::INVAL),
        (b"a\0b".to_vec(), Status::INVAL),
    ] {
        let s = Symlink { dir: &top, name: b"bad", set, target: &target };
        assert_eq!(c.call(&s).unwrap().status, expected);
    }
}

#[test]
fn reading_to_the_end_and_beyond() {
    let Zoo { at: _at, mut c, file, .. } = zoo();
    for (offset, count, data, eof) in [
        (0, 10, &b"0123456789"[..], true),
        (0, 9, b"012345678", false),
        (9, 1, b"9", true),
        (9, 100, b"9", true),
        (10, 1, b"", true),
        (1 << 40, 1, b"", true),
        (0, 0, b"", false),
        (10, 0, b"", true),
        (0, u32::MAX, b"0123456789", true),
    ] {
        let r = c.read(&file, offset, count).unwrap();
        assert_eq!((r.status, &r.data[..], r.eof), (Status::OK, data, eof), "{offset} {count}");
    }
    assert_eq!(c.read(&file, u64::MAX, 1).unwrap().status, Status::INVAL);
    // A READ of more than rtmax is cut, and says that it is not the end.
    c.setattr(&file, Sattr::size(3 << 20)).unwrap();
    let r = c.read(&file, 0, 3 << 20).unwrap();
    assert_eq!((r.data.len(), r.eof), (1 << 20, false));
}

#[test]
fn writing_at_the_limits() {
    let Zoo { at: _at, mut c, file, .. } = zoo();
    let max = i64::MAX as u64;
    let w = c.write(&file, max - 1, UNSTABLE, b"x").unwrap();
    assert_eq!((w.status, w.count), (Status::OK, 1));
    assert_eq!(c.attr(&file).unwrap().size, max);
    assert_eq!(c.read(&file, max - 1, 10).unwrap().data, b"x");
    for offset in [max, max + 1, u64::MAX - 1, u64::MAX] {
        assert_eq!(c.write(&file, offset, 0, b"xy").unwrap().status, Status::FBIG, "{offset}");
    }
    let said = c.setattr(&file, Sattr::size(max + 1)).unwrap().status;
    assert!(matches!(said, Status::FBIG | Status::INVAL), "{said:?}");
    let none = c.write(&file, 0, FILE_SYNC, b"").unwrap();
    assert_eq!((none.status, none.count, none.committed), (Status::OK, 0, FILE_SYNC));
    let sync = c.write(&file, 0, DATA_SYNC, b"abc").unwrap();
    assert!(sync.committed >= DATA_SYNC);
    // 1 MiB is the largest WRITE; a record that is larger by less than the header's room is cut.
    let data = vec![3; (1 << 20) + 512];
    let w = c.write(&file, 0, UNSTABLE, &data).unwrap();
    assert_eq!((w.status, w.count), (Status::OK, 1 << 20));
    assert!(c.commit(&file).unwrap().status.ok());
}

#[test]
fn setattr_guards_masks_and_ids() {
    let Zoo { at: _at, mut c, file, .. } = zoo();
    let before = c.attr(&file).unwrap();
    let wrong = Time { sec: before.ctime.sec, nsec: before.ctime.nsec ^ 1 };
    let set = Sattr::mode(0o600);
    let said = c.call(&Setattr { fh: &file, set, guard: Some(wrong) }).unwrap();
    assert_eq!(said.status, Status::NOT_SYNC);
    assert_eq!(said.wcc.after.map(|a| a.ctime), Some(before.ctime), "nothing was changed");
    let said = c.call(&Setattr { fh: &file, set, guard: Some(before.ctime) }).unwrap();
    assert_eq!(said.status, Status::OK);
    assert_eq!(said.wcc.before, Some(before.wcc()));
    // Type bits in the mode, ids of -1.
    let set = Sattr { uid: Some(u32::MAX), gid: Some(u32::MAX), ..Sattr::mode(0o104_751) };
    c.setattr(&file, set).unwrap();
    let a = c.attr(&file).unwrap();
    assert_eq!((a.mode, a.uid, a.gid), (0o4751, 0, 0));
    let at = Time { sec: 1_000, nsec: 7 };
    let set = Sattr { atime: SattrTime::To(at), mtime: SattrTime::Now, ..Sattr::default() };
    c.setattr(&file, set).unwrap();
    let a = c.attr(&file).unwrap();
    assert_eq!(a.atime, at);
    assert!(a.mtime >= before.mtime && a.mtime.sec > 1_000);
    let late = Time { sec: u32::MAX, nsec: 999_999_999 };
    let set = Sattr { mtime: SattrTime::To(late), ..Sattr::default() };
    c.setattr(&file, set).unwrap();
    assert_eq!(c.attr(&file).unwrap().mtime, late, "32 bits of seconds, unsigned");
}

#[test]
fn create_in_all_its_ways() {
    let Zoo { at: _at, mut c, top, file, .. } = zoo();
    let make = |name: &'static [u8], how| Create { dir: &top, name, how };
    let set = Sattr { size: Some(4), ..Sattr::mode(0o600) };
    let r = c.call(&make(b"file", How::Unchecked(set))).unwrap();
    assert_eq!((r.status, r.fh.as_ref()), (Status::OK, Some(&file)));
    let a = c.attr(&file).unwrap();
    assert_eq!((a.size, a.mode), (4, 0o644), "of an existing file only the size is set");
    assert_eq!(c.call(&make(b"file", How::Guarded(set))).unwrap().status, Status::EXIST);
    let said = c.call(&make(b"dir", How::Unchecked(set))).unwrap().status;
    assert!(matches!(said, Status::EXIST | Status::ISDIR), "{said:?}");
    let r = c.call(&make(b"new", How::Guarded(set))).unwrap();
    let a = r.attr.unwrap();
    assert_eq!((a.ftype, a.mode, a.size, a.nlink), (Ftype::Reg, 0o600, 4, 1));
    let (before, after) = (r.dir.before.unwrap(), r.dir.after.unwrap());
    assert!(before.ctime < after.ctime && before.mtime < after.mtime);
    let r = c.call(&make(b"excl", How::Exclusive([9; 8]))).unwrap();
    assert_eq!(r.status, Status::OK);
    assert_eq!(c.call(&make(b"file", How::Exclusive([9; 8]))).unwrap().status, Status::EXIST);
}

#[test]
fn nodes_and_their_numbers() {
    let Zoo { at, mut c, top, .. } = zoo();
    let set = Sattr::mode(0o644);
    let numbers = (0xdead_beef, 0x8000_0001);
    for (kind, rdev) in
        [(Ftype::Chr, numbers), (Ftype::Blk, numbers), (Ftype::Fifo, (0, 0)), (Ftype::Sock, (0, 0))]
    {
        let name = format!("{kind:?}");
        let m = Mknod { dir: &top, name: name.as_bytes(), ftype: kind, set, rdev };
        let a = c.call(&m).unwrap().attr.unwrap();
        assert_eq!((a.ftype, a.rdev, a.mode), (kind, rdev, 0o644));
    }
    let open = c.mkdir(&top, "open", 0o777).unwrap();
    c.setattr(&open, Sattr::mode(0o777)).unwrap();
    let mut user = at.user(1000, 1000, &[]);
    let dev = Mknod { dir: &open, name: b"d", ftype: Ftype::Blk, set, rdev: (8, 0) };
    let said = user.call(&dev).unwrap().status;
    assert!(matches!(said, Status::PERM | Status::ACCES), "{said:?}");
    let fifo = Mknod { dir: &open, name: b"p", ftype: Ftype::Fifo, set, rdev: (0, 0) };
    assert!(user.call(&fifo).unwrap().status.ok());
}

#[test]
fn what_the_volume_says_of_itself() {
    let Zoo { at: _at, mut c, top, file, .. } = zoo();
    let info = c.call(&Fsinfo(&top)).unwrap().ok.unwrap();
    assert_eq!((info.rtmax, info.wtmax), (1 << 20, 1 << 20));
    assert!(info.rtpref <= info.rtmax && info.wtpref <= info.wtmax && info.dtpref >= 4096);
    assert_eq!((info.maxfilesize, info.properties), (i64::MAX as u64, 0x1b));
    assert_eq!(info.time_delta, Time { sec: 0, nsec: 1 });
    let conf = c.call(&Pathconf(&file)).unwrap().ok.unwrap();
    assert_eq!((conf.name_max, conf.no_trunc, conf.chown_restricted), (255, true, true));
    assert_eq!((conf.case_insensitive, conf.case_preserving), (false, true));
    assert!(conf.linkmax >= 32_000);
    let stat = c.call(&Fsstat(&top)).unwrap().ok.unwrap();
    assert!(stat.tbytes >= stat.fbytes && stat.fbytes >= stat.abytes && stat.abytes > 0);
    assert!(stat.tfiles > stat.ffiles && stat.ffiles > 0);
    let (a, b) = (c.attr(&top).unwrap(), c.attr(&file).unwrap());
    assert_eq!((a.fsid, b.fsid), (0x1234_5678_9abc_def0, a.fsid));
    assert_ne!(a.fileid, b.fileid);
}

#[test]
fn both_sides_of_every_change() {
    let Zoo { at: _at, mut c, top, dir, file, .. } = zoo();
    let chained = |last: &mut Wcc, wcc: Wcc| {
        assert_eq!(wcc.before, last.after.as_ref().map(Attr::wcc), "no gap between changes");
        let (b, a) = (wcc.before.unwrap(), wcc.after.clone().unwrap());
        assert!(a.ctime > b.ctime && a.mtime > b.mtime, "strictly rising");
        *last = wcc;
    };
    let mut of_top = Wcc { before: None, after: Some(c.attr(&top).unwrap()) };
    let mut of_dir = Wcc { before: None, after: Some(c.attr(&dir).unwrap()) };
    for n in 0..200 {
        let name = format!("n{n}");
        let name = name.as_bytes();
        let set = Sattr::default();
        let how = How::Guarded(set);
        chained(&mut of_top, c.call(&Create { dir: &top, name, how }).unwrap().dir);
        let r = c.call(&Rename { from: (&top, name), to: (&dir, name) }).unwrap();
        chained(&mut of_top, r.from);
        chained(&mut of_dir, r.to);
        chained(&mut of_top, c.call(&Link { fh: &file, dir: &top, name }).unwrap().dir);
        chained(&mut of_top, c.call(&Remove { dir: &top, name }).unwrap().wcc);
        chained(&mut of_dir, c.call(&Remove { dir: &dir, name }).unwrap().wcc);
    }
    // On errors too.
    let r = c.call(&Remove { dir: &top, name: b"none" }).unwrap();
    assert_eq!((r.status, r.wcc.after), (Status::NOENT, of_top.after.clone()));
    let r = c.call(&Rename { from: (&top, b"none"), to: (&dir, b"x") }).unwrap();
    assert_eq!((r.from.after, r.to.after), (of_top.after.clone(), of_dir.after));
    let r = c.call(&Lookup { dir: &top, name: b"none" }).unwrap();
    assert_eq!((r.status, r.dir), (Status::NOENT, of_top.after));
    let mut of_file = Wcc { before: None, after: Some(c.attr(&file).unwrap()) };
    for n in 0..50u64 {
        chained(&mut of_file, c.write(&file, n, UNSTABLE, b"x").unwrap().wcc);
    }
}

#[test]
fn two_clients_see_one_chain_of_changes() {
    let Zoo { at, mut c, top, .. } = zoo();
    let mut d = at.root();
    let mut last = c.attr(&top).unwrap().wcc();
    for n in 0..300 {
        let client = if n % 3 == 0 { &mut c } else { &mut d };
        let name = format!("m{n}");
        let made = client
            .call(&Mkdir { dir: &top, name: name.as_bytes(), set: Sattr::mode(0o700) })
            .unwrap();
        assert_eq!(made.dir.before, Some(last), "pre of n+1 equals post of n");
        last = made.dir.after.unwrap().wcc();
    }
}

#[test]
fn rights_without_asking_access() {
    let Zoo { at, mut c, top, .. } = zoo();
    let file = c.create(&top, "private", 0o600).unwrap();
    let own = Sattr { uid: Some(1000), gid: Some(100), ..Sattr::mode(0o040) };
    c.setattr(&file, own).unwrap();
    c.write(&file, 0, 0, b"data").unwrap();
    let mut owner = at.user(1000, 1000, &[]);
    let mut group = at.user(1001, 1001, &[5, 100]);
    let mut other = at.user(1002, 1002, &[]);
    // §4.4: the owner reads and writes an open file whatever its mode says …
    assert!(owner.read(&file, 0, 4).unwrap().status.ok());
    assert!(owner.write(&file, 0, 0, b"DATA").unwrap().status.ok());
    assert!(owner.setattr(&file, Sattr::size(2)).unwrap().status.ok());
    // … but ACCESS tells the mode.
    assert_eq!(owner.call(&Access { fh: &file, want: 63 }).unwrap().bits & 1, 0);
    assert_eq!(group.call(&Access { fh: &file, want: 63 }).unwrap().bits & 5, 1);
    assert_eq!(other.call(&Access { fh: &file, want: 63 }).unwrap().bits, 0);
    assert!(group.read(&file, 0, 4).unwrap().status.ok());
    assert_eq!(group.write(&file, 0, 0, b"x").unwrap().status, Status::ACCES);
    assert_eq!(other.read(&file, 0, 4).unwrap().status, Status::ACCES);
    assert_eq!(other.setattr(&file, Sattr::size(0)).unwrap().status, Status::ACCES);
    assert_eq!(other.setattr(&file, Sattr::mode(0o777)).unwrap().status, Status::PERM);
    let chown = Sattr { uid: Some(1002), ..Sattr::default() };
    assert_eq!(owner.setattr(&file, chown).unwrap().status, Status::PERM);
    assert_eq!(other.remove(&top, "private").unwrap().0, Status::ACCES);
    let how = How::Guarded(Sattr::default());
    let made = other.call(&Create { dir: &top, name: b"mine", how }).unwrap();
    assert_eq!(made.status, Status::ACCES);
    assert!(made.dir.after.is_some());
    // Execute implies read (a program must be paged in).
    c.setattr(&file, Sattr::mode(0o001)).unwrap();
    assert!(other.read(&file, 0, 2).unwrap().status.ok());
}

#[test]
fn the_table_is_complete() {
    // Beyond the 22 there is nothing, and each of the 22 is decoded: an empty argument list is
    // garbage to all but NULL.
    let at = At::new();
    let mut c = at.root();
    for n in 0..30 {
        let said = c.call_raw((NFS, 3, n), &[]).unwrap().status;
        let expected = match n {
            0 => RpcStatus::Success,
            1..22 => RpcStatus::GarbageArgs,
            _ => RpcStatus::ProcUnavail,
        };
        assert_eq!(said, expected, "procedure {n}");
    }
}
