use bytes::Bytes;
use headhunter::{RequestTag, Seq};
pub use inode::{FileId, Kind, Timestamp};

/// Attributes of an inode, all of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Identity.
    pub id: FileId,
    /// Type.
    pub kind: Kind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes; of a symlink the length of its target.
    pub size: u64,
    /// Bytes allocated (holes cost nothing).
    pub used: u64,
    /// Device number (major, minor), 0 unless a device.
    pub rdev: (u32, u32),
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content. Of a directory strictly rising.
    pub mtime: Timestamp,
    /// Last change of anything: strictly rising, whatever the clock does (nfs-clients row 1).
    pub ctime: Timestamp,
}

/// Attributes before an operation that weak cache consistency needs (RFC 1813 §2.6 wcc_attr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WccBefore {
    /// Length in bytes.
    pub size: u64,
    /// mtime.
    pub mtime: Timestamp,
    /// ctime.
    pub ctime: Timestamp,
}

/// Both sides of an operation, taken inside it (RFC 1813 wcc_data).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wcc {
    /// Before.
    pub before: Option<WccBefore>,
    /// After. On errors equal to the state seen.
    pub after: Option<Attributes>,
}

/// Who asks: already squashed by the export's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective uid. 0 overrides permissions as Linux's CAP_DAC_OVERRIDE, CAP_FOWNER etc. do.
    pub uid: u32,
    /// Effective gid.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// NFSv3 has no open: the owner of a file may read and write it whatever its mode, and execute
    /// implies read (RFC 1813 §4.4). Only on read, write, and truncate by SETATTR.
    pub owner_override: bool,
}

/// Whether the right to read or write a file's content is to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Right {
    /// By the mode, now.
    #[default]
    Asked,
    /// It was granted when the file was opened: a face that knows opens answers for that.
    Opened,
}

/// How a time is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetTime {
    /// Leave.
    #[default]
    Keep,
    /// The server's now (needs write access or ownership).
    Now,
    /// This time (needs ownership).
    To(Timestamp),
}

/// Attributes to set; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits; others are masked off.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length: truncates or extends with a hole.
    pub size: Option<u64>,
    /// Access time.
    pub atime: SetTime,
    /// Modification time.
    pub mtime: SetTime,
}

/// How CREATE treats a name that exists (RFC 1813 §3.3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateHow {
    /// Use the existing regular file (only `size` is applied to it), or create.
    Unchecked(SetAttributes),
    /// Refuse with `Exist`.
    Guarded(SetAttributes),
    /// Refuse with `Exist` unless the file was created with this very verifier. New files get the
    /// caller as owner and mode 0.
    Exclusive([u8; 8]),
}

/// What MKNOD makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device (major, minor): uid 0 only.
    Char(u32, u32),
    /// Block device (major, minor): uid 0 only.
    Block(u32, u32),
}

/// What a caller would be allowed (RFC 1813 §3.3.4 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Bits: 1 read, 2 lookup, 4 modify, 8 extend, 16 delete, 32 execute.
    pub bits: u32,
}

/// Outcome of a mutation of one object.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Before and after.
    pub wcc: Wcc,
    /// Place in commit order.
    pub seq: Seq,
}

/// Outcome of making a name.
#[derive(Clone, Debug)]
pub struct Made {
    /// The object.
    pub object: Attributes,
    /// The directory.
    pub dir: Wcc,
    /// Place in commit order.
    pub seq: Seq,
}

/// Outcome of a rename (directories from, to) or a link (`from` is the file, `to` the directory).
#[derive(Clone, Debug)]
pub struct Moved {
    /// Attributes of the source directory, or of the linked file.
    pub from: Wcc,
    /// Attributes of the target directory.
    pub to: Wcc,
    /// Place in commit order.
    pub seq: Seq,
}

/// Outcome of a read.
#[derive(Clone, Debug)]
pub struct ReadData {
    /// The bytes, in pieces; holes are pieces of a shared zero buffer.
    pub pieces: Vec<Bytes>,
    /// Sum of the pieces' lengths.
    pub len: u32,
    /// True exactly when offset + len reaches the end of the file.
    pub eof: bool,
    /// Attributes of the same moment.
    pub attributes: Attributes,
}

/// One entry of a directory, `.` (cookie 1) and `..` (cookie 2) included.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// Name bytes.
    pub name: Bytes,
    /// Inode number.
    pub ino: u64,
    /// Go on after this one (R21). 3 ≤ cookie ≤ 2⁶³−1 but for `.` and `..`.
    pub cookie: u64,
    /// Attributes, only where they were asked for and could be read.
    pub attributes: Option<Attributes>,
}

/// A page of a directory.
#[derive(Clone, Debug)]
pub struct DirPage {
    /// Entries in cookie order.
    pub entries: Vec<DirEntry>,
    /// True when nothing follows the last entry.
    pub end: bool,
    /// Attributes of the directory, same moment.
    pub dir: Attributes,
}

/// Room and numbers of a volume (statfs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeStat {
    /// Whole size, bytes, reserve left out.
    pub total_bytes: u64,
    /// Free, bytes.
    pub free_bytes: u64,
    /// Inodes that exist and could exist.
    pub total_files: u64,
    /// Inodes that could still be made.
    pub free_files: u64,
}

/// What surrounds a non-repeatable operation: who asks, and how to remember the request (R23).
#[derive(Clone, Debug)]
pub struct Context {
    /// Who asks.
    pub caller: Caller,
    /// Identity of the request and a face-defined byte (its procedure), if it must be remembered
    /// with the record. `Volume::remembered` gives it back as [`Done`].
    pub request: Option<(RequestTag, u8)>,
}

/// A remembered, committed request (R23): enough for a face to build its answer again from the
/// attributes as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The face's own byte from [`Context::request`].
    pub procedure: u8,
    /// The object made or changed, if any.
    pub object: Option<FileId>,
    /// The (first) directory concerned.
    pub dir: Option<FileId>,
    /// The second directory of a rename, or of a link.
    pub other: Option<FileId>,
    /// Bytes, of a copy.
    pub amount: Option<u64>,
    /// Answer only once this is durable.
    pub seq: Seq,
}
