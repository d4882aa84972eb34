//! Rename in all its cases.

use headhunter::{Intent, Txn};
use inode::{FileId, Inode, Kind, Source};

use crate::{
    Context, Failure, FsError, Moved, Timestamp, Volume, Wcc,
    convert::{remember, touch, touch_content, unchanged, wcc},
    driver::Stop,
    rights::{EXEC, WRITE, check_name, is_dots, may, may_erase},
};

/// Deepest directory whose ancestors are walked; beyond it the tree must be damaged.
const DEPTH: u32 = 1 << 20;

/// The two directories, which may be one.
struct Dirs {
    from: Inode,
    to: Option<Inode>,
}

impl Dirs {
    fn to(&self) -> &Inode {
        self.to.as_ref().unwrap_or(&self.from)
    }
    fn to_mut(&mut self) -> &mut Inode {
        self.to.as_mut().unwrap_or(&mut self.from)
    }
}

impl Volume {
    /// Renames, replacing the target as rename(2) does. Two names of one inode: nothing is done.
    pub async fn rename(
        &self,
        cx: &Context,
        from_dir: FileId,
        from: &[u8],
        to_dir: FileId,
        to: &[u8],
    ) -> Result<Moved, Failure> {
        self.rename_as(cx, (from_dir, from), (to_dir, to), true).await
    }

    /// As [`Volume::rename`]; without `replace`, `Exist` where the new name exists (renameat2(2),
    /// RENAME_NOREPLACE).
    pub async fn rename_as(
        &self,
        cx: &Context,
        (from_dir, from): (FileId, &[u8]),
        (to_dir, to): (FileId, &[u8]),
        replace: bool,
    ) -> Result<Moved, Failure> {
        let now = self.now();
        let ((from, to), seq) = self
            // Admitted as removals are: a client that removes a file which somebody has open renames
            // it, and on a full volume that must go through (R18).
            .change(Intent::Shrink, |txn| {
                let a = self.directory(txn, from_dir)?;
                let b = self.living_directory(txn, to_dir).map_err(|stop| stop.seen(&a))?;
                self.rename_in(txn, cx, (&a, from), (&b, to), (replace, now))
                    .map_err(|stop| stop.seen(&a).seen_other(&b))
            })
            .await?;
        Ok(Moved { from, to, seq })
    }

    fn rename_in(
        &self,
        txn: &mut Txn<'_>,
        cx: &Context,
        (a, from): (&Inode, &[u8]),
        (b, to): (&Inode, &[u8]),
        (replace, now): (bool, Timestamp),
    ) -> Result<(Wcc, Wcc), Stop> {
        let caller = &cx.caller;
        may(caller, a, EXEC)?;
        may(caller, b, EXEC)?;
        if is_dots(from) || is_dots(to) {
            return Err(FsError::Inval.into());
        }
        check_name(from)?;
        check_name(to)?;
        let source_slot = self.files().find(txn, a.id.ino, from)?;
        let source_entry = source_slot.entry().ok_or(FsError::NoEnt)?;
        let target_slot = self.files().find(txn, b.id.ino, to)?;
        if !replace && target_slot.entry().is_some() {
            return Err(FsError::Exist.into());
        }
        let mut source = self.named(txn, source_entry.id.ino)?;
        let mut target = match target_slot.entry() {
            Some(entry) => Some(self.named(txn, entry.id.ino)?),
            None => None,
        };
        self.check_ancestry(txn, (a, b), &source, target.as_ref())?;
        if target.as_ref().is_some_and(|t| t.id == source.id) {
            return Ok((unchanged(a), unchanged(b)));
        }
        let crossing = source.kind == Kind::Directory && a.id != b.id;
        self.may_rename(txn, cx, (a, b), &source, target.as_ref())?;

        let mut dirs = Dirs { from: a.clone(), to: (a.id != b.id).then(|| b.clone()) };
        match (&mut target, target_slot.entry()) {
            (Some(victim), Some(entry)) => {
                self.files().replace(txn, b.id.ino, entry, (source.kind, source.id));
                self.drop_link(txn, dirs.to_mut(), victim, now)?;
            }
            _ => {
                let named = (source.kind, source.id);
                self.files().insert(txn, dirs.to_mut(), &target_slot, to, named)?;
            }
        }
        self.files().erase(txn, &mut dirs.from, source_entry);
        if crossing {
            dirs.from.nlink = dirs.from.nlink.saturating_sub(1);
            dirs.to_mut().nlink += 1;
            source.parent = b.id.ino;
        }
        touch(&mut source, now);
        self.files().save(txn, &mut source);
        touch_content(&mut dirs.from, now);
        self.files().save(txn, &mut dirs.from);
        if let Some(to) = &mut dirs.to {
            touch_content(to, now);
            self.files().save(txn, to);
        }
        remember(txn, cx, Some(source.id), Some(a.id), Some(b.id));
        Ok((wcc(a, &dirs.from), wcc(b, dirs.to())))
    }

    /// A directory cannot go below itself (`Inval`), and what is above the source is not empty.
    fn check_ancestry(
        &self,
        txn: &Txn<'_>,
        (a, b): (&Inode, &Inode),
        source: &Inode,
        target: Option<&Inode>,
    ) -> Result<(), Stop> {
        if a.id == b.id {
            return Ok(());
        }
        if source.kind == Kind::Directory && self.is_at_or_above(txn, source.id.ino, b)? {
            return Err(FsError::Inval.into());
        }
        match target {
            Some(t) if t.kind == Kind::Directory && self.is_at_or_above(txn, t.id.ino, a)? => {
                Err(FsError::NotEmpty.into())
            }
            _ => Ok(()),
        }
    }

    /// True if `ino` is `dir` or one of the directories above it.
    fn is_at_or_above(&self, from: &impl Source, ino: u64, dir: &Inode) -> Result<bool, Stop> {
        let (mut at, mut up) = (dir.id.ino, dir.parent);
        for _ in 0..DEPTH {
            if at == ino {
                return Ok(true);
            }
            if at == inode::ROOT {
                return Ok(false);
            }
            let above = self.named(from, up)?;
            (at, up) = (above.id.ino, above.parent);
        }
        tracing::error!("damaged: directory {} has no way to the root", dir.id.ino);
        Err(FsError::Io.into())
    }

    /// Rights and kinds, in the order in which Linux looks at them.
    fn may_rename(
        &self,
        txn: &Txn<'_>,
        cx: &Context,
        (a, b): (&Inode, &Inode),
        source: &Inode,
        target: Option<&Inode>,
    ) -> Result<(), Stop> {
        let caller = &cx.caller;
        may_erase(caller, a, source)?;
        let moves_dir = source.kind == Kind::Directory;
        match target {
            None => may(caller, b, WRITE)?,
            Some(target) => {
                may_erase(caller, b, target)?;
                match (moves_dir, target.kind == Kind::Directory) {
                    (true, false) => return Err(FsError::NotDir.into()),
                    (false, true) => return Err(FsError::IsDir.into()),
                    _ => {}
                }
            }
        }
        // Its `..` is going to be written.
        if moves_dir && a.id != b.id {
            may(caller, source, WRITE)?;
        }
        if let Some(target) = target
            && moves_dir
            && !self.files().is_empty_dir(txn, target.id.ino)?
        {
            return Err(FsError::NotEmpty.into());
        }
        if moves_dir && a.id != b.id && target.is_none() && b.nlink >= self.files().most_links() {
            return Err(FsError::MLink.into());
        }
        Ok(())
    }
}
