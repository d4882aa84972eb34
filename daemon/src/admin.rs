//! The admin address: `/healthz`, `/metrics` (Prometheus text), `/status`, `/status.json`, `/check`.
//!
//! Read-only, but it tells sizes and counts: bind it to loopback or to a trusted network.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use nfssvr::Server;
use serde::Serialize;
use swiftclient::Verb;
use tokio::net::TcpListener;

use crate::{build::House, size::Size};

#[derive(Clone)]
struct Shared {
    house: Arc<House>,
    server: Arc<Server>,
}

/// Binds the admin address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("admin on {address}: {e}"))
}

/// Answers until aborted.
pub async fn serve(listener: TcpListener, house: Arc<House>, server: Arc<Server>) {
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/status.json", get(status_json))
        .route("/check", get(check))
        .with_state(Shared { house, server });
    if let Err(e) = axum::serve(listener, app).await {
        tracing::error!("the admin address is closed: {e}");
    }
}

/// What `esker status` tells.
#[derive(Serialize)]
struct Status {
    volume: String,
    connections: u64,
    last_seq: u64,
    durable_seq: u64,
    resident_bytes: u64,
    total_bytes: u64,
    free_bytes: u64,
    store_puts: u64,
    log: LogFigures,
    index: serde_json::Value,
}

#[derive(Serialize)]
struct LogFigures {
    unsynced_bytes: u64,
    unstored_bytes: u64,
    syncs: u64,
    waiters: u64,
    stored_segments: u64,
}

impl Shared {
    fn status(&self) -> Status {
        let index = &self.house.index;
        let room = index.room();
        let log = index.log_status();
        Status {
            volume: uuid::Uuid::from_bytes(self.house.header.uuid).to_string(),
            connections: self.server.counters().connections,
            last_seq: index.last_seq().0,
            durable_seq: index.durable_seq().0,
            resident_bytes: resident_bytes(),
            total_bytes: room.total,
            free_bytes: room.free,
            store_puts: self.house.meter.snapshot().puts(),
            log: LogFigures {
                unsynced_bytes: log.unsynced_bytes,
                unstored_bytes: log.unstored_bytes,
                syncs: log.syncs,
                waiters: log.waiters,
                stored_segments: log.stored_segments,
            },
            index: index_figures(index),
        }
    }
}

fn index_figures(index: &headhunter::Index) -> serde_json::Value {
    let s = index.status();
    serde_json::json!({
        "records": s.records,
        "checkpoints": s.checkpoints,
        "dirty_bytes": s.dirty_bytes,
        "resident_bytes": s.resident_bytes,
        "evictions": s.evictions,
        "faults": s.faults,
        "segments": s.segments,
        "live_bytes": s.live_bytes,
    })
}

/// Resident set of this process, bytes; 0 where /proc does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

async fn status_json(State(shared): State<Shared>) -> impl IntoResponse {
    axum::Json(shared.status())
}

async fn status(State(shared): State<Shared>) -> String {
    let s = shared.status();
    format!(
        "volume       {}\nclients      {} connections\nroom         {} free of {}\n\
         log          seq {}, durable {}; {} unsynced, {} not yet stored\n\
         syncs        {} for {} waiters\nstore        {} puts, {} segments stored\n\
         memory       {} resident\nindex        {}\n",
        s.volume,
        s.connections,
        Size(s.free_bytes),
        Size(s.total_bytes),
        s.last_seq,
        s.durable_seq,
        Size(s.log.unsynced_bytes),
        Size(s.log.unstored_bytes),
        s.log.syncs,
        s.log.waiters,
        s.store_puts,
        s.log.stored_segments,
        Size(s.resident_bytes),
        s.index,
    )
}

async fn metrics(State(shared): State<Shared>) -> String {
    let mut text = shared.server.counters().prometheus();
    let s = shared.status();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let _ = writeln!(
            text,
            "# HELP esker_{name} {help}\n# TYPE esker_{name} gauge\nesker_{name} {value}"
        );
    };
    gauge("log_last_seq", "Newest committed record.", s.last_seq);
    gauge("log_durable_seq", "Newest durable record.", s.durable_seq);
    gauge("log_unsynced_bytes", "Committed, not yet durable.", s.log.unsynced_bytes);
    gauge("log_unstored_bytes", "Durable in the journal, not yet stored.", s.log.unstored_bytes);
    gauge("resident_bytes", "Resident set of the process.", s.resident_bytes);
    gauge("room_total_bytes", "Whole size of the volume.", s.total_bytes);
    gauge("room_free_bytes", "Room left to writers.", s.free_bytes);
    if let serde_json::Value::Object(figures) = &s.index {
        for (name, value) in figures {
            gauge(&format!("index_{name}"), "Of the index.", value.as_u64().unwrap_or(0));
        }
    }
    let patience = shared.house.patience.as_ref().map(swiftclient::Retrying::figures);
    if let Some(p) = &patience {
        gauge("store_window", "Requests that may now be in flight to the store.", p.window);
        gauge("store_in_flight", "Requests in flight to the store.", p.in_flight);
    }
    let mut counter = |name: &str, help: &str, value: u64| {
        let _ = writeln!(
            text,
            "# HELP esker_{name} {help}\n# TYPE esker_{name} counter\nesker_{name} {value}"
        );
    };
    counter("journal_syncs_total", "fdatasync calls of the journal.", s.log.syncs);
    counter("journal_waiters_total", "Sync requests answered.", s.log.waiters);
    counter("segments_stored_total", "Chain segments stored.", s.log.stored_segments);
    if let Some(p) = &patience {
        counter("store_retries_total", "Requests that repeated a failed one.", p.retries);
        counter("store_throttled_total", "Times the window was halved.", p.throttled);
        counter("store_starved_total", "Calls whose retries others had used up.", p.starved);
    }
    text.push_str("# HELP esker_store_calls_total Calls to the store that succeeded.\n");
    text.push_str("# TYPE esker_store_calls_total counter\n");
    let snapshot = shared.house.meter.snapshot();
    for verb in Verb::ALL {
        let calls = snapshot.of(verb).ok;
        let _ = writeln!(text, "esker_store_calls_total{{verb=\"{}\"}} {calls}", verb.name());
    }
    text
}

/// Runs the internal checker on the live volume.
async fn check(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.house.volume.check().await {
        Ok(report) if report.findings.is_empty() => (StatusCode::OK, "whole\n".into()),
        Ok(report) => (StatusCode::INTERNAL_SERVER_ERROR, report.findings.join("\n") + "\n"),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("cannot check now: {e:?}\n")),
    }
}
