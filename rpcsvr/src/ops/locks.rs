//! Byte-range locks.

use std::future::Future;

use fs::{FileId, LockError, LockOwner, LockRange};
use rpc::{
    Conflict,
    calls::{Lock, TestLock, Tested, Unlock, lock as kind},
    errno::{self, EAGAIN, ECANCELED, EDEADLK, EINVAL, ENOLCK, ESHUTDOWN},
};

use super::known;
use crate::{
    call::{Cx, Fail},
    wire::Reply,
};

fn range(kind: u8, start: u64, len: u64) -> Result<LockRange, Fail> {
    let exclusive = match kind {
        kind::SHARED => false,
        kind::EXCLUSIVE => true,
        _ => return Err(Fail::saying(EINVAL, "a lock is shared (1) or exclusive (2)")),
    };
    let last = match len {
        0 => Some(u64::MAX),
        len => start.checked_add(len - 1),
    };
    let last = last.ok_or(Fail::saying(EINVAL, "a range that ends behind the last byte"))?;
    Ok(LockRange { exclusive, first: start, last })
}

fn refused(error: LockError) -> Fail {
    Fail::of(match error {
        LockError::Held(_) => EAGAIN,
        LockError::Deadlock => EDEADLK,
        LockError::TooMany => ENOLCK,
        LockError::Ended => errno::EBADF,
    })
}

impl Cx {
    fn owner(&self, owner: u64) -> LockOwner {
        LockOwner { session: self.peer.session.number, owner }
    }
}

/// Waits for `work`; given up where the request is cancelled, or the server stops.
async fn patiently<T>(cx: &Cx, work: impl Future<Output = T>) -> Result<T, Fail> {
    let session = &cx.peer.session;
    let cancelled = session.waits(cx.id);
    let mut stop = cx.peer.reactor.stop.clone();
    let ended = tokio::select! {
        biased;
        done = work => Ok(done),
        _ = cancelled => Err(Fail::of(ECANCELED)),
        // Sent again, it waits at the next server.
        _ = stop.wait_for(|stop| *stop) => Err(Fail::of(ESHUTDOWN)),
    };
    session.waited(cx.id);
    ended
}

/// Until those who had locks before the start have claimed them again.
async fn everybody_is_there(cx: &Cx) -> Result<(), Fail> {
    let reclaim = &cx.service().reclaim;
    if reclaim.is_over() { Ok(()) } else { patiently(cx, reclaim.passed()).await }
}

/// LOCK.
pub async fn lock(cx: Cx, call: Lock) -> Result<Reply, Fail> {
    known(call.flags, kind::WAIT | kind::RECLAIM)?;
    let (file, _) = cx.object(call.file)?;
    let range = range(call.kind, call.start, call.len)?;
    let (owner, locks, session) = (cx.owner(call.owner), cx.volume().locks(), &cx.peer.session);
    let claims = call.flags & kind::RECLAIM != 0 && cx.service().reclaim.may(&session.id);
    if !claims {
        everybody_is_there(&cx).await?;
    }
    if call.flags & kind::WAIT == 0 {
        locks.try_lock(file, owner, range).map_err(refused)?;
    } else if let Some(wait) = locks.lock(file, owner, range).map_err(refused)? {
        patiently(&cx, wait).await?.map_err(refused)?;
    }
    if !session.is_noted() {
        // Before the first answer: a server that dies after it is to know.
        if let Err(error) = cx.volume().note_locker(&session.id).await {
            locks.unlock(file, owner, range.first, range.last);
            return Err(error.into());
        }
        session.set_noted();
    }
    if session.has_ended() {
        // It ended while this was carried out: nothing may be left of it.
        crate::server::end(cx.service(), session).await;
    }
    Ok(cx.reply(&()))
}

/// UNLOCK.
pub async fn unlock(cx: Cx, call: Unlock) -> Result<Reply, Fail> {
    let (file, _) = cx.object(call.file)?;
    let LockRange { first, last, .. } = range(kind::SHARED, call.start, call.len)?;
    cx.volume().locks().unlock(file, cx.owner(call.owner), first, last);
    Ok(cx.reply(&()))
}

/// TESTLOCK.
pub async fn test(cx: Cx, call: TestLock) -> Result<Reply, Fail> {
    let (file, _): (FileId, _) = cx.object(call.file)?;
    let range = range(call.kind, call.start, call.len)?;
    everybody_is_there(&cx).await?;
    let held = cx.volume().locks().test(file, cx.owner(call.owner), range);
    let conflict = held.map(|held| Conflict {
        kind: if held.range.exclusive { kind::EXCLUSIVE } else { kind::SHARED },
        start: held.range.first,
        len: match held.range.last {
            u64::MAX => 0,
            last => last - held.range.first + 1,
        },
        own_session: held.owner.session == cx.peer.session.number,
        owner: held.owner.owner,
    });
    Ok(cx.reply(&Tested { conflict }))
}
