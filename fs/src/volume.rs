use std::sync::Arc;

use headhunter::{Index, Intent, RequestTag, Seq, SyncMode};
use inode::{Files, ReadAhead, Report, Tuning};

use crate::{
    Done, FileId, FsError, Locks, VolumeStat,
    convert::recall,
    driver::{Stop, failed},
};

/// One mounted volume. Clones share it.
#[derive(Clone)]
pub struct Volume {
    files: Arc<Files>,
    locks: Arc<Locks>,
    root: FileId,
}

/// Largest file, bytes: 8 EiB − 1 (offsets are signed 64-bit on every client).
pub const MAX_FILE_BYTES: u64 = inode::limits::MAX_FILE_BYTES;
/// Longest name, bytes.
pub const NAME_BYTES: usize = inode::limits::NAME_BYTES;
/// Longest symlink target, bytes (PATH_MAX − 1).
pub const TARGET_BYTES: usize = inode::limits::TARGET_BYTES;
/// Room that a new inode with its name is taken to need, bytes (statfs only).
const INODE_BYTES: u64 = 1_024;

impl Volume {
    /// Opens the files of `index`. An empty index is formatted: a root directory (inode 1) owned by
    /// `root_owner` (uid, gid), mode 0755.
    pub async fn open(index: Index, root_owner: (u32, u32)) -> Result<Self, FsError> {
        Self::open_tuned(index, root_owner, Tuning::default()).await
    }

    /// As [`Volume::open`], with limits that a test can meet.
    pub async fn open_tuned(
        index: Index,
        root_owner: (u32, u32),
        tuning: Tuning,
    ) -> Result<Self, FsError> {
        let files = Files::open(index, root_owner, tuning).await.map_err(|e| failed(&e))?;
        let files = Arc::new(files);
        // The root's generation is the epoch of its formatting.
        let mut volume =
            Self { files, locks: Arc::default(), root: FileId { ino: inode::ROOT, generation: 0 } };
        let found = volume.look(|view| volume.named(view, inode::ROOT)).await;
        volume.root = found.map_err(|f| f.error)?.0.id;
        Ok(volume)
    }

    /// The files of an index that is only looked at ([`Index::look`]): every change fails. Where
    /// the root directory cannot be read, so does every look-up from it.
    pub async fn still(index: Index, tuning: Tuning) -> Self {
        let files = Arc::new(Files::still(index, tuning));
        let mut volume =
            Self { files, locks: Arc::default(), root: FileId { ino: inode::ROOT, generation: 0 } };
        if let Ok((root, _)) = volume.look(|view| volume.named(view, inode::ROOT)).await {
            volume.root = root.id;
        }
        volume
    }

    /// The files below, for tools that look at them as keys.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Byte-range locks of all faces.
    pub fn locks(&self) -> &Arc<Locks> {
        &self.locks
    }

    /// The root directory.
    pub fn root(&self) -> FileId {
        self.root
    }

    /// Room and numbers.
    pub async fn statfs(&self) -> Result<VolumeStat, FsError> {
        let found = self.look(|view| self.files().inodes(view).map_err(Stop::from)).await;
        let (inodes, _view) = found.map_err(|f| f.error)?;
        let room = self.index().room();
        let free_files = room.free / INODE_BYTES;
        Ok(VolumeStat {
            total_bytes: room.total,
            free_bytes: room.free,
            total_files: inodes.saturating_add(free_files),
            free_files,
        })
    }

    /// Waits until everything up to `seq` is durable.
    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), FsError> {
        if self.is_durable(seq) {
            return Ok(());
        }
        self.index().sync(seq, mode).await.map_err(|e| failed(&e))
    }

    /// True when `seq` is durable already.
    pub fn is_durable(&self, seq: Seq) -> bool {
        self.index().durable_seq() >= seq
    }

    /// The newest change.
    pub fn newest(&self) -> Seq {
        self.index().last_seq()
    }

    /// Everything up to here is durable.
    pub fn durable(&self) -> Seq {
        self.index().durable_seq()
    }

    /// A committed request, if it is remembered (R23).
    pub fn remembered(&self, tag: &RequestTag) -> Option<Done> {
        recall(&self.index().remembered(tag)?)
    }

    /// Changes whenever unstable bytes may have been dropped without the process ending (R24).
    ///
    /// It stays 0: what is committed and not durable is kept in memory until it is durable or the
    /// volume turns read-only (R10), and then syncs fail rather than forget.
    pub fn dropped_unstable(&self) -> u64 {
        0
    }

    /// Keeps `id` alive, with or without a name, until [`Volume::release`]: an open file of a face
    /// that knows opens. `Stale` if it is gone already.
    pub async fn hold(&self, id: FileId) -> Result<(), FsError> {
        match self.files().hold(id).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(FsError::Stale),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Gives one [`Volume::hold`] back.
    pub async fn release(&self, id: FileId) -> Result<(), FsError> {
        self.files().release(id).await.map_err(|e| failed(&e))
    }

    /// Notes, durably, that session `id` of a face holds locks: after a restart others are to wait
    /// until it has claimed them again.
    pub async fn note_locker(&self, id: &[u8; 16]) -> Result<(), FsError> {
        let noted = self.change(Intent::Shrink, |txn| {
            self.files().note_locker(txn, id);
            Ok(())
        });
        let ((), seq) = noted.await.map_err(|f| f.error)?;
        self.sync(seq, SyncMode::Queued).await
    }

    /// Takes back what [`Volume::note_locker`] noted.
    pub async fn forget_locker(&self, id: &[u8; 16]) -> Result<(), FsError> {
        let forgot = self.change(Intent::Shrink, |txn| {
            self.files().forget_locker(txn, id);
            Ok(())
        });
        forgot.await.map(|_| ()).map_err(|f| f.error)
    }

    /// Sessions that are noted: those that had locks when the last process ended. At most `most`.
    pub async fn lockers(&self, most: usize) -> Result<Vec<[u8; 16]>, FsError> {
        let found = self.look(|view| self.files().lockers(view, most).map_err(Stop::from)).await;
        found.map(|(ids, _)| ids).map_err(|f| f.error)
    }

    /// Goes on with work that operations left behind (R22: extents of large files that were
    /// removed or cut, orphans after the grace time), one transaction's worth. True if there may be
    /// more that can be done now. The server calls it while it has nothing better to do; other
    /// operations do a little of it too.
    pub async fn tend(&self) -> Result<bool, FsError> {
        self.files().tend().await.map_err(|e| failed(&e))
    }

    /// Walks everything, the index below too, and lists what does not hold. The memory it needs
    /// grows with the number of inodes and names (about 100 bytes each).
    pub async fn check(&self) -> Result<Report, FsError> {
        self.check_places(false).await
    }

    /// As [`Volume::check`]; with `places` the report says besides where the files' bytes lie
    /// (eight bytes for each frame).
    pub async fn check_places(&self, places: bool) -> Result<Report, FsError> {
        let refers = |key: &[u8], value: &[u8]| inode::referenced(key, value).into_iter().collect();
        let index = self.index().check(refers).await.map_err(|e| failed(&e))?;
        let report = inode::check_except(self.files(), index.lost, places).await;
        let mut report = report.map_err(|e| failed(&e))?;
        report.findings.extend(index.problems.into_iter().map(|what| format!("index: {what}")));
        Ok(report)
    }

    /// What read-ahead has done since the volume was opened.
    pub fn read_ahead(&self) -> ReadAhead {
        self.files().read_ahead()
    }

    /// Names refused because 256 others of the directory share their hash (R21).
    pub fn hash_full(&self) -> u64 {
        self.files().hash_full()
    }
}
