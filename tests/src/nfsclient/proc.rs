//! The 22 procedures of RFC 1813 §3.3: arguments out, results in.
//!
//! Every result carries the status and all that came with it; what a failure does not carry is
//! `None` or empty.

use super::types::{Attr, Fh, Ftype, Sattr, Status, Time, Wcc};
use super::xdr::{Dec, Enc, Malformed};

type Got<T> = Result<T, Malformed>;

/// One procedure with its arguments.
pub trait Call {
    /// Procedure number.
    const PROC: u32;
    /// What comes back.
    type Res;
    /// Writes the arguments.
    fn args(&self, e: &mut Enc);
    /// Reads the results; the caller checks that nothing is left.
    fn res(d: &mut Dec) -> Got<Self::Res>;
}

fn dirop(e: &mut Enc, dir: &Fh, name: &[u8]) {
    dir.put(e);
    e.opaque(name);
}

/// Status and attributes, of ACCESS and the like.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AttrRes {
    pub status: Status,
    pub attr: Option<Attr>,
}

/// Status and both sides of one object or directory.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct WccRes {
    pub status: Status,
    pub wcc: Wcc,
}
fn wcc_res(d: &mut Dec) -> Got<WccRes> {
    Ok(WccRes { status: Status::get(d)?, wcc: Wcc::get(d)? })
}

/// Of CREATE, MKDIR, SYMLINK, MKNOD.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MadeRes {
    pub status: Status,
    pub fh: Option<Fh>,
    pub attr: Option<Attr>,
    pub dir: Wcc,
}
fn made_res(d: &mut Dec) -> Got<MadeRes> {
    let status = Status::get(d)?;
    let (mut fh, mut attr) = (None, None);
    if status.ok() {
        fh = d.option(Fh::get)?;
        attr = Attr::opt(d)?;
    }
    Ok(MadeRes { status, fh, attr, dir: Wcc::get(d)? })
}

/// Procedure 0.
pub struct Null;
impl Call for Null {
    const PROC: u32 = 0;
    type Res = ();
    fn args(&self, _: &mut Enc) {}
    fn res(_: &mut Dec) -> Got<()> {
        Ok(())
    }
}

/// Procedure 1.
#[allow(missing_docs)]
pub struct Getattr<'a>(pub &'a Fh);
impl Call for Getattr<'_> {
    const PROC: u32 = 1;
    type Res = AttrRes;
    fn args(&self, e: &mut Enc) {
        self.0.put(e);
    }
    fn res(d: &mut Dec) -> Got<AttrRes> {
        let status = Status::get(d)?;
        Ok(AttrRes { status, attr: if status.ok() { Some(Attr::get(d)?) } else { None } })
    }
}

/// Procedure 2; `guard` is the ctime the object must have.
#[allow(missing_docs)]
pub struct Setattr<'a> {
    pub fh: &'a Fh,
    pub set: Sattr,
    pub guard: Option<Time>,
}
impl Call for Setattr<'_> {
    const PROC: u32 = 2;
    type Res = WccRes;
    fn args(&self, e: &mut Enc) {
        self.fh.put(e);
        self.set.put(e);
        e.bool(self.guard.is_some());
        if let Some(t) = self.guard {
            t.put(e);
        }
    }
    fn res(d: &mut Dec) -> Got<WccRes> {
        wcc_res(d)
    }
}

/// Procedure 3.
#[allow(missing_docs)]
pub struct Lookup<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
}
/// Of LOOKUP.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct LookupRes {
    pub status: Status,
    pub fh: Option<Fh>,
    pub attr: Option<Attr>,
    pub dir: Option<Attr>,
}
impl Call for Lookup<'_> {
    const PROC: u32 = 3;
    type Res = LookupRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
    }
    fn res(d: &mut Dec) -> Got<LookupRes> {
        let status = Status::get(d)?;
        let (mut fh, mut attr) = (None, None);
        if status.ok() {
            fh = Some(Fh::get(d)?);
            attr = Attr::opt(d)?;
        }
        Ok(LookupRes { status, fh, attr, dir: Attr::opt(d)? })
    }
}

/// Procedure 4: bits 1 read, 2 lookup, 4 modify, 8 extend, 16 delete, 32 execute.
#[allow(missing_docs)]
pub struct Access<'a> {
    pub fh: &'a Fh,
    pub want: u32,
}
/// Of ACCESS.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AccessRes {
    pub status: Status,
    pub attr: Option<Attr>,
    pub bits: u32,
}
impl Call for Access<'_> {
    const PROC: u32 = 4;
    type Res = AccessRes;
    fn args(&self, e: &mut Enc) {
        self.fh.put(e);
        e.u32(self.want);
    }
    fn res(d: &mut Dec) -> Got<AccessRes> {
        let (status, attr) = (Status::get(d)?, Attr::opt(d)?);
        Ok(AccessRes { status, attr, bits: if status.ok() { d.u32()? } else { 0 } })
    }
}

/// Procedure 5.
pub struct Readlink<'a>(pub &'a Fh);
/// Of READLINK.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ReadlinkRes {
    pub status: Status,
    pub attr: Option<Attr>,
    pub target: Vec<u8>,
}
impl Call for Readlink<'_> {
    const PROC: u32 = 5;
    type Res = ReadlinkRes;
    fn args(&self, e: &mut Enc) {
        self.0.put(e);
    }
    fn res(d: &mut Dec) -> Got<ReadlinkRes> {
        let (status, attr) = (Status::get(d)?, Attr::opt(d)?);
        let target = if status.ok() { d.opaque(4096)?.to_vec() } else { Vec::new() };
        Ok(ReadlinkRes { status, attr, target })
    }
}

/// Procedure 6.
#[allow(missing_docs)]
pub struct Read<'a> {
    pub fh: &'a Fh,
    pub offset: u64,
    pub count: u32,
}
/// Of READ.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ReadRes {
    pub status: Status,
    pub attr: Option<Attr>,
    pub eof: bool,
    pub data: Vec<u8>,
}
impl Call for Read<'_> {
    const PROC: u32 = 6;
    type Res = ReadRes;
    fn args(&self, e: &mut Enc) {
        self.fh.put(e);
        e.u64(self.offset);
        e.u32(self.count);
    }
    fn res(d: &mut Dec) -> Got<ReadRes> {
        let (status, attr) = (Status::get(d)?, Attr::opt(d)?);
        let (mut eof, mut data) = (false, Vec::new());
        if status.ok() {
            let n = d.u32()?;
            eof = d.bool()?;
            data = d.opaque(16 << 20)?.to_vec();
            if data.len() != n as usize {
                return Err(Malformed("count differs from the data's length"));
            }
        }
        Ok(ReadRes { status, attr, eof, data })
    }
}

/// stable_how: the write may stay in memory.
pub const UNSTABLE: u32 = 0;
/// stable_how: data and what is needed to find them.
pub const DATA_SYNC: u32 = 1;
/// stable_how: everything.
pub const FILE_SYNC: u32 = 2;

/// Procedure 7.
#[allow(missing_docs)]
pub struct Write<'a> {
    pub fh: &'a Fh,
    pub offset: u64,
    pub stable: u32,
    pub data: &'a [u8],
}
/// Of WRITE.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct WriteRes {
    pub status: Status,
    pub wcc: Wcc,
    pub count: u32,
    pub committed: u32,
    pub verf: [u8; 8],
}
impl Write<'_> {
    /// All arguments but the data, which follows as counted bytes.
    pub fn head(&self, e: &mut Enc) {
        self.fh.put(e);
        e.u64(self.offset);
        e.u32(u32::try_from(self.data.len()).unwrap_or(u32::MAX));
        e.u32(self.stable);
    }
}
fn verf(d: &mut Dec) -> Got<[u8; 8]> {
    Ok(d.u64()?.to_be_bytes())
}
impl Call for Write<'_> {
    const PROC: u32 = 7;
    type Res = WriteRes;
    fn args(&self, e: &mut Enc) {
        self.head(e);
        e.opaque(self.data);
    }
    fn res(d: &mut Dec) -> Got<WriteRes> {
        let (status, wcc) = (Status::get(d)?, Wcc::get(d)?);
        let mut r = WriteRes { status, wcc, count: 0, committed: 0, verf: [0; 8] };
        if status.ok() {
            r.count = d.u32()?;
            r.committed = d.u32()?;
            r.verf = verf(d)?;
            if r.committed > FILE_SYNC {
                return Err(Malformed("stable_how"));
            }
        }
        Ok(r)
    }
}

/// createhow3.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Use what exists.
    Unchecked(Sattr),
    /// Refuse what exists.
    Guarded(Sattr),
    /// Refuse what exists unless made with this verifier.
    Exclusive([u8; 8]),
}

/// Procedure 8.
#[allow(missing_docs)]
pub struct Create<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
    pub how: How,
}
impl Call for Create<'_> {
    const PROC: u32 = 8;
    type Res = MadeRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
        match self.how {
            How::Unchecked(s) => {
                e.u32(0);
                s.put(e);
            }
            How::Guarded(s) => {
                e.u32(1);
                s.put(e);
            }
            How::Exclusive(v) => {
                e.u32(2);
                e.fixed(&v);
            }
        }
    }
    fn res(d: &mut Dec) -> Got<MadeRes> {
        made_res(d)
    }
}

/// Procedure 9.
#[allow(missing_docs)]
pub struct Mkdir<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
    pub set: Sattr,
}
impl Call for Mkdir<'_> {
    const PROC: u32 = 9;
    type Res = MadeRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
        self.set.put(e);
    }
    fn res(d: &mut Dec) -> Got<MadeRes> {
        made_res(d)
    }
}

/// Procedure 10.
#[allow(missing_docs)]
pub struct Symlink<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
    pub set: Sattr,
    pub target: &'a [u8],
}
impl Call for Symlink<'_> {
    const PROC: u32 = 10;
    type Res = MadeRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
        self.set.put(e);
        e.opaque(self.target);
    }
    fn res(d: &mut Dec) -> Got<MadeRes> {
        made_res(d)
    }
}

/// Procedure 11; `rdev` is sent for devices only.
#[allow(missing_docs)]
pub struct Mknod<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
    pub ftype: Ftype,
    pub set: Sattr,
    pub rdev: (u32, u32),
}
impl Call for Mknod<'_> {
    const PROC: u32 = 11;
    type Res = MadeRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
        e.u32(self.ftype as u32);
        if matches!(self.ftype, Ftype::Blk | Ftype::Chr | Ftype::Sock | Ftype::Fifo) {
            self.set.put(e);
        }
        if matches!(self.ftype, Ftype::Blk | Ftype::Chr) {
            e.u32(self.rdev.0);
            e.u32(self.rdev.1);
        }
    }
    fn res(d: &mut Dec) -> Got<MadeRes> {
        made_res(d)
    }
}

/// Procedure 12.
#[allow(missing_docs)]
pub struct Remove<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
}
impl Call for Remove<'_> {
    const PROC: u32 = 12;
    type Res = WccRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
    }
    fn res(d: &mut Dec) -> Got<WccRes> {
        wcc_res(d)
    }
}

/// Procedure 13.
#[allow(missing_docs)]
pub struct Rmdir<'a> {
    pub dir: &'a Fh,
    pub name: &'a [u8],
}
impl Call for Rmdir<'_> {
    const PROC: u32 = 13;
    type Res = WccRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.dir, self.name);
    }
    fn res(d: &mut Dec) -> Got<WccRes> {
        wcc_res(d)
    }
}

/// Procedure 14: (directory, name) from, to.
#[allow(missing_docs)]
pub struct Rename<'a> {
    pub from: (&'a Fh, &'a [u8]),
    pub to: (&'a Fh, &'a [u8]),
}
/// Of RENAME.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct RenameRes {
    pub status: Status,
    pub from: Wcc,
    pub to: Wcc,
}
impl Call for Rename<'_> {
    const PROC: u32 = 14;
    type Res = RenameRes;
    fn args(&self, e: &mut Enc) {
        dirop(e, self.from.0, self.from.1);
        dirop(e, self.to.0, self.to.1);
    }
    fn res(d: &mut Dec) -> Got<RenameRes> {
        Ok(RenameRes { status: Status::get(d)?, from: Wcc::get(d)?, to: Wcc::get(d)? })
    }
}

/// Procedure 15.
#[allow(missing_docs)]
pub struct Link<'a> {
    pub fh: &'a Fh,
    pub dir: &'a Fh,
    pub name: &'a [u8],
}
/// Of LINK.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct LinkRes {
    pub status: Status,
    pub attr: Option<Attr>,
    pub dir: Wcc,
}
impl Call for Link<'_> {
    const PROC: u32 = 15;
    type Res = LinkRes;
    fn args(&self, e: &mut Enc) {
        self.fh.put(e);
        dirop(e, self.dir, self.name);
    }
    fn res(d: &mut Dec) -> Got<LinkRes> {
        Ok(LinkRes { status: Status::get(d)?, attr: Attr::opt(d)?, dir: Wcc::get(d)? })
    }
}

/// One entry of a listing; the last three only with READDIRPLUS.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Entry {
    pub fileid: u64,
    pub name: Vec<u8>,
    pub cookie: u64,
    pub attr: Option<Attr>,
    pub fh: Option<Fh>,
}
/// Of READDIR and READDIRPLUS. `bytes` is the size of the results as encoded, status included.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ReaddirRes {
    pub status: Status,
    pub dir: Option<Attr>,
    pub verf: [u8; 8],
    pub entries: Vec<Entry>,
    pub eof: bool,
    pub bytes: usize,
}
fn readdir_res(d: &mut Dec, plus: bool) -> Got<ReaddirRes> {
    let bytes = d.0.len();
    let (status, dir) = (Status::get(d)?, Attr::opt(d)?);
    let mut r = ReaddirRes { status, dir, verf: [0; 8], entries: Vec::new(), eof: false, bytes };
    if status.ok() {
        r.verf = verf(d)?;
        while d.bool()? {
            let mut e = Entry {
                fileid: d.u64()?,
                name: d.opaque(255)?.to_vec(),
                cookie: d.u64()?,
                attr: None,
                fh: None,
            };
            if plus {
                e.attr = Attr::opt(d)?;
                e.fh = d.option(Fh::get)?;
            }
            r.entries.push(e);
        }
        r.eof = d.bool()?;
    }
    Ok(r)
}

/// Procedure 16.
#[allow(missing_docs)]
pub struct Readdir<'a> {
    pub dir: &'a Fh,
    pub cookie: u64,
    pub verf: [u8; 8],
    pub count: u32,
}
impl Call for Readdir<'_> {
    const PROC: u32 = 16;
    type Res = ReaddirRes;
    fn args(&self, e: &mut Enc) {
        self.dir.put(e);
        e.u64(self.cookie);
        e.fixed(&self.verf);
        e.u32(self.count);
    }
    fn res(d: &mut Dec) -> Got<ReaddirRes> {
        readdir_res(d, false)
    }
}

/// Procedure 17.
#[allow(missing_docs)]
pub struct Readdirplus<'a> {
    pub dir: &'a Fh,
    pub cookie: u64,
    pub verf: [u8; 8],
    pub dircount: u32,
    pub maxcount: u32,
}
impl Call for Readdirplus<'_> {
    const PROC: u32 = 17;
    type Res = ReaddirRes;
    fn args(&self, e: &mut Enc) {
        self.dir.put(e);
        e.u64(self.cookie);
        e.fixed(&self.verf);
        e.u32(self.dircount);
        e.u32(self.maxcount);
    }
    fn res(d: &mut Dec) -> Got<ReaddirRes> {
        readdir_res(d, true)
    }
}

/// Procedure 18.
pub struct Fsstat<'a>(pub &'a Fh);
/// Of FSSTAT: bytes and files, in all, free, and available to this caller.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct FsstatOk {
    pub tbytes: u64,
    pub fbytes: u64,
    pub abytes: u64,
    pub tfiles: u64,
    pub ffiles: u64,
    pub afiles: u64,
    pub invarsec: u32,
}
/// Status, attributes and what a successful call adds.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct InfoRes<T> {
    pub status: Status,
    pub attr: Option<Attr>,
    pub ok: Option<T>,
}
fn info<T>(d: &mut Dec, f: impl FnOnce(&mut Dec) -> Got<T>) -> Got<InfoRes<T>> {
    let (status, attr) = (Status::get(d)?, Attr::opt(d)?);
    Ok(InfoRes { status, attr, ok: if status.ok() { Some(f(d)?) } else { None } })
}
impl Call for Fsstat<'_> {
    const PROC: u32 = 18;
    type Res = InfoRes<FsstatOk>;
    fn args(&self, e: &mut Enc) {
        self.0.put(e);
    }
    fn res(d: &mut Dec) -> Got<Self::Res> {
        info(d, |d| {
            Ok(FsstatOk {
                tbytes: d.u64()?,
                fbytes: d.u64()?,
                abytes: d.u64()?,
                tfiles: d.u64()?,
                ffiles: d.u64()?,
                afiles: d.u64()?,
                invarsec: d.u32()?,
            })
        })
    }
}

/// Procedure 19.
pub struct Fsinfo<'a>(pub &'a Fh);
/// Of FSINFO.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct FsinfoOk {
    pub rtmax: u32,
    pub rtpref: u32,
    pub rtmult: u32,
    pub wtmax: u32,
    pub wtpref: u32,
    pub wtmult: u32,
    pub dtpref: u32,
    pub maxfilesize: u64,
    pub time_delta: Time,
    pub properties: u32,
}
impl Call for Fsinfo<'_> {
    const PROC: u32 = 19;
    type Res = InfoRes<FsinfoOk>;
    fn args(&self, e: &mut Enc) {
        self.0.put(e);
    }
    fn res(d: &mut Dec) -> Got<Self::Res> {
        info(d, |d| {
            Ok(FsinfoOk {
                rtmax: d.u32()?,
                rtpref: d.u32()?,
                rtmult: d.u32()?,
                wtmax: d.u32()?,
                wtpref: d.u32()?,
                wtmult: d.u32()?,
                dtpref: d.u32()?,
                maxfilesize: d.u64()?,
                time_delta: Time { sec: d.u32()?, nsec: d.u32()? },
                properties: d.u32()?,
            })
        })
    }
}

/// Procedure 20.
pub struct Pathconf<'a>(pub &'a Fh);
/// Of PATHCONF.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PathconfOk {
    pub linkmax: u32,
    pub name_max: u32,
    pub no_trunc: bool,
    pub chown_restricted: bool,
    pub case_insensitive: bool,
    pub case_preserving: bool,
}
impl Call for Pathconf<'_> {
    const PROC: u32 = 20;
    type Res = InfoRes<PathconfOk>;
    fn args(&self, e: &mut Enc) {
        self.0.put(e);
    }
    fn res(d: &mut Dec) -> Got<Self::Res> {
        info(d, |d| {
            Ok(PathconfOk {
                linkmax: d.u32()?,
                name_max: d.u32()?,
                no_trunc: d.bool()?,
                chown_restricted: d.bool()?,
                case_insensitive: d.bool()?,
                case_preserving: d.bool()?,
            })
        })
    }
}

/// Procedure 21.
#[allow(missing_docs)]
pub struct Commit<'a> {
    pub fh: &'a Fh,
    pub offset: u64,
    pub count: u32,
}
/// Of COMMIT.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CommitRes {
    pub status: Status,
    pub wcc: Wcc,
    pub verf: [u8; 8],
}
impl Call for Commit<'_> {
    const PROC: u32 = 21;
    type Res = CommitRes;
    fn args(&self, e: &mut Enc) {
        self.fh.put(e);
        e.u64(self.offset);
        e.u32(self.count);
    }
    fn res(d: &mut Dec) -> Got<CommitRes> {
        let (status, wcc) = (Status::get(d)?, Wcc::get(d)?);
        Ok(CommitRes { status, wcc, verf: if status.ok() { verf(d)? } else { [0; 8] } })
    }
}
