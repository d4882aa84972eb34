//! What a transaction leaves in the log: its outcome, never its conditions (docs/format.md §4.1).

use bytes::{BufMut, Bytes};
use logseg::SegmentId;

use crate::{RequestTag, limits};

const TRANSACTION: u8 = 1;
const REMEMBERED: u8 = 1;
const DELETED: u16 = u16::MAX;

/// A key's new value; `None`: removed.
pub(crate) type Write = (Bytes, Option<Bytes>);

/// A request's reply, to be found again by its retransmission (R23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub tag: RequestTag,
    /// Wall time of the commit, nanoseconds since 1970.
    pub wall: u64,
    pub outcome: Bytes,
}

/// The outcome of one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Keys ascending, each once.
    pub writes: Vec<Write>,
    /// Live bytes by segment (R9), each once.
    pub usage: Vec<(SegmentId, i64)>,
    pub reply: Option<Reply>,
}

impl Outcome {
    /// The record.
    #[allow(clippy::cast_possible_truncation)] // lengths were checked by the transaction
    pub fn encode(&self) -> Vec<u8> {
        let bytes: usize =
            self.writes.iter().map(|(k, v)| 4 + k.len() + v.as_ref().map_or(0, Bytes::len)).sum();
        let mut out = Vec::with_capacity(8 + bytes + 16 * self.usage.len() + 120);
        out.put_u8(TRANSACTION);
        out.put_u8(if self.reply.is_some() { REMEMBERED } else { 0 });
        out.put_u16_le(self.usage.len() as u16);
        out.put_u32_le(self.writes.len() as u32);
        for (key, value) in &self.writes {
            out.put_u16_le(key.len() as u16);
            out.put_u16_le(value.as_ref().map_or(DELETED, |v| v.len() as u16));
            out.put_slice(key);
            out.put_slice(value.as_deref().unwrap_or_default());
        }
        for (segment, delta) in &self.usage {
            out.put_u64_le(segment.0);
            out.put_i64_le(*delta);
        }
        if let Some(reply) = &self.reply {
            put_reply(&mut out, reply);
        }
        out
    }

    /// Reads a record back. `None` where it is no transaction of this format.
    pub fn decode(record: &Bytes) -> Option<Self> {
        let mut rest = Reader { all: record, at: 0 };
        if rest.u8()? != TRANSACTION {
            return None;
        }
        let flags = rest.u8()?;
        let (usage, writes) = (usize::from(rest.u16()?), rest.u32()?);
        let mut outcome = Self::default();
        for _ in 0..writes {
            let (key, value) = (rest.u16()?, rest.u16()?);
            let key = rest.bytes(usize::from(key))?;
            let value = if value == DELETED { None } else { Some(rest.bytes(usize::from(value))?) };
            outcome.writes.push((key, value));
        }
        for _ in 0..usage {
            outcome.usage.push((SegmentId(rest.u64()?), rest.u64()?.cast_signed()));
        }
        if flags & REMEMBERED != 0 {
            outcome.reply = Some(take_reply(&mut rest)?);
        }
        (rest.at == record.len()).then_some(outcome)
    }
}

/// Appends a reply: client, id, digest, wall time, outcome.
#[allow(clippy::cast_possible_truncation)] // an outcome has at most 64 bytes
pub(crate) fn put_reply(out: &mut Vec<u8>, reply: &Reply) {
    out.put_slice(&reply.tag.client);
    out.put_u64_le(reply.tag.id);
    out.put_u64_le(reply.tag.digest);
    out.put_u64_le(reply.wall);
    out.put_u8(reply.outcome.len() as u8);
    out.put_slice(&reply.outcome);
}

/// Reads what [`put_reply`] wrote.
pub(crate) fn take_reply(rest: &mut Reader<'_>) -> Option<Reply> {
    let mut client = [0; 16];
    client.copy_from_slice(&rest.bytes(16)?);
    let tag = RequestTag { client, id: rest.u64()?, digest: rest.u64()? };
    let wall = rest.u64()?;
    let len = usize::from(rest.u8()?);
    if len > limits::OUTCOME_BYTES {
        return None;
    }
    Some(Reply { tag, wall, outcome: rest.bytes(len)? })
}

/// Takes little-endian fields off the front; `None` at the end.
pub(crate) struct Reader<'a> {
    pub all: &'a Bytes,
    pub at: usize,
}

impl Reader<'_> {
    pub fn bytes(&mut self, n: usize) -> Option<Bytes> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.all.len())?;
        let part = self.all.slice(self.at..end);
        self.at = end;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let part = *self.all.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(part)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|b| b[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcome() -> impl Strategy<Value = Outcome> {
        let bytes = |n| proptest::collection::vec(any::<u8>(), 0..n).prop_map(Bytes::from);
        let write = (bytes(40), proptest::option::of(bytes(90)));
        let usage = (any::<u64>().prop_map(SegmentId), any::<i64>());
        let reply = (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<u64>(), bytes(64))
            .prop_map(|(client, id, digest, wall, outcome)| Reply {
                tag: RequestTag { client, id, digest },
                wall,
                outcome,
            });
        (
            proptest::collection::vec(write, 0..9),
            proptest::collection::vec(usage, 0..5),
            proptest::option::of(reply),
        )
            .prop_map(|(writes, usage, reply)| Outcome { writes, usage, reply })
    }

    proptest! {
        #[test]
        fn comes_back(outcome in outcome(), cut in any::<prop::sample::Index>()) {
            let record = Bytes::from(outcome.encode());
            prop_assert_eq!(Outcome::decode(&record), Some(outcome));
            let short = record.slice(..cut.index(record.len()));
            prop_assert_eq!(Outcome::decode(&short), None);
        }
    }
}
