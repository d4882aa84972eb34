//! A transaction in the making.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
    sync::Arc,
};

use bytes::Bytes;
use logseg::{Frame, Location, LogError, SegmentId, Seq};

use crate::{
    apply::is_reserved,
    home::Pen,
    limits,
    record::{Outcome, Reply},
    tree::{self, Item, Miss, PageRef},
};

/// Why a transaction was given up. Nothing was changed.
#[derive(Debug)]
pub enum Abort<E> {
    /// A page is missing: fault it and run the closure again from its first check.
    Miss(Miss),
    /// The closure's own verdict.
    Refused(E),
    /// The log took nothing: fenced, read-only or full; or the transaction broke a limit.
    Log(LogError),
}

impl<E> From<Miss> for Abort<E> {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

/// Outcome of a committed transaction.
#[derive(Debug)]
pub struct Committed<R> {
    /// What the closure returned.
    pub value: R,
    /// Its place in commit order; unchanged (the newest seq so far) where it changed nothing.
    pub seq: Seq,
}

/// Identity of a non-repeatable request (R23), opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTag {
    /// Who asks: an address without port, a client uuid.
    pub client: [u8; 16],
    /// The client's own number (xid).
    pub id: u64,
    /// Checksum of the call.
    pub digest: u64,
}

/// A request that was committed, as the reply table (R23) remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its place in commit order: answer only once this is durable.
    pub seq: Seq,
    /// At most 64 bytes with which the face can rebuild its answer.
    pub outcome: Bytes,
}

/// Sees its own writes, touches nothing until it commits.
///
/// It runs under the committer's lock, so what it reads cannot change before it commits. It must
/// be short and must not wait.
pub struct Txn<'a> {
    root: Arc<PageRef>,
    pen: &'a mut Pen,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    usage: BTreeMap<SegmentId, i64>,
    reply: Option<(RequestTag, Bytes)>,
    staged: bool,
}

/// Upper bound of what a record takes beside its body: header, seal of the cipher, padding.
const ENTRY_BYTES: u64 = 1 << 10;

impl<'a> Txn<'a> {
    pub(crate) fn new(root: Arc<PageRef>, pen: &'a mut Pen) -> Self {
        let (writes, usage) = (BTreeMap::new(), BTreeMap::new());
        Self { root, pen, writes, usage, reply: None, staged: false }
    }

    /// As [`crate::View::get`], own writes included.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Miss> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => tree::get(&self.root, key),
        }
    }

    /// As [`crate::View::range`], own writes included.
    pub fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Item>, Miss> {
        if from >= to {
            return Ok(Vec::new());
        }
        let bounds = (Included(from), Excluded(to));
        let own = self.writes.range::<[u8], _>(bounds).count();
        let mut items = Vec::new();
        tree::range(&self.root, from, to, limit.saturating_add(own), &mut items)?;
        if own == 0 {
            return Ok(items);
        }
        let mut merged: BTreeMap<Bytes, Bytes> = items.into_iter().collect();
        for (key, value) in self.writes.range::<[u8], _>(bounds) {
            match value {
                Some(value) => merged.insert(key.clone(), value.clone()),
                None => merged.remove(key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }

    /// As [`crate::View::last`], own writes included.
    pub fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Item>, Miss> {
        if from >= to {
            return Ok(None);
        }
        let bounds = (Included(from), Excluded(to));
        let own = self.writes.range::<[u8], _>(bounds).rev();
        let own = own.filter_map(|(k, v)| v.as_ref().map(|v| (k.clone(), v.clone()))).next();
        let mut below = tree::last(&self.root, from, to)?;
        while let Some((key, _)) = &below {
            if !self.writes.contains_key(key) {
                break; // neither changed nor removed
            }
            let key = key.clone();
            below = tree::last(&self.root, from, &key)?;
        }
        Ok(match (own, below) {
            (Some(own), Some(below)) => Some(if own.0 > below.0 { own } else { below }),
            (own, below) => own.or(below),
        })
    }

    /// Sets `key` (at most 280 bytes) to `value` (at most 3 KiB).
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes `key`, present or not.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.writes.insert(key.into(), None);
    }

    /// Appends a data frame that [`Frame::data`] prepared outside the lock. It becomes part of the
    /// log only if the transaction commits, in the same segment as its record.
    pub fn append(&mut self, frame: &Frame) -> Location {
        self.staged = true;
        self.pen.stage(frame)
    }

    /// Accounts `delta` referenced logical bytes to `segment` (R9): positive where an extent now
    /// points there, negative where one no longer does.
    pub fn account(&mut self, segment: SegmentId, delta: i64) {
        *self.usage.entry(segment).or_default() += delta;
    }

    /// The seq that this transaction will have if it commits: the birth of its extents (R14).
    pub fn seq(&self) -> Seq {
        self.pen.next_seq()
    }

    /// The writer's epoch: the generation of inodes created now (DESIGN §6).
    pub fn epoch(&self) -> u32 {
        self.pen.epoch()
    }

    /// Remembers the outcome (at most 64 bytes) of a non-repeatable request with this record (R23).
    pub fn remember(&mut self, tag: RequestTag, outcome: impl Into<Bytes>) {
        self.reply = Some((tag, outcome.into()));
    }

    /// True when nothing was put, deleted, appended or remembered.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && !self.staged && self.reply.is_none() && self.usage.is_empty()
    }

    /// The outcome at wall time `now`, nanoseconds.
    pub(crate) fn into_outcome(self, now: u64) -> Outcome {
        let usage = self.usage.into_iter().filter(|(_, delta)| *delta != 0).collect();
        let reply = self.reply.map(|(tag, outcome)| Reply { tag, wall: now, outcome });
        Outcome { writes: self.writes.into_iter().collect(), usage, reply }
    }
}

/// Whether a transaction keeps the limits. What breaks them is a bug above; it must not reach the
/// log, where it could not be taken back.
pub(crate) fn check_limits(outcome: &Outcome, record: usize, room: u64) -> Result<(), LogError> {
    let refuse = |what: &str| Err(LogError::Refused(format!("transaction refused: {what}")));
    for (key, value) in &outcome.writes {
        if key.len() > limits::KEY_BYTES {
            return refuse("a key of more than 280 bytes");
        }
        if value.as_ref().is_some_and(|value| value.len() > limits::VALUE_BYTES) {
            return refuse("a value of more than 3 KiB");
        }
        if is_reserved(key) {
            return refuse("a key that belongs to the index");
        }
    }
    if outcome.reply.as_ref().is_some_and(|r| r.outcome.len() > limits::OUTCOME_BYTES) {
        return refuse("an outcome of more than 64 bytes");
    }
    if outcome.usage.len() > usize::from(u16::MAX) || record as u64 + ENTRY_BYTES > room {
        return refuse("more than a transaction may append");
    }
    Ok(())
}
