//! The same call twice (nfs-clients rows 6, 7, 8, 11, 21; DESIGN R23).
#![allow(clippy::unwrap_used)]

mod at;

use std::net::Ipv4Addr;

use at::{At, config, pause, volume};
use esker_tests::nfsclient::{Client, Conn, Cred, Fh, Ftype, Sattr, Status, open_socket, proc::*};
use nfssvr::{Outcome, Procedure};

/// Sends `call` under `xid` and waits.
fn send<C: Call>(c: &mut Client, xid: u32, call: &C) -> C::Res {
    c.send_as(xid, call).unwrap();
    c.recv::<C>(xid).unwrap()
}

fn guarded<'a>(dir: &'a Fh, name: &'a [u8]) -> Create<'a> {
    Create { dir, name, how: How::Guarded(Sattr::mode(0o644)) }
}

fn remove<'a>(dir: &'a Fh, name: &'a [u8]) -> Remove<'a> {
    Remove { dir, name }
}

#[test]
fn on_the_same_connection() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let first = send(&mut c, 5, &guarded(&top, b"f"));
    assert!(first.status.ok());
    let again = send(&mut c, 5, &guarded(&top, b"f"));
    assert_eq!((again.status, &again.fh, &again.dir), (Status::OK, &first.fh, &first.dir));
    assert_eq!(send(&mut c, 5, &guarded(&top, b"g")).status, Status::OK, "other bytes");
    assert_eq!(send(&mut c, 6, &guarded(&top, b"f")).status, Status::EXIST, "another xid");
    assert_eq!(send(&mut c, 6, &guarded(&top, b"f")).status, Status::EXIST, "errors repeat too");
    assert_eq!(send(&mut c, 7, &remove(&top, b"f")).status, Status::OK);
    assert_eq!(send(&mut c, 7, &remove(&top, b"f")).status, Status::OK);
    assert_eq!(send(&mut c, 8, &remove(&top, b"f")).status, Status::NOENT);
    // Finding out is not remembered: LOOKUP tells the state of now.
    let lookup = Lookup { dir: &top, name: b"f" };
    assert_eq!(send(&mut c, 9, &lookup).status, Status::NOENT);
    assert!(send(&mut c, 10, &guarded(&top, b"f")).status.ok());
    assert_eq!(send(&mut c, 9, &lookup).status, Status::OK);
    assert!(at.server.counters().outcomes(Procedure::Create, Outcome::Repeat) >= 2);
}

#[test]
fn on_a_new_connection_after_the_first_was_lost() {
    let at = At::new();
    let top = at.top("/");
    let mut first = at.root();
    assert!(send(&mut first, 5, &guarded(&top, b"f")).status.ok());
    drop(first);
    let mut second = at.root();
    assert_eq!(send(&mut second, 5, &guarded(&top, b"f")).status, Status::OK);
    // From another port of the same address, and once more.
    let mut third = at.root();
    assert_eq!(send(&mut third, 5, &guarded(&top, b"f")).status, Status::OK);
}

#[test]
fn on_a_new_connection_while_the_first_hangs() {
    let at = At::new();
    let top = at.top("/");
    let mut silent = at.root();
    assert!(send(&mut silent, 5, &guarded(&top, b"f")).status.ok());
    pause(60);
    let mut second = at.root();
    assert_eq!(send(&mut second, 5, &guarded(&top, b"f")).status, Status::OK);
}

#[test]
fn two_live_clients_of_one_address_are_not_confused() {
    let at = At::new();
    let top = at.top("/");
    let (mut one, mut two) = (at.root(), at.root());
    one.call(&Null).unwrap();
    two.call(&Null).unwrap();
    for xid in 1..20 {
        let name = format!("f{xid}");
        assert_eq!(send(&mut one, xid, &guarded(&top, name.as_bytes())).status, Status::OK);
        let said = send(&mut two, xid, &guarded(&top, name.as_bytes())).status;
        assert_eq!(said, Status::EXIST, "xid {xid} of the second client is its own call");
    }
    for xid in 20..30 {
        let name = format!("g{xid}");
        assert_eq!(send(&mut two, xid, &guarded(&top, name.as_bytes())).status, Status::OK);
        let said = send(&mut one, xid, &guarded(&top, name.as_bytes())).status;
        assert_eq!(said, Status::EXIST, "in the other order too");
    }
    assert_eq!(send(&mut one, 50, &remove(&top, b"f1")).status, Status::OK);
    assert_eq!(send(&mut two, 50, &remove(&top, b"f1")).status, Status::NOENT);
    assert_eq!(send(&mut two, 50, &remove(&top, b"f1")).status, Status::NOENT, "its own repeat");
}

#[test]
fn another_address_is_another_client() {
    let at = At::new();
    let top = at.top("/");
    let mut one = at.root();
    assert!(send(&mut one, 5, &guarded(&top, b"f")).status.ok());
    let socket = open_socket(at.addr, Ipv4Addr::new(127, 0, 0, 9), 0).unwrap();
    let mut two = Client::over(Conn::over(socket).unwrap(), Cred::sys(0, 0, &[]));
    assert_eq!(send(&mut two, 5, &guarded(&top, b"f")).status, Status::EXIST);
}

#[test]
fn a_late_copy_of_a_write_does_not_undo_a_newer_one() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let old = Write { fh: &file, offset: 0, stable: UNSTABLE, data: b"old bytes" };
    let new = Write { fh: &file, offset: 0, stable: FILE_SYNC, data: b"new bytes" };
    let first = send(&mut c, 1, &old);
    send(&mut c, 2, &new);
    let late = send(&mut c, 1, &old);
    assert_eq!((late.status, late.count, late.verf), (first.status, 9, first.verf));
    assert_eq!(c.read(&file, 0, 9).unwrap().data, b"new bytes");
    // From the connection that replaced the first one as well.
    drop(c);
    let mut c = at.root();
    send(&mut c, 1, &old);
    assert_eq!(c.read(&file, 0, 9).unwrap().data, b"new bytes");
}

/// Every call that must be remembered, made once each; `check` gets its number and status.
fn everything(c: &mut Client, top: &Fh, base: &Handles, mut check: impl FnMut(u32, Status)) {
    let set = Sattr::mode(0o600);
    let fifo = Mknod { dir: top, name: b"fifo", ftype: Ftype::Fifo, set, rdev: (0, 0) };
    check(1, send(c, 1, &Setattr { fh: &base.file, set, guard: Some(base.ctime) }).status);
    check(2, send(c, 2, &guarded(top, b"made")).status);
    check(3, send(c, 3, &Mkdir { dir: top, name: b"dir", set }).status);
    check(4, send(c, 4, &Symlink { dir: top, name: b"soft", set, target: b"t" }).status);
    check(5, send(c, 5, &fifo).status);
    check(6, send(c, 6, &remove(top, b"victim")).status);
    check(7, send(c, 7, &Rmdir { dir: top, name: b"emptied" }).status);
    check(8, send(c, 8, &Rename { from: (top, b"from"), to: (&base.sub, b"to") }).status);
    check(9, send(c, 9, &Link { fh: &base.file, dir: &base.sub, name: b"hard" }).status);
}

struct Handles {
    file: Fh,
    sub: Fh,
    ctime: esker_tests::nfsclient::Time,
}

#[test]
fn a_restarted_server_knows_what_was_done() {
    let volume = volume();
    let at = At::over(config(), volume.clone());
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "file", 0o644).unwrap();
    let sub = c.mkdir(&top, "sub", 0o755).unwrap();
    c.create(&top, "victim", 0o644).unwrap();
    c.create(&top, "from", 0o644).unwrap();
    c.mkdir(&top, "emptied", 0o755).unwrap();
    let ctime = c.attr(&file).unwrap().ctime;
    let base = Handles { file, sub, ctime };
    everything(&mut c, &top, &base, |n, s| assert_eq!(s, Status::OK, "call {n}"));
    let made = send(&mut c, 2, &guarded(&top, b"made"));
    at.server.shutdown();

    let at = At::over(config(), volume);
    let mut c = at.root();
    everything(&mut c, &top, &base, |n, s| assert_eq!(s, Status::OK, "repeat of call {n}"));
    // The reply is built again: handle and attributes are there, "before" is not known any more.
    let again = send(&mut c, 2, &guarded(&top, b"made"));
    assert_eq!((again.fh, again.dir.before), (made.fh, None));
    assert_eq!(again.dir.after, Some(c.attr(&top).unwrap()));
    // And as new calls every one of them fails: nothing was done twice or undone.
    assert_eq!(c.call(&guarded(&top, b"made")).unwrap().status, Status::EXIST);
    assert_eq!(c.call(&remove(&top, b"victim")).unwrap().status, Status::NOENT);
    let names: Vec<_> = c.list(&base.sub, 4096).unwrap().entries;
    assert_eq!(names.len(), 4);
    assert_eq!(c.attr(&base.file).unwrap().nlink, 2);
}

#[test]
fn exclusive_create_by_its_verifier_also_after_a_restart() {
    let volume = volume();
    let at = At::over(config(), volume.clone());
    let top = at.top("/");
    let mut c = at.user(0, 0, &[]);
    let make = |verifier| Create { dir: &top, name: b"x", how: How::Exclusive(verifier) };
    let first = c.call(&make(*b"verifier")).unwrap();
    assert!(first.status.ok());
    let again = c.call(&make(*b"verifier")).unwrap();
    assert_eq!((again.status, &again.fh), (Status::OK, &first.fh));
    assert!(again.dir.after.is_some(), "the directory's attributes in the repeated reply too");
    assert_eq!(c.call(&make(*b"another!")).unwrap().status, Status::EXIST);
    at.server.shutdown();
    let at = At::over(config(), volume);
    let mut c = at.root();
    let again = c.call(&make(*b"verifier")).unwrap();
    assert_eq!((again.status, &again.fh), (Status::OK, &first.fh));
    let set = Sattr { size: Some(0), ..Sattr::mode(0o640) };
    assert!(c.setattr(first.fh.as_ref().unwrap(), set).unwrap().status.ok());
    assert_eq!(c.attr(first.fh.as_ref().unwrap()).unwrap().mode, 0o640);
}

#[test]
fn one_verifier_for_writes_and_commits_and_another_after_a_restart() {
    let volume = volume();
    let at = At::over(config(), volume.clone());
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let one = c.write(&file, 0, UNSTABLE, b"a").unwrap().verf;
    assert_eq!(c.write(&file, 0, FILE_SYNC, b"b").unwrap().verf, one);
    assert_eq!(c.commit(&file).unwrap().verf, one);
    at.server.shutdown();
    let at = At::over(config(), volume);
    let mut c = at.root();
    let two = c.commit(&file).unwrap().verf;
    assert_ne!(one, two, "unstable bytes of the last start are to be sent again");
    assert_eq!(c.write(&file, 0, UNSTABLE, b"c").unwrap().verf, two);
}
