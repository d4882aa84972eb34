//! One request: what it needs to run, how its reply is made, and how it waits.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use fs::{Caller, Failure, FileId, FsError, RequestTag, Seq, SyncMode, Volume};
use rpc::{
    Header, Malformed, Object, Op, Refusal, Text, Wire,
    errno::{self, EBADF},
    frame::DURABLE,
    put_frame,
};

use crate::{
    counters::{Outcome, bump},
    reactor::Reactor,
    service::Service,
    session::{Elsewhere, Handle, Session, Ticket, Waiter},
    wire::Reply,
};

/// A request that runs.
pub type CallFuture = Pin<Box<dyn Future<Output = Reply>>>;

/// A connection whose session stands.
pub struct Peer {
    /// Its reactor.
    pub reactor: Rc<Reactor>,
    /// Its session.
    pub session: Arc<Session>,
    /// Its number.
    pub number: u64,
}

impl Peer {
    /// Connection `number` of `session`.
    pub fn new(reactor: Rc<Reactor>, session: Arc<Session>, number: u64) -> Self {
        Self { reactor, session, number }
    }
}

/// Why a request failed.
#[derive(Debug)]
pub struct Fail(pub Refusal);

impl Fail {
    /// In the error's own words.
    pub fn of(errno: u16) -> Self {
        Self(Refusal::new(errno, errno::words(errno)))
    }

    /// In words of its own.
    pub fn saying(errno: u16, text: &str) -> Self {
        Self(Refusal::new(errno, text))
    }
}

impl From<FsError> for Fail {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Fenced => Self::saying(errno::EIO, "another server has taken the volume"),
            other => Self::of(errno_of(other)),
        }
    }
}

impl From<Failure> for Fail {
    fn from(failure: Failure) -> Self {
        failure.error.into()
    }
}

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

/// The one place where POSIX's words become numbers.
pub fn errno_of(error: FsError) -> u16 {
    match error {
        FsError::Perm => errno::EPERM,
        FsError::NoEnt => errno::ENOENT,
        FsError::Io | FsError::Fenced => errno::EIO,
        FsError::Nxio => errno::ENXIO,
        FsError::Access => errno::EACCES,
        FsError::Exist => errno::EEXIST,
        FsError::XDev => errno::EXDEV,
        FsError::NotDir => errno::ENOTDIR,
        FsError::IsDir => errno::EISDIR,
        FsError::Inval => errno::EINVAL,
        FsError::FBig => errno::EFBIG,
        FsError::NoSpc => errno::ENOSPC,
        FsError::RoFs => errno::EROFS,
        FsError::MLink => errno::EMLINK,
        FsError::NameTooLong => errno::ENAMETOOLONG,
        FsError::NotEmpty => errno::ENOTEMPTY,
        FsError::Stale => errno::ESTALE,
        FsError::NotSupp => errno::EOPNOTSUPP,
        FsError::NoData => errno::ENODATA,
        FsError::Range => errno::ERANGE,
        FsError::NotSync => errno::EBUSY,
        FsError::TryLater => errno::EHOSTDOWN,
    }
}

/// What surrounds one request.
pub struct Cx {
    /// The connection.
    pub peer: Rc<Peer>,
    /// The operation.
    pub op: Op,
    /// Request id.
    pub id: u64,
    /// Flags.
    pub flags: u16,
    /// Who asks.
    pub caller: Caller,
    /// How the request is remembered, if it must be (R23).
    pub tag: Option<RequestTag>,
}

impl Cx {
    /// The shared part of the server.
    pub fn service(&self) -> &Service {
        &self.peer.reactor.service
    }

    /// The files.
    pub fn volume(&self) -> &Volume {
        &self.service().volume
    }

    /// What `fs` wants to know of a change.
    pub fn context(&self) -> fs::Context {
        let request = self.tag.clone().map(|tag| (tag, self.op as u8));
        fs::Context { caller: self.caller.clone(), request }
    }

    /// A handle of the session.
    pub fn handle(&self, number: u32) -> Result<Handle, Fail> {
        self.peer.session.handle(number).ok_or_else(|| Fail::of(EBADF))
    }

    /// The inode that an object is, and the handle if it is one.
    pub fn object(&self, object: Object) -> Result<(FileId, Option<Handle>), Fail> {
        match object {
            Object::Root => Ok((self.volume().root(), None)),
            Object::Id(id) => Ok((FileId { ino: id.ino, generation: id.generation }, None)),
            Object::Handle(number) => {
                let handle = self.handle(number)?;
                Ok((handle.id, Some(handle)))
            }
        }
    }

    /// A successful reply with `body`.
    pub fn reply(&self, body: &impl Wire) -> Reply {
        self.reply_with(body, Vec::new())
    }

    /// A successful reply with `body` and a payload.
    pub fn reply_with(&self, body: &impl Wire, data: Vec<Bytes>) -> Reply {
        let mut head = self.peer.reactor.head();
        let header = Header { id: self.id, op: self.op as u16, ..Header::default() };
        let payload = data.iter().map(Bytes::len).sum();
        put_frame(&mut head, header, payload, |out| body.put(out));
        Reply { head, data, status: 0 }
    }

    /// Waits until `seq` is durable. On the reactor itself only while it has nothing else to do and
    /// one connection uses it alone: otherwise neighbours would wait for the disk.
    pub async fn durable(&self, seq: Seq) -> Result<(), FsError> {
        let volume = self.volume();
        if volume.is_durable(seq) {
            return Ok(());
        }
        let reactor = &self.peer.reactor;
        let counters = &reactor.counters;
        let mode = if reactor.alone() {
            bump(&counters.syncs_inline, 1);
            SyncMode::Inline
        } else {
            bump(&counters.syncs_queued, 1);
            SyncMode::Queued
        };
        // A change that was taken and cannot be made durable any more (R10) is an I/O error,
        // whatever state the volume is in now.
        volume.sync(seq, mode).await.map_err(|error| match error {
            FsError::RoFs => FsError::Io,
            error => error,
        })
    }

    /// A change is committed at `seq`: waits for it if the request says so.
    pub async fn settled(&self, seq: Seq) -> Result<(), FsError> {
        if self.flags & DURABLE == 0 { Ok(()) } else { self.durable(seq).await }
    }
}

/// The reply to a request that failed.
pub fn failed(reactor: &Reactor, op: u16, id: u64, refusal: &Refusal) -> Reply {
    let mut head = reactor.head();
    let header = Header { id, op, status: refusal.errno, ..Header::default() };
    let text = Text::from(refusal.text.as_str());
    put_frame(&mut head, header, 0, |out| text.put(out));
    Reply { head, data: Vec::new(), status: refusal.errno }
}

/// Runs `work` to a reply, whatever becomes of it.
pub fn boxed<F>(cx: Cx, work: impl FnOnce(Cx) -> F) -> CallFuture
where
    F: Future<Output = Result<Reply, Fail>> + 'static,
{
    let (peer, op, id) = (cx.peer.clone(), cx.op, cx.id);
    let work = work(cx);
    Box::pin(async move {
        match work.await {
            Ok(reply) => reply,
            Err(Fail(refusal)) => failed(&peer.reactor, op as u16, id, &refusal),
        }
    })
}

/// What a pending request waits on.
enum Work {
    Run(CallFuture),
    Elsewhere(Waiter),
    Over,
}

/// A request that runs, with what it owes to the others: its reply to the session, its counts.
pub struct Running {
    work: Work,
    peer: Rc<Peer>,
    op: Op,
    id: u64,
    ticket: Option<Ticket>,
    /// Bytes of its frame.
    pub frame_bytes: usize,
    /// Counted in the reactor's pending requests.
    counted: bool,
}

impl Running {
    /// A request to be carried out.
    pub fn new(peer: Rc<Peer>, op: Op, id: u64, future: CallFuture, bytes: usize) -> Self {
        let work = Work::Run(future);
        Self { work, peer, op, id, ticket: None, frame_bytes: bytes, counted: false }
    }

    /// Ties it to its entry in the session.
    pub fn remembered(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// A request that runs on another connection.
    pub fn elsewhere(peer: Rc<Peer>, op: Op, id: u64, waiter: Waiter, bytes: usize) -> Self {
        let work = Work::Elsewhere(waiter);
        Self { work, peer, op, id, ticket: None, frame_bytes: bytes, counted: false }
    }

    /// True when it may not be dropped with its connection: a repeat may come.
    pub fn must_end(&self) -> bool {
        self.ticket.is_some()
    }

    /// Counts it as pending on its reactor.
    pub fn set_pending(&mut self) {
        if !self.counted {
            self.counted = true;
            let pending = &self.peer.reactor.pending;
            pending.set(pending.get() + 1);
            bump(&self.peer.reactor.counters.waited, 1);
        }
    }

    /// It ended with `reply`; gives what its connection is to send.
    fn end(&mut self, reply: Reply) -> Option<Reply> {
        self.work = Work::Over;
        self.peer.reactor.counters.op(self.op, Outcome::of(reply.status));
        let Some(ticket) = self.ticket.take() else { return Some(reply) };
        // Nothing was done: its repeat is a new request.
        let keep = !matches!(reply.status, errno::EHOSTDOWN | errno::ESHUTDOWN);
        ticket.finish(&Bytes::copy_from_slice(&reply.head), keep).then_some(reply)
    }

    fn ended_elsewhere(&mut self, outcome: Elsewhere) -> Option<Reply> {
        self.work = Work::Over;
        self.peer.reactor.counters.op(self.op, Outcome::Repeat);
        match outcome {
            Elsewhere::Reply(bytes) => {
                Some(Reply { head: bytes.to_vec(), data: Vec::new(), status: 0 })
            }
            Elsewhere::TakenOver => None,
            Elsewhere::Dropped => {
                let Fail(refusal) = Fail::of(errno::EHOSTDOWN);
                Some(failed(&self.peer.reactor, self.op as u16, self.id, &refusal))
            }
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reply>> {
        match &mut self.work {
            Work::Over => Poll::Ready(None),
            Work::Elsewhere(waiter) => match Pin::new(waiter).poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(self.ended_elsewhere(outcome)),
                Poll::Pending => Poll::Pending,
            },
            Work::Run(future) => match future.as_mut().poll(cx) {
                Poll::Ready(reply) => Poll::Ready(self.end(reply)),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Future for Running {
    /// What its connection is to send, and the bytes of its frame.
    type Output = (Option<Reply>, usize);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.advance(cx).map(|reply| (reply, self.frame_bytes))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.counted {
            let pending = &self.peer.reactor.pending;
            pending.set(pending.get().saturating_sub(1));
        }
    }
}

/// What begins a request can find it to be no request at all.
pub type Sound<T> = Result<T, Malformed>;
