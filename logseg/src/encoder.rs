//! Turns the entries of one segment into its bytes, in order.
//!
//! Where the volume is not encrypted that is a header and a copy, done at once under the log's
//! lock. Encrypting a body costs a thousand times more; so only its place and ordinal are taken
//! under the lock, it waits as a [`Later`], and who flushes encodes it outside (R26).

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    COPY_OUT_BYTES, Owner, Seq,
    crypto::{SegmentCipher, VolumeKey},
    format::{Body, FooterBuilder, Kind, Seed, SegmentHeader, encode_entry},
};

/// What is appended.
#[derive(Clone)]
pub(crate) struct Entry<'a> {
    pub kind: Kind,
    pub owner: Owner,
    pub seq: Seq,
    pub body: &'a Body,
}

/// Where it lies and what it says of durability.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub ordinal: u32,
    pub offset: u32,
    pub mark: u32,
}

/// Something whose place is taken and whose bytes are not made yet.
pub(crate) enum Later {
    Entry { kind: Kind, owner: Owner, seq: Seq, body: Body, place: Place },
    Footer { offset: u32, mark: u32 },
}

pub(crate) struct Chunk {
    pub offset: u64,
    pub bytes: Bytes,
}

pub(crate) struct Encoder {
    seed: Seed,
    cipher: Option<SegmentCipher>,
    footer: FooterBuilder,
    /// Bytes made so far end here.
    end: u64,
    tail: Vec<u8>,
    chunks: VecDeque<Chunk>,
}

impl Encoder {
    /// Its first bytes are the header.
    pub(crate) fn new(header: &SegmentHeader, key: Option<&VolumeKey>) -> Self {
        let tail = header.encode().to_vec();
        Self {
            seed: Seed::new(&header.nonce),
            cipher: key.map(|k| SegmentCipher::new(k, &header.nonce)),
            footer: FooterBuilder::new(header),
            end: tail.len() as u64,
            tail,
            chunks: VecDeque::new(),
        }
    }

    /// Of a segment that has all its bytes in a file.
    pub(crate) fn done(footer: FooterBuilder, end: u64) -> Self {
        let (tail, chunks) = (Vec::new(), VecDeque::new());
        Self { seed: Seed::new(&[0; 16]), cipher: None, footer, end, tail, chunks }
    }

    pub(crate) fn encrypts(&self) -> bool {
        self.cipher.is_some()
    }

    /// Where the bytes made so far end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Seq of the last record whose bytes are made.
    pub(crate) fn last_seq(&self) -> Seq {
        self.footer.last_seq()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.footer.digest()
    }

    pub(crate) fn make(&mut self, later: &Later) {
        match later {
            Later::Entry { kind, owner, seq, body, place } => {
                let entry = Entry { kind: *kind, owner: *owner, seq: *seq, body };
                self.entry(&entry, *place);
            }
            Later::Footer { offset, mark } => self.seal(*offset, *mark),
        }
    }

    pub(crate) fn entry(&mut self, entry: &Entry<'_>, place: Place) {
        let encoded = encode_entry(
            entry.kind,
            entry.body,
            entry.owner,
            entry.seq,
            place.ordinal,
            place.offset,
            place.mark,
            &self.seed,
            self.cipher.as_ref(),
        );
        debug_assert_eq!(u64::from(place.offset), self.end);
        self.footer.push(place.offset, &encoded.fields, &encoded.header);
        let begin = self.end;
        self.end += u64::from(encoded.fields.stored());
        if encoded.body.len() < COPY_OUT_BYTES {
            encoded.write_into(&mut self.tail);
            return;
        }
        let [header, table, _, padding] = encoded.pieces();
        self.tail.extend_from_slice(header);
        self.tail.extend_from_slice(table);
        let at = begin + (header.len() + table.len()) as u64;
        self.cut_tail(at);
        self.chunks.push_back(Chunk { offset: at, bytes: encoded.body.clone() });
        self.tail.extend_from_slice(padding);
    }

    pub(crate) fn seal(&mut self, offset: u32, mark: u32) {
        let footer = self.footer.encode(offset, mark);
        self.end += footer.len() as u64;
        self.tail.extend_from_slice(&footer);
    }

    fn cut_tail(&mut self, tail_end: u64) {
        if !self.tail.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.tail));
            self.chunks.push_back(Chunk { offset: tail_end - bytes.len() as u64, bytes });
        }
    }

    /// Bytes `from..end` of the segment, all still in memory, in order. Both are boundaries of
    /// what was once asked for.
    pub(crate) fn pieces(&mut self, from: u64, end: u64) -> Vec<Bytes> {
        self.cut_tail(self.end);
        let first = self.chunks.partition_point(|c| c.offset < from);
        let wanted = self.chunks.iter().skip(first).take_while(|c| c.offset < end);
        wanted.map(|c| c.bytes.clone()).collect()
    }

    /// The bytes `from..upto` without copying, or nothing where not all of them are in memory.
    pub(crate) fn slices(&mut self, from: u64, upto: u64) -> Vec<Bytes> {
        self.cut_tail(self.end);
        let end = |c: &Chunk| c.offset + c.bytes.len() as u64;
        let first = self.chunks.partition_point(|c| end(c) <= from);
        let (mut slices, mut at) = (Vec::new(), from);
        for chunk in self.chunks.iter().skip(first).take_while(|c| c.offset < upto) {
            if chunk.offset > at {
                return Vec::new();
            }
            let skip = usize::try_from(at - chunk.offset).unwrap_or(0);
            let take = usize::try_from(upto.min(end(chunk)) - at).unwrap_or(0);
            slices.push(chunk.bytes.slice(skip..skip + take));
            at += take as u64;
        }
        if at == upto { slices } else { Vec::new() }
    }

    /// Bytes below `end` need not be kept any more.
    pub(crate) fn release(&mut self, end: u64) -> Vec<Bytes> {
        let gone = self.chunks.partition_point(|c| c.offset < end);
        self.chunks.drain(..gone).map(|c| c.bytes).collect()
    }
}
