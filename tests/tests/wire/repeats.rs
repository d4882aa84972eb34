//! Rows 7, 8 and 21: calls that come twice, over a new connection and over a restart.

use std::net::Ipv4Addr;

use esker_tests::nfsclient::proc::{
    Call, Create, FILE_SYNC, Getattr, How, Link, Mkdir, Mknod, Remove, Rename, Rmdir, Setattr,
    Symlink, Write,
};
use esker_tests::nfsclient::{Client, Conn, Cred, Fh, Ftype, Sattr, Status, Time, open_socket};

use crate::{Lab, fine, refused};

/// A call under a chosen xid over a connection of its own, which is gone afterwards.
fn send<C: Call>(lab: &Lab, xid: u32, call: &C) -> C::Res {
    let mut c = lab.client();
    c.send_as(xid, call).unwrap();
    c.recv::<C>(xid).unwrap()
}

/// What a test compares of an answer: status and handle.
type Answer = (Status, Option<Fh>);

struct Prepared {
    root: Fh,
    file: Fh,
    ctime: Time,
}

fn prepare(lab: &Lab) -> Prepared {
    let mut c = lab.client();
    for name in ["gone", "from"] {
        c.create(&lab.root, name, 0o644).unwrap();
    }
    c.mkdir(&lab.root, "empty", 0o755).unwrap();
    let file = c.create(&lab.root, "guarded", 0o644).unwrap();
    let ctime = c.attr(&file).unwrap().ctime;
    Prepared { root: lab.root.clone(), file, ctime }
}

/// Procedures whose repeat would fail if it were run. SETATTR first: LINK moves the ctime that it
/// names.
const KINDS: [u32; 9] = [2, 8, 9, 10, 11, 12, 13, 14, 15];

fn run(lab: &Lab, xid: u32, kind: u32, p: &Prepared) -> Answer {
    let (dir, set) = (&p.root, Sattr::mode(0o640));
    match kind {
        2 => {
            let call = Setattr { fh: &p.file, set, guard: Some(p.ctime) };
            (send(lab, xid, &call).status, None)
        }
        8 => {
            let r = send(lab, xid, &Create { dir, name: b"c", how: How::Guarded(set) });
            (r.status, r.fh)
        }
        9 => {
            let r = send(lab, xid, &Mkdir { dir, name: b"m", set });
            (r.status, r.fh)
        }
        10 => {
            let r = send(lab, xid, &Symlink { dir, name: b"s", set, target: b"x" });
            (r.status, r.fh)
        }
        11 => {
            let call = Mknod { dir, name: b"k", ftype: Ftype::Fifo, set, rdev: (0, 0) };
            let r = send(lab, xid, &call);
            (r.status, r.fh)
        }
        12 => (send(lab, xid, &Remove { dir, name: b"gone" }).status, None),
        13 => (send(lab, xid, &Rmdir { dir, name: b"empty" }).status, None),
        14 => (send(lab, xid, &Rename { from: (dir, b"from"), to: (dir, b"to") }).status, None),
        _ => (send(lab, xid, &Link { fh: &p.file, dir, name: b"hard" }).status, None),
    }
}

/// Each non-idempotent procedure: the repeat gets the first one's answer, and a call under a new
/// xid meets the effect.
#[test]
fn repeats_get_their_reply() {
    let lab = Lab::new();
    let p = prepare(&lab);
    for kind in KINDS {
        let a = run(&lab, kind, kind, &p);
        assert!(a.0.ok(), "procedure {kind}: {a:?}");
        assert_eq!(run(&lab, kind, kind, &p), a, "procedure {kind} repeated");
        let fresh = run(&lab, kind + 100, kind, &p);
        assert!(!fresh.0.ok(), "procedure {kind} as a new call: {fresh:?}");
    }
    assert!(lab.server.metrics().unwrap().iter().any(|(k, v)| k.contains("repeat") && *v > 0.0));
}

/// The same with the server killed, and then stopped in order, between call and repeat.
#[test]
fn repeats_get_their_reply_over_kill_and_stop() {
    let mut lab = Lab::new();
    let p = prepare(&lab);
    let answers = KINDS.map(|kind| run(&lab, kind, kind, &p));
    assert!(answers.iter().all(|a| a.0.ok()), "{answers:?}");
    lab.server.kill().unwrap();
    lab.server.start_again().unwrap();
    assert_eq!(KINDS.map(|kind| run(&lab, kind, kind, &p)), answers, "over a kill");
    lab.server.restart().unwrap();
    assert_eq!(KINDS.map(|kind| run(&lab, kind, kind, &p)), answers, "over a clean stop");
    for kind in KINDS {
        let fresh = run(&lab, kind + 100, kind, &p);
        assert!(!fresh.0.ok(), "procedure {kind} as a new call: {fresh:?}");
    }
}

/// Two calls with one xid and other arguments are two calls.
#[test]
fn the_checksum_tells_calls_apart() {
    let lab = Lab::new();
    let how = How::Guarded(Sattr::mode(0o644));
    let a = send(&lab, 77, &Create { dir: &lab.root, name: b"a", how });
    let b = send(&lab, 77, &Create { dir: &lab.root, name: b"b", how });
    assert!(a.status.ok() && b.status.ok());
    assert_ne!(a.fh, b.fh);
}

/// Both connections live: the same xid and bytes on the second are a call of its own.
#[test]
fn two_live_clients_may_use_one_xid() {
    let lab = Lab::new();
    let how = How::Guarded(Sattr::mode(0o644));
    let call = Create { dir: &lab.root, name: b"mine", how };
    let mut a = lab.client();
    a.attr(&lab.root).unwrap();
    let mut b = lab.client();
    b.attr(&lab.root).unwrap();
    a.attr(&lab.root).unwrap(); // bytes on the first after the second was accepted: it lives
    a.send_as(99, &call).unwrap();
    fine!(a.recv::<Create>(99));
    b.send_as(99, &call).unwrap();
    refused!(b.recv::<Create>(99), EXIST);
}

/// A repeat on the same connection, at once: one reply or two equal ones, never EXIST.
#[test]
fn a_repeat_in_progress_is_not_run_again() {
    let lab = Lab::new();
    let mut c = lab.client();
    for i in 0..200u32 {
        let name = format!("f{i}");
        let how = How::Guarded(Sattr::mode(0o644));
        let call = Create { dir: &lab.root, name: name.as_bytes(), how };
        let xid = 0x5000 + i;
        for _ in 0..2 {
            let cred = c.cred.clone();
            c.conn.queue(xid, (esker_tests::nfsclient::NFS, 3, Create::PROC), &cred, |e| {
                call.args(e);
            });
        }
        c.conn.flush().unwrap();
        let one = fine!(c.recv::<Create>(xid));
        let mark = c.send(&Getattr(&lab.root)).unwrap();
        c.recv::<Getattr>(mark).unwrap();
        if let Some(two) = c.take_early(xid) {
            let two = esker_tests::nfsclient::decode::<Create>(&two).unwrap();
            assert_eq!((two.status, two.fh), (one.status, one.fh), "{name}");
        }
    }
}

/// A copy of an old WRITE that arrives after a newer one was answered does not undo it.
#[test]
fn a_late_copy_of_a_write_changes_nothing() {
    let lab = Lab::new();
    let fh = lab.client().create(&lab.root, "f", 0o644).unwrap();
    let old = Write { fh: &fh, offset: 0, stable: FILE_SYNC, data: b"old old old" };
    let new = Write { fh: &fh, offset: 0, stable: FILE_SYNC, data: b"new new new" };
    assert!(send(&lab, 501, &old).status.ok());
    assert!(send(&lab, 502, &new).status.ok());
    assert!(send(&lab, 501, &old).status.ok());
    assert_eq!(fine!(lab.client().read(&fh, 0, 100)).data, b"new new new");
}

/// The cache goes by address: another address with the same xid and bytes is another client.
#[test]
fn another_address_is_another_client() {
    let lab = Lab::with(&esker_tests::server::Setup::exporting(&[
        "/ 127.0.0.0/8(rw,sync,no_root_squash,insecure)",
    ]));
    let how = How::Guarded(Sattr::mode(0o644));
    let call = Create { dir: &lab.root, name: b"one", how };
    assert!(send(&lab, 31, &call).status.ok());
    let socket = open_socket(lab.server.nfs, Ipv4Addr::new(127, 0, 0, 9), 0).unwrap();
    let mut c = Client::over(Conn::over(socket).unwrap(), Cred::sys(0, 0, &[]));
    c.send_as(31, &call).unwrap();
    refused!(c.recv::<Create>(31), EXIST);
}

/// EXCLUSIVE create: the verifier decides, under any xid, and after a crash too.
#[test]
fn exclusive_create_goes_by_its_verifier() {
    let mut lab = Lab::new();
    let root = lab.root.clone();
    let made = |lab: &Lab, verf: [u8; 8]| {
        let mut c = lab.user(0);
        c.call(&Create { dir: &root, name: b"x", how: How::Exclusive(verf) }).unwrap()
    };
    let one = made(&lab, *b"verifier");
    assert!(one.status.ok());
    let a = one.attr.unwrap();
    assert_eq!((a.mode, a.uid, a.size), (0, 0, 0), "mode 0 until SETATTR");
    assert!(one.dir.after.is_some());
    let two = made(&lab, *b"verifier");
    assert_eq!((two.status, &two.fh), (Status::OK, &one.fh));
    assert!(two.dir.after.is_some(), "the repeat carries the directory too");
    assert_eq!(made(&lab, *b"another!").status, Status::EXIST);
    lab.server.kill().unwrap();
    lab.server.start_again().unwrap();
    let three = made(&lab, *b"verifier");
    assert_eq!((three.status, &three.fh), (Status::OK, &one.fh), "after a crash");
    assert_eq!(made(&lab, *b"another!").status, Status::EXIST);
    let mut c = lab.client();
    let fh = one.fh.unwrap();
    fine!(c.setattr(&fh, Sattr { mode: Some(0o640), ..Sattr::default() }));
    assert_eq!(c.attr(&fh).unwrap().mode, 0o640);
}
