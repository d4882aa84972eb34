//! One connection: reads all that has arrived, runs it inline and in order, answers with one
//! vectored write; only what must wait becomes a pending call (DESIGN §8.1).

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BufMut;
use futures_util::{Stream, StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::watch,
    time::Sleep,
};

use std::sync::atomic::Ordering::Relaxed;

use crate::{
    call::Running,
    counters::bump,
    dispatch::{self, Started},
    limits::{ALWAYS_BYTES, OUT_BYTES, STARVED, TICK, TURN_BYTES, TURN_REQUESTS, WRITE_PIECES},
    peer::Peer,
    wire::{Inbound, OutQueue, Reply},
};

/// Why a connection ends.
enum End {
    /// The client closed it, and all is answered.
    Closed,
    /// The socket failed.
    Failed(io::Error),
    /// Broken framing.
    Malformed,
    /// An unfinished record, or replies that nobody reads.
    TimedOut(&'static str),
    /// The server stops.
    Stopped,
}

/// What is left to do after a connection: calls that were begun and may not be given up, because
/// a repeat of them may come on the next connection.
pub struct Leftover {
    calls: FuturesUnordered<Running>,
}

impl Leftover {
    /// Carries the calls to their end; the duplicate-request cache gets their replies.
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

/// A connection.
pub struct Conn {
    socket: TcpStream,
    peer: Rc<Peer>,
    inbound: Inbound,
    out: OutQueue,
    pending: Option<Box<FuturesUnordered<Running>>>,
    pending_bytes: usize,
    /// Share of the server's byte budget taken.
    charged: usize,
    /// Number of the record that asked for memory and may have it.
    admitted: Option<u64>,
    /// Bytes ever written.
    sent: u64,
    input_ended: bool,
    /// Wakes a connection that waits for something slow, and how long it sleeps.
    ticker: Option<(Pin<Box<Sleep>>, Duration)>,
    record_stall: Stall,
    reply_stall: Stall,
    stop: watch::Receiver<bool>,
}

impl Conn {
    /// A connection of `peer` over `socket`, until `stop` says true.
    pub fn new(socket: TcpStream, peer: Rc<Peer>, stop: watch::Receiver<bool>) -> Self {
        Self {
            socket,
            peer,
            inbound: Inbound::default(),
            out: OutQueue::default(),
            pending: None,
            pending_bytes: 0,
            charged: 0,
            admitted: None,
            sent: 0,
            input_ended: false,
            ticker: None,
            record_stall: Stall::default(),
            reply_stall: Stall::default(),
            stop,
        }
    }

    /// Serves it to its end.
    pub async fn run(mut self) -> Leftover {
        let mut stop = self.stop.clone();
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
        let reactor = &self.peer.reactor;
        let peer = self.peer.address;
        match end {
            End::Closed | End::Stopped => {}
            End::Failed(error) => tracing::debug!(%peer, %error, "connection lost"),
            End::Malformed => {
                bump(&reactor.counters.malformed, 1);
                tracing::info!(%peer, "connection closed: no RPC record can begin like this");
            }
            End::TimedOut(what) => {
                bump(&reactor.counters.timed_out, 1);
                tracing::info!(%peer, "connection closed: {what}");
            }
        }
        let calls = self.pending.take().map(|calls| *calls).unwrap_or_default();
        Leftover { calls: calls.into_iter().filter(Running::must_end).collect() }
    }

    /// One turn: everything that can be done now.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        bump(&self.peer.reactor.counters.wakes, 1);
        let result = self.work(cx);
        self.settle_account();
        match result {
            Ok(()) if self.finished() => Poll::Ready(End::Closed),
            Ok(()) => match self.tick(cx) {
                Some(end) => Poll::Ready(end),
                None => Poll::Pending,
            },
            Err(end) => Poll::Ready(end),
        }
    }

    fn finished(&self) -> bool {
        self.input_ended
            && self.out.is_empty()
            && self.in_flight() == 0
            && !self.inbound.has_record()
    }

    fn in_flight(&self) -> usize {
        self.pending.as_ref().map_or(0, |p| p.len())
    }

    fn work(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let mut turn = Turn { requests: TURN_REQUESTS, bytes: TURN_BYTES };
        let mut begun = false;
        loop {
            self.collect(cx);
            self.run_records(cx, &mut turn, &mut begun)?;
            let spent = turn.requests == 0 || turn.bytes == 0;
            let filled = if spent || !self.may_read() { Filled::Blocked } else { self.fill(cx)? };
            match filled {
                Filled::Some => continue,
                Filled::End => self.input_ended = true,
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
            let here = self.inbound.has_record() && self.may_begin();
            let there = held && self.may_read();
            if !here && !there {
                return Ok(());
            }
        }
    }

    /// Takes the replies of calls that have waited.
    fn collect(&mut self, cx: &mut Context<'_>) {
        let Some(pending) = &mut self.pending else { return };
        while let Poll::Ready(Some(done)) = Pin::new(&mut **pending).poll_next(cx) {
            let (reply, bytes) = done;
            self.pending_bytes -= bytes;
            if let Some(reply) = reply {
                push(&self.peer, &mut self.out, reply);
            }
        }
        if pending.is_empty() {
            self.pending = None;
        }
    }

    fn may_begin(&self) -> bool {
        let limits = &self.peer.reactor.service.limits;
        self.in_flight() < limits.calls
            && self.out.len() < OUT_BYTES
            && self.pending_bytes + self.out.len() < limits.connection_bytes
    }

    /// False while the client must wait for replies, or the server for memory.
    fn may_read(&self) -> bool {
        if self.input_ended || !self.may_begin() {
            return false;
        }
        let budget = &self.peer.reactor.service.budget;
        !budget.spent()
            || self.admitted_bytes() > 0
            || (self.in_flight() == 0 && self.inbound.expects() <= ALWAYS_BYTES)
    }

    /// Settles whether the record that is arriving may have its memory, if it is no small one. Once
    /// it may, it is read to its end: connections that wait for each other half way would wait for
    /// ever.
    fn admit(&mut self) {
        if self.inbound.needs() > 0 && !self.peer.reactor.service.budget.spent() {
            self.admitted = self.inbound.partial();
        }
    }

    /// Memory of the record that is arriving, if it had to ask and may have it.
    fn admitted_bytes(&self) -> usize {
        let this = self.admitted.is_some() && self.admitted == self.inbound.partial();
        if this { self.inbound.needs() } else { 0 }
    }

    /// Begins every whole record that the limits allow.
    fn run_records(
        &mut self,
        cx: &mut Context<'_>,
        turn: &mut Turn,
        begun: &mut bool,
    ) -> Result<(), End> {
        while turn.requests > 0 && turn.bytes > 0 && self.may_begin() {
            let record = self.inbound.next_record().map_err(|_| End::Malformed)?;
            let Some(record) = record else { return Ok(()) };
            let reactor = &self.peer.reactor;
            if !*begun {
                *begun = true;
                reactor.batch(self.peer.link.id);
            }
            reactor.more.set(self.inbound.has_record());
            turn.requests -= 1;
            let before = self.out.len();
            self.begin(cx, &record)?;
            let bytes = record.len() + self.out.len().saturating_sub(before);
            turn.bytes = turn.bytes.saturating_sub(bytes);
        }
        Ok(())
    }

    fn begin(&mut self, cx: &mut Context<'_>, record: &bytes::Bytes) -> Result<(), End> {
        let mut running = match dispatch::start(&self.peer, record) {
            Started::Reply(reply) => {
                push(&self.peer, &mut self.out, reply);
                return Ok(());
            }
            Started::Running(running) => running,
            Started::Nothing => return Ok(()),
            Started::Nonsense => return Err(End::Malformed),
        };
        match Pin::new(&mut running).poll(cx) {
            Poll::Ready((Some(reply), _)) => push(&self.peer, &mut self.out, reply),
            Poll::Ready((None, _)) => {}
            Poll::Pending => {
                running.set_pending();
                self.pending_bytes += running.record_bytes;
                self.pending.get_or_insert_default().push(running);
                // Polled once more by `collect`, which gives it a waker of its own.
                self.collect(cx);
            }
        }
        Ok(())
    }

    /// One receive.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Filled, End> {
        self.admit();
        let reactor = &self.peer.reactor;
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
        self.peer.link.hear(reactor.newest.load(Relaxed));
        Ok(if n == 0 { Filled::End } else { Filled::Some })
    }

    /// Writes as much as the socket takes.
    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        let counters = &self.peer.reactor.counters;
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
        Ok(())
    }

    /// Gives idle buffers back and settles the server's byte budget.
    fn settle_account(&mut self) {
        let reactor = &self.peer.reactor;
        if let Some(buffer) = self.inbound.give_back() {
            reactor.give_buffer(buffer);
        }
        if let Some(buffer) = self.out.give_back() {
            reactor.give_buffer(buffer);
        }
        let now = self.pending_bytes + self.out.len() + self.admitted_bytes();
        reactor.service.budget.adjust(self.charged, now);
        self.charged = now;
        self.peer.link.set_busy(now > 0 || self.in_flight() > 0);
    }

    /// Looks at slow things, and sees to it that they are looked at again.
    fn tick(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let partial = self.inbound.partial().filter(|_| self.may_read());
        // Held back by the server's budget: nothing of this connection will wake it.
        let starved = !self.input_ended && self.may_begin() && !self.may_read();
        let awaited = partial.is_some() || !self.out.is_empty() || starved;
        let mut slow = false;
        if let Some((ticker, step)) = &mut self.ticker {
            let step = *step;
            if ticker.as_mut().poll(cx).is_pending() {
                return None;
            }
            self.ticker = None;
            let limits = &self.peer.reactor.service.limits;
            if self.record_stall.tick(partial, step, limits.record) {
                return Some(End::TimedOut("a record was not completed in time"));
            }
            slow = self.record_stall.since > Duration::ZERO;
            let unread = (!self.out.is_empty()).then_some(self.sent);
            if self.reply_stall.tick(unread, step, limits.unread) {
                return Some(End::TimedOut("replies were not read"));
            }
        }
        if awaited {
            let step = if starved { STARVED } else { TICK };
            if let Some(buffer) = slow.then(|| self.inbound.shrink()).flatten() {
                self.peer.reactor.give_buffer(buffer);
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
        // Before the socket: from here on its number may mean another one.
        self.peer.link.close();
        let reactor = &self.peer.reactor;
        reactor.service.budget.adjust(self.charged, 0);
        bump(&reactor.counters.closed, 1);
    }
}

fn push(peer: &Peer, out: &mut OutQueue, reply: Reply) {
    let head = out.push(reply, || peer.reactor.buffer());
    peer.reactor.give_head(head);
}
