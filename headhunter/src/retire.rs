//! Deleting what nobody can reach (R8).
//!
//! A segment dies when its last live byte goes. Its object may go when no kept checkpoint, no view
//! and, for the chain, no replay can want it. Its usage key, with value zero, is the note that this
//! is still to be done; it is removed after the object, without a record: whoever recovers an older
//! state finds the note again, deletes what is already gone, and removes it.

use std::sync::Arc;

use logseg::{LogError, SegmentId};

use crate::{
    apply::{Death, usage_item, usage_key, usage_range},
    checkpoint::{Keeper, format::Ended},
    index::Inner,
    limits,
    tree::{self, Miss},
};

/// A stretch of time between two retirements: a view holds the one it was taken in.
pub(crate) struct Generation;

/// Tag of what was dead in the checkpoint that this process began with: absent from that root
/// (number 0) and all later ones.
pub(crate) const BEFORE: i64 = -1;

/// Usage keys looked at in one go.
const SCAN_ITEMS: usize = 512;

impl Inner {
    /// Deletes old checkpoints, then segments that are dead for both kept ones.
    pub async fn retire(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        while keeper.kept.len() > 2 {
            let old = keeper.kept.remove(0);
            keeper.doomed.push(old.name);
        }
        if !keeper.doomed.is_empty() {
            self.home.delete_checkpoints(&keeper.doomed).await?;
            keeper.doomed.clear();
        }
        self.scan_dead(keeper).await?;
        self.sweep(keeper).await?;
        let dead = self.deletable(keeper);
        if !dead.is_empty() {
            let mut live = self.live.write();
            let old = std::mem::replace(&mut live.generation, Arc::new(Generation));
            drop(live);
            keeper.retiring.push_back((Arc::downgrade(&old), dead));
        }
        self.delete_retired(keeper).await
    }

    /// Dead segments that may go as far as checkpoints are concerned.
    fn deletable(&self, keeper: &Keeper) -> Vec<SegmentId> {
        let [older, newer] = &keeper.kept[..] else { return Vec::new() };
        let (Some(replay_start), freeze) = (older.replay_start, older.freeze) else {
            return Vec::new();
        };
        let waiting = |id: &SegmentId| keeper.retiring.iter().any(|(_, ids)| ids.contains(id));
        let held = |id: &SegmentId| older.held.contains(id) || newer.held.contains(id);
        let committer = self.commit.lock();
        let dead = committer.applier.dead.iter();
        dead.filter(|(id, death)| death.tag < freeze && (id.is_side() || **id < replay_start))
            .map(|(id, _)| *id)
            .filter(|id| !held(id) && !waiting(id))
            .collect()
    }

    /// Deletes what waits, as far as the views of its time are gone.
    pub async fn delete_retired(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        while let Some((generation, ids)) = keeper.retiring.front_mut() {
            if generation.strong_count() > 0 {
                break;
            }
            while !ids.is_empty() {
                let some = &ids[ids.len().saturating_sub(limits::DELETE_BATCH)..];
                self.home.delete_segments(some).await?;
                for id in some {
                    self.upkeep(|applier, root, seq| applier.forget(root, seq, *id), *id).await?;
                }
                ids.truncate(ids.len() - some.len());
            }
            keeper.retiring.pop_front();
        }
        Ok(())
    }

    /// Finds the segments that were dead in the checkpoint found at the start, and counts all of
    /// usage: once.
    pub async fn scan_dead(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        let Some(scan) = &keeper.scan else { return Ok(()) };
        let mut changes = scan.usage.clone();
        let (from, to) = usage_range();
        let (mut from, mut known, mut live) = (from.to_vec(), 0, 0);
        let mut dead = Vec::new();
        loop {
            let mut items = Vec::new();
            if let Err(miss) = tree::range(&scan.root, &from, &to, SCAN_ITEMS, &mut items) {
                self.load_all(miss).await?;
                continue;
            }
            let last = items.last().map(|(last, _)| last).filter(|_| items.len() == SCAN_ITEMS);
            for (segment, bytes) in items.iter().filter_map(|(k, v)| usage_item(k, v)) {
                let bytes = bytes + changes.remove(&segment).unwrap_or(0);
                (known, live) = (known + 1, live + bytes);
                if bytes == 0 {
                    dead.push(segment);
                }
            }
            let Some(last) = last else { break };
            from = [&last[..], &[0]].concat();
            tokio::task::yield_now().await;
        }
        // What is left was entered by the checkpoint itself: replay began with it.
        known += i64::try_from(changes.len()).unwrap_or(0);
        live += changes.values().sum::<i64>();
        for segment in dead {
            self.mark_dead(segment).await?;
        }
        let applier = &mut self.commit.lock().applier;
        applier.segments_known += known;
        applier.live_bytes += live;
        keeper.scan = None;
        Ok(())
    }

    /// Enters a segment that was dead in the checkpoint found at the start, unless it has live
    /// bytes by now, is gone, or died again.
    async fn mark_dead(&self, segment: SegmentId) -> Result<(), LogError> {
        let key = usage_key(segment);
        self.upkeep(
            |applier, root, _| {
                let value = tree::get(root, &key)?.and_then(|value| usage_item(&key, &value));
                if value.is_some_and(|(_, bytes)| bytes == 0) {
                    let death = Death { tag: BEFORE };
                    applier.dead.entry(segment).or_insert(death);
                }
                Ok(())
            },
            segment,
        )
        .await
    }

    /// Deletes the objects of ended epochs that usage does not know: of checkpoints that crashed,
    /// and of a fenced writer behind its seal. By enumerating counters; the store is not listed.
    async fn sweep(&self, keeper: &mut Keeper) -> Result<(), LogError> {
        if keeper.swept {
            return Ok(());
        }
        for i in 0..keeper.ended.len() {
            self.sweep_epoch(keeper.ended[i], keeper).await?;
            keeper.ended[i].rounds += 1;
        }
        keeper.ended.retain(|ended| ended.rounds < 2);
        keeper.swept = true;
        Ok(())
    }

    /// On a full store: the objects of ended epochs that nothing refers to go before the first
    /// checkpoint, which may want their room. False where that was done before, or where a checkpoint
    /// is kept of which it is not known what it needs. It counts as no round of the sweep.
    pub async fn clear_early(&self, keeper: &mut Keeper) -> Result<bool, LogError> {
        if keeper.swept || keeper.cleared || keeper.kept.iter().any(|k| k.replay_start.is_none()) {
            return Ok(false);
        }
        tracing::info!("no room for a checkpoint: what was left unfinished goes first");
        for ended in &keeper.ended {
            self.sweep_epoch(*ended, keeper).await?;
        }
        keeper.cleared = true;
        self.home.room_for_a_seal().await;
        Ok(true)
    }

    async fn sweep_epoch(&self, ended: Ended, keeper: &Keeper) -> Result<(), LogError> {
        // On a fencing store the seal itself stands at that counter, for ever.
        let first = ended.seal + u32::from(self.settings.header.fencing);
        let void = (first..ended.seal + limits::VOID_IDS).map(|n| SegmentId::chain(ended.epoch, n));
        // What its writer had under way when it was fenced, not knowing that it had landed, it puts
        // again, though it was retired meanwhile. No replay wants it, nor does usage know it.
        let replayed = match &keeper.kept[..] {
            [older, _] => older.replay_start,
            _ => None,
        };
        let last = ended.seal.saturating_sub(limits::VOID_IDS)..ended.seal;
        let again = last.map(|n| SegmentId::chain(ended.epoch, n));
        let again = again.filter(|id| replayed.is_some_and(|start| *id < start));
        let side = (0..ended.side_mark).map(|n| SegmentId::side(ended.epoch, n));
        let mut unknown = Vec::new();
        for id in side.chain(void).chain(again) {
            if !self.is_known(id).await? && !keeper.kept.iter().any(|k| k.held.contains(&id)) {
                unknown.push(id);
            }
            if unknown.len() == limits::DELETE_BATCH {
                self.home.delete_segments(&unknown).await?;
                unknown.clear();
            }
        }
        if !unknown.is_empty() {
            self.home.delete_segments(&unknown).await?;
        }
        Ok(())
    }

    /// Whether usage has heard of the segment.
    pub async fn is_known(&self, segment: SegmentId) -> Result<bool, LogError> {
        loop {
            let root = self.live.read().root.clone();
            match tree::get(&root, &usage_key(segment)) {
                Ok(value) => return Ok(value.is_some()),
                Err(miss) => {
                    drop(root);
                    self.load_all(miss).await?;
                }
            }
        }
    }

    /// Brings missing pages into memory.
    pub async fn load_all(&self, miss: Miss) -> Result<(), LogError> {
        futures_util::future::try_join_all(miss.pages.iter().map(|slot| self.load(slot))).await?;
        drop(miss);
        self.shrink();
        Ok(())
    }
}
