//! `esker flush`: everything committed, or what one file needs, is durable and stored before the
//! answer; or the answer says why it is not. It ends in any state of log and store.

use std::{os::unix::ffi::OsStrExt, process::ExitCode, time::Duration};

use fs::{Caller, FileId, FsError, Seq};
use headhunter::LogError;
use serde::Serialize;
use swiftclient::StoreError;

use crate::{args, build::House, interval::Interval, request};

/// How long a flush may take unless the caller says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest path, bytes (PATH_MAX).
const PATH_BYTES: usize = 4096;

/// What was done.
#[derive(Serialize)]
pub struct Flushed {
    /// Everything up to this place in commit order is durable and stored.
    pub seq: u64,
    pub took_ms: u64,
}

/// Why not.
pub struct Failed {
    /// HTTP status.
    pub code: u16,
    pub reason: String,
}

fn failed(code: u16, reason: impl Into<String>) -> Failed {
    Failed { code, reason: reason.into() }
}

/// Flushes what `what` names, as asked of the admin address. `query`: `timeout=60s`.
pub async fn run(house: &House, what: &[u8], query: Option<&str>) -> Result<Flushed, Failed> {
    let patience = patience(query)?;
    let begin = house.env.clock.monotonic();
    let seq = match what {
        [] => house.index.last_seq(),
        [b'/', ..] => seq_of(house, what).await?,
        name => {
            let uuid = uuid::Uuid::from_bytes(house.header.uuid).to_string();
            if name != uuid.as_bytes() {
                return Err(failed(404, format!("this server has the volume {uuid}")));
            }
            house.index.last_seq()
        }
    };
    match tokio::time::timeout(patience, house.index.flush_through(seq)).await {
        Ok(Ok(())) => {
            let took = house.env.clock.monotonic().saturating_sub(begin);
            Ok(Flushed { seq: seq.0, took_ms: u64::try_from(took.as_millis()).unwrap_or(0) })
        }
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(failed(504, overdue(house, seq, patience))),
    }
}

fn patience(query: Option<&str>) -> Result<Duration, Failed> {
    let Some(query) = query.filter(|q| !q.is_empty()) else { return Ok(PATIENCE) };
    let text = query.strip_prefix("timeout=").ok_or(failed(400, "say ?timeout=60s"))?;
    text.parse().map(|Interval(time)| time).map_err(|e: String| failed(400, e))
}

/// The last change of the file that `path` names, as root sees it.
async fn seq_of(house: &House, path: &[u8]) -> Result<Seq, Failed> {
    let name = || String::from_utf8_lossy(path).into_owned();
    if path.len() > PATH_BYTES {
        return Err(failed(400, "the path is too long"));
    }
    let refused = |error: FsError| match error {
        FsError::NoEnt | FsError::NotDir | FsError::NameTooLong => {
            failed(404, format!("{}: no such file in the volume", name()))
        }
        error => failed(503, format!("{}: cannot be looked up: {error:?}", name())),
    };
    let root = Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: false };
    let mut id: FileId = house.volume.root();
    for part in path.split(|&c| c == b'/').filter(|p| !p.is_empty()) {
        let found = house.volume.lookup(&root, id, part).await.map_err(|f| refused(f.error))?;
        id = found.0.id;
    }
    let (seq, _) = house.volume.last_seq_of(id).await.map_err(|f| refused(f.error))?;
    Ok(seq)
}

fn refused(error: &LogError) -> Failed {
    let code = match error {
        LogError::Full | LogError::Store(StoreError::Full { .. }) => 507,
        _ => 503,
    };
    failed(code, format!("not flushed: {error}"))
}

/// What is and what is not after all that time.
fn overdue(house: &House, seq: Seq, patience: Duration) -> String {
    let status = house.index.log_status();
    let time = Interval(patience);
    let state = if house.index.durable_seq() >= seq {
        "it is durable in the journal, and goes on being sent to the store"
    } else {
        "it is not durable yet"
    };
    let store =
        status.destage.last_error.map_or(String::new(), |e| format!("; the store said: {e}"));
    format!("not stored within {time}: {state}{store}")
}

/// The command: asks the server at `args.admin`.
pub fn command(args: &args::Flush) -> Result<ExitCode, String> {
    let what = args.what.as_deref().map(OsStrExt::as_bytes).unwrap_or_default();
    let patience = args.timeout.unwrap_or(Interval(PATIENCE));
    let path = format!("/flush?timeout={patience}");
    let longer = patience.0 + Duration::from_secs(10);
    let answer = request::post(args.admin, &path, what, longer)?;
    println!("{}", answer.trim_end());
    Ok(ExitCode::SUCCESS)
}
