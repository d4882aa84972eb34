//! R18: room that writers may not use.
//!
//! A preallocated file beside the volume. While it has its full size the disk is not full for the
//! log's own work: when a write of the journal, a checkpoint or a delete finds no space, the file
//! is cut shorter and the write is tried again; when room comes back, it grows again. Admission
//! (`Log::admit`) refuses growth long before that.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use swiftclient::disk::{Disk, DiskFile};

use crate::{LogError, RESERVE_MAX_BYTES, error::journal_error};

/// Given away at least this much at a time, bytes.
const STEP: u64 = 4 << 20;

/// The reserve of one volume. Without a local file it is always whole and holds nothing.
pub(crate) struct Reserve {
    inner: Option<Inner>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    target: u64,
    /// Its size now, bytes; mirrored for those who only look.
    len: AtomicU64,
    file: Mutex<Arc<dyn DiskFile>>,
}

impl Reserve {
    /// None: the store has no end that it tells.
    pub(crate) fn none() -> Self {
        Self { inner: None }
    }

    /// Size for a volume of `segment` bytes per segment on a disk of `total` bytes:
    /// max(8 segments, total / 16), at most [`RESERVE_MAX_BYTES`].
    pub(crate) fn target(segment: u64, total: u64) -> u64 {
        (8 * segment).max(total / 16).min(RESERVE_MAX_BYTES).min(total / 4)
    }

    /// Opens or makes `dir/reserve`, and grows it towards its size as far as the disk allows.
    pub(crate) fn open(disk: &Arc<dyn Disk>, dir: &Path, segment: u64) -> Result<Self, LogError> {
        let path = dir.join("reserve");
        let failed = |e| journal_error("open", &path, e);
        let file = match disk.open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => disk.create_new(&path),
            other => other,
        };
        let file = file.map_err(failed)?;
        let (total, _) = disk.capacity(dir).map_err(failed)?;
        let target = Self::target(segment, total);
        let mut len = file.len().map_err(failed)?;
        if len > target {
            file.set_len(target).map_err(failed)?;
            len = target;
        }
        let inner = Inner {
            disk: disk.clone(),
            dir: dir.to_owned(),
            target,
            len: AtomicU64::new(len),
            file: Mutex::new(file),
        };
        let reserve = Self { inner: Some(inner) };
        reserve.restore();
        Ok(reserve)
    }

    /// Cuts at least `bytes` off; false where nothing was left to give.
    pub(crate) fn release(&self, bytes: u64) -> bool {
        let Some(inner) = &self.inner else { return false };
        let file = inner.file.lock();
        let len = inner.len.load(Ordering::Relaxed);
        if len == 0 {
            return false;
        }
        let left = len.saturating_sub(bytes.max(STEP));
        match file.set_len(left) {
            Ok(()) => {
                tracing::warn!(left, of = inner.target, "the disk is full: the reserve is used");
                inner.len.store(left, Ordering::Relaxed);
                true
            }
            Err(e) => {
                tracing::error!(error = %e, "the reserve cannot be cut");
                false
            }
        }
    }

    /// Grows back to its size if the disk has that much room and some more. Cheap while whole.
    pub(crate) fn restore(&self) {
        let Some(inner) = &self.inner else { return };
        let len = inner.len.load(Ordering::Relaxed);
        if len >= inner.target {
            return;
        }
        let file = inner.file.lock();
        let missing = inner.target - len;
        match inner.disk.capacity(&inner.dir) {
            // As much again stays free, or it would be taken away again at once.
            Ok((_, free)) if free > missing.saturating_mul(2).min(missing + 8 * STEP) => {}
            _ => return,
        }
        match file.allocate(inner.target) {
            Ok(()) => inner.len.store(inner.target, Ordering::Relaxed),
            Err(e) => {
                tracing::debug!(error = %e, "the reserve cannot grow yet");
                let _ = file.set_len(len);
            }
        }
    }

    /// True while it is not whole.
    pub(crate) fn in_use(&self) -> bool {
        self.inner.as_ref().is_some_and(|i| i.len.load(Ordering::Relaxed) < i.target)
    }

    /// (missing, whole) bytes.
    pub(crate) fn missing(&self) -> (u64, u64) {
        self.inner
            .as_ref()
            .map_or((0, 0), |i| (i.target.saturating_sub(i.len.load(Ordering::Relaxed)), i.target))
    }
}
