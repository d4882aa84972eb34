//! From a create to a close, as the trace tells it: the segment is on its way to the store before
//! the file is closed, and a timer brings it there when nobody asks.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

use super::{Bed, Outcome, run};
use crate::{
    load::Pool,
    nfsclient::{Client, Fh, Status, proc::UNSTABLE},
    server::{Esker, PATIENCE, binary, until},
};

/// Bytes of the file, in pieces of a MiB: less than a segment.
const MIB: u64 = 10;
/// What a volume without a journal takes before it must store some, at `--memory 256MiB`, bytes: once
/// its ballast is large enough (docs/stores.md).
const WHOLE: f64 = (32 << 20) as f64;
/// Ballast has grown long before so much is written, MiB.
const ENOUGH: u64 = 600;
/// The default of `flush_interval`, in words of the command line.
const INTERVAL: &str = "5s";

/// The trace from a certain moment on.
struct Trace<'a> {
    file: &'a Path,
    from: usize,
}

impl Trace<'_> {
    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|l| serde_json::from_str(l).ok()).skip(self.from).collect()
    }

    /// Waits until such an event is there; its place.
    fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Outcome<usize> {
        let found = until(PATIENCE, || self.events().iter().position(&is));
        found.ok_or_else(|| format!("no {what} in {:#?}", self.events()))
    }
}

fn is(event: &Value, name: &str) -> bool {
    event["event"] == name
}

/// Demands that the places rise in the order of the names.
fn in_order(steps: &[(&str, usize)]) -> Outcome<()> {
    for pair in steps.windows(2) {
        let [(before, at), (after, then)] = pair else { continue };
        if at >= then {
            return Err(format!("{after} (event {then}) came before {before} (event {at})"));
        }
    }
    Ok(())
}

/// Writes until the volume takes as much as it ever will: a new one would store the 10 MB before the
/// timer does.
fn use_for_a_while(server: &Esker, c: &mut Client, root: &Fh) -> Outcome<()> {
    let (pool, mut n) = (Pool::new(), 0);
    let fh = c.create(root, "before", 0o644).map_err(|e| format!("CREATE: {e}"))?;
    while n < ENOUGH {
        let figures = server.metrics().map_err(|e| e.to_string())?;
        let budget = figures.get("esker_destage_budget_bytes").ok_or("no figure of the budget")?;
        if *budget >= WHOLE {
            return Ok(());
        }
        let w =
            c.write(&fh, n << 20, UNSTABLE, pool.block(n, 1 << 20)).map_err(|e| e.to_string())?;
        match w.status {
            status if status.ok() => n += 1,
            Status::JUKEBOX => {}
            other => return Err(format!("WRITE: {other:?}")),
        }
    }
    Err(format!("after {ENOUGH} MiB the volume takes no more than at first"))
}

/// Creates a file, writes 10 MB, waits for the timer, flushes as a close does; the trace must have
/// the steps in this order. Needs a store that takes an object while it grows.
pub fn sequence() -> Outcome<()> {
    let bed = Bed::new("sequence")?;
    let work = bed.dir("server")?;
    let file = work.join("trace.json");
    let name = file.display().to_string();
    let args = [
        "--durability",
        "store",
        "--flush-interval",
        INTERVAL,
        "--trace",
        &name,
        "--memory",
        "256MiB",
    ];
    let server = bed.serve(&work, &args)?;
    let root = server.mount("/").map_err(|e| e.to_string())?;
    let mut c = server.root_client().map_err(|e| e.to_string())?;
    use_for_a_while(&server, &mut c, &root)?;
    // Nothing waits any more: the next record begins a segment.
    let admin = server.admin.to_string();
    run(Command::new(binary().map_err(|e| e.to_string())?).args(["flush", "--admin", &admin]))?;
    let from = Trace { file: &file, from: 0 }.events().len();
    let trace = Trace { file: &file, from };

    let fh = c.create(&root, "ten", 0o644).map_err(|e| format!("CREATE: {e}"))?;
    let create = trace.wait("create", |e| is(e, "create"))?;
    let provisioned = trace.wait("segment provisioned", |e| is(e, "segment provisioned"))?;
    let created = trace.wait("created", |e| is(e, "created"))?;
    in_order(&[("create", create), ("segment provisioned", provisioned), ("created", created)])?;

    let from = trace.from + trace.events().len();
    let trace = Trace { file: &file, from };
    let (pool, began) = (Pool::new(), crate::load::now());
    for n in 0..MIB {
        let w =
            c.write(&fh, n << 20, UNSTABLE, pool.block(n, 1 << 20)).map_err(|e| e.to_string())?;
        if !w.status.ok() {
            return Err(format!("WRITE: {:?}", w.status));
        }
    }
    let write = trace.wait("write", |e| is(e, "write"))?;
    let segment = |e: &Value| e["object"].as_str().is_some_and(|name| name.starts_with("seg/"));
    let sent = |e: &Value| is(e, "put sent") && segment(e) && e["total"].as_u64() >= Some(1 << 20);
    let sent = trace.wait("put sent", sent)?;
    let object = trace.events()[sent]["object"].clone();
    let opened = trace.wait("put opened", |e| is(e, "put opened") && e["object"] == object)?;
    let timer = trace.wait("timer flush", |e| is(e, "timer flush"))?;
    let waited = crate::load::now() - began;
    let id = trace.events()[timer]["segment"].clone();
    let finished =
        trace.wait("put finished", |e| is(e, "put finished") && e["object"] == object)?;
    let stored = trace.wait("segment stored", |e| is(e, "segment stored") && e["segment"] == id)?;
    in_order(&[("write", write), ("put opened", opened), ("put sent", sent)])?;
    in_order(&[("put sent", sent), ("timer flush", timer), ("put finished", finished)])?;
    in_order(&[("put finished", finished), ("segment stored", stored)])?;
    if waited < Duration::from_secs(4) {
        return Err(format!("the timer flushed after {} ms", waited.as_millis()));
    }

    let k = c.commit(&fh).map_err(|e| e.to_string())?;
    if !k.status.ok() {
        return Err(format!("COMMIT: {:?}", k.status));
    }
    let flush = trace.wait("flush", |e| is(e, "flush"))?;
    let flushed = trace.wait("flushed", |e| is(e, "flushed"))?;
    in_order(&[("segment stored", stored), ("flush", flush), ("flushed", flushed)])?;
    let events = trace.events();
    let put =
        |e: &Value| segment(e) && e["event"].as_str().is_some_and(|name| name.starts_with("put"));
    if let Some(put) = events[flush..flushed].iter().find(|e| put(e)) {
        return Err(format!("the timer had stored all, and the flush put again: {put}"));
    }
    println!("create, segment provisioned, write, put sent, timer, stored, flush: in this order");
    let status = server.stop().map_err(|e| e.to_string())?;
    if status.success() { bed.done() } else { Err(format!("stopped with {status}")) }
}
