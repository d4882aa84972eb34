//! Attributes: get, set, access, symlink targets.

use bytes::Bytes;
use headhunter::{Intent, Txn};
use inode::{Inode, Kind, Source};

use crate::{
    Access, Attributes, Caller, Changed, Context, Failure, FileId, FsError, MAX_FILE_BYTES, Right,
    SetAttributes, SetTime, Timestamp, Volume, Wcc,
    convert::{attributes, remember, touch, touch_content, unchanged, wcc},
    driver::Stop,
    rights::{
        EXEC, READ, SETGID, WRITE, in_group, is_root, may, may_write, owns, permits,
        without_privilege,
    },
};

/// RFC 1813 §3.3.4.
const ACCESS_READ: u32 = 1;
const ACCESS_LOOKUP: u32 = 2;
const ACCESS_MODIFY: u32 = 4;
const ACCESS_EXTEND: u32 = 8;
const ACCESS_DELETE: u32 = 16;
const ACCESS_EXECUTE: u32 = 32;

impl Volume {
    /// Attributes. `Stale` exactly when the inode is gone or of another generation.
    pub async fn getattr(&self, id: FileId) -> Result<Attributes, FsError> {
        let found = self.look(|view| Ok(attributes(&self.object(view, id)?))).await;
        found.map(|(a, _)| a).map_err(|f| f.error)
    }

    /// Sets attributes; with `guard`, only if ctime equals it (else `NotSync`).
    ///
    /// All or nothing. Owner or group `u32::MAX` means "leave". Setting the size moves mtime too.
    pub async fn setattr(
        &self,
        cx: &Context,
        id: FileId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Changed, Failure> {
        self.setattr_as(Right::Asked, cx, id, set, guard).await
    }

    /// As [`Volume::setattr`]; the length by that right.
    pub async fn setattr_as(
        &self,
        right: Right,
        cx: &Context,
        id: FileId,
        set: SetAttributes,
        guard: Option<Timestamp>,
    ) -> Result<Changed, Failure> {
        let now = self.now();
        let set = SetAttributes {
            uid: set.uid.filter(|u| *u != u32::MAX),
            gid: set.gid.filter(|g| *g != u32::MAX),
            ..set
        };
        // Adds nothing to the volume: truncating and changing owners goes on when it is full (R18).
        let intent = Intent::Shrink;
        let (wcc, seq) = self
            .change(intent, |txn| {
                let old = self.object(txn, id)?;
                self.set_in(txn, cx, &old, (right, &set), guard, now)
                    .map_err(|stop| stop.seen(&old))
            })
            .await?;
        Ok(Changed { wcc, seq })
    }

    fn set_in(
        &self,
        txn: &mut Txn<'_>,
        cx: &Context,
        old: &Inode,
        (right, set): (Right, &SetAttributes),
        guard: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Wcc, Stop> {
        if guard.is_some_and(|ctime| ctime != old.ctime) {
            return Err(FsError::NotSync.into());
        }
        may_set(right, &cx.caller, old, set)?;
        if *set == SetAttributes::default() {
            return Ok(unchanged(old));
        }
        let mut new = old.clone();
        if let Some(size) = set.size {
            self.files().truncate(txn, &mut new, size)?;
            new.mode = without_privilege(&cx.caller, old, new.mode, false);
            touch_content(&mut new, now);
        } else {
            touch(&mut new, now);
        }
        apply(&cx.caller, old, &mut new, set);
        self.files().save(txn, &mut new);
        remember(txn, cx, Some(old.id), None, None);
        Ok(wcc(old, &new))
    }

    /// Which of `want`'s bits the caller has, by the mode alone.
    ///
    /// DELETE on a directory needs write and search permission; whether the sticky bit protects an
    /// entry shows only when it is removed.
    pub async fn access(
        &self,
        caller: &Caller,
        id: FileId,
        want: Access,
    ) -> Result<(Access, Attributes), Failure> {
        let (inode, _view) = self.look(|view| self.object(view, id)).await?;
        let is_dir = inode.kind == Kind::Directory;
        let mut bits = 0;
        if permits(caller, &inode, READ) {
            bits |= ACCESS_READ;
        }
        if permits(caller, &inode, EXEC) {
            match inode.kind {
                Kind::Directory => bits |= ACCESS_LOOKUP,
                Kind::File => bits |= ACCESS_EXECUTE,
                _ => {}
            }
        }
        if permits(caller, &inode, WRITE) {
            bits |= ACCESS_MODIFY | ACCESS_EXTEND;
            if is_dir && permits(caller, &inode, EXEC) {
                bits |= ACCESS_DELETE;
            }
        }
        Ok((Access { bits: bits & want.bits }, attributes(&inode)))
    }

    /// Target of a symlink. `Inval` for anything else.
    pub async fn readlink(
        &self,
        _caller: &Caller,
        id: FileId,
    ) -> Result<(Bytes, Attributes), Failure> {
        let (found, _view) = self
            .look(|view| {
                let inode = self.object(view, id)?;
                if inode.kind != Kind::Symlink {
                    return Err(Stop::from(FsError::Inval).seen(&inode));
                }
                Ok((self.files().target(view, id.ino)?, attributes(&inode)))
            })
            .await?;
        Ok(found)
    }

    /// The inode, or `Stale`.
    pub(crate) fn object(&self, from: &impl Source, id: FileId) -> Result<Inode, Stop> {
        self.files().load(from, id)?.ok_or_else(|| FsError::Stale.into())
    }

    /// The server's wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.index().env().clock.wall().into()
    }
}

/// The checks of setattr, in the order in which Linux makes them.
fn may_set(
    right: Right,
    caller: &Caller,
    inode: &Inode,
    set: &SetAttributes,
) -> Result<(), FsError> {
    if let Some(size) = set.size {
        match inode.kind {
            Kind::File => {}
            Kind::Directory => return Err(FsError::IsDir),
            _ => return Err(FsError::Inval),
        }
        if right == Right::Asked {
            may_write(caller, inode)?;
        }
        if size > MAX_FILE_BYTES {
            return Err(FsError::FBig);
        }
    }
    let owner = caller.uid == inode.uid;
    if let Some(uid) = set.uid
        && !is_root(caller)
        && !(owner && uid == inode.uid)
    {
        return Err(FsError::Perm);
    }
    if let Some(gid) = set.gid
        && !is_root(caller)
        && !(owner && (gid == inode.gid || in_group(caller, gid)))
    {
        return Err(FsError::Perm);
    }
    if set.mode.is_some() && !owns(caller, inode) {
        return Err(FsError::Perm);
    }
    let explicit = matches!(set.atime, SetTime::To(_)) || matches!(set.mtime, SetTime::To(_));
    if explicit && !owns(caller, inode) {
        return Err(FsError::Perm);
    }
    let server_time = set.atime == SetTime::Now || set.mtime == SetTime::Now;
    // With a size the write right was checked already, and clients send the time along.
    if server_time && !owns(caller, inode) && set.size.is_none() {
        may(caller, inode, WRITE)?;
    }
    Ok(())
}

/// Sets what [`may_set`] allowed, but for the size. `new` has its ctime already.
pub(crate) fn apply(caller: &Caller, old: &Inode, new: &mut Inode, set: &SetAttributes) {
    if let Some(uid) = set.uid {
        new.uid = uid;
    }
    if let Some(gid) = set.gid {
        new.gid = gid;
    }
    if let Some(mode) = set.mode {
        new.mode = mode & 0o7777;
        if !is_root(caller) && !in_group(caller, new.gid) {
            new.mode &= !SETGID;
        }
    }
    if set.uid.is_some() || set.gid.is_some() {
        new.mode = without_privilege(caller, old, new.mode, true);
    }
    match set.atime {
        SetTime::Keep => {}
        SetTime::Now => new.atime = new.ctime,
        SetTime::To(time) => new.atime = time,
    }
    match set.mtime {
        SetTime::Keep => {}
        SetTime::Now => new.mtime = new.ctime,
        SetTime::To(time) => new.mtime = time,
    }
}
