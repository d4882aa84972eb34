//! The seam at file operations (DESIGN §10, simulation): every byte that must survive a machine
//! goes through a [`Disk`]. [`os`] is the machine's; the simulator's loses, tears or reorders
//! whatever was not yet fsynced.

pub mod omit;
pub mod os;
pub mod plan;
pub mod sim;

pub use omit::Omitting;
pub use os::OsDisk;
pub use sim::SimDisk;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// (device, inode): two names are one file exactly when these agree.
pub type Identity = (u64, u64);

/// What stands behind a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: symbolic link, socket, fifo, device.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name alone, without the directory.
    pub name: PathBuf,
    /// What it is.
    pub kind: EntryKind,
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Writes all of `pieces`, in order, at `offset`. After an error the file's bytes from
    /// `offset` on are unspecified.
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()>;
    /// Reads up to `into.len()` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// fdatasync(2). Once it failed the file must never be trusted or synced again (R10).
    fn sync_data(&self) -> io::Result<()>;
    /// Starts write-out of a range without waiting (`sync_file_range(WRITE)`): no durability.
    fn start_writeout(&self, offset: u64, len: u64) -> io::Result<()>;
    /// The machine need not keep a durable range in memory (`posix_fadvise(DONTNEED)`): a hint,
    /// which may do nothing.
    fn forget(&self, _offset: u64, _len: u64) {}
    /// ftruncate(2).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// fstat(2) size in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True when empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// True for a regular file: a directory, too, can be opened for reading.
    fn is_regular(&self) -> io::Result<bool>;
    /// posix_fallocate(3) of `len` bytes from 0.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// A non-blocking exclusive flock(2), held until the last handle drops. `false`: another holds it.
    fn try_lock(&self) -> io::Result<bool>;
    /// (device, inode): two names are one file exactly when these agree.
    fn identity(&self) -> io::Result<Identity>;
}

/// A file system's directory operations.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist, mode 0600, open for reading and writing.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// link(2): fails with `AlreadyExists` and never replaces. `CrossesDevices` across file systems.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// rename(2). Only for setting things aside, never for publishing (R12).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// unlink(2).
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// fsync(2) of a directory: makes creations, links, renames and unlinks in it durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// mkdir(2), mode 0700: one level, not yet durable.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// rmdir(2): an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// mkdir -p; the parents' entries are made durable too.
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty() && !self.exists(at)? {
            missing.push(at);
            at = at.parent().unwrap_or(Path::new(""));
        }
        for dir in missing.iter().rev() {
            match self.create_dir(dir) {
                // Another made it meanwhile; its entry may not be durable yet, so sync it too.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            if let Err(e) = self.sync_dir(parent_of(dir)) {
                // A later fsync that succeeds would prove nothing about this entry: make it anew.
                let _ = self.remove_dir(dir);
                return Err(e);
            }
        }
        if missing.is_empty() {
            // A maker that was killed may have left the entry unsynced.
            match self.sync_dir(parent_of(path)) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        // A plain file of that name is an error here, not at the first use.
        self.entries(path).map(drop)
    }
    /// Names in a directory, `.` and `..` left out, unsorted.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// The same with what each name is.
    fn entries(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// stat(2): (device, inode) of a file or directory by name. A directory whose identity changed
    /// is another one: its file system was unmounted, or something was mounted over it.
    fn identity(&self, path: &Path) -> io::Result<Identity>;
    /// faccessat(2) F_OK: one system call, no allocation beyond the path.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// (total, free to this process) bytes of the file system that holds `path`.
    fn capacity(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// The directory that holds `path`; "." for a bare name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) => Path::new("."),
        None => path,
    }
}
