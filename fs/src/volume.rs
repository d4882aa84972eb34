use bytes::Bytes;
use headhunter::{Index, RequestTag, Seq, SyncMode};

use crate::*;

/// One mounted volume. Clones share it.
#[derive(Clone)]
pub struct Volume {
    index: Index,
}

/// Largest file, bytes: 8 EiB − 1 (offsets are signed 64-bit on every client).
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;
/// Longest name, bytes.
pub const NAME_BYTES: usize = 255;
/// Longest symlink target, bytes (PATH_MAX − 1).
pub const TARGET_BYTES: usize = 4095;

#[allow(unused_variables, clippy::todo)]
impl Volume {
    /// Opens the files of `index`. An empty index is formatted: a root directory (inode 1) owned by
    /// `root_owner` (uid, gid), mode 0755.
    pub async fn open(index: Index, root_owner: (u32, u32)) -> Result<Self, FsError> {
        todo!()
    }

    /// The root directory.
    pub fn root(&self) -> FileId {
        todo!()
    }

    /// Attributes. `Stale` exactly when the inode is gone or of another generation.
    pub async fn getattr(&self, id: FileId) -> Result<Attributes, FsError> {
        todo!()
    }

    /// Sets attributes; with `guard`, only if ctime equals it (else `NotSync`).
    pub async fn setattr(
        &self,
        cx: &Context,
        id: FileId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Changed, Failure> {
        todo!()
    }

    /// Looks `name` up (`.` and `..` too). Gives object and directory of one moment.
    pub async fn lookup(
        &self,
        caller: &Caller,
        dir: FileId,
        name: &[u8],
    ) -> Result<(Attributes, Attributes), Failure> {
        todo!()
    }

    /// Which of `want`'s bits the caller has.
    pub async fn access(
        &self,
        caller: &Caller,
        id: FileId,
        want: Access,
    ) -> Result<(Access, Attributes), Failure> {
        todo!()
    }

    /// Target of a symlink. `Inval` for anything else.
    pub async fn readlink(
        &self,
        caller: &Caller,
        id: FileId,
    ) -> Result<(Bytes, Attributes), Failure> {
        todo!()
    }

    /// At most `count` bytes at `offset`; short only at the end of the file.
    pub async fn read(
        &self,
        caller: &Caller,
        id: FileId,
        offset: u64,
        count: u32,
    ) -> Result<ReadData, Failure> {
        todo!()
    }

    /// Writes all of `data` at `offset`; clears setuid/setgid as POSIX says. Unstable until synced.
    pub async fn write(
        &self,
        cx: &Context,
        id: FileId,
        offset: u64,
        data: Bytes,
    ) -> Result<Changed, Failure> {
        todo!()
    }

    /// Makes or opens a regular file.
    pub async fn create(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Made, Failure> {
        todo!()
    }

    /// Makes a directory.
    pub async fn mkdir(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        set: SetAttributes,
    ) -> Result<Made, Failure> {
        todo!()
    }

    /// Makes a symlink.
    pub async fn symlink(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        target: &[u8],
        set: SetAttributes,
    ) -> Result<Made, Failure> {
        todo!()
    }

    /// Makes a device, fifo or socket.
    pub async fn mknod(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        kind: NodeKind,
        set: SetAttributes,
    ) -> Result<Made, Failure> {
        todo!()
    }

    /// Removes a name that is not a directory.
    pub async fn remove(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Changed, Failure> {
        todo!()
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Changed, Failure> {
        todo!()
    }

    /// Renames, replacing the target as rename(2) does.
    pub async fn rename(
        &self,
        cx: &Context,
        from_dir: FileId,
        from: &[u8],
        to_dir: FileId,
        to: &[u8],
    ) -> Result<Moved, Failure> {
        todo!()
    }

    /// Adds a hard link `name` in `dir` to `file`. Gives the file's and the directory's attributes.
    pub async fn link(
        &self,
        cx: &Context,
        file: FileId,
        dir: FileId,
        name: &[u8],
    ) -> Result<Moved, Failure> {
        todo!()
    }

    /// Entries after `cookie` (0: from the start), at most `limit` of them; with attributes if
    /// `plus`. Any cookie is good for ever (R21).
    pub async fn readdir(
        &self,
        caller: &Caller,
        dir: FileId,
        cookie: u64,
        limit: usize,
        plus: bool,
    ) -> Result<DirPage, Failure> {
        todo!()
    }

    /// Room and numbers.
    pub async fn statfs(&self) -> Result<VolumeStat, FsError> {
        todo!()
    }

    /// Value of an extended attribute.
    pub async fn getxattr(
        &self,
        caller: &Caller,
        id: FileId,
        name: &[u8],
    ) -> Result<Bytes, FsError> {
        todo!()
    }

    /// Sets (or with `None` removes) an extended attribute. `create`/`replace` as in setxattr(2).
    pub async fn setxattr(
        &self,
        cx: &Context,
        id: FileId,
        name: &[u8],
        value: Option<&[u8]>,
        create: bool,
        replace: bool,
    ) -> Result<Changed, Failure> {
        todo!()
    }

    /// Names of the extended attributes.
    pub async fn listxattr(&self, caller: &Caller, id: FileId) -> Result<Vec<Bytes>, FsError> {
        todo!()
    }

    /// The seq that makes everything done to `id` durable (COMMIT waits for this, not the newest).
    pub async fn last_seq_of(&self, id: FileId) -> Result<(Seq, Wcc), Failure> {
        todo!()
    }

    /// Waits until everything up to `seq` is durable.
    pub async fn sync(&self, seq: Seq, mode: SyncMode) -> Result<(), FsError> {
        todo!()
    }

    /// True when `seq` is durable already.
    pub fn is_durable(&self, seq: Seq) -> bool {
        self.index.durable_seq() >= seq
    }

    /// A committed request, if it is remembered (R23).
    pub fn remembered(&self, tag: &RequestTag) -> Option<Done> {
        todo!()
    }

    /// Changes whenever unstable bytes may have been dropped without the process ending (R24).
    pub fn dropped_unstable(&self) -> u64 {
        0
    }
}
