use std::{future::Future, ops::Range, path::Path, pin::Pin};

use bytes::Bytes;

use crate::{ObjectName, StoreError};

/// Boxed, `Send`: stores are called on the store pool, never on a reactor.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What a store knows about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Length in bytes.
    pub len: u64,
    /// CRC-32C of the whole object where the store can tell without sending it.
    pub crc32c: Option<u32>,
}

/// How far a create-only put can be trusted against a rival (DESIGN §4, "Stores are probed").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreClass {
    /// Of several racing creators exactly one wins.
    Fencing,
    /// Creators may both win: being the only server is the operator's promise.
    Plain,
}

/// Objects by name. Seven verbs; every implementation passes `conformance::run`.
pub trait ObjectStore: Send + Sync {
    /// Stores `body` under `name`, only if nothing is there. On success the object is durable and
    /// equals `body`.
    ///
    /// Errors: `Exists`, `Unknown` (read back), `Unavailable`, `Full`, `Denied`.
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()>;

    /// Opens a create-only streaming put: nothing is visible under `name` before
    /// [`ObjectWriter::finish`]. Dropping the writer abandons the object.
    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>>;

    /// Stores the first `len` bytes of a local file under `name`, create-only. A directory on the
    /// same file system links instead of copying (R12): the caller has closed the file and will
    /// never write it again. `Corrupt`: an fdatasync of the file failed, now or before; its bytes
    /// must be put from memory (R10). A second put of one and the same file (inode) may be `Ok`.
    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()>;

    /// Bytes `range` of the object (end clipped to its length). An empty range at or beyond the
    /// end gives no bytes.
    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes>;

    /// Length and, where cheap, checksum.
    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo>;

    /// Up to `limit` names that begin with `prefix` and are greater than `after`, ascending.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>>;

    /// Deletes each name. One already absent counts as deleted. Gives the outcome per name, in
    /// order.
    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>>;

    /// Removes what killed writers left unfinished, where a store has such things; gives how many.
    /// Only for who holds the volume's lock. What this process is writing is not touched.
    fn sweep(&self) -> StoreFuture<'_, usize> {
        Box::pin(async { Ok(0) })
    }

    /// What came last was not what was asked for, as only the caller could see: an answer may have
    /// gone astray. A store that is asked over connections makes them anew, so that what is asked
    /// next cannot be answered by what is still on its way in an old one.
    fn distrust(&self) {}

    /// True where the bytes given to a [`ObjectStore::put_stream`] travel while the object still
    /// grows (Swift's chunked PUT). Elsewhere they are kept, or written nearby, until `finish`.
    fn streams(&self) -> bool {
        false
    }

    /// True where `Ok` of a put means that the store's own digest of what it now holds equals that
    /// of what was put (R19): nothing need be read back.
    fn attests(&self) -> bool {
        false
    }

    /// How far `put_new` fences.
    fn class(&self) -> StoreClass;

    /// Free and total bytes where the store has an end (a directory: statvfs); `None` where it has
    /// none that it tells.
    fn capacity(&self) -> Option<Capacity> {
        None
    }

    /// The local directory of a directory store, for `flock`, default journal and preallocated
    /// reserve; `None` elsewhere.
    fn local_dir(&self) -> Option<&Path> {
        None
    }
}

/// Room in a store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Whole size.
    pub total: u64,
    /// Free to this process.
    pub free: u64,
}

/// One streaming put (chunked PUT on Swift, a temporary file in a directory).
pub trait ObjectWriter: Send {
    /// Appends bytes. An error ends this writer; the whole object is then sent again by a new one.
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()>;
    /// Completes the object: on `Ok` it is durable, whole and visible.
    fn finish(self: Box<Self>) -> StoreFuture<'static, ()>;
}
