//! Listing in name order, and deleting.

use std::{collections::BTreeMap, io, path::PathBuf};

use super::Inner;
use crate::{
    ObjectName, StoreError,
    disk::EntryKind,
    local::{Doing, sorted},
};

/// What a listing looks for.
struct Wanted<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
}

impl Wanted<'_> {
    /// Whether any name that begins with `dir` (which ends with `/`) can be wanted.
    fn below(&self, dir: &str) -> bool {
        let in_prefix = dir.starts_with(self.prefix) || self.prefix.starts_with(dir);
        let not_passed = self.after.is_none_or(|a| dir > a || a.starts_with(dir));
        in_prefix && not_passed
    }

    fn name(&self, name: &str) -> bool {
        name.starts_with(self.prefix) && self.after.is_none_or(|a| name > a)
    }
}

impl Inner {
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectName>, StoreError> {
        self.check_root()?;
        let mut found = Vec::new();
        self.walk("", &Wanted { prefix, after, limit }, &mut found)?;
        Ok(found)
    }

    /// Adds the wanted names below `dir` ("" or ending with `/`), ascending.
    fn walk(
        &self,
        dir: &str,
        wanted: &Wanted<'_>,
        found: &mut Vec<ObjectName>,
    ) -> Result<(), StoreError> {
        let path = self.root.join(dir);
        let failed = |e: io::Error| sorted(Doing::Reading, format!("list {}", path.display()), &e);
        let entries = match self.disk.entries(&path) {
            // Directories are never removed by a store; the root was looked at already.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.is_empty() => return Ok(()),
            other => other.map_err(failed)?,
        };
        self.adopt(&path).map_err(failed)?;
        // A directory sorts as its name and `/`, as the names below it do.
        let mut names: Vec<(String, EntryKind)> = entries
            .into_iter()
            .filter_map(|entry| {
                let name = entry.name.to_str()?;
                if dir.is_empty() && self.reserved.iter().any(|r| r == name) {
                    return None;
                }
                let slash = if entry.kind == EntryKind::Directory { "/" } else { "" };
                Some((format!("{dir}{name}{slash}"), entry.kind))
            })
            .collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, kind) in names {
            if found.len() >= wanted.limit {
                break;
            }
            match kind {
                EntryKind::Directory if wanted.below(&name) => self.walk(&name, wanted, found)?,
                // What is no legal name is no object: someone else's file.
                EntryKind::File if wanted.name(&name) => found.extend(ObjectName::new(name)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Unlinks each, then syncs each directory once.
    pub(super) fn delete_many(&self, names: &[ObjectName]) -> Vec<Result<(), StoreError>> {
        let mut outcome: Vec<Result<(), StoreError>> = Vec::with_capacity(names.len());
        let mut touched: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (i, name) in names.iter().enumerate() {
            let one = self.unlink(name);
            if let Ok(Some(dir)) = &one {
                touched.entry(dir.clone()).or_default().push(i);
            }
            outcome.push(one.map(drop));
        }
        for (dir, indexes) in touched {
            if let Err(e) = self.disk.sync_dir(&dir) {
                for i in indexes {
                    // A later fsync that succeeds proves nothing: the kernel reports a failed
                    // write-back once. An entry that the next try removes makes the directory dirty
                    // again, also where that is another process.
                    let _ = self.path_of(&names[i]).map(|path| self.disk.create_new(&path));
                    outcome[i] = Err(sorted(Doing::Writing, format!("delete {}", names[i]), &e));
                }
            }
        }
        outcome
    }

    /// Unlinks one; gives the directory to be synced, `None` where there is none.
    fn unlink(&self, name: &ObjectName) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path_of(name)?;
        let dir = path.parent().unwrap_or(&self.root).to_owned();
        let unlinked = self.disk.unlink(&path);
        self.open.forget(name);
        match unlinked {
            Ok(()) => Ok(Some(dir)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.check_root()?;
                // Absent to the eye; an earlier unlink may have lacked its fsync.
                Ok(self.disk.exists(&dir).unwrap_or(false).then_some(dir))
            }
            Err(e) => Err(sorted(Doing::Writing, format!("delete {name}"), &e)),
        }
    }
}
