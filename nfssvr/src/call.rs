//! One NFS call: what it needs to run, how its reply is made, and how it waits.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use fs::{Caller, FileId, FsError, RequestTag, Seq, SyncMode, Volume};

use crate::{
    counters::{Outcome, bump},
    drc::{Elsewhere, Ticket, Waiter},
    exports::Options,
    handle::{Handle, LENGTH},
    mount::MountProcedure,
    nfs3::{self, Procedure, Status},
    peer::Peer,
    rpc,
    service::Service,
    wire::{Enc, Reply},
};

/// A call that runs.
pub type CallFuture = Pin<Box<dyn Future<Output = Reply>>>;

/// What surrounds one NFS call.
pub struct Cx {
    /// The connection.
    pub peer: Rc<Peer>,
    /// Its transaction id.
    pub xid: u32,
    /// Its procedure.
    pub procedure: Procedure,
    /// Who asks, squashed.
    pub caller: Caller,
    /// The export's options.
    pub options: Options,
    /// The export's id, for handles in the reply.
    pub export: u32,
    /// How the call is remembered, if it must be (R23).
    pub tag: Option<RequestTag>,
    /// Set once its record is committed: from then on it must be waited for.
    pub committed: Rc<Cell<bool>>,
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

    /// fsid in attributes.
    pub fn fsid(&self) -> u64 {
        self.service().fsid
    }

    /// What `fs` wants to know of a mutating call.
    pub fn context(&self) -> fs::Context {
        fs::Context {
            caller: self.caller.clone(),
            request: self.tag.clone().map(|tag| (tag, self.procedure as u8)),
        }
    }

    /// Begins the reply: the RPC header.
    pub fn reply(&self) -> Enc {
        rpc::accepted(self.peer.reactor.head(), self.xid)
    }

    /// Begins a reply with status OK.
    pub fn ok(&self) -> Enc {
        let mut e = self.reply();
        e.u32(Status::Ok as u32);
        e
    }

    /// A failed reply without attributes.
    pub fn failed(&self, status: Status) -> Reply {
        let mut e = self.reply();
        nfs3::failed(&mut e, self.procedure, status);
        done(e, status)
    }

    /// The status of an error in this procedure.
    pub fn status(&self, error: FsError) -> Status {
        nfs3::status(self.procedure, error)
    }

    /// Begins a failed reply: the status alone.
    pub fn fail(&self, error: FsError) -> (Enc, Status) {
        let status = self.status(error);
        let mut e = self.reply();
        e.u32(status as u32);
        (e, status)
    }

    /// A failed reply that ends with a post_op_attr.
    pub fn fail_post(&self, failure: &fs::Failure) -> Reply {
        let (mut e, status) = self.fail(failure.error);
        nfs3::post_op(&mut e, self.fsid(), failure.wcc.after.as_ref());
        done(e, status)
    }

    /// A failed reply that ends with a wcc_data.
    pub fn fail_wcc(&self, failure: &fs::Failure) -> Reply {
        let (mut e, status) = self.fail(failure.error);
        nfs3::wcc(&mut e, self.fsid(), &failure.wcc);
        done(e, status)
    }

    /// The handle of an inode met in this call.
    pub fn handle(&self, id: FileId) -> [u8; LENGTH] {
        self.service().handles.seal(Handle { export: self.export, id })
    }

    /// Checks a second handle of the call: it must be of the same export.
    pub fn second(&self, handle: &[u8]) -> Result<FileId, Status> {
        match self.service().handles.open(handle) {
            Ok(h) if h.export == self.export => Ok(h.id),
            Ok(_) => Err(Status::XDev),
            Err(_) => Err(Status::BadHandle),
        }
    }

    /// Waits until `seq` is durable. On the reactor itself only while it has nothing else to do
    /// and one connection uses it alone (DESIGN §8.3): otherwise neighbours would wait for the
    /// disk.
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

    /// A metadata change is committed at `seq`: waits for it if the export says `sync`
    /// (RFC 1813 §4.7).
    pub async fn settled(&self, seq: Seq) -> Result<(), FsError> {
        self.committed.set(true);
        if self.options.sync { self.durable(seq).await } else { Ok(()) }
    }
}

/// Ends a reply.
pub fn done(e: Enc, status: Status) -> Reply {
    Reply { head: e.into_inner(), data: Vec::new(), status: status as u32 }
}

/// Which counter a call belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An NFS procedure.
    Nfs(Procedure),
    /// A MOUNT procedure.
    Mount(MountProcedure),
}

/// What a pending call waits on.
enum Work {
    Run(CallFuture),
    Elsewhere(Waiter),
    Over,
}

/// A call that runs, with what it owes to the others: a JUKEBOX when it cannot begin, its reply to
/// the duplicate-request cache, its counts.
pub struct Running {
    work: Work,
    peer: Rc<Peer>,
    xid: u32,
    kind: Kind,
    ticket: Option<Ticket>,
    committed: Rc<Cell<bool>>,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Bytes of its record.
    pub record_bytes: usize,
    /// Counted in the reactor's pending calls.
    counted: bool,
}

impl Running {
    /// A call to be carried out.
    pub fn new(peer: Rc<Peer>, xid: u32, kind: Kind, future: CallFuture, bytes: usize) -> Self {
        Self {
            work: Work::Run(future),
            peer,
            xid,
            kind,
            ticket: None,
            committed: Rc::default(),
            deadline: None,
            record_bytes: bytes,
            counted: false,
        }
    }

    /// Ties the call to its entry in the duplicate-request cache, and to the mark that its record
    /// is committed.
    pub fn remembered(mut self, ticket: Ticket, committed: Rc<Cell<bool>>) -> Self {
        self.ticket = Some(ticket);
        self.committed = committed;
        self
    }

    /// A call that runs on another connection.
    pub fn elsewhere(peer: Rc<Peer>, xid: u32, kind: Kind, waiter: Waiter, bytes: usize) -> Self {
        let never: CallFuture = Box::pin(std::future::pending());
        let mut running = Self::new(peer, xid, kind, never, bytes);
        running.work = Work::Elsewhere(waiter);
        running
    }

    /// True when it may not be dropped with its connection: it has a ticket, so a repeat may come.
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

    fn count(&self, outcome: Outcome) {
        let counters = &self.peer.reactor.counters;
        match self.kind {
            Kind::Nfs(p) => counters.nfs(p, outcome),
            Kind::Mount(p) => counters.mount(p, outcome),
        }
    }

    fn jukebox(&self) -> Reply {
        let mut e = rpc::accepted(self.peer.reactor.head(), self.xid);
        match self.kind {
            Kind::Nfs(p) => nfs3::failed(&mut e, p, Status::Jukebox),
            // MOUNT has no such status: MNT3ERR_IO.
            Kind::Mount(_) => {
                e.u32(Status::Io as u32);
            }
        }
        done(e, Status::Jukebox)
    }

    /// The call ended with `reply`; gives what its connection is to send.
    fn end(&mut self, reply: Reply) -> Option<Reply> {
        self.work = Work::Over;
        self.count(Outcome::of(reply.status));
        let Some(ticket) = self.ticket.take() else { return Some(reply) };
        // A call put off was not carried out: its repeat is a new call.
        let keep = reply.status != Status::Jukebox as u32;
        let bytes = Bytes::copy_from_slice(&reply.head);
        let now = self.peer.reactor.service.env.clock.monotonic();
        ticket.finish(&bytes, keep, now).then_some(reply)
    }

    fn ended_elsewhere(&mut self, outcome: Elsewhere) -> Option<Reply> {
        self.work = Work::Over;
        self.count(Outcome::Repeat);
        match outcome {
            Elsewhere::Reply(bytes) => {
                Some(Reply { head: bytes.to_vec(), data: Vec::new(), status: 0 })
            }
            Elsewhere::TakenOver => None,
            Elsewhere::Dropped => Some(self.jukebox()),
        }
    }

    /// True when the call has waited too long to begin.
    fn late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.committed.get() {
            self.deadline = None;
            return false;
        }
        let begin = self.peer.reactor.service.limits.begin;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(begin)));
        deadline.as_mut().poll(cx).is_ready()
    }
}

impl Future for Running {
    /// What its connection is to send, and the bytes of its record.
    type Output = (Option<Reply>, usize);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.advance(cx).map(|reply| (reply, self.record_bytes))
    }
}

impl Running {
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reply>> {
        match &mut self.work {
            Work::Over => Poll::Ready(None),
            Work::Elsewhere(waiter) => match Pin::new(waiter).poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(self.ended_elsewhere(outcome)),
                Poll::Pending => Poll::Pending,
            },
            Work::Run(future) => match future.as_mut().poll(cx) {
                Poll::Ready(reply) => Poll::Ready(self.end(reply)),
                Poll::Pending if self.late(cx) => {
                    let reply = self.jukebox();
                    Poll::Ready(self.end(reply))
                }
                Poll::Pending => Poll::Pending,
            },
        }
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

#[cfg(test)]
mod tests;
