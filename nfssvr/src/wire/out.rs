use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{COPY_BYTES, WRITE_PIECES};

/// One reply: a head with four free bytes first, then file data, then its padding.
#[derive(Debug, Default)]
pub struct Reply {
    /// Record mark to be, RPC header, results up to the data.
    pub head: Vec<u8>,
    /// File data of a READ, by reference.
    pub data: Vec<Bytes>,
    /// NFS or MOUNT status, for the counters. `u32::MAX`: refused by RPC.
    pub status: u32,
}

impl Reply {
    /// Sum of the data pieces, bytes.
    fn data_len(&self) -> usize {
        self.data.iter().map(Bytes::len).sum()
    }
}

/// Replies on their way to the socket: small parts joined in one buffer, large ones by reference.
#[derive(Default)]
pub struct OutQueue {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl OutQueue {
    /// Bytes not yet written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when all is written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a reply and returns its head for reuse. `fresh` gives an empty pooled buffer.
    pub fn push(&mut self, mut reply: Reply, fresh: impl FnOnce() -> BytesMut) -> Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = fresh();
        }
        let data = reply.data_len();
        let pad = data.wrapping_neg() & 3;
        let total = reply.head.len() + data + pad;
        // A record never reaches 2 GiB: data is at most rtmax.
        let mark = u32::try_from(total - 4).unwrap_or(0) | 1 << 31;
        reply.head[..4].copy_from_slice(&mark.to_be_bytes());
        self.tail.extend_from_slice(&reply.head);
        for piece in reply.data {
            if piece.len() <= COPY_BYTES {
                self.tail.extend_from_slice(&piece);
            } else {
                if !self.tail.is_empty() {
                    self.pieces.push_back(self.tail.split().freeze());
                }
                self.pieces.push_back(piece);
            }
        }
        self.tail.extend_from_slice(&[0; 3][..pad]);
        self.len += total;
        reply.head
    }

    /// Up to [`WRITE_PIECES`] pieces to write, in order; returns how many there are.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>; WRITE_PIECES]) -> usize {
        let mut n = 0;
        for piece in self.pieces.iter().take(WRITE_PIECES) {
            into[n] = IoSlice::new(piece);
            n += 1;
        }
        if n < WRITE_PIECES && n == self.pieces.len() && !self.tail.is_empty() {
            into[n] = IoSlice::new(&self.tail);
            n += 1;
        }
        n
    }

    /// `n` bytes were written.
    pub fn written(&mut self, mut n: usize) {
        self.len -= n;
        while let Some(front) = self.pieces.front_mut() {
            if n < front.len() {
                front.advance(n);
                return;
            }
            n -= front.len();
            self.pieces.pop_front();
        }
        if n == self.tail.len() {
            // Keeps the allocation when nothing else refers to it.
            self.tail.clear();
        } else {
            self.tail.advance(n);
        }
    }

    /// Gives the joining buffer back when nothing waits, so that an idle connection holds none.
    pub fn give_back(&mut self) -> Option<BytesMut> {
        let idle = self.len == 0 && self.tail.capacity() > 0;
        idle.then(|| std::mem::take(&mut self.tail))
    }
}
