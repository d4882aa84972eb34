//! A token bucket: bytes a second, for all connections together.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::load::now;

/// Most that is saved up while nothing flows, as time.
const BURST: Duration = Duration::from_millis(50);

/// Limits a flow of bytes. What is taken beyond the rate is waited for afterwards, so that pieces of
/// any size keep the rate.
pub struct Bucket {
    /// Bytes a second (0: no limit), and the moment until which all is spent.
    state: Mutex<(u64, Instant)>,
}

impl Bucket {
    /// Without a limit.
    pub fn new() -> Self {
        Self { state: Mutex::new((0, now())) }
    }

    /// Sets the limit, bytes a second; 0: none.
    pub fn limit(&self, rate: u64) {
        *self.state.lock() = (rate, now());
    }

    /// How long to wait after `n` bytes.
    fn owed(&self, n: usize, at: Instant) -> Duration {
        let mut state = self.state.lock();
        let (rate, spent) = *state;
        if rate == 0 {
            return Duration::ZERO;
        }
        #[allow(clippy::cast_precision_loss)] // far below 2⁵³
        let cost = Duration::from_secs_f64(n as f64 / rate as f64);
        let from = spent.max(at.checked_sub(BURST).unwrap_or(at));
        state.1 = from + cost;
        state.1.saturating_duration_since(at)
    }

    /// Takes `n` bytes and waits until the rate is kept.
    pub async fn take(&self, n: usize) {
        let wait = self.owed(n, now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_pieces_of_any_size() {
        let bucket = Bucket::new();
        assert_eq!(bucket.owed(1 << 30, now()), Duration::ZERO);
        bucket.limit(1000);
        let at = now() + Duration::from_secs(1);
        // 50 ms are saved up.
        assert_eq!(bucket.owed(50, at), Duration::ZERO);
        assert_eq!(bucket.owed(1000, at), Duration::from_secs(1));
        assert_eq!(bucket.owed(500, at), Duration::from_millis(1500));
        assert_eq!(bucket.owed(100, at + Duration::from_secs(1)), Duration::from_millis(600));
    }
}
