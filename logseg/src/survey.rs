//! Looking at what lies in store and journal, for the operator's tools: every byte is read and
//! checked, nothing is believed, nothing is written, no lock is taken.
//!
//! It must never know: what a record or a page means.
//!
//! 1. It asks the store for objects by name or by listing, the journal by its directory; it never
//!    puts, deletes, creates or truncates.
//! 2. What vanishes between listing and reading was retired or stored meanwhile: it is passed over.

mod journal;
mod roots;

use std::{ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
pub use journal::{JournalItem, JournalItemKind, Verified, journal_items};
use swiftclient::{ObjectName, ObjectStore, disk::Disk};

use crate::{
    Location, LogConfig, LogError, Owner, SegmentId, VolumeHeader,
    crypto::{SegmentCipher, VolumeKey},
    format::{
        ChainName, ChainObject, ENTRY_HEADER, EntryHeader, Examined, FOOTER_TAIL, Footer,
        FooterTail, Kind, Seal, Seed, Stretch, chain_object, decode_checkpoint, decode_volume,
        examine, open_body, parse_name, segment_name,
    },
};

/// Names asked for in one listing.
const PAGE: usize = 1000;
/// A seal is shorter than this, bytes: its envelope holds no more than the holder's name.
const SEAL_MOST: u64 = 64 << 10;

/// Bytes that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The object's name, or the journal file's path.
    pub place: String,
    /// The segment, where it is one.
    pub segment: Option<SegmentId>,
    /// The bytes concerned: an entry, or all between two that hold.
    pub range: Range<u32>,
    /// What does not hold.
    pub reason: String,
    /// Whose data was written there, where that can still be read (a file's number, to whom a name
    /// may no longer refer).
    pub owner: Option<Owner>,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: damaged at byte {}: {}", self.place, self.range.start, self.reason)?;
        match self.owner {
            Some(owner) => write!(f, " (data of inode {})", owner.0),
            None => Ok(()),
        }
    }
}

/// A volume's store and journal, to be looked at.
#[derive(Clone)]
pub struct Survey {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) header: VolumeHeader,
    pub(crate) key: Option<VolumeKey>,
}

impl Survey {
    /// Of the volume that `config` opens.
    pub fn new(config: &LogConfig, header: &VolumeHeader) -> Self {
        Self {
            store: config.store.clone(),
            disk: config.disk.clone(),
            journal: config.journal.clone(),
            header: header.clone(),
            key: config.key.clone(),
        }
    }

    /// Names of all objects that begin with `prefix`, ascending.
    ///
    /// Errors: `Store`.
    pub async fn names(&self, prefix: &str) -> Result<Vec<ObjectName>, LogError> {
        let mut names: Vec<ObjectName> = Vec::new();
        loop {
            let after = names.last().map(|name| name.as_str().to_owned());
            let page = self.store.list(prefix, after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            names.extend(page);
            if !full {
                return Ok(names);
            }
        }
    }

    /// Ids of all objects called like segments, seals among them, ascending by name.
    ///
    /// Errors: `Store`.
    pub async fn segments(&self) -> Result<Vec<SegmentId>, LogError> {
        let mut found = Vec::new();
        for prefix in ["seg/", "side/"] {
            let names = self.names(prefix).await?;
            found.extend(names.iter().filter_map(|name| match parse_name(name.as_str()) {
                Some(ChainName::Segment(id)) => Some(id),
                _ => None,
            }));
        }
        Ok(found)
    }

    /// True if the object of this id is a seal, which stays for ever (R3).
    ///
    /// Errors: `Store`.
    pub async fn is_seal(&self, id: SegmentId) -> Result<bool, LogError> {
        // A seal is small, and of a segment the header suffices.
        match self.store.get(&segment_name(id), 0..SEAL_MOST).await {
            Ok(begin) => Ok(matches!(chain_object(&begin), Ok(ChainObject::Seal(_)))),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// The object, whole; `None`: there is none.
    ///
    /// Errors: `Store`.
    pub async fn object(&self, name: &ObjectName) -> Result<Option<Bytes>, LogError> {
        match self.store.get(name, 0..u64::MAX).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Reads an object whole: its bytes, and what of it does not hold. Wires lie too: what does not
    /// hold is asked for once more.
    ///
    /// Errors: `Store`.
    pub async fn verify(&self, name: &ObjectName) -> Result<(u64, Vec<Damage>), LogError> {
        let mut found = (0, Vec::new());
        for _ in 0..2 {
            let Some(bytes) = self.object(name).await? else { return Ok((0, Vec::new())) };
            found = (bytes.len() as u64, self.damage_of(name, &bytes));
            if found.1.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    fn damage_of(&self, name: &ObjectName, bytes: &Bytes) -> Vec<Damage> {
        let whole = |reason: String| {
            let end = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let (place, range) = (name.to_string(), 0..end);
            vec![Damage { place, segment: None, range, reason, owner: None }]
        };
        let wrong = match parse_name(name.as_str()) {
            Some(ChainName::Volume) => decode_volume(bytes).err().map(|e| e.to_string()),
            Some(ChainName::Checkpoint(called)) => {
                decode_checkpoint(&self.header.uuid, called, bytes).err().map(|e| e.to_string())
            }
            Some(ChainName::Epoch(_)) => self.wrong_seal(bytes, None),
            Some(ChainName::Segment(id)) if bytes.starts_with(b"EskerEnd") => {
                self.wrong_seal(bytes, Some(id))
            }
            Some(ChainName::Segment(id)) => return self.damage_of_segment(name, id, bytes),
            None => None,
        };
        wrong.map_or(Vec::new(), whole)
    }

    fn wrong_seal(&self, bytes: &[u8], at: Option<SegmentId>) -> Option<String> {
        match Seal::decode(bytes) {
            Err(e) => Some(e.to_string()),
            Ok(seal) if seal.volume != self.header.uuid => Some("of another volume".into()),
            Ok(seal) if at.is_some_and(|at| at != seal.at) => {
                Some(format!("a seal of {} stands there", seal.at))
            }
            Ok(_) => None,
        }
    }

    fn damage_of_segment(&self, name: &ObjectName, id: SegmentId, bytes: &[u8]) -> Vec<Damage> {
        let examined = examine(bytes);
        let faults = examined.faults_of_whole();
        let mut found = named(&name.to_string(), Some(id), &examined, faults);
        if let Ok(header) = &examined.header
            && (header.id != id || header.volume != self.header.uuid)
        {
            let reason = format!("{} of another place stands there", header.id);
            let (place, range) = (name.to_string(), 0..256);
            found.push(Damage { place, segment: Some(id), range, reason, owner: None });
        }
        found
    }

    /// What a stored segment says of its entries, without reading them; `None`: there is no such
    /// object, or it is a seal.
    ///
    /// Errors: `Store`; `Corrupt` where its footer does not hold.
    pub async fn footer(&self, id: SegmentId) -> Result<Option<Footer>, LogError> {
        let name = segment_name(id);
        let len = match self.store.head(&name).await {
            Ok(info) => info.len,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let corrupt =
            |offset: u64, reason: String| LogError::Corrupt { segment: id, offset, reason };
        let tail_at = len.saturating_sub(FOOTER_TAIL as u64);
        let tail = self.store.get(&name, tail_at..len).await?;
        let tail = match tail.first_chunk().map(FooterTail::decode) {
            Some(Ok(tail)) if tail.id == id && tail.end() == len => tail,
            _ => {
                let begin = self.store.get(&name, 0..8).await?;
                if begin.starts_with(b"EskerEnd") {
                    return Ok(None);
                }
                return Err(corrupt(tail_at, "no footer ends it".into()));
            }
        };
        let bytes = self.store.get(&name, u64::from(tail.offset)..len).await?;
        Footer::decode(&bytes, &Seed::new(&tail.nonce), tail.offset)
            .map(Some)
            .map_err(|fault| corrupt(u64::from(tail.offset), fault.to_string()))
    }

    /// Where the entries of a segment lie, from whichever home has it: offset, kind, bytes as
    /// stored. `None`: neither has it.
    ///
    /// Errors: `Store`, `Journal`; `Corrupt` where nothing of it can be made out.
    pub async fn entries(&self, id: SegmentId) -> Result<Option<Vec<(u32, Kind, u32)>>, LogError> {
        match self.footer(id).await {
            Ok(Some(footer)) => {
                let all = footer.locations().map(|(e, at)| (e.offset, e.kind, at.stored));
                return Ok(Some(all.collect()));
            }
            Ok(None) => {}
            Err(LogError::Corrupt { .. }) => {
                // Its entries may be there all the same.
                let bytes = self.object(&segment_name(id)).await?.unwrap_or_default();
                return Ok(Some(places(&examine(&bytes))));
            }
            Err(e) => return Err(e),
        }
        Ok(self.in_journal(id)?.map(|bytes| places(&examine(&bytes))))
    }

    /// The decoded body of an entry found by [`examine`] in `bytes`, the segment.
    pub fn body(&self, examined: &Examined, bytes: &Bytes, offset: u32) -> Option<Bytes> {
        let header = examined.header.as_ref().ok()?;
        let entry = examined.stretches.iter().find_map(|s| match s {
            Stretch::Entry(entry) if entry.offset == offset => Some(entry),
            _ => None,
        })?;
        let cipher = self.key.as_ref().map(|key| SegmentCipher::new(key, &header.nonce));
        let cipher = cipher.filter(|_| header.encrypted);
        let body = bytes.slice_ref(entry.body(bytes));
        open_body(&entry.header, offset, &body, cipher.as_ref()).ok()
    }

    /// The entry at `location` of a stored segment: its header and decoded body.
    async fn entry(
        &self,
        location: &Location,
        nonce: &[u8; 16],
    ) -> Result<(EntryHeader, Bytes), LogError> {
        let begin = u64::from(location.offset);
        let range = begin..begin + u64::from(location.stored);
        let bytes = self.store.get(&segment_name(location.segment), range).await?;
        let corrupt = |fault: crate::format::EntryFault| LogError::Corrupt {
            segment: location.segment,
            offset: begin,
            reason: fault.to_string(),
        };
        let header = EntryHeader::decode(&bytes, &Seed::new(nonce), location.offset);
        let header = header.map_err(corrupt)?;
        let end = ENTRY_HEADER + header.body_len as usize;
        if bytes.len() < end {
            return Err(corrupt(crate::format::EntryFault::Cut));
        }
        let cipher = self.key.as_ref().map(|key| SegmentCipher::new(key, nonce));
        let body = bytes.slice(ENTRY_HEADER..end);
        let body = open_body(&header, location.offset, &body, cipher.as_ref());
        Ok((header, body.map_err(corrupt)?))
    }
}

fn places(examined: &Examined) -> Vec<(u32, Kind, u32)> {
    examined.entries().map(|e| (e.offset, e.header.kind, e.header.stored())).collect()
}

/// Faults with the bytes and the owner that they concern.
fn named(
    place: &str,
    segment: Option<SegmentId>,
    examined: &Examined,
    faults: Vec<(u32, String)>,
) -> Vec<Damage> {
    let one = |(offset, reason): (u32, String)| {
        let stretch = examined.stretches.iter().find(|s| s.offset() == offset);
        let range = match stretch {
            Some(stretch) => stretch.range(),
            // The header, or a missing end.
            None if offset == 0 => 0..256,
            None => offset..u32::try_from(examined.len).unwrap_or(u32::MAX),
        };
        let owner = stretch.and_then(Stretch::owner);
        Damage { place: place.to_owned(), segment, range, reason, owner }
    };
    faults.into_iter().map(one).collect()
}
