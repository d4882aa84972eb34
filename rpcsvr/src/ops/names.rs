//! Names and attributes.

use fs::{NodeKind, Right};
use rpc::{
    calls::{
        Access, Allowed, Done, FOLLOW, Link, LinkText, MkDir, MkNod, ReadLink, Rename, SetAttr,
        Stat, Statted, Symlink, Unlink, rename as rename_flags, unlink as unlink_flags,
    },
    errno,
};

use super::{follows, known};
use crate::{
    call::{Cx, Fail},
    convert,
    wire::Reply,
};

/// STAT.
pub async fn stat(cx: Cx, call: Stat) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let found = cx.there(&call.place, follows(call.flags)).await?;
    let along = cx.along(&found, &call.wanted).await?;
    Ok(cx.reply(&Statted { attributes: convert::attributes(&found), along }))
}

/// SETATTR.
pub async fn setattr(cx: Cx, call: SetAttr) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let set = convert::set(&call.set)?;
    let guard = call.guard.map(convert::timestamp).transpose()?;
    let spot = cx.walk(&call.place, follows(call.flags)).await?;
    let right = match spot.handle {
        Some(handle) if handle.write => Right::Opened,
        _ => Right::Asked,
    };
    let object = spot.there()?;
    let done = cx.volume().setattr_as(right, &cx.context(), object.id, set, guard).await?;
    cx.changed(done.wcc.after.unwrap_or(object), done.seq).await
}

/// MKDIR.
pub async fn mkdir(cx: Cx, call: MkDir) -> Result<Reply, Fail> {
    let (dir, name) = cx.name(&call.place).await?;
    let made = cx.volume().mkdir(&cx.context(), dir, &name, convert::set(&call.set)?).await?;
    cx.changed(made.object, made.seq).await
}

/// SYMLINK.
pub async fn symlink(cx: Cx, call: Symlink) -> Result<Reply, Fail> {
    let (dir, name) = cx.name(&call.place).await?;
    let set = convert::set(&call.set)?;
    let made = cx.volume().symlink(&cx.context(), dir, &name, &call.target, set).await?;
    cx.changed(made.object, made.seq).await
}

/// MKNOD.
pub async fn mknod(cx: Cx, call: MkNod) -> Result<Reply, Fail> {
    let kind = match call.kind {
        4 => NodeKind::Block(call.major, call.minor),
        5 => NodeKind::Char(call.major, call.minor),
        6 => NodeKind::Fifo,
        7 => NodeKind::Socket,
        _ => return Err(Fail::saying(errno::EINVAL, "MKNOD makes devices, fifos and sockets")),
    };
    let (dir, name) = cx.name(&call.place).await?;
    let set = convert::set(&call.set)?;
    let made = cx.volume().mknod(&cx.context(), dir, &name, kind, set).await?;
    cx.changed(made.object, made.seq).await
}

/// LINK.
pub async fn link(cx: Cx, call: Link) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let file = cx.there(&call.file, follows(call.flags)).await?;
    let (dir, name) = cx.name(&call.place).await?;
    let moved = cx.volume().link(&cx.context(), file.id, dir, &name).await?;
    cx.changed(moved.from.after.unwrap_or(file), moved.seq).await
}

/// UNLINK.
pub async fn unlink(cx: Cx, call: Unlink) -> Result<Reply, Fail> {
    known(call.flags, unlink_flags::DIRECTORY)?;
    let (dir, name) = cx.name(&call.place).await?;
    let changed = if call.flags & unlink_flags::DIRECTORY != 0 {
        cx.volume().rmdir(&cx.context(), dir, &name).await?
    } else {
        cx.volume().remove(&cx.context(), dir, &name).await?
    };
    cx.settled(changed.seq).await?;
    Ok(cx.reply(&Done { seq: changed.seq.0 }))
}

/// RENAME.
pub async fn rename(cx: Cx, call: Rename) -> Result<Reply, Fail> {
    known(call.flags, rename_flags::NO_REPLACE)?;
    let replace = call.flags & rename_flags::NO_REPLACE == 0;
    let (from_dir, from) = cx.name(&call.from).await?;
    let (to_dir, to) = cx.name(&call.to).await?;
    let names = ((from_dir, &*from), (to_dir, &*to));
    let moved = cx.volume().rename_as(&cx.context(), names.0, names.1, replace).await?;
    cx.settled(moved.seq).await?;
    Ok(cx.reply(&Done { seq: moved.seq.0 }))
}

/// READLINK.
pub async fn readlink(cx: Cx, call: ReadLink) -> Result<Reply, Fail> {
    let found = cx.there(&call.place, false).await?;
    let (target, attributes) = cx.volume().readlink(&cx.caller, found.id).await?;
    let attributes = convert::attributes(&attributes);
    Ok(cx.reply(&LinkText { target: rpc::Blob(target), attributes }))
}

/// ACCESS.
pub async fn access(cx: Cx, call: Access) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let found = cx.there(&call.place, follows(call.flags)).await?;
    let want = fs::Access { bits: call.bits };
    let (allowed, found) = cx.volume().access(&cx.caller, found.id, want).await?;
    let attributes = convert::attributes(&found);
    Ok(cx.reply(&Allowed { bits: allowed.bits, attributes }))
}
