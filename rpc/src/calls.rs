//! The operations: number, request, reply.

use bytes::Bytes;

use crate::{
    limits::RANGES,
    types::{
        Attributes, Conflict, Found, Identity, Object, Path, Place, Range, SetAttributes, Time,
        Wanted, XattrName,
    },
    wire::{List, Malformed, Reader, Wire, layout},
};

/// Flag of STAT, SETATTR, OPEN, ACCESS, LINK, the xattr calls: a symbolic link at the end of the
/// path is followed. (Those before the end always are.)
pub const FOLLOW: u32 = 1 << 16;

/// Flags of OPEN.
pub mod open {
    /// Reading is wanted.
    pub const READ: u32 = 1;
    /// Writing is wanted.
    pub const WRITE: u32 = 2;
    /// Make a regular file where there is none.
    pub const CREATE: u32 = 4;
    /// With CREATE: refuse with EEXIST where there is one.
    pub const EXCLUSIVE: u32 = 8;
    /// Cut an existing file to no bytes; needs WRITE.
    pub const TRUNCATE: u32 = 16;
    /// Refuse with ENOTDIR what is no directory.
    pub const DIRECTORY: u32 = 32;
    /// The handle was open before the server was started again, or before the session was lost: no
    /// rights are asked for, which they were when it was opened. `place` must be an identity, with
    /// an empty path.
    pub const RECLAIM: u32 = 64;
}

/// Flags of WRITE.
pub mod write {
    /// At the end of the file, wherever that is then; the offset must be 0.
    pub const APPEND: u32 = 1;
}

/// Flags of UNLINK.
pub mod unlink {
    /// An empty directory, and nothing else.
    pub const DIRECTORY: u32 = 1;
}

/// Flags of RENAME.
pub mod rename {
    /// Refuse with EEXIST where the new name exists.
    pub const NO_REPLACE: u32 = 1;
}

/// Flags of READDIR.
pub mod readdir {
    /// Attributes with each entry.
    pub const ATTRIBUTES: u32 = 1;
}

/// Flags of SETXATTR.
pub mod setxattr {
    /// Refuse with EEXIST where it exists.
    pub const CREATE: u32 = 1;
    /// Refuse with ENODATA where it does not.
    pub const REPLACE: u32 = 2;
}

/// Whence of SEEK.
pub mod seek {
    /// The next byte that is stored.
    pub const DATA: u8 = 3;
    /// The next hole; the end of the file is one.
    pub const HOLE: u8 = 4;
}

/// Modes of ALLOCATE.
pub mod allocate {
    /// The file is at least so long afterwards. (No room is set aside: the log has no places.)
    pub const EXTEND: u8 = 0;
    /// As [`EXTEND`] without changing the length: does nothing.
    pub const KEEP_SIZE: u8 = 1;
    /// A hole; the length stays.
    pub const PUNCH: u8 = 2;
    /// Zeros; the file is at least so long afterwards.
    pub const ZERO: u8 = 3;
    /// Zeros; the length stays.
    pub const ZERO_KEEP_SIZE: u8 = 4;
}

/// Flags and kinds of LOCK.
pub mod lock {
    /// Shared with other shared ones.
    pub const SHARED: u8 = 1;
    /// Alone.
    pub const EXCLUSIVE: u8 = 2;
    /// Wait until it can be had (F_SETLKW); else EAGAIN at once.
    pub const WAIT: u32 = 1;
    /// It was held before the server was started again.
    pub const RECLAIM: u32 = 2;
}

layout! {
    /// Ends the session at once: handles are closed, locks released, nothing is remembered.
    pub struct Bye {}
    /// Nothing; tells what is durable.
    pub struct Ping {}
    /// Waits until everything that is committed now is durable.
    pub struct Sync {}
    /// The session has claimed again all that it held: others need not wait for it any longer.
    pub struct Reclaimed {}
    /// Gives up a LOCK that waits; that one is answered ECANCELED.
    pub struct Cancel {
        /// Request id of the LOCK.
        pub id: u64,
    }

    /// Attributes (and extended ones) of what is at a place: look-up, stat and getxattr in one.
    pub struct Stat {
        /// Where.
        pub place: Place,
        /// [`FOLLOW`].
        pub flags: u32,
        /// Extended attributes to bring along.
        pub wanted: Wanted,
    }
    /// Of STAT.
    pub struct Statted {
        /// Of the object.
        pub attributes: Attributes,
        /// What was to come along.
        pub along: Found,
    }

    /// Sets attributes.
    pub struct SetAttr {
        /// Where. At a handle open for writing, the length may be set whatever the mode says.
        pub place: Place,
        /// [`FOLLOW`].
        pub flags: u32,
        /// What.
        pub set: SetAttributes,
        /// Only if ctime is this; else EBUSY.
        pub guard: Option<Time>,
    }
    /// Of SETATTR, SETXATTR, REMOVEXATTR, ALLOCATE, MKDIR, SYMLINK, MKNOD, LINK.
    pub struct Changed {
        /// Of the object, after it.
        pub attributes: Attributes,
        /// Durable once a reply's mark has reached this.
        pub seq: u64,
    }

    /// Looks up, creates if wanted, opens, tells attributes (and extended ones).
    pub struct Open {
        /// Where. Links at the end are followed with [`FOLLOW`]; without it they are opened as
        /// themselves (neither READ nor WRITE is possible then: ELOOP).
        pub place: Place,
        /// [`open`], [`FOLLOW`]. Neither READ nor WRITE: as O_PATH, no right is needed.
        pub flags: u32,
        /// Number that the handle is to have, chosen by the client; EEXIST if it has one such.
        pub handle: u32,
        /// Attributes of a file that is made; `size` does not count.
        pub set: SetAttributes,
        /// Extended attributes to bring along.
        pub wanted: Wanted,
    }
    /// Of OPEN.
    pub struct Opened {
        /// Of the object.
        pub attributes: Attributes,
        /// True if it was made.
        pub created: bool,
        /// Durable once a reply's mark has reached this; 0 where nothing changed.
        pub seq: u64,
        /// What was to come along.
        pub along: Found,
    }
    /// Gives a handle back. (Its locks stay: they belong to owners, not to handles.)
    pub struct Close {
        /// The handle.
        pub handle: u32,
    }

    /// Makes a directory.
    pub struct MkDir {
        /// Where; the last component is made.
        pub place: Place,
        /// Its attributes.
        pub set: SetAttributes,
    }
    /// Makes a symbolic link.
    pub struct Symlink {
        /// Where; the last component is made.
        pub place: Place,
        /// What it says.
        pub target: Path,
        /// Its owner and group.
        pub set: SetAttributes,
    }
    /// Makes a device, fifo, socket.
    pub struct MkNod {
        /// Where; the last component is made.
        pub place: Place,
        /// Number of [`crate::Kind`]: 4 to 7.
        pub kind: u8,
        /// Of a device.
        pub major: u32,
        /// Of a device.
        pub minor: u32,
        /// Its attributes.
        pub set: SetAttributes,
    }
    /// Adds a hard link.
    pub struct Link {
        /// To what.
        pub file: Place,
        /// [`FOLLOW`].
        pub flags: u32,
        /// Where; the last component is made.
        pub place: Place,
    }
    /// Removes a name.
    pub struct Unlink {
        /// Which; the last component goes.
        pub place: Place,
        /// [`unlink`].
        pub flags: u32,
    }
    /// Of UNLINK and RENAME.
    pub struct Done {
        /// Durable once a reply's mark has reached this.
        pub seq: u64,
    }
    /// Renames.
    pub struct Rename {
        /// From.
        pub from: Place,
        /// To.
        pub to: Place,
        /// [`rename`].
        pub flags: u32,
    }
    /// What a symbolic link says.
    pub struct ReadLink {
        /// Which.
        pub place: Place,
    }
    /// Of READLINK.
    pub struct LinkText {
        /// Its target.
        pub target: Path,
        /// Its attributes.
        pub attributes: Attributes,
    }
    /// Entries of a directory.
    pub struct ReadDir {
        /// Which.
        pub place: Place,
        /// [`readdir`].
        pub flags: u32,
        /// Go on after this one; 0: from the start. Any cookie is good for ever.
        pub cookie: u64,
        /// Most entries; the payload holds at most 1 MiB of them.
        pub count: u32,
        /// Extended attributes to bring along with each (needs the attributes too).
        pub wanted: Wanted,
    }
    /// Of READDIR; the payload holds `count` of [`crate::Entry`].
    pub struct Listed {
        /// Number of entries.
        pub count: u32,
        /// True when nothing follows.
        pub end: bool,
        /// Of the directory.
        pub attributes: Attributes,
    }
    /// What the caller may do.
    pub struct Access {
        /// Where.
        pub place: Place,
        /// [`FOLLOW`].
        pub flags: u32,
        /// Bits asked about: 1 read, 2 look up, 4 modify, 8 extend, 16 delete, 32 execute.
        pub bits: u32,
    }
    /// Of ACCESS.
    pub struct Allowed {
        /// Those of the bits that are allowed.
        pub bits: u32,
        /// Of the object.
        pub attributes: Attributes,
    }
    /// The name of a directory that equals the last component of a place when upper and lower case
    /// are the same; one that is equal as it stands goes before.
    pub struct FindName {
        /// Where.
        pub place: Place,
    }
    /// Of FINDNAME.
    pub struct RealName {
        /// As it is written.
        pub name: Path,
        /// Of the object.
        pub attributes: Attributes,
    }
    /// Room and numbers of the volume.
    pub struct StatFs {}
    /// Of STATFS.
    pub struct Room {
        /// Bytes.
        pub total_bytes: u64,
        /// Bytes that are free.
        pub free_bytes: u64,
        /// Inodes that exist and could be made.
        pub total_files: u64,
        /// Inodes that could be made.
        pub free_files: u64,
        /// Longest name, bytes.
        pub name_bytes: u32,
        /// Longest symbolic link, bytes.
        pub target_bytes: u32,
        /// Room is counted in pieces of this many bytes.
        pub block_bytes: u32,
        /// Largest file, bytes.
        pub file_bytes: u64,
        /// Identity of the volume.
        pub fsid: u64,
    }

    /// Reads; the payload of the reply holds the bytes, short only at the end of the file.
    pub struct Read {
        /// A handle open for reading, or an identity (the mode is asked then).
        pub file: Object,
        /// First byte.
        pub offset: u64,
        /// Most bytes, at most the limit told at the hello.
        pub count: u32,
    }
    /// Of READ.
    pub struct Data {
        /// True when the bytes reach the end of the file.
        pub eof: bool,
    }
    /// Writes the payload.
    pub struct Write {
        /// A handle open for writing, or an identity (the mode is asked then).
        pub file: Object,
        /// First byte.
        pub offset: u64,
        /// [`write`](mod@write).
        pub flags: u32,
    }
    /// Of WRITE.
    pub struct Written {
        /// Durable once a reply's mark has reached this.
        pub seq: u64,
        /// Length of the file after it, bytes.
        pub size: u64,
    }
    /// Waits until all that was done to a file is durable.
    pub struct FSync {
        /// Which.
        pub file: Object,
    }
    /// The next data or hole.
    pub struct Seek {
        /// A handle open for reading, or an identity.
        pub file: Object,
        /// From here on.
        pub offset: u64,
        /// [`seek`].
        pub whence: u8,
    }
    /// Of SEEK.
    pub struct Sought {
        /// Where it begins.
        pub offset: u64,
    }
    /// All stretches that hold data: many SEEKs in one.
    pub struct Ranges {
        /// A handle open for reading, or an identity.
        pub file: Object,
        /// From here on.
        pub offset: u64,
        /// So many bytes.
        pub len: u64,
        /// Most ranges, at most 4,096.
        pub count: u32,
    }
    /// Of RANGES.
    pub struct Stretches {
        /// In order, cut to what was asked for.
        pub ranges: List<Range, RANGES>,
        /// False where there are more behind the last one.
        pub end: bool,
    }
    /// Allocates, punches, zeroes.
    pub struct Allocate {
        /// A handle open for writing, or an identity.
        pub file: Object,
        /// First byte.
        pub offset: u64,
        /// Number of bytes.
        pub len: u64,
        /// [`allocate`].
        pub mode: u8,
    }
    /// Copies within the volume; holes stay holes.
    pub struct Copy {
        /// From: a handle open for reading, or an identity.
        pub from: Object,
        /// First byte there.
        pub from_offset: u64,
        /// To: a handle open for writing, or an identity.
        pub to: Object,
        /// First byte there.
        pub to_offset: u64,
        /// Number of bytes; a reply may speak of fewer: go on from there.
        pub len: u64,
    }
    /// Of COPY.
    pub struct Copied {
        /// Bytes that were; 0 at the end of the source.
        pub bytes: u64,
        /// Durable once a reply's mark has reached this.
        pub seq: u64,
    }

    /// Value of an extended attribute, as the payload of the reply.
    pub struct GetXattr {
        /// Where.
        pub place: Place,
        /// [`FOLLOW`].
        pub flags: u32,
        /// Its name.
        pub name: XattrName,
    }
    /// Sets an extended attribute to the payload.
    pub struct SetXattr {
        /// Where.
        pub place: Place,
        /// [`setxattr`], [`FOLLOW`].
        pub flags: u32,
        /// Its name.
        pub name: XattrName,
    }
    /// Names of the extended attributes: in the payload of the reply, a NUL behind each.
    pub struct ListXattr {
        /// Where.
        pub place: Place,
        /// [`FOLLOW`].
        pub flags: u32,
    }
    /// Removes an extended attribute.
    pub struct RemoveXattr {
        /// Where.
        pub place: Place,
        /// [`FOLLOW`].
        pub flags: u32,
        /// Its name.
        pub name: XattrName,
    }

    /// Takes, changes or waits for a byte-range lock: what the owner holds in the range becomes of
    /// this kind.
    pub struct Lock {
        /// Of a file.
        pub file: Object,
        /// Who holds it, within this session.
        pub owner: u64,
        /// First byte.
        pub start: u64,
        /// Number of bytes; 0: to the end, wherever it is.
        pub len: u64,
        /// [`lock`].
        pub kind: u8,
        /// [`lock`].
        pub flags: u32,
    }
    /// Releases what the owner holds in a range.
    pub struct Unlock {
        /// Of a file.
        pub file: Object,
        /// Whose.
        pub owner: u64,
        /// First byte.
        pub start: u64,
        /// Number of bytes; 0: to the end, wherever it is.
        pub len: u64,
    }
    /// What stands in the way of a lock.
    pub struct TestLock {
        /// Of a file.
        pub file: Object,
        /// Whose.
        pub owner: u64,
        /// First byte.
        pub start: u64,
        /// Number of bytes; 0: to the end, wherever it is.
        pub len: u64,
        /// [`lock`].
        pub kind: u8,
    }
    /// Of TESTLOCK.
    pub struct Tested {
        /// The first that is in the way.
        pub conflict: Option<Conflict>,
    }
}

/// A request's type, with its number and the type of its reply.
pub trait Call: Wire {
    /// Its number.
    const OP: Op;
    /// Body of the reply.
    type Reply: Wire;
}

macro_rules! calls {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $text:literal, $once:literal => $reply:ty;)*) => {
        /// Operations, by their numbers on the wire. 1 and 2 are HELLO and AUTH
        /// ([`crate::hello`]).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Op {
            $(#[doc = $text] $name = $number,)*
        }

        impl Op {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// From its number.
            pub fn of(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// True where it changes something: it is carried out once however often it arrives,
            /// and its reply is remembered until the mark has passed it.
            pub fn once(self) -> bool {
                match self {
                    $(Self::$name => $once,)*
                }
            }
        }

        /// A request, decoded.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request {
            $(#[doc = $text] $name($name),)*
        }

        impl Request {
            /// Reads identity and request from the body of a frame whose operation is `op`.
            pub fn decode(op: Op, body: &Bytes) -> Result<(Identity, Self), Malformed> {
                let mut from = Reader::new(body);
                let identity = Identity::take(&mut from)?;
                let request = match op {
                    $(Op::$name => Self::$name($name::take(&mut from)?),)*
                };
                from.end()?;
                Ok((identity, request))
            }
        }

        impl Request {
            /// Appends the request, without its identity.
            pub fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(call) => call.put(out),)*
                }
            }
        }

        $(impl Call for $name {
            const OP: Op = Op::$name;
            type Reply = $reply;
        })*
    };
}

calls! {
    Bye = 3, "BYE", true => ();
    Ping = 4, "PING", false => ();
    Sync = 5, "SYNC", false => ();
    Reclaimed = 6, "RECLAIMED", true => ();
    Cancel = 7, "CANCEL", false => ();
    Stat = 16, "STAT", false => Statted;
    SetAttr = 17, "SETATTR", true => Changed;
    Open = 18, "OPEN", true => Opened;
    Close = 19, "CLOSE", true => ();
    MkDir = 20, "MKDIR", true => Changed;
    Symlink = 21, "SYMLINK", true => Changed;
    MkNod = 22, "MKNOD", true => Changed;
    Link = 23, "LINK", true => Changed;
    Unlink = 24, "UNLINK", true => Done;
    Rename = 25, "RENAME", true => Done;
    ReadLink = 26, "READLINK", false => LinkText;
    ReadDir = 27, "READDIR", false => Listed;
    Access = 28, "ACCESS", false => Allowed;
    FindName = 29, "FINDNAME", false => RealName;
    StatFs = 30, "STATFS", false => Room;
    Read = 48, "READ", false => Data;
    Write = 49, "WRITE", true => Written;
    FSync = 50, "FSYNC", false => ();
    Seek = 51, "SEEK", false => Sought;
    Ranges = 52, "RANGES", false => Stretches;
    Allocate = 53, "ALLOCATE", true => Changed;
    Copy = 54, "COPY", true => Copied;
    GetXattr = 64, "GETXATTR", false => ();
    SetXattr = 65, "SETXATTR", true => Changed;
    ListXattr = 66, "LISTXATTR", false => ();
    RemoveXattr = 67, "REMOVEXATTR", true => Changed;
    Lock = 80, "LOCK", true => ();
    Unlock = 81, "UNLOCK", true => ();
    TestLock = 82, "TESTLOCK", false => Tested;
}

/// Body of a request: the identity, then the request.
pub fn put_request<C: Call>(out: &mut Vec<u8>, identity: &Identity, call: &C) {
    identity.put(out);
    call.put(out);
}
