//! Values of the index that files own, byte for byte (docs/format.md §5). Little-endian.
//!
//! Pure: bytes in, records out. A value that does not decode is damage, never a default.

use bytes::{BufMut, Bytes, BytesMut};
use headhunter::{Location, SegmentId, Seq};

use crate::{FileId, Kind, Timestamp, limits::MARKS};

/// Version of the attribute record.
pub const ATTRIBUTES_VERSION: u8 = 1;
/// Bytes of an attribute record without marks.
pub const ATTRIBUTES_BYTES: usize = 112;
/// Bytes of an extent value.
pub const EXTENT_BYTES: usize = 32;
/// Bytes of a directory entry before its name.
pub const ENTRY_BYTES: usize = 13;
/// Flag of an attribute record: `verifier` is that of an exclusive create.
const HAS_VERIFIER: u8 = 1;

/// A truncate mark (R22): extents at or beyond `offset` that were born before `seq` are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// File offset, bytes.
    pub offset: u64,
    /// Commit order of the truncate.
    pub seq: Seq,
}

/// An attribute record together with its inode number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Identity; the number comes from the key.
    pub id: FileId,
    /// Type.
    pub kind: Kind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Hard links; 0 for an inode that only open handles or pending work keep.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number (major, minor).
    pub rdev: (u32, u32),
    /// Bytes: of a file its length, of a symlink its target's length, of a directory the sum of
    /// `name length + 24` of its entries.
    pub size: u64,
    /// Bytes that extents hold, those behind truncate marks included until they are removed.
    pub used: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of anything.
    pub ctime: Timestamp,
    /// Directories: the inode of `..`.
    pub parent: u64,
    /// Record that changed this inode last: COMMIT waits for it.
    pub last: Seq,
    /// Verifier of an exclusive create.
    pub verifier: Option<[u8; 8]>,
    /// Truncate marks, offsets and seqs both rising; at most [`MARKS`].
    pub marks: Vec<Mark>,
}

/// Reads little-endian fields off the front of a value.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|b| b[0])
    }
    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn time(&mut self) -> Option<Timestamp> {
        let sec = self.take().map(i64::from_le_bytes)?;
        let nsec = self.u32()?;
        (nsec < 1_000_000_000).then_some(Timestamp { sec, nsec })
    }
}

impl Inode {
    /// A new inode of `kind` with all else zero.
    pub fn new(id: FileId, kind: Kind) -> Self {
        Self {
            id,
            kind,
            mode: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            rdev: (0, 0),
            size: 0,
            used: 0,
            atime: Timestamp::default(),
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            parent: 0,
            last: Seq(0),
            verifier: None,
            marks: Vec::new(),
        }
    }

    /// The attribute record.
    pub fn encode(&self) -> Bytes {
        let mut b = BytesMut::with_capacity(ATTRIBUTES_BYTES + 16 * self.marks.len());
        b.put_u8(ATTRIBUTES_VERSION);
        b.put_u8(self.kind as u8);
        b.put_u16_le((self.mode & 0o7777) as u16);
        b.put_u32_le(self.nlink);
        b.put_u32_le(self.uid);
        b.put_u32_le(self.gid);
        b.put_u32_le(self.rdev.0);
        b.put_u32_le(self.rdev.1);
        b.put_u32_le(self.id.generation);
        for time in [self.atime, self.mtime, self.ctime] {
            b.put_i64_le(time.sec);
            b.put_u32_le(time.nsec);
        }
        b.put_u64_le(self.size);
        b.put_u64_le(self.used);
        b.put_u64_le(self.parent);
        b.put_u64_le(self.last.0);
        b.put_slice(&self.verifier.unwrap_or_default());
        b.put_u8(if self.verifier.is_some() { HAS_VERIFIER } else { 0 });
        debug_assert!(self.marks.len() <= MARKS);
        b.put_u8(u8::try_from(self.marks.len().min(MARKS)).unwrap_or(0));
        b.put_u16_le(0);
        b.put_u32_le(0);
        for mark in &self.marks {
            b.put_u64_le(mark.offset);
            b.put_u64_le(mark.seq.0);
        }
        b.freeze()
    }

    /// Reads the attribute record of inode `ino`; `None` if it is not one.
    pub fn decode(ino: u64, value: &[u8]) -> Option<Self> {
        let mut f = Fields(value);
        if f.u8()? != ATTRIBUTES_VERSION {
            return None;
        }
        let kind = Kind::from_number(f.u8()?)?;
        let mode = u32::from(f.u16()?);
        let (nlink, uid, gid) = (f.u32()?, f.u32()?, f.u32()?);
        let rdev = (f.u32()?, f.u32()?);
        let generation = f.u32()?;
        let (atime, mtime, ctime) = (f.time()?, f.time()?, f.time()?);
        let (size, used, parent, last) = (f.u64()?, f.u64()?, f.u64()?, f.u64()?);
        let verifier = f.take::<8>()?;
        let (flags, marks) = (f.u8()?, usize::from(f.u8()?));
        let (zero16, zero32) = (f.u16()?, f.u32()?);
        if mode > 0o7777 || flags > 1 || marks > MARKS || zero16 != 0 || zero32 != 0 {
            return None;
        }
        if f.0.len() != 16 * marks {
            return None;
        }
        let mut list = Vec::with_capacity(marks);
        for _ in 0..marks {
            list.push(Mark { offset: f.u64()?, seq: Seq(f.u64()?) });
        }
        Some(Self {
            id: FileId { ino, generation },
            kind,
            mode,
            nlink,
            uid,
            gid,
            rdev,
            size,
            used,
            atime,
            mtime,
            ctime,
            parent,
            last: Seq(last),
            verifier: (flags & HAS_VERIFIER != 0).then_some(verifier),
            marks: list,
        })
    }

    /// True if a truncate mark makes `extent` dead (R22).
    pub fn is_dead(&self, extent: &Extent) -> bool {
        self.marks.iter().any(|m| extent.start >= m.offset && extent.birth < m.seq)
    }
}

/// One extent: `len` bytes of the file from `start` on are those of the frame at `location` from
/// `skip` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// File offset, bytes: the key.
    pub start: u64,
    /// The frame.
    pub location: Location,
    /// Offset in the decoded frame, bytes.
    pub skip: u32,
    /// Bytes; at least 1, at most one frame.
    pub len: u32,
    /// Record that wrote the bytes (R14); kept when extents are cut.
    pub birth: Seq,
}

impl Extent {
    /// First offset behind it.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(u64::from(self.len))
    }

    /// The value.
    pub fn encode(&self) -> Bytes {
        let mut b = BytesMut::with_capacity(EXTENT_BYTES);
        b.put_u64_le(self.location.segment.0);
        b.put_u32_le(self.location.offset);
        b.put_u32_le(self.location.stored);
        b.put_u32_le(self.skip);
        b.put_u32_le(self.len);
        b.put_u64_le(self.birth.0);
        b.freeze()
    }

    /// Reads the value of the extent at `start`.
    pub fn decode(start: u64, value: &[u8]) -> Option<Self> {
        let mut f = Fields(value);
        let location =
            Location { segment: SegmentId(f.u64()?), offset: f.u32()?, stored: f.u32()? };
        let (skip, len, birth) = (f.u32()?, f.u32()?, Seq(f.u64()?));
        if !f.0.is_empty() || len == 0 || start.checked_add(u64::from(len))? > i64::MAX as u64 {
            return None;
        }
        Some(Self { start, location, skip, len, birth })
    }
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key: 55 bits of hash, 8 of ordinal (R21).
    pub cookie: u64,
    /// Type of the inode.
    pub kind: Kind,
    /// The inode.
    pub id: FileId,
    /// The name: 1..=255 bytes without `/` and NUL.
    pub name: Bytes,
}

impl Entry {
    /// The value.
    pub fn encode(&self) -> Bytes {
        let mut b = BytesMut::with_capacity(ENTRY_BYTES + self.name.len());
        b.put_u8(self.kind as u8);
        b.put_u64_le(self.id.ino);
        b.put_u32_le(self.id.generation);
        b.put_slice(&self.name);
        b.freeze()
    }

    /// Reads the value of the entry at `cookie`.
    pub fn decode(cookie: u64, value: &Bytes) -> Option<Self> {
        let mut f = Fields(value);
        let kind = Kind::from_number(f.u8()?)?;
        let id = FileId { ino: f.u64()?, generation: f.u32()? };
        let name = value.slice(ENTRY_BYTES..);
        (1..=crate::limits::NAME_BYTES).contains(&name.len()).then_some(Self {
            cookie,
            kind,
            id,
            name,
        })
    }

    /// What it adds to its directory's size, bytes.
    pub fn weight(name: &[u8]) -> u64 {
        24 + name.len() as u64
    }
}

/// Why an inode is on the list of pending work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pending {
    /// Dead extents behind truncate marks are to be removed.
    Truncated = 1,
    /// No name is left: everything is to be removed.
    Unlinked = 2,
    /// No name is left, and it was open when the last one went: kept while it is, and for a grace
    /// time after a restart.
    Open = 3,
}

impl Pending {
    /// The value.
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&[self as u8])
    }

    /// Reads the value.
    pub fn decode(value: &[u8]) -> Option<Self> {
        match value {
            [1] => Some(Self::Truncated),
            [2] => Some(Self::Unlinked),
            [3] => Some(Self::Open),
            _ => None,
        }
    }
}

/// A `u64` counter's value.
pub fn counter(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
