//! Whose bytes are concerned: from places in the log back to files and their names. A scan each: for
//! the operator's tools, when something is damaged.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

use bytes::Bytes;
use headhunter::{LogError, Lost, SegmentId};

use crate::{Entry, Extent, Files, Inode, Kind, ROOT, key, limits::BLAMED, scan::scan};

/// A piece of a file whose bytes lie in a place that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// The file.
    pub ino: u64,
    /// The piece.
    pub extent: Extent,
}

/// Directory levels followed upwards at most.
const LEVELS: usize = 4_096;

/// Which living pieces of files lie in `places` (bytes of segments); at most [`BLAMED`]. Keys in
/// `lost` cannot be read and are passed over.
///
/// Errors: whatever reading pages gave.
pub async fn blame(
    files: &Files,
    places: &BTreeMap<SegmentId, Vec<Range<u32>>>,
    lost: &[Lost],
) -> Result<Vec<Blamed>, LogError> {
    let mut found = Vec::new();
    let mut of: Option<Inode> = None;
    let (index, view) = (files.index(), files.index().view());
    let (first, end) = (key::prefix(1, 0), key::prefix(key::VOLUME, 0));
    scan(index, &view, &first, &end, lost, |k, v| match key::split(k) {
        Some((ino, key::ATTRIBUTES, _)) => of = Inode::decode(ino, v),
        Some((ino, key::EXTENT, _)) => {
            let Some(extent) = key::sub_u64(k).and_then(|s| Extent::decode(s, v)) else { return };
            let at = extent.location;
            let meets = |range: &Range<u32>| {
                range.start < at.offset.saturating_add(at.stored) && at.offset < range.end
            };
            let dead =
                of.as_ref().is_some_and(|inode| inode.id.ino == ino && inode.is_dead(&extent));
            let bad = places.get(&at.segment).is_some_and(|ranges| ranges.iter().any(meets));
            if bad && !dead && found.len() < BLAMED {
                found.push(Blamed { ino, extent });
            }
        }
        _ => {}
    })
    .await?;
    Ok(found)
}

/// A path of each of these inodes that has a name: of hard links the first found.
///
/// Errors: whatever reading pages gave.
pub async fn paths(
    files: &Files,
    wanted: &BTreeSet<u64>,
    lost: &[Lost],
) -> Result<HashMap<u64, Vec<u8>>, LogError> {
    let mut up: HashMap<u64, (u64, Bytes)> = HashMap::new();
    let (index, view) = (files.index(), files.index().view());
    let (first, end) = (key::prefix(1, 0), key::prefix(key::VOLUME, 0));
    scan(index, &view, &first, &end, lost, |k, v| {
        let Some((dir, key::ENTRY, _)) = key::split(k) else { return };
        let Some(entry) = key::sub_u64(k).and_then(|c| Entry::decode(c, v)) else { return };
        if entry.kind == Kind::Directory || wanted.contains(&entry.id.ino) {
            up.entry(entry.id.ino).or_insert((dir, entry.name));
        }
    })
    .await?;
    let path = |ino: u64| {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT {
            let (dir, name) = up.get(&at)?;
            names.push(name);
            at = *dir;
            if names.len() > LEVELS {
                return None;
            }
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Some(if path.is_empty() { b"/".to_vec() } else { path })
    };
    Ok(wanted.iter().filter_map(|ino| Some((*ino, path(*ino)?))).collect())
}
