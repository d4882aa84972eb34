//! Fail the N-th operation of the disk, for N = 0, 1, 2 … until a run passes untouched (every one
//! with ESKER_LONG set, else one in eleven): whatever fails, what was acknowledged is there after the next start, and the volume is whole.
#![allow(clippy::unwrap_used)] // tests

mod pair;

use std::time::Duration;

use bytes::Bytes;
use fs::{Context, CreateHow, Failure, SetAttributes, SyncMode, Volume};
use logseg::LogError;
use pair::{machine::Machine, now};
use swiftclient::disk::plan::Harmed;

fn root() -> Context {
    let caller = fs::Caller { uid: 0, gid: 0, groups: vec![], owner_override: true };
    Context { caller, request: None }
}

fn content(n: usize) -> Vec<u8> {
    vec![u8::try_from(n + 1).unwrap(); 3_000 + n * 1_000]
}

/// A life with some of everything; `synced` counts the files that were acknowledged as durable
/// under their second name. Ends at the first error.
fn life(machine: &Machine, synced: &mut usize) -> Result<(), Failure> {
    let Ok(index) = machine.try_open() else { return Err(fs::FsError::Io.into()) };
    let v = now(Volume::open(index.clone(), (0, 0)))?;
    let cx = root();
    for n in 0..10 {
        let (first, second) = (format!("new-{n}"), format!("file-{n}"));
        let how = CreateHow::Guarded(SetAttributes::default());
        let file = now(v.create(&cx, v.root(), first.as_bytes(), how))?.object.id;
        now(v.write(&cx, file, 0, Bytes::from(content(n))))?;
        let moved = now(v.rename(&cx, v.root(), first.as_bytes(), v.root(), second.as_bytes()))?;
        now(v.sync(moved.seq, SyncMode::Inline))?;
        *synced = n + 1;
        if n % 4 == 3 {
            // The store is asked again and again; nothing above depends on it.
            patiently(index.checkpoint_now())?;
        }
    }
    patiently(index.close())
}

/// What waits for the store waits for ever where the disk is gone: give up like an operator.
fn patiently(work: impl Future<Output = Result<(), LogError>>) -> Result<(), Failure> {
    let limited = now(async { tokio::time::timeout(PATIENCE, work).await });
    if matches!(limited, Ok(Ok(()))) { Ok(()) } else { Err(fs::FsError::Io.into()) }
}

/// Longer than the work takes, far shorter than the store's last retry.
const PATIENCE: Duration = Duration::from_millis(500);

fn countdown(harm: impl Fn(u64) -> Harmed) -> u64 {
    // Every one where time is no matter.
    let stride = if std::env::var_os("ESKER_LONG").is_some() { 1 } else { 11 };
    for n in (0..2_000).step_by(stride) {
        let runtime = pair::use_runtime();
        let mut machine = Machine::new(n, runtime, 256 << 10);
        now(machine.open().close()).unwrap();
        machine.disk.harm(harm(n));
        let mut synced = 0;
        let result = life(&machine, &mut synced);
        let untouched = machine.disk.harmed() == 0;
        if untouched {
            assert!(result.is_ok(), "{result:?}");
        }
        machine.disk.heal();
        machine.disk.crash(&*machine.dice);
        machine.disk = machine.disk.process();
        let v = now(Volume::open(machine.open(), (0, 0))).unwrap();
        assert_eq!(now(v.check()).unwrap().findings, Vec::<String>::new(), "operation {n}");
        for file in 0..synced {
            let name = format!("file-{file}");
            let found = now(v.lookup(&root().caller, v.root(), name.as_bytes()));
            let id = found.unwrap_or_else(|f| panic!("operation {n}: {name}: {f:?}")).0.id;
            let read = now(v.read(&root().caller, id, 0, 1 << 20)).unwrap();
            assert!(read.pieces.concat() == content(file), "operation {n}: {name}");
        }
        // It goes on.
        let cx = root();
        let more = now(v.mkdir(&cx, v.root(), b"more", SetAttributes::default())).unwrap();
        now(v.sync(more.seq, SyncMode::Inline)).unwrap();
        if untouched {
            return n;
        }
    }
    panic!("no run passed untouched");
}

#[test]
fn the_power_goes_off_at_each_operation() {
    assert!(countdown(Harmed::power_off) > 50);
}

#[test]
fn each_operation_fails_once() {
    let eio = |n| Harmed { times: 1, harm: EIO, ..Harmed::power_off(n) };
    assert!(countdown(eio) > 50);
}

const EIO: swiftclient::disk::plan::Harm = swiftclient::disk::plan::Harm::Errno(5);
