//! The duplicate-request cache: a call that arrives twice is carried out once (R23).
//!
//! Key: procedure, xid, client address without port, checksum of the call. A repeat of a call that
//! still runs gets no second execution; the answer goes to the connection that asked last. A
//! repeat of a finished call gets the reply that was sent. The same xid and bytes on a second
//! *live* connection of one address come from another client and are no repeat.
//!
//! This table is the memory of one process; across restarts [`fs::Volume::remembered`] stands in.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use fs::RequestTag;
use parking_lot::Mutex;

use crate::{
    limits::{DRC_SHARDS, Limits},
    peer::Link,
};

/// Bytes charged for an entry beside its reply: key, table slot, list slot, state.
const ENTRY_BYTES: usize = 320;

/// Which budget an entry falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A call whose second execution would answer differently.
    Metadata,
    /// WRITE: a late copy must not undo a newer one.
    Write,
}

/// The cache of one server, shared by its reactors.
pub struct Drc {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    age: Duration,
    /// Bytes per shard: metadata, writes.
    budget: [usize; 2],
}

/// When each ended, oldest first.
type Finished = VecDeque<(Duration, Arc<Entry>)>;

#[derive(Default)]
struct Shard {
    map: HashMap<RequestTag, Arc<Entry>>,
    /// Finished entries, oldest first, and their bytes: metadata, writes.
    finished: [(Finished, usize); 2],
}

struct Entry {
    tag: RequestTag,
    class: Class,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    /// The connection that asked last.
    newest: Arc<Link>,
    /// Counts up with each connection that takes the answer over.
    turn: u64,
    waker: Option<Waker>,
}

enum State {
    Running,
    Done(Bytes),
    /// Nothing was done: the entry is out of the table.
    Dropped,
}

/// What to do with a call.
pub enum Begin {
    /// Carry it out and say so by the ticket. True: no repeat even if an older process remembers
    /// the same tag.
    New(Ticket, bool),
    /// Send this reply again.
    Repeat(Bytes),
    /// The call runs on another connection; this one gets the answer.
    Wait(Waiter),
    /// The call runs on this connection: drop the copy.
    Running,
}

impl Drc {
    /// An empty cache.
    pub fn new(limits: &Limits) -> Self {
        Self {
            shards: (0..DRC_SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            age: limits.drc_age,
            budget: [limits.drc_bytes / DRC_SHARDS, limits.drc_write_bytes / DRC_SHARDS],
        }
    }

    fn shard(&self, tag: &RequestTag) -> &Mutex<Shard> {
        // The remainder is below DRC_SHARDS.
        #[allow(clippy::cast_possible_truncation)]
        let n = (self.hasher.hash_one(tag) % DRC_SHARDS as u64) as usize;
        &self.shards[n]
    }

    /// A call arrived on `link` at monotonic time `now`.
    pub fn begin(self: &Arc<Self>, tag: RequestTag, class: Class, link: &Arc<Link>) -> Begin {
        let mut shard = self.shard(&tag).lock();
        let mut separate = false;
        if let Some(entry) = shard.map.get(&tag) {
            let mut inner = entry.inner.lock();
            let same = inner.newest.id == link.id;
            if same || !inner.newest.lives_beside(link) {
                inner.newest = link.clone();
                match &inner.state {
                    State::Done(reply) => return Begin::Repeat(reply.clone()),
                    State::Running if same => return Begin::Running,
                    State::Running => {
                        inner.turn += 1;
                        if let Some(before) = inner.waker.take() {
                            before.wake();
                        }
                        let turn = inner.turn;
                        return Begin::Wait(Waiter { entry: entry.clone(), turn });
                    }
                    State::Dropped => {}
                }
            } else {
                separate = true;
            }
        }
        let inner = Inner { state: State::Running, newest: link.clone(), turn: 0, waker: None };
        let entry = Arc::new(Entry { tag: tag.clone(), class, inner: Mutex::new(inner) });
        shard.map.insert(tag, entry.clone());
        Begin::New(Ticket { drc: self.clone(), entry, open: true }, separate)
    }

    /// Forgets what is too old or too much at monotonic time `now`.
    fn expire(&self, shard: &mut Shard, now: Duration) {
        let Shard { map, finished } = shard;
        for ((list, bytes), budget) in finished.iter_mut().zip(self.budget) {
            while let Some((since, entry)) = list.front() {
                if *bytes <= budget && now.saturating_sub(*since) < self.age {
                    break;
                }
                *bytes -= entry.cost();
                remove(map, entry);
                list.pop_front();
            }
        }
    }

    /// Entries held, running ones included.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().map.len()).sum()
    }
}

/// Takes `entry` out unless another call has its place by now.
fn remove(map: &mut HashMap<RequestTag, Arc<Entry>>, entry: &Arc<Entry>) {
    if map.get(&entry.tag).is_some_and(|e| Arc::ptr_eq(e, entry)) {
        map.remove(&entry.tag);
    }
}

impl Entry {
    fn cost(&self) -> usize {
        match &self.inner.lock().state {
            State::Done(reply) => ENTRY_BYTES + reply.len(),
            State::Running | State::Dropped => ENTRY_BYTES,
        }
    }
}

/// The duty to say how a call ended.
pub struct Ticket {
    drc: Arc<Drc>,
    entry: Arc<Entry>,
    open: bool,
}

impl Ticket {
    /// The call ended with `reply` at monotonic time `now`; `keep`: it was carried out, repeats
    /// get this reply. True when the caller's own connection is to send it.
    pub fn finish(mut self, reply: &Bytes, keep: bool, now: Duration) -> bool {
        self.open = false;
        let mut shard = self.drc.shard(&self.entry.tag).lock();
        let mine = {
            let mut inner = self.entry.inner.lock();
            inner.state = State::Done(reply.clone());
            if let Some(waker) = inner.waker.take() {
                waker.wake();
            }
            inner.turn == 0
        };
        if keep {
            let (list, bytes) = &mut shard.finished[self.entry.class as usize];
            *bytes += self.entry.cost();
            list.push_back((now, self.entry.clone()));
        } else {
            remove(&mut shard.map, &self.entry);
        }
        self.drc.expire(&mut shard, now);
        mine
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let mut shard = self.drc.shard(&self.entry.tag).lock();
        remove(&mut shard.map, &self.entry);
        let mut inner = self.entry.inner.lock();
        inner.state = State::Dropped;
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }
}

/// What became of a call that runs elsewhere.
#[derive(Debug)]
pub enum Elsewhere {
    /// Its reply, to be sent here.
    Reply(Bytes),
    /// A newer connection took the answer over.
    TakenOver,
    /// Nothing was done.
    Dropped,
}

/// Waits for the reply of a call that runs on another connection.
pub struct Waiter {
    entry: Arc<Entry>,
    turn: u64,
}

impl Future for Waiter {
    type Output = Elsewhere;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elsewhere> {
        let mut inner = self.entry.inner.lock();
        if inner.turn != self.turn {
            return Poll::Ready(Elsewhere::TakenOver);
        }
        match &inner.state {
            State::Done(reply) => Poll::Ready(Elsewhere::Reply(reply.clone())),
            State::Dropped => Poll::Ready(Elsewhere::Dropped),
            State::Running => {
                inner.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
