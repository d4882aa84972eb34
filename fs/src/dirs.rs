//! Reading directories.

use bytes::Bytes;
use headhunter::View;
use inode::{FileId, Inode};

use crate::{
    Caller, DirEntry, DirPage, Failure, Volume,
    convert::attributes,
    driver::Stop,
    rights::{READ, may},
};

/// Cookie of `.`, and of `..`; those of names are at least 256 (R21).
const DOT: u64 = 1;
const DOTS: u64 = 2;
/// Most entries of one page.
const PAGE_ENTRIES: usize = 65_536;

impl Volume {
    /// Entries after `cookie` (0: from the start), at most `limit` (and 65,536) of them; with
    /// attributes if `plus`. Any cookie is good for ever (R21).
    pub async fn readdir(
        &self,
        caller: &Caller,
        dir: FileId,
        cookie: u64,
        limit: usize,
        plus: bool,
    ) -> Result<DirPage, Failure> {
        let limit = limit.min(PAGE_ENTRIES);
        let (page, _view) = self
            .look(|view| {
                let dir = self.directory(view, dir)?;
                may(caller, &dir, READ).map_err(|e| Stop::from(e).seen(&dir))?;
                self.page(view, &dir, cookie, limit, plus).map_err(|stop| stop.seen(&dir))
            })
            .await?;
        Ok(page)
    }

    fn page(
        &self,
        view: &View,
        dir: &Inode,
        cookie: u64,
        limit: usize,
        plus: bool,
    ) -> Result<DirPage, Stop> {
        let mut entries = Vec::new();
        let dots: [(u64, &'static [u8], u64); 2] =
            [(DOT, b".", dir.id.ino), (DOTS, b"..", dir.parent)];
        for (at, name, ino) in dots {
            if cookie < at && entries.len() < limit {
                let inode = if plus { self.files().load_number(view, ino)? } else { None };
                entries.push(DirEntry {
                    name: Bytes::from_static(name),
                    ino,
                    cookie: at,
                    attributes: inode.as_ref().map(attributes),
                });
            }
        }
        let shown = entries.last().map_or(cookie, |e| e.cookie);
        if shown < DOTS {
            return Ok(DirPage { entries, end: false, dir: attributes(dir) });
        }
        // One more than wanted tells whether that is all.
        let room = limit - entries.len();
        let found = self.files().entries(view, dir.id.ino, shown, room + 1)?;
        let end = found.len() <= room;
        for entry in found.into_iter().take(room) {
            let inode = if plus { self.files().load(view, entry.id)? } else { None };
            if plus && inode.is_none() {
                tracing::error!("damaged: an entry names inode {}, absent", entry.id.ino);
            }
            entries.push(DirEntry {
                name: entry.name,
                ino: entry.id.ino,
                cookie: entry.cookie,
                attributes: inode.as_ref().map(attributes),
            });
        }
        Ok(DirPage { entries, end, dir: attributes(dir) })
    }
}
