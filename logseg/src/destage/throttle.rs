//! A write waits for its slot, and a flush for the store.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use swiftclient::StoreError;
use tokio::sync::Notify;

use super::{
    Ended, Wake,
    pace::{Level, Slot},
};
use crate::{
    FLUSH_PATIENCE, FLUSH_SILENCE, LogError, SegmentId,
    chain::Segment,
    core::{Core, State, wake},
};

/// A place in the queue, given up when dropped.
struct Turn<'a> {
    core: &'a Core,
    ticket: u64,
    notify: Arc<Notify>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.core.lock().pace.leave(self.ticket);
    }
}

impl State {
    /// Where the dirty level stands.
    pub(crate) fn level(&self) -> Level {
        let view = &self.view;
        Level { dirty: view.dirty(), budget: view.budget(), flying: view.flying_bytes() }
    }
}

impl Core {
    /// Waits until a write of `bytes` may begin: not at all below 60 % of the budget. `Full` where
    /// the store turns out to be so.
    pub(crate) async fn slow_down(&self, bytes: u64) -> Result<(), LogError> {
        // Without a journal no budget means no ballast yet: not even the first byte is taken.
        let some = |budget: u64| self.journal.is_some() || budget > 0;
        let slow_from = self.slow_from.load(Ordering::Relaxed);
        if self.dirty.load(Ordering::Relaxed) <= slow_from && some(slow_from) {
            return Ok(());
        }
        let turn = {
            let mut state = self.lock();
            if state.pace.is_free(&state.level()) && some(state.view.budget()) {
                return Ok(());
            }
            let (ticket, notify) = state.pace.enter();
            Turn { core: self, ticket, notify }
        };
        self.slowed_by_ballast();
        loop {
            // It may have become so meanwhile: then nothing more is taken (R18).
            if self.ballast.is_full() {
                return Err(LogError::Full);
            }
            let now = self.env.clock.monotonic();
            let slot = {
                let mut state = self.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.error());
                }
                let level = state.level();
                state.pace.ask(turn.ticket, bytes, &level, now)
            };
            match slot {
                Slot::Now => return Ok(()),
                Slot::At(due) => {
                    let told = turn.notify.notified();
                    let _ = tokio::time::timeout(due.saturating_sub(now), told).await;
                }
                Slot::Later => turn.notify.notified().await,
            }
        }
    }

    /// Seals what is below `below`, has all of it stored whatever the marks say, and waits for
    /// that. With `patience` it ends with an error where the store takes nothing.
    pub(crate) async fn force_stored(
        &self,
        below: SegmentId,
        patience: bool,
    ) -> Result<(), LogError> {
        let begun = self.env.clock.monotonic();
        let wait = poll_fn(|context| {
            let mut state = self.lock();
            if state.view.stored_through() >= below {
                return Poll::Ready(Ok(()));
            }
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.error()));
            }
            if patience && let Some(why) = self.hopeless(&state, begun) {
                return Poll::Ready(Err(why));
            }
            let why = if state.closed { Wake::Shutdown } else { Wake::Force };
            state.view.force(below, why);
            state.stores.push(context.waker().clone());
            drop(state);
            self.keeper.notify_one();
            Poll::Pending
        });
        if !patience {
            return wait.await;
        }
        tokio::pin!(wait);
        loop {
            // Nothing need happen at all for patience to end.
            if let Ok(done) = tokio::time::timeout(FLUSH_PATIENCE / 4, &mut wait).await {
                return done;
            }
        }
    }

    /// Waits until every chain segment below `before`, which must be sealed or open, is stored; on a
    /// store that is full, where there is a journal, until those that are not are durable there:
    /// gives them, in order.
    pub(crate) async fn settle_below(
        &self,
        before: SegmentId,
        lean: bool,
    ) -> Result<Vec<SegmentId>, LogError> {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.view.stored_through() >= before {
                return Poll::Ready(Ok(Vec::new()));
            }
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.error()));
            }
            if self.journal.is_some() && self.ballast.is_full() {
                if !lean {
                    return Poll::Ready(Err(LogError::Full));
                }
                let left = |s: &&Segment| s.id < before && state.view.is_unstored(s.id);
                let mut left = state.chain.segments.iter().filter(left);
                let safe = |s: &Segment| {
                    s.sealed && s.durable == s.end && s.rescued.is_none() && !s.distrusted
                };
                if left.clone().all(safe) {
                    return Poll::Ready(Ok(left.by_ref().map(|s| s.id).collect()));
                }
            }
            state.view.force(before, Wake::Force);
            state.stores.push(context.waker().clone());
            drop(state);
            self.keeper.notify_one();
            Poll::Pending
        })
        .await
    }

    /// Takes `ids`, which nobody will ever ask for again, out of what is to be stored, as far as they
    /// are not yet, and their files out of the journal. Waits for those that are on their way.
    pub(crate) async fn forgo(&self, ids: &[SegmentId]) -> Result<(), LogError> {
        let mut left: Vec<SegmentId> = ids.iter().copied().filter(|id| !id.is_side()).collect();
        let mut files = Vec::new();
        poll_fn(|context| {
            let mut state = self.lock();
            if let Some(failure) = &state.failure {
                return Poll::Ready(Err(failure.error()));
            }
            left.retain(|&id| {
                let unstored = state.view.is_unstored(id);
                if !state.view.forgo(id) {
                    return true;
                }
                if unstored {
                    let at = state.chain.segments.partition_point(|s| s.id < id);
                    let gone = state.chain.segments.remove(at);
                    files.extend(gone.and_then(|s| Some((id, s.file?.generation))));
                    state.put_error = state.put_error.take().filter(|(failed, _)| *failed != id);
                }
                false
            });
            if left.is_empty() {
                self.show_level(&state);
                state.pace.tell();
                return Poll::Ready(Ok(()));
            }
            state.stores.push(context.waker().clone());
            Poll::Pending
        })
        .await?;
        let wakers = std::mem::take(&mut self.lock().stores);
        wake(wakers);
        for (id, generation) in files {
            tracing::debug!(segment = %id, "nobody needs it any more: it is not stored");
            if let Some(journal) = &self.journal {
                // Not synced: a name that comes back is below the replay start and leant on by none.
                journal.remove(id, generation)?;
            }
        }
        Ok(())
    }

    /// Why waiting is in vain, if it is.
    fn hopeless(&self, state: &State, begun: Duration) -> Option<LogError> {
        if state.view.ended() == Some(Ended::Stopping) {
            return Some(crate::writer::closed());
        }
        if !state.view.is_enabled() {
            return Some(LogError::Refused("destage is switched off: nothing is stored".into()));
        }
        let silent = self.env.clock.monotonic().saturating_sub(begun.max(state.progress));
        let full = self.ballast.is_full();
        let failed = state.put_error.is_some() || full;
        if silent < if failed { FLUSH_PATIENCE } else { FLUSH_SILENCE } {
            return None;
        }
        let nothing = if full { "the store is full" } else { "no answer yet" };
        let last = state.put_error.as_ref().map_or(nothing, |(_, error)| error.as_str());
        Some(LogError::Store(StoreError::Unavailable {
            what: format!("store {} bytes", state.view.dirty()),
            reason: format!("nothing was stored for {} s; last: {last}", silent.as_secs()),
            retry_after: None,
        }))
    }
}
