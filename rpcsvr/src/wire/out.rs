use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{COPY_BYTES, WRITE_PIECES};

/// One reply: header and body, then its payload.
#[derive(Debug, Default)]
pub struct Reply {
    /// Header and body. The header's mark is filled in when it is sent.
    pub head: Vec<u8>,
    /// Payload, by reference.
    pub data: Vec<Bytes>,
    /// 0 or errno, for the counters.
    pub status: u16,
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
    pub fn push(&mut self, reply: Reply, fresh: impl FnOnce() -> BytesMut) -> Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = fresh();
        }
        self.len += reply.head.len() + reply.data.iter().map(Bytes::len).sum::<usize>();
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
