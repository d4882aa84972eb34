//! READDIR and READDIRPLUS: entries into exactly as many bytes as the client has room for.

use fs::{DirEntry, DirPage, FileId};

use crate::{
    call::{Cx, done},
    limits::{DIR_ENTRIES, TRANSFER_BYTES},
    nfs3::{Status, post_op},
    ops::names::is_top,
    wire::{Enc, Reply},
};

/// What the result ends with, bytes: "no further entry" and eof.
const END_BYTES: usize = 8;
/// Typical entries, bytes: how many to ask for.
const PLAIN_GUESS: usize = 32;
const PLUS_GUESS: usize = 160;

/// How much of the optional parts a result carries: less is tried when nothing fits.
#[derive(Clone, Copy)]
struct Shape {
    /// Attributes of the directory.
    dir: bool,
    /// READDIRPLUS: attributes and handles of the entries.
    entries: bool,
}

const SHAPES: [Shape; 3] = [
    Shape { dir: true, entries: true },
    Shape { dir: false, entries: true },
    Shape { dir: false, entries: false },
];

/// READDIR (§3.3.16) and, with `dircount`, READDIRPLUS (§3.3.17).
///
/// `count` bounds the result, all XDR included; `dircount` bounds fileids, names and cookies and is
/// only a hint: one entry is always given.
pub async fn readdir(cx: Cx, dir: FileId, cookie: u64, dircount: Option<u32>, count: u32) -> Reply {
    let total = count.min(TRANSFER_BYTES) as usize;
    let guess = if dircount.is_some() { PLUS_GUESS } else { PLAIN_GUESS };
    let limit = (total / guess + 1).min(DIR_ENTRIES);
    let page = cx.volume().readdir(&cx.caller, dir, cookie, limit, dircount.is_some()).await;
    let mut page = match page {
        Ok(page) => page,
        Err(failure) => return cx.fail_post(&failure),
    };
    if cookie < 2 && is_top(&cx, dir).await {
        hide_parent(&mut page);
    }
    let writer = Writer { cx: &cx, page: &page, total, dircount };
    for shape in SHAPES {
        if let Some(e) = writer.write(shape) {
            return done(e, Status::Ok);
        }
    }
    let mut e = cx.reply();
    e.u32(Status::TooSmall as u32);
    post_op(&mut e, cx.fsid(), Some(&page.dir));
    done(e, Status::TooSmall)
}

/// At the top of an export `..` is the directory itself.
fn hide_parent(page: &mut DirPage) {
    let DirPage { entries, dir, .. } = page;
    if let Some(up) = entries.iter_mut().find(|e| e.name.as_ref() == b"..") {
        up.ino = dir.id.ino;
        up.attributes = up.attributes.is_some().then(|| dir.clone());
    }
}

struct Writer<'a> {
    cx: &'a Cx,
    page: &'a DirPage,
    total: usize,
    dircount: Option<u32>,
}

impl Writer<'_> {
    /// The reply in this shape; `None` if there are entries and not one fits.
    fn write(&self, shape: Shape) -> Option<Enc> {
        let mut e = self.cx.ok();
        let start = e.len();
        post_op(&mut e, self.cx.fsid(), shape.dir.then_some(&self.page.dir));
        // The verifier is constant: cookies are good for ever (R21).
        e.u64(0);
        let mut names = 0;
        let mut written = 0;
        for entry in &self.page.entries {
            let before = e.len();
            self.entry(&mut e, entry, shape);
            names += 8 + 4 + entry.name.len().next_multiple_of(4) + 8;
            let over = e.len() - start + END_BYTES > self.total;
            let enough = written > 0 && self.dircount.is_some_and(|d| names > d as usize);
            if over || enough {
                e.truncate(before);
                break;
            }
            written += 1;
        }
        let fits = e.len() - start + END_BYTES <= self.total;
        if !fits || (written == 0 && !self.page.entries.is_empty()) {
            return None;
        }
        let all = written == self.page.entries.len();
        e.bool(false).bool(all && self.page.end);
        Some(e)
    }

    fn entry(&self, e: &mut Enc, entry: &DirEntry, shape: Shape) {
        e.bool(true).u64(entry.ino).opaque(&entry.name).u64(entry.cookie);
        if self.dircount.is_none() {
            return;
        }
        let attributes = entry.attributes.as_ref().filter(|_| shape.entries);
        post_op(e, self.cx.fsid(), attributes);
        e.bool(attributes.is_some());
        if let Some(a) = attributes {
            e.opaque(&self.cx.handle(a.id));
        }
    }
}
