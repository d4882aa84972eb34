//! Writers without a limit of their own before a store of 20 MB/s, on the machine's disk and clock:
//! how the dirty level and the time of a write go.
//!
//! `cargo run --release --example paced -- [SECONDS [BUDGET_MIB [WRITERS [WRITE_KIB]]]]`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use logseg::{
    Codec, DestageConfig, Frame, LogConfig, Owner, Recovery, SEGMENT_BYTES, Sealed, Start,
    VolumeHeader,
};
use swiftclient::{
    Memory, ObjectName, ObjectStore, StoreClass, StoreFuture, disk::OsDisk, seam::Env,
};
use tokio::time::Instant;

const RATE: f64 = 20e6;

/// One line of 20 MB/s that all requests share; segments are thrown away.
struct Slow {
    small: Memory,
    line: Mutex<Instant>,
}

impl Slow {
    async fn carry(&self, len: u64) {
        let mut left = len;
        while left > 0 {
            let piece = left.min(64 << 10);
            left -= piece;
            let free = {
                let mut line = self.line.lock().unwrap();
                *line = (*line).max(Instant::now()) + Duration::from_secs_f64(piece as f64 / RATE);
                *line
            };
            tokio::time::sleep_until(free).await;
        }
    }
}

impl ObjectStore for Slow {
    fn put_file<'a>(&'a self, _: &'a ObjectName, _: &'a Path, len: u64) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.carry(len).await;
            Ok(())
        })
    }
    fn attests(&self) -> bool {
        true
    }
    fn class(&self) -> StoreClass {
        StoreClass::Fencing
    }

    swiftclient::forward!((small): put_new, put_stream, get, head, list, delete_many);
}

fn argument(n: usize, or: u64) -> u64 {
    std::env::args().nth(n).map_or(or, |a| a.parse().expect("a number"))
}

async fn opened(dir: &Path, budget: u64) -> (logseg::Log, logseg::LogWriter) {
    let store = Slow { small: Memory::new(), line: Mutex::new(Instant::now()) };
    let config = LogConfig {
        store: Arc::new(store),
        disk: Arc::new(OsDisk),
        env: Env::real(),
        journal: Some(dir.join("journal")),
        pool: tokio::runtime::Handle::current(),
        cache_bytes: 64 << 20,
        unsynced_bytes: 64 << 20,
        holder: "example".into(),
        take_over: false,
        abandon_journal: false,
        key: None,
        inline_only: false,
        destage: DestageConfig { budget_bytes: budget, ..DestageConfig::default() },
        disk_cache: None,
    };
    let header = VolumeHeader {
        uuid: [7; 16],
        segment_bytes: SEGMENT_BYTES,
        fencing: true,
        name_secret: [1; 16],
        handle_key: [2; 32],
        wrapped_key: None,
    };
    Recovery::format(&config, &header).await.expect("format");
    let mut recovery = Recovery::begin(config, header, Start::NEW).await.expect("begin");
    while recovery.next().await.expect("replay").is_some() {}
    match recovery.seal().await.expect("seal") {
        Sealed::Open(both) => *both,
        Sealed::More(_) => panic!("nothing stood there"),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (seconds, budget) = (argument(1, 60), argument(2, 1024) << 20);
    let (writers, len) = (argument(3, 8), argument(4, 64) << 10);
    let dir = tempfile::tempdir().expect("a directory");
    let (log, writer) = opened(dir.path(), budget).await;
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    let begun = Instant::now();
    let over = begun + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for w in 0..writers {
        let (log, writer) = (log.clone(), writer.clone());
        let body = Bytes::from(vec![7; usize::try_from(len).expect("small")]);
        tasks.push(tokio::spawn(async move {
            let mut writes = Vec::new();
            while Instant::now() < over {
                let from = Instant::now();
                log.admit(len).await.expect("admitted");
                let mut writer = writer.lock().await;
                writer.begin().expect("begin");
                writer.stage(&Frame::data(Owner(w), body.clone(), Codec::Stored));
                writer.commit(b"record");
                drop(writer);
                writes.push(((from - begun).as_secs_f64(), from.elapsed().as_secs_f64()));
            }
            writes
        }));
    }
    let mut levels = Vec::new();
    while Instant::now() < over {
        tokio::time::sleep(Duration::from_millis(100)).await;
        levels.push(100.0 * log.status().destage.dirty_bytes as f64 / budget as f64);
    }
    let mut writes = Vec::new();
    for task in tasks {
        writes.extend(task.await.expect("a writer"));
    }
    println!("second   level, %: least  mean  most   write, ms: median    p99");
    let per = 50;
    for (n, window) in levels.chunks(per).enumerate() {
        let from = (n * 5) as f64;
        let within = |at: &&(f64, f64)| at.0 >= from && at.0 < from + 5.0;
        let mut took: Vec<f64> = writes.iter().filter(within).map(|w| w.1 * 1e3).collect();
        took.sort_by(f64::total_cmp);
        let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(0.0);
        let mean = window.iter().sum::<f64>() / window.len() as f64;
        let least = window.iter().copied().fold(f64::MAX, f64::min);
        let most = window.iter().copied().fold(0.0, f64::max);
        println!(
            "{from:6}            {least:6.1} {mean:6.1} {most:6.1}           {:8.2} {:8.2}",
            at(50),
            at(99)
        );
    }
    let late = &levels[levels.len().min(200)..];
    if !late.is_empty() {
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        let square = late.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / late.len() as f64;
        println!("after 20 s: mean {mean:.1} %, standard deviation {:.2} %", square.sqrt());
    }
}
