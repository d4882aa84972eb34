use super::{
    Fields, FormatError, Seal,
    envelope::{ENVELOPE_PREFIX, Sort},
    is_zero,
};
use crate::{SegmentId, Seq};

/// Bytes of a segment's header; the first entry begins here.
pub const SEGMENT_HEADER: usize = 256;
/// Largest segment size a header may name, bytes: offsets are 32 bits and stay below the sign.
const SEGMENT_MAX: u64 = 1 << 31;

pub(super) const SEGMENT: Sort = Sort { what: "a segment", magic: *b"EskerSeg" };

/// What an acknowledged sync of this segment's writer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Durability {
    /// fdatasync of the journal.
    Journal = 0,
    /// The store.
    Store = 1,
}

/// The first 256 bytes of every segment, in both homes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The volume.
    pub volume: [u8; 16],
    /// Identity; the object's name and the journal file's name must say the same.
    pub id: SegmentId,
    /// Random, never used twice: seeds every checksum and the key of this segment.
    pub nonce: [u8; 16],
    /// The writer's journal; zeros when it has none.
    pub journal: [u8; 16],
    /// Durability class of the writer.
    pub durability: Durability,
    /// Seq that the first record of this segment has: the previous footer's last + 1.
    pub first_seq: Seq,
    /// R3: no chain segment below this id, from the replay start on, may be missing from the store.
    pub stored_through: SegmentId,
    /// Size at which the segment is sealed, bytes.
    pub segment_bytes: u64,
    /// Bodies of data, records, pages, roots and replies are encrypted (R26).
    pub encrypted: bool,
}

impl SegmentHeader {
    /// The header as written.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut fields = [0_u8; SEGMENT_HEADER - ENVELOPE_PREFIX - 4];
        let mut at = 0;
        let mut put = |b: &[u8]| {
            fields[at..at + b.len()].copy_from_slice(b);
            at += b.len();
        };
        put(&self.id.0.to_le_bytes());
        put(&self.nonce);
        put(&self.journal);
        put(&self.first_seq.0.to_le_bytes());
        put(&self.stored_through.0.to_le_bytes());
        put(&self.segment_bytes.to_le_bytes());
        put(&[self.durability as u8, u8::from(self.encrypted)]);
        let mut out = [0; SEGMENT_HEADER];
        out.copy_from_slice(&SEGMENT.encode(&self.volume, &[&fields]));
        out
    }

    /// Reads the header that `bytes` begins with.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (volume, fields) = SEGMENT.decode(bytes, false)?;
        if fields.len() != SEGMENT_HEADER - ENVELOPE_PREFIX - 4 {
            return Err(SEGMENT.damaged("length of the header"));
        }
        let mut f = Fields::new(fields);
        let header = Self {
            volume,
            id: SegmentId(f.u64()),
            nonce: f.array(),
            journal: f.array(),
            first_seq: Seq(f.u64()),
            stored_through: SegmentId(f.u64()),
            segment_bytes: f.u64(),
            durability: match f.u8() {
                0 => Durability::Journal,
                1 => Durability::Store,
                _ => return Err(SEGMENT.damaged("an unknown durability class")),
            },
            encrypted: match f.u8() {
                0 => false,
                1 => true,
                _ => return Err(SEGMENT.damaged("an unknown flag")),
            },
        };
        if !is_zero(f.rest()) {
            return Err(SEGMENT.damaged("an unknown field"));
        }
        if header.segment_bytes > SEGMENT_MAX {
            return Err(SEGMENT.damaged("segment size"));
        }
        Ok(header)
    }
}

/// What may stand under a chain segment's object name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainObject {
    /// A segment.
    Segment(Box<SegmentHeader>),
    /// The end of its epoch (R2).
    Seal(Box<Seal>),
}

impl ChainObject {
    /// The id under which it belongs.
    pub fn id(&self) -> SegmentId {
        match self {
            Self::Segment(header) => header.id,
            Self::Seal(seal) => seal.at,
        }
    }
}

/// Tells a segment (its first [`SEGMENT_HEADER`] bytes suffice) from a seal (all of it is needed).
pub fn chain_object(bytes: &[u8]) -> Result<ChainObject, FormatError> {
    if bytes.starts_with(&super::seal::SEAL.magic) {
        return Ok(ChainObject::Seal(Box::new(Seal::decode(bytes)?)));
    }
    Ok(ChainObject::Segment(Box::new(SegmentHeader::decode(bytes)?)))
}
