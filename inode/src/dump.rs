//! All that the index holds of one inode, for the operator's tools.

use bytes::Bytes;
use headhunter::{LogError, View};

use crate::{
    Entry, Extent, Fault, Files, Inode, Pending, ROOT, Source,
    files::{damaged, load_any},
    format, key,
    limits::SCAN_KEYS,
};

/// Everything of one inode.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Its attributes.
    pub inode: Inode,
    /// Target of a symlink.
    pub target: Bytes,
    /// Entries of a directory, by cookie.
    pub entries: Vec<Entry>,
    /// Extents, dead ones included, by offset.
    pub extents: Vec<Extent>,
    /// Extended attributes: name, bytes of the value.
    pub xattrs: Vec<(Bytes, u32)>,
    /// What is still to be done with it.
    pub pending: Option<Pending>,
}

impl Files {
    /// Everything of the inode, whether it has a name or not; `None`: there is no such inode. A
    /// value that does not decode is an error that names its key. Memory grows with what it holds.
    ///
    /// Errors: whatever reading pages gave; `Refused` where a value is damaged.
    pub async fn dump(&self, ino: u64) -> Result<Option<Dump>, LogError> {
        let view = self.index().view();
        let Some(inode) = self.look(&view, |view| load_any(view, ino)).await? else {
            return Ok(None);
        };
        let mut dump = Dump {
            target: self.look(&view, |view| self.target(view, ino)).await?,
            inode,
            entries: Vec::new(),
            extents: Vec::new(),
            xattrs: Vec::new(),
            pending: None,
        };
        let mut from = key::attributes(ino).to_vec();
        let end = key::end(ino, key::XATTR);
        loop {
            let items = self.look(&view, |v| Ok(Source::range(v, &from, &end, SCAN_KEYS)?)).await?;
            for (k, v) in &items {
                dump.add(k, v).map_err(|f| LogError::Refused(format!("damaged: {f:?}")))?;
            }
            match items.last() {
                Some((last, _)) if items.len() == SCAN_KEYS => from = [&last[..], &[0]].concat(),
                _ => break,
            }
        }
        let pending = key::with_u64(key::VOLUME, key::PENDING, ino);
        let pending = self.look(&view, |v| Ok(Source::get(v, &pending)?)).await?;
        dump.pending = pending.and_then(|value| Pending::decode(&value));
        Ok(Some(dump))
    }

    /// The inode that an absolute path names; symbolic links are not followed. `None`: there is no
    /// such name.
    ///
    /// Errors: as [`Files::dump`].
    pub async fn resolve(&self, path: &[u8]) -> Result<Option<u64>, LogError> {
        let view = self.index().view();
        let mut at = ROOT;
        for name in path.split(|&b| b == b'/').filter(|name| !name.is_empty() && *name != b".") {
            let slot = self.look(&view, |view| self.find(view, at, name)).await?;
            match slot.entry() {
                Some(entry) => at = entry.id.ino,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    async fn look<R>(
        &self,
        view: &View,
        body: impl Fn(&View) -> Result<R, Fault>,
    ) -> Result<R, LogError> {
        loop {
            match body(view) {
                Ok(found) => return Ok(found),
                Err(Fault::Miss(miss)) => self.index().fault(miss).await?,
                Err(fault) => return Err(LogError::Refused(format!("damaged: {fault:?}"))),
            }
        }
    }
}

impl Dump {
    fn add(&mut self, key: &[u8], value: &Bytes) -> Result<(), Fault> {
        let bad = || damaged(key);
        match key::split(key) {
            Some((_, key::ENTRY, _)) => {
                let entry = key::sub_u64(key).and_then(|c| Entry::decode(c, value));
                self.entries.push(entry.ok_or_else(bad)?);
            }
            Some((_, key::EXTENT, _)) => {
                let extent = key::sub_u64(key).and_then(|s| Extent::decode(s, value));
                self.extents.push(extent.ok_or_else(bad)?);
            }
            Some((_, key::XATTR, sub)) => {
                let (part, name) = sub.split_last().ok_or_else(bad)?;
                let name = name.strip_suffix(&[0]).ok_or_else(bad)?;
                if *part == 0 {
                    let len = value.first_chunk().ok_or_else(bad)?;
                    let len = u32::from_le_bytes(*len);
                    self.xattrs.push((Bytes::copy_from_slice(name), len));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A key of files and its value, in words; `None` where it does not decode.
pub fn explain(key: &[u8], value: &Bytes) -> Option<String> {
    let (ino, kind, sub) = key::split(key)?;
    if ino == key::VOLUME {
        return Some(match kind {
            key::NEXT_NUMBER => format!("next inode number: {}", format::counter(value)?),
            key::INODES => format!("inodes: {}", format::counter(value)?),
            key::PENDING => {
                let (ino, pending) = (key::sub_u64(key)?, Pending::decode(value)?);
                format!("pending work of inode {ino}: {pending:?}")
            }
            key::LOCKER => format!("session {sub:02x?} has held locks"),
            _ => return None,
        });
    }
    Some(match kind {
        key::ATTRIBUTES => {
            let i = Inode::decode(ino, value)?;
            format!(
                "inode {ino}: {:?}, mode {:04o}, {} links, owner {}:{}, {} bytes, generation {}",
                i.kind, i.mode, i.nlink, i.uid, i.gid, i.size, i.id.generation
            )
        }
        key::TARGET => format!("inode {ino}: target \"{}\"", value.escape_ascii()),
        key::ENTRY => {
            let entry = Entry::decode(key::sub_u64(key)?, value)?;
            let (name, child) = (entry.name.escape_ascii(), entry.id.ino);
            format!("inode {ino}: entry \"{name}\" is inode {child}, {:?}", entry.kind)
        }
        key::EXTENT => {
            let e = Extent::decode(key::sub_u64(key)?, value)?;
            let Extent { start, len, location, skip, birth } = e;
            format!(
                "inode {ino}: bytes {start} to {} are in {} at byte {}, {skip} into the frame of {} \
                 stored bytes; born {}",
                start + u64::from(len) - 1,
                location.segment,
                location.offset,
                location.stored,
                birth.0
            )
        }
        key::XATTR => {
            let (part, name) = sub.split_last()?;
            let name = name.strip_suffix(&[0])?.escape_ascii().to_string();
            format!("inode {ino}: xattr {name}, part {part}, {} bytes", value.len())
        }
        _ => return None,
    })
}
