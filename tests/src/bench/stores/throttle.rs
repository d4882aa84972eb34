//! A store slower than its writers: where the dirty level settles, and what a write then waits.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::plot::{Curve, Picture};
use crate::bench::median;
use crate::bench::report::Fact;
use crate::load::{LoadError, Pool, now};
use crate::nfsclient::Status;
use crate::nfsclient::proc::UNSTABLE;
use crate::server::{Esker, pause};

/// What the proxy lets through to the store, bytes a second.
pub const RATE: u64 = 20_000_000;
/// Dirty budget of the run.
pub const BUDGET: u64 = 256 << 20;
/// Length of the run, and of its beginning, in which the level may be anywhere.
const TIME: Duration = Duration::from_secs(60);
const SETTLES: f64 = 20.0;
const WRITERS: usize = 4;
const WRITE: usize = 64 << 10;
/// A file is committed and a new one begun after so many writes.
const FILE_WRITES: u64 = 256;
const WINDOW: f64 = 5.0;

/// What was seen.
pub struct Run {
    /// Seconds, and bytes that the store did not have yet.
    pub level: Vec<(f64, f64)>,
    /// Seconds, and the time a WRITE took, ms, in the order of time.
    pub writes: Vec<(f64, f64)>,
    /// Bytes the writers were told are taken.
    pub written: u64,
    /// WRITEs that were told to come again later.
    pub put_off: u64,
}

/// Median and 99th percentile of one window, with its begin.
struct Window {
    at: f64,
    median: f64,
    p99: f64,
}

impl Run {
    fn windows(&self) -> Vec<Window> {
        let end = TIME.as_secs_f64();
        let begins = (0..).map(|i| f64::from(i) * WINDOW).take_while(|at| at + WINDOW <= end);
        let window = |at: f64| {
            let within = self.writes.iter().filter(|w| w.0 >= at && w.0 < at + WINDOW);
            let mut took: Vec<f64> = within.map(|w| w.1).collect();
            took.sort_by(f64::total_cmp);
            let p99 = took.get((took.len() * 99 / 100).min(took.len().saturating_sub(1)));
            Window { at, p99: p99.copied().unwrap_or(f64::NAN), median: median(took) }
        };
        begins.map(window).collect()
    }

    /// The bounds, and what came of them.
    pub fn facts(&self, label: &str) -> Vec<Fact> {
        let settled: Vec<f64> =
            self.level.iter().filter(|l| l.0 >= SETTLES).map(|l| l.1 / BUDGET as f64).collect();
        let n = settled.len() as f64;
        let mean = settled.iter().sum::<f64>() / n;
        let deviation = (settled.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n).sqrt();
        let least = settled.iter().copied().fold(f64::INFINITY, f64::min);
        let most = settled.iter().copied().fold(0.0, f64::max);
        let worst = self.windows().into_iter().map(|w| w.p99 / w.median).fold(0.0, f64::max);
        let fact = |name: &str, value, wanted: &str, met| Fact {
            name: format!("{label}, 20 MB/s: {name}"),
            value,
            wanted: wanted.into(),
            met,
        };
        let level = format!("{:.0} to {:.0} %", least * 100.0, most * 100.0);
        vec![
            fact("dirty level after 20 s", level, "60 to 90 %", least >= 0.6 && most <= 0.9),
            fact(
                "its standard deviation, of its mean",
                format!("{:.1} %", deviation / mean * 100.0),
                "≤ 10 %",
                deviation / mean <= 0.1,
            ),
            fact(
                "p99 of WRITE by its median, worst window of 5 s",
                format!("{worst:.1}"),
                "≤ 3",
                worst <= 3.0,
            ),
            fact(
                "taken from the writers",
                format!(
                    "{:.1} MB/s, {} put off",
                    self.written as f64 / TIME.as_secs_f64() / 1e6,
                    self.put_off
                ),
                "–",
                true,
            ),
        ]
    }

    /// Level and latencies as pictures.
    pub fn pictures(&self, label: &str) -> Vec<Picture> {
        let mib = f64::from(1 << 20);
        let budget = BUDGET as f64 / mib;
        let windows = self.windows();
        let of = |f: &dyn Fn(&Window) -> f64| {
            windows.iter().map(|w| (w.at + WINDOW / 2.0, f(w))).collect::<Vec<_>>()
        };
        vec![
            Picture {
                title: format!("{label}: not yet stored, store limited to 20 MB/s"),
                unit: "MiB",
                curves: vec![Curve {
                    name: "dirty",
                    colour: "navy",
                    points: self.level.iter().map(|l| (l.0, l.1 / mib)).collect(),
                }],
                levels: vec![(budget * 0.6, "60 %"), (budget * 0.9, "90 %"), (budget, "budget")],
            },
            Picture {
                title: format!("{label}: WRITE of 64 KiB, windows of 5 s"),
                unit: "ms",
                curves: vec![
                    Curve { name: "median", colour: "green", points: of(&|w| w.median) },
                    Curve { name: "p99", colour: "darkred", points: of(&|w| w.p99) },
                ],
                levels: Vec::new(),
            },
        ]
    }
}

/// Writes as fast as it goes for a minute, and looks at the level every 100 ms.
pub fn run(server: &Esker) -> Result<Run, LoadError> {
    let (over, put_off, written) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let begin = now();
    let time = || (now() - begin).as_secs_f64();
    let pool = Pool::new();
    let (level, writes) = std::thread::scope(|s| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|i| {
                let (over, put_off, written, pool) = (&over, &put_off, &written, &pool);
                s.spawn(move || writer(server, i, pool, &time, (over, put_off, written)))
            })
            .collect();
        let mut level = Vec::new();
        while now() - begin < TIME {
            let metrics = server.metrics()?;
            let dirty = metrics.get("esker_log_unstored_bytes").copied().unwrap_or(f64::NAN);
            level.push((time(), dirty));
            pause(Duration::from_millis(100));
        }
        over.store(true, Relaxed);
        let mut writes = Vec::new();
        for w in writers {
            let panicked = |_| Err(LoadError::Wrong("a writer panicked".into()));
            writes.extend(w.join().unwrap_or_else(panicked)?);
        }
        Ok::<_, LoadError>((level, writes))
    })?;
    let mut writes = writes;
    writes.sort_by(|a: &(f64, f64), b| a.0.total_cmp(&b.0));
    let (put_off, written) = (put_off.into_inner(), written.into_inner());
    Ok(Run { level, writes, written, put_off })
}

fn writer(
    server: &Esker,
    index: usize,
    pool: &Pool,
    time: &dyn Fn() -> f64,
    (over, put_off, written): (&AtomicBool, &AtomicU64, &AtomicU64),
) -> Result<Vec<(f64, f64)>, LoadError> {
    const JUKEBOX: Status = Status(10_008);
    let root = server.mount("/")?;
    let mut c = server.root_client()?;
    c.conn.set_timeout(Some(Duration::from_secs(120)))?;
    let mut took = Vec::new();
    for file in 0.. {
        let fh = c.create(&root, &format!("throttled-{index}-{file}"), 0o644)?;
        for n in 0..FILE_WRITES {
            if over.load(Relaxed) {
                return Ok(took);
            }
            let at = time();
            let data = pool.block(n + file, WRITE);
            let w = loop {
                let w = c.write(&fh, n * WRITE as u64, UNSTABLE, data)?;
                if w.status != JUKEBOX {
                    break w;
                }
                put_off.fetch_add(1, Relaxed);
            };
            if !w.status.ok() {
                return Err(LoadError::Status("WRITE", w.status));
            }
            took.push((at, (time() - at) * 1e3));
            written.fetch_add(u64::from(w.count), Relaxed);
        }
        let done = c.commit(&fh)?;
        if !done.status.ok() {
            return Err(LoadError::Status("COMMIT", done.status));
        }
    }
    Ok(took)
}
