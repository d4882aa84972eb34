//! How long a start takes after kill -9: it must grow with the log since the last checkpoint, not with
//! the volume.
//!
//! The storeys are used in this process, without background checkpoints, so that the log is as long as
//! it is meant to be; its end is a drop in mid-air, which leaves on disk what a kill leaves. What was
//! written is still in the page cache.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use fs::{Caller, Context, CreateHow, FileId, SetAttributes, SyncMode, Volume};
use headhunter::{Index, IndexConfig};
use logseg::{LogConfig, Recovery, VolumeHeader};
use swiftclient::{
    Directory,
    disk::{Disk, os::OsDisk},
    seam::Env,
};
use tokio::runtime::Handle;

use super::{median, report::Fact};
use crate::load::{LoadError, now};

/// Starts timed for each length of the log; the median counts.
const STARTS: usize = 3;
/// Bytes of a write, and between two syncs.
const WRITE_BYTES: u64 = 1 << 20;
const SYNC_BYTES: u64 = 16 << 20;
/// Files of a directory, and between two checkpoints.
const DIRECTORY: u64 = 1_000;
const BATCH: u64 = 50_000;

fn failed(e: impl std::fmt::Debug) -> LoadError {
    LoadError::Wrong(format!("recovery: {e:?}"))
}

struct Open {
    index: Index,
    volume: Volume,
    took: Duration,
}

async fn open(dir: &Path, pool: &Handle, memory: u64) -> Result<Open, LoadError> {
    let began = now();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let env = Env::real();
    let store = Directory::create(disk.clone(), dir, &env).map_err(failed)?;
    let log = LogConfig {
        store: Arc::new(store),
        disk,
        env,
        journal: Some(dir.join("journal")),
        pool: pool.clone(),
        cache_bytes: 64 << 20,
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
        uuid: *b"benchmark volume",
        segment_bytes: logseg::SEGMENT_BYTES,
        fencing: true,
        name_secret: [1; 16],
        handle_key: [2; 32],
        wrapped_key: None,
    };
    if Recovery::volume(&log).await.map_err(failed)?.is_none() {
        Recovery::format(&log, &header).await.map_err(failed)?;
    }
    let config = IndexConfig { background: false, ..IndexConfig::new(log, header, memory) };
    let index = Index::open(config).await.map_err(failed)?;
    let volume = Volume::open(index.clone(), (0, 0)).await.map_err(failed)?;
    Ok(Open { index, volume, took: now() - began })
}

fn cx() -> Context {
    let caller = Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: true };
    Context { caller, request: None }
}

async fn create(volume: &Volume, dir: FileId, name: &str) -> Result<FileId, LoadError> {
    let how = CreateHow::Unchecked(SetAttributes { mode: Some(0o644), ..Default::default() });
    let made = volume.create(&cx(), dir, name.as_bytes(), how).await.map_err(failed)?;
    Ok(made.object.id)
}

/// A volume of `files` empty files, all of them in a checkpoint.
async fn make_files(open: &Open, files: u64) -> Result<(), LoadError> {
    let mut dir = open.volume.root();
    for n in 0..files {
        if n % DIRECTORY == 0 {
            let set = SetAttributes { mode: Some(0o755), ..Default::default() };
            let name = format!("dir-{n}");
            let made = open.volume.mkdir(&cx(), open.volume.root(), name.as_bytes(), set).await;
            dir = made.map_err(failed)?.object.id;
        }
        create(&open.volume, dir, &format!("file-{n}")).await?;
        if n % BATCH == BATCH - 1 {
            open.index.checkpoint_now().await.map_err(failed)?;
        }
    }
    open.index.checkpoint_now().await.map_err(failed)
}

/// A log of `bytes` of file data behind the last checkpoint, in writes of 1 MiB.
async fn make_log(open: &Open, bytes: u64) -> Result<(), LoadError> {
    let name = format!("log-{}", open.index.last_seq().0);
    let id = create(&open.volume, open.volume.root(), &name).await?;
    let data = Bytes::from(vec![0x5a; usize::try_from(WRITE_BYTES).unwrap_or(0)]);
    let mut at = 0;
    while at < bytes {
        open.volume.write(&cx(), id, at, data.clone()).await.map_err(failed)?;
        at += WRITE_BYTES;
        if at % SYNC_BYTES == 0 {
            sync(open).await?;
        }
    }
    sync(open).await
}

/// A log of `records` of small changes.
async fn make_records(open: &Open, records: u64) -> Result<(), LoadError> {
    let set = SetAttributes { mode: Some(0o755), ..Default::default() };
    let name = format!("records-{}", open.index.last_seq().0);
    let made = open.volume.mkdir(&cx(), open.volume.root(), name.as_bytes(), set).await;
    let dir = made.map_err(failed)?.object.id;
    for n in 0..records {
        create(&open.volume, dir, &format!("file-{n}")).await?;
        if n % 1_000 == 0 {
            sync(open).await?;
        }
    }
    sync(open).await
}

async fn sync(open: &Open) -> Result<(), LoadError> {
    open.volume.sync(open.index.last_seq(), SyncMode::Inline).await.map_err(failed)
}

/// Medians of the times to open after each kind of log in one volume. Each start begins a new epoch
/// and makes no checkpoint, so the log stays.
async fn starts(dir: &Path, pool: &Handle, memory: u64) -> Result<f64, LoadError> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(open(dir, pool, memory).await?.took.as_secs_f64());
    }
    Ok(median(times))
}

/// Recovery with `log` bytes of data, and with half of them, on an empty volume and on one of `files`
/// files; and with two numbers of small records.
///
/// Errors: a storey failed.
pub fn recovery(work: &Path, files: u64, log: u64) -> Result<Vec<Fact>, LoadError> {
    let pool =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut facts = Vec::new();
    let memory = 256 << 20;
    for files in [0, files] {
        let dir = work.join(format!("volume-{files}"));
        let halves = runtime.block_on(async {
            let first = open(&dir, pool.handle(), memory).await?;
            make_files(&first, files).await?;
            drop(first);
            let none = starts(&dir, pool.handle(), memory).await?;
            let one = open(&dir, pool.handle(), memory).await?;
            make_log(&one, log / 2).await?;
            drop(one);
            let half = starts(&dir, pool.handle(), memory).await?;
            let two = open(&dir, pool.handle(), memory).await?;
            make_log(&two, log / 2).await?;
            drop(two);
            let whole = starts(&dir, pool.handle(), memory).await?;
            // Small records, after a checkpoint that takes the data out of the log.
            let three = open(&dir, pool.handle(), memory).await?;
            three.index.checkpoint_now().await.map_err(failed)?;
            make_records(&three, RECORDS / 2).await?;
            drop(three);
            let few = starts(&dir, pool.handle(), memory).await?;
            let four = open(&dir, pool.handle(), memory).await?;
            make_records(&four, RECORDS / 2).await?;
            drop(four);
            let many = starts(&dir, pool.handle(), memory).await?;
            Ok::<_, LoadError>((none, half, whole, few, many))
        })?;
        let (none, half, whole, few, many) = halves;
        let fact = |what: String, short: f64, long: f64| {
            let ratio = (long - none).max(0.0) / (short - none).max(1e-9);
            Fact {
                name: format!("start after a kill, {files} files, {what}"),
                value: format!(
                    "{short:.2} s, {long:.2} s: ratio {ratio:.2} ({none:.3} s without a log)"
                ),
                wanted: "ratio 2".into(),
                met: (1.4..=2.6).contains(&ratio),
            }
        };
        let mib = log >> 20;
        facts.push(fact(format!("{} and {mib} MiB of log", mib / 2), half, whole));
        facts.push(fact(format!("{} and {RECORDS} small records", RECORDS / 2), few, many));
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(facts)
}

/// Small records in the longer log.
const RECORDS: u64 = 200_000;
