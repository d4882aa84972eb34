//! From a frame to a running request.

use std::rc::Rc;

use fs::Caller;
use rpc::{
    Frame, Identity, Malformed, Op, Refusal, Request,
    calls::lock::WAIT,
    errno::{EINVAL, ENOSYS},
    frame::FLAGS,
};

use crate::{
    call::{CallFuture, Cx, Peer, Running, Sound, boxed, failed},
    counters::{Outcome, bump},
    ops,
    session::Begin,
    wire::Reply,
};

/// What became of a frame.
pub enum Started {
    /// Answered without running anything.
    Reply(Reply),
    /// A request to poll.
    Running(Running),
    /// A copy of a request that still runs on this connection: nothing is to be sent.
    Nothing,
}

/// Begins what `frame`, of `bytes` bytes, asks for.
pub fn start(peer: &Rc<Peer>, frame: &Frame, bytes: usize) -> Sound<Started> {
    let reactor = &peer.reactor;
    let (id, mark, flags) = (frame.header.id, frame.header.mark, frame.header.status);
    if flags & !FLAGS != 0 {
        return Err(Malformed("unknown flags of a request"));
    }
    let refused =
        |refusal: &Refusal| Ok(Started::Reply(failed(reactor, frame.header.op, id, refusal)));
    let Some(op) = Op::of(frame.header.op) else {
        bump(&reactor.counters.unknown, 1);
        return refused(&Refusal::new(ENOSYS, "no such operation in version 1"));
    };
    let (identity, request) = Request::decode(op, &frame.body)?;
    let caller = caller(identity);
    let mut cx = Cx { peer: peer.clone(), op, id, flags, caller, tag: None };
    // A LOCK that waits may wait for ever, and must not hold the mark: asking again for what one has
    // is granted.
    let waits = matches!(&request, Request::Lock(lock) if lock.flags & WAIT != 0);
    if !op.once() || waits {
        peer.session.advance(mark);
        let future = run(cx, request, frame);
        return Ok(Started::Running(Running::new(peer.clone(), op, id, future, bytes)));
    }
    let service = &reactor.service;
    let digest = service.digest(frame);
    match peer.session.begin(id, mark, digest, peer.number) {
        Begin::New(ticket) => {
            let tag = service.tag(peer.session.id, frame, digest);
            let known = service.volume.remembered(&tag);
            cx.tag = Some(tag);
            let future = match known {
                Some(known) => {
                    reactor.counters.op(op, Outcome::Repeat);
                    boxed(cx, |cx| ops::remembered(cx, request, known))
                }
                None => run(cx, request, frame),
            };
            let running = Running::new(peer.clone(), op, id, future, bytes);
            Ok(Started::Running(running.remembered(ticket)))
        }
        Begin::Repeat(reply) => {
            reactor.counters.op(op, Outcome::Repeat);
            Ok(Started::Reply(Reply { head: reply.to_vec(), data: Vec::new(), status: 0 }))
        }
        Begin::Wait(waiter) => {
            Ok(Started::Running(Running::elsewhere(peer.clone(), op, id, waiter, bytes)))
        }
        Begin::Running => {
            reactor.counters.op(op, Outcome::Repeat);
            Ok(Started::Nothing)
        }
        Begin::Refused(refusal) => {
            if refusal.errno == EINVAL {
                bump(&reactor.counters.replays, 1);
                let client = &peer.session.label;
                tracing::warn!(client, id, op = op.name(), "request refused: {}", refusal.text);
            }
            reactor.counters.op(op, Outcome::Error);
            refused(&refusal)
        }
    }
}

fn caller(identity: Identity) -> Caller {
    let Identity { uid, gid, groups } = identity;
    Caller { uid, gid, groups: groups.0, owner_override: false }
}

fn run(cx: Cx, request: Request, frame: &Frame) -> CallFuture {
    use Request as R;
    use ops::{control, data, dirs, names, xattrs};
    let payload = frame.payload.clone();
    match request {
        R::Bye(_) => boxed(cx, control::bye),
        R::Ping(_) => boxed(cx, control::ping),
        R::Sync(_) => boxed(cx, control::sync),
        R::Reclaimed(_) => boxed(cx, control::reclaimed),
        R::Cancel(c) => boxed(cx, |cx| control::cancel(cx, c)),
        R::Stat(c) => boxed(cx, |cx| names::stat(cx, c)),
        R::SetAttr(c) => boxed(cx, |cx| names::setattr(cx, c)),
        R::Open(c) => boxed(cx, |cx| ops::open::open(cx, c)),
        R::Close(c) => boxed(cx, |cx| ops::open::close(cx, c)),
        R::MkDir(c) => boxed(cx, |cx| names::mkdir(cx, c)),
        R::Symlink(c) => boxed(cx, |cx| names::symlink(cx, c)),
        R::MkNod(c) => boxed(cx, |cx| names::mknod(cx, c)),
        R::Link(c) => boxed(cx, |cx| names::link(cx, c)),
        R::Unlink(c) => boxed(cx, |cx| names::unlink(cx, c)),
        R::Rename(c) => boxed(cx, |cx| names::rename(cx, c)),
        R::ReadLink(c) => boxed(cx, |cx| names::readlink(cx, c)),
        R::ReadDir(c) => boxed(cx, |cx| dirs::readdir(cx, c)),
        R::Access(c) => boxed(cx, |cx| names::access(cx, c)),
        R::FindName(c) => boxed(cx, |cx| dirs::find_name(cx, c)),
        R::StatFs(_) => boxed(cx, dirs::statfs),
        R::Read(c) => boxed(cx, |cx| data::read(cx, c)),
        R::Write(c) => boxed(cx, |cx| data::write(cx, c, payload)),
        R::FSync(c) => boxed(cx, |cx| data::fsync(cx, c)),
        R::Seek(c) => boxed(cx, |cx| data::seek(cx, c)),
        R::Ranges(c) => boxed(cx, |cx| data::ranges(cx, c)),
        R::Allocate(c) => boxed(cx, |cx| data::allocate(cx, c)),
        R::Copy(c) => boxed(cx, |cx| data::copy(cx, c)),
        R::GetXattr(c) => boxed(cx, |cx| xattrs::get(cx, c)),
        R::SetXattr(c) => boxed(cx, |cx| xattrs::set(cx, c, payload)),
        R::ListXattr(c) => boxed(cx, |cx| xattrs::list(cx, c)),
        R::RemoveXattr(c) => boxed(cx, |cx| xattrs::remove(cx, c)),
        R::Lock(c) => boxed(cx, |cx| ops::locks::lock(cx, c)),
        R::Unlock(c) => boxed(cx, |cx| ops::locks::unlock(cx, c)),
        R::TestLock(c) => boxed(cx, |cx| ops::locks::test(cx, c)),
    }
}
