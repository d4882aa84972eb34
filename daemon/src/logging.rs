//! What the process says while it runs: the log for people, on standard error, and the trace for
//! programs, in a file (docs/operations.md).
//!
//! Trace events have the target [`TRACE`] and the level debug. Without `--trace` no subscriber
//! wants that level, and an event costs one comparison with a static.

use std::{
    fmt::Debug,
    fs::File,
    io::{BufWriter, IsTerminal, Write},
    path::Path,
};

use parking_lot::Mutex;
use serde_json::{Map, Value};
use swiftclient::seam::{Env, TRACE};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::Targets,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// Starts both. `ESKER_LOG` chooses what is logged, in `tracing`'s filter words; `info` where it is
/// absent. The trace is appended to `trace`, if one is named.
pub fn start(trace: Option<&Path>) -> Result<(), String> {
    let filter = EnvFilter::try_from_env("ESKER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for eyes: in a file or journal they are noise.
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_filter(filter);
    let lines = trace.map(Lines::append).transpose()?;
    let only = Targets::new().with_target(TRACE, Level::DEBUG);
    let traced = lines.map(|lines| lines.with_filter(only));
    // Fails only where one was started before.
    let _ = tracing_subscriber::registry().with(log).with(traced).try_init();
    Ok(())
}

/// Each event as a line of JSON: `at` (seconds since 1970, UTC), `event`, and its fields.
struct Lines {
    file: Mutex<BufWriter<File>>,
    env: Env,
}

impl Lines {
    fn append(path: &Path) -> Result<Self, String> {
        let file = File::options().append(true).create(true).open(path);
        let file = file.map_err(|e| format!("trace to {}: {e}", path.display()))?;
        Ok(Self { file: Mutex::new(BufWriter::new(file)), env: Env::real() })
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Under the lock, so that times rise from line to line.
        let mut file = self.file.lock();
        let at = self.env.clock.wall().as_secs_f64();
        fields.0.insert("at".into(), at.into());
        // A full disk must not end the server: the trace has a gap, the volume has none.
        let _ = serde_json::to_writer(&mut *file, &Value::Object(fields.0));
        let _ = file.write_all(b"\n").and_then(|()| file.flush());
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        // The words of an event are its name.
        let name = if field.name() == "message" { "event" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_of_json_and_nothing_else_gets_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let only = Targets::new().with_target(TRACE, Level::DEBUG);
        let layer = Lines::append(&path).unwrap().with_filter(only);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::debug!(target: TRACE, segment = %"1-2", bytes = 5u64, ok = true, "stored");
            tracing::info!("not of the trace");
            tracing::trace!(target: TRACE, "too fine");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert_eq!(lines[0]["event"], "stored");
        assert_eq!((&lines[0]["segment"], &lines[0]["bytes"]), (&"1-2".into(), &5.into()));
        assert!(lines[0]["at"].as_f64().unwrap() > 1.7e9);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let said = start(Some(Path::new("/nowhere/trace"))).unwrap_err();
        assert!(said.contains("/nowhere/trace"), "{said}");
    }
}
