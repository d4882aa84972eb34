//! kill -9 at random moments under load, and a full disk: what was acknowledged is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use esker_tests::load::Pool;
use esker_tests::nfsclient::proc::{
    Create, FILE_SYNC, How, Lookup, Mkdir, Remove, Rename, UNSTABLE,
};
use esker_tests::nfsclient::{Client, Fault, Fh, Sattr, Status};
use esker_tests::server::{Esker, Setup, pause};

fn dice(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// What one client was told is durable: names and contents, and what it had asked for last.
#[derive(Default)]
struct Told {
    files: BTreeMap<String, Vec<u8>>,
    /// Names of the call that had no answer when the server died: they may be or not be.
    open: Vec<String>,
}

/// One step of work: makes, writes, renames or removes; gives up at the first lost answer.
fn step(c: &mut Client, dir: &Fh, told: &mut Told, n: u64, seed: &mut u64) -> Result<(), Fault> {
    let name = format!("f{n}");
    let some = told.files.keys().nth(dice(seed) as usize % told.files.len().max(1)).cloned();
    match (dice(seed) % 10, some) {
        (0, Some(old)) => {
            told.open = vec![old.clone()];
            let r = c.call(&Remove { dir, name: old.as_bytes() })?;
            assert!(r.status.ok(), "REMOVE {old}: {:?}", r.status);
            told.files.remove(&old);
        }
        (1, Some(old)) => {
            told.open = vec![old.clone(), name.clone()];
            let (from, to) = ((dir, old.as_bytes()), (dir, name.as_bytes()));
            let r = c.call(&Rename { from, to })?;
            assert!(r.status.ok(), "RENAME {old}: {:?}", r.status);
            let data = told.files.remove(&old).unwrap();
            told.files.insert(name, data);
        }
        (kind, _) => {
            told.open = vec![name.clone()];
            let how = How::Guarded(Sattr::mode(0o644));
            let made = c.call(&Create { dir, name: name.as_bytes(), how })?;
            assert!(made.status.ok(), "CREATE {name}: {:?}", made.status);
            let fh = made.fh.unwrap();
            let len = [0, 1, 100, 4096, 5000, 200_000][dice(seed) as usize % 6];
            let data: Vec<u8> = (0..len).map(|i| (n * 31 + i as u64 * 7) as u8).collect();
            let stable = if kind < 6 { FILE_SYNC } else { UNSTABLE };
            let w = c.write(&fh, 0, stable, &data)?;
            assert!(w.status.ok() && w.count as usize == len);
            if w.committed != FILE_SYNC {
                let k = c.commit(&fh)?;
                assert!(k.status.ok());
                assert_eq!(k.verf, w.verf);
            }
            told.files.insert(name, data);
        }
    }
    told.open.clear();
    Ok(())
}

fn verify(c: &mut Client, dir: &Fh, told: &mut Told) {
    let listed = c.list(dir, 32_768).unwrap();
    let there: Vec<String> =
        listed.entries.into_iter().skip(2).map(|e| String::from_utf8(e.name).unwrap()).collect();
    let open = std::mem::take(&mut told.open);
    for name in &there {
        let known = told.files.contains_key(name) || open.contains(name);
        assert!(known, "{name} is there, but was removed or never made");
    }
    for (name, data) in &told.files {
        if open.contains(name) {
            continue;
        }
        let fh = c.walk(dir, name).unwrap_or_else(|e| panic!("{name} is lost: {e}"));
        let r = c.read(&fh, 0, 1 << 20).unwrap();
        assert!(r.status.ok() && r.eof);
        assert!(&r.data == data, "{name}: {} bytes, {} were durable", r.data.len(), data.len());
    }
    // What was in doubt is decided now: go on from there.
    for name in open {
        told.files.remove(&name);
        if there.contains(&name) {
            assert!(c.remove(dir, &name).unwrap().0.ok());
        }
    }
}

/// Four clients work while the server is killed and started again; after each start everything
/// acknowledged is there, and nothing else.
#[test]
fn acknowledged_work_survives_kill() {
    let work = tempfile::tempdir().unwrap();
    let mut server = Esker::start(work.path(), &Setup::default()).unwrap();
    server.prove_ours().unwrap();
    let root = server.mount("/").unwrap();
    let mut c = server.root_client().unwrap();
    let dirs: Vec<Fh> = (0..4).map(|i| c.mkdir(&root, &format!("d{i}"), 0o755).unwrap()).collect();
    let told: Vec<Mutex<Told>> = dirs.iter().map(|_| Mutex::default()).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let mut steps = 0u64;
    for round in 0..12u64 {
        let clients: Vec<Client> = dirs.iter().map(|_| server.root_client().unwrap()).collect();
        std::thread::scope(|s| {
            let mut all = Vec::new();
            for (i, mut c) in clients.into_iter().enumerate() {
                let (dir, told) = (&dirs[i], &told[i]);
                all.push(s.spawn(move || {
                    let mut told = told.lock().unwrap();
                    let mut seed = round * 1000 + i as u64 + 1;
                    let mut n = round * 1_000_000;
                    while step(&mut c, dir, &mut told, n, &mut seed).is_ok() {
                        n += 1;
                    }
                    n - round * 1_000_000
                }));
            }
            pause(Duration::from_millis(50 + dice(&mut seed) % 400));
            server.kill().unwrap();
            steps += all.into_iter().map(|h| h.join().unwrap()).sum::<u64>();
        });
        server.start_again().unwrap();
        let mut c = server.root_client().unwrap();
        for (dir, told) in dirs.iter().zip(&told) {
            verify(&mut c, dir, &mut told.lock().unwrap());
        }
    }
    assert!(steps > 500, "only {steps} steps in 12 rounds");
    server.restart().unwrap();
    let mut c = server.root_client().unwrap();
    for (dir, told) in dirs.iter().zip(&told) {
        verify(&mut c, dir, &mut told.lock().unwrap());
    }
}

/// A client that sends every call again under its xid until it is answered sees no crash at all:
/// no EEXIST or ENOENT for its own finished calls.
#[test]
fn a_patient_client_sees_no_crash() {
    let work = tempfile::tempdir().unwrap();
    let mut server = Esker::start(work.path(), &Setup::default()).unwrap();
    server.prove_ours().unwrap();
    let root = server.mount("/").unwrap();
    let nfs = server.nfs;
    let done = AtomicBool::new(false);
    let calls: u64 = std::thread::scope(|s| {
        let all: Vec<_> = (0..3u32)
            .map(|i| {
                let (root, done) = (&root, &done);
                s.spawn(move || {
                    let mut p = Patient { nfs, c: None, xid: i << 24 };
                    let set = Sattr::mode(0o755);
                    let name = format!("p{i}");
                    let dir = p.call(|c, x| {
                        c.send_as(x, &Mkdir { dir: root, name: name.as_bytes(), set })?;
                        c.recv::<Mkdir>(x)
                    });
                    assert!(dir.status.ok(), "MKDIR: {:?}", dir.status);
                    let dir = dir.fh.unwrap();
                    while !done.load(Relaxed) {
                        patient_round(&mut p, &dir);
                    }
                    u64::from(p.xid - (i << 24))
                })
            })
            .collect();
        let mut seed = 77;
        for _ in 0..12 {
            pause(Duration::from_millis(60 + dice(&mut seed) % 300));
            server.kill().unwrap();
            server.start_again().unwrap();
        }
        done.store(true, Relaxed);
        all.into_iter().map(|h| h.join().unwrap()).sum()
    });
    assert!(calls > 300, "only {calls} calls");
}

struct Patient {
    nfs: std::net::SocketAddr,
    c: Option<Client>,
    xid: u32,
}

impl Patient {
    /// Sends until answered; each attempt after a loss over a new connection, under the same xid.
    fn call<T>(&mut self, f: impl Fn(&mut Client, u32) -> Result<T, Fault>) -> T {
        self.xid += 1;
        for _ in 0..2000 {
            if self.c.is_none() {
                self.c = Client::root(self.nfs).ok();
            }
            if let Some(c) = &mut self.c {
                match f(c, self.xid) {
                    Ok(r) => return r,
                    Err(Fault::Io(_)) => self.c = None,
                    Err(e) => panic!("{e}"),
                }
            }
            pause(Duration::from_millis(5));
        }
        panic!("no answer");
    }
}

fn patient_round(p: &mut Patient, dir: &Fh) {
    let how = How::Guarded(Sattr::mode(0o644));
    let r = p.call(|c, x| {
        c.send_as(x, &Create { dir, name: b"a", how })?;
        c.recv::<Create>(x)
    });
    assert_eq!(r.status, Status::OK, "CREATE of a name that is not there");
    let made = r.fh.unwrap();
    let r = p.call(|c, x| {
        c.send_as(x, &Rename { from: (dir, b"a"), to: (dir, b"b") })?;
        c.recv::<Rename>(x)
    });
    assert_eq!(r.status, Status::OK, "RENAME of a name that is there");
    let r = p.call(|c, x| {
        c.send_as(x, &Lookup { dir, name: b"b" })?;
        c.recv::<Lookup>(x)
    });
    assert_eq!((r.status, r.fh), (Status::OK, Some(made)));
    let r = p.call(|c, x| {
        c.send_as(x, &Remove { dir, name: b"b" })?;
        c.recv::<Remove>(x)
    });
    assert_eq!(r.status, Status::OK, "REMOVE of a name that is there");
}

/// A stream that is never committed may be lost, but then the verifier says so; what COMMIT
/// confirmed under the verifier of the WRITEs is whole.
#[test]
fn the_verifier_tells_what_must_be_sent_again() {
    let work = tempfile::tempdir().unwrap();
    let mut server = Esker::start(work.path(), &Setup::default()).unwrap();
    server.prove_ours().unwrap();
    let root = server.mount("/").unwrap();
    let pool = Pool::new();
    let mut c = server.root_client().unwrap();
    let fh = c.create(&root, "stream", 0o644).unwrap();
    let mut verf = [0; 8];
    for round in 0..4u64 {
        // Sends all blocks again until one COMMIT confirms them under one verifier.
        let mut attempt = 0;
        loop {
            attempt += 1;
            let mut same = true;
            for b in 0..24u64 {
                let w = c.write(&fh, b << 20, UNSTABLE, pool.block(b + round, 1 << 20)).unwrap();
                assert!(w.status.ok());
                same &= b == 0 || w.verf == verf;
                verf = w.verf;
                if attempt == 1 && b == 5 + round * 5 {
                    server.kill().unwrap();
                    server.start_again().unwrap();
                    c = server.root_client().unwrap();
                }
            }
            let k = c.commit(&fh).unwrap();
            if same && k.verf == verf {
                break;
            }
            assert!(attempt < 3, "the verifier changed without a restart");
        }
        assert!(attempt == 2, "a crash in the middle went unnoticed");
        server.kill().unwrap();
        server.start_again().unwrap();
        c = server.root_client().unwrap();
        for b in 0..24u64 {
            let r = c.read(&fh, b << 20, 1 << 20).unwrap();
            assert!(r.data == pool.block(b + round, 1 << 20), "MiB {b} of round {round}");
        }
    }
}

/// A second server on the volume is refused by name of the holder; after SIGKILL nothing is in
/// the way; a clean stop exits 0.
#[test]
fn one_server_at_a_time() {
    let work = tempfile::tempdir().unwrap();
    let mut server = Esker::start(work.path(), &Setup::default()).unwrap();
    let second = tempfile::tempdir().unwrap();
    let try_second = || {
        Esker::start_at(&server.dir, second.path(), &Setup::default(), (0, 0))
            .err()
            .map(|e| e.to_string())
    };
    let why = try_second().expect("a second server started");
    assert!(why.contains(&server.pid().to_string()), "names the holder: {why}");
    server.signal(rustix::process::Signal::STOP).unwrap();
    let why = try_second().expect("a second server started beside a stopped one");
    assert!(why.contains(&server.pid().to_string()), "names the holder: {why}");
    server.signal(rustix::process::Signal::CONT).unwrap();
    server.kill().unwrap();
    server.start_again().unwrap();
    assert!(server.stop().unwrap().success());
}

/// A small tmpfs, mounted where only this process and its children see it.
struct Small {
    dir: tempfile::TempDir,
}
impl Small {
    fn new(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let ok = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "small"])
            .arg(dir.path())
            .status()
            .is_ok_and(|s| s.success());
        ok.then_some(Self { dir })
    }
}
impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}

/// A full disk: NOSPC on WRITE and CREATE, never on COMMIT; reading, removing and truncating go
/// on; what is removed comes back as room by itself, and writing goes on.
#[test]
fn a_full_disk() {
    // Mounting needs root; without it there is no disk to fill.
    let Some(small) = Small::new(192) else {
        assert!(!rustix::process::geteuid().is_root(), "root could not mount a tmpfs");
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let volume = small.dir.path().join("volume");
    let setup = Setup { args: vec!["--memory".into(), "64MiB".into()], ..Setup::default() };
    let start = || Esker::start_at(&volume, work.path(), &setup, free_ports()).unwrap();
    let mut server = start();
    server.prove_ours().unwrap();
    let root = server.mount("/").unwrap();
    let pool = Pool::new();
    let mut c = server.root_client().unwrap();
    c.conn.set_timeout(Some(Duration::from_secs(30))).unwrap();
    for round in 0..3 {
        let kept = fill(&mut c, &root, &pool, round);
        assert!(kept.len() > 10, "round {round}: {} MiB of 192 taken", kept.len());
        // Metadata are refused too, or still fit into what is left: nothing else.
        let how = How::Guarded(Sattr::mode(0o644));
        let s = c.call(&Create { dir: &root, name: b"one more", how }).unwrap().status;
        assert!(matches!(s, Status::OK | Status::NOSPC), "CREATE on a full disk: {s:?}");
        for (name, fh, n) in &kept {
            let r = c.read(fh, 0, 1 << 20).unwrap();
            assert!(r.data == pool.block(*n, 1 << 20), "{name} on the full disk");
        }
        if round == 1 {
            server.kill().unwrap();
            server.start_again().unwrap();
            c = server.root_client().unwrap();
            c.conn.set_timeout(Some(Duration::from_secs(30))).unwrap();
        }
        let (name, fh, n) = &kept[0];
        assert!(c.setattr(fh, Sattr::size(1000)).unwrap().status.ok(), "truncate of {name}");
        assert_eq!(c.read(fh, 0, 2000).unwrap().data, pool.block(*n, 1000));
        for (name, ..) in &kept {
            assert!(c.remove(&root, name).unwrap().0.ok(), "REMOVE {name} on the full disk");
        }
        let _ = c.remove(&root, "one more").unwrap();
    }
    assert!(server.alive());
    assert!(server.stop().unwrap().success());
    let mut server = start();
    assert!(server.alive());
}

fn free_ports() -> (u16, u16) {
    let port = || {
        let l = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        l.local_addr().unwrap().port()
    };
    (port(), port())
}

/// Writes files of 1 MiB, every fourth committed, until one is refused; gives what was kept.
fn fill(c: &mut Client, root: &Fh, pool: &Pool, round: u64) -> Vec<(String, Fh, u64)> {
    let mut kept = Vec::new();
    // Room that was freed comes back after a while: the first refusals wait for it.
    let mut refusals = 0;
    for n in 0..400u64 {
        let name = format!("r{round}-{n}");
        let how = How::Guarded(Sattr::mode(0o644));
        let made = c.call(&Create { dir: root, name: name.as_bytes(), how }).unwrap();
        if made.status == Status::NOSPC {
            refusals += 1;
            if kept.len() > 10 || refusals > 100 {
                return kept;
            }
            pause(Duration::from_millis(100));
            continue;
        }
        assert!(made.status.ok(), "CREATE: {:?}", made.status);
        let fh = made.fh.unwrap();
        let w = c.write(&fh, 0, UNSTABLE, pool.block(n, 1 << 20)).unwrap();
        let k = c.commit(&fh).unwrap();
        assert!(k.status.ok(), "COMMIT: {:?}", k.status);
        if w.status == Status::NOSPC {
            assert!(c.remove(root, &name).unwrap().0.ok());
            refusals += 1;
            if kept.len() > 10 || refusals > 100 {
                return kept;
            }
            pause(Duration::from_millis(100));
            continue;
        }
        assert!(w.status.ok(), "WRITE: {:?}", w.status);
        kept.push((name, fh, n));
    }
    panic!("400 MiB went onto a disk of 192");
}
