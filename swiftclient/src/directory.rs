//! Objects as files below a directory (R12; docs/format.md §1).
//!
//! ```text
//!   ROOT/seg/…  ROOT/volume     objects: a file each, complete from the moment it has its name
//!   ROOT/tmp/…                  files being written; swept by the owner of the volume
//!   ROOT/journal  ROOT/lock …   reserved: never objects
//! ```
//!
//! Invariants
//! 1. An object's name is given by `link(2)`, never by rename or creation, after the fdatasync of
//!    its bytes; and `Ok` is said after the fsync of every directory on the way to it.
//! 2. Nothing is believed from an entry whose directory this process has not synced once: a maker
//!    that was killed between link and fsync leaves entries that a dying machine takes back.
//! 3. `NotFound` is said only while the root is the same directory it was at opening (R3): below an
//!    unmounted file system everything would look absent.

mod files;
mod publish;
mod walk;

use std::{
    collections::{HashSet, VecDeque},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;

use self::files::OpenFiles;
use crate::{
    Capacity, ObjectInfo, ObjectName, ObjectStore, ObjectWriter, StoreClass, StoreError,
    StoreFuture,
    disk::{Disk, DiskFile, Identity, parent_of},
    limits::OPEN_FILES,
    local::{Doing, clip, sorted},
    seam::Env,
};

/// Where temporary files live, below the root.
pub const TEMPORARY: &str = "tmp";

/// Choices of a directory store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Object files kept open for reading, descriptors.
    pub open_files: usize,
    /// Names directly below the root that are never objects, beside [`TEMPORARY`].
    pub reserved: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let reserved = ["journal", "lock", "reserve", "lost+found"];
        Self { open_files: OPEN_FILES, reserved: reserved.map(String::from).to_vec() }
    }
}

/// A store in a local directory. Every call does its I/O on the calling thread, at the first poll.
/// Clones share it.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    root_identity: Identity,
    reserved: Vec<String>,
    /// Distinguishes this process's temporary names from those of others alive or dead.
    instance: u64,
    next_temporary: AtomicU64,
    /// Directories (relative to the root) whose entries and ancestors were synced by this process.
    synced: Mutex<HashSet<PathBuf>>,
    open: OpenFiles,
    /// Files given to `put_file` whose fdatasync failed, the latest last. Kept open, so that no
    /// other file gets their inode meanwhile.
    distrusted: Mutex<VecDeque<(Identity, Arc<dyn DiskFile>)>>,
}

impl Directory {
    /// Makes `root` and its parents where absent, then opens it.
    ///
    /// Errors: `Denied`, `Full`, `Unavailable`, `Invalid` (something else of that name).
    pub fn create(
        disk: Arc<dyn Disk>,
        root: impl Into<PathBuf>,
        env: &Env,
    ) -> Result<Self, StoreError> {
        let root = root.into();
        disk.create_dir_all(&root)
            .map_err(|e| sorted(Doing::Reading, format!("make {}", root.display()), &e))?;
        Self::open(disk, root, env, Options::default())
    }

    /// Opens the existing directory `root`. Nothing is written before the first put.
    ///
    /// Errors: `Unavailable` where it does not exist, `Denied` where it cannot be read; never
    /// `NotFound`.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: impl Into<PathBuf>,
        env: &Env,
        options: Options,
    ) -> Result<Self, StoreError> {
        let root = root.into();
        let what = |e: io::Error| sorted(Doing::Reading, format!("open {}", root.display()), &e);
        let root_identity = disk.identity(&root).map_err(what)?;
        // Proves that it is a directory and readable.
        disk.entries(&root).map_err(what)?;
        // A maker that was killed may have left the root's own entry unsynced.
        match disk.sync_dir(parent_of(&root)) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            other => other.map_err(what)?,
        }
        let mut reserved = options.reserved;
        reserved.push(TEMPORARY.into());
        let inner = Inner {
            disk,
            root,
            root_identity,
            reserved,
            instance: env.random_u64(),
            next_temporary: AtomicU64::new(0),
            synced: Mutex::default(),
            open: OpenFiles::new(options.open_files),
            distrusted: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// The file of an object; `Invalid` for a reserved name.
    fn path_of(&self, name: &ObjectName) -> Result<PathBuf, StoreError> {
        let top = name.as_str().split('/').next().unwrap_or_default();
        if self.reserved.iter().any(|r| r == top) {
            return Err(StoreError::Invalid {
                what: name.to_string(),
                reason: format!("names below {top}/ are reserved in a directory store"),
            });
        }
        Ok(self.root.join(name.as_str()))
    }

    /// `Unavailable` or `Denied` unless the root is the directory it was at opening.
    fn check_root(&self) -> Result<(), StoreError> {
        let what = || format!("look at {}", self.root.display());
        match self.disk.identity(&self.root) {
            Ok(identity) if identity == self.root_identity => Ok(()),
            Ok(_) => Err(StoreError::Unavailable {
                what: what(),
                reason: "another directory is there now: unmounted, or mounted over".into(),
                retry_after: None,
            }),
            Err(e) => Err(sorted(Doing::Reading, what(), &e)),
        }
    }

    /// What an error on an object's own path means for one who reads it.
    fn read_error(&self, verb: &str, name: &ObjectName, error: &io::Error) -> StoreError {
        if error.kind() == io::ErrorKind::NotFound {
            return match self.check_root() {
                Ok(()) => StoreError::NotFound { name: name.to_string() },
                Err(ground) => ground,
            };
        }
        sorted(Doing::Reading, format!("{verb} {name}"), error)
    }

    /// Syncs `dir` (below the root) and its ancestors up to the root, once per process: entries
    /// left by a writer that was killed before its fsync become durable before they are believed.
    fn adopt(&self, dir: &Path) -> io::Result<()> {
        let below = dir.strip_prefix(&self.root).unwrap_or(Path::new(""));
        if self.synced.lock().contains(below) {
            return Ok(());
        }
        for part in below.ancestors() {
            if !self.synced.lock().contains(part) {
                let whole =
                    if part.as_os_str().is_empty() { &self.root } else { &self.root.join(part) };
                self.disk.sync_dir(whole)?;
                self.synced.lock().insert(part.to_owned());
            }
        }
        Ok(())
    }

    /// Unlinks the temporary files that are not this process's own.
    fn sweep(&self) -> Result<usize, StoreError> {
        let dir = self.root.join(TEMPORARY);
        let failed = |e: io::Error| sorted(Doing::Writing, format!("sweep {}", dir.display()), &e);
        let found = match self.disk.list(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other.map_err(failed)?,
        };
        let ours = format!("{:016x}-", self.instance);
        let mut swept = 0;
        for name in found.iter().filter(|n| !n.to_string_lossy().starts_with(&ours)) {
            match self.disk.unlink(&dir.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other.map_err(failed)?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }

    fn temporary_path(&self) -> PathBuf {
        let n = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        self.root.join(TEMPORARY).join(format!("{:016x}-{n}", self.instance))
    }
}

impl ObjectStore for Directory {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.inner.put_new(name, &body) })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move { publish::stream(&self.inner, name) })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move { self.inner.put_file(name, file, len) })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let object = self.inner.object(name)?;
            let range = clip(name, &range, object.len)?;
            let too_long = |_| StoreError::Invalid {
                what: format!("get {name}"),
                reason: "longer than memory".into(),
            };
            let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(too_long)?];
            let n = object
                .file
                .read_at(range.start, &mut bytes)
                .map_err(|e| self.inner.read_error("get", name, &e))?;
            if n < bytes.len() {
                return Err(StoreError::Corrupt {
                    what: format!("get {name}"),
                    reason: format!(
                        "it had {} bytes and ends at {} now",
                        object.len,
                        range.start + n as u64
                    ),
                });
            }
            Ok(bytes.into())
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let object = self.inner.object(name)?;
            Ok(ObjectInfo { len: object.len, crc32c: None })
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(async move { self.inner.list(prefix, after, limit) })
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move { Ok(self.inner.delete_many(names)) })
    }

    fn sweep(&self) -> StoreFuture<'_, usize> {
        Box::pin(async move { self.inner.sweep() })
    }

    fn class(&self) -> StoreClass {
        StoreClass::Fencing
    }

    fn capacity(&self) -> Option<Capacity> {
        let (total, free) = self.inner.disk.capacity(&self.inner.root).ok()?;
        Some(Capacity { total, free })
    }

    fn local_dir(&self) -> Option<&Path> {
        Some(&self.inner.root)
    }
}

#[cfg(test)]
mod tests;
