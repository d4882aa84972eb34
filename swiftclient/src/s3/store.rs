//! The bucket as an [`ObjectStore`].

use std::{ops::Range, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    S3Config,
    put::{Source, Trust},
    request::Door,
};
use crate::{
    ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError, StoreFuture,
    disk::{Disk, OsDisk},
    http::HttpConfig,
    limits::{S3_PAGE, STREAM_BYTES},
    seam::Env,
};

/// The header that carries a CRC-32C.
pub(super) const CHECKSUM: &str = "x-amz-checksum-crc32c";

/// Objects in an S3 bucket. Clones share connections and credentials.
#[derive(Clone)]
pub struct S3 {
    inner: Arc<Inner>,
    disk: Arc<dyn Disk>,
    class: StoreClass,
}

struct Inner {
    door: Door,
    env: Env,
    trust: Trust,
    /// DeleteObjects was refused as unknown.
    single_deletes: std::sync::atomic::AtomicBool,
}

impl S3 {
    /// The bucket of `config`. Nothing is sent yet: whether it is there and may be used shows the
    /// first request.
    ///
    /// Calls itself fencing, which many S3 stores are and some are not (the module says which):
    /// [`crate::probe`] finds out, [`crate::probe::Classed`] or [`S3::with_class`] records it.
    ///
    /// Errors: `Invalid`: endpoint or CA file.
    pub fn new(config: S3Config, env: &Env) -> Result<Self, StoreError> {
        Self::with_http(config, env, &HttpConfig::default())
    }

    /// The same with other time-outs and limits of connections.
    pub fn with_http(config: S3Config, env: &Env, http: &HttpConfig) -> Result<Self, StoreError> {
        let inner = Inner {
            door: Door::new(config, http)?,
            env: env.clone(),
            trust: Trust::default(),
            single_deletes: false.into(),
        };
        Ok(Self { inner: Arc::new(inner), disk: Arc::new(OsDisk), class: StoreClass::Fencing })
    }

    /// Creates the bucket, in the region of its configuration. `Ok` where this account has it
    /// already.
    ///
    /// Errors: `Denied` without the right to, or where it is another's.
    pub async fn create_bucket(&self) -> Result<(), StoreError> {
        self.inner.door.create_bucket().await
    }

    /// The first key that stands below the volume's place in the bucket, whatever it is called:
    /// [`ObjectStore::list`] does not show what is no name of ours.
    pub async fn first(&self) -> Result<Option<String>, StoreError> {
        self.inner.door.first().await
    }

    /// What [`ObjectStore::class`] answers.
    #[must_use]
    pub fn with_class(mut self, class: StoreClass) -> Self {
        self.class = class;
        self
    }

    /// Reads the files given to `put_file` from `disk` instead of the machine's.
    #[must_use]
    pub fn on_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }
}

impl Inner {
    async fn put(&self, name: &ObjectName, source: Source<'_>) -> Result<(), StoreError> {
        self.door.put(&self.env, &self.trust, name, source).await
    }

    async fn delete(
        &self,
        names: &[ObjectName],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        use std::sync::atomic::Ordering::Relaxed;
        let mut outcomes = Vec::with_capacity(names.len());
        for batch in names.chunks(S3_PAGE) {
            if !self.single_deletes.load(Relaxed) {
                match self.door.delete_batch(batch).await {
                    Ok(Some(some)) => {
                        outcomes.extend(some);
                        continue;
                    }
                    Ok(None) => self.single_deletes.store(true, Relaxed),
                    Err(e) if names.len() <= S3_PAGE => return Err(e),
                    Err(e) => {
                        outcomes.extend(batch.iter().map(|_| Err(e.clone())));
                        continue;
                    }
                }
            }
            outcomes.extend(self.door.delete_singly(batch).await);
        }
        Ok(outcomes)
    }
}

impl ObjectStore for S3 {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(self.inner.put(name, Source::Pieces(body)))
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let (inner, name) = (Arc::clone(&self.inner), name.clone());
            let writer = Writer { inner, name, pieces: Vec::new(), len: 0 };
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.inner.put(name, Source::File { disk: &self.disk, path: file, len }))
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(self.inner.door.get(name, range))
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(self.inner.door.head(name))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(self.inner.door.list(prefix, after, limit))
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(self.inner.delete(names))
    }

    fn distrust(&self) {
        self.inner.door.distrust();
    }

    fn attests(&self) -> bool {
        true
    }

    fn class(&self) -> StoreClass {
        self.class
    }
}

/// Keeps what is written until its length is known: S3 takes no PUT without one, and completing a
/// multipart upload is unconditional on some stores.
struct Writer {
    inner: Arc<Inner>,
    name: ObjectName,
    pieces: Vec<Bytes>,
    len: u64,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.len += piece.len() as u64;
            if self.len > STREAM_BYTES {
                return Err(StoreError::Invalid {
                    what: format!("write_stream {}", self.name),
                    reason: format!("more than the {STREAM_BYTES} bytes that can be kept"),
                });
            }
            self.pieces.push(piece);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move { self.inner.put(&self.name, Source::Pieces(self.pieces)).await })
    }
}
