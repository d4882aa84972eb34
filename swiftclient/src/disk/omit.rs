//! A disk that leaves out one class of sync, to prove that no such class can be left out: every
//! test of a dying machine must fail on it.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{DirEntry, Disk, DiskFile, Identity};

/// A class of syncs, told apart by where the file or directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncClass {
    /// fdatasync of a file in a directory `journal`.
    JournalData,
    /// fsync of a directory `journal`.
    JournalDir,
    /// fdatasync of a file in a directory `tmp`: objects before they get their name.
    TempData,
    /// fsync of a directory of objects: `seg`, `side`, `ckpt`, `epoch`, or one below these.
    ObjectDir,
    /// fdatasync of a file in a directory `lock`.
    LockData,
    /// fsync of any other directory: the store's root, its parents, `lock`.
    OtherDir,
}

impl SyncClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::JournalData,
        Self::JournalDir,
        Self::TempData,
        Self::ObjectDir,
        Self::LockData,
        Self::OtherDir,
    ];

    /// Its name, as [`SyncClass::from_str`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::JournalData => "journal-data",
            Self::JournalDir => "journal-dir",
            Self::TempData => "temp-data",
            Self::ObjectDir => "object-dir",
            Self::LockData => "lock-data",
            Self::OtherDir => "other-dir",
        }
    }

    fn of_file(path: &Path) -> Option<Self> {
        match path.parent()?.file_name()?.to_str()? {
            "journal" => Some(Self::JournalData),
            "tmp" => Some(Self::TempData),
            "lock" => Some(Self::LockData),
            _ => None,
        }
    }

    fn of_dir(path: &Path) -> Self {
        if path.file_name() == Some(OsStr::new("journal")) {
            return Self::JournalDir;
        }
        let object =
            |part: &OsStr| matches!(part.to_str(), Some("seg" | "side" | "ckpt" | "epoch"));
        if path.iter().any(object) { Self::ObjectDir } else { Self::OtherDir }
    }
}

impl FromStr for SyncClass {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|c| c.name() == s).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no class of syncs is called {s:?}; there are {names}")
        })
    }
}

/// Any disk, without one class of syncs: they answer `Ok` and do nothing.
#[derive(Clone)]
pub struct Omitting {
    disk: Arc<dyn Disk>,
    class: SyncClass,
    omitted: Arc<AtomicU64>,
}

impl Omitting {
    /// `disk` without the syncs of `class`.
    pub fn new(disk: Arc<dyn Disk>, class: SyncClass) -> Self {
        Self { disk, class, omitted: Arc::default() }
    }

    /// How many syncs were left out: a test that left out none proved nothing.
    pub fn omitted(&self) -> u64 {
        self.omitted.load(Ordering::Relaxed)
    }

    fn omit(&self) -> io::Result<()> {
        self.omitted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        if SyncClass::of_file(path) == Some(self.class) {
            Arc::new(Unsynced { file, of: self.clone() })
        } else {
            file
        }
    }
}

/// A file whose fdatasync is left out.
struct Unsynced {
    file: Arc<dyn DiskFile>,
    of: Omitting,
}

impl DiskFile for Unsynced {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(offset, pieces)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, into)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.of.omit()
    }
    fn start_writeout(&self, _offset: u64, _len: u64) -> io::Result<()> {
        // It would make on a real disk half of what is to be left out.
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn is_regular(&self) -> io::Result<bool> {
        self.file.is_regular()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
    fn identity(&self) -> io::Result<Identity> {
        self.file.identity()
    }
}

impl Disk for Omitting {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.create_new(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, self.disk.open(path)?))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.disk.unlink(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if SyncClass::of_dir(path) == self.class { self.omit() } else { self.disk.sync_dir(path) }
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(path)
    }
    fn entries(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.entries(path)
    }
    fn identity(&self, path: &Path) -> io::Result<Identity> {
        self.disk.identity(path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }
    fn capacity(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.disk.capacity(path)
    }
}

#[cfg(test)]
mod tests;
