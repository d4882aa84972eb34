//! Sessions: what they hold, what is carried out once, what comes back and what goes.
#![allow(clippy::unwrap_used)]

mod at;

use std::time::Duration;

use at::{At, Client, Wires, at, hello, next_frame, pause, raw};
use rpc::{
    FileId, List, Object, Op, Place, SetAttributes, Wire,
    calls::{self, *},
    errno::*,
    frame::{AFTER, RESENT},
    hello::HELLO,
};
use rpcsvr::Limits;

fn open(path: &str, flags: u32, handle: u32) -> Open {
    let set = SetAttributes { mode: Some(0o644), ..SetAttributes::default() };
    Open { place: at(path), flags, handle, set, wanted: List::default() }
}

const RW: u32 = calls::open::READ | calls::open::WRITE;
const CREATE: u32 = RW | calls::open::CREATE;
const EXCLUSIVE: u32 = CREATE | calls::open::EXCLUSIVE;

fn mkdir(path: &str) -> MkDir {
    MkDir { place: at(path), set: SetAttributes::default() }
}

/// Waits for what happens by time alone, or on another thread.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if done() {
            return;
        }
        pause();
    }
    panic!("{what}: not within twenty seconds");
}

#[test]
fn a_request_sent_again_is_carried_out_once() {
    let at_ = At::new();
    let mut c = at_.client();
    let id = c.send(&open("f", EXCLUSIVE, 1), b"", 0);
    let first = c.taken::<Open>(id).unwrap().0;
    c.send_as(id, &open("f", EXCLUSIVE, 1), b"", RESENT);
    assert_eq!(c.taken::<Open>(id).unwrap().0, first);
    // On a new connection of the session: the handle is there, and the reply too.
    drop(c);
    let mut c = at_.client();
    assert!(c.welcome.resumed);
    c.send_as(id, &open("f", EXCLUSIVE, 1), b"", RESENT);
    assert_eq!(c.taken::<Open>(id).unwrap().0, first);
    let append = Write { file: Object::Handle(1), offset: 0, flags: calls::write::APPEND };
    for _ in 0..3 {
        c.send_as(id + 1, &append, b"once", RESENT);
        assert_eq!(c.taken::<Write>(id + 1).unwrap().0.size, 4);
    }
    // The same id for another request; an id that was given up.
    c.send_as(id + 1, &append, b"else", RESENT);
    assert_eq!(c.taken::<Write>(id + 1).unwrap_err(), EINVAL);
    c.mark = id + 2;
    c.send_as(id + 2, &mkdir("d"), b"", 0);
    c.taken::<MkDir>(id + 2).unwrap();
    c.send_as(id + 1, &append, b"once", RESENT);
    assert_eq!(c.taken::<Write>(id + 1).unwrap_err(), EINVAL);
    assert_eq!(at_.server.counters().replays, 2);
    // Too far ahead of the mark.
    let far = c.mark + u64::from(c.welcome.window);
    c.send_as(far, &mkdir("e"), b"", 0);
    assert_eq!(c.taken::<MkDir>(far).unwrap_err(), ENOBUFS);
}

#[test]
fn another_session_of_the_same_ids_is_another_client() {
    let at_ = At::new();
    let (mut a, mut b) = (at_.session([1; 16]), at_.session([2; 16]));
    a.call(&mkdir("d")).unwrap();
    assert_eq!(b.call(&mkdir("d")).unwrap_err(), EEXIST);
    // Handles are each session's own.
    a.call(&open("f", CREATE, 1)).unwrap();
    b.call(&open("f", CREATE, 1)).unwrap();
    a.call(&Close { handle: 1 }).unwrap();
    b.both(&Write { file: Object::Handle(1), offset: 0, flags: 0 }, b"x").unwrap();
}

#[test]
fn the_volume_remembers_for_the_next_server() {
    let volume = at::volume();
    let first = At::over(volume.clone(), at::limits());
    let mut c = first.client();
    let made = c.send(&open("f", EXCLUSIVE, 1), b"", 0);
    let id = c.taken::<Open>(made).unwrap().0.attributes.id;
    let append = Write { file: Object::Handle(1), offset: 0, flags: calls::write::APPEND };
    let wrote = c.send(&append, b"once", AFTER);
    c.taken::<Write>(wrote).unwrap();
    let boot = c.welcome.boot;
    first.server.shutdown();
    drop(first);

    // Another process: it knows no session, but the volume knows the requests.
    let second = At::over(volume, at::limits());
    let mut c = second.client();
    assert!(!c.welcome.resumed && c.welcome.boot != boot);
    c.send_as(made, &open("f", EXCLUSIVE, 1), b"", RESENT);
    let again = c.taken::<Open>(made).unwrap().0;
    assert!(again.created && again.attributes.id == id);
    c.send_as(wrote, &append, b"once", RESENT | AFTER);
    assert_eq!(c.taken::<Write>(wrote).unwrap().0.size, 4);
    let copy =
        Copy { from: Object::Handle(1), from_offset: 0, to: Object::Id(id), to_offset: 4, len: 3 };
    c.next = wrote + 1;
    assert_eq!(c.call(&copy).unwrap().bytes, 3);
}

#[test]
fn handles_and_locks_come_back_within_the_grace_time_and_go_after_it() {
    let limits = Limits { grace: Duration::from_millis(700), ..at::limits() };
    let at_ = At::over(at::volume(), limits);
    let mut c = at_.client();
    let opened = c.call(&open("f", CREATE, 1)).unwrap();
    c.both(&Write { file: Object::Handle(1), offset: 0, flags: 0 }, b"kept").unwrap();
    c.call(&Unlink { place: at("f"), flags: 0 }).unwrap();
    let lock = |start| Lock {
        file: Object::Handle(1),
        owner: 5,
        start,
        len: 1,
        kind: calls::lock::EXCLUSIVE,
        flags: 0,
    };
    c.call(&lock(0)).unwrap();
    let next = c.next;
    drop(c);
    let mut c = at_.client();
    assert!(c.welcome.resumed);
    (c.next, c.mark) = (next, next);
    let (_, bytes) = c.both(&Read { file: Object::Handle(1), offset: 0, count: 9 }, b"").unwrap();
    assert_eq!(&bytes[..], b"kept");
    let mut other = at_.session([8; 16]);
    let file = Object::Id(FileId { ..opened.attributes.id });
    let test = TestLock { file, owner: 5, start: 0, len: 0, kind: calls::lock::SHARED };
    let conflict = other.call(&test).unwrap().conflict.unwrap();
    assert_eq!((conflict.start, conflict.len, conflict.own_session), (0, 1, false));
    // And now it stays away.
    drop(c);
    until("the session ends", || at_.server.counters().expired == 1);
    assert_eq!(at_.volume.locks().count(), (0, 0));
    let gone = Stat { place: Place::at(file), flags: 0, wanted: List::default() };
    assert_eq!(other.call(&gone).unwrap_err(), ESTALE);
    assert!(!at_.client().welcome.resumed);
}

#[test]
fn locks_wait_are_cancelled_and_end_with_their_session() {
    let at_ = At::new();
    let (mut a, mut b) = (at_.session([1; 16]), at_.session([2; 16]));
    let id = a.call(&open("f", CREATE, 1)).unwrap().attributes.id;
    let lock = |owner, start, flags| Lock {
        file: Object::Id(id),
        owner,
        start,
        len: 10,
        kind: calls::lock::EXCLUSIVE,
        flags,
    };
    a.call(&lock(1, 0, 0)).unwrap();
    assert_eq!(b.call(&lock(1, 5, 0)).unwrap_err(), EAGAIN);
    b.call(&lock(1, 10, 0)).unwrap();
    // It waits, others go on, and it is answered when it is granted.
    let waits = b.send(&lock(1, 5, calls::lock::WAIT), b"", 0);
    b.call(&Ping {}).unwrap();
    // The other way round would be a circle.
    assert_eq!(a.call(&lock(1, 12, calls::lock::WAIT)).unwrap_err(), EDEADLK);
    // Its connection is lost, and it is asked for again on another. The mark has long passed it.
    let next = b.next;
    assert!(b.mark > waits);
    drop(b);
    let mut b = at_.session([2; 16]);
    (b.next, b.mark) = (next, next);
    b.send_as(waits, &lock(1, 5, calls::lock::WAIT), b"", RESENT);
    b.call(&Ping {}).unwrap();
    until("one waits", || at_.volume.locks().count() == (2, 1));
    let unlock = Unlock { file: Object::Id(id), owner: 1, start: 0, len: 0 };
    a.call(&unlock).unwrap();
    b.taken::<Lock>(waits).unwrap();
    // Given up.
    let waits = a.send(&lock(1, 0, calls::lock::WAIT), b"", 0);
    a.call(&Ping {}).unwrap();
    a.call(&Cancel { id: waits }).unwrap();
    assert_eq!(a.taken::<Lock>(waits).unwrap_err(), ECANCELED);
    // A session says that it is over.
    let waits = a.send(&lock(1, 0, calls::lock::WAIT), b"", 0);
    b.call(&Bye {}).unwrap();
    a.taken::<Lock>(waits).unwrap();
    assert!(next_frame(&mut b.wires).is_none());
    assert_eq!(at_.volume.locks().count(), (1, 0));
    let wide = Lock { start: 2, len: u64::MAX, ..lock(1, 0, 0) };
    assert_eq!(a.call(&wide).unwrap_err(), EINVAL);
}

#[test]
fn a_stopping_server_lets_go_of_who_waits_for_a_lock() {
    let at_ = At::new();
    let mut a = at_.session([1; 16]);
    let id = a.call(&open("f", CREATE, 1)).unwrap().attributes.id;
    let (file, kind) = (Object::Id(id), calls::lock::EXCLUSIVE);
    let lock = |owner, flags| Lock { file, owner, start: 0, len: 0, kind, flags };
    a.call(&lock(1, 0)).unwrap();
    let waits = a.send(&lock(2, calls::lock::WAIT), b"", 0);
    a.call(&Ping {}).unwrap();
    at_.server.shutdown();
    assert_eq!(a.taken::<Lock>(waits).unwrap_err(), ESHUTDOWN);
    assert!(!at_.path.exists());
}

/// A connection that says `bytes` first, and what it gets.
fn says(at_: &At, bytes: &[u8]) -> Option<rpc::Frame> {
    let mut wires = Wires::new(std::os::unix::net::UnixStream::connect(&at_.path).unwrap());
    wires.write(bytes);
    next_frame(&mut wires)
}

#[test]
fn what_is_no_hello_gets_no_session() {
    let at_ = At::new();
    let counters = || at_.server.counters();
    // Garbage; a frame of 2 GiB; a body longer than its frame.
    assert!(says(&at_, &[0xff; 64]).is_none());
    assert!(says(&at_, &(2u32 << 30).to_le_bytes()).is_none());
    let long = [&28u32.to_le_bytes()[..], &500u32.to_le_bytes(), &[0; 24]].concat();
    assert!(says(&at_, &long).is_none());
    until("three are counted", || counters().malformed == 3);
    // Something else first; another protocol; another version; another volume.
    let refused = |bytes: &[u8]| says(&at_, bytes).unwrap().header.status;
    assert_eq!(refused(&raw(Op::Ping as u16, 1, &())), EPROTO);
    let mut other = hello([4; 16]);
    other.magic = *b"NFS over";
    assert_eq!(refused(&raw(HELLO, 1, &other)), EPROTO);
    let newer = rpc::hello::Hello { oldest: 2, newest: 3, ..hello([4; 16]) };
    assert_eq!(refused(&raw(HELLO, 1, &newer)), EPROTO);
    let elsewhere = rpc::hello::Hello { volume: "music".into(), ..hello([4; 16]) };
    assert_eq!(refused(&raw(HELLO, 1, &elsewhere)), ENOENT);
    let uuid = "07070707-0707-0707-0707-070707070707";
    let named = rpc::hello::Hello { volume: uuid.into(), ..hello([4; 16]) };
    assert_eq!(refused(&raw(HELLO, 1, &named)), 0);
    until("four are counted", || counters().strangers == 4);
    until("memory is given back", || at_.server.bytes_in_flight() == 0);
}

#[test]
fn what_is_no_request_ends_its_connection_alone() {
    let at_ = At::new();
    let mut good = at_.session([9; 16]);
    let ends = |bytes: Vec<u8>| {
        let mut c = at_.client();
        c.wires.write(&bytes);
        next_frame(&mut c.wires).is_none()
    };
    let frame = |op: u16, status: u16, body: &[u8]| {
        let mut out = Vec::new();
        let header = rpc::Header { id: 3, op, status, ..Default::default() };
        rpc::put_frame(&mut out, header, 0, |out| out.extend_from_slice(body));
        out
    };
    assert!(ends(frame(Op::Stat as u16, 0, &[1, 2, 3])));
    assert!(ends(frame(Op::Ping as u16, 0x8000, &[0; 12])));
    assert!(ends((2u32 << 30).to_le_bytes().to_vec()));
    assert_eq!(at_.server.counters().malformed, 3);
    // What is only unknown is answered.
    let mut c = at_.client();
    c.wires.write(&frame(999, 0, &[]));
    assert_eq!(c.reply(3).header.status, ENOSYS);
    good.call(&Ping {}).unwrap();
    // Half a frame, and nothing more: what it may come to is charged until its connection ends.
    c.wires.write(&[0x20, 0, 0x10, 0, 8]);
    until("it is charged", || at_.server.bytes_in_flight() == 0x10_0024);
    good.call(&Ping {}).unwrap();
    drop(c);
    until("nothing is charged", || at_.server.bytes_in_flight() == 0);
}

#[test]
fn half_a_frame_and_a_slow_hello_are_cut_off() {
    let limits = Limits {
        hello: Duration::from_millis(500),
        frame: Duration::from_millis(500),
        ..at::limits()
    };
    let at_ = At::over(at::volume(), limits);
    let mut silent = Wires::new(std::os::unix::net::UnixStream::connect(&at_.path).unwrap());
    let mut half = at_.client();
    half.wires.write(&[28, 0, 0, 0, 0]);
    assert!(next_frame(&mut silent).is_none());
    assert!(next_frame(&mut half.wires).is_none());
    assert_eq!(at_.server.counters().timed_out, 2);
    // The session itself is not over.
    assert!(at_.client().welcome.resumed);
}

#[test]
fn two_thousand_sessions_at_once() {
    let at_ = At::new();
    let sessions: u16 = match rustix_limit() {
        n if n > 5_000 => 2_000,
        // Both ends are in this process.
        n => u16::try_from(n / 2 - 100).unwrap(),
    };
    let mut all: Vec<Client> = (0..sessions)
        .map(|n| {
            let mut id = [3; 16];
            id[..2].copy_from_slice(&n.to_le_bytes());
            at_.session(id)
        })
        .collect();
    assert_eq!(at_.server.counters().sessions, u64::from(sessions));
    // All ask before anyone reads an answer.
    let made: Vec<u64> = all
        .iter_mut()
        .enumerate()
        .map(|(n, c)| c.send(&open(&format!("f{n}"), EXCLUSIVE, 1), b"", 0))
        .collect();
    for (c, id) in all.iter_mut().zip(made) {
        assert!(c.taken::<Open>(id).unwrap().0.created);
    }
    drop(all);
    until("the connections go", || at_.server.counters().connections == 0);
    assert_eq!(at_.server.bytes_in_flight(), 0);
}

/// Descriptors that this process may open; raised as far as it may be.
fn rustix_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[test]
fn what_is_remembered_has_a_limit_and_the_mark_frees_it() {
    let limits = Limits { remembered_bytes: 0, ..at::limits() };
    let at_ = At::over(at::volume(), limits);
    let mut c = at_.client();
    let first = c.next;
    let refused = (0..100)
        .map(|n| {
            let id = c.send(&mkdir(&format!("d{n}")), b"", 0);
            c.taken::<MkDir>(id)
        })
        .filter(Result::is_err)
        .count();
    assert_eq!(refused, 36);
    c.mark = c.next;
    c.call(&Ping {}).unwrap();
    assert_eq!(at_.server.bytes_remembered(), 0);
    c.call(&mkdir("e")).unwrap();
    assert!(c.next > first);
    let mut body = Vec::new();
    Ping {}.put(&mut body);
    assert!(body.is_empty());
}

#[test]
fn after_a_restart_who_had_locks_is_waited_for() {
    let volume = at::volume();
    let limits = Limits { grace: Duration::from_millis(1500), ..at::limits() };
    let first = At::over(volume.clone(), limits.clone());
    let (mut a, mut gone) = (first.session([1; 16]), first.session([2; 16]));
    let id = a.call(&open("f", CREATE, 1)).unwrap().attributes.id;
    let lock = |start, flags| Lock {
        file: Object::Id(id),
        owner: 1,
        start,
        len: 1,
        kind: calls::lock::EXCLUSIVE,
        flags,
    };
    a.call(&lock(0, 0)).unwrap();
    gone.call(&lock(1, 0)).unwrap();
    first.server.shutdown();
    drop(first);
    // The locks lived in the process that is no more.
    volume.locks().end_session(1);
    volume.locks().end_session(2);
    assert_eq!(volume.locks().count(), (0, 0));

    let second = At::over(volume.clone(), limits.clone());
    // Somebody else is first, and waits all the same.
    let mut other = second.session([3; 16]);
    let early = other.send(&lock(0, 0), b"", 0);
    other.call(&Ping {}).unwrap();
    assert_eq!(second.volume.locks().count(), (0, 0));
    let mut a = second.session([1; 16]);
    a.call(&lock(0, calls::lock::RECLAIM)).unwrap();
    a.call(&Reclaimed {}).unwrap();
    // One of the two has come; the other one does not.
    assert_eq!(other.taken::<Lock>(early).unwrap_err(), EAGAIN);
    other.call(&lock(1, 0)).unwrap();
    a.call(&Bye {}).unwrap();
    other.call(&Bye {}).unwrap();
    second.server.shutdown();
    drop(second);
    // All have said good-bye: nobody is waited for.
    let third = At::over(volume, Limits { grace: Duration::from_secs(3600), ..limits });
    third.session([4; 16]).call(&lock(0, 0)).unwrap();
}

#[test]
fn who_dies_while_it_waits_for_a_lock_is_gone_after_the_grace_time() {
    let limits = Limits { grace: Duration::from_millis(300), ..at::limits() };
    let at_ = At::over(at::volume(), limits);
    let (mut a, mut b) = (at_.session([1; 16]), at_.session([2; 16]));
    let id = a.call(&open("f", CREATE, 1)).unwrap().attributes.id;
    let lock = |start, flags| Lock {
        file: Object::Id(id),
        owner: 1,
        start,
        len: 1,
        kind: calls::lock::EXCLUSIVE,
        flags,
    };
    a.call(&lock(0, 0)).unwrap();
    b.call(&lock(1, 0)).unwrap();
    b.send(&lock(0, calls::lock::WAIT), b"", 0);
    b.call(&Ping {}).unwrap();
    assert_eq!(at_.volume.locks().count(), (2, 1));
    drop(b);
    until("the session ends", || at_.server.counters().expired == 1);
    until("nothing of it is left", || at_.volume.locks().count() == (1, 0));
    a.call(&lock(1, 0)).unwrap();
}
