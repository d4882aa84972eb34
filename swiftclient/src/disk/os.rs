//! The machine's own disk, by system calls.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{self as sys, Access, AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{DirEntry, Disk, DiskFile, EntryKind, Identity};

/// Most pieces in one pwritev(2): `UIO_MAXIOV` of Linux.
const IOV_MAX: usize = 1024;

/// [`Disk`] by system calls, each on the calling thread. Files are 0600, directories 0700, every
/// descriptor `O_CLOEXEC`. Interrupted calls are repeated; no other error is.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

/// An open file; its lock, if it took one, ends with the last handle.
#[derive(Debug)]
struct OsFile {
    fd: OwnedFd,
}

/// Repeats `call` while a signal interrupts it.
fn uninterrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    uninterrupted(|| sys::openat(CWD, path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, mode))
}

fn offset_arg(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| io::Error::from(Errno::FBIG))
}

impl OsFile {
    fn shared(fd: OwnedFd) -> Arc<dyn DiskFile> {
        Arc::new(Self { fd })
    }
}

impl DiskFile for OsFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            pieces.iter().filter(|p| !p.is_empty()).map(|p| IoSlice::new(p)).collect();
        let mut rest = slices.as_mut_slice();
        let mut at = offset;
        while !rest.is_empty() {
            let now = &rest[..rest.len().min(IOV_MAX)];
            let written = uninterrupted(|| rustix::io::pwritev(&self.fd, now, at))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            at += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            let from = offset + done as u64;
            let n = uninterrupted(|| rustix::io::pread(&self.fd, &mut into[done..], from))?;
            if n == 0 {
                break;
            }
            done += n;
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not repeated on EINTR: after any failure the pages may already count as clean (R10).
        sys::fdatasync(&self.fd).map_err(io::Error::from)
    }

    fn forget(&self, offset: u64, len: u64) {
        let len = std::num::NonZeroU64::new(len);
        // A hint: its failure changes nothing.
        let _ = sys::fadvise(&self.fd, offset, len, sys::Advice::DontNeed);
    }

    fn start_writeout(&self, offset: u64, len: u64) -> io::Result<()> {
        let (offset, len) = (offset_arg(offset)?, offset_arg(len)?);
        // SAFETY: the descriptor is open for as long as `self`; no memory is passed.
        let answer = unsafe {
            libc::sync_file_range(
                self.fd.as_raw_fd(),
                offset,
                len,
                libc::SYNC_FILE_RANGE_WRITE as libc::c_uint,
            )
        };
        if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        uninterrupted(|| sys::ftruncate(&self.fd, len))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(sys::fstat(&self.fd)?.st_size).unwrap_or(0))
    }

    fn is_regular(&self) -> io::Result<bool> {
        Ok(sys::FileType::from_raw_mode(sys::fstat(&self.fd)?.st_mode).is_file())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match uninterrupted(|| sys::fallocate(&self.fd, FallocateFlags::empty(), 0, len)) {
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                let end = offset_arg(len)?;
                // The C library writes zeros where the file system cannot allocate.
                // SAFETY: the descriptor is open for as long as `self`; no memory is passed.
                let answer = unsafe { libc::posix_fallocate(self.fd.as_raw_fd(), 0, end) };
                if answer == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(answer)) }
            }
            other => other,
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        match uninterrupted(|| sys::flock(&self.fd, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn identity(&self) -> io::Result<Identity> {
        let stat = sys::fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

impl Disk for OsDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).map(OsFile::shared)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        open(path, OFlags::RDWR).map(OsFile::shared)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // NONBLOCK: a fifo that someone put there must not hang the opener.
        open(path, OFlags::RDONLY | OFlags::NONBLOCK).map(OsFile::shared)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        uninterrupted(|| sys::linkat(CWD, from, CWD, to, AtFlags::empty()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        uninterrupted(|| sys::renameat(CWD, from, CWD, to))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        uninterrupted(|| sys::unlinkat(CWD, path, AtFlags::empty()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let fd = open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        sys::fsync(&fd).map_err(io::Error::from)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        uninterrupted(|| sys::mkdirat(CWD, path, Mode::RWXU))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        uninterrupted(|| sys::unlinkat(CWD, path, AtFlags::REMOVEDIR))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|e| Ok(PathBuf::from(e?.file_name()))).collect()
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(t) if t.is_file() => EntryKind::File,
                Ok(t) if t.is_dir() => EntryKind::Directory,
                Ok(_) => EntryKind::Other,
                // Unlinked between the two looks.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            found.push(DirEntry { name: entry.file_name().into(), kind });
        }
        Ok(found)
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        let stat = uninterrupted(|| sys::statat(CWD, path, AtFlags::empty()))?;
        Ok((stat.st_dev, stat.st_ino))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match uninterrupted(|| sys::accessat(CWD, path, Access::EXISTS, AtFlags::empty())) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn capacity(&self, path: &Path) -> io::Result<(u64, u64)> {
        let s = uninterrupted(|| sys::statvfs(path))?;
        Ok((s.f_blocks.saturating_mul(s.f_frsize), s.f_bavail.saturating_mul(s.f_frsize)))
    }
}

#[cfg(test)]
mod tests;
