//! Who may do what: every mode, every kind of caller, by a client that never calls ACCESS, against
//! a model of POSIX rights that shares nothing with the server. ACCESS must then say the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use esker_tests::nfsclient::proc::{
    Access, Create, How, Link, Lookup, Mkdir, Read, Readdir, Remove, Rename, UNSTABLE, Write,
};
use esker_tests::nfsclient::{Client, Cred, Fh, Sattr, SattrTime, Status, Time};
use esker_tests::server::{Esker, Setup};
use tempfile::TempDir;

const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

/// A caller as it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Who {
    uid: u32,
    gid: u32,
    more: &'static [u32],
}
const ROOT: Who = Who { uid: 0, gid: 0, more: &[] };
/// Owner 1000; 1001 in the file's group by its own gid, by a supplementary one, and not at all.
const CALLERS: [Who; 6] = [
    ROOT,
    Who { uid: 1000, gid: 1000, more: &[] },
    Who { uid: 1001, gid: 500, more: &[] },
    Who { uid: 1001, gid: 1001, more: &[7, 8, 500, 9] },
    Who { uid: 1001, gid: 1001, more: &[7, 8] },
    Who { uid: 1000, gid: 77, more: &[500] },
];
const OWNER: u32 = 1000;
const GROUP: u32 = 500;

impl Who {
    fn cred(self) -> Cred {
        Cred::sys(self.uid, self.gid, self.more)
    }
    fn in_group(self, gid: u32) -> bool {
        self.gid == gid || self.more.contains(&gid)
    }
    /// Which class's three bits apply (POSIX.1-2017 §4.5), superuser aside.
    fn bits(self, mode: u32, owner: u32, group: u32) -> u32 {
        if self.uid == owner {
            mode >> 6 & 7
        } else if self.in_group(group) {
            mode >> 3 & 7
        } else {
            mode & 7
        }
    }
    /// Whether all of `want` is granted; root may all, but execute only what someone may.
    fn may(self, mode: u32, owner: u32, group: u32, want: u32, dir: bool) -> bool {
        if self.uid == 0 {
            return want & X == 0 || dir || mode & 0o111 != 0;
        }
        self.bits(mode, owner, group) & want == want
    }
}

struct Lab {
    server: Esker,
    root: Fh,
    _work: TempDir,
}

fn lab(rule: &str) -> Lab {
    let work = tempfile::tempdir().unwrap();
    let setup = Setup { exports: vec![rule.into()], ..Setup::default() };
    let server = Esker::start(work.path(), &setup).unwrap();
    server.prove_ours().unwrap();
    let root = server.mount("/").unwrap();
    Lab { server, root, _work: work }
}

fn open_lab() -> Lab {
    let lab = lab("/ 127.0.0.0/8(rw,async,no_root_squash)");
    let mut c = lab.server.root_client().unwrap();
    assert!(c.setattr(&lab.root, Sattr::mode(0o777)).unwrap().status.ok());
    lab
}

fn set_all(c: &mut Client, fh: &Fh, mode: u32, uid: u32, gid: u32) {
    let owner = Sattr { uid: Some(uid), gid: Some(gid), ..Sattr::default() };
    assert!(c.setattr(fh, owner).unwrap().status.ok());
    assert!(c.setattr(fh, Sattr::mode(mode)).unwrap().status.ok());
    let a = c.attr(fh).unwrap();
    assert_eq!((a.mode, a.uid, a.gid), (mode, uid, gid));
}

fn check(what: &str, mode: u32, who: Who, got: Status, allowed: bool, denied: Status) {
    let want = if allowed { Status::OK } else { denied };
    assert_eq!(got, want, "{what} with mode {mode:04o} by {who:?}");
}

/// Reading and writing a file of every mode. NFS has no open: the owner may always, and who may
/// execute may read (RFC 1813 §4.4).
#[test]
fn files_of_every_mode() {
    let lab = open_lab();
    let mut root = lab.server.root_client().unwrap();
    let mut user = lab.server.root_client().unwrap();
    let fh = root.create(&lab.root, "f", 0o644).unwrap();
    for mode in 0..=0o777u32 {
        set_all(&mut root, &fh, mode, OWNER, GROUP);
        for who in CALLERS {
            user.cred = who.cred();
            let may = |want| who.may(mode, OWNER, GROUP, want, false);
            let owner = who.uid == OWNER;
            let read = user.call(&Read { fh: &fh, offset: 0, count: 1 }).unwrap().status;
            check("READ", mode, who, read, owner || may(R) || may(X), Status::ACCES);
            let w = Write { fh: &fh, offset: 0, stable: UNSTABLE, data: b"x" };
            let write = user.call(&w).unwrap().status;
            check("WRITE", mode, who, write, owner || may(W), Status::ACCES);
            let cut = user.setattr(&fh, Sattr::size(1)).unwrap().status;
            check("truncate", mode, who, cut, owner || may(W), Status::ACCES);
            let now = Sattr { atime: SattrTime::Now, mtime: SattrTime::Now, ..Sattr::default() };
            let touch = user.setattr(&fh, now).unwrap().status;
            check("touch", mode, who, touch, owner || may(W), Status::ACCES);

            let bits = user.call(&Access { fh: &fh, want: 0x3f }).unwrap();
            assert!(bits.status.ok());
            let want = if may(R) { 1 } else { 0 }
                | if may(W) { 4 | 8 } else { 0 }
                | if may(X) { 32 } else { 0 };
            // DELETE has no meaning for a file; the owner's override may be told or not.
            let told = bits.bits & (1 | 4 | 8 | 32);
            let generous = want | if owner { 1 | 4 | 8 } else { 0 };
            assert!(
                told == want || told == generous,
                "ACCESS with mode {mode:04o} by {who:?}: {told:#x}, not {want:#x}"
            );
        }
    }
}

/// What only an owner may: modes, times of the caller's choice, groups it is in; and only root
/// gives files away.
#[test]
fn what_owners_may() {
    let lab = open_lab();
    let mut root = lab.server.root_client().unwrap();
    let mut user = lab.server.root_client().unwrap();
    let fh = root.create(&lab.root, "f", 0o666).unwrap();
    let time = SattrTime::To(Time { sec: 5, nsec: 0 });
    for mode in [0o000, 0o666, 0o777] {
        for who in CALLERS {
            user.cred = who.cred();
            let super_ = who.uid == 0;
            let owner = super_ || who.uid == OWNER;
            let mut set = |s: Sattr| {
                set_all(&mut root, &fh, mode, OWNER, GROUP);
                user.setattr(&fh, s).unwrap().status
            };
            check("chmod", mode, who, set(Sattr::mode(mode ^ 0o100)), owner, Status::PERM);
            let s = set(Sattr { mtime: time, ..Sattr::default() });
            check("utimes", mode, who, s, owner, Status::PERM);
            let s = set(Sattr { uid: Some(1001), ..Sattr::default() });
            check("chown", mode, who, s, super_, Status::PERM);
            let s = set(Sattr { uid: Some(OWNER), ..Sattr::default() });
            check("chown to itself", mode, who, s, owner, Status::PERM);
            for gid in [GROUP, 77, 9999] {
                let s = set(Sattr { gid: Some(gid), ..Sattr::default() });
                let allowed = super_ || who.uid == OWNER && (gid == GROUP || who.in_group(gid));
                check("chgrp", mode, who, s, allowed, Status::PERM);
            }
        }
    }
}

/// Directories: what each of the three bits of each class gives, with and without the sticky bit.
/// There is no override for owners here.
#[test]
fn directories_of_many_modes() {
    let lab = open_lab();
    let mut root = lab.server.root_client().unwrap();
    let mut user = lab.server.root_client().unwrap();
    let dir = root.mkdir(&lab.root, "d", 0o755).unwrap();
    let other = root.mkdir(&lab.root, "other", 0o777).unwrap();
    set_all(&mut root, &other, 0o777, 0, 0);
    let mut victims = 0;
    for v in 0..8u32 {
        for (o, g, a) in [(v, 7 - v, 7 - v), (7 - v, v, 7 - v), (7 - v, 7 - v, v)] {
            for sticky in [0, 0o1000] {
                let mode = sticky | o << 6 | g << 3 | a;
                for who in CALLERS {
                    for victim in [OWNER, 1001, 3333] {
                        victims += 1;
                        let name = format!("v{victims}");
                        let fh = root.create(&dir, &name, 0o644).unwrap();
                        set_all(&mut root, &fh, 0o644, victim, 1);
                        set_all(&mut root, &dir, mode, OWNER, GROUP);
                        user.cred = who.cred();
                        let at = Place { dir: &dir, other: &other, fh: &fh, name: &name };
                        directory_calls(&mut user, &at, mode, who, victim);
                        tidy(&mut root, &at);
                    }
                }
            }
        }
    }
}

struct Place<'a> {
    dir: &'a Fh,
    other: &'a Fh,
    fh: &'a Fh,
    name: &'a str,
}

fn tidy(root: &mut Client, at: &Place) {
    for (dir, name) in [
        (at.dir, at.name.to_string()),
        (at.dir, "new".into()),
        (at.dir, "hard".into()),
        (at.other, at.name.to_string()),
    ] {
        let _ = root.remove(dir, &name).unwrap();
    }
    let _ = root.call(&esker_tests::nfsclient::proc::Rmdir { dir: at.dir, name: b"sub" }).unwrap();
}

fn directory_calls(user: &mut Client, at: &Place, mode: u32, who: Who, victim: u32) {
    let may = |want| who.may(mode, OWNER, GROUP, want, true);
    let name = at.name.as_bytes();
    let s = user.call(&Lookup { dir: at.dir, name }).unwrap().status;
    check("LOOKUP", mode, who, s, may(X), Status::ACCES);
    let s = user.call(&Lookup { dir: at.dir, name: b"nothing" }).unwrap().status;
    let absent = if may(X) { Status::NOENT } else { Status::ACCES };
    assert_eq!(s, absent, "LOOKUP of nothing with mode {mode:04o} by {who:?}");
    let list = Readdir { dir: at.dir, cookie: 0, verf: [0; 8], count: 4096 };
    let s = user.call(&list).unwrap().status;
    check("READDIR", mode, who, s, may(R), Status::ACCES);
    let how = How::Guarded(Sattr::mode(0o644));
    let made = user.call(&Create { dir: at.dir, name: b"new", how }).unwrap();
    check("CREATE", mode, who, made.status, may(W | X), Status::ACCES);
    if let Some(a) = made.attr {
        assert_eq!((a.uid, a.gid), (who.uid, who.gid), "a new file is its maker's");
    }
    let set = Sattr::mode(0o755);
    let s = user.call(&Mkdir { dir: at.dir, name: b"sub", set }).unwrap().status;
    check("MKDIR", mode, who, s, may(W | X), Status::ACCES);
    let s = user.call(&Link { fh: at.fh, dir: at.dir, name: b"hard" }).unwrap().status;
    check("LINK", mode, who, s, may(W | X), Status::ACCES);
    // A rename takes the name away: sticky counts as for REMOVE.
    let sticky = mode & 0o1000 != 0 && who.uid != 0 && who.uid != OWNER && who.uid != victim;
    let refusal = if may(W | X) { Status::PERM } else { Status::ACCES };
    let allowed = may(W | X) && !sticky;
    let r = user.call(&Rename { from: (at.dir, name), to: (at.other, name) }).unwrap();
    sticky_check("RENAME", mode, who, r.status, allowed, refusal);
    let dir = if r.status.ok() { at.other } else { at.dir };
    let s = user.call(&Remove { dir: at.dir, name }).unwrap().status;
    if dir == at.dir {
        sticky_check("REMOVE", mode, who, s, allowed, refusal);
    } else {
        assert_eq!(s, Status::NOENT);
        let s = user.call(&Remove { dir: at.other, name }).unwrap().status;
        assert_eq!(s, Status::OK, "from a directory open to all");
    }
    let bits = user.call(&Access { fh: at.dir, want: 0x3f }).unwrap().bits;
    // MODIFY and EXTEND (4, 8) without search permission are told or not, DELETE (16) is not.
    for (bit, must, can) in [(1, R, R), (2, X, X), (4, W | X, W), (8, W | X, W), (16, W | X, W | X)]
    {
        let told = bits & bit != 0;
        assert!(told || !may(must), "ACCESS lacks {bit:#x}, {mode:04o}, {who:?}");
        assert!(!told || may(can), "ACCESS grants {bit:#x}, {mode:04o}, {who:?}");
    }
}

/// Linux says EPERM for the sticky rule, POSIX allows EACCES too.
fn sticky_check(what: &str, mode: u32, who: Who, got: Status, allowed: bool, denied: Status) {
    let got = if got == Status::ACCES && denied == Status::PERM { Status::PERM } else { got };
    check(what, mode, who, got, allowed, denied);
}

/// setuid, setgid and the group of new things.
#[test]
fn special_bits() {
    let lab = open_lab();
    let mut root = lab.server.root_client().unwrap();
    let mut user = lab.server.root_client().unwrap();
    let dir = root.mkdir(&lab.root, "d", 0o755).unwrap();
    set_all(&mut root, &dir, 0o2777, 0, GROUP);
    let member = CALLERS[3];
    user.cred = member.cred();
    let how = How::Guarded(Sattr::mode(0o644));
    let made = user.call(&Create { dir: &dir, name: b"f", how }).unwrap();
    assert_eq!(made.attr.unwrap().gid, GROUP, "the group comes from a setgid directory");
    let fh = made.fh.unwrap();
    let sub = user.call(&Mkdir { dir: &dir, name: b"s", set: Sattr::mode(0o755) }).unwrap();
    let a = sub.attr.unwrap();
    assert_eq!((a.gid, a.mode & 0o2000), (GROUP, 0o2000), "and so does the bit, for directories");

    // A write, a truncate or a change of owner by a user takes setuid and setgid away.
    let mode = |c: &mut Client, fh: &Fh| c.attr(fh).unwrap().mode;
    set_all(&mut root, &fh, 0o6777, 1001, GROUP);
    user.write(&fh, 0, UNSTABLE, b"x").unwrap();
    assert_eq!(mode(&mut root, &fh), 0o777, "after WRITE");
    set_all(&mut root, &fh, 0o6777, 1001, GROUP);
    assert!(user.setattr(&fh, Sattr::size(0)).unwrap().status.ok());
    assert_eq!(mode(&mut root, &fh), 0o777, "after truncate");
    set_all(&mut root, &fh, 0o6777, 1001, GROUP);
    let to = Sattr { gid: Some(8), ..Sattr::default() };
    assert!(user.setattr(&fh, to).unwrap().status.ok());
    assert_eq!(mode(&mut root, &fh), 0o777, "after chgrp");

    // setgid cannot be set by an owner who is not in the group.
    set_all(&mut root, &fh, 0o644, 1001, 9999);
    assert!(user.setattr(&fh, Sattr::mode(0o2755)).unwrap().status.ok());
    assert_eq!(mode(&mut root, &fh), 0o755);
    set_all(&mut root, &fh, 0o644, 1001, GROUP);
    assert!(user.setattr(&fh, Sattr::mode(0o2755)).unwrap().status.ok());
    assert_eq!(mode(&mut root, &fh), 0o2755);
    // Without execute for the group setgid means locking to some; a write keeps it or not, but
    // setuid always goes.
    set_all(&mut root, &fh, 0o4644, 1001, GROUP);
    user.write(&fh, 0, UNSTABLE, b"y").unwrap();
    assert_eq!(mode(&mut root, &fh) & 0o4000, 0);
}

/// Squashing: root is nobody, everyone is nobody, and nobody has nobody's rights.
#[test]
fn squashed_callers() {
    for (rule, uid, gid, everyone) in [
        ("/ 127.0.0.0/8(rw,async,root_squash)", 65534, 65534, false),
        ("/ 127.0.0.0/8(rw,async,root_squash,anonuid=1000,anongid=500)", 1000, 500, false),
        ("/ 127.0.0.0/8(rw,async,all_squash)", 65534, 65534, true),
    ] {
        let work = tempfile::tempdir().unwrap();
        let open = Setup::exporting(&["/ 127.0.0.0/8(rw,sync,no_root_squash)"]);
        let mut server = Esker::start(work.path(), &open).unwrap();
        let top = server.mount("/").unwrap();
        let mut c = server.root_client().unwrap();
        let dir = c.mkdir(&top, "d", 0o777).unwrap();
        set_all(&mut c, &dir, 0o777, 0, 0);
        let secret = c.create(&dir, "secret", 0o600).unwrap();
        let owned = c.create(&dir, "owned", 0o600).unwrap();
        set_all(&mut c, &owned, 0o600, OWNER, GROUP);
        assert!(server.stop().unwrap().success());
        server = Esker::start(work.path(), &Setup::exporting(&[rule])).unwrap();
        server.prove_ours().unwrap();
        let mut c = server.root_client().unwrap();
        let read = |c: &mut Client, fh| c.call(&Read { fh, offset: 0, count: 1 }).unwrap().status;
        assert_eq!(read(&mut c, &secret), Status::ACCES, "{rule}: root is not root");
        let is_owner = uid == OWNER;
        let want = if is_owner { Status::OK } else { Status::ACCES };
        assert_eq!(read(&mut c, &owned), want, "{rule}");
        let how = How::Guarded(Sattr::mode(0o644));
        let made = c.call(&Create { dir: &dir, name: b"new", how }).unwrap();
        let a = made.attr.unwrap();
        assert_eq!((a.uid, a.gid), (uid, gid), "{rule}");
        let give = Sattr { uid: Some(0), ..Sattr::default() };
        assert_eq!(c.setattr(&made.fh.unwrap(), give).unwrap().status, Status::PERM);
        c.become_user(OWNER, OWNER, &[0]);
        let want = if everyone { Status::ACCES } else { Status::OK };
        assert_eq!(read(&mut c, &owned), want, "{rule}: uid 1000");
        let made = c.call(&Create { dir: &dir, name: b"users", how }).unwrap();
        assert_eq!(made.attr.unwrap().uid, if everyone { uid } else { OWNER });
    }
}
