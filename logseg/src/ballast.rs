//! R18 on a store that has an end and does not tell it: objects that only take up room.
//!
//! ```text
//!   room ─► a put is refused: full ─► ballast is deleted, piece by piece ─► the put goes again
//!     ▲                      meanwhile: no growth is admitted; all that shrinks or reads goes on
//!     └── all of it is stored again ◄── tried now and then, and whenever something was deleted
//! ```
//!
//! What the store says is the only news of its room, so the state *full* is kept, set by a refusal.
//! What the ballast is for is side segments and checkpoints: only they free anything.
//!
//! With a journal all of it is theirs. The chain is safe where it is, however much of it there is; it
//! is *held*: first room, then the ballast whole, then the chain, and when what was refused is stored
//! the store is full no more. Without one (or while the journal takes nothing) syncs wait for chain
//! segments: three quarters are theirs, and the ballast comes last. So without one no more is taken
//! than half of it could store: what was promised has its room before it is promised.
//!
//! Its size follows what is asked of it: an eighth of what is stored, twice what two checkpoints of
//! the pages that are dirty now would take, and twice itself where writers wait for its size. A
//! piece more that finds no room is no news yet; a piece that was there and does not come back is.
//!
//! It must never know: why something is put.
//!
//! Invariants
//! 1. While the store is full no ballast is put but as a question, with growing pauses; with a
//!    journal no chain segment either.
//! 2. Names are never used twice: each says who made it and as which.
//! 3. With a journal no ballast is given up for a chain segment.
//! 4. The last piece goes for seals and checkpoints' own objects alone, so that a server which was killed
//!    in the middle of anything is followed by one that can start.
//! 5. Without a journal no growth is admitted beyond half of what is held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use swiftclient::{ObjectName, ObjectStore, StoreError};

use crate::{
    BALLAST_ASK_AGAIN, BALLAST_ASK_FIRST, BALLAST_ASK_LONGEST, BALLAST_LEAST, BALLAST_SHARE,
    LogError, ROOM_COMES,
    core::{Core, wake},
};

/// What the names of its objects begin with.
pub(crate) const PREFIX: &str = "ballast/";
/// Names asked for in one listing; more are never made.
const PAGE: usize = 1000;

/// What room is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A segment of the chain.
    Chain,
    /// A checkpoint's side segment.
    Checkpoint,
    /// An object of some hundred bytes without which nothing goes on: a checkpoint's own, a seal.
    Small,
}

/// The ballast of one volume, and whether its store is full.
pub(crate) struct Ballast {
    store: Arc<dyn ObjectStore>,
    epoch: u32,
    /// Size of one object, bytes.
    piece: u64,
    /// Most objects.
    most: usize,
    /// Bytes that there should be; a mirror.
    worth: AtomicU64,
    state: Mutex<State>,
}

struct State {
    held: Vec<ObjectName>,
    /// Objects that there should be: grows with what is stored.
    want: usize,
    /// Bytes stored since `want` last grew.
    stored: u64,
    /// Objects made so far.
    made: u32,
    full: bool,
    ask_at: Duration,
    pause: Duration,
    asking: bool,
    /// Not to grow on demand before: there was no room for a piece more.
    grow_at: Duration,
    /// With a journal: the next question that a chain segment asks, and the pause after it.
    chain_at: Duration,
    chain_pause: Duration,
}

/// Names of the ballast that is there.
pub(crate) async fn find(store: &dyn ObjectStore) -> Result<Vec<ObjectName>, StoreError> {
    store.list(PREFIX, None, PAGE).await
}

impl Ballast {
    /// At most `bytes` of ballast in pieces of a quarter `segment`; 0: none, only the state is kept.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        epoch: u32,
        segment: u64,
        bytes: u64,
        held: Vec<ObjectName>,
    ) -> Self {
        let piece = (segment / 4).max(1);
        let most = usize::try_from(bytes / piece).unwrap_or(0).min(PAGE);
        let state = State {
            want: held.len().max(BALLAST_LEAST).min(most),
            held,
            stored: 0,
            made: 0,
            full: false,
            ask_at: Duration::ZERO,
            pause: BALLAST_ASK_FIRST,
            asking: false,
            grow_at: Duration::ZERO,
            chain_at: Duration::ZERO,
            chain_pause: BALLAST_ASK_FIRST,
        };
        let worth = AtomicU64::new(state.want as u64 * piece);
        Self { store, epoch, piece, most, worth, state: Mutex::new(state) }
    }

    /// Bytes that there should be: what checkpoints may count on; `None`: the volume has none.
    pub(crate) fn worth(&self) -> Option<u64> {
        (self.most > 0).then(|| self.worth.load(Relaxed))
    }

    /// Without a journal: most bytes that may be accepted and not stored. Half of what is held: of
    /// the three quarters that the chain may take the rest is for what admission does not ask about,
    /// removals. `None`: no bound, or none that counts now, because nothing is accepted anyway.
    fn takes(&self) -> Option<u64> {
        let state = self.state.lock();
        (self.most > 0 && !state.full).then(|| state.held.len() as u64 * self.piece / 2)
    }

    /// There should be at least `bytes`, as far as that may be; true where it is more than before.
    pub(crate) fn wish(&self, bytes: u64, now: Duration) -> bool {
        let mut state = self.state.lock();
        let pieces = usize::try_from(bytes.div_ceil(self.piece)).unwrap_or(usize::MAX);
        let want = pieces.min(self.most);
        if state.full || now < state.grow_at || want <= state.want {
            return false;
        }
        self.set_want(&mut state, want);
        true
    }

    /// Writers wait for its size: there should be twice as much, once all is there that should be.
    fn wish_twice(&self, now: Duration) -> bool {
        let twice = {
            let state = self.state.lock();
            if state.held.len() < state.want {
                return false;
            }
            2 * state.want as u64 * self.piece
        };
        self.wish(twice, now)
    }

    fn set_want(&self, state: &mut State, want: usize) {
        state.want = want;
        self.worth.store(want as u64 * self.piece, Relaxed);
    }

    /// The store has refused something. What was not there yet is not waited for.
    fn note_full(&self, state: &mut State) {
        if std::mem::replace(&mut state.full, true) {
            return;
        }
        tracing::warn!("the store is full: nothing more is taken from writers");
        let want = state.held.len().max(BALLAST_LEAST).min(state.want);
        self.set_want(state, want);
    }

    /// True where there should be some, and is none.
    pub(crate) fn is_spent(&self) -> bool {
        let state = self.state.lock();
        state.held.is_empty() && state.want > 0
    }

    /// True from a refusal until there is room for what was refused, and the ballast is whole.
    pub(crate) fn is_full(&self) -> bool {
        self.state.lock().full
    }

    /// The store refused a chain segment that can stay in the journal: no more of them for a while.
    pub(crate) fn refused(&self, now: Duration) {
        let mut state = self.state.lock();
        self.note_full(&mut state);
        state.chain_at = now + state.chain_pause;
        state.chain_pause = (state.chain_pause * 2).min(BALLAST_ASK_LONGEST);
    }

    /// With a journal, while the store is full: how long no chain segment may be put; zero: now.
    pub(crate) fn chain_waits(&self, now: Duration) -> Duration {
        let state = self.state.lock();
        if state.held.len() < state.want {
            return Duration::MAX;
        }
        state.chain_at.saturating_sub(now)
    }

    /// True until a chain segment has found room since the last was refused.
    fn chain_asks(&self) -> bool {
        self.state.lock().chain_pause > BALLAST_ASK_FIRST
    }

    /// A chain segment was stored.
    pub(crate) fn chain_stored(&self) {
        self.state.lock().chain_pause = BALLAST_ASK_FIRST;
    }

    /// There is room for what was refused: the store is full no more, if the ballast is whole.
    pub(crate) fn has_room_again(&self) {
        let mut state = self.state.lock();
        if state.held.len() >= state.want && std::mem::take(&mut state.full) {
            state.chain_pause = BALLAST_ASK_FIRST;
            tracing::info!("the ballast is whole: the store has room again");
        }
    }

    /// The store refused for want of room: gives `bytes` of ballast up; false where none is left for
    /// that.
    pub(crate) async fn give_up(&self, bytes: u64, purpose: For, now: Duration) -> bool {
        let names = {
            let mut state = self.state.lock();
            // What is given up is for the put that was refused, not for the next piece.
            state.ask_at = state.ask_at.max(now + state.pause);
            self.note_full(&mut state);
            let kept = match purpose {
                For::Chain => (state.want / 4).max(1),
                // Killed in the middle of it, the next server wants to put its seal.
                For::Checkpoint => 1,
                For::Small => 0,
            };
            let pieces = usize::try_from(bytes.div_ceil(self.piece)).unwrap_or(usize::MAX);
            let free = state.held.len().saturating_sub(kept);
            let from = state.held.len() - pieces.clamp(1, free.max(1)).min(free);
            state.held.split_off(from)
        };
        if names.is_empty() {
            return false;
        }
        tracing::warn!(pieces = names.len(), "ballast is given up");
        match self.store.delete_many(&names).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "ballast could not be deleted");
                self.state.lock().held.extend(names);
                false
            }
        }
    }

    /// `bytes` were stored.
    pub(crate) fn stored(&self, bytes: u64) {
        let mut state = self.state.lock();
        if self.most == 0 || state.full {
            return;
        }
        state.stored += bytes;
        while state.stored >= self.piece * BALLAST_SHARE {
            state.stored -= self.piece * BALLAST_SHARE;
            let want = (state.want + 1).min(self.most);
            self.set_want(&mut state, want);
        }
    }

    /// Something was deleted: there may be room.
    pub(crate) fn look(&self) {
        let mut state = self.state.lock();
        (state.ask_at, state.pause) = (Duration::ZERO, BALLAST_ASK_FIRST);
        (state.chain_at, state.chain_pause) = (Duration::ZERO, BALLAST_ASK_FIRST);
    }

    /// Whether a piece is to be put now (the caller then calls [`Ballast::ask`]), and when to look
    /// again.
    fn due(&self, now: Duration) -> (bool, Option<Duration>) {
        let mut state = self.state.lock();
        if state.asking || state.held.len() >= state.want {
            return (false, None);
        }
        let wait = state.ask_at.saturating_sub(now);
        if !wait.is_zero() {
            return (false, Some(wait));
        }
        state.asking = true;
        (true, None)
    }

    /// Puts one piece: is there room?
    async fn ask(&self, core: &Core) {
        let name = {
            let mut state = self.state.lock();
            state.made += 1;
            format!("{PREFIX}{:08x}-{:08x}", self.epoch, state.made)
        };
        let mut bytes = vec![0; usize::try_from(self.piece).unwrap_or(0)];
        // Stores that compress would make nothing of zeros.
        core.env.dice.fill(&mut bytes);
        let Some(name) = ObjectName::new(name) else { return };
        let put = self.store.put_new(&name, vec![Bytes::from(bytes)]).await;
        let now = core.env.clock.monotonic();
        let mut state = self.state.lock();
        state.asking = false;
        match put {
            Ok(()) => {
                state.held.push(name);
                (state.ask_at, state.pause) = (Duration::ZERO, BALLAST_ASK_FIRST);
            }
            Err(error) if matches!(error, StoreError::Full { .. }) => {
                state.ask_at = now + state.pause;
                state.pause = (state.pause * 2).min(BALLAST_ASK_LONGEST);
                if state.full {
                    return;
                }
                if state.held.len() < BALLAST_LEAST.min(self.most) {
                    tracing::warn!(%error, "the ballast finds no room");
                    self.note_full(&mut state);
                } else {
                    // One piece more than ever was there: what is stored goes on being stored.
                    tracing::info!(%error, "the ballast stays as large as it is");
                    let held = state.held.len();
                    self.set_want(&mut state, held);
                    state.grow_at = now + BALLAST_ASK_LONGEST;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a piece of ballast could not be put");
                state.ask_at = now + state.pause;
                state.pause = (state.pause * 2).min(BALLAST_ASK_AGAIN);
            }
        }
    }
}

impl Core {
    /// The keeper's part: puts what is missing, one piece after another, and says whether chain
    /// segments may be put; gives when to look again.
    pub(crate) fn tend_ballast(self: &Arc<Self>) -> Option<Duration> {
        if self.check().is_err() {
            return None;
        }
        let now = self.env.clock.monotonic();
        self.take_what_ballast_holds();
        let (urgent, chain) = self.hold_chain(now);
        if urgent {
            // A segment that waits for room goes first, and asks for it itself.
            return chain;
        }
        let (due, wait) = self.ballast.due(now);
        if due {
            let core = self.clone();
            self.pool.spawn(async move {
                core.ballast.ask(&core).await;
                core.tell_full();
                core.keeper.notify_one();
            });
        }
        [wait, chain].into_iter().flatten().min()
    }

    /// While the store is full: whether syncs wait for what does not find room, and when the next
    /// chain segment may ask.
    fn hold_chain(&self, now: Duration) -> (bool, Option<Duration>) {
        let mut state = self.lock();
        if !self.ballast.is_full() {
            state.view.hold(false);
            state.view.question(false);
            return (false, None);
        }
        if self.syncs_need_the_store(&state) {
            state.view.hold(false);
            state.view.question(false);
            let urgent = state.put_error.is_some();
            if !urgent {
                self.ballast.has_room_again();
            }
            return (urgent, None);
        }
        let wait = self.ballast.chain_waits(now);
        state.view.hold(!wait.is_zero());
        // Once one found room the others follow as always.
        state.view.question(self.ballast.chain_asks());
        if wait.is_zero() && state.refused.is_none_or(|below| state.view.stored_through() >= below)
        {
            state.refused = None;
            self.ballast.has_room_again();
        }
        (false, (!wait.is_zero() && wait < Duration::MAX).then_some(wait))
    }

    /// True where what is sealed becomes durable by being stored.
    fn syncs_need_the_store(&self, state: &crate::core::State) -> bool {
        self.journal.is_none() || state.rescue.is_some()
    }

    /// Without a journal: the budget is at most what the ballast could store. COMMIT, which is never
    /// told that there is no room, then never waits for room that nobody has.
    pub(crate) fn take_what_ballast_holds(&self) {
        if self.journal.is_some() {
            return;
        }
        let Some(most) = self.ballast.takes() else { return };
        let budget = self.budget.min(most);
        let mut state = self.lock();
        if state.view.budget() != budget {
            state.view.set_budget(budget);
            state.pace.tell();
            self.show_level(&state);
        }
    }

    /// A write is to be slowed: where the ballast's size is the reason, it should be larger.
    pub(crate) fn slowed_by_ballast(&self) {
        let bound = self.journal.is_none() && self.lock().view.budget() < self.budget;
        if bound && self.ballast.wish_twice(self.env.clock.monotonic()) {
            self.keeper.notify_one();
        }
    }

    /// There should be ballast for checkpoints of `bytes`.
    pub(crate) fn wish_ballast(&self, bytes: u64) {
        if self.ballast.wish(bytes, self.env.clock.monotonic()) {
            self.keeper.notify_one();
        }
    }

    /// Who waits, for something to be stored or for room, looks whether the store is full.
    fn tell_full(&self) {
        if self.ballast.is_full() {
            let mut state = self.lock();
            let mut wakers = std::mem::take(&mut state.stores);
            wakers.append(&mut state.admits);
            state.pace.tell_all();
            drop(state);
            wake(wakers);
        }
    }

    /// After `error`: gives of the reserve or the ballast, and says whether to try again.
    pub(crate) async fn make_room(&self, error: &LogError, bytes: u64, purpose: For) -> bool {
        if !is_full(error) {
            return false;
        }
        if self.links() {
            return self.reserve.release(bytes);
        }
        // One that tells its room needs no other sign.
        if self.store.capacity().is_some() {
            return false;
        }
        let now = self.env.clock.monotonic();
        if purpose == For::Chain {
            let mut state = self.lock();
            if !self.syncs_need_the_store(&state) {
                // All that is sealed by now belongs before whatever is admitted next.
                state.refused = state.chain.open().map(|open| open.id).or(state.refused);
                self.ballast.refused(now);
                drop(state);
                self.tell_full();
                return false;
            }
        }
        let gave = self.ballast.give_up(bytes, purpose, now).await;
        self.tell_full();
        gave
    }
}

/// True where the store said that it has no room.
pub(crate) fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::Store(StoreError::Full { .. }))
}

/// Tries of one put that has a claim to the reserve or the ballast. Stores may take their time to
/// free what is deleted: so after room was made there are some more, with pauses.
pub(crate) struct Tries {
    made: usize,
    most: usize,
}

impl Tries {
    pub(crate) fn at(store: &dyn ObjectStore) -> Self {
        let pauses = if store.local_dir().is_some() { 0 } else { ROOM_COMES.len() };
        Self { made: 0, most: 1 + pauses }
    }

    /// Whether to try again after `error`; `make_room` is waited for once.
    pub(crate) async fn again(
        &mut self,
        error: &LogError,
        make_room: impl Future<Output = bool>,
    ) -> bool {
        if !is_full(error) || self.made == self.most {
            return false;
        }
        self.made += 1;
        match self.made {
            1 => make_room.await,
            n => {
                tokio::time::sleep(ROOM_COMES[n - 2]).await;
                true
            }
        }
    }
}
