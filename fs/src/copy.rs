//! Appending, and copying within the volume.

use bytes::Bytes;
use headhunter::{Intent, Seq};
use inode::limits;

use crate::{
    Caller, Changed, Context, Failure, FileId, FsError, MAX_FILE_BYTES, Right, Volume,
    convert::{remember_amount, touch_content},
    data::{Piece, Wrote, writable},
    driver::Stop,
    rights::without_privilege,
};

/// Outcome of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes copied; 0 only at the end of the source.
    pub bytes: u64,
    /// Place in commit order.
    pub seq: Seq,
}

impl Volume {
    /// Writes `data` at the end of the file, wherever that is at that moment. Of more than 1 MiB
    /// each piece goes to the end on its own.
    pub async fn append_as(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
        data: Bytes,
    ) -> Result<Changed, Failure> {
        let room = limits::WRITE_BYTES.min(self.index().payload_bytes()).max(1);
        let mut at = 0;
        loop {
            let start = self.getattr(id).await?.size;
            let to = data.len().min(at + room);
            if data.is_empty() {
                return self.write_as(right, cx, id, start, data).await;
            }
            let piece = data.slice(at..to);
            let fits = start.checked_add(piece.len() as u64).is_some_and(|e| e <= MAX_FILE_BYTES);
            let frames = if fits { self.files().frames(id.ino, start, &piece) } else { Vec::new() };
            let last = to == data.len();
            let piece = Piece { start, frames: &frames, fits, last, amount: None, at_end: true };
            match self.write_frames(right, cx, id, &piece).await? {
                (Wrote::All(wcc), seq) if last => return Ok(Changed { wcc, seq }),
                (Wrote::All(_), _) => at = to,
                // Behind the end nothing is in the way; the file grew meanwhile.
                (Wrote::Dense(_) | Wrote::Moved, _) => {}
            }
        }
    }

    /// Copies at most `len` bytes, and at most one stretch that is all data or all hole: data in
    /// pieces of at most 1 MiB; a hole stays one. What was copied is remembered with the request.
    pub async fn copy_as(
        &self,
        reader: &Caller,
        right: Right,
        cx: &Context,
        (from, from_offset): (FileId, u64),
        (to, to_offset): (FileId, u64),
        len: u64,
    ) -> Result<Copied, Failure> {
        let end = from_offset.saturating_add(len);
        let Some((hole, bytes)) = self.stretch(reader, from, from_offset, end).await? else {
            let done = self.write_as(right, cx, to, 0, Bytes::new()).await?;
            return Ok(Copied { bytes: 0, seq: done.seq });
        };
        if to_offset.checked_add(bytes).is_none_or(|end| end > MAX_FILE_BYTES) {
            return Err(FsError::FBig.into());
        }
        if hole {
            let quiet = Context { request: None, ..cx.clone() };
            self.punch_as(right, &quiet, to, to_offset, bytes).await?;
            let seq = self.reach(right, cx, to, to_offset + bytes, bytes).await?;
            return Ok(Copied { bytes, seq });
        }
        let room = limits::WRITE_BYTES.min(self.index().payload_bytes()).max(1) as u64;
        let mut bytes = bytes.min(room);
        loop {
            let count = u32::try_from(bytes).unwrap_or(u32::MAX);
            let data = self.read(reader, from, from_offset, count).await?;
            let data: Bytes = match <[Bytes; 1]>::try_from(data.pieces) {
                Ok([piece]) => piece,
                Err(pieces) => pieces.concat().into(),
            };
            let frames = self.files().frames(to.ino, to_offset, &data);
            let amount = Some(data.len() as u64);
            let piece = Piece {
                start: to_offset,
                frames: &frames,
                fits: true,
                last: true,
                amount,
                at_end: false,
            };
            match self.write_frames(right, cx, to, &piece).await? {
                (Wrote::All(_), seq) => return Ok(Copied { bytes: data.len() as u64, seq }),
                (Wrote::Dense(fit), _) => bytes = fit.min(bytes / 2).max(1),
                (Wrote::Moved, _) => {}
            }
        }
    }

    /// Whether the source has a hole at `at`, and how many bytes before `end` are like it; `None` at
    /// the end of the file.
    async fn stretch(
        &self,
        reader: &Caller,
        from: FileId,
        at: u64,
        end: u64,
    ) -> Result<Option<(bool, u64)>, Failure> {
        let size = self.getattr(from).await?.size;
        let end = end.min(size);
        if at >= end {
            // The right is asked for all the same.
            self.read(reader, from, at, 0).await?;
            return Ok(None);
        }
        let data = match self.seek(reader, from, at, true).await {
            Ok(data) => data,
            Err(failure) if failure.error == FsError::Nxio => size,
            Err(failure) => return Err(failure),
        };
        if data > at {
            return Ok(Some((true, data.min(end) - at)));
        }
        let hole = self.seek(reader, from, at, false).await?;
        Ok(Some((false, hole.min(end).saturating_sub(at).max(1))))
    }

    /// The file is at least `size` long; remembers that so many bytes were copied.
    async fn reach(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
        size: u64,
        amount: u64,
    ) -> Result<Seq, Failure> {
        let now = self.now();
        let (_, seq) = self
            .change(Intent::Shrink, |txn| {
                let old = self.object(txn, id)?;
                writable(right, &cx.caller, &old).map_err(|e| Stop::from(e).seen(&old))?;
                let mut new = old.clone();
                if size > old.size {
                    self.files().truncate(txn, &mut new, size)?;
                }
                new.mode = without_privilege(&cx.caller, &old, new.mode, false);
                touch_content(&mut new, now);
                self.files().save(txn, &mut new);
                remember_amount(txn, cx, id, amount);
                Ok(())
            })
            .await?;
        Ok(seq)
    }
}
