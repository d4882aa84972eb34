use std::{cell::RefCell, ops::Range};

use bytes::{Bytes, BytesMut};

use super::{ENTRY_HEADER, EntryFault, EntryHeader, Kind, Seed, crc32c, round8};
use crate::{
    Codec,
    crypto::{SegmentCipher, TAG_BYTES},
    limits::BLOCK_BYTES,
};

/// Bytes of the probe that decides whether compressing pays (DESIGN §8.6).
const PROBE_BYTES: usize = 4 << 10;
/// zstd's level: the fastest of the regular ones.
const ZSTD_LEVEL: i32 = 1;

/// An entry's body made ready outside every lock: compressed where that pays, checksummed once.
/// It can be written into any segment.
#[derive(Clone, Debug)]
pub struct Body {
    codec: Codec,
    decoded_len: u32,
    table: Bytes,
    stored: Bytes,
    checksum: u32,
}

impl Body {
    /// The body of an entry of `kind`. `None` when `bytes` is longer than [`Kind::limit`].
    pub fn new(kind: Kind, bytes: &Bytes, codec: Codec) -> Option<Self> {
        if bytes.len() > kind.limit() {
            return None;
        }
        let decoded_len = u32::try_from(bytes.len()).ok()?;
        let compressed = if kind.is_private() { compress(bytes, codec) } else { None };
        Some(match compressed {
            Some(stored) => {
                let checksum = crc32c(&stored);
                let stored = Bytes::from(stored);
                Self { codec, decoded_len, table: Bytes::new(), stored, checksum }
            }
            None => {
                let table = if kind == Kind::Data { table_of(bytes) } else { Bytes::new() };
                let checksum = crc32c(if kind == Kind::Data { &table } else { bytes });
                let stored = bytes.clone();
                Self { codec: Codec::Stored, decoded_len, table, stored, checksum }
            }
        })
    }

    /// How it is stored.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Decoded length, bytes.
    pub fn decoded_len(&self) -> u32 {
        self.decoded_len
    }

    /// Length of the body in a segment, encrypted or not, bytes: known before it is encrypted.
    pub fn stored_len(&self, encrypted: bool) -> u32 {
        let extra = if encrypted { TAG_BYTES } else { self.table.len() };
        // Both terms are below the limits of `Kind::limit`, far below 2³¹.
        u32::try_from(self.stored.len() + extra).unwrap_or(u32::MAX)
    }

    /// Length of the whole entry in a segment: the `stored` of its [`crate::Location`], bytes.
    pub fn entry_len(&self, encrypted: bool) -> u32 {
        let len = round8(ENTRY_HEADER + self.stored_len(encrypted) as usize);
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    pub(crate) fn table(&self) -> &Bytes {
        &self.table
    }

    pub(crate) fn stored(&self) -> &Bytes {
        &self.stored
    }

    pub(crate) fn checksum(&self) -> u32 {
        self.checksum
    }
}

thread_local! {
    /// zstd's contexts are large and slow to make: one of each per thread that compresses.
    static ZSTD: RefCell<(Option<zstd::bulk::Compressor<'static>>,
        Option<zstd::bulk::Decompressor<'static>>)> = const { RefCell::new((None, None)) };
}

fn compress(bytes: &[u8], codec: Codec) -> Option<Vec<u8>> {
    if codec == Codec::Stored || bytes.is_empty() {
        return None;
    }
    // The probe must shrink by a tenth; so must the whole, else it is not worth decoding.
    let pays = |from: usize, to: usize| to < from && to <= from - from.div_ceil(10);
    if bytes.len() > PROBE_BYTES {
        let probe = compress_all(&bytes[..PROBE_BYTES], codec)?;
        if !pays(PROBE_BYTES, probe.len()) {
            return None;
        }
    }
    compress_all(bytes, codec).filter(|out| pays(bytes.len(), out.len()))
}

fn compress_all(bytes: &[u8], codec: Codec) -> Option<Vec<u8>> {
    match codec {
        Codec::Stored => None,
        Codec::Lz4 => Some(lz4_flex::block::compress(bytes)),
        Codec::Zstd => ZSTD.with_borrow_mut(|(slot, _)| {
            if slot.is_none() {
                *slot = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
            }
            slot.as_mut()?.compress(bytes).ok()
        }),
    }
}

/// Decodes into exactly `len` bytes, which the caller has checked against a limit.
fn decompress(bytes: &[u8], codec: Codec, len: usize) -> Option<Bytes> {
    let mut out = vec![0; len];
    let got = match codec {
        Codec::Stored => return None,
        Codec::Lz4 => lz4_flex::block::decompress_into(bytes, &mut out).ok()?,
        Codec::Zstd => ZSTD.with_borrow_mut(|(_, slot)| {
            if slot.is_none() {
                *slot = zstd::bulk::Decompressor::new().ok();
            }
            slot.as_mut()?.decompress_to_buffer(bytes, out.as_mut_slice()).ok()
        })?,
    };
    (got == len).then(|| Bytes::from(out))
}

/// Bytes of the table for `len` stored bytes: 4 per begun block.
pub(super) fn table_len(len: usize) -> usize {
    4 * len.div_ceil(BLOCK_BYTES)
}

fn table_of(bytes: &[u8]) -> Bytes {
    let mut table = BytesMut::with_capacity(table_len(bytes.len()));
    for block in bytes.chunks(BLOCK_BYTES) {
        table.extend_from_slice(&crc32c(block).to_le_bytes());
    }
    table.freeze()
}

/// Checks `blocks`, whose first is block `first` of the frame, against the frame's table.
fn verify_blocks(table: &[u8], first: usize, blocks: &[u8]) -> Result<(), EntryFault> {
    for (i, block) in blocks.chunks(BLOCK_BYTES).enumerate() {
        let n = first + i;
        let want = table.get(4 * n..4 * n + 4);
        if want != Some(&crc32c(block).to_le_bytes()[..]) {
            return Err(EntryFault::Block(u32::try_from(n).unwrap_or(u32::MAX)));
        }
    }
    Ok(())
}

/// Checks that `body` (the stored bytes, without padding) is the one `header` names. Neither
/// decrypts nor decompresses.
pub fn verify_body(header: &EntryHeader, body: &[u8]) -> Result<(), EntryFault> {
    if body.len() != header.body_len as usize {
        return Err(EntryFault::Cut);
    }
    let (table, blocks) = body.split_at(header.table_len());
    if header.has_table() {
        if crc32c(table) != header.body_crc {
            return Err(EntryFault::Body);
        }
        return verify_blocks(table, 0, blocks);
    }
    if crc32c(blocks) == header.body_crc { Ok(()) } else { Err(EntryFault::Body) }
}

/// Checks, decrypts and decodes a body that lies (with its header) at `offset`. A stored plain body
/// is a slice of `body`, not a copy.
pub fn open_body(
    header: &EntryHeader,
    offset: u32,
    body: &Bytes,
    cipher: Option<&SegmentCipher>,
) -> Result<Bytes, EntryFault> {
    verify_body(header, body)?;
    let wanted = header.kind.is_private() && cipher.is_some();
    if header.encrypted != wanted {
        // Plain bytes in an encrypted segment were not written by a holder of the key.
        return Err(EntryFault::Decrypt);
    }
    let plain = match cipher.filter(|_| wanted) {
        None => body.slice(header.table_len()..),
        Some(cipher) => {
            let known = header.authenticated(offset);
            let out = cipher.decrypt(header.ordinal, &known, body);
            Bytes::from(out.ok_or(EntryFault::Decrypt)?)
        }
    };
    match header.codec {
        Codec::Stored => Ok(plain),
        codec => decompress(&plain, codec, header.decoded_len as usize).ok_or(EntryFault::Decode),
    }
}

/// Which bytes of a segment a small read of one frame needs, if the frame is stored plain.
///
/// The length of an entry alone tells the table's length, because entries of n blocks and of n + 1
/// blocks never have the same length; whether the frame really is stored plain is in the header,
/// so [`PartPlan::open`] says when the guess was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartPlan {
    offset: u32,
    stored: u32,
    wanted: Range<u32>,
    table: usize,
    first: usize,
    /// Header and table: bytes of the segment.
    pub head: Range<u64>,
    /// The blocks that hold the wanted bytes: bytes of the segment.
    pub blocks: Range<u64>,
}

impl PartPlan {
    /// A plan for the decoded bytes `wanted` of the frame at `offset` whose entry is `stored` bytes
    /// long. `None` where `wanted` is empty or beyond what such an entry can hold.
    pub fn new(offset: u32, stored: u32, wanted: Range<u32>) -> Option<Self> {
        let room = (stored as usize).checked_sub(ENTRY_HEADER)?;
        let per_block = BLOCK_BYTES + 4;
        let blocks = room.saturating_sub(4).div_ceil(per_block);
        let table = 4 * blocks;
        let data = room.checked_sub(table)?;
        if wanted.is_empty() || wanted.end as usize > data {
            return None;
        }
        let first = wanted.start as usize / BLOCK_BYTES;
        let end = (wanted.end as usize).next_multiple_of(BLOCK_BYTES).min(data);
        let at = |n: usize| u64::from(offset) + n as u64;
        Some(Self {
            offset,
            stored,
            wanted,
            table,
            first,
            head: at(0)..at(ENTRY_HEADER + table),
            blocks: at(ENTRY_HEADER + table + first * BLOCK_BYTES)..at(ENTRY_HEADER + table + end),
        })
    }

    /// The wanted bytes, checked. `Ok(None)`: the frame is not stored plain; read it whole.
    pub fn open(
        &self,
        seed: &Seed,
        head: &[u8],
        blocks: &Bytes,
    ) -> Result<Option<Bytes>, EntryFault> {
        let header = EntryHeader::decode(head, seed, self.offset)?;
        if header.stored() != self.stored {
            return Err(EntryFault::Mismatch("length"));
        }
        if !header.has_table() {
            return Ok(None);
        }
        let table = head.get(ENTRY_HEADER..ENTRY_HEADER + self.table).ok_or(EntryFault::Cut)?;
        if header.table_len() != self.table || self.wanted.end > header.decoded_len {
            return Err(EntryFault::Mismatch("length"));
        }
        if crc32c(table) != header.body_crc {
            return Err(EntryFault::Body);
        }
        // The plan may have taken padding for data at the frame's end.
        let begin = self.first * BLOCK_BYTES;
        let have = blocks.len().min(header.decoded_len as usize - begin);
        let skip = self.wanted.start as usize - begin;
        let wanted = skip..skip + self.wanted.len();
        if wanted.end > have {
            return Err(EntryFault::Cut);
        }
        verify_blocks(table, self.first, &blocks[..have])?;
        Ok(Some(blocks.slice(wanted)))
    }
}
