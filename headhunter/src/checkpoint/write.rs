//! The stages of a checkpoint that wait: pages, root entry, publication.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use logseg::{CheckpointName, Location, LogError, SegmentId};

use super::{
    Frozen, Keeper, Published, Stage,
    format::{Body, Checkpoint},
};
use crate::{
    home::Side,
    index::Inner,
    limits,
    replies::ReplyWriter,
    tree::{PageRef, Place},
};

/// Pages written and not yet stored: they go back to dirty unless told that they are.
struct Batch {
    pages: Vec<(Arc<PageRef>, Location)>,
    bytes: u64,
}

impl Batch {
    fn new() -> Self {
        Self { pages: Vec::new(), bytes: 0 }
    }

    /// They are stored: clean for every root. Adds their bytes to `usage`.
    fn stored(mut self, usage: &mut BTreeMap<SegmentId, i64>) {
        for (page, location) in self.pages.drain(..) {
            let mut state = page.state.write();
            state.place = Place::Stored(location);
            if let Some(page) = &mut state.page {
                page.recharge(false);
            }
            *usage.entry(location.segment).or_default() += i64::from(location.stored);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for (page, _) in self.pages.drain(..) {
            page.state.write().place = Place::Dirty;
        }
    }
}

/// Every dirty page below `slot`, children before parents. A stored page has no dirty child.
fn dirty_pages(slot: &Arc<PageRef>, out: &mut Vec<Arc<PageRef>>) {
    let state = slot.state.read();
    if state.place != Place::Dirty {
        return;
    }
    if let Some(page) = &state.page {
        for child in &page.children {
            dirty_pages(child, out);
        }
    }
    drop(state);
    out.push(slot.clone());
}

impl Inner {
    pub(super) async fn write_and_publish(
        &self,
        keeper: &mut Keeper,
        frozen: &mut Frozen<'_>,
    ) -> Result<Published, LogError> {
        self.set_stage(Stage::WritePages);
        let (batch, mut side) = self.write_pages(frozen).await?;
        let replies = self.write_replies(frozen, &mut side).await?;
        let root = {
            let state = frozen.root.state.read();
            let location = state.place.location().ok_or_else(lost)?;
            (location, state.birth)
        };
        let mut usage = frozen.usage.clone();
        for (_, location) in &batch.pages {
            *usage.entry(location.segment).or_default() += i64::from(location.stored);
        }
        for id in Self::chain_ids(keeper, frozen.replay_start) {
            usage.entry(id).or_default();
        }
        // On a full store it leans on the journal, and says so; what it is about to free is what
        // would make room for the chain (R18).
        let lean = self.home.leans();
        let leans = if lean { self.leans(frozen).await? } else { Vec::new() };
        let body = Body {
            seq: frozen.seq,
            replay_start: frozen.replay_start,
            wall: self.wall(),
            epoch: frozen.epoch,
            side_mark: self.home.side_mark(),
            root,
            replies,
            usage,
            ended: keeper.ended.clone(),
            leans,
        };
        let entry = side.root(&body.encode()).await?;
        let written = side.finish().await?;
        batch.stored(&mut frozen.usage);
        self.after_batch();
        let checkpoint = Checkpoint { body, entry };
        match self.publish(keeper, frozen, &checkpoint, lean).await {
            Ok(name) => Ok((name, checkpoint)),
            Err(error) => {
                // Without pages of ours they would be known to nobody until the next start.
                for id in written.iter().filter(|id| !frozen.usage.contains_key(id)) {
                    keeper.owed.entry(*id).or_default();
                }
                Err(error)
            }
        }
    }

    async fn publish(
        &self,
        keeper: &mut Keeper,
        frozen: &Frozen<'_>,
        checkpoint: &Checkpoint,
        leans: bool,
    ) -> Result<CheckpointName, LogError> {
        if !leans {
            self.set_stage(Stage::WaitStored);
            self.home.stored_unless_full(frozen.replay_start).await?;
        }
        self.set_stage(Stage::Publish);
        let name = Self::next_name(keeper, frozen.epoch);
        self.home.publish(name, Bytes::from(checkpoint.encode())).await?;
        Ok(name)
    }

    /// What the checkpoint needs below its replay start that is not stored: it is durable in the
    /// journal. What is dead in its root it does not need.
    async fn leans(&self, frozen: &Frozen<'_>) -> Result<Vec<SegmentId>, LogError> {
        self.set_stage(Stage::WaitStored);
        let mut leans = self.home.settled(frozen.replay_start).await?;
        let committer = self.commit.lock();
        let dead = &committer.applier.dead;
        leans.retain(|id| dead.get(id).is_none_or(|death| death.tag >= frozen.freeze));
        Ok(leans)
    }

    /// Writes all dirty pages, storing them batch by batch; gives the last batch and its writer,
    /// still open for the root entry.
    async fn write_pages(&self, frozen: &mut Frozen<'_>) -> Result<(Batch, Side), LogError> {
        let mut pages = Vec::new();
        dirty_pages(&frozen.root, &mut pages);
        let mut side = self.home.side().await?;
        let mut batch = Batch::new();
        for (n, page) in pages.into_iter().enumerate() {
            if batch.bytes >= limits::CHECKPOINT_BATCH_BYTES {
                side.finish().await?;
                batch.stored(&mut frozen.usage);
                self.after_batch();
                side = self.home.side().await?;
                batch = Batch::new();
            }
            let bytes = {
                let state = page.state.read();
                let bytes = state.page.as_ref().and_then(|page| page.encode(state.birth));
                bytes.ok_or_else(lost)?
            };
            let location = side.page(&bytes).await?;
            page.state.write().place = Place::Written(location);
            batch.bytes += u64::from(location.stored);
            batch.pages.push((page, location));
            self.pages_written.fetch_add(1, Ordering::Relaxed);
            if n % 64 == 63 {
                tokio::task::yield_now().await; // others share this thread
            }
        }
        Ok((batch, side))
    }

    /// Pages have become clean: settle what waited for their locations, let writers in.
    fn after_batch(&self) {
        self.commit.lock().applier.ledger.settle(false);
        self.room.notify_waiters();
        self.shrink();
    }

    async fn write_replies(
        &self,
        frozen: &Frozen<'_>,
        side: &mut Side,
    ) -> Result<Option<Location>, LogError> {
        let mut writer = ReplyWriter::new(frozen.seq);
        // A slice at a time: who commits a remembered request needs the table too.
        while self.replies.lock().write_some(&mut writer) {
            tokio::task::yield_now().await;
        }
        match writer.finish() {
            Some(bytes) => side.replies(&bytes).await.map(Some),
            None => Ok(None),
        }
    }
}

/// A frozen page without bytes or place: would be a bug here, and must not be published.
fn lost() -> LogError {
    LogError::Refused("checkpoint given up: a page is neither in memory nor stored".into())
}
