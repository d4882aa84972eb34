//! The state of a simulated disk: what programs see, what is on the platter, what lies between.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Component, Path},
};

use crate::disk::{Identity, plan::Plan};

/// Number of an inode; the root is [`ROOT`].
pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 1;

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// A change of a file's bytes that is not yet on the platter.
#[derive(Clone, Debug)]
pub(super) enum DataChange {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A change of names that is not yet on the platter.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Add {
        dir: Ino,
        name: OsString,
        ino: Ino,
    },
    Remove {
        dir: Ino,
        name: OsString,
        ino: Ino,
    },
    /// Both ends or neither, as every journalling file system has it.
    Rename {
        from: (Ino, OsString),
        to: (Ino, OsString),
        ino: Ino,
    },
}

impl NameChange {
    fn concerns(&self, dir: Ino) -> bool {
        match self {
            Self::Add { dir: d, .. } | Self::Remove { dir: d, .. } => *d == dir,
            Self::Rename { from, to, .. } => from.0 == dir || to.0 == dir,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    /// What programs read.
    pub(super) seen: Vec<u8>,
    /// What a crash leaves for certain.
    pub(super) durable: Vec<u8>,
    /// What lies between, oldest first.
    pub(super) pending: Vec<DataChange>,
}

pub(super) type Names = BTreeMap<OsString, Ino>;

#[derive(Clone, Debug, Default)]
pub(super) struct DirState {
    pub(super) seen: Names,
    pub(super) durable: Names,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(FileState),
    Dir(DirState),
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) body: Body,
    /// Names that stand for it, as programs see it.
    pub(super) links: u32,
    /// Open files of it.
    pub(super) handles: u32,
}

/// Everything.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) inodes: BTreeMap<Ino, Inode>,
    pub(super) next_ino: Ino,
    /// Changes of names in the order made, over all directories.
    pub(super) names: Vec<NameChange>,
    /// Holder (handle) of each locked file.
    pub(super) locks: BTreeMap<Ino, u64>,
    /// Open files, by handle.
    pub(super) open: BTreeMap<u64, Ino>,
    /// Processes that may still use the disk.
    pub(super) alive: BTreeSet<u64>,
    pub(super) next_process: u64,
    pub(super) next_handle: u64,
    pub(super) capacity: Option<u64>,
    /// Bytes of all files that have a name or a handle.
    pub(super) used: u64,
    pub(super) plan: Plan,
}

impl World {
    pub(super) fn new() -> Self {
        let root = Inode { body: Body::Dir(DirState::default()), links: 1, handles: 0 };
        Self {
            inodes: BTreeMap::from([(ROOT, root)]),
            next_ino: ROOT + 1,
            names: Vec::new(),
            locks: BTreeMap::new(),
            open: BTreeMap::new(),
            alive: BTreeSet::new(),
            next_process: 0,
            next_handle: 0,
            capacity: None,
            used: 0,
            plan: Plan::default(),
        }
    }

    pub(super) fn dir(&self, ino: Ino) -> io::Result<&DirState> {
        match self.inodes.get(&ino).map(|i| &i.body) {
            Some(Body::Dir(dir)) => Ok(dir),
            Some(Body::File(_)) => Err(errno(libc::ENOTDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    fn dir_mut(&mut self, ino: Ino) -> io::Result<&mut DirState> {
        match self.inodes.get_mut(&ino).map(|i| &mut i.body) {
            Some(Body::Dir(dir)) => Ok(dir),
            Some(Body::File(_)) => Err(errno(libc::ENOTDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }

    pub(super) fn file(&self, ino: Ino) -> io::Result<&FileState> {
        match self.inodes.get(&ino).map(|i| &i.body) {
            Some(Body::File(file)) => Ok(file),
            _ => Err(errno(libc::EISDIR)),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> io::Result<&mut FileState> {
        match self.inodes.get_mut(&ino).map(|i| &mut i.body) {
            Some(Body::File(file)) => Ok(file),
            _ => Err(errno(libc::EISDIR)),
        }
    }

    /// The inode at `path`.
    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for part in path.components() {
            match part {
                Component::Normal(name) => {
                    let found = self.dir(at)?.seen.get(name).copied();
                    at = found.ok_or_else(|| errno(libc::ENOENT))?;
                }
                Component::RootDir | Component::CurDir => {}
                // The simulated disk has no parents to go up to, nor links to follow.
                Component::ParentDir | Component::Prefix(_) => return Err(errno(libc::EINVAL)),
            }
        }
        Ok(at)
    }

    /// The directory that holds `path`, and the name in it.
    pub(super) fn parent(&self, path: &Path) -> io::Result<(Ino, OsString)> {
        let name = path.file_name().ok_or_else(|| errno(libc::EINVAL))?;
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.dir(dir)?;
        Ok((dir, name.to_owned()))
    }

    pub(super) fn identity(ino: Ino) -> Identity {
        (0x51, ino)
    }

    fn absent(&self, dir: Ino, name: &OsString) -> io::Result<()> {
        if self.dir(dir)?.seen.contains_key(name) { Err(errno(libc::EEXIST)) } else { Ok(()) }
    }

    /// A new file or directory under `path`.
    pub(super) fn create(&mut self, path: &Path, body: Body) -> io::Result<Ino> {
        let (dir, name) = self.parent(path)?;
        self.absent(dir, &name)?;
        let ino = self.next_ino;
        self.next_ino += 1;
        self.inodes.insert(ino, Inode { body, links: 0, handles: 0 });
        self.add_name(dir, name, ino)?;
        Ok(ino)
    }

    fn add_name(&mut self, dir: Ino, name: OsString, ino: Ino) -> io::Result<()> {
        self.dir_mut(dir)?.seen.insert(name.clone(), ino);
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.links += 1;
        }
        self.names.push(NameChange::Add { dir, name, ino });
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // In Linux's order, so that of several reasons the same one is told.
        let ino = self.find(from)?;
        let (dir, name) = self.parent(to)?;
        self.absent(dir, &name)?;
        if self.dir(ino).is_ok() {
            return Err(errno(libc::EPERM));
        }
        self.add_name(dir, name, ino)
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        if !self.dir(ino)?.seen.is_empty() {
            return Err(errno(libc::ENOTEMPTY));
        }
        self.remove_name(path, ino)
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        if self.dir(ino).is_ok() {
            return Err(errno(libc::EISDIR));
        }
        self.remove_name(path, ino)
    }

    fn remove_name(&mut self, path: &Path, ino: Ino) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        self.dir_mut(dir)?.seen.remove(&name);
        self.names.push(NameChange::Remove { dir, name, ino });
        self.drop_link(ino);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let ino = self.find(from)?;
        let replaced = self.dir(to_dir)?.seen.get(&to_name).copied();
        self.may_rename((from, ino), (to, replaced))?;
        if replaced == Some(ino) {
            return Ok(());
        }
        self.dir_mut(from_dir)?.seen.remove(&from_name);
        self.dir_mut(to_dir)?.seen.insert(to_name.clone(), ino);
        self.names.push(NameChange::Rename {
            from: (from_dir, from_name),
            to: (to_dir, to_name),
            ino,
        });
        if let Some(replaced) = replaced {
            self.drop_link(replaced);
        }
        Ok(())
    }

    /// rename(2)'s refusals, in Linux's order.
    fn may_rename(&self, from: (&Path, Ino), to: (&Path, Option<Ino>)) -> io::Result<()> {
        if to.0 != from.0 && to.0.starts_with(from.0) {
            return Err(errno(libc::EINVAL));
        }
        if to.0 != from.0 && from.0.starts_with(to.0) {
            return Err(errno(libc::ENOTEMPTY));
        }
        let Some(replaced) = to.1.filter(|replaced| *replaced != from.1) else { return Ok(()) };
        match (self.dir(from.1), self.dir(replaced)) {
            (Ok(_), Err(_)) => Err(errno(libc::ENOTDIR)),
            (Err(_), Ok(_)) => Err(errno(libc::EISDIR)),
            (Ok(_), Ok(there)) if !there.seen.is_empty() => Err(errno(libc::ENOTEMPTY)),
            _ => Ok(()),
        }
    }

    fn drop_link(&mut self, ino: Ino) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.links = inode.links.saturating_sub(1);
        }
        self.release_room(ino);
    }

    pub(super) fn opened(&mut self, handle: u64, ino: Ino) {
        self.open.insert(handle, ino);
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.handles += 1;
        }
    }

    /// Nothing where a crash or kill closed it before.
    pub(super) fn close(&mut self, handle: u64) {
        let Some(ino) = self.open.remove(&handle) else { return };
        if self.locks.get(&ino) == Some(&handle) {
            self.locks.remove(&ino);
        }
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.handles = inode.handles.saturating_sub(1);
        }
        self.release_room(ino);
    }

    /// The inode itself stays until the crash, which may bring a lost unlink's name back; its room
    /// is free at once, as programs see it.
    fn release_room(&mut self, ino: Ino) {
        let Some(inode) = self.inodes.get(&ino) else { return };
        if inode.links == 0 && inode.handles == 0 && matches!(inode.body, Body::File(_)) {
            self.used = self.room_used();
            self.forget_dead();
        }
    }

    fn room_used(&self) -> u64 {
        let live = self.inodes.values().filter(|i| i.links > 0 || i.handles > 0);
        live.map(|i| if let Body::File(f) = &i.body { f.seen.len() as u64 } else { 0 }).sum()
    }

    /// Drops the bytes of inodes that no name, seen or durable or on its way, stands for.
    fn forget_dead(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        for inode in self.inodes.values() {
            if let Body::Dir(dir) = &inode.body {
                named.extend(dir.seen.values().chain(dir.durable.values()));
            }
        }
        for change in &self.names {
            let (NameChange::Add { ino, .. }
            | NameChange::Remove { ino, .. }
            | NameChange::Rename { ino, .. }) = change;
            named.insert(*ino);
        }
        self.inodes.retain(|ino, inode| inode.handles > 0 || named.contains(ino));
    }

    /// Writes what fits; the error tells that not everything did.
    pub(super) fn write(&mut self, ino: Ino, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let len = self.file(ino)?.seen.len();
        let end = offset.checked_add(bytes.len()).ok_or_else(|| errno(libc::EFBIG))?;
        let room = self.room_for(end.saturating_sub(len));
        let fits = bytes.len() - (end.saturating_sub(len) - room).min(bytes.len());
        let file = self.file_mut(ino)?;
        let grown = apply(&mut file.seen, offset, &bytes[..fits]);
        if fits > 0 {
            file.pending.push(DataChange::Write { offset, bytes: bytes[..fits].to_vec() });
        }
        self.used += grown as u64;
        if fits < bytes.len() { Err(errno(libc::ENOSPC)) } else { Ok(()) }
    }

    /// How much of `growth` bytes there is room for.
    fn room_for(&self, growth: usize) -> usize {
        match self.capacity {
            None => growth,
            Some(total) => {
                let free = total.saturating_sub(self.used);
                growth.min(usize::try_from(free).unwrap_or(usize::MAX))
            }
        }
    }

    pub(super) fn set_len(&mut self, ino: Ino, len: usize) -> io::Result<()> {
        let old = self.file(ino)?.seen.len();
        // ftruncate makes holes, which take no room; counting them keeps one figure per file and
        // errs on the side of "full".
        if self.room_for(len.saturating_sub(old)) < len.saturating_sub(old) {
            return Err(errno(libc::ENOSPC));
        }
        let file = self.file_mut(ino)?;
        resize(&mut file.seen, len);
        file.pending.push(DataChange::SetLen(len));
        self.used = self.used + len as u64 - old as u64;
        Ok(())
    }

    /// fdatasync: bytes and length, not the name.
    pub(super) fn sync_data(&mut self, ino: Ino) -> io::Result<()> {
        let file = self.file_mut(ino)?;
        for change in std::mem::take(&mut file.pending) {
            match change {
                DataChange::Write { offset, bytes } => {
                    apply(&mut file.durable, offset, &bytes);
                }
                DataChange::SetLen(len) => resize(&mut file.durable, len),
            }
        }
        Ok(())
    }

    /// A failed fdatasync: the pages count as clean, nobody will write them again.
    pub(super) fn forget_data(&mut self, ino: Ino) {
        if let Ok(file) = self.file_mut(ino) {
            file.pending.clear();
        }
    }

    /// fsync of a directory: its names, not what stands behind them.
    pub(super) fn sync_dir(&mut self, dir: Ino) -> io::Result<()> {
        self.dir(dir)?;
        let (now, later) =
            std::mem::take(&mut self.names).into_iter().partition(|c| c.concerns(dir));
        self.names = later;
        self.settle(now);
        Ok(())
    }

    /// A failed fsync of a directory.
    pub(super) fn forget_names(&mut self, dir: Ino) {
        self.names.retain(|c| !c.concerns(dir));
    }

    /// Puts changes of names on the platter.
    pub(super) fn settle(&mut self, changes: Vec<NameChange>) {
        let set = |world: &mut Self, dir, name, ino| {
            if let Ok(dir) = world.dir_mut(dir) {
                dir.durable.insert(name, ino);
            }
        };
        let unset = |world: &mut Self, dir, name: OsString, ino| {
            if let Ok(dir) = world.dir_mut(dir)
                && dir.durable.get(&name) == Some(&ino)
            {
                dir.durable.remove(&name);
            }
        };
        for change in changes {
            match change {
                NameChange::Add { dir, name, ino } => set(self, dir, name, ino),
                NameChange::Remove { dir, name, ino } => unset(self, dir, name, ino),
                NameChange::Rename { from, to, ino } => {
                    unset(self, from.0, from.1, ino);
                    set(self, to.0, to.1, ino);
                }
            }
        }
    }

    /// After a crash or at once: programs see what is on the platter, and nothing else is left.
    pub(super) fn restart_from_durable(&mut self) {
        self.names.clear();
        self.locks.clear();
        self.open.clear();
        for inode in self.inodes.values_mut() {
            (inode.links, inode.handles) = (0, 0);
            match &mut inode.body {
                Body::File(file) => {
                    file.pending.clear();
                    file.seen.clone_from(&file.durable);
                }
                Body::Dir(dir) => dir.seen.clone_from(&dir.durable),
            }
        }
        let mut reached = BTreeMap::from([(ROOT, 1)]);
        let mut to_visit = vec![ROOT];
        while let Some(at) = to_visit.pop() {
            let Ok(dir) = self.dir(at) else { continue };
            for &ino in dir.seen.values() {
                let links = reached.entry(ino).or_insert(0);
                *links += 1;
                if *links == 1 {
                    to_visit.push(ino);
                }
            }
        }
        self.inodes.retain(|ino, _| reached.contains_key(ino));
        for (ino, inode) in &mut self.inodes {
            inode.links = reached[ino];
        }
        self.used = self.room_used();
    }
}

/// Overlays `bytes`, zeros in a gap before them; gives by how much `content` grew.
pub(super) fn apply(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    let (old, end) = (content.len(), offset + bytes.len());
    if end > old {
        resize(content, end);
    }
    content[offset..end].copy_from_slice(bytes);
    content.len() - old
}

/// `Vec::resize` with zeros, fast in unoptimised builds too: worlds preallocate many MiB.
pub(super) fn resize(content: &mut Vec<u8>, len: usize) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    if content.is_empty() {
        *content = vec![0; len];
    }
    content.truncate(len);
    while content.len() < len {
        let more = (len - content.len()).min(ZEROS.len());
        content.extend_from_slice(&ZEROS[..more]);
    }
}
