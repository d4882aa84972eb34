//! Counts and times what is asked of a store, and what it answers; says in the trace what was put.

mod histogram;

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    ErrorKind, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreError, StoreFuture, Verb,
    seam::{Clock, Env, TRACE},
};

use histogram::Clocked;
pub use histogram::{BUCKETS, Histogram};

const VERBS: usize = Verb::ALL.len();
const KINDS: usize = ErrorKind::ALL.len();

/// A store whose calls are counted, by verb and outcome.
#[derive(Clone)]
pub struct Metered {
    store: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
}

struct Meter {
    clock: Arc<dyn Clock>,
    verbs: [Counters; VERBS],
}

#[derive(Default)]
struct Counters {
    ok: AtomicU64,
    errors: [AtomicU64; KINDS],
    abandoned: AtomicU64,
    running: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    times: Clocked,
}

/// The figures of one verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Of which these are the figures.
    pub verb: Verb,
    /// Calls that succeeded.
    pub ok: u64,
    /// Calls that failed, by kind; kinds that did not occur are left out.
    pub errors: Vec<(ErrorKind, u64)>,
    /// Calls that the caller gave up before an answer.
    pub abandoned: u64,
    /// Calls without an answer yet.
    pub running: u64,
    /// Bytes of objects sent by calls that succeeded.
    pub sent: u64,
    /// Bytes of objects received.
    pub received: u64,
    /// The times from call to answer, well or bad.
    pub times: Histogram,
}

/// All figures at one moment (each is exact, together they may be a call apart).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// One per verb, in the order of [`Verb::ALL`].
    pub verbs: Vec<Figures>,
}

impl Snapshot {
    /// The figures of one verb.
    pub fn of(&self, verb: Verb) -> &Figures {
        &self.verbs[verb as usize]
    }

    /// Objects created.
    pub fn puts(&self) -> u64 {
        let creating = [Verb::Put, Verb::PutFile, Verb::FinishStream];
        creating.into_iter().map(|verb| self.of(verb).ok).sum()
    }

    /// Calls that ended, however they did.
    pub fn calls(&self) -> u64 {
        let errors = |f: &Figures| f.errors.iter().map(|(_, n)| n).sum::<u64>();
        self.verbs.iter().map(|f| f.ok + f.abandoned + errors(f)).sum()
    }
}

/// One call under way.
struct Running<'a> {
    meter: &'a Meter,
    verb: Verb,
    since: Duration,
    answered: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let counters = self.meter.of(self.verb);
        counters.running.fetch_sub(1, Relaxed);
        if !self.answered {
            counters.abandoned.fetch_add(1, Relaxed);
        }
    }
}

impl Meter {
    fn of(&self, verb: Verb) -> &Counters {
        &self.verbs[verb as usize]
    }

    fn begin(&self, verb: Verb) -> Running<'_> {
        self.of(verb).running.fetch_add(1, Relaxed);
        Running { meter: self, verb, since: self.clock.monotonic(), answered: false }
    }

    async fn count<T>(
        &self,
        verb: Verb,
        sent: u64,
        received: impl FnOnce(&T) -> u64,
        call: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let mut running = self.begin(verb);
        let answer = call.await;
        running.answered = true;
        let counters = self.of(verb);
        let time = self.clock.monotonic().saturating_sub(running.since);
        counters.times.add(time);
        match &answer {
            Ok(value) => {
                counters.ok.fetch_add(1, Relaxed);
                counters.sent.fetch_add(sent, Relaxed);
                counters.received.fetch_add(received(value), Relaxed);
            }
            Err(e) => {
                counters.errors[e.kind() as usize].fetch_add(1, Relaxed);
            }
        }
        answer
    }
}

impl Metered {
    /// Counts the calls to `store`.
    pub fn new(store: Arc<dyn ObjectStore>, env: &Env) -> Self {
        let clock = Arc::clone(&env.clock);
        Self { store, meter: Arc::new(Meter { clock, verbs: Default::default() }) }
    }

    /// The figures now.
    pub fn snapshot(&self) -> Snapshot {
        let figures = |verb: Verb| {
            let c = self.meter.of(verb);
            let error = |kind: ErrorKind| (kind, c.errors[kind as usize].load(Relaxed));
            Figures {
                verb,
                ok: c.ok.load(Relaxed),
                errors: ErrorKind::ALL.map(error).into_iter().filter(|(_, n)| *n > 0).collect(),
                abandoned: c.abandoned.load(Relaxed),
                running: c.running.load(Relaxed),
                sent: c.sent.load(Relaxed),
                received: c.received.load(Relaxed),
                times: c.times.snapshot(),
            }
        };
        Snapshot { verbs: Verb::ALL.map(figures).to_vec() }
    }
}

fn nothing<T>(_: &T) -> u64 {
    0
}

impl ObjectStore for Metered {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        let len = body.iter().map(|p| p.len() as u64).sum();
        Box::pin(async move {
            let call = self.store.put_new(name, body);
            self.meter.count(Verb::Put, len, nothing, call).await?;
            tracing::debug!(target: TRACE, object = %name, bytes = len, "put");
            Ok(())
        })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let open = self.store.put_stream(name);
            let writer = self.meter.count(Verb::OpenStream, 0, nothing, open).await?;
            let meter = Arc::clone(&self.meter);
            tracing::debug!(target: TRACE, object = %name, "put opened");
            let name = name.clone();
            Ok(Box::new(Writer { writer, meter, name, sent: 0 }) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let call = self.store.put_file(name, file, len);
            self.meter.count(Verb::PutFile, len, nothing, call).await?;
            tracing::debug!(target: TRACE, object = %name, bytes = len, "put");
            Ok(())
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        let len = |bytes: &Bytes| bytes.len() as u64;
        Box::pin(self.meter.count(Verb::Get, 0, len, self.store.get(name, range)))
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(self.meter.count(Verb::Head, 0, nothing, self.store.head(name)))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        let call = self.store.list(prefix, after, limit);
        Box::pin(self.meter.count(Verb::List, 0, nothing, call))
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(self.meter.count(Verb::Delete, 0, nothing, self.store.delete_many(names)))
    }

    crate::forward!((store): sweep, distrust, streams, attests, class, capacity, local_dir);
}

struct Writer {
    writer: Box<dyn ObjectWriter>,
    meter: Arc<Meter>,
    name: ObjectName,
    /// Bytes that the store took so far.
    sent: u64,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        let len = piece.len() as u64;
        Box::pin(async move {
            let call = self.writer.write(piece);
            self.meter.count(Verb::WriteStream, len, nothing, call).await?;
            self.sent += len;
            let (object, total) = (&self.name, self.sent);
            tracing::debug!(target: TRACE, %object, bytes = len, total, "put sent");
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move {
            let Self { writer, meter, name, sent } = *self;
            meter.count(Verb::FinishStream, 0, nothing, writer.finish()).await?;
            tracing::debug!(target: TRACE, object = %name, bytes = sent, "put finished");
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
