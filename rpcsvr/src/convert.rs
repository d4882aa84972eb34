//! Between the words of files and those of the wire.

use fs::{Attributes, FileId, Kind, SetAttributes, SetTime, Timestamp};
use rpc::errno::EINVAL;

use crate::call::Fail;

/// An inode's identity.
pub fn id(id: FileId) -> rpc::FileId {
    rpc::FileId { ino: id.ino, generation: id.generation }
}

fn kind(kind: Kind) -> rpc::Kind {
    match kind {
        Kind::File => rpc::Kind::File,
        Kind::Directory => rpc::Kind::Directory,
        Kind::Symlink => rpc::Kind::Symlink,
        Kind::Block => rpc::Kind::Block,
        Kind::Char => rpc::Kind::Char,
        Kind::Fifo => rpc::Kind::Fifo,
        Kind::Socket => rpc::Kind::Socket,
    }
}

fn time(time: Timestamp) -> rpc::Time {
    rpc::Time { sec: time.sec, nsec: time.nsec }
}

/// A time that a client sent.
pub fn timestamp(time: rpc::Time) -> Result<Timestamp, Fail> {
    if time.nsec >= 1_000_000_000 {
        return Err(Fail::saying(EINVAL, "a time with more than 999,999,999 nanoseconds"));
    }
    Ok(Timestamp { sec: time.sec, nsec: time.nsec })
}

/// Attributes.
pub fn attributes(a: &Attributes) -> rpc::Attributes {
    rpc::Attributes {
        id: id(a.id),
        kind: kind(a.kind),
        reserved: 0,
        mode: u16::try_from(a.mode & 0o7777).unwrap_or(0),
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        major: a.rdev.0,
        minor: a.rdev.1,
        size: a.size,
        used: a.used,
        atime: time(a.atime),
        mtime: time(a.mtime),
        ctime: time(a.ctime),
    }
}

fn set_time(set: rpc::SetTime) -> Result<SetTime, Fail> {
    Ok(match set {
        rpc::SetTime::Keep => SetTime::Keep,
        rpc::SetTime::Now => SetTime::Now,
        rpc::SetTime::To(time) => SetTime::To(timestamp(time)?),
    })
}

/// Attributes to be set.
pub fn set(set: &rpc::SetAttributes) -> Result<SetAttributes, Fail> {
    Ok(SetAttributes {
        mode: set.mode,
        uid: set.uid,
        gid: set.gid,
        size: set.size,
        atime: set_time(set.atime)?,
        mtime: set_time(set.mtime)?,
    })
}
