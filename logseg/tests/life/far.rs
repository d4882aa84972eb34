//! A store that is no directory: bytes travel to it, at a rate, one object at a time or as streams.

#![allow(clippy::expect_used, clippy::cast_possible_truncation)]

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use logseg::{LogConfig, LogError};
use parking_lot::Mutex;
use swiftclient::{
    Memory, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError, StoreFuture,
    disk::{Disk, SimDisk},
    seam::Env,
};

use crate::crash::simulated;

/// What was asked, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Put(String),
    PutFile(String),
    Opened(String),
    Bytes(String, u64),
    Finished(String),
    Other,
}

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    /// When the line is free again.
    line: Option<tokio::time::Instant>,
    /// Bytes per second; `None`: no limit.
    rate: Option<u64>,
    streams: bool,
    attests: bool,
    /// Segments are counted and thrown away.
    forgets: bool,
    /// A request takes at least this.
    latency: Duration,
    /// Requests under way, and the most.
    busy: (usize, usize),
    /// Streams break at this byte.
    breaks_at: Option<u64>,
}

#[derive(Clone)]
pub struct Far {
    pub objects: Memory,
    inner: Arc<Mutex<Inner>>,
}

impl Far {
    pub fn new(disk: &SimDisk) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Self { objects: Memory::new().on_disk(disk), inner: Arc::default() }
    }

    /// The same store for another process.
    pub fn beside(&self, disk: &SimDisk) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Self { objects: self.objects.clone().on_disk(disk), inner: self.inner.clone() }
    }

    pub fn streaming(self) -> Self {
        self.inner.lock().streams = true;
        self
    }

    pub fn attesting(self) -> Self {
        self.inner.lock().attests = true;
        self
    }

    pub fn forgetting(self) -> Self {
        self.inner.lock().forgets = true;
        self
    }

    pub fn latency(self, latency: Duration) -> Self {
        self.inner.lock().latency = latency;
        self
    }

    pub fn set_rate(&self, rate: Option<u64>) {
        self.inner.lock().rate = rate;
    }

    pub fn break_streams_at(&self, byte: Option<u64>) {
        self.inner.lock().breaks_at = byte;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.lock().seen.clone()
    }

    pub fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.seen.clear();
        inner.busy.1 = 0;
    }

    pub fn most_busy(&self) -> usize {
        self.inner.lock().busy.1
    }

    /// Puts of segments of the chain, whole or streamed.
    pub fn segments_put(&self) -> usize {
        let segment = |name: &String| name.starts_with("seg/");
        let put = |seen: &&Seen| match seen {
            Seen::Put(name) | Seen::PutFile(name) | Seen::Finished(name) => segment(name),
            _ => false,
        };
        self.inner.lock().seen.iter().filter(put).count()
    }

    fn note(&self, seen: Seen) {
        self.inner.lock().seen.push(seen);
    }

    /// The bytes go over one line that all share, in pieces.
    async fn carry(&self, len: u64) {
        let latency = {
            let mut inner = self.inner.lock();
            inner.busy.0 += 1;
            inner.busy.1 = inner.busy.1.max(inner.busy.0);
            inner.latency
        };
        tokio::time::sleep(latency).await;
        let mut left = len;
        while left > 0 {
            let piece = left.min(64 << 10);
            left -= piece;
            let free = {
                let mut inner = self.inner.lock();
                let Some(rate) = inner.rate else { break };
                let now = tokio::time::Instant::now();
                let begin = inner.line.map_or(now, |line| line.max(now));
                let free = begin + Duration::from_secs_f64(piece as f64 / rate as f64);
                inner.line = Some(free);
                free
            };
            tokio::time::sleep_until(free).await;
        }
        self.inner.lock().busy.0 -= 1;
    }

    fn forgets(&self, name: &ObjectName) -> bool {
        self.inner.lock().forgets && name.as_str().starts_with("seg/00000002")
    }
}

/// A volume on that store, its journal on the simulated disk.
pub fn far(disk: &SimDisk, store: &Far, env: &Env) -> Result<LogConfig, LogError> {
    let mut config = simulated(disk, env)?;
    config.store = Arc::new(store.clone());
    Ok(config)
}

impl ObjectStore for Far {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.note(Seen::Put(name.to_string()));
            self.carry(body.iter().map(|b| b.len() as u64).sum()).await;
            if self.forgets(name) {
                return Ok(());
            }
            self.objects.put_new(name, body).await
        })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            self.note(Seen::Opened(name.to_string()));
            let inner = self.objects.put_stream(name).await?;
            let (store, name) = (self.clone(), name.clone());
            Ok(Box::new(Writer { inner, store, name, sent: 0 }) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.note(Seen::PutFile(name.to_string()));
            self.carry(len).await;
            if self.forgets(name) {
                return Ok(());
            }
            self.objects.put_file(name, file, len).await
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        self.note(Seen::Other);
        self.objects.get(name, range)
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        self.note(Seen::Other);
        self.objects.head(name)
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        self.note(Seen::Other);
        self.objects.list(prefix, after, limit)
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        self.note(Seen::Other);
        self.objects.delete_many(names)
    }

    fn streams(&self) -> bool {
        self.inner.lock().streams
    }

    fn attests(&self) -> bool {
        self.inner.lock().attests
    }

    fn class(&self) -> StoreClass {
        StoreClass::Fencing
    }
}

struct Writer {
    inner: Box<dyn ObjectWriter>,
    store: Far,
    name: ObjectName,
    sent: u64,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.sent += piece.len() as u64;
            let breaks = self.store.inner.lock().breaks_at.is_some_and(|at| self.sent > at);
            if breaks {
                let what = format!("write {}", self.name);
                let reason = "the connection broke".to_owned();
                return Err(StoreError::Unavailable { what, reason, retry_after: None });
            }
            self.store.carry(piece.len() as u64).await;
            self.store.note(Seen::Bytes(self.name.to_string(), self.sent));
            self.inner.write(piece).await
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move {
            self.store.carry(0).await;
            self.store.note(Seen::Finished(self.name.to_string()));
            self.inner.finish().await
        })
    }
}
