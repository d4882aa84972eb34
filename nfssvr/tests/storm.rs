//! Many connections, short ones, too many, and the end of the server.
#![allow(clippy::unwrap_used)]

mod at;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use at::{At, clock, config, pause, volume};
use esker_tests::nfsclient::{Client, Conn, Cred, NFS, mnt, proc::*};
use nfssvr::{Limits, Procedure, Server, ServerConfig};

fn client(addr: SocketAddr) -> Client {
    Client::over(Conn::over(TcpStream::connect(addr).unwrap()).unwrap(), Cred::sys(0, 0, &[]))
}

#[test]
fn ten_thousand_connects_and_resets() {
    let at = At::new();
    let top = at.top("/");
    let mut witness = at.root();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for n in 0..4 {
            let (addr, stop) = (at.addr, &stop);
            s.spawn(move || {
                for round in 0..2_500 {
                    let Ok(socket) = TcpStream::connect(addr) else { continue };
                    if (n + round) % 3 == 0 {
                        let _ = (&socket).write_all(&[0x80, 0, 0, 40, 0, 0]);
                    }
                    // Closing sends RST, not FIN.
                    let linger = Some(Duration::ZERO);
                    socket2::SockRef::from(&socket).set_linger(linger).unwrap();
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
        while !stop.load(Ordering::Relaxed) {
            witness.attr(&top).unwrap();
        }
    });
    witness.attr(&top).unwrap();
    at.root().attr(&top).unwrap();
    let until = clock() + Duration::from_secs(10);
    while at.server.counters().connections > 2 {
        assert!(clock() < until, "{} left", at.server.counters().connections);
        pause(20);
    }
    at.quiet();
}

/// Not a test of its own: the server process of the test below.
#[test]
fn child_with_256_descriptors() {
    let Ok(connections) = std::env::var("ESKER_STORM_CHILD") else { return };
    let few = rustix::process::Rlimit { current: Some(256), maximum: Some(256) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    // Not a number: the limit that the server finds for itself.
    let connections = connections.parse().ok();
    let limits =
        Limits { evict_idle: Duration::from_millis(300), connections, ..Limits::default() };
    let server = Server::start(ServerConfig { limits, ..config() }, volume()).unwrap();
    println!("\nADDRESS {}", server.local_addr());
    std::io::stdout().flush().unwrap();
    // Until the parent goes away.
    let _ = std::io::stdin().lines().next();
    println!("\nERRORS {}", server.counters().accept_errors);
}

struct Killed(Child);
impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_hundred_and_fifty_six_descriptors_meet_a_thousand_connections() {
    assert_eq!(meet_a_thousand("auto"), 0, "it stops before the descriptors end");
}

#[test]
fn the_accept_loop_survives_the_lack_of_descriptors() {
    // The server believes that it may hold them all, so that accept(2) itself fails.
    assert!(meet_a_thousand("100000") > 0);
}

/// Gives the number of errors that accept(2) gave.
fn meet_a_thousand(connections: &str) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_256_descriptors", "--nocapture"])
        .env("ESKER_STORM_CHILD", connections)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let addr: SocketAddr = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(addr) = line.strip_prefix("ADDRESS ") {
            break addr.parse().unwrap();
        }
    };
    let mut witness = client(addr);
    let top = mnt(&mut witness.conn, &witness.cred, b"/").unwrap().fh.unwrap();
    let mut crowd = Vec::new();
    for _ in 0..1_000 {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&addr.into());
        crowd.push(socket);
    }
    // Those who were there before are served, and can do everything.
    for n in 0..50 {
        witness.create(&top, &format!("f{n}"), 0o644).unwrap();
        pause(4);
    }
    // A newcomer gets its turn although nobody leaves: idle connections make room.
    let mut newcomer = client(addr);
    newcomer.conn.set_timeout(Some(Duration::from_secs(15))).unwrap();
    drop(crowd.split_off(300));
    newcomer.attr(&top).unwrap();
    witness.attr(&top).unwrap();
    drop(crowd);
    client(addr).attr(&top).unwrap();
    drop(child.0.stdin.take());
    loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(n) = line.strip_prefix("ERRORS ") {
            return n.parse().unwrap();
        }
    }
}

#[test]
fn a_full_server_closes_who_is_idle_for_who_comes() {
    let at = At::limited(Limits {
        connections: Some(3),
        evict_idle: Duration::from_secs(1),
        ..Limits::default()
    });
    let top = at.top("/");
    let mut idle = vec![at.root(), at.root(), at.root()];
    for c in &mut idle {
        c.attr(&top).unwrap();
    }
    let began = clock();
    let mut active = idle.pop().unwrap();
    let mut late = at.root();
    let xid = late.send(&Getattr(&top)).unwrap();
    // The active one keeps its place.
    while (clock() - began) < Duration::from_millis(1_700) {
        active.attr(&top).unwrap();
        pause(100);
    }
    assert!(late.recv::<Getattr<'_>>(xid).unwrap().status.ok());
    active.attr(&top).unwrap();
    let ended = idle.iter_mut().map(|c| c.call(&Null)).filter(Result::is_err).count();
    assert_eq!(ended, 1, "exactly one idle connection made room");
}

#[test]
fn few_system_calls_for_many_calls() {
    let at = At::with(ServerConfig { reactors: Some(1), ..config() });
    let top = at.top("/");
    let mut c = at.root();
    c.attr(&top).unwrap();
    let before = at.server.counters();
    for _ in 0..64 {
        let xid = c.conn.next_xid();
        let cred = c.cred.clone();
        c.conn.queue(xid, (NFS, 3, 1), &cred, |e| e.opaque(&top.0));
    }
    c.conn.flush().unwrap();
    for _ in 0..64 {
        c.conn.reply().unwrap();
    }
    let after = at.server.counters();
    assert_eq!(after.calls(Procedure::GetAttr) - before.calls(Procedure::GetAttr), 64);
    // One receive and one send, or a few if the segment came in parts.
    assert!(after.receives - before.receives <= 4, "{}", after.receives - before.receives);
    assert!(after.sends - before.sends <= 4, "{}", after.sends - before.sends);
    assert_eq!(after.waited, 0, "nothing had to wait");
}

#[test]
fn shutdown_answers_what_has_arrived_and_frees_the_port() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    c.attr(&top).unwrap();
    let addr = at.addr;
    let again = volume();
    at.server.shutdown();
    assert!(c.call(&Null).is_err(), "closed");
    let config = ServerConfig { listen: vec![addr], ..config() };
    let server = Server::start(config, again).unwrap();
    assert_eq!(server.local_addr(), addr);
    client(addr).call(&Null).unwrap();
}

#[test]
fn two_addresses_and_a_port_in_use() {
    let listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let Ok(server) = Server::start(ServerConfig { listen, ..config() }, volume()) else {
        // No IPv6 on this machine.
        return;
    };
    for addr in server.local_addrs() {
        client(*addr).call(&Null).unwrap();
    }
    let taken = ServerConfig { listen: vec![server.local_addr()], ..config() };
    let said = Server::start(taken, volume()).err().unwrap();
    assert_eq!(said.kind(), std::io::ErrorKind::AddrInUse);
    assert!(said.to_string().contains(&server.local_addr().to_string()), "{said}");
}

#[test]
fn idle_connections_are_cheap() {
    let rss = || esker_tests::load::rss_bytes(std::process::id()).unwrap();
    let at = At::new();
    let top = at.top("/");
    at.root().attr(&top).unwrap();
    let before = rss();
    let mut null = vec![0x80, 0, 0, 40];
    esker_tests::nfsclient::put_call(&mut null, 1, (NFS, 3, 0), &Cred::none());
    let mut held = Vec::new();
    for _ in 0..2_000 {
        let mut s = TcpStream::connect(at.addr).unwrap();
        s.write_all(&null).unwrap();
        std::io::Read::read_exact(&mut s, &mut [0; 28]).unwrap();
        held.push(s);
    }
    let each = rss().saturating_sub(before) / 2_000;
    // Other tests of this process grow meanwhile: the bound is a loose one. A read buffer kept by
    // each would be 64 KiB.
    assert!(each < 16 << 10, "{each} bytes for an idle connection");
    assert!(at.server.counters().connections >= 2_000);
}
