//! Group commit: 1, 8 and 32 waiters, each 4 KiB commit + sync, beside a bare append + fdatasync to
//! a growing file in the same seconds.
//!
//! `cargo run --release -p logseg --example group_commit [DIRECTORY] [SECONDS]`

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a program for people, with a real clock

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use logseg::{
    Codec, Frame, Log, LogConfig, LogWriter, Owner, Recovery, Sealed, Start, SyncMode, VolumeHeader,
};
use swiftclient::{
    Directory,
    disk::{Disk, OsDisk},
    seam::Env,
};

const PAYLOAD: usize = 4 << 10;

async fn open(root: &Path, pool: tokio::runtime::Handle) -> (Log, LogWriter) {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let env = Env::real();
    let store = Directory::create(disk.clone(), root, &env).unwrap();
    let config = LogConfig {
        store: Arc::new(store),
        disk,
        env,
        journal: Some(root.join("journal")),
        pool,
        cache_bytes: 16 << 20,
        unsynced_bytes: 64 << 20,
        holder: "benchmark".into(),
        take_over: false,
        abandon_journal: false,
        key: None,
        inline_only: false,
        destage: logseg::DestageConfig::default(),
        disk_cache: None,
    };
    let header = VolumeHeader {
        uuid: [1; 16],
        segment_bytes: 16 << 20,
        fencing: true,
        name_secret: [0; 16],
        handle_key: [0; 32],
        wrapped_key: None,
    };
    Recovery::format(&config, &header).await.unwrap();
    let mut recovery = Recovery::begin(config, header, Start::NEW).await.unwrap();
    while recovery.next().await.unwrap().is_some() {}
    match recovery.seal().await.unwrap() {
        Sealed::Open(both) => *both,
        Sealed::More(_) => unreachable!("nobody else writes"),
    }
}

/// Syncs per second and the sorted latencies of `waiters` tasks on one current-thread runtime.
fn group(root: &Path, waiters: u64, time: Duration) -> (f64, Vec<Duration>, f64) {
    let pool = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let pool = pool.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (log, writer) = open(root, pool.handle().clone()).await;
        let writer = Rc::new(RefCell::new(writer));
        let latencies = Rc::new(RefCell::new(Vec::new()));
        let busy = Rc::new(Cell::new(0_u64));
        let begin = Instant::now();
        let mut tasks = Vec::new();
        for w in 0..waiters {
            let (log, writer) = (log.clone(), writer.clone());
            let (latencies, busy) = (latencies.clone(), busy.clone());
            tasks.push(tokio::task::spawn_local(async move {
                let payload = Bytes::from(vec![7; PAYLOAD]);
                while begin.elapsed() < time {
                    let start = Instant::now();
                    log.admit(PAYLOAD as u64).await.unwrap();
                    let frame = Frame::data(Owner(w), payload.clone(), Codec::Stored);
                    let seq = {
                        let mut writer = writer.borrow_mut();
                        writer.begin().unwrap();
                        writer.stage(&frame);
                        writer.commit(&[7; 100])
                    };
                    busy.set(busy.get() + 1);
                    // The rule of the server: inline where nobody else has work.
                    let mode = if waiters == 1 { SyncMode::Inline } else { SyncMode::Queued };
                    log.sync(seq, mode).await.unwrap();
                    latencies.borrow_mut().push(start.elapsed());
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let took = begin.elapsed().as_secs_f64();
        let mut all = latencies.take();
        all.sort();
        let status = log.status();
        let per_group = all.len() as f64 / status.groups.max(1) as f64;
        (all.len() as f64 / took, all, per_group)
    })
}

/// A bare growing file: append + fdatasync.
fn bare(path: &Path, time: Duration) -> (f64, Vec<Duration>) {
    let file = OsDisk.create_new(path).unwrap();
    let payload = vec![7; PAYLOAD];
    let (begin, mut at, mut all) = (Instant::now(), 0, Vec::new());
    while begin.elapsed() < time {
        let start = Instant::now();
        file.write_at(at, &[&payload]).unwrap();
        file.sync_data().unwrap();
        at += PAYLOAD as u64;
        all.push(start.elapsed());
    }
    let rate = all.len() as f64 / begin.elapsed().as_secs_f64();
    OsDisk.unlink(path).unwrap();
    all.sort();
    (rate, all)
}

fn percentile(sorted: &[Duration], p: usize) -> u128 {
    sorted.get(sorted.len() * p / 100).map_or(0, Duration::as_micros)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(1.0);
    let time = Duration::from_secs_f64(seconds);
    println!("round  what          per second   p50 µs   p99 µs  records/group");
    for round in 0..3 {
        let dir = tempfile::tempdir_in(&base).unwrap();
        let (rate, all) = bare(&dir.path().join("bare"), time);
        let (p50, p99) = (percentile(&all, 50), percentile(&all, 99));
        println!("{round:5}  bare append   {rate:10.0} {p50:8} {p99:8}");
        for waiters in [1, 8, 32] {
            let root = dir.path().join(format!("volume-{waiters}"));
            let (rate, all, per_group) = group(&root, waiters, time);
            let (p50, p99) = (percentile(&all, 50), percentile(&all, 99));
            println!(
                "{round:5}  {waiters:2} waiters    {rate:10.0} {p50:8} {p99:8} {per_group:10.1}"
            );
        }
    }
}
