//! A file system of plain maps and vectors that behaves as POSIX and Linux say: what the real one
//! is compared with. Written from the rules, not from the code it judges.
//!
//! Content is a `Vec<u8>`, so keep files small. Times are not modelled.

#![allow(clippy::expect_used)] // a model that is wrong must stop the test

use std::collections::{BTreeMap, HashMap};

use fs::{Caller, CreateHow, FsError, Kind, NodeKind, SetAttributes, SetTime};

/// Inode number of the model's root directory.
pub const ROOT: u64 = 1;

type Result<T> = std::result::Result<T, FsError>;

/// An inode of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Type.
    pub kind: Kind,
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Hard links.
    pub nlink: u32,
    /// Device number.
    pub rdev: (u32, u32),
    /// Content of a file, target of a symlink.
    pub bytes: Vec<u8>,
    /// Names in a directory.
    pub entries: BTreeMap<Vec<u8>, u64>,
    /// `..` of a directory.
    pub parent: u64,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    verifier: Option<[u8; 8]>,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    nodes: HashMap<u64, Node>,
    next: u64,
    held: HashMap<u64, u32>,
    /// Most links of an inode and most subdirectories of a directory.
    pub links: u32,
}

impl Model {
    /// An empty volume whose root belongs to `owner` (uid, gid), mode 0755.
    pub fn new(owner: (u32, u32), links: u32) -> Self {
        let root = Node {
            kind: Kind::Directory,
            mode: 0o755,
            uid: owner.0,
            gid: owner.1,
            nlink: 2,
            rdev: (0, 0),
            bytes: Vec::new(),
            entries: BTreeMap::new(),
            parent: ROOT,
            xattrs: BTreeMap::new(),
            verifier: None,
        };
        Self { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1, held: HashMap::new(), links }
    }

    /// The inode, or `Stale`.
    pub fn node(&self, ino: u64) -> Result<&Node> {
        self.nodes.get(&ino).ok_or(FsError::Stale)
    }

    fn at(&mut self, ino: u64) -> &mut Node {
        self.nodes.get_mut(&ino).expect("looked up before")
    }

    fn dir(&self, ino: u64) -> Result<&Node> {
        let node = self.node(ino)?;
        if node.kind == Kind::Directory { Ok(node) } else { Err(FsError::NotDir) }
    }

    /// A directory that still has a name.
    fn living(&self, ino: u64) -> Result<&Node> {
        let d = self.dir(ino)?;
        if d.nlink > 0 { Ok(d) } else { Err(FsError::NoEnt) }
    }

    /// Opens: the inode stays until as many releases.
    pub fn hold(&mut self, ino: u64) -> Result<()> {
        if self.node(ino)?.nlink == 0 && !self.held.contains_key(&ino) {
            return Err(FsError::Stale);
        }
        *self.held.entry(ino).or_default() += 1;
        Ok(())
    }

    /// Closes.
    pub fn release(&mut self, ino: u64) {
        let Some(count) = self.held.get_mut(&ino) else { return };
        *count -= 1;
        if *count == 0 {
            self.held.remove(&ino);
            self.drop_unnamed();
        }
    }

    /// A restart closes everything.
    pub fn restart(&mut self) {
        self.held.clear();
        self.drop_unnamed();
    }

    fn drop_unnamed(&mut self) {
        let held = &self.held;
        self.nodes.retain(|ino, node| node.nlink > 0 || held.contains_key(ino));
    }

    /// True if it ever had an inode of this number.
    pub fn knew(&self, ino: u64) -> bool {
        ino < self.next
    }

    /// Number of inodes.
    pub fn inodes(&self) -> usize {
        self.nodes.len()
    }

    /// Looks a name up.
    pub fn lookup(&self, who: &Caller, dir: u64, name: &[u8]) -> Result<u64> {
        let d = self.dir(dir)?;
        need(who, d, 1)?;
        match name {
            b"." => return Ok(dir),
            b".." => return self.node(d.parent).map(|_| d.parent).map_err(|_| FsError::NoEnt),
            _ => good_name(name)?,
        }
        d.entries.get(name).copied().ok_or(FsError::NoEnt)
    }

    /// RFC 1813 §3.3.4 bits that the mode gives.
    pub fn access(&self, who: &Caller, ino: u64) -> Result<u32> {
        let n = self.node(ino)?;
        let (r, w, x) = (has(who, n, 4), has(who, n, 2), has(who, n, 1));
        let (read, write) = (u32::from(r), if w { 4 | 8 } else { 0 });
        Ok(match n.kind {
            Kind::Directory => read | write | if x { 2 } else { 0 } | if w && x { 16 } else { 0 },
            Kind::File => read | write | if x { 32 } else { 0 },
            _ => read | write,
        })
    }

    /// Where a new name would go: checked but for the right to write.
    fn free_name(&self, who: &Caller, dir: u64, name: &[u8]) -> Result<Option<u64>> {
        let d = self.living(dir)?;
        need(who, d, 1)?;
        if name == b"." || name == b".." {
            return Err(FsError::Exist);
        }
        good_name(name)?;
        Ok(d.entries.get(name).copied())
    }

    /// CREATE.
    pub fn create(&mut self, who: &Caller, dir: u64, name: &[u8], how: &CreateHow) -> Result<u64> {
        if let Some(old) = self.free_name(who, dir, name)? {
            let node = self.node(old)?;
            return match how {
                CreateHow::Unchecked(_) if node.kind == Kind::Directory => Err(FsError::IsDir),
                CreateHow::Unchecked(set) if node.kind == Kind::File => {
                    if let Some(size) = set.size {
                        let only = SetAttributes { size: Some(size), ..Default::default() };
                        self.setattr(who, old, &only)?;
                    }
                    Ok(old)
                }
                CreateHow::Exclusive(v) if node.kind == Kind::File && node.verifier == Some(*v) => {
                    Ok(old)
                }
                _ => Err(FsError::Exist),
            };
        }
        need(who, self.dir(dir)?, 2)?;
        let (set, verifier) = match how {
            CreateHow::Unchecked(set) | CreateHow::Guarded(set) => (set.clone(), None),
            CreateHow::Exclusive(v) => (SetAttributes::default(), Some(*v)),
        };
        let ino = self.add(who, dir, name, Kind::File, &set);
        self.at(ino).verifier = verifier;
        self.at(ino).bytes.resize(usize::try_from(set.size.unwrap_or(0)).expect("small"), 0);
        Ok(ino)
    }

    /// MKDIR.
    pub fn mkdir(
        &mut self,
        who: &Caller,
        dir: u64,
        name: &[u8],
        set: &SetAttributes,
    ) -> Result<u64> {
        if self.free_name(who, dir, name)?.is_some() {
            return Err(FsError::Exist);
        }
        need(who, self.dir(dir)?, 2)?;
        if self.dir(dir)?.nlink >= self.links {
            return Err(FsError::MLink);
        }
        let ino = self.add(who, dir, name, Kind::Directory, set);
        self.at(dir).nlink += 1;
        Ok(ino)
    }

    /// SYMLINK.
    pub fn symlink(&mut self, who: &Caller, dir: u64, name: &[u8], target: &[u8]) -> Result<u64> {
        if self.free_name(who, dir, name)?.is_some() {
            return Err(FsError::Exist);
        }
        need(who, self.dir(dir)?, 2)?;
        let set = SetAttributes { mode: Some(0o777), ..Default::default() };
        let ino = self.add(who, dir, name, Kind::Symlink, &set);
        self.at(ino).bytes = target.to_vec();
        Ok(ino)
    }

    /// MKNOD.
    pub fn mknod(
        &mut self,
        who: &Caller,
        dir: u64,
        name: &[u8],
        node: NodeKind,
        set: &SetAttributes,
    ) -> Result<u64> {
        if self.free_name(who, dir, name)?.is_some() {
            return Err(FsError::Exist);
        }
        need(who, self.dir(dir)?, 2)?;
        let (kind, rdev) = match node {
            NodeKind::Fifo => (Kind::Fifo, (0, 0)),
            NodeKind::Socket => (Kind::Socket, (0, 0)),
            NodeKind::Char(a, b) => (Kind::Char, (a, b)),
            NodeKind::Block(a, b) => (Kind::Block, (a, b)),
        };
        if matches!(kind, Kind::Char | Kind::Block) && who.uid != 0 {
            return Err(FsError::Perm);
        }
        let ino = self.add(who, dir, name, kind, set);
        self.at(ino).rdev = rdev;
        Ok(ino)
    }

    fn add(&mut self, who: &Caller, dir: u64, name: &[u8], kind: Kind, set: &SetAttributes) -> u64 {
        let (ino, above) = (self.next, self.nodes[&dir].clone());
        self.next += 1;
        let setgid_dir = above.mode & 0o2000 != 0;
        let mut gid = if setgid_dir { above.gid } else { who.gid };
        if let Some(want) = set.gid
            && (who.uid == 0 || member(who, want))
        {
            gid = want;
        }
        let uid = if who.uid == 0 { set.uid.unwrap_or(0) } else { who.uid };
        let mut mode = set.mode.unwrap_or(0) & 0o7777;
        if who.uid != 0 && !member(who, gid) {
            mode &= !0o2000;
        }
        if kind == Kind::Directory && setgid_dir {
            mode |= 0o2000;
        }
        let node = Node {
            kind,
            mode,
            uid,
            gid,
            nlink: if kind == Kind::Directory { 2 } else { 1 },
            rdev: (0, 0),
            bytes: Vec::new(),
            entries: BTreeMap::new(),
            parent: if kind == Kind::Directory { dir } else { 0 },
            xattrs: BTreeMap::new(),
            verifier: None,
        };
        self.nodes.insert(ino, node);
        self.at(dir).entries.insert(name.to_vec(), ino);
        ino
    }

    /// SETATTR.
    pub fn setattr(&mut self, who: &Caller, ino: u64, set: &SetAttributes) -> Result<()> {
        let n = self.node(ino)?.clone();
        let owner = who.uid == n.uid;
        if let Some(_size) = set.size {
            match n.kind {
                Kind::File => {}
                Kind::Directory => return Err(FsError::IsDir),
                _ => return Err(FsError::Inval),
            }
            if !(owner && who.owner_override) {
                need(who, &n, 2)?;
            }
        }
        let chown = set.uid.is_some_and(|u| !(owner && u == n.uid));
        let chgrp = set.gid.is_some_and(|g| !(owner && (g == n.gid || member(who, g))));
        let exact = matches!(set.atime, SetTime::To(_)) || matches!(set.mtime, SetTime::To(_));
        if who.uid != 0 && (chown || chgrp || !owner && (set.mode.is_some() || exact)) {
            return Err(FsError::Perm);
        }
        let now = set.atime == SetTime::Now || set.mtime == SetTime::Now;
        if now && !owner && set.size.is_none() {
            need(who, &n, 2)?;
        }
        let links = self.at(ino);
        if let Some(size) = set.size {
            links.bytes.resize(usize::try_from(size).expect("small"), 0);
            links.mode = stripped(who, links, links.mode, false);
        }
        let group_before = n.gid;
        links.uid = set.uid.unwrap_or(links.uid);
        links.gid = set.gid.unwrap_or(links.gid);
        if let Some(mode) = set.mode {
            links.mode = mode & 0o7777;
            if who.uid != 0 && !member(who, links.gid) {
                links.mode &= !0o2000;
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            let old_group = Node { gid: group_before, ..links.clone() };
            links.mode = stripped(who, &old_group, links.mode, true);
        }
        Ok(())
    }

    /// Bytes of a file.
    pub fn read(&self, who: &Caller, ino: u64, offset: usize, count: usize) -> Result<&[u8]> {
        let n = self.node(ino)?;
        is_file(n)?;
        let over = who.owner_override && (who.uid == n.uid || has(who, n, 1));
        if !over {
            need(who, n, 4)?;
        }
        let end = n.bytes.len().min(offset + count);
        Ok(n.bytes.get(offset..end).unwrap_or(&[]))
    }

    /// Writes.
    pub fn write(&mut self, who: &Caller, ino: u64, offset: usize, data: &[u8]) -> Result<()> {
        let n = self.node(ino)?;
        is_file(n)?;
        if !(who.owner_override && who.uid == n.uid) {
            need(who, n, 2)?;
        }
        if data.is_empty() {
            return Ok(());
        }
        let n = self.at(ino);
        let end = offset + data.len();
        n.bytes.resize(n.bytes.len().max(end), 0);
        n.bytes[offset..end].copy_from_slice(data);
        n.mode = stripped(who, n, n.mode, false);
        Ok(())
    }

    /// Makes a hole; the size stays (fallocate(2), FALLOC_FL_PUNCH_HOLE).
    pub fn punch(&mut self, who: &Caller, ino: u64, offset: usize, len: usize) -> Result<()> {
        let n = self.node(ino)?;
        is_file(n)?;
        if !(who.owner_override && who.uid == n.uid) {
            need(who, n, 2)?;
        }
        let n = self.at(ino);
        let (from, to) = (offset.min(n.bytes.len()), (offset + len).min(n.bytes.len()));
        n.bytes[from..to].fill(0);
        n.mode = stripped(who, n, n.mode, false);
        Ok(())
    }

    /// Value of an extended attribute (xattr(7)).
    pub fn getxattr(&self, who: &Caller, ino: u64, name: &[u8]) -> Result<&[u8]> {
        let n = self.node(ino)?;
        match namespace(name)? {
            b"user." if !holds_user(n) => return Err(FsError::NoData),
            b"user." => need(who, n, 4)?,
            b"trusted." if who.uid != 0 => return Err(FsError::NoData),
            _ => {}
        }
        n.xattrs.get(name).map(Vec::as_slice).ok_or(FsError::NoData)
    }

    /// Sets, or with `None` removes, an extended attribute (setxattr(2), removexattr(2)).
    pub fn setxattr(
        &mut self,
        who: &Caller,
        ino: u64,
        name: &[u8],
        value: Option<&[u8]>,
        (create, replace): (bool, bool),
    ) -> Result<()> {
        let n = self.node(ino)?;
        if namespace(name)? != b"user." {
            if who.uid != 0 {
                return Err(FsError::Perm);
            }
        } else {
            let sticky = n.kind == Kind::Directory && n.mode & 0o1000 != 0;
            if !holds_user(n) || sticky && who.uid != 0 && who.uid != n.uid {
                return Err(FsError::Perm);
            }
            need(who, n, 2)?;
        }
        let there = n.xattrs.contains_key(name);
        match value {
            Some(_) if there && create => Err(FsError::Exist),
            Some(_) if !there && replace => Err(FsError::NoData),
            None if !there => Err(FsError::NoData),
            Some(value) => {
                self.at(ino).xattrs.insert(name.to_vec(), value.to_vec());
                Ok(())
            }
            None => {
                self.at(ino).xattrs.remove(name);
                Ok(())
            }
        }
    }

    /// Names of the extended attributes that `who` is shown.
    pub fn listxattr(&self, who: &Caller, ino: u64) -> Result<Vec<&[u8]>> {
        let names = self.node(ino)?.xattrs.keys().map(Vec::as_slice);
        Ok(names.filter(|n| who.uid == 0 || !n.starts_with(b"trusted.")).collect())
    }

    /// REMOVE (`directory` false) and RMDIR.
    pub fn remove(&mut self, who: &Caller, dir: u64, name: &[u8], directory: bool) -> Result<()> {
        let d = self.dir(dir)?;
        need(who, d, 1)?;
        match (name, directory) {
            (b"." | b"..", false) => return Err(FsError::IsDir),
            (b".", true) => return Err(FsError::Inval),
            (b"..", true) => return Err(FsError::NotEmpty),
            _ => good_name(name)?,
        }
        let ino = *d.entries.get(name).ok_or(FsError::NoEnt)?;
        let victim = self.node(ino)?;
        take_away(who, d, victim)?;
        match (directory, victim.kind == Kind::Directory) {
            (true, false) => return Err(FsError::NotDir),
            (false, true) => return Err(FsError::IsDir),
            _ => {}
        }
        if directory && !victim.entries.is_empty() {
            return Err(FsError::NotEmpty);
        }
        self.at(dir).entries.remove(name);
        self.unlink(dir, ino);
        Ok(())
    }

    fn unlink(&mut self, dir: u64, ino: u64) {
        if self.nodes[&ino].kind == Kind::Directory {
            self.at(dir).nlink -= 1;
            self.at(ino).nlink = 0;
        } else {
            self.at(ino).nlink -= 1;
        }
        self.drop_unnamed();
    }

    /// LINK.
    pub fn link(&mut self, who: &Caller, ino: u64, dir: u64, name: &[u8]) -> Result<()> {
        let kind = self.node(ino)?.kind;
        if self.free_name(who, dir, name)?.is_some() {
            return Err(FsError::Exist);
        }
        need(who, self.dir(dir)?, 2)?;
        if kind == Kind::Directory {
            return Err(FsError::Perm);
        }
        if self.node(ino)?.nlink == 0 {
            return Err(FsError::NoEnt);
        }
        if self.node(ino)?.nlink >= self.links {
            return Err(FsError::MLink);
        }
        self.at(ino).nlink += 1;
        self.at(dir).entries.insert(name.to_vec(), ino);
        Ok(())
    }

    fn above(&self, ino: u64, mut dir: u64) -> bool {
        while dir != ino && dir != ROOT {
            dir = self.nodes[&dir].parent;
        }
        dir == ino
    }

    /// RENAME.
    pub fn rename(&mut self, who: &Caller, a: u64, from: &[u8], b: u64, to: &[u8]) -> Result<()> {
        let (da, db) = (self.dir(a)?, self.living(b)?);
        need(who, da, 1)?;
        need(who, db, 1)?;
        if [from, to].iter().any(|n| *n == b"." || *n == b"..") {
            return Err(FsError::Inval);
        }
        good_name(from)?;
        good_name(to)?;
        let source = *da.entries.get(from).ok_or(FsError::NoEnt)?;
        let target = db.entries.get(to).copied();
        let s = self.node(source)?;
        let moves_dir = s.kind == Kind::Directory;
        if a != b && moves_dir && self.above(source, b) {
            return Err(FsError::Inval);
        }
        if a != b
            && target.is_some_and(|t| self.nodes[&t].kind == Kind::Directory && self.above(t, a))
        {
            return Err(FsError::NotEmpty);
        }
        if target == Some(source) {
            return Ok(());
        }
        take_away(who, da, s)?;
        match target {
            None => need(who, db, 2)?,
            Some(t) => {
                let t = self.node(t)?;
                take_away(who, db, t)?;
                match (moves_dir, t.kind == Kind::Directory) {
                    (true, false) => return Err(FsError::NotDir),
                    (false, true) => return Err(FsError::IsDir),
                    _ => {}
                }
            }
        }
        if moves_dir && a != b {
            need(who, s, 2)?;
        }
        match target {
            Some(t) if !self.nodes[&t].entries.is_empty() => return Err(FsError::NotEmpty),
            None if moves_dir && a != b && db.nlink >= self.links => return Err(FsError::MLink),
            _ => {}
        }
        self.at(a).entries.remove(from);
        if let Some(t) = target {
            self.unlink(b, t);
        }
        self.at(b).entries.insert(to.to_vec(), source);
        if moves_dir {
            self.at(a).nlink -= 1;
            self.at(b).nlink += 1;
            self.at(source).parent = b;
        }
        Ok(())
    }
}

fn is_file(n: &Node) -> Result<()> {
    match n.kind {
        Kind::File => Ok(()),
        Kind::Directory => Err(FsError::IsDir),
        _ => Err(FsError::Inval),
    }
}

fn member(who: &Caller, gid: u32) -> bool {
    who.gid == gid || who.groups.contains(&gid)
}

fn has(who: &Caller, n: &Node, want: u32) -> bool {
    if who.uid == 0 {
        return want != 1 || n.kind == Kind::Directory || n.mode & 0o111 != 0;
    }
    let class = match (who.uid == n.uid, member(who, n.gid)) {
        (true, _) => n.mode >> 6,
        (_, true) => n.mode >> 3,
        _ => n.mode,
    };
    class & want == want
}

fn need(who: &Caller, n: &Node, want: u32) -> Result<()> {
    if has(who, n, want) { Ok(()) } else { Err(FsError::Access) }
}

fn take_away(who: &Caller, dir: &Node, victim: &Node) -> Result<()> {
    need(who, dir, 3)?;
    let kept = dir.mode & 0o1000 != 0;
    if kept && who.uid != 0 && who.uid != victim.uid && who.uid != dir.uid {
        return Err(FsError::Perm);
    }
    Ok(())
}

fn stripped(who: &Caller, n: &Node, mode: u32, chown: bool) -> u32 {
    if n.kind == Kind::Directory || who.uid == 0 && !chown {
        return mode;
    }
    let run_as_group = mode & 0o010 != 0 || who.uid != 0 && !member(who, n.gid);
    mode & !0o4000 & if run_as_group { !0o2000 } else { !0 }
}

/// The namespace of an extended attribute, its prefix.
fn namespace(name: &[u8]) -> Result<&'static [u8]> {
    if name.len() > 255 {
        return Err(FsError::Range);
    }
    let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    let space = spaces.into_iter().find(|s| name.starts_with(s)).ok_or(FsError::NotSupp)?;
    if name.len() == space.len() || name.contains(&0) { Err(FsError::Inval) } else { Ok(space) }
}

/// `user.` attributes belong to files and directories alone.
fn holds_user(n: &Node) -> bool {
    matches!(n.kind, Kind::File | Kind::Directory)
}

fn good_name(name: &[u8]) -> Result<()> {
    match name {
        n if n.len() > 255 => Err(FsError::NameTooLong),
        n if n.is_empty() || n.contains(&b'/') || n.contains(&0) => Err(FsError::Inval),
        _ => Ok(()),
    }
}
