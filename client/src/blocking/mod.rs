//! The client of threads: any number of callers on one connection, std sockets, no runtime.
//!
//! ```text
//!   caller ─► submit ─► write, as far as the socket takes it
//!                 └───► wait: one of those who wait reads for all ─► completions wake their own
//!
//!   keeper   connects, watches for the end of the connection, connects again, brings back
//! ```
//!
//! Whoever waits reads, so that an answer needs no second thread; when it has its own, it hands the
//! reading to another who waits. The *keeper* is one thread per client, made by [`Client::connect`]:
//! it has the identity of that moment for ever, so that every connection comes from the same user,
//! whatever the callers' threads switch to. It sees a server that goes away while nobody calls,
//! since handles and locks must be claimed again within the grace time.
//!
//! Invariants:
//! 1. No lock is held while a socket is waited for.
//! 2. One thread at a time reads, one at a time writes.
//! 3. A caller is answered within the patience after the server was lost, if only by an error.
//! 4. In a forked child every call fails at once: the socket is the parent's.

mod files;
mod keeper;
mod link;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "tls")]
mod tls;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{self, IoSlice},
    marker::PhantomData,
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rpc::{Call, Identity, Wire, calls, hello::Welcome};

use crate::{
    address::Address,
    core::{Asked, Core, Outcome, Setup, Ticket},
    error::Error,
    inbox::Inbox,
    limits::{PATIENCE, WRITE_PIECES},
    seams,
};
use link::{Link, send_bytes};

#[cfg(feature = "tls")]
pub use tls::TlsSetup;

/// How TLS is spoken: with the feature `tls` only.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug)]
pub enum TlsSetup {}

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub address: Address,
    /// Volume, name, secret.
    pub setup: Setup,
    /// TLS on TCP.
    pub tls: Option<TlsSetup>,
    /// A server that is away for longer is given up: what waits fails, until it is back.
    pub patience: Duration,
}

impl Options {
    /// To `address`, with the usual patience.
    pub fn new(address: Address) -> Self {
        let client = format!("esker client, process {}", std::process::id());
        let setup = Setup { client, ..Setup::default() };
        Self { address, setup, tls: None, patience: PATIENCE }
    }
}

/// A client. Clones are the same client; with the last one the session ends.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Owner>,
    flags: u16,
}

struct Owner(Arc<Shared>);

struct Shared {
    options: Options,
    pid: u32,
    state: Mutex<State>,
    /// Rings for the keeper.
    bell: UnixStream,
    /// Somebody who found no room, or waits for the first connection.
    room: Condvar,
}

struct State {
    core: Core,
    /// The connection, once its session stands.
    link: Option<Arc<Link>>,
    /// What has arrived, unless somebody reads.
    inbox: Option<Inbox>,
    /// Bytes to be written, unless somebody writes.
    out: Option<VecDeque<Bytes>>,
    done: HashMap<Ticket, Outcome>,
    /// Nobody wants to know.
    dropped: std::collections::HashSet<Ticket>,
    seats: BTreeMap<Ticket, Arc<Condvar>>,
    /// The patience is over; cleared by the next connection.
    away: Option<Error>,
    closing: bool,
    /// Connections whose session stood.
    connections: u64,
}

impl Client {
    /// Connects; waits for a server at most for the patience, and refuses at once where a server
    /// refuses this client.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::Away(error.to_string());
        let (bell, heard) = UnixStream::pair().map_err(failed)?;
        bell.set_nonblocking(true).map_err(failed)?;
        heard.set_nonblocking(true).map_err(failed)?;
        let core = Core::new(options.setup.clone(), seams::random().map_err(failed)?);
        let state = State {
            core,
            link: None,
            inbox: None,
            out: Some(VecDeque::new()),
            done: HashMap::new(),
            dropped: std::collections::HashSet::new(),
            seats: BTreeMap::new(),
            away: None,
            closing: false,
            connections: 0,
        };
        let shared = Arc::new(Shared {
            options,
            pid: std::process::id(),
            state: Mutex::new(state),
            bell,
            room: Condvar::new(),
        });
        let keeper = keeper::Keeper { shared: Arc::downgrade(&shared), bell: heard };
        seams::thread("esker-rpc", move || keeper.run()).map_err(failed)?;
        let client = Self { inner: Arc::new(Owner(shared)), flags: 0 };
        let shared = client.shared();
        let mut state = shared.state.lock();
        while state.connections == 0 {
            if let Some(error) = state.away.clone() {
                return Err(error);
            }
            shared.room.wait(&mut state);
        }
        drop(state);
        Ok(client)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.0
    }

    /// The same client; its changes are answered only when they are durable.
    pub fn durable(&self) -> Self {
        Self { inner: self.inner.clone(), flags: self.flags | rpc::frame::DURABLE }
    }

    /// The same client; each of its requests begins when everything sent before is done.
    pub fn after(&self) -> Self {
        Self { inner: self.inner.clone(), flags: self.flags | rpc::frame::AFTER }
    }

    /// What the server said of itself.
    pub fn welcome(&self) -> Option<Welcome> {
        self.shared().state.lock().core.welcome().cloned()
    }

    /// Connections so far whose session stood: 1 until the first was lost.
    pub fn connections(&self) -> u64 {
        self.shared().state.lock().connections
    }

    /// A number for a handle that none of this client has.
    pub fn new_handle(&self) -> u32 {
        self.shared().state.lock().core.new_handle()
    }

    /// Sends a request, and waits for nothing but room.
    pub fn start<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: Bytes,
    ) -> Result<Waiting<C>, Error> {
        let asked = Asked::new(who, call, payload, self.flags)?;
        let ticket = self.shared().submit(asked)?;
        Ok(Waiting { shared: Some(self.shared().clone()), ticket, kind: PhantomData })
    }

    /// Sends a request and waits for its answer and payload.
    pub fn call<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: Bytes,
    ) -> Result<(C::Reply, Bytes), Error> {
        self.start(who, call, payload)?.wait()
    }

    /// Makes everything durable and ends the session: handles are closed, locks released.
    pub fn close(self) -> Result<(), Error> {
        let nobody = Identity::default();
        let synced = self.call(&nobody, &calls::Sync {}, Bytes::new()).map(drop);
        let ended = self.call(&nobody, &calls::Bye {}, Bytes::new()).map(drop);
        synced.and(ended)
    }
}

/// A request that was sent. Dropping it forgets the answer; the request is carried out.
pub struct Waiting<C> {
    shared: Option<Arc<Shared>>,
    ticket: Ticket,
    kind: PhantomData<fn() -> C>,
}

impl<C: Call> Waiting<C> {
    /// Waits for the answer and its payload.
    pub fn wait(mut self) -> Result<(C::Reply, Bytes), Error> {
        // Taken, so that dropping `self` forgets nothing.
        let Some(shared) = self.shared.take() else { return Err(Error::Closed) };
        let reply = shared.wait(self.ticket)?;
        Ok((C::Reply::whole(&reply.body)?, reply.payload))
    }

    /// True once the answer is here.
    pub fn is_done(&self) -> bool {
        let Some(shared) = &self.shared else { return true };
        shared.state.lock().done.contains_key(&self.ticket)
    }

    /// Gives a LOCK up that waits: it is answered ECANCELED, or as it was answered before.
    pub fn cancel(&self) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.state.lock();
        state.core.cancel(self.ticket);
        shared.settle(&mut state);
        shared.write(&mut state);
    }
}

impl<C> Drop for Waiting<C> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let mut state = shared.state.lock();
        if state.done.remove(&self.ticket).is_none() {
            state.dropped.insert(self.ticket);
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.0.pid == std::process::id() {
            self.0.end();
        }
    }
}

impl Shared {
    fn check(&self) -> Result<(), Error> {
        if self.pid == std::process::id() { Ok(()) } else { Err(Error::Forked) }
    }

    fn submit(&self, mut asked: Asked) -> Result<Ticket, Error> {
        self.check()?;
        let mut state = self.state.lock();
        loop {
            if state.closing {
                return Err(Error::Closed);
            }
            if let Some(error) = &state.away {
                return Err(error.clone());
            }
            match state.core.submit(asked) {
                Ok(ticket) => {
                    self.settle(&mut state);
                    self.write(&mut state);
                    return Ok(ticket);
                }
                Err((back, _)) => asked = back,
            }
            self.write(&mut state);
            if !self.read(&mut state) {
                self.room.wait(&mut state);
            }
        }
    }

    fn wait(&self, ticket: Ticket) -> Outcome {
        self.check()?;
        let mut state = self.state.lock();
        let mut seat = None;
        let outcome = loop {
            if let Some(outcome) = state.done.remove(&ticket) {
                break outcome;
            }
            if self.read(&mut state) {
                continue;
            }
            let seat = seat.get_or_insert_with(|| Arc::new(Condvar::new()));
            state.seats.insert(ticket, seat.clone());
            seat.wait(&mut state);
            state.seats.remove(&ticket);
        };
        self.hand_over(&mut state);
        outcome
    }

    /// Another who waits may read now.
    fn hand_over(&self, state: &mut MutexGuard<'_, State>) {
        if state.inbox.is_none() || state.link.is_none() {
            return;
        }
        match state.seats.first_key_value() {
            Some((_, seat)) => {
                seat.notify_one();
            }
            None => {
                self.room.notify_one();
            }
        }
    }

    /// Tells everybody who waits what is done.
    fn settle(&self, state: &mut MutexGuard<'_, State>) {
        let mut some = false;
        while let Some((ticket, outcome)) = state.core.take_done() {
            some = true;
            if state.dropped.remove(&ticket) {
                continue;
            }
            if let Some(seat) = state.seats.get(&ticket) {
                seat.notify_one();
            }
            state.done.insert(ticket, outcome);
        }
        if some {
            self.room.notify_all();
        }
    }

    /// Reads once for everybody, waiting for something to come. False where another does, or where
    /// there is no connection: then wait to be woken.
    fn read(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let Some(link) = state.link.clone() else { return false };
        let Some(mut inbox) = state.inbox.take() else { return false };
        let read = MutexGuard::unlocked(state, || receive(&link, &mut inbox, None));
        if !state.is(&link) {
            // Lost meanwhile: what was read is no longer wanted.
            return true;
        }
        let fed = read.map_err(Error::from_io).and_then(|()| feed(&mut state.core, &mut inbox));
        state.inbox = Some(inbox);
        self.settle(state);
        match fed {
            Ok(()) => self.write(state),
            Err(_) => self.lose(state, &link),
        }
        true
    }

    /// Writes what there is, unless another does it: that one writes ours too.
    fn write(&self, state: &mut MutexGuard<'_, State>) {
        let Some(mut out) = state.out.take() else { return };
        let mut before: Option<Arc<Link>> = None;
        let mut flushed = true;
        while let Some(link) = state.link.clone() {
            if before.as_ref().is_some_and(|before| !Arc::ptr_eq(before, &link)) {
                // That was for a connection which is gone; it is sent again anew.
                out.clear();
                flushed = true;
            }
            before = Some(link.clone());
            state.core.take_out(&mut out);
            if out.is_empty() && flushed {
                break;
            }
            match MutexGuard::unlocked(state, || send(&link, &mut out)) {
                Ok(done) => flushed = done,
                Err(_) => self.lose(state, &link),
            }
            if !flushed {
                self.jam(state, &link);
            }
        }
        if state.link.is_none() {
            out.clear();
        }
        state.out = Some(out);
    }

    /// There is no room in the socket. Perhaps the server waits for its replies to be read: whoever
    /// writes sees to that too, if nobody else does.
    fn jam(&self, state: &mut MutexGuard<'_, State>, link: &Arc<Link>) {
        if !state.is(link) {
            return;
        }
        let mut inbox = state.inbox.take();
        let read = MutexGuard::unlocked(state, || {
            // Not for ever: the one who reads just now may leave.
            let readable = link.wait(inbox.is_some(), true, Some(JAM))?;
            match &mut inbox {
                Some(inbox) if readable => receive(link, inbox, Some(JAM)),
                _ => Ok(()),
            }
        });
        if !state.is(link) {
            return;
        }
        let fed = match &mut inbox {
            Some(inbox) => read.map_err(Error::from_io).and_then(|()| feed(&mut state.core, inbox)),
            None => read.map_err(Error::from_io),
        };
        if inbox.is_some() {
            state.inbox = inbox;
        }
        self.settle(state);
        match fed {
            Ok(()) => self.hand_over(state),
            Err(_) => self.lose(state, link),
        }
    }

    /// The connection has come to its end, for everybody.
    fn lose(&self, state: &mut MutexGuard<'_, State>, link: &Arc<Link>) {
        if !state.is(link) {
            return;
        }
        link.shut();
        state.link = None;
        state.inbox = None;
        state.core.lost();
        self.ring();
    }

    /// Has the keeper look.
    fn ring(&self) {
        // Full of rings: it will look.
        let _ = send_bytes(&self.bell, &[1]);
    }

    /// The last client is gone: says so, and waits for nothing.
    fn end(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        let link = state.link.clone();
        if let (Some(link), Ok(bye)) =
            (link, Asked::new(&Identity::default(), &calls::Bye {}, Bytes::new(), 0))
        {
            let _ = state.core.submit(bye);
            if let Some(mut out) = state.out.take() {
                state.core.take_out(&mut out);
                let _ = send(&link, &mut out);
            }
            link.shut_writing();
        }
        state.link = None;
        drop(state);
        self.ring();
    }
}

impl State {
    fn is(&self, link: &Arc<Link>) -> bool {
        self.link.as_ref().is_some_and(|now| Arc::ptr_eq(now, link))
    }
}

/// How long a writer that finds no room waits before it looks again.
const JAM: Duration = Duration::from_millis(100);

/// Writes as much as the socket takes; true when nothing is left.
fn send(link: &Link, out: &mut VecDeque<Bytes>) -> io::Result<bool> {
    while !out.is_empty() {
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let mut n = 0;
        for (slice, piece) in slices.iter_mut().zip(out.iter()) {
            *slice = IoSlice::new(piece);
            n += 1;
        }
        match link.write(&slices[..n]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => consume(out, written),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    link.flush()
}

pub(crate) fn consume(out: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(piece) = out.front_mut() {
        if piece.len() > written {
            let _ = piece.split_to(written);
            return;
        }
        written -= piece.len();
        out.pop_front();
    }
}

/// Reads what there is, waiting for it, at most for `time`.
fn receive(link: &Link, inbox: &mut Inbox, time: Option<Duration>) -> io::Result<()> {
    let deadline = time.map(|time| seams::now() + time);
    loop {
        match link.read(inbox.room()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                inbox.took(n);
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(seams::now()));
        if left == Some(Duration::ZERO) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        link.wait(true, false, left)?;
    }
}

/// Gives the core every whole frame.
pub(crate) fn feed(core: &mut Core, inbox: &mut Inbox) -> Result<(), Error> {
    while let Some(frame) = inbox.next()? {
        core.frame(&frame)?;
        if core.is_live() {
            inbox.open();
        }
    }
    Ok(())
}
