//! A share and its files: what the calls of the ABI mean in requests.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rpc::{
    Attributes, FileId, Identity, Kind, Object, Place, SetAttributes,
    calls::{self, allocate, lock, open, rename, seek, setxattr, unlink},
};

use crate::{
    link::{Link, Sent},
    seen::Seen,
};

/// As on Linux; never 0.
pub type Errno = i32;

/// One connection to one server, below one directory of its volume.
pub struct Share {
    pub link: Link,
    /// The directory that is the share's root.
    pub root: FileId,
    /// True where that is the volume's root too: then the server may walk whole paths.
    pub whole: bool,
    /// What was said within this turn of smbd's event loop.
    pub seen: Seen,
    /// Numbers of lock owners, each used once.
    owners: AtomicU64,
}

/// An inode that smbd has in hand.
pub struct File {
    pub share: Arc<Share>,
    pub id: FileId,
    /// At the server, if it was opened to be read or written; rights were asked for then.
    handle: Option<u32>,
    /// Whose its locks are.
    owner: u64,
    locked: AtomicBool,
}

/// What stands in the way of a lock.
pub struct InTheWay {
    pub exclusive: bool,
    pub start: u64,
    pub len: u64,
}

impl Share {
    /// Over a connection that stands; `root` is a path from the volume's root.
    pub fn new(link: Link, root: &[u8]) -> Result<(Arc<Self>, Attributes), Errno> {
        let place = Place::of(Object::Root, root);
        let flags = calls::FOLLOW;
        let stat = calls::Stat { place, flags, wanted: rpc::Wanted::default() };
        let (found, _) = link.call(&Identity::default(), &stat, &[])?;
        let attributes = found.attributes;
        if attributes.kind != Kind::Directory {
            return Err(libc::ENOTDIR);
        }
        let share = Self {
            root: attributes.id,
            whole: attributes.id.ino == link.volume_root().ino,
            link,
            seen: Seen::default(),
            owners: AtomicU64::new(1),
        };
        Ok((Arc::new(share), attributes))
    }

    pub fn statfs(&self, who: &Identity) -> Result<calls::Room, Errno> {
        self.link.call(who, &calls::StatFs {}, &[]).map(|(room, _)| room)
    }

    /// Attributes of what `path` leads to from `from`; the server walks.
    pub fn stat(
        &self,
        who: &Identity,
        from: FileId,
        path: &[u8],
        flags: u32,
    ) -> Result<Attributes, Errno> {
        if path.is_empty()
            && let Some(attributes) = self.seen.attributes(from)
        {
            return Ok(attributes);
        }
        let place = Place::of(Object::Id(from), path);
        let stat = calls::Stat { place, flags, wanted: Seen::wanted() };
        let (found, _) = self.link.call(who, &stat, &[])?;
        self.seen.note(who.uid, &found.attributes, found.along);
        Ok(found.attributes)
    }

    pub fn readlink(&self, who: &Identity, dir: FileId, name: &[u8]) -> Result<Bytes, Errno> {
        let place = Place::of(Object::Id(dir), name);
        let call = calls::ReadLink { place };
        self.link.call(who, &call, &[]).map(|(text, _)| text.target.0)
    }
}

/// A name as a path of one component; the directory itself for `.`.
fn component(name: &[u8]) -> &[u8] {
    if name == b"." { b"" } else { name }
}

impl File {
    /// A file of which only the identity is known.
    pub fn of(share: &Arc<Share>, id: FileId) -> Arc<Self> {
        Self::with(share, id, None)
    }

    fn with(share: &Arc<Share>, id: FileId, handle: Option<u32>) -> Arc<Self> {
        let owner = share.owners.fetch_add(1, Ordering::Relaxed);
        let locked = AtomicBool::new(false);
        Arc::new(Self { share: Arc::clone(share), id, handle, owner, locked })
    }

    /// How requests name it: by handle where there is one, since rights were asked for at the open.
    fn object(&self) -> Object {
        self.handle.map_or(Object::Id(self.id), Object::Handle)
    }

    fn place(&self) -> Place {
        Place::at(self.object())
    }

    /// A name in this directory.
    fn at(&self, name: &[u8]) -> Place {
        Place::of(Object::Id(self.id), component(name))
    }

    fn call<C: calls::Call>(&self, who: &Identity, call: &C) -> Result<C::Reply, Errno> {
        let answer = self.share.link.call(who, call, &[]).map(|(reply, _)| reply);
        if C::OP.once() {
            // Whatever became of it: what was seen before may be no longer so.
            self.share.seen.forget();
        }
        answer
    }

    /// As [`File::call`], for what makes an inode.
    fn make<C: calls::Call>(&self, who: &Identity, call: &C) -> Result<C::Reply, Errno> {
        let answer = self.share.link.make(who, call).map(|(reply, _)| reply);
        self.share.seen.forget();
        answer
    }

    /// open(2): flags as there. True if it was made.
    pub fn open(
        &self,
        who: &Identity,
        name: &[u8],
        flags: i32,
        mode: u32,
    ) -> Result<(Arc<Self>, Attributes, bool), Errno> {
        if flags & libc::O_PATH != 0 {
            let attributes = self.lookup(who, name)?;
            return Ok((Self::of(&self.share, attributes.id), attributes, false));
        }
        let mut wanted = match flags & libc::O_ACCMODE {
            libc::O_WRONLY => open::WRITE,
            libc::O_RDWR => open::READ | open::WRITE,
            _ => open::READ,
        };
        for (theirs, ours) in [
            (libc::O_CREAT, open::CREATE),
            (libc::O_EXCL, open::EXCLUSIVE),
            (libc::O_TRUNC, open::TRUNCATE),
            (libc::O_DIRECTORY, open::DIRECTORY),
        ] {
            if flags & theirs != 0 {
                wanted |= ours;
            }
        }
        if wanted & open::CREATE == 0 {
            wanted &= !open::EXCLUSIVE;
        }
        if wanted & open::WRITE == 0 {
            wanted &= !open::TRUNCATE;
        }
        let handle = self.share.link.new_handle();
        let call = calls::Open {
            place: self.at(name),
            flags: wanted,
            handle,
            set: SetAttributes { mode: Some(mode & 0o7777), ..SetAttributes::default() },
            wanted: Seen::wanted(),
        };
        let makes = wanted & open::CREATE != 0;
        let opened = if makes { self.make(who, &call) } else { self.call(who, &call) }?;
        self.share.seen.note(who.uid, &opened.attributes, opened.along);
        let file = Self::with(&self.share, opened.attributes.id, Some(handle));
        Ok((file, opened.attributes, opened.created))
    }

    pub fn getattr(&self, who: &Identity) -> Result<Attributes, Errno> {
        if let Some(attributes) = self.share.seen.attributes(self.id) {
            return Ok(attributes);
        }
        let call = calls::Stat { place: self.place(), flags: 0, wanted: Seen::wanted() };
        let found = self.call(who, &call)?;
        self.share.seen.note(who.uid, &found.attributes, found.along);
        Ok(found.attributes)
    }

    pub fn setattr(&self, who: &Identity, set: SetAttributes) -> Result<(), Errno> {
        // A handle lets its holder cut the file; all else is asked of the inode's rights anyway.
        let call = calls::SetAttr { place: self.place(), flags: 0, set, guard: None };
        self.call(who, &call).map(drop)
    }

    /// One step, not through a link at its end.
    pub fn lookup(&self, who: &Identity, name: &[u8]) -> Result<Attributes, Errno> {
        if name == b".." && self.id == self.share.root {
            return self.share.stat(who, self.id, b"", 0);
        }
        self.share.stat(who, self.id, component(name), 0)
    }

    pub fn mkdir(&self, who: &Identity, name: &[u8], mode: u32) -> Result<(), Errno> {
        let set = SetAttributes { mode: Some(mode & 0o7777), ..SetAttributes::default() };
        self.make(who, &calls::MkDir { place: self.at(name), set }).map(drop)
    }

    pub fn mknod(
        &self,
        who: &Identity,
        name: &[u8],
        mode: u32,
        device: (u32, u32),
    ) -> Result<(), Errno> {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFBLK => Kind::Block,
            libc::S_IFCHR => Kind::Char,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            _ => return Err(libc::EINVAL),
        };
        let call = calls::MkNod {
            place: self.at(name),
            kind: kind as u8,
            major: device.0,
            minor: device.1,
            set: SetAttributes { mode: Some(mode & 0o7777), ..SetAttributes::default() },
        };
        self.make(who, &call).map(drop)
    }

    pub fn symlink(&self, who: &Identity, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        let target = rpc::Path::copy(target);
        let call = calls::Symlink { place: self.at(name), target, set: SetAttributes::default() };
        self.make(who, &call).map(drop)
    }

    /// A new name in `to` for `name` here.
    pub fn link(
        &self,
        who: &Identity,
        name: &[u8],
        to: &Self,
        new_name: &[u8],
    ) -> Result<(), Errno> {
        let call = calls::Link { file: self.at(name), flags: 0, place: to.at(new_name) };
        self.call(who, &call).map(drop)
    }

    pub fn unlink(&self, who: &Identity, name: &[u8], directory: bool) -> Result<(), Errno> {
        let flags = if directory { unlink::DIRECTORY } else { 0 };
        self.call(who, &calls::Unlink { place: self.at(name), flags }).map(drop)
    }

    pub fn rename(
        &self,
        who: &Identity,
        name: &[u8],
        to: &Self,
        new_name: &[u8],
        replace: bool,
    ) -> Result<(), Errno> {
        let flags = if replace { 0 } else { rename::NO_REPLACE };
        let call = calls::Rename { from: self.at(name), to: to.at(new_name), flags };
        self.call(who, &call).map(drop)
    }

    /// As it is written, a name that differs in upper and lower case alone.
    pub fn find(&self, who: &Identity, name: &[u8]) -> Result<Bytes, Errno> {
        self.call(who, &calls::FindName { place: self.at(name) }).map(|found| found.name.0)
    }

    /// Fills `out` as far as the file goes; what needs several requests has them all on the way.
    pub fn read(&self, who: &Identity, out: &mut [u8], at: u64) -> Result<usize, Errno> {
        let most = self.share.link.payload();
        let mut sent = VecDeque::new();
        for (number, piece) in out.chunks(most).enumerate() {
            let offset = at + (number * most) as u64;
            let count = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let call = calls::Read { file: self.object(), offset, count };
            sent.push_back(self.share.link.send(who, &call, Bytes::new())?);
        }
        let mut done = 0;
        for (piece, sent) in out.chunks_mut(most).zip(sent) {
            let (_, bytes) = sent.wait()?;
            let got = bytes.len().min(piece.len());
            piece[..got].copy_from_slice(&bytes[..got]);
            done += got;
            if got < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Writes all of it, or as much as went before an error.
    pub fn write(&self, who: &Identity, data: &[u8], at: u64) -> Result<usize, Errno> {
        let most = self.share.link.payload();
        let mut sent: VecDeque<(usize, Sent<calls::Write>)> = VecDeque::new();
        let mut failed = None;
        // One piece too where there is nothing to write: rights are asked for.
        let pieces = data.chunks(most).chain(data.is_empty().then_some(data));
        for (number, piece) in pieces.enumerate() {
            let offset = at + (number * most) as u64;
            let call = calls::Write { file: self.object(), offset, flags: 0 };
            match self.share.link.send(who, &call, Bytes::copy_from_slice(piece)) {
                Ok(one) => sent.push_back((piece.len(), one)),
                Err(errno) => {
                    failed = Some(errno);
                    break;
                }
            }
        }
        let mut done = 0;
        for (len, one) in sent {
            match one.wait() {
                Ok(_) if failed.is_none() => done += len,
                Ok(_) => {}
                Err(errno) => failed = failed.or(Some(errno)),
            }
        }
        self.share.seen.forget();
        match failed {
            Some(errno) if done == 0 => Err(errno),
            _ => Ok(done),
        }
    }

    pub fn fsync(&self, who: &Identity) -> Result<(), Errno> {
        self.call(who, &calls::FSync { file: self.object() })
    }

    /// The server copies; bytes that were, fewer where this file ends.
    pub fn copy(
        &self,
        who: &Identity,
        from_offset: u64,
        to: &Self,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        let mut done = 0;
        while done < len {
            let call = calls::Copy {
                from: self.object(),
                from_offset: from_offset + done,
                to: to.object(),
                to_offset: to_offset + done,
                len: len - done,
            };
            let copied = self.call(who, &call)?;
            if copied.bytes == 0 {
                break;
            }
            done += copied.bytes;
        }
        Ok(done)
    }

    pub fn seek(&self, who: &Identity, offset: u64, hole: bool) -> Result<u64, Errno> {
        let whence = if hole { seek::HOLE } else { seek::DATA };
        let call = calls::Seek { file: self.object(), offset, whence };
        self.call(who, &call).map(|sought| sought.offset)
    }

    pub fn punch(&self, who: &Identity, offset: u64, len: u64) -> Result<(), Errno> {
        let mode = allocate::PUNCH;
        let call = calls::Allocate { file: self.object(), offset, len, mode };
        self.call(who, &call).map(drop)
    }

    pub fn getxattr(&self, who: &Identity, name: &[u8]) -> Result<Bytes, Errno> {
        if let Some(value) = self.share.seen.xattr(who.uid, self.id, name) {
            return value.ok_or(libc::ENODATA);
        }
        let name = rpc::XattrName::copy(name);
        let call = calls::GetXattr { place: self.by_id(), flags: 0, name };
        self.share.link.call(who, &call, &[]).map(|((), value)| value)
    }

    pub fn listxattr(&self, who: &Identity) -> Result<Bytes, Errno> {
        let call = calls::ListXattr { place: self.by_id(), flags: 0 };
        self.share.link.call(who, &call, &[]).map(|((), names)| names)
    }

    pub fn setxattr(
        &self,
        who: &Identity,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Result<(), Errno> {
        let mut ours = 0;
        if flags & libc::XATTR_CREATE != 0 {
            ours |= setxattr::CREATE;
        }
        if flags & libc::XATTR_REPLACE != 0 {
            ours |= setxattr::REPLACE;
        }
        let name = rpc::XattrName::copy(name);
        let call = calls::SetXattr { place: self.by_id(), flags: ours, name };
        let answer = self.share.link.call(who, &call, value).map(drop);
        self.share.seen.forget();
        answer
    }

    pub fn removexattr(&self, who: &Identity, name: &[u8]) -> Result<(), Errno> {
        let name = rpc::XattrName::copy(name);
        self.call(who, &calls::RemoveXattr { place: self.by_id(), flags: 0, name }).map(drop)
    }

    fn by_id(&self) -> Place {
        Place::at(Object::Id(self.id))
    }

    /// Takes or changes a lock without waiting; `EAGAIN` where somebody has it. A length of 0
    /// reaches to the end, wherever that is.
    pub fn lock(&self, who: &Identity, exclusive: bool, start: u64, len: u64) -> Result<(), Errno> {
        let kind = if exclusive { lock::EXCLUSIVE } else { lock::SHARED };
        self.locked.store(true, Ordering::Relaxed);
        let (file, owner) = (self.object(), self.owner);
        self.call(who, &calls::Lock { file, owner, start, len, kind, flags: 0 })
    }

    pub fn unlock(&self, who: &Identity, start: u64, len: u64) -> Result<(), Errno> {
        let (file, owner) = (self.object(), self.owner);
        self.call(who, &calls::Unlock { file, owner, start, len })
    }

    /// The first lock that is in the way of one.
    pub fn test_lock(
        &self,
        who: &Identity,
        exclusive: bool,
        start: u64,
        len: u64,
    ) -> Result<Option<InTheWay>, Errno> {
        let kind = if exclusive { lock::EXCLUSIVE } else { lock::SHARED };
        let (file, owner) = (self.object(), self.owner);
        let tested = self.call(who, &calls::TestLock { file, owner, start, len, kind })?;
        Ok(tested.conflict.map(|conflict| InTheWay {
            exclusive: conflict.kind == lock::EXCLUSIVE,
            start: conflict.start,
            len: conflict.len,
        }))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // As root: letting go needs no right. If it fails the session's end does it.
        let root = Identity::default();
        if self.locked.load(Ordering::Relaxed) {
            let _ = self.unlock(&root, 0, 0);
        }
        if let Some(handle) = self.handle {
            // Nobody waits for the answer.
            let _ = self.share.link.send(&root, &calls::Close { handle }, Bytes::new());
        }
    }
}
