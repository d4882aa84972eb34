//! The 22 procedures (RFC 1813 §3.3): decode, ask `fs`, encode.

mod attr;
mod data;
mod dir;
mod make;
mod names;
mod room;

use bytes::Bytes;
use fs::{CreateHow, FileId, NodeKind, SetAttributes, Timestamp};

use crate::{
    call::{CallFuture, Cx},
    limits::{HANDLE_BYTES, NAME_BYTES, RECORD_BYTES, TARGET_BYTES},
    nfs3::{Procedure, Status, read_sattr, read_time},
    wire::{Cursor, Garbage},
};

use Procedure as P;

pub use names::remembered;

/// Arguments behind the first handle, decoded.
pub enum Args {
    /// The handle is all.
    Plain(Procedure),
    /// SETATTR.
    SetAttr(SetAttributes, Option<Timestamp>),
    /// LOOKUP.
    Lookup(Bytes),
    /// ACCESS.
    Access(u32),
    /// READ.
    Read {
        /// Byte offset.
        offset: u64,
        /// Bytes.
        count: u32,
    },
    /// WRITE.
    Write {
        /// Byte offset.
        offset: u64,
        /// stable_how: 0 UNSTABLE, 1 DATA_SYNC, 2 FILE_SYNC.
        stable: u32,
        /// Payload, a slice of the record.
        data: Bytes,
    },
    /// CREATE.
    Create(Bytes, CreateHow),
    /// MKDIR.
    MkDir(Bytes, SetAttributes),
    /// SYMLINK.
    SymLink(Bytes, SetAttributes, Bytes),
    /// MKNOD; `None`: a type that cannot be made so.
    MkNod(Bytes, Option<NodeKind>, SetAttributes),
    /// REMOVE.
    Remove(Bytes),
    /// RMDIR.
    RmDir(Bytes),
    /// RENAME: name, target directory's handle, name there.
    Rename(Bytes, Bytes, Bytes),
    /// LINK: directory's handle, name.
    Link(Bytes, Bytes),
    /// READDIR and READDIRPLUS.
    ReadDir {
        /// Go on after this entry.
        cookie: u64,
        /// READDIRPLUS: dircount, bytes.
        dircount: Option<u32>,
        /// Most bytes of the result.
        count: u32,
    },
}

fn name(cur: &mut Cursor<'_>) -> Result<Bytes, Garbage> {
    cur.opaque(RECORD_BYTES)
}

fn create_how(cur: &mut Cursor<'_>) -> Result<CreateHow, Garbage> {
    match cur.u32()? {
        0 => Ok(CreateHow::Unchecked(read_sattr(cur)?)),
        1 => Ok(CreateHow::Guarded(read_sattr(cur)?)),
        2 => Ok(CreateHow::Exclusive(cur.fixed()?)),
        _ => Err(Garbage),
    }
}

fn node(cur: &mut Cursor<'_>) -> Result<(Option<NodeKind>, SetAttributes), Garbage> {
    let kind = cur.u32()?;
    if !matches!(kind, 3 | 4 | 6 | 7) {
        // 1, 2 and 5 have procedures of their own: NFS3ERR_BADTYPE.
        return if (1..=7).contains(&kind) {
            Ok((None, SetAttributes::default()))
        } else {
            Err(Garbage)
        };
    }
    let set = read_sattr(cur)?;
    let kind = match kind {
        3 => NodeKind::Block(cur.u32()?, cur.u32()?),
        4 => NodeKind::Char(cur.u32()?, cur.u32()?),
        6 => NodeKind::Socket,
        _ => NodeKind::Fifo,
    };
    Ok((Some(kind), set))
}

fn write(cur: &mut Cursor<'_>) -> Result<Args, Garbage> {
    let (offset, count, stable) = (cur.u64()?, cur.u32()?, cur.u32()?);
    let data = cur.opaque(RECORD_BYTES)?;
    if stable > 2 || count as usize != data.len() {
        return Err(Garbage);
    }
    Ok(Args::Write { offset, stable, data })
}

impl Args {
    /// Reads what follows the first handle.
    pub fn decode(procedure: Procedure, cur: &mut Cursor<'_>) -> Result<Self, Garbage> {
        Ok(match procedure {
            P::Null | P::GetAttr | P::ReadLink | P::FsStat | P::FsInfo | P::PathConf => {
                Self::Plain(procedure)
            }
            P::Commit => {
                let _range = (cur.u64()?, cur.u32()?);
                Self::Plain(procedure)
            }
            P::SetAttr => {
                let set = read_sattr(cur)?;
                let guard = cur.bool()?.then(|| read_time(cur)).transpose()?;
                Self::SetAttr(set, guard)
            }
            P::Lookup => Self::Lookup(name(cur)?),
            P::Access => Self::Access(cur.u32()?),
            P::Read => Self::Read { offset: cur.u64()?, count: cur.u32()? },
            P::Write => write(cur)?,
            P::Create => Self::Create(name(cur)?, create_how(cur)?),
            P::MkDir => Self::MkDir(name(cur)?, read_sattr(cur)?),
            P::SymLink => {
                let name = name(cur)?;
                let set = read_sattr(cur)?;
                Self::SymLink(name, set, cur.opaque(RECORD_BYTES)?)
            }
            P::MkNod => {
                let name = name(cur)?;
                let (kind, set) = node(cur)?;
                Self::MkNod(name, kind, set)
            }
            P::Remove => Self::Remove(name(cur)?),
            P::RmDir => Self::RmDir(name(cur)?),
            P::Rename => {
                let from = name(cur)?;
                Self::Rename(from, cur.opaque(HANDLE_BYTES)?, name(cur)?)
            }
            P::Link => Self::Link(cur.opaque(HANDLE_BYTES)?, name(cur)?),
            P::ReadDir | P::ReadDirPlus => {
                let cookie = cur.u64()?;
                // The verifier is not looked at: any cookie is good for ever (R21).
                let _verifier: [u8; 8] = cur.fixed()?;
                let plus = procedure == P::ReadDirPlus;
                let dircount = plus.then(|| cur.u32()).transpose()?;
                Self::ReadDir { cookie, dircount, count: cur.u32()? }
            }
        })
    }

    /// Names that no directory can hold are refused before anything is looked at.
    pub fn check_names(&self) -> Result<(), Status> {
        match self {
            Self::Lookup(n) => valid(n),
            // `.` and `..` exist always.
            Self::Create(n, _) | Self::MkDir(n, _) | Self::MkNod(n, ..) | Self::Link(_, n) => {
                valid(n).and_then(|()| not_dots(n, Status::Exist))
            }
            Self::SymLink(n, _, target) => {
                valid(n).and_then(|()| not_dots(n, Status::Exist))?;
                if target.len() > TARGET_BYTES {
                    return Err(Status::NameTooLong);
                }
                // symlink(2) refuses an empty target, and none can hold a NUL.
                let bad = target.is_empty() || target.contains(&0);
                if bad { Err(Status::Inval) } else { Ok(()) }
            }
            Self::Remove(n) => valid(n).and_then(|()| not_dots(n, Status::IsDir)),
            // §3.3.13: INVAL for `.`, EXIST for `..`.
            Self::RmDir(n) => valid(n).and_then(|()| match n.as_ref() {
                b"." => Err(Status::Inval),
                b".." => Err(Status::Exist),
                _ => Ok(()),
            }),
            Self::Rename(from, _, to) => [from, to]
                .into_iter()
                .try_for_each(|n| valid(n).and_then(|()| not_dots(n, Status::Inval))),
            Self::Plain(_)
            | Self::SetAttr(..)
            | Self::Access(_)
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::ReadDir { .. } => Ok(()),
        }
    }

    /// True where the owner may act whatever the mode says (RFC 1813 §4.4).
    pub fn owner_may(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Write { .. } => true,
            Self::SetAttr(set, _) => set.size.is_some(),
            _ => false,
        }
    }

    /// The call itself.
    pub fn run(self, cx: Cx, id: FileId) -> CallFuture {
        if cx.options.read_only && cx.procedure.changes() {
            return Box::pin(names::read_only(cx, id));
        }
        match self {
            Self::Plain(P::GetAttr) => Box::pin(attr::getattr(cx, id)),
            Self::Plain(P::ReadLink) => Box::pin(names::readlink(cx, id)),
            Self::Plain(P::FsStat) => Box::pin(room::fsstat(cx, id)),
            Self::Plain(P::FsInfo) => Box::pin(room::fsinfo(cx, id)),
            Self::Plain(P::PathConf) => Box::pin(room::pathconf(cx, id)),
            // NULL never comes here: it has no handle.
            Self::Plain(_) => Box::pin(data::commit(cx, id)),
            Self::SetAttr(set, guard) => Box::pin(attr::setattr(cx, id, set, guard)),
            Self::Lookup(name) => Box::pin(names::lookup(cx, id, name)),
            Self::Access(want) => Box::pin(attr::access(cx, id, want)),
            Self::Read { offset, count } => Box::pin(data::read(cx, id, offset, count)),
            Self::Write { offset, stable, data } => {
                Box::pin(data::write(cx, id, offset, stable, data))
            }
            Self::Create(name, how) => Box::pin(make::create(cx, id, name, how)),
            Self::MkDir(name, set) => Box::pin(make::mkdir(cx, id, name, set)),
            Self::SymLink(name, set, target) => Box::pin(make::symlink(cx, id, name, set, target)),
            Self::MkNod(name, kind, set) => Box::pin(make::mknod(cx, id, name, kind, set)),
            Self::Remove(name) => Box::pin(names::remove(cx, id, name)),
            Self::RmDir(name) => Box::pin(names::rmdir(cx, id, name)),
            Self::Rename(from, dir, to) => Box::pin(names::rename(cx, id, from, dir, to)),
            Self::Link(dir, name) => Box::pin(names::link(cx, id, dir, name)),
            Self::ReadDir { cookie, dircount, count } => {
                Box::pin(dir::readdir(cx, id, cookie, dircount, count))
            }
        }
    }
}

/// RFC 1813 §3.2: names that are empty or hold illegal bytes get NFS3ERR_ACCES.
fn valid(name: &[u8]) -> Result<(), Status> {
    if name.len() > NAME_BYTES {
        return Err(Status::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|b| matches!(b, 0 | b'/')) {
        return Err(Status::Acces);
    }
    Ok(())
}

fn not_dots(name: &[u8], status: Status) -> Result<(), Status> {
    if matches!(name, b"." | b"..") { Err(status) } else { Ok(()) }
}
