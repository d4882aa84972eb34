//! Every byte of the log, as pure functions: no I/O, no clock, no dice (docs/format.md, section 2).
//!
//! It is public so that tools which look at a volume from outside (`esker inspect`) and golden-file
//! tests read the same code as the server. Everything is little-endian.
//!
//! ```text
//!   object or file = envelope{magic, version, length, volume, …, CRC-32C}
//!   segment        = envelope (256 bytes) · entry · entry · … · footer
//!   entry          = header (64 bytes) · body · zeros to a multiple of 8
//! ```
//!
//! Invariants
//! 1. No decoder panics, and none allocates by a length it has not checked against a limit.
//! 2. Nothing is accepted whose checksum does not cover every one of its bytes.
//! 3. Encoding what was decoded gives the same bytes again.

mod body;
mod entry;
mod envelope;
mod examine;
mod footer;
mod names;
mod scan;
mod seal;
mod segment;

pub use body::{Body, PartPlan, open_body, verify_body};
pub use entry::{ENTRY_HEADER, EncodedEntry, EntryFault, EntryHeader, Kind, Seed, encode_entry};
pub use envelope::{
    ENVELOPE_PREFIX, FormatError, decode_checkpoint, decode_volume, encode_checkpoint,
    encode_volume,
};
pub use examine::{Examined, Fault, Stretch, examine};
pub(crate) use footer::footer_len;
pub use footer::{FOOTER_HEAD, FOOTER_TAIL, Footer, FooterBuilder, FooterTail, IndexEntry};
pub use names::{ChainName, checkpoint_name, epoch_name, parse_name, segment_name, volume_name};
pub use scan::{ScanError, Scanned, ScannedEntry, Tail, scan, scan_sealed};
pub use seal::{JournalIdentity, JournalSeal, Seal};
pub use segment::{ChainObject, Durability, SEGMENT_HEADER, SegmentHeader, chain_object};

/// The one format version there is.
pub const VERSION: u32 = 1;

/// CRC-32C (Castagnoli, RFC 3720 §12.1).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Reads little-endian fields from a slice whose length was checked; zeros beyond its end, so that
/// a slip is a checksum error and never a panic.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        if let Some(from) = self.bytes.get(self.at..self.at + N) {
            out.copy_from_slice(from);
        }
        self.at += N;
        out
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

/// True when every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// `n` rounded up to a multiple of 8.
pub(crate) const fn round8(n: usize) -> usize {
    (n + 7) & !7
}

#[cfg(test)]
pub(crate) mod tests;
