use std::ops::Range;

use bytes::{Bytes, BytesMut};
use headhunter::{Frame, Location, LogError, Owner, Txn, View};
use logseg::FRAME_BYTES;

use crate::{
    Extent, Fault, Files, Inode, Mark, Pending, Source,
    files::{damaged, load_any},
    key,
    limits::{MAX_FILE_BYTES, READ_PIECES, SCAN_KEYS},
};

/// A piece of a file, in the order of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Zeros, bytes.
    Hole(u64),
    /// `len` bytes of the frame at `location` from `skip` on.
    Data {
        /// The frame.
        location: Location,
        /// Offset in the decoded frame, bytes.
        skip: u32,
        /// Bytes.
        len: u32,
    },
}

static ZEROS: [u8; FRAME_BYTES] = [0; FRAME_BYTES];

impl Files {
    /// Cuts `data`, to be written at `offset`, into frames that end at multiples of
    /// [`FRAME_BYTES`] of the file, so that later overwrites replace whole frames. Checksums and
    /// compression happen here, outside every lock.
    pub fn frames(&self, ino: u64, offset: u64, data: &Bytes) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(data.len() / FRAME_BYTES + 2);
        let mut at = 0;
        while at < data.len() {
            let into = usize::try_from((offset + at as u64) % FRAME_BYTES as u64).unwrap_or(0);
            let to = data.len().min(at + FRAME_BYTES - into);
            frames.push(Frame::data(Owner(ino), data.slice(at..to), self.index.codec()));
            at = to;
        }
        frames
    }

    /// Writes `frames` one after the other at `offset` (their end at most [`MAX_FILE_BYTES`]).
    /// `inode` (size, used) is changed, not saved.
    ///
    /// Stops with [`Fault::Dense`] where more extents are in the way than one transaction removes.
    pub fn write(
        &self,
        txn: &mut Txn<'_>,
        inode: &mut Inode,
        offset: u64,
        frames: &[Frame],
    ) -> Result<(), Fault> {
        let len: u64 = frames.iter().map(|f| f.len() as u64).sum();
        let end = offset.saturating_add(len);
        // Invariant 1: nothing live lies beyond the size, and without marks nothing dead either.
        if offset < inode.size || !inode.marks.is_empty() {
            let most = self.tuning.slice_keys;
            let old = overlapping(txn, inode.id.ino, offset, end, most + 1)?;
            if let Some(one_too_many) = old.get(most) {
                return Err(Fault::Dense(one_too_many.start.saturating_sub(offset).max(1)));
            }
            for extent in &old {
                cut(txn, inode, extent, offset, end);
            }
        }
        let mut start = offset;
        for frame in frames {
            let location = txn.append(frame);
            let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            let birth = txn.seq();
            put_new(txn, inode, &Extent { start, location, skip: 0, len, birth });
            start += u64::from(len);
        }
        inode.size = inode.size.max(end);
        Ok(())
    }

    /// Sets the length of a file. Old bytes never come back: what lies beyond a smaller size is
    /// removed, or dead behind a mark with its removal pending (R22). `inode` is changed, not
    /// saved.
    ///
    /// Stops with [`Fault::Slice`] where all marks are in use.
    pub fn truncate(&self, txn: &mut Txn<'_>, inode: &mut Inode, size: u64) -> Result<(), Fault> {
        if size >= inode.size {
            inode.size = size;
            return Ok(());
        }
        let most = self.tuning.slice_keys;
        let old = overlapping(txn, inode.id.ino, size, MAX_FILE_BYTES, most + 1)?;
        for extent in old.iter().take(most) {
            cut(txn, inode, extent, size, MAX_FILE_BYTES);
        }
        inode.marks.retain(|mark| mark.offset < size);
        if let Some(rest) = old.get(most) {
            if inode.marks.len() >= crate::limits::MARKS {
                return Err(Fault::Slice(inode.id.ino));
            }
            // What lies before `rest` is removed already, so the mark may begin there.
            inode.marks.push(Mark { offset: rest.start, seq: txn.seq() });
            // Without a name it is on the list already, as open: that must not be forgotten.
            if inode.nlink > 0 {
                self.note(txn, inode.id.ino, Pending::Truncated);
            }
        }
        inode.size = size;
        Ok(())
    }

    /// Makes a hole of `from..to`; the size stays. Stops with [`Fault::Dense`] as a write does.
    pub fn punch(
        &self,
        txn: &mut Txn<'_>,
        inode: &mut Inode,
        from: u64,
        to: u64,
    ) -> Result<(), Fault> {
        let most = self.tuning.slice_keys;
        let old = overlapping(txn, inode.id.ino, from, to, most + 1)?;
        if let Some(one_too_many) = old.get(most) {
            return Err(Fault::Dense(one_too_many.start.saturating_sub(from).max(1)));
        }
        for extent in &old {
            cut(txn, inode, extent, from, to);
        }
        Ok(())
    }

    /// What makes up `from..to` of a file (`to` at most its size).
    pub fn pieces(
        &self,
        view: &impl Source,
        inode: &Inode,
        from: u64,
        to: u64,
    ) -> Result<Vec<Piece>, Fault> {
        pieces_of(view, inode, from, to)
    }

    /// First offset >= `from` that holds data (`data`) or that does not (`!data`), for SEEK_DATA
    /// and SEEK_HOLE; the size counts as a hole. `None`: no data follows.
    pub fn seek(
        &self,
        view: &impl Source,
        inode: &Inode,
        from: u64,
        data: bool,
    ) -> Result<Option<u64>, Fault> {
        let mut at = from;
        let mut scan = from;
        loop {
            let extents = overlapping(view, inode.id.ino, scan, MAX_FILE_BYTES, SCAN_KEYS)?;
            for e in extents.iter().filter(|e| !inode.is_dead(e)) {
                if data {
                    return Ok(Some(e.start.max(from)));
                }
                if e.start > at {
                    return Ok(Some(at));
                }
                at = at.max(e.end());
            }
            match extents.last() {
                Some(last) if extents.len() >= SCAN_KEYS => scan = last.end(),
                _ if data => return Ok(None),
                _ => return Ok(Some(at.min(inode.size))),
            }
        }
    }

    /// The bytes of `pieces`, which make up `from..to` of `inode`: slices of frames in memory, of a
    /// shared buffer of zeros, and of frames fetched together. Ready at the first poll if all
    /// frames are in memory. Who reads on and on finds the next frames there. Hold the view that
    /// gave the pieces meanwhile (R8).
    pub async fn read(
        &self,
        inode: &Inode,
        from: u64,
        to: u64,
        pieces: &[Piece],
    ) -> Result<Vec<Bytes>, LogError> {
        let (out, absent) = self.in_memory(pieces)?;
        let ahead = self.streams.note(inode.id.ino, from, to, inode.size, !absent.is_empty());
        if absent.is_empty() {
            ahead.into_iter().for_each(|range| self.read_ahead_of(inode.id.ino, range));
            return Ok(gathered(out));
        }
        let fetch = self.fill(out, absent);
        // What is waited for is asked for first.
        let mut fetch = std::pin::pin!(fetch);
        let first = futures_util::future::poll_immediate(&mut fetch).await;
        ahead.into_iter().for_each(|range| self.read_ahead_of(inode.id.ino, range));
        match first {
            Some(done) => done,
            None => fetch.await,
        }
    }

    /// The bytes of `pieces`, as [`Files::read`] gives them, of no stream.
    pub async fn fetch(&self, pieces: &[Piece]) -> Result<Vec<Bytes>, LogError> {
        let (out, absent) = self.in_memory(pieces)?;
        self.fill(out, absent).await
    }

    /// The pieces with a gap for each that is not in memory, and these.
    fn in_memory(&self, pieces: &[Piece]) -> Result<(Vec<Bytes>, Vec<Absent>), LogError> {
        let mut out: Vec<Bytes> = Vec::with_capacity(pieces.len());
        let mut absent = Vec::new();
        for piece in pieces {
            match *piece {
                Piece::Hole(len) => zeros(len, &mut out),
                Piece::Data { location, skip, len } => {
                    match self.index.read_now(&location) {
                        Some(frame) => out.push(part(&frame, &location, skip, len)?),
                        None => {
                            absent.push(Absent { at: out.len(), location, skip, len });
                            out.push(Bytes::new());
                        }
                    };
                }
            }
        }
        Ok((out, absent))
    }

    async fn fill(&self, mut out: Vec<Bytes>, absent: Vec<Absent>) -> Result<Vec<Bytes>, LogError> {
        if !absent.is_empty() {
            let mut places: Vec<Location> = absent.iter().map(|a| a.location).collect();
            places.dedup();
            let frames = self.index.read_many(&places).await?;
            let mut n = 0;
            for Absent { at, location, skip, len } in absent {
                if places[n] != location {
                    n += 1;
                }
                out[at] = part(&frames[n], &location, skip, len)?;
            }
        }
        Ok(gathered(out))
    }

    /// Brings the frames of a range into memory, if the file still has them.
    fn read_ahead_of(&self, ino: u64, range: Range<u64>) {
        self.index.read_ahead(move |view| match frames_of(view, ino, &range) {
            Ok(places) => Ok(places),
            Err(Fault::Miss(miss)) => Err(miss),
            // Whoever reads there will be told.
            Err(_) => Ok(Vec::new()),
        });
    }
}

/// A piece whose frame is not in memory.
struct Absent {
    /// Its place among the pieces' buffers.
    at: usize,
    location: Location,
    skip: u32,
    len: u32,
}

fn gathered(out: Vec<Bytes>) -> Vec<Bytes> {
    if out.len() <= READ_PIECES {
        return out;
    }
    let mut whole = BytesMut::with_capacity(out.iter().map(Bytes::len).sum());
    out.iter().for_each(|b| whole.extend_from_slice(b));
    vec![whole.freeze()]
}

/// Frames that hold bytes of `range` of a file, each once.
fn frames_of(view: &View, ino: u64, range: &Range<u64>) -> Result<Vec<Location>, Fault> {
    let Some(inode) = load_any(view, ino)? else { return Ok(Vec::new()) };
    let pieces = pieces_of(view, &inode, range.start, range.end.min(inode.size))?;
    let mut places: Vec<Location> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Data { location, .. } => Some(*location),
            Piece::Hole(_) => None,
        })
        .collect();
    places.dedup();
    Ok(places)
}

fn pieces_of(view: &impl Source, inode: &Inode, from: u64, to: u64) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut at = from;
    for e in overlapping(view, inode.id.ino, from, to, usize::MAX)? {
        if inode.is_dead(&e) {
            continue;
        }
        let (start, end) = (e.start.max(at), e.end().min(to));
        if end <= start {
            continue;
        }
        if start > at {
            pieces.push(Piece::Hole(start - at));
        }
        let into = u32::try_from(start - e.start).unwrap_or(0);
        let len = u32::try_from(end - start).unwrap_or(e.len);
        pieces.push(Piece::Data { location: e.location, skip: e.skip + into, len });
        at = end;
    }
    if at < to {
        pieces.push(Piece::Hole(to - at));
    }
    Ok(pieces)
}

fn zeros(mut len: u64, out: &mut Vec<Bytes>) {
    while len > 0 {
        let n = len.min(FRAME_BYTES as u64);
        out.push(Bytes::from_static(&ZEROS).slice(..usize::try_from(n).unwrap_or(FRAME_BYTES)));
        len -= n;
    }
}

fn part(frame: &Bytes, location: &Location, skip: u32, len: u32) -> Result<Bytes, LogError> {
    let (from, to) = (skip as usize, skip as usize + len as usize);
    if to > frame.len() {
        return Err(LogError::Corrupt {
            segment: location.segment,
            offset: u64::from(location.offset),
            reason: format!("an extent needs bytes {from}..{to} of a frame of {}", frame.len()),
        });
    }
    Ok(frame.slice(from..to))
}

/// Extents, dead ones too, that share a byte with `from..to`, ascending, at most `limit`.
pub(crate) fn overlapping(
    source: &impl Source,
    ino: u64,
    from: u64,
    to: u64,
    limit: usize,
) -> Result<Vec<Extent>, Fault> {
    let mut extents = Vec::new();
    if from >= to {
        return Ok(extents);
    }
    let high = key::with_u64(ino, key::EXTENT, to);
    let mut next = from;
    while extents.len() < limit {
        let low = key::with_u64(ino, key::EXTENT, next);
        let want = (limit - extents.len()).min(SCAN_KEYS);
        let items = source.range(&low, &high, want)?;
        for (k, v) in &items {
            extents.push(decode(k, v)?);
        }
        match extents.last() {
            Some(last) if items.len() == want => next = last.start + 1,
            _ => break,
        }
    }
    if extents.first().is_none_or(|e| e.start > from) && from > 0 {
        // No extent is longer than a frame.
        let low = key::with_u64(ino, key::EXTENT, from.saturating_sub(FRAME_BYTES as u64 - 1));
        if let Some((k, v)) = source.last(&low, &key::with_u64(ino, key::EXTENT, from))? {
            let before = decode(&k, &v)?;
            if before.end() > from {
                extents.insert(0, before);
                extents.truncate(limit);
            }
        }
    }
    Ok(extents)
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Extent, Fault> {
    let start = key::sub_u64(key).ok_or_else(|| damaged(key))?;
    Extent::decode(start, value)
        .filter(|e| e.len as usize <= FRAME_BYTES)
        .ok_or_else(|| damaged(key))
}

fn put(txn: &mut Txn<'_>, ino: u64, extent: &Extent) {
    let key = key::with_u64(ino, key::EXTENT, extent.start);
    txn.put(Bytes::copy_from_slice(&key), extent.encode());
}

fn put_new(txn: &mut Txn<'_>, inode: &mut Inode, extent: &Extent) {
    put(txn, inode.id.ino, extent);
    txn.account(extent.location.segment, i64::from(extent.len));
    inode.used = inode.used.saturating_add(u64::from(extent.len));
}

/// Removes an extent's key and what it accounts.
pub(crate) fn remove(txn: &mut Txn<'_>, inode: &mut Inode, extent: &Extent) {
    let key = key::with_u64(inode.id.ino, key::EXTENT, extent.start);
    txn.delete(Bytes::copy_from_slice(&key));
    txn.account(extent.location.segment, -i64::from(extent.len));
    inode.used = inode.used.saturating_sub(u64::from(extent.len));
}

/// Takes `from..to` out of `extent`: what remains on either side keeps location and birth, and so
/// stays dead if it was.
fn cut(txn: &mut Txn<'_>, inode: &mut Inode, extent: &Extent, from: u64, to: u64) {
    remove(txn, inode, extent);
    if extent.start < from {
        let len = u32::try_from(from - extent.start).unwrap_or(extent.len);
        put_new(txn, inode, &Extent { len, ..*extent });
    }
    if extent.end() > to {
        let into = u32::try_from(to - extent.start).unwrap_or(0);
        let right =
            Extent { start: to, skip: extent.skip + into, len: extent.len - into, ..*extent };
        put_new(txn, inode, &right);
    }
}
