//! MOUNT and exports: any directory below the export and none above or beside it; rules at every
//! call (nfs-clients rows 15, 16, 19).
#![allow(clippy::unwrap_used)]

mod at;

use std::net::Ipv4Addr;

use at::{At, config, volume};
use esker_tests::nfsclient::{
    Client, Conn, Cred, Fh, Sattr, Status, dump, exports, mnt, open_socket, proc::*, umnt, umntall,
};
use nfssvr::{Exports, Server, ServerConfig};

const ROOT: u32 = 0;

fn cred() -> Cred {
    Cred::sys(ROOT, ROOT, &[])
}

fn status(at: &At, path: &[u8]) -> u32 {
    mnt(&mut at.conn(), &cred(), path).unwrap().status
}

#[test]
fn any_directory_by_path_and_nothing_else() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let a = c.mkdir(&top, "a", 0o700).unwrap();
    let b = c.mkdir(&a, "b", 0o700).unwrap();
    c.create(&a, "file", 0o644).unwrap();
    let target = &b"/a"[..];
    c.call(&Symlink { dir: &top, name: b"link", set: Sattr::default(), target }).unwrap();
    assert_eq!(at.top("/a/b"), b);
    assert_eq!(at.top("//a/./b/"), b);
    assert_eq!(at.top("/a/b/.."), a);
    assert_eq!(at.top("/../../.."), top, "never above");
    assert_eq!(at.top(""), top);
    let m = mnt(&mut at.conn(), &cred(), b"/a").unwrap();
    assert_eq!(m.flavors, [1]);
    assert_eq!(status(&at, b"/no"), 2);
    assert_eq!(status(&at, b"/a/file"), 20);
    assert_eq!(status(&at, b"/link"), 20, "symlinks are not followed");
    assert_eq!(status(&at, b"/link/b"), 20);
    assert_eq!(status(&at, b"a"), 13);
    assert_eq!(status(&at, &[b"/".to_vec(), vec![b'x'; 256]].concat()), 63);
}

#[test]
fn the_list_of_mounts_and_of_exports() {
    let at = At::exporting("/ 127.0.0.0/8(rw,no_root_squash,insecure) ::1\n/home *(ro,insecure)\n");
    let top = at.top("/");
    at.root().mkdir(&top, "home", 0o755).unwrap();
    let mut conn = at.conn();
    let list = exports(&mut conn, &cred()).unwrap();
    let shown: Vec<_> = list
        .iter()
        .map(|e| {
            let groups: Vec<_> = e.groups.iter().map(|g| String::from_utf8_lossy(g)).collect();
            format!("{} {}", String::from_utf8_lossy(&e.dir), groups.join(","))
        })
        .collect();
    assert_eq!(shown, ["/ 127.0.0.0/8,::1", "/home *"]);
    at.top("/home");
    at.top("/home");
    let dumped = |conn: &mut Conn| -> Vec<String> {
        let list = dump(conn, &cred()).unwrap();
        list.iter().map(|(h, d)| format!("{}:{}", text(h), text(d))).collect()
    };
    assert_eq!(dumped(&mut conn), ["127.0.0.1:/", "127.0.0.1:/home"]);
    umnt(&mut conn, &cred(), b"/home/").unwrap();
    assert_eq!(dumped(&mut conn), ["127.0.0.1:/"]);
    umntall(&mut conn, &cred()).unwrap();
    assert!(dumped(&mut conn).is_empty());
}

fn text(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into_owned()
}

#[test]
fn an_export_below_the_root_shows_nothing_above() {
    // First the tree, by a server that exports all; then the narrow one over the same volume.
    let volume = volume();
    let wide = At::over(config(), volume.clone());
    let top = wide.top("/");
    let mut c = wide.root();
    let home = c.mkdir(&top, "home", 0o755).unwrap();
    c.mkdir(&home, "bob", 0o755).unwrap();
    c.mkdir(&top, "homework", 0o755).unwrap();
    let rules = Exports::parse("/home *(rw,no_root_squash,insecure)").unwrap();
    let at = At::over(ServerConfig { exports: rules, ..config() }, volume);
    for path in [&b"/"[..], b"/homework", b"/home/..", b"/home/../homework", b""] {
        assert_eq!(status(&at, path), 13, "{}", text(path));
    }
    let home = at.top("/home");
    let bob = at.top("/home/bob");
    let mut c = at.root();
    let up = c.lookup(&home, "..").unwrap();
    assert_eq!(up.fh, Some(home.clone()), "`..` does not lead out");
    assert_eq!(c.walk(&bob, "..").unwrap(), home, "but up to the top it leads");
    let own = c.attr(&home).unwrap().fileid;
    let listed = c.list_plus(&home, 4096).unwrap();
    let dots: Vec<_> = listed.entries.iter().filter(|e| e.name.starts_with(b".")).collect();
    assert_eq!(dots.len(), 2);
    assert!(dots.iter().all(|e| e.fileid == own && e.fh.as_ref() == Some(&home)));
    // A handle from the wide export is of no use here, although it is genuine.
    assert_eq!(c.call(&Getattr(&top)).unwrap().status, Status::STALE);
    let wide_home = wide.top("/home");
    assert_eq!(c.call(&Getattr(&wide_home)).unwrap().status, Status::STALE);
    assert_eq!(wide.root().call(&Getattr(&home)).unwrap().status, Status::STALE);
}

fn from_port(at: &At, source: Ipv4Addr, port: u16) -> Client {
    let socket = open_socket(at.addr, source, port).unwrap();
    Client::over(Conn::over(socket).unwrap(), cred())
}

#[test]
fn secure_means_ports_of_root_only_and_at_every_call() {
    let at = At::exporting("/ *(rw,no_root_squash)");
    // The machine of the test may not let it bind low ports: then there is nothing to compare.
    let mut low = from_port(&at, Ipv4Addr::LOCALHOST, Conn::LOW);
    let m = mnt(&mut low.conn, &cred(), b"/").unwrap();
    let top = m.fh.unwrap();
    assert!(low.attr(&top).is_ok());
    let mut high = from_port(&at, Ipv4Addr::LOCALHOST, 0);
    assert_eq!(mnt(&mut high.conn, &cred(), b"/").unwrap().status, 13);
    assert_eq!(high.call(&Getattr(&top)).unwrap().status, Status::ACCES, "a leaked handle");
    let made = high.call(&Mkdir { dir: &top, name: b"x", set: Sattr::mode(0o755) }).unwrap();
    assert_eq!(made.status, Status::ACCES);
    assert!(high.call(&Null).is_ok(), "NULL is for everyone");
}

#[test]
fn client_networks_at_every_call() {
    let rules = "/ 127.0.0.2(rw,no_root_squash,insecure) 127.0.0.3(ro,insecure)";
    let at = At::exporting(rules);
    let two = Ipv4Addr::new(127, 0, 0, 2);
    let mut allowed = from_port(&at, two, 0);
    let top = mnt(&mut allowed.conn, &cred(), b"/").unwrap().fh.unwrap();
    let file = allowed.create(&top, "f", 0o666).unwrap();
    let mut stranger = from_port(&at, Ipv4Addr::new(127, 0, 0, 4), 0);
    assert_eq!(mnt(&mut stranger.conn, &cred(), b"/").unwrap().status, 13);
    assert_eq!(stranger.call(&Getattr(&top)).unwrap().status, Status::ACCES);
    assert_eq!(stranger.read(&file, 0, 10).unwrap().status, Status::ACCES);
    let mut reader = from_port(&at, Ipv4Addr::new(127, 0, 0, 3), 0);
    assert!(mnt(&mut reader.conn, &cred(), b"/").unwrap().fh.is_some());
    assert!(reader.attr(&file).is_ok());
    assert_eq!(reader.write(&file, 0, 0, b"x").unwrap().status, Status::ROFS);
}

#[test]
fn read_only_refuses_every_change_and_nothing_else() {
    let volume = volume();
    let wide = At::over(config(), volume.clone());
    let top = wide.top("/");
    let mut c = wide.root();
    let file = c.create(&top, "f", 0o666).unwrap();
    let rules = Exports::parse("/ *(ro,no_root_squash,insecure)").unwrap();
    let at = At::over(ServerConfig { exports: rules, ..config() }, volume);
    let mut c = at.root();
    let set = Sattr::mode(0o600);
    let name = &b"n"[..];
    let before = c.attr(&top).unwrap();
    let said = [
        c.call(&Setattr { fh: &file, set, guard: None }).unwrap().status,
        c.write(&file, 0, 2, b"x").unwrap().status,
        c.call(&Create { dir: &top, name, how: How::Unchecked(set) }).unwrap().status,
        c.call(&Mkdir { dir: &top, name, set }).unwrap().status,
        c.call(&Symlink { dir: &top, name, set, target: b"t" }).unwrap().status,
        c.call(&Mknod {
            dir: &top,
            name,
            ftype: esker_tests::nfsclient::Ftype::Fifo,
            set,
            rdev: (0, 0),
        })
        .unwrap()
        .status,
        c.call(&Remove { dir: &top, name: b"f" }).unwrap().status,
        c.call(&Rmdir { dir: &top, name }).unwrap().status,
        c.call(&Rename { from: (&top, b"f"), to: (&top, name) }).unwrap().status,
        c.call(&Link { fh: &file, dir: &top, name }).unwrap().status,
    ];
    assert!(said.iter().all(|s| *s == Status::ROFS), "{said:?}");
    let wcc = c.call(&Rmdir { dir: &top, name }).unwrap().wcc;
    assert_eq!(wcc.after, Some(before), "the refusal tells the attributes");
    let access = c.call(&Access { fh: &file, want: 0x3f }).unwrap();
    assert_eq!(access.bits & (4 | 8 | 16), 0, "ACCESS does not promise what is refused");
    assert_ne!(access.bits & 1, 0);
    assert!(c.commit(&file).unwrap().status.ok());
    assert!(c.list(&top, 4096).is_ok());
}

/// Identity of what a client makes, as the volume sees it.
fn owner_of(at: &At, auth: Cred, name: &str) -> (u32, u32) {
    let mut c = Client::over(at.conn(), auth);
    let top = at.top("/");
    let file = c.create(&top, name, 0o644).unwrap();
    let a = at.root().call(&Getattr(&file)).unwrap().attr.unwrap();
    (a.uid, a.gid)
}

fn open_top(rules: &str) -> At {
    let volume = volume();
    let wide = At::over(config(), volume.clone());
    let top: Fh = wide.top("/");
    assert!(wide.root().setattr(&top, Sattr::mode(0o777)).unwrap().status.ok());
    drop(wide);
    At::over(ServerConfig { exports: Exports::parse(rules).unwrap(), ..config() }, volume)
}

#[test]
fn squashing_reaches_the_files() {
    let at = open_top("/ *(rw,insecure)");
    assert_eq!(owner_of(&at, Cred::sys(0, 0, &[]), "r"), (65534, 65534), "root_squash by default");
    assert_eq!(owner_of(&at, Cred::sys(1000, 100, &[]), "u"), (1000, 100));
    assert_eq!(owner_of(&at, Cred::none(), "n"), (65534, 65534));
    let at = open_top("/ *(rw,insecure,no_root_squash)");
    assert_eq!(owner_of(&at, Cred::sys(0, 0, &[]), "r"), (0, 0));
    let at = open_top("/ *(rw,insecure,all_squash,anonuid=7,anongid=8)");
    assert_eq!(owner_of(&at, Cred::sys(1000, 100, &[]), "u"), (7, 8));
    assert_eq!(owner_of(&at, Cred::sys(0, 0, &[]), "r"), (7, 8));
}

#[test]
fn sixteen_groups_count() {
    let at = At::new();
    let top = at.top("/");
    let mut root = at.root();
    let dir = root.mkdir(&top, "d", 0o770).unwrap();
    let set = Sattr { gid: Some(16), ..Sattr::default() };
    assert!(root.setattr(&dir, set).unwrap().status.ok());
    let groups: Vec<u32> = (1..=16).collect();
    let mut in_group = at.user(1000, 1000, &groups);
    assert!(in_group.create(&dir, "f", 0o644).is_ok(), "the sixteenth group opens the directory");
    let mut outside = at.user(1000, 1000, &groups[..15]);
    let how = How::Unchecked(Sattr::default());
    let said = outside.call(&Create { dir: &dir, name: b"g", how }).unwrap();
    assert_eq!(said.status, Status::ACCES);
}

#[test]
fn without_a_rule_only_loopback_is_served() {
    let bare = ServerConfig { exports: Exports::default(), ..config() };
    let any = ServerConfig { listen: vec!["0.0.0.0:0".parse().unwrap()], ..bare.clone() };
    let said = Server::start(any, volume()).err().unwrap().to_string();
    assert!(said.contains("export rule") && said.contains("0.0.0.0"), "{said}");
    let at = At::with(bare);
    let mut high = from_port(&at, Ipv4Addr::LOCALHOST, 0);
    assert_eq!(mnt(&mut high.conn, &cred(), b"/").unwrap().status, 13, "secure by default");
    let mut low = from_port(&at, Ipv4Addr::LOCALHOST, Conn::LOW);
    let top = mnt(&mut low.conn, &cred(), b"/").unwrap().fh.unwrap();
    low.create(&top, "f", 0o644).unwrap();
    assert_eq!(low.attr(&top).unwrap().uid, 0);
    let none = ServerConfig { listen: vec![], ..config() };
    assert!(Server::start(none, volume()).is_err());
}

#[test]
fn forged_and_foreign_handles() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    assert!(top.0.len() <= 64);
    for bit in 0..top.0.len() * 8 {
        let mut bad = top.clone();
        bad.0[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(c.call(&Getattr(&bad)).unwrap().status, Status::BADHANDLE, "bit {bit}");
    }
    for len in [0, 1, 16, 32, 47, 49, 64] {
        let mut bad = top.clone();
        bad.0.resize(len, 0);
        assert_eq!(c.call(&Getattr(&bad)).unwrap().status, Status::BADHANDLE, "{len} bytes");
    }
    let foreign = At::with(ServerConfig { handle_key: [6; 32], ..config() });
    assert_eq!(c.call(&Getattr(&foreign.top("/"))).unwrap().status, Status::BADHANDLE);
    let gone = c.create(&top, "gone", 0o644).unwrap();
    c.remove(&top, "gone").unwrap();
    assert_eq!(c.call(&Getattr(&gone)).unwrap().status, Status::STALE);
    assert_eq!(c.read(&gone, 0, 1).unwrap().status, Status::STALE);
    let again = c.create(&top, "gone", 0o644).unwrap();
    assert_ne!(again, gone, "a name made again is another file");
    assert_eq!(c.call(&Getattr(&gone)).unwrap().status, Status::STALE);
}
