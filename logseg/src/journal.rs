//! The journal directory: names, identity, files (docs/format.md §2.8).
//!
//! ```text
//!   JOURNAL/journal                volume and journal uuid, checksummed
//!   JOURNAL/EEEEEEEE-CCCCCCCC.gN   segment (epoch, counter), generation N of its file
//!   JOURNAL/sealed-EEEEEEEE        the epoch was taken over: its writer acknowledges nothing more
//!   JOURNAL/aside-EEEEEEEE/…       void files of an ended epoch: never replayed, never deleted
//!   JOURNAL/lock/…                 see `lock`
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use swiftclient::{disk::Disk, seam::Env};

use crate::{
    LogError, SegmentId, ZERO_AHEAD_BYTES,
    chain::JournalFile,
    core::Spare,
    error::journal_error,
    format::{JournalIdentity, JournalSeal},
};

const IDENTITY: &str = "journal";
/// More than any small file of a journal has, bytes.
const SMALL_FILE_BYTES: usize = 2 << 10;

/// An open journal directory that belongs to this volume.
#[derive(Clone)]
pub(crate) struct Journal {
    pub dir: PathBuf,
    pub disk: Arc<dyn Disk>,
    /// The volume it belongs to.
    pub volume: [u8; 16],
    /// Identity of this journal, for life.
    pub uuid: [u8; 16],
}

/// A segment file found in a journal directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub id: SegmentId,
    pub generation: u32,
}

impl Journal {
    /// The journal in `dir`, if one is there.
    ///
    /// Errors: `Refused` where it belongs to another volume or is damaged.
    pub(crate) fn find(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        volume: &[u8; 16],
    ) -> Result<Option<Self>, LogError> {
        let path = dir.join(IDENTITY);
        let file = match disk.open_read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| journal_error("open", &path, e))?,
        };
        let bytes = read_small(&*file).map_err(|e| journal_error("read", &path, e))?;
        let found = JournalIdentity::decode(&bytes)
            .map_err(|e| LogError::Refused(format!("{}: {e}", path.display())))?;
        if found.volume != *volume {
            return Err(LogError::Refused(format!(
                "the journal {} belongs to volume {}, not to {}",
                dir.display(),
                uuid::Uuid::from_bytes(found.volume),
                uuid::Uuid::from_bytes(*volume),
            )));
        }
        let (volume, uuid) = (found.volume, found.journal);
        Ok(Some(Self { dir: dir.to_owned(), disk: disk.clone(), volume, uuid }))
    }

    /// Makes a new journal in `dir`, durably. A directory with segment files and no identity is
    /// refused: whose they are is not known.
    pub(crate) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        volume: &[u8; 16],
        env: &Env,
    ) -> Result<Self, LogError> {
        disk.create_dir_all(dir).map_err(|e| journal_error("make", dir, e))?;
        let mut uuid = [0; 16];
        env.dice.fill(&mut uuid);
        let journal = Self { dir: dir.to_owned(), disk: disk.clone(), volume: *volume, uuid };
        if let Some(found) = journal.segments()?.first() {
            return Err(LogError::Refused(format!(
                "the journal {} has segment files ({}) but no file {IDENTITY}",
                dir.display(),
                found.id
            )));
        }
        journal.sweep()?;
        let bytes = JournalIdentity { volume: *volume, journal: uuid }.encode();
        journal.publish(IDENTITY, &bytes, env)?;
        // Another opener may have made it meanwhile: what it put there counts, for us too.
        Ok(Self::find(disk, dir, volume)?.unwrap_or(journal))
    }

    /// Writes a small file under a temporary name, syncs it, links it to its name, syncs the
    /// directory. One that exists already stays as it is.
    fn publish(&self, name: &str, bytes: &[u8], env: &Env) -> Result<(), LogError> {
        let path = self.dir.join(name);
        let temporary = self.dir.join(format!("tmp-{:016x}", env.random_u64()));
        let failed = |e| journal_error("write", &path, e);
        let file = self.disk.create_new(&temporary).map_err(failed)?;
        let linked = file
            .write_at(0, &[bytes])
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.link(&temporary, &path));
        let swept = self.disk.unlink(&temporary);
        match linked {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(failed)?,
        }
        swept.map_err(failed)?;
        self.sync_dir()
    }

    pub(crate) fn sync_dir(&self) -> Result<(), LogError> {
        self.disk.sync_dir(&self.dir).map_err(|e| journal_error("sync", &self.dir, e))
    }

    /// Path of one generation of a segment's file.
    pub(crate) fn segment_path(&self, id: SegmentId, generation: u32) -> PathBuf {
        self.dir.join(format!("{:08x}-{:08x}.g{generation}", id.epoch(), id.counter()))
    }

    /// Makes the file of a segment; its directory is not synced yet.
    pub(crate) fn create_segment(&self, id: SegmentId, generation: u32) -> io::Result<JournalFile> {
        let path = self.segment_path(id, generation);
        let file = self.disk.create_new(&path)?;
        Ok(JournalFile { path, generation, file })
    }

    /// Makes a file in advance: [`ZERO_AHEAD_BYTES`] of zeros, synced with its directory. Its name
    /// says which segment it is for; without a header it counts as absent.
    pub(crate) fn create_spare(&self, id: SegmentId) -> io::Result<Spare> {
        let file = self.create_segment(id, 0)?;
        let zeros = vec![0; usize::try_from(ZERO_AHEAD_BYTES).unwrap_or(0)];
        let filled = file
            .file
            .write_at(0, &[&zeros])
            .and_then(|()| file.file.sync_data())
            .and_then(|()| self.disk.sync_dir(&self.dir));
        match filled {
            Ok(()) => Ok(Spare { id, file, zeros: ZERO_AHEAD_BYTES }),
            Err(e) => {
                // Never used (R10): its pages may be marked clean and be lost.
                let _ = self.disk.unlink(&file.path);
                Err(e)
            }
        }
    }

    /// All segment files, by id and generation. Nothing else is looked at.
    pub(crate) fn segments(&self) -> Result<Vec<Found>, LogError> {
        let names = self.disk.list(&self.dir).map_err(|e| journal_error("list", &self.dir, e))?;
        let mut found: Vec<Found> =
            names.iter().filter_map(|n| parse_segment(n.to_str()?)).collect();
        found.sort();
        Ok(found)
    }

    /// Removes temporary names that a kill left behind. Only for the holder of the lock.
    pub(crate) fn sweep(&self) -> Result<(), LogError> {
        let names = self.disk.list(&self.dir).map_err(|e| journal_error("list", &self.dir, e))?;
        for name in names.iter().filter(|n| n.to_str().is_some_and(|n| n.starts_with("tmp-"))) {
            let path = self.dir.join(name);
            self.disk.unlink(&path).map_err(|e| journal_error("unlink", &path, e))?;
        }
        Ok(())
    }

    /// The mark that tells a stale writer of `epoch` to acknowledge nothing more (R5).
    pub(crate) fn sealed_path(&self, epoch: u32) -> PathBuf {
        self.dir.join(format!("sealed-{epoch:08x}"))
    }

    /// Puts that mark, durably, naming the taker. Afterwards whatever the old writer acknowledged
    /// is seen by a scan.
    pub(crate) fn seal_epoch(&self, epoch: u32, holder: &str, env: &Env) -> Result<(), LogError> {
        let mut nonce = [0; 16];
        env.dice.fill(&mut nonce);
        let seal = JournalSeal {
            volume: self.volume,
            epoch,
            nonce,
            journal: self.uuid,
            take_over: true,
            holder: holder.to_owned(),
        };
        self.publish(&format!("sealed-{epoch:08x}"), &seal.encode(), env)
    }

    /// Who took `epoch` over, if somebody did. One system call where nobody did.
    pub(crate) fn sealed_by(&self, path: &Path) -> io::Result<Option<String>> {
        if !self.disk.exists(path)? {
            return Ok(None);
        }
        // Whoever put it there, and however damaged it is: it fences.
        let bytes = read_small(&*self.disk.open_read(path)?)?;
        let holder = JournalSeal::decode(&bytes).map(|s| s.holder);
        Ok(Some(holder.unwrap_or_else(|e| format!("{} ({e})", path.display()))))
    }

    /// Moves void files of `epoch` out of the way, durably.
    pub(crate) fn set_aside(&self, epoch: u32, files: &[Found]) -> Result<(), LogError> {
        if files.is_empty() {
            return Ok(());
        }
        let aside = self.dir.join(format!("aside-{epoch:08x}"));
        self.disk.create_dir_all(&aside).map_err(|e| journal_error("make", &aside, e))?;
        for found in files {
            let from = self.segment_path(found.id, found.generation);
            let Some(name) = from.file_name() else { continue };
            let mut to = aside.join(name);
            let mut n = 0;
            while self.disk.exists(&to).map_err(|e| journal_error("look at", &to, e))? {
                n += 1;
                to = aside.join(format!("{}.{n}", name.to_string_lossy()));
            }
            tracing::warn!(segment = %found.id, to = %to.display(), "void journal file set aside");
            self.disk.rename(&from, &to).map_err(|e| journal_error("set aside", &from, e))?;
        }
        self.disk.sync_dir(&aside).map_err(|e| journal_error("sync", &aside, e))?;
        self.sync_dir()
    }

    /// Unlinks files that mean nothing (spares, older generations, stored segments).
    pub(crate) fn remove(&self, id: SegmentId, generation: u32) -> Result<(), LogError> {
        let path = self.segment_path(id, generation);
        match self.disk.unlink(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| journal_error("unlink", &path, e)),
        }
    }
}

fn read_small(file: &dyn swiftclient::disk::DiskFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SMALL_FILE_BYTES];
    let n = file.read_at(0, &mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

pub(crate) fn parse_segment(name: &str) -> Option<Found> {
    let (id, generation) = name.split_once(".g")?;
    let (epoch, counter) = id.split_once('-')?;
    if epoch.len() != 8 || counter.len() != 8 {
        return None;
    }
    let epoch = u32::from_str_radix(epoch, 16).ok()?;
    let counter = u32::from_str_radix(counter, 16).ok().filter(|c| c >> 31 == 0)?;
    let generation = generation.parse().ok()?;
    Some(Found { id: SegmentId::chain(epoch, counter), generation })
}

#[cfg(test)]
mod tests;
