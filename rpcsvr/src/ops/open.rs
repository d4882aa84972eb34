//! Handles.

use fs::{Attributes, CreateHow, FileId, FsError, Kind, Right, SetAttributes};
use rpc::{
    Object,
    calls::{Close, FOLLOW, Open, Opened, open as flag},
    errno,
};

use super::{follows, known};
use crate::{
    call::{Cx, Fail},
    convert,
    place::Spot,
    session::Handle,
    wire::Reply,
};

/// RFC 1813 §3.3.4's bits, which [`fs::Volume::access`] speaks.
const MAY_READ: u32 = 1;
const MAY_MODIFY: u32 = 4;
/// Between look-up, creation and open others may remove and make the name; after so many rounds
/// the client is told so.
const ROUNDS: u32 = 8;
const ALL: u32 = flag::READ
    | flag::WRITE
    | flag::CREATE
    | flag::EXCLUSIVE
    | flag::TRUNCATE
    | flag::DIRECTORY
    | flag::RECLAIM
    | FOLLOW;

/// What is open, before it has a handle: it is held, and released if no handle comes of it.
struct Held {
    object: Attributes,
    created: bool,
    seq: fs::Seq,
}

/// OPEN.
pub async fn open(cx: Cx, call: Open) -> Result<Reply, Fail> {
    known(call.flags, ALL)?;
    let has = |bit: u32| call.flags & bit != 0;
    let wrong = (has(flag::TRUNCATE) && !has(flag::WRITE))
        || (has(flag::EXCLUSIVE) && !has(flag::CREATE))
        || (has(flag::CREATE) && has(flag::DIRECTORY))
        || (has(flag::RECLAIM) && has(flag::CREATE | flag::TRUNCATE));
    if wrong {
        return Err(Fail::saying(errno::EINVAL, "flags of OPEN that do not go together"));
    }
    cx.peer.session.vacant(call.handle)?;
    if has(flag::RECLAIM) {
        return reclaim(&cx, &call).await;
    }
    for _ in 0..ROUNDS {
        let follow = follows(call.flags) && !has(flag::EXCLUSIVE);
        let spot = cx.walk(&call.place, follow).await?;
        let opened = match spot.found {
            Some(_) => open_existing(&cx, &call, spot).await?,
            None => create(&cx, &call, spot).await?,
        };
        if let Some(held) = opened {
            return answer(&cx, &call, held).await;
        }
    }
    Err(FsError::Stale.into())
}

/// A handle that was open before. The file may have no name any more: it is looked at only once it is
/// held.
async fn reclaim(cx: &Cx, call: &Open) -> Result<Reply, Fail> {
    if !matches!(call.place.from, Object::Id(_)) || !call.place.path.is_empty() {
        return Err(Fail::saying(errno::EINVAL, "what is claimed again is named by its id"));
    }
    let (id, _) = cx.object(call.place.from)?;
    cx.volume().hold(id).await?;
    let found = cx.volume().getattr(id).await.map_err(Fail::from);
    match found.and_then(|object| fits(&object, call.flags).map(|()| object)) {
        Ok(object) => answer(cx, call, Held { object, created: false, seq: fs::Seq(0) }).await,
        Err(fail) => {
            release(cx, id).await;
            Err(fail)
        }
    }
}

/// `None`: it was removed meanwhile.
async fn open_existing(cx: &Cx, call: &Open, spot: Spot) -> Result<Option<Held>, Fail> {
    let has = |bit: u32| call.flags & bit != 0;
    let volume = cx.volume();
    let itself = spot.name.is_none();
    let mut object = spot.there()?;
    if has(flag::EXCLUSIVE) {
        return Err(FsError::Exist.into());
    }
    fits(&object, call.flags)?;
    let mut want = 0;
    if has(flag::READ) {
        want |= MAY_READ;
    }
    if has(flag::WRITE) {
        want |= MAY_MODIFY;
    }
    if want != 0 {
        let (allowed, now) =
            volume.access(&cx.caller, object.id, fs::Access { bits: want }).await?;
        if allowed.bits != want {
            return Err(FsError::Access.into());
        }
        object = now;
    }
    match volume.hold(object.id).await {
        Ok(()) => {}
        Err(FsError::Stale) if !itself => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut seq = fs::Seq(0);
    if has(flag::TRUNCATE) && object.kind == Kind::File {
        let set = SetAttributes { size: Some(0), ..SetAttributes::default() };
        let cut = volume.setattr_as(Right::Opened, &cx.context(), object.id, set, None).await;
        match cut {
            Ok(changed) => {
                object = changed.wcc.after.unwrap_or(object);
                seq = changed.seq;
            }
            Err(failure) => {
                release(cx, object.id).await;
                return Err(failure.into());
            }
        }
    }
    Ok(Some(Held { object, created: false, seq }))
}

/// Whether something of that kind can be opened so.
fn fits(object: &Attributes, flags: u32) -> Result<(), Fail> {
    match object.kind {
        Kind::Directory if flags & (flag::WRITE | flag::CREATE) != 0 => Err(FsError::IsDir.into()),
        Kind::Directory => Ok(()),
        _ if flags & flag::DIRECTORY != 0 => Err(FsError::NotDir.into()),
        Kind::Symlink if flags & (flag::READ | flag::WRITE) != 0 => Err(Fail::of(errno::ELOOP)),
        _ => Ok(()),
    }
}

/// `None`: somebody else made it, or removed it, meanwhile.
async fn create(cx: &Cx, call: &Open, spot: Spot) -> Result<Option<Held>, Fail> {
    let Some((dir, name)) = spot.name.filter(|_| call.flags & flag::CREATE != 0) else {
        return Err(FsError::NoEnt.into());
    };
    let set = SetAttributes { size: None, ..convert::set(&call.set)? };
    let made = cx.volume().create(&cx.context(), dir, &name, CreateHow::Guarded(set)).await;
    let made = match made {
        Ok(made) => made,
        Err(f) if f.error == FsError::Exist && call.flags & flag::EXCLUSIVE == 0 => {
            return Ok(None);
        }
        Err(f) => return Err(f.into()),
    };
    match cx.volume().hold(made.object.id).await {
        Ok(()) => Ok(Some(Held { object: made.object, created: true, seq: made.seq })),
        // Removed at once. The request is remembered as done: it cannot be tried again.
        Err(error) => Err(error.into()),
    }
}

async fn answer(cx: &Cx, call: &Open, held: Held) -> Result<Reply, Fail> {
    let Held { object, created, seq } = held;
    let along = match cx.along(&object, &call.wanted).await {
        Ok(along) => along,
        Err(fail) => {
            release(cx, object.id).await;
            return Err(fail);
        }
    };
    if let Err(error) = cx.settled(seq).await {
        release(cx, object.id).await;
        return Err(error.into());
    }
    let (read, write) = (call.flags & flag::READ != 0, call.flags & flag::WRITE != 0);
    if let Err(refusal) = cx.peer.session.open(call.handle, Handle { id: object.id, read, write }) {
        release(cx, object.id).await;
        return Err(refusal.into());
    }
    let attributes = convert::attributes(&object);
    Ok(cx.reply(&Opened { attributes, created, seq: seq.0, along }))
}

async fn release(cx: &Cx, id: FileId) {
    if let Err(error) = cx.volume().release(id).await {
        tracing::warn!(inode = id.ino, ?error, "an open file could not be released");
    }
}

/// An OPEN that a former process carried out: it made the file, or cut it.
pub async fn remembered(cx: Cx, call: Open, done: fs::Done) -> Result<Reply, Fail> {
    let id = done.object.unwrap_or(cx.volume().root());
    if cx.peer.session.handle(call.handle).is_some_and(|handle| handle.id == id) {
        // Claimed again before this was sent again.
        let (attributes, created) = (cx.volume().getattr(id).await?, done.dir.is_some());
        let along = cx.along(&attributes, &call.wanted).await?;
        let attributes = convert::attributes(&attributes);
        return Ok(cx.reply(&Opened { attributes, created, seq: done.seq.0, along }));
    }
    cx.peer.session.vacant(call.handle)?;
    cx.volume().hold(id).await?;
    let object = match cx.volume().getattr(id).await {
        Ok(object) => object,
        Err(error) => {
            release(&cx, id).await;
            return Err(error.into());
        }
    };
    // The record of a creation names the directory.
    let held = Held { object, created: done.dir.is_some(), seq: done.seq };
    answer(&cx, &call, held).await
}

/// CLOSE.
pub async fn close(cx: Cx, call: Close) -> Result<Reply, Fail> {
    match cx.peer.session.close(call.handle) {
        Some(handle) => {
            release(&cx, handle.id).await;
            Ok(cx.reply(&()))
        }
        // The first may have reached a server that is no more, and its handles with it.
        None if cx.flags & rpc::frame::RESENT != 0 => Ok(cx.reply(&())),
        None => Err(Fail::of(errno::EBADF)),
    }
}
