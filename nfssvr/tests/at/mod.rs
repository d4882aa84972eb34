//! A server on loopback over a volume in memory, and clients of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use esker_tests::nfsclient::{Client, Conn, Cred, Fh, mnt, open_socket};
use fs::{Volume, seam::Env};
use headhunter::Index;
use nfssvr::{Exports, Limits, Server, ServerConfig};

/// Value of a future that waits for nothing.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("had to wait"),
    }
}

/// Monotonic time.
pub fn clock() -> Duration {
    static ENV: OnceLock<Env> = OnceLock::new();
    ENV.get_or_init(Env::real).clock.monotonic()
}

/// Lets time pass: for what happens by time alone.
#[allow(clippy::disallowed_methods)]
pub fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// An empty volume in memory, its root owned by uid and gid 0.
pub fn volume() -> Volume {
    now(Volume::open(Index::in_memory(Env::real()), (0, 0))).unwrap()
}

/// A server and its volume.
pub struct At {
    pub server: Server,
    pub volume: Volume,
    pub addr: SocketAddr,
}

/// How a test's server differs from the usual one.
pub fn config() -> ServerConfig {
    ServerConfig {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        reactors: Some(2),
        exports: Exports::parse("/ *(rw,no_root_squash,insecure)").unwrap(),
        fsid: 0x1234_5678_9abc_def0,
        handle_key: [5; 32],
        limits: Limits::default(),
        env: Env::real(),
    }
}

impl At {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn exporting(lines: &str) -> Self {
        Self::with(ServerConfig { exports: Exports::parse(lines).unwrap(), ..config() })
    }

    pub fn limited(limits: Limits) -> Self {
        Self::with(ServerConfig { limits, ..config() })
    }

    pub fn with(config: ServerConfig) -> Self {
        Self::over(config, volume())
    }

    pub fn over(config: ServerConfig, volume: Volume) -> Self {
        let server = Server::start(config, volume.clone()).unwrap();
        let addr = server.local_addr();
        Self { server, volume, addr }
    }

    /// A connection from a high port.
    pub fn conn(&self) -> Conn {
        Conn::over(open_socket(self.addr, Ipv4Addr::UNSPECIFIED, 0).unwrap()).unwrap()
    }

    /// A client as uid 0.
    pub fn root(&self) -> Client {
        Client::over(self.conn(), Cred::sys(0, 0, &[]))
    }

    /// A client with an identity.
    pub fn user(&self, uid: u32, gid: u32, groups: &[u32]) -> Client {
        Client::over(self.conn(), Cred::sys(uid, gid, groups))
    }

    /// Handle of a path by MNT.
    pub fn top(&self, path: &str) -> Fh {
        let m = mnt(&mut self.conn(), &Cred::sys(0, 0, &[]), path.as_bytes()).unwrap();
        m.fh.unwrap_or_else(|| panic!("MNT {path}: status {}", m.status))
    }

    /// Waits until nothing is in flight: a reply may arrive before its sender has tidied up.
    pub fn quiet(&self) {
        let until = clock() + Duration::from_secs(10);
        while self.server.bytes_in_flight() > 0 {
            assert!(clock() < until, "{} bytes in flight", self.server.bytes_in_flight());
            pause(5);
        }
    }
}
