//! The segments of the chain that are not yet stored: what of each is only in memory, what was
//! written to its journal file, what is durable there.
//!
//! ```text
//!   stored │ backlog of older epochs │ sealed … │ open          `Chain::segments`, in id order
//!
//!   one segment:   0 ── durable ── written ── end
//!                  file, fdatasynced │ file │ memory only     `chunks` hold durable..end
//! ```
//!
//! All of it sits behind one short lock and does no I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use swiftclient::disk::DiskFile;

use crate::{
    COPY_OUT_BYTES, Location, Owner, SegmentId, Seq,
    crypto::{SegmentCipher, VolumeKey},
    format::{Body, FooterBuilder, Kind, Seed, SegmentHeader, encode_entry},
};

/// What is appended.
pub(crate) struct Entry<'a> {
    pub kind: Kind,
    pub owner: Owner,
    pub seq: Seq,
    pub body: &'a Body,
}

/// A journal file of ours.
pub(crate) struct JournalFile {
    pub path: PathBuf,
    pub generation: u32,
    pub file: Arc<dyn DiskFile>,
}

/// Where destage stands with a segment (R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Entries are appended.
    Open,
    /// Ended by a footer.
    Sealed,
    /// A put is under way.
    Storing,
    /// The store holds the same bytes.
    Stored,
    /// The last put failed: `Segment::not_before` says when the next may begin. Never dropped.
    Failed,
}

/// One unstored segment.
pub(crate) struct Segment {
    pub id: SegmentId,
    pub phase: Phase,
    /// Offset where the next entry goes; the segment's length once it is sealed, bytes.
    pub end: u64,
    /// Bytes handed to the file, durable or not.
    pub written: u64,
    /// Bytes known durable.
    pub durable: u64,
    /// Bytes of the file written already, zeros ahead included.
    pub zeros: u64,
    /// Its journal file, once it has one.
    pub file: Option<Arc<JournalFile>>,
    /// When the first entry was appended.
    pub born: Option<Duration>,
    /// When the last entry was appended, marks not counted.
    pub touched: Duration,
    /// The highest mark carried by an entry, bytes.
    pub marked: u64,
    /// Decoded bodies of entries not yet durable, by offset.
    pub bodies: BTreeMap<u32, Readable>,
    /// What its footer says of it (R4): set when it is sealed.
    pub digest: u64,
    /// The store gets a copy of the file's bytes, not the file.
    pub distrusted: bool,
    /// Puts that failed.
    pub attempts: u32,
    /// When a failed put may be tried again.
    pub not_before: Duration,
    ordinal: u32,
    seed: Seed,
    cipher: Option<SegmentCipher>,
    footer: FooterBuilder,
    chunks: VecDeque<Chunk>,
    tail: Vec<u8>,
}

/// A decoded body still in memory because it is not durable.
#[derive(Clone)]
pub(crate) struct Readable {
    pub location: Location,
    pub decoded: Bytes,
}

#[derive(Clone)]
struct Chunk {
    offset: u64,
    bytes: Bytes,
}

impl Segment {
    /// A fresh one, its header waiting to be written.
    pub(crate) fn open(header: &SegmentHeader, key: Option<&VolumeKey>, now: Duration) -> Self {
        let tail = header.encode().to_vec();
        Self {
            id: header.id,
            phase: Phase::Open,
            end: tail.len() as u64,
            written: 0,
            durable: 0,
            zeros: 0,
            file: None,
            born: None,
            touched: now,
            marked: 0,
            bodies: BTreeMap::new(),
            digest: 0,
            distrusted: false,
            attempts: 0,
            not_before: Duration::ZERO,
            ordinal: 0,
            seed: Seed::new(&header.nonce),
            cipher: key.map(|k| SegmentCipher::new(k, &header.nonce)),
            footer: FooterBuilder::new(header),
            chunks: VecDeque::new(),
            tail,
        }
    }

    /// One that recovery found whole and made durable in the journal.
    pub(crate) fn recovered(
        footer: FooterBuilder,
        id: SegmentId,
        end: u64,
        file: JournalFile,
    ) -> Self {
        Self {
            id,
            phase: Phase::Sealed,
            end,
            written: end,
            durable: end,
            zeros: end,
            file: Some(Arc::new(file)),
            born: None,
            touched: Duration::ZERO,
            marked: end,
            bodies: BTreeMap::new(),
            digest: footer.digest(),
            distrusted: false,
            attempts: 0,
            not_before: Duration::ZERO,
            ordinal: 0,
            seed: Seed::new(&[0; 16]),
            cipher: None,
            footer,
            chunks: VecDeque::new(),
            tail: Vec::new(),
        }
    }

    /// Seq of the last record, or first seq − 1.
    pub(crate) fn last_seq(&self) -> Seq {
        self.footer.last_seq()
    }

    /// True before the first entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.footer.count() == 0
    }

    /// Open, and nothing in it but the header.
    pub(crate) fn is_bare(&self) -> bool {
        self.phase == Phase::Open && self.is_empty()
    }

    /// True where a put may begin now.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        match self.phase {
            Phase::Sealed => true,
            Phase::Failed => self.not_before <= now,
            Phase::Open | Phase::Storing | Phase::Stored => false,
        }
    }

    /// Bytes that entries may still take in a segment of `limit` bytes, the footer left out.
    pub(crate) fn room(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.end + self.footer.footer_len() as u64)
    }

    /// Appends one entry; gives the bytes by which the segment grew, its header included with the
    /// first. `readable` stays so until it is durable.
    pub(crate) fn append(&mut self, entry: &Entry<'_>, readable: Option<Readable>) -> u64 {
        let offset = u32::try_from(self.end).unwrap_or(u32::MAX);
        let mark = u32::try_from(self.durable).unwrap_or(0);
        let encoded = encode_entry(
            entry.kind,
            entry.body,
            entry.owner,
            entry.seq,
            self.ordinal,
            offset,
            mark,
            &self.seed,
            self.cipher.as_ref(),
        );
        self.footer.push(offset, &encoded.fields, &encoded.header);
        self.marked = self.durable;
        self.ordinal += 1;
        let stored = u64::from(encoded.fields.stored());
        let begin = self.end;
        let grown = if self.ordinal == 1 { begin + stored } else { stored };
        self.end += stored;
        if encoded.body.len() < COPY_OUT_BYTES {
            encoded.write_into(&mut self.tail);
        } else {
            let [header, table, body, padding] = encoded.pieces();
            self.tail.extend_from_slice(header);
            self.tail.extend_from_slice(table);
            let at = begin + (header.len() + table.len()) as u64;
            self.cut_tail(at);
            debug_assert_eq!(body.len(), encoded.body.len());
            self.chunks.push_back(Chunk { offset: at, bytes: encoded.body.clone() });
            self.tail.extend_from_slice(padding);
        }
        if let Some(readable) = readable {
            self.bodies.insert(offset, readable);
        }
        grown
    }

    /// Ends the segment with its footer; gives the footer's length, bytes.
    pub(crate) fn seal(&mut self) -> u64 {
        let offset = u32::try_from(self.end).unwrap_or(u32::MAX);
        let footer = self.footer.encode(offset, u32::try_from(self.durable).unwrap_or(0));
        self.digest = self.footer.digest();
        self.end += footer.len() as u64;
        self.tail.extend_from_slice(&footer);
        self.phase = Phase::Sealed;
        footer.len() as u64
    }

    fn cut_tail(&mut self, tail_end: u64) {
        if !self.tail.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut self.tail));
            self.chunks.push_back(Chunk { offset: tail_end - bytes.len() as u64, bytes });
        }
    }

    /// Bytes `from..end` of the segment, all still in memory, in order. Both are boundaries of
    /// what was once collected.
    pub(crate) fn pieces(&mut self, from: u64, end: u64) -> Vec<Bytes> {
        self.cut_tail(self.end);
        let first = self.chunks.partition_point(|c| c.offset < from);
        let wanted = self.chunks.iter().skip(first).take_while(|c| c.offset < end);
        wanted.map(|c| c.bytes.clone()).collect()
    }

    /// Bytes up to `end` became durable: gives what need not be kept any more.
    pub(crate) fn durable_to(&mut self, end: u64) -> Released {
        self.durable = self.durable.max(end);
        let keep = self.chunks.partition_point(|c| c.offset < end);
        let chunks = self.chunks.drain(..keep).map(|c| c.bytes).collect();
        let later = self.bodies.split_off(&u32::try_from(end).unwrap_or(u32::MAX));
        let bodies = std::mem::replace(&mut self.bodies, later);
        Released { bodies: bodies.into_values().collect(), _chunks: chunks }
    }
}

/// What became durable: dropped outside the lock.
pub(crate) struct Released {
    pub bodies: Vec<Readable>,
    _chunks: Vec<Bytes>,
}

/// The unstored part of the chain, in id order; the last one is open unless the log has ended.
#[derive(Default)]
pub(crate) struct Chain {
    pub segments: VecDeque<Segment>,
}

impl Chain {
    pub(crate) fn find(&self, id: SegmentId) -> Option<&Segment> {
        let at = self.segments.partition_point(|s| s.id < id);
        self.segments.get(at).filter(|s| s.id == id)
    }

    pub(crate) fn find_mut(&mut self, id: SegmentId) -> Option<&mut Segment> {
        let at = self.segments.partition_point(|s| s.id < id);
        self.segments.get_mut(at).filter(|s| s.id == id)
    }

    pub(crate) fn open(&self) -> Option<&Segment> {
        self.segments.back().filter(|s| s.phase == Phase::Open)
    }

    /// The newest sealed one. Where it is durable all before it are.
    pub(crate) fn sealed(&self) -> Option<&Segment> {
        self.segments.iter().rev().find(|s| s.phase != Phase::Open)
    }

    pub(crate) fn open_mut(&mut self) -> Option<&mut Segment> {
        self.segments.back_mut().filter(|s| s.phase == Phase::Open)
    }

    /// Drops the stored ones at the front; gives the first id that is not stored.
    pub(crate) fn trim(&mut self) -> Option<SegmentId> {
        while self.segments.front().is_some_and(|s| s.phase == Phase::Stored) {
            self.segments.pop_front();
        }
        self.segments.front().map(|s| s.id)
    }
}
