//! Names: look up, make, remove, link.

use headhunter::{Intent, Seq, Txn, seam::TRACE};
use inode::{FileId, Inode, Kind, Slot, Source};

use crate::{
    Attributes, Caller, Changed, Context, CreateHow, Failure, FsError, Made, Moved, NodeKind,
    SetAttributes, TARGET_BYTES, Timestamp, Volume, Wcc,
    attrs::apply,
    convert::{attributes, remember, touch, touch_content, unchanged, wcc},
    driver::Stop,
    rights::{
        EXEC, SETGID, WRITE, check_name, in_group, is_dots, is_root, may, may_erase, may_write,
        without_privilege,
    },
};

/// Log bytes that a new name is admitted with.
const NAME_COST: u64 = 1_024;

/// What is to be made.
struct New<'a> {
    kind: Kind,
    rdev: (u32, u32),
    target: &'a [u8],
    set: SetAttributes,
    /// How CREATE treats what exists; `None`: refuse.
    how: Option<&'a CreateHow>,
}

/// What making came to.
struct Outcome {
    object: Attributes,
    dir: Wcc,
    /// True when the fresh inode number went into the record.
    used: bool,
    /// Of an object that existed: what makes it durable.
    existing: Option<Seq>,
}

impl Volume {
    /// Looks `name` up (`.` and `..` too). Gives object and directory of one moment.
    pub async fn lookup(
        &self,
        caller: &Caller,
        dir: FileId,
        name: &[u8],
    ) -> Result<(Attributes, Attributes), Failure> {
        let (found, _view) = self
            .look(|view| {
                let dir = self.directory(view, dir)?;
                let found = self.lookup_in(view, caller, &dir, name);
                Ok((found.map_err(|stop| stop.seen(&dir))?, attributes(&dir)))
            })
            .await?;
        Ok(found)
    }

    fn lookup_in(
        &self,
        from: &impl Source,
        caller: &Caller,
        dir: &Inode,
        name: &[u8],
    ) -> Result<Attributes, Stop> {
        may(caller, dir, EXEC)?;
        match name {
            b"." => return Ok(attributes(dir)),
            // Above a removed directory that is held there may be nothing any more.
            b".." if dir.nlink == 0 => {
                let parent = self.files().load_number(from, dir.parent)?;
                return Ok(attributes(&parent.ok_or(FsError::NoEnt)?));
            }
            b".." => return Ok(attributes(&self.named(from, dir.parent)?)),
            _ => check_name(name)?,
        }
        let slot = self.files().find(from, dir.id.ino, name)?;
        let entry = slot.entry().ok_or(FsError::NoEnt)?;
        Ok(attributes(&self.named(from, entry.id.ino)?))
    }

    /// Makes or opens a regular file.
    pub async fn create(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        how: CreateHow,
    ) -> Result<Made, Failure> {
        let set = match &how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => set.clone(),
            CreateHow::Exclusive(_) => SetAttributes::default(),
        };
        let new = New { kind: Kind::File, rdev: (0, 0), target: b"", set, how: Some(&how) };
        tracing::debug!(target: TRACE, directory = dir.ino, "create");
        let made = self.make(cx, dir, name, &new).await?;
        tracing::debug!(target: TRACE, inode = made.object.id.ino, seq = made.seq.0, "created");
        Ok(made)
    }

    /// Makes a directory.
    pub async fn mkdir(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        set: SetAttributes,
    ) -> Result<Made, Failure> {
        let new = New { kind: Kind::Directory, rdev: (0, 0), target: b"", set, how: None };
        self.make(cx, dir, name, &new).await
    }

    /// Makes a symlink.
    ///
    /// `Inval`: an empty target, or one with a NUL. `NameTooLong`: over [`TARGET_BYTES`].
    pub async fn symlink(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        target: &[u8],
        set: SetAttributes,
    ) -> Result<Made, Failure> {
        if target.len() > TARGET_BYTES {
            return Err(FsError::NameTooLong.into());
        }
        if target.is_empty() || target.contains(&0) {
            return Err(FsError::Inval.into());
        }
        // A link's own mode means nothing and is always the same.
        let set = SetAttributes { mode: Some(0o777), size: None, ..set };
        let new = New { kind: Kind::Symlink, rdev: (0, 0), target, set, how: None };
        self.make(cx, dir, name, &new).await
    }

    /// Makes a device, fifo or socket.
    pub async fn mknod(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        kind: NodeKind,
        set: SetAttributes,
    ) -> Result<Made, Failure> {
        let (kind, rdev) = match kind {
            NodeKind::Fifo => (Kind::Fifo, (0, 0)),
            NodeKind::Socket => (Kind::Socket, (0, 0)),
            NodeKind::Char(major, minor) => (Kind::Char, (major, minor)),
            NodeKind::Block(major, minor) => (Kind::Block, (major, minor)),
        };
        let set = SetAttributes { size: None, ..set };
        self.make(cx, dir, name, &New { kind, rdev, target: b"", set, how: None }).await
    }

    async fn make(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        new: &New<'_>,
    ) -> Result<Made, Failure> {
        let ino = self.files().take_number().await.map_err(|e| crate::driver::failed(&e))?;
        let now = self.now();
        let bytes = NAME_COST + new.target.len() as u64;
        let made = self
            .change(Intent::Grow { bytes }, |txn| {
                let old = self.living_directory(txn, dir)?;
                self.make_in(txn, cx, &old, name, new, ino, now).map_err(|stop| stop.seen(&old))
            })
            .await;
        match made {
            Ok((outcome, seq)) => {
                if !outcome.used {
                    self.files().return_number(ino);
                }
                let Outcome { object, dir, existing, .. } = outcome;
                Ok(Made { object, dir, seq: existing.unwrap_or(seq) })
            }
            Err(failure) => {
                self.files().return_number(ino);
                Err(failure)
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // one call, one place
    fn make_in(
        &self,
        txn: &mut Txn<'_>,
        cx: &Context,
        old: &Inode,
        name: &[u8],
        new: &New<'_>,
        ino: u64,
        now: Timestamp,
    ) -> Result<Outcome, Stop> {
        may(&cx.caller, old, EXEC)?;
        if is_dots(name) {
            return Err(FsError::Exist.into());
        }
        check_name(name)?;
        let slot = self.files().find(txn, old.id.ino, name)?;
        if let Some(entry) = slot.entry() {
            let existing = self.named(txn, entry.id.ino)?;
            return self.make_existing(txn, cx, old, &existing, new.how, now);
        }
        may(&cx.caller, old, WRITE)?;
        if matches!(new.kind, Kind::Block | Kind::Char) && !is_root(&cx.caller) {
            return Err(FsError::Perm.into());
        }
        let mut dir = old.clone();
        if new.kind == Kind::Directory {
            if dir.nlink >= self.files().most_links() {
                return Err(FsError::MLink.into());
            }
            dir.nlink += 1;
        }
        let id = FileId { ino, generation: txn.epoch() };
        let mut inode = first_attributes(&cx.caller, old, id, new, now);
        match new.kind {
            Kind::Symlink => self.files().set_target(txn, &mut inode, new.target),
            Kind::File => inode.size = new.set.size.unwrap_or(0),
            _ => {}
        }
        if inode.size > crate::MAX_FILE_BYTES {
            return Err(FsError::FBig.into());
        }
        self.files().insert(txn, &mut dir, &slot, name, (inode.kind, id))?;
        self.files().count_made(txn)?;
        self.files().save(txn, &mut inode);
        touch_content(&mut dir, now);
        self.files().save(txn, &mut dir);
        remember(txn, cx, Some(id), Some(old.id), None);
        Ok(Outcome { object: attributes(&inode), dir: wcc(old, &dir), used: true, existing: None })
    }

    /// CREATE of a name that exists.
    fn make_existing(
        &self,
        txn: &mut Txn<'_>,
        cx: &Context,
        dir: &Inode,
        existing: &Inode,
        how: Option<&CreateHow>,
        now: Timestamp,
    ) -> Result<Outcome, Stop> {
        let same = |object: Attributes| Outcome {
            object,
            dir: unchanged(dir),
            used: false,
            existing: Some(existing.last),
        };
        let is_file = existing.kind == Kind::File;
        match how {
            Some(CreateHow::Exclusive(verifier))
                if is_file && existing.verifier == Some(*verifier) =>
            {
                Ok(same(attributes(existing)))
            }
            Some(CreateHow::Unchecked(set)) if is_file => {
                let Some(size) = set.size else { return Ok(same(attributes(existing))) };
                may_write(&cx.caller, existing)?;
                if size > crate::MAX_FILE_BYTES {
                    return Err(FsError::FBig.into());
                }
                let mut inode = existing.clone();
                self.files().truncate(txn, &mut inode, size)?;
                inode.mode = without_privilege(&cx.caller, existing, inode.mode, false);
                touch_content(&mut inode, now);
                self.files().save(txn, &mut inode);
                remember(txn, cx, Some(inode.id), Some(dir.id), None);
                Ok(Outcome { existing: None, ..same(attributes(&inode)) })
            }
            Some(CreateHow::Unchecked(_)) if existing.kind == Kind::Directory => {
                Err(FsError::IsDir.into())
            }
            _ => Err(FsError::Exist.into()),
        }
    }

    /// Removes a name that is not a directory.
    pub async fn remove(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Changed, Failure> {
        self.erase(cx, dir, name, false).await
    }

    /// Removes an empty directory.
    pub async fn rmdir(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Changed, Failure> {
        self.erase(cx, dir, name, true).await
    }

    async fn erase(
        &self,
        cx: &Context,
        dir: FileId,
        name: &[u8],
        directory: bool,
    ) -> Result<Changed, Failure> {
        let now = self.now();
        let (wcc, seq) = self
            .change(Intent::Shrink, |txn| {
                let old = self.directory(txn, dir)?;
                self.erase_in(txn, cx, &old, name, directory, now).map_err(|stop| stop.seen(&old))
            })
            .await?;
        Ok(Changed { wcc, seq })
    }

    fn erase_in(
        &self,
        txn: &mut Txn<'_>,
        cx: &Context,
        old: &Inode,
        name: &[u8],
        directory: bool,
        now: Timestamp,
    ) -> Result<Wcc, Stop> {
        may(&cx.caller, old, EXEC)?;
        match (name, directory) {
            (b"." | b"..", false) => return Err(FsError::IsDir.into()),
            (b".", true) => return Err(FsError::Inval.into()),
            (b"..", true) => return Err(FsError::NotEmpty.into()),
            _ => check_name(name)?,
        }
        let slot = self.files().find(txn, old.id.ino, name)?;
        let entry = slot.entry().ok_or(FsError::NoEnt)?;
        let mut victim = self.named(txn, entry.id.ino)?;
        may_erase(&cx.caller, old, &victim)?;
        match (directory, victim.kind) {
            (true, Kind::Directory) | (false, Kind::File) => {}
            (true, _) => return Err(FsError::NotDir.into()),
            (false, Kind::Directory) => return Err(FsError::IsDir.into()),
            (false, _) => {}
        }
        if directory && !self.files().is_empty_dir(txn, victim.id.ino)? {
            return Err(FsError::NotEmpty.into());
        }
        let mut dir = old.clone();
        self.files().erase(txn, &mut dir, entry);
        self.drop_link(txn, &mut dir, &mut victim, now)?;
        touch_content(&mut dir, now);
        self.files().save(txn, &mut dir);
        remember(txn, cx, Some(victim.id), Some(old.id), None);
        Ok(wcc(old, &dir))
    }

    /// One name of `victim`, in `dir`, is gone. `dir` is changed, not saved.
    pub(crate) fn drop_link(
        &self,
        txn: &mut Txn<'_>,
        dir: &mut Inode,
        victim: &mut Inode,
        now: Timestamp,
    ) -> Result<(), Stop> {
        if victim.kind == Kind::Directory {
            dir.nlink = dir.nlink.saturating_sub(1);
            victim.nlink = 0;
        } else {
            victim.nlink = victim.nlink.saturating_sub(1);
        }
        touch(victim, now);
        if victim.nlink == 0 {
            self.files().unlinked(txn, victim)?;
        } else {
            self.files().save(txn, victim);
        }
        Ok(())
    }

    /// Adds a hard link `name` in `dir` to `file`. Gives the file's and the directory's attributes.
    pub async fn link(
        &self,
        cx: &Context,
        file: FileId,
        dir: FileId,
        name: &[u8],
    ) -> Result<Moved, Failure> {
        let now = self.now();
        let ((from, to), seq) = self
            .change(Intent::Grow { bytes: NAME_COST }, |txn| {
                let file = self.object(txn, file)?;
                let dir = self.living_directory(txn, dir).map_err(|stop| stop.seen(&file))?;
                self.link_in(txn, cx, &file, &dir, name, now)
                    .map_err(|stop| stop.seen(&file).seen_other(&dir))
            })
            .await?;
        Ok(Moved { from, to, seq })
    }

    fn link_in(
        &self,
        txn: &mut Txn<'_>,
        cx: &Context,
        file: &Inode,
        old: &Inode,
        name: &[u8],
        now: Timestamp,
    ) -> Result<(Wcc, Wcc), Stop> {
        may(&cx.caller, old, EXEC)?;
        if is_dots(name) {
            return Err(FsError::Exist.into());
        }
        check_name(name)?;
        let slot = self.files().find(txn, old.id.ino, name)?;
        if let Slot::Taken(_) = slot {
            return Err(FsError::Exist.into());
        }
        may(&cx.caller, old, WRITE)?;
        if file.kind == Kind::Directory {
            return Err(FsError::Perm.into());
        }
        if file.nlink == 0 {
            return Err(FsError::NoEnt.into());
        }
        if file.nlink >= self.files().most_links() {
            return Err(FsError::MLink.into());
        }
        let (mut inode, mut dir) = (file.clone(), old.clone());
        inode.nlink += 1;
        touch(&mut inode, now);
        self.files().save(txn, &mut inode);
        self.files().insert(txn, &mut dir, &slot, name, (inode.kind, inode.id))?;
        touch_content(&mut dir, now);
        self.files().save(txn, &mut dir);
        remember(txn, cx, Some(file.id), Some(old.id), Some(old.id));
        Ok((wcc(file, &inode), wcc(old, &dir)))
    }

    /// The directory, or `Stale` or `NotDir`.
    pub(crate) fn directory(&self, from: &impl Source, id: FileId) -> Result<Inode, Stop> {
        let dir = self.object(from, id)?;
        if dir.kind != Kind::Directory {
            return Err(Stop::from(FsError::NotDir).seen(&dir));
        }
        Ok(dir)
    }

    /// A directory in which names may be made: not one that is removed and only held open.
    pub(crate) fn living_directory(&self, from: &impl Source, id: FileId) -> Result<Inode, Stop> {
        let dir = self.directory(from, id)?;
        if dir.nlink == 0 {
            return Err(Stop::from(FsError::NoEnt).seen(&dir));
        }
        Ok(dir)
    }

    /// The inode that an entry or a `..` names: its absence is damage.
    pub(crate) fn named(&self, from: &impl Source, ino: u64) -> Result<Inode, Stop> {
        self.files().load_number(from, ino)?.ok_or_else(|| {
            tracing::error!("damaged: a name leads to inode {ino}, which is absent");
            FsError::Io.into()
        })
    }
}

/// Attributes of a new inode: owner, group and mode as Linux gives them in `dir`.
fn first_attributes(
    caller: &Caller,
    dir: &Inode,
    id: FileId,
    new: &New<'_>,
    now: Timestamp,
) -> Inode {
    let mut inode = Inode::new(id, new.kind);
    let is_dir = new.kind == Kind::Directory;
    inode.nlink = if is_dir { 2 } else { 1 };
    inode.rdev = new.rdev;
    if is_dir {
        inode.parent = dir.id.ino;
    }
    inode.uid = caller.uid;
    let inherits = dir.mode & SETGID != 0;
    inode.gid = if inherits { dir.gid } else { caller.gid };
    (inode.atime, inode.mtime, inode.ctime) = (now, now, now);
    if let Some(CreateHow::Exclusive(verifier)) = new.how {
        inode.verifier = Some(*verifier);
    }
    // Who may not give files away still gets the file, as his own.
    let set = SetAttributes {
        uid: new.set.uid.filter(|u| is_root(caller) && *u != u32::MAX),
        gid: new.set.gid.filter(|g| {
            *g != u32::MAX && (is_root(caller) || in_group(caller, *g) || *g == inode.gid)
        }),
        ..new.set.clone()
    };
    let mode = set.mode.unwrap_or(0);
    let owner = SetAttributes { mode: None, ..set };
    let old = inode.clone();
    apply(caller, &old, &mut inode, &owner);
    inode.mode = mode & 0o7777;
    if !is_root(caller) && !in_group(caller, inode.gid) {
        inode.mode &= !SETGID;
    }
    if is_dir && inherits {
        inode.mode |= SETGID;
    }
    inode
}
