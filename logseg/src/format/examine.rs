use super::{
    ENTRY_HEADER, EntryFault, EntryHeader, FOOTER_TAIL, Footer, FooterBuilder, FooterTail,
    FormatError, IndexEntry, SEGMENT_HEADER, ScannedEntry, Seed, SegmentHeader, entry::ENTRY_MAGIC,
    footer::FOOTER_MAGIC, is_zero, open_body, scan::good_entry,
};
use crate::Owner;

/// A piece of a segment, as somebody who wants to know all of it finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// A good entry: header, body and padding hold.
    Entry(ScannedEntry),
    /// An entry whose header holds, and something behind the header does not.
    Spoilt(ScannedEntry, EntryFault),
    /// Bytes in which no entry can be made out, up to the next one that can.
    Unreadable {
        /// Where they begin, bytes.
        offset: u32,
        /// Where they end.
        end: u32,
        /// What is wrong where they begin.
        fault: EntryFault,
        /// The entries that a sound footer says were there.
        lost: Vec<IndexEntry>,
    },
    /// A footer that holds, and names the entries before it as far as they can be read.
    Footer(Box<Footer>),
    /// Zeros up to the end of the file: made in advance, not written.
    Blank {
        /// Where they begin, bytes.
        offset: u32,
        /// Where they end.
        end: u32,
    },
}

impl Stretch {
    /// Where it begins, bytes.
    pub fn offset(&self) -> u32 {
        match self {
            Self::Entry(entry) | Self::Spoilt(entry, _) => entry.offset,
            Self::Unreadable { offset, .. } | Self::Blank { offset, .. } => *offset,
            Self::Footer(footer) => footer.tail.offset,
        }
    }

    /// What is wrong with it.
    pub fn fault(&self) -> Option<EntryFault> {
        match self {
            Self::Spoilt(_, fault) | Self::Unreadable { fault, .. } => Some(*fault),
            Self::Entry(_) | Self::Footer(_) | Self::Blank { .. } => None,
        }
    }

    /// Bytes of the segment that it takes.
    pub fn range(&self) -> std::ops::Range<u32> {
        match self {
            Self::Entry(e) | Self::Spoilt(e, _) => e.offset..e.offset + e.header.stored(),
            Self::Unreadable { offset, end, .. } | Self::Blank { offset, end } => *offset..*end,
            Self::Footer(f) => f.tail.offset..f.tail.offset + f.tail.len,
        }
    }

    /// Whose data it holds, where its header says so.
    pub fn owner(&self) -> Option<Owner> {
        match self {
            Self::Entry(e) | Self::Spoilt(e, _) => Some(e.header.owner).filter(|o| o.0 != 0),
            _ => None,
        }
    }
}

/// Where something does not hold, bytes, and what.
pub type Fault = (u32, String);

/// All that can be read of a segment, damaged or not. Recovery never goes on behind a bad entry
/// ([`super::scan`]); a person wants to know what is there all the same.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Its header.
    pub header: Result<SegmentHeader, FormatError>,
    /// What follows, by offset, without gaps.
    pub stretches: Vec<Stretch>,
    /// Highest mark (R11) of any header or footer that holds, bytes.
    pub mark: u32,
    /// Bytes examined.
    pub len: u64,
}

impl Examined {
    /// The footer, if one stands there.
    pub fn footer(&self) -> Option<&Footer> {
        self.stretches.iter().find_map(|s| match s {
            Stretch::Footer(footer) => Some(&**footer),
            _ => None,
        })
    }

    /// Entries whose headers hold.
    pub fn entries(&self) -> impl Iterator<Item = &ScannedEntry> {
        self.stretches.iter().filter_map(|s| match s {
            Stretch::Entry(entry) | Stretch::Spoilt(entry, _) => Some(entry),
            _ => None,
        })
    }

    /// What does not hold in an object of the store, where a segment is whole or damaged: offset
    /// and reason, by offset.
    pub fn faults_of_whole(&self) -> Vec<Fault> {
        let mut faults = self.bad();
        match self.footer().map(|f| f.tail.end()) {
            None if faults.is_empty() => {
                let end = self.stretches.last().map_or(0, Stretch::offset);
                faults.push((end, "it ends without a footer".into()));
            }
            Some(end) if end < self.len => {
                faults.push((u32::try_from(end).unwrap_or(u32::MAX), "bytes follow it".into()));
            }
            _ => {}
        }
        faults
    }

    /// The same of a journal's file, which may be unfinished: what is not good at or above the
    /// highest mark, and everything behind it, was never acknowledged (R11). Gives the damage below
    /// the mark, and where the torn tail begins.
    pub fn faults_of_unfinished(&self) -> (Vec<Fault>, Option<Fault>) {
        let torn = self
            .stretches
            .iter()
            .find_map(|s| s.fault().map(|fault| (s.offset(), fault)))
            .filter(|(offset, _)| self.header.is_ok() && *offset >= self.mark);
        match torn {
            Some((offset, fault)) => (Vec::new(), Some((offset, fault.to_string()))),
            None => (self.bad(), None),
        }
    }

    fn bad(&self) -> Vec<Fault> {
        let header = self.header.as_ref().err().map(|e| (0, e.to_string()));
        let bad = self.stretches.iter();
        let bad = bad.filter_map(|s| s.fault().map(|fault| (s.offset(), fault.to_string())));
        header.into_iter().chain(bad).collect()
    }
}

/// Reads all that can be read of a segment, or of a journal's file: where an entry does not hold,
/// every further multiple of 8 is tried. Where the header does not hold, the nonce that seeds all
/// checksums is taken from the footer's last bytes, if they do.
pub fn examine(bytes: &[u8]) -> Examined {
    let header = SegmentHeader::decode(bytes);
    let last = bytes.len().checked_sub(FOOTER_TAIL).and_then(|at| bytes[at..].first_chunk());
    let tail = last.and_then(|tail| FooterTail::decode(tail).ok());
    let nonce = match (&header, tail) {
        (Ok(header), _) => Some(header.nonce),
        (Err(FormatError::Damaged { .. } | FormatError::Foreign { .. }), tail) => {
            tail.map(|t| t.nonce)
        }
        (Err(_), _) => None,
    };
    let mut walk = Walk {
        bytes,
        seed: Seed::new(&nonce.unwrap_or_default()),
        builder: header.as_ref().ok().map(FooterBuilder::new),
        stretches: Vec::new(),
        mark: 0,
    };
    if nonce.is_some() {
        walk.run();
    }
    let Walk { mut stretches, mark, .. } = walk;
    name_lost(&mut stretches);
    Examined { header, stretches, mark, len: bytes.len() as u64 }
}

/// What a sound footer knows of the stretches that cannot be read.
fn name_lost(stretches: &mut [Stretch]) {
    let Some(Stretch::Footer(footer)) =
        stretches.iter().find(|s| matches!(s, Stretch::Footer(_))).cloned()
    else {
        return;
    };
    for stretch in stretches {
        if let Stretch::Unreadable { offset, end, lost, .. } = stretch {
            let range = *offset..*end;
            *lost = footer.index.iter().filter(|e| range.contains(&e.offset)).copied().collect();
        }
    }
}

struct Walk<'a> {
    bytes: &'a [u8],
    seed: Seed,
    /// What the footer must say, as long as every entry was good.
    builder: Option<FooterBuilder>,
    stretches: Vec<Stretch>,
    mark: u32,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut at = SEGMENT_HEADER;
        // A stretch that cannot be read: where it begins and what is wrong there.
        let mut bad: Option<(u32, EntryFault)> = None;
        while let (Some(rest), Ok(offset)) = (self.bytes.get(at..), u32::try_from(at)) {
            let found = self.one(rest, offset);
            match found {
                Ok(stretch) => {
                    self.close(&mut bad, offset);
                    at += stretch.range().len();
                    let last = matches!(stretch, Stretch::Footer(_));
                    self.stretches.push(stretch);
                    if last {
                        return;
                    }
                }
                Err(_) if rest.is_empty() => break,
                Err(fault) => {
                    if bad.is_none() {
                        self.builder = None;
                        if is_zero(rest) {
                            let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
                            return self.stretches.push(Stretch::Blank { offset, end });
                        }
                        bad = Some((offset, fault));
                    }
                    at += 8;
                }
            }
        }
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.close(&mut bad, end);
    }

    fn close(&mut self, bad: &mut Option<(u32, EntryFault)>, end: u32) {
        if let Some((offset, fault)) = bad.take() {
            self.stretches.push(Stretch::Unreadable { offset, end, fault, lost: Vec::new() });
        }
    }

    fn one(&mut self, rest: &[u8], offset: u32) -> Result<Stretch, EntryFault> {
        if rest.starts_with(&FOOTER_MAGIC) {
            let footer = Footer::decode(rest, &self.seed, offset)?;
            self.mark = self.mark.max(footer.tail.mark);
            if self.builder.as_ref().is_some_and(|b| !b.agrees(&footer)) {
                return Err(EntryFault::Footer("it names other entries"));
            }
            return Ok(Stretch::Footer(Box::new(footer)));
        }
        if !rest.starts_with(&ENTRY_MAGIC) {
            return Err(EntryFault::NoMagic);
        }
        let header = EntryHeader::decode(rest, &self.seed, offset)?;
        self.mark = self.mark.max(header.mark);
        let entry = ScannedEntry { offset, header };
        let before = self.stretches.iter().rev().find_map(|s| match s {
            Stretch::Entry(e) | Stretch::Spoilt(e, _) => Some(e),
            _ => None,
        });
        if rest.len() < header.stored() as usize {
            return Err(EntryFault::Cut);
        }
        let good = good_entry(rest, &self.seed, offset, before).and_then(|_| {
            // An encrypted body is checked as far as that goes without the key.
            let body = bytes::Bytes::copy_from_slice(
                &rest[ENTRY_HEADER..ENTRY_HEADER + header.body_len as usize],
            );
            if header.encrypted {
                return Ok(());
            }
            open_body(&header, offset, &body, None).map(drop)
        });
        if let Some(builder) = &mut self.builder
            && let Some(raw) = rest.first_chunk()
        {
            builder.push(offset, &header, raw);
        }
        Ok(match good {
            Ok(()) => Stretch::Entry(entry),
            Err(fault) => Stretch::Spoilt(entry, fault),
        })
    }
}
