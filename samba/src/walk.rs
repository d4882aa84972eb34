//! Paths, where one step after another must be known: the canonical form, no links allowed, or a
//! share whose root is not the volume's. All else the server walks in one request.

use std::{collections::VecDeque, sync::Arc};

use rpc::{Attributes, FileId, Identity, Kind, calls::FOLLOW, limits};

use crate::share::{Errno, Share};

/// What to make of a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// A symbolic link at its end is resolved too.
    pub follow: bool,
    /// Any symbolic link is `ELOOP`.
    pub no_links: bool,
    /// The canonical path is wanted; it begins at the share's root.
    pub canonical: bool,
}

/// Where a path led to.
pub struct Reached {
    pub attributes: Attributes,
    /// Without `/` before or behind.
    pub canonical: Vec<u8>,
}

fn parts(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

struct Walker<'a> {
    share: &'a Share,
    who: &'a Identity,
    /// Names and identities below where it began.
    trail: Vec<(Vec<u8>, FileId)>,
    start: FileId,
    here: FileId,
    links: u32,
}

impl Walker<'_> {
    fn restart(&mut self) {
        self.trail.clear();
        self.start = self.share.root;
        self.here = self.start;
    }

    fn up(&mut self) -> Result<Attributes, Errno> {
        if self.trail.pop().is_some() {
            self.here = self.trail.last().map_or(self.start, |(_, id)| *id);
        } else if self.here != self.share.root {
            let above = self.share.stat(self.who, self.here, b"..", 0)?;
            self.start = above.id;
            self.here = above.id;
        }
        self.share.stat(self.who, self.here, b"", 0)
    }

    fn canonical(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.trail.iter().map(|(name, _)| &name[..]).collect();
        names.join(&b'/')
    }
}

/// Walks `path` from `from`, or from the share's root if it begins with `/`.
pub fn walk(
    share: &Arc<Share>,
    who: &Identity,
    from: FileId,
    path: &[u8],
    how: How,
) -> Result<Reached, Errno> {
    let from = if path.first() == Some(&b'/') { share.root } else { from };
    let mut left: VecDeque<Vec<u8>> = parts(path).map(<[u8]>::to_vec).collect();
    // One step down leaves no share and has nothing on its way.
    let one = left.len() == 1 && left[0] != b".." && !how.follow;
    if !how.canonical && (left.is_empty() || !how.no_links && (one || share.whole)) {
        let flags = if how.follow { FOLLOW } else { 0 };
        let path: Vec<&[u8]> = left.iter().map(|part| &part[..]).collect();
        let attributes = share.stat(who, from, &path.join(&b'/'), flags)?;
        return Ok(Reached { attributes, canonical: Vec::new() });
    }
    let mut walker = Walker { share, who, trail: Vec::new(), start: from, here: from, links: 0 };
    let mut attributes = None;
    while let Some(part) = left.pop_front() {
        if part == b".." {
            attributes = Some(walker.up()?);
            continue;
        }
        let found = share.stat(who, walker.here, &part, 0)?;
        if found.kind == Kind::Symlink {
            if how.no_links {
                return Err(libc::ELOOP);
            }
            if how.follow || !left.is_empty() {
                walker.links += 1;
                if walker.links > limits::LINKS {
                    return Err(libc::ELOOP);
                }
                let target = share.readlink(who, walker.here, &part)?;
                if target.first() == Some(&b'/') {
                    walker.restart();
                }
                for part in parts(&target).rev() {
                    left.push_front(part.to_vec());
                }
                attributes = None;
                continue;
            }
        }
        if found.kind != Kind::Directory && !left.is_empty() {
            return Err(libc::ENOTDIR);
        }
        walker.here = found.id;
        walker.trail.push((part, found.id));
        attributes = Some(found);
    }
    let attributes = match attributes {
        Some(attributes) => attributes,
        None => share.stat(who, walker.here, b"", 0)?,
    };
    Ok(Reached { attributes, canonical: walker.canonical() })
}
