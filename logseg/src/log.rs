use std::{
    future::poll_fn,
    ops::Range,
    path::Path,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use swiftclient::StoreError;

use crate::{
    Codec, Location, LogError, ROOM_COMES, SIDE_IDS_RESERVED, SegmentId, Seq, SideWriter, Survey,
    ballast::For,
    chain::Segment,
    core::{Core, wake},
    destage::{DestageStatus, Keeper},
    error::journal_error,
    flush::{Goal, JournalThread},
    format::{Kind, checkpoint_name, encode_checkpoint, segment_name},
    lock::Locks,
    read::ReadStatus,
    side::{SideConfig, SideIds},
};

/// How a sync may be carried out (DESIGN §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// The caller's thread has nothing else to do: it may write and fdatasync itself, if no other
    /// flush runs.
    Inline,
    /// Leave it to the journal thread.
    Queued,
}

/// Name of a checkpoint object (R6): newest = greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointName {
    /// Writer's epoch.
    pub epoch: u32,
    /// Counts up within the epoch.
    pub number: u32,
}

/// Figures for `esker status` and `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct LogStatus {
    /// Committed, not yet durable, bytes.
    pub unsynced_bytes: u64,
    /// Durable in the journal, not yet stored, bytes.
    pub unstored_bytes: u64,
    /// fdatasync calls of the journal.
    pub syncs: u64,
    /// Flushes that made something durable; each answers all who waited.
    pub groups: u64,
    /// Sync requests answered.
    pub waiters: u64,
    /// Segments stored.
    pub stored_segments: u64,
    /// Objects put.
    pub puts: u64,
    /// Segments whose last put failed and is waiting to be tried again.
    pub failed_segments: u64,
    /// What the store said to the last put that failed, while any segment waits for that.
    pub put_error: Option<String>,
    /// Decoded frames kept in the cache, its overhead included, bytes.
    pub cached_bytes: u64,
    /// What reading has done.
    pub reads: ReadStatus,
    /// Why the log takes nothing more, if so.
    pub failure: Option<String>,
    /// How the way to the store goes.
    pub destage: DestageStatus,
}

/// An open log: what stops when the last handle goes.
///
/// The order of the fields is the order of the end: nothing is put or flushed any more when the
/// locks go.
pub(crate) struct Running {
    keeper: Keeper,
    thread: Option<JournalThread>,
    locks: Mutex<Option<Locks>>,
    pub core: Arc<Core>,
}

impl Running {
    pub(crate) fn start(core: Arc<Core>, locks: Option<Locks>) -> Result<Arc<Self>, LogError> {
        let threaded = core.journal.is_some() && !core.inline_only;
        let thread = if threaded {
            Some(
                JournalThread::start(&core)
                    .map_err(|e| journal_error("start the thread of", Path::new("journal"), e))?,
            )
        } else {
            None
        };
        let keeper = Keeper::start(&core);
        Ok(Arc::new(Self { keeper, thread, locks: Mutex::new(locks), core }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keeper.stop();
        self.thread = None;
        *self.locks.lock() = None;
    }
}

/// The log of one mounted volume. Clones share it; the last handle ([`crate::LogWriter`] included)
/// stops its thread and releases its locks.
#[derive(Clone)]
pub struct Log {
    pub(crate) running: Arc<Running>,
}

impl Log {
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.running.core
    }

    /// What lies in store and journal, to be looked at while the log is at work.
    pub fn survey(&self) -> Survey {
        let core = self.core();
        Survey {
            store: core.store.clone(),
            disk: core.disk.clone(),
            journal: core.journal.as_ref().map(|journal| journal.dir.clone()),
            header: core.header.clone(),
            key: core.key.clone(),
        }
    }

    /// Newest seq known durable in the sense of the volume's durability class.
    pub fn durable_seq(&self) -> Seq {
        self.core().durable_seq()
    }

    /// Whether the volume is still ours, as far as this server knows. It learns that another has it
    /// when it meets that one's seal in the journal or in the store (R2, R5): with its next sync or
    /// put, not before.
    ///
    /// Errors: `Fenced` naming the holder; nothing that is in memory may be believed any more.
    pub fn overruled(&self) -> Result<(), LogError> {
        match self.core().check() {
            Err(fenced @ LogError::Fenced { .. }) => Err(fenced),
            _ => Ok(()),
        }
    }

    /// Newest committed seq.
    pub fn last_seq(&self) -> Seq {
        self.core().last_seq()
    }

    /// Waits until everything up to `seq` (clipped to the newest) is durable. Group commit, no
    /// window (DESIGN §8.3): whatever was committed during one flush is the next group.
    ///
    /// Errors: `Fenced`, `ReadOnly`. Nothing was lost that was acknowledged before.
    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), LogError> {
        let core = self.core();
        let seq = seq.min(core.last_seq());
        if core.durable_seq() >= seq {
            return Ok(());
        }
        core.check()?;
        let inline = mode == SyncMode::Inline || core.inline_only;
        if core.journal.is_some() && inline {
            core.flush_inline(Goal::Sync);
        }
        poll_fn(|context| {
            if core.durable_seq() >= seq {
                return Poll::Ready(Ok(()));
            }
            let mut state = core.lock();
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.error()));
            }
            // Under the lock: the flusher advances it before it looks for waiters.
            if core.durable_seq() >= seq {
                return Poll::Ready(Ok(()));
            }
            state.syncs.push((seq, context.waker().clone()));
            let sealed = state.chain.sealed().map_or(Seq(0), Segment::last_seq);
            if core.journal.is_none() && seq > sealed {
                state.view.sync_waits();
            }
            let free = !state.flushing;
            drop(state);
            if core.journal.is_none() {
                core.keeper.notify_one();
            } else if free {
                core.work.notify_one();
            }
            Poll::Pending
        })
        .await
    }

    /// Waits until there is room for `bytes` more unsynced bytes in memory. 0 asks for nothing:
    /// what only shrinks is admitted while anything works.
    ///
    /// From 60 % of the destage budget on every write is slowed, smoothly: it gets a slot in time. At
    /// the whole budget it waits.
    ///
    /// Errors: `Full` where the disk or store has no room for them beside what is already promised
    /// and the reserve (R18), before anything was appended; `Fenced`, `ReadOnly`.
    pub async fn admit(&self, bytes: u64) -> Result<(), LogError> {
        let core = self.core();
        core.check()?;
        if bytes > 0 && !core.has_room_for(bytes) {
            return Err(LogError::Full);
        }
        let bytes = bytes.min(core.sizes.transaction);
        if bytes > 0 {
            core.slow_down(bytes).await?;
        }
        if core.inline_only && core.journal.is_some() && core.crowded(bytes) {
            core.flush_inline(Goal::Sync);
        }
        poll_fn(|context| {
            let mut state = core.lock();
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.error()));
            }
            // Begun early, so that seldom anybody waits.
            if state.unsynced > core.sizes.unsynced / 2 {
                core.want_flush(&mut state);
            }
            if state.unsynced == 0 || state.unsynced + bytes <= core.sizes.unsynced {
                return Poll::Ready(Ok(()));
            }
            if bytes > 0 && core.ballast.is_full() {
                return Poll::Ready(Err(LogError::Full));
            }
            state.admits.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until every chain segment below `before` is stored, at once whatever the marks of
    /// destage say. `before` must be sealed or open.
    ///
    /// Errors: `Fenced`, `ReadOnly`; an error of the store never ends the wait.
    pub async fn stored(&self, before: SegmentId) -> Result<(), LogError> {
        self.core().force_stored(before, false).await
    }

    /// [`Log::stored`] for a checkpoint (R6), which must not wait for a store that is full: only
    /// what it frees makes room (R18). There, with a journal, what is not stored may stay in it, and
    /// is given, in order: durable there, and to be listed in the checkpoint (see
    /// [`crate::Recovery::lean`]). Empty: everything below `before` is stored.
    ///
    /// Errors: `Fenced`, `ReadOnly`.
    pub async fn settled(&self, before: SegmentId) -> Result<Vec<SegmentId>, LogError> {
        self.core().settle_below(before, true).await
    }

    /// [`Log::stored`], which ends with `Full` where [`Log::settled`] would not wait.
    pub async fn stored_unless_full(&self, before: SegmentId) -> Result<(), LogError> {
        self.core().settle_below(before, false).await.map(drop)
    }

    /// Bytes that checkpoints can be stored in while the store is full (R18): on one that does not
    /// tell its room the ballast, or what of it the chain does not need. `None`: nothing of the kind
    /// bounds them.
    pub fn checkpoint_room(&self) -> Option<u64> {
        let worth = self.core().ballast.worth()?;
        Some(if self.core().journal.is_some() { worth } else { worth / 4 })
    }

    /// Checkpoints will want `bytes`: [`Log::checkpoint_room`] grows to that by and by, within its
    /// limit and while the store has room.
    pub fn wish_checkpoint_room(&self, bytes: u64) {
        let parts = if self.core().journal.is_some() { 1 } else { 4 };
        self.core().wish_ballast(bytes.saturating_mul(parts));
    }

    /// On a full store, when something was deleted: waits a little for the first piece of ballast to be
    /// there again, from which the next start, if need be, puts its seal (R18).
    pub async fn room_for_a_seal(&self) {
        for _ in 0..ROOM_COMES.len() {
            if !self.core().ballast.is_spent() {
                return;
            }
            self.core().ballast.look();
            self.core().keeper.notify_one();
            tokio::time::sleep(ROOM_COMES[1]).await;
        }
    }

    /// True while checkpoints lean on the journal: it is there, and the store is full.
    pub fn leans(&self) -> bool {
        self.core().journal.is_some() && self.core().ballast.is_full()
    }

    /// Everything committed so far is durable *and stored* on return, whatever the marks of destage
    /// say.
    ///
    /// Errors: as [`Log::flush_through`].
    pub async fn flush(&self) -> Result<(), LogError> {
        self.flush_through(self.core().last_seq()).await
    }

    /// Everything up to `seq` (clipped to the newest) is durable *and stored* on return. The
    /// segment that holds it is sealed. Ends in every state: with `Ok` or an error.
    ///
    /// Errors: `Fenced`, `ReadOnly`; `Refused` while destage is switched off; `Store` where nothing
    /// was stored for [`crate::FLUSH_PATIENCE`] and a put has failed, or for
    /// [`crate::FLUSH_SILENCE`] at all. Then all is as it was, and is stored later.
    pub async fn flush_through(&self, seq: Seq) -> Result<(), LogError> {
        let core = self.core();
        let seq = seq.min(core.last_seq());
        if core.journal.is_some() {
            self.sync(seq, SyncMode::Queued).await?;
        }
        let below = {
            let state = core.lock();
            let holds = |s: &&Segment| s.last_seq() >= seq && !s.is_bare();
            state.chain.segments.iter().find(holds).map(|s| s.id)
        };
        let Some(id) = below else { return core.check() };
        let below = SegmentId::chain(id.epoch(), id.counter() + 1);
        core.force_stored(below, true).await
    }

    /// Switches destage off or on again: what is sealed stays in the journal, nothing is sent that
    /// is not on its way already. For an operator's maintenance of the store.
    pub fn set_destage(&self, enabled: bool) {
        let core = self.core();
        let mut state = core.lock();
        state.view.enable(enabled);
        // Who waits learns it.
        let wakers = std::mem::take(&mut state.stores);
        drop(state);
        wake(wakers);
        core.keeper.notify_one();
    }

    /// Body of an entry, decoded, if it is in memory (not yet durable, or in the frame cache).
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        self.core().reader.now(location)
    }

    /// Body of an entry, decoded and checked: memory, journal file or store. Single-flight per
    /// location. Data entries enter the frame cache; pages do not (the index keeps them).
    ///
    /// Errors: `Corrupt` naming segment and offset, `Store`, `Journal`.
    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        self.core().reader.read(location).await
    }

    /// [`Log::read`] of each, in order: entries that lie together in a segment travel in one ranged
    /// get of at most [`crate::RANGE_BYTES`], several at a time.
    pub async fn read_many(&self, locations: &[Location]) -> Result<Vec<Bytes>, LogError> {
        self.core().reader.read_many(locations).await
    }

    /// Brings data entries into the frame cache that are likely to be read soon. Never waits and
    /// never fails; does nothing for what is in memory or in the journal, where the store is a
    /// directory, and beyond what memory allows. Gives the stored bytes that were asked for.
    pub fn prefetch(&self, locations: &[Location]) -> u64 {
        self.core().reader.prefetch(locations)
    }

    /// Most bytes that all sequential readers together should have asked for ahead and not yet
    /// read; 0: read-ahead does not pay.
    pub fn ahead_bytes(&self) -> u64 {
        self.core().reader.ahead_bytes()
    }

    /// Runs `work` on the pool. It must not hold the log, which ends with its last handle.
    pub fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.core().pool.spawn(work);
    }

    /// Bytes `part` of the decoded body of a data entry; `part` must lie within it. Fetches little
    /// more than it gives where the frame is not in memory: for random small reads.
    pub async fn read_part(
        &self,
        location: &Location,
        part: Range<u32>,
    ) -> Result<Bytes, LogError> {
        self.core().reader.read_part(location, part).await
    }

    /// Starts writing side segments. Looks first whether another has taken the volume: a side
    /// segment finds no seal in its way.
    ///
    /// Errors: `Fenced`, `ReadOnly`; `Store` where it cannot be seen.
    pub async fn side_writer(&self) -> Result<SideWriter, LogError> {
        let core = self.core();
        core.check()?;
        core.not_succeeded().await?;
        let stored_through = core.lock().view.stored_through();
        let config = SideConfig {
            store: core.store.clone(),
            ids: Arc::new(self.clone()),
            pool: core.pool.clone(),
            env: core.env.clone(),
            volume: core.header.uuid,
            journal: core.journal.as_ref().map_or([0; 16], |j| j.uuid),
            durability: core.durability(),
            segment_bytes: core.sizes.segment,
            key: core.key.clone(),
            codec: if core.store.local_dir().is_some() { Codec::Stored } else { Codec::Lz4 },
        };
        Ok(SideWriter::new(config, stored_through))
    }

    /// The next side id of a block that a durable chain record reserved (R7).
    async fn side_id(&self) -> Result<SegmentId, LogError> {
        let core = self.core();
        let (id, seq) = poll_fn(|context| {
            let mut state = core.lock();
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.error()));
            }
            if state.side_next >= state.side_reserved.0 {
                if state.in_txn {
                    state.betweens.push(context.waker().clone());
                    return Poll::Pending;
                }
                let below = state.side_next + SIDE_IDS_RESERVED;
                let body = Bytes::copy_from_slice(&below.to_le_bytes());
                let seq = core.append_own(&mut state, Kind::SideReserve, &body);
                state.side_reserved = (below, seq);
            }
            let id = SegmentId::side(core.epoch, state.side_next);
            state.side_next += 1;
            Poll::Ready(Ok((id, state.side_reserved.1)))
        })
        .await?;
        self.sync(seq, SyncMode::Queued).await?;
        Ok(id)
    }

    /// Publishes a checkpoint: create-only, durable on return. Only after all it refers to and the
    /// chain up to its replay start is stored (R6): the caller's duty.
    ///
    /// Errors: `Store` (nothing is published, or the outcome is unknown: try again with the same
    /// name and bytes), `Fenced` where another's checkpoint of that name is found.
    pub async fn publish(&self, name: CheckpointName, bytes: Bytes) -> Result<(), LogError> {
        let core = self.core();
        core.check()?;
        core.still_ours().await?;
        let object = Bytes::from(encode_checkpoint(&core.header.uuid, name, &bytes));
        core.put_small(&checkpoint_name(name), object).await
    }

    /// Deletes checkpoints older than the two that are kept (R8).
    pub async fn delete_checkpoints(&self, names: &[CheckpointName]) -> Result<(), LogError> {
        self.core().check()?;
        self.core().still_ours().await?;
        let names: Vec<_> = names.iter().map(|&n| checkpoint_name(n)).collect();
        first_error(self.core().store.delete_many(&names).await?)
    }

    /// Deletes whole segments (retire and sweep, R8: only the index decides). Those of the chain
    /// that are not stored yet never will be, and their journal files go. An absent one counts as
    /// deleted.
    pub async fn delete_segments(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        self.core().check()?;
        self.core().still_ours().await?;
        self.core().forgo(ids).await?;
        let names: Vec<_> = ids.iter().map(|&id| segment_name(id)).collect();
        let done = self.core().store.delete_many(&names).await?;
        self.core().reader.forget(ids);
        self.core().reserve.restore();
        self.core().ballast.look();
        self.core().keeper.notify_one();
        first_error(done)
    }

    /// Ids ever handed out to side segments in this epoch up to now, for the sweep: counters below
    /// this mark.
    pub fn side_mark(&self) -> u32 {
        self.core().lock().side_reserved.0
    }

    /// Room of the store and journal in bytes, reserve and promised bytes left out: (total, free).
    /// `None`: unbounded.
    pub fn room(&self) -> Option<(u64, u64)> {
        self.core().room()
    }

    /// True while free room is below the reserve (R18): only shrinking is admitted.
    pub fn reserve_in_use(&self) -> bool {
        // Before the largest transaction is refused, not after: who is refused must find that the
        // checkpoints which free room run already.
        let core = self.core();
        let seen = core.room_seen.load(Ordering::Relaxed) >= core.sizes.transaction;
        core.reserve.in_use()
            || core.ballast.is_full()
            || (!seen && !core.has_room_for(core.sizes.transaction))
    }

    /// Figures.
    pub fn status(&self) -> LogStatus {
        let core = self.core();
        let destage = core.destage_status();
        let state = core.lock();
        LogStatus {
            unsynced_bytes: state.unsynced,
            unstored_bytes: state.chain.segments.iter().map(|s| s.durable).sum(),
            syncs: core.counts.syncs.load(Ordering::Relaxed),
            groups: core.counts.groups.load(Ordering::Relaxed),
            waiters: core.counts.waiters.load(Ordering::Relaxed),
            stored_segments: core.counts.stored_segments.load(Ordering::Relaxed),
            puts: core.counts.puts.load(Ordering::Relaxed),
            failed_segments: destage.failed,
            put_error: destage.last_error.clone(),
            cached_bytes: core.reader.cached_bytes(),
            reads: core.reader.status(),
            failure: state.failure.as_ref().map(|f| f.error().to_string()),
            destage,
        }
    }
}

impl SideIds for Log {
    fn next_side_id(&self) -> BoxFuture<'_, Result<SegmentId, LogError>> {
        self.side_id().boxed()
    }

    fn make_room<'a>(&'a self, error: &'a LogError, bytes: u64) -> BoxFuture<'a, bool> {
        self.core().make_room(error, bytes, For::Checkpoint).boxed()
    }

    fn side_stored(&self, bytes: u64) {
        self.core().ballast.stored(bytes);
    }
}

fn first_error(outcomes: Vec<Result<(), StoreError>>) -> Result<(), LogError> {
    outcomes.into_iter().collect::<Result<(), StoreError>>().map_err(LogError::from)
}
