//! From the bytes of an entry to its decoded body, every checksum held (invariant 5 of the log).

use std::ops::Range;

use bytes::Bytes;

use crate::{
    Location, LogError, Owner, SegmentId,
    crypto::{SegmentCipher, VolumeKey},
    format::{
        ENTRY_HEADER, EntryFault, EntryHeader, FormatError, Kind, Seed, SegmentHeader, is_zero,
        open_body, segment_name,
    },
};

/// What opens the entries of one segment.
#[derive(Clone)]
pub(super) struct Lock {
    pub seed: Seed,
    pub cipher: Option<SegmentCipher>,
}

impl Lock {
    /// From the segment's first bytes, which must be those of `segment` of `volume`.
    pub fn of(
        segment: SegmentId,
        volume: &[u8; 16],
        key: Option<&VolumeKey>,
        bytes: &[u8],
    ) -> Result<Self, LogError> {
        let header = SegmentHeader::decode(bytes)
            .map_err(|e: FormatError| damaged(segment, &e.to_string()))?;
        let reason = if header.id != segment {
            "the header names another segment"
        } else if header.volume != *volume {
            "the header names another volume"
        } else if header.encrypted != key.is_some() {
            "encrypted and plain do not agree with the volume"
        } else {
            let cipher = key.map(|key| SegmentCipher::new(key, &header.nonce));
            return Ok(Self { seed: Seed::new(&header.nonce), cipher });
        };
        Err(damaged(segment, reason))
    }

    /// Two headers of one segment that do not agree.
    pub fn another(segment: SegmentId) -> LogError {
        damaged(segment, "its header has another nonce than before")
    }
}

/// Kind and decoded body of the entry that `entry` wholly is.
pub(super) fn open_entry(
    location: &Location,
    lock: &Lock,
    entry: &Bytes,
) -> Result<(Kind, Bytes), EntryFault> {
    if entry.len() != location.stored as usize {
        return Err(EntryFault::Cut);
    }
    let header = EntryHeader::decode(entry, &lock.seed, location.offset)?;
    if header.stored() != location.stored {
        return Err(EntryFault::Mismatch("length"));
    }
    let end = ENTRY_HEADER + header.body_len as usize;
    if !is_zero(&entry[end..]) {
        return Err(EntryFault::Padding);
    }
    let body = entry.slice(ENTRY_HEADER..end);
    let body = open_body(&header, location.offset, &body, lock.cipher.as_ref())?;
    Ok((header.kind, body))
}

/// Whose bytes the entry holds, where at least its header is whole.
pub(super) fn owner_of(location: &Location, lock: &Lock, entry: &[u8]) -> Option<Owner> {
    let header = EntryHeader::decode(entry, &lock.seed, location.offset).ok()?;
    (header.kind == Kind::Data).then_some(header.owner)
}

/// Bytes `part` of a decoded body.
pub(super) fn cut(
    location: &Location,
    bytes: &Bytes,
    part: &Range<u32>,
) -> Result<Bytes, LogError> {
    let (start, end) = (part.start as usize, part.end as usize);
    if start > end || end > bytes.len() {
        return Err(fault(location, &beyond(), None));
    }
    Ok(bytes.slice(start..end))
}

pub(super) fn beyond() -> EntryFault {
    EntryFault::Mismatch("it is shorter than what is wanted of it")
}

/// The damage in words that name object and, where known, owner.
pub(super) fn fault(location: &Location, e: &EntryFault, owner: Option<Owner>) -> LogError {
    let (segment, offset) = (location.segment, u64::from(location.offset));
    let mut reason = at(segment, &e.to_string());
    if let Some(owner) = owner {
        reason.push_str(&format!(", owner {}", owner.0));
    }
    LogError::Corrupt { segment, offset, reason }
}

fn damaged(segment: SegmentId, reason: &str) -> LogError {
    LogError::Corrupt { segment, offset: 0, reason: at(segment, reason) }
}

fn at(segment: SegmentId, reason: &str) -> String {
    format!("{reason} (object {})", segment_name(segment))
}
