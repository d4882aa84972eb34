//! Objects in memory: for tests, and for `mem:`.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    path::Path,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;

use crate::{
    Capacity, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError,
    StoreFuture,
    disk::{Disk, OsDisk},
    local::{clip, read_whole},
};

/// A store that lives as long as the process. Fencing. Clones share the objects.
#[derive(Clone)]
pub struct Memory {
    objects: Arc<RwLock<Objects>>,
    disk: Arc<dyn Disk>,
}

#[derive(Default)]
struct Objects {
    by_name: BTreeMap<ObjectName, Stored>,
    used: u64,
    limit: Option<u64>,
    /// The limit is not told by `capacity`.
    untold: bool,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    crc32c: u32,
}

impl Objects {
    fn room_for(&self, name: &ObjectName, len: u64) -> Result<(), StoreError> {
        let used = self.used.saturating_add(len);
        match self.limit.filter(|&limit| used > limit) {
            None => Ok(()),
            Some(limit) => Err(StoreError::Full {
                what: format!("put {name}"),
                reason: format!("{len} bytes more would pass the limit of {limit} bytes"),
            }),
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store without a limit.
    pub fn new() -> Self {
        Self { objects: Arc::default(), disk: Arc::new(OsDisk) }
    }

    /// Answers `Full` rather than hold more than `bytes` of object bytes. May be changed while in
    /// use; what is already held stays.
    #[must_use]
    pub fn limit(self, bytes: u64) -> Self {
        self.set_limit(Some(bytes));
        self
    }

    /// As [`Memory::limit`], but of a store that does not tell its room: an account's quota.
    #[must_use]
    pub fn quota(self, bytes: u64) -> Self {
        self.objects.write().untold = true;
        self.limit(bytes)
    }

    /// Changes the limit, bytes.
    pub fn set_limit(&self, bytes: Option<u64>) {
        self.objects.write().limit = bytes;
    }

    /// Reads the files given to `put_file` from `disk` instead of the machine's.
    #[must_use]
    pub fn on_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Bytes held in objects.
    pub fn used(&self) -> u64 {
        self.objects.read().used
    }

    fn insert(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        let crc32c = crc_fast::crc32_iscsi(&bytes);
        let len = bytes.len() as u64;
        let mut objects = self.objects.write();
        if objects.by_name.contains_key(name) {
            return Err(StoreError::Exists { name: name.to_string() });
        }
        objects.room_for(name, len)?;
        objects.used += len;
        objects.by_name.insert(name.clone(), Stored { bytes, crc32c });
        Ok(())
    }

    fn room_for(&self, name: &ObjectName, len: u64) -> Result<(), StoreError> {
        self.objects.read().room_for(name, len)
    }

    fn find(&self, name: &ObjectName) -> Result<Stored, StoreError> {
        let found = self.objects.read().by_name.get(name).cloned();
        found.ok_or_else(|| StoreError::NotFound { name: name.to_string() })
    }
}

fn joined(pieces: Vec<Bytes>) -> Bytes {
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

impl ObjectStore for Memory {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        // Copied: the caller's pieces may pin far larger buffers.
        Box::pin(async move { self.insert(name, joined(body)) })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let writer =
                Writer { store: self.clone(), name: name.clone(), pieces: Vec::new(), pending: 0 };
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.insert(name, read_whole(self.disk.as_ref(), file, len)?) })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let stored = self.find(name)?;
            let range = clip(name, &range, stored.bytes.len() as u64)?;
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            Ok(stored.bytes.slice(index(range.start)..index(range.end)))
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let stored = self.find(name)?;
            Ok(ObjectInfo { len: stored.bytes.len() as u64, crc32c: Some(stored.crc32c) })
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(async move {
            let from = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let objects = self.objects.read();
            let names = objects.by_name.range::<str, _>((from, Bound::Unbounded));
            let matching =
                names.map(|(name, _)| name).take_while(|n| n.as_str().starts_with(prefix));
            Ok(matching.take(limit).cloned().collect())
        })
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let mut objects = self.objects.write();
            for name in names {
                if let Some(gone) = objects.by_name.remove(name) {
                    objects.used -= gone.bytes.len() as u64;
                }
            }
            Ok(names.iter().map(|_| Ok(())).collect())
        })
    }

    fn class(&self) -> StoreClass {
        StoreClass::Fencing
    }

    fn capacity(&self) -> Option<Capacity> {
        let objects = self.objects.read();
        let told = objects.limit.filter(|_| !objects.untold);
        told.map(|total| Capacity { total, free: total.saturating_sub(objects.used) })
    }
}

struct Writer {
    store: Memory,
    name: ObjectName,
    pieces: Vec<Bytes>,
    pending: u64,
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            // Before it is held, not at the end: the limit is one of memory.
            self.pending += piece.len() as u64;
            self.store.room_for(&self.name, self.pending)?;
            self.pieces.push(piece);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move { self.store.insert(&self.name, joined(self.pieces)) })
    }
}

#[cfg(test)]
mod tests;
