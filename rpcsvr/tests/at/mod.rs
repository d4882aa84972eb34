//! A server over a volume in memory.
#![allow(dead_code, clippy::unwrap_used, missing_docs)] // tests; each binary uses a part

mod client;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

pub use client::*;
use fs::{Volume, seam::Env};
use headhunter::Index;
use rpcsvr::{Bound, Limits, Listen, Server, ServerConfig};

/// Value of a future that waits for nothing.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("had to wait"),
    }
}

/// Lets time pass: for what happens by time alone.
#[allow(clippy::disallowed_methods)]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// An empty volume in memory, its root owned by uid and gid 0.
pub fn volume() -> Volume {
    now(Volume::open(Index::in_memory(Env::real()), (0, 0))).unwrap()
}

/// A server, its volume, and where it listens.
pub struct At {
    pub server: Server,
    pub volume: Volume,
    pub path: PathBuf,
    pub tcp: SocketAddr,
    _dir: tempfile::TempDir,
}

pub fn limits() -> Limits {
    Limits::default()
}

impl At {
    pub fn new() -> Self {
        Self::over(volume(), limits())
    }

    pub fn over(volume: Volume, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc");
        let tcp = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bound = Bound::new(&[Listen::Unix(path.clone()), Listen::Tcp(tcp)]).unwrap();
        let config = config(limits);
        let server = Server::start(bound, config, volume.clone()).unwrap();
        let Listen::Tcp(tcp) = server.local_addrs()[1].clone() else { panic!("not TCP") };
        Self { server, volume, path, tcp, _dir: dir }
    }

    pub fn client(&self) -> Client {
        Client::unix(&self.path, [1; 16])
    }

    pub fn session(&self, session: [u8; 16]) -> Client {
        Client::unix(&self.path, session)
    }
}

pub fn config(limits: Limits) -> ServerConfig {
    ServerConfig {
        reactors: Some(2),
        secret: Some(SECRET.to_vec()),
        tls: None,
        plain_tcp: false,
        uuid: [7; 16],
        fsid: 77,
        handle_key: [5; 32],
        limits,
        env: Env::real(),
    }
}
