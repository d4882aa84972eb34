//! Object files kept open for reading, so that a small get is one pread(2).

use std::{io, sync::Arc};

use quick_cache::sync::Cache;

use super::Inner;
use crate::{ObjectName, StoreError, disk::DiskFile};

/// A published object, open. Objects never change, so its length is looked at once.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
}

pub(super) struct OpenFiles {
    cache: Cache<ObjectName, Object>,
}

impl OpenFiles {
    /// At most `limit` descriptors, besides those in use at the moment.
    pub(super) fn new(limit: usize) -> Self {
        Self { cache: Cache::new(limit.max(1)) }
    }

    pub(super) fn forget(&self, name: &ObjectName) {
        self.cache.remove(name);
    }
}

impl Inner {
    /// The object's file from the cache, or opened.
    pub(super) fn object(&self, name: &ObjectName) -> Result<Object, StoreError> {
        if let Some(open) = self.open.cache.get(name) {
            return Ok(open);
        }
        let path = self.path_of(name)?;
        let failed = |e: io::Error| self.read_error("open", name, &e);
        let file = match self.disk.open_read(&path) {
            // Out of descriptors: ours are the ones we can give back.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                self.open.cache.clear();
                self.disk.open_read(&path).map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        if !file.is_regular().map_err(failed)? {
            return Err(StoreError::Invalid {
                what: format!("open {name}"),
                reason: "not a regular file".into(),
            });
        }
        self.adopt(path.parent().unwrap_or(&self.root)).map_err(failed)?;
        let object = Object { len: file.len().map_err(failed)?, file };
        self.open.cache.insert(name.clone(), object.clone());
        // A delete that unlinked before our insertion has already forgotten the name: without this
        // look the cache would keep the dead file's blocks allocated.
        if !self.disk.exists(&path).map_err(failed)? {
            self.open.forget(name);
        }
        Ok(object)
    }
}
