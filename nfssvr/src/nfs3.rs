//! NFSv3's own types (RFC 1813 §2): status, attributes, and how errors of the file system are said.

use fs::{
    Attributes, FsError, Kind, SetAttributes, SetTime, Timestamp, VolumeStat, Wcc, WccBefore,
};

use crate::wire::{Cursor, Enc, Garbage};

/// Number of NFSv3 procedures.
pub const PROCEDURES: usize = 22;

/// NFSv3 procedures (RFC 1813 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Procedure {
    Null,
    GetAttr,
    SetAttr,
    Lookup,
    Access,
    ReadLink,
    Read,
    Write,
    Create,
    MkDir,
    SymLink,
    MkNod,
    Remove,
    RmDir,
    Rename,
    Link,
    ReadDir,
    ReadDirPlus,
    FsStat,
    FsInfo,
    PathConf,
    Commit,
}

use Procedure as P;

impl Procedure {
    /// All, by number.
    pub const ALL: [Self; PROCEDURES] = [
        P::Null,
        P::GetAttr,
        P::SetAttr,
        P::Lookup,
        P::Access,
        P::ReadLink,
        P::Read,
        P::Write,
        P::Create,
        P::MkDir,
        P::SymLink,
        P::MkNod,
        P::Remove,
        P::RmDir,
        P::Rename,
        P::Link,
        P::ReadDir,
        P::ReadDirPlus,
        P::FsStat,
        P::FsInfo,
        P::PathConf,
        P::Commit,
    ];

    /// The procedure of a number.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            P::Null => "NULL",
            P::GetAttr => "GETATTR",
            P::SetAttr => "SETATTR",
            P::Lookup => "LOOKUP",
            P::Access => "ACCESS",
            P::ReadLink => "READLINK",
            P::Read => "READ",
            P::Write => "WRITE",
            P::Create => "CREATE",
            P::MkDir => "MKDIR",
            P::SymLink => "SYMLINK",
            P::MkNod => "MKNOD",
            P::Remove => "REMOVE",
            P::RmDir => "RMDIR",
            P::Rename => "RENAME",
            P::Link => "LINK",
            P::ReadDir => "READDIR",
            P::ReadDirPlus => "READDIRPLUS",
            P::FsStat => "FSSTAT",
            P::FsInfo => "FSINFO",
            P::PathConf => "PATHCONF",
            P::Commit => "COMMIT",
        }
    }

    /// Words of "absent" that follow the status of a failed call: one per post_op_attr, two per
    /// wcc_data.
    fn absent_words(self) -> usize {
        match self {
            P::Null | P::GetAttr => 0,
            P::Lookup
            | P::Access
            | P::ReadLink
            | P::Read
            | P::ReadDir
            | P::ReadDirPlus
            | P::FsStat
            | P::FsInfo
            | P::PathConf => 1,
            P::SetAttr
            | P::Write
            | P::Create
            | P::MkDir
            | P::SymLink
            | P::MkNod
            | P::Remove
            | P::RmDir
            | P::Commit => 2,
            P::Link => 3,
            P::Rename => 4,
        }
    }

    /// Changes the volume: refused on a `ro` export.
    pub fn changes(self) -> bool {
        matches!(self, P::Write) || self.repeats_differ()
    }

    /// A second execution would answer differently: the reply must be remembered (R23).
    pub fn repeats_differ(self) -> bool {
        matches!(
            self,
            P::SetAttr
                | P::Create
                | P::MkDir
                | P::SymLink
                | P::MkNod
                | P::Remove
                | P::RmDir
                | P::Rename
                | P::Link
        )
    }
}

/// nfsstat3 (RFC 1813 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Status {
    Ok = 0,
    Perm = 1,
    NoEnt = 2,
    Io = 5,
    NxIo = 6,
    Acces = 13,
    Exist = 17,
    XDev = 18,
    NoDev = 19,
    NotDir = 20,
    IsDir = 21,
    Inval = 22,
    FBig = 27,
    NoSpc = 28,
    RoFs = 30,
    MLink = 31,
    NameTooLong = 63,
    NotEmpty = 66,
    Stale = 70,
    BadHandle = 10001,
    NotSync = 10002,
    NotSupp = 10004,
    TooSmall = 10005,
    ServerFault = 10006,
    BadType = 10007,
    Jukebox = 10008,
}

/// How an error of the file system is said by `procedure`: one total table.
///
/// Where RFC 1813 does not list a status for a procedure, the nearest it lists is given.
pub fn status(procedure: Procedure, error: FsError) -> Status {
    let names =
        matches!(procedure, P::Create | P::MkDir | P::SymLink | P::MkNod | P::Rename | P::Link);
    match error {
        FsError::Perm => match procedure {
            // Not listed there: the kernel's server says ACCES too.
            P::Read | P::Lookup | P::ReadLink | P::ReadDir | P::ReadDirPlus => Status::Acces,
            _ => Status::Perm,
        },
        // A name went with its inode between two steps of one call.
        FsError::NoEnt => match procedure {
            P::GetAttr
            | P::Access
            | P::Read
            | P::Write
            | P::Commit
            | P::ReadDir
            | P::ReadDirPlus => Status::Stale,
            _ => Status::NoEnt,
        },
        // Fenced: the volume has another owner, nothing here may be believed any more.
        FsError::Io | FsError::NoData | FsError::Fenced => Status::Io,
        FsError::Nxio => match procedure {
            P::Read | P::Write => Status::NxIo,
            _ => Status::Io,
        },
        FsError::Access => Status::Acces,
        FsError::Exist => Status::Exist,
        FsError::XDev => Status::XDev,
        FsError::NotDir => Status::NotDir,
        // §3.3.6 and §3.3.7 list INVAL for what is no regular file; servers and clients say ISDIR
        // for directories.
        FsError::IsDir => Status::IsDir,
        FsError::Inval | FsError::Range => Status::Inval,
        FsError::FBig => match procedure {
            P::Write | P::SetAttr | P::Create => Status::FBig,
            _ => Status::Inval,
        },
        FsError::NoSpc => match procedure {
            // R18: room is settled at WRITE, COMMIT never runs out of it.
            P::Commit => Status::Io,
            _ => Status::NoSpc,
        },
        FsError::RoFs => Status::RoFs,
        FsError::MLink => Status::MLink,
        FsError::NameTooLong => Status::NameTooLong,
        FsError::NotEmpty => Status::NotEmpty,
        FsError::Stale => Status::Stale,
        FsError::NotSupp => {
            if names {
                Status::NotSupp
            } else {
                Status::Inval
            }
        }
        FsError::NotSync => match procedure {
            P::SetAttr => Status::NotSync,
            _ => Status::ServerFault,
        },
        FsError::TryLater => Status::Jukebox,
    }
}

/// Writes nfstime3 (RFC 1813 §2.5: unsigned 32-bit seconds). Times outside are clamped.
pub fn time(e: &mut Enc, t: Timestamp) {
    match u32::try_from(t.sec) {
        Ok(sec) => e.u32(sec).u32(t.nsec),
        Err(_) if t.sec < 0 => e.u32(0).u32(0),
        Err(_) => e.u32(u32::MAX).u32(999_999_999),
    };
}

fn file_type(kind: Kind) -> u32 {
    match kind {
        Kind::File => 1,
        Kind::Directory => 2,
        Kind::Block => 3,
        Kind::Char => 4,
        Kind::Symlink => 5,
        Kind::Socket => 6,
        Kind::Fifo => 7,
    }
}

/// Writes fattr3.
pub fn fattr(e: &mut Enc, fsid: u64, a: &Attributes) {
    e.u32(file_type(a.kind)).u32(a.mode & 0o7777).u32(a.nlink).u32(a.uid).u32(a.gid);
    e.u64(a.size).u64(a.used).u32(a.rdev.0).u32(a.rdev.1).u64(fsid).u64(a.id.ino);
    time(e, a.atime);
    time(e, a.mtime);
    time(e, a.ctime);
}

/// Writes post_op_attr.
pub fn post_op(e: &mut Enc, fsid: u64, a: Option<&Attributes>) {
    e.bool(a.is_some());
    if let Some(a) = a {
        fattr(e, fsid, a);
    }
}

/// Writes wcc_data.
pub fn wcc(e: &mut Enc, fsid: u64, w: &Wcc) {
    e.bool(w.before.is_some());
    if let Some(WccBefore { size, mtime, ctime }) = w.before {
        e.u64(size);
        time(e, mtime);
        time(e, ctime);
    }
    post_op(e, fsid, w.after.as_ref());
}

/// Writes the status of a failed call with all its attributes absent.
pub fn failed(e: &mut Enc, procedure: Procedure, status: Status) {
    e.u32(status as u32);
    for _ in 0..procedure.absent_words() {
        e.bool(false);
    }
}

/// Reads nfstime3.
pub fn read_time(cur: &mut Cursor<'_>) -> Result<Timestamp, Garbage> {
    let (sec, nsec) = (cur.u32()?, cur.u32()?);
    if nsec >= 1_000_000_000 {
        return Err(Garbage);
    }
    Ok(Timestamp { sec: i64::from(sec), nsec })
}

fn read_set_time(cur: &mut Cursor<'_>) -> Result<SetTime, Garbage> {
    match cur.u32()? {
        0 => Ok(SetTime::Keep),
        1 => Ok(SetTime::Now),
        2 => Ok(SetTime::To(read_time(cur)?)),
        _ => Err(Garbage),
    }
}

/// Reads sattr3. Type bits in the mode are masked off (they mean nothing here).
pub fn read_sattr(cur: &mut Cursor<'_>) -> Result<SetAttributes, Garbage> {
    let mode = cur.bool()?.then(|| cur.u32()).transpose()?.map(|m| m & 0o7777);
    let uid = cur.bool()?.then(|| cur.u32()).transpose()?;
    let gid = cur.bool()?.then(|| cur.u32()).transpose()?;
    let size = cur.bool()?.then(|| cur.u64()).transpose()?;
    let (atime, mtime) = (read_set_time(cur)?, read_set_time(cur)?);
    // An id of -1 means "leave" to chown(2): never store it.
    let id = |v: Option<u32>| v.filter(|v| *v != u32::MAX);
    Ok(SetAttributes { mode, uid: id(uid), gid: id(gid), size, atime, mtime })
}

/// Writes the numbers of FSSTAT (RFC 1813 §3.3.18).
pub fn fsstat(e: &mut Enc, s: &VolumeStat) {
    e.u64(s.total_bytes).u64(s.free_bytes).u64(s.free_bytes);
    e.u64(s.total_files).u64(s.free_files).u64(s.free_files).u32(0);
}
