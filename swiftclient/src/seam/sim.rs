//! Clock and dice for simulation: the same seed is the same world, to the last bit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{Clock, Dice, Env};

/// Where simulated wall time begins: 2026-01-01 00:00 UTC.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// Dice that a seed decides (SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014). Never for keys.
#[derive(Debug)]
pub struct SeededDice {
    state: AtomicU64,
}

impl SeededDice {
    /// The world of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// Dice of their own for one part of the world, so that what this part asks does not move what
    /// the others get.
    #[must_use]
    pub fn fork(&self, part: &str) -> Self {
        let mut seed = self.state.load(Ordering::Relaxed);
        for byte in part.bytes() {
            seed = mix(seed ^ u64::from(byte));
        }
        Self::new(seed)
    }

    /// A random `u64`.
    pub fn next_u64(&self) -> u64 {
        (self as &dyn Dice).next_u64()
    }

    /// See `Dice::below`.
    pub fn below(&self, n: u64) -> u64 {
        (self as &dyn Dice).below(n)
    }

    /// See `Dice::chance`.
    pub fn chance(&self, per_mille: u64) -> bool {
        (self as &dyn Dice).chance(per_mille)
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Dice for SeededDice {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let x = mix(self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP));
            chunk.copy_from_slice(&x.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A clock that moves only when told.
#[derive(Debug, Default)]
pub struct VirtualClock {
    nanos: AtomicU64,
    /// Added to wall time only: a clock that was set, in nanoseconds, wrapping (so it can go back).
    set: AtomicU64,
}

impl VirtualClock {
    /// At [`EPOCH`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `by` pass.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(nanos(by), Ordering::Relaxed);
    }

    /// Sets wall time back by `by`, as an administrator or NTP does.
    pub fn step_back(&self, by: Duration) {
        self.set.fetch_sub(nanos(by), Ordering::Relaxed);
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for VirtualClock {
    fn wall(&self) -> Duration {
        let moved = self.nanos.load(Ordering::Relaxed);
        let now = nanos(EPOCH).wrapping_add(moved).wrapping_add(self.set.load(Ordering::Relaxed));
        Duration::from_nanos(now)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// The clock of the Tokio runtime: virtual where its time is paused, so that sleeps and clock agree.
#[derive(Debug)]
pub struct RuntimeClock {
    start: tokio::time::Instant,
}

impl RuntimeClock {
    /// At [`EPOCH`] now. Call within the runtime.
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now() }
    }
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for RuntimeClock {
    fn wall(&self) -> Duration {
        EPOCH + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Env {
    /// Seeded dice and the runtime's clock. Call within the runtime.
    pub fn simulated(seed: u64) -> Self {
        Self { clock: Arc::new(RuntimeClock::new()), dice: Arc::new(SeededDice::new(seed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_world() {
        let draw = |seed| {
            let dice = SeededDice::new(seed);
            (0..4).map(|_| dice.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // First values of SplitMix64 for seed 0, as published with the reference code.
        assert_eq!(draw(0)[..2], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        let dice = SeededDice::new(1);
        assert_ne!(dice.fork("disk").next_u64(), dice.fork("store").next_u64());
    }

    #[test]
    fn chance_and_below_keep_their_bounds() {
        let dice = SeededDice::new(3);
        let hits = (0..10_000).filter(|_| dice.chance(250)).count();
        assert!((2_000..3_000).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| dice.below(3) < 3));
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn wall_time_can_step_back_and_monotonic_cannot() {
        let clock = VirtualClock::new();
        clock.advance(Duration::from_secs(5));
        clock.step_back(Duration::from_secs(60));
        assert_eq!(clock.wall(), EPOCH - Duration::from_secs(55));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }
}
