use bytes::Bytes;

use crate::{
    COPY_OUT_BYTES, FRAME_BYTES, Owner,
    format::{Body, Kind},
};

/// How an entry's body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Stored = 0,
    /// LZ4 block format.
    Lz4 = 1,
    /// Zstandard.
    Zstd = 2,
}

impl Codec {
    /// The codec of this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::Stored),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The body of an entry made ready outside every lock: compressed where a 4 KiB probe says that it
/// pays and `codec` allows it, block checksums and body checksum computed (once: they are carried
/// into cache and log).
#[derive(Clone, Debug)]
pub struct Frame {
    pub(crate) owner: Owner,
    pub(crate) decoded: Bytes,
    pub(crate) body: Body,
}

impl Frame {
    /// A data frame of at most [`crate::FRAME_BYTES`] of `owner`'s bytes. Fewer than
    /// [`crate::COPY_OUT_BYTES`] are copied: a frame outlives its request, and a small one must not
    /// pin the request's buffer.
    ///
    /// # Panics
    /// When `bytes` is longer: the caller cuts.
    pub fn data(owner: Owner, mut bytes: Bytes, codec: Codec) -> Self {
        if bytes.len() < COPY_OUT_BYTES {
            bytes = Bytes::copy_from_slice(&bytes);
        }
        let Some(body) = Body::new(Kind::Data, &bytes, codec) else {
            panic!("a frame of {} bytes; at most {FRAME_BYTES}", bytes.len());
        };
        Self { owner, decoded: bytes, body }
    }

    /// The decoded bytes.
    pub fn decoded(&self) -> &Bytes {
        &self.decoded
    }

    /// Decoded length, bytes.
    pub fn len(&self) -> usize {
        self.decoded.len()
    }

    /// True when it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.decoded.is_empty()
    }
}

#[cfg(test)]
mod tests;
