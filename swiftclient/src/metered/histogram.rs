//! A latency histogram without a lock: exponential buckets that never change.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Bucket `n` counts what took at most `FIRST` · 2ⁿ and more than the bucket before it.
const FIRST: Duration = Duration::from_nanos(FIRST_NANOS);
const FIRST_NANOS: u64 = 100_000;
/// Buckets with an upper end: from 100 µs to 52.4 s. One more counts what took longer.
pub const BUCKETS: usize = 20;

/// Counts by time.
#[derive(Default)]
pub(super) struct Clocked {
    buckets: [AtomicU64; BUCKETS],
    longer: AtomicU64,
    nanos: AtomicU64,
}

impl Clocked {
    pub fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Relaxed);
        self.buckets.get(bucket(nanos)).unwrap_or(&self.longer).fetch_add(1, Relaxed);
    }

    pub fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|n| self.buckets[n].load(Relaxed)),
            longer: self.longer.load(Relaxed),
            sum: Duration::from_nanos(self.nanos.load(Relaxed)),
        }
    }
}

/// The first bucket whose end is not below `nanos`.
fn bucket(nanos: u64) -> usize {
    let over = nanos.saturating_sub(1) / FIRST_NANOS;
    (u64::BITS - over.leading_zeros()) as usize
}

/// How long the calls took that were answered, well or badly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Calls by time; the upper ends are [`Histogram::ends`].
    pub buckets: [u64; BUCKETS],
    /// Calls that took longer than the last end.
    pub longer: u64,
    /// All times together.
    pub sum: Duration,
}

impl Histogram {
    /// Upper ends of the buckets, inclusive, ascending.
    pub fn ends() -> [Duration; BUCKETS] {
        std::array::from_fn(|n| FIRST * (1 << n))
    }

    /// Calls in all.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.longer
    }

    /// A time that at least `per_cent` of the calls did not exceed: the end of the bucket in which
    /// that call lies, at most twice its time. `None` without calls, or where it took longer than
    /// the last end.
    pub fn percentile(&self, per_cent: u64) -> Option<Duration> {
        let rank = (self.count() * per_cent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        at.map(|n| Self::ends()[n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_whose_end_is_next() {
        let ends = Histogram::ends();
        for (n, &end) in ends.iter().enumerate() {
            let clocked = Clocked::default();
            clocked.add(end);
            clocked.add(end + Duration::from_nanos(1));
            let got = clocked.snapshot();
            assert_eq!(got.buckets[n], 1, "{end:?}");
            assert_eq!(got.buckets.get(n + 1).copied().unwrap_or(got.longer), 1, "{end:?}");
            assert_eq!((got.count(), got.sum), (2, end * 2 + Duration::from_nanos(1)));
        }
        let clocked = Clocked::default();
        clocked.add(Duration::ZERO);
        clocked.add(Duration::MAX);
        assert_eq!((clocked.snapshot().buckets[0], clocked.snapshot().longer), (1, 1));
    }

    #[test]
    fn a_percentile_is_the_end_of_its_bucket() {
        assert_eq!(Histogram::default().percentile(50), None);
        let clocked = Clocked::default();
        for millis in 1..=100 {
            clocked.add(Duration::from_millis(millis));
        }
        let got = clocked.snapshot();
        for per_cent in [1, 50, 99, 100] {
            let (true_time, end) =
                (Duration::from_millis(per_cent), got.percentile(per_cent).unwrap());
            assert!(true_time <= end && end <= true_time * 2, "{per_cent}: {end:?}");
        }
        clocked.add(Duration::from_secs(100));
        assert_eq!(clocked.snapshot().percentile(100), None);
    }
}
