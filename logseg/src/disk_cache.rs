//! A cache on a local disk: stored entries of segments, encoded as in the store, so that what is
//! encrypted there is encrypted here.
//!
//! ```text
//!   get ──► shelf (in memory: which entry lies where) ──► slab file ──► record checked ──► entry
//!   offer ─► queue (bounded) ─► writer, on the pool ─► newest slab … oldest slab ─► evicted
//!   open ──► names and lengths of the slabs; their records are read one by one in the background
//! ```
//!
//! Slabs are append-only files. A full one is followed by another, and the oldest makes room; what
//! was asked for since it was written moves on (a clock whose hand is the oldest slab). Nothing is
//! ever synced: a record that the machine lost or tore fails its checksum, and that is a miss.
//!
//! It must never know what is in an entry, and nothing else may live in its directory.
//!
//! 1. A record is given only if it is whole and its own header names volume, segment, offset,
//!    length and slab that were asked for (docs/format.md §2.11).
//! 2. No failure of its disk reaches a reader: it is a miss, the record or slab is dropped.
//! 3. A reader never waits for a write. What does not fit into the queue is not kept.
//! 4. Files, queue and shelf have limits; the files' total never passes the operator's number.
//! 5. One server per directory: another finds it locked and works without.

mod record;
mod scan;
mod shelf;
mod writer;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use swiftclient::{
    disk::{Disk, DiskFile},
    seam::Env,
};
use tokio::{runtime::Handle, sync::Notify};

use self::{
    record::{RECORD_HEADER, RecordHeader},
    shelf::Shelf,
};
use crate::{
    DiskCacheConfig, Location, LogConfig, SegmentId,
    limits::{
        DISK_CACHE_ENTRY_MEMORY, DISK_CACHE_LEAST_BYTES, DISK_CACHE_QUEUE_BYTES,
        DISK_CACHE_QUEUE_LEAST_BYTES, DISK_CACHE_SLAB_LEAST_BYTES, DISK_CACHE_SLAB_MOST_BYTES,
        DISK_CACHE_SLABS,
    },
};

/// What a disk cache holds and has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskCacheStatus {
    /// Bytes of its files.
    pub bytes: u64,
    /// Most bytes of its files.
    pub limit: u64,
    /// Entries that can be found.
    pub entries: u64,
    /// Entries given.
    pub hits: u64,
    /// Entries asked for and not there.
    pub misses: u64,
    /// Entries written.
    pub written: u64,
    /// Entries not kept because too much waited to be written.
    pub dropped: u64,
    /// Records found rotten, torn or not the ones they should be.
    pub rotten: u64,
    /// Operations that its disk failed.
    pub failures: u64,
    /// Slabs removed to make room.
    pub evicted: u64,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    rotten: AtomicU64,
    failures: AtomicU64,
    evicted: AtomicU64,
}

/// What waits to be written.
#[derive(Default)]
struct Queue {
    entries: VecDeque<(Location, Bytes)>,
    bytes: usize,
}

struct Inner {
    disk: Arc<dyn Disk>,
    env: Env,
    dir: PathBuf,
    volume: [u8; 16],
    /// Most bytes of all files, and of one slab.
    limit: u64,
    slab_limit: u64,
    /// Most bytes that wait to be written.
    queue_limit: usize,
    shelf: Mutex<Shelf>,
    queue: Mutex<Queue>,
    counts: Counts,
    /// Held as long as we live.
    _lock: Arc<dyn DiskFile>,
}

/// The cache. Clones share it; with the last one its tasks end and its lock goes.
#[derive(Clone)]
pub(crate) struct DiskCache {
    inner: Arc<Inner>,
    wake: Arc<Wake>,
}

/// Rings when something waits to be written, and when the last handle goes.
struct Wake(Arc<Notify>);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl DiskCache {
    /// Opens the cache of `volume`; `memory` limits its shelf and
    /// its queue together, bytes. `None`, and a line in the
    /// log, where it cannot be used: a server works without a cache.
    pub(crate) fn open(
        config: &DiskCacheConfig,
        disk: Arc<dyn Disk>,
        env: Env,
        pool: &Handle,
        volume: [u8; 16],
        memory: u64,
    ) -> Option<Self> {
        let dir = config.dir.clone();
        match Inner::open(config, disk, env, volume, memory) {
            Ok(inner) => Some(Self::start(Arc::new(inner), pool)),
            Err(why) => {
                tracing::warn!(dir = %dir.display(), "the disk cache is not used: {why}");
                None
            }
        }
    }

    fn start(inner: Arc<Inner>, pool: &Handle) -> Self {
        let notify = Arc::new(Notify::new());
        let slabs = inner.shelf.lock().numbers();
        pool.spawn(scan::scan(Arc::downgrade(&inner), slabs));
        pool.spawn(write_on(Arc::downgrade(&inner), notify.clone()));
        Self { inner, wake: Arc::new(Wake(notify)) }
    }

    /// The entry at `location` as stored: `location.stored` bytes. Reads the disk.
    pub(crate) fn get(&self, location: &Location) -> Option<Bytes> {
        let inner = &*self.inner;
        let Some((slab, file, at)) = inner.shelf.lock().find(location) else {
            inner.counts.misses.fetch_add(1, Relaxed);
            return None;
        };
        let entry = inner.read(&*file, slab, at, location);
        match &entry {
            Some(_) => inner.counts.hits.fetch_add(1, Relaxed),
            None => {
                inner.shelf.lock().remove(location, Some(slab));
                inner.counts.misses.fetch_add(1, Relaxed)
            }
        };
        entry
    }

    /// Keeps an entry as stored, if there is room in the queue: written later.
    pub(crate) fn offer(&self, location: &Location, entry: &Bytes) {
        let inner = &*self.inner;
        if entry.len() != location.stored as usize || inner.shelf.lock().holds(location) {
            return;
        }
        let mut queue = inner.queue.lock();
        if queue.bytes + entry.len() > inner.queue_limit {
            inner.counts.dropped.fetch_add(1, Relaxed);
            return;
        }
        queue.bytes += entry.len();
        queue.entries.push_back((*location, entry.clone()));
        drop(queue);
        self.wake.0.notify_one();
    }

    /// The entry given was not what its reader needed.
    pub(crate) fn reject(&self, location: &Location) {
        if self.inner.shelf.lock().remove(location, None) {
            self.inner.counts.rotten.fetch_add(1, Relaxed);
        }
    }

    /// Drops what is kept of deleted segments; their bytes go with their slabs.
    pub(crate) fn forget(&self, segments: &[SegmentId]) {
        let mut shelf = self.inner.shelf.lock();
        segments.iter().for_each(|segment| shelf.forget(*segment));
    }

    /// Figures.
    pub(crate) fn status(&self) -> DiskCacheStatus {
        let inner = &*self.inner;
        let (bytes, entries) = {
            let shelf = inner.shelf.lock();
            (shelf.bytes(), shelf.entries() as u64)
        };
        let counts = &inner.counts;
        DiskCacheStatus {
            bytes,
            limit: inner.limit,
            entries,
            hits: counts.hits.load(Relaxed),
            misses: counts.misses.load(Relaxed),
            written: counts.written.load(Relaxed),
            dropped: counts.dropped.load(Relaxed),
            rotten: counts.rotten.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            evicted: counts.evicted.load(Relaxed),
        }
    }
}

impl LogConfig {
    /// What a disk cache takes of the frames' share of memory, bytes: half for its shelf, half for
    /// its queue.
    pub(crate) fn disk_cache_memory(&self) -> u64 {
        self.cache_bytes / 8
    }

    /// The cache that is configured, if it can be used.
    pub(crate) fn open_disk_cache(&self, volume: [u8; 16]) -> Option<DiskCache> {
        let config = self.disk_cache.as_ref()?;
        let (disk, env) = (self.disk.clone(), self.env.clone());
        DiskCache::open(config, disk, env, &self.pool, volume, self.disk_cache_memory())
    }
}

/// Writes what is offered, until the last handle is gone.
async fn write_on(inner: Weak<Inner>, notify: Arc<Notify>) {
    let mut writer = writer::Writer::default();
    loop {
        let Some(alive) = inner.upgrade() else { return };
        let next = {
            let mut queue = alive.queue.lock();
            let next = queue.entries.pop_front();
            if let Some((_, entry)) = &next {
                queue.bytes -= entry.len();
            }
            next
        };
        match next {
            Some((location, entry)) => {
                writer.write(&alive, &location, &entry);
                drop(alive);
                // The pool is shared: one write at a time.
                tokio::task::yield_now().await;
            }
            None => {
                drop(alive);
                notify.notified().await;
            }
        }
    }
}

impl Inner {
    fn open(
        config: &DiskCacheConfig,
        disk: Arc<dyn Disk>,
        env: Env,
        volume: [u8; 16],
        memory: u64,
    ) -> Result<Self, String> {
        if config.bytes < DISK_CACHE_LEAST_BYTES {
            let (have, least) = (config.bytes, DISK_CACHE_LEAST_BYTES);
            return Err(format!("{have} bytes are too few: at least {least}"));
        }
        let dir = config.dir.clone();
        let failed = |what: &str, e: std::io::Error| format!("{what}: {e}");
        disk.create_dir_all(&dir).map_err(|e| failed("make the directory", e))?;
        let lock = dir.join("lock");
        let lock = match disk.open(&lock) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => disk.create_new(&lock),
            other => other,
        };
        let lock = lock.map_err(|e| failed("open its lock", e))?;
        if !lock.try_lock().map_err(|e| failed("lock it", e))? {
            return Err("another server uses it".to_owned());
        }
        let half = memory / 2;
        let most = usize::try_from(half / DISK_CACHE_ENTRY_MEMORY).unwrap_or(usize::MAX);
        let queue_limit = usize::try_from(half).unwrap_or(usize::MAX);
        let inner = Self {
            slab_limit: (config.bytes / DISK_CACHE_SLABS)
                .clamp(DISK_CACHE_SLAB_LEAST_BYTES, DISK_CACHE_SLAB_MOST_BYTES),
            limit: config.bytes,
            queue_limit: queue_limit.clamp(DISK_CACHE_QUEUE_LEAST_BYTES, DISK_CACHE_QUEUE_BYTES),
            disk,
            env,
            dir,
            volume,
            shelf: Mutex::new(Shelf::new(most)),
            queue: Mutex::default(),
            counts: Counts::default(),
            _lock: lock,
        };
        inner.find_slabs()?;
        Ok(inner)
    }

    /// Files of an earlier life: newest first as far as they fit, the others go.
    fn find_slabs(&self) -> Result<(), String> {
        let names = self.disk.list(&self.dir).map_err(|e| format!("list it: {e}"))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| slab_number(name)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let mut shelf = self.shelf.lock();
        for number in numbers {
            let path = self.slab_path(number);
            let opened = self.disk.open(&path).and_then(|file| Ok((file.len()?, file)));
            match opened {
                Ok((len, file)) if shelf.bytes() + len <= self.limit => {
                    shelf.add_slab(number, file, len);
                }
                Ok(_) => self.unlink(number),
                Err(_) => {
                    self.counts.failures.fetch_add(1, Relaxed);
                    self.unlink(number);
                }
            }
        }
        Ok(())
    }

    fn slab_path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:016x}.slab"))
    }

    fn unlink(&self, number: u64) {
        if self.disk.unlink(&self.slab_path(number)).is_err() {
            self.counts.failures.fetch_add(1, Relaxed);
        }
    }

    /// The entry of the record at `at` of a slab, if that is the one at `location` and whole.
    fn read(&self, file: &dyn DiskFile, slab: u64, at: u64, location: &Location) -> Option<Bytes> {
        let mut bytes = vec![0; RECORD_HEADER + location.stored as usize];
        let got = file.read_at(at, &mut bytes).unwrap_or_else(|_| {
            self.counts.failures.fetch_add(1, Relaxed);
            0
        });
        let held = RecordHeader::decode(&bytes[..got.min(RECORD_HEADER)])
            .filter(|h| h.volume == self.volume && h.slab == slab && h.location == *location)
            .filter(|h| got == bytes.len() && h.holds(&bytes[RECORD_HEADER..]));
        if held.is_none() {
            self.counts.rotten.fetch_add(1, Relaxed);
            return None;
        }
        Some(Bytes::from(bytes).slice(RECORD_HEADER..))
    }
}

/// `NNNNNNNNNNNNNNNN.slab`; any other name is not ours, and never touched.
fn slab_number(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_suffix(".slab")?;
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (digits.len() == 16 && digits.bytes().all(lower))
        .then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
pub(crate) mod tests;
