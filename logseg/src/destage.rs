//! Destage (R19): sealed segments go to the store, oldest first; and the small timed duties of the
//! log that need no thread of their own: the spare file, marks after silence, sealing by age.
//!
//! ```text
//!   Open ─seal─► Sealed ─► Storing ─► Stored ─► dropped with everything before it
//!                  ▲          │
//!                  └─ back-off ┴─ Failed: never dropped
//! ```

mod put;

use std::{sync::Arc, time::Duration};

use crate::{
    AGE_LINKED, AGE_STREAMED, DESTAGE_WINDOW, MARK_AFTER, SegmentId,
    chain::Phase,
    core::{Core, State},
    flush::Goal,
};

/// The keeper looks at its clocks at least this often while something waits for them.
const TICK: Duration = Duration::from_millis(250);

/// The task on the pool that destages.
pub(crate) struct Keeper {
    core: Arc<Core>,
}

impl Keeper {
    pub(crate) fn start(core: &Arc<Core>) -> Self {
        let of_task = core.clone();
        core.pool.spawn(async move { keep(of_task).await });
        Self { core: core.clone() }
    }

    /// Ends the task at its next look; a put under way ends by itself (its id is ours alone).
    pub(crate) fn stop(&self) {
        self.core.lock().stop = true;
        self.core.keeper.notify_one();
    }
}

async fn keep(core: Arc<Core>) {
    while let Some(sleep) = core.round() {
        match sleep {
            Some(time) => {
                let _ = tokio::time::timeout(time, core.keeper.notified()).await;
            }
            None => core.keeper.notified().await,
        }
    }
}

impl Core {
    /// True where storing a segment is a link, which costs nothing but a directory's fsync.
    fn links(&self) -> bool {
        self.store.local_dir().is_some()
    }

    /// One look at everything. `None`: stop; else how long to sleep at most.
    fn round(self: &Arc<Self>) -> Option<Option<Duration>> {
        let now = self.env.clock.monotonic();
        let mut state = self.lock();
        if state.stop {
            return None;
        }
        if state.failure.is_some() {
            return Some(None);
        }
        let mut sleep = self.timers(&mut state, now);
        if self.journal.is_none()
            && !state.syncs.is_empty()
            && self.in_flight(&state) < self.window()
        {
            // Durability `store`: a sync is a seal and a put.
            self.want_roll(&mut state);
        }
        let flush =
            self.journal.is_some() && state.chain.sealed().is_some_and(|s| s.durable < s.end);
        let begin = self.choose_puts(&mut state, now, &mut sleep);
        let spare = self.wants_spare(&state);
        if flush {
            self.want_flush(&mut state);
        }
        let writeout = state.writeout_wanted;
        drop(state);
        for id in begin {
            let core = self.clone();
            self.pool.spawn(async move { core.store_segment(id).await });
        }
        if let Some(id) = spare {
            self.make_spare(id);
        }
        if self.inline_only && (flush || writeout) {
            self.flush_inline(if flush { Goal::Sync } else { Goal::WriteOut });
        }
        self.reserve.restore();
        Some(sleep)
    }

    /// Marks after silence (R11), sealing by age; gives when to look again.
    fn timers(&self, state: &mut State, now: Duration) -> Option<Duration> {
        let age = if self.links() { AGE_LINKED } else { AGE_STREAMED };
        let open = state.chain.open()?;
        let born = open.born?;
        // Not by `durable`: nobody wakes the keeper when a sync is done.
        let unsettled = self.journal.is_some() && open.marked < open.end;
        let silent = now.saturating_sub(open.touched) >= MARK_AFTER;
        if now.saturating_sub(born) >= age {
            self.want_roll(state);
        } else if unsettled && silent {
            self.append_mark(state);
        }
        let rest = age.saturating_sub(now.saturating_sub(born)).max(TICK);
        Some(if unsettled { rest.min(MARK_AFTER / 2) } else { rest })
    }

    fn window(&self) -> usize {
        // One thing at a time beside the sync path of the same disk.
        if self.links() { 1 } else { DESTAGE_WINDOW as usize }
    }

    fn in_flight(&self, state: &State) -> usize {
        let window = state.chain.segments.iter().take(DESTAGE_WINDOW as usize + 1);
        window.filter(|s| s.phase == Phase::Storing).count()
    }

    /// The oldest that may be put now, at most `DESTAGE_WINDOW` beyond the oldest unstored.
    fn choose_puts(
        &self,
        state: &mut State,
        now: Duration,
        sleep: &mut Option<Duration>,
    ) -> Vec<SegmentId> {
        let mut free = self.window().saturating_sub(self.in_flight(state));
        let mut chosen = Vec::new();
        let window = state.chain.segments.iter_mut().take(DESTAGE_WINDOW as usize + 1);
        for segment in window {
            if segment.phase == Phase::Failed && segment.not_before > now {
                let wait = (segment.not_before - now).max(Duration::from_millis(1));
                *sleep = Some(sleep.map_or(wait, |s| s.min(wait)));
            }
            // R4: the bytes are in the journal, durable, before the store sees them.
            let ready = self.journal.is_none() || segment.durable == segment.end;
            if free > 0 && ready && segment.is_due(now) {
                free -= 1;
                segment.phase = Phase::Storing;
                chosen.push(segment.id);
            }
        }
        chosen
    }

    /// The id that a spare should be made for, if there is none.
    fn wants_spare(&self, state: &State) -> Option<SegmentId> {
        let open = state.chain.open()?;
        // An idle volume needs none, and a simulated one makes its files where it writes them.
        if self.journal.is_none() || self.inline_only || open.is_bare() {
            return None;
        }
        let next = SegmentId::chain(open.id.epoch(), open.id.counter() + 1);
        state.spare.as_ref().is_none_or(|s| s.id != next).then_some(next)
    }

    /// Makes the file of the segment to come: zeros, synced, its directory too, so that no sync
    /// has to wait for that (DESIGN §8.4). Failing is no harm: the flusher makes the file itself.
    fn make_spare(&self, id: SegmentId) {
        let Some(journal) = &self.journal else { return };
        let made = journal.create_spare(id);
        let spare = match made {
            Ok(spare) => spare,
            Err(e) => {
                tracing::debug!(segment = %id, error = %e, "no spare file");
                return;
            }
        };
        let mut state = self.lock();
        let late = state.chain.find(id).is_some() || state.chain.open().is_none_or(|o| o.id > id);
        if late {
            let unused = state.chain.find_mut(id).filter(|s| s.file.is_none());
            if let Some(segment) = unused {
                segment.zeros = spare.zeros;
                segment.file = Some(Arc::new(spare.file));
            } else {
                drop(state);
                let _ = journal.remove(id, spare.file.generation);
            }
            return;
        }
        state.spare = Some(spare);
    }
}
