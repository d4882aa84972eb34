//! The journeys themselves: what a load, a part, a second asking fetch, and from where.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::future::{FutureExt, join, join_all, try_join};
use swiftclient::{StoreError, disk::DiskFile};
use tokio::sync::oneshot;

use super::{
    Inner,
    board::{Load, Outcome, Wanted, begin, end},
    opened::{Lock, beyond, cut, fault, open_entry, owner_of},
};
use crate::{
    Location, LogError, SegmentId,
    format::{EntryFault, Kind, PartPlan, SEGMENT_HEADER, Seed, segment_name},
    limits::{DAMAGED_AGAIN, HEADER_NEAR_BYTES, SMALL_GAP_BYTES},
};

/// Ends in the board what set out, also when its task is dropped half-way.
struct Landing {
    inner: Arc<Inner>,
    flying: Vec<Wanted>,
    span: u64,
    ahead: bool,
}

impl Landing {
    /// What belongs into the cache is there by now: late-comers find it.
    fn tell(&mut self, wanted: &Wanted, tell: oneshot::Sender<Outcome>, outcome: Outcome) {
        let joined = self.inner.board.lock().over(wanted);
        if joined && self.ahead {
            // It has its reader.
            self.inner.early.get(&wanted.location);
        }
        self.flying.retain(|w| w != wanted);
        let _ = tell.send(outcome);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut board = self.inner.board.lock();
        for wanted in &self.flying {
            board.over(wanted);
        }
        board.land(self.span);
    }
}

/// Where a data frame goes that came.
#[derive(Clone, Copy)]
enum Keep {
    /// Somebody reads it.
    Cache,
    /// Nobody yet.
    Early,
}

impl Inner {
    pub(super) fn start_runner(self: &Arc<Self>) {
        let inner = self.clone();
        self.pool.spawn(async move { inner.run().await });
    }

    /// Carries loads until nothing waits, or enough others fly who will look again.
    async fn run(self: Arc<Self>) {
        loop {
            let (load, more) = {
                let mut board = self.board.lock();
                let Some(load) = board.take() else { return };
                (load, board.is_waiting())
            };
            if more {
                self.start_runner();
            }
            self.carry(load).await;
        }
    }

    async fn carry(self: &Arc<Self>, load: Load) {
        let flying = load.places.iter().map(|(location, _)| whole(location)).collect();
        let keep = if load.ahead { Keep::Early } else { Keep::Cache };
        let (span, ahead) = (load.span, load.ahead);
        let mut landing = Landing { inner: self.clone(), flying, span, ahead };
        let mut missing = Vec::with_capacity(load.places.len());
        for (location, tell) in load.places {
            let found = if load.alone {
                Some(self.fetch(whole(&location)).await.map_err(Arc::new))
            } else {
                self.kept_on_disk(&location, keep).await.map(Ok)
            };
            match found {
                Some(outcome) => landing.tell(&whole(&location), tell, outcome),
                None => missing.push((location, tell)),
            }
        }
        let groups = self.groups(missing.iter().map(|(location, _)| *location));
        let done = join_all(groups.iter().map(|group| self.fetch_range(group, keep))).await;
        for ((location, tell), outcome) in missing.into_iter().zip(done.into_iter().flatten()) {
            landing.tell(&whole(&location), tell, outcome);
        }
    }

    /// What still lies together after the disk cache had some of it.
    fn groups(&self, places: impl Iterator<Item = Location>) -> Vec<Vec<Location>> {
        let mut groups: Vec<Vec<Location>> = Vec::new();
        for place in places {
            match groups.last_mut() {
                Some(group)
                    if group.last().is_some_and(|l| begin(&place) <= end(l) + self.limits.gap) =>
                {
                    group.push(place);
                }
                _ => groups.push(vec![place]),
            }
        }
        groups
    }

    /// A part, booked by [`super::Board::open`].
    pub(super) async fn carry_part(
        self: Arc<Self>,
        wanted: Wanted,
        tell: oneshot::Sender<Outcome>,
    ) {
        let mut landing =
            Landing { inner: self.clone(), flying: vec![wanted], span: 0, ahead: false };
        let outcome = self.fetch(wanted).await.map_err(Arc::new);
        landing.tell(&wanted, tell, outcome);
    }

    /// One location, or a part of it, wherever it is.
    async fn fetch(&self, wanted: Wanted) -> Result<Bytes, LogError> {
        let location = &wanted.location;
        if let Some(file) = self.homes.journal_file(location.segment) {
            let found = self.read_journal(&*file, &wanted).await;
            // A file may be recycled under us once its segment is stored: then the store decides.
            if found.is_ok() || self.homes.journal_file(location.segment).is_some() {
                return found.inspect_err(|e| self.report(e));
            }
        }
        let body = match self.kept_on_disk(location, Keep::Cache).await {
            Some(body) => body,
            None => {
                if let Some(part) = self.part_from_store(&wanted).await? {
                    return Ok(part);
                }
                let mut got = self.fetch_range(std::slice::from_ref(location), Keep::Cache).await;
                match got.pop() {
                    Some(outcome) => outcome.map_err(|e| e.again())?,
                    None => return Err(fault(location, &beyond(), None)),
                }
            }
        };
        cut_wanted(&wanted, body)
    }

    async fn read_journal(&self, file: &dyn DiskFile, wanted: &Wanted) -> Result<Bytes, LogError> {
        let location = &wanted.location;
        let segment = location.segment;
        let head = async {
            let bytes = read_file(file, segment, 0..SEGMENT_HEADER as u64)?;
            Lock::of(segment, &self.volume, self.key.as_ref(), &bytes).map_err(Arc::new)
        };
        let lock = self.seeds.get_or_insert_async(&segment, head).await;
        let lock = lock.map_err(|e: Arc<LogError>| e.again())?;
        if let Some(plan) = self.plan(wanted, &lock)? {
            let head = read_file(file, segment, plan.head.clone())?;
            let blocks = read_file(file, segment, plan.blocks.clone())?;
            if let Some(part) =
                plan.open(&lock.seed, &head, &blocks).map_err(|e| fault(location, &e, None))?
            {
                return Ok(part);
            }
        }
        let entry = read_file(file, segment, begin(location)..end(location))?;
        let body = self.opened(location, &lock, &entry, entry.len(), Keep::Cache);
        let body = body.map_err(|e| fault(location, &e, owner_of(location, &lock, &entry)))?;
        cut_wanted(wanted, body)
    }

    /// Where a part is wanted and the segment is plain: which bytes hold it.
    fn plan(&self, wanted: &Wanted, lock: &Lock) -> Result<Option<PartPlan>, LogError> {
        let location = &wanted.location;
        let Some((start, end)) = wanted.part.filter(|_| lock.cipher.is_none()) else {
            return Ok(None);
        };
        let plan = PartPlan::new(location.offset, location.stored, start..end);
        plan.map(Some).ok_or_else(|| fault(location, &beyond(), None))
    }

    /// The wanted part, where one is wanted and the frame is stored plain. `None`: it takes the
    /// whole frame, also because what came does not hold.
    async fn part_from_store(&self, wanted: &Wanted) -> Result<Option<Bytes>, LogError> {
        let location = &wanted.location;
        let Some((start, end)) = wanted.part.filter(|_| self.key.is_none()) else {
            return Ok(None);
        };
        let plan = PartPlan::new(location.offset, location.stored, start..end)
            .ok_or_else(|| fault(location, &beyond(), None))?;
        let segment = location.segment;
        let gap = plan.blocks.start - plan.head.end;
        let bytes = async {
            if gap <= SMALL_GAP_BYTES {
                let all = self.get(segment, plan.head.start..plan.blocks.end).await?;
                let at = |offset: u64| {
                    let at = usize::try_from(offset - plan.head.start).unwrap_or(usize::MAX);
                    at.min(all.len())
                };
                Ok((all.slice(..at(plan.head.end)), all.slice(at(plan.blocks.start)..)))
            } else {
                let head = self.get(segment, plan.head.clone());
                try_join(head, self.get(segment, plan.blocks.clone())).await
            }
        };
        let (lock, bytes) = join(self.lock(segment), bytes).await;
        let (head, blocks) = bytes?;
        match lock {
            // The second asking for the whole looks at everything anew.
            Err(e) if matches!(*e, LogError::Corrupt { .. }) => Ok(None),
            Err(e) => Err(e.again()),
            Ok(lock) => Ok(plan.open(&lock.seed, &head, &blocks).unwrap_or(None)),
        }
    }

    /// The entry from the disk cache, if it is there and good.
    async fn kept_on_disk(&self, location: &Location, keep: Keep) -> Option<Bytes> {
        let disk = self.disk.as_ref()?;
        let entry = disk.get(location)?;
        let lock = self.lock(location.segment).await.ok()?;
        match self.opened(location, &lock, &entry, entry.len(), keep) {
            Ok(body) => Some(body),
            Err(_) => {
                disk.reject(location);
                None
            }
        }
    }

    /// Entries of one segment, ascending, in one ranged get; an outcome for each.
    async fn fetch_range(&self, places: &[Location], keep: Keep) -> Vec<Outcome> {
        let Some(first) = places.first() else { return Vec::new() };
        let segment = first.segment;
        let to = places.iter().map(end).max().unwrap_or(0);
        // The segment's header comes along where it lies near.
        let near = begin(first) <= HEADER_NEAR_BYTES && self.seeds.get(&segment).is_none();
        let from = if near { 0 } else { begin(first) };
        let bytes = async { self.get(segment, from..to).await.map_err(Arc::new) };
        let bytes = bytes.boxed().shared();
        let head = {
            let bytes = bytes.clone();
            async move {
                if near {
                    let bytes = bytes.await?;
                    Ok(bytes.slice(..bytes.len().min(SEGMENT_HEADER)))
                } else {
                    self.head(segment).await.map_err(Arc::new)
                }
            }
        };
        let lock = self.seeds.get_or_insert_async(&segment, self.lock_of(segment, head));
        let (bytes, lock) = join(bytes, lock).await;
        let (bytes, lock) = match (bytes, lock) {
            (Ok(bytes), Ok(lock)) => (bytes, Some(lock)),
            (Ok(bytes), Err(e)) if matches!(*e, LogError::Corrupt { .. }) => (bytes, None),
            (Err(e), _) | (_, Err(e)) => return places.iter().map(|_| Err(e.clone())).collect(),
        };
        let mut outcomes = Vec::with_capacity(places.len());
        for location in places {
            outcomes.push(self.unpack(location, lock.as_ref(), &bytes, from, keep).await);
        }
        outcomes
    }

    /// One entry of `bytes`, which begin at `from` in its segment.
    async fn unpack(
        &self,
        location: &Location,
        lock: Option<&Lock>,
        bytes: &Bytes,
        from: u64,
        keep: Keep,
    ) -> Outcome {
        let at =
            |offset: u64| usize::try_from(offset - from).unwrap_or(usize::MAX).min(bytes.len());
        let entry = bytes.slice(at(begin(location))..at(end(location)));
        if let Some(lock) = lock
            && let Ok(body) = self.opened(location, lock, &entry, bytes.len(), keep)
        {
            if let Some(disk) = &self.disk {
                disk.offer(location, &entry);
            }
            return Ok(body);
        }
        self.ask_again(location, keep).await.map_err(Arc::new)
    }

    /// Invariant 1: again, from the store itself, header and all. What does not hold after
    /// [`DAMAGED_AGAIN`] tries is damage.
    async fn ask_again(&self, location: &Location, keep: Keep) -> Result<Bytes, LogError> {
        let known = self.seeds.remove(&location.segment).map(|(_, lock)| lock.seed);
        let mut tries = 1;
        loop {
            self.store.distrust();
            match self.ask_alone(location, keep, known).await {
                Err(LogError::Corrupt { .. }) if tries < DAMAGED_AGAIN => tries += 1,
                Err(damage) => {
                    self.report(&damage);
                    return Err(damage);
                }
                Ok(body) => {
                    let (object, offset) = (segment_name(location.segment), location.offset);
                    tracing::warn!(%object, offset, tries, "an answer of the store was damaged; asked again, it is good");
                    return Ok(body);
                }
            }
        }
    }

    /// One entry and its segment's header, by gets of their own.
    async fn ask_alone(
        &self,
        location: &Location,
        keep: Keep,
        known: Option<Seed>,
    ) -> Result<Bytes, LogError> {
        let segment = location.segment;
        self.counts.asked_again.fetch_add(1, Relaxed);
        let (head, entry) = try_join(
            self.get(segment, 0..SEGMENT_HEADER as u64),
            self.get(segment, begin(location)..end(location)),
        )
        .await?;
        let lock = Lock::of(segment, &self.volume, self.key.as_ref(), &head)?;
        if known.is_some_and(|seed| seed != lock.seed) {
            // Names are never used twice: one of the two is no object that we wrote there.
            return Err(Lock::another(segment));
        }
        match self.opened(location, &lock, &entry, entry.len(), keep) {
            Ok(body) => {
                self.seeds.insert(segment, lock);
                Ok(body)
            }
            Err(e) => Err(fault(location, &e, owner_of(location, &lock, &entry))),
        }
    }

    /// Damage is told where it is found, once; the reader learns only that its bytes are gone.
    fn report(&self, e: &LogError) {
        if let LogError::Corrupt { segment, offset, reason } = e {
            self.counts.damaged.fetch_add(1, Relaxed);
            tracing::error!(object = %segment_name(*segment), offset, "damaged: {reason}");
        }
    }

    /// Decodes an entry; data enter the cache. A slice of a longer answer is copied, so that one
    /// frame in the cache does not pin megabytes.
    fn opened(
        &self,
        location: &Location,
        lock: &Lock,
        entry: &Bytes,
        of: usize,
        keep: Keep,
    ) -> Result<Bytes, EntryFault> {
        let (kind, mut body) = open_entry(location, lock, entry)?;
        let inside = entry.as_ptr_range().contains(&body.as_ptr());
        if inside && of > entry.len() {
            body = Bytes::copy_from_slice(&body);
        }
        match keep {
            _ if kind != Kind::Data => {}
            Keep::Cache => self.cache.insert(location, &body),
            Keep::Early => {
                for (place, read) in self.early.insert(location, &body) {
                    self.cache.insert(&place, &read);
                }
            }
        }
        Ok(body)
    }

    /// Seed and cipher of the segment: from its header, the first time; one asks for all.
    async fn lock(&self, segment: SegmentId) -> Result<Lock, Arc<LogError>> {
        if let Some(lock) = self.seeds.get(&segment) {
            return Ok(lock);
        }
        let head = async { self.head(segment).await.map_err(Arc::new) };
        self.seeds.get_or_insert_async(&segment, self.lock_of(segment, head)).await
    }

    async fn lock_of(
        &self,
        segment: SegmentId,
        head: impl Future<Output = Result<Bytes, Arc<LogError>>>,
    ) -> Result<Lock, Arc<LogError>> {
        let bytes = head.await?;
        let lock = Lock::of(segment, &self.volume, self.key.as_ref(), &bytes);
        match (&lock, &self.disk) {
            (Ok(_), Some(disk)) => disk.offer(&header_of(segment), &bytes),
            (Err(_), Some(disk)) => disk.reject(&header_of(segment)),
            _ => {}
        }
        lock.map_err(Arc::new)
    }

    /// The segment's header: disk cache, store.
    async fn head(&self, segment: SegmentId) -> Result<Bytes, LogError> {
        if let Some(bytes) = self.disk.as_ref().and_then(|disk| disk.get(&header_of(segment))) {
            return Ok(bytes);
        }
        self.get(segment, 0..SEGMENT_HEADER as u64).await
    }

    /// A ranged get; what comes may be short. An answer of which the store's own client says that
    /// it is damaged is asked for again, and so is an absence: what is referred to was stored.
    async fn get(&self, segment: SegmentId, range: Range<u64>) -> Result<Bytes, LogError> {
        let mut tries = 0;
        loop {
            self.counts.gets.fetch_add(1, Relaxed);
            self.counts.get_bytes.fetch_add(range.end - range.start, Relaxed);
            match self.store.get(&segment_name(segment), range.clone()).await {
                Err(StoreError::Corrupt { .. } | StoreError::NotFound { .. })
                    if tries < DAMAGED_AGAIN =>
                {
                    tries += 1;
                    self.store.distrust();
                    self.counts.asked_again.fetch_add(1, Relaxed);
                }
                got => return Ok(got?),
            }
        }
    }
}

fn whole(location: &Location) -> Wanted {
    Wanted { location: *location, part: None }
}

/// Where a segment's header lies.
fn header_of(segment: SegmentId) -> Location {
    let stored = u32::try_from(SEGMENT_HEADER).unwrap_or(0);
    Location { segment, offset: 0, stored }
}

fn cut_wanted(wanted: &Wanted, body: Bytes) -> Result<Bytes, LogError> {
    match wanted.part {
        None => Ok(body),
        Some((start, end)) => cut(&wanted.location, &body, &(start..end)),
    }
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
