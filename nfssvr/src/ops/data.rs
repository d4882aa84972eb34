//! READ, WRITE, COMMIT.

use bytes::Bytes;
use fs::{FileId, FsError, seam::TRACE};

use crate::{
    call::{Cx, done},
    limits::{COPY_BYTES, TRANSFER_BYTES},
    nfs3::{Status, post_op, wcc},
    wire::Reply,
};

/// Offsets are signed on every client.
const MAX_OFFSET: u64 = i64::MAX as u64;

/// READ (§3.3.6). The count is cut to rtmax; the data goes out by reference.
pub async fn read(cx: Cx, id: FileId, offset: u64, count: u32) -> Reply {
    if offset > MAX_OFFSET {
        return cx.failed(Status::Inval);
    }
    match cx.volume().read(&cx.caller, id, offset, count.min(TRANSFER_BYTES)).await {
        Ok(data) => {
            let mut e = cx.ok();
            post_op(&mut e, cx.fsid(), Some(&data.attributes));
            e.u32(data.len).bool(data.eof).u32(data.len);
            let len = data.len as usize;
            if len > COPY_BYTES {
                return Reply { head: e.into_inner(), data: data.pieces, status: 0 };
            }
            for piece in &data.pieces {
                e.raw(piece);
            }
            e.pad(len);
            done(e, Status::Ok)
        }
        Err(failure) => cx.fail_post(&failure),
    }
}

/// WRITE (§3.3.7). UNSTABLE is answered when it is ordered and visible; DATA_SYNC and FILE_SYNC
/// when it is durable: nothing here distinguishes data from attributes, so both are FILE_SYNC.
pub async fn write(cx: Cx, id: FileId, offset: u64, stable: u32, mut data: Bytes) -> Reply {
    data.truncate(TRANSFER_BYTES as usize);
    let count = u32::try_from(data.len()).unwrap_or(TRANSFER_BYTES);
    if offset.checked_add(u64::from(count)).is_none_or(|end| end > MAX_OFFSET) {
        return cx.failed(Status::FBig);
    }
    // Taken before the bytes are: if unstable bytes are dropped from here on, the verifier of the
    // COMMIT differs from this one and the client sends them again (R24).
    let verifier = cx.service().write_verifier();
    let changed = match cx.volume().write(&cx.context(), id, offset, data).await {
        Ok(changed) => changed,
        Err(failure) => return cx.fail_wcc(&failure),
    };
    let mut committed = 0;
    if stable > 0 {
        if let Err(error) = cx.durable(changed.seq).await {
            return cx.failed(cx.status(error));
        }
        committed = 2;
    } else if cx.volume().is_durable(changed.seq) {
        committed = 2;
    }
    let mut e = cx.ok();
    wcc(&mut e, cx.fsid(), &changed.wcc);
    e.u32(count).u32(committed).u64(verifier);
    done(e, Status::Ok)
}

/// COMMIT (§3.3.21): waits for the file's own last change, whatever range is asked for.
pub async fn commit(cx: Cx, id: FileId) -> Reply {
    let (seq, mut state) = match cx.volume().last_seq_of(id).await {
        Ok(found) => found,
        Err(failure) => return cx.fail_wcc(&failure),
    };
    tracing::debug!(target: TRACE, inode = id.ino, seq = seq.0, "flush");
    match cx.durable(seq).await {
        Ok(()) => tracing::debug!(target: TRACE, inode = id.ino, seq = seq.0, "flushed"),
        // R18: room was settled at WRITE.
        Err(FsError::NoSpc) => return cx.failed(Status::Io),
        Err(error) => return cx.failed(cx.status(error)),
    }
    // COMMIT changes nothing, but others may have meanwhile: what was before is not known.
    state.before = None;
    let mut e = cx.ok();
    wcc(&mut e, cx.fsid(), &state);
    // Read after the wait: bytes dropped during it are told by a new verifier.
    e.u64(cx.service().write_verifier());
    done(e, Status::Ok)
}
