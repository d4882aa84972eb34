use super::{EntryFault, EntryHeader, Fields, Kind, Seed, SegmentHeader, crc32c};
use crate::{Location, SegmentId, Seq};

/// Bytes before the index: magic 4, count 4, length 4, checksum 4.
pub const FOOTER_HEAD: usize = 16;
/// Bytes after the index, the last of a sealed segment.
pub const FOOTER_TAIL: usize = 64;
/// Bytes of the index per entry.
const INDEX_ENTRY: usize = 16;
/// Differs from an entry's in every byte but the first; no byte is zero.
pub(super) const FOOTER_MAGIC: [u8; 4] = *b"eFt1";
const TAIL_MAGIC: [u8; 4] = *b"eNd1";
/// Seqs in the index leave the top byte to the kind.
const SEQ_BITS: u32 = 56;

/// One entry, as the index names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Where its header begins in the segment, bytes.
    pub offset: u32,
    /// Its ordinal.
    pub ordinal: u32,
    /// What it is.
    pub kind: Kind,
    /// Its seq.
    pub seq: Seq,
}

/// The last 64 bytes of a sealed segment. They check themselves, so that 64 bytes from the end of
/// an object tell whether it equals another (R4: equal length and digest).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterTail {
    /// Seq of the segment's last record, or first seq − 1 when it has none.
    pub last_seq: Seq,
    /// The segment.
    pub id: SegmentId,
    /// The segment's nonce.
    pub nonce: [u8; 16],
    /// CRC-64/NVME over the segment's header and all entry headers, in order. These hold the
    /// checksum of every body, so equal digests mean equal segments.
    pub digest: u64,
    /// R11: durable below this offset when the footer was written.
    pub mark: u32,
    /// Length of the whole footer, bytes.
    pub len: u32,
    /// Offset of the footer, bytes.
    pub offset: u32,
    index_crc: u32,
}

/// The end of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The last 64 bytes.
    pub tail: FooterTail,
    /// All entries, by offset.
    pub index: Vec<IndexEntry>,
}

impl FooterTail {
    /// Offset behind the footer: the length of the segment, bytes.
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }

    fn encode(&self) -> [u8; FOOTER_TAIL] {
        let mut out = [0; FOOTER_TAIL];
        out[..8].copy_from_slice(&self.last_seq.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.id.0.to_le_bytes());
        out[16..32].copy_from_slice(&self.nonce);
        out[32..40].copy_from_slice(&self.digest.to_le_bytes());
        out[40..44].copy_from_slice(&self.mark.to_le_bytes());
        out[44..48].copy_from_slice(&self.len.to_le_bytes());
        out[48..52].copy_from_slice(&self.offset.to_le_bytes());
        out[52..56].copy_from_slice(&self.index_crc.to_le_bytes());
        let crc = crc32c(&out[..56]);
        out[56..60].copy_from_slice(&crc.to_le_bytes());
        out[60..].copy_from_slice(&TAIL_MAGIC);
        out
    }

    /// Reads the last 64 bytes of a segment.
    pub fn decode(bytes: &[u8; FOOTER_TAIL]) -> Result<Self, EntryFault> {
        if bytes[60..] != TAIL_MAGIC {
            return Err(EntryFault::Footer("its last bytes are missing"));
        }
        if bytes[56..60] != crc32c(&bytes[..56]).to_le_bytes() {
            return Err(EntryFault::Footer("checksum of its last bytes"));
        }
        let mut f = Fields::new(bytes);
        Ok(Self {
            last_seq: Seq(f.u64()),
            id: SegmentId(f.u64()),
            nonce: f.array(),
            digest: f.u64(),
            mark: f.u32(),
            len: f.u32(),
            offset: f.u32(),
            index_crc: f.u32(),
        })
    }
}

impl Footer {
    /// Reads and checks the footer that begins `bytes` and lies at `offset` of the segment. More
    /// bytes may follow (recycled files keep their size).
    pub fn decode(bytes: &[u8], seed: &Seed, offset: u32) -> Result<Self, EntryFault> {
        let bad = EntryFault::Footer;
        let (count, len, _) = head(bytes, seed, offset)?;
        let footer = bytes.get(..len).ok_or(EntryFault::Cut)?;
        let (front, tail) = footer.split_at(len - FOOTER_TAIL);
        let tail = tail.try_into().map_err(|_| EntryFault::Cut)?;
        let tail = FooterTail::decode(tail)?;
        if tail.len as usize != len || tail.offset != offset || tail.mark > offset {
            return Err(bad("its two ends disagree"));
        }
        if crc32c(front) != tail.index_crc {
            return Err(bad("checksum of the index"));
        }
        let mut f = Fields::new(&front[FOOTER_HEAD..]);
        let mut index = Vec::with_capacity(count);
        for _ in 0..count {
            let (offset, ordinal, packed) = (f.u32(), f.u32(), f.u64());
            let kind = u8::try_from(packed >> SEQ_BITS).ok().and_then(Kind::from_u8);
            let kind = kind.ok_or(bad("an unknown kind in the index"))?;
            let seq = Seq(packed & ((1 << SEQ_BITS) - 1));
            index.push(IndexEntry { offset, ordinal, kind, seq });
        }
        Ok(Self { tail, index })
    }

    /// Locations of all entries, by offset: each ends where the next begins.
    pub fn locations(&self) -> impl Iterator<Item = (IndexEntry, Location)> + '_ {
        let ends = self.index.iter().skip(1).map(|e| e.offset).chain([self.tail.offset]);
        self.index.iter().zip(ends).map(|(e, end)| {
            let stored = end.saturating_sub(e.offset);
            (*e, Location { segment: self.tail.id, offset: e.offset, stored })
        })
    }
}

/// Count, length and head checksum of a footer's beginning.
fn head(bytes: &[u8], seed: &Seed, offset: u32) -> Result<(usize, usize, u32), EntryFault> {
    if !bytes.starts_with(&FOOTER_MAGIC) {
        return Err(EntryFault::NoMagic);
    }
    let bytes = bytes.get(..FOOTER_HEAD).ok_or(EntryFault::Cut)?;
    let mut f = Fields::new(&bytes[4..]);
    let (count, len, crc) = (f.u32() as usize, f.u32() as usize, f.u32());
    if crc != seed.checksum(offset, &bytes[..12]) {
        return Err(EntryFault::Footer("checksum of its head"));
    }
    // A count beyond what 2³¹ bytes of entries can hold is no writer's.
    if count > (1 << 31) / super::ENTRY_HEADER || len != footer_len(count) {
        return Err(EntryFault::Footer("its length"));
    }
    Ok((count, len, crc))
}

/// Bytes of a footer over `count` entries: what must be left free in a segment for its footer.
pub(crate) const fn footer_len(count: usize) -> usize {
    FOOTER_HEAD + INDEX_ENTRY * count + FOOTER_TAIL
}

/// Gathers what the footer says while entries are appended (or scanned), in order of offset.
#[derive(Clone)]
pub struct FooterBuilder {
    id: SegmentId,
    nonce: [u8; 16],
    index: Vec<IndexEntry>,
    digest: crc_fast::Digest,
    /// Headers not yet in `digest`: CRC-64 of 4 KiB at once costs a twentieth of 64 bytes 64 times,
    /// and [`FooterBuilder::push`] runs under the writer's lock.
    undigested: Vec<u8>,
    last_seq: Seq,
}

/// Headers are digested in pieces of this size, bytes.
const DIGEST_PIECE: usize = 4 << 10;

impl FooterBuilder {
    /// For the segment with this header.
    pub fn new(header: &SegmentHeader) -> Self {
        let mut undigested = Vec::with_capacity(DIGEST_PIECE);
        undigested.extend_from_slice(&header.encode());
        Self {
            id: header.id,
            nonce: header.nonce,
            index: Vec::new(),
            digest: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme),
            undigested,
            last_seq: Seq(header.first_seq.0.saturating_sub(1)),
        }
    }

    /// Takes note of the entry whose header was written as `encoded` at `offset`.
    pub fn push(&mut self, offset: u32, header: &EntryHeader, encoded: &[u8; 64]) {
        self.undigested.extend_from_slice(encoded);
        if self.undigested.len() >= DIGEST_PIECE {
            self.digest.update(&self.undigested);
            self.undigested.clear();
        }
        if header.kind.takes_seq() {
            self.last_seq = header.seq;
        }
        let (ordinal, kind, seq) = (header.ordinal, header.kind, header.seq);
        self.index.push(IndexEntry { offset, ordinal, kind, seq });
    }

    /// Entries so far.
    pub fn count(&self) -> usize {
        self.index.len()
    }

    /// Seq of the last record so far, or first seq − 1.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Length that the footer would have now, bytes.
    pub fn footer_len(&self) -> usize {
        footer_len(self.index.len())
    }

    /// The digest so far (R4).
    pub fn digest(&self) -> u64 {
        let mut digest = self.digest;
        digest.update(&self.undigested);
        digest.finalize()
    }

    /// The footer's bytes, to be written at `offset`, where the last entry ends. `mark`: what is
    /// known durable now (R11).
    pub fn encode(&self, offset: u32, mark: u32) -> Vec<u8> {
        let len = self.footer_len();
        let len32 = u32::try_from(len).unwrap_or(u32::MAX);
        let count = u32::try_from(self.index.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&len32.to_le_bytes());
        let crc = Seed::new(&self.nonce).checksum(offset, &out);
        out.extend_from_slice(&crc.to_le_bytes());
        for e in &self.index {
            out.extend_from_slice(&e.offset.to_le_bytes());
            out.extend_from_slice(&e.ordinal.to_le_bytes());
            let packed = u64::from(e.kind as u8) << SEQ_BITS | e.seq.0 & ((1 << SEQ_BITS) - 1);
            out.extend_from_slice(&packed.to_le_bytes());
        }
        let tail = FooterTail {
            last_seq: self.last_seq,
            id: self.id,
            nonce: self.nonce,
            digest: self.digest(),
            mark,
            len: len32,
            offset,
            index_crc: crc32c(&out),
        };
        out.extend_from_slice(&tail.encode());
        out
    }

    /// True when `footer` names exactly the entries pushed so far.
    pub fn agrees(&self, footer: &Footer) -> bool {
        footer.tail.id == self.id
            && footer.tail.nonce == self.nonce
            && footer.tail.digest == self.digest()
            && footer.tail.last_seq == self.last_seq
            && footer.index == self.index
    }
}
