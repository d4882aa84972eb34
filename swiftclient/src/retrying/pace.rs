//! How hard a store may be asked: requests in flight, pauses that it wished for, and a budget of
//! retries. One for all calls of a store, because what slows them down is the same for all.
//!
//! ```text
//!   window    slots for requests in flight: + 1 per windowful of answers, halved by 429, 503 and
//!             time-outs (AIMD: Chiu and Jain, "Analysis of the increase and decrease algorithms
//!             for congestion avoidance", 1989)
//!   pause     nothing is sent before the moment that `Retry-After` named
//!   tokens    a retry costs one; answers and time earn them: a share of the traffic, not a storm
//! ```
//!
//! Invariants
//! 1. One congestion cuts the window once: a request begun before the last cut cuts nothing.
//! 2. The window never falls below one request, nor the earning of tokens to nothing: a store that
//!    is back is noticed.
//! 3. A retry that was answered gives its token back, so that those who wait follow at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::Policy;
use crate::seam::Env;

/// Fractions of slots and tokens are counted in thousandths.
const WHOLE: u64 = 1000;

pub(super) struct Pace {
    env: Env,
    most: u64,
    share: u64,
    saved: u64,
    per_second: u64,
    longest_pause: Duration,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    /// Rung when tokens were earned.
    earned: Notify,
    retries: AtomicU64,
    throttled: AtomicU64,
    starved: AtomicU64,
}

struct State {
    /// Thousandths of a slot.
    window: u64,
    /// Slots that exist, taken or free.
    issued: u64,
    /// Cuts so far.
    cuts: u64,
    not_before: Duration,
    /// Thousandths of a token.
    tokens: u64,
    counted: Duration,
}

/// Figures of the retries of one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that repeated one that had failed.
    pub retries: u64,
    /// Times the number of requests in flight was halved.
    pub throttled: u64,
    /// Calls that failed because their retries were used up by others.
    pub starved: u64,
    /// Requests that may now be in flight at the same time.
    pub window: u64,
    /// Requests in flight.
    pub in_flight: u64,
}

/// The right to have one request in flight.
pub(super) struct Slot<'a> {
    pace: &'a Pace,
    permit: Option<OwnedSemaphorePermit>,
    cuts: u64,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.pace.state.lock();
        if state.issued > state.whole_window()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.issued -= 1;
        }
    }
}

impl State {
    fn whole_window(&self) -> u64 {
        (self.window / WHOLE).max(1)
    }
}

impl Pace {
    pub(super) fn new(policy: &Policy, env: &Env) -> Self {
        let most = policy.in_flight.max(1);
        let saved = policy.retries_saved * WHOLE;
        let state = State {
            window: most * WHOLE,
            issued: most,
            cuts: 0,
            not_before: Duration::ZERO,
            tokens: saved,
            counted: env.clock.monotonic(),
        };
        Self {
            env: env.clone(),
            most,
            share: policy.retries_per_thousand,
            saved,
            per_second: policy.retries_per_second * WHOLE,
            longest_pause: policy.longest_pause,
            slots: Arc::new(Semaphore::new(
                usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            state: Mutex::new(state),
            earned: Notify::new(),
            retries: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            starved: AtomicU64::new(0),
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let state = self.state.lock();
        let free = self.slots.available_permits() as u64;
        Figures {
            retries: self.retries.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            starved: self.starved.load(Relaxed),
            window: state.whole_window(),
            in_flight: state.issued.saturating_sub(free),
        }
    }

    /// Waits for a slot and for the end of a pause; `None`: not before `deadline`.
    pub(super) async fn slot(&self, deadline: Duration) -> Option<Slot<'_>> {
        loop {
            let now = self.env.clock.monotonic();
            let pause = self.state.lock().not_before.saturating_sub(now);
            if now + pause > deadline {
                return None;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
                continue;
            }
            let taken = self.slots.clone().acquire_owned();
            let permit = tokio::time::timeout(deadline.saturating_sub(now), taken).await;
            let slot = Slot { pace: self, permit: Some(permit.ok()?.ok()?), cuts: self.cuts() };
            if self.state.lock().not_before <= self.env.clock.monotonic() {
                return Some(slot);
            }
        }
    }

    fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// The store answered. `again`: this request was a retry.
    pub(super) fn answered(&self, again: bool) {
        let mut state = self.state.lock();
        let more = WHOLE * WHOLE / state.window;
        state.window = (state.window + more).min(self.most * WHOLE);
        let missing = state.whole_window().saturating_sub(state.issued);
        if missing > 0 {
            state.issued += missing;
            self.slots.add_permits(usize::try_from(missing).unwrap_or(0));
        }
        let earned = if again { WHOLE } else { self.share };
        state.tokens = (state.tokens + earned).min(self.saved);
        let enough = state.tokens >= WHOLE;
        drop(state);
        if enough {
            self.earned.notify_one();
        }
    }

    /// The store asked for less, or did not answer in time.
    pub(super) fn slow_down(&self, slot: &Slot<'_>, wish: Option<Duration>) {
        let now = self.env.clock.monotonic();
        let mut state = self.state.lock();
        if let Some(wish) = wish {
            state.not_before = state.not_before.max(now + wish.min(self.longest_pause));
        }
        if slot.cuts != state.cuts {
            return;
        }
        state.cuts += 1;
        state.window = (state.window / 2).max(WHOLE);
        let over = state.issued - state.whole_window().min(state.issued);
        let forgotten = self.slots.forget_permits(usize::try_from(over).unwrap_or(0));
        state.issued -= forgotten as u64;
        let window = state.whole_window();
        drop(state);
        self.throttled.fetch_add(1, Relaxed);
        tracing::debug!(window, "the store is asked less at a time");
    }

    /// Takes a token for one retry; false where none is earned before `deadline`.
    pub(super) async fn may_retry(&self, deadline: Duration) -> bool {
        loop {
            let earned = self.earned.notified();
            tokio::pin!(earned);
            earned.as_mut().enable();
            let wait = {
                let mut state = self.state.lock();
                // Under the lock: or who came later may have counted a later time already.
                let now = self.env.clock.monotonic();
                let passed = now.saturating_sub(state.counted);
                let passed = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
                let grown = u128::from(passed) * u128::from(self.per_second) / 1_000_000_000;
                if grown > 0 {
                    let grown = u64::try_from(grown).unwrap_or(u64::MAX);
                    state.tokens = state.tokens.saturating_add(grown).min(self.saved);
                    state.counted = now;
                }
                if state.tokens >= WHOLE {
                    state.tokens -= WHOLE;
                    let more = state.tokens >= WHOLE;
                    drop(state);
                    self.retries.fetch_add(1, Relaxed);
                    if more {
                        self.earned.notify_one();
                    }
                    return true;
                }
                let missing = (WHOLE - state.tokens) * 1_000_000_000;
                let wait = Duration::from_nanos(missing / self.per_second.max(1));
                if now + wait > deadline {
                    self.starved.fetch_add(1, Relaxed);
                    return false;
                }
                wait.max(Duration::from_millis(1))
            };
            let _ = tokio::time::timeout(wait, earned).await;
        }
    }
}
