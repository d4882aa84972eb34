//! LOOKUP, READLINK, REMOVE, RMDIR, RENAME, LINK, and replies to calls that an earlier process
//! carried out.

use bytes::Bytes;
use fs::{Attributes, Changed, Done, Failure, FileId, FsError, Wcc};

use crate::{
    call::{Cx, done},
    nfs3::{Procedure, Status, failed, post_op, wcc},
    ops::make::made_reply,
    wire::Reply,
};

/// LOOKUP (§3.3.3). `..` does not lead out of the export.
pub async fn lookup(cx: Cx, dir: FileId, name: Bytes) -> Reply {
    let up = name.as_ref() == b".." && is_top(&cx, dir).await;
    let name: &[u8] = if up { b"." } else { &name };
    match cx.volume().lookup(&cx.caller, dir, name).await {
        Ok((object, dir)) => {
            let mut e = cx.ok();
            e.opaque(&cx.handle(object.id));
            post_op(&mut e, cx.fsid(), Some(&object));
            post_op(&mut e, cx.fsid(), Some(&dir));
            done(e, Status::Ok)
        }
        Err(failure) => cx.fail_post(&failure),
    }
}

/// True when `dir` is the top of the call's export (the volume's own root needs no question: its
/// `..` is itself).
pub async fn is_top(cx: &Cx, dir: FileId) -> bool {
    let service = cx.service();
    let export = service.exports.index_of(cx.export).map(|n| &service.exports.list()[n]);
    match export {
        Some(export) if !export.path.is_empty() => {
            // An export whose directory is gone has no top: stay below on the safe side.
            service.walk(&export.path).await.map_or(true, |top| top == dir)
        }
        _ => false,
    }
}

/// READLINK (§3.3.5).
pub async fn readlink(cx: Cx, id: FileId) -> Reply {
    match cx.volume().readlink(&cx.caller, id).await {
        Ok((target, a)) => {
            let mut e = cx.ok();
            post_op(&mut e, cx.fsid(), Some(&a));
            e.opaque(&target);
            done(e, Status::Ok)
        }
        Err(failure) => cx.fail_post(&failure),
    }
}

async fn removed(cx: Cx, changed: Result<Changed, Failure>) -> Reply {
    match changed {
        Ok(changed) => match cx.settled(changed.seq).await {
            Ok(()) => {
                let mut e = cx.ok();
                wcc(&mut e, cx.fsid(), &changed.wcc);
                done(e, Status::Ok)
            }
            Err(error) => cx.failed(cx.status(error)),
        },
        Err(failure) => cx.fail_wcc(&failure),
    }
}

/// REMOVE (§3.3.12).
pub async fn remove(cx: Cx, dir: FileId, name: Bytes) -> Reply {
    let changed = cx.volume().remove(&cx.context(), dir, &name).await;
    removed(cx, changed).await
}

/// RMDIR (§3.3.13).
pub async fn rmdir(cx: Cx, dir: FileId, name: Bytes) -> Reply {
    let changed = cx.volume().rmdir(&cx.context(), dir, &name).await;
    removed(cx, changed).await
}

/// RENAME (§3.3.14).
pub async fn rename(cx: Cx, from_dir: FileId, from: Bytes, to_dir: Bytes, to: Bytes) -> Reply {
    let to_dir = match cx.second(&to_dir) {
        Ok(id) => id,
        Err(status) => return cx.failed(status),
    };
    match cx.volume().rename(&cx.context(), from_dir, &from, to_dir, &to).await {
        Ok(moved) => match cx.settled(moved.seq).await {
            Ok(()) => {
                let mut e = cx.ok();
                wcc(&mut e, cx.fsid(), &moved.from);
                wcc(&mut e, cx.fsid(), &moved.to);
                done(e, Status::Ok)
            }
            Err(error) => cx.failed(cx.status(error)),
        },
        Err(failure) => {
            let (mut e, status) = cx.fail(failure.error);
            wcc(&mut e, cx.fsid(), &failure.wcc);
            wcc(&mut e, cx.fsid(), &failure.other);
            done(e, status)
        }
    }
}

/// LINK (§3.3.15).
pub async fn link(cx: Cx, file: FileId, dir: Bytes, name: Bytes) -> Reply {
    let dir = match cx.second(&dir) {
        Ok(id) => id,
        Err(status) => return cx.failed(status),
    };
    match cx.volume().link(&cx.context(), file, dir, &name).await {
        Ok(moved) => match cx.settled(moved.seq).await {
            Ok(()) => {
                let mut e = cx.ok();
                post_op(&mut e, cx.fsid(), moved.from.after.as_ref());
                wcc(&mut e, cx.fsid(), &moved.to);
                done(e, Status::Ok)
            }
            Err(error) => cx.failed(cx.status(error)),
        },
        Err(failure) => {
            let (mut e, status) = cx.fail(failure.error);
            post_op(&mut e, cx.fsid(), failure.wcc.after.as_ref());
            wcc(&mut e, cx.fsid(), &failure.other);
            done(e, status)
        }
    }
}

/// A change on a `ro` export: NFS3ERR_ROFS with the attributes of the object, if it is there.
pub async fn read_only(cx: Cx, id: FileId) -> Reply {
    let after = match cx.volume().getattr(id).await {
        Ok(a) => a,
        Err(error) => return cx.failed(cx.status(error)),
    };
    let mut e = cx.reply();
    match cx.procedure {
        Procedure::Rename | Procedure::Link => failed(&mut e, cx.procedure, Status::RoFs),
        _ => {
            e.u32(Status::RoFs as u32);
            wcc(&mut e, cx.fsid(), &Wcc { before: None, after: Some(after) });
        }
    }
    done(e, Status::RoFs)
}

/// The reply to a repeat of a call that an earlier process committed (R23), built again from the
/// attributes of now; those before the call are not known any more.
pub async fn remembered(cx: Cx, known: Done) -> Reply {
    if let Err(error) = cx.settled(known.seq).await {
        return cx.failed(cx.status(error));
    }
    let of = |id: Option<FileId>| {
        let volume = cx.volume();
        async move {
            match id {
                // Gone meanwhile: the call succeeded all the same.
                Some(id) => volume.getattr(id).await.map(Some).or_else(|e| match e {
                    FsError::Stale | FsError::NoEnt => Ok(None),
                    e => Err(e),
                }),
                None => Ok(None),
            }
        }
    };
    let found = async {
        Ok::<_, FsError>((of(known.object).await?, of(known.dir).await?, of(known.other).await?))
    };
    match found.await {
        Ok((object, dir, other)) => rebuilt(&cx, object, dir, other),
        Err(error) => cx.failed(cx.status(error)),
    }
}

fn rebuilt(
    cx: &Cx,
    object: Option<Attributes>,
    dir: Option<Attributes>,
    other: Option<Attributes>,
) -> Reply {
    let after = |after| Wcc { before: None, after };
    let mut e = match cx.procedure {
        Procedure::Create | Procedure::MkDir | Procedure::SymLink | Procedure::MkNod => {
            return made_reply(cx, object.as_ref(), &after(dir));
        }
        _ => cx.ok(),
    };
    match cx.procedure {
        Procedure::SetAttr => wcc(&mut e, cx.fsid(), &after(object)),
        Procedure::Rename => {
            // One directory on both sides is remembered once.
            let other = other.or_else(|| dir.clone());
            wcc(&mut e, cx.fsid(), &after(dir));
            wcc(&mut e, cx.fsid(), &after(other));
        }
        Procedure::Link => {
            post_op(&mut e, cx.fsid(), object.as_ref());
            wcc(&mut e, cx.fsid(), &after(other.or(dir)));
        }
        _ => wcc(&mut e, cx.fsid(), &after(dir)),
    }
    done(e, Status::Ok)
}
