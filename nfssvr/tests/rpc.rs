//! What decodes gets its proper RPC answer on a connection that lives; broken framing closes the
//! connection and nothing else (nfs-clients row 15; RFC 5531 §9, §11).
#![allow(clippy::unwrap_used)]

mod at;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use at::{At, clock, pause};
use esker_tests::nfsclient::{
    Client, Conn, Cred, Fault, MOUNT, NFS, RpcStatus,
    proc::{Getattr, Null},
    put_call,
};
use nfssvr::{Limits, Refusal};

fn soon() -> Limits {
    Limits { record: Duration::from_secs(1), unread: Duration::from_secs(1), ..Limits::default() }
}

fn raw(at: &At) -> TcpStream {
    let s = TcpStream::connect(at.addr).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    s
}

/// True when the server ends the connection (any bytes before are thrown away).
fn is_closed(s: &mut TcpStream) -> bool {
    let mut sink = [0; 4096];
    loop {
        match s.read(&mut sink) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn null_record(xid: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_call(&mut out, xid, (NFS, 3, 0), &Cred::none());
    out
}

type Refused = ((u32, u32, u32), Vec<u8>, RpcStatus);

#[test]
fn every_refusal_on_a_connection_that_lives() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let mut handle = (48u32).to_be_bytes().to_vec();
    handle.extend(&top.0);
    let cases: Vec<Refused> = vec![
        ((100_227, 3, 0), vec![], RpcStatus::ProgUnavail),
        ((100_021, 4, 0), vec![], RpcStatus::ProgUnavail),
        ((100_000, 2, 3), vec![0; 16], RpcStatus::ProgUnavail),
        ((NFS, 4, 0), vec![], RpcStatus::ProgMismatch(3, 3)),
        ((NFS, 2, 0), vec![], RpcStatus::ProgMismatch(3, 3)),
        ((MOUNT, 1, 1), vec![0; 4], RpcStatus::ProgMismatch(3, 3)),
        ((NFS, 3, 22), vec![], RpcStatus::ProcUnavail),
        ((NFS, 3, u32::MAX), vec![], RpcStatus::ProcUnavail),
        ((MOUNT, 3, 6), vec![], RpcStatus::ProcUnavail),
        // No handle, half a handle, a handle that is too long, arguments cut short.
        ((NFS, 3, 1), vec![], RpcStatus::GarbageArgs),
        ((NFS, 3, 1), vec![0, 0, 0, 48, 1], RpcStatus::GarbageArgs),
        ((NFS, 3, 1), [vec![0, 0, 0, 68], vec![0; 68]].concat(), RpcStatus::GarbageArgs),
        ((NFS, 3, 1), [vec![0x7f, 0xff, 0xff, 0xff], vec![0; 68]].concat(), RpcStatus::GarbageArgs),
        ((NFS, 3, 6), handle.clone(), RpcStatus::GarbageArgs),
        // sattr3 with a boolean of 2; stable_how 3; createmode 3; count that differs from the data.
        ((NFS, 3, 2), [handle.clone(), vec![0, 0, 0, 2]].concat(), RpcStatus::GarbageArgs),
        ((NFS, 3, 7), [handle.clone(), write_tail(0, 3, b"")].concat(), RpcStatus::GarbageArgs),
        ((NFS, 3, 7), [handle.clone(), write_tail(9, 0, b"abcd")].concat(), RpcStatus::GarbageArgs),
        (
            (NFS, 3, 8),
            [handle.clone(), vec![0, 0, 0, 1, b'x', 0, 0, 0, 0, 0, 0, 3]].concat(),
            RpcStatus::GarbageArgs,
        ),
        ((MOUNT, 3, 1), vec![0, 0, 0, 9], RpcStatus::GarbageArgs),
        ((MOUNT, 3, 1), [vec![0, 0, 4, 4], vec![b'/'; 1028]].concat(), RpcStatus::GarbageArgs),
    ];
    let n = cases.len();
    for (target, args, expected) in cases {
        let reply = c.call_raw(target, &args).unwrap();
        assert_eq!(reply.status, expected, "{target:?} {args:?}");
        assert!(c.attr(&top).is_ok(), "the connection lives");
    }
    let counters = at.server.counters();
    assert!(counters.refusals(Refusal::ProgramUnavailable) == 3);
    assert_eq!((counters.malformed, n), (0, 20));
}

fn write_tail(count: u32, stable: u32, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 8];
    out.extend(count.to_be_bytes());
    out.extend(stable.to_be_bytes());
    out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    out.extend(data);
    out
}

#[test]
fn credentials_that_cannot_be_believed() {
    let at = At::new();
    let top = at.top("/");
    let sixteen: Vec<u32> = (1..=16).collect();
    let seventeen: Vec<u32> = (1..=17).collect();
    let mut cut = Cred::sys(0, 0, &[1, 2, 3]);
    cut.body.truncate(24);
    let gss = Cred { flavor: 6, body: vec![0; 20] };
    let long = Cred { flavor: 1, body: vec![0; 404] };
    let mut c = at.root();
    for (cred, what) in
        [(Cred::sys(0, 0, &seventeen), "17 groups"), (cut, "cut"), (gss, "GSS"), (long, "long")]
    {
        c.cred = cred;
        let said = c.call(&Getattr(&top));
        assert!(matches!(said, Err(Fault::Rpc(RpcStatus::AuthError(1)))), "{what}: {said:?}");
    }
    c.cred = Cred::sys(0, 0, &sixteen);
    assert!(c.attr(&top).is_ok());
    c.cred = Cred::none();
    assert!(c.call(&Null).is_ok());

    let mut out = null_record(7);
    let at_version = 8;
    out[at_version + 3] = 3;
    let reply = send_record(&at, &out);
    assert_eq!(reply, RpcStatus::RpcMismatch(2, 2));
    // A verifier of 500 bytes.
    let mut out = null_record(8);
    out.truncate(out.len() - 4);
    out.extend(500u32.to_be_bytes());
    out.extend([0; 500]);
    assert_eq!(send_record(&at, &out), RpcStatus::AuthError(3));
}

fn send_record(at: &At, record: &[u8]) -> RpcStatus {
    let mut conn = at.conn();
    let mark = u32::try_from(record.len()).unwrap() | 1 << 31;
    conn.queue_raw(&mark.to_be_bytes());
    conn.queue_raw(record);
    conn.flush().unwrap();
    conn.reply().unwrap().status
}

#[test]
fn records_in_fragments_and_in_drops() {
    let at = At::new();
    let record = null_record(99);
    // Byte by byte.
    let mut s = raw(&at);
    let mut whole = (u32::try_from(record.len()).unwrap() | 1 << 31).to_be_bytes().to_vec();
    whole.extend(&record);
    for b in &whole {
        s.write_all(&[*b]).unwrap();
    }
    // One word a fragment, with an empty fragment between.
    let words = record.chunks(4).count();
    for (n, word) in record.chunks(4).enumerate() {
        s.write_all(&[0; 4]).unwrap();
        let last = if n + 1 == words { 1 << 31 } else { 0 };
        s.write_all(&(4u32 | last).to_be_bytes()).unwrap();
        s.write_all(word).unwrap();
    }
    // Two calls in one segment, and half of a third.
    s.write_all(&[&whole[..], &whole, &whole[..20]].concat()).unwrap();
    s.write_all(&whole[20..]).unwrap();
    let mut conn = Conn::over(s).unwrap();
    for _ in 0..5 {
        let reply = conn.reply().unwrap();
        assert_eq!((reply.xid, reply.status), (99, RpcStatus::Success));
    }
}

#[test]
fn broken_framing_closes_that_connection_only() {
    let at = At::limited(soon());
    let mut witness = at.root();
    let top = at.top("/");
    let broken: Vec<(&str, Vec<u8>)> = vec![
        ("a length of 2 GiB", vec![0x7f, 0xff, 0xff, 0xff]),
        ("the same, last", vec![0xff; 4]),
        (
            "one byte over the limit",
            (((1 << 20) + (4 << 10) + 1) | 1u32 << 31).to_be_bytes().into(),
        ),
        ("fragments without end", [0, 0, 0, 0].repeat(65)),
        ("many small fragments", [0, 0, 0, 1, 9].repeat(65)),
        ("fragments that add up", {
            let mut v = (1_000_000u32).to_be_bytes().to_vec();
            v.extend(vec![0; 1_000_000]);
            v.extend((1_000_000u32).to_be_bytes());
            v
        }),
        ("an empty record", vec![0x80, 0, 0, 0]),
        (
            "a reply in place of a call",
            [vec![0x80, 0, 0, 8], vec![0, 0, 0, 1, 0, 0, 0, 1]].concat(),
        ),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]),
    ];
    for (what, bytes) in broken {
        let mut s = raw(&at);
        // The server may close while we still write.
        let _ = s.write_all(&bytes);
        assert!(is_closed(&mut s), "{what}");
        assert!(witness.attr(&top).is_ok(), "{what}: others are unharmed");
    }
    assert_eq!(at.server.counters().malformed, 10);
}

#[test]
fn a_length_alone_costs_nothing() {
    let at = At::new();
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut s = raw(&at);
        s.write_all(&(((1 << 20) | 1u32 << 31).to_be_bytes())).unwrap();
        s.write_all(&[0; 100]).unwrap();
        held.push(s);
    }
    let top = at.top("/");
    assert!(at.root().attr(&top).is_ok());
    let rss = esker_tests::load::rss_bytes(std::process::id()).unwrap();
    assert!(rss < 150 << 20, "200 announced MiB must not become memory: {rss} bytes resident");
}

#[test]
fn an_unfinished_record_ends_but_an_idle_connection_lives() {
    let at = At::limited(soon());
    let mut idle = at.root();
    idle.call(&Null).unwrap();
    let mut slow = raw(&at);
    slow.write_all(&[0x80, 0, 0, 40, 1, 2, 3]).unwrap();
    let began = clock();
    let mut drip = raw(&at);
    drip.write_all(&[0x80, 0, 0, 40]).unwrap();
    drip.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // A byte now and then does not keep it alive.
    let mut closed = false;
    for _ in 0..35 {
        closed = drip.write_all(&[0]).is_err() || matches!(drip.read(&mut [0; 4]), Ok(0)) || closed;
        if closed {
            break;
        }
    }
    assert!(closed, "a dripping client is cut off");
    assert!(is_closed(&mut slow));
    assert!((clock() - began) < Duration::from_secs(8));
    idle.call(&Null).unwrap();
    assert_eq!(at.server.counters().timed_out, 2);
}

#[test]
fn a_client_that_only_sends_gets_all_its_answers() {
    let at = At::new();
    let s = raw(&at);
    let mut all = Vec::new();
    for xid in 0..1000 {
        let record = null_record(xid);
        all.extend((u32::try_from(record.len()).unwrap() | 1 << 31).to_be_bytes());
        all.extend(record);
    }
    (&s).write_all(&all).unwrap();
    s.shutdown(std::net::Shutdown::Write).unwrap();
    let mut conn = Conn::over(s).unwrap();
    for xid in 0..1000 {
        assert_eq!(conn.reply().unwrap().xid, xid, "replies in order");
    }
    assert!(conn.reply().is_err(), "then the server closes too");
}

#[test]
fn replies_never_read_are_bounded_and_then_the_connection_ends() {
    let at = At::limited(soon());
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "big", 0o644).unwrap();
    c.write(&file, 0, 0, &vec![7; 1 << 20]).unwrap();
    let mut greedy = at.root();
    greedy.conn.stream().set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    let read = esker_tests::nfsclient::proc::Read { fh: &file, offset: 0, count: 1 << 20 };
    let mut sent = 0;
    while sent < 4000 && greedy.send(&read).is_ok() {
        sent += 1;
    }
    let held = at.server.bytes_in_flight();
    assert!(held < 8 << 20, "{held} bytes held for a client that reads nothing");
    assert!(c.attr(&file).is_ok(), "others are served");
    let until = clock() + Duration::from_secs(10);
    while at.server.counters().timed_out == 0 {
        assert!(clock() < until, "the connection is given up");
        pause(50);
    }
    assert!(c.attr(&file).is_ok());
}

#[test]
fn pipelined_calls_of_two_clients_do_not_starve_each_other() {
    let at = At::new();
    let top = at.top("/");
    let mut flood = at.root();
    let mut xids = Vec::new();
    for _ in 0..3000 {
        let xid = flood.conn.next_xid();
        let cred = flood.cred.clone();
        flood.conn.queue(xid, (NFS, 3, 1), &cred, |e| e.opaque(&top.0));
        xids.push(xid);
    }
    flood.conn.flush().unwrap();
    let mut other: Client = at.root();
    assert!(other.attr(&top).is_ok());
    for xid in xids {
        assert_eq!(flood.recv_raw(xid).unwrap().status, RpcStatus::Success);
    }
}

/// A small generator: the same bytes at every run.
fn dice(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn random_arguments_get_an_answer_each() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let dir = c.mkdir(&top, "d", 0o755).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..6_000 {
        let mut args = Vec::new();
        let roll = dice(&mut state);
        let fh = [&top, &file, &dir][usize::try_from(roll % 3).unwrap()];
        if !roll.is_multiple_of(7) {
            args.extend(48u32.to_be_bytes());
            args.extend(&fh.0);
        }
        // Small words now and then look like booleans, lengths and enums.
        for _ in 0..(roll >> 8) % 24 {
            let word = dice(&mut state);
            let word = if word.is_multiple_of(3) { word >> 40 } else { word >> 32 & 3 };
            args.extend(u32::try_from(word).unwrap().to_be_bytes());
        }
        let program = if roll.is_multiple_of(11) { MOUNT } else { NFS };
        let procedure = u32::try_from((roll >> 16) % 23).unwrap();
        let reply = c.call_raw((program, 3, procedure), &args);
        assert!(reply.is_ok(), "{procedure}: {args:?}: {reply:?}");
    }
    assert!(at.root().call(&Getattr(&top)).unwrap().status.ok());
}

#[test]
fn small_limits_hold_nothing_up() {
    // Far below one READ: the connection's and the server's budgets only delay.
    let limits =
        Limits { connection_bytes: 1 << 10, total_bytes: 1 << 10, calls: 1, ..Limits::default() };
    let at = At::limited(limits);
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let data = vec![5; 1 << 20];
    assert_eq!(c.write(&file, 0, 0, &data).unwrap().count, 1 << 20);
    let read = esker_tests::nfsclient::proc::Read { fh: &file, offset: 0, count: 1 << 20 };
    let xids: Vec<u32> = (0..8).map(|_| c.send(&read).unwrap()).collect();
    for xid in xids {
        let reply = c.recv::<esker_tests::nfsclient::proc::Read<'_>>(xid).unwrap();
        assert!(reply.data == data);
    }
    at.quiet();
}

#[test]
fn many_half_written_records_do_not_wait_for_each_other() {
    // Room for four records of 1 MiB; twenty are begun at once, and all are finished.
    let at = At::limited(Limits { total_bytes: 4 << 20, ..Limits::default() });
    let top = at.top("/");
    let mut c = at.root();
    let file = c.create(&top, "f", 0o644).unwrap();
    let data = vec![9; 1 << 20];
    let mut whole = Vec::new();
    put_call(&mut whole, 3, (NFS, 3, 7), &c.cred);
    let write =
        esker_tests::nfsclient::proc::Write { fh: &file, offset: 0, stable: 0, data: &data };
    esker_tests::nfsclient::proc::Call::args(
        &write,
        &mut esker_tests::nfsclient::xdr::Enc(&mut whole),
    );
    let mark = (u32::try_from(whole.len()).unwrap() | 1 << 31).to_be_bytes();
    let whole = [&mark[..], &whole].concat();
    let mut sockets: Vec<_> = (0..20).map(|_| raw(&at)).collect();
    for s in &mut sockets {
        s.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        s.write_all(&whole[..100_000]).unwrap();
    }
    pause(50);
    std::thread::scope(|scope| {
        for mut s in sockets {
            let rest = &whole[100_000..];
            scope.spawn(move || {
                s.set_write_timeout(Some(Duration::from_secs(15))).unwrap();
                s.write_all(rest).unwrap();
                let mut conn = Conn::over(s).unwrap();
                assert_eq!(conn.reply().unwrap().status, RpcStatus::Success);
            });
        }
        assert!(c.attr(&file).is_ok(), "small calls pass");
    });
    at.quiet();
}
