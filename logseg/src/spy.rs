//! A store for tests: counts what is asked of it, can be held up, and fails as it is told.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use swiftclient::{Memory, ObjectInfo, ObjectName, ObjectStore, StoreError, StoreFuture};
use tokio::sync::Semaphore;

/// What a put is to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutFault {
    /// The object is stored, but nobody learns of it.
    UnknownStored,
    /// Nothing happened, but nobody knows.
    UnknownLost,
    /// The first half of the object is stored: a store that lies.
    Half,
    /// Try later.
    Unavailable,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub gets: Vec<(String, Range<u64>)>,
    pub puts: Vec<String>,
    pub heads: usize,
    /// Puts under way at the same time, now and at most.
    pub putting: (usize, usize),
}

#[derive(Clone)]
pub(crate) struct Spy {
    pub inner: Memory,
    pub seen: Arc<Mutex<Seen>>,
    /// Each get takes a permit; closed: they run freely.
    pub gate: Arc<Semaphore>,
    pub faults: Arc<Mutex<VecDeque<PutFault>>>,
    /// Gets fail with this, as long as it is set.
    pub get_fault: Arc<Mutex<Option<StoreError>>>,
    /// The next gets that pass the gate fail with these.
    pub get_faults: Arc<Mutex<VecDeque<StoreError>>>,
}

impl Spy {
    pub(crate) fn new() -> Self {
        Self {
            inner: Memory::new(),
            seen: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            faults: Arc::default(),
            get_fault: Arc::default(),
            get_faults: Arc::default(),
        }
    }

    pub(crate) fn gets(&self) -> usize {
        self.seen.lock().gets.len()
    }

    pub(crate) fn bytes_got(&self) -> u64 {
        self.seen.lock().gets.iter().map(|(_, r)| r.end - r.start).sum()
    }

    pub(crate) async fn object(&self, name: &ObjectName) -> Bytes {
        self.inner.get(name, 0..u64::MAX).await.unwrap()
    }
}

impl ObjectStore for Spy {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            {
                let mut seen = self.seen.lock();
                seen.puts.push(name.to_string());
                seen.putting.0 += 1;
                seen.putting.1 = seen.putting.1.max(seen.putting.0);
            }
            tokio::task::yield_now().await;
            let fault = self.faults.lock().pop_front();
            let unknown = || StoreError::Unknown { what: name.to_string(), reason: "lost".into() };
            let result = match fault {
                None => self.inner.put_new(name, body).await,
                Some(PutFault::UnknownStored) => {
                    self.inner.put_new(name, body).await?;
                    Err(unknown())
                }
                Some(PutFault::UnknownLost) => Err(unknown()),
                Some(PutFault::Half) => {
                    let all = body.concat();
                    let half = Bytes::copy_from_slice(&all[..all.len() / 2]);
                    self.inner.put_new(name, vec![half]).await?;
                    Err(unknown())
                }
                Some(PutFault::Unavailable) => Err(StoreError::Unavailable {
                    what: name.to_string(),
                    reason: "told so".into(),
                    retry_after: None,
                }),
            };
            self.seen.lock().putting.0 -= 1;
            result
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            self.seen.lock().gets.push((name.to_string(), range.clone()));
            let permit = self.gate.acquire().await;
            drop(permit);
            if let Some(e) = self.get_faults.lock().pop_front() {
                return Err(e);
            }
            if let Some(e) = self.get_fault.lock().clone() {
                return Err(e);
            }
            self.inner.get(name, range).await
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        self.seen.lock().heads += 1;
        self.inner.head(name)
    }

    swiftclient::forward!((inner): put_stream, put_file, list, delete_many, class);
}
