//! Reading entries back: memory, cache, journal file, disk cache, store; each byte checked
//! (invariant 5 of the log).
//!
//! ```text
//!   read(locations) ─ in memory? ─ in the cache? ─ in flight? ─┬─ journal file
//!   prefetch ──────────────────────────────────── board ───────┴─ disk cache ─ store (ranged get)
//!                             neighbours travel together, each location once, on the pool
//! ```
//!
//! Bytes only ever move to the right in this picture and the reader asks from left to right, so an
//! entry that moves meanwhile is still found. It must never know what a frame belongs to, nor why
//! it is wanted.
//!
//! 1. Nothing is given whose checksums do not hold. What the store or the disk cache gave and does
//!    not hold is asked of the store again, a few times, before it is believed: wires lie too.
//! 2. One flight per location, however many wait; dropping a reader stops nobody's flight.
//! 3. Bytes in flight are limited, and taken off the cache's share of memory.
//! 4. Read-ahead never fails a read: who joins such a flight and meets its error asks for himself.

mod board;
mod early;
mod fetch;
mod opened;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use swiftclient::{ObjectStore, disk::DiskFile};
use tokio::runtime::Handle;

use self::{
    board::{Board, Booked, Flight, Limits, Wanted},
    early::Early,
    opened::{Lock, cut},
};
use crate::{
    Location, LogError, SegmentId, cache::FrameCache, crypto::VolumeKey, disk_cache::DiskCache,
    disk_cache::DiskCacheStatus, limits::SEEDS_KEPT,
};

/// Where bytes are that are not, or not only, in the store. The log's writer knows.
pub(crate) trait Homes: Send + Sync {
    /// Decoded body of an entry that is in memory because it is not yet durable.
    fn in_memory(&self, location: &Location) -> Option<Bytes>;

    /// The open journal file of a segment, as long as the segment is not known to be stored. What
    /// is no longer in memory has been written to it. The reader may hold it past its unlinking.
    fn journal_file(&self, segment: SegmentId) -> Option<Arc<dyn DiskFile>>;
}

/// What reading has done so far: counts since the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadStatus {
    /// Frames, or parts of them, that were in memory when they were asked for.
    pub hits: u64,
    /// Those that were not, and came from the journal, the disk cache or the store.
    pub misses: u64,
    /// Ranged gets sent to the store.
    pub gets: u64,
    /// Bytes they asked for.
    pub get_bytes: u64,
    /// Frames asked for ahead of their readers.
    pub ahead_frames: u64,
    /// Frames that came ahead of their readers and were read.
    pub ahead_used: u64,
    /// Frames that came ahead and had to make room before anybody read them.
    pub ahead_wasted: u64,
    /// Times that answers whose checksums did not hold were asked for again.
    pub asked_again: u64,
    /// How often the last of these answers did not hold either: damage, told to the reader.
    pub damaged: u64,
    /// The disk cache, where there is one.
    pub disk: Option<DiskCacheStatus>,
}

/// The read path. Clones share it.
#[derive(Clone)]
pub(crate) struct Reader(Arc<Inner>);

struct Inner {
    store: Arc<dyn ObjectStore>,
    homes: Arc<dyn Homes>,
    pool: Handle,
    volume: [u8; 16],
    key: Option<VolumeKey>,
    cache: FrameCache,
    early: Early,
    disk: Option<DiskCache>,
    /// Nonce, and so seed and key, of segments read before: it spares a second get.
    seeds: Cache<SegmentId, Lock>,
    board: Mutex<Board>,
    limits: Limits,
    /// A directory answers each small read at once: nothing is gained by large or early ones.
    local: bool,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    ahead_frames: AtomicU64,
    asked_again: AtomicU64,
    damaged: AtomicU64,
}

impl Reader {
    /// `key`: the volume's, where it is encrypted. Store I/O runs on `pool`; frames in the cache
    /// and in flight take at most `cache_bytes`.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        homes: Arc<dyn Homes>,
        pool: Handle,
        volume: [u8; 16],
        key: Option<VolumeKey>,
        cache_bytes: u64,
        disk: Option<DiskCache>,
    ) -> Self {
        let limits = Limits::of_cache(cache_bytes);
        let local = store.local_dir().is_some();
        let (flight, early) = if local { (0, 0) } else { (limits.flight, cache_bytes / 16 * 3) };
        Self(Arc::new(Inner {
            store,
            homes,
            pool,
            volume,
            key,
            cache: FrameCache::new(cache_bytes.saturating_sub(flight + early)),
            early: Early::new(early),
            disk,
            seeds: Cache::new(SEEDS_KEPT),
            board: Mutex::new(Board::new(limits)),
            limits,
            local,
            counts: Counts::default(),
        }))
    }

    /// Decoded body of an entry, if it is in memory.
    pub(crate) fn now(&self, location: &Location) -> Option<Bytes> {
        let inner = &*self.0;
        let here = inner.homes.in_memory(location).or_else(|| inner.cache.get(location));
        let here = here.or_else(|| inner.early.get(location));
        if here.is_some() {
            inner.counts.hits.fetch_add(1, Relaxed);
        }
        here
    }

    /// Decoded body of an entry, checked. Data entries enter the cache. Dropping the future does
    /// not stop the flight that others may wait for.
    ///
    /// Errors: `Corrupt` naming segment and offset, `Store`, `Journal`.
    pub(crate) async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        match self.now(location) {
            Some(bytes) => Ok(bytes),
            None => self.land(self.wish(&[*location]).pop(), location).await,
        }
    }

    /// [`Reader::read`] of each: what lies together in a segment travels together. The first error
    /// in their order is given; the others' flights go on.
    pub(crate) async fn read_many(&self, locations: &[Location]) -> Result<Vec<Bytes>, LogError> {
        let mut found: Vec<Option<Bytes>> = locations.iter().map(|at| self.now(at)).collect();
        let absent: Vec<Location> =
            locations.iter().zip(&found).filter(|(_, f)| f.is_none()).map(|(at, _)| *at).collect();
        let flights = self.wish(&absent);
        let landed = absent.iter().zip(flights).map(|(at, booked)| self.land(Some(booked), at));
        let mut landed = join_all(landed).await.into_iter();
        for slot in found.iter_mut().filter(|slot| slot.is_none()) {
            *slot = landed.next().transpose()?;
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Brings entries into the cache that are likely to be wanted, as far as memory allows. Gives
    /// the bytes, as stored, that are on their way now; what is in memory already, or in the
    /// journal, is left alone. Never waits, and nobody learns of an error.
    pub(crate) fn prefetch(&self, locations: &[Location]) -> u64 {
        if self.0.local {
            return 0;
        }
        let inner = &*self.0;
        let here = |at: &Location| inner.cache.contains(at) || inner.early.contains(at);
        let wanted = locations.iter().filter(|at| !here(at));
        let wanted: Vec<Location> = wanted.copied().collect();
        let near = self.travels_alone(&wanted);
        let mut bytes = 0;
        for (at, near) in wanted.iter().zip(near) {
            if near || self.0.homes.in_memory(at).is_some() {
                continue;
            }
            if self.0.board.lock().book_ahead(*at) {
                bytes += u64::from(at.stored);
                self.0.counts.ahead_frames.fetch_add(1, Relaxed);
            }
        }
        if bytes > 0 {
            self.0.start_runner();
        }
        bytes
    }

    /// Most bytes that may lie in the cache unread because they were asked for ahead; 0 where that
    /// does not pay.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.0.early.limit()
    }

    /// Bytes `part` of the decoded body of a data entry, checked. Where the frame is not in memory
    /// and is stored plain, only header, block table and the blocks concerned are fetched, and
    /// nothing enters the cache: for random small reads. `part` must lie within the frame.
    pub(crate) async fn read_part(
        &self,
        location: &Location,
        part: Range<u32>,
    ) -> Result<Bytes, LogError> {
        if let Some(bytes) = self.now(location) {
            return cut(location, &bytes, &part);
        }
        // From half of it on, the whole frame is worth having.
        if u64::from(part.end.saturating_sub(part.start)) * 2 < u64::from(location.stored) {
            let wanted = Wanted { location: *location, part: Some((part.start, part.end)) };
            self.0.counts.misses.fetch_add(1, Relaxed);
            return self.fly_part(wanted).await.map_err(|e| e.again());
        }
        cut(location, &self.read(location).await?, &part)
    }

    /// Keeps a decoded data frame that has just left memory for the journal or the store.
    pub(crate) fn insert(&self, location: &Location, bytes: &Bytes) {
        self.0.cache.insert(location, bytes);
    }

    /// Drops what is kept of deleted segments.
    pub(crate) fn forget(&self, segments: &[SegmentId]) {
        self.0.cache.forget(segments);
        self.0.early.forget(segments);
        for segment in segments {
            self.0.seeds.remove(segment);
        }
        if let Some(disk) = &self.0.disk {
            disk.forget(segments);
        }
    }

    /// Bytes in the cache now.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.0.cache.bytes() + self.0.early.bytes()
    }

    /// Figures.
    pub(crate) fn status(&self) -> ReadStatus {
        let counts = &self.0.counts;
        let (ahead_used, ahead_wasted) = self.0.early.counts();
        ReadStatus {
            ahead_used,
            ahead_wasted,
            hits: counts.hits.load(Relaxed),
            misses: counts.misses.load(Relaxed),
            gets: counts.gets.load(Relaxed),
            get_bytes: counts.get_bytes.load(Relaxed),
            ahead_frames: counts.ahead_frames.load(Relaxed),
            asked_again: counts.asked_again.load(Relaxed),
            damaged: counts.damaged.load(Relaxed),
            disk: self.0.disk.as_ref().map(DiskCache::status),
        }
    }

    /// A flight for each, and a runner if any of them is new.
    fn wish(&self, locations: &[Location]) -> Vec<Booked> {
        if locations.is_empty() {
            return Vec::new();
        }
        // Before the board's lock: the log's own lock is never taken under it.
        let alone = self.travels_alone(locations);
        let mut fresh = false;
        let mut board = self.0.board.lock();
        let flights = locations.iter().zip(alone).map(|(location, alone)| {
            let wanted = Wanted { location: *location, part: None };
            board.join(&wanted).unwrap_or_else(|| {
                fresh = true;
                let flight = board.book(*location, alone);
                Booked { flight, ahead: false, joined: true }
            })
        });
        let flights = flights.collect();
        drop(board);
        if fresh {
            self.0.start_runner();
        }
        flights
    }

    /// Which of them gain nothing by company: those on a disk of this machine.
    fn travels_alone(&self, locations: &[Location]) -> Vec<bool> {
        let mut last = None;
        let alone = locations.iter().map(|at| match last {
            _ if self.0.local => true,
            Some((segment, alone)) if segment == at.segment => alone,
            _ => {
                let alone = self.0.homes.journal_file(at.segment).is_some();
                last = Some((at.segment, alone));
                alone
            }
        });
        alone.collect()
    }

    async fn land(&self, booked: Option<Booked>, at: &Location) -> Result<Bytes, LogError> {
        self.0.counts.misses.fetch_add(1, Relaxed);
        let Some(Booked { flight, ahead, .. }) = booked else { return Err(closed()) };
        match flight.await {
            Err(_) if ahead => {
                // Nobody waited for it when it set out: its error is not yet ours.
                let Some(own) = self.wish(&[*at]).pop() else { return Err(closed()) };
                own.flight.await.map_err(|e| e.again())
            }
            other => other.map_err(|e| e.again()),
        }
    }

    /// The flight of a part, on the pool. It removes itself from the table when its outcome is
    /// known.
    fn fly_part(&self, wanted: Wanted) -> Flight {
        let mut board = self.0.board.lock();
        if let Some(booked) = board.join(&wanted) {
            return booked.flight;
        }
        let (flight, tell) = board.open(wanted);
        let inner = self.0.clone();
        drop(board);
        self.0.pool.spawn(async move { inner.carry_part(wanted, tell).await });
        flight
    }
}

fn closed() -> LogError {
    LogError::Refused("nothing was asked for".to_owned())
}

#[cfg(test)]
mod tests;
