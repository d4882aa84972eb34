//! The figures as Prometheus text (exposition format 0.0.4). Names: docs/operations.md.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use swiftclient::metered::Histogram;

use crate::figures::{Requests, Status};

/// A page of metrics under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP esker_{name} {help}\n# TYPE esker_{name} {kind}\n");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        let _ = writeln!(self.0, "esker_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        let _ = writeln!(self.0, "esker_{name} {value}");
    }

    /// One sample; `labels` as `a="b"`.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "esker_{name}{{{labels}}} {value}");
    }
}

/// Appends the figures to `text`.
pub fn append(text: &mut String, s: &Status) {
    let mut page = Page(std::mem::take(text));
    house(&mut page, s);
    log(&mut page, s);
    destage(&mut page, s);
    reads(&mut page, s);
    index(&mut page, s);
    patience(&mut page, s);
    requests(&mut page, s);
    *text = page.0;
}

fn house(page: &mut Page, s: &Status) {
    page.family("info", "gauge", "Always 1; what is served, in its labels.");
    let durability = match s.durability {
        crate::keeping::Durability::Journal => "journal",
        crate::keeping::Durability::Store => "store",
    };
    page.sample(
        "info",
        &format!(
            "version=\"{}\",volume=\"{}\",store=\"{}\",class=\"{}\",durability=\"{durability}\"",
            s.version,
            s.volume,
            escaped(&s.store.url),
            s.store.class
        ),
        1,
    );
    page.gauge("uptime_seconds", "Since the start.", s.uptime_seconds);
    page.gauge("resident_bytes", "Resident set of the process.", s.memory.resident_bytes);
    page.gauge("memory_limit_bytes", "All caches and buffers together.", s.memory.limit_bytes);
    page.gauge("room_total_bytes", "Whole size of the volume.", s.room.total_bytes);
    page.gauge("room_free_bytes", "Room left to writers.", s.room.free_bytes);
}

fn log(page: &mut Page, s: &Status) {
    let log = &s.log;
    page.gauge("log_last_seq", "Newest committed record.", log.last_seq);
    page.gauge("log_durable_seq", "Newest durable record.", log.durable_seq);
    page.gauge("log_unsynced_bytes", "Committed, not yet durable.", log.unsynced_bytes);
    let help = "Durable in the journal, not yet stored.";
    page.gauge("log_unstored_bytes", help, log.unstored_bytes);
    page.gauge("log_failed", "1: the log takes nothing more.", u8::from(log.failure.is_some()));
    page.counter("journal_syncs_total", "fdatasync calls of the journal.", log.syncs);
    let help = "Flushes that made something durable; each answers all who waited.";
    page.counter("journal_groups_total", help, log.groups);
    page.counter("journal_waiters_total", "Sync requests answered.", log.waiters);
    page.counter("segments_stored_total", "Chain segments stored.", log.stored_segments);
    page.counter("objects_put_total", "Objects put by the log.", log.objects_put);
}

fn destage(page: &mut Page, s: &Status) {
    let d = &s.destage;
    page.gauge("destage_enabled", "0: switched off.", u8::from(d.enabled));
    page.gauge("destage_dirty_bytes", "Appended and not stored.", d.dirty_bytes);
    page.gauge("destage_budget_bytes", "Most bytes that may be dirty.", d.budget_bytes);
    let oldest = Duration::from_millis(d.oldest_ms.unwrap_or(0)).as_secs_f64();
    page.gauge("destage_oldest_seconds", "Age of the oldest byte that is not stored.", oldest);
    page.family("destage_segments", "gauge", "Segments not yet forgotten, by state.");
    let states = &d.segments;
    for (state, n) in [
        ("open", states.open),
        ("sealed", states.sealed),
        ("storing", states.storing),
        ("stored", states.stored),
        ("failed", states.failed),
    ] {
        page.sample("destage_segments", &format!("state=\"{state}\""), n);
    }
    let help = "Most puts that failed in a row for one segment.";
    page.gauge("destage_failed_attempts", help, d.attempts);
    let help = "How often something was begun, by the first reason for it.";
    page.family("destage_wakes_total", "counter", help);
    for (reason, n) in &d.wakes {
        page.sample("destage_wakes_total", &format!("reason=\"{reason}\""), n);
    }
    page.gauge("destage_slowed_writes", "Writes that wait for their slot.", d.slowed);
}

fn reads(page: &mut Page, s: &Status) {
    let r = &s.reads;
    page.counter("read_hits_total", "Frames found in memory.", r.hits);
    let help = "Frames that came from the journal, the disk cache or the store.";
    page.counter("read_misses_total", help, r.misses);
    page.counter("read_gets_total", "Ranged gets sent to the store.", r.gets);
    page.counter("read_get_bytes_total", "Bytes that they asked for.", r.get_bytes);
    let help = "Frames asked for ahead of their readers.";
    page.counter("read_ahead_frames_total", help, r.ahead_frames);
    page.counter("read_ahead_used_total", "Of them, read.", r.ahead_used);
    page.counter("read_ahead_wasted_total", "Of them, dropped unread.", r.ahead_wasted);
    let help = "Answers whose checksums did not hold, asked for once more.";
    page.counter("read_asked_again_total", help, r.asked_again);
    let help = "Corrupt reads: the second answer did not hold either, the reader got an error.";
    page.counter("read_damaged_total", help, r.damaged);
    page.gauge("read_cached_bytes", "Decoded frames in memory.", r.cached_bytes);
    let Some(c) = &s.cache else { return };
    page.gauge("cache_bytes", "Bytes of the cache on disk.", c.bytes);
    page.gauge("cache_limit_bytes", "Most bytes of it.", c.limit_bytes);
    page.gauge("cache_entries", "Entries that can be found in it.", c.entries);
    page.counter("cache_hits_total", "Entries given.", c.hits);
    page.counter("cache_misses_total", "Entries asked for and not there.", c.misses);
    page.counter("cache_written_total", "Entries written.", c.written);
    let help = "Entries not kept because too much waited to be written.";
    page.counter("cache_dropped_total", help, c.dropped);
    page.counter("cache_rotten_total", "Entries that were not what was written.", c.rotten);
    page.counter("cache_failures_total", "Operations that its disk failed.", c.failures);
    page.counter("cache_evicted_total", "Slabs removed to make room.", c.evicted);
}

fn index(page: &mut Page, s: &Status) {
    let index = &s.index;
    page.counter("index_records_total", "Records committed.", index.records);
    page.counter("index_checkpoints_total", "Checkpoints published.", index.checkpoints);
    page.counter("index_evictions_total", "Pages evicted.", index.evictions);
    page.counter("index_faults_total", "Pages read on demand.", index.faults);
    page.gauge("index_dirty_bytes", "Dirty pages.", index.dirty_bytes);
    page.gauge("index_resident_bytes", "Pages in memory.", index.resident_bytes);
    page.gauge("index_segments", "Segments that usage knows.", index.segments);
    let help = "Of them, without live bytes and not yet deleted.";
    page.gauge("index_dead_segments", help, index.dead_segments);
    page.gauge("index_live_bytes", "Live bytes in all segments.", index.live_bytes);
    let help = "Segments that a crash now would replay.";
    page.gauge("index_replay_segments", help, index.replay_segments);
}

fn patience(page: &mut Page, s: &Status) {
    let Some(p) = &s.store.patience else { return };
    page.gauge("store_window", "Requests that may now be in flight to the store.", p.window);
    page.gauge("store_in_flight", "Requests in flight to the store.", p.in_flight);
    page.counter("store_retries_total", "Requests that repeated a failed one.", p.retries);
    page.counter("store_throttled_total", "Times the window was halved.", p.throttled);
    page.counter("store_starved_total", "Calls whose retries others had used up.", p.starved);
}

fn requests(page: &mut Page, s: &Status) {
    let kinds = || s.store.requests.iter();
    page.family("store_requests_total", "counter", "Requests to the store, each try, by outcome.");
    for (kind, r) in kinds() {
        let outcome = |outcome: &str| format!("kind=\"{kind}\",outcome=\"{outcome}\"");
        page.sample("store_requests_total", &outcome("ok"), r.ok);
        for (error, n) in &r.errors {
            page.sample("store_requests_total", &outcome(error), n);
        }
        page.sample("store_requests_total", &outcome("abandoned"), r.abandoned);
    }
    page.family("store_requests_running", "gauge", "Requests without an answer yet.");
    for (kind, r) in kinds() {
        page.sample("store_requests_running", &format!("kind=\"{kind}\""), r.running);
    }
    page.family("store_sent_bytes_total", "counter", "Bytes of objects sent and taken.");
    for (kind, r) in kinds() {
        page.sample("store_sent_bytes_total", &format!("kind=\"{kind}\""), r.sent_bytes);
    }
    page.family("store_received_bytes_total", "counter", "Bytes of objects received.");
    for (kind, r) in kinds() {
        page.sample("store_received_bytes_total", &format!("kind=\"{kind}\""), r.received_bytes);
    }
    page.family("store_request_seconds", "histogram", "From request to answer, well or bad.");
    for (kind, r) in kinds() {
        histogram(page, kind, r);
    }
}

fn histogram(page: &mut Page, kind: &str, r: &Requests) {
    let mut seen = 0;
    for (end, n) in Histogram::ends().iter().zip(r.times.buckets) {
        seen += n;
        let labels = format!("kind=\"{kind}\",le=\"{}\"", end.as_secs_f64());
        page.sample("store_request_seconds_bucket", &labels, seen);
    }
    let count = r.times.count();
    page.sample("store_request_seconds_bucket", &format!("kind=\"{kind}\",le=\"+Inf\""), count);
    let kind = format!("kind=\"{kind}\"");
    page.sample("store_request_seconds_sum", &kind, r.times.sum.as_secs_f64());
    page.sample("store_request_seconds_count", &kind, count);
}

/// A label's value: backslash, quote and newline escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
