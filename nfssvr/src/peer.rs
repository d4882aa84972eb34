//! What is known of a connection beside its bytes.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::RawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use crate::{exports::Grants, reactor::Reactor};

/// The kernel's clock of arrivals is this coarse (one tick at 100 Hz, and rounding).
const ARRIVAL_GRAIN: Duration = Duration::from_millis(12);
const TCP_ESTABLISHED: u8 = 1;

/// Identity and life of one connection, as other connections and the accept loop may see it.
pub struct Link {
    /// Counts up with each accepted connection.
    pub id: u64,
    /// Monotonic time of the accept.
    accepted: Duration,
    /// The newest connection's id when bytes were last received here.
    heard: AtomicU64,
    /// Monotonic milliseconds of the last receive; [`BUSY`] while calls are in flight.
    used: AtomicU64,
    /// The socket, as long as it is open.
    socket: Mutex<Option<RawFd>>,
    env: fs::seam::Env,
}

const BUSY: u64 = u64::MAX;

impl Link {
    /// For a connection accepted now, as number `id`.
    pub fn new(id: u64, env: fs::seam::Env) -> Self {
        let accepted = env.clock.monotonic();
        let used = AtomicU64::new(millis(accepted));
        Self { id, accepted, heard: AtomicU64::new(0), used, socket: Mutex::new(None), env }
    }

    /// The socket is in its reactor's hands, and open until [`Link::close`].
    pub fn open(&self, socket: RawFd) {
        *self.socket.lock() = Some(socket);
    }

    /// Bytes were received while `newest` was the id of the newest connection.
    pub fn hear(&self, newest: u64) {
        self.heard.store(newest, Relaxed);
        self.used.store(millis(self.env.clock.monotonic()), Relaxed);
    }

    /// Calls are in flight, or all are answered.
    pub fn set_busy(&self, busy: bool) {
        if busy != (self.used.load(Relaxed) == BUSY) {
            let now = millis(self.env.clock.monotonic());
            self.used.store(if busy { BUSY } else { now }, Relaxed);
        }
    }

    /// How long nothing was received or in flight at monotonic time `now`.
    pub fn idle(&self, now: Duration) -> Duration {
        Duration::from_millis(millis(now).saturating_sub(self.used.load(Relaxed)))
    }

    /// Ends the connection from outside: its reactor sees the end of its input.
    pub fn evict(&self) {
        let socket = self.socket.lock();
        if let Some(fd) = *socket {
            // SAFETY: the descriptor is open: its owner clears it here before closing it.
            unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
        }
    }

    /// The socket is about to be closed.
    pub fn close(&self) {
        *self.socket.lock() = None;
    }

    /// True when this connection, which made a call, is of another client than `other`, which
    /// now makes the same call: both are in use.
    ///
    /// A client that lost a connection sends its calls again on a new one. So the older of the two
    /// must have brought bytes after the newer was accepted, and what was *read* late but had
    /// arrived before does not count.
    pub fn lives_beside(&self, other: &Self) -> bool {
        let socket = self.socket.lock();
        let Some(fd) = *socket else { return false };
        if self.id < other.id && self.heard.load(Relaxed) < other.id {
            return false;
        }
        let Some((state, silent)) = tcp_state(fd) else { return false };
        if state != TCP_ESTABLISHED {
            return false;
        }
        let arrived = self.env.clock.monotonic().saturating_sub(silent);
        self.id > other.id || arrived + ARRIVAL_GRAIN >= other.accepted
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(BUSY - 1)
}

/// State of a TCP socket and how long ago its last data arrived.
fn tcp_state(fd: RawFd) -> Option<(u8, Duration)> {
    // SAFETY: all-zero bytes are a valid tcp_info.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the descriptor is open (its owner clears it before closing), the buffer and its
    // length are those of a live, writable value.
    let done = unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    let silent = Duration::from_millis(u64::from(info.tcpi_last_data_recv));
    (done == 0).then_some((info.tcpi_state, silent))
}

/// A connection's standing on its own reactor.
pub struct Peer {
    /// Its reactor.
    pub reactor: std::rc::Rc<Reactor>,
    /// Its identity.
    pub link: Arc<Link>,
    /// The client's address.
    pub address: SocketAddr,
    /// What the client may do in each export.
    pub grants: Grants,
}

impl Peer {
    /// The client's address without port, as 16 bytes (IPv4 mapped).
    pub fn client(&self) -> [u8; 16] {
        match self.address.ip() {
            IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            IpAddr::V6(a) => a.octets(),
        }
    }

    /// True when the client's port could only be bound by root (exports(5) `secure`).
    pub fn privileged(&self) -> bool {
        self.address.port() < 1024
    }
}
