use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{
    ALWAYS_BYTES, FRAGMENTS, READ_BUFFER_BYTES, RECORD_BYTES, RESERVE_AFTER_BYTES,
};

/// The framing is broken: nothing that follows can be believed, the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A record over [`RECORD_BYTES`].
    TooLong,
    /// A record of more than [`FRAGMENTS`] fragments.
    TooManyFragments,
}

const LAST: u32 = 1 << 31;

/// What has arrived on a connection and is not yet a whole record.
///
/// A record in one fragment (all that Linux sends) is a slice of the read buffer; only records in
/// several fragments are copied together. Room for a large record is reserved exactly, and only
/// when a good part of it is there, so a length on the wire never costs memory by itself.
#[derive(Default)]
pub struct Inbound {
    buf: BytesMut,
    /// Fragments before the last one.
    joined: BytesMut,
    fragments: u32,
    /// Bytes that `buf` must hold before the current fragment is whole, its mark included.
    want: usize,
    /// Size of the last record if it was large: the next one is probably like it.
    like_last: usize,
    /// Records taken so far.
    taken: u64,
}

impl Inbound {
    /// Length of the fragment at the front, and whether it is the last of its record.
    fn mark(&self) -> Option<(usize, bool)> {
        let b = self.buf.get(..4)?;
        let word = u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
        Some(((word & !LAST) as usize, word & LAST != 0))
    }

    /// The next whole record, if it has arrived.
    pub fn next_record(&mut self) -> Result<Option<Bytes>, Malformed> {
        while let Some((len, last)) = self.mark() {
            if self.joined.len() + len > RECORD_BYTES {
                return Err(Malformed::TooLong);
            }
            if self.fragments >= FRAGMENTS {
                return Err(Malformed::TooManyFragments);
            }
            self.want = len + 4;
            if self.buf.len() < self.want {
                return Ok(None);
            }
            let mut piece = self.buf.split_to(self.want);
            piece.advance(4);
            self.want = 0;
            if last && self.fragments == 0 {
                self.done(len);
                return Ok(Some(piece.freeze()));
            }
            self.fragments += 1;
            self.joined.extend_from_slice(&piece);
            if last {
                self.fragments = 0;
                let record = std::mem::take(&mut self.joined).freeze();
                self.done(record.len());
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn done(&mut self, len: usize) {
        self.taken += 1;
        self.like_last = if len > READ_BUFFER_BYTES { len + 4 } else { 0 };
    }

    /// True when [`Inbound::next_record`] has something to say without further bytes.
    pub fn has_record(&self) -> bool {
        self.mark().is_some_and(|(len, _)| {
            self.buf.len() >= len + 4 || self.joined.len() + len > RECORD_BYTES
        })
    }

    /// Number of the record of which a part is here, if one is.
    pub fn partial(&self) -> Option<u64> {
        let some = !self.buf.is_empty() || self.fragments > 0;
        some.then_some(self.taken)
    }

    /// Size of the fragment that is arriving, as far as it is known, bytes.
    pub fn expects(&self) -> usize {
        self.joined.len() + self.want
    }

    /// Memory that the unfinished record takes until it is whole, if it is not a small one (at
    /// most [`ALWAYS_BYTES`], which need not ask), bytes.
    pub fn needs(&self) -> usize {
        let expects = self.expects();
        if expects <= ALWAYS_BYTES { 0 } else { expects.max(READ_BUFFER_BYTES) }
    }

    /// Moves a small unfinished record, which seems to be slow, out of its shared buffer.
    pub fn shrink(&mut self) -> Option<BytesMut> {
        if self.needs() > 0 || self.buf.capacity() <= 2 * ALWAYS_BYTES {
            return None;
        }
        let mut own = BytesMut::with_capacity(ALWAYS_BYTES.max(self.buf.len()));
        own.extend_from_slice(&self.buf);
        Some(std::mem::replace(&mut self.buf, own))
    }

    /// The buffer with room for the next read. `fresh` gives an empty one of
    /// [`READ_BUFFER_BYTES`].
    pub fn room(&mut self, fresh: impl FnOnce() -> BytesMut) -> &mut BytesMut {
        if self.buf.is_empty() && self.like_last > 0 {
            if self.buf.capacity() < self.like_last {
                self.buf = BytesMut::with_capacity(self.like_last);
            }
            return &mut self.buf;
        }
        if self.buf.capacity() == 0 {
            self.buf = fresh();
        }
        let missing = self.want.saturating_sub(self.buf.len());
        let spare = self.buf.capacity() - self.buf.len();
        if missing > 0 && missing <= spare {
            // Enough for this record: a large one has exactly its own, a slow one no more.
        } else if missing > spare && (self.buf.len() >= RESERVE_AFTER_BYTES || spare == 0) {
            self.buf.reserve(missing);
        } else if spare < READ_BUFFER_BYTES / 4 {
            self.buf.reserve(READ_BUFFER_BYTES.saturating_sub(self.buf.len()).max(4096));
        }
        &mut self.buf
    }

    /// Gives the buffer back when nothing is in it, so that an idle connection holds none.
    pub fn give_back(&mut self) -> Option<BytesMut> {
        if !self.buf.is_empty() || self.buf.capacity() == 0 {
            return None;
        }
        let buf = std::mem::take(&mut self.buf);
        if self.like_last > 0 {
            self.like_last = 0;
            return None;
        }
        Some(buf)
    }
}
