//! End to end over a Unix socket: every operation once, and what it must refuse.
#![allow(clippy::unwrap_used)]

mod at;

use at::{At, Client, at, root, user};
use rpc::{
    Along, Entry, Kind, List, Object, Place, Reader, SetAttributes, SetTime, Time, Wire,
    calls::{self, *},
    errno::*,
};

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

fn open(path: &str, flags: u32, handle: u32) -> Open {
    Open { place: at(path), flags, handle, set: mode(0o644), wanted: List::default() }
}

fn stat(path: &str) -> Stat {
    Stat { place: at(path), flags: 0, wanted: List::default() }
}

const RW: u32 = calls::open::READ | calls::open::WRITE;
const CREATE: u32 = RW | calls::open::CREATE;

#[test]
fn a_file_from_its_making_to_its_end() {
    let at_ = At::new();
    let mut c = at_.client();
    assert!(!c.welcome.resumed);
    assert_eq!(c.welcome.volume, [7; 16]);
    let made = c.call(&MkDir { place: at("d"), set: mode(0o755) }).unwrap();
    assert_eq!(made.attributes.kind, Kind::Directory);
    let opened = c.call(&open("d/f", CREATE, 5)).unwrap();
    assert!(opened.created && opened.attributes.size == 0 && opened.attributes.mode == 0o644);
    let file = Object::Handle(5);
    let (written, _) = c.both(&Write { file, offset: 0, flags: 0 }, b"hello world").unwrap();
    assert_eq!(written.size, 11);
    let append = Write { file, offset: 0, flags: calls::write::APPEND };
    assert_eq!(c.both(&append, b"!").unwrap().0.size, 12);
    let (data, bytes) = c.both(&Read { file, offset: 6, count: 100 }, b"").unwrap();
    assert!(data.eof);
    assert_eq!(&bytes[..], b"world!");
    c.call(&FSync { file }).unwrap();
    assert!(c.durable >= written.seq);
    // Open it stays, without a name.
    c.call(&Unlink { place: at("d/f"), flags: 0 }).unwrap();
    assert_eq!(c.call(&stat("d/f")).unwrap_err(), ENOENT);
    let (_, bytes) = c.both(&Read { file, offset: 0, count: 5 }, b"").unwrap();
    assert_eq!(&bytes[..], b"hello");
    let id = opened.attributes.id;
    let by_id = Stat { place: Place::at(Object::Id(id)), flags: 0, wanted: List::default() };
    assert_eq!(c.call(&by_id).unwrap().attributes.nlink, 0);
    c.call(&Close { handle: 5 }).unwrap();
    assert_eq!(c.call(&by_id).unwrap_err(), ESTALE);
    assert_eq!(c.call(&Close { handle: 5 }).unwrap_err(), EBADF);
    c.call(&Unlink { place: at("d"), flags: calls::unlink::DIRECTORY }).unwrap();
}

#[test]
fn everything_can_be_sent_in_one_go() {
    let at_ = At::new();
    let mut c = at_.client();
    let after = rpc::frame::AFTER;
    let opening = c.send(&open("f", CREATE, 1), b"", 0);
    let file = Object::Handle(1);
    let writing = c.send(&Write { file, offset: 0, flags: 0 }, &vec![7; 1 << 20], after);
    let closing = c.send(&Close { handle: 1 }, b"", after);
    let looking = c.send(&stat("f"), b"", after);
    assert!(c.taken::<Open>(opening).unwrap().0.created);
    assert_eq!(c.taken::<Write>(writing).unwrap().0.size, 1 << 20);
    c.taken::<Close>(closing).unwrap();
    assert_eq!(c.taken::<Stat>(looking).unwrap().0.attributes.size, 1 << 20);
}

#[test]
fn names_of_every_kind() {
    let at_ = At::new();
    let mut c = at_.client();
    c.call(&MkDir { place: at("a"), set: mode(0o755) }).unwrap();
    c.call(&MkDir { place: at("a/b"), set: mode(0o755) }).unwrap();
    let set = SetAttributes::default;
    let link = |place, target: &str| Symlink { place, target: target.into(), set: set() };
    c.call(&link(at("up"), "a/b")).unwrap();
    c.call(&link(at("a/b/top"), "/a")).unwrap();
    c.call(&link(at("loop"), "loop")).unwrap();
    let text = c.call(&ReadLink { place: at("up") }).unwrap();
    assert_eq!(&text.target[..], b"a/b");
    let number = |c: &mut Client, path: &str, flags| {
        let stat = Stat { place: at(path), flags, wanted: List::default() };
        c.call(&stat).map(|s| s.attributes.id.ino)
    };
    let a = number(&mut c, "a", 0).unwrap();
    assert_eq!(number(&mut c, "up/top/../a/./b/..", 0), Ok(a));
    assert_eq!(number(&mut c, "/..//../a/", 0), Ok(a));
    assert_eq!(number(&mut c, "up/top", FOLLOW), Ok(a));
    assert_ne!(number(&mut c, "up/top", 0), Ok(a));
    assert_eq!(number(&mut c, "loop", FOLLOW), Err(ELOOP));
    assert_eq!(number(&mut c, &"x".repeat(300), 0), Err(ENAMETOOLONG));
    // An object and a name in it; a handle of a directory as well.
    c.call(&open("a", calls::open::READ | calls::open::DIRECTORY, 2)).unwrap();
    let fifo = Place::of(Object::Handle(2), b"pipe");
    c.call(&MkNod { place: fifo, kind: 6, major: 0, minor: 0, set: mode(0o600) }).unwrap();
    let (file, flags) = (at("a/pipe"), 0);
    let linked = c.call(&Link { file, flags, place: at("p") }).unwrap();
    assert_eq!((linked.attributes.nlink, linked.attributes.kind), (2, Kind::Fifo));
    let rename = |from, to, flags| Rename { from: at(from), to: at(to), flags };
    assert_eq!(c.call(&rename("p", "up", calls::rename::NO_REPLACE)), Err(EEXIST));
    c.call(&rename("p", "a/q", calls::rename::NO_REPLACE)).unwrap();
    assert_eq!(number(&mut c, "p", 0), Err(ENOENT));
    // Its real name, whatever its case.
    let find = |path: &str| FindName { place: at(path) };
    assert_eq!(&c.call(&find("A")).unwrap().name[..], b"a");
    assert_eq!(&c.call(&find("a/PIPE")).unwrap().name[..], b"pipe");
    assert_eq!(c.call(&find("a/PIPES")).unwrap_err(), ENOENT);
    let listed = ReadDir {
        place: Place::at(Object::Handle(2)),
        flags: calls::readdir::ATTRIBUTES,
        cookie: 0,
        count: 2,
        wanted: List::default(),
    };
    let mut names = Vec::new();
    let mut next = listed.clone();
    loop {
        let (page, bytes) = c.both(&next, b"").unwrap();
        let mut reader = Reader::new(&bytes);
        for _ in 0..page.count {
            let entry = Entry::take(&mut reader).unwrap();
            assert_eq!(entry.attributes.unwrap().id.ino, entry.ino);
            next.cookie = entry.cookie;
            names.push(entry.name.to_vec());
        }
        reader.end().unwrap();
        if page.end {
            break;
        }
    }
    names.sort();
    assert_eq!(names, [&b"."[..], b"..", b"b", b"pipe", b"q"]);
}

#[test]
fn attributes_and_extended_ones_come_with_an_open() {
    let at_ = At::new();
    let mut c = at_.client();
    c.call(&open("f", CREATE, 1)).unwrap();
    let file = Place::at(Object::Handle(1));
    let set = SetXattr { place: file.clone(), flags: 0, name: "user.DOSATTRIB".into() };
    c.both(&set, b"0x20").unwrap();
    let large = SetXattr { place: at("f"), flags: 0, name: "user.large".into() };
    c.both(&large, &[1; 65_536]).unwrap();
    let only = SetXattr { flags: calls::setxattr::CREATE, ..set };
    assert_eq!(c.both(&only, b"").unwrap_err(), EEXIST);
    let wanted = List(vec!["user.none".into(), "user.DOSATTRIB".into(), "user.large".into()]);
    let opened = c.call(&Open { wanted, ..open("f", RW, 2) }).unwrap();
    let along = [Along::Absent, Along::Value("0x20".into()), Along::Large];
    assert_eq!((opened.created, opened.along.0), (false, along.to_vec()));
    let get = GetXattr { place: at("f"), flags: 0, name: "user.large".into() };
    assert_eq!(c.both(&get, b"").unwrap().1.len(), 65_536);
    let (_, names) = c.both(&ListXattr { place: at("f"), flags: 0 }, b"").unwrap();
    assert_eq!(&names[..], b"user.DOSATTRIB\0user.large\0");
    c.call(&RemoveXattr { place: at("f"), flags: 0, name: "user.large".into() }).unwrap();
    assert_eq!(c.both(&get, b"").unwrap_err(), ENODATA);
    // A date before 1970.
    let old = Time { sec: -11_644_473_600, nsec: 5 };
    let set = SetAttributes { mtime: SetTime::To(old), ..SetAttributes::default() };
    let set = SetAttr { place: file.clone(), flags: 0, set, guard: None };
    assert_eq!(c.call(&set).unwrap().attributes.mtime, old);
    let stale = Some(Time { sec: 1, nsec: 1 });
    assert_eq!(c.call(&SetAttr { guard: stale, ..set }).unwrap_err(), EBUSY);
    let room = c.call(&StatFs {}).unwrap();
    assert!(room.free_bytes > 0 && room.name_bytes == 255 && room.fsid == 77);
}

#[test]
fn holes_are_found_made_and_copied() {
    let at_ = At::new();
    let mut c = at_.client();
    c.call(&open("f", CREATE, 1)).unwrap();
    c.call(&open("g", CREATE, 2)).unwrap();
    let (f, g) = (Object::Handle(1), Object::Handle(2));
    c.both(&Write { file: f, offset: 1 << 20, flags: 0 }, &[7; 8192]).unwrap();
    let allocate = |mode, offset, len| Allocate { file: f, offset, len, mode };
    let grown = c.call(&allocate(calls::allocate::EXTEND, 0, 2 << 20)).unwrap();
    assert_eq!(grown.attributes.size, 2 << 20);
    let seek = |whence, offset| Seek { file: f, offset, whence };
    assert_eq!(c.call(&seek(calls::seek::DATA, 0)).unwrap().offset, 1 << 20);
    assert_eq!(c.call(&seek(calls::seek::HOLE, 1 << 20)).unwrap().offset, (1 << 20) + 8192);
    assert_eq!(c.call(&seek(calls::seek::DATA, 2 << 20)).unwrap_err(), ENXIO);
    c.call(&allocate(calls::allocate::PUNCH, (1 << 20) + 4096, 1024)).unwrap();
    let ranges = c.call(&Ranges { file: f, offset: 0, len: 4 << 20, count: 9 }).unwrap();
    let found: Vec<_> = ranges.ranges.0.iter().map(|r| (r.start, r.len)).collect();
    assert_eq!(found, [(1 << 20, 4096), ((1 << 20) + 5120, 3072)]);
    assert!(ranges.end);
    let mut at_offset = 0;
    let mut steps = 0;
    while at_offset < 2 << 20 {
        let copy = Copy {
            from: f,
            from_offset: at_offset,
            to: g,
            to_offset: at_offset,
            len: (2 << 20) - at_offset,
        };
        at_offset += c.call(&copy).unwrap().bytes;
        steps += 1;
    }
    assert_eq!(steps, 5);
    let same = c.call(&Ranges { file: g, offset: 0, len: 4 << 20, count: 9 }).unwrap();
    assert_eq!(same.ranges, ranges.ranges);
    let stat = Stat { place: Place::at(g), flags: 0, wanted: List::default() };
    assert_eq!(c.call(&stat).unwrap().attributes.size, 2 << 20);
    let (_, a) = c.both(&Read { file: f, offset: 1 << 20, count: 8192 }, b"").unwrap();
    let (_, b) = c.both(&Read { file: g, offset: 1 << 20, count: 8192 }, b"").unwrap();
    assert!(a == b && a[4096] == 0 && a[0] == 7);
}

#[test]
fn rights_are_those_of_the_one_who_asks() {
    let at_ = At::new();
    let mut c = at_.client();
    c.call(&MkDir { place: at("home"), set: SetAttributes { uid: Some(1000), ..mode(0o700) } })
        .unwrap();
    c.who = user(1000);
    let opened = c.call(&open("home/f", CREATE, 1)).unwrap();
    assert_eq!((opened.attributes.uid, opened.attributes.gid), (1000, 1000));
    let set = SetAttr { place: at("home/f"), flags: 0, set: mode(0o000), guard: None };
    c.call(&set).unwrap();
    // What was granted at the open stays granted; what was not is asked for.
    let handle = Object::Handle(1);
    c.both(&Write { file: handle, offset: 0, flags: 0 }, b"x").unwrap();
    let by_id = Object::Id(opened.attributes.id);
    assert_eq!(c.both(&Write { file: by_id, offset: 0, flags: 0 }, b"x").unwrap_err(), EACCES);
    assert_eq!(c.call(&open("home/f", RW, 2)).unwrap_err(), EACCES);
    // A handle for nothing needs no right, and gives none.
    c.call(&open("home/f", 0, 2)).unwrap();
    let read = Read { file: Object::Handle(2), offset: 0, count: 1 };
    assert_eq!(c.both(&read, b"").unwrap_err(), EBADF);
    c.who = user(1001);
    assert_eq!(c.call(&stat("home/f")).unwrap_err(), EACCES);
    c.who = root();
    let asked = Access { place: at("home/f"), flags: 0, bits: 1 | 4 };
    assert_eq!(c.call(&asked).unwrap().bits, 5);
    // Made read-only by its own open, and written through it all the same.
    c.who = user(1000);
    c.call(&Open { set: mode(0o444), ..open("home/r", CREATE, 3) }).unwrap();
    c.both(&Write { file: Object::Handle(3), offset: 0, flags: 0 }, b"x").unwrap();
    let exclusive = open("home/r", CREATE | calls::open::EXCLUSIVE, 4);
    assert_eq!(c.call(&exclusive).unwrap_err(), EEXIST);
    assert_eq!(c.call(&open("home", RW, 4)).unwrap_err(), EISDIR);
    assert_eq!(c.call(&open("home/r", calls::open::READ, 3)).unwrap_err(), EEXIST);
}

#[test]
fn over_tcp_only_who_knows_the_secret() {
    let at_ = At::new();
    let refused = Client::tcp(at_.tcp, [3; 16], b"another secret of some length");
    assert_eq!(refused.err().unwrap().errno, EKEYREJECTED);
    let mut c = Client::tcp(at_.tcp, [3; 16], at::SECRET).unwrap();
    c.call(&open("f", CREATE, 1)).unwrap();
    assert_eq!(at_.server.counters().strangers, 1);
}

#[test]
fn plain_tcp_where_others_reach_it_is_refused_unless_it_is_meant() {
    let wide = "0.0.0.0:0".parse().unwrap();
    let start = |config| {
        let bound = rpcsvr::Bound::new(&[rpcsvr::Listen::Tcp(wide)]).unwrap();
        rpcsvr::Server::start(bound, config, at::volume())
    };
    let config = || at::config(at::limits());
    let why = start(config()).err().unwrap().to_string();
    assert!(why.contains("TLS"), "{why}");
    let (cert, key) = certificate();
    let tls = Some(rpcsvr::Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap());
    start(rpcsvr::ServerConfig { tls, ..config() }).unwrap();
    start(rpcsvr::ServerConfig { plain_tcp: true, ..config() }).unwrap();
    let none = rpcsvr::ServerConfig { plain_tcp: true, secret: None, ..config() };
    assert!(start(none).err().unwrap().to_string().contains("secret"));
    let short = rpcsvr::ServerConfig { secret: Some(b"short".to_vec()), ..config() };
    assert!(start(short).is_err());
    assert!(rpcsvr::Tls::from_pem(b"nothing", key.as_bytes()).is_err());
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn over_tls_the_same_is_said() {
    use std::{io::Read as _, sync::Arc};
    use tokio_rustls::rustls;

    let (cert, key) = certificate();
    let tls = Some(rpcsvr::Tls::from_pem(cert.as_bytes(), key.as_bytes()).unwrap());
    let bound = rpcsvr::Bound::new(&["127.0.0.1:0".parse().unwrap()]).unwrap();
    let config = rpcsvr::ServerConfig { tls, ..at::config(at::limits()) };
    let server = rpcsvr::Server::start(bound, config, at::volume()).unwrap();
    let rpcsvr::Listen::Tcp(address) = server.local_addrs()[0].clone() else { panic!() };
    // Plain, it ends.
    let mut plain = std::net::TcpStream::connect(address).unwrap();
    let said = at::raw(rpc::hello::HELLO, 1, &at::hello([5; 16]));
    std::io::Write::write_all(&mut plain, &said).unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.windows(4).any(|w| w == [0, 0, 1, 0]) || rest.len() < 32);
    // With TLS the challenge comes.
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let socket = std::net::TcpStream::connect(address).unwrap();
    let wires = at::Wires::new(rustls::StreamOwned::new(session, socket));
    let mut c = Client::over(wires, [5; 16], at::SECRET).unwrap();
    c.call(&open("f", CREATE, 1)).unwrap();
    let (written, _) =
        c.both(&Write { file: Object::Handle(1), offset: 0, flags: 0 }, &vec![3; 1 << 20]).unwrap();
    assert_eq!(written.size, 1 << 20);
    let read = Read { file: Object::Handle(1), offset: 0, count: 1 << 20 };
    assert_eq!(c.both(&read, b"").unwrap().1, vec![3; 1 << 20]);
}
