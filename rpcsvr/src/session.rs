//! Sessions: what a client has at the server, whichever connections it has just now.
//!
//! A session holds handles, and the requests that are carried out once: what runs, and the replies
//! to what is done, from the client's mark on. It outlives its connections by the grace time.
//!
//! Requests that a former process carried out are remembered by the volume itself, in the one table
//! of all faces ([`fs::Volume::remembered`], R23); the tag there is (session, request id, checksum).

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use fs::{FileId, Locks};
use parking_lot::Mutex;
use rpc::{Refusal, errno};
use tokio::sync::oneshot;

use crate::limits::{Limits, REMEMBERED_ALWAYS, REMEMBERED_BYTES, SESSION_CONNECTIONS};

/// Who may join a session: whoever began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process of this uid, on a Unix socket.
    Uid(u32),
    /// Somebody who knows the secret.
    Secret,
}

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The inode, which is held.
    pub id: FileId,
    /// Reading was granted.
    pub read: bool,
    /// Writing was granted.
    pub write: bool,
}

/// All sessions of a server.
pub struct Sessions {
    table: Mutex<HashMap<[u8; 16], Arc<Session>>>,
    remembered: Arc<AtomicUsize>,
    locks: Arc<Locks>,
    limits: Limits,
}

/// One session.
pub struct Session {
    /// Chosen by the client.
    pub id: [u8; 16],
    /// Its number in this process, which its locks know it by.
    pub number: u64,
    /// What the client calls itself.
    pub label: String,
    owner: Owner,
    limits: Limits,
    remembered: Arc<AtomicUsize>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    connections: usize,
    /// Monotonic time at which the last connection went.
    alone_since: Duration,
    ended: bool,
    /// The volume has noted that it holds locks.
    noted: bool,
    mark: u64,
    handles: HashMap<u32, Handle>,
    /// LOCKs that wait, by request id.
    waits: HashMap<u64, oneshot::Sender<()>>,
    requests: BTreeMap<u64, Entry>,
    /// Entries that are done.
    done: usize,
}

struct Entry {
    digest: u64,
    state: State,
}

enum State {
    Running {
        /// The connection that asked last.
        newest: u64,
        /// Counts up with each connection that takes the answer over.
        turn: u64,
        waker: Option<Waker>,
    },
    Done(Bytes),
}

/// What to do with a request that is carried out once.
pub enum Begin {
    /// Carry it out and say so by the ticket.
    New(Ticket),
    /// Send this reply again.
    Repeat(Bytes),
    /// It runs on another connection; this one gets the answer.
    Wait(Waiter),
    /// It runs on this connection: drop the copy.
    Running,
    /// No.
    Refused(Refusal),
}

impl Sessions {
    /// None yet.
    pub fn new(limits: &Limits, locks: Arc<Locks>) -> Self {
        Self { table: Mutex::default(), remembered: Arc::default(), locks, limits: limits.clone() }
    }

    /// A connection of `owner` joins the session `id`, which is begun if there is none. True where
    /// there was one.
    pub fn join(
        &self,
        id: [u8; 16],
        owner: Owner,
        label: &str,
    ) -> Result<(Arc<Session>, bool), Refusal> {
        let mut table = self.table.lock();
        if let Some(session) = table.get(&id) {
            let mut inner = session.inner.lock();
            if !inner.ended {
                if session.owner != owner {
                    return Err(Refusal::new(errno::EACCES, "that session is another's"));
                }
                if inner.connections >= SESSION_CONNECTIONS {
                    return Err(Refusal::new(errno::EBUSY, "too many connections of one session"));
                }
                inner.connections += 1;
                return Ok((session.clone(), true));
            }
        }
        if table.len() >= self.limits.sessions {
            return Err(Refusal::new(errno::EBUSY, "too many sessions"));
        }
        let session = Arc::new(Session {
            id,
            number: self.locks.begin_session(),
            label: label.to_owned(),
            owner,
            limits: self.limits.clone(),
            remembered: self.remembered.clone(),
            inner: Mutex::new(Inner { connections: 1, ..Inner::default() }),
        });
        table.insert(id, session.clone());
        Ok((session, false))
    }

    /// Takes out the sessions whose grace time is over at monotonic time `now`.
    pub fn expired(&self, now: Duration) -> Vec<Arc<Session>> {
        let mut gone = Vec::new();
        self.table.lock().retain(|_, session| {
            let inner = session.inner.lock();
            let late = now.saturating_sub(inner.alone_since) >= self.limits.grace;
            let over = inner.ended || (inner.connections == 0 && late);
            if over {
                gone.push(session.clone());
            }
            !over
        });
        gone
    }

    /// Sessions that stand.
    pub fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// Bytes of remembered replies.
    pub fn remembered_bytes(&self) -> usize {
        self.remembered.load(Relaxed)
    }
}

impl Session {
    /// A connection has gone at monotonic time `now`.
    pub fn leave(&self, now: Duration) {
        let mut inner = self.inner.lock();
        inner.connections = inner.connections.saturating_sub(1);
        inner.alone_since = now;
    }

    /// The client moved its mark: what is remembered below is forgotten.
    pub fn advance(&self, mark: u64) {
        self.advance_in(&mut self.inner.lock(), mark);
    }

    fn advance_in(&self, inner: &mut Inner, mark: u64) {
        if mark <= inner.mark {
            return;
        }
        inner.mark = mark;
        while let Some(first) = inner.requests.first_entry() {
            if *first.key() >= mark {
                return;
            }
            if matches!(first.get().state, State::Running { .. }) {
                // Against the promise; it is forgotten when it ends.
                return;
            }
            let entry = first.remove();
            self.forget(inner, &entry);
        }
    }

    fn forget(&self, inner: &mut Inner, entry: &Entry) {
        if let State::Done(reply) = &entry.state {
            inner.done -= 1;
            self.remembered.fetch_sub(REMEMBERED_BYTES + reply.len(), Relaxed);
        }
    }

    /// A request that is carried out once has arrived on connection `conn`.
    pub fn begin(self: &Arc<Self>, id: u64, mark: u64, digest: u64, conn: u64) -> Begin {
        let mut inner = self.inner.lock();
        self.advance_in(&mut inner, mark);
        if inner.ended {
            return Begin::Refused(Refusal::new(errno::EBADF, "the session has ended"));
        }
        if id < inner.mark {
            let text = "an id below the mark: a request that was given up, or a replay";
            return Begin::Refused(Refusal::new(errno::EINVAL, text));
        }
        if let Some(entry) = inner.requests.get_mut(&id) {
            if entry.digest != digest {
                let text = "an id that was used for another request";
                return Begin::Refused(Refusal::new(errno::EINVAL, text));
            }
            return match &mut entry.state {
                State::Done(reply) => Begin::Repeat(reply.clone()),
                State::Running { newest, .. } if *newest == conn => Begin::Running,
                State::Running { newest, turn, waker } => {
                    *newest = conn;
                    *turn += 1;
                    let turn = *turn;
                    if let Some(before) = waker.take() {
                        before.wake();
                    }
                    Begin::Wait(Waiter { session: self.clone(), id, turn })
                }
            };
        }
        let far = id - inner.mark >= u64::from(self.limits.window);
        let full = self.remembered.load(Relaxed) >= self.limits.remembered_bytes
            && inner.done >= REMEMBERED_ALWAYS;
        if far || full {
            return Begin::Refused(Refusal::new(errno::ENOBUFS, errno::words(errno::ENOBUFS)));
        }
        let state = State::Running { newest: conn, turn: 0, waker: None };
        inner.requests.insert(id, Entry { digest, state });
        Begin::New(Ticket { session: self.clone(), id, open: true })
    }

    /// The handle of that number.
    pub fn handle(&self, number: u32) -> Option<Handle> {
        self.inner.lock().handles.get(&number).copied()
    }

    /// Errors unless a handle of that number could be opened.
    pub fn vacant(&self, number: u32) -> Result<(), Refusal> {
        self.vacant_in(&self.inner.lock(), number)
    }

    fn vacant_in(&self, inner: &Inner, number: u32) -> Result<(), Refusal> {
        if inner.ended {
            return Err(Refusal::new(errno::EBADF, "the session has ended"));
        }
        if inner.handles.contains_key(&number) {
            return Err(Refusal::new(errno::EEXIST, "a handle of that number is open"));
        }
        if inner.handles.len() >= self.limits.handles {
            return Err(Refusal::new(errno::EMFILE, errno::words(errno::EMFILE)));
        }
        Ok(())
    }

    /// Opens a handle, whose inode is held.
    pub fn open(&self, number: u32, handle: Handle) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        self.vacant_in(&inner, number)?;
        inner.handles.insert(number, handle);
        Ok(())
    }

    /// Takes a handle out.
    pub fn close(&self, number: u32) -> Option<Handle> {
        self.inner.lock().handles.remove(&number)
    }

    /// True where the volume has noted that it holds locks.
    pub fn is_noted(&self) -> bool {
        self.inner.lock().noted
    }

    /// The volume has noted that it holds locks.
    pub fn set_noted(&self) {
        self.inner.lock().noted = true;
    }

    /// Request `id` waits from now on; what it gets tells that it was cancelled.
    pub fn waits(&self, id: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.inner.lock().waits.insert(id, tell);
        told
    }

    /// Request `id` waits no longer.
    pub fn waited(&self, id: u64) {
        self.inner.lock().waits.remove(&id);
    }

    /// Has a request that waits give up.
    pub fn cancel(&self, id: u64) {
        if let Some(tell) = self.inner.lock().waits.remove(&id) {
            let _ = tell.send(());
        }
    }

    /// Ends it: gives the handles, whose inodes are to be released. What is remembered goes, what
    /// runs is answered.
    pub fn end(&self) -> Vec<Handle> {
        let mut inner = self.inner.lock();
        inner.ended = true;
        let requests = std::mem::take(&mut inner.requests);
        for (id, entry) in requests {
            self.forget(&mut inner, &entry);
            if matches!(entry.state, State::Running { .. }) {
                inner.requests.insert(id, entry);
            }
        }
        inner.handles.drain().map(|(_, handle)| handle).collect()
    }

    /// True once it has ended.
    pub fn has_ended(&self) -> bool {
        self.inner.lock().ended
    }
}

/// The duty to say how a request ended.
pub struct Ticket {
    session: Arc<Session>,
    id: u64,
    open: bool,
}

impl Ticket {
    /// It ended with `reply`; `keep`: it was carried out, repeats get this reply. True when the
    /// caller's own connection is to send it.
    pub fn finish(mut self, reply: &Bytes, keep: bool) -> bool {
        self.open = false;
        let session = &self.session;
        let mut inner = session.inner.lock();
        let inner = &mut *inner;
        let forgotten = !keep || self.id < inner.mark || inner.ended;
        let (turn, waker) = match inner.requests.get_mut(&self.id) {
            Some(Entry { state: State::Running { turn, waker, .. }, .. }) => (*turn, waker.take()),
            _ => return true,
        };
        if forgotten {
            inner.requests.remove(&self.id);
        } else if let Some(entry) = inner.requests.get_mut(&self.id) {
            entry.state = State::Done(reply.clone());
            inner.done += 1;
            session.remembered.fetch_add(REMEMBERED_BYTES + reply.len(), Relaxed);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        turn == 0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        let entry = self.session.inner.lock().requests.remove(&self.id);
        if let Some(Entry { state: State::Running { waker: Some(waker), .. }, .. }) = entry {
            waker.wake();
        }
    }
}

/// What became of a request that runs elsewhere.
#[derive(Debug)]
pub enum Elsewhere {
    /// Its reply, to be sent here.
    Reply(Bytes),
    /// A newer connection took the answer over.
    TakenOver,
    /// Nothing was done.
    Dropped,
}

/// Waits for the reply of a request that runs on another connection.
pub struct Waiter {
    session: Arc<Session>,
    id: u64,
    turn: u64,
}

impl Future for Waiter {
    type Output = Elsewhere;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Elsewhere> {
        let mut inner = self.session.inner.lock();
        match inner.requests.get_mut(&self.id).map(|entry| &mut entry.state) {
            None => Poll::Ready(Elsewhere::Dropped),
            Some(State::Done(reply)) => Poll::Ready(Elsewhere::Reply(reply.clone())),
            Some(State::Running { turn, .. }) if *turn != self.turn => {
                Poll::Ready(Elsewhere::TakenOver)
            }
            Some(State::Running { waker, .. }) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
