use bytes::Bytes;

use super::{Body, Fields, crc32c, is_zero, round8};
use crate::{
    Codec, Owner, Seq,
    crypto::{SegmentCipher, TAG_BYTES},
    limits::{FRAME_BYTES, PAGE_BYTES, RECORD_BYTES},
};

/// Bytes of an entry's header.
pub const ENTRY_HEADER: usize = 64;
/// First four bytes of every entry: no byte of it is zero, so zeros end the log.
pub(super) const ENTRY_MAGIC: [u8; 4] = *b"eSk1";
const ENCRYPTED: u8 = 1;
/// Bytes of the header that the cipher authenticates: all but mark, body checksum and the header's
/// own checksum, which are not yet known when a body is encrypted.
const AUTHENTICATED: usize = 40;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of a file.
    Data = 1,
    /// The redo record of one transaction.
    Record = 2,
    /// A page of the index (side segments).
    Page = 3,
    /// The root of a checkpoint (R25, side segments).
    Root = 4,
    /// A table of replies (R23, side segments).
    Replies = 5,
    /// Nothing but a durable mark (R11): no body.
    Mark = 6,
    /// A clean stop: the chain ends here (R5): no body.
    Closed = 7,
    /// Side ids of this epoch below a counter are reserved (R7): body = that counter, 4 bytes.
    SideReserve = 8,
}

impl Kind {
    /// The kind of this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            1 => Self::Data,
            2 => Self::Record,
            3 => Self::Page,
            4 => Self::Root,
            5 => Self::Replies,
            6 => Self::Mark,
            7 => Self::Closed,
            8 => Self::SideReserve,
            _ => return None,
        })
    }

    /// True for bodies that hold bytes or names of users: encrypted where the segment is (R26).
    pub fn is_private(self) -> bool {
        matches!(self, Self::Data | Self::Record | Self::Page | Self::Root | Self::Replies)
    }

    /// True for the kinds that take a seq of their own; the others carry one that is not theirs
    /// (data: their record's).
    pub fn takes_seq(self) -> bool {
        matches!(self, Self::Record | Self::Closed | Self::SideReserve)
    }

    /// Longest decoded body, bytes.
    pub fn limit(self) -> usize {
        match self {
            Self::Data => FRAME_BYTES,
            Self::Record | Self::Replies => RECORD_BYTES,
            Self::Page | Self::Root => PAGE_BYTES,
            Self::Mark | Self::Closed => 0,
            Self::SideReserve => 4,
        }
    }
}

/// Why bytes are not a good entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// Nothing was written here.
    #[error("no entry begins here")]
    NoMagic,
    /// Stale, foreign, torn or rotten.
    #[error("the header's checksum does not hold")]
    Header,
    /// A header that is checksummed but impossible.
    #[error("a field of the header is impossible: {0}")]
    Field(&'static str),
    /// The bytes end before the entry does.
    #[error("the entry is cut off")]
    Cut,
    /// The body is not the one that the header names.
    #[error("the body's checksum does not hold")]
    Body,
    /// A block of a stored frame is not the one that its table names.
    #[error("the checksum of block {0} does not hold")]
    Block(u32),
    /// Not zeros.
    #[error("the padding is not zero")]
    Padding,
    /// The decoder refused, or gave another length.
    #[error("the body does not decode")]
    Decode,
    /// The cipher's tag does not hold, or the key is not the volume's.
    #[error("the body does not decrypt")]
    Decrypt,
    /// Another entry than the one that was asked for.
    #[error("not the entry asked for: {0}")]
    Mismatch(&'static str),
    /// A footer that does not hold.
    #[error("the footer does not hold: {0}")]
    Footer(&'static str),
}

/// Seeds the header checksums of one segment (R11): stale bytes of a recycled file or of another
/// segment never pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 16]);

impl Seed {
    /// From the segment's nonce.
    pub fn new(nonce: &[u8; 16]) -> Self {
        Self(*nonce)
    }

    /// CRC-32C of nonce ‖ offset (4 bytes) ‖ `bytes`; `bytes` ≤ 60.
    pub(super) fn checksum(&self, offset: u32, bytes: &[u8]) -> u32 {
        let mut all = [0_u8; 20 + 60];
        let n = bytes.len().min(60);
        all[..16].copy_from_slice(&self.0);
        all[16..20].copy_from_slice(&offset.to_le_bytes());
        all[20..20 + n].copy_from_slice(&bytes[..n]);
        crc32c(&all[..20 + n])
    }
}

/// The fields of an entry's 64-byte header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// What it is.
    pub kind: Kind,
    /// How the body is stored.
    pub codec: Codec,
    /// True when the body is encrypted.
    pub encrypted: bool,
    /// Counts the entries of the segment; gaps are allowed, never goes back. The cipher's nonce.
    pub ordinal: u32,
    /// Body, decoded, bytes.
    pub decoded_len: u32,
    /// Body as stored (table and tag included, padding not), bytes.
    pub body_len: u32,
    /// CRC-32C of the body's table (stored plain data frames) or of the whole stored body.
    pub body_crc: u32,
    /// The record's seq; of a data frame: of the record it belongs to; of a mark: the last one.
    pub seq: Seq,
    /// Whose data; 0 where the kind has no owner.
    pub owner: Owner,
    /// R11: this segment is durable below this offset, and when it is not 0 every earlier segment
    /// of the chain is durable with its footer.
    pub mark: u32,
}

impl EntryHeader {
    /// Bytes of the whole entry: header, body, padding.
    pub fn stored(&self) -> u32 {
        // `body_len` was checked against its limit, far below 2³¹.
        u32::try_from(round8(ENTRY_HEADER + self.body_len as usize)).unwrap_or(u32::MAX)
    }

    /// True when the body begins with a table of block checksums.
    pub fn has_table(&self) -> bool {
        self.kind == Kind::Data && self.codec == Codec::Stored && !self.encrypted
    }

    fn encode_front(&self) -> [u8; 44] {
        let mut out = [0_u8; 44];
        out[..4].copy_from_slice(&ENTRY_MAGIC);
        let flags = if self.encrypted { ENCRYPTED } else { 0 };
        out[4..7].copy_from_slice(&[self.kind as u8, self.codec as u8, flags]);
        out[8..12].copy_from_slice(&self.ordinal.to_le_bytes());
        out[12..16].copy_from_slice(&self.decoded_len.to_le_bytes());
        out[16..20].copy_from_slice(&self.body_len.to_le_bytes());
        out[24..32].copy_from_slice(&self.seq.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.owner.0.to_le_bytes());
        out
    }

    /// What the cipher authenticates beside the body: offset ‖ bytes 0–39 of the header.
    pub(super) fn authenticated(&self, offset: u32) -> [u8; 4 + AUTHENTICATED] {
        let mut out = [0; 4 + AUTHENTICATED];
        out[..4].copy_from_slice(&offset.to_le_bytes());
        out[4..].copy_from_slice(&self.encode_front()[..AUTHENTICATED]);
        out
    }

    /// The header as written at `offset` of the segment that `seed` belongs to.
    pub fn encode(&self, seed: &Seed, offset: u32) -> [u8; ENTRY_HEADER] {
        let mut out = [0_u8; ENTRY_HEADER];
        out[..44].copy_from_slice(&self.encode_front());
        out[20..24].copy_from_slice(&self.body_crc.to_le_bytes());
        out[40..44].copy_from_slice(&self.mark.to_le_bytes());
        let crc = seed.checksum(offset, &out[..60]);
        out[60..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads and checks the header that `bytes` begins with, which lies at `offset`. The body is
    /// not looked at.
    pub fn decode(bytes: &[u8], seed: &Seed, offset: u32) -> Result<Self, EntryFault> {
        if !bytes.starts_with(&ENTRY_MAGIC) {
            return Err(EntryFault::NoMagic);
        }
        let bytes = bytes.get(..ENTRY_HEADER).ok_or(EntryFault::Cut)?;
        let mut f = Fields::new(&bytes[4..]);
        let (kind, codec, flags, zero) = (f.u8(), f.u8(), f.u8(), f.u8());
        let (ordinal, decoded_len, body_len, body_crc) = (f.u32(), f.u32(), f.u32(), f.u32());
        let (seq, owner, mark) = (Seq(f.u64()), Owner(f.u64()), f.u32());
        let rest = f.array::<16>();
        if f.u32() != seed.checksum(offset, &bytes[..60]) {
            return Err(EntryFault::Header);
        }
        let kind = Kind::from_u8(kind).ok_or(EntryFault::Field("kind"))?;
        let codec = Codec::from_u8(codec).ok_or(EntryFault::Field("codec"))?;
        if flags & !ENCRYPTED != 0 || zero != 0 || !is_zero(&rest) {
            return Err(EntryFault::Field("an unknown flag or field"));
        }
        let header = Self {
            kind,
            codec,
            encrypted: flags & ENCRYPTED != 0,
            ordinal,
            decoded_len,
            body_len,
            body_crc,
            seq,
            owner,
            mark,
        };
        header.check(offset)?;
        Ok(header)
    }

    /// What no writer writes.
    fn check(&self, offset: u32) -> Result<(), EntryFault> {
        let decoded = self.decoded_len as usize;
        if decoded > self.kind.limit() {
            return Err(EntryFault::Field("decoded length"));
        }
        if self.encrypted && !self.kind.is_private() {
            return Err(EntryFault::Field("encryption"));
        }
        let tag = if self.encrypted { TAG_BYTES } else { 0 };
        let body = self.body_len as usize;
        let fits = match self.codec {
            Codec::Stored => body == decoded + tag + self.table_len(),
            Codec::Lz4 | Codec::Zstd => {
                self.kind.is_private() && body > tag && body < decoded + tag
            }
        };
        if !fits {
            return Err(EntryFault::Field("body length"));
        }
        if self.mark > offset {
            return Err(EntryFault::Field("mark"));
        }
        Ok(())
    }

    /// Bytes of the block table, 0 where there is none.
    pub fn table_len(&self) -> usize {
        if self.has_table() { super::body::table_len(self.decoded_len as usize) } else { 0 }
    }
}

/// One entry ready to be written: `header · table · body · padding`, together exactly
/// [`EntryHeader::stored`] bytes.
#[derive(Clone, Debug)]
pub struct EncodedEntry {
    /// The header's fields.
    pub fields: EntryHeader,
    /// The header as written.
    pub header: [u8; ENTRY_HEADER],
    /// Table of block checksums; empty where there is none.
    pub table: Bytes,
    /// The stored body (with its tag, when encrypted).
    pub body: Bytes,
}

impl EncodedEntry {
    /// The entry's bytes, in order, for a vectored write. Some pieces may be empty.
    pub fn pieces(&self) -> [&[u8]; 4] {
        const ZEROS: [u8; 8] = [0; 8];
        let used = ENTRY_HEADER + self.table.len() + self.body.len();
        [&self.header, &self.table, &self.body, &ZEROS[..round8(used) - used]]
    }

    /// Appends the entry to `out`.
    pub fn write_into(&self, out: &mut Vec<u8>) {
        for piece in self.pieces() {
            out.extend_from_slice(piece);
        }
    }
}

/// Encodes an entry: encrypts the body where `cipher` is given and the kind is private, and seals
/// the header. Pure and outside every lock; the caller has reserved `offset` (a multiple of 8) and
/// `ordinal`, which is never used twice in a segment (R26).
#[allow(clippy::too_many_arguments)] // each is one field of the header
pub fn encode_entry(
    kind: Kind,
    body: &Body,
    owner: Owner,
    seq: Seq,
    ordinal: u32,
    offset: u32,
    mark: u32,
    seed: &Seed,
    cipher: Option<&SegmentCipher>,
) -> EncodedEntry {
    let cipher = cipher.filter(|_| kind.is_private());
    let mut fields = EntryHeader {
        kind,
        codec: body.codec(),
        encrypted: cipher.is_some(),
        ordinal,
        decoded_len: body.decoded_len(),
        body_len: body.stored_len(cipher.is_some()),
        body_crc: body.checksum(),
        seq,
        owner,
        mark,
    };
    let (table, stored) = match cipher {
        None => (body.table().clone(), body.stored().clone()),
        Some(cipher) => {
            let sealed = cipher.encrypt(ordinal, &fields.authenticated(offset), body.stored());
            fields.body_crc = crc32c(&sealed);
            (Bytes::new(), Bytes::from(sealed))
        }
    };
    EncodedEntry { fields, header: fields.encode(seed, offset), table, body: stored }
}
