//! One reactor: a thread with its own current-thread runtime, and the connections that live on it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};

use crate::{
    conn::Conn,
    counters::{ReactorCounters, bump},
    door::Origin,
    limits::{ALONE_AFTER, POOLED_BUFFERS, POOLED_HEAD_BYTES, POOLED_HEADS, READ_BUFFER_BYTES},
    server::{Place, Socket},
    service::Service,
};

/// What the connections of one reactor share. Never leaves its thread.
pub struct Reactor {
    /// The server.
    pub service: Arc<Service>,
    /// This reactor's counts.
    pub counters: Arc<ReactorCounters>,
    /// Requests that could not be answered at once.
    pub pending: Cell<usize>,
    /// The connection that runs now has further whole frames.
    pub more: Cell<bool>,
    /// Says true when the server stops.
    pub stop: watch::Receiver<bool>,
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
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            service,
            counters,
            pending: Cell::new(0),
            more: Cell::new(false),
            stop,
            last: Cell::new(0),
            streak: Cell::new(0),
            buffers: RefCell::default(),
            heads: RefCell::default(),
        }
    }

    /// True when the request that runs now is all that this reactor has to do, and its connection
    /// has been the only busy one for a while.
    pub fn alone(&self) -> bool {
        self.pending.get() == 0 && !self.more.get() && self.streak.get() >= ALONE_AFTER
    }

    /// A connection begins a batch of requests.
    pub fn batch(&self, conn: u64) {
        if self.last.replace(conn) == conn {
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
    pub fn give_head(&self, mut head: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < POOLED_HEADS && head.capacity() <= POOLED_HEAD_BYTES {
            head.clear();
            heads.push(head);
        }
    }
}

/// A connection on its way to its reactor.
pub struct Arrival {
    /// The socket.
    pub socket: Socket,
    /// Where it comes from.
    pub origin: Origin,
    /// Counts up with each connection.
    pub number: u64,
    /// Its place.
    pub place: Place,
}

/// Runs the connections that arrive until the server stops and they have ended.
pub async fn run(reactor: Rc<Reactor>, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => serve(&reactor, arrival, &mut tasks),
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
        tracing::warn!("requests still ran when the time to drain was over");
    }
}

fn serve(reactor: &Rc<Reactor>, arrival: Arrival, tasks: &mut tokio::task::JoinSet<()>) {
    let Arrival { socket, origin, number, place } = arrival;
    bump(&reactor.counters.accepted, 1);
    let reactor = reactor.clone();
    tasks.spawn_local(async move {
        let service = &reactor.service;
        let registering = socket.register(service.tls.as_ref());
        match tokio::time::timeout(service.limits.hello, registering).await {
            Ok(Ok(stream)) => {
                let conn = Conn::new(stream, reactor.clone(), origin, number);
                let leftover = conn.run().await;
                drop(place);
                leftover.finish().await;
            }
            Ok(Err(error)) => {
                bump(&reactor.counters.strangers, 1);
                bump(&reactor.counters.closed, 1);
                tracing::warn!(%origin, %error, "connection refused");
            }
            Err(_) => {
                bump(&reactor.counters.timed_out, 1);
                bump(&reactor.counters.closed, 1);
                tracing::info!(%origin, "connection closed: TLS was not begun in time");
            }
        }
    });
}
