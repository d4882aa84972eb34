//! The steps from a change to the store, as the trace tells them: names, fields and order are a
//! promise (docs/operations.md).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use esker_tests::nfsclient::proc::UNSTABLE;
use esker_tests::server::{Esker, PATIENCE, Setup, binary, until};
use serde_json::Value;

fn events(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Place of the first event of that name from `at` on.
fn after(events: &[Value], at: usize, name: &str) -> usize {
    let found = events.iter().skip(at).position(|e| e["event"] == name);
    at + found.unwrap_or_else(|| panic!("no {name:?} after event {at} of {events:#?}"))
}

#[test]
fn a_change_is_followed_to_the_store() {
    let work = tempfile::tempdir().unwrap();
    let trace = work.path().join("trace.json");
    let mut setup = Setup::exporting(&["/ 127.0.0.0/8(rw,async,no_root_squash)"]);
    setup.args = vec!["--trace".into(), trace.to_str().unwrap().into()];
    let server = Esker::start(work.path(), &setup).unwrap();
    let root = server.mount("/").unwrap();
    let mut client = server.root_client().unwrap();
    let begin = events(&trace).len();
    let file = client.create(&root, "f", 0o644).unwrap();
    let data = vec![7; 300_000];
    assert!(client.write(&file, 0, UNSTABLE, &data).unwrap().status.ok());
    assert!(client.commit(&file).unwrap().status.ok());
    let admin = server.admin.to_string();
    let flush = Command::new(binary().unwrap()).args(["flush", "/f", "--admin", &admin]).output();
    assert!(flush.unwrap().status.success());

    let seen = events(&trace);
    let create = after(&seen, begin, "create");
    let created = after(&seen, create, "created");
    let write = after(&seen, created, "write");
    assert_eq!((&seen[write]["offset"], &seen[write]["bytes"]), (&0.into(), &300_000.into()));
    let written = after(&seen, write, "written");
    let flush = after(&seen, written, "flush");
    assert_eq!(seen[flush]["seq"], seen[written]["seq"], "COMMIT waits for the file's last change");
    let flushed = after(&seen, flush, "flushed");
    let sealed = after(&seen, flushed, "segment sealed");
    let segment = &seen[sealed]["segment"];
    assert!(seen[sealed]["bytes"].as_u64().unwrap() > 300_000);
    let provisioned = seen
        .iter()
        .position(|e| e["event"] == "segment provisioned" && e["segment"] == *segment)
        .expect("the sealed segment was provisioned");
    assert!(provisioned < created, "the record of the creation went into it");
    let put = after(&seen, sealed, "put");
    let stored = after(&seen, put, "segment stored");
    assert_eq!(&seen[stored]["segment"], segment);
    let inode = &seen[created]["inode"];
    for at in [write, written, flush, flushed] {
        assert_eq!(&seen[at]["inode"], inode);
    }
    let times: Vec<f64> = seen.iter().map(|e| e["at"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn what_nobody_flushes_the_timer_does() {
    let work = tempfile::tempdir().unwrap();
    let trace = work.path().join("trace.json");
    let mut setup = Setup::exporting(&["/ 127.0.0.0/8(rw,async,no_root_squash)"]);
    setup.args = ["--flush-interval", "300ms", "--trace", trace.to_str().unwrap()]
        .map(ToString::to_string)
        .to_vec();
    let server = Esker::start(work.path(), &setup).unwrap();
    let root = server.mount("/").unwrap();
    let begin = events(&trace).len();
    server.root_client().unwrap().create(&root, "f", 0o644).unwrap();
    let stored = until(PATIENCE, || {
        let seen = events(&trace);
        let created = after(&seen, begin, "created");
        let timer = seen.iter().skip(created).find(|e| e["event"] == "timer flush")?;
        let of_it = |e: &&Value| e["segment"] == timer["segment"];
        let stored = seen.iter().filter(of_it).any(|e| e["event"] == "segment stored");
        stored.then_some(())
    });
    assert!(stored.is_some(), "{:#?}", events(&trace));
}
