//! Walks everything and says what does not hold. Reads one view; changes nothing.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use headhunter::{LogError, Lost, SegmentId, Seq};

use crate::{
    Entry, Extent, FileId, Files, Inode, Kind, Pending, ROOT, format, key,
    limits::{FINDINGS, MAX_FILE_BYTES},
    scan::scan,
};

/// What a check saw.
#[derive(Debug, Default)]
pub struct Report {
    /// What does not hold, in words; empty for a sound volume. At most [`FINDINGS`].
    pub findings: Vec<String>,
    /// Inodes, those without a name included.
    pub inodes: u64,
    /// Directory entries.
    pub entries: u64,
    /// Extents, dead ones included.
    pub extents: u64,
    /// Referenced logical bytes per segment: what usage must say (R9), index pages left out.
    pub usage: BTreeMap<SegmentId, u64>,
    /// Where extents point, if that was asked for: offset and bytes of each data entry as stored,
    /// in the order of the files, mostly once.
    pub places: BTreeMap<SegmentId, Vec<(u32, u32)>>,
    /// Inodes without a name that wait to be removed (R22), ascending.
    pub orphans: Vec<u64>,
    /// Keys that could not be read and so were not checked.
    pub lost: Vec<Lost>,
}

impl Report {
    /// Adds a finding, unless there are too many already.
    pub fn find(&mut self, text: String) {
        if self.findings.len() < FINDINGS {
            self.findings.push(text);
        }
    }
}

/// Checks the files of one view of `files`' index.
///
/// Errors: whatever reading pages gave.
pub async fn check(files: &Files) -> Result<Report, LogError> {
    check_except(files, Vec::new(), false).await
}

/// Checks the files of one view of `files`' index, but for the keys `lost`, which cannot be read.
/// `places`: fill in [`Report::places`]; eight bytes for each frame.
///
/// Errors: whatever reading pages gave.
pub async fn check_except(
    files: &Files,
    lost: Vec<Lost>,
    places: bool,
) -> Result<Report, LogError> {
    let index = files.index();
    let view = index.view();
    let newest = index.last_seq();
    let mut walk = Walk { files: Some(files), places, newest, ..Walk::default() };
    walk.report.lost = lost.clone();
    let volume = key::prefix(key::VOLUME, 0).to_vec();
    let end = key::prefix(key::VOLUME, u8::MAX);
    scan(index, &view, &volume, &end, &lost, |k, v| walk.volume_key(k, v)).await?;
    let first = key::prefix(1, 0);
    scan(index, &view, &first, &volume, &lost, |k, v| walk.key(k, v)).await?;
    walk.finish_inode();
    walk.finish();
    Ok(walk.report)
}

struct Declared {
    kind: Kind,
    nlink: u32,
    generation: u32,
    parent: u64,
}

/// The inode whose keys are being walked.
#[derive(Default)]
struct Current {
    ino: u64,
    inode: Option<Inode>,
    weight: u64,
    subdirs: u32,
    used: u64,
    /// End of the last live extent.
    end: u64,
    target: u64,
}

#[derive(Default)]
struct Walk<'a> {
    files: Option<&'a Files>,
    report: Report,
    next_number: u64,
    counted: u64,
    pending: HashMap<u64, Pending>,
    declared: HashMap<u64, Declared>,
    /// Names of each inode.
    named: HashMap<u64, u32>,
    /// Directory, and what its entry says.
    seen: Vec<(u64, Kind, FileId)>,
    current: Current,
    places: bool,
    newest: Seq,
}

impl Walk<'_> {
    fn is_lost(&self, key: &[u8]) -> bool {
        self.report.lost.iter().any(|lost| lost.holds(key))
    }

    /// Whether any key of `from..to` cannot be read.
    fn some_lost(&self, from: &[u8], to: &[u8]) -> bool {
        let meets = |lost: &Lost| {
            &lost.low[..] < to && lost.high.as_ref().is_none_or(|high| from < &high[..])
        };
        self.report.lost.iter().any(meets)
    }

    fn volume_key(&mut self, key: &[u8], value: &Bytes) {
        match key::split(key) {
            Some((_, key::NEXT_NUMBER, [])) => match format::counter(value) {
                Some(n) => self.next_number = n,
                None => self.report.find("the number counter does not decode".into()),
            },
            Some((_, key::INODES, [])) => match format::counter(value) {
                Some(n) => self.counted = n,
                None => self.report.find("the inode counter does not decode".into()),
            },
            Some((_, key::PENDING, _)) => match (key::sub_u64(key), Pending::decode(value)) {
                (Some(ino), Some(pending)) => {
                    self.pending.insert(ino, pending);
                }
                _ => self.report.find(format!("pending work {key:02x?} does not decode")),
            },
            Some((_, key::LOCKER, session)) if session.len() != 16 || !value.is_empty() => {
                self.report.find(format!("session {key:02x?} does not decode"));
            }
            _ => {}
        }
    }

    fn key(&mut self, key: &[u8], value: &Bytes) {
        let Some((ino, kind, _)) = key::split(key) else {
            return self.report.find(format!("short key {key:02x?}"));
        };
        if ino != self.current.ino {
            self.finish_inode();
            self.current = Current { ino, ..Current::default() };
        }
        match kind {
            key::ATTRIBUTES => self.attributes(ino, value),
            key::TARGET => self.current.target += value.len() as u64,
            key::ENTRY => match key::sub_u64(key).and_then(|c| Entry::decode(c, value)) {
                Some(entry) => self.entry(ino, &entry),
                None => self.report.find(format!("inode {ino}: an entry does not decode")),
            },
            key::EXTENT => match key::sub_u64(key).and_then(|s| Extent::decode(s, value)) {
                Some(extent) => self.extent(ino, &extent),
                None => self.report.find(format!("inode {ino}: an extent does not decode")),
            },
            key::XATTR => {}
            other => self.report.find(format!("inode {ino}: unknown kind {other} of key")),
        }
    }

    fn attributes(&mut self, ino: u64, value: &[u8]) {
        let Some(inode) = Inode::decode(ino, value) else {
            return self.report.find(format!("inode {ino}: attributes do not decode"));
        };
        self.report.inodes += 1;
        let declared = Declared {
            kind: inode.kind,
            nlink: inode.nlink,
            generation: inode.id.generation,
            parent: inode.parent,
        };
        self.declared.insert(ino, declared);
        let rising = inode.marks.windows(2);
        if !rising.clone().all(|w| w[0].offset < w[1].offset && w[0].seq < w[1].seq) {
            self.report.find(format!("inode {ino}: truncate marks do not rise"));
        }
        self.current.inode = Some(inode);
    }

    fn entry(&mut self, dir: u64, entry: &Entry) {
        self.report.entries += 1;
        self.current.weight += Entry::weight(&entry.name);
        if entry.kind == Kind::Directory {
            self.current.subdirs += 1;
        }
        let name = entry.name.escape_ascii();
        if self.files.is_some_and(|f| !f.cookie_fits(&entry.name, entry.cookie)) {
            self.report.find(format!("inode {dir}: entry {name} is not at its hash"));
        }
        if entry.name.contains(&b'/') || entry.name.contains(&0) {
            self.report.find(format!("inode {dir}: bad name {name}"));
        }
        let named = self.named.entry(entry.id.ino).or_default();
        *named += 1;
        if entry.kind == Kind::Directory && *named > 1 {
            let child = entry.id.ino;
            self.report.find(format!("directory {child} has more than one name"));
        }
        // The inode may come later in the walk, so what an entry says is compared at the end.
        self.seen.push((dir, entry.kind, entry.id));
    }

    fn extent(&mut self, ino: u64, e: &Extent) {
        self.report.extents += 1;
        self.current.used += u64::from(e.len);
        *self.report.usage.entry(e.location.segment).or_default() += u64::from(e.len);
        if self.places {
            let place = (e.location.offset, e.location.stored);
            let places = self.report.places.entry(e.location.segment).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
        if e.birth > self.newest {
            self.report.find(format!("inode {ino}: extent at {} is of a later time", e.start));
        }
        let Some(inode) = &self.current.inode else { return };
        if inode.is_dead(e) {
            return;
        }
        if e.start < self.current.end {
            self.report.find(format!("inode {ino}: extents overlap at {}", e.start));
        }
        let crossed =
            inode.marks.iter().any(|m| e.birth < m.seq && (e.start..e.end()).contains(&m.offset));
        if crossed {
            self.report.find(format!("inode {ino}: extent at {} crosses a mark", e.start));
        }
        if e.end() > inode.size {
            self.report.find(format!("inode {ino}: extent at {} beyond the size", e.start));
        }
        self.current.end = e.end();
    }

    fn finish_inode(&mut self) {
        let current = std::mem::take(&mut self.current);
        if current.ino == 0 {
            return;
        }
        let ino = current.ino;
        if self.some_lost(&key::prefix(ino, 0), &key::prefix(ino + 1, 0)) {
            return;
        }
        let volume = key::prefix(key::VOLUME, 0);
        if self.some_lost(&volume, &key::prefix(key::VOLUME, u8::MAX)) {
            return;
        }
        if ino >= self.next_number {
            self.report.find(format!("inode {ino}: its number was never reserved"));
        }
        let Some(inode) = current.inode else {
            return self.report.find(format!("inode {ino}: keys without attributes"));
        };
        if inode.used != current.used {
            let (said, is) = (inode.used, current.used);
            self.report.find(format!("inode {ino}: used says {said}, extents hold {is}"));
        }
        let size = match inode.kind {
            Kind::Directory => current.weight,
            Kind::Symlink => current.target,
            _ => inode.size,
        };
        if inode.size != size || size > MAX_FILE_BYTES {
            self.report.find(format!("inode {ino}: size says {}, is {size}", inode.size));
        }
        if inode.kind == Kind::Directory && inode.nlink > 0 && inode.nlink != 2 + current.subdirs {
            let is = 2 + current.subdirs;
            self.report.find(format!("directory {ino}: nlink says {}, is {is}", inode.nlink));
        }
        let pending = self.pending.get(&ino).copied();
        let fits = match (inode.nlink, inode.marks.is_empty(), pending) {
            (0, _, Some(Pending::Unlinked | Pending::Open)) => true,
            (0, ..) => false,
            (_, false, Some(Pending::Truncated)) | (_, true, None | Some(Pending::Truncated)) => {
                true
            }
            _ => false,
        };
        if !fits {
            let (n, m) = (inode.nlink, inode.marks.len());
            let text =
                format!("inode {ino}: nlink {n}, {m} marks, but pending work is {pending:?}");
            self.report.find(text);
        }
    }

    fn finish(&mut self) {
        let mut found = Vec::new();
        let orphan = |pending: &Pending| matches!(pending, Pending::Unlinked | Pending::Open);
        let orphans = self.pending.iter().filter(|(_, pending)| orphan(pending));
        self.report.orphans = orphans.map(|(ino, _)| *ino).collect();
        self.report.orphans.sort_unstable();
        for (ino, pending) in &self.pending {
            if !self.declared.contains_key(ino) && !self.is_lost(&key::attributes(*ino)) {
                found.push(format!("pending work {pending:?} of inode {ino}, which is absent"));
            }
        }
        for (dir, kind, id) in &self.seen {
            let ino = id.ino;
            match self.declared.get(&ino) {
                None if self.is_lost(&key::attributes(ino)) => {}
                None => found.push(format!("directory {dir} names inode {ino}, which is absent")),
                Some(d) if d.kind != *kind || d.generation != id.generation => {
                    found.push(format!(
                        "directory {dir} names inode {ino} with another type or generation"
                    ));
                }
                Some(d) if d.kind == Kind::Directory && d.parent != *dir => {
                    found.push(format!("directory {ino}: .. says {}, is {dir}", d.parent));
                }
                Some(_) => {}
            }
        }
        // What is counted needs all of it.
        let whole = self.report.lost.is_empty();
        for (ino, d) in self.declared.iter().filter(|_| whole) {
            let links = self.named.get(ino).copied().unwrap_or(0);
            let right = match d.kind {
                Kind::Directory if *ino == ROOT => links == 0 && d.parent == ROOT && d.nlink > 0,
                Kind::Directory => links == u32::from(d.nlink > 0),
                _ => links == d.nlink,
            };
            if !right {
                found.push(format!("inode {ino}: nlink says {}, {links} names", d.nlink));
            }
        }
        if whole && !self.declared.contains_key(&ROOT) {
            found.push("the root directory is absent".into());
        }
        if whole && self.report.inodes != self.counted {
            let (said, is) = (self.counted, self.report.inodes);
            found.push(format!("the volume counts {said} inodes, has {is}"));
        }
        found.sort();
        found.into_iter().for_each(|text| self.report.find(text));
    }
}
