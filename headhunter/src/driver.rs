//! When background work is due.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::Notify;

use crate::Index;

/// What tells the driver that it is time.
pub(crate) struct Pulse {
    /// Monotonic milliseconds of the first change since the last freeze, plus one; 0: none.
    first_change: AtomicU64,
    pub notify: Notify,
}

impl Pulse {
    pub fn new(_now: Duration, _seq: u64) -> Self {
        Self { first_change: AtomicU64::new(0), notify: Notify::new() }
    }

    /// Notes a change at `now`; true where it is the first since the last freeze.
    pub fn first_change(&self, now: impl FnOnce() -> Duration) -> bool {
        if self.first_change.load(Relaxed) != 0 {
            return false;
        }
        let now = u64::try_from(now().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.first_change.store(now, Relaxed);
        true
    }

    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

impl Index {
    /// Tells the driver to look whether anything is due.
    pub(crate) fn wake(&self) {
        self.inner.pulse.wake();
    }
}
