//! Clock and dice: the only places where this workspace asks the machine for time or chance.
//!
//! Everything above takes an [`Env`]; the simulator gives one with virtual time and seeded dice.

pub mod sim;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Target of the trace events (level debug) by which a change can be followed to the store. Their
/// names and fields are a promise: docs/operations.md lists them.
pub const TRACE: &str = "esker::trace";

/// Time, wall and monotonic.
pub trait Clock: Send + Sync {
    /// Wall time since 1970-01-01 UTC. May step backwards.
    fn wall(&self) -> Duration;
    /// Never goes back; the origin is arbitrary.
    fn monotonic(&self) -> Duration;
}

/// Chance.
pub trait Dice: Send + Sync {
    /// Fills `out` with random bytes fit for keys, nonces and verifiers.
    fn fill(&self, out: &mut [u8]);
}

impl dyn Dice + '_ {
    /// A random `u64`.
    pub fn next_u64(&self) -> u64 {
        let mut b = [0; 8];
        self.fill(&mut b);
        u64::from_le_bytes(b)
    }

    /// A random number below `n`, as good as even (bias below n / 2⁶⁴); 0 where `n` is 0.
    pub fn below(&self, n: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(n);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// The seams of one process.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub dice: Arc<dyn Dice>,
}

impl Env {
    /// The machine's own clock and dice.
    pub fn real() -> Self {
        Self { clock: Arc::new(RealClock::new()), dice: Arc::new(RealDice) }
    }

    /// A random `u64`.
    pub fn random_u64(&self) -> u64 {
        self.dice.next_u64()
    }
}

struct RealClock {
    start: Instant,
}

impl RealClock {
    #[allow(clippy::disallowed_methods)] // the seam itself
    fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for RealClock {
    #[allow(clippy::disallowed_methods)] // the seam itself
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
    #[allow(clippy::disallowed_methods)] // the seam itself
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

struct RealDice;

impl Dice for RealDice {
    fn fill(&self, mut out: &mut [u8]) {
        while !out.is_empty() {
            // SAFETY: the pointer and length are those of a live, writable slice.
            let n = unsafe { libc::getrandom(out.as_mut_ptr().cast(), out.len(), 0) };
            // getrandom(2) without flags fails only by EINTR once the pool is initialised.
            if n > 0 {
                out = &mut out[usize::try_from(n).unwrap_or(0)..];
            }
        }
    }
}
