//! What is durable when: `sync` and `async` exports, UNSTABLE and COMMIT, repeats of calls that
//! still wait for the disk, crashes, disks that fail (nfs-clients rows 7, 11, 12, 14; R23, R24).
#![allow(clippy::unwrap_used)]

mod at;
mod gate;

use std::{net::TcpStream, time::Duration};

use at::{At, clock, config, pause};
use esker_tests::nfsclient::{Client, Conn, Cred, Fh, Sattr, Status, proc::*};
use gate::House;
use nfssvr::{Exports, Limits, Outcome, Procedure, ServerConfig};
use swiftclient::disk::{
    SimDisk,
    plan::{Harmed, Operation},
};

const ASYNC: &str = "/ *(rw,no_root_squash,insecure,async)";

struct World {
    disk: SimDisk,
    house: House,
    at: At,
    top: Fh,
}

fn world_with(config: ServerConfig) -> World {
    let disk = SimDisk::new();
    // Reserves are a share of the disk: a small one opens fast.
    disk.set_capacity(Some(256 << 20));
    let house = House::open(&disk);
    let at = At::over(ServerConfig { reactors: Some(1), ..config }, house.volume.clone());
    let top = at.top("/");
    World { disk, house, at, top }
}

fn world() -> World {
    world_with(config())
}

impl World {
    /// Two connections that take turns are not alone: their syncs are left to the journal thread,
    /// so that the gate does not stop the reactor itself.
    fn together(&self) {
        self.at.root().call(&Null).unwrap();
    }
}

fn guarded<'a>(dir: &'a Fh, name: &'a [u8]) -> Create<'a> {
    Create { dir, name, how: How::Guarded(Sattr::mode(0o644)) }
}

/// True when no reply is there after a while.
fn silent(c: &mut Client) -> bool {
    c.conn.set_timeout(Some(Duration::from_millis(120))).unwrap();
    let mut one = [0];
    let waits = c.conn.stream().peek(&mut one).is_err();
    c.conn.set_timeout(Some(Duration::from_secs(20))).unwrap();
    waits
}

#[test]
fn sync_metadata_waits_for_the_disk_and_nobody_else_does() {
    let w = world();
    let (mut c, mut other) = (w.at.root(), w.at.root());
    w.together();
    w.house.gate.close();
    let xid = c.send(&guarded(&w.top, b"f")).unwrap();
    w.house.gate.reached();
    assert!(silent(&mut c), "the reply waits");
    // What is committed is visible, and reading waits for nothing.
    let file = other.walk(&w.top, "f").unwrap();
    assert_eq!(other.attr(&file).unwrap().size, 0);
    // On the same connection too: replies overtake.
    let later = c.send(&Getattr(&file)).unwrap();
    assert!(c.recv::<Getattr<'_>>(later).unwrap().status.ok());
    w.house.gate.open();
    let made = c.recv::<Create<'_>>(xid).unwrap();
    assert_eq!(made.fh, Some(file));
}

#[test]
fn async_metadata_goes_at_once_but_commit_waits() {
    let exports = Exports::parse(ASYNC).unwrap();
    let w = world_with(ServerConfig { exports, ..config() });
    let mut c = w.at.root();
    w.together();
    w.house.gate.close();
    let file = c.call(&guarded(&w.top, b"f")).unwrap().fh.unwrap();
    assert!(c.setattr(&file, Sattr::mode(0o600)).unwrap().status.ok());
    let wrote = c.write(&file, 0, UNSTABLE, b"data").unwrap();
    assert_eq!(wrote.committed, UNSTABLE);
    w.together();
    let stable = c.send(&Write { fh: &file, offset: 0, stable: FILE_SYNC, data: b"more" }).unwrap();
    w.house.gate.reached();
    assert!(silent(&mut c), "FILE_SYNC waits");
    let xid = c.send(&Commit { fh: &file, offset: 0, count: 0 }).unwrap();
    assert!(silent(&mut c), "COMMIT waits");
    w.house.gate.open();
    assert_eq!(c.recv::<Write<'_>>(stable).unwrap().committed, FILE_SYNC);
    assert_eq!(c.recv::<Commit<'_>>(xid).unwrap().verf, wrote.verf);
}

#[test]
fn commit_waits_for_its_own_file_only() {
    let w = world();
    let mut c = w.at.root();
    let one = c.create(&w.top, "one", 0o644).unwrap();
    let two = c.create(&w.top, "two", 0o644).unwrap();
    c.write(&one, 0, FILE_SYNC, b"durable").unwrap();
    w.together();
    w.house.gate.close();
    c.write(&two, 0, UNSTABLE, b"not yet").unwrap();
    assert!(c.commit(&one).unwrap().status.ok(), "nothing of this file is waiting");
    w.together();
    let xid = c.send(&Commit { fh: &two, offset: 0, count: 0 }).unwrap();
    w.house.gate.reached();
    assert!(silent(&mut c));
    w.house.gate.open();
    assert!(c.recv::<Commit<'_>>(xid).unwrap().status.ok());
}

#[test]
fn jukebox_for_commit_but_never_for_a_committed_create() {
    let limits = Limits { begin: Duration::from_millis(300), ..Limits::default() };
    let w = world_with(ServerConfig { limits, ..config() });
    let mut c = w.at.root();
    let file = c.create(&w.top, "f", 0o644).unwrap();
    w.together();
    w.house.gate.close();
    c.write(&file, 0, UNSTABLE, b"x").unwrap();
    let create = c.send(&guarded(&w.top, b"g")).unwrap();
    w.house.gate.reached();
    let began = clock();
    assert_eq!(c.commit(&file).unwrap().status, Status::JUKEBOX);
    assert!(clock() - began >= Duration::from_millis(250));
    let write = Write { fh: &file, offset: 0, stable: FILE_SYNC, data: b"y" };
    assert_eq!(c.call(&write).unwrap().status, Status::JUKEBOX);
    pause(500);
    assert!(silent(&mut c), "the CREATE goes on waiting");
    w.house.gate.open();
    assert!(c.recv::<Create<'_>>(create).unwrap().status.ok());
    // A JUKEBOX is not remembered: the call may be made again.
    assert!(c.call(&write).unwrap().status.ok());
    assert!(c.commit(&file).unwrap().status.ok());
    assert_eq!(w.at.server.counters().outcomes(Procedure::Create, Outcome::Jukebox), 0);
}

#[test]
fn a_repeat_while_the_call_waits_gets_its_answer_on_the_newest_connection() {
    let w = world();
    let mut first = w.at.root();
    w.together();
    w.house.gate.close();
    first.send_as(70, &guarded(&w.top, b"f")).unwrap();
    w.house.gate.reached();
    first.send_as(70, &guarded(&w.top, b"f")).unwrap();
    pause(40);
    let mut second = w.at.root();
    second.send_as(70, &guarded(&w.top, b"f")).unwrap();
    assert!(silent(&mut second));
    // Connected only now: what the second one sent came before, so it may be lost.
    let mut third = w.at.root();
    third.send_as(70, &guarded(&w.top, b"f")).unwrap();
    assert!(silent(&mut third));
    w.house.gate.open();
    assert!(third.recv::<Create<'_>>(70).unwrap().status.ok());
    assert!(silent(&mut first) && silent(&mut second), "one answer, to the newest");
    assert_eq!(third.call(&guarded(&w.top, b"f")).unwrap().status, Status::EXIST);
}

/// Ends a connection by RST: the server learns at once that nobody reads the answer.
fn reset(client: Client) {
    let socket = socket2::SockRef::from(client.conn.stream());
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}

#[test]
fn a_call_outlives_its_connection() {
    let w = world();
    let mut first = w.at.root();
    w.together();
    w.house.gate.close();
    first.send_as(71, &guarded(&w.top, b"f")).unwrap();
    w.house.gate.reached();
    reset(first);
    pause(40);
    w.house.gate.open();
    let mut second = w.at.root();
    second.send_as(71, &guarded(&w.top, b"f")).unwrap();
    assert!(second.recv::<Create<'_>>(71).unwrap().status.ok());
    assert_eq!(second.call(&guarded(&w.top, b"f")).unwrap().status, Status::EXIST);
}

#[test]
fn a_write_outlives_its_connection_and_its_late_copy_undoes_nothing() {
    let w = world();
    let mut first = w.at.root();
    let file = first.create(&w.top, "f", 0o644).unwrap();
    w.together();
    w.house.gate.close();
    let old = Write { fh: &file, offset: 0, stable: FILE_SYNC, data: b"old bytes" };
    first.send_as(72, &old).unwrap();
    w.house.gate.reached();
    reset(first);
    pause(40);
    w.house.gate.open();
    let mut second = w.at.root();
    // Whenever it ends: it is known from its beginning on.
    let new = Write { fh: &file, offset: 0, stable: FILE_SYNC, data: b"new bytes" };
    assert!(second.call(&new).unwrap().status.ok());
    second.send_as(72, &old).unwrap();
    assert!(second.recv::<Write<'_>>(72).unwrap().status.ok());
    assert_eq!(second.read(&file, 0, 9).unwrap().data, b"new bytes");
}

/// Kills the server's machine and boots it again.
fn crash(w: World) -> World {
    w.disk.crash_losing_unsynced();
    let World { disk, house, at, .. } = w;
    drop(at);
    drop(house);
    let disk = disk.process();
    let house = House::open(&disk);
    let at = At::over(ServerConfig { reactors: Some(1), ..config() }, house.volume.clone());
    let top = at.top("/");
    World { disk, house, at, top }
}

#[test]
fn what_was_acknowledged_is_there_after_the_machine_died_and_repeats_are_known() {
    let w = world();
    let mut c = w.at.root();
    let made = {
        c.send_as(9, &guarded(&w.top, b"f")).unwrap();
        c.recv::<Create<'_>>(9).unwrap()
    };
    let file = made.fh.clone().unwrap();
    c.write(&file, 0, UNSTABLE, b"committed").unwrap();
    let verf = c.commit(&file).unwrap().verf;
    c.write(&file, 0, UNSTABLE, b"forgotten").unwrap();
    c.send_as(10, &Remove { dir: &w.top, name: b"none" }).unwrap();
    let _ = c.recv::<Remove<'_>>(10).unwrap();
    let w = crash(w);
    let mut c = w.at.root();
    assert_eq!(c.walk(&w.top, "f").unwrap(), file, "the handle is the same");
    assert_eq!(c.read(&file, 0, 9).unwrap().data, b"committed");
    assert_ne!(c.commit(&file).unwrap().verf, verf, "unstable bytes are to be sent again");
    c.send_as(9, &guarded(&w.top, b"f")).unwrap();
    let again = c.recv::<Create<'_>>(9).unwrap();
    assert_eq!((again.status, again.fh), (Status::OK, Some(file)));
    assert_eq!(c.call(&guarded(&w.top, b"f")).unwrap().status, Status::EXIST);
}

#[test]
fn few_syncs_for_a_chain_and_for_a_crowd() {
    let chain = |c: &mut Client, top: &Fh, name: &str| {
        let file = c.create(top, name, 0o644).unwrap();
        c.write(&file, 0, UNSTABLE, &[1; 4096]).unwrap();
        assert!(c.commit(&file).unwrap().status.ok());
    };
    let w = world();
    let mut c = w.at.root();
    chain(&mut c, &w.top, "warm");
    let before = w.house.gate.syncs();
    for n in 0..20 {
        chain(&mut c, &w.top, &format!("f{n}"));
    }
    let syncs = w.house.gate.syncs() - before;
    assert!(syncs <= 20 * 2 + 2, "sync: at most two a chain, {syncs} for 20");
    assert!(w.at.server.counters().syncs_inline > 20, "alone: on the reactor itself");

    // Eight clients that wait together share the next sync.
    let mut crowd: Vec<_> = (0..8).map(|_| w.at.root()).collect();
    w.house.gate.close();
    let before = w.house.gate.syncs();
    let mut xids = Vec::new();
    w.together();
    for (n, c) in crowd.iter_mut().enumerate() {
        let name = format!("c{n}");
        xids.push(c.send(&guarded(&w.top, name.as_bytes())).unwrap());
        if n == 0 {
            w.house.gate.reached();
        }
    }
    pause(100);
    w.house.gate.open();
    for (c, xid) in crowd.iter_mut().zip(xids) {
        assert!(c.recv::<Create<'_>>(xid).unwrap().status.ok());
    }
    let syncs = w.house.gate.syncs() - before;
    assert!(syncs <= 3, "one for the first, one for all others: {syncs}");

    let exports = Exports::parse(ASYNC).unwrap();
    let w = world_with(ServerConfig { exports, ..config() });
    let mut c = w.at.root();
    chain(&mut c, &w.top, "warm");
    let before = w.house.gate.syncs();
    for n in 0..20 {
        chain(&mut c, &w.top, &format!("f{n}"));
    }
    let syncs = w.house.gate.syncs() - before;
    assert!(syncs <= 20 + 2, "async: one a chain, {syncs} for 20");
}

#[test]
fn shutdown_waits_for_what_was_committed() {
    let w = world();
    let mut c = w.at.root();
    w.together();
    w.house.gate.close();
    let xid = c.send(&guarded(&w.top, b"f")).unwrap();
    w.house.gate.reached();
    std::thread::scope(|s| {
        s.spawn(|| w.at.server.shutdown());
        pause(150);
        assert!(silent(&mut c), "still waiting");
        w.house.gate.open();
        assert!(c.recv::<Create<'_>>(xid).unwrap().status.ok(), "answered before the end");
    });
    assert!(TcpStream::connect(w.at.addr).is_err());
}

#[test]
fn a_disk_that_fails_is_told_and_does_not_turn_the_verifier() {
    let w = world();
    let mut c = w.at.root();
    let file = c.create(&w.top, "f", 0o644).unwrap();
    let verf = c.write(&file, 0, UNSTABLE, b"kept").unwrap().verf;
    // Every write and sync from now on: neither the journal nor the store takes anything.
    for operation in [Operation::SyncData, Operation::Write, Operation::Create] {
        w.disk.harm(Harmed::nth(operation, 0, 5).times(u64::MAX));
    }
    let said = c.commit(&file).unwrap().status;
    assert_eq!(said, Status::IO, "an error, not silence, and not a lie");
    assert_eq!(c.commit(&file).unwrap().status, Status::IO, "again: no other verifier is offered");
    assert_eq!(c.read(&file, 0, 4).unwrap().data, b"kept", "reading goes on");
    let said = c.write(&file, 0, UNSTABLE, b"more").unwrap();
    assert!(
        matches!(said.status, Status::IO | Status::ROFS) || said.verf == verf,
        "{:?}",
        said.status
    );
    assert!(c.attr(&w.top).is_ok(), "the server lives");
}

#[test]
fn many_calls_in_flight_while_the_disk_is_slow() {
    let w = world();
    let conn = TcpStream::connect(w.at.addr).unwrap();
    let mut c = Client::over(Conn::over(conn).unwrap(), Cred::sys(0, 0, &[]));
    w.together();
    w.house.gate.close();
    let mut xids = Vec::new();
    // Beyond the credit of one connection: the rest waits in the socket.
    for n in 0..3_000 {
        let name = format!("f{n}");
        xids.push(c.send(&guarded(&w.top, name.as_bytes())).unwrap());
    }
    w.house.gate.reached();
    let mut other = w.at.root();
    assert!(other.attr(&w.top).is_ok());
    w.house.gate.open();
    for xid in xids {
        assert!(c.recv::<Create<'_>>(xid).unwrap().status.ok());
    }
    assert_eq!(other.list(&w.top, 1 << 16).unwrap().entries.len(), 3_002);
    w.at.quiet();
}
