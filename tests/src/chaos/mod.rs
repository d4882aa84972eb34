//! A proxy between a server and its object store that does harm on purpose, and a small store to
//! put behind it.
//!
//! ```text
//!   client ─► Source ─► request, perhaps cut, shortened, turned, kept ─► store
//!   client ◄─ answer, perhaps another's, of another time, twice ◄─ Source ◄─ store
//!                ▲ rules (what, when, how often; seeded dice)   memory of what went by
//! ```
//!
//! It must never know: segments, volumes, credentials. Of the stores' dialects it knows which
//! requests list and which put, no more. It passes on bytes: host and signature of a request are
//! not touched, so the store sees what the client signed.
//!
//! Invariants
//! 1. Without a rule that hits, what arrives is what was sent, and a connection ends when its other
//!    half does.
//! 2. One connection to the store for each of the client's: none is shared.
//! 3. A fault is counted when it was done, not when it was planned: a test can prove it happened.
//! 4. Dropping the proxy ends every connection and its thread.

mod answer;
mod bucket;
mod fake;
mod flow;
mod memory;
mod rules;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swiftclient::seam::sim::SeededDice;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use answer::Answer;
use bucket::Bucket;
pub use fake::{Fake, Refusal};
use memory::Memory;
pub use rules::{At, Cut, Fault, Line, Rule, Script, Verb, When};
use wire::Head;

use crate::load::now;

/// Most requests that are remembered one by one.
const SEEN: usize = 200_000;

/// One request that went through.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it asked.
    pub verb: Verb,
    /// Of what.
    pub path: String,
    /// When its head had been read, after the proxy's start.
    pub began: Duration,
    /// When its answer had been passed on, or the connection was given up.
    pub ended: Duration,
    /// Status of the answer that the client got; 0: none.
    pub status: u16,
    /// Bytes of the request's body that came.
    pub up: u64,
    /// Bytes of the answer's body that were passed on.
    pub down: u64,
    /// The rule that hit it.
    pub rule: Option<String>,
}

/// Whether the store can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    Away,
    Over,
}

struct Armed {
    rule: Rule,
    met: u64,
    planned: u64,
    done: Arc<AtomicU64>,
}

/// A fault that was decided on for one request.
struct Planned {
    fault: Fault,
    name: String,
    done: Arc<AtomicU64>,
}

/// An answer that waits for a partner to change places with.
struct Waiting {
    path: String,
    answer: Answer,
    back: oneshot::Sender<Answer>,
}

struct Shared {
    store: Mutex<SocketAddr>,
    line: Mutex<Line>,
    rules: Mutex<Vec<Armed>>,
    dice: SeededDice,
    up: Bucket,
    down: Bucket,
    memory: Mutex<Memory>,
    swap: Mutex<Option<Waiting>>,
    seen: Mutex<Vec<Seen>>,
    /// Whether the bodies that go by are kept, for rules of later.
    remembers: AtomicBool,
    requests: AtomicU64,
    connections: AtomicU64,
    inflight: AtomicUsize,
    most_inflight: AtomicUsize,
    begin: Instant,
    gate: watch::Sender<Gate>,
}

impl Shared {
    /// The fault for this request, if one is due.
    fn decide(&self, verb: Verb, head: &Head) -> Option<Planned> {
        let mut rules = self.rules.lock();
        for armed in rules.iter_mut() {
            let when = &armed.rule.when;
            if !when.matches(verb, head) || when.times.is_some_and(|n| armed.planned >= n) {
                continue;
            }
            armed.met += 1;
            let chance = if when.per_mille == 0 { 1000 } else { when.per_mille };
            if armed.met <= when.skip || !self.dice.chance(chance) {
                continue;
            }
            armed.planned += 1;
            let (fault, name) = (armed.rule.fault.clone(), armed.rule.name.clone());
            return Some(Planned { fault, name, done: armed.done.clone() });
        }
        None
    }

    /// A fault that could not be done may be done to another request.
    fn give_back(&self, planned: &Planned) {
        let mut rules = self.rules.lock();
        let armed = rules.iter_mut().find(|a| Arc::ptr_eq(&a.done, &planned.done));
        if let Some(armed) = armed {
            armed.planned -= 1;
        }
    }

    /// Whether connections that are out of step stay so.
    fn shifts(&self) -> bool {
        self.rules.lock().iter().any(|a| a.rule.fault == Fault::Shift)
    }

    /// Whether a rule needs the bodies that go by.
    fn remembers_bodies(&self) -> bool {
        let needs = |a: &Armed| matches!(a.rule.fault, Fault::Other | Fault::Old);
        self.remembers.load(Relaxed) || self.rules.lock().iter().any(needs)
    }
}

/// A running proxy. Dropping ends it.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// A proxy on a free port of loopback before the store at `store`; `seed` decides its dice.
    pub fn start(store: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), store, seed)
    }

    /// A proxy on `listen`.
    pub fn start_at(listen: SocketAddr, store: SocketAddr, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            line: Mutex::default(),
            rules: Mutex::default(),
            dice: SeededDice::new(seed),
            up: Bucket::new(),
            down: Bucket::new(),
            memory: Mutex::default(),
            swap: Mutex::default(),
            seen: Mutex::default(),
            remembers: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            inflight: AtomicUsize::new(0),
            most_inflight: AtomicUsize::new(0),
            begin: now(),
            gate: watch::Sender::new(Gate::Open),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(listen))?;
        let addr = listener.local_addr()?;
        let owned = shared.clone();
        let body = move || runtime.block_on(accept(&listener, &owned));
        let thread = std::thread::Builder::new().name("chaos".into()).spawn(body)?;
        Ok(Self { addr, shared, thread: Some(thread) })
    }

    /// Where clients find it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its rules from here on, in place of all before; counts begin anew.
    pub fn rules(&self, rules: Vec<Rule>) {
        let arm = |rule| Armed { rule, met: 0, planned: 0, done: Arc::default() };
        *self.shared.rules.lock() = rules.into_iter().map(arm).collect();
    }

    /// One rule in place of all before.
    pub fn rule(&self, when: When, fault: Fault) {
        self.rules(vec![Rule::new(when, fault)]);
    }

    /// No fault from here on.
    pub fn calm(&self) {
        self.rules(Vec::new());
    }

    /// Keeps the bodies that go by, so that a later rule can serve them in the wrong place.
    pub fn remember(&self) {
        self.shared.remembers.store(true, Relaxed);
    }

    /// Latency and bandwidth from here on.
    pub fn line(&self, line: Line) {
        *self.shared.line.lock() = line;
        self.shared.up.limit(line.up);
        self.shared.down.limit(line.down);
    }

    /// Takes the store away: all connections are reset, new ones at once; or gives it back.
    pub fn away(&self, away: bool) {
        self.shared.gate.send_replace(if away { Gate::Away } else { Gate::Open });
    }

    /// Another store (or the same, started again elsewhere) for connections made from here on.
    pub fn move_to(&self, store: SocketAddr) {
        *self.shared.store.lock() = store;
    }

    /// How often each rule has done its harm, in the order of the rules.
    pub fn done(&self) -> Vec<u64> {
        self.shared.rules.lock().iter().map(|a| a.done.load(Relaxed)).collect()
    }

    /// Requests whose head has been read.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Relaxed)
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Relaxed)
    }

    /// Most requests that were under way at once.
    pub fn most_inflight(&self) -> usize {
        self.shared.most_inflight.load(Relaxed)
    }

    /// The requests that have ended, in the order of their ends; 200,000 at most. One is noted a
    /// moment after its client has the answer.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// Forgets the requests that have ended.
    pub fn forget(&self) {
        self.shared.seen.lock().clear();
        self.shared.most_inflight.store(self.shared.inflight.load(Relaxed), Relaxed);
    }

    /// Time since its start, on the clock of [`Seen`].
    pub fn time(&self) -> Duration {
        now() - self.shared.begin
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.gate.send_replace(Gate::Over);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut gate = shared.gate.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = gate.wait_for(|g| *g == Gate::Over) => return,
        };
        let Ok((client, _)) = accepted else {
            // Out of descriptors: some will be free again.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.connections.fetch_add(1, Relaxed);
        tokio::spawn(flow::serve(client, shared.clone()));
    }
}
