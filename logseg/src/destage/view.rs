//! Where each segment stands on its way to the store, and what is to be done about it.
//!
//! One type owns this: [`View`]. What happens is told to it by its methods; what to do next is
//! [`decide`], a pure function of the view and the time. The keeper (`destage`) carries decisions
//! out and asks again until there is nothing left to do; only then it sleeps, and no longer than
//! the decision says. So no condition that holds is ever slept through.
//!
//! ```text
//!   opened ─► Open ─sealed─► Sealed ─begin─► Storing ─stored─► Stored ─► forgotten, oldest first
//!               │               ▲ │             │
//!               └─stream─► bytes travel         └─failed─► Failed ─begin, after back-off─► Storing
//! ```
//!
//! It must never know: bytes, files, stores, tasks.
//!
//! Invariants
//! 1. Units are in id order, the open one last; what is not stored is never forgotten.
//! 2. At most [`DESTAGE_WINDOW`] ids beyond the oldest unstored are in flight or stored (R19); what
//!    nobody needs any more is not counted.
//! 3. `dirty`, `sealed` and `in_flight` are sums over the units, kept up at every step.
//! 4. Where [`decide`] gives neither work nor a time to look again, no passing of time makes work.

use std::{collections::VecDeque, time::Duration};

use crate::{
    DESTAGE_WINDOW, SegmentId,
    limits::{
        DESTAGE_START_HALVES, DESTAGE_START_SHARE, DESTAGE_STOP_SHARE, PARALLEL_LEAST,
        STREAM_FROM_BYTES, STREAM_SEAL_AFTER,
    },
};

/// Where destage stands with a segment (R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Entries are appended.
    Open,
    /// Ended by a footer.
    Sealed,
    /// A put is under way.
    Storing,
    /// The store holds the same bytes.
    Stored,
    /// The last put failed: `Unit::not_before` says when the next may begin. Never dropped.
    Failed,
}

/// Whether the bytes of a unit travel while it still grows (R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    None,
    /// Bytes moved last at this time.
    Alive(Duration),
    /// It broke: the whole goes by an ordinary put.
    Broken,
}

/// Why something was begun. Counted ([`crate::DestageStatus::wakes`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wake {
    /// A segment is sealed or grows, and what is sealed goes at once.
    Insert,
    /// A put ended for which others had waited.
    Completion,
    /// It is old enough.
    Age,
    /// Half of the budget is in use.
    Quota,
    /// Sealed bytes passed the high mark and are not yet down to the low one.
    Bytes,
    /// Somebody waits until it is stored.
    Force,
    /// A sync waits, and there is no journal.
    Sync,
    /// The back-off after a failure is over.
    Retry,
    /// The log is being closed.
    Shutdown,
}

impl Wake {
    pub(crate) const ALL: [Self; 9] = [
        Self::Insert,
        Self::Completion,
        Self::Age,
        Self::Quota,
        Self::Bytes,
        Self::Force,
        Self::Sync,
        Self::Retry,
        Self::Shutdown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Completion => "completion",
            Self::Age => "age",
            Self::Quota => "quota",
            Self::Bytes => "bytes",
            Self::Force => "force",
            Self::Sync => "sync",
            Self::Retry => "retry",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Why nothing is begun any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ended {
    /// The log is dropped.
    Stopping,
    /// It takes nothing more: fenced or read-only.
    Failed,
}

/// One segment that is not known stored, or stands behind one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    pub id: SegmentId,
    pub phase: Phase,
    /// Bytes appended, header and footer included, once there is an entry.
    pub bytes: u64,
    /// When its first entry was appended.
    pub born: Option<Duration>,
    /// R4: sealed, and all of it is durable in the journal, or there is none.
    pub ready: bool,
    /// Bytes that may travel already.
    pub written: u64,
    pub stream: Stream,
    /// Puts and streams that failed.
    pub attempts: u32,
    /// When the next may begin.
    pub not_before: Duration,
}

impl Unit {
    fn new(id: SegmentId) -> Self {
        Self {
            id,
            phase: Phase::Open,
            bytes: 0,
            born: None,
            ready: false,
            written: 0,
            stream: Stream::None,
            attempts: 0,
            not_before: Duration::ZERO,
        }
    }

    pub(crate) fn flies(&self) -> bool {
        self.phase == Phase::Storing || matches!(self.stream, Stream::Alive(_))
    }
}

/// How this log's segments travel. Fixed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// Storing is a link, which costs nothing but a directory's fsync.
    pub links: bool,
    /// An open segment's bytes travel while it fills.
    pub streams: bool,
    /// There is a journal; else a sync is a put.
    pub journal: bool,
    /// An open segment this old is sealed, a sealed one stored.
    pub age: Duration,
    /// Size at which a segment is full, bytes.
    pub segment: u64,
}

/// All segments that are not stored, and what moves them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    rules: Rules,
    units: VecDeque<Unit>,
    /// Most bytes that should be unstored.
    budget: u64,
    /// Bytes of all units but the stored ones.
    dirty: u64,
    /// Bytes of those among them that are sealed.
    sealed: u64,
    /// Units sealed and not ready.
    unready: usize,
    /// Units whose bytes are on their way.
    in_flight: usize,
    /// Between the high mark and the low mark.
    draining: bool,
    /// Everything below this id goes at once.
    forced: Option<(SegmentId, Wake)>,
    /// The open segment is to be sealed as soon as no transaction is under way.
    seal_asked: bool,
    /// Without a journal: a sync waits for something in the open segment.
    sync_waits: bool,
    /// Without a journal: the last unit that was sealed for a sync.
    wave: Option<SegmentId>,
    /// Something due waits for a put to end.
    blocked: bool,
    /// The store is full: nothing is put until there is room (R18).
    held: bool,
    /// A put is a question whether it has: one at a time.
    questions: bool,
    enabled: bool,
    ended: Option<Ended>,
    /// First id that is not stored.
    stored_through: SegmentId,
    /// Decisions to do something, by reason.
    wakes: [u64; Wake::ALL.len()],
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Put these.
    pub begin: Vec<SegmentId>,
    /// Seal the open segment.
    pub seal: bool,
    /// Begin to send this open segment.
    pub stream: Option<SegmentId>,
    /// A sealed segment is not durable in the journal yet: flush.
    pub flush: bool,
    /// Something due waits for a put to end.
    pub blocked: bool,
    /// The first reason for any of it.
    pub reason: Option<Wake>,
    /// Look again then, unless something happens before.
    pub sleep_until: Option<Duration>,
}

impl Decision {
    /// True where there is something to carry out.
    pub(crate) fn acts(&self) -> bool {
        self.seal || self.stream.is_some() || !self.begin.is_empty()
    }

    fn sleep(&mut self, until: Duration) {
        self.sleep_until = Some(self.sleep_until.map_or(until, |s| s.min(until)));
    }

    fn because(&mut self, reason: Wake) {
        self.reason.get_or_insert(reason);
    }
}

/// What to do in this state at this time.
pub(crate) fn decide(view: &View, now: Duration) -> Decision {
    let mut decision = Decision::default();
    if view.ended.is_some() || !view.enabled {
        return decision;
    }
    decision.flush = view.unready > 0;
    if !view.held {
        view.decide_puts(now, &mut decision);
    }
    view.decide_seal(now, &mut decision);
    if !decision.seal && !view.held && decision.begin.len() + view.in_flight < view.parallel() {
        decision.stream = view.streamable();
        if decision.stream.is_some() {
            decision.because(Wake::Insert);
        }
    }
    decision
}

impl View {
    fn decide_puts(&self, now: Duration, decision: &mut Decision) {
        let mut free = self.parallel().saturating_sub(self.in_flight);
        for unit in self.units.iter().take(DESTAGE_WINDOW as usize + 1) {
            let due = match unit.phase {
                Phase::Failed | Phase::Sealed
                    if unit.attempts > 0 && !unit.flies() && unit.ready =>
                {
                    if unit.not_before > now { Err(unit.not_before) } else { Ok(Wake::Retry) }
                }
                Phase::Sealed if unit.ready && !unit.flies() => self.due(unit, now),
                _ => continue,
            };
            match due {
                Ok(reason) if free > 0 => {
                    free -= 1;
                    let waited = self.blocked && unit.phase == Phase::Sealed;
                    decision.because(if waited { Wake::Completion } else { reason });
                    decision.begin.push(unit.id);
                }
                Ok(_) => decision.blocked = true,
                // A put that ends is a reason of its own to look again.
                Err(at) if free > 0 => decision.sleep(at),
                Err(_) => {}
            }
        }
    }

    /// Why a sealed unit is to be stored now, or when it will be.
    fn due(&self, unit: &Unit, now: Duration) -> Result<Wake, Duration> {
        let old = unit.born.unwrap_or_default() + self.rules.age;
        if let Some(forced) = self.forced(unit.id) {
            Ok(forced)
        } else if self.rules.links || !self.rules.journal {
            Ok(Wake::Insert)
        } else if self.dirty >= self.quota() {
            Ok(Wake::Quota)
        } else if self.draining {
            Ok(Wake::Bytes)
        } else if old <= now {
            Ok(Wake::Age)
        } else {
            Err(old)
        }
    }

    fn decide_seal(&self, now: Duration, decision: &mut Decision) {
        let Some(open) = self.open() else { return };
        let (Some(born), false) = (open.born, self.seal_asked) else { return };
        let old = born + self.rules.age;
        let idle = match open.stream {
            Stream::Alive(moved) => moved + STREAM_SEAL_AFTER,
            _ => Duration::MAX,
        };
        let reason = if let Some(forced) = self.forced(open.id) {
            Some(forced)
        } else if self.sync_waits && !self.wave_flies() {
            Some(Wake::Sync)
        } else if old.min(idle) <= now {
            Some(Wake::Age)
        } else {
            (self.dirty >= self.quota() && self.sealed == 0).then_some(Wake::Quota)
        };
        match reason {
            Some(reason) => {
                decision.because(reason);
                decision.seal = true;
            }
            None => decision.sleep(old.min(idle)),
        }
    }

    /// The open unit, where its bytes should begin to travel (R13).
    fn streamable(&self) -> Option<SegmentId> {
        if !self.rules.streams || self.units.len() > DESTAGE_WINDOW as usize + 1 {
            return None;
        }
        let open = self.open()?;
        let fresh = open.stream == Stream::None && open.written >= STREAM_FROM_BYTES;
        // While the store takes nothing, the oldest goes first (R19).
        let healthy = self.units.iter().all(|u| u.phase != Phase::Failed && u.attempts == 0);
        (fresh && healthy).then_some(open.id)
    }

    fn forced(&self, id: SegmentId) -> Option<Wake> {
        self.forced.filter(|(below, _)| id < *below).map(|(_, reason)| reason)
    }

    fn wave_flies(&self) -> bool {
        self.wave.and_then(|id| self.unit(id)).is_some_and(|u| u.phase != Phase::Stored)
    }

    /// Puts and streams that may be under way at the same time.
    ///
    /// Fewer where the budget is small: what ends together must not be a large part of it, or the
    /// level would saw.
    pub(crate) fn parallel(&self) -> usize {
        if self.rules.links || self.questions {
            // One thing at a time beside the sync path of the same disk.
            return 1;
        }
        let most = DESTAGE_WINDOW as usize;
        if !self.rules.journal {
            return most;
        }
        let part = self.budget / (8 * self.rules.segment.max(1));
        usize::try_from(part).unwrap_or(most).clamp(PARALLEL_LEAST, most)
    }

    fn start_mark(&self) -> u64 {
        let share = self.budget / 100 * DESTAGE_START_SHARE;
        share.min(self.rules.segment / 2 * DESTAGE_START_HALVES)
    }

    fn stop_mark(&self) -> u64 {
        self.start_mark() / DESTAGE_START_SHARE * DESTAGE_STOP_SHARE
    }

    fn quota(&self) -> u64 {
        self.budget / 100 * DESTAGE_START_SHARE
    }
}

/// What happens, and what is to be seen.
impl View {
    /// Recovery found `backlog` (ids and bytes) in the journal only: it goes at once.
    pub(crate) fn new(
        rules: Rules,
        budget: u64,
        backlog: impl Iterator<Item = (SegmentId, u64)>,
        first: SegmentId,
        now: Duration,
    ) -> Self {
        let found = |(id, bytes)| Unit {
            phase: Phase::Sealed,
            bytes,
            born: Some(now),
            ready: true,
            written: bytes,
            ..Unit::new(id)
        };
        let units: VecDeque<Unit> = backlog.map(found).collect();
        let sealed = units.iter().map(|u| u.bytes).sum();
        let mut view = Self {
            rules,
            stored_through: units.front().map_or(first, |u| u.id),
            units,
            budget,
            dirty: sealed,
            sealed,
            unready: 0,
            in_flight: 0,
            draining: false,
            forced: Some((first, Wake::Insert)),
            seal_asked: false,
            sync_waits: false,
            wave: None,
            blocked: false,
            held: false,
            questions: false,
            enabled: true,
            ended: None,
            wakes: [0; Wake::ALL.len()],
        };
        view.remark();
        view
    }

    pub(crate) fn opened(&mut self, id: SegmentId) {
        self.units.push_back(Unit::new(id));
    }

    /// The open unit grew by `bytes`; true with its first entry.
    pub(crate) fn appended(&mut self, bytes: u64, now: Duration) -> bool {
        let Some(open) = self.units.back_mut() else { return false };
        open.bytes += bytes;
        self.dirty += bytes;
        open.born.replace(open.born.unwrap_or(now)).is_none()
    }

    /// The open unit ended with a footer of `bytes`.
    pub(crate) fn sealed(&mut self, bytes: u64) {
        let journal = self.rules.journal;
        let Some(open) = self.units.back_mut() else { return };
        open.bytes += bytes;
        open.phase = Phase::Sealed;
        open.ready = !journal;
        self.dirty += bytes;
        self.sealed += open.bytes;
        self.unready += usize::from(journal);
        if std::mem::take(&mut self.seal_asked) && !journal {
            self.wave = Some(open.id);
        }
        self.sync_waits = false;
        self.remark();
    }

    /// Sealed unit `id` is durable in the journal.
    pub(crate) fn ready(&mut self, id: SegmentId) {
        if let Some(unit) = self.unit_mut(id)
            && unit.phase == Phase::Sealed
            && !std::mem::replace(&mut unit.ready, true)
        {
            self.unready -= 1;
        }
    }

    /// `written` bytes of unit `id` may travel; true where that may begin now.
    pub(crate) fn wrote(&mut self, id: SegmentId, written: u64) -> bool {
        let Some(unit) = self.unit_mut(id) else { return false };
        unit.written = unit.written.max(written);
        unit.phase == Phase::Open
            && unit.stream == Stream::None
            && unit.written >= STREAM_FROM_BYTES
    }

    /// Notes what is being carried out.
    pub(crate) fn carry_out(&mut self, decision: &Decision, now: Duration) {
        for &id in &decision.begin {
            if let Some(unit) = self.unit_mut(id) {
                unit.phase = Phase::Storing;
                self.in_flight += 1;
            }
        }
        if let Some(unit) = decision.stream.and_then(|id| self.unit_mut(id)) {
            unit.stream = Stream::Alive(now);
            self.in_flight += 1;
        }
        self.seal_asked |= decision.seal;
        self.blocked = decision.blocked;
        if let Some(reason) = decision.reason {
            self.wakes[reason as usize] += 1;
        }
    }

    /// Bytes of the stream of `id` moved.
    pub(crate) fn stream_moved(&mut self, id: SegmentId, now: Duration) {
        if let Some(unit) = self.unit_mut(id)
            && matches!(unit.stream, Stream::Alive(_))
        {
            unit.stream = Stream::Alive(now);
        }
    }

    /// All bytes of a sealed unit were sent: its end is being sent now.
    pub(crate) fn stream_ends(&mut self, id: SegmentId) {
        if let Some(unit) = self.unit_mut(id) {
            unit.stream = Stream::None;
            unit.phase = Phase::Storing;
        }
    }

    /// The stream of `id` broke.
    pub(crate) fn stream_broke(&mut self, id: SegmentId, not_before: Duration) {
        if let Some(unit) = self.unit_mut(id)
            && matches!(unit.stream, Stream::Alive(_))
        {
            unit.stream = Stream::Broken;
            unit.attempts += 1;
            unit.not_before = not_before;
            self.in_flight -= 1;
        }
    }

    /// The store holds unit `id`. Forgets the oldest ones that are stored; true where there were.
    pub(crate) fn stored(&mut self, id: SegmentId) -> bool {
        let Some(unit) = self.unit_mut(id) else { return false };
        let (was, bytes) = (std::mem::replace(&mut unit.phase, Phase::Stored), unit.bytes);
        if was == Phase::Stored {
            return false;
        }
        self.in_flight -= usize::from(was == Phase::Storing);
        self.dirty -= bytes;
        self.sealed -= bytes;
        let mut trimmed = false;
        while let Some(front) = self.units.front().filter(|u| u.phase == Phase::Stored) {
            let next = SegmentId::chain(front.id.epoch(), front.id.counter() + 1);
            self.units.pop_front();
            self.stored_through = self.units.front().map_or(next, |u| u.id);
            trimmed = true;
        }
        self.forced = self.forced.filter(|(below, _)| *below > self.stored_through);
        self.remark();
        trimmed
    }

    /// The put of `id` failed.
    pub(crate) fn failed(&mut self, id: SegmentId, not_before: Duration) {
        if let Some(unit) = self.unit_mut(id) {
            let was = std::mem::replace(&mut unit.phase, Phase::Failed);
            unit.attempts += 1;
            unit.not_before = not_before;
            self.in_flight -= usize::from(was == Phase::Storing);
        }
    }

    /// Everything below this id is to be stored whatever the marks say.
    pub(crate) fn force(&mut self, below: SegmentId, why: Wake) {
        if below > self.stored_through && self.forced.is_none_or(|(old, _)| old < below) {
            self.forced = Some((below, why));
        }
    }

    /// Without a journal: a sync waits for what is in the open unit.
    pub(crate) fn sync_waits(&mut self) {
        self.sync_waits = !self.rules.journal;
    }

    /// Most bytes that should be unstored, from now on.
    pub(crate) fn set_budget(&mut self, bytes: u64) {
        self.budget = bytes;
        self.remark();
    }

    /// Whether puts wait until the store has room.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether a put is a question, of which there is one at a time.
    pub(crate) fn question(&mut self, questions: bool) {
        self.questions = questions;
    }

    /// Nobody will ever ask for unit `id` again: it need not be stored, and counts as if it were.
    /// False while its bytes are on their way, or where it is not sealed.
    pub(crate) fn forgo(&mut self, id: SegmentId) -> bool {
        let Some(unit) = self.unit_mut(id) else { return true };
        match unit.phase {
            Phase::Stored => return true,
            Phase::Sealed | Phase::Failed if !unit.flies() => {}
            _ => return false,
        }
        let unready = unit.phase == Phase::Sealed && !std::mem::replace(&mut unit.ready, true);
        self.unready -= usize::from(unready);
        self.stored(id);
        true
    }

    pub(crate) fn enable(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Nothing is begun any more.
    pub(crate) fn end(&mut self, how: Ended) {
        self.ended.get_or_insert(how);
    }

    /// Hysteresis: on at the high mark, off at the low one.
    fn remark(&mut self) {
        self.draining =
            self.sealed >= if self.draining { self.stop_mark() + 1 } else { self.start_mark() };
    }

    pub(crate) fn unit(&self, id: SegmentId) -> Option<&Unit> {
        let at = self.units.partition_point(|u| u.id < id);
        self.units.get(at).filter(|u| u.id == id)
    }

    fn unit_mut(&mut self, id: SegmentId) -> Option<&mut Unit> {
        let at = self.units.partition_point(|u| u.id < id);
        self.units.get_mut(at).filter(|u| u.id == id)
    }

    /// True for a unit that the store does not hold.
    pub(crate) fn is_unstored(&self, id: SegmentId) -> bool {
        self.unit(id).is_some_and(|u| u.phase != Phase::Stored)
    }

    /// The unit that still grows.
    pub(crate) fn open(&self) -> Option<&Unit> {
        self.units.back().filter(|u| u.phase == Phase::Open)
    }

    /// In id order, the oldest unstored one first.
    pub(crate) fn units(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter()
    }

    pub(crate) fn stored_through(&self) -> SegmentId {
        self.stored_through
    }

    pub(crate) fn dirty(&self) -> u64 {
        self.dirty
    }

    pub(crate) fn budget(&self) -> u64 {
        self.budget
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Bytes on their way to the store, as far as they may have arrived.
    pub(crate) fn flying_bytes(&self) -> u64 {
        let flying = self.units.iter().take(DESTAGE_WINDOW as usize + 1).filter(|u| u.flies());
        flying.map(|u| u.bytes).sum()
    }

    pub(crate) fn wakes(&self) -> impl Iterator<Item = (Wake, u64)> {
        Wake::ALL.into_iter().zip(self.wakes)
    }
}

#[cfg(test)]
mod tests;
