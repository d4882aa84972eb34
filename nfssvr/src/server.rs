//! The server: its sockets, its reactors, its end.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use fs::{Volume, seam::Env};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::{
    counters::{Counters, ReactorCounters, bump},
    exports::Exports,
    limits::{ACCEPT_PAUSE, KEEPALIVE, Limits, SPARE_DESCRIPTORS},
    peer::Link,
    reactor::{self, Arrival, Places, Reactor},
    service::{Parts, Service},
};

/// How a server is to run.
#[derive(Clone)]
pub struct ServerConfig {
    /// Addresses to bind; port 0 chooses one.
    pub listen: Vec<SocketAddr>,
    /// Reactor threads; `None`: one per core.
    pub reactors: Option<usize>,
    /// Export rules. None at all: allowed only on loopback addresses, and then the whole volume is
    /// `rw,sync,secure,no_root_squash` for this machine.
    pub exports: Exports,
    /// fsid told to clients and held in handles: from the volume's uuid, for ever the same.
    pub fsid: u64,
    /// The volume's secret for handles.
    pub handle_key: [u8; 32],
    /// Limits.
    pub limits: Limits,
    /// Clock and dice.
    pub env: Env,
}

/// Bound sockets that nobody accepts from yet: clients that connect while a volume is still being
/// recovered wait in the backlog in place of being refused.
pub struct Bound {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Bound {
    /// Binds and listens.
    pub fn new(listen: &[SocketAddr]) -> io::Result<Self> {
        let listeners = listen.iter().map(bind).collect::<io::Result<Vec<_>>>()?;
        let addresses =
            listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { listeners, addresses })
    }
}

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    counters: Vec<Arc<ReactorCounters>>,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Binds, starts the reactors and accepts.
    pub fn start(config: ServerConfig, volume: Volume) -> io::Result<Self> {
        let bound = Bound::new(&config.listen)?;
        Self::start_on(bound, config, volume)
    }

    /// Starts the reactors and accepts on sockets that were bound before; `config.listen` is not
    /// looked at.
    pub fn start_on(bound: Bound, config: ServerConfig, volume: Volume) -> io::Result<Self> {
        let ServerConfig { reactors, exports, fsid, handle_key, limits, env, .. } = config;
        let Bound { listeners, addresses } = bound;
        let exports = effective(exports, &addresses)?;
        let parts = Parts { volume, exports, fsid, handle_key, limits, env };
        let service = Arc::new(Service::new(parts));
        let count = reactors
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
            .max(1);
        let (stop, stopped) = watch::channel(false);
        let mut server =
            Self { addresses, counters: Vec::new(), service, stop, threads: Mutex::default() };
        let shared = Shared {
            newest: Arc::new(AtomicU64::new(0)),
            places: Arc::new(Places::new(connection_limit(&server.service.limits))),
        };
        let mut doors = Vec::new();
        let mut inboxes = Vec::new();
        for _ in 0..count {
            let (door, inbox) = mpsc::unbounded_channel();
            doors.push(door);
            inboxes.push(inbox);
        }
        let mut listeners = Some(listeners);
        for (n, inbox) in inboxes.into_iter().enumerate() {
            let counters = Arc::new(ReactorCounters::default());
            server.counters.push(counters.clone());
            let thread = Thread {
                service: server.service.clone(),
                counters,
                shared: shared.clone(),
                inbox,
                stopped: stopped.clone(),
                // The first reactor accepts for all.
                accepts: listeners.take().map(|l| (l, std::mem::take(&mut doors))),
            };
            server.threads.get_mut().push(thread.start(n)?);
        }
        Ok(server)
    }

    /// The first address bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses bound, in the order asked for.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        Counters::sum(&self.counters)
    }

    /// Bytes of records and replies in flight.
    pub fn bytes_in_flight(&self) -> usize {
        self.service.budget.used()
    }

    /// Stops accepting and reading, answers what runs (at most [`Limits::drain`]), closes. Others
    /// may still hold the server, to read its counters; a second call does nothing.
    pub fn shutdown(&self) {
        let _ = self.stop.send(true);
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a reactor panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The rules that hold: those given, or the loopback default.
fn effective(exports: Exports, listen: &[SocketAddr]) -> io::Result<Exports> {
    let wrong = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    if listen.is_empty() {
        return wrong("no address to listen on".into());
    }
    if !exports.is_empty() {
        return Ok(exports);
    }
    match listen.iter().find(|a| !a.ip().to_canonical().is_loopback()) {
        Some(address) => wrong(format!(
            "{address} is reachable by others: say in an export rule who may use the volume"
        )),
        None => Ok(Exports::loopback()),
    }
}

fn bind(address: &SocketAddr) -> io::Result<TcpListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    let domain = socket2::Domain::for_address(*address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(named)?;
    // A restarted server must have its port at once.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses to listen on, not one.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&(*address).into()).map_err(named)?;
    socket.listen(1024).map_err(named)?;
    Ok(socket.into())
}

/// How many connections may be open.
fn connection_limit(limits: &Limits) -> usize {
    limits.connections.unwrap_or_else(|| {
        let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let free = soft.unwrap_or(u64::MAX).saturating_sub(SPARE_DESCRIPTORS).max(8);
        usize::try_from(free).unwrap_or(usize::MAX).min(65_536)
    })
}

/// What the reactors and the accept loop share.
#[derive(Clone)]
struct Shared {
    newest: Arc<AtomicU64>,
    places: Arc<Places>,
}

type Doors = Vec<mpsc::UnboundedSender<Arrival>>;

struct Thread {
    service: Arc<Service>,
    counters: Arc<ReactorCounters>,
    shared: Shared,
    inbox: mpsc::UnboundedReceiver<Arrival>,
    stopped: watch::Receiver<bool>,
    accepts: Option<(Vec<TcpListener>, Doors)>,
}

impl Thread {
    fn start(self, n: usize) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("nfs-{n}")).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, self.run());
        })
    }

    async fn run(self) {
        let Self { service, counters, shared, inbox, stopped, accepts } = self;
        let newest = shared.newest.clone();
        let reactor = Rc::new(Reactor::new(service.clone(), counters.clone(), newest));
        if let Some((listeners, doors)) = accepts {
            let acceptor = Acceptor { service, counters, shared, doors: doors.into() };
            for listener in listeners {
                let accepting = acceptor.clone().run(listener, stopped.clone());
                tokio::task::spawn_local(accepting);
            }
        }
        reactor::run(reactor, inbox, stopped).await;
    }
}

/// The accept loop: it survives everything.
#[derive(Clone)]
struct Acceptor {
    service: Arc<Service>,
    counters: Arc<ReactorCounters>,
    shared: Shared,
    doors: Rc<[mpsc::UnboundedSender<Arrival>]>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            // Ends, and with it the last senders to the reactors, so that they end too.
            _ = stopped.wait_for(|stop| *stop) => {}
            () = self.accept(listener) => {}
        }
    }

    async fn accept(&self, listener: TcpListener) {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the listening socket could not be registered");
                return;
            }
        };
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    pause = ACCEPT_PAUSE.0;
                    self.room().await;
                    self.hand_over(socket, address);
                }
                Err(error) => {
                    bump(&self.counters.accept_errors, 1);
                    pause = self.survive(&error, pause).await;
                }
            }
        }
    }

    /// Waits until the connection just accepted may stay; meanwhile the others wait in the
    /// socket's backlog.
    async fn room(&self) {
        let mut looks = 0;
        while self.shared.places.full() {
            // What was evicted needs a moment to go.
            if looks % 10 == 0 {
                let now = self.service.env.clock.monotonic();
                self.shared.places.evict(now, self.service.limits.evict_idle);
            }
            looks += 1;
            tokio::time::sleep(ACCEPT_PAUSE.0).await;
        }
    }

    /// A connection that was reset while it waited is nothing; a lack of descriptors or memory
    /// needs a pause.
    async fn survive(&self, error: &io::Error, pause: Duration) -> Duration {
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        ) {
            return pause;
        }
        tracing::warn!(%error, "accept failed, trying again in {pause:?}");
        let now = self.service.env.clock.monotonic();
        self.shared.places.evict(now, self.service.limits.evict_idle);
        tokio::time::sleep(pause).await;
        (pause * 2).min(ACCEPT_PAUSE.1)
    }

    fn hand_over(&self, socket: tokio::net::TcpStream, address: SocketAddr) {
        let keepalive =
            socket2::TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1);
        let prepared = socket
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive));
        if let Err(error) = prepared {
            // The client is gone already.
            tracing::debug!(%error, %address, "connection lost at once");
            return;
        }
        let socket = match socket.into_std() {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be handed over");
                return;
            }
        };
        let id = self.shared.newest.fetch_add(1, Relaxed) + 1;
        let link = Arc::new(Link::new(id, self.service.env.clone()));
        let place = self.shared.places.take(&link);
        // The remainder is below the number of reactors.
        #[allow(clippy::cast_possible_truncation)]
        let at = (id % self.doors.len() as u64) as usize;
        let _ = self.doors[at].send(Arrival { socket, address, link, place });
    }
}
