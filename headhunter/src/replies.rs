//! The reply table (R23): what was answered to requests that must not be carried out twice.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use logseg::Seq;

use crate::{
    Remembered, RequestTag, limits,
    record::{Reader, Reply, put_reply, take_reply},
};

/// Bytes that an entry is taken to hold beside its outcome.
const ENTRY_BYTES: usize = 192;
const VERSION: u32 = 1;

/// Bounded by age and bytes; the oldest leave first.
#[derive(Clone, Default)]
pub(crate) struct Replies {
    known: HashMap<RequestTag, (Remembered, u64)>,
    order: VecDeque<(Seq, RequestTag)>,
    bytes: usize,
}

/// Entries written under one hold of the table's lock.
const WRITE_AT_ONCE: usize = 500;

/// The reply entry of a checkpoint in the making (docs/format.md §4.5).
pub(crate) struct ReplyWriter {
    upto: Seq,
    after: Seq,
    count: u32,
    out: Vec<u8>,
}

impl ReplyWriter {
    /// For the replies of records up to `upto`.
    pub fn new(upto: Seq) -> Self {
        let mut out = Vec::new();
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        Self { upto, after: Seq(0), count: 0, out }
    }

    /// The entry; `None` where nothing is remembered.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        self.out[4..8].copy_from_slice(&self.count.to_le_bytes());
        (self.count > 0).then_some(self.out)
    }
}

fn size(outcome: &Bytes) -> usize {
    ENTRY_BYTES + outcome.len()
}

fn age_limit() -> u64 {
    u64::try_from(Duration::from_secs(limits::REPLIES_SECS).as_nanos()).unwrap_or(u64::MAX)
}

impl Replies {
    /// Adds what the record of `seq` carries.
    pub fn insert(&mut self, seq: Seq, reply: &Reply) {
        // A slice of the record would keep all of it in memory.
        let outcome = Bytes::copy_from_slice(&reply.outcome);
        self.bytes += size(&outcome);
        let old = self.known.insert(reply.tag.clone(), (Remembered { seq, outcome }, reply.wall));
        if let Some((old, _)) = old {
            self.bytes -= size(&old.outcome);
        }
        self.order.push_back((seq, reply.tag.clone()));
        self.expire(reply.wall);
    }

    /// Drops what is too old at `now` (wall time, nanoseconds) or too much.
    pub fn expire(&mut self, now: u64) {
        while let Some((seq, tag)) = self.order.front() {
            let current = self.known.get(tag).filter(|(remembered, _)| remembered.seq == *seq);
            if let Some((remembered, wall)) = current {
                let old = now.saturating_sub(*wall) > age_limit();
                if !old && self.bytes <= limits::REPLIES_BYTES {
                    return;
                }
                self.bytes -= size(&remembered.outcome);
                self.known.remove(tag);
            }
            self.order.pop_front();
        }
    }

    /// What is known of a request at `now`.
    pub fn get(&self, tag: &RequestTag, now: u64) -> Option<Remembered> {
        let (remembered, wall) = self.known.get(tag)?;
        (now.saturating_sub(*wall) <= age_limit()).then(|| remembered.clone())
    }

    /// Number of entries.
    /// Their size, bytes, roughly as in a checkpoint.
    pub fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Appends the next entries to `writer`; false once it has all. The table may change between
    /// two calls: what leaves meanwhile is old, what comes is newer than the writer wants.
    pub fn write_some(&self, writer: &mut ReplyWriter) -> bool {
        let from = self.order.partition_point(|(seq, _)| *seq <= writer.after);
        for (n, (seq, tag)) in self.order.iter().skip(from).enumerate() {
            if *seq > writer.upto {
                return false;
            }
            if n == WRITE_AT_ONCE {
                return true;
            }
            writer.after = *seq;
            match self.known.get(tag) {
                Some((remembered, wall)) if remembered.seq == *seq => {
                    writer.out.put_u64_le(seq.0);
                    let outcome = remembered.outcome.clone();
                    put_reply(&mut writer.out, &Reply { tag: tag.clone(), wall: *wall, outcome });
                    writer.count += 1;
                }
                _ => {}
            }
        }
        false
    }

    /// Reads what [`ReplyWriter::finish`] gave.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut rest = Reader { all: bytes, at: 0 };
        if rest.u32()? != VERSION {
            return None;
        }
        let mut replies = Self::default();
        for _ in 0..rest.u32()? {
            let seq = Seq(rest.u64()?);
            replies.insert(seq, &take_reply(&mut rest)?);
        }
        (rest.at == bytes.len()).then_some(replies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn reply(id: u64, wall: u64) -> Reply {
        let tag = RequestTag { client: [3; 16], id, digest: id * 7 };
        Reply { tag, wall, outcome: Bytes::from(id.to_le_bytes().to_vec()) }
    }

    #[test]
    fn leaves_by_age() {
        let mut replies = Replies::default();
        replies.insert(Seq(1), &reply(1, 100 * SECOND));
        replies.insert(Seq(2), &reply(2, 600 * SECOND));
        assert!(replies.get(&reply(1, 0).tag, 1000 * SECOND).is_some());
        assert!(replies.get(&reply(1, 0).tag, 1001 * SECOND).is_none());
        replies.insert(Seq(3), &reply(3, 1001 * SECOND));
        assert_eq!(replies.len(), 2);
        // A clock that steps back ages nothing.
        assert!(replies.get(&reply(3, 0).tag, 5 * SECOND).is_some());
    }

    #[test]
    fn leaves_by_bytes() {
        let mut replies = Replies::default();
        for id in 0..50_000 {
            replies.insert(Seq(id + 1), &reply(id, SECOND));
        }
        assert!(replies.bytes <= limits::REPLIES_BYTES);
        assert!(replies.get(&reply(0, 0).tag, SECOND).is_none());
        assert!(replies.get(&reply(49_999, 0).tag, SECOND).is_some());
        assert_eq!(replies.order.len(), replies.known.len());
    }

    #[test]
    fn comes_back() {
        let mut replies = Replies::default();
        for id in [5, 6, 7, 5] {
            replies.insert(Seq(100 + replies.order.len() as u64), &reply(id, SECOND));
        }
        replies.insert(Seq(200), &reply(9, SECOND)); // newer than the checkpoint
        let mut writer = ReplyWriter::new(Seq(103));
        while replies.write_some(&mut writer) {}
        let bytes = Bytes::from(writer.finish().unwrap());
        let again = Replies::decode(&bytes).unwrap();
        assert_eq!((again.len(), replies.len()), (3, 4));
        assert_eq!(again.get(&reply(5, 0).tag, SECOND).unwrap().seq, Seq(103));
        assert!(Replies::decode(&bytes.slice(..bytes.len() - 1)).is_none());
    }
}
