//! Writers slowed smoothly, so that what is not stored stays within its budget.
//!
//! ```text
//!   allowed rate   │▓
//!   ÷ drain rate   │▓▓                       r(L) = (S − F) / (1 − S) · (1 − L) / (L − F)
//!                  │ ▓▓                      F = 60 %: nobody waits below
//!              1 ──│┄┄┄▓▓▓▓                  S = 75 %: as much comes in as goes out
//!                  │   ┊   ▓▓▓▓▓▓▓▓▓         1 = 100 %: nothing comes in
//!                  └───┴────────────┴──► level L
//!                  F   S            1
//! ```
//!
//! Each write gets a slot of its own in time, in the order in which they came: its bytes divided by
//! the rate allowed now. So a level that rises makes every write a little slower, never some of
//! them very slow. The shape is that of ZFS's write throttle (OpenZFS, *ZFS Transaction Delay*),
//! multiplied by the rate at which the store takes bytes, as measured.
//!
//! It must never know: segments, stores, who waits.
//!
//! Invariants
//! 1. Slots are given in the order of [`Pace::enter`]; who leaves gives his turn to the next.
//! 2. At or above the whole budget no slot is given.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::limits::{SLOW_FROM_SHARE, SLOW_SETTLES_SHARE};

/// Taken for granted before anything was measured, bytes per second: more than any store takes. What
/// is on its way and does not arrive bounds it from the first moment.
const RATE_AT_FIRST: f64 = 4e9;
/// A store that takes nothing is taken to take the budget in this time, seconds: the rest of it is
/// there to be used.
const SLOWEST_SECS: f64 = 600.0;
/// Rates are measured over at least this ...
const SAMPLE: Duration = Duration::from_secs(1);
/// ... the first one over this.
const SAMPLE_FIRST: Duration = Duration::from_millis(200);
/// ... and older samples fade with this time constant, seconds.
const FADE_SECS: f64 = 5.0;
/// Allowed rates end here, in drain rates: beyond nobody waits noticeably.
const RATE_MOST: f64 = 64.0;
/// Slots may be taken so much later than due and still count as due then: timers are coarse.
const LATENESS: Duration = Duration::from_millis(10);

/// How much is unstored, of how much, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Unstored bytes.
    pub dirty: u64,
    /// Most bytes that should be.
    pub budget: u64,
    /// Of the unstored ones those on their way.
    pub flying: u64,
}

/// What a waiting write is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Begin.
    Now,
    /// Look again then.
    At(Duration),
    /// Wait until told: others are before it, or the budget is used up.
    Later,
}

/// How fast the store takes bytes.
#[derive(Debug, Default)]
struct Drain {
    /// Bytes per second; 0: not measured.
    rate: f64,
    /// The sample under way: since when, and its bytes.
    since: Duration,
    bytes: u64,
    /// When bytes were stored last, or began to fly.
    last: Duration,
}

#[allow(clippy::cast_precision_loss)] // bytes far below 2⁵²
fn float(bytes: u64) -> f64 {
    bytes as f64
}

impl Drain {
    /// Bytes began to fly where none did.
    fn begins(&mut self, now: Duration) {
        (self.since, self.last, self.bytes) = (now, now, 0);
    }

    /// `bytes` have arrived. `full`: the store had as much to do as it could take. Where it had not,
    /// the sample says how much came in, not how much would go out, and counts only if it is higher
    /// than what was known (as application-limited samples in BBR's delivery rate estimation).
    fn stored(&mut self, bytes: u64, full: bool, now: Duration) {
        self.last = now;
        self.bytes += bytes;
        let took = now.saturating_sub(self.since);
        if took < if self.rate > 0.0 { SAMPLE } else { SAMPLE_FIRST } {
            return;
        }
        let sample = float(self.bytes) / took.as_secs_f64();
        if !full && (self.rate == 0.0 || sample <= self.rate) {
            (self.since, self.bytes) = (now, 0);
            return;
        }
        let weight = took.as_secs_f64() / (took.as_secs_f64() + FADE_SECS);
        let old = if self.rate > 0.0 { self.rate } else { sample };
        self.rate = old + weight * (sample - old);
        (self.since, self.bytes) = (now, 0);
    }

    /// The rate, lower where nothing has come for longer than it says.
    fn rate(&self, level: &Level, now: Duration) -> f64 {
        let rate = if self.rate > 0.0 { self.rate } else { RATE_AT_FIRST };
        let silent = now.saturating_sub(self.last).as_secs_f64();
        let at_most = if silent > 0.0 { float(level.flying) / silent } else { f64::MAX };
        rate.min(at_most).max(float(level.budget) / SLOWEST_SECS)
    }
}

/// Who waits, and when the next one's turn is.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    drain: Drain,
    queue: VecDeque<(u64, Arc<Notify>)>,
    next: u64,
    /// When the last slot was due.
    slot: Duration,
}

impl Pace {
    /// Bytes began to fly where none did.
    pub(crate) fn begins(&mut self, now: Duration) {
        self.drain.begins(now);
    }

    /// `bytes` were stored; `level` as it was before.
    pub(crate) fn stored(&mut self, bytes: u64, level: &Level, now: Duration) {
        self.drain.stored(bytes, level.dirty > slow_from(level.budget), now);
        self.tell();
    }

    /// The first in the queue looks again.
    pub(crate) fn tell(&self) {
        if let Some((_, first)) = self.queue.front() {
            first.notify_one();
        }
    }

    /// All look again.
    pub(crate) fn tell_all(&self) {
        self.queue.iter().for_each(|(_, waiter)| waiter.notify_one());
    }

    /// True where a write need not even ask.
    pub(crate) fn is_free(&self, level: &Level) -> bool {
        self.queue.is_empty() && level.dirty <= slow_from(level.budget)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.queue.len() as u64
    }

    /// Queues up.
    pub(crate) fn enter(&mut self) -> (u64, Arc<Notify>) {
        let (ticket, notify) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.queue.push_back((ticket, notify.clone()));
        (ticket, notify)
    }

    /// Goes, served or not.
    pub(crate) fn leave(&mut self, ticket: u64) {
        self.queue.retain(|(t, _)| *t != ticket);
        self.tell();
    }

    /// Whether the write of `bytes` with this ticket may begin.
    pub(crate) fn ask(&mut self, ticket: u64, bytes: u64, level: &Level, now: Duration) -> Slot {
        if self.queue.front().is_none_or(|(first, _)| *first != ticket) {
            return Slot::Later;
        }
        if level.dirty > 0 && level.dirty + bytes > level.budget {
            return Slot::Later;
        }
        let Some(rate) = self.allowed(level, now) else { return Slot::Later };
        let due = self.slot.saturating_add(Duration::from_secs_f64(float(bytes) / rate));
        if due > now {
            return Slot::At(due);
        }
        self.slot = due.max(now.saturating_sub(LATENESS));
        Slot::Now
    }

    /// Bytes per second that may come in; `None`: none.
    fn allowed(&self, level: &Level, now: Duration) -> Option<f64> {
        if level.dirty >= level.budget {
            return None;
        }
        let drain = self.drain.rate(level, now);
        let (from, settles) = (float(SLOW_FROM_SHARE) / 100.0, float(SLOW_SETTLES_SHARE) / 100.0);
        // What has arrived of the segments on their way is told only when they are whole: without
        // this guess the level would saw by a segment or by several.
        let silent = now.saturating_sub(self.drain.last).as_secs_f64();
        let arrived = (drain * silent).min(float(level.flying));
        let share = (float(level.dirty) - arrived) / float(level.budget);
        if share <= from {
            return Some(drain * RATE_MOST);
        }
        let slope = (settles - from) / (1.0 - settles);
        // Not 0 short of the whole budget, whatever the guess says.
        Some(drain * (slope * (1.0 - share) / (share - from)).clamp(1e-4, RATE_MOST))
    }
}

/// Bytes up to which nobody is slowed.
pub(crate) fn slow_from(budget: u64) -> u64 {
    budget / 100 * SLOW_FROM_SHARE
}

#[cfg(test)]
mod tests;
