//! Row 16, 19 and the MOUNT program: who may mount what, and that the rules hold at every call.

use std::net::Ipv4Addr;

use esker_tests::nfsclient::proc::{Create, Getattr, How, Null, Readdirplus};
use esker_tests::nfsclient::{
    Client, Conn, Cred, Fault, Fh, Mounted, RpcStatus, Sattr, Status, dump, exports, mnt,
    open_socket, umnt, umntall,
};
use esker_tests::server::Setup;

use crate::{Lab, fine, refused};

fn try_mount(lab: &Lab, path: &str) -> Mounted {
    let mut conn = Conn::open(lab.server.nfs).unwrap();
    mnt(&mut conn, &Cred::sys(0, 0, &[]), path.as_bytes()).unwrap()
}

/// A connection from a port that any user could have.
fn high_port(lab: &Lab, source: Ipv4Addr) -> Conn {
    let socket = open_socket(lab.server.nfs, source, 0).unwrap();
    assert!(socket.local_addr().unwrap().port() >= 1024);
    Conn::over(socket).unwrap()
}

#[test]
fn any_directory_below_and_nothing_else() {
    let lab = Lab::new();
    let mut c = lab.client();
    let a = c.mkdir(&lab.root, "a", 0o755).unwrap();
    let b = c.mkdir(&a, "b c", 0o755).unwrap();
    c.create(&a, "file", 0o644).unwrap();
    let set = Sattr::mode(0o777);
    let link =
        esker_tests::nfsclient::proc::Symlink { dir: &a, name: b"out", set, target: b"/etc" };
    fine!(c.call(&link));
    for (path, want) in
        [("/", &lab.root), ("/a", &a), ("/a/", &a), ("/a/b c", &b), ("//a//b c", &b)]
    {
        let m = try_mount(&lab, path);
        assert_eq!((m.status, m.fh.as_ref()), (0, Some(want)), "MNT {path}");
        assert!(m.flavors.contains(&1), "AUTH_SYS is offered: {:?}", m.flavors);
    }
    for (path, want) in [
        ("/nothing", &[2u32][..]),
        ("/a/file", &[20]),
        ("/a/out", &[20, 2, 13]),
        ("/../etc", &[2, 13, 22]),
        ("/a/../../etc", &[2, 13, 22]),
        ("/etc", &[2, 13]),
    ] {
        let m = try_mount(&lab, path);
        assert!(want.contains(&m.status), "MNT {path}: {}", m.status);
    }
    let mut conn = Conn::open(lab.server.nfs).unwrap();
    let cred = Cred::sys(0, 0, &[]);
    let listed = exports(&mut conn, &cred).unwrap();
    assert!(listed.iter().any(|e| e.dir == b"/"), "{listed:?}");
    dump(&mut conn, &cred).unwrap();
    umnt(&mut conn, &cred, b"/a").unwrap();
    umntall(&mut conn, &cred).unwrap();
    dump(&mut conn, &cred).unwrap();
    let long = vec![b'x'; 2000];
    match mnt(&mut conn, &cred, &long) {
        Ok(m) => assert_ne!(m.status, 0),
        Err(Fault::Rpc(RpcStatus::GarbageArgs)) => {}
        Err(e) => panic!("{e}"),
    }
}

/// No unprivileged local user can claim to be root: the default is `secure`.
#[test]
fn high_ports_are_refused_by_default() {
    let lab = Lab::new();
    let mut c = Client::over(high_port(&lab, Ipv4Addr::UNSPECIFIED), Cred::sys(0, 0, &[]));
    c.call(&Null).unwrap();
    match c.call(&Getattr(&lab.root)) {
        Err(Fault::Rpc(RpcStatus::AuthError(_))) => {}
        Ok(r) => assert!(matches!(r.status, Status::PERM | Status::ACCES), "{:?}", r.status),
        Err(e) => panic!("{e}"),
    }
    let mut conn = high_port(&lab, Ipv4Addr::UNSPECIFIED);
    match mnt(&mut conn, &Cred::sys(0, 0, &[]), b"/") {
        Err(Fault::Rpc(RpcStatus::AuthError(_))) => {}
        Ok(m) => assert!(matches!(m.status, 1 | 13), "MNT: {}", m.status),
        Err(e) => panic!("{e}"),
    }
}

/// Networks, `ro`, and a subtree as the export; at each call, with handles got elsewhere.
#[test]
fn rules_hold_at_every_call() {
    let lab = Lab::with(&Setup::exporting(&[
        "/ 127.0.0.1(rw,no_root_squash) 127.0.0.2(ro,insecure) 127.0.0.3(rw,insecure,all_squash,anonuid=1234,anongid=4321)",
        "/sub 127.0.0.1(rw,no_root_squash) 127.0.0.4(rw,insecure,no_root_squash)",
    ]));
    let mut c = lab.client();
    let open = c.mkdir(&lab.root, "open", 0o777).unwrap();
    fine!(c.setattr(&open, Sattr::mode(0o777)));
    let sub = c.mkdir(&lab.root, "sub", 0o755).unwrap();
    let inside = c.mkdir(&sub, "inside", 0o755).unwrap();
    let from = |last: u8| {
        Client::over(high_port(&lab, Ipv4Addr::new(127, 0, 0, last)), Cred::sys(0, 0, &[]))
    };
    let how = How::Guarded(Sattr::mode(0o644));

    let mut reader = from(2);
    fine!(reader.call(&Getattr(&lab.root)));
    refused!(reader.call(&Create { dir: &open, name: b"x", how }), ROFS);

    let mut squashed = from(3);
    let made = fine!(squashed.call(&Create { dir: &open, name: b"theirs", how }));
    let a = c.attr(&made.fh.unwrap()).unwrap();
    assert_eq!((a.uid, a.gid), (1234, 4321));

    let mut stranger = from(77);
    let refused_at = |c: &mut Client, fh: &Fh| match c.call(&Getattr(fh)) {
        Err(Fault::Rpc(RpcStatus::AuthError(_))) => true,
        Ok(r) => {
            matches!(r.status, Status::PERM | Status::ACCES | Status::STALE | Status::BADHANDLE)
        }
        Err(e) => panic!("{e}"),
    };
    assert!(refused_at(&mut stranger, &lab.root), "a client that no rule names");

    let mut conn = high_port(&lab, Ipv4Addr::new(127, 0, 0, 4));
    let cred = Cred::sys(0, 0, &[]);
    assert_ne!(mnt(&mut conn, &cred, b"/").unwrap().status, 0);
    assert_ne!(mnt(&mut conn, &cred, b"/open").unwrap().status, 0);
    let m = mnt(&mut conn, &cred, b"/sub").unwrap();
    assert_eq!(m.status, 0);
    let below = mnt(&mut conn, &cred, b"/sub/inside").unwrap();
    assert_eq!(below.status, 0);
    let mut guest = from(4);
    let top = m.fh.unwrap();
    fine!(guest.call(&Create { dir: &top, name: b"ok", how }));
    assert!(refused_at(&mut guest, &lab.root), "a handle of the export that is not for it");
    // Above its root there is nothing: `..` is itself, or refused; never the volume's root.
    let up = guest.lookup(&top, "..").unwrap();
    let to_top = up
        .fh
        .as_ref()
        .is_none_or(|fh| guest.attr(fh).is_ok_and(|a| a.fileid == c.attr(&sub).unwrap().fileid));
    assert!(to_top, "`..` leads out of the export: {up:?}");
    let listing =
        Readdirplus { dir: &top, cookie: 0, verf: [0; 8], dircount: 4096, maxcount: 32_768 };
    let r = fine!(guest.call(&listing));
    let root_id = c.attr(&lab.root).unwrap().fileid;
    for e in r.entries.iter().filter(|e| e.name == b"..") {
        assert!(e.fh.is_none() || e.fileid != root_id, "`..` in READDIRPLUS leads out");
    }
    let _ = inside;
}
