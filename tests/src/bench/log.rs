//! The log by itself, in this process: what group commit gives beside a bare append.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use logseg::{
    Codec, Frame, Log, LogConfig, LogError, LogWriter, Owner, Recovery, Sealed, Start, SyncMode,
    VolumeHeader,
};
use swiftclient::seam::Env;
use swiftclient::{
    Directory,
    disk::{Disk, os::OsDisk},
};

use super::alone::bare_append;
use super::median;
use super::report::Fact;
use crate::load::{LoadError, now};

const WAITERS: usize = 32;

fn failed(e: impl std::fmt::Display) -> LoadError {
    LoadError::Wrong(format!("log: {e}"))
}

async fn open(dir: &Path, pool: &tokio::runtime::Handle) -> Result<(Log, LogWriter), LogError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let env = Env::real();
    let store = Directory::create(disk.clone(), dir, &env).map_err(LogError::Store)?;
    let config = LogConfig {
        store: Arc::new(store),
        disk,
        env,
        journal: Some(dir.join("journal")),
        pool: pool.clone(),
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
        uuid: *b"benchmark volume",
        segment_bytes: logseg::SEGMENT_BYTES,
        fencing: true,
        name_secret: [1; 16],
        handle_key: [2; 32],
        wrapped_key: None,
    };
    Recovery::format(&config, &header).await?;
    let mut recovery = Recovery::begin(config, header, Start::NEW).await?;
    loop {
        while recovery.next().await?.is_some() {}
        match recovery.seal().await? {
            Sealed::Open(both) => return Ok(*both),
            Sealed::More(more) => recovery = *more,
        }
    }
}

/// 4 KiB of data and a record, durable, again and again by `waiters` at once; commits a second.
fn rate(
    runtime: &tokio::runtime::Runtime,
    log: &Log,
    writer: &Rc<RefCell<LogWriter>>,
    waiters: usize,
) -> Result<f64, LoadError> {
    let time = Duration::from_secs(1);
    let end = now() + time;
    let done = Rc::new(Cell::new(0u64));
    let mode = if waiters == 1 { SyncMode::Inline } else { SyncMode::Queued };
    let body = Bytes::from(vec![0xa5; 4096]);
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..waiters)
        .map(|_| {
            let (log, writer, done, body) =
                (log.clone(), writer.clone(), done.clone(), body.clone());
            local.spawn_local(async move {
                while now() < end {
                    let frame = Frame::data(Owner(7), body.clone(), Codec::Stored);
                    let seq = {
                        let mut w = writer.borrow_mut();
                        w.begin()?;
                        w.stage(&frame);
                        w.commit(&[1; 120])
                    };
                    log.sync(seq, mode).await?;
                    done.set(done.get() + 1);
                }
                Ok::<(), LogError>(())
            })
        })
        .collect();
    local.block_on(runtime, async {
        for t in tasks {
            t.await.map_err(failed)?.map_err(failed)?;
        }
        Ok::<(), LoadError>(())
    })?;
    Ok(done.get() as f64 / time.as_secs_f64())
}

/// One waiter, 32 waiters and a bare growing append + fdatasync, in the same seconds, five times.
pub fn group_commit(work: &Path) -> Result<Vec<Fact>, LoadError> {
    let pool =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (log, writer) = runtime.block_on(open(work, pool.handle())).map_err(failed)?;
    let writer = Rc::new(RefCell::new(writer));
    let (mut to_one, mut to_bare, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let bare = bare_append(work)?.1;
        let one = rate(&runtime, &log, &writer, 1)?;
        let many = rate(&runtime, &log, &writer, WAITERS)?;
        to_one.push(many / one);
        to_bare.push(many / bare);
        figures.push((bare, one, many));
    }
    let of = |f: &dyn Fn(&(f64, f64, f64)) -> f64| median(figures.iter().map(f).collect());
    let (bare, one, many) = (of(&|f| f.0), of(&|f| f.1), of(&|f| f.2));
    let fact = |name: &str, ratio: f64, base: f64, least: f64| Fact {
        name: format!("the log alone: {WAITERS} waiters to {name}"),
        value: format!("{ratio:.1} ({many:.0} to {base:.0} durable commits/s)"),
        wanted: format!("≥ {least}"),
        met: ratio >= least * 0.95,
    };
    Ok(vec![
        fact("one waiter", median(to_one), one, 8.0),
        fact("a bare growing append + fdatasync", median(to_bare), bare, 10.0),
    ])
}
