//! Streams over directories.

use std::{collections::VecDeque, sync::Arc};

use rpc::{
    Entry, Identity, Object, Place, Reader, Wire,
    calls::{self, readdir},
};

use crate::share::{Errno, File};

/// Entries asked for at once; an answer holds 1 MiB at most.
const PAGE: u32 = 1_024;
/// What smbd means by `..` when it tells where it is (`DOT_DOT_DIRECTORY_OFFSET`): no cookie of ours
/// may be it.
const THEIRS: u64 = 0x8000_0000;

/// A directory that is being read.
pub struct Dir {
    file: Arc<File>,
    /// Who opened it goes on reading.
    who: Identity,
    page: VecDeque<Entry>,
    /// Of the last entry that was given out.
    cookie: u64,
    end: bool,
}

/// A cookie as smbd sees it: all from [`THEIRS`] on are one higher.
pub fn shown(cookie: u64) -> i64 {
    let moved = if cookie < THEIRS { cookie } else { cookie.saturating_add(1) };
    i64::try_from(moved).unwrap_or(i64::MAX)
}

/// And back. What is no cookie is the start.
pub fn meant(shown: i64) -> u64 {
    match u64::try_from(shown) {
        Ok(shown) if shown > THEIRS => shown - 1,
        Ok(shown) if shown < THEIRS => shown,
        _ => 0,
    }
}

impl Dir {
    pub fn open(file: &Arc<File>, who: Identity) -> Result<Self, Errno> {
        let file = Arc::clone(file);
        let mut dir = Self { file, who, page: VecDeque::new(), cookie: 0, end: false };
        // What is no directory, or may not be read, says so now.
        dir.fetch()?;
        Ok(dir)
    }

    fn fetch(&mut self) -> Result<(), Errno> {
        let call = calls::ReadDir {
            place: Place::at(Object::Id(self.file.id)),
            flags: readdir::ATTRIBUTES,
            cookie: self.cookie,
            count: PAGE,
            wanted: rpc::Wanted::default(),
        };
        let (listed, payload) = self.file.share.link.call(&self.who, &call, &[])?;
        let mut reader = Reader::new(&payload);
        for _ in 0..listed.count {
            self.page.push_back(Entry::take(&mut reader).map_err(|_| libc::EPROTO)?);
        }
        self.end = listed.end || listed.count == 0;
        Ok(())
    }

    /// The next entry; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Entry>, Errno> {
        if self.page.is_empty() && !self.end {
            self.fetch()?;
        }
        let entry = self.page.pop_front();
        if let Some(entry) = &entry {
            self.cookie = entry.cookie;
        }
        Ok(entry)
    }

    pub fn tell(&self) -> i64 {
        shown(self.cookie)
    }

    pub fn seek(&mut self, cookie: i64) {
        self.cookie = meant(cookie);
        self.page.clear();
        self.end = false;
    }
}
