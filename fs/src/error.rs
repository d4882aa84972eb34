use crate::Wcc;

/// What POSIX says. Each face has one total `match` from this to its own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsError {
    /// EPERM: not owner.
    Perm,
    /// ENOENT.
    NoEnt,
    /// EIO: the store or the log failed for good.
    Io,
    /// ENXIO.
    Nxio,
    /// EACCES.
    Access,
    /// EEXIST.
    Exist,
    /// EXDEV.
    XDev,
    /// ENOTDIR.
    NotDir,
    /// EISDIR.
    IsDir,
    /// EINVAL.
    Inval,
    /// EFBIG: beyond the largest file.
    FBig,
    /// ENOSPC.
    NoSpc,
    /// EROFS: the volume has become read-only (R10) or was opened so.
    RoFs,
    /// EMLINK.
    MLink,
    /// ENAMETOOLONG: over 255 bytes.
    NameTooLong,
    /// ENOTEMPTY.
    NotEmpty,
    /// ESTALE: that inode is gone.
    Stale,
    /// ENOTSUP.
    NotSupp,
    /// ENODATA: no such xattr.
    NoData,
    /// ERANGE: xattr too large.
    Range,
    /// The guard (ctime) of a SETATTR did not hold.
    NotSync,
    /// Nothing was done; call again later (the store is away).
    TryLater,
    /// Another server took the volume over.
    Fenced,
}

/// A failed operation, with the attributes that were true inside it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Why.
    pub error: FsError,
    /// Of the object or (first) directory concerned, where it could be read.
    pub wcc: Wcc,
    /// Of the second directory of a rename, or the target of a link.
    pub other: Wcc,
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self { error, wcc: Wcc::default(), other: Wcc::default() }
    }
}
