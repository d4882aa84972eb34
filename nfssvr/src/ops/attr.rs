//! GETATTR, SETATTR, ACCESS.

use fs::{Access, FileId, SetAttributes, Timestamp};

use crate::{
    call::{Cx, done},
    nfs3::{Status, fattr, post_op, wcc},
    wire::Reply,
};

/// Bits that change something (RFC 1813 §3.3.4): MODIFY, EXTEND, DELETE.
const CHANGING: u32 = 4 | 8 | 16;

/// GETATTR (§3.3.1).
pub async fn getattr(cx: Cx, id: FileId) -> Reply {
    match cx.volume().getattr(id).await {
        Ok(a) => {
            let mut e = cx.ok();
            fattr(&mut e, cx.fsid(), &a);
            done(e, Status::Ok)
        }
        Err(error) => cx.failed(cx.status(error)),
    }
}

/// SETATTR (§3.3.2).
pub async fn setattr(cx: Cx, id: FileId, set: SetAttributes, guard: Option<Timestamp>) -> Reply {
    match cx.volume().setattr(&cx.context(), id, set, guard).await {
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

/// ACCESS (§3.3.4): computed by `fs`; what the export forbids is left out.
pub async fn access(cx: Cx, id: FileId, want: u32) -> Reply {
    match cx.volume().access(&cx.caller, id, Access { bits: want & 0x3f }).await {
        Ok((has, a)) => {
            let bits = if cx.options.read_only { has.bits & !CHANGING } else { has.bits };
            let mut e = cx.ok();
            post_op(&mut e, cx.fsid(), Some(&a));
            e.u32(bits);
            done(e, Status::Ok)
        }
        Err(failure) => cx.fail_post(&failure),
    }
}
