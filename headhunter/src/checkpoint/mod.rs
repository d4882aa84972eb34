//! Checkpoints (R6, R7, R25): the live root, frozen, written beside the log, published.
//!
//! ```text
//!   Freeze ──► WritePages ──► WaitStored ──► Publish ──► Retire
//!   O(1),      dirty pages,   the chain up   create-     usage of the page changes, old
//!   lock       children       to the replay  only        checkpoints, dead segments
//!   held       first, no lock start          object
//! ```
//!
//! Commits go on meanwhile: the frozen root shares its pages with the live one, which copies what
//! it changes. A page is clean, for every root that holds it, once its side segment is stored.
//! An attempt that fails gives its accounts back; nothing that it wrote is believed unless stored.

pub(crate) mod format;
mod write;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak, atomic::Ordering},
};

use logseg::{CheckpointName, LogError, SegmentId, Seq};
use swiftclient::StoreError;

use crate::{
    Index,
    index::Inner,
    retire::Generation,
    tree::{Miss, PageRef},
};
use format::{Checkpoint, Ended};

/// What a checkpoint or retirement is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Nothing.
    Idle = 0,
    /// Taking the root.
    Freeze = 1,
    /// Writing dirty pages to side segments.
    WritePages = 2,
    /// Waiting until the chain up to the replay start is stored.
    WaitStored = 3,
    /// Creating the checkpoint object.
    Publish = 4,
    /// Accounting, deleting what nobody can reach.
    Retire = 5,
}

/// A checkpoint that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub name: CheckpointName,
    /// `None`: not known (an older checkpoint that could not be read), so nothing of the chain is
    /// deleted on its account.
    pub replay_start: Option<SegmentId>,
    /// Segments it needs beside those of its pages.
    pub held: Vec<SegmentId>,
    /// Number of its freeze in this process; 0 and −1: those that it found.
    pub freeze: i64,
}

/// Usage as the checkpoint that a process began with says.
pub(crate) struct Scan {
    /// Its root, apart from the live one, so that replay need not copy what it changes.
    pub root: Arc<PageRef>,
    /// Changes not in that root yet.
    pub usage: BTreeMap<SegmentId, i64>,
}

/// State of the one that makes checkpoints and retires.
#[derive(Default)]
pub(crate) struct Keeper {
    /// Ascending, the newest two.
    pub kept: Vec<Kept>,
    /// Checkpoints to be deleted.
    pub doomed: Vec<CheckpointName>,
    /// Number of the last attempt to publish in this epoch.
    pub number: u32,
    /// Usage of a published checkpoint's pages that is not yet in the live root: it must get there,
    /// exactly once, before the next freeze (R9).
    pub owed: BTreeMap<SegmentId, i64>,
    /// Dead segments, to be deleted once the views of their time are gone.
    pub retiring: VecDeque<(Weak<Generation>, Vec<SegmentId>)>,
    /// The first chain id that no published checkpoint has entered into usage.
    pub chain_from: Option<SegmentId>,
    /// Epochs to be swept.
    pub ended: Vec<Ended>,
    /// The checkpoint found at the start, until its dead segments have been looked up.
    pub scan: Option<Scan>,
    /// Whether ended epochs have been swept by this process.
    pub swept: bool,
    /// Whether they have been looked through before its first checkpoint, for want of room.
    pub cleared: bool,
    /// Checkpoints tried since the last change: what is dead goes after two (R18).
    pub idle: u32,
    /// Records committed when that was counted last.
    pub seen: u64,
}

/// A root on its way to the store. Dropping it ends the attempt, whatever became of it.
pub(crate) struct Frozen<'a> {
    inner: &'a Inner,
    pub root: Arc<PageRef>,
    pub seq: Seq,
    pub replay_start: SegmentId,
    pub freeze: i64,
    pub epoch: u32,
    /// Usage changes of its pages; taken once it is published, else given back to the ledger.
    pub usage: BTreeMap<SegmentId, i64>,
    pub published: bool,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let mut guard = self.inner.commit.lock();
        let applier = &mut guard.applier;
        applier.frozen = None;
        applier.ledger.settle(true);
        if !self.published {
            for (segment, delta) in std::mem::take(&mut self.usage) {
                *applier.ledger.delta.entry(segment).or_default() += delta;
            }
            drop(guard);
            self.inner.pulse.first_change(|| self.inner.settings.env.clock.monotonic());
        }
    }
}

impl Index {
    /// Makes a checkpoint now, and deletes what became unreachable.
    ///
    /// Errors: whatever the log gave; then nothing is lost and it can be tried again.
    pub async fn checkpoint_now(&self) -> Result<(), LogError> {
        let mut keeper = self.inner.keeper.lock().await;
        self.inner.checkpoint(&mut keeper).await
    }
}

impl Inner {
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// One checkpoint and what follows from it.
    pub async fn checkpoint(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        let done = match self.checkpoint_stages(keeper).await {
            // It has become full meanwhile: then the chain is not waited for.
            Err(LogError::Full) => self.checkpoint_stages(keeper).await,
            done => done,
        };
        let done = match done {
            // What a killed predecessor left unfinished may hold the room that is wanted (R18).
            Err(LogError::Store(StoreError::Full { .. })) if self.clear_early(keeper).await? => {
                self.checkpoint_stages(keeper).await
            }
            done => done,
        };
        self.set_stage(Stage::Idle);
        self.room.notify_waiters();
        done
    }

    async fn checkpoint_stages(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        self.pay(keeper).await?;
        self.set_stage(Stage::Freeze);
        let mut frozen = self.freeze()?;
        let (name, checkpoint) = self.write_and_publish(keeper, &mut frozen).await?;
        frozen.published = true;
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        keeper.chain_from = Some(frozen.replay_start);
        keeper.owed = std::mem::take(&mut frozen.usage);
        for id in checkpoint.body.usage.keys() {
            keeper.owed.entry(*id).or_default();
        }
        for held in checkpoint.held() {
            keeper.owed.entry(held).or_default();
        }
        keeper.kept.push(Kept {
            name,
            replay_start: Some(frozen.replay_start),
            held: checkpoint.held(),
            freeze: frozen.freeze,
        });
        drop(frozen);
        self.set_stage(Stage::Retire);
        self.pay(keeper).await?;
        self.retire(keeper).await
    }

    /// Takes the live root, and rolls the log: what comes later is replayed on top of it.
    fn freeze(&self) -> Result<Frozen<'_>, LogError> {
        let mut guard = self.commit.lock();
        let committer = &mut *guard;
        if let Some(reason) = &committer.broken {
            return Err(LogError::ReadOnly { reason: reason.clone() });
        }
        let replay_start = committer.pen.roll()?;
        // Not the newest transaction's: records of the log's own (side ids) take seqs too, and the
        // segment after the roll begins behind them.
        let seq = Seq(committer.pen.next_seq().0 - 1);
        let applier = &mut committer.applier;
        applier.frozen = Some(seq);
        applier.frozen_count += 1;
        applier.segments = 0;
        self.pulse.settled();
        Ok(Frozen {
            inner: self,
            published: false,
            root: self.live.read().root.clone(),
            seq,
            replay_start,
            freeze: applier.frozen_count,
            epoch: committer.pen.epoch(),
            usage: std::mem::take(&mut applier.ledger.delta),
        })
    }

    /// Brings what is owed to usage into the live root.
    async fn pay(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        while let Some((segment, delta)) = keeper.owed.iter().next().map(|(s, d)| (*s, *d)) {
            self.upkeep(|applier, root, seq| applier.account(root, seq, segment, delta), segment)
                .await?;
            keeper.owed.remove(&segment);
        }
        Ok(())
    }

    /// Changes the live root without a record: only for usage keys that recovery gets from a
    /// checkpoint, or whose loss does not matter. Never while a root is frozen.
    pub async fn upkeep(
        &self,
        change: impl Fn(&mut crate::apply::Applier, &mut Arc<PageRef>, Seq) -> Result<(), Miss>,
        segment: SegmentId,
    ) -> Result<(), LogError> {
        let key = crate::apply::usage_key(segment);
        loop {
            let missing = {
                let mut guard = self.commit.lock();
                let committer = &mut *guard;
                let mut live = self.live.write();
                let checked = crate::tree::resident(&live.root, &key);
                let seq = Seq(self.last.load(Ordering::Acquire));
                match checked.and_then(|()| change(&mut committer.applier, &mut live.root, seq)) {
                    Ok(()) => return Ok(()),
                    Err(miss) => miss,
                }
            };
            self.load_all(missing).await?;
        }
    }

    /// Chain segments that end before `replay_start` and are not in usage yet: entered with
    /// nothing, so that those without data are found when they can go (R8).
    fn chain_ids(keeper: &Keeper, replay_start: SegmentId) -> Vec<SegmentId> {
        let from = keeper.chain_from.unwrap_or(SegmentId::chain(replay_start.epoch(), 0));
        let mut ids = Vec::new();
        for epoch in from.epoch()..=replay_start.epoch() {
            let first = if epoch == from.epoch() { from.counter() } else { 0 };
            let end = if epoch == replay_start.epoch() {
                Some(replay_start.counter())
            } else {
                keeper.ended.iter().find(|ended| ended.epoch == epoch).map(|ended| ended.seal)
            };
            ids.extend((first..end.unwrap_or(first)).map(|n| SegmentId::chain(epoch, n)));
        }
        ids
    }

    /// Names of what `write_and_publish` is to publish next.
    fn next_name(keeper: &mut Keeper, epoch: u32) -> CheckpointName {
        keeper.number += 1;
        CheckpointName { epoch, number: keeper.number }
    }
}

/// What publishing gives.
type Published = (CheckpointName, Checkpoint);
