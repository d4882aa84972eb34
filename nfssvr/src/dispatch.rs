//! From a record to a running call.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;

use crate::{
    call::{CallFuture, Cx, Kind, Running},
    counters::Outcome,
    drc::{Begin, Class},
    exports::Options,
    limits::HANDLE_BYTES,
    mount::{self, MountProcedure},
    nfs3::{self, Procedure, Status},
    ops,
    peer::Peer,
    rpc::{self, Call, MOUNT_PROGRAM, NFS_PROGRAM, Parsed, Refusal, VERSION},
    wire::{Cursor, Garbage, Reply},
};

use Procedure as P;

/// What became of a record.
pub enum Started {
    /// Answered without running anything.
    Reply(Reply),
    /// A call to poll.
    Running(Running),
    /// A copy of a call that still runs on this connection: nothing is to be sent.
    Nothing,
    /// Not a call: close the connection.
    Nonsense,
}

/// Begins what `record` asks for.
pub fn start(peer: &Rc<Peer>, record: &Bytes) -> Started {
    let counters = &peer.reactor.counters;
    let refused = |xid, refusal| {
        counters.refused(refusal);
        Started::Reply(rpc::refused(peer.reactor.head(), xid, refusal))
    };
    let call = match rpc::parse(record) {
        Parsed::Call(call) => call,
        Parsed::Refused(xid, refusal) => return refused(xid, refusal),
        Parsed::Nonsense => return Started::Nonsense,
    };
    let begun = match (call.program, call.version) {
        (NFS_PROGRAM, VERSION) => match P::of(call.procedure) {
            Some(procedure) => nfs(peer, &call, procedure, record),
            None => return refused(call.xid, Refusal::ProcedureUnavailable),
        },
        (MOUNT_PROGRAM, VERSION) => match MountProcedure::of(call.procedure) {
            Some(procedure) => {
                let mut cur = Cursor::new(record, call.args);
                let kind = Kind::Mount(procedure);
                mount::dispatch(peer, &call, procedure, &mut cur).map(|future| {
                    let peer = peer.clone();
                    Started::Running(Running::new(peer, call.xid, kind, future, record.len()))
                })
            }
            None => return refused(call.xid, Refusal::ProcedureUnavailable),
        },
        (NFS_PROGRAM | MOUNT_PROGRAM, _) => return refused(call.xid, Refusal::ProgramMismatch),
        _ => return refused(call.xid, Refusal::ProgramUnavailable),
    };
    begun.unwrap_or_else(|Garbage| refused(call.xid, Refusal::GarbageArguments))
}

fn nfs(
    peer: &Rc<Peer>,
    call: &Call,
    procedure: Procedure,
    record: &Bytes,
) -> Result<Started, Garbage> {
    let mut cur = Cursor::new(record, call.args);
    if procedure == P::Null {
        peer.reactor.counters.nfs(procedure, Outcome::Ok);
        let e = rpc::accepted(peer.reactor.head(), call.xid);
        let reply = Reply { head: e.into_inner(), data: Vec::new(), status: 0 };
        return Ok(Started::Reply(reply));
    }
    let handle = cur.opaque_ref(HANDLE_BYTES)?;
    let target = granted(peer, handle);
    let args = ops::Args::decode(procedure, &mut cur)?;
    let target = target.and_then(|found| args.check_names().map(|()| found));
    let (handle, options) = match target {
        Ok(found) => found,
        Err(status) => return Ok(Started::Reply(refuse(peer, call.xid, procedure, status))),
    };
    let mut caller = options.squash(&call.auth);
    caller.owner_override = args.owner_may();
    let cx = Cx {
        peer: peer.clone(),
        xid: call.xid,
        procedure,
        caller,
        options,
        export: handle.export,
        tag: None,
        committed: Rc::new(Cell::new(false)),
    };
    let kind = Kind::Nfs(procedure);
    if !procedure.changes() {
        let peer = peer.clone();
        let future = args.run(cx, handle.id);
        return Ok(Started::Running(Running::new(peer, call.xid, kind, future, record.len())));
    }
    let begun = Begun { peer, xid: call.xid, kind, bytes: record.len() };
    Ok(begun.once(cx, record.get(call.args..).unwrap_or_default(), |cx| args.run(cx, handle.id)))
}

/// Checks a handle and the client's right to its export: at every call.
fn granted(peer: &Peer, bytes: &[u8]) -> Result<(crate::handle::Handle, Options), Status> {
    let service = &peer.reactor.service;
    let handle = service.handles.open(bytes).map_err(|_| Status::BadHandle)?;
    // The handle is genuine, but its export is no more.
    let at = service.exports.index_of(handle.export).ok_or(Status::Stale)?;
    match peer.grants.get(at) {
        Some(Some(options)) if !options.secure || peer.privileged() => Ok((handle, *options)),
        _ => Err(Status::Acces),
    }
}

fn refuse(peer: &Peer, xid: u32, procedure: Procedure, status: Status) -> Reply {
    peer.reactor.counters.nfs(procedure, Outcome::Error);
    let mut e = rpc::accepted(peer.reactor.head(), xid);
    nfs3::failed(&mut e, procedure, status);
    Reply { head: e.into_inner(), data: Vec::new(), status: status as u32 }
}

/// A mutating call that is to be carried out once.
struct Begun<'a> {
    peer: &'a Rc<Peer>,
    xid: u32,
    kind: Kind,
    bytes: usize,
}

impl Begun<'_> {
    fn once(self, mut cx: Cx, args: &[u8], run: impl FnOnce(Cx) -> CallFuture) -> Started {
        let Self { peer, xid, kind, bytes } = self;
        let service = &peer.reactor.service;
        let procedure = cx.procedure;
        let tag = service.tag(peer.client(), xid, procedure as u8, args);
        let class = if procedure == P::Write { Class::Write } else { Class::Metadata };
        let counters = &peer.reactor.counters;
        match service.drc.begin(tag.clone(), class, &peer.link) {
            Begin::New(ticket, separate) => {
                let committed = cx.committed.clone();
                let known = match class {
                    Class::Metadata if !separate => service.volume.remembered(&tag),
                    _ => None,
                };
                if class == Class::Metadata {
                    cx.tag = Some(tag);
                }
                let future = match known {
                    Some(known) => {
                        counters.nfs(procedure, Outcome::Repeat);
                        Box::pin(ops::remembered(cx, known))
                    }
                    None => run(cx),
                };
                let running = Running::new(peer.clone(), xid, kind, future, bytes);
                Started::Running(running.remembered(ticket, committed))
            }
            Begin::Repeat(reply) => {
                counters.nfs(procedure, Outcome::Repeat);
                Started::Reply(Reply { head: reply.to_vec(), data: Vec::new(), status: 0 })
            }
            Begin::Wait(waiter) => {
                Started::Running(Running::elsewhere(peer.clone(), xid, kind, waiter, bytes))
            }
            Begin::Running => {
                counters.nfs(procedure, Outcome::Repeat);
                Started::Nothing
            }
        }
    }
}
