//! Reading and writing files.

use bytes::Bytes;
use headhunter::{Intent, LogError, Seq, seam::TRACE};
use inode::{Fault, Frame, Inode, Kind, limits};

use crate::{
    Caller, Changed, Context, Failure, FileId, FsError, MAX_FILE_BYTES, ReadData, Right, Volume,
    Wcc,
    convert::{attributes, remember, remember_amount, touch_content, unchanged, wcc},
    driver::{Stop, failed},
    rights::{may_read, may_write, without_privilege},
};

/// One transaction's part of a write.
pub(crate) struct Piece<'a> {
    /// File offset, bytes.
    pub start: u64,
    pub frames: &'a [Frame],
    /// The whole write ends within the largest file.
    pub fits: bool,
    /// Nothing of the write follows.
    pub last: bool,
    /// Bytes copied, to be remembered.
    pub amount: Option<u64>,
    /// Only if the file ends where this begins.
    pub at_end: bool,
}

/// What one write transaction did.
pub(crate) enum Wrote {
    All(Wcc),
    /// Nothing; the file does not end there.
    Moved,
    /// Nothing; too much is in the way for more than this many bytes at once.
    Dense(u64),
}

impl Volume {
    /// At most `count` bytes at `offset`; short only at the end of the file, or at 8 MiB
    /// ([`limits::READ_BYTES`]). The access time is not moved.
    pub async fn read(
        &self,
        caller: &Caller,
        id: FileId,
        offset: u64,
        count: u32,
    ) -> Result<ReadData, Failure> {
        let count = u64::from(count.min(limits::READ_BYTES));
        let ((pieces, inode, len), view) = self
            .look(|view| {
                let inode = self.object(view, id)?;
                readable(caller, &inode).map_err(|e| Stop::from(e).seen(&inode))?;
                let end = inode.size.min(offset.saturating_add(count));
                let len = end.saturating_sub(offset);
                if len == 0 {
                    return Ok((Vec::new(), inode, 0));
                }
                Ok((self.files().pieces(view, &inode, offset, end)?, inode, len))
            })
            .await?;
        let pieces =
            self.files().read(&inode, offset, offset + len, &pieces).await.map_err(|e| {
                if matches!(e, LogError::Corrupt { .. }) {
                    // The entry's own word about its owner may be part of what is damaged.
                    tracing::error!(inode = id.ino, offset, len, "a read meets damage");
                }
                Failure { wcc: unchanged(&inode), ..failed(&e).into() }
            })?;
        drop(view);
        Ok(ReadData {
            pieces,
            len: u32::try_from(len).unwrap_or(0),
            eof: offset.saturating_add(len) >= inode.size,
            attributes: attributes(&inode),
        })
    }

    /// Writes all of `data` at `offset`; clears setuid/setgid as POSIX says. Unstable until synced.
    ///
    /// `FBig` where it would reach beyond [`MAX_FILE_BYTES`]. At most 1 MiB becomes visible at
    /// once; nothing at all where the first piece fails.
    pub async fn write(
        &self,
        cx: &Context,
        id: FileId,
        offset: u64,
        data: Bytes,
    ) -> Result<Changed, Failure> {
        self.write_as(Right::Asked, cx, id, offset, data).await
    }

    /// As [`Volume::write`], by that right. The request is remembered with the last of the pieces.
    pub async fn write_as(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
        offset: u64,
        data: Bytes,
    ) -> Result<Changed, Failure> {
        if data.is_empty() {
            return self.write_nothing(right, cx, id).await;
        }
        let bytes = data.len();
        tracing::debug!(target: TRACE, inode = id.ino, offset, bytes, "write");
        let mut before = None;
        let room = limits::WRITE_BYTES.min(self.index().payload_bytes());
        let (mut at, mut most) = (0, room);
        loop {
            let to = data.len().min(at + most);
            let piece = data.slice(at..to);
            let start = offset.saturating_add(at as u64);
            // The whole write is judged, so that one too long leaves nothing done.
            let fits = offset.checked_add(data.len() as u64).is_some_and(|e| e <= MAX_FILE_BYTES);
            let frames = if fits { self.files().frames(id.ino, start, &piece) } else { Vec::new() };
            let last = to == data.len();
            let piece = Piece { start, frames: &frames, fits, last, amount: None, at_end: false };
            let (wrote, seq) = self.write_frames(right, cx, id, &piece).await?;
            match wrote {
                Wrote::Moved => {}
                Wrote::Dense(fit) => {
                    most = usize::try_from(fit).unwrap_or(most).min(most / 2).max(1);
                }
                Wrote::All(wcc) => {
                    let first = *before.get_or_insert(wcc.before);
                    at = to;
                    if at == data.len() {
                        let wcc = Wcc { before: first, after: wcc.after };
                        tracing::debug!(target: TRACE, inode = id.ino, seq = seq.0, "written");
                        return Ok(Changed { wcc, seq });
                    }
                    most = room;
                }
            }
        }
    }

    pub(crate) async fn write_frames(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
        piece: &Piece<'_>,
    ) -> Result<(Wrote, Seq), Failure> {
        let Piece { start, frames, fits, last, amount, at_end } = *piece;
        let bytes = frames.iter().map(|f| f.len() as u64).sum();
        let now = self.now();
        self.change(Intent::Grow { bytes }, |txn| {
            let old = self.object(txn, id)?;
            writable(right, &cx.caller, &old).map_err(|e| Stop::from(e).seen(&old))?;
            if at_end && old.size != start {
                return Ok(Wrote::Moved);
            }
            if !fits {
                return Err(Stop::from(FsError::FBig).seen(&old));
            }
            let mut new = old.clone();
            match self.files().write(txn, &mut new, start, frames) {
                Ok(()) => {}
                Err(Fault::Dense(fit)) => return Ok(Wrote::Dense(fit)),
                Err(fault) => return Err(Stop::from(fault).seen(&old)),
            }
            new.mode = without_privilege(&cx.caller, &old, new.mode, false);
            touch_content(&mut new, now);
            self.files().save(txn, &mut new);
            // A write that was cut off between its pieces is done again as a whole.
            match amount {
                Some(amount) => remember_amount(txn, cx, id, amount),
                None if last => remember(txn, cx, Some(id), None, None),
                None => {}
            }
            Ok(Wrote::All(wcc(&old, &new)))
        })
        .await
    }

    /// A write of no bytes checks the right to write and changes nothing.
    async fn write_nothing(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
    ) -> Result<Changed, Failure> {
        let (inode, _view) = self
            .look(|view| {
                let inode = self.object(view, id)?;
                writable(right, &cx.caller, &inode).map_err(|e| Stop::from(e).seen(&inode))?;
                Ok(inode)
            })
            .await?;
        Ok(Changed { wcc: unchanged(&inode), seq: inode.last })
    }

    /// Makes a hole of `len` bytes at `offset`; the size stays.
    pub async fn punch(
        &self,
        cx: &Context,
        id: FileId,
        offset: u64,
        len: u64,
    ) -> Result<Changed, Failure> {
        self.punch_as(Right::Asked, cx, id, offset, len).await
    }

    /// As [`Volume::punch`], by that right. The request is remembered with the last of the pieces.
    pub async fn punch_as(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
        offset: u64,
        len: u64,
    ) -> Result<Changed, Failure> {
        let end = offset.saturating_add(len).min(MAX_FILE_BYTES);
        let (mut at, mut to, mut before) = (offset.min(end), end, None);
        loop {
            let now = self.now();
            let (done, seq) = self
                .change(Intent::Shrink, |txn| {
                    let old = self.object(txn, id)?;
                    writable(right, &cx.caller, &old).map_err(|e| Stop::from(e).seen(&old))?;
                    let mut new = old.clone();
                    match self.files().punch(txn, &mut new, at, to) {
                        Ok(()) => {}
                        Err(Fault::Dense(fit)) => return Ok(Wrote::Dense(fit)),
                        Err(fault) => return Err(Stop::from(fault).seen(&old)),
                    }
                    new.mode = without_privilege(&cx.caller, &old, new.mode, false);
                    touch_content(&mut new, now);
                    self.files().save(txn, &mut new);
                    if to == end {
                        remember(txn, cx, Some(id), None, None);
                    }
                    Ok(Wrote::All(wcc(&old, &new)))
                })
                .await?;
            match done {
                Wrote::Moved => {}
                Wrote::Dense(fit) => to = at + fit,
                Wrote::All(wcc) => {
                    let first = *before.get_or_insert(wcc.before);
                    if to == end {
                        return Ok(Changed { wcc: Wcc { before: first, ..wcc }, seq });
                    }
                    (at, to) = (to, end);
                }
            }
        }
    }

    /// First offset at or after `offset` with data (`data`) or without; `Nxio` beyond the end, and
    /// where no data follows (lseek(2), SEEK_DATA and SEEK_HOLE).
    pub async fn seek(
        &self,
        caller: &Caller,
        id: FileId,
        offset: u64,
        data: bool,
    ) -> Result<u64, Failure> {
        let (found, _view) = self
            .look(|view| {
                let inode = self.object(view, id)?;
                readable(caller, &inode).map_err(|e| Stop::from(e).seen(&inode))?;
                if offset >= inode.size {
                    return Err(Stop::from(FsError::Nxio).seen(&inode));
                }
                let found = self.files().seek(view, &inode, offset, data)?;
                found.ok_or_else(|| Stop::from(FsError::Nxio).seen(&inode))
            })
            .await?;
        Ok(found)
    }

    /// The seq that makes everything done to `id` durable (COMMIT waits for this, not the newest).
    pub async fn last_seq_of(&self, id: FileId) -> Result<(Seq, Wcc), Failure> {
        let (inode, _view) = self.look(|view| self.object(view, id)).await?;
        Ok((inode.last, unchanged(&inode)))
    }
}

fn readable(caller: &Caller, inode: &Inode) -> Result<(), FsError> {
    is_file(inode)?;
    may_read(caller, inode)
}

pub(crate) fn writable(right: Right, caller: &Caller, inode: &Inode) -> Result<(), FsError> {
    is_file(inode)?;
    match right {
        Right::Asked => may_write(caller, inode),
        Right::Opened => Ok(()),
    }
}

fn is_file(inode: &Inode) -> Result<(), FsError> {
    match inode.kind {
        Kind::File => Ok(()),
        Kind::Directory => Err(FsError::IsDir),
        _ => Err(FsError::Inval),
    }
}
