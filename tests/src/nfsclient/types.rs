//! Types of RFC 1813 §2.5 and §2.6 as this client sees them.

use std::fmt;

use super::xdr::{Dec, Enc, Malformed};

/// File handle, at most 64 bytes (RFC 1813 §2.4).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fh(pub Vec<u8>);

impl fmt::Debug for Fh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl Fh {
    pub(super) fn put(&self, e: &mut Enc) {
        e.opaque(&self.0);
    }
    pub(super) fn get(d: &mut Dec) -> Result<Self, Malformed> {
        Ok(Self(d.opaque(64)?.to_vec()))
    }
}

/// nfsstat3 (RFC 1813 §2.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($name:ident = $n:literal),* $(,)?) => {
        #[allow(missing_docs)] // named as in RFC 1813 §2.6, without NFS3ERR_
        impl Status { $(pub const $name: Status = Status($n);)* }
        impl fmt::Debug for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 { $($n => f.write_str(stringify!($name)),)* n => write!(f, "status {n}") }
            }
        }
        impl Status {
            fn known(n: u32) -> bool { matches!(n, $($n)|*) }
        }
    };
}
statuses! {
    OK = 0, PERM = 1, NOENT = 2, IO = 5, NXIO = 6, ACCES = 13, EXIST = 17, XDEV = 18, NODEV = 19,
    NOTDIR = 20, ISDIR = 21, INVAL = 22, FBIG = 27, NOSPC = 28, ROFS = 30, MLINK = 31,
    NAMETOOLONG = 63, NOTEMPTY = 66, DQUOT = 69, STALE = 70, REMOTE = 71, BADHANDLE = 10001,
    NOT_SYNC = 10002, BAD_COOKIE = 10003, NOTSUPP = 10004, TOOSMALL = 10005, SERVERFAULT = 10006,
    BADTYPE = 10007, JUKEBOX = 10008,
}

impl Status {
    pub(super) fn get(d: &mut Dec) -> Result<Self, Malformed> {
        let n = d.u32()?;
        if Self::known(n) { Ok(Self(n)) } else { Err(Malformed("a status RFC 1813 does not have")) }
    }
    /// True for NFS3_OK.
    pub fn ok(self) -> bool {
        self == Self::OK
    }
}

/// nfstime3: seconds and nanoseconds since 1970, unsigned 32 bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Time {
    pub sec: u32,
    pub nsec: u32,
}

impl Time {
    pub(super) fn put(self, e: &mut Enc) {
        e.u32(self.sec);
        e.u32(self.nsec);
    }
    fn get(d: &mut Dec) -> Result<Self, Malformed> {
        let t = Self { sec: d.u32()?, nsec: d.u32()? };
        if t.nsec >= 1_000_000_000 { Err(Malformed("nanoseconds ≥ 10⁹")) } else { Ok(t) }
    }
}

/// ftype3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[repr(u32)]
pub enum Ftype {
    Reg = 1,
    Dir = 2,
    Blk = 3,
    Chr = 4,
    Lnk = 5,
    Sock = 6,
    Fifo = 7,
}

/// fattr3, 84 bytes on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attr {
    pub ftype: Ftype,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub used: u64,
    pub rdev: (u32, u32),
    pub fsid: u64,
    pub fileid: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
}

impl Attr {
    pub(super) fn get(d: &mut Dec) -> Result<Self, Malformed> {
        let ftype = match d.u32()? {
            1 => Ftype::Reg,
            2 => Ftype::Dir,
            3 => Ftype::Blk,
            4 => Ftype::Chr,
            5 => Ftype::Lnk,
            6 => Ftype::Sock,
            7 => Ftype::Fifo,
            _ => return Err(Malformed("a file type RFC 1813 does not have")),
        };
        let a = Self {
            ftype,
            mode: d.u32()?,
            nlink: d.u32()?,
            uid: d.u32()?,
            gid: d.u32()?,
            size: d.u64()?,
            used: d.u64()?,
            rdev: (d.u32()?, d.u32()?),
            fsid: d.u64()?,
            fileid: d.u64()?,
            atime: Time::get(d)?,
            mtime: Time::get(d)?,
            ctime: Time::get(d)?,
        };
        if a.mode & !0o7777 != 0 { Err(Malformed("mode with type bits")) } else { Ok(a) }
    }
    pub(super) fn opt(d: &mut Dec) -> Result<Option<Self>, Malformed> {
        d.option(Self::get)
    }
    /// What a wcc_attr of this moment would say.
    pub fn wcc(&self) -> WccAttr {
        WccAttr { size: self.size, mtime: self.mtime, ctime: self.ctime }
    }
}

/// wcc_attr: what a cache compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WccAttr {
    pub size: u64,
    pub mtime: Time,
    pub ctime: Time,
}

/// wcc_data: before and after, each optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Wcc {
    pub before: Option<WccAttr>,
    pub after: Option<Attr>,
}

impl Wcc {
    pub(super) fn get(d: &mut Dec) -> Result<Self, Malformed> {
        let before = d.option(|d| {
            Ok(WccAttr { size: d.u64()?, mtime: Time::get(d)?, ctime: Time::get(d)? })
        })?;
        Ok(Self { before, after: Attr::opt(d)? })
    }
}

/// How SETATTR and friends set a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SattrTime {
    /// DONT_CHANGE.
    #[default]
    Keep,
    /// SET_TO_SERVER_TIME.
    Now,
    /// SET_TO_CLIENT_TIME.
    To(Time),
}

/// sattr3; `None` leaves a field alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Sattr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: SattrTime,
    pub mtime: SattrTime,
}

impl Sattr {
    /// Only a mode.
    pub fn mode(mode: u32) -> Self {
        Self { mode: Some(mode), ..Self::default() }
    }
    /// Only a size.
    pub fn size(size: u64) -> Self {
        Self { size: Some(size), ..Self::default() }
    }
    pub(super) fn put(&self, e: &mut Enc) {
        for v in [self.mode, self.uid, self.gid] {
            e.bool(v.is_some());
            if let Some(v) = v {
                e.u32(v);
            }
        }
        e.bool(self.size.is_some());
        if let Some(v) = self.size {
            e.u64(v);
        }
        for t in [self.atime, self.mtime] {
            match t {
                SattrTime::Keep => e.u32(0),
                SattrTime::Now => e.u32(1),
                SattrTime::To(t) => {
                    e.u32(2);
                    t.put(e);
                }
            }
        }
    }
}
