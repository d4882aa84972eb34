//! One session, without any I/O: requests in, frames out, frames in, completions out.
//!
//! ```text
//!   submit ─► queue ─► out ─►  wire  ─► frame ─► done
//!               ▲                         │
//!               │ lost, and back again    ▼
//!               └──────── kept: answered, not yet durable
//! ```
//!
//! Invariants:
//! 1. An id is used for one request only, and its bytes never change. The mark never passes a
//!    request that may be sent again.
//! 2. A change is kept until the server has said that it is durable. A server that was started
//!    again gets what it lost, in the order of the ids, before it gets anything new.
//! 3. What is in flight, what waits, and what is kept has limits in requests and bytes.
//! 4. Every submitted request is completed once.
//!
//! It must never know: sockets, threads, clocks.

mod held;
mod kept;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rpc::{
    Blob, Call, Frame, Header, Identity, Malformed, Op, Refusal, Request, Wire, calls, errno,
    frame::{AFTER, RESENT},
    hello::{self, Answer, Auth, Hello, Side, Welcome},
    limits::{BODY_BYTES, PAYLOAD_BYTES},
    put_frame, put_request,
};

use crate::{
    error::Error,
    limits::{FIRST_BYTES, FIRST_REQUESTS, KEPT_BYTES, KEPT_REQUESTS, REPLY_BYTES},
};
use held::Held;
use kept::{Kept, seq_of};

/// Flag of the core alone, beside those of the wire: see [`Core::submit`].
const WAITS: u16 = 1 << 15;

/// Who connects, and to what.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Name or uuid of the volume; empty: the one there is.
    pub volume: String,
    /// What the client calls itself in the server's log.
    pub client: String,
    /// What a server on TCP asks for.
    pub secret: Option<Vec<u8>>,
}

/// What a request was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Values.
    pub body: Bytes,
    /// Raw bytes.
    pub payload: Bytes,
}

/// What became of a submitted request.
pub type Outcome = Result<Reply, Error>;

/// Names a submitted request to its caller. (Its id on the wire may change.)
pub type Ticket = u64;

/// No room just now: wait for a completion and try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A request, encoded.
#[derive(Clone, Debug)]
pub struct Asked {
    op: Op,
    flags: u16,
    body: Bytes,
    payload: Bytes,
    /// Bytes that the reply is expected to hold.
    reply: usize,
}

impl Asked {
    /// Encodes `call` with its payload; refuses what is beyond the wire's limits.
    pub fn new<C: Call>(
        who: &Identity,
        call: &C,
        payload: Bytes,
        flags: u16,
    ) -> Result<Self, Error> {
        let mut body = Vec::new();
        put_request(&mut body, who, call);
        let body = Bytes::from(body);
        if body.len() > BODY_BYTES {
            return Err(Error::TooLarge("a request's body"));
        }
        if payload.len() > PAYLOAD_BYTES {
            return Err(Error::TooLarge("a payload"));
        }
        // What the other side would refuse, it would refuse by closing the connection on everybody.
        let (_, request) = Request::decode(C::OP, &body)
            .map_err(|_| Error::TooLarge("a name, path or list in a request"))?;
        let (flags, reply) = match &request {
            Request::Read(read) => (flags, read.count as usize + REPLY_BYTES),
            Request::ReadDir(_) => (flags, PAYLOAD_BYTES / 4),
            Request::GetXattr(_) | Request::ListXattr(_) | Request::Ranges(_) => {
                (flags, rpc::limits::XATTR_BYTES)
            }
            Request::Lock(lock) if lock.flags & calls::lock::WAIT != 0 => {
                (flags | WAITS, REPLY_BYTES)
            }
            _ => (flags, REPLY_BYTES),
        };
        Ok(Self { op: C::OP, flags, body, payload, reply })
    }

    fn bytes(&self) -> usize {
        rpc::limits::HEADER_BYTES + self.body.len() + self.payload.len() + self.reply
    }

    fn waits(&self) -> bool {
        self.flags & WAITS != 0
    }
}

/// For whom a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The caller who holds the ticket.
    Caller(Ticket),
    /// Nobody: a sync that makes room, a cancellation.
    Own,
    /// A handle that is opened again.
    Handle(u32),
    /// A lock that is taken again.
    Lock,
    /// A change that had been answered, and is made again.
    Again,
}

struct Pending {
    asked: Asked,
    purpose: Purpose,
    /// In flight on the connection there is.
    flying: bool,
    /// Was sent on an earlier one.
    resent: bool,
    /// Must be answered before anything new is sent.
    recovers: bool,
    /// Sent only when all that was sent before is done.
    alone: bool,
}

enum Phase {
    Down,
    Hello(Box<Hello>),
    Auth,
    Live,
}

/// The state of one session.
pub struct Core {
    setup: Setup,
    session: [u8; 16],
    phase: Phase,
    welcome: Option<Welcome>,
    next_id: u64,
    next_ticket: Ticket,
    next_handle: u32,
    pending: BTreeMap<u64, Pending>,
    /// Ids of pending requests that are to be sent, in this order.
    queue: VecDeque<u64>,
    /// In flight, with the bytes of it.
    flying: usize,
    flying_bytes: usize,
    /// Locks in flight that may take for ever.
    waiting: BTreeSet<u64>,
    /// Requests of recovery that are not answered.
    recovering: usize,
    pending_bytes: usize,
    kept: Kept,
    held: Held,
    syncing: bool,
    durable: u64,
    lost: Option<String>,
    out: VecDeque<Bytes>,
    done: VecDeque<(Ticket, Outcome)>,
    ended: bool,
    answers: u64,
}

impl Core {
    /// A session that nobody knows yet. `session` is random.
    pub fn new(setup: Setup, session: [u8; 16]) -> Self {
        Self {
            setup,
            session,
            phase: Phase::Down,
            welcome: None,
            // 1 and 2 are HELLO and AUTH.
            next_id: 3,
            next_ticket: 1,
            next_handle: 1,
            pending: BTreeMap::new(),
            queue: VecDeque::new(),
            flying: 0,
            flying_bytes: 0,
            waiting: BTreeSet::new(),
            recovering: 0,
            pending_bytes: 0,
            kept: Kept::default(),
            held: Held::default(),
            syncing: false,
            durable: 0,
            lost: None,
            out: VecDeque::new(),
            done: VecDeque::new(),
            ended: false,
            answers: 0,
        }
    }

    /// What the server said of itself, once a session has stood.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// True while a session stands.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// True while handles, locks or changes are still being brought back.
    pub fn is_recovering(&self) -> bool {
        self.recovering > 0
    }

    /// How often a request was answered, in whatever way.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Submitted requests that are not completed.
    pub fn unanswered(&self) -> usize {
        self.pending.len()
    }

    /// Changes that were answered and are not yet durable: how many, and their bytes.
    pub fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.kept.bytes())
    }

    /// A number for a handle that none has.
    pub fn new_handle(&mut self) -> u32 {
        loop {
            let handle = self.next_handle;
            self.next_handle = self.next_handle.wrapping_add(1).max(1);
            if !self.held.has(handle) {
                return handle;
            }
        }
    }

    /// A connection is there: HELLO goes out, with a fresh random `nonce`.
    pub fn connected(&mut self, nonce: [u8; 32]) {
        self.out.clear();
        let hello = Hello {
            magic: hello::MAGIC,
            oldest: hello::VERSION,
            newest: hello::VERSION,
            flags: 0,
            session: self.session,
            nonce,
            volume: Blob::copy(self.setup.volume.as_bytes()),
            client: Blob::copy(self.setup.client.as_bytes()),
        };
        self.shake(hello::HELLO, 1, &hello);
        self.phase = Phase::Hello(Box::new(hello));
    }

    fn shake(&mut self, op: u16, id: u64, body: &impl Wire) {
        let mut frame = Vec::new();
        put_frame(&mut frame, Header { id, op, ..Header::default() }, 0, |out| body.put(out));
        self.out.push_back(frame.into());
    }

    /// The connection is gone. What was in flight will be sent again.
    pub fn lost(&mut self) {
        self.phase = Phase::Down;
        self.out.clear();
        self.flying = 0;
        self.flying_bytes = 0;
        self.waiting.clear();
        for pending in self.pending.values_mut() {
            pending.resent |= pending.flying;
            pending.flying = false;
        }
    }

    /// The server was away for too long: completes all that waits. What is kept stays kept.
    pub fn give_up(&mut self, error: &Error) {
        let pending = std::mem::take(&mut self.pending);
        for (id, pending) in pending {
            match pending.purpose {
                Purpose::Caller(ticket) => self.done.push_back((ticket, Err(error.clone()))),
                // Tried again with the next server.
                Purpose::Again => self.kept.put_back(id, pending.asked),
                Purpose::Own | Purpose::Handle(_) | Purpose::Lock => {}
            }
        }
        self.queue.clear();
        self.recovering = 0;
        self.pending_bytes = 0;
        self.syncing = false;
    }

    /// Takes a request in. Gives back the request if there is no room for it just now.
    ///
    /// A LOCK that waits may wait for ever; nothing is held up behind it.
    pub fn submit(&mut self, asked: Asked) -> Result<Ticket, (Asked, Full)> {
        if !self.has_room(&asked) {
            self.make_room();
            self.fly();
            return Err((asked, Full));
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if self.ended {
            self.done.push_back((ticket, Err(Error::Closed)));
            return Ok(ticket);
        }
        self.push(asked, Purpose::Caller(ticket));
        self.make_room();
        self.fly();
        Ok(ticket)
    }

    /// Gives up a LOCK that waits; it is completed with ECANCELED, or as it was answered before.
    pub fn cancel(&mut self, ticket: Ticket) {
        let wanted = Purpose::Caller(ticket);
        let found = self.pending.iter().find(|(_, p)| p.purpose == wanted && p.asked.waits());
        let Some((&id, pending)) = found else { return };
        if pending.flying || pending.resent {
            if let Ok(asked) =
                Asked::new(&Identity::default(), &calls::Cancel { id }, Bytes::new(), 0)
            {
                self.push(asked, Purpose::Own);
                self.fly();
            }
        } else {
            let refusal = Refusal::new(errno::ECANCELED, errno::words(errno::ECANCELED));
            self.complete(id, Err(refusal.into()));
        }
    }

    fn limits(&self) -> (usize, usize) {
        self.welcome.as_ref().map_or((FIRST_REQUESTS, FIRST_BYTES), |w| {
            ((w.requests as usize).max(1), (w.bytes as usize).max(1))
        })
    }

    fn has_room(&self, asked: &Asked) -> bool {
        let (requests, bytes) = self.limits();
        if self.pending.is_empty() && self.kept.is_empty() {
            return true;
        }
        let window = self.welcome.as_ref().map_or(u64::MAX, |w| u64::from(w.window));
        // A sync, which is what makes room, must always find some.
        let room_to_keep = !asked.op.once()
            || (self.kept.len() < KEPT_REQUESTS
                && self.kept.bytes() < KEPT_BYTES
                && self.next_id - self.mark() < window.saturating_sub(window / 8).max(1));
        self.pending.len() < requests
            && self.pending_bytes + asked.bytes() <= bytes.max(asked.bytes())
            && room_to_keep
    }

    fn push(&mut self, asked: Asked, purpose: Purpose) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.enter(id, asked, purpose);
        self.queue.push_back(id);
        id
    }

    fn enter(&mut self, id: u64, asked: Asked, purpose: Purpose) {
        self.pending_bytes += asked.bytes();
        let pending =
            Pending { asked, purpose, flying: false, resent: false, recovers: false, alone: false };
        self.pending.insert(id, pending);
    }

    /// Asks for a sync where more is kept than should be, and gives a LOCK that has waited for long
    /// a new id where the mark cannot move for it.
    fn make_room(&mut self) {
        let window = self.welcome.as_ref().map_or(u64::MAX, |w| u64::from(w.window));
        let far = self.next_id - self.mark() > window / 2;
        if far {
            let first = self.pending.first_key_value().map(|(id, _)| *id);
            if let Some(id) = first.filter(|id| self.waiting.contains(id)) {
                self.renew(id);
            }
        }
        let much = self.kept.len() > KEPT_REQUESTS / 2 || self.kept.bytes() > KEPT_BYTES / 2;
        if self.syncing || self.kept.is_empty() || !(much || far) {
            return;
        }
        if let Ok(asked) = Asked::new(&Identity::default(), &calls::Sync {}, Bytes::new(), 0) {
            self.syncing = true;
            self.push(asked, Purpose::Own);
        }
    }

    /// Has a LOCK cancelled that waits in flight; it is sent again with a new id.
    fn renew(&mut self, id: u64) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        if pending.alone {
            return;
        }
        // Its mark from here on: the answer ECANCELED is for us.
        pending.alone = true;
        let cancel = calls::Cancel { id };
        if let Ok(asked) = Asked::new(&Identity::default(), &cancel, Bytes::new(), 0) {
            self.push(asked, Purpose::Own);
        }
    }

    /// Below this no id will be sent again.
    fn mark(&self) -> u64 {
        let first = self.pending.first_key_value().map_or(self.next_id, |(id, _)| *id);
        self.kept.first().map_or(first, |kept| kept.min(first))
    }

    /// Frames what the limits allow.
    fn fly(&mut self) {
        if !matches!(self.phase, Phase::Live) {
            return;
        }
        let (requests, bytes) = self.limits();
        let mark = self.mark();
        while let Some(id) = self.queue.front().copied() {
            let Some(pending) = self.pending.get_mut(&id) else {
                self.queue.pop_front();
                continue;
            };
            let size = pending.asked.bytes();
            let full = self.flying >= requests || self.flying_bytes + size > bytes;
            // Nothing new overtakes what is being brought back.
            let held = self.recovering > 0 && !pending.recovers;
            // The flag on the wire would wait for locks too, which may never come.
            let after = pending.asked.flags & AFTER != 0 || pending.alone;
            let behind = after && self.flying > self.waiting.len();
            if (full && self.flying > 0) || held || (behind && !self.waiting.is_empty()) {
                return;
            }
            self.queue.pop_front();
            let mut flags = pending.asked.flags & !(WAITS | AFTER);
            if pending.resent {
                flags |= RESENT;
            }
            if after && self.waiting.is_empty() {
                flags |= AFTER;
            }
            pending.flying = true;
            self.flying += 1;
            self.flying_bytes += size;
            if pending.asked.waits() {
                self.waiting.insert(id);
            }
            let header = Header {
                id,
                op: pending.asked.op as u16,
                status: flags,
                mark,
                ..Header::default()
            };
            let (body, payload) = (pending.asked.body.clone(), pending.asked.payload.clone());
            let mut frame = Vec::with_capacity(rpc::limits::HEADER_BYTES + body.len());
            put_frame(&mut frame, header, payload.len(), |out| out.extend_from_slice(&body));
            self.out.push_back(frame.into());
            if !payload.is_empty() {
                self.out.push_back(payload);
            }
        }
    }

    /// Bytes for the connection, in this order; taken.
    pub fn take_out(&mut self, into: &mut VecDeque<Bytes>) {
        into.append(&mut self.out);
    }

    /// True when there are bytes for the connection.
    pub fn has_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// The next completion.
    pub fn take_done(&mut self) -> Option<(Ticket, Outcome)> {
        self.done.pop_front()
    }

    /// A frame has arrived. An error ends the connection; [`Error::Denied`] ends the client.
    pub fn frame(&mut self, frame: &Frame) -> Result<(), Error> {
        match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Down => Err(Malformed("a frame without a connection").into()),
            Phase::Hello(hello) => self.greeted(frame, Some(&hello)),
            Phase::Auth => self.greeted(frame, None),
            Phase::Live => {
                self.phase = Phase::Live;
                self.answered(frame)
            }
        }
    }

    fn greeted(&mut self, frame: &Frame, hello: Option<&Hello>) -> Result<(), Error> {
        if frame.header.status != 0 {
            let refusal = Refusal::of(frame);
            return Err(match refusal.errno {
                errno::ESHUTDOWN | errno::EBUSY | errno::EAGAIN | errno::EMFILE => refusal.into(),
                _ => Error::Denied(refusal),
            });
        }
        match (Answer::whole(&frame.body)?, hello) {
            (Answer::Welcome(welcome), _) => self.entered(welcome),
            (Answer::Challenge(challenge), Some(hello)) => {
                let Some(secret) = self.setup.secret.as_deref() else {
                    let text = "it asks for a secret, and none was given";
                    return Err(Error::Denied(Refusal::new(errno::EKEYREJECTED, text)));
                };
                let theirs = hello::proof(Side::Server, secret, hello, &challenge.nonce);
                if !hello::same(&theirs, &challenge.proof) {
                    let text = "it does not know the secret: it is not told ours";
                    return Err(Error::Denied(Refusal::new(errno::EKEYREJECTED, text)));
                }
                let proof = hello::proof(Side::Client, secret, hello, &challenge.nonce);
                self.shake(hello::AUTH, 2, &Auth { proof });
                self.phase = Phase::Auth;
                Ok(())
            }
            (Answer::Challenge(_), None) => Err(Malformed("a second challenge").into()),
        }
    }

    fn entered(&mut self, welcome: Welcome) -> Result<(), Error> {
        if welcome.version != hello::VERSION {
            return Err(Malformed("a version that was not offered").into());
        }
        if self.welcome.as_ref().is_some_and(|before| before.volume != welcome.volume) {
            let text = "it serves another volume than before";
            return Err(Error::Denied(Refusal::new(errno::EXDEV, text)));
        }
        let before = self.welcome.replace(welcome);
        self.phase = Phase::Live;
        self.recover(before.as_ref());
        self.fly();
        Ok(())
    }

    fn answered(&mut self, frame: &Frame) -> Result<(), Error> {
        let header = frame.header;
        let Some(pending) = self.pending.get(&header.id) else {
            // Given up, and answered all the same: nobody waits.
            self.advance(header.mark);
            return if header.id < self.next_id && header.id > 2 {
                Ok(())
            } else {
                Err(Malformed("an answer to what was not asked").into())
            };
        };
        if !pending.flying || pending.asked.op as u16 != header.op {
            return Err(Malformed("an answer to another question").into());
        }
        let outcome = match header.status {
            0 => Ok(Reply { body: frame.body.clone(), payload: frame.payload.clone() }),
            _ => Err(Refusal::of(frame)),
        };
        self.advance(header.mark);
        match outcome {
            Ok(reply) => self.granted(header.id, reply)?,
            Err(refusal) => self.refused(header.id, refusal),
        }
        self.make_room();
        self.fly();
        Ok(())
    }

    /// All changes up to `durable` are safe.
    fn advance(&mut self, durable: u64) {
        if durable > self.durable {
            self.durable = durable;
            let held = &mut self.held;
            self.kept.durable(durable, |handle| held.forget(handle));
        }
    }

    fn granted(&mut self, id: u64, reply: Reply) -> Result<(), Error> {
        // Before it is pending no more: what is answered by nonsense is not answered.
        let Some(pending) = self.pending.get(&id) else { return Ok(()) };
        let seq = seq_of(pending.asked.op, &reply.body)?;
        let Some(pending) = self.land(id) else { return Ok(()) };
        self.answers += 1;
        self.note(id, &pending, &reply, seq)?;
        match pending.purpose {
            Purpose::Caller(ticket) => {
                let tells = matches!(pending.asked.op, Op::Sync | Op::FSync);
                let lost = if tells { self.lost.take() } else { None };
                self.done.push_back((ticket, lost.map_or(Ok(reply), |e| Err(Error::Lost(e)))));
                self.ended |= pending.asked.op == Op::Bye;
            }
            Purpose::Own => self.syncing &= pending.asked.op != Op::Sync,
            Purpose::Handle(_) | Purpose::Lock | Purpose::Again => {}
        }
        Ok(())
    }

    fn refused(&mut self, id: u64, refusal: Refusal) {
        match refusal.errno {
            // Nothing was done: the next connection gets it.
            errno::ESHUTDOWN => return,
            errno::EHOSTDOWN => return self.once_more(id),
            errno::ENOBUFS if self.may_make_room(id) => return self.once_more(id),
            _ => {}
        }
        self.answers += 1;
        let renewed = self.pending.get(&id).is_some_and(|p| p.alone && p.asked.waits());
        let Some(pending) = self.land(id) else { return };
        match pending.purpose {
            Purpose::Caller(_) if renewed && refusal.errno == errno::ECANCELED => {
                self.push(pending.asked, pending.purpose);
            }
            Purpose::Caller(ticket) => self.done.push_back((ticket, Err(refusal.into()))),
            Purpose::Own if pending.asked.op == Op::Sync => {
                // They stand at the server, but it cannot make them durable: to keep them any
                // longer would hold everything up. The next sync of a caller tells.
                self.syncing = false;
                self.mourn("a sync", &refusal);
                let held = &mut self.held;
                self.kept.durable(u64::MAX, |handle| held.forget(handle));
            }
            Purpose::Own => {}
            Purpose::Handle(handle) => {
                self.held.forget(handle);
                self.mourn("a handle", &refusal);
            }
            Purpose::Lock => self.mourn("a lock", &refusal),
            Purpose::Again => self.mourn(pending.asked.op.name(), &refusal),
        }
    }

    fn mourn(&mut self, what: &str, refusal: &Refusal) {
        // The first says most.
        self.lost.get_or_insert_with(|| format!("{what}: {refusal}"));
    }

    /// More may be remembered at the server once the mark has moved, which something in flight or
    /// a sync brings about.
    fn may_make_room(&mut self, id: u64) -> bool {
        if self.pending.get(&id).is_some_and(|p| p.recovers) {
            return false;
        }
        if self.mark() == id && self.kept.is_empty() {
            return false;
        }
        if !self.syncing
            && let Ok(asked) = Asked::new(&Identity::default(), &calls::Sync {}, Bytes::new(), 0)
        {
            self.syncing = true;
            self.push(asked, Purpose::Own);
        }
        true
    }

    /// Takes a request out of the air and sends it again, behind what waits.
    fn once_more(&mut self, id: u64) {
        self.waiting.remove(&id);
        let Some(pending) = self.pending.get_mut(&id) else { return };
        pending.flying = false;
        self.flying -= 1;
        self.flying_bytes -= pending.asked.bytes();
        if pending.recovers {
            // Everything new waits for it.
            self.queue.push_front(id);
        } else {
            self.queue.push_back(id);
        }
    }

    /// A request is answered: it is pending no more.
    fn land(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.waiting.remove(&id);
        self.pending_bytes -= pending.asked.bytes();
        if pending.flying {
            self.flying -= 1;
            self.flying_bytes -= pending.asked.bytes();
        }
        self.recovering -= usize::from(pending.recovers);
        Some(pending)
    }

    fn complete(&mut self, id: u64, outcome: Outcome) {
        if let Some(pending) = self.land(id)
            && let Purpose::Caller(ticket) = pending.purpose
        {
            self.done.push_back((ticket, outcome));
        }
    }
}
