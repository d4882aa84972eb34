use std::fmt;
use std::time::{Duration, Instant};

/// The one place where the generator reads the clock.
#[allow(clippy::disallowed_methods)] // real time is what is measured here
pub fn now() -> Instant {
    Instant::now()
}

/// CPU seconds (user and system) that process `pid` has used, from /proc/PID/stat.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(") ")?.1;
    let mut f = after.split(' ').skip(11);
    let ticks = f.next()?.parse::<f64>().ok()? + f.next()?.parse::<f64>().ok()?;
    Some(ticks / 100.0) // USER_HZ is 100 on every Linux ABI
}

/// Resident bytes of process `pid`, from /proc/PID/statm.
pub fn rss_bytes(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

/// What one row gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Row and shape, for people.
    pub name: String,
    /// Operations done.
    pub ops: u64,
    /// Payload moved, bytes; 0 where the rate is in operations.
    pub bytes: u64,
    /// Measured time.
    pub wall: Duration,
    /// Latencies, nanoseconds, sorted.
    pub latency: Vec<u32>,
    /// CPU seconds of the server meanwhile.
    pub cpu: Option<f64>,
}

impl Outcome {
    /// Operations a second.
    pub fn ops_per_s(&self) -> f64 {
        self.ops as f64 / self.wall.as_secs_f64()
    }
    /// MiB a second.
    pub fn mib_per_s(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20) / self.wall.as_secs_f64()
    }
    /// The figure the row is judged by, and its unit.
    pub fn rate(&self) -> (f64, &'static str) {
        if self.bytes > 0 { (self.mib_per_s(), "MiB/s") } else { (self.ops_per_s(), "op/s") }
    }
    /// Server CPU in µs per operation (per MiB where the rate is in MiB).
    pub fn cpu_us(&self) -> Option<f64> {
        let units =
            if self.bytes > 0 { self.bytes as f64 / f64::from(1 << 20) } else { self.ops as f64 };
        self.cpu.map(|c| c * 1e6 / units.max(1.0))
    }
    /// Latency that the share `q` (0..1) of the operations stayed within, µs.
    pub fn quantile_us(&self, q: f64) -> f64 {
        let n = self.latency.len();
        if n == 0 {
            return 0.0;
        }
        let i = ((n as f64 * q) as usize).min(n - 1);
        f64::from(self.latency[i]) / 1e3
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, unit) = self.rate();
        write!(
            f,
            "{:<26} {rate:>10.0} {unit:<6} p50 {:>8.0} µs  p99 {:>8.0} µs",
            self.name,
            self.quantile_us(0.5),
            self.quantile_us(0.99)
        )?;
        match self.cpu_us() {
            Some(us) => {
                write!(f, "  server CPU {us:>7.1} µs/{}", if self.bytes > 0 { "MiB" } else { "op" })
            }
            None => Ok(()),
        }
    }
}
