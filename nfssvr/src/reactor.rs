//! One reactor: a thread with its own current-thread runtime, and the connections that live on it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    os::fd::AsRawFd,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::{
    conn::Conn,
    counters::{ReactorCounters, bump},
    limits::{ALONE_AFTER, POOLED_BUFFERS, POOLED_HEAD_BYTES, POOLED_HEADS, READ_BUFFER_BYTES},
    peer::{Link, Peer},
    service::Service,
};

/// What the connections of one reactor share. Never leaves its thread.
pub struct Reactor {
    /// The server.
    pub service: Arc<Service>,
    /// This reactor's counts.
    pub counters: Arc<ReactorCounters>,
    /// Calls that could not be answered at once.
    pub pending: Cell<usize>,
    /// The connection that runs now has further whole records.
    pub more: Cell<bool>,
    /// Id of the newest connection of the server.
    pub newest: Arc<AtomicU64>,
    /// Connection of the last batch, and how many batches in a row were its.
    last: Cell<u64>,
    streak: Cell<u32>,
    buffers: RefCell<Vec<BytesMut>>,
    heads: RefCell<Vec<Vec<u8>>>,
}

impl Reactor {
    /// A reactor of `service`.
    pub fn new(
        service: Arc<Service>,
        counters: Arc<ReactorCounters>,
        newest: Arc<AtomicU64>,
    ) -> Self {
        Self {
            service,
            counters,
            pending: Cell::new(0),
            more: Cell::new(false),
            newest,
            last: Cell::new(0),
            streak: Cell::new(0),
            buffers: RefCell::default(),
            heads: RefCell::default(),
        }
    }

    /// True when the call that runs now is all that this reactor has to do, and its connection
    /// has been the only busy one for a while.
    pub fn alone(&self) -> bool {
        self.pending.get() == 0 && !self.more.get() && self.streak.get() >= ALONE_AFTER
    }

    /// A connection begins a batch of calls.
    pub fn batch(&self, link: u64) {
        if self.last.replace(link) == link {
            self.streak.set(self.streak.get().saturating_add(1));
        } else {
            self.streak.set(0);
        }
    }

    /// An empty buffer with room for [`READ_BUFFER_BYTES`].
    pub fn buffer(&self) -> BytesMut {
        let mut buffer = self.buffers.borrow_mut().pop().unwrap_or_default();
        // Takes the old allocation again if nothing refers to it any more.
        buffer.reserve(READ_BUFFER_BYTES);
        buffer
    }

    /// Takes a buffer back.
    pub fn give_buffer(&self, mut buffer: BytesMut) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < POOLED_BUFFERS {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// An empty reply head.
    pub fn head(&self) -> Vec<u8> {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(256))
    }

    /// Takes a reply head back.
    pub fn give_head(&self, head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < POOLED_HEADS && head.capacity() <= POOLED_HEAD_BYTES {
            heads.push(head);
        }
    }
}

/// A connection on its way to its reactor.
pub struct Arrival {
    /// The socket.
    pub socket: std::net::TcpStream,
    /// The client.
    pub address: SocketAddr,
    /// Its identity.
    pub link: Arc<Link>,
    /// Its place.
    pub place: Place,
}

/// The places for connections, and who has them.
pub struct Places {
    limit: usize,
    taken: Mutex<HashMap<u64, Arc<Link>>>,
}

impl Places {
    /// Room for `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::default() }
    }

    /// True when all are taken.
    pub fn full(&self) -> bool {
        self.taken.lock().len() >= self.limit
    }

    /// Takes one.
    pub fn take(self: &Arc<Self>, link: &Arc<Link>) -> Place {
        self.taken.lock().insert(link.id, link.clone());
        Place { places: self.clone(), id: link.id }
    }

    /// Ends the connection that has been idle longest, if that is at least `idle`: an NFS client
    /// connects again when it needs to.
    pub fn evict(&self, now: Duration, idle: Duration) {
        let taken = self.taken.lock();
        let oldest = taken.values().max_by_key(|link| link.idle(now));
        if let Some(link) = oldest.filter(|link| link.idle(now) >= idle) {
            link.evict();
        }
    }
}

/// One of the places for connections, given back when dropped.
pub struct Place {
    places: Arc<Places>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().remove(&self.id);
    }
}

/// Runs the connections that arrive until the server stops and they have ended.
pub async fn run(
    reactor: Rc<Reactor>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    stop: watch::Receiver<bool>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => serve(&reactor, arrival, &stop, &mut tasks),
                None => break,
            },
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Err(error) = ended {
                    // The others go on; this client connects again.
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
    let drained = async { while tasks.join_next().await.is_some() {} };
    let limit = reactor.service.limits.drain;
    if tokio::time::timeout(limit, drained).await.is_err() {
        tracing::warn!("calls still ran when the time to drain was over");
    }
}

fn serve(
    reactor: &Rc<Reactor>,
    arrival: Arrival,
    stop: &watch::Receiver<bool>,
    tasks: &mut tokio::task::JoinSet<()>,
) {
    let Arrival { socket, address, link, place } = arrival;
    bump(&reactor.counters.accepted, 1);
    match tokio::net::TcpStream::from_std(socket) {
        Ok(socket) => {
            link.open(socket.as_raw_fd());
            let grants = reactor.service.exports.grants(address.ip());
            let peer = Rc::new(Peer { reactor: reactor.clone(), link, address, grants });
            let conn = Conn::new(socket, peer, stop.clone());
            tasks.spawn_local(async move {
                let leftover = conn.run().await;
                drop(place);
                leftover.finish().await;
            });
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be registered");
            bump(&reactor.counters.closed, 1);
        }
    }
}
