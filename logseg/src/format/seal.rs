use super::{Fields, FormatError, envelope::Sort};
use crate::SegmentId;

pub(super) const SEAL: Sort = Sort { what: "a seal", magic: *b"EskerEnd" };
const JOURNAL_SEAL: Sort = Sort { what: "a journal's seal", magic: *b"EskerJEn" };
const JOURNAL: Sort = Sort { what: "a journal's identity", magic: *b"EskerJrn" };

/// Longest text naming a holder, bytes of UTF-8; longer ones are cut.
const HOLDER_MAX: usize = 1024;
const TAKE_OVER: u32 = 1;
const ABANDON: u32 = 2;

/// R2: "epoch e ends before counter n, e+1 begins at 0". Stands under the object name of segment
/// (e,n), and on plain stores also as `epoch/<e+1>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The volume.
    pub volume: [u8; 16],
    /// The first void id: (e,n).
    pub at: SegmentId,
    /// Random: tells our own seal from a rival's after an unknown outcome.
    pub nonce: [u8; 16],
    /// The sealer's journal; zeros when it has none.
    pub journal: [u8; 16],
    /// Opened by `--take-over`.
    pub take_over: bool,
    /// Opened by `--abandon-journal`.
    pub abandon_journal: bool,
    /// Who sealed, in words an operator understands.
    pub holder: String,
}

impl Seal {
    /// The object's bytes. A holder longer than 1,024 bytes is cut.
    pub fn encode(&self) -> Vec<u8> {
        encode(&SEAL, self)
    }

    /// Reads a seal.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        decode(&SEAL, bytes)
    }
}

/// Content of the journal directory's file `sealed-<e>` (R5): the writer of epoch e acknowledges
/// nothing once it stands there. The taker does not know yet where the epoch ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSeal {
    /// The volume.
    pub volume: [u8; 16],
    /// The epoch that has ended.
    pub epoch: u32,
    /// Random: tells our own from a rival's.
    pub nonce: [u8; 16],
    /// The journal that holds the file.
    pub journal: [u8; 16],
    /// Opened by `--take-over`.
    pub take_over: bool,
    /// Who took it.
    pub holder: String,
}

impl JournalSeal {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let same = Seal {
            volume: self.volume,
            at: SegmentId::chain(self.epoch, 0),
            nonce: self.nonce,
            journal: self.journal,
            take_over: self.take_over,
            abandon_journal: false,
            holder: self.holder.clone(),
        };
        encode(&JOURNAL_SEAL, &same)
    }

    /// Reads it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let s = decode(&JOURNAL_SEAL, bytes)?;
        if s.at.counter() != 0 || s.abandon_journal {
            return Err(JOURNAL_SEAL.damaged("an unknown flag"));
        }
        Ok(Self {
            volume: s.volume,
            epoch: s.at.epoch(),
            nonce: s.nonce,
            journal: s.journal,
            take_over: s.take_over,
            holder: s.holder,
        })
    }
}

/// Content of the journal directory's file `journal`: a directory belongs to one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalIdentity {
    /// The volume it belongs to.
    pub volume: [u8; 16],
    /// Its own identity, named in headers and seals.
    pub journal: [u8; 16],
}

impl JournalIdentity {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        JOURNAL.encode(&self.volume, &[&self.journal])
    }

    /// Reads it.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (volume, fields) = JOURNAL.decode(bytes, true)?;
        let journal =
            fields.try_into().map_err(|_| JOURNAL.damaged("length of the journal's uuid"))?;
        Ok(Self { volume, journal })
    }
}

/// Bytes of the fields before the holder's name.
const FIXED: usize = 48;

fn encode(sort: &Sort, s: &Seal) -> Vec<u8> {
    let mut end = s.holder.len().min(HOLDER_MAX);
    while !s.holder.is_char_boundary(end) {
        end -= 1;
    }
    let holder = &s.holder.as_bytes()[..end];
    let flags =
        if s.take_over { TAKE_OVER } else { 0 } | if s.abandon_journal { ABANDON } else { 0 };
    let len = u32::try_from(end).unwrap_or(0);
    let id = s.at.0.to_le_bytes();
    let tail = [flags.to_le_bytes(), len.to_le_bytes()].concat();
    sort.encode(&s.volume, &[&id, &s.nonce, &s.journal, &tail, holder])
}

fn decode(sort: &Sort, bytes: &[u8]) -> Result<Seal, FormatError> {
    let (volume, fields) = sort.decode(bytes, true)?;
    if fields.len() < FIXED {
        return Err(sort.damaged("its fields are cut"));
    }
    let mut f = Fields::new(fields);
    let (at, nonce, journal) = (SegmentId(f.u64()), f.array(), f.array());
    let (flags, len) = (f.u32(), f.u32() as usize);
    if flags & !(TAKE_OVER | ABANDON) != 0 {
        return Err(sort.damaged("an unknown flag"));
    }
    if at.is_side() {
        return Err(sort.damaged("it names a side segment"));
    }
    if f.rest().len() != len || len > HOLDER_MAX {
        return Err(sort.damaged("length of the holder's name"));
    }
    let holder = str::from_utf8(f.rest()).map_err(|_| sort.damaged("the holder's name"))?;
    Ok(Seal {
        volume,
        at,
        nonce,
        journal,
        take_over: flags & TAKE_OVER != 0,
        abandon_journal: flags & ABANDON != 0,
        holder: holder.to_owned(),
    })
}
