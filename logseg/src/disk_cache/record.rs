//! The bytes of slabs (docs/format.md §2.11), pure.

use crate::{
    Location, SegmentId,
    format::{Fields, VERSION, crc32c, is_zero, round8},
};

/// Bytes before the first record of a slab.
pub(super) const SLAB_HEADER: usize = 64;
/// Bytes before a record's entry.
pub(super) const RECORD_HEADER: usize = 64;
const SLAB_MAGIC: [u8; 8] = *b"EskerDsk";
const RECORD_MAGIC: [u8; 4] = *b"eDc1";

/// Bytes that a record of an entry of `stored` bytes takes.
pub(super) fn record_len(stored: u32) -> u64 {
    (RECORD_HEADER + round8(stored as usize)) as u64
}

/// The first bytes of slab `number` of `volume`.
pub(super) fn slab_header(volume: &[u8; 16], number: u64) -> [u8; SLAB_HEADER] {
    let mut out = [0; SLAB_HEADER];
    out[..8].copy_from_slice(&SLAB_MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[16..32].copy_from_slice(volume);
    out[32..40].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c(&out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// What stands before an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub volume: [u8; 16],
    pub slab: u64,
    pub location: Location,
    /// CRC-32C of the entry.
    pub crc: u32,
}

impl RecordHeader {
    pub fn of(volume: [u8; 16], slab: u64, location: Location, entry: &[u8]) -> Self {
        Self { volume, slab, location, crc: crc32c(entry) }
    }

    pub fn encode(&self) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[..4].copy_from_slice(&RECORD_MAGIC);
        out[4..8].copy_from_slice(&self.location.stored.to_le_bytes());
        out[8..24].copy_from_slice(&self.volume);
        out[24..32].copy_from_slice(&self.slab.to_le_bytes());
        out[32..40].copy_from_slice(&self.location.segment.0.to_le_bytes());
        out[40..44].copy_from_slice(&self.location.offset.to_le_bytes());
        out[44..48].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header that `bytes` is, if its own checksum holds.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_HEADER] = bytes.try_into().ok()?;
        let mut f = Fields::new(bytes);
        if f.array() != RECORD_MAGIC || crc32c(&bytes[..60]).to_le_bytes() != bytes[60..] {
            return None;
        }
        let stored = f.u32();
        let (volume, slab) = (f.array(), f.u64());
        let location = Location { segment: SegmentId(f.u64()), offset: f.u32(), stored };
        let header = Self { volume, slab, location, crc: f.u32() };
        is_zero(&bytes[48..60]).then_some(header)
    }

    /// True where `entry` is the one.
    pub fn holds(&self, entry: &[u8]) -> bool {
        entry.len() == self.location.stored as usize && crc32c(entry) == self.crc
    }
}
