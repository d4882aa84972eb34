//! What a record does to the live root: the one function that the running server and recovery
//! both call.

use std::{collections::BTreeMap, sync::Arc};

use logseg::{SegmentId, Seq};

use crate::{
    limits::RESERVED_PREFIX,
    record::Outcome,
    tree::{self, Edit, Ledger, Miss, PageRef, Shape},
};

const USAGE: u8 = 1;

/// Key of a segment's live bytes (R9): eight zeros, 1, the segment id big-endian.
pub(crate) fn usage_key(segment: SegmentId) -> [u8; 17] {
    let mut key = [0; 17];
    key[RESERVED_PREFIX] = USAGE;
    key[9..].copy_from_slice(&segment.0.to_be_bytes());
    key
}

/// The range of all usage keys.
pub(crate) fn usage_range() -> ([u8; 9], [u8; 9]) {
    let (mut from, mut to) = ([0; 9], [0; 9]);
    (from[8], to[8]) = (USAGE, USAGE + 1);
    (from, to)
}

/// Reads a usage item.
pub(crate) fn usage_item(key: &[u8], value: &[u8]) -> Option<(SegmentId, i64)> {
    let (from, _) = usage_range();
    let id = key.strip_prefix(&from[..])?.try_into().ok().map(u64::from_be_bytes)?;
    Some((SegmentId(id), value.try_into().ok().map(i64::from_le_bytes)?))
}

/// True for keys that belong to the index itself.
pub(crate) fn is_reserved(key: &[u8]) -> bool {
    key.len() >= RESERVED_PREFIX && key[..RESERVED_PREFIX] == [0; RESERVED_PREFIX]
}

/// When a segment lost its last live byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    /// Number of the last freeze before it: the segment is absent from every root frozen later.
    /// The checkpoint that a process began with has number 0, the one before it −1.
    pub tag: i64,
}

/// State that goes with the live root and is rebuilt with it.
#[derive(Default)]
pub(crate) struct Applier {
    /// Page sizes.
    pub shape: Shape,
    /// What page changes will do to usage.
    pub ledger: Ledger,
    /// Seq of the root being checkpointed, if one is.
    pub frozen: Option<Seq>,
    /// Checkpoints frozen so far in this process: the tag of what dies now.
    pub frozen_count: i64,
    /// Segments without live bytes.
    pub dead: BTreeMap<SegmentId, Death>,
    /// The chain segment of the newest record.
    pub segment: Option<SegmentId>,
    /// Chain segments begun since the newest freeze, or since replay began.
    pub segments: u32,
    /// Segments that usage knows, counted from the first look at usage.
    pub segments_known: i64,
    /// Live bytes in them.
    pub live_bytes: i64,
}

impl Applier {
    /// Whether every page that [`Applier::apply`] will touch is in memory. All that are missing on
    /// the way to the first level come at once.
    #[allow(clippy::unused_self)]
    pub fn resident(&self, root: &Arc<PageRef>, outcome: &Outcome) -> Result<(), Miss> {
        let mut missing = Miss::none();
        let mut look = |key: &[u8]| {
            if let Err(miss) = tree::resident(root, key) {
                missing.join(miss);
            }
        };
        outcome.writes.iter().for_each(|(key, _)| look(key));
        outcome.usage.iter().for_each(|(segment, _)| look(&usage_key(*segment)));
        if missing.pages.is_empty() { Ok(()) } else { Err(missing) }
    }

    /// Carries out the record of `seq`, which lies in `segment`. Cannot fail once
    /// [`Applier::resident`] said yes under the same lock.
    pub fn apply(
        &mut self,
        root: &mut Arc<PageRef>,
        seq: Seq,
        segment: SegmentId,
        outcome: &Outcome,
    ) -> Result<(), Miss> {
        let mut edit = self.edit(seq);
        for (key, value) in &outcome.writes {
            match value {
                Some(value) => tree::put(root, &mut edit, key, value)?,
                None => tree::delete(root, &mut edit, key)?,
            }
        }
        if self.segment != Some(segment) {
            self.segment = Some(segment);
            self.segments += 1;
        }
        for (segment, delta) in &outcome.usage {
            self.account(root, seq, *segment, *delta)?;
        }
        Ok(())
    }

    fn edit(&mut self, seq: Seq) -> Edit<'_> {
        Edit { seq, shape: self.shape, frozen: self.frozen, ledger: &mut self.ledger }
    }

    /// Adds `delta` to a segment's live bytes, zero kept: the key goes when the segment goes.
    pub fn account(
        &mut self,
        root: &mut Arc<PageRef>,
        seq: Seq,
        segment: SegmentId,
        delta: i64,
    ) -> Result<(), Miss> {
        let key = usage_key(segment);
        let old = tree::get(root, &key)?.and_then(|value| usage_item(&key, &value));
        let now = old.map_or(0, |(_, bytes)| bytes) + delta;
        if old.is_none() || delta != 0 {
            tree::put(root, &mut self.edit(seq), &key, &now.to_le_bytes())?;
            self.segments_known += i64::from(old.is_none());
            self.live_bytes += delta;
        }
        if now == 0 {
            let death = Death { tag: self.frozen_count };
            self.dead.entry(segment).or_insert(death);
        } else {
            self.dead.remove(&segment);
        }
        Ok(())
    }

    /// [`Applier::account`] by whoever has not checked yet.
    pub fn account_if_resident(
        &mut self,
        root: &mut Arc<PageRef>,
        seq: Seq,
        segment: SegmentId,
        delta: i64,
    ) -> Result<(), Miss> {
        tree::resident(root, &usage_key(segment))?;
        self.account(root, seq, segment, delta)
    }

    /// Forgets a segment whose object is gone.
    pub fn forget(
        &mut self,
        root: &mut Arc<PageRef>,
        seq: Seq,
        segment: SegmentId,
    ) -> Result<(), Miss> {
        tree::delete(root, &mut self.edit(seq), &usage_key(segment))?;
        self.segments_known -= i64::from(self.dead.remove(&segment).is_some());
        Ok(())
    }
}
