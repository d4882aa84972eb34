//! Reading entries back: memory, cache, journal file, store; each byte checked (invariant 8).
//!
//! ```text
//!   read(location) ─ in memory? ─ in the cache? ─ in flight? ─ journal file ─ store (ranged get)
//!                                                     └── one flight per location, on the pool
//! ```
//!
//! Bytes only ever move to the right in this picture and the reader asks from left to right, so an
//! entry that moves meanwhile is still found.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use futures_util::future::{FutureExt, Shared, try_join};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use swiftclient::{ObjectStore, StoreError, disk::DiskFile};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{
    Location, LogError, SegmentId,
    cache::FrameCache,
    crypto::{SegmentCipher, VolumeKey},
    format::{
        ENTRY_HEADER, EntryFault, EntryHeader, FormatError, Kind, PartPlan, SEGMENT_HEADER, Seed,
        SegmentHeader, open_body, segment_name,
    },
    limits::{SEEDS_KEPT, SMALL_GAP_BYTES},
};

/// Where bytes are that are not, or not only, in the store. The log's writer knows.
pub(crate) trait Homes: Send + Sync {
    /// Decoded body of an entry that is in memory because it is not yet durable.
    fn in_memory(&self, location: &Location) -> Option<Bytes>;

    /// The open journal file of a segment, as long as the segment is not known to be stored. What
    /// is no longer in memory has been written to it. The reader may hold it past its unlinking.
    fn journal_file(&self, segment: SegmentId) -> Option<Arc<dyn DiskFile>>;
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
    /// Nonce, and so seed and key, of segments read before: it spares a second get.
    seeds: Cache<SegmentId, Lock>,
    flights: Mutex<HashMap<Wanted, Flight>>,
}

/// What opens the entries of one segment.
#[derive(Clone)]
struct Lock {
    seed: Seed,
    cipher: Option<SegmentCipher>,
}

/// A location, and the decoded bytes of it that are wanted (`None`: all).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Wanted {
    location: Location,
    part: Option<(u32, u32)>,
}

type Outcome = Result<Bytes, Arc<LogError>>;
type Flight = Shared<futures_util::future::BoxFuture<'static, Outcome>>;

impl Reader {
    /// `key`: the volume's, where it is encrypted. Store I/O runs on `pool`; the cache holds at
    /// most `cache_bytes`.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        homes: Arc<dyn Homes>,
        pool: Handle,
        volume: [u8; 16],
        key: Option<VolumeKey>,
        cache_bytes: u64,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            homes,
            pool,
            volume,
            key,
            cache: FrameCache::new(cache_bytes),
            seeds: Cache::new(SEEDS_KEPT),
            flights: Mutex::default(),
        }))
    }

    /// Decoded body of an entry, if it is in memory.
    pub(crate) fn now(&self, location: &Location) -> Option<Bytes> {
        self.0.homes.in_memory(location).or_else(|| self.0.cache.get(location))
    }

    /// Decoded body of an entry, checked. Data entries enter the cache. Dropping the future does
    /// not stop the flight that others may wait for.
    ///
    /// Errors: `Corrupt` naming segment and offset, `Store`, `Journal`.
    pub(crate) async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        if let Some(bytes) = self.now(location) {
            return Ok(bytes);
        }
        self.fly(Wanted { location: *location, part: None }).await
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
            return self.fly(wanted).await;
        }
        let whole = self.fly(Wanted { location: *location, part: None }).await?;
        cut(location, &whole, &part)
    }

    /// Keeps a decoded data frame that has just left memory for the journal or the store.
    pub(crate) fn insert(&self, location: &Location, bytes: &Bytes) {
        self.0.cache.insert(location, bytes);
    }

    /// Drops what is kept of deleted segments.
    pub(crate) fn forget(&self, segments: &[SegmentId]) {
        self.0.cache.forget(segments);
        for segment in segments {
            self.0.seeds.remove(segment);
        }
    }

    /// Bytes in the cache now.
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.0.cache.bytes()
    }

    async fn fly(&self, wanted: Wanted) -> Result<Bytes, LogError> {
        let flight = {
            let mut flights = self.0.flights.lock();
            flights.entry(wanted).or_insert_with(|| self.take_off(wanted)).clone()
        };
        flight.await.map_err(|e| e.again())
    }

    /// Starts a flight on the pool. It removes itself from the table when its outcome is known.
    fn take_off(&self, wanted: Wanted) -> Flight {
        let (tell, told) = oneshot::channel();
        let inner = self.0.clone();
        let landing = Landing { inner: Arc::downgrade(&self.0), wanted };
        self.0.pool.spawn(async move {
            let landing = landing;
            let outcome = inner.fetch(wanted).await.map_err(Arc::new);
            // What belongs into the cache is there by now: late-comers find it.
            drop(landing);
            let _ = tell.send(outcome);
        });
        let wait = async move {
            told.await.unwrap_or_else(|_| {
                Err(Arc::new(LogError::Store(StoreError::Unavailable {
                    what: format!("read {}", wanted.location.segment),
                    reason: "the store's pool has stopped".to_owned(),
                    retry_after: None,
                })))
            })
        };
        wait.boxed().shared()
    }
}

/// Ends a flight in the table, also when its task is dropped half-way.
struct Landing {
    inner: Weak<Inner>,
    wanted: Wanted,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.flights.lock().remove(&self.wanted);
        }
    }
}

/// One home of a segment's bytes.
enum Home<'a> {
    Journal(&'a dyn DiskFile),
    Store,
}

impl Inner {
    async fn fetch(&self, wanted: Wanted) -> Result<Bytes, LogError> {
        let segment = wanted.location.segment;
        if let Some(file) = self.homes.journal_file(segment) {
            let found = self.fetch_from(&Home::Journal(&*file), wanted).await;
            // A file may be recycled under us once its segment is stored: then the store decides.
            if found.is_ok() || self.homes.journal_file(segment).is_some() {
                return found;
            }
        }
        self.fetch_from(&Home::Store, wanted).await
    }

    async fn fetch_from(&self, home: &Home<'_>, wanted: Wanted) -> Result<Bytes, LogError> {
        let location = &wanted.location;
        if let Some((start, end)) = wanted.part {
            let plan = PartPlan::new(location.offset, location.stored, start..end);
            let plan = plan.ok_or_else(|| fault(location, beyond()))?;
            if let Some(bytes) = self.fetch_part(home, location, &plan).await? {
                return Ok(bytes);
            }
        }
        let begin = u64::from(location.offset);
        let range = begin..begin + u64::from(location.stored);
        let (lock, entry) =
            try_join(self.lock(home, location), self.bytes(home, location, range)).await?;
        let (kind, body) = open_entry(location, &lock, &entry).map_err(|e| fault(location, e))?;
        if kind == Kind::Data {
            self.cache.insert(location, &body);
        }
        match wanted.part {
            None => Ok(body),
            Some((start, end)) => cut(location, &body, &(start..end)),
        }
    }

    /// The wanted blocks of a frame stored plain; `None` where it is not.
    async fn fetch_part(
        &self,
        home: &Home<'_>,
        location: &Location,
        plan: &PartPlan,
    ) -> Result<Option<Bytes>, LogError> {
        let gap = plan.blocks.start - plan.head.end;
        let (lock, head, blocks) = if gap <= SMALL_GAP_BYTES {
            let range = plan.head.start..plan.blocks.end;
            let (lock, all) =
                try_join(self.lock(home, location), self.bytes(home, location, range)).await?;
            let at = |offset: u64| usize::try_from(offset - plan.head.start).unwrap_or(usize::MAX);
            let head = all.slice(..at(plan.head.end));
            (lock, head, all.slice(at(plan.blocks.start)..))
        } else {
            let head = self.bytes(home, location, plan.head.clone());
            let blocks = self.bytes(home, location, plan.blocks.clone());
            let both = try_join(head, blocks);
            let (lock, (head, blocks)) = try_join(self.lock(home, location), both).await?;
            (lock, head, blocks)
        };
        if lock.cipher.is_some() {
            return Ok(None);
        }
        plan.open(&lock.seed, &head, &blocks).map_err(|e| fault(location, e))
    }

    /// Exactly `range` of the segment.
    async fn bytes(
        &self,
        home: &Home<'_>,
        location: &Location,
        range: Range<u64>,
    ) -> Result<Bytes, LogError> {
        let wanted = range.end - range.start;
        let bytes = match home {
            Home::Store => self.store.get(&segment_name(location.segment), range).await?,
            Home::Journal(file) => read_file(*file, location.segment, range)?,
        };
        if bytes.len() as u64 != wanted {
            return Err(fault(location, EntryFault::Cut));
        }
        Ok(bytes)
    }

    /// Seed and cipher of the segment: from its header, the first time.
    async fn lock(&self, home: &Home<'_>, location: &Location) -> Result<Lock, LogError> {
        let segment = location.segment;
        if let Some(lock) = self.seeds.get(&segment) {
            return Ok(lock);
        }
        let at_start = Location { offset: 0, ..*location };
        let bytes = self.bytes(home, &at_start, 0..SEGMENT_HEADER as u64).await?;
        let header = SegmentHeader::decode(&bytes).map_err(|e| header_fault(segment, &e))?;
        let reason = if header.id != segment {
            Some("the header names another segment")
        } else if header.volume != self.volume {
            Some("the header names another volume")
        } else if header.encrypted != self.key.is_some() {
            Some("encrypted and plain do not agree with the volume")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(LogError::Corrupt { segment, offset: 0, reason: reason.to_owned() });
        }
        let cipher = self.key.as_ref().map(|key| SegmentCipher::new(key, &header.nonce));
        let lock = Lock { seed: Seed::new(&header.nonce), cipher };
        self.seeds.insert(segment, lock.clone());
        Ok(lock)
    }
}

/// Kind and decoded body of the entry that `entry` wholly is.
fn open_entry(
    location: &Location,
    lock: &Lock,
    entry: &Bytes,
) -> Result<(Kind, Bytes), EntryFault> {
    let header = EntryHeader::decode(entry, &lock.seed, location.offset)?;
    if header.stored() != location.stored {
        return Err(EntryFault::Mismatch("length"));
    }
    let end = ENTRY_HEADER + header.body_len as usize;
    if !crate::format::is_zero(&entry[end..]) {
        return Err(EntryFault::Padding);
    }
    let body = entry.slice(ENTRY_HEADER..end);
    let body = open_body(&header, location.offset, &body, lock.cipher.as_ref())?;
    Ok((header.kind, body))
}

fn read_file(
    file: &dyn DiskFile,
    segment: SegmentId,
    range: Range<u64>,
) -> Result<Bytes, LogError> {
    // At most a segment's entry: `stored` of a location, checked by its reader above.
    let mut out = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    let mut have = 0;
    while have < out.len() {
        let n = file.read_at(range.start + have as u64, &mut out[have..]).map_err(|source| {
            LogError::Journal { what: format!("read the journal file of {segment}"), source }
        })?;
        if n == 0 {
            break;
        }
        have += n;
    }
    out.truncate(have);
    Ok(Bytes::from(out))
}

fn beyond() -> EntryFault {
    EntryFault::Mismatch("it is shorter than what is wanted of it")
}

fn cut(location: &Location, bytes: &Bytes, part: &Range<u32>) -> Result<Bytes, LogError> {
    let (start, end) = (part.start as usize, part.end as usize);
    if start > end || end > bytes.len() {
        return Err(fault(location, beyond()));
    }
    Ok(bytes.slice(start..end))
}

fn fault(location: &Location, e: EntryFault) -> LogError {
    let (segment, offset) = (location.segment, u64::from(location.offset));
    LogError::Corrupt { segment, offset, reason: e.to_string() }
}

fn header_fault(segment: SegmentId, e: &FormatError) -> LogError {
    LogError::Corrupt { segment, offset: 0, reason: e.to_string() }
}

#[cfg(test)]
mod tests;
