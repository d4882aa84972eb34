//! The journal's directory, as it lies there.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use swiftclient::disk::{Disk, EntryKind};

use super::{Damage, Survey, named};
use crate::{
    LogError, SegmentId,
    error::journal_error,
    format::{Examined, FormatError, JournalIdentity, JournalSeal, examine},
    journal::parse_segment,
    recovery::read_whole,
};

/// What a name in a journal directory is.
#[derive(Clone, Debug)]
pub enum JournalItemKind {
    /// The journal's identity, or why it is none.
    Identity(Result<JournalIdentity, FormatError>),
    /// A segment's file; its generation.
    Segment(SegmentId, u32),
    /// The mark that an epoch was taken over, or why it is none.
    Seal(Result<JournalSeal, FormatError>),
    /// A directory with void files of an ended epoch.
    Aside,
    /// Anything else: a temporary file, the locks.
    Other,
}

/// One name in a journal directory.
#[derive(Clone, Debug)]
pub struct JournalItem {
    /// Its path.
    pub path: PathBuf,
    /// What it is.
    pub kind: JournalItemKind,
}

/// What reading a whole journal found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Files read, and their bytes.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What does not hold and was durable.
    pub damage: Vec<Damage>,
    /// What is no damage and still should be known: torn tails (R11), files passed over (R4).
    pub torn: Vec<String>,
}

/// Everything in the journal directory `dir`, by name.
///
/// Errors: `Journal`.
pub fn journal_items(disk: &dyn Disk, dir: &Path) -> Result<Vec<JournalItem>, LogError> {
    let entries = disk.entries(dir).map_err(|e| journal_error("list", dir, e))?;
    let mut items = Vec::new();
    for entry in entries {
        let path = dir.join(&entry.name);
        let name = entry.name.to_string_lossy().into_owned();
        let read = || match disk.open_read(&path).and_then(|file| read_whole(&*file)) {
            Ok(bytes) => Ok(bytes),
            Err(e) => Err(journal_error("read", &path, e)),
        };
        let kind = if entry.kind == EntryKind::Directory {
            if name.starts_with("aside-") { JournalItemKind::Aside } else { JournalItemKind::Other }
        } else if name == "journal" {
            JournalItemKind::Identity(JournalIdentity::decode(&read()?))
        } else if name.starts_with("sealed-") {
            JournalItemKind::Seal(JournalSeal::decode(&read()?))
        } else if let Some(found) = parse_segment(&name) {
            JournalItemKind::Segment(found.id, found.generation)
        } else {
            JournalItemKind::Other
        };
        items.push(JournalItem { path, kind });
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

impl Survey {
    /// Everything in the journal's directory, by name; nothing where there is no journal.
    ///
    /// Errors: `Journal`.
    pub fn journal(&self) -> Result<Vec<JournalItem>, LogError> {
        match &self.journal {
            Some(dir) if self.exists(dir)? => journal_items(&*self.disk, dir),
            _ => Ok(Vec::new()),
        }
    }

    fn exists(&self, path: &Path) -> Result<bool, LogError> {
        self.disk.exists(path).map_err(|e| journal_error("look at", path, e))
    }

    /// A file of the journal, whole; `None`: it is gone.
    ///
    /// Errors: `Journal`.
    pub fn file(&self, path: &Path) -> Result<Option<Bytes>, LogError> {
        match self.disk.open_read(path).and_then(|file| read_whole(&*file)) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(journal_error("read", path, e)),
        }
    }

    /// Reads every byte of the journal. What does not hold below what was known durable is damage;
    /// what was torn off above it was never acknowledged.
    ///
    /// Errors: `Journal`.
    pub fn verify_journal(&self) -> Result<Verified, LogError> {
        let mut found = Verified::default();
        for item in self.journal()? {
            let place = item.path.display().to_string();
            let fault = match item.kind {
                JournalItemKind::Identity(Err(e)) | JournalItemKind::Seal(Err(e)) => e.to_string(),
                JournalItemKind::Segment(id, _) => {
                    let Some(bytes) = self.file(&item.path)? else { continue };
                    found.files += 1;
                    found.bytes += bytes.len() as u64;
                    self.journal_segment(&place, id, &examine(&bytes), &mut found);
                    continue;
                }
                _ => continue,
            };
            let (segment, range, owner) = (None, 0..0, None);
            found.damage.push(Damage { place, segment, range, reason: fault, owner });
        }
        Ok(found)
    }

    fn journal_segment(
        &self,
        place: &str,
        id: SegmentId,
        examined: &Examined,
        found: &mut Verified,
    ) {
        match &examined.header {
            // Made in advance, never written.
            Err(FormatError::Blank { .. }) => return,
            // Another volume's, or another segment's: it counts as absent (R4).
            Ok(h) if h.id != id || h.volume != self.header.uuid => {
                found.torn.push(format!("{place}: holds {}: it is passed over", h.id));
                return;
            }
            _ => {}
        }
        let (faults, tail) = examined.faults_of_unfinished();
        found.damage.extend(named(place, Some(id), examined, faults));
        if let Some((offset, fault)) = tail {
            found.torn.push(format!(
                "{place}: torn at byte {offset} ({fault}): never acknowledged, will be dropped"
            ));
        }
    }

    /// The journal's bytes of a segment: of its generations the one with more entries.
    pub(super) fn in_journal(&self, id: SegmentId) -> Result<Option<Bytes>, LogError> {
        let mut best: Option<(usize, Bytes)> = None;
        for item in self.journal()? {
            if !matches!(item.kind, JournalItemKind::Segment(found, _) if found == id) {
                continue;
            }
            let Some(bytes) = self.file(&item.path)? else { continue };
            let entries = examine(&bytes).entries().count();
            if best.as_ref().is_none_or(|(n, _)| *n <= entries) {
                best = Some((entries, bytes));
            }
        }
        Ok(best.map(|(_, bytes)| bytes))
    }
}
