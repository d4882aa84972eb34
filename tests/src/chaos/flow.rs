//! One client's connection and its counterpart to the store.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::answer::{Answer, WHOLE_BYTES, wait};
use super::memory::Shown;
use super::rules::{At, Cut, Fault, Verb};
use super::wire::{Body, Head, Source, put_end, put_piece};
use super::{Gate, Planned, Seen, Shared, Waiting};
use crate::load::now;

/// Longest time a body is still taken after the store has answered.
const LATE_BODY: Duration = Duration::from_secs(5);
/// Where a place is to be chosen in a body of unknown length: in its first so many bytes.
const UNKNOWN_BYTES: u64 = 1 << 20;

struct Half {
    from: Source<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl Half {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (from, to) = stream.into_split();
        Ok(Self { from: Source::new(from), to })
    }

    /// Ends the connection at its drop, with a reset or in order.
    fn ends_with(&self, how: Cut) {
        let socket = socket2::SockRef::from(self.to.as_ref());
        let linger = (how == Cut::Rst).then_some(Duration::ZERO);
        let _ = socket.set_linger(linger);
    }
}

/// What a request's body is turned into on its way, positions in bytes of the body.
#[derive(Clone, Copy, Default)]
struct Edits {
    cut: Option<(u64, Cut)>,
    ends: Option<u64>,
    flips: Option<u64>,
    in_head: Option<Cut>,
}

/// How the sending of a request ended.
enum Sent {
    Whole,
    Cut(Cut),
    /// The store takes no more; perhaps it has said why.
    Refused,
}

struct Flow {
    shared: Arc<Shared>,
    client: Half,
    store: Option<Half>,
    /// The answer of the request before, once this connection is one behind.
    behind: Option<Answer>,
    /// What is noted of the request under way.
    seen: Option<Seen>,
}

/// Serves one client until either side ends, the gate closes, or a rule cuts.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut gate = shared.gate.subscribe();
    let Ok(client) = Half::new(client) else { return };
    let mut flow = Flow { shared, client, store: None, behind: None, seen: None };
    let over = tokio::select! {
        _ = flow.run() => false,
        _ = gate.wait_for(|g| *g != Gate::Open) => true,
    };
    if over {
        flow.client.ends_with(Cut::Rst);
        if let Some(store) = &flow.store {
            store.ends_with(Cut::Rst);
        }
    }
    flow.note(0);
}

/// Turns one bit of the byte at `flip`, if it lies in the piece that begins at `at`.
fn turned(piece: Bytes, at: u64, flip: Option<u64>) -> (Bytes, bool) {
    let index = flip.and_then(|f| f.checked_sub(at)).and_then(|i| usize::try_from(i).ok());
    match index {
        Some(i) if i < piece.len() => {
            let mut own = BytesMut::from(&piece[..]);
            own[i] ^= 1;
            (own.freeze(), true)
        }
        _ => (piece, false),
    }
}

impl Flow {
    async fn run(&mut self) -> io::Result<()> {
        while let Some(head) = self.next_head().await? {
            self.shared.requests.fetch_add(1, Relaxed);
            let many = self.shared.inflight.fetch_add(1, Relaxed) + 1;
            self.shared.most_inflight.fetch_max(many, Relaxed);
            let verb = Verb::of(&head);
            let began = now() - self.shared.begin;
            let path = super::wire::decoded(head.path());
            let seen =
                Seen { verb, path, began, ended: began, status: 0, up: 0, down: 0, rule: None };
            self.seen = Some(seen);
            let planned = self.shared.decide(verb, &head);
            let keeps = self.exchange(verb, &head, planned).await;
            self.note(0);
            if !keeps? {
                break;
            }
        }
        self.client.to.shutdown().await
    }

    /// The next request; `None` once either side has ended the connection. What the store says
    /// without having been asked (some send a last chunk behind an answer that has no body) is
    /// passed on.
    async fn next_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            let Some(store) = &mut self.store else { return self.client.from.head().await };
            let unasked = tokio::select! {
                head = self.client.from.head() => return head,
                unasked = store.from.unasked() => unasked?,
            };
            if unasked.is_empty() {
                return Ok(None);
            }
            self.client.to.write_all(&unasked).await?;
        }
    }

    /// Files what was noted of the request under way.
    fn note(&mut self, status: u16) {
        let Some(mut seen) = self.seen.take() else { return };
        self.shared.inflight.fetch_sub(1, Relaxed);
        seen.ended = now() - self.shared.begin;
        if status != 0 {
            seen.status = status;
        }
        let mut all = self.shared.seen.lock();
        if all.len() < super::SEEN {
            all.push(seen);
        }
    }

    fn did(&mut self, planned: &Planned) {
        planned.done.fetch_add(1, Relaxed);
        if let Some(seen) = &mut self.seen {
            seen.rule = Some(planned.name.clone());
        }
    }

    fn answered(&mut self, answer: &Answer) {
        if let Some(seen) = &mut self.seen {
            (seen.status, seen.down) = (answer.head.status(), answer.body.len() as u64);
        }
    }

    async fn connect(&mut self) -> io::Result<()> {
        if self.store.is_none() {
            let addr = *self.shared.store.lock();
            self.store = Some(Half::new(TcpStream::connect(addr).await?)?);
        }
        Ok(())
    }

    /// One request and its answer; false ends the connection.
    async fn exchange(
        &mut self,
        verb: Verb,
        head: &Head,
        planned: Option<Planned>,
    ) -> io::Result<bool> {
        let latency = self.shared.line.lock().latency();
        wait(latency).await;
        if head.field("expect").is_some() && (planned.is_some() || self.behind.is_some()) {
            // What is taken whole must be asked for: the store's own "go on" is not passed on then.
            self.client.to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let Some(planned) = planned else { return self.pass(verb, head).await };
        match planned.fault.clone() {
            Fault::Delay { least, jitter } => {
                wait(Duration::from_millis(least + self.shared.dice.below(jitter + 1))).await;
                self.did(&planned);
                self.pass(verb, head).await
            }
            Fault::Answer { status, retry_after, after } => {
                if after {
                    self.fetch(verb, head, Edits::default()).await?;
                } else {
                    let n = self.client.from.drain(&mut head.request_body()).await?;
                    self.seen.iter_mut().for_each(|s| s.up = n);
                }
                self.did(&planned);
                self.give(&Answer::error(status, retry_after, head.method())).await?;
                Ok(!head.closes())
            }
            Fault::CutRequest { at, how } => {
                let edits = match at {
                    At::Head => Edits { in_head: Some(how), ..Edits::default() },
                    at => Edits {
                        cut: Some((self.place(at, head.length()), how)),
                        ..Edits::default()
                    },
                };
                self.altered(verb, head, edits, &planned).await
            }
            Fault::TruncateRequest { at } => {
                let ends = Some(self.place(at, head.length()));
                self.altered(verb, head, Edits { ends, ..Edits::default() }, &planned).await
            }
            Fault::CorruptRequest { at } => {
                let flips = Some(self.place(at, head.length()));
                self.altered(verb, head, Edits { flips, ..Edits::default() }, &planned).await
            }
            Fault::Stall { ms, lands } => self.stall(head, &planned, ms, lands).await,
            fault => self.answer_fault(verb, head, &planned, fault).await,
        }
    }

    /// A place as a number of bytes.
    fn place(&self, at: At, length: Option<u64>) -> u64 {
        match at {
            At::Head => 0,
            At::Byte(n) => n,
            At::Somewhere => self.shared.dice.below(length.unwrap_or(UNKNOWN_BYTES).max(1)),
            At::End => length.unwrap_or(u64::MAX),
        }
    }

    /// Passes a request and its answer on as they come.
    async fn pass(&mut self, verb: Verb, head: &Head) -> io::Result<bool> {
        if self.behind.is_some() {
            if !self.shared.shifts() {
                // The harm is over: what is out of step ends.
                self.client.ends_with(Cut::Rst);
                return Ok(false);
            }
            return self.shifted(verb, head, None).await;
        }
        self.connect().await?;
        let (shared, closes) = (self.shared.clone(), head.closes());
        let keep = verb == Verb::Put && shared.remembers_bodies();
        let Self { client, store, seen, .. } = self;
        let Some(store) = store else { return Ok(false) };
        let (mut up, mut body) = (0, keep.then(BytesMut::new));
        let sending = send(
            &shared,
            head,
            Edits::default(),
            &mut client.from,
            &mut store.to,
            (&mut up, &mut body),
        );
        let receiving = stream(&shared, head.method(), &mut store.from, &mut client.to);
        let (sent, got) = both(sending, receiving).await?;
        let Some((answer, down, goes_on)) = got else { return Ok(false) };
        seen.iter_mut().for_each(|s| (s.up, s.status, s.down) = (up, answer.status(), down));
        remember(&shared, verb, head, &answer, body);
        Ok(matches!(sent, Sent::Whole) && goes_on && !closes && !answer.closes())
    }

    /// Passes a request on, changed or not, and takes the whole answer; `None` where it was cut.
    async fn fetch(&mut self, verb: Verb, head: &Head, edits: Edits) -> io::Result<Option<Answer>> {
        self.connect().await?;
        let shared = self.shared.clone();
        let Self { client, store, seen, .. } = self;
        let Some(store) = store else { return Ok(None) };
        let (mut up, mut body) = (0, shared.remembers_bodies().then(BytesMut::new));
        let sending =
            send(&shared, head, edits, &mut client.from, &mut store.to, (&mut up, &mut body));
        let receiving = whole(head.method(), &mut store.from);
        let (sent, answer) = both(sending, receiving).await?;
        if let Sent::Cut(how) = sent {
            store.ends_with(how);
            client.ends_with(how);
        }
        seen.iter_mut().for_each(|s| s.up = up);
        let Some(answer) = answer else { return Ok(None) };
        remember(&shared, verb, head, &answer.head, body);
        Ok(Some(answer))
    }

    /// Gives the client an answer.
    async fn give(&mut self, answer: &Answer) -> io::Result<()> {
        self.answered(answer);
        self.shared.down.take(answer.body.len()).await;
        answer.write(&mut self.client.to).await
    }

    /// A request that is changed on its way; its answer is the store's own.
    async fn altered(
        &mut self,
        verb: Verb,
        head: &Head,
        edits: Edits,
        planned: &Planned,
    ) -> io::Result<bool> {
        self.did(planned);
        match self.fetch(verb, head, edits).await? {
            None => Ok(false),
            Some(answer) => {
                self.give(&answer).await?;
                // A store that got a shorter body is in step; one that got none may not be.
                Ok(!head.closes() && !answer.head.closes())
            }
        }
    }

    /// Takes the request, and lets it land later, whether its client still waits or not.
    async fn stall(
        &mut self,
        head: &Head,
        planned: &Planned,
        ms: u64,
        lands: bool,
    ) -> io::Result<bool> {
        let body = self.client.from.whole(&mut head.request_body(), WHOLE_BYTES).await?;
        self.seen.iter_mut().for_each(|s| s.up = body.len() as u64);
        let (shared, head, done) = (self.shared.clone(), head.clone(), planned.done.clone());
        let (back, mut answer) = oneshot::channel();
        let begun = now() - shared.begin;
        let name = planned.name.clone();
        tokio::spawn(async move {
            wait(Duration::from_millis(ms)).await;
            if lands && let Ok(answer) = late(&shared, &head, body, begun, &name).await {
                done.fetch_add(1, Relaxed);
                let _ = back.send(answer);
            } else if !lands {
                done.fetch_add(1, Relaxed);
            }
        });
        self.seen.iter_mut().for_each(|s| s.rule = Some(planned.name.clone()));
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = self.client.from.gone() => return Ok(false),
        };
        match answer {
            Ok(answer) => self.give(&answer).await.map(|()| false),
            Err(_) => Ok(false),
        }
    }

    /// Faults that are done to the answer.
    async fn answer_fault(
        &mut self,
        verb: Verb,
        head: &Head,
        planned: &Planned,
        fault: Fault,
    ) -> io::Result<bool> {
        if fault == Fault::Shift {
            return self.shifted(verb, head, Some(planned)).await;
        }
        let Some(answer) = self.fetch(verb, head, Edits::default()).await? else {
            return Ok(false);
        };
        let keeps = !head.closes() && !answer.head.closes();
        let length = answer.body.len() as u64;
        let changed = match fault {
            Fault::CutAnswer { at, how } => {
                return self.cut_answer(planned, &answer, at, how).await;
            }
            Fault::Swap { wait } => {
                return self.swap(head, planned, answer, wait).await.map(|()| keeps);
            }
            Fault::Duplicate => {
                self.did(planned);
                self.give(&answer).await?;
                Some(answer.clone())
            }
            Fault::TruncateAnswer { at } if length > 0 => {
                let n = usize::try_from(self.place(at, Some(length)).min(length - 1)).unwrap_or(0);
                Some(answer.clone().with_body(answer.body.slice(..n)))
            }
            // A place behind the end is in none of its bytes.
            Fault::CorruptAnswer { at: At::Byte(n) } if n >= length => None,
            Fault::CorruptAnswer { at } if length > 0 => {
                let flip = self.place(at, Some(length)).min(length - 1);
                let body = turned(answer.body.clone(), 0, Some(flip)).0;
                Some(Answer { head: answer.head.clone(), body })
            }
            Fault::Other | Fault::Old => self.another(head, &answer, &fault),
            Fault::Lag { ms } => {
                let lag = Duration::from_millis(ms);
                let shown = self.shared.memory.lock().lagging(&answer.body, lag, now());
                shown.map(|body| answer.clone().with_body(body.into()))
            }
            _ => None,
        };
        if let Some(changed) = &changed
            && fault != Fault::Duplicate
        {
            self.did(planned);
            return self.give(changed).await.map(|()| keeps);
        }
        if changed.is_none() {
            self.shared.give_back(planned);
        }
        self.give(&answer).await.map(|()| keeps)
    }

    /// What a store would say that mixes up objects, or versions.
    fn another(&self, request: &Head, answer: &Answer, fault: &Fault) -> Option<Answer> {
        let path = super::wire::decoded(request.path());
        let memory = self.shared.memory.lock();
        if *fault == Fault::Old {
            return match memory.old(&path)? {
                Shown::Absent => Some(Answer::error(404, None, request.method())),
                Shown::Bytes(body) => Some(answer.clone().of_object(request, &body, None)),
            };
        }
        let range = request.field("range").unwrap_or("bytes=0-");
        let from = super::answer::range(range, u64::MAX).map_or(0, |(from, _)| from);
        let (body, etag) = memory.other(&path, from)?;
        (answer.head.status() / 100 == 2)
            .then(|| answer.clone().of_object(request, &body, etag.as_deref()))
    }

    async fn cut_answer(
        &mut self,
        planned: &Planned,
        answer: &Answer,
        at: At,
        how: Cut,
    ) -> io::Result<bool> {
        let (head, length) = (answer.head.encode(), answer.body.len() as u64);
        let part = match at {
            At::Head => head.slice(..head.len() / 2),
            at => {
                let n = usize::try_from(self.place(at, Some(length)).min(length)).unwrap_or(0);
                [&head[..], &answer.body[..n]].concat().into()
            }
        };
        self.did(planned);
        self.client.to.write_all(&part).await?;
        self.client.to.flush().await?;
        // A reset throws away what the other side has not read: give it the time to.
        wait(Duration::from_millis(20)).await;
        self.client.ends_with(how);
        Ok(false)
    }

    /// Gives this request the answer of the one before it. `planned` starts it: then this request
    /// still gets its own.
    async fn shifted(
        &mut self,
        verb: Verb,
        head: &Head,
        planned: Option<&Planned>,
    ) -> io::Result<bool> {
        let Some(answer) = self.fetch(verb, head, Edits::default()).await? else {
            return Ok(false);
        };
        let keeps = !head.closes() && !answer.head.closes();
        if let Some(planned) = planned {
            self.did(planned);
        }
        let before = self.behind.replace(answer.clone());
        self.give(&before.unwrap_or(answer)).await?;
        Ok(keeps)
    }

    /// Changes places with the answer to another such request.
    async fn swap(
        &mut self,
        head: &Head,
        planned: &Planned,
        answer: Answer,
        ms: u64,
    ) -> io::Result<()> {
        let path = head.path().to_owned();
        let partner = {
            let mut place = self.shared.swap.lock();
            let fits = place.as_ref().is_some_and(|w| w.path != path && !w.back.is_closed());
            if fits { place.take() } else { None }
        };
        if let Some(partner) = partner {
            let _ = partner.back.send(answer);
            self.did(planned);
            return self.give(&partner.answer).await;
        }
        let (back, theirs) = oneshot::channel();
        let own = answer.clone();
        *self.shared.swap.lock() = Some(Waiting { path, answer, back });
        match tokio::time::timeout(Duration::from_millis(ms), theirs).await {
            Ok(Ok(theirs)) => {
                self.did(planned);
                self.give(&theirs).await
            }
            // Nobody came, or a third took the place.
            _ => {
                self.shared.give_back(planned);
                self.give(&own).await
            }
        }
    }
}

/// Remembers an object that the store took, or gave up.
fn remember(shared: &Shared, verb: Verb, head: &Head, answer: &Head, body: Option<BytesMut>) {
    if answer.status() / 100 != 2 {
        return;
    }
    let path = super::wire::decoded(head.path());
    let mut memory = shared.memory.lock();
    match verb {
        Verb::Put => {
            let etag = answer.field("etag").map(str::to_owned);
            memory.put(&path, body.map(BytesMut::freeze), etag, now());
        }
        Verb::Delete => memory.deleted(&path, now()),
        _ => {}
    }
}

/// Sends a request, changed as `edits` say. Counts the bytes that came and keeps them if wanted.
async fn send(
    shared: &Shared,
    head: &Head,
    edits: Edits,
    from: &mut Source<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    (up, keep): (&mut u64, &mut Option<BytesMut>),
) -> io::Result<Sent> {
    let mut framing = head.request_body();
    let chunked = matches!(framing, Body::Chunked(_));
    let mut changed = head.clone();
    if let (Some(end), Some(n)) = (edits.ends, head.length()) {
        changed.set("Content-Length", end.min(n));
    }
    let text = changed.encode();
    if let Some(how) = edits.in_head {
        let _ = to.write_all(&text[..text.len() / 2]).await;
        return Ok(Sent::Cut(how));
    }
    if to.write_all(&text).await.is_err() {
        return Ok(Sent::Refused);
    }
    let (ends, cut) = (edits.ends.unwrap_or(u64::MAX), edits.cut.map_or(u64::MAX, |c| c.0));
    let stop = ends.min(cut);
    let mut at = 0u64;
    while let Some(piece) = from.piece(&mut framing).await? {
        let n = piece.len() as u64;
        if let Some(kept) = keep
            && kept.len() + piece.len() <= WHOLE_BYTES
        {
            kept.extend_from_slice(&piece);
        }
        let room = usize::try_from(stop.saturating_sub(at)).unwrap_or(usize::MAX);
        let part = turned(piece.slice(..piece.len().min(room)), at, edits.flips).0;
        if !part.is_empty() {
            shared.up.take(part.len()).await;
            if put_piece(to, chunked, part).await.is_err() {
                return Ok(Sent::Refused);
            }
        }
        at += n;
        *up = at;
        if at > cut {
            break;
        }
    }
    if let Some((_, how)) = edits.cut {
        return Ok(Sent::Cut(how));
    }
    match put_end(to, chunked).await {
        Ok(()) => Ok(Sent::Whole),
        Err(_) => Ok(Sent::Refused),
    }
}

/// Takes a whole answer; those that only say "go on" are left out.
async fn whole(method: &str, from: &mut Source<OwnedReadHalf>) -> io::Result<Answer> {
    loop {
        let Some(head) = from.head().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if head.is_answer() && head.status() / 100 != 1 {
            return Answer::collect(head, method, from).await;
        }
    }
}

/// Passes an answer on as it comes; gives its head, its bytes and whether the connection goes on.
async fn stream(
    shared: &Shared,
    method: &str,
    from: &mut Source<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
) -> io::Result<(Head, u64, bool)> {
    loop {
        let Some(head) = from.head().await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        to.write_all(&head.encode()).await?;
        if !head.is_answer() || head.status() / 100 == 1 {
            continue;
        }
        let mut framing = head.answer_body(method);
        let (chunked, ends) = (matches!(framing, Body::Chunked(_)), framing == Body::ToEnd);
        let mut n = 0;
        while let Some(piece) = from.piece(&mut framing).await? {
            n += piece.len() as u64;
            shared.down.take(piece.len()).await;
            put_piece(to, chunked, piece).await?;
        }
        put_end(to, chunked).await?;
        return Ok((head, n, !ends));
    }
}

/// Sends and receives at once. A store may answer before it has the whole body: then the rest is
/// still taken for a while. Gives how the sending ended; a cut request has no answer.
async fn both<T>(
    sending: impl Future<Output = io::Result<Sent>>,
    receiving: impl Future<Output = io::Result<T>>,
) -> io::Result<(Sent, Option<T>)> {
    tokio::pin!(sending, receiving);
    tokio::select! {
        sent = &mut sending => match sent? {
            Sent::Cut(how) => Ok((Sent::Cut(how), None)),
            sent => Ok((sent, Some(receiving.await?))),
        },
        got = &mut receiving => {
            let got = got?;
            let rest = tokio::time::timeout(LATE_BODY, &mut sending).await;
            Ok((rest.unwrap_or(Ok(Sent::Refused)).unwrap_or(Sent::Refused), Some(got)))
        }
    }
}

/// A request that was kept lands now, over a connection of its own.
async fn late(
    shared: &Shared,
    head: &Head,
    body: Bytes,
    began: Duration,
    name: &str,
) -> io::Result<Answer> {
    let addr = *shared.store.lock();
    let mut store = Half::new(TcpStream::connect(addr).await?)?;
    let mut own = head.clone();
    own.remove("expect");
    if own.length().is_none() && !body.is_empty() {
        own.remove("transfer-encoding");
        own.set("Content-Length", body.len());
    }
    let up = body.len() as u64;
    store.to.write_all(&own.encode()).await?;
    store.to.write_all(&body).await?;
    let answer = whole(head.method(), &mut store.from).await?;
    let keep = shared.remembers_bodies().then(|| BytesMut::from(&body[..]));
    remember(shared, Verb::of(head), head, &answer.head, keep);
    let path = super::wire::decoded(head.path());
    let (status, down) = (answer.head.status(), answer.body.len() as u64);
    let (verb, rule) = (Verb::of(head), Some(format!("{name}, landed")));
    let ended = now() - shared.begin;
    shared.seen.lock().push(Seen { verb, path, began, ended, status, up, down, rule });
    Ok(answer)
}
