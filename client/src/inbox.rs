//! Puts frames together from what a socket gives.

use bytes::{Bytes, BytesMut};
use rpc::{
    Frame, Malformed, expected,
    limits::{FRAME_BYTES, HELLO_BYTES},
};

use crate::limits::READ_BYTES;

/// Bytes that have arrived and are no frame yet.
#[derive(Debug)]
pub struct Inbox {
    /// All initialised; what lies from `at` to `filled` has arrived and was not taken.
    buffer: BytesMut,
    at: usize,
    filled: usize,
    most: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), at: 0, filled: 0, most: HELLO_BYTES }
    }
}

impl Inbox {
    /// The session stands: frames may have their full length.
    pub fn open(&mut self) {
        self.most = FRAME_BYTES;
    }

    /// Room for what comes next, bytes; call [`Self::took`] with how many came.
    ///
    /// A frame's own length, once known, is not beyond its limit, so that what is reserved here is
    /// at most one frame.
    pub fn room(&mut self) -> &mut [u8] {
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.filled, 0);
            self.filled -= self.at;
            self.at = 0;
        }
        let wanted = match expected(&self.buffer[..self.filled], self.most) {
            Ok(Some(len)) => len.max(self.filled + 1),
            _ => self.filled + 1,
        };
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted.max(READ_BYTES), 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// `n` bytes came.
    pub fn took(&mut self, n: usize) {
        self.filled += n;
    }

    /// The next whole frame.
    pub fn next(&mut self) -> Result<Option<Frame>, Malformed> {
        let here = &self.buffer[self.at..self.filled];
        let Some(len) = expected(here, self.most)? else { return Ok(None) };
        if here.len() < len {
            return Ok(None);
        }
        let bytes = if len < READ_BYTES / 2 {
            // Small ones are copied out, or each would hold the whole buffer.
            let bytes = Bytes::copy_from_slice(&here[..len]);
            self.at += len;
            bytes
        } else {
            drop(self.buffer.split_to(self.at));
            self.filled -= self.at + len;
            self.at = 0;
            self.buffer.split_to(len).freeze()
        };
        Frame::of(&bytes).map(Some)
    }
}
