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
    core::{Core, State},
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

fn level(state: &State) -> Level {
    Level {
        dirty: state.view.dirty(),
        budget: state.view.budget(),
        flying: state.view.flying_bytes(),
    }
}

impl Core {
    /// Waits until a write of `bytes` may begin: not at all below 60 % of the budget.
    pub(crate) async fn slow_down(&self, bytes: u64) -> Result<(), LogError> {
        if self.dirty.load(Ordering::Relaxed) <= self.slow_from.load(Ordering::Relaxed) {
            return Ok(());
        }
        let turn = {
            let mut state = self.lock();
            if state.pace.is_free(&level(&state)) {
                return Ok(());
            }
            let (ticket, notify) = state.pace.enter();
            Turn { core: self, ticket, notify }
        };
        loop {
            let now = self.env.clock.monotonic();
            let slot = {
                let mut state = self.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.error());
                }
                let level = level(&state);
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

    /// Why waiting is in vain, if it is.
    fn hopeless(&self, state: &State, begun: Duration) -> Option<LogError> {
        if state.view.ended() == Some(Ended::Stopping) {
            return Some(crate::writer::closed());
        }
        if !state.view.is_enabled() {
            return Some(LogError::Refused("destage is switched off: nothing is stored".into()));
        }
        let silent = self.env.clock.monotonic().saturating_sub(begun.max(state.progress));
        let failed = state.put_error.as_ref().filter(|_| silent >= FLUSH_PATIENCE);
        if failed.is_none() && silent < FLUSH_SILENCE {
            return None;
        }
        let last = failed.map_or("no answer yet", |(_, error)| error.as_str());
        Some(LogError::Store(StoreError::Unavailable {
            what: format!("store {} bytes", state.view.dirty()),
            reason: format!("nothing was stored for {} s; last: {last}", silent.as_secs()),
            retry_after: None,
        }))
    }
}
