//! Rows 5, 6, 11, 14, 17, 18, 22, 24, 25 and 26: data, handles, verifiers.

use esker_tests::nfsclient::proc::{
    Call, Commit, Create, DATA_SYNC, FILE_SYNC, Fsinfo, Fsstat, Getattr, How, Mknod, Pathconf,
    Read, Rename, UNSTABLE, Write,
};
use esker_tests::nfsclient::{Fault, Fh, Ftype, NFS, RpcStatus, Sattr, SattrTime, Status, Time};

use crate::{Lab, fine, refused};

/// eof exactly when offset + count reaches the end; short only there; more than rtmax is cut.
#[test]
fn reads_end_where_the_file_ends() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    let data: Vec<u8> = (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect();
    fine!(c.write(&fh, 0, UNSTABLE, &data));
    for (offset, count) in [
        (0u64, 0u32),
        (0, 1),
        (0, 4096),
        (0, 299_999),
        (0, 300_000),
        (0, 300_001),
        (1, 299_999),
        (131_071, 2),
        (131_072, 131_072),
        (299_999, 1),
        (299_999, 2),
        (300_000, 0),
        (300_000, 1),
        (300_001, 10),
        (u64::from(u32::MAX), 5),
        (1 << 62, 1),
    ] {
        let r = fine!(c.read(&fh, offset, count));
        let from = (offset as usize).min(data.len());
        let want = &data[from..from.saturating_add(count as usize).min(data.len())];
        assert!(r.data == want, "{count} at {offset}: {} bytes", r.data.len());
        assert_eq!(r.eof, offset + u64::from(count) >= 300_000, "eof of {count} at {offset}");
    }
    let rtmax = fine!(c.call(&Fsinfo(&fh))).ok.unwrap().rtmax;
    let big = c.create(&lab.root, "big", 0o644).unwrap();
    fine!(c.setattr(&big, Sattr::size(4 << 20)));
    let r = fine!(c.read(&big, 0, u32::MAX));
    assert_eq!((r.data.len(), r.eof), (rtmax as usize, false), "cut at rtmax, and not the end");
    assert!(r.data.iter().all(|&b| b == 0), "a hole is zeros");
}

/// Offsets up to 2⁶³ − 1 work and cost nothing; beyond is refused without wrapping round.
#[test]
fn offsets_have_an_end() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    let max = fine!(c.call(&Fsinfo(&fh))).ok.unwrap().maxfilesize;
    assert!(max >= 1 << 60, "maxfilesize {max}");
    let last = max - 1;
    fine!(c.write(&fh, last, FILE_SYNC, b"z"));
    let a = c.attr(&fh).unwrap();
    assert_eq!(a.size, max);
    assert!(a.used < 1 << 20, "a hole costs nothing: {}", a.used);
    let r = fine!(c.read(&fh, last - 9, 10));
    assert_eq!((r.data.as_slice(), r.eof), (&b"\0\0\0\0\0\0\0\0\0z"[..], true));
    for offset in [max, u64::MAX - 1, u64::MAX, 1 << 63] {
        refused!(c.write(&fh, offset, UNSTABLE, b"ab"), FBIG | INVAL);
    }
    refused!(c.setattr(&fh, Sattr::size(u64::MAX)), FBIG | INVAL);
    refused!(c.setattr(&fh, Sattr::size(1 << 63)), FBIG | INVAL);
    assert_eq!(c.attr(&fh).unwrap().size, max, "nothing of it happened");
    let r = c.read(&fh, u64::MAX - 1, 10).unwrap();
    assert!(r.data.is_empty() && (!r.status.ok() || r.eof), "{:?}", r.status);
    fine!(c.setattr(&fh, Sattr::size(3)));
    fine!(c.setattr(&fh, Sattr::size(10)));
    assert_eq!(fine!(c.read(&fh, 0, 100)).data, [0; 10]);
}

/// One verifier for WRITE and COMMIT, equal until the server starts again, then another.
#[test]
fn the_write_verifier_tells_of_a_restart() {
    let mut lab = Lab::new();
    let mut seen = Vec::new();
    for round in 0..3 {
        let mut c = lab.client();
        let fh = c.create(&lab.root, "f", 0o644).unwrap();
        let w = fine!(c.write(&fh, 0, UNSTABLE, &[round; 5000]));
        let d = fine!(c.write(&fh, 5000, DATA_SYNC, &[round; 10]));
        let f = fine!(c.write(&fh, 6000, FILE_SYNC, &[round; 10]));
        assert!(d.committed >= DATA_SYNC && f.committed == FILE_SYNC);
        let k = fine!(c.commit(&fh));
        let part = fine!(c.call(&Commit { fh: &fh, offset: 100, count: 10 }));
        let e = fine!(c.write(&fh, 0, UNSTABLE, b"x"));
        for verf in [d.verf, f.verf, k.verf, part.verf, e.verf] {
            assert_eq!(verf, w.verf);
        }
        assert!(!seen.contains(&w.verf), "round {round} has a verifier of its own");
        seen.push(w.verf);
        if round == 0 {
            lab.server.kill().unwrap();
            lab.server.start_again().unwrap();
        } else {
            lab.server.restart().unwrap();
        }
    }
}

/// A handle is good over renames and restarts, STALE once its file is gone, and never another's.
#[test]
fn handles_are_identities() {
    let mut lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "a", 0o644).unwrap();
    fine!(c.write(&fh, 0, FILE_SYNC, b"mine"));
    let was = c.attr(&fh).unwrap();
    fine!(c.call(&Rename { from: (&lab.root, b"a"), to: (&lab.root, b"b") }));
    lab.server.kill().unwrap();
    lab.server.start_again().unwrap();
    let mut c = lab.client();
    let now = c.attr(&fh).unwrap();
    assert_eq!((now.fileid, now.fsid, now.size), (was.fileid, was.fsid, 4));
    assert_eq!(c.walk(&lab.root, "b").unwrap(), fh, "the same handle again");
    assert!(c.remove(&lab.root, "b").unwrap().0.ok());
    refused!(c.call(&Getattr(&fh)), STALE);
    refused!(c.read(&fh, 0, 10), STALE);
    refused!(c.write(&fh, 0, UNSTABLE, b"x"), STALE);
    for i in 0..50 {
        let new = c.create(&lab.root, &format!("n{i}"), 0o644).unwrap();
        assert_ne!(new, fh);
        assert_ne!(c.attr(&new).unwrap().fileid, was.fileid, "numbers are never used twice");
    }
    lab.server.restart().unwrap();
    refused!(lab.client().call(&Getattr(&fh)), STALE);
    let next = lab.client().create(&lab.root, "later", 0o644).unwrap();
    assert_ne!(lab.client().attr(&next).unwrap().fileid, was.fileid);
}

/// Every bit of a handle counts; lengths 0 to 64 that were never given are malformed.
#[test]
fn forged_handles_are_refused() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    for bit in 0..fh.0.len() * 8 {
        let mut forged = fh.clone();
        forged.0[bit / 8] ^= 1 << (bit % 8);
        refused!(c.call(&Getattr(&forged)), BADHANDLE | STALE);
        refused!(c.write(&forged, 0, UNSTABLE, b"!"), BADHANDLE | STALE);
    }
    for len in (0..=64).filter(|&n| n != fh.0.len()) {
        refused!(c.call(&Getattr(&Fh(vec![0x5a; len]))), BADHANDLE);
    }
    assert_eq!(c.attr(&fh).unwrap().size, 0, "nothing was written");
}

/// Only permission bits of a mode count; UNCHECKED applies to what exists only the size.
#[test]
fn sattr_is_masked() {
    let lab = Lab::new();
    let mut c = lab.client();
    let how = How::Guarded(Sattr::mode(0o170_000 | 0o4755));
    let fh = fine!(c.call(&Create { dir: &lab.root, name: b"f", how })).fh.unwrap();
    assert_eq!(c.attr(&fh).unwrap().mode, 0o4755);
    fine!(c.setattr(&fh, Sattr::mode(0o100_644)));
    assert_eq!(c.attr(&fh).unwrap().mode, 0o644);
    fine!(c.write(&fh, 0, UNSTABLE, b"0123456789"));
    let how = How::Unchecked(Sattr {
        mode: Some(0o777),
        size: Some(4),
        uid: Some(55),
        ..Sattr::default()
    });
    let again = fine!(c.call(&Create { dir: &lab.root, name: b"f", how }));
    assert_eq!(again.fh, Some(fh.clone()));
    let a = c.attr(&fh).unwrap();
    assert_eq!((a.mode, a.uid, a.size), (0o644, 0, 4));
    let time = Time { sec: 1_000_000, nsec: 123_456_789 };
    fine!(c.setattr(
        &fh,
        Sattr {
            atime: SattrTime::To(time),
            mtime: SattrTime::To(Time { sec: u32::MAX, nsec: 1 }),
            ..Sattr::default()
        }
    ));
    let b = c.attr(&fh).unwrap();
    assert_eq!((b.atime, b.mtime), (time, Time { sec: u32::MAX, nsec: 1 }), "to the nanosecond");
    fine!(c.setattr(&fh, Sattr { mtime: SattrTime::Now, ..Sattr::default() }));
    assert!(c.attr(&fh).unwrap().mtime.sec < u32::MAX);
    fine!(c.setattr(&fh, Sattr { uid: Some(u32::MAX - 1), gid: Some(7), ..Sattr::default() }));
    let d = c.attr(&fh).unwrap();
    assert_eq!((d.uid, d.gid), (u32::MAX - 1, 7));
    let bad =
        Sattr { atime: SattrTime::To(Time { sec: 1, nsec: 1_000_000_000 }), ..Sattr::default() };
    match c.setattr(&fh, bad) {
        Ok(r) => assert_eq!(r.status, Status::INVAL),
        Err(e) => assert!(matches!(e, Fault::Rpc(RpcStatus::GarbageArgs)), "{e}"),
    }
}

/// Devices by root only, fifos and sockets by anyone, device numbers of 32 and 32 bits.
#[test]
fn nodes_of_every_kind() {
    let lab = Lab::new();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o777).unwrap();
    fine!(c.setattr(&dir, Sattr::mode(0o777)));
    let mut user = lab.user(1000);
    for (i, ftype) in [Ftype::Blk, Ftype::Chr, Ftype::Fifo, Ftype::Sock].into_iter().enumerate() {
        let rdev = (0x1234_5678, 0x9abc_def0);
        let name = format!("n{i}");
        let call = Mknod { dir: &dir, name: name.as_bytes(), ftype, set: Sattr::mode(0o640), rdev };
        let device = matches!(ftype, Ftype::Blk | Ftype::Chr);
        let r = if device {
            refused!(user.call(&call), PERM);
            fine!(c.call(&call))
        } else {
            fine!(user.call(&call))
        };
        let a = c.attr(&r.fh.unwrap()).unwrap();
        assert_eq!((a.ftype, a.mode), (ftype, 0o640));
        assert_eq!(a.rdev, if device { rdev } else { (0, 0) });
    }
    for ftype in [Ftype::Reg, Ftype::Dir, Ftype::Lnk] {
        let call = Mknod { dir: &dir, name: b"no", ftype, set: Sattr::default(), rdev: (0, 0) };
        refused!(c.call(&call), BADTYPE);
    }
}

/// One fsid for ever, the same for every object; what FSSTAT and PATHCONF say is possible.
#[test]
fn the_volume_describes_itself() {
    let mut lab = Lab::new();
    let mut c = lab.client();
    let root = c.attr(&lab.root).unwrap();
    let sub = c.mkdir(&lab.root, "d", 0o755).unwrap();
    assert_eq!(c.attr(&sub).unwrap().fsid, root.fsid);
    let s = fine!(c.call(&Fsstat(&sub))).ok.unwrap();
    assert!(s.abytes <= s.fbytes && s.fbytes <= s.tbytes && s.tbytes > 1 << 20, "{s:?}");
    assert!(s.afiles <= s.ffiles && s.ffiles <= s.tfiles && s.afiles > 1000, "{s:?}");
    let p = fine!(c.call(&Pathconf(&sub))).ok.unwrap();
    assert_eq!((p.name_max, p.no_trunc, p.chown_restricted), (255, true, true));
    assert_eq!((p.case_insensitive, p.case_preserving), (false, true));
    let i = fine!(c.call(&Fsinfo(&sub))).ok.unwrap();
    assert!(i.rtmax >= 65_536 && i.wtmax >= 65_536 && i.dtpref >= 4096);
    assert_eq!(i.properties & 0x1b, 0x1b, "links, symlinks, one PATHCONF for all, times");
    lab.server.restart().unwrap();
    assert_eq!(lab.client().attr(&lab.root).unwrap().fsid, root.fsid);
}

/// 10,000 calls in flight on one connection: every one answered once.
#[test]
fn ten_thousand_calls_in_flight() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    fine!(c.write(&fh, 0, UNSTABLE, &vec![9; 8192]));
    let total = 10_000u32;
    let mut sender =
        esker_tests::nfsclient::Conn::over(c.conn.stream().try_clone().unwrap()).unwrap();
    let cred = c.cred.clone();
    let mut left: std::collections::BTreeSet<u32> = (0..total).collect();
    std::thread::scope(|s| {
        let (fh, cred) = (&fh, &cred);
        s.spawn(move || {
            for xid in 0..total {
                match xid % 5 {
                    0 => sender.queue(xid, (NFS, 3, Read::PROC), cred, |e| {
                        Read { fh, offset: 0, count: 4096 }.args(e);
                    }),
                    1 => sender.queue(xid, (NFS, 3, Write::PROC), cred, |e| {
                        let offset = u64::from(xid);
                        Write { fh, offset, stable: UNSTABLE, data: &[1; 100] }.args(e);
                    }),
                    _ => sender.queue(xid, (NFS, 3, Getattr::PROC), cred, |e| Getattr(fh).args(e)),
                }
            }
            sender.flush().unwrap();
        });
        while !left.is_empty() {
            let r = c.conn.reply().unwrap();
            assert!(left.remove(&r.xid), "xid {} came twice or was never sent", r.xid);
            assert_eq!(&r.body[..4], &Status::OK.0.to_be_bytes());
        }
    });
}
