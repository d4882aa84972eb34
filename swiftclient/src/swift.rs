//! OpenStack Swift, and whatever else speaks its API (Ceph RGW): `swift://CONTAINER/PREFIX`.
//!
//! ```text
//!   put, stream, read, delete, list
//!      │ names            │ names, pages
//!    place              listing      which container, under what name; one order over all
//!      │ containers
//!    containers         made on first use; do they exist?
//!      │ requests
//!    session            token, renewed in time and once on 401
//!      │
//!    http
//! ```
//!
//! It must never know: what is in an object, what a segment is beyond the shape of its name.
//!
//! Invariants
//! 1. A create-only put is `If-None-Match: *`. On Swift that is no lock: of racing creators several
//!    may win (34 of 40 races of 8 did, on one replica); so the class is [`StoreClass::Plain`]. Where
//!    the server ignores the header (RGW), a HEAD comes first.
//! 2. `Ok` of a put means that the store's MD5 of what it holds is ours (`attests`). What is known
//!    beforehand carries its MD5, and the server refuses a body that came differently (422).
//! 3. *Not found* is said only where a GET or HEAD with `X-Newest` did not find the object, and the
//!    store cannot have looked in a wrong place: see `read`. Never because of a listing.
//! 4. A stream shows nothing before its last chunk; a broken or abandoned one shows nothing ever.
//!
//! What is eventually consistent, and who relies on what: objects are never changed and a name is
//! never used twice, so that no stale version of an object can be read; a replica that missed a
//! DELETE may show an object that is gone, which costs a later DELETE. A listing may lag in both
//! directions; recovery finds the newest checkpoint by one, and an older one in its place is sound
//! (its segments are kept as long as two newer ones have not been published).

mod bulk;
mod config;
mod containers;
mod delete;
mod keystone;
mod list;
mod listing;
mod place;
mod put;
mod read;
mod refusal;
mod session;
mod stream;

use std::{
    ops::Range,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;

pub use config::{Auth, Credential, Domain, Named, Secret, SwiftConfig};

/// A door for the tests that throw bytes at decoders: the answer to a bulk delete, `/info`, a
/// listing, an error page. Gives how many names the listing holds, if it is one.
#[doc(hidden)]
pub fn fuzz(document: &[u8]) -> Option<usize> {
    let _ = bulk::fates(&[], document);
    let _ = Info::read(document, MOST);
    let _ = refusal::said(document);
    list::names(document, "fuzz").ok().map(|names| names.len())
}

use crate::{
    ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError, StoreFuture,
    disk::{Disk, OsDisk},
    limits::{SWIFT_BULK_DELETES, SWIFT_LIST_NAMES},
    seam::Env,
};
use bulk::Info;
use containers::Containers;
use place::Layout;
use session::Session;

/// A volume's place in a Swift account. Clones share connections, token and what is known of
/// containers. Within a tokio runtime with I/O and time.
#[derive(Clone)]
pub struct Swift {
    inner: Arc<Inner>,
    disk: Arc<dyn Disk>,
}

struct Inner {
    session: Session,
    layout: Layout,
    containers: Containers,
    info: tokio::sync::OnceCell<Info>,
    /// Whether the server looks at `If-None-Match`.
    honours: tokio::sync::OnceCell<bool>,
    /// A bulk delete was answered by something that knows none.
    no_bulk: AtomicBool,
}

/// What is asked for at most.
const MOST: Info =
    Info { listing: SWIFT_LIST_NAMES, deletes: SWIFT_BULK_DELETES, one_policy: false };

impl Swift {
    /// The store of `config`; nothing is asked yet.
    ///
    /// Errors: `Invalid` where `OS_CACERT` holds no certificate.
    pub fn new(config: &SwiftConfig, env: &Env) -> Result<Self, StoreError> {
        let inner = Inner {
            session: Session::new(config, env)?,
            layout: config.layout.clone(),
            containers: Containers::default(),
            info: tokio::sync::OnceCell::new(),
            honours: tokio::sync::OnceCell::new(),
            no_bulk: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner), disk: Arc::new(OsDisk) })
    }

    /// The first object that stands below the volume's place in its container, whatever it is
    /// called: [`ObjectStore::list`] does not show what is no name of ours. None in a container that
    /// does not exist.
    pub async fn first(&self) -> Result<Option<String>, StoreError> {
        let prefix = self.inner.layout.prefix();
        let found = self.inner.page(self.inner.layout.base(), prefix, None, 1).await?;
        Ok(found.into_iter().next())
    }

    /// Reads the files given to `put_file` from `disk` instead of the machine's.
    #[must_use]
    pub fn on_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }
}

impl Inner {
    /// The server's own limits, asked for once. One that does not tell is taken to have the usual.
    async fn info(&self) -> Info {
        let ask = || async {
            match self.session.info().await {
                Ok(reply) if reply.status().is_success() => Ok(Info::read(reply.body(), MOST)),
                Ok(reply) if !reply.status().is_server_error() => Ok(MOST),
                _ => Err(()),
            }
        };
        self.info.get_or_try_init(ask).await.copied().unwrap_or(MOST)
    }
}

impl ObjectStore for Swift {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(self.inner.put_pieces(name, body))
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let writer = stream::Writer::open(&self.inner, name).await?;
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.inner.put_file(name, &self.disk, file, len))
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(self.inner.get(name, range))
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(self.inner.head(name))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(self.inner.list(prefix, after, limit))
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(self.inner.delete_many(names))
    }

    fn distrust(&self) {
        self.inner.session.distrust();
    }

    fn streams(&self) -> bool {
        true
    }

    fn attests(&self) -> bool {
        true
    }

    fn class(&self) -> StoreClass {
        StoreClass::Plain
    }
}

#[cfg(test)]
mod tests;
