//! When background work is due, and the task that does it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use logseg::{LogError, SegmentId};
use swiftclient::StoreError;
use tokio::sync::Notify;

use crate::{Index, checkpoint::Keeper, index::Inner, limits};

/// What tells the driver that it is time.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Monotonic milliseconds of the first change since the last freeze, plus one; 0: none.
    first_change: AtomicU64,
    notify: Notify,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}

impl Pulse {
    /// Notes a change at `now`; true where it is the first since the last freeze.
    pub fn first_change(&self, now: impl FnOnce() -> Duration) -> bool {
        if self.first_change.load(Relaxed) != 0 {
            return false;
        }
        self.first_change.store(millis(now()) + 1, Relaxed);
        true
    }

    /// All changes so far are in a frozen root.
    pub fn settled(&self) {
        self.first_change.store(0, Relaxed);
    }

    /// Makes the driver look.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Age of the first change since the last freeze.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        let first = self.first_change.load(Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(millis(now).saturating_sub(first)))
    }
}

/// Why a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Dirty pages have reached their share of the budget (R16).
    Dirty,
    /// Replay would read too many segments (R20).
    Segments,
    /// Changes have waited long enough.
    Age,
    /// The reserve is in use and dead segments wait for two more checkpoints (R18).
    Reserve,
}

/// What [`due`] looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    /// Dirty bytes, per cent of the budget: of memory, or of what a full store leaves.
    pub dirty_share: u64,
    /// Chain segments begun since the last freeze.
    pub segments: u32,
    /// Age of the first change since the last freeze.
    pub age: Option<Duration>,
    /// Free room is below the reserve.
    pub reserve_in_use: bool,
    /// There are dead chain segments that further checkpoints make deletable.
    pub dead_chain: bool,
}

/// Whether a checkpoint is due.
pub(crate) fn due(condition: &Condition, every: Duration) -> Option<Reason> {
    let changed = condition.age.is_some();
    if condition.reserve_in_use && condition.dead_chain {
        Some(Reason::Reserve)
    } else if changed && condition.dirty_share >= limits::DIRTY_CHECKPOINT {
        Some(Reason::Dirty)
    } else if changed && condition.segments >= limits::SEGMENTS_PER_CHECKPOINT {
        Some(Reason::Segments)
    } else if condition.age.is_some_and(|age| age >= every) {
        Some(Reason::Age)
    } else {
        None
    }
}

/// First pause after a failure; doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// How often retirement looks whether old views are gone.
const RETIRE_PAUSE: Duration = Duration::from_millis(200);
/// Pause between checkpoints that make room while the reserve is in use.
const BACK_TO_BACK: Duration = Duration::from_millis(20);
/// How often the reserve is looked at while it is in use.
const RESERVE_PAUSE: Duration = Duration::from_secs(1);

impl Inner {
    pub(crate) fn condition(&self, keeper: &Keeper) -> Condition {
        let on_its_way = |id: &SegmentId| keeper.retiring.iter().any(|(_, ids)| ids.contains(id));
        let (segments, dead_chain) = {
            let applier = &self.commit.lock().applier;
            let mut dead = applier.dead.keys().filter(|id| !id.is_side());
            let waiting = dead.any(|id| !on_its_way(id)) || applier.segments > 0;
            // What is dead may go after two; a checkpoint itself ends segments that hold nothing.
            (applier.segments, waiting && keeper.idle < limits::IDLE_CHECKPOINTS)
        };
        Condition {
            dirty_share: self.dirty_share(),
            segments,
            age: self.pulse.age(self.settings.env.clock.monotonic()),
            reserve_in_use: self.home.reserve_in_use(),
            dead_chain,
        }
    }

    /// Does what is due; gives how long to wait for the next look, `None`: until woken.
    async fn tend(&self) -> Result<Option<Duration>, LogError> {
        let every = self.settings.checkpoint_every;
        let mut keeper = self.keeper.lock().await;
        self.scan_dead(&mut keeper).await?;
        let records = self.records.load(Relaxed);
        if std::mem::replace(&mut keeper.seen, records) != records {
            keeper.idle = 0;
        }
        let reason = due(&self.condition(&keeper), every);
        self.wish_room(reason == Some(Reason::Dirty));
        if let Some(reason) = reason {
            tracing::debug!(?reason, "checkpoint");
            let made = self.checkpoint(&mut keeper).await;
            if made.is_ok() || made.as_ref().is_err_and(is_full) {
                keeper.idle += 1;
            }
            made?;
        } else if !keeper.retiring.is_empty() {
            self.delete_retired(&mut keeper).await?;
        }
        let condition = self.condition(&keeper);
        let age = condition.age.map(|age| every.saturating_sub(age));
        let retire = (!keeper.retiring.is_empty()).then_some(RETIRE_PAUSE);
        let reserve = condition.reserve_in_use.then_some(if condition.dead_chain {
            BACK_TO_BACK
        } else {
            RESERVE_PAUSE
        });
        Ok([age, retire, reserve].into_iter().flatten().min())
    }
}

/// The store had no room for it.
fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::Full | LogError::Store(StoreError::Full { .. }))
}

/// Tends the index until its last holder is gone.
async fn drive(inner: Weak<Inner>, pulse: Arc<Pulse>) {
    let mut retry = RETRY_FIRST;
    loop {
        let Some(alive) = inner.upgrade() else { return };
        if alive.commit.lock().broken.is_some() {
            return;
        }
        let pause = match alive.tend().await {
            Ok(pause) => {
                retry = RETRY_FIRST;
                pause
            }
            Err(error @ (LogError::Fenced { .. } | LogError::ReadOnly { .. })) => {
                // Nothing can be written any more; a fenced writer deletes nothing either.
                tracing::error!(%error, "no more checkpoints");
                alive.room.notify_waiters(); // whoever waits for room learns it from the log
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "checkpoint failed; it is tried again");
                retry = (retry * 2).min(RETRY_LONGEST);
                Some(retry)
            }
        };
        drop(alive);
        match pause {
            None => pulse.notify.notified().await,
            // Woken while failing, it waits all the same.
            Some(pause) if retry > RETRY_FIRST => tokio::time::sleep(pause).await,
            Some(pause) => {
                tokio::select! {
                    () = pulse.notify.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

impl Index {
    /// Tells the driver to look whether anything is due.
    pub(crate) fn wake(&self) {
        self.inner.pulse.wake();
    }

    /// Starts background work on `pool`; it ends with the last clone of this index.
    pub(crate) fn start_driver(&self, pool: &tokio::runtime::Handle) {
        pool.spawn(drive(Arc::downgrade(&self.inner), self.inner.pulse.clone()));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pulse.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_for_each_reason_and_never_without_a_change() {
        let every = Duration::from_secs(30);
        let quiet = Condition {
            dirty_share: 0,
            segments: 0,
            age: None,
            reserve_in_use: false,
            dead_chain: false,
        };
        let young = Condition { age: Some(Duration::from_secs(1)), ..quiet };
        assert_eq!(due(&quiet, every), None);
        assert_eq!(due(&young, every), None);
        assert_eq!(due(&Condition { dirty_share: 39, ..young }, every), None);
        assert_eq!(due(&Condition { dirty_share: 40, ..young }, every), Some(Reason::Dirty));
        assert_eq!(due(&Condition { dirty_share: 99, ..quiet }, every), None);
        assert_eq!(due(&Condition { segments: 256, ..young }, every), Some(Reason::Segments));
        assert_eq!(due(&Condition { age: Some(every), ..quiet }, every), Some(Reason::Age));
        let full = Condition { reserve_in_use: true, ..quiet };
        assert_eq!(due(&full, every), None);
        assert_eq!(due(&Condition { dead_chain: true, ..full }, every), Some(Reason::Reserve));
    }
}
