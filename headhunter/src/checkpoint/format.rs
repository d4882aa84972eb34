//! The bytes of a checkpoint (docs/format.md §4.4): its root entry and its object.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use logseg::{Location, SegmentId, Seq};

use crate::{
    record::Reader,
    tree::page::{CHILD, put_child, take_child},
};

const MAGIC: [u8; 8] = *b"EskerIdx";
const VERSION: u32 = 1;

/// An epoch that has ended and may have left objects that nothing refers to (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub epoch: u32,
    /// Counter of its seal: what stands there or behind is void.
    pub seal: u32,
    /// Side counters below this were handed out.
    pub side_mark: u32,
    /// How often it was swept: twice is enough, the second time for what landed late.
    pub rounds: u32,
}

/// What a checkpoint says: the root entry holds all of it, so that it can be found without the
/// checkpoint object (R25).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// Newest seq that the root contains.
    pub seq: Seq,
    /// Chain segment where replay begins.
    pub replay_start: SegmentId,
    /// Wall time, nanoseconds since 1970.
    pub wall: u64,
    /// Epoch of the writer.
    pub epoch: u32,
    /// Side counters below this were handed out in that epoch (R7).
    pub side_mark: u32,
    /// The root page and its birth.
    pub root: (Location, Seq),
    /// The reply table, if there was anything to remember.
    pub replies: Option<Location>,
    /// What this checkpoint's page changes do to usage, not yet in the root (R9).
    pub usage: BTreeMap<SegmentId, i64>,
    /// Epochs still to be swept.
    pub ended: Vec<Ended>,
    /// Chain segments below the replay start with live bytes that only the journal had, because the
    /// store was full (R18), ascending.
    pub leans: Vec<SegmentId>,
}

/// Flags: there is a reply table; there are segments that it leans on.
const REPLIES: u32 = 1;
const LEANS: u32 = 2;

impl Body {
    /// The root entry.
    #[allow(clippy::cast_possible_truncation)] // counts of segments
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 + 16 * (self.usage.len() + self.ended.len()));
        out.put_slice(&MAGIC);
        out.put_u32_le(VERSION);
        let replies = if self.replies.is_some() { REPLIES } else { 0 };
        let leans = if self.leans.is_empty() { 0 } else { LEANS };
        out.put_u32_le(replies | leans);
        out.put_u64_le(self.seq.0);
        out.put_u64_le(self.replay_start.0);
        out.put_u64_le(self.wall);
        out.put_u32_le(self.epoch);
        out.put_u32_le(self.side_mark);
        put_child(&mut out, self.root.0, self.root.1);
        let nowhere = Location { segment: SegmentId(0), offset: 0, stored: 0 };
        put_child(&mut out, self.replies.unwrap_or(nowhere), Seq(0));
        out.put_u32_le(self.usage.len() as u32);
        out.put_u32_le(self.ended.len() as u32);
        for (segment, delta) in &self.usage {
            out.put_u64_le(segment.0);
            out.put_i64_le(*delta);
        }
        for ended in &self.ended {
            out.put_u32_le(ended.epoch);
            out.put_u32_le(ended.seal);
            out.put_u32_le(ended.side_mark);
            out.put_u32_le(ended.rounds);
        }
        if !self.leans.is_empty() {
            out.put_u32_le(self.leans.len() as u32);
            self.leans.iter().for_each(|id| out.put_u64_le(id.0));
        }
        out
    }

    /// Reads a root entry.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut rest = Reader { all: bytes, at: 0 };
        let body = Self::take(&mut rest)?;
        (rest.at == bytes.len()).then_some(body)
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        if rest.bytes(8)?[..] != MAGIC || rest.u32()? != VERSION {
            return None;
        }
        let flags = rest.u32()?;
        if flags & !(REPLIES | LEANS) != 0 {
            return None;
        }
        let (seq, replay_start, wall) = (Seq(rest.u64()?), SegmentId(rest.u64()?), rest.u64()?);
        let (epoch, side_mark) = (rest.u32()?, rest.u32()?);
        let root = take_child(&rest.bytes(CHILD)?)?;
        let (replies, _) = take_child(&rest.bytes(CHILD)?)?;
        let replies = (flags & REPLIES != 0).then_some(replies);
        let (usage_count, ended_count) = (rest.u32()?, rest.u32()?);
        let mut usage = BTreeMap::new();
        for _ in 0..usage_count {
            usage.insert(SegmentId(rest.u64()?), rest.u64()?.cast_signed());
        }
        let mut ended = Vec::new();
        for _ in 0..ended_count {
            let (epoch, seal) = (rest.u32()?, rest.u32()?);
            ended.push(Ended { epoch, seal, side_mark: rest.u32()?, rounds: rest.u32()? });
        }
        let lean_count = if flags & LEANS == 0 { 0 } else { rest.u32()? };
        let mut leans = Vec::new();
        for _ in 0..lean_count {
            leans.push(SegmentId(rest.u64()?));
        }
        let body =
            Self { seq, replay_start, wall, epoch, side_mark, root, replies, usage, ended, leans };
        Some(body)
    }
}

/// A checkpoint object: the body, and where its root entry lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub body: Body,
    pub entry: Location,
}

impl Checkpoint {
    /// The object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body.encode();
        put_child(&mut out, self.entry, Seq(0));
        out
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut rest = Reader { all: bytes, at: 0 };
        let body = Body::take(&mut rest)?;
        let (entry, _) = take_child(&rest.bytes(CHILD)?)?;
        (rest.at == bytes.len()).then_some(Self { body, entry })
    }

    /// Segments that it needs beside those of its pages.
    pub fn held(&self) -> Vec<SegmentId> {
        let replies = self.body.replies.map(|location| location.segment);
        replies.into_iter().chain([self.entry.segment]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_whole_or_not_at_all() {
        let at = |n| Location { segment: SegmentId::side(3, n), offset: 8 * n, stored: 99 };
        let body = Body {
            seq: Seq(1234),
            replay_start: SegmentId::chain(3, 17),
            wall: 77,
            epoch: 3,
            side_mark: 128,
            root: (at(1), Seq(1200)),
            replies: Some(at(2)),
            usage: [(SegmentId::side(3, 1), 5000), (SegmentId::side(2, 9), -64)].into(),
            ended: vec![Ended { epoch: 2, seal: 40, side_mark: 64, rounds: 1 }],
            leans: vec![SegmentId::chain(2, 39), SegmentId::chain(3, 11)],
        };
        for (replies, leans) in [
            (body.replies, body.leans.clone()),
            (None, body.leans.clone()),
            (body.replies, Vec::new()),
            (None, Vec::new()),
        ] {
            let checkpoint =
                Checkpoint { body: Body { replies, leans, ..body.clone() }, entry: at(3) };
            let bytes = Bytes::from(checkpoint.encode());
            for cut in 0..bytes.len() {
                assert_eq!(Checkpoint::decode(&bytes.slice(..cut)), None);
            }
            assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint));
        }
    }
}
