//! Tries again what is safe to try again, for a limited time and never as a storm, and settles
//! unknown outcomes by reading back.
//!
//! ```text
//!   call ─► slot (window, pause) ─► try, within its time ─► answer
//!             ▲                          │ unavailable: window halved
//!             └─ token ◄─ jittered wait ◄┘ unknown: read back first
//! ```
//!
//! It must never know: what an object holds, who asks.
//!
//! Invariants
//! 1. `Full`, `Denied`, `Exists`, `NotFound`, `Invalid` and `Corrupt` are passed on at once.
//! 2. A put whose outcome was once unknown never ends as `Unavailable` ("nothing happened"): it ends
//!    as `Ok` or `Exists` by what was read back, or as `Unknown`.
//! 3. `Ok` of a put means that the store said so, or that bytes read back, or their checksum told by
//!    the store, are the ones that were put.
//! 4. Of all requests to one store, retries are at most a share and a trickle (`pace`), however many
//!    calls fail at once.
//! 5. A time-out of a try grows with the bytes it moves: what only takes long is not given up.

mod pace;

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use pace::Pace;

use crate::{
    ErrorKind, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreError, StoreFuture, Verb,
    disk::{Disk, OsDisk},
    limits::COPY_BYTES,
    local::read_pieces,
    seam::Env,
};

pub use pace::Figures;

/// How long and how often to try.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Upper end of the first wait; each further one is twice as long.
    pub first: Duration,
    /// Upper end of the longest wait.
    pub longest: Duration,
    /// All tries of one call together.
    pub budget: Duration,
    /// One try that moves no bytes; beyond it a read counts as `Unavailable`, a change as `Unknown`.
    /// `None`: no end.
    pub attempt: Option<Duration>,
    /// A try may take longer by the time that its bytes need at this rate, bytes per second.
    pub least_rate: u64,
    /// Most requests in flight at the same time; fewer while the store asks for less.
    pub in_flight: u64,
    /// Retries that may be saved up, and are there at the start.
    pub retries_saved: u64,
    /// Retries earned by a thousand requests that were answered.
    pub retries_per_thousand: u64,
    /// Retries earned by time, per second, so that a store that answers nothing is still asked.
    pub retries_per_second: u64,
    /// The longest pause that a store may wish for all requests.
    pub longest_pause: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
            budget: Duration::from_secs(60),
            attempt: Some(Duration::from_secs(30)),
            least_rate: 64 << 10,
            in_flight: 64,
            retries_saved: 20,
            retries_per_thousand: 200,
            retries_per_second: 2,
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// A store that is asked again. Clones share it.
#[derive(Clone)]
pub struct Retrying {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn ObjectStore>,
    policy: Policy,
    env: Env,
    disk: Arc<dyn Disk>,
    pace: Arc<Pace>,
}

/// Most bytes that a try is given time for: a read of "all there is" names no length.
const MOST_BYTES: u64 = 64 << 20;

/// What was put, as far as it is still known.
///
/// A checksum alone does not tell a rival's object from ours: everything that ends with the CRC-32C of
/// all its other bytes has, as a whole, the same CRC-32C as all else of that shape (the residue of the
/// polynomial). Seals and checkpoints are such objects, so what was put from memory is compared byte
/// by byte. Files and streams are segments, which end otherwise.
struct Print {
    len: u64,
    crc32c: u32,
    bytes: Option<Vec<Bytes>>,
}

impl Print {
    /// True where `len` bytes with this checksum may be what was put, and no bytes need be seen.
    fn settles(&self, crc32c: u32) -> bool {
        self.bytes.is_none() || crc32c != self.crc32c
    }

    /// True where `piece` is what was put at `at`, as far as bytes are known.
    fn has(&self, mut at: u64, mut piece: &[u8]) -> bool {
        for ours in self.bytes.iter().flatten() {
            let len = ours.len() as u64;
            if at >= len {
                at -= len;
                continue;
            }
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            let n = (ours.len() - from).min(piece.len());
            if ours[from..from + n] != piece[..n] {
                return false;
            }
            (at, piece) = (0, &piece[n..]);
        }
        true
    }
}

/// What reading back showed.
enum Found {
    Ours,
    Foreign,
    Absent,
}

/// The waits within one call.
struct Patience<'a> {
    inner: &'a Inner,
    deadline: Duration,
    waits: u32,
}

impl Patience<'_> {
    /// Waits before the next try; `false` when the call's time or the store's retries are spent.
    async fn wait(&mut self, error: &StoreError) -> bool {
        let policy = &self.inner.policy;
        let doubled = policy.first.saturating_mul(1 << self.waits.min(20));
        let most = u64::try_from(doubled.min(policy.longest).as_nanos()).unwrap_or(u64::MAX);
        // Full jitter: of many clients that failed together, few come back together.
        let mut wait = Duration::from_nanos(self.inner.env.dice.below(most.saturating_add(1)));
        if let StoreError::Unavailable { retry_after: Some(wish), .. } = error {
            wait = wait.max(*wish);
        }
        if self.inner.env.clock.monotonic() + wait > self.deadline {
            return false;
        }
        self.waits += 1;
        tracing::debug!(%error, ?wait, "trying again");
        tokio::time::sleep(wait).await;
        self.inner.pace.may_retry(self.deadline).await
    }
}

impl Inner {
    fn patience(&self) -> Patience<'_> {
        let deadline = self.env.clock.monotonic() + self.policy.budget;
        Patience { inner: self, deadline, waits: 0 }
    }

    /// One try in a slot of its own; `bytes` is what it moves at most.
    async fn attempt<T>(
        &self,
        patience: &Patience<'_>,
        (verb, name, bytes): (Verb, &str, u64),
        call: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let Some(slot) = self.pace.slot(patience.deadline).await else {
            let reason = "the store is asked as much as it bears, and no turn came in time";
            return Err(ErrorKind::Unavailable.error(verb.name(), name, reason));
        };
        let (outcome, in_time) = self.within_time(verb, name, bytes, call).await;
        match &outcome {
            Err(StoreError::Unavailable { retry_after, .. }) => {
                self.pace.slow_down(&slot, *retry_after);
            }
            Err(_) if !in_time => self.pace.slow_down(&slot, None),
            // Neither answered nor turned away.
            Err(StoreError::Unknown { .. }) => {}
            _ => self.pace.answered(patience.waits > 0),
        }
        outcome
    }

    /// One request within the time that its bytes may take, and whether it was.
    async fn within_time<T>(
        &self,
        verb: Verb,
        name: &str,
        bytes: u64,
        call: StoreFuture<'_, T>,
    ) -> (Result<T, StoreError>, bool) {
        let Some(limit) = self.policy.attempt else { return (call.await, true) };
        let moving = bytes.min(MOST_BYTES) * 1000 / self.policy.least_rate.max(1);
        let limit = limit + Duration::from_millis(moving);
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => (answer, true),
            Err(_) => {
                let changes = verb.changes();
                let kind = if changes { ErrorKind::Unknown } else { ErrorKind::Unavailable };
                let reason = format!("no answer within {limit:?}");
                (Err(kind.error(verb.name(), name, &reason)), false)
            }
        }
    }

    /// Tries again while the error is transient: for calls whose repetition changes nothing.
    async fn repeat<'a, T>(
        &self,
        patience: &mut Patience<'_>,
        what: (Verb, &str, u64),
        mut call: impl FnMut() -> StoreFuture<'a, T>,
    ) -> Result<T, StoreError> {
        loop {
            match self.attempt(patience, what, call()).await {
                Err(e) if e.is_transient() => {
                    if !patience.wait(&e).await {
                        return Err(e);
                    }
                }
                other => return other,
            }
        }
    }

    /// Compares what stands under `name` with what was put.
    async fn read_back(
        &self,
        patience: &mut Patience<'_>,
        name: &ObjectName,
        put: Print,
    ) -> Result<Found, StoreError> {
        let head = || self.store.head(name);
        let info = match self.repeat(patience, (Verb::Head, name.as_str(), 0), head).await {
            Err(StoreError::NotFound { .. }) => return Ok(Found::Absent),
            other => other?,
        };
        if info.len != put.len {
            return Ok(Found::Foreign);
        }
        let crc32c = match info.crc32c {
            Some(crc32c) if put.settles(crc32c) => crc32c,
            _ => {
                let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
                let mut at = 0;
                while at < info.len {
                    let range = at..info.len.min(at + COPY_BYTES as u64);
                    let get = || self.store.get(name, range.clone());
                    let what = (Verb::Get, name.as_str(), range.end - range.start);
                    let piece = self.repeat(patience, what, get).await?;
                    if piece.is_empty() || !put.has(at, &piece) {
                        return Ok(Found::Foreign);
                    }
                    digest.update(&piece);
                    at += piece.len() as u64;
                }
                finished(&digest)
            }
        };
        Ok(if crc32c == put.crc32c { Found::Ours } else { Found::Foreign })
    }

    /// A create-only put of known bytes, tried until it is settled.
    async fn put<'a>(
        &self,
        (verb, name, bytes): (Verb, &ObjectName, u64),
        print: impl Fn() -> Result<Print, StoreError>,
        mut call: impl FnMut() -> StoreFuture<'a, ()>,
    ) -> Result<(), StoreError> {
        let patience = &mut self.patience();
        // The first unknown outcome: from then on an object under the name may be ours.
        let mut doubt: Option<StoreError> = None;
        loop {
            let what = (verb, name.as_str(), bytes);
            let error = match self.attempt(patience, what, call()).await {
                Ok(()) => return Ok(()),
                Err(e) => e,
            };
            match (&error, &doubt) {
                (StoreError::Unknown { .. }, _) | (StoreError::Exists { .. }, Some(_)) => {
                    match self.read_back(patience, name, print()?).await {
                        Ok(Found::Ours) => return Ok(()),
                        Ok(Found::Foreign) => {
                            return Err(StoreError::Exists { name: name.to_string() });
                        }
                        Ok(Found::Absent) => {}
                        Err(_) => return Err(doubt.unwrap_or_else(|| in_doubt(name, &error))),
                    }
                }
                (StoreError::Unavailable { .. }, _) => {}
                _ => return Err(error),
            }
            let again = patience.wait(&error).await;
            if doubt.is_none() && error.kind() == ErrorKind::Unknown {
                doubt = Some(in_doubt(name, &error));
            }
            if !again {
                return Err(doubt.unwrap_or(error));
            }
        }
    }
}

/// What is left to say of a put that could not be settled.
fn in_doubt(name: &ObjectName, error: &StoreError) -> StoreError {
    let reason = format!("not settled by reading back; first: {error}");
    StoreError::Unknown { what: format!("put {name}"), reason }
}

fn finished(digest: &Digest) -> u32 {
    // The 32-bit checksums fill the lower half.
    u32::try_from(digest.finalize()).unwrap_or(0)
}

fn print_of(pieces: &[Bytes]) -> Print {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        digest.update(piece);
    }
    let len = pieces.iter().map(|p| p.len() as u64).sum();
    Print { len, crc32c: finished(&digest), bytes: Some(pieces.to_vec()) }
}

impl Retrying {
    /// Asks `store` again as `policy` says, by the clock and dice of `env`. Within a runtime with
    /// time.
    pub fn new(store: Arc<dyn ObjectStore>, policy: Policy, env: &Env) -> Self {
        let pace = Arc::new(Pace::new(&policy, env));
        let inner = Inner { store, policy, env: env.clone(), disk: Arc::new(OsDisk), pace };
        Self { inner: Arc::new(inner) }
    }

    /// Reads the files given to `put_file`, to compare them, from `disk`.
    #[must_use]
    pub fn on_disk(self, disk: Arc<dyn Disk>) -> Self {
        let Inner { store, policy, env, pace, .. } = &*self.inner;
        let (store, policy, env) = (Arc::clone(store), policy.clone(), env.clone());
        Self { inner: Arc::new(Inner { store, policy, env, disk, pace: Arc::clone(pace) }) }
    }

    /// Figures: for `/metrics` and `esker status`.
    pub fn figures(&self) -> Figures {
        self.inner.pace.figures()
    }
}

impl ObjectStore for Retrying {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let inner = &self.inner;
            let print = || Ok(print_of(&body));
            let call = || inner.store.put_new(name, body.clone());
            let bytes = body.iter().map(|piece| piece.len() as u64).sum();
            inner.put((Verb::Put, name, bytes), print, call).await
        })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let inner = &self.inner;
            let open = || inner.store.put_stream(name);
            // Opening shows nothing to anybody, so that even an unknown outcome may be repeated.
            let what = (Verb::OpenStream, name.as_str(), 0);
            let writer = inner.repeat(&mut inner.patience(), what, open).await?;
            let (inner, name) = (Arc::clone(inner), name.clone());
            let digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
            Ok(Box::new(Writer { writer, inner, name, digest, len: 0 }) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let inner = &self.inner;
            let print = || {
                let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
                read_pieces(inner.disk.as_ref(), file, len, |_, piece| {
                    digest.update(&piece);
                    Ok(())
                })?;
                Ok(Print { len, crc32c: finished(&digest), bytes: None })
            };
            let call = || inner.store.put_file(name, file, len);
            inner.put((Verb::PutFile, name, len), print, call).await
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let inner = &self.inner;
            let get = || inner.store.get(name, range.clone());
            let what = (Verb::Get, name.as_str(), range.end.saturating_sub(range.start));
            inner.repeat(&mut inner.patience(), what, get).await
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let inner = &self.inner;
            let head = || inner.store.head(name);
            inner.repeat(&mut inner.patience(), (Verb::Head, name.as_str(), 0), head).await
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(async move {
            let inner = &self.inner;
            let list = || inner.store.list(prefix, after, limit);
            inner.repeat(&mut inner.patience(), (Verb::List, prefix, 0), list).await
        })
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let inner = &self.inner;
            let patience = &mut inner.patience();
            let mut outcome: Vec<Result<(), StoreError>> = names.iter().map(|_| Ok(())).collect();
            let mut left: Vec<usize> = (0..names.len()).collect();
            loop {
                let asked: Vec<ObjectName> = left.iter().map(|&i| names[i].clone()).collect();
                let first = asked.first().map_or("", |n| n.as_str());
                let call = || inner.store.delete_many(&asked);
                let done = inner.repeat(patience, (Verb::Delete, first, 0), call).await?;
                for (&i, one) in left.iter().zip(done) {
                    outcome[i] = one;
                }
                let transient = |one: &Result<(), StoreError>| match one {
                    Err(e) => e.is_transient(),
                    Ok(()) => false,
                };
                left.retain(|&i| transient(&outcome[i]));
                let Some(Err(error)) = left.first().map(|&i| &outcome[i]) else {
                    return Ok(outcome);
                };
                if !patience.wait(error).await {
                    return Ok(outcome);
                }
            }
        })
    }

    crate::forward!((inner.store): sweep, distrust, streams, attests, class, capacity, local_dir);
}

/// A stream cannot be sent again from here: its bytes are gone. Only its end can be settled.
struct Writer {
    writer: Box<dyn ObjectWriter>,
    inner: Arc<Inner>,
    name: ObjectName,
    digest: Digest,
    len: u64,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.digest.update(&piece);
            self.len += piece.len() as u64;
            // No slot: a stream lives as long as its segment fills, and may wait for reads.
            let (bytes, call) = (piece.len() as u64, self.writer.write(piece));
            self.inner.within_time(Verb::WriteStream, self.name.as_str(), bytes, call).await.0
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move {
            let Self { writer, inner, name, digest, len } = *self;
            let call = writer.finish();
            let done = inner.within_time(Verb::FinishStream, name.as_str(), len, call).await.0;
            let error = match done {
                Err(e @ StoreError::Unknown { .. }) => e,
                settled => return settled,
            };
            let put = Print { len, crc32c: finished(&digest), bytes: None };
            match inner.read_back(&mut inner.patience(), &name, put).await {
                Ok(Found::Ours) => Ok(()),
                Ok(Found::Foreign) => Err(StoreError::Exists { name: name.to_string() }),
                // Absent now; a request still on its way may yet arrive.
                Ok(Found::Absent) | Err(_) => Err(in_doubt(&name, &error)),
            }
        })
    }
}

#[cfg(test)]
mod tests;
