//! Destage (R19): segments go to the store, oldest first; and the small timed duties of the log
//! that need no thread of their own: the spare file, marks after silence.
//!
//! ```text
//!   core, flush, put, stream ──what happened──► view ──decide──► Keeper::round ──► put, stream, roll
//!   Log::admit ──bytes──► pace ──a slot in time──► the write begins
//! ```
//!
//! What is to be done is decided by [`view::decide`] alone; the keeper carries it out until nothing
//! is left to do and then sleeps for as long as the decision says. See docs/destage.md.

mod pace;
mod put;
mod status;
mod stream;
mod throttle;
mod view;

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

pub(crate) use pace::{Pace, slow_from};
pub use status::DestageStatus;
pub(crate) use view::{Ended, Phase, Rules, View, Wake};

use swiftclient::seam::TRACE;

use crate::{
    MARK_AFTER, SegmentId,
    core::{Core, State},
    flush::Goal,
};

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
        let mut state = self.core.lock();
        state.stop = true;
        state.view.end(Ended::Stopping);
        state.tell_streams();
        drop(state);
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
    pub(crate) fn links(&self) -> bool {
        self.store.local_dir().is_some()
    }

    /// Does all that is to be done. `None`: stop; else how long to sleep at most.
    fn round(self: &Arc<Self>) -> Option<Option<Duration>> {
        self.look_at_the_journals_room();
        let rescue = self.tend_rescue();
        let ballast = self.tend_ballast();
        loop {
            let now = self.env.clock.monotonic();
            let mut state = self.lock();
            if state.stop {
                return None;
            }
            let decision = view::decide(&state.view, now);
            let marks = self.mark_after_silence(&mut state, now);
            if decision.begin.len() + usize::from(decision.stream.is_some()) > 0
                && state.view.flying_bytes() == 0
            {
                state.pace.begins(now);
            }
            state.view.carry_out(&decision, now);
            if decision.seal {
                if let (Some(Wake::Age), Some(open)) = (decision.reason, state.view.open()) {
                    tracing::debug!(target: TRACE, segment = %open.id, "timer flush");
                }
                self.want_roll(&mut state);
            }
            let spare = self.wants_spare(&state);
            if decision.flush && self.journal.is_some() {
                self.want_flush(&mut state);
            }
            let writeout = state.writeout_wanted;
            drop(state);
            for &id in &decision.begin {
                let core = self.clone();
                self.pool.spawn(async move { core.store_segment(id).await });
            }
            if let Some(id) = decision.stream {
                let core = self.clone();
                self.pool.spawn(async move { core.stream_segment(id).await });
            }
            if let Some(id) = spare {
                self.make_spare(id);
            }
            if self.inline_only && (decision.flush || writeout) {
                self.flush_inline(if decision.flush { Goal::Sync } else { Goal::WriteOut });
            }
            self.reserve.restore();
            if !decision.acts() {
                let until = decision.sleep_until.map(|t| t.saturating_sub(now));
                let sleep = [until, marks, rescue, ballast].into_iter().flatten().min();
                return Some(sleep.map(|s| s.max(Duration::from_millis(1))));
            }
        }
    }

    /// Appends a mark when it is time (R11); gives when to look again.
    fn mark_after_silence(&self, state: &mut State, now: Duration) -> Option<Duration> {
        let open = state.chain.open()?;
        // Not by `durable`: nobody wakes the keeper when a sync is done.
        let begun = state.view.open().is_some_and(|unit| unit.born.is_some());
        if self.journal.is_none() || state.failure.is_some() || !begun || open.marked >= open.end {
            return None;
        }
        if now.saturating_sub(open.touched) >= MARK_AFTER {
            self.append_mark(state);
        }
        Some(MARK_AFTER / 2)
    }

    /// The budget is at most what the journal's disk can hold: a store that is away must stop the
    /// writers and not the disk.
    fn look_at_the_journals_room(&self) {
        let Some(journal) = self.journal.as_ref().filter(|_| !self.links()) else { return };
        let Ok((_, free)) = self.disk.capacity(&journal.dir) else { return };
        let mut state = self.lock();
        // Written and not stored is on the disk already; what is only in memory is not.
        let room = (state.view.dirty() + free).saturating_sub(state.unwritten());
        let room = room.saturating_sub(4 * self.sizes.segment);
        state.view.set_budget(self.budget.min(room));
        state.pace.tell();
        self.show_level(&state);
    }

    /// Mirrors dirty bytes and budget for those who only look.
    pub(crate) fn show_level(&self, state: &State) {
        self.dirty.store(state.view.dirty(), Ordering::Relaxed);
        self.slow_from.store(slow_from(state.view.budget()), Ordering::Relaxed);
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
