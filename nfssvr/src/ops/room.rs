//! FSSTAT, FSINFO, PATHCONF.

use fs::FileId;

use crate::{
    call::{Cx, done},
    limits::{DIR_BYTES, LINK_MAX, NAME_BYTES, TRANSFER_BYTES},
    nfs3::{Status, fsstat as numbers, post_op},
    wire::{Enc, Reply},
};

/// FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME.
const PROPERTIES: u32 = 1 | 2 | 8 | 16;

/// Begins a reply with the attributes of `id`; `Err`: the finished failure.
async fn with_attributes(cx: &Cx, id: FileId) -> Result<Enc, Reply> {
    match cx.volume().getattr(id).await {
        Ok(a) => {
            let mut e = cx.ok();
            post_op(&mut e, cx.fsid(), Some(&a));
            Ok(e)
        }
        Err(error) => Err(cx.failed(cx.status(error))),
    }
}

/// FSSTAT (§3.3.18).
pub async fn fsstat(cx: Cx, id: FileId) -> Reply {
    let mut e = match with_attributes(&cx, id).await {
        Ok(e) => e,
        Err(reply) => return reply,
    };
    match cx.volume().statfs().await {
        Ok(room) => {
            numbers(&mut e, &room);
            done(e, Status::Ok)
        }
        Err(error) => cx.failed(cx.status(error)),
    }
}

/// FSINFO (§3.3.19).
pub async fn fsinfo(cx: Cx, id: FileId) -> Reply {
    let mut e = match with_attributes(&cx, id).await {
        Ok(e) => e,
        Err(reply) => return reply,
    };
    // rtmax, rtpref, rtmult, wtmax, wtpref, wtmult, dtpref
    e.u32(TRANSFER_BYTES).u32(TRANSFER_BYTES).u32(4096);
    e.u32(TRANSFER_BYTES).u32(TRANSFER_BYTES).u32(4096).u32(DIR_BYTES);
    // maxfilesize, time_delta, properties
    e.u64(i64::MAX.unsigned_abs()).u32(0).u32(1).u32(PROPERTIES);
    done(e, Status::Ok)
}

/// PATHCONF (§3.3.20).
pub async fn pathconf(cx: Cx, id: FileId) -> Reply {
    let mut e = match with_attributes(&cx, id).await {
        Ok(e) => e,
        Err(reply) => return reply,
    };
    let name_max = u32::try_from(NAME_BYTES).unwrap_or(u32::MAX);
    // linkmax, name_max, no_trunc, chown_restricted, case_insensitive, case_preserving
    e.u32(LINK_MAX).u32(name_max).bool(true).bool(true).bool(false).bool(true);
    done(e, Status::Ok)
}
