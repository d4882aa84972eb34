//! A disk in memory that can die.
//!
//! It is harsher than any real file system, on purpose: every change not yet synced is kept, lost,
//! torn at sectors or reordered *on its own*. An fdatasync makes a file's bytes durable but not its
//! name; an fsync of a directory makes names durable but not what stands behind them. Killing a
//! process keeps everything it wrote, as the page cache does: only [`SimDisk::crash`] shows a
//! missing fsync.
//!
//! ```text
//!   program ──► seen ──► pending changes ──sync──► durable ──crash──► seen
//!                              └─────crash: kept, lost, torn, reordered─┘
//! ```
//!
//! Everything is decided by the dice given: the same seed, the same wreck.

mod crash;
mod world;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

pub use self::crash::SECTOR;
use self::world::{Body, DirState, FileState, Ino, World, errno};
use super::{
    DirEntry, Disk, DiskFile, EntryKind, Identity,
    plan::{Harm, Harmed, Operation},
};
use crate::seam::Dice;

/// One process's view of a simulated disk. A view whose process was killed, or whose machine has
/// crashed, answers `EIO` for ever, so that what is left of a dead server cannot write.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    process: u64,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// A first process on an empty disk.
    pub fn new() -> Self {
        Self { world: Arc::new(Mutex::new(World::new())), process: 0 }.process()
    }

    /// Another process on the same disk; after a crash, the first of the next boot.
    #[must_use]
    pub fn process(&self) -> Self {
        let mut world = self.world.lock();
        let process = world.next_process;
        world.next_process += 1;
        world.alive.insert(process);
        Self { world: Arc::clone(&self.world), process }
    }

    /// kill -9 of this process: its files are closed, its locks released, its bytes stay.
    pub fn kill(&self) {
        let mut world = self.world.lock();
        world.alive.remove(&self.process);
        // Handles die with their process; their drops come later, if at all.
        let dead = |handle: &&u64| **handle >> PROCESS_SHIFT == self.process;
        let handles: Vec<u64> = world.open.keys().filter(dead).copied().collect();
        for handle in handles {
            world.close(handle);
        }
    }

    /// The machine dies: every process ends, unsynced changes meet the fate that `dice` give them.
    /// Harms still to come are forgotten, the power is on again; [`SimDisk::process`] boots.
    pub fn crash(&self, dice: &dyn Dice) {
        self.world.lock().crash(Some(dice));
    }

    /// The machine dies before any write-back began: everything unsynced is lost.
    pub fn crash_losing_unsynced(&self) {
        self.world.lock().crash(None);
    }

    /// What a machine that died now would find at its next boot; this one lives on.
    #[must_use]
    pub fn wreck(&self, dice: &dyn Dice) -> Self {
        let mut world = self.world.lock().clone();
        world.crash(Some(dice));
        Self { world: Arc::new(Mutex::new(world)), process: 0 }.process()
    }

    /// Adds something that will go wrong.
    pub fn harm(&self, harm: Harmed) {
        self.world.lock().plan.add(harm);
    }

    /// Forgets all harms, and switches the power on again.
    pub fn heal(&self) {
        self.world.lock().plan.clear();
    }

    /// True once a planned power failure happened.
    pub fn is_power_off(&self) -> bool {
        self.world.lock().plan.is_power_off()
    }

    /// Operations harmed so far: a countdown ends where its harm hit nothing.
    pub fn harmed(&self) -> u64 {
        self.world.lock().plan.hits()
    }

    /// Room for this many bytes of files; beyond it `ENOSPC`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world.lock().capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.world.lock().used
    }

    /// How often each kind of operation was asked for.
    pub fn counts(&self) -> BTreeMap<Operation, u64> {
        self.world.lock().plan.counts().clone()
    }

    /// How often one kind was asked for.
    pub fn count(&self, operation: Operation) -> u64 {
        self.world.lock().plan.counts().get(&operation).copied().unwrap_or(0)
    }

    /// The last operations (at most 100,000), oldest first.
    pub fn log(&self) -> Vec<(Operation, PathBuf)> {
        self.world.lock().plan.log().cloned().collect()
    }

    /// Forgets counts and log.
    pub fn forget_log(&self) {
        self.world.lock().plan.forget();
    }

    /// Changes a file's bytes behind every program's back, on the platter too: rot, or a torn
    /// sector made by hand.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut world = self.world.lock();
        let ino = world.find(path)?;
        let file = world.file_mut(ino)?;
        change(&mut file.seen);
        file.pending.clear();
        file.durable.clone_from(&file.seen);
        Ok(())
    }

    /// A file's bytes as programs see them.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = self.world.lock();
        Ok(world.file(world.find(path)?)?.seen.clone())
    }

    /// Begins an operation: fails if the process is dead, the power is off, or the plan says so.
    fn begin(&self, what: Operation, path: &Path) -> io::Result<MutexGuard<'_, World>> {
        let (world, harm) = self.begin_harmed(what, path)?;
        harm.map_or(Ok(world), |h| Err(h.error()))
    }

    /// The same, leaving the harm to the caller.
    fn begin_harmed(
        &self,
        what: Operation,
        path: &Path,
    ) -> io::Result<(MutexGuard<'_, World>, Option<Harm>)> {
        let mut world = self.world.lock();
        if !world.alive.contains(&self.process) {
            return Err(errno(libc::EIO));
        }
        match world.plan.note(what, path) {
            Some(Harm::PowerOff) => Err(errno(libc::EIO)),
            harm => Ok((world, harm)),
        }
    }

    fn handle(&self, mut world: MutexGuard<'_, World>, ino: Ino, path: &Path) -> Arc<dyn DiskFile> {
        world.next_handle += 1;
        let handle = self.process << PROCESS_SHIFT | world.next_handle;
        world.opened(handle, ino);
        drop(world);
        Arc::new(SimFile { disk: self.clone(), ino, handle, path: path.to_owned() })
    }
}

/// A handle's upper bits tell its process.
const PROCESS_SHIFT: u32 = 40;

struct SimFile {
    disk: SimDisk,
    ino: Ino,
    handle: u64,
    path: PathBuf,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.world.lock().close(self.handle);
    }
}

fn index(value: u64) -> io::Result<usize> {
    // Sparse files beyond this would be held in memory whole.
    usize::try_from(value).ok().filter(|&v| v <= 1 << 34).ok_or_else(|| errno(libc::EFBIG))
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let (mut world, harm) = self.disk.begin_harmed(Operation::Write, &self.path)?;
        let bytes = pieces.concat();
        let offset = index(offset)?;
        match harm {
            None => world.write(self.ino, offset, &bytes),
            Some(Harm::Short(most, _)) => {
                world.write(self.ino, offset, &bytes[..bytes.len().min(most)])?;
                Err(harm.map_or_else(|| errno(libc::EIO), Harm::error))
            }
            Some(harm) => Err(harm.error()),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let world = self.disk.begin(Operation::Read, &self.path)?;
        let seen = &world.file(self.ino)?.seen;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(seen.len());
        let n = into.len().min(seen.len() - from);
        into[..n].copy_from_slice(&seen[from..from + n]);
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut world, harm) = self.disk.begin_harmed(Operation::SyncData, &self.path)?;
        match harm {
            None => world.sync_data(self.ino),
            Some(harm) => {
                world.forget_data(self.ino);
                Err(harm.error())
            }
        }
    }

    fn start_writeout(&self, _offset: u64, _len: u64) -> io::Result<()> {
        self.disk.begin(Operation::StartWriteout, &self.path).map(drop)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        self.disk.begin(Operation::SetLen, &self.path)?.set_len(self.ino, len)
    }

    fn len(&self) -> io::Result<u64> {
        let world = self.disk.begin(Operation::Look, &self.path)?;
        Ok(world.file(self.ino)?.seen.len() as u64)
    }

    fn is_regular(&self) -> io::Result<bool> {
        Ok(self.disk.begin(Operation::Look, &self.path)?.file(self.ino).is_ok())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let len = index(len)?;
        let mut world = self.disk.begin(Operation::Allocate, &self.path)?;
        if world.file(self.ino)?.seen.len() < len { world.set_len(self.ino, len) } else { Ok(()) }
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut world = self.disk.begin(Operation::Lock, &self.path)?;
        let holder = *world.locks.entry(self.ino).or_insert(self.handle);
        Ok(holder == self.handle)
    }

    fn identity(&self) -> io::Result<Identity> {
        drop(self.disk.begin(Operation::Look, &self.path)?);
        Ok(World::identity(self.ino))
    }
}

impl Disk for SimDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.begin(Operation::Create, path)?;
        let ino = world.create(path, Body::File(FileState::default()))?;
        Ok(self.handle(world, ino, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.begin(Operation::Open, path)?;
        let ino = world.find(path)?;
        world.file(ino)?;
        Ok(self.handle(world, ino, path))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.begin(Operation::Open, path)?;
        let ino = world.find(path)?;
        Ok(self.handle(world, ino, path))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(Operation::Link, to)?.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin(Operation::Rename, from)?.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::Unlink, path)?.unlink(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let (mut world, harm) = self.begin_harmed(Operation::SyncDir, path)?;
        let dir = world.find(path)?;
        match harm {
            None => world.sync_dir(dir),
            Some(harm) => {
                world.forget_names(dir);
                Err(harm.error())
            }
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.begin(Operation::CreateDir, path)?;
        world.create(path, Body::Dir(DirState::default())).map(drop)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.begin(Operation::RemoveDir, path)?.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.entries(path)?.into_iter().map(|e| e.name).collect())
    }

    fn entries(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let world = self.begin(Operation::Look, path)?;
        let dir = world.dir(world.find(path)?)?;
        // Backwards, so that nobody comes to rely on an order.
        let names = dir.seen.iter().rev().map(|(name, ino)| {
            let is_dir = world.dir(*ino).is_ok();
            let kind = if is_dir { EntryKind::Directory } else { EntryKind::File };
            DirEntry { name: name.into(), kind }
        });
        Ok(names.collect())
    }

    fn identity(&self, path: &Path) -> io::Result<Identity> {
        Ok(World::identity(self.begin(Operation::Look, path)?.find(path)?))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.begin(Operation::Look, path)?.find(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn capacity(&self, path: &Path) -> io::Result<(u64, u64)> {
        let world = self.begin(Operation::Look, path)?;
        world.find(path)?;
        let total = world.capacity.unwrap_or(1 << 50);
        Ok((total, total.saturating_sub(world.used)))
    }
}

#[cfg(test)]
mod tests;
