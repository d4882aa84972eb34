//! CREATE, MKDIR, SYMLINK, MKNOD.

use bytes::Bytes;
use fs::{Attributes, CreateHow, Failure, FileId, Made, NodeKind, SetAttributes, Wcc};

use crate::{
    call::{Cx, done},
    nfs3::{Status, post_op, wcc},
    wire::Reply,
};

/// What all four answer: handle, attributes, the directory's wcc_data.
pub fn made_reply(cx: &Cx, object: Option<&Attributes>, dir: &Wcc) -> Reply {
    let mut e = cx.ok();
    e.bool(object.is_some());
    if let Some(object) = object {
        e.opaque(&cx.handle(object.id));
    }
    post_op(&mut e, cx.fsid(), object);
    wcc(&mut e, cx.fsid(), dir);
    done(e, Status::Ok)
}

async fn finish(cx: Cx, made: Result<Made, Failure>) -> Reply {
    match made {
        Ok(made) => match cx.settled(made.seq).await {
            Ok(()) => made_reply(&cx, Some(&made.object), &made.dir),
            Err(error) => cx.failed(cx.status(error)),
        },
        Err(failure) => cx.fail_wcc(&failure),
    }
}

/// CREATE (§3.3.8).
pub async fn create(cx: Cx, dir: FileId, name: Bytes, how: CreateHow) -> Reply {
    let made = cx.volume().create(&cx.context(), dir, &name, how).await;
    finish(cx, made).await
}

/// MKDIR (§3.3.9).
pub async fn mkdir(cx: Cx, dir: FileId, name: Bytes, set: SetAttributes) -> Reply {
    let made = cx.volume().mkdir(&cx.context(), dir, &name, set).await;
    finish(cx, made).await
}

/// SYMLINK (§3.3.10).
pub async fn symlink(cx: Cx, dir: FileId, name: Bytes, set: SetAttributes, target: Bytes) -> Reply {
    let made = cx.volume().symlink(&cx.context(), dir, &name, &target, set).await;
    finish(cx, made).await
}

/// MKNOD (§3.3.11). Files, directories and symlinks cannot be made so: NFS3ERR_BADTYPE.
pub async fn mknod(
    cx: Cx,
    dir: FileId,
    name: Bytes,
    kind: Option<NodeKind>,
    set: SetAttributes,
) -> Reply {
    let Some(kind) = kind else { return cx.failed(Status::BadType) };
    let made = cx.volume().mknod(&cx.context(), dir, &name, kind, set).await;
    finish(cx, made).await
}
