//! The figures for a person: one screen, the most urgent first.

use std::{fmt::Write, time::Duration};

use crate::{
    figures::{CacheFigures, Requests, Status},
    interval::Interval,
    keeping::Durability,
    size::Size,
};

/// The screen.
pub fn draw(s: &Status) -> String {
    let mut out = String::new();
    let mut row = |name: &str, text: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<12} {text}");
    };
    if let Some(failure) = &s.log.failure {
        row("FAILED", failure.clone());
    }
    if let Some(error) = &s.destage.last_error {
        let (failed, attempts) = (s.destage.segments.failed, s.destage.attempts);
        row("NOT STORED", format!("{failed} segments, {attempts} tries; the store said: {error}"));
    }
    if s.reads.damaged > 0 {
        let n = s.reads.damaged;
        row("DAMAGED", format!("{n} reads met damage in the store; the log names what and where"));
    }
    if !s.destage.enabled {
        row("SWITCHED OFF", "nothing is sent to the store".into());
    }
    let up = Interval(Duration::from_secs(s.uptime_seconds));
    row("volume", format!("{}, up {up}, {} connections", s.volume, s.connections));
    row("store", format!("{} ({})", s.store.url, s.store.class));
    row("durability", durability(s));
    if let Some(p) = &s.store.patience {
        let (flying, window) = (p.in_flight, p.window);
        let (again, halved) = (p.retries, p.throttled);
        row(
            "window",
            format!("{flying} of {window} in flight; {again} retries, halved {halved} times"),
        );
    }
    if let Some(cache) = &s.cache {
        row("cache", disk_cache(cache));
    }
    let (free, total) = (Size(s.room.free_bytes), Size(s.room.total_bytes));
    row("room", format!("{free} free of {total}"));
    row("log", log(s));
    row("dirty", dirty(s));
    row("reads", reads(s));
    let (syncs, waiters) = (s.log.syncs, s.log.waiters);
    row("segments", segments(s));
    row("syncs", format!("{syncs} for {waiters} waiters"));
    let resident = Size(s.memory.resident_bytes);
    row("memory", format!("{resident} resident of {}", Size(s.memory.limit_bytes)));
    let index = &s.index;
    row(
        "index",
        format!(
            "{} segments with {} live; {} in memory, {} dirty; {} checkpoints",
            index.segments,
            Size(index.live_bytes),
            Size(index.resident_bytes),
            Size(index.dirty_bytes),
            index.checkpoints
        ),
    );
    requests(&mut out, s);
    out
}

fn durability(s: &Status) -> String {
    match (&s.durability, &s.journal) {
        (Durability::Journal, Some(dir)) => format!("journal, in {dir}"),
        (Durability::Journal, None) => "journal".into(),
        (Durability::Store, _) => "store: each sync waits for the store".into(),
    }
}

fn log(s: &Status) -> String {
    let log = &s.log;
    let unsynced = Size(log.unsynced_bytes);
    format!("seq {}, durable {}, {unsynced} not yet durable", log.last_seq, log.durable_seq)
}

fn dirty(s: &Status) -> String {
    let d = &s.destage;
    let share = d.dirty_bytes * 100 / d.budget_bytes.max(1);
    let (dirty, budget) = (Size(d.dirty_bytes), Size(d.budget_bytes));
    let of = |ms| Interval(Duration::from_millis(ms));
    let oldest = d.oldest_ms.map_or(String::new(), |ms| format!(", the oldest for {}", of(ms)));
    let flushed = of(s.flush_interval_ms);
    format!("{dirty} not yet stored, {share} % of {budget}{oldest}; flushed after {flushed}")
}

fn segments(s: &Status) -> String {
    let n = &s.destage.segments;
    let wakes: Vec<String> = s
        .destage
        .wakes
        .iter()
        .filter(|(_, n)| **n > 0)
        .map(|(reason, n)| format!("{n} {reason}"))
        .collect();
    let wakes = if wakes.is_empty() { "none".into() } else { wakes.join(", ") };
    format!(
        "{} open, {} sealed, {} storing, {} failed; {} stored so far; wakes: {wakes}",
        n.open, n.sealed, n.storing, n.failed, s.log.stored_segments
    )
}

fn reads(s: &Status) -> String {
    let r = &s.reads;
    let (asked, cached) = (Size(r.get_bytes), Size(r.cached_bytes));
    let per_cent = r.hits * 100 / (r.hits + r.misses).max(1);
    format!(
        "{} hits ({per_cent} %) in {cached} of memory; {} gets for {asked}, {} frames ahead, {} again",
        r.hits, r.gets, r.ahead_frames, r.asked_again
    )
}

fn disk_cache(c: &CacheFigures) -> String {
    let (bytes, limit) = (Size(c.bytes), Size(c.limit_bytes));
    let per_cent = c.hits * 100 / (c.hits + c.misses).max(1);
    format!("{}: {bytes} of {limit}, {} hits ({per_cent} %), {} rotten", c.dir, c.hits, c.rotten)
}

fn requests(out: &mut String, s: &Status) {
    if s.store.requests.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<14}{:>10}{:>9}{:>9}{:>11}{:>11}{:>10}{:>10}",
        "requests", "ok", "failed", "running", "sent", "received", "p50 ms", "p99 ms"
    );
    for (kind, r) in &s.store.requests {
        // "Not there" and "there already" are answers.
        let faults = r.errors.iter().filter(|(kind, _)| !matches!(**kind, "not_found" | "exists"));
        let failed = r.abandoned + faults.map(|(_, n)| n).sum::<u64>();
        let ms = |ms: Option<f64>| ms.map_or("more".into(), |ms| format!("<{ms:.1}"));
        let (p50, p99) = if r.times.count() == 0 {
            ("-".into(), "-".into())
        } else {
            (ms(r.p50_ms), ms(r.p99_ms))
        };
        let (sent, received) = (Size(r.sent_bytes), Size(r.received_bytes));
        let _ = writeln!(
            out,
            "{kind:<14}{:>10}{failed:>9}{:>9}{:>11}{:>11}{p50:>10}{p99:>10}{}",
            r.ok,
            r.running,
            sent.to_string(),
            received.to_string(),
            errors(r)
        );
    }
}

/// What was no success, in words.
fn errors(r: &Requests) -> String {
    let mut words: Vec<String> = r.errors.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    if r.abandoned > 0 {
        words.push(format!("{} abandoned", r.abandoned));
    }
    if words.is_empty() { String::new() } else { format!("  {}", words.join(", ")) }
}
