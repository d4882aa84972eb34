//! What requests and replies are made of.

use crate::{
    limits::{
        ALONG, ALONG_BYTES, GROUPS, LABEL_BYTES, PATH_BYTES, TEXT_BYTES, XATTR_BYTES,
        XATTR_NAME_BYTES,
    },
    wire::{Blob, List, Malformed, Reader, Wire, layout},
};

/// Words of an error.
pub type Text = Blob<TEXT_BYTES>;
/// Name of a volume or a client.
pub type Label = Blob<LABEL_BYTES>;
/// Components with `/` between them, relative to a directory. Empty: that object itself.
pub type Path = Blob<PATH_BYTES>;
/// Name of an extended attribute.
pub type XattrName = Blob<XATTR_NAME_BYTES>;
/// Value of an extended attribute.
pub type XattrValue = Blob<XATTR_BYTES>;
/// Extended attributes that an answer is to bring along.
pub type Wanted = List<XattrName, ALONG>;
/// What became of each of them, in the same order.
pub type Found = List<Along, ALONG>;

layout! {
    /// Identity of an inode: never reused.
    #[derive(Copy, Hash)]
    pub struct FileId {
        /// Inode number; the root directory is 1.
        pub ino: u64,
        /// Tells inodes of the same number apart.
        pub generation: u32,
    }

    /// `sec` · 10⁹ + `nsec` nanoseconds since 1970-01-01 UTC.
    #[derive(Copy, Default, PartialOrd, Ord)]
    pub struct Time {
        /// Seconds, negative before 1970.
        pub sec: i64,
        /// Nanoseconds within the second, below 10⁹ (else EINVAL).
        pub nsec: u32,
    }

    /// Who asks. A peer that is trusted may name anybody.
    #[derive(Default)]
    pub struct Identity {
        /// Effective uid.
        pub uid: u32,
        /// Effective gid.
        pub gid: u32,
        /// Supplementary groups.
        pub groups: List<u32, GROUPS>,
    }

    /// Where something is: a path from an object on. With an empty path, the object.
    ///
    /// `.` and `..` are components like others; `..` of the root is the root; leading, trailing and
    /// doubled `/` mean nothing.
    pub struct Place {
        /// Where to begin.
        pub from: Object,
        /// How to go on.
        pub path: Path,
    }

    /// Attributes of an inode, all of one moment; 88 bytes.
    pub struct Attributes {
        /// Identity.
        pub id: FileId,
        /// Type.
        pub kind: Kind,
        /// 0.
        pub reserved: u8,
        /// Permission bits, at most 0o7777.
        pub mode: u16,
        /// Hard links.
        pub nlink: u32,
        /// Owner.
        pub uid: u32,
        /// Group.
        pub gid: u32,
        /// Of a device.
        pub major: u32,
        /// Of a device.
        pub minor: u32,
        /// Length, bytes.
        pub size: u64,
        /// Bytes allocated.
        pub used: u64,
        /// Last access.
        pub atime: Time,
        /// Last change of the content.
        pub mtime: Time,
        /// Last change of anything: strictly rising, good as a change counter.
        pub ctime: Time,
    }

    /// Attributes to set; what is absent stays.
    #[derive(Default)]
    pub struct SetAttributes {
        /// Permission bits.
        pub mode: Option<u32>,
        /// Owner.
        pub uid: Option<u32>,
        /// Group.
        pub gid: Option<u32>,
        /// Length, bytes: cuts, or extends with a hole.
        pub size: Option<u64>,
        /// Last access.
        pub atime: SetTime,
        /// Last change of the content.
        pub mtime: SetTime,
    }

    /// A lock that stands in the way.
    pub struct Conflict {
        /// 1 shared, 2 exclusive.
        pub kind: u8,
        /// First byte.
        pub start: u64,
        /// Number of bytes; 0: to the end, wherever it is.
        pub len: u64,
        /// True where it is held by this session.
        pub own_session: bool,
        /// Its owner, as that session calls it.
        pub owner: u64,
    }

    /// One entry of a directory, in the payload of an answer to READDIR.
    pub struct Entry {
        /// Go on after this one.
        pub cookie: u64,
        /// Inode number.
        pub ino: u64,
        /// Its name: a single component.
        pub name: Path,
        /// Attributes, if they were asked for.
        pub attributes: Option<Attributes>,
        /// Extended attributes that were asked for.
        pub along: Found,
    }

    /// A stretch of a file that holds data.
    #[derive(Copy)]
    pub struct Range {
        /// First byte.
        pub start: u64,
        /// Number of bytes.
        pub len: u64,
    }
}

/// What an operation begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// `0`. The root directory.
    Root,
    /// `1`, then the identity.
    Id(FileId),
    /// `2`, then a `u32`: a handle of this session, as OPEN numbered it.
    Handle(u32),
}

impl Wire for Object {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Root => out.push(0),
            Self::Id(id) => {
                out.push(1);
                id.put(out);
            }
            Self::Handle(handle) => {
                out.push(2);
                handle.put(out);
            }
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::Root,
            1 => Self::Id(FileId::take(from)?),
            2 => Self::Handle(u32::take(from)?),
            _ => return Err(Malformed("an object of no kind")),
        })
    }
}

/// How a time is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// `0`. Leave.
    #[default]
    Keep,
    /// `1`. The server's now.
    Now,
    /// `2`, then the time.
    To(Time),
}

impl Wire for SetTime {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Keep => out.push(0),
            Self::Now => out.push(1),
            Self::To(time) => {
                out.push(2);
                time.put(out);
            }
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::Keep,
            1 => Self::Now,
            2 => Self::To(Time::take(from)?),
            _ => return Err(Malformed("a time of no kind")),
        })
    }
}

/// What became of an extended attribute that an answer was to bring along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Along {
    /// `0`. There is none of that name, or the caller may not see it.
    Absent,
    /// `1`, then the value.
    Value(Blob<ALONG_BYTES>),
    /// `2`. It is there, but too large to come along: ask for it.
    Large,
}

impl Wire for Along {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Absent => out.push(0),
            Self::Value(value) => {
                out.push(1);
                value.put(out);
            }
            Self::Large => out.push(2),
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            0 => Self::Absent,
            1 => Self::Value(Blob::take(from)?),
            2 => Self::Large,
            _ => return Err(Malformed("an attribute of no kind")),
        })
    }
}

/// What an inode is, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Regular file.
    File = 1,
    /// Directory.
    Directory = 2,
    /// Symbolic link.
    Symlink = 3,
    /// Block device.
    Block = 4,
    /// Character device.
    Char = 5,
    /// Named pipe.
    Fifo = 6,
    /// Unix socket.
    Socket = 7,
}

impl Wire for Kind {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::take(from)? {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Symlink,
            4 => Self::Block,
            5 => Self::Char,
            6 => Self::Fifo,
            7 => Self::Socket,
            _ => return Err(Malformed("an inode of no kind")),
        })
    }
}

impl Place {
    /// The object itself.
    pub fn at(from: Object) -> Self {
        Self { from, path: Path::default() }
    }

    /// `path` from `from` on.
    pub fn of(from: Object, path: &[u8]) -> Self {
        Self { from, path: Path::copy(path) }
    }
}
