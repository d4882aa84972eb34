//! Local files in the words of a store: what an `errno` means for the caller, ranges, whole reads.

use std::{io, ops::Range, path::Path};

use bytes::Bytes;

use crate::{ObjectName, StoreError, disk::Disk, limits::COPY_BYTES};

/// Whether the failed call could have changed the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing: a failure leaves everything as it was.
    Reading,
    /// It may have: what has no clearer meaning is `Unknown`.
    Writing,
}

/// Sorts an error of the disk by remedy. Never `NotFound` or `Exists`: who asked knows whether the
/// missing thing was the object or the ground under it (R3).
pub(crate) fn sorted(doing: Doing, what: String, error: &io::Error) -> StoreError {
    let reason = error.to_string();
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => StoreError::Full { what, reason },
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => StoreError::Denied { what, reason },
        Some(
            libc::ENAMETOOLONG
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::EINVAL
            | libc::EFBIG
            | libc::EOVERFLOW,
        ) => StoreError::Invalid { what, reason },
        // Refused before anything was done.
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::ENOENT) => {
            StoreError::Unavailable { what, reason, retry_after: None }
        }
        _ if doing == Doing::Writing => StoreError::Unknown { what, reason },
        _ => StoreError::Unavailable { what, reason, retry_after: None },
    }
}

/// `range` with its end clipped to `len`; empty when it begins at or beyond the end.
pub(crate) fn clip(
    name: &ObjectName,
    range: &Range<u64>,
    len: u64,
) -> Result<Range<u64>, StoreError> {
    if range.start > range.end {
        return Err(StoreError::Invalid {
            what: format!("get {name}"),
            reason: format!("the range {}..{} ends before it begins", range.start, range.end),
        });
    }
    let end = range.end.min(len);
    Ok(range.start.min(end)..end)
}

/// What an error on a file that the caller named means: a missing one is the caller's mistake.
pub(crate) fn source_error(file: &Path, e: &io::Error) -> StoreError {
    let what = format!("read {}", file.display());
    if e.kind() == io::ErrorKind::NotFound {
        return StoreError::Invalid { what, reason: e.to_string() };
    }
    sorted(Doing::Reading, what, e)
}

/// The first `len` bytes of a local file, piece by piece into `sink`.
pub(crate) fn read_pieces(
    disk: &dyn Disk,
    file: &Path,
    len: u64,
    mut sink: impl FnMut(u64, Bytes) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |e: &io::Error| source_error(file, e);
    let source = disk.open_read(file).map_err(|e| failed(&e))?;
    let mut at = 0;
    while at < len {
        let mut piece = vec![0; usize::try_from(len - at).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
        let n = source.read_at(at, &mut piece).map_err(|e| failed(&e))?;
        if n < piece.len() {
            return Err(StoreError::Invalid {
                what: format!("read {}", file.display()),
                reason: format!("{} bytes asked for, the file ends at {}", len, at + n as u64),
            });
        }
        sink(at, piece.into())?;
        at += n as u64;
    }
    Ok(())
}

/// The first `len` bytes of a local file.
pub(crate) fn read_whole(disk: &dyn Disk, file: &Path, len: u64) -> Result<Bytes, StoreError> {
    let mut whole = Vec::with_capacity(usize::try_from(len).unwrap_or(0).min(64 * COPY_BYTES));
    read_pieces(disk, file, len, |_, piece| {
        whole.extend_from_slice(&piece);
        Ok(())
    })?;
    Ok(whole.into())
}
