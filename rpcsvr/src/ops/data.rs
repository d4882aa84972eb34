//! Content of files.

use bytes::Bytes;
use fs::{Caller, FileId, FsError, Right, SetAttributes};
use rpc::{
    List, Object, Range,
    calls::{
        Allocate, Copied, Copy, Data, FSync, Ranges, Read, Seek, Sought, Stretches, Write, Written,
        allocate as mode, seek as whence, write as write_flags,
    },
    errno,
    limits::{PAYLOAD_BYTES, RANGES},
};

use super::known;
use crate::{
    call::{Cx, Fail},
    limits::COPY_ONCE_BYTES,
    wire::Reply,
};

/// For what was granted when it was opened.
fn anybody() -> Caller {
    Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: false }
}

impl Cx {
    /// The file to read, and as whom.
    fn readable(&self, file: Object) -> Result<(FileId, Caller), Fail> {
        match self.object(file)? {
            (id, Some(handle)) if handle.read => Ok((id, anybody())),
            (_, Some(_)) => Err(Fail::saying(errno::EBADF, "a handle not open for reading")),
            (id, None) => Ok((id, self.caller.clone())),
        }
    }

    /// The file to write, and by what right.
    fn writable(&self, file: Object) -> Result<(FileId, Right), Fail> {
        match self.object(file)? {
            (id, Some(handle)) if handle.write => Ok((id, Right::Opened)),
            (_, Some(_)) => Err(Fail::saying(errno::EBADF, "a handle not open for writing")),
            (id, None) => Ok((id, Right::Asked)),
        }
    }
}

/// READ.
pub async fn read(cx: Cx, call: Read) -> Result<Reply, Fail> {
    let (id, caller) = cx.readable(call.file)?;
    let most = u32::try_from(PAYLOAD_BYTES).unwrap_or(u32::MAX);
    let data = cx.volume().read(&caller, id, call.offset, call.count.min(most)).await?;
    Ok(cx.reply_with(&Data { eof: data.eof }, data.pieces))
}

/// WRITE.
pub async fn write(cx: Cx, call: Write, payload: Bytes) -> Result<Reply, Fail> {
    known(call.flags, write_flags::APPEND)?;
    let (id, right) = cx.writable(call.file)?;
    let context = cx.context();
    let done = if call.flags & write_flags::APPEND != 0 {
        if call.offset != 0 {
            return Err(Fail::saying(errno::EINVAL, "an offset together with APPEND"));
        }
        cx.volume().append_as(right, &context, id, payload).await?
    } else {
        cx.volume().write_as(right, &context, id, call.offset, payload).await?
    };
    cx.settled(done.seq).await?;
    let size = done.wcc.after.map_or(0, |a| a.size);
    Ok(cx.reply(&Written { seq: done.seq.0, size }))
}

/// FSYNC.
pub async fn fsync(cx: Cx, call: FSync) -> Result<Reply, Fail> {
    let (id, _) = cx.object(call.file)?;
    let (seq, _) = cx.volume().last_seq_of(id).await?;
    cx.durable(seq).await?;
    Ok(cx.reply(&()))
}

/// SEEK.
pub async fn seek(cx: Cx, call: Seek) -> Result<Reply, Fail> {
    let (id, caller) = cx.readable(call.file)?;
    let data = match call.whence {
        whence::DATA => true,
        whence::HOLE => false,
        _ => return Err(Fail::saying(errno::EINVAL, "SEEK knows 3 (data) and 4 (hole)")),
    };
    let offset = cx.volume().seek(&caller, id, call.offset, data).await?;
    Ok(cx.reply(&Sought { offset }))
}

/// RANGES.
pub async fn ranges(cx: Cx, call: Ranges) -> Result<Reply, Fail> {
    let (id, caller) = cx.readable(call.file)?;
    let most = (call.count as usize).min(RANGES);
    let end = call.offset.saturating_add(call.len);
    let (mut at, mut ranges, mut complete) = (call.offset, Vec::new(), true);
    while at < end {
        let start = match cx.volume().seek(&caller, id, at, true).await {
            Ok(start) if start < end => start,
            Ok(_) => break,
            Err(failure) if failure.error == FsError::Nxio => break,
            Err(failure) => return Err(failure.into()),
        };
        if ranges.len() == most {
            complete = false;
            break;
        }
        let stop = cx.volume().seek(&caller, id, start, false).await?.min(end);
        ranges.push(Range { start, len: stop.saturating_sub(start) });
        at = stop;
    }
    Ok(cx.reply(&Stretches { ranges: List(ranges), end: complete }))
}

/// ALLOCATE.
pub async fn allocate(cx: Cx, call: Allocate) -> Result<Reply, Fail> {
    let (id, right) = cx.writable(call.file)?;
    let volume = cx.volume();
    let end = call.offset.checked_add(call.len).filter(|e| *e <= fs::MAX_FILE_BYTES);
    let end = end.ok_or(FsError::FBig)?;
    let now = volume.getattr(id).await?;
    if now.kind != fs::Kind::File {
        return Err(FsError::Inval.into());
    }
    let context = cx.context();
    let extend = matches!(call.mode, mode::EXTEND | mode::ZERO) && end > now.size;
    let punch = matches!(call.mode, mode::PUNCH | mode::ZERO | mode::ZERO_KEEP_SIZE);
    if !punch && !matches!(call.mode, mode::EXTEND | mode::KEEP_SIZE) {
        return Err(Fail::saying(errno::EINVAL, "a mode that ALLOCATE does not know"));
    }
    let mut last = None;
    if punch {
        // The record of the last step remembers the request.
        let quiet = fs::Context { request: None, ..context.clone() };
        let cx_of = if extend { &quiet } else { &context };
        last = Some(volume.punch_as(right, cx_of, id, call.offset, call.len).await?);
    }
    if extend {
        let set = SetAttributes { size: Some(end), ..SetAttributes::default() };
        last = Some(volume.setattr_as(right, &context, id, set, None).await?);
    }
    match last {
        Some(done) => cx.changed(done.wcc.after.unwrap_or(now), done.seq).await,
        None => {
            // Nothing to do, but the right to write is asked for all the same.
            let done = volume.write_as(right, &context, id, 0, Bytes::new()).await?;
            cx.changed(done.wcc.after.unwrap_or(now), done.seq).await
        }
    }
}

/// COPY.
pub async fn copy(cx: Cx, call: Copy) -> Result<Reply, Fail> {
    let (from, reader) = cx.readable(call.from)?;
    let (to, right) = cx.writable(call.to)?;
    let len = call.len.min(COPY_ONCE_BYTES);
    let ends = (call.from_offset.checked_add(len), call.to_offset.checked_add(len));
    let (Some(from_end), Some(to_end)) = ends else { return Err(FsError::FBig.into()) };
    if from == to && call.from_offset < to_end && call.to_offset < from_end {
        return Err(Fail::saying(errno::EINVAL, "a copy onto itself"));
    }
    let reads = (from, call.from_offset);
    let writes = (to, call.to_offset);
    let done = cx.volume().copy_as(&reader, right, &cx.context(), reads, writes, len).await?;
    cx.settled(done.seq).await?;
    Ok(cx.reply(&Copied { bytes: done.bytes, seq: done.seq.0 }))
}
