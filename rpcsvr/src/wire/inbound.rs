use bytes::{Bytes, BytesMut};
use rpc::{Header, Malformed, expected, limits::HEADER_BYTES};

use crate::limits::{ALWAYS_BYTES, READ_BUFFER_BYTES, RESERVE_AFTER_BYTES};

/// What has arrived on a connection and is not yet a whole frame.
///
/// A frame is a slice of the read buffer. Room for a large one is reserved exactly, and only when a
/// good part of it is there, so a length on the wire never costs memory by itself.
pub struct Inbound {
    buf: BytesMut,
    /// Bytes that `buf` must hold before the frame at its front is whole.
    want: usize,
    /// Longest frame behind its length field that is taken now, bytes.
    pub most: usize,
    /// Size of the last frame if it was large: the next one is probably like it.
    like_last: usize,
    /// Frames taken so far.
    taken: u64,
}

impl Inbound {
    /// Nothing has arrived; frames of at most `most` bytes are taken.
    pub fn new(most: usize) -> Self {
        Self { buf: BytesMut::new(), want: 0, most, like_last: 0, taken: 0 }
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(len) = expected(&self.buf, self.most)? else { return Ok(None) };
        // What it says of its parts is judged before there is room for them.
        self.header()?;
        self.want = len;
        if self.buf.len() < len {
            return Ok(None);
        }
        self.want = 0;
        self.taken += 1;
        self.like_last = if len > READ_BUFFER_BYTES { len } else { 0 };
        Ok(Some(self.buf.split_to(len).freeze()))
    }

    /// The header at the front, if it has arrived.
    pub fn header(&self) -> Result<Option<Header>, Malformed> {
        self.buf.first_chunk::<HEADER_BYTES>().map(Header::decode).transpose()
    }

    /// True when [`Inbound::next_frame`] has something to say without further bytes.
    pub fn has_frame(&self) -> bool {
        match expected(&self.buf, self.most) {
            Ok(Some(len)) => self.buf.len() >= len || self.header().is_err(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Number of the frame of which a part is here, if one is.
    pub fn partial(&self) -> Option<u64> {
        (!self.buf.is_empty()).then_some(self.taken)
    }

    /// Size of the frame that is arriving, as far as it is known, bytes.
    pub fn expects(&self) -> usize {
        self.want
    }

    /// Memory that the unfinished frame takes until it is whole, if it is not a small one (at most
    /// [`ALWAYS_BYTES`], which need not ask), bytes.
    pub fn needs(&self) -> usize {
        if self.want <= ALWAYS_BYTES { 0 } else { self.want.max(READ_BUFFER_BYTES) }
    }

    /// Moves a small unfinished frame, which seems to be slow, out of its shared buffer.
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
            // Enough for this frame: a large one has exactly its own, a slow one no more.
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
