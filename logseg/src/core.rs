//! The state that writer, flusher, destage and readers share, and what may be done to it.
//!
//! One short lock ([`Core::state`]) guards the chain; nothing does I/O under it. `durable` and
//! `last` are mirrored in atomics for those who only look.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use swiftclient::{
    ObjectName, ObjectStore,
    disk::{Disk, DiskFile},
    seam::{Env, TRACE},
};
use tokio::sync::Notify;

use crate::{
    AGE_LINKED, AGE_STREAMED, Codec, Frame, Location, LogConfig, LogError, Owner, SEGMENT_BYTES,
    SEGMENT_MIN_BYTES, SegmentId, Seq, TRANSACTION_BYTES, VolumeHeader, WRITEOUT_BYTES,
    ballast::Ballast,
    chain::{Chain, Entry, JournalFile, Readable, Released, Segment},
    crypto::VolumeKey,
    destage::{Ended, Pace, Phase, Rules, View, slow_from},
    flush::Rescue,
    format::{Body, Durability, Kind, SegmentHeader},
    journal::Journal,
    read::{Homes, Reader},
    reserve::Reserve,
    writer::closed,
};

/// Room kept in each segment for what the log itself appends between transactions, bytes.
const OWN_ROOM: u64 = 512;

/// Why nothing more is taken.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Fenced(String),
    ReadOnly(String),
}

impl Failure {
    pub(crate) fn error(&self) -> LogError {
        match self {
            Self::Fenced(holder) => LogError::Fenced { holder: holder.clone() },
            Self::ReadOnly(reason) => LogError::ReadOnly { reason: reason.clone() },
        }
    }
}

/// Sizes this volume works with, bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Most bytes of a segment, footer included.
    pub segment: u64,
    /// Most bytes of one transaction as stored.
    pub transaction: u64,
    /// Most committed bytes that are not yet durable.
    pub unsynced: u64,
}

impl Sizes {
    pub(crate) fn new(segment: u64, unsynced: u64) -> Self {
        let segment = segment.clamp(SEGMENT_MIN_BYTES, SEGMENT_BYTES);
        let transaction = TRANSACTION_BYTES.min(segment / 4);
        Self { segment, transaction, unsynced: unsynced.max(transaction * 2) }
    }
}

/// The body of a record of the log's own (R5, R7, R11).
fn own_body(kind: Kind, bytes: &Bytes) -> Body {
    match Body::new(kind, bytes, Codec::Stored) {
        Some(body) => body,
        None => unreachable!("the log's own records are within their limits"),
    }
}

pub(crate) struct State {
    pub chain: Chain,
    /// A transaction is between `begin` and its end: nothing else may be appended.
    pub in_txn: bool,
    /// The open segment is to be sealed as soon as no transaction is under way.
    pub roll_wanted: bool,
    /// `close` was called: no further segment is opened.
    pub closed: bool,
    pub next_seq: Seq,
    pub unsynced: u64,
    /// Waiting for durability.
    pub syncs: Vec<(Seq, Waker)>,
    /// Waiting for room in memory.
    pub admits: Vec<Waker>,
    /// Waiting for a segment to be stored.
    pub stores: Vec<Waker>,
    /// Waiting for a transaction to end.
    pub betweens: Vec<Waker>,
    /// Somebody flushes.
    pub flushing: bool,
    /// A flush is wanted though nobody waits in `syncs`.
    pub flush_wanted: bool,
    /// A mark was appended: it must reach the file, though nobody waits for it.
    pub writeout_wanted: bool,
    /// A journal file was made and its directory not synced yet.
    pub dir_dirty: bool,
    pub spare: Option<Spare>,
    pub failure: Option<Failure>,
    /// The journal takes nothing: its bytes go to the store (R10).
    pub rescue: Option<Rescue>,
    /// Where each segment stands on its way to the store.
    pub view: View,
    /// Who waits for a slot, and how fast the store takes bytes.
    pub pace: Pace,
    /// The last put that failed, and what the store said to it, while that segment is not stored.
    pub put_error: Option<(SegmentId, String)>,
    /// R18, while the store is full and there is a journal: full until all below is stored.
    pub refused: Option<SegmentId>,
    /// When something was stored last.
    pub progress: Duration,
    /// Side counters below this were handed out.
    pub side_next: u32,
    /// Side counters below this are reserved by a record, durable at this seq.
    pub side_reserved: (u32, Seq),
    pub stop: bool,
}

/// A journal file made in advance: zeros, synced, named for the segment to come.
pub(crate) struct Spare {
    pub id: SegmentId,
    pub file: JournalFile,
    /// Zeros written, bytes.
    pub zeros: u64,
}

pub(crate) struct Core {
    pub header: VolumeHeader,
    pub epoch: u32,
    /// Of the seal that began it: tells our beginning from a rival's.
    pub nonce: [u8; 16],
    pub store: Arc<dyn ObjectStore>,
    pub disk: Arc<dyn Disk>,
    pub env: Env,
    pub pool: tokio::runtime::Handle,
    pub sizes: Sizes,
    pub key: Option<VolumeKey>,
    /// Its existence ends us (R5).
    pub sealed_path: PathBuf,
    pub reader: Reader,
    pub journal: Option<Journal>,
    pub inline_only: bool,
    pub reserve: Reserve,
    pub ballast: Ballast,
    /// Most unstored bytes, as configured.
    pub budget: u64,
    /// Unstored bytes, and above how many writers are slowed: mirrors.
    pub dirty: AtomicU64,
    pub slow_from: AtomicU64,
    /// Without a journal: bytes travel as soon as they are encoded (R13).
    streams_at_once: bool,
    /// Bytes that may be promised before the next look at the disk.
    pub room_seen: AtomicU64,
    state: Mutex<State>,
    durable: AtomicU64,
    last: AtomicU64,
    failed: AtomicBool,
    /// The journal thread sleeps here.
    pub work: Condvar,
    /// The keeper (destage, timers) sleeps here.
    pub keeper: Notify,
    pub counts: Counts,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub syncs: AtomicU64,
    pub waiters: AtomicU64,
    pub groups: AtomicU64,
    pub stored_segments: AtomicU64,
    pub puts: AtomicU64,
}

/// What a new log begins with.
pub(crate) struct Birth {
    pub ballast: Vec<ObjectName>,
    pub epoch: u32,
    pub nonce: [u8; 16],
    /// The newest record of the older epochs; all of it is durable.
    pub last: Seq,
    pub backlog: VecDeque<Segment>,
}

impl Core {
    fn new(
        config: &LogConfig,
        header: VolumeHeader,
        journal: Option<Journal>,
        reserve: Reserve,
        reader: Reader,
        birth: Birth,
    ) -> Self {
        let sizes = Sizes::new(header.segment_bytes, config.unsynced_bytes);
        let budget = match journal {
            Some(_) => config.destage.budget_bytes,
            // What is not stored is in memory.
            None => config.destage.budget_bytes.min(sizes.unsynced),
        };
        let now = config.env.clock.monotonic();
        let rules = Rules {
            links: config.store.local_dir().is_some(),
            streams: config.store.streams(),
            journal: journal.is_some(),
            age: config.destage.age.unwrap_or(match config.store.local_dir() {
                Some(_) => AGE_LINKED,
                None => AGE_STREAMED,
            }),
            segment: sizes.segment,
        };
        let backlog = birth.backlog.iter().map(|s| (s.id, s.end));
        let first = SegmentId::chain(birth.epoch, 0);
        let state = State {
            view: View::new(rules, budget, backlog, first, now),
            pace: Pace::default(),
            progress: now,
            chain: Chain { segments: birth.backlog },
            in_txn: false,
            roll_wanted: false,
            closed: false,
            betweens: Vec::new(),
            next_seq: Seq(birth.last.0 + 1),
            unsynced: 0,
            syncs: Vec::new(),
            admits: Vec::new(),
            stores: Vec::new(),
            flushing: false,
            flush_wanted: false,
            writeout_wanted: false,
            dir_dirty: false,
            spare: None,
            failure: None,
            rescue: None,
            put_error: None,
            refused: None,
            side_next: 0,
            side_reserved: (0, Seq(0)),
            stop: false,
        };
        Self {
            sizes,
            budget,
            dirty: AtomicU64::new(state.view.dirty()),
            slow_from: AtomicU64::new(slow_from(budget)),
            streams_at_once: config.store.streams() && journal.is_none(),
            key: config.key.clone(),
            sealed_path: journal.as_ref().map(|j| j.sealed_path(birth.epoch)).unwrap_or_default(),
            reader,
            header,
            epoch: birth.epoch,
            nonce: birth.nonce,
            store: config.store.clone(),
            disk: config.disk.clone(),
            env: config.env.clone(),
            pool: config.pool.clone(),
            journal,
            inline_only: config.inline_only,
            ballast: Ballast::new(
                config.store.clone(),
                birth.epoch,
                sizes.segment,
                config.destage.ballast_bytes,
                birth.ballast,
            ),
            reserve,
            room_seen: AtomicU64::new(0),
            state: Mutex::new(state),
            durable: AtomicU64::new(birth.last.0),
            last: AtomicU64::new(birth.last.0),
            failed: AtomicBool::new(false),
            work: Condvar::new(),
            keeper: Notify::new(),
            counts: Counts::default(),
        }
    }

    /// A running log's state, its first segment open in memory.
    pub(crate) fn start(
        config: &LogConfig,
        header: VolumeHeader,
        journal: Option<Journal>,
        reserve: Reserve,
        birth: Birth,
    ) -> Arc<Self> {
        let epoch = birth.epoch;
        let core = Arc::new_cyclic(|weak: &Weak<Self>| {
            let disk = config.open_disk_cache(header.uuid);
            let shelf = if disk.is_some() { config.disk_cache_memory() } else { 0 };
            let reader = Reader::new(
                config.store.clone(),
                Arc::new(Window(weak.clone())),
                config.pool.clone(),
                header.uuid,
                config.key.clone(),
                config.cache_bytes - shelf,
                disk,
            );
            Self::new(config, header, journal, reserve, reader, birth)
        });
        core.open_segment(&mut core.lock(), SegmentId::chain(epoch, 0));
        core.take_what_ballast_holds();
        core
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(crate) fn durable_seq(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn last_seq(&self) -> Seq {
        Seq(self.last.load(Ordering::Acquire))
    }

    /// The error that every further write gets, if there is one.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if !self.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.lock().failure.as_ref().map_or(Ok(()), |f| Err(f.error()))
    }

    /// Takes nothing more, for ever: all who wait are told.
    pub(crate) fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        if state.failure.is_none() {
            tracing::error!(?failure, epoch = self.epoch, "the log takes nothing more");
            state.failure = Some(failure);
        }
        self.failed.store(true, Ordering::Release);
        state.view.end(Ended::Failed);
        state.pace.tell_all();
        state.tell_streams();
        let wakers = state.take_all();
        drop(state);
        wake(wakers);
        self.keeper.notify_one();
    }

    /// Opens segment `id` in memory. Its file is the spare, if one is ready.
    fn open_segment(&self, state: &mut State, id: SegmentId) {
        let mut nonce = [0; 16];
        self.env.dice.fill(&mut nonce);
        let header = SegmentHeader {
            volume: self.header.uuid,
            id,
            nonce,
            journal: self.journal.as_ref().map_or([0; 16], |j| j.uuid),
            durability: self.durability(),
            first_seq: state.next_seq,
            stored_through: state.view.stored_through(),
            segment_bytes: self.sizes.segment,
            encrypted: self.key.is_some(),
        };
        let now = self.env.clock.monotonic();
        let mut segment = Segment::open(&header, self.key.as_ref(), now);
        if let Some(spare) = state.spare.take_if(|s| s.id == id) {
            segment.zeros = spare.zeros;
            segment.file = Some(Arc::new(spare.file));
        }
        state.chain.segments.push_back(segment);
        state.view.opened(id);
    }

    pub(crate) fn durability(&self) -> Durability {
        match self.journal {
            Some(_) => Durability::Journal,
            None => Durability::Store,
        }
    }

    /// Begins a transaction: where its first entry will lie.
    pub(crate) fn begin(&self) -> Result<(SegmentId, u64), LogError> {
        self.check()?;
        let mut state = self.lock();
        self.settle(&mut state);
        // An entry of 64 bytes costs 16 more in the footer.
        let wanted = self.sizes.transaction + self.sizes.transaction / 4 + OWN_ROOM;
        if state.chain.open().is_some_and(|open| open.room(self.sizes.segment) < wanted) {
            self.roll(&mut state);
        }
        let place = state.chain.open().map(|open| (open.id, open.end)).ok_or_else(closed)?;
        state.in_txn = true;
        Ok(place)
    }

    /// The seq that the next record gets.
    pub(crate) fn next_seq(&self) -> Seq {
        self.lock().next_seq
    }

    /// Ends a transaction that appends nothing.
    pub(crate) fn abort(&self) {
        let mut state = self.lock();
        state.in_txn = false;
        self.settle(&mut state);
    }

    /// Appends the staged frames and their record as one piece.
    pub(crate) fn commit(&self, frames: &[(Frame, Location)], record: &Body) -> Seq {
        let now = self.env.clock.monotonic();
        let mut state = self.lock();
        let seq = state.next_seq;
        let mut added = 0;
        if let Some(open) = state.chain.open_mut() {
            for (frame, location) in frames {
                debug_assert_eq!(u64::from(location.offset), open.end);
                let entry = Entry { kind: Kind::Data, owner: frame.owner, seq, body: &frame.body };
                let readable = Readable { location: *location, decoded: frame.decoded().clone() };
                added += open.append(&entry, Some(readable));
            }
            let entry = Entry { kind: Kind::Record, owner: Owner(0), seq, body: record };
            added += open.append(&entry, None);
            open.touched = now;
        }
        let mut wakes = self.grew(&mut state, added, now);
        if self.streams_at_once {
            wakes |= self.encoded(&mut state);
        }
        state.next_seq = Seq(seq.0 + 1);
        state.in_txn = false;
        self.last.store(seq.0, Ordering::Release);
        self.settle(&mut state);
        let pushed = !state.flushing && state.unwritten() >= WRITEOUT_BYTES;
        drop(state);
        if pushed && self.journal.is_some() {
            self.work.notify_one();
        }
        if wakes {
            // Its age begins to count, also if nobody ever asks for a sync.
            self.keeper.notify_one();
        }
        seq
    }

    /// `added` bytes were appended; true with the open segment's first.
    fn grew(&self, state: &mut State, added: u64, now: Duration) -> bool {
        state.unsynced += added;
        let first = state.view.appended(added, now);
        if let (true, Some(open)) = (first, state.view.open()) {
            tracing::debug!(target: TRACE, segment = %open.id, "segment provisioned");
        }
        self.dirty.store(state.view.dirty(), Ordering::Relaxed);
        first
    }

    /// Without a journal what is encoded may travel; true where that may begin.
    fn encoded(&self, state: &mut State) -> bool {
        let Some(open) = state.chain.open() else { return false };
        let (id, made) = (open.id, open.made().0);
        open.tell_stream(made);
        state.view.wrote(id, made)
    }

    /// Does what waited for the end of a transaction.
    fn settle(&self, state: &mut State) {
        if std::mem::take(&mut state.roll_wanted) {
            self.roll(state);
        }
        wake(std::mem::take(&mut state.betweens));
    }

    /// Appends a record of the log's own. Between transactions only.
    pub(crate) fn append_own(&self, state: &mut State, kind: Kind, bytes: &Bytes) -> Seq {
        let body = own_body(kind, bytes);
        let now = self.env.clock.monotonic();
        if state.chain.open().is_some_and(|open| open.room(self.sizes.segment) < OWN_ROOM) {
            self.roll(state);
        }
        let seq = state.next_seq;
        let Some(open) = state.chain.open_mut() else { return self.last_seq() };
        let entry = Entry { kind, owner: Owner(0), seq, body: &body };
        let added = open.append(&entry, None);
        open.touched = now;
        self.grew(state, added, now);
        state.next_seq = Seq(seq.0 + 1);
        self.last.store(seq.0, Ordering::Release);
        seq
    }

    /// R11: after silence the durable offset is written down, without a sync.
    pub(crate) fn append_mark(&self, state: &mut State) {
        let body = own_body(Kind::Mark, &Bytes::new());
        if state.in_txn {
            return;
        }
        let seq = Seq(state.next_seq.0 - 1);
        let Some(open) = state.chain.open_mut() else { return };
        if open.durable <= open.marked || open.room(self.sizes.segment) < OWN_ROOM {
            return;
        }
        let entry = Entry { kind: Kind::Mark, owner: Owner(0), seq, body: &body };
        let added = open.append(&entry, None);
        // What the mark itself made durable later needs no mark of its own.
        open.marked = open.end;
        let now = self.env.clock.monotonic();
        self.grew(state, added, now);
        state.writeout_wanted = true;
        self.work.notify_one();
    }

    /// R5: the last entry of a clean stop; gives its seq. Nothing is opened after it.
    pub(crate) fn close(&self) -> Option<Seq> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        self.settle(&mut state);
        let seq = self.append_own(&mut state, Kind::Closed, &Bytes::new());
        state.closed = true;
        self.roll(&mut state);
        Some(seq)
    }

    /// Seals the open segment and opens the next; an empty one stays. Gives the open id.
    pub(crate) fn roll(&self, state: &mut State) -> Option<SegmentId> {
        let open = state.chain.open_mut()?;
        if open.is_empty() {
            return Some(open.id);
        }
        let added = open.seal();
        open.tell_stream(open.end);
        let id = open.id;
        tracing::debug!(target: TRACE, segment = %id, bytes = open.end, "segment sealed");
        state.unsynced += added;
        state.view.sealed(added);
        self.dirty.store(state.view.dirty(), Ordering::Relaxed);
        self.keeper.notify_one();
        let next = SegmentId::chain(id.epoch(), id.counter() + 1);
        if state.closed {
            return None;
        }
        self.open_segment(state, next);
        Some(next)
    }

    /// Seals as soon as no transaction is under way.
    pub(crate) fn want_roll(&self, state: &mut State) {
        if state.in_txn {
            state.roll_wanted = true;
        } else {
            self.roll(state);
        }
    }

    /// Everything in `done` (segment, durable end, last seq) became durable, in id order.
    pub(crate) fn made_durable(&self, done: &[(SegmentId, u64, Seq)]) -> Vec<Readable> {
        let mut released = Vec::new();
        let mut state = self.lock();
        let mut newest = self.durable_seq();
        for &(id, end, seq) in done {
            let Some(segment) = state.chain.find_mut(id) else { continue };
            let before = segment.durable;
            if end > before {
                released.push(segment.durable_to(end));
            }
            let sealed = segment.sealed && segment.durable == segment.end;
            if sealed {
                segment.tell_stream(end);
                state.view.ready(id);
            }
            state.unsynced -= end.saturating_sub(before);
            newest = newest.max(seq);
        }
        self.durable.store(newest.0, Ordering::Release);
        let open = state.chain.open().map(|open| open.id);
        let destage = done.iter().any(|&(id, ..)| Some(id) != open);
        let mut wakers = state.take_due(newest);
        if destage && self.ballast.is_full() {
            // A checkpoint may lean on what is durable now.
            wakers.append(&mut state.stores);
        }
        drop(state);
        self.counts.waiters.fetch_add(wakers.len() as u64, Ordering::Relaxed);
        wake(wakers);
        if destage {
            // Not at every sync: waking another thread costs a fifth of one.
            self.keeper.notify_one();
        }
        released.into_iter().flat_map(|r| r.bodies).collect()
    }

    /// Durability `store`: the segments below `first` are stored, hence durable.
    pub(crate) fn store_made_durable(&self, state: &mut State, first: SegmentId) -> Vec<Released> {
        let mut released = Vec::new();
        let mut newest = self.durable_seq();
        for segment in state.chain.segments.iter_mut() {
            if segment.id >= first {
                break;
            }
            newest = newest.max(segment.last_seq());
            state.unsynced -= segment.end - segment.durable;
            released.push(segment.durable_to(segment.end));
        }
        self.durable.store(newest.0, Ordering::Release);
        let wakers = state.take_due(newest);
        self.counts.waiters.fetch_add(wakers.len() as u64, Ordering::Relaxed);
        wake(wakers);
        released
    }

    /// Asks for a flush that nobody waits for.
    pub(crate) fn want_flush(&self, state: &mut State) {
        if self.journal.is_none() {
            // Durability `store`: what is sealed is put, and at half of the budget all is sealed.
            self.keeper.notify_one();
            return;
        }
        if !std::mem::replace(&mut state.flush_wanted, true) && !state.flushing {
            self.work.notify_one();
        }
    }

    /// True while `bytes` more would pass the limit of unsynced bytes.
    pub(crate) fn crowded(&self, bytes: u64) -> bool {
        self.lock().unsynced + bytes > self.sizes.unsynced
    }

    /// Decoded body of an entry that is not durable yet.
    fn pending(&self, location: &Location) -> Option<Bytes> {
        let state = self.lock();
        let segment = state.chain.find(location.segment)?;
        let body = segment.bodies.get(&location.offset)?;
        (body.location == *location).then(|| body.decoded.clone())
    }
}

/// What the readers may see of the log: nothing that keeps it open.
struct Window(Weak<Core>);

impl Homes for Window {
    fn in_memory(&self, location: &Location) -> Option<Bytes> {
        self.0.upgrade()?.pending(location)
    }

    fn journal_file(&self, segment: SegmentId) -> Option<Arc<dyn DiskFile>> {
        let core = self.0.upgrade()?;
        let state = core.lock();
        let stored = state.view.unit(segment).is_none_or(|u| u.phase == Phase::Stored);
        let segment = state.chain.find(segment).filter(|_| !stored)?;
        Some(segment.file.as_ref()?.file.clone())
    }
}

impl State {
    pub(crate) fn note_error(&mut self, id: SegmentId, error: &LogError) {
        self.put_error = Some((id, error.to_string()));
    }

    /// Streams look whether they may go on.
    pub(crate) fn tell_streams(&self) {
        let flows = self.chain.segments.iter().filter_map(|s| s.flow.as_ref());
        flows.for_each(|flow| flow.told.notify_one());
    }

    /// Bytes appended and not yet handed to a file.
    pub(crate) fn unwritten(&self) -> u64 {
        let unwritten = |s: &&Segment| s.is_bare() || s.written < s.end;
        let segments = self.chain.segments.iter().rev().take_while(unwritten);
        segments.filter(|s| !s.is_bare()).map(|s| s.end - s.written).sum()
    }

    fn take_due(&mut self, durable: Seq) -> Vec<Waker> {
        let mut due: Vec<Waker> =
            self.syncs.extract_if(.., |(seq, _)| *seq <= durable).map(|(_, w)| w).collect();
        due.append(&mut self.admits);
        due
    }

    fn take_all(&mut self) -> Vec<Waker> {
        let mut all: Vec<Waker> = self.syncs.drain(..).map(|(_, w)| w).collect();
        all.append(&mut self.admits);
        all.append(&mut self.stores);
        all.append(&mut self.betweens);
        all
    }
}

pub(crate) fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        waker.wake();
    }
}
