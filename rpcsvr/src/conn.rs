//! One connection: reads all that has arrived, runs it inline and in order, answers with one
//! vectored write; only what must wait becomes a pending request.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use futures_util::{Stream as _, StreamExt, stream::FuturesUnordered};
use rpc::{
    Frame, Header, Refusal, Wire,
    frame::AFTER,
    limits::{FRAME_BYTES, HELLO_BYTES},
    put_frame,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::{
    call::{Peer, Running},
    counters::bump,
    dispatch::{self, Started},
    door::{Door, Origin, Step},
    limits::{ALWAYS_BYTES, OUT_BYTES, STARVED, TICK, TURN_BYTES, TURN_REQUESTS, WRITE_PIECES},
    reactor::Reactor,
    stream::Stream,
    wire::{Inbound, OutQueue, Reply},
};

/// Why a connection ends.
enum End {
    /// The client closed it, and all is answered.
    Closed,
    /// The socket failed.
    Failed(io::Error),
    /// What arrived is no frame.
    Malformed(&'static str),
    /// The handshake was refused; the reason is on its way to the client.
    Refused(Refusal),
    /// A handshake or frame that does not end, or replies that nobody reads.
    TimedOut(&'static str),
    /// The server stops.
    Stopped,
}

/// What is left to do after a connection: requests that were begun and may not be given up, because
/// a repeat of them may come on the next connection.
pub struct Leftover {
    calls: FuturesUnordered<Running>,
}

impl Leftover {
    /// Carries the requests to their end; the session gets their replies.
    pub async fn finish(mut self) {
        while self.calls.next().await.is_some() {}
    }
}

/// What a turn may still do before it yields.
struct Turn {
    requests: u32,
    bytes: usize,
}

/// Where reading stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    Some,
    Blocked,
    End,
}

/// How long something has made no progress.
#[derive(Default)]
struct Stall {
    mark: u64,
    since: Duration,
}

impl Stall {
    /// `step` later: true when `mark` has been the same for `limit`. `None`: nothing is awaited.
    fn tick(&mut self, mark: Option<u64>, step: Duration, limit: Duration) -> bool {
        match mark {
            Some(mark) if self.mark == mark + 1 => self.since += step,
            Some(mark) => *self = Self { mark: mark + 1, since: Duration::ZERO },
            None => *self = Self::default(),
        }
        self.since >= limit
    }
}

/// How far it has come.
enum Stage {
    Handshake(Door),
    Open(Rc<Peer>),
    /// Refused: nothing further is read, and what is on its way is sent.
    Over,
}

/// A connection.
pub struct Conn {
    socket: Stream,
    reactor: Rc<Reactor>,
    origin: Origin,
    number: u64,
    stage: Stage,
    inbound: Inbound,
    out: OutQueue,
    pending: Option<Box<FuturesUnordered<Running>>>,
    pending_bytes: usize,
    /// Share of the server's byte budget taken.
    charged: usize,
    /// Number of the frame that asked for memory and may have it.
    admitted: Option<u64>,
    /// Bytes ever written.
    sent: u64,
    input_ended: bool,
    /// The client has closed its side: nobody waits for answers here.
    gone: bool,
    refused: Option<Refusal>,
    /// Wakes a connection that waits for something slow, and how long it sleeps.
    ticker: Option<(Pin<Box<Sleep>>, Duration)>,
    hello_stall: Stall,
    frame_stall: Stall,
    reply_stall: Stall,
}

impl Conn {
    /// A connection from `origin` over `socket`.
    pub fn new(socket: Stream, reactor: Rc<Reactor>, origin: Origin, number: u64) -> Self {
        Self {
            socket,
            reactor,
            origin,
            number,
            stage: Stage::Handshake(Door::Shut),
            inbound: Inbound::new(HELLO_BYTES),
            out: OutQueue::default(),
            pending: None,
            pending_bytes: 0,
            charged: 0,
            admitted: None,
            sent: 0,
            input_ended: false,
            gone: false,
            refused: None,
            ticker: None,
            hello_stall: Stall::default(),
            frame_stall: Stall::default(),
            reply_stall: Stall::default(),
        }
    }

    /// Serves it to its end.
    pub async fn run(mut self) -> Leftover {
        let mut stop = self.reactor.stop.clone();
        let stopped = stop.wait_for(|stop| *stop);
        tokio::pin!(stopped);
        let mut stopping = false;
        let end = poll_fn(|cx| {
            if !stopping && stopped.as_mut().poll(cx).is_ready() {
                stopping = true;
                // Nothing further is begun; what runs is answered.
                self.input_ended = true;
            }
            match self.turn(cx) {
                Poll::Ready(End::Closed) if stopping => Poll::Ready(End::Stopped),
                other => other,
            }
        })
        .await;
        self.close(&end)
    }

    fn close(mut self, end: &End) -> Leftover {
        let (from, counters) = (self.origin, &self.reactor.counters);
        match end {
            End::Closed | End::Stopped => {}
            End::Failed(error) => tracing::debug!(%from, %error, "connection lost"),
            End::Malformed(what) => {
                bump(&counters.malformed, 1);
                tracing::warn!(%from, "connection closed: {what}");
            }
            End::Refused(refusal) => {
                bump(&counters.strangers, 1);
                tracing::warn!(%from, "connection refused: {refusal}");
            }
            End::TimedOut(what) => {
                bump(&counters.timed_out, 1);
                tracing::info!(%from, "connection closed: {what}");
            }
        }
        let calls = self.pending.take().map(|calls| *calls).unwrap_or_default();
        Leftover { calls: calls.into_iter().filter(Running::must_end).collect() }
    }

    /// One turn: everything that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        bump(&self.reactor.counters.wakes, 1);
        let result = self.work(cx);
        self.settle_account();
        match result {
            Ok(()) if self.finished() => {
                Poll::Ready(self.refused.take().map_or(End::Closed, End::Refused))
            }
            Ok(()) => match self.tick(cx) {
                Some(end) => Poll::Ready(end),
                None => Poll::Pending,
            },
            Err(end) => Poll::Ready(end),
        }
    }

    fn finished(&self) -> bool {
        let nothing_more = match &self.stage {
            Stage::Over => true,
            Stage::Open(peer) => {
                peer.session.has_ended() || (self.input_ended && !self.inbound.has_frame())
            }
            Stage::Handshake(_) => self.input_ended && !self.inbound.has_frame(),
        };
        // What a client that is gone has asked for goes on without it (`Leftover`): a LOCK may wait
        // for longer than its session lives.
        let begun = !self.inbound.has_frame() || !self.may_begin();
        (nothing_more && self.out.is_empty() && self.in_flight() == 0) || (self.gone && begun)
    }

    fn in_flight(&self) -> usize {
        self.pending.as_ref().map_or(0, |p| p.len())
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut turn = Turn { requests: TURN_REQUESTS, bytes: TURN_BYTES };
        let mut begun = false;
        loop {
            self.collect(cx);
            self.run_frames(cx, &mut turn, &mut begun)?;
            let spent = turn.requests == 0 || turn.bytes == 0;
            let filled = if spent || !self.may_read() { Filled::Blocked } else { self.fill(cx)? };
            match filled {
                Filled::Some => continue,
                Filled::End => (self.input_ended, self.gone) = (true, true),
                Filled::Blocked => {}
            }
            let held = !self.may_read();
            self.flush(cx)?;
            if spent {
                cx.waker().wake_by_ref();
                return Ok(());
            }
            // Sending made room for what was held back: what is here already, or what is still in
            // the socket (which would not wake us, nobody having asked it).
            let here = self.inbound.has_frame() && self.may_begin();
            let there = held && self.may_read();
            if !here && !there {
                return Ok(());
            }
        }
    }

    /// Takes the replies of requests that have waited.
    fn collect(&mut self, cx: &mut Context<'_>) {
        let Some(pending) = &mut self.pending else { return };
        while let Poll::Ready(Some(done)) = Pin::new(&mut **pending).poll_next(cx) {
            let (reply, bytes) = done;
            self.pending_bytes -= bytes;
            if let Some(reply) = reply {
                push(&self.reactor, &mut self.out, reply);
            }
        }
        if pending.is_empty() {
            self.pending = None;
        }
    }

    fn may_begin(&self) -> bool {
        if matches!(self.stage, Stage::Over) {
            return false;
        }
        let limits = &self.reactor.service.limits;
        let in_flight = self.in_flight();
        in_flight < limits.requests
            && self.out.len() < OUT_BYTES
            && self.pending_bytes + self.out.len() < limits.connection_bytes
            && (in_flight == 0 || !self.is_after())
    }

    /// True when the frame at the front waits for everything before it.
    fn is_after(&self) -> bool {
        matches!(self.inbound.header(), Ok(Some(header)) if header.status & AFTER != 0)
    }

    /// False while the client must wait for replies, or the server for memory.
    fn may_read(&self) -> bool {
        if self.input_ended || !self.may_begin() {
            return false;
        }
        let budget = &self.reactor.service.budget;
        !budget.spent()
            || self.admitted_bytes() > 0
            || (self.in_flight() == 0 && self.inbound.expects() <= ALWAYS_BYTES)
    }

    /// Settles whether the frame that is arriving may have its memory, if it is no small one. Once
    /// it may, it is read to its end: connections that wait for each other half way would wait for
    /// ever.
    fn admit(&mut self) {
        if self.inbound.needs() > 0 && !self.reactor.service.budget.spent() {
            self.admitted = self.inbound.partial();
        }
    }

    /// Memory of the frame that is arriving, if it had to ask and may have it.
    fn admitted_bytes(&self) -> usize {
        let this = self.admitted.is_some() && self.admitted == self.inbound.partial();
        if this { self.inbound.needs() } else { 0 }
    }

    /// Begins every whole frame that the limits allow.
    fn run_frames(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        begun: &mut bool,
    ) -> Result<(), End> {
        while turn.requests > 0 && turn.bytes > 0 && self.may_begin() {
            let frame = self.inbound.next_frame().map_err(|e| End::Malformed(e.0))?;
            let Some(frame) = frame else { return Ok(()) };
            if !*begun {
                *begun = true;
                self.reactor.batch(self.number);
            }
            self.reactor.more.set(self.inbound.has_frame());
            turn.requests -= 1;
            let before = self.out.len();
            self.begin(cx, &frame)?;
            let bytes = frame.len() + self.out.len().saturating_sub(before);
            turn.bytes = turn.bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    fn begin(&mut self, cx: &mut Context<'_>, bytes: &Bytes) -> Result<(), End> {
        let frame = Frame::of(bytes).map_err(|e| End::Malformed(e.0))?;
        let peer = match &mut self.stage {
            Stage::Open(peer) => peer,
            Stage::Handshake(_) => {
                self.handshake(&frame);
                return Ok(());
            }
            Stage::Over => return Ok(()),
        };
        let mut running = match dispatch::start(peer, &frame, bytes.len()) {
            Ok(Started::Reply(reply)) => {
                push(&self.reactor, &mut self.out, reply);
                return Ok(());
            }
            Ok(Started::Running(running)) => running,
            Ok(Started::Nothing) => return Ok(()),
            Err(malformed) => return Err(End::Malformed(malformed.0)),
        };
        match Pin::new(&mut running).poll(cx) {
            Poll::Ready((Some(reply), _)) => push(&self.reactor, &mut self.out, reply),
            Poll::Ready((None, _)) => {}
            Poll::Pending => {
                running.set_pending();
                self.pending_bytes += running.frame_bytes;
                self.pending.get_or_insert_default().push(running);
                // Polled once more by `collect`, which gives it a waker of its own.
                self.collect(cx);
            }
        }
        Ok(())
    }

    fn handshake(&mut self, frame: &Frame) {
        let Stage::Handshake(door) = &mut self.stage else { return };
        let mut head = self.reactor.head();
        let header = Header { id: frame.header.id, op: frame.header.op, ..Header::default() };
        match door.knock(&self.reactor.service, self.origin, frame) {
            Ok(Step::Ask(answer)) => put_frame(&mut head, header, 0, |out| answer.put(out)),
            Ok(Step::Enter(answer, session)) => {
                put_frame(&mut head, header, 0, |out| answer.put(out));
                tracing::debug!(from = %self.origin, client = session.label, "session joined");
                let reactor = self.reactor.clone();
                self.stage = Stage::Open(Rc::new(Peer::new(reactor, session, self.number)));
                self.inbound.most = FRAME_BYTES;
            }
            Err(refusal) => {
                let header = Header { status: refusal.errno, ..header };
                let text = rpc::Text::from(refusal.text.as_str());
                put_frame(&mut head, header, 0, |out| text.put(out));
                self.refused = Some(refusal);
                self.stage = Stage::Over;
            }
        }
        push(&self.reactor, &mut self.out, Reply { head, ..Reply::default() });
    }

    /// One receive.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Filled, End> {
        self.admit();
        let reactor = &self.reactor;
        let buffer = self.inbound.room(|| reactor.buffer());
        let chunk = buffer.chunk_mut();
        // SAFETY: `ReadBuf` never un-initialises what it is given, and only the bytes that it says
        // are filled are added to the buffer's length below.
        let mut into = ReadBuf::uninit(unsafe { chunk.as_uninit_slice_mut() });
        match Pin::new(&mut self.socket).poll_read(cx, &mut into) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Err(End::Failed(error)),
            Poll::Pending => return Ok(Filled::Blocked),
        }
        let n = into.filled().len();
        // SAFETY: the first `n` bytes of the spare room were just filled.
        unsafe { buffer.advance_mut(n) };
        bump(&reactor.counters.receives, 1);
        bump(&reactor.counters.bytes_in, n as u64);
        Ok(if n == 0 { Filled::End } else { Filled::Some })
    }

    /// Writes as much as the socket takes.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let counters = &self.reactor.counters;
        while !self.out.is_empty() {
            let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
            let n = self.out.slices(&mut slices);
            match Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..n]) {
                Poll::Ready(Ok(0)) => return Err(End::Failed(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    self.out.written(n);
                    self.sent += n as u64;
                    bump(&counters.sends, 1);
                    bump(&counters.bytes_out, n as u64);
                }
                Poll::Ready(Err(error)) => return Err(End::Failed(error)),
                Poll::Pending => break,
            }
        }
        // TLS has a buffer of its own.
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(End::Failed(error)),
            _ => Ok(()),
        }
    }

    /// Gives idle buffers back and settles the server's byte budget.
    fn settle_account(&mut self) {
        let reactor = &self.reactor;
        if let Some(buffer) = self.inbound.give_back() {
            reactor.give_buffer(buffer);
        }
        if let Some(buffer) = self.out.give_back() {
            reactor.give_buffer(buffer);
        }
        let now = self.pending_bytes + self.out.len() + self.admitted_bytes();
        reactor.service.budget.adjust(self.charged, now);
        self.charged = now;
    }

    /// Looks at slow things, and sees to it that they are looked at again.
    fn tick(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let shaking = matches!(self.stage, Stage::Handshake(_)).then_some(0);
        let partial = self.inbound.partial().filter(|_| self.may_read());
        // Held back by the server's budget: nothing of this connection will wake it.
        let starved = !self.input_ended && self.may_begin() && !self.may_read();
        let awaited = shaking.is_some() || partial.is_some() || !self.out.is_empty() || starved;
        let mut slow = false;
        if let Some((ticker, step)) = &mut self.ticker {
            let step = *step;
            if ticker.as_mut().poll(cx).is_pending() {
                return None;
            }
            self.ticker = None;
            let limits = &self.reactor.service.limits;
            if self.hello_stall.tick(shaking, step, limits.hello) {
                return Some(End::TimedOut("the handshake was not completed in time"));
            }
            if self.frame_stall.tick(partial, step, limits.frame) {
                return Some(End::TimedOut("a frame was not completed in time"));
            }
            slow = self.frame_stall.since > Duration::ZERO;
            let unread = (!self.out.is_empty()).then_some(self.sent);
            if self.reply_stall.tick(unread, step, limits.unread) {
                return Some(End::TimedOut("replies were not read"));
            }
        }
        if awaited {
            let step = if starved { STARVED } else { TICK };
            if let Some(buffer) = slow.then(|| self.inbound.shrink()).flatten() {
                self.reactor.give_buffer(buffer);
            }
            let mut sleep = Box::pin(tokio::time::sleep(step));
            // Cannot be over yet; asks to be woken. The next turn reads again what was held back.
            let _ = sleep.as_mut().poll(cx);
            self.ticker = Some((sleep, step));
        }
        None
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let service = &self.reactor.service;
        if let Stage::Open(peer) = &self.stage {
            peer.session.leave(service.env.clock.monotonic());
        }
        service.budget.adjust(self.charged, 0);
        bump(&self.reactor.counters.closed, 1);
    }
}

fn push(reactor: &Reactor, out: &mut OutQueue, mut reply: Reply) {
    // What is durable is said as late as possible.
    let durable = reactor.service.volume.durable().0;
    if let Some(mark) = reply.head.get_mut(24..32) {
        mark.copy_from_slice(&durable.to_le_bytes());
    }
    let head = out.push(reply, || reactor.buffer());
    reactor.give_head(head);
}
