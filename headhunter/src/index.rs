//! The index of one volume: the door that everybody above uses.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use logseg::{Codec, Location, LogError, Seq, SyncMode, VolumeHeader};
use parking_lot::{Mutex, RwLock};
use swiftclient::seam::Env;
use tokio::sync::Notify;

use crate::{
    Abort, Committed, Miss, Remembered, RequestTag, Txn, View,
    apply::Applier,
    checkpoint::Keeper,
    driver::Pulse,
    home::{Home, Memory, Pen},
    limits,
    open::rebuild::Rebuild,
    record::Outcome,
    replies::Replies,
    retire::Generation,
    tree::{PageRef, Shape, budget::Budget, evict::Clock, page::Page},
    txn::check_limits,
};

/// What a caller wants to do, for admission (R16, R18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Adds data or names: refused with `Full` at the reserve, slowed at the budgets.
    Grow {
        /// Payload bytes that will be appended.
        bytes: u64,
    },
    /// Removes or truncates: may use the reserve.
    Shrink,
}

/// Room of a volume, bytes, reserve left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Whole size.
    pub total: u64,
    /// Free to writers.
    pub free: u64,
}

/// What an unbounded store is said to hold (statfs must say something), bytes.
const UNBOUNDED: Room = Room { total: 1 << 50, free: 1 << 49 };

/// Turns of the clock that one fault may cost.
const SHRINK_TURNS: usize = 64;

/// The index of one volume. Clones share it.
#[derive(Clone)]
pub struct Index {
    pub(crate) inner: Arc<Inner>,
}

/// What never changes while a volume is open.
#[derive(Clone)]
pub(crate) struct Settings {
    pub memory: u64,
    pub shape: Shape,
    pub codec: Codec,
    pub header: VolumeHeader,
    pub env: Env,
    /// A checkpoint is due this long after the first change since the last.
    pub checkpoint_every: Duration,
}

/// The newest root, as readers take it.
pub(crate) struct Live {
    pub root: Arc<PageRef>,
    pub generation: Arc<Generation>,
}

/// What only the holder of the commit lock may touch.
pub(crate) struct Committer {
    pub pen: Pen,
    pub applier: Applier,
    pub clock: Clock,
    /// Why nothing more can be committed, if so.
    pub broken: Option<String>,
}

/// What an index is put together from.
pub(crate) struct Parts {
    pub settings: Settings,
    pub home: Home,
    pub pen: Pen,
    pub budget: Arc<Budget>,
    pub root: Arc<PageRef>,
    pub applier: Applier,
    pub replies: Replies,
    pub keeper: Keeper,
    pub last: AtomicU64,
}

pub(crate) struct Inner {
    pub settings: Settings,
    pub home: Home,
    pub budget: Arc<Budget>,
    pub live: RwLock<Live>,
    pub commit: Mutex<Committer>,
    pub replies: Mutex<Replies>,
    pub last: AtomicU64,
    pub records: AtomicU64,
    pub faults: AtomicU64,
    pub checkpoints: AtomicU64,
    pub pages_written: AtomicU64,
    /// A [`crate::Stage`].
    pub stage: AtomicU8,
    /// One checkpoint, retirement or check at a time.
    pub keeper: tokio::sync::Mutex<Keeper>,
    pub pulse: Arc<Pulse>,
    /// Rung when dirty bytes have become fewer.
    pub room: Notify,
}

impl Index {
    /// An empty volume in memory, for tests of the storeys above: the real tree and transactions
    /// over a log that keeps everything in memory and calls it durable.
    pub fn in_memory(env: Env) -> Self {
        let header = VolumeHeader {
            uuid: [7; 16],
            segment_bytes: 16 << 20,
            fencing: true,
            name_secret: [7; 16],
            handle_key: [7; 32],
            wrapped_key: None,
        };
        let settings = Settings {
            memory: u64::MAX / 100,
            shape: Shape::default(),
            codec: Codec::Stored,
            header,
            env,
            checkpoint_every: Duration::from_secs(limits::CHECKPOINT_SECS),
        };
        Self::over_memory(settings, &Memory::new(false))
    }

    /// An empty volume over a log in memory.
    pub(crate) fn over_memory(settings: Settings, memory: &Memory) -> Self {
        let home = Home::Memory(memory.clone());
        let pen = Pen::Memory(memory.pen());
        Rebuild::empty(settings).finish(home, pen, Keeper::default())
    }

    pub(crate) fn assemble(parts: Parts) -> Self {
        let Parts { settings, home, pen, budget, root, applier, replies, keeper, last } = parts;
        let commit = Committer { pen, applier, clock: Clock::default(), broken: None };
        Self {
            inner: Arc::new(Inner {
                settings,
                home,
                budget,
                live: RwLock::new(Live { root, generation: Arc::new(Generation) }),
                commit: Mutex::new(commit),
                replies: Mutex::new(replies),
                last,
                records: AtomicU64::new(0),
                faults: AtomicU64::new(0),
                checkpoints: AtomicU64::new(0),
                pages_written: AtomicU64::new(0),
                stage: AtomicU8::new(0),
                keeper: tokio::sync::Mutex::new(keeper),
                pulse: Arc::new(Pulse::default()),
                room: Notify::new(),
            }),
        }
    }

    /// The newest committed root.
    pub fn view(&self) -> View {
        let live = self.inner.live.read();
        View { root: live.root.clone(), pin: live.generation.clone() }
    }

    /// Runs `body` under the committer's lock and commits what it staged as one record. Never
    /// waits. A body that stages nothing commits nothing.
    ///
    /// Errors: [`Abort::Miss`] where the body met a missing page or one that its writes need;
    /// [`Abort::Log`] where the log is fenced or read-only, or the transaction breaks a limit.
    pub fn transact<R, E>(
        &self,
        body: impl FnOnce(&mut Txn<'_>) -> Result<R, Abort<E>>,
    ) -> Result<Committed<R>, Abort<E>> {
        let inner = &*self.inner;
        let mut guard = inner.commit.lock();
        let committer = &mut *guard;
        if let Some(reason) = &committer.broken {
            return Err(Abort::Log(LogError::ReadOnly { reason: reason.clone() }));
        }
        committer.pen.begin().map_err(Abort::Log)?;
        let done = self.body_and_commit(committer, body);
        match &done {
            Ok((_, true)) => inner.after_commit(committer),
            _ => committer.pen.abort(),
        }
        done.map(|(committed, _)| committed).map_err(|abort| match abort {
            Abort::Miss(miss) => Abort::Miss(miss.pinned(&inner.live.read().generation)),
            other => other,
        })
    }

    /// The second value says whether anything was committed.
    fn body_and_commit<R, E>(
        &self,
        committer: &mut Committer,
        body: impl FnOnce(&mut Txn<'_>) -> Result<R, Abort<E>>,
    ) -> Result<(Committed<R>, bool), Abort<E>> {
        let inner = &*self.inner;
        let root = inner.live.read().root.clone();
        let mut txn = Txn::new(root, &mut committer.pen);
        let value = body(&mut txn)?;
        if txn.is_empty() {
            return Ok((Committed { value, seq: self.last_seq() }, false));
        }
        let outcome = txn.into_outcome(inner.wall());
        committer.applier.resident(&inner.live.read().root, &outcome)?;
        let record = outcome.encode();
        check_limits(&outcome, record.len(), committer.pen.room()).map_err(Abort::Log)?;
        let seq = committer.pen.commit(&record);
        inner.last.store(seq.0, Ordering::Release);
        inner.records.fetch_add(1, Ordering::Relaxed);
        inner.apply(committer, seq, &outcome).map_err(Abort::Log)?;
        Ok((Committed { value, seq }, true))
    }

    /// Waits until there is room for `intent` (R16: slowed from 60 %, stopped at 80 % dirty), or
    /// says that there is none (R18). Call it before any lock and before `transact`.
    ///
    /// Errors: `Full` at the reserve; whatever ends the log.
    pub async fn admit(&self, intent: Intent) -> Result<(), LogError> {
        let inner = &*self.inner;
        let (bytes, stop) = match intent {
            Intent::Grow { bytes } => {
                if inner.home.reserve_in_use() {
                    self.wake();
                    return Err(LogError::Full);
                }
                (bytes, limits::DIRTY_STOP)
            }
            Intent::Shrink => (0, limits::DIRTY_STOP_SHRINK),
        };
        loop {
            let room = inner.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let share = inner.dirty_share();
            if share < stop {
                if share >= limits::DIRTY_SLOW {
                    // 60 % … stop: from 0 to 20 ms each.
                    let over = (share - limits::DIRTY_SLOW + 1) * 20;
                    let all = stop - limits::DIRTY_SLOW;
                    tokio::time::sleep(Duration::from_millis(over / all)).await;
                }
                let admitted = inner.home.admit(bytes).await;
                if matches!(admitted, Err(LogError::Full)) {
                    self.wake();
                }
                return admitted;
            }
            if let Some(reason) = inner.commit.lock().broken.clone() {
                return Err(LogError::ReadOnly { reason });
            }
            // A log that takes nothing more makes no room either: its error is the answer.
            inner.home.admit(0).await?;
            self.wake();
            room.await;
        }
    }

    /// Brings missing pages into memory.
    ///
    /// Errors: whatever reading them gave; `Corrupt` where a page is not what its parent says.
    pub async fn fault(&self, miss: Miss) -> Result<(), LogError> {
        self.inner.load_all(miss).await
    }

    /// The decoded bytes of a data entry, if they are in memory: never waits.
    pub fn read_now(&self, location: &Location) -> Option<Bytes> {
        self.inner.home.read_now(location)
    }

    /// The decoded bytes of a data entry. Hold the [`View`] that gave the location meanwhile: it
    /// keeps the segment from being retired (R8).
    pub async fn read(&self, location: &Location) -> Result<Bytes, LogError> {
        self.inner.home.read(location).await
    }

    /// [`Index::read`] of each, in order; what lies together travels together.
    pub async fn read_many(&self, locations: &[Location]) -> Result<Vec<Bytes>, LogError> {
        self.inner.home.read_many(locations).await
    }

    /// Bytes `part` of the decoded body of a data entry, which must lie within it. Fetches little
    /// more than it gives where the frame is not in memory: for random small reads.
    pub async fn read_part(
        &self,
        location: &Location,
        part: Range<u32>,
    ) -> Result<Bytes, LogError> {
        self.inner.home.read_part(location, part).await
    }

    /// Whether the volume is still ours, as far as this server knows.
    ///
    /// Errors: as [`logseg::Log::overruled`].
    pub fn overruled(&self) -> Result<(), LogError> {
        self.inner.home.overruled()
    }

    /// Newest committed seq.
    pub fn last_seq(&self) -> Seq {
        Seq(self.inner.last.load(Ordering::Acquire))
    }

    /// Newest durable seq.
    pub fn durable_seq(&self) -> Seq {
        self.inner.home.durable_seq()
    }

    /// Waits until everything up to and including `seq` is durable.
    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), LogError> {
        self.inner.home.sync(seq, mode).await
    }

    /// Waits until everything up to `seq` is durable *and stored*, at once whatever the marks of
    /// destage say. Ends in every state.
    ///
    /// Errors: as [`logseg::Log::flush_through`].
    pub async fn flush_through(&self, seq: Seq) -> Result<(), LogError> {
        self.inner.home.flush_through(seq).await
    }

    /// What is remembered of a request (R23).
    pub fn remembered(&self, tag: &RequestTag) -> Option<Remembered> {
        let now = self.inner.wall();
        self.inner.replies.lock().get(tag, now)
    }

    /// Room of the volume in bytes, reserve left out (statfs).
    pub fn room(&self) -> Room {
        match self.inner.home.room() {
            Some((total, free)) => Room { total, free },
            None => UNBOUNDED,
        }
    }

    /// How this volume's frames are to be stored: the argument of [`logseg::Frame::data`].
    pub fn codec(&self) -> Codec {
        self.inner.settings.codec
    }

    /// Most payload that one transaction should append, bytes; the rest of what it may append is
    /// left to headers and its record. Less than 1 MiB on small volumes only.
    pub fn payload_bytes(&self) -> usize {
        let most = logseg::TRANSACTION_BYTES.min(self.inner.settings.header.segment_bytes / 4);
        usize::try_from(most / 2).unwrap_or(usize::MAX)
    }

    /// The volume's constants: name-hash secret, handle key, uuid.
    pub fn header(&self) -> VolumeHeader {
        self.inner.settings.header.clone()
    }

    /// The seams.
    pub fn env(&self) -> &Env {
        &self.inner.settings.env
    }
}

impl Inner {
    /// Wall time, nanoseconds since 1970.
    pub fn wall(&self) -> u64 {
        u64::try_from(self.settings.env.clock.wall().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Dirty bytes as a share of the budget, per cent.
    pub fn dirty_share(&self) -> u64 {
        self.budget.dirty().saturating_mul(100) / self.dirty_budget().max(1)
    }

    /// Most dirty bytes: what memory has, and what checkpoints find room for on a full store.
    fn dirty_budget(&self) -> u64 {
        self.settings.memory.min(self.dirty_room())
    }

    fn dirty_room(&self) -> u64 {
        let part = |room: u64| (room / limits::DIRTY_PART_OF_ROOM).max(limits::DIRTY_LEAST);
        self.home.checkpoint_room().map_or(u64::MAX, part)
    }

    /// Has the room for checkpoints grow with what they write: dirty pages and the reply table, twice;
    /// and where it is that room and not memory which makes one `due`, to twice itself.
    pub fn wish_room(&self, due: bool) {
        let Some(room) = self.home.checkpoint_room() else { return };
        let bytes = self.budget.dirty() + self.replies.lock().bytes();
        let bound = due && self.dirty_room() < self.settings.memory;
        let twice = if bound { room.saturating_mul(2) } else { 0 };
        self.home.wish_checkpoint_room(twice.max(2 * bytes));
    }

    /// Makes a committed record visible. It cannot fail; if it did, what is in memory would not
    /// be what the log says, so nothing more is accepted.
    fn apply(
        &self,
        committer: &mut Committer,
        seq: Seq,
        outcome: &Outcome,
    ) -> Result<(), LogError> {
        let segment = committer.pen.open_segment();
        let done = {
            let mut live = self.live.write();
            committer.applier.apply(&mut live.root, seq, segment, outcome)
        };
        if done.is_err() {
            let reason = format!("record {} met a page that was checked to be there", seq.0);
            tracing::error!("{reason}");
            committer.broken = Some(reason.clone());
            return Err(LogError::ReadOnly { reason });
        }
        if let Some(reply) = &outcome.reply {
            self.replies.lock().insert(seq, reply);
        }
        Ok(())
    }

    /// Cheap upkeep, still under the commit lock.
    fn after_commit(&self, committer: &mut Committer) {
        if self.budget.resident() > self.settings.memory {
            let root = self.live.read().root.clone();
            committer.clock.turn(&root, limits::CLOCK_SLOTS / 8);
        }
        if self.pulse.first_change(|| self.settings.env.clock.monotonic())
            || committer.applier.segments >= limits::SEGMENTS_PER_CHECKPOINT
            || self.dirty_share() >= limits::DIRTY_CHECKPOINT
        {
            self.pulse.wake();
        }
    }

    /// Reads one page and puts it into its slot.
    pub async fn load(&self, slot: &Arc<PageRef>) -> Result<(), LogError> {
        let (location, birth) = {
            let state = slot.state.read();
            match state.place.stored() {
                Some(location) if state.page.is_none() => (location, state.birth),
                _ => return Ok(()), // somebody else was faster
            }
        };
        let bytes = self.home.read(&location).await?;
        install(slot, location, birth, &bytes, &self.budget)?;
        self.faults.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Evicts until the budget holds, but no further than the end of the clock's round: what a
    /// waiting transaction has just had read must be there when it comes back.
    pub fn shrink(&self) {
        for _ in 0..SHRINK_TURNS {
            if self.budget.resident() <= self.settings.memory {
                return;
            }
            // Whoever holds the lock longer than this will look after memory itself.
            let Some(mut committer) = self.commit.try_lock() else { return };
            let root = self.live.read().root.clone();
            committer.clock.turn(&root, limits::CLOCK_SLOTS);
            if committer.clock.at_start() {
                return;
            }
        }
    }
}

/// Checks a page that was read and puts it into its slot.
pub(crate) fn install(
    slot: &Arc<PageRef>,
    location: Location,
    birth: Seq,
    bytes: &[u8],
    budget: &Arc<Budget>,
) -> Result<(), LogError> {
    let corrupt = |reason: &str| LogError::Corrupt {
        segment: location.segment,
        offset: u64::from(location.offset),
        reason: reason.into(),
    };
    let (page, found) = Page::decode(bytes, budget).map_err(corrupt)?;
    if found != birth {
        return Err(corrupt("a page of another birth than its parent says"));
    }
    let mut state = slot.state.write();
    if state.page.is_none() {
        state.page = Some(Box::new(page));
        drop(state);
        slot.spare_fresh();
    }
    Ok(())
}
