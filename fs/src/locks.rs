//! Byte-range locks, shared by all faces (fcntl(2), F_SETLK, F_SETLKW, F_GETLK with 64-bit ranges).
//!
//! A lock belongs to an *owner* of a *session*, whatever those are to the face. What an owner holds
//! never stands in his own way: a new lock changes what he had in its range. They are advice: reads
//! and writes do not ask for them.
//!
//! ```text
//!   file ─┬─ held     owner, kind, first..=last    (one owner's do not overlap, nor touch if alike)
//!         └─ waiting  in the order of asking; looked through whenever something was given back
//! ```
//!
//! Invariants:
//! 1. Two locks that overlap, of two owners, are both shared.
//! 2. Who waits, waits for somebody who does not wait for him: where that would be so he is refused
//!    ([`LockError::Deadlock`]).
//! 3. Nobody waits for a lock that could be granted.
//! 4. A session that has ended holds nothing and waits for nothing.
//!
//! They live in memory: after a restart the faces have them claimed again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::FileId;

/// Most locks of one session, held and waited for together.
pub const SESSION_LOCKS: usize = 65_536;
/// Owners looked at for a circle before it is taken that there is none.
const CIRCLE: usize = 4_096;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockOwner {
    /// A session of a face ([`Locks::begin_session`]).
    pub session: u64,
    /// The owner, as that session calls it.
    pub owner: u64,
}

/// What a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRange {
    /// Stands beside no other owner's; else beside shared ones.
    pub exclusive: bool,
    /// First byte.
    pub first: u64,
    /// Last byte, `first` or greater; [`u64::MAX`]: to the end, wherever it is.
    pub last: u64,
}

/// A lock that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// By whom.
    pub owner: LockOwner,
    /// What.
    pub range: LockRange,
}

/// Why a lock was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockError {
    /// This one is in the way.
    Held(HeldLock),
    /// Who holds it waits, itself or through others, for this owner.
    Deadlock,
    /// The session has [`SESSION_LOCKS`] already.
    TooMany,
    /// The session has ended.
    Ended,
}

/// The locks of a volume.
#[derive(Default)]
pub struct Locks {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    files: HashMap<FileId, File>,
    sessions: HashMap<u64, Share>,
    asked: u64,
    begun: u64,
}

/// What a session holds and waits for: how many locks of which files.
#[derive(Default)]
struct Share {
    files: HashMap<FileId, usize>,
    sum: usize,
}

#[derive(Default)]
struct File {
    held: Vec<HeldLock>,
    waiting: VecDeque<Wait>,
}

struct Wait {
    number: u64,
    wants: HeldLock,
    tell: oneshot::Sender<Result<(), LockError>>,
}

impl LockRange {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

fn in_the_way(held: &HeldLock, wanted: &HeldLock) -> bool {
    held.owner != wanted.owner
        && held.range.overlaps(&wanted.range)
        && (held.range.exclusive || wanted.range.exclusive)
}

impl File {
    fn conflict(&self, wanted: &HeldLock) -> Option<HeldLock> {
        let in_way = self.held.iter().filter(|held| in_the_way(held, wanted));
        in_way.min_by_key(|held| held.range.first).copied()
    }

    /// Takes `first..=last` from what `owner` holds.
    fn take_away(&mut self, owner: LockOwner, first: u64, last: u64) {
        let mut left = Vec::new();
        let cut = LockRange { exclusive: false, first, last };
        self.held.retain(|held| {
            if held.owner != owner || !held.range.overlaps(&cut) {
                return true;
            }
            if held.range.first < first {
                // Not 0: it is greater than another first.
                let range = LockRange { last: first - 1, ..held.range };
                left.push(HeldLock { owner, range });
            }
            if held.range.last > last {
                let range = LockRange { first: last + 1, ..held.range };
                left.push(HeldLock { owner, range });
            }
            false
        });
        self.held.append(&mut left);
    }

    /// Puts a lock that nothing is in the way of, joined with what touches it and is alike.
    fn put(&mut self, wanted: HeldLock) {
        let HeldLock { owner, mut range } = wanted;
        self.take_away(owner, range.first, range.last);
        self.held.retain(|held| {
            let alike = held.owner == owner && held.range.exclusive == range.exclusive;
            let before = held.range.last.checked_add(1) == Some(range.first);
            let behind = range.last.checked_add(1) == Some(held.range.first);
            if !alike || !(before || behind) {
                return true;
            }
            range.first = range.first.min(held.range.first);
            range.last = range.last.max(held.range.last);
            false
        });
        self.held.push(HeldLock { owner, range });
    }

    /// Grants what can be granted, in the order of asking.
    fn settle(&mut self) {
        let mut still = VecDeque::new();
        while let Some(wait) = self.waiting.pop_front() {
            if wait.tell.is_closed() {
                continue; // given up
            }
            if self.conflict(&wait.wants).is_some() {
                still.push_back(wait);
                continue;
            }
            let before = self.held.clone();
            self.put(wait.wants);
            if wait.tell.send(Ok(())).is_err() {
                // Given up at this moment.
                self.held = before;
            }
        }
        self.waiting = still;
    }
}

impl Table {
    /// True where one of those who hold what `wants` waits for waits for its owner.
    fn circle(&self, file: FileId, wants: &HeldLock) -> bool {
        let mut seen = HashSet::new();
        let mut ahead = self.holders(file, wants);
        while let Some(owner) = ahead.pop() {
            if owner == wants.owner {
                return true;
            }
            if seen.len() >= CIRCLE || !seen.insert(owner) {
                continue;
            }
            let Some(share) = self.sessions.get(&owner.session) else { continue };
            for id in share.files.keys() {
                let Some(theirs) = self.files.get(id) else { continue };
                for wait in theirs.waiting.iter().filter(|wait| wait.wants.owner == owner) {
                    ahead.append(&mut self.holders(*id, &wait.wants));
                }
            }
        }
        false
    }

    fn holders(&self, file: FileId, wants: &HeldLock) -> Vec<LockOwner> {
        let held = self.files.get(&file).map(|file| file.held.as_slice()).unwrap_or_default();
        held.iter().filter(|held| in_the_way(held, wants)).map(|held| held.owner).collect()
    }

    /// Forgets a file of which nothing is held or waited for, and counts what `session` has.
    fn tidy(&mut self, file: FileId, sessions: impl IntoIterator<Item = u64>) {
        for session in sessions {
            let here = self.files.get(&file).map_or(0, |f| {
                let held = f.held.iter().filter(|held| held.owner.session == session).count();
                held + f.waiting.iter().filter(|w| w.wants.owner.session == session).count()
            });
            let share = self.sessions.entry(session).or_default();
            let before = match here {
                0 => share.files.remove(&file),
                n => share.files.insert(file, n),
            };
            share.sum = share.sum + here - before.unwrap_or(0);
            if share.files.is_empty() {
                self.sessions.remove(&session);
            }
        }
        if self.files.get(&file).is_some_and(|f| f.held.is_empty() && f.waiting.is_empty()) {
            self.files.remove(&file);
        }
    }

    fn room(&self, session: u64) -> Result<(), LockError> {
        let has = self.sessions.get(&session).map_or(0, |share| share.sum);
        if has < SESSION_LOCKS { Ok(()) } else { Err(LockError::TooMany) }
    }
}

impl Locks {
    /// A number for a session that begins, unlike all others of this process.
    pub fn begin_session(&self) -> u64 {
        let mut table = self.table.lock();
        table.begun += 1;
        table.begun
    }

    /// Takes or changes a lock, if nothing is in the way.
    pub fn try_lock(
        &self,
        file: FileId,
        owner: LockOwner,
        range: LockRange,
    ) -> Result<(), LockError> {
        let mut table = self.table.lock();
        table.room(owner.session)?;
        let wanted = HeldLock { owner, range };
        let here = table.files.entry(file).or_default();
        let taken = match here.conflict(&wanted) {
            Some(held) => Err(LockError::Held(held)),
            None => {
                here.put(wanted);
                // It may be less than the owner had.
                here.settle();
                Ok(())
            }
        };
        table.tidy(file, [owner.session]);
        taken
    }

    /// As [`Locks::try_lock`]; where something is in the way, gives what waits for it. Dropped, that
    /// waits no longer.
    pub fn lock(
        self: &Arc<Self>,
        file: FileId,
        owner: LockOwner,
        range: LockRange,
    ) -> Result<Option<LockWait>, LockError> {
        match self.try_lock(file, owner, range) {
            Ok(()) => return Ok(None),
            Err(LockError::Held(_)) => {}
            Err(error) => return Err(error),
        }
        let mut table = self.table.lock();
        let wants = HeldLock { owner, range };
        if table.circle(file, &wants) {
            return Err(LockError::Deadlock);
        }
        table.asked += 1;
        let number = table.asked;
        let (tell, told) = oneshot::channel();
        let here = table.files.entry(file).or_default();
        here.waiting.push_back(Wait { number, wants, tell });
        // It may have been given back since it was tried.
        here.settle();
        table.tidy(file, [owner.session]);
        Ok(Some(LockWait { locks: self.clone(), file, wants, number, over: false, told }))
    }

    /// Gives back what `owner` holds of `first..=last`.
    pub fn unlock(&self, file: FileId, owner: LockOwner, first: u64, last: u64) {
        let mut table = self.table.lock();
        if let Some(here) = table.files.get_mut(&file) {
            here.take_away(owner, first, last);
            here.settle();
        }
        table.tidy(file, [owner.session]);
    }

    /// The first lock in the way of one, if any.
    pub fn test(&self, file: FileId, owner: LockOwner, range: LockRange) -> Option<HeldLock> {
        self.table.lock().files.get(&file)?.conflict(&HeldLock { owner, range })
    }

    /// Gives back all that a session holds, and ends its waiting with [`LockError::Ended`].
    pub fn end_session(&self, session: u64) {
        let mut table = self.table.lock();
        let Some(share) = table.sessions.remove(&session) else { return };
        for id in share.files.into_keys() {
            let Some(here) = table.files.get_mut(&id) else { continue };
            here.held.retain(|held| held.owner.session != session);
            let (gone, still) = std::mem::take(&mut here.waiting)
                .into_iter()
                .partition(|wait| wait.wants.owner.session == session);
            here.waiting = still;
            let gone: VecDeque<Wait> = gone;
            for wait in gone {
                let _ = wait.tell.send(Err(LockError::Ended));
            }
            here.settle();
            table.tidy(id, []);
        }
    }

    /// Locks held, and waited for.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table.lock();
        let files = table.files.values();
        files.fold((0, 0), |(held, waiting), file| {
            (held + file.held.len(), waiting + file.waiting.len())
        })
    }
}

/// Waits for a lock. Whoever drops it before it is ready has not got the lock.
pub struct LockWait {
    locks: Arc<Locks>,
    file: FileId,
    wants: HeldLock,
    number: u64,
    /// It was ready: the lock, if it was granted, is the owner's.
    over: bool,
    told: oneshot::Receiver<Result<(), LockError>>,
}

impl Future for LockWait {
    type Output = Result<(), LockError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let told = std::task::ready!(Pin::new(&mut self.told).poll(cx));
        self.over = true;
        Poll::Ready(told.unwrap_or(Err(LockError::Ended)))
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        let mut table = self.locks.table.lock();
        if let Some(here) = table.files.get_mut(&self.file) {
            here.waiting.retain(|wait| wait.number != self.number);
            // Granted, and nobody asked any more.
            if !self.over && matches!(self.told.try_recv(), Ok(Ok(()))) {
                let HeldLock { owner, range } = self.wants;
                here.take_away(owner, range.first, range.last);
                here.settle();
            }
        }
        table.tidy(self.file, [self.wants.owner.session]);
    }
}

#[cfg(test)]
mod tests;
