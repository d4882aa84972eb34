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
use tokio::sync::Notify;

pub(crate) use crate::encoder::Entry;
use crate::{
    Location, STREAM_PIECE_BYTES, SegmentId, Seq,
    crypto::VolumeKey,
    encoder::{Encoder, Later, Place},
    format::{FooterBuilder, SegmentHeader, footer_len},
};

/// A journal file of ours.
pub(crate) struct JournalFile {
    pub path: PathBuf,
    pub generation: u32,
    pub file: Arc<dyn DiskFile>,
}

/// What a stream of this segment has taken, and how to tell it that there is more.
#[derive(Default)]
pub(crate) struct Flow {
    pub told: Arc<Notify>,
    /// Bytes taken.
    pub taken: u64,
}

/// One unstored segment.
pub(crate) struct Segment {
    pub id: SegmentId,
    /// Ended by a footer.
    pub sealed: bool,
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
    /// When the last entry was appended, marks not counted.
    pub touched: Duration,
    /// The highest mark carried by an entry, bytes.
    pub marked: u64,
    /// Decoded bodies of entries not yet durable, by offset.
    pub bodies: BTreeMap<u32, Readable>,
    /// What its footer says of it (R4): set when it is sealed.
    pub digest: u64,
    /// All its bytes: the journal did not take them, and the store is to (R10).
    pub rescued: Option<Vec<Bytes>>,
    /// The store gets a copy of the file's bytes, not the file.
    pub distrusted: bool,
    /// While its bytes travel as they come (R13).
    pub flow: Option<Flow>,
    /// Entries appended: the next one's ordinal.
    count: u32,
    last_seq: Seq,
    encrypted: bool,
    /// Bytes are made up to here: all of them, where the volume is not encrypted.
    made: u64,
    /// Seq of the last record whose bytes are made.
    made_seq: Seq,
    /// What has its place and not yet its bytes.
    later: Vec<Later>,
    /// Away while somebody encrypts outside the lock.
    encoder: Option<Encoder>,
}

/// A decoded body still in memory because it is not durable.
#[derive(Clone)]
pub(crate) struct Readable {
    pub location: Location,
    pub decoded: Bytes,
}

impl Segment {
    /// A fresh one, its header waiting to be written.
    pub(crate) fn open(header: &SegmentHeader, key: Option<&VolumeKey>, now: Duration) -> Self {
        let encoder = Encoder::new(header, key);
        let last_seq = Seq(header.first_seq.0.saturating_sub(1));
        Self {
            id: header.id,
            sealed: false,
            end: encoder.end(),
            written: 0,
            durable: 0,
            zeros: 0,
            file: None,
            touched: now,
            marked: 0,
            bodies: BTreeMap::new(),
            digest: 0,
            rescued: None,
            distrusted: false,
            flow: None,
            count: 0,
            last_seq,
            encrypted: encoder.encrypts(),
            made: encoder.end(),
            made_seq: last_seq,
            later: Vec::new(),
            encoder: Some(encoder),
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
            sealed: true,
            end,
            written: end,
            durable: end,
            zeros: end,
            file: Some(Arc::new(file)),
            touched: Duration::ZERO,
            marked: end,
            bodies: BTreeMap::new(),
            digest: footer.digest(),
            rescued: None,
            distrusted: false,
            flow: None,
            count: u32::try_from(footer.count()).unwrap_or(u32::MAX),
            last_seq: footer.last_seq(),
            encrypted: false,
            made: end,
            made_seq: footer.last_seq(),
            later: Vec::new(),
            encoder: Some(Encoder::done(footer, end)),
        }
    }

    /// Seq of the last record, or first seq − 1.
    pub(crate) fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// True before the first entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Open, and nothing in it but the header.
    pub(crate) fn is_bare(&self) -> bool {
        !self.sealed && self.is_empty()
    }

    /// Bytes that entries may still take in a segment of `limit` bytes, the footer left out.
    pub(crate) fn room(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.end + footer_len(self.count as usize) as u64)
    }

    /// Appends one entry; gives the bytes by which the segment grew, its header included with the
    /// first. `readable` stays so until it is durable.
    pub(crate) fn append(&mut self, entry: &Entry<'_>, readable: Option<Readable>) -> u64 {
        let offset = u32::try_from(self.end).unwrap_or(u32::MAX);
        let mark = u32::try_from(self.durable).unwrap_or(0);
        let place = Place { ordinal: self.count, offset, mark };
        let stored = u64::from(entry.body.entry_len(self.encrypted && entry.kind.is_private()));
        self.marked = self.durable;
        self.count += 1;
        if entry.kind.takes_seq() {
            self.last_seq = entry.seq;
        }
        let grown = if self.count == 1 { self.end + stored } else { stored };
        self.end += stored;
        match &mut self.encoder {
            Some(encoder) if !self.encrypted => {
                encoder.entry(entry, place);
                (self.made, self.made_seq) = (encoder.end(), encoder.last_seq());
            }
            _ => {
                let (kind, owner, seq) = (entry.kind, entry.owner, entry.seq);
                let body = entry.body.clone();
                self.later.push(Later::Entry { kind, owner, seq, body, place });
            }
        }
        if let Some(readable) = readable {
            self.bodies.insert(offset, readable);
        }
        grown
    }

    /// Ends the segment with its footer; gives the footer's length, bytes.
    pub(crate) fn seal(&mut self) -> u64 {
        let offset = u32::try_from(self.end).unwrap_or(u32::MAX);
        let mark = u32::try_from(self.durable).unwrap_or(0);
        let len = footer_len(self.count as usize) as u64;
        self.end += len;
        self.sealed = true;
        match &mut self.encoder {
            Some(encoder) if !self.encrypted => {
                encoder.seal(offset, mark);
                self.made = encoder.end();
                self.digest = encoder.digest();
            }
            _ => self.later.push(Later::Footer { offset, mark }),
        }
        len
    }

    /// What is to be encoded outside the lock, and by whom: to be brought back.
    pub(crate) fn take_later(&mut self) -> Option<(Encoder, Vec<Later>)> {
        if self.later.is_empty() {
            return None;
        }
        let encoder = self.encoder.take()?;
        Some((encoder, std::mem::take(&mut self.later)))
    }

    /// Brings the encoder back with what it has made.
    pub(crate) fn bring_back(&mut self, encoder: Encoder) {
        (self.made, self.made_seq) = (encoder.end(), encoder.last_seq());
        if self.sealed && self.made == self.end {
            self.digest = encoder.digest();
        }
        self.encoder = Some(encoder);
    }

    /// Where the bytes made so far end, and the seq of the last record in them.
    pub(crate) fn made(&self) -> (u64, Seq) {
        (self.made, self.made_seq)
    }

    /// Bytes `from..end` of the segment, all made and still in memory, in order. Both are
    /// boundaries of what was once asked for.
    pub(crate) fn pieces(&mut self, from: u64, end: u64) -> Vec<Bytes> {
        self.encoder.as_mut().map(|encoder| encoder.pieces(from, end)).unwrap_or_default()
    }

    /// The bytes `from..upto`, all made, without copying; or nothing where not all of them are in
    /// memory.
    pub(crate) fn slices(&mut self, from: u64, upto: u64) -> Vec<Bytes> {
        self.encoder.as_mut().map(|encoder| encoder.slices(from, upto)).unwrap_or_default()
    }

    /// Tells the stream, if there is one, that there is enough more, or the end.
    pub(crate) fn tell_stream(&self, limit: u64) {
        if let Some(flow) = &self.flow
            && (self.sealed || limit >= flow.taken + STREAM_PIECE_BYTES)
        {
            flow.told.notify_one();
        }
    }

    /// Bytes up to `end` became durable: gives what need not be kept any more.
    pub(crate) fn durable_to(&mut self, end: u64) -> Released {
        self.durable = self.durable.max(end);
        let chunks = self.encoder.as_mut().map(|encoder| encoder.release(end));
        let later = self.bodies.split_off(&u32::try_from(end).unwrap_or(u32::MAX));
        let bodies = std::mem::replace(&mut self.bodies, later);
        Released { bodies: bodies.into_values().collect(), _chunks: chunks.unwrap_or_default() }
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
        self.segments.back().filter(|s| !s.sealed)
    }

    /// The newest sealed one. Where it is durable all before it are.
    pub(crate) fn sealed(&self) -> Option<&Segment> {
        self.segments.iter().rev().find(|s| s.sealed)
    }

    pub(crate) fn open_mut(&mut self) -> Option<&mut Segment> {
        self.segments.back_mut().filter(|s| !s.sealed)
    }

    /// Drops what lies below `first`: it is stored.
    pub(crate) fn trim(&mut self, first: SegmentId) {
        while self.segments.front().is_some_and(|s| s.id < first) {
            self.segments.pop_front();
        }
    }
}
