//! The server: bound sockets, reactors, accept loops, the end of sessions.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use fs::{Volume, seam::Env};
use parking_lot::Mutex;
use rpc::limits::SECRET_BYTES;
use tokio::sync::{mpsc, watch};

use crate::{
    budget::Budget,
    counters::{Counters, ReactorCounters, bump},
    door::Origin,
    limits::{ACCEPT_PAUSE, KEEPALIVE, Limits, SPARE_DESCRIPTORS, TICK},
    listen::{Listen, Listener},
    reactor::{self, Arrival, Reactor},
    service::Service,
    session::{Session, Sessions},
    stream::{Stream, Tls},
};

/// What a server needs to know.
#[derive(Clone)]
pub struct ServerConfig {
    /// Reactor threads; `None`: one per core.
    pub reactors: Option<usize>,
    /// What clients over TCP must know, at least 16 bytes. Without one TCP is refused.
    pub secret: Option<Vec<u8>>,
    /// TLS for all TCP.
    pub tls: Option<Tls>,
    /// Plain TCP on addresses that others can reach: only where the operator says so.
    pub plain_tcp: bool,
    /// The volume's uuid.
    pub uuid: [u8; 16],
    /// The volume's number in answers to STATFS.
    pub fsid: u64,
    /// The volume's secret: checksums of requests are made with it.
    pub handle_key: [u8; 32],
    /// Limits.
    pub limits: Limits,
    /// Clock and dice.
    pub env: Env,
}

/// Bound sockets that nobody accepts from yet: clients that connect while a volume is still being
/// recovered wait in the backlog in place of being refused.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<Listener>,
    addresses: Vec<Listen>,
}

impl Bound {
    /// Binds and listens.
    pub fn new(listen: &[Listen]) -> io::Result<Self> {
        let listeners = listen.iter().map(Listen::bind).collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(Listener::local).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { listeners, addresses })
    }
}

/// A running server.
pub struct Server {
    addresses: Vec<Listen>,
    counters: Vec<Arc<ReactorCounters>>,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Starts the reactors and accepts.
    pub fn start(bound: Bound, config: ServerConfig, volume: Volume) -> io::Result<Self> {
        let Bound { listeners, addresses } = bound;
        allowed(&config, &addresses)?;
        let count = config
            .reactors
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
            .max(1);
        let service = Arc::new(service(config, volume));
        let (stop, stopped) = watch::channel(false);
        let mut server =
            Self { addresses, counters: Vec::new(), service, stop, threads: Mutex::default() };
        let places = Arc::new(Places {
            limit: connection_limit(&server.service.limits),
            taken: AtomicUsize::new(0),
        });
        let (mut doors, mut inboxes) = (Vec::new(), Vec::new());
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
                places: places.clone(),
                inbox,
                stopped: stopped.clone(),
                // The first reactor accepts for all, and ends the sessions of all.
                accepts: listeners.take().map(|l| (l, std::mem::take(&mut doors))),
            };
            server.threads.get_mut().push(thread.start(n)?);
        }
        Ok(server)
    }

    /// All addresses bound, in the order asked for.
    pub fn local_addrs(&self) -> &[Listen] {
        &self.addresses
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        Counters::sum(&self.counters, self.service.sessions.len())
    }

    /// Bytes of frames and replies in flight.
    pub fn bytes_in_flight(&self) -> usize {
        self.service.budget.used()
    }

    /// Bytes of replies remembered for sessions.
    pub fn bytes_remembered(&self) -> usize {
        self.service.sessions.remembered_bytes()
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

fn service(config: ServerConfig, volume: Volume) -> Service {
    let ServerConfig { secret, tls, uuid, fsid, handle_key, limits, env, .. } = config;
    let mut digest_key = [0; 16];
    digest_key.copy_from_slice(&handle_key[16..]);
    Service {
        sessions: Sessions::new(&limits, volume.locks().clone()),
        volume,
        uuid,
        fsid,
        reclaim: Default::default(),
        budget: Budget::new(limits.total_bytes),
        boot: env.random_u64(),
        limits,
        env,
        secret,
        tls,
        digest_key,
    }
}

/// Whether the server may listen there, with that configuration.
fn allowed(config: &ServerConfig, listen: &[Listen]) -> io::Result<()> {
    let wrong = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    if listen.is_empty() {
        return wrong("no address to listen on".into());
    }
    if config.secret.as_ref().is_some_and(|secret| secret.len() < SECRET_BYTES) {
        return wrong(format!("a secret of less than {SECRET_BYTES} bytes"));
    }
    for address in listen {
        let Listen::Tcp(tcp) = address else { continue };
        if config.secret.is_none() {
            return wrong(format!("{tcp}: TCP needs a secret"));
        }
        let local = tcp.ip().to_canonical().is_loopback();
        if !local && config.tls.is_none() && !config.plain_tcp {
            return wrong(format!(
                "{tcp} is reachable by others, and without TLS they could listen and change what \
                 is said: give a certificate, or say that plain TCP is meant"
            ));
        }
    }
    Ok(())
}

/// Ends a session: gives back what it held.
pub async fn end(service: &Service, session: &Session) {
    let handles = session.end();
    service.volume.locks().end_session(session.number);
    for handle in handles {
        if let Err(error) = service.volume.release(handle.id).await {
            tracing::warn!(inode = handle.id.ino, ?error, "an open file could not be released");
        }
    }
    if session.is_noted() {
        forget(service, &session.id).await;
    }
    service.reclaim.done(&session.id);
}

async fn forget(service: &Service, session: &[u8; 16]) {
    if let Err(error) = service.volume.forget_locker(session).await {
        // The next start waits for it in vain, as long as the grace time.
        tracing::warn!(?error, "a session that held locks could not be forgotten");
    }
}

/// How many connections may be open.
fn connection_limit(limits: &Limits) -> usize {
    limits.connections.unwrap_or_else(|| {
        let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let free = soft.unwrap_or(u64::MAX).saturating_sub(SPARE_DESCRIPTORS).max(8);
        // The other half is for the other faces.
        usize::try_from(free / 2).unwrap_or(usize::MAX).min(65_536)
    })
}

/// The places for connections.
pub struct Places {
    limit: usize,
    taken: AtomicUsize,
}

/// One of them, given back when dropped.
pub struct Place(Arc<Places>);

impl Places {
    fn take(self: &Arc<Self>) -> Option<Place> {
        let take = |n| (n < self.limit).then_some(n + 1);
        self.taken.fetch_update(Relaxed, Relaxed, take).ok().map(|_| Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// A socket on its way to its reactor.
pub enum Socket {
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
    /// TCP.
    Tcp(std::net::TcpStream),
}

impl Socket {
    /// Gives it to the runtime of this thread; over TCP the TLS handshake, if there is to be one.
    pub async fn register(self, tls: Option<&Tls>) -> io::Result<Stream> {
        let socket = match self {
            Self::Unix(socket) => {
                return Ok(Stream::Unix(tokio::net::UnixStream::from_std(socket)?));
            }
            Self::Tcp(socket) => tokio::net::TcpStream::from_std(socket)?,
        };
        match tls {
            None => Ok(Stream::Tcp(socket)),
            Some(Tls(acceptor)) => Ok(Stream::Tls(Box::new(acceptor.accept(socket).await?))),
        }
    }
}

type Doors = Vec<mpsc::UnboundedSender<Arrival>>;

struct Thread {
    service: Arc<Service>,
    counters: Arc<ReactorCounters>,
    places: Arc<Places>,
    inbox: mpsc::UnboundedReceiver<Arrival>,
    stopped: watch::Receiver<bool>,
    accepts: Option<(Vec<Listener>, Doors)>,
}

impl Thread {
    fn start(self, n: usize) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("rpc-{n}")).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, self.run());
        })
    }

    async fn run(self) {
        let Self { service, counters, places, inbox, stopped, accepts } = self;
        let reactor = Reactor::new(service.clone(), counters.clone(), stopped.clone());
        if let Some((listeners, doors)) = accepts {
            tokio::task::spawn_local(sweep(service, counters.clone(), stopped.clone()));
            let acceptor =
                Acceptor { counters, places, doors: doors.into(), accepted: Arc::default() };
            for listener in listeners {
                let accepting = acceptor.clone().run(listener, stopped.clone());
                tokio::task::spawn_local(accepting);
            }
        }
        reactor::run(Rc::new(reactor), inbox).await;
    }
}

/// Ends the sessions whose grace time is over.
async fn sweep(
    service: Arc<Service>,
    counters: Arc<ReactorCounters>,
    mut stopped: watch::Receiver<bool>,
) {
    let since = service.env.clock.monotonic();
    match service.volume.lockers(service.limits.sessions).await {
        Ok(noted) => service.reclaim.begin(noted),
        Err(error) => {
            tracing::error!(?error, "who held locks is not known: nobody is waited for");
            service.reclaim.begin(Vec::new());
        }
    }
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        for session in service.sessions.expired(service.env.clock.monotonic()) {
            if !session.has_ended() {
                bump(&counters.expired, 1);
                tracing::info!(client = session.label, "session ended: it did not come back");
            }
            end(&service, &session).await;
        }
        let waited = service.env.clock.monotonic().saturating_sub(since);
        if !service.reclaim.is_over() && waited >= service.limits.grace {
            for session in service.reclaim.give_up() {
                tracing::info!(?session, "a session that held locks did not come back");
                forget(&service, &session).await;
            }
        }
    }
}

/// The accept loops: they survive everything.
#[derive(Clone)]
struct Acceptor {
    counters: Arc<ReactorCounters>,
    places: Arc<Places>,
    doors: Rc<[mpsc::UnboundedSender<Arrival>]>,
    accepted: Arc<AtomicU64>,
}

/// A listening socket of this thread's runtime.
enum Ears {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener),
}

impl Ears {
    async fn accept(&self) -> io::Result<(Socket, Origin)> {
        match self {
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                let peer = socket.peer_cred()?;
                let origin = Origin::Unix { uid: peer.uid(), pid: peer.pid().unwrap_or(0) };
                Ok((Socket::Unix(socket.into_std()?), origin))
            }
            Self::Tcp(listener) => {
                let (socket, address) = listener.accept().await?;
                socket.set_nodelay(true)?;
                let keepalive =
                    socket2::TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1);
                socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
                Ok((Socket::Tcp(socket.into_std()?), Origin::Tcp(address)))
            }
        }
    }
}

impl Acceptor {
    async fn run(self, listener: Listener, mut stopped: watch::Receiver<bool>) {
        let (ears, _file) = match listener {
            Listener::Unix(socket, file) => {
                (tokio::net::UnixListener::from_std(socket).map(Ears::Unix), Some(file))
            }
            Listener::Tcp(socket) => {
                (tokio::net::TcpListener::from_std(socket).map(Ears::Tcp), None)
            }
        };
        match ears {
            Ok(ears) => tokio::select! {
                // Ends, and with it the last senders to the reactors, so that they end too.
                _ = stopped.wait_for(|stop| *stop) => {}
                () = self.accept(&ears) => {}
            },
            Err(error) => {
                tracing::error!(%error, "the listening socket could not be registered");
            }
        }
    }

    async fn accept(&self, ears: &Ears) {
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            match ears.accept().await {
                Ok((socket, origin)) => {
                    pause = ACCEPT_PAUSE.0;
                    self.hand_over(socket, origin).await;
                }
                Err(error) => {
                    bump(&self.counters.accept_errors, 1);
                    pause = survive(&error, pause).await;
                }
            }
        }
    }

    async fn hand_over(&self, socket: Socket, origin: Origin) {
        // Meanwhile the others wait in the socket's backlog.
        let place = loop {
            match self.places.take() {
                Some(place) => break place,
                None => tokio::time::sleep(ACCEPT_PAUSE.0).await,
            }
        };
        let number = self.accepted.fetch_add(1, Relaxed) + 1;
        // The remainder is below the number of reactors.
        #[allow(clippy::cast_possible_truncation)]
        let at = (number % self.doors.len() as u64) as usize;
        let _ = self.doors[at].send(Arrival { socket, origin, number, place });
    }
}

/// A connection that was reset while it waited is nothing; a lack of descriptors or memory needs a
/// pause.
async fn survive(error: &io::Error, pause: Duration) -> Duration {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | NotConnected) {
        return pause;
    }
    tracing::warn!(%error, "accept failed, trying again in {pause:?}");
    tokio::time::sleep(pause).await;
    (pause * 2).min(ACCEPT_PAUSE.1)
}
