use super::{
    ENTRY_HEADER, EntryFault, EntryHeader, FooterBuilder, FormatError, SEGMENT_HEADER, Seed,
    SegmentHeader,
    entry::ENTRY_MAGIC,
    footer::{FOOTER_MAGIC, Footer},
    is_zero, verify_body,
};
use crate::{Location, LogError, SegmentId};

/// One good entry: header and body verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedEntry {
    /// Where its header begins, bytes.
    pub offset: u32,
    /// Its header.
    pub header: EntryHeader,
}

impl ScannedEntry {
    /// Its location in segment `id`.
    pub fn location(&self, id: SegmentId) -> Location {
        Location { segment: id, offset: self.offset, stored: self.header.stored() }
    }

    /// Its stored body, without padding, in the bytes that were scanned.
    pub fn body<'a>(&self, segment: &'a [u8]) -> &'a [u8] {
        let begin = self.offset as usize + ENTRY_HEADER;
        segment.get(begin..begin + self.header.body_len as usize).unwrap_or_default()
    }
}

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// By a footer that names exactly the entries read.
    Footer(Box<Footer>),
    /// Nothing but zeros, or nothing, follows the last good entry.
    Open,
    /// Something that is no good entry follows the last one, above every mark: it was never
    /// acknowledged (R11).
    Torn(EntryFault),
}

/// What a segment holds, as far as it is good.
#[derive(Clone)]
pub struct Scanned {
    /// Its header.
    pub header: SegmentHeader,
    /// All good entries from the first on, by offset.
    pub entries: Vec<ScannedEntry>,
    /// Where the last good entry ends: the footer's place, or where it must be written.
    pub end: u32,
    /// What follows there.
    pub tail: Tail,
    /// Highest mark seen in the segment, bad stretches included. Not 0: all segments before this
    /// one are durable too.
    pub mark: u32,
    /// Writes the footer over these entries.
    pub footer: FooterBuilder,
}

impl Scanned {
    /// Length of the sealed segment (footer included), if it is sealed, bytes.
    pub fn sealed_len(&self) -> Option<u64> {
        match &self.tail {
            Tail::Footer(f) => Some(f.tail.end()),
            Tail::Open | Tail::Torn(_) => None,
        }
    }
}

/// Why a segment cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// Its header does not hold.
    #[error(transparent)]
    Header(#[from] FormatError),
    /// Bytes that were durable are not what was written (R11): stop.
    #[error("damaged at byte {offset}: {fault}")]
    Damaged {
        /// Offset of the bad entry, bytes.
        offset: u32,
        /// What does not hold.
        fault: EntryFault,
    },
}

impl ScanError {
    /// The same as the log's own error, naming the segment.
    pub fn of(self, segment: SegmentId) -> LogError {
        let (offset, reason) = match self {
            Self::Header(e) => (0, e.to_string()),
            Self::Damaged { offset, fault } => (u64::from(offset), fault.to_string()),
        };
        LogError::Corrupt { segment, offset, reason }
    }
}

/// Reads a segment that may be unfinished, entry by entry, bodies too (R11).
///
/// A bad entry below the highest mark found anywhere in `bytes` is damage: `Err`. Above it is the
/// torn tail. Nothing behind the first bad entry is ever given.
pub fn scan(bytes: &[u8]) -> Result<Scanned, ScanError> {
    let header = SegmentHeader::decode(bytes)?;
    let seed = Seed::new(&header.nonce);
    let mut footer = FooterBuilder::new(&header);
    let mut entries = Vec::<ScannedEntry>::new();
    let (mut at, mut mark) = (SEGMENT_HEADER, 0);
    let fault = loop {
        let Ok(offset) = u32::try_from(at) else { break EntryFault::Cut };
        let rest = bytes.get(at..).unwrap_or_default();
        if rest.starts_with(&FOOTER_MAGIC) {
            match Footer::decode(rest, &seed, offset) {
                Ok(f) if footer.agrees(&f) => {
                    mark = mark.max(f.tail.mark);
                    let tail = Tail::Footer(Box::new(f));
                    return Ok(Scanned { header, entries, end: offset, tail, mark, footer });
                }
                Ok(_) => break EntryFault::Footer("it names other entries"),
                Err(fault) => break fault,
            }
        }
        match good_entry(rest, &seed, offset, entries.last()) {
            Ok(entry) => {
                mark = mark.max(entry.header.mark);
                let mut raw = [0; ENTRY_HEADER];
                raw.copy_from_slice(&rest[..ENTRY_HEADER]);
                footer.push(offset, &entry.header, &raw);
                at += entry.header.stored() as usize;
                entries.push(entry);
            }
            Err(fault) => break fault,
        }
    };
    let rest = bytes.get(at..).unwrap_or_default();
    mark = mark.max(highest_mark(rest, at, &seed));
    let end = u32::try_from(at).unwrap_or(u32::MAX);
    if end < mark {
        return Err(ScanError::Damaged { offset: end, fault });
    }
    let tail = if is_zero(rest) { Tail::Open } else { Tail::Torn(fault) };
    Ok(Scanned { header, entries, end, tail, mark, footer })
}

/// Reads a segment that was stored, or closed in the journal: it must be whole, and nothing may
/// follow its footer.
pub fn scan_sealed(bytes: &[u8]) -> Result<Scanned, ScanError> {
    let scanned = scan(bytes)?;
    let fault = match &scanned.tail {
        Tail::Footer(f) if f.tail.end() == bytes.len() as u64 => return Ok(scanned),
        Tail::Footer(_) => EntryFault::Footer("bytes follow it"),
        Tail::Open => EntryFault::Cut,
        Tail::Torn(fault) => *fault,
    };
    Err(ScanError::Damaged { offset: scanned.end, fault })
}

/// The entry that `rest` begins with, verified in full; it must come after `before`.
pub(super) fn good_entry(
    rest: &[u8],
    seed: &Seed,
    offset: u32,
    before: Option<&ScannedEntry>,
) -> Result<ScannedEntry, EntryFault> {
    let header = EntryHeader::decode(rest, seed, offset)?;
    if before.is_some_and(|b| b.header.ordinal >= header.ordinal) {
        return Err(EntryFault::Field("ordinal"));
    }
    let entry = rest.get(..header.stored() as usize).ok_or(EntryFault::Cut)?;
    let (body, padding) = entry[ENTRY_HEADER..].split_at(header.body_len as usize);
    verify_body(&header, body)?;
    if !is_zero(padding) {
        return Err(EntryFault::Padding);
    }
    Ok(ScannedEntry { offset, header })
}

/// The highest mark of any valid header in `rest`, which begins at the 8-aligned `base`: entries
/// behind a bad one are not believed, but what they say was durable is.
fn highest_mark(rest: &[u8], base: usize, seed: &Seed) -> u32 {
    let mut highest = 0;
    for at in (0..rest.len()).step_by(8) {
        let here = &rest[at..];
        let Ok(offset) = u32::try_from(base + at) else { break };
        if here.starts_with(&ENTRY_MAGIC) {
            if let Ok(h) = EntryHeader::decode(here, seed, offset) {
                highest = highest.max(h.mark);
            }
        } else if here.starts_with(&FOOTER_MAGIC)
            && let Ok(f) = Footer::decode(here, seed, offset)
        {
            highest = highest.max(f.tail.mark);
        }
    }
    highest
}
