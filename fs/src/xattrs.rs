//! Extended attributes: `user.`, `trusted.` and `security.`, with Linux's rights (xattr(7)).

use bytes::Bytes;
use headhunter::Intent;
use inode::{Inode, Kind, limits};

use crate::{
    Caller, Changed, Context, Failure, FileId, FsError, NAME_BYTES, Volume,
    convert::{remember, touch, wcc},
    driver::Stop,
    rights::{READ, STICKY, WRITE, is_root, may, owns},
};

#[derive(Clone, Copy, PartialEq)]
enum Namespace {
    User,
    Trusted,
    Security,
}

impl Volume {
    /// Value of an extended attribute. `NoData`: it has none of that name.
    pub async fn getxattr(
        &self,
        caller: &Caller,
        id: FileId,
        name: &[u8],
    ) -> Result<Bytes, FsError> {
        let found = self
            .look(|view| {
                let inode = self.object(view, id)?;
                may_get(caller, &inode, namespace(name)?)?;
                let value = self.files().xattr(view, id.ino, name)?;
                value.ok_or_else(|| FsError::NoData.into())
            })
            .await;
        found.map(|(value, _)| value).map_err(|f| f.error)
    }

    /// Sets (or with `None` removes) an extended attribute. `create`/`replace` as in setxattr(2).
    ///
    /// `Range`: a value over 64 KiB. `NoSpc`: over 256 KiB of names and values on one inode.
    pub async fn setxattr(
        &self,
        cx: &Context,
        id: FileId,
        name: &[u8],
        value: Option<&[u8]>,
        create: bool,
        replace: bool,
    ) -> Result<Changed, Failure> {
        let now = self.now();
        let intent = match value {
            Some(value) => Intent::Grow { bytes: (value.len() + name.len()) as u64 },
            None => Intent::Shrink,
        };
        let (wcc, seq) = self
            .change(intent, |txn| {
                let old = self.object(txn, id)?;
                let refuse = |stop: Stop| stop.seen(&old);
                let checked = namespace(name).and_then(|space| may_change(&cx.caller, &old, space));
                checked.map_err(|e| refuse(e.into()))?;
                let len = value.map_or(0, <[u8]>::len);
                if len > limits::XATTR_BYTES {
                    return Err(refuse(FsError::Range.into()));
                }
                if len > self.index().payload_bytes() {
                    return Err(refuse(FsError::NoSpc.into())); // a very small volume
                }
                let exists = self.files().xattr(txn, id.ino, name)?.is_some();
                match (exists, value.is_some()) {
                    (true, true) if create => return Err(refuse(FsError::Exist.into())),
                    (false, set) if replace || !set => return Err(refuse(FsError::NoData.into())),
                    _ => {}
                }
                if let Some(value) = value {
                    let others = self.files().xattr_weight(txn, id.ino, name)?;
                    let own = name.len() + value.len() + limits::XATTR_EACH_BYTES;
                    if others + own > limits::XATTR_TOTAL_BYTES {
                        return Err(refuse(FsError::NoSpc.into()));
                    }
                }
                self.files().set_xattr(txn, id.ino, name, value)?;
                let mut new = old.clone();
                touch(&mut new, now);
                self.files().save(txn, &mut new);
                remember(txn, cx, Some(id), None, None);
                Ok(wcc(&old, &new))
            })
            .await?;
        Ok(Changed { wcc, seq })
    }

    /// Names of the extended attributes; `trusted.` ones only for root.
    pub async fn listxattr(&self, caller: &Caller, id: FileId) -> Result<Vec<Bytes>, FsError> {
        let found = self
            .look(|view| {
                self.object(view, id)?;
                Ok(self.files().xattrs(view, id.ino)?)
            })
            .await;
        let (names, _view) = found.map_err(|f| f.error)?;
        let shown = |name: &Bytes| is_root(caller) || !name.starts_with(b"trusted.");
        Ok(names.into_iter().map(|(name, _)| name).filter(shown).collect())
    }
}

fn namespace(name: &[u8]) -> Result<Namespace, FsError> {
    let spaces: [(&[u8], Namespace); 3] = [
        (b"user.", Namespace::User),
        (b"trusted.", Namespace::Trusted),
        (b"security.", Namespace::Security),
    ];
    if name.len() > NAME_BYTES {
        return Err(FsError::Range);
    }
    for (prefix, space) in spaces {
        if let Some(rest) = name.strip_prefix(prefix) {
            let bad = rest.is_empty() || rest.contains(&0);
            return if bad { Err(FsError::Inval) } else { Ok(space) };
        }
    }
    Err(FsError::NotSupp)
}

fn holds_user(inode: &Inode) -> bool {
    matches!(inode.kind, Kind::File | Kind::Directory)
}

fn may_get(caller: &Caller, inode: &Inode, space: Namespace) -> Result<(), FsError> {
    match space {
        Namespace::User if !holds_user(inode) => Err(FsError::NoData),
        Namespace::User => may(caller, inode, READ),
        // Whoever is not trusted does not even learn that it is there.
        Namespace::Trusted if !is_root(caller) => Err(FsError::NoData),
        Namespace::Trusted | Namespace::Security => Ok(()),
    }
}

fn may_change(caller: &Caller, inode: &Inode, space: Namespace) -> Result<(), FsError> {
    match space {
        Namespace::User if !holds_user(inode) => Err(FsError::Perm),
        Namespace::User => {
            let sticky_dir = inode.kind == Kind::Directory && inode.mode & STICKY != 0;
            if sticky_dir && !owns(caller, inode) {
                return Err(FsError::Perm);
            }
            may(caller, inode, WRITE)
        }
        _ if is_root(caller) => Ok(()),
        _ => Err(FsError::Perm),
    }
}
