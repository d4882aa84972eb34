//! What a running server knows about itself, collected once for all who ask: a person
//! ([`crate::screen`]), a program (JSON; docs/operations.md lists the keys), Prometheus
//! ([`crate::prometheus`]).

use std::{collections::BTreeMap, time::Duration};

use logseg::{DestageStatus, LogStatus, ReadStatus};
use nfssvr::Server;
use serde::Serialize;
use swiftclient::{StoreClass, Verb, metered};

use crate::{build::House, config::Settings, keeping::Durability};

/// Everything. The keys of its JSON are a promise: they may be joined by others, never renamed.
#[derive(Serialize)]
pub struct Status {
    /// Of the program.
    pub version: &'static str,
    /// uuid of the volume.
    pub volume: String,
    pub uptime_seconds: u64,
    pub store: StoreFigures,
    pub durability: Durability,
    /// Directory of the journal.
    pub journal: Option<String>,
    pub flush_interval_ms: u64,
    pub cache: Option<CacheFigures>,
    pub reads: ReadFigures,
    pub connections: u64,
    pub room: RoomFigures,
    pub log: LogFigures,
    pub destage: DestageFigures,
    pub memory: MemoryFigures,
    pub index: IndexFigures,
}

#[derive(Serialize)]
pub struct StoreFigures {
    pub url: String,
    /// `fencing` or `plain`.
    pub class: &'static str,
    /// What trying again made of failures; null where the store is on this machine.
    pub patience: Option<PatienceFigures>,
    /// By kind; kinds never asked for are left out.
    pub requests: BTreeMap<&'static str, Requests>,
}

/// Of [`swiftclient::Retrying`].
#[derive(Serialize)]
pub struct PatienceFigures {
    /// Requests that may now be in flight, and that are.
    pub window: u64,
    pub in_flight: u64,
    pub retries: u64,
    /// Times the window was halved.
    pub throttled: u64,
    /// Calls whose retries others had used up.
    pub starved: u64,
}

/// Requests of one kind. Every try counts.
#[derive(Serialize)]
pub struct Requests {
    pub ok: u64,
    /// By kind of error; kinds that did not occur are left out.
    pub errors: BTreeMap<&'static str, u64>,
    /// Given up before an answer.
    pub abandoned: u64,
    pub running: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub mean_ms: f64,
    /// End of the bucket, at most twice the true time; null beyond the last bucket.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The same by time, for Prometheus.
    #[serde(skip)]
    pub times: metered::Histogram,
}

/// Of the cache on disk.
#[derive(Serialize)]
pub struct CacheFigures {
    pub dir: String,
    pub limit_bytes: u64,
    pub bytes: u64,
    pub entries: u64,
    pub hits: u64,
    pub misses: u64,
    pub written: u64,
    /// Not kept because too much waited to be written.
    pub dropped: u64,
    /// Found not to be what was written: thrown away and fetched again.
    pub rotten: u64,
    /// Operations that its disk failed.
    pub failures: u64,
    pub evicted: u64,
}

#[derive(Serialize)]
pub struct ReadFigures {
    /// Frames found in memory, and not.
    pub hits: u64,
    pub misses: u64,
    /// Ranged gets sent to the store, and the bytes they asked for.
    pub gets: u64,
    pub get_bytes: u64,
    /// Frames asked for ahead of their readers.
    pub ahead_frames: u64,
    /// Of them: read before they were dropped, and dropped unread.
    pub ahead_used: u64,
    pub ahead_wasted: u64,
    /// Answers whose checksums did not hold, asked for once more.
    pub asked_again: u64,
    /// Of these, how often the second answer did not hold either: the reader got an error.
    pub damaged: u64,
    /// Decoded frames in memory.
    pub cached_bytes: u64,
}

#[derive(Serialize)]
pub struct RoomFigures {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

#[derive(Serialize)]
pub struct LogFigures {
    pub last_seq: u64,
    pub durable_seq: u64,
    pub unsynced_bytes: u64,
    pub unstored_bytes: u64,
    pub syncs: u64,
    pub groups: u64,
    pub waiters: u64,
    pub stored_segments: u64,
    pub objects_put: u64,
    pub failure: Option<String>,
}

/// How the way from the journal to the store goes.
#[derive(Serialize)]
pub struct DestageFigures {
    /// False while it is switched off.
    pub enabled: bool,
    pub dirty_bytes: u64,
    pub budget_bytes: u64,
    pub oldest_ms: Option<u64>,
    /// Not yet forgotten, by state.
    pub segments: SegmentFigures,
    /// Most puts that failed in a row for one segment.
    pub attempts: u32,
    pub last_error: Option<String>,
    /// How often something was begun, by the first reason for it.
    pub wakes: BTreeMap<&'static str, u64>,
    /// Writes that wait for their slot now.
    pub slowed: u64,
}

#[derive(Serialize)]
pub struct SegmentFigures {
    pub open: u64,
    pub sealed: u64,
    pub storing: u64,
    pub stored: u64,
    pub failed: u64,
}

#[derive(Serialize)]
pub struct MemoryFigures {
    pub limit_bytes: u64,
    pub resident_bytes: u64,
}

#[derive(Serialize)]
pub struct IndexFigures {
    pub records: u64,
    pub checkpoints: u64,
    pub dirty_bytes: u64,
    pub resident_bytes: u64,
    pub evictions: u64,
    pub faults: u64,
    pub segments: u64,
    pub dead_segments: u64,
    pub live_bytes: u64,
    pub replay_segments: u64,
}

impl Status {
    /// The figures now; `since` is when the server started, monotonic.
    pub fn now(house: &House, server: &Server, settings: &Settings, since: Duration) -> Self {
        let room = house.index.room();
        let uptime = house.env.clock.monotonic().saturating_sub(since);
        let keeping = &settings.keeping;
        let log_status = house.index.log_status();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            volume: uuid::Uuid::from_bytes(house.header.uuid).to_string(),
            uptime_seconds: uptime.as_secs(),
            store: store(house, settings),
            durability: keeping.durability,
            journal: house.journal.as_ref().map(|dir| dir.display().to_string()),
            flush_interval_ms: millis(house.flush_interval),
            cache: disk_cache(settings, &log_status.reads),
            reads: reads(&log_status),
            connections: server.counters().connections,
            room: RoomFigures { total_bytes: room.total, free_bytes: room.free },
            log: log(house, &log_status),
            destage: destage(log_status.destage),
            memory: MemoryFigures {
                limit_bytes: settings.memory.sum(),
                resident_bytes: resident_bytes(),
            },
            index: index(&house.index),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn store(house: &House, settings: &Settings) -> StoreFigures {
    let snapshot = house.meter.snapshot();
    let requests = Verb::ALL.into_iter().filter_map(|verb| {
        let figures = snapshot.of(verb);
        let errors: BTreeMap<_, _> = figures.errors.iter().map(|(k, n)| (k.name(), *n)).collect();
        let times = figures.times.clone();
        let asked = figures.ok + figures.abandoned + figures.running + times.count();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let requests = Requests {
            ok: figures.ok,
            errors,
            abandoned: figures.abandoned,
            running: figures.running,
            sent_bytes: figures.sent,
            received_bytes: figures.received,
            mean_ms: ms(times.sum) / (times.count().max(1) as f64),
            p50_ms: times.percentile(50).map(ms),
            p99_ms: times.percentile(99).map(ms),
            times,
        };
        (asked > 0).then_some((verb.name(), requests))
    });
    StoreFigures {
        url: settings.store.to_string(),
        class: match house.class {
            StoreClass::Fencing => "fencing",
            StoreClass::Plain => "plain",
        },
        patience: house.patience.as_ref().map(|patience| {
            let p = patience.figures();
            PatienceFigures {
                window: p.window,
                in_flight: p.in_flight,
                retries: p.retries,
                throttled: p.throttled,
                starved: p.starved,
            }
        }),
        requests: requests.collect(),
    }
}

fn log(house: &House, log: &LogStatus) -> LogFigures {
    LogFigures {
        last_seq: house.index.last_seq().0,
        durable_seq: house.index.durable_seq().0,
        unsynced_bytes: log.unsynced_bytes,
        unstored_bytes: log.unstored_bytes,
        syncs: log.syncs,
        groups: log.groups,
        waiters: log.waiters,
        stored_segments: log.stored_segments,
        objects_put: log.puts,
        failure: log.failure.clone(),
    }
}

fn reads(log: &LogStatus) -> ReadFigures {
    let r = &log.reads;
    ReadFigures {
        hits: r.hits,
        misses: r.misses,
        gets: r.gets,
        get_bytes: r.get_bytes,
        ahead_frames: r.ahead_frames,
        ahead_used: r.ahead_used,
        ahead_wasted: r.ahead_wasted,
        asked_again: r.asked_again,
        damaged: r.damaged,
        cached_bytes: log.cached_bytes,
    }
}

fn disk_cache(settings: &Settings, reads: &ReadStatus) -> Option<CacheFigures> {
    let dir = settings.keeping.cache.as_ref()?.dir.display().to_string();
    let c = reads.disk.clone().unwrap_or_default();
    Some(CacheFigures {
        dir,
        limit_bytes: c.limit,
        bytes: c.bytes,
        entries: c.entries,
        hits: c.hits,
        misses: c.misses,
        written: c.written,
        dropped: c.dropped,
        rotten: c.rotten,
        failures: c.failures,
        evicted: c.evicted,
    })
}

fn destage(d: DestageStatus) -> DestageFigures {
    DestageFigures {
        enabled: d.enabled,
        dirty_bytes: d.dirty_bytes,
        budget_bytes: d.budget_bytes,
        oldest_ms: d.oldest_age.map(millis),
        segments: SegmentFigures {
            open: d.open,
            sealed: d.sealed,
            storing: d.storing,
            stored: d.stored,
            failed: d.failed,
        },
        attempts: d.attempts,
        last_error: d.last_error,
        wakes: d.wakes.into_iter().collect(),
        slowed: d.slowed,
    }
}

fn index(index: &headhunter::Index) -> IndexFigures {
    let s = index.status();
    IndexFigures {
        records: s.records,
        checkpoints: s.checkpoints,
        dirty_bytes: s.dirty_bytes,
        resident_bytes: s.resident_bytes,
        evictions: s.evictions,
        faults: s.faults,
        segments: s.segments,
        dead_segments: s.dead_segments,
        live_bytes: s.live_bytes,
        replay_segments: s.replay_segments.into(),
    }
}

/// Resident set of this process, bytes; 0 where /proc does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}
