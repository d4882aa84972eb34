//! Giving an object its name: temporary file, fdatasync, link, fsync of the directory, unlink.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{Inner, TEMPORARY};
use crate::{
    ObjectName, ObjectWriter, StoreError, StoreFuture,
    disk::{DiskFile, Identity},
    limits::{COPY_BYTES, DISTRUSTED_FILES, TEMPORARY_TRIES, WRITEOUT_BYTES},
    local::{Doing, read_pieces, sorted, source_error},
};

/// A file in `tmp/`, unlinked when dropped.
struct Temporary {
    inner: Arc<Inner>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// Bytes whose write-out has been started.
    pushed: u64,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(e) = self.inner.disk.unlink(&self.path) {
            // The owner's next sweep takes it.
            tracing::warn!(file = %self.path.display(), error = %e, "temporary file stays");
        }
    }
}

impl Temporary {
    fn create(inner: &Arc<Inner>, name: &ObjectName) -> Result<Self, StoreError> {
        let failed = |e: &io::Error| sorted(Doing::Writing, format!("put {name}"), e);
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..TEMPORARY_TRIES {
            let path = inner.temporary_path();
            match inner.disk.create_new(&path) {
                Ok(file) => {
                    let inner = Arc::clone(inner);
                    return Ok(Self { inner, path, file, len: 0, pushed: 0 });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => last = e,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    // The first put of this volume; but never below a root that went away.
                    inner.check_root()?;
                    let dir = inner.root.join(TEMPORARY);
                    inner.disk.create_dir_all(&dir).map_err(|e| failed(&e))?;
                    last = e;
                }
                Err(e) => return Err(failed(&e)),
            }
        }
        Err(failed(&last))
    }

    fn append(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(self.len, pieces)?;
        self.len += pieces.iter().map(|p| p.len() as u64).sum::<u64>();
        if self.len - self.pushed >= WRITEOUT_BYTES {
            // Only so that the fdatasync at the end finds little left: its failure means nothing.
            let _ = self.file.start_writeout(self.pushed, self.len - self.pushed);
            self.pushed = self.len;
        }
        Ok(())
    }

    /// Makes the bytes durable and gives them their name.
    fn publish(self, name: &ObjectName) -> Result<(), StoreError> {
        let failed = |e: &io::Error| sorted(Doing::Writing, format!("put {name}"), e);
        self.file.sync_data().map_err(|e| failed(&e))?;
        match self.inner.link(name, &self.path)? {
            Linked::Yes => Ok(()),
            Linked::OnlyByCopy => Err(no_links(name)),
        }
    }
}

/// How a link ended when it did not fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linked {
    Yes,
    /// The file cannot be linked there; its bytes can be copied.
    OnlyByCopy,
}

impl Inner {
    pub(super) fn put_new(
        self: &Arc<Self>,
        name: &ObjectName,
        body: &[Bytes],
    ) -> Result<(), StoreError> {
        self.refuse_existing(name)?;
        let mut temporary = Temporary::create(self, name)?;
        let pieces: Vec<&[u8]> = body.iter().map(AsRef::as_ref).collect();
        temporary.append(&pieces).map_err(|e| sorted(Doing::Writing, format!("put {name}"), &e))?;
        temporary.publish(name)
    }

    /// Spares the bytes of a put that cannot succeed. The link decides, this only looks.
    fn refuse_existing(&self, name: &ObjectName) -> Result<(), StoreError> {
        let path = self.path_of(name)?;
        match self.disk.exists(&path) {
            Ok(true) => Err(self.exists_durably(name, &path)),
            _ => Ok(()),
        }
    }

    /// `Exists`, once that is a fact which a crash does not undo.
    fn exists_durably(&self, name: &ObjectName, path: &Path) -> StoreError {
        let dir = path.parent().unwrap_or(&self.root);
        // The rival may be between its link and its fsync.
        match self.disk.sync_dir(dir).and_then(|()| self.adopt(dir)) {
            Ok(()) => StoreError::Exists { name: name.to_string() },
            Err(e) => sorted(Doing::Writing, format!("put {name}"), &e),
        }
    }

    /// Makes the directory of `path` and everything above it, durably.
    fn ready_dir(&self, path: &Path) -> Result<(), StoreError> {
        let dir = path.parent().unwrap_or(&self.root);
        let failed = |e: io::Error| sorted(Doing::Writing, format!("make {}", dir.display()), &e);
        let below = dir.strip_prefix(&self.root).unwrap_or(Path::new(""));
        if self.synced.lock().contains(below) {
            return Ok(());
        }
        self.check_root()?;
        if !self.disk.exists(dir).map_err(failed)? {
            self.disk.create_dir_all(dir).map_err(failed)?;
        }
        self.adopt(dir).map_err(failed)
    }

    /// Links `from` to the object's name and makes the name durable.
    fn link(&self, name: &ObjectName, from: &Path) -> Result<Linked, StoreError> {
        let path = self.path_of(name)?;
        let failed = |e: &io::Error| sorted(Doing::Writing, format!("put {name}"), e);
        self.ready_dir(&path)?;
        match self.disk.link(from, &path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(self.exists_durably(name, &path));
            }
            Err(e)
                if matches!(e.raw_os_error(), Some(libc::EXDEV | libc::EPERM | libc::EMLINK))
                    || e.kind() == io::ErrorKind::CrossesDevices =>
            {
                return Ok(Linked::OnlyByCopy);
            }
            Err(e) => return Err(failed(&e)),
        }
        let dir = path.parent().unwrap_or(&self.root);
        if let Err(e) = self.disk.sync_dir(dir) {
            // Whether the entry is durable is unknown, and a later fsync that succeeds proves
            // nothing: the kernel reports a failed write-back once. Taking the entry back makes the
            // next put link again, which dirties the directory again.
            let _ = self.disk.unlink(&path);
            let reason = format!("fsync of {}: {e}", dir.display());
            return Err(StoreError::Unknown { what: format!("put {name}"), reason });
        }
        Ok(Linked::Yes)
    }

    pub(super) fn put_file(
        self: &Arc<Self>,
        name: &ObjectName,
        file: &Path,
        len: u64,
    ) -> Result<(), StoreError> {
        let path = self.path_of(name)?;
        let failed = |e: &io::Error| {
            let what = format!("put {name} from {}", file.display());
            sorted(Doing::Writing, what, e)
        };
        let source = self.disk.open(file).map_err(|e| source_error(file, &e))?;
        let whole = source.len().map_err(|e| failed(&e))?;
        if whole < len {
            return Err(StoreError::Invalid {
                what: format!("put {name} from {}", file.display()),
                reason: format!("the file has {whole} bytes, {len} were asked for"),
            });
        }
        let ours = source.identity().map_err(|e| failed(&e))?;
        self.sync_source(name, file, ours, &source)?;
        if whole == len {
            match self.link(name, file) {
                Ok(Linked::OnlyByCopy) => {}
                // Our own earlier link whose answer was lost: the same inode is the same bytes.
                Err(StoreError::Exists { .. })
                    if self.disk.identity(&path).is_ok_and(|there| there == ours) =>
                {
                    return Ok(());
                }
                Err(e) => return Err(e),
                Ok(Linked::Yes) => {
                    let there = self.disk.identity(&path).map_err(|e| failed(&e))?;
                    if there == ours {
                        return Ok(());
                    }
                    return Err(StoreError::Corrupt {
                        what: format!("put {name} from {}", file.display()),
                        reason: "the name does not stand for the linked file".into(),
                    });
                }
            }
        }
        self.put_copy(name, file, len)
    }

    /// Makes the source's bytes durable. A failure is for ever: the kernel counts the pages as
    /// clean and a second fdatasync would succeed without writing them (R10).
    fn sync_source(
        &self,
        name: &ObjectName,
        file: &Path,
        identity: Identity,
        source: &Arc<dyn DiskFile>,
    ) -> Result<(), StoreError> {
        let corrupt = |reason: String| StoreError::Corrupt {
            what: format!("put {name} from {}", file.display()),
            reason,
        };
        if self.distrusted.lock().iter().any(|(i, _)| *i == identity) {
            return Err(corrupt("an earlier fdatasync of this file failed".into()));
        }
        source.sync_data().map_err(|e| {
            let mut distrusted = self.distrusted.lock();
            if distrusted.len() == DISTRUSTED_FILES {
                distrusted.pop_front();
            }
            distrusted.push_back((identity, Arc::clone(source)));
            corrupt(format!("fdatasync: {e}"))
        })
    }

    /// Copies a file that cannot be linked, and reads the copy back before it gets its name.
    fn put_copy(
        self: &Arc<Self>,
        name: &ObjectName,
        file: &Path,
        len: u64,
    ) -> Result<(), StoreError> {
        self.refuse_existing(name)?;
        let failed = |e: &io::Error| sorted(Doing::Writing, format!("put {name}"), e);
        let mut copy = Temporary::create(self, name)?;
        read_pieces(self.disk.as_ref(), file, len, |_, piece| {
            copy.append(&[&piece]).map_err(|e| failed(&e))
        })?;
        copy.file.sync_data().map_err(|e| failed(&e))?;
        let mut back = vec![0; COPY_BYTES];
        read_pieces(self.disk.as_ref(), file, len, |at, piece| {
            let back = &mut back[..piece.len()];
            let n = copy.file.read_at(at, back).map_err(|e| failed(&e))?;
            if n == piece.len() && *back == *piece {
                return Ok(());
            }
            Err(StoreError::Corrupt {
                what: format!("put {name} from {}", file.display()),
                reason: format!("the copy differs within {} bytes from {at}", piece.len()),
            })
        })?;
        match self.link(name, &copy.path)? {
            Linked::Yes => Ok(()),
            Linked::OnlyByCopy => Err(no_links(name)),
        }
    }
}

/// The file system refuses hard links, without which nothing can be published here.
fn no_links(name: &ObjectName) -> StoreError {
    StoreError::Denied {
        what: format!("put {name}"),
        reason: "the file system does not allow hard links within the store".into(),
    }
}

struct Writer {
    temporary: Temporary,
    name: ObjectName,
    failed: bool,
}

/// Opens a streaming put.
pub(super) fn stream(
    inner: &Arc<Inner>,
    name: &ObjectName,
) -> Result<Box<dyn ObjectWriter>, StoreError> {
    inner.refuse_existing(name)?;
    let temporary = Temporary::create(inner, name)?;
    Ok(Box::new(Writer { temporary, name: name.clone(), failed: false }))
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.temporary.append(&[&piece]).map_err(|e| {
                self.failed = true;
                sorted(Doing::Writing, format!("put {}", self.name), &e)
            })
        })
    }

    fn finish(self: Box<Self>) -> StoreFuture<'static, ()> {
        Box::pin(async move {
            if self.failed {
                return Err(StoreError::Invalid {
                    what: format!("put {}", self.name),
                    reason: "finished after a failed write".into(),
                });
            }
            self.temporary.publish(&self.name)
        })
    }
}
