//! The admin address: `/healthz`, `/metrics` (Prometheus text), `/status`, `/status.json`, `/check`,
//! and `POST /flush`.
//!
//! It tells sizes and counts, and a flush costs work: bind it to loopback or to a trusted network.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use nfssvr::Server;
use tokio::net::TcpListener;

use crate::{build::House, check, config::Settings, figures::Status, flush, prometheus, screen};

/// What the answers are made from.
#[derive(Clone)]
pub struct Shared {
    pub house: Arc<House>,
    pub server: Arc<Server>,
    pub rpc: Option<Arc<rpcsvr::Server>>,
    pub settings: Arc<Settings>,
    /// When the server started, monotonic.
    pub since: Duration,
}

/// Binds the admin address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("admin on {address}: {e}"))
}

/// Answers until aborted.
pub async fn serve(listener: TcpListener, shared: Shared) {
    let app = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/status.json", get(status_json))
        .route("/check", get(check))
        .route("/check.json", get(check_json))
        // Only POST: what merely looks around must not cause work.
        .route("/flush", post(flush))
        .with_state(shared);
    if let Err(e) = axum::serve(listener, app).await {
        tracing::error!("the admin address is closed: {e}");
    }
}

impl Shared {
    fn status(&self) -> Status {
        Status::now(&self.house, &self.server, &self.settings, self.since)
    }
}

/// 503 while the volume takes no changes, and why: another server has it, or neither journal nor
/// store took the bytes.
async fn health(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.status().log.failure {
        None => (StatusCode::OK, "ok\n".into()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

async fn status_json(State(shared): State<Shared>) -> impl IntoResponse {
    axum::Json(shared.status())
}

async fn status(State(shared): State<Shared>) -> String {
    screen::draw(&shared.status())
}

async fn metrics(State(shared): State<Shared>) -> String {
    let mut text = shared.server.counters().prometheus();
    if let Some(rpc) = &shared.rpc {
        text.push_str(&rpc.counters().prometheus());
    }
    prometheus::append(&mut text, &shared.status());
    text
}

/// Checks the live volume; with the query `data`, every byte of it.
async fn check(State(shared): State<Shared>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    match check::online(&shared.house, wanted(query.as_deref())).await {
        Ok(outcome) if outcome.findings.is_empty() => (StatusCode::OK, "whole\n".into()),
        Ok(outcome) => (StatusCode::INTERNAL_SERVER_ERROR, outcome.findings.join("\n") + "\n"),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("cannot check now: {e}\n")),
    }
}

/// The same for a program, damaged or not.
async fn check_json(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    match check::online(&shared.house, wanted(query.as_deref())).await {
        Ok(outcome) => (StatusCode::OK, serde_json::json!(outcome).to_string() + "\n"),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("cannot check now: {e}\n")),
    }
}

fn wanted(query: Option<&str>) -> check::Options {
    check::Options { data: query.is_some_and(|q| q.split('&').any(|word| word == "data")) }
}

/// The body names what: nothing or the volume's uuid for all, an absolute path for one file.
async fn flush(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    what: Bytes,
) -> (StatusCode, String) {
    match flush::run(&shared.house, &what, query.as_deref()).await {
        Ok(done) => (StatusCode::OK, serde_json::json!(done).to_string() + "\n"),
        Err(flush::Failed { code, reason }) => {
            let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (code, reason + "\n")
        }
    }
}
