//! Segments built, read back, cut and altered.

mod decode;
mod mutate;
mod objects;

use bytes::Bytes;

use super::*;
use crate::{
    Codec, Owner, SegmentId, Seq,
    crypto::{SegmentCipher, VolumeKey},
};

/// Bytes that neither repeat nor compress: xorshift.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let step = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[3]
    };
    std::iter::repeat_with(step).take(len).collect()
}

pub(crate) fn header(encrypted: bool) -> SegmentHeader {
    SegmentHeader {
        volume: *b"volume-uuid-0123",
        id: SegmentId::chain(3, 7),
        nonce: *b"nonce-of-segment",
        journal: *b"journal-uuid-012",
        durability: Durability::Journal,
        first_seq: Seq(101),
        stored_through: SegmentId::chain(3, 5),
        segment_bytes: 16 << 20,
        encrypted,
    }
}

pub(crate) fn key() -> VolumeKey {
    VolumeKey::from_bytes(*b"0123456789abcdef0123456789abcdef")
}

/// Builds a segment as a writer does.
pub(crate) struct Builder {
    pub bytes: Vec<u8>,
    pub footer: FooterBuilder,
    seed: Seed,
    cipher: Option<SegmentCipher>,
    pub ordinal: u32,
    pub mark: u32,
}

impl Builder {
    pub fn new(header: &SegmentHeader) -> Self {
        Self {
            bytes: header.encode().to_vec(),
            footer: FooterBuilder::new(header),
            seed: Seed::new(&header.nonce),
            cipher: header.encrypted.then(|| SegmentCipher::new(&key(), &header.nonce)),
            ordinal: 0,
            mark: 0,
        }
    }

    pub fn at(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap()
    }

    pub fn entry(&mut self, kind: Kind, seq: u64, bytes: Vec<u8>, codec: Codec) -> u32 {
        let body = Body::new(kind, &Bytes::from(bytes), codec).unwrap();
        let (at, owner) = (self.at(), Owner(if kind == Kind::Data { 42 } else { 0 }));
        let (seed, cipher) = (self.seed, self.cipher.clone());
        let (n, mark) = (self.ordinal, self.mark);
        let e = encode_entry(kind, &body, owner, Seq(seq), n, at, mark, &seed, cipher.as_ref());
        assert_eq!(e.fields.stored(), body.entry_len(cipher.is_some() && kind.is_private()));
        e.write_into(&mut self.bytes);
        assert_eq!(self.at(), at + e.fields.stored());
        self.footer.push(at, &e.fields, &e.header);
        self.ordinal += 1;
        at
    }

    /// Everything so far was fdatasynced.
    pub fn sync(&mut self) {
        self.mark = self.at();
    }

    pub fn seal(mut self) -> Vec<u8> {
        let footer = self.footer.encode(self.at(), self.mark);
        self.bytes.extend_from_slice(&footer);
        self.bytes
    }

    /// A transaction: data of `len` bytes, then its record.
    pub fn transaction(&mut self, seq: u64, len: usize, codec: Codec) {
        let data = if codec == Codec::Stored {
            noise(seq, len)
        } else {
            noise(seq, 16).into_iter().cycle().take(len).collect()
        };
        self.entry(Kind::Data, seq, data, codec);
        self.entry(Kind::Record, seq, noise(seq + 1000, 50), Codec::Stored);
    }
}

/// A sealed segment with a bit of everything.
pub(crate) fn sample(encrypted: bool) -> Vec<u8> {
    let mut b = Builder::new(&header(encrypted));
    b.transaction(101, 5, Codec::Stored);
    b.transaction(102, 10_000, Codec::Stored);
    b.sync();
    b.transaction(103, 9_000, Codec::Lz4);
    b.transaction(104, 9_000, Codec::Zstd);
    b.entry(Kind::SideReserve, 105, 64_u32.to_le_bytes().to_vec(), Codec::Stored);
    b.sync();
    b.entry(Kind::Mark, 105, Vec::new(), Codec::Stored);
    b.transaction(106, 4096, Codec::Stored);
    b.entry(Kind::Closed, 107, Vec::new(), Codec::Stored);
    b.sync();
    b.seal()
}
