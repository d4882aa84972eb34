//! A store that creates as real ones do: for tests of whatever must find that out, or live with it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;

use crate::{
    ErrorKind, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError, StoreFuture,
};

/// How a create-only put is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The condition is passed over and the object replaced (Garage, RGW's Swift API).
    Ignores,
    /// The condition is looked at when the request begins and not again when its body is complete
    /// (Swift).
    CheckThenAct,
    /// Exactly one wins, but of those that lose a race half are answered by a server error (RGW's
    /// S3 API).
    LosersInDoubt,
}

/// A store whose creators race. Everything but creation is the inner store's. Clones share it.
#[derive(Clone)]
pub struct Racy {
    store: Arc<dyn ObjectStore>,
    manner: Manner,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    creating: AtomicU64,
    lost: AtomicU64,
}

/// Others get their turn so often between the look and the act.
const TURNS: u32 = 4;

impl Racy {
    /// `store`, its creation of `manner`. It claims to fence, as such stores do.
    pub fn new(store: Arc<dyn ObjectStore>, manner: Manner) -> Self {
        Self { store, manner, counts: Arc::default() }
    }

    async fn create(&self, name: &ObjectName, body: Vec<Bytes>) -> Result<(), StoreError> {
        if self.manner == Manner::CheckThenAct {
            match self.store.head(name).await {
                Ok(_) => return Err(StoreError::Exists { name: name.to_string() }),
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        let others = self.counts.creating.fetch_add(1, Relaxed);
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let others = others.max(self.counts.creating.fetch_sub(1, Relaxed) - 1);
        if self.manner != Manner::LosersInDoubt {
            if let Some(Err(e)) = self.store.delete_many(std::slice::from_ref(name)).await?.pop() {
                return Err(e);
            }
            return self.store.put_new(name, body).await;
        }
        match self.store.put_new(name, body).await {
            Err(StoreError::Exists { .. })
                if others > 0 && self.counts.lost.fetch_add(1, Relaxed).is_multiple_of(2) =>
            {
                Err(ErrorKind::Unknown.error("put", name.as_str(), "500"))
            }
            other => other,
        }
    }
}

impl ObjectStore for Racy {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(self.create(name, body))
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let (store, name) = (self.clone(), name.clone());
            Ok(Box::new(Writer { store, name, pieces: Vec::new() }) as Box<dyn ObjectWriter>)
        })
    }

    fn class(&self) -> StoreClass {
        StoreClass::Fencing
    }

    crate::forward!((store): put_file, get, head, list, delete_many, sweep, capacity);
}

struct Writer {
    store: Racy,
    name: ObjectName,
    pieces: Vec<Bytes>,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        self.pieces.push(piece);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move { self.store.create(&self.name, self.pieces).await })
    }
}
